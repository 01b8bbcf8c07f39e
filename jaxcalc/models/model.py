"""What a model is: two pure functions that share their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

__all__ = ["Model", "num_parameters"]


class Model(NamedTuple):
    """``init(key) -> params`` draws the parameters, ``apply(params, x)`` uses them; any PyTree may be ``params``."""

    init: Callable[[jax.Array], Any]
    apply: Callable[..., Any]


def num_parameters(params: Any) -> int:
    """The number of scalars in a PyTree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
