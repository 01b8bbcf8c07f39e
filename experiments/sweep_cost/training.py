"""The job that a sweep repeats: how low does gradient descent bring a loss on real data, by rate and start?"""

import functools
from typing import Literal

import pydantic

from jaxcalc import lab
from jaxcalc.lab import Swept, Variable, jax

kind = "compiled"
dtype = "float32"

Problem = Literal["house prices", "breast cancer"]


class Config(lab.Config):
    problem: Problem = "house prices"
    """least squares on all features of 546 houses, or logistic regression on 30 features of 569 patients"""
    learning_rate: Swept[float] = pydantic.Field(default=0.1, gt=0)
    """of gradient descent"""
    num_steps: int = pydantic.Field(1000, ge=1)
    """gradient steps"""


VARIABLES = {"loss": Variable((), "", "training loss after the last step")}


@functools.cache
def load_problem(name):
    from jaxcalc.functions import problems

    return problems.house_prices(()) if name == "house prices" else problems.breast_cancer()


def run(config, key):
    """Gradient descent from a normal start."""
    from jaxcalc.solvers import gradient_descent, iterate

    problem = load_problem(config.problem)
    start = jax.random.normal(key, (problem.dimension,))
    result = iterate(gradient_descent(config.learning_rate), problem.function, start, num_steps=config.num_steps)
    return {"loss": result.last.value}
