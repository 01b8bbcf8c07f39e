"""Activations: closed slopes against automatic differentiation and mpmath, bounds against a fine grid."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxcalc.functions.activations import ACTIVATIONS, activation

POINTS = np.concatenate([np.linspace(-40.0, 40.0, 161), [1e-6, -1e-6, 0.3]])
EXACT = {
    "linear": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
    "relu": lambda x: x if x > 0 else mpmath.mpf(0),
    "gelu": lambda x: x * mpmath.ncdf(x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_is_what_differentiation_gives(x64, name):
    phi = ACTIVATIONS[name]
    found = phi.derivative(jnp.asarray(POINTS))
    np.testing.assert_allclose(found, jax.vmap(jax.grad(phi))(jnp.asarray(POINTS)), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_far_out_the_slope_keeps_its_digits(x64, name):
    # Oracle: mpmath. The naive s (1 - s) and 1 - tanh^2 are exactly 0 at 40, the true slopes are not.
    with mpmath.workdps(60):
        exact = [float(mpmath.diff(EXACT[name], mpmath.mpf(x))) for x in (-30.0, 20.0, 40.0)]
    found = ACTIVATIONS[name].derivative(jnp.array([-30.0, 20.0, 40.0]))
    np.testing.assert_allclose(found, exact, rtol=1e-13)
    assert found[2] > 0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_against_mpmath(x64, name):
    points = [-3.0, -0.5, 0.25, 2.0, 6.0]
    exact = [float(EXACT[name](mpmath.mpf(x))) for x in points]
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.array(points)), exact, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_largest_slope_is_reached_and_never_passed(x64, name):
    phi = ACTIVATIONS[name]
    slopes = np.abs(phi.derivative(jnp.linspace(-6.0, 6.0, 120_001)))
    assert slopes.max() <= phi.largest_slope * (1 + 1e-15)
    assert slopes.max() == pytest.approx(phi.largest_slope, rel=1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_dtype_is_kept(name, dtype):
    x = jnp.array([-1.0, 0.0, 2.0], dtype)
    assert ACTIVATIONS[name](x).dtype == dtype
    assert ACTIVATIONS[name].derivative(x).dtype == dtype


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"swosh.*linear, sigmoid, tanh, relu, gelu"):
        activation("swosh")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_at_integers_is_that_at_floats(x64, name):
    phi = ACTIVATIONS[name]
    np.testing.assert_allclose(phi.derivative(jnp.array([-2, 1, 3])), phi.derivative(jnp.array([-2.0, 1.0, 3.0])))
