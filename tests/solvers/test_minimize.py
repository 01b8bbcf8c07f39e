"""minimize: every method meets one contract, success is true, failure is told apart, lanes do not touch each other."""

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from jaxcalc.functions import problems
from jaxcalc.solvers import (
    METHODS,
    Solver,
    Status,
    adam,
    bfgs,
    first_order,
    fixed_point,
    gradient_descent,
    least_squares,
    minimize,
    newton,
    newton_cg,
    root,
    start_at,
    trust_region,
)
from tests.tolerance import assert_close

BOWL, ROSENBROCK = problems.bowl(), problems.rosenbrock()
SEARCHING = [name for name in METHODS if name not in ("sgd", "momentum", "nesterov", "adam", "adamw")]
BOXED = [name for name in SEARCHING if METHODS[name]().boxes]


@functools.cache
def solved(method, history="none"):
    """Rosenbrock's valley, from where the literature begins."""
    with jax.enable_x64(True):
        return minimize(ROSENBROCK.function, ROSENBROCK.start, method=method, max_steps=20_000, history=history)


def stationarity(fun, x):
    return float(jnp.max(jnp.abs(jax.grad(fun)(x))))


@pytest.mark.parametrize("method", SEARCHING)
def test_every_method_solves_the_valley(x64, method):
    solution = solved(method)
    assert solution.success and int(solution.status) == Status.CONVERGED
    np.testing.assert_allclose(solution.x, ROSENBROCK.optimum, atol=1e-6)
    # The truth, evaluated from outside.
    assert_close(solution.value, ROSENBROCK.function(solution.x), 16, scale=1)
    assert stationarity(ROSENBROCK.function, solution.x) <= float(solution.tol)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_solves_the_bowl_in_single_precision(method):
    solution = minimize(BOWL.function, jnp.asarray(BOWL.start, jnp.float32), method=method)
    assert solution.x.dtype == jnp.float32
    assert float(solution.tol) == pytest.approx(3.45e-4, rel=0.01)
    if method == "adamw":  # its decay holds it off the optimum only where that is not the origin
        np.testing.assert_allclose(solution.x, 0, atol=1e-3)
    assert bool(solution.success) == (stationarity(BOWL.function, solution.x) <= float(solution.tol))
    assert solution.success, solution.explain()


@pytest.mark.parametrize("method", SEARCHING)
def test_lanes_are_what_each_start_gives_alone(x64, method):
    starts = jnp.asarray([[-1.2, 1.0], [0.5, 0.5], [1.0, 1.0], [jnp.nan, 0.0]])
    run = lambda x: minimize(ROSENBROCK.function, x, method=method, max_steps=60, history="every 7")
    together = jax.vmap(run)(starts)
    for lane, start in enumerate(starts):
        alone = run(start)
        assert int(alone.status) == int(together.status[lane])
        assert int(alone.num_steps) == int(together.num_steps[lane])
        np.testing.assert_allclose(together.x[lane], alone.x, rtol=1e-6, atol=1e-7)
        if lane < 3:
            np.testing.assert_array_equal(np.isnan(together.history["value"][lane]), np.isnan(alone.history["value"]))
            np.testing.assert_allclose(together.history["value"][lane], alone.history["value"], rtol=1e-4, atol=1e-12)
    assert int(together.status[3]) == Status.NONFINITE and int(together.num_steps[3]) == 0
    assert int(together.num_steps[2]) == 0  # the optimum itself


def test_lanes_over_numbers_and_starts_are_one_loop(x64):
    rates, starts = jnp.asarray([0.1, 0.2]), jnp.asarray([[4.0, 2.0], [1.0, 1.0], [0.0, 3.0]])

    @jax.jit
    def grid(rates, starts):
        one = lambda x, rate: minimize(BOWL.function, x, method=gradient_descent(rate), max_steps=100)
        return jax.vmap(lambda x: jax.vmap(lambda rate: one(x, rate))(rates))(starts)

    found = grid(rates, starts)
    assert found.x.shape == (3, 2, 2) and found.status.shape == (3, 2)
    for i, j in np.ndindex(3, 2):
        alone = minimize(BOWL.function, starts[i], method=gradient_descent(rates[j]), max_steps=100)
        assert_close(found.x[i, j], alone.x, 64)
        assert int(found.num_steps[i, j]) == int(alone.num_steps)
    loops = str(jax.make_jaxpr(grid)(rates, starts)).count("while[")
    assert loops == 2  # the steps, and the ray that a run without end is followed along


