"""What do many starts cost in one program, beside calls and beside Python loops?"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pydantic

from experiments.solver_cost import (
    TIMES,
    Timed,
    bars,
    compiled,
    ratio,
    readings,
    sweep_points,
    table,
    told,
)
from jaxcalc import style
from jaxcalc.lab import Finding, Variable, above, equal, holds, jax, jnp, less

kind = "timed"

_LANES = "lanes of one program"
_CALLS = "one program, called for each start"
_BOTH_LOOPS = "Python loops over starts and steps"
_STEPS = "Python loop over steps of all starts"


class Config(Timed):
    method: Literal["gradient-descent", "newton", "trust-region", "l-bfgs"] = "gradient-descent"
    """the solver"""
    starts: int = pydantic.Field(4096, ge=2)
    """starts, drawn evenly from the square of side 4 around 0"""
    num_steps: int = pydantic.Field(500, ge=1)
    """steps of gradient descent, and the most of the others"""
    sample: int = pydantic.Field(8, ge=1)
    """how many of the starts the loop over starts and steps is timed for; its time is that of all, in proportion"""


VARIABLES = {
    **TIMES,
    "timed": Variable(("route",), "", "whether this route was run; its time is 0 where it was not", measured=False),
    "agreeing": Variable((), "", "share of lanes that end as, and where finite where, the start alone ends"),
    "finite": Variable((), "", "share of these that end at finite numbers"),
}


def run(config, key):
    """Rosenbrock's valley from many starts."""
    from jaxcalc.functions import problems
    from jaxcalc.solvers import gradient_descent, minimize, newton

    fun = problems.rosenbrock(2).function
    rate = 1e-3
    descends = config.method == "gradient-descent"
    solver = {"gradient-descent": gradient_descent(rate), "newton": newton()}.get(config.method, config.method)
    tol = 0.0 if descends else None

    def solve(x):
        found = minimize(fun, x, method=solver, max_steps=config.num_steps, tol=tol)
        return found.x, found.status, found.num_steps

    starts = jax.random.uniform(key, (config.starts, 2), minval=-2.0, maxval=2.0)
    split = [jnp.array(start) for start in starts]
    together, alone = compiled(jax.vmap(solve), starts), compiled(solve, split[0])
    x, status, steps = together(starts)
    taken = np.asarray(steps)
    calls: dict[str, Callable[[], Any]] = {
        _LANES: lambda: together(starts),
        _CALLS: lambda: [alone(start) for start in split],
    }
    if config.method in ("gradient-descent", "newton"):

        def update(x):
            gradient = jax.grad(fun)(x)
            return x - (rate * gradient if descends else jnp.linalg.solve(jax.hessian(fun)(x), gradient))

        one, every = compiled(update, split[0]), compiled(jax.vmap(update), starts)

        def over_both():
            ends = []
            for start, count in zip(split[: config.sample], taken):
                x = start
                for _ in range(count):
                    x = one(x)
                ends.append(x)
            return ends

        def over_steps():
            x = starts
            for _ in range(int(taken.max())):
                x = every(x)
            return x

        calls |= {_BOTH_LOOPS: over_both, _STEPS: over_steps}
    found = readings(calls, config)
    shares = [taken.sum() / taken[: config.sample].sum() if name == _BOTH_LOOPS else 1.0 for name in calls]
    separate = np.asarray([alone(start)[0] for start in split[:100]])
    lanes = np.asarray(x)[:100]
    close = np.all(np.abs(lanes - separate) <= 1e-6 * np.maximum(1.0, np.abs(separate)), axis=1)
    finite = np.all(np.isfinite(lanes) & np.isfinite(separate), axis=1)
    ended = np.array([alone(start)[1] for start in split[:100]])
    # What left the finite numbers has no place to compare: there both must say so.
    agree = (ended == np.asarray(status)[:100]) & np.where(finite, close, np.isin(ended, (2, 3)))
    full = dict.fromkeys((_LANES, _CALLS, _BOTH_LOOPS, _STEPS), np.zeros(config.repeats))
    full |= dict(zip(calls, found["seconds"] * np.array(shares)[:, None]))
    return {
        "route": np.array(list(full)),
        "seconds": np.array(list(full.values())),
        "timed": np.array([name in calls for name in full]),
        "num_steps": float(taken.max()),
        "agreeing": float(np.mean(agree)),
        "finite": float(np.mean(finite)),
    }


def _lanes(dataset, route, methods=None):
    """By solver, a route's time over that of all starts in one program."""
    names = methods or tuple(map(str, dataset["method"].values))
    return {name: float(ratio(dataset.sel({"method": name}), route, _LANES)) for name in names}


def _beat_calls(dataset):
    calls = _lanes(dataset, _CALLS)
    checks = above(calls["gradient-descent"], 5.0) & above(calls["newton"], 2.0)
    return Finding(checks, measured=told(calls), figure="lanes")


def _beat_loops(dataset):
    methods = ("gradient-descent", "newton")
    loops, steps = (_lanes(dataset, route, methods) for route in (_BOTH_LOOPS, _STEPS))
    timed = dataset.timed.sel({"method": list(methods), "route": _BOTH_LOOPS})
    return Finding(
        above(loops, 20.0) & holds(timed),
        measured=f"{told(loops)}; a Python loop over steps of an update of all starts at once, which neither judges "
        f"nor stops a lane: {told(steps)}",
        figure="lanes",
    )


def _end_alike(dataset):
    shares = [
        (style.method(str(p["method"].item()))["label"], float(p.agreeing), float(p.finite))
        for _, p in sweep_points(dataset)
    ]
    return Finding(
        equal(dataset.agreeing, 1.0) & less(0.5, dataset.finite),
        measured=", ".join(f"{name} {agreeing:.0%}, {finite:.0%} finite" for name, agreeing, finite in shares),
        figure="lanes",
    )


def _only_timed(dataset):
    """Without the times of routes that were not run."""
    return dataset.assign(seconds=dataset.seconds.where(dataset.timed == 1))


figures = lambda dataset: {
    "lanes": bars(
        _only_timed(dataset),
        (_CALLS, _BOTH_LOOPS, _STEPS),
        _LANES,
        f"time over that of all {_LANES}",
        "The time from many starts in Rosenbrock's valley, over that of all lanes in one program; bars: quartiles.",
    )
}
tables = lambda dataset: {"Many starts": table(_only_timed(dataset), _LANES)}

claims = {
    "lanes-beat-calls": _beat_calls,
    "lanes-beat-python-loops": _beat_loops,
    "lanes-end-where-calls-end": _end_alike,
}
