"""The loop over a flow's steps: taken, judged, saved and recorded.

The steps are diffrax's; the loop over them is ours, because what has to be kept of a step depends on how its derivative
is taken. Accepted steps alone count: the controller's choices are constants of the discrete flow, as in diffrax.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc.transforms.flow_event import Watch, watch_begun, watched
from jaxcalc.transforms.flow_spectrum import Probe, Spectrum, begun, longest, reach, turned
from jaxcalc.transforms.flow_steps import (
    EVENT,
    NON_FINITE,
    OUT_OF_STEPS,
    REACHED,
    RUNNING,
    STIFF,
    STUCK,
    UNSOLVED,
    End,
    Record,
    Setting,
    Step,
    any_lane,
    at_start,
    looping,
    reuses,
    states_at_start,
    strain,
    taken,
    where,
    where_rows,
    zeros,
)

if TYPE_CHECKING:
    import diffrax

__all__ = ["walk_on"]


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
    evaluations: jax.Array
    strained: jax.Array
    record: Record | None
    spectrum: Spectrum | None
    watch: Watch | None


# Strains of steps that stability holds (the region of Tsit5 and Dopri5 reaches to about -3.3) are 1.8 to 4, at any
# tolerance; of others 1.3 at most in the median, where the tolerance is 1e-3, and less where it is tighter.
_EDGE = 1.7
# Of the longest stable step, and the least share of decay in the steepest mode: as near to it, a field is stiff that
# decays; one that turns asks for such steps itself.
_NEAR, _DECAY = 0.85, 0.5
# Times the longest step that is stable at a step's end, from which on it is not kept.
_OVER = 2
# So many more steps at the edge than twice those inside it.
_PATIENCE = 15
# Of the way, a first step where the controller finds none.
_SHORT = 1e-6


# Counts are 32 bits.
_MOST = int(np.iinfo(np.int32).max)


class _Task(NamedTuple):
    """What the loop is to do: from the first to the last of the times, or over the steps of a grid."""

    setting: Setting
    term: "diffrax.ODETerm"
    times: jax.Array
    grid: jax.Array | None
    probe: Probe | None

    @property
    def limit(self) -> int:
        """The most steps that are tried."""
        return min(self.setting.max_steps or _MOST, _MOST)

    @property
    def only_end(self) -> bool:
        """Whether no state between start and end is asked for."""
        return self.times.shape[0] == 2

    @property
    def controller(self) -> Any:
        return self.setting.controller

    @property
    def reach(self) -> float | None:
        """What a step times the spectral radius is kept to, where it is."""
        return None if self.probe is None or self.grid is not None else reach(self.setting.solver)

    @property
    def order(self) -> Any:
        return self.setting.solver.error_order(self.term)


def walk_on(
    setting: Setting,
    term: "diffrax.ODETerm",
    y0: Any,
    times: jax.Array,
    grid: jax.Array | None = None,
    start: End | None = None,
    probe: Probe | None = None,
) -> End:
    """Steps from the first of the times to the last, which increase.

    Args:
      grid: where steps end, if they are given; every saved time is one of them.
      start: where an earlier solver ended, to go on from; times up to there are not saved. Its status says whether to.
      probe: of the field's Jacobian, where steps are to be stable for all that it has.
    """
    task = _Task(setting._replace(solver=looping(setting.solver, "lax")), term, times, grid, probe)
    now, slope = _begun(task, y0, start)
    last = jax.lax.while_loop(lambda now: any_lane(now.status == RUNNING), lambda now: _attempted(task, now), now)
    states, saved = last.states, last.saved
    if task.only_end:
        saved = jnp.where((last.status == REACHED) | ((last.status == EVENT) & (last.t >= times[-1])), 2, 1)
        states = jax.tree.map(lambda first, end: jnp.stack([first, end]), now.y, last.y)
    if grid is None and start is None:
        states = where_rows(at_start(times), states_at_start(slope, y0, times), states)
    record = last.record
    if record is not None:
        record = record._replace(length=last.accepted)
    size = last.end - last.t
    return End(
        last.t,
        last.y,
        size,
        last.slope,
        states,
        saved,
        last.status,
        last.attempts,
        last.accepted,
        last.evaluations,
        record,
        jnp.full((), -1, jnp.int32) if last.watch is None else last.watch.crossed,
        jnp.zeros(()) if last.watch is None else last.watch.scale,
    )


def _begun(task: _Task, y0: Any, start: End | None) -> tuple[_Running, Any]:
    """The loop's state before its first step, and the field's slope there, where it is known."""
    (setting, term, times, grid, _), solver = task, task.setting.solver
    t0, t1, size, slope = times[0], times[-1], None, None
    runs = True if grid is not None else t0 < t1
    if start is not None:
        t0, y0, size, slope = start.t, start.y, start.size, start.slope
        runs = start.status == STIFF
    if grid is not None:
        end, control = grid[1], None
    else:
        end, control = task.controller.init(term, t0, t1, y0, size, None, solver.func, task.order)
        # No number where the field is none a little further on, or where a scale of errors is 0.
        short = t0 + jax.lax.stop_gradient(_SHORT * (t1 - t0))
        end = jnp.where(end > t0, jnp.minimum(end, t1), short)
    if slope is None and (reuses(solver) or grid is None):
        slope = term.vf(t0, y0, None)
    zero = jnp.zeros((), jnp.int32)
    # Two evaluations choose the length of the first step, one is the slope there.
    asked = zero + (3 if grid is None and start is None else int(reuses(solver) and start is None))
    first: Any = zero + 1 if grid is not None else jnp.searchsorted(times, t0, side="right").astype(jnp.int32)
    states = None
    if not task.only_end:  # those at the start, and room for the others
        paths = jax.tree.map(lambda y: jnp.broadcast_to(y, (times.shape[0], *y.shape)), y0)
        states = where_rows(jnp.arange(times.shape[0]) < first, paths, zeros(paths))
    spectrum = None
    if task.reach is not None and task.probe is not None:
        spectrum = begun(task.probe, t0, y0)
        end = jnp.minimum(end, t0 + longest(spectrum, task.reach))
    end = _landing(task, t0, end, first)
    status = jnp.where(runs, RUNNING, REACHED)
    if start is None and slope is not None:  # no step is short enough
        none = jnp.stack([jnp.isnan(leaf).any() for leaf in jax.tree.leaves(slope)]).any()
        status = jnp.where(runs & none, NON_FINITE, status)
    status = status.astype(jnp.int32)
    carried = slope if reuses(solver) else None
    record = _opened(task, t0, end, y0, carried) if setting.slots != 0 or setting.dense else None
    watch = None if setting.event is None else watch_begun(setting.event, t0, y0)
    return _Running(
        t0, end, y0, carried, control, first, states, status, zero, zero, asked, zero, record, spectrum, watch
    ), slope


def _opened(task: _Task, t0: Any, end: Any, y0: Any, slope: Any) -> Record:
    """An empty record."""
    slots, grid = task.setting.slots or None, task.grid
    ends = jnp.full(task.limit + 1, task.times[-1]) if grid is None else grid
    kept = None if slots is None else jax.tree.map(lambda y: jnp.zeros((slots, *y.shape), y.dtype), y0)
    dense = None
    if task.setting.dense:
        one = jax.eval_shape(lambda *at: taken(task.setting, task.term, *at).dense, t0, end, y0, slope)
        dense = jax.tree.map(lambda leaf: jnp.zeros((ends.size - 1, *leaf.shape), leaf.dtype), one)
    zero = jnp.zeros((), jnp.int32)
    return Record(ends.at[0].set(t0), kept, zero + 1, zero, dense)


def _landing(task: _Task, t: Any, end: Any, saved: Any) -> Any:
    """The end of the next step, no later than the next time asked for where states between are not to be had."""
    if task.grid is not None or not task.setting.lands:
        return end
    last = task.times.shape[0] - 1
    target = task.times[jnp.minimum(saved, last)]
    # Where steps end on the way is the controller's choice, and no function of the times asked for.
    target = jnp.where(saved >= last, target, t + jax.lax.stop_gradient(target - t))
    return jnp.where(target > t, jnp.minimum(end, target), end)


def _attempted(task: _Task, now: _Running) -> _Running:
    """The loop's state after one more try; lanes that have ended stay as they are."""
    setting, solver, active = task.setting, task.setting.solver, now.status == RUNNING
    step = taken(setting, task.term, now.t, now.end, now.y, now.slope)
    found = _given(task, now) if task.grid is not None else _adapted(task, now, step)
    spectrum, held = now.spectrum, None
    if spectrum is not None:
        spectrum, held, found = _stable(task, now, step, found)
        spectrum = where(active, spectrum, now.spectrum)
    watch = now.watch
    if setting.event is not None and watch is not None:
        path = _path(setting.solver, now, step)
        watch, found = watched(setting.event, watch, path, (now.t, now.end), step, found)
        watch = where(active, watch, now.watch)
    keep, t, end, control, stuck = found
    keep &= active
    attempts, accepted = now.attempts + active, now.accepted + keep
    evaluations = now.evaluations + jnp.where(active, step.evaluations, 0)
    status, strained = _judged(task, now, step, keep, (t, end), attempts, stuck, held)
    if watch is not None:
        status = jnp.where(watch.crossed >= 0, EVENT, status)
    saved, states, record = now.saved, now.states, now.record
    if not task.only_end:
        saved, states = _saved(task, now, step, keep)
        end = _landing(task, t, end, saved)
    if record is not None:
        record = _recorded(record, now, step, keep)
    return _Running(
        jnp.where(active, t, now.t),
        jnp.where(active, end, now.end),
        where(keep, step.y, now.y),
        where(keep, step.slope, now.slope) if reuses(solver) else None,
        where(active, control, now.control),
        saved,
        states,
        jnp.where(active, status, now.status).astype(jnp.int32),
        attempts,
        accepted,
        evaluations,
        strained,
        record,
        spectrum,
        watch,
    )


