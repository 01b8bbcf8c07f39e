"""Derivatives as linear operators: their products are those of the dense matrix, and nothing is linearised twice."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxcalc.transforms import LinearOperator, ggn_vp, hessian, hvp, jacobian, linear_operator

X = jnp.linspace(0.2, 1.3, 6)
waves = lambda x: jnp.sin(x[1:] * x[:-1]) * x[0]
energy = lambda x: jnp.sum(waves(x) ** 2)
loss = lambda y: jnp.sum(jnp.exp(y))


@jax.custom_vjp
def backward_only(x):
    return jnp.sin(x) * x[::-1]


backward_only.defvjp(lambda x: jax.vjp(lambda x: jnp.sin(x) * x[::-1], x), lambda pull, u: pull(u))


@functools.cache
def matrices():
    jac, curved = jax.jacfwd(waves)(X), jax.hessian(loss)(waves(X))
    plain = lambda x: jnp.sin(x) * x[::-1]
    squares = lambda fun: lambda x: jnp.sum(fun(x) ** 2)
    return {
        "jacobian": (linear_operator(jacobian, waves, X), jac),
        "hessian": (linear_operator(hessian, energy, X), jax.hessian(energy)(X)),
        "ggn_vp": (linear_operator(ggn_vp, waves, X, loss=loss), jac.T @ curved @ jac),
        "no forward mode": (linear_operator(jacobian, backward_only, X), jax.jacfwd(plain)(X)),
        "nor of the gradient": (linear_operator(hessian, squares(backward_only), X), jax.hessian(squares(plain))(X)),
    }


@pytest.mark.parametrize("name", ["jacobian", "hessian", "ggn_vp", "no forward mode", "nor of the gradient"])
def test_it_is_the_dense_matrix(name):
    operator, dense = matrices()[name]
    m, n = dense.shape
    dense = np.asarray(dense)
    assert (operator.out_size(), operator.in_size()) == (m, n)
    same = lambda result, expected: np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    v, u = jnp.cos(jnp.arange(n)), jnp.cos(jnp.arange(m))
    same(operator.mv(v), dense @ v)
    same(operator(v), dense @ v)
    same(operator.rmv(u), u @ dense)
    same(operator.T.mv(u), u @ dense)
    same(operator.T.T.mv(v), dense @ v)
    same(operator.as_matrix(), dense)
    same(operator.T.as_matrix(), dense.T)
    same(operator.columns([0, 2, -1]), dense[:, [0, 2, -1]])
    same(operator.rows([1, -2]), dense[[1, -2]])
    same(operator.block([1, 2], [0, 3, -1]), dense[np.ix_([1, 2], [0, 3, -1])])
    same(operator.block([1, 2, 3], [0, 3]), dense[np.ix_([1, 2, 3], [0, 3])])
    if m == n:
        same(operator.diagonal(), jnp.diag(dense))
        same(operator.T.diagonal(), jnp.diag(dense))


def test_values_come_along():
    np.testing.assert_allclose(matrices()["jacobian"][0].value, waves(X))
    np.testing.assert_allclose(matrices()["hessian"][0].value, jax.grad(energy)(X), rtol=1e-6)
    np.testing.assert_allclose(matrices()["ggn_vp"][0].value, waves(X))


def test_a_sparse_diagonal_takes_few_products():
    n = 300
    x = jnp.linspace(0.0, 1.0, n)
    chain = lambda x: jnp.sum(jnp.sin(x[1:] * x[:-1]) + jnp.concatenate([x, x])[: n - 1] ** 3)
    expected = jnp.diag(jax.hessian(chain)(x))
    np.testing.assert_allclose(linear_operator(hessian, chain, x).diagonal(), expected, atol=1e-5)


def test_trees_and_several_arguments():
    tree = {"a": jnp.arange(1.0, 3.0), "b": (jnp.ones((2, 2)), 3)}
    fun = lambda tree, y: {"out": tree["b"][0] @ tree["a"] * y, "sum": jnp.sum(tree["a"]) * tree["b"][1]}
    operator = linear_operator(jacobian, fun, tree, 2.0, argnums=(0, 1))
    v = ({"a": jnp.ones(2), "b": (jnp.ones((2, 2)), None)}, jnp.float32(0.5))
    moved = lambda a, b, y: fun({"a": a, "b": (b, 3)}, y)
    expected = jax.jvp(moved, (tree["a"], tree["b"][0], 2.0), (v[0]["a"], v[0]["b"][0], 0.5))[1]
    assert jax.tree.structure(operator.mv(v)) == jax.tree.structure(expected)
    np.testing.assert_allclose(ravel_pytree(operator.mv(v))[0], ravel_pytree(expected)[0])
    assert operator.as_matrix().shape == (3, 7) and operator.rows([2]).shape == (1, 7)


def test_it_passes_through_jit_vmap_and_grad():
    operator = matrices()["hessian"][0]
    v = jnp.cos(jnp.arange(6.0))
    np.testing.assert_allclose(jax.jit(LinearOperator.mv)(operator, v), operator.mv(v), rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(operator.mv)(jnp.stack([v, v]))[1], operator.mv(v), rtol=1e-5)
    several = jax.vmap(lambda x: linear_operator(hessian, energy, x))(jnp.stack([X, 2 * X]))
    products = jax.vmap(lambda operator: operator.mv(v))(several)
    np.testing.assert_allclose(products[1], hvp(energy)((2 * X,), v), rtol=1e-4, atol=1e-4)
    quadratic = lambda x: v @ linear_operator(hessian, energy, x).mv(v)
    np.testing.assert_allclose(
        jax.grad(quadratic)(X), jax.grad(lambda x: v @ jax.hessian(energy)(x) @ v)(X), rtol=1e-3, atol=1e-3
    )


def test_the_function_runs_once():
    calls = []

    def counted(x):
        calls.append(1)
        return waves(x)

    operator = linear_operator(jacobian, counted, X)
    before = len(calls)
    for _ in range(3):
        operator.mv(X), operator.rmv(X[1:])
    assert len(calls) == before


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_operator(jnp.sin, waves, X), TypeError, "must be jacobian, hessian or ggn_vp"),
        (lambda: linear_operator(jacobian, 3, X), TypeError, "fun must be a function"),
        (lambda: linear_operator(hessian, waves, X), TypeError, "must return a scalar"),
        (lambda: linear_operator(ggn_vp, waves, X), TypeError, "loss must be a function, got None"),
        (lambda: linear_operator(jacobian, waves, X, loss=loss), TypeError, "Leave it out"),
        (lambda: linear_operator(ggn_vp, waves, X, loss=waves), TypeError, "loss must return a scalar"),
        (lambda: linear_operator(jacobian, waves, X, argnums=1), ValueError, "names argument 1"),
        (lambda: matrices()["jacobian"][0].mv(X[1:]), ValueError, "LinearOperator.mv: the vector must be shaped like"),
        (lambda: matrices()["jacobian"][0].rmv(1j * X[1:]), TypeError, "LinearOperator.rmv: .* real numbers"),
        (lambda: matrices()["jacobian"][0].diagonal(), ValueError, r"square, got shape \(5, 6\)"),
        (lambda: matrices()["jacobian"][0].columns([6]), ValueError, "at most 5"),
        (lambda: matrices()["jacobian"][0].rows([0.5]), TypeError, "whole number"),
        (lambda: matrices()["jacobian"][0].block([7], [0, 1]), ValueError, "at most 4"),
    ],
)
def test_misuse_says_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()
