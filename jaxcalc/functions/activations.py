"""Activation functions, each with its first and second derivative in closed form and the largest slope it can have.

The scalar functions act entry by entry; softmax, its logarithm and log-sum-exp act along an axis. Every formula is
written so that arguments of any size, infinite ones too, give no NaN and small tails keep their relative digits, down
to where the dtype itself underflows. Integers are promoted to floating point; complex numbers are for the analytic
functions alone.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ActivationName",
    "activation",
    "elu",
    "gelu",
    "gelu_tanh",
    "leaky_relu",
    "linear",
    "log_softmax",
    "log_softmax_jacobian",
    "logsumexp",
    "one_minus_softmax",
    "quadratic",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_jacobian",
    "softplus",
    "tanh",
]

ActivationName = Literal[
    "linear",
    "sigmoid",
    "tanh",
    "relu",
    "gelu",
    "quadratic",
    "leaky_relu",
    "elu",
    "gelu_tanh",
    "silu",
    "softplus",
]


@dataclass(frozen=True)
class Activation:
    """A scalar function applied to every entry, with its derivatives.

    A parameter is a keyword of all three functions, so that it may be traced: ``elu(x, alpha=a)``.

    Args:
      name: what a config calls it.
      value: ``x -> f(x)``, entry by entry.
      derivative: ``x -> f'(x)`` in closed form; at a kink the one-sided slope that the activation's comment states.
      largest_slope: the supremum of ``|f'|``, the most that one layer of unit weights can pass of a gradient; for the
        default parameters.
      second_derivative: ``x -> f''(x)`` in closed form; at a kink, where there is none, that of the side chosen for
        ``derivative``.
      kinks: where ``f'`` jumps, for the default parameters.
      bends: where ``f''`` jumps although ``f'`` does not, for the default parameters.
      parameters: the names and default values of the keywords.
    """

    name: str
    value: Callable[..., Array]
    derivative: Callable[..., Array]
    largest_slope: float
    second_derivative: Callable[..., Array]
    kinks: tuple[float, ...] = ()
    bends: tuple[float, ...] = ()
    parameters: tuple[tuple[str, float], ...] = ()

    def __call__(self, x: ArrayLike, **parameters: ArrayLike) -> Array:
        """``f(x)``, entry by entry."""
        return self.value(x, **parameters)


def _floating(x: ArrayLike) -> Array:
    """Integers as floating point; a floating dtype is kept."""
    return jnp.asarray(x, jnp.result_type(x, float))


def _constant(value: float) -> Callable[[ArrayLike], Array]:
    return lambda x: jnp.full_like(_floating(x), value)


_BELL_REACH = 64.0  # where every bell has underflowed
_SIGMOID_REACH = 800.0  # and the sigmoid


def _within(reach: float, x: Array) -> Array:
    """``x`` cut at +-reach: what multiplies a bell that has underflowed must not overflow, 0 inf is NaN."""
    return jnp.clip(x, -reach, reach)


def _gated(reach: float, gate: Callable[[Array], Array], x: Array) -> Array:
    """``x gate(x)``, the gate being 0 or 1 beyond the reach; a choice, lest an infinite entry be multiplied by 0."""
    near = _within(reach, x)
    return jnp.where(x > reach, x, near * gate(near))


def _real(name: str, fun: Callable[..., Array]) -> Callable[..., Array]:
    """``fun`` of real numbers: complex ones have no order, so that no piece of it is theirs."""

    @functools.wraps(fun)
    def called(x: ArrayLike, **parameters: ArrayLike) -> Array:
        return fun(checks.real_array(name, "x", x), **parameters)

    return called


# -- sigmoids ------------------------------------------------------------------------------------------------------


def _sigmoid(x: ArrayLike) -> Array:
    return jax.nn.sigmoid(_floating(x))


def _sigmoid_derivative(x: ArrayLike) -> Array:
    """``s(x) s(-x)``, which keeps its digits where ``1 - s(x)`` would cancel, as it does in jax's own rule."""
    x = _floating(x)
    return jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)


def _sigmoid_second(x: ArrayLike) -> Array:
    """``s' (1 - 2 s) = -s(x) s(-x) tanh(x/2)``."""
    x = _floating(x)
    return -_sigmoid_derivative(x) * jnp.tanh(0.5 * x)


