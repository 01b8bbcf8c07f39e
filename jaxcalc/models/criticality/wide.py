"""A program run at infinite width: what each primitive does to samples of features.

Elementwise functions act on samples as they are, sums over features become means over samples, random weights make
fresh Gaussian features (``matrices``), and all other axes (batch, positions, time) are as in the program. What is not
understood raises ``Outside``.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from scipy import special

from jaxcalc.models.criticality.contractions import contract, convolve, inner_product
from jaxcalc.models.criticality.fields import Drawn, Field, Known, Layout, Outside, Sampler, Split
from jaxcalc.models.criticality.matrices import Matrices
from jaxcalc.programs import primitives
from jaxcalc.programs.walk import Branches, Equation, Program, Scan
from jaxcalc.transforms.interpreter import bind

__all__ = ["run"]

Carried = Field | Known | Drawn


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
    data = any(_depends(operand) for operand in operands)
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
            met = list(map(_depends, operands))
            if any(weights) and any(met):
                return [_product(equation, operands, matrices)]
        if nested is not None and drawn and data:
            raise Outside(f"{equation.name} of parameters and input")
        return _plain(equation, operands, bool(drawn), data)
    if nested is not None:
        raise Outside(f"{_named(equation)} of what layers compute")
    if not any(value.inexact or value.dtype == np.bool_ for value in equation.outputs):
        raise Outside(f"{_named(equation)} makes integers of what layers compute")
    kind = primitives.of(equation.name).kind
    rule = _RULES.get(kind)
    if rule is None:
        raise Outside(f"{_named(equation)} of what layers compute")
    return rule(equation, operands, matrices)


def _depends(value: Carried) -> bool:
    """Whether a value depends on the model's input."""
    return isinstance(value, Field) or value.data


def _named(equation: Equation) -> str:
    return f"the primitive {equation.name}"


def wide_dtype(array: Any) -> Any:
    """Floating-point numbers in double precision."""
    if isinstance(array, (float, int, bool)):
        return array
    if jnp.issubdtype(jnp.result_type(array), jax.dtypes.extended):
        return array
    if jnp.issubdtype(jnp.result_type(array), jnp.complexfloating):
        raise Outside("complex numbers")
    if not jnp.issubdtype(jnp.result_type(array), jnp.floating):
        return array
    return array.astype(jnp.float64) if isinstance(array, Tracer) else np.asarray(array, np.float64)


def _bound(equation: Equation, arrays: Sequence[Any], **changed: Any) -> list[Any]:
    """An equation's primitive on arrays of double precision, with some parameters changed."""
    params = equation.params
    if equation.name == "convert_element_type" and jnp.issubdtype(params["new_dtype"], jnp.floating):
        changed["new_dtype"] = jnp.dtype("float64")
    if params.get("preferred_element_type") is not None:
        changed["preferred_element_type"] = None
    if equation.name == "iota" and jnp.issubdtype(params["dtype"], jnp.floating):
        changed["dtype"] = jnp.dtype("float64")
    if changed:
        equation = Equation(
            equation.name, equation.inputs, equation.outputs, {**params, **changed}, None, equation.primitive
        )
    arrays = [_typed(array, value) for array, value in zip(arrays, equation.inputs)]
    if all(isinstance(array, np.ndarray | np.generic) for array in arrays) and equation.name in _NUMPY:
        return [_NUMPY[equation.name](equation.params, *arrays)]
    return bind(equation, *arrays)


def _as_numpy(array: Any) -> Any:
    return array if jnp.issubdtype(array.dtype, jax.dtypes.extended) else np.asarray(array)


def _power(params: dict[str, Any], x: Any) -> Any:
    return x ** float(params["y"])


