"""solvers: function to optimum, one protocol and one loop."""

from jaxcalc.solvers.bounds import project, stationarity
from jaxcalc.solvers.convergence import linear_rate, order_of_convergence, performance_profile, steps_to
from jaxcalc.solvers.descent import (
    adam,
    adamw,
    best_learning_rate,
    best_momentum,
    best_nesterov,
    contraction,
    first_order,
    gradient_descent,
    momentum,
    nesterov,
    sgd,
)
from jaxcalc.solvers.guides import GUIDES, Guide, LocalNormal, full_rank, low_rank, mean_field
from jaxcalc.solvers.history import HISTORY_LIMIT, History
from jaxcalc.solvers.least_squares import (
    SQUARES,
    fixed_point,
    gauss_newton,
    least_squares,
    levenberg_marquardt,
    root,
)
from jaxcalc.solvers.minimize import METHODS, minimize
from jaxcalc.solvers.newton import modified_cholesky, newton, solve_positive
from jaxcalc.solvers.newton_cg import newton_cg
from jaxcalc.solvers.ordinary_least_squares import LEAST_SQUARES, ordinary_least_squares, reweighted_least_squares
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver, Status, start_at
from jaxcalc.solvers.quasi_newton import bfgs, lbfgs
from jaxcalc.solvers.second_order import SecondOrder
from jaxcalc.solvers.solution import Multipliers, Solution
from jaxcalc.solvers.trajectory import Result, iterate
from jaxcalc.solvers.trust_region import trust_region
from jaxcalc.solvers.variational import variational
from jaxcalc.solvers.variational_solution import VariationalSolution, VariationalStatus
from jaxcalc.solvers.weighted_moments import Moments

__all__ = [
    "GUIDES",
    "HISTORY_LIMIT",
    "LEAST_SQUARES",
    "METHODS",
    "SQUARES",
    "Evaluations",
    "Guide",
    "History",
    "Iterate",
    "LocalNormal",
    "Moments",
    "Multipliers",
    "Objective",
    "Result",
    "SecondOrder",
    "Solution",
    "Solver",
    "Status",
    "VariationalSolution",
    "VariationalStatus",
    "adam",
    "adamw",
    "best_learning_rate",
    "best_momentum",
    "best_nesterov",
    "bfgs",
    "contraction",
    "first_order",
    "fixed_point",
    "full_rank",
    "gauss_newton",
    "gradient_descent",
    "iterate",
    "lbfgs",
    "least_squares",
    "levenberg_marquardt",
    "linear_rate",
    "low_rank",
    "mean_field",
    "minimize",
    "modified_cholesky",
    "momentum",
    "nesterov",
    "newton",
    "newton_cg",
    "order_of_convergence",
    "ordinary_least_squares",
    "performance_profile",
    "project",
    "reweighted_least_squares",
    "root",
    "sgd",
    "solve_positive",
    "start_at",
    "stationarity",
    "steps_to",
    "trust_region",
    "variational",
]
