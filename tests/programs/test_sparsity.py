"""Sparsity patterns: every entry that differs from zero is in them, and where exactness is claimed nothing else is.

The oracle is the dense Jacobian at random points (its entries that are not zero at some point).
"""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax import lax

from jaxcalc.programs import sparsity, walk
from jaxcalc.programs.sparsity import (
    detect,
    hessian_pattern,
    jacobian_pattern,
    loop_fixpoint,
    per_trip,
    reader,
    unrolled,
)

pytestmark = pytest.mark.usefixtures("x64")

N = 8
INPUT = jax.ShapeDtypeStruct((N,), np.float64)
WEIGHTS = np.random.default_rng(3).normal(size=(N, N)) * (np.random.default_rng(4).random((N, N)) < 0.4)


@jax.custom_vjp
def straight_through(x):
    return jnp.round(x)


straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))


@jax.custom_jvp
def rounded(x):
    return jnp.round(x)


rounded.defjvp(lambda x, v: (jnp.round(x[0]), 2 * v[0]))


def heat(x):
    return lax.fori_loop(0, 3, lambda i, c: c + 0.1 * (jnp.roll(c, 1) - 2 * c + jnp.roll(c, -1)), x)


def written_at_counter(x):
    return lax.fori_loop(0, N, lambda i, c: c.at[i].set(jnp.sin(x[i]) * c[i - 1]), x)


def written_round_and_round(x):
    return lax.fori_loop(0, 40, lambda i, c: c.at[i % N].set(x[i % 3] * c[(i * 3) % N]), x)


def carried_and_stacked(x):
    def step(c, slices):
        t, place = slices
        return c.at[place].set(c[1] * t), c[place] * t

    return lax.scan(step, x, (jnp.tile(x, 5) ** 2, jnp.tile(jnp.array([3, 1, 4, 7, 2]), 8)), reverse=True)


def counted_while(x):
    def body(c):
        return c[0] + 1, c[1].at[c[0]].set(x[c[0] + 1] * c[1][0])

    return lax.while_loop(lambda c: c[0] < 3, body, (0, x))[1]


def nested_loops(x):
    def outer(i, c):
        return lax.fori_loop(0, 2, lambda j, d: d.at[2 * i + j].set(x[i] * d[j]), c)

    return lax.fori_loop(0, 4, outer, x)


def convolved(x):
    kernel = jnp.array(WEIGHTS[:4, :3].reshape(4, 1, 3))
    options = {"window_strides": (2,), "padding": [(1, 2)], "feature_group_count": 2}
    return lax.conv_general_dilated(x.reshape(1, 2, 4) ** 2, kernel, **options)


