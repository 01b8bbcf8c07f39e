"""Traces of Jacobians: closed forms, unbiased estimates, their standard errors and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc import divergence
from tests.tolerance import assert_close

SIZE = 12
MATRIX = np.random.default_rng(0).normal(size=(SIZE, SIZE))  # of no symmetry at all


def bent(x, weights):
    """A field with a full Jacobian, whose trace is ``sum_i w_ii (1 - tanh^2)``."""
    return jnp.tanh(weights @ x)


def bent_trace(x, weights):
    return jnp.sum(jnp.diagonal(weights) * (1 - jnp.tanh(weights @ x) ** 2))


def test_the_exact_trace_of_full_sparse_and_structured_fields(x64):
    x = jnp.linspace(-1.0, 1.0, SIZE)
    assert_close(jax.jit(divergence(bent))(x, MATRIX), bent_trace(x, MATRIX), 64)
    assert_close(divergence(lambda y: y**3)(x), 3 * jnp.sum(x**2), 16)
    chain = lambda y: y**2 + jnp.roll(y, 1)  # coloured columns: three products
    assert_close(divergence(chain)(x), 2 * jnp.sum(x), 16, scale=SIZE)
    tree = {"a": jnp.array([[1.0, 2.0]]), "b": jnp.array(3.0)}
    assert_close(divergence(lambda t: {"a": t["a"] ** 2 * t["b"], "b": t["a"].sum() * t["b"]})(tree), 6.0 * 3 + 3, 16)
    assert_close(divergence(lambda y: y)(jnp.zeros((1,))), 1.0, 1)


@pytest.mark.parametrize("probes", ["rademacher", "normal"])
@pytest.mark.parametrize(("method", "num_probes"), [("hutchinson", 9), ("hutch++", 9)])
def test_estimates_are_unbiased_and_so_are_their_derivatives(x64, method, num_probes, probes):
    x, keys = jnp.linspace(-1.0, 1.0, SIZE), jax.random.split(jax.random.key(1), 4096)
    estimate = divergence(bent, method=method, num_probes=num_probes, probes=probes)

    @jax.jit
    @jax.vmap
    def draws(key):
        told, slope = jax.value_and_grad(lambda w: estimate(x, w, key=key).value)(MATRIX)
        return told, slope[0, 0], slope[0, 1], estimate(x, MATRIX, key=key).standard_error

    value, *slopes, error = map(np.asarray, draws(keys))
    exact, slope = jax.value_and_grad(lambda w: bent_trace(x, w))(MATRIX)
    for drawn, wanted in ((value, exact), (slopes[0], slope[0, 0]), (slopes[1], slope[0, 1])):
        assert abs(drawn.mean() - wanted) < 3.5 * drawn.std() / 64
    # The reported variance is unbiased where the samples are independent.
    assert np.mean(error**2) == pytest.approx(value.var(), rel=0.15)


def test_hutchinsons_variance_by_signs_is_that_of_the_symmetric_part(x64):
    estimate = divergence(lambda y: MATRIX @ y, method="hutchinson", num_probes=1)
    keys = jax.random.split(jax.random.key(2), 8192)
    values = jax.jit(jax.vmap(lambda key: estimate(jnp.zeros(SIZE), key=key).value))(keys)
    symmetric = (MATRIX + MATRIX.T) / 2
    wanted = 2 * (np.sum(symmetric**2) - np.sum(np.diagonal(symmetric) ** 2))
    assert np.var(values) == pytest.approx(wanted, rel=0.1)


def test_hutch_plus_plus_is_exact_where_its_basis_spans_the_range(x64):
    left, right = np.random.default_rng(3).normal(size=(2, SIZE, 2))
    low = lambda y: left @ jnp.sin(right.T @ y)
    x = jnp.linspace(-1.0, 1.0, SIZE)
    told = divergence(low, method="hutch++", num_probes=6)(x, key=jax.random.key(0))
    assert_close(told.value, divergence(low)(x), 256, scale=10)
    assert told.standard_error < 1e-13 and told.num_samples == 2
    # A third direction is arbitrary, and no derivative asks which it is.
    estimate = divergence(lambda y, s: low(s * y), method="hutch++", num_probes=9)
    slope = jax.jit(jax.grad(lambda s: estimate(x, s, key=jax.random.key(0)).value))(1.0)
    assert_close(slope, jax.grad(lambda s: divergence(lambda y: low(s * y))(x))(1.0), 1e4, scale=10)
    whole = divergence(bent, method="hutch++", num_probes=3 * SIZE + 5)(x, MATRIX, key=jax.random.key(0))
    assert_close(whole.value, bent_trace(x, MATRIX), 256, scale=10)


def test_single_precision_and_lanes():
    x = jnp.linspace(-1.0, 1.0, SIZE, dtype=jnp.float32)
    weights = jnp.asarray(MATRIX, jnp.float32)
    lanes = jax.vmap(divergence(bent), (0, None))(jnp.stack([x, 2 * x]), weights)
    assert_close(lanes, jnp.stack([bent_trace(x, weights), bent_trace(2 * x, weights)]), 64, scale=8, dtype=np.float32)
    told = divergence(bent, method="hutch++", num_probes=6)(x, weights, key=jax.random.key(0))
    assert told.value.dtype == told.standard_error.dtype == jnp.float32
    single = divergence(bent, method="hutchinson", num_probes=1)(x, weights, key=jax.random.key(0))
    assert np.isnan(single.standard_error)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"method": "hutchinson"}, "num_probes must be given"),
        ({"num_probes": 3}, "to no other"),
        ({"method": "hutch++", "num_probes": 2}, "at least 3"),
        ({"method": "girard", "num_probes": 3}, "'hutchinson'"),
        ({"method": "hutchinson", "num_probes": 3, "probes": "uniform"}, "'rademacher'"),
    ],
)
def test_wrong_choices_are_refused(choices, says):
    with pytest.raises(ValueError, match=says.replace("+", r"\+")):
        divergence(bent, **choices)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="key must be a random key"):
        divergence(jnp.sin, method="hutchinson", num_probes=2)(jnp.ones(3))
    with pytest.raises(ValueError, match="key must be None"):
        divergence(jnp.sin)(jnp.ones(3), key=jax.random.key(0))
    with pytest.raises(TypeError, match="shaped like x"):
        divergence(jnp.sum)(jnp.ones(3))
    with pytest.raises(TypeError, match="floating-point"):
        divergence(jnp.sin)(jnp.arange(3))
    with pytest.raises(TypeError, match="function"):
        divergence(3)
