"""The one loop that drives every solver to its end: it stops by status, keeps the history, and owns the lanes.

A ``vmap`` of a plain ``while_loop`` carries one counter a lane, so that each write into the history becomes a copy of
all of it. Here a custom batching rule puts one unbatched counter over all lanes: a row of the history is written in
place, and lanes that have ended are masked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from jaxcalc.solvers.bounds import project, residual, stationarity
from jaxcalc.solvers.control import cond, while_loop
from jaxcalc.solvers.history import Rows, nothing
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver, Status, strong
from jaxcalc.solvers.second_order import SecondOrder, second_order

__all__ = ["End", "Operands", "Setup", "drive"]

RUNNING = -1
FAR = 1e20
"""A value below minus this, relative to the first, counts as unbounded below; as far above, as diverged."""
MAX_DOUBLINGS = 200


class Operands(NamedTuple):
    """All that may be traced.

    Args:
      solver: with its numbers.
      lower, upper: bounds, (n,) or None.
      consts: what the function reads beside x, a list of arrays.
      tol: the stationarity asked for, relative to ``max(1, min(|value|, |first value|, first residual))``.
      key: for mini-batches, or None.
    """

    solver: Solver
    lower: Array | None
    upper: Array | None
    consts: Any
    tol: Array
    key: Array | None


@dataclass(frozen=True, eq=False)
class Setup:
    """All that is static.

    Args:
      objective: ``Operands -> Objective``, of the whole function.
      batch: ``(Operands, step) -> Objective`` of that step's mini-batch; None without.
      rows: how many steps there may be, and which of them the history keeps.
      root: the value is half a sum of squares that is to vanish; then its root, not the gradient, tells the end.
    """

    objective: Callable[[Operands], Objective]
    batch: Callable[[Operands, Array], Objective] | None
    rows: Rows
    root: bool = False


class End(NamedTuple):
    """How a run ended: everything is that of the returned point, evaluated there once more."""

    x: Array
    value: Array
    gradient: Array
    residual: Array
    status: Array
    second_order: SecondOrder | None
    num_steps: Array
    evaluations: Evaluations
    history: dict[str, Array]


class _First(NamedTuple):
    """What the start was: its value, and how far from stationary."""

    value: Array
    size: Array


class _Running(NamedTuple):
    """The loop's state; everything but the counter has one entry a lane."""

    counter: Array
    at: Iterate
    status: Array
    num_steps: Array


def drive(setup: Setup, operands: Operands, x0: Array) -> End:
    """Run a solver until every lane has a status.

    Args:
      x0: (n,).
    """

    @custom_vmap
    def alone(operands: Operands, x0: Array) -> End:
        return _loop(setup, operands, x0, lambda fun, *_: fun, None)

    @alone.def_vmap
    def _(size: int, batched: tuple[Operands, bool], operands: Operands, x0: Array) -> tuple[End, End]:
        end = _in_lanes(setup, size, tuple(batched))(operands, x0)
        return end, jax.tree.map(lambda _: True, end)

    return alone(operands, x0)


def _in_lanes(setup: Setup, size: int, batched: Any) -> Callable[[Operands, Array], End]:
    """The loop over the leading axis of what is batched; a further vmap makes both axes one."""
    axes = jax.tree.map(lambda leaf: 0 if leaf else None, batched)

    @custom_vmap
    def lanes(operands: Operands, x0: Array) -> End:
        lift = lambda fun, *further: jax.vmap(fun, in_axes=(axes[0], *further), axis_size=size)
        return _loop(setup, operands, x0, lift, size, axes[1])

    @lanes.def_vmap
    def _(outer: int, outer_batched: Any, *given: Any) -> tuple[End, End]:
        def merged(leaf: Array, inside: bool, outside: bool) -> Array:
            shape = leaf.shape[int(inside) + int(outside) :]
            leaf = leaf if outside else leaf[None]
            leaf = leaf if inside else leaf[:, None]
            return jnp.broadcast_to(leaf, (outer, size, *shape)).reshape(outer * size, *shape)

        outer_batched = tuple(outer_batched)
        both = jax.tree.map(lambda a, b: a or b, batched, outer_batched)
        flat = jax.tree.map(
            lambda leaf, inside, outside: merged(leaf, inside, outside) if inside or outside else leaf,
            given,
            batched,
            outer_batched,
        )
        end = _in_lanes(setup, outer * size, both)(*flat)
        split = jax.tree.map(lambda leaf: leaf.reshape(outer, size, *leaf.shape[1:]), end)
        return split, jax.tree.map(lambda _: True, split)

    return lanes


