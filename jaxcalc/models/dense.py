"""Dense networks: a small one for any widths, and a deep one whose depth is a number and no program of its own."""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation, activation
from jaxcalc.models.model import Model

__all__ = [
    "DeepNetwork",
    "GradientFlow",
    "InitialisationName",
    "Layers",
    "ResidualName",
    "deep_network",
    "draw_weights",
    "gradient_flow",
    "mlp",
    "unit_chain",
    "weight_variance",
]

InitialisationName = Literal["glorot", "he", "standard", "orthogonal", "unit"]
ResidualName = Literal["none", "plain", "scaled"]


class Layers(NamedTuple):
    """One dense layer, or many stacked along a leading axis."""

    weights: jax.Array
    """``(..., fan_in, fan_out)``"""
    biases: jax.Array
    """``(..., fan_out)``"""


def weight_variance(name: str, fan_in: int, fan_out: int) -> float:
    """The variance of a weight under an initialisation, of unit gain.

    Args:
      name: ``"glorot"`` 2/(fan_in + fan_out); ``"he"`` 2/fan_in; ``"standard"`` 1/(3 fan_in), the uniform one that
        Glorot and Bengio found wanting; ``"orthogonal"`` and ``"unit"`` (the identity) 1/max(fan_in, fan_out), the
        mean square of an entry.

    Raises:
      ValueError: for an unknown name.
    """
    match name:
        case "glorot":
            return 2 / (fan_in + fan_out)
        case "he":
            return 2 / fan_in
        case "standard":
            return 1 / (3 * fan_in)
        case "orthogonal" | "unit":
            return 1 / max(fan_in, fan_out)
    raise checks.unknown("weight_variance", "name", name, ("glorot", "he", "standard", "orthogonal", "unit"))


