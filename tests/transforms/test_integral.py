"""Integrals against closed forms (mpmath for Bessel's and the sine integral), SciPy's quad, and finite differences."""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcalc.functions.quadrature import RULES
from jaxcalc.transforms.integral import integral
from tests.tolerance import assert_close, ulps

INF = math.inf

# name: (integrand, low, high, exact)
SMOOTH = {
    "square": (lambda x: x**2, 0, 2, 8 / 3),
    "full period": (jnp.sin, 0, 2 * math.pi, 0),
    "bessel": (lambda x: jnp.cos(jnp.sin(x)), 0, math.pi, math.pi * float(mpmath.besselj(0, 1))),
    "decay": (lambda x: jnp.sin(x) * jnp.exp(-x), 0, 3, (1 - math.exp(-3) * (math.sin(3) + math.cos(3))) / 2),
}
HARD = {
    "oscillating": (lambda x: jnp.cos(1000 * x), 0, 1, math.sin(1000) / 1000),
    "more and more so": (lambda x: jnp.sin(x) / x, 0, 200, float(mpmath.si(200))),
    "peak": (lambda x: 1 / (1e-6 + (x - 0.3) ** 2), 0, 1, 1e3 * (math.atan(700) + math.atan(300))),
    "kink": (lambda x: jnp.abs(x - 0.3), 0, 1, 0.29),
    "jump": (lambda x: jnp.where(x > 1 / 3, 1.0, 0.0), 0, 1, 2 / 3),
    "root": (jnp.sqrt, 0, 1, 2 / 3),
    "log": (jnp.log, 0, 1, -1),
    "pole of order 1/2": (lambda x: x**-0.5, 0, 1, 2),
    "the same away from 0": (lambda x: (x - 1) ** -0.5, 1, 2, 2),
    "at the upper end": (lambda x: (3 - x) ** -0.5, 2, 3, 2),
    "pole of order 0.9": (lambda x: x**-0.9, 0, 1, 10),
    "pole inside": (lambda x: jnp.abs(x - 0.3) ** -0.5, 0, 1, 2 * (math.sqrt(0.3) + math.sqrt(0.7))),
    "pole in the middle": (lambda x: jnp.abs(x - 0.5) ** -0.5, 0, 1, 2 * math.sqrt(2)),
    "normal": (lambda x: jnp.exp(-(x**2)), -INF, INF, math.sqrt(math.pi)),
    "cauchy": (lambda x: 1 / (1 + x**2), -INF, INF, math.pi),
    "exponential": (lambda x: jnp.exp(-x), 0, INF, 1),
    "to the left": (jnp.exp, -INF, 1, math.e),
    "gamma of 1/2": (lambda x: jnp.exp(-x) * x**-0.5, 0, INF, math.sqrt(math.pi)),
    "heavy tail": (lambda x: x**-1.1, 1, INF, 10),
    "far from 0": (lambda x: 1 / x**2, 1e6, INF, 1e-6),
}
TABLE = SMOOTH | HARD
NAMES = list(TABLE)
# What the table holds as one function, so that it is compiled once for all.
chosen = lambda x, index: jax.lax.switch(index, [fun for fun, *_ in TABLE.values()], x)


@functools.cache
def reports(tol):
    with jax.enable_x64(True):
        run = jax.jit(integral(chosen, tol=tol, report=True))
        found = [run(float(low), float(high), index) for index, (_, low, high, _) in enumerate(TABLE.values())]
        return dict(zip(TABLE, jax.tree.map(np.asarray, found)))


@pytest.mark.parametrize("tol", [1e-3, 1e-7])
@pytest.mark.parametrize("name", NAMES)
def test_error_bound_is_a_bound(name, tol):
    found, exact = reports(tol)[name], TABLE[name][3]
    assert abs(found.value - exact) <= found.error
    # The integral of an odd function is never known to a relative tolerance.
    assert found.converged or (exact == 0 and "rounding" in found.explain())
    assert not found.converged or found.error <= tol * abs(found.value)
    assert found.error <= max(tol * abs(exact), 1e-12)


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize("name", [*SMOOTH, "normal", "gamma of 1/2", "kink", "peak"])
def test_against_quadpack(name):
    fun, low, high, _ = TABLE[name]
    with jax.enable_x64(True):
        compiled = jax.jit(fun)
        peer, error = scipy.integrate.quad(lambda x: float(compiled(x)), low, high, limit=200)
    found = reports(1e-7)[name]
    np.testing.assert_allclose(found.value, peer, rtol=0, atol=error + float(found.error))


