"""The paths of a monotone, an oscillating and a divergent rate on the contours of the house-price loss."""

from typing import Literal

import numpy as np
import pydantic

from experiments.descent_examples import tolerance
from jaxcalc import lab, style
from jaxcalc.lab import Swept, Variable, jax, jnp

kind = "compiled"


class Config(lab.Config):
    """The way down a valley that can be drawn."""

    scaling: Literal["thousands", "standardized"] = "thousands"
    """Units of the houses: thousands of dollars and of square feet without an intercept, or mean 0 and deviation 1."""
    start: tuple[float, float] = (0.0, 0.0)
    """Weights of lot size and bedrooms to begin with."""
    rate: Swept[float] = pydantic.Field(1.0, gt=0)
    """Learning rate times the largest curvature: 2 is the limit of stability."""
    num_steps: int = pydantic.Field(40, ge=1)
    """Steps taken."""
    resolution: int = pydantic.Field(121, ge=2)
    """Points of the contour along each axis."""


VARIABLES = {
    "step": Variable(("step",), "", "gradient step"),
    "weight": Variable(("weight",), "", "feature that the weight belongs to"),
    "path": Variable(("step", "weight"), "", "weights along the descent"),
    "gap": Variable(("step",), "", "loss above its minimum"),
    "status": Variable((), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite"),
    "first": Variable(("first",), "", "weight of lot size on the contour's axis"),
    "second": Variable(("second",), "", "weight of bedrooms on the contour's axis"),
    "surface": Variable(("first", "second"), "", "loss above its minimum"),
    "optimum": Variable(("weight",), "", "the minimiser"),
}


def run(config, key):
    """The weights and the loss at every step."""
    from jaxcalc.functions import problems
    from jaxcalc.solvers import gradient_descent, iterate

    problem = problems.house_prices(("lotsize", "bedrooms"), config.scaling)
    start = jnp.asarray(config.start, float)
    result = iterate(
        gradient_descent(config.rate / problem.curvatures()[0][-1]),
        problem.function,
        start,
        num_steps=config.num_steps,
        tol=tolerance(problem, start),
        record=lambda at: {"path": at.x, "gap": at.value - problem.minimum},
    )
    return {**result.history, "status": result.status}


def shared(config):
    """The surface around the optimum and the start."""
    from jaxcalc.functions import problems

    problem = problems.house_prices(("lotsize", "bedrooms"), config.scaling)
    reach = 1.35 * np.max(np.abs(problem.optimum - np.asarray(config.start)) + 1e-3)
    first, second = (np.linspace(center - reach, center + reach, config.resolution) for center in problem.optimum)
    points = jnp.stack(jnp.meshgrid(first, second, indexing="ij"), axis=-1)
    return {
        "step": np.arange(config.num_steps + 1),
        "weight": np.array(["lotsize", "bedrooms"]),
        "first": first,
        "second": second,
        "surface": jax.vmap(jax.vmap(problem.function))(points) - problem.minimum,
        "optimum": problem.optimum,
    }


def figures(dataset):
    """The paths on the contours of the loss, up to three rates."""
    data = lab.over(dataset, "rate").isel(rate=slice(0, 3))
    in_thousands = "scaling" in data.coords and data.scaling.item() == "thousands"
    figure, panels = style.subplots(1, data.sizes["rate"], width="page", height=2.75, sharey=True, squeeze=False)
    surface = data.surface.transpose("second", "first")
    levels = np.geomspace(float(surface.quantile(0.003)), float(surface.max()), 12)
    low, high = np.transpose([data[name].values[[0, -1]] for name in ("first", "second")])
    star = {"marker": "*", "markersize": 11, "markerfacecolor": "white", "markeredgecolor": "black", "linestyle": ""}
    for panel, (_, lane), color in zip(panels[0], data.groupby("rate"), ("blue", "green", "vermilion")):
        lane = lane.squeeze("rate")
        panel.contour(data["first"], data.second, surface, levels=levels, colors="#B8B8B8", linewidths=0.6)
        path = lane.path.transpose("step", "weight").values
        outside = ((path < low) | (path > high)).any(axis=1)
        shown = path[: outside.argmax() + 1] if outside.any() else path  # until it leaves the surface
        panel.plot(*shown.T, "o-", color=style.COLORS[color], markersize=2.6, linewidth=1)
        panel.plot(*lane.optimum, **star, markeredgewidth=0.8, zorder=5)
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        panel.set_xlabel(f"weight of lot size{' (1000 $ / 1000 ft²)' if in_thousands else ''}")
        left = float(lane.gap[-1] / lane.gap[0])
        panel.set_title(rf"$\eta\,\lambda_{{\max}}$ = {float(lane.rate):.3g}:  loss × {left:.2g}")
        panel.grid(visible=False)
    panels[0, 0].set_ylabel(f"weight of bedrooms{' (1000 $ each)' if in_thousands else ''}")
    figure.set_label("Paths of gradient descent over the contours of the house-price loss; the star is the optimum.")
    return {"contour": figure}
