"""Classifiers of the digits: what they are differentiated as, and that checkpoints change memory and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import datasets
from jaxcalc.models import classifier
from tests.tolerance import assert_close

KEY = jax.random.key(0)


@pytest.mark.parametrize("architecture", classifier.ARCHITECTURES)
def test_scores_are_ten_and_every_parameter_matters(x64, architecture):
    model = classifier.make(architecture, width=4, depth=2)
    workload = classifier.training_loss(KEY, model, batch=16)
    images, labels = workload.constants
    assert model.apply(workload.x, images[0]).shape == (10,)
    gradient = jax.grad(workload.fun)(workload.x, images, labels)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient))


def test_loss_is_the_mean_cross_entropy(x64):
    model = classifier.make("linear")
    workload = classifier.training_loss(KEY, model, batch=5)
    images, labels = (np.asarray(a) for a in workload.constants)
    weights, biases = (np.asarray(a) for a in workload.x[0])
    scores = images @ weights + biases
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert_close(workload.fun(*workload.arguments), -np.log(p[np.arange(5), labels]).mean(), 16)


def test_loss_of_zero_scores_is_log_ten(x64):
    model = classifier.make("linear")
    params = jax.tree.map(jnp.zeros_like, model.init(KEY))
    assert_close(classifier.loss(model)(params, *classifier.images(7)), np.log(10), 4)


@pytest.mark.parametrize("checkpoint", ["layers", "segments"])
@pytest.mark.parametrize("depth", [1, 4, 7])
def test_checkpoints_change_neither_value_nor_gradient(x64, checkpoint, depth):
    def gradient(checkpoint):
        model = classifier.scanned(3, depth, checkpoint=checkpoint)
        workload = classifier.training_loss(KEY, model, batch=4)
        return jax.value_and_grad(workload.fun)(*workload.arguments)

    plain, saved = gradient("none"), gradient(checkpoint)
    jax.tree.map(lambda a, b: assert_close(a, b, 64, scale=0.0625), plain, saved)


@pytest.mark.parametrize("pixels", [1, 2, 4, 8, 16, 32, 64])
def test_pooling_keeps_the_mean_brightness(x64, pixels):
    images, labels = classifier.images(20, pixels)
    original = datasets.digits()
    assert images.shape == (20, pixels)
    assert_close(images.mean(1), original.images[:20].mean(1), 64)
    np.testing.assert_array_equal(labels, original.labels[:20])


def test_workloads_have_the_shapes_that_their_names_say():
    model = classifier.make("dense", width=4, depth=1, pixels=8)
    sizes = [
        (w.num_inputs, w.num_outputs) for w in (classifier.scores(KEY, model, 8), classifier.image_loss(KEY, model, 8))
    ]
    assert sizes == [(8, 10), (8, 1)]
    linear = classifier.training_loss(KEY, classifier.make("linear", pixels=12), batch=3, features=12)
    assert (linear.num_inputs, linear.num_outputs) == (130, 1)
    assert jnp.abs(linear.constants[0]).max() <= 1


def test_errors_name_the_choices():
    with pytest.raises(ValueError, match="attention"):
        classifier.make("nothing")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="segments"):
        classifier.scanned(checkpoint="nothing")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="one of 1, 2, 4, 8, 16, 32, 64, got 9"):
        classifier.images(3, 9)
    with pytest.raises(ValueError, match="1797"):
        classifier.images(1798)
    with pytest.raises(ValueError, match="at least 1"):
        classifier.scanned(depth=0)
