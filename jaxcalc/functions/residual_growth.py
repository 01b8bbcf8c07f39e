"""Residual networks of infinite width: how signals and gradients grow, and where independence of the two fails.

Blocks are ``h + V phi(W h)`` (two matrices) or ``h + phi(W h)`` (one). Mean-field theory of gradients takes the weights
met on the way down as independent of what they did on the way up. A second matrix ``V`` of mean 0 makes that exact at
infinite width. With one matrix and ReLU it fails: a network without biases is homogeneous, so Euler's identity
``g_l . h_l = g_L . h_L`` holds exactly, and the part of a gradient along the signal grows as the signal does. Behind a
plain skip the signal grows faster than an independent gradient, since ReLU's outputs are of one sign and add up.

Source: G. Yang, S. Schoenholz, Mean Field Residual Networks: On the Edge of Chaos, NeurIPS 2017.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation
from jaxcalc.functions.gaussian_means import gaussian_mean
from jaxcalc.functions.mean_field import Signals, before_activation, gradient_factor, resolved, signals, variances

__all__ = ["AlignedGradient", "aligned_gradient", "two_matrix_signals"]


def two_matrix_signals(
    phi: Activation | str,
    moment: jax.typing.ArrayLike,
    *,
    sw2: jax.typing.ArrayLike,
    sv2: jax.typing.ArrayLike = 1.0,
    sb2: jax.typing.ArrayLike = 0.0,
    skip: float = 1.0,
    branch: jax.typing.ArrayLike = 1.0,
    num_layers: int,
    normalised: bool = False,
) -> Signals:
    """Follow ``h <- skip h + branch V phi(W h + b)``: ``p <- skip^2 p + branch^2 sv2 INT phi(sqrt(q) z)^2 Dz``.

    With ``q = sw2 p + sb2``; the gradient's squared norm gains ``skip^2 + branch^2 sv2 sw2 INT phi'^2 Dz``. For ReLU
    without biases both are ``1 + sv2 sw2 / 2``; a deep tanh network grows by ``exp(8 sqrt(layers) / (3 sqrt(2 pi)))``
    for unit variances, times a power of the layers.

    Args:
      phi: the activation, or its name.
      moment: the mean square of the network's input.
      sw2, sv2: variances of the entries of ``W`` and ``V`` times the width.
      sb2: the biases' variance.
      skip: the factor on the block's input.
      branch: the factor on what the block adds.
      num_layers: blocks to follow.
      normalised: ``W h`` has its mean square over the units brought to 1, by layer or RMS normalisation.
    """
    phi = resolved("two_matrix_signals", phi)
    variances("two_matrix_signals", sw2, sb2)
    checks.number("two_matrix_signals", "sv2", sv2, above=0, finite=True)
    checks.integer("two_matrix_signals", "num_layers", num_layers)
    scale = jnp.square(branch) * jnp.asarray(sv2)

    def block(square, _):
        q, down = before_activation(square, sw2, sb2, normalised=normalised)
        grown = skip**2 * square + scale * gaussian_mean(lambda u: phi.value(u) ** 2, q)
        return grown, Signals(grown, skip**2 + scale * gradient_factor(phi, q, down))

    # The carry has the type of every factor that enters it, traced or not.
    start = jnp.asarray(moment, float) + 0.0 * jnp.asarray(sw2) * jnp.asarray(sb2) * scale
    return jax.lax.scan(block, start, length=num_layers)[1]


class AlignedGradient(NamedTuple):
    """Squared norms of the gradient at each layer over that at the last; shape ``(num_layers + 1,)``, input first."""

    independent: jax.Array
    """the part that is independent of the signal: the product of mean-field factors"""
    along_signal: jax.Array
    """the part along the signal, by Euler's identity exact: ``|h_L|^2 / |h_l|^2`` times its share at the last layer"""


def aligned_gradient(
    phi: Activation | str,
    moment: jax.typing.ArrayLike,
    *,
    sw2: jax.typing.ArrayLike,
    num_layers: int,
    width: int,
    skip: float = 1.0,
    branch: jax.typing.ArrayLike = 1.0,
) -> AlignedGradient:
    """The two parts of a gradient in a homogeneous network ``h <- skip h + branch phi(W h)``.

    At the last layer a gradient that knows nothing of the signal has ``1 / width`` of its square along it. That part
    is multiplied by ``|h_L|^2 / |h_l|^2`` exactly, whatever the weights; it dominates at depth where signals grow
    faster than ``chi``. The sum is a lower bound in the mean: the part along the signal also feeds the other.

    Args:
      phi: a homogeneous activation (ReLU, leaky ReLU, linear), or its name.
      moment: the mean square of the network's input, whose mean is 0.
      sw2: the weights' variance times the width.
      num_layers: layers.
      width: units in a layer.
      skip: the factor on the layer's input.
      branch: the factor on what the layer adds.

    Raises:
      ValueError: for an activation that is not homogeneous.
    """
    phi = resolved("aligned_gradient", phi)
    checks.one_of(
        "aligned_gradient", "phi", phi.name, ("relu", "leaky_relu", "linear"), remedy="It must be homogeneous."
    )
    checks.integer("aligned_gradient", "width", width)
    followed = signals(phi, moment, sw2=sw2, skip=skip, branch=branch, num_layers=num_layers)
    one = jnp.ones(1, followed.factor.dtype)
    independent = jnp.flip(jnp.concatenate([one, jnp.cumprod(jnp.flip(followed.factor))]))
    squares = jnp.concatenate([one * jnp.asarray(moment), followed.moment])
    return AlignedGradient(independent, squares[-1] / squares / width)
