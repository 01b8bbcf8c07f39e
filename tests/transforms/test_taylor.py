"""Taylor coefficients against closed forms at high precision (mpmath) and nested forward mode."""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxcalc.transforms import compare, plan
from jaxcalc.transforms.taylor import _near_one, nth_derivative, taylor
from tests.tolerance import assert_close

# name: (function, the same in mpmath, centre)
ELEMENTARY = {
    "exp": (jnp.exp, mpmath.exp, 0.3),
    "exp2": (jnp.exp2, lambda t: mpmath.mpf(2) ** t, 0.3),
    "expm1": (jnp.expm1, mpmath.expm1, 0.3),
    "geometric": (lambda t: 1 / (1 - t), lambda t: 1 / (1 - t), 0.2),
    "tan": (jnp.tan, mpmath.tan, 0.5),
    "tanh": (jnp.tanh, mpmath.tanh, 0.5),
    "sin": (jnp.sin, mpmath.sin, 1.0),
    "cosh": (jnp.cosh, mpmath.cosh, 1.0),
    "log": (jnp.log, mpmath.log, 1.5),
    "log1p": (jnp.log1p, lambda t: mpmath.log(1 + t), 0.5),
    "sqrt": (jnp.sqrt, mpmath.sqrt, 2.0),
    "rsqrt": (jax.lax.rsqrt, lambda t: 1 / mpmath.sqrt(t), 2.0),
    "cbrt": (jnp.cbrt, mpmath.cbrt, 2.0),
    "power": (lambda t: t**2.5, lambda t: t ** mpmath.mpf(2.5), 1.3),
    "self_power": (lambda t: t**t, lambda t: t**t, 1.4),
    "integer_power": (lambda t: t**-3, lambda t: t**-3, 1.3),
    "logistic": (jax.nn.sigmoid, lambda t: 1 / (1 + mpmath.exp(-t)), 0.4),
    "erf": (jax.scipy.special.erf, mpmath.erf, 0.6),
    "atan": (jnp.arctan, mpmath.atan, 0.7),
    "asin": (jnp.arcsin, mpmath.asin, 0.4),
    "acosh": (jnp.arccosh, mpmath.acosh, 2.0),
    "atanh": (jnp.arctanh, mpmath.atanh, 0.3),
}
SPECIAL = {
    "gammaln": (jax.scipy.special.gammaln, mpmath.loggamma, 2.5),
    "softplus": (jax.nn.softplus, lambda t: mpmath.log(1 + mpmath.exp(t)), 0.3),
    "erf_inv": (jax.scipy.special.erfinv, mpmath.erfinv, 0.3),
}


# Compiling takes all the time, and its optimisations most of that.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def series(order, names):
    """Coefficients of many functions, compiled once."""
    cases = {name: (ELEMENTARY | SPECIAL)[name] for name in names}
    with jax.enable_x64(True):
        fun = lambda t: {name: case[0](t[name]) for name, case in cases.items()}
        centres = {name: jnp.asarray(case[2]) for name, case in cases.items()}
        return jit(taylor(fun, order))(centres, jax.tree.map(jnp.ones_like, centres))


def check(name, order, names, count):
    _, exact, centre = (ELEMENTARY | SPECIAL)[name]
    with mpmath.workdps(50):
        wanted = [float(c) for c in mpmath.taylor(exact, mpmath.mpf(centre), order)]
    got = series(order, names)[name]
    assert_close(got, wanted, count, scale=max(map(abs, wanted)) / 1024)


@pytest.mark.parametrize("name", ELEMENTARY)
def test_closed_forms(name):
    check(name, 7, tuple(ELEMENTARY), 256)


@pytest.mark.parametrize("name", SPECIAL)
def test_functions_without_a_recurrence(name):
    check(name, 4, tuple(SPECIAL), 256)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ELEMENTARY)
def test_high_order(name):
    check(name, 20, tuple(ELEMENTARY), 2**19)


