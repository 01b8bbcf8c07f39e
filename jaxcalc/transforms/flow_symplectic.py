"""Symplectic steps of separable systems: positions drift by momenta alone, momenta are kicked by positions alone.

Each part of a step is a shear, which keeps volume and the symplectic form and is undone by its opposite: energies of
Hamiltonian systems stay near theirs for very long times, and a gradient needs no state but the last.

Sources: E. Hairer, C. Lubich, G. Wanner, Geometric Numerical Integration, 2006, sections I.1 and VI; H. Yoshida,
Construction of higher order symplectic integrators, Physics Letters A 150, 1990.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxcalc.programs.sparsity import jacobian_pattern
from jaxcalc.transforms.flow_steps import Step, zeros

__all__ = ["COMPOSITIONS", "Symplectic", "check_separable"]

_CUBE = 2 ** (1 / 3)
_OUTER, _INNER = 1 / (2 - _CUBE), -_CUBE / (2 - _CUBE)


class Part(NamedTuple):
    """Of a step: whether momenta are kicked, or positions drift; at which share of the step, and for how much of it."""

    kicked: bool
    at: float
    share: float


def _leapfrogs(*shares: float) -> tuple[Part, ...]:
    """Steps of such lengths: half a drift, a kick, half a drift, each at its own middle, for fields that are driven.

    Neighbouring drifts are not made one: of a driven field the composition would not have its order.
    """
    parts, gone = [], 0.0
    for share in shares:
        parts += [Part(False, gone + share / 4, share / 2), Part(True, gone + share / 2, share)]
        parts += [Part(False, gone + 3 * share / 4, share / 2)]
        gone += share
    return tuple(parts)


COMPOSITIONS: dict[str, tuple[Part, ...]] = {
    "symplectic_euler": (Part(True, 0.0, 1.0), Part(False, 0.5, 1.0)),
    "leapfrog": _leapfrogs(1.0),
    "yoshida4": _leapfrogs(_OUTER, _INNER, _OUTER),
}


class Symplectic(NamedTuple):
    """A composition of drifts and kicks; its state is a pair, positions and momenta."""

    parts: tuple[Part, ...]

    def step(self, term: Any, t: Any, end: Any, y: Any) -> Step:
        """A step of the pair."""
        h = end - t
        for kicked, at, share in self.parts:
            y = _sheared(term, kicked, t + at * h, share * h, y)
        return Step(y, zeros(y), None, None, evaluations=sum(part.kicked for part in self.parts))

    def undone(self, term: Any, t: Any, end: Any, y: Any) -> Any:
        """The pair before a step."""
        h = end - t
        for kicked, at, share in reversed(self.parts):
            y = _sheared(term, kicked, t + at * h, -share * h, y)
        return y


def _sheared(term: Any, kicked: bool, t: Any, size: Any, y: Any) -> Any:
    """The pair after one half of it has moved along its rate."""
    rates = jax.tree.structure(y).flatten_up_to(term.vf(t, y, None))
    count = _positions(y)
    moves = lambda number: (number >= count) == kicked
    leaves = [
        leaf + (size * rate).astype(leaf.dtype) if moves(number) else leaf
        for number, (leaf, rate) in enumerate(zip(jax.tree.leaves(y), rates))
    ]
    return jax.tree.unflatten(jax.tree.structure(y), leaves)


def _positions(y: Any) -> int:
    """How many leaves of a pair are its first half's."""
    return jax.tree.structure(y).children()[0].num_leaves


def check_separable(solver: str, rates: Callable[[Any, Any], Any], t: Any, y0: Any) -> None:
    """Nothing, where the state is a pair, neither half of which moves by itself.

    Raises:
      TypeError: for another state.
      ValueError: where a half's rate is computed from that half.
    """
    if not isinstance(y0, (tuple, list)) or len(y0) != 2:
        raise TypeError(
            f"flow: solver={solver!r} steps a pair, positions and momenta: y0=(q, p), and field returns their rates; "
            f"got {jax.tree.structure(y0)}."
        )
    leaves, structure = jax.tree.flatten(y0)
    count = _positions(y0)
    halves = {"positions": slice(count), "momenta": slice(count, None)}
    for name, half in halves.items():

        def of_itself(moving: list[Any], half: slice = half) -> list[Any]:
            moved = list(leaves)
            moved[half] = moving
            return jax.tree.leaves(rates(t, jax.tree.unflatten(structure, moved)))[half]

        pattern = jacobian_pattern(of_itself, leaves[half])
        if pattern.entries is None or pattern.entries.nnz:
            raise ValueError(
                f"flow: solver={solver!r} is for separable fields, and the rates of the {name} depend on the {name} "
                "themselves: take another solver."
            )
