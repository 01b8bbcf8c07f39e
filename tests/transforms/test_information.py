"""Cross-entropy and divergences beside closed forms; Laplace's approximation, of normal densities and of others."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.distributions import categorical, normal, uniform
from jaxcalc.transforms.information import cross_entropy, entropy, jensen_shannon_divergence, kl_divergence
from jaxcalc.transforms.laplace_approximation import laplace_approximation
from tests.tolerance import assert_close

log_normal = lambda x, mean, std: normal(mean, std).log_density(x)
log_table = lambda i, p: categorical(p).log_density(i)
LINE = {"support": (-16.0, 16.0), "method": "gauss-legendre", "num_points": 160}
ATOMS = {"support": np.arange(3.0), "method": "sum"}


def test_cross_entropy_of_normals(x64):
    """log(s) + log(2 pi)/2 + (s_p^2 + d^2)/(2 s^2), and its slope by q's mean."""
    crossed = jax.jit(cross_entropy(log_normal, log_normal, **LINE))
    p, q = (0.5, 1.0), (-0.5, 1.5)
    exact = math.log(1.5) + 0.5 * math.log(2 * math.pi) + (1 + 1) / (2 * 1.5**2)
    np.testing.assert_allclose(crossed(p, q), exact, rtol=1e-10)
    slope = jax.grad(lambda mean: crossed(p, (mean, 1.5)))(-0.5)
    np.testing.assert_allclose(slope, -1 / 1.5**2, rtol=1e-9)


def test_tables_that_share_nothing(x64):
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.0, 0.0, 1.0])
    mixed = jensen_shannon_divergence(log_table, log_table, **ATOMS)
    assert_close(mixed((p,), (q,)), math.log(2), 8)
    assert mixed((p,), (p,)) == 0
    assert kl_divergence(log_table, log_table, **ATOMS)((p,), (q,)) == jnp.inf
    assert cross_entropy(log_table, log_table, **ATOMS)((p,), (q,)) == jnp.inf
    drawn = np.random.default_rng(0).dirichlet(np.ones(3), (2, 100))
    there = jax.vmap(lambda p, q: mixed((p,), (q,)))(*drawn)
    back = jax.vmap(lambda p, q: mixed((q,), (p,)))(*drawn)
    np.testing.assert_allclose(there, back, rtol=1e-12)
    assert (there > 0).all() and (there < math.log(2)).all()
    centre = (drawn[0] + drawn[1]) / 2
    halves = [(row * np.log(row / centre)).sum(1) / 2 for row in drawn]
    np.testing.assert_allclose(there, halves[0] + halves[1], rtol=1e-9)


def test_densities_that_share_nothing(x64):
    """Uniform on [0, 2] from uniform on [0, 1]: infinite one way, log 2 the other; apart, Jensen-Shannon is log 2."""
    flat = lambda x, low, high: uniform(low, high).log_density(x)
    rule = {"method": "trapezoid", "num_points": 4096}
    wide, narrow = (0.0, 2.0), (0.0, 1.0)
    assert kl_divergence(flat, flat, support=wide, **rule)(wide, narrow) == jnp.inf
    np.testing.assert_allclose(kl_divergence(flat, flat, support=narrow, **rule)(narrow, wide), math.log(2), rtol=1e-12)


def test_probabilities_that_are_none():
    with pytest.raises(ValueError, match="categorical: probabilities must sum to 1"):
        entropy(log_table, **ATOMS)(jnp.array([0.5, 0.6, 0.1]))
    double = lambda i, p: jnp.log(p)[i.astype(int)]
    with pytest.raises(ValueError, match="entropy: log_density must integrate to 1"):
        entropy(double, **ATOMS)(jnp.array([0.5, 0.6, 0.1]))
    with pytest.raises(ValueError, match="cross_entropy: log_density must integrate to 1 over the support, got nan"):
        cross_entropy(lambda i, p: jnp.nan * i, double, **ATOMS)((1.0,), (jnp.array([0.5, 0.4, 0.1]),))


def test_laplace_of_a_normal_is_exact(x64):
    mean, matrix = jnp.array([1.0, -2.0]), jnp.array([[2.0, 0.5], [0.5, 1.0]])
    log_density = lambda x, scale: 3.0 - 0.5 * (x - mean) @ matrix @ (x - mean) / scale
    near = jax.jit(laplace_approximation(log_density))(mean, 2.0)
    exact = 3.0 + math.log(2 * math.pi) - 0.5 * math.log(np.linalg.det(matrix / 2))
    assert_close(near.log_mass, exact, 16)
    np.testing.assert_allclose(near.distribution.variance(), np.linalg.inv(matrix / 2), rtol=1e-12)
    np.testing.assert_allclose(near.distribution.mean(), mean)


def test_laplace_of_a_factorial_is_stirlings(x64):
    """INT t^n e^-t dt at the mode n: sqrt(2 pi n) (n/e)^n, off by 1/(12 n)."""
    n = 50.0
    near = laplace_approximation(lambda t: jnp.sum(n * jnp.log(t) - t))(jnp.array([n]))
    np.testing.assert_allclose(math.lgamma(n + 1) - near.log_mass, 1 / (12 * n), rtol=1e-3)


def test_laplace_where_there_is_no_mode(x64):
    assert jnp.isnan(laplace_approximation(lambda x: jnp.sum(x**2))(jnp.zeros(2)).log_mass)
    with pytest.raises(ValueError, match=r"mode must have shape \(d,\)"):
        laplace_approximation(lambda x: -(x**2))(0.0)
