"""What does keeping the history add to the run time?"""

import functools
from typing import Literal

import numpy as np
import pydantic

from experiments.solver_cost import TIMES, Timed, bars, compiled, ratios_of, readings, table, told
from jaxcalc.lab import Finding, below, jax

kind = "timed"

_NONE, _FULL = "without history", "with its full history"


class Config(Timed):
    method: Literal["gradient-descent", "adam", "newton", "l-bfgs"] = "gradient-descent"
    """the solver"""
    problem: Literal["rosenbrock", "quadratic"] = "rosenbrock"
    """Rosenbrock's function, chained, a microsecond's work for 1,000 variables, or a quadratic with a dense matrix"""
    dimension: int = pydantic.Field(1000, ge=2)
    """variables"""
    lanes: int = pydantic.Field(1, ge=1)
    """starts, in lanes if there are more than one"""
    num_steps: int = pydantic.Field(200, ge=1)
    """the most steps"""


VARIABLES = TIMES


def run(config, key):
    """The same solve with and without its history."""
    from jaxcalc.functions import problems
    from jaxcalc.solvers import adam, gradient_descent, lbfgs, minimize, newton

    chosen = problems.rosenbrock if config.problem == "rosenbrock" else functools.partial(problems.quadratic, 100.0)
    fun = chosen(config.dimension).function
    solver = {
        "gradient-descent": gradient_descent(1e-4),
        "adam": adam(1e-3),
        "newton": newton(),
        "l-bfgs": lbfgs(),
    }[config.method]
    shape = (config.dimension,) if config.lanes == 1 else (config.lanes, config.dimension)
    start = jax.random.uniform(key, shape, minval=-2.0, maxval=2.0)

    def solve(x, history):
        found = minimize(fun, x, method=solver, history=history, max_steps=config.num_steps)
        return found.x, found.num_steps, found.history

    def call(history):
        one = functools.partial(solve, history=history)
        return functools.partial(compiled(one if config.lanes == 1 else jax.vmap(one), start), start)

    calls = {_NONE: call("none"), _FULL: call("full")}
    steps = float(np.max(calls[_NONE]()[1]))
    return {**readings(calls, config), "num_steps": steps}


def _at_most(bound, chosen):
    """The judge of the runs chosen: what the history adds keeps their times below a bound."""

    def judge(dataset):
        ratios = ratios_of(dataset, _FULL, _NONE, chosen)
        return Finding(below(list(ratios.values()), bound), measured=told(ratios), figure="history")

    return judge


figures = lambda dataset: {
    "history": bars(
        dataset,
        (_FULL,),
        _NONE,
        "time over that without history",
        "The time of a solve with its full history over that of the same without; bars: quartiles; dotted: 2.",
        limit=2.0,
    )
}
tables = lambda dataset: {"History": table(dataset, _NONE)}

claims = {
    "history-costs-little": _at_most(1.05, lambda point: int(point.lanes) == 1 and int(point.dimension) >= 1000),
    "history-of-lanes-costs-at-most-as-much-again": _at_most(2.0, lambda point: int(point.lanes) > 1),
}
