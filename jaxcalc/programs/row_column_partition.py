"""splits: which entries of a matrix to read off products with its columns, and which off products with its rows.

A split comes from peeling. With ``a`` fixed, the rows with at most ``a`` entries left are taken off, to be read from
column products. Where there is no such row, the columns with at most ``b`` entries left are, to be read from row
products, ``b`` growing as it must. A row then has at most ``a`` entries of the first sort and a column at most ``b`` of
the second: about ``a + b`` products. An arrowhead peels with ``a = 2``, ``b = 1``.

Source: after Coleman and Verma, SIAM J. Sci. Comput. 1998, who take off one row or column at a time.
"""

import numpy as np
from scipy import sparse

from jaxcalc.programs.patterns import entries, extent

__all__ = ["splits"]

# Splits that are coloured, out of those that are peeled.
_KEPT = 3
# Rounds after which a peeling is given up: chains lose one link a round.
_ROUNDS = 32
# Entries that all peelings together may visit, about 20 nanoseconds each.
_VISITS = 4_000_000


def splits(pattern: sparse.csr_array, fewer_than: int) -> list[tuple[int, np.ndarray]]:
    """The most promising splits: the products each promises, and for each entry whether a column product reads it.

    Args:
      pattern: canonical.
      fewer_than: products that a split must stay below.

    Returns:
      At most a few pairs, the lowest promise first. None is there that promises no less than columns or rows alone.
    """
    rows, columns = entries(pattern)
    in_rows, in_columns = np.diff(pattern.indptr), np.bincount(columns, minlength=extent(pattern)[1])
    fewer_than = min(fewer_than, int(in_rows.max(initial=0)), int(in_columns.max(initial=0)))
    values, population = np.unique(in_rows[in_rows > 0], return_counts=True)
    common = values[np.argsort(-population, kind="stable")[:8]]
    steps = np.round(2.0 ** np.arange(0, 20, 0.5)).astype(np.int64)
    found, visits = [], 0
    for most in dict.fromkeys([*common.tolist(), *steps.tolist()]):
        if most + 1 >= fewer_than or visits > _VISITS:
            continue
        peeled, visited = _peel(rows, columns, extent(pattern), most, fewer_than)
        visits += visited
        if peeled is not None:
            found.append(peeled)
    return sorted(found, key=lambda item: item[0])[:_KEPT]


def _peel(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...], most: int, fewer_than: int
) -> tuple[tuple[int, np.ndarray] | None, int]:
    """The split with at most ``most`` column-read entries in a row, None if it promises little; the entries visited."""
    by_column = np.zeros(len(rows), bool)
    left = np.arange(len(rows))
    widest, tallest, visits = 0, 0, 0
    for _ in range(_ROUNDS):
        if len(left) == 0:
            return (widest + tallest, by_column), visits
        visits += len(left)
        row, column = rows[left], columns[left]
        in_row, in_column = np.bincount(row, minlength=shape[0]), np.bincount(column, minlength=shape[1])
        # The rows left cannot take more than this off the columns left.
        over = len(left) - int(np.minimum(in_row, most).sum())
        tallest = max(tallest, -(-over // int(np.count_nonzero(in_column))))
        peeled = in_row[row] <= most
        if peeled.any():
            widest = max(widest, int(in_row[row[peeled]].max()))
            by_column[left[peeled]] = True
        else:
            tallest = max(tallest, int(in_column[column].min()))
            peeled = in_column[column] <= tallest
        if widest + tallest >= fewer_than:
            break
        left = left[~peeled]
    return None, visits
