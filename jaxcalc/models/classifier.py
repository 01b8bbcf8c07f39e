"""Classifiers of the handwritten digits, from one linear layer to attention, and what is differentiated of them.

A model here takes one image, of shape (pixels,), to its ten class scores; batches go through ``jax.vmap``. Parameters
are drawn on the host (weights normal, of variance 1/fan-in; biases 0), so that nothing compiles but what is measured.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.functions import datasets
from jaxcalc.models.dense import Layers, mlp
from jaxcalc.models.model import Model
from jaxcalc.models.scan import CHECKPOINTS, Checkpoint, scan_layers
from jaxcalc.scenarios.scenario import Scenario
from jaxcalc.scenarios.workloads import array, generator

__all__ = [
    "ARCHITECTURES",
    "CHECKPOINTS",
    "Architecture",
    "Checkpoint",
    "attention",
    "convolution",
    "image_loss",
    "images",
    "loss",
    "make",
    "random_features",
    "scanned",
    "scores",
    "training_loss",
]

Architecture = Literal["linear", "dense", "convolution", "attention"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

CLASSES = 10
_SIDE = 8  # pixels along a side of the original images


def make(architecture: Architecture, *, width: int = 32, depth: int = 2, pixels: int = 64) -> Model:
    """A classifier by name, free of loops.

    Args:
      architecture: one of ``ARCHITECTURES``.
      width: units, channels or features. depth: hidden layers of the dense one. pixels: inputs of the first two.

    Raises:
      ValueError: if the name is unknown.
    """
    match architecture:
        case "linear":
            return dense([pixels, CLASSES])
        case "dense":
            return dense([pixels, *[width] * depth, CLASSES])
        case "convolution":
            return convolution(width)
        case "attention":
            return attention(width)
        case _:
            raise checks.unknown("make", "architecture", architecture, ARCHITECTURES)


def dense(widths: Sequence[int]) -> Model:
    """A multilayer perceptron with tanh between its layers, free of loops; ``widths`` from pixels to classes."""

    def init(key):
        draw = generator(key)
        return [_layer(draw, *pair) for pair in itertools.pairwise(widths)]

    return Model(init, mlp(widths, "tanh").apply)


def scanned(width: int = 32, depth: int = 8, *, pixels: int = 64, checkpoint: Checkpoint = "none") -> Model:
    """A dense tanh network whose hidden layers run in one scan, with a choice of what the backward pass finds stored.

    h_0 = tanh(W_in x + b_in),   h_l = tanh(W_l h_(l-1) + b_l), l = 1..depth,   scores = W_out h_depth + b_out.

    Args:
      width: units of every hidden layer. depth: hidden layers in the scan. pixels: inputs.
      checkpoint: what the backward pass finds stored, see ``scan_layers``.

    Raises:
      ValueError: if ``depth`` is below 1 or ``checkpoint`` unknown.
    """
    checks.integer("scanned", "depth", depth)
    checks.one_of("scanned", "checkpoint", checkpoint, CHECKPOINTS)

    def init(key):
        draw = generator(key)
        hidden = _layer(draw, width, width, stack=(depth,))
        return {"in": _layer(draw, pixels, width), "hidden": hidden, "out": _layer(draw, width, CLASSES)}

    def layer(h, params):
        return jnp.tanh(_affine(params, h)), None

    def apply(params, image):
        h, hidden = jnp.tanh(_affine(params["in"], image)), params["hidden"]
        h, _ = scan_layers(layer, h, hidden, checkpoint)
        return _affine(params["out"], h)

    return Model(init, apply)


def convolution(width: int = 16) -> Model:
    """Two 3 x 3 convolutions with tanh on the 8 x 8 image, the mean over the image, a linear map."""

    def init(key):
        draw = generator(key)
        kernels = (_layer(draw, 9 * fan_in, width).weights.reshape(3, 3, fan_in, width) for fan_in in (1, width))
        return {"kernels": list(kernels), "out": _layer(draw, width, CLASSES)}

    def convolve(h, kernel):
        return jax.lax.conv_general_dilated(h, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def apply(params, image):
        h = image.reshape(1, _SIDE, _SIDE, 1)
        for kernel in params["kernels"]:
            h = jnp.tanh(convolve(h, kernel))
        return _affine(params["out"], h.mean((0, 1, 2)))

    return Model(init, apply)


def attention(width: int = 32) -> Model:
    """One block of self-attention over the 8 rows X of the image, the mean over rows, a linear map.

    H = X W_in + b_in,   A = softmax(H W_q (H W_k)^T / sqrt(width)),   scores = mean(H + A H W_v W_o) W_out + b_out.
    """
    names = ("query", "key", "value", "mix")

    def init(key):
        draw = generator(key)
        matrices = {name: _layer(draw, width, width).weights for name in names}
        return {"in": _layer(draw, _SIDE, width), "out": _layer(draw, width, CLASSES), **matrices}

    def apply(params, image):
        h = _affine(params["in"], image.reshape(_SIDE, _SIDE))
        query, key, value = (h @ params[name] for name in names[:3])
        weights = jax.nn.softmax(query @ key.T / math.sqrt(width))
        return _affine(params["out"], (h + weights @ value @ params["mix"]).mean(0))

    return Model(init, apply)


def loss(model: Model) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    """Mean cross-entropy of a batch, as ``loss(params, images, labels)``.

    -mean_i log softmax(scores(image_i))[label_i], in nats.

    Args:
      model: the classifier. The loss takes images of shape (batch, pixels) and integer labels of shape (batch,).
    """

    def mean_cross_entropy(params, images, labels):
        log_p = jax.nn.log_softmax(jax.vmap(model.apply, (None, 0))(params, images))
        return -jnp.mean(jnp.sum(jax.nn.one_hot(labels, CLASSES) * log_p, axis=1))

    return mean_cross_entropy


def images(count: int, pixels: int = 64) -> tuple[jax.Array, jax.Array]:
    """The first ``count`` digits, averaged over rectangles down to ``pixels`` pixels.

    Args:
      count: at most 1797. pixels: a power of two up to 64, from 1 x 1 and 1 x 2 to 4 x 8 and 8 x 8.

    Returns:
      Images of shape (count, pixels) in [0, 1] and labels of shape (count,).

    Raises:
      ValueError: if ``pixels`` is none of these or ``count`` out of range.
    """
    checks.one_of("images", "pixels", pixels, (1, 2, 4, 8, 16, 32, 64))
    data = _digits()
    checks.integer("images", "count", count, most=len(data.labels))
    rows = 2 ** (int(math.log2(pixels)) // 2)
    columns = pixels // rows
    blocks = data.images[:count].reshape(count, rows, _SIDE // rows, columns, _SIDE // columns)
    pooled = blocks.mean((2, 4)).reshape(count, pixels)
    return array(pooled), jax.device_put(data.labels[:count].astype(np.int32))


def random_features(key: jax.Array, images: jax.Array, count: int) -> jax.Array:
    """``tanh(images G)`` with a fixed random G: ``count`` features of each image, for a linear model of any size.

    Args:
      key: a typed key for G. images: (batch, pixels). count: features.
    """
    return array(np.tanh(np.asarray(images) @ generator(key).standard_normal((images.shape[1], count))))


def scores(key: jax.Array, model: Model, pixels: int = 64) -> Scenario:
    """The ten class scores of one digit by its pixels, R^pixels -> R^10: the Jacobian is the image's saliency."""
    batch, _ = images(1, pixels)
    params = model.init(key)
    return Scenario(lambda image, params: model.apply(params, image), batch[0], (params,))