@jax.custom_jvp
def straight(x):
    """A rule that is not the body's derivative."""
    return jnp.sin(x)


straight.defjvp(lambda p, t: (straight(*p), 5.0 * straight(2.0 * p[0]) * t[0]))

N = 4
_DRAWN = np.random.default_rng(0)
A = _DRAWN.normal(size=(N, N)) + N * np.eye(N)
POINT, STEP = 0.6 * _DRAWN.normal(size=N), _DRAWN.normal(size=N)

PROGRAMS = {
    "mlp": lambda x: jnp.tanh(jnp.tanh(x @ A) @ A) @ A[0],
    "scan": lambda x: jax.lax.scan(lambda c, w: (jnp.tanh(w * c + x), c.sum() ** 2), x, A[:3]),
    "scan_over_x": lambda x: jax.lax.scan(lambda c, w: (jnp.tanh(w * c), c * w), 1.0, x),
    "while": lambda x: jax.lax.while_loop(lambda c: c.sum() < 30, lambda c: c + x**2 + c**2 / 10 + 1, x),
    "cond": lambda x: jax.lax.cond(x[0] > 0, lambda a: a**3, lambda a: jnp.sin(a) * a.sum(), x * 1.0),
    "relu": lambda x: (jax.nn.relu(x @ A) ** 2).sum(),
    "sort": lambda x: jnp.sort(x**2 * jnp.cos(x)) @ A[1] ** 2,
    "scatter": lambda x: x.at[2].set(x[3] ** 2).at[np.array([1, 1])].add(x[:2] ** 2) ** 2,
    "scatter_mul": lambda x: x.at[1].mul(x[2]) * jnp.prod(x),
    "maxima": lambda x: jnp.maximum(x, x[::-1] ** 2).max() * x.min(),
    "cumulative": lambda x: jnp.cumsum(x**2)[2:] * jnp.cumprod(x)[:-2],
    "straight": lambda x: straight(x * 2) @ x,
    "solve": lambda x: jnp.linalg.solve(A + jnp.outer(x, x), x * x),
    "arctan2": lambda x: jnp.arctan2(x, x[::-1] + 3),
    "complex": lambda x: jnp.abs(jnp.fft.fft(x)) ** 2 + jnp.real(jnp.exp(1j * x)),
    "stop": lambda x: jax.lax.stop_gradient(x) * x**2,
    "constant": lambda x: jnp.ones(3),
    "convolution": lambda x: jnp.convolve(x**2, x),
    "softmax": lambda x: jax.nn.softmax(x @ A),
    # A scalar that moves beside an array: JAX leaves it as it is where it can.
    "over_a_scalar": lambda x: jnp.array([1.0, 2.0]) / (2 + x[0]) + jnp.outer(x, x)[:2, :2] / (3 + x.sum()),
    "over_a_norm": lambda x: x / jnp.linalg.norm(x) + x / jnp.max(x) + jax.lax.div(x + 0j, x[1] + 2j).imag,
    "standardized": lambda x: (x - x.mean()) / x.std(),
    "logarithms": lambda x: jax.scipy.special.xlogy(x, 2 + x[0]) + jax.scipy.special.xlog1py(x[0], x**2),
    "exponential": lambda x: jax.scipy.linalg.expm(jnp.outer(x[:2], x[1:3])),
    "scalar_operands": lambda x: [
        jax.lax.pow(2 + jnp.sin(x), x[0]),
        jax.lax.max(x**2, jnp.broadcast_to(x[0], N)) * x[1],
        jnp.clip(x**2, x[0] / 9, jnp.sum(jnp.abs(x))),
        jax.lax.atan2(x, jnp.full(N, 2.0) + x[0]),
        jax.lax.select_n(x[0] > 0, x**2, x**3),
    ],
    "exponents": lambda x: x ** jnp.array([1.0, 2.0, 3.0, 0.0]) + jnp.array([1.0, 2.0, 0.5, 3.0]) ** x,
    "while_in_lanes": lambda x: jax.vmap(
        lambda y, k: jax.lax.while_loop(lambda c: c[0] < k + y, lambda c: (c[0] + 1, jnp.sin(c[1]) * x[0]), (0, y))[1]
    )(x, jnp.arange(N) - 0.5),
    "fori_in_lanes": lambda x: jax.vmap(jax.vmap(lambda y, k: jax.lax.fori_loop(0, k, lambda i, c: c * y + i, 1.0)))(
        jnp.outer(x, x)[:2, :3], jnp.array([[0, 1, 3], [2, 2, 0]])
    ),
}
ORDER = 3


