"""decompression: the entries of a sparse matrix, read off its coloured products.

The compressed products of a ``Coloring`` are one vector: the products with the column seeds, shape
``(num_column_colors, m)``, raveled row by row, and behind them those with the row seeds, shape ``(num_row_colors, n)``.
An entry that stands alone in a product is a position in that vector; an acyclic colouring's entry is a signed sum of
several. Positions are worked out once, in numpy, checked, and become constants of the jax program.

Cost of the jax part: linear in the entries, with no arithmetic but for the acyclic kind.

Source: Gebremedhin, Manne and Pothen, SIAM Review 2005 (direct recovery); Gebremedhin, Pothen, Tarafdar and Walther,
INFORMS J. Computing 2009 (substitution along the trees of an acyclic colouring).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from jaxcalc.programs.coloring import Coloring
from jaxcalc.programs.forests import doubling, hang
from jaxcalc.programs.patterns import canonical, entries, extent

if TYPE_CHECKING:
    import jax

__all__ = [
    "Substitution",
    "diagonal_source",
    "direct_source",
    "gather",
    "scatter_dense",
    "substitute",
    "substitution",
]

# Indices are int32 unless jax runs in double precision: what they can address, and the pieces of what they cannot.
_INT32_POSITIONS = 2**31 - 1
_PIECE = 2**30


@dataclass(frozen=True)
class Substitution:
    """How entries of a symmetric matrix follow from an acyclic colouring's products.

    Two colours induce trees. What a tree's vertex reads in the other colour's product is the sum of its edges there, so
    the edge to its parent is that minus the edges to its children: the alternating sum over its subtree,

        entry(v) = sum over u below v, v included, of (-1)^distance(u, v) * product(u).

    The sums double their reach each round: with the radius ``r`` done, every vertex adds its own sum to that of its
    ancestor at distance ``r``. Trees hang from their centres.

    Args:
      source: position in the compressed products of each tree vertex's own reading; diagonal entries come last.
      rounds: per round the positions that are added to, sorted, the positions that are added, and the sign.
      entries: for each stored entry of the pattern, its position among the sums.
      height: the longest way from an entry's vertex down to a leaf, plus 1; 1 if every entry is read off directly.
      terms: the most products in one entry's sum. The absolute error of an entry is up to that many times the error of
        one product, whose size is that of the largest entries nearby, and not of the entry itself.
    """

    source: np.ndarray
    rounds: tuple[tuple[np.ndarray, np.ndarray, int], ...]
    entries: np.ndarray
    height: int
    terms: int

    @property
    def additions(self) -> int:
        """Additions that all rounds together take."""
        return sum(len(added) for _, added, _ in self.rounds)


def direct_source(pattern: Any, coloring: Coloring) -> np.ndarray:
    """The position in the compressed products of each entry, which stands there alone.

    Args:
      pattern: the coloured pattern, shape ``(m, n)``.
      coloring: of kind ``"columns"``, ``"rows"``, ``"star"`` or ``"bidirectional"``.

    Returns:
      Positions in the order of ``canonical(pattern)``, row by row: ``data = compressed[direct_source(...)]``. Of a star
      colouring, mirror images share a position, so that the result is exactly symmetric.

    Raises:
      ValueError: if some entry stands alone in no product, or the kind needs another way.
    """
    pattern = canonical(pattern)
    _check_sizes(pattern, coloring, "direct_source")
    rows, columns = entries(pattern)
    m, n = extent(pattern)
    offset = coloring.num_column_colors * m
    match coloring.kind:
        case "columns" | "rows" | "bidirectional":
            by_column = _alone(rows, coloring.columns[columns], coloring.num_column_colors)
            by_row = _alone(columns, coloring.rows[rows], coloring.num_row_colors)
            readable = by_column | by_row
            source = np.where(
                by_column, coloring.columns[columns] * m + rows, offset + coloring.rows[rows] * n + columns
            )
        case "star":
            # Of an entry and its image the one above the diagonal chooses for both.
            low, high = np.minimum(rows, columns), np.maximum(rows, columns)
            alone = _alone(rows, coloring.columns[columns], coloring.num_column_colors)
            mirrored = sparse.csr_array((alone, pattern.indices, pattern.indptr), shape=pattern.shape).T.tocsr().data
            at_low = np.where(rows <= columns, alone, mirrored)
            readable = alone | mirrored
            source = np.where(at_low, coloring.columns[high] * m + low, coloring.columns[low] * m + high)
        case _:
            raise ValueError(
                f"direct_source: expected a colouring of kind columns, rows, star or bidirectional, got "
                f"{coloring.kind!r}. Use substitution for acyclic and diagonal_source for distance-1."
            )
    if not readable.all():
        where = int(np.argmin(readable))
        raise ValueError(
            f"direct_source: entry ({rows[where]}, {columns[where]}) stands alone in no product. "
            "The colouring belongs to another pattern."
        )
    return source


def diagonal_source(pattern: Any, coloring: Coloring) -> tuple[np.ndarray, np.ndarray]:
    """The positions in the compressed products of the diagonal's entries.

    Args:
      pattern: the coloured pattern, symmetric, shape ``(n, n)``.
      coloring: of kind ``"distance-1"``, ``"star"`` or ``"acyclic"``.

    Returns:
      ``(index, source)``: which diagonal entries the pattern holds, and where they are; the other ones are zero.

    Raises:
      ValueError: if some diagonal entry stands alone in no product, or the kind does not promise it.
    """
    pattern = canonical(pattern)
    _check_sizes(pattern, coloring, "diagonal_source")
    if coloring.kind not in ("distance-1", "star", "acyclic"):
        raise ValueError(
            f"diagonal_source: expected a colouring of kind distance-1, star or acyclic, got {coloring.kind!r}."
        )
    rows, columns = entries(pattern)
    colors = coloring.columns
    index = rows[rows == columns]
    wrong = colors[index] < 0
    # An entry beside the diagonal of a row's own colour would be added to the diagonal's.
    clash = (rows != columns) & (colors[rows] == colors[columns]) & np.isin(rows, index)
    if wrong.any() or clash.any():
        where = int(index[np.argmax(wrong)] if wrong.any() else rows[np.argmax(clash)])
        raise ValueError(
            f"diagonal_source: entry ({where}, {where}) stands alone in no product. "
            "The colouring belongs to another pattern."
        )
    return index, colors[index] * extent(pattern)[0] + index


def substitution(pattern: Any, coloring: Coloring) -> Substitution:
    """The schedule by which an acyclic (or star) colouring's products become entries.

    Args:
      pattern: the coloured pattern, symmetric, shape ``(n, n)``.
      coloring: of kind ``"acyclic"`` or ``"star"``; the compressed products are ``(num_column_colors, n)``, raveled.

    Returns:
      A ``Substitution``; ``substitute`` carries it out. Mirror images share a value.

    Raises:
      ValueError: if two colours close a cycle, or neighbours share a colour.
    """
    pattern = canonical(pattern)
    _check_sizes(pattern, coloring, "substitution")
    if coloring.kind not in ("acyclic", "star"):
        raise ValueError(f"substitution: expected a colouring of kind acyclic or star, got {coloring.kind!r}.")
    rows, columns = entries(pattern)
    n, count, colors = extent(pattern)[0], coloring.num_column_colors, coloring.columns
    beside = rows != columns
    if np.any(colors[rows] < 0) or np.any(colors[rows[beside]] == colors[columns[beside]]):
        raise ValueError("substitution: neighbours share a colour. The colouring belongs to another pattern.")
    # A vertex of the forest is a vertex of the matrix with another colour around it: there its tree passes.
    here = rows[beside] * count + colors[columns[beside]]
    there = columns[beside] * count + colors[rows[beside]]
    keys, here = np.unique(here, return_inverse=True)
    there = np.searchsorted(keys, there)
    size = len(keys)
    forest = sparse.csr_array((np.ones(len(here), bool), (here, there)), shape=(size, size))
    parent, depth, trees = hang(forest)
    if forest.nnz != 2 * (size - trees):
        raise ValueError("substitution: two colours close a cycle. The colouring belongs to another pattern.")

    child = depth[here] > depth[there]
    diagonal = rows[~beside]
    sums = np.empty(len(rows), np.int64)
    sums[beside] = np.where(child, here, there)
    sums[~beside] = size + np.arange(len(diagonal))
    source = np.concatenate([(keys % count) * n + keys // count, colors[diagonal] * n + diagonal]) if count else keys
    rounds, height, terms = doubling(parent, depth)
    return Substitution(source, rounds, sums, height, terms)


def gather(compressed: "jax.Array", source: np.ndarray) -> "jax.Array":
    """The entries at those positions of the compressed products.

    Args:
      compressed: raveled products, shape ``(size,)``.
      source: positions, shape ``(k,)``, each within ``size``.

    Returns:
      The entries, shape ``(k,)``.

    Raises:
      ValueError: if ``compressed`` is no vector or a position lies outside.
    """
    import jax
    import jax.numpy as jnp

    source = np.asarray(source, np.int64)
    if compressed.ndim != 1:
        raise ValueError(f"gather: compressed must be a vector, got shape {compressed.shape}. Ravel it.")
    if len(source) and not (source.min() >= 0 and source.max() < compressed.size):
        raise ValueError(
            f"gather: positions must be in [0, {compressed.size}), got {source.min()} to {source.max()}. "
            "The products belong to another colouring."
        )
    if compressed.size <= _INT32_POSITIONS:
        return _pick(compressed, source)
    # A position past int32 would wrap without a word: look into pieces that int32 can address.
    piece = source // _PIECE
    order = np.argsort(piece, kind="stable")
    parts = []
    for number in np.unique(piece).tolist():
        part = jax.lax.slice(compressed, (number * _PIECE,), (min((number + 1) * _PIECE, compressed.size),))
        parts.append(_pick(part, source[piece == number] - number * _PIECE))
    return _pick(jnp.concatenate(parts), np.argsort(order)) if parts else jnp.zeros(0, compressed.dtype)


def substitute(compressed: "jax.Array", schedule: Substitution) -> "jax.Array":
    """The entries by a ``Substitution``: one gather, ``log2(height)`` scatter-additions, one gather.

    Args:
      compressed: raveled products, shape ``(num_column_colors * n,)``.
      schedule: from ``substitution``.

    Returns:
      The entries in the order of the canonical pattern, shape ``(nnz,)``.
    """
    if not schedule.rounds:
        return gather(compressed, schedule.source[schedule.entries])
    sums = gather(compressed, schedule.source)
    for target, added, sign in schedule.rounds:
        terms = gather(sums, added)
        sums = sums.at[target].add(
            terms if sign > 0 else -terms,
            indices_are_sorted=True,
            mode="promise_in_bounds",
            wrap_negative_indices=False,
        )
    return gather(sums, schedule.entries)


def scatter_dense(data: "jax.Array", pattern: Any, shape: tuple[int, int] | None = None) -> "jax.Array":
    """The dense matrix with those entries and zeros elsewhere.

    Args:
      data: entries in the order of ``canonical(pattern)``, shape ``(nnz,)``.
      pattern: where they are.
      shape: the pattern's own; given, it is checked.

    Returns:
      The matrix, shape ``(m, n)``.

    Raises:
      ValueError: if the entries or the shape do not fit the pattern.
    """
    import jax.numpy as jnp

    pattern = canonical(pattern)
    if data.shape != (pattern.nnz,) or (shape is not None and tuple(shape) != pattern.shape):
        raise ValueError(
            f"scatter_dense: the pattern holds {pattern.nnz} entries in shape {pattern.shape}, "
            f"got data of shape {data.shape} for shape {shape if shape is not None else pattern.shape}."
        )
    m, n = extent(pattern)
    if pattern.nnz == m * n:
        return data.reshape(m, n)
    rows, columns = entries(pattern)
    if m * n <= _INT32_POSITIONS:
        return _place(jnp.zeros(m * n, data.dtype), (rows * n + columns,), data).reshape(m, n)
    # A flat position would wrap past int32; a row and a column do not.
    return _place(jnp.zeros((m, n), data.dtype), (rows, columns), data)


def _place(zeros: "jax.Array", at: tuple[np.ndarray, ...], data: "jax.Array") -> "jax.Array":
    """Entries written to distinct places in ascending order, each index of which fits int32."""
    return zeros.at[tuple(index.astype(np.int32) for index in at)].set(
        data, indices_are_sorted=True, unique_indices=True, mode="promise_in_bounds", wrap_negative_indices=False
    )


def _pick(vector: "jax.Array", source: np.ndarray) -> "jax.Array":
    """Entries at positions that are known to be inside and to fit int32."""
    return vector.at[source.astype(np.int32)].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _check_sizes(pattern: sparse.csr_array, coloring: Coloring, caller: str) -> None:
    """Refuse a colouring of a pattern of another shape."""
    if (len(coloring.rows), len(coloring.columns)) != pattern.shape:
        raise ValueError(
            f"{caller}: the colouring is of shape {(len(coloring.rows), len(coloring.columns))}, "
            f"the pattern of shape {pattern.shape}."
        )


def _alone(lines: np.ndarray, colors: np.ndarray, count: int) -> np.ndarray:
    """Whether an entry is in a product, and the only one of its colour in its line."""
    if count == 0 or len(lines) == 0:
        return np.zeros(len(lines), bool)
    inside = colors >= 0
    keys = lines * count + np.maximum(colors, 0)
    size = (int(lines.max()) + 1) * count
    if size <= 8 * len(lines) + 1_000_000:
        return inside & (np.bincount(keys[inside], minlength=size)[keys] == 1)
    _, where, number = np.unique(np.where(inside, keys, -1), return_inverse=True, return_counts=True)
    return inside & (number[where] == 1)
