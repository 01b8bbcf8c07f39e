"""``criticality``: predictions against closed forms, against measurements over seeds, and what it must not predict."""

import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import mean_field
from jaxcalc.functions.activations import activation
from jaxcalc.models import Model, criticality

spec = importlib.util.spec_from_file_location("architectures", Path(__file__).with_name("architectures.py"))
architectures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(architectures)


def judged(name, **choices):
    build, verdict = architectures.TABLE[name]
    init, apply, x = build()
    return criticality((init, apply), x, **choices), verdict


def check(name):
    report, verdict = judged(name, num_samples=4096)
    assert report.verdict == verdict, str(report)
    if report.verdict != "outside the theory":
        assert abs(report.measured_rate - report.rate) < 3 * report.rate_error, str(report)


@pytest.mark.parametrize("name", architectures.FAST)
def test_predicted_rate_is_that_of_64_seeds(name):
    check(name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in architectures.TABLE if name not in architectures.FAST])
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
    eqx = pytest.importorskip("equinox")

    def build(key):
        return eqx.nn.MLP(8, 10, 128, 6, activation=jax.nn.relu, use_bias=False, key=key)

    static = eqx.filter(build(jax.random.key(0)), eqx.is_array, inverse=True)
    apply = lambda params, x: jax.vmap(eqx.combine(params, static))(x)
    init = lambda key: eqx.filter(build(key), eqx.is_array)
    report = criticality((init, apply), architectures.batch(4, 8), num_samples=4096)
    # Uniform weights in +-1/sqrt(fan_in) have variance 1/(3 fan_in): a factor 1/6 behind ReLU.
    assert report.verdict == "ordered"
    assert report.factor == pytest.approx(1 / 6, rel=0.01)
    assert abs(report.measured_rate - report.rate) < 3 * report.rate_error


# Flax calls names of JAX that are to go; that is not ours to fail on.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_flax_module():
    nn = pytest.importorskip("flax.linen")

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(6):
                x = jnp.tanh(nn.Dense(128)(x))
            return nn.Dense(10)(x)

    x = architectures.batch(4, 8)
    module = Network()
    report = criticality((lambda key: module.init(key, x), module.apply), x, num_samples=4096)
    assert report.verdict in ("ordered", "critical")
    assert abs(report.measured_rate - report.rate) < 3 * report.rate_error


def test_report_draws_itself():
    report, _ = judged("loop of tanh", num_seeds=4, num_samples=256)
    figure = report.plot()
    assert len(figure.axes) == 2
    assert "chi" in report.table()
    assert report.explain() in str(report)
