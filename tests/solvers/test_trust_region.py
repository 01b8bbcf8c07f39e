"""trust_region: how the radius follows the model's success, and what ends a run."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.solvers import iterate, trust_region
from tests.tolerance import ulps


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def test_no_step_is_longer_than_the_radius_it_was_given(x64):
    record = lambda iterate: (iterate.x, iterate.memory)
    x, radius = iterate(trust_region(0.1), rosenbrock, jnp.array([-1.2, 1.0]), num_steps=40, record=record).history
    lengths = np.linalg.norm(np.diff(x, axis=0), axis=1)
    assert radius[0] == 0.1
    # A step that was accepted at once had the radius of before; one after refusals a smaller one.
    assert np.all(lengths <= np.asarray(radius[:-1]) * (1 + 1e-12)) and lengths[0] > 0.09


def test_a_right_model_lets_the_radius_grow_to_the_whole_step(x64):
    """Of a quadratic the model promises exactly what comes: four times the step's length, each time, until it fits."""
    start = jnp.array([100.0, 0.0])
    run = iterate(
        trust_region(1.0), lambda x: jnp.sum(x**2) / 2, start, num_steps=5, record=lambda iterate: iterate.x[0]
    )
    expected = 100 - np.array([0.0, 1.0, 5.0, 21.0, 85.0, 100.0])
    np.testing.assert_allclose(run.history, expected, atol=2.0)


def test_a_refused_step_shrinks_the_radius_and_moves_nothing_up(x64):
    """A kink, of which no model knows."""
    fun = lambda x: jnp.sum(jnp.where(x > 0, x, -10 * x)) + 1e-3 * jnp.sum(x**2)
    record = lambda iterate: (iterate.value, iterate.memory, iterate.info["trials"])
    run = iterate(trust_region(100.0), fun, jnp.array([1.0, 2.0]), num_steps=10, record=record)
    value, radius, trials = map(np.asarray, run.history)
    assert np.all(np.diff(value) <= 0)
    refused = trials[1:] > 1
    assert refused.any()
    assert np.all((radius[1:] < radius[:-1])[refused])


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_the_first_radius_follows_the_start(x64, scale):
    solver = trust_region()
    start = solver.start(rosenbrock, jnp.array([3.0, 4.0]) * scale)
    np.testing.assert_allclose(start.memory, max(1.0, 0.5 * scale))


def test_a_leap_to_a_plateau_gets_a_second_look(x64):
    """Far out the model of a logistic curve promises far more than comes; the curve has its best fit in between."""
    t = jnp.array([9.0, 14, 21, 28, 42, 57, 63, 70, 79])  # NIST StRD, RAT42
    y = jnp.array([8.93, 10.8, 18.59, 22.33, 39.35, 56.11, 61.73, 64.62, 67.08])
    fun = lambda b: jnp.sum((y - b[0] / (1 + jnp.exp(b[1] - b[2] * t))) ** 2)
    for start in ([100.0, 1.0, 0.1], [75.0, 2.5, 0.07]):
        end = iterate(trust_region(), fun, jnp.array(start), num_steps=60, record=lambda iterate: iterate.value)
        np.testing.assert_allclose(end.history[-1], 8.0565229338, rtol=1e-9)
        assert np.all(np.diff(end.history) <= ulps(64) * end.history[:-1])
