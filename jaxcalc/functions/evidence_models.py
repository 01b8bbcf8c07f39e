"""Bayesian models whose evidence is known: the log joint density of parameters and data, and its integral."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc import checks
from jaxcalc.functions.distributions import Distribution, multivariate_normal, normal

__all__ = ["EvidenceModel", "beta_binomial", "exponential_decay", "linear_regression"]


class EvidenceModel(NamedTuple):
    """A model and its evidence, ``INT p(data | t) p(t) dt``.

    Args:
      log_joint: from parameters, shape ``(d,)`` on the whole of R^d, to ``log p(data | t) p(t)``.
      log_evidence: in closed form, nats.
      mode: of the joint density, shape ``(d,)``.
      prior_sample: ``key -> t``. prior_log_density: of it.
      box: ``(low, high)``, shapes ``(d,)``, beyond which nothing is left but rounding.
    """

    log_joint: Callable[[Array], Array]
    log_evidence: float
    mode: np.ndarray
    prior_sample: Callable[[Array], Array]
    prior_log_density: Callable[[Array], Array]
    box: tuple[np.ndarray, np.ndarray]


def beta_binomial(trials: int = 20, successes: int = 7) -> EvidenceModel:
    """A coin of unknown bias, uniform beforehand; its parameter is the logit, so that it lives on the line.

        p(data) = binom(n, k) B(k + 1, n - k + 1) = 1 / (n + 1)

    Args:
      trials: n. successes: k, from 1 to n - 1, so that there is a mode on the line.

    Raises:
      ValueError: for counts out of range.
    """
    trials = checks.integer("beta_binomial", "trials", trials, least=2)
    successes = checks.integer("beta_binomial", "successes", successes, most=trials - 1)
    prior = lambda t: jnp.sum(jax.nn.log_sigmoid(t) + jax.nn.log_sigmoid(-t))  # the uniform density, by the logit

    def log_joint(t):
        heads, tails = jax.nn.log_sigmoid(t).sum(), jax.nn.log_sigmoid(-t).sum()
        return math.log(math.comb(trials, successes)) + successes * heads + (trials - successes) * tails + prior(t)

    mode = np.array([math.log((successes + 1) / (trials - successes + 1))])
    return EvidenceModel(
        log_joint,
        -math.log(trials + 1),
        mode,
        lambda key: jax.random.logistic(key, (1,)),
        prior,
        # The density falls like exp((k + 1) t) on the left, and like exp(-(n - k + 1) t) on the right.
        (mode - 2.0 - 40.0 / (successes + 1), mode + 2.0 + 40.0 / (trials - successes + 1)),
    )


def exponential_decay(times: tuple[float, ...] = (0.2, 0.5, 0.9, 1.6, 3.1)) -> EvidenceModel:
    """Waiting times of an unknown rate, exponential beforehand; its parameter is the rate's logarithm.

        p(data) = INT r^n exp(-r S) exp(-r) dr = n! / (1 + S)^(n + 1)

    Args:
      times: n waiting times above 0, of sum S.

    Raises:
      ValueError: for a time that is not above 0.
    """
    data = checks.number("exponential_decay", "times", np.asarray(times, float), above=0, finite=True)
    n, total = data.size, float(data.sum())
    prior = lambda t: jnp.sum(t - jnp.exp(t))
    log_joint = lambda t: jnp.sum(n * t - total * jnp.exp(t)) + prior(t)
    mode = np.array([math.log((n + 1) / (1 + total))])
    return EvidenceModel(
        log_joint,
        math.lgamma(n + 1) - (n + 1) * math.log1p(total),
        mode,
        lambda key: jnp.log(jax.random.exponential(key, (1,))),
        prior,
        (mode - 12.0, mode + 5.0),
    )


def linear_regression(count: int = 12, noise: float = 0.5) -> EvidenceModel:
    """A line through noisy points, intercept and slope standard normal beforehand.

        p(data) = N(y; 0, X X' + noise^2 I)

    Args:
      count: points, at least 2. noise: standard deviation of what is measured, above 0.

    Raises:
      ValueError: for arguments out of range.
    """
    count = checks.integer("linear_regression", "count", count, least=2)
    checks.number("linear_regression", "noise", noise, above=0, finite=True)
    across = np.linspace(-1.0, 1.0, count)
    design = np.stack([np.ones(count), across], axis=1)
    y = 0.4 - 0.8 * across + noise * np.sin(7 * np.arange(count))  # fixed, and as rough as the noise
    precision = design.T @ design / noise**2 + np.eye(2)
    mode = np.linalg.solve(precision, design.T @ y / noise**2)
    width = np.sqrt(np.diag(np.linalg.inv(precision)))
    marginal: Distribution = multivariate_normal(np.zeros(count), design @ design.T + noise**2 * np.eye(count))
    prior = lambda t: normal(0.0, 1.0).log_density(t).sum()
    log_joint = lambda t: normal(jnp.asarray(design) @ t, noise).log_density(y).sum() + prior(t)
    return EvidenceModel(
        log_joint,
        float(marginal.log_density(y)),
        mode,
        lambda key: jax.random.normal(key, (2,)),
        prior,
        (mode - 10 * width, mode + 10 * width),
    )
