"""Which learning rates converge, against the condition number: a map with the edge of stability.

Quadratics with curvatures from 1 to the condition number, one lane for each pair of rate and condition number, all in
one program; gradient descent and momentum, whose edges are ``2 / L`` and ``2 (1 + decay) / L``.
"""

import functools
import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, below

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

kind = "compiled"


class Config(lab.Config):
    """A quadratic with curvatures from 1 to the condition number."""

    method: Literal["gradient-descent", "momentum"] = "gradient-descent"
    """the solver; momentum is the heavy ball"""
    rate: Swept[float] = pydantic.Field(0.1, gt=0)
    """learning rate, in the inverse of the least curvature"""
    condition_number: Swept[float] = pydantic.Field(10.0, ge=1)
    """the largest curvature; the least is 1"""
    decay: float = pydantic.Field(0.9, ge=0, lt=1)
    """of momentum's velocity"""
    dimension: int = pydantic.Field(8, ge=2)
    """variables"""
    num_steps: int = pydantic.Field(300, ge=10)
    """steps taken"""


VARIABLES = {
    "remaining": Variable((), "", "distance to the optimum at the end over that at the start"),
    "factor": Variable((), "", "factor by which that changes a step, over the whole run"),
    "status": Variable((), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite"),
}


def run(config: Config, key: Any) -> dict[str, Any]:
    import jax.numpy as jnp

    from jaxcalc.solvers import gradient_descent, iterate, momentum

    curvatures = jnp.asarray(config.condition_number, float) ** jnp.linspace(0.0, 1.0, config.dimension)
    fun = lambda x: jnp.sum(curvatures * x**2) / 2
    start = jnp.ones(config.dimension)
    heavy = config.method == "momentum"
    solver = momentum(config.rate, decay=config.decay) if heavy else gradient_descent(config.rate)
    distance = lambda at: jnp.linalg.norm(at.x)
    found = iterate(solver, fun, start, num_steps=config.num_steps, record=distance, tol=1e-8)
    remaining = found.history[-1] / found.history[0]
    # Past the largest number the distance is infinite or, in differences of infinities, not a number.
    remaining = jnp.where(jnp.isnan(remaining), jnp.inf, remaining)
    return {"remaining": remaining, "factor": remaining ** (1.0 / config.num_steps), "status": found.status}


_AXES = ("method", "condition_number", "rate")


def _edge(dataset: "xarray.Dataset", method: str) -> float:
    """The edge of stability times the largest curvature."""
    import json

    decay = float(json.loads(dataset.attrs.get("params", "{}")).get("decay", 0.9))
    return 2.0 * (1.0 + decay) if method == "momentum" else 2.0


def _edges(dataset: "xarray.Dataset") -> Finding:
    data = dataset.transpose(*_AXES)
    reach = data.rate.values[None, :] * data.condition_number.values[:, None]
    checks, told = [], []
    for method in map(str, data["method"].values):
        edge = _edge(dataset, method)
        left = data.remaining.sel({"method": method}).values
        # What has overflowed has grown; a NaN is no number and stays one.
        left = np.where(np.isposinf(left), np.finfo(float).max, left)
        # Within a tenth of the edge a few hundred steps leave it open.
        stable, unstable = left[reach < 0.9 * edge], left[reach > 1.1 * edge]
        checks.append(below(stable, 1.0) & above(unstable, 1.0))
        told.append(f"{method}: at most {stable.max():.3f} below {edge:g}/L, at least {unstable.min():.3g} above")
    if "gradient-descent" not in data["method"].values:
        raise NotJudged("it takes gradient descent")
    return Finding(functools.reduce(operator.and_, checks), measured="; ".join(told), figure="map")


claims = {"stability-edge-is-two-over-l": _edges}


def figures(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Patch

    from jaxcalc import style

    if set(dataset.remaining.dims) != set(_AXES):
        return {}
    data = dataset.transpose(*_AXES)
    methods = [str(m) for m in data["method"].values]
    figure, panels = style.subplots(1, len(methods), width="page", height=3.2, squeeze=False, sharex=True, sharey=True)
    kappa, rate = data.condition_number.values, data.rate.values
    image, grows = None, "#F3C9B0"
    colors = colormaps["cividis_r"].with_extremes(bad=grows)
    for panel, method in zip(panels.flat, methods):
        factor = data.factor.sel({"method": method}).values
        with np.errstate(divide="ignore"):
            steps = np.log(1e-6) / np.log(factor)
        shown = np.ma.masked_where(~(factor < 1), np.maximum(steps, 1.0))
        image = panel.pcolormesh(
            rate, kappa, shown, cmap=colors, norm=LogNorm(1, 1e4), shading="nearest", rasterized=True
        )
        edge = _edge(dataset, method) / kappa
        panel.plot(edge, kappa, **{**style.THEORY, "color": "black", "zorder": 3, "linewidth": 1.3})
        if method == "gradient-descent":
            panel.plot(2 / (1 + kappa), kappa, color="black", linewidth=1.0, linestyle=":", zorder=3)
        name = "2/L" if method == "gradient-descent" else r"2(1+$\beta$)/L"
        panel.set_title(f"{method.replace('-', ' ')}, edge {name} dashed", fontsize=8)
        panel.set(xscale="log", yscale="log", xlabel=r"learning rate × least curvature", xlim=(rate[0], rate[-1]))
        panel.set_ylim(kappa[0], kappa[-1])
        panel.grid(visible=False)
    panels[0, 0].set_ylabel("condition number")
    assert image is not None
    bar = figure.colorbar(image, ax=panels, label="steps to a millionth of the distance", pad=0.02)
    figure.legend(handles=[Patch(color=grows, label="diverges")], loc="outside lower center")
    bar.outline.set_visible(False)
    figure.set_label(
        "Steps that take the distance to the optimum to a millionth, at the mean factor of the run. Dashed: the edge "
        "of stability; dotted: the best rate of gradient descent, 2/(μ + L)."
    )
    return {"map": figure}
