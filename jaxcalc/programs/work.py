"""What one equation of a program computes: floating-point operations, transcendentals, and work by class.

Counting rules. An addition, multiplication, division, square root, comparison, maximum and the like of floating-point
elements is one operation (complex: 2 for an addition, 6 for a product), a multiply-add two. Moving, choosing and
converting elements is none, nor is arithmetic of integers and booleans. Exponentials and their kin are counted apart,
one per element. Factorisations have their textbook counts.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax.numpy as jnp

from jaxcalc.programs import primitives
from jaxcalc.programs.vmap_axes import Lanes
from jaxcalc.programs.walk import Equation, Value

__all__ = ["Tally", "itemsize", "work"]

# Amounts by name: "flops", "transcendentals", "product_flops" and the classes of ``Cost.counts``.
Tally = dict[str, float]

# Nothing to do at run time, or nothing that this program does.
_FREE = frozenset({"identity", "key", "token"})
# Movement of elements, fused into whatever reads it.
_MOVES = primitives.MOVEMENTS | {"bits", "source"}

# Below this many multiply-adds a product is a plain loop: no blocking, no threads.
SMALL_PRODUCT = 16 * 16 * 16


@lru_cache(maxsize=256)
def _kind(dtype: Any) -> int:
    """0 for integers, booleans and keys, 1 for real and 2 for complex floating-point types."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return 2
    return int(jnp.issubdtype(dtype, jnp.floating))


@lru_cache(maxsize=256)
def itemsize(dtype: Any) -> int:
    """Bytes of one element."""
    return Value((), dtype).itemsize


@lru_cache(maxsize=256)
def _narrow(dtype: Any) -> bool:
    """Whether it is a real floating-point type of at most 32 bits, or a complex one of two such."""
    return bool(_kind(dtype)) and itemsize(dtype) <= 4 * _kind(dtype)


def work(equation: Equation, lanes: Callable[[Value], Lanes], count: Callable[[Lanes], int]) -> Tally:
    """The amounts of a plain equation when its values have lane axes, each of which ``count`` gives the length.

    Args:
      equation: one without nested programs.
      lanes: the axes of a value. count: the number of lanes of a set of axes.

    Returns:
      Amounts by name; a name that is absent is zero.
    """
    name, row = equation.name, primitives.of(equation.name)
    if (row.kind in _FREE and name != "copy") or not equation.outputs:
        return {}
    out = equation.outputs[0]
    every = lanes(out)
    lane_count = count(every)
    elements = float(lane_count * out.size)
    kind = _kind(equation.inputs[0].dtype) if equation.inputs else _kind(out.dtype)
    if row.operations is not None:
        return _simple(equation, row.operations, elements, kind)
    if row.divides:
        if not kind:
            return {"integer": 4 * elements}
        flops, divided = elements * (1 if kind == 1 else 11), elements
        if name == "div":  # XLA multiplies by the reciprocal of a divisor that is broadcast
            divisor = equation.inputs[1]
            divided = min(elements, float(divisor.size * count(lanes(divisor))))
        return {"flops": flops, "division/sqrt": divided * (1 if kind == 1 else 4), "elementwise": flops - divided}
    if row.nanoseconds is not None:
        narrow, wide = row.nanoseconds
        weight = 3 * wide if kind == 2 else (narrow if _narrow(out.dtype) else wide)
        return {"transcendentals": elements, "transcendental": elements * weight}
    if row.kind in _MOVES or name == "dynamic_slice":
        return {"move": sum(float(lane_count * value.size) for value in equation.outputs)}
    if name == "dot_general":
        return product(equation, lanes, count)
    source = equation.inputs[0] if equation.inputs else out
    read = float(lane_count * source.size)
    if row.kind == "reduction":
        return _reduction(equation, name, read, elements, kind)
    if row.kind == "cumulative":
        width = 1 if name != "cumlogsumexp" else 3
        more = {"transcendentals": 2 * elements} if width == 3 else {}
        along = source.shape[equation.params["axis"]] if source.size else 1
        return more | {"flops": kind * width * (elements - elements / max(along, 1)), "cumulative": width * elements}
    if name.startswith("reduce_window"):
        window = math.prod(equation.params["window_dimensions"])
        return {"flops": kind * elements * max(window - 1, 0), "window": elements * window}
    if name.startswith("select_and_scatter"):
        window = math.prod(equation.params["window_dimensions"])
        return {"flops": kind * (read * window + read), "window": read * window, "scatter": read}
    match name:
        case "gather":
            return {"gather": elements}
        case "dynamic_update_slice":
            return {"move": float(lane_count * equation.inputs[1].size)}
        case "sort":
            along = max(source.shape[equation.params["dimension"]], 1) if source.shape else 1
            compares = read * math.log2(along)
            return {"flops": compares if kind else 0.0, "sort": compares * len(equation.inputs)}
        case "top_k" | "approx_top_k":
            along = max(source.shape[-1], 1)
            return {"flops": read * math.log2(along) if kind else 0.0, "sort": 2 * read * math.log2(along)}
        case "conv_general_dilated":
            return _convolution(equation, lane_count, kind)
        case "fft":
            length = math.prod(equation.params["fft_lengths"])
            real = "RFFT" in str(equation.params["fft_type"]).upper() or kind == 1 or _kind(out.dtype) == 1
            points = elements if _kind(out.dtype) == 1 else (read if real else elements)
            flops = (2.5 if real else 5.0) * points * math.log2(max(length, 1))
            return {"flops": flops, "product_flops": flops, "fft": flops, "library calls": 1.0}
    if name.startswith("scatter"):
        updates = float(lane_count * equation.inputs[2].size)
        return {"flops": 0.0 if name == "scatter" else kind * updates, "scatter": updates}
    if row.kind == "random":
        return {"random": sum(float(lane_count * value.size) for value in equation.outputs)}
    found = _factorisation(equation, lane_count, kind)
    if found is not None:
        return found
    # Unknown: at least every element in and out is touched.
    return {"opaque": read + sum(float(lane_count * value.size) for value in equation.outputs)}