@pytest.mark.parametrize(
    ("fun", "start", "options", "status"),
    [
        (lambda x: jnp.sum(x**2), [3.0], {"method": gradient_descent(1.1), "max_steps": 5}, Status.DIVERGED),
        (lambda x: jnp.sum(x**2), [3.0], {"method": gradient_descent(1.1)}, Status.DIVERGED),
        (lambda x: jnp.sum(x**4), [3.0], {"method": gradient_descent(1.0)}, Status.DIVERGED),
        (lambda x: jnp.sum(x**2), [3.0], {"method": gradient_descent(1e-3), "max_steps": 5}, Status.OUT_OF_STEPS),
        (lambda x: jnp.sum(jnp.log(x)), [-1.0], {}, Status.NONFINITE),
        (lambda x: jnp.sum(jnp.sqrt(x) - 3 * jnp.sqrt(x)), [1.0], {"method": gradient_descent(-1.0)}, Status.NONFINITE),
        (lambda x: jnp.sum(jnp.abs(x) ** 1.5) + jnp.sum(jnp.abs(x)), [3.0], {"method": "l-bfgs"}, Status.STALLED),
        (lambda x: -jnp.sum(x**2), [3.0], {}, Status.UNBOUNDED),
        (lambda x: jnp.sum(x), [3.0], {"method": "newton-cg"}, Status.UNBOUNDED),
        (lambda x: jnp.sum(x), [3.0], {"method": gradient_descent(0.1), "max_steps": 9}, Status.UNBOUNDED),
        (lambda x: jnp.sum(x + 0.4 * jnp.cos(2 * x)), [3.0], {"method": "newton-cg", "max_steps": 9}, Status.UNBOUNDED),
        (lambda x: jnp.sum(jnp.exp(-x)), [3.0], {"method": gradient_descent(0.1), "max_steps": 9}, Status.OUT_OF_STEPS),
        (lambda x: jnp.sum(x**3), [-1.0], {"method": "l-bfgs"}, Status.UNBOUNDED),
    ],
)
def test_failures_are_told_apart(x64, fun, start, options, status):
    solution = minimize(fun, jnp.asarray(start), **options)
    assert Status(int(solution.status)) == status
    assert not solution.success
    assert status.name.lower().replace("_", " ").replace("nonfinite", "not finite") in solution.explain()
    if status != Status.NONFINITE:
        assert np.isfinite(solution.x).all() and np.isfinite(solution.value)


def test_a_solver_that_lies_is_found_out(x64):
    def step(objective, at):
        return at._replace(gradient=jnp.zeros_like(at.gradient))

    liar = Solver("liar", start_at, step)
    solution = minimize(BOWL.function, BOWL.start, method=liar)
    assert int(solution.status) == Status.STALLED
    np.testing.assert_allclose(solution.gradient_norm, np.linalg.norm(BOWL.gradient(BOWL.start)))


@pytest.mark.parametrize("method", BOXED)
def test_bounds_against_scipy(x64, method):
    lower, upper = np.array([-1.5, -0.5, 0.0, -2.0]), np.array([0.5, 2.0, 0.3, np.inf])
    fun = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    solution = minimize(fun, jnp.asarray([-1.0, 1.0, 5.0, 1.0]), method=method, bounds=(lower, upper))
    assert solution.success, solution.explain()
    assert np.all(solution.x >= lower) and np.all(solution.x <= upper)
    peer = scipy.optimize.minimize(fun, solution.x, jac=jax.grad(fun), bounds=list(zip(lower, upper)), tol=1e-12)
    assert float(solution.value) == pytest.approx(peer.fun, rel=1e-9)
    gradient = jax.grad(fun)(solution.x)
    held = solution.multipliers.lower - solution.multipliers.upper
    np.testing.assert_allclose(gradient, held, atol=1e-6 * max(1, float(solution.value)))
    assert np.all(solution.multipliers.lower >= 0) and np.all(solution.multipliers.upper >= 0)


def test_a_fixed_variable_stays(x64):
    solution = minimize(BOWL.function, BOWL.start, bounds=(jnp.array([2.0, -9.0]), jnp.array([2.0, 9.0])))
    np.testing.assert_allclose(solution.x, [2.0, 0.0], atol=1e-9)
    assert solution.success