# What programs consist of, without a compilation for each shape.
_NUMPY: dict[str, Callable[..., Any]] = {
    **{
        name: lambda params, *arrays, fun=fun: fun(*arrays)
        for name, fun in {
            "abs": np.abs,
            "add": np.add,
            "add_any": np.add,
            "and": np.bitwise_and,
            "copy": np.asarray,
            "cos": np.cos,
            "erf": special.erf,
            "eq": np.equal,
            "exp": np.exp,
            "expm1": np.expm1,
            "ge": np.greater_equal,
            "gt": np.greater,
            "le": np.less_equal,
            "log": np.log,
            "log1p": np.log1p,
            "logistic": special.expit,
            "lt": np.less,
            "max": np.maximum,
            "min": np.minimum,
            "mul": np.multiply,
            "ne": np.not_equal,
            "neg": np.negative,
            "not": np.bitwise_not,
            "one_minus_square": lambda x: 1 - x * x,
            "or": np.bitwise_or,
            "rsqrt": lambda x: 1 / np.sqrt(x),
            "sign": np.sign,
            "sin": np.sin,
            "sqrt": np.sqrt,
            "square": np.square,
            "sub": np.subtract,
            "tanh": np.tanh,
        }.items()
    },
    "broadcast_in_dim": lambda params, x: _broadcast(x, params["shape"], params["broadcast_dimensions"]),
    "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
    "div": lambda params, x, y: x / y if np.issubdtype(x.dtype, np.floating) else (np.fix(x / y)).astype(x.dtype),
    "integer_pow": _power,
    "reduce_max": lambda params, x: np.max(x, axis=tuple(params["axes"])),
    "reduce_sum": lambda params, x: np.sum(x, axis=tuple(params["axes"])),
    "reshape": lambda params, x: np.reshape(x, params["new_sizes"]),
    "select_n": lambda params, which, *cases: (
        np.where(which, cases[1], cases[0]) if which.dtype == bool else np.choose(which, cases)
    ),
    "squeeze": lambda params, x: np.squeeze(x, tuple(params["dimensions"])),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
}


def _on_fields(equation: Equation, arrays: Sequence[Any], **changed: Any) -> list[np.ndarray]:
    return [np.asarray(array) for array in _bound(equation, arrays, **changed)]


def _typed(array: Any, value: Any) -> Any:
    array = wide_dtype(array)
    if value.inexact and not hasattr(array, "dtype"):
        return np.asarray(array, np.float64)
    if value.inexact and array.dtype == jax.dtypes.float0:
        return np.zeros(array.shape)
    return _concrete(array) if hasattr(array, "dtype") else np.asarray(array, value.dtype)


def _concrete(array: Any) -> Any:
    """A NumPy array, but for keys and what is being vmapped."""
    if isinstance(array, Tracer) or jnp.issubdtype(array.dtype, jax.dtypes.extended):
        return array
    return np.asarray(array)


def _plain(equation: Equation, operands: list[Carried], drawn: bool, data: bool) -> list[Carried]:
    """An equation that no field reaches."""
    arrays = [operand.array for operand in operands]
    if equation.nested is not None:
        # What was traced in single precision holds its dtypes within.
        arrays = [jnp.asarray(array, value.dtype) for array, value in zip(arrays, equation.inputs)]
        call = lambda *arrays: bind(equation, *arrays)
    else:
        call = lambda *arrays: _bound(equation, arrays)
    if not drawn:
        return [Known(_as_numpy(array), data) for array in call(*arrays)]
    axes = [0 if isinstance(operand, Drawn) else None for operand in operands]
    arrays = [_typed(array, value) if not equation.nested else array for array, value in zip(arrays, equation.inputs)]
    return [Drawn(_as_numpy(array), data) for array in jax.vmap(call, axes)(*arrays)]


# -- loops ---------------------------------------------------------------------------------------------------------


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
        arrays = [_as_field(value, field, sampler).array for value in values]
        return field.moved(np.stack(arrays), {axis: axis + 1 for axis in range(len(like.shape))})
    data = any(map(_depends, values))
    drawn = next((value for value in values if isinstance(value, Drawn)), None)
    if drawn is None:
        return Known(_stacked([value.array for value in values]), data)
    count = drawn.array.shape[0]
    arrays = [
        value.array if isinstance(value, Drawn) else np.broadcast_to(value.array, (count, *like.shape))
        for value in values
    ]
    return Drawn(np.stack(arrays, axis=1), data)


# -- fields together -----------------------------------------------------------------------------------------------


def _as_field(value: Carried, field: Field, sampler: Sampler) -> Field:
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
            return _resampled(value, axis, field.layout, sampler)


def _resampled(value: Known | Drawn, axis: int, layout: Layout, sampler: Sampler) -> Field:
    taken = sampler.resampled(value, axis, layout)
    return Field(taken.array, axis, layout)


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
        raise Split(value.layout.width, _refined(value.layout.parts, field.layout.parts))
    raise Outside("features along different axes are combined")


def _refined(*divisions: tuple[int, ...]) -> tuple[int, ...]:
    """The coarsest division into parts that each of the given ones is made of."""
    borders = sorted(set().union(*(itertools.accumulate(parts, initial=0) for parts in divisions)))
    return tuple(after - before for before, after in itertools.pairwise(borders))


def _first_field(operands: Sequence[Carried]) -> Field:
    """The field whose axes the others take: one with members, if there is one."""
    fields = [operand for operand in operands if isinstance(operand, Field)]
    return max(fields, key=lambda field: field.members is not None)


