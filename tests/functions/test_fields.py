"""Vector fields against what is known of their flows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import fields
from tests.tolerance import assert_close

RATES = jnp.array([1.5, 1.0, 3.0, 1.0])


def test_lotka_volterra_keeps_its_invariant(x64):
    y = jnp.array([[0.5, 2.0], [3.0, 1.5], [1.0, 0.1]])
    _, drift = jax.jvp(
        lambda y: fields.lotka_volterra_invariant(y, RATES), (y,), (fields.lotka_volterra(0.0, y, RATES),)
    )
    assert_close(drift, 0.0, 16, scale=1)


def test_lotka_volterra_in_logarithms_is_the_same_flow(x64):
    y = jnp.array([[0.5, 2.0], [3.0, 1.5]])
    assert_close(
        fields.lotka_volterra_logarithmic(0.0, jnp.log(y), RATES) * y, fields.lotka_volterra(0.0, y, RATES), 16
    )


def test_the_spirals_fourth_powers_shrink_at_the_known_rate(x64):
    y, matrix = jnp.array([1.2, -0.7]), jnp.array([[-0.1, 2.0], [-2.0, -0.1]])
    _, change = jax.jvp(lambda y: jnp.sum(y**4), (y,), (fields.cubic_spiral(0.0, y, matrix),))
    assert_close(change, -0.4 * jnp.sum(y**6), 16)


def test_relaxation_solves_its_equation(x64):
    for parameters in (jnp.array([1.0, 1.0]), jnp.array([5.0, -2.0])):
        path = lambda t, p=parameters: fields.cubic_relaxation_solution(t, 2.0, p)
        assert_close(path(0.0), 2.0, 8)
        for t in (0.0, 0.3, 1.0):
            slope = fields.cubic_relaxation(t, path(t), parameters)
            assert_close(jax.grad(path)(t), slope, 512)


def test_van_der_pol_without_damping_turns():
    y = jnp.array([[0.6, 0.8], [1.0, 0.0]])
    assert_close(fields.van_der_pol(0.0, y, 0.0), np.array([[0.8, -0.6], [0.0, -1.0]]), 4, dtype=jnp.float32)


@pytest.mark.parametrize("start", [1000.0, 5000.0, -5000.0])
def test_relaxation_from_afar_keeps_its_digits_in_float32(start):
    found = fields.cubic_relaxation_solution(jnp.float32(0.0), jnp.float32(start), jnp.array([1.0, 0.0], jnp.float32))
    assert_close(found, start, 4, dtype=jnp.float32)


@pytest.mark.parametrize(
    ("field", "solution"),
    [(fields.driven_growth, lambda t: fields.driven_growth_solution(t, 1.5)), (fields.kepler, fields.circular_orbit)],
)
def test_solutions_solve_their_equations(x64, field, solution):
    for t in (0.0, 0.7, 5.0):
        state, rate = jax.jvp(solution, (t,), (1.0,))
        assert_close(field(t, state), rate, 16, scale=1)