def everything(x):
    return {name: fun(x) for name, fun in PROGRAMS.items()}


@functools.cache
def computed():
    with jax.enable_x64(True):
        return jit(taylor(everything, ORDER))(jnp.asarray(POINT), jnp.asarray(STEP))


@functools.cache
def expected():
    """By nested forward mode, which follows every custom rule."""
    with jax.enable_x64(True):
        fun = lambda t: everything(POINT + t * STEP)
        derivatives = [fun]
        for _ in range(ORDER):
            derivatives.append(lambda t, g=derivatives[-1]: jax.jvp(g, (t,), (jnp.ones_like(t),))[1])
        return jit(lambda t: [derivative(t) for derivative in derivatives])(jnp.asarray(0.0))


@pytest.mark.parametrize("name", PROGRAMS)
def test_nested_forward_mode(name):
    got = computed()[name]
    for m in range(ORDER + 1):
        wanted = expected()[m][name]
        assert jax.tree.structure(got) == jax.tree.structure(wanted)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted)):
            assert one[m].shape == other.shape
            assert_close(one[m], np.asarray(other) / math.factorial(m), 1024, scale=1)


def test_order_zero_is_the_value(x64):
    fun = lambda x: {"a": jnp.sin(x), "b": x.sum() ** 2, "c": jnp.sort(x)}
    got = jit(taylor(fun, 0))(POINT, STEP)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(fun(jnp.asarray(POINT)))):
        assert one.shape == (1, *other.shape)
        np.testing.assert_array_equal(one[0], other)


def test_powers_at_zero(x64):
    """Where a recurrence divides by the first coefficient, which is 0."""
    powers = jit(taylor(lambda t: jnp.stack([t**2, t**3.0, t**0, t * jnp.sin(t) ** 2.0]), 4))(0.0, 2.0)
    wanted = [[0, 0, 4, 0, 0], [0, 0, 0, 8, 0], [1, 0, 0, 0, 0], [0, 0, 0, 8, 0]]
    np.testing.assert_array_equal(powers.T, wanted)
    several = jit(taylor(lambda t: (t * jnp.array([1.0, -1.0])) ** jnp.array([2.0, 3.0]), 4))(0.0, 2.0)
    np.testing.assert_array_equal(several.T, [[0, 0, 4, 0, 0], [0, 0, 0, -8, 0]])


SINGULAR = {
    "power": (lambda x: x**1.5, [0, 0, np.inf], [1, 1.5, 0.375]),
    "exponents": (lambda x: x ** jnp.array([1.5, 1.5]), [0, 0, np.inf], [1, 1.5, 0.375]),
    "sqrt": (jnp.sqrt, [0, np.inf, -np.inf], [1, 0.5, -0.125]),
    "log": (jnp.log, [-np.inf, np.inf, -np.inf], [0, 1, -0.5]),
    "rsqrt": (jax.lax.rsqrt, [np.inf, -np.inf, np.inf], [1, -0.5, 0.375]),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_where_a_slope_is_infinite(x64, name):
    """What moves has infinite coefficients there, what stands still has none."""
    fun, moving, beside = SINGULAR[name]
    x = jnp.array([0.0, 1.0])
    for unit, wanted in ((0, [moving, [beside[0], 0, 0]]), (1, [[moving[0], 0, 0], beside])):
        np.testing.assert_allclose(taylor(fun, 2)(x, jnp.eye(2)[unit]).T, wanted, rtol=1e-14)
    assert nth_derivative(lambda t: t**1.5, 1)(0.0) == 0


def test_under_transformations(x64):
    fun = lambda x: jnp.exp(x).sum() * x[0]
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2)))
    v = jnp.ones(2)
    second = lambda x: 2 * taylor(fun, 2)(x, v)[2]
    slow = lambda x: v @ jax.hessian(fun)(x) @ v
    assert_close(jit(jax.vmap(second))(x), jit(jax.vmap(slow))(x), 32)
    assert_close(jit(jax.grad(second))(x[0]), jit(jax.grad(slow))(x[0]), 32)