def _loop(setup: Setup, operands: Operands, x0: Array, lift: Any, lanes: int | None, x_axis: int | None = 0) -> End:
    """The loop itself; ``lift`` makes a function of one lane one of all."""
    alone = lanes is None
    counted = operands.solver.costs
    rows = setup.rows

    def objective(operands: Operands, step: Any) -> Objective:
        return setup.objective(operands) if setup.batch is None else setup.batch(operands, jnp.asarray(step, jnp.int32))

    def slim(at: Iterate) -> Iterate:
        """Only what is read again is carried."""
        at = at._replace(info={})
        return at if counted is None else at._replace(evaluations=())

    def told(at: Iterate, operands: Operands) -> dict[str, Array]:
        """What the history keeps of a step; within bounds the gradient's norm does not show how far there is to go."""
        if not rows.every or operands.lower is None:
            return dict(at.info)
        return {**at.info, "kkt_residual": stationarity(at.x, at.gradient, operands.lower, operands.upper)}

    def start(operands: Operands, x0: Array) -> tuple[Iterate, Array, _First]:
        at = strong(operands.solver.start(objective(operands, 0), project(x0, operands.lower, operands.upper)))
        at = at._replace(info=told(at, operands))
        # A mini-batch's value cannot be compared with the whole function's.
        value = at.value if setup.batch is None else setup.objective(operands)(at.x)
        first = _First(value, stationarity(at.x, at.gradient, operands.lower, operands.upper))
        return at, _judge(setup, operands, at, first, alone), first

    def advance(operands: Operands, at: Iterate, first: _First, step: Array) -> tuple[Iterate, Array]:
        new = strong(operands.solver.advance(objective(operands, step), at))
        new = new._replace(info=told(new, operands))
        return new, _judge(setup, operands, new, first, alone)

    def running(state: _Running) -> Array:
        return (state.counter < setup.rows.max_steps) & jnp.any(state.status == RUNNING)

    def step(state: _Running) -> tuple[_Running, dict[str, Array]]:
        count = state.counter + 1
        new, status = lift(advance, 0, 0, None)(operands, state.at, first, count)
        row = rows.fields(new, state.at, counted is None)
        if alone:
            return _Running(count, slim(new), status, count), row
        active = state.status == RUNNING
        row = {name: jnp.where(active, entry, nothing(entry)) for name, entry in row.items()}
        num_steps = jnp.where(active, count, state.num_steps)
        return _Running(
            count, _frozen(active, slim(new), state.at), jnp.where(active, status, state.status), num_steps
        ), row

    at, status, first = lift(start, x_axis)(operands, x0)
    begun_with = at.evaluations
    first_row = rows.fields(at, None, counted is None)
    num_steps = jnp.zeros((), jnp.int32) if alone else jnp.zeros(lanes, jnp.int32)
    begun = _Running(jnp.zeros((), jnp.int32), slim(at), status, num_steps)
    state, history = rows.collect(step, running, begun, first_row, lanes)

    def finish(operands: Operands, at: Iterate, first: _First, status: Array, x0: Array) -> tuple[Any, ...]:
        objective = setup.objective(operands)
        x, further = _followed(objective, at, first, status, x0)
        return further, *_checked(setup, objective, operands.tol, x, first, status, operands.solver.curved)

    further, *checked = lift(finish, 0, 0, 0, x_axis)(operands, state.at, first, state.status, x0)
    evaluations = state.at.evaluations
    if counted is not None:
        evaluations = Evaluations(*(begin + each * state.num_steps for begin, each in zip(begun_with, counted)))
    evaluations = evaluations._replace(functions=evaluations.functions + further)
    return End(*checked, num_steps=state.num_steps, evaluations=evaluations, history=history)


def _frozen(active: Array, new: Iterate, old: Iterate) -> Iterate:
    """The lanes that run, moved on; those that ended stay where they are.

    They are stepped all the same, so their gradient is set to zero: no method moves from a stationary point, nor
    searches long there. What they remember does not matter any more.
    """
    wide = active[:, None]
    counts = jax.tree.map(lambda a, b: jnp.where(active, a, b), new.evaluations, old.evaluations)
    return new._replace(
        x=jnp.where(wide, new.x, old.x), gradient=jnp.where(wide, new.gradient, 0.0), evaluations=counts
    )


def _scale(value: Array, first: _First) -> Array:
    """What the residual is measured against: at least 1, and as much as the values and the first residual all are.

    The lesser of both values, so that one who runs off, to a value beside which any gradient is small, has not arrived;
    and the first residual, so that an offset of the function does not make its start an optimum.
    """
    return jnp.maximum(1.0, jnp.minimum(jnp.minimum(jnp.abs(value), jnp.abs(first.value)), first.size))


