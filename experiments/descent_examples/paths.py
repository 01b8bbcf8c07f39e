"""The paths of a monotone, an oscillating and a divergent rate on the contours of the house-price loss."""

from typing import Literal

import numpy as np
import pydantic

from experiments.descent_examples import tolerance
from jaxcalc import lab, style
from jaxcalc.lab import Swept, Variable

kind = "compiled"
dtype = "float64"


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
    import jax.numpy as jnp

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
    import jax
    import jax.numpy as jnp

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
    import json

    data = dataset if "rate" in dataset.dims else dataset.expand_dims(rate=[np.nan])
    in_thousands = json.loads(dataset.attrs.get("params", "{}")).get("scaling") == "thousands"
    count = min(3, data.sizes["rate"])
    figure, panels = style.subplots(1, count, width="page", height=2.75, sharey=True, squeeze=False)
    levels = np.geomspace(float(data["surface"].quantile(0.003)), float(data["surface"].max()), 12)
    for panel, index, color in zip(panels[0], range(count), ("blue", "green", "vermilion")):
        lane = data.isel(rate=index)
        surface = lane["surface"].transpose("second", "first")
        panel.contour(lane["first"], lane["second"], surface, levels=levels, colors="#B8B8B8", linewidths=0.6)
        path = lane["path"].transpose("step", "weight").values
        shown = path[: _first_outside(path, lane["first"].values, lane["second"].values) + 1]
        panel.plot(*shown.T, color=style.COLORS[color], marker="o", markersize=2.6, linewidth=1.0)
        panel.plot(*lane["optimum"].values, color="black", marker="*", markersize=8, linestyle="")
        panel.set(xlim=lane["first"][[0, -1]], ylim=lane["second"][[0, -1]])
        panel.set_xlabel(f"weight of lot size{' (1000 $ / 1000 ft²)' if in_thousands else ''}")
        gap = lane["gap"].values
        panel.set_title(rf"$\eta\,\lambda_{{\max}}$ = {float(lane['rate']):.3g}:  loss × {gap[-1] / gap[0]:.2g}")
        panel.grid(visible=False)
    panels[0, 0].set_ylabel(f"weight of bedrooms{' (1000 $ each)' if in_thousands else ''}")
    figure.set_label("Paths of gradient descent over the contours of the house-price loss; the star is the optimum.")
    return {"contour": figure}


def _first_outside(path: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    """The index of the first point off the drawn surface, the path's length if there is none."""
    low, high = np.array([first[0], second[0]]), np.array([first[-1], second[-1]])
    outside = ~np.all((path >= low) & (path <= high), axis=1)
    return int(np.argmax(outside)) if outside.any() else len(path)
