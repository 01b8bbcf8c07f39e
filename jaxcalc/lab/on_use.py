"""``jax``, ``jax.numpy`` and ``xarray`` by name, loaded at their first use: a question may stand before JAX does."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["jax", "jnp", "xarray"]


class _OnUse(ModuleType):
    """A module in all that it is asked for; it is imported when it is asked for the first time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    import xarray
else:
    jax, jnp, xarray = map(_OnUse, ("jax", "jax.numpy", "xarray"))