def _tanh_derivative(x: ArrayLike) -> Array:
    """``sech^2(x) = 4 s(2x) s(-2x)``, which keeps its digits where ``1 - tanh^2`` would cancel."""
    return 4 * _sigmoid_derivative(2 * _floating(x))


def _tanh_second(x: ArrayLike) -> Array:
    return -2 * jnp.tanh(_floating(x)) * _tanh_derivative(x)


# -- rectifiers ----------------------------------------------------------------------------------------------------


def _relu_derivative(x: ArrayLike) -> Array:
    x = _floating(x)
    return jnp.where(x > 0, jnp.ones_like(x), jnp.zeros_like(x))


def _leaky_relu(x: ArrayLike, slope: ArrayLike = 0.01) -> Array:
    """Not ``max(slope x, x)``, which is another function where the slope is above 1."""
    x = _floating(x)
    return jnp.where(x >= 0, x, jnp.asarray(slope, x.dtype) * _negative_part(x))


def _leaky_relu_derivative(x: ArrayLike, slope: ArrayLike = 0.01) -> Array:
    x = _floating(x)
    return jnp.where(x >= 0, jnp.ones_like(x), jnp.asarray(slope, x.dtype))


def _leaky_relu_second(x: ArrayLike, slope: ArrayLike = 0.01) -> Array:
    x = _floating(x)
    return jnp.zeros(jnp.broadcast_shapes(x.shape, jnp.shape(slope)), x.dtype)


def _negative_part(x: Array) -> Array:
    """``min(x, 0)`` by a choice, so that the branch not taken neither overflows nor enters a derivative."""
    return jnp.where(x > 0, jnp.zeros_like(x), x)


def _elu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    x = _floating(x)
    return jnp.where(x > 0, x, jnp.asarray(alpha, x.dtype) * jnp.expm1(_negative_part(x)))


