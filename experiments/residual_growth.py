"""How do gradients grow through 128 residual blocks, and which assumption of mean-field theory does a plain skip break?

Blocks ``h + phi(W h)`` of one matrix and ``h + V phi(W h)`` of two, ReLU and tanh. Mean-field theory takes the weights
that a gradient meets as independent of the signal that has met them too. Without biases ReLU's network is homogeneous,
and by Euler's identity the gradient along the signal grows as the signal does: behind plain skips faster than all else.
"""

import functools

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, between, close, jax, jnp

kind = "compiled"
dtype = "float64"
NETWORKS = {
    "ReLU, one matrix": ("relu", False, 2.0),
    "ReLU, two matrices": ("relu", True, 2.0),
    "tanh, one matrix": ("tanh", False, 1.0),
    "tanh, two matrices": ("tanh", True, 1.0),
}


class Config(lab.Config):
    """Random residual networks, a random signal going up and random gradients coming down."""

    depth: int = pydantic.Field(default=128, ge=8)
    """blocks"""
    width: int = pydantic.Field(default=128, ge=8)
    """units in a block"""
    draws: int = pydantic.Field(default=8, ge=4)
    """networks drawn of each kind"""
    gradients: int = pydantic.Field(default=16, ge=1)
    """gradients sent down each network, normal and independent of it"""


_BY_LAYER, _ALL = ("network", "layer"), ("network", "draw", "layer")
VARIABLES = {
    "network": Variable(("network",), "", "activation and kind of block"),
    "layer": Variable(("layer",), "", "block, 0 being the input"),
    "signal": Variable(_ALL, "", "mean square of the block's output"),
    "gradient": Variable(_ALL, "", "mean squared norm of the gradient over that at the last block"),
    "along": Variable(_ALL, "", "the part of it along the signal"),
    "identity": Variable(("network", "draw"), "", "largest relative change of the product of gradient and signal"),
    "theory_signal": Variable(_BY_LAYER, "", "mean square of the block's output, mean-field theory"),
    "theory_gradient": Variable(_BY_LAYER, "", "squared norm of a gradient independent of the signal, theory"),
    "theory_along": Variable(_BY_LAYER, "", "squared norm of the gradient along the signal, Euler's identity"),
}


def shared(config):
    """Theory, at infinite width but for the gradient's share along the signal."""
    from jaxcalc.functions import mean_field, residual_growth

    layers, theory = config.depth, {"theory_signal": [], "theory_gradient": [], "theory_along": []}
    for phi, two, sw2 in NETWORKS.values():
        if two:
            followed = residual_growth.two_matrix_signals(phi, 1.0, sw2=sw2, num_layers=layers)
        else:
            followed = mean_field.signals(phi, 1.0, sw2=sw2, skip=1.0, num_layers=layers)
        moment = np.concatenate([[1.0], followed.moment])
        theory["theory_signal"].append(moment)
        theory["theory_gradient"].append(mean_field.attenuation(followed.factor, layers) ** 2)
        is_homogeneous = phi == "relu"
        theory["theory_along"].append(moment[-1] / moment / config.width if is_homogeneous else np.nan * moment)
    names = {"network": np.array(list(NETWORKS)), "layer": np.arange(layers + 1)}
    return names | {name: np.stack(rows) for name, rows in theory.items()}


def run(config, key):
    """Each network up and down."""
    found = []
    for kind_key, (phi, two, sw2) in zip(jax.random.split(key, len(NETWORKS)), NETWORKS.values(), strict=True):
        keys = jax.random.split(kind_key, config.draws)
        found.append(jax.lax.map(functools.partial(_through, config, phi, two, sw2), keys))
    return jax.tree.map(lambda *rows: jnp.stack(rows), *found)


def _through(config, phi, two, sw2, key):
    """One network: squares of signal and gradients by layer."""
    from jaxcalc import models

    n = config.width
    signal_key, gradient_key, weights_key = jax.random.split(key, 3)
    start = jax.random.normal(signal_key, (1, n), float)
    start = start * jnp.sqrt(n) / jnp.linalg.norm(start)
    top = jax.random.normal(gradient_key, (config.gradients, n), float)
    top = top / jnp.linalg.norm(top, axis=1, keepdims=True)

    residual = "two_matrix" if two else "plain"
    network = models.deep_network(n, n, n, max_depth=config.depth, phi=phi, residual=residual)
    # The blocks alone: what goes in and what comes out are the signal itself.
    params = network.init(weights_key, sw2=sw2)._replace(embedding=jnp.eye(n), readout=jnp.eye(n))
    back = lambda g: models.states_and_gradients(network.trace, lambda outputs: outputs @ g, params, start)
    signals, gradients = jax.vmap(back, out_axes=(None, 1))(top)
    signals, gradients = signals[:, 0], gradients[:, :, 0]
    products = jnp.einsum("lgn,ln->lg", gradients, signals)
    squares = jnp.sum(signals**2, 1)
    return {
        "signal": squares / n,
        "gradient": jnp.mean(jnp.sum(gradients**2, 2), 1),
        "along": jnp.mean(products**2, 1) / squares,
        "identity": jnp.max(jnp.abs(products - products[-1]) / jnp.linalg.norm(products[-1])),
    }


