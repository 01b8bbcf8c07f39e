"""Split R-hat and effective sizes of chains whose autocorrelation is known, of chains that disagree, of constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.mcmc_diagnostics import effective_sample_size, split_rhat
from tests.tolerance import assert_close

pytestmark = pytest.mark.usefixtures("x64")


def autoregressive(phi, chains=4, steps=20_000, seed=0):
    noise = np.random.default_rng(seed).normal(size=(chains, steps))
    draws = np.empty_like(noise)
    draws[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for t in range(1, steps):
        draws[:, t] = phi * draws[:, t - 1] + noise[:, t]
    return jnp.asarray(draws)


@pytest.mark.parametrize("phi", [-0.4, 0.0, 0.5, 0.9])
def test_the_effective_size_is_that_of_an_autoregression(phi):
    draws = autoregressive(phi)
    share = float(effective_sample_size(draws)) / draws.size
    # From seed to seed it varies by 7 % at 0.9, and by 2 % at 0.5.
    assert share == pytest.approx((1 - phi) / (1 + phi), rel=0.15)
    assert float(split_rhat(draws)) == pytest.approx(1.0, abs=0.01)


def test_chains_that_disagree_or_drift_are_told():
    draws = autoregressive(0.0, steps=1000)
    apart = draws + jnp.arange(4.0)[:, None]
    assert float(split_rhat(apart)) > 1.5 and float(effective_sample_size(apart)) < 20
    drifting = draws + jnp.linspace(-2, 2, 1000)
    assert float(split_rhat(drifting)) > 1.3 and float(effective_sample_size(drifting)) < 20


def test_rhat_is_the_formula():
    draws = np.random.default_rng(3).normal(size=(2, 10, 3))
    halves = np.concatenate([draws[:, :5], draws[:, 5:]])
    within, between = halves.var(1, ddof=1).mean(0), 5 * halves.mean(1).var(0, ddof=1)
    assert_close(split_rhat(jnp.asarray(draws)), np.sqrt((0.8 * within + between / 5) / within), 100)


def test_constants_are_no_number_and_shapes_are_kept():
    draws = jnp.zeros((2, 8, 3, 2)).at[..., 0].set(jax.random.normal(jax.random.key(0), (2, 8, 3), float))
    size = effective_sample_size(draws)
    assert size.shape == (3, 2) and np.isnan(size[:, 1]).all() and np.isfinite(size[:, 0]).all()
    with pytest.raises(ValueError, match="N of at least 4"):
        split_rhat(jnp.zeros((3, 3)))
