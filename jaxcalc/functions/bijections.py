"""Smooth one-to-one maps from all of R^n onto a constrained set, with the logarithm of their volume.

A density of what is positive, ordered or on a simplex becomes one of real numbers without constraint:

    log p(x) = log p(y) + log |det dy / dx|,    y = forward(x)

The sets are called as in the field: what probabilistic programs name constraints, and their maps bijectors.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxcalc import checks

__all__ = ["Bijection", "greater_than", "interval", "less_than", "ordered", "positive", "real", "simplex"]


class _Kind(NamedTuple):
    """What a bijection's maps are, as functions of its bounds.

    Args:
      name: of the set.
      forward: ``(x, *bounds) -> y``, along the last axis where entries depend on each other.
      inverse: ``(y, *bounds) -> x``.
      log_det: ``(x, *bounds)``, entries that sum to the logarithm of the volume.
      holds: ``(y, *bounds)``, whether y is in the interior of the set, entry by entry.
      lost: how many numbers of the last axis the set's equations determine.
      vector: whether the last axis is one point.
    """

    name: str
    forward: Callable[..., Array]
    inverse: Callable[..., Array]
    log_det: Callable[..., Array]
    holds: Callable[..., Array]
    lost: int = 0
    vector: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bijection:
    """A map from R^n onto a set.

    Args:
      bounds: its numbers.
      kind: which map it is; static.
    """

    bounds: tuple[Array, ...]
    kind: _Kind = dataclasses.field(metadata={"static": True})

    def forward(self, x: ArrayLike) -> Array:
        """The point of the set; x of any shape, whose last axis is one point for sets of vectors."""
        return self.kind.forward(self._entries("forward", x), *self.bounds)

    def inverse(self, y: ArrayLike) -> Array:
        """The point that is mapped to y.

        Raises:
          ValueError: for a y that is known not to be in the interior of the set.
        """
        y = self._entries("inverse", y)
        if not isinstance(y, Tracer):
            inside = np.asarray(self.kind.holds(y, *self.bounds))
            if not inside.all():
                raise ValueError(
                    f"{self.kind.name}: expected a point in the interior of the set, got {np.asarray(y)}. "
                    "Begin further inside."
                )
        return self.kind.inverse(y, *self.bounds)

    def log_det(self, x: ArrayLike) -> Array:
        """``log |det d forward / dx|`` of all of x, a scalar."""
        return jnp.sum(self.kind.log_det(self._entries("log_det", x), *self.bounds))

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the x that belongs to a y of that shape."""
        return (*shape[:-1], shape[-1] - self.kind.lost) if self.kind.lost else shape

    def _entries(self, method: str, x: ArrayLike) -> Array:
        who = f"{self.kind.name}.{method}"
        entries: Array = checks.real_array(who, "x", x)
        if self.kind.vector and not (entries.ndim and entries.shape[-1]):
            raise ValueError(f"{who}: expected vectors along the last axis, got shape {entries.shape}.")
        return entries


def _everywhere(y: Array) -> Array:
    return jnp.isfinite(y)


_REAL = _Kind("real", lambda x: x, lambda y: y, jnp.zeros_like, _everywhere)


def real() -> Bijection:
    """All real numbers: nothing is changed."""
    return Bijection((), _REAL)


def _beyond(name: str, sign: int) -> _Kind:
    """Numbers on one side of a bound: above it by a sign of 1, below it by -1."""
    return _Kind(
        name,
        lambda x, bound: bound + sign * jnp.exp(x),
        lambda y, bound: jnp.log(sign * (y - bound)),
        lambda x, bound: x,
        lambda y, bound: jnp.isfinite(y) & (sign * (y - bound) > 0),
    )


_GREATER, _LESS = _beyond("greater_than", 1), _beyond("less_than", -1)


def positive() -> Bijection:
    """Numbers above 0: ``y = e^x``."""
    return greater_than(0.0)


def greater_than(low: ArrayLike) -> Bijection:
    """Numbers above a bound: ``y = low + e^x``.

    Args:
      low: finite; a number or an array that broadcasts.

    Raises:
      ValueError: for a bound that is not finite.
    """
    return Bijection((_bound("greater_than", "low", low),), _GREATER)


