"""Where does Newton's method go without convexity, and what does a trust region change?

Newton's plain step beside gradient descent on two textbook functions (``examples``); and where random starts end in
rising dimension, by solver: a minimum, another stationary point, or nowhere (``nonconvex``).
"""
