"""The table of derivatives against mpmath at 50 digits, and each row's two laws by automatic differentiation."""

import functools
import math
from typing import Any

import hypothesis
import hypothesis.extra.numpy
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxcalc.functions import elementary
from jaxcalc.functions.elementary import ELEMENTARY
from tests.tolerance import assert_close

KINDS = ("value", "derivative", "antiderivative")
# What the parametrised rows are tested at; every exponent class of the power rule has a case below.
PARAMETERS = {"power": {"n": 2.5}, "exponential": {"a": 0.75}, "logarithm": {"a": 10.0}}


def _power(n):
    n = mpmath.mpf(n)
    total = (lambda x: mpmath.log(abs(x))) if n == -1 else (lambda x: x ** (n + 1) / (n + 1))
    return lambda x: x**n, lambda x: n * x ** (n - 1) if n else mpmath.mpf(0), total


def _sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


# name: value, derivative, antiderivative
EXACT = {
    "power": _power(2.5),
    "constant": (lambda x: mpmath.mpf(1), lambda x: mpmath.mpf(0), lambda x: x),
    "identity": _power(1),
    "square": _power(2),
    "cube": _power(3),
    "reciprocal": _power(-1),
    "inverse_square": _power(-2),
    "sqrt": _power(0.5),
    "inverse_sqrt": _power(-0.5),
    "exp": (mpmath.exp,) * 3,
    "log": (mpmath.log, lambda x: 1 / x, lambda x: x * mpmath.log(x) - x),
    "exponential": (
        lambda x: mpmath.mpf(0.75) ** x,
        lambda x: mpmath.mpf(0.75) ** x * mpmath.log(0.75),
        lambda x: mpmath.mpf(0.75) ** x / mpmath.log(0.75),
    ),
    "logarithm": (
        lambda x: mpmath.log10(x),
        lambda x: 1 / (x * mpmath.log(10)),
        lambda x: (x * mpmath.log(x) - x) / mpmath.log(10),
    ),
    "sin": (mpmath.sin, mpmath.cos, lambda x: -mpmath.cos(x)),
    "cos": (mpmath.cos, lambda x: -mpmath.sin(x), mpmath.sin),
    "tan": (mpmath.tan, lambda x: mpmath.sec(x) ** 2, lambda x: mpmath.log1p(mpmath.tan(x) ** 2) / 2),
    "sinh": (mpmath.sinh, mpmath.cosh, mpmath.cosh),
    "cosh": (mpmath.cosh, mpmath.sinh, mpmath.sinh),
    "tanh": (mpmath.tanh, lambda x: mpmath.sech(x) ** 2, lambda x: mpmath.log1p(mpmath.sinh(x) ** 2) / 2),
    "arcsin": (
        mpmath.asin,
        lambda x: 1 / mpmath.sqrt(1 - x**2),
        lambda x: x * mpmath.asin(x) + mpmath.sqrt(1 - x**2),
    ),
    "arccos": (
        mpmath.acos,
        lambda x: -1 / mpmath.sqrt(1 - x**2),
        lambda x: x * mpmath.acos(x) - mpmath.sqrt(1 - x**2),
    ),
    "arctan": (mpmath.atan, lambda x: 1 / (1 + x**2), lambda x: x * mpmath.atan(x) - mpmath.log1p(x**2) / 2),
    "arsinh": (
        mpmath.asinh,
        lambda x: 1 / mpmath.sqrt(1 + x**2),
        lambda x: x * mpmath.asinh(x) - mpmath.sqrt(1 + x**2),
    ),
    "arcosh": (
        mpmath.acosh,
        lambda x: 1 / mpmath.sqrt(x**2 - 1),
        lambda x: x * mpmath.acosh(x) - mpmath.sqrt(x**2 - 1),
    ),
    "artanh": (mpmath.atanh, lambda x: 1 / (1 - x**2), lambda x: x * mpmath.atanh(x) + mpmath.log1p(-(x**2)) / 2),
    "abs": (abs, lambda x: mpmath.mpf((x > 0) - (x < 0)), lambda x: x * abs(x) / 2),
    "relu": (
        lambda x: max(x, mpmath.mpf(0)),
        lambda x: mpmath.mpf(x > 0),
        lambda x: max(x, mpmath.mpf(0)) ** 2 / 2,
    ),
    "sigmoid": (
        _sigmoid,
        lambda x: _sigmoid(x) * _sigmoid(-x),
        lambda x: max(x, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(x))),
    ),
}

