"""Array operations: elementwise maps, indexing, reductions along every axis, shapes, sorts, transforms."""

import numpy as np

from jaxcalc import checks
from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES"]


def _elementwise(rng: np.random.Generator, *, size: int) -> Scenario:
    """y_i = exp(-x_i^2) sin(3 x_i) + log(1 + x_i^2); y_i' = exp(-x^2) (3 cos 3x - 2x sin 3x) + 2x / (1 + x^2)."""
    import jax.numpy as jnp

    def derivative(x):
        x = np.asarray(x, np.float64)
        bump = np.exp(-(x**2)) * (3 * np.cos(3 * x) - 2 * x * np.sin(3 * x))
        return np.diag(bump + 2 * x / (1 + x**2))

    fun = lambda x: jnp.exp(-(x**2)) * jnp.sin(3.0 * x) + jnp.log1p(x**2)
    return Scenario(fun, rng.standard_normal(size), derivative=derivative, num_nonzeros=size)


def _friction(rng: np.random.Generator, *, size: int) -> Scenario:
    """Forces with kinks in stretch and speed, y = k max(s, 0) + d where(|v| < 0.5, v, sign(v) (0.25 + v^2)).

    Two arguments, elementwise: two diagonals.
    """
    import jax.numpy as jnp

    def force(x, stiffness):
        stretch, speed = x
        drag = jnp.where(jnp.abs(speed) < 0.5, speed, jnp.sign(speed) * (0.25 + speed**2))
        return stiffness * jnp.maximum(stretch + 4.0, 0.0) ** 1.5 + 0.3 * drag

    point = (rng.standard_normal(size), rng.standard_normal(size))
    return Scenario(force, point, (rng.uniform(0.5, 2.0, size),), num_nonzeros=2 * size)


def _permutation(rng: np.random.Generator, *, size: int) -> Scenario:
    """y_i = x_p(i)^2 / 2 with a permutation p; dy_i/dx_p(i) = x_p(i)."""
    order = rng.permutation(size)

    def derivative(x, order):
        matrix = np.zeros((size, size))
        matrix[np.arange(size), order] = np.asarray(x)[np.asarray(order)]
        return matrix

    fun = lambda x, order: x[order] ** 2 / 2
    return Scenario(fun, rng.standard_normal(size), (order,), derivative=derivative, num_nonzeros=size)


def _table(rng: np.random.Generator, *, knots: int, queries: int) -> Scenario:
    """Linear interpolation in a table, in the table and in the queries: indices come from the queries themselves.

    y = (1 - f) T[i] + f T[i + 1], i = floor(q), f = q - i.
    """
    import jax.numpy as jnp

    def look(x):
        cell = jnp.clip(jnp.floor(x["query"]).astype(jnp.int32), 0, knots - 2)
        part = x["query"] - cell.astype(x["query"].dtype)
        return (1.0 - part) * x["table"][cell] + part * x["table"][cell + 1]

    point = {
        "table": rng.standard_normal(knots),
        "query": rng.integers(knots - 1, size=queries) + rng.uniform(0.1, 0.9, queries),
    }
    return Scenario(look, point)


def _cloud_in_cell(rng: np.random.Generator, *, particles: int, cells: int) -> Scenario:
    """Charge on a ring of cells from particles, linear weights by scatter: the cells come from the places themselves.

    Source: Birdsall and Fuss (1969).
    """
    import jax.numpy as jnp

    def deposit(place, charge):
        cell = jnp.floor(place).astype(jnp.int32)
        part = place - cell.astype(place.dtype)
        empty = jnp.zeros(cells, place.dtype)
        return empty.at[cell].add(charge * (1.0 - part)).at[(cell + 1) % cells].add(charge * part)

    place = rng.integers(cells, size=particles) + rng.uniform(0.1, 0.9, particles)
    return Scenario(deposit, place, (rng.uniform(0.5, 1.5, particles),))