def test_a_convex_quadratic_in_a_box_at_many_sizes(x64):
    for n in (1, 3, 40, 300):
        problem = problems.quadratic(50.0 if n > 1 else 1.0, dimension=n)
        shifted = lambda x: problem.function(x) - jnp.sum(jnp.sin(jnp.arange(n) * 1.0) * x)  # noqa: B023
        solution = minimize(shifted, np.ones(n), bounds=(-0.1, 0.1))
        assert solution.success, (n, solution.explain())
        x, g = np.asarray(solution.x), np.asarray(jax.grad(shifted)(solution.x))
        assert np.max(np.abs(x - np.clip(x - g, -0.1, 0.1))) <= 1e-7


def test_trees_parameters_and_closures(x64):
    scale = jnp.asarray(2.0)
    fun = lambda p, target: scale * jnp.sum((p["a"] - target) ** 2) + jnp.sum(p["b"] ** 4)
    start = {"a": jnp.zeros((2, 3)), "b": jnp.ones(())}
    target = jnp.arange(6.0).reshape(2, 3)
    solution = minimize(fun, start, target)
    np.testing.assert_allclose(solution.x["a"], target, atol=1e-6)
    assert solution.x["b"].shape == ()
    bounded = minimize(fun, start, target, bounds=({"a": -1.0, "b": 0.5}, {"a": jnp.full((2, 3), 2.0), "b": 3.0}))
    np.testing.assert_allclose(bounded.x["a"], np.minimum(target, 2.0), atol=1e-6)
    np.testing.assert_allclose(bounded.x["b"], 0.5)


@pytest.mark.parametrize("n", [3, 300])
@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
def test_derivative_of_the_solution_by_its_closed_form(x64, n, jacobian):
    weights = 1.0 + jnp.arange(n) % 7
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((n, 2)))
    fun = lambda x, a: jnp.sum(weights * (x - matrix @ a) ** 2) + 0.5 * jnp.sum(x) ** 2
    at = lambda a: minimize(fun, jnp.zeros(n), a, tol=1e-12).x
    # (2 W + 1 1') x = 2 W M a
    system = 2 * np.diag(weights) + np.ones((n, n))
    exact = np.linalg.solve(system, 2 * np.asarray(weights)[:, None] * np.asarray(matrix))
    np.testing.assert_allclose(jacobian(at)(jnp.array([0.3, -1.0])), exact, rtol=1e-6, atol=1e-9)


def test_derivatives_with_bounds_closures_lanes_and_values(x64):
    def at(a):
        return minimize(lambda x: jnp.sum((x - a) ** 2), jnp.zeros(3), bounds=(-1.0, a[1])).x

    a = jnp.array([0.5, 1.0, 2.0])
    exact = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert_close(jax.jacrev(at)(a), exact, 16, scale=1)
    assert_close(jax.vmap(jax.jacfwd(at))(jnp.stack([a, a + 0.1])), [exact, exact], 16, scale=1)
    value = lambda a: minimize(lambda x: jnp.sum((x - a) ** 2) + jnp.sum(a**2), jnp.zeros(3)).value
    np.testing.assert_allclose(jax.grad(value)(a), 2 * a, atol=1e-7)  # the envelope theorem


def test_a_failed_solve_has_no_derivative(x64):
    at = lambda a: minimize(
        lambda x, a: jnp.sum((x - a) ** 2), jnp.zeros(1), a, method=gradient_descent(0.01), max_steps=3
    )
    assert np.isnan(jax.grad(lambda a: at(a).x[0])(2.0))


def test_history_is_the_run(x64):
    solution = solved("l-bfgs", "full")
    data = solution.history.dataset()
    assert data.sizes["step"] == int(solution.num_steps) + 1
    assert float(data["value"][0]) == pytest.approx(24.2)
    assert_close(data["value"][-1], solution.value, 4, scale=1)
    assert int(data["gradients"][-1]) == int(solution.evaluations.gradients)
    assert np.all(np.diff(data["value"]) <= 0)
    assert set(data.data_vars) >= {"gradient_norm", "step_length", "trials", "functions", "hvps"}
    assert len(solution.history.plot().axes) == 3
    with pytest.raises(KeyError, match="no 'radius'; it has: functions"):
        solution.history["radius"]
    radius = solved("trust-region", "full").history["trust_radius"]
    assert float(radius[0]) == 1.0


