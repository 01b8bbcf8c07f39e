"""Operations that only move elements, as index arrays: which element of which operand each element of the result is."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcalc.programs.sparsity.abstract_value import Fact
from jaxcalc.programs.walk import Equation

__all__ = ["fixed", "window"]


def fixed(equation: Equation, facts: Sequence[Fact]) -> list[np.ndarray | None]:
    """For every output, the place of each of its elements among those of all operands, one operand after another.

    ``None`` stands for every element in its place.
    """
    params = equation.params
    shape: tuple[int, ...] = facts[0].shape if facts else ()
    match equation.name:
        case "squeeze" | "expand_dims":
            return [None]
        case "reshape":
            order = params.get("dimensions")
            return [None if order is None else _iota(shape).transpose(order).reshape(-1)]
        case "broadcast_in_dim":
            return [_broadcast(shape, params["shape"], params["broadcast_dimensions"])]
        case "transpose":
            return [_iota(shape).transpose(params["permutation"]).reshape(-1)]
        case "rev":
            return [np.flip(_iota(shape), params["dimensions"]).reshape(-1)]
        case "slice":
            strides = params["strides"] or [1] * len(shape)
            bounds = zip(params["start_indices"], params["limit_indices"], strides)
            return [_iota(shape)[tuple(slice(low, high, step) for low, high, step in bounds)].reshape(-1)]
        case "split":
            ends = np.cumsum(params["sizes"])[:-1]
            return [part.reshape(-1) for part in np.split(_iota(shape), ends, axis=params["axis"])]
        case "unstack":
            axis = int(params.get("axis", 0))
            return [np.take(_iota(shape), i, axis=axis).reshape(-1) for i in range(shape[axis])]
        case "concatenate":
            return [np.concatenate(_iotas(facts), axis=params["dimension"]).reshape(-1)]
        case "stack":
            return [np.stack(_iotas(facts), axis=params.get("axis", 0)).reshape(-1)]
        case "tile":
            return [np.tile(_iota(shape), params["reps"]).reshape(-1)]
        case "pad":
            return [_pad(shape, equation.outputs[0].shape, params["padding_config"])]
    raise AssertionError(f"{equation.name} moves elements in no way that is known")


def _iota(shape: Sequence[int], start: int = 0) -> np.ndarray:
    return np.arange(start, start + math.prod(shape)).reshape(shape)


def _iotas(facts: Sequence[Fact]) -> list[np.ndarray]:
    starts = np.cumsum([0, *(fact.size for fact in facts)])
    return [_iota(fact.shape, start) for fact, start in zip(facts, starts)]


def _broadcast(shape: Sequence[int], wide: Sequence[int], dimensions: Sequence[int]) -> np.ndarray | None:
    if tuple(shape) == tuple(wide):
        return None
    spread = [1] * len(wide)
    for place, length in zip(dimensions, shape):
        spread[place] = length
    return np.broadcast_to(_iota(spread), wide).reshape(-1)


def _pad(shape: Sequence[int], wide: Sequence[int], config: Sequence[Any]) -> np.ndarray:
    """The operand's elements, and where none is, the padding value, which comes right after them."""
    out = np.full(wide, math.prod(shape))
    source, target = [], []
    for length, width, (low, _, inner) in zip(shape, wide, config):
        places = low + np.arange(length) * (inner + 1)
        inside = (places >= 0) & (places < width)
        source.append(np.flatnonzero(inside))
        target.append(places[inside])
    out[np.ix_(*target)] = _iota(shape)[np.ix_(*source)]
    return out.reshape(-1)


def window(count: int, length: int, size: int, stride: int, low: int, base: int, inner: int):
    """Number of each window along an axis, and a place that it covers, for all pairs of the two."""
    place = np.arange(count)[:, None] * stride + np.arange(size) * inner - low
    inside = (place >= 0) & (place % base == 0) & (place // base < length)
    number, _ = np.nonzero(inside)
    return number, (place // base)[inside]
