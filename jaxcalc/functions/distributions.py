"""Probability distributions that carry their answers: density, distribution function, moments, entropy, divergence.

A distribution is a family and its parameters, which may be traced, batched and differentiated: it is a PyTree whose
leaves are the parameters. Parameters that are concrete are checked when it is built; of traced ones out of range the
answers are NaN or infinite. Integers are promoted to floating point.

    normal(0.0, 2.0).log_density(1.0)
    jax.grad(lambda m: kl(normal(m, 1.0), normal(0.0, 1.0)))(0.5)
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.scipy import special
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.functions.elementary import log1p, log_hypot_one

__all__ = [
    "Distribution",
    "Family",
    "bernoulli",
    "beta",
    "categorical",
    "exponential",
    "gamma",
    "kl",
    "laplace",
    "multivariate_normal",
    "normal",
    "poisson",
    "student_t",
    "uniform",
]

_Map = Callable[..., Array]
_Numbers = ArrayLike | Sequence[Any]


class Family(NamedTuple):
    """What a distribution's answers are, as functions of its parameters in their order; None where not closed.

    Args:
      name: the family's name.
      log_density: ``(x, *parameters)``; of a discrete family the log-probability.
      mean, variance, entropy: ``(*parameters)``.
      draw: ``(key, shape, *parameters)``, the shape without that of the event.
      cdf: ``(x, *parameters) -> P(X <= x)``.
      kl: ``(parameters of p, parameters of q) -> KL(p || q)``.
      parameter_ndims: the dimensions of each parameter for one distribution of a batch.
      event_ndim: the dimensions of one draw.
      weak_derivatives: of each parameter ``(key, shape, *parameters) -> (c, plus, minus)``: the derivative of the
        distribution is ``c (P_plus - P_minus)``, a difference of two, of which these are coupled draws; empty where
        none are known.
      moving_support: whether the support depends on the parameters: the derivative of the log-density then is not all
        of the derivative of the distribution.
    """

    name: str
    log_density: _Map
    mean: _Map
    variance: _Map
    entropy: _Map | None
    draw: _Map
    cdf: _Map | None
    kl: Callable[[tuple[Array, ...], tuple[Array, ...]], Array] | None
    parameter_ndims: tuple[int, ...]
    event_ndim: int = 0
    weak_derivatives: tuple[Callable[..., tuple[Array, Array, Array]], ...] = ()
    moving_support: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Distribution:
    """A probability distribution, or a batch of them.

    Args:
      parameters: arrays whose batch dimensions broadcast.
      family: what they mean.
    """

    parameters: tuple[Array, ...]
    family: Family = dataclasses.field(metadata={"static": True})

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the batch; ``()`` for one distribution."""
        ndims = self.family.parameter_ndims
        return np.broadcast_shapes(*(jnp.shape(p)[: jnp.ndim(p) - ndim] for p, ndim in zip(self.parameters, ndims)))

    def log_density(self, x: ArrayLike) -> Array:
        """``log p(x)``, the log-probability of a discrete family; -inf outside the support.

        Args:
          x: the event's shape, after dimensions that broadcast with the batch; infinite entries too.

        Raises:
          TypeError: for a complex x.
        """
        return self.family.log_density(self._floating("log_density", x), *self.parameters)

    def density(self, x: ArrayLike) -> Array:
        """``p(x)``, the probability of a discrete family; 0 outside the support.

        Args:
          x: the event's shape, after dimensions that broadcast with the batch.
        """
        return jnp.exp(self.family.log_density(self._floating("density", x), *self.parameters))

    def cdf(self, x: ArrayLike) -> Array:
        """``P(X <= x)``, by special functions where the family needs them.

        Args:
          x: any shape that broadcasts with the batch.

        Raises:
          ValueError: for a family without one.
        """
        if self.family.cdf is None:
            raise ValueError(
                f"cdf: {self.family.name} has no closed distribution function. Estimate it from draws of sample."
            )
        return self.family.cdf(self._floating("cdf", x), *self.parameters)

    def mean(self) -> Array:
        """``E[X]``; NaN where it does not exist."""
        return self.family.mean(*self.parameters)

    def variance(self) -> Array:
        """``E[(X - E X)^2]``, of a vector the covariance matrix; NaN where it does not exist."""
        return self.family.variance(*self.parameters)

    def entropy(self) -> Array:
        """``-E[log p(X)]`` in nats.

        Raises:
          ValueError: for a family whose entropy has no closed form.
        """
        if self.family.entropy is None:
            raise ValueError(
                f"entropy: {self.family.name} has no closed entropy. Average -log_density over draws of sample."
            )
        return self.family.entropy(*self.parameters)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Independent draws; differentiable in the parameters of continuous families (reparameterisation).

        Args:
          key: a random key, used once.
          shape: how many, before the batch's shape.

        Returns:
          ``shape + batch_shape + event``; integers for a discrete family.

        Raises:
          TypeError: if the shape is no sequence of whole numbers.
          ValueError: if one of them is negative.
        """
        shape = checks.dimensions(f"{self.family.name}.sample", "shape", shape)
        return self.family.draw(key, (*shape, *self.batch_shape), *self.parameters)

    def _floating(self, method: str, x: ArrayLike) -> Array:
        real: Array = checks.real_array(f"{self.family.name}.{method}", "x", x)
        return real.astype(jnp.result_type(x, *self.parameters))


def kl(p: Distribution, q: Distribution) -> Array:
    """The Kullback-Leibler divergence of q from p, in nats: ``KL(p || q) = E_p[log p(X) - log q(X)]``.

    Every family but gamma and beta has it as a sum of terms that are not negative, so that the divergence of
    neighbours, of second order in their distance, keeps its digits.

    Args:
      p, q: two distributions of one family; their batches broadcast.

    Raises:
      ValueError: for different families, or one without a closed form.
    """
    if p.family.name != q.family.name:
        raise ValueError(
            f"kl: expected two distributions of one family, got {p.family.name} and {q.family.name}. "
            "Average the difference of their log_density over draws of p."
        )
    if p.family.kl is None:
        raise ValueError(
            f"kl: {p.family.name} has no closed divergence. Average the difference of log_density over draws of p."
        )
    return p.family.kl(p.parameters, q.parameters)


# -- building ------------------------------------------------------------------------------------------------------


def _array(x: Any) -> ArrayLike:
    """A sequence of numbers as an array; what is an array or a number stays as it is, a weak dtype too."""
    return jnp.asarray(x) if isinstance(x, (list, tuple)) else x


def _build(family: Family, *given: _Numbers) -> Distribution:
    parameters = tuple(map(_array, given))
    dtype = jnp.result_type(*parameters, float)
    checks.floating(family.name, "every parameter", jnp.zeros((), dtype), "Take real and imaginary part apart.")
    distribution = Distribution(tuple(jnp.asarray(p, dtype) for p in parameters), family)
    try:
        _ = distribution.batch_shape
    except ValueError as error:
        shapes = ", ".join(str(jnp.shape(p)) for p in parameters)
        raise ValueError(f"{family.name}: the parameters' shapes must broadcast, got {shapes}.") from error
    return distribution


def _known(*values: _Numbers) -> tuple[np.ndarray, ...] | None:
    """The values in double precision, where none of them is traced."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values)):
        return None
    return tuple(np.asarray(value, np.float64) for value in values)