# The error allowed, in ulps: units of eps times (|f| and what one ulp of x changes f by), for value, derivative and
# antiderivative, in single and in double precision alike.
ULPS = {
    "power": (3, 4, 4),
    "constant": (0, 0, 0),
    "identity": (0, 0, 2),
    "square": (1, 1, 3),
    "cube": (2, 3, 4),
    "reciprocal": (1, 2, 1),
    "inverse_square": (2, 3, 2),
    "sqrt": (1, 1, 2),
    "inverse_sqrt": (2, 2, 1),
    "exp": (2, 2, 2),
    "log": (1, 1, 2),
    "exponential": (2, 3, 3),
    "logarithm": (2, 2, 3),
    "sin": (2, 2, 2),
    "cos": (2, 2, 2),
    "tan": (2, 3, 4),
    "sinh": (2, 2, 2),
    "cosh": (2, 2, 2),
    "tanh": (5, 3, 4),
    "arcsin": (2, 2, 2),
    "arccos": (2, 2, 3),
    "arctan": (2, 2, 4),
    "arsinh": (3, 2, 3),
    "arcosh": (3, 2, 4),
    "artanh": (2, 3, 3),
    "abs": (0, 0, 1),
    "relu": (0, 0, 1),
    "sigmoid": (3, 4, 3),
}
DTYPES: Any = {np.float32: 32, np.float64: 64}


def drawn(name, dtype):
    """Sixteen points of the domain: ordinary ones, and ones near its ends."""
    floats = functools.partial(st.floats, width=DTYPES[dtype], allow_subnormal=False)
    low, high = ELEMENTARY[name].domain[-1]
    tiny = float(np.finfo(dtype).tiny)
    if (low, high) == (-1.0, 1.0) or math.isfinite(high):
        reach = float(dtype(0.999 * high))
        inside = floats(-reach, reach)
    elif low == 1.0:
        inside = st.one_of(floats(1.0625, 8), floats(1.0009765625, 2.0**100))
    elif low == 0.0 and len(ELEMENTARY[name].domain) == 1:
        inside = st.one_of(floats(0.125, 8), floats(max(tiny, 2.0**-30), 2.0**30))
    elif low == 0.0:
        magnitude = st.one_of(floats(0.125, 8), floats(2.0**-20, 2.0**20))
        inside = st.one_of(magnitude, magnitude.map(lambda x: -x))
    else:
        inside = st.one_of(floats(-4, 4), floats(-80, 80), floats(-(2.0**-40), 2.0**-40))
    return hypothesis.extra.numpy.arrays(dtype, 16, elements=inside)


@functools.cache
def together(name):
    """All three, compiled once."""
    return jax.jit(lambda x: [getattr(ELEMENTARY[name], kind)(x, **PARAMETERS.get(name, {})) for kind in KINDS])


def excess(got, exact, x, dtype):
    """The largest error in the units that ``ULPS`` counts, less what underflow of an intermediate result excuses."""
    eps, tiny, worst = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny), 0.0
    with mpmath.workdps(50):
        for one, point in zip(np.asarray(got, np.float64), np.asarray(x, np.float64)):
            at = mpmath.mpf(float(point))
            true = exact(at)
            moved = abs(exact(at * (1 - mpmath.mpf(eps))) - true)
            error = abs(mpmath.mpf(float(one)) - true)
            if error > 4 * tiny:
                worst = max(worst, float((error - tiny) / (eps * abs(true) + moved)) if true or moved else math.inf)
    return worst