def test_divergence_and_nan_are_not_silent(x64):
    fun = lambda x, index: jax.lax.switch(index, [lambda x: 1 / x, lambda x: jnp.nan * x, lambda x: x**-2], x)
    run = jax.jit(integral(fun, report=True))
    found = [run(0.0, 1.0, index) for index in range(3)]
    assert [int(each.status) for each in found[:2]] == [1, 3]
    assert not found[2].converged
    assert "out of budget" in found[0].explain()
    # A limit that is NaN is an error only where it can be seen.
    nowhere = run(0.0, math.nan, 2)
    assert nowhere.status == 3 and jnp.isnan(nowhere.value)


SINGULAR = {
    "kink": (lambda x, c: jnp.abs(x - c), lambda c: (c**2 + (1 - c) ** 2) / 2),
    "jump": (lambda x, c: jnp.where(x > c, 1.0, 0.0), lambda c: 1 - c),
    "root": (lambda x, c: jnp.abs(x - c) ** 0.5, lambda c: (c**1.5 + (1 - c) ** 1.5) / 1.5),
    "pole": (lambda x, c: jnp.abs(x - c) ** -0.5, lambda c: 2 * (np.sqrt(c) + np.sqrt(1 - c))),
    "peak": (lambda x, c: 1 / (1e-4 + (x - c) ** 2), lambda c: 100 * (np.arctan(100 * c) + np.arctan(100 * (1 - c)))),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_bound_wherever_the_singularity_is(x64, name):
    """No luck in where it lies: bisecting until an estimate happens to be small must not pass for convergence."""
    fun, exact = SINGULAR[name]
    places = np.random.default_rng(0).uniform(0.01, 0.99, 100)
    found = jax.jit(jax.vmap(integral(fun, tol=1e-4, report=True), (None, None, 0)))(0.0, 1.0, places)
    error = np.abs(found.value - exact(places))
    assert found.converged.all()
    # What hides between an end of an interval and its first node, 0.2 % of its length away, no rule can see.
    assert np.mean(error <= found.error) >= 0.95
    assert np.mean(error <= np.maximum(found.error, 1e-4 * exact(places))) >= 0.98


# -- rules ---------------------------------------------------------------------------------------------------------


def errors(method, sizes, fun, low, high, exact):
    with jax.enable_x64(True):
        return [abs(float(integral(fun, method=method, num_points=n)(low, high)) - exact) for n in sizes]


def slope(sizes, errors):
    return -np.polyfit(np.log(sizes), np.log(errors), 1)[0]


@pytest.mark.parametrize(
    ("method", "order"), [("left", 1), ("right", 1), ("midpoint", 2), ("trapezoid", 2), ("simpson", 4)]
)
def test_orders(method, order):
    panels = np.asarray([32, 64, 128])
    points = panels + (method in ("trapezoid", "simpson"))
    got = errors(method, points, jnp.exp, 0.0, 1.0, math.e - 1)
    np.testing.assert_allclose(slope(panels, got), order, rtol=0.05)


@pytest.mark.parametrize("method", ["trapezoid", "simpson"])
def test_order_at_a_root(method):
    panels = np.asarray([64, 128, 256])
    np.testing.assert_allclose(slope(panels, errors(method, panels + 1, jnp.sqrt, 0.0, 1.0, 2 / 3)), 1.5, rtol=0.05)


def test_simpson_is_not_always_best():
    """Trapezoid wins on a full period, Gauss on what is analytic."""
    bessel = 2 * math.pi * float(mpmath.besseli(0, 1))
    period = {m: errors(m, [17], lambda x: jnp.exp(jnp.sin(x)), 0.0, 2 * math.pi, bessel)[0] for m in RULES}
    assert period["trapezoid"] < ulps(32) < 1e-8 < period["simpson"]
    assert errors("gauss-legendre", [8], jnp.sin, 0.0, math.pi, 2)[0] < ulps(64)
    assert errors("simpson", [9], jnp.sin, 0.0, math.pi, 2)[0] > 1e-5


@pytest.mark.parametrize("method", ["auto", *RULES])
def test_laws_of_every_method(x64, method):
    # Twice exponential, and that of an infinite interval: its nodes reach far out.
    num_points = 513 if method == "tanh-sinh" else None
    run = jax.jit(integral(lambda x, c: c * jnp.exp(-x) * jnp.cos(x), method=method, num_points=num_points))
    # Orientation is exact; an empty interval is 0; linear in the integrand.
    assert run(0.2, 1.5, 1.0) == -run(1.5, 0.2, 1.0) != 0
    assert run(0.7, 0.7, 1.0) == 0
    assert_close(run(0.2, 1.5, -3.0), -3 * run(0.2, 1.5, 1.0), 8)
    np.testing.assert_allclose(run(0.0, 1.0, 1.0), (1 + math.exp(-1) * (math.sin(1) - math.cos(1))) / 2, rtol=2e-3)
    # The same over infinite intervals: INT_0^inf = 1/2.
    np.testing.assert_allclose(run(0.0, INF, 1.0), 0.5, rtol=2e-3)
    assert_close(run(INF, 0.0, 1.0), -run(0.0, INF, 1.0), 8)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    st.floats(-5, 5),
    st.floats(-5, 5),
    st.floats(-5, 5),
    st.lists(st.floats(-3, 3), min_size=4, max_size=4),
)
def test_polynomials_and_additivity(a, b, c, coefficients):
    with jax.enable_x64(True):
        run = polynomial_integral()
        primitive = np.polynomial.Polynomial(coefficients).integ()
        scale = sum(abs(k) * 5.0 ** (i + 1) for i, k in enumerate(coefficients)) + 1
        coefficients = jnp.asarray(coefficients)
        assert_close(run(a, b, coefficients), primitive(b) - primitive(a), 64, scale=scale)
        parts = run(a, b, coefficients) + run(b, c, coefficients)
        assert_close(parts, run(a, c, coefficients), 64, scale=scale)


