"""A flow's steps: taken, recorded so that they can be differentiated, and gone back over.

The steps are diffrax's; the loop over them is ours, because what has to be kept of a step depends on how its derivative
is taken. Accepted steps alone count: the controller's choices are constants of the discrete flow, as in diffrax.
"""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

if TYPE_CHECKING:
    import diffrax

__all__ = [
    "NON_FINITE",
    "NO_TIMES",
    "OUT_OF_STEPS",
    "REACHED",
    "STIFF",
    "STUCK",
    "UNSOLVED",
    "End",
    "Record",
    "Setting",
    "Step",
    "Walk",
    "any_lane",
    "at_start",
    "looping",
    "reuses",
    "states_at_start",
    "taken",
    "walk_on",
    "where",
    "where_rows",
    "written_out",
]

_RUNNING = -1
REACHED, OUT_OF_STEPS, NON_FINITE, STUCK, NO_TIMES, UNSOLVED, STIFF = range(7)


class Setting(NamedTuple):
    """How steps are taken.

    Args:
      solver: takes one.
      controller: adapts them; ``None`` where they are given.
      max_steps: the most that are tried; ``None`` for no end.
      slots: how many states are recorded; 0 for none, and ``None`` for the steps' ends alone.
      worth: where stability holds steps, the loop ends as stiff if more than so many are left, or than it may take;
        infinite for never; ``None`` of a method that cannot tell.
      written_out: whether an explicit method's stages are, which runs faster; a large field compiles faster in a loop.
    """

    solver: "diffrax.AbstractSolver"
    controller: "diffrax.AbstractStepSizeController | None"
    max_steps: int | None
    slots: int | None = 0
    worth: float | None = None
    written_out: bool = True


class Record(NamedTuple):
    """What is kept of the accepted steps.

    Args:
      grid: their ends, after the start, shape ``(max_steps + 1,)``.
      slots: the states at every ``stride``-th of them, on leading axes; ``None`` where none is kept.
      stride: a power of two, 1 until the slots are full.
      length: how many steps there are.
    """

    grid: jax.Array
    slots: Any
    stride: jax.Array
    length: jax.Array


class End(NamedTuple):
    """Where the loop ended.

    Args:
      t, y: the last accepted time and state.
      size: of the step that would come next.
      slope: the field's there, of a method that reuses it.
      states: at the times asked for, on leading axes; zero where they were not reached.
      saved: how many of them were.
      status: one of this module's.
      attempts, accepted: steps tried and accepted.
      record: of the steps; ``None`` where none was asked for.
    """

    t: jax.Array
    y: Any
    size: jax.Array
    slope: Any
    states: Any
    saved: jax.Array
    status: jax.Array
    attempts: jax.Array
    accepted: jax.Array
    record: Record | None


class Walk(NamedTuple):
    """Where the steps went.

    Args:
      states: at all times, on leading axes; zero where they were not reached.
      saved: how many of them were.
      status: one of this module's.
      attempts, accepted: of each leg.
    """

    states: Any
    saved: jax.Array
    status: jax.Array
    attempts: tuple[jax.Array, ...]
    accepted: tuple[jax.Array, ...]


class _Running(NamedTuple):
    """The loop's state; ``slope`` is the field's at ``t``, ``saved`` and ``strained`` count states and steps."""

    t: jax.Array
    end: jax.Array
    y: Any
    slope: Any
    control: Any
    saved: jax.Array
    states: Any
    status: jax.Array
    attempts: jax.Array
    accepted: jax.Array
    strained: jax.Array
    record: Record | None


@custom_vmap
def any_lane(flag):
    """Whether any lane says so: one answer for all, so that a loop under ``vmap`` copies no buffer to mask it."""
    return flag


@any_lane.def_vmap
def _(size, batched, flag):
    answer: Any = any_lane(flag.any(0) if batched[0] else flag)
    return answer, False


def where(flag, new, old):
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), new, old)


def where_rows(flags, new, old):
    return jax.tree.map(lambda a, b: jnp.where(flags.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


def at_start(times: jax.Array) -> jax.Array:
    """Which of the times, that increase, are the first."""
    return times <= times[0]


def states_at_start(slope: Any, y0: Any, times: jax.Array) -> Any:
    """The states at times that are the first, where no step leads: the start, moving with the times by its slope."""
    moved = lambda y, k: y + (times - times[0]).reshape(-1, *[1] * y.ndim).astype(y.dtype) * jnp.expand_dims(k, 0)
    return jax.tree.map(moved, y0, slope)


def _zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


def _norm(tree):
    """The root mean square over everything in a tree."""
    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in leaves) / sum(leaf.size for leaf in leaves))


