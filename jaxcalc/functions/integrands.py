"""Integrands on the unit cube with their integrals in closed form: smooth, kinked, jumping, without a variance.

Each is scaled so that its variance, where it has one, does not change with the dimension.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = [
    "INTEGRANDS",
    "KINK",
    "HardIntegral",
    "genz_integrals",
    "genz_pair",
    "hard_integrals",
    "integrals",
    "integrands",
]

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


class HardIntegral(NamedTuple):
    """An integral on a line that tries adaptive rules.

    Args:
      fun: ``fun(x, place, xp)``, ``xp`` being ``numpy`` or ``jax.numpy``.
      low, high: the limits, which may be infinite.
      exact: the integral, as a function of the place.
      placed: whether what is hard lies at ``place``, in (0, 1); else it is at an end, or nowhere.
    """

    fun: Callable[[Any, Any, Any], Any]
    low: float
    high: float
    exact: Callable[[np.ndarray], Any]
    placed: bool = False


def hard_integrals() -> dict[str, HardIntegral]:
    """Smooth, oscillating, peaked, kinked, jumping and singular integrands, by name, with their integrals."""
    from scipy.special import j0

    inf, atan, pi = math.inf, np.arctan, math.pi

    def bump(width: float) -> HardIntegral:
        exact = lambda c: (atan((1 - c) / width) + atan(c / width)) / width
        return HardIntegral(lambda x, c, xp: 1 / (width**2 + (x - c) ** 2), 0, 1, exact, True)

    return {
        "smooth": HardIntegral(lambda x, c, xp: xp.cos(xp.sin(x)), 0, pi, lambda c: pi * j0(1.0)),
        "Runge": HardIntegral(lambda x, c, xp: 1 / (1 + 25 * x**2), -1, 1, lambda c: 2 / 5 * atan(5.0)),
        "cos 100x": HardIntegral(lambda x, c, xp: xp.cos(100 * x), 0, 1, lambda c: np.sin(100.0) / 100),
        "cos 1000x": HardIntegral(lambda x, c, xp: xp.cos(1000 * x), 0, 1, lambda c: np.sin(1000.0) / 1000),
        "peak": bump(1e-2),
        "narrow peak": bump(1e-4),
        "kink": HardIntegral(lambda x, c, xp: xp.abs(x - c), 0, 1, lambda c: (c**2 + (1 - c) ** 2) / 2, True),
        "jump": HardIntegral(lambda x, c, xp: xp.where(x > c, 1.0, 0.0), 0, 1, lambda c: 1 - c, True),
        "pole inside": HardIntegral(
            lambda x, c, xp: xp.abs(x - c) ** -0.5, 0, 1, lambda c: 2 * (np.sqrt(c) + np.sqrt(1 - c)), True
        ),
        "root": HardIntegral(lambda x, c, xp: xp.sqrt(x), 0, 1, lambda c: 2 / 3),
        "logarithm": HardIntegral(lambda x, c, xp: xp.log(x), 0, 1, lambda c: -1.0),
        "pole of order 1/2": HardIntegral(lambda x, c, xp: x**-0.5, 0, 1, lambda c: 2.0),
        "pole of order 9/10": HardIntegral(lambda x, c, xp: x**-0.9, 0, 1, lambda c: 10.0),
        "normal": HardIntegral(lambda x, c, xp: xp.exp(-(x**2)), -inf, inf, lambda c: np.sqrt(pi)),
        "Cauchy": HardIntegral(lambda x, c, xp: 1 / (1 + x**2), -inf, inf, lambda c: pi),
        "gamma of 1/2": HardIntegral(lambda x, c, xp: xp.exp(-x) * x**-0.5, 0, inf, lambda c: np.sqrt(pi)),
        "heavy tail": HardIntegral(lambda x, c, xp: x**-1.1, 1, inf, lambda c: 10.0),
    }
