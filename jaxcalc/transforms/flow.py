"""The flow map of a vector field, by diffrax, with a choice of how to differentiate it."""

import dataclasses
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
from jaxcalc.transforms.flow_solvers import Method, SolverName, build, method
from jaxcalc.transforms.program_cache import program

if TYPE_CHECKING:
    import diffrax

__all__ = ["AdjointName", "Flow", "flow"]

AdjointName = Literal["checkpointed", "backsolve", "direct", "forward"]

_REACHED, _STEPS, _NON_FINITE, _STOPPED, _NO_TIMES, _UNSOLVED = range(6)
_WORDS = (
    "reached: the states at all times were computed",
    "out of steps: max_steps did not reach the end; where the field is stiff, explicit steps stay short however smooth "
    "the state is, and where it is singular there is no end: use an implicit method, such as solver='kvaerno5', raise "
    "max_steps or the tolerances, or end earlier",
    "not finite: the states overflowed or the field gave NaN; take more steps, end earlier, or check the field and the "
    "start",
    "stopped: the solver failed otherwise, as where steps became too short for the precision of times",
    "no flow: a time is not finite, times are out of order, or a tolerance is negative or NaN",
    "not solved: a step's implicit equations had no solution that iteration found: take more steps, or let them adapt",
)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["states", "status", "num_steps", "num_accepted", "evaluations"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Flow:
    """The states of a flow and whether they were reached.

    Args:
      states: with a leading axis over times; NaN where they were not reached.
      status: 0 reached, 1 out of steps, 2 not finite, 3 stopped, 4 no flow, 5 implicit equations not solved.
      num_steps: how many steps were tried, rejected ones too.
      num_accepted: how many of them were accepted.
      evaluations: how often the field was evaluated on the way forward; -1 of an implicit method, which does not tell.
    """

    states: Any
    status: jax.Array
    num_steps: jax.Array
    num_accepted: jax.Array
    evaluations: jax.Array

    @property
    def reached(self) -> jax.Array:
        """Whether the states at all times were computed."""
        return self.status == _REACHED

    def explain(self) -> str:
        """The status in words, with the remedy, one line per different status."""
        return "\n".join(_WORDS[code] for code in np.unique(np.asarray(self.status)))


@functools.cache
def _strict_backsolve() -> type:
    """The continuous adjoint, raising where its backward solve fails even if the forward one must not."""
    import diffrax

    class Backsolve(diffrax.BacksolveAdjoint):
        def loop(self, *, throw, **rest):
            return super().loop(throw=True, **rest)  # pyright: ignore[reportCallIssue]

    return Backsolve


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
        case "forward":
            return diffrax.ForwardMode()
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
      solver: explicit ``"euler"``, ``"heun"``, ``"midpoint"``, ``"bosh3"``, ``"rk4"``, ``"tsit5"``, ``"dopri5"`` or
        ``"dopri8"``; implicit, for stiff fields, whose steps stay short otherwise however smooth the state is:
        ``"implicit_euler"``, ``"kvaerno3"``, ``"kvaerno4"`` or ``"kvaerno5"``.
      adjoint: how reverse mode goes back. ``"checkpointed"`` differentiates the steps taken, recomputing between
        checkpoints; ``"direct"`` does so through nested loops of bounded length, and allows forward mode too;
        ``"backsolve"`` solves the adjoint equation backwards in time and rebuilds the states on the way, which gives
        the exact flow's gradient, and a wrong one where the flow cannot be run backwards; ``"forward"`` is for forward
        mode alone, which needs no memory.
      num_steps: this many equal steps between any two successive times; by default the steps adapt to tolerances.
      rtol, atol: tolerances of adaptive steps, 0 or more and not both 0; of implicit methods also those that a step's
        equations are solved to.
      max_steps: the most steps that an adaptive solve may take; None for no end.
      checkpoints: how many states ``"checkpointed"`` keeps; by default about the logarithm of the steps.
      report: whether to return a ``Flow`` (states, status, steps, evaluations) in place of the states alone.

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
    chosen, mode = method(solver), _adjoint(adjoint, checkpoints)
    if num_steps is None and not chosen.estimates:
        raise ValueError(f"flow: solver={solver!r} has no error estimate to adapt by; give num_steps.")
    if num_steps is not None:
        checks.integer("flow", "num_steps", num_steps)
    if max_steps is not None:
        checks.integer("flow", "max_steps", max_steps)
    tolerances = checks.tolerance("flow", "rtol", rtol), checks.tolerance("flow", "atol", atol)
    if not any(isinstance(each, Tracer) for each in tolerances) and not any(tolerances):
        raise ValueError("flow: rtol and atol must not both be 0, which no step can meet.")
    solve = functools.partial(_solve, field, (solver, adjoint, checkpoints), mode)
    needed = tolerances if num_steps is None or chosen.implicit else None

    def flow_map(y0, times, args=None):
        y0 = jax.tree.map(_floating, checks.not_empty("flow", "y0", y0))
        times = checks.real_array("flow", "times", times, "Time is real.")
        if times.ndim != 1 or times.shape[0] < 2:
            raise ValueError(f"flow: times must hold at least a start and an end, got shape {times.shape}.")
        sound = _sound(times, num_steps is not None)
        times = jnp.where(sound, times, jnp.arange(times.size, dtype=times.dtype))
        if num_steps is None:
            sound &= (jnp.asarray(rtol) >= 0) & (jnp.asarray(atol) >= 0)
            result = solve(y0, times, args, None, max_steps, needed)
        elif times.shape[0] == 2:
            result = solve(y0, times, args, (times[1] - times[0]) / num_steps, num_steps, needed)
        else:

            def interval(y, ends):
                step = (ends[1] - ends[0]) / num_steps
                result = solve(y, ends, args, step, num_steps, needed)
                y = jax.tree.map(lambda path: path[-1], result.states)
                return y, dataclasses.replace(result, states=y)

            rest = jax.lax.scan(interval, y0, jnp.stack([times[:-1], times[1:]], axis=1))[1]
            states = jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), y0, rest.states)
            steps, accepted = rest.num_steps.sum(), rest.num_accepted.sum()
            result = Flow(states, _first_failure(rest.status), steps, accepted, _total(rest.evaluations))
        # A factor, and no choice: it makes the gradient NaN as well, where a constant's would be 0.
        states = jax.tree.map(
            lambda path: path.at[1:].multiply(jnp.where(sound, 1, jnp.nan).astype(path.dtype)), result.states
        )
        status = jnp.where(sound, result.status, _NO_TIMES)
        return dataclasses.replace(result, states=states, status=status) if report else states

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


