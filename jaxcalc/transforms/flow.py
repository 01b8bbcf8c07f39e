"""The flow map of a vector field, by diffrax, with a choice of how to differentiate it."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc import checks
from jaxcalc.transforms.program_cache import program

if TYPE_CHECKING:
    import diffrax

__all__ = ["SOLVER_ORDERS", "AdjointName", "Flow", "SolverName", "flow"]

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

_REACHED, _STEPS, _NON_FINITE, _STOPPED, _NO_TIMES = range(5)
_WORDS = (
    "reached: the states at all times were computed",
    "out of steps: max_steps did not reach the end; where the field is stiff, explicit steps stay short however smooth "
    "the state is, and where it is singular there is no end: raise max_steps or the tolerances, end earlier, or use an "
    "implicit method, such as diffrax.Kvaerno5",
    "not finite: the states overflowed or the field gave NaN; take more steps, end earlier, or check the field and the "
    "start",
    "stopped: the solver failed otherwise, as where steps became too short for the precision of times",
    "no flow: a time is not finite, times are out of order, or a tolerance is negative or NaN",
)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["states", "status", "num_steps"], meta_fields=[])
@dataclass(frozen=True)
class Flow:
    """The states of a flow and whether they were reached.

    Args:
      states: with a leading axis over times; NaN where they were not reached.
      status: 0 reached, 1 out of steps, 2 not finite, 3 stopped, 4 no flow.
      num_steps: how many steps were tried, rejected ones too.
    """

    states: Any
    status: jax.Array
    num_steps: jax.Array

    @property
    def reached(self) -> jax.Array:
        """Whether the states at all times were computed."""
        return self.status == _REACHED

    def explain(self) -> str:
        """The status in words, with the remedy, one line per different status."""
        return "\n".join(_WORDS[code] for code in np.unique(np.asarray(self.status)))


@functools.cache
def _classical_runge_kutta() -> type:
    """The classical fourth-order method, which diffrax leaves out for want of an error estimate."""
    import diffrax

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

    if checkpoints is not None:
        checks.integer("flow", "checkpoints", checkpoints)
        if name != "checkpointed":
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
    rtol: jax.typing.ArrayLike = 1e-6,
    atol: jax.typing.ArrayLike = 1e-6,
    max_steps: int | None = 4096,
    checkpoints: int | None = None,
    report: bool = False,
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
      rtol, atol: tolerances of adaptive steps, 0 or more and not both 0.
      max_steps: the most steps that an adaptive solve may take; None for no end.
      checkpoints: how many states ``"checkpointed"`` keeps; by default about the logarithm of the steps.
      report: whether to return a ``Flow`` (states, status, steps) in place of the states alone.

    Returns:
      ``flow_map(y0, times, args=None) -> states`` with a leading axis over ``times`` (shape ``(k,)``, increasing or
      decreasing, ``k >= 2``), the state at ``times[0]`` being ``y0``. A solve that fails, as that of a stiff field
      will, fills the states it did not reach with NaN; with ``report=True`` it says why. A backward solve that fails
      raises.

    Raises:
      ValueError: for an unknown solver or adjoint, a method without an error estimate asked to adapt, a number out of
        range, times that are not finite or not in order.
      TypeError: for numbers of another kind.
    """
    checks.function("flow", field, "field")
    method, mode = _solver(solver), _adjoint(adjoint, checkpoints)
    if num_steps is None and solver in ("euler", "rk4"):
        raise ValueError(f"flow: solver={solver!r} has no error estimate to adapt by; give num_steps.")
    if num_steps is not None:
        checks.integer("flow", "num_steps", num_steps)
    if max_steps is not None:
        checks.integer("flow", "max_steps", max_steps)
    tolerances = checks.tolerance("flow", "rtol", rtol), checks.tolerance("flow", "atol", atol)
    if not any(isinstance(each, Tracer) for each in tolerances) and not any(tolerances):
        raise ValueError("flow: rtol and atol must not both be 0, which no step can meet.")
    solve = functools.partial(_solve, field, (solver, adjoint, checkpoints), method, mode)

    def flow_map(y0, times, args=None):
        y0 = jax.tree.map(_floating, checks.not_empty("flow", "y0", y0))
        times = checks.real_array("flow", "times", times, "Time is real.")
        if times.ndim != 1 or times.shape[0] < 2:
            raise ValueError(f"flow: times must hold at least a start and an end, got shape {times.shape}.")
        sound = _sound(times, num_steps is not None)
        times = jnp.where(sound, times, jnp.arange(times.size, dtype=times.dtype))
        if num_steps is None:
            sound &= (jnp.asarray(rtol) >= 0) & (jnp.asarray(atol) >= 0)
            result = solve(y0, times, args, None, max_steps, tolerances)
        elif times.shape[0] == 2:
            result = solve(y0, times, args, (times[1] - times[0]) / num_steps, num_steps, None)
        else:

            def interval(y, ends):
                step = (ends[1] - ends[0]) / num_steps
                result = solve(y, ends, args, step, num_steps, None)
                y = jax.tree.map(lambda path: path[-1], result.states)
                return y, Flow(y, result.status, result.num_steps)

            rest = jax.lax.scan(interval, y0, jnp.stack([times[:-1], times[1:]], axis=1))[1]
            states = jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), y0, rest.states)
            result = Flow(states, _first_failure(rest.status), rest.num_steps.sum())
        # A factor, and no choice: it makes the gradient NaN as well, where a constant's would be 0.
        states = jax.tree.map(
            lambda path: path.at[1:].multiply(jnp.where(sound, 1, jnp.nan).astype(path.dtype)), result.states
        )
        status = jnp.where(sound, result.status, _NO_TIMES)
        return Flow(states, status, result.num_steps) if report else states

    return flow_map