# Patterns that are the Jacobian's, entry for entry.
EXACT = {
    "elementwise": lambda x: x**2,
    "differences": lambda x: (x[1:] - x[:-1]) ** 2,
    "masked": lambda x: x * jnp.array([1.0, 0, 1, 0, 1, 1, 0, 1]) * x[0],
    "mask from iota": lambda x: jnp.where(jnp.arange(N) < 3, x, x[0]),
    "sparse matrix": lambda x: jnp.array(WEIGHTS) @ jnp.sin(x),
    "diagonal times matrix": lambda x: jnp.diag(x) @ (jnp.array(WEIGHTS) @ x),
    "triangle": lambda x: jnp.tril(jnp.outer(x, x)) @ x,
    "batched product": lambda x: jnp.einsum("bij,bjk->bik", x.reshape(2, 2, 2), x.reshape(2, 2, 2)),
    "added at": lambda x: jnp.zeros(4).at[jnp.array([0, 2, 2])].add(x[:3] ** 2),
    "set at": lambda x: x.at[jnp.array([0, 2])].set(x[:2] ** 2),
    "multiplied at": lambda x: x.reshape(4, 2).at[:, 1].multiply(x[0]),
    "set outside": lambda x: x.at[jnp.array([0, 9, -3])].set(x[:3] ** 2, mode="drop"),
    "read beyond the end": lambda x: lax.dynamic_slice(x, (6,), (4,)),
    "written in each lane": lambda x: jax.vmap(lambda r, i: r.at[i].set(r[0] ** 2))(
        x.reshape(4, 2), jnp.array([0, 1, 1, 0])
    ),
    "bounded index": lambda x: x[jnp.argmax(x[:3])] * x[:2],
    "set over the middle": lambda x: lax.dynamic_update_slice(x, x[4:7] ** 2, (jnp.argmax(x[:2]),)),
    "squared index": lambda x: lax.dynamic_slice(x, (jnp.argmax(x[:2]) ** 2,), (3,)),
    "cubed index": lambda x: lax.dynamic_slice(x, (lax.integer_pow(jnp.argmax(x[:2]), 3),), (3,)),
    "power zero of an index": lambda x: lax.dynamic_slice(x, (lax.integer_pow(jnp.argmax(x[:3]), 0),), (2,)),
    "distance of an index": lambda x: lax.dynamic_slice(x, (jnp.abs(jnp.argmax(x[:2]) - 1),), (3,)),
    "segments": lambda x: jax.ops.segment_sum(x, jnp.array([0, 0, 1, 1, 2, 2, 0, 1]), 3),
    "cumulative product": lambda x: lax.cumprod(x.reshape(4, 2), axis=0, reverse=True),
    "associative scan": lambda x: lax.associative_scan(jnp.multiply, x),
    "softmax in rows": lambda x: jax.nn.softmax(x.reshape(2, 4)),
    "convolution": convolved,
    "pooling": lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "SAME"),
    "fourier": lambda x: jnp.abs(jnp.fft.fft(x.reshape(2, 4))),
    "diagonal solve": lambda x: jnp.linalg.solve(jnp.diag(x) + 3 * jnp.eye(N), x),
    "cholesky in lanes": lambda x: jnp.linalg.cholesky(jax.vmap(lambda a: a @ a.T + jnp.eye(2))(x.reshape(2, 2, 2))),
    "heat": heat,
    "lanes that end together": lambda x: jax.vmap(lambda y: lax.fori_loop(0, 2, lambda i, c: c * x[i], y))(x),
    # Indices that a selection chooses from constants: each is one of few, whatever lies between them.
    "either end": lambda x: x[jnp.where(x[0] > 0, jnp.arange(N), N - 1 - jnp.arange(N))],
    "either of each": lambda x: x[jnp.where(x > 0, jnp.arange(N), jnp.full(N, N - 1))],
    "one place by two numbers": lambda x: x[jnp.where(x > 0, jnp.arange(N), jnp.arange(N) - N)] ** 2,
    "wrapped": lambda x: x[(jnp.where(x > 0, jnp.arange(N), jnp.arange(N) + N) + 1) % N],
    "by a branch": lambda x: x[lax.cond(x[0] > 0, lambda: jnp.arange(N), lambda: (3 * jnp.arange(N)) % N)],
    "slice at either": lambda x: lax.dynamic_slice(x, (jnp.where(x[0] > 0, N - 2, 0),), (2,)),
    "set at either": lambda x: x.at[jnp.where(x[0] > 0, 5, 1)].set(x[3]),
    "in lanes": lambda x: jax.vmap(lambda i, y: x[jnp.where(y > 0, i, 0)])(jnp.arange(N), x),
    "set at counter": written_at_counter,
    "set round and round": written_round_and_round,
    "carried and stacked": carried_and_stacked,
    "counted while": counted_while,
    "nested loops": nested_loops,
    "masked trips": lambda x: lax.scan(lambda c, t: (c * t, None), x, jnp.array([1.0, 0.0, 2.0]))[0],
    "known branch": lambda x: lax.switch(1, [lambda a: a**2, lambda a: a[::-1], lambda a: a.sum() * a], x),
    "straight through": straight_through,
    "custom jvp": rounded,
    "stop gradient": lambda x: x + lax.stop_gradient(jnp.round(x) - x),
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(jnp.sin(x[::2]))),
    "complex inside": lambda x: jnp.abs(lax.complex(x[:4], x[4:])) ** 2,
    "gradient inside": jax.grad(lambda x: (x[1:] * x[:-1]).sum()),
    "nothing": lambda x: (x[:0], jnp.ones(2)),
}

