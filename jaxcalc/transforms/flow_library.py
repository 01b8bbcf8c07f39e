"""Flows solved by diffrax as a whole, for the adjoints that are its own."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxcalc.transforms.flow_solvers import build, method
from jaxcalc.transforms.flow_steps import OUT_OF_STEPS, REACHED, STUCK, UNSOLVED, Moved, Walk

if TYPE_CHECKING:
    import diffrax

__all__ = ["walk_by_library"]


@functools.cache
def _strict_backsolve() -> type:
    """The continuous adjoint, raising where its backward solve fails even if the forward one must not."""
    import diffrax

    class Backsolve(diffrax.BacksolveAdjoint):
        def loop(self, *, throw, **rest):
            return super().loop(throw=True, **rest)  # pyright: ignore[reportCallIssue]

    return Backsolve


def _adjoint(name: str, checkpoints: int | None) -> "diffrax.AbstractAdjoint":
    """The diffrax adjoint of that name."""
    import diffrax

    match name:
        case "checkpointed":
            return diffrax.RecursiveCheckpointAdjoint(checkpoints=checkpoints)
        case "backsolve":
            return _strict_backsolve()()
        case "direct":
            return diffrax.DirectAdjoint()
    raise ValueError(f"diffrax has no adjoint {name!r}")


def walk_by_library(
    field: Callable[..., Any],
    solver: str,
    adjoint: str,
    checkpoints: int | None,
    y0: Any,
    times: jax.Array,
    args: Any,
    *,
    num_steps: int | None,
    max_steps: int | None,
    tolerances: Any,
    inline: bool,
) -> Walk:
    """The states at all times.

    Args:
      num_steps: between two times, if steps do not adapt.
      inline: whether to leave compiling to the caller: what diffrax compiles keeps the field.
    """
    import diffrax

    diffeqsolve = inspect.unwrap(diffrax.diffeqsolve) if inline else diffrax.diffeqsolve
    mode = _adjoint(adjoint, checkpoints)
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(y0))

    def once(y: Any, times: jax.Array, step: Any) -> Walk:
        only_end = times.shape[0] == 2
        solution = diffeqsolve(
            diffrax.ODETerm(field),
            build(solver, tolerances, eps),
            t0=times[0],
            t1=times[-1],
            dt0=step,
            y0=y,
            args=args,
            saveat=diffrax.SaveAt(t1=True) if only_end else diffrax.SaveAt(ts=times[1:]),
            stepsize_controller=diffrax.ConstantStepSize() if num_steps else diffrax.PIDController(*tolerances),
            adjoint=mode,
            max_steps=num_steps or max_steps,
            throw=False,
        )
        status, counts = _status(solution.result), solution.stats
        # Times past a failure hold inf in diffrax; the end alone would hold wherever the solver stood.
        rows = jnp.stack(
            [jnp.isfinite(path).reshape(path.shape[0], -1).all(1) for path in jax.tree.leaves(solution.ys)]
        ).all(0)
        saved = 1 + jnp.where(status == REACHED, times.shape[0] - 1, 0 if only_end else rows.sum())
        states = jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), y, solution.ys)
        return _walk(
            states,
            times,
            saved,
            status,
            (jnp.asarray(counts["num_steps"]),),
            (jnp.asarray(counts["num_accepted_steps"]),),
            (_evaluations(solver, jnp.asarray(counts["num_steps"])),),
        )

    if num_steps is None:
        return once(y0, times, None)

    def interval(y: Any, ends: jax.Array) -> tuple[Any, Walk]:
        found = once(y, ends, (ends[1] - ends[0]) / num_steps)
        return jax.tree.map(lambda path: path[-1], found.states), found

    # Each interval by itself, so that its last step ends at its end.
    found = jax.lax.scan(interval, y0, jnp.stack([times[:-1], times[1:]], axis=1))[1]
    states = jax.tree.map(lambda first, path: jnp.concatenate([first[None], path[:, -1]]), y0, found.states)
    reached = found.status == REACHED
    saved = 1 + jnp.where(reached.all(), times.shape[0] - 1, jnp.argmin(reached))
    status = found.status[jnp.argmin(reached)]
    (evaluations,) = found.evaluations
    total = jnp.where((evaluations < 0).any(), -1, evaluations.sum())
    return _walk(states, times, saved, status, (found.attempts[0].sum(),), (found.accepted[0].sum(),), (total,))


def _walk(states: Any, times: jax.Array, saved: jax.Array, status: jax.Array, *counts: Any) -> Walk:
    """A walk, whose last state is the last that was saved."""
    last = jnp.maximum(saved - 1, 0)
    moved = Moved(states, jax.tree.map(lambda path: path[last], states))
    return Walk(moved, times[last], (), saved, status, jnp.full((), -1, jnp.int32), *counts)


def _evaluations(solver: str, attempts: jax.Array) -> jax.Array:
    """How often the field was evaluated; -1 of an implicit method, which does not tell."""
    known = method(solver)
    if known.implicit:
        return jnp.full_like(attempts, -1)
    return attempts * (known.evaluations - known.reuses) + known.reuses


def _status(result: Any) -> jax.Array:
    """Our word for diffrax's."""
    from diffrax import RESULTS

    unsolved = [RESULTS.nonlinear_divergence, RESULTS.nonlinear_max_steps_reached, RESULTS.singular, RESULTS.nonfinite]
    is_unsolved = functools.reduce(jnp.logical_or, (result == each for each in unsolved))
    failed = jnp.where(is_unsolved, UNSOLVED, STUCK)
    failed = jnp.where(result == RESULTS.max_steps_reached, OUT_OF_STEPS, failed)
    return jnp.where(result == RESULTS.successful, REACHED, failed).astype(jnp.int32)