class Step(NamedTuple):
    """A step: its end, the estimate of its error, what interpolates it, its last slope, and whether it was solved."""

    y: Any
    error: Any
    dense: Any
    slope: Any
    solved: Any = True


def _tableau(solver: Any) -> Any:
    """The tableau of an explicit Runge-Kutta method; ``None`` of another."""
    import diffrax

    if isinstance(solver, diffrax.Euler):  # which diffrax writes without one
        return _EULER
    return solver.tableau if isinstance(solver, diffrax.AbstractERK) else None


_EULER = SimpleNamespace(a_lower=(), c=(), b_sol=(1.0,), b_error=(0.0,), ssal=False)


def reuses(solver: Any) -> bool:
    """Whether a step's last slope is the next one's first."""
    return bool(getattr(getattr(solver, "tableau", None), "fsal", False))


def looping(solver: Any, kind: Any) -> Any:
    """The solver with loops over stages that forward mode ("lax") or reverse mode (``None``) differentiates."""
    return dataclasses.replace(solver, scan_kind=kind) if hasattr(solver, "scan_kind") else solver


def written_out(solver: Any, field: Callable[[Any, Any], Any], t: Any, end: Any, y: Any) -> Step:
    """A step of an explicit method for ``field(t, y)``."""
    term = SimpleNamespace(vf=lambda t, y, _: field(t, y))
    return _explicit(_tableau(solver), term, t, end, y, field(t, y))


def taken(setting: Setting, term: Any, t: Any, end: Any, y: Any, slope: Any) -> Step:
    """A step from ``t`` to ``end``; ``slope`` is the field's at its start, of methods that reuse the last."""
    import diffrax

    solver: Any = setting.solver
    if hasattr(solver, "undone"):  # a reversible pair
        return solver.step(term, t, end, y)
    tableau = _tableau(solver)
    if tableau is not None and (setting.written_out or not hasattr(solver, "tableau")):
        return _explicit(tableau, term, t, end, y, slope if reuses(solver) else term.vf(t, y, None))
    # diffrax's flag for a first step, which would be a choice in every lane of every step, is never set.
    state = (jnp.asarray(False), slope) if reuses(solver) else solver.init(term, t, end, y, None)
    y1, error, dense, state, result = solver.step(term, t, end, y, None, state, False)
    return Step(y1, error, dense, state[1] if reuses(solver) else None, result == diffrax.RESULTS.successful)


def _explicit(tableau: Any, term: Any, t: Any, end: Any, y: Any, slope: Any) -> Step:
    """A step of an explicit Runge-Kutta method, written out: compiled, several times as fast as a loop over stages."""
    h = end - t
    slopes = [slope]

    def combined(weights: Any) -> Any:
        """The step times a combination of slopes."""
        terms = [(float(w), k) for w, k in zip(weights, slopes) if w]
        if not terms:
            return _zeros(y)
        total = lambda *leaves: sum(w * leaf for (w, _), leaf in zip(terms, leaves)) * h.astype(leaves[0].dtype)
        return jax.tree.map(total, *[k for _, k in terms])

    stage = y
    for row, c in zip(tableau.a_lower, tableau.c):
        stage = _add(y, combined(row))
        slopes.append(term.vf(end if c == 1 else t + float(c) * h, stage, None))
    y1 = stage if tableau.ssal else _add(y, combined(tableau.b_sol))
    scaled = jax.tree.map(lambda *k: jnp.stack(k) * h.astype(k[0].dtype), *slopes)
    return Step(y1, combined(tableau.b_error), {"y0": y, "y1": y1, "k": scaled}, slopes[-1])


def _strain(solver: Any, step: Step, y: Any) -> tuple[jax.Array, jax.Array]:
    """Two norms whose ratio is the step times the field's steepest slope, about: of the last two stages.

    Source: E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, section IV.2.
    """
    row = np.asarray(solver.tableau.a_lower[-2])
    k = step.dense["k"]
    stage = jax.tree.map(lambda y, k: y + jnp.tensordot(row.astype(k.dtype), k[: row.size], 1), y, k)
    slope = jax.tree.map(lambda k: k[-1] - k[-2], k)
    return _norm(slope), _norm(jax.tree.map(jnp.subtract, step.y, stage))


# Strains of steps that stability holds (the region of Tsit5 and Dopri5 reaches to about -3.3) are 1.8 to 4, at any
# tolerance; of others 1.3 at most in the median, where the tolerance is 1e-3, and less where it is tighter.
_EDGE = 1.7
# So many more steps at the edge than twice those inside it.
_PATIENCE = 15
# Of the way, a first step where the controller finds none.
_SHORT = 1e-6


