"""Solving and inverting written out, with every arithmetic operation counted.

A compiler's count does not see into the library routine that factors a matrix; here the count comes from the algorithm
itself, tallied where each operation is done.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Counted", "cholesky_operations", "gauss_jordan_inverse", "gauss_jordan_operations", "solve_cholesky"]


class Counted(NamedTuple):
    """A result and the additions, multiplications, divisions and square roots that it took."""

    value: np.ndarray
    operations: int


def solve_cholesky(matrix: np.ndarray, right: np.ndarray) -> Counted:
    """The solution x of ``A x = b`` by ``A = L L'`` and two triangular solves.

    Args:
      matrix: A, symmetric positive definite, (n, n).
      right: b, (n,).

    Raises:
      numpy.linalg.LinAlgError: if a pivot is not positive.
    """
    n = len(matrix)
    lower = np.array(matrix, np.float64)
    operations = 0
    for k in range(n):
        if not lower[k, k] > 0:
            raise np.linalg.LinAlgError(
                f"solve_cholesky: pivot {k} is {lower[k, k]:g}; the matrix must be positive definite."
            )
        lower[k, k] = np.sqrt(lower[k, k])
        lower[k + 1 :, k] /= lower[k, k]
        operations += 1 + (n - k - 1)
        for j in range(k + 1, n):
            lower[j:, j] -= lower[j:, k] * lower[j, k]
            operations += 2 * (n - j)
    lower = np.tril(lower)
    x = np.array(right, np.float64)
    for k in range(n):
        x[k] = (x[k] - lower[k, :k] @ x[:k]) / lower[k, k]
        operations += 2 * k + 1
    for k in reversed(range(n)):
        x[k] = (x[k] - lower[k + 1 :, k] @ x[k + 1 :]) / lower[k, k]
        operations += 2 * (n - k - 1) + 1
    return Counted(x, operations)


def cholesky_operations(n: int) -> int:
    """What ``solve_cholesky`` counts, as a formula: ``n (2 n^2 + 15 n + 1) / 6``, to leading order ``n^3 / 3``."""
    return n * (2 * n * n + 15 * n + 1) // 6


def gauss_jordan_inverse(matrix: np.ndarray) -> Counted:
    """The inverse by Gauss-Jordan elimination in place, with row pivoting.

    Args:
      matrix: (n, n), regular.

    Raises:
      numpy.linalg.LinAlgError: if a pivot vanishes.
    """
    n = len(matrix)
    work = np.array(matrix, np.float64)
    order = np.arange(n)
    operations = 0
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(work[k:, k])))
        if work[pivot, k] == 0:
            raise np.linalg.LinAlgError(f"gauss_jordan_inverse: pivot {k} is 0; the matrix is singular.")
        work[[k, pivot]], order[[k, pivot]] = work[[pivot, k]], order[[pivot, k]]
        divisor = work[k, k]
        # The column that turns into the unit vector is free to hold the inverse's column.
        work[k, k] = 1.0
        work[k] /= divisor
        operations += n
        for row in range(n):
            if row != k:
                factor = work[row, k]
                work[row, k] = 0.0
                work[row] -= factor * work[k]
                operations += 2 * (n - 1) + 1  # the emptied entry takes a product only
    inverse = np.empty_like(work)
    inverse[:, order] = work
    return Counted(inverse, operations)


def gauss_jordan_operations(n: int) -> int:
    """What ``gauss_jordan_inverse`` counts, as a formula: ``2 n^3 - 2 n^2 + n``."""
    return 2 * n**3 - 2 * n**2 + n
