"""Gradient descent."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc.solvers.loop import Function, Iterate, Solver, start_at

__all__ = ["best_learning_rate", "contraction", "gradient_descent"]


def gradient_descent(learning_rate: float | Array) -> Solver:
    """Steps against the gradient.

    ``x <- x - learning_rate grad f(x)``

    On a quadratic with eigenvalues in [mu, L] the error shrinks by ``max(|1 - rate mu|, |1 - rate L|)`` a step, so it
    converges for rates below 2 / L and fastest, by ``(L - mu) / (L + mu)``, at the rate ``2 / (L + mu)``.

    Args:
      learning_rate: a positive number; may be traced.

    Cost: one value and gradient a step.
    """

    def step(fun: Function, at: Iterate) -> Iterate:
        return start_at(fun, at.x - learning_rate * at.gradient)

    return Solver(init=start_at, step=step)


def contraction(learning_rate: float | Array, curvatures: np.ndarray | Array) -> Array:
    """The factor by which gradient descent shrinks, or grows, the error a step.

    ``max_i |1 - rate lambda_i|``: exact in the limit on a quadratic; elsewhere for starts close to the optimum.

    Args:
      learning_rate: a number; may be traced.
      curvatures: the eigenvalues of the Hessian at the optimum, (n,).
    """
    return jnp.max(jnp.abs(1.0 - learning_rate * jnp.asarray(curvatures)))


def best_learning_rate(mu: float, smoothness: float) -> float:
    """The rate of the fastest contraction, ``2 / (mu + L)``."""
    return 2.0 / (mu + smoothness)