# Patterns that may hold more than the Jacobian.
COVERED = {
    "sort": jnp.sort,
    "along sorted": lambda x: jnp.take_along_axis(x.reshape(2, 4), jnp.argsort(x.reshape(2, 4), axis=1), axis=1),
    "branch": lambda x: lax.cond(x[0] > 0, lambda a: a**2, lambda a: jax.nn.relu(a[::-1]), x),
    "while": lambda x: lax.while_loop(lambda c: c.sum() < 3, lambda c: jnp.roll(c, 1) + x**2 + 1, x),
    "set at unknown": lambda x: jnp.outer(x, x).at[jnp.argmin(x[:3]), 1].set(x[4]),
    "maximum": lambda x: jnp.max(x.reshape(2, 4), axis=1),
    "lanes that end apart": lambda x: jax.vmap(
        lambda y, k: lax.while_loop(lambda c: c[0] < k, lambda c: (c[0] + 1, c[2], x[0] * 2), (0, y, x[1]))[1]
    )(x[:3], jnp.array([0, 1, 2])),
    "lanes of unknown length": lambda x: jax.vmap(
        lambda y: lax.while_loop(lambda c: c[0] < y, lambda c: (c[0] + 1, c[1] * y), (0.0, y))[1]
    )(x),
    "conjugate gradients": lambda x: jax.scipy.sparse.linalg.cg(lambda v: 3 * v + jnp.roll(v, 1) + jnp.roll(v, -1), x)[
        0
    ],
    "eigenvalues": lambda x: jnp.linalg.eigvalsh(jnp.outer(x, x) + jnp.diag(jnp.arange(N))),
    "qr": lambda x: jnp.linalg.qr(x[:4].reshape(2, 2) + 3 * jnp.eye(2)),
    "tridiagonal": lambda x: lax.linalg.tridiagonal_solve(x, x + 4, x, x[:, None])[:, 0],
    "cast to integers": lambda x: x[(x > 0).astype(int)] * x,
    "shuffled": lambda x: x[jax.random.permutation(jax.random.key(0), N)],
}


def nonzero(fun, points=12, size=N):
    """Entries of the dense Jacobian that differ from zero at some of a few random points."""
    try:
        dense = jax.jit(jax.jacfwd(fun))
        dense.lower(jax.ShapeDtypeStruct((size,), np.float64))
    except TypeError:  # a custom_vjp
        dense = jax.jit(jax.jacrev(fun))
    found = False
    generator = np.random.default_rng(0)
    for _ in range(points):
        leaves = jax.tree.leaves(dense(generator.normal(size=size)))
        found = found | (np.concatenate([np.asarray(leaf).reshape(-1, size) for leaf in leaves]) != 0)
    return found


def boolean(pattern):
    return pattern.matrix.toarray()


@pytest.mark.parametrize("name", EXACT)
def test_pattern_is_that_of_the_dense_jacobian(name):
    pattern = jacobian_pattern(EXACT[name], INPUT)
    np.testing.assert_array_equal(boolean(pattern), nonzero(EXACT[name]))
    assert pattern.notes == () and not pattern.dense and pattern.scope == "global"
    assert pattern.matrix.has_sorted_indices and pattern.matrix.dtype == bool


@pytest.mark.parametrize("name", COVERED)
def test_pattern_covers_the_dense_jacobian(name):
    assert not (nonzero(COVERED[name]) & ~boolean(jacobian_pattern(COVERED[name], INPUT))).any()


