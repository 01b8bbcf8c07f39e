"""Limits of functions, by extrapolating a geometric sequence of steps, with an error estimate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.transforms.guards import guarding

__all__ = ["Continuity", "Limit", "LimitSide", "continuity", "limit", "limit_of_composition"]

LimitSide = Literal["both", "left", "right"]

_RICHARDSON_COLUMNS = 8
_WYNN_COLUMNS = 5
# Rounding errors of quotients grow at most like h^-4: that of sums of three Taylor terms over h^5 does.
_NOISE_POWER = 4
# How slow a contraction may be and still be summed as a geometric series.
_SLOWEST = 0.98
# Halvings beyond this leave no step in double precision.
_MOST_STEPS = 1100
# This many last steps decide whether a sequence runs off to infinity.
_TAIL = 8


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Limit:
    """A limit, side by side, and how far to trust it.

    Args:
      value: the limit; NaN where ``exists`` is false; infinite where all sides asked for run off to one infinity.
      error: an estimate of ``abs(value - exact)``.
      left, right: the one-sided limits, NaN on a side not asked for.
      left_error, right_error: their error estimates.
      agree: whether the sides asked for agree within their errors.
      exists: whether they do, and each is known to within ``tol``.
      rounding_step: the step, in multiples of the unit ``1`` or ``1 / x`` that it counts in, where the raw sequence is
        closest to the limit: what is smaller loses digits to rounding, or gains none.
    """

    value: jax.Array
    error: jax.Array
    left: jax.Array
    right: jax.Array
    left_error: jax.Array
    right_error: jax.Array
    agree: jax.Array
    exists: jax.Array
    rounding_step: jax.Array


@guarding
def limit(
    fun: Callable[..., Any],
    at: jax.typing.ArrayLike,
    /,
    *args: Any,
    side: LimitSide | str = "both",
    step: jax.typing.ArrayLike | None = None,
    num_steps: int | None = None,
    tol: jax.typing.ArrayLike | None = None,
) -> Limit:
    """The limit of a function of one variable, from either side or both.

        lim f(x),    x = at +- h  (or  x = +-1 / h  towards infinity),    h = step, step / 2, step / 4, ...

    The sequence is accelerated by Richardson's method (errors in whole powers of h) and by Wynn's epsilon algorithm,
    whose first column is Aitken's (any sum of powers). Of all entries of the tables that one is taken whose estimated
    error is least: its distance from its neighbours, plus what the samples at smaller steps contradict beyond what
    rounding could explain, plus the rounding error of its own samples. A function that changes on a scale below the
    smallest step, or converges like a logarithm, can deceive any such estimate.

    Args:
      fun: from a scalar and ``args`` to a real scalar.
      at: the point, a scalar; plus or minus infinity too (then from the one side that there is).
      args: further arguments of ``fun``.
      side: ``"left"``, ``"right"`` or ``"both"``.
      step: the first ``h``, above 0; by default a quarter of the power of two below ``max(1, abs(at))``.
      num_steps: how many; by default down to ``step * eps^(3/4)``. Steps that rounding makes 0 do not count.
      tol: the error relative to ``max(1, abs(value))`` within which a limit counts as found, 0 or more; by default
        eps^(1/4).

    Returns:
      The ``Limit``. ``fun`` need not be defined at the point itself. Ready for ``jit`` and ``vmap``. Where a traced
      point is NaN or a traced step not above 0 no limit exists.

    Raises:
      ValueError: for an unknown side, fewer than 4 steps, a step or tolerance out of range, a point that is NaN or no
        scalar.
      TypeError: if ``fun`` does not return a real scalar, or a number is of another kind.

    Source:
      P. Wynn, On a device for computing the e_m(S_n) transformation, 1956; C. Brezinski, M. Redivo Zaglia,
      Extrapolation Methods, 1991.
    """
    return _limit("limit", fun, at, args, side=side, step=step, num_steps=num_steps, tol=tol)


def _limit(
    who: str,
    fun: Callable[..., Any],
    at: Any,
    args: tuple[Any, ...],
    *,
    side: str = "both",
    step: Any = None,
    num_steps: int | None = None,
    tol: Any = None,
) -> Limit:
    """``limit`` in the name of whoever asks."""
    checks.function(who, fun)
    checks.one_of(who, "side", side, get_args(LimitSide))
    checks.not_nan(who, "the point", checks.scalar(who, "the point", at))
    at = jnp.asarray(at, jnp.result_type(at, float))
    floating = lambda y: jnp.asarray(y, jnp.result_type(y, at.dtype))
    checks.returns_scalar(who, jax.eval_shape(lambda at: jax.tree.map(floating, fun(at, *args)), at), "")
    eps = float(jnp.finfo(at.dtype).eps)
    count = int(-0.75 * np.log2(eps)) if num_steps is None else num_steps
    checks.integer(who, "num_steps", count, least=4, most=_MOST_STEPS)
    if tol is not None:
        checks.tolerance(who, "tol", tol)
    if step is not None:
        checks.number(who, "step", checks.scalar(who, "step", step), above=0, finite=True)
    tolerance = jnp.asarray(eps**0.25 if tol is None else tol, at.dtype)

    infinite = jnp.isinf(at)
    centre = jnp.where(infinite, 0, at)
    unit = jnp.exp2(jnp.floor(jnp.log2(jnp.maximum(1, jnp.abs(centre)))))
    first = unit / 4 if step is None else jnp.asarray(step, at.dtype)
    first = jnp.where(first > 0, first, jnp.nan)  # only a traced step may be negative
    steps = first * jnp.exp2(-jnp.arange(count, dtype=at.dtype))

    def one_sided(direction):
        direction = jnp.where(infinite, jnp.sign(at), direction)
        points = jnp.where(infinite, direction / steps, centre + direction * steps)
        # The value at the point itself is no sample, and may be another than the limit.
        counts = jnp.isfinite(points) & (infinite | (points != centre))
        samples = jnp.asarray(jax.vmap(lambda x: fun(x, *args))(jnp.where(counts, points, points[0])), at.dtype)
        return _extrapolated(jnp.where(counts, samples, jnp.nan), counts, steps, tolerance)

    values, errors, best_steps = jax.vmap(one_sided)(jnp.asarray([-1.0, 1.0], at.dtype))
    wanted = jnp.asarray([side != "right", side != "left"])
    found = jnp.where(jnp.isinf(values), True, errors <= tolerance * jnp.maximum(1, jnp.abs(values)))
    same = (values[0] == values[1]) | (jnp.abs(values[0] - values[1]) <= errors.sum())
    agree = same if side == "both" else jnp.asarray(True)
    exists = agree & (found | ~wanted).all() & ~jnp.isnan(at) & (tolerance >= 0)
    best = jnp.argmin(jnp.where(wanted, errors, jnp.inf)) if side == "both" else int(side == "right")
    only = lambda pair: jnp.where(wanted, pair, jnp.nan)
    (left, right), (left_error, right_error) = only(values), only(errors)
    value = jnp.where(exists, values[best], jnp.nan)
    error = jnp.where(wanted, errors, 0).max()
    return Limit(value, error, left, right, left_error, right_error, agree, exists, best_steps[best])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Continuity:
    """What a function does at a point.

    Args:
      continuous: whether both one-sided limits exist, and agree with each other and with the value there.
      value: of the function at the point.
      jump: the limit from the right less that from the left; NaN where one does not exist, infinite at a pole.
      limit: the two-sided ``Limit``.
    """

    continuous: jax.Array
    value: jax.Array
    jump: jax.Array
    limit: Limit


def continuity(fun: Callable[..., Any], at: jax.typing.ArrayLike, /, *args: Any, **choices: Any) -> Continuity:
    """Whether a function of one variable is continuous at a point, and how far it jumps if it is not.

    A jump is told by one-sided limits that differ by more than their errors; a removable gap by a value that differs
    from a limit that exists.

    Args:
      fun: from a scalar and ``args`` to a real scalar.
      at: the point, finite.
      args, choices: as in ``limit``, without ``side``.

    Returns:
      The ``Continuity``. Ready for ``jit`` and ``vmap``.

    Raises:
      TypeError, ValueError: as ``limit``.
    """
    return _continuity("continuity", fun, at, args, **choices)


def _continuity(who: str, fun: Callable[..., Any], at: Any, args: tuple[Any, ...], **choices: Any) -> Continuity:
    """``continuity`` in the name of whoever asks."""
    if "side" in choices:
        raise TypeError(f"{who}: side is for limit; continuity is a matter of both.")
    checks.number(who, "the point", checks.scalar(who, "the point", at), finite=True)
    found = _limit(who, fun, at, args, **choices)
    at = jnp.asarray(at, jnp.result_type(at, float))
    value = jnp.asarray(fun(at, *args), found.value.dtype)
    # The value is a sample like any other: a few of its own roundings stand beside the limit's error.
    slack = found.error + 8 * jnp.finfo(value.dtype).eps * jnp.maximum(1, jnp.abs(value))
    same = jnp.isfinite(value) & (jnp.abs(value - found.value) <= slack)
    return Continuity(found.exists & same & jnp.isfinite(at), value, found.right - found.left, found)


def limit_of_composition(
    outer: Callable[[Any], Any], inner: Callable[[Any], Any], at: jax.typing.ArrayLike, /, **choices: Any
) -> Continuity:
    """The limit of ``outer(inner(x))`` by the law of composition: ``outer`` of the limit of ``inner``.

        lim_{x -> at} f(g(x)) = f(lim_{x -> at} g(x))    if f is continuous at that limit

    Args:
      outer, inner: from a real scalar to a real scalar.
      at: the point.
      choices: as in ``limit``, for the inner limit.

    Returns:
      The ``Continuity`` of ``outer`` at the inner limit. Where it is not continuous, or the inner limit does not exist,
      the law does not apply: ``continuous`` is false and ``value``, which else is the limit, NaN.

    Raises:
      TypeError, ValueError: as ``limit``.
    """
    who = "limit_of_composition"
    reached = _limit(who, inner, at, (), **choices)
    within = reached.exists & jnp.isfinite(reached.value)
    found = _continuity(who, outer, jnp.where(within, reached.value, 0.0), ())
    allowed = found.continuous & within
    return Continuity(allowed, jnp.where(allowed, found.value, jnp.nan), found.jump, found.limit)


def _extrapolated(s: jax.Array, counts: jax.Array, steps: jax.Array, tol: jax.Array) -> tuple[jax.Array, ...]:
    """The limit of a sequence sampled at halving steps, its error, and the step where it comes closest.

    Where ``counts`` is false there is no sample; the others come first.
    """
    eps = jnp.finfo(s.dtype).eps
    values, apart = zip(*(_richardson(s) + _wynn(s)))
    values, apart = jnp.stack(values), jnp.stack(apart)
    # Neighbours that agree by chance seldom do so twice in a row.
    before = jnp.concatenate([jnp.full_like(apart[:, :1], jnp.inf), apart[:, :-1]], axis=1)
    local = jnp.maximum(apart, before)
    local = jnp.where(jnp.isfinite(local) & jnp.isfinite(values), local, jnp.inf)
    # The rounding error of a candidate whose last sample this is, were every sample a quotient by its step.
    size = jax.lax.cummax(jnp.where(jnp.isfinite(s), jnp.abs(s), 0))
    noise = 4 * eps * size * (steps[0] / steps)
    error = jnp.where(
        jnp.isfinite(local), jnp.maximum(local, _contradiction(s, counts, steps, values, local, size)) + noise, jnp.inf
    )
    chosen = jnp.unravel_index(jnp.argmin(error), error.shape)
    value, error = values[chosen], error[chosen]
    closest = steps[jnp.argmin(jnp.where(jnp.isfinite(s), jnp.abs(s - value), jnp.inf))]

    # Running off to infinity: the last differences all point outwards and do not shrink.
    last = jnp.maximum(counts.sum() - 1, 0)
    tail = s[jnp.maximum(last - _TAIL + 1 + jnp.arange(_TAIL), 0)]
    outward = jnp.diff(tail) * jnp.sign(tail[-1])
    runs = (outward > 0).all() & (outward[1:] > 0.999 * outward[:-1]).all()
    runs = (runs | jnp.isinf(tail[-1])) & ~(error <= tol * jnp.maximum(1, jnp.abs(value)))
    infinity = jnp.sign(tail[-1]) * jnp.inf
    return jnp.where(runs, infinity, value), jnp.where(runs, 0, error), jnp.where(runs, steps[last], closest)


def _contradiction(s, counts, steps, values, local, size) -> jax.Array:
    """By how much later samples are further from a candidate than they should be, over candidates and last samples.

    They should come closer, at least like the fourth root of the step, but for rounding.
    """
    eps = jnp.finfo(s.dtype).eps
    ratio = steps[:, None] / steps[None, :]  # of the last sample's step to a later one's
    rounding = (local[:, :, None] + 4 * eps * size[:, None]) * jnp.minimum(ratio**_NOISE_POWER, 1 / eps**2)
    allowed = rounding + jnp.abs(s - values)[:, :, None] * ratio**-0.25
    differ = jnp.abs(s - values[:, :, None])
    # What is not finite counts, unless rounding leaves nothing of such a sample.
    missing = jnp.where((rounding >= size[:, None]) | ~counts, 0, jnp.inf)
    excess = jnp.where(jnp.isfinite(differ), jnp.maximum(differ - allowed, 0), missing)
    return jnp.where(ratio > 1, excess, 0).max(-1)


def _contraction(column: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The last differences along a column, and ``max(1, r / (1 - r))`` where they shrink by ``r``."""
    differ = jnp.abs(_shifted_difference(column))
    before = jnp.concatenate([jnp.full(1, jnp.nan, column.dtype), differ[:-1]])
    ratio = jnp.where(before > 0, differ / before, jnp.where(differ > 0, _SLOWEST, 0))
    ratio = jnp.clip(jnp.where(jnp.isnan(before), _SLOWEST, ratio), 0, _SLOWEST)
    return differ, jnp.maximum(1, ratio / (1 - ratio))


