"""Where does Newton's plain step fail on textbook functions?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, jnp

kind = "host"

_EDGE = 1.08866  # on log cosh x Newton diverges from beyond it: sinh(2 x) = 4 x


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
    from jaxcalc.solvers import gradient_descent, iterate, newton, trust_region

    log_cosh = lambda x: jnp.sum(jnp.logaddexp(x, -x)) - np.log(2.0)
    saddle = lambda p: p[0] ** 2 - p[1] ** 2

    def paths(fun, start, rate):
        solvers = {"gradient-descent": gradient_descent(rate), "newton": newton(), "trust-region": trust_region()}
        run = lambda solver: iterate(solver, fun, np.array(start), num_steps=config.num_steps, record=lambda at: at.x)
        return {name: np.asarray(run(solver).history) for name, solver in solvers.items()}

    convex, at_saddle = paths(log_cosh, [1.1], config.rate), paths(saddle, [1.0, 1e-3], config.saddle_rate)
    return {
        "method": np.array(list(convex)),
        "step": np.arange(config.num_steps + 1),
        "log_cosh": np.stack(list(convex.values()))[..., 0],
        "saddle": np.stack(list(at_saddle.values())),
    }


def _ways(dataset, name):
    return {method: dataset[name].sel({"method": method}).values for method in dataset["method"].values}


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
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.8, letters=False)
    shared = {"x": "step", "hue": "method", "log": "y", "legend": None, "xlabel": "step"}
    style.chart(
        abs(dataset.log_cosh).sel(step=slice(0, 8)),
        **shared,
        axes=left,
        ylabel="$|x|$, the distance to the minimum",
        ylim=(1e-18, 1e6),
    )
    left.axhline(_EDGE, **style.THEORY)
    left.annotate(f"{_EDGE:.3f}", (8, _EDGE), (0, 3), textcoords="offset points", fontsize=7.5, ha="right")
    left.set_title("log cosh x from 1.1")
    style.chart(
        abs(dataset.saddle.isel(coordinate=1, step=slice(None, None, 4))),
        **shared,
        axes=right,
        ylabel="$|y|$, the way down from the saddle",
        ylim=(1e-5, 1e6),
    )
    right.set_title("$x^2 - y^2$ from (1, 0.001)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.set_label(
        "Newton's plain step runs off on a convex function, from anywhere beyond 1.089, and jumps onto a saddle; "
        "descent and the trust region do neither. Hollow: exactly 0."
    )
    return {"examples": figure}


claims = {"second-order-strictly-better-in-theory": _strictly_better, "trust-region-mends-both": _mends_both}