def image_loss(key: jax.Array, model: Model, pixels: int = 64) -> Scenario:
    """The loss of one digit by its pixels, R^pixels -> R: the gradient is the direction of an adversarial step."""
    batch, labels = images(1, pixels)
    fun = loss(model)
    params = model.init(key)
    return Scenario(lambda image, *rest: fun(rest[0], image[None], rest[1]), batch[0], (params, labels))


def training_loss(
    key: jax.Array, model: Model, *, batch: int = 64, pixels: int = 64, features: int | None = None
) -> Scenario:
    """The loss of a batch by the model's parameters, R^params -> R: the gradient is what training takes.

    Args:
      key: a typed key for the parameters. model: the classifier.
      batch: images. pixels: of each image.
      features: if given, the model sees so many random features in place of the pixels.
    """
    of_params, of_features = jax.random.split(key)
    inputs, labels = images(batch, pixels)
    if features is not None:
        inputs = random_features(of_features, inputs, features)
    return Scenario(loss(model), model.init(of_params), (inputs, labels))


@functools.cache
def _digits() -> datasets.Digits:
    return datasets.digits()


def _layer(draw: np.random.Generator, fan_in: int, fan_out: int, *, stack: tuple[int, ...] = ()) -> Layers:
    """One dense layer or a stack of them: weights of variance 1/fan-in, biases 0."""
    weights = draw.standard_normal((*stack, fan_in, fan_out)) / math.sqrt(fan_in)
    return Layers(array(weights), array(np.zeros((*stack, fan_out))))


def _affine(layer: Layers, x: jax.Array) -> jax.Array:
    """x W + b."""
    return x @ layer.weights + layer.biases
