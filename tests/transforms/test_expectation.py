"""Expectations against closed forms of the normal, exponential, beta-binomial and discrete distributions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms.expectation import expectation, marginal, total_mass, variance
from jaxcalc.transforms.information import entropy, kl_divergence
from tests.tolerance import assert_close

INF = math.inf
normal = lambda x, mean=0.0, deviation=1.0: (
    -0.5 * ((x - mean) / deviation) ** 2 - jnp.log(deviation) - 0.5 * math.log(2 * math.pi)
)
exponential = lambda x, rate=1.0: jnp.log(rate) - rate * x
log_mass = lambda table: lambda i: jnp.log(jnp.asarray(table))[i.astype(int)]


def test_cosine_of_a_normal(x64):
    """E[cos X] = exp(-1/2)."""
    assert_close(expectation(jnp.cos, normal)(), math.exp(-0.5), 64)


def test_moments_and_their_derivatives(x64):
    run = lambda mean, deviation: expectation(lambda x: jnp.stack([x, x**2]), normal)(mean, deviation)
    value, slope = jax.jit(lambda m, d: (run(m, d), jax.jacrev(run, (0, 1))(m, d)))(0.5, 2.0)
    # Here and below: the accuracy that adaptive integration was asked for, not rounding.
    np.testing.assert_allclose(value, [0.5, 0.25 + 4], rtol=1e-10)
    np.testing.assert_allclose(slope, [[1, 2 * 0.5], [0, 2 * 2.0]], rtol=1e-7, atol=1e-7)


def test_score_function_identity(x64):
    """d/dm E[f(X)] = E[f(X) d/dm log p(X, m)]: what policy gradients sample."""
    f = lambda x: jnp.tanh(x)
    rule = {"support": (-12, 12), "method": "trapezoid"}
    direct = jax.grad(lambda m: expectation(f, normal, **rule)(m))(0.3)
    score = jax.grad(normal, 1)
    sampled = expectation(lambda x: f(x) * score(x, 0.3), normal, **rule)(0.3)
    assert_close(direct, sampled, 16)


def test_total_mass(x64):
    np.testing.assert_allclose(total_mass(normal)(1.0, 2.0), 1, rtol=1e-8)
    np.testing.assert_allclose(total_mass(exponential, support=(0, INF))(3.0), 1, rtol=1e-8)
    assert_close(total_mass(normal, support=(-1, 1))(), 0.6826894921370859, 64)


def test_bayes_evidence(x64):
    """INT binom(20, 7) t^7 (1 - t)^13 dt = 1 / 21."""
    likelihood = lambda t: math.log(math.comb(20, 7)) + 7 * jnp.log(t) + 13 * jnp.log1p(-t)
    evidence = total_mass(likelihood, support=(0, 1), method="gauss-legendre")()
    assert_close(evidence, 1 / 21, 64)


def test_gradient_of_log_partition_function_is_softmax(x64):
    logits = jnp.asarray([0.3, -1.0, 2.0, 0.5])
    mass = total_mass(lambda i, logits: logits[i.astype(int)], support=np.arange(4.0), method="sum")
    assert_close(jax.grad(lambda z: jnp.log(mass(z)))(logits), jax.nn.softmax(logits), 16)


def test_variance(x64):
    np.testing.assert_allclose(jax.jit(variance(lambda x: x, normal))(3.0, 0.5), 0.25, rtol=1e-9)
    # About the mean: E[f^2] - E[f]^2 would lose all digits here.
    shifted = variance(lambda x: 1e8 + x, normal, method="gauss-legendre", num_points=128)()
    np.testing.assert_allclose(shifted, 1, rtol=1e-6)


def test_fair_die(x64):
    die = {"support": np.arange(1.0, 7), "method": "sum"}
    uniform = lambda x: jnp.full_like(x, -math.log(6))
    assert_close(expectation(lambda x: x, uniform, **die)(), 3.5, 16)
    assert_close(variance(lambda x: x, uniform, **die)(), 35 / 12, 16)


def test_marginal_of_a_bivariate_normal(x64):
    rho = 0.6

    def joint(x, y):
        inside = (x**2 - 2 * rho * x * y + y**2) / (1 - rho**2)
        return -0.5 * inside - math.log(2 * math.pi) - 0.5 * math.log(1 - rho**2)

    x = jnp.linspace(-2, 2, 5)
    for over in (0, 1):
        got = jax.jit(jax.vmap(marginal(joint, over)))(x)
        np.testing.assert_allclose(got, jnp.exp(normal(x)), rtol=1e-9)


def test_entropy_and_divergence_of_normals(x64):
    rule = {"support": (-30, 30), "method": "gauss-legendre", "num_points": 128}
    np.testing.assert_allclose(entropy(normal, **rule)(1.0, 2.0), 0.5 * math.log(2 * math.pi * math.e * 4), rtol=1e-9)
    divergence = kl_divergence(normal, normal, **rule)
    got = divergence((0.0, 1.0), (1.0, 2.0))
    np.testing.assert_allclose(got, math.log(2) + (1 + 1) / (2 * 4) - 0.5, rtol=1e-9)


@pytest.mark.parametrize("differentiate", [jax.grad, jax.jacfwd])
def test_divergence_has_a_slope(x64, differentiate):
    """The choice in a density times its logarithm computes value and slope in one nested jit, which must come apart."""
    divergence = kl_divergence(normal, normal, support=(-30, 30), method="gauss-legendre", num_points=128)
    slope = differentiate(lambda m: divergence((m, 1.0), (0.0, 1.0)))
    np.testing.assert_allclose(slope(0.7), 0.7, rtol=1e-7)


def test_divergence_of_tables(x64):
    """0.0108 nats, 0.0105 the other way round; never negative; infinite where q misses an atom of p."""
    p, q = [0.4, 0.3, 0.3], [0.33, 0.33, 0.34]
    atoms = {"support": np.arange(3.0), "method": "sum"}
    there = kl_divergence(log_mass(p), log_mass(q), **atoms)()
    back = kl_divergence(log_mass(q), log_mass(p), **atoms)()
    exact = lambda p, q: sum(a * math.log(a / b) for a, b in zip(p, q))
    assert_close([there, back], [exact(p, q), exact(q, p)], 256)
    assert [f"{float(each):.4f}" for each in (there, back)] == ["0.0108", "0.0105"]
    drawn = np.random.default_rng(0).dirichlet(np.ones(3), (200, 2))
    run = kl_divergence(lambda i, p: jnp.log(p)[i.astype(int)], lambda i, q: jnp.log(q)[i.astype(int)], **atoms)
    assert (jax.jit(jax.vmap(lambda p, q: run((p,), (q,))))(drawn[:, 0], drawn[:, 1]) > 0).all()
    assert kl_divergence(log_mass(p), log_mass([0.5, 0.5, 0.0]), **atoms)() == INF
    got = kl_divergence(log_mass([0.5, 0.5, 0.0]), log_mass(p), **atoms)()
    assert_close(got, exact([0.5, 0.5], p), 16)


def test_two_variables(x64):
    box = (np.zeros(2), np.full(2, INF))
    pair = lambda x, rate: exponential(x, rate).sum()
    run = jax.jit(expectation(lambda x: x[0] * x[1], pair, support=box, method="gauss-legendre", num_points=48))
    np.testing.assert_allclose(run(jnp.asarray([2.0, 0.5])), 1, rtol=1e-6)


def test_densities_that_are_none(x64):
    double = lambda x: normal(x) + math.log(2)
    with pytest.raises(ValueError, match=r"expectation: log_density must integrate to 1 .* got (2\.0|1\.9999)"):
        expectation(jnp.cos, double)()
    with pytest.raises(ValueError, match="kl_divergence: log_q"):
        kl_divergence(normal, double, support=(-9, 9), method="trapezoid")()
    # Mass that the nodes do not see is missing, not ignored.
    with pytest.raises(ValueError, match="brackets where the mass is"):
        expectation(jnp.cos, normal)(1e4, 1e-3)
    # Nobody can be told under jit.
    assert jnp.isnan(jax.jit(expectation(jnp.cos, double))())


def test_single_precision():
    value = jax.jit(expectation(lambda x: x**2, normal))(0.0, 1.5)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 2.25, rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expectation(jnp.cos, normal, support=3.0), "pair"),
        (lambda: expectation(jnp.cos, normal, support=(0.0, np.ones(2))), "two scalars"),
        (lambda: expectation(jnp.cos, normal, support=np.zeros((0,)), method="sum"), "atoms"),
        (lambda: expectation(jnp.cos, normal, method="boole"), "method must be one of"),
        (lambda: marginal(normal, 2)(1.0), "0 to 1"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_that_a_heavy_tail_does_not_have(x64, dtype):
    cauchy = lambda x, c: -jnp.log1p((x - c) ** 2) - math.log(math.pi)
    moments = lambda x: jnp.stack([x, jnp.abs(x), x * x, x**4])
    assert not np.isfinite(expectation(moments, cauchy)(dtype(0))).any()
    assert not np.isfinite(variance(lambda x: x, cauchy)(dtype(0)))
