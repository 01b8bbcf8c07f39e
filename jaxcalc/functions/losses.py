"""Losses of one prediction against one target, each with its first and second derivative in closed form.

A value is per sample; ``Loss.mean`` averages. Gradients are those of the sample's own loss: the gradient of the mean
carries another ``1 / number of samples``. Nothing is guarded by a small constant inside a logarithm: a guard of 1e-15
caps the loss at 34.5, takes the gradient away exactly where the model is most wrong, and does nothing in single
precision, where ``1 + 1e-15`` is 1. The losses from logits need none.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.functions.activations import log_softmax, one_minus_softmax, softmax, softmax_jacobian
from jaxcalc.functions.elementary import log1p

__all__ = [
    "LOSSES",
    "Loss",
    "LossName",
    "binary_cross_entropy",
    "binary_cross_entropy_from_logits",
    "cross_entropy",
    "cross_entropy_from_logits",
    "hinge",
    "huber",
    "loss",
    "mae",
    "mse",
]

LossName = Literal[
    "mse",
    "mae",
    "huber",
    "binary_cross_entropy",
    "binary_cross_entropy_from_logits",
    "cross_entropy",
    "cross_entropy_from_logits",
    "hinge",
]


@dataclass(frozen=True)
class Loss:
    """A loss ``l(prediction, target)`` with its derivatives with respect to the prediction.

    All three functions take ``(prediction, target, **parameters)`` of one shape, promote integers to floating point,
    and refuse misuse: complex numbers, other shapes, no entry at all, and, where the values are concrete, targets and
    probabilities out of their range. A parameter is a keyword, so that it may be traced: ``huber(p, y, delta=d)``.

    Args:
      name: what a config calls it.
      value: the loss of every sample; of the prediction's shape, without the last axis where ``classes`` is set.
      gradient: ``dl/dp``, of the prediction's shape.
      second_derivative: ``d^2 l / dp^2`` entry by entry; where ``classes`` is set the Hessian ``(..., k, k)``.
      kink: where the gradient jumps, and what is given there; empty where it is smooth.
      classes: whether a sample is the last axis, one entry for each class, and not a single entry.
      parameters: the names and default values of the keywords.
    """

    name: str
    value: Callable[..., Array]
    gradient: Callable[..., Array]
    second_derivative: Callable[..., Array]
    kink: str = ""
    classes: bool = False
    parameters: tuple[tuple[str, float], ...] = ()

    def __call__(self, prediction: ArrayLike, target: ArrayLike, **parameters: ArrayLike) -> Array:
        """The loss of every sample."""
        return self.value(prediction, target, **parameters)

    def mean(self, prediction: ArrayLike, target: ArrayLike, **parameters: ArrayLike) -> Array:
        """The mean over all samples, a scalar."""
        return jnp.mean(self.value(prediction, target, **parameters))


# -- checks --------------------------------------------------------------------------------------------------------

_Check = Callable[[str, Array, Array], None]


def _concrete(x: Array) -> np.ndarray | None:
    """The values in double precision, where they are known."""
    return None if isinstance(x, Tracer) else np.asarray(x, np.float64)


def _real(who: str, prediction: Array, target: Array) -> None:
    """Any number will do."""


def _check_unit(who: str, what: str, x: Array, remedy: str) -> None:
    values = _concrete(x)
    # A NaN is a numerical failure, not a misuse: it passes, and stays NaN.
    if values is not None and np.any((values < 0) | (values > 1)):
        raise ValueError(
            f"{who}: every {what} must lie in [0, 1], got values from {np.nanmin(values):g} to "
            f"{np.nanmax(values):g}. {remedy}"
        )


def _unit_target(who: str, prediction: Array, target: Array) -> None:
    _check_unit(who, "target", target, "A target is a probability: rescale labels, or encode classes one-hot.")


def _unit(who: str, prediction: Array, target: Array) -> None:
    _unit_target(who, prediction, target)
    _check_unit(who, "prediction", prediction, "Logits go to the loss from logits.")


def _some_classes(who: str, prediction: Array, target: Array) -> None:
    if prediction.ndim == 0:
        raise ValueError(
            f"{who}: expected (..., k), one entry for each class, got a scalar. Encode classes one-hot, "
            "or use the binary cross-entropy."
        )
    _unit_target(who, prediction, target)


def _simplex(who: str, prediction: Array, target: Array) -> None:
    _some_classes(who, prediction, target)
    _unit(who, prediction, target)
    values = _concrete(prediction)
    if values is None:
        return
    # k roundings of entries that add up to one.
    tolerance = max(8, prediction.shape[-1]) * float(jnp.finfo(prediction.dtype).eps)
    off = np.abs(values.sum(axis=-1) - 1)
    if np.any(off > tolerance):
        raise ValueError(
            f"{who}: the prediction's last axis must sum to 1 within {tolerance:.1g}, got a sum that is off by "
            f"{np.nanmax(off):.2g}. Normalise it, or pass logits to the loss from logits."
        )


def _signs(who: str, prediction: Array, target: Array) -> None:
    values = _concrete(target)
    if values is not None and not np.all(np.abs(values) == 1):
        raise ValueError(
            f"{who}: every target must be -1 or 1, got values from {values.min():g} to {values.max():g}. "
            "Labels y in {0, 1} become 2 y - 1."
        )


def _positive_parameters(who: str, parameters: dict[str, ArrayLike]) -> None:
    for key, given in parameters.items():
        checks.number(who, key, given, above=0, remedy="It is a distance between two numbers.")


def _checked(who: str, check: _Check, names: tuple[str, ...], fun: Callable[..., Array]) -> Callable[..., Array]:
    """``fun`` behind the checks that every loss shares and its own."""

    @functools.wraps(fun)
    def called(prediction: ArrayLike, target: ArrayLike, **parameters: ArrayLike) -> Array:
        first: Array = checks.real_array(who, "the prediction", prediction)
        second: Array = checks.real_array(who, "the target", target)
        # Broadcasting (n, 1) against (n,) would give n^2 wrong losses without a word.
        if first.shape != second.shape:
            raise ValueError(
                f"{who}: prediction and target must have the same shape, got {first.shape} and {second.shape}. "
                "Reshape or broadcast one of them yourself."
            )
        if first.size == 0:
            raise ValueError(f"{who}: expected at least one entry, got shape {first.shape}; the mean of none is NaN.")
        if unknown := set(parameters) - set(names):
            raise TypeError(
                f"{who}: unknown parameter {min(unknown)!r}; it takes {', '.join(names) if names else 'none'}."
            )
        _positive_parameters(who, parameters)
        check(who, first, second)  # each in its own dtype: half precision sums to one but roughly
        dtype = jnp.result_type(prediction, target, float)
        numbers = {key: jnp.asarray(given, dtype) for key, given in parameters.items()}
        return fun(first.astype(dtype), second.astype(dtype), **numbers)

    return called


def _loss(
    name: str,
    value: Callable[..., Array],
    gradient: Callable[..., Array],
    second_derivative: Callable[..., Array],
    check: _Check,
    *,
    kink: str = "",
    classes: bool = False,
    parameters: tuple[tuple[str, float], ...] = (),
) -> Loss:
    names = tuple(key for key, _ in parameters)
    guarded = (_checked(name, check, names, fun) for fun in (value, gradient, second_derivative))
    return Loss(name, *guarded, kink=kink, classes=classes, parameters=parameters)


# -- distances -----------------------------------------------------------------------------------------------------


def _huber(p: Array, y: Array, delta: ArrayLike = 1.0) -> Array:
    """``c (r - c/2)`` with ``r = |p - y|`` and ``c = min(r, delta)``: both pieces at once, no square overflows."""
    distance = jnp.abs(p - y)
    core = jnp.minimum(distance, delta)
    return core * (distance - 0.5 * core)


def _huber_gradient(p: Array, y: Array, delta: ArrayLike = 1.0) -> Array:
    return jnp.clip(p - y, -jnp.asarray(delta), delta)


def _huber_second(p: Array, y: Array, delta: ArrayLike = 1.0) -> Array:
    return (jnp.abs(p - y) <= delta).astype(p.dtype)


# -- binary cross-entropy ------------------------------------------------------------------------------------------


def _weighted(weight: Array, x: Array) -> Array:
    """``weight x``, and 0 where the weight is, however infinite x."""
    nothing = weight == 0
    return jnp.where(nothing, jnp.zeros_like(x), weight * jnp.where(nothing, jnp.ones_like(x), x))


def _binary(p: Array, y: Array) -> Array:
    return -_weighted(y, jnp.log(p)) - _weighted(1 - y, log1p(-p))


def _binary_gradient(p: Array, y: Array) -> Array:
    """``(p - y) / (p (1 - p))``; at the ends, where that is 0/0 for a right prediction, its limit."""
    inside = (p > 0) & (p < 1)
    safe = jnp.where(inside, p, 0.5)
    infinite = jnp.asarray(jnp.inf, p.dtype)
    at_zero = jnp.where(y > 0, -infinite, 1.0)
    at_one = jnp.where(y < 1, infinite, -1.0)
    return jnp.where(inside, (safe - y) / safe / (1 - safe), jnp.where(p <= 0, at_zero, at_one))


def _binary_second(p: Array, y: Array) -> Array:
    return _weighted(y, 1 / p / p) + _weighted(1 - y, 1 / (1 - p) / (1 - p))


def _binary_logits(z: Array, y: Array) -> Array:
    """``y softplus(-z) + (1 - y) softplus(z)``; ``softplus(z) - y z`` would cancel where the prediction is right."""
    return _weighted(y, jax.nn.softplus(-z)) + _weighted(1 - y, jax.nn.softplus(z))


def _binary_logits_gradient(z: Array, y: Array) -> Array:
    """``s(z) - y``, written ``(1 - y) s(z) - y s(-z)`` to keep the digits of a prediction that is right."""
    return (1 - y) * jax.nn.sigmoid(z) - y * jax.nn.sigmoid(-z)


def _binary_logits_second(z: Array, y: Array) -> Array:
    return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)


# -- categorical cross-entropy -------------------------------------------------------------------------------------


def _diagonal(x: Array) -> Array:
    """``(..., k)`` on the diagonal of ``(..., k, k)``."""
    return jnp.where(jnp.eye(x.shape[-1], dtype=bool), x[..., None], jnp.zeros((), x.dtype))


def _categorical(p: Array, y: Array) -> Array:
    return -jnp.sum(_weighted(y, jnp.log(p)), axis=-1)


def _categorical_gradient(p: Array, y: Array) -> Array:
    return -_weighted(y, 1 / p)


def _categorical_second(p: Array, y: Array) -> Array:
    return _diagonal(_weighted(y, 1 / p / p))


def _categorical_logits(z: Array, y: Array) -> Array:
    # Through the logarithm of softmax, never of its value: that is 0, and the loss infinite, from a gap of 88 on.
    return -jnp.sum(_weighted(y, log_softmax(z)), axis=-1)


def _categorical_logits_gradient(z: Array, y: Array) -> Array:
    """``Y p - y`` with ``Y = sum y``, written ``p_i (Y - y_i) - y_i (1 - p_i)`` to keep the digits of a right one."""
    return softmax(z) * (jnp.sum(y, axis=-1, keepdims=True) - y) - y * one_minus_softmax(z)


def _categorical_logits_second(z: Array, y: Array) -> Array:
    return jnp.sum(y, axis=-1)[..., None, None] * softmax_jacobian(z)


# -- hinge ---------------------------------------------------------------------------------------------------------


def _hinge(p: Array, y: Array) -> Array:
    return jax.nn.relu(1 - y * p)


def _hinge_gradient(p: Array, y: Array) -> Array:
    return jnp.where(y * p < 1, -y, jnp.zeros_like(y))


def _nothing(p: Array, y: Array) -> Array:
    return jnp.zeros_like(p)


mse = _loss(
    "mse",
    lambda p, y: jnp.square(p - y),
    lambda p, y: 2 * (p - y),
    lambda p, y: jnp.full_like(p, 2),
    _real,
)
"""Squared error ``(p - y)^2``, gradient ``2 (p - y)``, second derivative 2; ``mse.mean`` is the mean squared error."""

mae = _loss(
    "mae",
    lambda p, y: jnp.abs(p - y),
    lambda p, y: jnp.sign(p - y),
    _nothing,
    _real,
    kink="prediction = target: the gradient given is 0; of jnp.abs jax.grad gives 1",
)
"""Absolute error ``|p - y|``, gradient ``sign(p - y)``; ``mae.mean`` is the mean absolute error."""

huber = _loss("huber", _huber, _huber_gradient, _huber_second, _real, parameters=(("delta", 1.0),))
"""Huber's loss: ``r^2 / 2`` up to ``r = |p - y| = delta``, beyond it ``delta (r - delta / 2)``.

