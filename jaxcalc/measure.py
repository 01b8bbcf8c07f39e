"""measure: the one clock, and how what it (or a counter) read grows.

Warm-up, interleaving, synchronisation, medians with spread; raw samples are kept.

JAX returns before the work is done, so every reading here waits for the result (``jax.block_until_ready``). Contestants
take turns round by round, so that what slows the machine for a while slows all of them alike; in an order that is drawn
anew each round and after a call that is thrown away, so that none is read in the caches that one neighbour leaves.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

__all__ = ["Timing", "bracket", "count_calls", "crossing", "exponent", "interleave", "once", "ratio"]

_T = TypeVar("_T")
_Clock = Callable[[], float]
# Seconds that a machine shared with others hardly ever takes a program off its core for.
_BEYOND_A_PAUSE = 0.1


@dataclass(frozen=True)
class Timing:
    """What the clock read for one callable.

    Args:
      samples: seconds per call, one entry per round, in the order taken.
      calls: how many calls each sample averages over.
    """

    samples: np.ndarray
    calls: int = 1

    @property
    def median(self) -> float:
        """The middle sample, in seconds."""
        return float(np.median(self.samples))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and third quartile of the samples, in seconds."""
        low, high = np.quantile(self.samples, (0.25, 0.75))
        return float(low), float(high)

    @property
    def spread(self) -> float:
        """The interquartile range over the median: 0 for a steady machine, dimensionless."""
        low, high = self.quartiles
        return (high - low) / self.median if self.median else 0.0


def once(call: Callable[[], _T], *, clock: _Clock = time.perf_counter) -> tuple[_T, float]:
    """One call and the seconds until its result is ready, with nothing warmed up before.

    Args:
      call: a function without arguments.
      clock: what tells the time, in seconds.

    Returns:
      ``(result, seconds)``. For a compilation or a whole job, which happen once.
    """
    import jax

    start = clock()
    result = jax.block_until_ready(call())
    return result, clock() - start