def test_the_table_is_complete():
    assert list(ELEMENTARY) == list(EXACT) == list(ULPS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_closed_forms_against_mpmath(x64, name, dtype):
    @hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @hypothesis.given(drawn(name, dtype))
    def check(x):
        for kind, got, exact, allowed in zip(KINDS, together(name)(x), EXACT[name], ULPS[name]):
            assert got.dtype == dtype
            assert excess(got, exact, x, dtype) <= allowed, kind

    check()


def points(name):
    """Inside each interval of the domain, away from kinks."""
    return np.concatenate(
        [np.linspace(max(low, -5.0) + 0.05, min(high, 5.0) - 0.05, 24) for low, high in ELEMENTARY[name].domain]
    )


@pytest.mark.parametrize("name", ELEMENTARY)
def test_differentiation_gives_the_derivative_and_undoes_the_antiderivative(x64, name):
    row, x = ELEMENTARY[name], jnp.asarray(points(name))
    bound = {kind: functools.partial(getattr(row, kind), **PARAMETERS.get(name, {})) for kind in KINDS}
    slope, back = jax.jit(jax.vmap(lambda t: (jax.grad(bound["value"])(t), jax.grad(bound["antiderivative"])(t))))(x)
    value, derivative, _ = together(name)(x)
    assert_close(derivative, slope, 64, scale=1)
    assert_close(back, value, 256, scale=0.25)


@pytest.mark.parametrize("n", [3.0, 1.0, 0.0, 0.5, -0.5, -1.0, -2.0, 2.5, -2.5])
def test_the_power_rule_in_every_class_of_exponent(x64, n):
    x = jnp.linspace(0.3, 3.0, 28)
    if n == int(n):
        x = jnp.concatenate([-x, x])
    value, derivative, antiderivative = power(x, n)
    assert_close(value, np.asarray(x) ** n, 4)
    assert_close(derivative, n * np.asarray(x) ** (n - 1), 4)
    other = np.log(np.abs(x)) if n == -1 else np.asarray(x) ** (n + 1) / (n + 1)
    assert_close(antiderivative, other, 16, scale=0.03125)
    assert_close(power_back(x, n), value, 16)


@jax.jit
def power(x, n):
    """The exponent is traced: one program for all classes."""
    return [getattr(ELEMENTARY["power"], kind)(x, n=n) for kind in KINDS]


@jax.jit
def power_back(x, n):
    return jax.vmap(jax.grad(lambda t: ELEMENTARY["power"].antiderivative(t, n=n)))(x)


def test_powers_at_zero(x64):
    row = ELEMENTARY["power"]
    assert row.value(0.0, n=0.0) == 1
    assert row.derivative(0.0, n=0.0) == 0
    assert row.derivative(0.0, n=1.0) == 1
    assert ELEMENTARY["sqrt"].derivative(0.0) == jnp.inf
    assert jax.grad(ELEMENTARY["sqrt"].value)(0.0) == jnp.inf


def test_bases_may_be_swept(x64):
    bases = jnp.array([0.5, 1.0, 2.0, math.e])
    total = jax.jit(jax.vmap(lambda a: ELEMENTARY["exponential"].antiderivative(3.0, a=a)))(bases)
    expected = [0.125 / math.log(0.5), 3.0, 8 / math.log(2), math.e**3]
    assert_close(total, expected, 16)


def test_large_arguments_do_not_overflow():
    x = jnp.float32(1e30)
    assert_close(ELEMENTARY["tanh"].antiderivative(x), 1e30, 4, dtype=jnp.float32)
    assert_close(ELEMENTARY["arctan"].antiderivative(x), math.pi / 2 * 1e30, 4, dtype=jnp.float32)
    assert_close(ELEMENTARY["arsinh"].derivative(x), 1e-30, 4, dtype=jnp.float32)
    assert_close(ELEMENTARY["arcosh"].derivative(x), 1e-30, 4, dtype=jnp.float32)
    assert_close(elementary.log_hypot_one(x), 30 * math.log(10), 4, dtype=jnp.float32)


def test_what_is_given_at_kinks():
    assert ELEMENTARY["abs"].derivative(0.0) == 0
    assert jax.grad(jnp.abs)(0.0) == 1  # jax takes the right side
    assert ELEMENTARY["relu"].derivative(0.0) == 0
    assert {name for name, row in ELEMENTARY.items() if row.kinks} == {"abs", "relu"}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("name", ELEMENTARY)
def test_dtypes_are_kept_and_integers_promoted(name, dtype):
    for kind in KINDS:
        fun = getattr(ELEMENTARY[name], kind)
        assert jax.eval_shape(fun, jax.ShapeDtypeStruct((2,), dtype)).dtype == dtype
        assert jax.eval_shape(fun, jax.ShapeDtypeStruct((2,), jnp.int32)).dtype == jnp.float32


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_is_right_where_the_compilers_own_is_not(x64, dtype):
    x = np.linspace(-0.9, 2.0, 233).astype(dtype)
    with mpmath.workdps(50):
        assert excess(jax.jit(elementary.log1p)(x), mpmath.log1p, x, dtype) <= 3
    np.testing.assert_array_equal(elementary.log1p(jnp.array([-1.0, 0.0])), [-jnp.inf, 0.0])


@pytest.mark.parametrize("order", [1, 2])
def test_log_hypot_one_may_be_differentiated_again_at_zero(x64, order):
    fun = elementary.log_hypot_one
    for _ in range(order):
        fun = jax.grad(fun)
    assert fun(0.0) == {1: 0.0, 2: 1.0}[order]


def test_an_unknown_name_is_told_the_known_ones():
    assert elementary.elementary("sin") is ELEMENTARY["sin"]
    with pytest.raises(ValueError, match=r"one of 'power', .*'sin', 'cos'.* got 'sine'"):
        elementary.elementary("sine")
