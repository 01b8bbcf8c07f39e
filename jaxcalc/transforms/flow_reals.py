"""Complex numbers as two real ones: what a field that is not holomorphic depends on."""

from typing import Any

import jax.numpy as jnp

__all__ = ["from_reals", "in_reals"]


def in_reals(leaves: list[Any]) -> list[Any]:
    """Leaves, complex ones as pairs of real ones."""
    return [(leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else leaf for leaf in leaves]


def from_reals(parts: list[Any], unit: complex) -> list[Any]:
    """Pairs put together again, the second times ``unit``: ``1j`` of values and tangents, ``-1j`` of cotangents."""
    return [part[0] + unit * part[1] if isinstance(part, tuple) else part for part in parts]
