"""The derivative of a solution in the function's parameters and bounds, by the implicit function theorem."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxcalc.solvers.bounds import active
from jaxcalc.solvers.newton_cg import cheap_diagonal

__all__ = ["DENSE", "solution_tangent"]

DENSE = 200
"""Up to this many variables the Hessian is factorised; beyond, conjugate gradients take its products."""


def solution_tangent(
    fun: Callable[[Array, Any], Array],
    x: Array,
    parameters: tuple[Any, Array | None, Array | None],
    tangents: tuple[Any, Array | None, Array | None],
) -> Array:
    """How the minimiser moves with the parameters.

    ``H dx = -d(grad f)/dp dp`` on the free variables, H the Hessian there; ``dx`` is the bound's own change on the
    rest.

    Args:
      fun: ``(x (n,), consts) -> scalar``.
      x: the minimiser, (n,).
      parameters: consts, lower and upper bounds.
      tangents: of the same structure.

    Returns:
      (n,); infinite or NaN where the Hessian on the free variables is singular, for then the minimiser is none.
    """
    consts, lower, upper = parameters
    d_consts, d_lower, d_upper = tangents
    gradient, shift = jax.jvp(lambda c: jax.grad(fun)(x, c), (consts,), (d_consts,))
    held = active(x, gradient, lower, upper)
    free = jnp.ones_like(x, dtype=bool) if held is None else ~held
    if held is None or lower is None or d_lower is None or d_upper is None:
        forced = jnp.zeros_like(x)
    else:
        forced = jnp.where(held, jnp.where(x <= lower, d_lower, d_upper), 0.0)

    def product(v: Array) -> Array:
        inside = jax.jvp(lambda y: jax.grad(fun)(y, consts), (x,), (jnp.where(free, v, 0.0),))[1]
        return jnp.where(free, inside, v)

    pushed = jax.jvp(lambda y: jax.grad(fun)(y, consts), (x,), (forced,))[1]
    right = jnp.where(free, -shift - pushed, forced)
    if x.size <= DENSE:
        return jax.lax.custom_linear_solve(product, right, _dense, symmetric=True)
    read = cheap_diagonal(lambda y: fun(y, consts), x)
    sizes = jnp.ones_like(x) if read is None else jnp.abs(jax.lax.stop_gradient(read(x)))
    sizes = jnp.where(free & jnp.isfinite(sizes) & (sizes > 0), sizes, 1.0)
    solve = lambda product, right: _iterative(product, right, sizes)
    return jax.lax.custom_linear_solve(product, right, solve, symmetric=True)


def _dense(product: Callable[[Array], Array], right: Array) -> Array:
    return jnp.linalg.solve(jax.vmap(product)(jnp.eye(right.size, dtype=right.dtype)), right)


def _iterative(product: Callable[[Array], Array], right: Array, sizes: Array) -> Array:
    """Conjugate gradients, preconditioned by the sizes of the diagonal's entries, (n,)."""
    from jax.scipy.sparse.linalg import cg

    eps = float(jnp.finfo(right.dtype).eps)
    found, _ = cg(product, right, tol=eps**0.75, maxiter=10 * right.size, M=lambda v: v / sizes)
    # The residual cannot fall below what rounding leaves of the products; a solve that did not get near has no answer.
    largest = jnp.linalg.norm(product(found)) + jnp.linalg.norm(right)
    left = jnp.linalg.norm(product(found) - right)
    return jnp.where(left <= 10 * eps**0.75 * largest + jnp.finfo(right.dtype).tiny, found, jnp.nan)
