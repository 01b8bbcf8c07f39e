"""forests: distances in a graph, and sums over the subtrees of a forest, without a loop over the vertices."""

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from jaxcalc.programs.patterns import extent

__all__ = ["components", "distances", "doubling", "hang", "parity"]


def components(graph: sparse.csr_array) -> tuple[int, np.ndarray]:
    """The number of components, and the component of each vertex."""
    if extent(graph)[0] == 0:
        return 0, np.zeros(0, np.int64)
    count, component = csgraph.connected_components(graph, directed=False)
    return int(count), component


def distances(graph: sparse.csr_array, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from, and predecessor towards, the root of each vertex's component; a root's predecessor is itself."""
    n = extent(graph)[0]
    # One search from a vertex above all roots takes the place of one search per component.
    above = sparse.csr_array((np.ones(len(roots), bool), (np.zeros(len(roots), np.int64), roots)), shape=(1, n))
    whole = sparse.csr_array(sparse.block_array([[graph, None], [above, sparse.csr_array((1, 1), dtype=bool)]]))
    _, predecessor = csgraph.breadth_first_order(whole.astype(np.int8), n, directed=True)
    predecessor = predecessor[:n].astype(np.int64)
    top = predecessor == n
    predecessor[top] = np.flatnonzero(top)
    # Distances double along with the jumps.
    distance, jump = (~top).astype(np.int64), predecessor
    while np.any(jump != jump[jump]):
        distance, jump = distance + distance[jump], jump[jump]
    return distance, predecessor


def parity(graph: sparse.csr_array) -> np.ndarray:
    """Parity of each vertex's distance from the first one of its component: the two colours, if two are enough."""
    n = extent(graph)[0]
    if n == 0 or graph.nnz == 0:
        return np.zeros(n, np.int64)
    _, component = components(graph)
    _, first = np.unique(component, return_index=True)
    return distances(graph, first)[0] % 2


def hang(forest: sparse.csr_array) -> tuple[np.ndarray, np.ndarray, int]:
    """Parent and depth of each vertex, trees hung from their centres, and the number of trees."""
    size = extent(forest)[0]
    if size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    trees, tree = components(forest)
    # The farthest vertex from any is an end of a longest path, the farthest from there is the other end.
    start = _deepest(tree, distances(forest, np.unique(tree, return_index=True)[1])[0])
    depth, parent = distances(forest, start)
    ends = _deepest(tree, depth)
    # The centre is halfway up from the last end.
    centre, left, jump = ends, depth[ends] // 2, parent
    while left.any():
        centre = np.where(left % 2 == 1, jump[centre], centre)
        left, jump = left // 2, jump[jump]
    depth, parent = distances(forest, centre)
    return parent, depth, trees


def _deepest(tree: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """A deepest vertex of each tree."""
    order = np.lexsort((depth, tree))
    return order[np.flatnonzero(np.diff(tree[order], append=-1))]


def doubling(parent: np.ndarray, depth: np.ndarray) -> tuple[tuple[tuple[np.ndarray, np.ndarray, int], ...], int, int]:
    """The rounds that sum over subtrees, the height of what hangs below the roots, and the largest subtree there."""
    rounds, reach, ancestor = [], 1, parent
    height = int(depth.max(initial=1))
    sizes = np.ones(len(parent), np.int64)
    while reach < height:
        # The roots' own sums are nobody's entry.
        added = np.flatnonzero(depth > reach)
        target = ancestor[added]
        order = np.argsort(target, kind="stable")
        rounds.append((target[order].astype(np.int32), added[order], -1 if reach == 1 else 1))
        sizes = sizes + np.bincount(target, sizes[added], len(sizes)).astype(np.int64)
        reach, ancestor = 2 * reach, ancestor[ancestor]
    return tuple(rounds), height, int(sizes[depth > 0].max(initial=1))
