"""Losses: closed forms against mpmath at 50 digits and automatic differentiation, and what misuse is told."""

import functools
import math
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxcalc.functions import losses
from jaxcalc.functions.losses import LOSSES
from tests.tolerance import assert_close

KINDS = ("value", "gradient", "second_derivative")


def _s(z):
    return 1 / (1 + mpmath.exp(-z))


def _log(x):
    return mpmath.log(x) if x else -mpmath.inf


def _log1p(x):
    return mpmath.log1p(x) if x > -1 else -mpmath.inf


def _times(weight, x):
    return weight * x if weight else mpmath.mpf(0)


def _sign(x):
    return mpmath.mpf((x > 0) - (x < 0))


DELTA = 0.75


def _huber(p, y):
    r = abs(p - y)
    return r * r / 2 if r <= DELTA else DELTA * (r - mpmath.mpf(DELTA) / 2)


def _softplus(z):
    return max(z, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(z)))


# name: value, gradient and second derivative of one prediction and one target
EXACT = {
    "mse": (lambda p, y: (p - y) ** 2, lambda p, y: 2 * (p - y), lambda p, y: mpmath.mpf(2)),
    "mae": (lambda p, y: abs(p - y), lambda p, y: _sign(p - y), lambda p, y: mpmath.mpf(0)),
    "huber": (
        _huber,
        lambda p, y: max(-mpmath.mpf(DELTA), min(p - y, mpmath.mpf(DELTA))),
        lambda p, y: mpmath.mpf(abs(p - y) <= DELTA),
    ),
    "binary_cross_entropy": (
        lambda p, y: -_times(y, _log(p)) - _times(1 - y, _log1p(-p)),  # 1 - p has no room for p below 1e-50
        lambda p, y: (p - y) / (p * (1 - p)),
        lambda p, y: y / p**2 + (1 - y) / (1 - p) ** 2,
    ),
    "binary_cross_entropy_from_logits": (
        lambda z, y: y * _softplus(-z) + (1 - y) * _softplus(z),
        lambda z, y: (1 - y) * _s(z) - y * _s(-z),
        lambda z, y: _s(z) * _s(-z),
    ),
    "hinge": (
        lambda p, y: max(mpmath.mpf(0), 1 - y * p),
        lambda p, y: -y if y * p < 1 else mpmath.mpf(0),
        lambda p, y: mpmath.mpf(0),
    ),
}
# The error allowed, in ulps: units of eps times (|f| and what an ulp of prediction or target changes f by), for value,
# gradient and second derivative. Two operands are subtracted first, hence what an ulp of them does.
ULPS = {
    "mse": (3, 1, 0),
    "mae": (1, 0, 0),
    "huber": (3, 1, 0),
    "binary_cross_entropy": (4, 4, 6),
    "binary_cross_entropy_from_logits": (6, 8, 8),
    "hinge": (2, 0, 0),
}
DTYPES: Any = {np.float32: 32, np.float64: 64}


def drawn(name, dtype):
    """Predictions and targets, sixteen of each."""
    finite = functools.partial(st.floats, width=DTYPES[dtype], allow_subnormal=False)
    smallest = float(np.finfo(dtype).tiny)
    if name == "binary_cross_entropy":
        inside = st.one_of(finite(2.0**-20, 1 - 2.0**-20), finite(smallest, 2.0**-20))
        prediction = st.one_of(inside, inside.map(lambda p: float(dtype(1) - dtype(p))).filter(lambda p: 0 < p < 1))
    elif name == "binary_cross_entropy_from_logits":
        prediction = st.one_of(finite(-30, 30), finite(-700, 700), finite(-1e4, 1e4))
    else:
        prediction = st.one_of(finite(-4, 4), finite(-(2.0**60), 2.0**60))
    if name == "hinge":
        target = st.sampled_from([-1.0, 1.0])
    elif name.startswith("binary"):
        target = st.one_of(st.sampled_from([0.0, 1.0]), finite(2.0**-20, 1))
    else:
        target = st.one_of(finite(-4, 4), finite(-(2.0**60), 2.0**60))
    both = st.lists(st.tuples(prediction, target), min_size=16, max_size=16)
    return both.map(lambda rows: np.asarray(rows, dtype).T)


