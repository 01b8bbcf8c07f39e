"""Jacobians: every route against JAX's own, whatever the arguments; formats, dtypes, modules, misuse."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO

from jaxcalc import scenarios
from jaxcalc.programs.sparsity import jacobian_pattern
from jaxcalc.transforms import MemoryBudgetError, batched_products, hessian, hvp, jacobian, plan
from tests.tolerance import assert_close

METHODS = ("auto", "forward", "reverse", "sparse", "bidirectional")


def arrowhead(x):
    """A dense row, a dense column and a diagonal."""
    return jnp.concatenate([jnp.sum(x**2)[None], x[1:] ** 2 + x[0] * x[1:]])


def _of_a_tree(tree, scale):
    return {"a": jnp.tanh(tree["w"] @ tree["b"]) * scale, "b": (tree["b"][:2] ** 2, jnp.sum(tree["w"][0]))}


TREE = {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3) / 7, "b": np.linspace(0.1, 1, 3, dtype=np.float32)}


@functools.cache
def dense(fun, argnums=0):
    """JAX's own Jacobian, compiled once for all methods."""
    return jax.jit(jax.jacfwd(fun, argnums))


def _total(operator):
    return lambda x: jnp.sum(jnp.sin(operator(x)))


# What a Jacobian's transformations are compared with, compiled once for all methods.
DENSE_LANES = jax.jit(jax.vmap(jax.jacfwd(arrowhead)))
DENSE_SLOPE = jax.jit(jax.grad(_total(jax.jacfwd(arrowhead))))
DENSE_AGAIN = jax.jit(jax.jacfwd(jax.jacfwd(arrowhead)))


def _same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, 16, scale=0.5, dtype=jnp.finfo(b.dtype).dtype)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("argnums", [0, 1, (0, 1), (1, 0), -1])
def test_trees_and_argnums_as_jax_returns_them(method, argnums):
    # Oracle: jax.jacfwd.
    args = (TREE, jnp.float32(1.5))
    _same(jacobian(_of_a_tree, argnums, method=method)(*args), dense(_of_a_tree, argnums)(*args))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_change_nothing(method, chunk):
    x = jnp.linspace(0.1, 1, 7)
    _same(jacobian(arrowhead, method=method, chunk_size=chunk)(x), dense(arrowhead)(x))


@pytest.mark.parametrize("method", METHODS)
def test_bcoo_holds_the_same_entries(method):
    x = jnp.linspace(0.1, 1, 6)
    found = jacobian(arrowhead, method=method, output_format="bcoo")(x)
    _same(found.todense(), dense(arrowhead)(x))
    assert found.shape == (6, 6) and found.unique_indices and found.indices_sorted


def test_bcoo_stores_the_pattern_whatever_the_size():
    for n in (4, 40):
        assert jacobian(lambda x: x**2, output_format="bcoo")(jnp.ones(n)).nse == n


def test_values_that_decide_in_python_say_what_to_do():
    fun = lambda x: x**2 if x[0] > 0 else x
    with pytest.raises(jax.errors.ConcretizationTypeError) as raised:
        jacobian(fun)(jnp.ones(2))
    assert "name a method" in raised.value.__notes__[-1]
    np.testing.assert_allclose(jacobian(fun, method="forward")(jnp.ones(2)), 2 * np.eye(2))


def test_bcoo_of_a_tree_has_a_block_for_each_pair():
    found = jacobian(_of_a_tree, method="sparse", output_format="bcoo")(TREE, jnp.float32(1.5))
    is_block = lambda leaf: hasattr(leaf, "todense")
    _same(jax.tree.map(lambda leaf: leaf.todense(), found, is_leaf=is_block), jax.jacfwd(_of_a_tree)(TREE, 1.5))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0), (1, 4), (4, 1)])
def test_sizes_zero_and_one(method, n, m):
    fun = lambda x: jnp.outer(jnp.arange(1.0, m + 1), jnp.sin(x)).sum(1)
    x = jnp.linspace(0.0, 1.0, n)
    expected = jax.jacfwd(fun)(x)
    for format in ("dense", "bcoo"):
        found = jax.jit(jacobian(fun, method=method, output_format=format))(x)
        _same(found if format == "dense" else found.todense(), expected)


