"""Which learning rates converge, against the condition number: a map with the edge of stability.

Quadratics with curvatures from 1 to the condition number, one lane for each pair of rate and condition number, all in
one program; gradient descent and momentum, whose edges are ``2 / L`` and ``2 (1 + decay) / L``.
"""

import functools
import operator
from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, below, jnp

kind = "compiled"


class Config(lab.Config):
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


def run(config, key):
    from jaxcalc.solvers import gradient_descent, iterate, momentum

    curvatures = jnp.asarray(config.condition_number, float) ** jnp.linspace(0.0, 1.0, config.dimension)
    fun = lambda x: jnp.sum(curvatures * x**2) / 2
    start = jnp.ones(config.dimension)
    heavy = config.method == "momentum"
    solver = momentum(config.rate, decay=config.decay) if heavy else gradient_descent(config.rate)
    distance = lambda at: jnp.linalg.norm(at.x)
    found = iterate(solver, fun, start, num_steps=config.num_steps, record=distance, tol=1e-8)
    remaining = found.history[-1] / found.history[0]
    # Past the largest number the distance is infinite or, in differences of infinities, not a number. A NaN that no
    # growth led to stays one.
    grown = jnp.nanmax(found.history) > found.history[0] * jnp.finfo(remaining.dtype).max ** 0.25
    remaining = jnp.where(jnp.isnan(remaining) & grown, jnp.inf, remaining)
    return {"remaining": remaining, "factor": remaining ** (1.0 / config.num_steps), "status": found.status}


def _by_method(dataset):
    """Each method's runs over condition number and rate, and its edge of stability times the largest curvature."""
    data = lab.over(dataset, "method", "condition_number", "rate").transpose("method", "condition_number", "rate")
    edge = lambda name: 2.0 * (1.0 + float(data.decay)) if name == "momentum" else 2.0
    names = data["method"].values.tolist()
    return {name: (data.isel({"method": i}), edge(name)) for i, name in enumerate(names)}


def _edges(dataset):
    checks, told = [], []
    methods = _by_method(dataset)
    if "gradient-descent" not in methods:
        raise NotJudged("it takes gradient descent")
    for name, (one, edge) in methods.items():
        reach = (one.condition_number * one.rate).values
        # What has overflowed has grown; a NaN is no number and stays one.
        left = np.where(np.isposinf(one.remaining), np.finfo(float).max, one.remaining)
        # Within a tenth of the edge a few hundred steps leave it open.
        stable, unstable = left[reach < 0.9 * edge], left[reach > 1.1 * edge]
        checks.append(below(stable, 1.0) & above(unstable, 1.0))
        told.append(f"{name}: at most {stable.max():.3f} below {edge:g}/L, at least {unstable.min():.3g} above")
    return Finding(functools.reduce(operator.and_, checks), measured="; ".join(told), figure="map")


claims = {"stability-edge-is-two-over-l": _edges}

_GROWS = "#F3C9B0"


def figures(dataset):
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Patch

    methods = _by_method(dataset)
    if min(dataset.remaining.sizes.get(axis, 1) for axis in ("rate", "condition_number")) < 2:
        return {}
    figure, panels = style.subplots(1, len(methods), width="page", height=3.2, squeeze=False, sharex=True, sharey=True)
    colors, norm = colormaps["cividis_r"].with_extremes(bad=_GROWS), LogNorm(10, 1e4)
    for panel, (name, (one, edge)) in zip(panels.flat, methods.items()):
        rate, kappa, factor = one.rate.values, one.condition_number.values, one.factor.values
        with np.errstate(divide="ignore"):
            steps = np.maximum(np.log(1e-6) / np.log(factor), 1.0)
        steps = np.ma.masked_where(~(factor < 1), steps)
        look = {"cmap": colors, "norm": norm, "shading": "nearest", "rasterized": True}
        panel.pcolormesh(rate, kappa, steps, **look)
        panel.plot(edge / kappa, kappa, **{**style.THEORY, "color": "black", "zorder": 3, "linewidth": 1.3})
        if name == "gradient-descent":
            panel.plot(2 / (1 + kappa), kappa, color="black", linewidth=1.0, linestyle=":", zorder=3)
        told = r"2(1+$\beta$)/L" if name == "momentum" else "2/L"
        panel.set_title(f"{name.replace('-', ' ')}, edge {told} dashed")
        panel.set(xscale="log", yscale="log", xlabel="learning rate × least curvature")
        panel.set(xlim=(rate[0], rate[-1]), ylim=(kappa[0], kappa[-1]))
        panel.grid(visible=False)
    panels[0, 0].set_ylabel("condition number")
    label = "steps to a millionth of the distance"
    bar = figure.colorbar(ScalarMappable(norm, colors), ax=panels, label=label, pad=0.02, extend="min")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    figure.legend(handles=[Patch(color=_GROWS, label="diverges")], loc="outside lower center")
    figure.set_label(
        "Steps that take the distance to the optimum to a millionth, at the mean factor of the run. Dashed: the edge "
        "of stability; dotted: the best rate of gradient descent, 2/(μ + L)."
    )
    return {"map": figure}
