"""How far can derivatives from values alone be trusted?

Error against step for every scheme in two precisions (``steps``), central against one-sided
quotients at many points (``rivals``), what a gradient takes in evaluations (``counts``), and the
listings and prints of popular texts, with their traps (``listings``).
"""

import numpy as np


def evaluations(make, size):
    """How often a derivative evaluates its function, also where it batches.

    Args:
      make: from a function to its derivative.
      size: number of the function's parameters.
    """
    import jax
    import jax.numpy as jnp

    calls = 0

    def count(x):
        nonlocal calls
        calls += 1
        return np.asarray(np.sum(x**2), "float32")

    # The thread that calls back does not know of float64; for counting, precision does not matter.
    out = jax.ShapeDtypeStruct((), "float32")
    counted = lambda x: jax.pure_callback(count, out, x, vmap_method="sequential")
    jax.block_until_ready(jax.jit(make(counted))(jnp.ones(size)))
    return calls