def draw_weights(name: str, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """A weight matrix of shape ``(fan_in, fan_out)`` from a named initialisation.

    Args:
      name: see ``weight_variance``; normal entries but for ``"standard"`` (uniform), ``"orthogonal"`` and ``"unit"``.
      key: a key.
      shape: ``(fan_in, fan_out)``.

    Source: X. Glorot, Y. Bengio, AISTATS 2010; K. He, X. Zhang, S. Ren, J. Sun, ICCV 2015;
      A. Saxe, J. McClelland, S. Ganguli, ICLR 2014.
    """
    variance = weight_variance(name, *shape)
    match name:
        case "standard":
            limit = (3 * variance) ** 0.5
            return jax.random.uniform(key, shape, float, -limit, limit)
        case "orthogonal":
            return jax.nn.initializers.orthogonal()(key, shape, float)
        case "unit":
            return jnp.eye(*shape, dtype=float)
        case _:
            return variance**0.5 * jax.random.normal(key, shape, float)


def mlp(widths: Sequence[int], phi: Activation | str = "tanh", *, initialisation: str = "glorot") -> Model:
    """A multilayer perceptron with a linear last layer.

    Args:
      widths: sizes of input, hidden layers and output.
      phi: the activation between layers, or its name.
      initialisation: of the weights; biases start at 0.

    Returns:
      A model: ``params`` is a list of ``Layers``; ``apply(params, x)`` takes ``(..., widths[0])`` to
      ``(..., widths[-1])``.

    Raises:
      ValueError: for fewer than two widths, or an unknown name.
    """
    if len(widths) < 2:
        raise ValueError(f"mlp: widths must hold input and output sizes at least, got {tuple(widths)}.")
    phi = activation(phi) if isinstance(phi, str) else phi
    shapes = list(itertools.pairwise(widths))

    def init(key):
        keys = jax.random.split(key, len(shapes))
        return [Layers(draw_weights(initialisation, k, s), jnp.zeros(s[1])) for k, s in zip(keys, shapes, strict=True)]

    def apply(params, x):
        for layer in params[:-1]:
            x = phi(x @ layer.weights + layer.biases)
        return x @ params[-1].weights + params[-1].biases

    return Model(init, apply)


class DeepNetwork(NamedTuple):
    """A model of many equal layers, and what it takes to look at each of them."""

    init: Callable[..., "DeepParameters"]
    apply: Callable[..., jax.Array]
    trace: Callable[..., tuple[jax.Array, jax.Array]]
    """what ``apply`` returns, and every layer's output, the embedded input first: ``(max_depth + 1, batch, width)``"""
    connection: Callable[[jax.typing.ArrayLike], tuple[float, jax.typing.ArrayLike]]
    """``connection(depth)``: the factors ``(skip, branch)`` on a layer's input and on its own part"""
    max_depth: int


class DeepParameters(NamedTuple):
    """The parameters of a deep network: embedding, ``max_depth`` stacked layers, readout."""

    embedding: jax.Array
    layers: Layers
    readout: jax.Array


def deep_network(
    num_inputs: int,
    width: int,
    num_outputs: int,
    *,
    max_depth: int,
    phi: Activation | str,
    initialisation: str = "glorot",
    residual: str = "none",
) -> DeepNetwork:
    """Equal layers between a linear embedding and a linear readout, ``h <- skip h + branch phi(h W + b)``.

    The layers run in one ``lax.scan`` over all ``max_depth`` of them and those past ``depth`` are the identity. So
    ``depth`` may be traced: one program serves every depth, and lanes of different depths share it.

    Args:
      num_inputs, width, num_outputs: sizes of input, hidden layers and output.
      max_depth: the layers held.
      phi: the activation, or its name.
      initialisation: of the layers' weights, see ``draw_weights``.
      residual: ``"none"``; ``"plain"``, skip and branch 1; ``"scaled"``, skip 1 and branch ``1/sqrt(depth)``.

    Returns:
      ``init(key, *, gain=1.0, bias_std=0.0)``, the weights times ``gain``; ``apply(params, x, *, depth=max_depth,
      probes=None)`` from ``(batch, num_inputs)`` to ``(batch, num_outputs)``, ``probes`` of shape ``(max_depth + 1,
      batch, width)`` being added to the layers' outputs; ``trace``, with the same arguments.

    Raises:
      ValueError: for a depth below 1 or an unknown name.
    """
    checks.integer("deep_network", "max_depth", max_depth)
    checks.one_of("deep_network", "residual", residual, ("none", "plain", "scaled"))
    phi = activation(phi) if isinstance(phi, str) else phi
    weight_variance(initialisation, width, width)  # an unknown name is refused here, not at the first call

    def init(key, *, gain=1.0, bias_std=0.0):
        layers_key, rest_key = jax.random.split(key)
        # Layer l has a key of its own, so that networks of any max_depth share their first layers.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(layers_key, jnp.arange(max_depth))
        weights = jax.vmap(lambda k: draw_weights(initialisation, k, (width, width)))(keys)
        # Embedding, readout and biases come from one draw: each draw adds a second of compilation in double precision.
        rest = jax.random.normal(rest_key, (num_inputs + num_outputs + max_depth, width), float)
        embedding, readout, biases = jnp.split(rest, [num_inputs, num_inputs + num_outputs])
        return DeepParameters(
            embedding / num_inputs**0.5, Layers(gain * weights, bias_std * biases), readout.T / width**0.5
        )

    def connection(depth):
        return float(residual != "none"), 1 / jnp.sqrt(depth) if residual == "scaled" else 1.0

    def trace(params, x, *, depth=None, probes=None):
        depth = jnp.asarray(max_depth if depth is None else depth)
        first = x @ params.embedding
        if probes is None:
            probes = jnp.zeros((max_depth + 1, 1, 1), first.dtype)
        first = first + probes[0]
        skip, branch = connection(depth.astype(first.dtype))

        def layer(h, inputs):
            index, weights, biases, probe = inputs
            # A layer past the depth is fed zeros: a NaN that it made would come back through the mask's gradient.
            inside = jnp.where(index < depth, h, 0.0)
            grown = skip * inside + branch * phi(inside @ weights + biases) + probe
            h = jnp.where(index < depth, grown, h)
            return h, h

        xs = (jnp.arange(max_depth), *params.layers, probes[1:])
        last, rest = jax.lax.scan(layer, first, xs)
        return last @ params.readout, jnp.concatenate([first[None], rest])

    def apply(params, x, *, depth=None, probes=None):
        return trace(params, x, depth=depth, probes=probes)[0]

    return DeepNetwork(init, apply, trace, connection, max_depth)


class GradientFlow(NamedTuple):
    """Norms by layer, shape ``(max_depth + 1,)``, layer 0 being the embedded input; NaN past the depth."""

    signal: jax.Array
    """root mean square over the batch of ``|d loss_i / d h|``, one norm per example"""
    weights: jax.Array
    """Frobenius norm of the mean loss's gradient in the layer's weights (NaN for layer 0)"""
    moment: jax.Array
    """mean square of the layer's output"""


def gradient_flow(
    network: DeepNetwork,
    loss: Callable[[jax.Array], jax.Array],
    params: DeepParameters,
    x: jax.Array,
    depth: jax.typing.ArrayLike,
) -> GradientFlow:
    """The gradient's size at every layer of a network, by one backward pass.

    A zero is added to each layer's output; the gradient in that zero is the gradient in the output.

    Args:
      network: from ``deep_network``.
      loss: from outputs ``(batch, num_outputs)`` to the losses ``(batch,)``.
      params: its parameters.
      x: inputs ``(batch, num_inputs)``.
      depth: how many of the layers take part; may be traced.
    """
    probes = jnp.zeros((network.max_depth + 1, x.shape[0], params.embedding.shape[1]), params.embedding.dtype)

    def mean_loss(weights, probes):
        layers = params.layers._replace(weights=weights)
        outputs, states = network.trace(params._replace(layers=layers), x, depth=depth, probes=probes)
        return loss(outputs).mean(), jnp.mean(states**2, axis=(1, 2))

    (by_weights, by_probes), moment = jax.grad(mean_loss, argnums=(0, 1), has_aux=True)(params.layers.weights, probes)
    layer = jnp.arange(network.max_depth + 1)
    present = layer <= depth
    # The mean over the batch carries 1/batch into every example's gradient.
    signal = jnp.sqrt(x.shape[0] * jnp.sum(by_probes**2, axis=(1, 2)))
    weights = jnp.concatenate([jnp.full(1, jnp.nan), jnp.sqrt(jnp.sum(by_weights**2, axis=(1, 2)))])
    return GradientFlow(*(jnp.where(present, norm, jnp.nan) for norm in (signal, weights, moment)))


def unit_chain(
    phi: Activation, weight: jax.typing.ArrayLike, bias: jax.typing.ArrayLike, x: jax.typing.ArrayLike, num_layers: int
) -> jax.Array:
    """The derivative of a chain of single units, ``x_l = phi(weight x_{l-1} + bias)``, after each of them.

    Args:
      phi: the activation.
      weight, bias: shared by all units.
      x: the chain's input.
      num_layers: units in the chain.

    Returns:
      ``d x_l / d x_0`` for ``l = 0, ..., num_layers``.
    """
    dtype = jnp.result_type(float)

    def step(carry, _):
        carry = jax.jvp(lambda x: phi(weight * x + bias), carry[:1], carry[1:])
        return carry, carry[1]

    start = (jnp.asarray(x, dtype), jnp.ones((), dtype))
    return jnp.concatenate([jnp.ones(1, dtype), jax.lax.scan(step, start, length=num_layers)[1]])
