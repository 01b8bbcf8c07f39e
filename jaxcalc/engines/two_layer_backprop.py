"""Backpropagation of the two-layer network, written out in matrices, layer by layer.

Samples are rows: ``x`` of shape ``(m, inputs)``, ``y`` of shape ``(m, outputs)``.

    z1 = x W1 + b1,    a1 = h(z1),    z2 = a1 W2 + b2,    a2 = sigmoid(z2)
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks

__all__ = ["Backpropagation", "Forward", "Hidden", "Loss", "TwoLayer", "backpropagate", "forward", "listing_start"]

Hidden = Literal["sigmoid", "tanh", "relu"]
Loss = Literal["mse", "bce"]


class TwoLayer(NamedTuple):
    """Parameters of the network, or their gradients.

    Args:
      w1: shape ``(inputs, hidden)``.
      b1: shape ``(hidden,)``.
      w2: shape ``(hidden, outputs)``.
      b2: shape ``(outputs,)``.
    """

    w1: Any
    b1: Any
    w2: Any
    b2: Any


class Forward(NamedTuple):
    """What the forward pass keeps for the backward pass.

    Args:
      z1, a1: the hidden layer before and after its activation, shape ``(m, hidden)``.
      z2, a2: the output layer before and after the sigmoid, shape ``(m, outputs)``.
    """

    z1: jax.Array
    a1: jax.Array
    z2: jax.Array
    a2: jax.Array


class Backpropagation(NamedTuple):
    """A loss, its gradients and everything in between.

    Args:
      value: the loss, a scalar.
      gradients: of the loss by the parameters.
      forward: the values of the forward pass.
      delta2: the loss's gradient by ``z2``, shape ``(m, outputs)``.
      delta1: the loss's gradient by ``z1``, shape ``(m, hidden)``.
    """

    value: jax.Array
    gradients: TwoLayer
    forward: Forward
    delta2: jax.Array
    delta1: jax.Array


def listing_start(seed: int, inputs: int = 2, hidden: int = 4) -> TwoLayer:
    """The start of popular XOR listings, one output: half of standard normal weights, biases of 0.

    The weights are numpy's after ``np.random.seed(seed)``, a row for each unit, so that a printed run can be repeated.

    Args:
      seed: of numpy's legacy generator.
      inputs, hidden: the network's widths.
    """
    draw = np.random.RandomState(seed)
    w1, w2 = 0.5 * draw.randn(hidden, inputs), 0.5 * draw.randn(1, hidden)
    return TwoLayer(jnp.asarray(w1.T), jnp.zeros(hidden), jnp.asarray(w2.T), jnp.zeros(1))


def forward(parameters: TwoLayer, x: Any, /, *, hidden: Hidden = "tanh") -> Forward:
    """The network's layers at a batch.

    Args:
      parameters: the weights.
      x: shape ``(m, inputs)``.
      hidden: the activation of the hidden layer.

    Raises:
      ValueError: for an unknown activation.
    """
    z1 = jnp.asarray(x) @ parameters.w1 + parameters.b1
    match hidden:
        case "sigmoid":
            a1 = jax.nn.sigmoid(z1)
        case "tanh":
            a1 = jnp.tanh(z1)
        case "relu":
            a1 = jax.nn.relu(z1)
        case _:
            raise checks.unknown("forward", "hidden", hidden, get_args(Hidden))
    z2 = a1 @ parameters.w2 + parameters.b2
    return Forward(z1, a1, z2, jax.nn.sigmoid(z2))


def backpropagate(
    parameters: TwoLayer, x: Any, y: Any, /, *, hidden: Hidden = "tanh", loss: Loss = "bce"
) -> Backpropagation:
    """The loss of the two-layer network and its gradients, by the chain rule in matrices.

        mse = mean((a2 - y)^2),                   delta2 = 2 (a2 - y) a2 (1 - a2) / N
        bce = mean(log(1 + exp(z2)) - y z2),      delta2 = (a2 - y) / N

        dW2 = a1^T delta2,    db2 = sum of delta2's rows
        delta1 = (delta2 W2^T) h'(z1)
        dW1 = x^T delta1,     db1 = sum of delta1's rows

    Args:
      parameters: the weights.
      x: shape ``(m, inputs)``.
      y: targets in ``[0, 1]``, shape ``(m, outputs)``; the means are over all ``N = m * outputs`` of them.
      hidden: the activation of the hidden layer.
      loss: ``"mse"``, or ``"bce"``, the binary cross-entropy, computed from ``z2`` and so finite for any of it.

    Returns:
      ``Backpropagation(value, gradients, forward, delta2, delta1)``. Ready for ``jit`` and ``vmap``.

    Raises:
      ValueError: for an unknown activation or loss, or if ``y`` is not shaped like the output.

    Cost:
      The forward pass's two matrix products and three more: the gradient by ``x`` is never formed.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    layers = forward(parameters, x, hidden=hidden)
    _, a1, z2, a2 = layers
    if y.shape != a2.shape:
        raise ValueError(
            f"backpropagate: y must have the output's shape {a2.shape} (samples are rows), got {y.shape}. "
            "Add or transpose an axis: broadcasting would count samples twice."
        )
    match loss:
        case "mse":
            value = jnp.mean((a2 - y) ** 2)
            delta2 = 2 * (a2 - y) * a2 * (1 - a2) / y.size
        case "bce":
            # From the logit: -y log(a2) - (1 - y) log(1 - a2) is infinite or nan once a2 rounds to 0 or 1.
            value = jnp.mean(jax.nn.softplus(z2) - y * z2)
            delta2 = (a2 - y) / y.size
        case _:
            raise checks.unknown("backpropagate", "loss", loss, get_args(Loss))
    delta1 = (delta2 @ parameters.w2.T) * _slope(layers, hidden)
    gradients = TwoLayer(x.T @ delta1, delta1.sum(0), a1.T @ delta2, delta2.sum(0))
    return Backpropagation(value, gradients, layers, delta2, delta1)


def _slope(layers: Forward, hidden: Hidden) -> jax.Array:
    """``h'(z1)``, from the forward pass's values."""
    a1 = layers.a1
    match hidden:
        case "sigmoid":
            return a1 * (1 - a1)
        case "tanh":
            return (1 - a1) * (1 + a1)
        case "relu":
            return (layers.z1 > 0).astype(a1.dtype)
