"""Every workload's closed-form Jacobian against both modes, its sizes, and the laws behind it."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.scenarios import workloads
from tests.tolerance import assert_close

SMALL = {
    "curve": {"outputs": 5},
    "dense layer": {"inputs": 3, "outputs": 4},
    "softmax layer": {"inputs": 4, "outputs": 3},
    "camera": {"outputs": 6},
    "heat": {"inputs": 7, "depth": 3},
}


def small(name, seed=0):
    key = jax.random.key(seed)
    if name == "phase delay":
        return workloads.phase_delay(key, sources=2, antennas=3, channels=4)
    return workloads.make(name, key, **SMALL[name])


@pytest.mark.parametrize("name", workloads.NAMES)
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_the_closed_form_is_the_derivative(x64, name, mode):
    workload = small(name)
    exact = jax.jit(workload.derivative)(*workload.arguments)
    found = jax.jit(mode(workload.fun))(*workload.arguments)
    assert exact.shape == found.shape
    scale = float(jnp.max(jnp.abs(exact)))
    assert_close(found, exact, 16, scale=scale)


@pytest.mark.parametrize("name", workloads.NAMES)
def test_sizes_are_those_of_the_jacobian(name):
    workload = small(name)
    assert workload.num_inputs == workload.x.size
    assert workload.num_inputs * workload.num_outputs == jax.eval_shape(workload.derivative, *workload.arguments).size


@pytest.mark.parametrize(("name", "sizes"), SMALL.items())
def test_sizes_asked_for_are_given(name, sizes):
    workload = small(name)
    if "inputs" in sizes:
        assert workload.num_inputs == sizes["inputs"]
    if "outputs" in sizes:
        assert workload.num_outputs == sizes["outputs"]


@pytest.mark.parametrize("name", workloads.NAMES)
def test_a_key_fixes_everything_and_another_changes_it(name):
    same = jax.tree.map(lambda a, b: bool((a == b).all()), small(name).arguments, small(name).arguments)
    assert all(jax.tree.leaves(same))
    other = jax.tree.map(lambda a, b: bool((a == b).all()), small(name).arguments, small(name, seed=1).arguments)
    assert not all(jax.tree.leaves(other))


def test_dtype_follows_the_default(x64):
    for name in workloads.NAMES:
        workload = small(name)
        assert workload.fun(*workload.arguments).dtype == np.float64
    with jax.enable_x64(False):
        assert small("heat").x.dtype == np.float32


def test_softmax_lies_on_the_simplex_and_its_jacobian_in_the_tangent(x64):
    workload = small("softmax layer")
    assert_close(workload.fun(*workload.arguments).sum(), 1.0, 8)
    assert_close(workload.derivative(*workload.arguments).sum(0), 0.0, 4, scale=1)


def test_rotation_keeps_length_and_its_axis(x64):
    vector, point = jnp.asarray([0.3, -1.2, 0.5]), jnp.asarray([1.0, 2.0, 3.0])
    turned = workloads.rotate(vector, point)
    assert_close(jnp.linalg.norm(turned), jnp.linalg.norm(point), 16)
    assert_close(turned @ vector, point @ vector, 16)
    assert_close(workloads.rotate(-vector, turned), point, 16)


def test_a_residual_depends_on_its_own_point_only(x64):
    workload = small("camera")
    blocks = workload.derivative(*workload.arguments)[:, 9:].reshape(3, 2, 3, 3)
    for row in range(3):
        for column in range(3):
            assert bool(jnp.any(blocks[row, :, column] != 0)) == (row == column)


def test_heat_spreads_no_further_than_its_steps_and_decays(x64):
    workload = small("heat")
    u = jnp.zeros(7).at[3].set(1.0)
    after = workload.fun(u, *workload.constants)
    assert after[3] == jnp.max(after)
    assert_close(after.sum(), 1.0, 4)  # three steps do not reach the ends' outside
    bands = np.abs(np.subtract.outer(np.arange(7), np.arange(7)))
    assert (np.asarray(workload.derivative(*workload.arguments))[bands > 3] == 0).all()


def test_the_interferometer_has_the_published_shape():
    workload = workloads.make("phase delay", jax.random.key(0))
    assert (workload.num_inputs, workload.num_outputs) == (20, 20480)
    assert jnp.isfinite(workload.fun(*workload.arguments)).all()


def test_errors_name_the_choices():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="softmax layer"):
        workloads.make("nothing", key)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="does not take inputs; it can be sized by: outputs"):
        workloads.make("curve", key, inputs=3)
    with pytest.raises(ValueError, match="even"):
        workloads.camera(key, outputs=5)


def test_names_are_the_literal():
    assert typing.get_args(workloads.Name) == workloads.NAMES


@pytest.mark.parametrize("name", workloads.NAMES)
def test_transforms_are_products_and_rows_of_the_closed_form(x64, name):
    workload = small(name)
    found = {key: jax.jit(fun)(*arguments) for key, (fun, arguments) in workloads.transforms(workload).items()}
    exact = workload.derivative(*workload.arguments)
    rows = exact.reshape(workload.num_outputs, workload.num_inputs)
    scale = float(jnp.max(jnp.abs(exact))) * max(rows.shape)
    assert_close(found["jvp"][1].ravel(), rows.sum(1), 16, scale=scale)
    assert_close(found["vjp"][1][0].ravel(), rows.sum(0), 16, scale=scale)
    for mode in ("jacfwd", "jacrev"):
        assert_close(found[mode], exact, 16, scale=scale)
    assert "grad" not in found


def test_a_map_with_one_output_has_a_gradient_and_a_hessian(x64):
    found = workloads.transforms(workloads.dense_layer(jax.random.key(0), inputs=3, outputs=1))
    gradient, hessian = (fun(*arguments) for fun, arguments in (found["grad"], found["hessian"]))
    fun, arguments = found["jacrev"]
    assert_close(gradient, fun(*arguments)[0], 16)
    assert hessian.shape == (3, 3)
