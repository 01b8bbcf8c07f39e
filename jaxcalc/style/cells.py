"""A table of coloured cells with a text in each."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


def cells(panel: "Axes", texts: "xarray.DataArray", faces: Any, *, fontsize: float = 6.5) -> None:
    """Draw a table: the first row at the foot, ticks from the coordinates, texts white on what is dark.

    Args:
      panel: axes to draw in.
      texts: of two dimensions, rows and columns, with the text of each cell.
      faces: the cells' colours, shape ``(rows, columns, 3 or 4)``, as ``ScalarMappable.to_rgba`` gives them.
      fontsize: of the texts, in points.
    """
    faces = np.asarray(faces, float)
    panel.imshow(faces, origin="lower", aspect="auto", interpolation="nearest")
    dark = faces[..., :3] @ (0.2126, 0.7152, 0.0722) < 0.5
    for (row, column), text in np.ndenumerate(texts.values):
        color = "white" if dark[row, column] else "black"
        panel.text(column, row, str(text), ha="center", va="center", fontsize=fontsize, color=color)
    down, across = texts.dims
    for axis, dim in ((panel.xaxis, across), (panel.yaxis, down)):
        axis.set_ticks(range(texts.sizes[dim]), [str(value) for value in texts[dim].values])
        axis.set_ticks(np.arange(1, texts.sizes[dim]) - 0.5, minor=True)
    panel.grid(visible=False)
    panel.grid(which="minor", color="white", linewidth=1.0)
    panel.set_axisbelow(False)
    panel.tick_params(which="both", length=0)
    panel.spines[:].set_visible(False)
