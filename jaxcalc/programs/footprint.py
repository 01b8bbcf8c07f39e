"""A bound on the memory that a program holds, read off its jaxpr."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

__all__ = ["intermediate_bytes"]


def intermediate_bytes(jaxpr: ClosedJaxpr | Jaxpr) -> int:
    """Bytes of everything that a program computes, as if nothing were freed: an upper bound on what it holds at once.

    A loop's body counts once, since its intermediates die with each trip; what a scan stacks counts whole.

    Args:
      jaxpr: as ``jax.make_jaxpr`` gives it, or the ``jaxpr`` of a traced function.
    """
    inner = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    total = sum(_size(v.aval) for v in (*inner.invars, *inner.constvars))
    for equation in inner.eqns:
        total += sum(_size(v.aval) for v in equation.outvars)
        total += sum(map(intermediate_bytes, _inside(equation.params)))
    return total


def _inside(params: dict[str, Any]) -> list[ClosedJaxpr | Jaxpr]:
    """The programs among an equation's parameters, also those in tuples (the branches of a conditional)."""
    values = [v for value in params.values() for v in (value if isinstance(value, (tuple, list)) else (value,))]
    return [value for value in values if isinstance(value, (ClosedJaxpr, Jaxpr))]


def _size(aval: Any) -> int:
    if not hasattr(aval, "shape"):
        return 0
    itemsize = 8 if jnp.issubdtype(aval.dtype, jax.dtypes.extended) else aval.dtype.itemsize
    size = itemsize
    for extent in aval.shape:
        size *= extent
    return int(size)
