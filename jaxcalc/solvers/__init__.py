"""solvers: function to optimum, one protocol and one loop."""

from jaxcalc.solvers.convergence import linear_rate, order_of_convergence, steps_to
from jaxcalc.solvers.descent import best_learning_rate, contraction, gradient_descent
from jaxcalc.solvers.loop import Iterate, Result, Solver, Status, iterate, start_at
from jaxcalc.solvers.newton import newton, solve_positive

__all__ = [
    "Iterate",
    "Result",
    "Solver",
    "Status",
    "best_learning_rate",
    "contraction",
    "gradient_descent",
    "iterate",
    "linear_rate",
    "newton",
    "order_of_convergence",
    "solve_positive",
    "start_at",
    "steps_to",
]
