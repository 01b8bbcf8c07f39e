"""Small energy models, ``p(x) = exp(-E(x)) / Z``, whose partition function Z is known in closed form."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks

__all__ = ["ising_chain", "ising_log_partition", "spin_states"]

_MOST_SPINS = 20


def spin_states(count: int) -> np.ndarray:
    """All states of so many spins, -1 or 1, shape ``(2**count, count)``.

    Args:
      count: from 1 to 20.

    Raises:
      ValueError: for a count out of range.
    """
    count = checks.integer("spin_states", "count", count, most=_MOST_SPINS, remedy="Sample a larger model.")
    return np.array(list(itertools.product((-1.0, 1.0), repeat=count)))


def ising_chain(spins: Any, coupling: ArrayLike, field: ArrayLike = 0.0) -> Array:
    """Minus the energy of a ring of spins, the logarithm of an unnormalised probability.

        -E(s) = J sum_i s_i s_{i+1} + h sum_i s_i,    s_n = s_0

    Args:
      spins: shape ``(..., n)``, -1 or 1.
      coupling: J, in units of the temperature. field: h, likewise.
    """
    spins = checks.real_array("ising_chain", "spins", spins)
    return jnp.asarray(coupling * (spins * jnp.roll(spins, -1, axis=-1)).sum(-1) + field * spins.sum(-1))


def ising_log_partition(count: int, coupling: ArrayLike, field: ArrayLike = 0.0) -> Array:
    """``log Z`` of a ring of spins, by the eigenvalues of its transfer matrix.

        Z = l_1^n + l_2^n,    l = e^J cosh h +- sqrt(e^(2 J) sinh^2 h + e^(-2 J))

    Args:
      count: n, spins of the ring.
      coupling: J. field: h; arrays that broadcast.

    Source:
      H. A. Kramers, G. H. Wannier, 1941; the chain: E. Ising, 1925.
    """
    count = checks.integer("ising_log_partition", "count", count)
    coupling, field = jnp.asarray(coupling, jnp.result_type(coupling, float)), jnp.asarray(field)
    middle = jnp.exp(coupling) * jnp.cosh(field)
    root = jnp.sqrt(jnp.exp(2 * coupling) * jnp.sinh(field) ** 2 + jnp.exp(-2 * coupling))
    ratio = (middle - root) / (middle + root)
    return count * jnp.log(middle + root) + jnp.log1p(ratio**count)
