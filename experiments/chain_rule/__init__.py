"""Do the rules of differentiation hold, to rounding, and what do textbook examples come to?

Every rule as a hand-written formula against automatic differentiation (``rules``), worked examples against what is
printed of them (``examples``), compositions of fifty layers as products of local derivatives (``chain``), and what a
derivative is in the first place: a limit, a tangent, a sign, a stationary point (``foundations``).
"""

import numpy as np


def derivative_rules():
    """Claim -> [(function, its derivative by the rule, from, to), ...]."""
    import jax.numpy as jnp
    from jax.nn import relu, sigmoid

    power = lambda n: (lambda x: x**n, lambda x: n * x ** (n - 1), 0.3, 3.0)
    inner, of_inner = lambda x: x**2 + jnp.sin(x), lambda x: 2 * x + jnp.cos(x)
    three = lambda x: jnp.exp(jnp.sin(x**2))
    base = 2.5
    ratio = lambda x: (jnp.cos(x) * (2 + jnp.cos(x)) + jnp.sin(x) ** 2) / (2 + jnp.cos(x)) ** 2
    return {
        "power-rule": [power(n) for n in (2, 3, 5, -1, 0.5, -2.5)],
        "power-rule-negative-and-fractional": [
            (lambda x: 1 / x, lambda x: -1 / x**2, 0.3, 3.0),
            (jnp.sqrt, lambda x: 1 / (2 * jnp.sqrt(x)), 0.3, 3.0),
            (lambda x: 5.0 + 0 * x, jnp.zeros_like, 0.3, 3.0),
        ],
        "sum-difference-constant-rules": [
            (lambda x: jnp.sin(x) + jnp.exp(x), lambda x: jnp.cos(x) + jnp.exp(x), -2.0, 2.0),
            (lambda x: jnp.sin(x) - jnp.exp(x), lambda x: jnp.cos(x) - jnp.exp(x), -2.0, 2.0),
            (lambda x: 3.7 * jnp.sin(x) + 5.0, lambda x: 3.7 * jnp.cos(x), -2.0, 2.0),
        ],
        "cubic-example": [(lambda x: 5 * x**3 - 2 * x**2 + 7 * x - 3, lambda x: 15 * x**2 - 4 * x + 7, -2.0, 2.0)],
        "product-rule": [
            (lambda x: jnp.sin(x) * jnp.exp(x), lambda x: jnp.cos(x) * jnp.exp(x) + jnp.sin(x) * jnp.exp(x), -2.0, 2.0)
        ],
        "quotient-rule": [(lambda x: jnp.sin(x) / (2 + jnp.cos(x)), ratio, -3.0, 3.0)],
        "quotient-as-product-with-power": [
            (
                lambda x: jnp.sin(x) * (2 + jnp.cos(x)) ** -1,
                lambda x: jnp.cos(x) / (2 + jnp.cos(x)) + jnp.sin(x) ** 2 * (2 + jnp.cos(x)) ** -2,
                -3.0,
                3.0,
            )
        ],
        "x2-exp-derivative-identity": [(lambda x: x**2 * jnp.exp(x), lambda x: jnp.exp(x) * (2 * x + x**2), -2.0, 3.0)],
        "chain-rule": [
            (lambda x: jnp.tanh(inner(x)), lambda x: (1 - jnp.tanh(inner(x)) ** 2) * of_inner(x), -2.0, 2.0)
        ],
        "chain-three-levels": [
            (three, lambda x: jnp.exp(jnp.sin(x**2)) * jnp.cos(x**2) * (2 * x), -2.0, 2.0),
        ],
        "table-derivative-xn": [power(3)],
        "table-derivative-exp": [(jnp.exp, jnp.exp, -3.0, 3.0)],
        "table-derivative-ln": [(jnp.log, lambda x: 1 / x, 0.2, 4.0)],
        "table-derivative-sin": [(jnp.sin, jnp.cos, -4.0, 4.0)],
        "table-derivative-cos": [(jnp.cos, lambda x: -jnp.sin(x), -4.0, 4.0)],
        "table-derivative-sigmoid": [(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), -6.0, 6.0)],
        "table-derivative-tanh": [(jnp.tanh, lambda x: 1 - jnp.tanh(x) ** 2, -4.0, 4.0)],
        "table-derivative-relu": [(relu, lambda x: (x > 0).astype(x.dtype), 0.01, 4.0)],
        "table-derivative-abs": [(jnp.abs, jnp.sign, -4.0, 1.3 * np.pi)],  # no point of which is the kink
        "table-derivative-ax": [(lambda x: base**x, lambda x: base**x * np.log(base), -3.0, 3.0)],
        "table-derivative-loga": [(lambda x: jnp.log(x) / np.log(base), lambda x: 1 / (x * np.log(base)), 0.2, 4.0)],
    }
