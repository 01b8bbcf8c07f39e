"""Signals in infinitely wide random networks: second moments going up, gradients coming down.

With weights of variance ``sw2 / width`` and biases of variance ``sb2`` the entries before the activation are
Gaussian, so one layer is a one-dimensional integral against the standard normal measure ``Dz``.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation, activation
from jaxcalc.functions.gaussian_means import gaussian_mean
from jaxcalc.functions.scalar_roots import first_crossing, least_size

__all__ = [
    "FIXED_POINTS",
    "FixedPoint",
    "Signals",
    "attenuation",
    "before_activation",
    "critical_weight_variance",
    "fixed_point",
    "fixed_point_of_moments",
    "gaussian_mean",
    "gradient_factor",
    "moment_map",
    "moment_slope",
    "resolved",
    "signals",
    "variances",
]

FIXED_POINTS = ("stable", "half-stable", "marginal", "neutral", "none")
"""What ``FixedPoint.status`` counts: reached exponentially; reached from one side alone, and slowly; 0, and reached
slowly, as ``1/layers``; every moment is one; the moment grows for ever."""

_GRID = 512
_DECADES = 30  # looked at on the way from the start
_TOUCHING = 1e-12  # how near to 0 what touches it comes in double precision
_RISE = 1e-11  # and how far away it is again behind
_MARGINAL = 1e-9
_SCALES = (0.1, 1.0, 10.0)  # moments at which no activation but a homogeneous one has the same growth


def resolved(who: str, phi: Any) -> Activation:
    """The activation, or that of the name.

    Raises:
      TypeError: if it is neither.
      ValueError: for an unknown name.
    """
    if isinstance(phi, str):
        return activation(phi)
    if not isinstance(phi, Activation):
        raise TypeError(f"{who}: phi must be an Activation or the name of one, got {phi!r}.")
    return phi


def variances(who: str, sw2: Any, sb2: Any = 0.0) -> None:
    """Refuse variances of weights that are not above 0, and of biases below 0, where that is known.

    Raises:
      TypeError: if one is no real number.
      ValueError: if one is out of range.
    """
    checks.number(who, "sw2", sw2, above=0, finite=True, remedy="It is the weights' variance times the width.")
    checks.number(who, "sb2", sb2, least=0, finite=True, remedy="It is the biases' variance.")


def gradient_factor(phi: Activation | str, moment: jax.typing.ArrayLike, sw2: jax.typing.ArrayLike) -> jax.Array:
    """What one layer does to the squared norm of a gradient: ``chi1 = sw2 INT phi'(sqrt(q) z)^2 Dz``.

    Args:
      phi: the activation, or its name.
      moment: ``q``, the variance of the entries before the activation.
      sw2: the weights' variance times the width.

    Source: S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, Deep Information Propagation, ICLR 2017.
    """
    phi = resolved("gradient_factor", phi)
    variances("gradient_factor", sw2)
    return jnp.asarray(sw2) * gaussian_mean(lambda u: phi.derivative(u) ** 2, moment)


def moment_map(
    phi: Activation | str, moment: jax.typing.ArrayLike, *, sw2: jax.typing.ArrayLike, sb2: jax.typing.ArrayLike = 0.0
) -> jax.Array:
    """The variance before the next activation: ``V(q) = sw2 INT phi(sqrt(q) z)^2 Dz + sb2``.

    Args:
      phi: the activation, or its name.
      moment: ``q``.
      sw2: the weights' variance times the width.
      sb2: the biases' variance.
    """
    phi = resolved("moment_map", phi)
    variances("moment_map", sw2, sb2)
    return jnp.asarray(sw2) * gaussian_mean(lambda u: phi.value(u) ** 2, moment) + jnp.asarray(sb2)


def moment_slope(phi: Activation | str, moment: jax.typing.ArrayLike, sw2: jax.typing.ArrayLike) -> jax.Array:
    """The slope of ``moment_map``: ``V'(q) = sw2 INT (phi'^2 + phi phi'') Dz``.

    For activations whose kinks lie where they are 0, as those of ReLU and its kin do: a jump of the slope is not seen
    by ``phi''``.
    """
    phi = resolved("moment_slope", phi)
    variances("moment_slope", sw2)

    def integrand(u):
        return phi.derivative(u) ** 2 + phi.value(u) * phi.second_derivative(u)

    return jnp.asarray(sw2) * gaussian_mean(integrand, moment)


class FixedPoint(NamedTuple):
    """Where the variance of a deep network settles, and how."""

    moment: jax.Array
    """``q*``; infinite where the moment grows for ever"""
    slope: jax.Array
    """``V'(q*)``, what a layer leaves of a deviation"""
    status: jax.Array
    """an index into ``FIXED_POINTS``"""

    def explain(self) -> str:
        """The status in a word."""
        return FIXED_POINTS[int(self.status)]


