"""The subproblems of a trust region, by the conditions of their optimum and by closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.solvers.subproblems import ON_SURFACE, box, dense_ball, truncated_ball
from tests.tolerance import assert_close, ulps


def matrix(eigenvalues, seed=0):
    """A symmetric matrix with those eigenvalues, and its eigenvectors."""
    n = len(eigenvalues)
    vectors = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    return jnp.asarray(vectors @ np.diag(eigenvalues) @ vectors.T), jnp.asarray(vectors)


def model(gradient, hessian, step):
    return float(gradient @ step + step @ hessian @ step / 2)


def solved(subproblem, radius):
    return subproblem.propose(jnp.asarray(radius), subproblem.memory)[0]


GRADIENT = np.array([1.0, -2.0, 0.5, 3.0])


@pytest.mark.parametrize("eigenvalues", [(1.0, 2.0, 3.0, 4.0), (-2.0, -1.0, 3.0, 5.0), (0.0, 0.0, 1.0, 2.0)])
@pytest.mark.parametrize("radius", [1e-3, 0.3, 2.0])
def test_on_the_surface_the_step_is_optimal(x64, eigenvalues, radius):
    """``(H + s I) d = -g`` with H + s I positive semidefinite: the minimum, and no other point (More and Sorensen)."""
    hessian, _ = matrix(eigenvalues)
    gradient = jnp.asarray(GRADIENT)
    step = solved(dense_ball(gradient, hessian), radius).step
    assert abs(float(jnp.linalg.norm(step)) / radius - 1) <= ON_SURFACE
    pull = -(gradient + hessian @ step)
    shift = float(pull @ step / (step @ step))
    # A step that was scaled back to the surface is off by as much as the surface was missed by.
    np.testing.assert_allclose(pull, shift * step, atol=2 * ON_SURFACE * float(jnp.linalg.norm(gradient)))
    assert shift >= max(0.0, -min(eigenvalues)) * (1 - ON_SURFACE)


def test_within_the_ball_the_step_is_newtons(x64):
    hessian, _ = matrix((1.0, 2.0, 3.0, 4.0))
    gradient = jnp.asarray(GRADIENT)
    proposal = solved(dense_ball(gradient, hessian), 1e3)
    assert_close(proposal.step, np.linalg.solve(hessian, -gradient), 64, scale=4)
    assert_close(proposal.decrease, -model(gradient, hessian, proposal.step), 64)


@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_the_hard_case(x64, radius):
    """No part of the gradient along the most negative curvature, which is followed to the surface all the same."""
    gradient, hessian = jnp.array([0.0, 1.0]), jnp.diag(jnp.array([-1.0, 3.0]))
    step = solved(dense_ball(gradient, hessian), radius).step
    assert_close(step[1], -0.25, 64)
    assert_close(abs(step[0]), np.sqrt(radius**2 - 1 / 16), 64)


def test_without_a_second_derivative_the_slope_leads_on(x64):
    gradient = jnp.asarray(GRADIENT)
    downhill = -GRADIENT / np.linalg.norm(GRADIENT)
    dense = solved(dense_ball(gradient, jnp.full((4, 4), jnp.nan)), 1.0)
    products = solved(truncated_ball(gradient, lambda v: v * jnp.nan, 10), 1.0)
    np.testing.assert_allclose(dense.step, downhill, rtol=ON_SURFACE)
    assert_close(products.step, downhill, 16)


@pytest.mark.parametrize("eigenvalues", [(1.0, 2.0, 3.0, 4.0), (-2.0, -1.0, 3.0, 5.0)])
@pytest.mark.parametrize("units", [None, (1.0, 0.5, 4.0, 2.0)])
def test_conjugate_gradients_keep_to_the_ball_and_beat_the_cauchy_point(x64, eigenvalues, units):
    hessian, _ = matrix(eigenvalues)
    gradient, scale = jnp.asarray(GRADIENT), jnp.ones(4) if units is None else jnp.array(units)
    for radius in (1e-2, 0.5, 10.0):
        subproblem = truncated_ball(gradient, lambda v: hessian @ v, 10, None if units is None else scale)
        proposal = solved(subproblem, radius)
        assert float(jnp.linalg.norm(proposal.step / scale)) <= radius * (1 + ulps(16))
        assert_close(proposal.length, jnp.linalg.norm(proposal.step / scale), 16)
        assert_close(proposal.decrease, -model(gradient, hessian, proposal.step), 256, scale=1)
        downhill = scale**2 * gradient
        sizes = np.linspace(0, radius / float(jnp.linalg.norm(scale * gradient)), 101)
        cauchy = min(model(gradient, hessian, -t * downhill) for t in sizes)
        assert -float(proposal.decrease) <= cauchy + 1e-12


def test_a_refused_step_is_shortened_without_products(x64):
    hessian, _ = matrix((1.0, 2.0, 3.0, 4.0))
    subproblem = truncated_ball(jnp.asarray(GRADIENT), lambda v: hessian @ v, 10)
    first, memory = subproblem.propose(jnp.asarray(1.0), subproblem.memory)
    second, _ = subproblem.propose(jnp.asarray(0.25), memory)
    assert int(first.hvps) > 0 == int(second.hvps)
    assert_close(second.step, 0.25 * np.asarray(first.step), 16)
    assert_close(second.decrease, -model(GRADIENT, hessian, second.step), 64)


@pytest.mark.parametrize("radius", [0.1, 1.0, 10.0])
def test_a_separable_box_in_closed_form(x64, radius):
    """With a diagonal H each variable has its own minimum, cut off at its bound."""
    curvatures = jnp.array([1.0, 2.0, 4.0, 8.0])
    lower, upper = jnp.array([-0.3, -jnp.inf, -5.0, 0.0]), jnp.array([2.0, 0.4, jnp.inf, 0.0])
    proposal = solved(box(jnp.asarray(GRADIENT), lambda v: curvatures * v, lower, upper, 10), radius)
    exact = np.clip(-GRADIENT / np.asarray(curvatures), np.maximum(lower, -radius), np.minimum(upper, radius))
    # The projected gradient is left at most half of what it was, and far less where a face is solved exactly.
    np.testing.assert_allclose(proposal.step, exact, atol=1e-6)
    assert_close(proposal.decrease, -model(GRADIENT, jnp.diag(curvatures), proposal.step), 64)


def test_in_a_box_negative_curvature_is_followed_to_the_bounds(x64):
    gradient, curvatures = jnp.array([1e-3, -1e-3]), jnp.array([-1.0, -2.0])
    step = solved(box(gradient, lambda v: curvatures * v, jnp.full(2, -1.0), jnp.full(2, 1.0), 10), 0.5).step
    np.testing.assert_array_equal(step, [-0.5, 0.5])
