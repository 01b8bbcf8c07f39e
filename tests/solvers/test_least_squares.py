"""least_squares, root and fixed_point: NIST's certified fits, roots with their derivative, minima that are no roots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.solvers import Status, fixed_point, least_squares, root

# NIST Statistical Reference Datasets, Misra1a: certified parameters and residual sum of squares.
VOLUME = np.array([10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78])
PRESSURE = np.array([77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0])
CERTIFIED, SUM_OF_SQUARES = [2.3894212918e2, 5.5015643181e-4], 1.2455138894e-1


def misra(b, y):
    return y - b[0] * (1 - jnp.exp(-b[1] * PRESSURE))


@pytest.mark.parametrize("method", ["levenberg-marquardt", "gauss-newton", "trust-region"])
@pytest.mark.parametrize("start", [[500.0, 1e-4], [250.0, 5e-4]])
def test_a_certified_fit(x64, method, start):
    fit = least_squares(misra, jnp.asarray(start), VOLUME, method=method)
    np.testing.assert_allclose(fit.x, CERTIFIED, rtol=1e-6)
    assert 2 * float(fit.value) == pytest.approx(SUM_OF_SQUARES, rel=1e-8)


def test_bounds_hold_and_lanes_agree(x64):
    fit = least_squares(misra, jnp.asarray([250.0, 5e-4]), VOLUME, bounds=(0.0, jnp.array([220.0, 1.0])))
    assert float(fit.x[0]) == 220.0 and float(fit.multipliers.upper[0]) > 0
    starts = jnp.asarray([[250.0, 5e-4], [300.0, 4e-4]])
    lanes = jax.vmap(lambda b: least_squares(misra, b, VOLUME))(starts)
    np.testing.assert_allclose(lanes.x, [CERTIFIED, CERTIFIED], rtol=1e-6)


def circle_and_line(x, radius):
    return {"circle": x[0] ** 2 + x[1] ** 2 - radius**2, "line": x[0] - x[1]}


@pytest.mark.parametrize("method", ["levenberg-marquardt", "gauss-newton"])
def test_roots_with_their_derivative(x64, method):
    at = lambda radius: root(circle_and_line, jnp.array([3.0, 1.0]), radius, method=method)
    solution = at(2.0)
    assert solution.success and float(solution.kkt_residual) <= float(solution.tol)
    np.testing.assert_allclose(solution.x, [2**0.5, 2**0.5], rtol=1e-8)
    for derivative in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(derivative(lambda r: at(r).x)(2.0), [0.5**0.5, 0.5**0.5], rtol=1e-6)


def test_the_error_is_squared_near_a_root(x64):
    solution = root(lambda x: jnp.exp(x) - 2.0, jnp.array([1.0]), history="full", tol=1e-14)
    size = np.sqrt(2 * np.asarray(solution.history.dataset()["value"]))
    order = np.log(size[3] / size[2]) / np.log(size[2] / size[1])
    assert order == pytest.approx(2.0, abs=0.15)


def test_a_minimum_that_is_no_root_is_no_success(x64):
    solution = root(lambda x: x**2 + 1.0, jnp.array([3.0]))
    assert int(solution.status) == Status.STALLED and "stalled" in solution.explain()


def test_fixed_points(x64):
    solution = fixed_point(jnp.cos, jnp.asarray(1.0))
    assert float(solution.x) == pytest.approx(0.7390851332151607, abs=1e-9)
    kepler = lambda E, e: 1.0 + e * jnp.sin(E)
    slope = jax.grad(lambda e: fixed_point(kepler, 1.0, e).x)(0.3)
    E = float(fixed_point(kepler, 1.0, 0.3).x)
    assert float(slope) == pytest.approx(np.sin(E) / (1 - 0.3 * np.cos(E)), rel=1e-6)


def test_misuse_says_what_to_do():
    with pytest.raises(
        TypeError, match=r"as many residuals as x0 has entries, 2, got 1. For a best fit use least_squares"
    ):
        root(jnp.sum, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"least_squares: method must be one of 'levenberg-marquardt'.* got 'lm'"):
        least_squares(lambda x: x, jnp.zeros(2), method="lm")
    with pytest.raises(TypeError, match="least_squares: fun must return real floating-point numbers, got int"):
        least_squares(lambda x: x.astype(int), jnp.zeros(2))
    with pytest.raises(ValueError, match="'gauss-newton' does not keep to bounds"):
        least_squares(lambda x: x, jnp.zeros(2), method="gauss-newton", bounds=(0.0, 1.0))
