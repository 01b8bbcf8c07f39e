"""Dependencies through loops and branches.

A loop's body is read once with columns of its own (the elements of what it carries and takes in): this is its transfer
matrix, and trips are products with it (``transfer``). Only where the body moves elements to places that differ from
trip to trip (an index made of the counter) are the trips told apart (``trips``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxcalc.programs.sparsity import constant_folding
from jaxcalc.programs.sparsity.abstract_value import Fact, Options, unknown
from jaxcalc.programs.sparsity.loop_fixpoint import Body, join, live_equations, piece_of, settle, slice_of, without_sets
from jaxcalc.programs.sparsity.per_trip import advance, by_values, first_state
from jaxcalc.programs.sparsity.sets import Sets, Space
from jaxcalc.programs.sparsity.transfer import by_transfer, closure
from jaxcalc.programs.walk import Branches, Equation, Program, Scan, Value, While, prune

__all__ = ["branches", "scan", "while_"]

# Equations that a loop read trip by trip may come to.
_MOST_STEPS = 1 << 18
# Elements that cost as much as an equation.
_WIDE = 1 << 8
# Trips of a loop whose condition is known.
_MOST_TRIPS = 1 << 16


def scan(reader: Any, equation: Equation, facts: list[Fact], space: Space) -> list[Fact]:
    """A loop of known length."""
    nested: Scan = equation.nested  # pyright: ignore
    first, second = nested.num_constants, nested.num_constants + nested.num_carry
    constants, carry, stacked = facts[:first], facts[first:second], facts[second:]
    if nested.length == 0:
        return [*carry, *(unknown(value) for value in equation.outputs[nested.num_carry :])]
    body = settle(reader, nested.body, constants, carry, [slice_of(fact) for fact in stacked], space)
    trips = list(range(nested.length))[:: -1 if nested.reverse else 1]
    count = nested.num_carry
    certain = _certain_outputs(reader, equation, nested, body, facts)
    if not any(fact.sets is not None for fact in body.outputs):
        return certain
    elements = sum(out.size for inner in nested.body.everything() for out in inner.outputs)
    if body.varies and nested.length * max(len(nested.body.equations), elements / _WIDE) <= _MOST_STEPS:
        ends, rows = by_values(reader, body, constants, carry, stacked, trips, space)
    else:
        ends, rows = by_transfer(body, constants, carry, stacked, trips, space)
    found = []
    for number, value in enumerate(equation.outputs):
        sets = ends[number] if number < count else rows[number - count]
        found.append(certain[number] if sets is None else Fact(value.shape, value.dtype, sets))
    return found


def while_(reader: Any, equation: Equation, facts: list[Fact], space: Space) -> list[Fact]:
    """A loop until a condition fails: counted where the condition is known, otherwise of any number of trips."""
    nested: While = equation.nested  # pyright: ignore
    first, second = nested.num_condition_constants, nested.num_condition_constants + nested.num_body_constants
    tests, constants, carry = facts[:first], facts[first:second], facts[second:]
    body = settle(reader, nested.body, constants, carry, [], space)
    trips, ends = _count(reader, nested, body, tests, constants, carry, space)
    kept = [fact if kind == "kept" else None for kind, fact in zip(body.kinds, carry)]
    if ends is not None:
        return [
            fact if kind == "kept" else Fact(value.shape, value.dtype, end.sets) if end.sets is not None else end
            for kind, fact, end, value in zip(body.kinds, carry, ends, equation.outputs)
        ]
    if trips is not None and not trips:
        return list(carry)
    sets: Sequence[Sets | None] = [None] * len(carry)
    if any(fact.sets is not None for fact in body.outputs):
        if trips is None:
            sets = closure(body, constants, carry, space)
        else:
            sets, _ = by_transfer(body, constants, carry, [], list(range(trips)), space)
    found = []
    for number, value in enumerate(equation.outputs):
        if sets[number] is not None:
            found.append(Fact(value.shape, value.dtype, sets[number]))
        else:
            found.append(kept[number] or _zeros_only(value, body.inputs[len(constants) + number], body, number))
    return found


def branches(reader: Any, equation: Equation, facts: list[Fact], space: Space) -> list[Fact]:
    """A choice: the branch that is taken where the index is known, else the union of those that may be."""
    nested: Branches = equation.nested  # pyright: ignore
    last = len(nested.branches) - 1
    range_ = facts[0].bounds()
    low, high = (0, last) if range_ is None else (int(np.clip(side.reshape(()), 0, last)) for side in range_)
    results = [reader.run(branch, facts[1:], space) for branch in nested.branches[low : high + 1]]
    columns = ([result[number] for result in results] for number in range(len(equation.outputs)))
    return [_either(value, column, facts[0]) for value, column in zip(equation.outputs, columns)]


def _either(value: Value, facts: Sequence[Fact], decided: Fact) -> Fact:
    """What is certain whichever of several arrays it is, and who decides that."""
    if all(fact is facts[0] for fact in facts):
        return facts[0]
    sets = [fact.sets for fact in facts if fact.sets is not None]
    if sets:
        return Fact(value.shape, value.dtype, sets[0].union(*sets[1:]))
    return Fact(
        value.shape,
        value.dtype,
        support=lambda: join([fact.support() for fact in facts]),
        bounds=lambda: _range([fact.bounds() for fact in facts]),
        options=lambda: _options([fact.value() for fact in facts], decided),
    )


def _options(arrays: list[Any], decided: Fact) -> Options | None:
    return (
        None
        if any(array is None for array in arrays) or len(arrays) > constant_folding.MOST_OPTIONS
        else (decided, arrays)
    )


def _range(ranges: Sequence[Any]) -> Any:
    if any(pair is None for pair in ranges):
        return None
    return np.minimum.reduce([pair[0] for pair in ranges]), np.maximum.reduce([pair[1] for pair in ranges])


def _zeros_only(value: Value, fact: Fact, body: Body, number: int) -> Fact:
    """A carried value that no column reaches, after any number of trips."""
    return Fact(value.shape, value.dtype, support=fact.support) if body.kinds[number] == "plain" else unknown(value)


def _count(reader, nested: While, body: Body, tests, constants, carry, space):
    """Number of trips if it is certain; and the carry after them if the body had to be read for each."""
    unpacked = Space(0, True, space.meter)
    first = body.counts[0]
    probe = reader.run(nested.condition, [*tests, *(without_sets(f) for f in body.inputs[first:])], unpacked)[0]
    if not probe.may_be_known():
        return None, None
    live = live_equations(reader, body)
    if not body.varies:  # values alone: the condition's and what it needs
        live = [equation for equation in live if equation.nested is None]
        body = replace(body, inputs=[without_sets(fact) for fact in body.inputs])
        constants, space = [without_sets(fact) for fact in constants], unpacked
        carry = [without_sets(fact) for fact in carry]
    state = first_state(body, constants, carry)
    for trip in range(_MOST_TRIPS):
        goes_on = reader.run(nested.condition, [*tests, *map(without_sets, state)], unpacked)[0].value()
        if goes_on is None or trip * len(live) > _MOST_STEPS:
            return None, None
        if np.any(goes_on) != np.all(goes_on):  # a vmapped loop of which some lanes have ended
            return None, None
        if not np.all(goes_on):
            return trip, state if body.varies else None
        state = advance(reader, body, live, constants, state, [], space)
    return None, None


def _certain_outputs(reader, equation: Equation, nested: Scan, body: Body, facts: list[Fact]) -> list[Fact]:
    """What is certain of a loop's outputs that no column reaches; values are found by running it on the host."""
    first, count = body.counts[0], nested.num_carry
    found = []
    for number, value in enumerate(equation.outputs):
        fact = body.outputs[number]
        if fact.sets is not None or (number < count and body.kinds[number] == "carried"):
            found.append(unknown(value))
        elif number < count and body.kinds[number] == "kept":
            found.append(facts[first + number])
        elif number < count and body.kinds[number] == "plain":
            found.append(_zeros_only(value, body.inputs[first + number], body, number))
        elif not fact.may_be_known():
            found.append(_stacked_zeros(value, fact, nested.length))
        else:
            found.append(
                Fact(
                    value.shape,
                    value.dtype,
                    value=_Run(reader, nested, facts, number).value,
                    support=None if number < count else _stacked_zeros(value, fact, nested.length).support,
                    at_point=fact.at_point,
                )
            )
    return found


