"""Measurements against the dense answer: singular values, gradients by state, clipping, moments, dead units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.models import blocks, dense, measurements, mlp
from jaxcalc.models.blocks import convolutional_network, transformer
from jaxcalc.models.dense import deep_network
from tests.tolerance import assert_close


@pytest.mark.parametrize("widths", [(12, 20, 7), (7, 20, 12), (9, 20, 9), (1, 5, 4), (5, 8, 1)])
def test_bidiagonalisation_agrees_with_the_dense_decomposition(x64, widths):
    model = mlp(widths)
    params = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (widths[0],))
    fun = lambda x: model.apply(params, x)
    expected = np.linalg.svd(jax.jacobian(fun)(x), compute_uv=False)
    assert_close(measurements.singular_values(fun, x), expected, 64, scale=expected[0])
    by_products = jax.jit(lambda x: measurements.singular_values(fun, x, method="lanczos"))(x)
    assert_close(by_products, expected, 256, scale=expected[0])


def test_the_largest_come_first(x64):
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(300, 300)))[0] * 0.9 ** np.arange(300)
    found = measurements.singular_values(lambda x: matrix @ x, jnp.zeros(300), 3, method="lanczos", num_steps=40)
    np.testing.assert_allclose(found, 0.9 ** np.arange(3), rtol=1e-8)


@pytest.mark.parametrize("rank", [0, 2, 8])
def test_repeated_and_missing_values_are_found(x64, rank):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    matrix = basis[:, :rank] @ basis[:rank]
    found = measurements.singular_values(lambda x: matrix @ x, jnp.zeros(8), method="lanczos")
    assert_close(found, np.arange(8) < rank, 256, scale=1.0)


def test_trees_are_flattened(x64):
    fun = lambda tree: {"out": tree["a"] * tree["b"]}
    x = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([3.0, 4.0])}
    assert_close(measurements.singular_values(fun, x), [20**0.5, 10**0.5], 16)


def test_clipping_keeps_the_direction(x64):
    gradient = {"a": jnp.array([3.0, -4.0]), "b": jnp.array([[12.0]])}
    clipped, before, after = measurements.clip_gradient(gradient, 1.0)
    assert_close(before, 13.0, 4)
    assert_close(after, 1.0, 4)
    for a, b in zip(*map(jax.tree.leaves, (clipped, gradient))):
        assert_close(a, b / 13, 4)
    untouched, _, after = measurements.clip_gradient(gradient, 20.0)
    assert_close(after, 13.0, 4)
    assert_close(untouched["a"], gradient["a"], 0)
    norms = jax.vmap(lambda most: measurements.clip_gradient(gradient, most).after)(jnp.array([0.5, 2.0]))
    assert_close(norms, [0.5, 2.0], 4)


def test_moments_correlations_and_dead_units(x64):
    states = jax.random.normal(jax.random.key(0), (3, 100, 200)) * jnp.array([1.0, 2.0, 0.0])[:, None, None]
    mean, square, kurtosis = measurements.activation_moments(states)
    np.testing.assert_allclose(square, [1, 4, 0], rtol=0.05)
    np.testing.assert_allclose(mean, 0, atol=0.05)
    np.testing.assert_allclose(kurtosis[:2], 3, rtol=0.05)
    assert np.isnan(kurtosis[2])
    cosine = measurements.correlations(states[:2, 0], 0.6 * states[:2, 0] + 0.8 * states[:2, 1])
    np.testing.assert_allclose(cosine, 0.6, atol=0.15)
    off = states[:2].at[:, :, :50].set(0.0)
    assert (measurements.dead_share(off) == 0.25).all()
    assert measurements.dead_units(off)[0, :50].all()


def test_norms_keep_their_digits_where_squares_leave_the_range_of_single_precision():
    sizes = 10.0 ** np.array([-30, -20, 0, 20, 30])
    gradients = {"a": np.tile([3.0, 0.0], (5, 2, 1)), "b": np.tile([0.0, 4.0], (5, 2, 1))}
    gradients = jax.tree.map(lambda a: jnp.asarray(a * sizes[:, None, None], jnp.float32), gradients)
    np.testing.assert_allclose(measurements.state_norms(gradients), 5 * sizes, rtol=1e-6)
    # From 1 to 1e-20, and not the next one, to 1e-30, whose square is 0.
    assert measurements.blocking_layer(measurements.state_norms(gradients)[:3]) == 2
    faint = measurements.correlations(gradients["a"] + gradients["b"], gradients["a"])
    np.testing.assert_allclose(faint, 0.6, rtol=1e-6)
    network = deep_network(4, 8, 2, max_depth=40, phi="linear")
    params = network.init(jax.random.key(0), gain=0.1)
    norms = dense.gradient_flow(network, lambda y: y.sum(-1), params, jnp.ones((3, 4)), 40)
    assert norms.signal[5] == pytest.approx(0.0, abs=1e-30) and (norms.signal[6:] > 0).all()


NETWORKS = {
    "convolutions": (lambda **c: convolutional_network(2, 4, 3, depth=3, phi="tanh", **c), (5, 6, 6, 2)),
    "scaled skips": (lambda **c: convolutional_network(2, 4, 3, depth=3, residual="scaled", **c), (5, 6, 6, 2)),
    "batch norm": (lambda **c: convolutional_network(2, 4, 3, depth=3, normalisation="batch", **c), (5, 6, 6, 2)),
    "pre": (lambda **c: transformer(2, 8, 3, depth=3, **c), (5, 6, 2)),
    "post": (lambda **c: transformer(2, 8, 3, depth=3, norm="post", causal=True, **c), (5, 6, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_in_a_scan_have_the_gradients_of_blocks_in_a_row(x64, name):
    make, shape = NETWORKS[name]
    network = make()
    params = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), shape)
    outputs, states = network.trace(params, x)
    assert outputs.shape == (5, 3) and states.shape[:2] == (4, 5)
    loss = lambda o: jnp.sum(jnp.sin(o), -1)
    gradients = measurements.state_gradients(network.trace, loss, params, x)
    one = jax.tree.map(lambda a: a[:1], params.blocks)
    # The last block alone, from the state before it: no embedding, one block.
    part = lambda h, block: network._replace(depth=1).trace(
        blocks.BlockParameters(jnp.eye(h.shape[-1]), block, params.readout), h
    )[0]
    last = jax.tree.map(lambda a: a[2:], params.blocks)
    assert jax.tree.structure(one) == jax.tree.structure(last)
    explicit = jax.grad(lambda h: loss(part(h, last)).sum())(states[2])
    assert_close(gradients[2], explicit, 512, scale=float(jnp.abs(explicit).max()))
    assert_close(part(states[2], last), outputs, 256, scale=1.0)
    assert_close(make(checkpoint="segments").apply(params, x), outputs, 64, scale=1.0)


def test_causal_attention_sees_no_future(x64):
    network = transformer(2, 8, 3, depth=2, causal=True)
    params = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (1, 6, 2))
    later = x.at[:, 4:].add(1.0)
    seen = lambda x: network.trace(params, x)[1][-1]
    assert_close(seen(x)[:, :4], seen(later)[:, :4], 4, scale=1.0)
    assert not np.allclose(seen(x)[:, 4:], seen(later)[:, 4:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: convolutional_network(1, 2, 1, depth=0), "depth must be at least 1"),
        (lambda: convolutional_network(1, 2, 1, depth=1, kernel_size=2), "odd"),
        (lambda: convolutional_network(1, 2, 1, depth=1, residual="two_matrix"), "residual must be one of"),
        (lambda: convolutional_network(1, 2, 1, depth=1, initialisation="best"), "must be one of"),
        (lambda: transformer(1, 6, 1, depth=1, num_heads=4), "divide width"),
        (lambda: transformer(1, 6, 1, depth=1, norm="mid"), "norm must be one of 'pre', 'post', got 'mid'"),
        (lambda: measurements.singular_values(jnp.sin, jnp.ones(3), 4), "num_values must be .*3"),
        (lambda: measurements.singular_values(jnp.sin, jnp.ones(3), method="power"), "method must be one of"),
        (lambda: measurements.clip_gradient(jnp.ones(2), 0.0), "max_norm must be above 0"),
    ],
)
def test_wrong_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("factor", [1e-6, 0.0])
def test_the_layer_that_blocks_the_gradient_is_named(factor):
    network = deep_network(4, 32, 3, max_depth=12, phi="relu", initialisation="he")
    params, x = network.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (8, 4))

    def names(layer):
        weights = params.layers.weights.at[layer - 1].multiply(factor)
        spoiled = params._replace(layers=params.layers._replace(weights=weights))
        norms = measurements.state_norms(
            measurements.state_gradients(network.trace, lambda outputs: jnp.sum(outputs**2 - outputs), spoiled, x)
        )
        dead = measurements.dead_share(network.trace(spoiled, x)[1])
        return measurements.blocking_layer(norms, dead), measurements.blocking_layer(norms)

    layers = jnp.arange(1, 13)
    found, by_norms = jax.jit(jax.vmap(names))(layers)
    np.testing.assert_array_equal(found, layers)
    np.testing.assert_array_equal(by_norms, layers if factor else np.full(12, 12))  # no signal: all are blocked


def test_layers_past_the_depth_block_nothing():
    norms = jnp.array([[1.0, 1.0, 10.0, 10.0, jnp.nan], [0.0, 0.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0, 6.0]])
    np.testing.assert_array_equal(measurements.blocking_layer(norms), [2, 2, 4])