@functools.cache
def polynomial_integral():
    return jax.jit(integral(lambda x, k: jnp.polyval(k[::-1], x), atol=1e-12))


# -- derivatives ---------------------------------------------------------------------------------------------------


def wave(x, p):
    return p["a"] * jnp.sin(p["w"] * x)


def wave_integral(a, b, p):
    return p["a"] * (jnp.cos(p["w"] * a) - jnp.cos(p["w"] * b)) / p["w"]


@pytest.mark.parametrize("method", ["adaptive", "gauss-legendre"])
def test_leibniz(x64, method):
    at = (0.2, 1.3, {"a": 2.0, "w": 3.0})
    run = integral(wave, method=method)

    @functools.partial(jax.jit, static_argnums=0)
    def every(fun, *at):
        reverse, forward = jax.grad(fun, (0, 1, 2)), jax.jacfwd(fun, (0, 1, 2))
        return reverse(*at), forward(*at), jax.jacfwd(reverse, (0, 1, 2))(*at), jax.jacrev(reverse, (0, 1, 2))(*at)

    close = lambda one, other: assert_close(one, other, 512, scale=1)
    jax.tree.map(close, every(run, *at), every(wave_integral, *at))


@pytest.mark.parametrize("method", ["left", "simpson"])
def test_derivative_in_a_limit_is_the_integrand(x64, method):
    """Not that of the sum, whose derivative a crude rule has wrong."""
    run = jax.jit(jax.grad(integral(jnp.exp, method=method, num_points=5), (0, 1)))
    assert_close(run(0.3, 1.0), [-math.exp(0.3), math.e], 4)
    assert_close(run(1.0, 0.3), [-math.e, math.exp(0.3)], 4)


