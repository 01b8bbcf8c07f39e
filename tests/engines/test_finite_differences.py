"""Finite differences against closed forms, jax.grad and their own theory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.engines import finite_differences as fd
from jaxcalc.engines import stencil
from tests.tolerance import ulps

# Compiling takes all the time, and its optimisations most of that.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

SCHEMES = ["forward", "backward", "central", "fourth-order central", "complex step", "richardson"]
DTYPES = [jnp.float32, jnp.float64]

X = np.random.default_rng(0).normal(size=5)
A = np.random.default_rng(1).normal(size=(3, 5))


def smooth(x):
    return jnp.exp(jnp.sin(x)).sum() + x[0] * x[-1] ** 2


def vector(x):
    return jnp.tanh(jnp.asarray(A, x.dtype) @ x) * x[1]


def tree_function(p):
    return {"a": p["w"] @ p["v"] * p["s"], "b": jnp.sum(p["w"] ** 3)}


def point(dtype):
    return {"s": jnp.asarray(0.7, dtype), "v": jnp.asarray(X[:3], dtype), "w": jnp.asarray(A[:2, :3], dtype)}


def accuracy(scheme, dtype, degree=1):
    """What theory promises of the automatic step, for functions whose derivatives are of the size of 10."""
    eps = float(jnp.finfo(dtype).eps)
    if scheme == "complex step":
        return 50 * eps if degree == 1 else 50 * eps ** (2 / 3)
    order = stencil(scheme).order
    return 50 * eps ** (order / (order + degree))


def assert_close(got, wanted, tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted)):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), rtol=tolerance, atol=tolerance)


@functools.cache
def wanted(dtype):
    """By jax: gradient, both Jacobians, Hessian."""
    fun = lambda x, tree: (
        jax.grad(smooth)(x),
        jax.jacfwd(vector)(x),
        jax.jacfwd(tree_function)(tree),
        jax.hessian(smooth)(x),
    )
    return jit(fun)(jnp.asarray(X, dtype), point(dtype))


# -- accuracy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_against_jax(scheme, dtype, x64):
    tolerance = accuracy(scheme, dtype)
    x, tree = jnp.asarray(X, dtype), point(dtype)
    gradient, jacobian = (functools.partial(each, scheme=scheme) for each in (fd.gradient, fd.jacobian))
    got = jit(lambda x, tree: (gradient(smooth)(x), jacobian(vector)(x), jacobian(tree_function)(tree)))(x, tree)
    for one, other in zip(got, wanted(dtype)):
        assert_close(one, other, tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_hessian(scheme, dtype, x64):
    x = jnp.asarray(X, dtype)
    found = jit(fd.hessian(smooth, scheme=scheme))(x)
    assert_close(found, wanted(dtype)[3], accuracy(scheme, dtype, degree=2))
    np.testing.assert_array_equal(found, found.T)


def test_hessian_of_a_tree(x64):
    tree = point(jnp.float64)
    fun = lambda p: jnp.sum(tree_function(p)["a"]) * p["s"] + jnp.sum(jnp.sin(p["v"])) ** 2
    assert_close(jit(fd.hessian(fun))(tree), jit(jax.hessian(fun))(tree), accuracy("central", jnp.float64, 2))


def test_closed_forms(x64):
    """x^2 at 3 to the last digit: the steps are powers of 2, so nothing is rounded."""
    assert jit(fd.derivative(lambda x: x**2))(3.0) == 6.0
    assert jit(fd.derivative(lambda x: 7.0 + 0 * x, scheme="fourth-order central"))(0.3) == 0.0
    np.testing.assert_array_equal(jit(fd.hessian(lambda w: w[0] ** 2 + 3 * w[1] ** 2))(jnp.ones(2)), [[2, 0], [0, 6]])
    got = jit(fd.derivative(lambda x: {"a": jnp.stack([jnp.sin(x), jnp.exp(x)])}))(1.0)
    np.testing.assert_allclose(got["a"], [np.cos(1), np.e], rtol=1e-9)


def test_integers_are_promoted(x64):
    """A step added to an integer would be lost."""
    found = jit(fd.gradient(lambda w: w[0] ** 2 + 3 * w[1] ** 2))(np.array([4, 2]))
    np.testing.assert_array_equal(found, [8, 12])
    assert found.dtype == jnp.float64
    assert jit(fd.derivative(lambda x: x**3, scheme="complex step"))(2) == 12


def test_the_argument_is_not_touched(x64):
    w = np.array([2.0, 1.0])
    np.testing.assert_allclose(jit(fd.gradient(lambda w: w[0] ** 2 + 3 * w[1] ** 2))(w), [4, 6], rtol=1e-9)
    np.testing.assert_array_equal(w, [2, 1])


def test_half_precision():
    x = jnp.asarray([0.5, 1.5, -2.0], jnp.bfloat16)
    found = jit(fd.gradient(lambda x: jnp.sum(x**2)))(x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(found, float), [1, 3, -4], rtol=ulps(16, jnp.bfloat16))


# -- order of convergence ------------------------------------------------------------------------------------------


@functools.cache
def errors(scheme, order, degree):
    """At four steps, each half the one before, where truncation rules."""
    fun = lambda x: jnp.exp(jnp.sin(2 * x[0]))
    operator = fd.gradient if degree == 1 else fd.hessian
    exact = jax.grad(fun) if degree == 1 else jax.hessian(fun)
    with jax.enable_x64(True):
        x = jnp.asarray([0.4])
        steps = (0.08 if order == 6 else 0.02) * 0.5 ** jnp.arange(4)
        found = jit(jax.vmap(lambda h: operator(fun, scheme=scheme, order=order, step=h)(x)))(steps)
        return np.asarray(steps), np.abs(np.asarray(found - exact(x))).ravel()


@pytest.mark.parametrize(
    ("scheme", "order", "expected"),
    [
        ("forward", None, 1),
        ("forward", 3, 3),
        ("backward", None, 1),
        ("backward", 2, 2),
        ("central", None, 2),
        ("fourth-order central", None, 4),
        ("central", 6, 6),
        ("richardson", 4, 4),
    ],
)
def test_order(scheme, order, expected):
    # Ridders' choice among the table's entries is not of one order; its best column is.
    steps, found = errors(scheme, order, 1)
    slope = np.polyfit(np.log(steps), np.log(found), 1)[0]
    assert abs(slope - expected) < 0.15 * expected


@pytest.mark.parametrize(("scheme", "expected"), [("forward", 1), ("central", 2), ("fourth-order central", 4)])
def test_order_of_the_hessian(scheme, expected):
    steps, found = errors(scheme, None, 2)
    assert abs(np.polyfit(np.log(steps), np.log(found), 1)[0] - expected) < 0.15 * expected


def test_complex_step_has_order_two_and_no_floor(x64):
    steps = jnp.asarray([1e-1, 1e-2, 1e-3])
    at = jit(lambda h: fd.derivative(jnp.sin, scheme="complex step", step=h)(jnp.ones_like(h)))
    found = np.abs(np.asarray([at(h) for h in steps]) - np.cos(1))
    assert abs(np.polyfit(np.log(steps), np.log(found), 1)[0] - 2) < 0.05
    assert abs(at(1e-150) - np.cos(1)) <= ulps(2)


def test_rounding_takes_over_below_the_automatic_step(x64):
    """The classical V: ten thousand times smaller than the automatic step is far worse, a hundred times larger too."""
    at = lambda h: fd.derivative(jnp.sin, step=h)(1.0)
    best = float(fd.step_sizes(1.0))
    wrong = np.abs(np.asarray(jit(jax.vmap(at))(best * jnp.asarray([1e-4, 1.0, 1e2]))) - np.cos(1))
    assert wrong[1] < 1e-9
    assert wrong[0] > 20 * wrong[1] and wrong[2] > 20 * wrong[1]
    # A step that the argument swallows measures no difference at all.
    assert jit(fd.derivative(jnp.sin, scheme="forward", step=1e-17))(1.0) == 0


# -- steps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ["forward", "central", "fourth-order central"])
def test_step_follows_theory(scheme, dtype, x64):
    x = jnp.asarray([0.0, 1.0, -1e4, 3e-9], dtype)
    order = stencil(scheme).order
    theory = float(jnp.finfo(dtype).eps) ** (1 / (order + 1)) * np.maximum(np.abs(np.asarray(x, float)), 1)
    steps, coarser = jit(lambda x: [fd.step_sizes(x, scheme=scheme, noise=noise) for noise in (0.0, 1e-2)])(x)
    assert steps.dtype == dtype
    ratio = np.asarray(steps, float) / theory
    # Rounded to a power of 2, and to the spacing of the numbers around x.
    assert np.all((ratio > 0.7) & (ratio < 1.42))
    assert np.all(np.asarray(coarser / steps) > 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_are_exact(dtype, x64):
    x = jnp.asarray(
        np.random.default_rng(2).normal(size=200) * 10.0 ** np.random.default_rng(3).integers(-6, 6, 200), dtype
    )
    for step in (None, 1e-3, 0.1):
        h = jit(lambda x: fd.step_sizes(x, step=step))(x)  # noqa: B023
        # Where the argument does not swallow it.
        np.testing.assert_array_equal(jnp.where(x + h == x, h, (x + h) - x), h)
        np.testing.assert_array_equal(fd.step_sizes(x, step=h), h)
        assert np.mean(x + h == x) < (0.01 if step is None else 0.5)


def test_noise_widens_the_step(x64):
    """With a noise of 1e-6 the automatic step without it would see little but noise."""
    fun = lambda x: jnp.sin(x) + 1e-6 * jnp.sin(1e15 * x)
    points = jnp.linspace(0.5, 1.5, 50)
    off = lambda noise: np.abs(jit(jax.vmap(fd.derivative(fun, noise=noise)))(points) - jnp.cos(points)).max()
    assert off(1e-6) < 1e-3
    assert off(0.0) > 1e-2


def test_own_steps(x64):
    tree = point(jnp.float64)
    steps = {"s": 1e-4, "v": jnp.full(3, 1e-5), "w": 1e-6}
    fun = lambda p: jnp.sum(tree_function(p)["a"])
    assert_close(jit(fd.gradient(fun, step=steps))(tree), jit(jax.grad(fun))(tree), 1e-8)


# -- error estimates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_estimate_bounds_the_error(scheme, dtype, x64):
    functions = [jnp.sin, lambda x: jnp.exp(3 * x), lambda x: 1 / (1 + x**2), lambda x: x**5 - x, jnp.log1p]
    fun = lambda x: jnp.stack([f(x) for f in functions])
    points = jnp.linspace(0.2, 2.0, 23)
    estimate = jax.vmap(fd.derivative(fun, scheme=scheme, with_error=True))
    value, error = jit(estimate)(points.astype(dtype))
    assert value.dtype == error.dtype == dtype
    # The points themselves are rounded to the dtype.
    exact = jit(jax.vmap(jax.jacfwd(fun)))(points.astype(dtype).astype(jnp.float64))
    own = ulps(8, dtype) * np.abs(exact)
    off = np.abs(np.asarray(value, float) - exact)
    # A bound by one unit in the last place of the largest value; sums lose a few more.
    assert np.all(off <= 4 * np.asarray(error, float) + own)
    # And it says something: it is no more than the accuracy that theory promises, with room; of Richardson's table,
    # that of the neighbours which vouch for the entry.
    promised = accuracy("central" if scheme == "richardson" else scheme, dtype)
    assert np.median(np.asarray(error, float) / np.abs(exact)) < promised


def test_richardson_leaves_a_step_out_that_leaves_the_domain(x64):
    """log at 0.01, with steps of 0.008, 0.016 and 0.032: the two long ones reach below 0."""
    ladder = fd.derivative(jnp.log, scheme="richardson", step=0.008, order=6, with_error=True)
    value, error = jit(ladder)(0.01)
    assert np.isfinite(value)
    assert abs(value - 100) <= error


# -- transformations and layout ------------------------------------------------------------------------------------


@functools.cache
def in_chunks(chunk_size):
    jacobian, hessian = (
        each[0](each[1], chunk_size=chunk_size) for each in ((fd.jacobian, vector), (fd.hessian, smooth))
    )
    return jit(lambda x: (jacobian(x), hessian(x)))(jnp.asarray(X))


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 100])
def test_chunks_change_nothing(chunk_size, x64):
    for one, other in zip(in_chunks(chunk_size), in_chunks(None)):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_the_vmapped_jacobian_is_the_loop(scheme, x64):
    x = jnp.asarray(X)
    h = np.asarray(fd.step_sizes(x, scheme=scheme))
    columns = []
    for i, step in enumerate(h):
        e = np.eye(len(X))[i] * step
        below, width = (x, step) if scheme == "forward" else (x - e, 2 * step)
        columns.append((vector(x + e) - vector(below)) / width)
    np.testing.assert_allclose(
        jit(fd.jacobian(vector, scheme=scheme))(x), np.stack(columns, axis=1), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("chunk_size", [None, 1])
def test_shapes(chunk_size, x64):
    for rows, columns in ((0, 0), (0, 2), (2, 0), (1, 1), (1, 3)):
        fun = lambda x: jnp.ones((rows, columns)) @ x  # noqa: B023
        got = jit(fd.jacobian(fun, chunk_size=chunk_size))(jnp.ones(columns))
        assert got.shape == (rows, columns)
        np.testing.assert_allclose(got, 1, rtol=1e-9)
    assert jit(fd.hessian(jnp.sum, chunk_size=chunk_size))(jnp.zeros((0, 2))).shape == (0, 2, 0, 2)


def test_under_transformations(x64):
    points = jnp.asarray(np.random.default_rng(4).normal(size=(3, 5)))
    length = lambda gradient: lambda x: jnp.sum(gradient(smooth)(x) ** 2)
    both = lambda gradient: jit(lambda x: (jax.vmap(gradient(smooth))(x), jax.grad(length(gradient))(x[0])))(points)
    for one, other in zip(both(fd.gradient), both(jax.grad)):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_evaluations_are_counted_right(scheme, x64):
    calls = []

    def counted(x):
        jax.debug.callback(lambda _: calls.append(1), x[0], ordered=False)
        return jnp.sum(x**2)

    found = jit(fd.gradient(counted, scheme=scheme))(jnp.ones(7))
    jax.block_until_ready(found)
    jax.effects_barrier()
    assert len(calls) == stencil(scheme).evaluations(7)


# -- misuse --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fd.derivative(jnp.sin)(jnp.ones(2)), ValueError, "scalar"),
        (lambda: fd.derivative(jnp.sin)(1j), TypeError, "real"),
        (lambda: fd.gradient(jnp.sin)(jnp.ones(2)), TypeError, r"return a scalar, got shape \(2,\)"),
        (lambda: fd.hessian(jnp.sin)(jnp.ones(2)), TypeError, "return a scalar"),
        (lambda: fd.jacobian(jnp.argmax)(jnp.ones(2)), TypeError, "fun must return real floating-point"),
        (lambda: fd.jacobian(jnp.sin)({}), ValueError, "at least one array"),
        (lambda: fd.jacobian(jnp.sin, chunk_size=0), ValueError, "chunk_size"),
        (lambda: fd.jacobian(jnp.sin, scheme="midpoint"), ValueError, "jacobian: scheme must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: fd.jacobian(lambda p: p["a"], step=jnp.ones(3))({"a": 1.0}), ValueError, "step must be a number"),
        (lambda: fd.derivative(jnp.abs, scheme="complex step")(1.0), TypeError, "imaginary part"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