def test_every_kth_step(x64):
    every = minimize(BOWL.function, BOWL.start, method=gradient_descent(0.1), max_steps=20, tol=0.0, history="every 5")
    full = minimize(BOWL.function, BOWL.start, method=gradient_descent(0.1), max_steps=20, tol=0.0, history="full")
    np.testing.assert_array_equal(every.history["value"], full.history["value"][::5])
    np.testing.assert_array_equal(every.history.steps, [0, 5, 10, 15, 20])


def test_minibatches_end_near_and_say_so(x64):
    features = jnp.asarray(np.random.default_rng(1).standard_normal((64, 3)))
    targets = features @ jnp.array([1.0, -2.0, 0.5])
    loss = lambda w, X, y: jnp.mean((X @ w - y) ** 2)

    def batches(key):
        rows = jax.random.choice(key, 64, (8,), replace=False)
        return features[rows], targets[rows]

    run = lambda key, steps: minimize(
        loss, jnp.zeros(3), features, targets, method=adam(0.05), batches=batches, key=key, max_steps=steps
    )
    solution = run(jax.random.key(0), 2000)
    assert solution.success  # an exact fit has no noise at its optimum
    np.testing.assert_allclose(solution.x, [1.0, -2.0, 0.5], atol=1e-6)
    assert int(solution.num_steps) == 2000
    lanes = jax.vmap(lambda key: run(key, 20))(jax.random.split(jax.random.key(1), 3))
    assert np.ptp(np.asarray(lanes.value)) > 0 and not np.any(lanes.success)


def test_optax_transformations_are_methods(x64):
    ours = minimize(BOWL.function, BOWL.start, method=adam(0.1), max_steps=30, tol=0.0).x
    theirs = minimize(BOWL.function, BOWL.start, method=optax.adam(0.1), max_steps=30, tol=0.0).x
    x, state = jnp.asarray(BOWL.start), optax.adam(0.1).init(jnp.asarray(BOWL.start))
    for _ in range(30):
        update, state = optax.adam(0.1).update(jax.grad(BOWL.function)(x), state)
        x = optax.apply_updates(x, update)
    assert_close(ours, x, 32)
    assert_close(theirs, x, 32)
    assert first_order(optax.sgd(0.1)).name == "first-order"


def test_a_repeated_call_does_not_trace_again():
    traces = []

    def fun(x, a):
        traces.append(1)
        return jnp.sum((x - a) ** 2)

    minimize(fun, jnp.zeros(2), 1.0, method=gradient_descent(0.1))
    seen = len(traces)
    for rate, a in ((0.1, 2.0), (0.2, 3.0)):
        solution = minimize(fun, jnp.ones(2), a, method=gradient_descent(rate))
        np.testing.assert_allclose(solution.x, a, atol=1e-3)
    assert len(traces) == seen


@pytest.mark.parametrize(("size", "outside"), [(3, False), (50, False), (3, True)])
def test_without_a_second_derivative_auto_goes_without(x64, size, outside):
    """A custom_vjp has no forward mode, whether its backward pass is JAX's or a callback."""

    @jax.custom_vjp
    def square(x):
        return jnp.sum((x - 1) ** 2)

    def backward(x, cotangent):
        like = jax.ShapeDtypeStruct(x.shape, x.dtype)
        slope = jax.pure_callback(lambda x: 2 * (np.asarray(x) - 1), like, x) if outside else 2 * (x - 1)
        return (cotangent * slope,)

    square.defvjp(lambda x: (square(x), x), backward)
    solution = minimize(square, jnp.zeros(size))
    assert solution.success and int(solution.evaluations.hessians) == 0 == int(solution.evaluations.hvps)


def test_auto_scales(x64):
    fun = lambda x: jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)
    solution = minimize(fun, jnp.tile(jnp.array([-1.2, 1.0]), 5_000))
    assert solution.success and int(solution.evaluations.hvps) > 0 == int(solution.evaluations.hessians)


