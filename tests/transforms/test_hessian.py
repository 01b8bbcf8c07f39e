"""Hessians and their products with vectors: every composition against JAX's own, symmetric colourings, custom rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms import fisher_vp, ggn_vp, hessian, hvp, plan
from jaxcalc.transforms.hessian import COMPOSITIONS
from tests.tolerance import assert_close

METHODS = (
    "auto",
    "forward-over-reverse",
    "reverse-over-reverse",
    "reverse-over-forward",
    "forward-over-forward",
    "sparse",
)


def chain(x):
    """Rosenbrock's function, chained: a tridiagonal Hessian."""
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def of_a_tree(tree, scale):
    return jnp.sum(jnp.tanh(tree["w"] @ tree["b"]) ** 2) * scale + tree["b"][0] * scale**2


def of_a_vector(x):
    return jnp.stack([x[0] ** 2 * x[1], jnp.sin(x[1])])


TREE = {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3) / 7, "b": np.linspace(0.1, 1, 3, dtype=np.float32)}


@functools.cache
def dense(fun, argnums=0):
    """JAX's own Hessian, compiled once for all methods."""
    return jax.jit(jax.hessian(fun, argnums))


def _total(operator):
    return lambda x: jnp.sum(jnp.sin(operator(x)))


@functools.cache
def slope(fun):
    """The gradient of a sum over JAX's own Hessian, compiled once for all methods."""
    return jax.jit(jax.grad(_total(jax.hessian(fun))))


def _same(found, expected, count=16):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_close(a, b, count, scale=np.abs(b).max(initial=0), dtype=b.dtype)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("argnums", [0, (0, 1), 1])
def test_trees_and_argnums_as_jax_returns_them(method, argnums):
    args = (TREE, jnp.float32(1.5))
    _same(hessian(of_a_tree, argnums, method=method)(*args), dense(of_a_tree, argnums)(*args))


@pytest.mark.parametrize("method", METHODS)
def test_chunks_formats_and_transformations(x64, method):
    x = jnp.linspace(-1, 1, 6)
    expected = dense(chain)(x)
    _same(hessian(chain, method=method, chunk_size=2)(x), expected)
    _same(hessian(chain, method=method, output_format="bcoo")(x).todense(), expected)
    _same(jax.jit(jax.vmap(hessian(chain, method=method)))(x[None]), expected[None])
    _same(jax.jit(jax.grad(_total(hessian(chain, method=method))))(x), slope(chain)(x), 512)


@pytest.mark.parametrize("method", METHODS)
def test_the_hessian_of_a_vector_has_the_outputs_axes_first(method):
    x = np.array([0.4, 1.3], np.float32)
    _same(hessian(of_a_vector, method=method)(x), dense(of_a_vector)(x))


@pytest.mark.parametrize("method", METHODS)
def test_has_aux_and_sizes(method):
    found, aux = hessian(lambda x: (jnp.sum(x**3), x.size), has_aux=True, method=method)(jnp.arange(2.0))
    np.testing.assert_allclose(found, np.diag([0.0, 6.0]))
    assert aux == 2
    assert hessian(lambda x: jnp.sum(x**2), method=method)(jnp.zeros(0)).shape == (0, 0)
    assert hessian(lambda x: x**3, method=method)(2.0) == 12.0


def test_a_tridiagonal_hessian_takes_two_or_three_products(x64):
    made = plan(hessian, chain, jax.ShapeDtypeStruct((500,), jnp.float64))
    passes = {route.how.split()[1]: route.passes for route in made.routes if route.method == "sparse"}
    assert passes == {"star": 3, "acyclic": 2}
    assert made.method == "sparse"


@jax.custom_jvp
def _rolled(x):
    return jnp.sin(x)


# No function has this Jacobian everywhere: the derivative of a gradient made with it is not symmetric.
_rolled.defjvp(lambda p, t: (jnp.sin(p[0]), 0.5 * jnp.roll(t[0], 1) * p[0]))


def unsymmetric(x):
    return jnp.sum(_rolled(x) ** 2)


@pytest.mark.parametrize("method", METHODS)
def test_custom_rules_may_make_a_hessian_unsymmetric(x64, method):
    x = np.linspace(0.2, 1.3, 8)
    expected = np.asarray(dense(unsymmetric)(x))
    assert np.abs(expected - expected.T).max() > 0.1
    _same(hessian(unsymmetric, method=method)(x), expected)


def test_a_product_that_would_be_with_the_transpose_is_refused(x64):
    x = np.linspace(0.2, 1.3, 8)
    for method in ("auto", "forward-over-reverse", "reverse-over-reverse"):
        assert_close(hvp(unsymmetric, method=method)((x,), x), dense(unsymmetric)(x) @ x, 16)
    with pytest.raises(ValueError, match="unsymmetric"):
        hvp(unsymmetric, method="reverse-over-forward")((x,), x)


def of_two(x, y):
    return jnp.sum(jnp.sin(x[:, None] * y[None]) * x[:, None])


def of_one(z):
    return of_two(z[:2], z[2:])


@pytest.mark.parametrize("method", [name for name in METHODS if name != "sparse"])
@pytest.mark.parametrize("argnums", [0, (0, 1)])
def test_hvp_is_the_hessian_times_the_vector(x64, method, argnums):
    args = (jnp.array([0.3, 1.1]), jnp.array([0.5, -0.7, 0.2]))
    v = jax.tree.map(jnp.cos, args[0] if argnums == 0 else args)
    flat = np.concatenate(jax.tree.leaves(v))
    matrix = np.asarray(dense(of_one)(np.concatenate(args)))
    matrix = matrix[:2, :2] if argnums == 0 else matrix
    found = hvp(of_two, argnums, method=method)(args, v)
    assert_close(np.concatenate(jax.tree.leaves(found)), matrix @ flat, 64, scale=1)


