"""Bounds lower <= x <= upper: the projection, the stationarity test, and which variables are held."""

import jax.numpy as jnp
from jax import Array

__all__ = ["active", "project", "residual", "stationarity"]


def project(x: Array, lower: Array | None, upper: Array | None) -> Array:
    """The nearest point within the bounds."""
    if lower is None or upper is None:
        return x
    return jnp.clip(x, lower, upper)


def stationarity(x: Array, gradient: Array, lower: Array | None, upper: Array | None) -> Array:
    """How far x is from a stationary point, a scalar in the gradient's unit.

    ``max_i |x_i - P(x_i - g_i)|``, P the projection; without bounds ``max_i |g_i|``. It is 0 exactly at the points that
    meet the conditions of Karush, Kuhn and Tucker.
    """
    return jnp.max(jnp.abs(residual(x, gradient, lower, upper)))


def residual(x: Array, gradient: Array, lower: Array | None, upper: Array | None) -> Array:
    """``x - P(x - g)``, (n,); without bounds the gradient."""
    return gradient if lower is None else x - project(x - gradient, lower, upper)


def active(x: Array, gradient: Array, lower: Array | None, upper: Array | None) -> Array | None:
    """Which variables sit at a bound that the descent direction points out of, or have no room at all.

    (n,) booleans; None without bounds.
    """
    if lower is None or upper is None:
        return None
    return (lower == upper) | ((x <= lower) & (gradient > 0)) | ((x >= upper) & (gradient < 0))
