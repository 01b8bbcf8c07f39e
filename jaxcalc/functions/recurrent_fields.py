"""What recurrence keeps over many steps: the product of a gate along its path, powers of a random matrix.

Source: M. Chen, J. Pennington, S. Schoenholz, Dynamical isometry and a mean field theory of RNNs, ICML 2018;
D. Gilboa et al., Dynamical isometry and a mean field theory of LSTMs and GRUs, 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.functions.activations import sigmoid
from jaxcalc.functions.gaussian_means import gaussian_mean
from jaxcalc.functions.jacobian_spectra import gaussian_product_norm

__all__ = ["GatePath", "gate_path", "power_norm"]


class GatePath(NamedTuple):
    """The product of one unit's gate over the steps."""

    log_mean: jax.Array
    """mean of its logarithm, what a typical unit keeps"""
    log_variance: jax.Array
    """variance of its logarithm over units and inputs"""
    mean_square: jax.Array
    """mean of its square over units: the squared norm kept along the path"""


def gate_path(
    bias: ArrayLike, variance: ArrayLike, num_steps: ArrayLike, *, constant_share: ArrayLike = 0.0
) -> GatePath:
    """What ``PROD_t sigmoid(bias + s_t)`` comes to: the path along an LSTM's cell or a GRU's state.

    Args:
      bias: of the forget gate, or of a GRU's update gate that keeps.
      variance: of ``s_t``, the gate's entry without its bias.
      num_steps: factors in the product.
      constant_share: the part of the variance that a unit keeps over all steps, as constant inputs make it; the rest is
        drawn anew in each.

    Raises:
      ValueError: for a negative variance or a share out of range.
    """
    checks.number("gate_path", "variance", variance, least=0)
    checks.number("gate_path", "constant_share", constant_share, least=0, most=1)
    share, steps = jnp.asarray(constant_share, float), jnp.asarray(num_steps, float)
    anew = variance * (1 - share)

    def given(unit):
        """Mean and variance of the logarithm, and the mean square, of one factor of a unit."""
        logs = lambda s: -jax.nn.softplus(-(bias + unit + s))
        first = gaussian_mean(logs, anew)
        second = gaussian_mean(lambda s: logs(s) ** 2, anew)
        return first, second - first**2, gaussian_mean(lambda s: sigmoid.value(bias + unit + s) ** 2, anew)

    over_units = lambda pick: gaussian_mean(
        lambda units: jax.vmap(lambda unit: pick(*given(unit)))(units), variance * share
    )
    mean = over_units(lambda m, v, f: m)
    within = over_units(lambda m, v, f: v)
    across = over_units(lambda m, v, f: (m - mean) ** 2)
    return GatePath(steps * mean, steps * within + steps**2 * across, over_units(lambda m, v, f: f**steps))


def power_norm(radius: ArrayLike, lags: ArrayLike) -> jax.Array:
    """The largest singular value of powers of a Gaussian matrix of that spectral radius, as the width goes to infinity.

    ``radius^k sqrt((k + 1)^(k + 1) / k^k)``: no eigenvalue says so, the matrix is not normal. At a finite width it
    holds for lags well below it; from there on ``radius^k`` of the largest eigenvalue takes over.

    Args:
      radius: the spectral radius, the root of the entries' variance times the width.
      lags: the powers, 0 or above.

    Raises:
      ValueError: for a negative radius or lag.
    """
    checks.number("power_norm", "radius", radius, least=0)
    checks.number("power_norm", "lags", lags, least=0)
    lags = jnp.asarray(lags, float)
    grown = gaussian_product_norm(jnp.where(lags > 0, lags, 1.0))
    return jnp.asarray(radius, lags.dtype) ** lags * jnp.where(lags > 0, grown, 1.0)
