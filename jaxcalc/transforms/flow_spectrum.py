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

# ``(t, y, v)`` to the Jacobian's product with ``v`` from the left, or from the right: the spectrum is the same.
Product = Callable[[Any, Any, Any], Any]


class Spectrum(NamedTuple):
    """A power iteration's state.

    Args:
      direction: of norm 1, which products turn to the steepest mode.
      growth: its norm after the last product.
      radius: the estimate: the largest of late.
    """

    direction: Any
    growth: jax.Array
    radius: jax.Array


# Of the interval of stability on the negative axis: there errors shrink well, and estimates may be a third too small.
_SAFE = 0.6
# Products before the first step; two of which are an estimate.
_FIRST = 8
# An estimate that a step later is smaller goes down no faster: products along a flow come late.
_FADING = 0.9


def reach(solver: Any) -> float | None:
    """The step times spectral radius that an explicit method is kept to; ``None`` of an implicit one."""
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
    points = np.linspace(0, 20, 4001)[1:]
    unstable = np.abs(np.polynomial.polynomial.polyval(-points, terms)) > 1 + 1e-9
    return _SAFE * float(points[np.argmax(unstable)])


def product(term: Any, t: Any, y: Any) -> Product | None:
    """The product with the Jacobian of a term, that nothing is differentiated through; ``None`` where it has none."""

    def pulled(t: Any, y: Any, v: Any) -> Any:
        return jax.vjp(lambda y: term.vf(t, y, None), y)[1](v)[0]

    def pushed(t: Any, y: Any, v: Any) -> Any:
        return jax.jvp(lambda y: term.vf(t, y, None), (y,), (v,))[1]

    for way in (pulled, pushed):  # some fields have derivatives in one mode alone
        try:
            jax.eval_shape(way, t, y, y)
        except (TypeError, ValueError, NotImplementedError):
            continue
        return lambda t, y, v, way=way: way(*jax.lax.stop_gradient((t, y)), v)
    return None


def begun(product: Product, t: Any, y: Any) -> Spectrum:
    """The iteration before the first step."""
    leaves, structure = jax.tree.flatten(y)
    # Any vector with a share of every mode will do; squares make this one as good as random.
    waves = [jnp.cos(1.7 * jnp.arange(1, leaf.size + 1) ** 2 + n).reshape(leaf.shape) for n, leaf in enumerate(leaves)]
    direction = jax.tree.unflatten(structure, [w.astype(leaf.dtype) for w, leaf in zip(waves, leaves)])
    size = norm(direction)
    zero = jnp.zeros_like(size)
    first = Spectrum(jax.tree.map(lambda v: v / size.astype(v.dtype), direction), zero, zero)
    turn = lambda _, now: turned(product, now._replace(radius=zero), t, y)
    return jax.lax.fori_loop(0, _FIRST, turn, first)


def turned(product: Product, now: Spectrum, t: Any, y: Any) -> Spectrum:
    """The iteration after one more product.

    Two in a row make an estimate: of ``x'' = -w^2 x`` as a system, one grows by 1 or by ``w^2``, and two by ``w^2``.
    """
    turned = product(t, y, now.direction)
    growth = norm(turned)
    sound = jnp.isfinite(growth) & (growth > 0)
    scale = jnp.where(sound, growth, 1)
    direction = where(sound, jax.tree.map(lambda v: v / scale.astype(v.dtype), turned), now.direction)
    growth = jnp.where(sound, growth, 0)
    return Spectrum(direction, growth, jnp.maximum(jnp.sqrt(growth * now.growth), _FADING * now.radius))


def longest(now: Spectrum, reach: float) -> jax.Array:
    """The longest step that is stable; infinite where nothing is known of the spectrum."""
    known = now.radius > 0
    return jnp.where(known, reach / jnp.where(known, now.radius, 1), jnp.inf)
