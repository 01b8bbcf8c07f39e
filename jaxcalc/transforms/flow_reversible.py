"""Steps that can be run backwards exactly, so that a gradient needs none of the states: algebraically reversible ones.

Two copies of the state help each other along, each with an explicit method's increments: what one step did is undone by
arithmetic. Rounding alone is not, and grows with the steps, slowly.

Source: S. McCallum and J. Foster, Efficient, accurate and stable gradients for neural ODEs, 2024.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc.transforms.flow_solvers import explicit_tableau
from jaxcalc.transforms.flow_steps import Step, any_lane, where, written_out

__all__ = ["Reversible", "run_back"]

# How strongly the two copies are held together: 1 not at all.
_COUPLING = 0.99


class Reversible(NamedTuple):
    """An explicit solver, made reversible; its state is a pair of states."""

    base: Any

    def error_order(self, term: Any) -> Any:
        """The order of the error that steps adapt to: the base's."""
        return self.base.error_order(term)

    def func(self, term: Any, t: Any, pair: Any, args: Any) -> Any:
        """The rates of both."""
        return term.vf(t, pair, args)

    def _increment(self, term: Any, t: Any, end: Any, y: Any) -> Step:
        single = lambda t, y: term.vf(t, (y, y), None)[0]
        return written_out(self.base, single, t, end, y)

    def step(self, term: Any, t: Any, end: Any, pair: Any) -> Step:
        """A step of the pair."""
        y, z = pair
        ahead = self._increment(term, t, end, z)
        mixed = lambda y, z, z1: _COUPLING * y + (1 - _COUPLING) * z + (z1 - z)
        y1 = jax.tree.map(mixed, y, z, ahead.y)
        back = self._increment(term, end, t, y1)
        z1 = jax.tree.map(lambda z, y1, y: z - (y - y1), z, y1, back.y)
        error = ahead.error, jax.tree.map(jnp.zeros_like, z)
        return Step((y1, z1), error, None, None, evaluations=2 * (len(explicit_tableau(self.base).c) + 1))

    def undone(self, term: Any, t: Any, end: Any, pair: Any) -> Any:
        """The pair before a step."""
        y1, z1 = pair
        back = self._increment(term, end, t, y1)
        z = jax.tree.map(lambda z1, y1, y: z1 + (y - y1), z1, y1, back.y)
        ahead = self._increment(term, t, end, z)
        unmixed = lambda y1, z, z1: (y1 - (1 - _COUPLING) * z - (z1 - z)) / _COUPLING
        return jax.tree.map(unmixed, y1, z, ahead.y), z


def run_back(
    solver: Reversible,
    make_term: Callable[[Any], Any],
    grid: jax.Array,
    length: jax.Array,
    args: Any,
    pair: Any,
    pair_bar: Any,
    saved_bar: Callable[[jax.Array], Any],
) -> tuple[Any, Any, jax.Array]:
    """The vector-Jacobian product of steps that are undone one by one.

    Args:
      make_term: from ``args``, all of them differentiated, to the term of pairs.
      grid, length: where steps ended, and how many there were.
      pair: where they ended.
      pair_bar: its cotangent.
      saved_bar: from the number of a step to the cotangent of the pair at its end.

    Returns:
      Cotangents of the first pair, of ``args``, and of the grid.
    """

    def body(carry: Any) -> Any:
        number, pair, bar, args_bar, grid_bar = carry
        active, n = number >= 0, jnp.maximum(number, 0)
        t, end = grid[n], grid[n + 1]
        bar = jax.tree.map(lambda a, b: a + jnp.where(active, b, 0), bar, saved_bar(n))
        before = solver.undone(make_term(args), t, end, pair)
        step = lambda pair, args, t, end: solver.step(make_term(args), t, end, pair).y
        found, more, t_bar, end_bar = jax.vjp(step, before, args, t, end)[1](bar)
        only = lambda value: jnp.where(active, value, 0)
        grid_bar = grid_bar.at[n].add(only(t_bar)).at[n + 1].add(only(end_bar))
        args_bar = jax.tree.map(lambda total, one: total + only(one), args_bar, more)
        return number - active, where(active, before, pair), where(active, found, bar), args_bar, grid_bar

    start = jnp.asarray(length, jnp.int32) - 1, pair, pair_bar, jax.tree.map(jnp.zeros_like, args), jnp.zeros_like(grid)
    _, _, bar, args_bar, grid_bar = jax.lax.while_loop(lambda carry: any_lane(carry[0] >= 0), body, start)
    return bar, args_bar, grid_bar
