"""Networks whose layers are steps in time: neural ODEs, and the residual networks that are their Euler scheme."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxcalc.functions.fields import lotka_volterra_logarithmic
from jaxcalc.models.dense import mlp
from jaxcalc.models.model import Model
from jaxcalc.transforms.flow import flow

__all__ = ["lotka_volterra_field", "mlp_field", "neural_ode", "residual_end", "residual_network"]


def mlp_field(
    dimension: int,
    hidden: int,
    *,
    num_hidden: int = 2,
    phi: str = "tanh",
    center: jax.typing.ArrayLike = 0.0,
    scale: jax.typing.ArrayLike = 1.0,
) -> Model:
    """An autonomous vector field: ``y' = scale * mlp((y - center) / scale)``, a perceptron in standardised states.

    Args:
      dimension: the size of a state.
      hidden: the width of a hidden layer.
      num_hidden: hidden layers.
      phi: the activation's name.
      center, scale: of the states met, each a scalar or of shape ``(dimension,)``.

    Returns:
      A model with ``apply(params, y)`` from ``(..., dimension)`` to ``(..., dimension)``.
    """
    network = mlp([dimension, *[hidden] * num_hidden, dimension], phi)
    return Model(network.init, lambda params, y: scale * network.apply(params, (y - center) / scale))


def lotka_volterra_field(typical_rates: Sequence[float] | jax.Array, *, spread: float = 0.3) -> Model:
    """Prey and predators with unknown rates, for the logarithms of their numbers.

    Args:
      typical_rates: ``(a, b, c, d)``, around which ``init`` draws.
      spread: standard deviation of a rate's logarithm.

    Returns:
      A model whose parameters are the logarithms of the four rates, which keeps the rates positive.
    """
    center = jnp.log(jnp.asarray(typical_rates, float))
    return Model(
        lambda key: center + spread * jax.random.normal(key, center.shape, center.dtype),
        lambda params, u: lotka_volterra_logarithmic(jnp.zeros(()), u, jnp.exp(params)),
    )


def neural_ode(field: Model, **choices: Any) -> Model:
    """A model whose output is the flow of a learned field.

    Args:
      field: a model of the field, ``apply(params, y)``.
      choices: what ``jaxcalc.transforms.flow.flow`` takes: ``solver``, ``adjoint``, ``num_steps``, tolerances.

    Returns:
      A model with ``apply(params, y0, times)``: states at ``times``, shape ``(k, *y0.shape)``.
    """
    flow_map = flow(lambda t, y, params: field.apply(params, y), **choices)
    return Model(field.init, lambda params, y0, times: flow_map(y0, times, params))


def residual_network(
    block: Callable[[Any, jax.Array], jax.Array], num_blocks: int, *, shared: bool = True
) -> Callable[..., jax.Array]:
    """A residual network of blocks of one form, ``h <- h + scale * block(params, h)``.

    With ``scale = T / num_blocks`` and shared parameters it is Euler's method for ``h' = block(params, h)`` up to the
    time ``T``; with parameters that vary smoothly from block to block, for ``h' = block(params(t), h)``.

    Args:
      block: what a block adds.
      num_blocks: blocks in a row.
      shared: whether every block has the same ``params``; otherwise each array in them has a leading axis over blocks.

    Returns:
      ``apply(params, x, scale) -> states``, every block's output with ``x`` first: ``(num_blocks + 1, *x.shape)``.
    """

    def apply(params, x, scale):
        def step(h, own):
            h = h + scale * block(params if shared else own, h)
            return h, h

        rest = jax.lax.scan(step, x, None if shared else params, length=num_blocks)[1]
        return jnp.concatenate([x[None], rest])

    return apply


def residual_end(block: Callable[[Any, jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    """The last state of ``residual_network`` where the number of blocks may be traced, so that one program refines.

    Args:
      block: what a block adds; every block shares ``params``.

    Returns:
      ``apply(params, x, scale, num_blocks)``, of the shape of ``x``. Not for reverse mode.
    """

    def apply(params, x, scale, num_blocks):
        return jax.lax.fori_loop(0, num_blocks, lambda _, h: h + scale * block(params, h), x)

    return apply
