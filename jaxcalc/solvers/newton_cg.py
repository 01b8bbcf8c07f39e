"""Newton's method for large problems: truncated conjugate gradients in a trust region, scaled by a cheap diagonal."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxcalc import checks
from jaxcalc.programs import walk
from jaxcalc.solvers.control import cond
from jaxcalc.solvers.protocol import Function, Iterate, Objective, Solver
from jaxcalc.solvers.subproblems import truncated_ball
from jaxcalc.solvers.trust_region import box_subproblem, radius_number, start_ball, step_within

__all__ = ["cheap_diagonal", "newton_cg"]

MAX_PASSES = 40
"""The Hessian's diagonal is read where that takes at most so many products with it..."""
MAX_FLOPS = 1_000
"""...and where one product takes at most so many operations a variable: the pattern of dearer ones is long to read, and
dense."""
MANY = 200
"""Scales are read after so many products, or ten times as many as that takes: a tenth of the work at most."""


def newton_cg(
    radius: float | Array | None = None, max_products: int | None = None, precondition: bool = True
) -> Solver:
    """Newton's method for large problems: the model is minimised by truncated conjugate gradients.

    Steihaug's method: products with the Hessian alone, until the residual is ``min(1/2, sqrt |g|) |g|``, the ball's
    surface is reached, or a direction of negative curvature is found, which is followed to the surface; a step that is
    refused is shortened. The products go through the derivative engine. Where the Hessian's sparsity lets the engine
    read its diagonal off few products, conjugate gradients and the ball work in variables scaled by it: it is read
    whenever ten times its price has been spent. With bounds, the same without scales on faces of the box, from the
    Cauchy point on.

    Args:
      radius: the first one, in x's unit; by default the larger of 1 and a tenth of |x|.
      max_products: a step; by default the number of variables and 50, at most 10,000.
      precondition: whether to scale by the Hessian's diagonal where it is cheap.

    Raises:
      ValueError: for a radius that is not positive, or less than one product.

    Cost: one value and gradient, and some products, a step; 8 n memory.
    Source: Steihaug, SIAM J. Numer. Anal. 20 (1983) 626; Lin and More, SIAM J. Optim. 9 (1999) 1100.
    """
    if max_products is not None:
        checks.integer("newton_cg", "max_products", max_products)
    numbers = radius_number("newton_cg", radius)
    choices = (("max_products", max_products), ("precondition", precondition))
    return Solver("newton-cg", _start, _step, numbers, choices, boxes=True)


class _Memory(NamedTuple):
    """What Newton-CG remembers.

    Args:
      radius: of the ball, in scaled variables.
      units: of the variables: x is ``units`` times what conjugate gradients see, (n,).
      hvps: products since the scales were read last.
    """

    radius: Array
    units: Array
    hvps: Array


def _start(objective: Objective, x: Array, radius: Any = None, **_: Any) -> Iterate:
    """The start with the first radius, unscaled: at what price a diagonal is worth reading shows as steps go on."""
    iterate = start_ball(objective, x, radius)
    return iterate._replace(memory=_Memory(iterate.memory, jnp.ones_like(x), jnp.zeros((), jnp.int32)))


def _step(
    objective: Objective, iterate: Iterate, max_products: int | None, precondition: bool, radius: Any = None
) -> Iterate:
    """One step: within a box without scales, else within a ball in scaled variables."""
    product = lambda v: objective.hvp(iterate.x, v)
    # In exact arithmetic conjugate gradients end after n products; rounding delays them.
    limit = min(iterate.x.size + 50, 10_000) if max_products is None else max_products
    radius, units, hvps = iterate.memory
    unscaled = iterate._replace(memory=radius)  # as a trust region knows it
    if objective.lower is not None:
        end = step_within(objective, unscaled, box_subproblem(objective, iterate, product, limit))
        return end._replace(memory=_Memory(end.memory, units, hvps))
    diagonal_plan = cheap_diagonal(objective.fun, iterate.x) if precondition else None
    if diagonal_plan is None:
        end = step_within(objective, unscaled, truncated_ball(iterate.gradient, product, limit))
        due, reading_hvps = False, 0
    else:
        due = hvps > max(10 * diagonal_plan.chosen.passes, MANY)
        units = cond(due, lambda: _units(diagonal_plan(iterate.x)), lambda: units)
        end = step_within(objective, unscaled, truncated_ball(iterate.gradient, product, limit, units))
        reading_hvps = jnp.where(due, diagonal_plan.chosen.passes, 0)
    hvps = jnp.where(due, 0, hvps) + jnp.asarray(end.evaluations.hvps - iterate.evaluations.hvps)
    counts = end.evaluations.plus(hvps=reading_hvps)
    return end._replace(memory=_Memory(end.memory, units, hvps), evaluations=counts)


def cheap_diagonal(fun: Function, x: Array) -> Any:
    """The plan of the diagonal of a function's Hessian where its price is that of few products, else None."""
    from jaxcalc.transforms import diagonal, hvp, plan

    like = walk.type_of(x)
    product_route = plan(hvp, fun, (like,), like).chosen
    if product_route.cost is None or product_route.cost.flops > MAX_FLOPS * x.size:
        return None
    diagonal_plan = plan(diagonal, fun, like)
    route = diagonal_plan.chosen
    few = route.passes <= MAX_PASSES and route.seconds <= MAX_PASSES * product_route.seconds
    return diagonal_plan if few else None


def _units(diagonal: Array) -> Array:
    """Units in which the Hessian's diagonal is 1 as far as may be; their geometric mean is 1."""
    size = jnp.abs(diagonal)
    # A zero on the diagonal is no scale: the units of no two variables differ by more than the fourth root of 1 / eps.
    size = jnp.maximum(size, jnp.sqrt(jnp.finfo(size.dtype).eps) * jnp.max(size))
    units = jnp.exp(-0.5 * (jnp.log(size) - jnp.mean(jnp.log(size))))
    return jnp.where(jnp.all(jnp.isfinite(units)), units, jnp.ones_like(units))