def _require(who: str, what: str, value: _Numbers, expected: str, holds: Callable[[np.ndarray], Any]) -> None:
    checks.real_array(who, what, _array(value))
    known = _known(value)
    if known is not None and not np.all(np.isfinite(known[0]) & holds(known[0])):
        raise ValueError(f"{who}: {what} must be {expected}, got {value}.")


def _require_positive(who: str, **values: _Numbers) -> None:
    for what, value in values.items():
        _require(who, what, value, "finite and above 0", lambda v: v > 0)


def _require_finite(who: str, **values: _Numbers) -> None:
    for what, value in values.items():
        _require(who, what, value, "finite", lambda v: True)


# -- differences that would cancel ---------------------------------------------------------------------------------


def _excess(u: Array) -> Array:
    """``u - log(1 + u)``, which is ``u^2 / 2`` near 0; infinite at -1."""
    near = jnp.abs(u) < 0.25
    small = jnp.where(near, u, 0)
    # log(1 + u) = 2 artanh w with w = u / (2 + u), and u = 2 w / (1 - w).
    w = small / (2 + small)
    square = w * w
    # w below 1/7 takes ten terms to 1e-17.
    series = jnp.polyval(jnp.asarray([1 / (2 * k + 3) for k in reversed(range(10))], u.dtype), square)
    large = jnp.where(near, 1, u)
    return jnp.where(near, 2 * square * (1 / (1 - w) - w * series), large - log1p(large))


def _decay_excess(t: Array) -> Array:
    """``e^-t - 1 + t`` for t from 0, which is ``t^2 / 2`` near 0."""
    near = t < 0.5
    small = jnp.where(near, t, 0)
    # t below 1/2 takes thirteen terms to 1e-17.
    series = jnp.polyval(jnp.asarray([(-1) ** k / math.factorial(k + 2) for k in reversed(range(13))], t.dtype), small)
    large = jnp.where(near, 1, t)
    return jnp.where(near, small * small * series, jnp.expm1(-large) + large)


def _ratio(p: Array, q: Array) -> Array:
    """``p / q - 1``, to relative accuracy where they are near."""
    return (p - q) / q


def _relative_entropy(p: Array, q: Array) -> Array:
    """``p log(p / q) - p + q``, entry by entry: never negative, q where p = 0, infinite where only q is 0."""
    empty = p == 0
    safe = jnp.where(empty, 1, p)
    return jnp.where(empty, q, safe * _excess(_ratio(jnp.where(empty, 1, q), safe)))


def _times_log(x: Array, y: Array) -> Array:
    """``x log y``, and 0 where x is, with derivatives that are finite there."""
    nothing = x == 0
    return jnp.where(nothing, 0, x * jnp.log(jnp.where(nothing, 1, y)))


