"""Heavy tails: the generalised Pareto distribution fitted to excesses, and importance weights smoothed by it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc import checks

__all__ = ["fit_generalized_pareto", "khat_threshold", "pareto_khat", "smooth_log_weights", "tail_length"]

_LEAST = 5
"""A tail of fewer numbers tells nothing."""
_ROUNDING = 1e3
"""Times eps of the largest weight: so much differs where weights are equal."""
_PRIOR_SIZE, _PRIOR_SHAPE = 10, 0.5
"""The shape is drawn towards 1/2 as by so many further numbers, which steadies it where the tail is short."""


def khat_threshold(num_samples: int) -> float:
    """The largest k-hat at which smoothed weights of so many draws may be relied on: ``min(1 - 1 / log10 S, 0.7)``.

    Args:
      num_samples: S, above 10.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", JMLR 25, 2024.
    """
    checks.integer("khat_threshold", "num_samples", num_samples, least=11)
    return min(1 - 1 / math.log10(num_samples), 0.7)


def tail_length(num_samples: int) -> int:
    """How many of the largest weights are taken for the tail: ``ceil(min(S / 5, 3 sqrt(S)))``."""
    return math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples)))


def fit_generalized_pareto(excesses: Array) -> tuple[Array, Array]:
    """Shape k and scale s of a generalised Pareto distribution, by the empirical Bayes estimate.

        P(X > x) = (1 + k x / s)^(-1 / k);    its moments exist below the order 1 / k

    Args:
      excesses: (n,), ascending, not negative, the largest above 0.

    Returns:
      ``(k, s)``, k not yet drawn towards a prior; NaN where the largest excess is 0.

    Source: Zhang and Stephens, "A new and efficient estimation method for the generalized Pareto distribution",
      Technometrics 51, 2009.
    """
    n = excesses.shape[0]
    count = 30 + math.isqrt(n)
    quartile = excesses[max(int(n / 4 + 0.5) - 1, 0)]
    # Of ties at the cut the quartile may be 0; the largest is not.
    quartile = jnp.where(quartile > 0, quartile, excesses[-1] / n)
    spread = 1 - np.sqrt(count / (np.arange(1, count + 1) - 0.5))
    theta = 1 / excesses[-1] + jnp.asarray(spread, excesses.dtype) / (3 * quartile)
    shape = lambda theta: jnp.mean(jnp.log1p(-theta * excesses))
    shapes = jax.vmap(shape)(theta)
    # A theta of 0 is the exponential distribution's, whose likelihood is the limit.
    profile = n * (jnp.log(jnp.abs(theta / jnp.where(shapes == 0, 1, shapes))) - shapes - 1)
    theta = jnp.sum(jax.nn.softmax(jnp.where(jnp.isnan(profile), -jnp.inf, profile)) * theta)
    k = shape(theta)
    return k, -k / theta


def smooth_log_weights(log_weights: Array) -> tuple[Array, Array]:
    """Pareto smoothed importance weights, as logarithms that are normalised, and their k-hat.

    The largest weights are replaced by the expected order statistics of the generalised Pareto distribution fitted to
    them. k-hat estimates how many moments the weights have: below 1/2 their variance is finite; up to
    ``khat_threshold`` the averages may be relied on; beyond, and surely from 1 on, where not even the mean is finite,
    they may not, however small the standard error that comes with them.

    Args:
      log_weights: (S,), up to a constant; -inf is a weight of 0, and so is NaN.

    Returns:
      ``(smoothed, k_hat)``: (S,), whose exponentials sum to 1, and a scalar: -inf where all weights of the tail are
      equal but for rounding, so that there is none, and infinite where no weight is finite.

    Raises:
      ValueError: for fewer than 25 weights, whose tail tells nothing.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", JMLR 25, 2024.
    """
    log_weights = _vector("smooth_log_weights", log_weights)
    count = tail_length(log_weights.shape[0])
    order = jnp.argsort(log_weights)
    top = log_weights[order[-1]]
    scaled = log_weights - jnp.where(jnp.isfinite(top), top, 0)
    tail, cut = scaled[order[-count:]], scaled[order[-count - 1]]
    k, scale, flat = _tail(tail, cut)
    chance = (jnp.arange(count) + 0.5) / count
    bent = jnp.where(jnp.abs(k) < 1e-6, 1e-6, k)
    # No weight beyond the largest: what was not drawn is not made up.
    smoothed = jnp.minimum(jnp.log(jnp.exp(cut) + scale * jnp.expm1(-bent * jnp.log1p(-chance)) / bent), 0.0)
    smoothed = scaled.at[order[-count:]].set(jnp.where(flat | ~jnp.isfinite(smoothed), tail, smoothed))
    smoothed = smoothed - jax.scipy.special.logsumexp(smoothed)
    return smoothed, jnp.where(jnp.isfinite(top), jnp.where(flat, -jnp.inf, k), jnp.inf)


def pareto_khat(log_weights: Array, values: Array | None = None) -> Array:
    """k-hat of importance weights, or of their products with the absolute values of a function.

    An average of h needs ``w h`` to have moments: with weights that are fine a heavy-tailed h is not.

    Args:
      log_weights: (S,).
      values: (S,), of a function; by default 1.

    Returns:
      A scalar, as of ``smooth_log_weights``.

    Raises:
      ValueError: for fewer than 25 weights.

    Source: Vehtari and others, 2024, section 3.
    """
    log_weights = _vector("pareto_khat", log_weights)
    if values is not None:
        log_weights = _vector("pareto_khat", log_weights + jnp.log(jnp.abs(values)))
    ascending = jnp.sort(log_weights)
    count = tail_length(log_weights.shape[0])
    top = ascending[-1]
    scaled = ascending - jnp.where(jnp.isfinite(top), top, 0)
    k, _, flat = _tail(scaled[-count:], scaled[-count - 1])
    return jnp.where(jnp.isfinite(top), jnp.where(flat, -jnp.inf, k), jnp.inf)


def _tail(tail: Array, cut: Array) -> tuple[Array, Array, Array]:
    """Shape and scale of the tail's excesses over the cut, both logarithms, and whether there are none."""
    count = tail.shape[0]
    # By expm1, since weights of a good guide differ by little.
    excesses = jnp.exp(cut) * jnp.expm1(tail - jnp.where(jnp.isfinite(cut), cut, 0))
    excesses = jnp.where(jnp.isfinite(cut), excesses, jnp.exp(tail))
    # Of weights that are equal but for rounding the shape is that of rounding.
    flat = ~(excesses[-1] > _ROUNDING * jnp.finfo(tail.dtype).eps)
    k, scale = fit_generalized_pareto(jnp.where(flat, jnp.arange(1.0, count + 1, dtype=tail.dtype), excesses))
    k = (count * k + _PRIOR_SIZE * _PRIOR_SHAPE) / (count + _PRIOR_SIZE)
    return k, scale, flat


def _vector(who: str, log_weights: Array) -> Array:
    log_weights = checks.real_array(who, "log_weights", log_weights)
    (size,) = checks.shaped(who, "log_weights", log_weights.shape, "S")
    if tail_length(size) < _LEAST:
        raise ValueError(f"{who}: log_weights must hold 25 numbers or more, got {size}. Draw more.")
    return jnp.where(jnp.isnan(log_weights), -jnp.inf, log_weights)
