"""What does a Laplacian cost, and on which programs does it work: our routes beside folx, jax's jet and nested loops?

Two questions: the time on networks of the literature (``time``), and the programs that each contestant gets right
(``programs``): loops, scans over data, kinks. Peers that are not installed leave NaN.
"""

from collections.abc import Callable
from typing import Any

from experiments import _contest
from jaxcalc.lab import first, jax, jnp

# Ours, then the peers, then what anybody can write down in jax.
OURS = ("auto", "forward-laplacian", "sparse", "nested", "hessian")


def by_jet(fun):
    """The sum over all axes of the second coefficient of jax's Taylor mode."""
    from jax.experimental.jet import jet

    def call(x, *constants):
        flat = lambda v: fun(v.reshape(x.shape), *constants)

        def along(v):
            return jet(flat, (x.ravel(),), [[v, jnp.zeros_like(v)]])[1][1]

        return jnp.sum(jax.vmap(along)(jnp.eye(x.size, dtype=x.dtype)))

    return call


def by_hessian(fun):
    """The trace of jax's Hessian."""
    return lambda x, *constants: jnp.trace(
        jax.hessian(lambda v: fun(v.reshape(x.shape), *constants))(x.ravel()).reshape(x.size, x.size)
    )


def by_loop(fun):
    """Hessian-vector products with the axes, one after the other."""

    def call(x, *constants):
        _, push = jax.linearize(jax.grad(lambda v: fun(v.reshape(x.shape), *constants)), x.ravel())
        axis = lambda i: jnp.zeros(x.size, x.dtype).at[i].set(1)
        return jax.lax.fori_loop(0, x.size, lambda i, total: total + push(axis(i))[i], jnp.zeros((), x.dtype))

    return call


def contestants_for(fun, sparsity):
    """Every route to the Laplacian in the first argument; ``sparsity`` is folx's threshold where it looks for zeros."""
    from jaxcalc.transforms import laplacian

    found: dict[str, Callable[..., Any]] = {name: laplacian(fun, method=name) for name in OURS}
    if _contest.installed("folx"):
        import folx  # pyright: ignore[reportMissingImports]

        def by_folx(operator):
            # LoopLaplacianOperator returns the terms of the sum, ForwardLaplacianOperator the sum.
            return lambda x, *constants: operator(lambda v: fun(v, *constants))(x)[0].sum()

        found |= {
            "folx dense": by_folx(folx.ForwardLaplacianOperator(0)),
            "folx sparse": by_folx(folx.ForwardLaplacianOperator(sparsity)),
            "folx loop": by_folx(folx.LoopLaplacianOperator()),
        }
    return found | {"jet": by_jet(fun), "jax hessian": by_hessian(fun), "jax loop": by_loop(fun)}


def first_point(dataset, *kept):
    """Of a sweep along other axes, the first point; the axes kept are there even if they were not swept."""
    for name in kept:
        if name in dataset.coords and name not in dataset.dims:
            dataset = dataset.expand_dims(name)
    return first(dataset, *kept, "route", "repeat")
