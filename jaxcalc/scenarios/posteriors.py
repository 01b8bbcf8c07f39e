"""Bayesian models of real data, whose posteriors are known from long runs of Markov chains.

Each is the density that a reader of the model's words would write, with the support of its variables; means, standard
deviations and quantiles of its reference are those of 10,000 draws, with their Monte Carlo errors.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc import checks
from jaxcalc.functions.bijections import Bijection, positive
from jaxcalc.functions.datasets import reference_posteriors
from jaxcalc.functions.distributions import normal
from jaxcalc.functions.fields import lotka_volterra_logarithmic
from jaxcalc.transforms.flow import flow

__all__ = ["POSTERIORS", "Posterior", "Reference", "posterior"]


class Reference(NamedTuple):
    """Of each quantity, (p,): ``mean``, ``sd``, the mean's Monte Carlo error, quantiles of 5 and 95 %."""

    names: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    error: np.ndarray
    q05: np.ndarray
    q95: np.ndarray


class Posterior(NamedTuple):
    """A posterior with its reference.

    Args:
      log_density: ``(x, data) -> scalar``, the logarithm of prior times likelihood; flat priors are 1.
      start: x at the priors' middle, a dictionary of arrays.
      support: bijections of the variables that are constrained, by name.
      data: a dictionary of arrays.
      quantities: ``x -> (p,)``, what the reference is about, in its order.
      reference: a ``Reference``.
    """

    log_density: Callable[[Any, Any], Array]
    start: dict[str, np.ndarray]
    support: dict[str, Bijection]
    data: dict[str, np.ndarray]
    quantities: Callable[[Any], Array]
    reference: Reference


def _normal(x: Array, mean: Any, sd: Any) -> Array:
    return jnp.sum(normal(mean, sd).log_density(x))


def _half_normal(x: Array, scale: float) -> Array:
    return _normal(x, 0.0, scale) + x.size * np.log(2)


def _half_cauchy(x: Array, scale: float) -> Array:
    return jnp.sum(np.log(2 / np.pi / scale) - jnp.log1p((x / scale) ** 2))


def _log_normal(y: Array, location: Any, sd: Any) -> Array:
    return _normal(jnp.log(y), location, sd) - jnp.sum(jnp.log(y))


# -- the models ----------------------------------------------------------------------------------------------------


def _eight_schools(x: Any, data: Any) -> Array:
    theta = x["mu"] + x["tau"] * x["theta_trans"]
    prior = _normal(x["theta_trans"], 0.0, 1.0) + _normal(x["mu"], 0.0, 5.0) + _half_cauchy(x["tau"], 5.0)
    return prior + _normal(data["y"], theta, data["sigma"])


def _school_effects(x: Any) -> Array:
    return jnp.concatenate([x["mu"] + x["tau"] * x["theta_trans"], jnp.stack([x["mu"], x["tau"]])])


@functools.cache
def _log_populations() -> Callable[..., Array]:
    """``(log state, times, rates) -> log states``; logarithms keep populations positive and steps long."""
    return flow(lotka_volterra_logarithmic, solver="tsit5")


def _lynx_and_hare(x: Any, data: Any) -> Array:
    rates, initial, sigma = x["theta"], x["z_init"], x["sigma"]
    prior = _normal(rates, data["rate_mean"], data["rate_sd"]) + _log_normal(sigma, -1.0, 1.0)
    prior += _log_normal(initial, np.log(10.0), 1.0)
    times = jnp.concatenate([jnp.zeros_like(data["ts"][:1]), data["ts"]])
    logs = _log_populations()(jnp.log(initial), times, rates)
    observed = jnp.concatenate([data["y_init"][None], data["y"]])
    return prior + _log_normal(observed, logs, sigma)


def _regression(x: Any, data: Any) -> Array:
    """``y ~ N(X beta, sigma)``, whatever the priors."""
    return _normal(data["y"], data["X"] @ x["beta"], x["sigma"])


def _half_cauchy_regression(x: Any, data: Any) -> Array:
    return _regression(x, data) + _half_cauchy(x["sigma"], 2.5)


def _normal_regression(x: Any, data: Any) -> Array:
    return _regression(x, data) + _normal(x["beta"], 0.0, 10.0) + _half_normal(x["sigma"], 10.0)


def _trend(x: Any, data: Any) -> Array:
    return _regression(x, data) + _normal(x["beta"], data["prior_mean"], data["prior_sd"])


def _flat(x: Any) -> Array:
    """Variables one after the other, in the order of their names as models are written."""
    return jnp.concatenate([jnp.ravel(x[name]) for name in ("theta", "z_init", "beta", "sigma") if name in x])


