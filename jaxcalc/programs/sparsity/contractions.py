"""Dependencies through sums of products: matrix products, convolutions, triangular solves."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxcalc.programs.sparsity.abstract_value import Fact
from jaxcalc.programs.sparsity.selection import window
from jaxcalc.programs.sparsity.sets import Sets, links
from jaxcalc.programs.walk import Equation

__all__ = ["convolution", "dot", "triangular"]

# Products of a convolution that are listed one by one (beyond, channels are united first).
_LISTED = 1 << 21
# Size of the largest triangular matrix whose zeros are followed through its inverse.
_CLOSED = 512


def dot(equation: Equation, facts: Sequence[Fact]) -> list[Sets | None]:
    """``out[b, i, j] = sum over k of left[b, i, k] right[b, k, j]``: what passes has a partner that may not be zero."""
    (contract, batch) = equation.params["dimension_numbers"]
    parts = []
    for side in (0, 1):
        sets = facts[side].sets
        if sets is not None:
            parts.append(_dot_side(sets, facts, side, contract, batch))
    return [parts[0].union(*parts[1:]) if parts else None]


def _dot_side(sets: Sets, facts: Sequence[Fact], side: int, contract: Any, batch: Any) -> Sets:
    mine, other = facts[side].shape, facts[1 - side].shape
    free = [axis for axis in range(len(mine)) if axis not in contract[side] and axis not in batch[side]]
    partner = [axis for axis in range(len(other)) if axis not in contract[1 - side] and axis not in batch[1 - side]]
    lanes = math.prod(mine[axis] for axis in batch[side])
    inner = math.prod(mine[axis] for axis in contract[side])
    own, others = math.prod(mine[axis] for axis in free), math.prod(other[axis] for axis in partner)
    order = [*batch[side], *contract[side], *free]
    if order != list(range(len(mine))):
        sets = sets.take(np.arange(sets.rows).reshape(mine).transpose(order).reshape(-1))
    support = facts[1 - side].support()
    lane = np.arange(lanes)[:, None, None]
    if support is None:
        sums = sets.reduce((lanes, inner, own), (1,))
        place = np.broadcast_to(lane * own + np.arange(own)[None, None, :], (lanes, others, own))
    else:
        order = [*batch[1 - side], *partner, *contract[1 - side]]
        support = support.reshape(other).transpose(order).reshape(lanes * others, inner)
        # Equal rows of zeros give equal sums: each is formed once for every lane.
        keyed = np.concatenate([np.repeat(np.arange(lanes), others)[:, None], np.packbits(support, axis=1)], axis=1)
        _, first, which = np.unique(keyed, axis=0, return_index=True, return_inverse=True)
        row, k = np.nonzero(support[first])
        column = np.arange(own)
        target = (row[:, None] * own + column).reshape(-1)
        source = (((first[row] // max(others, 1)) * inner + k)[:, None] * own + column).reshape(-1)
        sums = sets.contract(links(target, source, (first.size * own, sets.rows)))
        place = which.reshape(lanes, others, 1) * own + column
    # The result's axes: lanes, what the left operand leaves, what the right one leaves.
    return sums.take((place if side == 1 else place.transpose(0, 2, 1)).reshape(-1))


def triangular(equation: Equation, facts: Sequence[Fact], dense: Callable[[], Any]) -> list[Sets | None]:
    """Solve with a triangular matrix: an unknown depends on the right-hand sides that substitution meets before it."""
    matrix, right = facts
    if matrix.sets is not None or right.sets is None or not right.size:
        return dense()
    params, shape = equation.params, right.shape
    axis = len(shape) - (2 if params["left_side"] else 1)
    length = shape[axis]
    lower = params["lower"] != params["transpose_a"]
    inverse = np.tri(length, dtype=bool)
    inverse = inverse if lower else inverse.T
    support = matrix.support()
    lanes = math.prod(shape[:-2])
    patterns = np.broadcast_to(inverse, (lanes, length, length))
    if support is not None and length <= _CLOSED:
        entries = support.reshape(lanes, length, length)
        entries = entries.transpose(0, 2, 1) if params["transpose_a"] else entries
        reach = (entries & inverse) | np.eye(length, dtype=bool)
        for _ in range(max(1, length - 1).bit_length()):
            reach = np.matmul(reach.astype(np.float32), reach.astype(np.float32)) > 0
        patterns = reach
    if not params["left_side"]:
        patterns = patterns.transpose(0, 2, 1)
    lane, row, column = np.nonzero(patterns)
    width = shape[-1] if params["left_side"] else shape[-2]
    across = np.arange(width)
    if params["left_side"]:
        target, source = (((lane * length + i)[:, None] * width + across).reshape(-1) for i in (row, column))
    else:
        target, source = (((lane[:, None] * width + across) * length + i[:, None]).reshape(-1) for i in (row, column))
    return [right.sets.contract(links(target, source, (right.size, right.size)))]


def convolution(equation: Equation, facts: Sequence[Fact]) -> list[Sets | None] | None:
    """``out[n, o, s] = sum over c, k of image[n, c, s + k] kernel[o, c, k]``, with strides, dilations and groups."""
    params = equation.params
    numbers = params["dimension_numbers"]
    image, kernel = facts
    shapes = [
        [shape[axis] for axis in spec]
        for shape, spec in zip(
            (image.shape, kernel.shape, equation.outputs[0].shape),
            (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec),
        )
    ]
    (batch, channels, *space), (features, depth, *taps), (lanes, _, *positions) = shapes
    # Per axis: window number, tap, place in the image; then all axes together.
    pairs = np.zeros((1, 3), np.int64)
    for axis in range(len(space)):
        stride, inner = params["window_strides"][axis], params["rhs_dilation"][axis]
        low, base = params["padding"][axis][0], params["lhs_dilation"][axis]
        found = [
            (number, np.full_like(number, tap), place)
            for tap in range(taps[axis])
            for number, place in [window(positions[axis], space[axis], 1, stride, low - tap * inner, base, 1)]
        ]
        table = (
            np.concatenate([np.stack(columns, axis=1) for columns in found]) if found else np.zeros((0, 3), np.int64)
        )
        scale = np.array([positions[axis], taps[axis], space[axis]])
        pairs = (pairs[:, None, :] * scale + table[None, :, :]).reshape(-1, 3)
    groups, splits = params["feature_group_count"], params["batch_group_count"]
    sizes = [math.prod(part) for part in (space, taps, positions)]
    feature = np.arange(features)
    first_channel = feature // max(features // groups, 1) * depth  # of the image, that a feature reads
    first_lane = feature // max(features // splits, 1) * lanes
    listed = lanes * features * depth * pairs.shape[0]
    deep = depth if listed <= _LISTED else 1
    sets = {0: image.sets, 1: kernel.sets}
    n, o, c, p = np.ix_(np.arange(lanes), feature, np.arange(deep), np.arange(pairs.shape[0]))
    place, tap, position = pairs[p, 2], pairs[p, 1], pairs[p, 0]
    axes = [numbers.lhs_spec, numbers.rhs_spec]
    flat = [np.arange(f.size).reshape(f.shape).transpose(axes[side]).reshape(-1) for side, f in enumerate(facts)]
    ordered = [None if sets[side] is None else sets[side].take(flat[side]) for side in (0, 1)]  # pyright: ignore
    if deep == depth:
        spots = [
            ((first_lane[o] + n) * channels + first_channel[o] + c) * sizes[0] + place,
            (o * depth + c) * sizes[1] + tap + 0 * n,
        ]
    else:  # channels of a group first
        shape = [(batch, channels // depth, depth, sizes[0]), (features, 1, depth, sizes[1])]
        ordered = [None if part is None else part.reduce(shape[side], (2,)) for side, part in enumerate(ordered)]
        spots = [
            ((first_lane[o] + n) * (channels // depth) + first_channel[o] // depth) * sizes[0] + place,
            o * sizes[1] + tap + 0 * n,
        ]
    target = (n * features + o) * sizes[2] + position + 0 * c
    keep = np.ones(target.shape, bool)
    parts = []
    for side in (0, 1):
        operand = ordered[side]
        if operand is None:
            continue
        support = facts[1 - side].support() if deep == depth else None
        chosen = keep if support is None else support[flat[1 - side]][spots[1 - side]]
        chosen = np.broadcast_to(chosen, target.shape)
        source = np.broadcast_to(spots[side], target.shape)[chosen]
        rows = links(target[chosen], source, (lanes * features * sizes[2], operand.rows))
        parts.append(operand.contract(rows))
    if not parts:
        return [None]
    result = parts[0].union(*parts[1:])
    shape = (lanes, features, *positions)
    back = np.argsort(numbers.out_spec)
    return [result.take(np.arange(result.rows).reshape(shape).transpose(back).reshape(-1))]
