"""Networks at initialisation, on which ``criticality`` is judged, with the verdict that is true of each."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["ARCHITECTURES", "Architecture"]

WIDTH, DEPTH = 128, 10


class Architecture(NamedTuple):
    """How a network is drawn, what it computes, and what it is given."""

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, Any], jax.Array]
    x: jax.Array


def stacked(key, depth, *shape, scale=1.0):
    """Weights of variance ``scale^2 / fan_in``, one matrix a layer."""
    return scale * jax.random.normal(key, (depth, *shape)) / math.sqrt(math.prod(shape[:-1]))


def batch(*shape):
    return jax.random.normal(jax.random.key(7), shape)


def dense(phi, sw2, sb2=0.0, depth=DEPTH, width=WIDTH, orthogonal=False):
    """``h <- phi(h) W + b``, a list of layers written out one by one."""

    def init(key):
        first, middle, bias, last = jax.random.split(key, 4)
        weights = stacked(middle, depth, width, width, scale=math.sqrt(sw2))
        if orthogonal:
            draw = jax.nn.initializers.orthogonal(math.sqrt(sw2))
            weights = jax.vmap(lambda key: draw(key, (width, width)))(jax.random.split(middle, depth))
        biases = math.sqrt(sb2) * jax.random.normal(bias, (depth, width))
        return {
            "first": stacked(first, 1, 8, width)[0],
            "layers": list(zip(weights, biases)),
            "last": stacked(last, 1, width, 10)[0],
        }

    def apply(params, x):
        h = x @ params["first"]
        for weights, bias in params["layers"]:
            h = phi(h) @ weights + bias
        return phi(h) @ params["last"]

    return Architecture(init, apply, batch(4, 8))


def scanned(layer, shapes, depth=DEPTH, width=WIDTH, rows=4, scales=None):
    """``h <- layer(h, *weights)`` as a loop over stacked weights."""

    def init(key):
        keys = jax.random.split(key, len(shapes) + 2)
        gains = scales or [1.0] * len(shapes)
        return (
            stacked(keys[0], 1, 8, width)[0],
            tuple(stacked(k, depth, *shape, scale=g) for k, shape, g in zip(keys[2:], shapes, gains)),
            stacked(keys[1], 1, width, 10)[0],
        )

    def apply(params, x):
        first, layers, last = params
        h, _ = jax.lax.scan(lambda h, w: (layer(h, *w), None), x @ first, layers)
        return h @ last

    return Architecture(init, apply, batch(rows, 8))


def square(count=1, width=WIDTH):
    return [(width, width)] * count


def layer_norm(h):
    h = h - h.mean(-1, keepdims=True)
    return h / jnp.sqrt(jnp.mean(h**2, -1, keepdims=True) + 1e-6)


def rms_norm(h):
    return h / jnp.sqrt(jnp.mean(h**2, -1, keepdims=True) + 1e-6)


def batch_norm(h):
    h = h - h.mean(0, keepdims=True)
    return h / jnp.sqrt(jnp.mean(h**2, 0, keepdims=True) + 1e-6)


def convolution(phi, scale, channels=64, depth=6, size=6, dimensions=1):
    axes = "HW"[:dimensions]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    window = (3,) * dimensions

    def convolve(h, kernel):
        return jax.lax.conv_general_dilated(h, kernel, (1,) * dimensions, "SAME", dimension_numbers=numbers)

    def init(key):
        first, middle, last = jax.random.split(key, 3)
        return (
            stacked(first, 1, *window, 3, channels)[0],
            stacked(middle, depth, *window, channels, channels, scale=scale),
            stacked(last, 1, channels, 10)[0],
        )

    def apply(params, x):
        first, layers, last = params
        h, _ = jax.lax.scan(lambda h, w: (convolve(phi(h), w), None), convolve(x, first), layers)
        return phi(h).mean(tuple(range(1, 1 + dimensions))) @ last

    return Architecture(init, apply, batch(2, *(size,) * dimensions, 3))


def attention(depth=4, width=128, heads=8, length=5, norm=layer_norm):
    """Blocks of attention and of two dense layers, each behind a norm and beside a skip connection."""

    def block(h, weights):
        query, key, value, out, up, down = weights
        parted = lambda a: a.reshape(*a.shape[:-1], heads, width // heads)
        n = norm(h)
        q, k, v = (parted(n @ w) for w in (query, key, value))
        shares = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(width // heads))
        h = h + jnp.einsum("bhqk,bkhd->bqhd", shares, v).reshape(h.shape) @ out
        return h + jax.nn.relu(norm(h) @ up) @ down, None

    def init(key):
        keys = jax.random.split(key, 8)
        shapes = [(width, width)] * 4 + [(width, 2 * width), (2 * width, width)]
        return (
            stacked(keys[0], 1, 8, width)[0],
            tuple(stacked(k, depth, *shape) for k, shape in zip(keys[2:], shapes)),
            stacked(keys[1], 1, width, 10)[0],
        )

    def apply(params, x):
        first, layers, last = params
        return norm(jax.lax.scan(block, x @ first, layers)[0]) @ last

    return Architecture(init, apply, batch(2, length, 8))


def recurrent(step, gates, gain=1.0, states=1, times=12, width=WIDTH):
    """A cell run over time, the last state read out."""

    def init(key):
        keys = jax.random.split(key, 3)
        return (
            stacked(keys[0], 1, width, gates * width, scale=gain)[0],
            stacked(keys[1], 1, 8, gates * width, scale=0.3)[0],
            stacked(keys[2], 1, width, 10)[0],
        )

    def apply(params, x):
        inner, outer, last = params
        start = (jnp.zeros((x.shape[0], width)),) * states
        cell = lambda state, x: (step(state, state[0] @ inner, x @ outer), None)
        return jax.lax.scan(cell, start, jnp.moveaxis(x, 1, 0))[0][0] @ last

    return Architecture(init, apply, batch(2, times, 8))


def rnn(state, inner, outer):
    return (jnp.tanh(inner + outer),)


def gru(state, inner, outer):
    reset, update, _ = jnp.split(jax.nn.sigmoid(inner + outer), 3, axis=-1)
    new = jnp.tanh(jnp.split(outer, 3, axis=-1)[2] + reset * jnp.split(inner, 3, axis=-1)[2])
    return ((1 - update) * new + update * state[0],)


def lstm(state, inner, outer):
    i, f, g, o = jnp.split(inner + outer, 4, axis=-1)
    cell = jax.nn.sigmoid(f + 1.0) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


relu, tanh = jax.nn.relu, jnp.tanh
identity = lambda h: h


def flax_dense(phi="tanh"):
    """Flax's own layers with their own initialisation, LeCun's."""
    import flax.linen as nn  # pyright: ignore[reportMissingImports]

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(DEPTH):
                x = getattr(jnp if phi == "tanh" else jax.nn, phi)(nn.Dense(WIDTH)(x))
            return nn.Dense(10)(x)

    x, module = batch(4, 8), Network()
    return Architecture(lambda key: module.init(key, x), module.apply, x)


def equinox_dense():
    """Equinox's perceptron: uniform weights of variance 1/(3 fan_in)."""
    import equinox as eqx

    build = lambda key: eqx.nn.MLP(8, 10, WIDTH, DEPTH, activation=jax.nn.relu, use_bias=False, key=key)
    static = eqx.filter(build(jax.random.key(0)), eqx.is_array, inverse=True)
    apply = lambda params, x: jax.vmap(eqx.combine(params, static))(x)
    return Architecture(lambda key: eqx.filter(build(key), eqx.is_array), apply, batch(4, 8))


