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

from jaxcalc.transforms.flow_solvers import explicit_tableau, lower_triangle
from jaxcalc.transforms.flow_steps import norm, where

__all__ = ["Probe", "Spectrum", "begun", "longest", "probe", "reach", "turned"]


class Probe(NamedTuple):
    """What a power iteration asks of a field.

    Args:
      product: ``(t, y, units, v)`` to the Jacobian's product with ``v``, from the left or from the right: the spectrum
        is the same. States are measured in ``units``, in which that of a field of mixed units is better balanced.
      fresh: a direction of norm 1 with a share of every mode.
      tolerances: relative and absolute, of the steps' errors.
    """

    product: Callable[[Any, Any, Any, Any], Any]
    fresh: Any
    tolerances: Any

    def units(self, scale: Any) -> Any:
        """What errors of numbers as large as ``scale`` are measured in.

        Not the numbers themselves: those that are 1e-30 of others, as in the tail of a wave, are no unit of anything.
        """
        rtol, atol = self.tolerances

        def unit(size: jax.Array) -> jax.Array:
            error = jnp.asarray(atol + rtol * size, size.dtype)
            return jnp.where(error > 0, error, 1)

        return jax.tree.map(unit, scale)


class Spectrum(NamedTuple):
    """A power iteration's state.

    Args:
      direction: of norm 1, to a thousandth, which products turn to the steepest mode.
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
    table = explicit_tableau(solver)
    if table is None:
        return None
    matrix = lower_triangle(table.a_lower)
    # R(z) = 1 + z b (I - z A)^-1 1, a polynomial; Hairer and Wanner II, section IV.2.
    terms, stage = [1.0], np.ones(len(matrix))
    for _ in range(len(matrix)):
        terms.append(float(np.asarray(table.b_sol, float) @ stage))
        stage = matrix @ stage
    radii = np.linspace(0, 20, 4001)[1:]
    half_disc = radii[:, None] * np.exp(1j * np.linspace(np.pi / 2, np.pi, 91))
    unstable = (np.abs(np.polynomial.polynomial.polyval(half_disc, terms)) > 1 + _GROWTH).any(1)
    return float(radii[np.argmax(unstable)])


def probe(term: Any, t: Any, y: Any, tolerances: Any) -> Probe | None:
    """The probe of a term, that nothing is differentiated through; ``None`` where it has no derivatives or no state."""
    over = lambda v, scale: jax.tree.map(lambda v, s: v / s.astype(v.dtype), v, scale)
    times = lambda v, scale: jax.tree.map(lambda v, s: v * s.astype(v.dtype), v, scale)

    def pulled(t: Any, y: Any, scale: Any, v: Any) -> Any:
        return times(jax.vjp(lambda y: term.vf(t, y, None), y)[1](over(v, scale))[0], scale)

    def pushed(t: Any, y: Any, scale: Any, v: Any) -> Any:
        return over(jax.jvp(lambda y: term.vf(t, y, None), (y,), (times(v, scale),))[1], scale)

    leaves, structure = jax.tree.flatten(y)
    if not sum(leaf.size for leaf in leaves):
        return None
    for way in (pulled, pushed):  # some fields have derivatives in one mode alone
        try:
            jax.eval_shape(way, t, y, jax.tree.map(jnp.abs, y), y)
        except (TypeError, ValueError, NotImplementedError):
            continue
        product = lambda t, y, scale, v, way=way: way(*jax.lax.stop_gradient((t, y)), scale, v)
        # Any vector with a share of every mode will do; squares make this one as good as random.
        waves = [jnp.cos(1.7 * jnp.arange(1, v.size + 1) ** 2 + n).reshape(v.shape) for n, v in enumerate(leaves)]
        fresh = jax.tree.unflatten(structure, [w.astype(leaf.dtype) for w, leaf in zip(waves, leaves)])
        return Probe(product, _over(fresh, norm(fresh)), jax.lax.stop_gradient(tolerances))
    return None


def _over(v: Any, size: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf / size.astype(leaf.dtype), v)


def begun(probe: Probe, t: Any, y: Any) -> Spectrum:
    """The iteration before the first step."""
    zero = jnp.zeros_like(norm(probe.fresh))
    scale = jax.tree.map(jnp.abs, jax.lax.stop_gradient(y))
    first = Spectrum(probe.fresh, scale, zero, zero, zero)
    turn = lambda _, now: turned(probe, now._replace(radius=zero), t, y)
    return jax.lax.fori_loop(0, _FIRST, turn, first)


def turned(probe: Probe, now: Spectrum, t: Any, y: Any) -> Spectrum:
    """The iteration after one more product.

    Two in a row make an estimate: of ``x'' = -w^2 x`` as a system, one grows by 1 or by ``w^2``, and two by ``w^2``.
    """
    seen = lambda leaf: jnp.where(jnp.isfinite(leaf), jnp.abs(leaf), 0)
    scale = jax.tree.map(lambda s, leaf: jnp.maximum(s, seen(leaf)), now.scale, jax.lax.stop_gradient(y))
    turned = probe.product(t, y, probe.units(scale), now.direction)
    growth = norm(turned)
    sound = jnp.isfinite(growth) & (growth > 0)
    ahead = _over(turned, jnp.where(sound, growth, 1))
    mixed = jax.tree.map(lambda v, w: v + jnp.asarray(_FRESH, v.dtype) * w, ahead, probe.fresh)
    direction = where(sound, mixed, probe.fresh)  # anew where nothing is left of it
    growth = jnp.where(sound, growth, 0)
    pairs = list(zip(jax.tree.leaves(ahead), jax.tree.leaves(now.direction)))
    against = -sum(jnp.vdot(a, b).real for a, b in pairs) / sum(a.size for a, _ in pairs)
    radius = jnp.maximum(jnp.sqrt(growth * now.growth), _FADING * now.radius)
    return Spectrum(direction, scale, growth, radius, jnp.asarray(against, growth.dtype))


def longest(now: Spectrum, reach: float) -> jax.Array:
    """The longest step that is stable; infinite where nothing is known of the spectrum."""
    known = now.radius > 0
    return jnp.where(known, reach / jnp.where(known, now.radius, 1), jnp.inf)
