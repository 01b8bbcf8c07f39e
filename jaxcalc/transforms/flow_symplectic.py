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

# Shares of a step: of the drifts, and of the kicks between them.
COMPOSITIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "symplectic_euler": ((0.0, 1.0), (1.0,)),
    "leapfrog": ((0.5, 0.5), (1.0,)),
    "yoshida4": ((_OUTER / 2, (_OUTER + _INNER) / 2, (_OUTER + _INNER) / 2, _OUTER / 2), (_OUTER, _INNER, _OUTER)),
}


class Symplectic(NamedTuple):
    """A composition of drifts and kicks; its state is a pair, positions and momenta."""

    drifts: tuple[float, ...]
    kicks: tuple[float, ...]

    def _parts(self, t: Any, h: Any) -> list[tuple[bool, Any, Any]]:
        """The parts of a step: whether it is a kick, when, and how long."""
        parts, gone = [], 0.0
        for drift, kick in zip(self.drifts, (*self.kicks, 0.0)):
            if drift:  # at its middle, which keeps the order of fields that depend on time
                parts.append((False, t + (gone + drift / 2) * h, drift * h))
                gone += drift
            if kick:
                parts.append((True, t + gone * h, kick * h))
        return parts

    def step(self, term: Any, t: Any, end: Any, y: Any) -> Step:
        """A step of the pair."""
        for kicked, when, size in self._parts(t, end - t):
            y = _sheared(term, kicked, when, size, y)
        return Step(y, zeros(y), None, None, evaluations=len(self.kicks))

    def undone(self, term: Any, t: Any, end: Any, y: Any) -> Any:
        """The pair before a step."""
        for kicked, when, size in reversed(self._parts(t, end - t)):
            y = _sheared(term, kicked, when, -size, y)
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
