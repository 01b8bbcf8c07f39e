"""greedy: orders of the vertices, and the rules by which each takes its first admissible colour.

The colours that a vertex may not take are the bits of an integer. A pass is then linear in the number of entries, dense
rows and hubs included, where a walk to all neighbours at distance two would be quadratic.

Source: Gebremedhin, Manne and Pothen, SIAM Review 2005 (the orders); Gebremedhin, Tarafdar, Manne and Pothen, SIAM J.
Sci. Comput. 2007 (star and acyclic, there with the stars and trees themselves).
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from jaxcalc import checks

__all__ = [
    "ORDERS",
    "Order",
    "Rule",
    "acyclic_rule",
    "column_rule",
    "distance1_rule",
    "fewest",
    "known",
    "reading_rule",
    "star_rule",
]

Order = Literal["natural", "largest first", "smallest last", "incidence degree"]
ORDERS: tuple[Order, ...] = get_args(Order)

# Entries that the loops over all orders together may visit, about a microsecond each: the first order always runs, a
# further one only within this. Colours saved are worth less than the wait beyond.
_PATIENCE = 1_000_000

# (what each vertex meets, the vertices in order, the most colours, how many there are to meet) -> colours, or None.
Rule = Callable[[list[list[int]], list[int], int, int], list[int] | None]


def known(who: str, orders: Sequence[Order]) -> Sequence[Order]:
    """The orders themselves, if there are any and each is one of ``ORDERS``."""
    checks.integer(who, "the number of orders", len(orders))
    return [checks.one_of(who, "an order", order, ORDERS) for order in orders]


def fewest(
    rule: Rule,
    lists: sparse.csr_array | sparse.csc_array,
    bound: int,
    orders: Sequence[Order],
    most: int,
    others: int,
    rows: sparse.csr_array | None = None,
) -> tuple[np.ndarray | None, Order]:
    """The colours of the best order, ended by the bound or the patience; None if all need more than ``most``.

    Args:
      rule: one of the rules below.
      lists: what each vertex meets: its neighbours, or, where ``rows`` is given, the rows of a column.
      bound: no colouring has fewer colours.
      orders: the orders to try, in this order.
      most: the most colours of use.
      others: how many there are to meet.
      rows: the same matrix by rows, for columns.
    """
    members = _members(lists)
    best: list[int] | None = None
    best_order, spent = orders[0], 0
    for order in orders:
        work = lists.nnz * (4 if rule is acyclic_rule else 1) + _order_work(order, lists, rows)
        if spent and spent + work > _PATIENCE:
            continue
        spent += work
        colors = rule(members, _sequence(order, lists, rows), most, others)
        if colors is None:
            continue
        best, best_order = colors, order
        most = max(colors, default=-1)  # the next one must do with a colour less
        if most < bound:
            break
    return (None if best is None else np.asarray(best, np.int64)), best_order


def column_rule(members: list[list[int]], sequence: list[int], most: int, num_rows: int) -> list[int] | None:
    """Each column takes the first colour that none of its rows holds; None beyond ``most`` colours."""
    taken, colors = [0] * num_rows, [-1] * len(members)
    for column in sequence:
        rows = members[column]
        forbidden = 0
        for row in rows:
            forbidden |= taken[row]
        bit = ~forbidden & (forbidden + 1)
        color = bit.bit_length() - 1
        if color >= most:
            return None
        colors[column] = color
        for row in rows:
            taken[row] |= bit
    return colors


def reading_rule(
    rows: np.ndarray, columns: np.ndarray, read: np.ndarray, shape: tuple[int, int], most: int
) -> np.ndarray | None:
    """Colour the columns that are read somewhere: in a row where one is read, no other one has its colour."""
    wanted = np.zeros(shape[1], bool)
    wanted[columns[read]] = True
    kept = wanted[columns]
    matrix: Any = sparse.csc_array((np.where(read, 2, 1)[kept], (rows[kept], columns[kept])), shape=shape)
    indptr, indices, flags = matrix.indptr.tolist(), matrix.indices.tolist(), (matrix.data == 2).tolist()
    colors = np.full(shape[1], -1, np.int64)
    taken, alone = [0] * shape[0], [0] * shape[0]  # colours in the row: of any column, of those read there
    sizes = np.diff(matrix.indptr)
    for column in np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)].tolist():
        start, stop = indptr[column], indptr[column + 1]
        entries = list(zip(indices[start:stop], flags[start:stop]))
        forbidden = 0
        for row, is_read in entries:
            forbidden |= taken[row] if is_read else alone[row]
        bit = ~forbidden & (forbidden + 1)
        if bit.bit_length() > most:
            return None
        colors[column] = bit.bit_length() - 1
        for row, is_read in entries:
            taken[row] |= bit
            if is_read:
                alone[row] |= bit
    return colors


def distance1_rule(members: list[list[int]], sequence: list[int], most: int, _: int) -> list[int] | None:
    """Each vertex takes the first colour that no neighbour has; None beyond ``most`` colours."""
    seen, colors = [0] * len(members), [-1] * len(members)
    for vertex in sequence:
        bit = ~seen[vertex] & (seen[vertex] + 1)
        color = bit.bit_length() - 1
        if color >= most:
            return None
        colors[vertex] = color
        for near in members[vertex]:
            seen[near] |= bit
    return colors


def star_rule(members: list[list[int]], sequence: list[int], most: int, _: int) -> list[int] | None:
    """Each vertex takes the first colour that leaves no path on four vertices in two colours."""
    size = len(members)
    own, seen, twice = [0] * size, [0] * size, [0] * size  # colours of: itself, neighbours, two neighbours or more
    hubs = [0] * size  # colours of the neighbours that have two neighbours or more of this vertex's colour
    for vertex in sequence:
        near, repeated = members[vertex], twice[vertex]
        forbidden = seen[vertex]
        for other in near:
            color = own[other]
            if color:
                forbidden |= hubs[other]  # vertex - other - hub - another spoke
                if color & repeated:
                    forbidden |= seen[other]  # its like - vertex - other - beyond
        bit = ~forbidden & (forbidden + 1)
        if bit.bit_length() > most:
            return None
        own[vertex] = bit
        for other in near:
            color = own[other]
            again = seen[other] & bit
            if color:
                if color & repeated:
                    hubs[other] |= bit
                if again:
                    hubs[vertex] |= color
                    if not twice[other] & bit:
                        spoke = next(x for x in members[other] if own[x] == bit and x != vertex)
                        hubs[spoke] |= color
            if again:
                twice[other] |= bit
            else:
                seen[other] |= bit
    return [bit.bit_length() - 1 for bit in own]


def acyclic_rule(members: list[list[int]], sequence: list[int], most: int, _: int) -> list[int] | None:
    """Each vertex takes the first colour that closes no cycle in two colours."""
    size = len(members)
    colors, seen = [-1] * size, [0] * size
    parent: list[int] = []  # disjoint sets: the trees in two colours
    tree: dict[tuple[int, int], int] = {}  # (vertex, colour): the tree through its neighbours of that colour

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for vertex in sequence:
        groups: dict[int, list[int]] = {}
        for other in members[vertex]:
            if colors[other] >= 0:
                groups.setdefault(colors[other], []).append(other)
        several = [group for group in groups.values() if len(group) > 1]
        forbidden = seen[vertex]
        while True:
            bit = ~forbidden & (forbidden + 1)
            color = bit.bit_length() - 1
            if color >= most:
                return None
            if all(_distinct([root(tree[x, color]) for x in group if seen[x] & bit]) for group in several):
                break
            forbidden |= bit
        colors[vertex] = color
        for shared, group in groups.items():
            joined = len(parent)
            parent.append(joined)
            tree[vertex, shared] = joined
            for other in group:
                if seen[other] & bit:
                    parent[root(tree[other, color])] = joined
                else:
                    tree[other, color] = joined
        for other in members[vertex]:
            seen[other] |= bit
    return colors


def _distinct(values: list[int]) -> bool:
    """Whether no value comes twice."""
    return len(values) < 2 or len(set(values)) == len(values)


def _order_work(order: Order, lists: Any, rows: sparse.csr_array | None) -> int:
    """Entries that finding the order visits."""
    if order in ("natural", "largest first"):
        return 0
    if rows is None:
        return lists.nnz
    return int(np.sum(np.diff(rows.indptr).astype(np.int64) ** 2))


def _sequence(order: Order, lists: Any, rows: sparse.csr_array | None) -> list[int]:
    """The vertices that meet anything, in the order named."""
    sizes = np.diff(lists.indptr)
    match order:
        case "natural":
            return np.flatnonzero(sizes).tolist() if rows is not None else list(range(len(sizes)))
        case "largest first":
            if rows is not None:
                # Columns met, each as often as in a row: the distinct ones would cost all pairs.
                ends = np.diff(rows.indptr)[lists.indices] - 1
                sizes = np.bincount(np.repeat(np.arange(len(sizes)), sizes), ends, len(sizes)) * (sizes > 0)
            sequence = np.argsort(-sizes, kind="stable")
        case "smallest last":
            sequence = np.asarray(_smallest_last(_meeting(lists, rows)), np.int64)
        case "incidence degree":
            sequence = np.asarray(_incidence_degree(_meeting(lists, rows)), np.int64)
        case _:
            raise checks.unknown("coloring", "an order", order, ORDERS)
    if rows is None:
        return sequence.tolist()
    return sequence[np.diff(lists.indptr)[sequence] > 0].tolist()


def _meeting(lists: Any, rows: sparse.csr_array | None) -> list[list[int]]:
    """For each vertex those it must differ from: neighbours, or the columns that meet it in a row."""
    if rows is None:
        return _members(lists)
    counts = rows.astype(np.int32)
    meets = sparse.csr_array(counts.T @ counts)
    meets.setdiag(0)
    meets.eliminate_zeros()
    return _members(meets)


def _members(lists: Any) -> list[list[int]]:
    """The index lists of a compressed matrix."""
    indptr, indices = lists.indptr.tolist(), lists.indices.tolist()
    return [indices[start:stop] for start, stop in itertools.pairwise(indptr)]


def _smallest_last(neighbours: list[list[int]]) -> list[int]:
    """Each vertex has the fewest neighbours among those before it and itself: removed last to first."""
    degrees = [len(near) for near in neighbours]
    buckets: list[list[int]] = [[] for _ in range(max(degrees, default=0) + 1)]
    for vertex in range(len(neighbours) - 1, -1, -1):
        buckets[degrees[vertex]].append(vertex)
    removed, lowest = [], 0
    while len(removed) < len(neighbours):
        while not buckets[lowest]:
            lowest += 1
        vertex = buckets[lowest].pop()
        if degrees[vertex] != lowest:
            continue  # it has since moved to a lower bucket, or is removed
        degrees[vertex] = -1
        removed.append(vertex)
        for near in neighbours[vertex]:
            degree = degrees[near]
            if degree > 0:
                degrees[near] = degree - 1
                buckets[degree - 1].append(near)
        lowest = max(lowest - 1, 0)
    return removed[::-1]


def _incidence_degree(neighbours: list[list[int]]) -> list[int]:
    """Each vertex has the most neighbours among those before it; the first has the most of all."""
    placed = [0] * len(neighbours)
    buckets: list[list[int]] = [[] for _ in range(max(map(len, neighbours), default=0) + 1)]
    buckets[0] = sorted(range(len(neighbours)), key=lambda vertex: len(neighbours[vertex]))
    sequence, highest = [], 0
    while len(sequence) < len(neighbours):
        while not buckets[highest]:
            highest -= 1
        vertex = buckets[highest].pop()
        if placed[vertex] != highest:
            continue
        placed[vertex] = -1
        sequence.append(vertex)
        for near in neighbours[vertex]:
            count = placed[near]
            if count >= 0:
                placed[near] = count + 1
                buckets[count + 1].append(near)
                highest = max(highest, count + 1)
    return sequence
