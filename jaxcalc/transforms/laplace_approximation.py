"""Laplace's approximation: the normal distribution about a mode, and the mass that goes with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.distributions import Distribution, multivariate_normal
from jaxcalc.transforms.hessian import hessian

__all__ = ["Laplace", "laplace_approximation"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Laplace:
    """A normal distribution in place of a density, not normalised, about its mode.

    Args:
      log_mass: about ``log INT exp(log_density)``: the log evidence, or log partition function.
      distribution: normal, of the mode and the inverse of minus the Hessian there.
    """

    log_mass: jax.Array
    distribution: Distribution


def laplace_approximation(log_density: Callable[..., Any], /) -> Callable[..., Laplace]:
    """The normal distribution that osculates a density at its mode, and its mass.

        log INT exp(l(x)) dx ~ l(m) + (d/2) log(2 pi) - log det(-H)/2,    H the Hessian of l at the mode m

    Args:
      log_density: from a point, shape ``(d,)``, and ``args`` to its log density, normalised or not.

    Returns:
      ``approximate(mode, *args) -> Laplace``; the mode is the caller's to find (``minimize``), and what is taken for
      one is not checked but for the curvature: where minus the Hessian is not positive definite the answers are NaN.
      Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: if the mode is no vector.

    Cost:
      A Hessian and a Cholesky factor. The error is of the order of ``1/n`` for n observations.

    Source:
      L. Tierney, J. B. Kadane, Accurate approximations for posterior moments and marginal densities, 1986.
    """
    checks.function("laplace_approximation", log_density, "log_density")

    def approximate(mode, *args):
        mode = checks.real_array("laplace_approximation", "mode", mode)
        if jnp.ndim(mode) != 1 or mode.size == 0:
            raise ValueError(f"laplace_approximation: mode must have shape (d,) with d > 0, got {jnp.shape(mode)}.")
        precision = -hessian(lambda x: log_density(x, *args))(mode)
        factor = jnp.linalg.cholesky((precision + precision.T) / 2)
        log_mass = log_density(mode, *args) + 0.5 * mode.size * jnp.log(2 * jnp.pi) - jnp.log(jnp.diag(factor)).sum()
        root = jax.scipy.linalg.solve_triangular(factor, jnp.eye(mode.size, dtype=mode.dtype), lower=True)
        return Laplace(log_mass, _normal(mode, root.T @ root))

    return approximate


def _normal(mean: jax.Array, covariance: jax.Array) -> Distribution:
    """Traced, so that a covariance that is none makes NaN and no error."""
    return jax.jit(multivariate_normal)(mean, covariance)
