"""Entropy, cross-entropy and divergences of densities and of tables, in nats."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcalc.transforms.expectation import if_normalised, named_expectation, total_mass

__all__ = ["cross_entropy", "entropy", "jensen_shannon_divergence", "kl_divergence"]

# Of the mass that a density has where another has none: less is what quadrature's nodes at the edge make up.
_TOUCH = 1e-6


def entropy(log_density: Callable[..., Any], /, **choices: Any) -> Callable[..., jax.Array]:
    """The entropy of a distribution, in nats; the differential entropy of a continuous one.

        H = -E[log p(X)]

    Args:
      log_density, choices: as for ``expectation`` by quadrature.

    Returns:
      ``of(*args)``, a scalar. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: as ``expectation`` does.
    """
    surprise = lambda x, args: -log_density(x, *args)
    mean = named_expectation("entropy", surprise, log_density, **choices)
    return lambda *args: mean(*args, aside=args)


def cross_entropy(log_p: Callable[..., Any], log_q: Callable[..., Any], /, **choices: Any) -> Callable[..., jax.Array]:
    """The cross-entropy of ``q`` under ``p``, in nats: the entropy of ``p`` and the divergence of ``q`` from it.

        H(p, q) = -E_{x ~ p}[log q(x)] = H(p) + KL(p, q)

    Args:
      log_p, log_q, choices: as for ``kl_divergence``.

    Returns:
      ``of(p_args=(), q_args=())``, a scalar; infinite where ``q`` has no mass and ``p`` has some. Ready for ``jit``,
      ``vmap`` and ``grad``.

    Raises:
      ValueError: as ``kl_divergence`` does.
    """
    return _relative("cross_entropy", lambda p, q: -q, log_p, log_q, choices)


def kl_divergence(log_p: Callable[..., Any], log_q: Callable[..., Any], /, **choices: Any) -> Callable[..., jax.Array]:
    """The Kullback-Leibler divergence of ``q`` from ``p``, in nats.

        KL(p, q) = E_{x ~ p}[log p(x) - log q(x)]

    Args:
      log_p, log_q: log densities as for ``expectation``, of a point and their own parameters.
      choices: as for ``expectation`` by quadrature; the support is that of ``p``.

    Returns:
      ``divergence(p_args=(), q_args=())``, a scalar, 0 or more but for rounding; the two are tuples of parameters.
      Infinite where ``q`` has no mass and ``p`` has more than 1e-6, as for supports that do not overlap. Ready for
      ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: as ``expectation`` does; if ``q`` has more mass than 1 on the support of ``p``.
    """
    return _relative("kl_divergence", lambda p, q: p - q, log_p, log_q, choices)


def jensen_shannon_divergence(
    log_p: Callable[..., Any], log_q: Callable[..., Any], /, **choices: Any
) -> Callable[..., jax.Array]:
    """The Jensen-Shannon divergence: how far two distributions are, on the average, from their mixture, in nats.

        JS(p, q) = KL(p, m) / 2 + KL(q, m) / 2,    m = (p + q) / 2

    Args:
      log_p, log_q: log densities as for ``expectation``, of a point and their own parameters.
      choices: as for ``expectation`` by quadrature; the support must hold that of either.

    Returns:
      ``divergence(p_args=(), q_args=())``, a scalar from 0 (the same) to ``log 2`` (no overlap), symmetric. Ready for
      ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: as ``expectation`` does, of either density.

    Source:
      J. Lin, Divergence measures based on the Shannon entropy, 1991.
    """
    who = "jensen_shannon_divergence"

    def half(log_own, log_other):
        def excess(x, aside):
            own, other = log_own(x, *aside[0]), log_other(x, *aside[1])
            return own - jnp.logaddexp(own, other) + jnp.log(2.0).astype(own.dtype)

        mean = named_expectation(who, excess, log_own, **choices)
        return lambda own, other: mean(*own, aside=(own, other)) / 2

    first, second = half(log_p, log_q), half(log_q, log_p)
    return lambda p_args=(), q_args=(): first(p_args, q_args) + second(q_args, p_args)


def _relative(who: str, term: Callable[[Any, Any], Any], log_p: Any, log_q: Any, choices: dict[str, Any]):
    """``(p_args, q_args) -> E_p[term(log p, log q)]``, infinite where q misses mass of p."""

    def both(x, aside):
        p, q = log_p(x, *aside[0]), log_q(x, *aside[1])
        missed = (q == -jnp.inf) & (p > -jnp.inf)
        # Apart, so that no rule meets an infinite value: a share that is missed, and the term where none is.
        return jnp.where(missed, 0, term(p, jnp.where(missed, 0, q))), missed.astype(p.dtype)

    mean = named_expectation(who, both, log_p, **choices)
    mass = total_mass(log_q, **choices)

    def relative(p_args=(), q_args=()):
        value, missed = mean(*p_args, aside=(p_args, q_args))
        value = jnp.where(missed > _TOUCH, jnp.inf, value)
        # With more mass than 1 the divergence could be negative; less is what q has beyond the support of p.
        excess = jnp.maximum(mass(*q_args), 1)
        return if_normalised(who, excess, value, "log_q")

    return relative