def test_pytrees_and_sizes(x64):
    fun = lambda x: (x["a"] * x["b"], x["e"].sum())
    x = {"a": jnp.asarray(2.0), "b": jnp.asarray([3.0]), "e": jnp.zeros((0, 2))}
    v = {"a": jnp.asarray(1.0), "b": jnp.asarray([-1.0]), "e": jnp.zeros((0, 2))}
    product, empty = jit(taylor(fun, 3))(x, v)
    np.testing.assert_array_equal(product, [[6.0], [1.0], [-1.0], [0.0]])
    np.testing.assert_array_equal(empty, np.zeros(4))


def test_nth_derivative(x64):
    assert_close(jit(nth_derivative(jnp.sin, 5))(0.7), np.cos(0.7), 16)
    third = jit(nth_derivative(lambda t: jnp.stack([t**3, jnp.exp(2 * t)]), 3))
    assert_close(third(0.0), [6, 8], 16)
    assert_close(jit(nth_derivative(lambda t: jnp.array([1.0, 2.0]) / t, 2))(1.0), [2, 4], 4)
    assert_close(jit(nth_derivative(lambda t: jax.scipy.special.hyp1f1(1.0, 1.0, t), 3))(0.5), np.exp(0.5), 64)
    np.testing.assert_allclose(nth_derivative(jnp.tanh, 0)(0.2), np.tanh(0.2))
    np.testing.assert_allclose(jit(jax.vmap(nth_derivative(jnp.log, 2)))(jnp.asarray([1.0, 2.0])), [-1, -0.25])


def test_single_precision():
    got = jit(taylor(jnp.exp, 5))(jnp.float32(0.0), jnp.float32(1.0))
    assert got.dtype == jnp.float32
    assert_close(got, [1 / math.factorial(m) for m in range(6)], 8, dtype=jnp.float32)


