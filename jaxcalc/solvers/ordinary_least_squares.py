"""Least squares in closed form: the minimiser by factorisations that differ in cost and in what rounding does."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy.linalg
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks

__all__ = ["LEAST_SQUARES", "ordinary_least_squares", "reweighted_least_squares"]

LEAST_SQUARES = ("normal", "inverse", "qr", "svd")
"""The methods of ``ordinary_least_squares``, cheapest first."""


def ordinary_least_squares(
    design: ArrayLike, target: ArrayLike, *, method: str = "qr", ridge: float | Array = 0.0
) -> Array:
    """The weights of a linear model with the least sum of squares, in closed form.

    ``min_w |X w - y|^2 + ridge |w|^2``; without a ridge and for X of full column rank ``w = (X'X)^-1 X'y``

    Rounding changes the weights by a multiple of eps that depends on the method and on cond(X), the ratio of X's
    extreme singular values:

    * ``"normal"``: Cholesky's factor of X'X, which has the condition number cond(X)^2; the error grows with
      cond(X)^2 for every y. NaN where X'X is singular to rounding, from about cond(X) = eps^-1/2 on.
    * ``"inverse"``: the inverse of X'X written out, as textbooks print it; the same error at a higher cost, and
      numbers without meaning, not NaN, where X'X is singular to rounding.
    * ``"qr"``: Householder's X = QR; the error grows with cond(X), plus cond(X)^2 times the residual's share of y,
      which is the problem's own sensitivity. NaN where X is rank-deficient to rounding.
    * ``"svd"``: the pseudo-inverse; as accurate as ``"qr"``, and for a rank-deficient X the solution of least norm.

    Args:
      design: X, (m, d), floating-point.
      target: y, (m,), or (m, k) for k targets at once.
      method: one of ``LEAST_SQUARES``.
      ridge: at least 0; may be traced. ``"qr"`` then factors X over sqrt(ridge) I.

    Returns:
      w, (d,) or (d, k).

    Raises:
      ValueError: for an unknown method or shapes that do not fit.

    Cost: in operations, for m rows: ``"normal"`` m d^2 + d^3 / 3 (X'X by a general product takes 2 m d^2),
      ``"inverse"`` m d^2 + 2 d^3, ``"qr"`` 2 m d^2 - 2 d^3 / 3, ``"svd"`` about 6 m d^2 + 20 d^3.
    Source: Golub and Van Loan, Matrix Computations, 5.3; Higham, Accuracy and Stability of Numerical Algorithms, 20.
    """
    design, target = jnp.asarray(design), jnp.asarray(target)
    checks.one_of("ordinary_least_squares", "method", method, LEAST_SQUARES)
    if design.ndim != 2 or target.ndim not in (1, 2) or target.shape[0] != design.shape[0]:
        raise ValueError(
            f"ordinary_least_squares: design must be (m, d) and target (m,) or (m, k), got {design.shape} and "
            f"{target.shape}."
        )
    dtype = jnp.result_type(design, target, float)
    design, target = design.astype(dtype), target.astype(dtype)
    match method:
        case "normal":
            return _by_cholesky(_gram(design, ridge), design.T @ target)
        case "inverse":
            return jnp.linalg.inv(_gram(design, ridge)) @ (design.T @ target)
        case "qr":
            return _by_qr(design, target, ridge)
        case _:
            return _by_svd(design, target, ridge)


def reweighted_least_squares(
    design: ArrayLike, target: ArrayLike, slope: Callable[[Array], Array], *, num_steps: int = 50
) -> Array:
    """The weights of a linear model with the least sum of a convex loss of its residuals, such as Huber's.

    ``min_w sum_i rho(x_i' w - y_i)`` by least squares again and again, each residual weighted by ``rho'(r) / r`` at the
    last one's; the sum falls at every step where these weights fall with ``|r|``: squared, absolute and Huber's loss.

    Args:
      design: X, (m, d), floating-point, of full column rank.
      target: y, (m,).
      slope: ``rho'``, entry by entry.
      num_steps: solutions of least squares; convergence is linear.

    Returns:
      w, (d,); of the absolute loss, whose minimum lies in a kink, to about sqrt(eps) of the largest target.

    Source: Holland and Welsch, Communications in Statistics A 6 (1977) 813.
    """
    checks.integer("reweighted_least_squares", "num_steps", num_steps)
    design, target = jnp.asarray(design), jnp.asarray(target)
    least = jnp.sqrt(jnp.finfo(design.dtype).eps) * jnp.max(jnp.abs(target))

    def solve(weights: Array) -> Array:
        root = jnp.sqrt(weights)
        return ordinary_least_squares(root[:, None] * design, root * target)

    def step(_: int, w: Array) -> Array:
        size = jnp.maximum(jnp.abs(design @ w - target), least)
        return solve(slope(size) / size)

    return jax.lax.fori_loop(0, num_steps, step, solve(jnp.ones_like(target)))


def _gram(design: Array, ridge: float | Array) -> Array:
    """X'X + ridge I."""
    return design.T @ design + ridge * jnp.eye(design.shape[1], dtype=design.dtype)


def _by_cholesky(matrix: Array, right: Array) -> Array:
    factor = jnp.linalg.cholesky(matrix)
    pivots = jnp.diagonal(factor) ** 2
    # Of a singular matrix rounding can leave a last pivot just above 0: numbers without meaning.
    eps = jnp.finfo(matrix.dtype).eps
    deficient = jnp.min(pivots, initial=jnp.inf) <= len(matrix) * eps * jnp.max(pivots, initial=0.0)
    return jnp.where(deficient, jnp.nan, jax.scipy.linalg.cho_solve((factor, True), right))


def _by_qr(design: Array, target: Array, ridge: float | Array) -> Array:
    rows, columns = design.shape
    if not (isinstance(ridge, (int, float)) and ridge == 0):
        root = jnp.sqrt(jnp.asarray(ridge, design.dtype))
        design = jnp.concatenate([design, root * jnp.eye(columns, dtype=design.dtype)])
        target = jnp.concatenate([target, jnp.zeros((columns, *target.shape[1:]), target.dtype)])
    shape = (columns, *target.shape[1:])
    if design.shape[0] < columns:
        return jnp.full(shape, jnp.nan, design.dtype)
    basis, triangle = jnp.linalg.qr(design)
    pivots = jnp.abs(jnp.diagonal(triangle))
    # Without pivoting a small last pivot shows that columns depend on one another to rounding.
    deficient = jnp.min(pivots, initial=jnp.inf) <= rows * jnp.finfo(design.dtype).eps * jnp.max(pivots, initial=0.0)
    solution = jax.scipy.linalg.solve_triangular(triangle, basis.T @ target)
    return jnp.where(deficient, jnp.nan, solution)


def _by_svd(design: Array, target: Array, ridge: float | Array) -> Array:
    left, values, right = jnp.linalg.svd(design, full_matrices=False)
    cutoff = max(design.shape) * jnp.finfo(design.dtype).eps * jnp.max(values, initial=0.0)
    kept = values > cutoff
    weights = jnp.where(kept, values / jnp.where(kept, values**2 + ridge, 1.0), 0.0)
    image = left.T @ target
    return right.T @ (weights * image if image.ndim == 1 else weights[:, None] * image)
