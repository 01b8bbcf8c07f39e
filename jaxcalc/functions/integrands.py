"""Integrands on the unit cube with their integrals in closed form: smooth, kinked, jumping, without a variance.

Each is scaled so that its variance, where it has one, does not change with the dimension.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["INTEGRANDS", "KINK", "genz_integrals", "genz_pair", "integrals", "integrands"]

INTEGRANDS = ("smooth", "kink", "jump", "pole")
"""The entries of ``integrands``, in order; the pole alone has no variance."""

PHASE, KINK = 0.7, 0.3  # of the oscillation; where the kinks lie on each axis
_AWAY = (KINK**2 + (1 - KINK) ** 2) / 2  # the mean of |x - KINK|


def genz_pair(centred: Any, away: Any, dimension: Any, *, xp: Any = jnp) -> Any:
    """Genz's oscillating and continuous integrands, from two sums over the point's entries.

        cos(0.7 + c sum (x_i - 1/2)),    exp(-c sum (|x_i - 0.3| - mean)),    c^2 = 12 / d

    Args:
      centred: ``sum (x_i - 1/2)``. away: ``sum |x_i - 0.3|``; arrays that broadcast.
      dimension: ``d``.
      xp: the module to compute in, ``jax.numpy`` or ``numpy``.

    Returns:
      An array with a last axis of length 2.

    Source:
      A. Genz, A package for testing multiple integration subroutines, 1987.
    """
    c = np.sqrt(12 / dimension)
    return xp.stack([xp.cos(PHASE + c * centred), xp.exp(-c * (away - _AWAY * dimension))], -1)


def genz_integrals(dimension: Any) -> np.ndarray:
    """The integrals of ``genz_pair`` over the unit cube, on a last axis of length 2."""
    c = np.sqrt(12 / np.asarray(dimension, float))
    wave = np.cos(PHASE) * np.sinc(c / (2 * np.pi)) ** dimension
    kink = (np.exp(c * _AWAY) * (2 - np.exp(-c * KINK) - np.exp(-c * (1 - KINK))) / c) ** dimension
    return np.stack([wave, kink], -1)


def integrands(x: Any) -> Array:
    """``exp(c sum (x_i - 1/2) / 2)``, Genz's kink, a jump where ``sum x_i > d / 2``, and the pole ``x_1^(-3/4) / 4``.

    Args:
      x: a point of shape ``(d,)``.

    Returns:
      An array of shape ``(4,)``, in the order of ``INTEGRANDS``.
    """
    d = x.size
    centred, away = (x - 0.5).sum(), jnp.abs(x - KINK).sum()
    kink = genz_pair(centred, away, d)[1]
    return jnp.stack([jnp.exp(np.sqrt(3 / d) * centred), kink, jnp.where(centred > 0, 1.0, 0.0), x[0] ** -0.75 / 4])


def integrals(dimension: int) -> np.ndarray:
    """The integrals of ``integrands`` over the unit cube, of shape ``(4,)``."""
    half = np.sqrt(3 / dimension) / 2
    return np.array([(np.sinh(half) / half) ** dimension, genz_integrals(dimension)[1], 0.5, 1.0])
