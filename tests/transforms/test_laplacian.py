"""Laplacians, traces and diagonals: every method against the Hessian; estimates within their own errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms import MemoryBudgetError, bilaplacian, diagonal, laplacian, plan, trace
from tests.tolerance import assert_close

EXACT = ("auto", "nested", "hessian", "sparse")


def chain(x):
    return jnp.sum(jnp.sin(x[1:] * x[:-1] ** 2)) + x[0] ** 4


def network(x):
    return jnp.sum(jnp.tanh(jnp.cos(jnp.arange(12.0).reshape(3, 4)) @ x) ** 3)


@functools.cache
def dense(fun, point):
    """JAX's own Hessian, in double precision, compiled once for all methods."""
    return np.asarray(jax.jit(jax.hessian(fun))(np.array(point)))


@pytest.mark.parametrize("fun", [chain, network])
@pytest.mark.parametrize("method", [*EXACT, "forward-laplacian"])
def test_every_method_agrees_with_the_hessian(x64, fun, method):
    x = jnp.linspace(0.3, 1.2, 4)
    matrix = dense(fun, tuple(x.tolist()))
    assert_close(laplacian(fun, method=method)(x), np.trace(matrix), 32)
    assert_close(jax.jit(trace(fun, method=method))(x), np.trace(matrix), 32)
    weights = np.array([1.0, -2.0, 0.0, 3.0])
    found = laplacian(fun, method=method, weights=weights)(x)
    assert_close(found, weights @ np.diag(matrix), 32)
    if method in EXACT:
        assert_close(diagonal(fun, method=method)(x), np.diag(matrix), 64, scale=1)


def test_trees_further_arguments_and_transformations(x64):
    fun = lambda tree, scale: jnp.sum(tree["a"] ** 2 * scale) * tree["b"] ** 3
    tree = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(2.0)}
    exact = 2 * 2 * 3.0 * 8 + 6 * 2 * (1 + 4) * 3.0
    for method in (*EXACT, "forward-laplacian"):
        assert laplacian(fun, method=method)(tree, 3.0) == pytest.approx(exact)
    found = diagonal(fun)(tree, 3.0)
    np.testing.assert_allclose(found["a"], [48.0, 48.0])
    assert found["b"].shape == ()
    batch = jnp.linspace(0.1, 1, 6).reshape(2, 3)
    rows = [np.trace(dense(chain, tuple(row.tolist()))) for row in batch]
    assert_close(jax.vmap(laplacian(chain))(batch), rows, 64)
    assert_close([laplacian(chain)(row) for row in batch], rows, 64)
    slope = jax.jit(jax.grad(lambda x: laplacian(chain)(x)))(batch[0])
    exact = jax.jit(jax.grad(lambda x: jnp.trace(jax.hessian(chain)(x))))(batch[0])
    assert_close(slope, exact, 64)


def test_two_colours_are_enough_for_a_grid(x64):
    def energy(x):
        u = x.reshape(12, 12)
        return jnp.sum((u[1:] - u[:-1]) ** 4) + jnp.sum((u[:, 1:] - u[:, :-1]) ** 4)

    x = jnp.linspace(0, 1, 144) ** 2
    route = next(r for r in plan(diagonal, energy, x, method="sparse").routes if r.method == "sparse")
    assert route.passes == 2
    assert_close(diagonal(energy, method="sparse")(x), np.diag(jax.jit(jax.hessian(energy))(x)), 64)


@pytest.mark.parametrize("operator", [laplacian, trace, diagonal])
def test_the_stochastic_estimate_is_within_its_standard_error(x64, operator):
    x = jnp.linspace(0.3, 1.2, 4)
    exact = dense(network, tuple(x.tolist()))
    exact = np.diag(exact) if operator is diagonal else np.trace(exact)
    estimate = operator(network, method="stochastic", key=jax.random.key(3), num_samples=4000)
    value, error = jax.jit(estimate)(x)
    assert np.all(np.abs(value - exact) < 5 * error)
    at_call = operator(network, method="stochastic")(x, key=jax.random.key(3), num_samples=4000)
    assert_close(at_call[0], value, 128)
    few = operator(network, method="stochastic", key=jax.random.key(4), num_samples=40)(x)
    assert np.all(few[1] > 5 * error)  # a hundredth of the samples, ten times the error
    assert not np.array_equal(
        few[0], operator(network, method="stochastic", key=jax.random.key(5), num_samples=40)(x)[0]
    )


@pytest.mark.parametrize("method", ["auto", "forward-laplacian", "nested", "hessian"])
def test_bilaplacian_of_a_polynomial(x64, method):
    fun = lambda x: x[0] ** 4 * x[1] ** 2 + x[2] ** 5
    a, b, c = 0.7, -1.3, 0.4
    # Delta = 12 a^2 b^2 + 2 a^4 + 20 c^3; Delta^2 = 24 b^2 + 24 a^2 + 24 a^2 + 120 c
    exact = 24 * b**2 + 48 * a**2 + 120 * c
    assert_close(jax.jit(bilaplacian(fun, method=method))(np.array([a, b, c])), exact, 64)


def test_sizes_zero_and_one(x64):
    for method in (*EXACT, "forward-laplacian"):
        assert laplacian(lambda x: jnp.sum(x**2) + 1.0, method=method)(jnp.zeros(0)) == 0.0
        assert laplacian(lambda x: x**3, method=method)(2.0) == 12.0


