"""Which stationary points does the loss of a small network have: minima, saddles, plateaus?

A network of tanh units learns XOR by least squares with weight decay. From many random starts the
search is for zeros of the gradient; weights that differ by exchanging units or flipping their signs
count as one point.
"""

import pydantic

from experiments.critical_points import (
    POINTS,
    agrees_with_values,
    all_stationary,
    counted,
    draw_points,
    listed,
    stationary_points,
)
from jaxcalc import lab, style
from jaxcalc.lab import Finding, above, jax, jnp, less

kind = "host"


class Config(lab.Config):
    hidden: int = pydantic.Field(2, ge=1)
    """hidden units"""
    decay: float = pydantic.Field(0.01, ge=0)
    """weight decay: its multiple of the squared norm of all weights belongs to the loss"""
    starts: int = pydantic.Field(400, ge=10)
    """random weights from which the search starts"""
    spread: float = pydantic.Field(3.0, gt=0)
    """standard deviation of these weights"""


VARIABLES = POINTS


def run(config, key):
    from jax.flatten_util import ravel_pytree

    from jaxcalc.models import mlp

    model = mlp((2, config.hidden, 1), "tanh")
    weights, unravel = ravel_pytree(model.init(key))
    inputs = jnp.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    targets = -inputs.prod(1)
    outputs = lambda w: model.apply(unravel(w), inputs)[:, 0]
    loss = lambda w: jnp.mean((outputs(w) - targets) ** 2) + config.decay * w @ w
    starts = config.spread * jax.random.normal(key, (config.starts, weights.size))
    return stationary_points(loss, starts, same="spectrum")


def _mostly_saddles(dataset):
    return Finding(above((dataset.kind == "saddle").mean(), 0.5), measured=counted(dataset))


def _equally_deep(dataset):
    minima = dataset.value[(dataset.kind == "minimum").values]
    return Finding(
        less(minima, 2 * minima.min(skipna=False)),
        measured="minima at losses " + ", ".join(f"{value:.3g}" for value in minima.values),
    )


def tables(dataset):
    return {"Stationary points, each with its mirror images": listed(dataset)}


def figures(dataset):
    figure, panels = style.subplots(1, 2, width="page", height=2.7)
    draw_points(panels, dataset, "loss")
    figure.set_label(
        "Stationary points of a tanh network on XOR, found from random weights by a search for "
        "zeros of the gradient, and the eigenvalues of the Hessian at each: below the dashed line "
        "the loss falls."
    )
    return {"points": figure}


claims = {
    "network-points-are-stationary": all_stationary,
    "network-labels-agree-with-values": agrees_with_values,
    "network-stationary-points-are-mostly-saddles": _mostly_saddles,
    "network-minima-are-equally-deep": _equally_deep,
}
