"""Descent to look at: paths on the house-price loss, and the worked examples of textbooks step by step."""

from jaxcalc.lab import jax, jnp


def tolerance(problem, start):
    """The gradient's norm that counts as zero: 100 eps of the first."""
    return 100 * jnp.finfo(start.dtype).eps * jnp.linalg.norm(jax.grad(problem.function)(start))