def walk_on(
    setting: Setting,
    term: "diffrax.ODETerm",
    y0: Any,
    times: jax.Array,
    grid: jax.Array | None = None,
    start: End | None = None,
) -> End:
    """Steps from the first of the times to the last, which increase.

    Args:
      grid: where steps end, if they are given; every saved time is one of them.
      start: where an earlier solver ended, to go on from; times up to there are not saved. Its status says whether to.
    """
    setting = setting._replace(solver=looping(setting.solver, "lax"))
    solver: Any = setting.solver
    controller: Any = setting.controller
    max_steps, slots, worth = setting.max_steps, setting.slots, setting.worth
    order = solver.error_order(term)
    t0, t1 = times[0], times[-1]
    floor = t1 - 100 * jnp.finfo(times.dtype).eps * jnp.abs(t1)
    only_end = times.shape[0] == 2
    runs = True if grid is not None else t0 < t1
    size = slope = None
    if start is not None:
        t0, y0, size, slope = start.t, start.y, start.size, start.slope
        runs = start.status == STIFF
    if grid is not None:
        end, control = grid[1], None
    else:
        end, control = controller.init(term, t0, t1, y0, size, None, solver.func, order)
        # No number where the field is none a little further on, or where a scale of errors is 0.
        short = t0 + jax.lax.stop_gradient(_SHORT * (t1 - t0))
        end = jnp.where(end > t0, jnp.minimum(end, t1), short)
    if slope is None and (reuses(solver) or grid is None):
        slope = term.vf(t0, y0, None)
    most = int(jnp.iinfo(jnp.int32).max)  # that a count holds
    limit = most if max_steps is None else min(max_steps, most)

    def attempt(now: _Running) -> _Running:
        active = now.status == _RUNNING
        step = taken(setting, term, now.t, now.end, now.y, now.slope)
        y1 = step.y
        if grid is not None:
            keep, t, control = active, now.end, None
            end = grid[jnp.minimum(now.accepted + 2, grid.shape[0] - 1)]
            stuck = broken = jnp.asarray(False)
        else:
            error = jax.tree.map(lambda e: jnp.where(jnp.isnan(e), jnp.inf, e), step.error)
            # An infinite state would be the scale of its own error; NaN is none.
            candidate = jax.tree.map(lambda y: jnp.where(jnp.isfinite(y), y, jnp.nan), y1)
            keep, t, end, _, control, _ = controller.adapt_step_size(
                now.t, now.end, now.y, candidate, None, error, order, now.control
            )
            t = jnp.minimum(t, t1)
            end = jnp.where(end > floor, jnp.where(keep, t1, t + 0.5 * (t1 - t)), end)
            stuck = ~keep & ~(end > t)  # or NaN, as where the first slope is
            broken = stuck & ~jnp.stack([jnp.isfinite(e).all() for e in jax.tree.leaves(error)]).all()
            keep &= active
        accepted = now.accepted + keep
        attempts = now.attempts + active
        unsolved = keep & ~jnp.asarray(step.solved)
        status = jnp.where(attempts >= limit, OUT_OF_STEPS, _RUNNING)
        strained = now.strained
        if worth is not None:
            slope, distance = _strain(solver, step, now.y)
            more = jnp.where(slope > _EDGE * distance, strained + 1, jnp.maximum(strained - 2, 0))
            strained = jnp.where(keep, more, strained)
            left = (t1 - t) / (end - t)
            leaves = (left > worth) | ((left > limit - attempts) & (worth < np.inf)) | (status == OUT_OF_STEPS)
            status = jnp.where((strained >= _PATIENCE) & leaves, STIFF, status)
        status = jnp.where(stuck, jnp.where(broken, NON_FINITE, STUCK), status)
        status = jnp.where(unsolved, UNSOLVED, status)
        there = accepted >= grid.shape[0] - 1 if grid is not None else t >= t1
        status = jnp.where(there & keep & ~unsolved, REACHED, status)
        saved, states = now.saved, now.states
        if not only_end:
            per = None if grid is None else (grid.shape[0] - 1) // (times.shape[0] - 1)
            saved, states = _save(solver, times, now, y1, step.dense, keep, per)
        record = now.record
        if record is not None:
            record = _recorded(record, now, keep)
        return _Running(
            jnp.where(active, t, now.t),
            jnp.where(active, end, now.end),
            where(keep, y1, now.y),
            where(keep, step.slope, now.slope) if reuses(solver) else None,
            where(active, control, now.control),
            saved,
            states,
            jnp.where(active, status, now.status).astype(jnp.int32),
            attempts,
            accepted,
            strained,
            record,
        )

    zero = jnp.zeros((), jnp.int32)
    record = None
    if slots is None or slots:
        steps = grid.shape[0] - 1 if grid is not None else limit
        ends = jnp.full(steps + 1, t1) if grid is None else grid
        kept = None if slots is None else jax.tree.map(lambda y: jnp.zeros((slots, *y.shape), y.dtype), y0)
        record = Record(ends.at[0].set(t0), kept, zero + 1, zero)
    first = zero + 1 if grid is not None else jnp.searchsorted(times, t0, side="right").astype(jnp.int32)
    states = None
    if not only_end:  # those at the start, and room for the others
        begun = jnp.arange(times.shape[0]) < first
        paths = jax.tree.map(lambda y: jnp.broadcast_to(y, (times.shape[0], *y.shape)), y0)
        states = where_rows(begun, paths, _zeros(paths))
    now = _Running(
        t0,
        end,
        y0,
        slope if reuses(solver) else None,
        control,
        first,
        states,
        jnp.where(runs, _RUNNING, REACHED).astype(jnp.int32),
        zero,
        zero,
        zero,
        record,
    )
    last = jax.lax.while_loop(lambda now: any_lane(now.status == _RUNNING), attempt, now)
    states, saved = last.states, last.saved
    if only_end:
        saved = jnp.where(last.status == REACHED, 2, 1)
        states = jax.tree.map(lambda first, end: jnp.stack([first, end]), y0, last.y)
    if grid is None and start is None:
        states = where_rows(at_start(times), states_at_start(slope, y0, times), states)
    record = last.record
    if record is not None:
        record = record._replace(length=last.accepted)
    return End(
        last.t, last.y, last.end - last.t, last.slope, states, saved, last.status, last.attempts, last.accepted, record
    )


