"""Integrals by sampling, with a standard error, in memory that does not grow with the number of samples."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc import checks

__all__ = ["Estimate", "importance_sampling", "monte_carlo", "quasi_monte_carlo", "sample_mean"]

_CHUNK = 1 << 14
# scipy.stats.qmc.Sobol has 30 binary digits by default.
_SOBOL_BITS = 30


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Estimate:
    """A mean over random samples with its standard error.

    Args:
      value: the estimate.
      standard_error: the estimated standard deviation of ``value``, like ``value``. It means something where the
        integrand's variance is finite.
      num_samples: how often the integrand was evaluated.
      degrees_of_freedom: of Student's t, which ``(value - exact) / standard_error`` follows about.
    """

    value: Any
    standard_error: Any
    num_samples: jax.Array
    degrees_of_freedom: jax.Array


def sample_mean(draw: Callable[..., Any], /, *, num_samples: int, chunk_size: int = _CHUNK) -> Callable[..., Estimate]:
    """The mean of a random quantity, by independent draws.

        (1/n) sum_i Y_i,    standard error sqrt(sum_i (Y_i - mean)^2 / (n (n - 1)))

    Chunks are reduced to mean and sum of squared deviations and merged one after the other, without cancellation.

    Args:
      draw: ``draw(key, *args)``, one sample: an array or PyTree of real arrays.
      num_samples: how many, at least 2.
      chunk_size: how many are held at a time.

    Returns:
      ``mean(key, *args) -> Estimate``. Ready for ``jit``, ``vmap`` and ``grad`` (which draws each chunk again rather
      than remember it).

    Raises:
      ValueError: if ``num_samples`` is below 2 or ``chunk_size`` below 1.

    Cost:
      ``num_samples`` draws; memory for ``chunk_size`` of them.

    Source:
      T. F. Chan, G. H. Golub, R. J. LeVeque, Updating formulae and a pairwise algorithm for computing sample
      variances, 1979.
    """
    return named_sample_mean("sample_mean", draw, num_samples, chunk_size)


def named_sample_mean(
    who: str, draw: Callable[..., Any], num_samples: int, chunk_size: int, evaluations: int = 1
) -> Callable[..., Estimate]:
    """``sample_mean`` in the name of whoever asks; a draw takes so many evaluations, which are the samples counted."""
    num_samples, chunk_size = _checked_counts(who, num_samples, chunk_size)
    if num_samples % evaluations or num_samples < 2 * evaluations:
        raise ValueError(
            f"{who}: num_samples must be a multiple of {evaluations}, at least {2 * evaluations}, for draws come in "
            f"groups, got {num_samples}."
        )
    checks.function(who, draw)
    draws, at_a_time = num_samples // evaluations, max(chunk_size // evaluations, 1)

    def batch(count, key, *args):
        return jax.vmap(draw, (0, *(None for _ in args)))(jax.random.split(key, count), *args)

    def mean(key, *args):
        return _chunked_mean(who, lambda count, key: batch(count, key, *args), key, draws, at_a_time, evaluations)

    return mean


def monte_carlo(
    fun: Callable[..., Any],
    /,
    *,
    num_samples: int,
    chunk_size: int = _CHUNK,
    antithetic: bool = False,
) -> Callable[..., Estimate]:
    """The integral of a function over a box, by uniform random samples.

        I = INT_box f(x, args) dx ~ V mean_i f(x_i),    error ~ V std(f) / sqrt(n) in any dimension

    Args:
      fun: from one point, of the shape of ``low``, and ``args`` to an array or PyTree of real arrays.
      num_samples: evaluations of ``fun``, at least 2.
      chunk_size: how many of them are held at a time.
      antithetic: whether to draw points in pairs, mirrored at the centre of the box: exact for what is odd about it,
        worse than independent points for what is even. ``num_samples`` is even then, and at least 4.

    Returns:
      ``estimate(key, low, high, *args) -> Estimate``; ``low`` and ``high`` are the box's corners, of one shape ``()``
      or ``(d,)``. Exchanging them in one coordinate changes the sign. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: for too few samples, an odd number of antithetic ones, corners of different shapes or not finite.

    Cost:
      ``num_samples`` evaluations; memory for ``chunk_size`` of them.
    """
    checks.function("monte_carlo", fun)
    num_samples, chunk_size = _checked_counts("monte_carlo", num_samples, chunk_size)
    if antithetic and (num_samples % 2 or num_samples < 4):
        raise ValueError(f"monte_carlo: antithetic wants an even num_samples of at least 4, got {num_samples}.")

    def estimate(key, low, high, *args):
        low, high = _box("monte_carlo", low, high)
        value = _scaled(fun, low, high, args)

        def batch(count, key):
            u = jax.random.uniform(key, (count, *low.shape), low.dtype)
            y = jax.vmap(value)(u)
            if not antithetic:
                return y
            return jax.tree.map(lambda one, other: (one + other) / 2, y, jax.vmap(value)(1 - u))

        paired = 2 if antithetic else 1
        return _chunked_mean("monte_carlo", batch, key, num_samples // paired, max(chunk_size // paired, 1), paired)

    return estimate


def importance_sampling(
    fun: Callable[..., Any],
    sample: Callable[..., Any],
    log_density: Callable[..., Any],
    /,
    *,
    num_samples: int,
    chunk_size: int = _CHUNK,
) -> Callable[..., Estimate]:
    """The integral of a function over all of a proposal's support, by samples of that proposal.

        I = INT f(x, args) dx = E_{x ~ q} [f(x, args) / q(x)]

    The variance is finite, and the standard error to be trusted, where ``f^2 / q`` is integrable: ``q`` must have
    tails at least as heavy as ``f``.

    Args:
      fun: from one point (any PyTree) and ``args`` to an array or PyTree of real arrays.
      sample: ``sample(key) -> x``, one draw of the proposal.
      log_density: ``log_density(x)``, the normalised log density of the proposal.
      num_samples: how many, at least 2.
      chunk_size: how many are held at a time.

    Returns:
      ``estimate(key, *args) -> Estimate``. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: for too few samples.
    """
    checks.function("importance_sampling", fun)

    def draw(key, *args):
        x = sample(key)
        weight = jnp.exp(-log_density(x))
        return jax.tree.map(lambda y: y * weight.astype(jnp.result_type(y, weight)), fun(x, *args))

    return named_sample_mean("importance_sampling", draw, num_samples, chunk_size)


def quasi_monte_carlo(
    fun: Callable[..., Any],
    /,
    *,
    num_samples: int,
    num_replicates: int = 16,
    chunk_size: int = _CHUNK,
) -> Callable[..., Estimate]:
    """The integral of a function over a box, by randomly shifted Sobol points.

    ``num_replicates`` times the same points, each time with all binary digits of a coordinate flipped by one random
    pattern: each replicate is unbiased and as even as the points, and their spread is the standard error. On smooth
    integrands of few effective dimensions the error falls almost like ``1 / num_samples``.

    Args:
      fun: from one point, of the shape of ``low``, and ``args`` to an array or PyTree of real arrays.
      num_samples: points of each replicate: a power of two, at which the points are balanced.
      num_replicates: how many, at least 2.
      chunk_size: how many points are held at a time, a power of two.

    Returns:
      ``estimate(key, low, high, *args) -> Estimate``, as for ``monte_carlo``, with ``num_replicates - 1`` degrees of
      freedom. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: if ``num_samples`` or ``chunk_size`` is no power of two or too large, ``num_replicates`` below 2,
        for corners of different shapes or not finite.

    Cost:
      ``num_samples * num_replicates`` evaluations; memory for ``chunk_size`` of them.

    Source:
      I. M. Sobol, 1967; directions of S. Joe, F. Y. Kuo, 2008, through SciPy; the shifts: A. B. Owen, Monte Carlo
      theory, methods and examples, chapter 17.
    """
    checks.function("quasi_monte_carlo", fun)
    most = 1 << _SOBOL_BITS
    num_samples = checks.integer("quasi_monte_carlo", "num_samples", num_samples, most=most)
    chunk_size = checks.integer("quasi_monte_carlo", "chunk_size", chunk_size)
    for name, number in (("num_samples", num_samples), ("chunk_size", chunk_size)):
        if number & (number - 1):
            raise ValueError(f"quasi_monte_carlo: {name} must be a power of two, got {number}.")
    checks.integer("quasi_monte_carlo", "num_replicates", num_replicates, least=2)
    chunk_size = min(num_samples, chunk_size)

    def estimate(key, low, high, *args):
        low, high = _box("quasi_monte_carlo", low, high)
        value = _scaled(fun, low, high, args)
        directions = jnp.asarray(_sobol_directions(low.size, num_samples.bit_length() - 1))

        def replicate(shift):
            def chunk(start):
                digits = _sobol_digits(start + jnp.arange(chunk_size, dtype=jnp.uint32), directions) ^ shift
                return jax.tree.map(lambda y: y.mean(0), jax.vmap(value)(_unit(digits, low).reshape(-1, *low.shape)))

            starts = jnp.arange(num_samples // chunk_size, dtype=jnp.uint32) * jnp.uint32(chunk_size)
            return _running_mean(jax.checkpoint(chunk), starts)

        shifts = jax.random.bits(key, (num_replicates, low.size), jnp.uint32) >> (32 - _SOBOL_BITS)
        means = jax.jit(lambda shifts: jax.lax.map(replicate, shifts))(shifts)
        spread = jax.tree.map(lambda m: _root(((m - m.mean(0)) ** 2).sum(0), num_replicates), means)
        total = np.asarray(num_samples * num_replicates, float)
        return Estimate(
            jax.tree.map(lambda m: m.mean(0), means),
            spread,
            jnp.asarray(total),
            jnp.asarray(num_replicates - 1.0),
        )

    return estimate


# -- one chunk after the other -------------------------------------------------------------------------------------


def _chunked_mean(who: str, batch, key, num_samples: int, chunk_size: int, evaluations: int) -> Estimate:
    """Mean and standard error of ``num_samples`` draws, ``batch(count, key)`` giving ``count`` of them."""
    chunk_size = min(chunk_size, num_samples)
    full, rest = divmod(num_samples, chunk_size)
    whole, last = jax.random.split(key)

    def moments(count, key):
        y = jax.tree.map(functools.partial(_summable, who), batch(count, key))
        mean = jax.tree.map(lambda y: y.mean(0), y)
        return mean, jax.tree.map(lambda y, m: ((y - m) ** 2).sum(0), y, mean)

    one_chunk = jax.checkpoint(functools.partial(moments, chunk_size))

    def step(carry, i):
        # All chunks being alike, their counts enter by ratios alone, which no integer type can overflow.
        new = one_chunk(jax.random.fold_in(whole, i))
        return _merged(carry, new, 1 / (i + 1.0), chunk_size * (i / (i + 1.0))), None

    zeros = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), jax.eval_shape(functools.partial(one_chunk, key)))
    # A loop that runs by itself is compiled into a cache that lets go of nothing; a jitted one's program goes with it.
    (mean, squares), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(full)))(zeros)
    if rest:
        share, weight = rest / num_samples, rest * ((num_samples - rest) / num_samples)
        mean, squares = _merged((mean, squares), moments(rest, last), share, weight)
    return Estimate(
        mean,
        jax.tree.map(lambda s: _root(s, num_samples), squares),
        jnp.asarray(float(num_samples * evaluations)),
        jnp.asarray(num_samples - 1.0),
    )


def _summable(who: str, y):
    """Real numbers fit to be summed: a sum in half precision stops growing, or overflows, at some thousands."""
    y = jnp.asarray(y)
    if jnp.issubdtype(y.dtype, jnp.complexfloating):
        raise TypeError(
            f"{who}: the integrand must be real, got {y.dtype}; integrate its real and imaginary parts apart."
        )
    return y.astype(jnp.promote_types(jnp.result_type(y, float), jnp.float32))


def _merged(old, new, share, weight):
    """Mean and sum of squared deviations of two sets together; ``share = m / (n + m)``, ``weight = n m / (n + m)``."""
    (mean, squares), (new_mean, new_squares) = old, new
    apart = jax.tree.map(lambda one, other: one - other, new_mean, mean)
    mean = jax.tree.map(lambda m, d: m + d * jnp.asarray(share, m.dtype), mean, apart)
    squares = jax.tree.map(lambda s, n, d: s + n + d**2 * jnp.asarray(weight, s.dtype), squares, new_squares, apart)
    return mean, squares


def _running_mean(chunk, starts):
    """The mean of ``chunk`` over all starts."""
    zeros = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), jax.eval_shape(chunk, starts[0]))

    def step(mean, numbered):
        i, start = numbered
        return jax.tree.map(lambda m, y: m + (y - m) / (i + 1).astype(m.dtype), mean, chunk(start)), None

    return jax.lax.scan(step, zeros, (jnp.arange(starts.size), starts))[0]


def _root(squares, count: int):
    """The standard error from the sum of squared deviations; its derivative is 0 where that is."""
    spread = squares > 0
    return jnp.where(spread, jnp.sqrt(jnp.where(spread, squares, 1) / count / (count - 1.0)), squares)


def _scaled(fun, low, high, args):
    """``u -> V f(low + (high - low) u)``."""

    def value(u):
        volume = jnp.prod(high - low)
        y = fun(low + (high - low) * u, *args)
        return jax.tree.map(lambda y: y * volume.astype(jnp.result_type(y, volume)), y)

    return value


# -- Sobol points --------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def _sobol_directions(dimensions: int, bits: int) -> np.ndarray:
    """Direction numbers, shape ``(bits, dimensions)``, read off the points of SciPy's generator.

    In Gray code point ``2^k`` is direction ``k`` on top of direction ``k - 1``.
    """
    from scipy.stats import qmc

    directions, previous = [], np.zeros(dimensions, np.uint32)
    sampler = qmc.Sobol(dimensions, scramble=False, bits=_SOBOL_BITS)
    at = 0
    for k in range(bits):
        if (1 << k) > at:
            sampler.fast_forward((1 << k) - at)
        point = np.asarray(sampler.random(1)[0] * 2.0**_SOBOL_BITS, np.uint32)
        at = (1 << k) + 1
        previous = point ^ previous
        directions.append(previous)
    return np.asarray(directions, np.uint32).reshape(bits, dimensions)


def _sobol_digits(index: jax.Array, directions: jax.Array) -> jax.Array:
    """The binary digits of the points of those indices, shape ``(n, d)``."""
    gray = index ^ (index >> 1)

    def digit(k, digits):
        return digits ^ jnp.where((gray >> k.astype(jnp.uint32)) & 1, 1, 0).astype(jnp.uint32)[:, None] * directions[k]

    start = jnp.zeros((index.size, directions.shape[1]), jnp.uint32)
    return jax.lax.fori_loop(0, directions.shape[0], digit, start) if directions.shape[0] else start


def _unit(digits: jax.Array, like: jax.Array) -> jax.Array:
    """Centres of the cells that those digits number, strictly inside (0, 1) in the dtype."""
    kept = min(_SOBOL_BITS, jnp.finfo(like.dtype).nmant)
    cells = (digits >> (_SOBOL_BITS - kept)).astype(like.dtype)
    return (cells + 0.5) * 2.0**-kept


# -- checks --------------------------------------------------------------------------------------------------------


def _checked_counts(who: str, num_samples: int, chunk_size: int) -> tuple[int, int]:
    remedy = "One sample has no standard error."
    num_samples = checks.integer(who, "num_samples", num_samples, least=2, remedy=remedy)
    return num_samples, checks.integer(who, "chunk_size", chunk_size)


def _box(who: str, low: Any, high: Any) -> tuple[jax.Array, jax.Array]:
    """The corners in one floating-point dtype."""
    dtype = jnp.result_type(low, high, float)
    corners = jnp.asarray(low, dtype), jnp.asarray(high, dtype)
    if corners[0].shape != corners[1].shape or corners[0].ndim > 1 or corners[0].size == 0:
        raise ValueError(
            f"{who}: low and high must have one shape, () or (d,) with d > 0, got {corners[0].shape} and "
            f"{corners[1].shape}."
        )
    for corner in (low, high):
        if not isinstance(corner, Tracer) and not np.isfinite(np.asarray(corner, float)).all():
            raise ValueError(f"{who}: low and high must be finite, got {corner}. Use importance_sampling.")
    return corners