def _reduction(rng: np.random.Generator, *, shape: tuple[int, ...], axis: int, kind: str) -> Scenario:
    """One reduction along one axis of x: sum of squares, maximum, product, logsumexp, norm or variance."""
    import jax
    import jax.numpy as jnp

    def reduce(x):
        match kind:
            case "sum":
                return jnp.sum(x**2, axis)
            case "max":
                return jnp.max(x, axis)
            case "prod":
                return jnp.prod(x, axis)
            case "logsumexp":
                return jax.nn.logsumexp(x, axis)
            case "norm":
                return jnp.linalg.norm(x, axis=axis)
            case "var":
                return jnp.var(x, axis)
            case _:
                raise checks.unknown("reduction", "kind", kind, ("sum", "max", "prod", "logsumexp", "norm", "var"))

    # Uniform about 1, so that a product of many stays of order one.
    point = rng.uniform(0.5, 1.6, shape)
    total = int(np.prod(shape))
    return Scenario(reduce, point, num_nonzeros=None if kind == "max" else total)


def _rearrange(rng: np.random.Generator, *, rows: int, columns: int) -> Scenario:
    """Transpose, pad, reverse, concatenate and multiply: every output is a product of two inputs, or one squared."""
    import jax.numpy as jnp

    def fun(x):
        wide = jnp.pad(x.T, ((0, 0), (1, 1)))
        paired = wide[:, 1:] * wide[:, :-1]
        return jnp.concatenate([paired.ravel(), jnp.flip(x, 0).reshape(-1) ** 2])

    # Pairs that touch the padding vanish; an inner one depends on two.
    count = 2 * columns * (rows - 1) + rows * columns
    return Scenario(fun, rng.standard_normal((rows, columns)), num_nonzeros=count)


def _patches(rng: np.random.Generator, *, side: int, patch: int) -> Scenario:
    """Contrast of an image's patches, sin of each patch less its mean, laid out patch by patch: block diagonal."""
    import jax.numpy as jnp

    count = side // patch

    def fun(x):
        cut = x.reshape(count, patch, count, patch).transpose(0, 2, 1, 3).reshape(count**2, patch**2)
        return jnp.sin(cut - cut.mean(axis=1, keepdims=True))

    return Scenario(fun, rng.standard_normal((side, side)), num_nonzeros=count**2 * patch**4)


