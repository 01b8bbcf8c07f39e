"""Long scans, and a rule of one's own, whose Jacobians' sparsity patterns are known."""

from typing import Any

import numpy as np

from jaxcalc.scenarios.scenario import Scenario

SCANS = ("ring", "cascade", "oscillators")


def scan(name: str, *, carry: int, length: int) -> Scenario:
    """A scan without inputs, a function of the initial carry; the carry is a numpy array in double precision.

    Args:
      name: ``"ring"``: each entry sees its left neighbour, the last carry is returned; ``"cascade"``: likewise on a
        line, and what is returned is the last entry after every step, of shape (length,); ``"oscillators"``: pendulums
        without friction, the first half of the carry their angles and the second their speeds.
      carry: number of entries of the carry; even for oscillators.
      length: number of steps.

    Raises:
      ValueError: a name that is not one of ``SCANS``, or an odd number of entries for oscillators.
    """
    import jax
    import jax.numpy as jnp

    def ring(c: Any) -> Any:
        return 0.9 * c + 0.1 * jnp.sin(jnp.roll(c, 1)), None

    def cascade(c: Any) -> Any:
        return jnp.append(0.9 * c[:1], 0.9 * c[1:] + 0.1 * jnp.tanh(c[:-1])), c[-1]

    def oscillators(c: Any) -> Any:
        angle, speed = jnp.split(c, 2)
        speed = speed - 0.1 * jnp.sin(angle)
        return jnp.concatenate([angle + 0.1 * speed, speed]), None

    steps = dict(zip(SCANS, (ring, cascade, oscillators)))
    if name not in steps:
        raise ValueError(f"scan: unknown scan {name!r}; it is one of: {', '.join(SCANS)}")
    if name == "oscillators" and carry % 2:
        raise ValueError(f"scan: oscillators have an angle and a speed each; got carry={carry}")

    def fun(x: Any) -> Any:
        last, seen = jax.lax.scan(lambda c, _: steps[name](c), x, None, length=length)
        return last if seen is None else seen

    return Scenario(fun, np.random.default_rng(0).standard_normal(carry))


def rounded_products(*, size: int = 100) -> Scenario:
    """Products of neighbours, rounded to integers with the tangent of the identity; their argument is a numpy array.

    Args:
      size: number of inputs; there is one output less.
    """
    import jax
    import jax.numpy as jnp

    @jax.custom_jvp
    def rounded(x: Any) -> Any:
        return jnp.round(x)

    rounded.defjvp(lambda primals, tangents: (rounded(*primals), tangents[0]))
    return Scenario(lambda x: rounded(x[1:] * x[:-1]), 3.0 * np.random.default_rng(0).standard_normal(size))
