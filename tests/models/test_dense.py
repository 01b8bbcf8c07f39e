"""Dense networks: depth as a number, gradients by layer against plain differentiation, initialisations' statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.activations import ACTIVATIONS, sigmoid
from jaxcalc.models import dense, num_parameters
from tests.tolerance import assert_close


def _network(**choices):
    return dense.deep_network(5, 8, 3, **{"max_depth": 6, "phi": "tanh", **choices})


def _unrolled(params, x, phi, depth, skip, branch):
    h = x @ params.embedding
    states = [h]
    for weights, biases in zip(params.layers.weights[:depth], params.layers.biases[:depth]):
        h = skip * h + branch * phi(h @ weights + biases)
        states.append(h)
    return h @ params.readout, states


@pytest.mark.parametrize("residual", ["none", "plain", "scaled"])
@pytest.mark.parametrize("depth", [1, 4, 6])
def test_a_depth_is_that_many_layers(x64, residual, depth):
    network = _network(residual=residual)
    params = network.init(jax.random.key(0), gain=1.3, bias_std=0.2)
    x = jax.random.normal(jax.random.key(1), (4, 5))
    skip, branch = float(residual != "none"), depth**-0.5 if residual == "scaled" else 1.0
    expected, states = _unrolled(params, x, jnp.tanh, depth, skip, branch)
    found, traced = jax.jit(lambda d: network.trace(params, x, depth=d))(depth)
    assert_close(found, expected, 512)
    assert_close(traced[: depth + 1], jnp.stack(states), 1024)


@pytest.mark.parametrize("phi", ACTIVATIONS)
def test_gradient_flow_is_what_plain_differentiation_gives(x64, phi):
    network, depth = _network(phi=phi, residual="plain"), 3
    params = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 5))
    loss = lambda outputs: jnp.sum(jnp.sin(outputs), axis=-1)
    found = dense.gradient_flow(network, loss, params, x, depth)

    def from_layer(h, example, start):
        for weights in params.layers.weights[start:depth]:
            h = h + ACTIVATIONS[phi](h @ weights)
        return loss(h @ params.readout)

    _, states = _unrolled(params, x, ACTIVATIONS[phi], depth, 1.0, 1.0)
    for layer in range(depth + 1):
        each = jax.jit(jax.vmap(jax.grad(lambda h, layer=layer: from_layer(h, None, layer))))(states[layer])
        assert_close(found.signal[layer], jnp.sqrt(jnp.mean(jnp.sum(each**2, axis=1))), 128)
        assert_close(found.moment[layer], jnp.mean(states[layer] ** 2), 32)
    with_weights = lambda w: params._replace(layers=dense.Layers(w, params.layers.biases))
    mean_loss = lambda w: loss(_unrolled(with_weights(w), x, ACTIVATIONS[phi], depth, 1.0, 1.0)[0]).mean()
    by_weights = jax.jit(jax.grad(mean_loss))(params.layers.weights)
    assert_close(found.weights[1 : depth + 1], jnp.linalg.norm(by_weights[:depth], axis=(1, 2)), 128)


def test_past_the_depth_is_nothing_not_zero(x64):
    network = _network()
    params = network.init(jax.random.key(0))
    found = dense.gradient_flow(network, lambda o: o.sum(-1), params, jnp.ones((2, 5)), 2)
    for norms in found:
        assert np.isnan(norms[3:]).all()
        assert np.isfinite(norms[1:3]).all()


def test_an_overflow_past_the_depth_stays_there():
    network = _network(phi="linear", max_depth=40)
    params = network.init(jax.random.key(0), gain=100.0)  # 40 layers of it overflow float32
    found = dense.gradient_flow(network, lambda o: o.sum(-1), params, jnp.ones((2, 5)), 3)
    assert np.isfinite(found.signal[:4]).all()


def test_depths_are_lanes_of_one_program(x64):
    network = _network()
    params = network.init(jax.random.key(0))
    x = jnp.ones((2, 5))
    lanes = jax.vmap(lambda d: network.apply(params, x, depth=d))(jnp.arange(1, 7))
    for depth in range(1, 7):
        assert_close(lanes[depth - 1], network.apply(params, x, depth=depth), 64)


def test_longer_networks_share_their_first_layers():
    short, long = _network(max_depth=3), _network(max_depth=9)
    np.testing.assert_array_equal(
        short.init(jax.random.key(4)).layers.weights, long.init(jax.random.key(4)).layers.weights[:3]
    )


@pytest.mark.parametrize("name", ["glorot", "he", "standard", "orthogonal", "unit"])
def test_initialisations_have_their_variance(name):
    drawn = np.asarray(dense.draw_weights(name, jax.random.key(0), (300, 300)))
    # The mean of 90,000 squares strays by a few times sqrt(2 / 90,000).
    assert np.mean(drawn**2) == pytest.approx(dense.weight_variance(name, 300, 300), rel=0.03)


@pytest.mark.parametrize("name", ["orthogonal", "unit"])
@pytest.mark.parametrize("shape", [(10, 40), (40, 10)])
def test_rectangles_have_their_mean_square(name, shape):
    drawn = np.asarray(dense.draw_weights(name, jax.random.key(0), shape))
    assert_close(np.mean(drawn**2), dense.weight_variance(name, *shape), 32, dtype=jnp.float32)


def test_orthogonal_weights_are():
    drawn = dense.draw_weights("orthogonal", jax.random.key(0), (20, 20))
    assert_close(drawn.T @ drawn, np.eye(20), 24, scale=1, dtype=jnp.float32)


def test_glorot_and_he_by_shape():
    assert dense.weight_variance("glorot", 10, 30) == pytest.approx(0.05)
    assert dense.weight_variance("he", 10, 30) == pytest.approx(0.2)


def test_a_chain_multiplies_local_slopes(x64):
    found = dense.unit_chain(sigmoid, 1.0, 0.0, 0.5, 20)
    x, product = 0.5, 1.0
    for step in range(1, 21):
        product *= float(sigmoid.derivative(jnp.asarray(x)))
        x = float(sigmoid(jnp.asarray(x)))
        assert_close(found[step], product, 64)
    assert found[20] <= 0.25**20
    assert_close(dense.unit_chain(sigmoid, 4.0, -2.0, 0.5, 20), 1.0, 16)
    assert dense.unit_chain(sigmoid, 8.0, -4.0, 0.5, 20)[20] == pytest.approx(2.0**20)


def test_mlp_shapes_and_size():
    model = dense.mlp([4, 7, 2])
    params = model.init(jax.random.key(0))
    assert num_parameters(params) == 4 * 7 + 7 + 7 * 2 + 2
    assert model.apply(params, jnp.ones((3, 5, 4))).shape == (3, 5, 2)
    assert jnp.all(model.apply(params, jnp.zeros(4)) == 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dense.mlp([3]), "input and output"),
        (lambda: dense.weight_variance("xavier", 2, 2), "name must be one of 'glorot'.* got 'xavier'"),
        (lambda: _network(max_depth=0), "at least 1"),
        (lambda: _network(residual="dense"), "residual must be one of 'none', 'plain'.* got 'dense'"),
        (lambda: _network(phi="step"), "name must be one of .* got 'step'"),
    ],
)
def test_wrong_choices_are_refused_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()
