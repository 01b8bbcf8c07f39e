"""newton_cg: scales from the Hessian's diagonal where they are cheap and wanted, and nothing dense ever."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.solvers import minimize, newton_cg

SIZE = 400


def ill_scaled(x):
    """A convex chain whose variables' curvatures range over six orders of magnitude; its minimum is at 1."""
    y = jnp.logspace(-1, 2, x.size, dtype=x.dtype) * (x - 1)
    return jnp.sum(y**2 / 2 + jnp.sqrt(1 + y**2)) + 0.2 * jnp.sum(y[1:] * y[:-1])


def dense(x):
    """Every variable with every other, as ill scaled."""
    weights = jnp.logspace(-2, 2, x.size, dtype=x.dtype)
    return jnp.sum(weights * (x - 1) ** 2) / 2 + jnp.sum(jnp.outer(x - 1, x - 1) ** 4)


@pytest.fixture(scope="module")
def solutions():
    with jax.enable_x64(True):
        start = jnp.zeros(SIZE)
        return {scaled: minimize(ill_scaled, start, method=newton_cg(precondition=scaled)) for scaled in (True, False)}


def test_scales_save_products(solutions):
    scaled, plain = solutions[True], solutions[False]
    assert scaled.success and plain.success
    np.testing.assert_allclose(scaled.x, 1.0, atol=1e-3)
    assert int(plain.evaluations.hvps) > 10 * int(scaled.evaluations.hvps)
    assert int(scaled.evaluations.hessians) == 0


def test_reading_the_diagonal_is_counted(x64):
    """A step that took many products asks for scales; a chain's diagonal takes two of them or three."""
    start = jnp.ones(SIZE).at[::7].add(2.0**-45)

    def count(scaled, steps):
        found = minimize(ill_scaled, start, method=newton_cg(precondition=scaled), max_steps=steps, tol=0.0)
        return int(found.evaluations.hvps)

    assert count(True, 1) == count(False, 1) > 50
    assert 2 < count(True, 2) - count(True, 1) < 50


def test_no_scales_where_the_hessian_is_dense(x64):
    start = jnp.zeros(60)
    scaled, plain = (minimize(dense, start, method=newton_cg(precondition=choice)) for choice in (True, False))
    assert int(scaled.evaluations.hvps) == int(plain.evaluations.hvps)
    np.testing.assert_array_equal(scaled.x, plain.x)


def test_lanes_are_scaled_each_by_its_own(x64):
    starts = jnp.stack([jnp.zeros(50), jnp.full(50, 2.0)])
    solve = lambda x: minimize(ill_scaled, x, method="newton-cg")
    together = jax.vmap(solve)(starts)
    assert together.success.all()
    for lane, start in enumerate(starts):
        np.testing.assert_allclose(together.x[lane], solve(start).x, atol=1e-6)


def test_a_function_without_second_derivative_along_some_axes(x64):
    """Zeros on the diagonal are no scale."""
    fun = lambda x: jnp.sum((x[:-1] - 1) ** 2 * jnp.logspace(0, 6, x.size - 1)) + x[-1] ** 4
    found = minimize(fun, jnp.zeros(300), method="newton-cg")
    assert found.success
    np.testing.assert_allclose(found.x[:-1], 1.0, atol=1e-6)
