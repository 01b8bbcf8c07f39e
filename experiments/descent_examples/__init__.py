"""Descent to look at: paths on the house-price loss, and the worked examples of textbooks step by step."""


def tolerance(problem, start):
    """The gradient's norm that counts as zero: 100 eps of the first."""
    import jax
    import jax.numpy as jnp

    return 100 * jnp.finfo(start.dtype).eps * jnp.linalg.norm(jax.grad(problem.function)(start))
