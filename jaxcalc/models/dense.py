"""Dense networks: a small one for any widths, and a deep one whose depth is a number and no program of its own."""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation, activation
from jaxcalc.functions.mean_field import critical_weight_variance
from jaxcalc.models.initialisation import INITIALISATIONS, draw_weights, weight_variance
from jaxcalc.models.measurements import step_norms
from jaxcalc.models.model import Model
from jaxcalc.models.scan import CHECKPOINTS, scan_layers

__all__ = [
    "NORMALISATIONS",
    "RESIDUALS",
    "DeepNetwork",
    "DeepParameters",
    "GradientFlow",
    "Layers",
    "NormalisationName",
    "ResidualName",
    "deep_network",
    "draw_weights",
    "gradient_flow",
    "mlp",
    "normalise",
    "unit_chain",
    "weight_variance",
]

ResidualName = Literal["none", "plain", "scaled", "two_matrix"]
RESIDUALS: tuple[ResidualName, ...] = get_args(ResidualName)
NormalisationName = Literal["none", "batch", "layer", "rms"]
NORMALISATIONS: tuple[NormalisationName, ...] = get_args(NormalisationName)
_EPSILON = 1e-5  # beside the variance that a normalisation divides by, so that a constant one has a gradient


class Layers(NamedTuple):
    """One dense layer, or many stacked along a leading axis."""

    weights: jax.Array
    """``(..., fan_in, fan_out)``"""
    biases: jax.Array
    """``(..., fan_out)``"""


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
    outer: jax.Array | None = None
    """``(max_depth, width, width)``: V of a two-matrix residual layer"""


def normalise(name: str, h: jax.Array) -> jax.Array:
    """Entries of mean 0 and mean square 1 (``"rms"``: of mean square 1), without gain or shift of their own.

    Args:
      name: ``"batch"`` over all axes but the last, ``"layer"`` and ``"rms"`` over the last; ``"none"`` returns ``h``.
      h: ``(..., features)``.

    Raises:
      ValueError: for an unknown name; for one feature, or one example, which nothing is left of.
    """
    match name:
        case "none":
            return h
        case "batch":
            axes = tuple(range(h.ndim - 1))
            if h.size == h.shape[-1]:
                raise ValueError(f"normalise: a batch must hold 2 examples at least, got shape {h.shape}.")
        case "layer" | "rms":
            axes = (-1,)
            if h.shape[-1] < 2:
                raise ValueError(f"normalise: {name} takes 2 features at least, got shape {h.shape}.")
        case _:
            raise checks.unknown("normalise", "name", name, NORMALISATIONS)
    centred = h if name == "rms" else h - h.mean(axes, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axes, keepdims=True) + _EPSILON)