def _typical(array):
    """The geometric mean over draws."""
    return np.exp(np.log(array).mean("draw", skipna=False))


def figures(dataset):
    """Signal and gradient by block, one panel a kind of network."""
    from matplotlib.ticker import LogLocator

    figure, axes = style.subplots(1, 4, width="page", height=3.0, letters=False)
    colors = {"signal": style.COLORS["blue"], "gradient": style.COLORS["vermilion"], "along": style.COLORS["green"]}
    labels = {
        "signal": "signal, from the input up",
        "gradient": "gradient, from the last block down",
        "along": "its part along the signal",
    }
    for ax, name in zip(axes.flat, dataset.network.values.tolist(), strict=True):
        one = dataset.sel(network=name)
        depth = one.sizes["layer"] - 1
        for variable, color in colors.items():
            # Blocks passed on the way, so that what grows grows to the right.
            x = one.layer if variable == "signal" else depth - one.layer
            ax.plot(x, _typical(one[variable]), color=color, label=labels[variable])
            ax.plot(x, one[f"theory_{variable}"], **style.THEORY)
        ax.set_title(name, fontsize=8)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(base=10, numticks=6))
        ax.set_xlabel("blocks passed")
    axes.flat[0].set_ylabel("mean square over the first")
    axes.flat[0].plot([], [], **style.THEORY, label="theory")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.set_label(
        "Signals and gradients through residual blocks, geometric means over networks. Dashed: mean-field theory, "
        "valid at infinite width for gradients independent of the signal, and Euler's identity for the part along it. "
        "With one matrix and ReLU that part overtakes the independent one; elsewhere it does not."
    )
    return {"growth_by_block": figure}


def tables(dataset):
    """Measured and predicted gradients at the input, in decades of the norm."""
    decades = lambda square: f"{0.5 * np.log10(float(square)):.2f}"
    rows = []
    for name in dataset.network.values.tolist():
        one = dataset.sel(network=name, layer=0)
        along = float(one.theory_along)
        rows.append(
            {
                "network": name,
                "measured": decades(_typical(one.gradient)),
                "independent, theory": decades(one.theory_gradient),
                "along the signal, theory": decades(along) if np.isfinite(along) else "",
            }
        )
    return {"Decades that the gradient's norm grows by from the last block to the input": rows}


def _growth(dataset, name, first=0):
    """Growth of the squared gradient a block, measured over theory."""
    one = dataset.sel(network=name)
    blocks = one.sizes["layer"] - 1 - first
    ratio = _typical(one.gradient) / one.theory_gradient
    return float((ratio.sel(layer=0) / ratio.sel(layer=one.sizes["layer"] - 1 - first)) ** (1 / blocks))


def _judge_independence(dataset):
    """Where gradients follow the theory of independent weights, and the network in which they do not."""
    holds = [_growth(dataset, name) for name in NETWORKS if name != "ReLU, one matrix"]
    plain = dataset.sel(network="ReLU, one matrix", layer=0)
    off = 0.5 * np.log10(_typical(plain.gradient) / plain.theory_gradient)
    explained = 0.5 * np.log10(_typical(plain.gradient) / plain.theory_along)
    return Finding(
        close(holds),
        limits=above(off, 5.0) & between(explained, -0.3, 1.0),
        measured=f"a block within {100 * max(abs(np.array(holds) - 1)):.1f} % of theory, but for one matrix and ReLU: "
        f"{float(off):.1f} decades above it, {float(explained):.1f} above the part along the signal",
    )


def _judge_two_matrices(dataset):
    """The measured factor of a ReLU block of two matrices, on the gradient's square."""
    one = dataset.sel(network="ReLU, two matrices")
    blocks = one.sizes["layer"] - 1
    return close(float(_typical(one.gradient).sel(layer=0)) ** (1 / blocks))


def _judge_identity(dataset):
    """Euler's identity, of ReLU; tanh is not homogeneous."""
    relu = [name for name in NETWORKS if name.startswith("ReLU")]
    tanh = [name for name in NETWORKS if name.startswith("tanh")]
    return Finding(
        below(dataset.identity.sel(network=relu).max()), limits=above(dataset.identity.sel(network=tanh).min(), 1e-3)
    )


claims = {
    "residual-gradient-is-independent-of-signal": _judge_independence,
    "two-matrix-residual-gradient-growth": _judge_two_matrices,
    "gradient-times-signal-is-conserved": _judge_identity,
}
