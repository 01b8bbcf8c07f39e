"""Limits against closed forms, functions that have none, and the step where rounding takes over."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms.limits import continuity, limit, limit_of_composition
from tests.tolerance import assert_close

INF, NAN = math.inf, math.nan

# name: (function, point, limit); NaN where there is none
TABLE = {
    "sinc": (lambda x: jnp.sin(x) / x, 0, 1),
    "second order": (lambda x: (1 - jnp.cos(x)) / x**2, 0, 0.5),
    "difference quotient": (lambda h: (jnp.sin(1 + h) - jnp.sin(1.0)) / h, 0, math.cos(1)),
    "third order": (lambda x: (jnp.tan(x) - jnp.sin(x)) / x**3, 0, 0.5),
    "fifth order": (lambda x: (jnp.sin(x) - x + x**3 / 6) / x**5, 0, 1 / 120),
    "second difference": (lambda h: (jnp.exp(h) - 2 + jnp.exp(-h)) / h**2, 0, 1),
    "removable": (lambda x: (x**2 - 9) / (x - 3), 3, 6),
    "removable far off": (lambda x: (x**2 - 1e6) / (x - 1000), 1000, 2000),
    "product": (lambda x: jnp.sin(x) / x * (jnp.exp(x) - 1) / x, 0, 1),
    "not the value there": (lambda x: jnp.sign(jnp.abs(x)), 0, 1),
    "continuous": (jnp.cos, 0, 1),
    "constant": (lambda x: 2 + 0 * x, 0, 2),
    "root": (lambda x: jnp.sqrt(jnp.abs(x)), 0, 0),
    "x log x": (lambda x: jnp.abs(x) * jnp.log(jnp.abs(x)), 0, 0),
    "x^x": (lambda x: jnp.abs(x) ** jnp.abs(x), 0, 1),
    "damped oscillation": (lambda x: x * jnp.sin(1 / x), 0, 0),
    "steep": (lambda x: jnp.tanh(x / 1e-3), 0, 0),
    "narrow": (lambda x: jnp.exp(-1e6 * x**2), 0, 1),
    "pole nearby": (lambda x: 1 / (x - 0.1), 0, -10),
    "Euler": (lambda n: (1 + 1 / n) ** n, INF, math.e),
    "arc tangent": (jnp.arctan, INF, math.pi / 2),
    "arc tangent to the left": (jnp.arctan, -INF, -math.pi / 2),
    "difference of roots": (lambda x: jnp.sqrt(x + 1) - jnp.sqrt(x), INF, 0),
    "decay": (lambda x: jnp.exp(-x), INF, 0),
    "growth": (jnp.exp, INF, INF),
    "double pole": (lambda x: 1 / x**2, 0, INF),
    "logarithm": (lambda x: jnp.log(jnp.abs(x)), 0, -INF),
    "jump": (lambda x: jnp.where(x < 0, 1.0, 2.0), 0, NAN),
    "sign": (lambda x: jnp.abs(x) / x, 0, NAN),
    "simple pole": (lambda x: 1 / x, 0, NAN),
    "oscillation": (lambda x: jnp.sin(1 / x), 0, NAN),
    "oscillation at infinity": (jnp.sin, INF, NAN),
    "undefined": (lambda x: x * jnp.nan, 0, NAN),
}


@functools.cache
def computed():
    """All of the table in one program."""
    functions = [fun for fun, *_ in TABLE.values()]
    with jax.enable_x64(True):
        run = lambda index, at: limit(lambda x, index: jax.lax.switch(index, functions, x), at, index)
        found = jax.jit(jax.vmap(run))(jnp.arange(len(TABLE)), jnp.asarray([float(at) for _, at, _ in TABLE.values()]))
        return jax.tree.map(np.asarray, found)


def entry(name):
    return jax.tree.map(lambda row: row[list(TABLE).index(name)], computed())


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    found, exact = entry(name), TABLE[name][2]
    assert found.exists == (not math.isnan(exact))
    if math.isfinite(exact):
        assert abs(found.value - exact) <= found.error < 1e-6 * max(1, abs(exact))
    else:
        np.testing.assert_array_equal(found.value, exact)


@pytest.mark.parametrize(("name", "left", "right"), [("jump", 1, 2), ("sign", -1, 1), ("simple pole", -INF, INF)])
def test_sides_that_disagree(name, left, right):
    found = entry(name)
    assert not found.agree
    assert_close([found.left, found.right], [left, right], 64)


def test_rounding_takes_over_at_the_root_of_eps():
    """A difference quotient is best near h = 1e-8; with smaller steps it gets worse again, down to 0."""
    assert 1e-9 < entry("difference quotient").rounding_step < 1e-7
    assert 1e-6 < entry("second difference").rounding_step < 1e-3


def test_sides(x64):
    fun = lambda x: jnp.where(x < 0, 1.0, 2.0)
    left, right = limit(fun, 0, side="left"), limit(fun, 0, side="right")
    assert (left.value, right.value) == (1, 2) and left.exists and right.exists
    assert jnp.isnan(left.right) and jnp.isnan(right.left)


def test_composition_needs_continuity(x64):
    """The limit of sign(|x|) is 1, the sign of the limit 0."""
    inner = lambda x: jnp.abs(x)
    assert limit(lambda x: jnp.sign(inner(x)), 0.0).value == 1
    assert jnp.sign(limit(inner, 0.0).value.round(12)) == 0


def test_single_precision():
    found = jax.jit(lambda at: limit(lambda x: jnp.sin(x) / x, at))(jnp.float32(0))
    assert found.value.dtype == jnp.float32 and found.exists
    assert abs(found.value - 1) <= found.error < 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: limit(jnp.sin, 0.0, side="above"), "'both', 'left', 'right'"),
        (lambda: limit(jnp.sin, NAN), "NaN"),
        (lambda: limit(jnp.sin, jnp.zeros(2)), "scalar"),
        (lambda: limit(jnp.sin, 0.0, num_steps=2), "at least 4"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_continuity_tells_jumps_gaps_and_poles():
    smooth = continuity(jnp.cos, 0.5)
    assert smooth.continuous and abs(smooth.jump) <= smooth.limit.left_error + smooth.limit.right_error
    step = continuity(jnp.sign, 0.0)
    assert not step.continuous and step.jump == 2.0
    gap = continuity(lambda x: jnp.where(x == 1.0, 5.0, x), 1.0)
    assert not gap.continuous and gap.limit.exists and gap.value == 5.0
    assert not continuity(lambda x: 1 / x, 0.0).continuous
    assert not continuity(lambda x: jnp.where(x < 2.0, x, x + 1e-3), 2.0).continuous


def test_the_law_of_composition_is_applied_or_refused():
    inner = lambda x: jnp.abs(jnp.sin(x) / x - 1)
    allowed = limit_of_composition(jnp.cos, inner, 0.0)
    assert allowed.continuous and abs(allowed.value - 1.0) < 1e-6
    for outer, within in ((jnp.sign, inner), (jnp.cos, jnp.sign), (jnp.exp, lambda x: 1 / x**2)):
        refused = limit_of_composition(outer, within, 0.0)
        assert not refused.continuous and jnp.isnan(refused.value)


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"step": -1.0}, ValueError, "limit: step must be finite and above 0, got -1.0"),
        ({"step": 0}, ValueError, "limit: step must be finite and above 0, got 0.0"),
        ({"step": NAN}, ValueError, "limit: step must be finite and above 0, got nan"),
        ({"step": INF}, ValueError, "limit: step must be finite and above 0, got inf"),
        ({"step": np.ones(2)}, ValueError, "limit: step must be a scalar"),
        ({"step": "small"}, TypeError, "limit: step must be a real number"),
        ({"tol": -1}, ValueError, "limit: tol must be finite and at least 0, got -1.0"),
        ({"tol": NAN}, ValueError, "limit: tol must be finite and at least 0, got nan"),
        ({"tol": 1j}, TypeError, "limit: tol must be a real number"),
        ({"num_steps": 4.5}, TypeError, "limit: num_steps must be a whole number, got 4.5"),
        ({"num_steps": True}, TypeError, "limit: num_steps must be a whole number"),
        ({"num_steps": 10**6}, ValueError, "limit: num_steps must be .* at most 1100"),
    ],
)
def test_numbers_are_in_range(choices, error, message):
    with pytest.raises(error, match=message):
        limit(jnp.sign, 0.0, **choices)
    with pytest.raises(error, match=message.replace("limit", "continuity")):
        continuity(jnp.sign, 0.0, **choices)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: continuity(jnp.cos, 0.0, side="left"), TypeError, "continuity: side is for limit"),
        (lambda: continuity(jnp.cos, INF), ValueError, "continuity: the point must be finite"),
        (lambda: limit_of_composition(jnp.cos, jnp.sin, 0.0, tol=-1), ValueError, "limit_of_composition: tol"),
        (lambda: limit_of_composition(jnp.cos, lambda x: 1j * x, 0.0), TypeError, "limit_of_composition: fun must"),
    ],
)
def test_the_function_that_was_called_speaks(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_traced_numbers_out_of_range_give_no_limit():
    run = jax.jit(lambda at, step, tol: limit(jnp.cos, at, step=step, tol=tol, side="right"))
    assert run(0.0, 0.25, 1e-2).exists
    for numbers in ((NAN, 0.25, 1e-2), (0.0, -0.25, 1e-2), (0.0, 0.0, 1e-2), (0.0, NAN, 1e-2), (0.0, 0.25, -1.0)):
        found = run(*numbers)
        assert not found.exists and np.isnan(found.value)


@pytest.mark.parametrize("choices", [{"num_steps": 60}, {"num_steps": 200}, {"step": 1e-20}, {"step": 1e-7}])
def test_the_value_at_the_point_is_no_sample(choices):
    found = limit(lambda x: jnp.where(x == 1.0, 5.0, x), 1.0, **choices)
    assert abs(found.value - 1) <= found.error if found.exists else np.isnan(found.value)
    assert found.exists == ("num_steps" in choices)


@pytest.mark.parametrize(("fun", "exact"), [(lambda x: jnp.exp(-x), 0), (lambda x: x, INF)])
def test_nor_is_that_at_infinity(fun, exact):
    found = limit(lambda x: jnp.where(jnp.isinf(x), 5.0, fun(x)), INF, num_steps=200)
    assert found.exists and (found.value == exact or abs(found.value) <= found.error < 1e-5)