# Bernoulli numbers over 2 k (2 k - 1): the series of log Gamma beyond Stirling's formula, to 1e-17 from 10 on.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def _stirling_rest(x: Array) -> Array:
    """``log Gamma(x) - (x - 1/2) log x + x - log(2 pi)/2`` for x from 10."""
    return jnp.polyval(jnp.asarray(_STIRLING[::-1], x.dtype), x**-2) / x


def _log_beta(a: Array, b: Array) -> Array:
    """``log B(a, b)``; jax.scipy.special.betaln is off by up to 7e-7 in double precision, where one is 8 or more.

    From 10 on the larger one's ``log Gamma(b) - log Gamma(a + b)`` is taken by Stirling's formula, lest it cancel.
    """
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    far = high >= 10
    large, small = jnp.where(far, high, 10), jnp.where(far, 1, high)
    step = low - (large - 0.5) * log1p(low / large) - low * jnp.log(low + large)
    step = step + _stirling_rest(large) - _stirling_rest(low + large)
    return special.gammaln(low) + jnp.where(far, step, special.gammaln(small) - special.gammaln(low + small))


def _where_inside(inside: Array, x: Array, idle: ArrayLike, log_density: Callable[[Array], Array]) -> Array:
    """The log-density inside the support, -inf outside, and no NaN from there in a derivative."""
    return jnp.where(inside, log_density(jnp.where(inside, x, jnp.asarray(idle, x.dtype))), -jnp.inf)


# -- normal --------------------------------------------------------------------------------------------------------

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def _normal_log_density(x: Array, mean: Array, std: Array) -> Array:
    z = (x - mean) / std
    return -0.5 * z * z - jnp.log(std) - _HALF_LOG_TWO_PI


def _normal_cdf(x: Array, mean: Array, std: Array) -> Array:
    # By erfc, which keeps the digits of the lower tail.
    return 0.5 * jax.lax.erfc((mean - x) / std * math.sqrt(0.5))


def _normal_kl(p: tuple[Array, ...], q: tuple[Array, ...]) -> Array:
    """``(r^2 - 1)/2 - log r + d^2/2`` with ``r = std_p / std_q`` and ``d`` the distance of the means in std_q."""
    u, d = _ratio(p[1], q[1]), (p[0] - q[0]) / q[1]
    return 0.5 * (u * u + d * d) + _excess(u)


def _normal_weak_mean(key: Array, shape: tuple[int, ...], mean: Array, std: Array) -> tuple[Array, Array, Array]:
    """``(Rayleigh above - Rayleigh below the mean) / (std sqrt(2 pi))``, mirror images of each other."""
    step = std * jnp.sqrt(2 * jax.random.exponential(key, shape, std.dtype))
    return 1 / (std * math.sqrt(2 * math.pi)), mean + step, mean - step


def _normal_weak_std(key: Array, shape: tuple[int, ...], mean: Array, std: Array) -> tuple[Array, Array, Array]:
    """``(double-sided Maxwell - normal) / std``; the first times a uniform number is normal."""
    length, side, share = jax.random.split(key, 3)
    maxwell = jnp.linalg.norm(jax.random.normal(length, (*shape, 3), std.dtype), axis=-1)
    step = std * maxwell * jax.random.rademacher(side, shape, std.dtype)
    return 1 / std, mean + step, mean + step * jax.random.uniform(share, shape, std.dtype)


_NORMAL = Family(
    "normal",
    _normal_log_density,
    lambda mean, std: mean + jnp.zeros_like(std),
    lambda mean, std: jnp.zeros_like(mean) + std**2,
    lambda mean, std: jnp.zeros_like(mean) + jnp.log(std) + (0.5 + _HALF_LOG_TWO_PI),
    lambda key, shape, mean, std: mean + std * jax.random.normal(key, shape, std.dtype),
    _normal_cdf,
    _normal_kl,
    (0, 0),
    weak_derivatives=(_normal_weak_mean, _normal_weak_std),
)


def normal(mean: _Numbers = 0.0, std: _Numbers = 1.0) -> Distribution:
    """The normal distribution: ``p(x) = exp(-(x - mean)^2 / (2 std^2)) / (std sqrt(2 pi))``.

    Args:
      mean: its mean.
      std: its standard deviation, above 0.

    Raises:
      TypeError: for a complex parameter.
      ValueError: for a concrete parameter out of range.
    """
    _require_finite("normal", mean=mean)
    _require_positive("normal", std=std)
    return _build(_NORMAL, mean, std)


# -- uniform -------------------------------------------------------------------------------------------------------


def _uniform_log_density(x: Array, low: Array, high: Array) -> Array:
    return jnp.where((x >= low) & (x <= high), -jnp.log(high - low), jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))


def _uniform_kl(p: tuple[Array, ...], q: tuple[Array, ...]) -> Array:
    """``log(width_q / width_p)`` where q covers p, else infinite."""
    covered = (q[0] <= p[0]) & (p[1] <= q[1])
    width = p[1] - p[0]
    return jnp.where(covered, log1p(((p[0] - q[0]) + (q[1] - p[1])) / width), jnp.inf)


def _uniform_weak_low(key: Array, shape: tuple[int, ...], low: Array, high: Array) -> tuple[Array, Array, Array]:
    """``(uniform - what is at low) / width``."""
    x = _UNIFORM.draw(key, shape, low, high)
    return 1 / (high - low), x, jnp.broadcast_to(low, shape)