The gradient, ``p - y`` cut at +-delta, is continuous; the second derivative falls from 1 to 0 at ``delta``, where 1 is
given.
"""

binary_cross_entropy = _loss("binary_cross_entropy", _binary, _binary_gradient, _binary_second, _unit)
"""Of a probability p of class 1: ``-y log p - (1 - y) log(1 - p)``, gradient ``(p - y) / (p (1 - p))``.

A prediction of exactly 0 or 1 costs 0 where it is right and infinity where it is wrong; jax.grad of the value is NaN
there in the first case, the gradient given is its limit.
"""

binary_cross_entropy_from_logits = _loss(
    "binary_cross_entropy_from_logits",
    _binary_logits,
    _binary_logits_gradient,
    _binary_logits_second,
    _unit_target,
)
"""Of a logit z, ``p = s(z)``: gradient ``s(z) - y``, second derivative ``s(z) s(-z)``; finite for finite logits."""

cross_entropy = _loss("cross_entropy", _categorical, _categorical_gradient, _categorical_second, _simplex, classes=True)
"""Of probabilities p ``(..., k)``: ``-sum_i y_i log p_i``, gradient ``-y_i / p_i``, Hessian ``diag(y_i / p_i^2)``.

The derivatives are those in R^k, not along the simplex. ``y_i`` are soft labels or one-hot.
"""

cross_entropy_from_logits = _loss(
    "cross_entropy_from_logits",
    _categorical_logits,
    _categorical_logits_gradient,
    _categorical_logits_second,
    _some_classes,
    classes=True,
)
"""Of logits z ``(..., k)``, ``p = softmax(z)``: gradient ``p - y``, Hessian ``diag(p) - p p'``.

Targets that sum to Y and not to one have ``Y p - y`` and Y times that Hessian, which is what is given. A logit of -inf
masks a class whose target is 0.
"""

hinge = _loss(
    "hinge",
    _hinge,
    _hinge_gradient,
    _nothing,
    _signs,
    kink="prediction * target = 1: the gradient given is 0; of jnp.maximum jax.grad gives half of -target",
)
"""Of a score p and a target of -1 or 1: ``max(0, 1 - y p)``, gradient ``-y`` where ``y p < 1``."""

LOSSES: dict[str, Loss] = {
    each.name: each
    for each in (
        mse,
        mae,
        huber,
        binary_cross_entropy,
        binary_cross_entropy_from_logits,
        cross_entropy,
        cross_entropy_from_logits,
        hinge,
    )
}
assert tuple(LOSSES) == get_args(LossName)


def loss(name: str) -> Loss:
    """The loss of that name.

    Args:
      name: one of ``LOSSES``.

    Raises:
      ValueError: for an unknown name; the message lists the known ones.
    """
    return LOSSES[checks.one_of("loss", "name", name, LOSSES)]
