"""The flow map of a vector field, by diffrax, with a choice of how to differentiate it."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp

from jaxcalc import checks

if TYPE_CHECKING:
    import diffrax

__all__ = ["SOLVER_ORDERS", "AdjointName", "SolverName", "flow"]

SolverName = Literal["euler", "heun", "bosh3", "rk4", "tsit5", "dopri5", "dopri8"]
AdjointName = Literal["checkpointed", "backsolve", "direct"]

SOLVER_ORDERS: dict[str, int] = {
    "euler": 1,
    "heun": 2,
    "bosh3": 3,
    "rk4": 4,
    "tsit5": 5,
    "dopri5": 5,
    "dopri8": 8,
}
assert tuple(SOLVER_ORDERS) == get_args(SolverName)


@functools.cache
def _classical_runge_kutta() -> type:
    """The classical fourth-order method, which diffrax leaves out for want of an error estimate."""
    import diffrax
    import numpy as np

    classical = diffrax.ButcherTableau(
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
        b_sol=np.array([1, 2, 2, 1]) / 6,
        b_error=np.zeros(4),  # none: for fixed steps only
        c=np.array([0.5, 0.5, 1.0]),
    )

    class RK4(diffrax.AbstractERK):
        tableau = classical
        interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

        def order(self, terms):
            return 4

    return RK4


@functools.cache
def _strict_backsolve() -> type:
    """The continuous adjoint, raising where its backward solve fails even if the forward one must not."""
    import diffrax

    class Backsolve(diffrax.BacksolveAdjoint):
        def loop(self, *, throw, **rest):
            return super().loop(throw=True, **rest)  # pyright: ignore[reportCallIssue]

    return Backsolve


def _solver(name: str) -> "diffrax.AbstractSolver":
    """The diffrax solver of that name."""
    import diffrax

    match name:
        case "euler":
            return diffrax.Euler()
        case "heun":
            return diffrax.Heun()
        case "bosh3":
            return diffrax.Bosh3()
        case "rk4":
            return _classical_runge_kutta()()
        case "tsit5":
            return diffrax.Tsit5()
        case "dopri5":
            return diffrax.Dopri5()
        case "dopri8":
            return diffrax.Dopri8()
    raise checks.unknown("flow", "solver", name, SOLVER_ORDERS)


def _adjoint(name: str, checkpoints: int | None) -> "diffrax.AbstractAdjoint":
    """The diffrax adjoint of that name."""
    import diffrax

    if checkpoints is not None and name != "checkpointed":
        raise ValueError(f"flow: checkpoints is for adjoint='checkpointed', got adjoint={name!r}.")
    match name:
        case "checkpointed":
            return diffrax.RecursiveCheckpointAdjoint(checkpoints=checkpoints)
        case "backsolve":
            return _strict_backsolve()()
        case "direct":
            return diffrax.DirectAdjoint()
    raise checks.unknown("flow", "adjoint", name, get_args(AdjointName))


def flow(
    field: Callable[[jax.Array, Any, Any], Any],
    /,
    *,
    solver: SolverName | str = "tsit5",
    adjoint: AdjointName | str = "checkpointed",
    num_steps: int | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    max_steps: int = 4096,
    checkpoints: int | None = None,
) -> Callable[..., Any]:
    """The flow map of a vector field: the solution of ``y' = field(t, y, args)`` through a given state.

    Args:
      field: from time, state (any PyTree of numbers; integers become floats) and ``args`` (any PyTree) to the state's
        rate of change. Differentiate in ``args``, not in what ``field`` closes over: ``"backsolve"`` refuses that.
      solver: ``"euler"``, ``"heun"``, ``"bosh3"``, ``"rk4"``, ``"tsit5"``, ``"dopri5"`` or ``"dopri8"``.
      adjoint: how reverse mode goes back. ``"checkpointed"`` differentiates the steps taken, recomputing between
        checkpoints; ``"direct"`` does so through nested loops of bounded length, and allows forward mode too;
        ``"backsolve"`` solves the adjoint equation backwards in time and rebuilds the states on the way, which gives
        the exact flow's gradient, and a wrong one where the flow cannot be run backwards.
      num_steps: this many equal steps between any two successive times; by default the steps adapt to tolerances.
      rtol, atol: tolerances of adaptive steps.
      max_steps: the most steps that an adaptive solve may take.
      checkpoints: how many states ``"checkpointed"`` keeps; by default about the logarithm of the steps.

    Returns:
      ``flow_map(y0, times, args=None) -> states`` with a leading axis over ``times`` (shape ``(k,)``, increasing or
      decreasing, ``k >= 2``), the state at ``times[0]`` being ``y0``. A solve that fails fills the states it did not
      reach with NaN. A backward solve that fails raises.

    Raises:
      ValueError: for an unknown solver or adjoint, or a method without an error estimate asked to adapt.
    """
    checks.function("flow", field, "field")
    method, mode = _solver(solver), _adjoint(adjoint, checkpoints)
    if num_steps is None and solver in ("euler", "rk4"):
        raise ValueError(f"flow: solver={solver!r} has no error estimate to adapt by; give num_steps.")
    if num_steps is not None:
        checks.integer("flow", "num_steps", num_steps)
    solve = functools.partial(_solve, field, method, mode)

    def flow_map(y0, times, args=None):
        y0, times = jax.tree.map(_floating, y0), _floating(jnp.asarray(times))
        if times.ndim != 1 or times.shape[0] < 2:
            raise ValueError(f"flow: times must hold at least a start and an end, got shape {times.shape}.")
        if num_steps is None:
            return solve(y0, times, args, None, max_steps, (rtol, atol))
        if times.shape[0] == 2:
            return solve(y0, times, args, (times[1] - times[0]) / num_steps, num_steps, None)

        def interval(y, ends):
            step = (ends[1] - ends[0]) / num_steps
            y = jax.tree.map(lambda path: path[-1], solve(y, ends, args, step, num_steps, None))
            return y, y

        rest = jax.lax.scan(interval, y0, jnp.stack([times[:-1], times[1:]], axis=1))[1]
        return jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), y0, rest)

    return flow_map


def _floating(value) -> jax.Array:
    """The value as an array, integers as floats of the default precision."""
    return jnp.asarray(value, jnp.result_type(value, float))


def _solve(field, method, mode, y0, times, args, step, max_steps, tolerances) -> Any:
    """States at all times by one call of diffrax, NaN from where it failed."""
    import diffrax

    only_end = times.shape[0] == 2
    controller = diffrax.ConstantStepSize() if tolerances is None else diffrax.PIDController(*tolerances)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        method,
        t0=times[0],
        t1=times[-1],
        dt0=step,
        y0=y0,
        args=args,
        saveat=diffrax.SaveAt(t1=True) if only_end else diffrax.SaveAt(ts=times[1:]),
        stepsize_controller=controller,
        adjoint=mode,
        max_steps=max_steps,
        throw=False,
    )
    reached = solution.result == diffrax.RESULTS.successful

    def path(first, others):
        # Times past a failure hold inf in diffrax; the end alone would hold wherever the solver stood.
        # A factor, and no choice: it makes the gradient NaN as well, where a constant's would be 0.
        others = others * jnp.where(reached | (jnp.isfinite(others) & (not only_end)), 1.0, jnp.nan).astype(
            others.dtype
        )
        return jnp.concatenate([first[None], others])

    return jax.tree.map(path, y0, solution.ys)
