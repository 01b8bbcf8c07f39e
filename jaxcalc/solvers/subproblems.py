"""The trust region's subproblem, ``min_d g'd + d'Hd / 2`` within a ball or a box, by three solvers.

``dense_ball`` takes the matrix H and is exact; ``truncated_ball`` takes products with H and stops early; ``box`` takes
products and keeps to bounds on every variable.

Throughout: g is the gradient (n,), H the Hessian or what stands for it, d the step (n,), p a direction of conjugate
gradients (n,) and r their residual (n,). The model's gradient at d is g + Hd. A length is that of a step; a step size
is the multiple of a direction.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxcalc.solvers.control import cond, while_loop

__all__ = ["Proposal", "Subproblem", "box", "dense_ball", "truncated_ball"]

MAX_SHIFTS = 100
"""Steps to the root of the secular equation: Newton's method takes a few, bisection some fifty."""
ON_SURFACE = 0.01
"""The share of the radius by which a step may miss the ball's surface: the radius itself is a guess."""
MAX_FACES = 20
"""Faces of a box that one step visits, each by conjugate gradients of its own; the next step goes on from there."""
MAX_BACKTRACKS = 25
"""Step sizes along a projected direction: the last is 0.3^24, about 3e-13 of the first."""
BACKTRACK = 0.3
SUFFICIENT = 1e-2
"""The share of the decrease along the model's gradient that a projected step achieves at least (Lin and More)."""


class Proposal(NamedTuple):
    """A step with what the model expects of it.

    Args:
      step: (n,).
      length: of the step, as the ball measures it.
      decrease: of the quadratic model, positive.
      curvature: d'Hd / d'd of the step.
      hvps: products spent.
    """

    step: Array
    length: Array
    decrease: Array
    curvature: Array
    hvps: Array


class Subproblem(NamedTuple):
    """The subproblem at one point, for whatever radius.

    Args:
      propose: ``(radius, memory) -> (Proposal, memory)``; called again with a smaller radius where a step is refused.
      memory: what the first call is given; what a call learnt spares the next one work.
    """

    propose: Callable[[Array, Any], tuple[Proposal, Any]]
    memory: Any


# -- a ball, by factors of the matrix ----------------------------------------------------------------------------------


class _Eigendecomposition(NamedTuple):
    """H's eigenvalues (n,) and eigenvectors (n, n), zeros until they are computed."""

    computed: Array
    eigenvalues: Array
    eigenvectors: Array


def dense_ball(gradient: Array, hessian: Array) -> Subproblem:
    """The exact solution: by Cholesky's factor where Newton's step fits the ball, else by eigenvectors.

    Args:
      gradient: (n,).
      hessian: (n, n).

    Cost: n^3 / 3 operations, and 10 n^3 once where the ball binds.
    """
    # Where there is no second derivative the slope alone leads on.
    hessian = jnp.where(jnp.all(jnp.isfinite(hessian)), hessian, 0.0)
    # NaN unless H is positive definite, and then the step does not fit.
    factor = jnp.linalg.cholesky(hessian)
    newton_step = -jax.scipy.linalg.cho_solve((factor, True), gradient)
    newton_length = jnp.linalg.norm(newton_step)
    newton_fits = lambda radius: jnp.isfinite(newton_length) & (newton_length <= radius)

    def newton(radius: Array, eigen: _Eigendecomposition) -> tuple[Array, Array, Array, _Eigendecomposition]:
        linear_term = jnp.vdot(gradient, newton_step)
        return newton_step, linear_term, -linear_term, eigen

    def secular(radius: Array, eigen: _Eigendecomposition) -> tuple[Array, Array, Array, _Eigendecomposition]:
        decompose = lambda: _Eigendecomposition(jnp.asarray(True), *jnp.linalg.eigh(hessian))
        eigen = cond(eigen.computed, lambda: eigen, decompose)
        rotated_gradient = eigen.eigenvectors.T @ gradient
        rotated_step = _secular_step(eigen.eigenvalues, rotated_gradient, radius)
        linear_term = jnp.vdot(rotated_gradient, rotated_step)
        quadratic_term = jnp.vdot(rotated_step, eigen.eigenvalues * rotated_step)
        return eigen.eigenvectors @ rotated_step, linear_term, quadratic_term, eigen

    def propose(radius: Array, eigen: _Eigendecomposition) -> tuple[Proposal, _Eigendecomposition]:
        step, linear_term, quadratic_term, eigen = cond(newton_fits(radius), newton, secular, radius, eigen)
        step_squared = jnp.vdot(step, step)
        decrease, curvature = -(linear_term + quadratic_term / 2), quadratic_term / step_squared
        return Proposal(step, jnp.sqrt(step_squared), decrease, curvature, jnp.zeros((), jnp.int32)), eigen

    n, dtype = gradient.size, gradient.dtype
    return Subproblem(propose, _Eigendecomposition(jnp.asarray(False), jnp.zeros(n, dtype), jnp.zeros((n, n), dtype)))


