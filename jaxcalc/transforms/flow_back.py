"""Back over the accepted steps of a flow: their vector-Jacobian product, from the states that were recorded."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc.transforms.flow_steps import Record, Setting, any_lane, looping, reuses, taken, where

if TYPE_CHECKING:
    import diffrax

__all__ = ["Cotangents", "go_back", "segment_length"]


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


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


def go_back(
    setting: Setting,
    make_term: Callable[[Any], "diffrax.ODETerm"],
    record: Record,
    times: jax.Array,
    args: Any,
    states_bar: Any,
    y_bar: Any,
    *,
    given_grid: bool,
    with_times: bool,
) -> Cotangents:
    """The vector-Jacobian product of recorded steps.

    Args:
      make_term: from ``args``, all of them differentiated, to the term.
      states_bar: cotangents of the states at ``times``; those within the steps are used.
      y_bar: of the last state, beside them.
      given_grid: whether the steps' ends were given, so that every saved time is one of them.
      with_times: whether cotangents of grid and times are wanted.
    """
    solver = looping(setting.solver, None)
    setting = setting._replace(solver=solver)
    grid, slots, stride, count = record  # of which ``count`` were accepted
    length = segment_length(grid.shape[0] - 1, jax.tree.leaves(slots)[0].shape[0])
    only_end = times.shape[0] == 2
    per = (grid.shape[0] - 1) // (times.shape[0] - 1)  # steps between times, where they are given
    read = lambda tree, n: jax.tree.map(lambda leaf: leaf[n], tree)

    def step(t, end, y, args):
        term = make_term(args)
        found = taken(setting, term, t, end, y, term.vf(t, y, None) if reuses(solver) else None)
        return found.y, (None if only_end or given_grid else found.dense)

    def refill(n, segment):
        """The states of the segment that step ``n`` ends, taken again from its slot."""
        begin = (n // stride) * stride
        segment = jax.tree.map(lambda all, one: all.at[0].set(one), segment, read(slots, n // stride))

        def on(carry):
            m, segment = carry
            here = m < n
            y, _ = step(grid[m], grid[m + 1], read(segment, jnp.minimum(m - begin, length - 1)), args)
            place = jnp.where(here, m + 1 - begin, length)
            segment = jax.tree.map(lambda all, one: all.at[place].set(one, mode="drop"), segment, y)
            return m + here, segment

        return jax.lax.while_loop(lambda carry: any_lane(carry[0] < n), on, (begin, segment))[1]

    def state_before(n, active, segment):
        if length == 1:
            return read(slots, n), segment
        enters = active & ((n % stride == stride - 1) | (n == count - 1))
        # A loop of no more than one turn, and no choice: under vmap that would take both ways.
        segment = jax.lax.while_loop(
            lambda carry: any_lane(carry[0]),
            lambda carry: (jnp.zeros_like(carry[0]), where(carry[0], refill(n, carry[1]), carry[1])),
            (enters, segment),
        )[1]
        return read(segment, n % stride), segment

    def body(carry):
        number, i, segment, back = carry
        active = number >= 0
        n = jnp.maximum(number, 0)
        t, end = grid[n], grid[n + 1]
        y, segment = state_before(n, active, segment)
        ends = (t, end) if with_times else ()
        run: Any = lambda y, args, start=t, end=end: step(start, end, y, args)
        (_, dense), pull = jax.vjp(run, y, args, *ends)
        y_bar, dense_bar, more, times_bar = back.y, None, (0.0, 0.0), back.times
        if given_grid:
            saved = active & ((n + 1) % per == 0) & (not only_end)
            bar = read(states_bar, (n + 1) // per)
            y_bar = jax.tree.map(lambda a, b: a + jnp.where(saved, b, 0), y_bar, bar)
        elif not only_end:
            i, y_bar, dense_bar, more, times_bar = _collected(
                solver, times, states_bar, i, active, (t, end), dense, back, with_times
            )
        y_bar, args_bar, *ends_bar = pull((y_bar, dense_bar))
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

    segment = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape[1:]), leaf.dtype), slots) if length > 1 else None
    of_times: Any = _zeros((grid, times)) if with_times else (None, None)
    back = Cotangents(y_bar, _zeros(args), *of_times)
    last = jnp.searchsorted(times, grid[count], side="right").astype(jnp.int32) - 1
    begin = jnp.asarray(count, jnp.int32) - 1, last, segment, back
    return jax.lax.while_loop(lambda carry: any_lane(carry[0] >= 0), body, begin)[3]


def _collected(solver, times, states_bar, i, active, ends, dense, back: Cotangents, with_times):
    """Cotangents of the states saved within a step, as cotangents of its end and of what interpolates it."""
    t, end = ends

    def due(carry):
        return active & (carry[0] >= 0) & (times[jnp.maximum(carry[0], 0)] > t)

    def evaluate(dense, start, end, at):
        return solver.interpolation_cls(t0=start, t1=end, **dense).evaluate(at)

    def add(carry):
        i, y_bar, dense_bar, ends_bar, times_bar = carry
        here, place = due(carry), jnp.maximum(i, 0)
        bar = jax.tree.map(lambda path: jnp.where(here, path[place], 0), states_bar)
        at_end = times[place] >= end
        y_bar = _add(y_bar, jax.tree.map(lambda b: jnp.where(at_end, b, 0), bar))
        within = jax.tree.map(lambda b: jnp.where(at_end, 0, b), bar)
        if with_times:
            pull = jax.vjp(evaluate, dense, t, end, times[place])[1]
            more, start_more, end_more, time_bar = pull(within)
            # A state at the step's end moves with the time asked for, and not with the end by itself.
            slope_bar = pull(_add(bar, jax.tree.map(jnp.negative, within)))[3]
            ends_bar = _add(ends_bar, (start_more, end_more - slope_bar))
            times_bar = times_bar.at[place].add(time_bar + slope_bar)
        else:
            (more,) = jax.vjp(lambda dense: evaluate(dense, t, end, times[place]), dense)[1](within)
        return i - here, y_bar, _add(dense_bar, more), ends_bar, times_bar

    carry = i, back.y, _zeros(dense), (jnp.zeros_like(t), jnp.zeros_like(end)), back.times
    return jax.lax.while_loop(lambda carry: any_lane(due(carry)), add, carry)
