"""Neural networks, differentiated in their inputs or in their parameters."""

from itertools import pairwise
from typing import Any

import numpy as np

from jaxcalc import checks
from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES", "dense", "layers"]


def layers(rng: np.random.Generator, widths: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (a, b) and biases (b,) of dense layers that keep activations of order one."""
    return [(rng.standard_normal((a, b)) / np.sqrt(a), 0.1 * rng.standard_normal(b)) for a, b in pairwise(widths)]


def dense(parameters: Any, x: Any, activation: str) -> Any:
    """Dense layers along the last axis of x, the activation between them."""
    import jax

    act = getattr(jax.nn, activation)
    for weight, bias in parameters[:-1]:
        x = act(x @ weight + bias)
    weight, bias = parameters[-1]
    return x @ weight + bias


def _network(rng: np.random.Generator, *, widths: tuple[int, ...], activation: str = "tanh") -> Scenario:
    """A dense network in its input, x -> W_L s(... s(W_1 x + b_1) ...) + b_L."""
    constants = (layers(rng, widths),)
    return Scenario(lambda x, p: dense(p, x, activation), rng.standard_normal(widths[0]), constants)


def _batched(rng: np.random.Generator, *, batch: int, widths: tuple[int, ...], activation: str) -> Scenario:
    """One network on every row of a batch: y_i = net(x_i), block diagonal."""
    point, constants = rng.standard_normal((batch, widths[0])), (layers(rng, widths),)
    return Scenario(lambda x, p: dense(p, x, activation), point, constants, num_nonzeros=batch * widths[0] * widths[-1])


def _example_losses(rng: np.random.Generator, *, batch: int, widths: tuple[int, ...], kind: str) -> Scenario:
    """The loss of every example in the parameters of a dense network: squared error, or softmax cross-entropy."""
    import jax
    import jax.numpy as jnp

    inputs, target = rng.standard_normal((batch, widths[0])), rng.standard_normal((batch, widths[-1]))
    labels = rng.integers(widths[-1], size=batch)

    def squared(p, inputs, target):
        return jnp.sum((dense(p, inputs, "tanh") - target) ** 2, axis=-1) / 2

    def softmax(p, inputs, labels):
        scores = jax.nn.log_softmax(dense(p, inputs, "silu"), axis=-1)
        return -jnp.take_along_axis(scores, labels[:, None], axis=-1)[:, 0]

    match kind:
        case "squared":
            return Scenario(squared, layers(rng, widths), (inputs, target))
        case "softmax":
            return Scenario(softmax, layers(rng, widths), (inputs, labels))
        case _:
            raise checks.unknown("example losses", "kind", kind, ("squared", "softmax"))


def _convolution(
    rng: np.random.Generator,
    *,
    image: tuple[int, ...],
    channels: tuple[int, ...],
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
) -> Scenario:
    """Convolutions with a smooth activation between them, y = K_2 * softplus(K_1 * x), channels last, padded."""
    import jax
    from jax import lax

    letters = "HW"[: len(image)]
    axes = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    kernels = [
        rng.standard_normal((kernel,) * len(image) + (a, b)) / np.sqrt(a * kernel ** len(image))
        for a, b in pairwise(channels)
    ]

    def convolve(x, kernels):
        x = x[None]
        for i, k in enumerate(kernels):
            x = jax.nn.softplus(x) if i else x
            steps, spread = (stride,) * len(image), (dilation,) * len(image)
            x = lax.conv_general_dilated(x, k, steps, "SAME", rhs_dilation=spread, dimension_numbers=axes)
        return x[0]

    return Scenario(convolve, rng.standard_normal((*image, channels[0])), (kernels,))


def _attention(rng: np.random.Generator, *, length: int, width: int, heads: int, causal: bool) -> Scenario:
    """Self-attention in its input, y = x + softmax(Q K' / sqrt d) V per head; causal ones after a layer norm.

    Source: Vaswani et al., Attention is all you need (2017).
    """
    import jax
    import jax.numpy as jnp

    weights = rng.standard_normal((4, width, width)) / np.sqrt(width)

    def block(x, weights):
        size = width // heads
        inner = x
        if causal:
            inner = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
        q, k, v = ((inner @ w).reshape(length, heads, size) for w in weights[:3])
        score = jnp.einsum("ihd,jhd->hij", q, k) / float(np.sqrt(size))
        if causal:
            score = jnp.where(jnp.tril(jnp.ones((length, length), bool)), score, -1e9)
        mixed = jnp.einsum("hij,jhd->ihd", jax.nn.softmax(score, axis=-1), v)
        return x + mixed.reshape(length, width) @ weights[3]

    return Scenario(block, rng.standard_normal((length, width)), (weights,))


def _normalisation(rng: np.random.Generator, *, rows: int, columns: int, axis: int) -> Scenario:
    """y = g (x - mean) / sqrt(var + 1e-5) + b over one axis: layer norm (last), batch norm (first), blocks either way.

    Source: Ba et al. (2016); Ioffe and Szegedy (2015).
    """
    import jax

    def normalise(x, gain, bias):
        return gain * (x - x.mean(axis, keepdims=True)) * jax.lax.rsqrt(x.var(axis, keepdims=True) + 1e-5) + bias

    constants = (rng.uniform(0.5, 2.0, columns), rng.standard_normal(columns))
    length = (rows, columns)[axis]
    return Scenario(normalise, rng.standard_normal((rows, columns)), constants, num_nonzeros=rows * columns * length)


def _lstm(rng: np.random.Generator, *, steps: int, inputs: int, hidden: int, loss: bool) -> Scenario:
    """An LSTM over a sequence: all hidden states in the inputs, or the squared prediction error in the parameters.

    c <- s(f) c + s(i) tanh(g),  h <- s(o) tanh(c),  (i, f, g, o) = W [u, h] + b.

    Source: Hochreiter and Schmidhuber (1997); the loss as in ADBench (Srajer et al. 2018), one layer.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    sequence = rng.standard_normal((steps, inputs))
    parameters = {
        "mix": rng.standard_normal((inputs + hidden, 4 * hidden)) / np.sqrt(inputs + hidden),
        "bias": 0.1 * rng.standard_normal(4 * hidden),
        "read": rng.standard_normal((hidden, inputs)) / np.sqrt(hidden),
    }

    def states(sequence, p):
        def cell(carry, u):
            h, c = carry
            i, f, g, o = jnp.split(jnp.concatenate([u, h]) @ p["mix"] + p["bias"], 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros(hidden, sequence.dtype)
        return lax.scan(cell, (zero, zero), sequence)[1]

    def error(p, sequence):
        return jnp.mean((states(sequence[:-1], p) @ p["read"] - sequence[1:]) ** 2)

    if loss:
        return Scenario(error, parameters, (sequence,))
    return Scenario(states, sequence, (parameters,), num_nonzeros=hidden * inputs * steps * (steps + 1) // 2)


def _gru(rng: np.random.Generator, *, steps: int, hidden: int) -> Scenario:
    """The last state of a gated recurrent unit in its weights: h <- (1 - z) h + z tanh(U (r h) + u), z, r = s(V h + u).

    Source: Cho et al. (2014).
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    drive = rng.standard_normal((steps, hidden))
    weights = {name: rng.standard_normal((hidden, hidden)) / np.sqrt(hidden) for name in ("update", "reset", "new")}

    def last(w, drive):
        def cell(h, u):
            z, r = jax.nn.sigmoid(h @ w["update"] + u), jax.nn.sigmoid(h @ w["reset"] - u)
            return (1.0 - z) * h + z * jnp.tanh((r * h) @ w["new"] + u), None

        return lax.scan(cell, jnp.zeros(hidden, drive.dtype), drive)[0]

    return Scenario(last, weights, (drive,))


def _bilinear(rng: np.random.Generator, *, left: int, right: int, outputs: int) -> Scenario:
    """A bilinear form in both arguments, y_o = sum_ij B_oij u_i v_j; dy_o/du_i = sum_j B_oij v_j."""
    import jax.numpy as jnp

    point = {"u": rng.standard_normal(left), "v": rng.standard_normal(right)}
    tensor = rng.standard_normal((outputs, left, right)) / np.sqrt(left * right)
    return Scenario(lambda x, b: jnp.einsum("oij,i,j->o", b, x["u"], x["v"]), point, (tensor,))


def _tucker(rng: np.random.Generator, *, core: int, size: int) -> Scenario:
    """A Tucker product in its core, Y_ijk = tanh(sum_abc G_abc A_ia B_jb C_kc).

    Source: Tucker (1966).
    """
    import jax.numpy as jnp

    factors = rng.standard_normal((3, size, core)) / np.sqrt(core)
    fun = lambda g, f: jnp.tanh(jnp.einsum("abc,ia,jb,kc->ijk", g, f[0], f[1], f[2]))
    return Scenario(fun, rng.standard_normal((core, core, core)), (factors,))


JACOBIANS = {
    "dense network": [
        tuned("square network", _network, widths=(64,) * 4, tags=["dense"]),
        tuned("tall network", _network, widths=(8, 128, 512), dtype="float64", tags=["tall"]),
        tuned("wide network", _network, widths=(600, 128, 10), tags=["wide"]),
        held_out("deep network", _network, widths=(256,) * 9, activation="gelu", tags=["dense"]),
        held_out("decoder network", _network, widths=(3, 64, 64, 1500), activation="silu", tags=["tall"]),
        held_out("bottleneck network", _network, widths=(300, 40, 6, 40, 300), dtype="float64", tags=["dense"]),
        held_out("small network", _network, widths=(12, 20, 3), dtype="float64", tags=["wide"]),
    ],
    "batched network": [
        tuned("batched networks", _batched, batch=64, widths=(4, 16, 3), activation="tanh", tags=["block diagonal"]),
        held_out(
            "features of electrons",
            _batched,
            batch=30,
            widths=(3, 32, 32, 8),
            activation="silu",
            dtype="float64",
            tags=["block diagonal", "tall"],
        ),
    ],
    "example losses": [
        tuned(
            "losses of examples",
            _example_losses,
            batch=16,
            widths=(10, 32, 32, 1),
            kind="squared",
            tags=["wide", "pytree"],
        ),
        held_out(
            "softmax losses of examples",
            _example_losses,
            batch=64,
            widths=(20, 40, 10),
            kind="softmax",
            tags=["wide", "pytree", "gather"],
        ),
    ],
    "convolution": [
        tuned("convolution of an image", _convolution, image=(12, 12), channels=(3, 4), tags=["banded"]),
        tuned(
            "two convolutions of a signal",
            _convolution,
            image=(256,),
            channels=(1, 3, 1),
            kernel=5,
            dtype="float64",
            tags=["banded"],
        ),
        held_out("strided convolutions", _convolution, image=(16, 16), channels=(2, 4, 4), stride=2, tags=["banded"]),
        held_out(
            "dilated convolution of a signal",
            _convolution,
            image=(400,),
            channels=(1, 2),
            kernel=4,
            dilation=3,
            tags=["banded"],
        ),
    ],
    "attention": [
        tuned("attention", _attention, length=16, width=16, heads=1, causal=False, tags=["dense"]),
        held_out("causal attention", _attention, length=24, width=16, heads=2, causal=True, tags=["block triangular"]),
    ],
    "normalisation": [
        tuned("layer norm", _normalisation, rows=32, columns=16, axis=1, tags=["block diagonal"]),
        held_out("batch norm", _normalisation, rows=12, columns=48, axis=0, dtype="float64", tags=["block diagonal"]),
    ],
    "recurrent": [
        tuned("LSTM", _lstm, steps=30, inputs=4, hidden=16, loss=False, tags=["scan", "block triangular", "tall"]),
        held_out(
            "LSTM loss",
            _lstm,
            steps=50,
            inputs=6,
            hidden=14,
            loss=True,
            dtype="float64",
            tags=["scan", "wide", "pytree"],
        ),
        held_out("gated unit", _gru, steps=60, hidden=12, tags=["scan", "wide", "pytree"]),
    ],
    "contraction": [
        tuned("bilinear form", _bilinear, left=20, right=30, outputs=24, tags=["dense", "pytree"]),
        held_out("Tucker product", _tucker, core=4, size=11, dtype="float64", tags=["tall"]),
    ],
}

CASES = collect("jacobian", JACOBIANS)