def _judge(setup: Setup, operands: Operands, at: Iterate, first: _First, alone: bool) -> Array:
    """The status after a step; a mini-batch's gradient says nothing of the whole function's stationarity."""
    if setup.root:
        threshold, size = operands.tol, jnp.sqrt(2 * at.value)
    else:
        threshold = operands.tol * _scale(at.value, first)
        size = _size(residual(at.x, at.gradient, operands.lower, operands.upper), threshold, alone)
    far = _far(first)
    status = jnp.where(at.stuck, Status.STALLED, RUNNING)
    if setup.batch is None:
        status = jnp.where(size <= threshold, Status.CONVERGED, status)
    status = jnp.where(at.value < -far, Status.UNBOUNDED, status)
    status = jnp.where(at.value > far, Status.DIVERGED, status)
    return jnp.where(jnp.isfinite(at.value) & jnp.isfinite(size), status, Status.NONFINITE).astype(jnp.int32)


def _far(first: _First) -> Array:
    """How far a value may go, up or down."""
    return min(FAR, float(jnp.finfo(first.value.dtype).max) / 4) * jnp.maximum(1.0, jnp.abs(first.value))


def _followed(objective: Objective, at: Iterate, first: _First, status: Array, x0: Array) -> tuple[Array, Array]:
    """The point of a run that ended by its steps alone, or because none helped any more; or, where the ray from its
    start through it falls without end, a point on that ray where the value shows it. With it the values that this took.

    Steps that keep to a trust region go down such a slope for ever, and far out rounding hides what a step gains. Sums
    of squares have a floor.
    """
    if objective.residual is not None:
        return at.x, jnp.zeros((), jnp.int32)
    begin = project(x0, objective.lower, objective.upper)
    along = at.x - begin
    bound = -_far(first)

    def point(t: Array) -> Array:
        return project(begin + t * along, objective.lower, objective.upper)

    def falls(state: tuple[Array, Array, Array, Array]) -> Array:
        _, value, before, trials = state
        return (
            ((status == RUNNING) | (status == Status.STALLED))
            & (value < before)
            & (value >= bound)
            & (trials < MAX_DOUBLINGS)
        )

    def double(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        t, value, _, trials = state
        return 2 * t, objective(point(2 * t)), value, trials + 1

    begun = (jnp.ones((), at.x.dtype), at.value, first.value, jnp.zeros((), jnp.int32))
    t, value, _, trials = while_loop(falls, double, begun)
    return jnp.where(jnp.isfinite(value) & (value < bound) & (trials > 0), point(t), at.x), trials


def _size(vector: Array, threshold: Array, alone: bool) -> Array:
    """The largest entry where it may be at most the threshold; elsewhere any bound of it that is above.

    The norm, by one fast product, is at most sqrt(n) times the largest entry, so that the slow maximum is rarely
    due. In lanes, where a choice computes both sides, and for a few variables, the maximum comes cheaper.
    """
    largest = lambda: jnp.max(jnp.abs(vector))
    if not alone or vector.size <= 16:
        return largest()
    squared = jnp.vdot(vector, vector)
    unclear = ~(squared > vector.size * threshold**2) | ~jnp.isfinite(squared)
    return cond(unclear, largest, lambda: jnp.sqrt(squared))


def _checked(
    setup: Setup, objective: Objective, tol: Array, x: Array, first: _First, status: Array, curved: bool
) -> tuple[Any, ...]:
    """The point with its value and gradient evaluated anew, the status that they bear out, and the curvature if the
    solver asks for it on its way."""
    value, gradient = objective.value_and_gradient(x)
    curvature = None
    if setup.root:
        size, stationary = jnp.sqrt(2 * value), jnp.sqrt(2 * value) <= tol
    else:
        size, threshold = stationarity(x, gradient, objective.lower, objective.upper), tol * _scale(value, first)
        stationary = size <= threshold
        curvature = second_order(objective, x, gradient, threshold) if curved else None
    worse = jnp.where(value > first.value, Status.DIVERGED, Status.OUT_OF_STEPS)
    status = jnp.where(status == RUNNING, worse, status)
    undecided = (status == Status.OUT_OF_STEPS) | (status == Status.STALLED)
    status = jnp.where(undecided & (value < -_far(first)), Status.UNBOUNDED, status)
    # What ran off from a finite start, upwards, diverged; what met a hole in its domain did not.
    finite = jnp.isfinite(value) & jnp.isfinite(size)
    ran_off = jnp.isfinite(first.value) & ((value == jnp.inf) | ((value > first.value) & ~jnp.isnan(size)))
    status = jnp.where(
        finite & (status != Status.NONFINITE), status, jnp.where(ran_off, Status.DIVERGED, Status.NONFINITE)
    )
    status = jnp.where((status == Status.CONVERGED) & ~stationary, Status.STALLED, status)
    ended = (status == Status.STALLED) | (status == Status.OUT_OF_STEPS)
    status = jnp.where(ended & stationary, Status.CONVERGED, status)
    return x, value, gradient, size, status.astype(jnp.int32), curvature
