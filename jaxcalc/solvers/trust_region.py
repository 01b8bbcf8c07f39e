"""The trust-region method: steps to the quadratic model's minimum within a ball or box, whose size the steps adapt."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxcalc import checks
from jaxcalc.solvers.bounds import project
from jaxcalc.solvers.control import while_loop
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver
from jaxcalc.solvers.subproblems import Subproblem, box, dense_ball

__all__ = ["ball_step", "box_subproblem", "radius_number", "start_ball", "step_within", "trust_region"]

ACCEPT = 1e-4
"""The share of the model's decrease that an accepted step achieves at least."""
POOR = 0.1
"""Below this share an accepted step gets a second look: it may have leapt to a plateau, past all that is lower."""
MAX_TRIALS = 60
"""A refusal at least halves the radius: so many take it below double precision."""


def trust_region(radius: float | Array | None = None) -> Solver:
    """The exact minimiser of the quadratic model within a ball, or (with bounds) nearly that within a box.

    ``min_d g'd + d'Hd / 2, |d| <= radius``: Newton's step where H is positive definite and the step fits, else the
    root of the secular equation ``|(H + s I)^-1 g| = radius`` in the eigenvectors of H, the hard case included. It
    converges to points where the gradient vanishes and no curvature is negative, and squares the error near a
    regular one.

    Args:
      radius: the first one, in x's unit; by default the larger of 1 and a tenth of |x|.

    Raises:
      ValueError: for a radius that is not positive.

    Cost: one Hessian, n^3 / 3 operations and one value and gradient a step; about 10 n^3 where the ball binds.
    Source: Conn, Gould and Toint, Trust-Region Methods, 7.3.
    """
    numbers = radius_number("trust_region", radius)
    return Solver("trust-region", start_ball, _dense_step, numbers, boxes=True, curved=True)


def radius_number(who: str, radius: Any) -> dict[str, Any]:
    """The first radius among a solver's numbers, checked; nothing where it is left to the start."""
    return {} if radius is None else {"radius": checks.number(who, "radius", radius, above=0)}


def start_ball(objective: Objective, x: Array, radius: Any = None, **_: Any) -> Iterate:
    """The start with the first radius, which is all that is remembered."""
    value, gradient = objective.value_and_gradient(x)
    radius = jnp.maximum(1.0, 0.1 * jnp.linalg.norm(x)) if radius is None else radius
    radius = jnp.asarray(radius, x.dtype)
    info = _info(jnp.zeros((), jnp.int32), radius, jnp.full_like(radius, jnp.nan))
    return Iterate(x, value, gradient, radius, info, Evaluations(1, 1))


def _info(trials: Array, radius: Array, curvature: Array) -> dict[str, Array]:
    """What the history shows of a step."""
    return {"trials": trials, "trust_radius": radius, "curvature": curvature}


def _dense_step(objective: Objective, iterate: Iterate, radius: Any = None) -> Iterate:
    """One step with the objective's own Hessian."""
    return ball_step(objective, iterate, objective.hessian(iterate.x))


def ball_step(objective: Objective, iterate: Iterate, hessian: Array) -> Iterate:
    """One step with a given Hessian, or what stands for it, (n, n)."""
    if objective.lower is not None:
        subproblem = box_subproblem(objective, iterate, lambda v: hessian @ v, iterate.x.size)
    else:
        subproblem = dense_ball(iterate.gradient, hessian)
    return step_within(objective, iterate, subproblem, hessians=1)


def box_subproblem(objective: Objective, iterate: Iterate, product: Any, max_products: int) -> Subproblem:
    """The subproblem within the objective's bounds."""
    assert objective.lower is not None and objective.upper is not None
    lower, upper = objective.lower - iterate.x, objective.upper - iterate.x
    return box(iterate.gradient, product, lower, upper, max_products)


class _Trial(NamedTuple):
    """A proposal tried.

    Args:
      radius: the one to try next.
      memory: the subproblem's.
      x, value: where the best proposal leads.
      curvature: along its step.
      accepted: whether it kept enough of what the model promised.
      settled: accepted, and not worth a second look.
      trials, hvps: spent so far.
    """

    radius: Array
    memory: Any
    x: Array
    value: Array
    curvature: Array
    accepted: Array
    settled: Array
    trials: Array
    hvps: Array