def test_derivatives_with_singular_and_infinite_ends(x64):
    run = integral(lambda x, s: jnp.exp(-s * x) * x**-0.5)
    slope = jax.jit(jax.value_and_grad(run, 2))
    # INT_0^inf x^(-1/2) e^(-s x) dx = sqrt(pi / s); the integrand is infinite at 0.
    value, derivative = slope(0.0, INF, 2.0)
    assert_close(value, math.sqrt(math.pi / 2), 32)
    assert_close(derivative, -0.5 * math.sqrt(math.pi) * 2**-1.5, 64)
    # A limit at infinity may be perturbed and moves nothing, whatever the integrand evaluates to there.
    moved = jax.jvp(lambda b: integral(lambda x: x * jnp.exp(-x))(0.0, b), (INF,), (1.0,))
    assert_close(moved, (1.0, 0.0), 64)


def test_closed_over_values(x64):
    fun = lambda w: integral(lambda x: jnp.sin(w * x), method="gauss-legendre")(0.0, 1.0)
    exact = jax.grad(lambda w: (1 - jnp.cos(w)) / w)
    assert_close(jax.grad(fun)(2.0), exact(2.0), 512)
    ws = jnp.asarray([1.0, 2.5])
    assert_close(jax.jit(jax.vmap(jax.grad(fun)))(ws), jax.vmap(exact)(ws), 1024)


def test_gradient_of_a_failure_is_nan(x64):
    value, slope = jax.jit(jax.value_and_grad(integral(lambda x, c: c / x, max_intervals=16), 2))(0.0, 1.0, 2.0)
    assert jnp.isnan(value) and jnp.isnan(slope)


# -- shapes, dtypes, transformations -------------------------------------------------------------------------------


def test_pytrees(x64):
    fun = lambda x: {"real": jnp.stack([x, x**2]), "complex": jnp.exp(1j * x), "whole": 1}
    found = integral(fun, report=True)(0, math.pi)
    assert_close(found.value["real"], [math.pi**2 / 2, math.pi**3 / 3], 32)
    assert_close(found.value["complex"], 2j, 32)
    assert_close(found.value["whole"], math.pi, 32)
    assert found.error["real"].shape == (2,) and found.error["complex"].dtype == jnp.float64


