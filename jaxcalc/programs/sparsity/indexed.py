"""Reads and writes at computed places (gather, scatter, dynamic slices): known, bounded or unknown.

A window starts, along each axis of the operand, somewhere between a least and a greatest place. Where the two agree the
elements are known. Otherwise all that the window may cover is united: per axis, so that an index unknown along one axis
does not blur the others.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxcalc.programs.sparsity.abstract_value import Fact
from jaxcalc.programs.sparsity.sets import Sets, links
from jaxcalc.programs.walk import Equation

__all__ = ["Places", "ahead", "alternatives", "places", "read", "update", "write"]


@dataclass(frozen=True)
class Places:
    """Where the elements of all windows lie in the operand.

    Args:
      least: flat place of every element of the windows (in the order of the result or of the updates) with every start
        at its least; -1 where the window certainly lies outside and is left out.
      slack: shape (elements or 1, axes): how much later each start may be, along each axis of the operand.
      covered: whether the window certainly covers that place, wherever it starts, be it with another of its elements.
      shape: of the operand.
    """

    least: np.ndarray
    slack: np.ndarray
    covered: np.ndarray
    shape: tuple[int, ...]


def update(equation: Equation) -> int:
    """Which operand of a write holds what is written."""
    return 1 if equation.name == "dynamic_update_slice" else 2


def places(equation: Equation, facts: Sequence[Fact], exact: bool = False) -> Places | None:
    """Where the windows of an equation lie; ``exact`` asks for ``None`` unless every index is known."""
    name, params, shape = equation.name, equation.params, facts[0].shape
    if name in ("dynamic_slice", "dynamic_update_slice"):
        first = 1 if name == "dynamic_slice" else 2
        sizes = equation.outputs[0].shape if name == "dynamic_slice" else facts[1].shape
        found = [_range(fact, exact) for fact in facts[first:]]
        ranges = [pair for pair in found if pair is not None]
        if len(ranges) < len(found):
            return None
        low, high = (np.array([pair[side].reshape(()) for pair in ranges], np.int64) for side in (0, 1))
        return _places(low[None], high[None], sizes, shape, None, None, clip=True)
    pair = _range(facts[1], exact)
    if pair is None:
        return None
    numbers = params["dimension_numbers"]
    if name == "gather":
        sizes, windows, starts = params["slice_sizes"], numbers.offset_dims, numbers.start_index_map
        single, lanes = numbers.collapsed_slice_dims, numbers.start_indices_batching_dims
        result = equation.outputs[0].shape
    else:
        windows, starts = numbers.update_window_dims, numbers.scatter_dims_to_operand_dims
        single, lanes = numbers.inserted_window_dims, numbers.scatter_indices_batching_dims
        result = facts[2].shape
        missing = {*single, *numbers.operand_batching_dims}
        rest = iter([result[axis] for axis in sorted(windows)])
        sizes = tuple(1 if axis in missing else next(rest) for axis in range(len(shape)))
    batch = facts[1].shape[:-1]
    low, high = (_starts(side, batch, len(shape), starts, numbers.operand_batching_dims, lanes) for side in pair)
    mode = str(params["mode"]).upper()
    # Reads clamp where a program promises that nothing lies outside; writes leave out what does.
    clip = "CLIP" in mode or (name == "gather" and "PROMISE" in mode)
    return _places(low, high, sizes, shape, result, windows, clip)


def alternatives(facts: Sequence[Fact], numbers: Iterable[int]) -> tuple[Fact, list[list[Fact]]] | None:
    """What decides over the unknown ones among the numbered facts, and the facts for each of its decisions.

    ``None`` unless there are unknown ones, of which all have options that the same decides over.
    """
    unknown = {number: facts[number].options() for number in numbers if facts[number].value() is None}
    several = [pair for pair in unknown.values() if pair is not None]
    if not several or len(several) < len(unknown) or any(pair[0] is not several[0][0] for pair in several):
        return None
    decided, count = several[0][0], len(several[0][1])
    every = [list(facts) for _ in range(count)]
    for number, pair in unknown.items():
        for which, each in enumerate(every):
            array = pair[1][which]  # pyright: ignore[reportOptionalSubscript]
            each[number] = Fact(facts[number].shape, facts[number].dtype, value=lambda array=array: array)
    return decided, every


def _range(fact: Fact, exact: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Least and greatest value of indices, clipped to what fits; the whole range of integers where nothing is known."""
    if exact:
        value = fact.value()
        pair = None if value is None else (value, value)
    else:
        pair = fact.bounds()
        if pair is None:
            far = np.full(fact.shape, 1 << 40, np.int64)
            pair = (-far, far)
    if pair is None:
        return None
    low, high = (np.clip(side, -(1 << 40), 1 << 40).astype(np.int64) for side in pair)
    return low, high