def test_a_saddle_is_left(x64):
    fun = lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4
    for method in ("trust-region", "newton-cg"):
        found = minimize(fun, jnp.array([1.0, 1e-3]), method=method)
        assert abs(float(found.x[1])) == pytest.approx(0.5**0.5)
    assert float(minimize(fun, jnp.array([1.0, 1e-9]), method=newton()).value) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: minimize(lambda x: x, jnp.zeros(2)), TypeError, r"must return a scalar, got shape \(2,\)"),
        (lambda: minimize(lambda x: jnp.sum(x).astype(int), jnp.zeros(2)), TypeError, "real floating-point numbers"),
        (lambda: minimize(jnp.sum, jnp.zeros(0)), ValueError, "x0 holds no numbers"),
        (lambda: minimize(jnp.sum, {}), ValueError, "x0 holds no numbers"),
        (lambda: minimize(jnp.sum, jnp.zeros(2, int)), TypeError, "real floating-point numbers, got int"),
        (lambda: minimize(jnp.sum, jnp.zeros(2) + 1j), TypeError, "real floating-point numbers, got complex"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), method="sqp"), ValueError, "method must be one of 'auto',"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), method=3), TypeError, "or a Solver or an optax"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), bounds=(1.0, 0.0)), ValueError, r"bounds cross at index \(0,\)"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), bounds=(jnp.nan, 0.0)), ValueError, "bounds cross"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), bounds=(jnp.zeros(3), 1.0)), ValueError, "must have x0's shape"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), bounds=1.0), ValueError, "must be a tuple"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), bounds=np.array([[0, 1]] * 2)), ValueError, "as SciPy takes them"),
        (lambda: minimize(jnp.sum, np.ma.array([1.0, 2.0], mask=[0, 1])), ValueError, "x0 must be without masked"),
        (lambda: fixed_point(jnp.cos, np.ma.array([1.0], mask=[1])), ValueError, "x0 must be without"),
        (lambda: minimize(lambda x, a: x @ a, jnp.ones(1), np.ma.array([1.0], mask=[1])), ValueError, "args must be"),
        (lambda: fixed_point(jnp.cos, "a"), TypeError, "fixed_point: x0 must be made of numbers and arrays, got 'a'"),
        (lambda: gradient_descent(np.inf), ValueError, "learning_rate must be finite, got inf"),
        (lambda: adam(jnp.nan), ValueError, "adam: learning_rate must be finite"),
        (lambda: adam("a"), TypeError, "adam: learning_rate must be a real number"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), tol=jnp.inf), ValueError, "tol must be finite and at least 0"),
        (lambda: least_squares(jnp.sin, np.ma.array([1.0], mask=[1])), ValueError, "least_squares: x0 must be without"),
        (lambda: minimize(jnp.sum, jnp.zeros(3), bounds=[(0, 1)] * 3), ValueError, "as SciPy takes them"),
        (lambda: newton_cg(max_products=0), ValueError, "max_products must be at least 1"),
        (lambda: trust_region(radius=0.0), ValueError, "radius must be above 0"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), bounds=(0.0, 1.0), method=bfgs()), ValueError, "not keep to bounds"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), history="all"), ValueError, "history must be one of"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), history="every 0"), ValueError, "'every k'"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), max_steps=-1), ValueError, "max_steps"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), tol=-1.0), ValueError, "tol must be finite and at least 0"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), key=jax.random.key(0)), ValueError, "go together"),
        (lambda: minimize(jnp.sum, jnp.zeros(2), equality=jnp.sum), NotImplementedError, "not offered yet"),
        (
            lambda: minimize(jnp.sum, jnp.zeros(2), history="full", max_steps=10**9),
            ValueError,
            r'more than the 1024 MiB allowed; lower max_steps or keep every k-th step by history="every k"',
        ),
    ],
)  # fmt: skip
def test_misuse_says_what_to_do(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_history_of_all_lanes_together_is_limited():
    starts = jnp.zeros((4096, 2))
    with pytest.raises(ValueError, match="in 4096 lanes"):
        jax.vmap(lambda x: minimize(BOWL.function, x, history="full", max_steps=100_000))(starts)


def test_no_steps_and_a_start_at_the_optimum(x64):
    assert int(minimize(BOWL.function, BOWL.start, max_steps=0).status) == Status.OUT_OF_STEPS
    there = minimize(BOWL.function, BOWL.optimum, max_steps=0)
    assert there.success and int(there.num_steps) == 0


def test_explain_counts_lanes(x64):
    starts = jnp.asarray([[1.0, 1.0], [jnp.inf, 0.0], [2.0, 1.0]])
    solution = jax.vmap(lambda x: minimize(BOWL.function, x))(starts)
    assert solution.explain().splitlines()[0].startswith("2 of 3 lanes converged")
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda x: minimize(BOWL.function, x).explain())(starts[0])