@pytest.mark.parametrize(("method", "num_points"), [("auto", None), ("tanh-sinh", 513)])
def test_under_vmap(x64, method, num_points):
    highs = jnp.asarray([0.0, 1.0, 50.0, INF])
    run = integral(lambda x: 1 / (1 + x**2), method=method, num_points=num_points)
    got = jax.jit(jax.vmap(run, (None, 0)))(0.0, highs)
    # The accuracy that adaptive integration was asked for.
    np.testing.assert_allclose(got, np.arctan(highs), rtol=1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_single_and_half_precision(dtype):
    run = jax.jit(integral(lambda x: jnp.exp(-x), report=True))
    for high, exact in ((1.0, 1 - math.exp(-1)), (INF, 1.0)):
        found = run(dtype(0), dtype(high))
        assert found.value.dtype == jnp.float32
        assert found.converged and abs(found.value - exact) <= found.error < 1e-3


def test_tolerance_may_be_traced(x64):
    count = jax.jit(jax.vmap(lambda tol: integral(jnp.log, tol=tol, report=True)(0.0, 1.0).evaluations))
    loose, tight = count(jnp.asarray([1e-3, 1e-12]))
    assert loose < tight


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: integral(jnp.sin, method="boole"), "'auto', 'adaptive', 'left', .*'tanh-sinh'"),
        (lambda: integral(jnp.sin, method="left", num_points=0), "at least 1"),
        (lambda: integral(jnp.sin, method="simpson", num_points=100), "even number of panels"),
        (lambda: integral(jnp.sin, num_points=20), "odd"),
        (lambda: integral(jnp.sin, method="left", tol=1e-3), "method='adaptive'"),
        (lambda: integral(jnp.sin, max_intervals=2), "max_intervals"),
        (lambda: integral(jnp.sin)(0.0, math.nan), "NaN"),
        (lambda: integral(jnp.sin)(jnp.zeros(2), 1.0), "scalar"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("fun", [lambda x: 1.0 + 0 * x, lambda x: jnp.tanh(x) ** 2, lambda x: 1 / (1 + jnp.abs(x))])
def test_what_does_not_fall_at_infinity_has_no_integral(x64, fun):
    found = integral(fun, report=True)(-jnp.inf, jnp.inf)
    assert not found.converged and "finite" in found.explain()
    assert np.isnan(integral(fun)(0.0, jnp.inf))


# -- ends, narrow intervals and what no bound can be given for ------------------------------------------------------


def _square_integral(a, b):
    a, b = float(a), float(b)
    return (b - a) * (a * a + a * b + b * b) / 3


@functools.cache
def squares():
    return jax.jit(integral(lambda x: x**2, report=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("low", "high"), [(100, 101), (2, 2.1), (1, 1.01), (-101, -100), (1e4, 1e4 + 1), (1e6, 1e6 + 1), (101, 100)]
)
def test_short_intervals_far_from_0(x64, low, high, dtype):
    low, high = dtype(low), dtype(high)
    found, exact = squares()(low, high), _square_integral(low, high)
    assert found.converged
    assert abs(found.value - exact) <= found.error <= 1024 * float(jnp.finfo(dtype).eps) * abs(exact)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("start", [1.0, -1.0, 3.5, 1e5])
@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_intervals_of_a_few_numbers(x64, start, count, dtype):
    low = dtype(start)
    high = dtype(low + count * np.spacing(abs(low)))
    found, exact = squares()(low, high), _square_integral(low, high)
    assert found.converged
    np.testing.assert_allclose(found.value, exact, rtol=1e-5)


# name: (integrand, low, high, exact); infinite where the integral diverges
ENDS = {
    "1/x": (lambda x: 1 / x, 0, 1, INF),
    "1/sin x": (lambda x: 1 / jnp.sin(x), 0, 1, INF),
    "1/(1 - x)": (lambda x: 1 / (1 - x), 0, 1, INF),
    "1/(x log(2/x)^(1/2))": (lambda x: 1 / (x * jnp.sqrt(jnp.log(2 / x))), 0, 1, INF),
    "1/(x log x)": (lambda x: 1 / (x * jnp.log(x)), 2, INF, INF),
    "1/x inside": (lambda x: 1 / jnp.abs(x - 0.3), 0, 1, INF),
    "x^-0.99": (lambda x: x**-0.99, 0, 1, 100),
    "x^-0.9": (lambda x: x**-0.9, 0, 1, 10),
    "(1 - x)^-0.9": (lambda x: (1 - x) ** -0.9, 0, 1, 10),
    "(1 - x)^-0.7": (lambda x: (1 - x) ** -0.7, 0, 1, 1 / 0.3),
    "log^-2": (lambda x: 1 / ((1 - x) * jnp.log(1 - x) ** 2), 0.5, 1, 1 / math.log(2)),
    "log^-1.5": (lambda x: 1 / (x * jnp.log(1 / x) ** 1.5), 0, 0.5, 2 / math.log(2) ** 0.5),
    "x^-1.1": (lambda x: x**-1.1, 1, INF, 10),
    "x^-1.05": (lambda x: x**-1.05, 1, INF, 20),
    "|x - c|^-0.9": (lambda x: jnp.abs(x - 0.3) ** -0.9, 0, 1, 10 * (0.3**0.1 + 0.7**0.1)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ENDS)
def test_bounds_hold_where_an_end_is_not_resolved(x64, name, dtype):
    fun, low, high, exact = ENDS[name]
    found = jax.jit(integral(fun, report=True))(dtype(low), dtype(high))
    if math.isinf(exact):
        assert not found.converged
    else:
        assert abs(found.value - exact) <= found.error


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"tol": -1e-3}, ValueError, "integral: tol must be finite and at least 0"),
        ({"tol": math.nan}, ValueError, "integral: tol must be finite and at least 0, got nan"),
        ({"atol": INF}, ValueError, "integral: atol must be finite"),
        ({"tol": np.ones(2)}, ValueError, "integral: tol must be a scalar"),
        ({"atol": "small"}, TypeError, "integral: atol must be a real number"),
        ({"num_points": 1.5}, TypeError, "integral: num_points must be a whole number"),
        ({"method": "left", "num_points": 2.0}, TypeError, "integral: num_points must be a whole number"),
        ({"max_intervals": 16.0}, TypeError, "integral: max_intervals must be a whole number"),
        ({"num_points": True}, TypeError, "integral: num_points must be a whole number"),
    ],
)
def test_numbers_are_in_range(choices, error, message):
    with pytest.raises(error, match=message):
        integral(jnp.sin, **choices)
