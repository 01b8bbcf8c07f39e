"""Correlations and depth scales against closed forms of ReLU and published numbers of tanh."""

import jax
import numpy as np
import pytest
from numpy.polynomial import hermite_e

from jaxcalc.functions import correlations, mean_field
from jaxcalc.functions.activations import relu, tanh
from jaxcalc.functions.gaussian_means import gaussian_pair_mean
from tests.tolerance import assert_close

# sw2 at sb2 = 0.05: q*, chi1, xi_q, c*, xi_c, xi_grad (Schoenholz et al. 2017's equations by adaptive quadrature).
TANH = {
    1.0: (0.19359, 0.759032, 1.748, 1.0, 3.627, 3.627),
    1.3: (0.31532, 0.880164, 1.785, 1.0, 7.834, 7.834),
    1.5: (0.41804, 0.938636, 1.683, 1.0, 15.791, 15.791),
    1.7: (0.53308, 0.986741, 1.558, 1.0, 74.92, 74.92),
    2.0: (0.72176, 1.047666, 1.388, 0.74408, 25.21, 21.48),
    2.5: (1.06396, 1.133516, 1.180, 0.44680, 11.80, 7.979),
    4.0: (2.19549, 1.342402, 0.873, 0.16506, 6.980, 3.396),
}


@pytest.mark.parametrize("c", [-1.0, -0.5, 0.0, 0.3, 0.9, 0.999, 1.0])
def test_relu_pairs_have_closed_forms(x64, c):
    # Oracle: the arc-cosine kernels of Cho and Saul (2009).
    angle = np.arccos(c)
    mean = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    assert_close(gaussian_pair_mean(relu.value, relu.value, 1.7, c), 1.7 * mean, 64, scale=1)
    slopes = gaussian_pair_mean(relu.derivative, relu.derivative, 1.7, c)
    assert_close(slopes, (np.pi - angle) / (2 * np.pi), 64, scale=1)


def test_smooth_pairs_against_gauss_hermite(x64):
    nodes, weights = hermite_e.hermegauss(150)
    weights = weights / weights.sum()
    first, second = np.meshgrid(nodes, nodes)
    for c in (0.1, 0.9):
        other = c * first + np.sqrt(1 - c**2) * second
        exact = weights @ (np.tanh(0.5 * first) * np.tanh(0.5 * other)) @ weights
        assert gaussian_pair_mean(tanh.value, tanh.value, 0.25, c) == pytest.approx(exact, abs=1e-13)


def test_tanh_scales_are_the_published_ones(x64):
    sw2 = np.array(list(TANH))

    def everything(sw2):
        q = mean_field.fixed_point(tanh, sw2, 0.05)
        scales = correlations.depth_scales(tanh, sw2=sw2, sb2=0.05)
        c = correlations.correlation_fixed_point(tanh, q, sw2=sw2, sb2=0.05)
        return q, mean_field.gradient_factor(tanh, q, sw2), scales.moment, c, scales.correlation, scales.gradient

    computed = jax.jit(jax.vmap(everything))(sw2)
    digits = (6e-6, 6e-7, 6e-4, 6e-6, 6e-3, 6e-4)
    for column, published, digit in zip(computed, np.array(list(TANH.values())).T, digits):
        # Each to the last digit that is printed: four figures of the scales.
        np.testing.assert_allclose(column, published, rtol=2e-4 if digit >= 6e-4 else 0, atol=digit)


@pytest.mark.parametrize("x64", [False, True])
def test_scales_at_criticality_are_infinite_and_none_negative(x64):
    with jax.enable_x64(x64):
        for phi, sw2 in (("relu", 2.0), ("linear", 1.0), ("tanh", 1.0)):
            assert np.array(correlations.depth_scales(phi, sw2=sw2)).tolist() == [np.inf] * 3


def test_a_moment_that_grows_for_ever_has_a_gradients_scale_alone(x64):
    scales = correlations.depth_scales("relu", sw2=3.0)
    assert np.isnan(scales.moment) and np.isnan(scales.correlation)
    assert_close(scales.gradient, 1 / np.log(1.5), 64)


def test_fixed_points_of_the_correlation(x64):
    q = mean_field.fixed_point(tanh, 2.0, 0.05)
    c = correlations.correlation_fixed_point(tanh, q, sw2=2.0, sb2=0.05)
    assert_close(correlations.correlation_map(tanh, c, q, sw2=2.0, sb2=0.05), c, 256)
    assert correlations.correlation_slope(tanh, c, q, sw2=2.0) < 1
    # An odd activation without biases keeps uncorrelated inputs uncorrelated.
    q = mean_field.fixed_point(tanh, 2.0)
    assert_close(correlations.correlation_fixed_point(tanh, q, sw2=2.0), 0.0, 64, scale=1)


def test_the_slope_is_the_derivative_and_chi1_at_one(x64):
    q = mean_field.fixed_point(tanh, 1.5, 0.05)
    along = jax.grad(lambda c: correlations.correlation_map(tanh, c, q, sw2=1.5, sb2=0.05))(0.6)
    assert_close(correlations.correlation_slope(tanh, 0.6, q, sw2=1.5), along, 4096)
    assert_close(correlations.correlation_slope(tanh, 1.0, q, sw2=1.5), mean_field.gradient_factor(tanh, q, 1.5), 256)


def test_a_correlation_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"correlation must be at least -1 and at most 1, got 1\.5"):
        correlations.correlation_map(tanh, 1.5, 1.0, sw2=1.0)
