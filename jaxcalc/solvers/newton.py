"""Newton's method with the dense Hessian."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.scipy.linalg
from jax import Array

from jaxcalc import checks
from jaxcalc.solvers.control import while_loop
from jaxcalc.solvers.line_search import armijo, wolfe
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver

__all__ = ["modified_cholesky", "newton", "solve_positive"]


def newton(
    *,
    damping: float | Array = 0.0,
    step_size: float | Array = 1.0,
    factorization: Literal["lu", "cholesky", "modified"] | str = "lu",
    line_search: Literal["armijo", "wolfe"] | str | None = None,
) -> Solver:
    """Steps to the minimum of the quadratic model.

    ``x <- x - step_size (H + damping I)^-1 grad f(x)``, H the Hessian at x

    With a step of 1, no damping and a regular Hessian at the optimum, the error is squared at every step, up to a
    factor. A singular H gives infinities or NaNs, which run on as data; damping makes it regular.

    Args:
      damping: what is added to the Hessian's diagonal, in the Hessian's units; may be traced.
      step_size: the fraction of the full step, the first tried of a line search; may be traced.
      factorization: ``"lu"`` takes any regular H; ``"cholesky"`` costs half and gives NaN unless H + damping I is
        positive definite; ``"modified"`` adds to the diagonal until it is, so that every step descends.
      line_search: None takes every step whole; the others need a direction of descent, so ``"modified"``.

    Raises:
      ValueError: for an unknown choice.

    Cost: one Hessian and a solve of n^3 / 3 (Cholesky) or 2 n^3 / 3 (LU) operations a step.
    """
    checks.one_of("newton", "factorization", factorization, ("lu", "cholesky", "modified"))
    checks.one_of("newton", "line_search", line_search, ("armijo", "wolfe", None))
    choices = (("factorization", factorization), ("line_search", line_search))
    return Solver("newton", _start, _step, {"damping": damping, "step_size": step_size}, choices, curved=True)


def _start(objective: Objective, x: Array, **_: Any) -> Iterate:
    value, gradient = objective.value_and_gradient(x)
    info = {"trials": jnp.zeros((), jnp.int32), "damping": jnp.zeros((), x.dtype)}
    return Iterate(x, value, gradient, (), info, Evaluations(1, 1))


def _step(
    objective: Objective, at: Iterate, damping: Any, step_size: Any, factorization: str, line_search: str | None
) -> Iterate:
    hessian = objective.hessian(at.x)
    damping = jnp.asarray(damping, hessian.dtype)
    matrix = hessian + damping * jnp.eye(at.x.size, dtype=hessian.dtype)
    match factorization:
        case "lu":
            direction = -_solve(matrix, at.gradient)
        case "cholesky":
            direction = -solve_positive(matrix, at.gradient)
        case _:
            factor, added = modified_cholesky(matrix)
            direction, damping = -jax.scipy.linalg.cho_solve((factor, True), at.gradient), damping + added
    if line_search is None:
        x = at.x + step_size * direction
        value, gradient = objective.value_and_gradient(x)
        trials, stuck = jnp.ones((), jnp.int32), jnp.asarray(False)
        gradients: Any = 1
    else:
        found = (armijo if line_search == "armijo" else wolfe)(objective, at, direction, step_size)
        x, value, gradient, trials, stuck = found.x, found.value, found.gradient, found.trials, found.failed
        gradients = 1 if line_search == "armijo" else trials
    counts = at.evaluations.plus(functions=trials, gradients=gradients, hessians=1)
    return Iterate(x, value, gradient, (), {"trials": trials, "damping": damping}, counts, stuck)


SMALL = 3
"""Up to so many equations are solved by operations that a vmap makes those of all lanes: LAPACK is called for each."""


def _solve(matrix: Array, right: Array) -> Array:
    """The solution of ``A x = b``, (n,), by elimination with partial pivoting."""
    n = right.size
    if n > SMALL:
        return jnp.linalg.solve(matrix, right)
    rows = [jnp.append(matrix[i], right[i]) for i in range(n)]
    for k in range(n):
        for i in range(k + 1, n):
            swap = jnp.abs(rows[i][k]) > jnp.abs(rows[k][k])
            rows[k], rows[i] = jnp.where(swap, rows[i], rows[k]), jnp.where(swap, rows[k], rows[i])
        for i in range(k + 1, n):
            left = rows[i] - rows[i][k] / rows[k][k] * rows[k]
            # What rounding left of a difference is none: a singular matrix stays one.
            rows[i] = jnp.where(jnp.abs(left) <= 2 * jnp.finfo(left.dtype).eps * jnp.abs(rows[i]), 0.0, left)
    solution = jnp.zeros_like(right)
    for i in reversed(range(n)):
        solution = solution.at[i].set((rows[i][n] - jnp.vdot(rows[i][:n], solution)) / rows[i][i])
    return solution


def solve_positive(matrix: Array, right: Array) -> Array:
    """The solution x of ``A x = b`` by Cholesky's factorisation; NaN unless A is positive definite.

    Args:
      matrix: A, symmetric, (n, n).
      right: b, (n,).

    Cost: n^3 / 3 operations and two triangular solves of n^2.
    """
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix, lower=True), right)


def modified_cholesky(matrix: Array) -> tuple[Array, Array]:
    """Cholesky's factor of ``A + t I``, t the first of 0, b, 4 b, 16 b... with which it exists.

    ``b = 1e-3 max |A|``, or what the least diagonal entry lacks, if that is more.

    Args:
      matrix: A, symmetric, (n, n).

    Returns:
      The lower factor, (n, n), and t.

    Cost: n^3 / 3 operations a trial.
    Source: Nocedal and Wright, Numerical Optimization, 3.4.
    """
    scale = jnp.maximum(jnp.max(jnp.abs(matrix)), jnp.finfo(matrix.dtype).tiny)
    lacking = -jnp.min(jnp.diagonal(matrix))
    least = jnp.where(lacking > 0, lacking, 0) + 1e-3 * scale
    attempt = lambda t: jnp.linalg.cholesky(matrix + t * jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    indefinite = lambda factor: ~jnp.all(jnp.isfinite(jnp.diagonal(factor)))

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        factor, _, trials = state
        return indefinite(factor) & (trials < 20)

    def body(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, t, trials = state
        t = jnp.maximum(4 * t, least)
        return attempt(t), t, trials + 1

    zero = jnp.zeros((), matrix.dtype)
    factor, t, _ = while_loop(unfinished, body, (attempt(zero), zero, jnp.zeros((), jnp.int32)))
    return factor, t
