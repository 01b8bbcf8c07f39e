"""Newton's method with the dense Hessian."""

from typing import Literal

import jax
import jax.numpy as jnp
import jax.scipy.linalg
from jax import Array

from jaxcalc.solvers.loop import Function, Iterate, Solver, start_at

__all__ = ["newton", "solve_positive"]


def newton(
    *, damping: float | Array = 0.0, step_size: float | Array = 1.0, factorization: Literal["lu", "cholesky"] = "lu"
) -> Solver:
    """Steps to the minimum of the quadratic model.

    ``x <- x - step_size (H + damping I)^-1 grad f(x)``, H the Hessian at x

    With a step of 1, no damping and a regular Hessian at the optimum, the error is squared at every step, up to a
    factor. A singular H gives infinities or NaNs, which run on as data; damping makes it regular.

    Args:
      damping: what is added to the Hessian's diagonal, in the Hessian's units; may be traced.
      step_size: the fraction of the full step; may be traced.
      factorization: ``"lu"`` takes any regular H; ``"cholesky"`` costs half and gives NaN unless H + damping I is
        positive definite.

    Cost: one Hessian and a solve of n^3 / 3 (Cholesky) or 2 n^3 / 3 (LU) operations a step.
    """
    match factorization:
        case "lu":
            solve = jnp.linalg.solve
        case "cholesky":
            solve = solve_positive
        case _:
            raise ValueError(f"newton: unknown factorization {factorization!r}; choose 'lu' or 'cholesky'.")

    def step(fun: Function, at: Iterate) -> Iterate:
        hessian = jax.hessian(fun)(at.x)
        direction = solve(hessian + damping * jnp.eye(at.x.size, dtype=hessian.dtype), at.gradient)
        return start_at(fun, at.x - step_size * direction)

    return Solver(init=start_at, step=step)


def solve_positive(matrix: Array, right: Array) -> Array:
    """The solution x of ``A x = b`` by Cholesky's factorisation; NaN unless A is positive definite.

    Args:
      matrix: A, symmetric, (n, n).
      right: b, (n,).

    Cost: n^3 / 3 operations and two triangular solves of n^2.
    """
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix, lower=True), right)
