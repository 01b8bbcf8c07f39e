"""A flow between the times asked for: what its steps interpolate, as a function of time."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["Path"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["grids", "counts", "dense", "sign"],
    meta_fields=["interpolations"],
)
@dataclass(frozen=True)
class Path:
    """A flow's states as a function of time, by what interpolates its steps.

    Args:
      grids: where steps ended, of each solver that took some, from the start on, shape ``(max_steps + 1,)``.
      counts: how many steps each of them took.
      dense: what interpolates them, on leading axes.
      sign: -1 of times that decrease: grids increase.
      interpolations: of each solver, from a step's times and what interpolates it to what evaluates it.
    """

    grids: tuple[jax.Array, ...]
    counts: tuple[jax.Array, ...]
    dense: tuple[Any, ...]
    sign: jax.Array
    interpolations: tuple[Callable[..., Any], ...]

    @property
    def start(self) -> jax.Array:
        """The first time."""
        return self.sign * self.grids[0][0]

    @property
    def end(self) -> jax.Array:
        """The last time that a step reached."""
        last = [grid[count] for grid, count in zip(self.grids, self.counts)]
        return self.sign * functools.reduce(jnp.maximum, last)

    def __call__(self, t: jax.typing.ArrayLike) -> Any:
        """The states at ``t``, a time or an array of them, whose axes lead; NaN before the start and after the end.

        To the order of the method's interpolation, which between long implicit steps is a cubic.
        """
        times = jnp.asarray(t, jnp.result_type(t, float))
        states = jax.vmap(self._at)(jnp.ravel(times).astype(self.grids[0].dtype))
        return jax.tree.map(lambda leaf: leaf.reshape(*times.shape, *leaf.shape[1:]), states)

    def _at(self, t: jax.Array) -> Any:
        moved = self.sign * t
        found, legs = None, zip(self.interpolations, self.grids, self.counts, self.dense)
        for interpolation, grid, count, dense in legs:
            # Of the steps taken: the last whose start is not later.
            ends = jnp.where(jnp.arange(grid.size) <= count, grid, jnp.inf)
            step = jnp.clip(jnp.searchsorted(ends, moved, side="right") - 1, 0, jnp.maximum(count - 1, 0))
            path = interpolation(
                t0=grid[step], t1=grid[step + 1], **jax.tree.map(lambda leaf, step=step: leaf[step], dense)
            )
            inside = (count > 0) & (moved >= grid[0]) & (moved <= grid[count])
            # No number of a step of no length reaches a derivative.
            states = path.evaluate(jnp.where(inside, moved, grid[step]))
            before = jax.tree.map(lambda y: jnp.full_like(y, jnp.nan), states) if found is None else found
            found = jax.tree.map(lambda new, old, inside=inside: jnp.where(inside, new, old), states, before)
        return found
