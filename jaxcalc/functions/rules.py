"""Rules of differentiation by example: functions with their derivatives written out by the rule, and where to look.

The laws (power, sum, product, quotient, chain) on functions that exercise them, and the reference table of derivatives.
Derivatives are exact on the interval; both are functions of an array, entry by entry.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.numpy import cos, exp, sin, tanh

from jaxcalc.functions.elementary import elementary

__all__ = ["TABLE", "Example", "laws", "table_entry"]

TABLE = ("xn", "exp", "ln", "sin", "cos", "sigmoid", "tanh", "relu", "abs", "ax", "loga")
"""The reference table of derivatives, in the order in which it is printed."""

_NAMED = {  # entries that the table of elementary functions calls otherwise, with their parameters
    "xn": ("cube", {}),
    "ln": ("log", {}),
    "ax": ("exponential", {"a": 2.5}),
    "loga": ("logarithm", {"a": 2.5}),
}
_BESIDE_KINK = (-4, 1.3 * math.pi)  # no point of an even grid is the kink at 0
_ENDS = {"xn": (0.3, 3), "ln": (0.2, 4), "loga": (0.2, 4), **dict.fromkeys(("relu", "abs"), _BESIDE_KINK)}


class Example(NamedTuple):
    """A function and its derivative by a rule, on an interval.

    Args:
      value: ``x -> f(x)``.
      derivative: ``x -> f'(x)``, written out.
      low, high: the interval; both are smooth on it but for the kink at 0 of ``relu`` and ``abs``.
    """

    value: Callable[..., Array]
    derivative: Callable[..., Array]
    low: float
    high: float


def table_entry(name: str) -> Example:
    """An entry of the reference table of derivatives.

    Args:
      name: one of ``TABLE``.

    Raises:
      ValueError: if the name is unknown.
    """
    known, parameters = _NAMED.get(name, (name, {}))
    entry = elementary(known)
    fun, rule = (functools.partial(one, **parameters) for one in (entry.value, entry.derivative))
    return Example(fun, rule, *_ENDS.get(name, (-4, 4)))


def laws() -> dict[str, list[Example]]:
    """The laws of differentiation: name -> examples that it gives the derivative of."""
    power = lambda n: Example(lambda x: x**n, lambda x: n * x ** (n - 1), 0.3, 3)
    inner, of_inner = lambda x: x**2 + sin(x), lambda x: 2 * x + cos(x)
    below = lambda x: 2 + cos(x)
    wave = lambda fun, rule: Example(fun, rule, -2, 2)
    ratio = lambda x: (cos(x) * below(x) + sin(x) ** 2) / below(x) ** 2
    cubic, of_cubic = lambda x: 5 * x**3 - 2 * x**2 + 7 * x - 3, lambda x: 15 * x**2 - 4 * x + 7
    squared, by_identity = lambda x: x**2 * exp(x), lambda x: exp(x) * (2 * x + x**2)
    return {
        "power-rule": [power(n) for n in (2, 3, 5, -1, 0.5, -2.5)],
        "power-rule-negative-and-fractional": [
            Example(lambda x: 1 / x, lambda x: -1 / x**2, 0.3, 3),
            Example(jnp.sqrt, lambda x: 1 / (2 * jnp.sqrt(x)), 0.3, 3),
            Example(lambda x: 5.0 + 0 * x, jnp.zeros_like, 0.3, 3),
        ],
        "sum-difference-constant-rules": [
            wave(lambda x: sin(x) + exp(x), lambda x: cos(x) + exp(x)),
            wave(lambda x: sin(x) - exp(x), lambda x: cos(x) - exp(x)),
            wave(lambda x: 3.7 * sin(x) + 5.0, lambda x: 3.7 * cos(x)),
        ],
        "cubic-example": [wave(cubic, of_cubic)],
        "product-rule": [
            wave(lambda x: sin(x) * exp(x), lambda x: cos(x) * exp(x) + sin(x) * exp(x)),
        ],
        "quotient-rule": [Example(lambda x: sin(x) / below(x), ratio, -3, 3)],
        "quotient-as-product-with-power": [
            Example(
                lambda x: sin(x) * below(x) ** -1,
                lambda x: cos(x) / below(x) + sin(x) ** 2 * below(x) ** -2,
                -3,
                3,
            )
        ],
        "x2-exp-derivative-identity": [Example(squared, by_identity, -2, 3)],
        "chain-rule": [
            wave(lambda x: tanh(inner(x)), lambda x: (1 - tanh(inner(x)) ** 2) * of_inner(x)),
        ],
        "chain-three-levels": [
            wave(lambda x: exp(sin(x**2)), lambda x: exp(sin(x**2)) * cos(x**2) * (2 * x)),
        ],
    }
