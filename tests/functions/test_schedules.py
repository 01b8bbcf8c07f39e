"""Schedules against their closed forms, their ends, optax, and the exact mean of noisy descent."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcalc.functions import problems
from jaxcalc.functions.schedules import (
    SCHEDULES,
    constant,
    cosine,
    expected_gap,
    exponential_decay,
    linear_warmup,
    step_decay,
    warmup_cosine,
)
from jaxcalc.solvers import adam, iterate, minimize, momentum, sgd
from tests.tolerance import assert_close

T = np.arange(0, 131)
# name -> how it is built from a rate, its closed form, the same by optax
CASES = {
    "constant": (constant, lambda t, r: r + 0 * t, optax.constant_schedule),
    "step-decay": (
        lambda r: step_decay(r, 0.3, every=20),
        lambda t, r: r * 0.3 ** np.floor(t / 20),
        lambda r: optax.exponential_decay(r, 20, 0.3, staircase=True),
    ),
    "exponential-decay": (
        lambda r: exponential_decay(r, 0.05),
        lambda t, r: r * np.exp(-0.05 * t),
        lambda r: optax.exponential_decay(r, 1, np.exp(-0.05)),
    ),
    "cosine": (
        lambda r: cosine(r, 0.01, num_steps=100),
        lambda t, r: 0.01 + (r - 0.01) * (1 + np.cos(np.pi * np.minimum(t, 100) / 100)) / 2,
        lambda r: optax.cosine_decay_schedule(r, 100, alpha=0.01 / r),
    ),
    "linear-warmup": (
        lambda r: linear_warmup(r, 0.02, num_warmup=10),
        lambda t, r: 0.02 + (r - 0.02) * np.minimum(t / 10, 1),
        lambda r: optax.linear_schedule(0.02, r, 10),
    ),
    "warmup-cosine": (
        lambda r: warmup_cosine(r, 0.02, 0.01, num_warmup=10, num_steps=110),
        lambda t, r: np.where(
            t < 10,
            0.02 + (r - 0.02) * t / 10,
            0.01 + (r - 0.01) * (1 + np.cos(np.pi * np.clip(t - 10, 0, 100) / 100)) / 2,
        ),
        lambda r: optax.warmup_cosine_decay_schedule(0.02, r, 10, 110, 0.01),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_curve_is_the_closed_form_and_optaxs(x64, name):
    build, closed, theirs = CASES[name]
    schedule = build(0.1)
    assert schedule.name == name
    assert_close(schedule(T), closed(T, 0.1), 8, scale=0.1)
    assert_close(schedule(jnp.asarray(T, jnp.int32)), closed(T, 0.1), 8, scale=0.1)
    assert_close(schedule(T), jax.vmap(theirs(0.1))(T), 8, scale=0.1)
    assert_close(schedule(7), closed(7, 0.1), 8, scale=0.1)


def test_end_points_are_exact(x64):
    assert cosine(0.1, 0.01, num_steps=100)(jnp.array([0, 100, 200])).tolist() == [0.1, 0.01, 0.01]
    assert linear_warmup(0.1, num_warmup=10)(jnp.array([0, 10, 11])).tolist() == [0.0, 0.1, 0.1]
    assert warmup_cosine(0.1, num_warmup=10, num_steps=50)(jnp.array([0, 10, 50, 60])).tolist() == [0, 0.1, 0, 0]
    assert step_decay(0.1, 0.5, every=10)(jnp.array([9, 10])).tolist() == [0.1, 0.05]
    # The numbers may vanish.
    assert cosine(0.0, 0.0, num_steps=5)(jnp.arange(7)).tolist() == [0.0] * 7


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_leaves_and_counts_are_not(x64, name):
    build, closed, _ = CASES[name]
    leaves, tree = jax.tree.flatten(build(0.1))
    assert 0.1 in leaves
    assert all(isinstance(leaf, float) for leaf in leaves)
    assert tree == jax.tree.structure(build(0.2))
    rates = jnp.array([0.05, 0.1, 0.4])
    lanes = jax.jit(jax.vmap(lambda rate: build(rate)(T)))(rates)
    assert_close(lanes, [closed(T, float(rate)) for rate in rates], 8, scale=0.4)
    # Every curve is linear in all of its rates together, so one of them has the slope of a difference.
    slope = jax.jacfwd(lambda rate: build(rate)(T))(0.1)
    assert_close(slope, (closed(T, 0.2) - closed(T, 0.1)) / 0.1, 16, scale=1)


@pytest.mark.parametrize("method", [sgd, momentum, adam])
def test_a_solver_takes_a_schedule_as_its_rate(x64, method):
    bowl = problems.bowl()
    run = lambda rate: iterate(method(rate), bowl.function, bowl.start, num_steps=30, record=lambda at: at.x).history
    np.testing.assert_array_equal(run(constant(0.02)), run(0.02))
    rates = jnp.array([0.01, 0.02])
    build = lambda rate: warmup_cosine(rate, num_warmup=5, num_steps=30)
    lanes = jax.jit(jax.vmap(lambda rate: run(build(rate))))(rates)
    for lane, rate in zip(lanes, rates):
        # The same curve as a bare function, which the solver cannot trace and therefore holds as a choice.
        assert_close(lane, run(lambda count, rate=rate: build(float(rate))(count)), 16)
    # A rate of 0 at first: the first step goes nowhere.
    np.testing.assert_array_equal(lanes[:, 1], lanes[:, 0])


def test_equal_and_other_rates_do_not_compile_anew(x64):
    bowl, traces = problems.bowl(), []

    def fun(x):
        traces.append(x)
        return bowl.function(x)

    def solve(rate, num_steps=200):
        return minimize(fun, bowl.start, method=momentum(cosine(rate, num_steps=num_steps), decay=0.5), max_steps=200)

    first = solve(0.1)
    count = len(traces)
    assert float(solve(0.1).value) == float(first.value)
    assert float(solve(0.05).value) != float(first.value)
    assert len(traces) == count
    solve(0.1, num_steps=100)
    assert len(traces) > count
    lanes = jax.vmap(solve)(jnp.array([0.1, 0.05]))
    assert_close(lanes.x[0], first.x, 64)


def test_expected_gap_is_the_mean_of_noisy_runs(x64):
    problem = problems.quadratic(10.0, dimension=3)
    curvatures, vectors = problem.curvatures()
    offsets = vectors.T @ (problem.start - problem.optimum)
    schedule, fun = step_decay(0.8, 0.2, every=30), problems.with_gradient_noise(problem.function)

    def run(key):
        draw = lambda key: (0.5 * jax.random.normal(key, (3,)),)
        method = sgd(schedule)
        start, still = problem.start, jnp.zeros(3)
        found = minimize(fun, start, still, method=method, batches=draw, key=key, max_steps=90, history="full")
        assert found.history is not None
        return found.history["value"]

    values = jax.vmap(run)(jax.random.split(jax.random.key(0), 1000))
    theory = expected_gap(schedule(jnp.arange(90)), curvatures, offsets, 0.5)
    error = np.asarray(values.std(0)) / np.sqrt(1000)
    assert abs(values[:, 0] - theory[0]).max() < 1e-12
    assert np.all(abs(values.mean(0) - theory)[1:] < 5 * error[1:])
    # Without noise it is the gap itself; at a constant rate it ends where the formula says.
    still = iterate(sgd(0.8), problem.function, problem.start, num_steps=40).history["value"]
    assert_close(expected_gap(np.full(40, 0.8), curvatures, offsets, 0.0), still, 64)
    end = expected_gap(np.full(2000, 0.8), curvatures, offsets, 0.5)[-1]
    assert_close(end, np.sum(0.8 * 0.25 / (2 * (2 - 0.8 * curvatures))), 16)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: step_decay(0.1, every=0), "step_decay: every must be at least 1, got 0"),
        (lambda: cosine(0.1, num_steps=0), "cosine: num_steps must be at least 1, got 0"),
        (lambda: linear_warmup(0.1, num_warmup=-1), "linear_warmup: num_warmup must be at least 1, got -1"),
        (lambda: warmup_cosine(0.1, num_warmup=5, num_steps=5), "must be above num_warmup = 5, got 5"),
    ],
)
def test_no_steps_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
