"""Activations: closed forms against mpmath at 50 digits and automatic differentiation, bounds against a fine grid."""

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

from jaxcalc.functions import activations
from jaxcalc.functions.activations import ACTIVATIONS, activation
from tests.tolerance import assert_close

POINTS = np.concatenate([np.linspace(-40.0, 40.0, 161), [1e-6, -1e-6, 0.3]])


def _s(x):
    return 1 / (1 + mpmath.exp(-x))


def _bell(x):
    return mpmath.npdf(min(max(x, mpmath.mpf(-1000)), mpmath.mpf(1000)))


def _gate(x):
    return mpmath.sqrt(8 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)


def _gate_slope(x):
    return mpmath.sqrt(8 / mpmath.pi) * (1 + 3 * mpmath.mpf("0.044715") * x**2)


def _gate_bend(x):
    return mpmath.sqrt(8 / mpmath.pi) * 6 * mpmath.mpf("0.044715") * x


def _slope(x):
    return _s(x) * _s(-x)


def _cdf(x):
    return mpmath.ncdf(min(max(x, mpmath.mpf(-1000)), mpmath.mpf(1000)))


# name: (value, derivative, second derivative) with mpmath's numbers
EXACT = {
    "linear": (lambda x: x, lambda x: mpmath.mpf(1), lambda x: mpmath.mpf(0)),
    "quadratic": (lambda x: x * x, lambda x: 2 * x, lambda x: mpmath.mpf(2)),
    "sigmoid": (_s, _slope, lambda x: -_slope(x) * mpmath.tanh(x / 2)),
    "tanh": (mpmath.tanh, lambda x: mpmath.sech(x) ** 2, lambda x: -2 * mpmath.tanh(x) * mpmath.sech(x) ** 2),
    "relu": (lambda x: max(x, mpmath.mpf(0)), lambda x: mpmath.mpf(x > 0), lambda x: mpmath.mpf(0)),
    "leaky_relu": (
        lambda x: x if x >= 0 else mpmath.mpf("0.01") * x,
        lambda x: mpmath.mpf(1) if x >= 0 else mpmath.mpf("0.01"),
        lambda x: mpmath.mpf(0),
    ),
    "elu": (
        lambda x: x if x > 0 else mpmath.expm1(x),
        lambda x: mpmath.mpf(1) if x > 0 else mpmath.exp(x),
        lambda x: mpmath.mpf(0) if x > 0 else mpmath.exp(x),
    ),
    "gelu": (lambda x: x * _cdf(x), lambda x: _cdf(x) + x * _bell(x), lambda x: _bell(x) * (2 - x * x)),
    "gelu_tanh": (
        lambda x: x * _s(_gate(x)),
        lambda x: _s(_gate(x)) + x * _gate_slope(x) * _slope(_gate(x)),
        lambda x: (
            _slope(_gate(x))
            * (2 * _gate_slope(x) + x * _gate_bend(x) + x * _gate_slope(x) ** 2 * (_s(-_gate(x)) - _s(_gate(x))))
        ),
    ),
    "silu": (
        lambda x: x * _s(x),
        lambda x: _s(x) * (1 + x * _s(-x)),
        lambda x: _slope(x) * (2 + x * (_s(-x) - _s(x))),
    ),
    "softplus": (lambda x: max(x, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(x))), _s, _slope),
}

# The error allowed, in ulps: units of eps times (|f| and what one ulp of x changes f by), for value, first and second
# derivative, in single and in double precision alike.
ULPS = {
    "linear": (0, 0, 0),
    "quadratic": (1, 0, 0),
    "sigmoid": (2, 3, 4),
    "tanh": (5, 3, 6),
    "relu": (0, 0, 0),
    "leaky_relu": (1, 1, 0),
    "elu": (2, 2, 2),
    "gelu": (4, 4, 4),
    "gelu_tanh": (3, 6, 8),
    "silu": (3, 3, 4),
    "softplus": (2, 2, 3),
}
KINDS = ("value", "derivative", "second_derivative")
DTYPES: Any = {np.float32: 32, np.float64: 64}


