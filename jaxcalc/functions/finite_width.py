"""Random networks of finite width: how far the size of signals and gradients strays from mean-field theory.

For Gaussian weights and homogeneous activations the layers' factors on ``|h|^2`` are independent and of one law, so
that moments are powers. Source: B. Hanin, Which neural net architectures give rise to exploding and vanishing
gradients?, NeurIPS 2018.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.functions.activations import Activation
from jaxcalc.functions.gaussian_means import gaussian_mean
from jaxcalc.functions.mean_field import resolved

__all__ = ["Band", "log_norm_band", "norm_kurtosis", "norm_second_moment"]


def norm_kurtosis(phi: Activation | str, moment: ArrayLike = 1.0) -> jax.Array:
    """``INT phi^4 Dz / (INT phi^2 Dz)^2 - 1``: what one unit adds to the relative variance of ``|h|^2``.

    5 for ReLU, 2 for linear units, whatever the moment.

    Args:
      phi: the activation, or its name.
      moment: the variance before it.
    """
    phi = resolved("norm_kurtosis", phi)
    fourth = gaussian_mean(lambda u: phi.value(u) ** 4, moment)
    return fourth / gaussian_mean(lambda u: phi.value(u) ** 2, moment) ** 2 - 1


def _homogeneous(who: str, phi: Activation | str) -> Activation:
    phi = resolved(who, phi)
    remedy = "It must be homogeneous; of others the next layers undo what one strays."
    checks.one_of(who, "phi", phi.name, ("relu", "leaky_relu", "linear"), remedy=remedy)
    return phi


def norm_second_moment(phi: Activation | str, *, width: ArrayLike, num_layers: ArrayLike) -> jax.Array:
    """``E[(|h_L|^2 / |h_0|^2)^2]`` where ``E[|h_L|^2 / |h_0|^2] = 1``: exactly ``(1 + k / width)^L``.

    With ``k`` the ``norm_kurtosis``: 5 for ReLU under He's weights, 2 for linear layers.

    Args:
      phi: a homogeneous activation, or its name.
      width: units in a layer.
      num_layers: ``L``.

    Raises:
      ValueError: for an activation that is not homogeneous, a width below 1, or a negative number of layers.
    """
    phi = _homogeneous("norm_second_moment", phi)
    checks.number("norm_second_moment", "width", width, least=1)
    checks.number("norm_second_moment", "num_layers", num_layers, least=0)
    return (1 + norm_kurtosis(phi) / jnp.asarray(width, float)) ** jnp.asarray(num_layers)


class Band(NamedTuple):
    """A normal law of the logarithm of ``|h_L|^2 / |h_0|^2``, and the factors at its edges."""

    mean: jax.Array
    """of the logarithm"""
    variance: jax.Array
    """of the logarithm"""
    low: jax.Array
    high: jax.Array


def log_norm_band(
    phi: Activation | str, *, width: ArrayLike, num_layers: ArrayLike, deviations: ArrayLike = 2.0
) -> Band:
    """The band that ``|h_L|^2 / |h_0|^2`` lies in, its mean being 1: about ``exp(+- sqrt(k L / n))``.

    The logarithm is nearly normal, of variance ``s = L ln(1 + k / width)`` and mean ``-s / 2``. The same holds for
    the squared norm of a gradient on its way down.

    Args:
      phi: a homogeneous activation, or its name.
      width: units in a layer, ten or more for the band to be right to a few per cent.
      num_layers: ``L``.
      deviations: half the width of the band in standard deviations.

    Raises:
      ValueError: for an activation that is not homogeneous, a width below 1, or a negative number of layers.
    """
    phi = _homogeneous("log_norm_band", phi)
    checks.number("log_norm_band", "width", width, least=1)
    checks.number("log_norm_band", "num_layers", num_layers, least=0)
    checks.number("log_norm_band", "deviations", deviations, least=0)
    variance = jnp.asarray(num_layers) * jnp.log1p(norm_kurtosis(phi) / jnp.asarray(width, float))
    mean, reach = -0.5 * variance, deviations * jnp.sqrt(variance)
    return Band(mean, variance, jnp.exp(mean - reach), jnp.exp(mean + reach))
