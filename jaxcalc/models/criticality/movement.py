"""What moves elements of fields about: new shapes, parts, joins, repetitions, places read and written."""

import itertools
import math
from dataclasses import replace

import numpy as np

from jaxcalc.models.criticality.alignment import Carried, as_field, first_field, refined
from jaxcalc.models.criticality.evaluation import broadcast, named, on_fields
from jaxcalc.models.criticality.fields import Field, Known, Outside, Sampler, Split
from jaxcalc.models.criticality.matrices import Matrices
from jaxcalc.programs.walk import Equation

__all__ = ["join", "part", "read", "rename", "repeat", "transpose", "write"]


def transpose(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = first_field(operands)
    if equation.name == "rev":
        if {field.axis, field.members} & set(equation.params["dimensions"]):
            raise Outside("features in reverse order")
        return [field.like(np.flip(field.array, equation.params["dimensions"]))]
    order = equation.params["permutation"]
    place = {old: new for new, old in enumerate(order)}
    return [field.moved(np.transpose(field.array, order), place)]


def rename(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = first_field(operands)
    before, after = equation.inputs[0].shape, equation.outputs[0].shape
    return [_reshaped(field, before, after, matrices.sampler)]


def _reshaped(field: Field, before: tuple[int, ...], after: tuple[int, ...], sampler: Sampler) -> Field:
    """A field under another shape of the same elements."""
    if field.members is not None:
        return _reshaped_groups(field, before, after)
    axis, layout = field.axis, field.layout
    lead = math.prod(before[:axis])
    inner = math.prod(before[axis + 1 :])
    width = before[axis]
    for new, size in enumerate(after):  # the axis stays an axis
        if size == width and math.prod(after[:new]) == lead:
            shape = (*after[:new], layout.size, *after[new + 1 :])
            return replace(field, array=field.array.reshape(shape), axis=new)
    if field.group_size > 1:
        raise Outside("groups of features are mixed with other axes by a new shape")
    for new, size in enumerate(after):
        if size % width == 0 and math.prod(after[new + 1 :]) == 1 and inner == 1:  # axes before are merged into it
            merged = size // width
            parts = layout.parts * merged
            if sampler.layout(size).parts != parts:
                raise Split(size, parts)
            joined = field.array.reshape(*after[:new], merged * layout.size, *after[new + 1 :])
            return Field(joined, new, sampler.layout(size))
    for new in range(len(after)):  # it is taken apart into two or more
        if math.prod(after[:new]) != lead:
            continue
        for last in range(new + 2, len(after) + 1):
            if math.prod(after[new:last]) == width:
                return _taken_apart(field, after, new, last, sampler)
    raise Outside("features are mixed with other axes by a new shape")


def _taken_apart(field: Field, after: tuple[int, ...], new: int, last: int, sampler: Sampler) -> Field:
    """The features as several axes: part by part if they were merged of parts, else as groups of members."""
    layout = field.layout
    outer = math.prod(after[new : last - 1])
    inner = after[last - 1]
    if len(layout.parts) > 1 and len(layout.parts) % outer == 0 and len(set(layout.parts)) == 1:
        kept = layout.parts[: len(layout.parts) // outer]
        one = sampler.layout(inner)
        if one.parts != kept:
            raise Split(inner, refined(one.parts, kept))
        return Field(field.array.reshape(*after[: last - 1], one.size, *after[last:]), last - 1, one)
    if last - new > 2:
        raise Outside("features are shaped into more than two axes")
    if len(layout.parts) > 1:
        raise Outside("features in parts are shaped into groups")
    shape = (*after[:new], layout.size, 1, *after[last:])
    return Field(field.array.reshape(shape), new, layout, new + 1, inner)


def _reshaped_groups(field: Field, before: tuple[int, ...], after: tuple[int, ...]) -> Field:
    """Groups of features under another shape: their two axes merged, or other axes changed."""
    axis, members = field.axis, field.members
    assert members is not None
    lead, width = math.prod(before[:axis]), field.layout.width
    for new, size in enumerate(after):
        if members == axis + 1 and size == width and math.prod(after[:new]) == lead:
            shape = (*after[:new], field.layout.size, *after[new + 1 :])
            return Field(field.array.reshape(shape), new, field.layout)
    sizes = list(field.array.shape)
    place, used = {}, 0
    for old, size in enumerate(before):
        matches = [
            new
            for new in range(used, len(after))
            if after[new] == size and math.prod(after[:new]) == math.prod(before[:old])
        ]
        if old in (axis, members):
            if not matches:
                raise Outside("groups of features are mixed with other axes by a new shape")
            place[old], used = matches[0], matches[0] + 1
    shape = list(after)
    shape[place[axis]], shape[place[members]] = sizes[axis], sizes[members]
    return Field(field.array.reshape(shape), place[axis], field.layout, place[members], field.group_size)


def part(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = first_field(operands)
    if equation.name == "split":
        sizes, axis = equation.params["sizes"], equation.params["axis"]
        starts = list(itertools.accumulate(sizes, initial=0))
        return [_cut(field, axis, start, start + size, 1, matrices.sampler) for start, size in zip(starts, sizes)]
    if equation.name != "slice":
        raise Outside(f"{named(equation)} of what layers compute")
    params = equation.params
    strides = params["strides"] or (1,) * len(params["start_indices"])
    for axis, (start, limit, stride) in enumerate(zip(params["start_indices"], params["limit_indices"], strides)):
        field = _cut(field, axis, start, limit, stride, matrices.sampler)
    return [field]


def _cut(field: Field, axis: int, start: int, limit: int, stride: int, sampler: Sampler) -> Field:
    """Some places along one axis."""
    if axis not in (field.axis, field.members):
        return field.like(field.array[(slice(None),) * axis + (slice(start, limit, stride),)])
    if (start, limit, stride) == (0, field.shape[axis], 1):
        return field
    layout = field.layout
    if field.members is not None or stride != 1:
        raise Outside("single features are picked")
    borders = list(itertools.accumulate(layout.parts, initial=0))
    if start not in borders or limit not in borders:
        whole = tuple(b - a for a, b in itertools.pairwise(sorted({0, start, limit, layout.width})))
        if min(limit - start, *whole) < 2:
            raise Outside("single features are picked")
        raise Split(layout.width, refined(layout.parts, whole))
    first, last = borders.index(start), borders.index(limit)
    count = layout.num_samples
    array = field.array[(slice(None),) * axis + (slice(first * count, last * count),)]
    parts = layout.parts[first:last]
    one = sampler.layout(limit - start)
    if one.parts != parts:
        raise Split(limit - start, refined(one.parts, parts))
    return Field(array, axis, one)


def join(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = first_field(operands)
    if equation.name == "pad":
        config = equation.params["padding_config"]
        low, high, _ = config[field.axis]
        if isinstance(operands[0], Field) and (low, high) != (0, 0):
            return [_padded(equation, field, operands[1], matrices.sampler)]
        if field.members is not None and config[field.members] != (0, 0, 0):
            raise Outside("padding within a head")
        return [field.like(on_fields(equation, [field.array, operands[1].array])[0])]
    if equation.name != "concatenate":
        raise Outside(f"{named(equation)} of what layers compute")
    axis = equation.params["dimension"]
    if axis != field.axis:
        arrays = [as_field(operand, field, matrices.sampler).array for operand in operands]
        shape = np.broadcast_shapes(*([s if i != axis else 1 for i, s in enumerate(a.shape)] for a in arrays))
        arrays = [np.broadcast_to(a, [a.shape[i] if i == axis else s for i, s in enumerate(shape)]) for a in arrays]
        return [field.like(np.concatenate(arrays, axis))]
    if field.members is not None:
        raise Outside("heads are joined to others")
    pieces = []
    for operand, value in zip(operands, equation.inputs):
        width = value.shape[axis]
        if isinstance(operand, Field):
            pieces.append(operand)
        else:
            pieces.append(matrices.sampler.resampled(operand, axis, matrices.sampler.layout(width)))
    if any(piece.axis != axis for piece in pieces):
        raise Outside("features along different axes are joined")
    parts = tuple(itertools.chain(*(piece.layout.parts for piece in pieces)))
    layout = matrices.sampler.layout(sum(parts))
    if layout.parts != parts:
        raise Split(layout.width, refined(layout.parts, parts))
    return [Field(np.concatenate([piece.array for piece in pieces], axis), axis, layout)]


def _padded(equation: Equation, field: Field, filler: Carried, sampler: Sampler) -> Field:
    """Features with zeros beside them, as the way back through a slice has it."""
    config = equation.params["padding_config"]
    low, high, inner = config[field.axis]
    if inner or low < 0 or high < 0 or field.members is not None:
        raise Outside("features are spread apart")
    parts = tuple(part for part in (low, *field.layout.parts, high) if part)
    layout = sampler.layout(sum(parts))
    if layout.parts != refined(layout.parts, parts):
        raise Split(layout.width, refined(layout.parts, parts))
    borders = list(itertools.accumulate(layout.parts, initial=0))
    inside = layout.parts[borders.index(low) : borders.index(layout.width - high)]
    if inside != field.layout.parts:
        raise Split(field.layout.width, refined(inside, field.layout.parts))
    before, after = borders.index(low), len(layout.parts) - borders.index(layout.width - high)
    config = list(config)
    config[field.axis] = (before * layout.num_samples, after * layout.num_samples, 0)
    array = on_fields(equation, [field.array, filler.array], padding_config=tuple(config))[0]
    return Field(array, field.axis, layout)


def repeat(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = first_field(operands)
    if equation.name != "broadcast_in_dim":
        raise Outside(f"{named(equation)} of what layers compute")
    shape, dims = list(equation.params["shape"]), equation.params["broadcast_dimensions"]
    place = dict(enumerate(dims))
    for axis in (field.axis, field.members):
        if axis is not None:
            if shape[place[axis]] != field.shape[axis]:
                raise Outside("a single feature is repeated")
            shape[place[axis]] = field.array.shape[axis]
    return [field.moved(broadcast(field.array, shape, dims), place)]


def read(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field, *indices = operands
    if not isinstance(field, Field) or not all(isinstance(index, Known) for index in indices):
        raise Outside("places are chosen by what layers compute")
    sizes = list(equation.params["slice_sizes"])
    for axis in (field.axis, field.members):
        if axis is not None:
            if sizes[axis] != field.shape[axis]:
                raise Outside("single features are picked")
            sizes[axis] = field.array.shape[axis]
    arrays = [field.array, *(index.array for index in indices)]
    if equation.name == "dynamic_slice":
        return [field.like(on_fields(equation, arrays, slice_sizes=tuple(sizes))[0])]
    numbers = equation.params["dimension_numbers"]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    if field.axis in gone or field.members in gone:
        raise Outside("single features are picked")
    kept = [axis for axis in range(field.array.ndim) if axis not in gone]
    place = {old: numbers.offset_dims[number] for number, old in enumerate(kept)}
    array = on_fields(equation, arrays, slice_sizes=tuple(sizes))[0]
    return [field.moved(array, {**place, **dict.fromkeys(gone, -1)})]


def write(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    if equation.name == "dynamic_update_slice":
        target, update, *indices = operands
        field = first_field([target, update])
        if field.members is not None or not all(isinstance(index, Known) for index in indices):
            raise Outside("places are chosen by what layers compute")
        if equation.inputs[0].shape[field.axis] != equation.inputs[1].shape[field.axis]:
            raise Outside("single features are written")
        arrays = [as_field(target, field, matrices.sampler).array, as_field(update, field, matrices.sampler).array]
        arrays = [np.asarray(array) for array in (*arrays, *(index.array for index in indices))]
        return [field.like(on_fields(equation, arrays)[0])]
    if equation.name not in ("scatter-add", "scatter"):
        raise Outside(f"{named(equation)} of what layers compute")
    target, index, update = operands
    numbers = equation.params["dimension_numbers"]
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    if not isinstance(index, Known):
        raise Outside("places are chosen by what layers compute")
    kept = [axis for axis in range(len(equation.inputs[0].shape)) if axis not in gone]
    place = {old: numbers.update_window_dims[number] for number, old in enumerate(kept)}
    if isinstance(target, Field):
        field, axis = target, target.axis
    else:
        assert isinstance(update, Field)
        back = {new: old for old, new in place.items()}
        if update.axis not in back:
            raise Outside("single features are written")
        field, axis = update, back[update.axis]
    if field.members is not None or axis in gone:
        raise Outside("single features are written")
    if equation.inputs[0].shape[axis] != equation.inputs[2].shape[place[axis]]:
        raise Outside("single features are written")
    shape = lambda axis: Field(np.zeros((1,) * (axis + 1)), axis, field.layout)
    arrays = [
        as_field(target, shape(axis), matrices.sampler).array,
        index.array,
        as_field(update, shape(place[axis]), matrices.sampler).array,
    ]
    return [Field(on_fields(equation, arrays)[0], axis, field.layout)]
