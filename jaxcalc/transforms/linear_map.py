"""A linear map given by both of its directions, for the rules of functions that JAX cannot transpose."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["linear_map", "once"]


def linear_map(forward: Callable[[Any], Any], backward: Callable[[Any], Any], tangents: Any, like: Any) -> Any:
    """``forward(tangents)``, whose transpose is ``backward``: what a ``jax.custom_jvp`` rule returns for both modes.

    It is the second half of ``A^-1 (tangents, 0)`` with ``A^-1 = [[I, 0], [L, I]]``, a solve told to JAX without its
    matrix; so it maps under ``vmap`` and transposes once. JAX does not see what ``L`` was taken at: pass that
    through ``once``, or a further derivative would leave it out.

    Args:
      forward: from tangents to the outputs' tangents.
      backward: from the outputs' cotangents to those of the inputs.
      tangents: floating-point leaves.
      like: the outputs, floating-point leaves.
    """
    # All of the right-hand side has to depend on the tangents, or JAX would not transpose it: by an empty sum.
    nothing = sum(jnp.ravel(leaf)[:0].sum().real for leaf in jax.tree.leaves(tangents))
    bound = lambda leaf: leaf + jnp.asarray(nothing, leaf.dtype)
    zeros = jax.tree.map(lambda leaf: bound(jnp.zeros_like(leaf)), like)
    add = lambda a, b: jax.tree.map(jnp.add, a, b)
    return jax.lax.custom_linear_solve(
        lambda halves: halves,
        (jax.tree.map(bound, tangents), zeros),
        lambda _, halves: (halves[0], add(halves[1], forward(halves[0]))),
        lambda _, halves: (add(halves[0], backward(halves[1])), halves[1]),
    )[1]


def once(refusal: str) -> Callable[[Any], Any]:
    """The identity, which may not be differentiated.

    Raises:
      TypeError: where it is, with those words.
    """

    @jax.custom_jvp
    def same(tree: Any) -> Any:
        return tree

    @same.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        raise TypeError(refusal)

    return same
