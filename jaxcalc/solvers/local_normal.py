"""A first normal approximation of a density: the best one on the way to its mode."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxcalc.solvers.control import while_loop
from jaxcalc.solvers.guides import LocalNormal
from jaxcalc.solvers.protocol import Iterate, Objective, strong
from jaxcalc.solvers.trust_region import ball_step, start_ball

__all__ = ["DENSE", "Candidate", "best_on_the_way"]

DENSE = 200
"""Up to this many variables the whole Hessian is taken."""
_MAX_STEPS = 100
_NEAR = 1e-6
"""A Newton step that promises fewer nats leads nowhere new."""
_FLOOR = 1e-12
"""Curvatures below this share of the largest, scaled variable by variable, are rounding."""


class Candidate(NamedTuple):
    """A normal approximation and its evidence lower bound, in nats."""

    near: LocalNormal
    elbo: Array


class _Way(NamedTuple):
    at: Iterate
    best: Candidate
    steps: Array
    arrived: Array


def best_on_the_way(log_density: Callable[[Array], Array], start: Array, noise: Array) -> Candidate:
    """Of the normal distributions that the curvature makes of each step towards the mode, the one of largest bound.

    A mode need not exist, or may be far from where the mass is (a funnel's neck): the bound decides, not the density.

    Args:
      log_density: ``(d,) -> scalar``.
      start: (d,).
      noise: (n, d), standard normal, which the bounds are estimated by.

    Returns:
      A ``Candidate``, whose bound is -inf where there is none.

    Source: Zhang, Carpenter, Gelman and Vehtari, "Pathfinder: parallel quasi-Newton variational inference", JMLR 23,
      2022, with the Hessian in place of its inverse's estimate.
    """
    negative = lambda x: -log_density(x)
    objective = Objective(negative)
    # Bounds of a float32 density are no better than its rounding.
    near_enough = max(_NEAR, 1e3 * float(jnp.finfo(start.dtype).eps))

    def body(way: _Way) -> _Way:
        at = way.at
        hessian = objective.hessian(at.x)
        near = _curvature_normal(at.x, hessian)
        bound = jnp.mean(jax.vmap(lambda z: log_density(near.moved(z)))(noise)) + near.log_volume()
        bound = jnp.where(jnp.isfinite(bound), bound, -jnp.inf)
        best = jax.tree.map(lambda new, old: jnp.where(bound > way.best.elbo, new, old), Candidate(near, bound), way.best)
        promised = 0.5 * jnp.sum((near.factor.T @ at.gradient) ** 2)
        following = strong(ball_step(objective, at, hessian))
        arrived = (promised <= near_enough) | following.stuck | ~jnp.isfinite(at.value) | ~jnp.isfinite(promised)
        return _Way(following, best, way.steps + 1, arrived)

    d = start.size
    unit = LocalNormal(start, jnp.eye(d, dtype=start.dtype), jnp.ones(d, start.dtype))
    first = strong(start_ball(objective, start))
    none = Candidate(unit, jnp.asarray(-jnp.inf, start.dtype))
    begun = _Way(first, none, jnp.zeros((), jnp.int32), ~jnp.isfinite(first.value))
    end = while_loop(lambda way: ~way.arrived & (way.steps < _MAX_STEPS), body, begun)
    return end.best


def _curvature_normal(x: Array, hessian: Array) -> LocalNormal:
    """The normal distribution of that curvature, whose sign is dropped."""
    hessian = 0.5 * (hessian + hessian.T)
    diagonal = jnp.abs(jnp.diagonal(hessian))
    # Variables in units as far apart as metres and microns cost digits unless each is scaled by its own curvature.
    scale = 1 / jnp.sqrt(jnp.maximum(diagonal, jnp.finfo(x.dtype).eps))
    values, vectors = jnp.linalg.eigh(hessian * scale * scale[:, None])
    size = jnp.abs(values)
    floor = max(_FLOOR, float(jnp.finfo(x.dtype).eps)) * jnp.max(size)
    return LocalNormal(x, scale[:, None] * vectors / jnp.sqrt(jnp.maximum(size, floor)), scale)
