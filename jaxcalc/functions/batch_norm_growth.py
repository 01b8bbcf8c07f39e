"""What batch normalisation does to gradients at initialisation: a growth by a factor a layer that no weights cure.

Layers ``phi(normalised(W h))`` of infinite width come to a fixed point at which all pairs of a batch have one
correlation. There the batch of a unit's normalised entries is ``sqrt(B) u``, ``u`` uniform on the unit sphere of the
vectors that sum to 0. Source: G. Yang, J. Pennington, V. Rao, J. Sohl-Dickstein, S. Schoenholz, A Mean Field Theory of
Batch Normalization, ICLR 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.functions.activations import Activation
from jaxcalc.functions.gaussian_means import gaussian_mean
from jaxcalc.functions.mean_field import resolved

__all__ = ["SampledFactor", "batch_norm_factor", "batch_norm_factor_sampled", "batch_norm_residual_factors"]


def batch_norm_factor(phi: Activation | str, batch: int | None = None) -> jax.Array:
    """The gradient's squared norm, a layer: ``INT phi'^2 Dz / (INT phi^2 Dz - (INT phi Dz)^2)`` for large batches.

    ReLU's is ``pi / (pi - 1)``. The weights' variance plays no part: normalisation takes it out.

    Args:
      phi: the activation, or its name.
      batch: examples in a batch, above 3; None for the limit of many. In closed form for ``"relu"`` and ``"linear"``
        alone; ``batch_norm_factor_sampled`` takes any.

    Raises:
      ValueError: for a finite batch and another activation.
    """
    phi = resolved("batch_norm_factor", phi)
    if batch is None:
        mean, square = gaussian_mean(phi.value, 1.0), gaussian_mean(lambda u: phi.value(u) ** 2, 1.0)
        return gaussian_mean(lambda u: phi.derivative(u) ** 2, 1.0) / (square - mean**2)
    b = checks.integer("batch_norm_factor", "batch", batch, least=4, remedy="Below that the mean is infinite.")
    name = checks.one_of(
        "batch_norm_factor",
        "phi",
        phi.name,
        ("relu", "linear"),
        remedy="Other activations: batch=None, or batch_norm_factor_sampled.",
    )
    if name == "linear":
        return jnp.asarray((b - 2) / (b - 3), float)
    rho = -1 / (b - 1)  # between two entries of a vector that sums to 0
    both = 0.25 + np.arcsin(rho) / (2 * np.pi)
    product = (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / (2 * np.pi)
    spread = 0.5 - product
    sides = (b - 2) / 2 + (b / 2 + b * (b - 1) * both) / b**2
    along = 0.5 - (0.5 + (b - 1) * product) / b
    return jnp.asarray(b / ((b - 1) * (b - 3)) * (sides - along) / spread, float)


class SampledFactor(NamedTuple):
    """A mean over samples."""

    mean: jax.Array
    standard_error: jax.Array


def batch_norm_factor_sampled(
    phi: Activation | str, batch: int, key: jax.Array, *, num_samples: int = 4096
) -> SampledFactor:
    """The same for a finite batch and any activation, by sampling directions of the batch.

    With ``G`` the projection on vectors that sum to 0 and ``D`` the slopes at ``sqrt(B) u``, the squared norm gains
    ``B E tr((G - u u') D G D) / ((B - 1) (B - 3) s)``, ``s`` being the variance of an output less the covariance of
    two examples'.

    Args:
      phi: the activation, or its name.
      batch: examples in a batch, above 3.
      key: a key.
      num_samples: units sampled.
    """
    phi = resolved("batch_norm_factor_sampled", phi)
    b = checks.integer("batch_norm_factor_sampled", "batch", batch, least=4, remedy="Below that the mean is infinite.")
    checks.integer("batch_norm_factor_sampled", "num_samples", num_samples, least=2)
    x = jax.random.normal(key, (num_samples, b), float)
    x = x - x.mean(1, keepdims=True)
    u = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    values, slopes = phi.value(np.sqrt(b) * u), phi.derivative(np.sqrt(b) * u)
    squares = jnp.sum(slopes**2, 1)
    sides = (1 - 2 / b) * squares + jnp.sum(slopes, 1) ** 2 / b**2
    along = jnp.sum((u * slopes) ** 2, 1) - jnp.sum(u * slopes, 1) ** 2 / b
    gains = b * (sides - along) / ((b - 1) * (b - 3))
    spreads = jnp.sum((values - values.mean(1, keepdims=True)) ** 2, 1) / (b - 1)
    ratio = gains.mean() / spreads.mean()
    # The error of a ratio of means, to first order.
    deviation = jnp.std(gains - ratio * spreads, ddof=1) / spreads.mean()
    return SampledFactor(ratio, deviation / np.sqrt(num_samples))


def batch_norm_residual_factors(
    phi: Activation | str, variance: jax.typing.ArrayLike, *, branch: jax.typing.ArrayLike = 1.0, num_layers: int
) -> jax.Array:
    """The gradient's squared norm, a block ``h + branch phi(normalised(W h))`` of large batches, input first.

    A unit's variance over the batch grows by ``branch^2 s`` a block, ``s = INT phi^2 Dz - (INT phi Dz)^2``, and with it
    what normalisation divides by: a block's factor is ``1 + branch^2 INT phi'^2 Dz / variance``. Behind plain skips
    the gradient's norm grows as a power of the depth, for ReLU ``pi / (2 (pi - 1)) = 0.73``; with branches over
    ``sqrt(num_layers)`` it stays bounded. A random matrix behind the activation, of variance 1 over the width, changes
    nothing.

    Args:
      phi: the activation, or its name.
      variance: of a unit of the input over the batch.
      branch: the factor on what a block adds.
      num_layers: blocks.

    Returns:
      Shape ``(num_layers,)``.

    Source: S. De, S. Smith, Batch Normalization Biases Residual Blocks Towards the Identity Function, NeurIPS 2020.
    """
    phi = resolved("batch_norm_residual_factors", phi)
    checks.number("batch_norm_residual_factors", "variance", variance, above=0)
    checks.integer("batch_norm_residual_factors", "num_layers", num_layers)
    mean, square = gaussian_mean(phi.value, 1.0), gaussian_mean(lambda u: phi.value(u) ** 2, 1.0)
    scale = jnp.square(branch)
    variances = variance + scale * (square - mean**2) * jnp.arange(num_layers)
    return 1 + scale * gaussian_mean(lambda u: phi.derivative(u) ** 2, 1.0) / variances
