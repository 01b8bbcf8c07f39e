"""Rows that are named at their left, from the top down: dots at medians, bars between quartiles."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


def rows(
    panel: "Axes", values: "xarray.DataArray", dim: str, *, shift: float = 0.0, **look: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a dot for each row, at the median over all other dimensions, and a bar between the quartiles.

    What is not finite is left out. Exact zeros on a logarithmic axis stand as hollow triangles at its left edge.

    Args:
      panel: axes to draw in; its scale is set before.
      values: of a row along ``dim``, whose coordinate names the rows.
      dim: the dimension of the rows.
      shift: of dots and bars down from the rows' middles, for several to a row.
      look: line properties of the dots, as ``style.method`` gives them.

    Returns:
      The first quartile, the median and the third of each row, NaN where nothing is finite.
    """
    name_rows(panel, values[dim].values)
    data = np.asarray(values.transpose(dim, ...).values, float).reshape(values.sizes[dim], -1)
    places = np.arange(len(data)) + shift
    there = np.isfinite(data).any(axis=1)
    low, middle, high = np.full((3, len(data)), np.nan)
    low[there], middle[there], high[there] = np.nanquantile(data[there], (0.25, 0.5, 0.75), axis=1)
    zero = (middle == 0) & (panel.get_xscale() == "log")
    look = {"linestyle": "", **look}
    if data.shape[1] > 1:
        panel.hlines(places[there], low[there], high[there], color=look["color"], linewidth=1.2)
    panel.plot(np.where(zero, np.nan, middle), places, **look)
    if zero.any():
        mark_left(panel, places[zero], look)
    return low, middle, high


def name_rows(panel: "Axes", names: Iterable[Any]) -> None:
    """A row for each name from the top down, without lines between them."""
    names = [str(name) for name in names]
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.grid(axis="y", visible=False)


def mark_left(panel: "Axes", places: np.ndarray, look: Any) -> None:
    """Hollow triangles at the left edge, for what lies beyond it."""
    hollow = {"marker": "<", "linestyle": "", "markerfacecolor": "white", "markeredgewidth": 0.9, "markersize": 4}
    at_edge = panel.get_yaxis_transform()
    panel.plot(np.full(len(places), 0.015), places, color=look["color"], transform=at_edge, zorder=4, **hollow)


def ticks(axis: "Axis", values: Iterable[float]) -> None:
    """Ticks at these values alone, in plain numbers."""
    values = [float(value) for value in values]
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)