def _simple(equation: Equation, operations: int, elements: float, kind: int) -> Tally:
    """Elementwise arithmetic, comparison, choice and conversion."""
    name = equation.name
    if name in ("select_n", "convert_element_type", "reduce_precision", "real", "imag", "complex"):
        return {"move": elements}
    if not kind:
        return {"integer": elements}
    flops = operations * elements
    if name == "integer_pow":
        power = abs(int(equation.params["y"]))
        flops = elements * max(power.bit_length() + power.bit_count() - 2, 0)
        if equation.params["y"] < 0:
            return {"flops": flops + elements, "elementwise": flops, "division/sqrt": elements}
    if kind == 2:
        flops *= 6 if name in ("mul", "integer_pow", "square") else 2
    return {"flops": flops, "elementwise": flops}


def _reduction(equation: Equation, name: str, read: float, written: float, kind: int) -> Tally:
    """A reduction, whose axes decide how well it vectorises."""
    axes = equation.params.get("axes", equation.params.get("dimensions", ()))
    source = equation.inputs[0]
    if all(source.shape[axis] == 1 for axis in axes):
        return {}
    minor = any(axis == len(source.shape) - 1 for axis in axes)
    place = "reduce minor" if minor else "reduce major"
    factor = 3 if name == "reduce_prod" and kind == 2 else 1
    # A sum has a cost of its own beside its terms', which shows where sums are short.
    return {"flops": kind * factor * max(read - written, 0.0), place: read * max(kind, 1), "sums": written}


def product(equation: Equation, lanes: Callable[[Value], Lanes], count: Callable[[Lanes], int]) -> Tally:
    """A product of arrays: its operations, by how XLA computes it."""
    batch, rows, columns, inner = product_shape(equation, lanes, count)
    kind = _kind(equation.outputs[0].dtype)
    adds = float(batch * rows * columns * inner)
    if not kind:
        return {"integer": 2 * adds}
    flops = adds * (2 if kind == 1 else 8)
    found = {"flops": flops, "product_flops": flops, "product calls": float(batch)}
    one = rows * columns * inner
    if min(rows, columns) <= 1:
        return found | {"gemv": flops}
    if one <= SMALL_PRODUCT:
        return found | {"small product": flops, "small calls": float(batch)}
    return found | {"gemm": flops}


