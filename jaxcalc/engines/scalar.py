"""Reverse mode as popular texts print it: a node for each number, with its gradient stored in it.

Kept as it is printed, with its limits, to be compared with the tape: sums and products of nodes alone (a plain number
has no parents and raises ``AttributeError``), a recursive walk that a long chain exhausts, and gradients of inner nodes
that are never reset, so that a second ``backward`` adds wrong shares.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Scalar"]


@dataclass(eq=False)
class Scalar:
    """A number in the graph.

    Args:
      value: the number.
      parents: the nodes that it was made from.
      grad: the gradient of the node that ``backward`` was called on, added up over all calls.
      pull: adds this node's share to its parents' gradients.
    """

    value: Any
    parents: tuple["Scalar", ...] = ()
    grad: Any = 0.0
    pull: Callable[[], None] = lambda: None

    def __add__(self, other: "Scalar") -> "Scalar":
        """The sum: it passes the gradient on."""
        out = Scalar(self.value + other.value, (self, other))

        def pull() -> None:
            self.grad += out.grad
            other.grad += out.grad

        out.pull = pull
        return out

    def __mul__(self, other: "Scalar") -> "Scalar":
        """The product: it passes the gradient on times the other factor."""
        out = Scalar(self.value * other.value, (self, other))

        def pull() -> None:
            self.grad += other.value * out.grad
            other.grad += self.value * out.grad

        out.pull = pull
        return out

    def backward(self) -> None:
        """Add the gradient of this node to that of every node that it depends on.

        Raises:
          RecursionError: a chain is longer than Python's stack is deep.
        """
        order: list[Scalar] = []
        seen: set[int] = set()

        def visit(node: "Scalar") -> None:
            if id(node) not in seen:
                seen.add(id(node))
                for parent in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        self.grad = 1.0
        for node in reversed(order):
            node.pull()
