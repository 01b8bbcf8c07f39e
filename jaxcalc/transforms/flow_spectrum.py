"""The spectral radius of a field's Jacobian along a flow, by power iteration, and the steps that it allows.

A controller sees what the state excites: a heat equation from a smooth start is solved in a few long steps, whose
derivative in the start is wrong by orders of magnitude, because errors in the modes that the start does not hold grow.
Cotangents and tangents hold all modes. Where a flow is differentiated, explicit steps are therefore kept stable for
the steepest mode that the field has, excited or not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc.transforms.flow_steps import norm, tableau, where

__all__ = ["Product", "Spectrum", "begun", "longest", "product", "reach", "turned"]

# ``(t, y, scale, v)`` to the Jacobian's product with ``v``, from the left or from the right: the spectrum is the same.
# States are measured in units of ``scale``, in which the Jacobian of a field of mixed units is better balanced.
Product = Callable[[Any, Any, Any, Any], Any]


class Spectrum(NamedTuple):
    """A power iteration's state.

    Args:
      direction: of norm 1, which products turn to the steepest mode.
      scale: the largest that each number of the state has been.
      growth: the direction's norm after the last product.
      radius: the estimate: the largest of late.
      decay: how much of the product is against the direction: 1 of modes that decay, 0 of those that turn.
    """

    direction: Any
    scale: Any
    growth: jax.Array
    radius: jax.Array
    decay: jax.Array


# A stable step may let a mode that does not decay grow by so much: over the 4,096 steps of a solve by half.
_GROWTH = 1e-4
# Products before the first step; two of which are an estimate.
_FIRST = 8
# An estimate that a step later is smaller goes down no faster: products along a flow come late.
_FADING = 0.9
# Of all modes in every direction, so that one that was overgrown for long is found again.
_FRESH = 1e-3


def reach(solver: Any) -> float | None:
    """The step times spectral radius that an explicit method is kept to; ``None`` of an implicit one.

    All that turns or decays stays stable within it: a half disc, as modes may be of any kind.
    """
    table = tableau(solver)
    if table is None:
        return None
    rows = [np.asarray(row, float) for row in table.a_lower]
    matrix = np.zeros((len(rows) + 1, len(rows) + 1))
    for number, row in enumerate(rows):
        matrix[number + 1, : row.size] = row
    # R(z) = 1 + z b (I - z A)^-1 1, a polynomial; Hairer and Wanner II, section IV.2.
    terms, stage = [1.0], np.ones(len(matrix))
    for _ in range(len(matrix)):
        terms.append(float(np.asarray(table.b_sol, float) @ stage))
        stage = matrix @ stage
    radii = np.linspace(0, 20, 4001)[1:]
    half_disc = radii[:, None] * np.exp(1j * np.linspace(np.pi / 2, np.pi, 91))
    unstable = (np.abs(np.polynomial.polynomial.polyval(half_disc, terms)) > 1 + _GROWTH).any(1)
    return float(radii[np.argmax(unstable)])


def product(term: Any, t: Any, y: Any) -> Product | None:
    """The product with the Jacobian of a term, that nothing is differentiated through; ``None`` where it has none."""
    over = lambda v, scale: jax.tree.map(lambda v, s: v / s.astype(v.dtype), v, scale)
    times = lambda v, scale: jax.tree.map(lambda v, s: v * s.astype(v.dtype), v, scale)

    def pulled(t: Any, y: Any, scale: Any, v: Any) -> Any:
        return times(jax.vjp(lambda y: term.vf(t, y, None), y)[1](over(v, scale))[0], scale)

    def pushed(t: Any, y: Any, scale: Any, v: Any) -> Any:
        return over(jax.jvp(lambda y: term.vf(t, y, None), (y,), (times(v, scale),))[1], scale)

    for way in (pulled, pushed):  # some fields have derivatives in one mode alone
        try:
            jax.eval_shape(way, t, y, jax.tree.map(jnp.abs, y), y)
        except (TypeError, ValueError, NotImplementedError):
            continue
        return lambda t, y, scale, v, way=way: way(*jax.lax.stop_gradient((t, y)), scale, v)
    return None


def begun(product: Product, t: Any, y: Any) -> Spectrum:
    """The iteration before the first step."""
    direction = _waves(y)
    zero = jnp.zeros_like(norm(direction))
    # A number that begins at 0 is measured as one of size 1 until it is larger.
    scale = jax.tree.map(lambda leaf: jnp.where(leaf == 0, 1, jnp.abs(leaf)), jax.lax.stop_gradient(y))
    first = Spectrum(direction, scale, zero, zero, zero)
    turn = lambda _, now: turned(product, now._replace(radius=zero), t, y)
    return jax.lax.fori_loop(0, _FIRST, turn, first)


def _waves(y: Any) -> Any:
    """A direction of norm 1 with a share of every mode: any will do; squares make this one as good as random."""
    leaves, structure = jax.tree.flatten(y)
    waves = [jnp.cos(1.7 * jnp.arange(1, leaf.size + 1) ** 2 + n).reshape(leaf.shape) for n, leaf in enumerate(leaves)]
    return _unit(jax.tree.unflatten(structure, [w.astype(leaf.dtype) for w, leaf in zip(waves, leaves)]))


def _unit(v: Any) -> Any:
    size = norm(v)
    return jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1).astype(leaf.dtype), v)


def turned(product: Product, now: Spectrum, t: Any, y: Any) -> Spectrum:
    """The iteration after one more product.

    Two in a row make an estimate: of ``x'' = -w^2 x`` as a system, one grows by 1 or by ``w^2``, and two by ``w^2``.
    """
    scale = jax.tree.map(lambda s, leaf: jnp.maximum(s, jnp.abs(leaf)), now.scale, jax.lax.stop_gradient(y))
    scale = where(jnp.isfinite(norm(scale)), scale, now.scale)
    turned = product(t, y, scale, now.direction)
    growth = norm(turned)
    sound = jnp.isfinite(growth) & (growth > 0)
    ahead = where(sound, _unit(turned), now.direction)
    direction = _unit(jax.tree.map(lambda v, w: v + jnp.asarray(_FRESH, v.dtype) * w, ahead, _waves(y)))
    growth = jnp.where(sound, growth, 0)
    against = sum(-jnp.vdot(a, b).real for a, b in zip(jax.tree.leaves(ahead), jax.tree.leaves(now.direction)))
    decay = jnp.asarray(against / sum(leaf.size for leaf in jax.tree.leaves(y)), growth.dtype)
    radius = jnp.maximum(jnp.sqrt(growth * now.growth), _FADING * now.radius)
    return Spectrum(direction, scale, growth, radius, decay)


def longest(now: Spectrum, reach: float) -> jax.Array:
    """The longest step that is stable; infinite where nothing is known of the spectrum."""
    known = now.radius > 0
    return jnp.where(known, reach / jnp.where(known, now.radius, 1), jnp.inf)