def _uniform_weak_high(key: Array, shape: tuple[int, ...], low: Array, high: Array) -> tuple[Array, Array, Array]:
    """``(what is at high - uniform) / width``."""
    x = _UNIFORM.draw(key, shape, low, high)
    return 1 / (high - low), jnp.broadcast_to(high, shape), x


_UNIFORM = Family(
    "uniform",
    _uniform_log_density,
    lambda low, high: 0.5 * low + 0.5 * high,
    lambda low, high: (high - low) ** 2 / 12,
    lambda low, high: jnp.log(high - low),
    lambda key, shape, low, high: low + (high - low) * jax.random.uniform(key, shape, low.dtype),
    lambda x, low, high: jnp.clip((x - low) / (high - low), 0, 1),
    _uniform_kl,
    (0, 0),
    weak_derivatives=(_uniform_weak_low, _uniform_weak_high),
    moving_support=True,
)


def uniform(low: _Numbers = 0.0, high: _Numbers = 1.0) -> Distribution:
    """The uniform distribution: ``p(x) = 1 / (high - low)`` on ``[low, high]``.

    Args:
      low, high: the ends, ``low < high``.

    Raises:
      ValueError: for concrete parameters out of range.
    """
    _require_finite("uniform", low=low, high=high)
    known = _known(low, high)
    if known is not None and not np.all(known[0] < known[1]):
        raise ValueError(f"uniform: low must be below high, got low {low} and high {high}. Swap them.")
    return _build(_UNIFORM, low, high)


# -- exponential ---------------------------------------------------------------------------------------------------


def _exponential_log_density(x: Array, rate: Array) -> Array:
    return _where_inside(~(x < 0), x, 0.0, lambda x: jnp.log(rate) - rate * x)


def _exponential_weak(key: Array, shape: tuple[int, ...], rate: Array) -> tuple[Array, Array, Array]:
    """``(exponential - gamma of shape 2) / rate``; the second is the first and another one."""
    first, second = jax.random.exponential(key, (2, *shape), rate.dtype) / rate
    return 1 / rate, first, first + second


_EXPONENTIAL = Family(
    "exponential",
    _exponential_log_density,
    lambda rate: 1 / rate,
    lambda rate: 1 / rate / rate,
    lambda rate: 1 - jnp.log(rate),
    lambda key, shape, rate: jax.random.exponential(key, shape, rate.dtype) / rate,
    lambda x, rate: -jnp.expm1(-rate * jnp.maximum(x, 0)),
    lambda p, q: _excess(_ratio(q[0], p[0])),
    (0,),
    weak_derivatives=(_exponential_weak,),
)


def exponential(rate: _Numbers = 1.0) -> Distribution:
    """The exponential distribution: ``p(x) = rate exp(-rate x)`` for ``x >= 0``.

    Args:
      rate: the reciprocal of its mean, above 0.

    Raises:
      TypeError: for a complex parameter.
      ValueError: for a concrete parameter out of range.
    """
    _require_positive("exponential", rate=rate)
    return _build(_EXPONENTIAL, rate)


# -- Laplace -------------------------------------------------------------------------------------------------------


def _laplace_cdf(x: Array, location: Array, scale: Array) -> Array:
    z = (x - location) / scale
    tail = 0.5 * jnp.exp(-jnp.abs(z))
    return jnp.where(z < 0, tail, 1 - tail)


def _laplace_kl(p: tuple[Array, ...], q: tuple[Array, ...]) -> Array:
    """``r - 1 - log r + r (e^-t - 1 + t)`` with ``r = scale_p / scale_q``, t the distance in scale_p."""
    distance = jnp.abs(p[0] - q[0]) / p[1]
    return _excess(_ratio(p[1], q[1])) + p[1] / q[1] * _decay_excess(distance)


_LAPLACE = Family(
    "laplace",
    lambda x, location, scale: -jnp.abs(x - location) / scale - jnp.log(scale) - math.log(2),
    lambda location, scale: location + jnp.zeros_like(scale),
    lambda location, scale: jnp.zeros_like(location) + 2 * scale**2,
    lambda location, scale: jnp.zeros_like(location) + jnp.log(scale) + (1 + math.log(2)),
    lambda key, shape, location, scale: location + scale * jax.random.laplace(key, shape, scale.dtype),
    _laplace_cdf,
    _laplace_kl,
    (0, 0),
)


def laplace(location: _Numbers = 0.0, scale: _Numbers = 1.0) -> Distribution:
    """The Laplace distribution: ``p(x) = exp(-|x - location| / scale) / (2 scale)``, with a kink at ``location``.

    Args:
      location: its mean and median.
      scale: its mean absolute deviation, above 0.

    Raises:
      TypeError: for a complex parameter.
      ValueError: for a concrete parameter out of range.
    """
    _require_finite("laplace", location=location)
    _require_positive("laplace", scale=scale)
    return _build(_LAPLACE, location, scale)


# -- gamma ---------------------------------------------------------------------------------------------------------