def test_keyword_arguments_are_held_fixed():
    fun = lambda x, *, scale: scale * x**2
    _same(jacobian(fun)(jnp.arange(3.0), scale=jnp.float32(2.0)), jax.jacfwd(fun)(jnp.arange(3.0), scale=2.0))


def test_scalars_to_scalars_have_no_axes():
    assert jacobian(jnp.sin)(0.3) == pytest.approx(np.cos(0.3))
    assert jacobian(lambda x: x**3, method="sparse", output_format="bcoo")(2.0).todense() == 12.0


@pytest.mark.parametrize("method", METHODS)
def test_has_aux_returns_the_pair(method):
    fun = lambda x: (x**2, {"sum": x.sum(), "count": x.size})
    found, aux = jacobian(fun, has_aux=True, method=method)(jnp.arange(3.0))
    np.testing.assert_allclose(found, np.diag([0.0, 2.0, 4.0]))
    assert aux["sum"] == 3.0 and aux["count"] == 3


@pytest.mark.parametrize("method", METHODS)
def test_holomorphic(method):
    fun = lambda z: jnp.stack([z[0] ** 2 * z[1], jnp.exp(z[1])])
    z = jnp.array([1.0 + 2.0j, 0.5 - 0.3j])
    _same(jacobian(fun, holomorphic=True, method=method)(z), jax.jacfwd(fun, holomorphic=True)(z))


@pytest.mark.parametrize("method", ["auto", "forward", "sparse"])
def test_complex_values_of_real_inputs(method):
    fun = lambda x: jnp.exp(1j * x) * x[0]
    x = jnp.array([0.3, 0.7, 1.1])
    _same(jacobian(fun, method=method)(x), jax.jacfwd(fun)(x))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64])
def test_the_output_has_the_dtype_of_the_function(x64, method, dtype):
    x = jnp.asarray(np.linspace(0.2, 1, 4).astype(dtype))
    found = jacobian(arrowhead, method=method)(x)
    exact = dense(arrowhead)(np.asarray(x).astype(np.float64))
    assert_close(found, exact, 16, dtype=dtype)


@pytest.mark.parametrize("method", METHODS)
def test_leaves_of_different_precision(x64, method):
    fun = lambda t: (t["single"] * t["double"].astype(jnp.float32), t["double"] ** 2)
    tree = {"single": jnp.arange(1.0, 3.0, dtype=jnp.float32), "double": jnp.arange(3.0, 5.0)}
    _same(jacobian(fun, method=method)(tree), (jax.jacrev if method == "reverse" else jax.jacfwd)(fun)(tree))


@pytest.mark.parametrize("method", METHODS)
def test_composes_with_jit_vmap_and_grad(x64, method):
    jac = jacobian(arrowhead, method=method)
    batch = jnp.linspace(0.1, 2, 10).reshape(2, 5)
    expected = DENSE_LANES(batch)
    _same(jax.vmap(jac)(batch), expected)
    _same(jax.jit(jax.vmap(jac))(batch), expected)
    _same(jax.jit(jax.grad(_total(jac)))(batch[0]), DENSE_SLOPE(batch[0]))
    _same(jax.jit(jax.jacfwd(jac))(batch[0]), DENSE_AGAIN(batch[0]))


def test_a_closed_over_tracer_is_no_constant():
    @jax.jit
    def outer(x, places, scale):
        return jacobian(lambda y: y[places] * scale)(x)

    x, places = jnp.arange(4.0), jnp.array([2, 0, 2])
    np.testing.assert_allclose(outer(x, places, 3.0), 3.0 * np.eye(4)[places])
    np.testing.assert_allclose(outer(x, jnp.array([1, 1, 3]), 3.0), 3.0 * np.eye(4)[[1, 1, 3]])


def test_a_changed_constant_makes_a_new_plan():
    # The pattern is read from the values that the function closes over: an old one would be silently wrong.
    held = {}
    jac = jacobian(lambda x: x[held["places"]] * 2.0, method="sparse")
    for places in ([0, 1, 2], [2, 2, 0]):
        held["places"] = np.array(places)
        np.testing.assert_allclose(jac(jnp.arange(3.0)), 2 * np.eye(3)[places])


def test_arguments_beside_count_by_value():
    fun = lambda x, places: x[places]
    jac = jacobian(fun, method="sparse")
    for places in ([0, 1], [2, 0], [1, 1]):
        np.testing.assert_allclose(jac(jnp.arange(3.0), jnp.array(places)), np.eye(3)[places])