def step_within(objective: Objective, iterate: Iterate, subproblem: Subproblem, *, hessians: int = 0) -> Iterate:
    """Proposals of shrinking radius until one keeps enough of what the model promised; then the next radius.

    One that keeps little of it is compared with shorter ones, which replace it for as long as they lead lower.

    Args:
      iterate: with the radius as its memory.
      subproblem: at that iterate.
      hessians: how many were evaluated for it; its products are the Hessian's own, and counted, where there were none.
    """
    eps = jnp.finfo(iterate.x.dtype).eps
    # Near the optimum both decreases are rounding; equal slack in both takes their ratio to one (Conn et al., 17.4.2).
    slack = 16 * eps * jnp.maximum(1.0, jnp.abs(iterate.value))
    # A radius is below rounding against |x|; a point near 0 has no scale of its own, and its steps are taken further.
    scale = jnp.maximum(jnp.linalg.norm(iterate.x), 1e-3)

    def body(last: _Trial) -> _Trial:
        proposal, memory = subproblem.propose(last.radius, last.memory)
        x = project(iterate.x + proposal.step, objective.lower, objective.upper)
        value = objective(x)
        ratio = (iterate.value - value + slack) / (proposal.decrease + slack)
        ratio = jnp.where(jnp.isfinite(value) & jnp.isfinite(proposal.decrease), ratio, -1.0)
        radius = _next_radius(last.radius, proposal.length, ratio)
        accepted = (ratio >= ACCEPT) & (~last.accepted | (value < last.value))
        worse = last.accepted & ~accepted  # than the step before, which is taken after all
        keep = lambda new, old: jnp.where(worse, old, new)
        return _Trial(
            radius=keep(radius, last.radius),
            memory=memory,
            x=keep(x, last.x),
            value=keep(value, last.value),
            curvature=keep(proposal.curvature, last.curvature),
            accepted=accepted | last.accepted,
            settled=worse | (accepted & (ratio >= POOR)),
            trials=last.trials + 1,
            hvps=last.hvps + proposal.hvps,
        )

    def unfinished(last: _Trial) -> Array:
        return ~last.settled & (last.trials < MAX_TRIALS) & (last.radius > eps * scale)

    zero = jnp.zeros((), jnp.int32)
    untried = _Trial(
        radius=iterate.memory,
        memory=subproblem.memory,
        x=iterate.x,
        value=iterate.value,
        curvature=jnp.full_like(iterate.value, jnp.nan),
        accepted=jnp.asarray(False),
        settled=jnp.asarray(False),
        trials=zero,
        hvps=zero,
    )
    end = while_loop(unfinished, body, untried)
    x = jnp.where(end.accepted, end.x, iterate.x)
    value, gradient = objective.value_and_gradient(x)
    # A step that changes nothing, or lowers nothing more than rounding without a smaller gradient, is the end.
    no_flatter = jnp.linalg.norm(gradient) >= jnp.linalg.norm(iterate.gradient)
    idle = end.accepted & (value >= iterate.value) & no_flatter
    hvps = 0 if hessians else end.hvps
    counts = iterate.evaluations.plus(functions=end.trials, gradients=1, hvps=hvps, hessians=hessians)
    info = _info(end.trials, end.radius, end.curvature)
    return Iterate(x, value, gradient, end.radius, info, counts, ~end.accepted | idle)


def _next_radius(radius: Array, length: Array, ratio: Array) -> Array:
    """The radius after a step of that length whose decrease was ``ratio`` times what the model promised.

    Below a quarter the model was not to be trusted so far; above three quarters it may be trusted further, the more so
    where it was right to a twentieth. A step inside the ball says nothing of the surface, and grows it only if it would
    reach there.
    """
    shrunk = jnp.minimum(0.25 * length, 0.5 * radius)
    grown = jnp.maximum(radius, jnp.where(ratio > 0.95, 4.0, 2.5) * length)
    adapted = jnp.where(ratio < 0.25, shrunk, jnp.where(ratio > 0.75, grown, radius))
    # The length is no number where the model was none.
    return jnp.where(jnp.isfinite(adapted), adapted, 0.1 * radius)
