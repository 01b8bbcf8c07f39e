"""What users say of derivatives and transposes is taken as jax.hessian, the oracle, takes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcalc.transforms import diagonal, hessian, hvp, laplacian, plan, taylor


def by_conjugate_gradients(a, b):
    return jax.scipy.sparse.linalg.cg(lambda v: a @ v, b, tol=1e-14)[0]


def said_to_be_symmetric(a, b):
    return lax.custom_linear_solve(lambda v: a @ v, b, lambda _, u: jnp.linalg.inv(a) @ u, symmetric=True)


def positive(a, b):
    return jax.scipy.linalg.solve(a, b, assume_a="pos")


SOLVES = [by_conjugate_gradients, said_to_be_symmetric, positive, jnp.linalg.solve]


def of_blocks(count, seed=0):
    rng = np.random.default_rng(seed)
    blocks = rng.normal(size=(count, 2, 2))
    return jnp.asarray(blocks @ blocks.swapaxes(1, 2) + np.eye(2)), jnp.asarray(rng.normal(size=(count, 2)))


@pytest.mark.parametrize("solve", SOLVES)
def test_solves_of_matrices_that_are_differentiated(x64, solve):
    matrices, b = of_blocks(4)
    fun = lambda a: jnp.sum(jax.vmap(solve)(a, b) ** 2)
    expected = jax.hessian(fun)(matrices)
    options = [{}, {"method": "sparse"}, {"output_format": "bcoo"}]
    for keywords in options:
        actual = hessian(fun, **keywords)(matrices)
        actual = actual.todense() if "output_format" in keywords else actual
        np.testing.assert_allclose(actual, expected, atol=1e-9, err_msg=str(keywords))
    product = jnp.tensordot(expected, matrices, 3)
    np.testing.assert_allclose(hvp(fun)((matrices,), matrices), product, atol=1e-9)


@pytest.mark.parametrize("solve", SOLVES[:3])
def test_solves_of_vectors(x64, solve):
    (matrix,), (b,) = of_blocks(1)
    fun = lambda x: solve(matrix, b * x) * x
    expected = jax.hessian(fun)(jnp.array([0.3, -2.0]))
    np.testing.assert_allclose(hessian(fun)(jnp.array([0.3, -2.0])), expected, atol=1e-12)


@jax.custom_jvp
def note(*_):
    """What is called for its effects alone, if it has any."""
    return ()


note.defjvp(lambda primals, tangents: ((), ()))


def noted(x):
    note(x)
    note(x, 3)
    return jnp.sum(x**3)


def noted_in_a_loop(x):
    def body(carry, part):
        note(carry, part)
        return carry * part, note(part)

    return lax.scan(body, 1.0, x)[0]


def noted_in_a_branch(x):
    return lax.cond(x[0] > 0, lambda y: (note(y), jnp.sum(y**3))[1], lambda y: jnp.sum(y**2), x)


def noted_beside_a_callback(x):
    jax.debug.callback(lambda _: None, x)
    note(jnp.arange(3))
    return jnp.sum(x**3)


@pytest.mark.parametrize("fun", [noted, noted_in_a_loop, noted_in_a_branch, noted_beside_a_callback])
def test_calls_without_outputs(x64, fun):
    x = jnp.array([0.5, 1.5, -0.7])
    expected = jax.hessian(fun)(x)
    for method in ("auto", "sparse"):
        np.testing.assert_allclose(hessian(fun, method=method)(x), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(hessian(fun, output_format="bcoo")(x).todense(), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(hvp(fun)((x,), x), expected @ x, rtol=1e-12)
    np.testing.assert_allclose(laplacian(fun)(x), jnp.trace(expected), rtol=1e-12)
    np.testing.assert_allclose(diagonal(fun)(x), jnp.diagonal(expected), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(taylor(fun, 2)(x, x)[2], x @ expected @ x / 2, rtol=1e-12)
    assert plan(hvp, fun, (x,), x).method


OWN = {
    "solve": jnp.linalg.solve,
    "general": jax.scipy.linalg.solve,
    "inverse": lambda a, b: jnp.linalg.inv(a) @ b,
    "factorised": lambda a, b: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), b),
    "by cholesky": lambda a, b: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(a), True), b),
    "eigenvalues": lambda a, b: jnp.linalg.eigvalsh(a) * b,
    "density": lambda a, b: jax.scipy.stats.multivariate_normal.logpdf(b, jnp.zeros(2), a),
    "determinant": lambda a, b: jnp.linalg.slogdet(a)[1] * b,
    "pseudo-inverse": lambda a, b: jnp.linalg.pinv(a) @ b,
    "xlogy": lambda a, b: jax.scipy.special.xlogy(b, a[0]),
    "logaddexp": lambda a, b: jnp.logaddexp(b, a[0]),
    "one by one": lambda a, b: jax.scipy.linalg.cholesky(a[:1, :1]) @ b[:1],
}
AUTHORS = {"cg": by_conjugate_gradients, "symmetric": said_to_be_symmetric, "positive": positive}
AUTHORS["factor alone"] = lambda a, b: jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(a), b)
AUTHORS["lower half"] = lambda a, b: jax.scipy.linalg.cholesky(a, lower=True) @ b
AUTHORS["unsymmetrized"] = lambda a, b: jnp.linalg.cholesky(a * jnp.array([[1, 2], [1, 1]]), symmetrize_input=False) @ b
AUTHORS["given transpose"] = lambda a, b: lax.custom_linear_solve(
    lambda v: a @ v, b, lambda _, u: jnp.linalg.inv(a) @ u, lambda _, u: jnp.linalg.inv(a) @ u
)
AUTHORS["custom_root"] = lambda a, b: lax.custom_root(
    lambda x: a @ x - b, b, lambda _, x: jnp.linalg.solve(a, b), lambda g, y: jnp.linalg.solve(a, y)
)


@pytest.mark.parametrize("name", [*OWN, *AUTHORS])
def test_whose_word_a_transpose_is(x64, name):
    """JAX's own rules and solves have a potential; what a user gives, or says of a matrix, need not."""
    fun = lambda a: jnp.sum((OWN | AUTHORS)[name](a, jnp.array([1.0, 2.0])) ** 2)
    routes = plan(hvp, fun, (jnp.eye(2),), jnp.eye(2)).routes
    refused = next(route.refused for route in routes if route.method == "forward-over-forward")
    assert ("unsymmetric" in refused) == (name in AUTHORS)
    if name not in ("cg", "custom_root"):
        point = jnp.array([[2.0, 0.3], [0.1, 1.0]])
        for keywords in ({}, {"method": "sparse"}):
            np.testing.assert_allclose(hessian(fun, **keywords)(point), jax.hessian(fun)(point), atol=1e-11)
