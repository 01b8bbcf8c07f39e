"""Iterated integrals against closed forms: products, discs, simplices."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms.iterated import double_integral, iterated_integral
from tests.tolerance import assert_close

INF = math.inf


def test_double_integrals(x64):
    product = double_integral(lambda x, y: x * y, method="gauss-legendre", num_points=4)
    assert_close(product(0, 2, 0, 1), 1, 8)
    assert_close(product(0, 1, 0, 2), 1, 8)
    assert_close(product(0, 1, 0, lambda x: x), 1 / 8, 8)


def test_disc_and_its_circumference(x64):
    def area(r):
        half = lambda x: jnp.sqrt(jnp.maximum(r**2 - x**2, 0))
        return double_integral(lambda x, y: 1.0, method="tanh-sinh")(-r, r, lambda x: -half(x), half)

    value, circumference = jax.jit(jax.value_and_grad(area))(1.5)
    np.testing.assert_allclose(value, math.pi * 1.5**2, rtol=1e-7)
    np.testing.assert_allclose(circumference, 2 * math.pi * 1.5, rtol=1e-7)


def test_adaptive_inside_adaptive(x64):
    run = double_integral(lambda x, y: jnp.exp(-(x**2) - y**2), num_points=15, tol=1e-5, max_intervals=16)
    np.testing.assert_allclose(run(0.0, INF, 0.0, INF), math.pi / 4, rtol=1e-5)


def test_three_variables(x64):
    """The volume of a simplex, and a parameter."""
    run = iterated_integral(lambda x, y, z, c: c * jnp.ones_like(z), method="gauss-legendre", num_points=3)
    limits = [(0, 1), (0, lambda x: 1 - x), (0, lambda x, y: 1 - x - y)]
    value, slope = jax.value_and_grad(lambda c: run(limits, c))(6.0)
    assert_close([value, slope], [1, 1 / 6], 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iterated_integral(lambda: 1.0)([]), "pairs"),
        (lambda: iterated_integral(lambda x: x)([(0, 1, 2)]), "pairs"),
        (lambda: iterated_integral(jnp.add, method="boole"), "iterated_integral: method must be one of"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