# From a name to what builds it and its verdict: "outside the theory" where the theory must say that it does not hold.
# Convolutions lose what falls off the border, a twelfth or more of the kernel on few positions.
ARCHITECTURES: dict[str, tuple[Callable[[], Architecture], str]] = {
    "relu, He": (lambda: dense(relu, 2.0), "critical"),
    "relu, LeCun": (lambda: dense(relu, 1.0), "ordered"),
    "relu, too large": (lambda: dense(relu, 3.0), "chaotic"),
    "tanh, small": (lambda: dense(tanh, 0.5), "ordered"),
    "tanh, critical without biases": (lambda: dense(tanh, 1.0), "critical"),
    "tanh, critical": (lambda: dense(tanh, 1.760955, 0.05), "critical"),
    "tanh, chaotic": (lambda: dense(tanh, 4.0, 0.05), "chaotic"),
    "tanh, orthogonal": (lambda: dense(tanh, 2.5, 0.05, orthogonal=True), "chaotic"),
    "linear": (lambda: dense(identity, 1.0), "critical"),
    "gelu": (lambda: dense(jax.nn.gelu, 1.0), "ordered"),
    "silu": (lambda: dense(jax.nn.silu, 1.983), "ordered"),
    "sigmoid": (lambda: dense(jax.nn.sigmoid, 1.0), "ordered"),
    "leaky relu": (lambda: dense(functools.partial(jax.nn.leaky_relu, negative_slope=0.2), 2 / 1.04), "critical"),
    "relu, wide to narrow": (lambda: dense(relu, 2.0, width=256, depth=5), "critical"),
    "loop of tanh": (lambda: scanned(lambda h, w: tanh(h @ w), square(), scales=[0.8]), "ordered"),
    "loop of He relu": (lambda: scanned(lambda h, w: relu(h @ w), square(), scales=[2**0.5]), "critical"),
    "residual of two matrices": (lambda: scanned(lambda h, w, v: h + relu(h @ w) @ v, square(2)), "chaotic"),
    "residual, scaled": (
        lambda: scanned(lambda h, w, v: h + relu(h @ w) @ v / math.sqrt(DEPTH), square(2), scales=[2**0.5, 1.0]),
        "critical",
    ),
    "residual of one matrix, relu": (
        lambda: scanned(lambda h, w: h + relu(h @ w), square(), depth=32, scales=[2**0.5]),
        "outside the theory",
    ),
    "residual of one matrix, tanh": (lambda: scanned(lambda h, w: h + tanh(h @ w), square()), "chaotic"),
    "layer norm": (lambda: scanned(lambda h, w: tanh(layer_norm(h @ w)), square()), "normalised"),
    "rms norm": (lambda: scanned(lambda h, w: relu(rms_norm(h @ w)), square()), "normalised"),
    "batch norm, relu": (lambda: scanned(lambda h, w: relu(batch_norm(h @ w)), square(), rows=32), "normalised"),
    "batch norm, tanh": (lambda: scanned(lambda h, w: tanh(batch_norm(h @ w)), square(), rows=16), "normalised"),
    "residual behind layer norm": (
        lambda: scanned(lambda h, w, v: h + relu(layer_norm(h) @ w) @ v, square(2)),
        "normalised",
    ),
    "convolution, one axis": (lambda: convolution(tanh, 2.0), "chaotic"),
    "convolution, two axes": (
        lambda: convolution(relu, 2**0.5, dimensions=2, size=4, depth=5, channels=48),
        "ordered",
    ),
    "attention": (lambda: attention(), "critical"),
    "rnn": (lambda: recurrent(rnn, 1, 0.9), "ordered"),
    "gru": (lambda: recurrent(gru, 3), "ordered"),
    "lstm": (lambda: recurrent(lstm, 4, states=2), "ordered"),
    "Equinox, relu": (equinox_dense, "ordered"),
    "Flax, tanh": (flax_dense, "critical"),
    "Flax, relu": (lambda: flax_dense("relu"), "ordered"),
}
