"""Roots and touching points of functions of one positive number, by sign changes on a geometric grid."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Crossing", "bisected", "first_crossing", "least_size"]

_HALVINGS = 60
_GOLDEN = (5**0.5 - 1) / 2

Scalar = Callable[[jax.Array], jax.Array]


class Crossing(NamedTuple):
    """Where a function first changes its sign along a grid."""

    root: jax.Array
    """NaN where it does not"""
    exists: jax.Array
    behind: jax.Array
    """the first grid point behind it; the grid's length where there is none"""
    values: jax.Array
    """the function on the grid"""


def bisected(fun: Scalar, low: jax.Array, high: jax.Array) -> jax.Array:
    """The root between two positive numbers at which ``fun`` has different signs, to rounding in its logarithm."""
    sign = jnp.sign(fun(low))

    def halve(_, ends):
        low, high = ends
        middle = jnp.sqrt(low) * jnp.sqrt(high)
        before = jnp.sign(fun(middle)) == sign
        return jnp.where(before, middle, low), jnp.where(before, high, middle)

    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
    return jnp.sqrt(low) * jnp.sqrt(high)


def first_crossing(fun: Scalar, grid: jax.Array, *, flat: float = 0.0) -> Crossing:
    """The first root of ``fun`` along a grid of positive numbers, rising or falling.

    Args:
      fun: from a scalar to a scalar.
      grid: shape ``(n,)``, monotone.
      flat: values up to this size have no sign: they are rounding.
    """
    values = jax.lax.map(fun, grid, batch_size=64)
    crossed = values * jnp.sign(values[0]) < -flat
    exists = jnp.any(crossed)
    index = jnp.where(exists, jnp.argmax(crossed), grid.shape[0])
    behind = jnp.clip(index, 1, grid.shape[0] - 1)
    root = bisected(fun, grid[behind - 1], grid[behind])
    return Crossing(jnp.where(exists, root, jnp.nan), exists, index, values)


def least_size(fun: Scalar, crossing: Crossing, grid: jax.Array, *, rise: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Where ``fun`` comes nearest to 0 before its first crossing without reaching it, and its size there.

    Args:
      fun, crossing, grid: as given to, and returned by, ``first_crossing``.
      rise: how large it must be again behind that place.

    Returns:
      ``(place, size)``; size infinite where ``|fun|`` has no minimum inside.
    """
    sizes = jnp.abs(crossing.values)
    inner = (sizes[1:-1] <= sizes[:-2]) & (sizes[1:-1] <= sizes[2:])
    before = jnp.arange(grid.shape[0]) < crossing.behind
    # Behind a dip the function rises again by more than rounding does; an end that dwindles to 0 is none.
    behind = jnp.flip(jax.lax.cummax(jnp.flip(jnp.where(before, sizes, 0.0))))
    inner &= before[2:] & (behind[2:] > rise)
    index = 1 + jnp.argmin(jnp.where(inner, sizes[1:-1], jnp.inf))
    low, high = jnp.log(grid[index - 1]), jnp.log(grid[index + 1])

    def narrow(_, ends):
        low, high = ends
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        less = jnp.abs(fun(jnp.exp(left))) < jnp.abs(fun(jnp.exp(right)))
        return jnp.where(less, low, left), jnp.where(less, right, high)

    low, high = jax.lax.fori_loop(0, _HALVINGS, narrow, (low, high))
    place = jnp.exp(0.5 * (low + high))
    return place, jnp.where(jnp.any(inner), jnp.abs(fun(place)), jnp.inf)