PARAMETERS = {"huber": {"delta": DELTA}}


@functools.cache
def together(name):
    """All three, compiled once."""
    return jax.jit(lambda p, y: [getattr(LOSSES[name], kind)(p, y, **PARAMETERS.get(name, {})) for kind in KINDS])


def exactly(name, kind, p, y):
    return EXACT[name][KINDS.index(kind)](p, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_closed_forms_against_mpmath(x64, name, dtype):
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    largest = float(np.finfo(dtype).max)

    @hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @hypothesis.given(drawn(name, dtype))
    def check(rows):
        for kind, found, allowed in zip(KINDS, together(name)(*rows), ULPS[name]):
            got = np.asarray(found, np.float64)
            with mpmath.workdps(50):
                nudge = 1 + mpmath.mpf(eps)
                for one, p, y in zip(got, *((mpmath.mpf(float(x)) for x in row) for row in rows)):
                    true = exactly(name, kind, p, y)
                    if abs(true) > largest / 2:
                        continue
                    moved = abs(exactly(name, kind, p * nudge, y) - true) if 0 < p * nudge < 1 or p > 1 or p < 0 else 0
                    moved += abs(exactly(name, kind, p, y * nudge) - true)
                    if name in ("huber", "mae", "hinge") and kind != "value":
                        moved = min(moved, eps * abs(p) + eps * abs(y))  # not what a jump would change
                    error = abs(mpmath.mpf(float(one)) - true)
                    assert error <= allowed * (eps * abs(true) + moved) + tiny * (1 + min(abs(p), 1000)) ** 2, (p, y)

    check()


@pytest.mark.parametrize("name", EXACT)
def test_derivatives_are_what_differentiation_gives(x64, name):
    key = jax.random.key(0)
    p = jax.random.uniform(key, (400,), minval=0.01, maxval=0.99) * (
        1 if name.startswith("binary_cross_entropy") else 4
    )
    y = jax.random.uniform(jax.random.key(1), (400,))
    y = jnp.where(y < 0.5, -1.0, 1.0) if name == "hinge" else y
    value = lambda p, y: LOSSES[name].value(p, y, **PARAMETERS.get(name, {}))
    first, second = jax.grad(value), jax.grad(jax.grad(value))
    slope, bend = jax.jit(jax.vmap(lambda p, y: (first(p, y), second(p, y))))(p, y)
    _, gradient, second_derivative = together(name)(p, y)
    assert_close(gradient, slope, 64, scale=1)
    assert_close(second_derivative, bend, 64, scale=1)


# -- categorical ---------------------------------------------------------------------------------------------------


def simplex(key, shape):
    return jax.nn.softmax(2 * jax.random.normal(key, shape), axis=-1)


@functools.cache
def differentiated(name):
    value = lambda p, y: LOSSES[name].value(p, y)
    return jax.jit(jax.vmap(lambda p, y: (jax.grad(value)(p, y), jax.hessian(value)(p, y))))


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_from_logits"])
@pytest.mark.parametrize("labels", ["soft", "one-hot", "unnormalised"])
def test_categorical_derivatives_are_what_differentiation_gives(x64, name, labels):
    keys = jax.random.split(jax.random.key(2), 2)
    prediction = simplex(keys[0], (30, 5)) if name == "cross_entropy" else 4 * jax.random.normal(keys[0], (30, 5))
    target = simplex(keys[1], (30, 5))
    if labels == "one-hot":
        target = jax.nn.one_hot(jnp.arange(30) % 5, 5, dtype=float)
    elif labels == "unnormalised":
        target = 0.6 * target
    found, gradient, hessian = together(name)(prediction, target)
    assert found.shape == (30,)
    first, second = differentiated(name)(prediction, target)
    assert_close(gradient, first, 64, scale=0.03125)
    assert_close(hessian, second, 64, scale=0.0625)


@pytest.mark.parametrize("dtype", DTYPES)
def test_categorical_values_against_mpmath(x64, dtype):
    """To 8 ulps of the value and of what an ulp of the logits changes; the gradient to 8 of each of its two terms."""
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    logits = st.floats(-60, 60, width=DTYPES[dtype], allow_subnormal=False)
    shares = st.lists(st.integers(0, 8), min_size=4, max_size=4).filter(any)
    rows = st.tuples(st.lists(logits, min_size=4, max_size=4), shares)

    @hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
    @hypothesis.given(rows)
    @hypothesis.example(([20.0, 0.0, 0.0, 0.0], [1, 0, 0, 0]))
    @hypothesis.example(([40.0, -40.0, 0.0, 0.0], [0, 1, 0, 0]))
    def check(row):
        z, y = np.asarray(row[0], dtype), np.asarray(row[1], dtype) / dtype(sum(row[1]))
        value, gradient, _ = (np.asarray(one, np.float64) for one in together("cross_entropy_from_logits")(z, y))
        with mpmath.workdps(80):
            powers = [mpmath.exp(float(each)) for each in z]
            p = [each / mpmath.fsum(powers) for each in powers]
            rest = [mpmath.fsum(p[:i] + p[i + 1 :]) for i in range(4)]
            weights = [mpmath.mpf(float(each)) for each in y]
            terms = [-w * mpmath.log1p(-r) if r < 0.5 else -w * mpmath.log(q) for w, r, q in zip(weights, rest, p)]
            true, total = mpmath.fsum(terms), mpmath.fsum(weights)
            spread = 1 + float(np.ptp(z.astype(np.float64)))
            # What an ulp of a logit changes: by each term's own rival.
            moved = spread * float(mpmath.fsum(w * r for w, r in zip(weights, rest)))
            assert abs(mpmath.mpf(float(value)) - true) <= 8 * eps * (true + moved) + 4 * tiny
            for one, w, q, r in zip(gradient, weights, p, rest):
                # The other weights are a sum less one of them, exact to an ulp of the sum.
                scale = q * total + w * r
                assert abs(mpmath.mpf(float(one)) - (q * (total - w) - w * r)) <= 8 * eps * spread * scale + 4 * tiny

    check()


# -- examples and extremes -----------------------------------------------------------------------------------------


def test_three_samples():
    prediction, target = jnp.array([0.9, 0.1, 0.8]), jnp.array([1, 0, 1])
    assert_close(losses.mse.mean(prediction, target), 0.02, 4, dtype=jnp.float32)
    assert float(losses.binary_cross_entropy.mean(prediction, target)) == pytest.approx(0.1446, abs=5e-5)


def test_three_logits_give_p_minus_y(x64):
    found = losses.cross_entropy_from_logits.gradient(jnp.array([2.0, 1.0, 0.1]), jnp.array([1, 0, 0]))
    np.testing.assert_allclose(found, [-0.341, 0.2424, 0.0986], atol=5e-5)
    assert_close(found.sum(), 0, 0.5, scale=1)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (dtype, size)
        for dtype in (jnp.float64, jnp.float32, jnp.float16, jnp.bfloat16)
        for size in (1e4, 1e30)
        if size <= float(jnp.finfo(dtype).max)
    ],
)
def test_logits_of_any_size_are_finite(x64, dtype, size):
    z, y = jnp.array([size, -size, size, -size], dtype), jnp.array([1, 1, 0, 0], dtype)
    value, gradient, _ = together("binary_cross_entropy_from_logits")(z, y)
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, jnp.array([0, size, size, 0], dtype))
    np.testing.assert_array_equal(gradient, [0, -1, 1, 0])
    rows, labels = jnp.array([[size, 0], [0, size]], dtype), jnp.array([[0, 1], [0, 1]], dtype)
    value, gradient, hessian = together("cross_entropy_from_logits")(rows, labels)
    np.testing.assert_array_equal(value, jnp.array([size, 0], dtype))
    np.testing.assert_array_equal(gradient, [[1, -1], [0, 0]])
    np.testing.assert_array_equal(hessian, np.zeros((2, 2, 2)))


