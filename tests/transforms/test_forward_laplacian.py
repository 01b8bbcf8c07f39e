"""The forward Laplacian against the trace of a Hessian by nested forward mode, which follows every custom rule."""

import functools
import tracemalloc

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms import compressed_jacobian, laplacian, plan
from jaxcalc.transforms.forward_laplacian import forward_laplacian
from tests.tolerance import assert_close

N = 6
_DRAWN = np.random.default_rng(0)
A = _DRAWN.normal(size=(N, N)) + N * np.eye(N)
W = _DRAWN.normal(size=(N, 7)) / 2
POINT = 0.6 * _DRAWN.normal(size=N)


@jax.custom_jvp
def straight(x):
    """A rule that is not the body's derivative."""
    return jnp.sin(x)


straight.defjvp(lambda p, t: (straight(*p), 5.0 * jnp.cos(2.0 * p[0]) * t[0]))


@jax.custom_jvp
def coupled(x):
    """An elementwise body whose rule mixes elements."""
    return jnp.sin(x)


coupled.defjvp(lambda p, t: (coupled(*p), jnp.cumsum(t[0] * p[0]) * p[0].sum()))


@jax.custom_jvp
def stopped_factor(x, y):
    """A product whose rule leaves out the second factor's tangent: mixed derivatives depend on their order."""
    return x * y


stopped_factor.defjvp(lambda p, t: (stopped_factor(*p), p[1] * t[0]))

FUNCTIONS = {
    "mixed": lambda x: jnp.sin(stopped_factor(jnp.sin(x @ A), jnp.cos(x * A[1]))) + stopped_factor(x, x[::-1]),
    "mlp": lambda x: jnp.tanh(jnp.tanh(x @ W) @ W.T) @ A[0],
    "square": lambda x: (x**2).sum(),
    "residual": lambda x: (x @ A + jax.nn.silu(x @ A)) @ x,
    "fori": lambda x: jax.lax.fori_loop(0, 4, lambda i, c: jnp.sin(c) * x[i] + c, x).sum(),
    "while": lambda x: jax.lax.while_loop(lambda c: c.sum() < 30, lambda c: c + x**2 + c**2 / 10 + 1, x),
    "scan": lambda x: jax.lax.scan(lambda c, w: (jnp.tanh(w * c + x), c.sum() ** 2), x, A[:3]),
    "scan_over_x": lambda x: jax.lax.scan(lambda c, w: (jnp.tanh(w * c), c * w), 1.0, x),
    "scan_shift": lambda x: jax.lax.scan(lambda c, _: (jnp.roll(c, 1) * c, None), x, None, 3)[0],
    "relu": lambda x: (jax.nn.relu(x @ A) ** 2).sum(),
    "softplus": lambda x: jax.nn.softplus(x @ A).prod(),
    "sort": lambda x: jnp.sort(x**2 * jnp.cos(x)) @ A[1] ** 2,
    "sort_many": lambda x: jax.lax.sort((x, x**3, x[::-1] ** 2), num_keys=1),
    "cumulative": lambda x: jnp.cumsum(x**2)[2:] * jnp.cumprod(x)[:-2],
    "gather": lambda x: x[np.array([0, 3, 3, 5])] ** 3 * x[jnp.argsort(x)[:4]],
    "complex": lambda x: jnp.abs(jnp.fft.fft(x * x)) ** 2 + jnp.real(jnp.exp(1j * x) * x.sum()),
    "straight": lambda x: straight(x * 2) @ x,
    "coupled": lambda x: coupled(x * x) @ x,
    "solve": lambda x: jnp.linalg.solve(A + jnp.outer(x, x), x * x),
    "slogdet": lambda x: jnp.linalg.slogdet(A + jnp.diag(x) * 3)[1],
    "cholesky": lambda x: jnp.linalg.cholesky(A @ A.T + jnp.diag(x**2)).sum(),
    "cond": lambda x: jax.lax.cond(x[0] > 0, lambda a: a**3, lambda a: jnp.sin(a) * a.sum(), x * 1.0),
    "softmax": lambda x: jax.nn.softmax(x @ A) ** 2,
    "logsumexp": lambda x: jax.nn.logsumexp(x * x),
    "maxima": lambda x: jnp.maximum(x, x[::-1] ** 2).max() * x.min(),
    "pairs": lambda x: (1 / (1 + (x[:, None] - x) ** 2 + jnp.eye(N))).sum(1),
    "update": lambda x: x.at[2].set(x[3] ** 2).at[np.array([1, 1])].add(x[:2] ** 2) ** 2,
    "scatter_mul": lambda x: x.at[1].mul(x[2]) * jnp.prod(x),
    "power": lambda x: (1 + x**2) ** x,
    "arctan2": lambda x: jnp.arctan2(x, x[::-1] + 3),
    "stop": lambda x: jax.lax.stop_gradient(x) * x**2,
    "constant": lambda x: jnp.ones(3),
    "identity": lambda x: x,
    "tree": lambda x: {"a": x[0] * x[1], "b": (x**2,)},
    "differences": lambda x: (x[1:] - x[:-1]) ** 4,
    "convolution": lambda x: jnp.convolve(x**2, x),
    "einsum": lambda x: jnp.einsum("i,j,ij->", x, jnp.sin(x), A),
    "remat": lambda x: jax.checkpoint(lambda y: jnp.sin(jnp.sin(y)))(x),
    "special": lambda x: jax.scipy.special.erf(x) * jax.scipy.special.gammaln(2 + x**2),
    "keys": lambda x: x**2 * jax.random.normal(jax.random.key(0), (N,)),
    "where": lambda x: jnp.where(x > 0, x**2, x**3) * jnp.isfinite(x),
    "long_run": lambda x: functools.reduce(lambda c, _: jnp.sin(c * c), range(30), x),
    "rows": lambda x: jnp.tanh(x.reshape(3, 2) @ W[:2]) @ W[0],
    "merged": lambda x: (jnp.tanh(x.reshape(3, 2) @ W[:2]).mean(0) ** 2, x.reshape(3, 2).T[::-1] ** 2),
    "padded": lambda x: jnp.pad(x, (2, 1)) ** 2 * jnp.concatenate([x[:3], x, jnp.ones(0)]) ** 2,
    "batched_product": lambda x: jnp.einsum("ni,ni->n", x.reshape(3, 2), x.reshape(3, 2) ** 2),
}


