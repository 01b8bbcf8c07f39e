"""Dual numbers against closed forms, and against jax's own forward mode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.engines import dual
from tests.tolerance import assert_close, ulps

ELEMENTARY = {
    "exp": (dual.exp, jnp.exp),
    "log": (dual.log, jnp.log),
    "sin": (dual.sin, jnp.sin),
    "cos": (dual.cos, jnp.cos),
    "tanh": (dual.tanh, jnp.tanh),
    "sqrt": (dual.sqrt, jnp.sqrt),
    "arithmetic": (lambda x: (2 - x) / (x + 3) * x - 1 / x + -x, lambda x: (2 - x) / (x + 3) * x - 1 / x - x),
    "power": (lambda x: x**3 + x**-1 + x**0.5 + x**0, lambda x: x**3 + x**-1 + x**0.5),
    "self power": (lambda x: x**x, lambda x: x**x),
    "exponent": (lambda x: 2.0**x, lambda x: 2.0**x),
    "loop": (lambda x: sum_of_powers(x), lambda x: sum_of_powers(x)),
    "branch": (lambda x: x * x if x > 1 else dual.sin(x), lambda x: jnp.where(x > 1, x * x, jnp.sin(x))),
}
POINTS = [0.6, 1.3]


def sum_of_powers(x):
    total = 0.0
    for _ in range(4):
        total = total * x + x
    return total


# Compiling takes all the time, and its optimisations most of that.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def computed(dtype):
    """First and second derivatives of all functions by both engines, compiled once."""
    nested = lambda derivative, fun: (derivative(fun), derivative(derivative(fun)))
    names = [name for name in ELEMENTARY if name != "branch"]

    def everything(x):
        own = {name: [fun(x) for fun in nested(dual.derivative, ELEMENTARY[name][0])] for name in names}
        return own, {name: [fun(x) for fun in nested(jax.grad, ELEMENTARY[name][1])] for name in names}

    return [jit(everything)(jnp.asarray(point, dtype)) for point in POINTS]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", [name for name in ELEMENTARY if name != "branch"])
def test_first_and_second_derivatives(name, dtype, x64):
    for own, jaxs in computed(dtype):
        assert own[name][0].dtype == own[name][1].dtype == dtype
        assert_close(own[name][0], jaxs[name][0], 32, dtype=dtype)
        assert_close(own[name][1], jaxs[name][1], 32, dtype=dtype)


def test_python_control_flow(x64):
    fun = ELEMENTARY["branch"][0]
    assert_close([dual.derivative(fun)(p) for p in POINTS], [np.cos(0.6), 2.6], 8)
    assert_close([dual.derivative(dual.derivative(fun))(p) for p in POINTS], [-np.sin(0.6), 2], 8)


def test_closed_form(x64):
    """x sin x + x^2 at 1.3, and its first four derivatives by nesting."""
    fun = lambda x: x * dual.sin(x) + x**2
    x, s, c = 1.3, np.sin(1.3), np.cos(1.3)
    wanted = [x * c + s + 2 * x, 2 * c - x * s + 2, -x * c - 3 * s, x * s - 4 * c]
    for each in wanted:
        fun = dual.derivative(fun)
        assert_close(fun(x), each, 32)


@pytest.mark.parametrize("x", [0.0, 1.0, -3.5])
def test_no_perturbation_confusion(x, x64):
    """d/dx [x d/dy (x + y)] is 1: without tags the inner slope takes up the outer one, and it comes out as 2."""
    confused = dual.derivative(lambda x: x * dual.derivative(lambda y: x + y)(2.0))
    assert confused(x) == 1
    # And where both slopes matter: d/dx [x d/dy (x y^2)] at y = x is d/dx [2 x^3].
    both = dual.derivative(lambda x: x * dual.derivative(lambda y: x * y * y)(x))
    assert both(x) == 6 * x**2


def test_inner_variable_held_at_the_outer_one(x64):
    """d/dx [d/dy f(x, y) at y = x] for f = exp(x y): d/dx [x exp(x^2)]."""
    fun = dual.derivative(lambda x: dual.derivative(lambda y: dual.exp(x * y))(x))
    assert_close(fun(0.8), (1 + 2 * 0.8**2) * np.exp(0.64), 8)


A = np.random.default_rng(0).normal(size=(3, 4))
X = np.random.default_rng(1).normal(size=4)


def layers(exp, matmul, total, where):
    def fun(x):
        z = matmul(A, x * exp(x[0]))
        return total(where(z > 0, z * z, 0.1 * z)) + matmul(x, x) + (A @ x)[1] + (x[1:] * A[:, 1:]).T[0, 0]

    return fun


def test_gradient(x64):
    own = layers(dual.exp, dual.matmul, dual.sum, dual.where)
    jaxs = layers(jnp.exp, jnp.matmul, jnp.sum, jnp.where)
    points = np.random.default_rng(2).normal(size=(3, 4))
    both = lambda gradient, fun: jit(lambda x, points: (gradient(fun)(x), jax.vmap(gradient(fun))(points)))(X, points)
    for one, other in zip(both(dual.gradient, own), both(jax.grad, jaxs)):
        assert_close(one, other, 32)


def test_gradient_of_a_tree(x64):
    own = lambda p: dual.sum(dual.tanh(p["w"] @ p["v"]) * p["s"])
    jaxs = lambda p: jnp.sum(jnp.tanh(p["w"] @ p["v"]) * p["s"])
    p = {"w": jnp.asarray(A), "v": jnp.asarray(X), "s": jnp.asarray(0.3)}
    got, wanted = jit(dual.gradient(own))(p), jit(jax.grad(jaxs))(p)
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    jax.tree.map(lambda one, other: assert_close(one, other, 64), got, wanted)


def test_hessian_by_nesting(x64):
    own = lambda x: dual.sum(dual.exp(x) * x[::-1]) ** 2
    jaxs = lambda x: jnp.sum(jnp.exp(x) * x[::-1]) ** 2
    row = lambda i: dual.gradient(lambda x: dual.gradient(own)(x)[i])
    got = jit(lambda x: jnp.stack([row(i)(x) for i in range(len(X))]))(X)
    assert_close(got, jit(jax.hessian(jaxs))(X), 32)


def test_pushforward_is_the_jvp(x64):
    own = lambda p: (dual.matmul(p[0], p[1]), dual.sum(p[0], axis=0), 3.0, dual.reshape(p[0], (4, 3)))
    jaxs = lambda p: (jnp.matmul(p[0], p[1]), jnp.sum(p[0], axis=0), 3.0, jnp.reshape(p[0], (4, 3)))
    x, v = (jnp.asarray(A), jnp.asarray(X)), (jnp.ones((3, 4)), jnp.asarray(X[::-1].copy()))
    for one, other in zip(jax.tree.leaves(dual.pushforward(own)(x, v)), jax.tree.leaves(jax.jvp(jaxs, (x,), (v,)))):
        assert_close(one, other, 16)


@pytest.mark.parametrize("shapes", [((), (3,)), ((3,), ()), ((2, 1), (3,)), ((1,), (2, 3))])
def test_broadcasting(shapes, x64):
    """A slope has the shape of its value, also where only one operand is differentiated."""
    other = np.random.default_rng(3).normal(size=shapes[1]) + 2
    x = jnp.full(shapes[0], 1.5)
    for fun in (lambda x: x + other, lambda x: other * x, lambda x: other / x, lambda x: x**other, lambda x: other**x):
        (value, slope), wanted = jit(lambda x, v: (dual.pushforward(fun)(x, v), jax.jvp(fun, (x,), (v,))))(  # noqa: B023
            x, jnp.ones_like(x)
        )
        assert value.shape == slope.shape == wanted[0].shape
        np.testing.assert_allclose(slope, wanted[1], rtol=ulps(16))  # a negative number to a power has no slope: NaN


def test_arrays_on_the_left_leave_it_to_the_dual_number(x64):
    v = np.arange(3.0)
    for left in (v, jnp.asarray(v), 2.0, 2):
        for fun in (lambda x: left + x, lambda x: left - x, lambda x: left * x, lambda x: left / x):  # noqa: B023
            wanted = jax.jvp(fun, (jnp.ones(3),), (jnp.ones(3),))[1]
            np.testing.assert_allclose(dual.pushforward(fun)(jnp.ones(3), jnp.ones(3))[1], wanted)
    assert dual.derivative(lambda x: dual.sum(v @ (x * v)))(2.0) == 5


def test_edges(x64):
    assert dual.derivative(lambda x: x**0)(0.0) == 0
    assert dual.derivative(lambda x: x**2)(0.0) == 0
    assert dual.derivative(dual.derivative(lambda x: x**2))(0.0) == 2
    assert dual.derivative(lambda x: 3.0)(1.0) == 0
    assert dual.derivative(lambda x: x * x)(3) == 6
    # The program is differentiated, not the function: this one is the identity.
    assert dual.derivative(lambda x: 0.0 if x == 0 else x)(0.0) == 0
    assert dual.derivative(lambda x: 0.0 if x != x else x)(0.0) == 1
    assert dual.gradient(lambda x: dual.sum(x * x))(jnp.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dual.derivative(dual.sin)(jnp.ones(2)), "x must be a scalar"),
        (lambda: dual.pushforward(dual.sin)(jnp.ones(2), jnp.ones(3)), "shaped like x"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
