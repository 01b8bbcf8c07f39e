"""A loop's body at rest: what is certain of its inputs on every trip, and how its outputs follow from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcalc.programs.sparsity.facts import Fact, unknown
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


def settle(reader, program, constants, carry, slices, space) -> Body:
    """Read a body until what is certain of its inputs holds on every trip."""
    watch = [False]
    for fact in slices:
        if fact.varying:
            fact.watch = watch
    kinds = [
        "carried" if fact.sets is not None else "counted" if fact.value() is not None else "plain" for fact in carry
    ]
    supports = [fact.support() if fact.sets is None else None for fact in carry]
    for round_ in range(2 * len(carry) + 8):
        watch[0] = False
        held = [*constants]
        for number, (fact, kind) in enumerate(zip(carry, kinds)):
            held.append(_carried_fact(fact, kind, watch, supports[number]))
        inputs, offsets, local = _seed([*held, *slices], kinds, len(constants), space)
        outputs = reader.run(program, inputs, local)
        stable = True
        for number, kind in enumerate(kinds):
            source, result = inputs[len(constants) + number], outputs[number]
            changed = kind
            if result.sets is not None or kind == "carried":
                changed = "carried"
            elif result is source or (kind == "kept"):
                changed = "kept" if kind in ("counted", "kept") else kind
            elif kind == "counted" and not result.may_be_known():
                changed = "plain"
            if kind == "kept" and result is not source:
                changed = "carried" if result.sets is not None else "counted" if result.may_be_known() else "plain"
            if changed == "plain":
                joined = None if round_ >= _PATIENCE else join([supports[number], result.support()])
                if not _equal(joined, supports[number]):
                    supports[number], stable = joined, False
            if changed != kind:
                kinds[number], stable = changed, False
        if stable:
            break
    else:  # nothing left to fall back on but everything at once; never seen, and safe
        raise AssertionError("a loop's body does not settle")
    counts = (len(constants), len(carry), len(slices))
    return Body(program, counts, kinds, inputs, outputs, offsets, local, watch[0])


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
        return ever

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
        inputs = [reader._fact(value, facts) for value in equation.inputs]
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
