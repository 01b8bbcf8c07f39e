"""Densities in the plane that are known in closed form and hard to learn, each with a sampler."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jaxcalc import checks

__all__ = ["PLANAR_DENSITIES", "PlanarDensity", "banana", "gaussian_ring", "moons", "pinwheel", "planar_density"]

_LOG_TWO_PI = math.log(2 * math.pi)


class PlanarDensity(NamedTuple):
    """A probability density in the plane.

    Args:
      log_density: ``(..., 2) -> (...)``, normalised.
      sample: ``(key, num_samples) -> (num_samples, 2)``, independent.
      entropy: ``-E[log p]`` in nats; None where it is not closed.
    """

    log_density: Callable[[jax.Array], jax.Array]
    sample: Callable[[jax.Array, int], jax.Array]
    entropy: float | None


def _normal(x: jax.Array, mean: jax.typing.ArrayLike, std: jax.typing.ArrayLike) -> jax.Array:
    """The logarithm of the normal density."""
    return -0.5 * ((x - mean) / std) ** 2 - jnp.log(std) - 0.5 * _LOG_TWO_PI


def _rotated(x: jax.Array, angle: jax.Array) -> jax.Array:
    """Points turned about the origin, each by its own angle."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]], axis=-1)


def _angles(num: int) -> jax.Array:
    """Directions equally spaced over the circle."""
    return 2 * math.pi * jnp.arange(num) / num


def gaussian_ring(num: int = 8, *, radius: float = 2.0, std: float = 0.3) -> PlanarDensity:
    """Equal normal distributions, their centres equally spaced on a circle: ``p(x) = (1/num) sum_k N(x; c_k, std^2)``.

    Args:
      num: how many.
      radius: of the circle.
      std: standard deviation of each in either direction.
    """
    checks.integer("gaussian_ring", "num", num)
    checks.number("gaussian_ring", "std", std, above=0, finite=True)

    def centres():
        angles = _angles(num)
        return radius * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)

    def log_density(x):
        return logsumexp(_normal(x[..., None, :], centres(), std).sum(-1), axis=-1) - math.log(num)

    def sample(key, num_samples):
        which, noise = jax.random.split(key)
        index = jax.random.randint(which, (num_samples,), 0, num)
        return centres()[index] + std * jax.random.normal(noise, (num_samples, 2), float)

    return PlanarDensity(log_density, sample, None)


def banana(*, bend: float = 0.5, widths: tuple[float, float] = (1.5, 0.4)) -> PlanarDensity:
    """A normal distribution bent along a parabola: ``x0 ~ N(0, w0^2)``, ``x1 | x0 ~ N(bend (x0^2 - w0^2), w1^2)``.

    The shear keeps areas, so that the entropy is that of the two factors.

    Args:
      bend: of the parabola.
      widths: ``(w0, w1)``.
    """
    checks.number("banana", "widths", jnp.asarray(widths), above=0, finite=True)
    first, second = widths
    middle = lambda along: bend * (along**2 - first**2)

    def log_density(x):
        along, across = x[..., 0], x[..., 1]
        return _normal(along, 0.0, first) + _normal(across, middle(along), second)

    def sample(key, num_samples):
        along, across = jnp.asarray(widths)[:, None] * jax.random.normal(key, (2, num_samples), float)
        return jnp.stack([along, middle(along) + across], axis=-1)

    return PlanarDensity(log_density, sample, 1 + _LOG_TWO_PI + math.log(first * second))


def pinwheel(
    num: int = 5, *, radius: float = 1.8, widths: tuple[float, float] = (0.45, 0.15), twist: float = 1.0
) -> PlanarDensity:
    """Normal distributions drawn out along spokes, then turned by ``twist sqrt(1 + |x|^2)`` about the origin.

    The turn keeps areas, so that ``p(x)`` is the spokes' density at the point turned back.

    Args:
      num: spokes.
      radius: of the circle on which they are centred.
      widths: standard deviations along a spoke and across it.
      twist: radians over distance, far from the origin.
    """
    checks.integer("pinwheel", "num", num)
    checks.number("pinwheel", "widths", jnp.asarray(widths), above=0, finite=True)
    turn = lambda x, sign: _rotated(x, sign * twist * jnp.sqrt(1 + jnp.sum(x**2, axis=-1)))

    def log_density(x):
        spokes = _rotated(turn(x, -1)[..., None, :], -_angles(num))
        along, across = spokes[..., 0], spokes[..., 1]
        return logsumexp(_normal(along, radius, widths[0]) + _normal(across, 0.0, widths[1]), axis=-1) - math.log(num)

    def sample(key, num_samples):
        which, noise = jax.random.split(key)
        spoke = jax.random.normal(noise, (num_samples, 2), float) * jnp.asarray(widths)
        angle = _angles(num)[jax.random.randint(which, (num_samples,), 0, num)]
        return turn(_rotated(spoke.at[:, 0].add(radius), angle), 1)

    return PlanarDensity(log_density, sample, None)


def moons(*, radius: float = 2.0, spread: float = 0.1, opening: float = 0.7) -> PlanarDensity:
    """Two crescents that reach into each other, point reflections of one another.

    About its centre a crescent has, in polar coordinates, ``log r ~ N(log radius, spread^2)`` and a normal angle
    that is wrapped about the circle: ``p = N(log r) WN(angle) / r^2``.

    Args:
      radius: of a crescent.
      spread: standard deviation of the logarithm of its radius.
      opening: standard deviation of its angle, in radians; at most 1.
    """
    checks.number("moons", "radius", radius, above=0, finite=True)
    checks.number("moons", "spread", spread, above=0, finite=True)
    # Up to 1 two further turns about the circle are less than rounding.
    checks.number("moons", "opening", opening, above=0, most=1)
    centre = lambda: radius * jnp.array([-0.5, -0.25])
    tiny = 1e-30  # distance below which a density that vanishes there is not told from 0

    def crescent(x):
        at = x - centre()
        log_r = jnp.log(jnp.maximum(jnp.hypot(at[..., 0], at[..., 1]), tiny))
        off = jnp.arctan2(-at[..., 0], at[..., 1])  # the angle from the upward axis
        turns = off[..., None] + 2 * math.pi * jnp.arange(-1, 2)
        return _normal(log_r, math.log(radius), spread) - 2 * log_r + logsumexp(_normal(turns, 0.0, opening), axis=-1)

    def log_density(x):
        return jnp.logaddexp(crescent(x), crescent(-x)) - math.log(2)

    def sample(key, num_samples):
        side, noise = jax.random.split(key)
        log_r, off = jax.random.normal(noise, (2, num_samples), float)
        r, angle = radius * jnp.exp(spread * log_r), opening * off
        upper = centre() + r[:, None] * jnp.stack([-jnp.sin(angle), jnp.cos(angle)], axis=-1)
        return upper * jax.random.rademacher(side, (num_samples, 1), upper.dtype)

    return PlanarDensity(log_density, sample, None)


PLANAR_DENSITIES: dict[str, Callable[..., PlanarDensity]] = {
    "banana": banana,
    "moons": moons,
    "pinwheel": pinwheel,
    "ring": gaussian_ring,
}


def planar_density(name: str) -> PlanarDensity:
    """The density of that name with its defaults, or an error that names them all."""
    checks.one_of("planar_density", "name", name, tuple(PLANAR_DENSITIES))
    return PLANAR_DENSITIES[name]()
