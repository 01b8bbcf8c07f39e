"""Prices of products: what they have to obey whatever the program is; results against JAX's dense derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms import hessian, jacobian
from jaxcalc.transforms.jacobian_routes import Passes
from jaxcalc.transforms.lifting import lift

N = 64
DRAWN = jnp.asarray(np.random.default_rng(0).normal(size=(N, N)) / 8, jnp.float32)


def layers(x):
    return jnp.tanh(jnp.eye(N) @ jnp.tanh(jnp.eye(N) @ x))


MAPS = {
    "layers": layers,
    "elementwise": lambda x: jnp.exp(x) * x,
    "products": lambda x: DRAWN @ (DRAWN.T @ (DRAWN @ x)),
    "loop": lambda x: jax.lax.scan(lambda c, w: (jnp.sin(w @ c), c), x, jnp.stack([DRAWN, DRAWN.T]))[0],
    "of a matrix": lambda x: jnp.linalg.solve(jnp.eye(8) * 9 + x.reshape(8, 8), x.reshape(8, 8)).ravel(),
    "gathered": lambda x: x[jnp.arange(N) // 2] * jnp.sort(x),
    "gradient": jax.grad(lambda x: jnp.sum(layers(x) ** 2)),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_chunk_costs_no_less_than_nothing_nor_all_of_them_less_than_all_at_once(name, mode):
    passes = Passes(lift("jacobian", MAPS[name], 0, (jnp.ones(N),)))
    costs = [passes.price(mode, N, chunk) for chunk in (1, 2, 8, 32)]
    for cost in costs:
        amounts = [cost.flops, cost.transcendentals, cost.bytes_moved, cost.kernels, *cost.counts.values()]
        assert min(amounts) >= 0
    # Reverse mode's forward sweep is not repeated; what is once cannot be cheaper in chunks than all at once.
    whole = passes.price(mode, N)
    assert min(cost.flops + cost.transcendentals for cost in costs) >= 0.5 * (whole.flops + whole.transcendentals)
    assert costs[0].kernels >= N


@pytest.mark.parametrize("options", [{"chunk_size": 1}, {"chunk_size": 3}, {"memory_budget": 60_000}])
def test_chunks_of_products_with_identities(options):
    x = jnp.linspace(-1, 1, N)
    loss = lambda x: jnp.sum(layers(x) ** 2)
    np.testing.assert_allclose(jacobian(layers, **options)(x), jax.jacfwd(layers)(x), rtol=1e-5, atol=1e-6)
    if "chunk_size" in options:
        np.testing.assert_allclose(hessian(loss, **options)(x), jax.hessian(loss)(x), rtol=1e-4, atol=1e-5)


HALF_FULL = {
    "cumulative": lambda x: jnp.cumsum(jnp.sin(x)),
    "triangle": lambda x: jnp.tril(jnp.outer(x, x)) @ x,
    "coupled": jax.grad(lambda x: jnp.sum(x[:30]) ** 3 + jnp.sum(x**3)),
}


@pytest.mark.parametrize("name", HALF_FULL)
@pytest.mark.parametrize("options", [{}, {"chunk_size": 3}, {"memory_budget": 10**7}], ids=["", "chunks", "budget"])
def test_half_full_patterns_are_stored_without_their_zeros(name, options):
    fun, x = HALF_FULL[name], jnp.linspace(0.1, 1, 40)
    actual, expected = jacobian(fun, output_format="bcoo", **options)(x), jax.jacfwd(fun)(x)
    np.testing.assert_allclose(actual.todense(), expected, rtol=1e-5, atol=1e-6)
    assert actual.nse == np.count_nonzero(expected)


def test_a_half_full_hessian_is_stored_without_its_zeros():
    fun, x = lambda x: jnp.sum(x[:30]) ** 3 + jnp.sum(x**3), jnp.linspace(0.1, 1, 40)
    actual = hessian(fun, output_format="bcoo")(x)
    np.testing.assert_allclose(actual.todense(), jax.hessian(fun)(x), rtol=1e-5, atol=1e-5)
    assert actual.nse == 910
