"""What XLA does to a program before it fuses anything: loops that are written out, equal equations, outer products."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxcalc.programs.walk import Equation, Program, Scan, Value

__all__ = ["merged", "written_out"]

# A loop is written out up to this many equations.
_LONGEST = 4096


def written_out(program: Program) -> Program:
    """The program in which scans of one trip, and those that ask to be unrolled whole, are straight lines."""
    if not any(isinstance(equation.nested, Scan) for equation in program.equations):
        return program
    same: dict[Value, Value] = {}
    equations: list[Equation] = []
    for equation in program.equations:
        equation = _with(equation, same)
        scan = equation.nested
        if isinstance(scan, Scan) and scan.length > 0 and (scan.length == 1 or scan.unroll >= scan.length):
            body = written_out(scan.body)
            if scan.length * len(body.equations) <= _LONGEST:
                same.update(zip(equation.outputs, _trips(equation, replace(scan, body=body), equations)))
                continue
        equations.append(equation)
    return Program(program.inputs, tuple(same.get(value, value) for value in program.outputs), tuple(equations))


def _trips(equation: Equation, scan: Scan, equations: list[Equation]) -> Sequence[Value]:
    """Append every trip of a loop; return its outputs."""
    last = scan.num_constants + scan.num_carry
    constants, carry = equation.inputs[: scan.num_constants], equation.inputs[scan.num_constants : last]
    stacks: list[list[Value]] = [[] for _ in scan.body.outputs[scan.num_carry :]]
    for trip in range(scan.length):
        names = dict(zip(scan.body.inputs, (*constants, *carry)))
        for value, source in zip(scan.body.inputs[last:], equation.inputs[last:]):
            names[value] = _like(value)
            equations.append(Equation("slice", (source,), (names[value],), {"trip": trip}))
        for inner in scan.body.equations:
            names.update((value, _like(value)) for value in inner.outputs)
            equations.append(_with(inner, names))
        results = [names.get(value, value) for value in scan.body.outputs]
        carry = results[: scan.num_carry]
        for stack, value in zip(stacks, results[scan.num_carry :]):
            stack.append(value)
    outputs = equation.outputs[scan.num_carry :]
    for value, stack in zip(outputs, stacks):
        equations.append(Equation("stack", tuple(stack if not scan.reverse else stack[::-1]), (value,), {"axis": 0}))
    return [*carry, *outputs]


def _with(equation: Equation, names: dict[Value, Value]) -> Equation:
    """The equation with its arrays under other names."""
    inputs = tuple(names.get(value, value) for value in equation.inputs)
    outputs = tuple(names.get(value, value) for value in equation.outputs)
    if inputs == equation.inputs and outputs == equation.outputs:
        return equation
    return replace(equation, inputs=inputs, outputs=outputs)


def _like(value: Value) -> Value:
    return Value(value.shape, value.dtype, None, value.weak)


def merged(program: Program) -> Program:
    """The program with equal equations computed once, and products that sum over nothing as multiplications."""
    same: dict[Value, Value] = {}
    seen: dict[Any, Equation] = {}
    kept: list[Equation] = []
    for equation in program.equations:
        inputs = tuple([same.get(value, value) for value in equation.inputs]) if same else equation.inputs
        if equation.nested is None:
            before = _known(equation, inputs, seen)
            if before is not None:
                same.update(zip(equation.outputs, before.outputs))
                continue
        outer = equation.name == "dot_general" and not equation.params["dimension_numbers"][0][0]
        if outer or inputs != equation.inputs:
            equation = replace(equation, name="mul" if outer else equation.name, inputs=inputs)
        kept.append(equation)
    return Program(program.inputs, tuple(same.get(value, value) for value in program.outputs), tuple(kept))


def _known(equation: Equation, inputs: Sequence[Value], seen: dict[Any, Equation]) -> Equation | None:
    """An earlier equation that computes the same, if parameters can be compared."""
    params = equation.params
    try:
        key = (equation.name, tuple(map(_identity, inputs)), tuple(params.items()) if params else ())
        before = seen.setdefault(key, equation)
    except TypeError:  # a parameter that has no hash
        return None
    return None if before is equation else before


def _identity(value: Value) -> Any:
    """Equal for values that are surely equal."""
    literal = value.literal
    if literal is None or value.shape != () or not isinstance(literal, (bool, int, float, np.generic, np.ndarray)):
        return value
    return type(literal), np.asarray(literal).tobytes(), value.dtype