def _gamma_log_density(x: Array, shape: Array, rate: Array) -> Array:
    def inside(x):
        scaled = rate * x
        # The exponential outweighs the power however far out: a logarithm that is infinite too would make it NaN.
        power = _times_log(shape - 1, jnp.minimum(scaled, jnp.finfo(x.dtype).max))
        return power + jnp.log(rate) - scaled - special.gammaln(shape)

    return _where_inside(~(x < 0), x, 1.0, inside)


def _gamma_cdf(x: Array, shape: Array, rate: Array) -> Array:
    positive = x > 0
    # All is below an infinite x, at a slope that would be inf times 0.
    share = special.gammainc(shape, jnp.minimum(rate * jnp.where(positive, x, 1), jnp.finfo(x.dtype).max))
    return jnp.where(positive, share, jnp.where(jnp.isnan(x), jnp.nan, 0))


def _gamma_kl(p: tuple[Array, ...], q: tuple[Array, ...]) -> Array:
    """``(a - a') psi(a) - log G(a) + log G(a') + a' log(b / b') + a (b' - b) / b``, primed of q."""
    (a, b), (other, rate) = p, q
    u = _ratio(rate, b)
    shapes = (a - other) * (special.digamma(a) + log1p(u)) - special.gammaln(a) + special.gammaln(other)
    return a * _excess(u) + shapes


_GAMMA = Family(
    "gamma",
    _gamma_log_density,
    lambda shape, rate: shape / rate,
    lambda shape, rate: shape / rate / rate,
    lambda shape, rate: shape - jnp.log(rate) + special.gammaln(shape) + (1 - shape) * special.digamma(shape),
    lambda key, size, shape, rate: jax.random.gamma(key, shape, size, shape.dtype) / rate,
    _gamma_cdf,
    _gamma_kl,
    (0, 0),
)


def gamma(shape: _Numbers, rate: _Numbers = 1.0) -> Distribution:
    """The gamma distribution: ``p(x) = rate^shape x^(shape - 1) exp(-rate x) / Gamma(shape)`` for ``x >= 0``.

    Args:
      shape: above 0.
      rate: the reciprocal of its scale, above 0.

    Raises:
      TypeError: for a complex parameter.
      ValueError: for a concrete parameter out of range.
    """
    _require_positive("gamma", shape=shape, rate=rate)
    return _build(_GAMMA, shape, rate)


# -- beta ----------------------------------------------------------------------------------------------------------


def _beta_log_density(x: Array, a: Array, b: Array) -> Array:
    inside = lambda x: _times_log(a - 1, x) + _times_log(b - 1, 1 - x) - _log_beta(a, b)
    return _where_inside(~((x < 0) | (x > 1)), x, 0.5, inside)


def _beta_entropy(a: Array, b: Array) -> Array:
    psi = special.digamma
    return _log_beta(a, b) - (a - 1) * psi(a) - (b - 1) * psi(b) + (a + b - 2) * psi(a + b)


def _beta_kl(p: tuple[Array, ...], q: tuple[Array, ...]) -> Array:
    psi, (a, b) = special.digamma, p
    moved = psi(a + b)
    return _log_beta(*q) - _log_beta(a, b) + (a - q[0]) * (psi(a) - moved) + (b - q[1]) * (psi(b) - moved)


_LARGEST_BETA = 1e5
"""Beyond, jax's incomplete beta function loses digits (1.5e-10 here, all of them at 1e8)."""


def _beta_cumulative(x: Array, a: Array, b: Array) -> Array:
    known = jnp.maximum(a, b) <= _LARGEST_BETA
    return jnp.where(known, special.betainc(a, b, jnp.clip(x, 0, 1)), jnp.nan)


_BETA = Family(
    "beta",
    _beta_log_density,
    lambda a, b: a / (a + b),
    lambda a, b: a / (a + b) * (b / (a + b)) / (a + b + 1),
    _beta_entropy,
    lambda key, shape, a, b: jax.random.beta(key, a, b, shape, a.dtype),
    _beta_cumulative,
    _beta_kl,
    (0, 0),
)


def beta(a: _Numbers, b: _Numbers) -> Distribution:
    """The beta distribution: ``p(x) = x^(a - 1) (1 - x)^(b - 1) / B(a, b)`` on ``[0, 1]``.

    Args:
      a, b: above 0; the cumulative distribution is NaN above 1e5.

    Raises:
      TypeError: for a complex parameter.
      ValueError: for a concrete parameter out of range.
    """
    _require_positive("beta", a=a, b=b)
    return _build(_BETA, a, b)


# -- Student t -----------------------------------------------------------------------------------------------------


def _student_normaliser(df: Array) -> Array:
    """``log(sqrt(df) B(df/2, 1/2))``."""
    return 0.5 * jnp.log(df) + _log_beta(0.5 * df, jnp.full_like(df, 0.5))


def _student_log_density(x: Array, df: Array, location: Array, scale: Array) -> Array:
    # log(1 + z^2 / df) without squaring z, which overflows long before its logarithm matters.
    tail = log_hypot_one((x - location) / scale / jnp.sqrt(df))
    return -(df + 1) * tail - _student_normaliser(df) - jnp.log(scale)


