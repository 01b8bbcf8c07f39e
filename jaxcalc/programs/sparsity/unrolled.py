"""A loop whose body moves elements to places that differ from trip to trip, read once for all trips.

The body is vectorised over the trips (``jax.vmap``): counters become known arrays, and the transfer matrices of all
trips come out of one reading, stacked. What then remains of the loop is a chain of products, of which most rows are the
identity's and cost nothing.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc.programs import walk
from jaxcalc.programs.sparsity.abstract_value import Fact
from jaxcalc.programs.sparsity.sets import Links, Sets, Space

__all__ = ["chain", "vectorised"]

# Words of the largest packed sets, and the most rows that all trips may hold together.
_PACKED_WORDS, _MOST_ROWS = 1 << 21, 1 << 22


def vectorised(
    reader: Any,
    program: walk.Program,
    live: Sequence[walk.Equation],
    inputs: Sequence[Fact],
    varying: dict[int, Fact],
    carried: dict[int, int],
    steady: dict[int, int],
    columns: int,
    trips: int,
) -> list[Fact] | None:
    """Facts of a body's outputs with the trips as leading axis; ``None`` if the body cannot be vectorised.

    Args:
      reader: reads the vectorised program.
      program, live: the body, and those of its equations of which something is certain or carried.
      inputs: what is certain of the body's inputs on every trip.
      varying: by number of input, the facts of what differs from trip to trip, stacked.
      carried, steady: by number of input, the first local column of what carries dependencies and changes, or does not.
      columns: number of local columns.
      trips: length of the leading axis.
    """
    if any(equation.nested is not None for equation in live):
        return None
    made = {value for equation in live for value in equation.outputs}
    wanted = [value for equation in live for value in equation.inputs] + list(program.outputs)
    needed = list(dict.fromkeys(value for value in wanted if value not in made and value.literal is None))
    places = {value: number for number, value in enumerate(program.inputs)}
    stacked = [places.get(value) in varying or places.get(value) in carried for value in needed]
    largest = max([value.size for equation in live for value in equation.outputs] + [value.size for value in needed])
    words = trips * largest * max(1, columns // 64)
    packed = words <= _PACKED_WORDS
    if trips * largest > _MOST_ROWS:
        return None

    def body(*values):
        found = dict(zip(needed, values))
        for equation in live:
            given = [found[v] if v.literal is None else v.literal for v in equation.inputs]
            result = equation.primitive.bind(*given, **equation.params)
            found.update(zip(equation.outputs, result if equation.primitive.multiple_results else [result]))
        return [found[v] if v.literal is None else jnp.asarray(v.literal) for v in program.outputs]

    shapes = [jax.ShapeDtypeStruct(((trips,) if s else ()) + v.shape, v.dtype) for v, s in zip(needed, stacked)]
    mapped = None
    # Not every primitive can be vectorised; the loop is then read trip by trip.
    with contextlib.suppress(NotImplementedError, TypeError, ValueError):
        mapped = walk.trace(jax.vmap(body, [0 if s else None for s in stacked], axis_size=trips), *shapes)
    if mapped is None:
        return None
    space = Space(columns, packed, reader.meter)
    facts = []
    for value, shape in zip(needed, shapes):
        number = places.get(value)
        if number is None:
            facts.append(Fact(shape.shape, shape.dtype))
        elif number in steady:
            facts.append(Fact(value.shape, value.dtype, space.identity(value.size, steady[number])))
        elif number in carried:
            each = space.identity(value.size, carried[number])
            facts.append(Fact(shape.shape, shape.dtype, each.take(np.tile(np.arange(value.size), trips))))
        else:
            facts.append(varying.get(number, inputs[number]))
    return reader.run(mapped, facts, space)


def chain(state: Sets, steps: Links, added: Sets, seen: Links, order: Sequence[int]) -> tuple[Sets, Sets]:
    """The state after all trips, and what was seen of the states before each trip.

    Args:
      state: the sets of what is carried, ``rows`` of them.
      steps: of shape (trips * rows, rows); how the state after a trip comes from that before it.
      added: trips * rows sets that join the state after each trip.
      seen: of shape (trips * height, rows); what is read off the state before each trip.
      order: the trips as they happen; the matrices are stacked by number.

    Returns:
      The state's sets, and trips * height sets.
    """
    rows, trips = state.rows, len(order)
    lengths = np.diff(steps.indptr)
    own = np.zeros(lengths.size, bool)
    single = lengths == 1
    own[single] = steps.indices[steps.indptr[:-1][single]] == (np.arange(lengths.size) % max(rows, 1))[single]
    changed = np.flatnonzero(~own | added.nonempty())
    looked = np.flatnonzero(np.diff(seen.indptr))
    height = seen.shape[0] // max(trips, 1)
    first = np.searchsorted(changed, np.arange(trips + 1) * rows)
    start = np.searchsorted(looked, np.arange(trips + 1) * height)
    walk_ = _packed_chain if state.space.packed else _sparse_chain
    return walk_(state, steps, added, seen, order, changed, first, looked, start)


def _packed_chain(state, steps, added, seen, order, changed, first, looked, start):
    space, rows = state.space, state.rows
    step_rows, seen_rows = _rows_of(steps, changed), _rows_of(seen, looked)
    space.meter.spend((step_rows[1].size + seen_rows[1].size + changed.size) * space.words + state.data.size)
    data, extra = state.data.copy(), added.data
    views = np.zeros((seen.shape[0], space.words), np.uint64)
    for trip in order:
        low, high = start[trip], start[trip + 1]
        if low < high:
            views[looked[low:high]] = _unite(data, *seen_rows, low, high)
        low, high = first[trip], first[trip + 1]
        if low < high:
            place = changed[low:high]
            data[place - trip * rows] = _unite(data, *step_rows, low, high) | extra[place]
    return Sets(data, space), Sets(views, space)


def _rows_of(matrix: Links, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds and columns of some rows of a boolean matrix."""
    part = matrix[chosen]
    return part.indptr.astype(np.int64), part.indices.astype(np.int64)