def deep_network(
    num_inputs: int,
    width: int,
    num_outputs: int,
    *,
    max_depth: int,
    phi: Activation | str,
    initialisation: str = "glorot",
    residual: str = "none",
    normalisation: str = "none",
    checkpoint: str = "none",
    critical_moment: float = 1.0,
) -> DeepNetwork:
    """Equal layers between a linear embedding and a linear readout, ``h <- skip h + branch phi(norm(h W) + b)``.

    The layers run in one ``lax.scan`` over all ``max_depth`` of them and those past ``depth`` are the identity. So
    ``depth`` may be traced: one program serves every depth, and lanes of different depths share it.

    Args:
      num_inputs, width, num_outputs: sizes of input, hidden layers and output.
      max_depth: the layers held.
      phi: the activation, or its name.
      initialisation: of the layers' weights, see ``draw_weights``; ``"critical"`` draws normal weights and biases of
        the variances at which gradients neither vanish nor explode and the mean square before the activation stays.
      residual: ``"none"``; ``"plain"``, skip and branch 1; ``"scaled"``, skip 1 and branch ``1/sqrt(depth)``;
        ``"two_matrix"``, skip 1 and ``phi(norm(h W) + b) V`` for a branch, whose random V makes it independent of the
        skip, so that mean-field theory is exact.
      normalisation: before bias and activation, see ``normalise``.
      checkpoint: what the backward pass finds stored, see ``scan_layers``; thousands of layers want ``"segments"``.
      critical_moment: that mean square, for ``"critical"`` alone.

    Returns:
      ``init(key, *, gain=1.0, bias_std=0.0, sw2=None, sv2=1.0)``, the weights times ``gain``; ``sw2`` and ``sv2`` are
      the variance times the width of the entries of W and V, whatever the initialisation would give to W. All four may
      be traced. ``apply(params, x, *, depth=max_depth, probes=None)`` from ``(batch, num_inputs)`` to ``(batch,
      num_outputs)``, ``probes`` of shape ``(max_depth + 1, batch, width)`` being added to the layers' outputs;
      ``trace``, with the same arguments.

    Raises:
      ValueError: for a size or depth below 1, an unknown name, a variance that is not positive, an activation that has
        no critical point there, or a layer of one unit that is normalised by itself.
    """
    who = "deep_network"
    for name, size in (("num_inputs", num_inputs), ("num_outputs", num_outputs), ("max_depth", max_depth)):
        checks.integer(who, name, size)
    checks.one_of(who, "residual", residual, RESIDUALS)
    checks.one_of(who, "normalisation", normalisation, NORMALISATIONS)
    checks.one_of(who, "checkpoint", checkpoint, CHECKPOINTS)
    alone = normalisation in ("layer", "rms")
    checks.integer(who, "width", width, least=2 if alone else 1, remedy="One unit has no spread." if alone else "")
    phi = activation(phi) if isinstance(phi, str) else phi
    critical = None
    if initialisation == "critical":
        critical = _critical(phi, critical_moment)
        initialisation = "lecun"
    elif initialisation not in INITIALISATIONS:  # refused here, not at the first call
        raise checks.unknown(who, "initialisation", initialisation, (*INITIALISATIONS, "critical"))
    variance = weight_variance(initialisation, width, width)

    def init(key, *, gain=1.0, bias_std=0.0, sw2=None, sv2=1.0):
        checks.number(f"{who}.init", "bias_std", bias_std, least=0)
        checks.number(f"{who}.init", "sv2", sv2, above=0)
        if critical and sw2 is None:
            sw2, bias_std = critical[0], jnp.sqrt(critical[1] + jnp.square(bias_std))
        if sw2 is not None:
            if not variance:
                raise ValueError(f"{who}.init: sw2 must be left out where all weights are zero, got {sw2!r}.")
            gain = gain * jnp.sqrt(checks.number(f"{who}.init", "sw2", sw2, above=0) / (width * variance))
        layers_key, rest_key = jax.random.split(key)
        # Layer l has a key of its own, so that networks of any max_depth share their first layers.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(layers_key, jnp.arange(max_depth))
        weights = jax.vmap(lambda k: draw_weights(initialisation, k, (width, width)))(keys)
        outer = None
        if residual == "two_matrix":
            own = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)
            outer = jnp.sqrt(sv2) * jax.vmap(lambda k: draw_weights("lecun", k, (width, width)))(own)
        # Embedding, readout and biases come from one draw: each draw adds a second of compilation in double precision.
        rest = jax.random.normal(rest_key, (num_inputs + num_outputs + max_depth, width), float)
        embedding, readout, biases = jnp.split(rest, [num_inputs, num_inputs + num_outputs])
        return DeepParameters(
            embedding / num_inputs**0.5, Layers(gain * weights, bias_std * biases), readout.T / width**0.5, outer
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
            index, weights, biases, outer, probe = inputs
            # A layer past the depth is fed zeros: a NaN that it made would come back through the mask's gradient.
            inside = jnp.where(index < depth, h, 0.0)
            own = phi(normalise(normalisation, inside @ weights) + biases)
            own = own if outer is None else own @ outer
            grown = skip * inside + branch * own + probe
            h = jnp.where(index < depth, grown, h)
            return h, h

        xs = (jnp.arange(max_depth), *params.layers, params.outer, probes[1:])
        last, rest = scan_layers(layer, first, xs, checkpoint)
        return last @ params.readout, jnp.concatenate([first[None], rest])

    def apply(params, x, *, depth=None, probes=None):
        return trace(params, x, depth=depth, probes=probes)[0]

    return DeepNetwork(init, apply, trace, connection, max_depth)


def _critical(phi: Activation, moment: float) -> tuple[float, float]:
    """The critical variances as numbers, whatever is being traced around."""
    checks.number("deep_network", "critical_moment", moment, above=0, finite=True)
    with jax.ensure_compile_time_eval():
        sw2, sb2 = (float(variance) for variance in critical_weight_variance(phi, moment))
    if sw2 != sw2:
        raise ValueError(
            f"deep_network: {phi.name} has no critical point with a mean square of {moment:g} before the activation; "
            "pass another critical_moment, or an initialisation by name."
        )
    return sw2, sb2


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
    signal = x.shape[0] ** 0.5 * step_norms(by_probes)
    weights = jnp.concatenate([jnp.full(1, jnp.nan), step_norms(by_weights)])
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
