"""Vector fields ``field(t, y, args)``, each with what is known of its flow in closed form."""

import jax
import jax.numpy as jnp

__all__ = [
    "circular_orbit",
    "cubic_relaxation",
    "cubic_relaxation_solution",
    "cubic_spiral",
    "driven_growth",
    "driven_growth_solution",
    "kepler",
    "lotka_volterra",
    "lotka_volterra_invariant",
    "lotka_volterra_logarithmic",
    "van_der_pol",
]


def van_der_pol(t: jax.Array, y: jax.Array, mu: jax.Array) -> jax.Array:
    """Van der Pol's oscillator: ``y0' = y1``, ``y1' = mu (1 - y0^2) y1 - y0``; stiff where ``mu`` is large.

    Args:
      t: time; the field does not depend on it.
      y: shape ``(..., 2)``.
      mu: the damping.
    """
    position, velocity = y[..., 0], y[..., 1]
    return jnp.stack([velocity, mu * (1 - position**2) * velocity - position], axis=-1)


def lotka_volterra(t: jax.Array, y: jax.Array, rates: jax.Array) -> jax.Array:
    """Prey and predators: ``x' = x (a - b y)``, ``y' = y (-c + d x)``.

    Args:
      t: time; the field does not depend on it.
      y: shape ``(..., 2)``: prey, predators.
      rates: ``(a, b, c, d)``.
    """
    a, b, c, d = rates
    prey, predators = y[..., 0], y[..., 1]
    return jnp.stack([prey * (a - b * predators), predators * (d * prey - c)], axis=-1)


def lotka_volterra_logarithmic(t: jax.Array, u: jax.Array, rates: jax.Array) -> jax.Array:
    """``lotka_volterra`` for the logarithms of prey and predators: ``u0' = a - b exp(u1)``, ``u1' = -c + d exp(u0)``.

    Args:
      t: time; the field does not depend on it.
      u: shape ``(..., 2)``: logarithms of prey and predators.
      rates: ``(a, b, c, d)``.
    """
    a, b, c, d = rates
    return jnp.stack([a - b * jnp.exp(u[..., 1]), d * jnp.exp(u[..., 0]) - c], axis=-1)


def lotka_volterra_invariant(y: jax.Array, rates: jax.Array) -> jax.Array:
    """What every trajectory of ``lotka_volterra`` keeps: ``d x - c ln x + b y - a ln y``."""
    a, b, c, d = rates
    prey, predators = y[..., 0], y[..., 1]
    return d * prey - c * jnp.log(prey) + b * predators - a * jnp.log(predators)


def cubic_spiral(t: jax.Array, y: jax.Array, matrix: jax.Array) -> jax.Array:
    """``y' = A y^3``, entry by entry; for ``A = (-k, w; -w, -k)`` a spiral with ``sum y^4`` decreasing.

    Along it ``d/dt sum_i y_i^4 = -4 k sum_i y_i^6``, the turning part cancelling.

    Args:
      t: time; the field does not depend on it.
      y: shape ``(..., 2)``.
      matrix: ``A``, shape ``(2, 2)``.
    """
    return y**3 @ matrix.T


def cubic_relaxation(t: jax.Array, y: jax.Array, parameters: jax.Array) -> jax.Array:
    """``y' = -rate (d + d^3)`` with ``d = y - target``: forwards all states meet, backwards they escape in finite time.

    Args:
      t: time; the field does not depend on it.
      y: any shape.
      parameters: ``(rate, target)``.
    """
    rate, target = parameters
    distance = y - target
    return -rate * (distance + distance**3)


def cubic_relaxation_solution(t: jax.typing.ArrayLike, start: jax.typing.ArrayLike, parameters: jax.Array) -> jax.Array:
    """The solution of ``cubic_relaxation``: ``d = exp(-rate t) d0 / sqrt(1 + d0^2 (1 - exp(-2 rate t)))``.

    NaN at times before the start from which the state would have escaped.
    """
    rate, target = parameters
    distance = start - target
    return target + jnp.exp(-rate * t) * distance / jnp.sqrt(1 - distance**2 * jnp.expm1(-2 * rate * t))


def driven_growth(t: jax.typing.ArrayLike, y: jax.Array, args: object = None) -> jax.Array:
    """``y' = y cos t``: linear, and different at every time.

    Args:
      t: time.
      y: any shape.
      args: unused.
    """
    return y * jnp.cos(t)


def driven_growth_solution(t: jax.typing.ArrayLike, start: jax.typing.ArrayLike) -> jax.Array:
    """The solution of ``driven_growth`` from the time 0: ``y = y0 exp(sin t)``."""
    return jnp.exp(jnp.sin(t)) * start


def kepler(t: jax.typing.ArrayLike, y: jax.Array, args: object = None) -> jax.Array:
    """A body about a fixed one: positions ``q' = p``, ``p' = -q / |q|^3``.

    Args:
      t: time; the field does not depend on it.
      y: shape ``(..., 4)``: two of position, two of velocity.
      args: unused.
    """
    position, velocity = y[..., :2], y[..., 2:]
    pull = -position / jnp.sum(position**2, axis=-1, keepdims=True) ** 1.5
    return jnp.concatenate([velocity, pull], axis=-1)


def circular_orbit(t: jax.typing.ArrayLike) -> jax.Array:
    """The solution of ``kepler`` from ``(1, 0, 0, 1)``: ``(cos t, sin t, -sin t, cos t)``."""
    return jnp.stack([jnp.cos(t), jnp.sin(t), -jnp.sin(t), jnp.cos(t)], axis=-1)
