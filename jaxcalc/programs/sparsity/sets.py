"""Index sets: for every element of an array, which columns reach it; as packed bits or as a sparse matrix.

Both forms answer the same few questions (rows taken by index, union, contraction by a boolean matrix), so that a rule
is written once. Packed bits win where rows are few or full, sparse rows where columns are many. Every operation tells
its work to a meter beforehand, and the meter stops a reading that no longer pays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["Links", "Meter", "Sets", "Space", "TooDense", "links"]

Links = Any  # scipy.sparse.csr_array of bool; scipy tells no types
"""A boolean matrix: row = element that is computed, columns = elements that it is computed from."""

# Work of one entry of a sparse row against one word of packed bits (measured: about 10 ns against 1 ns).
_ENTRY_WORK = 8
# Words that a contraction of packed rows gathers at once.
_CHUNK_WORDS = 1 << 21


class TooDense(Exception):
    """The sets cost more than a reading may."""


class Meter:
    """Counts work (in packed words, about a nanosecond each) up to a limit; no clock, so plans are repeatable."""

    __slots__ = ("left",)

    def __init__(self, limit: float):
        self.left = limit

    def spend(self, work: float) -> None:
        """Take work off what is left.

        Raises:
          TooDense: if nothing is left.
        """
        self.left -= work
        if self.left < 0:
            raise TooDense


@dataclass(frozen=True)
class Space:
    """The columns that sets are drawn from, the form that they take, and who pays."""

    columns: int
    packed: bool
    meter: Meter

    @property
    def words(self) -> int:
        """Words of one packed row."""
        return max(1, -(-self.columns // 64))

    def empty(self, rows: int) -> "Sets":
        """No column reaches any row."""
        if self.packed:
            return Sets(np.zeros((rows, self.words), np.uint64), self)
        return Sets(sparse.csr_array((rows, self.columns), dtype=bool), self)

    def identity(self, rows: int, offset: int) -> "Sets":
        """Row ``i`` holds column ``offset + i`` alone."""
        columns = np.arange(offset, offset + rows)
        if self.packed:
            data = np.zeros((rows, self.words), np.uint64)
            data[np.arange(rows), columns >> 6] = np.left_shift(np.uint64(1), (columns & 63).astype(np.uint64))
            return Sets(data, self)
        return Sets(_csr(np.arange(rows + 1), columns, self.columns), self)

    def stack(self, parts: Sequence["Sets"]) -> "Sets":
        """The rows of all parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        self.meter.spend(sum(part.work for part in parts))
        if self.packed:
            return Sets(np.concatenate([part.data for part in parts]), self)
        indptr = [np.zeros(1, np.int64)]
        total = 0
        for part in parts:
            indptr.append(part.data.indptr[1:].astype(np.int64) + total)
            total += int(part.data.indptr[-1])
        indices = np.concatenate([part.data.indices[: part.data.indptr[-1]] for part in parts])
        return Sets(_csr(np.concatenate(indptr), indices, self.columns), self)