def reference(fun, x):
    """Value, tangents and Laplacian by nested forward mode."""
    flat, rebuild = jax.flatten_util.ravel_pytree(x)
    first = jax.jacfwd(lambda z: fun(rebuild(z)))
    trace = jax.tree.map(lambda h: jnp.trace(h, axis1=-2, axis2=-1), jax.jacfwd(first)(flat))
    return fun(x), jax.tree.map(lambda j: jnp.moveaxis(j, -1, 0), first(flat)), trace


def everything(x):
    return {name: fun(x) for name, fun in FUNCTIONS.items()}


# Compiling takes all the time, and its optimisations most of that.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def computed(sparse):
    """All functions at once: one compilation instead of forty."""
    with jax.enable_x64(True):
        return jit(forward_laplacian(everything, sparse=sparse))(jnp.asarray(POINT))


@functools.cache
def expected():
    with jax.enable_x64(True):
        return jit(lambda x: reference(everything, x))(jnp.asarray(POINT))


def assert_same(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted)):
        assert_close(one, other, 4096, scale=1)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("sparse", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_trace_of_hessian(name, sparse):
    for got, wanted in zip(computed(sparse), expected()):
        assert_same(got[name], wanted[name])


def nets(x):
    """Elements that meet late: a network on each of 5 particles, pairs of them, a mean, a determinant."""
    hidden = jnp.tanh(x @ W[:2])
    pairs = x[:, None] - x
    apart = jnp.sqrt((pairs**2).sum(-1) + jnp.eye(5))
    mean = jnp.tanh(jnp.concatenate([hidden, hidden.mean(0) * hidden, (apart[..., None] * pairs).mean(1)], -1))
    return jnp.linalg.slogdet(mean[:, :5] + jnp.eye(5))[1] + jnp.exp(-apart).sum()


def test_particles(x64):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)))
    assert_same(jit(forward_laplacian(nets))(x), jit(lambda x: reference(nets, x))(x))


