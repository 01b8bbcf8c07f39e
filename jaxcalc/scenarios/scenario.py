"""What is differentiated: a function, the arguments to differentiate it at, and its exact derivative where known."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Scenario"]


@dataclass(frozen=True)
class Scenario:
    """A function and the point to differentiate it at, in its first argument.

    Args:
      fun: ``fun(x, *constants)``, an array or a PyTree for a Jacobian, a scalar otherwise.
      x: where it is evaluated, an array or a PyTree of arrays.
      constants: what else it takes. They are arguments, since XLA computes with closed-over arrays at compile time.
      derivative: the closed form ``derivative(x, *constants)``, where there is one: of shape
        ``output.shape + x.shape`` for a Jacobian, ``x.shape + x.shape`` for a Hessian, a scalar for a Laplacian.
      num_nonzeros: entries of the Jacobian or the Hessian that do not vanish at a generic point, where known.
    """

    fun: Callable[..., Any]
    x: Any
    constants: tuple[Any, ...] = ()
    derivative: Callable[..., Any] | None = field(default=None, kw_only=True)
    num_nonzeros: int | None = field(default=None, kw_only=True)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """All that ``fun`` takes, the differentiated input first."""
        return (self.x, *self.constants)

    @property
    def num_inputs(self) -> int:
        """n, the number of scalars that are differentiated in."""
        import jax

        return sum(leaf.size for leaf in jax.tree.leaves(self.x))

    @property
    def num_outputs(self) -> int:
        """m, the number of scalars that come out."""
        import jax

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(self.fun, *self.arguments)))

    def unary(self, x: Any) -> Any:
        """``fun`` with its constants closed over."""
        return self.fun(x, *self.constants)
