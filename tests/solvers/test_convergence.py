"""Rate, order and steps of error histories that are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.solvers import linear_rate, order_of_convergence, steps_to
from tests.tolerance import assert_close

STEPS = np.arange(40)


@pytest.mark.parametrize("rate", [0.3, 0.99, 1.0, 1.2])
def test_linear_rate_of_a_geometric_series(x64, rate):
    errors = jnp.asarray(5.0 * rate**STEPS)
    assert_close(linear_rate(errors), rate, 16)
    # A constant error has no order: 0 / 0.
    if rate != 1.0:
        assert_close(order_of_convergence(errors), 1.0, 1024)


@pytest.mark.parametrize("order", [1.5, 2.0, 3.0])
def test_order_of_a_power_sequence(x64, order):
    errors = jnp.asarray([0.5 ** (order**k) for k in range(4)])
    assert_close(order_of_convergence(errors), order, 16)


def test_errors_below_the_floor_and_after_infinity_are_left_out(x64):
    errors = np.concatenate([0.1 ** np.arange(10), np.full(30, 3e-16)])
    assert_close(linear_rate(jnp.asarray(errors), 1e-12), 0.1, 32)
    grown = np.concatenate([2.0 ** np.arange(10), np.full(5, np.inf), np.full(5, np.nan)])
    assert_close(linear_rate(jnp.asarray(grown)), 2.0, 16)


@pytest.mark.parametrize("errors", [[1.0], [1.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0], [np.nan] * 4])
def test_too_few_errors_give_nan(errors):
    assert np.isnan(order_of_convergence(jnp.asarray(errors)))
    assert np.isnan(linear_rate(jnp.asarray(errors)))


def test_steps_to():
    errors = jnp.asarray(0.5**STEPS)
    assert int(steps_to(errors, 0.25)) == 2
    assert int(steps_to(errors, 2.0)) == 0
    assert int(steps_to(errors, 1e-30)) == -1
    assert jax.vmap(steps_to, (None, 0))(errors, jnp.array([1.0, 0.06])).tolist() == [0, 5]