def test_few_rows_are_carried(x64):
    """Independent particles cost as many rows as one has inputs, however many there are."""
    fun = lambda x: jnp.tanh(jnp.tanh(x @ W[:2]) @ W.T)
    program = str(jax.make_jaxpr(lambda x: forward_laplacian(fun)(x)[2])(jnp.ones((50, 2))))
    assert "f64[3,50,7]" in program  # two tangents and the Laplacian, into the second product
    assert "f64[101,50,7]" not in program


def test_under_transformations(x64):
    fun = lambda x: jnp.sum(jnp.tanh(x @ W) ** 3) + jax.lax.scan(lambda c, w: (jnp.sin(c * w), None), 1.0, x)[0]
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, N)))
    lap, slow = (lambda x: forward_laplacian(fun)(x)[2]), (lambda x: jnp.trace(jax.hessian(fun)(x)))
    assert_close(jit(jax.vmap(lap))(x), jit(jax.vmap(slow))(x), 64)
    assert_close(jit(jax.grad(lap))(x[0]), jit(jax.grad(slow))(x[0]), 64)


def test_weights_and_directions(x64):
    fun = lambda x: jnp.tanh(x["a"] * x["b"].sum()) + (x["b"][1:] * x["b"][:-1]).sum() ** 2
    x = {"a": jnp.asarray([0.3, -0.4]), "b": jnp.asarray([0.5, 0.2, -0.7])}
    flat, rebuild = jax.flatten_util.ravel_pytree(x)
    hessian = jit(jax.hessian(lambda z: fun(rebuild(z))))(flat)
    weights = rebuild(jnp.asarray([1.0, -2.0, 3.0, 0.5, 0.0]))
    wanted = jnp.einsum("oii,i->o", hessian, jax.flatten_util.ravel_pytree(weights)[0])
    assert_close(jit(forward_laplacian(fun, weights))(x)[2], wanted, 64)
    v = jnp.asarray(np.random.default_rng(3).normal(size=(4, 5)))
    _, tangents, laplacian = jit(forward_laplacian(fun, directions=jax.vmap(rebuild)(v)))(x)
    assert_close(laplacian, jnp.einsum("ki,oij,kj->o", v, hessian, v), 64)
    assert_close(tangents, v @ jit(jax.jacfwd(lambda z: fun(rebuild(z))))(flat).T, 64)


def test_sums_of_terms_apart(x64):
    """Also of nothing, which depends on nothing, and along one axis of two."""
    x = jnp.linspace(0.1, 1.0, 6)
    for fun in (
        lambda x: jnp.sum(x[:0] ** 2) + jnp.sum(x**3),
        lambda x: jnp.sum(jnp.sum(x.reshape(3, 2) ** 3, 1) ** 2),
        lambda x: jnp.sum(jnp.sum(x.reshape(3, 2) ** 3, 0) ** 2),
        lambda x: jnp.sum(x**2) ** 1.5,
    ):
        assert_close(jit(forward_laplacian(fun))(x)[2], np.trace(jit(jax.hessian(fun))(x)), 64)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (2, 1)])
def test_sizes_zero_and_one(shape, x64):
    fun = lambda x: (x**3).sum() + 0.0
    value, tangents, laplacian = jit(forward_laplacian(fun))(jnp.full(shape, 2.0))
    size = int(np.prod(shape))
    assert tangents.shape == (size,)
    np.testing.assert_allclose((value, laplacian), (8.0 * size, 12.0 * size))


