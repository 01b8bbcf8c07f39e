"""Values that no input reaches, computed with numpy; a value that numpy and XLA might round differently is not known.

Integers and truth values are exact. A floating-point result is taken where every correct evaluation gives the same bits
(moving, comparing, negating, whole numbers within the mantissa); otherwise only its zeros are followed (``rules``). At
the point of a local pattern rounding is accepted, since such a pattern is checked where it is used.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxcalc.programs.elementwise import ARITHMETIC, EXACT, ROUNDED
from jaxcalc.programs.sparsity import indexed
from jaxcalc.programs.sparsity.abstract_value import Fact, Options
from jaxcalc.programs.walk import Equation

__all__ = ["MOST_OPTIONS", "bounds", "evaluate", "options", "possible"]

Bounds = tuple[np.ndarray, np.ndarray]
_WIDE = 1 << 31

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_max": np.max, "reduce_min": np.min, "reduce_and": np.all, "reduce_or": np.any,
    "reduce_sum": np.sum, "reduce_prod": np.prod,
}  # fmt: skip

_CUMULATIVE: dict[str, Callable[..., Any]] = {
    "cumsum": np.add, "cumprod": np.multiply, "cummax": np.maximum, "cummin": np.minimum,
}  # fmt: skip


_OTHERS = frozenset({
    "argmax", "argmin", "complex", "convert_element_type", "dot_general", "dynamic_slice", "dynamic_update_slice",
    "gather", "integer_pow", "iota", "round", "scatter", "scatter-add", "select_n", "shift_left",
    "shift_right_arithmetic",    "shift_right_logical", "sort",
})  # fmt: skip
_EVALUATED = frozenset(EXACT) | frozenset(ARITHMETIC) | frozenset(_REDUCTIONS) | frozenset(_CUMULATIVE) | _OTHERS


def possible(equation: Equation, position: int, rounded: bool) -> bool:
    """Whether ``evaluate`` knows the operation, other than one that only moves elements."""
    name = equation.name
    if name in ("div", "rem") and equation.outputs[position].dtype.kind in "iu":
        return True
    return name in _EVALUATED or (rounded and (name in ROUNDED or name == "div"))


def evaluate(equation: Equation, facts: Sequence[Fact], position: int, movement: Any = None) -> np.ndarray | None:
    """One output of an equation whose inputs are known, or ``None`` where it cannot be told for certain.

    Args:
      equation: without nested programs.
      facts: of its inputs.
      position: which output.
      movement: for an operation that only moves elements, the places of the output's elements among the inputs'.
    """
    arrays = [fact.value() for fact in facts]
    if any(array is None for array in arrays):
        return None
    out = equation.outputs[position]
    rounded = any(fact.at_point for fact in facts)
    result = _computed(equation, arrays, facts, position, movement, rounded)
    if result is None:
        return None
    result = np.asarray(result)
    return result.astype(out.dtype) if result.shape == out.shape and result.dtype != out.dtype else _shaped(result, out)


def _shaped(result: np.ndarray, out: Any) -> np.ndarray | None:
    """Broadcast where a primitive takes scalars beside arrays; nothing if the shape is not the one promised."""
    try:
        return np.broadcast_to(result, out.shape).astype(out.dtype, copy=False)
    except ValueError:
        return None


def _computed(equation, arrays: list[Any], facts, position: int, movement: Any, rounded: bool) -> Any:
    name, params, out = equation.name, equation.params, equation.outputs[position]
    if movement is not None:
        flat = np.concatenate([array.reshape(-1) for array in arrays]) if len(arrays) > 1 else arrays[0].reshape(-1)
        index = movement[position]
        return (flat if index is None else flat[index]).reshape(out.shape)
    if name in EXACT:
        return EXACT[name](*arrays)
    match name:
        case "iota":
            along = [1] * len(out.shape)
            along[params["dimension"]] = out.shape[params["dimension"]]
            return np.broadcast_to(np.arange(along[params["dimension"]]).reshape(along), out.shape).astype(out.dtype)
        case "select_n":
            return _select(arrays[0], arrays[1:], out.shape)
        case "convert_element_type":
            return _convert(arrays[0], out.dtype)
        case "complex":
            return arrays[0] + 1j * arrays[1]
        case "round":
            nearest_even = "EVEN" in str(params.get("rounding_method", "")).upper()
            x = arrays[0]
            return (
                np.rint(x)
                if nearest_even
                else np.where(np.abs(x - np.trunc(x)) == 0.5, x + 0.5 * np.sign(x), np.rint(x))
            )
        case "shift_left" | "shift_right_arithmetic" | "shift_right_logical":
            return _shift(name, *arrays)
        case "argmax" | "argmin":
            (axis,) = params["axes"]
            return None if _has_nan(arrays[0]) else getattr(np, name)(arrays[0], axis=axis)
        case "sort":
            return _sort(arrays, params, position)
        case "div" | "rem" if out.dtype.kind in "iu":
            return _divide(name, *arrays)
        case "integer_pow" if params["y"] >= 0:
            return _whole(lambda x: np.power(x, params["y"]), arrays, out.dtype, rounded, bound=True)
        case "gather" | "dynamic_slice":
            return _read(equation, arrays, facts, out)
        case "scatter" | "scatter-add" | "dynamic_update_slice":
            return _write(equation, arrays, facts, out)
        case "dot_general":
            return _whole(lambda a, b: _dot(a, b, params["dimension_numbers"]), arrays, out.dtype, rounded, bound=True)
    if name in ARITHMETIC:
        return _whole(ARITHMETIC[name], arrays, out.dtype, rounded)
    if name in _REDUCTIONS:
        function, axes = _REDUCTIONS[name], tuple(params["axes"])
        if not arrays[0].size:
            return None
        if name in ("reduce_and", "reduce_or") and arrays[0].dtype != bool:
            return None
        if name in ("reduce_sum", "reduce_prod"):
            return _whole(lambda x: function(x, axis=axes, dtype=x.dtype), arrays, out.dtype, rounded, bound=True)
        return function(arrays[0], axis=axes)
    if name in _CUMULATIVE:
        return _cumulate(_CUMULATIVE[name], arrays, params, out.dtype, rounded)
    if rounded and name in ROUNDED:
        return ROUNDED[name](*arrays)
    if rounded and name == "div":
        return arrays[0] / arrays[1]
    if rounded and name == "integer_pow":
        return arrays[0] ** float(params["y"])
    return None


def _whole(function, arrays, dtype, rounded: bool, bound: bool = False) -> Any:
    """Integer arithmetic, or floating-point arithmetic on whole numbers so small that nothing is rounded on the way."""
    if dtype.kind in "iub" or rounded:
        return function(*arrays)
    if dtype.kind != "f" or not all(np.all(np.isfinite(x) & (x == np.floor(x))) for x in arrays):
        return None
    limit = 2.0 ** np.finfo(dtype).nmant
    sizes = [np.abs(x).astype(np.float64) for x in arrays] if bound else [x.astype(np.float64) for x in arrays]
    if np.any(np.abs(function(*sizes)) > limit) or any(np.any(np.abs(x) > limit) for x in sizes):
        return None
    return function(*arrays)


def _has_nan(array: np.ndarray) -> bool:
    return array.dtype.kind in "fcV" and bool(np.any(array != array))


def _select(which: np.ndarray, cases: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    which = np.broadcast_to(which, shape).astype(np.int64)
    result = np.broadcast_to(cases[0], shape)
    for number, case in enumerate(cases[1:], 1):
        result = np.where(which == number, case, result)
    return result


def _convert(array: np.ndarray, dtype: Any) -> np.ndarray | None:
    """As XLA converts; nothing where a floating-point number does not fit the integers."""
    if np.dtype(dtype) == bool:
        return array != 0
    if array.dtype.kind == "c" and dtype.kind != "c":
        array = np.real(array)
    if dtype.kind in "iu" and array.dtype.kind not in "iub":
        array = array.astype(np.float64)
        room = np.iinfo(dtype)
        if not np.all(np.isfinite(array) & (array > float(room.min) - 1) & (array < float(room.max))):
            return None
    return array.astype(dtype)


def _divide(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Towards zero, as in C."""
    if np.any(b == 0):
        return None
    remainder = np.fmod(a, b)
    return remainder if name == "rem" else (a - remainder) // b