class Sets:
    """One set of columns for each row; never changed once made, so that identical sets may be the same object."""

    __slots__ = ("data", "space")

    def __init__(self, data, space: Space):
        self.data, self.space = data, space

    @property
    def rows(self) -> int:
        """Number of sets."""
        return self.data.shape[0]

    @property
    def work(self) -> int:
        """What it takes to write all of this once."""
        return self.data.size if self.space.packed else self.rows + _ENTRY_WORK * self.data.nnz

    @property
    def count(self) -> int:
        """How many entries all sets have."""
        if self.space.packed:
            return int(np.bitwise_count(self.data).sum())
        self.data.sum_duplicates()
        return int(self.data.nnz)

    def take(self, index: np.ndarray | None) -> "Sets":
        """Row ``i`` of the answer is row ``index[i]``; empty where negative. ``None`` is every row in its place."""
        if index is None:
            return self
        if self.space.packed:
            self.space.meter.spend(index.size * self.space.words)
            if not self.rows:
                return self.space.empty(index.size)
            data = self.data[index]
            if index.size and index.min() < 0:
                data[index < 0] = 0
            return Sets(data, self.space)
        indptr = np.append(self.data.indptr, self.data.indptr[-1:])  # one empty row, last, is what -1 finds
        lengths = np.diff(indptr)[index]
        total = int(lengths.sum())
        self.space.meter.spend(index.size + _ENTRY_WORK * total)
        ends = np.cumsum(lengths)
        places = np.repeat(indptr[:-1][index] - (ends - lengths), lengths) + np.arange(total)
        return Sets(_csr(np.append(0, ends), self.data.indices[places], self.space.columns), self.space)

    def union(self, *others: "Sets") -> "Sets":
        """Row by row, what is in any."""
        data = self.data
        met: list[Sets] = [self]
        for other in others:
            if any(other is known for known in met):
                continue
            met.append(other)
            self.space.meter.spend(self.work + other.work)
            data = data | other.data if self.space.packed else data + other.data
        return self if len(met) == 1 else Sets(data, self.space)

    def keep(self, mask: np.ndarray | None) -> "Sets":
        """The sets where the mask holds, empty ones elsewhere; ``None`` keeps all."""
        if mask is None or mask.all():
            return self
        if self.space.packed:
            self.space.meter.spend(self.data.size)
            return Sets(np.where(mask[:, None], self.data, np.uint64(0)), self.space)
        return self.take(np.where(mask, np.arange(self.rows), -1))

    def contract(self, matrix: Links) -> "Sets":
        """Row ``i`` of the answer is the union of the rows that row ``i`` of the matrix names."""
        if not self.space.packed:
            lengths = np.diff(self.data.indptr)
            self.space.meter.spend(matrix.shape[0] + _ENTRY_WORK * int(lengths[matrix.indices].sum()))
            return Sets(matrix @ self.data, self.space)
        words = self.space.words
        self.space.meter.spend(2 * matrix.nnz * words)
        out = np.zeros((matrix.shape[0], words), np.uint64)
        filled = np.flatnonzero(np.diff(matrix.indptr))
        if not filled.size:
            return Sets(out, self.space)
        starts = matrix.indptr[:-1][filled].astype(np.int64)
        step = max(1, _CHUNK_WORDS // (words * max(1, matrix.nnz // filled.size)))
        for first in range(0, filled.size, step):
            last = min(first + step, filled.size)
            low, high = starts[first], starts[last] if last < filled.size else matrix.nnz
            gathered = self.data[matrix.indices[low:high]]
            out[filled[first:last]] = np.bitwise_or.reduceat(gathered, starts[first:last] - low, axis=0)
        return Sets(out, self.space)

    def reduce(self, shape: Sequence[int], axes: Sequence[int]) -> "Sets":
        """The union along some axes of an array of that shape, whose elements are the rows."""
        axes = tuple(axis for axis in axes if shape[axis] != 1)
        if not axes:
            return self
        if self.space.packed:
            self.space.meter.spend(self.data.size)
            data = np.bitwise_or.reduce(self.data.reshape(*shape, self.space.words), axis=axes)
            return Sets(data.reshape(-1, self.space.words), self.space)
        others = [axis for axis in range(len(shape)) if axis not in axes]
        width = math.prod(shape[axis] for axis in axes)
        order = np.arange(self.rows).reshape(shape).transpose([*others, *axes]).reshape(-1)
        count = math.prod(shape[axis] for axis in others)
        return self.contract(_csr(np.arange(count + 1) * width, order, self.rows))

    @staticmethod
    def of_rows(space: Space, lengths: np.ndarray, columns: np.ndarray) -> "Sets":
        """Sparse sets of given sizes, their columns one after another."""
        return Sets(_csr(np.append(0, np.cumsum(lengths)), columns, space.columns), space)

    def nonempty(self) -> np.ndarray:
        """Which rows hold anything."""
        return self.data.any(axis=1) if self.space.packed else np.diff(self.data.indptr) > 0

    def same(self, other: "Sets") -> bool:
        """Whether all sets are equal."""
        if self is other:
            return True
        if self.space.packed:
            return bool(np.array_equal(self.data, other.data))
        mine, yours = self.data, other.data
        if mine.nnz != yours.nnz or not np.array_equal(mine.indptr, yours.indptr):
            return False
        mine.sort_indices()
        yours.sort_indices()
        return bool(np.array_equal(mine.indices, yours.indices))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of all entries, sorted by row."""
        if self.space.packed:
            rows, words = np.nonzero(self.data)
            bits = np.unpackbits(self.data[rows, words].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
            which, bit = np.nonzero(bits)
            return rows[which], words[which] * 64 + bit
        data = self.data
        return np.repeat(np.arange(self.rows), np.diff(data.indptr)), data.indices[: data.indptr[-1]].astype(np.int64)

    def matrix(self) -> Links:
        """The sets as a boolean matrix with sorted indices."""
        if not self.space.packed:
            self.data.sum_duplicates()
            return self.data
        rows, columns = self.pairs()
        indptr = np.searchsorted(rows, np.arange(self.rows + 1))
        return _csr(indptr, columns, self.space.columns)


def links(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Links:
    """The boolean matrix with the named entries, which may repeat."""
    ones = np.ones(rows.size, bool)
    matrix = sparse.coo_array((ones, (rows, columns)), shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix


def _csr(indptr: np.ndarray, indices: np.ndarray, columns: int) -> Links:
    wide = max(int(indptr[-1]), columns) > np.iinfo(np.int32).max
    kind = np.int64 if wide else np.int32
    data = np.ones(indices.size, bool)
    return sparse.csr_array((data, indices.astype(kind), indptr.astype(kind)), shape=(indptr.size - 1, columns))
