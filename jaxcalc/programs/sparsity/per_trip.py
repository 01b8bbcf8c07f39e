"""Trips of a loop with the values that each has: indices made of the counter, masks, stacked numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.core import Tracer

from jaxcalc.programs.sparsity.abstract_value import Fact, constant
from jaxcalc.programs.sparsity.loop_fixpoint import Body, columns_of, live_equations, piece_of, without_sets
from jaxcalc.programs.sparsity.sets import Links, Sets, Space, links
from jaxcalc.programs.sparsity.transfer import ends_of, gathered, slices
from jaxcalc.programs.sparsity.unrolled import chain, vectorised
from jaxcalc.programs.walk import Value

__all__ = ["advance", "by_values", "first_state"]

# Below, reading trip by trip is cheaper than vectorising the body.
_FEW_STEPS = 256


def by_values(reader, body, constants, carry, stacked, trips, space):
    """Carry after all trips, and what is stacked up, with the values of each trip: of all at once where that can be."""
    live = live_equations(reader, body)
    outputs, counted = None, None
    if len(trips) * len(live) > _FEW_STEPS and all(equation.nested is None for equation in live):
        counted = _counted(reader, body, live, constants, carry, stacked, trips)
    if counted is not None:
        first, second, _ = body.counts
        varying = counted | {n: fact for n, fact in enumerate(stacked, first + second) if n not in body.offsets}
        steady = {number: offset for number, offset in body.offsets.items() if number < first}
        moving = {number: offset for number, offset in body.offsets.items() if number >= first}
        inputs = [*constants, *body.inputs[first:]]
        outputs = vectorised(
            reader, body.program, live, inputs, varying, moving, steady, body.space.columns, len(trips)
        )
    if outputs is None:
        return _trip_by_trip(reader, body, live, constants, carry, stacked, trips, space)
    return _chained(body, outputs, constants, carry, stacked, trips, space)


def _chained(body, outputs, constants, carry, stacked, trips, space):
    first, second, _ = body.counts
    carried = [number for number in range(second) if body.kinds[number] == "carried"]
    rows = [n for n in range(second, len(outputs)) if outputs[n].sets is not None]
    length = len(trips)
    matrix, start, stop, width = _stacked_blocks(body, outputs, carried, length)
    result, *_ = _stacked_blocks(body, outputs, rows, length)
    fixed = gathered(constants, [n for n in body.offsets if n < first], space)
    taken = [n - first - second for n in body.offsets if n >= first + second]
    pieces = slices(stacked, taken, length, space)
    state = gathered(carry, carried, space)

    def outside(whole: Links) -> Sets:
        """What constants and slices contribute."""
        steady = fixed.contract(whole[:, :start].tocsr()) if start else space.empty(whole.shape[0])
        if stop == width:
            return steady
        part, size = whole[:, stop:].tocoo(), width - stop
        trip = part.coords[0] // max(1, whole.shape[0] // length)
        spread = links(part.coords[0], trip * size + part.coords[1], (whole.shape[0], length * size))
        return steady.union(pieces.contract(spread))

    end, views = chain(state, matrix[:, start:stop].tocsr(), outside(matrix), result[:, start:stop].tocsr(), trips)
    stacks: list[Sets | None] = [None] * (len(outputs) - second)
    if rows:
        whole = views.union(outside(result))
        height, place = whole.rows // length, 0
        for number in rows:
            size = outputs[number].size // length
            index = np.arange(length)[:, None] * height + place + np.arange(size)
            stacks[number - second] = whole.take(index.reshape(-1))
            place += size
    return ends_of(body, carried, end), stacks


def _stacked_blocks(body: Body, outputs: Sequence[Fact], numbers: Sequence[int], length: int):
    """As ``_blocks``, of all trips: rows are trips, then elements."""
    parts, sizes = [], []
    spaces = [outputs[n].sets.space for n in numbers if outputs[n].sets is not None]  # pyright: ignore
    local = spaces[0] if spaces else body.space
    for number in numbers:
        fact = outputs[number]
        parts.append(local.empty(fact.size) if fact.sets is None else fact.sets)
        sizes.append(fact.size // length)
    if parts:
        starts = np.cumsum([0, *(part.rows for part in parts)])
        index = [s + np.arange(length)[:, None] * size + np.arange(size) for s, size in zip(starts, sizes)]
        matrix = local.stack(parts).take(np.concatenate(index, axis=1).reshape(-1)).matrix()
    else:
        matrix = links(np.zeros(0, int), np.zeros(0, int), (0, body.space.columns))
    return matrix, *columns_of(body)


def _counted(reader, body, live, constants, carry, stacked, trips) -> dict[int, Fact] | None:
    """Stacked values of what is known on each trip and differs; ``None`` if some turn out not to be certain."""
    first = body.counts[0]
    numbers = [n for n, kind in enumerate(body.kinds) if kind == "counted"]
    made = {value: equation for equation in live for value in equation.outputs}
    found: dict[int, Any] = {}
    for number in numbers:
        values = _progression(body, made, first, number, carry[number], len(trips))
        if values is None:
            break
        found[first + number] = values
    else:
        return _ordered(found, body, trips, carry, first)
    rows: dict[int, list[np.ndarray]] = {n: [] for n in numbers}
    state = [without_sets(fact) for fact in first_state(body, constants, carry)]
    constants = [without_sets(fact) for fact in constants]
    space = Space(0, True, reader.meter)
    for trip in trips:
        for number in numbers:
            value = state[number].value()
            if value is None:
                return None
            rows[number].append(value)
        pieces = [without_sets(piece_of(fact, trip)) for fact in stacked]
        state = advance(reader, body, live, constants, state, pieces, space)[: len(carry)]
        state = [without_sets(fact) for fact in state]
    return _ordered({first + n: np.stack(values) for n, values in rows.items()}, body, trips, carry, first)


def _ordered(found, body, trips, carry, first) -> dict[int, Fact]:
    """Values in the order in which slices are stacked."""
    place = np.argsort(np.asarray(trips))
    facts = {}
    for number, values in found.items():
        stacked = values[place]
        value = Value(stacked.shape, body.inputs[number].dtype)
        facts[number] = constant(stacked, value, at_point=carry[number - first].at_point)
    return facts


def _progression(body, made, first: int, number: int, start: Fact, length: int) -> np.ndarray | None:
    """The values of an integer that grows by the same amount on every trip."""
    source, result = body.program.inputs[first + number], body.program.outputs[number]
    equation = made.get(result)
    if equation is None or equation.name != "add" or source.shape != () or not start.integral:
        return None
    step = [value for value in equation.inputs if value is not source]
    value = start.value()
    if len(step) != 1 or step[0].literal is None or isinstance(step[0].literal, Tracer) or value is None:
        return None
    last = int(value) + int(step[0].literal) * length
    room = np.iinfo(start.dtype)
    if not room.min <= last <= room.max:
        return None
    return (int(value) + int(step[0].literal) * np.arange(length)).astype(start.dtype)


def _trip_by_trip(reader, body, live, constants, carry, stacked, trips, space):
    """Carry after all trips, and what is stacked up, with the values of each trip."""
    second = body.counts[1]
    state = first_state(body, constants, carry)
    kept: list[list[Sets | None]] = [[None] * len(trips) for _ in range(len(body.outputs) - second)]
    for trip in trips:
        outputs = advance(reader, body, live, constants, state, [piece_of(fact, trip) for fact in stacked], space)
        state = outputs[:second]
        for row, fact in zip(kept, outputs[second:]):
            row[trip] = fact.sets
    ends = [_padded(fact, kind, space) for fact, kind in zip(state, body.kinds)]
    stacks = []
    for number, row in enumerate(kept):
        size = body.outputs[second + number].size
        if all(sets is None for sets in row) and body.outputs[second + number].sets is None:
            stacks.append(None)
        else:
            stacks.append(space.stack([space.empty(size) if sets is None else sets for sets in row]))
    return ends, stacks


def first_state(body: Body, constants: list[Fact], carry: list[Fact]) -> list[Fact]:
    """The facts of the carry before the first trip; of what is not certain on later trips nothing is said."""
    return [
        body.inputs[len(constants) + number] if kind == "plain" else fact
        for number, (kind, fact) in enumerate(zip(body.kinds, carry))
    ]


def advance(reader, body, live, constants, state, pieces, space) -> list[Fact]:
    """One trip."""
    outputs = reader.run(body.program, [*constants, *state, *pieces], space, live)
    for number, kind in enumerate(body.kinds):
        fact = outputs[number]
        if kind == "plain":
            outputs[number] = body.inputs[len(constants) + number]
        elif kind == "counted":
            fact.value()  # now, so that no chain of trips builds up
    return outputs


def _padded(fact: Fact, kind: str, space: Space) -> Sets | None:
    if kind != "carried":
        return None
    return space.empty(fact.size) if fact.sets is None else fact.sets
