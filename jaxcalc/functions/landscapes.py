"""Surfaces with several minima, every stationary point of which is known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["LANDSCAPES", "Landscape", "styblinski_tang"]


@dataclass(frozen=True)
class Landscape:
    """A function of the plane to minimise, with its stationary points.

    Args:
      name: in figures and tables.
      function: ``x (2,) -> scalar``.
      stationary: all stationary points within the window, (k, 2), the minima first.
      num_minima: how many of them are minima.
      window: ``(left, right, bottom, top)``, the part of the plane that is of interest.
    """

    name: str
    function: Callable[[Any], Array]
    stationary: np.ndarray
    num_minima: int
    window: tuple[float, float, float, float]

    @property
    def minima(self) -> np.ndarray:
        """(num_minima, 2)."""
        return self.stationary[: self.num_minima]

    def nearest(self, points: Array, among: np.ndarray | None = None) -> tuple[Array, Array]:
        """Which stationary point is nearest to each point, and how far it is.

        Args:
          points: (..., 2).
          among: the points to choose from, (k, 2); by default all stationary ones.

        Returns:
          Indices (...), and distances (...); infinite for a point that is not finite.
        """
        chosen = jnp.asarray(self.stationary if among is None else among, points.dtype)
        distance = jnp.linalg.norm(points[..., None, :] - chosen, axis=-1)
        distance = jnp.where(jnp.isfinite(distance), distance, jnp.inf)
        return jnp.argmin(distance, axis=-1).astype(jnp.int32), jnp.min(distance, axis=-1)


def _himmelblau(p: Any) -> Array:
    """``(x^2 + y - 11)^2 + (x + y^2 - 7)^2``."""
    return (p[0] ** 2 + p[1] - 11.0) ** 2 + (p[0] + p[1] ** 2 - 7.0) ** 2


def _camel(p: Any) -> Array:
    """``(4 - 2.1 x^2 + x^4 / 3) x^2 + x y + (4 y^2 - 4) y^2``."""
    x, y = p[0] ** 2, p[1] ** 2
    return (4.0 - 2.1 * x + x**2 / 3.0) * x + p[0] * p[1] + (4.0 * y - 4.0) * y


def _cube_residual(p: Any) -> Array:
    """``|z^3 - 1|^2 / 2`` at z = x + iy."""
    real = p[0] ** 3 - 3.0 * p[0] * p[1] ** 2 - 1.0
    imaginary = 3.0 * p[0] ** 2 * p[1] - p[1] ** 3
    return (real**2 + imaginary**2) / 2


def _cube_potential(p: Any) -> Array:
    """``Re(z^4 / 4 - z)`` at z = x + iy, whose gradient is the conjugate of ``z^3 - 1``."""
    x, y = p[0], p[1]
    return (x**4 - 6.0 * x**2 * y**2 + y**4) / 4 - x


_ROOTS = np.array([[np.cos(angle), np.sin(angle)] for angle in 2 * np.pi * np.arange(3) / 3])
_HALF_OF_CAMEL = np.array(
    [
        [0.08984201310031807, -0.7126564030207396],
        [1.703606714969981, -0.7960835686726251],
        [1.6071047529201976, 0.5686514548841313],
        [1.1092053368047863, -0.7682680925095399],
        [1.2960702671671092, 0.6050843880386585],
        [1.6380679841897785, 0.22867406904439408],
        [1.2302298765166526, 0.16233458445899498],
    ]
)

LANDSCAPES: dict[str, Landscape] = {
    "himmelblau": Landscape(
        "Himmelblau",
        _himmelblau,
        np.array(
            [
                [3.0, 2.0],
                [-2.805118086952745, 3.131312518250573],
                [-3.779310253377747, -3.2831859912861696],
                [3.5844283403304917, -1.8481265269644034],
                [-3.0730257507643897, -0.08135304428796751],
                [-0.12796134673068005, -1.9537149802445766],
                [0.08667750455539634, 2.884254701174776],
                [3.385154183607021, 0.07385187983774928],
                [-0.2708445906673476, -0.9230385564799815],
            ]
        ),
        4,
        (-5.0, 5.0, -5.0, 5.0),
    ),
    # Even in p: every stationary point but the origin comes with its negative.
    "six-hump-camel": Landscape(
        "six-hump camel",
        _camel,
        np.concatenate(
            [_HALF_OF_CAMEL[:3], -_HALF_OF_CAMEL[:3], _HALF_OF_CAMEL[3:], -_HALF_OF_CAMEL[3:], np.zeros((1, 2))]
        ),
        6,
        (-2.2, 2.2, -1.3, 1.3),
    ),
    "cube-roots": Landscape(
        "$|z^3 - 1|^2/2$", _cube_residual, np.concatenate([_ROOTS, [[0.0, 0.0]]]), 3, (-2.0, 2.0, -2.0, 2.0)
    ),
    # Harmonic, so without minima: on it Newton's minimising step is Newton's iteration for the equation z^3 = 1.
    "cube-potential": Landscape(r"$\mathrm{Re}(z^4/4 - z)$", _cube_potential, _ROOTS, 0, (-2.0, 2.0, -2.0, 2.0)),
}
"""Landscapes of the plane by name: Himmelblau's; the six-hump camel; the squared residual of z^3 = 1 and a potential
whose gradient vanishes at its roots.

Source: D. Himmelblau, Applied Nonlinear Programming, 1972; L. Dixon and G. Szego, Towards Global Optimization 2, 1978.
"""


def styblinski_tang(x: Any) -> Array:
    """``sum_i (x_i^4 - 16 x_i^2 + 5 x_i) / 2``: 2^n minima among 3^n stationary points, in any dimension.

    Each x_i is a root of ``4 x^3 - 32 x + 5``: -2.903534, 0.156731 (a maximum) or 2.746803.

    Args:
      x: (n,).

    Source: M. Styblinski and T.-S. Tang, Neural Networks 3(4), 1990.
    """
    return jnp.sum(x**4 - 16.0 * x**2 + 5.0 * x) / 2
