"""Prices against hand counts, against directly traced programs, and against XLA's buffers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcalc.programs import executable, walk
from jaxcalc.programs.cost import Cost, cost, price

M, K, N = 40, 50, 30


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def mlp(weights, x):
    for weight in weights[:-1]:
        x = jnp.tanh(x @ weight)
    return x @ weights[-1]


WIDTHS = ((8, 64), (64, 64), (64, 3))
BATCH = 32
FORWARD = sum(2 * BATCH * a * b for a, b in WIDTHS)


# -- operations: the oracle is a count by hand ---------------------------------------------------------------------


def scan_of_products(w, x):
    return lax.scan(lambda c, _: (w @ c, None), x, None, length=70)[0]


COUNTED = {
    "product": (lambda a, b: a @ b, (array(M, K), array(K, N)), 2 * M * K * N, 0),
    "chain": (lambda a, b: a @ b @ a, (array(M, K), array(K, M)), 4 * M * M * K, 0),
    "batched": (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (array(7, M, K), array(7, K, N)), 14 * M * K * N, 0),
    "complex product": (
        lambda a, b: a @ b,
        (array(M, K, dtype=jnp.complex64), array(K, N, dtype=jnp.complex64)),
        8 * M * K * N,
        0,
    ),
    "outer": (jnp.outer, (array(M), array(N)), M * N, 0),
    "network": (mlp, ([array(*w) for w in WIDTHS], array(BATCH, 8)), FORWARD, 2 * BATCH * 64),
    "network's gradient": (
        jax.grad(lambda w, x: jnp.sum(mlp(w, x) ** 2)),
        ([array(*w) for w in WIDTHS], array(BATCH, 8)),
        3 * FORWARD - 2 * BATCH * 8 * 64,  # the input has no cotangent
        2 * BATCH * 64,
    ),
    "polynomial": (lambda x: ((2.0 * x + 3.0) * x + 5.0) * x + 7.0, (array(100),), 600, 0),
    "powers": (lambda x: x**2 + x**3 + x**8, (array(100),), (1 + 2 + 3 + 2) * 100, 0),
    "stencil": (lambda u: u[2:] - 2.0 * u[1:-1] + u[:-2], (array(1002),), 3000, 0),
    "convolution": (
        lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "VALID"),
        (array(2, 3, 20, 20), array(5, 3, 4, 4)),
        2 * 2 * 5 * 17 * 17 * 3 * 16,
        0,
    ),
    "strided convolution's gradient": (
        lambda x, k, u: jax.vjp(lambda x: lax.conv_general_dilated(x, k, (2, 2), "VALID"), x)[1](u),
        (array(2, 3, 20, 20), array(5, 3, 4, 4), array(2, 5, 9, 9)),
        2 * 2 * 5 * 9 * 9 * 3 * 16,
        0,
    ),
    "grouped convolution": (
        lambda x, k: lax.conv_general_dilated(x, k, (1,), "VALID", feature_group_count=4),
        (array(2, 8, 20), array(12, 2, 5)),
        2 * 2 * 12 * 16 * 2 * 5,
        0,
    ),
    "Cholesky": (lambda a: lax.linalg.cholesky(a, symmetrize_input=False), (array(60, 60),), 60**3 / 3, 0),
    "triangular solve": (
        lambda a, b: jax.scipy.linalg.solve_triangular(a, b),
        (array(60, 60), array(60, 7)),
        60**2 * 7,
        0,
    ),
    "solve": (jnp.linalg.solve, (array(60, 60), array(60, 7)), 2 * 60**3 / 3 + 2 * 60**2 * 7, 0),
    "FFT": (jnp.fft.fft, (array(3, 256, dtype=jnp.complex64),), 3 * 5 * 256 * 8, 0),
    "real FFT": (jnp.fft.rfft, (array(3, 256),), 3 * 2.5 * 256 * 8, 0),
    "real FFT back": (jnp.fft.irfft, (array(3, 129, dtype=jnp.complex64),), 3 * 2.5 * 256 * 8, 0),
    "sort": (jnp.sort, (array(3, 256),), 3 * 256 * 8, 0),
    "logsumexp": (lambda x: jax.scipy.special.logsumexp(x), (array(1000),), 3000, 1001),
    "softmax": (jax.nn.softmax, (array(1000),), 4000, 1000),
    "mean and variance": (lambda x: (x.mean(), x.var()), (array(1000),), 4000, 0),  # the mean is computed once
    "cumulative sum": (jnp.cumsum, (array(1000),), 999, 0),
    "scan of products": (scan_of_products, (array(N, N), array(N)), 70 * 2 * N * N, 0),
    "loop of a known length": (
        lambda x: lax.fori_loop(3, 53, lambda i, x: jnp.sin(x) * 2.0, x),
        (array(100),),
        5000,
        5000,
    ),
    "indices": (lambda i: (i * 3 + 1) % 7, (array(100, dtype=jnp.int32),), 0, 0),
    "movement": (lambda x: jnp.concatenate([x.T, x.T])[::2].reshape(-1), (array(M, N),), 0, 0),
    "scatter": (lambda x, u: x.at[jnp.arange(0, 60, 2)].add(u), (array(100), array(30)), 30, 0),
}


@pytest.mark.parametrize("name", COUNTED)
def test_operations_equal_a_hand_count(name):
    fun, args, flops, transcendentals = COUNTED[name]
    found = cost(fun, *args)
    assert found.flops == pytest.approx(flops, rel=0.05)
    assert found.transcendentals == pytest.approx(transcendentals, rel=0.01)


def test_kinds_of_work_add_up():
    found = cost(
        lambda a, v, b: (a @ a, a @ v, jnp.einsum("bij,bjk->bik", b, b)), array(99, 99), array(99), array(9, 5, 5)
    )
    assert found.counts["gemm"] == 2 * 99**3
    assert found.counts["gemv"] == 2 * 99**2
    assert (found.counts["small product"], found.counts["small calls"]) == (9 * 2 * 125, 9)
    assert found.product_flops == found.flops == sum(found.counts[k] for k in ("gemm", "gemv", "small product"))
    rows, columns = cost(lambda x: x.sum(1), array(20, 30)), cost(lambda x: x.sum(0), array(20, 30))
    assert rows.counts["reduce minor"] == columns.counts["reduce major"] == 600
    assert cost(jnp.cumsum, array(50)).counts["cumulative"] == 50
    assert cost(lambda x, y: x / y, array(50), array(50)).counts["division/sqrt"] == 50


def test_what_nobody_needs_and_what_is_equal_costs_nothing():
    plain = cost(lambda a: jnp.exp(a), array(50))
    doubled = cost(lambda a: (jnp.sin(a @ a.T), jnp.exp(a[0]) + 0.0 * jnp.exp(a[0]))[1], array(50, 50))
    assert doubled.transcendentals == plain.transcendentals == 50
    assert doubled.product_flops == 0


# -- loops and choices ---------------------------------------------------------------------------------------------


def test_a_scan_is_its_length_times_its_body():
    def body(c, x):
        return jnp.tanh(c @ c) + x, c.sum()

    once = cost(lambda c, x: body(c, x), array(20, 20), array(20, 20))
    scanned = cost(lambda c, x: lax.scan(body, c, x), array(20, 20), array(70, 20, 20))
    assert scanned.flops == 70 * once.flops
    assert scanned.transcendentals == 70 * once.transcendentals
    assert scanned.counts["trips"] == 70
    assert scanned.kernels >= 70 * (once.kernels - 1)
    unrolled = cost(lambda c, x: lax.scan(body, c, x, unroll=70), array(20, 20), array(70, 20, 20))
    assert unrolled.flops == scanned.flops
    assert "trips" not in unrolled.counts


@pytest.mark.parametrize(
    ("test", "step", "start", "trips"),
    [
        (lambda i: i < 10, 1, 0, 10),
        (lambda i: i <= 10, 3, 0, 4),
        (lambda i: i > 0, -2, 9, 5),
        (lambda i: i >= 0, -3, 9, 4),
        (lambda i: i != 12, 4, 0, 3),
        (lambda i: i < 0, 1, 5, 0),
        (lambda i: jnp.greater(10, i), 1, 2, 8),
    ],
)
def test_a_counting_while_is_counted(test, step, start, trips):
    def count(x):
        return lax.while_loop(lambda c: test(c[0]), lambda c: (c[0] + step, jnp.exp(c[1])), (start, x))[1]

    found = cost(count, array(10))
    assert (found.transcendentals, found.assumed_trips) == (10 * trips, 0)


def newton(x):
    return lax.while_loop(lambda x: jnp.sum(x) > 1.0, lambda x: x - jnp.sin(x), x)


def test_an_unknown_number_of_trips_is_asked_for_or_admitted():
    assert (cost(newton, array(10)).transcendentals, cost(newton, array(10)).assumed_trips) == (10, 1)
    told = cost(newton, array(10), trips=7)
    assert (told.transcendentals, told.assumed_trips) == (70, 0)
    two = cost(lambda x: newton(newton(x) + 2.0), array(10), trips={1: 5})
    assert (two.transcendentals, two.assumed_trips) == (10 + 50, 1)


def test_a_bound_that_is_an_argument_is_not_known():
    loop = cost(lambda n, x: lax.fori_loop(0, n, lambda i, x: jnp.exp(x), x), array(dtype=jnp.int32), array(10))
    assert (loop.transcendentals, loop.assumed_trips) == (10, 1)


def test_a_choice_costs_its_dearest_branch():
    def choose(i, x):
        return lax.switch(i, [lambda x: x, lambda x: x @ x, lambda x: jnp.exp(x)], x)

    found = cost(choose, array(dtype=jnp.int32), array(30, 30))
    assert (found.flops, found.transcendentals) == (2 * 30**3, 0)


# -- lanes: the oracle is the program that vmap traces ---------------------------------------------------------------


def lane_price(fun, lanes, *args):
    return price(walk.trace(fun, *args), lanes)


def fun_of_vector(w, x):
    y = jnp.tanh(w @ x)
    y = lax.scan(lambda c, _: (jnp.sin(w @ c) / 2.0, c), y, None, length=5)[0]
    return jnp.sort(y) / jnp.sum(y * y) + jnp.cumsum(y)[::-1]


def push(w, x, v):
    return jax.jvp(lambda x: fun_of_vector(w, x), (x,), (v,))[1]


def pull(w, x, u):
    return jax.vjp(lambda x: fun_of_vector(w, x), x)[1](u)[0]


@pytest.mark.parametrize("product", [push, pull])
def test_lanes_price_what_vmap_traces(product):
    w, x = array(24, 24), array(24)
    lanes = lane_price(product, [((2,), 24)], w, x, x)
    direct = cost(jax.vmap(product, (None, None, 0)), w, x, array(24, 24))
    assert lanes.flops == pytest.approx(direct.flops, rel=0.03)
    assert lanes.transcendentals == direct.transcendentals
    for name in ("gemm", "gemv", "sort", "cumulative", "trips"):
        assert lanes.counts.get(name, 0) == pytest.approx(direct.counts.get(name, 0), rel=0.03)


def test_lanes_agree_with_jax_jacobians():
    w, x = array(24, 24), array(24)
    forward = price(walk.trace(push, w, x, x), [((2,), 24)], lanes_last=True)
    reverse = price(walk.trace(pull, w, x, x), [((2,), 24)])
    for lanes, whole in ((forward, jax.jacfwd(fun_of_vector, 1)), (reverse, jax.jacrev(fun_of_vector, 1))):
        direct = cost(whole, w, x)
        assert lanes.flops == pytest.approx(direct.flops, rel=0.03)
        assert lanes.output_bytes == direct.output_bytes == 4 * 24 * 24
        assert 0.5 <= lanes.peak_bytes / direct.peak_bytes <= 2


def test_what_depends_on_constant_lanes_alone_is_computed_beforehand():
    product = walk.trace(lambda x, v: jnp.sin(x) * (3 * v - 1) @ jnp.ones((20, 4)), array(20), array(20))
    generated = price(product, [((1,), 20)])
    constant = price(product, [((1,), 20)], constant=True)
    assert generated.flops - constant.flops == 2 * 20 * 20
    assert generated.transcendentals == constant.transcendentals == 20
    linear = walk.trace(lambda x, v: 3 * v - 1, array(20), array(20))
    folded = price(linear, [((1,), 20)], constant=True)
    assert (folded.flops, folded.output_bytes) == (0, 4 * 20 * 20)
    loop = walk.trace(lambda x, v: jax.lax.fori_loop(0, 3, lambda i, c: 2 * c, v), array(20), array(20))
    assert price(loop, [((1,), 20)], constant=True).flops == 3 * 20 * 20


def test_transcendentals_cost_what_they_take_in_their_precision(x64):
    narrow, wide = (cost(jnp.log, jax.ShapeDtypeStruct((100,), dtype)) for dtype in ("float32", "float64"))
    assert narrow.transcendentals == wide.transcendentals == 100
    assert wide.counts["transcendental"] > narrow.counts["transcendental"] > 0


def test_a_matrix_times_lanes_is_one_product():
    found = lane_price(lambda w, v: w @ v, [((1,), 64)], array(50, 50), array(50))
    assert found.counts == {"gemm": 2 * 64 * 50 * 50, "product calls": 1.0, "reordered bytes": 0.0}
    both = lane_price(lambda a, b: a @ b, [((0, 1), 64)], array(50, 50), array(50, 50))
    assert (both.counts["gemm"], both.counts["product calls"]) == (64 * 2 * 50**3, 64)


def test_lanes_multiply_where_they_meet():
    def fun(x, u, v):
        return jnp.exp(x), jnp.exp(u), jnp.exp(v), jnp.exp(u * v)

    found = lane_price(fun, [((1,), 3), ((2,), 5)], array(10), array(10), array(10))
    assert found.transcendentals == 10 * (1 + 3 + 5 + 15)
    assert found.output_bytes == 40 * (1 + 3 + 5 + 15)


def test_a_choice_between_lanes_runs_every_branch():
    def choose(p, x):
        return lax.cond(p > 0, jnp.exp, lambda x: jnp.sin(x) * x, x)

    lanes = lane_price(choose, [((0,), 6)], array(), array(10))
    direct = cost(jax.vmap(choose, (0, None)), array(6), array(10))
    assert lanes.transcendentals == direct.transcendentals == 2 * 60
    assert lane_price(choose, [((1,), 6)], array(), array(10)).transcendentals == 60


def test_a_predicate_with_lanes_gives_them_to_the_carry():
    def loop(n, x):
        return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.exp(c[1])), (0, x))[1]

    args = array(dtype=jnp.int32), array(10)
    lanes = price(walk.trace(loop, *args), [((0,), 6)], trips=4)
    direct = cost(jax.vmap(loop, (0, None)), array(6, dtype=jnp.int32), array(10), trips=4)
    assert lanes.transcendentals == direct.transcendentals == 4 * 60


# -- memory: the oracle is XLA ---------------------------------------------------------------------------------------


def loss(w, x):
    return jnp.mean((jnp.tanh(x @ w) @ w.T - x) ** 2)


def stack(x):
    return lax.scan(lambda c, _: (jnp.tanh(c @ c), c), x, None, length=40)


COMPILED = {
    "elementwise": (lambda x: jnp.exp(x) * 2.0 + x, (array(200, 200),)),
    "in place": (lambda x: (x @ x).at[3].set(1.0) * 2.0, (array(200, 200),)),
    "softmax": (jax.nn.softmax, (array(200, 200),)),
    "products": (lambda a, b: jnp.tanh(a @ b) @ b, (array(100, 100), array(100, 100))),
    "jacfwd": (jax.jacfwd(mlp, 1), ([array(*w) for w in WIDTHS], array(8))),
    "jacrev": (jax.jacrev(mlp, 1), ([array(*w) for w in WIDTHS], array(8))),
    "hessian": (jax.hessian(loss), (array(6, 5), array(30, 6))),
    "scan": (stack, (array(50, 50),)),
    "scan's gradient": (jax.grad(lambda x: stack(x)[0].sum()), (array(50, 50),)),
    "Cholesky": (jnp.linalg.cholesky, (array(80, 80),)),
    "convolution": (lambda x, k: lax.conv(jnp.tanh(x), k, (1, 1), "SAME"), (array(2, 3, 32, 32), array(5, 3, 3, 3))),
    "stencil's jacfwd": (jax.jacfwd(lambda u: jnp.roll(u, 1) * u - jnp.roll(u, -1)), (array(200),)),
    "gather and scatter": (jax.jacrev(lambda x: x[jnp.array([1, 5, 7, 7])] ** 2), (array(300),)),
    "cumulative": (lambda x: jnp.cumsum(jnp.exp(x), 1), (array(100, 100),)),
}


@pytest.mark.parametrize("name", COMPILED)
def test_memory_is_within_a_factor_two_of_xla(name):
    fun, args = COMPILED[name]
    found, compiled = cost(fun, *args), executable(fun, *args)
    assert found.output_bytes == pytest.approx(compiled.outputs, abs=64)
    assert 0.8 <= found.peak_bytes / compiled.footprint <= 2.0


def test_a_broadcast_that_is_reduced_takes_no_memory():
    found = cost(lambda x, y: jnp.sum((x[:, None] - y) ** 2, 1), array(10**6), array(10**6))
    assert found.flops == pytest.approx(3e12)
    assert found.peak_bytes < 1e8


# -- what it has to stand --------------------------------------------------------------------------------------------


def test_nothing_is_allocated():
    big = 10**6
    found = cost(jax.grad(lambda a, b: jnp.sum(jnp.sin(a @ b))), array(big, big), array(big, big))
    assert found.flops == pytest.approx(4 * big**3, rel=1e-3)
    assert found.output_bytes == 4 * big**2
    assert found.peak_bytes >= 8 * big**2


@pytest.mark.parametrize("size", [0, 1])
def test_sizes_nought_and_one(size):
    def fun(a, x):
        y = jnp.sort(jnp.tanh(a @ x)) + jnp.cumsum(x)
        y = lax.scan(lambda c, z: (c * z, c), y, jnp.broadcast_to(x, (size, size)))[0]
        return jnp.concatenate([y, x]), jnp.linalg.cholesky(a), jnp.fft.rfft(jnp.pad(y, 3))

    found = cost(fun, array(size, size), array(size))
    assert math.isfinite(found.flops) and found.flops >= 0 and found.peak_bytes >= found.output_bytes
    jacobian = cost(jax.jacfwd(lambda x: jnp.sin(x) * x[:1].sum()), array(size))
    assert jacobian.output_bytes == 4 * size * size
    assert lane_price(push, [((2,), size)], array(3, 3), array(3), array(3)).product_flops >= 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64", "int8"])
def test_bytes_follow_the_type(dtype):
    found = cost(lambda x: x + x, array(1000, dtype=dtype))
    assert found.output_bytes == found.peak_bytes == 1000 * jnp.dtype(dtype).itemsize


def test_double_precision(x64):
    assert cost(lambda x: jnp.sin(x) @ x, array(100, 100, dtype=jnp.float64)).output_bytes == 80_000


def test_keys_callbacks_and_custom_rules_are_priced():
    @jax.custom_vjp
    def clip(x):
        return jnp.clip(x, -1, 1)

    clip.defvjp(lambda x: (clip(x), None), lambda _, g: (g,))

    def fun(key, x):
        noise = jax.random.normal(key, x.shape)
        y = jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        return clip(jax.checkpoint(jnp.tanh)(x) + noise) + y

    found = cost(fun, jax.random.key(0), array(100))
    assert found.counts["opaque"] >= 100
    assert found.transcendentals >= 200
    assert found.output_bytes == 400


def test_costs_add_and_scale():
    a, b = cost(lambda x: x @ jnp.exp(x), array(30, 30)), cost(lambda x: jnp.sin(x).sum(), array(50, 50))
    total = a + b
    assert total == b + a
    assert total.flops == a.flops + b.flops
    assert total.output_bytes == a.output_bytes + b.output_bytes
    assert max(a.peak_bytes, b.peak_bytes) <= total.peak_bytes <= a.peak_bytes + b.peak_bytes
    assert a + Cost() == a
    tripled = 3 * a
    assert (tripled.flops, tripled.transcendentals) == (3 * a.flops, 3 * a.transcendentals)
    assert tripled.peak_bytes == a.peak_bytes + 2 * a.output_bytes
    assert tripled.counts["gemm"] == 3 * a.counts["gemm"]


def test_moved_bytes_are_those_of_the_fused_program():
    fused = cost(lambda x: jnp.sin(x) * 2.0 + x, array(1000))
    assert (fused.bytes_moved, fused.kernels) == (8000, 1)
    product = cost(lambda a, b: a @ b, array(M, K), array(K, N))
    assert product.bytes_moved == 4 * (M * K + K * N + M * N)
    part = cost(lambda x: x[:10] * 2.0, array(10**6))
    assert part.bytes_moved == 80
