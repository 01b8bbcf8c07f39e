"""Newton's method: one step on a quadratic, order two elsewhere, failure as data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import problems
from jaxcalc.solvers import Status, iterate, newton, order_of_convergence, solve_positive
from tests.tolerance import assert_close


def _errors(problem, solver, num_steps):
    return iterate(
        solver,
        problem.function,
        problem.start,
        num_steps=num_steps,
        record=lambda at: jnp.linalg.norm(at.x - problem.optimum),
    ).history


@pytest.mark.parametrize("factorization", ["lu", "cholesky"])
def test_one_step_solves_a_quadratic(x64, factorization):
    problem = problems.quadratic(100.0, dimension=6)
    errors = _errors(problem, newton(factorization=factorization), 1)
    assert errors[1] < 1e-12 * errors[0]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_step_needs_pivots(x64, size):
    """The Hessian of an indefinite quadratic with zeros on its diagonal; small ones are eliminated without LAPACK."""
    rng = np.random.default_rng(size)
    lanes = rng.standard_normal((50, size, size))
    lanes = lanes + lanes.transpose(0, 2, 1)
    lanes[:25, 0, 0] = 0.0 if size > 1 else 1.0
    right = rng.standard_normal((50, size))

    def step(matrix, b):
        fun = lambda x: x @ matrix @ x / 2 - b @ x
        return newton().advance(fun, newton().start(fun, jnp.zeros(size))).x

    assert_close(jax.vmap(step)(lanes, right), np.linalg.solve(lanes, right[..., None])[..., 0], 256, scale=1)


@pytest.mark.parametrize("build", [problems.exponential, problems.breast_cancer])
def test_order_two_where_the_hessian_is_regular(x64, build):
    assert float(order_of_convergence(_errors(build(), newton(), 12), 1e-13)) == pytest.approx(2.0, abs=0.1)


def test_two_thirds_a_step_where_it_is_not(x64):
    errors = np.asarray(_errors(problems.quartic(), newton(), 10))
    assert_close(errors[1:] / errors[:-1], 2 / 3, 32)


def test_rosenbrock_is_solved_in_seven_steps(x64):
    assert _errors(problems.rosenbrock(), newton(), 7)[-1] < 1e-14


def test_invariance_under_a_linear_change_of_variables(x64):
    problem = problems.rosenbrock()
    change = jnp.array([[2.0, 1.0], [0.0, 0.5]])

    def run(fun, start):
        return iterate(newton(), fun, start, num_steps=4, record=lambda at: at.x).history

    plain = run(problem.function, problem.start)
    changed = run(lambda y: problem.function(change @ y), jnp.linalg.solve(change, problem.start))
    # Each step solves with a Hessian of condition number 2500, and the next starts from what that left.
    np.testing.assert_allclose(changed @ change.T, plain, rtol=1e-9)


def test_a_singular_hessian_is_data_and_damping_cures_it(x64):
    problem = problems.one_house()
    bare = iterate(newton(), problem.function, problem.start, num_steps=3)
    assert int(bare.status) == Status.NONFINITE
    errors = _errors(problem, newton(damping=1.0), 5)
    assert errors[-1] < 1e-9 * errors[0]


def test_damping_shrinks_a_quadratics_error_by_its_closed_form(x64):
    problem = problems.sphere()
    errors = _errors(problem, newton(damping=0.5), 3)
    assert_close(errors[1:] / errors[:-1], 0.5 / 2.5, 32)


def test_half_a_step_halves_a_quadratics_error(x64):
    errors = _errors(problems.bowl(), newton(step_size=0.5), 4)
    assert_close(errors, errors[0] * 0.5 ** np.arange(5), 32)


def test_cholesky_refuses_an_indefinite_hessian_with_nan(x64):
    assert bool(jnp.all(jnp.isnan(solve_positive(jnp.diag(jnp.array([1.0, -1.0])), jnp.ones(2)))))


def test_an_unknown_factorization_names_the_others():
    with pytest.raises(ValueError, match="factorization must be one of 'lu', 'cholesky', 'modified', got 'qr'"):
        newton(factorization="qr")  # pyright: ignore[reportArgumentType]
