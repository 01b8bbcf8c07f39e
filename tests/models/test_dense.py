"""Dense networks: depth as a number, gradients by layer against plain differentiation, initialisations' statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcalc.functions.activations import ACTIVATIONS, sigmoid
from jaxcalc.functions.mean_field import gaussian_mean
from jaxcalc.models import dense, num_parameters
from jaxcalc.models.initialisation import INITIALISATIONS
from jaxcalc.models.scan import CHECKPOINTS
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


@pytest.mark.parametrize("name", INITIALISATIONS)
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


@pytest.mark.parametrize("normalisation", ["batch", "layer", "rms"])
def test_normalised_entries_have_mean_square_one(x64, normalisation):
    h = 3 + 2 * jax.random.normal(jax.random.key(0), (40, 30))
    normal = dense.normalise(normalisation, h)
    axis = 0 if normalisation == "batch" else 1
    np.testing.assert_allclose(jnp.mean(normal**2, axis), 1.0, rtol=2e-5)  # the guard of the division, 1e-5
    if normalisation != "rms":
        np.testing.assert_allclose(normal.mean(axis), 0.0, atol=1e-12)
    network = _network(normalisation=normalisation, phi="relu")
    params = network.init(jax.random.key(1))
    scaled = params._replace(layers=params.layers._replace(weights=100 * params.layers.weights))
    x = jax.random.normal(jax.random.key(2), (6, 5))
    np.testing.assert_allclose(network.apply(scaled, x), network.apply(params, x), rtol=1e-2)


def test_two_matrices_are_two(x64):
    network = _network(residual="two_matrix", phi="tanh")
    params = network.init(jax.random.key(0), sv2=0.5, bias_std=0.1)
    x = jax.random.normal(jax.random.key(1), (4, 5))
    h = x @ params.embedding
    for weights, biases, outer in zip(*params.layers, params.outer):
        h = h + jnp.tanh(h @ weights + biases) @ outer
    assert_close(network.apply(params, x), h @ params.readout, 512)
    wide = dense.deep_network(2, 300, 2, max_depth=1, phi="tanh", residual="two_matrix").init(
        jax.random.key(0), sv2=0.5
    )
    assert 300 * jnp.mean(wide.outer**2) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("residual", ["plain", "two_matrix"])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_what_is_stored_changes_no_gradient(x64, residual, checkpoint):
    x = jax.random.normal(jax.random.key(1), (4, 5))
    grads = []
    for choice in ("none", checkpoint):
        network = _network(residual=residual, checkpoint=choice, max_depth=7)
        params = network.init(jax.random.key(0))
        grads.append(jax.grad(lambda p, n=network: n.apply(p, x, depth=6).sum())(params))
    for a, b in zip(*map(jax.tree.leaves, grads)):
        assert_close(a, b, 256, scale=float(jnp.abs(b).max()))


def test_variances_of_mean_field_theory_are_numbers_and_lanes(x64):
    init = lambda sw2: _network(max_depth=2).init(jax.random.key(0), sw2=sw2).layers.weights
    lanes = jax.vmap(init)(jnp.array([0.5, 2.0]))
    assert_close(lanes[1], 2 * lanes[0], 8)
    wide = dense.deep_network(2, 300, 2, max_depth=1, phi="tanh").init(jax.random.key(0), sw2=1.7)
    assert 300 * jnp.mean(wide.layers.weights**2) == pytest.approx(1.7, rel=0.03)


def test_critical_networks_are(x64):
    network = dense.deep_network(2, 300, 2, max_depth=60, phi="tanh", initialisation="critical", critical_moment=0.5)
    params = network.init(jax.random.key(0))
    sw2, sb2 = 300 * jnp.mean(params.layers.weights**2), jnp.mean(params.layers.biases**2)
    assert sw2 * gaussian_mean(lambda u: (1 - jnp.tanh(u) ** 2) ** 2, 0.5) == pytest.approx(1.0, rel=0.01)
    assert sw2 * gaussian_mean(lambda u: jnp.tanh(u) ** 2, 0.5) + sb2 == pytest.approx(0.5, rel=0.02)


def test_ten_thousand_critical_orthogonal_layers_keep_the_gradient():
    network = dense.deep_network(
        8, 16, 2, max_depth=10_000, phi="linear", initialisation="orthogonal", checkpoint="segments"
    )
    params = network.init(jax.random.key(0))
    signal = dense.gradient_flow(network, lambda o: o.sum(-1), params, jnp.ones((2, 8)), 10_000).signal
    assert np.isfinite(signal).all()
    assert signal.max() / signal.min() < 1.01
    # tanh has no isometry, but at q* of 1/depth it is nearly linear: gradients stay within a factor of 10.
    network = dense.deep_network(
        8, 16, 2, max_depth=10_000, phi="tanh", initialisation="orthogonal", checkpoint="segments"
    )
    params = network.init(jax.random.key(0), sw2=1.00019997, bias_std=1.3325e-12**0.5)
    x = 0.01 * jax.random.normal(jax.random.key(1), (2, 8))
    signal = dense.gradient_flow(network, lambda o: o.sum(-1), params, x, 10_000).signal
    assert signal.max() / signal.min() < 10


# tanh has no isometry, but a mean square of 1/depth is small enough for it to be nearly linear.
_NEARLY_LINEAR = {"sw2": 1.00019997, "bias_std": 1.3325e-12**0.5}


@pytest.mark.parametrize(("phi", "choices", "scale"), [("linear", {}, 1.0), ("tanh", _NEARLY_LINEAR, 0.01)])
def test_ten_thousand_critical_orthogonal_layers_train(phi, choices, scale):
    depth = 10_000
    network = dense.deep_network(4, 8, 2, max_depth=depth, phi=phi, initialisation="orthogonal", checkpoint="segments")
    params = network.init(jax.random.key(0), **choices)
    x = scale * jax.random.normal(jax.random.key(1), (8, 4))

    def loss(weights):
        layers = params.layers._replace(weights=weights)
        return jnp.mean((network.apply(params._replace(layers=layers), x) - x[:, :2]) ** 2) / scale**2

    # Every layer moves the output by as much, so that the rate is divided by their number.
    solver = optax.sgd(0.1 / depth)

    @jax.jit
    def update(weights, state):
        value, gradient = jax.value_and_grad(loss)(weights)
        changes, state = solver.update(gradient, state)
        return optax.apply_updates(weights, changes), state, value

    weights, losses = params.layers.weights, []
    state = solver.init(weights)
    for _ in range(4):
        weights, state, value = update(weights, state)
        losses.append(float(value))
    assert losses[1] < 0.6 * losses[0] and losses[3] < losses[2] < losses[1]


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
        (lambda: _network(initialisation="xavier"), "initialisation must be one of .*'critical', got 'xavier'"),
        (lambda: _network(normalisation="group"), "normalisation must be one of .* got 'group'"),
        (lambda: _network(checkpoint="some"), "checkpoint must be one of .* got 'some'"),
        (lambda: dense.deep_network(5, 1, 3, max_depth=2, phi="relu", normalisation="layer"), "no spread"),
        (lambda: _network(phi="sigmoid", initialisation="critical"), "sigmoid has no critical point"),
        (lambda: _network(initialisation="critical", critical_moment=0.0), "above 0"),
        (lambda: _network().init(jax.random.key(0), sw2=0.0), "sw2 must be .*above 0"),
        (lambda: _network().init(jax.random.key(0), sv2=-1.0), "sv2 must be .*above 0"),
        (lambda: _network().init(jax.random.key(0), bias_std=-1.0), "bias_std must be at least 0"),
        (lambda: _network(initialisation="zero").init(jax.random.key(0), sw2=1.0), "all weights are zero"),
        (lambda: dense.normalise("batch", jnp.ones((1, 4))), "2 examples at least"),
    ],
)
def test_wrong_choices_are_refused_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()