def _path(solver: Any, now: _Running, step: Step) -> Any:
    """What interpolates a step."""
    return solver.interpolation_cls(t0=now.t, t1=now.end, **step.dense)


def _given(task: _Task, now: _Running) -> tuple[Any, Any, Any, Any, Any]:
    """Whether the step is kept, the time then, the next end, the controller's state, and whether it is stuck."""
    assert task.grid is not None
    end = task.grid[jnp.minimum(now.accepted + 2, task.grid.shape[0] - 1)]
    return jnp.asarray(True), now.end, end, None, jnp.asarray(RUNNING)


def _adapted(task: _Task, now: _Running, step: Step) -> tuple[Any, Any, Any, Any, Any]:
    """The same by the controller; ``STUCK`` or ``NON_FINITE`` where the next step would be none."""
    t1 = task.times[-1]
    floor = t1 - 100 * jnp.finfo(t1.dtype).eps * jnp.abs(t1)
    # A step whose equations were not solved is too long, as one is that overflows.
    error = jax.tree.map(lambda e: jnp.where(jnp.isnan(e) | ~jnp.asarray(step.solved), jnp.inf, e), step.error)
    # An infinite state would be the scale of its own error; NaN is none.
    candidate = jax.tree.map(lambda y: jnp.where(jnp.isfinite(y), y, jnp.nan), step.y)
    keep, t, end, _, control, _ = task.controller.adapt_step_size(
        now.t, now.end, now.y, candidate, None, error, task.order, now.control
    )
    t = jnp.minimum(t, t1)
    end = jnp.where(end > floor, jnp.where(keep, t1, t + 0.5 * (t1 - t)), end)
    finite = jnp.stack([jnp.isfinite(e).all() for e in jax.tree.leaves(error)]).all()
    is_stuck = ~keep & ~(end > t)  # or NaN, as where the first slope is
    return keep, t, end, control, jnp.where(is_stuck, jnp.where(finite, STUCK, NON_FINITE), RUNNING)


