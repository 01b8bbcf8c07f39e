"""Motion: integrators, trajectories, many bodies."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES", "runge_kutta"]


def runge_kutta(rate: Callable[[Any], Any], y: Any, step: float) -> Any:
    """One step of the classical Runge-Kutta method for an array y."""
    a = rate(y)
    b = rate(y + step / 2 * a)
    c = rate(y + step / 2 * b)
    d = rate(y + step * c)
    return y + step / 6 * (a + 2 * b + 2 * c + d)


def _lorenz96(rng: np.random.Generator, *, size: int, steps: int) -> Scenario:
    """Lorenz-96 on a ring, x_i' = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + 8, by Runge-Kutta steps of 0.01.

    Source: Lorenz (1996), Predictability: a problem partly solved.
    """
    import jax.numpy as jnp
    from jax import lax

    def rate(x):
        return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8.0

    def integrate(x):
        if steps == 1:
            return runge_kutta(rate, x, 0.01)
        return lax.scan(lambda y, _: (runge_kutta(rate, y, 0.01), None), x, None, length=steps)[0]

    # A stage looks 2 back and 1 ahead, four stages 8 back and 4 ahead.
    return Scenario(integrate, 8.0 + rng.standard_normal(size), num_nonzeros=13 * size if steps == 1 else None)


def _lotka_volterra(rng: np.random.Generator, *, species: int, steps: int) -> Scenario:
    """A food web, x_i' = x_i (r_i + sum_j A_ij x_j), by a ``fori_loop`` of Runge-Kutta steps of 0.02.

    Source: Lotka (1925), Volterra (1926).
    """
    from jax import lax

    def integrate(x, growth, web):
        step = lambda _, y: runge_kutta(lambda y: y * (growth + web @ y), y, 0.02)
        return lax.fori_loop(0, steps, step, x)

    coupling = rng.standard_normal((species, species)) / species
    web = coupling - coupling.T - 0.2 * np.eye(species)
    return Scenario(integrate, rng.uniform(0.5, 1.5, species), (rng.uniform(0.0, 0.3, species), web))


def _pendulums(rng: np.random.Generator, *, links: int, steps: int) -> Scenario:
    """A chain of pendulums with springs between, t_i'' = -sin t_i + k (t_- - 2 t + t_+), a scan of symplectic steps."""
    import jax.numpy as jnp
    from jax import lax

    def integrate(state):
        def step(state, _):
            angle, speed = state
            bend = jnp.diff(jnp.pad(angle, 1, mode="edge"), 2)
            speed = speed + 0.02 * (2.0 * bend - jnp.sin(angle))
            return (angle + 0.02 * speed, speed), None

        return lax.scan(step, state, None, length=steps)[0]

    return Scenario(integrate, (rng.standard_normal(links), 0.1 * rng.standard_normal(links)))


def _epidemic(rng: np.random.Generator, *, days: int) -> Scenario:
    """The course of an epidemic in its rates and seed, S' = -b S I, I' = b S I - g I, R' = g I: tall.

    Source: Kermack and McKendrick (1927).
    """
    import jax.numpy as jnp
    from jax import lax

    def course(x):
        infect, recover, seed = x

        def rate(y):
            new, healed = infect * y[0] * y[1], recover * y[1]
            return jnp.stack([-new, new - healed, healed])

        def day(y, _):
            y = runge_kutta(rate, y, 0.5)
            return y, y

        return lax.scan(day, jnp.stack([1.0 - seed, seed, jnp.zeros_like(seed)]), None, length=days)[1]

    return Scenario(course, np.array([0.5, 0.1, 0.01]) * rng.uniform(0.9, 1.1, 3))


def _projectile(rng: np.random.Generator, *, samples: int) -> Scenario:
    """The flight of a ball in its launch and its drag, v' = -g - k |v| v, sampled all along: 7 inputs, tall.

    Source: quadratic drag, as in any text on ballistics.
    """
    import jax.numpy as jnp
    from jax import lax

    def flight(x, gravity):
        def rate(state):
            velocity = state[3:]
            speed = jnp.sqrt(velocity @ velocity + 1e-6)
            return jnp.concatenate([velocity, gravity - x[6] * speed * velocity])

        def step(state, _):
            state = runge_kutta(rate, state, 0.01)
            return state, state[:3]

        return lax.scan(step, x[:6], None, length=samples)[1].ravel()

    launch = np.concatenate([rng.standard_normal(3), [20.0, 5.0, 15.0], [0.01]])
    return Scenario(flight, launch, (np.array([0.0, 0.0, -9.81]),))


def _orbit(rng: np.random.Generator, *, times: int) -> Scenario:
    """Places on a Kepler orbit in its elements (a, e, w, M0), Kepler's equation E - e sin E = M by 8 Newton steps.

    Source: Kepler (1609); e.g. Vallado, Fundamentals of Astrodynamics.
    """
    import jax.numpy as jnp
    from jax import lax

    def places(elements, time):
        a, e, turn, start = elements
        mean = start + time / a**1.5
        newton = lambda _, E: E - (E - e * jnp.sin(E) - mean) / (1.0 - e * jnp.cos(E))
        E = lax.fori_loop(0, 8, newton, mean)
        x, y = a * (jnp.cos(E) - e), a * jnp.sqrt(1.0 - e**2) * jnp.sin(E)
        return jnp.stack([x * jnp.cos(turn) - y * jnp.sin(turn), x * jnp.sin(turn) + y * jnp.cos(turn)])

    return Scenario(places, np.array([1.2, 0.3, 0.5, 0.1]), (np.sort(rng.uniform(0, 20, times)),))


def _asteroids(rng: np.random.Generator, *, bodies: int) -> Scenario:
    """Places of many bodies in their own orbits' (a, e, M), Kepler's equation by a ``while_loop`` of 10 Newton steps.

    A body's place depends on its own elements: 2 by 3 blocks, diagonals in memory.

    Source: Kepler (1609).
    """
    import jax.numpy as jnp
    from jax import lax

    def places(elements):
        a, e, mean = elements["axis"], elements["eccentricity"], elements["anomaly"]

        def newton(state):
            count, E = state
            return count + 1, E - (E - e * jnp.sin(E) - mean) / (1.0 - e * jnp.cos(E))

        E = lax.while_loop(lambda state: state[0] < 10, newton, (0, mean + e * jnp.sin(mean)))[1]
        return a * (jnp.cos(E) - e), a * jnp.sqrt(1.0 - e**2) * jnp.sin(E)

    point = {
        "axis": rng.uniform(1.0, 3.0, bodies),
        "eccentricity": rng.uniform(0.05, 0.5, bodies),
        "anomaly": rng.uniform(0.1, 6.0, bodies),
    }
    return Scenario(places, point, num_nonzeros=6 * bodies)


def _gravity(rng: np.random.Generator, *, bodies: int) -> Scenario:
    """Softened gravity on every body, a_i = sum_j m_j (x_j - x_i) / (|x_j - x_i|^2 + s^2)^(3/2).

    Source: Newton (1687), softened as by Plummer (1911).
    """
    import jax.numpy as jnp

    def pull(x, mass):
        apart = x[None] - x[:, None]
        cube = (jnp.sum(apart**2, axis=-1) + 0.01) ** -1.5
        return jnp.einsum("ijk,ij,j->ik", apart, cube, mass)

    return Scenario(pull, rng.standard_normal((bodies, 3)), (rng.uniform(0.5, 1.5, bodies),))


def _leapfrog(rng: np.random.Generator, *, bodies: int, steps: int) -> Scenario:
    """Where bodies under softened gravity are after leapfrog steps, in where they were and how they moved.

    Source: Verlet (1967).
    """
    import jax.numpy as jnp
    from jax import lax

    def pull(x, mass):
        apart = x[None] - x[:, None]
        return jnp.einsum("ijk,ij,j->ik", apart, (jnp.sum(apart**2, axis=-1) + 0.05) ** -1.5, mass)

    def move(state, mass):
        def step(_, state):
            x, v = state["x"], state["v"] + 0.01 * pull(state["x"], mass)
            return {"x": x + 0.01 * v, "v": v}

        return lax.fori_loop(0, steps, step, state)

    point = {"x": rng.standard_normal((bodies, 3)), "v": 0.3 * rng.standard_normal((bodies, 3))}
    return Scenario(move, point, (rng.uniform(0.5, 1.5, bodies),))


JACOBIANS = {
    "integrator": [
        tuned("Lorenz-96 step", _lorenz96, size=240, steps=1, dtype="float64", tags=["banded", "periodic"]),
        tuned("food web", _lotka_volterra, species=10, steps=60, tags=["scan", "dense"]),
        held_out("Lorenz-96 orbit", _lorenz96, size=40, steps=100, dtype="float64", tags=["scan", "dense"]),
        held_out("pendulums", _pendulums, links=12, steps=80, dtype="float64", tags=["scan", "dense", "pytree"]),
        held_out("short pendulums", _pendulums, links=150, steps=6, tags=["scan", "banded", "pytree"]),
    ],
    "trajectory": [
        tuned("projectile", _projectile, samples=200, dtype="float64", tags=["scan", "tall"]),
        held_out("epidemic", _epidemic, days=160, tags=["scan", "tall"]),
    ],
    "orbit": [
        tuned("Kepler orbit", _orbit, times=300, dtype="float64", tags=["scan", "tall"]),
        held_out("asteroids", _asteroids, bodies=400, dtype="float64", tags=["while", "block diagonal", "pytree"]),
    ],
    "many bodies": [
        tuned("gravity", _gravity, bodies=20, tags=["dense"]),
        held_out("leapfrog", _leapfrog, bodies=9, steps=25, dtype="float64", tags=["scan", "dense", "pytree"]),
    ],
}

CASES = collect("jacobian", JACOBIANS)