def _shift(name: str, a: np.ndarray, by: np.ndarray) -> np.ndarray | None:
    bits = a.dtype.itemsize * 8
    if np.any(by < 0) or np.any(by >= bits) or a.dtype == bool:
        return None
    if name == "shift_left":
        return np.left_shift(a, by)
    if name == "shift_right_logical" and a.dtype.kind == "i":
        unsigned = np.dtype(f"u{a.dtype.itemsize}")
        return np.right_shift(a.view(unsigned) if a.ndim else unsigned.type(a), by.astype(unsigned)).astype(a.dtype)
    return np.right_shift(a, by)


def _sort(arrays, params, position: int) -> np.ndarray | None:
    keys, axis = params["num_keys"], params["dimension"]
    if any(_has_nan(array) for array in arrays[:keys]) or any(array.dtype.kind == "c" for array in arrays[:keys]):
        return None
    if position >= keys and not params["is_stable"]:
        return None
    order = np.lexsort(tuple(reversed(arrays[:keys])), axis=axis)
    return np.take_along_axis(arrays[position], order, axis=axis)


def _read(equation, arrays, facts, out) -> np.ndarray | None:
    where = indexed.places(equation, facts, exact=True)
    if where is None or (where.least < 0).any():
        return None
    return arrays[0].reshape(-1)[where.least].reshape(out.shape)


