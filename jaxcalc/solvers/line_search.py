"""How far to go along a direction: Armijo's backtracking, and the strong conditions of Wolfe."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxcalc.solvers.bounds import project
from jaxcalc.solvers.control import while_loop
from jaxcalc.solvers.protocol import Iterate, Objective

__all__ = ["Searched", "armijo", "wolfe"]

DECREASE = 1e-4
"""c1 of Armijo's condition: the share of the linear prediction that a step must keep."""
MAX_TRIALS = 40


class Searched(NamedTuple):
    """What a search found.

    Args:
      x, value, gradient: the accepted point; the start's where nothing was.
      step: the accepted factor of the direction.
      trials: points tried, int32.
      failed: whether no point was accepted.
    """

    x: Array
    value: Array
    gradient: Array
    step: Array
    trials: Array
    failed: Array


def armijo(objective: Objective, at: Iterate, direction: Array, first: Any = 1.0) -> Searched:
    """Backtracking until ``f(x(t)) <= f(x) + c1 g'(x(t) - x)``, along ``x(t) = P(x + t d)``, P the bounds' projection.

    Each trial is the minimiser of the parabola through what is known, kept within a tenth and a half of the last.

    Args:
      direction: of descent, (n,).
      first: the first factor tried.
    """
    slope = jnp.vdot(at.gradient, direction)
    slack = 4 * jnp.finfo(at.x.dtype).eps * jnp.abs(at.value)  # what rounding may add to a value that should fall

    def attempt(t: Array) -> tuple[Array, Array, Array]:
        x = project(at.x + t * direction, objective.lower, objective.upper)
        value = objective(x)
        return x, value, value <= at.value + DECREASE * jnp.vdot(at.gradient, x - at.x) + slack

    def unfinished(state: Any) -> Array:
        return ~state[3] & (state[4] < MAX_TRIALS)

    def body(state: Any) -> Any:
        t, _, value, _, trials = state
        parabola = -slope * t**2 / (2 * (value - at.value - slope * t))
        t = jnp.where(jnp.isfinite(parabola), jnp.clip(parabola, 0.1 * t, 0.5 * t), 0.1 * t)
        return t, *attempt(t), trials + 1

    t = jnp.asarray(first, at.x.dtype)
    t, x, value, found, trials = while_loop(unfinished, body, (t, *attempt(t), jnp.ones((), jnp.int32)))
    x = jnp.where(found, x, at.x)
    value, gradient = objective.value_and_gradient(x)
    return Searched(x, value, gradient, jnp.where(found, t, 0), trials, ~found)


class _End(NamedTuple):
    """One end of the bracket: the factor, the value and the slope there."""

    t: Array
    value: Array
    slope: Array


class _Search(NamedTuple):
    t: Array
    low: _End
    high: _End
    best: tuple[Array, Array, Array]
    found: Array
    trials: Array


def wolfe(objective: Objective, at: Iterate, direction: Array, first: Any = 1.0, curvature: float = 0.9) -> Searched:
    """A step that meets the strong conditions of Wolfe.

    ``f(x + t d) <= f(x) + c1 t g'd`` and ``|grad f(x + t d)'d| <= c2 |g'd|``

    The bracket's low end has fallen enough and still falls steeply; its high end has not fallen enough, or rises.
    Between such ends there is always a step that meets both. Trials are minimisers of the cubic through both ends,
    held off the ends, or the middle. Where values differ by rounding alone, slopes decide (Hager and Zhang's
    approximate conditions).

    Args:
      direction: of descent, (n,).
      first: the first factor tried.
      curvature: c2.

    Source: Nocedal and Wright, Numerical Optimization, 3.5; Hager and Zhang, SIAM J. Optim. 16 (2005) 170.
    """
    dtype = at.x.dtype
    slope = jnp.vdot(at.gradient, direction)
    rounding = 8 * jnp.finfo(dtype).eps * jnp.abs(at.value)

    def body(state: _Search) -> _Search:
        t, low, high = state.t, state.low, state.high
        x = at.x + t * direction
        value, gradient = objective.value_and_gradient(x)
        here = _End(t, value, jnp.vdot(gradient, direction))
        finite = jnp.isfinite(here.value) & jnp.isfinite(here.slope)
        fell = value <= at.value + DECREASE * t * slope
        fell |= (value <= at.value + rounding) & (here.slope <= (2 * DECREASE - 1) * slope)
        fell &= finite
        found = fell & (jnp.abs(here.slope) <= -curvature * slope)
        onward = fell & (here.slope < 0) & ~found
        low = _either(onward, here, low)
        high = _either(onward, high, here)
        better = found | (fell & (value <= state.best[1]))
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), (x, value, gradient), state.best)
        following = _inside(low, high, state.trials)
        following = jnp.where(jnp.isinf(high.t), _beyond(state.low, low), following)
        return _Search(jnp.where(found, t, following), low, high, best, found, state.trials + 1)

    def unfinished(state: _Search) -> Array:
        width = state.high.t - state.low.t
        return ~state.found & (state.trials < MAX_TRIALS) & (width > jnp.finfo(dtype).eps * state.low.t)

    nowhere = _End(jnp.full((), jnp.inf, dtype), jnp.full((), jnp.inf, dtype), jnp.zeros((), dtype))
    begin = _End(jnp.zeros((), dtype), at.value, slope)
    first = jnp.asarray(first, dtype)
    begun = _Search(first, begin, nowhere, (at.x, at.value, at.gradient), jnp.asarray(False), jnp.zeros((), jnp.int32))
    end = while_loop(unfinished, body, begun)
    failed = ~end.found & ~(end.best[1] < at.value)
    return Searched(*end.best, end.t, end.trials, failed)


def _either(choice: Array, one: _End, other: _End) -> _End:
    return _End(*(jnp.where(choice, a, b) for a, b in zip(one, other)))


def _inside(low: _End, high: _End, trials: Array) -> Array:
    """The next trial of a bracket: the cubic's minimiser, every third time the middle."""
    width = high.t - low.t
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / (low.t - high.t)
    d2 = jnp.sqrt(jnp.maximum(d1**2 - low.slope * high.slope, 0.0))
    cubic = high.t - width * (high.slope + d2 - d1) / (high.slope - low.slope + 2 * d2)
    usable = jnp.isfinite(cubic) & (trials % 3 != 2)
    safe = jnp.clip(cubic, low.t + 0.1 * width, high.t - 0.1 * width)
    return jnp.where(usable, safe, low.t + jnp.where(jnp.isfinite(high.value), 0.5, 0.1) * width)


def _beyond(before: _End, here: _End) -> Array:
    """The next trial where nothing bounds it yet: where the slope would vanish, kept within 2 and 10 times."""
    secant = here.t - here.slope * (here.t - before.t) / (here.slope - before.slope)
    return jnp.where(jnp.isfinite(secant), jnp.clip(secant, 2 * here.t, 10 * here.t), 4 * here.t)
