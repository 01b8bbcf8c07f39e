"""The table of derivatives: elementary functions, each with its derivative and an antiderivative in closed form.

All three act entry by entry, promote integers to floating point, and are written so that nothing cancels or overflows
on the way to a value that the dtype can hold.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.functions import activations

__all__ = ["ELEMENTARY", "Elementary", "elementary", "log1p", "log_hypot_one"]

_LINE = ((-math.inf, math.inf),)
_POSITIVE = ((0.0, math.inf),)
_PUNCTURED = ((-math.inf, 0.0), (0.0, math.inf))
_UNIT = ((-1.0, 1.0),)


@dataclass(frozen=True)
class Elementary:
    """An elementary function of a real variable.

    A parameter is a keyword of all three functions, so that it may be traced: ``power.value(x, n=p)``.

    Args:
      name: what a config calls it.
      formula: the function, as text.
      value: ``x -> f(x)``.
      derivative: ``x -> f'(x)``; at a kink one of the subgradients, which the entry's comment states.
      antiderivative: ``x -> F(x)`` with ``F' = f`` on each interval of the domain; one constant of integration is
        chosen, and on each interval it is free.
      domain: the open intervals on which all three hold. A function that has infinitely many lists the one about 0.
      kinks: points of the domain where ``f'`` jumps.
      parameters: the names and default values of the keywords.
    """

    name: str
    formula: str
    value: Callable[..., Array]
    derivative: Callable[..., Array]
    antiderivative: Callable[..., Array]
    domain: tuple[tuple[float, float], ...] = _LINE
    kinks: tuple[float, ...] = ()
    parameters: tuple[tuple[str, float], ...] = ()

    def __call__(self, x: ArrayLike, **parameters: ArrayLike) -> Array:
        """``f(x)``, entry by entry."""
        return self.value(x, **parameters)


def _floating(x: ArrayLike) -> Array:
    """Integers as floating point; a floating dtype is kept."""
    return jnp.asarray(x, jnp.result_type(x, float))


def _of_floating(fun: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda x: fun(_floating(x))


def _either(
    condition: Array, yes: Callable[[Array], Array], no: Callable[[Array], Array], x: Array, idle: float = 1.0
) -> Array:
    """One of two formulas; the one not taken is evaluated at ``idle``, where it neither overflows nor gives a NaN."""
    rest = jnp.full_like(x, idle)
    return jnp.where(condition, yes(jnp.where(condition, x, rest)), no(jnp.where(condition, rest, x)))


def log1p(x: ArrayLike) -> Array:
    """``log(1 + x)`` to a few ulps everywhere; XLA's own strays by a hundred in double precision about x = -0.4.

    Args:
      x: any shape.
    """
    x = _floating(x)
    # Below -1/4 the sum is exact to an ulp, and its logarithm not small.
    return _either(x < -0.25, lambda t: jnp.log(1 + t), jnp.log1p, x, idle=0.0)


def log_hypot_one(x: ArrayLike) -> Array:
    """``log sqrt(1 + x^2)``, of which neither the square overflows nor the small values cancel.

    Args:
      x: any shape.
    """
    x = _floating(x)
    far = lambda t: jnp.log(jnp.abs(t)) + 0.5 * jnp.log1p((1 / t) ** 2)
    return _either(jnp.abs(x) <= 1, lambda t: 0.5 * jnp.log1p(t * t), far, x)


# -- powers --------------------------------------------------------------------------------------------------------


def _power(x: ArrayLike, n: ArrayLike = 2.0) -> Array:
    x = _floating(x)
    return jnp.power(x, jnp.asarray(n, x.dtype))


def _power_derivative(x: ArrayLike, n: ArrayLike = 2.0) -> Array:
    """``n x^(n - 1)``; of a constant, n = 0, it is 0 at 0 too, where the formula has 0 times infinity."""
    x = _floating(x)
    n = jnp.asarray(n, x.dtype)
    constant = n == 0
    return jnp.where(constant, jnp.zeros_like(x), n * jnp.power(x, jnp.where(constant, jnp.ones_like(n), n - 1)))


def _power_antiderivative(x: ArrayLike, n: ArrayLike = 2.0) -> Array:
    """``x^(n + 1) / (n + 1)``; ``log |x|`` where n = -1."""
    x = _floating(x)
    n = jnp.asarray(n, x.dtype)
    reciprocal = n == -1
    raised = jnp.where(reciprocal, jnp.ones_like(n), n + 1)
    base = jnp.where(reciprocal, x, jnp.ones_like(x))
    return jnp.where(reciprocal, jnp.log(jnp.abs(base)), jnp.power(x, raised) / raised)


def _fixed_power(name: str, formula: str, n: float, domain: tuple[tuple[float, float], ...]) -> Elementary:
    functions = (functools.partial(fun, n=n) for fun in (_power, _power_derivative, _power_antiderivative))
    return Elementary(name, formula, *functions, domain=domain)


# -- exponentials and logarithms -----------------------------------------------------------------------------------


def _exponential(x: ArrayLike, a: ArrayLike = 2.0) -> Array:
    x = _floating(x)
    return jnp.power(jnp.asarray(a, x.dtype), x)


def _exponential_derivative(x: ArrayLike, a: ArrayLike = 2.0) -> Array:
    x = _floating(x)
    return _exponential(x, a) * jnp.log(jnp.asarray(a, x.dtype))


def _exponential_antiderivative(x: ArrayLike, a: ArrayLike = 2.0) -> Array:
    """``a^x / log a``; x where a = 1."""
    x = _floating(x)
    logarithm = jnp.log(jnp.asarray(a, x.dtype))
    flat = logarithm == 0
    return jnp.where(flat, x, _exponential(x, a) / jnp.where(flat, jnp.ones_like(logarithm), logarithm))


def _logarithm(x: ArrayLike, a: ArrayLike = 2.0) -> Array:
    x = _floating(x)
    return jnp.log(x) / jnp.log(jnp.asarray(a, x.dtype))


def _logarithm_derivative(x: ArrayLike, a: ArrayLike = 2.0) -> Array:
    x = _floating(x)
    return 1 / x / jnp.log(jnp.asarray(a, x.dtype))


def _logarithm_antiderivative(x: ArrayLike, a: ArrayLike = 2.0) -> Array:
    x = _floating(x)
    return x * (jnp.log(x) - 1) / jnp.log(jnp.asarray(a, x.dtype))


# -- circular and hyperbolic ---------------------------------------------------------------------------------------


def _tan_antiderivative(x: ArrayLike) -> Array:
    """``-log |cos x| = log sqrt(1 + tan^2 x)``, which does not cancel near 0."""
    return log_hypot_one(jnp.tan(_floating(x)))


def _tanh_antiderivative(x: ArrayLike) -> Array:
    """``log cosh x = log sqrt(1 + sinh^2 x)`` near 0; beyond, lest cosh overflow, ``|x| + log((1 + e^-2|x|)/2)``."""
    x = _floating(x)
    far = lambda t: jnp.abs(t) - math.log(2) + jnp.log1p(jnp.exp(-2 * jnp.abs(t)))
    return _either(jnp.abs(x) <= 1, lambda t: log_hypot_one(jnp.sinh(t)), far, x)


def _sech_square(x: ArrayLike) -> Array:
    return activations.tanh.derivative(x)


def _arctan_antiderivative(x: Array) -> Array:
    return x * jnp.arctan(x) - log_hypot_one(x)


def _leg(x: Array) -> Array:
    """``sqrt(1 - x^2)``, by factors that do not cancel near +-1."""
    return jnp.sqrt((1 - x) * (1 + x))


def _sharp(x: Array) -> Array:
    """``sqrt(x^2 - 1)`` for x above 1, by factors that neither cancel nor overflow."""
    return jnp.sqrt(x - 1) * jnp.sqrt(x + 1)


def _artanh(x: Array) -> Array:
    """``log(1 + 2 x / (1 - x)) / 2`` for x from 0, odd: jnp.arctanh inherits what ``log1p`` is there to avoid."""
    above = lambda t: 0.5 * jnp.log1p(2 * t / (1 - t))
    return _either(x >= 0, above, lambda t: -above(-t), x, idle=0.0)


def _artanh_antiderivative(x: Array) -> Array:
    """``x artanh x + log(1 - x^2) / 2``."""
    far = lambda t: jnp.log((1 - t) * (1 + t))
    return x * _artanh(x) + 0.5 * _either(jnp.abs(x) < 0.5, lambda t: jnp.log1p(-t * t), far, x, idle=0.5)


def _of(
    name: str,
    formula: str,
    value: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
    antiderivative: Callable[[Array], Array],
    domain: tuple[tuple[float, float], ...] = _LINE,
    kinks: tuple[float, ...] = (),
) -> Elementary:
    functions = (_of_floating(fun) for fun in (value, derivative, antiderivative))
    return Elementary(name, formula, *functions, domain=domain, kinks=kinks)


def _base_two(kind: str) -> tuple[tuple[str, float], ...]:
    return ((kind, 2.0),)


ELEMENTARY: dict[str, Elementary] = {
    each.name: each
    for each in (
        # On all reals where n is whole and not negative, but for 0 where it is whole.
        Elementary(
            "power", "x^n", _power, _power_derivative, _power_antiderivative, _POSITIVE, parameters=_base_two("n")
        ),
        _fixed_power("constant", "x^0", 0.0, _LINE),
        _fixed_power("identity", "x", 1.0, _LINE),
        _fixed_power("square", "x^2", 2.0, _LINE),
        _fixed_power("cube", "x^3", 3.0, _LINE),
        _fixed_power("reciprocal", "x^-1", -1.0, _PUNCTURED),
        _fixed_power("inverse_square", "x^-2", -2.0, _PUNCTURED),
        _of("sqrt", "x^(1/2)", jnp.sqrt, lambda x: 0.5 / jnp.sqrt(x), lambda x: 2 / 3 * (x * jnp.sqrt(x)), _POSITIVE),
        _of(
            "inverse_sqrt",
            "x^(-1/2)",
            jax.lax.rsqrt,
            lambda x: -0.5 * jax.lax.rsqrt(x) / x,
            lambda x: 2 * jnp.sqrt(x),
            _POSITIVE,
        ),
        _of("exp", "e^x", jnp.exp, jnp.exp, jnp.exp),
        _of("log", "log x", jnp.log, lambda x: 1 / x, lambda x: x * (jnp.log(x) - 1), _POSITIVE),
        Elementary(
            "exponential",
            "a^x",
            _exponential,
            _exponential_derivative,
            _exponential_antiderivative,
            parameters=_base_two("a"),
        ),
        Elementary(
            "logarithm",
            "log_a x",
            _logarithm,
            _logarithm_derivative,
            _logarithm_antiderivative,
            _POSITIVE,
            parameters=_base_two("a"),
        ),
        _of("sin", "sin x", jnp.sin, jnp.cos, lambda x: -jnp.cos(x)),
        _of("cos", "cos x", jnp.cos, lambda x: -jnp.sin(x), jnp.sin),
        _of(
            "tan",
            "tan x",
            jnp.tan,
            lambda x: 1 + jnp.tan(x) ** 2,
            _tan_antiderivative,
            ((-math.pi / 2, math.pi / 2),),
        ),
        _of("sinh", "sinh x", jnp.sinh, jnp.cosh, jnp.cosh),
        _of("cosh", "cosh x", jnp.cosh, jnp.sinh, jnp.sinh),
        _of("tanh", "tanh x", jnp.tanh, _sech_square, _tanh_antiderivative),
        _of("arcsin", "arcsin x", jnp.arcsin, lambda x: 1 / _leg(x), lambda x: x * jnp.arcsin(x) + _leg(x), _UNIT),
        _of("arccos", "arccos x", jnp.arccos, lambda x: -1 / _leg(x), lambda x: x * jnp.arccos(x) - _leg(x), _UNIT),
        _of("arctan", "arctan x", jnp.arctan, lambda x: 1 / (1 + x * x), _arctan_antiderivative),
        _of(
            "arsinh",
            "arsinh x",
            jnp.arcsinh,
            lambda x: 1 / jnp.hypot(x, jnp.ones_like(x)),
            lambda x: x * jnp.arcsinh(x) - jnp.hypot(x, jnp.ones_like(x)),
        ),
        _of(
            "arcosh",
            "arcosh x",
            jnp.arccosh,
            lambda x: 1 / _sharp(x),
            lambda x: x * jnp.arccosh(x) - _sharp(x),
            ((1.0, math.inf),),
        ),
        _of("artanh", "artanh x", _artanh, lambda x: 1 / ((1 - x) * (1 + x)), _artanh_antiderivative, _UNIT),
        # At the kink the derivative given is sign(0) = 0, the mean of both sides; jax.grad of jnp.abs gives 1.
        _of("abs", "|x|", jnp.abs, jnp.sign, lambda x: 0.5 * x * jnp.abs(x), kinks=(0.0,)),
        _of(
            "relu",
            "max(0, x)",
            activations.relu.value,
            activations.relu.derivative,
            lambda x: 0.5 * jax.nn.relu(x) * jax.nn.relu(x),
            kinks=activations.relu.kinks,
        ),
        _of("sigmoid", "1 / (1 + e^-x)", activations.sigmoid.value, activations.sigmoid.derivative, jax.nn.softplus),
    )
}


def elementary(name: str) -> Elementary:
    """The elementary function of that name.

    Args:
      name: one of ``ELEMENTARY``.

    Raises:
      ValueError: for an unknown name; the message lists the known ones.
    """
    return ELEMENTARY[checks.one_of("elementary", "name", name, ELEMENTARY)]