def _write(equation, arrays, facts, out) -> np.ndarray | None:
    where = indexed.places(equation, facts, exact=True)
    if where is None:
        return None
    updates = arrays[1 if equation.name == "dynamic_update_slice" else 2].reshape(-1)
    inside = where.least >= 0
    target, updates = where.least[inside], updates[inside]
    result = arrays[0].reshape(-1).copy()
    if equation.name == "scatter-add":
        if out.dtype.kind not in "iu":
            return None
        np.add.at(result, target, updates)
    elif np.unique(target).size != target.size:
        return None  # which of several writes comes last is not told
    else:
        result[target] = updates
    return result.reshape(out.shape)


def _dot(a: np.ndarray, b: np.ndarray, numbers: Any) -> np.ndarray:
    (contract_a, contract_b), (batch_a, batch_b) = numbers
    free_a = [axis for axis in range(a.ndim) if axis not in contract_a and axis not in batch_a]
    free_b = [axis for axis in range(b.ndim) if axis not in contract_b and axis not in batch_b]
    lanes = [a.shape[axis] for axis in batch_a]
    inner = math.prod(a.shape[axis] for axis in contract_a)
    left = a.transpose([*batch_a, *free_a, *contract_a]).reshape(*lanes, -1 if a.size else 0, inner)
    right = b.transpose([*batch_b, *contract_b, *free_b]).reshape(*lanes, inner, -1 if b.size else 0)
    return (left @ right).reshape(*lanes, *(a.shape[i] for i in free_a), *(b.shape[i] for i in free_b))


def _cumulate(function, arrays, params, dtype, rounded: bool) -> Any:
    axis, reverse = params["axis"], params["reverse"]

    def along(x):
        x = np.flip(x, axis) if reverse else x
        x = function.accumulate(x, axis=axis, dtype=x.dtype)
        return np.flip(x, axis) if reverse else x

    return (
        along(arrays[0]) if function in (np.maximum, np.minimum) else _whole(along, arrays, dtype, rounded, bound=True)
    )


# -- a choice between known integers -------------------------------------------------------------------------------


# Between so many arrays at most.
MOST_OPTIONS = 8
_BY_ELEMENT = frozenset(EXACT) | frozenset(ARITHMETIC)
_BY_ELEMENT |= {"convert_element_type", "div", "integer_pow", "rem", "round", "select_n"}
_BY_ELEMENT |= {"shift_left", "shift_right_arithmetic", "shift_right_logical"}


def options(equation: Equation, facts: Sequence[Fact], position: int, movement: Any = None) -> Options | None:
    """The arrays that an output may be: those that a selection chooses from, and what is computed from each.

    Where every element has a decision of its own, only operations by element keep together what belongs together.
    """
    if equation.name == "select_n" and facts[0].value() is None and facts[0].options() is None:
        shape, cases = equation.outputs[position].shape, [fact.value() for fact in facts[1:]]
        if len(cases) > MOST_OPTIONS or any(case is None for case in cases):
            return None
        return facts[0], [np.broadcast_to(case, shape) for case in cases if case is not None]
    several = indexed.alternatives(facts, range(len(facts)))
    if several is None:
        return None
    decided, alternatives = several
    if decided.size != 1 and movement is None and equation.name not in _BY_ELEMENT:
        return None
    results = [evaluate(equation, each, position, movement) for each in alternatives]
    if any(result is None for result in results):
        return None
    results = [result for result in results if result is not None]
    if decided.size != 1 and movement is not None:  # its elements are elsewhere now
        decided = Fact(decided.shape, decided.dtype)
    return decided, results


# -- ranges of integers --------------------------------------------------------------------------------------------


def bounds(own: Fact, equation: Equation, facts: Sequence[Fact], position: int, movement: Any = None) -> Bounds | None:
    """Least and greatest value of each element of an integer output, whose own fact is given, where they are told."""
    out = equation.outputs[position]
    several = own.options()
    if several is not None:
        wide = [array.astype(np.int64) for array in several[1]]
        return np.minimum.reduce(wide), np.maximum.reduce(wide)
    found = _bounded(equation, facts, position, movement)
    if found is None:
        if out.dtype == bool:
            return np.zeros(out.shape, np.int64), np.ones(out.shape, np.int64)
        return None
    low, high = (np.broadcast_to(np.asarray(side).astype(np.int64), out.shape) for side in found)
    if out.dtype.kind in "iu":
        room = np.iinfo(out.dtype)
        if np.any(low < room.min) or np.any(high > room.max):  # it may wrap around
            return None
    return low, high