def _unite(data: np.ndarray, indptr: np.ndarray, indices: np.ndarray, low: int, high: int) -> np.ndarray:
    """Unions of packed rows, for rows ``low`` to ``high`` of a boolean matrix."""
    bounds = indptr[low : high + 1]
    begin, end = bounds[0], bounds[-1]
    if end - begin == high - low and (bounds[1:] - bounds[:-1] == 1).all():
        return data[indices[begin:end]]
    out = np.zeros((high - low, data.shape[1]), np.uint64)
    filled = bounds[1:] > bounds[:-1]
    if filled.any():
        out[filled] = np.bitwise_or.reduceat(data[indices[begin:end]], bounds[:-1][filled] - begin, axis=0)
    return out


def _sparse_chain(state, steps, added, seen, order, changed, first, looked, start):
    space, rows = state.space, state.rows
    current = _split(state)
    joining = _split(added.take(changed))
    step_rows, seen_rows = _rows_of(steps, changed), _rows_of(seen, looked)
    nothing = np.zeros(0, np.int64)
    views = [nothing] * seen.shape[0]
    for trip in order:
        for k in range(start[trip], start[trip + 1]):
            views[looked[k]] = _merged([current[c] for c in _row(seen_rows, k)], space)
        fresh = [
            (changed[k] - trip * rows, _merged([*(current[c] for c in _row(step_rows, k)), joining[k]], space))
            for k in range(first[trip], first[trip + 1])
        ]
        for place, found in fresh:
            current[place] = found
    return _joined(current, space), _joined(views, space)


def _row(rows: tuple[np.ndarray, np.ndarray], k: int) -> np.ndarray:
    return rows[1][rows[0][k] : rows[0][k + 1]]


def _split(sets: Sets) -> list[np.ndarray]:
    data = sets.data
    return np.split(data.indices[: data.indptr[-1]].astype(np.int64), data.indptr[1:-1]) if sets.rows else []


def _merged(parts: list[np.ndarray], space: Space) -> np.ndarray:
    parts = [part for part in parts if part.size]
    space.meter.spend(1000 + 32 * sum(part.size for part in parts))
    if len(parts) == 1:
        return parts[0]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def _joined(parts: list[np.ndarray], space: Space) -> Sets:
    lengths = np.array([part.size for part in parts], np.int64)
    columns = np.concatenate([np.zeros(0, np.int64), *parts])
    return Sets.of_rows(space, lengths, columns)
