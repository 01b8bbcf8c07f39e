"""The written-out elimination against numpy, and its counts against their formulas."""

import numpy as np
import pytest

from jaxcalc.functions import elimination
from tests.tolerance import assert_close


@pytest.mark.parametrize("n", [0, 1, 2, 7, 24])
def test_cholesky_solves_and_counts(n):
    rng = np.random.default_rng(n)
    root = rng.standard_normal((n, n))
    matrix, right = root @ root.T + np.eye(n), rng.standard_normal(n)
    found = elimination.solve_cholesky(matrix, right)
    assert_close(matrix @ found.value, right, 256, scale=1)
    assert found.operations == elimination.cholesky_operations(n)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 24])
def test_gauss_jordan_inverts_and_counts(n):
    matrix = np.random.default_rng(n).standard_normal((n, n))
    found = elimination.gauss_jordan_inverse(matrix)
    assert_close(found.value, np.linalg.inv(matrix), 256, scale=1)
    assert found.operations == elimination.gauss_jordan_operations(n)


def test_gauss_jordan_swaps_rows_where_the_pivot_vanishes():
    found = elimination.gauss_jordan_inverse(np.array([[0.0, 2.0], [4.0, 0.0]]))
    np.testing.assert_array_equal(found.value, [[0.0, 0.25], [0.5, 0.0]])


def test_the_counts_grow_with_the_cube():
    assert elimination.gauss_jordan_operations(10**6) / 10**18 == pytest.approx(2, rel=1e-5)
    assert elimination.cholesky_operations(10**6) / 10**18 == pytest.approx(1 / 3, rel=1e-4)


def test_a_singular_matrix_is_refused():
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        elimination.gauss_jordan_inverse(np.ones((2, 2)))
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        elimination.solve_cholesky(-np.eye(2), np.ones(2))
