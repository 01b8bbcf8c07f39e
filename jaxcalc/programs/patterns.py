"""patterns: where a matrix may be nonzero, as a boolean csr array."""

from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["canonical", "entries", "extent", "occupied"]


def canonical(pattern: Any) -> sparse.csr_array:
    """The pattern as a boolean csr array: indices sorted, no duplicates, no stored False; itself where it is one."""
    if not (isinstance(pattern, sparse.csr_array) and pattern.dtype == np.bool_ and pattern.ndim == 2):
        pattern = sparse.csr_array(pattern).astype(bool)
    if pattern.ndim != 2:
        raise ValueError(f"canonical: pattern must be a matrix, got shape {pattern.shape}.")
    if pattern.has_canonical_format and pattern.data.all():
        return pattern
    pattern = pattern.copy()
    pattern.sum_duplicates()
    pattern.eliminate_zeros()
    return pattern


def extent(pattern: sparse.csr_array) -> tuple[int, int]:
    """The numbers of rows and columns."""
    m, n = pattern.shape  # pyright: ignore[reportGeneralTypeIssues]
    return m, n


def entries(pattern: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each stored entry, in 64 bits."""
    rows = np.repeat(np.arange(extent(pattern)[0]), np.diff(pattern.indptr))
    return rows, pattern.indices.astype(np.int64)


def occupied(pattern: sparse.csr_array) -> tuple[int, int]:
    """Rows and columns that are not empty."""
    return int(np.count_nonzero(np.diff(pattern.indptr))), int(np.count_nonzero(np.bincount(pattern.indices)))
