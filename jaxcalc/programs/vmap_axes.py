"""Which values of a program ``jax.vmap`` would give an axis, read off the program of one lane."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from jaxcalc.programs.walk import Branches, Equation, Program, Scan, Shards, Solve, Value, While

__all__ = ["Lanes", "spread"]

Lanes = frozenset[int]
_NONE: Lanes = frozenset()
T = TypeVar("T")


def spread(program: Program, sources: Sequence[Iterable[int]]) -> dict[Value, Lanes]:
    """The lane axes of every value, nested programs included, when the numbered inputs have one axis per source.

    An axis reaches what depends on an input that has it, through the carries of loops by fixpoint. As under
    ``jax.vmap``, a predicate with lanes gives them to all that its loop carries and to all that its branches take.

    Args:
      program: the program of one lane.
      sources: for each lane axis the numbers of the inputs that have it.

    Returns:
      The set of axes (numbers into ``sources``) of each value that has any.
    """
    given = [_NONE] * len(program.inputs)
    for axis, inputs in enumerate(sources):
        for i in inputs:
            given[i] |= {axis}
    reached: dict[Value, Lanes] = {}
    if any(given):
        _flow(program, given, reached)
    return reached


def _flow(program: Program, given: Sequence[Lanes], reached: dict[Value, Lanes]) -> list[Lanes]:
    """Spread the inputs' axes over one program; return its outputs' axes."""
    reached.update(zip(program.inputs, given))
    for equation in program.equations:
        axes = [reached.get(value, _NONE) for value in equation.inputs]
        if not any(axes):
            continue
        if equation.nested is None:
            every = _NONE.union(*axes)
            for value in equation.outputs:
                reached[value] = every
        else:
            reached.update(zip(equation.outputs, _nested(equation, axes, reached)))
    return [reached.get(value, _NONE) for value in program.outputs]


def _nested(equation: Equation, axes: list[Lanes], reached: dict[Value, Lanes]) -> list[Lanes]:
    """The axes of the outputs of a loop, a choice or a solve."""
    match equation.nested:
        case Scan(body, first, carried):
            last = first + carried
            carry = axes[first:last]
            while True:
                out = _flow(body, [*axes[:first], *carry, *axes[last:]], reached)
                wider = [a | b for a, b in zip(carry, out)]
                if wider == carry:
                    return [*carry, *out[carried:]]
                carry = wider
        case While(condition, body, first, second):
            carry = axes[first + second :]
            while True:
                (predicate,) = _flow(condition, [*axes[:first], *carry], reached)
                carry = [a | predicate for a in carry]
                out = _flow(body, [*axes[first : first + second], *carry], reached)
                wider = [a | b for a, b in zip(carry, out)]
                if wider == carry:
                    return carry
                carry = wider
        case Branches(branches):
            given = [a | axes[0] for a in axes[1:]]
            outs = [_flow(branch, given, reached) for branch in branches]
            return [axes[0].union(*found) for found in zip(*outs)]
        case Solve() as solve:
            body, constants, right = solve_inputs(solve, axes)
            # The solution and the right-hand side have the same lanes, also those of the operator's constants.
            every = _NONE.union(*axes)
            if body is not None:
                _flow(body, [*constants, *(a | every for a in right)], reached)
            return [every] * len(equation.outputs)
        case Shards(body):
            return _flow(body, axes, reached)
    return [_NONE.union(*axes)] * len(equation.outputs)


def solve_inputs(solve: Solve, inputs: Sequence[T]) -> tuple[Program | None, Sequence[T], Sequence[T]]:
    """The part that solves, with its constants and the right-hand sides among the equation's inputs."""
    start = 0
    constants: Sequence[T] = ()
    for name, count in solve.constants.items():
        if name == "solve":
            constants = inputs[start : start + count]
        start += count
    return solve.parts.get("solve"), constants, inputs[start:]
