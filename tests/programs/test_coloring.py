"""Colourings against their definitions: what each promises is checked by counting, not by the rule that found it.

Oracle: the definitions (Gebremedhin, Manne and Pothen 2005), checked by brute force, and known colour counts.
"""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from jaxcalc.programs import coloring as c
from jaxcalc.programs import greedy, grid_coloring


def band(n, below, above=None):
    """A band matrix's pattern."""
    above = below if above is None else above
    return np.tril(np.triu(np.ones((n, n), bool), -below), above)


def arrowhead(n, border=1, half_width=0):
    """Dense first rows and columns around a band."""
    pattern = band(n, half_width)
    pattern[:border] = pattern[:, :border] = True
    return pattern


def grid(*shape):
    """A stencil of the nearest neighbours on a grid."""
    whole = sparse.csr_array((1, 1), dtype=bool)
    for size in shape:
        line, old = sparse.csr_array(band(size, 1)), sparse.eye_array(whole.shape[0])
        whole = sparse.kron(whole, sparse.eye_array(size)) + sparse.kron(old, line)
    return whole.astype(bool).toarray()


@st.composite
def patterns(draw, symmetric=False):
    """Boolean matrices from empty to dense, with dense rows and columns at times, sizes from 0."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m = draw(st.integers(0, 12))
    n = m if symmetric else draw(st.integers(0, 12))
    pattern = rng.random((m, n)) < draw(st.sampled_from([0.0, 0.05, 0.15, 0.3, 0.6, 1.0]))
    if min(m, n) and draw(st.booleans()):
        pattern[rng.integers(m)] = True
        pattern[:, rng.integers(n)] = True
    if symmetric:
        pattern = pattern | pattern.T
        diagonal = draw(st.sampled_from(["any", "full", "none"]))
        if diagonal != "any":
            np.fill_diagonal(pattern, diagonal == "full")
    return pattern


def conflicts(pattern, colors):
    """Pairs of columns that share a colour and meet in a row."""
    pairs = itertools.combinations(range(pattern.shape[1]), 2)
    return [(j, k) for j, k in pairs if colors[j] == colors[k] >= 0 and np.any(pattern[:, j] & pattern[:, k])]


def two_colour_components(pattern, colors):
    """Edges and vertices of every component that two colours induce, without the diagonal."""
    graph = pattern & ~np.eye(len(pattern), dtype=bool)
    for pair in itertools.combinations(range(max(colors, default=-1) + 1), 2):
        members = np.flatnonzero(np.isin(colors, pair))
        induced = graph[np.ix_(members, members)]
        count, labels = sparse.csgraph.connected_components(sparse.csr_array(induced), directed=False)
        for part in range(count):
            inside = induced[np.ix_(labels == part, labels == part)]
            yield inside.sum() // 2, len(inside), inside.sum(axis=0).max(initial=0)


def proper(pattern, colors):
    """Whether all vertices that have an entry are coloured, and neighbours differ."""
    rows, columns = np.nonzero(pattern & ~np.eye(len(pattern), dtype=bool))
    return np.all(colors[pattern.any(axis=0)] >= 0) and np.all(colors[rows] != colors[columns])


def found(coloring: c.Coloring | None) -> c.Coloring:
    assert coloring is not None
    used = [np.unique(colors[colors >= 0]) for colors in (coloring.columns, coloring.rows)]
    for colors, count in zip(used, (coloring.num_column_colors, coloring.num_row_colors)):
        assert np.array_equal(colors, np.arange(count))
    return coloring


@given(patterns(), st.sampled_from(c.ORDERS))
@settings(max_examples=40, deadline=None)
def test_columns_of_a_colour_never_meet(pattern, order):
    for orders in (c.ORDERS, (order,)):
        coloring = found(c.color_columns(pattern, orders))
        assert conflicts(pattern, coloring.columns) == []
        assert np.array_equal(coloring.columns >= 0, pattern.any(axis=0))
        assert coloring.num_products >= pattern.sum(axis=1).max(initial=0)
    rows = found(c.color_rows(pattern))
    assert rows.kind == "rows" and rows.num_column_colors == 0 and np.all(rows.columns == -1)
    assert conflicts(pattern.T, rows.rows) == []


@given(patterns(symmetric=True), st.sampled_from(c.ORDERS))
@settings(max_examples=40, deadline=None)
def test_symmetric_colourings_hold_their_definitions(pattern, order):
    for orders in (c.ORDERS, (order,)):
        star = found(c.color_star(pattern, orders))
        assert proper(pattern, star.columns)
        # A component without a path on four vertices, and without a triangle, is a star: one vertex has all edges.
        assert all(edges == degree == size - 1 for edges, size, degree in two_colour_components(pattern, star.columns))

        acyclic = found(c.color_acyclic(pattern, orders))
        assert proper(pattern, acyclic.columns)
        assert all(edges == size - 1 for edges, size, _ in two_colour_components(pattern, acyclic.columns))

        plain = found(c.color_distance1(pattern, orders))
        kept = pattern.diagonal()
        assert np.array_equal(plain.columns >= 0, kept)
        assert proper(pattern & kept & kept[:, None], plain.columns)


@given(patterns())
@settings(max_examples=40, deadline=None)
def test_bidirectional_reads_every_entry_and_never_needs_more_than_one_direction(pattern):
    coloring = found(c.color_bidirectional(pattern))
    for i, j in np.argwhere(pattern):
        column, row = coloring.columns[j], coloring.rows[i]
        by_column = column >= 0 and np.sum(pattern[i] & (coloring.columns == column)) == 1
        by_row = row >= 0 and np.sum(pattern[:, j] & (coloring.rows == row)) == 1
        assert by_column or by_row
    one_way = min(found(color(pattern)).num_products for color in (c.color_columns, c.color_rows))
    assert coloring.num_products <= one_way


@given(patterns(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_columns_for_a_split_read_what_it_gives_them(pattern, seed):
    rows, columns = np.nonzero(pattern)
    read = np.random.default_rng(seed).random(len(rows)) < 0.5
    colors = greedy.reading_rule(rows, columns, read, pattern.shape, pattern.shape[1])
    assert colors is not None
    assert np.array_equal(np.flatnonzero(colors >= 0), np.unique(columns[read]))
    for i, j in zip(rows[read], columns[read]):
        assert np.sum(pattern[i] & (colors == colors[j])) == 1


@pytest.mark.parametrize(
    ("color", "pattern", "count"),
    [
        (c.color_columns, band(50, 1), 3),
        (c.color_columns, band(50, 2, 0), 3),
        (c.color_columns, np.eye(40, dtype=bool), 1),
        (c.color_columns, np.kron(np.eye(6, dtype=bool), np.ones((3, 4), bool)), 4),
        (c.color_rows, np.kron(np.eye(6, dtype=bool), np.ones((3, 4), bool)), 3),
        (c.color_columns, band(50, 1)[1:] & band(50, 1)[:-1], 2),  # differences of neighbours
        (c.color_columns, arrowhead(30), 30),
        (c.color_columns, grid(10, 15), 5),
        (c.color_columns, grid(6, 7, 14), 7),
        (c.color_star, band(50, 1), 3),
        (c.color_star, arrowhead(30), 2),
        (c.color_star, np.ones((9, 9), bool), 9),
        (c.color_acyclic, band(50, 1), 2),
        (c.color_acyclic, arrowhead(30), 2),
        (c.color_acyclic, np.ones((9, 9), bool), 9),
        (c.color_distance1, band(50, 1), 2),
        (c.color_distance1, band(50, 2), 3),
        (c.color_distance1, arrowhead(200), 2),
        (c.color_distance1, grid(12, 17), 2),
        (c.color_distance1, np.ones((9, 9), bool), 9),
        (c.color_distance1, ~np.eye(9, dtype=bool), 0),
        (c.color_bidirectional, arrowhead(5), 3),
        (c.color_bidirectional, arrowhead(400), 3),
        (c.color_bidirectional, arrowhead(300)[::-1], 3),
        (c.color_bidirectional, arrowhead(300, border=3, half_width=2), 11),
        (c.color_bidirectional, band(50, 1), 3),
    ],
)
def test_known_counts(color, pattern, count):
    assert found(color(pattern)).num_products == count


def test_a_long_dense_row_or_hub_is_no_quadratic_matter():
    # n = 20,000: all pairs would be 400 million.
    n = 20_000
    index = np.arange(n)
    rows, columns = np.concatenate([index, index, 0 * index]), np.concatenate([index, 0 * index, index])
    arrow = sparse.csr_array((np.ones(3 * n, bool), (rows, columns)), shape=(n, n))
    counts = [
        found(color(arrow)).num_products
        for color in (c.color_columns, c.color_star, c.color_acyclic, c.color_distance1, c.color_bidirectional)
    ]
    assert counts == [n, 2, 2, 2, 3]


@given(patterns(symmetric=True), st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_a_limit_is_met_or_refused(pattern, limit):
    for color in (
        c.color_columns,
        c.color_rows,
        c.color_star,
        c.color_acyclic,
        c.color_distance1,
        c.color_bidirectional,
    ):
        free, within = found(color(pattern)), color(pattern, limit=limit)
        assert within is None or found(within).num_products <= limit
        assert (within is not None) or free.num_products > limit


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (1, 4), (4, 1), (5, 5)])
@pytest.mark.parametrize("fill", [False, True])
def test_smallest_shapes(shape, fill):
    pattern = np.full(shape, fill)
    entries = fill and min(shape) > 0
    assert found(c.color_columns(pattern)).num_products == (shape[1] if entries else 0)
    assert found(c.color_rows(pattern)).num_products == (shape[0] if entries else 0)
    assert found(c.color_bidirectional(pattern)).num_products == (min(shape) if entries else 0)
    if shape[0] == shape[1]:
        for color in (c.color_star, c.color_acyclic, c.color_distance1):
            assert found(color(pattern)).num_products == (shape[0] if entries else 0)


@given(patterns())
@settings(max_examples=30, deadline=None)
def test_seeds_are_the_colours_indicators(pattern):
    coloring = found(c.color_bidirectional(pattern))
    for seeds, colors, count in (
        (coloring.column_seeds(np.float64), coloring.columns, coloring.num_column_colors),
        (coloring.row_seeds(np.float64), coloring.rows, coloring.num_row_colors),
    ):
        assert seeds.shape == (count, len(colors)) and seeds.dtype == np.float64
        assert np.array_equal(seeds, np.arange(count)[:, None] == colors)


def test_lattice_colours_hold_on_the_whole_pattern():
    # The fullest row alone admits the guess; a row elsewhere does not.
    pattern = np.zeros((3, 9), bool)
    pattern[0, [0, 1, 2]] = True
    pattern[1, [0, 3]] = True
    colors = grid_coloring.lattice_colors(c.canonical(pattern), 3)
    assert colors is None or conflicts(pattern, colors) == []
    assert found(c.color_columns(pattern)).num_products == 3


def test_patterns_are_made_canonical():
    rows, columns = np.array([1, 0, 0, 1]), np.array([2, 1, 0, 2])
    twice = sparse.coo_array((np.array([1.0, 1.0, 0.0, 1.0]), (rows, columns)), shape=(2, 3))
    made = c.canonical(twice)
    assert made.dtype == np.bool_ and made.has_canonical_format
    assert np.array_equal(made.toarray(), [[False, True, False], [False, False, True]])
    assert c.canonical(made) is made


def test_misuse_says_what_to_do():
    lopsided: Any = band(4, 1, 0)
    for color in (c.color_star, c.color_acyclic, c.color_distance1):
        with pytest.raises(ValueError, match="must be symmetric"):
            color(lopsided)
        with pytest.raises(ValueError, match="must be symmetric"):
            color(np.ones((2, 3), bool))
    unknown: Any = ("largest last",)
    for orders in (unknown, ()):
        with pytest.raises(ValueError, match=r"an order must be one of 'natural'|number of orders must be at least 1"):
            c.color_columns(band(4, 1), orders)
    with pytest.raises(ValueError, match="must be a matrix"):
        c.canonical(np.ones(3, bool))