@pytest.mark.parametrize("method", ["auto", "l-bfgs"])
def test_an_offset_or_a_far_optimum_is_no_success_at_the_start(method):
    for fun, start in [
        (lambda x: jnp.sum((x - 6000) ** 2), 0.0),
        (lambda x: jnp.sum((x - 3) ** 2) + 1e5, 0.0),
        (lambda x: jnp.sum(x**4), 2e4),
        (lambda x: jnp.sum(x), 1e5),
    ]:
        solution = minimize(fun, jnp.full(2, start, jnp.float32), method=method)
        assert int(solution.num_steps) > 0
        slope = stationarity(fun, solution.x)
        assert not solution.success or slope <= 4e-4 * max(1.0, abs(float(solution.value))), (slope, solution.x)


def test_bounds_that_cross_when_it_runs(x64):
    fun = lambda x: jnp.sum((x - 5) ** 2)
    crossed = jax.jit(lambda low: minimize(fun, jnp.zeros(1), bounds=(low, 1.0)).status)
    assert int(crossed(2.0)) == Status.NONFINITE and int(crossed(0.0)) == Status.CONVERGED


def test_further_derivatives(x64):
    fun = lambda x, a: (x[0] - a) ** 2
    multiplier = lambda a: minimize(fun, jnp.zeros(1), a, bounds=(None, 1.0)).multipliers.upper[0]
    assert float(jax.grad(multiplier)(3.0)) == pytest.approx(2.0)
    complex_one = lambda a: minimize(lambda x, c: jnp.abs(x[0] - c) ** 2, jnp.zeros(1), a + 1j).x[0]
    assert float(jax.grad(complex_one)(3.0)) == pytest.approx(1.0)
    fixed = lambda b: minimize(lambda x: (x[0] - 3) ** 2, jnp.zeros(1), bounds=(jnp.array([b]), jnp.array([b]))).x[0]
    assert float(jax.grad(fixed)(3.0)) == 1.0


def test_minibatches_are_compared_with_the_whole(x64):
    data = jnp.arange(10.0)
    fun = lambda x, d: jnp.mean((x - d) ** 2)
    for seed in range(4):
        solution = minimize(
            fun,
            jnp.zeros(1),
            data,
            method=adam(1e-3),
            batches=lambda key: (jax.random.choice(key, data, (4,)),),
            key=jax.random.key(seed),
            max_steps=200,
        )
        assert int(solution.status) == Status.OUT_OF_STEPS


def test_other_precisions_and_mixed_ones(x64):
    for dtype in (jnp.bfloat16, jnp.float16):
        assert minimize(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(2, dtype)).x.dtype == dtype
    mixed = minimize(lambda x: jnp.sum((x - np.array([1.0, 2.0])) ** 2), jnp.zeros(2, jnp.float32))
    assert mixed.x.dtype == jnp.float32 and mixed.success
    with pytest.raises(ValueError, match="tol must be a scalar"):
        minimize(jnp.sum, jnp.zeros(2), tol=jnp.array([1e-3, 1e-8]))
    with pytest.raises(ValueError, match="at least 0 and at most 2147483647"):
        minimize(jnp.sum, jnp.zeros(2), max_steps=2**31)


def test_derivatives_of_many_ill_scaled_variables(x64):
    """Beyond 200 variables the implicit system is solved by products: it is scaled, and NaN where it was not solved."""
    weights = jnp.logspace(-4, 4, 201)

    def solution(p):
        return minimize(lambda x, p: jnp.sum(weights * (x - p) ** 2) / 2, jnp.zeros(201), p).x

    np.testing.assert_allclose(jax.jvp(solution, (1.0,), (1.0,))[1], 1.0, rtol=1e-8)
    assert float(jax.grad(lambda p: solution(p).mean())(1.0)) == pytest.approx(1.0)
    rotation = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (201, 201)))[0]
    dense = lambda p: minimize(lambda x, p: jnp.sum(weights * (rotation @ x - p) ** 2) / 2, jnp.zeros(201), p).x
    tangent = jax.jvp(dense, (1.0,), (1.0,))[1]
    right = rotation.T @ jnp.ones(201)
    assert np.isnan(tangent).all() or np.allclose(tangent, right, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [5, 31])