def _cumulative(rng: np.random.Generator, *, size: int, kind: str) -> Scenario:
    """A cumulative sum of tanh(x), a product of x, or a logsumexp of x: lower triangular."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    def fun(x):
        match kind:
            case "sum":
                return jnp.cumsum(jnp.tanh(x))
            case "product":
                return jnp.cumprod(x)
            case "logsumexp":
                return lax.cumlogsumexp(x)
            case "associative":
                # The recurrence y <- a y + b, in logarithmic depth.
                combine = lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1])
                return lax.associative_scan(combine, (jax.nn.sigmoid(x), x))[1]
            case _:
                raise checks.unknown("cumulative", "kind", kind, ("sum", "product", "logsumexp", "associative"))

    return Scenario(fun, rng.uniform(0.7, 1.3, size), num_nonzeros=size * (size + 1) // 2)


def _sorted(rng: np.random.Generator, *, size: int) -> Scenario:
    """Squared gaps between sorted values, (s_(i+1) - s_i)^2: two entries a row, where depends on the values."""
    import jax.numpy as jnp

    return Scenario(lambda x: jnp.diff(jnp.sort(x)) ** 2, rng.standard_normal(size), num_nonzeros=2 * (size - 1))


def _quantiles(rng: np.random.Generator, *, size: int, levels: int) -> Scenario:
    """Quantiles between the order statistics, q_k = (1 - f) s_i + f s_(i+1): few outputs, sparse."""
    import jax.numpy as jnp

    level = np.linspace(0.05, 0.95, levels)
    return Scenario(lambda x, level: jnp.quantile(x, level), rng.standard_normal(size), (level,))


def _low_pass(rng: np.random.Generator, *, size: int) -> Scenario:
    """A low-pass filter and a saturation, y = tanh(F^-1 (h F x)), through complex intermediates: circulant, dense."""
    import jax.numpy as jnp

    window = 1.0 / (1.0 + (np.arange(size // 2 + 1) / (size / 8)) ** 4)
    fun = lambda x, window: jnp.tanh(jnp.fft.irfft(window * jnp.fft.rfft(x), size))
    return Scenario(fun, rng.standard_normal(size), (window,))


def _power_spectrum(rng: np.random.Generator, *, size: int) -> Scenario:
    """A power spectrum in decibels, 10 log10(|F x|^2 + 1), through complex intermediates: dense, wide."""
    import jax.numpy as jnp

    def fun(x):
        spectrum = jnp.fft.rfft(x)
        return 10.0 * jnp.log10(spectrum.real**2 + spectrum.imag**2 + 1.0)

    return Scenario(fun, rng.standard_normal(size))


JACOBIANS = {
    "elementwise": [
        tuned("elementwise", _elementwise, size=1000, tags=["diagonal"], closed_form=True),
        held_out("small elementwise", _elementwise, size=20, dtype="float64", tags=["diagonal"], closed_form=True),
        held_out("friction", _friction, size=600, dtype="float64", tags=["diagonal", "kink", "pytree"]),
    ],
    "indexing": [
        tuned("permutation", _permutation, size=400, tags=["gather"], closed_form=True),
        tuned(
            "cloud in cell",
            _cloud_in_cell,
            particles=500,
            cells=60,
            dtype="float64",
            tags=["scatter", "integers", "wide"],
        ),
        held_out("table", _table, knots=50, queries=300, tags=["gather", "integers", "pytree"]),
    ],
    "reduction": [
        tuned("sums of squares of rows", _reduction, shape=(64, 50), axis=1, kind="sum", tags=["wide"]),
        tuned("logsumexp of columns", _reduction, shape=(60, 40), axis=0, kind="logsumexp", tags=["wide"]),
        tuned("products of rows", _reduction, shape=(80, 9), axis=1, kind="prod", dtype="float64", tags=["wide"]),
        held_out(
            "variances of columns", _reduction, shape=(70, 30), axis=0, kind="var", dtype="float64", tags=["wide"]
        ),
        held_out("largest of rows", _reduction, shape=(90, 25), axis=1, kind="max", tags=["wide", "kink"]),
        held_out("norms along the middle", _reduction, shape=(12, 10, 15), axis=1, kind="norm", tags=["wide"]),
        held_out(
            "products of columns", _reduction, shape=(12, 60), axis=0, kind="prod", dtype="float64", tags=["wide"]
        ),
    ],
    "shapes": [
        tuned("rearrangement", _rearrange, rows=20, columns=16, tags=["banded"]),
        held_out("patches", _patches, side=24, patch=4, dtype="float64", tags=["block diagonal"]),
    ],
    "cumulative": [
        tuned("cumulative sum", _cumulative, size=300, kind="sum", tags=["triangular"]),
        tuned("cumulative logsumexp", _cumulative, size=80, kind="logsumexp", dtype="float64", tags=["triangular"]),
        held_out("cumulative product", _cumulative, size=200, kind="product", dtype="float64", tags=["triangular"]),
        held_out("associative scan", _cumulative, size=256, kind="associative", tags=["triangular"]),
    ],
    "order": [
        tuned("sorted gaps", _sorted, size=300, tags=["sort"]),
        held_out("quantiles", _quantiles, size=600, levels=9, dtype="float64", tags=["sort", "wide"]),
    ],
    "Fourier": [
        tuned("low pass", _low_pass, size=256, tags=["complex", "dense"]),
        held_out("power spectrum", _power_spectrum, size=300, dtype="float64", tags=["complex", "dense"]),
    ],
}

CASES = collect("jacobian", JACOBIANS)
