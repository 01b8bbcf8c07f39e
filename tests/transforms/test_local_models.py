"""Slopes, Taylor polynomials and local models against closed forms, dense derivatives and the order of remainders."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxcalc.transforms.local_models import (
    directional_derivative,
    local_model,
    model_radius,
    remainder_bound,
    steepest_ascent,
    taylor_polynomial,
)
from tests.tolerance import assert_close, ulps

DRAWN = np.random.default_rng(0)


def energy(x):
    """A scalar function of a PyTree without symmetries."""
    return jnp.sin(x["a"]).sum() * jnp.exp(-(x["b"] ** 2)) + (x["a"] ** 3).sum() + x["b"]


def point():
    return {"a": jnp.asarray(DRAWN.normal(size=3)), "b": jnp.asarray(DRAWN.normal())}


def test_directional_derivative_is_gradient_times_direction(x64):
    x, v = point(), point()
    gradient, flat = ravel_pytree(jax.grad(energy)(x))[0], ravel_pytree(v)[0]
    assert_close(directional_derivative(energy)(x, v), gradient @ flat, 16)
    per_length = directional_derivative(energy, normalize=True)
    assert_close(per_length(x, v), gradient @ flat / np.linalg.norm(flat), 16)
    # Twice as long, twice the slope; along the negative direction, the negative slope.
    double = jax.tree.map(lambda leaf: -2 * leaf, v)
    assert_close(directional_derivative(energy)(x, double), -2 * gradient @ flat, 16)
    assert_close(per_length(x, double), -per_length(x, v), 16)


def test_directional_derivative_of_a_vector_and_a_parameter(x64):
    fun = lambda x, c: c * jnp.stack([x[0] ** 2 + x[1], x[0] * x[1]])
    got = jax.jit(directional_derivative(fun))(np.asarray([3, 2]), np.asarray([1, -1]), 2.0)
    assert_close(got, 2 * np.asarray([6 - 1, 2 - 3]), 4)


def test_steepest_ascent_beats_every_direction(x64):
    fun = lambda x: jnp.sin(x[0]) * x[1] + x[0] ** 2
    x = jnp.asarray([0.4, 1.1])
    found = jax.jit(steepest_ascent(fun))(x)
    assert_close(jnp.linalg.norm(found.direction), 1, 4)
    assert_close(found.slope, jnp.linalg.norm(jax.grad(fun)(x)), 8)
    angles = np.linspace(0, 2 * np.pi, 2001)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    slopes = jax.vmap(lambda v: directional_derivative(fun)(x, v))(circle)
    assert slopes.max() <= found.slope * (1 + ulps(4))
    np.testing.assert_allclose(circle[np.argmax(slopes)], found.direction, atol=2 * np.pi / 2000)
    # The negative direction is steepest descent.
    np.testing.assert_allclose(slopes.min(), -found.slope, rtol=1e-5)


def test_steepest_ascent_at_extremes(x64):
    flat = steepest_ascent(lambda x: (x**2).sum())(jnp.zeros(3))
    assert flat.slope == 0 and not flat.direction.any()
    large = steepest_ascent(lambda x: 1e200 * x.sum())(jnp.zeros(4))
    assert_close([large.slope / 2e200, *large.direction], [1, *[0.5] * 4], 8)


# -- Taylor polynomials --------------------------------------------------------------------------------------------


def test_series_of_exp_and_sin(x64):
    """Ten terms of e^x; fifteen terms of e; ten terms of sin at pi / 2."""
    series = lambda fun, order: jax.jit(lambda at, x: taylor_polynomial(fun, order)(at)(x))
    ten = series(jnp.exp, 9)
    partial = [sum(x**m / math.factorial(m) for m in range(10)) for x in (0, 1, 2)]
    assert_close([ten(0.0, float(x)) for x in (0, 1, 2)], partial, 8)
    np.testing.assert_allclose(series(jnp.exp, 14)(0.0, 1.0), math.e, atol=1e-11)
    assert_close(series(jnp.sin, 19)(0.0, math.pi / 2), 1, 16)


def test_remainder_of_order_k_plus_1(x64):
    steps = np.asarray([0.04, 0.02, 0.01])
    for order in (0, 1, 2, 3):
        polynomial = taylor_polynomial(lambda x: jnp.exp(jnp.sin(x)), order)(0.5)
        errors = [abs(float(polynomial(0.5 + h)) - math.exp(math.sin(0.5 + h))) for h in steps]
        np.testing.assert_allclose(np.polyfit(np.log(steps), np.log(errors), 1)[0], order + 1, rtol=0.05)


def test_more_terms_do_not_help_outside_the_radius(x64):
    errors = [abs(float(taylor_polynomial(jnp.log1p, n)(0.0)(1.5)) - math.log(2.5)) for n in (5, 10, 20)]
    assert errors[0] < errors[1] < errors[2]


def test_several_variables(x64):
    x0, x = point(), point()
    flat, unravel = ravel_pytree(x0)
    v = ravel_pytree(x)[0] - flat
    plain = lambda y: energy(unravel(y))
    wanted = energy(x0) + jax.grad(plain)(flat) @ v + v @ jax.hessian(plain)(flat) @ v / 2
    assert_close(jax.jit(lambda a, b: taylor_polynomial(energy, 2)(a)(b))(x0, x), wanted, 32)
    assert_close(local_model(energy, 2)(x0)(unravel(v)), wanted, 32)


def test_exact_on_polynomials(x64):
    fun = lambda x: x[0] ** 2 * x[1] - 3 * x[1] + 1
    x0, x = jnp.asarray([0.3, -1.0]), jnp.asarray([2.0, 5.0])
    assert_close(taylor_polynomial(fun, 3)(x0)(x), fun(x), 32)
    assert remainder_bound(fun, 3)(x0, x) == 0


@pytest.mark.parametrize("order", [0, 1, 4])
def test_remainder_bounds(x64, order):
    fun = lambda x: jnp.exp(jnp.sin(3 * x))
    x0 = 0.2
    polynomial, bound = taylor_polynomial(fun, order)(x0), jax.jit(remainder_bound(fun, order))
    for x in (-0.3, 0.25, 0.9):
        error = abs(polynomial(x) - fun(x))
        with mpmath.workdps(30):
            exact = lambda t: mpmath.exp(mpmath.sin(3 * t))
            grid = [x0 + (x - x0) * k / 50 for k in range(51)]
            largest = max(abs(float(mpmath.diff(exact, t, order + 1))) for t in grid)
        assert error <= bound(x0, x)
        np.testing.assert_allclose(
            bound(x0, x), largest * abs(x - x0) ** (order + 1) / math.factorial(order + 1), rtol=0.02
        )
        supplied = remainder_bound(fun, order, bound=1.05 * largest)(x0, x)
        assert error <= supplied


# -- local models --------------------------------------------------------------------------------------------------


def test_orders_of_the_models(x64):
    x, v = point(), point()
    steps = np.asarray([0.02, 0.01, 0.005])
    move = lambda h: jax.tree.map(lambda leaf: h * leaf, v)
    for order in (1, 2):
        model = local_model(energy, order)(x)
        errors = [abs(float(model(move(h)) - energy(jax.tree.map(jnp.add, x, move(h))))) for h in steps]
        np.testing.assert_allclose(np.polyfit(np.log(steps), np.log(errors), 1)[0], order + 1, rtol=0.05)


@pytest.mark.parametrize("order", [1, 2])
def test_radius_of_the_exponential(x64, order):
    """|e^r - 1 - r (- r^2 / 2)| = tol e^r, solved by mpmath."""
    terms = lambda r: 1 + r + (r**2 / 2 if order == 2 else 0)
    wanted = float(mpmath.findroot(lambda r: mpmath.exp(r) - terms(r) - 0.01 * mpmath.exp(r), 0.3))
    radius = jax.jit(model_radius(jnp.exp, order, tol=0.01))
    assert_close(radius(0.0, 2.0), wanted, 256)


def test_radius_holds_all_the_way(x64):
    x, v = point(), point()
    radius = jax.jit(model_radius(energy, 2, tol=0.05))(x, v)
    unit = jax.tree.map(lambda leaf: leaf / jnp.linalg.norm(ravel_pytree(v)[0]), v)
    model = local_model(energy, 2)(x)

    def relative(r):
        s = jax.tree.map(lambda leaf: r * leaf, unit)
        there = energy(jax.tree.map(jnp.add, x, s))
        return jnp.abs(model(s) - there) / jnp.maximum(jnp.abs(energy(x)), jnp.abs(there))

    assert (jax.vmap(relative)(jnp.linspace(0, 1, 200) * radius) <= 0.05 * (1 + 1e-9)).all()
    assert relative(1.001 * radius) > 0.05


def test_radius_of_an_exact_model(x64):
    quadratic = lambda x: 1 + (x**2).sum()
    assert model_radius(quadratic, 2, max_radius=10.0)(jnp.ones(3), jnp.ones(3)) == 10
    assert 0 < model_radius(quadratic, 1)(jnp.ones(3), jnp.ones(3)) < 10


def test_single_precision():
    assert taylor_polynomial(jnp.exp, 5)(jnp.float32(0))(jnp.float32(1)).dtype == jnp.float32
    assert local_model(lambda x: (x**2).sum(), 2)(jnp.ones(2))(jnp.ones(2)).dtype == jnp.float32
    assert model_radius(jnp.exp, 1)(jnp.float32(0), jnp.float32(1)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: directional_derivative(energy)(jnp.ones(2), jnp.ones(3)), "v must be shaped like x"),
        (lambda: taylor_polynomial(jnp.sin, -1), "at least 0"),
        (lambda: taylor_polynomial(jnp.sin, 1)(0.0)(jnp.ones(2)), "x must be shaped like x0"),
        (lambda: remainder_bound(jnp.sin, -1), "at least 0"),
        (lambda: remainder_bound(jnp.sin, 1, num_samples=1), "num_samples"),
        (lambda: local_model(jnp.sin, 3), "taylor_polynomial"),
        (lambda: local_model(jnp.sin, 1)(0.0)(jnp.ones(2)), "s must be shaped like x"),
        (lambda: model_radius(jnp.sin, 1)(0.0, jnp.ones(2)), "direction must be shaped like x"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_polynomials_of_many_functions_are_evaluated_by_one_program():
    # A scan outside of jit was compiled, and kept, for every polynomial: 1.6 MB each.
    compiled, listening = [], []
    heard = lambda name, seconds, **_: compiled.append(name) if listening and "backend_compile" in name else None
    jax.monitoring.register_event_duration_secs_listener(heard)
    about = [taylor_polynomial(lambda x, k=k: jnp.exp(-k * x * x), 3)(0.5) for k in (1.0, 2.0, 3.0)]
    about[0](0.6)
    listening.append(True)
    found = [polynomial(0.6) for polynomial in about[1:]]
    listening.clear()
    assert not compiled
    np.testing.assert_allclose(found, np.exp(-0.36 * np.array([2.0, 3.0])), rtol=1e-2)