def _stacked_zeros(value: Value, fact: Fact, length: int) -> Fact:
    def support():
        piece = fact.support()
        return None if piece is None else np.tile(piece, length)

    return Fact(value.shape, value.dtype, support=support)


@dataclass(eq=False)
class _Run:
    """One known output of a loop, computed on the host when it is asked for."""

    reader: Any
    nested: Scan
    facts: list[Fact]
    number: int

    def value(self) -> np.ndarray | None:
        """The array, or nothing if it turns out not to be certain."""
        nested, count = self.nested, self.nested.num_carry
        needed, program = _needed(nested, self.number)
        if nested.length * max(1, len(program.equations)) > _MOST_STEPS:
            return None
        first = nested.num_constants
        space = Space(0, True, self.reader.meter)
        inputs = [without_sets(fact) for fact in self.facts]
        state = dict(zip(range(count), inputs[first : first + count]))
        rows: list[Any] = [None] * nested.length
        for trip in list(range(nested.length))[:: -1 if nested.reverse else 1]:
            pieces = [piece_of(fact, trip) for fact in inputs[first + count :]]
            carried = [state[n] for n in range(count)]
            outputs = dict(zip(needed, self.reader.run(program, [*inputs[:first], *carried, *pieces], space)))
            for n in range(count):
                state[n] = outputs.get(n, state[n])
                if n in outputs and outputs[n].value() is None:
                    return None
            if self.number >= count:
                rows[trip] = outputs[self.number].value()
                if rows[trip] is None:
                    return None
        return state[self.number].value() if self.number < count else np.stack(rows)


def _needed(nested: Scan, number: int) -> tuple[list[int], Program]:
    """The outputs of a body that one output of its loop needs, and the body without the others."""
    first, count = nested.num_constants, nested.num_carry
    needed = {number}
    while True:
        program = prune(nested.body, sorted(needed))
        used = {value for equation in program.equations for value in equation.inputs} | set(program.outputs)
        more = {n for n in range(count) if nested.body.inputs[first + n] in used} | needed
        if more == needed:
            return sorted(needed), program
        needed = more