def interleave(
    calls: Mapping[str, Callable[[], Any]],
    *,
    repeats: int = 7,
    warmup: int = 1,
    min_seconds: float = 1e-3,
    max_calls: int = 10_000,
    clock: _Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time several callables in turns: every round reads each once, in an order drawn anew.

    A sample is the mean of as many calls in a row as last ``min_seconds`` (so that the clock's step and its own cost do
    not show); the number is fixed beforehand, after the warm-up. Before each sample one call is thrown away, unless it
    lasts so long (0.1 s) that what its predecessor left in the caches does not show.

    Args:
      calls: name -> function without arguments; what it returns is waited for.
      repeats: rounds, hence samples of each.
      warmup: calls of each that are thrown away first (compilation, page faults). With 0 a sample is one call, and no
        other is made.
      min_seconds: how long a sample lasts at least, unless ``max_calls`` ends it.
      max_calls: the most calls that one sample averages over.
      clock: what tells the time, in seconds.

    Returns:
      name -> ``Timing``, in the order given.

    Raises:
      ValueError: if ``repeats`` is below 1 or ``warmup`` below 0.
    """
    if repeats < 1:
        raise ValueError(f"interleave: repeats must be at least 1, got {repeats}.")
    if warmup < 0:
        raise ValueError(f"interleave: warmup must not be negative, got {warmup}.")
    names = list(calls)
    number, lasting = dict.fromkeys(names, 1), dict.fromkeys(names, np.inf)
    for name in names:
        for _ in range(warmup):
            once(calls[name], clock=clock)
        if warmup:
            number[name], lasting[name] = _calls_per_sample(calls[name], min_seconds, max_calls, clock)
    samples: dict[str, list[float]] = {name: [] for name in names}
    order = np.random.default_rng(0)
    for _ in range(repeats):
        for name in map(names.__getitem__, order.permutation(len(names))):
            if lasting[name] < _BEYOND_A_PAUSE:
                once(calls[name], clock=clock)
            samples[name].append(_sample(calls[name], number[name], clock))
    return {name: Timing(np.asarray(samples[name]), number[name]) for name in names}


def ratio(numerator: Timing, denominator: Timing) -> Timing:
    """The ratio of two interleaved timings, round by round, so that a drift common to both cancels.

    Args:
      numerator, denominator: timings of the same call of ``interleave``.

    Returns:
      A ``Timing`` whose samples are ratios (dimensionless): its ``median`` and ``quartiles`` are what to report.

    Raises:
      ValueError: if the numbers of rounds differ.
    """
    if numerator.samples.shape != denominator.samples.shape:
        raise ValueError(
            f"ratio: both timings need the same rounds, got {numerator.samples.size} and {denominator.samples.size}. "
            "Time them in one call of interleave."
        )
    return Timing(numerator.samples / denominator.samples)


def count_calls(fun: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """A function that counts how often a compiled program evaluates it; evaluations in a batch count one by one.

    Wait for the program's results (``jax.block_until_ready``) before reading the count.

    Args:
      fun: a function with one array for output, which is passed on in float32: the thread that counts does not know
        whether float64 is on.

    Returns:
      The function, which has no derivative of its own, and a list whose one entry is the count.
    """
    import jax

    calls = [0]

    def tick(value: Any) -> np.ndarray:
        calls[0] += 1
        return np.asarray(value, "float32")

    def counted(*args: Any) -> Any:
        value = fun(*args)
        out = jax.ShapeDtypeStruct(value.shape, "float32")
        return jax.pure_callback(tick, out, value.astype("float32"), vmap_method="sequential")

    return counted, calls


def exponent(x: Any, y: Any) -> float:
    """The power p of ``y ~ x^p``: the least-squares slope of ``log y`` against ``log x``, NaN below two usable points.

    Args:
      x, y: positive numbers of one shape; pairs that are not finite and positive are left out.
    """
    x, y = np.asarray(x, float).ravel(), np.asarray(y, float).ravel()
    usable = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    if len(np.unique(x[usable])) < 2:
        return float("nan")
    return float(np.polyfit(np.log(x[usable]), np.log(y[usable]), 1)[0])


def crossing(x: Any, first: Any, second: Any, *, tie: float = 1.0) -> float:
    """Where the first of two curves overtakes the second: straight lines between the points, in logarithms.

    Args:
      x: increasing positive numbers. first, second: the curves' positive heights there.
      tie: points where the curves differ by less than this factor decide nothing and are passed over; above 1 for
        readings with noise.

    Returns:
      The x of the first change of sign of ``log first - log second``; NaN if there is none.
    """
    x, first, second = (np.asarray(values, float) for values in (x, first, second))
    usable = np.isfinite(first) & np.isfinite(second) & (first > 0) & (second > 0)
    place, gap = np.log(x[usable]), np.log(first[usable]) - np.log(second[usable])
    decided = np.abs(gap) >= np.log(tie)
    place, gap = place[decided], gap[decided]
    for left in range(len(gap) - 1):
        if gap[left] == 0.0:
            return float(np.exp(place[left]))
        if gap[left] * gap[left + 1] < 0.0:
            share = gap[left] / (gap[left] - gap[left + 1])
            return float(np.exp(place[left] + share * (place[left + 1] - place[left])))
    return float(np.exp(place[-1])) if len(gap) and gap[-1] == 0.0 else float("nan")


def bracket(x: Any, low: Any, high: Any) -> tuple[float, float]:
    """Between which points a ratio that is known within intervals passes 1.

    Args:
      x: increasing numbers.
      low, high: the ends of the ratio's interval at each, such as quartiles. A point whose interval holds 1, or is not
        finite, decides nothing.

    Returns:
      The last x that is decided before the first change of side, and the first that is decided after it; NaN for both
      if no two decided points differ.
    """
    x, low, high = (np.asarray(values, float) for values in (x, low, high))
    side = (low > 1.0).astype(int) - (high < 1.0)
    decided = np.flatnonzero(side)
    turns = np.flatnonzero(np.diff(side[decided]))
    if not turns.size:
        return float("nan"), float("nan")
    left, right = decided[turns[0]], decided[turns[0] + 1]
    return float(x[left]), float(x[right])


def _sample(call: Callable[[], Any], number: int, clock: _Clock) -> float:
    """Mean seconds of ``number`` calls in a row, each waited for."""
    import jax

    start = clock()
    for _ in range(number):
        jax.block_until_ready(call())
    return (clock() - start) / number


def _calls_per_sample(call: Callable[[], Any], min_seconds: float, max_calls: int, clock: _Clock) -> tuple[int, float]:
    """The number of calls in a row that last ``min_seconds``, found by trying, and the seconds of one."""
    number = 1
    while True:
        seconds = number * _sample(call, number, clock)
        if min_seconds <= seconds <= _BEYOND_A_PAUSE:
            # A pause of the machine can make one short call look long: believe it only if it lasts so long again.
            seconds = number * _sample(call, number, clock)
        if seconds >= min_seconds or number >= max_calls:
            return number, seconds / number
        # From too short a trial the number cannot be told well: at least double it, at most tenfold.
        wanted = np.ceil(number * min_seconds / seconds) if seconds > 0.0 else np.inf
        number = min(max_calls, int(np.clip(wanted, 2 * number, 10 * number)))