def test_custom_vjp_is_refused_by_name():
    @jax.custom_vjp
    def clipped(x):
        return x**2

    clipped.defvjp(lambda x: (x**2, x), lambda x, u: (u * x,))
    for method in ("auto", "series", "nested"):
        for fun in (clipped, lambda x: jax.jit(clipped)(x) + x, lambda x: jax.lax.map(clipped, x[None])[0]):
            with pytest.raises(NotImplementedError, match=r"taylor: fun calls clipped, a jax\.custom_vjp.*Define it"):
                jit(taylor(fun, 2, method=method))(1.0, 1.0)
            with pytest.raises(NotImplementedError, match=r"taylor: fun calls clipped"):
                taylor(fun, 2, method=method)(jnp.ones(()), jnp.ones(()))
    beside = taylor(lambda x: x**3 + clipped(jnp.array(2.0)), 2, method="nested")(1.0, 1.0)
    assert_close(beside, [5, 3, 3], 4, dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: taylor(jnp.sin, -1), ValueError, "at least 0"),
        (lambda: taylor(jnp.sin, 1.5), TypeError, "whole number"),
        (lambda: taylor(jnp.sin, 1)(1, 1), TypeError, "floating-point"),
        (lambda: taylor(jnp.argmax, 1)(jnp.ones(2), jnp.ones(2)), TypeError, "fun must return"),
        (lambda: taylor(jnp.sin, 1)(jnp.ones(2), jnp.ones(3)), ValueError, "shaped like x"),
        (lambda: nth_derivative(jnp.sin, 1)(jnp.ones(2)), ValueError, "scalar"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


HIGH = {
    # name: (function, point, n-th derivative)
    "exp": (jnp.exp, 1.0, lambda n: math.e),
    "sin": (lambda x: jnp.sin(2 * x), 0.25, lambda n: 2.0**n * math.sin(0.5 + n * math.pi / 2)),
    "quotient": (lambda x: 1 / (3 + x), 0.5, lambda n: (-1) ** n * math.factorial(n) / 3.5 ** (n + 1)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [20, 34, 36])
@pytest.mark.parametrize("name", HIGH)
def test_derivatives_of_high_order_have_their_own_size(x64, name, n, dtype):
    """Though the coefficients, n! times smaller, underflow in single precision."""
    fun, point, exact = HIGH[name]
    assert_close(jax.jit(nth_derivative(fun, n))(dtype(point)), exact(n), 8 * n, dtype=dtype)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 8, 9, 64, 171, 300])
def test_the_step_of_a_high_order(n):
    step, factor = _near_one(n)
    assert np.float16(step) == step and 0.05 < factor < 20
    assert math.isclose(n * math.log(step) + math.log(factor), math.lgamma(n + 1), rel_tol=1e-12, abs_tol=1e-12)


def test_derivatives_in_half_precision():
    assert_close(jax.jit(nth_derivative(jnp.exp, 12))(jnp.float16(0)), 1.0, 64, dtype=np.float16)


@pytest.mark.parametrize("method", ["auto", "series", "nested"])
def test_each_method_gives_the_closed_form(x64, method):
    curve = taylor(lambda x: jnp.exp(jnp.sum(x)) * jnp.sin(x), 3, method=method)
    x, v = np.array([0.3, 0.7]), np.array([1.0, -0.5])
    # exp(s + t / 2) sin(x + v t) is the imaginary part of exp(s + i x) exp((1 / 2 + i v) t).
    powers = [(np.exp(x.sum() + 1j * x) * (0.5 + 1j * v) ** m / math.factorial(m)).imag for m in range(4)]
    assert_close(curve(x, v), np.array(powers), 64)


def test_a_rule_of_another_function_is_nested_alone(x64):
    """zeta's slope in s is what its author says, by differences of gamma functions; that in q is zeta again."""
    from scipy.special import zeta

    curve = taylor(lambda t: jnp.sin(t) * jax.scipy.special.zeta(3.0, t), 6)(2.0, 1.0)
    factors = [1.0, -3.0, 6.0, -10.0, 15.0, -21.0, 28.0]
    series = np.array([factor * zeta(3 + m, 2.0) for m, factor in enumerate(factors)])
    sine = np.array([math.sin(2.0 + m * math.pi / 2) / math.factorial(m) for m in range(7)])
    assert_close(curve, np.convolve(sine, series)[:7], 1e5)  # jax's own zeta is right to some 1e-12


