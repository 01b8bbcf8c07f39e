"""The one protocol of all solvers, and the one loop that drives them."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

__all__ = ["Iterate", "Result", "Solver", "Status", "iterate", "start_at"]

Function = Callable[[Array], Array]


class Status(enum.IntEnum):
    """How a run ended; it is data, one integer a lane."""

    CONVERGED = 0
    """The gradient's norm is at most ``tol``."""
    OUT_OF_STEPS = 1
    """The last value is below the first, the gradient still above ``tol``."""
    DIVERGED = 2
    """The last value is above the first."""
    NONFINITE = 3
    """The last value or its gradient is infinite or not a number."""


class Iterate(NamedTuple):
    """Where a solver stands: the point, the value and gradient at that very point, and the solver's own memory."""

    x: Array
    value: Array
    gradient: Array
    memory: Any = ()


class Solver(NamedTuple):
    """A method: two pure functions.

    Args:
      init: ``(fun, x0) -> Iterate``.
      step: ``(fun, Iterate) -> Iterate``; the value and gradient it returns belong to the point it returns.
    """

    init: Callable[[Function, Array], Iterate]
    step: Callable[[Function, Iterate], Iterate]


class Result(NamedTuple):
    """What a run returns.

    Args:
      last: the last iterate.
      status: a ``Status`` as int32.
      history: what ``record`` returned for every iterate, stacked on axis 0: the start and then each step.
    """

    last: Iterate
    status: Array
    history: Any


def start_at(fun: Function, x: Array) -> Iterate:
    """The iterate at ``x`` of a solver without memory."""
    return Iterate(x, *jax.value_and_grad(fun)(x))


def iterate(
    solver: Solver,
    fun: Function,
    x0: ArrayLike,
    *,
    num_steps: int,
    record: Callable[[Iterate], Any] = lambda at: {"value": at.value, "gradient_norm": jnp.linalg.norm(at.gradient)},
    tol: float = 0.0,
) -> Result:
    """A fixed number of steps of a solver, recorded on the device.

    Nothing stops a lane that diverges: infinities and NaNs run on as data, and ``status`` tells.

    Args:
      solver: the method.
      fun: ``x (n,) -> scalar``.
      x0: the start, (n,).
      num_steps: how many steps; static.
      record: ``Iterate -> PyTree`` of arrays to keep for every iterate.
      tol: the gradient's norm that counts as converged.

    Returns:
      A ``Result``; each leaf of its history has the leading size ``num_steps + 1``.
    """
    if num_steps < 0:
        raise ValueError(f"iterate: num_steps must be at least 0, got {num_steps}.")
    first = solver.init(fun, jnp.asarray(x0))

    def body(at: Iterate, _: None) -> tuple[Iterate, Any]:
        following = solver.step(fun, at)
        return following, record(following)

    last, rest = jax.lax.scan(body, first, length=num_steps)
    history = jax.tree.map(lambda head, tail: jnp.concatenate([jnp.asarray(head)[None], tail]), record(first), rest)
    return Result(last, _status(first, last, tol), history)


def _status(first: Iterate, last: Iterate, tol: float) -> Array:
    """The verdict on a finished run."""
    norm = jnp.linalg.norm(last.gradient)
    finite = jnp.isfinite(last.value) & jnp.isfinite(norm)
    verdict = jnp.where(last.value > first.value, Status.DIVERGED, Status.OUT_OF_STEPS)
    verdict = jnp.where(norm <= tol, Status.CONVERGED, verdict)
    return jnp.where(finite, verdict, Status.NONFINITE).astype(jnp.int32)
