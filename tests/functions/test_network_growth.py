"""Growth behind skips and normalisation, spectra of Jacobians, finite width and recurrences against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import (
    batch_norm_growth,
    finite_width,
    gates,
    jacobian_spectra,
    mean_field,
    residual_growth,
)
from jaxcalc.functions.activations import linear, relu, tanh
from tests.tolerance import assert_close

# -- skips ---------------------------------------------------------------------------------------------------------


def test_two_matrix_blocks_of_relu_have_closed_forms(x64):
    grown = residual_growth.two_matrix_signals(relu, 0.7, sw2=1.6, sv2=0.5, num_layers=6)
    assert_close(grown.factor, 1 + 0.5 * 1.6 / 2, 64)
    assert_close(grown.moment, 0.7 * 1.4 ** np.arange(1, 7), 256)


def test_deep_tanh_skips_grow_with_the_root_of_the_depth(x64):
    # Oracle: E tanh'^2 -> (4/3) / sqrt(2 pi q), with the next orders' logarithm of the depth taken out.
    logs = np.cumsum(np.log(residual_growth.two_matrix_signals(tanh, 1.0, sw2=1.0, num_layers=10_000).factor))
    between = logs[9999] - logs[2499]
    assert (between - (8 / (6 * np.pi) - 8 / (36 * np.pi) * 2) * np.log(4)) / 50 == pytest.approx(1.0638, abs=2e-3)
    assert logs[9999] / 100 < logs[2499] / 50 < 1.09


def test_euler_carries_the_gradient_along_the_signal(x64):
    parts = residual_growth.aligned_gradient(relu, 1.0, sw2=2.0, num_layers=128, width=128)
    assert parts.independent.shape == parts.along_signal.shape == (129,)
    assert_close(parts.independent[0], 2.0**128, 4096)
    assert np.sqrt(parts.along_signal[0] / parts.independent[0]) > 1e9
    # Without a skip the signal grows as the gradient does, and nothing is gained.
    plain = residual_growth.aligned_gradient(relu, 1.0, sw2=2.0, num_layers=8, width=50, skip=0.0)
    assert_close(plain.along_signal, 1 / 50, 512)
    with pytest.raises(ValueError, match="homogeneous"):
        residual_growth.aligned_gradient(tanh, 1.0, sw2=1.0, num_layers=2, width=8)


def test_normalisation_takes_the_weights_size_out(x64):
    # Closed forms of ReLU: a layer passes on mean square 1/2 and its gradients whole; behind a skip k / 2 adds up.
    choices = {"num_layers": 5, "normalised": True}
    alone = mean_field.signals(relu, 0.7, sw2=9.0, **choices)
    assert_close(alone.factor[1:], 1.0, 64)
    assert_close(alone.factor[0], 0.5 / 0.7, 64)
    assert_close(alone.moment, 0.5, 64)
    behind = residual_growth.two_matrix_signals(relu, 1.0, sw2=9.0, **choices)
    assert_close(behind.factor, 1 + 0.5 / (1 + 0.5 * np.arange(5)), 64)
    assert_close(residual_growth.two_matrix_signals(relu, 1.0, sw2=0.1, **choices).moment, behind.moment, 64)


# -- batch normalisation -------------------------------------------------------------------------------------------


def test_batch_norm_explodes(x64):
    assert_close(batch_norm_growth.batch_norm_factor(relu), np.pi / (np.pi - 1), 64)
    assert np.sqrt(batch_norm_growth.batch_norm_factor(relu)) == pytest.approx(1.21117, abs=6e-6)
    assert_close(batch_norm_growth.batch_norm_factor(linear), 1.0, 64)
    assert_close(batch_norm_growth.batch_norm_factor(linear, 128), 126 / 125, 4)
    assert batch_norm_growth.batch_norm_factor(relu, 100_000) == pytest.approx(np.pi / (np.pi - 1), rel=1e-4)


@pytest.mark.parametrize("batch", [4, 16, 128])
def test_sampled_batches_agree_with_closed_forms(x64, batch):
    # Oracle: orthant probabilities and arc-cosine kernels of vectors that sum to 0.
    sampled = batch_norm_growth.batch_norm_factor_sampled(relu, batch, jax.random.key(0), num_samples=20_000)
    assert abs(sampled.mean - batch_norm_growth.batch_norm_factor(relu, batch)) < 4 * sampled.standard_error
    exact = batch_norm_growth.batch_norm_factor_sampled(linear, batch, jax.random.key(0), num_samples=4)
    assert_close(exact.mean, (batch - 2) / (batch - 3), 256)


def test_batch_norm_behind_skips_grows_as_a_power_of_the_depth(x64):
    # Closed form of linear layers: variances 1, 2, 3, ..., so the product of 1 + 1/k telescopes.
    linear_factors = batch_norm_growth.batch_norm_residual_factors(linear, 1.0, num_layers=9)
    assert_close(jnp.prod(linear_factors), 10.0, 256)
    logs = np.cumsum(np.log(batch_norm_growth.batch_norm_residual_factors(relu, 1.0, num_layers=40_000)))
    assert (logs[-1] - logs[9999]) / np.log(4) == pytest.approx(np.pi / (np.pi - 1), rel=5e-4)
    scaled = batch_norm_growth.batch_norm_residual_factors(relu, 1.0, branch=1e-2, num_layers=10_000)
    last = 1.5 - 1 / (2 * np.pi)  # the variance at the end; the product tends to it to the power pi / (pi - 1)
    assert float(jnp.prod(scaled)) == pytest.approx(last ** (np.pi / (np.pi - 1)), rel=1e-3)


def test_small_batches_and_other_activations_are_refused():
    with pytest.raises(ValueError, match="batch_norm_factor: batch must be at least 4, got 3"):
        batch_norm_growth.batch_norm_factor(relu, 3)
    with pytest.raises(ValueError, match="batch_norm_factor_sampled"):
        batch_norm_growth.batch_norm_factor(tanh, 16)


# -- singular values -----------------------------------------------------------------------------------------------


def test_linear_products(x64):
    assert_close(jacobian_spectra.gaussian_product_norm(1), 2.0, 8)
    np.testing.assert_allclose(
        jacobian_spectra.gaussian_product_norm(np.array([1, 4, 16])), [2.0, 3.494, 6.697], atol=6e-4
    )
    for layers in (1, 4, 16):
        edge = jacobian_spectra.largest_singular_value(linear, 1.0, sw2=1.0, num_layers=layers)
        assert_close(edge, jacobian_spectra.gaussian_product_norm(layers), 4096)
    # One layer of ReLU halves the rows: Marchenko and Pastur's edge.
    assert_close(jacobian_spectra.largest_singular_value(relu, 1.0, sw2=2.0), 1 + np.sqrt(2), 4096)


def test_dynamical_isometry(x64):
    variance = lambda phi, weights: jacobian_spectra.isometry_variance(phi, 0.8, weights=weights, num_layers=8)
    assert_close(variance(relu, "gaussian"), 16.0, 256)
    assert_close(variance(relu, "orthogonal"), 8.0, 256)
    assert_close(variance(linear, "gaussian"), 8.0, 256)
    assert_close(variance(linear, "orthogonal"), 0.0, 1024, scale=1)
    assert 0 < variance(tanh, "orthogonal") < variance(tanh, "gaussian") - 7.99
    with pytest.raises(ValueError, match="isometry_variance: weights must be"):
        variance(relu, "uniform")


def test_the_edge_is_the_largest_singular_value_of_a_wide_network():
    rng, width, layers = np.random.default_rng(0), 300, 4
    h, jacobian = rng.normal(size=width), np.eye(width)
    for _ in range(layers):
        weights = rng.normal(size=(width, width)) * np.sqrt(2 / width)
        u = weights @ h
        h, jacobian = np.maximum(u, 0), ((u > 0)[:, None] * weights) @ jacobian
    edge = jacobian_spectra.largest_singular_value(relu, 1.0, sw2=2.0, num_layers=layers)
    # Finite width: a few per cent, mostly the size of the signal itself.
    assert np.linalg.norm(jacobian, 2) == pytest.approx(float(edge), rel=0.15)


# -- finite width --------------------------------------------------------------------------------------------------


def test_moments_of_the_norm(x64):
    assert_close(finite_width.norm_kurtosis(relu, 0.3), 5.0, 256)
    assert_close(finite_width.norm_kurtosis(linear), 2.0, 256)
    assert finite_width.norm_second_moment(relu, width=64, num_layers=8) == pytest.approx(1.825, abs=6e-4)
    assert_close(finite_width.norm_second_moment(linear, width=64, num_layers=8), (1 + 2 / 64) ** 8, 256)
    band = finite_width.log_norm_band(relu, width=1000, num_layers=50)
    assert band.variance == pytest.approx(5 * 50 / 1000, rel=5e-3)
    assert_close(jnp.exp(band.mean + 0.5 * band.variance), 1.0, 64)
    assert band.low < 1 < band.high


def test_a_negative_number_of_layers_is_refused():
    calls = (
        lambda layers: finite_width.norm_second_moment(relu, width=64, num_layers=layers),
        lambda layers: finite_width.log_norm_band(relu, width=64, num_layers=layers),
        lambda layers: jacobian_spectra.isometry_variance(relu, 1.0, num_layers=layers),
        lambda layers: jacobian_spectra.mean_square_singular_value(relu, 1.0, sw2=1.0, num_layers=layers),
        lambda layers: jacobian_spectra.largest_singular_value(relu, 1.0, sw2=1.0, num_layers=layers),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"num_layers must be at least 0, got -3"):
            call(-3)


def test_a_width_below_one_and_bounded_activations_are_refused():
    with pytest.raises(ValueError, match="log_norm_band: width must be at least 1, got 0"):
        finite_width.log_norm_band(relu, width=0, num_layers=3)
    with pytest.raises(ValueError, match="homogeneous"):
        finite_width.norm_second_moment(tanh, width=8, num_layers=3)


# -- recurrences ---------------------------------------------------------------------------------------------------


def test_gates_without_variance_are_powers(x64):
    path = gates.gate_path(1.0, 0.0, 100)
    kept = 1 / (1 + np.exp(-1.0))
    assert_close(path.log_mean, 100 * np.log(kept), 256)
    assert_close(path.mean_square, kept**200, 4e4)
    assert_close(path.log_variance, 0.0, 1e4, scale=1)


def test_units_that_differ_for_ever_keep_more():
    anew, constant = (gates.gate_path(1.0, 0.3, 50, constant_share=share) for share in (0.0, 1.0))
    assert constant.mean_square > 1e3 * anew.mean_square
    assert constant.log_mean == pytest.approx(float(anew.log_mean), rel=1e-5)


def test_open_gates_carry_the_gradient(x64):
    cells = (
        lambda bias, **start: gates.gru_theory(**start, update_bias=bias),
        lambda bias, **start: gates.lstm_theory(**start, forget_bias=bias),
    )
    for cell in cells:
        largest = lambda bias, sw2, sx2, cell=cell: np.abs(
            np.linalg.eigvals(cell(bias, sw2=sw2, sx2=sx2).transfer)
        ).max()
        factors = [largest(bias, 1.0, 1.0) for bias in (0.0, 1.0, 5.0)]
        assert factors == sorted(factors) and 0.95 < factors[-1] < 1
        # Without recurrent weights the gate alone is left, sigmoid(bias)^2.
        assert_close(largest(0.7, 0.0, 0.0), 1 / (1 + np.exp(-0.7)) ** 2, 256)


def test_a_plain_cell_settles_however_slowly_or_grows_for_ever(x64):
    slow = gates.rnn_theory("relu", sw2=1.99, sx2=1.0)  # q = 1 + 1.99 q / 2, and h has half of it
    assert_close(slow.moments, 100.0, 1e5)
    assert_close(slow.transfer, 0.995, 64)
    grown = gates.rnn_theory("relu", sw2=3.0, sx2=1.0)
    assert np.isinf(grown.moments).all()
    assert_close(grown.transfer, 1.5, 64)
    still = gates.rnn_theory(tanh, sw2=2.0, sx2=0.0)
    assert still.moments == pytest.approx(0.0, abs=1e-200)
    assert_close(still.transfer, 2.0, 64)


@pytest.mark.parametrize(("cell", "bias"), [(gates.lstm_theory, "forget_bias"), (gates.gru_theory, "update_bias")])
def test_gates_that_keep_lose_no_digits(cell, bias):
    # Oracle: in double precision, of 1 - E[f^2] = E[t (2 - t)] with t = 1 - f; at the bias 30 it is 2 E[t].
    with jax.enable_x64(True):
        precise = cell(sw2=1.0, sx2=1.0, **{bias: 15.0}).moments
        further = [cell(sw2=0.0, sx2=1.0, **{bias: b}).moments[-1] for b in (30.0, 60.0)]
    np.testing.assert_allclose(cell(sw2=1.0, sx2=1.0, **{bias: 15.0}).moments, precise, rtol=1e-4)
    ratio = further[1] / further[0]
    assert ratio == pytest.approx(np.exp(30.0) if cell is gates.lstm_theory else np.exp(-30.0), rel=1e-9)


def test_a_cells_variances_are_not_negative():
    for cell in (gates.lstm_theory, gates.gru_theory, lambda **start: gates.rnn_theory(tanh, **start)):
        with pytest.raises(ValueError, match=r"sw2 must be finite and at least 0, got -1"):
            cell(sw2=-1.0, sx2=1.0)


def test_powers_of_a_random_matrix(x64):
    norms = jacobian_spectra.power_norm(0.9, jnp.array([0, 1, 9]))
    assert_close(norms[:2], np.array([1.0, 1.8]), 64)
    assert_close(norms[2], 0.9**9 * jacobian_spectra.gaussian_product_norm(9), 64)
    with pytest.raises(ValueError, match="power_norm: radius must be at least 0, got -1"):
        jacobian_spectra.power_norm(-1, 2)
