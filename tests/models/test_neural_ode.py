"""Neural ODEs and the residual networks that are their Euler scheme."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc import models
from jaxcalc.functions import fields
from tests.tolerance import assert_close


def test_a_residual_network_is_eulers_method(x64):
    field = models.mlp_field(3, 8)
    params = field.init(jax.random.key(0))
    start = jnp.array([0.3, -1.0, 0.5])
    blocks = models.residual_network(field.apply, 10)(params, start, 0.25)
    euler = models.neural_ode(field, solver="euler", num_steps=1).apply(params, start, 0.25 * jnp.arange(11.0))
    assert blocks.shape == (11, 3)
    assert_close(blocks, euler, 16)
    assert_close(models.residual_end(field.apply)(params, start, 0.25, 10), blocks[-1], 16)


def test_blocks_with_parameters_of_their_own(x64):
    weights, start = jnp.array([[2.0], [-1.0], [3.0]]), jnp.array([1.0, 2.0])
    apply = models.residual_network(lambda w, h: w * h, 3, shared=False)
    assert_close(apply(weights, start, 0.5), jnp.outer(jnp.array([1.0, 2.0, 1.0, 2.5]), start), 4)
    with pytest.raises(ValueError, match="length"):
        apply(weights[:2], start, 0.5)


def test_refined_blocks_near_the_flow_at_order_one(x64):
    field = models.mlp_field(3, 8)
    params = field.init(jax.random.key(0))
    start = jnp.array([0.3, -1.0, 0.5])
    exact = models.neural_ode(field, solver="rk4", num_steps=200).apply(params, start, jnp.array([0.0, 2.0]))[-1]
    end = jax.jit(models.residual_end(field.apply))
    errors = [float(jnp.linalg.norm(end(params, start, 2.0 / n, n) - exact)) for n in (256, 512)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.05)


def test_a_field_in_standardised_states(x64):
    field, plain = models.mlp_field(2, 4, center=jnp.array([3.0, -1.0]), scale=2.0), models.mlp_field(2, 4)
    params = field.init(jax.random.key(1))
    y = jnp.array([[4.0, 0.0], [3.0, -1.0]])
    assert_close(field.apply(params, y), 2 * plain.apply(params, (y - jnp.array([3.0, -1.0])) / 2), 16)


def test_predators_and_prey_with_learned_rates(x64):
    field = models.lotka_volterra_field([0.5, 0.02, 0.8, 0.02], spread=0.0)
    params = field.init(jax.random.key(0))
    u = jnp.log(jnp.array([30.0, 20.0]))
    assert_close(
        field.apply(params, u), fields.lotka_volterra_logarithmic(0.0, u, jnp.array([0.5, 0.02, 0.8, 0.02])), 64
    )
    rest = jnp.log(jnp.array([40.0, 25.0]))  # (c/d, a/b)
    assert_close(field.apply(params, rest), jnp.zeros(2), 16, scale=1)


def test_one_gradient_step_lowers_the_misfit(x64):
    field = models.mlp_field(2, 6)
    model = models.neural_ode(field, num_steps=4)
    times, target = jnp.array([0.0, 0.5, 1.0]), jnp.array([[1.0, 0.0], [0.9, 0.4], [0.6, 0.8]])
    misfit = lambda params: jnp.mean((model.apply(params, target[0], times) - target) ** 2)
    params = field.init(jax.random.key(0))
    before, slope = jax.jit(jax.value_and_grad(misfit))(params)
    after = misfit(jax.tree.map(lambda p, g: p - 1e-3 * g, params, slope))
    size = sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(slope))
    assert after - before == pytest.approx(-1e-3 * size, rel=0.05)
