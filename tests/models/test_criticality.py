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
