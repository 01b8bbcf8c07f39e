"""Do chains agree, and how many independent draws are they worth: split R-hat and effective sample size."""

import jax.numpy as jnp
from jax import Array

from jaxcalc import checks

__all__ = ["effective_sample_size", "split_rhat"]


def split_rhat(draws: Array) -> Array:
    """The potential scale reduction of chains split in halves: near 1 where they have mixed, above 1.01 not yet.

        R = sqrt(((n - 1) / n W + B / n) / W)

    W is the mean variance within the 2 m half-chains of n draws, B / n the variance of their means.

    Args:
      draws: (m chains, N draws, ...), N at least 4; the middle draw of an odd number is left out.

    Returns:
      An array of the shape of one draw; NaN where all draws are equal.

    Raises:
      ValueError: for too few draws.

    Source: Gelman and Rubin, Statistical Science 7, 1992; Gelman and others, Bayesian Data Analysis, 3rd ed., 11.4.
    """
    halves = _halves("split_rhat", draws)
    return jnp.sqrt(_pooled(halves) / halves.var(1, ddof=1).mean(0))


def effective_sample_size(draws: Array) -> Array:
    """How many independent draws would tell the mean as well.

        m n / (1 + 2 sum_t rho_t)

    The autocorrelations are those of all half-chains together, so that chains that disagree count for little; the sum
    is cut by Geyer's initial monotone sequence: pairs of neighbours as long as they are positive, each at most the one
    before.

    Args:
      draws: (m chains, N draws, ...), N at least 4.

    Returns:
      An array of the shape of one draw, at most ``m N log10(m N)``; NaN where all draws are equal.

    Raises:
      ValueError: for too few draws.

    Source: Vehtari, Gelman, Simpson, Carpenter and Buerkner, Bayesian Analysis 16, 2021, section 3; Geyer, Statistical
      Science 7, 1992.
    """
    halves = _halves("effective_sample_size", draws)
    chains, n = halves.shape[:2]
    centred = halves - halves.mean(1, keepdims=True)
    spectrum = jnp.abs(jnp.fft.rfft(centred, 2 * n, axis=1)) ** 2
    covariance = jnp.fft.irfft(spectrum, 2 * n, axis=1)[:, :n] / n
    within = halves.var(1, ddof=1).mean(0)
    rho = 1 - (within - covariance.mean(0) * n / (n - 1)) / _pooled(halves)
    rho = rho.at[0].set(1.0)
    pairs = rho[: n - n % 2].reshape(n // 2, 2, *rho.shape[1:]).sum(1)
    running = jnp.cumprod(pairs > 0, axis=0)
    monotone = jnp.minimum.accumulate(jnp.where(running, pairs, 0.0), axis=0)
    time = jnp.maximum(-1 + 2 * monotone.sum(0), 1 / jnp.log10(chains * n))
    return jnp.where(within > 0, chains * n / time, jnp.nan)


def _halves(who: str, draws: Array) -> Array:
    """Each chain as two, ``(2 m, N // 2, ...)``."""
    draws = checks.real_array(who, "draws", draws)
    if draws.ndim < 2 or draws.shape[1] < 4 or not draws.shape[0]:
        raise ValueError(f"{who}: draws must have shape (m, N, ...) with N of at least 4, got {draws.shape}.")
    n = draws.shape[1] // 2
    return jnp.concatenate([draws[:, :n], draws[:, -n:]])


def _pooled(halves: Array) -> Array:
    """The variance that all draws together speak of, which the spread of the chains' means enters."""
    n = halves.shape[1]
    return (n - 1) / n * halves.var(1, ddof=1).mean(0) + halves.mean(1).var(0, ddof=1)
