"""How dependencies pass through one operation of a tangent or cotangent program.

Such a program is linear in what carries dependencies, so the same rules follow the zeros of other arrays: an element
that may differ from zero is one that the single column "may differ from zero" reaches.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcalc.programs import primitives
from jaxcalc.programs.sparsity import indexed
from jaxcalc.programs.sparsity.abstract_value import Fact
from jaxcalc.programs.sparsity.contractions import convolution, dot, triangular
from jaxcalc.programs.sparsity.selection import window
from jaxcalc.programs.sparsity.sets import Meter, Sets, Space, links
from jaxcalc.programs.walk import Equation

__all__ = ["depend", "zeros"]

_WINDOWS = frozenset({"reduce_window_max", "reduce_window_min", "reduce_window_sum", "select_and_gather_add"})


def depend(
    equation: Equation, facts: Sequence[Fact], movement: Any, space: Space, notes: set[str]
) -> list[Sets | None]:
    """The dependencies of every output.

    Args:
      equation: without nested programs.
      facts: of its inputs.
      movement: for an operation that only moves elements, their places (``selection.fixed``).
      space: of the dependencies.
      notes: is told the name of an operation that is not known here, whose outputs depend on all that reaches it.
    """
    name, kind = equation.name, primitives.of(equation.name).kind
    found: list[Sets | None] | None
    if movement is not None:
        found = _moved(facts, movement, space)
    elif kind in ("read", "write"):
        found = _indexed(equation, facts, space)
    else:
        found = _named(equation, facts, space)
    if found is None:
        notes.add(name)
        found = _everything(equation, facts)
    return found


def zeros(equation: Equation, facts: Sequence[Fact], movement: Any, position: int, meter: Meter) -> np.ndarray | None:
    """Which elements of an output that no input's dependency reaches may differ from zero; ``None`` if all may."""
    name, row = equation.name, primitives.of(equation.name)
    power = name == "integer_pow" and equation.params["y"] > 0
    if not (row.zero or power) or any(fact.size == 0 for fact in facts):
        return None
    if not any(fact.support() is not None for fact in facts):
        return None
    space = Space(1, True, meter)
    marked = []
    for number, fact in enumerate(facts):
        if fact.sets is not None:
            return None
        support = fact.support()
        mask = np.ones(fact.size, np.uint64) if support is None else support.astype(np.uint64)
        follows = not ((row.zero == "first" and number > 0) or (name == "select_n" and number == 0))
        if row.kind in ("read", "write"):
            follows = number == 0 or (row.kind == "write" and number == indexed.update(equation))
        marked.append(fact.holding(Sets(mask[:, None], space) if follows else None))
    sets = depend(equation, marked, movement, space, set())[position]
    if sets is None:
        return np.zeros(equation.outputs[position].size, bool)
    found = sets.nonempty()
    if name == "gather":  # what lies outside is filled with something that need not be zero
        where = indexed.places(equation, facts)
        return None if where is None else found | ~where.covered
    return found


def _named(equation: Equation, facts: Sequence[Fact], space: Space) -> list[Sets | None] | None:
    name, params, row = equation.name, equation.params, primitives.of(equation.name)
    if name == "mul":
        return _multiplied(equation, facts)
    if name == "select_n":
        return _selected(equation, facts)
    if row.kind == "elementwise":
        return _elementwise(equation, facts)
    if row.kind == "reduction" and "axes" in params:
        return [_only(facts, 0, lambda sets: sets.reduce(facts[0].shape, params["axes"]))]
    if row.kind == "cumulative":
        return [_only(facts, 0, lambda sets: _running(sets, facts[0].shape, params["axis"], params["reverse"]))]
    if name in _WINDOWS and all(fact.sets is None for fact in facts[1:]):
        return [_only(facts, 0, lambda sets: _windowed(equation, sets, facts[0].shape))]
    if row.trailing and name != "triangular_solve":
        return _lanes(equation, facts, row.trailing)
    match name:
        case "dot_general":
            return dot(equation, facts)
        case "conv_general_dilated":
            return convolution(equation, facts)
        case "triangular_solve":
            return triangular(equation, facts, lambda: _lanes(equation, facts, 2))
        case "fft":
            return _lanes(equation, facts, len(params["fft_lengths"]))
        case "select_and_scatter_add" if facts[1].sets is None:
            return [_only(facts, 0, lambda sets: _windowed(equation, sets, facts[0].shape, transposed=True))]
        case "sort" | "top_k":
            axis = params["dimension"] if name == "sort" else params.get("axis", len(facts[0].shape) - 1)
            return _mixed_along(equation, facts, axis)
    return None


