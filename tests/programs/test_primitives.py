"""The table of primitives against jax's own; what names or moves arrays without changing them, for every reader."""

import functools
import subprocess
import sys
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcalc import cost, hessian, jacobian, laplacian, taylor
from jaxcalc.programs import hessian_pattern, jacobian_pattern, primitives
from tests.tolerance import assert_close


def words(text: str) -> set[str]:
    return set(text.split())


# What holds other programs, which ``walk`` takes apart, or whose rule is its author's.
HOLDS_PROGRAMS = words(
    """
    call call_exported call_hi_primitive call_hi_primitive_linearized closed_call composite cond core_map
    custom_jvp_call custom_jvp_call_jaxpr custom_lin custom_linear_solve custom_partitioning custom_vjp_call
    custom_vmap_call eval_jaxpr jit linear_call remat2 remat_opt run_state scan shard_map stage while
    """
)
# What is taken at its worst: other devices, the host, mutable references, sparse and foreign kernels, rare types.
UNKNOWN = words(
    """
    all_gather all_gather_done all_gather_invariant all_gather_reduced all_gather_reduced_start all_gather_start
    all_to_all all_to_all_done all_to_all_start pbroadcast_done pbroadcast_dynamic pbroadcast_start pmax pmin
    ppermute ppermute_done ppermute_start precv preduced psend psum psum_done psum_invariant
    psum_invariant_start psum_start ragged_all_to_all reduce_scatter reduce_scatter_done reduce_scatter_start
    unreduced_pmax unreduced_pmin unreduced_psum unreduced_psum_start unreduced_reduce_scatter
    unreduced_reduce_scatter_start check debug_callback debug_print ffi_call inspect_sharding io_callback
    platform_index pure_callback shape_assertion unreachable accum_grad_in_ref addupdate box_get box_set
    empty_ref free_ref freeze get new_box new_ref pin swap unpin bcoo_dot_general bcoo_dot_general_sampled
    bcoo_extract bcoo_fromdense bcoo_sort_indices bcoo_spdot_general bcoo_sum_duplicates bcoo_todense
    bcoo_transpose bcsr_dot_general bcsr_extract bcsr_fromdense bcsr_todense coo_fromdense coo_matmat coo_matvec
    coo_spmm coo_spmv coo_todense csr_fromdense csr_matmat csr_matvec csr_spmm csr_spmv csr_todense spsolve
    todense cudnn_fusion dot_product_attention_bwd dot_product_attention_bwd_wrapper
    dot_product_attention_fp8_bwd dot_product_attention_fp8_bwd_wrapper dot_product_attention_fp8_fwd
    dot_product_attention_fp8_fwd_wrapper dot_product_attention_fwd dot_product_attention_fwd_wrapper scaled_dot
    scaled_matmul scaled_matmul_wrapper broadcast_to create_linear dim_as_value dimension_size empty empty2
    from_edtype iota_2x32_shape log_extend log_read new_log polynomial to_edtype zeros_like
    """
)


# In a process of its own: other libraries and other tests define primitives too.
LIST = """
import gc, jax, jax.image, jax.random, jax.scipy.linalg, jax.scipy.special, jax.experimental.sparse
from jax.extend.core import Primitive
print(*(primitive.name for primitive in gc.get_objects() if isinstance(primitive, Primitive)))
"""


def test_every_primitive_of_this_jax_has_a_row_or_is_left_out_on_purpose():
    listed = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True, timeout=120)
    own = words(listed.stdout)
    assert len(own) > 200
    assert own - primitives.TABLE.keys() - HOLDS_PROGRAMS - UNKNOWN == set()
    assert not primitives.TABLE.keys() & (HOLDS_PROGRAMS | UNKNOWN)


def test_rows_are_of_known_kinds():
    assert {row.kind for row in primitives.TABLE.values()} < set(typing.get_args(primitives.Kind))
    assert primitives.of("none of jax's").kind == "unknown"
    for name, row in primitives.TABLE.items():
        counted = (row.operations is not None) + row.divides + (row.nanoseconds is not None)
        assert counted == (row.kind == "elementwise"), name


def sharded(x: jax.Array) -> jax.Array:
    mesh = Mesh(np.array(jax.devices()[:1]), ("i",))
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec()))