def test_a_plan_prices_both_methods():
    fun = lambda x: jnp.sum(jnp.tanh(x) ** 2)
    made = plan(taylor, fun, np.ones(3, np.float32), np.ones(3, np.float32), order=3)
    assert [route.method for route in made.routes] == ["series", "nested"]
    assert all(route.cost is not None and route.seconds > 0 for route in made.routes)
    assert_close(
        made(np.ones(3, np.float32), np.ones(3, np.float32)),
        taylor(fun, 3)(np.ones(3, np.float32), np.ones(3, np.float32)),
        64,
        dtype=np.float32,
    )
    steep = plan(taylor, lambda x: jnp.sqrt(x), 1.0, 1.0, order=3)
    assert steep.chosen.method == "series" and "infinite" in steep.routes[1].refused
    assert "2 to the power" in plan(taylor, fun, jnp.ones(3), jnp.ones(3), order=9).routes[1].refused
    assert compare(taylor, fun, jnp.ones(3), jnp.ones(3), order=2).timings.keys() == {"series", "nested"}
    for call, message in [
        (lambda: taylor(fun, 2, method="nestd"), "did you mean 'nested'"),
        (lambda: plan(taylor, fun, jnp.ones(3), jnp.ones(3)), "order must be a whole number"),
        (lambda: plan(taylor, fun, jnp.ones(3), order=2), "the point and the direction"),
        (lambda: plan(taylor, fun, jnp.ones(3), jnp.ones(2), order=2), "v must be shaped like x"),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"(?i)taylor: .*{message}"):
            call()


@pytest.mark.parametrize("differentiate", [jax.grad, jax.jacfwd])
@pytest.mark.parametrize(
    ("fun", "n", "at", "exact"),
    [
        (lambda t, a: jnp.sqrt(1 + a * t), 2, (0.3, 0.7), lambda a, t: -(a**2) / 4 * (1 + a * t) ** -1.5),
        (lambda t, a: (1 + a * t) ** 2.5, 1, (0.3, 0.7), lambda a, t: 2.5 * a * (1 + a * t) ** 1.5),
        (lambda t, a: 1 / (1 + a * t), 1, (0.3, 0.0), lambda a, t: -a / (1 + a * t) ** 2),
        (lambda t, a: jnp.square(1 + a * t), 1, (0.3, 0.0), lambda a, t: 2 * a * (1 + a * t)),
        (lambda t, a: (1 + a * t) ** 3, 2, (0.3, 0.0), lambda a, t: 6 * a**2 * (1 + a * t)),
        (lambda t, a: jnp.log1p(a * t), 2, (0.3, 0.0), lambda a, t: -(a**2) / (1 + a * t) ** 2),
    ],
)
def test_derivatives_have_derivatives_where_a_coefficient_vanishes_too(x64, differentiate, fun, n, at, exact):
    t, a = at
    slope = differentiate(lambda a: nth_derivative(lambda t: fun(t, a), n)(t))(a)
    assert_close(slope, float(mpmath.diff(lambda a: exact(a, t), a)), 64, scale=1)


def test_what_is_infinite_stays_where_it_is(x64):
    """A value beside an infinite coefficient or direction, and a slope that is none."""

    @jax.custom_jvp
    def ramp(y):
        return jnp.maximum(y, 0) + 0 * y

    ramp.defjvp(lambda y, t: (jnp.maximum(y[0], 0) + 0 * y[0], jnp.where(y[0] > 0, 1.0, 0.0) * t[0]))
    curve = taylor(lambda y: ramp(jnp.sqrt(y)), 2)(jnp.array([0.0, 1.0]), jnp.ones(2))
    assert_close(curve[0], np.array([0.0, 1.0]), 1)
    far = taylor(lambda y: 2 * y, 2, method="nested")(jnp.array([1.0]), jnp.array([jnp.inf]))
    assert far[0] == 2 and far[1] == np.inf
    assert not np.isfinite(jax.grad(lambda x: taylor(lambda y: y**1.5, 1)(x, 1.0)[1])(0.0))
    assert jax.grad(lambda x: taylor(lambda y: y**2.5, 1)(x, 1.0)[1])(0.0) == 0
    assert_close(taylor(lambda y: jnp.array(1.0), 2, method="nested")({}, {}), np.array([1.0, 0, 0]), 1)


def test_complex_points_are_planned_too(x64):
    z = np.array([1 + 1j, 2.0 - 0.5j])
    made = plan(taylor, lambda z: z**3, z, z, order=2)
    assert_close(made(z, z), np.stack([z**3, 3 * z**3, 3 * z**3]), 16)
    with pytest.raises(TypeError, match="plan: taylor has no keyword 'has_aux'; it takes order"):
        plan(taylor, jnp.sin, z, z, order=2, has_aux=True)


