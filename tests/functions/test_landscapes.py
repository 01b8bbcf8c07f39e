"""The stationary points that a landscape lists are its stationary points, and of the kind that it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.landscapes import LANDSCAPES, styblinski_tang
from tests.tolerance import assert_close

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("name", LANDSCAPES)
def test_stationary_points_are_stationary(name):
    land = LANDSCAPES[name]
    points = jnp.asarray(land.stationary)
    assert float(abs(jax.vmap(jax.grad(land.function))(points)).max()) < 1e-12
    least = jnp.linalg.eigvalsh(jax.vmap(jax.hessian(land.function))(points))[:, 0]
    assert bool((least[: land.num_minima] > 0).all())
    assert bool((least[land.num_minima :] < 1e-12).all())
    assert len({tuple(point) for point in np.round(land.stationary, 6)}) == len(land.stationary)
    left, right, bottom, top = land.window
    assert bool(((points[:, 0] > left) & (points[:, 0] < right) & (points[:, 1] > bottom) & (points[:, 1] < top)).all())


@pytest.mark.parametrize("name", ["himmelblau", "six-hump-camel"])
def test_the_indices_of_all_stationary_points_add_up(name):
    # Poincare and Hopf: a surface that rises to infinity has as many minima and maxima as saddles, and one more.
    land = LANDSCAPES[name]
    negative = (jnp.linalg.eigvalsh(jax.vmap(jax.hessian(land.function))(jnp.asarray(land.stationary))) < 0).sum(1)
    assert int(((-1.0) ** negative).sum()) == 1


def test_known_values():
    assert float(LANDSCAPES["himmelblau"].function(jnp.array([3.0, 2.0]))) == 0.0
    camel = LANDSCAPES["six-hump-camel"]
    assert_close(camel.function(jnp.asarray(camel.minima[0])), -1.031628453489877, 16)
    # The step to the minimum of the potential's quadratic model is Newton's for z^3 = 1.
    potential, at = LANDSCAPES["cube-potential"].function, jnp.array([0.7, -0.4])
    step = jnp.linalg.solve(jax.hessian(potential)(at), jax.grad(potential)(at))
    z = 0.7 - 0.4j
    assert_close(complex(*step), (z**3 - 1) / (3 * z**2), 16)
    lowest = float(np.sort(np.roots([4.0, 0.0, -32.0, 5.0]))[0])
    assert float(jnp.max(abs(jax.grad(styblinski_tang)(jnp.full(3, lowest))))) < 1e-12


def test_the_nearest_point_of_nowhere_is_infinitely_far():
    land = LANDSCAPES["himmelblau"]
    index, distance = land.nearest(jnp.array([[3.0, 2.5], [jnp.nan, 0.0]]))
    assert int(index[0]) == 0
    assert float(distance[0]) == 0.5
    assert float(distance[1]) == np.inf
    assert int(land.nearest(jnp.array([3.4, 0.0]), among=land.minima)[0]) == 3
