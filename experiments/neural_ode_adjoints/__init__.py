"""What the adjoints of an ODE solve keep in memory, and when the continuous one's gradient is wrong.

``memory`` sets memory and gradients against the number of equal steps, ``accuracy`` the gradient's error against the
stiffness of the field, ``choice`` the adjoint that ``flow`` chooses beside all others, ``peers`` a training step beside
other libraries'.
"""
