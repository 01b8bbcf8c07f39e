"""Signals in infinitely wide random networks: second moments going up, gradients coming down.

With weights of variance ``sw2 / width`` and biases of variance ``sb2`` the entries before the activation are
Gaussian, so one layer is a one-dimensional integral against the standard normal measure ``Dz``. Gauss-Legendre
quadrature takes each half line by itself, so that a kink at 0, as ReLU has, costs no accuracy, and each half in two
pieces, so that an activation's bend is resolved however far the entries spread.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc.functions.activations import Activation

__all__ = [
    "Signals",
    "attenuation",
    "critical_weight_variance",
    "fixed_point",
    "gaussian_mean",
    "gradient_factor",
    "signals",
]

_NODES = 64  # on each piece
_REACH = 12.0  # standard deviations; what lies beyond weighs 1e-33
_BEND = 36.0  # where sigmoids have reached their ends to double precision


@functools.cache
def _nodes_and_weights() -> tuple[np.ndarray, np.ndarray]:
    """The nodes and weights of the unit interval."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return 0.5 * (nodes + 1), 0.5 * weights


def gaussian_mean(fun: Callable[[jax.Array], jax.Array], variance: jax.typing.ArrayLike) -> jax.Array:
    """The mean of ``fun`` under a centred normal: ``INT fun(sqrt(variance) z) Dz``.

    Args:
      fun: an elementwise function, smooth but for 0, that beyond +-36 goes on like a polynomial, as activations do.
      variance: a scalar.

    Returns:
      A scalar of the dtype of ``variance``.
    """
    variance = jnp.asarray(variance, float)
    nodes, weights = (jnp.asarray(each, variance.dtype) for each in _nodes_and_weights())
    deviation = jnp.sqrt(variance)
    # Up to the end of the bend, and beyond it; a bend wider than the reach leaves the second piece without length.
    border = _BEND / jnp.maximum(deviation, _BEND / _REACH)
    z = jnp.concatenate([border * nodes, border + (_REACH - border) * nodes])
    weights = jnp.concatenate([border * weights, (_REACH - border) * weights])
    weights = weights * jnp.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    u = deviation * z
    return jnp.concatenate([weights, weights]) @ fun(jnp.concatenate([u, -u]))


def gradient_factor(phi: Activation, moment: jax.typing.ArrayLike, sw2: jax.typing.ArrayLike) -> jax.Array:
    """What one layer does to the squared norm of a gradient: ``chi1 = sw2 INT phi'(sqrt(q) z)^2 Dz``.

    Args:
      phi: the activation.
      moment: ``q``, the variance of the entries before the activation.
      sw2: the weights' variance times the width.

    Source: S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, Deep Information Propagation, ICLR 2017.
    """
    return jnp.asarray(sw2) * gaussian_mean(lambda u: phi.derivative(u) ** 2, moment)


def fixed_point(
    phi: Activation, sw2: jax.typing.ArrayLike, sb2: jax.typing.ArrayLike, *, num_steps: int = 2000
) -> jax.Array:
    """The variance ``q*`` that a deep network settles at: ``q = sw2 INT phi(sqrt(q) z)^2 Dz + sb2``.

    Args:
      phi: the activation.
      sw2: the weights' variance times the width.
      sb2: the biases' variance.
      num_steps: layers iterated from ``q = 1``.

    Returns:
      The last iterate; not a fixed point where the map has none (ReLU beyond ``sw2 = 2``).
    """
    start = jnp.ones_like(jnp.asarray(sw2, float) + sb2)
    return jax.lax.fori_loop(
        0, num_steps, lambda _, q: sw2 * gaussian_mean(lambda u: phi.value(u) ** 2, q) + sb2, start
    )


def critical_weight_variance(phi: Activation, moment: jax.typing.ArrayLike) -> tuple[jax.Array, jax.Array]:
    """The point of the edge of chaos, ``chi1 = 1``, at which the variance settles at ``moment``.

    Args:
      phi: the activation.
      moment: ``q*``.

    Returns:
      ``(sw2, sb2)`` with ``sw2 = 1 / INT phi'^2 Dz`` and ``sb2 = q* - sw2 INT phi^2 Dz``; both NaN where no biases
      of a variance >= 0 reach it, as for sigmoids at ``q* = 1``.
    """
    moment = jnp.asarray(moment, float)
    sw2 = 1 / gradient_factor(phi, moment, 1.0)
    sb2 = moment - sw2 * gaussian_mean(lambda u: phi.value(u) ** 2, moment)
    # ReLU needs biases of variance 0 exactly, which rounding may put below.
    reached = sb2 >= -64 * jnp.finfo(sb2.dtype).eps * moment
    return jnp.where(reached, sw2, jnp.nan), jnp.where(reached, jnp.maximum(sb2, 0.0), jnp.nan)


class Signals(NamedTuple):
    """What mean-field theory says of each layer: arrays of shape ``(num_layers,)``."""

    moment: jax.Array
    """the mean square of the layer's output"""
    factor: jax.Array
    """the layer's factor on the gradient's squared norm, output to input"""


def signals(
    phi: Activation,
    moment: jax.typing.ArrayLike,
    *,
    sw2: jax.typing.ArrayLike,
    sb2: jax.typing.ArrayLike = 0.0,
    skip: float = 0.0,
    branch: jax.typing.ArrayLike = 1.0,
    num_layers: int,
) -> Signals:
    """Follow ``h <- skip h + branch phi(W h + b)`` through random layers of infinite width.

    The mean of ``h`` is followed beside its mean square: behind a skip connection the positive outputs of ReLU add up.
    The gradient's factor takes the weights met on the way down as independent of those on the way up. Behind plain skip
    connections of ReLU the measured factor is larger; presumably gradients turn to the direction that outputs of one
    sign share.

    Args:
      phi: the activation.
      moment: the mean square of the network's input, whose mean is 0.
      sw2: the weights' variance times the width.
      sb2: the biases' variance.
      skip: 1 for a residual network, 0 for a plain one.
      branch: the factor on what the layer adds.
      num_layers: layers to follow.
    """

    def layer(carry, _):
        mean, square = carry
        q = sw2 * square + sb2
        first = gaussian_mean(phi.value, q)
        second = gaussian_mean(lambda u: phi.value(u) ** 2, q)
        grown = skip * square + 2 * skip * branch * mean * first + branch**2 * second
        factor = skip + jnp.square(branch) * gradient_factor(phi, q, sw2)
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
