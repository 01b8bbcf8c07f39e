"""functions: formulas that carry their own closed-form answers."""
