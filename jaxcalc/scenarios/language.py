"""Scalar functions with one feature of the language each: loops, branches, kinks, gathers, factorisations."""

from collections.abc import Callable
from typing import Any

FEATURES = (
    "polynomial",
    "tanh network",
    "softplus network",
    "fori_loop",
    "while_loop",
    "scan over data",
    "cond",
    "relu network",
    "sorted",
    "product",
    "scatter",
    "log determinant",
    "linear solve",
)


def feature(name: str) -> Callable[[Any, Any], Any]:
    """The function of a vector of shape (n,) and a matrix of shape (n, n), twice differentiable in the vector.

    Raises:
      ValueError: a name that is not one of ``FEATURES``.
    """
    import jax
    import jax.numpy as jnp

    def wave(x: Any, a: Any) -> Any:
        return jnp.sin(a @ x)

    def by_count(x: Any, a: Any) -> Any:
        return jnp.sum(jax.lax.fori_loop(0, 4, lambda i, h: h + 0.3 * jnp.sin(a @ h), x) ** 2)

    def by_condition(x: Any, a: Any) -> Any:
        step = lambda state: (state[0] + 1, jnp.tanh(a @ state[1]))
        return jnp.sum(jax.lax.while_loop(lambda state: state[0] < 4, step, (0, x))[1] ** 2)

    def over_data(x: Any, a: Any) -> Any:
        step = lambda h, row: (jnp.tanh(h + row * jnp.sum(h)), h[0] ** 2)
        return jnp.sum(jax.lax.scan(step, x, a)[1])

    def branched(x: Any, a: Any) -> Any:
        return jnp.sum(jax.lax.cond(x[0] > 0, lambda v: wave(v, a) ** 2, lambda v: v**3, x))

    def scattered(x: Any, a: Any) -> Any:
        return jnp.sum(jnp.zeros(x.size).at[jnp.arange(x.size) // 2].add(x**2) ** 2)

    functions: dict[str, Callable[[Any, Any], Any]] = {
        "polynomial": lambda x, a: jnp.sum(x**3 * (a @ x)),
        "tanh network": lambda x, a: jnp.sum(jnp.tanh(a @ jnp.tanh(a @ x))),
        "softplus network": lambda x, a: jnp.sum(jax.nn.softplus(a @ x) ** 2),
        "fori_loop": by_count,
        "while_loop": by_condition,
        "scan over data": over_data,
        "cond": branched,
        "relu network": lambda x, a: jnp.sum(jax.nn.relu(a @ x + 0.1) ** 2 * x),
        "sorted": lambda x, a: jnp.sum(jnp.sort(a @ x)[::2] ** 3),
        "product": lambda x, a: jnp.prod(2.0 + wave(x, a)),
        "scatter": scattered,
        "log determinant": lambda x, a: jnp.linalg.slogdet(a + jnp.diag(4.0 + x**2))[1],
        "linear solve": lambda x, a: jnp.sum(jnp.linalg.solve(a + jnp.diag(4.0 + x**2), x)),
    }
    if name not in functions:
        raise ValueError(f"feature: unknown name {name!r}; it is one of: {', '.join(FEATURES)}")
    return functions[name]
