"""Two inputs of a random network of infinite width: how their correlation moves, and how deep it can be seen.

The weights' variance is ``sw2 / width``, the biases' ``sb2``. Source: B. Poole, S. Lahiri, M. Raghu, J. Sohl-Dickstein,
S. Ganguli, Exponential expressivity in deep neural networks through transient chaos, NeurIPS 2016; S. Schoenholz,
J. Gilmer, S. Ganguli, J. Sohl-Dickstein, Deep Information Propagation, ICLR 2017.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation
from jaxcalc.functions.gaussian_means import gaussian_pair_mean
from jaxcalc.functions.mean_field import (
    fixed_point_of_moments,
    gradient_factor,
    moment_map,
    resolved,
    variances,
)

__all__ = [
    "DepthScales",
    "correlation_fixed_point",
    "correlation_map",
    "correlation_slope",
    "depth_scales",
]

_FAR = 1e15  # a variance at which slopes are what they are for ever larger ones
_STEPS = 60  # Newton's, which a double root near criticality halves the distance to


def correlation_map(
    phi: Activation | str,
    correlation: jax.typing.ArrayLike,
    moment: jax.typing.ArrayLike,
    *,
    sw2: jax.typing.ArrayLike,
    sb2: jax.typing.ArrayLike = 0.0,
) -> jax.Array:
    """The next layer's correlation of two inputs of one size: ``(sw2 INT INT phi(u1) phi(u2) + sb2) / V(q)``.

    Args:
      phi: the activation, or its name.
      correlation: ``c``, of the entries before the activation, in [-1, 1].
      moment: ``q``, the variance of either.
      sw2: the weights' variance times the width.
      sb2: the biases' variance.
    """
    phi = resolved("correlation_map", phi)
    variances("correlation_map", sw2, sb2)
    checks.number("correlation_map", "correlation", correlation, least=-1, most=1)
    product = gaussian_pair_mean(phi.value, phi.value, moment, correlation)
    return jnp.asarray(sw2 * product + sb2) / moment_map(phi, moment, sw2=sw2, sb2=sb2)


def correlation_slope(
    phi: Activation | str,
    correlation: jax.typing.ArrayLike,
    moment: jax.typing.ArrayLike,
    *,
    sw2: jax.typing.ArrayLike,
) -> jax.Array:
    """The slope of the correlation map at a settled moment: ``sw2 INT INT phi'(u1) phi'(u2)``; ``chi1`` at ``c = 1``.

    The arguments are those of ``correlation_map``, ``moment`` being ``q*``.
    """
    phi = resolved("correlation_slope", phi)
    variances("correlation_slope", sw2)
    checks.number("correlation_slope", "correlation", correlation, least=-1, most=1)
    return jnp.asarray(sw2) * gaussian_pair_mean(phi.derivative, phi.derivative, moment, correlation)


def correlation_fixed_point(
    phi: Activation | str,
    moment: jax.typing.ArrayLike,
    *,
    sw2: jax.typing.ArrayLike,
    sb2: jax.typing.ArrayLike = 0.0,
) -> jax.Array:
    """The correlation ``c*`` that two inputs come to at a settled moment: 1 in order, below 1 in chaos.

    The map is a power series in ``c`` without negative coefficients, so it meets the diagonal below 1 where its slope
    at 1, ``chi1``, exceeds 1, once, and Newton's method from 0 comes to that point from below.

    Args:
      phi: the activation, or its name.
      moment: ``q*``, as ``fixed_point`` has it.
      sw2: the weights' variance times the width.
      sb2: the biases' variance.

    Cost: 120 integrals over the plane.
    """
    phi = resolved("correlation_fixed_point", phi)
    variances("correlation_fixed_point", sw2, sb2)
    dtype = jnp.result_type(float)
    return _correlation(phi, *(jnp.asarray(each, dtype) for each in (moment, sw2, sb2)))


@functools.partial(jax.jit, static_argnums=0)
def _correlation(phi: Activation, moment: jax.Array, sw2: jax.Array, sb2: jax.Array) -> jax.Array:
    """The fixed point of checked arguments; one program for an activation."""

    tiny = float(jnp.finfo(moment.dtype).tiny)

    def gap(c, moment, sw2, sb2):
        product = gaussian_pair_mean(phi.value, phi.value, moment, c)
        return (sw2 * product + sb2) / moment - c

    def newton(_, c):
        rise = correlation_slope(phi, c, moment, sw2=sw2) - 1
        step = jnp.where(rise < 0, -gap(c, moment, sw2, sb2) / jnp.minimum(rise, -tiny), 0.0)
        return jnp.clip(c + step, 0.0, 1.0)

    # At criticality, within rounding, the root at 1 is double: Newton's steps would stop far below it.
    chaotic = gradient_factor(phi, moment, sw2) > 1 + 64 * float(jnp.finfo(moment.dtype).eps)
    start = jax.lax.stop_gradient(jnp.zeros_like(moment))
    c = jax.lax.stop_gradient(jax.lax.fori_loop(0, _STEPS, newton, start))
    # The last step is differentiated: an implicit function's first derivatives.
    rise = jax.lax.stop_gradient(correlation_slope(phi, c, moment, sw2=sw2) - 1)
    c = c - jnp.where(rise < 0, gap(c, moment, sw2, sb2) / jnp.minimum(rise, -tiny), 0.0)
    return jnp.where(chaotic, c, jnp.ones_like(c))


class DepthScales(NamedTuple):
    """Layers over which something falls, or grows, by a factor e; at a settled moment.

    Where the moment grows for ever nothing settles: NaN, but for the gradient's, which tends to a factor of its own.
    """

    moment: jax.Array
    """``xi_q = -1 / ln V'(q*)``: a deviation of the variance"""
    correlation: jax.Array
    """``xi_c = -1 / ln C'(c*)``: a deviation of two inputs' correlation; infinite at criticality"""
    gradient: jax.Array
    """``xi_grad = 1 / |ln chi1|``: a gradient's squared norm; infinite at criticality"""


def depth_scales(phi: Activation | str, *, sw2: jax.typing.ArrayLike, sb2: jax.typing.ArrayLike = 0.0) -> DepthScales:
    """How deep into a random network its input can be seen, and how far a gradient reaches back.

    Args:
      phi: the activation, or its name.
      sw2: the weights' variance times the width.
      sb2: the biases' variance.
    """
    settled = fixed_point_of_moments(phi, sw2, sb2)
    grows = jnp.isinf(settled.moment)
    moment = jnp.where(grows, _FAR, settled.moment)
    c = correlation_fixed_point(phi, moment, sw2=sw2, sb2=sb2)
    chi = gradient_factor(phi, moment, sw2)
    seen = jnp.where(c < 1, correlation_slope(phi, c, moment, sw2=sw2), chi)
    deviation, correlation, gradient = (_layers_to_a_factor(factor) for factor in (settled.slope, seen, chi))
    return DepthScales(deviation, jnp.where(grows, jnp.nan, correlation), gradient)


def _layers_to_a_factor(factor: jax.Array) -> jax.Array:
    """``1 / |ln factor|``; infinite where the factor is 1 to rounding, whose logarithm has any sign."""
    logarithm = jnp.abs(jnp.log(factor))
    critical = logarithm <= 64 * float(jnp.finfo(logarithm.dtype).eps)
    return jnp.where(critical, jnp.inf, 1 / jnp.where(critical, 1.0, logarithm))