def test_a_guard_would_hide_the_error_and_the_gradient(x64):
    """Why the logarithm has no guard: at a gap of 40 it leaves 0.4 percent of the gradient, at 800 none of it."""
    guarded = lambda z, y: -jnp.sum(y * jnp.log(jax.nn.softmax(z) + 1e-15))
    y = jnp.array([0.0, 1.0])
    for gap, left in ((40.0, 0.0042), (800.0, 0.0)):
        z = jnp.array([gap, 0.0])
        assert abs(float(jax.grad(guarded)(z, y)[1])) == pytest.approx(left, abs=5e-5)
        assert float(guarded(z, y)) < 34.6
        np.testing.assert_allclose(losses.cross_entropy_from_logits.gradient(z, y), [1, -1])
        assert float(losses.cross_entropy_from_logits(z, y)) == gap


def test_right_and_confident_keeps_its_digits(x64):
    z, y = jnp.array([20.0, 0.0, 0.0]), jnp.array([1, 0, 0])
    assert_close(losses.cross_entropy_from_logits(z, y), math.log1p(2 * math.exp(-20)), 4)
    assert_close(losses.binary_cross_entropy_from_logits(40.0, 1.0), math.exp(-40), 4)
    assert_close(losses.binary_cross_entropy_from_logits.gradient(40.0, 1.0), -math.exp(-40), 4)


