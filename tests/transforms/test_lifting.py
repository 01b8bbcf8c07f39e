"""What the lift to a map of arrays has to get right for every operator; the oracle is JAX's own dense derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.sparse import BCOO

from jaxcalc.transforms import diagonal, hessian, hvp, jacobian, laplacian, plan

# Programs whose result, in part or at every level, is a literal.
LITERALS = {
    "a number": lambda x: 0.0,
    "an array": lambda x: jnp.array(0.0),
    "single precision": lambda x: jnp.float32(2.0),
    "under jit": lambda x: jax.jit(lambda y: 1.5)(x),
    "one branch": lambda x: lax.cond(x[0] > 0, lambda y: 0.0, lambda y: jnp.sum(y**2), x),
    "carried": lambda x: jnp.sum(lax.scan(lambda c, y: (0.0, c + y**3), 1.0, x)[1]),
}


def dense(tree):
    is_bcoo = lambda leaf: isinstance(leaf, BCOO)
    return jax.tree.map(lambda leaf: leaf.todense() if is_bcoo(leaf) else leaf, tree, is_leaf=is_bcoo)


@pytest.mark.parametrize("name", LITERALS)
def test_outputs_that_are_literals(x64, name):
    fun, x = LITERALS[name], jnp.array([0.5, 1.5, -0.7])
    expected = jax.hessian(fun)(x)
    for options in ({}, {"method": "sparse"}, {"output_format": "bcoo"}):
        actual = dense(hessian(fun, **options)(x))
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), options
        np.testing.assert_allclose(actual, expected, err_msg=str(options))
    np.testing.assert_allclose(laplacian(fun)(x), jnp.trace(expected), atol=1e-15)
    np.testing.assert_allclose(diagonal(fun)(x), jnp.diagonal(expected), atol=1e-15)
    np.testing.assert_allclose(hvp(fun)((x,), x), expected @ x, atol=1e-15)
    assert plan(hessian, fun, x).method


@pytest.mark.parametrize("method", ["auto", "forward", "reverse", "sparse", "bidirectional"])
def test_some_outputs_that_are_literals(x64, method):
    fun, x = lambda x: (0.0, x**2, {"c": jnp.zeros(2)}), jnp.array([0.5, 1.5, -0.7])
    for output_format in ("dense", "bcoo"):
        actual = dense(jacobian(fun, method=method, output_format=output_format)(x))
        jax.tree.map(np.testing.assert_allclose, actual, jax.jacfwd(fun)(x))