# name: (function, its derivatives at 0 from above, by hand: t^(p + k) log t enters in order p + k)
MOVING_EXPONENTS = {
    "2 + t": (lambda t: t ** (2 + t), [0, 0, 2, -np.inf]),
    "1 + t": (lambda t: t ** (1 + t), [0, 1, -np.inf, np.inf]),
    "t": (lambda t: t**t, [1, -np.inf, np.inf, -np.inf]),
    "2.5 + t": (lambda t: t ** (2.5 + t), [0, 0, 0, np.inf]),
    "3 + t^2": (lambda t: t ** (3 + t * t), [0, 0, 0, 6]),
    "of t^2": (lambda t: (t * t) ** (1 + t), [0, 0, 2, -np.inf]),
    "of 2 t": (lambda t: (2 * t) ** (2 - t), [0, 0, 8, np.inf]),
    "of nothing": (lambda t: (0 * t) ** (1 + t), [0, 0, 0, 0]),
    "2, held": (lambda t: t ** (2 + 0 * t), [0, 0, 2, 0]),
    "below zero": (lambda t: (t - 2) ** (3 + 0 * t), [-8, 12, -12, 6]),
    "a jump": (lambda t: (0 * t) ** t, [1, np.nan, np.nan, np.nan]),
}


@pytest.mark.parametrize("name", MOVING_EXPONENTS)
def test_exponents_that_move(x64, name):
    fun, derivatives = MOVING_EXPONENTS[name]
    for method in ("series", "auto"):
        rows = jit(taylor(fun, 3, method=method))(0.0, 1.0)
        np.testing.assert_allclose(rows * np.array([1, 1, 2, 6]), derivatives, rtol=1e-14, err_msg=method)
    assert jnp.isnan(jax.grad(lambda x: taylor(lambda t: t ** (2 + t), 1, method="series")(x, 1.0)[1])(0.0))


# name: a function with a pole, or without a slope, at 0
STANDING = {
    "gammaln": jax.scipy.special.gammaln,
    "gamma": jax.scipy.special.gamma,
    "digamma": jax.scipy.special.digamma,
    "polygamma": lambda x: jax.scipy.special.polygamma(1, x),
    "zeta": lambda x: jax.scipy.special.zeta(1 + x, 1.0),
    "betaln": lambda x: jax.scipy.special.betaln(x, x + 1),
    "atan2": lambda x: jnp.arctan2(x, 2 * x),
    "hypot": lambda x: jnp.hypot(x, 2 * x),
    "xlogy": lambda x: jax.scipy.special.xlogy(x, x),
    "xlog1py": lambda x: jax.scipy.special.xlog1py(x - 1, x - 1),
    "entr": jax.scipy.special.entr,
    "gammainc": lambda x: jax.scipy.special.gammainc(0.5, x),
    "betainc": lambda x: jax.scipy.special.betainc(0.5, 0.5, x / 5),
    "logit": lambda x: jax.scipy.special.logit(x / 5),
    "overflow": lambda x: jnp.exp(1 / x),
}


@pytest.mark.parametrize("name", STANDING)
def test_what_stands_still_at_a_singular_point(x64, name):
    fun = STANDING[name]
    wanted = taylor(fun, 2, method="nested")(jnp.array([1.0, 2.5]), jnp.array([1.0, 0.5]))
    for method in ("series", "auto"):
        rows = jit(taylor(fun, 2, method=method))(jnp.array([0.0, 1.0, 2.5]), jnp.array([0.0, 1.0, 0.5]))
        np.testing.assert_array_equal(rows[1:, 0], 0, err_msg=method)
        np.testing.assert_allclose(rows[:, 1:], wanted, rtol=1e-9, atol=1e-15, err_msg=method)
