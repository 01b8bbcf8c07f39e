"""How far from isometry is a deep network: the singular values of its input-output Jacobian, by weights and activation.

Mean-field theory keeps the mean of their squares at 1 for critical weights; free probability gives their spread. It
grows with depth for Gaussian weights whatever the activation, stays for orthogonal weights and linear layers, and
grows slowly for orthogonal weights and tanh.
"""

import functools

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, close, jax, jnp

kind = "compiled"
dtype = "float64"
BIASES = 0.05  # tanh's variance of biases; its weights are critical for it
WEIGHTS, ACTIVATIONS = ("gaussian", "orthogonal"), ("linear", "relu", "tanh")


class Config(lab.Config):
    """Random networks without skips, critical, seen by their Jacobians."""

    depths: tuple[int, ...] = pydantic.Field(default=(1, 2, 4, 8, 16), min_length=2)
    """layers after which the Jacobian is looked at, in order"""
    width: int = pydantic.Field(default=128, ge=8)
    """units in a layer"""
    draws: int = pydantic.Field(default=4, ge=3)
    """networks of each kind"""

    @pydantic.model_validator(mode="after")
    def _in_order(self):
        if self.depths[0] < 1 or list(self.depths) != sorted(set(self.depths)):
            raise ValueError(f"depths must rise from 1 on, got {self.depths}")
        return self


_KINDS = ("weights", "activation")
VARIABLES = {
    "weights": Variable(("weights",), "", "ensemble of the weights"),
    "activation": Variable(("activation",), "", "activation"),
    "depth": Variable(("depth",), "", "layers"),
    "singular_value": Variable(
        (*_KINDS, "draw", "depth", "index"), "", "singular values of the Jacobian, largest first"
    ),
    "theory_variance": Variable((*_KINDS, "depth"), "", "variance of squared singular values over their mean's square"),
    "theory_largest": Variable((*_KINDS, "depth"), "", "largest singular value at infinite width"),
}


def _critical(phi):
    """The critical ``(sw2, sb2, moment)`` of an activation."""
    from jaxcalc.functions import edge_of_chaos

    # Numbers of the question's own, computed while run is traced and not within its program.
    with jax.ensure_compile_time_eval():
        return edge_of_chaos.critical_point(phi, BIASES if phi == "tanh" else 0.0)


def shared(config):
    """Theory at infinite width."""
    from jaxcalc.functions import jacobian_spectra

    depths = jnp.asarray(config.depths, float)
    spreads, edges = [], []
    for weights in WEIGHTS:
        for phi in ACTIVATIONS:
            sw2, _, moment = _critical(phi)
            spreads.append(jacobian_spectra.isometry_variance(phi, moment, weights=weights, num_layers=depths))
            edge = jax.jit(
                jax.vmap(
                    lambda depth, phi=phi, weights=weights, sw2=sw2, moment=moment: (
                        jacobian_spectra.largest_singular_value(phi, moment, sw2=sw2, weights=weights, num_layers=depth)
                    )
                )
            )
            edges.append(edge(depths))
    shape = (len(WEIGHTS), len(ACTIVATIONS), len(config.depths))
    return {
        "weights": np.array(WEIGHTS),
        "activation": np.array(ACTIVATIONS),
        "depth": np.array(config.depths),
        "theory_variance": np.reshape(spreads, shape),
        "theory_largest": np.reshape(edges, shape),
    }


def run(config, key):
    """The singular values of every kind of network, some draws at every depth."""
    values = []
    for number, weights in enumerate(WEIGHTS):
        row = []
        for other, phi in enumerate(ACTIVATIONS):
            keys = jax.random.split(jax.random.fold_in(key, 8 * number + other), config.draws)
            row.append(jax.lax.map(functools.partial(_singular_values, config, weights, phi), keys))
        values.append(jnp.stack(row))
    return {"singular_value": jnp.stack(values)}


def _singular_values(config, weights, phi, key):
    """Those of one network's Jacobian after each of the depths."""
    from jaxcalc.functions.activations import activation
    from jaxcalc.models.dense import draw_weights

    n, (sw2, sb2, moment) = config.width, _critical(phi)
    phi, ensemble = activation(phi), "orthogonal" if weights == "orthogonal" else "glorot"
    keys = jax.random.split(key, config.depths[-1] + 1)
    u = jnp.sqrt(moment) * jax.random.normal(keys[0], (n,), float)

    def layer(carry, layer_key):
        # u are the entries before the activation of settled variance; the Jacobian is that of the activations.
        u, jacobian = carry
        weights_key, bias_key = jax.random.split(layer_key)
        matrix = jnp.sqrt(sw2) * draw_weights(ensemble, weights_key, (n, n)).T
        jacobian = phi.derivative(u)[:, None] * jacobian
        u = matrix @ phi(u) + jnp.sqrt(sb2) * jax.random.normal(bias_key, (n,), float)
        jacobian = matrix @ jacobian
        return (u, jacobian), jacobian

    _, jacobians = jax.lax.scan(layer, (u, jnp.eye(n)), keys[1:])
    return jnp.linalg.svd(jacobians[jnp.array(config.depths) - 1], compute_uv=False)