LOOPS = ["set at counter", "set round and round", "carried and stacked", "counted while", "nested loops", "heat"]


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("few", [0, 10**9], ids=["vectorised", "trip by trip"])
def test_loops_read_in_either_way_agree(name, few, monkeypatch):
    expected = boolean(jacobian_pattern(EXACT[name], INPUT))
    monkeypatch.setattr(per_trip, "_FEW_STEPS", few)
    np.testing.assert_array_equal(boolean(jacobian_pattern(EXACT[name], INPUT)), expected)


@pytest.mark.parametrize("name", [*EXACT, *COVERED])
def test_sparse_rows_and_packed_bits_agree(name, monkeypatch):
    fun = (EXACT | COVERED)[name]
    expected = boolean(jacobian_pattern(fun, INPUT))
    for module in (detect, loop_fixpoint, reader, unrolled):
        monkeypatch.setattr(module, "_PACKED_WORDS", -1)
    np.testing.assert_array_equal(boolean(jacobian_pattern(fun, INPUT)), expected)


@pytest.mark.parametrize("name", [*LOOPS[:3], "masked", "convolution", "batched product", "segments", "along sorted"])
def test_tangent_and_cotangent_program_agree(name):
    fun = (EXACT | COVERED)[name]
    found = detect._transposed(fun, (INPUT,), 1, None, set())
    assert found is not None
    np.testing.assert_array_equal(found.toarray(), boolean(jacobian_pattern(fun, INPUT)))


def test_custom_vjp_is_read_backwards_and_allows_no_forward_route():
    pattern = jacobian_pattern(straight_through, INPUT)
    assert (pattern.program, pattern.forward) == ("cotangent", False)
    assert jacobian_pattern(rounded, INPUT).forward


def test_many_trips_cost_few_readings():
    """A loop whose state settles is not read for every trip: the work allowed covers 1,000,000 trips."""
    fun = lambda x: lax.fori_loop(0, 10**6, lambda i, c: c * jnp.sin(x) + jnp.roll(c, 1), x)
    assert boolean(jacobian_pattern(fun, INPUT)).all()
    spin = lambda x: lax.fori_loop(0, 1001, lambda i, c: jnp.roll(c, 1), x)
    np.testing.assert_array_equal(
        boolean(jacobian_pattern(spin, INPUT)), np.roll(np.eye(N, dtype=bool), 1001 % N, axis=0)
    )