def _elu_derivative(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    """``alpha e^x`` below 0; the same as ``f + alpha``, which would cancel in the tail."""
    x = _floating(x)
    return jnp.where(x > 0, jnp.ones_like(x), jnp.asarray(alpha, x.dtype) * jnp.exp(_negative_part(x)))


def _elu_second(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    x = _floating(x)
    return jnp.where(x > 0, jnp.zeros_like(x), jnp.asarray(alpha, x.dtype) * jnp.exp(_negative_part(x)))


# -- gated by a sigmoid --------------------------------------------------------------------------------------------


def _normal_density(x: Array) -> Array:
    """The standard normal density."""
    return jnp.exp(-0.5 * x * x) / jnp.sqrt(2 * jnp.pi).astype(x.dtype)


def _normal_distribution(x: Array) -> Array:
    """The standard normal distribution by erfc, which keeps the small probabilities that ``1 + erf`` would cancel."""
    return 0.5 * jax.lax.erfc(-jnp.sqrt(jnp.asarray(0.5, x.dtype)) * x)


def _gelu(x: ArrayLike) -> Array:
    return _gated(_BELL_REACH, _normal_distribution, _floating(x))


def _gelu_derivative(x: ArrayLike) -> Array:
    """``Phi(x) + x phi(x)`` with the standard normal's distribution and density."""
    x = _within(_BELL_REACH, _floating(x))
    return _normal_distribution(x) + x * _normal_density(x)


def _gelu_second(x: ArrayLike) -> Array:
    """``phi(x) (2 - x^2)``."""
    x = _within(_BELL_REACH, _floating(x))
    root = math.sqrt(2)
    return _normal_density(x) * (root - x) * (root + x)


_TANH_SCALE = 2 * math.sqrt(2 / math.pi)
_TANH_CUBIC = 0.044715  # Hendrycks and Gimpel's fit to the normal distribution


def _gelu_tanh_gate(x: Array) -> tuple[Array, Array, Array]:
    """``u = 2 sqrt(2/pi) (x + 0.044715 x^3)`` and its derivatives; the gate is s(u) = (1 + tanh(u/2)) / 2."""
    square = _TANH_CUBIC * x * x
    return _TANH_SCALE * (1 + square) * x, _TANH_SCALE * (1 + 3 * square), 6 * _TANH_SCALE * _TANH_CUBIC * x


def _half_bell(u: Array) -> Array:
    """``sqrt(s(u) s(-u))``: two of them multiplied last keep a product in range that the bell itself underflows in."""
    return jnp.exp(-0.5 * jnp.abs(u)) / (1 + jnp.exp(-jnp.abs(u)))


def _gelu_tanh(x: ArrayLike) -> Array:
    """``x s(u)``: by ``1 + tanh``, as jax has it, the negative tail would cancel to 0."""
    return _gated(_BELL_REACH, lambda x: jax.nn.sigmoid(_gelu_tanh_gate(x)[0]), _floating(x))


def _gelu_tanh_derivative(x: ArrayLike) -> Array:
    """``s(u) + x u' s'(u)``."""
    x = _within(_BELL_REACH, _floating(x))
    u, first, _ = _gelu_tanh_gate(x)
    half = _half_bell(u)
    return jax.nn.sigmoid(u) + (half * x) * (half * first)


def _gelu_tanh_second(x: ArrayLike) -> Array:
    """``(2 u' + x u'') s'(u) + x u'^2 s''(u)``, with ``s'' = -s' tanh(u/2)``."""
    x = _within(_BELL_REACH, _floating(x))
    u, first, second = _gelu_tanh_gate(x)
    half = _half_bell(u)
    steep = half * first
    # The bell multiplies each factor: half precision cannot hold the product of the others.
    return half * (half * (2 * first + x * second)) - steep * (steep * x * jnp.tanh(0.5 * u))


def _silu(x: ArrayLike) -> Array:
    return _gated(_SIGMOID_REACH, jax.nn.sigmoid, _floating(x))


def _silu_derivative(x: ArrayLike) -> Array:
    """``s(x) (1 + x s(-x))``."""
    x = _within(_SIGMOID_REACH, _floating(x))
    return jax.nn.sigmoid(x) * (1 + x * jax.nn.sigmoid(-x))


def _silu_second(x: ArrayLike) -> Array:
    """``s' (2 - x tanh(x/2))``."""
    x = _within(_SIGMOID_REACH, _floating(x))
    return _sigmoid_derivative(x) * (2 - x * jnp.tanh(0.5 * x))


def _softplus(x: ArrayLike) -> Array:
    return jax.nn.softplus(_floating(x))


# -- largest slopes ------------------------------------------------------------------------------------------------


def _root(fun: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls from positive to negative vanishes, by bisection to the last bit."""
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if fun(middle) > 0 else (low, middle)
    return low


def _silu_largest_slope() -> float:
    """``f'`` where ``f''`` vanishes: ``x tanh(x/2) = 2``, so that ``f' = s (1 + x s(-x)) = s x / 2`` there."""
    x = _root(lambda x: 2 - x * math.tanh(0.5 * x), 1.0, 4.0)
    return 0.5 * x / (1 + math.exp(-x))


def _gelu_tanh_largest_slope() -> float:
    """``f'`` where ``f''`` vanishes: ``2 u' + x u'' = x u'^2 tanh(u/2)``."""
    square = lambda x: _TANH_CUBIC * x * x
    gate = lambda x: _TANH_SCALE * (1 + square(x)) * x
    first = lambda x: _TANH_SCALE * (1 + 3 * square(x))
    bend = lambda x: 2 * _TANH_SCALE * (1 + 6 * square(x)) - x * first(x) ** 2 * math.tanh(0.5 * gate(x))
    x = _root(bend, 1.0, 2.0)
    s = 1 / (1 + math.exp(-gate(x)))
    return s * (1 + x * first(x) * (1 - s))


# The slope of x Phi(x) is largest at x = sqrt 2, where its own derivative phi(x) (2 - x^2) vanishes.
_GELU_SLOPE = 0.5 * (1 + math.erf(1)) + math.exp(-1) / math.sqrt(math.pi)


def _of_reals(
    name: str,
    value: Callable[..., Array],
    derivative: Callable[..., Array],
    largest_slope: float,
    second_derivative: Callable[..., Array],
    **rest: Any,
) -> Activation:
    """An activation that refuses complex numbers; the others are analytic, and theirs too."""
    first, second = _real(name, derivative), _real(name, second_derivative)
    return Activation(name, _real(name, value), first, largest_slope, second, **rest)


linear = Activation("linear", _floating, _constant(1.0), 1.0, _constant(0.0))
sigmoid = Activation("sigmoid", _sigmoid, _sigmoid_derivative, 0.25, _sigmoid_second)
tanh = Activation("tanh", lambda x: jnp.tanh(_floating(x)), _tanh_derivative, 1.0, _tanh_second)
# The slope at the kink is 0, as jax.nn.relu has it; jax.grad of jnp.maximum(x, 0) shares a tie and gives 1/2 there.
relu = _of_reals("relu", jax.nn.relu, _relu_derivative, 1.0, _constant(0.0), kinks=(0.0,))
gelu = _of_reals("gelu", _gelu, _gelu_derivative, _GELU_SLOPE, _gelu_second)
# The square has no largest slope, and overflows where x^2 does.
quadratic = Activation(
    "quadratic", lambda x: jnp.square(_floating(x)), lambda x: 2 * _floating(x), math.inf, _constant(2.0)
)
# The slope at the kink is 1, as jax.nn.leaky_relu has it: from the other side than relu's. The largest slope of the
# family is max(1, |slope|).
leaky_relu = _of_reals(
    "leaky_relu",
    _leaky_relu,
    _leaky_relu_derivative,
    1.0,
    _leaky_relu_second,
    kinks=(0.0,),
    parameters=(("slope", 0.01),),
)
# The slope at 0 is alpha, that of the left side, as jax.nn.elu has it: a kink unless alpha is 1. Its second derivative
# there is alpha too. The largest slope of the family is max(1, |alpha|).
elu = _of_reals("elu", _elu, _elu_derivative, 1.0, _elu_second, bends=(0.0,), parameters=(("alpha", 1.0),))
# What jax.nn.gelu gives by default; from the exact form it strays by up to 4.7e-4.
gelu_tanh = _of_reals("gelu_tanh", _gelu_tanh, _gelu_tanh_derivative, _gelu_tanh_largest_slope(), _gelu_tanh_second)
silu = _of_reals("silu", _silu, _silu_derivative, _silu_largest_slope(), _silu_second)
softplus = Activation("softplus", _softplus, _sigmoid, 1.0, _sigmoid_derivative)

ACTIVATIONS: dict[str, Activation] = {
    each.name: each
    for each in (linear, sigmoid, tanh, relu, gelu, quadratic, leaky_relu, elu, gelu_tanh, silu, softplus)
}
assert tuple(ACTIVATIONS) == get_args(ActivationName)


def activation(name: str) -> Activation:
    """The activation of that name.

    Args:
      name: one of ``ACTIVATIONS``.

    Raises:
      ValueError: for an unknown name; the message lists the known ones.
    """
    return ACTIVATIONS[checks.one_of("activation", "name", name, ACTIVATIONS)]


# -- along an axis -------------------------------------------------------------------------------------------------


def _around_the_largest(who: str, logits: ArrayLike, axis: int) -> tuple[Array, Array, Array, Array]:
    """The largest entry, the entries less that, which entry it is, and the sum of the other entries' exponentials.

    The largest entry's own exponential is exactly 1. Kept out of the sum it does not swallow the others: where one
    entry leads by 40 its log-probability is -4e-18, not 0. Any of several equal largest ones gives the same function,
    so derivatives through the choice are those of the function itself.
    """
    x: Array = checks.real_array(who, "x", logits)
    if x.ndim == 0 or x.shape[checks.axis(who, "axis", axis, x.shape)] == 0:
        raise ValueError(f"{who}: expected at least one entry along axis {axis}, got shape {x.shape}. Pass logits.")
    axis %= x.ndim
    index = jnp.argmax(x, axis=axis, keepdims=True)
    largest = jnp.take_along_axis(x, index, axis=axis)
    # Where all is -inf (a row masked throughout) there is nothing to shift by: -inf less -inf is NaN.
    shifted = x - jnp.where(jnp.isneginf(largest), jnp.zeros_like(largest), largest)
    where = jax.lax.broadcasted_iota(index.dtype, x.shape, axis) == index
    shifted = jnp.where(where & jnp.isposinf(largest), jnp.zeros_like(x), shifted)  # inf less inf
    others = jnp.sum(jnp.where(where, jnp.zeros_like(x), jnp.exp(shifted)), axis=axis, keepdims=True)
    return largest, shifted, where, others


def logsumexp(x: ArrayLike, axis: int = -1) -> Array:
    """The logarithm of a sum of exponentials: ``log sum_j e^(x_j) = m + log1p(sum_(j != k) e^(x_j - m))``, ``m = x_k``.

    The k-th entry is the largest. Its gradient is ``softmax``, its Hessian ``softmax_jacobian``.

    Args:
      x: logits; -inf masks an entry.
      axis: the axis to sum along.

    Returns:
      The shape of ``x`` without that axis; -inf where all entries are masked.

    Raises:
      TypeError: for complex logits, or an axis that is no whole number.
      ValueError: if there is no such axis, or no entry along it.
    """
    largest, _, _, others = _around_the_largest("logsumexp", x, axis)
    total = jnp.where(jnp.isposinf(largest), largest, largest + jnp.log1p(others))  # of several inf too
    return jnp.squeeze(total, axis)


def log_softmax(x: ArrayLike, axis: int = -1) -> Array:
    """The logarithm of softmax: ``x_i - log sum_j e^(x_j)``, to relative accuracy also for the entry that leads.

    ``jax.nn.log_softmax`` gives the same to absolute accuracy: of an entry that leads by 40 it makes 0.

    Args:
      x: logits; -inf masks an entry, a single inf takes all. A row masked throughout, or with several inf, has no
        distribution and gives NaN.
      axis: the axis that sums to one.

    Raises:
      TypeError: for complex logits, or an axis that is no whole number.
      ValueError: if there is no such axis, or no entry along it.
    """
    largest, shifted, _, others = _around_the_largest("log_softmax", x, axis)
    return jnp.where(jnp.isneginf(largest), jnp.nan, shifted - jnp.log1p(others))


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """Softmax: ``p_i = e^(x_i) / sum_j e^(x_j)``; positive until it underflows, summing to one.

    Args:
      x: logits; -inf masks an entry, a single inf takes all. A row masked throughout, or with several inf, has no
        distribution and gives NaN.
      axis: the axis that sums to one.

    Raises:
      TypeError: for complex logits, or an axis that is no whole number.
      ValueError: if there is no such axis, or no entry along it.
    """
    return _shares("softmax", x, axis)


def _shares(who: str, x: ArrayLike, axis: int) -> Array:
    largest, shifted, _, others = _around_the_largest(who, x, axis)
    return jnp.where(jnp.isneginf(largest), jnp.nan, jnp.exp(shifted) / (1 + others))


def one_minus_softmax(x: ArrayLike, axis: int = -1) -> Array:
    """What softmax leaves to the other entries: ``1 - p_i``, to relative accuracy also where ``p_i`` rounds to 1.

    Args:
      x: logits.
      axis: the axis that sums to one.

    Raises:
      TypeError: for complex logits, or an axis that is no whole number.
      ValueError: if there is no such axis, or no entry along it.
    """
    return _remainders("one_minus_softmax", x, axis)


def _remainders(who: str, x: ArrayLike, axis: int) -> Array:
    largest, shifted, where, others = _around_the_largest(who, x, axis)
    # Only the largest can be above one half; for the others the difference does not cancel.
    rest = jnp.where(where, others / (1 + others), 1 - jnp.exp(shifted) / (1 + others))
    return jnp.where(jnp.isneginf(largest), jnp.nan, rest)


def softmax_jacobian(x: ArrayLike) -> Array:
    """The Jacobian of softmax, ``dp_i / dx_j = p_i (delta_ij - p_j)``: symmetric, singular, its rows summing to zero.

    Args:
      x: logits, ``(..., n)``.

    Returns:
      ``(..., n, n)``; the diagonal keeps its digits where ``p_i`` rounds to 1.

    Raises:
      ValueError: if there is no logit.
    """
    p = _shares("softmax_jacobian", x, -1)
    diagonal = p * _remainders("softmax_jacobian", x, -1)
    unit = jnp.eye(p.shape[-1], dtype=bool)
    return jnp.where(unit, diagonal[..., None], -p[..., :, None] * p[..., None, :])


def log_softmax_jacobian(x: ArrayLike) -> Array:
    """The Jacobian of log-softmax: ``d log p_i / dx_j = delta_ij - p_j``.

    Args:
      x: logits, ``(..., n)``.

    Returns:
      ``(..., n, n)``; the diagonal keeps its digits where ``p_i`` rounds to 1.

    Raises:
      ValueError: if there is no logit.
    """
    p = _shares("log_softmax_jacobian", x, -1)
    unit = jnp.eye(p.shape[-1], dtype=bool)
    return jnp.where(unit, _remainders("log_softmax_jacobian", x, -1)[..., None], -p[..., None, :])
