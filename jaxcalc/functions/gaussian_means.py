"""Means under the normal distribution of one variable, and of two that are correlated, by quadrature.

Gauss-Legendre quadrature takes each half line by itself, so that a kink at 0, as ReLU has, costs no accuracy, and each
half in two pieces, so that an activation's bend is resolved however far the entries spread. In the plane the lines on
which either variable is 0 pass through the origin: between them, in polar coordinates, everything is smooth.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["gaussian_mean", "gaussian_pair_mean"]

_NODES = 64  # on each piece of the line
_PLANE_NODES = 48  # on each piece of the radius, and of the angle
_REACH = 12.0  # standard deviations; what lies beyond weighs 1e-33
_BEND = 36.0  # where sigmoids have reached their ends to double precision


@functools.cache
def _nodes_and_weights(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes and weights of the unit interval."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return 0.5 * (nodes + 1), 0.5 * weights


def _half_line(deviation: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Nodes in standard deviations and plain weights: up to the end of the bend, and beyond it."""
    nodes, weights = (jnp.asarray(each, deviation.dtype) for each in _nodes_and_weights(count))
    # A bend wider than the reach leaves the second piece without length.
    border = _BEND / jnp.maximum(deviation, _BEND / _REACH)
    z = jnp.concatenate([border * nodes, border + (_REACH - border) * nodes])
    return z, jnp.concatenate([border * weights, (_REACH - border) * weights])


def _deviation(variance: jax.Array) -> jax.Array:
    """The root; far below any variance that matters something is added, for a root has no slope at 0."""
    return jnp.sqrt(variance + float(jnp.finfo(variance.dtype).tiny) ** 0.9)


def gaussian_mean(fun: Callable[[jax.Array], jax.Array], variance: jax.typing.ArrayLike) -> jax.Array:
    """The mean of ``fun`` under a centred normal: ``INT fun(sqrt(variance) z) Dz``.

    Args:
      fun: an elementwise function, smooth but for 0, that beyond +-36 goes on like a polynomial, as activations do.
      variance: a scalar.

    Returns:
      A scalar of the dtype of ``variance``; NaN for a negative one.
    """
    variance = jnp.asarray(variance, float)
    deviation = _deviation(variance)
    z, weights = _half_line(deviation, _NODES)
    weights = weights * jnp.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    u = deviation * z
    return jnp.concatenate([weights, weights]) @ fun(jnp.concatenate([u, -u]))


def gaussian_pair_mean(
    first: Callable[[jax.Array], jax.Array],
    second: Callable[[jax.Array], jax.Array],
    variance: jax.typing.ArrayLike,
    correlation: jax.typing.ArrayLike,
) -> jax.Array:
    """The mean of ``first(u1) second(u2)``, both centred normals of one variance.

    With ``u1 = sqrt(variance) r cos(t)`` and ``u2 = sqrt(variance) r cos(t - a)``, ``cos(a)`` being the correlation,
    each of the four sectors between the lines ``u1 = 0`` and ``u2 = 0`` has nodes of its own.

    Args:
      first, second: elementwise functions, smooth but for 0, that beyond +-36 go on like polynomials.
      variance: of either, a scalar.
      correlation: between them, in [-1, 1].

    Returns:
      A scalar of the dtype of ``variance``; NaN for a correlation out of range.

    Cost: some 18,000 evaluations of each function.
    """
    variance = jnp.asarray(variance, float)
    deviation = _deviation(variance)
    angle = jnp.arccos(jnp.asarray(correlation, variance.dtype))
    r, weights = _half_line(deviation, _PLANE_NODES)
    weights = weights * r * jnp.exp(-0.5 * r**2) / (2 * np.pi)
    nodes, spread = (jnp.asarray(each, variance.dtype) for each in _nodes_and_weights(_PLANE_NODES))
    quarter = np.pi / 2
    # Where both are positive, and where the second alone is; the other two sectors are their mirror images.
    t = jnp.concatenate([angle - quarter + (np.pi - angle) * nodes, quarter + angle * nodes])
    spread = jnp.concatenate([(np.pi - angle) * spread, angle * spread])
    u1 = deviation * jnp.cos(t)[:, None] * r
    u2 = deviation * jnp.cos(t - angle)[:, None] * r
    return spread @ ((first(u1) * second(u2) + first(-u1) * second(-u2)) @ weights)
