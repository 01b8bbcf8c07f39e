"""Penalties: gradients against automatic differentiation, proximal maps against the minimum that defines them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.penalties import PENALTIES, soft_threshold
from tests.tolerance import assert_close

pytestmark = pytest.mark.usefixtures("x64")

WEIGHTS = np.array([[-3.0, -0.4, 1e-3], [0.25, 0.5, 7.0]])


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_are_those_of_the_value(name):
    penalty = PENALTIES[name]
    assert_close(penalty.gradient(WEIGHTS, 0.7), jax.grad(penalty)(WEIGHTS, 0.7), 1)


def test_values():
    assert_close(PENALTIES["l1"](WEIGHTS, 2.0), 2 * 11.151, 4)
    assert_close(PENALTIES["l2"](jnp.array([3.0, -4.0]), 0.5), 6.25, 1)


def test_the_subgradient_at_the_kink_has_the_least_norm():
    assert PENALTIES["l1"].gradient(jnp.zeros(3), 0.7).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_the_proximal_map_minimises(name, strength):
    penalty = PENALTIES[name]
    u = np.linspace(-8, 8, 160_001)  # 1e-4 apart
    price = strength * (abs(u) if name == "l1" else u**2 / 2)
    for w, found in zip(WEIGHTS.ravel(), penalty.proximal(WEIGHTS, strength).ravel()):
        assert abs(found - u[np.argmin((u - w) ** 2 / 2 + price)]) <= 1e-4


@pytest.mark.parametrize("name", PENALTIES)
def test_the_proximal_map_solves_its_optimality_condition(name):
    # w - u is a subgradient at u: the gradient where u is not 0, at most the strength in size where it is.
    penalty, strength = PENALTIES[name], 0.45
    u = penalty.proximal(WEIGHTS, strength)
    left = np.asarray(WEIGHTS - u)
    smooth = np.asarray(u) != 0
    np.testing.assert_allclose(left[smooth], penalty.gradient(u, strength)[smooth], rtol=1e-14)
    assert (abs(left[~smooth]) <= strength).all()
    assert int((~smooth).sum()) == (3 if name == "l1" else 0)


def test_soft_thresholds():
    assert soft_threshold(jnp.array([-2.0, -0.5, 0.0, 0.5, 2.0]), 0.5).tolist() == [-1.5, 0.0, 0.0, 0.0, 1.5]
    one_each = soft_threshold(jnp.array([1.0, 1.0]), jnp.array([0.25, 2.0]))
    assert one_each.tolist() == [0.75, 0.0]
    assert jax.jit(soft_threshold)(3.0, 1.0) == 2.0
    with pytest.raises(ValueError, match="threshold"):
        soft_threshold(1.0, -0.5)