def drawn(dtype):
    """Sixteen numbers of the dtype's normal range, most of them where the functions bend."""
    usual = st.floats(-20, 20, width=DTYPES[dtype], allow_subnormal=False)
    tails = st.floats(-800, 800, width=DTYPES[dtype], allow_subnormal=False)
    root = float(np.sqrt(np.finfo(dtype).max)) * 0.5
    root = float(dtype(root))
    all_of_them = st.floats(-root, root, width=DTYPES[dtype], allow_subnormal=False)
    return hypothesis.extra.numpy.arrays(dtype, 16, elements=st.one_of(usual, usual, tails, all_of_them))


def excess(got, exact, x, dtype):
    """The largest error in the units that ``ULPS`` counts, less what underflow of an intermediate result excuses."""
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    worst = 0.0
    with mpmath.workdps(50):
        for one, point in zip(np.asarray(got, np.float64), np.asarray(x, np.float64)):
            at = mpmath.mpf(float(point))
            true = exact(at)
            moved = abs(exact(at * (1 + mpmath.mpf(eps))) - true)
            floor = tiny * (1 + min(abs(float(point)), 1000.0)) ** 2
            error = abs(mpmath.mpf(float(one)) - true)
            assert math.isfinite(one)
            if error > floor:
                worst = max(worst, float((error - floor) / (eps * abs(true) + moved)) if true or moved else math.inf)
    return worst


@functools.cache
def together(name):
    """All three, compiled once."""
    return jax.jit(lambda x: [getattr(ACTIVATIONS[name], kind)(x) for kind in KINDS])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_closed_forms_against_mpmath(x64, name, dtype):
    @hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @hypothesis.given(drawn(dtype))
    @hypothesis.example(np.array([0, -0.0, 1e-30, -1e-30, 1, -1, 5, -5, 17, -17, 37, -37, 80, -80, 100, -100], dtype))
    def check(x):
        for kind, got, exact, allowed in zip(KINDS, together(name)(x), EXACT[name], ULPS[name]):
            assert got.dtype == dtype
            assert excess(got, exact, x, dtype) <= allowed, kind

    check()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_is_what_differentiation_gives(x64, name):
    phi, x = ACTIVATIONS[name], jnp.asarray(POINTS)
    first, second = jax.grad(phi), jax.grad(jax.grad(phi))
    slope, bend, again = jax.jit(jax.vmap(lambda x: (first(x), second(x), jax.grad(phi.derivative)(x))))(x)
    _, derivative, second_derivative = together(name)(x)
    assert_close(derivative, slope, 512, scale=0.125)
    # The chain rule adds terms that the closed forms have cancelled by hand.
    assert_close(second_derivative, bend, 4096, scale=1)
    assert_close(second_derivative, again, 128, scale=1)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_far_out_the_slope_keeps_its_digits(x64, name):
    # Oracle: mpmath. The naive s (1 - s) and 1 - tanh^2 are exactly 0 at 40, the true slopes are not.
    with mpmath.workdps(60):
        exact = [float(mpmath.diff(EXACT[name][0], mpmath.mpf(x))) for x in (-30.0, 20.0, 40.0)]
    found = ACTIVATIONS[name].derivative(jnp.array([-30.0, 20.0, 40.0]))
    assert_close(found, exact, 16)
    assert found[2] > 0


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "quadratic"])
def test_the_largest_slope_is_reached_and_never_passed(x64, name):
    phi = ACTIVATIONS[name]
    slopes = np.abs(phi.derivative(jnp.linspace(-6.0, 6.0, 120_001)))
    assert slopes.max() <= phi.largest_slope * (1 + 1e-15)
    # Softplus gets there only at infinity.
    slopes = slopes if name != "softplus" else np.asarray(phi.derivative(jnp.array([30.0])))
    # A grid meets the largest slope to second order in its step.
    assert slopes.max() == pytest.approx(phi.largest_slope, rel=1e-8)


