"""Continuous normalizing flows: densities that the flow of a learned field carries from a simple one to data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.functions.distributions import Distribution, normal
from jaxcalc.models.model import Model
from jaxcalc.models.neural_ode import neural_ode
from jaxcalc.transforms.divergence import DivergenceMethod, ProbeName, needed, trace_estimator
from jaxcalc.transforms.flow import flow
from jaxcalc.transforms.jacobian import jacobian
from jaxcalc.transforms.linear_operator import linear_operator

__all__ = ["NormalizingFlow", "normalizing_flow"]


class NormalizingFlow(NamedTuple):
    """A density in R^n, of the points that a flow carries from a base distribution; ``...`` are axes of a batch.

    Of the stochastic traces ``log_density`` and ``log_volume`` return an ``Estimate`` (value, standard error over
    probes, NaN of a single one) and take a ``key``, which each point of a batch splits; of the exact one an array.
    """

    init: Callable[[jax.Array], Any]
    """``init(key) -> params`` of the field"""
    log_density: Callable[..., Any]
    """``log_density(params, x, key=None)``, in nats: ``(..., n) -> (...)``"""
    log_volume: Callable[..., Any]
    """``log_volume(params, x, key=None)``: ``log |det dz / dx|`` of the way to the base, ``(..., n) -> (...)``"""
    sample: Callable[..., jax.Array]
    """``sample(params, key, num_samples) -> (num_samples, n)``, independent"""
    to_base: Callable[[Any, jax.Array], jax.Array]
    """``to_base(params, x) -> z``, shaped as ``x``: against the flow"""
    from_base: Callable[[Any, jax.Array], jax.Array]
    """``from_base(params, z) -> x``, shaped as ``z``: along the flow"""


def normalizing_flow(
    field: Model,
    dimension: int,
    *,
    trace: DivergenceMethod | str = "exact",
    num_probes: int | None = None,
    probes: ProbeName | str = "rademacher",
    base: Distribution | None = None,
    duration: float = 1.0,
    **choices: Any,
) -> NormalizingFlow:
    """The density of what a learned field's flow makes of a base distribution (a continuous normalizing flow).

        y' = f(y),  y(0) = z ~ base,  x = y(duration):    log p(x) = log base(z) - INT_0^duration tr df/dy (y(t)) dt

    The trace is integrated beside the state, from data to base. Random probes of it are drawn once for each point and
    stay the same along its solve, which keeps the integrand smooth and the estimate of the logarithm unbiased.

    Args:
      field: a model of the field, ``apply(params, y)`` from ``(n,)`` to ``(n,)``.
      dimension: n, the size of a state.
      trace: ``"exact"``, n products with the Jacobian, fewer where it is sparse; ``"hutchinson"`` or ``"hutch++"``,
        ``num_probes`` products, as of ``jaxcalc.transforms.divergence``.
      num_probes: of a stochastic trace alone.
      probes: entries of its random vectors, ``"rademacher"`` or ``"normal"``.
      base: over vectors of that size, or over numbers for independent entries; by default standard normal.
      duration: of the flow from base to data, above 0.
      choices: what ``jaxcalc.transforms.flow`` takes but ``report``: ``solver``, ``adjoint``, ``num_steps``, ...

    Returns:
      A ``NormalizingFlow``, whose functions may be jitted, vmapped and differentiated in ``params`` and points. Where a
      solve fails they return NaN.

    Raises:
      ValueError: for an unknown trace, a number out of range, a base of another size, points of another size, or a key
        that is missing or would go unused.
      TypeError: for arguments of another kind.

    Source: Chen, Rubanova, Bettencourt and Duvenaud, "Neural ordinary differential equations", NeurIPS 2018; Grathwohl
      et al., "FFJORD: free-form continuous dynamics for scalable reversible generative models", ICLR 2019.
    """
    who = "normalizing_flow"
    checks.integer(who, "dimension", dimension)
    estimator = trace_estimator(who, trace, num_probes, probes)
    checks.number(who, "duration", checks.scalar(who, "duration", duration, "One flow has one."), above=0, finite=True)
    if "report" in choices:
        raise ValueError(f"{who}: report is no choice here, for a density is a number. Take flow(field) for a report.")
    base = _base(who, base, dimension)

    def rates(t, state, args):
        params, vectors = args
        matrix = linear_operator(jacobian, lambda y: checks.returns_like(who, field.apply(params, y), "y", y), state[0])
        return matrix.value, estimator.samples(matrix, vectors)

    augmented, transport = flow(rates, **choices), neural_ode(field, **choices).apply
    there, back = np.array([0.0, duration]), np.array([duration, 0.0])

    def one(params, x, key):
        """``(z, samples of log |det dz / dx|)`` of one point."""
        start = x, jnp.zeros(estimator.num_samples(dimension), x.dtype)
        z, volume = augmented(start, back, (params, estimator.draw(key, x)))
        return z[-1], volume[-1]

    def each(params, x, key):
        x = _points(who, x, dimension)
        needed(key, who, estimator)
        rows = x.reshape(-1, dimension)
        keys = None if key is None else jax.random.split(key, len(rows)) if x.ndim > 1 else key[None]
        z, volume = jax.vmap(one, (None, 0, None if keys is None else 0))(params, rows, keys)
        return z.reshape(x.shape), volume.reshape(*x.shape[:-1], *volume.shape[1:])

    def log_volume(params, x, key=None):
        return estimator.estimate(each(params, x, key)[1])

    def log_density(params, x, key=None):
        z, volume = each(params, x, key)
        below = _log_density(base, z)
        return estimator.estimate(volume + (below[..., None] if estimator.stochastic else below))

    def carried(params, points, times):
        rows = _points(who, points, dimension)
        move = jax.vmap(lambda row: transport(params, row, times)[-1])
        return move(rows.reshape(-1, dimension)).reshape(rows.shape)

    def sample(params, key, num_samples):
        checks.integer(who, "num_samples", num_samples, least=0)
        shape = (num_samples,) if base.family.event_ndim or base.batch_shape else (num_samples, dimension)
        return carried(params, base.sample(key, shape), there)

    return NormalizingFlow(
        field.init,
        log_density,
        log_volume,
        sample,
        lambda params, x: carried(params, x, back),
        lambda params, z: carried(params, z, there),
    )


def _base(who: str, base: Distribution | None, dimension: int) -> Distribution:
    """The base distribution, if it is one over vectors of that size."""
    base = normal() if base is None else base
    if not isinstance(base, Distribution):
        raise TypeError(f"{who}: base must be a distribution of jaxcalc.functions.distributions, got {base!r}.")
    event = base.mean().shape
    if event != (dimension,) and (base.family.event_ndim or event != ()):
        raise ValueError(f"{who}: base must be over vectors of size {dimension} or over numbers, got shape {event}.")
    return base


def _log_density(base: Distribution, z: jax.Array) -> jax.Array:
    """Of vectors: the entries of what is a distribution over numbers are independent."""
    values = base.log_density(z)
    return values if base.family.event_ndim else values.sum(-1)


def _points(who: str, x: Any, dimension: int) -> jax.Array:
    """Points of the space, as floating-point numbers."""
    x = checks.real_array(who, "x", x)
    checks.shaped(who, "x", x.shape[-1:], dimension)
    return x
