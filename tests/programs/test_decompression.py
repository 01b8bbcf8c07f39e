"""Entries recovered from coloured products, against the matrix that was multiplied.

Oracle: the matrix itself. Its entries are whole numbers, so that sums are exact and equality is bit for bit.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from jaxcalc.programs import coloring as c
from jaxcalc.programs import decompression as d


@st.composite
def matrices(draw, symmetric=False, largest=14):
    """Whole-numbered matrices from empty to dense, with dense rows and columns at times, sizes from 0; and patterns."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m = draw(st.integers(0, largest))
    n = m if symmetric else draw(st.integers(0, largest))
    pattern = rng.random((m, n)) < draw(st.sampled_from([0.0, 0.05, 0.15, 0.3, 0.6, 1.0]))
    if min(m, n) and draw(st.booleans()):
        pattern[rng.integers(m)] = True
        pattern[:, rng.integers(n)] = True
    if symmetric:
        pattern = pattern | pattern.T
        diagonal = draw(st.sampled_from(["any", "full", "none"]))
        if diagonal != "any":
            np.fill_diagonal(pattern, diagonal == "full")
    return filled(pattern, rng, symmetric), pattern


def filled(pattern, rng, symmetric=False):
    """Whole numbers where the pattern is, zeros among them: a pattern may hold more than the matrix."""
    matrix = rng.integers(-8, 9, pattern.shape).astype(np.float32)
    if symmetric:
        matrix = np.triu(matrix) + np.triu(matrix, 1).T
    return matrix * pattern


def compressed(matrix, coloring):
    """All products of a colouring, in the layout that the module documents."""
    down = coloring.column_seeds() @ matrix.T
    across = coloring.row_seeds() @ matrix
    return np.concatenate([down.ravel(), across.ravel()])


def summed(products, schedule):
    """A substitution in numpy."""
    sums = products[schedule.source]
    for target, added, sign in schedule.rounds:
        np.add.at(sums, target, sign * sums[added])
    return sums[schedule.entries]


def check_direct(matrix, pattern):
    for color in (c.color_columns, c.color_rows, c.color_bidirectional):
        coloring = color(pattern)
        assert coloring is not None
        source = d.direct_source(pattern, coloring)
        assert np.array_equal(compressed(matrix, coloring)[source], matrix[np.nonzero(pattern)])


def check_symmetric(matrix, pattern):
    star, acyclic, plain = c.color_star(pattern), c.color_acyclic(pattern), c.color_distance1(pattern)
    assert star is not None and acyclic is not None and plain is not None
    wanted = matrix[np.nonzero(pattern)]
    source = d.direct_source(pattern, star)
    assert np.array_equal(compressed(matrix, star)[source], wanted)
    # One position for an entry and its mirror image: symmetric to the last bit.
    places = np.zeros(pattern.shape, np.int64)
    places[np.nonzero(pattern)] = source
    assert np.array_equal(places, places.T)
    for coloring in (acyclic, star):
        assert np.array_equal(summed(compressed(matrix, coloring), d.substitution(pattern, coloring)), wanted)
    for coloring in (plain, star, acyclic):
        index, where = d.diagonal_source(pattern, coloring)
        diagonal = np.zeros(len(pattern))
        diagonal[index] = compressed(matrix, coloring)[where]
        assert np.array_equal(diagonal, matrix.diagonal())


@given(matrices())
@settings(max_examples=60, deadline=None)
def test_direct_recovery_is_exact(example):
    check_direct(*example)


@given(matrices(symmetric=True))
@settings(max_examples=60, deadline=None)
def test_symmetric_recovery_is_exact(example):
    check_symmetric(*example)


@pytest.mark.exhaustive
@given(matrices(largest=50), matrices(symmetric=True, largest=50))
@settings(max_examples=2000, deadline=None)
def test_recovery_is_exact_on_many_patterns(any_example, symmetric_example):
    check_direct(*any_example)
    check_symmetric(*symmetric_example)


def path(n):
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 1


def comb(n):
    """A path with a tooth at each vertex: a tree with long and short branches, diagonal missing."""
    pattern = np.kron([[1, 0], [0, 0]], path(n)) + np.kron([[0, 1], [1, 0]], np.eye(n))
    np.fill_diagonal(pattern, 0)
    return pattern.astype(bool)


@pytest.mark.parametrize("pattern", [path(2), path(3), path(100), path(101), comb(40)])
def test_long_trees_take_few_rounds(pattern):
    coloring = c.color_acyclic(pattern)
    assert coloring is not None and coloring.num_products == 2
    schedule = d.substitution(pattern, coloring)
    matrix = filled(pattern, np.random.default_rng(1), symmetric=True)
    assert np.array_equal(summed(compressed(matrix, coloring), schedule), matrix[np.nonzero(pattern)])
    assert len(schedule.rounds) == int(np.ceil(np.log2(schedule.height)))
    assert schedule.height <= len(pattern) // 2 + 1
    assert schedule.terms >= schedule.height
    assert schedule.additions <= len(schedule.rounds) * len(schedule.source)


def test_a_sum_has_no_more_terms_than_said():
    # The unit products show which of them an entry is made of.
    pattern = comb(9)
    coloring = c.color_acyclic(pattern)
    assert coloring is not None
    schedule = d.substitution(pattern, coloring)
    size = coloring.num_products * len(pattern)
    used = np.stack([summed(unit, schedule) for unit in np.eye(size)])
    assert set(np.unique(used)) <= {-1.0, 0.0, 1.0}
    assert np.count_nonzero(used, axis=0).max() == schedule.terms