def test_a_square_has_no_largest_slope():
    assert math.isinf(ACTIVATIONS["quadratic"].largest_slope)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "quadratic"])
def test_any_finite_argument_gives_finite_answers(x64, name, dtype):
    largest = float(jnp.finfo(dtype).max)
    sizes = [size for size in (1e-30, 1e-3, 1.0, 63.0, 65.0, 100.0, 1e4, 1e30, 1e300, largest) if size <= largest]
    x = jnp.array([0.0, *sizes, *(-size for size in sizes)], dtype)
    for found in together(name)(x):
        assert np.isfinite(np.asarray(found, np.float64)).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_half_precision_follows_double(x64, name, dtype):
    """To 8 units of eps of the result and of what an ulp of x changes it by."""
    x = jnp.linspace(-8, 8, 65).astype(dtype)
    eps = float(jnp.finfo(dtype).eps)
    exact = x.astype(jnp.float64)
    for rows in zip(together(name)(x), together(name)(exact), together(name)(exact * (1 + eps))):
        found, wanted, nudged = (np.asarray(row, np.float64) for row in rows)
        allowed = 8 * (eps * abs(wanted) + abs(nudged - wanted)) + 100 * float(jnp.finfo(dtype).tiny)
        assert (abs(found - wanted) <= allowed).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_dtype_is_kept(name, dtype):
    x = jax.ShapeDtypeStruct((3,), dtype)
    for kind in KINDS:
        assert jax.eval_shape(getattr(ACTIVATIONS[name], kind), x).dtype == dtype


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"'linear', 'sigmoid', 'tanh', 'relu', 'gelu'.* got 'swosh'"):
        activation("swosh")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_integers_are_taken_as_floats(x64, name):
    for found, wanted in zip(together(name)(jnp.array([-2, 1, 3])), together(name)(jnp.array([-2.0, 1.0, 3.0]))):
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("name", "slope"), [("relu", 0.0), ("leaky_relu", 1.0), ("elu", 1.0)])
def test_slopes_at_the_kink(name, slope):
    assert ACTIVATIONS[name].derivative(0.0) == slope
    assert jax.grad(ACTIVATIONS[name])(0.0) == slope
    assert jax.grad(getattr(jax.nn, name))(0.0) == slope
    # The third convention: a tie is shared.
    assert jax.grad(lambda x: jnp.maximum(x, 0))(0.0) == 0.5


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_kinks_are_where_the_slope_jumps(x64, name):
    phi, near = ACTIVATIONS[name], np.array([-1e-9, 1e-9])
    for points, fun in ((phi.kinks, phi.derivative), (phi.kinks + phi.bends, phi.second_derivative)):
        jump = abs(np.diff(fun(jnp.asarray(near)))[0])
        if fun == phi.derivative or phi.bends:
            assert (jump > 0.5) == (0.0 in points)


def test_parameters_may_be_swept(x64):
    alphas = jnp.array([0.5, 1.0, 2.0])
    slopes = jax.jit(jax.vmap(lambda a: activations.elu.derivative(jnp.array([-1.0, 0.0, 1.0]), alpha=a)))(alphas)
    assert_close(slopes, np.outer(alphas, [np.exp(-1), 1, 0]) + [0, 0, 1], 4)
    values = jax.jit(jax.vmap(lambda a: activations.elu(-1.0, alpha=a)))(alphas)
    assert_close(values + alphas, slopes[:, 0], 4)  # f + alpha is the slope
    leaky = jax.vmap(lambda a: activations.leaky_relu(jnp.array([-1.0, 1.0]), slope=a))(alphas)
    np.testing.assert_array_equal(leaky, np.stack([-alphas, np.ones(3)], 1))  # above 1 too, where max(a x, x) is not it