# -- one primitive -------------------------------------------------------------------------------------------------


def _elementwise(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = _first_field(operands)
    arrays = []
    for operand, value in zip(operands, equation.inputs):
        if isinstance(operand, Known) and value.shape == ():
            arrays.append(operand.array)
        else:
            arrays.append(_as_field(operand, field, matrices.sampler).array)
    shapes = [np.shape(array) for array in arrays if np.shape(array)]
    shape = np.broadcast_shapes(*shapes)
    arrays = [np.broadcast_to(array, shape) if np.shape(array) else array for array in arrays]
    return [field.like(_as_numpy(array)) for array in _on_fields(equation, arrays)]


def _identity(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    return operands


def _transpose(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = _first_field(operands)
    if equation.name == "rev":
        if {field.axis, field.members} & set(equation.params["dimensions"]):
            raise Outside("features in reverse order")
        return [field.like(np.flip(field.array, equation.params["dimensions"]))]
    order = equation.params["permutation"]
    place = {old: new for new, old in enumerate(order)}
    return [field.moved(np.transpose(field.array, order), place)]


def _rename(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = _first_field(operands)
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
            raise Split(inner, _refined(one.parts, kept))
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


def _part(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = _first_field(operands)
    if equation.name == "split":
        sizes, axis = equation.params["sizes"], equation.params["axis"]
        starts = list(itertools.accumulate(sizes, initial=0))
        return [_cut(field, axis, start, start + size, 1, matrices.sampler) for start, size in zip(starts, sizes)]
    if equation.name != "slice":
        raise Outside(f"{_named(equation)} of what layers compute")
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
        raise Split(layout.width, _refined(layout.parts, whole))
    first, last = borders.index(start), borders.index(limit)
    count = layout.num_samples
    array = field.array[(slice(None),) * axis + (slice(first * count, last * count),)]
    parts = layout.parts[first:last]
    one = sampler.layout(limit - start)
    if one.parts != parts:
        raise Split(limit - start, _refined(one.parts, parts))
    return Field(array, axis, one)


def _join(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = _first_field(operands)
    if equation.name == "pad":
        config = equation.params["padding_config"]
        low, high, _ = config[field.axis]
        if isinstance(operands[0], Field) and (low, high) != (0, 0):
            return [_padded(equation, field, operands[1], matrices.sampler)]
        if field.members is not None and config[field.members] != (0, 0, 0):
            raise Outside("padding within a head")
        return [field.like(_on_fields(equation, [field.array, operands[1].array])[0])]
    if equation.name != "concatenate":
        raise Outside(f"{_named(equation)} of what layers compute")
    axis = equation.params["dimension"]
    if axis != field.axis:
        arrays = [_as_field(operand, field, matrices.sampler).array for operand in operands]
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
            pieces.append(_resampled(operand, axis, matrices.sampler.layout(width), matrices.sampler))
    if any(piece.axis != axis for piece in pieces):
        raise Outside("features along different axes are joined")
    parts = tuple(itertools.chain(*(piece.layout.parts for piece in pieces)))
    layout = matrices.sampler.layout(sum(parts))
    if layout.parts != parts:
        raise Split(layout.width, _refined(layout.parts, parts))
    return [Field(np.concatenate([piece.array for piece in pieces], axis), axis, layout)]


def _padded(equation: Equation, field: Field, filler: Carried, sampler: Sampler) -> Field:
    """Features with zeros beside them, as the way back through a slice has it."""
    config = equation.params["padding_config"]
    low, high, inner = config[field.axis]
    if inner or low < 0 or high < 0 or field.members is not None:
        raise Outside("features are spread apart")
    parts = tuple(part for part in (low, *field.layout.parts, high) if part)
    layout = sampler.layout(sum(parts))
    if layout.parts != _refined(layout.parts, parts):
        raise Split(layout.width, _refined(layout.parts, parts))
    borders = list(itertools.accumulate(layout.parts, initial=0))
    inside = layout.parts[borders.index(low) : borders.index(layout.width - high)]
    if inside != field.layout.parts:
        raise Split(field.layout.width, _refined(inside, field.layout.parts))
    before, after = borders.index(low), len(layout.parts) - borders.index(layout.width - high)
    config = list(config)
    config[field.axis] = (before * layout.num_samples, after * layout.num_samples, 0)
    array = _on_fields(equation, [field.array, filler.array], padding_config=tuple(config))[0]
    return Field(array, field.axis, layout)


def _repeat(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = _first_field(operands)
    if equation.name != "broadcast_in_dim":
        raise Outside(f"{_named(equation)} of what layers compute")
    shape, dims = list(equation.params["shape"]), equation.params["broadcast_dimensions"]
    place = dict(enumerate(dims))
    for axis in (field.axis, field.members):
        if axis is not None:
            if shape[place[axis]] != field.shape[axis]:
                raise Outside("a single feature is repeated")
            shape[place[axis]] = field.array.shape[axis]
    return [field.moved(_broadcast(field.array, shape, dims), place)]


def _broadcast(array: Any, shape: Sequence[int], dims: Sequence[int]) -> np.ndarray:
    """``lax.broadcast_in_dim``."""
    sizes = [1] * len(shape)
    for size, axis in zip(np.shape(array), dims):
        sizes[axis] = size
    return np.broadcast_to(np.reshape(array, sizes), shape)


def _reduction(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = _first_field(operands)
    axes = equation.params.get("axes")
    if axes is None or len(operands) != 1 or equation.name.startswith("arg"):
        raise Outside(f"{_named(equation)} of what layers compute")
    others = [axis for axis in axes if axis not in (field.axis, field.members)]
    wide = [axis for axis in axes if axis in (field.axis, field.members)]
    (array,) = _on_fields(equation, [field.array], axes=tuple(others)) if others else (field.array,)
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
    field = _first_field(operands)
    if equation.params.get("axis") in (field.axis, field.members) or len(operands) != 1:
        raise Outside(f"{_named(equation)} along features")
    return [field.like(array) for array in _on_fields(equation, [field.array])]


def _window(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    field = _first_field(operands)
    sizes = equation.params.get("window_dimensions")
    if sizes is None or sizes[field.axis] != 1 or field.members is not None:
        raise Outside("a window over features")
    arrays = [_as_field(operand, field, matrices.sampler).array for operand in operands]
    return [field.like(_as_numpy(array)) for array in _on_fields(equation, arrays)]


def _read(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
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
        return [field.like(_on_fields(equation, arrays, slice_sizes=tuple(sizes))[0])]
    numbers = equation.params["dimension_numbers"]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    if field.axis in gone or field.members in gone:
        raise Outside("single features are picked")
    kept = [axis for axis in range(field.array.ndim) if axis not in gone]
    place = {old: numbers.offset_dims[number] for number, old in enumerate(kept)}
    array = _on_fields(equation, arrays, slice_sizes=tuple(sizes))[0]
    return [field.moved(array, {**place, **dict.fromkeys(gone, -1)})]


def _write(equation: Equation, operands: list[Carried], matrices: Matrices) -> list[Carried]:
    if equation.name == "dynamic_update_slice":
        target, update, *indices = operands
        field = _first_field([target, update])
        if field.members is not None or not all(isinstance(index, Known) for index in indices):
            raise Outside("places are chosen by what layers compute")
        if equation.inputs[0].shape[field.axis] != equation.inputs[1].shape[field.axis]:
            raise Outside("single features are written")
        arrays = [_as_field(target, field, matrices.sampler).array, _as_field(update, field, matrices.sampler).array]
        arrays = [np.asarray(array) for array in (*arrays, *(index.array for index in indices))]
        return [field.like(_on_fields(equation, arrays)[0])]
    if equation.name not in ("scatter-add", "scatter"):
        raise Outside(f"{_named(equation)} of what layers compute")
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
        _as_field(target, shape(axis), matrices.sampler).array,
        index.array,
        _as_field(update, shape(place[axis]), matrices.sampler).array,
    ]
    return [Field(_on_fields(equation, arrays)[0], axis, field.layout)]


def _product(equation: Equation, operands: list[Carried], matrices: Matrices) -> Carried:
    if equation.name == "conv_general_dilated":
        return convolve(equation, operands, matrices)
    if equation.name != "dot_general":
        raise Outside(f"{_named(equation)} of what layers compute")
    weights = [isinstance(operand, Drawn) and not operand.data for operand in operands]
    if any(weights):
        return contract(equation, operands, weights.index(True), matrices)
    return inner_product(equation, operands, matrices.sampler)


_RULES = {
    "elementwise": _elementwise,
    "identity": _identity,
    "rename": _rename,
    "reorder": _transpose,
    "part": _part,
    "join": _join,
    "repeat": _repeat,
    "reduction": _reduction,
    "cumulative": _along,
    "window": _window,
    "read": _read,
    "write": _write,
    "product": lambda equation, operands, matrices: [_product(equation, operands, matrices)],
}
