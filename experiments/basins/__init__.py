"""Which stationary point does each start reach, and what do the borders look like?

A grid of starts in the plane, all in one program for each solver, every lane with its status (``starts``); and Newton's
iteration for z^3 = 1, whose basins are fractal and turn into one another by a third of a turn (``roots``).
"""

import numpy as np

# Light enough for a black dot on each, told apart under every common colour-vision deficiency (Okabe and Ito).
FILLS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00")
NOT_A_MINIMUM, NOWHERE = "#333333", "#FFFFFF"


def cells(low: float, high: float, count: int) -> np.ndarray:
    """Centres of equal cells, so that no start lies on a symmetry axis by design alone."""
    return low + (np.arange(count) + 0.5) * (high - low) / count


def outer_edges(dataset):
    """The edges of the outermost cells."""
    edges = []
    for axis in (dataset.x.values, dataset.y.values):
        half = (axis[1] - axis[0]) / 2
        edges += [float(axis[0] - half), float(axis[-1] + half)]
    return edges[0], edges[1], edges[2], edges[3]
