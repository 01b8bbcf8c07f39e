"""Continuous normalizing flows: closed forms of linear fields, the log-determinant, estimates and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc import jacobian, models
from jaxcalc.functions.distributions import multivariate_normal, normal
from tests.tolerance import assert_close

MATRIX = np.array([[0.3, -1.0, 0.2], [0.8, -0.4, 0.5], [-0.1, 0.6, 0.2]])
LINEAR = models.Model(lambda key: jax.random.normal(key, (3, 3)), lambda matrix, y: matrix @ y)
POINTS = jnp.array([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0], [-2.0, 1.0, 0.3]])
STEPS = {"solver": "rk4", "num_steps": 64}


@pytest.fixture(scope="module")
def tanh_field():
    """A field of a state with three entries, and parameters of a size that bends it."""
    field = models.mlp_field(3, 8, num_hidden=1)
    return field, jax.tree.map(lambda w: 1.5 * w, field.init(jax.random.key(0)))


def test_a_linear_field_carries_a_gaussian_to_a_gaussian(x64):
    flow = models.normalizing_flow(LINEAR, 3, **STEPS)
    root = jax.scipy.linalg.expm(MATRIX)
    density = jax.jit(flow.log_density)(MATRIX, POINTS)
    np.testing.assert_allclose(density, multivariate_normal(jnp.zeros(3), root @ root.T).log_density(POINTS), atol=1e-8)
    drawn = flow.sample(MATRIX, jax.random.key(0), 20_000)
    np.testing.assert_allclose(np.cov(drawn.T), root @ root.T, atol=0.08)  # five standard errors of the largest entry
    np.testing.assert_allclose(flow.to_base(MATRIX, drawn) @ root.T, drawn, atol=1e-7)


def test_another_base_and_another_duration(x64):
    mean, covariance = jnp.array([1.0, -1.0, 0.0]), jnp.diag(jnp.array([1.0, 4.0, 0.25]))
    root = jax.scipy.linalg.expm(0.5 * MATRIX)
    wanted = multivariate_normal(root @ mean, root @ covariance @ root.T).log_density(POINTS)
    vectors, entries = multivariate_normal(mean, covariance), normal(mean, jnp.array([1.0, 2.0, 0.5]))
    flow, other = (models.normalizing_flow(LINEAR, 3, base=base, duration=0.5, **STEPS) for base in (vectors, entries))
    np.testing.assert_allclose(jax.jit(flow.log_density)(MATRIX, POINTS), wanted, atol=1e-8)
    adaptive = models.normalizing_flow(LINEAR, 3, base=entries, duration=0.5, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(jax.jit(adaptive.log_density)(MATRIX, POINTS[0]), wanted[0], atol=1e-7)
    for each in (flow, other):
        assert jax.eval_shape(lambda key, each=each: each.sample(MATRIX, key, 5), jax.random.key(0)).shape == (5, 3)


def test_the_trace_integral_is_the_log_determinant(x64, tanh_field):
    field, params = tanh_field
    flow = models.normalizing_flow(field, 3, solver="rk4", num_steps=400)
    moved = jax.jit(jacobian(lambda x: flow.to_base(params, x)))(POINTS[0])
    told = jax.jit(flow.log_volume)(params, POINTS[0])
    np.testing.assert_allclose(told, np.linalg.slogdet(moved)[1], atol=1e-9)


@pytest.mark.parametrize(("trace", "num_probes"), [("hutchinson", 4), ("hutch++", 5)])
def test_estimated_densities_are_unbiased(x64, tanh_field, trace, num_probes):
    field, params = tanh_field
    exact = models.normalizing_flow(field, 3, solver="rk4", num_steps=16).log_density(params, POINTS)
    flow = models.normalizing_flow(field, 3, trace=trace, num_probes=num_probes, solver="rk4", num_steps=16)
    told = jax.jit(jax.vmap(lambda key: flow.log_density(params, POINTS, key)))(
        jax.random.split(jax.random.key(1), 512)
    )
    off = (told.value.mean(0) - exact) / (told.value.std(0) / np.sqrt(512))
    assert abs(off).max() < 3.5
    np.testing.assert_allclose(np.mean(told.standard_error**2, 0), told.value.var(0), rtol=0.35)
    assert len(set(told.value[0].tolist())) == 3 and told.value.shape == (512, 3)


@pytest.mark.parametrize(
    ("trace", "num_probes", "adjoint"), [("exact", None, "backsolve"), ("hutchinson", 2, "checkpointed")]
)
def test_gradients_in_parameters_are_those_of_differences(x64, tanh_field, trace, num_probes, adjoint):
    field, params = tanh_field
    flow = models.normalizing_flow(field, 3, trace=trace, num_probes=num_probes, adjoint=adjoint, **STEPS)
    key = None if trace == "exact" else jax.random.key(2)
    told = lambda params: flow.log_density(params, POINTS[0], key)
    loss = jax.jit(lambda params: told(params) if trace == "exact" else told(params).value)
    slope = jax.jit(jax.grad(loss))(params)
    along = jax.tree.map(lambda w: jnp.cos(jnp.arange(w.size, dtype=float)).reshape(w.shape), params)
    step = 1e-4
    ends = [loss(jax.tree.map(lambda w, v, by=by: w + by * v, params, along)) for by in (step, -step)]
    wanted = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, slope, along)))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(wanted), rel=1e-5)


def test_lanes_and_a_batch_agree(x64, tanh_field):
    field, params = tanh_field
    flow = models.normalizing_flow(field, 3, trace="hutchinson", num_probes=2, solver="heun", num_steps=4)

    @jax.jit
    def both(key):
        lanes = jax.vmap(flow.log_density, (None, 0, 0))(params, POINTS, jax.random.split(key, 3))
        return lanes.value, flow.log_density(params, POINTS, key).value

    assert_close(*both(jax.random.key(3)), 64)
    shape = jax.eval_shape(flow.log_volume, params, POINTS[None, :2], jax.random.key(0)).standard_error.shape
    assert shape == (1, 2)
    empty = jax.eval_shape(flow.log_density, params, POINTS[:0], jax.random.key(0)).value.shape
    assert empty == (0,) and jax.eval_shape(flow.to_base, params, POINTS[:0]).shape == (0, 3)


def test_wrong_arguments_are_refused(tanh_field):
    field, params = tanh_field
    build = models.normalizing_flow
    for choices, says in (
        ({"trace": "hutchinson"}, "num_probes must be given"),
        ({"trace": "sketch"}, "'exact'"),
        ({"duration": 0.0}, "duration must be"),
        ({"report": True}, "report is no choice"),
        ({"base": normal(jnp.zeros(2))}, "vectors of size 3"),
        ({"solver": "rk5", "num_steps": 2}, "'rk4'"),
    ):
        with pytest.raises(ValueError, match=says):
            build(field, 3, **choices)
    with pytest.raises(TypeError, match="base must be a distribution"):
        build(field, 3, base=lambda z: z)
    with pytest.raises(ValueError, match="dimension must be at least 1"):
        build(field, 0)
    flow = build(field, 3, **STEPS)
    with pytest.raises(ValueError, match=r"x must be of shape \(3,\)"):
        flow.log_density(params, jnp.ones((4, 2)))
    with pytest.raises(ValueError, match="key must be None"):
        flow.log_density(params, POINTS, jax.random.key(0))
    with pytest.raises(ValueError, match="key must be a random key"):
        build(field, 3, trace="hutchinson", num_probes=2, **STEPS).log_density(params, POINTS)
    with pytest.raises(TypeError, match="shaped like y"):
        build(models.mlp([3, 4, 2]), 3, **STEPS).log_density(models.mlp([3, 4, 2]).init(jax.random.key(0)), POINTS)
