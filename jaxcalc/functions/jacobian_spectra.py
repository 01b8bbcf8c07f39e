"""Singular values of the input-output Jacobian ``J = D_L W_L ... D_1 W_1`` of deep networks of infinite width.

The weights have variance ``sw2 / width`` (Gaussian) or are ``sqrt(sw2)`` times orthogonal matrices, and ``D`` holds the
slopes ``phi'(u)``, ``u`` of variance ``moment``. Free probability multiplies S-transforms: ``1 / (sw2 (1 + z))`` for
Gaussian ``W'W``, ``1 / sw2`` for orthogonal. Source: J. Pennington, S. Schoenholz, S. Ganguli, Resurrecting the sigmoid
in deep learning through dynamical isometry, NeurIPS 2017; The emergence of spectral universality, AISTATS 2018.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.functions.activations import Activation
from jaxcalc.functions.gaussian_means import gaussian_mean
from jaxcalc.functions.mean_field import gradient_factor, resolved, variances

__all__ = [
    "Ensemble",
    "gaussian_product_norm",
    "isometry_variance",
    "largest_singular_value",
    "mean_square_singular_value",
    "power_norm",
    "slope_moment",
]

Ensemble = Literal["gaussian", "orthogonal"]
_ENSEMBLES = ("gaussian", "orthogonal")
_GRID, _GOLDEN = 256, (5**0.5 - 1) / 2


def gaussian_product_norm(num_layers: ArrayLike) -> jax.Array:
    """The largest singular value of a product of square Gaussian matrices of variance ``1/width``.

    ``sqrt((L + 1)^(L + 1) / L^L)``, about ``sqrt(e (L + 1/2))``; also that of the ``L``-th power of one such matrix as
    the width goes to infinity.

    Args:
      num_layers: ``L``, above 0.

    Source: Z. Burda, R. Janik, B. Waclaw, Spectrum of the product of independent random Gaussian matrices, Physical
      Review E 81, 2010; N. Alexeev, F. Goetze, A. Tikhomirov, On the singular spectrum of powers and products of random
      matrices, 2010.
    """
    checks.number("gaussian_product_norm", "num_layers", num_layers, above=0)
    layers = jnp.asarray(num_layers, float)
    return jnp.exp(0.5 * (jnp.log1p(layers) + layers * jnp.log1p(1 / layers)))


def slope_moment(phi: Activation | str, moment: ArrayLike, order: int) -> jax.Array:
    """``mu_k = INT phi'(sqrt(q) z)^(2 k) Dz``: moments of the squared slopes.

    Args:
      phi: the activation, or its name.
      moment: ``q``.
      order: ``k``.
    """
    phi = resolved("slope_moment", phi)
    power = 2 * checks.integer("slope_moment", "order", order)
    return gaussian_mean(lambda u: phi.derivative(u) ** power, moment)


def mean_square_singular_value(
    phi: Activation | str, moment: ArrayLike, *, sw2: ArrayLike, num_layers: ArrayLike
) -> jax.Array:
    """The mean of the squared singular values: ``chi1^L``.

    Args:
      phi: the activation, or its name.
      moment: the variance before the activation, the same in all layers.
      sw2: the weights' variance times the width.
      num_layers: ``L``.
    """
    checks.number("mean_square_singular_value", "num_layers", num_layers, least=0)
    return gradient_factor(phi, moment, sw2) ** jnp.asarray(num_layers, float)


def isometry_variance(
    phi: Activation | str, moment: ArrayLike, *, weights: str = "gaussian", num_layers: ArrayLike = 1
) -> jax.Array:
    """The variance of the squared singular values over their mean's square: ``L (mu_2 / mu_1^2 - 1 - s_1)``.

    With ``s_1 = -1`` for Gaussian weights and 0 for orthogonal ones: 2 L and L for ReLU, L and 0 for linear layers. 0
    is dynamical isometry. Exact at infinite width at and off criticality, for the variance of ``sw2`` drops out.

    Args:
      phi: the activation, or its name.
      moment: the variance before the activation; layers of different ones add up, each with ``num_layers=1``.
      weights: ``"gaussian"`` or ``"orthogonal"``.
      num_layers: ``L``.
    """
    checks.one_of("isometry_variance", "weights", weights, _ENSEMBLES)
    checks.number("isometry_variance", "num_layers", num_layers, least=0)
    spread = slope_moment(phi, moment, 2) / slope_moment(phi, moment, 1) ** 2 - 1
    return jnp.asarray(num_layers) * (spread + (weights == "gaussian"))


def largest_singular_value(
    phi: Activation | str, moment: ArrayLike, *, sw2: ArrayLike, weights: str = "gaussian", num_layers: ArrayLike = 1
) -> jax.Array:
    """The upper edge of the singular values of the Jacobian of ``L`` equal layers.

    With ``z = psi(t) = INT t phi'^2 / (1 - t phi'^2) Dz`` the squared edge is the minimum of ``(1 + z) / (z S(z)^L)``
    over ``t`` from 0 to ``1 / max phi'^2``; for linear Gaussian layers it is ``gaussian_product_norm``.

    Args:
      phi: the activation, of bounded slope, or its name.
      moment: the variance before the activation, the same in all layers.
      sw2: the weights' variance times the width.
      weights: ``"gaussian"`` or ``"orthogonal"``.
      num_layers: ``L``.

    Returns:
      Exact for slopes that are constant on each half line, as ReLU's; else to about six digits from ten layers on.
    """
    phi = resolved("largest_singular_value", phi)
    variances("largest_singular_value", sw2)
    checks.one_of("largest_singular_value", "weights", weights, _ENSEMBLES)
    checks.number("largest_singular_value", "num_layers", num_layers, least=0)
    layers = jnp.asarray(num_layers, float)
    top = phi.largest_slope**2

    def logarithm(odds):
        """Of the function that is minimised, at ``t = odds / (1 + odds) / max phi'^2``; ``odds`` in logarithms."""
        scale = jax.nn.sigmoid(odds)
        left = jax.nn.sigmoid(-odds)

        def integrand(u):
            share = phi.derivative(u) ** 2 / top
            # 1 - scale share, without cancellation where both are near 1.
            return scale * share / (left + scale * (1 - share))

        z = gaussian_mean(integrand, moment)
        log_s = jnp.log1p(1 / z) + jnp.log(scale / top) - jnp.log(sw2)
        log_s = log_s - (jnp.log1p(z) if weights == "gaussian" else 0.0)
        return jnp.log1p(1 / z) - layers * log_s

    grid = jnp.linspace(-30.0, 30.0, _GRID, dtype=layers.dtype)
    index = jnp.clip(jnp.argmin(jax.lax.map(logarithm, grid, batch_size=64)), 1, _GRID - 2)

    def narrow(_, ends):
        low, high = ends
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        less = logarithm(left) < logarithm(right)
        return jnp.where(less, low, left), jnp.where(less, right, high)

    low, high = jax.lax.fori_loop(0, 50, narrow, (grid[index - 1], grid[index + 1]))
    return jnp.exp(0.5 * logarithm(jax.lax.stop_gradient(0.5 * (low + high))))


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