@jax.custom_vjp
def _straight_through(x):
    return jnp.round(x)


_straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, u: (u,))


@pytest.mark.parametrize("method", ["auto", "reverse", "sparse"])
def test_a_custom_vjp_goes_by_its_rule(method):
    found = jacobian(lambda x: _straight_through(3 * x), method=method)(jnp.array([0.2, 0.7]))
    np.testing.assert_allclose(found, 3 * np.eye(2))


@pytest.mark.parametrize("name", ["layer norm", "causal attention"])
def test_reverse_mode_is_right_where_a_compiled_jacrev_is_not(name):
    # Oracle: forward mode. XLA's CPU backend miscompiles jax.jit(jax.jacrev(fun)) here.
    instance = scenarios.case(name).build()
    found = jax.jit(jacobian(instance.fun, method="reverse"))(*instance.arguments)
    assert_close(found, jax.jit(jax.jacfwd(instance.fun))(*instance.arguments), 32, scale=1, dtype=jnp.float32)


def test_forward_mode_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match=r"'forward' is not possible.*custom_vjp"):
        jacobian(_straight_through, method="forward")(jnp.ones(2))
    with pytest.raises(ValueError, match="'reverse' is not possible"):
        jacobian(lambda x: jax.lax.while_loop(lambda y: y[0] < 9, lambda y: 2 * y, x), method="reverse")(jnp.ones(2))


def test_modules_keep_what_is_no_array():
    equinox = pytest.importorskip("equinox")
    model = equinox.nn.MLP(2, 3, 4, 1, key=jax.random.key(0))
    x = jnp.array([0.3, -0.4])
    found = jacobian(lambda m: m(x))(model)
    arrays, rest = equinox.partition(model, equinox.is_array)
    expected = jax.jacfwd(lambda a: equinox.combine(a, rest)(x))(arrays)
    _same(jax.tree.leaves(found), jax.tree.leaves(expected))
    assert found.activation is None


def test_flax_modules():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flax = pytest.importorskip("flax.nnx")
        model = flax.Linear(2, 3, rngs=flax.Rngs(0))
    x = jnp.array([0.3, -0.4])
    graph, state = flax.split(model)
    fun = lambda s: flax.merge(graph, s)(x)
    _same(jax.tree.leaves(jacobian(fun)(state)), jax.tree.leaves(jax.jacfwd(fun)(state)))


def test_integer_leaves_of_a_tree_are_held_fixed():
    found = jacobian(lambda t: t["x"] * t["count"])({"x": jnp.ones(2), "count": jnp.array(3)})
    np.testing.assert_allclose(found["x"], 3 * np.eye(2))
    assert found["count"] is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: jacobian(jnp.sin, method="foward"), ValueError, "'auto', 'forward', 'reverse'"),
        (lambda: jacobian(jnp.sin, output_format="csr"), ValueError, "'dense', 'bcoo'"),
        (lambda: jacobian(jnp.sin, chunk_size=0), ValueError, "at least 1"),
        (lambda: jacobian(jnp.sin, memory_budget=-5), ValueError, "at least 1"),
        (lambda: jacobian(jnp.sin)(jnp.arange(3)), TypeError, "Convert integers"),
        (lambda: jacobian(jnp.sin, 2)(jnp.ones(3)), ValueError, "names argument 2"),
        (lambda: jacobian(jnp.add, (0, 0))(1.0, 2.0), ValueError, "twice"),
        (lambda: jacobian(jnp.sin)(jnp.ones(2) * 1j), TypeError, "holomorphic=True"),
        (lambda: jacobian(jnp.sin, holomorphic=True)(jnp.ones(2)), TypeError, "needs complex inputs"),
        (lambda: jacobian(jnp.argmax)(jnp.ones(2)), TypeError, "no derivative"),
        (lambda: jacobian(jnp.sin, has_aux=True)(1.0), TypeError, "pair"),
        (lambda: jacobian(jnp.sin, memory_budget=10)(jnp.ones(99)), MemoryBudgetError, "the leanest is"),
    ],
)
def test_misuse_says_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_local_pattern_is_checked_where_it_is_used():
    fun = lambda x: jnp.where(x > 0, x * x[0], x)
    pattern = jacobian_pattern(fun, jnp.array([1.0, -2.0, 3.0]), scope="local")
    jac = jacobian(fun, method="sparse", pattern=pattern)
    x = jnp.array([0.5, -1.0, 2.0])
    np.testing.assert_allclose(jac(x), jax.jacfwd(fun)(x))
    assert np.isnan(jac(jnp.array([0.5, 1.0, 2.0]))).all()


