"""Scenarios: patterns that are known, features that all differ, shapes as told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.scenarios import hidden, language, scans


def jacobian_entries(scenario):
    return np.asarray(jax.jacfwd(scenario.fun)(jnp.asarray(scenario.x))) != 0


def test_scans_have_the_patterns_told():
    ring = jacobian_entries(scans.scan("ring", carry=6, length=2))
    shifts = [np.roll(np.eye(6, dtype=bool), -k, axis=1) for k in range(3)]
    np.testing.assert_array_equal(ring, shifts[0] | shifts[1] | shifts[2])
    cascade = jacobian_entries(scans.scan("cascade", carry=3, length=4))
    expected = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
    np.testing.assert_array_equal(cascade, expected)
    pendulums = jacobian_entries(scans.scan("oscillators", carry=6, length=3))
    np.testing.assert_array_equal(pendulums, np.tile(np.eye(3, dtype=bool), (2, 2)))


def test_rounding_has_the_tangent_of_its_argument():
    products = scans.rounded_products(size=5)
    value = np.asarray(products.fun(jnp.asarray(products.x)))
    np.testing.assert_array_equal(value, np.round(value))
    band = np.eye(4, 5, dtype=bool) | np.eye(4, 5, 1, dtype=bool)
    np.testing.assert_array_equal(jacobian_entries(products), band)


@pytest.mark.parametrize("name", language.FEATURES)
def test_features_are_scalar_and_curved(name):
    draw = np.random.default_rng(2)
    x, a = jnp.asarray(draw.standard_normal(5)), jnp.asarray(draw.standard_normal((5, 5)) / 3)
    fun = language.feature(name)
    assert fun(x, a).shape == ()
    curvature = np.asarray(jax.jacfwd(jax.jacfwd(fun))(x, a))
    assert np.isfinite(curvature).all() and np.any(curvature)


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match="unknown scan 'circle'; it is one of: ring"):
        scans.scan("circle", carry=4, length=2)
    with pytest.raises(ValueError, match="carry=3"):
        scans.scan("oscillators", carry=3, length=2)
    with pytest.raises(ValueError, match="unknown name 'goto'; it is one of: polynomial"):
        language.feature("goto")


def test_the_hidden_square_is_larger_than_what_it_joins():
    scenario = hidden.hidden_square(inputs=3, side=4)
    assert [value.shape for value in scenario.arguments] == [(3,), (4, 3), (4, 3), (4, 1)]
    x, a, b, weight = map(np.asarray, scenario.arguments)
    powers = np.exp(np.tanh((a @ x)[:, None] + (b @ x)[None, :]))
    h = powers / powers.sum(axis=1, keepdims=True)
    expected = np.concatenate([h @ weight[:, 0], h.T @ weight[:, 0]])
    np.testing.assert_allclose(np.asarray(scenario.fun(*scenario.arguments)), expected, rtol=1e-5)
