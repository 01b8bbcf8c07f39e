"""The steps that generated programs are made of: each takes values of a pool and gives a new one.

A step reads what it leaves open from ``Choices`` (drawn once, then replayed), so that one function both generates and
executes it. Every step maps values in [-2, 2] to values in about [-2, 2], hence no chain of them runs away, and it
stays off kinks at generic points. A step that does not fit its operands raises ``Unfit`` while it is drawn.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

MOST = 30  # elements of a value; larger results are not drawn


class Unfit(Exception):
    """The step cannot be applied to what was drawn for it."""


class Choices:
    """What a step leaves open: drawn and written to ``record`` if there is a ``draw``, else read back from it."""

    def __init__(self, record: dict[str, Any], draw: Callable[[Sequence[Any]], Any] | None = None):
        self.record, self.draw = record, draw

    def pick(self, name: str, options: Sequence[Any]) -> Any:
        if self.draw is not None:
            if not options:
                raise Unfit(name)
            self.record[name] = self.draw(list(options))
        return self.record[name]

    def integer(self, name: str, low: int, high: int) -> int:
        return self.pick(name, range(low, high + 1))

    def flag(self, name: str) -> bool:
        return self.pick(name, (False, True))

    def numbers(self, name: str, shape: tuple[int, ...], kinds: Sequence[str] = ("dense", "sparse", "unit")) -> Any:
        """A constant array in [-1, 1]: dense, with exact zeros, zeros and ones, or banded."""
        kind, seed = self.pick(f"{name} kind", kinds), self.integer(f"{name} seed", 0, 9)
        rng = np.random.default_rng(seed)
        dense = rng.uniform(-1, 1, shape)
        match kind:
            case "sparse":
                return dense * (rng.uniform(size=shape) < 0.4)
            case "unit":
                return (rng.uniform(size=shape) < 0.4).astype(float)
            case "banded":
                return np.tril(np.triu(dense, -1), 1)
        return dense

    def indices(self, name: str, size: int, length: int, beyond: bool = False) -> Any:
        """Constant indices into an axis, with repeats and negative ones; with ``beyond`` also out of bounds."""
        rng = np.random.default_rng(self.integer(name, 0, 19))
        return rng.integers(-size - 2 * beyond, size + 2 * beyond, length)


class Pool:
    """The values so far, and the integers that the program is given as an argument of its own."""

    def __init__(self, values: Sequence[Any], given: Any = None):
        self.values, self.given = list(values), given

    def take(self, c: Choices, name: str = "of", least: int = 0, empty: bool = False) -> Any:
        """One of the values, counted from the last, with at least so many dimensions."""
        value = self.values[-1 - c.integer(name, 0, len(self.values) - 1)]
        if value.size == 0 and not empty:
            raise Unfit("nothing in it")
        return value.reshape((1,) * (least - value.ndim) + value.shape) if value.ndim < least else value

    def fitted(self, c: Choices, name: str, shape: tuple[int, ...]) -> Any:
        """One of the values brought to a shape by repeating or cutting it."""
        return fit(self.take(c, name, empty=True), shape)


def fit(value: Any, shape: tuple[int, ...]) -> Any:
    """The value's elements, repeated or cut, in another shape."""
    if value.shape == tuple(shape):
        return value
    return jnp.resize(value, shape) if value.size else jnp.zeros(shape) + 0.3


STEPS: dict[str, Callable[[Choices, Pool], Any]] = {}


def step(fun: Callable[[Choices, Pool], Any]) -> Callable[[Choices, Pool], Any]:
    """Register a step under its name."""
    STEPS[fun.__name__] = fun
    return fun


# -- elementwise ---------------------------------------------------------------------------------------------------

UNARY: dict[str, Callable[[Any], Any]] = {
    "sin": jnp.sin,
    "tanh": jnp.tanh,
    "half": lambda x: 0.5 * x + 0.25,
    "negative": lambda x: -x,
    "square": lambda x: x**2 / 2,
    "cube": lambda x: x**3 / 4,
    "exp": lambda x: jnp.exp(x) / 4,
    "log1p": lambda x: jnp.log1p(x**2),
    "reciprocal": lambda x: 2 / (3 + x),
    "root": lambda x: jnp.sqrt(1 + x**2) / 2,
    "rsqrt": lambda x: lax.rsqrt(1 + x**2),
    "power": lambda x: (2.5 + x) ** 1.3 / 4,
    "arctan": jnp.arctan,
    "arcsinh": jnp.arcsinh,
    "erf": jax.scipy.special.erf,
    "gammaln": lambda x: jax.scipy.special.gammaln(x + 3) / 2,
    "abs": jnp.abs,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": lambda x: jax.nn.softplus(x) / 2,
    "sigmoid": jax.nn.sigmoid,
    "clip": lambda x: jnp.clip(x, -0.9, 0.8),
    "floor": lambda x: jnp.floor(1.7 * x) / 4,
    "sign": jnp.sign,
    "round trip": lambda x: x * jnp.round(1.3 * x) / 4,
    "modulo": lambda x: jnp.mod(x, 0.7),
    "to integer": lambda x: (2 * x).astype(jnp.int32) * x / 4,
    "positive": lambda x: (x > 0.1) * x,
    "double where": lambda x: jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0) + 1), x),
    "single": lambda x: x.astype(jnp.float64) * jnp.float32(0.5),
    "sinc": jnp.sinc,
    "xlogy": lambda x: jax.scipy.special.xlogy(x, 2.5 + x) / 2,
}

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: (x + y) / 2,
    "subtract": lambda x, y: (x - y) / 2,
    "multiply": lambda x, y: x * y / 2,
    "divide": lambda x, y: x / (3 + y),
    "power": lambda x, y: (2.5 + x) ** y / 10,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "atan2": lambda x, y: jnp.arctan2(x, y + 3),
    "hypot": lambda x, y: jnp.hypot(x + 3, y) / 3,
    "logaddexp": lambda x, y: jnp.logaddexp(x, y) / 2,
    "where": lambda x, y: jnp.where(x > y, x, 0.5 * y),
    "mask": lambda x, y: (y > 0.2) * x,
    "remainder": lambda x, y: lax.rem(*jnp.broadcast_arrays(x, jnp.floor(jnp.abs(y)) + 0.6)),
    "clamp": lambda x, y: jnp.clip(x, -jnp.abs(y) - 0.1, 0.9),
    "sum of sines": lambda x, y: jnp.sin(x) + 0.1 * y**2,
}


