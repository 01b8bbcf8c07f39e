"""Quasi-Newton methods: curvature learnt from the gradients on the way."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxcalc import checks
from jaxcalc.solvers.bounds import active
from jaxcalc.solvers.line_search import Searched, armijo, wolfe
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver

__all__ = ["bfgs", "lbfgs"]


def bfgs() -> Solver:
    """Broyden, Fletcher, Goldfarb and Shanno's method: a dense inverse Hessian, strong-Wolfe steps.

    ``H <- (I - s y'/y's) H (I - y s'/y's) + s s'/y's``, s the step, y the change of the gradient

    Cost: n^2 memory; 4 n^2 operations and one to three values and gradients a step.
    Source: Nocedal and Wright, Numerical Optimization, 6.1.
    """
    return Solver("bfgs", _start_dense, _step_dense)


def lbfgs(memory_size: int = 10) -> Solver:
    """BFGS with the last pairs only (Liu and Nocedal); keeps to bounds by projected steps on the free variables.

    Args:
      memory_size: m, the number of pairs.

    Raises:
      ValueError: unless m is at least 1.

    Cost: 2 m n memory; 4 m n operations and one to three values and gradients a step.
    Source: Liu and Nocedal, Math. Programming 45 (1989) 503; for bounds Bertsekas, SIAM J. Control Optim. 20 (1982)
    221.
    """
    checks.integer("lbfgs", "memory_size", memory_size)
    return Solver("l-bfgs", _start_pairs, _step_pairs, choices=(("memory_size", memory_size),), boxes=True)


def _searched(objective: Objective, at: Iterate, direction: Array, fresh: Array) -> Searched:
    """A search along a direction; without curvature known, the first trial moves by at most 1."""
    first = jnp.where(fresh, jnp.minimum(1.0, 1.0 / jnp.linalg.norm(direction)), 1.0)
    if objective.lower is None:
        return wolfe(objective, at, direction, first)
    return armijo(objective, at, direction, first)


def _moved(objective: Objective, at: Iterate, found: Searched, memory: Any, stuck: Array) -> Iterate:
    gradients = found.trials if objective.lower is None else 1
    info = {"trials": found.trials}
    counts = at.evaluations.plus(functions=found.trials, gradients=gradients)
    return Iterate(found.x, found.value, found.gradient, memory, info, counts, stuck)


def _info() -> dict[str, Array]:
    return {"trials": jnp.zeros((), jnp.int32)}


def _start_dense(objective: Objective, x: Array) -> Iterate:
    value, gradient = objective.value_and_gradient(x)
    return Iterate(x, value, gradient, (jnp.eye(x.size, dtype=x.dtype), jnp.asarray(True)), _info(), Evaluations(1, 1))


def _step_dense(objective: Objective, at: Iterate) -> Iterate:
    inverse, fresh = at.memory
    direction = -(inverse @ at.gradient)
    downhill = jnp.vdot(direction, at.gradient) < 0
    direction = jnp.where(downhill, direction, -at.gradient)
    found = _searched(objective, at, direction, fresh)
    s, y = found.x - at.x, found.gradient - at.gradient
    curvature = jnp.vdot(s, y)
    good = curvature > jnp.finfo(s.dtype).eps * jnp.linalg.norm(s) * jnp.linalg.norm(y)
    rho = jnp.where(good, 1 / jnp.where(good, curvature, 1), 0)
    scaled = jnp.where(fresh & good, curvature / jnp.vdot(y, y), 1) * inverse
    image = scaled @ y
    cross = jnp.outer(s, image)
    updated = scaled - rho * (cross + cross.T) + (rho**2 * jnp.vdot(y, image) + rho) * jnp.outer(s, s)
    # A search that fails with a learnt curvature is repeated once along the gradient.
    again = found.failed & ~fresh
    updated = jnp.where(again, jnp.eye(s.size, dtype=s.dtype), jnp.where(good, updated, inverse))
    return _moved(objective, at, found, (updated, again | (fresh & ~good)), found.failed & fresh)


def _start_pairs(objective: Objective, x: Array, memory_size: int) -> Iterate:
    value, gradient = objective.value_and_gradient(x)
    pairs = jnp.zeros((memory_size, x.size), x.dtype)
    memory = (pairs, pairs, jnp.zeros(memory_size, x.dtype), jnp.zeros((), jnp.int32), jnp.ones((), x.dtype))
    return Iterate(x, value, gradient, memory, _info(), Evaluations(1, 1))


def _step_pairs(objective: Objective, at: Iterate, memory_size: int) -> Iterate:
    steps, changes, rhos, count, scale = at.memory
    held = active(at.x, at.gradient, objective.lower, objective.upper)
    free = at.gradient if held is None else jnp.where(held, 0, at.gradient)
    direction = -_two_loops(free, steps, changes, rhos, count, scale)
    if held is not None:
        direction = jnp.where(held, 0, direction)
    downhill = jnp.vdot(direction, free) < 0
    direction = jnp.where(downhill, direction, -free)
    found = _searched(objective, at, direction, count == 0)
    s, y = found.x - at.x, found.gradient - at.gradient
    curvature = jnp.vdot(s, y)
    good = curvature > jnp.finfo(s.dtype).eps * jnp.linalg.norm(s) * jnp.linalg.norm(y)
    place = count % memory_size
    put = lambda buffer, row: buffer.at[place].set(jnp.where(good, row, buffer[place]))
    rho = 1 / jnp.where(good, curvature, 1)
    scale = jnp.where(good, curvature / jnp.where(good, jnp.vdot(y, y), 1), scale)
    again = found.failed & (count > 0)
    count = jnp.where(again, 0, count + good)
    # Forgotten pairs have rho 0, which takes them out of both loops.
    rhos = jnp.where(again, 0, put(rhos, rho))
    memory = (put(steps, s), put(changes, y), rhos, count, jnp.where(again, 1, scale))
    return _moved(objective, at, found, memory, found.failed & ~again)


def _two_loops(gradient: Array, steps: Array, changes: Array, rhos: Array, count: Array, scale: Array) -> Array:
    """The inverse Hessian's product with the gradient, from the pairs."""
    size = rhos.shape[0]
    newest_first = (count - 1 - jnp.arange(size)) % size

    def back(q: Array, i: Array) -> tuple[Array, Array]:
        alpha = rhos[i] * jnp.vdot(steps[i], q)
        return q - alpha * changes[i], alpha

    q, alphas = jax.lax.scan(back, gradient, newest_first)

    def forth(r: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        i, alpha = pair
        return r + (alpha - rhos[i] * jnp.vdot(changes[i], r)) * steps[i], None

    return jax.lax.scan(forth, scale * q, (newest_first[::-1], alphas[::-1]))[0]
