"""Small networks of equal blocks in one scan: convolutions on images, self-attention on sequences."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation, activation
from jaxcalc.models.dense import NORMALISATIONS, RESIDUALS, normalise
from jaxcalc.models.initialisation import draw_weights
from jaxcalc.models.scan import CHECKPOINTS, scan_layers

__all__ = ["NORM_PLACES", "BlockNetwork", "BlockParameters", "NormPlace", "convolutional_network", "transformer"]

NormPlace = Literal["pre", "post"]
NORM_PLACES: tuple[NormPlace, ...] = get_args(NormPlace)


class BlockParameters(NamedTuple):
    """Embedding, ``depth`` stacked blocks (a dict of arrays with the blocks along their leading axis) and readout."""

    embedding: jax.Array
    blocks: dict[str, jax.Array]
    readout: jax.Array


class BlockNetwork(NamedTuple):
    """A model of equal blocks, and what it takes to look at each of them."""

    init: Callable[[jax.Array], BlockParameters]
    apply: Callable[..., jax.Array]
    trace: Callable[..., tuple[jax.Array, jax.Array]]
    """what ``apply`` returns, and every block's output, the embedded input first: ``(depth + 1, *block shape)``"""
    depth: int


def convolutional_network(
    num_channels: int,
    width: int,
    num_outputs: int,
    *,
    depth: int,
    phi: Activation | str = "relu",
    kernel_size: int = 3,
    initialisation: str = "he",
    residual: str = "none",
    normalisation: str = "none",
    checkpoint: str = "none",
) -> BlockNetwork:
    """Equal convolutions between a linear embedding of each pixel and a linear readout of the image's mean.

        h <- skip h + branch phi(norm(K * h) + b)

    with zeros around the image; ``norm`` is over the batch and the image (``"batch"``) or over a pixel's channels.

    Args:
      num_channels, width, num_outputs: channels of the image and of the blocks, and outputs.
      depth: blocks.
      phi: the activation, or its name.
      kernel_size: pixels along a side of K, odd.
      initialisation: of K as a matrix of ``kernel_size^2 width`` rows, see ``draw_weights``.
      residual: ``"none"``, ``"plain"`` or ``"scaled"``, as for ``deep_network``.
      normalisation: see ``normalise``. checkpoint: see ``scan_layers``.

    Returns:
      A network; ``apply(params, x, *, probes=None)`` from ``(batch, height, width, num_channels)`` to ``(batch,
      num_outputs)``, ``probes`` shaped like the blocks' outputs.

    Raises:
      ValueError: for a size or depth below 1, an even kernel, or an unknown name.
    """
    who = "convolutional_network"
    _check_sizes(who, num_channels=num_channels, width=width, num_outputs=num_outputs, depth=depth)
    checks.one_of(who, "residual", residual, tuple(name for name in RESIDUALS if name != "two_matrix"))
    checks.one_of(who, "normalisation", normalisation, NORMALISATIONS)
    checks.one_of(who, "checkpoint", checkpoint, CHECKPOINTS)
    if checks.integer(who, "kernel_size", kernel_size) % 2 == 0:
        raise ValueError(f"{who}: kernel_size must be odd, got {kernel_size}.")
    phi = activation(phi) if isinstance(phi, str) else phi
    skip, branch = float(residual != "none"), depth**-0.5 if residual == "scaled" else 1.0
    fan_in = kernel_size**2 * width
    draw_weights(initialisation, jax.random.key(0), (1, 1))  # an unknown name is refused here, not at the first call

    def init(key):
        of_embedding, of_readout, of_blocks = jax.random.split(key, 3)
        draw = lambda k: draw_weights(initialisation, k, (fan_in, width))
        kernels = jax.vmap(draw)(jax.random.split(of_blocks, depth))
        blocks = {
            "kernel": kernels.reshape(depth, kernel_size, kernel_size, width, width),
            "bias": jnp.zeros((depth, width)),
        }
        return BlockParameters(
            draw_weights("lecun", of_embedding, (num_channels, width)),
            blocks,
            draw_weights("lecun", of_readout, (width, num_outputs)),
        )

    def block(block, h):
        layout = ("NHWC", "HWIO", "NHWC")
        grown = jax.lax.conv_general_dilated(h, block["kernel"], (1, 1), "SAME", dimension_numbers=layout)
        return skip * h + branch * phi(normalise(normalisation, grown) + block["bias"])

    return _network(init, lambda x, params: x @ params, block, lambda h: h.mean((1, 2)), depth, checkpoint)


