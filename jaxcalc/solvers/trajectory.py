"""A fixed number of steps, recorded whole and differentiable through: for studies of the way, not of the end."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.solvers.protocol import Function, Iterate, Objective, Solver, Status, strong

__all__ = ["Result", "iterate"]


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


def iterate(
    solver: Solver,
    fun: Function,
    x0: ArrayLike,
    *,
    num_steps: int,
    record: Callable[[Iterate], Any] = lambda at: {"value": at.value, "gradient_norm": jnp.linalg.norm(at.gradient)},
    tol: float = 0.0,
) -> Result:
    """A fixed number of steps of a solver, recorded on the device; ``minimize`` stops by itself.

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
    checks.function("iterate", fun)
    checks.integer("iterate", "num_steps", num_steps, least=0)
    objective = Objective(fun)
    first = strong(solver.start(objective, jnp.asarray(x0)))

    def body(at: Iterate, _: None) -> tuple[Iterate, Any]:
        following = solver.advance(objective, at)
        if solver.costs is not None:
            following = following._replace(evaluations=at.evaluations.plus(**solver.costs._asdict()))
        following = strong(following)
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
