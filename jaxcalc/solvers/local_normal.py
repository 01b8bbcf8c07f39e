"""A first normal approximation of a density: the best one on the way to its mode."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxcalc.engines import finite_differences
from jaxcalc.solvers.control import while_loop
from jaxcalc.solvers.guides import LocalNormal
from jaxcalc.solvers.minimize import is_twice_differentiable
from jaxcalc.transforms.hessian import hessian

__all__ = ["DENSE", "Candidate", "best_on_the_way"]

DENSE = 200
"""Up to this many variables the whole Hessian is taken."""
_MAX_STEPS = 100
_NEAR = 1e-6
"""A Newton step that promises fewer nats leads nowhere new."""
_FLOOR = 1e-12
"""Curvatures below this share of the largest, scaled variable by variable, are rounding."""
_HALVINGS = 40
"""A step halved so often is below rounding."""
_ARMIJO = 1e-4
_NOISE = 1e-9
"""Of a gradient by an adaptive solve, where another step is accepted."""


class Candidate(NamedTuple):
    """A normal approximation and its evidence lower bound, in nats."""

    near: LocalNormal
    elbo: Array


class _Way(NamedTuple):
    """Where the way to the mode has led: the point, its log density and gradient, and the best so far."""

    x: Array
    value: Array
    gradient: Array
    best: Candidate
    steps: Array
    arrived: Array


def best_on_the_way(log_density: Callable[[Array], Array], start: Array, noise: Array) -> Candidate:
    """Of the normal distributions that the curvature makes of each step towards the mode, the one of largest bound.

    Steps are Newton's, with curvatures of the wrong sign turned, halved until the density rises. A mode need not exist,
    or may be far from where the mass is (a funnel's neck): the bound decides, not the density.

    Args:
      log_density: ``(d,) -> scalar``.
      start: (d,).
      noise: (n, d), standard normal, which the bounds are estimated by.

    Returns:
      A ``Candidate``, whose bound is -inf where there is none.

    Source: Zhang, Carpenter, Gelman and Vehtari, "Pathfinder: parallel quasi-Newton variational inference", JMLR 23,
      2022, with the Hessian in place of its inverse's estimate.
    """
    rising = jax.value_and_grad(log_density)
    curvature = _curvature(log_density, start)
    # Bounds of a float32 density are no better than its rounding.
    near_enough = max(_NEAR, 1e3 * float(jnp.finfo(start.dtype).eps))

    def body(way: _Way) -> _Way:
        near = _curvature_normal(way.x, curvature(way.x))
        bound = jnp.mean(jax.vmap(lambda z: log_density(near.moved(z)))(noise)) + near.log_volume()
        bound = jnp.where(jnp.isfinite(bound), bound, -jnp.inf)
        better = lambda new, old: jnp.where(bound > way.best.elbo, new, old)
        best = jax.tree.map(better, Candidate(near, bound), way.best)
        whitened = near.factor.T @ way.gradient
        step, slope = near.factor @ whitened, jnp.sum(whitened**2)

        def refused(state: tuple[Array, Array, Array]) -> Array:
            length, value, _ = state
            enough = value >= way.value + _ARMIJO * length * slope
            return ~enough & (length > 0.5**_HALVINGS)

        def halved(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            length = 0.5 * state[0]
            return length, *rising(way.x + length * step)

        # Twice the full step comes first, so that one evaluation of the density stands in the program, not two.
        begun = (jnp.asarray(2.0, start.dtype), jnp.asarray(-jnp.inf, start.dtype), way.gradient)
        length, value, gradient = while_loop(refused, halved, begun)
        moved = value > way.value
        arrived = (0.5 * slope <= near_enough) | ~moved | ~jnp.isfinite(slope)
        x = jnp.where(moved, way.x + length * step, way.x)
        return _Way(x, jnp.where(moved, value, way.value), gradient, best, way.steps + 1, arrived)

    d = start.size
    unit = LocalNormal(start, jnp.eye(d, dtype=start.dtype), jnp.ones(d, start.dtype))
    none = Candidate(unit, jnp.asarray(-jnp.inf, start.dtype))
    value, gradient = rising(start)
    begun = _Way(start, value, gradient, none, jnp.zeros((), jnp.int32), ~jnp.isfinite(value))
    return while_loop(lambda way: ~way.arrived & (way.steps < _MAX_STEPS), body, begun).best


def _curvature(log_density: Callable[[Array], Array], start: Array) -> Callable[[Array], Array]:
    """The Hessian; where there is a gradient alone, an adjoint's say, its differences, which do for coordinates."""
    if is_twice_differentiable(log_density, start, ()):
        return hessian(log_density)
    return finite_differences.jacobian(jax.grad(log_density), noise=_NOISE)


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