def less_than(high: ArrayLike) -> Bijection:
    """Numbers below a bound: ``y = high - e^x``.

    Args:
      high: finite; a number or an array that broadcasts.

    Raises:
      ValueError: for a bound that is not finite.
    """
    return Bijection((_bound("less_than", "high", high),), _LESS)


_INTERVAL = _Kind(
    "interval",
    lambda x, low, high: low + (high - low) * jax.nn.sigmoid(x),
    lambda y, low, high: jnp.log(y - low) - jnp.log(high - y),
    lambda x, low, high: jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x) + jnp.log(high - low),
    lambda y, low, high: (y > low) & (y < high),
)


def interval(low: ArrayLike, high: ArrayLike) -> Bijection:
    """Numbers between two bounds: ``y = low + (high - low) / (1 + e^-x)``.

    Args:
      low, high: finite, low below high; numbers or arrays that broadcast.

    Raises:
      ValueError: for bounds that are not finite or not in order.
    """
    low, high = _bound("interval", "low", low), _bound("interval", "high", high)
    if not isinstance(low, Tracer) and not isinstance(high, Tracer) and not np.all(np.asarray(low < high)):
        raise ValueError(f"interval: low must be below high, got {low} and {high}.")
    return Bijection((low, high), _INTERVAL)


_ORDERED = _Kind(
    "ordered",
    lambda x: jnp.cumsum(jnp.concatenate([x[..., :1], jnp.exp(x[..., 1:])], axis=-1), axis=-1),
    lambda y: jnp.concatenate([y[..., :1], jnp.log(jnp.diff(y, axis=-1))], axis=-1),
    lambda x: x[..., 1:],
    lambda y: jnp.isfinite(y).all(-1) & (jnp.diff(y, axis=-1) > 0).all(-1),
    vector=True,
)


def ordered() -> Bijection:
    """Vectors of ascending numbers: ``y_1 = x_1``, ``y_k = y_(k-1) + e^(x_k)``."""
    return Bijection((), _ORDERED)


def _shares(x: Array) -> tuple[Array, Array]:
    """Logits of the part that each entry breaks off the rest of the stick; 0 is an equal share for all."""
    remaining = jnp.arange(x.shape[-1], 0, -1, dtype=x.dtype)
    return x - jnp.log(remaining), remaining


def _log_rest(logits: Array) -> Array:
    """The logarithm of what is left of the stick before each break."""
    left = jnp.cumsum(jax.nn.log_sigmoid(-logits), axis=-1)
    return jnp.concatenate([jnp.zeros_like(left[..., :1]), left[..., :-1]], axis=-1)


def _break_stick(x: Array) -> Array:
    logits, _ = _shares(x)
    pieces = jax.nn.log_sigmoid(logits) + _log_rest(logits)
    last = jnp.sum(jax.nn.log_sigmoid(-logits), axis=-1, keepdims=True)
    return jnp.exp(jnp.concatenate([pieces, last], axis=-1))


def _mend_stick(y: Array) -> Array:
    # What is left after each break, summed from the end so that small rests keep their digits.
    rest = jnp.cumsum(y[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    remaining = jnp.arange(rest.shape[-1], 0, -1, dtype=y.dtype)
    return jnp.log(y[..., :-1]) - jnp.log(rest) + jnp.log(remaining)


def _stick_volume(x: Array) -> Array:
    logits, _ = _shares(x)
    return jax.nn.log_sigmoid(logits) + jax.nn.log_sigmoid(-logits) + _log_rest(logits)


_SIMPLEX = _Kind(
    "simplex",
    _break_stick,
    _mend_stick,
    _stick_volume,
    lambda y: (y > 0).all(-1) & (jnp.abs(y.sum(-1) - 1) <= 16 * y.shape[-1] * jnp.finfo(y.dtype).eps),
    lost=1,
    vector=True,
)


def simplex() -> Bijection:
    """Vectors of k positive numbers that sum to 1, by breaking a stick k - 1 times; the volume is of the first k - 1.

    ``y_j = z_j prod_(i<j) (1 - z_i)``,  ``logit z_j = x_j - log(k - j)``; ``x = 0`` is the centre.

    Source: Stan Reference Manual, "Unit simplex"; Betancourt, "Cruising the simplex", 2012.
    """
    return Bijection((), _SIMPLEX)


def _bound(who: str, name: str, value: ArrayLike) -> Array:
    checks.number(who, name, value, finite=True)
    return jnp.asarray(value, jnp.result_type(value, float))
