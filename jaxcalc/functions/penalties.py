"""Penalties on weights, each with its gradient and its proximal map in closed form.

The proximal map of ``c P`` takes w to the u that minimises ``|u - w|^2 / 2 + c P(u)``. A step along the gradient of a
smooth loss, then the proximal map with c the step times the penalty's strength, is proximal gradient descent (ISTA): it
needs no derivative of the penalty, so the kink of L1 is kept, and weights become 0 exactly.

Sources: N. Parikh and S. Boyd, Proximal algorithms, Foundations and Trends in Optimization 1, 2014, section 6; A. Beck
and M. Teboulle, A fast iterative shrinkage-thresholding algorithm for linear inverse problems, SIAM Journal on Imaging
Sciences 2, 2009.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks

__all__ = ["PENALTIES", "Penalty", "soft_threshold"]


@dataclass(frozen=True)
class Penalty:
    """A penalty on weights. Its three functions take ``(weights, strength)``; both may be traced.

    Args:
      name: in figures and tables.
      value: strength times the penalty, a scalar, of weights of any shape.
      gradient: its gradient, of the weights' shape; at a kink the subgradient of least norm.
      proximal: its proximal map, of the weights' shape; for a step of length s the strength is s times the penalty's.
    """

    name: str
    value: Callable[[ArrayLike, ArrayLike], Array]
    gradient: Callable[[ArrayLike, ArrayLike], Array]
    proximal: Callable[[ArrayLike, ArrayLike], Array]

    def __call__(self, weights: ArrayLike, strength: ArrayLike) -> Array:
        """Strength times the penalty."""
        return self.value(weights, strength)


def soft_threshold(weights: ArrayLike, threshold: ArrayLike) -> Array:
    """``sign(w) max(|w| - threshold, 0)``, entry by entry: the proximal map of ``threshold |w|_1``.

    Args:
      weights: of any shape.
      threshold: 0 or more, one for all entries or one for each.

    Raises:
      ValueError: a threshold is a number below 0.
    """
    threshold = checks.number("soft_threshold", "threshold", threshold, least=0)
    return jnp.sign(weights) * jnp.maximum(jnp.abs(weights) - threshold, 0)


PENALTIES: dict[str, Penalty] = {
    "l1": Penalty(
        "l1",
        lambda weights, strength: jnp.abs(weights).sum() * strength,
        lambda weights, strength: jnp.sign(weights) * strength,
        soft_threshold,
    ),
    "l2": Penalty(
        "l2",
        lambda weights, strength: jnp.square(weights).sum() * strength / 2,
        lambda weights, strength: jnp.asarray(weights) * strength,
        lambda weights, strength: jnp.asarray(weights) / (1 + strength),
    ),
}
"""``|w|_1`` and ``|w|^2 / 2`` by name."""
