"""Mean-field theory against published and independently computed numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from jaxcalc.functions import mean_field
from jaxcalc.functions.activations import gelu, linear, relu, sigmoid, tanh
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
