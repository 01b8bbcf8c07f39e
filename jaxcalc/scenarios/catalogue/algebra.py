"""Linear algebra: solves, factorisations, spectra."""

import numpy as np

from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES"]


def _positive(rng: np.random.Generator, size: int) -> np.ndarray:
    """A well-conditioned symmetric positive definite matrix (size, size)."""
    root = rng.standard_normal((size, size)) / np.sqrt(size)
    return root @ root.T + np.eye(size)


def _solve(rng: np.random.Generator, *, size: int) -> Scenario:
    """y = (A + diag(x^2))^-1 b; dy/dx = -(A + diag(x^2))^-1 diag(2 x y)."""
    import jax.numpy as jnp

    def derivative(x, a, b):
        x, a, b = (np.asarray(each, np.float64) for each in (x, a, b))
        system = a + np.diag(x**2)
        return -np.linalg.inv(system) * (2 * x * np.linalg.solve(system, b))

    constants = (rng.standard_normal((size, size)) / np.sqrt(size) + 2 * np.eye(size), rng.standard_normal(size))
    fun = lambda x, a, b: jnp.linalg.solve(a + jnp.diag(x**2), b)
    return Scenario(fun, rng.standard_normal(size), constants, derivative=derivative, num_nonzeros=size**2)


def _whiten(rng: np.random.Generator, *, size: int, vectors: int) -> Scenario:
    """Whitened data in its covariance, L^-1 B with L L' = A x A + I by Cholesky, x symmetrised; triangular solves."""
    import jax
    import jax.numpy as jnp

    def fun(x, base, data):
        factor = jnp.linalg.cholesky(base + 0.05 * (x + x.T))
        return jax.scipy.linalg.solve_triangular(factor, data, lower=True)

    constants = (_positive(rng, size), rng.standard_normal((size, vectors)))
    return Scenario(fun, rng.standard_normal((size, size)), constants)


def _triangular(rng: np.random.Generator, *, size: int) -> Scenario:
    """Forward substitution in the right-hand side, y = L^-1 tanh(b); dy/db = L^-1 diag(1 - tanh(b)^2)."""
    import jax
    import jax.numpy as jnp

    lower = np.tril(rng.standard_normal((size, size)) / size, -1) + np.diag(rng.uniform(1, 2, size))

    def derivative(b, lower):
        return np.linalg.inv(np.asarray(lower, np.float64)) / np.cosh(np.asarray(b, np.float64)) ** 2

    fun = lambda b, lower: jax.scipy.linalg.solve_triangular(lower, jnp.tanh(b), lower=True)
    return Scenario(
        fun, rng.standard_normal(size), (lower,), derivative=derivative, num_nonzeros=size * (size + 1) // 2
    )


def _implicit_step(rng: np.random.Generator, *, nodes: int) -> Scenario:
    """An implicit step of diffusion with conductivity x, (I + D' diag(e^x) D) y = u, by ``custom_linear_solve``.

    Conjugate gradients run inside, the derivative goes through the solve's own rule.
    """
    import jax.numpy as jnp
    from jax import lax
    from jax.scipy.sparse.linalg import cg

    def fun(x, u):
        def apply(y):
            flux = jnp.exp(x) * jnp.diff(jnp.pad(y, 1))
            return y - jnp.diff(flux)

        solve = lambda matvec, b: cg(matvec, b, tol=1e-12, maxiter=60)[0]
        return lax.custom_linear_solve(apply, u, solve, symmetric=True)

    return Scenario(fun, 0.3 * rng.standard_normal(nodes + 1), (rng.standard_normal(nodes),))


def _thomas(rng: np.random.Generator, *, size: int) -> Scenario:
    """Thomas's algorithm as two scans, tridiag(-1, 3 + x^2, -1) y = b in the diagonal.

    Source: Thomas (1949).
    """
    import jax.numpy as jnp
    from jax import lax

    def fun(x, b):
        def down(carry, row):
            upper, right = carry
            diagonal, load = row
            pivot = 1.0 / (diagonal + upper)
            carry = (-pivot, (load + right) * pivot)
            return carry, carry

        def up(y, row):
            y = row[1] - row[0] * y
            return y, y

        zero = jnp.zeros((), x.dtype)
        _, rows = lax.scan(down, (zero, zero), (3.0 + x**2, b))
        return lax.scan(up, zero, rows, reverse=True)[1]

    def derivative(x, b):
        x, b = np.asarray(x, np.float64), np.asarray(b, np.float64)
        matrix = np.diag(3 + x**2) - np.eye(size, k=1) - np.eye(size, k=-1)
        return -np.linalg.inv(matrix) * (2 * x * np.linalg.solve(matrix, b))

    return Scenario(fun, rng.standard_normal(size), (rng.standard_normal(size),), derivative=derivative)


def _levels(rng: np.random.Generator, *, size: int) -> Scenario:
    """Energy levels of a disordered chain, the eigenvalues of tridiag(1, x, 1); dE_k/dx_i = v_ik^2.

    Source: Anderson (1958).
    """
    import jax.numpy as jnp

    def fun(x):
        hop = jnp.eye(size, k=1, dtype=x.dtype) + jnp.eye(size, k=-1, dtype=x.dtype)
        return jnp.linalg.eigvalsh(jnp.diag(x) + hop)

    def derivative(x):
        hop = np.eye(size, k=1) + np.eye(size, k=-1)
        return np.linalg.eigh(np.diag(np.asarray(x, np.float64)) + hop)[1].T ** 2

    return Scenario(fun, rng.standard_normal(size), derivative=derivative, num_nonzeros=size**2)


def _log_determinant(rng: np.random.Generator, *, size: int) -> Scenario:
    """log |det(A + diag(x))|; its derivative is the diagonal of the inverse."""
    import jax.numpy as jnp

    def derivative(x, a):
        return np.diag(np.linalg.inv(np.asarray(a, np.float64) + np.diag(np.asarray(x, np.float64))))

    fun = lambda x, a: jnp.linalg.slogdet(a + jnp.diag(x))[1]
    return Scenario(fun, rng.uniform(0.5, 1.5, size), (_positive(rng, size),), derivative=derivative, num_nonzeros=size)


JACOBIANS = {
    "solve": [
        tuned("linear solve", _solve, size=60, dtype="float64", tags=["dense"], closed_form=True),
        tuned("triangular solve", _triangular, size=120, tags=["triangular"], closed_form=True),
        held_out("larger linear solve", _solve, size=150, dtype="float64", tags=["dense"], closed_form=True),
        held_out("implicit diffusion step", _implicit_step, nodes=100, dtype="float64", tags=["solve", "while"]),
        held_out("Thomas algorithm", _thomas, size=200, dtype="float64", tags=["scan", "dense"], closed_form=True),
    ],
    "spectrum": [
        tuned("log determinant", _log_determinant, size=40, dtype="float64", tags=["wide"], closed_form=True),
        tuned("small whitening", _whiten, size=6, vectors=8),
        held_out("whitening", _whiten, size=16, vectors=6, dtype="float64"),
        held_out("energy levels", _levels, size=24, dtype="float64", tags=["dense"], closed_form=True),
    ],
}

CASES = collect("jacobian", JACOBIANS)
