"""solvers: function to optimum, one protocol and one loop."""

from jaxcalc.solvers.boxes import project, stationarity
from jaxcalc.solvers.convergence import linear_rate, order_of_convergence, steps_to
from jaxcalc.solvers.descent import (
    adam,
    adamw,
    best_learning_rate,
    contraction,
    first_order,
    gradient_descent,
    momentum,
    nesterov,
    sgd,
)
from jaxcalc.solvers.history import HISTORY_LIMIT, History
from jaxcalc.solvers.minimize import METHODS, minimize
from jaxcalc.solvers.newton import modified_cholesky, newton, solve_positive
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver, Status, start_at
from jaxcalc.solvers.quasi_newton import bfgs, lbfgs
from jaxcalc.solvers.solution import Multipliers, Solution
from jaxcalc.solvers.trajectory import Result, iterate
from jaxcalc.solvers.trust_region import newton_cg, trust_region

__all__ = [
    "HISTORY_LIMIT",
    "METHODS",
    "Evaluations",
    "History",
    "Iterate",
    "Multipliers",
    "Objective",
    "Result",
    "Solution",
    "Solver",
    "Status",
    "adam",
    "adamw",
    "best_learning_rate",
    "bfgs",
    "contraction",
    "first_order",
    "gradient_descent",
    "iterate",
    "lbfgs",
    "linear_rate",
    "minimize",
    "modified_cholesky",
    "momentum",
    "nesterov",
    "newton",
    "newton_cg",
    "order_of_convergence",
    "project",
    "sgd",
    "solve_positive",
    "start_at",
    "stationarity",
    "steps_to",
    "trust_region",
]