def _student_cdf(x: Array, df: Array, location: Array, scale: Array) -> Array:
    """By the incomplete beta function of whichever of two complementary arguments is the smaller."""
    z = (x - location) / scale / jnp.sqrt(df)
    far = jnp.abs(z) > 1
    tangent = jnp.where(far, 1 / jnp.where(far, z, 1), z)
    share = tangent**2 / (1 + tangent**2)
    half = jnp.full_like(df, 0.5)
    # Where the share underflows, so does the tail; its slope there would be 0 times inf.
    outside = far & (share < jnp.finfo(x.dtype).tiny)
    upper = 0.5 * special.betainc(0.5 * df, half, jnp.where(far & ~outside, share, 0.5))
    upper = jnp.where(outside, 0, upper)
    middle = 0.5 * special.betainc(half, 0.5 * df, jnp.where(far, 0.5, share))
    return jnp.where(far, jnp.where(z < 0, upper, 1 - upper), 0.5 + jnp.sign(z) * middle)


def _student_variance(df: Array, location: Array, scale: Array) -> Array:
    finite = df / jnp.where(df > 2, df - 2, 1) * scale**2
    return jnp.zeros_like(location) + jnp.where(df > 2, finite, jnp.where(df > 1, jnp.inf, jnp.nan))


def _student_entropy(df: Array, location: Array, scale: Array) -> Array:
    psi = special.digamma
    spread = 0.5 * (df + 1) * (psi(0.5 * (df + 1)) - psi(0.5 * df))
    return jnp.zeros_like(location) + spread + _student_normaliser(df) + jnp.log(scale)


_STUDENT_T = Family(
    "student_t",
    _student_log_density,
    lambda df, location, scale: jnp.where(df > 1, location, jnp.nan) + jnp.zeros_like(scale),
    _student_variance,
    _student_entropy,
    lambda key, shape, df, location, scale: location + scale * jax.random.t(key, df, shape, df.dtype),
    _student_cdf,
    None,
    (0, 0, 0),
)


def student_t(df: _Numbers, location: _Numbers = 0.0, scale: _Numbers = 1.0) -> Distribution:
    """Student's t: ``p(x) = (1 + z^2 / df)^(-(df + 1)/2) / (scale sqrt(df) B(df/2, 1/2))``.

    Here ``z = (x - location) / scale``. The mean exists for ``df > 1``; the variance is finite for ``df > 2`` and
    infinite from there down to 1.

    Args:
      df: degrees of freedom, above 0.
      location: its median.
      scale: above 0.

    Raises:
      TypeError: for a complex parameter.
      ValueError: for a concrete parameter out of range.
    """
    _require_positive("student_t", df=df, scale=scale)
    _require_finite("student_t", location=location)
    return _build(_STUDENT_T, df, location, scale)


# -- Bernoulli -----------------------------------------------------------------------------------------------------


def _bernoulli_log_density(x: Array, p: Array) -> Array:
    return jnp.where(
        x == 1,
        jnp.log(p),
        jnp.where(x == 0, log1p(-p), jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf)),
    )


def _bernoulli_weak(key: Array, shape: tuple[int, ...], p: Array) -> tuple[Array, Array, Array]:
    """What is at 1 less what is at 0."""
    return jnp.ones_like(p), jnp.ones(shape, int), jnp.zeros(shape, int)


_BERNOULLI = Family(
    "bernoulli",
    _bernoulli_log_density,
    lambda p: p,
    lambda p: p * (1 - p),
    lambda p: -_times_log(p, p) - _times_log(1 - p, 1 - p),
    lambda key, shape, p: jax.random.bernoulli(key, p, shape).astype(int),
    lambda x, p: jnp.where(x < 0, 0, jnp.where(x < 1, 1 - p, 1)).astype(p.dtype),
    lambda p, q: _relative_entropy(p[0], q[0]) + _relative_entropy(1 - p[0], 1 - q[0]),
    (0,),
    weak_derivatives=(_bernoulli_weak,),
)


def bernoulli(probability: _Numbers) -> Distribution:
    """The Bernoulli distribution: ``P(1) = probability``, ``P(0) = 1 - probability``.

    Args:
      probability: in [0, 1].

    Raises:
      TypeError: for a complex parameter.
      ValueError: for a concrete parameter out of range.
    """
    _require("bernoulli", "probability", probability, "in [0, 1]", lambda v: (v >= 0) & (v <= 1))
    return _build(_BERNOULLI, probability)


# -- categorical ---------------------------------------------------------------------------------------------------


def _categorical_log_density(x: Array, p: Array) -> Array:
    classes = jnp.arange(p.shape[-1], dtype=x.dtype)
    # Summing where x names the class broadcasts, and leaves -inf for what is no class.
    found = jnp.sum(jnp.where(x[..., None] == classes, p, 0), axis=-1)
    return jnp.where(found > 0, jnp.log(jnp.where(found > 0, found, 1)), jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))


def _categorical_mean(p: Array) -> Array:
    return jnp.sum(p * jnp.arange(p.shape[-1], dtype=p.dtype), axis=-1)


def _categorical_variance(p: Array) -> Array:
    classes = jnp.arange(p.shape[-1], dtype=p.dtype)
    return jnp.sum(p * (classes - _categorical_mean(p)[..., None]) ** 2, axis=-1)