def test_probabilities_of_zero_and_one(x64):
    p, y = jnp.array([0.0, 1.0, 0.0, 1.0]), jnp.array([0, 1, 1, 0])
    loss = losses.binary_cross_entropy
    np.testing.assert_array_equal(loss(p, y), [0, 0, jnp.inf, jnp.inf])
    np.testing.assert_array_equal(loss.gradient(p, y), [1, -1, -jnp.inf, jnp.inf])
    np.testing.assert_array_equal(loss.second_derivative(p, y), [1, 1, jnp.inf, jnp.inf])
    np.testing.assert_array_equal(losses.cross_entropy(p[:2], jnp.array([0, 1])), 0)
    np.testing.assert_array_equal(losses.cross_entropy.gradient(p[:2], jnp.array([0, 1])), [0, -1])


def test_a_masked_class_costs_nothing(x64):
    z, y = jnp.array([1.0, -jnp.inf, 0.0]), jnp.array([1.0, 0.0, 0.0])
    assert_close(losses.cross_entropy_from_logits(z, y), math.log1p(math.exp(-1)), 4)
    assert losses.cross_entropy_from_logits.gradient(z, y)[1] == 0


def test_what_is_given_at_the_kinks(x64):
    assert losses.mae.gradient(2.0, 2.0) == 0
    assert jax.grad(losses.mae)(2.0, 2.0) == 1  # jax takes the right side
    assert losses.hinge.gradient(1.0, 1.0) == 0
    assert jax.grad(losses.hinge)(1.0, 1.0) == 0
    for side, bend in ((-1e-9, 1.0), (0.0, 1.0), (1e-9, 0.0)):
        at = 0.7 + side
        assert float(losses.huber(at, 0.0, delta=0.7)) == pytest.approx(0.245, abs=1e-9)
        assert float(losses.huber.gradient(at, 0.0, delta=0.7)) == pytest.approx(0.7, abs=2e-9)
        assert losses.huber.second_derivative(at, 0.0, delta=0.7) == bend
    for smooth in set(LOSSES) - {"mae", "hinge"}:
        assert not LOSSES[smooth].kink