def test_hvp_misuse():
    for call, error, message in [
        (lambda: hvp(jnp.sin)((jnp.ones(2),), jnp.ones(2)), TypeError, "must return a scalar"),
        (lambda: hvp(jnp.sum)((jnp.ones(2),), jnp.ones(3)), ValueError, "shaped like x"),
        (lambda: hvp(jnp.sum)(jnp.ones(2), jnp.ones(2)), TypeError, "tuple of fun's arguments"),
        (lambda: hvp(jnp.sum, method="reverse"), ValueError, "'forward-over-reverse'"),
        (lambda: hessian(jnp.sum, method="reverse"), ValueError, "'forward-over-reverse'"),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_gauss_newton_and_fisher_products(x64):
    # Oracle: the matrices themselves.
    points = jnp.linspace(-1, 1, 5)
    model = lambda p: {"y": p["a"] * jnp.exp(p["b"] * points)}
    loss = lambda out: jnp.sum(jnp.cosh(out["y"]))
    params = {"a": jnp.array(0.7), "b": jnp.array([0.3])}
    v = {"a": jnp.array(1.0), "b": jnp.array([-2.0])}
    jac = jax.jit(jax.jacfwd(model))(params)["y"]
    matrix = np.concatenate([np.asarray(jac["a"])[:, None], jac["b"]], axis=1)
    curvature = np.diag(np.cosh(model(params)["y"]))
    direction = np.array([1.0, -2.0])
    found = ggn_vp(model, loss)(params, v)
    np.testing.assert_allclose(np.array([found["a"], found["b"][0]]), matrix.T @ curvature @ matrix @ direction)

    log_prob = lambda p: -((model(p)["y"] - points) ** 2)
    scores = jax.jit(jax.jacfwd(log_prob))(params)
    rows = np.concatenate([np.asarray(scores["a"])[:, None], scores["b"]], axis=1)
    found = fisher_vp(log_prob)(params, v)
    np.testing.assert_allclose(np.array([found["a"], found["b"][0]]), rows.T @ rows @ direction / 5)
    assert jnp.array(fisher_vp(lambda p: p**2)(jnp.array(3.0), jnp.array(2.0))) == 72.0


def test_a_pattern_of_ones_own():
    fun = lambda x: jnp.sum(x[1:] ** 2 * x[:-1])
    x = jnp.arange(1.0, 5.0)
    half = np.triu(np.ones((4, 4), bool)) & ~np.triu(np.ones((4, 4), bool), 2)
    for method in ("auto", "sparse", "forward-over-reverse"):
        for pattern in (half, half | half.T):
            result = hessian(fun, method=method, pattern=pattern, output_format="bcoo")(x)
            np.testing.assert_allclose(result.todense(), jax.hessian(fun)(x), atol=1e-6)
        wrong = hessian(fun, method=method, pattern=np.eye(4), output_format="bcoo")(x)
        assert np.isnan(wrong.data).all()
        with pytest.raises(ValueError, match=r"hessian: pattern must be of shape \(4, 4\)"):
            hessian(fun, method=method, pattern=np.eye(3), output_format="bcoo")(x)


def test_mixed_precision_has_the_dtypes_of_jax():
    fun = lambda a: jnp.sum(a["h"].astype(jnp.float32) * a["x"]) ** 2
    a = {"h": jnp.ones(2, jnp.bfloat16), "x": jnp.ones(2)}
    kinds = lambda tree: jax.tree.map(lambda leaf: leaf.dtype, tree)
    modes = {"forward": jax.jacfwd, "reverse": jax.jacrev}
    for method in ("auto", "sparse"):
        assert kinds(hessian(fun, method=method)(a)) == kinds(jax.hessian(fun)(a))
    for outer in modes:
        for inner in modes:
            expected = kinds(modes[outer](modes[inner](fun))(a))
            assert kinds(hessian(fun, method=f"{outer}-over-{inner}")(a)) == expected


def test_patterns_follow_rules_of_rules_that_change():
    turned = [False]

    @jax.custom_jvp
    def square(x):
        return x**2

    @jax.custom_jvp
    def slope(x):
        return 2 * x

    square.defjvp(lambda x, t: (square(*x), slope(*x) * t[0]))
    slope.defjvp(lambda x, t: (slope(*x), jnp.roll(t[0], 1) if turned[0] else 2 * t[0]))
    x = jnp.arange(1.0, 5.0)
    fun = lambda x: jnp.sum(square(x) * x)
    for choices in ({"method": "sparse"}, {"output_format": "bcoo"}):
        hess = hessian(fun, **choices)
        for turned[0] in (False, True, False):
            result = hess(x)
            result = result.todense() if "output_format" in choices else result
            np.testing.assert_array_equal(result, jax.hessian(fun)(x))


def test_ranks_need_not_be_promoted():
    fun = lambda x: jnp.sum(jnp.sin(x) ** 2)
    with jax.numpy_rank_promotion("raise"):
        for method in ("auto", "sparse", *COMPOSITIONS):
            for choices in ({}, {"chunk_size": 2}):
                result = hessian(fun, method=method, **choices)(jnp.zeros(5))
                np.testing.assert_allclose(result, 2 * jnp.eye(5))
