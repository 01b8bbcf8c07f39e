"""``criticality``: predictions against closed forms, against measurements over seeds, and what it must not predict."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import mean_field
from jaxcalc.functions.activations import activation
from jaxcalc.models import Model, criticality
from jaxcalc.scenarios import architectures

FAST = ("relu, He", "tanh, chaotic", "loop of tanh", "residual of two matrices", "layer norm", "Equinox, relu")
REST = [name for name in architectures.ARCHITECTURES if name not in FAST and not name.startswith("Flax")]


def judged(name, **choices):
    build, verdict = architectures.ARCHITECTURES[name]
    init, apply, x = build()
    return criticality((init, apply), x, **choices), verdict


def check(name):
    report, verdict = judged(name, num_samples=4096)
    assert report.verdict == verdict, str(report)
    if report.verdict != "outside the theory":
        assert abs(report.measured_rate - report.rate) < 3 * report.rate_error, str(report)


@pytest.mark.parametrize("name", FAST)
def test_predicted_rate_is_that_of_64_seeds(name):
    check(name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", REST)
def test_predicted_rate_is_that_of_64_seeds_everywhere(name):
    check(name)


def test_moments_and_factors_are_those_of_the_integrals(x64):
    # Oracle: quadrature of the mean-field map. One input, so that its moment is the layer's.
    init, apply, x = architectures.dense(jnp.tanh, 2.5, depth=5)
    report = criticality((init, apply), x[:1], num_seeds=0)
    phi = activation("tanh")
    for layer, after in zip(report.layers[1:5], report.layers[2:6]):
        moment = 2.5 * mean_field.gaussian_mean(lambda u: jnp.tanh(u) ** 2, layer.moment)
        np.testing.assert_allclose(after.moment, moment, rtol=3e-3)
        np.testing.assert_allclose(layer.factor, mean_field.gradient_factor(phi, layer.moment, 2.5), rtol=6e-3)


def test_gain_makes_relu_critical():
    report, _ = judged("relu, LeCun", num_seeds=0)
    assert report.gain == pytest.approx(math.sqrt(2), rel=5e-3)
    assert report.vanishing_depth == pytest.approx(2 * math.log(1e-6) / math.log(0.5), rel=0.02)


def test_a_power_of_depth_is_critical():
    # Oracle: at (1, 0) tanh's gradients fall off as 1/layer, from 0.8 a layer on over the first ten.
    report, verdict = judged("tanh, critical without biases", num_seeds=0, num_samples=4096)
    assert verdict == report.verdict == "critical"
    assert report.factor < 0.9


def outside(init, apply, x):
    report = criticality(Model(init, apply), x, num_seeds=0)
    assert report.verdict == "outside the theory"
    assert math.isnan(report.rate)
    assert report.reason in str(report)
    return report.reason


def test_what_has_no_layers_is_told_so():
    x = jnp.ones((2, 8))
    assert "no layers" in outside(lambda key: jax.random.normal(key, (8,)), lambda w, x: w * x, x)
    assert "no parameters" in outside(lambda key: (), lambda params, x: x, x)
    single = lambda key: jax.random.normal(key, (8, 32))
    assert "single layer" in outside(single, lambda w, x: jnp.tanh(x @ w), x)


def test_a_loop_without_trips_adds_no_layer():
    init, apply, x = architectures.scanned(lambda h, w: jnp.tanh(h @ w), architectures.square(), depth=0)
    report = criticality((init, apply), x, num_seeds=0)
    assert len(report.layers) == 2


# -- where depth lies ----------------------------------------------------------------------------------------------


def stack(depth, gain=1.0, width=64):
    return lambda key: gain * jax.random.normal(key, (depth, width, width)) / width**0.5


def relu_layers(weights, x):
    for weight in weights:
        x = jax.nn.relu(x @ weight)
    return x


def relu_loop(weights, x, **choices):
    return jax.lax.scan(lambda h, weight: (jax.nn.relu(h @ weight), None), x, weights, **choices)[0]


# What ReLU layers of unit gain are, however they are run: the gradient's square is halved by each.
RUNS = {
    "loop": relu_loop,
    "loop from the last layer on": lambda weights, x: relu_loop(weights, x, reverse=True),
    "loop over examples": lambda weights, x: jax.lax.map(lambda x: relu_layers(weights, x), x),
    "loop over examples with a sum": lambda weights, x: jax.lax.scan(
        lambda total, x: (total + relu_layers(weights, x).sum(), relu_layers(weights, x)), 0.0, x
    )[1],
    "towers": lambda weights, x: relu_layers(weights[:4], x) + relu_layers(weights[4:], x),
    "loop in a loop": lambda weights, x: jax.lax.scan(
        lambda h, pair: (relu_loop(pair, h), None), x, weights.reshape(4, 2, 64, 64)
    )[0],
}


@pytest.mark.parametrize("name", RUNS)
def test_depth_is_what_acts_on_what_was_before(name):
    x = jax.random.normal(jax.random.key(1), (3, 64))
    report = criticality((stack(8), RUNS[name]), x, num_seeds=0, num_samples=1024)
    assert report.verdict == "ordered"
    assert report.factor == pytest.approx(0.5, rel=0.03)


def test_rows_are_in_the_order_in_which_they_run():
    def apply(weights, x):
        return relu_loop(weights[2:], relu_loop(weights[:2], x), reverse=True)

    report = criticality((stack(4), apply), jnp.ones((1, 64)), num_seeds=0, num_samples=256)
    assert [layer.name for layer in report.layers] == ["1[0]", "1[1]", "2[1]", "2[0]"]
    assert [layer.moment for layer in report.layers] == pytest.approx([1.0, 0.5, 0.25, 0.125], rel=0.1)

    def nested(weights, x):
        return jax.lax.scan(lambda h, pair: (relu_loop(pair[1:], h @ pair[0]), None), x, weights)[0]

    report = criticality((lambda key: stack(6)(key).reshape(2, 3, 64, 64), nested), jnp.ones((1, 64)), num_seeds=0)
    assert [layer.name for layer in report.layers] == ["1[0]", "2[0][0]", "2[0][1]", "1[1]", "2[1][0]", "2[1][1]"]


# -- verdicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("deviation", "verdict"), [(5e-4, "ordered"), (1e2, "chaotic")])
def test_weights_of_any_size_are_not_a_norm(deviation, verdict):
    model = stack(6, gain=8 * deviation), relu_layers
    report = criticality(model, jnp.ones((1, 64)), num_seeds=0, num_samples=256)
    assert report.verdict == verdict
    assert math.log(report.factor) == pytest.approx(math.log(32 * deviation**2), abs=0.05)
    gain = 1 / (deviation * math.sqrt(32))
    assert math.isnan(report.gain) if gain < 1 / 1024 else report.gain == pytest.approx(gain, rel=0.02)


def test_layers_that_differ_are_judged_as_a_whole():
    # The deeper layers are critical; the first ones lose nine tenths each.
    init = lambda key: stack(12, gain=math.sqrt(2))(key) * jnp.where(jnp.arange(12) < 5, 0.1, 1.0)[:, None, None]
    report = criticality((init, relu_layers), jnp.ones((1, 64)), num_seeds=0, num_samples=256)
    assert report.verdict == "ordered" and report.gain > 1.2


# -- samples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_examples_that_are_the_same_share_their_layers(batch):
    report = criticality((stack(6), relu_layers), jnp.ones((batch, 64)), num_seeds=0)
    factors = [layer.factor for layer in report.layers[1:5]]
    moments = [layer.moment for layer in report.layers]
    np.testing.assert_allclose(factors, 0.5, rtol=0.04)
    np.testing.assert_allclose(moments, 0.5 ** np.arange(6), rtol=0.05)


def test_dropout_by_a_mask_is_followed(x64):
    def apply(weights, x):
        for number, weight in enumerate(weights):
            kept = jax.random.bernoulli(jax.random.key(number), 0.5, x.shape)
            x = jnp.where(kept, 2 * jax.nn.relu(x @ weight), 0)
        return x

    report = criticality((stack(4), apply), jnp.ones((1, 64)), num_samples=1024)
    assert report.verdict != "outside the theory"
    assert abs(report.measured_rate - report.rate) < 4 * report.rate_error


def test_narrow_layers_are_outside():
    assert "features" in outside(*architectures.dense(jnp.tanh, 1.0, width=1, depth=3))


def test_weights_without_variance_are_dead():
    init, apply, x = architectures.dense(jax.nn.relu, 0.0, depth=3, width=32)
    report = criticality((init, apply), x, num_seeds=0)
    assert report.verdict == "dead"


def test_rows_that_repeat_are_outside():
    def init(key):
        keys = jax.random.split(key, 4)
        column, row = jax.random.normal(keys[0], (3, 32, 1)), jax.random.normal(keys[1], (3, 1, 32))
        return column @ row / math.sqrt(32), jax.random.normal(keys[2], (8, 32))

    def apply(params, x):
        h = x @ params[1]
        for weights in params[0]:
            h = jnp.tanh(h) @ weights
        return h

    assert "related" in outside(init, apply, jnp.ones((2, 8)))


def test_softmax_over_features_is_outside():
    init, _, x = architectures.dense(jnp.tanh, 1.0, depth=2, width=32)
    _, apply, _ = architectures.dense(jax.nn.softmax, 1.0, depth=2, width=32)
    assert "features" in outside(init, apply, x)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="criticality: model must be"):
        criticality(3, jnp.ones(2))
    with pytest.raises(ValueError, match="power of two"):
        criticality(architectures.dense(jnp.tanh, 1.0)[:2], jnp.ones((2, 8)), num_samples=1000)


def test_equinox_module():
    report, _ = judged("Equinox, relu", num_seeds=0, num_samples=4096)
    # Uniform weights in +-1/sqrt(fan_in) have variance 1/(3 fan_in): a factor 1/6 behind ReLU.
    assert report.factor == pytest.approx(1 / 6, rel=0.01)


# Flax calls names of JAX that are to go; that is not ours to fail on.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["Flax, tanh", "Flax, relu"])
def test_flax_module(name):
    pytest.importorskip("flax")
    check(name)


def test_report_draws_itself():
    report, _ = judged("loop of tanh", num_seeds=4, num_samples=256)
    figure = report.plot()
    assert len(figure.axes) == 2
    assert "chi" in report.table()
    assert report.explain() in str(report)