def test_the_two_forms_of_gelu(x64):
    x = jnp.linspace(-6, 6, 24_001)
    gap = abs(activations.gelu(x) - activations.gelu_tanh(x))
    assert float(gap.max()) == pytest.approx(4.73e-4, abs=5e-7)
    assert float(abs(x[jnp.argmax(gap)])) == pytest.approx(2.70, abs=0.005)
    slopes = abs(activations.gelu.derivative(x) - activations.gelu_tanh.derivative(x))
    assert float(slopes.max()) == pytest.approx(8.7e-4, abs=5e-6)
    for found, theirs in ((activations.gelu, False), (activations.gelu_tanh, True)):
        # theirs cancels in the negative tail, to absolute accuracy
        assert_close(found(x), jax.nn.gelu(x, approximate=theirs), 64, scale=1)


# -- along an axis -------------------------------------------------------------------------------------------------

# In ulps: units of eps times (|exact| and what an ulp of every logit changes it by), which the logits' distances rule.
ALONG_ULPS = {"logsumexp": 4, "softmax": 8, "log_softmax": 8, "one_minus_softmax": 8}


def _exact_along(logits):
    """Everything about one row, from sums at 50 digits."""
    powers = [mpmath.exp(x) for x in logits]
    total = mpmath.fsum(powers)
    p = [each / total for each in powers]
    return {
        "logsumexp": [mpmath.log(total)],
        "softmax": p,
        "log_softmax": [-mpmath.log1p((total - each) / each) for each in powers],
        "one_minus_softmax": [mpmath.fsum(p[:i] + p[i + 1 :]) for i in range(len(p))],
    }


@functools.cache
def along(name):
    return jax.jit(getattr(activations, name))


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_and_its_kin_against_mpmath(x64, dtype):
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    logits = st.floats(-60, 60, width=DTYPES[dtype], allow_subnormal=False)

    @hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
    @hypothesis.given(hypothesis.extra.numpy.arrays(dtype, 4, elements=logits))
    @hypothesis.example(np.array([20, 0, 0, 0], dtype))
    @hypothesis.example(np.array([1e4, 1e4 - 1, 0, -1e4], dtype))
    @hypothesis.example(np.array([3, 3, 3, 3], dtype))
    def check(x):
        with mpmath.workdps(80):
            exact = _exact_along([mpmath.mpf(float(each)) for each in x])
            # The result moves by at most the spread of the logits, each known to an ulp.
            spread = float(np.ptp(x.astype(np.float64)))
            for name, rows in exact.items():
                got = np.atleast_1d(np.asarray(along(name)(x), np.float64))
                for one, true in zip(got, rows):
                    scale = max(map(abs, map(float, x))) if name == "logsumexp" else float(abs(true)) * (1 + spread)
                    error = float(abs(mpmath.mpf(float(one)) - true))
                    assert error <= ALONG_ULPS[name] * eps * max(float(abs(true)), scale) + 4 * tiny, name

    check()


def test_softmax_jacobians_are_what_differentiation_gives(x64):
    x = jax.random.normal(jax.random.key(0), (5, 7)) * 3

    @jax.jit
    @jax.vmap
    def both(x):
        names = ("softmax", "log_softmax")
        closed = [getattr(activations, f"{name}_jacobian")(x) for name in names]
        ours = [jax.jacfwd(getattr(activations, name))(x) for name in names]
        theirs = [jax.jacrev(getattr(jax.nn, name))(x) for name in names]
        gradient = jax.grad(activations.logsumexp)(x), activations.softmax(x)
        return list(zip(closed, ours, theirs)), (jax.hessian(activations.logsumexp)(x), closed[0]), gradient

    jacobians, hessian, gradient = both(x)
    for closed, ours, theirs in jacobians:
        assert_close(closed, ours, 32, scale=0.0625)
        assert_close(closed, theirs, 256, scale=0.0078125)
    assert_close(*hessian, 2, scale=1)
    assert_close(*gradient, 8)


