"""The written-out backward pass against jax.grad of the same loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.engines import check_gradient, two_layer_backprop
from tests.tolerance import assert_close

_DRAWN = np.random.default_rng(0)
X, Y = _DRAWN.normal(size=(7, 2)), _DRAWN.integers(0, 2, (7, 3)).astype(float)
P = two_layer_backprop.TwoLayer(*(_DRAWN.normal(size=shape) for shape in ((2, 4), (4,), (4, 3), (3,))))
HIDDEN = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


def judge(p, x, y, hidden, loss):
    a = jax.nn.sigmoid(HIDDEN[hidden](x @ p.w1 + p.b1) @ p.w2 + p.b2)
    return jnp.mean((a - y) ** 2) if loss == "mse" else -jnp.mean(y * jnp.log(a) + (1 - y) * jnp.log(1 - a))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_against_jax(hidden, loss, dtype, x64):
    p, x, y = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (P, X, Y))
    got = jax.jit(lambda p: two_layer_backprop.backpropagate(p, x, y, hidden=hidden, loss=loss))(p)
    value, gradients = jax.jit(jax.value_and_grad(lambda p: judge(p, x, y, hidden, loss)))(p)
    assert_close(got.value, value, 16, dtype=dtype)
    for one, other, weight in zip(got.gradients, gradients, P):
        assert one.dtype == dtype and one.shape == weight.shape
        assert_close(one, other, 128, scale=0.125, dtype=dtype)


def test_deltas_are_gradients_by_the_layers(x64):
    got = two_layer_backprop.backpropagate(P, X, Y, hidden="tanh", loss="bce")
    # A shift of all of z2, sample by sample.
    by_z2 = jax.grad(lambda s: jnp.mean(jax.nn.softplus(got.forward.z2 + s) - Y * (got.forward.z2 + s)))(
        jnp.zeros((7, 3))
    )
    assert_close(got.delta2, by_z2, 256, scale=2**-9)
    later = lambda s: jnp.tanh(got.forward.z1 + s) @ P.w2 + P.b2
    by_z1 = jax.grad(lambda s: jnp.mean(jax.nn.softplus(later(s)) - Y * later(s)))(jnp.zeros((7, 4)))
    assert_close(got.delta1, by_z1, 128, scale=0.03125)
    assert_close(got.forward.a2, jax.nn.sigmoid(later(0.0)), 16)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_by_values_alone(loss, x64):
    back = lambda p: two_layer_backprop.backpropagate(p, X, Y, loss=loss)
    p = jax.tree.map(jnp.asarray, P)
    report = check_gradient(lambda p: back(p).value, lambda p: back(p).gradients, p)
    assert report, report


def test_closed_form_of_one_neuron(x64):
    """Weights of 1, no bias, x = 0: z2 = 1/2, and the loss gradient by b2 is sigmoid(1/2) - y."""
    one = two_layer_backprop.TwoLayer(jnp.ones((1, 1)), jnp.zeros(1), jnp.ones((1, 1)), jnp.zeros(1))
    got = two_layer_backprop.backpropagate(one, jnp.zeros((1, 1)), jnp.ones((1, 1)), hidden="sigmoid", loss="bce")
    delta = 1 / (1 + np.exp(-0.5)) - 1
    assert_close(got.value, np.log1p(np.exp(-0.5)), 4)
    assert_close(got.gradients.b2, [delta], 8)
    assert_close(got.gradients.w2, [[delta / 2]], 8)
    assert_close(got.gradients.b1, [delta / 4], 8)
    np.testing.assert_array_equal(got.gradients.w1, [[0]])


def test_the_gradient_is_of_the_mean_whatever_the_batch(x64):
    """Every sample twice is the same loss, and the same gradient."""
    once = two_layer_backprop.backpropagate(P, X, Y)
    twice = two_layer_backprop.backpropagate(P, np.tile(X, (2, 1)), np.tile(Y, (2, 1)))
    for one, other in zip(once.gradients, twice.gradients):
        assert_close(one, other, 64, scale=0.0625)


def test_saturated_outputs_stay_finite():
    wild = jax.tree.map(lambda leaf: jnp.asarray(1e4 * leaf, jnp.float32), P)
    got = two_layer_backprop.backpropagate(wild, X, Y)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(got))


def test_under_vmap(x64):
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), P)
    got = jax.vmap(lambda p: two_layer_backprop.backpropagate(p, X, Y).value)(many)
    wanted = [
        two_layer_backprop.backpropagate(two_layer_backprop.TwoLayer(*(k * leaf for leaf in P)), X, Y).value
        for k in (1, 2)
    ]
    assert_close(got, wanted, 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_layer_backprop.forward(P, X, hidden="gelu"), "hidden must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: two_layer_backprop.backpropagate(P, X, Y, loss="mae"), "loss must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: two_layer_backprop.backpropagate(P, X, Y.T), "samples are rows"),
        (lambda: two_layer_backprop.backpropagate(P, X, Y[:, 0]), "output's shape"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_start_of_listings_is_numpys_legacy_draw():
    # np.random.seed(42); 0.5 * np.random.randn(4, 2) as a listing prints it.
    start = two_layer_backprop.listing_start(42)
    np.testing.assert_allclose(start.w1[:, 0], [0.24835708, -0.06913215], rtol=1e-6)
    assert [leaf.shape for leaf in start] == [(2, 4), (4,), (4, 1), (1,)]
    assert not start.b1.any()
    assert two_layer_backprop.listing_start(0, 16, 64).w1.shape == (16, 64)
