"""Is the squared error convex: in the prediction, and in the weights?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, jax, jnp

kind = "host"


class Config(lab.Config):
    samples: int = pydantic.Field(40, ge=5)
    """inputs on [-2, 2]"""
    points: int = pydantic.Field(121, ge=11)
    """weights on each axis of the map"""


VARIABLES = {
    "model": Variable(("model",), "", "what predicts"),
    "first": Variable(("first",), "", "slope, or weight inside tanh"),
    "second": Variable(("second",), "", "intercept, or weight outside tanh"),
    "mean_loss": Variable(("model", "first", "second"), "", "mean squared error"),
    "least_eigenvalue": Variable(("model", "first", "second"), "", "least eigenvalue of its Hessian"),
    "curvature_in_prediction": Variable((), "", "least second derivative of the squared error by the prediction"),
}


def run(config, key):
    from jaxcalc.functions.activations import tanh
    from jaxcalc.functions.losses import mse

    x = jnp.linspace(-2, 2, config.samples)
    target = tanh(1.5 * x)
    models = {
        "linear": lambda p: p[0] * x + p[1],
        "tanh unit": lambda p: p[1] * tanh(p[0] * x),
    }
    inner, outer = jnp.linspace(-3, 3, config.points), jnp.linspace(-3, 3, config.points)
    weights = jnp.stack(jnp.meshgrid(inner, outer, indexing="ij"), axis=-1)

    def surface(model):
        loss = lambda p: mse.mean(model(p), target)
        each = lambda p: (loss(p), jnp.linalg.eigvalsh(jax.hessian(loss)(p))[0])
        return jax.jit(jax.vmap(jax.vmap(each)))(weights)

    found = [surface(model) for model in models.values()]
    return {
        "model": np.array(list(models)),
        "first": inner,
        "second": outer,
        "mean_loss": np.stack([loss for loss, _ in found]),
        "least_eigenvalue": np.stack([least for _, least in found]),
        "curvature_in_prediction": jnp.min(mse.second_derivative(x, target)),
    }


def _convex(dataset):
    linear, unit = (dataset.least_eigenvalue.sel(model=m).values for m in ("linear", "tanh unit"))
    inner = float(dataset.curvature_in_prediction)
    return Finding(
        above(inner, 0.0) & above(linear, 0.0),
        limits=~above(unit, -1e-6),
        measured=f"least eigenvalue of the Hessian: linear model {linear.min():.3g}, "
        f"tanh unit {unit.min():.3g}; second derivative in the prediction {inner:g}",
    )


def figures(dataset):
    figure, axes = style.subplots(1, 2, width="page", height=3.1, sharey=True)
    bound = float(abs(dataset.least_eigenvalue).max())
    images = []
    for axis, model in zip(axes, map(str, dataset.model.values)):
        mine = dataset.sel(model=model)
        at = (dataset.first, dataset.second)
        colors = {"cmap": "PuOr", "vmin": -bound, "vmax": bound}
        images.append(axis.pcolormesh(*at, mine.least_eigenvalue.T, shading="gouraud", rasterized=True, **colors))
        axis.contour(*at, mine.mean_loss.T, levels=[0.1, 0.2, 0.5, 1, 2, 4, 8], colors="black", linewidths=0.6)
        axis.set_title(model)
        axis.grid(False)
        axis.set_aspect("equal")
    axes[0].set(xlabel="slope", ylabel="intercept")
    axes[1].set(xlabel="weight inside tanh", ylabel="weight outside tanh")
    figure.colorbar(images[0], ax=list(axes), label="least eigenvalue of the Hessian")
    figure.set_label(
        "The squared error as a function of two weights (black: its level lines). Of a linear model it is convex; of "
        "one tanh unit it has directions of negative curvature (orange)."
    )
    return {"convexity": figure}


claims = {"mse-quadratic-hence-convex": _convex}