def test_a_budget_chunks_the_axes(x64):
    x = jnp.linspace(0.1, 1, 400)
    fun = lambda x: jnp.sum(jnp.tanh(jnp.cumsum(x)) ** 2)
    made = plan(laplacian, fun, x, method="hessian", memory_budget=400_000)
    assert "at a time" in made.chosen.how
    assert_close(made(x), np.trace(jax.jit(jax.hessian(fun))(x)), 64)
    with pytest.raises(MemoryBudgetError):
        plan(laplacian, fun, x, memory_budget=10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: laplacian(jnp.sin)(jnp.ones(2)),
            TypeError,
            r"got shape \(2,\)\. For a vector-valued fun use jacobian",
        ),
        (lambda: laplacian(jnp.sum, method="stochastic", key=jax.random.key(0)), ValueError, "key and num_samples"),
        (lambda: laplacian(lambda x: jnp.exp(1j * x).sum())(jnp.ones(2)), TypeError, "real floating-point"),
        (
            lambda: laplacian(jnp.sum, method="nested", num_samples=3, key=jax.random.key(0)),
            ValueError,
            "no other method",
        ),
        (lambda: laplacian(jnp.sum, method="taylor"), ValueError, "'forward-laplacian'"),
        (lambda: laplacian(jnp.sum, weights=jnp.ones(3))(jnp.ones(2)), ValueError, "shaped like x"),
    ],
)
def test_misuse_says_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Finite where second derivatives are infinite, or where slopes are and second derivatives are not.
STEEP = {
    "power": (lambda x: jnp.sum(x**1.5), [0.0, 1.0, 4.0], [np.inf, 0.75, 0.375]),
    "root": (lambda x: jnp.sum(jnp.sqrt(x)), [0.0, 1.0, 4.0], [-np.inf, -0.25, -1 / 32]),
    "in a loop": (
        lambda x: jax.lax.scan(lambda c, y: (c + y**1.5, None), jnp.zeros_like(x[0]), x)[0],
        [1.0, 0.0],
        [0.75, np.inf],
    ),
    "pole": (lambda x: jnp.sum(1 / x), [0.0, 1.0, 4.0], [np.inf, 2.0, 1 / 32]),
    "logarithm": (lambda x: jnp.sum(jnp.log(x)), [0.0, 1.0, 4.0], [-np.inf, -1.0, -1 / 16]),
    "entropy": (lambda x: -jnp.sum(jax.scipy.special.entr(x)), [0.0, 1.0, 4.0], [np.inf, 1.0, 0.25]),
    "gamma": (
        lambda x: jnp.sum(jax.scipy.special.gammaln(x)),
        [0.0, 1.0, 2.0],
        [np.inf, np.pi**2 / 6, np.pi**2 / 6 - 1],
    ),
    "squares": (lambda x: jnp.sum(x**2), [1.0, np.inf], [2, 2]),
    "product": (lambda x: x @ x, [1.0, np.inf], [2, 2]),
    "large": (lambda x: jnp.sum(x * x), [1.0, 1.7e308], [2, 2]),
}


@pytest.mark.parametrize("name", STEEP)
def test_where_a_slope_is_infinite(x64, name):
    """The closed form: entries that do not depend on the steep element are what they are without it."""
    fun, x, expected = STEEP[name]
    x = jnp.array(x)
    for method in ("auto", "nested", "hessian", "sparse"):
        np.testing.assert_allclose(diagonal(fun, method=method)(x), expected, rtol=1e-14, err_msg=method)
    for method in ("auto", "forward-laplacian", "nested", "hessian", "sparse"):
        total = laplacian(fun, method=method)(x)
        np.testing.assert_allclose(total, np.sum(expected), rtol=1e-14, err_msg=method)
    np.testing.assert_allclose(jax.jit(trace(fun))(x), np.sum(expected), rtol=1e-14)


def test_where_an_entry_is_chosen_away(x64):
    """The second derivative of x log x where x > 0; what else the choice does at 0 is its own element's affair."""
    fun = lambda x: jnp.sum(jnp.where(x > 0, x * jnp.log(x), 0.0))
    for method in ("auto", "nested", "hessian", "sparse"):
        result = diagonal(fun, method=method)(jnp.array([0.0, 1.0, 4.0]))
        np.testing.assert_allclose(result[1:], [1.0, 0.25], rtol=1e-14, err_msg=method)
    # An element that stands still along an axis: [[1, 0], [1, 1]] x = (0, 1).
    mixed = lambda x: jnp.sum((jnp.array([[1.0, 0.0], [1.0, 1.0]]) @ x) ** 1.5)
    np.testing.assert_allclose(diagonal(mixed, method="nested")(jnp.array([0.0, 1.0])), [np.inf, 0.75], rtol=1e-14)


def test_ranks_are_not_promoted_by_accident():
    x = jnp.array([0.0, 1.0, 4.0])
    with jax.numpy_rank_promotion("raise"):
        for method in ("auto", "nested", "forward-laplacian"):
            np.testing.assert_allclose(laplacian(chain, method=method)(x), np.trace(jax.hessian(chain)(x)), rtol=1e-5)
        np.testing.assert_allclose(diagonal(lambda x: jnp.sum(1 / x), method="nested")(x), [np.inf, 2, 1 / 32])
        with pytest.raises(ValueError, match="rank_promotion"):
            laplacian(lambda x: jnp.sum(x * jnp.ones((2, 3))))(x)