def fixed_point_of_moments(
    phi: Activation | str,
    sw2: jax.typing.ArrayLike,
    sb2: jax.typing.ArrayLike = 0.0,
    *,
    start: jax.typing.ArrayLike = 1.0,
) -> FixedPoint:
    """The fixed point of ``q = sw2 INT phi(sqrt(q) z)^2 Dz + sb2`` that layers come to, and whether there is one.

    Layers move ``q`` one way until the map first meets the diagonal. That point is bracketed and bisected, so that it
    takes no longer near criticality, where layers take for ever; its derivatives are those of an implicit function.

    Args:
      phi: the activation, or its name.
      sw2: the weights' variance times the width.
      sb2: the biases' variance.
      start: the first layer's variance.

    Raises:
      TypeError, ValueError: for an unknown activation, weights of a variance that is not above 0, biases of a
        negative one, or a start not above 0.

    Cost: some 150,000 evaluations of the activation.
    """
    phi = resolved("fixed_point", phi)
    variances("fixed_point", sw2, sb2)
    checks.number("fixed_point", "start", start, above=0, finite=True)
    dtype = jnp.result_type(float)
    return _settled(phi, *(jnp.asarray(each, dtype) for each in (sw2, sb2, start)))


@functools.partial(jax.jit, static_argnums=0)
def _settled(phi: Activation, sw2: jax.Array, sb2: jax.Array, start: jax.Array) -> FixedPoint:
    """The fixed point of checked arguments; one program for an activation."""
    dtype = sw2.dtype
    fixed_sw2, fixed_sb2, start = (jax.lax.stop_gradient(each) for each in (sw2, sb2, start))

    def growth(q):
        """How much a layer adds, in shares of q."""
        return (fixed_sw2 * gaussian_mean(lambda u: phi.value(u) ** 2, q) + fixed_sb2) / q - 1

    eps = float(jnp.finfo(dtype).eps)
    flat = 64 * eps
    rise = max(_RISE, flat)
    first = growth(start)
    direction = jnp.where(first > flat, 1.0, -1.0).astype(dtype)
    reach = min(_DECADES, -0.75 * math.log10(float(jnp.finfo(dtype).tiny)))
    grid = start * jnp.exp(direction * jnp.linspace(0.0, reach * math.log(10.0), _GRID, dtype=dtype))
    crossing = first_crossing(growth, grid, flat=flat)
    place, size = least_size(growth, crossing, grid, rise=rise)
    # What touches the diagonal may cross it soon behind: SiLU's half-stable point, 2 per cent before a stable one.
    ends = grid[jnp.array([-4, 0]) + jnp.clip(crossing.behind, 4, _GRID - 1)]
    fine = jnp.geomspace(ends[0], ends[1], _GRID, dtype=dtype)
    near = least_size(growth, first_crossing(growth, fine, flat=flat), fine, rise=rise)
    closer = crossing.exists & (near[1] <= max(_TOUCHING, flat))
    place, size = jnp.where(closer, near[0], place), jnp.where(closer, near[1], size)

    still = jnp.abs(first) <= flat
    neutral = still & jnp.all(jnp.abs(jnp.stack([growth(jnp.asarray(q, dtype)) for q in _SCALES])) <= flat)
    # A start at a stable point stays there; where the slope is 1, growth too small to be seen may add up.
    stays = still & ~neutral & (moment_slope(phi, start, fixed_sw2) < 1 - max(_MARGINAL, flat))
    settles = neutral | stays
    touching = ~settles & (size <= max(_TOUCHING, flat))
    crosses = ~settles & ~touching & crossing.exists
    grows = ~settles & ~touching & ~crosses & (direction > 0)
    moment = jnp.where(crosses, crossing.root, jnp.where(grows, jnp.inf, 0.0))
    moment = jnp.where(settles, start, jnp.where(touching, place, moment))

    implicit = lambda q: sw2 * gaussian_mean(lambda u: phi.value(u) ** 2, q) + sb2 - q
    finite = jnp.where(grows, 1.0, moment)
    finite = jax.lax.custom_root(implicit, finite, lambda _, q: q, lambda linear, y: y / linear(jnp.ones_like(y)))
    moment = jnp.where(grows, jnp.inf, finite)
    slope = jnp.where(grows, jnp.nan, moment_slope(phi, finite, sw2))
    dies = ~settles & ~touching & ~crosses & ~grows
    marginal = dies & (slope >= 1 - max(_MARGINAL, flat))
    status = jnp.select([neutral, touching, grows, marginal], [jnp.asarray(k) for k in (3, 1, 4, 2)], 0)
    return FixedPoint(moment, slope, status)


def fixed_point(
    phi: Activation | str,
    sw2: jax.typing.ArrayLike,
    sb2: jax.typing.ArrayLike = 0.0,
    *,
    start: jax.typing.ArrayLike = 1.0,
) -> jax.Array:
    """The variance ``q*`` that a deep network settles at: ``q = sw2 INT phi(sqrt(q) z)^2 Dz + sb2``.

    The arguments are those of ``fixed_point_of_moments``, which also tells of what kind it is.

    Returns:
      ``q*``; infinite where the map has none above the start (ReLU beyond ``sw2 = 2``).
    """
    return fixed_point_of_moments(phi, sw2, sb2, start=start).moment


