"""What do gradients and Hessians say about points where the gradient is zero, and about their surroundings?

Bowls, domes and saddles of two variables, Jacobians and steepest directions (``landscapes``); the stationary points of
a small network (``network``); and a function of one's own (``own``).
"""
