"""Expectations, by quadrature or by draws, and what else is an integral against a density: mass, variance, marginal."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc import checks
from jaxcalc.transforms.gradient_estimators import ControlVariate, EstimatorMethod
from jaxcalc.transforms.integral import IntegralMethod, named_integral
from jaxcalc.transforms.iterated import named_iterated_integral
from jaxcalc.transforms.sampled_expectation import SampledExpectation, sampled

__all__ = [
    "ExpectationMethod",
    "expectation",
    "if_normalised",
    "marginal",
    "named_expectation",
    "total_mass",
    "variance",
]

ExpectationMethod = IntegralMethod | Literal["sum"]
_LINE = (-math.inf, math.inf)
# How far a density's integral may be from 1, in roots of eps: what the adaptive rule aims at, with some to spare.
_MASS_TOLERANCE = 64


@overload
def expectation(
    fun: Callable[[Any], Any],
    log_density: Callable[..., Any],
    /,
    *,
    support: Any = ...,
    method: ExpectationMethod | str = ...,
    num_points: int | None = ...,
    tol: jax.typing.ArrayLike | None = ...,
) -> Callable[..., Any]: ...


@overload
def expectation(
    fun: Callable[[Any], Any],
    distribution: Callable[..., Any],
    /,
    *,
    num_samples: int,
    method: Literal["auto"] | EstimatorMethod | str = ...,
    control_variate: Literal["auto"] | ControlVariate | str = ...,
    step: float | None = ...,
    chunk_size: int = ...,
) -> SampledExpectation: ...


def expectation(
    fun: Callable[[Any], Any],
    log_density: Callable[..., Any],
    /,
    *,
    support: Any = _LINE,
    method: Any = "auto",
    num_points: int | None = None,
    tol: jax.typing.ArrayLike | None = None,
    num_samples: int | None = None,
    control_variate: Any = "auto",
    step: float | None = None,
    chunk_size: int = 1 << 14,
) -> Any:
    """The expectation of a function of a random variable: by quadrature against its density, or by draws.

        E[f(X)] = INT f(x) p(x, args) dx,    or    sum_x f(x) p(x, args),    or    ~ (1/n) sum_i f(x_i)

    By draws where ``num_samples`` is given. Their mean has a derivative in ``args`` that is an unbiased estimate of the
    expectation's, by one of these:

    - ``"reparameterised"``: the derivative of ``f(sample(key))`` through the draw. f must be continuous.
    - ``"score"``: f times the derivative of the log density; any f, and discrete distributions.
    - ``"measure-valued"``: the difference of f at two coupled draws for each number of the distribution (normal,
      uniform, exponential, Bernoulli, Poisson; batches of them). Any f.
    - ``"finite-difference"``: central, with common random numbers, for each number of the distribution. It alone has a
      bias, of the order of ``step**2``.
    - ``"auto"``: of the first three, the least product of variance and predicted time, by 512 draws of each; one whose
      mean disagrees with that of ``"score"`` (a jump in f, that a derivative through draws does not see) is left out.

    Args:
      fun: from a point to an array or PyTree of arrays; a point is a scalar, or has shape ``(d,)``. By draws a point is
        what the distribution draws, and the arrays are real.
      log_density: ``log p(x, *args)``, normalised; ``-inf`` outside the support. A log mass for ``method="sum"``. By
        draws, in its place, the distribution: ``(*args) -> Distribution``, such as ``functions.distributions.normal``;
        or to any PyTree with ``sample(key)`` and ``log_density(x)``. A batch of distributions is a point of
        independent components.
      support: ``(low, high)``, numbers (infinite ones too) or arrays of shape ``(d,)``; for ``method="sum"`` the atoms,
        shape ``(k,)`` or ``(k, d)``.
      method: as for ``integral``, or ``"sum"``; by draws one of the above.
      num_points, tol: as for ``integral``.
      num_samples: how many draws, at least 2.
      control_variate: of known mean, taken off f: ``"none"``; for the score, ``"constant"`` (``E[f s^2]/E[s^2]``, from
        512 more draws; s is the score in all of ``args``) or ``"leave-one-out"`` (the mean over 15 others: draws come
        in groups of 16); ``"local-linear"`` (f's tangent at the mean, for draws of real vectors); ``"auto"`` decides as
        ``method`` does.
      step: of finite differences; by default ``eps**(1/3)``, relative to numbers above 1.
      chunk_size: draws held at a time.

    Returns:
      ``expected(*args)``, like what ``fun`` returns. Ready for ``jit``, ``vmap`` and ``grad`` in ``args`` and in what
      ``fun`` closes over. Where the density turns out not to integrate to 1 under ``jit``, the result is NaN.

      By draws a ``SampledExpectation``: ``expected(key, *args) -> Estimate`` with standard error;
      ``expected.gradient(argnums=0)(key, *args)`` is an ``Estimate`` too, what ``jax.grad`` of the value gives and its
      standard error; ``print(expected.pilot(key, *args))`` says what ``"auto"`` chooses and why. A log density that is
      not finite at the distribution's own draw (a negative scale) makes an error, or NaN where it is traced.

    Raises:
      ValueError: if the density does not integrate to 1 over the support, for an unknown method or a support that is
        none; for an estimator that the distribution does not have; for quadrature's choices with ``num_samples``.

    Source:
      S. Mohamed, M. Rosca, M. Figurnov, A. Mnih, Monte Carlo gradient estimation in machine learning, JMLR 21 (132),
      2020; derivatives of all orders by the score: J. Foerster et al., DiCE, 2018.
    """
    if num_samples is not None:
        if support is not _LINE or num_points is not None or tol is not None:
            raise ValueError(
                "expectation: support, num_points and tol are of quadrature; with num_samples the distribution draws."
            )
        return sampled(fun, log_density, method, control_variate, num_samples, chunk_size, step)
    if method in get_args(EstimatorMethod):
        raise ValueError(f"expectation: method={method!r} draws from the distribution; give num_samples.")
    if (control_variate, step) != ("auto", None):
        raise ValueError("expectation: control_variate and step are of draws; give num_samples.")
    return named_expectation(
        "expectation",
        lambda x, aside: fun(x),
        log_density,
        support=support,
        method=method,
        num_points=num_points,
        tol=tol,
    )


def total_mass(
    log_density: Callable[..., Any],
    /,
    *,
    support: Any = _LINE,
    method: ExpectationMethod | str = "auto",
    num_points: int | None = None,
    tol: jax.typing.ArrayLike | None = None,
) -> Callable[..., jax.Array]:
    """The integral of a density: 1 if it is one, the evidence or partition function if it is not normalised.

        Z(args) = INT exp(log_density(x, args)) dx

    Args:
      log_density: as for ``expectation``, normalised or not.
      support, method, num_points, tol: as for ``expectation``.

    Returns:
      ``mass(*args)``, a scalar. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: for an unknown method or a support that is none.
    """
    return _mass("total_mass", log_density, support, method, num_points, tol)


def variance(fun: Callable[[Any], Any], log_density: Callable[..., Any], /, **choices: Any) -> Callable[..., Any]:
    """The variance of a function of a random variable.

        Var[f(X)] = E[(f(X) - E[f(X)])^2]

    Args:
      fun, log_density, choices: as for ``expectation``; ``fun`` returns real numbers.

    Returns:
      ``spread(*args)``, like what ``fun`` returns, entry by entry. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: as ``expectation`` does.

    Cost:
      Two expectations: the second, about the mean, does not cancel as ``E[f^2] - E[f]^2`` would.
    """
    mean = named_expectation("variance", lambda x, aside: fun(x), log_density, **choices)
    squared = lambda x, centre: jax.tree.map(lambda y, m: (y - m) ** 2, fun(x), centre)
    about = named_expectation("variance", squared, log_density, **choices)
    return lambda *args: about(*args, aside=mean(*args))


def marginal(
    log_density: Callable[..., Any],
    /,
    over: int = 0,
    *,
    support: Any = _LINE,
    method: ExpectationMethod | str = "auto",
    num_points: int | None = None,
    tol: jax.typing.ArrayLike | None = None,
) -> Callable[..., jax.Array]:
    """The density that remains when one variable of a joint density is integrated out.

        p(x) = INT p(x, y) dy

    Args:
      log_density: from the variables, one argument each, and parameters to the joint log density.
      over: the position of the variable to integrate out.
      support, method, num_points, tol: as for ``expectation``, of that variable.

    Returns:
      ``density(*others)``: the marginal density (not its logarithm) at the remaining arguments. Ready for ``jit``,
      ``vmap`` and ``grad``.

    Raises:
      ValueError: for an unknown method, a support that is none, or a position beyond the arguments.
    """
    joint = lambda y, *others: jnp.exp(log_density(*others[:over], y, *others[over:]))
    integrate = _over("marginal", joint, support, method, num_points, tol)

    def density(*others):
        if not 0 <= over <= len(others):
            raise ValueError(f"marginal: over must be the position of an argument, 0 to {len(others)}, got {over}.")
        return integrate(*others)

    return density


def _product(density, y):
    """Density times value, 0 where there is no density, whatever the value is."""
    y = jnp.asarray(y, jnp.result_type(y, density))
    present = density > 0
    return jnp.where(present, density * jnp.where(present, y, 0), 0)


def named_expectation(
    who: str,
    fun: Callable[[Any, Any], Any],
    log_density: Callable[..., Any],
    support: Any = _LINE,
    method: str = "auto",
    num_points: int | None = None,
    tol: Any = None,
) -> Callable[..., Any]:
    """``expectation`` in the name of whoever asks: ``(*args, aside) -> E[fun(X, aside)]``, ``args`` the density's."""

    def weighted(x, aside, *args):
        density = jnp.exp(log_density(x, *args))
        return jax.tree.map(lambda y: _product(density, y), fun(x, aside))

    checks.function(who, log_density, "log_density")
    mass = _mass(who, log_density, support, method, num_points, tol)
    value = _over(who, weighted, support, method, num_points, tol)
    return lambda *args, aside=(): if_normalised(who, mass(*args), value(aside, *args))


def _mass(who: str, log_density: Any, support: Any, method: str, num_points: int | None, tol: Any):
    return _over(who, lambda x, *args: jnp.exp(log_density(x, *args)), support, method, num_points, tol)


def _over(who: str, fun: Callable[..., Any], support: Any, method: str, num_points: int | None, tol: Any):
    """``(*args) -> `` the integral of ``fun(x, *args)`` over the support."""
    if method == "sum":
        atoms = jnp.asarray(support)
        if atoms.ndim not in (1, 2) or atoms.size == 0:
            raise ValueError(f"{who}: support must hold the atoms, shape (k,) or (k, d), got shape {atoms.shape}.")
        return lambda *args: jax.tree.map(lambda y: y.sum(0), jax.vmap(lambda x: fun(x, *args))(atoms))
    checks.one_of(who, "method", method, (*get_args(IntegralMethod), "sum"))
    if not isinstance(support, (tuple, list)) or len(support) != 2:
        raise ValueError(f"{who}: support must be a pair (low, high), got {support!r}. For atoms use method='sum'.")
    low, high = support
    if jnp.shape(low) != jnp.shape(high) or jnp.ndim(low) > 1 or jnp.size(low) == 0:
        raise ValueError(
            f"{who}: support must be two scalars or two arrays of shape (d,), got shapes {jnp.shape(low)} and "
            f"{jnp.shape(high)}."
        )
    choices: dict[str, Any] = {"method": method, "num_points": num_points, "tol": tol}
    if jnp.ndim(low) == 0:
        single = named_integral(who, fun, **choices)
        return lambda *args: single(low, high, *args)
    count = jnp.size(low)
    stacked = lambda *xs: fun(jnp.stack(xs[:count]), *xs[count:])
    several = named_iterated_integral(who, stacked, {**choices, "max_intervals": 64})
    return lambda *args: several(list(zip(jnp.asarray(low), jnp.asarray(high))), *args)


def if_normalised(who: str, mass: jax.Array, value: Any, name: str = "log_density") -> Any:
    """The value, where the density's integral is 1; else an error, or NaN where nobody can be told."""
    allowed = _MASS_TOLERANCE * float(jnp.finfo(mass.dtype).eps) ** 0.5
    wrong = ~(abs((mass if isinstance(mass, Tracer) else np.asarray(mass)) - 1) <= allowed)
    if not isinstance(mass, Tracer):
        if np.any(wrong):
            raise ValueError(
                f"{who}: {name} must integrate to 1 over the support, got {mass}. Normalise it (total_mass gives the "
                "constant), or give a support that brackets where the mass is."
            )
        return value
    return jax.tree.map(lambda v: v * jnp.where(wrong, jnp.nan, 1).astype(v.dtype), value)