def critical_weight_variance(phi: Activation | str, moment: jax.typing.ArrayLike) -> tuple[jax.Array, jax.Array]:
    """The point of the edge of chaos, ``chi1 = 1``, at which the variance settles at ``moment``.

    Args:
      phi: the activation, or its name.
      moment: ``q*``.

    Returns:
      ``(sw2, sb2)`` with ``sw2 = 1 / INT phi'^2 Dz`` and ``sb2 = q* - sw2 INT phi^2 Dz``; both NaN where no biases
      of a variance >= 0 reach it, as for sigmoids at ``q* = 1``.
    """
    phi = resolved("critical_weight_variance", phi)
    checks.number("critical_weight_variance", "moment", moment, above=0, finite=True)
    moment = jnp.asarray(moment, float)
    sw2 = 1 / gradient_factor(phi, moment, 1.0)
    sb2 = moment - sw2 * gaussian_mean(lambda u: phi.value(u) ** 2, moment)
    # ReLU needs biases of variance 0 exactly, which rounding may put below.
    reached = sb2 >= -64 * jnp.finfo(sb2.dtype).eps * moment
    return jnp.where(reached, sw2, jnp.nan), jnp.where(reached, jnp.maximum(sb2, 0.0), jnp.nan)


def before_activation(square: Any, sw2: Any, sb2: Any, *, normalised: bool) -> tuple[Any, Any]:
    """The variance before the activation of a layer given ``square``, and what stands for ``sw2`` on the way down.

    Normalisation divides ``W h`` by its standard deviation ``sqrt(sw2 square)``, and gradients by the same: the
    weights' variance drops out, and the signal's size comes in.
    """
    return (1.0 + sb2, 1 / square) if normalised else (sw2 * square + sb2, sw2)


class Signals(NamedTuple):
    """What mean-field theory says of each layer: arrays of shape ``(num_layers,)``."""

    moment: jax.Array
    """the mean square of the layer's output"""
    factor: jax.Array
    """the layer's factor on the gradient's squared norm, output to input"""


def signals(
    phi: Activation | str,
    moment: jax.typing.ArrayLike,
    *,
    sw2: jax.typing.ArrayLike,
    sb2: jax.typing.ArrayLike = 0.0,
    skip: float = 0.0,
    branch: jax.typing.ArrayLike = 1.0,
    num_layers: int,
    normalised: bool = False,
) -> Signals:
    """Follow ``h <- skip h + branch phi(W h + b)`` through random layers of infinite width.

    The mean of ``h`` is followed beside its mean square: behind a skip connection the positive outputs of ReLU add up.
    The gradient's factor takes the weights met on the way down as independent of those on the way up. Behind plain skip
    connections of ReLU that fails at depth: the part of a gradient along the signal grows as the signal does, see
    ``residual_growth.aligned_gradient``.

    Args:
      phi: the activation, or its name.
      moment: the mean square of the network's input, whose mean is 0.
      sw2: the weights' variance times the width.
      sb2: the biases' variance.
      skip: the factor on the layer's input: 1 for a residual network, 0 for a plain one.
      branch: the factor on what the layer adds.
      num_layers: layers to follow.
      normalised: ``W h`` has its mean square over the units brought to 1, by layer or RMS normalisation.
    """
    phi = resolved("signals", phi)
    variances("signals", sw2, sb2)
    checks.integer("signals", "num_layers", num_layers)

    def layer(carry, _):
        mean, square = carry
        q, scale = before_activation(square, sw2, sb2, normalised=normalised)
        first = gaussian_mean(phi.value, q)
        second = gaussian_mean(lambda u: phi.value(u) ** 2, q)
        grown = skip**2 * square + 2 * skip * branch * mean * first + branch**2 * second
        factor = skip**2 + jnp.square(branch) * gradient_factor(phi, q, scale)
        return (skip * mean + branch * first, grown), Signals(grown, factor)

    start = jnp.asarray(moment, float)
    # The carry has the type of every factor that enters it, traced or not.
    start = start + 0.0 * jnp.asarray(sw2) * jnp.asarray(sb2) * jnp.asarray(branch)
    return jax.lax.scan(layer, (jnp.zeros_like(start), start), length=num_layers)[1]


def attenuation(factors: jax.Array, depth: jax.typing.ArrayLike) -> jax.Array:
    """The gradient's norm at every layer over that at the last: ``prod_{l < k <= depth} sqrt(factor_k)``.

    Args:
      factors: each layer's factor on the squared norm, shape ``(num_layers,)``.
      depth: how many of the layers take part; may be traced.

    Returns:
      Shape ``(num_layers + 1,)``, layer 0 being the input; NaN past the depth.
    """
    inside = jnp.arange(1, factors.shape[0] + 1) <= depth
    logs = jnp.where(inside, 0.5 * jnp.log(factors), 0.0)
    # Logarithms are summed from the top, so that 128 small factors do not underflow on the way.
    above = jnp.concatenate([jnp.cumsum(logs[::-1])[::-1], jnp.zeros(1, logs.dtype)])
    return jnp.where(jnp.arange(above.shape[0]) <= depth, jnp.exp(above), jnp.nan)