def _total(evaluations: jax.Array) -> jax.Array:
    """The evaluations of several solves, -1 where one does not tell."""
    return jnp.where((evaluations < 0).any(), -1, evaluations.sum())


def _floating(value) -> jax.Array:
    """The value as an array, integers as floats of the default precision."""
    return jnp.asarray(value, jnp.result_type(value, float))


def _solve(field, names, mode, *operands) -> Flow:
    """States at all times by a program that is dropped with the field: the one that diffrax compiles keeps it."""
    import diffrax

    leaves, structure = jax.tree.flatten(operands)
    arrays = [leaf if isinstance(leaf, (jax.Array, np.ndarray, np.generic)) else None for leaf in leaves]
    others = tuple(None if array is not None else leaf for leaf, array in zip(leaves, arrays))
    choices = names, structure, others, tuple(map(type, others))
    if not jax.tree_util.all_leaves([field]):  # its arrays are operands
        return _states(diffrax.diffeqsolve, field, names[0], mode, *operands)

    def make(give):
        def states(arrays):
            leaves = [other if array is None else array for array, other in zip(arrays, others)]
            uncompiled = inspect.unwrap(diffrax.diffeqsolve)
            return _states(uncompiled, give(), names[0], mode, *jax.tree.unflatten(structure, leaves))

        return jax.jit(states)

    return program(field, choices, make)(arrays)


def _states(diffeqsolve, field, solver, mode, y0, times, args, step, max_steps, tolerances) -> Flow:
    """States at all times by one call of diffrax, NaN from where it failed."""
    import diffrax

    only_end = times.shape[0] == 2
    controller = diffrax.ConstantStepSize() if step is not None else diffrax.PIDController(*tolerances)
    solution = diffeqsolve(
        diffrax.ODETerm(field),
        build(solver, tolerances, max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(y0))),
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
    of_steps, accepted = (jnp.asarray(solution.stats[name]) for name in ("num_steps", "num_accepted_steps"))
    return Flow(
        states,
        _status(solution.result, finite).astype(jnp.int32),
        of_steps,
        accepted,
        _evaluations(method(solver), of_steps),
    )


def _status(result: Any, finite: jax.Array) -> jax.Array:
    """Our word for diffrax's."""
    from diffrax import RESULTS

    unsolved = [RESULTS.nonlinear_divergence, RESULTS.nonlinear_max_steps_reached, RESULTS.singular, RESULTS.nonfinite]
    is_unsolved = functools.reduce(jnp.logical_or, (result == each for each in unsolved))
    failed = jnp.where(is_unsolved, _UNSOLVED, _STOPPED)
    failed = jnp.where(result == RESULTS.max_steps_reached, _STEPS, failed)
    return jnp.where(result == RESULTS.successful, jnp.where(finite, _REACHED, _NON_FINITE), failed)


def _evaluations(chosen: Method, num_steps: jax.Array) -> jax.Array:
    """How often the field was evaluated: once more to begin with a method that reuses a step's last."""
    if chosen.implicit:
        return jnp.full_like(num_steps, -1)
    return num_steps * (chosen.evaluations - chosen.reuses) + chosen.reuses