@pytest.mark.parametrize("number", [1, np.int64(1), np.array(1), -1])
def test_argument_numbers_are_whole_numbers_of_any_kind(number):
    x = jnp.arange(1.0, 4.0)
    np.testing.assert_array_equal(jacobian(jnp.multiply, number)(x, 2 * x), jnp.diag(x))
    for several in ([number], (number,), np.array([number])):
        (block,) = jacobian(jnp.multiply, several)(x, 2 * x)
        np.testing.assert_array_equal(block, jnp.diag(x))


@pytest.mark.parametrize("wrong", [1.5, True, "x", None, (0, 1.0), [False]])
def test_other_argument_numbers_are_refused(wrong):
    for operator, who in ((jacobian, "jacobian"), (hessian, "hessian"), (hvp, "hvp")):
        with pytest.raises(TypeError, match=f"{who}: argnums must be a whole number or a sequence of them"):
            operator(jnp.sin, argnums=wrong)


TRIDIAGONAL = np.eye(5, dtype=bool) | np.eye(5, k=1, dtype=bool) | np.eye(5, k=-1, dtype=bool)
MATRICES = {
    "truth values": TRIDIAGONAL,
    "numbers": jnp.asarray(TRIDIAGONAL, float),
    "scipy": scipy.sparse.coo_matrix(TRIDIAGONAL),
    "bcoo": BCOO.fromdense(jnp.asarray(TRIDIAGONAL, float), nse=20),
}
neighbours = lambda x: jnp.convolve(x**2, jnp.array([1.0, 2.0, 3.0]), "same")


@pytest.mark.parametrize("kind", MATRICES)
def test_a_pattern_of_ones_own(kind):
    x = jnp.arange(1.0, 6.0)
    for choices in (
        {"method": "sparse"},
        {"output_format": "bcoo"},
        {"method": "reverse", "output_format": "bcoo"},
        {},
    ):
        result = jacobian(neighbours, pattern=MATRICES[kind], **choices)(x)
        result = result.todense() if "output_format" in choices else result
        np.testing.assert_allclose(result, jax.jacfwd(neighbours)(x), rtol=1e-6)


@pytest.mark.parametrize("choices", [{"method": "sparse"}, {"method": "forward"}, {"method": "auto"}])
def test_a_wrong_pattern_is_told(choices):
    further = lambda x: neighbours(x) + x[0]
    x = jnp.arange(1.0, 6.0)
    for pattern in (TRIDIAGONAL, jacobian_pattern(neighbours, x)):  # that of another function too
        result = jacobian(further, pattern=pattern, output_format="bcoo", **choices)(x)
        assert np.isnan(result.data).all()


def test_an_infinite_entry_does_not_break_a_right_pattern():
    x = jnp.array([0.0, 1.0, 4.0])
    result = jacobian(jnp.sqrt, method="sparse", pattern=np.eye(3, dtype=bool))(x)
    np.testing.assert_array_equal(result, [[np.inf, 0, 0], [0, 0.5, 0], [0, 0, 0.25]])


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        (np.eye(4), ValueError, r"pattern must be of shape \(5, 5\), got shape \(4, 4\)"),
        (np.ones(5), ValueError, r"pattern must be of shape \(m, n\)"),
        ("diagonal", TypeError, "pattern must be a Pattern, or a matrix"),
        ([[True]], TypeError, "pattern must be a Pattern, or a matrix"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern, error, message):
    for method in ("auto", "sparse", "forward"):
        with pytest.raises(error, match=message):
            jacobian(neighbours, pattern=pattern, method=method)(jnp.ones(5))


