"""Nonlinear least squares, and roots and fixed points of systems as residuals that vanish."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np

from jaxcalc import checks
from jaxcalc.solvers.line_search import armijo
from jaxcalc.solvers.minimize import METHODS, solve
from jaxcalc.solvers.newton import modified_cholesky
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver
from jaxcalc.solvers.solution import Solution
from jaxcalc.solvers.trust_region import ball_step, start_ball

__all__ = ["SQUARES", "fixed_point", "gauss_newton", "least_squares", "levenberg_marquardt", "root"]


def levenberg_marquardt(radius: Any = None) -> Solver:
    """Gauss and Newton's model ``|r + J d|^2 / 2`` minimised within a ball.

    The multiplier of the ball is Levenberg and Marquardt's damping (More's form of the method).

    Args:
      radius: the first one, in x's unit; by default the larger of 1 and a tenth of |x|.

    Raises:
      ValueError: for a radius that is not positive.

    Cost: one Jacobian, m n^2 operations for J'J and n^3 / 3 for its factor, and one value and gradient a step.
    Source: More, Numerical Analysis, Lecture Notes in Mathematics 630 (1978) 105.
    """
    numbers = {} if radius is None else {"radius": checks.number("levenberg_marquardt", "radius", radius, above=0)}
    return Solver("levenberg-marquardt", start_ball, _damped_step, numbers, boxes=True, squares=True)


def gauss_newton() -> Solver:
    """Steps to the minimum of ``|r + J d|^2 / 2`` with Armijo's backtracking; J'J is made positive definite if it is
    not.

    Cost: as for ``levenberg_marquardt``.
    Source: Nocedal and Wright, Numerical Optimization, 10.3.
    """
    return Solver("gauss-newton", _start, _full_step, squares=True)


def _gauss_matrix(objective: Objective, x: Any) -> Any:
    """J'J, (n, n)."""
    from jaxcalc.transforms import jacobian

    if objective.residual is None:
        raise ValueError("gauss_newton: the objective must have residuals, got a scalar function. Use least_squares.")
    slopes = jacobian(objective.residual)(x)
    return slopes.T @ slopes


def _damped_step(objective: Objective, at: Iterate, radius: Any = None) -> Iterate:
    return ball_step(objective, at, _gauss_matrix(objective, at.x))


def _start(objective: Objective, x: Any) -> Iterate:
    value, gradient = objective.value_and_gradient(x)
    return Iterate(x, value, gradient, (), {"trials": jnp.zeros((), jnp.int32)}, Evaluations(1, 1))


def _full_step(objective: Objective, at: Iterate) -> Iterate:
    factor, _ = modified_cholesky(_gauss_matrix(objective, at.x))
    found = armijo(objective, at, -jax.scipy.linalg.cho_solve((factor, True), at.gradient))
    counts = at.evaluations.plus(functions=found.trials, gradients=1, hessians=1)
    return Iterate(found.x, found.value, found.gradient, (), {"trials": found.trials}, counts, found.failed)


SQUARES: dict[str, Callable[[], Solver]] = {
    "levenberg-marquardt": levenberg_marquardt,
    "gauss-newton": gauss_newton,
    **METHODS,
}


def least_squares(
    fun: Callable[..., Any],
    x0: Any,
    /,
    *args: Any,
    method: str | Solver = "levenberg-marquardt",
    bounds: tuple[Any, Any] | None = None,
    tol: Any = None,
    max_steps: int = 10_000,
    history: str = "none",
) -> Solution:
    """A local minimum of ``|fun(x, *args)|^2 / 2``.

    Args:
      fun: to residuals, an array or PyTree of arrays.
      x0, args, bounds, tol, max_steps, history: as for ``minimize``.
      method: ``"levenberg-marquardt"``, ``"gauss-newton"``, any of ``minimize``, or a ``Solver``. In ``evaluations``,
        their matrix J'J counts as a Hessian.

    Returns:
      A ``Solution``; its value is half the sum of squares.

    Raises:
      TypeError, ValueError: as ``minimize``.
    """
    keywords: dict[str, Any] = {"bounds": bounds, "tol": tol, "max_steps": max_steps, "history": history}
    return solve("least_squares", fun, x0, args, methods=SQUARES, method=method, kind="squares", **keywords)


def root(
    fun: Callable[..., Any],
    x0: Any,
    /,
    *args: Any,
    method: str | Solver = "levenberg-marquardt",
    tol: Any = None,
    max_steps: int = 10_000,
    history: str = "none",
) -> Solution:
    """A point where a system vanishes: ``fun(x, *args) = 0``.

    ``"gauss-newton"`` is Newton's method for the system, with backtracking on ``|fun|^2 / 2``. Success means that the
    residuals' Euclidean norm is at most ``tol`` at the returned point. Where the sum of squares has a minimum that
    is no root, the status says stalled.

    Args:
      fun: to as many residuals as ``x0`` has entries, an array or PyTree of arrays.
      x0, args, max_steps, history: as for ``minimize``.
      method: as for ``least_squares``.
      tol: of the residuals' norm, in their unit; by default the square root of the dtype's eps.

    Returns:
      A ``Solution``: its ``kkt_residual`` is the residuals' norm, its value half that squared.

    Raises:
      TypeError: unless there are as many residuals as variables. TypeError, ValueError: as ``minimize``.
    """
    keywords: dict[str, Any] = {"method": method, "tol": tol, "max_steps": max_steps, "history": history}
    checks.function("root", fun)
    checks.arrays("root", "x0", x0)
    sizes = [_size(jax.eval_shape(lambda x: fun(x, *args), x0)), _size(x0)]
    if sizes[0] != sizes[1]:
        raise TypeError(
            f"root: fun must return as many residuals as x0 has entries, {sizes[1]}, got {sizes[0]}. "
            "For a best fit use least_squares(fun, x0)."
        )
    return solve("root", fun, x0, args, methods=SQUARES, kind="root", **keywords)


def _size(tree: Any) -> int:
    return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(tree))


def fixed_point(
    fun: Callable[..., Any],
    x0: Any,
    /,
    *args: Any,
    method: str | Solver = "levenberg-marquardt",
    tol: Any = None,
    max_steps: int = 10_000,
    history: str = "none",
) -> Solution:
    """A point that a map leaves where it is: ``fun(x, *args) = x``.

    Args:
      fun: to the structure and shapes of ``x0``.
      x0, args, method, tol, max_steps, history: as for ``root``.

    Returns:
      A ``Solution``: its ``kkt_residual`` is the norm of ``fun(x) - x``, its value half that squared.

    Raises:
      TypeError: if ``fun`` returns something that is not shaped like ``x0``. TypeError, ValueError: as ``minimize``.
    """
    keywords: dict[str, Any] = {"method": method, "tol": tol, "max_steps": max_steps, "history": history}
    checks.function("fixed_point", fun)
    checks.arrays("fixed_point", "x0", x0)
    checks.returns_like("fixed_point", jax.eval_shape(lambda x: fun(x, *args), x0), "x0", x0)
    return solve("fixed_point", fun, x0, args, methods=SQUARES, kind="root", wrap=_displacement, **keywords)


def _displacement(fun: Callable[..., Any]) -> Callable[..., Any]:
    """How far a map moves its argument."""
    return lambda x, *args: jax.tree.map(lambda there, here: there - here, fun(x, *args), x)
