"""Gradients of flows that may be believed, and that may not."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import fields
from jaxcalc.transforms import gradient_trust

RATES = np.array([1.5, 1.0, 3.0, 1.0])


def test_a_right_gradient_is_believed(x64):
    # Oracle: the gradient of the sum of all states in the rates (Lotka and Volterra to T = 10, saved every 0.1).
    found = gradient_trust(
        fields.lotka_volterra, jnp.sum, jnp.ones(2), jnp.linspace(0, 10, 101), jnp.array(RATES), rtol=1e-8, atol=1e-8
    )
    assert found and max(found.errors.values()) < 1e-5
    np.testing.assert_allclose(found.gradient[1], [8.30537, -159.48429, 75.20351, -339.19510], rtol=1e-4)
    assert "may be believed" in str(found) and "forward mode" in found.table()


def test_backsolve_is_distrusted_where_the_flow_cannot_run_back(x64):
    # The relative error is 1.7 at mu = 5.
    start, times = jnp.array([2.0, 0.0]), jnp.array([0.0, 5.0])
    with pytest.warns(RuntimeWarning, match="cannot be run backwards"):
        found = gradient_trust(
            fields.van_der_pol, lambda y: y[-1].sum(), start, times, jnp.array(5.0), solver="tsit5", adjoint="backsolve"
        )
    assert not found and found.errors["forward mode"] > 0.1
    assert gradient_trust(fields.van_der_pol, lambda y: y[-1].sum(), start, times, jnp.array(5.0))


def test_failed_and_coarse_solves_are_told():
    with pytest.warns(RuntimeWarning, match="The solve failed"):
        found = gradient_trust(lambda t, y, _: y**2, lambda y: y[-1], 1.0, jnp.array([0.0, 2.0]))
    assert not found and not found.status.startswith("reached")
    with pytest.raises(TypeError, match="gradient_trust: loss"):
        gradient_trust(lambda t, y, _: y, 3.0, 1.0, jnp.array([0.0, 2.0]))


def test_gradients_of_what_the_state_does_not_show(x64):
    # The heat equation from its slowest mode: few long steps, and a gradient in all modes.
    def heat(t, y, _):
        padded = jnp.pad(y, 1)
        return 1e-3 * (y.size + 1) ** 2 * (padded[2:] - 2 * y + padded[:-2])

    start, times = np.sin(np.linspace(0, np.pi, 66)[1:-1]), jnp.array([0.0, 1.0])
    assert gradient_trust(heat, lambda y: y[-1, 0], start, times)
    with pytest.warns(RuntimeWarning, match="stable for all modes"):
        assert not gradient_trust(heat, lambda y: y[-1, 0], start, times, solver="tsit5", adjoint="checkpointed")


def test_a_gradient_that_tolerances_do_not_hold_is_distrusted(x64):
    # Oracle: 1.78585, by tolerances of 1e-11; the default's is 2.12.
    mu = 316.23
    with pytest.warns(RuntimeWarning, match="not of the flow"):
        found = gradient_trust(
            fields.van_der_pol, lambda y: y[-1].sum(), jnp.array([2.0, 0.0]), jnp.array([0.0, 2 * mu]), jnp.array(mu)
        )
    assert not found
