"""coloring: which columns, rows or both of a sparse matrix may share one product.

A colour is a product: all columns of one colour are summed into one seed, and the matrix times that seed is what is
evaluated. A colouring is admissible if the entries can be told apart again, which ``decompression`` does.

* columns (or rows): no two columns of a colour meet in a row (partial distance 2).
* star, for a symmetric matrix: no path on four vertices uses two colours; each entry is read off one product.
* acyclic, for a symmetric matrix: no cycle uses two colours; the entries follow by substitution along trees.
* distance-1, for a symmetric matrix: neighbours differ, which is enough to read the diagonal.
* bidirectional: each entry is read off a column's or a row's product, so that dense rows and columns cost one each.

Source: Gebremedhin, Manne and Pothen, "What color is your Jacobian?", SIAM Review 2005 (what is admissible for which
recovery); Coleman and Verma, SIAM J. Sci. Comput. 1998 (bidirectional).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import sparse

from jaxcalc.programs import greedy
from jaxcalc.programs.forests import components, parity
from jaxcalc.programs.greedy import ORDERS, Order
from jaxcalc.programs.grid_coloring import lattice_colors
from jaxcalc.programs.patterns import canonical, entries, extent, occupied
from jaxcalc.programs.row_column_partition import splits

__all__ = [
    "ORDERS",
    "Coloring",
    "Kind",
    "Order",
    "canonical",
    "color_acyclic",
    "color_bidirectional",
    "color_columns",
    "color_distance1",
    "color_rows",
    "color_star",
]

Kind = Literal["columns", "rows", "star", "acyclic", "distance-1", "bidirectional"]


@dataclass(frozen=True)
class Coloring:
    """A colour per column and per row; -1 is in no product.

    Args:
      kind: what the colouring guarantees, and hence how entries are recovered.
      columns: colour of each column, shape ``(n,)``.
      rows: colour of each row, shape ``(m,)``; all -1 unless ``kind`` is ``"rows"`` or ``"bidirectional"``.
      num_column_colors, num_row_colors: products with the matrix and with its transpose.
      order: the order of the vertices that gave the fewest colours.
    """

    kind: Kind
    columns: np.ndarray
    rows: np.ndarray
    num_column_colors: int
    num_row_colors: int
    order: Order

    @property
    def num_products(self) -> int:
        """Products with the matrix and its transpose together."""
        return self.num_column_colors + self.num_row_colors

    def column_seeds(self, dtype: Any = np.float32) -> np.ndarray:
        """The vectors to multiply the matrix by: 0 or 1, shape ``(num_column_colors, n)``."""
        return _seeds(self.columns, self.num_column_colors, dtype)

    def row_seeds(self, dtype: Any = np.float32) -> np.ndarray:
        """The vectors to multiply the transpose by: 0 or 1, shape ``(num_row_colors, m)``."""
        return _seeds(self.rows, self.num_row_colors, dtype)


def color_columns(pattern: Any, orders: Sequence[Order] = ORDERS, limit: int | None = None) -> Coloring | None:
    """Colour the columns such that no two of a colour have an entry in the same row.

    Args:
      pattern: where the matrix may be nonzero, shape ``(m, n)``; anything ``scipy.sparse.csr_array`` takes.
      orders: orders of the columns to try; ends early when the lower bound (the fullest row) is met.
      limit: the most colours of use.

    Returns:
      The ``Coloring`` with the fewest colours found, or None if more than ``limit`` are needed. Empty columns get none.

    Cost: linear in the entries for ``"natural"`` and ``"largest first"``; the other orders also visit the pairs of
      columns that meet.
    """
    pattern, orders = canonical(pattern), greedy.known("color_columns", orders)
    colors, order = _fewest_columns(pattern, orders, limit)
    if colors is None:
        return None
    return Coloring("columns", colors, _blank(extent(pattern)[0]), _count(colors), 0, order)


def color_rows(pattern: Any, orders: Sequence[Order] = ORDERS, limit: int | None = None) -> Coloring | None:
    """Colour the rows such that no two of a colour have an entry in the same column: ``color_columns``, transposed."""
    transposed = color_columns(canonical(pattern).T.tocsr(), orders, limit)
    if transposed is None:
        return None
    rows, blank, count = transposed.columns, transposed.rows, transposed.num_column_colors
    return replace(transposed, kind="rows", columns=blank, rows=rows, num_column_colors=0, num_row_colors=count)


def color_star(pattern: Any, orders: Sequence[Order] = ORDERS, limit: int | None = None) -> Coloring | None:
    """Colour a symmetric matrix such that each entry, or its mirror image, stands alone in one product.

    Args:
      pattern: symmetric, shape ``(n, n)``; diagonal entries may be missing.
      orders: orders of the vertices to try.
      limit: the most colours of use.

    Returns:
      The ``Coloring`` with the fewest colours found, or None if more than ``limit`` are needed.

    Raises:
      ValueError: if the pattern is not symmetric.
    """
    pattern, orders = _symmetric(pattern, "color_star"), greedy.known("color_star", orders)
    if limit is not None and _many_edges(pattern, limit):
        return None
    graph = _graph(pattern)
    degrees = np.diff(graph.indptr)
    rows, columns = entries(graph)
    # An edge between two vertices that both go on is inside a path on four vertices, or in a triangle.
    inside = bool(np.any((degrees[rows] > 1) & (degrees[columns] > 1)))
    bound = max(_forest_bound(occupied(graph)[0], graph.nnz // 2), 3 if inside else 1)
    return _color_graph("star", greedy.star_rule, pattern, graph, bound, orders, limit)


def color_acyclic(pattern: Any, orders: Sequence[Order] = ORDERS, limit: int | None = None) -> Coloring | None:
    """Colour a symmetric matrix such that any two colours induce a forest, along which the entries follow.

    Args, Returns, Raises: as ``color_star``.
    """
    pattern, orders = _symmetric(pattern, "color_acyclic"), greedy.known("color_acyclic", orders)
    if limit is not None and _many_edges(pattern, limit):
        return None
    graph = _graph(pattern)
    bound = _forest_bound(occupied(graph)[0], graph.nnz // 2)
    if bound <= 2:
        if graph.nnz // 2 == extent(graph)[0] - components(graph)[0]:  # a forest itself
            return _within(_symmetric_coloring("acyclic", pattern, parity(graph), "natural"), limit)
        bound = 3
    return _color_graph("acyclic", greedy.acyclic_rule, pattern, graph, bound, orders, limit)


def color_distance1(pattern: Any, orders: Sequence[Order] = ORDERS, limit: int | None = None) -> Coloring | None:
    """Colour a symmetric matrix such that neighbours differ: enough to read the diagonal, and no more.

    Columns whose diagonal entry is missing from the pattern are in no product.

    Args, Returns, Raises: as ``color_star``.
    """
    pattern, orders = _symmetric(pattern, "color_distance1"), greedy.known("color_distance1", orders)
    graph = _graph(pattern)
    present = pattern.diagonal()
    kept = np.flatnonzero(present)
    if len(kept) < len(present):
        graph = graph[kept][:, kept]
    colors, order = parity(graph), orders[0]
    rows, columns = entries(graph)
    if np.any(colors[rows] == colors[columns]):  # an odd cycle
        if limit is not None and limit < 3:
            return None
        most = len(kept) if limit is None else limit
        found, order = greedy.fewest(greedy.distance1_rule, graph, 3, orders, most, len(kept))
        if found is None:
            return None
        colors = found
    spread = _blank(len(present))
    spread[kept] = colors
    return _within(Coloring("distance-1", spread, _blank(len(present)), _count(spread), 0, order), limit)


def color_bidirectional(pattern: Any, orders: Sequence[Order] = ORDERS, limit: int | None = None) -> Coloring | None:
    """Colour columns and rows such that each entry stands alone in a column's product or in a row's.

    The columns alone, the rows alone, and a few splits of the entries among them are coloured.

    Args:
      pattern: where the matrix may be nonzero, shape ``(m, n)``.
      orders: orders for the columns and rows alone.
      limit: the most products of use.

    Returns:
      The ``Coloring`` with the fewest products found, or None if more than ``limit`` are needed. Where one direction
      does as well, the other has no colours.
    """
    pattern, orders = canonical(pattern), greedy.known("color_bidirectional", orders)
    lines = max(occupied(pattern))
    bound = -(-pattern.nnz // lines) if lines else 0  # a product reads no more than one entry of each line
    if limit is not None and bound > limit:
        return None
    best = color_columns(pattern, orders, limit)
    fewer_than = best.num_products if best is not None else (max(extent(pattern)) if limit is None else limit) + 1
    if fewer_than > bound and not _is_symmetric(pattern):
        rows = color_rows(pattern, orders, fewer_than - 1)
        best, fewer_than = (best, fewer_than) if rows is None else (rows, rows.num_products)
    best = None if best is None else replace(best, kind="bidirectional")
    if fewer_than <= bound:
        return best
    for promise, by_column in splits(pattern, fewer_than):
        candidate = _color_split(pattern, by_column, fewer_than - 1) if promise < fewer_than else None
        if candidate is not None:
            best, fewer_than = candidate, candidate.num_products
    return best


def _seeds(colors: np.ndarray, count: int, dtype: Any) -> np.ndarray:
    """Indicator vectors of the colours."""
    seeds = np.zeros((count, len(colors)), dtype)
    members = np.flatnonzero(colors >= 0)
    seeds[colors[members], members] = 1
    return seeds


def _blank(size: int) -> np.ndarray:
    """No colours."""
    return np.full(size, -1, np.int64)


def _count(colors: np.ndarray) -> int:
    """How many colours are in use, numbered from 0 without gaps."""
    return int(colors.max(initial=-1)) + 1


def _within(coloring: Coloring, limit: int | None) -> Coloring | None:
    """The colouring unless it is over the limit."""
    return coloring if limit is None or coloring.num_products <= limit else None


def _symmetric(pattern: Any, caller: str) -> sparse.csr_array:
    """The canonical pattern, checked for symmetry."""
    pattern = canonical(pattern)
    if len(set(extent(pattern))) > 1:
        raise ValueError(f"{caller}: pattern must be symmetric, got shape {pattern.shape}. Use color_columns.")
    if not _is_symmetric(pattern):
        raise ValueError(
            f"{caller}: pattern must be symmetric, got one that is not. Use color_columns or join it with it.T."
        )
    return pattern


def _graph(pattern: sparse.csr_array) -> sparse.csr_array:
    """The pattern without its diagonal."""
    rows, columns = entries(pattern)
    off = rows != columns
    if off.all():
        return pattern
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[off], minlength=extent(pattern)[0]))])
    return sparse.csr_array((pattern.data[off], pattern.indices[off], indptr), shape=pattern.shape)


def _is_symmetric(pattern: sparse.csr_array) -> bool:
    """Whether a canonical pattern is its own transpose."""
    if len(set(extent(pattern))) > 1:
        return False
    mirrored = pattern.tocsc()
    return np.array_equal(mirrored.indptr, pattern.indptr) and np.array_equal(mirrored.indices, pattern.indices)


def _many_edges(pattern: sparse.csr_array, limit: int) -> bool:
    """Whether the number of entries alone tells that more than ``limit`` colours are needed, by forests or stars."""
    n = extent(pattern)[0]
    return _forest_bound(n, (pattern.nnz - n) // 2) > max(limit, 1)


def _forest_bound(vertices: int, edges: int) -> int:
    """The fewest colours of which any two may induce a forest: the smallest k with (k-1)(v - k/2) >= edges."""
    if edges <= 0:
        return 1
    # Classes of v_i and v_j vertices induce at most v_i + v_j - 1 edges; sum over all pairs.
    half, twice = vertices + 0.5, 2.0 * (vertices + edges)
    least = twice / (half + np.sqrt(max(half * half - twice, 0.0)))  # the smaller root, without cancellation
    return max(2, int(np.ceil(least - 1e-6)))


def _fewest_columns(
    pattern: sparse.csr_array, orders: Sequence[Order], limit: int | None
) -> tuple[np.ndarray | None, Order]:
    """The fewest column colours, and the order that gave them."""
    m, n = extent(pattern)
    bound = int(np.diff(pattern.indptr).max(initial=0))
    if limit is not None and bound > limit:
        return None, "natural"
    by_column = pattern.tocsc()
    present = np.diff(by_column.indptr) > 0
    if bound == np.count_nonzero(present):
        return np.where(present, np.cumsum(present) - 1, -1), "natural"
    most, best = (n if limit is None else limit), None
    for count in (bound, bound + 1):
        colors = lattice_colors(pattern, count) if count <= most else None
        if colors is not None:
            best = _blank(n)
            best[present] = np.unique(colors[present], return_inverse=True)[1]
            break
    if best is not None:
        most = _count(best) - 1
        if most < bound:
            return best, "natural"
    colors, order = greedy.fewest(greedy.column_rule, by_column, bound, orders, most, m, pattern)
    return (best, "natural") if colors is None else (colors, order)


def _color_graph(
    kind: Kind,
    rule: greedy.Rule,
    pattern: sparse.csr_array,
    graph: sparse.csr_array,
    bound: int,
    orders: Sequence[Order],
    limit: int | None,
) -> Coloring | None:
    """The fewest colours of a graph by a greedy rule over several orders."""
    if limit is not None and graph.nnz and bound > limit:
        return None
    size = extent(graph)[0]
    most = size if limit is None else max(limit, 1)
    colors, order = greedy.fewest(rule, graph, bound, orders, most, size)
    return None if colors is None else _within(_symmetric_coloring(kind, pattern, colors, order), limit)


def _symmetric_coloring(kind: Kind, pattern: sparse.csr_array, colors: np.ndarray, order: Order) -> Coloring:
    """The colouring of a symmetric pattern, empty columns left out."""
    colors = np.where(np.diff(pattern.indptr) > 0, colors, -1)
    return Coloring(kind, colors, _blank(len(colors)), _count(colors), 0, order)


def _color_split(pattern: sparse.csr_array, by_column: np.ndarray, limit: int) -> Coloring | None:
    """Colour columns and rows for a given split of the entries."""
    (rows, columns), (m, n) = entries(pattern), extent(pattern)
    down = greedy.reading_rule(rows, columns, by_column, (m, n), limit)
    if down is None:
        return None
    num_columns = _count(down)
    across = greedy.reading_rule(columns, rows, ~by_column, (n, m), limit - num_columns)
    if across is None:
        return None
    return Coloring("bidirectional", down, across, num_columns, _count(across), "largest first")
