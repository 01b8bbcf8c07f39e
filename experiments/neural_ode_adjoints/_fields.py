"""Fields on which adjoints are compared: linear and not, conservative, chaotic, stiff, learned, large."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

from jaxcalc.lab import jax, jnp

__all__ = ["NAMES", "Case", "FieldName", "build"]

FieldName = Literal[
    "linear",
    "Lotka-Volterra",
    "Lorenz",
    "pendulum",
    "van der Pol",
    "stiff relaxation",
    "perceptron",
    "heat, 32 points",
    "heat, 256 points",
    "waves, 500 points",
    "Brusselator",
    "driven oscillator",
    "Kepler",
]
NAMES = get_args(FieldName)


class Case(NamedTuple):
    """A field ``field(t, y, args)`` with a start, arguments, the end of its time and a solver that suits it."""

    field: Callable[..., Any]
    start: Any
    args: Any
    end: float
    solver: str = "tsit5"


def _lorenz(t, y, args):
    a, b, c = args
    return jnp.stack([a * (y[1] - y[0]), y[0] * (b - y[2]) - y[1], y[0] * y[1] - c * y[2]])


def _heat(t, y, args):
    """``u' = D u''`` on the unit interval, zero at its ends, and a reaction ``r u (1 - u)``."""
    diffusion, reaction = args
    wide = jnp.pad(y, 1)
    bend = (wide[2:] - 2 * y + wide[:-2]) * (y.size + 1) ** 2
    return diffusion * bend + reaction * y * (1 - y)


def _waves(t, y, args):
    """``u'' = c^2 u_xx - d u'`` on the unit interval, zero at its ends, as a system of place and speed."""
    place, speed = y
    wide = jnp.pad(place, 1)
    return jnp.stack([speed, args[0] * (wide[2:] - 2 * place + wide[:-2]) * (place.size + 1) ** 2 - args[1] * speed])


def _perceptron(t, y, args):
    for w, b in args[:-1]:
        y = jnp.tanh(y @ w + b)
    w, b = args[-1]
    return y @ w + b


def _weights(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    normal = lambda key, m, n: jax.random.normal(key, (m, n), float) / m**0.5
    return [(normal(k, m, n), jnp.zeros(n)) for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)]


def _heated(points, diffusion):
    at = jnp.arange(1, points + 1) / (points + 1)
    return Case(_heat, jnp.sin(jnp.pi * at), jnp.array([diffusion, 1.0]), 1.0)


def build(name: str, key: Any) -> Case:
    """The case of that name, what is random in it drawn from a key."""
    from jaxcalc.functions import fields

    match name:
        case "linear":
            turn = jax.random.normal(key, (8, 8), float) / 8**0.5
            return Case(lambda t, y, a: a @ y, jnp.ones(8), turn - turn.T - 0.1 * jnp.eye(8), 5.0)
        case "Lotka-Volterra":
            return Case(fields.lotka_volterra, jnp.ones(2), jnp.array([1.5, 1.0, 3.0, 1.0]), 10.0)
        case "Lorenz":
            return Case(_lorenz, jnp.ones(3), jnp.array([10.0, 28.0, 8 / 3]), 2.0)
        case "pendulum":
            swing = lambda t, y, a: jnp.stack([y[1], -a[0] * jnp.sin(y[0]) - a[1] * y[1]])
            return Case(swing, jnp.array([1.0, 0.0]), jnp.array([9.81, 0.1]), 5.0)
        case "van der Pol":
            return Case(fields.van_der_pol, jnp.array([2.0, 0.0]), jnp.asarray(1.0), 5.0)
        case "stiff relaxation":
            follow = lambda t, y, a: -a[0] * (y - a[1] * jnp.cos(t))
            return Case(follow, jnp.array([2.0]), jnp.array([1e4, 1.0]), 2.0, "kvaerno5")
        case "perceptron":
            return Case(_perceptron, jnp.linspace(-1.0, 1.0, 4), _weights(key, (4, 32, 32, 4)), 1.0)
        case "heat, 32 points":
            return _heated(32, 0.05)
        case "heat, 256 points":
            return _heated(256, 1e-3)
        case "waves, 500 points":
            at = jnp.arange(1, 501) / 501
            return Case(
                _waves, jnp.stack([jnp.exp(-200 * (at - 0.4) ** 2), jnp.zeros(500)]), jnp.array([0.01, 0.1]), 4.0
            )
        case "Brusselator":
            react = lambda t, y, a: jnp.stack(
                [a[0] + y[0] ** 2 * y[1] - (a[1] + 1) * y[0], a[1] * y[0] - y[0] ** 2 * y[1]]
            )
            return Case(react, jnp.array([1.0, 1.0]), jnp.array([1.0, 3.0]), 10.0)
        case "driven oscillator":
            drive = lambda t, y, a: jnp.stack([y[1], a[0] * jnp.cos(a[1] * t) - y[0] - 0.2 * y[1] - y[0] ** 3])
            return Case(drive, jnp.array([1.0, 0.0]), jnp.array([0.5, 1.2]), 10.0)
        case "Kepler":
            pull = lambda t, y, a: fields.kepler(t, y) * jnp.array([1.0, 1.0, a, a])
            return Case(lambda t, y, a: pull(t, y, a[0]), jnp.array([1.0, 0.0, 0.0, 0.8]), jnp.ones(1), 6.0)
    raise ValueError(f"unknown field {name!r}; it is one of {', '.join(NAMES)}")
