"""Means and standard deviations by importance weights, with errors and with what tells whether they have any."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc.functions.pareto import khat_threshold, pareto_khat

__all__ = ["EVEN", "Moments", "columns", "light_and_exact", "moments", "moments_of", "unpacked"]

EVEN = 10.0
"""Times the average: where no weight is larger, there is no tail whatever its shape."""
_MEAN_DIGITS, _SD_DIGITS = 1 / 30, 1 / 20
"""Standard errors that a mean and a standard deviation may have, in standard deviations: a third of what would show."""


class Moments(NamedTuple):
    """Of quantities under a posterior, each a PyTree like the quantities.

    Args:
      mean, sd: by smoothed importance weights.
      mean_error, sd_error: their standard errors.
      khat: of the weights times squared deviations, which a standard deviation needs.
      reliable: whether k-hat and the standard errors are small enough, and the fit not flagged for another reason.
    """

    mean: Any
    sd: Any
    mean_error: Any
    sd_error: Any
    khat: Any
    reliable: Any


def columns(leaves: list[Array]) -> Array:
    """Draws as rows, ``(S, p)``."""
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def unpacked(structure: Any, leaves: list[Array], row: Array) -> Any:
    """A row ``(p,)`` as a tree like one draw."""
    shapes = [leaf.shape[1:] for leaf in leaves]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return jax.tree.unflatten(structure, [p.reshape(s) for p, s in zip(jnp.split(row, ends[:-1]), shapes)])


def moments(draws: Array, log_weights: Array, khat: Array) -> Moments:
    """Of each column of ``(S, p)``, by normalised weights whose own k-hat that is; rows ``(p,)``."""
    weights = jnp.exp(log_weights)
    # A draw of weight 0 may be anything.
    draws = jnp.where((weights > 0)[:, None], draws, 0)

    def column(x: Array) -> tuple[Array, Array, Array, Array, Array]:
        mean = jnp.sum(weights * x)
        apart = x - mean
        variance = jnp.sum(weights * apart**2)
        mean_error = jnp.sqrt(jnp.sum((weights * apart) ** 2))
        squares_error = jnp.sqrt(jnp.sum((weights * (apart**2 - variance)) ** 2))
        sd = jnp.sqrt(variance)
        return mean, sd, mean_error, squares_error / (2 * sd), pareto_khat(log_weights, apart**2)

    rows = jax.lax.map(column, draws.T)
    told = Moments(*rows, reliable=None)
    light, exact = light_and_exact(told, khat, jnp.max(log_weights), draws.shape[0])
    return told._replace(reliable=light & exact)


def light_and_exact(told: Moments, khat: Array, largest: Array, num_samples: int) -> tuple[Array, Array]:
    """Whether tails are light enough for averages, and whether those are exact enough, for each quantity.

    Args:
      khat: of the weights. largest: the logarithm of the largest of them, normalised.
    """
    threshold = khat_threshold(num_samples)
    # k-hat tells the shape of what exceeds the tail's cut, also where that is next to nothing beside the cut itself.
    even = jnp.exp(largest) * num_samples <= EVEN
    exact = (told.mean_error <= _MEAN_DIGITS * told.sd) & (told.sd_error <= _SD_DIGITS * told.sd)
    return (even | (khat <= threshold)) & (told.khat <= threshold), exact


def moments_of(fun: Callable[[Any], Any], draws: Any, log_weights: Array, khat: Array, sound: Array) -> Moments:
    """Of what a function makes of each draw."""
    leaves, structure = jax.tree.flatten(jax.vmap(fun)(draws))
    leaves = [jnp.asarray(leaf, log_weights.dtype) for leaf in leaves]
    told = moments(columns(leaves), log_weights, khat)
    told = told._replace(reliable=told.reliable & sound)
    return Moments(*map(functools.partial(unpacked, structure, leaves), told))
