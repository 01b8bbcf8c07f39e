"""Tails fitted to quantiles of known shape, smoothing against SciPy's quantiles, weights that have no tail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxcalc.functions.pareto import (
    fit_generalized_pareto,
    khat_threshold,
    pareto_khat,
    smooth_log_weights,
    tail_length,
)
from tests.tolerance import assert_close

pytestmark = pytest.mark.usefixtures("x64")
fit, smooth, khat = map(jax.jit, (fit_generalized_pareto, smooth_log_weights, pareto_khat))


def quantiles(shape, count=2000, scale=3.0):
    return scipy.stats.genpareto.ppf((np.arange(count) + 0.5) / count, shape, scale=scale)


@pytest.mark.parametrize("shape", [-0.5, 0.0, 0.3, 0.7, 1.2])
def test_the_shape_of_a_generalized_pareto_distribution_is_found(shape):
    k, scale = fit(jnp.asarray(quantiles(shape)))
    assert abs(float(k) - shape) < 0.03 and abs(float(scale) / 3.0 - 1) < 0.03


def test_the_tail_is_replaced_by_scipys_quantiles_of_the_fit():
    log_weights = np.random.default_rng(0).standard_t(3, 1000)
    smoothed, found = smooth(jnp.asarray(log_weights))
    count = tail_length(1000)
    ascending = np.sort(log_weights)
    scaled = np.exp(ascending - ascending[-1])
    cut = scaled[-count - 1]
    k, scale = map(float, fit(jnp.asarray(scaled[-count:] - cut)))
    k = (count * k + 5) / (count + 10)
    assert_close(found, k, 1e4)
    tail = np.minimum(cut + scipy.stats.genpareto.ppf((np.arange(count) + 0.5) / count, k, scale=scale), 1)
    weights = np.concatenate([scaled[:-count], tail])
    assert_close(np.sort(np.exp(smoothed)), weights / weights.sum(), 1e5)
    assert (np.argsort(smoothed)[:-count] == np.argsort(log_weights)[:-count]).all()


def test_moments_of_weights_are_counted():
    # w = u^-k has the moments below 1 / k, and excesses over any cut of that very shape.
    u = (np.arange(20_000) + 0.5) / 20_000
    for k in (0.2, 0.5, 1.0):
        found = float(khat(jnp.asarray(-k * np.log(u))))
        assert abs(found - k) < 0.05
    # The product with a function has the function's tail as well.
    assert float(khat(jnp.asarray(-0.3 * np.log(u)), jnp.asarray(u**-0.4))) == pytest.approx(0.7, abs=0.05)


def test_a_constant_and_a_shift_change_nothing():
    log_weights = jnp.asarray(np.random.default_rng(1).normal(size=500))
    first, k = smooth(log_weights)
    moved, same = smooth(log_weights + 700.0)
    assert_close(moved, np.asarray(first), 1e5)
    assert_close(same, float(k), 1e5)
    assert_close(jnp.sum(jnp.exp(first)), 1.0, 100)


def test_equal_weights_have_no_tail_and_missing_ones_weigh_nothing():
    smoothed, k = smooth(jnp.zeros(100))
    assert k == -np.inf
    assert_close(smoothed, np.full(100, -np.log(100)), 10)
    some = jnp.zeros(100).at[:50].set(-jnp.inf).at[3].set(jnp.nan)
    assert_close(jnp.exp(smooth(some)[0][50:]), np.full(50, 0.02), 10)
    assert smooth(jnp.full(100, -jnp.inf))[1] == np.inf


def test_single_precision_and_lanes():
    log_weights = np.random.default_rng(2).normal(size=(3, 400))
    wide = jax.vmap(smooth_log_weights)(jnp.asarray(log_weights))[1]
    narrow = jax.vmap(smooth_log_weights)(jnp.asarray(log_weights, jnp.float32))[1]
    assert narrow.dtype == jnp.float32 and wide.shape == (3,)
    np.testing.assert_allclose(narrow, wide, atol=1e-3)
    assert_close(wide[1], float(smooth(jnp.asarray(log_weights[1]))[1]), 1e4)


def test_what_is_asked_of_arguments():
    assert khat_threshold(100) == pytest.approx(0.5) and khat_threshold(10_000) == 0.7
    with pytest.raises(ValueError, match="25 numbers or more, got 20"):
        smooth_log_weights(jnp.zeros(20))
    with pytest.raises(ValueError, match=r"of shape \(S,\)"):
        pareto_khat(jnp.zeros((5, 20)))
    with pytest.raises(ValueError, match="num_samples must be at least 11"):
        khat_threshold(5)
