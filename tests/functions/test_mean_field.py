"""Mean-field theory against published and independently computed numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from jaxcalc.functions import mean_field
from jaxcalc.functions.activations import Activation, gelu, linear, relu, sigmoid, tanh
from tests.tolerance import assert_close


def test_moments_of_a_normal(x64):
    assert_close(mean_field.gaussian_mean(lambda x: x**4, 2.0), 12.0, 64)
    assert_close(mean_field.gaussian_mean(jnp.cos, 1.5), np.exp(-0.75), 512)


@pytest.mark.parametrize(
    ("sw2", "settles", "chi1"),
    [(1.0, 0.19359, 0.759032), (1.7, 0.53308, 0.986741), (2.5, 1.06396, 1.133516), (4.0, 2.19549, 1.342402)],
)
def test_tanh_settles_where_the_literature_has_it(x64, sw2, settles, chi1):
    # Oracle: adaptive quadrature of the equations of Schoenholz et al. (2017), bias variance 0.05.
    found = mean_field.fixed_point(tanh, sw2, 0.05)
    assert found == pytest.approx(settles, abs=6e-6)
    assert mean_field.gradient_factor(tanh, found, sw2) == pytest.approx(chi1, abs=6e-7)


def test_the_edge_of_chaos(x64):
    sw2, sb2 = mean_field.critical_weight_variance(tanh, 0.570048)
    assert sw2 == pytest.approx(1.760955, abs=1e-6)
    assert sb2 == pytest.approx(0.05, abs=1e-6)


def test_he_keeps_relu_and_glorot_halves_it(x64):
    kept = mean_field.signals(relu, 0.7, sw2=2.0, num_layers=5)
    assert_close(kept.moment, 0.7, 256)
    assert_close(kept.factor, 1.0, 256)
    halved = mean_field.signals(relu, 1.0, sw2=1.0, num_layers=5)
    assert_close(halved.moment, 0.5 ** np.arange(1, 6), 256)


def test_residual_blocks(x64):
    found = mean_field.signals(relu, 1.0, sw2=2.0, skip=1.0, branch=0.5, num_layers=3)
    assert_close(found.factor, 1.25, 64)
    # ReLU's outputs have a mean, sqrt(q / 2 pi) with q = 2, and behind a skip the means meet.
    mean = 0.5 / np.sqrt(np.pi)
    assert_close(found.moment[0], 1.25, 16)
    assert_close(found.moment[1], 1.25 + 2 * mean * 0.5 * np.sqrt(1.25 / np.pi) + 0.25 * 1.25, 64)


def test_a_skip_scales_what_it_carries(x64):
    # h <- h / 2 + W h: the square and the gradient's both gain 1/4 + 1, for W h is independent of h.
    halved = mean_field.signals(linear, 1.0, sw2=1.0, skip=0.5, num_layers=3)
    assert_close(halved.moment, 1.25 ** np.arange(1, 4), 64)
    assert_close(halved.factor, 1.25, 64)


def test_linear_layers_scale_and_attenuation_is_their_product(x64):
    factors = mean_field.signals(linear, 1.0, sw2=0.25, num_layers=6).factor
    found = mean_field.attenuation(factors, 4)
    assert_close(found[:5], 0.5 ** np.arange(4, -1, -1), 512)
    assert np.isnan(found[5:]).all()


def test_many_small_factors_do_not_underflow():
    found = mean_field.attenuation(jnp.full(40, 1e-2, jnp.float32), 30)
    assert_close(found[0], 1e-30, 1024, dtype=jnp.float32)


def test_gelu_factor_against_quadrature(x64):
    z = np.linspace(-12, 12, 200_001)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    slopes = np.asarray(gelu.derivative(jnp.asarray(0.8 * z))) ** 2
    exact = 1.7 * np.sum(slopes * density) * (z[1] - z[0])
    # What the quadrature leaves of an integrand that is not a polynomial.
    assert mean_field.gradient_factor(gelu, 0.64, 1.7) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("phi", "variance"), [(tanh, 1e4), (tanh, 1e6), (sigmoid, 1e4), (gelu, 1e4)])
def test_a_bend_is_resolved_however_far_the_entries_spread(x64, phi, variance):
    # Oracle: scipy's adaptive quadrature in u, over the bend and beyond it.
    slope, deviation = jax.jit(phi.derivative), variance**0.5

    def integrand(u):
        return float(slope(u)) ** 2 * np.exp(-0.5 * (u / deviation) ** 2) / np.sqrt(2 * np.pi) / deviation

    ends = (-12 * deviation, -20.0, 0.0, 20.0, 12 * deviation)
    exact = sum(scipy.integrate.quad(integrand, *piece, epsrel=1e-10)[0] for piece in itertools.pairwise(ends))
    # As close as both quadratures are.
    assert mean_field.gradient_factor(phi, variance, 1.0) == pytest.approx(exact, rel=1e-8)


def test_no_edge_of_chaos_is_not_a_number(x64):
    assert np.isnan(mean_field.critical_weight_variance(sigmoid, 1.0)).all()
    assert_close(mean_field.critical_weight_variance(relu, 0.7), [2.0, 0.0], 256, scale=1)


def test_the_fixed_point_is_one_to_rounding_near_criticality_too(x64):
    for sw2, sb2 in ((1.0002, 1.3325e-12), (1.76, 0.05), (0.999, 1e-9), (4.0, 0.0)):
        settled = mean_field.fixed_point_of_moments(tanh, sw2, sb2)
        assert settled.explain() == "stable"
        # The residual over the slope's distance from 1 bounds the error of the root.
        residual = mean_field.moment_map(tanh, settled.moment, sw2=sw2, sb2=sb2) - settled.moment
        assert abs(residual / (1 - settled.slope)) < 1e-10 * settled.moment


def test_the_slope_of_the_moment_map_is_its_derivative(x64):
    for phi in (tanh, gelu, relu):
        slope = jax.grad(lambda q, phi=phi: mean_field.moment_map(phi, q, sw2=1.7, sb2=0.1))(0.8)
        assert_close(mean_field.moment_slope(phi, 0.8, 1.7), slope, 256)


def test_derivatives_of_a_fixed_point_are_implicit(x64):
    rise = jax.grad(mean_field.fixed_point, argnums=2)(tanh, 1.7, 0.05)
    assert_close(rise, 1 / (1 - mean_field.fixed_point_of_moments(tanh, 1.7, 0.05).slope), 512)
    step = 1e-5
    ends = [mean_field.fixed_point(tanh, 1.7 + sign * step, 0.05) for sign in (-1, 1)]
    slope = float(jax.grad(mean_field.fixed_point, argnums=1)(tanh, 1.7, 0.05))
    assert slope == pytest.approx(float(ends[1] - ends[0]) / (2 * step), rel=1e-8)


@pytest.mark.parametrize(
    ("phi", "sw2", "sb2", "status", "moment"),
    [
        ("tanh", 1.0, 0.0, "marginal", 0.0),
        ("tanh", 0.9, 0.0, "stable", 0.0),
        ("relu", 2.0, 0.0, "neutral", 1.0),
        ("relu", 2.0, 0.1, "none", np.inf),
        ("relu", 2.1, 0.0, "none", np.inf),
        ("relu", 1.0, 0.1, "stable", 0.2),
        ("linear", 1.0, 0.0, "neutral", 1.0),
    ],
)
def test_of_what_kind_a_fixed_point_is(x64, phi, sw2, sb2, status, moment):
    settled = mean_field.fixed_point_of_moments(phi, sw2, sb2)
    assert settled.explain() == status
    assert_close(settled.moment, moment, 512)


def test_a_start_at_a_fixed_point_stays_there_and_is_told_from_the_neutral(x64):
    for sw2, sb2 in ((2.0, 0.05), (1.3, 0.0), (0.5, 0.2)):
        settled = mean_field.fixed_point_of_moments(tanh, sw2, sb2)
        again = mean_field.fixed_point_of_moments(tanh, sw2, sb2, start=settled.moment)
        assert again.explain() == "stable"
        assert_close(again.moment, settled.moment, 512)
    # So small a start leaves no growth to be seen, but tanh is not linear.
    assert mean_field.fixed_point_of_moments(tanh, 1.0, start=1e-20).explain() == "marginal"
    assert mean_field.fixed_point_of_moments(relu, 2.0, start=1e-20).explain() == "neutral"


def test_single_precision_tells_marginal_from_half_stable():
    settled = mean_field.fixed_point_of_moments(tanh, 1.0)
    assert settled.explain() == "marginal" and settled.moment == 0


def test_layer_by_layer_at_criticality_to_ten_thousand(x64):
    # Oracle: iteration in double precision, and the limits of d q / d l = -2 q^2.
    followed = mean_field.signals("tanh", 1.0, sw2=1.0, num_layers=10_000)
    layers = np.array([100, 1000, 10_000])
    moments, factors = (np.asarray(each) for each in followed)
    np.testing.assert_allclose(layers * moments[layers - 1], [0.50690, 0.50116, 0.50016], atol=6e-6)
    np.testing.assert_allclose(layers * np.cumprod(factors)[layers - 1], [0.7134, 0.7075, 0.7063], atol=6e-5)


def test_the_error_function_at_criticality(x64):
    slope = lambda u: 2 / np.sqrt(np.pi) * jnp.exp(-(u**2))
    phi = Activation("erf", jax.scipy.special.erf, slope, 2 / np.sqrt(np.pi), lambda u: -2 * u * slope(u))
    # A first layer's variance of 1, as tanh's above.
    factors = np.asarray(mean_field.signals(phi, 4 / np.pi, sw2=np.pi / 4, num_layers=10_000).factor)
    assert 10_000 * np.prod(factors) == pytest.approx(0.7411, abs=2e-4)


def test_misuse_is_told_by_name():
    with pytest.raises(ValueError, match=r"fixed_point: sw2 must be finite and above 0, got 0\.0"):
        mean_field.fixed_point(tanh, 0.0, 0.1)
    with pytest.raises(ValueError, match=r"signals: sb2 must be finite and at least 0, got -0\.1"):
        mean_field.signals(tanh, 1.0, sw2=1.0, sb2=-0.1, num_layers=2)
    with pytest.raises(ValueError, match="signals: num_layers must be at least 1, got 0"):
        mean_field.signals(tanh, 1.0, sw2=1.0, num_layers=0)
    with pytest.raises(ValueError, match="tahn"):
        mean_field.gradient_factor("tahn", 1.0, 1.0)
    with pytest.raises(TypeError, match="gradient_factor: phi must be an Activation or the name of one, got 3"):
        mean_field.gradient_factor(3, 1.0, 1.0)  # pyright: ignore[reportArgumentType]