def _shifted_difference(column: jax.Array) -> jax.Array:
    """``column[k] - column[k - 1]``, NaN for the first."""
    return jnp.concatenate([jnp.full(1, jnp.nan, column.dtype), jnp.diff(column)])


def _richardson(s: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Columns of the Neville table for errors in h, h^2, ..., each with its distance from its neighbours."""
    column, columns = s, []
    for j in range(min(_RICHARDSON_COLUMNS, s.size - 2)):
        differ, factor = _contraction(column)
        corrected = column + _shifted_difference(column) / (2.0 ** (j + 1) - 1)
        columns.append(
            (column, factor * differ if j == 0 else jnp.maximum(factor * differ, jnp.abs(corrected - column)))
        )
        column = corrected
    return columns


def _wynn(s: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Even columns of the epsilon table, each with its distance from its neighbours."""
    odd, even, columns = jnp.zeros_like(s), s, []
    back = lambda column: jnp.concatenate([jnp.full(1, jnp.nan, s.dtype), column[:-1]])
    for _ in range(min(_WYNN_COLUMNS, (s.size - 2) // 2)):
        # Aligned by last sample: eps_{j+1}[k] = eps_{j-1}[k - 1] + 1 / (eps_j[k] - eps_j[k - 1]).
        further = back(odd) + 1 / _shifted_difference(even)
        newer = back(even) + 1 / _shifted_difference(further)
        differ, factor = _contraction(newer)
        columns.append((newer, jnp.maximum(factor * differ, jnp.abs(newer - even))))
        odd, even = further, newer
    return columns
