"""Sums over features at infinite width: with random weights, and of one layer's outputs with another's."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxcalc.models.criticality.fields import Drawn, Field, Known, Outside, Sampler
from jaxcalc.models.criticality.matrices import Matrices
from jaxcalc.programs.walk import Equation

__all__ = ["contract", "convolve", "inner_product"]

_FEW = 4  # axes of weights this short tell kinds apart (query, key, value), longer ones are heads
_MOST_WEIGHTS = 64  # matrices side by side


def contract(equation: Equation, operands: Sequence[Any], which: int, matrices: Matrices) -> Any:
    """``dot_general`` with random weights, which are operand number ``which``."""
    numbers = equation.params["dimension_numbers"]
    weights, data = operands[which], operands[1 - which]
    (summed, batch) = ((sides[which], sides[1 - which]) for sides in numbers)
    shape, size = equation.inputs[which].shape, math.prod
    free = [axis for axis in range(len(shape)) if axis not in summed[0] and axis not in batch[0]]
    if not free:
        raise Outside("a single number is made of all features")
    array = np.asarray(weights.array)
    order = [0, *(1 + axis for axis in (*batch[0], *summed[0], *free))]
    sizes = [[shape[axis] for axis in axes] for axes in (batch[0], summed[0], free)]
    draws = array.transpose(order).reshape(array.shape[0], *map(size, sizes))
    if draws.shape[1] > _MOST_WEIGHTS:
        raise Outside("each position has weights of its own")
    rows, row_shape = _rows(data, batch[1], summed[1], draws.shape[1])
    layout, copies, members = _output(sizes[2], matrices.sampler)
    images = [
        matrices.apply(draws[:, number][:, None], rows[number][:, None], copies, layout)
        for number in range(draws.shape[1])
    ]
    # (batch, rows, copies, samples), to (batch, free axes of the left, free axes of the right)
    images = np.stack(images)
    if members:
        features, axis = [layout.size, 1], 0
    else:
        features, axis = [*sizes[2][:-1], layout.size], len(free) - 1
    images = images.reshape(*sizes[0], *row_shape, *features)
    first, second = len(sizes[0]), len(row_shape)
    place = first + second + axis
    if which == 0:
        order = [*range(first), *range(first + second, images.ndim), *range(first, first + second)]
        images, place = images.transpose(order), first + axis
    if members:
        return Field(images, place, layout, place + 1, sizes[2][-1])
    return Field(images, place, layout)


def _output(sizes: Sequence[int], sampler: Sampler) -> tuple[Any, int, bool]:
    """How the features of an output are sampled: their layout, how many independent ones, whether in groups."""
    if len(sizes) == 1 or math.prod(sizes[:-1]) <= _FEW:
        return sampler.layout(sizes[-1]), math.prod(sizes[:-1]), False
    if len(sizes) == 2:
        layout = sampler.layout(math.prod(sizes))
        if len(layout.parts) > 1:
            raise Outside("features in parts are shaped into groups")
        return layout, 1, True
    raise Outside("weights with more than two axes of outputs")


def _rows(data: Any, batch: Sequence[int], summed: Sequence[int], count: int) -> tuple[np.ndarray, list[int]]:
    """What weights act on, ``(batch, rows, entries)``, entries scaled so that sums over them are inner products."""
    array = np.asarray(data.array, float)
    lead = 0
    if isinstance(data, Field):
        if data.axis not in summed or (data.members is not None and data.members not in summed):
            raise Outside("random weights act along positions, heads or time, and all features share them")
        if data.members is None and data.group_size > 1:
            raise Outside("random weights act along heads")
        scale = [1] * array.ndim
        scale[data.axis] = -1
        array = array * np.sqrt(data.layout.weights).reshape(scale)
    elif isinstance(data, Drawn):
        array, lead = array / np.sqrt(array.shape[0]), 1
    free = [axis for axis in range(array.ndim - lead) if axis not in summed and axis not in batch]
    order = [*(lead + axis for axis in (*batch, *free)), *range(lead), *(lead + axis for axis in summed)]
    shape = [array.shape[lead + axis] for axis in free]
    return array.transpose(order).reshape(count, math.prod(shape), -1), shape


# -- convolution ---------------------------------------------------------------------------------------------------


def convolve(equation: Equation, operands: Sequence[Any], matrices: Matrices) -> Field:
    """``conv_general_dilated`` with random kernels."""
    params = equation.params
    data, kernel = operands
    if not isinstance(kernel, Drawn) or kernel.data or isinstance(data, Drawn):
        raise Outside("a convolution whose kernel is no parameter")
    if params["feature_group_count"] != 1 or params["batch_group_count"] != 1:
        raise Outside("a convolution in groups of channels")
    numbers = params["dimension_numbers"]
    if isinstance(data, Field) and (data.axis != numbers.lhs_spec[1] or data.members is not None):
        raise Outside("a convolution along features")
    array = np.asarray(kernel.array)
    out, inner, *spatial = numbers.rhs_spec
    window = [array.shape[1 + axis] for axis in spatial]
    draws = array.transpose(0, *(1 + axis for axis in (*spatial, inner, out)))
    draws = draws.reshape(array.shape[0], -1, *draws.shape[-2:])
    signal = np.asarray(data.array, float)
    if isinstance(data, Field):
        scale = [1] * signal.ndim
        scale[data.axis] = -1
        signal = signal * np.sqrt(data.layout.weights).reshape(scale)
    patches = _patches(signal.transpose(numbers.lhs_spec), window, params)
    batch, *positions = patches.shape[:-2]
    layout = matrices.sampler.layout(draws.shape[-1])
    images = matrices.apply(draws, patches.reshape(-1, *patches.shape[-2:]), 1, layout)
    images = images.reshape(batch, *positions, layout.size)
    # (batch, positions, features) to the order of the output
    where = [0] * images.ndim
    for axis, old in zip(numbers.out_spec, [0, images.ndim - 1, *range(1, images.ndim - 1)]):
        where[axis] = old
    return Field(images.transpose(where), numbers.out_spec[1], layout)


def _patches(signal: np.ndarray, window: Sequence[int], params: dict[str, Any]) -> np.ndarray:
    """What the kernel meets at each position: ``(batch, channels, ...)`` to ``(batch, ..., taps, channels)``."""
    for axis, (dilation, (low, high)) in enumerate(zip(params["lhs_dilation"], params["padding"])):
        # lax.pad takes holes and negative borders.
        config = [(0, 0, 0)] * signal.ndim
        config[2 + axis] = (int(low), int(high), int(dilation) - 1)
        signal = np.asarray(jax.lax.pad(signal, np.zeros((), signal.dtype), config))
    strides, holes = params["window_strides"], params["rhs_dilation"]
    counts = [
        (size - (width - 1) * hole - 1) // stride + 1
        for size, width, hole, stride in zip(signal.shape[2:], window, holes, strides)
    ]
    taps = []
    for offsets in itertools.product(*map(range, window)):
        places = tuple(
            slice(offset * hole, offset * hole + (count - 1) * stride + 1, stride)
            for offset, hole, count, stride in zip(offsets, holes, counts, strides)
        )
        taps.append(np.moveaxis(signal[(slice(None), slice(None), *places)], 1, -1))
    return np.stack(taps, axis=-2)


# -- layers with layers --------------------------------------------------------------------------------------------


def inner_product(equation: Equation, operands: Sequence[Any], sampler: Sampler) -> Any:
    """``dot_general`` of what two layers compute, or of that with constants."""
    (summed, batch) = equation.params["dimension_numbers"]
    fields = [operand for operand in operands if isinstance(operand, Field)]
    if len(fields) == 1:
        return _with_constant(equation, operands, sampler)
    left, right = fields
    if left.axis in summed[0] or right.axis in summed[1]:
        raise Outside("outputs of two layers are multiplied and summed over all features, as one head's attention does")
    paired = dict(zip(batch[0], batch[1]))
    if paired.get(left.axis) != right.axis or left.layout != right.layout:
        raise Outside("each feature of one layer meets all of another's")
    inside = [field.members in axes for field, axes in zip(fields, summed)]
    if any(inside) and (not all(inside) or summed[1][summed[0].index(left.members)] != right.members):
        raise Outside("members of groups are summed with other axes")
    if not any(inside) and left.members is not None and right.members is not None:
        if paired.get(left.members) != right.members:
            raise Outside("each member of a head meets all others")
    arrays = [left.array, right.array]
    if any(inside):
        result: Any = 0.0
        for order in sampler.fellows(left.layout, left.group_size):
            result = result + _dot(equation, [np.take(a, order, f.axis) for a, f in zip(arrays, fields)])
    else:
        result = _dot(equation, arrays)
    axis = list(batch[0]).index(left.axis)
    members = None
    if not any(inside):
        owner = 0 if left.members is not None else 1
        inner = fields[owner].members
        members = None if inner is None else _out_place(equation, owner, inner)
    return Field(result, axis, left.layout, members, max(left.group_size, right.group_size))


def _with_constant(equation: Equation, operands: Sequence[Any], sampler: Sampler) -> Any:
    """A field with what is known: a mean over positions, a mask."""
    (summed, batch) = equation.params["dimension_numbers"]
    which = next(i for i, operand in enumerate(operands) if isinstance(operand, Field))
    field, other = operands[which], operands[1 - which]
    if isinstance(other, Drawn):
        raise Outside("parameters made from the input meet what layers compute")
    wide = {field.axis, field.members} - {None}
    if wide & set(batch[which]) or field.members in summed[which]:
        raise Outside("a constant for each feature")
    array = field.array
    known = np.asarray(other.array, np.float64)
    if field.axis in summed[which]:
        if field.members is not None:
            raise Outside("a sum over heads")
        axis = summed[1 - which][list(summed[which]).index(field.axis)]
        taken = sampler.resampled(Known(known), axis, field.layout).array
        shape = [1] * taken.ndim
        shape[axis] = -1
        known = taken * field.layout.weights.reshape(shape)
    arrays = [array, known] if which == 0 else [known, array]
    result = _dot(equation, arrays)
    if field.axis in summed[which]:
        return Known(result, True)
    place = {axis: _out_place(equation, which, axis) for axis in wide}
    members = None if field.members is None else place[field.members]
    return Field(result, place[field.axis], field.layout, members, field.group_size)


def _dot(equation: Equation, arrays: Sequence[Any]) -> Any:
    left, right = arrays
    numbers = equation.params["dimension_numbers"]
    return np.asarray(jax.lax.dot_general(left, right, numbers, precision=jax.lax.Precision.HIGHEST))


def _out_place(equation: Equation, which: int, axis: int) -> int:
    """Where a free or batch axis of an operand goes."""
    (summed, batch) = equation.params["dimension_numbers"]
    if axis in batch[which]:
        return list(batch[which]).index(axis)
    free = [
        [a for a in range(len(value.shape)) if a not in summed[i] and a not in batch[i]]
        for i, value in enumerate(equation.inputs)
    ]
    return len(batch[0]) + which * len(free[0]) + free[which].index(axis)
