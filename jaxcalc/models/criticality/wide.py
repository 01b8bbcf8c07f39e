"""A program run at infinite width: what each primitive does to samples of features.

Elementwise functions act on samples as they are, sums over features become means over samples, random weights make
fresh Gaussian features (``matrices``), and all other axes (batch, positions, time) are as in the program. What is not
understood raises ``Outside``.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc.models.criticality.alignment import Carried, as_field, depends, first_field
from jaxcalc.models.criticality.contractions import contract, convolve, inner_product
from jaxcalc.models.criticality.evaluation import as_numpy, bound, named, on_fields, typed
from jaxcalc.models.criticality.fields import Drawn, Field, Known, Outside, Sampler
from jaxcalc.models.criticality.matrices import Matrices
from jaxcalc.models.criticality.movement import join, part, read, rename, repeat, transpose, write
from jaxcalc.programs import primitives
from jaxcalc.programs.walk import Branches, Equation, Program, Scan
from jaxcalc.transforms.interpreter import bind

__all__ = ["run"]


def run(program: Program, operands: Sequence[Carried], matrices: Matrices) -> list[Carried]:
    """The outputs of a program on fields, drawn parameters and what is known."""
    values: dict[Any, Carried] = dict(zip(program.inputs, operands, strict=True))

    def read(value):
        return values[value] if value in values else Known(value.literal)

    last_use = {value: i for i, equation in enumerate(program.equations) for value in equation.inputs}
    outputs = set(program.outputs)
    for i, equation in enumerate(program.equations):
        results = _step(equation, [read(value) for value in equation.inputs], matrices)
        values.update(zip(equation.outputs, results, strict=True))
        for value in equation.inputs:
            if last_use[value] == i and value not in outputs:
                values.pop(value, None)
    return [read(value) for value in program.outputs]


def _step(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    data = any(depends(operand) for operand in operands)
    nested = equation.nested
    if isinstance(nested, Scan):
        return _scan(nested, operands, matrices)
    if isinstance(nested, Branches):
        index = operands[0]
        if not isinstance(index, Known):
            raise Outside("a branch is chosen by what is random")
        chosen = min(max(int(np.asarray(index.array)), 0), len(nested.branches) - 1)
        return run(nested.branches[chosen], operands[1:], matrices)
    fields = [operand for operand in operands if isinstance(operand, Field)]
    drawn = [operand for operand in operands if isinstance(operand, Drawn)]
    if not fields:
        if equation.name in ("dot_general", "conv_general_dilated") and drawn:
            weights = [isinstance(operand, Drawn) and not operand.data for operand in operands]
            met = list(map(depends, operands))
            if any(weights) and any(met):
                return [_product(equation, operands, matrices)]
        if nested is not None and drawn and data:
            raise Outside(f"{equation.name} of parameters and input")
        return _plain(equation, operands, bool(drawn), data)
    if nested is not None:
        raise Outside(f"{named(equation)} of what layers compute")
    if not any(value.inexact or value.dtype == np.bool_ for value in equation.outputs):
        raise Outside(f"{named(equation)} makes integers of what layers compute")
    kind = primitives.of(equation.name).kind
    rule = _RULES.get(kind)
    if rule is None:
        raise Outside(f"{named(equation)} of what layers compute")
    return rule(equation, operands, matrices)


def _plain(equation: Equation, operands: list[Carried], drawn: bool, data: bool) -> list[Carried]:
    """An equation that no field reaches."""
    arrays = [operand.array for operand in operands]
    if equation.nested is not None:
        # What was traced in single precision holds its dtypes within.
        arrays = [jnp.asarray(array, value.dtype) for array, value in zip(arrays, equation.inputs)]
        call = lambda *arrays: bind(equation, *arrays)
    else:
        call = lambda *arrays: bound(equation, arrays)
    if not drawn:
        return [Known(as_numpy(array), data) for array in call(*arrays)]
    axes = [0 if isinstance(operand, Drawn) else None for operand in operands]
    arrays = [typed(array, value) if not equation.nested else array for array, value in zip(arrays, equation.inputs)]
    return [Drawn(as_numpy(array), data) for array in jax.vmap(call, axes)(*arrays)]


def _scan(scan: Scan, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    first, after = scan.num_constants, scan.num_constants + scan.num_carry
    constants, carry, slices = operands[:first], operands[first:after], operands[after:]
    rows: list[list[Carried]] = []
    trips = range(scan.length - 1, -1, -1) if scan.reverse else range(scan.length)
    for trip in trips:
        outputs = run(scan.body, [*constants, *carry, *(_slice(value, trip) for value in slices)], matrices)
        carry = outputs[: scan.num_carry]
        rows.append(outputs[scan.num_carry :])
    if scan.reverse:
        rows.reverse()
    if not rows:
        stacked = [Known(np.zeros((0, *value.shape))) for value in scan.body.outputs[scan.num_carry :]]
        return [*carry, *stacked]
    return [
        *carry,
        *(_stack(row, like, matrices.sampler) for row, like in zip(zip(*rows), scan.body.outputs[scan.num_carry :])),
    ]


def _stacked(arrays: Sequence[Any]) -> Any:
    """Arrays one upon the other; keys are JAX's alone."""
    if any(jnp.issubdtype(jnp.result_type(array), jax.dtypes.extended) for array in arrays):
        return jnp.stack(arrays)
    return np.stack([np.asarray(array) for array in arrays])


