"""What a solve says of the curvature where it ended, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc import classify_stationary_point, minimize
from jaxcalc.solvers import METHODS, Status, least_squares, newton, root
from tests.tolerance import ulps

SADDLE = lambda p: p[0] ** 2 - p[1] ** 2
BOWL = lambda p: jnp.sum((p - 1.0) ** 2 * jnp.array([1.0, 3.0]))
CURVED = ("auto", "trust-region", "newton")
"""Methods that take the dense Hessian."""


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_a_start_on_a_saddle_is_stationary_and_no_minimum(method):
    solution = minimize(SADDLE, jnp.zeros(2), method=method)
    assert solution.success and solution.num_steps == 0
    words = solution.explain()
    assert words.startswith("converged: the stationarity test holds at the returned point")
    if method in CURVED:
        assert "yet it is no minimum: the least eigenvalue of the Hessian is -2" in words
        assert solution.second_order.least == pytest.approx(-2.0, rel=ulps(4, jnp.float32))
    else:
        assert (
            "no second-order check was made: classify_stationary_point(fun, x) tells a minimum from a saddle" in words
        )
        assert solution.second_order is None


def test_the_way_on_that_is_named_leads_off_the_saddle():
    point = classify_stationary_point(SADDLE, jnp.zeros(2))
    assert point.kind == "saddle" and SADDLE(1e-3 * point.direction) < 0
    bounded = lambda p: SADDLE(p) + p[1] ** 4
    on = minimize(bounded, 1e-3 * point.direction)
    assert on.success and "positive definite" in on.explain()
    assert abs(on.x[1]) == pytest.approx(0.5**0.5, rel=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("method", CURVED)
def test_a_minimum_is_told_with_its_least_eigenvalue(x64, method, dtype):
    solution = minimize(BOWL, jnp.zeros(2, dtype), method=method)
    assert solution.second_order.least.dtype == dtype and float(solution.second_order.least) == 2.0
    assert ", and the Hessian there is positive definite: its least eigenvalue is 2" in solution.explain()


@pytest.mark.parametrize("method", ["bfgs", "l-bfgs", "gradient-descent", "newton-cg"])
def test_methods_of_first_order_say_that_they_made_no_check(method):
    assert "no second-order check was made" in minimize(BOWL, jnp.zeros(2), method=method).explain()


def test_newtons_method_says_that_it_found_a_maximum():
    solution = minimize(lambda p: jnp.sum(jnp.cos(p)), jnp.array([0.3, -0.2]), method=newton())
    np.testing.assert_allclose(solution.x, 0, atol=1e-3)
    assert solution.success and "yet it is no minimum: the least eigenvalue of the Hessian is -1" in solution.explain()


@pytest.mark.parametrize(
    ("fun", "words"),
    [
        (lambda p: p[0] ** 3 - 3 * p[0] * p[1] ** 2, "second order does not decide: the least eigenvalue"),
        (lambda p: p[0] ** 2 + 0 * p[1], "second order does not decide: the least eigenvalue"),
        (lambda p: jnp.sum(jnp.abs(p) ** 1.5), "second order does not decide: the Hessian is not finite"),
    ],
)
def test_what_second_order_does_not_decide(fun, words):
    assert words in minimize(fun, jnp.zeros(2), method="trust-region").explain()


def test_what_did_not_converge_is_told_no_curvature():
    solution = minimize(BOWL, jnp.zeros(2), method="trust-region", max_steps=0)
    assert int(solution.status) == Status.OUT_OF_STEPS and "eigenvalue" not in solution.explain()


@pytest.mark.parametrize(
    ("fun", "start", "least"),
    [
        (lambda p: p[0] ** 2 - p[1] ** 2, [0.5, 1.0], 2.0),  # the concave variable is pushed onto its bound
        (lambda p: p[0] ** 2 - p[1] ** 2, [0.5, 0.0], -2.0),  # inside, it is on the ridge
        (lambda p: p[0] - p[1], [0.5, 0.5], None),  # a vertex: no variable is free
    ],
)
def test_within_bounds_only_free_variables_count(fun, start, least):
    solution = minimize(fun, jnp.array(start), method="trust-region", bounds=(-1.0, 1.0))
    assert solution.success
    if least is None:
        assert "positive definite" in solution.explain()
    else:
        assert float(solution.second_order.least) == pytest.approx(least, rel=ulps(4, jnp.float32))
    assert ("no minimum" in solution.explain()) == (least == -2.0)


@pytest.mark.parametrize(
    ("fun", "words"),
    [
        (lambda p: p[0] * p[1], "second order does not decide"),  # a minimum of the quadrant, indefinite all the same
        (lambda p: -p[0] * p[1], "second order does not decide"),  # none of it
        (lambda p: p[0] ** 2 + p[1] ** 2, "positive definite"),
    ],
)
def test_a_bound_that_does_not_push_leaves_it_open(fun, words):
    solution = minimize(fun, jnp.zeros(2), method="trust-region", bounds=(0.0, 1.0))
    assert solution.success and solution.num_steps == 0 and words in solution.explain()


def test_lanes_are_counted_by_what_they_are():
    starts = jnp.array([[0.0, 0.0], [0.0, 0.5], [jnp.nan, 0.0], [0.0, -0.6]])
    fun = lambda p: SADDLE(p) + p[1] ** 4
    solution = jax.vmap(lambda x: minimize(fun, x, method="trust-region"))(starts)
    lines = solution.explain().splitlines()
    assert [line[:22] for line in lines] == [
        "2 of 4 lanes converged",
        "1 of 4 lanes converged",
        "1 of 4 lanes not finit",
    ]
    assert "positive definite" in lines[0] and "no minimum" in lines[1]
    for lane in (0, 1, 3):
        alone = minimize(fun, starts[lane], method="trust-region")
        assert float(alone.second_order.least) == pytest.approx(float(solution.second_order.least[lane]), rel=1e-4)


def test_squares_and_roots():
    circle = lambda p: jnp.stack([p[0] ** 2 + p[1] ** 2 - 1, p[0] - p[1]])
    start = jnp.array([1.0, 0.5])
    assert "no second-order check was made" in least_squares(circle, start).explain()
    assert "positive definite" in least_squares(circle, start, method="trust-region").explain()
    for method in ("levenberg-marquardt", "trust-region"):
        assert (
            root(circle, start, method=method).explain()
            == "converged: the residuals vanish up to tol at the returned point"
        )


def test_a_solution_stays_differentiable():
    fun = lambda p, a: jnp.sum((p - a) ** 2) + jnp.sum(p**4)
    slope = jax.jacobian(lambda a: minimize(fun, jnp.zeros(2), a, method="trust-region").x)(jnp.array([1.0, 2.0]))
    x = minimize(fun, jnp.zeros(2), jnp.array([1.0, 2.0]), method="trust-region").x
    np.testing.assert_allclose(np.diag(slope), 1 / (1 + 6 * x**2), rtol=1e-3)


@pytest.mark.parametrize(
    ("fun", "words"),
    [
        (lambda v: jnp.exp(-v[0]) + v[1] ** 2, "goes 1 and leaves 0.37"),
        (lambda v: jnp.logaddexp(0.0, -v[0]) + v[1] ** 2, "goes 1 and leaves 0.37"),
        (lambda v: -jnp.sum(jnp.log(1 + v**2)), "leaves 0.5 of"),
        (lambda v: 1 / (1 + v[0] ** 2) + v[1] ** 2, "leaves 0.42 of"),
        (lambda v: jnp.sum(v**3), "leaves 0.25 of"),
        (lambda v: jnp.sum(v**4), "leaves 0.3 of"),
    ],
)
def test_a_gradient_that_fades_with_its_curvature_shows_no_minimum(x64, fun, words):
    """(1 - 1 / (p - 1))^(p - 1) of a power's gradient is left, 1 / e of an exponential's."""
    solution = minimize(fun, jnp.array([1.0, 2.0]))
    assert solution.success and "no minimum is shown" in solution.explain() and words in solution.explain()
    assert "positive definite" not in solution.explain()


@pytest.mark.parametrize("scale", [1e-12, 1e-30])
def test_a_small_multiple_says_that_the_tolerance_is_absolute(x64, scale):
    fun = lambda x: scale * jnp.sum(x**2)
    words = minimize(fun, jnp.ones(2)).explain()
    assert (
        "which is the start" in words
        and "goes 1:" in words
        and "the tolerance 1.5e-08 of the gradient is absolute" in words
    )
    assert "which is the start" in minimize(fun, jnp.ones(2), method="l-bfgs").explain()
    found = minimize(fun, jnp.ones(2), tol=1e-9 * scale)
    assert jnp.max(jnp.abs(found.x)) < 1e-8 and "positive definite: its least" in found.explain()
    # At the minimum nothing is left to say, nor beside it.
    for start in (jnp.zeros(2), jnp.full(2, 1e-9)):
        assert "distant" not in minimize(lambda x: jnp.sum(x**2) + 5, start).explain()


def test_ahead_within_bounds(x64):
    """The bound holds the first variable; the second fades."""
    fun = lambda v: v[0] + jnp.exp(-v[1])
    words = minimize(fun, jnp.ones(2), bounds=(0.0, np.inf)).explain()
    assert "no minimum is shown" in words
    assert (
        "positive definite"
        in minimize(lambda v: v[0] + (v[1] - 1) ** 2, jnp.ones(2) * 3, bounds=(0.0, np.inf)).explain()
    )
