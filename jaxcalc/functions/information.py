"""Information that two discrete variables share, from the table of their joint probabilities."""

from typing import Any

from jax import Array

from jaxcalc import checks
from jaxcalc.functions.distributions import categorical, kl

__all__ = ["mutual_information"]


def mutual_information(joint: Any) -> Array:
    """The mutual information of two discrete variables, in nats: the divergence of independence from their joint.

        I(X; Y) = KL(p(x, y), p(x) p(y)) = H(X) + H(Y) - H(X, Y)

    Args:
      joint: probabilities, shape ``(..., k, m)``, not negative, summing to one over the last two axes.

    Returns:
      Shape ``(...)``, 0 or more; 0 for independent variables. Differentiable.

    Raises:
      ValueError: for another shape, or concrete probabilities out of range or of another sum.
    """
    joint = checks.real_array("mutual_information", "joint", joint)
    if joint.ndim < 2 or 0 in joint.shape[-2:]:
        raise ValueError(f"mutual_information: joint must have shape (..., k, m) with k, m > 0, got {joint.shape}.")
    apart = joint.sum(-1)[..., :, None] * joint.sum(-2)[..., None, :]
    flat = lambda table: categorical(table.reshape(*table.shape[:-2], -1))
    return kl(flat(joint), flat(apart))