@step
def unary(c: Choices, pool: Pool) -> Any:
    return UNARY[c.pick("f", list(UNARY))](pool.take(c, empty=True))


@step
def binary(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, empty=True)
    how = c.pick("shapes", ("same", "scalar", "ones", "outer", "constant", "number", "more dimensions"))
    match how:
        case "same":
            y = pool.fitted(c, "with", x.shape)
        case "scalar":
            y = fit(pool.take(c, "with"), ())
        case "ones":
            axis = c.integer("axis", 0, x.ndim - 1)
            y = pool.fitted(c, "with", (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
        case "outer":
            x, y = x.reshape(-1, 1), pool.take(c, "with", empty=True).reshape(1, -1)
        case "constant":
            y = c.numbers("y", x.shape)
        case "number":
            y = c.pick("y", (0.7, -1.2, 0.0))
        case _:
            y = pool.fitted(c, "with", (2, *x.shape))
    f = BINARY[c.pick("f", list(BINARY))]
    return f(jnp.asarray(y), x) if c.flag("swapped") else f(x, jnp.asarray(y))


@step
def three(c: Choices, pool: Pool) -> Any:
    """Operands of three shapes in one primitive or one expression."""
    x = pool.take(c, least=1)
    y, z = pool.fitted(c, "y", (1,) * x.ndim), pool.fitted(c, "z", x.shape[-1:])
    match c.pick("f", ("select", "clamp", "fused", "scalar select")):
        case "select":
            return jnp.where(z > 0, x, y)
        case "clamp":
            return lax.clamp(-1.1, x, jnp.broadcast_to(jnp.abs(y), x.shape) + 0.4)
        case "scalar select":
            return lax.select_n(fit(y, ()) > 0, x, jnp.broadcast_to(z, x.shape))
    return (x * y + z) / 3


# -- indexing ------------------------------------------------------------------------------------------------------


@step
def slicing(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1, empty=True)
    axis = c.integer("axis", 0, x.ndim - 1)
    n = x.shape[axis]
    start, stop = c.integer("start", -n, n), c.pick("stop", (None, *range(-n, n + 1)))
    part = slice(start, stop, c.pick("step", (1, 2, 3, -1, -2)))
    return x[(slice(None),) * axis + (part,)]


@step
def one_index(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    axis = c.integer("axis", 0, x.ndim - 1)
    return jnp.take(x, c.integer("index", -x.shape[axis], x.shape[axis] - 1), axis=axis)


def position(c: Choices, pool: Pool, n: int, name: str = "at") -> Any:
    """An integer scalar, constant, out of the data, or given as an argument."""
    match c.pick(name, ("constant", "data", "argmax", "given", "beyond")):
        case "constant":
            return jnp.int32(c.integer(f"{name} value", -n, n))
        case "beyond":
            return jnp.int32(n + 3)
        case "data":
            return jnp.floor(fit(pool.take(c, f"{name} of"), ()) * n).astype(jnp.int32)
        case "argmax":
            return jnp.argmax(pool.take(c, f"{name} of"))
    if pool.given is None:
        raise Unfit("nothing is given")
    return pool.given[0]


@step
def dynamic_slice(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    axis = c.integer("axis", 0, x.ndim - 1)
    size = c.integer("size", 1, x.shape[axis])
    return lax.dynamic_slice_in_dim(x, position(c, pool, x.shape[axis]), size, axis)


@step
def dynamic_update_slice(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    axis = c.integer("axis", 0, x.ndim - 1)
    size = c.integer("size", 1, x.shape[axis])
    y = pool.fitted(c, "with", (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    return lax.dynamic_update_slice_in_dim(x, y, position(c, pool, x.shape[axis]), axis)


@step
def gather(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    mode = c.pick("mode", ("clip", "fill", "wrap", "promise_in_bounds"))
    beyond = mode != "promise_in_bounds"
    axis = c.integer("axis", 0, x.ndim - 1)
    index = c.indices("index", x.shape[axis], c.integer("length", 1, 5), beyond)
    index = index if beyond else index % x.shape[axis]
    if mode == "wrap":
        return jnp.take(x, index, axis=axis, mode="wrap")
    return x.at[(slice(None),) * axis + (index,)].get(mode=mode, fill_value=0.3)


@step
def gather_pairs(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=2)
    if x.ndim != 2:
        raise Unfit("not a matrix")
    length = c.integer("length", 1, 4)
    rows, columns = c.indices("rows", x.shape[0], length), c.indices("columns", x.shape[1], length)
    return x[rows[:, None], columns[None]] if c.flag("grid") else x[rows, columns]


def computed(c: Choices, pool: Pool, n: int, length: int, name: str = "index") -> Any:
    """Integers that the data decide, in bounds."""
    y = pool.fitted(c, f"{name} of", (length,))
    match c.pick(name, ("argsort", "floor", "rank", "given", "bits")):
        case "argsort":
            return jnp.argsort(y) % n
        case "floor":
            return jnp.floor(jnp.abs(y) * n).astype(jnp.int32) % n
        case "rank":
            return jnp.sum(y[:, None] > y[None], axis=1) % n
        case "bits":
            return ((3 * y).astype(jnp.int32) ^ 5) % n
    if pool.given is None:
        raise Unfit("nothing is given")
    return jnp.resize(pool.given, length) % n


@step
def gather_computed(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    index = computed(c, pool, x.shape[0], c.integer("length", 1, 5))
    return x[index] if c.flag("default mode") else jnp.take(x, index, axis=0, mode="clip")


@step
def take_along_axis(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    axis = c.integer("axis", 0, x.ndim - 1)
    return jnp.take_along_axis(x, jnp.argsort(pool.fitted(c, "key", x.shape), axis=axis), axis=axis)


def scattered(c: Choices, x: Any, key: Any, y: Any, unique: bool) -> Any:
    """Write values into an array in one of the ways that have a derivative (``apply`` has none)."""
    here = x.at[key]
    mode = c.pick("mode", ("drop", "clip"))
    match c.pick("f", ("set", "add", "subtract", "multiply")):
        case "set":
            return here.set(y, mode=mode)
        case "add":
            return here.add(y / 3, mode=mode) / 2
        case "subtract":
            return here.subtract(y / 3, mode=mode) / 2
    if not unique:
        y = c.numbers("factor", y.shape)
    return here.multiply(y, mode=mode, unique_indices=unique) / 2


@step
def scatter(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    axis = c.integer("axis", 0, x.ndim - 1)
    n = x.shape[axis]
    index = c.indices("index", n, c.integer("length", 1, 4), c.flag("beyond"))
    unique = bool(c.flag("unique"))
    index = np.unique(index % n) if unique else index
    y = pool.fitted(c, "with", (*x.shape[:axis], len(index), *x.shape[axis + 1 :]))
    return scattered(c, x, (slice(None),) * axis + (index,), y, unique)


@step
def scatter_slice(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    key = slice(c.integer("start", 0, x.shape[0] - 1), None, c.integer("step", 1, 3))
    shape = jax.eval_shape(lambda a: a[key], x).shape
    y = pool.fitted(c, "with", shape[1:] if c.flag("broadcast") else shape)
    return x.at[key].set(y) if c.flag("set") else x.at[key].add(y) / 2


@step
def scatter_computed(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    index = computed(c, pool, x.shape[0], c.integer("length", 1, 4))
    y = pool.fitted(c, "with", (*index.shape, *x.shape[1:]))
    match c.pick("f", ("set", "add", "segments")):
        case "set":
            return x.at[index].set(y)
        case "add":
            return x.at[index].add(y / 3) / 2
    return jax.ops.segment_sum(y, index, num_segments=x.shape[0]) / index.size


@step
def scatter_extreme(c: Choices, pool: Pool) -> Any:
    """``max`` and ``min`` at repeated indices, by constants or by values with stopped gradients."""
    x = lax.stop_gradient(pool.take(c, least=1))
    index = c.indices("index", x.shape[0], 3)
    y = lax.stop_gradient(pool.fitted(c, "with", (3, *x.shape[1:])))
    return pool.take(c, "times") * fit(x.at[index].max(y) if c.flag("max") else x.at[index].min(y), ()) / 2


# -- structure -----------------------------------------------------------------------------------------------------


@step
def concatenate(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1, empty=True)
    axis = c.integer("axis", 0, x.ndim - 1)
    shape = list(x.shape)
    shape[axis] = c.integer("length", 1, 3)
    parts = [x, pool.fitted(c, "with", tuple(shape)), c.numbers("y", tuple(shape))]
    order = c.pick("order", ([0, 1], [1, 0], [2, 0], [0, 2, 1], [0, 0]))
    return jnp.concatenate([parts[i] for i in order], axis=axis)


@step
def stack(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, empty=True)
    return jnp.stack([x, pool.fitted(c, "with", x.shape)], axis=c.integer("axis", 0, x.ndim))


@step
def pad(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1, empty=True)
    config = [(c.integer(f"low {i}", -1, 2), c.integer(f"high {i}", -1, 2), c.integer(f"inner {i}", 0, 1))
              for i in range(x.ndim)]  # fmt: skip
    if any(n + max(n - 1, 0) * inner + low + high < 0 for n, (low, high, inner) in zip(x.shape, config)):
        raise Unfit("padded to less than nothing")
    value = fit(pool.take(c, "value"), ()) if c.flag("by data") else jnp.zeros((), x.dtype)
    return lax.pad(x, value, config)


@step
def pad_mode(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    return jnp.pad(x, [(1, 1)] + [(0, 0)] * (x.ndim - 1), mode=c.pick("mode", ("edge", "wrap", "symmetric")))


def factorings(n: int) -> list[tuple[int, ...]]:
    """Shapes of so many elements."""
    pairs = [(a, n // a) for a in range(1, n + 1) if n % a == 0]
    return [(n,), *pairs, *((1, *p) for p in pairs[:2]), *((*p, 1) for p in pairs[1:2])]


@step
def reshape(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, empty=True)
    shape = c.pick("to", factorings(x.size))
    if c.flag("permuted"):
        return lax.reshape(x, shape, tuple(reversed(range(x.ndim))))
    return x.reshape(shape, order="F" if c.flag("columns first") else "C")


@step
def rearrange(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1, empty=True)
    axis = c.integer("axis", 0, x.ndim - 1)
    match c.pick("f", ("transpose", "flip", "roll", "tile", "repeat", "broadcast", "rotate", "move", "squeeze")):
        case "transpose":
            return x.T
        case "flip":
            return jnp.flip(x, axis)
        case "roll":
            return jnp.roll(x, c.integer("by", -2, 3), axis)
        case "tile":
            return jnp.tile(x, (2,) + (1,) * (x.ndim - 1) if c.flag("first") else 2)
        case "repeat":
            return jnp.repeat(x, 2, axis=axis)
        case "broadcast":
            return jnp.broadcast_to(x[None], (2, *x.shape))
        case "rotate":
            return jnp.rot90(x) if x.ndim >= 2 else x[::-1]
        case "move":
            return jnp.moveaxis(x, axis, 0)
    return jnp.squeeze(x)


@step
def roll_computed(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    return jnp.roll(x, position(c, pool, x.shape[0]), axis=0)


@step
def triangles(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    match c.pick("f", ("upper", "lower", "diagonal", "trace")):
        case "upper":
            return jnp.triu(jnp.atleast_2d(x), c.integer("k", -1, 1))
        case "lower":
            return jnp.tril(jnp.atleast_2d(x), c.integer("k", -1, 1))
        case "diagonal":
            return jnp.diagonal(x) if x.ndim == 2 else jnp.diag(x.ravel())
    return jnp.trace(jnp.atleast_2d(x[0] if x.ndim > 2 else x)) / 4


# -- reductions ----------------------------------------------------------------------------------------------------


@step
def reduction(c: Choices, pool: Pool) -> Any:
    name = c.pick("f", ("sum", "mean", "prod", "max", "min", "logsumexp", "norm", "var", "softmax", "product"))
    x = pool.take(c, least=1, empty=name == "sum")
    axes = c.pick("axes", [None, *range(-x.ndim, x.ndim), *([(0, 1), (1, 0)] if x.ndim >= 2 else [])])
    keep = c.flag("keep")
    count = max(x.size if axes is None else int(np.prod(np.take(x.shape, axes))), 1)
    match name:
        case "sum":
            return jnp.sum(x, axes, keepdims=keep) / count
        case "mean":
            return jnp.mean(x, axes, keepdims=keep)
        case "prod":
            return 2 * jnp.prod(x / 2, axes, keepdims=keep)
        case "max":
            return jnp.max(x, axes, keepdims=keep)
        case "min":
            return jnp.min(x, axes, keepdims=keep)
        case "logsumexp":
            return jax.nn.logsumexp(x, axes, keepdims=keep) - np.log(count)
        case "norm":
            return jnp.sqrt(jnp.sum(x**2, axes, keepdims=keep) + 0.5) / count
        case "var":
            return jnp.var(x, axes, keepdims=keep)
        case "softmax":
            return jax.nn.softmax(x, -1)
    return 2 * jnp.prod(jnp.stack([x, pool.fitted(c, "with", x.shape)]) / 2, axis=0)


@step
def cumulative(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    axis, back = c.integer("axis", 0, x.ndim - 1), c.flag("reverse")
    match c.pick("f", ("sum", "prod", "max", "min", "logsumexp", "associative", "difference")):
        case "sum":
            return lax.cumsum(x, axis, reverse=back) / x.shape[axis]
        case "prod":
            return 2 * lax.cumprod(x / 2, axis, reverse=back)
        case "max":
            return lax.cummax(x, axis, reverse=back)
        case "min":
            return lax.cummin(x, axis, reverse=back)
        case "logsumexp":
            return lax.cumlogsumexp(x, axis, reverse=back) / 3
        case "associative":
            return lax.associative_scan(lambda a, b: jnp.sin(a) * 0.5 + b * 0.5, x, reverse=back, axis=axis)
    return jnp.diff(x, axis=axis) / 2


@step
def sorting(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    axis = c.integer("axis", 0, x.ndim - 1)
    match c.pick("f", ("sort", "argsort", "by key", "top", "median", "quantile")):
        case "sort":
            return jnp.sort(x, axis=axis, descending=c.flag("descending"))
        case "argsort":
            flat = x.ravel()
            return flat[jnp.argsort(-flat)]
        case "by key":
            key = pool.fitted(c, "key", x.shape)
            return lax.sort((key, x), dimension=axis, num_keys=1)[c.integer("which", 0, 1)]
        case "top":
            return lax.top_k(x, c.integer("k", 1, x.shape[-1]))[0]
        case "median":
            return jnp.median(x, axis=axis)
    return jnp.quantile(x, 0.3, axis=axis)


@step
def decisions(c: Choices, pool: Pool) -> Any:
    """Integers and booleans on the way."""
    x = pool.take(c, least=1)
    flat = x.ravel()
    match c.pick("f", ("one hot", "bins", "mask", "any", "count", "parity", "comparison chain")):
        case "one hot":
            return jax.nn.one_hot(jnp.argmax(flat), flat.size, dtype=x.dtype) * pool.fitted(c, "with", flat.shape)
        case "bins":
            return jnp.take(c.numbers("bin", (5,)), jnp.searchsorted(jnp.array([-1.0, -0.1, 0.4, 1.1]), x)) * x
        case "mask":
            return jnp.where(c.numbers("mask", x.shape, ("unit",)) > 0, x, pool.fitted(c, "with", x.shape))
        case "any":
            return jnp.where(jnp.any(x > 1), x, -x)
        case "count":
            return x * jnp.sum(x > 0) / x.size
        case "parity":
            return jnp.where(jnp.arange(flat.size) % 2 == 0, flat, jnp.sin(flat))
    return x * ((x > -1) & (x < 1) | (jnp.sin(x) > 0.9))


# -- linear algebra ------------------------------------------------------------------------------------------------


@step
def matrix(c: Choices, pool: Pool) -> Any:
    """A product with a constant matrix, from either side, also as a batch."""
    x = pool.take(c, least=1, empty=True)
    rows = c.integer("rows", 1, 5)
    n = x.shape[-1]
    w = c.numbers("w", (rows, n), ("dense", "sparse", "unit", "banded")) / max(n, 1)
    match c.pick("f", ("left", "right", "einsum", "tensordot")):
        case "left":
            return jnp.matmul(w, x[..., None])[..., 0]
        case "right":
            return x @ w.T
        case "einsum":
            return jnp.einsum("ij,...j->i...", w, x)
    return jnp.tensordot(x, w, axes=([x.ndim - 1], [1]))


@step
def product(c: Choices, pool: Pool) -> Any:
    """Products between values."""
    x = pool.take(c, least=1)
    n = x.shape[-1]
    match c.pick("f", ("inner", "gram", "matmul", "batched", "outer", "trilinear")):
        case "inner":
            return jnp.vdot(x, pool.fitted(c, "with", x.shape)) / (2 * x.size)
        case "gram":
            return x @ jnp.swapaxes(jnp.atleast_2d(x), -1, -2) / (2 * n)
        case "matmul":
            return x @ pool.fitted(c, "with", (n, c.integer("columns", 1, 3))) / (2 * n)
        case "batched":
            x, y = jnp.atleast_2d(x), pool.fitted(c, "with", (x.shape[0] if x.ndim > 1 else 1, n, 2))
            return jnp.einsum("b...j,bjk->b...k", x, y) / (2 * n)
        case "outer":
            return jnp.einsum("i,j->ij", x.ravel(), pool.take(c, "with").ravel()) / 2
    y = pool.fitted(c, "with", (n,))
    return jnp.einsum("...j,j,jk->...k", x, y, c.numbers("w", (n, 2))) / (2 * n)


@step
def convolution(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    kernel = c.numbers("kernel", (3,)) / 3 if c.flag("constant") else pool.fitted(c, "kernel of", (3,)) / 6
    match c.pick("f", ("convolve", "correlate", "strided", "two channels")):
        case "convolve":
            return jnp.convolve(x.ravel(), kernel, mode=c.pick("mode", ("full", "same")))
        case "correlate":
            return jnp.correlate(jnp.pad(x.ravel(), 1), kernel, mode="valid") if x.size >= 1 else x
        case "strided":
            stride, dilation = c.integer("stride", 1, 2), c.integer("dilation", 1, 2)
            signal = x.reshape(1, 1, -1)
            out = lax.conv_general_dilated(
                signal, kernel.reshape(1, 1, 3), (stride,), [(2, 1)],
                lhs_dilation=(c.integer("inner", 1, 2),), rhs_dilation=(dilation,),
            )  # fmt: skip
            return out[0, 0]
    signal = jnp.stack([x.ravel(), pool.fitted(c, "with", (x.size,))])[None]
    weights = jnp.stack([kernel, -kernel[::-1]])[:, None]
    groups = c.pick("groups", (1, 2))
    weights = weights if groups == 2 else jnp.concatenate([weights, weights], axis=1)
    return lax.conv_general_dilated(signal, weights, (1,), "SAME", feature_group_count=groups)[0]


@step
def linear_solve(c: Choices, pool: Pool) -> Any:
    b = pool.take(c, least=1)
    n = b.shape[-1]
    b = jnp.moveaxis(b, -1, 0)
    noise = c.numbers("a", (n, n), ("dense", "sparse", "banded")) / (2 * n)
    if not c.flag("constant"):
        noise = noise + pool.fitted(c, "matrix of", (n, n)) / (4 * n)
    a = 2 * jnp.eye(n) + noise
    match c.pick("f", ("solve", "triangular", "cholesky", "inverse", "determinant", "conjugate gradients")):
        case "solve":
            return jnp.linalg.solve(a, b.reshape(n, -1)).reshape(b.shape)
        case "triangular":
            lower, trans = c.flag("lower"), c.pick("trans", (0, 1))
            return jax.scipy.linalg.solve_triangular(a, b.reshape(n, -1), lower=lower, trans=trans)
        case "cholesky":
            return jnp.linalg.cholesky(a @ a.T) @ b.reshape(n, -1) / 3
        case "inverse":
            return jnp.linalg.inv(a) @ b.reshape(n, -1)
        case "determinant":
            return jnp.linalg.slogdet(a)[1] / n * b
    square = a @ a.T
    return jax.scipy.sparse.linalg.cg(lambda v: square @ v, b.reshape(n, -1)[:, 0], tol=1e-15, maxiter=4 * n + 8)[0]


@step
def fourier(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    n = x.shape[-1]
    match c.pick("f", ("real", "imaginary", "filter", "modulus", "plane")):
        case "real":
            return jnp.fft.fft(x).real / n
        case "imaginary":
            return jnp.fft.rfft(x).imag / n
        case "filter":
            return jnp.fft.irfft(jnp.fft.rfft(x) * c.numbers("filter", (n // 2 + 1,)), n=n)
        case "modulus":
            return jnp.abs(jnp.fft.fft(x) / n + 3) / 3
    return jnp.fft.fft2(jnp.atleast_2d(x)).real / x.size


@step
def complex_numbers(c: Choices, pool: Pool) -> Any:
    x = pool.take(c)
    y = pool.fitted(c, "imaginary", x.shape)
    z = lax.complex(x, y)
    match c.pick("f", ("square", "exp", "modulus", "angle", "product", "conjugate", "matrix")):
        case "square":
            return (z * z).imag / 4
        case "exp":
            return jnp.exp(1j * z.real).real + jnp.exp(1j * y).imag * 0.5
        case "modulus":
            return jnp.abs(z + 3) / 3
        case "angle":
            return jnp.angle(z + 3)
        case "product":
            return (z * (1 + 2j)).real / 3
        case "conjugate":
            return (jnp.conj(z) * jnp.sin(z)).real / 8
    flat = z.ravel()
    return jnp.real(flat @ (c.numbers("w", (flat.size, 2)) * (1 - 1j))) / (3 * flat.size)


# -- control flow --------------------------------------------------------------------------------------------------


@step
def scan(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    y = pool.fitted(c, "carry", x.shape[1:])
    w = pool.fitted(c, "closed over", x.shape[1:])
    reverse, ending = c.flag("reverse"), c.pick("result", ("ys", "carry", "both"))

    def body(kind):
        def inner(carry, row):
            match kind:
                case "recurrence":
                    carry = jnp.tanh(0.5 * carry + row * w)
                    return carry, carry
                case "linear":
                    carry = 0.5 * carry + 0.5 * row
                    return carry, carry - row
                case "shift":
                    return row, carry
                case "roll":
                    carry = jnp.roll(carry, 1) if carry.ndim else -carry
                    return carry, 0.5 * (carry + jnp.sin(row))
                case "ignored":
                    return carry, jnp.sin(row) * w
            return jnp.where(row > carry, row, 0.9 * carry), row * carry / 2

        return inner

    kind = c.pick("body", ("recurrence", "linear", "shift", "roll", "ignored", "choice"))
    unroll = c.pick("unroll", (1, 2))
    carry, ys = lax.scan(body(kind), y, x, reverse=reverse, unroll=unroll)
    return ys if ending == "ys" else carry if ending == "carry" else ys + carry[None]


@step
def scan_counter(c: Choices, pool: Pool) -> Any:
    """A scan whose counter indexes what is closed over, with a carry of several parts."""
    x = pool.take(c).ravel()
    n = x.size
    offset = c.integer("offset", 0, 2)

    def body(carry, i):
        total, buffer, k = carry
        value = x[(2 * i + offset) % n] * (1 + i) / 4
        return (0.7 * total + 0.3 * value, buffer.at[k % n].add(value / 2), k + 2), total * value

    start = (0.1 * jnp.ones(()), jnp.zeros(n), 1)
    (total, buffer, _), ys = lax.scan(body, start, jnp.arange(c.integer("length", 0, 4)))
    return {"total": total, "buffer": buffer, "ys": ys}[c.pick("result", ("ys", "total", "buffer"))]


@step
def scan_nested(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)

    def outer(carry, row):
        inner, _ = lax.scan(lambda a, b: (jnp.sin(a + 0.3 * b), None), carry, jnp.atleast_1d(row).ravel())
        return inner, inner * row / 2

    return lax.scan(outer, fit(pool.take(c, "carry"), ()), x)[c.integer("which", 0, 1)]


@step
def fori(c: Choices, pool: Pool) -> Any:
    x = pool.take(c).ravel()
    n = x.size

    def body(kind):
        def inner(i, v):
            match kind:
                case "neighbour":
                    return v.at[(i + 1) % n].add(0.3 * jnp.sin(v[i % n])) / 1.2
                case "slices":
                    part = lax.dynamic_slice(v, (i % n,), (1,))
                    return lax.dynamic_update_slice(v, jnp.sin(part) * v[0] / 2, ((i * 2) % n,))
                case "backwards":
                    return v.at[n - 1 - i % n].set(v[i % n] * x[0] / 2)
                case "swap":
                    a, b = v[i % n], v[(i + 2) % n]
                    return v.at[i % n].set(b).at[(i + 2) % n].set(a)
                case "counter":
                    return v * jnp.where(i % 2 == 0, x, 0.5)
            return 0.9 * jnp.roll(v, 1)

        return inner

    kind = c.pick("body", ("neighbour", "slices", "backwards", "swap", "counter", "roll"))
    return lax.fori_loop(c.integer("from", 0, 1), c.integer("to", 1, 4), body(kind), x)


@step
def while_loop(c: Choices, pool: Pool) -> Any:
    """A loop that only forward mode can differentiate: a known count, one that the data decide, or a fixed point."""
    x = pool.take(c).ravel()

    def body(state):
        i, v = state
        return i + 1, 0.6 * jnp.roll(v, 1) + 0.4 * jnp.sin(v + i)

    match c.pick("count", ("known", "data", "bound")):
        case "known":
            return lax.while_loop(lambda s: s[0] < 3, body, (0, x))[1]
        case "data":
            return lax.while_loop(lambda s: (jnp.sum(s[1]) < 1.37) & (s[0] < 6), body, (0, x))[1]
    bound = jnp.floor(3 * jnp.abs(fit(pool.take(c, "bound of"), ()))).astype(jnp.int32)
    return lax.fori_loop(0, bound, lambda i, v: v.at[i % v.size].multiply(0.5), x)


@step
def while_constant(c: Choices, pool: Pool) -> Any:
    """A loop over constants alone, which every mode can pass."""
    x = pool.take(c).ravel()
    count, factor = lax.while_loop(lambda s: s[1] < 0.8, lambda s: (s[0] + 1, s[1] + 0.3), (0, 0.1))
    return jnp.roll(x, count) * factor


@step
def cond(c: Choices, pool: Pool) -> Any:
    x = pool.take(c)
    y = pool.fitted(c, "other", x.shape)
    match c.pick("on", ("data", "constant", "given")):
        case "data":
            predicate = fit(pool.take(c, "predicate of"), ()) > 0.1
        case "constant":
            predicate = jnp.asarray(c.flag("value"))
        case _:
            if pool.given is None:
                raise Unfit("nothing is given")
            predicate = pool.given[0] > 1
    branches = {
        "sine and swap": (lambda a, b: jnp.sin(a), lambda a, b: b),
        "flip and keep": (lambda a, b: a[::-1] if a.ndim else -a, lambda a, b: a),
        "constant and product": (lambda a, b: jnp.full_like(a, 0.4), lambda a, b: a * b / 2),
        "closed over": (lambda a, b: x + 0 * b, lambda a, b: y * jnp.cos(b)),
    }
    return lax.cond(predicate, *branches[c.pick("branches", list(branches))], x, y)


@step
def switch(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    index = position(c, pool, 3)
    branches = [jnp.sin, lambda a: jnp.flip(a, 0), lambda a: jnp.cumsum(a, 0) / a.shape[0], lambda a: a * a[:1] / 2]
    return lax.switch(index, branches[: c.integer("count", 2, 4)], x)


def _wave(x: Any) -> Any:
    """A function of several equations, diagonal but for a shift."""
    return jnp.sin(2 * x) * 0.5 + 0.3 * jnp.roll(jnp.tanh(x), 1, 0)


@step
def called(c: Choices, pool: Pool) -> Any:
    """The same function through a call of some kind."""
    x = pool.take(c, least=1)
    match c.pick("f", ("jit", "checkpoint", "nested jit", "vmap", "map", "vmap of scan", "policy", "vmap twice")):
        case "jit":
            return jax.jit(_wave)(x)
        case "checkpoint":
            return jax.checkpoint(_wave)(x)
        case "nested jit":
            return jax.jit(lambda a: jax.jit(_wave)(a) * a)(x) / 2
        case "vmap":
            y = pool.fitted(c, "with", x.shape)
            return jax.vmap(lambda a, b: jnp.sin(a) * jnp.mean(b))(x, y)
        case "map":
            return lax.map(lambda a: jnp.sin(a) + x.ravel()[0] * 0.5, x)
        case "vmap of scan":
            return jax.vmap(lambda a: lax.scan(lambda s, b: (jnp.sin(s + b), s), 0.2, a.ravel())[0])(x)
        case "policy":
            return jax.checkpoint(_wave, policy=jax.checkpoint_policies.dots_saveable)(x)
    return jax.vmap(jax.vmap(lambda a: a * jnp.sin(a)))(jnp.atleast_2d(x))


@step
def derivative(c: Choices, pool: Pool) -> Any:
    """A derivative on the way: forward, reverse, or a product of both."""
    x = pool.take(c, least=1)
    match c.pick("f", ("grad", "jvp", "hvp")):
        case "grad":
            return jax.grad(lambda a: jnp.sum(_wave(a) ** 2))(x) / 3
        case "jvp":
            return jax.jvp(_wave, (x,), (pool.fitted(c, "with", x.shape),))[1] / 2
    return jax.jvp(jax.grad(lambda a: jnp.sum(_wave(a) ** 2)), (x,), (jnp.ones_like(x),))[1] / 8


# -- rules of their own --------------------------------------------------------------------------------------------


@jax.custom_jvp
def _rounded(x):
    return jnp.round(3 * x) / 3


@_rounded.defjvp
def _rounded_rule(primals, tangents):
    return _rounded(*primals), jnp.cos(primals[0]) * tangents[0]


@jax.custom_jvp
def _rounded_once(x):
    return jnp.round(3 * x) / 3


@_rounded_once.defjvp
def _rounded_once_rule(primals, tangents):
    """A straight-through estimator whose value, once differentiated, is the plain function again."""
    return jnp.round(3 * primals[0]) / 3, tangents[0]


@jax.custom_jvp
def _replaced(x):
    return jnp.sin(x)


@_replaced.defjvp
def _replaced_rule(primals, tangents):
    """As above with a body that has a derivative of its own: second derivatives mix both."""
    return jnp.sin(primals[0]), jnp.exp(-(primals[0] ** 2)) * tangents[0]


@jax.custom_jvp
def _shifted(x):
    return jnp.sin(x)


@_shifted.defjvp
def _shifted_rule(primals, tangents):
    """A rule that couples what the body keeps apart: its Jacobian is not the body's pattern."""
    return _shifted(*primals), 0.5 * jnp.roll(tangents[0], 1) * primals[0]


@jax.custom_jvp
def _blocked(x, y):
    return x * y / 2


@_blocked.defjvp
def _blocked_rule(primals, tangents):
    """The second argument's tangent is left out."""
    return _blocked(*primals), primals[1] * tangents[0] / 2


@jax.custom_vjp
def _straight_through(x):
    return jnp.sign(x)


_straight_through.defvjp(lambda x: (jnp.sign(x), None), lambda _, u: (u,))


@jax.custom_vjp
def _windowed(x):
    return jnp.where(x > 0, 1.0, -1.0)


_windowed.defvjp(lambda x: (_windowed(x), x), lambda x, u: (u * (jnp.abs(x) < 1),))


@jax.custom_vjp
def _clipped(x):
    return x


_clipped.defvjp(lambda x: (x, None), lambda _, u: (jnp.clip(u, -0.05, 0.05),))


@jax.custom_vjp
def _scaled(x, s):
    return x


_scaled.defvjp(lambda x, s: (x, s), lambda s, u: (jnp.flip(u, 0) * s, jnp.zeros_like(s)))


@jax.custom_vjp
def _mixed(x):
    return jnp.sin(x)


_mixed.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (u * jnp.cos(x) + 0.2 * jnp.sum(u) * x,))


@step
def custom_jvp(c: Choices, pool: Pool) -> Any:
    """Rules of one argument, elementwise, and of another function than the body."""
    return _rounded(pool.take(c)) if c.flag("again") else _rounded_once(pool.take(c))


@step
def custom_jvp_coupled(c: Choices, pool: Pool) -> Any:
    """Rules whose Jacobian is no Jacobian of any function: second derivatives are not symmetric."""
    x = pool.take(c, least=1)
    match c.pick("f", ("shifted", "blocked", "replaced")):
        case "shifted":
            return _shifted(x)
        case "blocked":
            return _blocked(x, pool.fitted(c, "with", x.shape))
    return _replaced(x)


@step
def custom_vjp(c: Choices, pool: Pool) -> Any:
    x = pool.take(c, least=1)
    match c.pick("f", ("straight through", "windowed", "clipped", "scaled", "mixed")):
        case "straight through":
            return _straight_through(x)
        case "windowed":
            return _windowed(x)
        case "clipped":
            return _clipped(x)
        case "scaled":
            return _scaled(x, fit(pool.take(c, "factor"), ()))
    return _mixed(x)


@step
def stopped(c: Choices, pool: Pool) -> Any:
    x = pool.take(c)
    match c.pick("f", ("factor", "straight through", "half", "all")):
        case "factor":
            return x * lax.stop_gradient(jnp.sin(x))
        case "straight through":
            return x + lax.stop_gradient(jnp.round(x) - x)
        case "half":
            return jnp.concatenate([x.ravel()[:1], lax.stop_gradient(x.ravel()[1:])])
    return lax.stop_gradient(x)