def test_huber_of_far_outliers_does_not_overflow():
    assert_close(losses.huber(1e30, 0.0), 1e30, 4, dtype=jnp.float32)
    slopes = jax.vmap(lambda d: losses.huber.gradient(5.0, 0.0, delta=d))(jnp.array([0.5, 1.0, 9.0]))
    np.testing.assert_array_equal(slopes, [0.5, 1.0, 5.0])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_and_the_mean(name, dtype):
    loss = LOSSES[name]
    prediction, target = jnp.array([[0.25, 0.75]], dtype), jnp.array([[0, 1]] if name != "hinge" else [[-1, 1]])
    value, gradient, second = together(name)(prediction, target)
    assert {value.dtype, gradient.dtype, second.dtype} == {jnp.dtype(dtype)}
    assert value.shape == ((1,) if loss.classes else (1, 2))
    assert gradient.shape == (1, 2)
    assert second.shape == ((1, 2, 2) if loss.classes else (1, 2))
    parameters = PARAMETERS.get(name, {})
    np.testing.assert_allclose(
        float(loss.mean(prediction, target, **parameters)), np.mean(value.astype(float)), rtol=0.01
    )
    assert (
        loss.value(jnp.array([1, 0]), jnp.array([1, 1]) if name == "hinge" else jnp.array([1, 0])).dtype == jnp.float32
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.mse(jnp.ones((3, 1)), jnp.ones(3)), ValueError, r"mse: .*same shape, got \(3, 1\) and \(3,\)"),
        (lambda: losses.mse.gradient(jnp.ones(2), 1.0), ValueError, "same shape"),
        (lambda: losses.mae(jnp.ones(0), jnp.ones(0)), ValueError, "at least one entry"),
        (lambda: losses.binary_cross_entropy(0.5, 1.5), ValueError, r"every target must lie in \[0, 1\]"),
        (lambda: losses.binary_cross_entropy(1.5, 1.0), ValueError, "every prediction must lie in .* Logits go to"),
        (lambda: losses.binary_cross_entropy_from_logits(3.0, -1.0), ValueError, "every target must lie in"),
        (lambda: losses.cross_entropy(0.5, 1.0), ValueError, "one entry for each class, got a scalar"),
        (lambda: losses.cross_entropy(jnp.full(3, 0.5), jnp.eye(3)[0]), ValueError, "must sum to 1 .* off by 0.5"),
        (lambda: losses.cross_entropy_from_logits(jnp.ones(3), 2 * jnp.eye(3)[0]), ValueError, "every target"),
        (lambda: losses.hinge(0.3, 0.0), ValueError, "every target must be -1 or 1"),
        (lambda: losses.huber(0.3, 0.0, delta=0.0), ValueError, "delta must be above 0, got 0.0"),
        (lambda: losses.mse(0.3, 0.0, delta=1.0), TypeError, "unknown parameter 'delta'; it takes none"),
        (lambda: losses.loss("mean"), ValueError, "loss: name must be one of 'mse', 'mae'"),
        (lambda: jax.jit(losses.mse)(jnp.ones(2), jnp.ones(3)), ValueError, "same shape"),
    ],
)
def test_misuse_says_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_traced_values_are_not_checked_and_a_nan_is_data():
    assert jnp.isnan(jax.jit(losses.binary_cross_entropy)(1.5, 0.5))
    assert jnp.isnan(losses.binary_cross_entropy(jnp.nan, 0.5))
    # A softmax in half precision is as near to one as its dtype allows.
    rough = jax.nn.softmax(jax.random.normal(jax.random.key(0), (50, 10)).astype(jnp.bfloat16))
    assert jnp.isfinite(losses.cross_entropy(rough, jax.nn.one_hot(jnp.arange(50) % 10, 10))).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_complex_numbers_are_refused(name, kind):
    fun, real, unreal = getattr(LOSSES[name], kind), jnp.asarray([0.5, 0.5]), jnp.asarray([0.5 + 1j, 0.5])
    expected = "must be of real floating-point numbers, got complex64"
    with pytest.raises(TypeError, match=f"{name}: the prediction {expected}"):
        fun(unreal, real)
    with pytest.raises(TypeError, match=f"{name}: the target {expected}"):
        jax.jit(fun)(real, unreal)