# -- their data ----------------------------------------------------------------------------------------------------


def _ones(*columns: np.ndarray) -> np.ndarray:
    """A design of those columns after one of ones."""
    return np.stack([np.ones_like(columns[0]), *columns], axis=1)


def _linear(name: str, log_density: Any, y: str, design: Callable[[dict[str, np.ndarray]], np.ndarray]) -> Any:
    """A regression's posterior: coefficients begin at 0 and the deviation at 1."""
    raw, reference = _raw(name)
    data = {"y": np.log(raw[y]) if y in ("earn", "weight") else raw[y], "X": design(raw)}
    start = {"beta": np.zeros(data["X"].shape[1]), "sigma": np.array(1.0)}
    return Posterior(log_density, start, {"sigma": positive()}, data, _flat, reference)


def _interaction(d: dict[str, np.ndarray]) -> np.ndarray:
    return _ones(d["mom_hs"], d["mom_iq"], d["mom_hs"] * d["mom_iq"])


def _mesquite(d: dict[str, np.ndarray]) -> np.ndarray:
    first, second = np.log(d["diam1"]), np.log(d["diam2"])
    volume = first + second + np.log(d["canopy_height"])
    return _ones(volume, first + second, first - second, np.log(d["total_height"]), d["group"])


def _schools(name: str) -> Posterior:
    raw, reference = _raw(name)
    start = {"theta_trans": np.zeros(8), "mu": np.array(0.0), "tau": np.array(1.0)}
    data = {key: raw[key] for key in ("y", "sigma")}
    return Posterior(_eight_schools, start, {"tau": positive()}, data, _school_effects, reference)


def _pelts(name: str) -> Posterior:
    raw, reference = _raw(name)
    data = {key: raw[key] for key in ("ts", "y_init", "y")}
    data |= {"rate_mean": np.array([1.0, 0.05, 1.0, 0.05]), "rate_sd": np.array([0.5, 0.05, 0.5, 0.05])}
    start = {"theta": data["rate_mean"], "z_init": np.array([10.0, 10.0]), "sigma": np.exp([-1.0, -1.0])}
    support = {key: positive() for key in start}
    return Posterior(_lynx_and_hare, start, support, data, _flat, reference)


def _summers(name: str) -> Posterior:
    raw, reference = _raw(name)
    data = {"y": raw["y"], "X": _ones(raw["x"])}
    for key, parts in (("prior_mean", ("pmualpha", "pmubeta")), ("prior_sd", ("psalpha", "psbeta"))):
        data[key] = np.array([float(raw[part]) for part in parts])
    start = {"beta": np.zeros(2), "sigma": np.array(1.0)}
    return Posterior(_trend, start, {"sigma": positive()}, data, _flat, reference)


_BUILDERS: dict[str, Callable[[str], Posterior]] = {
    "eight_schools-eight_schools_noncentered": _schools,
    "hudson_lynx_hare-lotka_volterra": _pelts,
    "kidiq-kidscore_momiq": lambda name: _linear(
        name, _half_cauchy_regression, "kid_score", lambda d: _ones(d["mom_iq"])
    ),
    "kidiq-kidscore_interaction": lambda name: _linear(name, _half_cauchy_regression, "kid_score", _interaction),
    "earnings-logearn_height": lambda name: _linear(name, _regression, "earn", lambda d: _ones(d["height"])),
    "mesquite-logmesquite_logvash": lambda name: _linear(name, _regression, "weight", _mesquite),
    "sblrc-blr": lambda name: _linear(name, _normal_regression, "y", lambda d: d["X"]),
    "kilpisjarvi_mod-kilpisjarvi": _summers,
}
POSTERIORS = tuple(_BUILDERS)


@functools.cache
def posterior(name: str) -> Posterior:
    """A model, its data and its reference posterior.

    Args:
      name: one of ``POSTERIORS``.

    Raises:
      ValueError: for an unknown name.

    Source: Magnusson and others, posteriordb, 2024 (BSD-3): models, data and reference draws.
    """
    return _BUILDERS[checks.one_of("posterior", "name", name, POSTERIORS)](name)


def _raw(name: str) -> tuple[dict[str, np.ndarray], Reference]:
    entry = reference_posteriors()[name]
    stated = entry["reference"]
    columns = (np.array([row[key] for row in stated.values()]) for key in ("mean", "sd", "mcse", "q05", "q95"))
    return {key: np.asarray(value, float) for key, value in entry["data"].items()}, Reference(tuple(stated), *columns)