def test_the_jax_part_does_the_same():
    rng = np.random.default_rng(2)
    pattern = comb(12) | np.eye(24, dtype=bool)
    matrix = filled(pattern, rng, symmetric=True)
    star, acyclic = c.color_star(pattern), c.color_acyclic(pattern)
    assert star is not None and acyclic is not None
    schedule, source = d.substitution(pattern, acyclic), d.direct_source(pattern, star)
    assert schedule.rounds

    @jax.jit
    def both(direct, summed):
        return (
            d.scatter_dense(d.gather(direct, source), pattern),
            d.scatter_dense(d.substitute(summed, schedule), pattern, (24, 24)),
        )

    products = jnp.asarray(compressed(matrix, star)), jnp.asarray(compressed(matrix, acyclic))
    for dense in both(*products):
        assert np.array_equal(dense, matrix)
    # Batched, and linear: the derivative of a recovery is the recovery of the derivative.
    batched = jax.vmap(both)(*(jnp.stack([x, 2 * x]) for x in products))
    for dense in batched:
        assert np.array_equal(dense, np.stack([matrix, 2 * matrix]))
    _, tangents = jax.jvp(both, products, products)
    for dense in tangents:
        assert np.array_equal(dense, matrix)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (2, 3)])
@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.complex64, jnp.int32])
def test_dense_results_of_the_smallest_shapes(shape, fill, dtype):
    pattern = np.full(shape, fill)
    data = (jnp.arange(pattern.sum()) + 1).astype(dtype)
    dense = d.scatter_dense(d.gather(data, np.arange(len(data))), pattern)
    assert dense.dtype == dtype
    assert np.array_equal(dense, np.asarray(data).reshape(shape) if fill else np.zeros(shape))


def test_positions_past_int32_are_never_formed():
    # Shapes only: nothing of this size is allocated. 50,000 squared is past 2^31, and so is the last position.
    n = 50_000
    diagonal = np.arange(n)
    pattern = sparse.csr_array((np.ones(n, bool), (diagonal, diagonal)), shape=(n, n))
    lowered = jax.jit(lambda data: d.scatter_dense(data, pattern)).lower(jax.ShapeDtypeStruct((n,), jnp.float32))
    assert lowered.out_info.shape == (n, n)
    jaxpr = jax.make_jaxpr(lambda data: d.scatter_dense(data, pattern))(jax.ShapeDtypeStruct((n,), jnp.float32))
    scatter = next(equation for equation in jaxpr.eqns if equation.primitive.name == "scatter")
    indices = scatter.invars[1].aval
    assert indices.shape == (n, 2) and indices.dtype == jnp.int32
    far = np.array([0, 2**31 + 5, 2**31 - 1, 3 * 2**30])
    entries = jax.eval_shape(lambda products: d.gather(products, far), jax.ShapeDtypeStruct((2**32,), jnp.float32))
    assert entries.shape == (4,)


def test_the_ways_past_int32_are_right(monkeypatch):
    # The same ways with a small int: what they do past int32, they do here past 7.
    monkeypatch.setattr(d, "_INT32_POSITIONS", 7)
    monkeypatch.setattr(d, "_PIECE", 4)
    rng = np.random.default_rng(3)
    vector, source = jnp.asarray(rng.normal(size=19)), rng.permutation(19)[:11]
    assert np.array_equal(d.gather(vector, source), vector[source])
    assert d.gather(vector, np.zeros(0, np.int64)).shape == (0,)
    pattern = rng.random((5, 7)) < 0.4
    matrix = filled(pattern, rng)
    assert np.array_equal(d.scatter_dense(jnp.asarray(matrix[np.nonzero(pattern)]), pattern), matrix)


def test_a_colouring_of_another_pattern_is_refused():
    dense, line = np.ones((4, 4), bool), path(4)
    for color in (c.color_columns, c.color_rows, c.color_star, c.color_bidirectional):
        coloring = color(line)
        assert coloring is not None
        with pytest.raises(ValueError, match="stands alone in no product"):
            d.direct_source(dense, coloring)
        with pytest.raises(ValueError, match="the pattern of shape"):
            d.direct_source(dense[:3], coloring)
    acyclic, plain = c.color_acyclic(line), c.color_distance1(line)
    assert acyclic is not None and plain is not None
    with pytest.raises(ValueError, match="share a colour"):
        d.substitution(dense, acyclic)
    ring = path(4)
    ring[0, 3] = ring[3, 0] = True
    with pytest.raises(ValueError, match="close a cycle"):
        d.substitution(ring, acyclic)
    with pytest.raises(ValueError, match="stands alone in no product"):
        d.diagonal_source(dense, plain)
    with pytest.raises(ValueError, match="stands alone in no product"):
        d.diagonal_source(line, replace(plain, columns=np.array([0, 1, 0, -1])))


def test_misuse_says_what_to_do():
    line = path(4)
    columns, acyclic = c.color_columns(line), c.color_acyclic(line)
    assert columns is not None and acyclic is not None
    with pytest.raises(ValueError, match="Use substitution for acyclic"):
        d.direct_source(line, acyclic)
    with pytest.raises(ValueError, match="expected a colouring of kind acyclic or star"):
        d.substitution(line, columns)
    with pytest.raises(ValueError, match="expected a colouring of kind distance-1, star or acyclic"):
        d.diagonal_source(line, columns)
    with pytest.raises(ValueError, match=r"positions must be in \[0, 3\)"):
        d.gather(jnp.zeros(3), np.array([0, 3]))
    with pytest.raises(ValueError, match="must be a vector"):
        d.gather(jnp.zeros((3, 1)), np.array([0]))
    with pytest.raises(ValueError, match="holds 10 entries"):
        d.scatter_dense(jnp.zeros(9), line)
    with pytest.raises(ValueError, match="holds 10 entries"):
        d.scatter_dense(jnp.zeros(10), line, (4, 5))