_CATEGORICAL = Family(
    "categorical",
    _categorical_log_density,
    _categorical_mean,
    _categorical_variance,
    lambda p: -jnp.sum(_times_log(p, p), axis=-1),
    lambda key, shape, p: jax.random.categorical(key, jnp.log(p), shape=shape).astype(int),
    lambda x, p: jnp.sum(jnp.where(jnp.arange(p.shape[-1], dtype=x.dtype) <= x[..., None], p, 0), axis=-1),
    lambda p, q: jnp.sum(_relative_entropy(p[0], q[0]), axis=-1),
    (1,),
)


def categorical(probabilities: _Numbers) -> Distribution:
    """The categorical distribution over ``0, ..., k - 1``: ``P(i) = probabilities[i]``.

    Mean, variance and distribution function are those of the number of the class.

    Args:
      probabilities: ``(..., k)``, not negative, summing to one.

    Raises:
      ValueError: for concrete probabilities out of range, or of another sum.
    """
    probabilities = _array(probabilities)
    if jnp.ndim(probabilities) == 0 or jnp.shape(probabilities)[-1] == 0:
        raise ValueError(
            f"categorical: probabilities must have shape (..., k) with k > 0, got {jnp.shape(probabilities)}."
        )
    _require("categorical", "probabilities", probabilities, "in [0, 1]", lambda v: (v >= 0) & (v <= 1))
    built = _build(_CATEGORICAL, probabilities)
    known = _known(built.parameters[0])
    # k roundings of entries that add up to one.
    tolerance = max(8, built.parameters[0].shape[-1]) * float(jnp.finfo(built.parameters[0].dtype).eps)
    if known is not None and np.any(np.abs(known[0].sum(axis=-1) - 1) > tolerance):
        raise ValueError(
            f"categorical: probabilities must sum to 1 within {tolerance:.1g} along the last axis, got sums "
            f"{known[0].sum(axis=-1)}. Divide by the sum, or take the softmax of logits."
        )
    return built


# -- Poisson -------------------------------------------------------------------------------------------------------


def _poisson_log_density(x: Array, rate: Array) -> Array:
    counts = (x >= 0) & (x == jnp.floor(x)) | jnp.isnan(x)

    def inside(x):
        # Of large counts both terms are large, infinite at last: Stirling's formula takes their difference.
        far = x >= 10
        near, large = jnp.where(far, 0, x), jnp.where(far, x, 10)
        close = rate > 0.5 * large  # where logarithms would cancel
        between = jnp.where(close, large, rate)
        apart = jnp.where(close, large * _excess(_ratio(rate, between)), large * (jnp.log(large / rate) - 1) + rate)
        stirling = -apart - 0.5 * jnp.log(large) - _HALF_LOG_TWO_PI - _stirling_rest(large)
        return jnp.where(far, stirling, _times_log(near, rate) - rate - special.gammaln(near + 1))

    return _where_inside(counts, x, 0.0, inside)


def _poisson_cdf(x: Array, rate: Array) -> Array:
    sure = x > 1e4 * (1 + rate)  # where jax's incomplete gamma function ends in NaN
    count = jnp.floor(jnp.where(sure, 0, jnp.maximum(x, 0)))
    return jnp.where(x < 0, 0, jnp.where(sure, 1, special.gammaincc(count + 1, rate)))


def _poisson_weak(key: Array, shape: tuple[int, ...], rate: Array) -> tuple[Array, Array, Array]:
    """One more than a Poisson number, less that number."""
    x = _POISSON.draw(key, shape, rate)
    return jnp.ones_like(rate), x + 1, x


_POISSON = Family(
    "poisson",
    _poisson_log_density,
    lambda rate: rate,
    lambda rate: rate,
    None,
    lambda key, shape, rate: jax.random.poisson(key, rate, shape).astype(int),
    _poisson_cdf,
    lambda p, q: _relative_entropy(p[0], q[0]),
    (0,),
    weak_derivatives=(_poisson_weak,),
)


def poisson(rate: _Numbers) -> Distribution:
    """The Poisson distribution: ``P(k) = rate^k exp(-rate) / k!``.

    Args:
      rate: its mean, above 0.

    Raises:
      TypeError: for a complex parameter.
      ValueError: for a concrete parameter out of range.
    """
    _require_positive("poisson", rate=rate)
    return _build(_POISSON, rate)


# -- multivariate normal -------------------------------------------------------------------------------------------


def _whitened(factor: Array, x: Array) -> Array:
    """``L^-1 x`` for vectors x."""
    shape = np.broadcast_shapes(factor.shape[:-1], x.shape)
    factor = jnp.broadcast_to(factor, (*shape[:-1], *factor.shape[-2:]))
    return jax.scipy.linalg.solve_triangular(factor, jnp.broadcast_to(x, shape)[..., None], lower=True)[..., 0]


def _half_log_determinant(factor: Array) -> Array:
    return jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)


