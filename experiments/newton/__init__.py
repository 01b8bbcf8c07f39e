"""Newton's method: how much faster than descent it converges, and what a step costs."""
