"""Long scans whose sparsity patterns are known: a ring, a cascade, oscillators."""

from collections.abc import Callable
from typing import Any

import numpy as np


def scan(name: str, carry: int, length: int) -> tuple[Callable[..., Any], Any]:
    """A scan with a carry of that size: neighbours on a ring, a cascade watched at its end, oscillators apart."""
    import jax
    import jax.numpy as jnp

    def ring(c: Any) -> Any:
        return 0.9 * c + 0.1 * jnp.sin(jnp.roll(c, 1)), None

    def cascade(c: Any) -> Any:
        return jnp.append(0.9 * c[:1], 0.9 * c[1:] + 0.1 * jnp.tanh(c[:-1])), c[-1]

    def oscillators(c: Any) -> Any:
        place, speed = jnp.split(c, 2)
        speed = speed - 0.1 * jnp.sin(place)
        return jnp.concatenate([place + 0.1 * speed, speed]), None

    steps = {"ring": ring, "cascade": cascade, "oscillators": oscillators}
    if name not in steps:
        raise ValueError(f"sparsity_detection: unknown scan {name!r}; it is one of: {', '.join(steps)}.")

    def fun(x: Any) -> Any:
        last, seen = jax.lax.scan(lambda c, _: steps[name](c), x, None, length=length)
        return last if seen is None else seen

    return fun, np.random.default_rng(0).standard_normal(carry)


def rounding() -> tuple[Callable[..., Any], Any]:
    """Products of neighbours, rounded, with the tangent of the identity."""
    import jax
    import jax.numpy as jnp

    @jax.custom_jvp
    def rounded(x: Any) -> Any:
        return jnp.round(x)

    rounded.defjvp(lambda primals, tangents: (rounded(*primals), tangents[0]))
    return lambda x: rounded(x[1:] * x[:-1]), 3.0 * np.random.default_rng(0).standard_normal(100)