@pytest.mark.parametrize("fun", [lambda z: jnp.cos(jnp.linalg.norm(2 * z)), lambda z: abs(z) ** 2 + z.real])
def test_real_functions_of_complex_numbers_by_reverse_mode(fun):
    z = jnp.array([1 + 1j, 2 - 1j])
    for budget in (None, 10**6):
        result = jacobian(fun, method="reverse", memory_budget=budget)(z)
        np.testing.assert_allclose(result, jax.jacrev(fun)(z), rtol=1e-6)
    with pytest.raises(TypeError, match='name method="reverse"'):
        jacobian(fun)(z)
    with pytest.raises(TypeError, match="real floating-point"):
        jacobian(jnp.sin, method="reverse")(z)


def test_named_modes_have_the_dtypes_of_jax():
    x = jnp.ones(3, jnp.bfloat16)
    fun = lambda x: x.astype(jnp.float32) ** 2
    assert jacobian(fun, method="reverse")(x).dtype == jax.jacrev(fun)(x).dtype == jnp.bfloat16
    assert jacobian(fun, method="forward")(x).dtype == jacobian(fun)(x).dtype == jax.jacfwd(fun)(x).dtype


@pytest.mark.parametrize("method", ["auto", "forward", "reverse"])
def test_derivatives_of_pythons_numbers_stay_weak(x64, method):
    assert jacobian(jnp.sin, method=method)(1.0).weak_type
    assert not jacobian(jnp.sin, method=method)(np.float64(1.0)).weak_type


def test_patterns_follow_rules_that_change():
    slope = [0.0]

    @jax.custom_jvp
    def frozen(x):
        return x

    frozen.defjvp(lambda x, t: (frozen(*x), slope[0] * t[0] if slope[0] else jnp.zeros_like(t[0])))
    x = jnp.arange(1.0, 5.0)
    fun = lambda x: frozen(x) * x[::-1]
    for choices in ({"method": "sparse"}, {"output_format": "bcoo"}):
        jac = jacobian(fun, **choices)
        for slope[0] in (0.0, 1.0, 0.0):
            result = jac(x)
            result = result.todense() if "output_format" in choices else result
            np.testing.assert_array_equal(result, jax.jacfwd(fun)(x))


def test_ranks_need_not_be_promoted():
    with jax.numpy_rank_promotion("raise"):
        for method in ("auto", "forward", "reverse", "sparse", "bidirectional"):
            for choices in ({}, {"chunk_size": 2}, {"memory_budget": 2000}):
                np.testing.assert_allclose(jacobian(jnp.sin, method=method, **choices)(jnp.zeros(5)), jnp.eye(5))


@jax.custom_vjp
def _of_a_host(v):
    return v.sum() ** 2


_of_a_host.defvjp(
    lambda v: (v.sum() ** 2, v),
    lambda v, g: (
        jax.pure_callback(
            lambda v, g: np.asarray(2 * v.sum() * g * np.ones_like(v)), jax.ShapeDtypeStruct(v.shape, v.dtype), v, g
        ),
    ),
)


@pytest.mark.parametrize("method", ["auto", "reverse"])
def test_a_single_product_needs_no_rule_for_batching(method):
    x = jnp.arange(1.0, 4.0)
    np.testing.assert_allclose(jacobian(_of_a_host, method=method)(x), [12.0, 12.0, 12.0])
    with pytest.raises(NotImplementedError, match="vmap"):
        jacobian(lambda v: jnp.stack([_of_a_host(v), _of_a_host(2 * v)]), method=method)(x)


@pytest.mark.parametrize(("n", "m", "known"), [(8, 300, True), (128, 1024, True), (128, 1025, False), (129, 1, False)])
def test_few_unit_vectors_are_constants(n, m, known):
    basis = batched_products.unit_vectors(n, m)
    assert (basis is not None) == known
    if basis is not None:
        np.testing.assert_array_equal(basis, np.eye(n))


def test_tall_jacobians_are_transposed_apart(x64):
    assert batched_products.transposed_apart(4, 200) and not batched_products.transposed_apart(4, 100)
    fun = lambda x: jnp.sin(jnp.outer(jnp.arange(200.0), x[:2]) + x[2]) @ x[2:]
    x = jnp.array([0.1, -0.2, 0.3, 0.4])
    _same(jax.jit(jacobian(fun, method="forward"))(x), jax.jacfwd(fun)(x))
    chosen = plan(jacobian, fun, x).chosen
    assert chosen.method == "forward"
    _same(jax.jit(jacobian(fun))(x), jax.jacfwd(fun)(x))
