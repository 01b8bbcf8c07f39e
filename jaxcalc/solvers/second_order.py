"""The curvature where a solve ended: it tells a minimum from a saddle, which the gradient does not."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxcalc.solvers.protocol import Objective
from jaxcalc.transforms.stationary import eigenvalue_rounding

__all__ = ["SecondOrder", "second_order"]


class SecondOrder(NamedTuple):
    """The least eigenvalue of the Hessian at a point.

    Args:
      least: on the free variables. Negative, the point is no minimum; positive, it is one as far as it is stationary. 0
        where variables sit at a bound that does not push them, so that neither follows.
      zero: up to what size it is zero to rounding.
      step: the largest entry of a Newton step from the point, on the free variables: how far off that model's minimum
        is.
      rest: what share of the gradient is left after it. Near a minimum with curvature hardly any is; where a gradient
        fades out without one (``exp(-x)``), or the curvature with it (``x^3``, ``x^4``), a good part.
    """

    least: Array
    zero: Array
    step: Array
    rest: Array


def second_order(objective: Objective, x: Array, gradient: Array, threshold: Array) -> SecondOrder:
    """The least eigenvalue of the Hessian on the variables that no bound holds.

    Variables inside their bounds are free, and a negative eigenvalue among them is a way down. Those at a bound whose
    gradient is zero up to ``threshold`` are free to one side: a minimum among both sorts is one.

    Args:
      x, gradient: (n,).
      threshold: up to what size an entry of the gradient is zero.

    Cost: a Hessian, a gradient and about ``2 n^3`` operations, with bounds ``4 n^3 / 3`` more.
    """
    # There are no factorisations in half precision.
    matrix = objective.hessian(x).astype(jnp.promote_types(x.dtype, jnp.float32))
    eps = float(jnp.finfo(x.dtype).eps)
    if objective.lower is None or objective.upper is None:
        values = _eigenvalues(matrix)
        ahead = _ahead(objective, x, gradient, matrix, jnp.ones(x.shape, bool))
        return SecondOrder(values[0].astype(x.dtype), eigenvalue_rounding(values, eps).astype(x.dtype), *ahead)
    inside = (x > objective.lower) & (x < objective.upper)
    pushed = (jnp.abs(gradient) > threshold) | (objective.lower == objective.upper)
    free = inside | ~pushed
    within, among = _eigenvalues(_on(matrix, inside)), _eigenvalues(_on(matrix, free))
    zero = eigenvalue_rounding(among, eps)
    least = jnp.where(within[0] < -zero, within[0], jnp.where(among[0] < -zero, 0.0, among[0]))
    ahead = _ahead(objective, x, gradient, _on(matrix, free), free)
    return SecondOrder(least.astype(x.dtype), zero.astype(x.dtype), *ahead)


def _ahead(objective: Objective, x: Array, gradient: Array, matrix: Array, free: Array) -> tuple[Array, Array]:
    """The size of a Newton step on the free variables, and the share of their gradient that it leaves."""
    slope = jnp.where(free, gradient, 0)
    step = jnp.linalg.solve(matrix, slope.astype(matrix.dtype)).astype(x.dtype)
    after = jnp.where(free, objective.value_and_gradient(x - jnp.where(free, step, 0))[1], 0)
    size, left = jnp.max(jnp.abs(slope)), jnp.max(jnp.abs(after))
    return jnp.max(jnp.abs(step)), jnp.where(size == 0, 0, left / jnp.where(size == 0, 1, size))


def _on(matrix: Array, free: Array) -> Array:
    """The matrix on some variables; on the others a multiple of the identity that is not less."""
    inner = jnp.where(free[:, None] & free[None, :], matrix, 0)
    size = jnp.max(jnp.sum(jnp.abs(inner), axis=1))
    return inner + jnp.diag(jnp.where(free, 0, jnp.where(size == 0, 1, size)))


def _eigenvalues(matrix: Array) -> Array:
    """Ascending, (n,); NaN where the matrix is not finite."""
    finite = jnp.all(jnp.isfinite(matrix))
    return jnp.where(finite, jnp.linalg.eigvalsh(jnp.where(finite, (matrix + matrix.T) / 2, 0)), jnp.nan)
