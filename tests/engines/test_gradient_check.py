"""Right gradients pass, planted errors do not, in both precisions and at all scales."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcalc.engines import check_gradient

DTYPES = [jnp.float32, jnp.float64]
# What a check must find in each precision.
PLANTED = {jnp.float32: 1e-2, jnp.float64: 1e-5}

_DRAWN = np.random.default_rng(0)
W1, B1, W2 = _DRAWN.normal(size=(4, 6)), _DRAWN.normal(size=6), _DRAWN.normal(size=(6, 2))
BATCH, TARGETS = _DRAWN.normal(size=(8, 4)), _DRAWN.normal(size=(8, 2))


def network(p):
    """A regression loss of the size of 1."""
    cast = lambda a: jnp.asarray(a, p["w1"].dtype)
    return jnp.mean((jnp.tanh(cast(BATCH) @ p["w1"] + p["b1"]) @ p["w2"] - cast(TARGETS)) ** 2)


def unequal(x):
    """Curvatures over six decades, every term of the size of 1 at its own scale."""
    scales = jnp.logspace(-3, 3, x.size, dtype=x.dtype)
    return jnp.sum(jnp.sin(x / scales) + (x / scales) ** 2)


CASES = {
    "quadratic": (lambda x: x[0] ** 2 + 3 * x[0] * x[1], [1.0, 2.0]),
    "network": (network, {"w1": W1, "b1": B1, "w2": W2}),
    "product": (lambda x: jnp.prod(x), [0.5, 1.5, -2.0, 3.0]),
    "softmax": (lambda x: jax.nn.logsumexp(x) - x[2], [0.3, -1.0, 2.0, 0.1]),
    "scalar": (lambda x: jnp.exp(jnp.sin(x)), 0.7),
    "large argument": (lambda x: jnp.sum(jnp.log(x)), [1e4, 3e5, 2e2]),
}


def at(name, dtype):
    fun, x = CASES[name]
    is_leaf = lambda node: isinstance(node, list)
    return fun, jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), x, is_leaf=is_leaf)


@functools.cache
def right_gradients(dtype):
    """Of all cases, compiled at once."""
    cases = {name: at(name, dtype) for name in CASES}
    points = {name: x for name, (_, x) in cases.items()}
    program = jax.jit(lambda points: {name: jax.grad(cases[name][0])(points[name]) for name in cases})
    return program(points)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_right_gradients_pass(name, dtype, x64):
    fun, x = at(name, dtype)
    report = check_gradient(fun, right_gradients(dtype)[name], x)
    assert report, report
    assert report.passed and report.num_failed == 0
    assert report.relative_error <= report.tolerance


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_planted_errors_do_not(name, dtype, x64):
    """The entry that weighs most, off by a hundredth or by 1e-5."""
    fun, x = at(name, dtype)
    leaves, tree = jax.tree.flatten(right_gradients(dtype)[name])
    sizes = [float(jnp.abs(leaf).max()) for leaf in leaves]
    worst = int(np.argmax(sizes))
    place = np.unravel_index(int(jnp.argmax(jnp.abs(leaves[worst]))), leaves[worst].shape)
    leaves[worst] = leaves[worst].at[place].multiply(1 - PLANTED[dtype])
    report = check_gradient(fun, jax.tree.unflatten(tree, leaves), x)
    assert not report, report
    assert report.num_failed == 1
    assert report.index == tuple(int(i) for i in place)
    np.testing.assert_allclose(report.relative_error, PLANTED[dtype], rtol=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_factor_in_the_whole_gradient_is_found(dtype, x64):
    fun, x = at("network", dtype)
    wrong = jax.tree.map(lambda g: g * (1 + PLANTED[dtype]), right_gradients(dtype)["network"])
    assert not check_gradient(fun, wrong, x)


@pytest.mark.parametrize(
    "scheme", ["forward", "backward", "central", "fourth-order central", "complex step", "richardson"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_scheme_judges(scheme, dtype, x64):
    fun, x = at("scalar", dtype)
    right = right_gradients(dtype)["scalar"]
    assert check_gradient(fun, right, x, scheme=scheme)
    assert not check_gradient(fun, 1.02 * right, x, scheme=scheme)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bad_scaling_is_accepted(dtype, x64):
    x = jnp.logspace(-3, 3, 7, dtype=dtype)
    assert check_gradient(unequal, jax.jit(jax.grad(unequal)), x)
    weights = jnp.logspace(-6, 6, 7, dtype=dtype)
    weighted = lambda x: jnp.sum(weights * jnp.sin(x))
    report = check_gradient(weighted, jax.jit(jax.grad(weighted)), jnp.ones(7, dtype))
    assert report, report


def test_what_rounding_hides_is_said(x64):
    """A slope of 1e-3 below a value of 1e6 cannot be seen in float32; in float64 it can."""
    fun = lambda x: 1e6 + 1e-3 * jnp.sum(x)
    hidden = check_gradient(fun, lambda x: jnp.full_like(x, 2e-3), jnp.ones(3, jnp.float32))
    assert hidden.num_unresolved == 3
    assert "hidden by rounding" in str(hidden)
    assert not check_gradient(fun, lambda x: jnp.full_like(x, 2e-3), jnp.ones(3))


# One program for all examples.
_cubic = jax.jit(lambda x, c: jnp.sum(c * x**3) + jnp.sum(jnp.cos(c * x)))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 10_000), decades=st.integers(0, 3))
def test_right_gradients_pass_wherever(dtype, seed, decades):
    with jax.enable_x64(True):
        drawn = np.random.default_rng(seed)
        x = jnp.asarray(drawn.normal(size=4) * 10.0 ** drawn.integers(-decades, decades + 1, 4), dtype)
        c = jnp.asarray(drawn.normal(size=4), dtype)
        fun = lambda x: _cubic(x, c)
        exact = 3 * c.astype(float) * x.astype(float) ** 2 - c * jnp.sin(c.astype(float) * x.astype(float))
        report = check_gradient(fun, exact.astype(dtype), x)
        assert report, report


def test_a_wrong_rule_is_rejected(x64):
    """A custom rule that is off by a half: what the check is for."""

    @jax.custom_vjp
    def scaled(x):
        return jnp.sin(x) * x

    scaled.defvjp(lambda x: (scaled(x), x), lambda x, u: (1.5 * u * (jnp.sin(x) + x * jnp.cos(x)),))
    assert not check_gradient(scaled, jax.grad(scaled), jnp.asarray(1.0))


def test_a_kink_is_reported_not_hidden(x64):
    """At 0 the quotient of relu is one half, whatever convention the gradient follows."""
    report = check_gradient(jax.nn.relu, jax.grad(jax.nn.relu), jnp.asarray(0.0))
    assert not report
    assert report.claimed == 0 and report.measured == 0.5


def test_what_is_not_finite_does_not_pass(x64):
    for wrong in (jnp.nan, jnp.inf):
        report = check_gradient(jnp.sum, jnp.asarray([1.0, wrong, 1.0]), jnp.ones(3))
        assert report.num_failed == 1 and report.index == (1,)
    assert not check_gradient(lambda x: jnp.sum(jnp.log(x)), jax.grad(lambda x: jnp.sum(jnp.log(x))), -jnp.ones(2))


def test_zero_gradients(x64):
    report = check_gradient(lambda x: 0.0 * jnp.sum(x) + 3.0, jnp.zeros_like, jnp.ones(2))
    assert report and report.relative_error == 0 and report.num_unresolved == 0
    assert not check_gradient(lambda x: 0.0 * jnp.sum(x), lambda x: jnp.full_like(x, 1e-3), jnp.ones(2))


def test_tolerance_of_ones_own(x64):
    fun, x = at("quadratic", jnp.float64)
    wrong = 1.001 * right_gradients(jnp.float64)["quadratic"]
    assert check_gradient(fun, wrong, x, tolerance=1e-2)
    assert not check_gradient(fun, wrong, x, tolerance=1e-4)


def test_report(x64):
    fun, x = at("network", jnp.float64)
    right = dict(right_gradients(jnp.float64)["network"])
    right["w1"] = right["w1"].at[2, 3].add(1.0)
    report = check_gradient(fun, right, x, chunk_size=7)
    assert report.path == "['w1']" and report.index == (2, 3) and report.dtype == "float64"
    assert report.num_entries == 4 * 6 + 6 + 6 * 2 and report.num_failed == 1
    np.testing.assert_allclose(report.claimed - report.measured, 1, rtol=1e-8)
    assert 3e-6 < report.step < 1e-4
    text = str(report)
    assert "FAILED: 41 of 42 entries" in text and "x['w1'][2, 3]" in text
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.passed = True  # pyright: ignore[reportAttributeAccessIssue]
    assert "passed: 2 of 2" in str(check_gradient(jnp.sum, jnp.ones_like, jnp.ones(2)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_gradient(jnp.sin, jnp.cos, jnp.ones(2)), TypeError, "return a scalar"),
        (lambda: check_gradient(lambda x: (x, x), jnp.cos, 1.0), TypeError, "return a scalar"),
        (
            lambda: check_gradient(jnp.sum, lambda x: x[:1], jnp.ones(2)),
            ValueError,
            r"shaped like x, \(2,\), got \(1,\)",
        ),
        (lambda: check_gradient(jnp.sum, lambda x: {"g": x}, jnp.ones(2)), ValueError, "shaped like x"),
        (lambda: check_gradient(jnp.sum, jnp.ones_like, np.array([1, 2])), TypeError, r"int.*x\.astype\(float\)"),
        (lambda: check_gradient(lambda p: p["a"], lambda p: p, {"a": 1}), TypeError, r"x\['a'\]"),
        (lambda: check_gradient(jnp.sum, jnp.ones_like, jnp.ones(0)), ValueError, "nothing to check"),
        (lambda: check_gradient(lambda p: 1.0, lambda p: p, {}), ValueError, "at least one array"),
        (lambda: check_gradient(jnp.argmax, jnp.ones_like, jnp.ones(2)), TypeError, "real floating-point"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