def _bounded(equation, facts, position: int, movement: Any) -> Bounds | None:
    name, params = equation.name, equation.params
    match name:
        case "argmax" | "argmin":
            (axis,) = params["axes"]
            return np.array(0), np.array(max(facts[0].shape[axis] - 1, 0))
        case "top_k" if position == 1:
            axis = params.get("axis", len(facts[0].shape) - 1)
            return np.array(0), np.array(max(facts[0].shape[axis] - 1, 0))
        case "sort":
            pair = facts[position].bounds()
            if pair is None or not facts[position].size:
                return None
            axis = params["dimension"]
            return pair[0].min(axis=axis, keepdims=True), pair[1].max(axis=axis, keepdims=True)
        case "select_n":
            return _select_bounds(facts)
    pairs = [fact.bounds() for fact in facts]
    if any(pair is None for pair in pairs) or not pairs:
        return None
    if movement is not None:
        index = movement[position]
        flats = [np.concatenate([pair[side].reshape(-1) for pair in pairs]) for side in (0, 1)]
        shape = equation.outputs[position].shape
        return tuple((flat if index is None else flat[index]).reshape(shape) for flat in flats)  # pyright: ignore
    if any(np.any(side > _WIDE) or np.any(side < -_WIDE) for pair in pairs for side in pair):
        return None  # products of such numbers may not fit the integers used here
    (low, high), *others = pairs
    lower, upper = others[0] if others else (low, high)
    boolean = facts[0].dtype == bool
    match name:
        case "add":
            return low + lower, high + upper
        case "sub":
            return low - upper, high - lower
        case "mul":
            corners = [low * lower, low * upper, high * lower, high * upper]
            return np.minimum.reduce(corners), np.maximum.reduce(corners)
        case "neg":
            return -high, -low
        case "abs":
            return np.maximum(np.maximum(low, -high), 0), np.maximum(-low, high)
        case "sign":
            return np.sign(low), np.sign(high)
        case "square":
            return _power_bounds(low, high, 2)
        case "integer_pow":
            return _power_bounds(low, high, params["y"])
        case "max":
            return np.maximum(low, lower), np.maximum(high, upper)
        case "min":
            return np.minimum(low, lower), np.minimum(high, upper)
        case "clamp":
            (low, high), (lower, upper), (least, most) = pairs
            return np.minimum(np.maximum(lower, low), least), np.minimum(np.maximum(upper, high), most)
        case "rem" if np.all(lower > 0) and np.all(low >= 0):
            return np.zeros_like(low), np.minimum(high, upper - 1)
        case "div" if np.all(lower > 0) and np.all(low >= 0):
            return low // upper, high // lower
        case "convert_element_type" if equation.outputs[0].dtype.kind in "iu":
            return low, high
        case "reduce_max" | "reduce_min" if facts[0].size:
            pick = np.max if name == "reduce_max" else np.min
            return pick(low, axis=tuple(params["axes"])), pick(high, axis=tuple(params["axes"]))
        case "lt":
            return high < lower, low < upper
        case "le":
            return high <= lower, low <= upper
        case "gt":
            return low > upper, high > lower
        case "ge":
            return low >= upper, high >= lower
        case "and" if boolean:
            return low & lower, high & upper
        case "or" if boolean:
            return low | lower, high | upper
        case "not" if boolean:
            return 1 - high, 1 - low
    return None


def _power_bounds(low: np.ndarray, high: np.ndarray, power: int) -> Bounds | None:
    """Of a whole number to a power; none for a reciprocal, nor beyond the integers used here."""
    widest = max(np.max(np.abs(low), initial=0), np.max(np.abs(high), initial=0))
    if power < 0 or float(widest) ** power > float(1 << 62):
        return None
    if power % 2 == 0:  # falls as far as zero, then rises
        low, high = np.maximum(np.maximum(low, -high), 0), np.maximum(-low, high)
    return low**power, high**power


def _select_bounds(facts: Sequence[Fact]) -> Bounds | None:
    which, cases = facts[0].bounds(), [fact.bounds() for fact in facts[1:]]
    if which is None:
        return None
    shape = facts[1].shape
    first, last = (np.broadcast_to(side, shape) for side in which)
    low, high = np.full(shape, np.iinfo(np.int64).max), np.full(shape, np.iinfo(np.int64).min)
    for number, pair in enumerate(cases):
        possible = (first <= number) & (number <= last)
        if not possible.any():
            continue
        if pair is None:
            return None
        low = np.where(possible, np.minimum(low, pair[0]), low)
        high = np.where(possible, np.maximum(high, pair[1]), high)
    return low, high
