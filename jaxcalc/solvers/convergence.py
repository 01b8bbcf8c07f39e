"""What a history of errors says: rate, order, steps to a tolerance."""

import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["linear_rate", "order_of_convergence", "performance_profile", "steps_to"]


def linear_rate(errors: Array, floor: float | Array = 0.0) -> Array:
    """The factor by which the error shrinks (or grows) a step, over the later half of the usable steps.

    ``(e_b / e_a)^(1 / (b - a))``: b is the last step before the first error that is at most ``floor`` or not finite,
    a the step half way to it. The first half is left out since it belongs to the faster components.

    Args:
      errors: (k + 1,), at least 0.
      floor: errors at or below it are taken for rounding.

    Returns:
      A scalar; NaN with fewer than two usable steps.
    """
    count = _usable(errors, floor)
    last = jnp.maximum(count - 1, 0)
    first = last // 2
    rate = jnp.exp((jnp.log(errors[last]) - jnp.log(errors[first])) / jnp.maximum(last - first, 1))
    return jnp.where(count >= 3, rate, jnp.nan)


def order_of_convergence(errors: Array, floor: float | Array = 0.0) -> Array:
    """The order q in ``e_{k+1} ~ C e_k^q``, from the last three usable errors.

    ``q = log(e_{k+1} / e_k) / log(e_k / e_{k-1})``

    Args:
      errors: (k + 1,), at least 0.
      floor: errors at or below it are taken for rounding.

    Returns:
      A scalar; NaN with fewer than three usable errors.
    """
    if errors.shape[0] < 3:
        return jnp.full((), jnp.nan, errors.dtype)
    count = _usable(errors, floor)
    last = jnp.maximum(count - 1, 2)
    after, here, before = (jnp.log(errors[last - back]) for back in range(3))
    return jnp.where(count >= 3, (after - here) / (here - before), jnp.nan)


def steps_to(errors: Array, tolerance: float | Array) -> Array:
    """The first step whose error is at most ``tolerance``; -1 where none is.

    Args:
      errors: (k + 1,).
      tolerance: an absolute error.
    """
    reached = errors <= tolerance
    return jnp.where(jnp.any(reached), jnp.argmax(reached), -1).astype(jnp.int32)


def _usable(errors: Array, floor: float | Array) -> Array:
    """How many errors come before the first that is at most ``floor`` or not finite."""
    good = jnp.isfinite(errors) & (errors > floor)
    return jnp.where(jnp.all(good), errors.shape[0], jnp.argmin(good))


def performance_profile(costs: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """The share of problems that each solver ends within a ratio of the least cost of any.

    ``rho_s(t) = |{p : cost[p, s] <= t min_s cost[p, s]}| / |{p}|``

    Args:
      costs: (problems, solvers), positive; infinite or NaN where the solver failed.
      ratios: t, (k,), at least 1.

    Returns:
      (k, solvers).

    Source: Dolan and More, Math. Programming 91 (2002) 201.
    """
    costs = np.where(np.isnan(costs), np.inf, costs)
    least = np.min(costs, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        relative = np.where(np.isfinite(costs), costs / least, np.inf)
    return (relative[None] <= np.asarray(ratios)[:, None, None]).mean(axis=1)
