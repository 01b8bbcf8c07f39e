"""The flow map of a vector field, by diffrax, with a choice of how to differentiate it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc import checks
from jaxcalc.transforms.flow_choice import AUTO_LEGS, own_walk
from jaxcalc.transforms.flow_event import Direction
from jaxcalc.transforms.flow_functions import checked_rates
from jaxcalc.transforms.flow_library import walk_by_library
from jaxcalc.transforms.flow_path import Path
from jaxcalc.transforms.flow_request import (
    ADJOINTS,
    AdjointName,
    Choices,
    checked_start,
    flow_choices,
    needs_tolerances,
)
from jaxcalc.transforms.flow_solvers import SolverName, interpolation
from jaxcalc.transforms.flow_steps import EVENT, NO_TIMES, NON_FINITE, REACHED, Walk
from jaxcalc.transforms.guards import sending
from jaxcalc.transforms.program_cache import program

__all__ = ["Flow", "flow", "walked"]

_WORDS = (
    "reached: the states at all times were computed",
    "out of steps: max_steps did not reach the end; where the field is stiff, explicit steps stay short however smooth "
    "the state is, and where it is singular there is no end: use an implicit method, such as solver='kvaerno5', raise "
    "max_steps or the tolerances, or end earlier",
    "not finite: the states overflowed or the field gave NaN; take more steps, end earlier, or check the field and the "
    "start",
    "stopped: steps became too short for the precision of times, as where the states are infinite before the end; end "
    "earlier, or use double precision",
    "no flow: a time is not finite, times are out of order, or a tolerance is negative or NaN",
    "not solved: a step's implicit equations had no solution that iteration found: take more steps, or let them adapt",
    "stiff: steps of an explicit method are held by its stability and not by the states: use an implicit method, such "
    "as solver='kvaerno5', or solver='auto'",
    "event: the flow ended where its event crossed zero; states at later times are NaN",
)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["states", "status", "num_steps", "num_accepted", "evaluations", "time", "end", "event", "path"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Flow:
    """The states of a flow and whether they were reached.

    Args:
      states: with a leading axis over times; NaN where they were not reached.
      status: 0 reached, 1 out of steps, 2 not finite, 3 stopped, 4 no flow, 5 implicit equations not solved,
        6 too stiff for the method, 7 ended by its event.
      num_steps: how many steps were tried, rejected ones too.
      num_accepted: how many of them were accepted.
      evaluations: how often the field was evaluated on the way forward. Each step of an implicit method takes one more
        for its Jacobian; those of diffrax's adjoints are not told, and -1.
      time, end: of the last state that was reached, and that state: at the event's zero if there was one, where both
        move with what moves the zero; ``states`` has those at the times asked for. Where a solve failed, its end's time
        is a constant.
      event: the index of the event's function that crossed zero; -1 where none did.
      path: between the times, where it was asked for: a function of time.
    """

    states: Any
    status: jax.Array
    num_steps: jax.Array
    num_accepted: jax.Array
    evaluations: jax.Array
    time: jax.Array
    end: Any
    event: jax.Array
    path: Path | None = None

    @property
    def reached(self) -> jax.Array:
        """Whether the states at all times were computed."""
        return self.status == REACHED

    def explain(self) -> str:
        """The status in words, with the remedy, one line per different status."""
        return "\n".join(_WORDS[code] for code in np.unique(np.asarray(self.status)))


def flow(
    field: Callable[[jax.Array, Any, Any], Any],
    /,
    *,
    solver: SolverName | str = "auto",
    adjoint: AdjointName | str = "auto",
    memory_budget: int | None = None,
    num_steps: int | None = None,
    rtol: jax.typing.ArrayLike = 1e-6,
    atol: jax.typing.ArrayLike = 1e-6,
    max_steps: int | None = 4096,
    checkpoints: int | None = None,
    event: Callable[[jax.Array, Any, Any], Any] | None = None,
    direction: Direction = "both",
    dense: bool = False,
    report: bool = False,
) -> Callable[..., Any]:
    """The flow map of a vector field: the solution of ``y' = field(t, y, args)`` through a given state.

    Args:
      field: from time, state (any PyTree of numbers; integers become floats) and ``args`` (any PyTree) to the state's
        rate of change. Differentiate in ``args``, not in what ``field`` closes over: ``"backsolve"`` refuses that.
      solver: explicit ``"euler"``, ``"heun"``, ``"midpoint"``, ``"bosh3"``, ``"rk4"``, ``"tsit5"``, ``"dopri5"`` or
        ``"dopri8"``; implicit, for stiff fields, whose steps stay short otherwise however smooth the state is:
        ``"implicit_euler"``, ``"kvaerno3"``, ``"kvaerno4"`` or ``"kvaerno5"``. ``"auto"`` begins with ``"tsit5"`` and
        goes on with ``"kvaerno5"`` from where stability alone holds steps, if what is left is worth the change.
        Symplectic ``"symplectic_euler"``, ``"leapfrog"`` or ``"yoshida4"`` take equal steps of separable systems: the
        state is a pair, positions and momenta, neither of whose rates depends on itself. Their energies do not drift,
        and ``adjoint="reversible"`` undoes their steps as they are.
      adjoint: how the flow is differentiated. ``"discrete"`` goes back over the accepted steps, of which it records
        ``checkpoints`` states and takes the others again, at most once; it is for forward mode too, and maps. Explicit
        steps that adapt stay stable for all modes of the field then, not for those alone that the state holds.
        ``"auto"`` is the cheapest that gives the gradient of the steps taken. diffrax's own are ``"checkpointed"``,
        which recomputes what few checkpoints leave out, again and again; ``"direct"``, through nested loops of bounded
        length, which may be differentiated twice; and ``"backsolve"``, which solves the adjoint equation backwards in
        time and rebuilds the states on the way: the exact flow's gradient, and a wrong one where the flow cannot be
        run backwards. ``"forward"`` carries the sensitivities to all that moves along with the states. ``"reversible"``
        takes other steps, two copies of the state held together, which are undone on the way back: nothing is recorded
        but their ends; for explicit methods and equal steps. ``"quadrature"`` solves the adjoint equation along the
        states recorded, and integrates over the arguments by Gauss's rule: the exact flow's gradient, to about the
        tolerances, without running the flow backwards; for explicit methods, whose steps end at all times asked for.
      memory_budget: bytes for what ``"auto"`` records.
      num_steps: this many equal steps between any two successive times; by default the steps adapt to tolerances.
      rtol, atol: tolerances of adaptive steps, 0 or more and not both 0; of implicit methods also those that a step's
        equations are solved to.
      max_steps: the most steps that an adaptive solve may take; None for no end.
      checkpoints: how many states ``"discrete"``, ``"quadrature"`` or ``"checkpointed"`` keeps; by default about the
        square root of twice ``max_steps``, and of small states 512.
      event: from time, state and ``args`` to a real number, or a vector of them: the flow ends where the first of them
        crosses zero. It is looked at eight times a step: two crossings in between, or a touch, are missed; tighter
        tolerances make steps shorter. A flow that starts at a zero (to 1e-10 of the values in its first step, as one
        does that goes on from an event) leaves it. An event that jumps has a time, and no derivative.
      direction: whether it must be ``"rising"`` through zero in the direction of the flow, ``"falling"``, or
        ``"both"``.
      dense: whether the report has the ``path`` between the times as well: a function of time, for which room is kept
        of ``max_steps`` steps; differentiable in start and arguments, and in the times not.
      report: whether to return a ``Flow`` (states, status, steps, evaluations, end) in place of the states alone; an
        event and a path are told there.

    Returns:
      ``flow_map(y0, times, args=None) -> states`` with a leading axis over ``times`` (shape ``(k,)``, increasing or
      decreasing, ``k >= 2``), the state at ``times[0]`` being ``y0``; all in the widest precision of start and times.
      States within a step are interpolated; an implicit method's steps end at the times asked for. A solve that fails
      fills the states it did not reach with NaN; with ``report=True`` it says why. A backward solve that fails raises.

    Raises:
      ValueError: for an unknown solver or adjoint, a method without an error estimate asked to adapt, a number out of
        range, times that are not finite or not in order.
      TypeError: for numbers of another kind.
    """
    choices = flow_choices(
        solver=solver,
        adjoint=adjoint,
        memory_budget=memory_budget,
        num_steps=num_steps,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        checkpoints=checkpoints,
        event=event,
        direction=direction,
        dense=dense,
    )
    checks.function("flow", field, "field")
    if not report and (dense or event is not None):
        raise ValueError("flow: an event's time and the path are in the report: give report=True.")

    def flow_map(y0, times, args=None):
        y0, times = checked_start(y0, times)
        sound = _sound(times, num_steps is not None)
        times = jnp.where(sound, times, jnp.arange(times.size, dtype=times.dtype))
        if num_steps is None:
            sound &= (jnp.asarray(rtol) >= 0) & (jnp.asarray(atol) >= 0)
        tolerances = (rtol, atol) if needs_tolerances(choices) else None
        _ = event  # which the choices do not keep alive
        found = walked(field, choices, y0, times, args, tolerances)
        if not report:
            return _marked(found, sound)
        return _reported(found, sound, times, _interpolations(choices, found) if dense else ())

    return sending(flow_map)


def _marked(found: Walk, sound) -> Any:
    """The states, NaN where they were not reached.

    By a factor, and no choice: it makes the gradient NaN as well, where a constant's would be 0. After an event there
    is no state to have a gradient.
    """
    ended = sound & (found.status == EVENT)

    def mark(path):
        rows = jnp.arange(path.shape[0]).reshape(-1, *[1] * (path.ndim - 1))
        good = (rows == 0) | (sound & (rows < found.saved))
        marked = path * jnp.where(good | ended, 1, jnp.nan).astype(path.dtype)
        return jnp.where(good | ~ended, marked, jnp.nan)

    return jax.tree.map(mark, found.states)


def _reported(found: Walk, sound, times: jax.Array, interpolations: tuple[Any, ...]) -> Flow:
    states = _marked(found, sound)
    finite = jnp.stack([jnp.isfinite(path).all() for path in jax.tree.leaves(states)]).all()
    status = jnp.where((found.status == REACHED) & ~finite, NON_FINITE, found.status)
    time, path = jnp.where(found.status == REACHED, times[-1], found.time), None
    if interpolations:
        sign = jnp.where(times[-1] >= times[0], 1, -1).astype(times.dtype)
        limit = jax.lax.stop_gradient(sign * time)
        path = Path(found.grids, found.accepted, found.moved.dense, sign, limit, interpolations)
    return Flow(
        states,
        jnp.where(sound, status, NO_TIMES),
        jnp.stack(found.attempts).sum(0),
        jnp.stack(found.accepted).sum(0),
        jnp.stack(found.evaluations).sum(0),
        jnp.where(sound, time, jnp.nan),
        found.moved.end,
        found.crossed,
        path,
    )


def _interpolations(choices: Choices, found: Walk) -> tuple[Any, ...]:
    """Of the solvers that took the steps."""
    names = AUTO_LEGS if choices.solver == "auto" else (choices.solver,)
    return tuple(interpolation(name) for name in names[: len(found.grids)])


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


def _is_floating(leaf: Any) -> bool:
    return checks.is_array(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def walked(field, choices: Choices, y0, times, args, tolerances) -> Walk:
    """The states at all times by a program that is dropped with the field."""
    operands = y0, times, args, tolerances
    if not jax.tree_util.all_leaves([field]):  # its arrays are operands
        arrays, rest = _split((field, *operands))
        if ADJOINTS[choices.adjoint].own and _is_hashable(rest):
            return _program_of_tree(choices, rest)(arrays)
        return _walk(field, choices, *operands, inline=False)
    arrays, rest = _split(operands)

    def make(give):
        return jax.jit(lambda arrays: _walk(give(), choices, *rest.joined(arrays), inline=True))

    return program(field, (choices, rest), make)(arrays)


class _Rest(NamedTuple):
    """What a program is made for beside arrays: the tree, its other leaves, and their types (1 == 1.0 == True)."""

    structure: Any
    leaves: tuple[Any, ...]
    types: tuple[type, ...]

    def joined(self, arrays) -> Any:
        leaves = [other if array is None else array for array, other in zip(arrays, self.leaves)]
        return jax.tree.unflatten(self.structure, leaves)


def _split(tree) -> tuple[list[Any], _Rest]:
    """A tree's arrays, ``None`` in place of other leaves, and the rest."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [leaf if isinstance(leaf, (jax.Array, np.ndarray, np.generic)) else None for leaf in leaves]
    others = tuple(None if array is not None else leaf for leaf, array in zip(leaves, arrays))
    return arrays, _Rest(structure, others, tuple(map(type, others)))


def _is_hashable(value) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@functools.lru_cache(maxsize=64)  # so many at most live on
def _program_of_tree(choices: Choices, rest: _Rest) -> Any:
    """The program of a field that is a tree, as a module is; it holds none of its arrays."""

    def walk(arrays):
        field, *operands = rest.joined(arrays)
        return _walk(field, choices, *operands, inline=True)

    return jax.jit(walk)


def _walk(field, choices: Choices, y0, times, args, tolerances, *, inline: bool) -> Walk:
    if ADJOINTS[choices.adjoint].own:
        return own_walk(field, choices, y0, times, args, tolerances)
    checked_rates(jax.eval_shape(lambda t, y: field(t, y, args), times[0], y0), y0)
    if choices.adjoint == "backsolve":  # whose adjoint states have the times' precision
        wide = lambda x: jnp.asarray(x, jnp.result_type(x, times)) if _is_floating(x) else x
        args = jax.tree.map(wide, args)
    return walk_by_library(
        field,
        choices.solver,
        choices.adjoint,
        choices.checkpoints,
        y0,
        times,
        args,
        num_steps=choices.num_steps,
        max_steps=choices.max_steps,
        tolerances=tolerances,
        inline=inline,
    )
