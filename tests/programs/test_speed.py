"""Predicted time: rates that are recovered from measurements, and a calibration that is kept."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.programs import speed
from jaxcalc.programs.cost import Cost, cost


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path))
    speed.device.cache_clear()
    yield
    speed.device.cache_clear()


def test_rates_are_recovered_from_times_that_follow_them():
    true = {"call": 5000.0, "elementwise": 0.3, "gemm": 0.02, "kernels": 400.0, "bytes": 0.1, "opaque": 2.0}
    numbers = np.random.default_rng(0)
    prices = [
        Cost(bytes_moved=10 ** numbers.uniform(1, 7), kernels=numbers.integers(1, 50), counts=counts)
        for counts in (
            {"elementwise": 10 ** numbers.uniform(2, 7), "gemm": 10 ** numbers.uniform(2, 9)} for _ in range(60)
        )
    ]
    seconds = [speed.Device("", true).seconds(price) for price in prices]
    prior = {name: rate * factor for (name, rate), factor in zip(true.items(), (2, 0.3, 3, 0.5, 4, 1))}
    found = speed.fit(prices, seconds, prior, strength=0.01)
    for name in ("call", "elementwise", "gemm", "kernels", "bytes"):
        assert found[name] == pytest.approx(true[name], rel=0.1), name
    assert found["opaque"] == pytest.approx(2.0)  # nothing was said of it


def test_more_work_is_more_time():
    on = speed.device()
    assert not on.calibrated
    times = [on.seconds(cost(lambda x: jnp.exp(x) @ x, jnp.ones((n, n)))) for n in (8, 64, 512)]
    assert times == sorted(times) and times[2] > 10 * times[1]


def test_a_calibration_is_kept_and_used(monkeypatch):
    known = speed._programs()
    monkeypatch.setattr(speed, "_programs", lambda: {name: known[name] for name in ("call", "elementwise")})
    found = speed.calibrate(repeats=2)
    assert found.calibrated and speed.device() == found
    speed.device.cache_clear()
    assert speed.device() == found
    assert dataclasses.replace(found, calibrated=False) != speed.Device(found.kind, speed._CPU)


def test_a_program_of_few_operations_is_not_handed_over():
    few, many = cost(lambda x: x * 0.5, jnp.ones(999)), cost(lambda x: x * 0.5, jnp.ones(1000))
    assert "hand-over" not in speed.amounts(few)
    assert speed.amounts(many)["hand-over"] == 1.0
    assert speed.amounts(cost(lambda x: x * 0.5, jnp.ones(10**6)))["handed bytes"] == 2.0**17