def _multivariate_log_density(x: Array, mean: Array, factor: Array) -> Array:
    # An infinite vector is infinitely far away, whatever its whitened entries cancel to.
    infinite = (jnp.isinf(x) & ~jnp.isnan(x).any(axis=-1, keepdims=True)).any(axis=-1)
    z = _whitened(factor, jnp.where(infinite[..., None], 0, x) - mean)
    squares = jnp.where(infinite, jnp.inf, jnp.sum(z * z, axis=-1))
    return -0.5 * squares - _half_log_determinant(factor) - x.shape[-1] * _HALF_LOG_TWO_PI


def _multivariate_kl(p: tuple[Array, ...], q: tuple[Array, ...]) -> Array:
    """``(|M|^2 - n - log det M M' + |d|^2) / 2`` with ``M = L_q^-1 L_p`` and ``d = L_q^-1 (mean_p - mean_q)``.

    M is triangular: its diagonal r gives ``sum (r^2 - 1)/2 - log r``, the rest a sum of squares.
    """
    batch = np.broadcast_shapes(p[1].shape, q[1].shape)
    left, right = jnp.broadcast_to(p[1], batch), jnp.broadcast_to(q[1], batch)
    # The difference of the factors, solved for, is M less the unit matrix without cancelling.
    moved = jax.scipy.linalg.solve_triangular(right, left - right, lower=True)
    u = jnp.diagonal(moved, axis1=-2, axis2=-1)
    d = _whitened(q[1], p[0] - q[0])
    return 0.5 * jnp.sum(moved**2, axis=(-2, -1)) + jnp.sum(_excess(u), axis=-1) + 0.5 * jnp.sum(d * d, axis=-1)


def _multivariate_draw(key: Array, shape: tuple[int, ...], mean: Array, factor: Array) -> Array:
    noise = jax.random.normal(key, (*shape, mean.shape[-1]), mean.dtype)
    return mean + jnp.einsum("...ij,...j->...i", factor, noise)


def _multivariate_mean(mean: Array, factor: Array) -> Array:
    return jnp.broadcast_to(mean, np.broadcast_shapes(mean.shape, factor.shape[:-1]))


def _multivariate_variance(mean: Array, factor: Array) -> Array:
    covariance = factor @ jnp.swapaxes(factor, -1, -2)
    return jnp.broadcast_to(covariance, np.broadcast_shapes(mean.shape[:-1], factor.shape[:-2]) + factor.shape[-2:])


def _multivariate_entropy(mean: Array, factor: Array) -> Array:
    spread = _half_log_determinant(factor) + mean.shape[-1] * (0.5 + _HALF_LOG_TWO_PI)
    return jnp.broadcast_to(spread, np.broadcast_shapes(mean.shape[:-1], factor.shape[:-2]))


_MULTIVARIATE_NORMAL = Family(
    "multivariate_normal",
    _multivariate_log_density,
    _multivariate_mean,
    _multivariate_variance,
    _multivariate_entropy,
    _multivariate_draw,
    None,
    _multivariate_kl,
    (1, 2),
    event_ndim=1,
)


def multivariate_normal(mean: _Numbers, covariance: _Numbers) -> Distribution:
    """The normal distribution in R^n: ``p(x) = exp(-|L^-1 (x - mean)|^2 / 2) / (det L (2 pi)^(n/2))``.

    Its parameters are the mean and the triangular factor L of the covariance ``L L'``.

    Args:
      mean: ``(..., n)``.
      covariance: ``(..., n, n)``, symmetric, positive definite; of a traced one that is not the answers are NaN.

    Raises:
      ValueError: for other shapes, or for a concrete covariance that is not symmetric and positive definite.
    """
    mean, covariance = _array(mean), _array(covariance)
    shapes = jnp.shape(mean), jnp.shape(covariance)
    if len(shapes[0]) < 1 or len(shapes[1]) < 2 or not shapes[0][-1] == shapes[1][-1] == shapes[1][-2] > 0:
        raise ValueError(
            f"multivariate_normal: expected mean (..., n) and covariance (..., n, n), got {shapes[0]} and {shapes[1]}. "
            "In one dimension use normal."
        )
    _require_finite("multivariate_normal", mean=mean, covariance=covariance)
    dtype = jnp.result_type(mean, covariance, float)
    matrix = jnp.asarray(covariance, dtype)
    known = _known(matrix)
    if known is not None:
        size = np.abs(known[0]).max()
        skew = np.abs(known[0] - np.swapaxes(known[0], -1, -2)).max()
        if skew > 8 * float(jnp.finfo(dtype).eps) * size:
            raise ValueError(
                f"multivariate_normal: covariance must be symmetric, got entries that differ by {skew:.2g}. "
                "Pass (C + C') / 2."
            )
    if known is None:
        return _build(_MULTIVARIATE_NORMAL, jnp.asarray(mean, dtype), jnp.linalg.cholesky(matrix))
    with jax.ensure_compile_time_eval():
        factor = jnp.linalg.cholesky(matrix)
    if not np.all(np.isfinite(np.asarray(factor, np.float64))):
        raise ValueError(
            "multivariate_normal: covariance must be positive definite, got one without a Cholesky factor. "
            "Add a small multiple of the unit matrix."
        )
    return _build(_MULTIVARIATE_NORMAL, jnp.asarray(mean, dtype), factor)
