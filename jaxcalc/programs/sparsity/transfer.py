"""Trips of a loop as products with its transfer matrix, until nothing changes."""

from collections.abc import Sequence

import numpy as np

from jaxcalc.programs.sparsity.abstract_value import Fact
from jaxcalc.programs.sparsity.loop_fixpoint import Body, columns_of
from jaxcalc.programs.sparsity.sets import Links, Sets, Space, links

__all__ = ["by_transfer", "closure", "ends_of", "gathered", "slices"]


def by_transfer(body, constants, carry, stacked, trips, space):
    """Carry after all trips, and what is stacked up, by products with the transfer matrix."""
    first, second, _ = body.counts
    carried = [number for number in range(second) if body.kinds[number] == "carried"]
    rows = [n for n in range(second, len(body.outputs)) if body.outputs[n].sets is not None]
    matrix, start, stop, width = _blocks(body, carried)
    result, *_ = _blocks(body, rows)
    fixed = gathered(constants, [n for n in body.offsets if n < first], space)
    taken = [n - first - second for n in body.offsets if n >= first + second]
    pieces = slices(stacked, taken, len(trips), space)
    state = gathered(carry, carried, space)

    push = _block(matrix, start, stop)
    base = _pushed(fixed, _block(matrix, 0, start), state.rows, space)
    feed = _fed(pieces, _block(matrix, stop, width), trips, state.rows, space)
    states, numbers = _march(state, push, base, feed, len(trips), space, keep=bool(rows))
    ends = ends_of(body, carried, states[-1])
    stacks: list[Sets | None] = [None] * (len(body.outputs) - second)
    if rows:
        height = result.shape[0]
        distinct = states[: max(numbers) + 1] if numbers else []
        whole = space.stack(distinct) if distinct else space.empty(0)
        block = _block(result, start, stop)
        every = _repeated(block, len(distinct)) if block is not None else None
        total = _pushed(whole, every, height * len(distinct), space)
        # From states to trips, in the order in which slices are stacked.
        order = np.empty(len(trips), np.int64)
        order[np.asarray(trips)] = np.asarray(numbers)
        place = (order[:, None] * height + np.arange(height)).reshape(-1)
        parts = [total.take(place)] if block is not None else []
        steady = _block(result, 0, start)
        if steady is not None:
            parts.append(fixed.contract(steady).take(np.tile(np.arange(height), len(trips))))
        direct = _fed(pieces, _block(result, stop, width), range(len(trips)), height, space)
        if direct is not None:
            parts.append(direct)
        all_rows = parts[0].union(*parts[1:]) if parts else space.empty(height * len(trips))
        place = 0
        for number in rows:
            size = body.outputs[number].size
            index = np.arange(len(trips))[:, None] * height + place + np.arange(size)
            stacks[number - second] = all_rows.take(index.reshape(-1))
            place += size
    return ends, stacks


def closure(body: Body, constants, carry, space: Space) -> list[Sets | None]:
    """Carry after any number of trips: the least sets that hold the first ones and what a trip adds."""
    first, second, _ = body.counts
    carried = [number for number in range(second) if body.kinds[number] == "carried"]
    matrix, start, stop, _ = _blocks(body, carried)
    state = gathered(carry, carried, space)
    base = _pushed(
        gathered(constants, [n for n in body.offsets if n < first], space), _block(matrix, 0, start), state.rows, space
    )
    push = _block(matrix, start, stop)
    while True:
        following = state.union(_pushed(state, push, state.rows, space), base)
        if following.same(state):
            break
        state = following
    return ends_of(body, carried, state)


def _march(state, push, base, feed, length, space, keep) -> tuple[list[Sets], list[int]]:
    """The states before each trip (unless kept, only the last) and after all; the number of each trip's state."""
    states, numbers = [state], []
    rows = state.rows
    for trip in range(length):
        numbers.append(len(states) - 1 if keep else 0)
        following = _pushed(state, push, rows, space).union(base)
        if feed is not None:
            following = following.union(feed.take(np.arange(trip * rows, (trip + 1) * rows)))
        elif following.same(state):
            numbers.extend([numbers[-1]] * (length - trip - 1))
            break
        state = following
        if keep:
            states.append(state)
        else:
            states = [state]
    return states, numbers


def _blocks(body: Body, outputs: Sequence[int]) -> tuple[Links, int, int, int]:
    """Rows of the transfer matrix for some outputs, and where the columns of carry and slices begin and end."""
    parts = [body.outputs[number].sets or body.space.empty(body.outputs[number].size) for number in outputs]
    matrix = (
        body.space.stack(parts).matrix()
        if parts
        else links(np.zeros(0, int), np.zeros(0, int), (0, body.space.columns))
    )
    return matrix, *columns_of(body)


def _block(matrix: Links, start: int, stop: int) -> Links | None:
    """Some columns of a transfer matrix; nothing if no row holds one."""
    block = matrix[:, start:stop].tocsr()
    return block if block.nnz else None


def gathered(facts: Sequence[Fact], numbers: Sequence[int], space: Space) -> Sets:
    """The dependencies of some arrays, one after another."""
    parts = [space.empty(facts[n].size) if facts[n].sets is None else facts[n].sets for n in numbers]
    return space.stack(parts) if parts else space.empty(0)  # pyright: ignore


def slices(stacked: Sequence[Fact], taken: Sequence[int], length: int, space: Space) -> Sets:
    """The dependencies of the slices of each trip side by side, trip after trip."""
    if not taken:
        return space.empty(0)
    sizes = [stacked[n].size // length for n in taken]
    whole = space.stack([stacked[n].sets for n in taken])  # pyright: ignore
    starts = np.cumsum([0, *(size * length for size in sizes)])[:-1]
    index = [start + np.arange(length)[:, None] * size + np.arange(size) for start, size in zip(starts, sizes)]
    return whole.take(np.concatenate(index, axis=1).reshape(-1))


def _fed(pieces: Sets, block: Links | None, trips: Sequence[int], rows: int, space: Space) -> Sets | None:
    """What the slices contribute on every trip, in the order of the trips; ``None`` for nothing."""
    if block is None:
        return None
    every = pieces.contract(_repeated(block, len(trips)))
    return every.take((np.asarray(trips)[:, None] * rows + np.arange(rows)).reshape(-1))


def _pushed(sets: Sets, matrix: Links | None, rows: int, space: Space) -> Sets:
    return space.empty(rows) if matrix is None else sets.contract(matrix)


def _repeated(matrix: Links, times: int) -> Links:
    """The block-diagonal matrix of several copies."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    shift = np.arange(times)[:, None]
    return links(
        (shift * matrix.shape[0] + rows).reshape(-1),
        (shift * matrix.shape[1] + matrix.indices).reshape(-1),
        (times * matrix.shape[0], times * matrix.shape[1]),
    )


def ends_of(body: Body, carried: Sequence[int], state: Sets) -> list[Sets | None]:
    """The sets of each carried value."""
    ends: list[Sets | None] = [None] * body.counts[1]
    place = 0
    for number in carried:
        size = body.outputs[number].size
        ends[number] = state.take(np.arange(place, place + size))
        place += size
    return ends
