"""Where random networks of infinite width neither shrink gradients nor let them grow: ``chi1 = 1``."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation
from jaxcalc.functions.gaussian_means import gaussian_mean
from jaxcalc.functions.mean_field import critical_weight_variance, resolved
from jaxcalc.functions.scalar_roots import first_crossing

__all__ = ["CriticalPoint", "critical_point", "half_stable_point"]

_LEAST, _MOST, _GRID = 1e-8, 1e8, 384
_ROUNDING = 8  # machine epsilons that a difference of two means strays by


class CriticalPoint(NamedTuple):
    """A point of the order-to-chaos line; NaN where there is none."""

    sw2: jax.Array
    """the weights' variance times the width"""
    sb2: jax.Array
    """the biases' variance"""
    moment: jax.Array
    """the variance ``q*`` that layers settle at"""


def _grid() -> jax.Array:
    return jnp.exp(jnp.linspace(math.log(_LEAST), math.log(_MOST), _GRID, dtype=jnp.result_type(float)))


def critical_point(phi: Activation | str, sb2: jax.typing.ArrayLike = 0.0) -> CriticalPoint:
    """The order-to-chaos line: the ``sw2`` at which ``chi1 = 1``, for a given variance of the biases.

    Along the line everything is a function of ``q*``; the smallest ``q*`` that the biases' variance belongs to is
    bracketed and bisected.

    Args:
      phi: the activation, or its name.
      sb2: the biases' variance. At 0 the line ends at ``q* = 0``, where ``sw2 = 1 / phi'(0)^2``; for activations linear
        on either side of 0, such as ReLU, every ``q*`` belongs to it and 1 is returned.

    Raises:
      TypeError, ValueError: for an unknown activation or a negative variance.
    """
    phi = resolved("critical_point", phi)
    checks.number("critical_point", "sb2", sb2, least=0, finite=True, remedy="It is the biases' variance.")
    return _critical(phi, jnp.asarray(sb2, float))


@functools.partial(jax.jit, static_argnums=0)
def _critical(phi: Activation, sb2: jax.Array) -> CriticalPoint:
    """The point for a checked variance; one program for an activation."""

    def biases(q):
        slopes = gaussian_mean(lambda u: phi.derivative(u) ** 2, q)
        return q - gaussian_mean(lambda u: phi.value(u) ** 2, q) / slopes

    target = jax.lax.stop_gradient(sb2)
    crossing = first_crossing(lambda q: biases(q) - target, _grid())
    # A quantity that vanishes at 0 and grows from there on starts below any positive target.
    begins_below = crossing.values[0] < 0
    # It is a difference of numbers as large as q: what rounding makes of one, as for ReLU, reaches no target.
    eps = float(jnp.finfo(sb2.dtype).eps)
    seen = crossing.exists & (target > _ROUNDING * eps * crossing.root)
    root = jnp.where(seen & begins_below, crossing.root, jnp.nan)
    safe = jnp.where(jnp.isnan(root), 1.0, root)
    solved = jax.lax.custom_root(
        lambda q: biases(q) - sb2, safe, lambda _, q: q, lambda linear, y: y / linear(jnp.ones_like(y))
    )
    q = jnp.where(jnp.isnan(root), jnp.nan, solved)
    # Without biases: where the activation vanishes at 0 the line ends there; linear halves are critical at any q.
    scale_free = jnp.max(jnp.abs(crossing.values / _grid())) < 64 * eps
    at_zero = (sb2 == 0) & (phi.value(jnp.zeros(())) == 0)
    q = jnp.where(at_zero, jnp.where(scale_free, 1.0, 0.0), q)
    return CriticalPoint(
        1 / gaussian_mean(lambda u: phi.derivative(u) ** 2, q), jnp.where(jnp.isnan(q), jnp.nan, sb2), q
    )


def half_stable_point(phi: Activation | str) -> CriticalPoint:
    """Where gradients and variances are both critical at a ``q* > 0``: ``chi1 = 1`` and ``V'(q*) = 1``.

    The latter asks for ``INT phi phi'' Dz = 0``. Layers come to ``q*`` from one side alone, as ``1/layers``.

    Args:
      phi: the activation, or its name.

    Returns:
      NaN for activations without one, such as tanh.

    Source: D. Roberts, S. Yaida, B. Hanin, The Principles of Deep Learning Theory, 2022, section 5.3.
    """
    phi = resolved("half_stable_point", phi)
    q = _bend_free(phi)
    sw2, sb2 = critical_weight_variance(phi, jnp.where(jnp.isnan(q), 1.0, q))
    return CriticalPoint(*(jnp.where(jnp.isnan(q), jnp.nan, each) for each in (sw2, sb2, q)))


@functools.partial(jax.jit, static_argnums=0)
def _bend_free(phi: Activation) -> jax.Array:
    """The first ``q`` at which ``phi phi''`` has no mean."""
    crossing = first_crossing(lambda q: gaussian_mean(lambda u: phi.value(u) * phi.second_derivative(u), q), _grid())
    return crossing.root
