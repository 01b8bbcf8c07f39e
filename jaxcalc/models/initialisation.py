"""Random weights by name, with the variance of an entry that each of them has."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxcalc import checks

__all__ = ["INITIALISATIONS", "InitialisationName", "draw_weights", "weight_variance"]

InitialisationName = Literal[
    "glorot", "glorot_uniform", "he", "lecun", "standard", "orthogonal", "unit", "naive", "zero"
]
INITIALISATIONS: tuple[InitialisationName, ...] = get_args(InitialisationName)


def weight_variance(name: str, fan_in: int, fan_out: int) -> float:
    """The variance of a weight under an initialisation, of unit gain.

    Args:
      name: ``"zero"`` 0; ``"naive"`` 1 whatever the size; ``"glorot"`` (Xavier's, normal) and ``"glorot_uniform"``
        2/(fan_in + fan_out); ``"he"`` 2/fan_in; ``"lecun"`` 1/fan_in; ``"standard"`` 1/(3 fan_in), the uniform one that
        Glorot and Bengio found wanting; ``"orthogonal"`` and ``"unit"`` (the identity) 1/max(fan_in, fan_out), the
        mean square of an entry.

    Raises:
      ValueError: for an unknown name.
    """
    match name:
        case "zero":
            return 0.0
        case "naive":
            return 1.0
        case "glorot" | "glorot_uniform":
            return 2 / (fan_in + fan_out)
        case "he":
            return 2 / fan_in
        case "lecun":
            return 1 / fan_in
        case "standard":
            return 1 / (3 * fan_in)
        case "orthogonal" | "unit":
            return 1 / max(fan_in, fan_out)
    raise checks.unknown("weight_variance", "name", name, INITIALISATIONS)


def draw_weights(name: str, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """A weight matrix of shape ``(fan_in, fan_out)`` from a named initialisation.

    Args:
      name: see ``weight_variance``; normal entries but for ``"glorot_uniform"`` and ``"standard"`` (uniform),
        ``"orthogonal"``, ``"unit"`` and ``"zero"``.
      key: a key.
      shape: ``(fan_in, fan_out)``.

    Source: X. Glorot, Y. Bengio, AISTATS 2010; K. He, X. Zhang, S. Ren, J. Sun, ICCV 2015;
      A. Saxe, J. McClelland, S. Ganguli, ICLR 2014.
    """
    variance = weight_variance(name, *shape)
    match name:
        case "standard" | "glorot_uniform":
            limit = (3 * variance) ** 0.5
            return jax.random.uniform(key, shape, float, -limit, limit)
        case "orthogonal":
            return jax.nn.initializers.orthogonal()(key, shape, float)
        case "unit":
            return jnp.eye(*shape, dtype=float)
        case "zero":
            return jnp.zeros(shape, float)
        case _:
            return variance**0.5 * jax.random.normal(key, shape, float)
