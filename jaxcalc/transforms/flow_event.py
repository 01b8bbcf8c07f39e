"""Where a flow crosses the zero of an event: found within a step, stepped to, and differentiated.

A loop looks at several times of each step; where one is past a zero, the step is taken again, to that zero, until it
ends there. Its time is a constant of the steps then; how it moves is the zero's own: ``dt = -dg / g'``.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc.transforms.flow_steps import NON_FINITE, RUNNING, Step, any_lane, where

__all__ = ["DIRECTIONS", "Direction", "Event", "Watch", "moved_to_zero", "watch_begun", "watched"]

Direction = Literal["both", "rising", "falling"]
DIRECTIONS: dict[str, int] = {"both": 0, "rising": 1, "falling": -1}

# Equal parts of a step at whose ends an event is looked at.
_PARTS = 8
# Of the largest value in the step where a crossing was seen: what is taken for zero, or so many eps. What is left of it
# is taken away by a Newton step, which squares it.
_ZERO, _ROUNDING = 1e-6, 16
# Steps to a zero that may miss it.
_MOST = 8
# Halvings of a part of a step.
_HALVINGS = 60


class Event(NamedTuple):
    """What ends a flow where it crosses zero.

    Args:
      values: from time and state to numbers, shape ``(m,)``, any of which ends it.
      direction: 1 for those that rise through zero, -1 for those that fall, 0 for both.
    """

    values: Callable[[Any, Any], jax.Array]
    direction: int

    def crosses(self, before: jax.Array, after: jax.Array) -> jax.Array:
        """Whether zero is between; a zero before is none, so that a flow may start at one."""
        rises, falls = (before < 0) & (after >= 0), (before > 0) & (after <= 0)
        return {0: rises | falls, 1: rises, -1: falls}[self.direction]


class Watch(NamedTuple):
    """An event on the way.

    Args:
      values: at the last accepted time.
      aimed: the number of the function whose zero the next step is to end at; -1 for none.
      scale: its largest value in the step where the crossing was seen.
      tries: steps that missed it.
      crossed: the number of the function whose zero was reached; -1 for none.
    """

    values: jax.Array
    aimed: jax.Array
    scale: jax.Array
    tries: jax.Array
    crossed: jax.Array


def watch_begun(event: Event, t: jax.Array, y: Any) -> Watch:
    """Before the first step."""
    values, none = event.values(t, y), jnp.full((), -1, jnp.int32)
    return Watch(values, none, jnp.zeros((), values.dtype), none + 1, none)


def watched(event: Event, watch: Watch, path: Any, ends: Any, step: Step, found: Any) -> tuple[Watch, Any]:
    """The watch after a step, and what was found of it: where it passes a zero it is not kept, and the next ends there.

    Args:
      path: interpolates the step.
      ends: its times.
      found: whether it is kept, the time then, the next end, the controller's state, and whether it is stuck.
    """
    (t0, t1), (keep, t, end, control, stuck) = ends, found
    aims = watch.aimed >= 0
    values = event.values(t1, step.y)
    here = jnp.abs(values[jnp.maximum(watch.aimed, 0)])
    may = (keep | aims) & jnp.asarray(step.solved)
    zero = max(_ZERO, _ROUNDING * float(jnp.finfo(values.dtype).eps)) * watch.scale
    arrived = may & aims & ((here <= zero) | (watch.tries >= _MOST))
    zero, which, scale = _first_zero(event, watch.values, path, (t0, t1), values, may & ~arrived)
    passed = may & ~arrived & (which >= 0)
    at_end = passed & ~(zero < t1)  # as near to the step's end as times tell apart
    crossed = jnp.where(arrived, watch.aimed, jnp.where(at_end, which, -1))
    arrived, passed = arrived | at_end, passed & ~at_end
    keep = jnp.where(arrived, True, keep & ~passed)
    now = Watch(
        jnp.where(keep, values, watch.values),
        jnp.where(passed, which, -1),
        jnp.where(passed, jnp.maximum(scale, watch.scale), watch.scale),
        watch.tries + passed,
        jnp.where(arrived, crossed, watch.crossed),
    )
    stuck = jnp.where(keep & jnp.isnan(values).any() & (stuck == RUNNING), NON_FINITE, stuck)
    t = jnp.where(arrived, t1, jnp.where(passed, t0, t))
    return now, (keep, t, jnp.where(passed, zero, end), control, stuck)


def _first_zero(event: Event, before: Any, path: Any, ends: Any, after: Any, active: Any) -> tuple[Any, Any, Any]:
    """The first zero within a step, whose it is (-1 where there is none), and the largest value of that function."""
    t0, t1 = ends
    times = t0 + (t1 - t0) * (jnp.arange(_PARTS + 1) / _PARTS).astype(t0.dtype)
    inside = jax.vmap(lambda t: event.values(t, path.evaluate(t)))(times[1:-1])
    values = jnp.concatenate([before[None], inside, after[None]])
    crossing = event.crosses(values[:-1], values[1:])  # (parts, m)
    some = crossing.any(0)
    part = jnp.argmax(crossing, axis=0)
    sign = jnp.sign(jnp.take_along_axis(values, part[None], 0)[0])
    seen = active & some.any()

    def halved(carry: Any) -> Any:
        low, high, left = carry
        middle = low + (high - low) / 2
        past = jax.vmap(lambda number, t: event.values(t, path.evaluate(t))[number])(jnp.arange(sign.size), middle)
        past = past * sign <= 0
        return jnp.where(past, low, middle), jnp.where(past, middle, high), left - 1

    begin = times[part], times[part + 1], jnp.asarray(_HALVINGS)
    going = lambda carry: any_lane(seen & (carry[2] > 0))
    _, high, _ = jax.lax.while_loop(going, lambda carry: where(carry[2] > 0, halved(carry), carry), begin)
    high = jnp.where(some, high, jnp.inf)
    which = jnp.argmin(high).astype(jnp.int32)
    return high[which], jnp.where(seen, which, -1), jnp.abs(values[:, which]).max()


def moved_to_zero(values: Callable[[Any, Any], jax.Array], rates: Any, t: Any, y: Any, crossed: Any) -> tuple[Any, Any]:
    """Time and state at an event's zero, from ones nearby: by a Newton step along the flow, whose derivative is theirs.

    Args:
      values: from time and state to the event's functions.
      rates: of the state at ``t``.
      crossed: the number of the function; -1 for none, where nothing moves.
    """
    happened, number = crossed >= 0, jnp.maximum(crossed, 0)
    held = jax.lax.stop_gradient
    slope = jax.jvp(lambda t, y: values(t, y)[number], held((t, y)), (jnp.ones_like(t), held(rates)))[1]
    # Where nothing happened, no division by a slope that may be 0.
    change = jnp.where(happened, _over(values(t, y)[number], jnp.where(happened, slope, 1), y), 0)
    gone = lambda y, rate: y - (change * rate).astype(y.dtype)
    return t - change.astype(t.dtype), jax.tree.map(gone, y, rates)


@jax.custom_jvp
def _over(value: jax.Array, slope: jax.Array, y: Any) -> jax.Array:
    """The Newton step of a value of ``y`` that is nearly 0: none where it has no slope, but no derivative either."""
    return jnp.where(slope == 0, 0, value / jnp.where(slope == 0, 1, slope))


@_over.defjvp
def _(primals: Any, tangents: Any) -> Any:
    slope, (value_dot, _, y_dot) = primals[1], tangents
    # A step has no slope, and JAX no derivative of it that could be divided by 0: whatever moves the state tells.
    moved = sum(jnp.sum(dot).real for dot in jax.tree.leaves(y_dot))
    return _over(*primals), value_dot / slope + jnp.where(slope == 0, jnp.nan, 0) * moved
