"""What does one backward pass cost beside one nudge for each parameter?"""

from typing import Any

import numpy as np
import pydantic

from experiments.backpropagation import by_jax, by_tape, listing_start
from jaxcalc import lab, style
from jaxcalc.lab import Variable

kind = "host"
dtype = "float64"

_ROUTES = ("by hand", "tape", "reverse", "forward differences", "central differences")


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
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import finite_differences, tape
    from jaxcalc.engines.manual import backpropagate
    from jaxcalc.programs import cost

    x, y = jnp.ones((config.batch, config.inputs)), jnp.ones((config.batch, 1))
    operations = lambda fun, at: cost(fun, at).flops + cost(fun, at).transcendentals
    sizes, found = [], np.zeros((len(config.widths), len(_ROUTES)))
    for i, width in enumerate(config.widths):
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
        found[i] = [operations(routes[name], parameters) / value for name in _ROUTES]
        sizes.append(sum(leaf.size for leaf in parameters))
    return {"num_parameters": np.array(sizes), "route": np.array(_ROUTES), "relative_cost": found}


def tables(dataset):
    from jaxcalc import measure

    n = dataset.num_parameters.values
    rows = []
    for name in map(str, dataset.route.values):
        costs = dataset.relative_cost.sel(route=name).values
        rows.append(
            {
                "route": name,
                "smallest network": float(f"{costs[0]:.3g}"),
                "largest network": float(f"{costs[-1]:.3g}"),
                "exponent in parameters": float(f"{measure.exponent(n, costs):.3f}"),
            }
        )
    return {"Operations of a gradient, in evaluations of the loss": rows}


def figures(dataset):
    figure, axis = style.subplots(width=4.6, height=3.0)
    n = dataset.num_parameters.values
    looks = {
        "by hand": ("blue", "o"),
        "tape": ("green", "^"),
        "reverse": ("vermilion", "s"),
        "forward differences": ("orange", "D"),
        "central differences": ("purple", "v"),
    }
    for name in map(str, dataset.route.values):
        color, marker = looks[name]
        look: dict[str, Any] = {"color": style.COLORS[color], "marker": marker, "label": name}
        if name in ("by hand", "tape"):
            look |= {"markersize": 9 if name == "tape" else 6, "markerfacecolor": "none", "markeredgewidth": 0.9}
        axis.plot(n, dataset.relative_cost.sel(route=name), **look)
    theory = {**style.THEORY, "zorder": 3}
    axis.plot(n, n + 1, **theory)
    axis.plot(n, 2 * n, **theory)
    axis.set(xscale="log", yscale="log", xlabel="parameters n", ylabel="operations / those of the loss", ylim=(1, None))
    axis.legend(loc="center left", bbox_to_anchor=(0.45, 0.32))
    figure.set_label(
        "Loss and gradient of a two-layer network over the loss alone, operations counted: the three passes "
        "backward nearly coincide. Dashed: n + 1 and 2 n."
    )
    return {"cost": figure}