def _only(facts: Sequence[Fact], number: int, rule: Any) -> Sets | None:
    sets = facts[number].sets
    return None if sets is None else rule(sets)


def _moved(facts: Sequence[Fact], movement: Any, space: Space) -> list[Sets | None]:
    if len(facts) == 1:
        sets = facts[0].sets
        return [None if sets is None else sets.take(index) for index in movement]
    sets, size = facts[0].sets, facts[0].size
    if sets is not None and all(fact.sets is None for fact in facts[1:]):
        return [sets.take(None if index is None else np.where(index < size, index, -1)) for index in movement]
    stacked = space.stack([space.empty(fact.size) if fact.sets is None else fact.sets for fact in facts])
    return [stacked.take(index) for index in movement]


def _everything(equation: Equation, facts: Sequence[Fact]) -> list[Sets | None]:
    """Every element of every output depends on all that reaches the operation."""
    whole = _union([fact.sets.reduce((fact.size,), (0,)) for fact in facts if fact.sets is not None and fact.size])
    return [None if whole is None else whole.take(np.zeros(out.size, np.int64)) for out in equation.outputs]


def _union(parts: Sequence[Sets]) -> Sets | None:
    return parts[0].union(*parts[1:]) if parts else None


def spread(shape: Sequence[int], wide: Sequence[int]) -> np.ndarray | None:
    """Places among an operand's elements when numpy's rules stretch it; ``None`` for every element in its place."""
    if tuple(shape) == tuple(wide):
        return None
    size = math.prod(shape)
    if size == 1:
        return np.zeros(math.prod(wide), np.int64)
    return np.broadcast_to(np.arange(size).reshape(shape), wide).reshape(-1)


def _stretched(fact: Fact, wide: Sequence[int]) -> Sets | None:
    return None if fact.sets is None else fact.sets.take(spread(fact.shape, wide))


def _mask(fact: Fact, wide: Sequence[int]) -> np.ndarray | None:
    support = fact.support()
    if support is None:
        return None
    index = spread(fact.shape, wide)
    return support if index is None else support[index]


def _elementwise(equation: Equation, facts: Sequence[Fact]) -> list[Sets | None] | None:
    shape = equation.outputs[0].shape
    if len(equation.outputs) != 1 or any(fact.size != 1 and len(fact.shape) > len(shape) for fact in facts):
        return None
    return [_union([sets for fact in facts if (sets := _stretched(fact, shape)) is not None])]


def _multiplied(equation: Equation, facts: Sequence[Fact]) -> list[Sets | None]:
    """Where one factor is certainly zero nothing passes: 0 t = 0 for every finite tangent t."""
    shape = equation.outputs[0].shape
    first, second = facts
    parts = []
    for fact, other in ((first, second), (second, first)):
        sets = _stretched(fact, shape)
        if sets is not None:
            parts.append(sets.keep(_mask(other, shape)))
    return [_union(parts)]


def _selected(equation: Equation, facts: Sequence[Fact]) -> list[Sets | None]:
    """Each case where it may be chosen."""
    shape = equation.outputs[0].shape
    which, *cases = facts
    range_ = which.bounds()
    parts = []
    for number, case in enumerate(cases):
        sets = _stretched(case, shape)
        if sets is None:
            continue
        if range_ is not None:
            possible = np.asarray((range_[0] <= number) & (number <= range_[1]))
            sets = sets.keep(np.broadcast_to(possible, shape).reshape(-1))
        parts.append(sets)
    chosen = _stretched(which, shape)
    return [_union(parts if chosen is None else [*parts, chosen])]


