"""Loops and choices that also run inside ``jax.shard_map``, where a type tells over which devices a number varies."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

__all__ = ["cond", "while_loop"]

T = TypeVar("T")


def while_loop(unfinished: Callable[[T], Any], body: Callable[[T], T], begun: T) -> T:
    """``jax.lax.while_loop``; what a loop begins with, zeros say, need not vary as what it becomes."""
    if not _in_shards():
        return jax.lax.while_loop(unfinished, body, begun)
    types: Any = None
    while types != (types := jax.tree.map(jax.typeof, begun)):
        begun = jax.tree.map(_varying, begun, jax.eval_shape(body, begun))
    return jax.lax.while_loop(unfinished, body, begun)


def cond(choice: Any, chosen: Callable[..., Any], other: Callable[..., Any], *operands: Any) -> Any:
    """``jax.lax.cond``; one side may vary where the other one is the same everywhere."""
    if not _in_shards():
        return jax.lax.cond(choice, chosen, other, *operands)
    sides = [chosen, other]
    types = [jax.eval_shape(side, *operands) for side in sides]
    sides = [lambda *x, side=side, to=to: jax.tree.map(_varying, side(*x), to) for side, to in zip(sides, types[::-1])]
    return jax.lax.cond(choice, *sides, *operands)


def _in_shards() -> bool:
    return any(kind == AxisType.Manual for kind in jax.sharding.get_abstract_mesh().axis_types)


def _varying(leaf: Any, like: Any) -> Any:
    """The array, varying over its own devices and those of ``like``."""
    # What JAX has for it differs by release; adding zeros of that type does it in all.
    zero = jnp.zeros_like(like)
    return leaf | zero if zero.dtype == bool else leaf + zero
