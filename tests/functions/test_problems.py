"""Every problem against JAX's derivatives and against what it says of itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import problems
from tests.tolerance import assert_close

NAMES = sorted(problems.CATALOGUE)


def _points(problem, count=4):
    """Points between the start and beyond the optimum, off both."""
    rng = np.random.default_rng(7)
    scale = 0.3 * (1 + np.abs(problem.optimum))
    return [problem.optimum + scale * rng.standard_normal(problem.dimension) for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_agree_with_jax(x64, name):
    problem = problems.build(name)
    gradient, hessian = jax.jit(jax.grad(problem.function)), jax.jit(jax.hessian(problem.function))
    for x in _points(problem):
        size = float(jnp.linalg.norm(hessian(x)))
        assert_close(problem.gradient(x), gradient(x), 64, scale=size)
        assert_close(problem.hessian(x), hessian(x), 512, scale=size)


@pytest.mark.parametrize("name", NAMES)
def test_the_optimum_is_one(x64, name):
    problem = problems.build(name)
    curvature = max(float(jnp.linalg.norm(problem.hessian(problem.optimum))), 1.0)
    reach = 1.0 + np.linalg.norm(problem.optimum)
    assert np.linalg.norm(problem.gradient(problem.optimum)) <= 1e-13 * curvature * reach
    assert_close(problem.function(problem.optimum), problem.minimum, 16, scale=1)
    assert problem.curvatures()[0][0] >= -1e-14 * curvature
    for x in _points(problem):
        assert float(problem.function(x)) > problem.minimum


@pytest.mark.parametrize("name", NAMES)
def test_mu_and_l_bound_every_curvature(x64, name):
    problem = problems.build(name)
    for x in [problem.start, problem.optimum, *_points(problem)]:
        eigenvalues = problem.curvatures(x)[0]
        slack = 1e-12 * np.abs(eigenvalues).max()
        if problem.mu is not None:
            assert eigenvalues[0] >= problem.mu - slack
        if problem.smoothness is not None:
            assert eigenvalues[-1] <= problem.smoothness + slack
    assert ("convex" in problem.tags) == (problem.mu is not None)


@pytest.mark.parametrize("name", NAMES)
def test_the_singular_are_tagged(x64, name):
    problem = problems.build(name)
    eigenvalues = problem.curvatures()[0]
    singular = eigenvalues[0] <= 1e-12 * eigenvalues[-1]
    assert ("singular" in problem.tags) == singular


@pytest.mark.parametrize("condition_number", [1.0, 30.0, 1e6])
def test_a_quadratic_has_the_condition_number_asked_for(x64, condition_number):
    eigenvalues, vectors = problems.quadratic(condition_number, dimension=5, seed=3).curvatures()
    assert_close(eigenvalues[-1] / eigenvalues[0], condition_number, 8 * (1 + condition_number))
    assert_close(vectors.T @ vectors, np.eye(5), 64, scale=1)


def test_the_smallest_quadratic_and_another_rotation(x64):
    assert problems.quadratic(7.0, dimension=1).curvatures()[0].tolist() == [1.0]
    one, other = (problems.quadratic(7.0, seed=seed).hessian(np.zeros(8)) for seed in (0, 1))
    assert not np.allclose(one, other)


def test_house_weights_in_dollars_and_in_thousands_are_the_same_houses(x64):
    dollars = problems.house_prices(scaling="dollars")
    thousands = problems.house_prices(scaling="thousands")
    assert_close(dollars.optimum, thousands.optimum * [1.0, 1000.0], 16)
    conditions = [
        values[-1] / values[0]
        for values in (
            problems.house_prices(scaling=scaling).curvatures()[0]
            for scaling in ("dollars", "thousands", "standardized")
        )
    ]
    assert conditions == sorted(conditions, reverse=True)


def test_one_house_ends_on_the_line_nearest_to_its_start(x64):
    problem = problems.one_house((0.0, 5000.0))
    np.testing.assert_allclose(problem.optimum, [279.165, 5000.698], atol=1e-3)
    assert abs(np.dot([1200.0, 3.0], problem.optimum) - 350000) < 1e-9


def test_lambert_gives_the_exponential_its_optimum():
    optimum = problems.exponential().optimum[0]
    assert_close(np.exp(optimum) + optimum, 2.0, 1)


def test_logistic_regression_separates_the_tumours(x64):
    from jaxcalc.functions import datasets

    problem = problems.breast_cancer(l2=0.01)
    data = datasets.breast_cancer()
    scores = np.column_stack([datasets.standardize(data.features).values, np.ones(569)]) @ problem.optimum
    assert np.mean((scores > 0) == data.labels) > 0.97


def test_curvatures_are_constants_inside_a_traced_function(x64):
    problem = problems.bowl()
    traced = jax.jit(lambda rate: rate * problem.curvatures()[0][-1])
    assert float(traced(2.0)) == 12.0


def test_float32_stays_float32():
    problem = problems.breast_cancer()
    x = jnp.zeros(problem.dimension, jnp.float32)
    assert problem.function(x).dtype == jnp.float32
    assert problem.gradient(x).dtype == jnp.float32
    assert problem.hessian(x).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: problems.build("banana"), "name must be one of 'quadratic'.* got 'banana'"),
        (lambda: problems.quadratic(0.5), "condition_number must be at least 1"),
        (lambda: problems.quadratic(2.0, 0), "dimension must be at least 1"),
        (lambda: problems.rosenbrock(1), "dimension must be at least 2"),
        (lambda: problems.breast_cancer(0.0), "l2 must be above 0"),
        (lambda: problems.house_prices(scaling="feet"), "scaling must be one of .* got 'feet'"),
    ],
)
def test_misuse_says_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