def _secular_step(eigenvalues: Array, rotated_gradient: Array, radius: Array) -> Array:
    """The model's minimiser in the ball, in the Hessian's eigenvectors.

    It is ``-(H + s I)^-1 g`` for the shift s with ``|d| = radius``, or for the least one that is allowed.

    Args:
      eigenvalues: ascending, (n,).
      rotated_gradient: the gradient in the eigenvectors, (n,).
    """
    eps = jnp.finfo(rotated_gradient.dtype).eps
    least = eigenvalues[0]
    scale = jnp.maximum(jnp.max(jnp.abs(eigenvalues)), jnp.finfo(rotated_gradient.dtype).tiny)
    # At s = -least the matrix is singular. Far below rounding of the eigenvalues, the floor only keeps 0 / 0 out.
    shifted = lambda shift: jnp.maximum(eigenvalues + shift, eps * eps * scale)
    step_at = lambda shift: -rotated_gradient / shifted(shift)
    length_at = lambda shift: jnp.linalg.norm(step_at(shift))
    # |d| falls in the shift, from its value at max(0, -least) to under the radius at that plus |g| / radius.
    least_shift = jnp.maximum(0.0, -least)
    most_shift = least_shift + jnp.linalg.norm(rotated_gradient) / radius + eps * scale

    def body(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        below, above, shift, count = state
        step = step_at(shift)
        length = jnp.linalg.norm(step)
        below, above = jnp.where(length > radius, shift, below), jnp.where(length > radius, above, shift)
        # Newton's method for 1 / |d| = 1 / radius, which is nearly linear in s; bisection where it leaves the bracket.
        inverse_product = jnp.sum(step * step / shifted(shift))  # d'(H + s I)^-1 d
        newton = shift + (length - radius) / radius * length**2 / inverse_product
        usable = jnp.isfinite(newton) & (newton > below) & (newton < above)
        return below, above, jnp.where(usable, newton, (below + above) / 2), count + 1

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        below, above, shift, count = state
        off = jnp.abs(length_at(shift) - radius) > ON_SURFACE * radius
        return off & (count < MAX_SHIFTS) & (above - below > 4 * eps * above)

    inside = length_at(least_shift) <= radius  # the ball does not bind, or only the curvature does: the hard case
    first = jnp.where(inside, least_shift, most_shift)
    shift = while_loop(unfinished, body, (least_shift, most_shift, first, jnp.zeros((), jnp.int32)))[2]
    shift = jnp.where(inside, least_shift, shift)
    step = step_at(shift)
    length = jnp.linalg.norm(step)
    step = jnp.where(length > radius, step * (radius / length), step)
    # The hard case: g has no part along the most negative curvature, which is followed to the surface all the same.
    to_surface = jnp.sqrt(jnp.maximum(radius**2 - jnp.vdot(step, step), 0.0))
    along_least = jnp.where(rotated_gradient[0] > 0, -to_surface, to_surface)
    return jnp.where(inside & (least < 0), step.at[0].add(along_least), step)


# -- a ball, by conjugate gradients ------------------------------------------------------------------------------------


class _ConjugateGradients(NamedTuple):
    """The state of conjugate gradients: d, Hd, r, p, r'r, whether they are at an end, and the products spent."""

    step: Array
    hessian_step: Array
    residual: Array
    direction: Array
    residual_squared: Array
    done: Array
    hvps: Array


class _Truncated(NamedTuple):
    """Where conjugate gradients ended, in scaled variables: d, g'd, d'Hd, and the products spent."""

    step: Array
    linear_term: Array
    quadratic_term: Array
    hvps: Array


def _largest_residual(gradient: Array) -> Array:
    """The norm of the residual that a truncated solve may leave, ``min(1/2, sqrt |g|) |g|``.

    Smaller against |g| the smaller that is, it spends no products far from the optimum and converges superlinearly
    near it.
    """
    norm = jnp.linalg.norm(gradient)
    return jnp.minimum(0.5, jnp.sqrt(norm)) * norm


def truncated_ball(
    gradient: Array, product: Callable[[Array], Array], max_products: int, units: Array | None = None
) -> Subproblem:
    """Conjugate gradients that end at the ball's surface.

    Args:
      gradient: (n,).
      product: with the Hessian, (n,) to (n,).
      max_products: of one step.
      units: of the variables, (n,): x is ``units`` times what conjugate gradients, and the ball, see.

    Source: Steihaug, SIAM J. Numer. Anal. 20 (1983) 626; of shortening what was refused: Nocedal and Yuan, in
    Advances in Nonlinear Programming, 1998, 153.
    """
    # A diagonal matrix: the same takes a scaled step to x, and a gradient in x to one in scaled variables.
    scale = (lambda v: v) if units is None else (lambda v: units * v)
    scaled_gradient = scale(gradient)
    largest_residual = _largest_residual(scaled_gradient)
    zero = jnp.zeros_like(scaled_gradient)
    no_products = jnp.zeros((), jnp.int32)

    def solve(radius: Array) -> _Truncated:
        def body(state: _ConjugateGradients) -> _ConjugateGradients:
            hessian_direction = scale(product(scale(state.direction)))
            quadratic_term = jnp.vdot(state.direction, hessian_direction)  # p'Hp
            # Where there is no second derivative the slope alone leads on.
            hessian_direction = jnp.where(jnp.isfinite(quadratic_term), hessian_direction, 0.0)
            quadratic_term = jnp.where(jnp.isfinite(quadratic_term), quadratic_term, 0.0)
            step_size = state.residual_squared / quadratic_term
            full_step = state.step + step_size * state.direction
            leaves = (quadratic_term <= 0) | ~(jnp.linalg.norm(full_step) < radius)
            step_size = jnp.where(leaves, _to_surface(state.step, state.direction, radius), step_size)
            residual = state.residual - step_size * hessian_direction
            residual_squared = jnp.vdot(residual, residual)
            return _ConjugateGradients(
                step=state.step + step_size * state.direction,
                hessian_step=state.hessian_step + step_size * hessian_direction,
                residual=residual,
                direction=residual + residual_squared / state.residual_squared * state.direction,
                residual_squared=residual_squared,
                done=leaves | (jnp.sqrt(residual_squared) <= largest_residual),
                hvps=state.hvps + 1,
            )

        def unfinished(state: _ConjugateGradients) -> Array:
            return ~state.done & (state.hvps < max_products)

        squared = jnp.vdot(scaled_gradient, scaled_gradient)
        start = _ConjugateGradients(
            zero, zero, -scaled_gradient, -scaled_gradient, squared, squared == 0, jnp.zeros((), jnp.int32)
        )
        end = while_loop(unfinished, body, start)
        linear_term, quadratic_term = jnp.vdot(scaled_gradient, end.step), jnp.vdot(end.step, end.hessian_step)
        return _Truncated(end.step, linear_term, quadratic_term, end.hvps)

    def propose(radius: Array, previous: _Truncated) -> tuple[Proposal, _Truncated]:
        # A step that was refused is shortened, which takes no products; one that met no number is sought nearer.
        solved = (previous.hvps > 0) & jnp.isfinite(previous.linear_term + previous.quadratic_term)
        end = cond(solved, lambda: previous, lambda: solve(radius))
        length = jnp.linalg.norm(end.step)
        share = jnp.minimum(1.0, radius / length)
        step = share * scale(end.step)
        decrease = -share * (end.linear_term + share * end.quadratic_term / 2)
        curvature = share**2 * end.quadratic_term / jnp.vdot(step, step)
        return Proposal(step, share * length, decrease, curvature, jnp.where(solved, 0, end.hvps)), end

    no_term = jnp.zeros((), scaled_gradient.dtype)
    return Subproblem(propose, _Truncated(zero, no_term, no_term, no_products))


def _to_surface(step: Array, direction: Array, radius: Array) -> Array:
    """The positive t with ``|step + t direction| = radius``."""
    # The root of a t^2 + 2 b t - c, written without the cancellation of b against the square root: b is positive here.
    a, b = jnp.vdot(direction, direction), jnp.vdot(step, direction)
    c = jnp.maximum(radius**2 - jnp.vdot(step, step), 0.0)
    return c / (b + jnp.sqrt(b**2 + a * c))


# -- a box, face by face -----------------------------------------------------------------------------------------------


class _FaceByFace(NamedTuple):
    """Where the search of a box is: d, Hd, whether it is at an end, the faces visited, the products spent."""

    step: Array
    hessian_step: Array
    done: Array
    faces: Array
    hvps: Array


def box(
    gradient: Array, product: Callable[[Array], Array], lower: Array, upper: Array, max_products: int
) -> Subproblem:
    """The bounds and a cube of half the width ``radius``: from the Cauchy point on, face by face.

    Args:
      gradient: (n,).
      product: with the Hessian, (n,) to (n,).
      lower, upper: bounds on the step, (n,), with 0 between them.
      max_products: on one face.

    Source: Lin and More, SIAM J. Optim. 9 (1999) 1100.
    """
    model = lambda step, hessian_step: jnp.vdot(gradient, step) + jnp.vdot(step, hessian_step) / 2

    def propose(radius: Array, memory: tuple[()]) -> tuple[Proposal, tuple[()]]:
        low, high = jnp.maximum(lower, -radius), jnp.minimum(upper, radius)
        zero = jnp.zeros_like(gradient)
        largest_residual = _largest_residual(_projected_gradient(gradient, low, high, zero))

        def visit(state: _FaceByFace) -> _FaceByFace:
            model_gradient = gradient + state.hessian_step
            blocked_low = (state.step <= low) & (model_gradient > 0)
            blocked_high = (state.step >= high) & (model_gradient < 0)
            free = ~(blocked_low | blocked_high)
            direction, on_face = _on_face(
                product, model_gradient, free, state.step, low, high, largest_residual, max_products
            )
            step, hessian_step, along = _descend(
                product, model, model_gradient, direction, state.step, state.hessian_step, low, high
            )
            residual = jnp.linalg.norm(_projected_gradient(gradient + hessian_step, low, high, step))
            idle = jnp.all(step == state.step)
            done = (residual <= largest_residual) | idle
            return _FaceByFace(step, hessian_step, done, state.faces + 1, state.hvps + on_face + along)

        def unfinished(state: _FaceByFace) -> Array:
            return ~state.done & (state.faces < MAX_FACES)

        # The largest component of the first step is the radius, unless the gradient itself is smaller.
        step_size = jnp.minimum(1.0, radius / jnp.max(jnp.abs(gradient)))
        cauchy, hessian_cauchy, hvps = _descend(product, model, gradient, -step_size * gradient, zero, zero, low, high)
        start = _FaceByFace(cauchy, hessian_cauchy, jnp.asarray(False), jnp.zeros((), jnp.int32), hvps)
        end = while_loop(unfinished, visit, start)
        quadratic_term, step_squared = jnp.vdot(end.step, end.hessian_step), jnp.vdot(end.step, end.step)
        decrease, curvature = -model(end.step, end.hessian_step), quadratic_term / step_squared
        return Proposal(end.step, jnp.sqrt(step_squared), decrease, curvature, end.hvps), memory

    return Subproblem(propose, ())


def _projected_gradient(model_gradient: Array, low: Array, high: Array, step: Array) -> Array:
    """``d - P(d - model_gradient)``, (n,), P the projection into the box: 0 at the model's stationary points."""
    return step - jnp.clip(step - model_gradient, low, high)


def _descend(
    product: Callable[[Array], Array],
    model: Callable[[Array, Array], Array],
    model_gradient: Array,
    direction: Array,
    step: Array,
    hessian_step: Array,
    low: Array,
    high: Array,
) -> tuple[Array, Array, Array]:
    """Backtracking of the model along the projection of ``d + t p``: the new d, its Hd, and the products spent."""
    model_before = model(step, hessian_step)

    def attempt(step_size: Array) -> tuple[Array, Array, Array]:
        projected = jnp.clip(step + step_size * direction, low, high)
        hessian_projected = product(projected)
        promised = jnp.minimum(jnp.vdot(model_gradient, projected - step), 0.0)
        descends = model(projected, hessian_projected) <= model_before + SUFFICIENT * promised
        return projected, hessian_projected, descends

    def body(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        step_size, _, _, _, hvps = state
        return BACKTRACK * step_size, *attempt(BACKTRACK * step_size), hvps + 1

    def unfinished(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        _, _, _, descends, hvps = state
        return ~descends & (hvps < MAX_BACKTRACKS)

    full = jnp.ones((), step.dtype)
    start = (full, *attempt(full), jnp.ones((), jnp.int32))
    _, projected, hessian_projected, descends, hvps = while_loop(unfinished, body, start)
    return jnp.where(descends, projected, step), jnp.where(descends, hessian_projected, hessian_step), hvps


def _on_face(
    product: Callable[[Array], Array],
    model_gradient: Array,
    free: Array,
    step: Array,
    low: Array,
    high: Array,
    largest_residual: Array,
    max_products: int,
) -> tuple[Array, Array]:
    """Conjugate gradients over the free variables, until one meets its bound: the direction and the products spent."""
    descent = jnp.where(free, -model_gradient, 0.0)

    def body(state: _ConjugateGradients) -> _ConjugateGradients:
        hessian_direction = jnp.where(free, product(state.direction), 0.0)
        quadratic_term = jnp.vdot(state.direction, hessian_direction)  # p'Hp
        step_size = state.residual_squared / quadratic_term
        full_step = step + state.step + step_size * state.direction
        leaves = (quadratic_term <= 0) | jnp.any(free & ((full_step < low) | (full_step > high)))
        # How far each variable can go along the direction.
        room = jnp.where(state.direction > 0, high - step - state.step, low - step - state.step) / state.direction
        first_bound = jnp.min(jnp.where(free & (state.direction != 0), jnp.maximum(room, 0.0), jnp.inf))
        # Negative curvature is followed to the last bound in its way: the projection holds what met its bound before.
        last_bound = jnp.max(jnp.where(free & (state.direction != 0) & jnp.isfinite(room), room, 0.0))
        step_size = jnp.where(quadratic_term <= 0, jnp.maximum(first_bound, last_bound), step_size)
        residual = state.residual - step_size * hessian_direction
        residual_squared = jnp.vdot(residual, residual)
        return _ConjugateGradients(
            step=state.step + step_size * state.direction,
            hessian_step=state.hessian_step,  # not needed: the projection changes the step
            residual=residual,
            direction=residual + residual_squared / state.residual_squared * state.direction,
            residual_squared=residual_squared,
            # A face is left at a tenth of what the whole box may leave, in which other faces have their share.
            done=leaves | (jnp.sqrt(residual_squared) <= 0.1 * largest_residual),
            hvps=state.hvps + 1,
        )

    def unfinished(state: _ConjugateGradients) -> Array:
        return ~state.done & (state.hvps < max_products) & (state.residual_squared > 0)

    zero = jnp.zeros_like(descent)
    start = _ConjugateGradients(
        zero, zero, descent, descent, jnp.vdot(descent, descent), jnp.asarray(False), jnp.zeros((), jnp.int32)
    )
    end = while_loop(unfinished, body, start)
    return end.step, end.hvps
