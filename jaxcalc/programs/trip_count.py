"""How often a loop turns, where the program fixes it."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from jaxcalc.programs.walk import Equation, Program, Value, While

__all__ = ["Scalars", "fold", "hand_down", "turns"]

# The scalars that a program fixes.
Scalars = dict[Value, Any]

_FOLDED: dict[str, Callable[..., Any]] = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "neg": lambda a: -a}
_FOLDED |= {"mul": lambda a, b: a * b, "max": max, "min": min}
_TESTS = ("lt", "le", "gt", "ge", "ne")


def number(value: Value, known: Scalars) -> Any:
    """The value of a scalar that the program fixes, else ``None``."""
    if value in known:
        return known[value]
    literal = value.literal
    if literal is None or value.size != 1 or not isinstance(literal, (bool, int, float, np.generic, np.ndarray)):
        return None
    return np.asarray(literal).reshape(()).item()


def fold(equation: Equation, known: Scalars) -> None:
    """Compute a scalar from scalars that the program fixes."""
    out = equation.outputs[0] if len(equation.outputs) == 1 else None
    if out is None or out.shape != () or equation.name not in (*_FOLDED, "convert_element_type"):
        return
    numbers = [number(value, known) for value in equation.inputs]
    if any(each is None for each in numbers):
        return
    if equation.name == "convert_element_type":
        known[out] = int(numbers[0]) if np.issubdtype(np.dtype(out.dtype), np.integer) else numbers[0]
    else:
        known[out] = _FOLDED[equation.name](*numbers)


def hand_down(known: Scalars, inner: Iterable[Value], outer: Iterable[Value]) -> None:
    """Tell a nested program the scalars that it is given."""
    for value, source in zip(inner, outer):
        given = number(source, known)
        if given is not None:
            known[value] = given


def turns(loop: While, start: Sequence[Value], known: Scalars) -> float | None:
    """How often a loop turns that counts from a known start by a fixed step to a known bound; ``None`` for any other.

    Args:
      loop: its constants have been handed down. start: what its carry is at first.
    """
    (out,) = loop.condition.outputs
    if len(loop.condition.equations) != 1 or loop.condition.equations[0].name not in _TESTS:
        return None
    (test,) = loop.condition.equations
    if out is not test.outputs[0]:
        return None
    carried = {value: i for i, value in enumerate(loop.condition.inputs[loop.num_condition_constants :])}
    (left, forward), (right, backward) = (_side(value, carried.get(value), loop, start, known) for value in test.inputs)
    if left is None or right is None or forward is None or backward is None:
        return None
    return _count(test.name, right - left, forward - backward)


def _side(value: Value, place: int | None, loop: While, start: Sequence[Value], known: Scalars) -> tuple[Any, Any]:
    """One side of a comparison: its first value and its growth at each trip."""
    if place is None:
        return number(value, known), 0
    return number(start[place], known), _step(loop.body, place, loop.num_body_constants, known)


def _step(body: Program, place: int, constants: int, known: Scalars) -> Any:
    """By how much a carried scalar grows each trip: 0 if it stays, ``None`` if that is not fixed."""
    before, after = body.inputs[constants + place], body.outputs[place]
    if before is after:
        return 0
    for equation in body.equations:
        if after in equation.outputs and before in equation.inputs:
            first = equation.inputs[0] is before
            if equation.name == "add":
                return number(equation.inputs[1 if first else 0], known)
            if equation.name == "sub" and first:
                less = number(equation.inputs[1], known)
                return None if less is None else -less
    return None


def _count(test: str, gap: Any, step: Any) -> float | None:
    """Trips until ``gap`` is closed by steps, ``None`` if it never is."""
    if test in ("gt", "ge"):
        test, gap, step = {"gt": "lt", "ge": "le"}[test], -gap, -step
    if test == "ne":
        if gap == 0:
            return 0.0
        return float(gap / step) if step and gap / step > 0 and gap % step == 0 else None
    if gap < 0 or (gap == 0 and test == "lt"):
        return 0.0
    if step <= 0:
        return None
    return float(math.ceil(gap / step) if test == "lt" else math.floor(gap / step) + 1)
