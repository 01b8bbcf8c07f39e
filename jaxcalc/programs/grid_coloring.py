"""lattice: colours by arithmetic, for the columns of bands, blocks and stencils on a grid.

Column ``j`` of a raveled grid has the coordinates ``j // w``, ``j % w`` (and so on for more axes), and takes the colour

    (sum over axes of coordinate * multiplier) mod p.

For a band this is ``j mod p``; for the five-point stencil ``(x + 2 y) mod 5``, where greedy rules end at 7 or more.
Widths and multipliers are guessed from the fullest row and then checked against the whole pattern.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from scipy import sparse

from jaxcalc.programs.patterns import extent

__all__ = ["lattice_colors"]

# Widths of a grid and multipliers that are looked into: a guess costs microseconds, a check a pass over the entries.
_WIDTHS = 6
_CHECKS = 8


def lattice_colors(pattern: sparse.csr_array, count: int) -> np.ndarray | None:
    """A colour below ``count`` for every column such that no row holds one twice, or None if no such guess holds.

    Args:
      pattern: canonical, shape ``(m, n)``.
      count: how many colours, at least 1.

    Returns:
      Colours of all columns, empty ones included, shape ``(n,)``.
    """
    n = extent(pattern)[1]
    for coordinates in _grids(pattern):
        axes = len(coordinates)
        if count ** (axes - 1) > 10_000:
            continue  # the multipliers are tried one and all
        fullest = pattern.indices[_row(pattern, int(np.argmax(np.diff(pattern.indptr))))]
        multipliers = np.asarray(list(itertools.product(range(count), repeat=axes - 1)), np.int64).reshape(
            count ** (axes - 1), axes - 1
        )
        multipliers = np.concatenate([np.ones((len(multipliers), 1), np.int64), multipliers], axis=1)
        there = np.sort(multipliers @ coordinates[:, fullest] % count, axis=1)
        apart = np.flatnonzero(np.all(np.diff(there, axis=1) > 0, axis=1))
        for guess in apart[:_CHECKS]:
            colors = multipliers[guess] @ coordinates % count if n else np.zeros(0, np.int64)
            if _separates(colors, pattern, count):
                return colors
    return None


def _row(pattern: sparse.csr_array, row: int) -> slice:
    """Where a row's entries are stored."""
    return slice(int(pattern.indptr[row]), int(pattern.indptr[row + 1]))


def _grids(pattern: sparse.csr_array) -> Iterator[np.ndarray]:
    """Coordinates of the columns, shape ``(axes, n)``, last axis of the grid first, for grids of one to three axes."""
    n = extent(pattern)[1]
    columns = np.arange(n)
    yield columns[None]
    fullest = pattern.indices[_row(pattern, int(np.argmax(np.diff(pattern.indptr))))].astype(np.int64)
    if len(fullest) > 64:
        return  # no stencil
    # Neighbours across a line of the grid are a width apart.
    gaps = np.unique(np.abs(fullest[:, None] - fullest))
    widths = [int(gap) for gap in gaps if 2 < gap < n and n % gap == 0][:_WIDTHS]
    for width in widths:
        yield np.stack([columns % width, columns // width])
    for width, area in itertools.combinations(widths, 2):
        if area % width == 0:
            yield np.stack([columns % width, columns % area // width, columns // area])


def _separates(colors: np.ndarray, pattern: sparse.csr_array, count: int) -> bool:
    """Whether no row holds a colour twice."""
    m = extent(pattern)[0]
    if m * count > 8 * pattern.nnz + 1_000_000:
        return False  # too large a table for what it may gain
    taken = np.zeros(m * count, bool)
    taken[np.repeat(np.arange(m) * count, np.diff(pattern.indptr)) + colors[pattern.indices]] = True
    return int(np.count_nonzero(taken)) == pattern.nnz