def _spread(dataset):
    """Variance of the squared singular values over their mean's square, over all draws together."""
    squares = dataset.singular_value**2
    return (squares**2).mean(("index", "draw"), skipna=False) / squares.mean(("index", "draw"), skipna=False) ** 2 - 1


def figures(dataset):
    """The spread and the largest singular value by depth, and the singular values of the deepest networks."""
    return {"spread_by_depth": _draw_spread(dataset), "singular_values": _draw_values(dataset)}


def _look(weights, phi):
    """A colour an activation, dotted for orthogonal weights."""
    look = style.method(phi, markersize=4, label=f"{phi}, {weights}")
    return {**look, "linestyle": "-" if weights == "gaussian" else (0, (1, 1))}


def _draw_spread(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9)
    spread, largest = _spread(dataset), dataset.singular_value.isel(index=0)
    for weights in WEIGHTS:
        for phi in ACTIVATIONS:
            kind, look = {"weights": weights, "activation": phi}, _look(weights, phi)
            if (weights, phi) != ("orthogonal", "linear"):  # zero to rounding has no place on a logarithmic axis
                left.plot(dataset.depth, spread.sel(kind), **look)
                left.plot(dataset.depth, dataset.theory_variance.sel(kind), **style.THEORY)
            right.plot(dataset.depth, largest.sel(kind).mean("draw"), **look)
            right.plot(dataset.depth, dataset.theory_largest.sel(kind), **style.THEORY)
    left.set_ylabel("relative variance of squares")
    right.set_ylabel("largest singular value")
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel="layers")
        style.ticks(ax.xaxis, dataset.depth.values)
    right.plot([], [], **style.THEORY, label="theory")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.set_label(
        "Spread (a) and largest (b) of the Jacobian's singular values by depth, means over networks; dashed: free "
        f"probability at infinite width, valid for layers much fewer than the {dataset.sizes['index']} units."
    )
    return figure


def _draw_values(dataset):
    figure, axes = style.subplots(1, len(ACTIVATIONS), width="page", height=2.3, letters=False, sharey=True)
    colors = style.sequence(dataset.sizes["depth"])
    rank = (np.arange(dataset.sizes["index"]) + 0.5) / dataset.sizes["index"]
    for ax, phi in zip(axes.flat, ACTIVATIONS, strict=True):
        for weights, line in zip(WEIGHTS, ("-", (0, (1, 1)))):
            values = dataset.singular_value.sel(weights=weights, activation=phi).mean("draw")
            for depth, color in zip(dataset.depth.values, colors, strict=True):
                label = f"{depth}" if weights == "gaussian" else None
                ax.plot(rank, values.sel(depth=depth), color=color, linestyle=line, marker="", label=label)
        ax.set(title=phi, yscale="log", ylim=(1e-4, 30), xlabel="share of singular values")
    axes.flat[0].set_ylabel("singular value")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=8, title="layers")
    figure.set_label(
        "All singular values, largest first, means over networks, whose ranks differ behind ReLU: Gaussian weights "
        "solid, orthogonal ones dotted. What is smaller than shown is cut off."
    )
    return figure


def tables(dataset):
    """Spread and edge beside theory."""
    spread, largest, rows = _spread(dataset), dataset.singular_value.isel(index=0).mean("draw"), []
    for weights in WEIGHTS:
        for phi in ACTIVATIONS:
            kind = {"weights": weights, "activation": phi}
            at = {**kind, "depth": 8} if 8 in dataset.depth else {**kind, "depth": dataset.depth.values[-1]}
            rows.append(
                {
                    "network": f"{phi}, {weights}",
                    "layers": int(at["depth"]),
                    "variance": f"{float(spread.sel(at)):.3g}",
                    "theory": f"{float(dataset.theory_variance.sel(at)):.3g}",
                    "largest": f"{float(largest.sel(at)):.3f}",
                    "theory's": f"{float(dataset.theory_largest.sel(at)):.3f}",
                }
            )
    return {"Singular values of the Jacobian": rows}


def _judge_relu(dataset):
    spread = _spread(dataset).sel(activation="relu", depth=8)
    return close({weights: float(spread.sel(weights=weights)) for weights in WEIGHTS})


def _judge_linear(dataset):
    largest = dataset.singular_value.sel(weights="gaussian", activation="linear").isel(index=0).mean("draw")
    return close([float(largest.sel(depth=depth)) for depth in (1, 4, 16)], relative=True)


def _judge_isometry(dataset):
    """Orthogonal weights keep all singular values at 1 in linear networks; ReLU undoes it."""
    orthogonal = dataset.singular_value.sel(weights="orthogonal")
    deepest = orthogonal.isel(depth=-1)
    return Finding(
        below(orthogonal.sel(activation="linear") - 1),
        limits=above(deepest.sel(activation="relu").isel(index=0), 2.0),
        figure="singular_values",
    )


claims = {
    "orthogonal-weights-give-isometry": _judge_isometry,
    "squared-singular-values-spread-with-depth": _judge_relu,
    "gaussian-product-largest-singular-value": _judge_linear,
}
