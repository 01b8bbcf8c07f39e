"""Learning-rate schedules: curves ``count -> rate`` whose rates and factors are numbers that can be traced and swept.

A schedule is a PyTree. Its rates and factors are leaves, its counts of steps are static: two schedules of one kind that
differ in rates alone share a compiled program, and a ``vmap`` over a rate is one program too. It stands wherever a
solver takes a ``learning_rate``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks

__all__ = [
    "SCHEDULES",
    "Schedule",
    "constant",
    "cosine",
    "expected_gap",
    "exponential_decay",
    "linear_warmup",
    "step_decay",
    "warmup_cosine",
]


@dataclass(frozen=True)
class Schedule:
    """A learning rate by the number of steps taken before.

    Args:
      name: as in ``SCHEDULES``.
      curve: ``(count, **numbers, **counts) -> rate``, a function of a module.
      numbers: rates and factors; may be traced.
      counts: whole numbers of steps by name, static.
    """

    name: str
    curve: Callable[..., Array]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    counts: tuple[tuple[str, int], ...] = ()

    def __call__(self, count: ArrayLike) -> Array:
        """The rate after ``count`` steps; shaped like ``count``."""
        # Of an int32, as solvers count, a quotient would be a float32 even in double precision.
        return self.curve(jnp.asarray(count, float), **self.numbers, **dict(self.counts))


jax.tree_util.register_dataclass(Schedule, data_fields=["numbers"], meta_fields=["name", "curve", "counts"])


def constant(rate: ArrayLike) -> Schedule:
    """The same rate at every step.

    ``rate(t) = rate``
    """
    return Schedule("constant", _constant, {"rate": rate})


def step_decay(rate: ArrayLike, factor: ArrayLike = 0.1, *, every: int) -> Schedule:
    """A staircase.

    ``rate(t) = rate factor^floor(t / every)``

    Args:
      rate: of the first ``every`` steps.
      factor: from one stair to the next.
      every: steps on a stair.

    Raises:
      ValueError: for ``every`` below 1.
    """
    return Schedule("step-decay", _step_decay, {"rate": rate, "factor": factor}, _counts("step_decay", every=every))


def exponential_decay(rate: ArrayLike, decay: ArrayLike) -> Schedule:
    """A constant ratio from step to step; the rate halves every ``ln 2 / decay`` steps.

    ``rate(t) = rate exp(-decay t)``

    Args:
      rate: of the first step.
      decay: of the rate's logarithm, per step.
    """
    return Schedule("exponential-decay", _exponential_decay, {"rate": rate, "decay": decay})


def cosine(rate: ArrayLike, final: ArrayLike = 0.0, *, num_steps: int) -> Schedule:
    """Half a cosine from the first rate down to the last, which then stays.

    ``rate(t) = final + (rate - final) (1 + cos(pi t / num_steps)) / 2``

    Args:
      rate: of the first step.
      final: from ``num_steps`` on.
      num_steps: of the descent.

    Raises:
      ValueError: for ``num_steps`` below 1.

    Source: I. Loshchilov, F. Hutter, SGDR, ICLR 2017.
    """
    return Schedule("cosine", _cosine, {"rate": rate, "final": final}, _counts("cosine", num_steps=num_steps))


def linear_warmup(rate: ArrayLike, initial: ArrayLike = 0.0, *, num_warmup: int) -> Schedule:
    """A straight line up to the rate, which then stays; from an initial rate of 0 the first step goes nowhere.

    ``rate(t) = initial + (rate - initial) min(t / num_warmup, 1)``

    Args:
      rate: from ``num_warmup`` on.
      initial: of the first step.
      num_warmup: steps of the rise.

    Raises:
      ValueError: for ``num_warmup`` below 1.
    """
    numbers = {"rate": rate, "initial": initial}
    return Schedule("linear-warmup", _linear_warmup, numbers, _counts("linear_warmup", num_warmup=num_warmup))


def warmup_cosine(
    rate: ArrayLike, initial: ArrayLike = 0.0, final: ArrayLike = 0.0, *, num_warmup: int, num_steps: int
) -> Schedule:
    """A linear warmup followed by half a cosine.

    ``linear_warmup(rate, initial)`` for ``t < num_warmup``, then ``cosine(rate, final)`` of ``t - num_warmup``, which
    ends at ``num_steps``.

    Args:
      rate: the highest, at ``num_warmup``.
      initial: of the first step.
      final: from ``num_steps`` on.
      num_warmup: steps of the rise.
      num_steps: of both together.

    Raises:
      ValueError: for ``num_warmup`` below 1 or ``num_steps`` not above it.
    """
    counts = _counts("warmup_cosine", num_warmup=num_warmup, num_steps=num_steps)
    if num_steps <= num_warmup:
        raise ValueError(
            f"warmup_cosine: num_steps counts the warmup too, so it must be above num_warmup = {num_warmup}, got "
            f"{num_steps}."
        )
    return Schedule("warmup-cosine", _warmup_cosine, {"rate": rate, "initial": initial, "final": final}, counts)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step-decay": step_decay,
    "exponential-decay": exponential_decay,
    "cosine": cosine,
    "linear-warmup": linear_warmup,
    "warmup-cosine": warmup_cosine,
}
"""Builders by name."""


def expected_gap(rates: ArrayLike, curvatures: ArrayLike, offsets: ArrayLike, deviation: ArrayLike) -> Array:
    """What gradient descent with a noisy gradient is above the minimum of a quadratic, in the mean and exactly.

    ``v_i <- (1 - rate_t lambda_i)^2 v_i + rate_t^2 deviation^2``, ``v_i`` the mean square of the error's component
    along an eigenvector; the gap is ``sum_i lambda_i v_i / 2``. A constant rate ends at ``sum_i rate deviation^2 /
    (2 (2 - rate lambda_i))``: only a falling rate goes below.

    Args:
      rates: of every step, (k,).
      curvatures: eigenvalues of the Hessian, (n,).
      offsets: components of ``start - optimum`` along its eigenvectors, (n,).
      deviation: standard deviation of each component of the gradient's noise, independent from step to step.

    Returns:
      The gap at the start and after every step, (k + 1,).
    """
    curvatures, squares = jnp.asarray(curvatures), jnp.asarray(offsets) ** 2

    def step(squares: Array, rate: Array) -> tuple[Array, Array]:
        squares = (1 - rate * curvatures) ** 2 * squares + (rate * deviation) ** 2
        return squares, squares @ curvatures / 2

    return jnp.concatenate([(squares @ curvatures / 2)[None], jax.lax.scan(step, squares, jnp.asarray(rates))[1]])


def _counts(who: str, **counts: int) -> tuple[tuple[str, int], ...]:
    return tuple((name, checks.integer(who, name, count)) for name, count in counts.items())


def _constant(count: Array, rate: Any) -> Array:
    return jnp.broadcast_to(rate, count.shape)


# optax looks at a decay's factor before it builds the schedule, which a traced factor does not allow: the two decays
# are written out. The others come from optax.


def _step_decay(count: Array, rate: Any, factor: Any, every: int) -> Array:
    return rate * jnp.power(factor, jnp.floor(count / every))


def _exponential_decay(count: Array, rate: Any, decay: Any) -> Array:
    return rate * jnp.exp(-decay * count)


def _cosine(count: Array, rate: Any, final: Any, num_steps: int) -> Array:
    import optax

    # From 1 to 0, then scaled: optax asks for the ratio final / rate, which is no number where the rate is 0.
    return final + (rate - final) * optax.cosine_decay_schedule(1.0, num_steps)(count)


def _linear_warmup(count: Array, rate: Any, initial: Any, num_warmup: int) -> Array:
    import optax

    return jnp.asarray(optax.linear_schedule(initial, rate, num_warmup)(count))


def _warmup_cosine(count: Array, rate: Any, initial: Any, final: Any, num_warmup: int, num_steps: int) -> Array:
    import optax

    rise = lambda count: _linear_warmup(count, rate, initial, num_warmup)
    fall = lambda count: _cosine(count, rate, final, num_steps - num_warmup)
    return jnp.asarray(optax.join_schedules([rise, fall], [num_warmup])(count))
