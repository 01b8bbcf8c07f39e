"""What does one backward pass cost beside one nudge for each parameter?"""

import numpy as np
import pydantic

from experiments.backpropagation import by_jax, by_tape
from jaxcalc import lab, measure, style
from jaxcalc.lab import Variable, jax, jnp

kind = "host"


class Config(lab.Config):
    widths: tuple[int, ...] = (4, 16, 64, 256)
    """hidden units of the networks that are priced"""
    inputs: int = pydantic.Field(16, ge=1)
    """inputs of the networks"""
    batch: int = pydantic.Field(32, ge=1)
    """samples in a batch"""


VARIABLES = {
    "num_parameters": Variable(("num_parameters",), "", "parameters of the network"),
    "route": Variable(("route",), "", "how the gradient is found"),
    "relative_cost": Variable(("num_parameters", "route"), "", "operations over those of the loss"),
}


def run(config, key):
    from jaxcalc.engines import finite_differences, tape
    from jaxcalc.engines.two_layer_backprop import backpropagate, listing_start
    from jaxcalc.programs import cost

    x, y = jnp.ones((config.batch, config.inputs)), jnp.ones((config.batch, 1))
    operations = lambda fun, at: cost(fun, at).flops + cost(fun, at).transcendentals
    sizes, found = [], []
    for width in config.widths:
        parameters = listing_start(0, config.inputs, width)
        loss = by_jax(x, y)
        differences = lambda scheme, loss=loss: finite_differences.gradient(loss, scheme=scheme)
        routes = {
            "by hand": lambda p: backpropagate(p, x, y, hidden="relu")[:2],
            "tape": tape.value_and_gradient(by_tape(x, y)),
            "reverse": jax.value_and_grad(loss),
            "forward differences": differences("forward"),
            "central differences": differences("central"),
        }
        value = operations(loss, parameters)
        found.append({name: operations(route, parameters) / value for name, route in routes.items()})
        sizes.append(sum(leaf.size for leaf in parameters))
    return {
        "num_parameters": np.array(sizes),
        "route": np.array(list(found[0])),
        "relative_cost": np.array([list(costs.values()) for costs in found]),
    }


def tables(dataset):
    costs = dataset.relative_cost.transpose("route", "num_parameters")
    exponents = [measure.exponent(dataset.num_parameters.values, row) for row in costs.values]
    columns = {
        "smallest network": costs[:, 0],
        "largest network": costs[:, -1],
        "exponent in parameters": costs[:, 0].copy(data=exponents),
    }
    return {"Operations of a gradient, in evaluations of the loss": lab.rows("route", columns)}


def figures(dataset):
    n = dataset.num_parameters
    hollow = {"markerfacecolor": "none", "markeredgewidth": 0.9}  # three passes backward nearly coincide
    figure, _ = style.chart(
        dataset.relative_cost,
        "num_parameters",
        hue="route",
        theory={"n + 1": n + 1, "2n": 2 * n},
        looks={
            "by hand": {"markersize": 6, **hollow},
            "tape": {"markersize": 9, **hollow},
            **{name: {"linestyle": ""} for name in ("forward differences", "central differences")},
        },
        log="xy",
        ylim=(1, 2e4),
        xlabel="parameters n",
        ylabel="operations / those of the loss",
        legend="ends",
        width=4.6,
        height=2.8,
    )
    figure.set_label(
        "Loss and gradient of a two-layer network over the loss alone, operations counted. Dashed: n + 1 and 2 n."
    )
    return {"cost": figure}