def test_single_precision():
    x = jnp.asarray(POINT, jnp.float32)
    fun = lambda x: jnp.tanh(x @ W.astype(np.float32)).sum()
    value, tangents, laplacian = jit(forward_laplacian(fun))(x)
    assert value.dtype == tangents.dtype == laplacian.dtype == jnp.float32
    assert_close(laplacian, jnp.trace(jit(jax.hessian(fun))(x)), 32, dtype=jnp.float32)


def test_custom_vjp_is_refused_by_name():
    @jax.custom_vjp
    def clipped(x):
        return x**2

    clipped.defvjp(lambda x: (x**2, x), lambda x, u: (u * x,))
    with pytest.raises(NotImplementedError, match=r"clipped, a jax\.custom_vjp.*custom_jvp"):
        forward_laplacian(lambda x: clipped(x).sum())(jnp.ones(3))
    free = forward_laplacian(lambda x: (x**2).sum() + clipped(jnp.ones(())))(jnp.ones(3))  # x does not reach it
    np.testing.assert_allclose(free[2], 6.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: forward_laplacian(jnp.sum)(jnp.arange(3)), TypeError, "real floating-point"),
        (lambda: forward_laplacian(jnp.sum)(1j * jnp.ones(3)), TypeError, "complex"),
        (lambda: forward_laplacian(jnp.argmax)(jnp.ones(3)), TypeError, "fun must return"),
        (lambda: forward_laplacian(jnp.sum, 1.0, directions=jnp.eye(3)), ValueError, "not both"),
        (lambda: forward_laplacian(jnp.sum, directions=jnp.eye(4))(jnp.ones(3)), ValueError, "leading axis"),
        (lambda: forward_laplacian(jnp.sum, jnp.ones(2))(jnp.ones(3)), ValueError, "broadcasts to x"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_dense_jacobian_is_planned_without_an_array_of_its_size():
    """Where neighbours meet in a sum the rows become dense: for the program, not for whoever traces it."""
    chain = lambda x: jnp.sum(jnp.tanh(x[1:] * x[:-1]) ** 2)
    size = 20_000
    tracemalloc.start()
    made = plan(laplacian, chain, jax.ShapeDtypeStruct((size,), jnp.float32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.chosen.method == "sparse" and peak < 100 * size * 16


def test_rows_that_are_written_to_their_places(monkeypatch):
    monkeypatch.setattr(compressed_jacobian, "_SEARCHED", 0)
    fun = lambda x: jnp.sum(jnp.tanh(x[1:] * x[:-1]) ** 2) + jnp.sum(jnp.cos(x[3:])) * x[0] + jnp.prod(x[:2])
    x = np.linspace(-1, 1, 9, dtype=np.float32)
    np.testing.assert_allclose(laplacian(fun, method="forward-laplacian")(x), jnp.trace(jax.hessian(fun)(x)), rtol=1e-5)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jnp.sum(x[1] ** 2),
        lambda x: jnp.sum(jnp.sin(x[1])) + jnp.sum(x[0]) ** 2,
        lambda x: jnp.sum((x[1].T @ jnp.ones((2, 3))) ** 2) + jnp.sum(x[0] ** 2),
        lambda x: jnp.sum(jnp.cumsum(x[0] * x[0][::-1])[2:2] ** 2) + jnp.prod(x[0]),
        lambda x: jnp.sum(jnp.concatenate([jnp.ravel(x[1]) ** 2, jnp.tanh(x[0]) * x[0].sum()]) ** 2),
    ],
)
@pytest.mark.parametrize("sparse", [True, False])
def test_arrays_without_elements(x64, fun, sparse):
    # Oracle: the trace of JAX's Hessian in what has elements.
    x = (jnp.arange(1.0, 5.0) / 3, jnp.zeros((2, 0)))
    expected = jnp.trace(jax.hessian(lambda first: fun((first, x[1])))(x[0]))
    assert_close(forward_laplacian(fun, sparse=sparse)(x)[2], expected, 64, scale=1.0)
