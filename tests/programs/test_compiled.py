"""XLA's view of a program, against counts and sizes that can be told by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.programs.compare_compiled import survey
from jaxcalc.programs.compiled import executable
from tests.tolerance import assert_close


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


@pytest.mark.parametrize("dims", [(4, 5, 6), (16, 32, 8)])
def test_a_matrix_product_counts_two_operations_per_multiplication(dims):
    m, k, n = dims
    program = executable(jnp.matmul, shape(m, k), shape(k, n))
    assert program.exact
    assert program.flops == 2 * m * k * n
    assert program.outputs == 4 * m * n
    assert program.arguments == 4 * (m * k + k * n)


def test_transcendentals_are_counted_apart():
    program = executable(lambda x: jnp.exp(x) + 1.0, shape(128))
    assert (program.flops, program.transcendentals, program.operations) == (128, 128, 256)


def test_it_runs_and_gives_what_the_function_gives():
    x = jnp.linspace(0.0, 1.0, 7)
    program = executable(lambda x, y: jnp.sin(x) @ y, x, x)
    assert_close(program(x, x), jnp.sin(x) @ x, 8, dtype=jnp.float32)


def test_footprint_is_temporaries_and_outputs():
    program = executable(lambda x: jnp.sum(jnp.sort(x)[::2]), shape(1000))
    assert program.temporaries >= 4000  # the sorted copy
    assert program.footprint == program.temporaries + program.outputs - program.aliased


def steps(length, **options):
    return lambda x: jax.lax.scan(lambda c, _: (jnp.tanh(c @ x), None), x, None, length=length, **options)[0]


def test_a_loop_hides_its_operations_and_is_flagged():
    short, long = executable(steps(2), shape(16, 16)), executable(steps(200), shape(16, 16))
    assert short.counted_flops == pytest.approx(long.counted_flops, rel=0.01)  # the trap
    for program in (short, long):
        assert program.loops == 1
        assert not program.exact
        assert np.isnan([program.flops, program.transcendentals, program.operations, program.bytes_accessed]).all()


def test_an_unrolled_loop_is_counted_in_full():
    program = executable(steps(6, unroll=True), shape(16, 16))
    assert program.loops == 0
    assert program.flops == 6 * 2 * 16**3
    assert program.transcendentals == 6 * 16**2


def test_a_custom_call_hides_its_operations_and_is_named():
    program = executable(jnp.linalg.cholesky, shape(8, 8))
    assert program.opaque
    assert np.isnan(program.flops)


def test_constants_are_computed_at_compile_time_arguments_are_not():
    x = np.ones((64, 64), np.float32)
    assert executable(lambda: jnp.asarray(x) @ jnp.asarray(x)).arguments == 0
    assert executable(jnp.matmul, x, x).flops == 2 * 64**3


def test_pytrees_go_in_and_out():
    program = executable(lambda tree: {"sum": tree["a"] + tree["b"][0]}, {"a": shape(3), "b": [shape(3)]})
    assert program.flops == 3
    assert program({"a": jnp.ones(3), "b": [jnp.ones(3)]})["sum"].tolist() == [2.0] * 3


def test_survey_has_one_row_per_name_and_leaves_out_what_is_missing_or_too_large():
    x = jnp.ones((32, 32))
    routes = {"product": (jnp.matmul, (x, x)), "sum": (jnp.sum, (x,))}
    found = survey(routes, ["sum", "absent", "product"], repeats=3, min_seconds=0.0, run_limit=1000.0)
    assert found["seconds"].shape == (3, 3)
    assert np.isfinite(found["seconds"]).all(axis=1).tolist() == [True, False, False]  # the product takes 4096 bytes
    for count in ("operations", "compiled_operations"):
        np.testing.assert_allclose(found[count], [1023, np.nan, 2 * 32**3], rtol=1e-3)
    assert found["footprint"][2] == 4 * 32**2
    assert (found["compile_seconds"][[0, 2]] > 0).all()


def test_survey_reads_operations_off_the_program_and_leaves_unknown_loops_out():
    x = jnp.ones(8)
    scan = lambda x: jax.lax.scan(lambda c, _: (c * 2.0, None), x, None, length=5)[0]
    until = lambda x: jax.lax.while_loop(lambda c: c.sum() < 100.0, lambda c: c * 2.0, x)
    found = survey({"scan": (scan, (x,)), "until": (until, (x,))}, ["scan", "until"], repeats=1, min_seconds=0.0)
    np.testing.assert_array_equal(found["operations"], [5 * 8, np.nan])
    assert np.isnan(found["compiled_operations"]).all()