def test_a_start_without_a_second_derivative_is_left(x64, size):
    found = minimize(lambda x: jnp.sum(jnp.abs(x) ** 1.5 - x), jnp.zeros(size))
    assert found.success
    np.testing.assert_allclose(found.x, 4 / 9, rtol=1e-6)


@pytest.mark.parametrize("build", [adam, gradient_descent])
def test_rates_of_another_precision(x64, build):
    start = jnp.full(4, 1e8, jnp.float32)
    rates = jnp.linspace(0.01, 0.1, 3)
    solve = lambda rate: minimize(lambda x: jnp.sum(x), start, method=build(rate), history="full", max_steps=5)
    found = jax.vmap(solve)(rates)
    assert found.x.dtype == jnp.float32
    # The length is that of the step taken: nothing, where rounding holds the point.
    np.testing.assert_array_equal(found.history["step_length"][:, 1:6], 0.0)


# -- what a solve keeps, and what it takes --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "l-bfgs", "gradient-descent"])
@pytest.mark.parametrize("slope", [jnp.array([1.0, 1.0, 1.0]), jnp.array([2.0, 0.0, -1e-3])], ids=str)
def test_a_slope_without_end_is_unbounded(method, slope):
    solution = minimize(lambda x: slope @ x, jnp.array([1.0, 2.0, 3.0]), method=method)
    assert int(solution.status) == Status.UNBOUNDED


def test_one_norm_of_the_gradient_and_a_residual_within_bounds(x64):
    fun = lambda x: jnp.sum((x - 3) ** 2)
    free = minimize(
        lambda x: jnp.sum((x - 3) ** 4), jnp.ones(4), method="gradient-descent", max_steps=3, history="full"
    )
    np.testing.assert_allclose(free.gradient_norm, free.history["gradient_norm"][3])
    assert float(free.gradient_norm) > float(free.kkt_residual) > 0
    boxed = minimize(fun, jnp.zeros(4), bounds=(-1.0, 1.0), history="full")
    assert boxed.success and float(boxed.gradient_norm) == pytest.approx(8.0)
    left = np.asarray(boxed.history["kkt_residual"])
    left = left[np.isfinite(left)]
    assert left[0] == pytest.approx(1.0) and left[-1] == float(boxed.kkt_residual) == 0.0


class Scaled:
    """A callable that cannot be hashed, and an argument that is no array."""

    __hash__ = None

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * jnp.cos(x)


def test_arguments_need_not_be_arrays():
    fit = lambda x, target, shape: shape(x) - target
    loss = lambda x, target, shape: jnp.sum(fit(x, target, shape) ** 2)
    for shape in (jax.nn.softplus, Scaled(0.5)):
        expected = minimize(functools.partial(loss, target=0.3, shape=shape), jnp.ones(2)).x
        np.testing.assert_allclose(minimize(loss, jnp.ones(2), 0.3, shape).x, expected, rtol=1e-3)
        for solver in (least_squares, root):
            np.testing.assert_allclose(fit(solver(fit, jnp.ones(2), 0.3, shape).x, 0.3, shape), 0.0, atol=1e-3)
    assert fixed_point(Scaled(1.0), 1.0).success


class Bowl:
    """A function as an object, and as a method; it tells how often it is traced."""

    def __init__(self):
        self.traces = []

    def __call__(self, x):
        self.traces.append(1)
        return jnp.sum((x - 1) ** 2)

    def value(self, x):
        return self(x)


FORMS = {"function": lambda bowl: lambda x: bowl(x), "method": lambda bowl: bowl.value, "object": lambda bowl: bowl}


@pytest.mark.parametrize("form", FORMS)
def test_a_repeated_call_is_not_traced_and_a_dropped_function_is_let_go(form):
    bowl = Bowl()
    traces, fun = bowl.traces, FORMS[form](bowl)
    minimize(fun, jnp.zeros(2))
    seen = len(traces)
    minimize(bowl.value if form == "method" else fun, jnp.ones(2))
    assert len(traces) == seen
    gone = weakref.ref(bowl)
    del bowl, fun
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("solver", [least_squares, root, fixed_point])
def test_other_solvers_let_go_too(solver):
    offset = jnp.ones(3)
    fun = lambda x: 0.5 * x + offset
    solver(fun, jnp.zeros(3))
    gone = weakref.ref(fun)
    del fun
    gc.collect()
    assert gone() is None