def transformer(
    num_inputs: int,
    width: int,
    num_outputs: int,
    *,
    depth: int,
    num_heads: int = 2,
    phi: Activation | str = "gelu",
    norm: str = "pre",
    normalisation: str = "layer",
    causal: bool = False,
    hidden_factor: int = 4,
    checkpoint: str = "none",
) -> BlockNetwork:
    """Equal blocks of self-attention and a perceptron between a linear embedding and a readout of the sequence's mean.

    With norm ``"pre"``:  ``h <- h + attention(N(h))``, ``h <- h + mlp(N(h))``; with ``"post"``:
    ``h <- N(h + attention(h))``, ``h <- N(h + mlp(h))``. Attention is ``softmax(Q K^T / sqrt(width / num_heads)) V``
    in each head, heads side by side times a matrix; the perceptron is ``phi(h W_1 + b) W_2``.

    Args:
      num_inputs, width, num_outputs: size of a token, of the blocks, of the readout.
      depth: blocks.
      num_heads: divides the width.
      phi: the perceptron's activation, or its name.
      norm: where normalisation stands. normalisation: which, see ``normalise``.
      causal: whether a token sees only itself and those before it.
      hidden_factor: hidden units of the perceptron over the width.
      checkpoint: see ``scan_layers``.

    Returns:
      A network; ``apply(params, x, *, probes=None)`` from ``(batch, time, num_inputs)`` to ``(batch, num_outputs)``.
      It knows no positions; add encodings to ``x``.

    Raises:
      ValueError: for a size or depth below 1, heads that do not divide the width, or an unknown name.
    """
    who = "transformer"
    sizes = {"num_inputs": num_inputs, "width": width, "num_outputs": num_outputs, "depth": depth}
    _check_sizes(who, **sizes, num_heads=num_heads, hidden_factor=hidden_factor)
    checks.one_of(who, "norm", norm, NORM_PLACES)
    checks.one_of(who, "normalisation", normalisation, NORMALISATIONS)
    checks.one_of(who, "checkpoint", checkpoint, CHECKPOINTS)
    if width % num_heads:
        raise ValueError(f"{who}: num_heads must divide width, got {num_heads} heads and width {width}.")
    phi = activation(phi) if isinstance(phi, str) else phi
    hidden, size = hidden_factor * width, width // num_heads
    shapes = {
        "query": (width, width),
        "key": (width, width),
        "value": (width, width),
        "mix": (width, width),
        "up": (width, hidden),
        "down": (hidden, width),
    }

    def init(key):
        of_embedding, of_readout, *of_blocks = jax.random.split(key, 2 + len(shapes))
        blocks = {
            name: jax.vmap(lambda k, shape=shape: draw_weights("lecun", k, shape))(jax.random.split(own, depth))
            for (name, shape), own in zip(shapes.items(), of_blocks, strict=True)
        }
        return BlockParameters(
            draw_weights("lecun", of_embedding, (num_inputs, width)),
            {**blocks, "bias": jnp.zeros((depth, hidden))},
            draw_weights("lecun", of_readout, (width, num_outputs)),
        )

    def attention(block, h):
        heads = lambda name: (h @ block[name]).reshape(*h.shape[:-1], num_heads, size)
        scores = jnp.einsum("...qhd,...khd->...hqk", heads("query"), heads("key")) / math.sqrt(size)
        if causal:
            length = h.shape[-2]
            scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("...hqk,...khd->...qhd", jax.nn.softmax(scores), heads("value"))
        return mixed.reshape(h.shape) @ block["mix"]

    def perceptron(block, h):
        return phi(h @ block["up"] + block["bias"]) @ block["down"]

    def block(block, h):
        for part in (attention, perceptron):
            if norm == "pre":
                h = h + part(block, normalise(normalisation, h))
            else:
                h = normalise(normalisation, h + part(block, h))
        return h

    return _network(init, lambda x, params: x @ params, block, lambda h: h.mean(-2), depth, checkpoint)


def _network(init, embed, block, pool, depth, checkpoint) -> BlockNetwork:
    """Embedding, scanned blocks with probes, pooling and readout."""

    def trace(params, x, *, probes=None):
        first = embed(x, params.embedding)
        first = first if probes is None else first + probes[0]

        def layer(h, inputs):
            parameters, probe = inputs
            h = block(parameters, h)
            h = h if probe is None else h + probe
            return h, h

        inputs = (params.blocks, None if probes is None else probes[1:])
        last, rest = scan_layers(layer, first, inputs, checkpoint)
        return pool(last) @ params.readout, jnp.concatenate([first[None], rest])

    return BlockNetwork(init, lambda params, x, **choices: trace(params, x, **choices)[0], trace, depth)


def _check_sizes(who: str, **sizes: Any) -> None:
    for name, size in sizes.items():
        checks.integer(who, name, size)
