"""Sampling against closed forms: coverage of the standard errors, rates, SciPy's Sobol points."""

import gc
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxcalc.transforms.sampling import (
    _sobol_digits,
    _sobol_directions,
    importance_sampling,
    monte_carlo,
    quasi_monte_carlo,
    sample_mean,
)
from tests.tolerance import assert_close

KEY = jax.random.key(0)
bump = lambda x: jnp.exp(-(x**2).sum())
BUMP = math.erf(1) * math.sqrt(math.pi) / 2  # per dimension


def repeated(estimate, repeats, *rest, seed=0):
    """Independent estimates of one integral."""
    keys = jax.random.split(jax.random.key(seed), repeats)
    return jax.jit(jax.vmap(estimate, (0, *(None for _ in rest))))(keys, *rest)


CUBE = (np.zeros(3), np.ones(3))
ESTIMATORS = {
    "plain": (monte_carlo(bump, num_samples=500, chunk_size=200), CUBE),
    "antithetic": (monte_carlo(bump, num_samples=500, antithetic=True), CUBE),
    "sobol": (quasi_monte_carlo(bump, num_samples=64, chunk_size=16), CUBE),
    "importance": (
        importance_sampling(
            lambda x: jnp.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * BUMP**3,
            lambda key: jax.random.t(key, 5.0),
            lambda x: jax.scipy.stats.t.logpdf(x, 5.0),
            num_samples=300,
        ),
        (),
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_coverage(name):
    """95 % intervals hold the integral in 95 % of 1,000 repetitions, 4 binomial standard deviations (2.8 %) allowed."""
    estimate, rest = ESTIMATORS[name]
    found = repeated(estimate, 1000, *rest)
    width = scipy.stats.t.ppf(0.975, float(found.degrees_of_freedom[0])) * found.standard_error
    covered = np.mean(np.abs(found.value - BUMP**3) <= width)
    assert abs(covered - 0.95) < 0.028
    # Unbiased: the mean of all, within 4 of its own standard errors.
    assert abs(found.value.mean() - BUMP**3) < 4 * found.value.std() / math.sqrt(1000)
    # The standard error is the spread of the estimates, which 1,000 of them tell to 2 %.
    np.testing.assert_allclose(np.sqrt((found.standard_error**2).mean()), found.value.std(), rtol=0.1)


def rate(make, sizes, *rest):
    errors = [np.sqrt(((repeated(make(n), 200, *rest, seed=n).value - BUMP**2) ** 2).mean()) for n in sizes]
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


def test_rates(x64):
    square = np.zeros(2), np.ones(2)
    sizes = [64, 256, 1024]
    plain = rate(lambda n: monte_carlo(bump, num_samples=n), sizes, *square)
    np.testing.assert_allclose(plain, -0.5, atol=0.05)
    even = rate(lambda n: quasi_monte_carlo(bump, num_samples=n, num_replicates=2), sizes, *square)
    assert even < -0.9


def test_dimension_does_not_matter_at_fixed_variance():
    """The mean of uniforms, scaled to variance 1, in 1 and in 1,000 dimensions."""
    for d in (1, 1000):
        fun = lambda x, d=d: (x - 0.5).sum() * math.sqrt(12 / d)
        found = monte_carlo(fun, num_samples=1000, chunk_size=250)(KEY, jnp.zeros(d), jnp.ones(d))
        np.testing.assert_allclose(found.standard_error, 1 / math.sqrt(1000), rtol=0.1)


@pytest.mark.parametrize("chunk_size", [1, 7, 100, 1000])
def test_merging_is_exact(x64, chunk_size):
    """Mean and standard error by chunks are those of all samples together; a large mean does not cancel."""
    seen = lambda n: sample_mean(lambda key: 1e6 + jax.random.normal(key), num_samples=n, chunk_size=chunk_size)(KEY)
    found = seen(100)
    assert found.num_samples == 100 and found.degrees_of_freedom == 99
    counts = [min(chunk_size, 100)] * (100 // min(chunk_size, 100))
    whole, last = jax.random.split(KEY)
    keys = [(jax.random.fold_in(whole, i), count) for i, count in enumerate(counts)]
    if sum(counts) < 100:
        keys.append((last, 100 - sum(counts)))
    y = np.concatenate([1e6 + jax.vmap(jax.random.normal)(jax.random.split(key, count)) for key, count in keys])
    assert_close(found.value, y.mean(), 16)
    # The mean is 1e6 standard deviations, which cost as many of the digits.
    np.testing.assert_allclose(found.standard_error, y.std(ddof=1) / 10, rtol=1e-8)


def test_bounded_memory():
    """A hundred million samples need no more memory than a chunk, in the gradient too."""

    low = jnp.zeros(4)

    def temporary(num_samples):
        run = monte_carlo(lambda x, c: jnp.sin(c * x.sum()), num_samples=num_samples)
        slope = jax.grad(lambda c: run(KEY, low, low + 1, c).value)
        memory = jax.jit(slope).lower(1.0).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    few, many = temporary(10**5), temporary(10**8)
    # The carry of each chunk is remembered, two numbers, and nothing of its samples.
    assert many < few + 10**8 / 2**14 * 64
    assert many < 2**23


def test_gradients(x64):
    fun = lambda x, c: jnp.sin(c * x)
    value = lambda low, high, c: monte_carlo(fun, num_samples=40_000)(KEY, low, high, c).value
    exact = lambda low, high, c: (jnp.cos(c * low) - jnp.cos(c * high)) / c
    got, wanted = (jax.grad(f, (0, 1, 2))(0.2, 1.5, 2.0) for f in (value, exact))
    np.testing.assert_allclose(got, wanted, atol=0.03)


def test_orientation_and_pytrees(x64):
    run = monte_carlo(lambda x: {"a": x, "b": jnp.ones(2)}, num_samples=1000)
    forward, back = run(KEY, 0.0, 2.0), run(KEY, 2.0, 0.0)
    assert_close(forward.value["b"], [2, 2], 16)
    assert_close(back.value["b"], [-2, -2], 16)
    assert_close(forward.standard_error["b"], 0, 16, scale=1)
    assert abs(forward.value["a"] - 2) < 5 * forward.standard_error["a"]


@pytest.mark.parametrize("dimensions", [1, 5])
def test_sobol_points_are_scipys(dimensions):
    points = scipy.stats.qmc.Sobol(dimensions, scramble=False, bits=30).random(128)
    digits = _sobol_digits(jnp.arange(128, dtype=jnp.uint32), jnp.asarray(_sobol_directions(dimensions, 7)))
    np.testing.assert_array_equal(np.asarray(digits) / 2.0**30, points)


def test_sobol_replicates_are_balanced(x64):
    """Each replicate of 2^k points has one in each of 2^k equal intervals of each coordinate."""
    cells = lambda x: jax.nn.one_hot(jnp.floor(16 * x).astype(int), 16)
    found = quasi_monte_carlo(cells, num_samples=16, num_replicates=3)(KEY, jnp.zeros(2), jnp.ones(2))
    assert_close(found.value, 1 / 16, 16)
    assert_close(found.standard_error, 0, 4, scale=1)
    assert found.num_samples == 48


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: monte_carlo(bump, num_samples=1), "at least 2"),
        (lambda: monte_carlo(bump, num_samples=10, chunk_size=0), "chunk_size"),
        (lambda: monte_carlo(bump, num_samples=9, antithetic=True), "even"),
        (lambda: monte_carlo(bump, num_samples=10)(KEY, jnp.zeros(2), jnp.ones(3)), "one shape"),
        (lambda: monte_carlo(bump, num_samples=10)(KEY, jnp.zeros(0), jnp.zeros(0)), "one shape"),
        (lambda: monte_carlo(bump, num_samples=10)(KEY, 0.0, math.inf), "finite"),
        (lambda: quasi_monte_carlo(bump, num_samples=100), "power of two"),
        (lambda: quasi_monte_carlo(bump, num_samples=64, num_replicates=1), "at least 2"),
        (lambda: importance_sampling(bump, bump, bump, num_samples=0), "at least 2"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_half_precision_keeps_its_error_and_complex_is_refused():
    found = monte_carlo(lambda x: x, num_samples=100_000)(jax.random.key(0), jnp.float16(0), jnp.float16(1))
    assert float(found.standard_error) == pytest.approx(12**-0.5 / 100_000**0.5, rel=0.1)
    with pytest.raises(TypeError, match="the integrand must be real, got complex64"):
        monte_carlo(lambda x: x * 1j, num_samples=10)(jax.random.key(0), 0.0, 1.0)


@pytest.mark.parametrize("estimator", [monte_carlo, quasi_monte_carlo])
def test_programs_go_with_their_functions(estimator):
    def run(rate):
        return estimator(lambda x: jnp.sin(rate * x[0]), num_samples=64)(jax.random.key(0), jnp.zeros(2), jnp.ones(2))

    def programs():
        gc.collect()
        return len(jax.devices()[0].client.live_executables())

    run(jnp.ones(()))
    before = programs()
    for rate in (2.0, 3.0, 4.0):
        run(jnp.array(rate))
    assert programs() == before
