"""What a flow is asked for: its keywords checked, and what each adjoint can give."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxcalc import checks
from jaxcalc.transforms.flow_event import DIRECTIONS
from jaxcalc.transforms.flow_solvers import method
from jaxcalc.transforms.program_cache import Watched

__all__ = ["ADJOINTS", "AdjointName", "Choices", "checked_start", "floating", "flow_choices", "needs_tolerances"]

AdjointName = Literal["auto", "discrete", "forward", "reversible", "quadrature", "checkpointed", "backsolve", "direct"]


class Adjoint(NamedTuple):
    """What an adjoint can give.

    Args:
      own: whether it is ours, and not diffrax's.
      explicit: whether it is of explicit methods alone. After a long implicit step a stiff field's adjoint decays
        within a small part of it, which no quadrature over the step sees.
      records: whether it keeps states, as many as are asked for.
      ends: whether a flow may end at an event.
      draws: whether what is between the times is told, and differentiated.
      shears: whether it is for symplectic steps.
    """

    own: bool = False
    explicit: bool = False
    records: bool = False
    ends: bool = False
    draws: bool = False
    shears: bool = False


ADJOINTS: dict[str, Adjoint] = {
    "auto": Adjoint(own=True, ends=True, draws=True, shears=True),
    "discrete": Adjoint(own=True, records=True, ends=True, draws=True, shears=True),
    "forward": Adjoint(own=True, ends=True, draws=True, shears=True),
    "reversible": Adjoint(own=True, explicit=True, shears=True),
    "quadrature": Adjoint(own=True, explicit=True, records=True, ends=True),
    "checkpointed": Adjoint(records=True),
    "backsolve": Adjoint(),
    "direct": Adjoint(),
}
assert tuple(ADJOINTS) == get_args(AdjointName)


class Choices(NamedTuple):
    """What ``flow`` was asked for beside its field; tolerances are operands of the programs.

    ``sensitive`` says that steps are those of a flow that is differentiated, though it is not.
    """

    solver: str
    adjoint: str
    memory_budget: int | None
    num_steps: int | None
    max_steps: int | None
    checkpoints: int | None
    event: Watched | None = None
    direction: str = "both"
    dense: bool = False
    sensitive: bool = False


def flow_choices(
    *,
    solver: Any = "auto",
    adjoint: Any = "auto",
    memory_budget: Any = None,
    num_steps: Any = None,
    rtol: Any = 1e-6,
    atol: Any = 1e-6,
    max_steps: Any = 4096,
    checkpoints: Any = None,
    event: Any = None,
    direction: Any = "both",
    dense: bool = False,
) -> Choices:
    """The keywords of ``flow``, checked."""
    checks.one_of("flow", "adjoint", adjoint, get_args(AdjointName))
    checks.one_of("flow", "direction", direction, tuple(DIRECTIONS))
    solver = _solver(solver, adjoint, num_steps)
    _check_extras(event, direction, dense, solver, adjoint, num_steps, max_steps)
    for name, number in (("num_steps", num_steps), ("max_steps", max_steps), ("checkpoints", checkpoints)):
        if number is not None:
            checks.integer("flow", name, number)
    if checkpoints is not None:
        _check_adjoint("checkpoints", adjoint, "records")
    if memory_budget is not None:
        checks.integer("flow", "memory_budget", memory_budget)
        if adjoint != "auto":
            raise ValueError(f"flow: memory_budget is for adjoint='auto', got adjoint={adjoint!r}.")
    tolerances = checks.tolerance("flow", "rtol", rtol), checks.tolerance("flow", "atol", atol)
    if not any(isinstance(each, Tracer) for each in tolerances) and not any(tolerances):
        raise ValueError("flow: rtol and atol must not both be 0, which no step can meet.")
    watched = None if event is None else Watched(event)
    return Choices(solver, adjoint, memory_budget, num_steps, max_steps, checkpoints, watched, direction, bool(dense))


def _solver(name: Any, adjoint: str, num_steps: Any) -> str:
    """The solver, or what stands for it where it is not ours to change it on the way."""
    known = ADJOINTS[adjoint]
    if name == "auto":
        # Steps that are given do not tell whether they are short for stability's sake.
        return "auto" if num_steps is None and known.own and not known.explicit else "tsit5"
    if not method(name).estimates and num_steps is None:
        raise ValueError(f"flow: solver={name!r} has no error estimate to adapt by; give num_steps.")
    if known.explicit and method(name).implicit:
        raise ValueError(f"flow: adjoint={adjoint!r} is for explicit methods, got solver={name!r}.")
    if method(name).symplectic:
        _check_adjoint(f"solver={name!r}", adjoint, "shears")
    return name


def _check_adjoint(what: str, adjoint: str, ability: str) -> None:
    """Nothing, where the adjoint has that ability."""
    if not getattr(ADJOINTS[adjoint], ability):
        able = " or ".join(repr(name) for name, each in ADJOINTS.items() if getattr(each, ability))
        raise ValueError(f"flow: {what} is for adjoint={able}, got adjoint={adjoint!r}.")


def _check_extras(
    event: Any, direction: str, dense: Any, solver: str, adjoint: str, num_steps: Any, max_steps: Any
) -> None:
    """Nothing, where an event and a path can be had."""
    if event is None and direction != "both":
        raise ValueError("flow: direction is of an event: give event.")
    if event is not None:
        checks.function("flow", event, "event")
        if num_steps is not None:
            raise ValueError("flow: an event ends steps that adapt: leave num_steps out.")
        _check_adjoint("event", adjoint, "ends")
    if dense:
        _check_adjoint("dense=True", adjoint, "draws")
        if solver != "auto" and method(solver).symplectic:
            raise ValueError(f"flow: solver={solver!r} has no path between its steps: leave dense out.")
        if num_steps is None and max_steps is None:
            raise ValueError("flow: a path keeps room for max_steps steps: give a number.")


def needs_tolerances(choices: Choices) -> bool:
    """Whether steps adapt, or each solves equations."""
    return choices.num_steps is None or method(choices.solver).implicit


def checked_start(y0, times) -> tuple[Any, jax.Array]:
    """The start and the times as arrays of the types that the solve has: of the widest precision among them."""
    y0 = jax.tree.map(floating, checks.not_empty("flow", "y0", y0))
    times = checks.real_array("flow", "times", times, "Time is real.")
    if times.ndim != 1 or times.shape[0] < 2:
        raise ValueError(f"flow: times must hold at least a start and an end, got shape {times.shape}.")
    times = floating(times)
    widest = jnp.result_type(times, *(jnp.finfo(leaf.dtype).dtype for leaf in jax.tree.leaves(y0)))
    return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, widest)), y0), times.astype(widest)


def floating(value) -> jax.Array:
    """The value as an array, integers as floats of the default precision."""
    return jnp.asarray(value, jnp.result_type(value, float))
