"""Activation functions, each with its slope in closed form and the largest slope it can have."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp

__all__ = ["ACTIVATIONS", "Activation", "ActivationName", "activation", "gelu", "linear", "relu", "sigmoid", "tanh"]

ActivationName = Literal["linear", "sigmoid", "tanh", "relu", "gelu"]


@dataclass(frozen=True)
class Activation:
    """A scalar function applied to every entry, with its derivative.

    Args:
      name: what a config calls it.
      value: ``x -> f(x)``, entry by entry.
      derivative: ``x -> f'(x)`` in closed form.
      largest_slope: the supremum of ``|f'|``, the most that one layer of unit weights can pass of a gradient.
    """

    name: str
    value: Callable[[jax.Array], jax.Array]
    derivative: Callable[[jax.Array], jax.Array]
    largest_slope: float

    def __call__(self, x: jax.Array) -> jax.Array:
        """``f(x)``, entry by entry."""
        return self.value(x)


def _sigmoid_derivative(x: jax.Array) -> jax.Array:
    """``s(x) s(-x)``, which keeps its digits where ``1 - s(x)`` would cancel."""
    x = jnp.asarray(x, jnp.result_type(x, float))
    return jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)


def _tanh_derivative(x: jax.Array) -> jax.Array:
    """``sech^2(x) = 4 s(2x) s(-2x)``, which keeps its digits where ``1 - tanh^2`` would cancel."""
    return 4 * _sigmoid_derivative(2 * x)


def _normal_density(x: jax.Array) -> jax.Array:
    """The standard normal density."""
    return jnp.exp(-0.5 * x * x) / jnp.sqrt(2 * jnp.pi).astype(x.dtype)


def _gelu_derivative(x: jax.Array) -> jax.Array:
    """``Phi(x) + x phi(x)`` with the standard normal's distribution and density."""
    x = jnp.asarray(x, jnp.result_type(x, float))
    # erfc keeps the digits of small probabilities, which 1 + erf would cancel.
    root = jnp.sqrt(jnp.asarray(0.5, x.dtype))
    return 0.5 * jax.lax.erfc(-root * x) + x * _normal_density(x)


linear = Activation("linear", lambda x: x, jnp.ones_like, 1.0)
sigmoid = Activation("sigmoid", jax.nn.sigmoid, _sigmoid_derivative, 0.25)
tanh = Activation("tanh", jnp.tanh, _tanh_derivative, 1.0)
# The slope at the kink is 0, as jax.nn.relu has it.
relu = Activation("relu", jax.nn.relu, lambda x: jnp.where(x > 0, jnp.ones_like(x), jnp.zeros_like(x)), 1.0)
# The slope of x Phi(x) is largest at x = sqrt 2, where its own derivative phi(x) (2 - x^2) vanishes.
_GELU_SLOPE = 0.5 * (1 + math.erf(1)) + math.exp(-1) / math.sqrt(math.pi)
gelu = Activation("gelu", lambda x: jax.nn.gelu(x, approximate=False), _gelu_derivative, _GELU_SLOPE)

ACTIVATIONS: dict[str, Activation] = {each.name: each for each in (linear, sigmoid, tanh, relu, gelu)}
assert tuple(ACTIVATIONS) == get_args(ActivationName)


def activation(name: str) -> Activation:
    """The activation of that name.

    Args:
      name: one of ``ACTIVATIONS``.

    Raises:
      ValueError: for an unknown name; the message lists the known ones.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: unknown name {name!r}; it is one of: {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]
