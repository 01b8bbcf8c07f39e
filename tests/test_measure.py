"""The clock, driven by a clock of our own: no test here reads the time."""

import numpy as np
import pytest

from jaxcalc import measure
from tests.tolerance import assert_close


class FakeTime:
    """A clock that moves only when a call says how long it takes."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def call(self, name, *seconds):
        """A callable that takes the given seconds, one after another, the last for ever."""
        left = list(seconds)

        def run():
            self.now += left.pop(0) if len(left) > 1 else left[0]
            self.log.append(name)
            return np.zeros(1)

        return run


def test_once_returns_result_and_duration():
    clock = FakeTime()
    result, seconds = measure.once(clock.call("a", 3.0), clock=clock)
    assert result.shape == (1,)
    assert seconds == 3.0


def test_once_waits_for_arrays_and_passes_other_objects():
    import jax.numpy as jnp

    token = object()
    (result, same), _ = measure.once(lambda: (jnp.ones(3), token))
    assert result.sum() == 3
    assert same is token


def test_interleave_takes_turns_in_an_order_of_each_rounds_own():
    clock = FakeTime()
    calls = {name: clock.call(name, 1.0) for name in "abc"}
    measure.interleave(calls, repeats=12, warmup=0, clock=clock)
    rounds = ["".join(clock.log[3 * i : 3 * i + 3]) for i in range(12)]
    assert all(sorted(one) == list("abc") for one in rounds)
    followed = {one[i : i + 2] for one in rounds for i in (0, 1)}
    assert followed == {"ab", "ac", "ba", "bc", "ca", "cb"}


def test_a_short_call_is_made_once_unread_before_each_sample():
    clock = FakeTime()
    # Warm-up, two of calibration, then for each sample a cold call that is not read and a warm one that is.
    times = [0.01, 0.01, 0.01, 0.05, 0.01, 0.05, 0.01]
    timing = measure.interleave({"a": clock.call("a", *times)}, repeats=2, min_seconds=0.005, clock=clock)["a"]
    np.testing.assert_allclose(timing.samples, 0.01)
    assert len(clock.log) == 7


def test_warm_up_is_thrown_away_and_samples_are_kept_raw():
    clock = FakeTime()
    # Two of warm-up, one of calibration, three samples.
    timing = measure.interleave(
        {"a": clock.call("a", 100.0, 90.0, 1.0, 1.0, 2.0, 6.0)}, repeats=3, warmup=2, min_seconds=0.5, clock=clock
    )["a"]
    np.testing.assert_array_equal(timing.samples, [1.0, 2.0, 6.0])
    assert timing.median == 2.0
    assert timing.quartiles == (1.5, 4.0)
    assert timing.spread == (4.0 - 1.5) / 2.0


def test_short_calls_are_averaged_until_a_sample_lasts():
    clock = FakeTime()
    timing = measure.interleave({"a": clock.call("a", 2.0**-10)}, repeats=2, min_seconds=0.5, clock=clock)["a"]
    assert timing.calls * 2.0**-10 >= 0.5
    assert timing.calls <= 1024
    np.testing.assert_array_equal(timing.samples, 2.0**-10)


def test_a_call_below_the_clocks_step_ends_at_max_calls():
    clock = FakeTime()
    timing = measure.interleave({"a": clock.call("a", 0.0)}, repeats=1, max_calls=50, clock=clock)["a"]
    assert timing.calls == 50
    assert timing.spread == 0.0


def test_ratio_is_taken_round_by_round():
    slow, fast = measure.Timing(np.array([2.0, 20.0, 6.0])), measure.Timing(np.array([1.0, 10.0, 3.0]))
    shared = measure.ratio(slow, fast)
    np.testing.assert_array_equal(shared.samples, 2.0)
    with pytest.raises(ValueError, match="same rounds"):
        measure.ratio(slow, measure.Timing(np.ones(2)))


@pytest.mark.parametrize(("options", "message"), [({"repeats": 0}, "repeats"), ({"warmup": -1}, "warmup")])
def test_impossible_schedules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        measure.interleave({"a": lambda: None}, **options)


def test_nothing_to_time_is_no_error():
    assert measure.interleave({}) == {}


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 3.0])
def test_exponent_recovers_a_power_law_and_passes_over_gaps(power):
    x = np.array([1.0, 2.0, 8.0, 64.0, 128.0])
    y = 7.0 * x**power
    y[3] = np.nan
    assert_close(measure.exponent(x, y), power, 16, scale=1)
    assert np.isnan(measure.exponent(x[:1], y[:1]))


def test_crossing_of_power_laws_is_exact_between_the_points():
    x = np.array([1.0, 8.0, 64.0])
    assert_close(measure.crossing(x, x, np.full(3, 10.0)), 10.0, 8)
    assert_close(measure.crossing(x, np.full(3, 10.0), x), 10.0, 8)
    assert_close(measure.crossing(x, x, np.full(3, 8.0)), 8.0, 8)
    assert_close(measure.crossing(x, x, np.full(3, 64.0)), 64.0, 8)
    assert np.isnan(measure.crossing(x, x, np.full(3, 100.0)))


def test_crossing_passes_over_ties():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    first, second = np.array([1.0, 1.01, 4.0, 8.0]), np.array([0.99, 1.0, 2.0, 2.0])
    noisy = first * np.array([0.97, 1.0, 1.0, 1.0])
    assert np.isfinite(measure.crossing(x, noisy, second))
    assert np.isnan(measure.crossing(x, noisy, second, tie=1.25))


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([(0.2, 0.4), (0.8, 1.3), (1.2, 1.4), (3.0, 4.0)], (1, 100)),
        ([(2.0, 3.0), (0.9, 1.1), (np.nan, np.nan), (0.3, 0.5)], (1, 1000)),
        ([(0.2, 0.4), (0.8, 1.3), (0.5, 2.0), (0.9, 1.1)], None),
        ([(1.5, 2.0), (1.2, 3.0), (1.0, 1.5), (2.0, 2.5)], None),
    ],
)
def test_bracket_is_between_points_that_intervals_decide(ratios, expected):
    low, high = zip(*ratios)
    np.testing.assert_array_equal(measure.bracket([1, 10, 100, 1000], low, high), expected or (np.nan, np.nan))


def test_calls_are_counted_in_compiled_programs_and_in_batches():
    import jax
    import jax.numpy as jnp

    fun, calls = measure.count_calls(lambda x: jnp.sum(x**2))
    assert calls == [0]
    assert float(jax.jit(fun)(jnp.ones(3))) == 3.0
    assert calls == [1]
    values = jax.block_until_ready(jax.jit(jax.vmap(fun))(jnp.ones((5, 2))))
    assert calls == [6] and values.tolist() == [2.0] * 5
