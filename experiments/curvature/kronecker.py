"""How well does a Kronecker product stand for a layer's curvature?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, between, close, jax, jnp

kind = "host"


class Config(lab.Config):
    inputs: int = pydantic.Field(4, ge=1)
    """inputs of the layer"""
    hidden: int = pydantic.Field(6, ge=2)
    """its units"""
    outputs: int = pydantic.Field(3, ge=1)
    """outputs of the network"""
    samples: int = pydantic.Field(500, ge=10)
    """random inputs"""
    networks: int = pydantic.Field(20, ge=1)
    """random networks"""


VARIABLES = {
    "hidden_error": Variable(("network",), "", "relative error of the product for a hidden layer, Frobenius norm"),
    "linear_error": Variable(("network",), "", "the same for a linear layer alone"),
    "by_ad": Variable(("network",), "", "the hidden layer's block less that of whole Jacobians, relative"),
    "exact": Variable(("row", "column"), "", "the block of the first network"),
    "product": Variable(("row", "column"), "", "its Kronecker product"),
    "stored": Variable((), "", "numbers that the two factors hold"),
}


def _block(input, after):
    """A layer's block of the Fisher matrix of a unit-normal output, exact and from its two factors.

    ``F = E[a a' (x) J'J]`` and ``E[a a'] (x) E[J'J]``, a the layer's input and J the outputs by its units.
    """
    samples = len(input)
    inner = jnp.einsum("sa,sb->ab", input, input) / samples
    outer = jnp.einsum("soi,soj->ij", after, after) / samples
    full = jnp.einsum("sa,sb,soi,soj->aibj", input, input, after, after) / samples
    size = inner.shape[0] * outer.shape[0]
    exact, product = full.reshape(size, size), jnp.kron(inner, outer)
    return {
        "error": jnp.linalg.norm(product - exact) / jnp.linalg.norm(exact),
        "exact": exact,
        "product": product,
        "stored": inner.size + outer.size,
    }


def run(config, key):
    from jaxcalc.models import mlp

    model = mlp((config.inputs, config.hidden, config.outputs))

    def measured(key):
        keys = jax.random.split(key, 3)
        first, last = model.init(keys[0])
        x = jax.random.normal(keys[1], (config.samples, config.inputs))
        hidden = jax.vmap(jax.jacrev(lambda z: jnp.tanh(z) @ last.weights + last.biases))(x @ first.weights)

        # By the chain rule the outputs by the weights are J (x) a; here they are differentiated as a whole.
        def outputs(weights, x):
            return model.apply([first._replace(weights=weights), last], x)

        direct = jax.vmap(jax.jacrev(outputs), in_axes=(None, 0))(first.weights, x)
        direct = direct.reshape(config.samples, config.outputs, -1)
        fisher = jnp.einsum("soi,soj->ij", direct, direct) / config.samples
        alone = jnp.broadcast_to(jnp.eye(config.hidden), (config.samples, config.hidden, config.hidden))
        blocks = _block(x, hidden), _block(x, alone)
        by_ad = jnp.linalg.norm(blocks[0]["exact"] - fisher) / jnp.linalg.norm(fisher)
        return blocks[0], blocks[1]["error"], by_ad

    block, linear, by_ad = jax.jit(lambda keys: jax.lax.map(measured, keys))(jax.random.split(key, config.networks))
    return {
        "hidden_error": block["error"],
        "linear_error": linear,
        "by_ad": by_ad,
        "exact": block["exact"][0],
        "product": block["product"][0],
        "stored": int(block["stored"][0]),
    }


def _factored(dataset):
    linear, hidden = dataset.linear_error.values, dataset.hidden_error.values
    stored, size = float(dataset.stored), dataset.exact.size
    return Finding(
        close({"linear_layer_error": linear.max()})
        & below(dataset.by_ad, 1e-12)
        & between(hidden.max(), 0.01, 1.0)
        & between(stored, 1, size / 4),
        measured=f"linear layer: error {linear.max():.1g}; hidden layer: median {100 * np.median(hidden):.1f}%, from "
        f"{100 * hidden.min():.0f}% to {100 * hidden.max():.0f}% over {hidden.size} networks, {stored:g} numbers for "
        f"{size}",
        figure="blocks",
        note="The Fisher matrix of a normal output with variance 1, which is the Gauss-Newton matrix of half the "
        "squared error.",
    )


def figures(dataset):
    figure, panels = style.subplots(1, 3, width="page", height=2.6, letters=False)
    exact, product = dataset.exact.values, dataset["product"].values
    matrices = {"exact block": exact, "Kronecker product": product, "difference": product - exact}
    top, ends = float(abs(exact).max()), ((0, len(exact) - 1), ("1", str(len(exact))))
    for panel, (title, matrix) in zip(panels, matrices.items()):
        panel.imshow(matrix, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
        panel.set(title=title, xlabel="weight")
        panel.grid(visible=False)
        panel.set_xticks(*ends)
        panel.set_yticks(*ends)
    panels[0].set_ylabel("weight")
    bar = figure.colorbar(panels[0].images[0], ax=panels, shrink=0.8, label="entry of the Fisher matrix")
    bar.outline.set_visible(False)
    figure.set_label(
        "A hidden layer's block of the Fisher matrix, the Kronecker product of its two factors, and their difference, "
        f"{100 * float(dataset.hidden_error[0]):.0f}% in the Frobenius norm: {int(dataset.stored)} numbers in place of "
        f"{exact.size}."
    )
    return {"blocks": figure}


claims = {"kronecker-factored-curvature": _factored}
