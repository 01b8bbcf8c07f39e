"""A loop's body at rest: what is certain of its inputs on every trip, and how its outputs follow from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcalc.programs.sparsity.abstract_value import Fact, unknown
from jaxcalc.programs.sparsity.sets import Space
from jaxcalc.programs.walk import Equation, Program, Value

__all__ = ["Body", "columns_of", "join", "live_equations", "piece_of", "settle", "slice_of", "without_sets"]

# Words of the largest packed sets of a body.
_PACKED_WORDS = 1 << 18
# After so many readings of a body its zeros are no longer followed.
_PATIENCE = 4
# A stacked array with a smaller share of elements that may differ from zero is taken for a mask.
_MOSTLY = 0.9


@dataclass(eq=False)
class Body:
    """A loop's body as the loop settles: what is certain of its inputs on every trip, and its outputs in local columns.

    Args:
      program: takes constants, carry, slices.
      counts: how many constants, carried values and slices.
      kinds: of each carried value: ``"kept"`` (never changes), ``"counted"`` (known, differs from trip to trip),
        ``"plain"`` (unknown, no column reaches it) or ``"carried"``.
      inputs, outputs: facts in local columns.
      offsets: first local column of every input that carries dependencies.
      space: of the local columns.
      varies: whether the reading asked for a value that differs from trip to trip.
    """

    program: Program
    counts: tuple[int, int, int]
    kinds: list[str]
    inputs: list[Fact]
    outputs: list[Fact]
    offsets: dict[int, int]
    space: Space
    varies: bool


def settle(reader: Any, program: Program, constants: list[Fact], carry: list[Fact], slices: list[Fact], space: Space):
    """Read a body until what is certain of its inputs before the first trip is so after every trip.

    Each carried value starts with the strongest claim that its first value allows (never changes, or is at least known)
    and falls to weaker ones (unknown; carries dependencies) as a reading shows. The last reading proves the claims.
    """
    watch = [False]
    for fact in slices:
        if fact.varying:
            fact.watch = watch
    first = len(constants)
    kinds = ["counted" if fact.value() is not None else "plain" for fact in carry]
    kinds = [kind if fact.sets is None else "carried" for kind, fact in zip(kinds, carry)]
    supports = [fact.support() if fact.sets is None else None for fact in carry]
    rounds = 0
    while True:
        watch[0] = False
        held = [_carried_fact(*given, watch, zeros) for *given, zeros in zip(carry, kinds, supports)]
        inputs, offsets, local = _seed([*constants, *held, *slices], kinds, first, space)
        outputs = reader.run(program, inputs, local)
        fallen = [_falls(kind, inputs[first + n], outputs[n]) for n, kind in enumerate(kinds)]
        joined = list(supports)
        for n, kind in enumerate(fallen):
            if kind == "plain":
                joined[n] = None if rounds >= _PATIENCE else join([supports[n], outputs[n].support()])
        if fallen == kinds and all(map(_equal, joined, supports)):
            counts = (first, len(carry), len(slices))
            return Body(program, counts, kinds, inputs, outputs, offsets, local, watch[0])
        kinds, supports, rounds = fallen, joined, rounds + 1


def _falls(kind: str, before: Fact, after: Fact) -> str:
    """What may be claimed of a carried value, given what was claimed before a trip and what is found after it."""
    if kind == "carried" or after.sets is not None:
        return "carried"
    if kind == "plain":
        return "plain"
    if after is before:
        return "kept"
    if kind == "kept":  # it was seen to come back unchanged, but only while more was claimed of the others
        return "plain"
    return "counted" if after.may_be_known() else "plain"


def slice_of(fact: Fact) -> Fact:
    """What is certain of one slice of a stacked array on every trip: that it is zero wherever all slices are."""

    def support():
        whole = fact.support()
        if whole is None:
            return None
        ever = whole.reshape(fact.shape[0], -1).any(axis=0)
        # Many zeros that are not on every trip: a mask, whose values are worth following.
        if piece.watch is not None and whole.mean() < _MOSTLY * ever.mean():
            piece.watch[0] = True
        return np.asarray(ever)

    known = fact.may_be_known() and fact.sets is None
    piece = Fact(
        fact.shape[1:],
        fact.dtype,
        fact.sets,
        (lambda: None) if known else None,
        None if fact.plain else support,
        at_point=fact.at_point,
    )
    piece.varying = known
    return piece


def _carried_fact(fact: Fact, kind: str, watch: list[bool], support: np.ndarray | None) -> Fact:
    match kind:
        case "kept" | "carried":
            return fact
        case "counted":
            counted = Fact(fact.shape, fact.dtype, value=lambda: None, at_point=fact.at_point)
            counted.watch, counted.varying = watch, True
            return counted
    return Fact(fact.shape, fact.dtype, support=None if support is None else lambda: support)


def _seed(facts: list[Fact], kinds: list[str], first: int, space: Space) -> tuple[list[Fact], dict[int, int], Space]:
    """Give each element of what carries dependencies a column of its own."""
    offsets, total, largest = {}, 0, 1
    for number, fact in enumerate(facts):
        carried = first <= number < first + len(kinds) and kinds[number - first] == "carried"
        if carried or fact.sets is not None:
            offsets[number] = total
            total += fact.size
            largest = max(largest, fact.size)
    local = Space(total, largest * max(1, total // 64) <= _PACKED_WORDS, space.meter)
    seeded = [
        Fact(fact.shape, fact.dtype, local.identity(fact.size, offsets[number])) if number in offsets else fact
        for number, fact in enumerate(facts)
    ]
    return seeded, offsets, local


def columns_of(body: Body) -> tuple[int, int, int]:
    """Where the local columns of the carry begin and end, and how many there are."""
    first, second, _ = body.counts
    sizes = {number: body.inputs[number].size for number in body.offsets}
    start = sum(size for number, size in sizes.items() if number < first)
    stop = start + sum(size for number, size in sizes.items() if first <= number < first + second)
    return start, stop, body.space.columns


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def join(supports: Sequence[np.ndarray | None]) -> np.ndarray | None:
    if any(support is None for support in supports):
        return None
    return np.logical_or.reduce(supports)  # pyright: ignore


def live_equations(reader: Any, body: Body) -> list[Equation]:
    """The equations of a body without those of which nothing is certain on any trip."""
    facts = dict(zip(body.program.inputs, body.inputs))
    live = []
    for equation in body.program.equations:
        inputs = [reader.fact(value, facts) for value in equation.inputs]
        outputs = reader.equation(equation, inputs, body.space)
        facts.update(zip(equation.outputs, outputs))
        if not all(fact.plain for fact in outputs):
            live.append(equation)
    return live


def piece_of(fact: Fact, trip: int) -> Fact:
    """One slice of a stacked array."""
    size = math.prod(fact.shape[1:])
    rows = np.arange(trip * size, (trip + 1) * size)
    sets = None if fact.sets is None else fact.sets.take(rows)
    value = fact.value() if fact.sets is None and fact.may_be_known() else None
    piece = unknown(Value(fact.shape[1:], fact.dtype))
    if sets is not None:
        return Fact(fact.shape[1:], fact.dtype, sets)
    support = fact.support()
    if value is None and support is None:
        return piece
    return Fact(
        fact.shape[1:],
        fact.dtype,
        value=None if value is None else lambda: value[trip],
        support=lambda: None if support is None else support[rows],
        at_point=fact.at_point,
    )


def without_sets(fact: Fact) -> Fact:
    """An unknown in place of what carries dependencies."""
    return Fact(fact.shape, fact.dtype) if fact.sets is not None else fact