def _starts(indices, batch, rank, axes, batching, lanes) -> np.ndarray:
    """Start of each window along each axis of the operand, shape (windows, axes)."""
    start = np.zeros((*batch, rank), np.int64)
    for k, axis in enumerate(axes):
        start[..., axis] = indices[..., k]
    for axis, lane in zip(batching, lanes):
        along = [1] * len(batch)
        along[lane] = batch[lane]
        start[..., axis] = np.arange(batch[lane]).reshape(along)
    return start.reshape(-1, rank)


def _places(low, high, sizes, shape, result, windows, clip) -> Places:
    """Flat places of all elements of all windows, in the order of ``result``, of which some axes are the windows'."""
    room = np.array(shape, np.int64) - np.array(sizes, np.int64)
    wholly = np.all((low >= 0) & (high <= room), axis=1)
    if clip:
        low, high, lost = np.clip(low, 0, room), np.clip(high, 0, room), np.zeros(low.shape[0], bool)
        wholly = np.ones(low.shape[0], bool)
    else:
        low, high = np.maximum(low, 0), np.minimum(high, room)
        lost = np.any(low > high, axis=1)
        low = np.where(lost[:, None], 0, low)
        high = np.where(lost[:, None], 0, high)
    strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], np.int64)
    offsets = np.zeros((), np.int64)
    for size, stride in zip(sizes, strides):
        offsets = offsets[..., None] + np.arange(size) * stride
    offsets = offsets.reshape(-1)
    least = (low @ strides)[:, None] + offsets
    least[lost] = -1
    slack = high - low
    covered = np.repeat((wholly & ~lost)[:, None], offsets.size, axis=1)
    if slack.any():
        # The latest start is not beyond an element that is so far into the window.
        for axis, within in enumerate(np.indices(tuple(sizes)).reshape(len(shape), -1)):
            covered &= within >= slack[:, axis, None]
    covered = covered.reshape(-1)
    slack = np.repeat(slack, offsets.size, axis=0) if slack.any() else np.zeros((1, len(shape)), np.int64)
    order = None if result is None else _layout(result, windows)
    if order is not None:
        least, covered = least.reshape(-1)[order], covered[order]
        slack = slack if slack.shape[0] == 1 else slack[order]
    return Places(least.reshape(-1), slack, covered, tuple(shape))


def _layout(result: Sequence[int], windows: Sequence[int]) -> np.ndarray | None:
    """For each element of the result, its number when counted window by window."""
    windows = sorted(windows)
    batch = [axis for axis in range(len(result)) if axis not in windows]
    order = [*batch, *windows]
    if order == sorted(order):
        return None
    counted = np.arange(math.prod(result)).reshape([result[axis] for axis in order])
    return counted.transpose(np.argsort(order)).reshape(-1)


def read(operand: Sets, where: Places) -> Sets:
    """What reaches the elements read: the sets at the places, or of all places that may be meant."""
    if where.slack.shape[0] == 1 and not where.slack.any():
        return operand.take(where.least)
    kinds, which = np.unique(where.slack, axis=0, return_inverse=True)
    which = which.reshape(-1)
    tables = [ahead(operand, where.shape, slack) for slack in kinds]
    index = np.where(where.least < 0, -1, where.least + operand.rows * which)
    return operand.space.stack(tables).take(index)


def write(operand: Sets | None, updates: Sets | None, where: Places, replaces: bool) -> Sets:
    """What reaches an array after updates were written into it, or combined with what is there."""
    size = math.prod(where.shape)
    parts = []
    if operand is not None:
        kept = operand
        if replaces:
            gone = np.zeros(size, bool)
            gone[where.least[where.covered]] = True
            kept = operand.keep(~gone)
        parts.append(kept)
    if updates is not None:
        kinds, which = np.unique(where.slack, axis=0, return_inverse=True)
        which = np.broadcast_to(which.reshape(-1), where.least.shape)
        for number, slack in enumerate(kinds):
            chosen = np.flatnonzero((which == number) & (where.least >= 0))
            landed = updates.contract(links(where.least[chosen], chosen, (size, updates.rows)))
            parts.append(ahead(landed, where.shape, slack, backward=True))
    return parts[0].union(*parts[1:])


def ahead(sets: Sets, shape: Sequence[int], slack: np.ndarray, backward: bool = False) -> Sets:
    """Row ``p`` of the answer unites rows ``p + s`` for all steps ``s`` within the slack of each axis."""
    for axis, width in enumerate(slack):
        width = int(min(width, shape[axis] - 1))
        reach = 0
        while reach < width:  # windows of doubling width
            step = min(reach + 1, width - reach)
            numbers = np.arange(sets.rows).reshape(shape)
            moved = np.full(shape, -1)
            near, far = [slice(None)] * len(shape), [slice(None)] * len(shape)
            near[axis], far[axis] = slice(None, shape[axis] - step), slice(step, None)
            if backward:
                near, far = far, near
            moved[tuple(near)] = numbers[tuple(far)]
            sets = sets.union(sets.take(moved.reshape(-1)))
            reach += step
    return sets