def _slice(value: Carried, trip: int) -> Carried:
    match value:
        case Known():
            return Known(value.array[trip], value.data)
        case Drawn():
            return Drawn(value.array[:, trip], value.data)
        case Field():
            if value.axis == 0 or value.members == 0:
                raise Outside("a loop over features")
            place = {axis: axis - 1 for axis in range(value.array.ndim)}
            return value.moved(value.array[trip], place)


def _stack(values: Sequence[Carried], like: Any, sampler: Sampler) -> Carried:
    """Slices of a loop's output, one upon the other."""
    field = next((value for value in values if isinstance(value, Field)), None)
    if field is not None:
        arrays = [as_field(value, field, sampler).array for value in values]
        return field.moved(np.stack(arrays), {axis: axis + 1 for axis in range(len(like.shape))})
    data = any(map(depends, values))
    drawn = next((value for value in values if isinstance(value, Drawn)), None)
    if drawn is None:
        return Known(_stacked([value.array for value in values]), data)
    count = drawn.array.shape[0]
    arrays = [
        value.array if isinstance(value, Drawn) else np.broadcast_to(value.array, (count, *like.shape))
        for value in values
    ]
    return Drawn(np.stack(arrays, axis=1), data)


def _elementwise(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = first_field(operands)
    arrays = []
    for operand, value in zip(operands, equation.inputs):
        if isinstance(operand, Known) and value.shape == ():
            arrays.append(operand.array)
        else:
            arrays.append(as_field(operand, field, matrices.sampler).array)
    shapes = [np.shape(array) for array in arrays if np.shape(array)]
    shape = np.broadcast_shapes(*shapes)
    arrays = [np.broadcast_to(array, shape) if np.shape(array) else array for array in arrays]
    return [field.like(as_numpy(array)) for array in on_fields(equation, arrays)]


def _identity(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    return operands


def _reduction(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = first_field(operands)
    axes = equation.params.get("axes")
    if axes is None or len(operands) != 1 or equation.name.startswith("arg"):
        raise Outside(f"{named(equation)} of what layers compute")
    others = [axis for axis in axes if axis not in (field.axis, field.members)]
    wide = [axis for axis in axes if axis in (field.axis, field.members)]
    (array,) = on_fields(equation, [field.array], axes=tuple(others)) if others else (field.array,)
    place = {old: new for new, old in enumerate(i for i in range(field.array.ndim) if i not in others)}
    field = field.moved(array, {**place, **dict.fromkeys(others, -1)})
    if not wide:
        return [field]
    if equation.name != "reduce_sum":
        raise Outside("an extreme or a product over features, which depends on the width")
    return [_summed(field, [place[axis] for axis in wide if axis is not None], matrices.sampler)]


def _summed(field: Field, axes: Sequence[int], sampler: Sampler) -> Carried:
    """The sum over features, or over a group's members."""
    if field.axis in axes:
        if field.members is not None and field.members not in axes:
            raise Outside("a sum over heads")
        shape = [1] * field.array.ndim
        shape[field.axis] = -1
        array = np.sum(field.array * field.layout.weights.reshape(shape), axis=tuple(axes))
        return Known(array, True)
    assert field.members is not None
    fellows = sampler.fellows(field.layout, field.group_size)
    array = sum(np.take(field.array, order, field.axis) for order in fellows)
    array = np.squeeze(array, field.members)
    axis = field.axis - (field.members < field.axis)
    # A number for each group: its axis is as long as there are groups.
    return Field(array, axis, field.layout, None, field.group_size)


def _along(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    """Cumulative sums and the like, along an axis that is not that of features."""
    field = first_field(operands)
    if equation.params.get("axis") in (field.axis, field.members) or len(operands) != 1:
        raise Outside(f"{named(equation)} along features")
    return [field.like(array) for array in on_fields(equation, [field.array])]


def _window(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = first_field(operands)
    sizes = equation.params.get("window_dimensions")
    if sizes is None or sizes[field.axis] != 1 or field.members is not None:
        raise Outside("a window over features")
    arrays = [as_field(operand, field, matrices.sampler).array for operand in operands]
    return [field.like(as_numpy(array)) for array in on_fields(equation, arrays)]


def _product(equation: Equation, operands: list[Carried], matrices: Matrices) -> Carried:
    if equation.name == "conv_general_dilated":
        return convolve(equation, operands, matrices)
    if equation.name != "dot_general":
        raise Outside(f"{named(equation)} of what layers compute")
    weights = [isinstance(operand, Drawn) and not operand.data for operand in operands]
    if any(weights):
        return contract(equation, operands, weights.index(True), matrices)
    return inner_product(equation, operands, matrices.sampler)


_RULES = {
    "elementwise": _elementwise,
    "identity": _identity,
    "rename": rename,
    "reorder": transpose,
    "part": part,
    "join": join,
    "repeat": repeat,
    "reduction": _reduction,
    "cumulative": _along,
    "window": _window,
    "read": read,
    "write": write,
    "product": lambda equation, operands, matrices: [_product(equation, operands, matrices)],
}
