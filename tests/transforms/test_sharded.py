"""Inside ``shard_map`` and on explicit meshes an array's type tells how it is split; one device has such types too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxcalc.solvers import minimize
from jaxcalc.transforms import (
    bilaplacian,
    diagonal,
    fisher_vp,
    ggn_vp,
    hessian,
    hvp,
    jacobian,
    laplacian,
    taylor,
    trace,
)
from jaxcalc.transforms.hessian import COMPOSITIONS

X = jnp.arange(1.0, 5.0)
energy = lambda x: jnp.sum(jnp.sin(x) ** 2)
waves = lambda x: jnp.sin(x) * x
shared = lambda x: x * jax.lax.psum(jnp.sum(jnp.sin(x)), "i")
MODES = {"forward": jax.jacfwd, "reverse": jax.jacrev}


def by_jax(method):
    """What JAX's own composition of that name returns; of other methods ``jax.hessian``."""
    outer, _, inner = method.partition("-over-")
    return (lambda fun: MODES[outer](MODES[inner](fun))) if method in COMPOSITIONS else jax.hessian


def in_shards(fun):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    return jax.jit(jax.shard_map(fun, mesh=mesh, in_specs=P("i"), out_specs=P("i")))(X)


hills = lambda x: jnp.sum(jnp.cosh(x - 1) + 0.1 * jnp.sum(x) ** 2)
SOLVERS = {"auto": None, "newton-cg": None, "l-bfgs": (-1.0, 0.5), "gradient-descent": (-1.0, 0.5)}


@pytest.mark.parametrize("method", SOLVERS)
def test_solvers_in_shards(method):
    solve = lambda x: minimize(hills, x, method=method, bounds=SOLVERS[method], max_steps=300).x
    np.testing.assert_allclose(in_shards(solve), solve(X), rtol=1e-3, atol=1e-3)


@pytest.fixture
def split():
    """A vector split over an explicit mesh."""
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        yield jax.device_put(X, P("i"))


@pytest.mark.parametrize("choices", [{}, {"chunk_size": 2}, {"output_format": "bcoo"}], ids=str)
@pytest.mark.parametrize("method", ["auto", "forward", "reverse", "sparse"])
@pytest.mark.parametrize("fun", [waves, shared], ids=["waves", "collective"])
def test_jacobians_in_shards(fun, method, choices):
    jac = jacobian(fun, method=method, **choices)
    whole = (lambda x: jac(x).todense()) if "output_format" in choices else jac
    np.testing.assert_allclose(in_shards(whole), in_shards(jax.jacfwd(fun)), rtol=1e-6)


@pytest.mark.parametrize("choices", [{}, {"chunk_size": 2}], ids=str)
@pytest.mark.parametrize("method", ["auto", "sparse", *COMPOSITIONS])
def test_hessians_in_shards(method, choices):
    for fun in (energy, lambda x: jax.lax.psum(energy(x), "i") * x[0]):
        result = in_shards(hessian(fun, method=method, **choices))
        np.testing.assert_allclose(result, in_shards(by_jax(method)(fun)), rtol=1e-5, atol=1e-6)


SECONDS = {
    "hvp": lambda x: hvp(energy)((x,), jnp.ones(4)),
    "ggn_vp": lambda x: ggn_vp(waves, energy)(x, x),
    "fisher_vp": lambda x: fisher_vp(waves)(x, x),
    "taylor": lambda x: taylor(waves, 3)(x, x)[3],
    "diagonal": lambda x: diagonal(energy)(x),
    "trace": lambda x: trace(energy)(x) * x,
    "bilaplacian": lambda x: bilaplacian(energy)(x) * x,
    **{
        f"laplacian {method}": lambda x, method=method: laplacian(energy, method=method)(x) * x
        for method in ("auto", "forward-laplacian", "nested", "hessian", "sparse")
    },
}


@pytest.mark.parametrize("name", SECONDS)
def test_other_operators_in_shards(name):
    np.testing.assert_allclose(in_shards(SECONDS[name]), SECONDS[name](X), rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in SECONDS if name != "laplacian hessian"])
def test_other_operators_on_an_explicit_mesh(name, split):
    np.testing.assert_allclose(SECONDS[name](split), SECONDS[name](X), rtol=1e-5)


@pytest.mark.parametrize("wrap", [lambda fun: fun, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("method", ["auto", "forward", "reverse", "sparse"])
def test_jacobians_keep_the_sharding(method, chunk_size, wrap, split):
    result = wrap(jacobian(waves, method=method, chunk_size=chunk_size))(split)
    expected = MODES.get(method, jax.jacfwd)(waves)(split)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert jax.typeof(result).sharding == jax.typeof(expected).sharding


@pytest.mark.parametrize("method", ["auto", "sparse", *COMPOSITIONS])
def test_hessians_keep_the_sharding(method, split):
    result, expected = hessian(energy, method=method)(split), by_jax(method)(energy)(split)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert jax.typeof(result).sharding == jax.typeof(expected).sharding


@pytest.mark.parametrize("operator", [jacobian, hessian])
def test_sparse_matrices_on_an_explicit_mesh(operator, split):
    fun = {jacobian: waves, hessian: energy}[operator]
    result = functools.partial(operator, output_format="bcoo")(fun)(split)
    np.testing.assert_allclose(result.todense(), operator(fun)(X), rtol=1e-6)


@pytest.mark.parametrize("method", ["auto", "l-bfgs"])
def test_solvers_on_an_explicit_mesh(method, split):
    result = minimize(hills, split, method=method).x
    np.testing.assert_allclose(result, minimize(hills, X, method=method).x, rtol=1e-3, atol=1e-3)
    assert jax.typeof(result).sharding == jax.typeof(split).sharding
