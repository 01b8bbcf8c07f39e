"""Values as fields of another's axes: constants for all features, numbers of their own, groups of features."""

import itertools
from collections.abc import Sequence

import numpy as np

from jaxcalc.models.criticality.fields import Drawn, Field, Known, Outside, Sampler, Split

__all__ = ["Carried", "as_field", "depends", "first_field", "refined"]

Carried = Field | Known | Drawn


def depends(value: Carried) -> bool:
    """Whether a value depends on the model's input."""
    return isinstance(value, Field) or value.data


def as_field(value: Carried, field: Field, sampler: Sampler) -> Field:
    """A value as a field of another's axes."""
    match value:
        case Field():
            return _aligned(value, field)
        case Known() | Drawn():
            array = np.asarray(value.array)
            drawn = isinstance(value, Drawn)
            if not drawn and array.ndim == 0:
                shape = [1] * field.array.ndim
                return field.like(np.broadcast_to(array, shape))
            if field.members is not None:
                return _known_in_groups(value, field, sampler)
            axis = field.axis
            if drawn and array.shape[axis + 1] == 1 and field.layout.width != 1:
                raise Outside("one random parameter for all features")
            flat = not drawn and bool(np.all(array == np.take(array, np.array([0]), axis)))
            if flat:  # the same for all features
                sizes = list(array.shape)
                sizes[axis] = field.layout.size
                return field.like(np.broadcast_to(np.take(array, np.array([0]), axis), sizes))
            return sampler.resampled(value, axis, field.layout)


def _known_in_groups(value: Known | Drawn, field: Field, sampler: Sampler) -> Field:
    """A constant among groups of features; feature by feature it is not followed."""
    array = np.asarray(value.array)
    assert field.members is not None
    axes = (field.axis, field.members)
    if isinstance(value, Drawn):
        flat = np.moveaxis(array, [axis + 1 for axis in axes], [-2, -1])
        joined = Drawn(flat.reshape(*flat.shape[:-2], -1))
        taken = sampler.resampled(joined, flat.ndim - 3, field.layout)
        arranged = np.moveaxis(np.asarray(taken.array)[..., None], [-2, -1], axes)
        return field.like(arranged)
    for axis in axes:
        first = np.take(array, [0], axis)
        if not np.all(array == first):
            raise Outside("numbers of their own for each feature within a head")
        array = first
    shape = list(array.shape)
    shape[field.axis] = field.layout.size
    return field.like(np.broadcast_to(array, shape))


def _aligned(value: Field, field: Field) -> Field:
    if (value.axis, value.members) == (field.axis, field.members) and value.layout == field.layout:
        return value
    if value.axis == field.axis and value.members is None and field.members is not None and value.group_size > 1:
        own = np.take(value.array, np.array([0]), field.members)
        if bool(np.any(value.array != own)):
            raise Outside("numbers of their own for each feature within a head")
        return field.like(own)
    if value.axis == field.axis and value.layout.width == field.layout.width:
        raise Split(value.layout.width, refined(value.layout.parts, field.layout.parts))
    raise Outside("features along different axes are combined")


def refined(*divisions: tuple[int, ...]) -> tuple[int, ...]:
    """The coarsest division into parts that each of the given ones is made of."""
    borders = sorted(set().union(*(itertools.accumulate(parts, initial=0) for parts in divisions)))
    return tuple(after - before for before, after in itertools.pairwise(borders))


def first_field(operands: Sequence[Carried]) -> Field:
    """The field whose axes the others take: one with members, if there is one."""
    fields = [operand for operand in operands if isinstance(operand, Field)]
    return max(fields, key=lambda field: field.members is not None)