SAME: dict[str, Callable[[jax.Array], jax.Array]] = {
    "name": lambda x: checkpoint_name(x, "named"),
    "sharding": sharded,
    "device": lambda x: jax.device_put(x, jax.devices()[0]),
    "barrier": jax.lax.optimization_barrier,
    "copy": jnp.copy,
    "tile of 1": lambda x: jnp.tile(x, 1),
    "tile of rows": lambda x: jnp.tile(x, (1, 1))[0],
    "stack of 1": lambda x: jnp.stack([x])[0],
    "reshape": lambda x: x.reshape(1, -1, 1)[0, :, 0],
    "conversion": lambda x: x.astype(x.dtype),
}
close = functools.partial(assert_close, dtype=np.float32)
SIZE = 12
POINT = np.linspace(0.1, 1.0, SIZE, dtype=np.float32)


def energy(same: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    return lambda x: jnp.sum(jnp.tanh(same(jnp.sin(x))) ** 2)


def exact(x: np.ndarray) -> np.ndarray:
    """Second derivatives of tanh(sin x)^2."""
    s, t = np.sin(x), np.tanh(np.sin(x))
    slope = 1 - t**2
    return 2 * ((slope**2 - 2 * t**2 * slope) * np.cos(x) ** 2 - t * slope * s)


@pytest.fixture(scope="module")
def plain():
    return cost(laplacian(energy(lambda x: x), method="forward-laplacian"), POINT)


@pytest.mark.parametrize("name", SAME)
def test_what_changes_nothing_costs_nothing(name, plain):
    fun = energy(SAME[name])
    operator = laplacian(fun, method="forward-laplacian")
    priced = cost(operator, POINT)
    assert priced.flops <= 1.1 * plain.flops and priced.peak_bytes <= 1.1 * plain.peak_bytes
    close(operator(POINT), exact(POINT).sum(), 64)
    assert hessian_pattern(fun, POINT).nnz == SIZE
    curve = taylor(fun, 2)(POINT, np.ones_like(POINT))
    close(2 * curve[2], exact(POINT).sum(), 64)
    close(hessian(fun)(POINT).diagonal(), exact(POINT).astype(np.float32), 256)


@pytest.mark.parametrize("name", SAME)
def test_constants_are_followed_through_what_changes_nothing(name):
    places = np.array([3, 1, 2])

    def fun(x):
        return jnp.sin(x)[SAME[name](jnp.asarray(places))] ** 2

    pattern = jacobian_pattern(fun, POINT[:5])
    assert pattern.nnz == 3
    close(jacobian(fun)(POINT[:5]), jax.jacfwd(fun)(POINT[:5]), 8)


def test_a_barrier_over_several_arrays_and_a_name_keep_complex_derivatives():
    def fun(x):
        z, rest = jax.lax.optimization_barrier((jnp.exp(1j * x), jnp.arange(3.0)))
        return jnp.sum(jnp.abs(checkpoint_name(z, "z") - 2) ** 2) + rest.sum()

    # |exp(i x) - 2|^2 = 5 - 4 cos x
    close(laplacian(fun, method="forward-laplacian")(POINT), 4 * np.cos(POINT).sum(), 64)


def test_several_arrays_are_put_on_a_device_each_with_what_it_carries():
    def fun(x):
        sines, squares, fixed = jax.device_put((jnp.sin(x), x[:2] ** 2, jnp.arange(3.0)))
        return jnp.sum(sines**3) * jnp.sum(squares) + fixed.sum()

    close(laplacian(fun, method="forward-laplacian")(POINT), jnp.trace(jax.hessian(fun)(POINT)), 256)


def test_elements_read_before_and_after_a_new_shape_are_worked_out_once(plain):
    rolled = laplacian(lambda x: jnp.sum(jnp.tanh(jnp.roll(jnp.sin(x), 0)) ** 2), method="forward-laplacian")
    assert cost(rolled, POINT).flops <= 1.25 * plain.flops
    close(rolled(POINT), exact(POINT).sum(), 64)


def test_several_matrices_stacked_keep_their_diagonal():
    def fun(x):
        return jnp.sum(jnp.stack([jnp.sin(x), jnp.cos(x)]) ** 3)

    operator = laplacian(fun, method="forward-laplacian")
    wide, narrow = (cost(operator, np.zeros(n, np.float32)).flops / n for n in (200, 20))
    assert wide <= 1.5 * narrow  # per input: no dense Jacobian
    s, c = np.sin(POINT), np.cos(POINT)
    close(operator(POINT), np.sum(6 * s * c**2 - 3 * s**3 + 6 * c * s**2 - 3 * c**3), 256)
