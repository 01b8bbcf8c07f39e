"""How far can derivatives from values alone be trusted?

Error against step for every scheme in two precisions (``steps``), central against one-sided
quotients at many points (``rivals``), what a gradient takes in evaluations (``counts``), and the
listings and prints of popular texts, with their traps (``listings``).
"""

from jaxcalc import measure
from jaxcalc.lab import jax, jnp


def evaluations(make, size):
    """How often a derivative evaluates its function, also where it batches.

    Args:
      make: from a function to its derivative.
      size: number of the function's parameters.
    """
    counted, calls = measure.count_calls(lambda x: jnp.sum(x**2))
    jax.block_until_ready(jax.jit(make(counted))(jnp.ones(size)))
    return calls[0]
