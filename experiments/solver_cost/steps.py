"""What does a step cost beside one of plain optax in a scan?"""

import functools
from typing import Literal

import pydantic

from experiments.solver_cost import TIMES, Timed, bars, compiled, ratios_of, readings, table, told
from jaxcalc.lab import Finding, NotJudged, below, jax, jnp

kind = "timed"


class Config(Timed):
    method: Literal["gradient-descent", "momentum", "adam", "l-bfgs"] = "gradient-descent"
    """the solver"""
    problem: Literal["breast-cancer", "rosenbrock"] = "breast-cancer"
    """logistic regression on tumours, or Rosenbrock's function, chained"""
    dimension: int = pydantic.Field(2, ge=2)
    """variables of the latter"""
    num_steps: int = pydantic.Field(500, ge=1)
    """steps; L-BFGS takes at most 20 of them, lest it arrive"""


_OPTAX, _WITH_VALUE = "optax", "optax with the value"


VARIABLES = TIMES


def run(config, key):
    """The same number of steps by ours and by optax in a scan."""
    import optax

    from jaxcalc.functions import problems
    from jaxcalc.solvers import adam, gradient_descent, lbfgs, minimize, momentum

    problem = problems.breast_cancer() if config.problem == "breast-cancer" else problems.rosenbrock(config.dimension)
    fun, rate = problem.function, 1e-4
    length = min(config.num_steps, 20) if config.method == "l-bfgs" else config.num_steps
    ours, theirs = {
        "gradient-descent": (gradient_descent(rate), optax.sgd(rate)),
        "momentum": (momentum(rate), optax.sgd(rate, momentum=0.9)),
        "adam": (adam(rate), optax.adam(rate)),
        "l-bfgs": (lbfgs(), optax.lbfgs()),
    }[config.method]

    def plain(x, with_value):
        def step(carry, _):
            x, state = carry
            if config.method == "l-bfgs":
                value, gradient = optax.value_and_grad_from_state(fun)(x, state=state)
                update, state = theirs.update(gradient, state, x, value=value, grad=gradient, value_fn=fun)
            elif with_value:
                value, gradient = jax.value_and_grad(fun)(x)
                update, state = theirs.update(gradient, state, x)
            else:
                value, gradient = None, jax.grad(fun)(x)
                update, state = theirs.update(gradient, state, x)
            return (optax.apply_updates(x, update), state), value if with_value else None

        (x, _), values = jax.lax.scan(step, (x, theirs.init(x)), length=length)
        return x, values

    def solve(x):
        found = minimize(fun, x, method=ours, tol=0.0, max_steps=length)
        return found.x, found.num_steps

    start = jnp.asarray(problem.start)
    calls = {
        "ours": functools.partial(compiled(solve, start), start),
        _OPTAX: functools.partial(compiled(functools.partial(plain, with_value=False), start), start),
        _WITH_VALUE: functools.partial(compiled(functools.partial(plain, with_value=True), start), start),
    }
    steps = int(calls["ours"]()[1])
    found = readings(calls, config)
    # Ours may end early; then its time a step counts.
    found["seconds"][0] *= length / max(steps, 1)
    return {**found, "num_steps": float(steps)}


def _as_fast(dataset):
    ratios = ratios_of(dataset, "ours", _OPTAX)
    if len(ratios) < 2:
        raise NotJudged("it takes more than one solver")
    return Finding(below(ratios, 1.05), measured=told(ratios), figure="steps")


figures = lambda dataset: {
    "steps": bars(
        dataset,
        ("ours", _WITH_VALUE),
        _OPTAX,
        "time over that of plain optax",
        "The time of a step over that of plain optax in a scan, which judges no point and, L-BFGS apart, computes "
        "no value; bars: quartiles.",
    )
}
tables = lambda dataset: {"A step": table(dataset, _OPTAX)}

claims = {"steps-as-fast-as-optax": _as_fast}
