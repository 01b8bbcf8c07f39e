"""Back over the accepted steps of a flow: their vector-Jacobian product, from the states that were recorded."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc.transforms.flow_steps import Record, Setting, add, any_lane, looping, reuses, taken, where, zeros

if TYPE_CHECKING:
    import diffrax

__all__ = ["Cotangents", "States", "go_back", "segment_length"]


def segment_length(max_steps: int, slots: int) -> int:
    """The longest stride that a record of so many steps in so many slots may come to."""
    stride = 1
    while stride * slots < max_steps:
        stride *= 2
    return stride


class Cotangents(NamedTuple):
    """Of the first state, the arguments, the grid (``None`` where it was not asked for), and the times."""

    y: Any
    args: Any
    grid: jax.Array | None
    times: jax.Array | None


def _read(tree: Any, n: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[n], tree)


class States:
    """The states before each recorded step, from the last to the first; those between two slots are taken again."""

    def __init__(self, setting: Setting, make_term: Callable[[Any], Any], record: Record, args: Any) -> None:
        self._setting, self._make_term, self._record, self._args = setting, make_term, record, args
        self._length = segment_length(record.grid.shape[0] - 1, jax.tree.leaves(record.slots)[0].shape[0])

    def segment(self) -> Any:
        """Room for the states between two slots; ``None`` where all are recorded."""
        rows = lambda leaf: jnp.zeros((self._length, *leaf.shape[1:]), leaf.dtype)
        return jax.tree.map(rows, self._record.slots) if self._length > 1 else None

    def _step(self, n: Any, y: Any) -> Any:
        term, t = self._make_term(self._args), self._record.grid[n]
        slope = term.vf(t, y, None) if reuses(self._setting.solver) else None
        return taken(self._setting, term, t, self._record.grid[n + 1], y, slope).y

    def _refilled(self, n: Any, segment: Any) -> Any:
        """The states of the segment that step ``n`` ends, taken again from its slot."""
        _, slots, stride, *_ = self._record
        begin = (n // stride) * stride
        segment = jax.tree.map(lambda all, one: all.at[0].set(one), segment, _read(slots, n // stride))

        def on(carry: Any) -> Any:
            m, segment = carry
            here = m < n
            y = self._step(m, _read(segment, jnp.minimum(m - begin, self._length - 1)))
            place = jnp.where(here, m + 1 - begin, self._length)
            segment = jax.tree.map(lambda all, one: all.at[place].set(one, mode="drop"), segment, y)
            return m + here, segment

        return jax.lax.while_loop(lambda carry: any_lane(carry[0] < n), on, (begin, segment))[1]

    def before(self, n: Any, active: Any, segment: Any) -> tuple[Any, Any]:
        """The state before step ``n``, and the segment that it is in."""
        if self._length == 1:
            return _read(self._record.slots, n), segment
        stride = self._record.stride
        enters = active & ((n % stride == stride - 1) | (n == self._record.length - 1))
        # A loop of no more than one turn, and no choice: under vmap that would take both ways.
        segment = jax.lax.while_loop(
            lambda carry: any_lane(carry[0]),
            lambda carry: (jnp.zeros_like(carry[0]), where(carry[0], self._refilled(n, carry[1]), carry[1])),
            (enters, segment),
        )[1]
        return _read(segment, n % stride), segment


def go_back(
    setting: Setting,
    make_term: Callable[[Any], "diffrax.ODETerm"],
    record: Record,
    times: jax.Array,
    args: Any,
    states_bar: Any,
    y_bar: Any,
    dense_bar: Any = None,
    *,
    given_grid: bool,
    with_times: bool,
) -> Cotangents:
    """The vector-Jacobian product of recorded steps.

    Args:
      make_term: from ``args``, all of them differentiated, to the term.
      states_bar: cotangents of the states at ``times``; those within the steps are used.
      y_bar: of the last state, beside them.
      dense_bar: of what interpolates each step, on leading axes, if it was kept.
      given_grid: whether the steps' ends were given, so that every saved time is one of them.
      with_times: whether cotangents of grid and times are wanted.
    """
    solver = looping(setting.solver, None)
    setting = setting._replace(solver=solver)
    grid, count = record.grid, record.length
    only_end = times.shape[0] == 2
    saves_within = not (only_end or given_grid)
    interpolates = saves_within or dense_bar is not None
    per = (grid.shape[0] - 1) // (times.shape[0] - 1)  # steps between times, where they are given
    states = States(setting, make_term, record, args)

    def step(t, end, y, args):
        term = make_term(args)
        found = taken(setting, term, t, end, y, term.vf(t, y, None) if reuses(solver) else None)
        return found.y, (found.dense if interpolates else None)

    def body(carry):
        number, i, segment, back = carry
        active = number >= 0
        n = jnp.maximum(number, 0)
        t, end = grid[n], grid[n + 1]
        y, segment = states.before(n, active, segment)
        ends = (t, end) if with_times else ()
        run: Any = lambda y, args, start=t, end=end: step(start, end, y, args)
        (_, dense), pull = jax.vjp(run, y, args, *ends)
        y_bar, path_bar, more, times_bar = back.y, (zeros(dense) if interpolates else None), (0.0, 0.0), back.times
        if given_grid:
            saved = active & ((n + 1) % per == 0) & (not only_end)
            bar = _read(states_bar, (n + 1) // per)
            y_bar = jax.tree.map(lambda a, b: a + jnp.where(saved, b, 0), y_bar, bar)
        elif not only_end:
            i, y_bar, path_bar, more, times_bar = _collected(
                solver, times, states_bar, i, active, (t, end), dense, back, with_times
            )
        if dense_bar is not None:
            path_bar = add(path_bar, _read(dense_bar, n))
        y_bar, args_bar, *ends_bar = pull((y_bar, path_bar))
        grid_bar = back.grid
        if grid_bar is not None:
            both = [jnp.where(active, a + b, 0) for a, b in zip(ends_bar, more)]
            grid_bar = grid_bar.at[n].add(both[0]).at[n + 1].add(both[1])
        new = Cotangents(
            where(active, y_bar, back.y),
            jax.tree.map(lambda total, bar: total + jnp.where(active, bar, 0), back.args, args_bar),
            grid_bar,
            times_bar,
        )
        return number - active, i, segment, new

    of_times: Any = zeros((grid, times)) if with_times else (None, None)
    back = Cotangents(y_bar, zeros(args), *of_times)
    last = jnp.searchsorted(times, grid[count], side="right").astype(jnp.int32) - 1
    begin = jnp.asarray(count, jnp.int32) - 1, last, states.segment(), back
    return jax.lax.while_loop(lambda carry: any_lane(carry[0] >= 0), body, begin)[3]


def _collected(solver, times, states_bar, i, active, ends, dense, back: Cotangents, with_times):
    """Cotangents of the states saved within a step, as cotangents of its end and of what interpolates it."""
    t, end = ends

    def due(carry):
        return active & (carry[0] >= 0) & (times[jnp.maximum(carry[0], 0)] > t)

    def evaluate(dense, start, end, at):
        return solver.interpolation_cls(t0=start, t1=end, **dense).evaluate(at)

    def collected(carry):
        i, y_bar, dense_bar, ends_bar, times_bar = carry
        here, place = due(carry), jnp.maximum(i, 0)
        bar = jax.tree.map(lambda path: jnp.where(here, path[place], 0), states_bar)
        at_end = times[place] >= end
        y_bar = add(y_bar, jax.tree.map(lambda b: jnp.where(at_end, b, 0), bar))
        within = jax.tree.map(lambda b: jnp.where(at_end, 0, b), bar)
        if with_times:
            pull = jax.vjp(evaluate, dense, t, end, times[place])[1]
            more, start_more, end_more, time_bar = pull(within)
            # A state at the step's end moves with the time asked for, and not with the end by itself.
            slope_bar = pull(add(bar, jax.tree.map(jnp.negative, within)))[3]
            ends_bar = add(ends_bar, (start_more, end_more - slope_bar))
            times_bar = times_bar.at[place].add(time_bar + slope_bar)
        else:
            (more,) = jax.vjp(lambda dense: evaluate(dense, t, end, times[place]), dense)[1](within)
        return i - here, y_bar, add(dense_bar, more), ends_bar, times_bar

    carry = i, back.y, zeros(dense), (jnp.zeros_like(t), jnp.zeros_like(end)), back.times
    return jax.lax.while_loop(lambda carry: any_lane(due(carry)), collected, carry)
