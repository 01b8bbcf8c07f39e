"""How much of Newton's speed do quasi-Newton methods keep, and at what price?

The gradient against evaluations by gradient descent, BFGS, L-BFGS and Newton's method on an ill-conditioned quadratic,
Rosenbrock's valley and logistic regression (``convergence``); what more memory does for L-BFGS (``memory``); and L-BFGS
beside gradient descent on badly scaled logistic regression (``logistic``).
"""

from typing import Literal

import pydantic

from jaxcalc import lab

Problem = Literal["quadratic", "rosenbrock", "breast-cancer"]
TITLES = {"quadratic": "quadratic", "rosenbrock": "Rosenbrock", "breast-cancer": "logistic regression"}


class Chosen(lab.Config):
    problem: Problem = "quadratic"
    """a rotated quadratic, the chained Rosenbrock function, or logistic regression on tumours"""
    dimension: int = pydantic.Field(20, ge=2)
    """variables of the first two"""
    condition_number: float = pydantic.Field(1e4, ge=1)
    """of the quadratic"""


def chosen_problem(config):
    from jaxcalc.functions import problems

    match config.problem:
        case "quadratic":
            return problems.quadratic(config.condition_number, config.dimension)
        case "rosenbrock":
            return problems.rosenbrock(config.dimension)
        case _:
            return problems.breast_cancer(1e-4)
