"""What the custom rules in a program compute: the program alone names the functions that they replace."""

from typing import Any

import jax

from jaxcalc.programs import walk
from jaxcalc.programs.walk import Equation, Program
from jaxcalc.transforms.interpreter import KEPT, along

__all__ = ["rule_programs"]


# Rules of rules are read down to the second derivative; no pattern rests on a higher one.
_DEPTH = 2


def rule_programs(jaxpr: Any) -> list[Program]:
    """The derivatives that the custom rules in a closed jaxpr give, and the rules in these, traced anew.

    A rule is ordinary Python that runs whenever its function is differentiated, and may read what has changed since.
    """
    derivatives, fresh = [], [jaxpr]
    for _ in range(_DEPTH):
        # What jit traces once is one jaxpr wherever it is called; its rules are read once.
        calls = {
            id(equation.params["call_jaxpr"]): equation
            for each in fresh
            for equation in walk.read(each, keep=KEPT).everything()
            if equation.name in KEPT
        }
        fresh = [derivative for call in calls.values() if (derivative := _derivative(call)) is not None]
        derivatives += [walk.read(derivative) for derivative in fresh]
    return derivatives


def _derivative(equation: Equation) -> Any:
    """The closed jaxpr of a rule, or None where it cannot be run."""
    operands = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in equation.inputs]
    moving = [value.inexact for value in equation.inputs]
    moved = [operand for operand, move in zip(operands, moving) if move]
    results = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in equation.outputs if value.inexact]

    def push(fixed, x, t):
        return jax.jvp(along(equation, fixed, moving), tuple(x), tuple(t))[1]

    def pull(fixed, x, u):
        return jax.vjp(along(equation, fixed, moving), *x)[1](list(u))

    by_forward = equation.name == "custom_jvp_call"
    try:
        return jax.make_jaxpr(push if by_forward else pull)(operands, moved, moved if by_forward else results)
    except Exception:  # whatever a rule raises, it raises it when the function is differentiated too
        return None
