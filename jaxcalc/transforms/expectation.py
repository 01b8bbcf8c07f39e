"""Expectations, and what else is an integral against a density: variance, marginal, entropy, divergence."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc import checks
from jaxcalc.transforms.integral import IntegralMethod, named_integral
from jaxcalc.transforms.iterated import named_iterated_integral
from jaxcalc.transforms.sampling import Estimate, named_sample_mean

__all__ = ["entropy", "expectation", "kl_divergence", "marginal", "sampled_expectation", "total_mass", "variance"]

ExpectationMethod = IntegralMethod | Literal["sum"]
_LINE = (-math.inf, math.inf)
# How far a density's integral may be from 1, in roots of eps: what the adaptive rule aims at, with some to spare.
_MASS_TOLERANCE = 64


def expectation(
    fun: Callable[[Any], Any],
    log_density: Callable[..., Any],
    /,
    *,
    support: Any = _LINE,
    method: ExpectationMethod | str = "auto",
    num_points: int | None = None,
    tol: jax.typing.ArrayLike | None = None,
) -> Callable[..., Any]:
    """The expectation of a function of a random variable, by quadrature against its density.

        E[f(X)] = INT f(x) p(x, args) dx,    or    sum_x f(x) p(x, args)

    Args:
      fun: from a point to an array or PyTree of arrays; a point is a scalar, or has shape ``(d,)``.
      log_density: ``log p(x, *args)``, normalised; ``-inf`` outside the support. A log mass for ``method="sum"``.
      support: ``(low, high)``, numbers (infinite ones too) or arrays of shape ``(d,)``; for ``method="sum"`` the atoms,
        shape ``(k,)`` or ``(k, d)``.
      method: as for ``integral``, or ``"sum"``.
      num_points, tol: as for ``integral``.

    Returns:
      ``expected(*args)``, like what ``fun`` returns. Ready for ``jit``, ``vmap`` and ``grad`` in ``args`` and in what
      ``fun`` closes over. Where the density turns out not to integrate to 1 under ``jit``, the result is NaN.

    Raises:
      ValueError: if the density does not integrate to 1 over the support, for an unknown method or a support that is
        none.
    """
    return _expectation(
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
    mean = _expectation("variance", lambda x, aside: fun(x), log_density, **choices)
    squared = lambda x, centre: jax.tree.map(lambda y, m: (y - m) ** 2, fun(x), centre)
    about = _expectation("variance", squared, log_density, **choices)
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


def entropy(log_density: Callable[..., Any], /, **choices: Any) -> Callable[..., jax.Array]:
    """The entropy of a distribution, in nats; the differential entropy of a continuous one.

        H = -E[log p(X)]

    Args:
      log_density, choices: as for ``expectation``.

    Returns:
      ``of(*args)``, a scalar. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: as ``expectation`` does.
    """
    surprise = lambda x, args: -log_density(x, *args)
    mean = _expectation("entropy", surprise, log_density, **choices)
    return lambda *args: mean(*args, aside=args)


def kl_divergence(log_p: Callable[..., Any], log_q: Callable[..., Any], /, **choices: Any) -> Callable[..., jax.Array]:
    """The Kullback-Leibler divergence of ``q`` from ``p``, in nats.

        KL(p, q) = E_{x ~ p}[log p(x) - log q(x)]

    Args:
      log_p, log_q: log densities as for ``expectation``, of a point and their own parameters.
      choices: as for ``expectation``; the support is that of ``p``.

    Returns:
      ``divergence(p_args=(), q_args=())``, a scalar, 0 or more but for rounding; the two are tuples of parameters.
      Infinite, where ``q`` misses atoms of ``p`` (``method="sum"``); NaN, where it misses a continuous part. Ready
      for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: as ``expectation`` does; if ``q`` has more mass than 1 on the support of ``p``.
    """
    ratio = lambda x, aside: log_p(x, *aside[0]) - log_q(x, *aside[1])
    mean = _expectation("kl_divergence", ratio, log_p, **choices)
    mass = total_mass(log_q, **choices)

    def divergence(p_args=(), q_args=()):
        # With more mass than 1 the divergence could be negative; less is what q has beyond the support of p.
        excess = jnp.maximum(mass(*q_args), 1)
        return _if_normalised("kl_divergence", excess, mean(*p_args, aside=(p_args, q_args)), "log_q")

    return divergence


def sampled_expectation(
    fun: Callable[[Any], Any], sample: Callable[..., Any], /, *, num_samples: int, chunk_size: int = 1 << 14
) -> Callable[..., Estimate]:
    """The expectation of a function of a random variable, by its samples.

        E[f(X)] ~ (1/n) sum_i f(x_i)

    Args:
      fun: from a point (any PyTree) to an array or PyTree of real arrays.
      sample: ``sample(key, *args) -> x``, one draw.
      num_samples: how many, at least 2.
      chunk_size: how many are held at a time.

    Returns:
      ``expected(key, *args) -> Estimate``. Ready for ``jit``, ``vmap`` and ``grad`` (the derivative goes through the
      samples: ``sample`` must be differentiable in ``args``).

    Raises:
      ValueError: for too few samples.
    """
    draw = lambda key, *args: fun(sample(key, *args))
    return named_sample_mean("sampled_expectation", draw, num_samples, chunk_size)


def _product(density, y):
    """Density times value, 0 where there is no density, whatever the value is."""
    y = jnp.asarray(y, jnp.result_type(y, density))
    present = density > 0
    return jnp.where(present, density * jnp.where(present, y, 0), 0)


def _expectation(
    who: str,
    fun: Callable[[Any, Any], Any],
    log_density: Callable[..., Any],
    support: Any = _LINE,
    method: str = "auto",
    num_points: int | None = None,
    tol: Any = None,
) -> Callable[..., Any]:
    """``(*args, aside) -> E[fun(X, aside)]``, ``args`` being those of the density."""

    def weighted(x, aside, *args):
        density = jnp.exp(log_density(x, *args))
        return jax.tree.map(lambda y: _product(density, y), fun(x, aside))

    checks.function(who, log_density, "log_density")
    mass = _mass(who, log_density, support, method, num_points, tol)
    value = _over(who, weighted, support, method, num_points, tol)
    return lambda *args, aside=(): _if_normalised(who, mass(*args), value(aside, *args))


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


def _if_normalised(who: str, mass: jax.Array, value: Any, name: str = "log_density") -> Any:
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
