"""Rows of tables from labelled arrays."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

__all__ = ["digits", "rows"]


def digits(value: Any, count: int = 3) -> float:
    """A number to so many significant digits."""
    return float(f"{float(value):.{count}g}")


def rows(along: str, columns: "Mapping[str, xarray.DataArray]", count: int = 3) -> list[dict[str, Any]]:
    """A row for each entry of a dimension, which names it; numbers to ``count`` digits, whole ones as they are.

    Args:
      along: the dimension.
      columns: title -> values along it; integers and texts are kept, what is not finite is left empty.
    """
    names = next(iter(columns.values()))[along].values.tolist()
    found: list[dict[str, Any]] = [{along: name} for name in names]
    for column, values in columns.items():
        for row, value in zip(found, values.transpose(along).values):
            row[column] = _entry(value, count)
    return found


def _entry(value: Any, count: int) -> Any:
    value = np.asarray(value)
    if value.dtype.kind == "f":
        return digits(value, count) if np.isfinite(value) else ""
    return value.item()
