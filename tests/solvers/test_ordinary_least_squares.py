"""Least squares in closed form: against NumPy's SVD, its optimality, rank deficiency, and what rounding does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.solvers import LEAST_SQUARES, ordinary_least_squares, reweighted_least_squares
from tests.tolerance import assert_close, ulps

pytestmark = pytest.mark.usefixtures("x64")


def _data(rows=30, columns=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, columns)), rng.standard_normal(rows)


@pytest.mark.parametrize("method", LEAST_SQUARES)
@pytest.mark.parametrize(("rows", "columns"), [(30, 4), (4, 4), (7, 1)])
def test_it_is_numpys_solution(method, rows, columns):
    design, target = _data(rows, columns)
    expected = np.linalg.lstsq(design, target, rcond=None)[0]
    condition = np.linalg.cond(design) ** 2
    assert_close(ordinary_least_squares(design, target, method=method), expected, 100 * condition, scale=1)


@pytest.mark.parametrize("method", LEAST_SQUARES)
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_gradient_vanishes(method, ridge):
    design, target = _data()
    loss = lambda w: jnp.sum((design @ w - target) ** 2) + ridge * jnp.sum(w**2)
    weights = ordinary_least_squares(design, target, method=method, ridge=ridge)
    assert float(abs(jax.grad(loss)(weights)).max()) < 1e-11


@pytest.mark.parametrize("method", LEAST_SQUARES)
def test_several_targets_and_a_traced_ridge(method):
    design, _ = _data()
    targets = np.random.default_rng(1).standard_normal((30, 3))
    solve = lambda y, ridge: ordinary_least_squares(design, y, method=method, ridge=ridge)
    together = jax.jit(solve)(targets, 0.1)
    assert together.shape == (4, 3)
    alone = jnp.stack([solve(targets[:, j], 0.1) for j in range(3)], axis=1)
    assert_close(together, alone, 16, scale=1)
    lanes = jax.vmap(lambda ridge: solve(targets[:, 0], ridge))(jnp.array([0.0, 0.1]))
    assert_close(lanes[1], alone[:, 0], 16, scale=1)
    assert_close(lanes[0], solve(targets[:, 0], 0.0), 16, scale=1)


@pytest.mark.parametrize("method", ["qr", "normal"])
def test_rank_deficiency_is_not_hidden(method):
    wide, target = np.array([[1200.0, 3.0]]), np.array([350000.0])
    assert np.isnan(ordinary_least_squares(wide, target, method="qr")).all()
    twice = np.column_stack([np.arange(1.0, 9.0)] * 2)
    assert not np.isfinite(ordinary_least_squares(twice, np.ones(8), method=method)).any()


def test_the_pseudo_inverse_has_the_least_norm():
    wide, target = np.array([[1200.0, 3.0]]), np.array([350000.0])
    expected = target[0] * wide[0] / (wide[0] @ wide[0])
    assert_close(ordinary_least_squares(wide, target, method="svd"), expected, 32)
    # A ridge that tends to 0 leads there too.
    np.testing.assert_allclose(ordinary_least_squares(wide, target, ridge=1e-6), expected, rtol=1e-6)
    design, target = _data(3, 6)
    expected = np.linalg.pinv(design) @ target
    assert_close(ordinary_least_squares(design, target, method="svd"), expected, 16, scale=1)


def test_normal_equations_lose_twice_the_digits():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((40, 5), (5, 5)))
    weights = rng.standard_normal(5)
    error = {}
    for method in ("normal", "qr", "svd"):
        for condition in (1e3, 1e6):
            design = (left * np.geomspace(1.0, 1.0 / condition, 5)) @ right.T
            found = ordinary_least_squares(design, design @ weights, method=method)
            error[method, condition] = np.linalg.norm(found - weights) / np.linalg.norm(weights)
    for method in ("qr", "svd"):
        assert error[method, 1e6] < ulps(100) * 1e6
    assert error["normal", 1e6] > 100 * error["qr", 1e6]
    # 3 is the log10 of the ratio of the condition numbers: once for qr, twice for the normal equations.
    assert 4.0 < np.log10(error["normal", 1e6] / error["normal", 1e3]) < 8.0


def test_reweighting_finds_the_least_sum_of_a_loss():
    from scipy.optimize import linprog

    from jaxcalc.functions.losses import huber

    design, target = _data(31, 3)
    target[:4] += 20.0
    squares = reweighted_least_squares(design, target, lambda r: 2 * r)
    np.testing.assert_allclose(squares, ordinary_least_squares(design, target), rtol=1e-12)
    # Of Huber's loss: the gradient vanishes.
    found = reweighted_least_squares(design, target, lambda r: huber.gradient(r, jnp.zeros_like(r)), num_steps=200)
    residual = design @ found - target
    np.testing.assert_allclose(design.T @ np.clip(residual, -1, 1), 0, atol=1e-10)
    # Of the absolute loss: the linear programme with a slack to each side.
    eye = np.eye(31)
    costs = np.r_[np.zeros(3), np.ones(62)]
    bounds = [(None, None)] * 3 + [(0, None)] * 62
    exact = linprog(costs, A_eq=np.c_[design, eye, -eye], b_eq=target, bounds=bounds).x[:3]
    np.testing.assert_allclose(reweighted_least_squares(design, target, jnp.sign, num_steps=300), exact, atol=1e-5)


def test_wrong_use_is_told():
    design, target = _data()
    with pytest.raises(ValueError, match="method must be one of 'normal', 'inverse', 'qr', 'svd', got 'lu'"):
        ordinary_least_squares(design, target, method="lu")
    with pytest.raises(ValueError, match=r"got \(30, 4\) and \(29,\)"):
        ordinary_least_squares(design, target[1:])
