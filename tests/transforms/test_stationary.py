"""The second derivative test against closed forms, and Lanczos' method against the dense Hessian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcalc
from jaxcalc import minimize
from jaxcalc.transforms import StationaryKind, classify_stationary_point, second_derivative_test
from jaxcalc.transforms.stationary import eigenvalue_rounding
from tests.tolerance import ulps

BOWL = lambda p: p[0] ** 2 + 3 * p[1] ** 2
ORIGIN = (0.0, 0.0)
CLOSED_FORMS = {
    "bowl": (BOWL, ORIGIN, "minimum", [2.0, 6.0]),
    "dome": (lambda p: -BOWL(p), ORIGIN, "maximum", [-6.0, -2.0]),
    "saddle": (lambda p: p[0] ** 2 - p[1] ** 2, ORIGIN, "saddle", [-2.0, 2.0]),
    "monkey saddle": (lambda p: p[0] ** 3 - 3 * p[0] * p[1] ** 2, ORIGIN, "degenerate", [0.0, 0.0]),
    "trough": (lambda p: p[0] ** 2 + p[1] ** 4, ORIGIN, "degenerate", [0.0, 2.0]),
    "saddle with a flat direction": (lambda p: p[0] ** 2 - p[1] ** 2, (0.0, 0.0, 5.0), "saddle", [-2.0, 0.0, 2.0]),
    "slope": (lambda p: BOWL(p) + p[0], ORIGIN, "not stationary", [2.0, 6.0]),
    "side of the bowl": (BOWL, (1.0, 0.0), "not stationary", [2.0, 6.0]),
    "side of the dome": (lambda p: -BOWL(p), (0.0, 1.0), "not stationary", [-6.0, -2.0]),
    "one variable": (lambda p: jnp.cos(p[0]), (0.0,), "maximum", [-1.0]),
    "constant": (lambda p: 0 * p[0] + 7, ORIGIN, "degenerate", [0.0, 0.0]),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(x64, name, dtype):
    fun, x, kind, eigenvalues = CLOSED_FORMS[name]
    for transform in (lambda f: f, jax.jit):
        point = transform(lambda x, fun=fun: classify_stationary_point(fun, x))(jnp.asarray(x, dtype))
        assert point.kind == kind and point.explain().startswith(kind)
        # Eigenvalue solvers round to the size of the largest.
        largest = max(map(abs, eigenvalues), default=0.0)
        np.testing.assert_allclose(point.eigenvalues, eigenvalues, rtol=0, atol=ulps(4, dtype) * largest)
        assert point.eigenvalues.dtype == point.gradient_norm.dtype == point.zero.dtype == dtype
        assert bool(point.stationary) == (kind != "not stationary")
    assert point.gradient_norm == abs(jax.grad(fun)(jnp.asarray(x, dtype))).max()


@pytest.mark.parametrize("power", [3, 4, 5, 6])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_power_is_degenerate_beside_its_stationary_point_too(x64, power, sign):
    """The gradient passes for zero there, and the curvature is positive: that makes no minimum of ``x^3``."""
    for x in (0.0, 1e-5, -1e-5, 5e-5):
        point = classify_stationary_point(lambda x: sign * x**power, x)
        assert point.stationary and point.kind == "degenerate"


@pytest.mark.parametrize("power", [4, 6])
def test_where_a_solver_stops_beside_a_degenerate_minimum(x64, power):
    fun = lambda x: jnp.sum(x**power)
    solution = minimize(fun, jnp.ones(2))
    assert solution.success and classify_stationary_point(fun, solution.x).kind == "degenerate"


def test_where_a_solver_stops_beside_a_regular_minimum(x64):
    fun = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
    for method in ("bfgs", "trust-region"):
        point = classify_stationary_point(fun, minimize(fun, jnp.array([-1.2, 1.0]), method=method).x)
        assert point.kind == "minimum"
        assert float(point.eigenvalues[0]) == pytest.approx(501 - np.sqrt(501**2 - 400), rel=1e-3)


def test_an_offset_makes_no_slope_stationary(x64):
    assert classify_stationary_point(lambda x: 1e12 + x**2, 1.0).kind == "not stationary"
    stiff = lambda p: 1e10 * p[0] ** 2 + p[1] ** 2
    assert classify_stationary_point(stiff, jnp.array([0.0, 0.5])).kind == "not stationary"
    assert classify_stationary_point(stiff, jnp.array([0.0, 0.5]), tol=2.0).kind == "minimum"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_rank_deficient_squares_are_degenerate(x64, dtype, sign):
    rng = np.random.default_rng(0)
    design = jnp.asarray(rng.standard_normal((12, 8)) @ rng.standard_normal((8, 20)), dtype)
    point = classify_stationary_point(lambda w: sign * jnp.sum((design @ w) ** 2) / 2, jnp.zeros(20, dtype))
    assert point.kind == "degenerate"
    assert (abs(point.eigenvalues) <= point.zero).sum() == 12


def test_the_level_of_zero_may_be_chosen():
    fun = lambda p: p[0] ** 2 + 1e-3 * p[1] ** 2
    assert classify_stationary_point(fun, jnp.zeros(2)).kind == "minimum"
    point = classify_stationary_point(fun, jnp.zeros(2), zero=1e-2)
    assert point.kind == "degenerate" and float(point.zero) == pytest.approx(0.02)


def test_pytrees_scalars_arguments_and_nothing():
    tree = {"a": jnp.zeros(2), "b": (0.0, jnp.zeros((1, 2)))}
    fun = lambda t, c: jnp.sum(t["a"] ** 2) + c * t["b"][0] ** 2 + jnp.sum(t["b"][1] ** 2)
    point = classify_stationary_point(fun, tree, -4.0)
    assert point.kind == "saddle" and jax.tree.structure(point.direction) == jax.tree.structure(tree)
    assert abs(point.direction["b"][0]) == 1 and not point.direction["a"].any()
    assert float(fun(point.direction, -4.0)) == -4.0
    assert classify_stationary_point(lambda x: x**2, 0).kind == "minimum"
    assert classify_stationary_point(fun, tree, 4.0).kind == "minimum"
    nothing = classify_stationary_point(jnp.sum, jnp.zeros(0))
    assert nothing.kind == "degenerate" and nothing.eigenvalues.shape == (0,) and "degenerate" in nothing.explain()


def test_lanes_have_a_kind_each():
    ends = jnp.array([1.0, -1.0, 0.0, jnp.nan])
    points = jax.jit(jax.vmap(lambda a: classify_stationary_point(lambda p: p[0] ** 2 + a * p[1] ** 2, jnp.zeros(2))))(
        ends
    )
    assert points.kind.tolist() == ["minimum", "saddle", "degenerate", "undecided"]
    assert points.eigenvalues.shape == (4, 2) and points.explain().splitlines()[1].startswith("1 of 4 lanes saddle")
    with pytest.raises(TypeError, match="traced"):
        jax.jit(lambda x: classify_stationary_point(BOWL, x).kind)(jnp.zeros(2))


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize(
    "fun",
    [
        lambda p: jnp.sum(p**2) + jnp.nan,
        lambda p: jnp.sum(p) * jnp.nan,
        lambda p: jnp.sum(jnp.sqrt(p)),
        lambda p: jnp.sum(p**2) * jnp.where(p[0] == 0, jnp.nan, 1.0),
        lambda p: jnp.sum(p**2) * jnp.inf,
        lambda p: jnp.sum(jnp.abs(p) ** 1.5),
    ],
)
def test_what_is_not_finite_is_undecided(fun, method):
    assert classify_stationary_point(fun, jnp.zeros(3), method=method).kind == "undecided"


def test_a_point_that_is_not_a_number_is_undecided():
    assert classify_stationary_point(BOWL, jnp.array([jnp.nan, 0.0])).kind == "undecided"
    assert classify_stationary_point(BOWL, jnp.array([0.0, jnp.inf])).kind == "undecided"


def spectrum(n, least, most):
    """A quadratic of known eigenvalues in a random orthogonal frame of few reflections."""
    values = jnp.linspace(1.0, 2.0, n).at[0].set(least).at[-1].set(most)
    mirror = jax.random.normal(jax.random.key(1), (n,))
    mirror = mirror / jnp.linalg.norm(mirror)
    return lambda p: jnp.sum(values * (p - 2 * mirror * (mirror @ p)) ** 2) / 2


@pytest.mark.parametrize(
    ("least", "most", "kind"),
    [(0.5, 3.0, "minimum"), (-0.5, 3.0, "saddle"), (0.0, 3.0, "degenerate"), (-1e-3, 3.0, "saddle")],
)
def test_lanczos_finds_the_ends_of_a_known_spectrum(x64, least, most, kind):
    fun, n = spectrum(2000, least, most), 2000
    for sign in (1.0, -1.0):
        found = jax.jit(lambda x, sign=sign: classify_stationary_point(lambda p: sign * fun(p), x))(jnp.zeros(n))
        wanted = {"minimum": "maximum"}.get(kind, kind) if sign < 0 else kind
        assert found.kind == wanted and found.eigenvalues.shape == (2,)
        np.testing.assert_allclose(found.eigenvalues, sorted((sign * least, sign * most)), atol=1e-9)
    assert float(fun(found.direction)) * 2 == pytest.approx(most, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_lanczos_with_as_many_products_as_variables_is_the_dense_spectrum(x64, n):
    matrix = np.random.default_rng(n).standard_normal((n, n))
    fun = lambda p: p @ (matrix + matrix.T) @ p / 2 + jnp.sum(p**3)
    dense, lanczos = (classify_stationary_point(fun, jnp.zeros(n), method=m) for m in ("dense", "lanczos"))
    assert dense.kind == lanczos.kind
    np.testing.assert_allclose(lanczos.eigenvalues, dense.eigenvalues[np.array([0, -1])], atol=1e-11)


def test_lanczos_leaves_an_invariant_space():
    """Of a multiple of the identity, and of a projection: the first space ends at once."""
    assert classify_stationary_point(lambda p: jnp.sum(p**2), jnp.zeros(300)).kind == "minimum"
    assert classify_stationary_point(lambda p: -jnp.sum(p**2), jnp.zeros(300)).kind == "maximum"
    assert classify_stationary_point(lambda p: jnp.sum(p) ** 2, jnp.zeros(300)).kind == "degenerate"
    assert classify_stationary_point(lambda p: 0 * jnp.sum(p), jnp.zeros(300)).kind == "degenerate"


def test_an_end_that_lanczos_does_not_reach_is_undecided(x64):
    """Its least value is an upper bound of the least eigenvalue, so that a positive one proves nothing by itself."""
    fun = lambda p: jnp.sum(jnp.linspace(1e-6, 1.0, 1000) * p**2) / 2
    point = classify_stationary_point(fun, jnp.zeros(1000), num_products=10)
    assert point.kind == "undecided" and "num_products" in point.explain()
    assert classify_stationary_point(fun, jnp.zeros(1000), method="dense").kind == "minimum"


def test_bare_eigenvalues():
    codes = second_derivative_test(
        [[1.0, 2.0], [-2.0, -1.0], [-1.0, 1.0], [0.0, 1.0], [1e-9, 1.0], [jnp.nan, 1.0], [jnp.inf, 1.0]]
    )
    names = ["MINIMUM", "MAXIMUM", "SADDLE", "DEGENERATE", "DEGENERATE", "UNDECIDED", "UNDECIDED"]
    assert [StationaryKind(code).name for code in np.asarray(codes)] == names and codes.dtype == jnp.int32
    assert second_derivative_test([2.0, -1.0, 0.0]) == StationaryKind.SADDLE  # in any order
    assert second_derivative_test([1e-9, 1.0], zero=1e-10) == StationaryKind.MINIMUM
    assert second_derivative_test([1.0], zero=2.0) == StationaryKind.DEGENERATE
    np.testing.assert_array_equal(second_derivative_test(jnp.zeros((2, 0))), [StationaryKind.DEGENERATE] * 2)
    assert float(eigenvalue_rounding(jnp.array([-4.0, 1, 1, 1]))) == 16 * 2 * 2.0**-23 * 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: classify_stationary_point(3, 0.0), TypeError, "fun must be a function"),
        (lambda: classify_stationary_point(jnp.sin, jnp.ones(2)), TypeError, r"must return a scalar, got shape \(2,\)"),
        (lambda: classify_stationary_point(jnp.sum, 1j), TypeError, "x must be of real floating-point"),
        (
            lambda: classify_stationary_point(jnp.sum, 1.0, method="sparse"),
            ValueError,
            "one of 'auto', 'dense', 'lanczos'",
        ),
        (lambda: classify_stationary_point(jnp.sum, 1.0, tol=-1.0), ValueError, "tol must be at least 0"),
        (
            lambda: classify_stationary_point(jnp.sum, 1.0, num_products=0),
            ValueError,
            "num_products must be at least 1",
        ),
        (lambda: second_derivative_test([1j]), TypeError, "eigvalsh"),
        (lambda: second_derivative_test(1.0), ValueError, "must have an axis"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_it_is_public():
    assert jaxcalc.classify_stationary_point is classify_stationary_point
