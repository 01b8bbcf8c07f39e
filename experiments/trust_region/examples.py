"""Where does Newton's plain step fail on textbook functions?"""

import numpy as np
import pydantic

from experiments.trust_region import NAMES
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below

kind = "host"
dtype = "float64"

_METHODS = ("gradient-descent", "newton", "trust-region")


class Config(lab.Config):
    num_steps: int = pydantic.Field(60, ge=8)
    """steps taken by each solver"""
    rate: float = pydantic.Field(1.0, gt=0)
    """learning rate of gradient descent on log cosh, whose curvature is at most 1"""
    saddle_rate: float = pydantic.Field(0.1, gt=0)
    """learning rate of gradient descent on the saddle"""


VARIABLES = {
    "method": Variable(("method",), "", "solver"),
    "step": Variable(("step",), "", "step"),
    "log_cosh": Variable(("method", "step"), "", "x on log cosh x, from 1.1"),
    "saddle": Variable(("method", "step", "coordinate"), "", "(x, y) on x^2 - y^2, from (1, 0.001)"),
}


def run(config, key):
    import jax.numpy as jnp

    from jaxcalc.solvers import gradient_descent, iterate, newton, trust_region

    logcosh = lambda x: jnp.sum(jnp.logaddexp(x, -x)) - np.log(2.0)
    saddle = lambda p: p[0] ** 2 - p[1] ** 2

    def path(solver, fun, start):
        return np.asarray(iterate(solver, fun, start, num_steps=config.num_steps, record=lambda at: at.x).history)

    starts = {
        "log cosh": (logcosh, np.array([1.1]), config.rate),
        "saddle": (saddle, np.array([1.0, 1e-3]), config.saddle_rate),
    }
    solvers = lambda rate: (gradient_descent(rate), newton(), trust_region())
    paths = {name: [path(s, fun, at) for s in solvers(rate)] for name, (fun, at, rate) in starts.items()}
    return {
        "method": np.array(_METHODS),
        "step": np.arange(config.num_steps + 1),
        "log_cosh": np.stack(paths["log cosh"])[..., 0],
        "saddle": np.stack(paths["saddle"]),
    }


def _ways(dataset, name):
    return {method: dataset[name].sel({"method": method}).values for method in _METHODS}


def _strictly_better(dataset):
    way, on_saddle = _ways(dataset, "log_cosh"), _ways(dataset, "saddle")
    # The fifth iterate is far off and finite yet; those after it overflow.
    runs_off = above(abs(way["newton"][5]), 100) & below(abs(way["gradient-descent"][-1]), 1e-6)
    jump, left = np.linalg.norm(on_saddle["newton"][1]), on_saddle["gradient-descent"][-1, 1]
    return Finding(
        ~runs_off & ~(below(jump, 1e-12) & above(abs(left), 1)),
        measured="log cosh from 1.1: Newton "
        + ", ".join(f"{x:.3g}" for x in way["newton"][:6])
        + f", descent ends at {way['gradient-descent'][-1]:.1g}; saddle: Newton at {jump:.1g} from it after one step, "
        f"descent at y = {left:.3g}",
    )


def _mends_both(dataset):
    way, y = (_ways(dataset, name)["trust-region"] for name in ("log_cosh", "saddle"))
    return below(abs(way[-1]), 1e-8) & above(abs(y[:, 1]).max(), 1)


def figures(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.8)
    for name in _METHODS:
        look = style.method(name, label=NAMES[name])
        far = np.maximum(abs(dataset.log_cosh.sel({"method": name}).values), 1e-17)
        cut = np.flatnonzero(~(far < 1e6) | (far <= 1e-16))
        far = far[: cut[0] + 1] if cut.size else far
        left.plot(np.arange(far.size), np.where(np.isfinite(far), far, 1e9), **look)
        y = abs(dataset.saddle.sel({"method": name}).values[:, 1])
        right.plot(np.arange(y.size), np.maximum(y, 1e-12), **look, markevery=4)
    left.set(
        yscale="log", xlabel="step", ylabel="$|x|$, the distance to the minimum", ylim=(1e-18, 1e6), xlim=(-0.4, 8.4)
    )
    left.set_title("log cosh x from 1.1")
    right.set(
        yscale="log", xlabel="step", ylabel="$|y|$, the way down from the saddle", ylim=(1e-13, 1e6), xlim=(-1, 60)
    )
    right.set_title("$x^2 - y^2$ from (1, 0.001)")
    left.axhline(1.088658, **style.THEORY)
    left.annotate(
        "Newton diverges beyond 1.089", (8.3, 1.088658), (0, -9), textcoords="offset points", fontsize=7, ha="right"
    )
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.set_label(
        "Newton's plain step runs off on a convex function and jumps onto a saddle; descent and the trust region do "
        "neither. Values of 0 are drawn at the lower edge."
    )
    return {"examples": figure}


claims = {"second-order-strictly-better-in-theory": _strictly_better, "trust-region-mends-both": _mends_both}
