"""Do all starts reach one value, on convex functions and on others?"""

from typing import Literal

import numpy as np
import pydantic

from experiments.convexity import XOR
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, between, equal, jax, jnp, over

kind = "compiled"

_SHOWN = {
    "breast-cancer": "logistic regression",
    "himmelblau": "Himmelblau",
    "six-hump-camel": "six-hump camel",
    "xor-network": "XOR network",
}
_TOLERANCE = 1e-9
_FINITE = (-1e300, 1e300)
_CONVEX = {
    "quadratic": True,
    "log-sum-exp": True,
    "breast-cancer": True,
    "himmelblau": False,
    "six-hump-camel": False,
    "xor-network": False,
}


class Config(lab.Config):
    problem: Literal["quadratic", "log-sum-exp", "breast-cancer", "himmelblau", "six-hump-camel", "xor-network"] = (
        "breast-cancer"
    )
    """what is minimised; the network has two hidden units and the squared error, with a weak ridge"""
    starts: int = pydantic.Field(64, ge=12)
    """random starts"""
    scale: float = pydantic.Field(2.0, gt=0)
    """their standard deviation"""
    max_steps: int = pydantic.Field(500, ge=1)
    """where a lane ends at the latest"""


VARIABLES = {
    "value": Variable(("start",), "", "value at the end"),
    "first_value": Variable(("start",), "", "value at the start"),
    "status": Variable(("start",), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite, 4 stalled"),
    "least_curvature": Variable(("start",), "", "least eigenvalue of the Hessian at the end"),
}


def _objective(name):
    """The function and its number of variables."""
    from jax.flatten_util import ravel_pytree

    from jaxcalc.functions import problems
    from jaxcalc.functions.landscapes import LANDSCAPES
    from jaxcalc.models import mlp

    if name in LANDSCAPES:
        return LANDSCAPES[name].function, 2
    if name != "xor-network":
        problem = problems.build(name)
        return problem.function, problem.dimension
    model = mlp((2, 2, 1))
    with jax.ensure_compile_time_eval():
        example, unravel = ravel_pytree(model.init(jax.random.key(0)))
    inputs, targets = (jnp.asarray(table) for table in XOR)

    def loss(v):
        # Without the ridge some minima lie at infinity, and every start reaches another value on the way there.
        return jnp.mean((model.apply(unravel(v), inputs)[:, 0] - targets) ** 2) + 1e-4 * jnp.sum(v**2)

    return loss, example.size


def run(config, key):
    from jaxcalc import hessian, minimize

    fun, size = _objective(config.problem)
    starts = config.scale * jax.random.normal(key, (config.starts, size))
    found = jax.vmap(lambda x: minimize(fun, x, method="newton", tol=1e-9, max_steps=config.max_steps))(starts)
    least = jax.lax.map(lambda x: jnp.linalg.eigvalsh(hessian(fun)(x))[0], found.x)
    return {
        "value": found.value,
        "status": found.status,
        "least_curvature": least,
        "first_value": jax.vmap(fun)(starts),
    }


def _values(dataset, problem):
    """Where the starts that reached a local minimum ended, in rising order."""
    one = dataset.sel(problem=problem)
    return np.sort(one.value.values[(one.status.values == 0) & (one.least_curvature.values > -1e-9)])


def _distinct(values: np.ndarray) -> int:
    """How many values there are to six digits."""
    return 1 + int((np.diff(values) > 1e-6).sum()) if values.size else 0


def _ends(dataset, convex):
    """By problem, where its starts ended and how far apart; and whether 12 or more of them arrive."""
    dataset = over(dataset, "problem")
    ends = {n: _values(dataset, n) for n in map(str, dataset.problem.values) if _CONVEX[n] is convex}
    if not ends:
        raise NotJudged(f"it takes a {'convex problem' if convex else 'problem that is not convex'}")
    mine = dataset.sel(problem=list(ends))
    told = between(mine.value, *_FINITE) & between(mine.least_curvature, *_FINITE) & between(mine.status, 0, 4)
    spread = {name: float(np.ptp(values)) if values.size else 0.0 for name, values in ends.items()}
    return ends, spread, told & above([values.size for values in ends.values()], 12)


def _global(dataset):
    ends, spread, enough = _ends(dataset, True)
    measured = ", ".join(f"{n}: spread {spread[n]:.1g} of {ends[n].size} ends" for n in ends)
    return Finding(enough & below(spread), measured=measured, figure="ends")


def _others(dataset):
    ends, spread, enough = _ends(dataset, False)
    measured = ", ".join(f"{n}: {_distinct(ends[n])} values within {spread[n]:.2g}" for n in ends)
    three = equal(_distinct(ends["six-hump-camel"]), 3)
    return Finding(enough & three, measured=measured, figure="ends")


def figures(dataset):
    if "problem" not in dataset.dims:
        return {}
    names = list(map(str, dataset.problem.values))
    figure, panel = style.subplots(width=5.0, height=2.9)
    floor = 1e-16
    for name in names:
        ends = _values(dataset, name)
        gap = np.maximum(ends - ends[0], floor) if ends.size else ends
        color = style.COLORS["blue" if _CONVEX[name] else "vermilion"]
        marker = dict(zip(_CONVEX, "osDv^X"))[name]
        panel.plot(
            (np.arange(ends.size) + 0.5) / max(ends.size, 1),
            gap,
            marker,
            color=color,
            markersize=3.5,
            label=_SHOWN.get(name, name),
        )
    panel.axhline(_TOLERANCE, **style.THEORY)
    panel.annotate("tolerance", (0.0, 1e-9), (2, 3), textcoords="offset points", fontsize=7)
    panel.set(yscale="log", xlabel="starts, in the order of where they end", ylabel="value above the lowest found")
    panel.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1], ["≤ $10^{-16}$", "$10^{-12}$", "$10^{-8}$", "$10^{-4}$", "1"])
    panel.set_xlim(0, 1)
    figure.legend(loc="outside right upper")
    figure.set_label(
        "Where random starts end, above the lowest end: of convex functions (blue) all at one value, of an XOR network "
        "(red) at several; Himmelblau's four minima have one value."
    )
    return {"ends": figure}


claims = {"convex-local-is-global": _global, "other-functions-have-other-minima": _others}
