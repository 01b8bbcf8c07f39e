"""Quadrature rules against exact integrals of polynomials, published nodes, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import Polynomial

from jaxcalc.functions.quadrature import (
    RULES,
    gauss_kronrod,
    integrate_polynomial,
    integrate_samples,
    quadrature_rule,
)
from tests.tolerance import assert_close, ulps

POLYNOMIAL_RULES = [name for name in RULES if name != "tanh-sinh"]


def defect(rule, degree):
    """How far the rule is from the integral over [-1, 1] of the Legendre polynomial of that degree."""
    x = rule.nodes - rule.complements
    return 2 * rule.weights @ np.polynomial.legendre.legval(x, np.eye(degree + 1)[degree]) - 2 * (degree == 0)


@pytest.mark.parametrize("name", POLYNOMIAL_RULES)
@pytest.mark.parametrize("num_points", [3, 5, 9])
def test_degree_of_exactness(name, num_points):
    rule = quadrature_rule(name, num_points)
    for degree in range(rule.degree + 1):
        assert abs(defect(rule, degree)) < ulps(32)
    assert abs(defect(rule, rule.degree + 1)) > 1e-6


@pytest.mark.parametrize("name", RULES)
def test_nodes(name):
    rule = quadrature_rule(name, 11)
    assert rule.nodes.shape == rule.complements.shape == rule.weights.shape == (11,)
    assert (np.diff(rule.nodes) >= 0).all() and rule.nodes[0] >= 0 and rule.nodes[-1] <= 1
    assert_close(rule.nodes + rule.complements, 1, 4)
    assert (rule.weights > 0).all()


def test_tanh_sinh_keeps_the_digits_of_both_ends():
    rule = quadrature_rule("tanh-sinh", 101)
    # The exponent pi sinh(u) is 86 at the ends: rounding it costs as many eps.
    assert_close(rule.complements, rule.nodes[::-1], 200)
    assert 0 < rule.complements[-1] < 1e-36
    assert_close(rule.weights @ np.log(rule.nodes), -1, 16)
    assert_close(rule.weights @ rule.complements**-0.5, 2, 16)


# The outermost node and its weight, as QUADPACK tabulates them on [-1, 1].
QUADPACK = {
    15: (0.991455371120812639206854697526329, 0.022935322010529224963732008058970),
    21: (0.995657163025808080735527280689003, 0.011694638867371874278064396062192),
    31: (0.998002298693397060285172840152271, 0.005377479872923348987792051430128),
}


@pytest.mark.parametrize("num_points", QUADPACK)
def test_kronrod_against_quadpack(num_points):
    rule, _ = gauss_kronrod(num_points)
    node, weight = QUADPACK[num_points]
    assert_close(rule.nodes[-1] - rule.complements[-1], node, 2)
    assert_close(2 * rule.weights[-1], weight, 4, scale=1)


@pytest.mark.parametrize("num_points", [3, 5, 7, 9, 15, 21])
def test_kronrod_extends_gauss(num_points):
    n = num_points // 2
    rule, gauss = gauss_kronrod(num_points)
    plain = quadrature_rule("gauss-legendre", n)
    assert_close(rule.nodes[1::2], plain.nodes, 4, scale=1)
    np.testing.assert_array_equal(gauss[1::2], plain.weights)
    assert not gauss[::2].any()
    for degree in range(rule.degree + 1):
        assert abs(defect(rule, degree)) < ulps(32)
    assert abs(defect(rule, rule.degree + 1)) > 1e-3


@pytest.mark.parametrize(("method", "degree"), [("trapezoid", 1), ("simpson", 2)])
def test_samples_at_unequal_places(x64, method, degree):
    x = np.sort(np.random.default_rng(0).uniform(-1, 2, 9))
    fun = Polynomial([1.0, -2.0, 3.0][: degree + 1])
    exact = fun.integ()(x[-1]) - fun.integ()(x[0])
    got = jax.jit(lambda y, x: integrate_samples(y, x, method=method))(fun(x), x)
    assert_close(got, exact, 16)
    assert_close(integrate_samples(fun(x)[::-1], x[::-1], method=method), -exact, 16)


def test_samples_along_an_axis(x64):
    y = np.random.default_rng(1).normal(size=(3, 7, 2))
    got = integrate_samples(y, dx=0.25, axis=1)
    assert_close(got, np.trapezoid(y, dx=0.25, axis=1), 16)
    assert integrate_samples(np.ones((2, 1))).tolist() == [0.0, 0.0]


def test_thousand_points_miss_the_sixth_decimal(x64):
    """The error term h^2 / 12 (f'(b) - f'(a)) puts 1.3e-6 on the trapezoid of x^2."""
    x = np.linspace(0, 2, 1001)
    assert f"{float(integrate_samples(x**2, x)):.6f}" == "2.666668"
    np.testing.assert_allclose(integrate_samples(x**2, x) - 8 / 3, (2 / 1000) ** 2 / 12 * 4, rtol=1e-6)


def test_samples_of_integers_and_single_precision():
    got = integrate_samples(np.asarray([0, 1, 4]), np.asarray([0, 1, 2]), method="simpson")
    assert got.dtype == jnp.float32
    assert_close(got, 8 / 3, 8, dtype=jnp.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: quadrature_rule("boole", 5),
            "'left', 'right', 'midpoint', 'trapezoid', 'simpson', 'gauss-legendre', 'tanh-sinh'",
        ),
        (lambda: quadrature_rule("left", 0), "at least 1"),
        (lambda: quadrature_rule("trapezoid", 1), "at least 2"),
        (lambda: quadrature_rule("simpson", 10), r"even number of panels.*9 panels.*Use 11"),
        (lambda: gauss_kronrod(20), "odd"),
        (lambda: integrate_samples(np.ones(4), method="simpson"), "even number of panels"),
        (lambda: integrate_samples(np.ones(0)), "at least one sample"),
        (lambda: integrate_samples(1.0), "at least one sample"),
        (lambda: integrate_samples(np.ones(3), np.ones(4)), r"shape \(3,\)"),
        (lambda: integrate_samples(np.ones(2), np.asarray([0.0, np.nan])), "NaN"),
        (lambda: integrate_samples(np.ones(2), method="boole"), "'trapezoid', 'simpson'"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_polynomials_of_any_coefficients():
    draw = np.random.default_rng(0)
    c, low, high = draw.standard_normal((5, 7)), draw.standard_normal(5), draw.standard_normal(5)
    found = integrate_polynomial(c, low, high)
    for row, a, b, value in zip(c, low, high, found):
        primitive = np.polynomial.Polynomial(row).integ()
        np.testing.assert_allclose(value, primitive(b) - primitive(a), rtol=1e-13)
    assert integrate_polynomial([2.0], 1.0, 4.0) == 6.0 and integrate_polynomial([0.0, 2.0], 0.0, 3.0) == 9.0
    with pytest.raises(ValueError, match="at least one coefficient"):
        integrate_polynomial([], 0.0, 1.0)
