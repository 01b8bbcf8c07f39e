"""Formulas: their derivatives, their growth, and the programs that have none."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

from jaxcalc.engines import symbolic
from tests.tolerance import assert_close

x = sympy.Symbol("x")


def logistic(depth):
    """The logistic map, iterated."""
    value = x
    for _ in range(depth):
        value = 4 * value * (1 - value)
    return value


FORMULAS = {
    "sine": (sympy.sin(x) * x, lambda t: jnp.sin(t) * t),
    "quotient": (sympy.exp(x) / (1 + x**2), lambda t: jnp.exp(t) / (1 + t**2)),
    "tanh": (sympy.tanh(3 * x), lambda t: jnp.tanh(3 * t)),
    "piecewise": (sympy.Piecewise((x**2, x > 0), (0, True)), lambda t: jnp.where(t > 0, t**2, 0.0)),
    "logistic": (
        logistic(3),
        lambda t: (
            4 * (4 * (4 * t * (1 - t)) * (1 - 4 * t * (1 - t))) * (1 - 4 * (4 * t * (1 - t)) * (1 - 4 * t * (1 - t)))
        ),
    ),
    "constant": (sympy.Integer(3), lambda t: 3.0 + 0 * t),
    "linear": (2 * x, lambda t: 2 * t),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_against_jax(name, x64):
    formula, fun = FORMULAS[name]
    points = jnp.linspace(-1.3, 1.4, 7)
    first, second = symbolic.derivative(formula), symbolic.derivative(formula, degree=2)
    wanted = jax.vmap(jax.grad(fun))(points)
    assert_close(jax.jit(first)(points), wanted, 256, scale=1)
    assert_close(second(points), jax.vmap(jax.grad(jax.grad(fun)))(points), 64, scale=1)
    assert first(points.astype(jnp.float32)).dtype == jnp.float32
    assert first(points).shape == points.shape and first(1).shape == ()


def test_of_a_python_function(x64):
    derived = symbolic.derivative(lambda t: t**3 * sympy.sin(t))
    assert_close(derived(0.7), 3 * 0.49 * np.sin(0.7) + 0.343 * np.cos(0.7), 8)


def test_a_fixed_loop_unrolls():
    def fun(a, b, scale=2):
        for _ in range(3):
            a = a * b + 1
        return scale * a

    a, b = sympy.symbols("a b", real=True)
    assert sympy.expand(symbolic.expression_of(fun) - 2 * (a * b**3 + b**2 + b + 1)) == 0
    u, v = sympy.symbols("u v", real=True)
    assert symbolic.expression_of(lambda *args: args[0] - args[1], names=("u", "v")) == u - v


def branch(t):
    return t if t > 0 else -t


def loop(t):
    while t < 100:
        t = t * t
    return t


def counted(t):
    for _ in range(t):
        t = t + 1
    return t


@pytest.mark.parametrize("fun", [branch, loop, counted])
def test_a_program_that_asks_for_a_value_is_no_formula(fun):
    with pytest.raises(TypeError, match=f"{fun.__name__} asks for the value of an argument"):
        symbolic.expression_of(fun)


@pytest.mark.parametrize("sine", [math.sin, np.sin, jnp.sin])
def test_functions_of_numbers_are_refused(sine):
    with pytest.raises(TypeError, match="only a number allows"):
        symbolic.expression_of(lambda t: t * sine(t))


def test_growth_of_the_logistic_map():
    """Formulas double with depth, their derivatives swell more; with equal parts shared both are linear."""
    found = symbolic.growth(logistic, range(1, 7))
    assert found.value.tolist() == [3, 8, 18, 38, 78, 158]
    assert found.derivative.tolist() == [2, 21, 82, 264, 768, 2096]
    assert np.all(found.shared_value <= found.value) and np.all(found.shared_derivative <= found.derivative)
    assert np.ptp(np.diff(found.shared_value)[1:]) == 0
    assert np.max(found.shared_derivative / found.depth) <= 2 * np.max(found.shared_derivative[:3] / found.depth[:3])
    assert found.depth.tolist() == [1, 2, 3, 4, 5, 6]


def test_product_of_many_variables():
    """All ten partial derivatives of a product: 80 multiplications written out, a fraction of that shared."""
    factors = sympy.symbols("a:10")
    product: Any = sympy.prod(factors)
    partials = [product.diff(each) for each in factors]
    assert symbolic.operations(product) == 9
    assert symbolic.operations(*partials) == 80
    assert 9 < symbolic.operations(*partials, shared=True) < 80


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: symbolic.derivative(x * sympy.Symbol("y")), ValueError, "one symbol, got x, y"),
        (lambda: symbolic.derivative(x, degree=-1), ValueError, "at least 0"),
        (lambda: symbolic.expression_of(lambda t: (t, t)), TypeError, "one expression, got tuple"),
        (lambda: symbolic.growth(lambda depth: sympy.Integer(depth), [1]), ValueError, "one symbol"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
