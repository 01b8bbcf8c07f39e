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

from jaxcalc.solvers.boxes import project, stationarity
from jaxcalc.solvers.history import Rows
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver, Status, strong

__all__ = ["End", "Operands", "Setup", "drive"]

RUNNING = -1
FAR = 1e20
"""A value below minus this, relative to the first, counts as unbounded below; as far above, as diverged."""


class Operands(NamedTuple):
    """All that may be traced.

    Args:
      solver: with its numbers.
      lower, upper: bounds, (n,) or None.
      consts: what the function reads beside x, a list of arrays.
      tol: the stationarity asked for, relative to ``max(1, min(|value|, |first value|))``.
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
      max_steps: where the loop ends at the latest.
      rows: which steps the history keeps.
    """

    objective: Callable[[Operands], Objective]
    batch: Callable[[Operands, Array], Objective] | None
    max_steps: int
    rows: Rows


class End(NamedTuple):
    """How a run ended: everything is that of the returned point, evaluated there once more."""

    x: Array
    value: Array
    gradient: Array
    residual: Array
    status: Array
    num_steps: Array
    evaluations: Evaluations
    history: dict[str, Array]


class _Running(NamedTuple):
    """The loop's state; everything but the counter and the history has one entry a lane."""

    counter: Array
    at: Iterate
    status: Array
    num_steps: Array
    history: dict[str, Array]


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

    def start(operands: Operands, x0: Array) -> tuple[Iterate, Array]:
        objective = (
            setup.objective(operands) if setup.batch is None else setup.batch(operands, jnp.zeros((), jnp.int32))
        )
        at = strong(operands.solver.start(objective, project(x0, operands.lower, operands.upper)))
        return at, _judge(setup, operands, at, at.value)

    def advance(operands: Operands, at: Iterate, first: Array, count: Array) -> tuple[Iterate, Array]:
        objective = setup.objective(operands) if setup.batch is None else setup.batch(operands, count + 1)
        new = strong(operands.solver.advance(objective, at))
        status = _judge(setup, operands, new, first)
        # The last point with a finite value is returned: of a point at infinity nobody can use anything.
        return new._replace(x=jnp.where(_finite(new), new.x, at.x)), status

    at, status = lift(start, x_axis)(operands, x0)
    first = at.value
    keep = setup.rows.fields
    history = setup.rows.allocate(keep(at), lanes)
    history = setup.rows.write(history, jnp.zeros((), jnp.int32), keep(at))
    slim = (lambda at: at) if setup.rows.every else (lambda at: at._replace(info={}))
    counter = jnp.zeros((), jnp.int32)

    def running(state: _Running) -> Array:
        return (state.counter < setup.max_steps) & jnp.any(state.status == RUNNING)

    def body(state: _Running) -> _Running:
        new, status = lift(advance, 0, 0, None)(operands, state.at, first, state.counter)
        count = state.counter + 1
        if lanes is None:
            return _Running(
                count, slim(new), status, count, setup.rows.write(state.history, count, keep(new, state.at))
            )
        active = state.status == RUNNING
        rows = {name: _where(active, row) for name, row in keep(new, state.at).items()}
        new = jax.tree.map(lambda a, b: jnp.where(active.reshape(-1, *[1] * (a.ndim - 1)), a, b), slim(new), state.at)
        return _Running(
            count,
            new,
            jnp.where(active, status, state.status),
            jnp.where(active, count, state.num_steps),
            setup.rows.write(state.history, count, rows),
        )

    num_steps = counter if lanes is None else jnp.zeros(lanes, jnp.int32)
    state = jax.lax.while_loop(running, body, _Running(counter, slim(at), status, num_steps, history))

    def finish(operands: Operands, at: Iterate, first: Array, status: Array) -> tuple[Any, ...]:
        return _checked(setup.objective(operands), operands.tol, at, first, status)

    checked = lift(finish, 0, 0, 0)(operands, state.at, first, state.status)
    return End(
        *checked, num_steps=state.num_steps, evaluations=state.at.evaluations, history=setup.rows.finish(state.history)
    )


def _finite(at: Iterate) -> Array:
    # A sum is finite only if every term is; should it overflow, the norm would have as well.
    return jnp.isfinite(at.value) & jnp.isfinite(jnp.max(jnp.abs(at.gradient)))


def _scale(value: Array, first: Array) -> Array:
    """What the residual is measured against.

    The lesser of both values, so that one who runs off, to a value beside which any gradient is small, has not arrived.
    """
    return jnp.maximum(1.0, jnp.minimum(jnp.abs(value), jnp.abs(first)))


def _judge(setup: Setup, operands: Operands, at: Iterate, first: Array) -> Array:
    """The status after a step; a mini-batch's gradient says nothing of the whole function's stationarity."""
    residual = stationarity(at.x, at.gradient, operands.lower, operands.upper)
    far = FAR * jnp.maximum(1.0, jnp.abs(first))
    status = jnp.where(at.stuck, Status.STALLED, RUNNING)
    if setup.batch is None:
        status = jnp.where(residual <= operands.tol * _scale(at.value, first), Status.CONVERGED, status)
    status = jnp.where(at.value < -far, Status.UNBOUNDED, status)
    status = jnp.where(at.value > far, Status.DIVERGED, status)
    return jnp.where(_finite(at), status, Status.NONFINITE).astype(jnp.int32)


def _checked(objective: Objective, tol: Array, at: Iterate, first: Array, status: Array) -> tuple[Any, ...]:
    """The point with its value and gradient evaluated anew, and the status that they bear out."""
    value, gradient = objective.value_and_gradient(at.x)
    residual = stationarity(at.x, gradient, objective.lower, objective.upper)
    stationary = residual <= tol * _scale(value, first)
    worse = jnp.where(value > first, Status.DIVERGED, Status.OUT_OF_STEPS)
    status = jnp.where(status == RUNNING, worse, status)
    # What ran off from a finite start, upwards, diverged; what met a hole in its domain did not.
    ran_off = (status == Status.NONFINITE) & jnp.isfinite(first) & (value > first)
    status = jnp.where(ran_off, Status.DIVERGED, status)
    status = jnp.where((status == Status.CONVERGED) & ~stationary, Status.STALLED, status)
    ended = (status == Status.STALLED) | (status == Status.OUT_OF_STEPS)
    status = jnp.where(ended & stationary, Status.CONVERGED, status)
    finite = jnp.isfinite(value) & jnp.isfinite(residual)
    status = jnp.where(finite, status, Status.NONFINITE)
    return at.x, value, gradient, residual, status.astype(jnp.int32)


def _where(active: Array, row: Array) -> Array:
    """What an ended lane writes: nothing, NaN, or -1 among integers."""
    return jnp.where(active, row, jnp.nan if jnp.issubdtype(row.dtype, jnp.floating) else -1)