def _stable(task: _Task, now: _Running, step: Step, found: Any) -> Any:
    """The spectrum after a step, and what was found of it, within what the spectrum allows.

    Args:
      found: whether the step is kept, the time then, the next end, the controller's state, and whether it is stuck.

    Returns:
      The spectrum, whether it holds the next step where a stiff field's would be, and ``found``: a step over to where
      the field is far steeper is not kept.
    """
    (keep, t, end, control, stuck), limit, by = found, task.reach, task.probe
    spectrum = now.spectrum
    assert limit is not None and by is not None and spectrum is not None
    ahead = turned(by, spectrum, now.end, step.y)
    most = longest(ahead, limit)
    over = keep & (now.end - now.t > _OVER * most)
    keep &= ~over
    t = jnp.where(over, now.t, t)
    control = where(over, now.control, control)
    spectrum = where(keep, ahead, spectrum)
    most = jnp.where(over, most, longest(spectrum, limit))
    held = (end - t > _NEAR * most) & (spectrum.decay > _DECAY)
    end = jnp.minimum(end, t + most)
    stuck = jnp.where((stuck == RUNNING) & (t < task.times[-1]) & ~(end > t), STUCK, stuck)
    return spectrum, held, (keep, t, end, control, stuck)


def _judged(
    task: _Task, now: _Running, step: Step, keep: Any, reached: Any, attempts: Any, stuck: Any, held: Any
) -> Any:
    """The status after a step, and how many more steps were held by stability than not."""
    (t, end), grid, t1 = reached, task.grid, task.times[-1]
    status = jnp.where(attempts >= task.limit, OUT_OF_STEPS, RUNNING)
    strained, worth = now.strained, task.setting.worth
    if worth is not None:
        if held is None:
            slope, distance = strain(task.setting.solver, step, now.y)
            held = slope > _EDGE * distance
        more = jnp.where(held, strained + 1, jnp.maximum(strained - 2, 0))
        strained = jnp.where(keep, more, strained)
        left = (t1 - t) / (end - t)
        leaves = (left > worth) | ((left > task.limit - attempts) & (worth < np.inf)) | (status == OUT_OF_STEPS)
        status = jnp.where((strained >= _PATIENCE) & leaves, STIFF, status)
    status = jnp.where(stuck != RUNNING, stuck, status)
    unsolved = keep & ~jnp.asarray(step.solved)
    status = jnp.where(unsolved, UNSOLVED, status)
    there = now.accepted + 1 >= grid.shape[0] - 1 if grid is not None else t >= t1
    return jnp.where(there & keep & ~unsolved, REACHED, status), strained


def _saved(task: _Task, now: _Running, step: Step, keep: Any) -> tuple[Any, Any]:
    """How many states are saved, and the states, with those at the times within a step that was kept."""
    times, y1 = task.times, step.y
    count = times.shape[0]
    if task.grid is not None:
        per = (task.grid.shape[0] - 1) // (count - 1)
        here = keep & ((now.accepted + 1) % per == 0)
        place = jnp.where(here, (now.accepted + 1) // per, count)
        states = jax.tree.map(lambda all, one: all.at[place].set(one, mode="drop"), now.states, y1)
        return now.saved + here, states
    path = _path(task.setting.solver, now, step)

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


def _recorded(record: Record, now: _Running, step: Step, keep) -> Record:
    """The record with a step that is taken from ``now``."""
    put = lambda all, number, one: all.at[jnp.where(keep, number, all.shape[0])].set(one, mode="drop")
    record = record._replace(grid=put(record.grid, now.accepted + 1, now.end))
    if record.dense is not None:
        dense = jax.tree.map(lambda all, one: put(all, now.accepted, one), record.dense, step.dense)
        record = record._replace(dense=dense)
    if record.slots is None:
        return record
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
    return record._replace(slots=kept, stride=stride)