def _indexed(equation: Equation, facts: Sequence[Fact], space: Space) -> list[Sets | None] | None:
    name = equation.name
    reads = primitives.of(name).kind == "read"
    update = indexed.update(equation)
    arrays = (0,) if reads else (0, update)
    if any(fact.sets is not None for number, fact in enumerate(facts) if number not in arrays):
        return None
    places = [number for number in range(1, len(facts)) if number not in arrays]
    several = indexed.alternatives(facts, places if name.startswith("dynamic") else [1])
    found: list[Sets] = []
    for each in [facts] if several is None else several[1]:
        where = indexed.places(equation, each)
        if where is None:
            return None
        if not reads:
            replaces = name in ("scatter", "dynamic_update_slice")
            found.append(indexed.write(facts[0].sets, facts[update].sets, where, replaces))
        elif facts[0].sets is not None:
            found.append(indexed.read(facts[0].sets, where))
    return [found[0].union(*found[1:]) if found else None]


def _running(sets: Sets, shape: Sequence[int], axis: int, reverse: bool) -> Sets:
    """The union of everything up to each place along an axis (from it on, if reversed)."""
    if not sets.rows:
        return sets
    if sets.space.packed:
        sets.space.meter.spend(2 * sets.data.size)
        data = sets.data.reshape(*shape, sets.space.words)
        data = np.flip(data, axis) if reverse else data
        data = np.bitwise_or.accumulate(data, axis=axis)
        data = np.flip(data, axis) if reverse else data
        return Sets(np.ascontiguousarray(data).reshape(-1, sets.space.words), sets.space)
    slack = np.zeros(len(shape), np.int64)
    slack[axis] = shape[axis] - 1
    return indexed.ahead(sets, shape, slack, backward=not reverse)


def _windowed(equation: Equation, sets: Sets, shape: Sequence[int], transposed: bool = False) -> Sets:
    """The union over each window, one axis after another; transposed, over the windows that hold each place."""
    params, rank = equation.params, len(shape)
    sizes, strides, padding = params["window_dimensions"], params["window_strides"], params["padding"]
    base = params.get("base_dilation") or (1,) * rank
    inner = params.get("window_dilation") or (1,) * rank
    current, goal = list(shape), equation.outputs[0].shape
    for axis in range(rank):
        places, source = (goal[axis], current[axis]) if transposed else (current[axis], goal[axis])
        rows, columns = window(source, places, sizes[axis], strides[axis], padding[axis][0], base[axis], inner[axis])
        if transposed:
            rows, columns = columns, rows
        sets = _along(sets, current, axis, rows, columns, goal[axis])
        current[axis] = goal[axis]
    return sets


def _along(sets: Sets, shape: Sequence[int], axis: int, rows: np.ndarray, columns: np.ndarray, length: int) -> Sets:
    """Contract one axis by a boolean matrix given by its entries."""
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    if length == shape[axis] and rows.size == length and np.array_equal(rows, columns):
        return sets
    lanes = np.arange(before)[:, None, None], np.arange(after)[None, None, :]
    target = ((lanes[0] * length + rows[None, :, None]) * after + lanes[1]).reshape(-1)
    source = ((lanes[0] * shape[axis] + columns[None, :, None]) * after + lanes[1]).reshape(-1)
    return sets.contract(links(target, source, (before * length * after, sets.rows)))


def _lanes(equation: Equation, facts: Sequence[Fact], trailing: int) -> list[Sets | None] | None:
    """Dense within each lane: everything depends on everything along the trailing axes."""
    reference = facts[-1].shape if equation.name == "triangular_solve" else facts[0].shape
    lanes = reference[: len(reference) - trailing]
    arrays = [*(fact.shape for fact in facts), *(out.shape for out in equation.outputs)]
    if any(tuple(shape[: len(lanes)]) != tuple(lanes) for shape in arrays):
        return None
    count = math.prod(lanes)
    parts = [f.sets.reduce((count, f.size // count), (1,)) for f in facts if f.sets is not None and f.size]
    whole = _union(parts)
    if whole is None:
        return [None for _ in equation.outputs]
    return [whole.take(np.repeat(np.arange(count), out.size // count)) for out in equation.outputs]


def _mixed_along(equation: Equation, facts: Sequence[Fact], axis: int) -> list[Sets | None]:
    """Dense along one axis, the same for all operands."""
    shape = facts[0].shape
    whole = _union([f.sets.reduce(shape, (axis,)) for f in facts if f.sets is not None])
    if whole is None:
        return [None for _ in equation.outputs]
    short = [1 if i == axis else length for i, length in enumerate(shape)]
    return [whole.take(spread(short, out.shape)) for out in equation.outputs]