def test_the_softmax_jacobian_is_dense_symmetric_and_singular(x64):
    found = np.asarray(activations.softmax_jacobian(jnp.array([2.0, 1.0, 0.1, -3.0])))
    assert (found != 0).all()
    np.testing.assert_array_equal(found, found.T)
    assert_close(found.sum(0), 0, 0.5, scale=1)
    values = np.linalg.eigvalsh(found)
    assert abs(values[0]) < 1e-16
    assert values[1] > 0.001


def test_where_one_entry_leads_its_digits_are_kept(x64):
    """Oracle: with a single rival e^-g the log-probability is -log1p(e^-g)."""
    gap = np.array([1.0, 20.0, 40.0, 200.0, 700.0])
    x = jnp.stack([jnp.asarray(gap), jnp.zeros(5)], 1)
    rest = np.exp(-gap) / (1 + np.exp(-gap))
    assert_close(activations.log_softmax(x)[:, 0], -np.log1p(np.exp(-gap)), 4)
    assert_close(activations.softmax_jacobian(x)[:, 0, 0], rest * (1 - rest), 2)
    assert jax.nn.log_softmax(x)[2, 0] == 0  # what the usual order of the sum makes of it


def test_masks_and_sizes(x64):
    both = jax.jit(lambda x: (activations.logsumexp(x), activations.log_softmax(x), activations.softmax(x)))
    rows = jnp.array([[1, -np.inf, 2], [-np.inf, -np.inf, -np.inf], [1e300, 1e300, -1e300], [1, 1, 1]])
    total, logs, shares = both(rows)
    inside = np.logaddexp(1, 2)
    assert_close(total, [inside, -np.inf, 1e300, 1 + np.log(3)], 4)
    assert_close(logs[0], [1 - inside, -np.inf, 2 - inside], 8)
    assert jnp.isnan(shares[1]).all()  # masked throughout: no distribution
    np.testing.assert_array_equal(shares[2:], [[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
    single = jax.eval_shape(both, jax.ShapeDtypeStruct((2, 1), jnp.bfloat16))
    assert [(one.shape, one.dtype) for one in single] == [(shape, jnp.bfloat16) for shape in ((2,), (2, 1), (2, 1))]
    assert activations.softmax_jacobian(jnp.array([7])) == 0
    along_columns = jax.jit(lambda x: activations.log_softmax(x, axis=0))(rows[3:].T * 0)
    assert_close(along_columns, np.full((3, 1), -np.log(3)), 4)
    with pytest.raises(ValueError, match=r"softmax: expected at least one entry along axis -1, got shape \(2, 0\)"):
        activations.softmax(jnp.zeros((2, 0)))
    with pytest.raises(ValueError, match=r"logsumexp: expected .* got shape \(\)"):
        activations.logsumexp(1.0)


LIMITS = {
    # name: (value, slope) towards -inf, then towards inf
    "linear": ((-math.inf, 1), (math.inf, 1)),
    "sigmoid": ((0, 0), (1, 0)),
    "tanh": ((-1, 0), (1, 0)),
    "relu": ((0, 0), (math.inf, 1)),
    "gelu": ((0, 0), (math.inf, 1)),
    "quadratic": ((math.inf, -math.inf), (math.inf, math.inf)),
    "leaky_relu": ((-math.inf, 0.01), (math.inf, 1)),
    "elu": ((-1, 0), (math.inf, 1)),
    "gelu_tanh": ((0, 0), (math.inf, 1)),
    "silu": ((0, 0), (math.inf, 1)),
    "softplus": ((0, 0), (math.inf, 1)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.float16])
def test_limits_at_infinity_and_huge_arguments(x64, name, dtype):
    fun, largest = ACTIVATIONS[name], float(jnp.finfo(dtype).max)
    once: Any = jax.grad(fun.value)
    run = jax.jit(jax.vmap(lambda x: (fun.value(x), once(x), fun.derivative(x))))
    second = jax.jit(jax.vmap(lambda x: (jax.grad(once)(x), jax.grad(fun.derivative)(x))))
    infinite, huge = jnp.asarray([-math.inf, math.inf], dtype), jnp.asarray([-largest, -largest / 3, largest], dtype)
    value, slope, closed = map(np.asarray, run(infinite))
    limits, slopes = np.asarray(LIMITS[name], dtype).T
    np.testing.assert_array_equal(value, limits)
    np.testing.assert_array_equal(slope, slopes)
    np.testing.assert_array_equal(closed, slopes)
    bend = 2.0 if name == "quadratic" else 0.0
    assert (np.asarray(fun.second_derivative(jnp.concatenate([infinite, huge])), float) == bend).all()
    for derivative in second(jnp.concatenate([infinite, huge])):
        assert (np.asarray(derivative, float) == bend).all()
    assert not any(np.isnan(np.asarray(each, float)).any() for each in run(huge))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu"])
def test_complex_numbers_have_no_pieces(name):
    fun, z = ACTIVATIONS[name], jnp.asarray([1 + 2j])
    for each in (fun, fun.derivative, fun.second_derivative):
        with pytest.raises(TypeError, match=f"{name}: x must be of real floating-point numbers, got complex64"):
            each(z)


def test_complex_numbers_of_analytic_activations():
    z = 0.3 + 0.4j
    np.testing.assert_allclose(ACTIVATIONS["tanh"](z), np.tanh(z), rtol=1e-6)
    np.testing.assert_allclose(ACTIVATIONS["sigmoid"](z), 1 / (1 + np.exp(-z)), rtol=1e-6)


@pytest.mark.parametrize(
    "fun", [activations.softmax, activations.log_softmax, activations.logsumexp, activations.one_minus_softmax]
)
def test_axes_and_kinds_of_logits(fun):
    name = fun.__name__
    for axis in (5, 2, -3):
        with pytest.raises(ValueError, match=rf"{name}: axis must be an axis of shape \(2, 3\), -2 to 1, got {axis}"):
            fun(jnp.ones((2, 3)), axis=axis)
    for axis in (1.0, None, (0, 1), True):
        with pytest.raises(TypeError, match=f"{name}: axis must be a whole number"):
            fun(jnp.ones((2, 3)), axis=axis)
    with pytest.raises(TypeError, match=f"{name}: x must be of real"):
        fun(jnp.ones(3) * 1j)
    assert fun(jnp.ones((2, 3)), axis=np.int64(0)).shape[-1] == 3


@pytest.mark.parametrize("fun", [activations.softmax_jacobian, activations.log_softmax_jacobian])
def test_jacobians_speak_for_themselves(fun):
    with pytest.raises(ValueError, match=f"{fun.__name__}: expected at least one entry"):
        fun(1.0)


def test_infinite_logits():
    x = jnp.asarray([1.0, math.inf, 0.0])
    np.testing.assert_array_equal(activations.softmax(x), [0, 1, 0])
    np.testing.assert_array_equal(activations.log_softmax(x), [-math.inf, 0, -math.inf])
    np.testing.assert_array_equal(activations.one_minus_softmax(x), [1, 0, 1])
    assert activations.logsumexp(x) == math.inf == activations.logsumexp(jnp.asarray([math.inf, math.inf]))
    np.testing.assert_array_equal(jax.grad(activations.logsumexp)(x), [0, 1, 0])
    assert np.isnan(activations.softmax(jnp.asarray([math.inf, math.inf]))).all()  # no limit
    assert np.isnan(activations.softmax(jnp.asarray([math.nan]))).all()
