"""Stencils: which neighbours a difference quotient looks at, and with what weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import numpy as np

from jaxcalc import checks

__all__ = ["Scheme", "Stencil", "fornberg_weights", "stencil"]

Scheme = Literal["forward", "backward", "central", "fourth-order central", "complex step", "richardson"]


@dataclass(frozen=True)
class Stencil:
    """A difference quotient, or a ladder of them that is extrapolated to step zero.

        f'(x) = sum_k weights[k] f(x + nodes[k] h) / h + O(h^order)

    Args:
      nodes: multiples of the step; none for the complex step, which looks off the real line.
      weights: one per node, for the first derivative at step 1.
      order: the power of the step with which the error falls; of a ladder, after extrapolation.
      levels: how many steps ``h, 2 h, 4 h, ...`` are extrapolated; 1 is a plain quotient.
    """

    nodes: tuple[int, ...]
    weights: tuple[float, ...]
    order: int
    levels: int = 1

    def evaluations(self, n: int) -> int:
        """How many values of the function a gradient by ``n`` inputs takes: a node 0 is shared by all inputs."""
        if not self.nodes:
            return n
        moving = sum(node != 0 for node in self.nodes)
        return moving * self.levels * n + (moving < len(self.nodes))


def fornberg_weights(nodes: Sequence[float] | np.ndarray, degree: int = 1) -> np.ndarray:
    """The weights of the difference quotient of highest order on given nodes.

        f^(degree)(0) = sum_k w_k f(nodes[k]),  exact for polynomials of degree below ``len(nodes)``

    Args:
      nodes: distinct points, more than ``degree`` of them.
      degree: which derivative, 0 or more.

    Returns:
      Weights of shape ``(len(nodes),)``, float64, rounded once from exact fractions.

    Raises:
      ValueError: if nodes repeat, or are too few.

    Source:
      B. Fornberg, Generation of finite difference formulas on arbitrarily spaced grids, Math. Comp. 51, 1988.
    """
    points = [Fraction(node) for node in nodes]
    if degree < 0 or len(set(points)) <= degree or len(set(points)) < len(points):
        raise ValueError(
            f"fornberg_weights: derivative {degree} needs more than {degree} distinct nodes, got {list(nodes)}. "
            "Add nodes, or drop the repeated ones."
        )
    # rows[j][d]: the weight of node j for derivative d, on the nodes so far.
    rows = [[Fraction(0)] * (degree + 1) for _ in points]
    rows[0][0] = Fraction(1)
    before = Fraction(1)
    for i in range(1, len(points)):
        product = Fraction(1)
        last = list(rows[i - 1])
        for j in range(i):
            gap = points[i] - points[j]
            product *= gap
            for d in range(degree, -1, -1):
                rows[j][d] = (points[i] * rows[j][d] - d * (rows[j][d - 1] if d else 0)) / gap
        for d in range(degree + 1):
            rows[i][d] = before / product * (d * (last[d - 1] if d else 0) - points[i - 1] * last[d])
        before = product
    return np.array([float(row[degree]) for row in rows])


def stencil(scheme: Scheme, order: int | None = None, *, who: str = "stencil") -> Stencil:
    """The stencil of a scheme.

    Args:
      scheme: ``"forward"`` and ``"backward"`` look to one side, ``"central"`` to both; ``"richardson"`` extrapolates
        central quotients; ``"complex step"`` reads the imaginary part a tiny step off the real line.
      order: of accuracy; by default 1 for a one-sided scheme, 2 for ``"central"``, 6 for ``"richardson"``. Any from 1
        for one-sided schemes, even ones for ``"central"`` and ``"richardson"``, none for the others.
      who: the function that the user called, for messages.

    Raises:
      ValueError: for an unknown scheme, or an order that the scheme does not have.
    """
    if order is not None:
        order = checks.integer(who, "order", order)
    match scheme:
        case "forward":
            return _on(range((order or 1) + 1), order or 1)
        case "backward":
            return _on(range(-(order or 1), 1), order or 1)
        case "central":
            return _central(_even(who, scheme, order or 2))
        case "fourth-order central":
            return _central(_only(who, scheme, order, 4))
        case "complex step":
            return Stencil((), (), _only(who, scheme, order, 2))
        case "richardson":
            highest = _even(who, scheme, order or 6)
            base = _central(2)
            return Stencil(base.nodes, base.weights, highest, levels=highest // 2)
    raise checks.unknown(who, "scheme", scheme, get_args(Scheme))


def _central(order: int) -> Stencil:
    half = order // 2
    return _on([node for node in range(-half, half + 1) if node], order)


def _on(nodes: Sequence[int], order: int) -> Stencil:
    return Stencil(tuple(nodes), tuple(fornberg_weights(nodes).tolist()), order)


def _even(who: str, scheme: str, order: int) -> int:
    if order % 2:
        raise ValueError(f"{who}: {scheme!r} has even orders of accuracy only, got {order}. Take {order + 1}.")
    return order


def _only(who: str, scheme: str, order: int | None, own: int) -> int:
    if order not in (None, own):
        raise ValueError(
            f"{who}: {scheme!r} has order {own} and no other, got {order}. Leave order out, or use 'central'."
        )
    return own