def _save(solver, times, now: _Running, y1, dense, keep, per: int | None):
    """The states at the times within a step that was kept; every ``per`` steps where steps are given."""
    count = times.shape[0]
    if per is not None:
        here = keep & ((now.accepted + 1) % per == 0)
        place = jnp.where(here, (now.accepted + 1) // per, count)
        states = jax.tree.map(lambda all, one: all.at[place].set(one, mode="drop"), now.states, y1)
        return now.saved + here, states
    path = solver.interpolation_cls(t0=now.t, t1=now.end, **dense)

    def due(carry):
        return keep & (carry[0] < count) & (times[jnp.minimum(carry[0], count - 1)] <= now.end)

    def save(carry):
        saved, states = carry
        here = due(carry)
        t = times[jnp.minimum(saved, count - 1)]
        within = path.evaluate(t)
        # At a step's end its own state, but one that moves with the time asked for, which may be another than the end.
        moving = jax.tree.map(lambda y1, at, end: y1 + (at - end), y1, within, path.evaluate(now.end))
        y = where(t >= now.end, moving, within)
        place = jnp.where(here, saved, count)
        states = jax.tree.map(lambda all, one: all.at[place].set(one.astype(all.dtype), mode="drop"), states, y)
        return saved + here, states

    return jax.lax.while_loop(lambda carry: any_lane(due(carry)), save, (now.saved, now.states))


def _recorded(record: Record, now: _Running, keep) -> Record:
    """The record with a step that is taken from ``now``."""
    grid = record.grid.at[jnp.where(keep, now.accepted + 1, record.grid.shape[0])].set(now.end, mode="drop")
    if record.slots is None:
        return record._replace(grid=grid)
    slots = jax.tree.leaves(record.slots)[0].shape[0]

    def is_full(carry):
        return keep & (now.accepted // carry[0] >= slots)

    def halve(carry):  # every other state goes, and the rest moves up
        stride, kept = carry
        full = is_full(carry)
        order = jnp.where(full, jnp.minimum(2 * jnp.arange(slots), slots - 1), jnp.arange(slots))
        return jnp.where(full, 2 * stride, stride), jax.tree.map(lambda leaf: leaf[order], kept)

    stride, kept = record.stride, record.slots
    if slots < record.grid.shape[0] - 1:
        stride, kept = jax.lax.while_loop(lambda carry: any_lane(is_full(carry)), halve, (stride, kept))
    place = jnp.where(keep & (now.accepted % stride == 0), now.accepted // stride, slots)
    kept = jax.tree.map(lambda all, one: all.at[place].set(one, mode="drop"), kept, now.y)
    return Record(grid, kept, stride, record.length)