def product_shape(
    equation: Equation, lanes: Callable[[Value], Lanes], count: Callable[[Lanes], int]
) -> tuple[int, int, int, int]:
    """Batch, rows, columns and inner length of a ``dot_general``; a lane axis of both operands is a batch axis."""
    left, right = equation.inputs
    (summed, summed_right), (batched, batched_right) = equation.params["dimension_numbers"]
    inner = math.prod(left.shape[i] for i in summed)
    batch = math.prod(left.shape[i] for i in batched)
    rows = math.prod(n for i, n in enumerate(left.shape) if i not in summed and i not in batched)
    columns = math.prod(n for i, n in enumerate(right.shape) if i not in summed_right and i not in batched_right)
    a, b = lanes(left), lanes(right)
    return batch * count(a & b), rows * count(a - b), columns * count(b - a), inner


def _convolution(equation: Equation, lane_count: int, kind: int) -> Tally:
    """A convolution: a tap meets at most every input and at most every output, whatever the padding and dilation."""
    left, right = equation.inputs
    out = equation.outputs[0]
    numbers = equation.params["dimension_numbers"]
    (_, _, *left_space), (_, features, *taps), (_, _, *out_space) = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    channels = right.shape[features]
    ordinary = out.size * channels
    useful = math.prod(out.shape[i] for i in numbers.out_spec[:2]) * channels
    for i, t, o in zip(left_space, taps, out_space):
        ordinary *= right.shape[t]
        useful *= min(out.shape[o] * right.shape[t], left.shape[i] * right.shape[t], left.shape[i] * out.shape[o])
    scale = lane_count * (2 if kind == 1 else 8)
    flops = float(useful * scale)
    return {"flops": flops, "product_flops": flops, "convolution": float(ordinary * scale), "library calls": 1.0}


def _factorisation(equation: Equation, lane_count: int, kind: int) -> Tally | None:
    """Dense linear algebra by its textbook counts; ``None`` for anything else."""
    if not equation.inputs or len(equation.inputs[0].shape) < 1:
        return None
    shape = equation.inputs[0].shape
    n = shape[-1]
    m = shape[-2] if len(shape) > 1 else 1
    small, large = min(m, n), max(m, n)
    batch = math.prod(shape[:-2])
    match equation.name:
        case "cholesky":
            flops = n**3 / 3
        case "cholesky_update":
            flops, batch = 2.0 * n**2, 1
        case "lu":
            flops = large * small**2 - small**3 / 3
        case "qr":
            flops = 4 * large * small**2 - 4 * small**3 / 3
        case "geqrf" | "geqp3" | "householder_product":
            flops = 2 * large * small**2 - 2 * small**3 / 3
        case "ormqr":
            flops, batch = 4.0 * equation.outputs[0].size * small / max(batch, 1), batch
        case "triangular_solve":
            rows = equation.outputs[0].size / max(batch * n, 1)
            flops = float(n * n * rows)
        case "tridiagonal_solve":
            flops, batch = 8.0 * equation.outputs[0].size, 1
        case "eigh":
            flops = 9.0 * n**3
        case "svd":
            flops = (
                6.0 * large * small**2 + 20.0 * small**3
                if equation.params.get("compute_uv")
                else 4.0 * large * small**2
            )
        case "eig" | "schur":
            flops = 25.0 * n**3
        case "hessenberg":
            flops = 10 * n**3 / 3
        case "tridiagonal":
            flops = 4 * n**3 / 3
        case "symmetric_product":
            flops = 2.0 * n * m * m
        case "lu_pivots_to_permutation":
            return {"integer": float(lane_count * equation.outputs[0].size)}
        case _:
            return None
    flops = float(flops * batch * lane_count * (1 if kind < 2 else 4))
    calls = float(max(batch, 1) * lane_count)
    return {"flops": flops, "product_flops": flops, "linear algebra": flops, "library calls": calls}