def _sound(times: jax.Array, any_order: bool) -> jax.Array:
    """Whether times are finite, and in order where they must be: seen at once where they are known."""
    known = not isinstance(times, Tracer)
    values: Any = np.asarray(times) if known else times
    steps = values[1:] - values[:-1]
    finite = (abs(values) < jnp.inf).all()
    ordered = any_order | (steps >= 0).all() | (steps <= 0).all()
    if known and not finite:
        raise ValueError(f"flow: times must be finite, got {values}.")
    if known and not ordered:
        raise ValueError(f"flow: times must increase or decrease, got {values}. Or give num_steps.")
    return jnp.asarray(finite & ordered)


def _first_failure(status: jax.Array) -> jax.Array:
    """The first status that is not success, if there is one."""
    return status[jnp.argmax(status != _REACHED)]


def _floating(value) -> jax.Array:
    """The value as an array, integers as floats of the default precision."""
    return jnp.asarray(value, jnp.result_type(value, float))


def _solve(field, names, method, mode, *operands) -> Flow:
    """States at all times by a program that is dropped with the field: the one that diffrax compiles keeps it."""
    import diffrax

    leaves, structure = jax.tree.flatten(operands)
    arrays = [leaf if isinstance(leaf, (jax.Array, np.ndarray, np.generic)) else None for leaf in leaves]
    others = tuple(None if array is not None else leaf for leaf, array in zip(leaves, arrays))
    choices = names, structure, others, tuple(map(type, others))
    if not jax.tree_util.all_leaves([field]):  # its arrays are operands
        return _states(diffrax.diffeqsolve, field, method, mode, *operands)

    def make(give):
        def states(arrays):
            leaves = [other if array is None else array for array, other in zip(arrays, others)]
            uncompiled = inspect.unwrap(diffrax.diffeqsolve)
            return _states(uncompiled, give(), method, mode, *jax.tree.unflatten(structure, leaves))

        return jax.jit(states)

    return program(field, choices, make)(arrays)


def _states(diffeqsolve, field, method, mode, y0, times, args, step, max_steps, tolerances) -> Flow:
    """States at all times by one call of diffrax, NaN from where it failed."""
    import diffrax

    only_end = times.shape[0] == 2
    controller = diffrax.ConstantStepSize() if tolerances is None else diffrax.PIDController(*tolerances)
    solution = diffeqsolve(
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

    states = jax.tree.map(path, y0, solution.ys)
    finite = jnp.stack([jnp.isfinite(path).all() for path in jax.tree.leaves(states)]).all()
    spent = solution.result == diffrax.RESULTS.max_steps_reached
    status = jnp.where(reached, jnp.where(finite, _REACHED, _NON_FINITE), jnp.where(spent, _STEPS, _STOPPED))
    return Flow(states, status.astype(jnp.int32), jnp.asarray(solution.stats["num_steps"]))
