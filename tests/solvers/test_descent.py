"""Gradient descent against the closed form of its contraction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import problems
from jaxcalc.solvers import best_learning_rate, contraction, gradient_descent, iterate, linear_rate
from tests.tolerance import assert_close


def _errors(problem, rate, num_steps):
    return iterate(
        gradient_descent(rate),
        problem.function,
        problem.start,
        num_steps=num_steps,
        record=lambda at: jnp.linalg.norm(at.x - problem.optimum),
    ).history


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.8, 2.0, 2.1])
def test_the_error_changes_by_the_theorys_factor(x64, rate):
    problem = problems.quadratic(20.0, dimension=4)
    expected = contraction(rate, problem.curvatures()[0])
    assert float(linear_rate(_errors(problem, rate, 400), 1e-11)) == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize("rate", [0.3, 1.5, 1.99])
def test_no_step_does_worse_than_the_bound(x64, rate):
    problem = problems.quadratic(20.0, dimension=4)
    errors = np.asarray(_errors(problem, rate, 60))
    bound = float(contraction(rate, problem.curvatures()[0]))
    assert np.all(errors[1:] <= bound * errors[:-1] * (1 + 1e-10))


def test_the_best_rate_beats_its_neighbours():
    curvatures = np.array([0.5, 1.0, 4.0])
    best = best_learning_rate(0.5, 4.0)
    assert float(contraction(best, curvatures)) == pytest.approx(3.5 / 4.5, rel=1e-6)
    assert all(contraction(best * factor, curvatures) > contraction(best, curvatures) for factor in (0.99, 1.01))


def test_two_over_l_divides_falling_from_growing(x64):
    problem = problems.one_house()
    limit = 2.0 / problem.smoothness
    below, above = (_errors(problem, factor * limit, 500) for factor in (0.99, 1.01))
    assert below[-1] < 1e-3 * below[0]
    assert above[-1] > 1e3 * above[0]


def test_the_rate_may_be_traced_and_differentiated(x64):
    problem = problems.bowl()

    def final(rate):
        return iterate(gradient_descent(rate), problem.function, problem.start, num_steps=1).last.value

    # f = (4 (1 - 2 r))^2 + 3 (2 (1 - 6 r))^2, so f' = -64 (1 - 2 r) - 144 (1 - 6 r).
    assert_close(jax.grad(final)(0.1), -64 * 0.8 - 144 * 0.4, 16)