def test_trees_integers_and_complex_numbers_have_their_places():
    def fun(tree, i):
        return {"a": tree["x"][i] * tree["y"], "b": i + 1, "c": tree["x"].sum() + 0j}

    tree = {"x": jax.ShapeDtypeStruct((3,), np.float32), "y": jax.ShapeDtypeStruct((2,), np.complex64)}
    pattern = jacobian_pattern(fun, tree, jax.ShapeDtypeStruct((2,), np.int32))
    expected = np.array([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(boolean(pattern), expected)


def test_sizes_zero_and_scalars():
    assert jacobian_pattern(lambda x: x, jax.ShapeDtypeStruct((0,), np.float32)).matrix.shape == (0, 0)
    assert not boolean(jacobian_pattern(lambda x: 3.0, INPUT)).any()
    np.testing.assert_array_equal(boolean(jacobian_pattern(lambda x: x * 2, 3.0)), [[True]])


def test_closed_over_tracers_are_unknown():
    seen = {}

    def outer(w, index):
        def fun(x):
            return (w * x)[index] * x[:2] + jnp.where(w[:2] > 0, x[:2], x[2:4])

        seen["pattern"] = jacobian_pattern(fun, INPUT)
        return w.sum()

    for call in (jax.jit(outer), jax.jit(jax.grad(outer))):
        call(jnp.ones(N), jnp.array([1, 3]))
        assert boolean(seen["pattern"]).all(), "an index that may be anything reaches everything"


def test_result_is_the_same_under_jit():
    seen = {}

    def outer(x):
        seen["pattern"] = jacobian_pattern(written_at_counter, x)
        return x

    jax.jit(outer)(jnp.ones(N))
    np.testing.assert_array_equal(boolean(seen["pattern"]), boolean(jacobian_pattern(written_at_counter, INPUT)))


LOCAL = {
    "max": jnp.max,
    "sort": jnp.sort,
    "argmax": lambda x: x[jnp.argmax(x)] * x,
    "cond": lambda x: lax.cond(x.sum() > 0, lambda a: a**2, lambda a: a[::-1], x),
    "while": lambda x: lax.while_loop(lambda c: c[0] < 5, lambda c: jnp.roll(c, 1) * 2 + 3, x),
    "relu": jax.nn.relu,
}


@pytest.mark.parametrize("name", LOCAL)
def test_local_pattern_takes_the_branches_of_the_point(name):
    x = jnp.array([1.0, -2.0, 3.0, -0.5])
    pattern = jacobian_pattern(LOCAL[name], x, scope="local")
    dense = np.asarray(jax.jit(jax.jacfwd(LOCAL[name]))(x)).reshape(pattern.shape)
    np.testing.assert_array_equal(boolean(pattern), dense != 0)
    assert pattern.scope == "local"


def test_local_pattern_does_not_lose_entries_that_vanish_at_the_point():
    np.testing.assert_array_equal(boolean(jacobian_pattern(lambda x: x**2, jnp.zeros(3), scope="local")), np.eye(3))


@pytest.mark.parametrize("scope", ["local", "nearby"])
def test_scopes_that_cannot_be_had_are_refused(scope):
    with pytest.raises(ValueError, match="scope"):
        jacobian_pattern(jnp.sin, INPUT, scope=scope)


def test_hessian_pattern():
    rosenbrock = lambda x: ((x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
    band = np.abs(np.subtract.outer(np.arange(N), np.arange(N))) <= 1
    np.testing.assert_array_equal(boolean(hessian_pattern(rosenbrock, INPUT)), band)
    # Differentiated again, the custom rule is ordinary code: what it keeps is a rounded number, of derivative zero.
    estimate = lambda x: (straight_through(x) * x[::-1]).prod()
    found = boolean(hessian_pattern(estimate, INPUT))
    dense = np.asarray(jax.jit(jax.hessian(estimate))(jnp.linspace(0.6, 3.0, N))) != 0
    np.testing.assert_array_equal(found, dense | dense.T)
    tree = {"i": jax.ShapeDtypeStruct((2,), np.int32), "x": jax.ShapeDtypeStruct((3,), np.float64)}
    found = hessian_pattern(lambda t: (t["x"][t["i"]] ** 2).sum(), tree)
    assert found.shape == (5, 5) and boolean(found)[2:, 2:].all() and found.nnz == 9
    with pytest.raises(TypeError, match="scalar"):
        hessian_pattern(jnp.sin, INPUT)


def test_evidently_dense_stops_early():
    pattern = jacobian_pattern(jax.nn.softmax, jax.ShapeDtypeStruct((20_000,), np.float32))
    assert pattern.dense and pattern.nnz == 20_000**2 and pattern.density == 1
    small = jacobian_pattern(jax.nn.softmax, INPUT, max_density=0.5)
    assert small.dense and boolean(small).all()
    assert jacobian_pattern(jnp.linalg.norm, jax.ShapeDtypeStruct((50_000,), np.float32)).program == "cotangent"


def test_an_unknown_operation_is_dense_and_told():
    equation = walk.trace(jnp.sin, INPUT).equations[0]
    from jaxcalc.programs.sparsity import abstract_value, rules, sets

    space = sets.Space(N, True, sets.Meter(1e9))
    fact = abstract_value.Fact((N,), np.dtype(float), space.identity(N, 0))
    notes = set()
    odd = walk.Equation("unheard_of", equation.inputs, equation.outputs, {})
    (found,) = rules.depend(odd, [fact], None, space, notes)
    assert found is not None and found.matrix().toarray().all() and notes == {"unheard_of"}


def test_public_names():
    assert set(sparsity.__all__) == {"Pattern", "given_pattern", "hessian_pattern", "jacobian_pattern"}


# -- programs put together at random -------------------------------------------------------------------------------

STEPS = [
    lambda x, g: x * jnp.array(g.integers(0, 2, N), float) + x[g.integers(N)] ** 2,
    lambda x, g: x[g.integers(0, N, N)] * jnp.sin(x),
    lambda x, g: x.at[g.integers(0, N, 3)].set(x[:3] * x[g.integers(N)], unique_indices=False),
    lambda x, g: x.at[g.permutation(N)[:4]].multiply(x[0], unique_indices=True),
    lambda x, g: (jnp.array(g.integers(-1, 2, (N, N)) * g.integers(0, 2, (N, N)), float) @ x) / 3,
    lambda x, g: jnp.where(jnp.array(g.integers(0, 2, N), bool), x, x[::-1] * x[1]),
    lambda x, g: jnp.where(x > 0, x, jnp.roll(x, int(g.integers(N)))),
    lambda x, g: lax.cond(x[g.integers(N)] > 0, lambda a: a**2, lambda a: a[::-1], x),
    lambda x, g: functools.partial(_loop, shift=int(g.integers(N)), trips=int(g.integers(1, 60)))(x),
    lambda x, g: lax.scan(lambda c, t: (c * jnp.tanh(t), c + t), x[0], x, reverse=bool(g.integers(2)))[1],
    lambda x, g: lax.dynamic_update_slice(x, x[:3] ** 2, (jnp.argmax(x[: g.integers(1, N)]),)),
    lambda x, g: jnp.cumsum(x.reshape(2, 4), axis=int(g.integers(2))).reshape(-1),
    lambda x, g: jnp.sort(x.reshape(4, 2), axis=int(g.integers(2))).reshape(-1),
    lambda x, g: straight_jvp(x) + x[g.integers(N)],
    lambda x, g: jax.vmap(lambda r, i: r.at[i].add(r[1 - i] ** 2))(x.reshape(4, 2), g.integers(0, 2, 4)).reshape(-1),
    lambda x, g: jnp.linalg.solve(jnp.diag(x**2 + 2) + jnp.eye(N, k=int(g.integers(2))), x),
]


def _loop(x, shift, trips):
    return lax.fori_loop(0, trips, lambda i, c: c.at[(i + shift) % N].set(jnp.sin(x[(i * shift) % N]) + c[i % 3]), x)


@jax.custom_jvp
def straight_jvp(x):
    return jnp.floor(x)


straight_jvp.defjvp(lambda x, v: (jnp.floor(x[0]), v[0]))


def check_random_program(seed, depth):
    choices = np.random.default_rng(seed).integers(0, len(STEPS), depth)

    def fun(x):
        for number, choice in enumerate(choices):
            x = STEPS[choice](x, np.random.default_rng([seed, number]))
        return x

    missing = nonzero(fun, points=3) & ~boolean(jacobian_pattern(fun, INPUT))
    assert not missing.any(), (seed, depth, choices)


@hypothesis.settings(max_examples=6, deadline=None, derandomize=True)
@hypothesis.given(st.integers(0, 10**6), st.integers(1, 4))
def test_random_programs_are_covered(seed, depth):
    with jax.enable_x64(True):
        check_random_program(seed, depth)


@pytest.mark.exhaustive
@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(st.integers(0, 10**6), st.integers(1, 6))
def test_many_random_programs_are_covered(seed, depth):
    with jax.enable_x64(True):
        check_random_program(seed, depth)


def test_a_full_pattern_is_not_written_out():
    """Beyond the share asked for, entries are counted and left where they are."""
    found = hessian_pattern(lambda x: jnp.sum(x) ** 3, jnp.zeros(70), max_density=0.95)
    assert found.dense and found.nnz == 70 * 70
    assert not hessian_pattern(lambda x: jnp.sum(x[1:] * x[:-1]), jnp.zeros(70), max_density=0.95).dense
