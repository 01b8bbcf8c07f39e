"""Newton's method within a trust region: exact for small problems, by conjugate gradients for large ones, boxed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxcalc import checks
from jaxcalc.programs import walk
from jaxcalc.solvers.boxes import project
from jaxcalc.solvers.control import cond, while_loop
from jaxcalc.solvers.protocol import Evaluations, Function, Iterate, Objective, Solver

__all__ = ["ball_step", "cheap_diagonal", "newton_cg", "start_ball", "trust_region"]

ACCEPT = 1e-4
"""The share of the model's decrease that an accepted step achieves at least."""
MAX_TRIALS = 60
MAX_PASSES = 40
"""The Hessian's diagonal is read where that takes at most so many products with it..."""
MAX_FLOPS = 1_000
"""...and where one product takes at most so many operations a variable: the pattern of dearer ones is long to read, and
dense."""
MANY = 200
"""Scales are read after so many products, or ten times as many as that takes: a tenth of the work at most."""


class _Proposal(NamedTuple):
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
    numbers = _numbers("trust_region", radius)
    return Solver("trust-region", start_ball, _dense_step, numbers, boxes=True, curved=True)


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
    numbers = _numbers("newton_cg", radius)
    choices = (("max_products", max_products), ("precondition", precondition))
    return Solver("newton-cg", _start_scaled, _product_step, numbers, choices, boxes=True)


def _numbers(who: str, radius: Any) -> dict[str, Any]:
    return {} if radius is None else {"radius": checks.number(who, "radius", radius, above=0)}


def start_ball(objective: Objective, x: Array, radius: Any = None, **_: Any) -> Iterate:
    """The start with the first radius."""
    value, gradient = objective.value_and_gradient(x)
    radius = jnp.maximum(1.0, 0.1 * jnp.linalg.norm(x)) if radius is None else radius
    radius = jnp.asarray(radius, x.dtype)
    return Iterate(
        x,
        value,
        gradient,
        radius,
        _info(jnp.zeros((), jnp.int32), radius, jnp.full_like(radius, jnp.nan)),
        Evaluations(1, 1),
    )


def _info(trials: Array, radius: Array, curvature: Array) -> dict[str, Array]:
    return {"trials": trials, "trust_radius": radius, "curvature": curvature}


def _dense_step(objective: Objective, at: Iterate, radius: Any = None) -> Iterate:
    return ball_step(objective, at, objective.hessian(at.x))


def ball_step(objective: Objective, at: Iterate, hessian: Array) -> Iterate:
    """One step with a given Hessian, or what stands for it, (n, n)."""
    if objective.lower is not None:
        propose, memory = _boxed(objective, at, lambda v: hessian @ v, at.x.size)
        return _stepped(objective, at, propose, memory, hessians=1)
    return _stepped(objective, at, *_exact(at, hessian), hessians=1)


class _Scaled(NamedTuple):
    """What Newton-CG remembers.

    Args:
      radius: of the ball, in scaled variables.
      units: of the variables: x is ``units`` times what conjugate gradients see, (n,).
      spent: products since the scales were read last.
    """

    radius: Array
    units: Array
    spent: Array


def _start_scaled(objective: Objective, x: Array, radius: Any = None, **_: Any) -> Iterate:
    at = start_ball(objective, x, radius)
    return at._replace(memory=_Scaled(at.memory, jnp.ones_like(x), jnp.zeros((), jnp.int32)))


def cheap_diagonal(fun: Function, x: Array) -> Any:
    """The plan of the diagonal of a function's Hessian where its price is that of few products, else None."""
    from jaxcalc.transforms import diagonal, hvp, plan

    like = walk.type_of(x)
    once = plan(hvp, fun, (like,), like).chosen
    if once.cost is None or once.cost.flops > MAX_FLOPS * x.size:
        return None
    found = plan(diagonal, fun, like)
    few = found.chosen.passes <= MAX_PASSES and found.chosen.seconds <= MAX_PASSES * once.seconds
    return found if few else None


def _product_step(
    objective: Objective, at: Iterate, max_products: int | None, precondition: bool, radius: Any = None
) -> Iterate:
    product = lambda v: objective.hvp(at.x, v)
    limit = min(at.x.size + 50, 10_000) if max_products is None else max_products
    radius, units, spent = at.memory
    inner = at._replace(memory=radius)
    if objective.lower is not None:
        end = _stepped(objective, inner, *_boxed(objective, inner, product, limit))
        return end._replace(memory=_Scaled(end.memory, units, spent))
    read = cheap_diagonal(objective.fun, at.x) if precondition else None
    if read is None:
        end = _stepped(objective, inner, *_steihaug(inner, product, limit))
        due, more = False, 0
    else:
        due = spent > max(10 * read.chosen.passes, MANY)
        units = cond(due, lambda: _units(read(at.x)), lambda: units)
        end = _stepped(objective, inner, *_steihaug(inner, product, limit, units))
        more = jnp.where(due, read.chosen.passes, 0)
    spent = jnp.where(due, 0, spent) + jnp.asarray(end.evaluations.hvps - at.evaluations.hvps)
    counts = end.evaluations.plus(hvps=more)
    return end._replace(memory=_Scaled(end.memory, units, spent), evaluations=counts)


def _units(diagonal: Array) -> Array:
    """Units in which the Hessian's diagonal is 1 as far as may be; their geometric mean is 1."""
    size = jnp.abs(diagonal)
    size = jnp.maximum(size, jnp.sqrt(jnp.finfo(size.dtype).eps) * jnp.max(size))
    units = jnp.exp(-0.5 * (jnp.log(size) - jnp.mean(jnp.log(size))))
    return jnp.where(jnp.all(jnp.isfinite(units)), units, jnp.ones_like(units))


class _Trial(NamedTuple):
    radius: Array
    memory: Any
    x: Array
    value: Array
    curvature: Array
    accepted: Array
    trials: Array
    hvps: Array


def _stepped(
    objective: Objective,
    at: Iterate,
    propose: Callable[[Array, Any], tuple[_Proposal, Any]],
    memory: Any,
    *,
    hessians: int = 0,
) -> Iterate:
    """Proposals of shrinking radius until one keeps enough of what the model promised; then the next radius."""
    eps = jnp.finfo(at.x.dtype).eps
    # Near the optimum both decreases are rounding; equal slack in both takes their ratio to one (Conn et al., 17.4.2).
    slack = 16 * eps * jnp.maximum(1.0, jnp.abs(at.value))
    size = jnp.maximum(jnp.linalg.norm(at.x), 1e-3)

    def body(state: _Trial) -> _Trial:
        offer, memory = propose(state.radius, state.memory)
        x = project(at.x + offer.step, objective.lower, objective.upper)
        value = objective(x)
        ratio = (at.value - value + slack) / (offer.decrease + slack)
        ratio = jnp.where(jnp.isfinite(value) & jnp.isfinite(offer.decrease), ratio, -1.0)
        length = offer.length
        accepted = ratio >= ACCEPT
        shrunk = jnp.minimum(0.25 * length, 0.5 * state.radius)
        grown = jnp.maximum(state.radius, jnp.where(ratio > 0.95, 4.0, 2.5) * length)
        radius = jnp.where(ratio < 0.25, shrunk, jnp.where(ratio > 0.75, grown, state.radius))
        radius = jnp.where(jnp.isfinite(radius), radius, 0.1 * state.radius)
        hvps = state.hvps + offer.hvps
        return _Trial(radius, memory, x, value, offer.curvature, accepted, state.trials + 1, hvps)

    def unfinished(state: _Trial) -> Array:
        return ~state.accepted & (state.trials < MAX_TRIALS) & (state.radius > eps * size)

    none = jnp.zeros((), jnp.int32)
    begun = _Trial(at.memory, memory, at.x, at.value, jnp.full_like(at.value, jnp.nan), jnp.asarray(False), none, none)
    end = while_loop(unfinished, body, begun)
    x = jnp.where(end.accepted, end.x, at.x)
    value, gradient = objective.value_and_gradient(x)
    # A step that changes nothing, or lowers nothing more than rounding without a smaller gradient, is the end.
    idle = end.accepted & (value >= at.value) & (jnp.linalg.norm(gradient) >= jnp.linalg.norm(at.gradient))
    counts = at.evaluations.plus(functions=end.trials, gradients=1, hvps=0 if hessians else end.hvps, hessians=hessians)
    info = _info(end.trials, end.radius, end.curvature)
    return Iterate(x, value, gradient, end.radius, info, counts, ~end.accepted | idle)


class _Eigen(NamedTuple):
    known: Array
    values: Array
    vectors: Array


def _exact(at: Iterate, hessian: Array) -> tuple[Callable[[Array, _Eigen], tuple[_Proposal, _Eigen]], _Eigen]:
    """Proposals by Cholesky's factor where Newton's step fits the ball, else by eigenvectors, found at most once."""
    g = at.gradient
    # Where there is no second derivative the slope alone leads on.
    hessian = jnp.where(jnp.all(jnp.isfinite(hessian)), hessian, 0.0)
    factor = jnp.linalg.cholesky(hessian)
    newton = -jax.scipy.linalg.cho_solve((factor, True), g)
    newton_length = jnp.linalg.norm(newton)
    newton_fits = lambda radius: jnp.isfinite(newton_length) & (newton_length <= radius)

    def whole(radius: Array, eigen: _Eigen) -> tuple[Array, Array, Array, _Eigen]:
        slope = jnp.vdot(g, newton)
        return newton, slope, -slope, eigen

    def within(radius: Array, eigen: _Eigen) -> tuple[Array, Array, Array, _Eigen]:
        found = lambda: _Eigen(jnp.asarray(True), *jnp.linalg.eigh(hessian))
        eigen = cond(eigen.known, lambda: eigen, found)
        image = eigen.vectors.T @ g
        inside = _secular(eigen.values, image, radius)
        return eigen.vectors @ inside, jnp.vdot(image, inside), jnp.vdot(inside, eigen.values * inside), eigen

    def propose(radius: Array, eigen: _Eigen) -> tuple[_Proposal, _Eigen]:
        step, linear, bent, eigen = cond(newton_fits(radius), whole, within, radius, eigen)
        squared, none = jnp.vdot(step, step), jnp.zeros((), jnp.int32)
        return _Proposal(step, jnp.sqrt(squared), -(linear + bent / 2), bent / squared, none), eigen

    n = g.size
    return propose, _Eigen(jnp.asarray(False), jnp.zeros(n, g.dtype), jnp.zeros((n, n), g.dtype))


def _secular(values: Array, image: Array, radius: Array) -> Array:
    """The model's minimiser in the ball, in the Hessian's eigenvectors.

    Args:
      values: eigenvalues, ascending, (n,).
      image: the gradient in the eigenvectors, (n,).
    """
    eps = jnp.finfo(image.dtype).eps
    least = values[0]
    scale = jnp.maximum(jnp.max(jnp.abs(values)), jnp.finfo(image.dtype).tiny)
    step = lambda shift: -image / jnp.maximum(values + shift, eps * eps * scale)
    norm = lambda shift: jnp.linalg.norm(step(shift))
    # |step| falls in the shift, from its value at max(0, -least) to under the radius at low + |g| / radius.
    low = jnp.maximum(0.0, -least)
    high = low + jnp.linalg.norm(image) / radius + eps * scale

    def body(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        low, high, shift, count = state
        d = step(shift)
        length = jnp.linalg.norm(d)
        low, high = jnp.where(length > radius, shift, low), jnp.where(length > radius, high, shift)
        slope = jnp.sum(d * d / jnp.maximum(values + shift, eps * eps * scale))
        newton = shift + (length - radius) / radius * length**2 / slope
        usable = jnp.isfinite(newton) & (newton > low) & (newton < high)
        return low, high, jnp.where(usable, newton, (low + high) / 2), count + 1

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        low, high, shift, count = state
        off = jnp.abs(norm(shift) - radius) > 0.01 * radius
        return off & (count < 100) & (high - low > 4 * eps * high)

    inner = norm(low) <= radius  # the ball does not bind, or only the curvature does: the hard case
    shift = while_loop(unfinished, body, (low, high, jnp.where(inner, low, high), jnp.zeros((), jnp.int32)))[2]
    shift = jnp.where(inner, low, shift)
    d = step(shift)
    length = jnp.linalg.norm(d)
    d = jnp.where(length > radius, d * (radius / length), d)
    lacking = jnp.sqrt(jnp.maximum(radius**2 - jnp.vdot(d, d), 0.0))
    along = jnp.where(image[0] > 0, -lacking, lacking)
    return jnp.where(inner & (least < 0), d.at[0].add(along), d)


class _Conjugate(NamedTuple):
    step: Array
    image: Array
    residual: Array
    direction: Array
    squared: Array
    done: Array
    spent: Array


class _Bent(NamedTuple):
    """What conjugate gradients found: a step, the model's slope and curvature along it, the products spent."""

    step: Array
    slope: Array
    curvature: Array
    spent: Array


def _forcing(gradient: Array) -> Array:
    """The residual that a truncated solve may leave."""
    norm = jnp.linalg.norm(gradient)
    return jnp.minimum(0.5, jnp.sqrt(norm)) * norm


def _steihaug(
    at: Iterate, product: Callable[[Array], Array], limit: int, units: Array | None = None
) -> tuple[Callable[..., Any], "_Bent"]:
    """Proposals by conjugate gradients that end at the ball's surface.

    Source of shortening what was refused: Nocedal and Yuan, in Advances in Nonlinear Programming, 1998, 153.
    """
    inward = (lambda v: v) if units is None else (lambda v: units * v)
    g = inward(at.gradient)
    enough = _forcing(g)

    def found(radius: Array) -> _Bent:
        def body(state: _Conjugate) -> _Conjugate:
            image = inward(product(inward(state.direction)))
            curvature = jnp.vdot(state.direction, image)
            # Where there is no second derivative the slope alone leads on.
            image = jnp.where(jnp.isfinite(curvature), image, 0.0)
            curvature = jnp.where(jnp.isfinite(curvature), curvature, 0.0)
            length = state.squared / curvature
            further = state.step + length * state.direction
            leaves = (curvature <= 0) | ~(jnp.linalg.norm(further) < radius)
            length = jnp.where(leaves, _to_surface(state.step, state.direction, radius), length)
            step = state.step + length * state.direction
            residual = state.residual - length * image
            squared = jnp.vdot(residual, residual)
            direction = residual + squared / state.squared * state.direction
            done = leaves | (jnp.sqrt(squared) <= enough)
            return _Conjugate(step, state.image + length * image, residual, direction, squared, done, state.spent + 1)

        def unfinished(state: _Conjugate) -> Array:
            return ~state.done & (state.spent < limit)

        zero = jnp.zeros_like(g)
        squared = jnp.vdot(g, g)
        begun = _Conjugate(zero, zero, -g, -g, squared, squared == 0, none)
        end = while_loop(unfinished, body, begun)
        return _Bent(end.step, jnp.vdot(g, end.step), jnp.vdot(end.step, end.image), end.spent)

    def propose(radius: Array, last: _Bent) -> tuple[_Proposal, _Bent]:
        # A step that was refused is shortened, which takes no products; one that met no number is sought nearer.
        known = (last.spent > 0) & jnp.isfinite(last.slope + last.curvature)
        bent = cond(known, lambda: last, lambda: found(radius))
        length = jnp.linalg.norm(bent.step)
        part = jnp.minimum(1.0, radius / length)
        step, decrease = part * inward(bent.step), -part * (bent.slope + part * bent.curvature / 2)
        spent = jnp.where(known, 0, bent.spent)
        curvature = part**2 * bent.curvature / jnp.vdot(step, step)
        return _Proposal(step, part * length, decrease, curvature, spent), bent

    none = jnp.zeros((), jnp.int32)
    return propose, _Bent(jnp.zeros_like(g), jnp.zeros((), g.dtype), jnp.zeros((), g.dtype), none)


def _to_surface(step: Array, direction: Array, radius: Array) -> Array:
    """The positive t with ``|step + t direction| = radius``."""
    a, b = jnp.vdot(direction, direction), jnp.vdot(step, direction)
    c = jnp.maximum(radius**2 - jnp.vdot(step, step), 0.0)
    return c / (b + jnp.sqrt(b**2 + a * c))


MAX_FACES = 20


class _Face(NamedTuple):
    step: Array
    image: Array
    done: Array
    spent: Array
    hvps: Array


def _boxed(
    objective: Objective, at: Iterate, product: Callable[[Array], Array], limit: int
) -> tuple[Callable[..., Any], tuple[()]]:
    """Proposals within the bounds and a cube of half the width ``radius``: from the Cauchy point on, face by face."""
    g = at.gradient
    assert objective.lower is not None and objective.upper is not None
    below, above = objective.lower - at.x, objective.upper - at.x
    model = lambda step, image: jnp.vdot(g, step) + jnp.vdot(step, image) / 2

    def propose(radius: Array, memory: tuple[()]) -> tuple[_Proposal, tuple[()]]:
        low, high = jnp.maximum(below, -radius), jnp.minimum(above, radius)
        enough = _forcing(_reduced(g, low, high, jnp.zeros_like(g)))

        def face(state: _Face) -> _Face:
            slope = g + state.image
            free = ~(((state.step <= low) & (slope > 0)) | ((state.step >= high) & (slope < 0)))
            direction, spent = _on_face(product, slope, free, state.step, low, high, enough, limit)
            step, image, more = _descend(product, model, slope, direction, state.step, state.image, low, high)
            left = jnp.linalg.norm(_reduced(g + image, low, high, step))
            idle = jnp.all(step == state.step)
            return _Face(step, image, (left <= enough) | idle, state.spent + 1, state.hvps + spent + more)

        def unfinished(state: _Face) -> Array:
            return ~state.done & (state.spent < MAX_FACES)

        zero = jnp.zeros_like(g)
        length = jnp.minimum(1.0, radius / jnp.max(jnp.abs(g)))
        cauchy, image, spent = _descend(product, model, g, -length * g, zero, zero, low, high)
        begun = _Face(cauchy, image, jnp.asarray(False), jnp.zeros((), jnp.int32), spent)
        end = while_loop(unfinished, face, begun)
        bent = jnp.vdot(end.step, end.image)
        decrease = -model(end.step, end.image)
        squared = jnp.vdot(end.step, end.step)
        return _Proposal(end.step, jnp.sqrt(squared), decrease, bent / squared, end.hvps), memory

    return propose, ()


def _reduced(slope: Array, low: Array, high: Array, step: Array) -> Array:
    """The projected gradient of the model."""
    return step - jnp.clip(step - slope, low, high)


def _descend(
    product: Any, model: Any, slope: Array, direction: Array, step: Array, image: Array, low: Array, high: Array
) -> Any:
    """Backtracking of the model along the projection of ``step + t direction``: step, image, products."""
    start = model(step, image)

    def attempt(t: Array) -> tuple[Array, Array, Array]:
        there = jnp.clip(step + t * direction, low, high)
        bent = product(there)
        fell = model(there, bent) <= start + 1e-2 * jnp.minimum(jnp.vdot(slope, there - step), 0.0)
        return there, bent, fell

    def body(state: Any) -> Any:
        t, _, _, _, count = state
        return 0.3 * t, *attempt(0.3 * t), count + 1

    one = jnp.ones((), step.dtype)
    unfinished = lambda state: ~state[3] & (state[4] < 25)
    _, there, bent, fell, count = while_loop(unfinished, body, (one, *attempt(one), jnp.ones((), jnp.int32)))
    return jnp.where(fell, there, step), jnp.where(fell, bent, image), count


def _on_face(
    product: Any, slope: Array, free: Array, step: Array, low: Array, high: Array, enough: Array, limit: int
) -> tuple[Array, Array]:
    """Conjugate gradients over the free variables, until one meets its bound: the direction and the products spent."""
    start = jnp.where(free, -slope, 0.0)

    def body(state: _Conjugate) -> _Conjugate:
        image = jnp.where(free, product(state.direction), 0.0)
        curvature = jnp.vdot(state.direction, image)
        length = state.squared / curvature
        further = step + state.step + length * state.direction
        leaves = (curvature <= 0) | jnp.any(free & ((further < low) | (further > high)))
        room = jnp.where(state.direction > 0, high - step - state.step, low - step - state.step) / state.direction
        first = jnp.min(jnp.where(free & (state.direction != 0), jnp.maximum(room, 0.0), jnp.inf))
        # Negative curvature is followed to the last bound in its way: the projection holds what met its bound before.
        last = jnp.max(jnp.where(free & (state.direction != 0) & jnp.isfinite(room), room, 0.0))
        length = jnp.where(curvature <= 0, jnp.maximum(first, last), length)
        total = state.step + length * state.direction
        residual = state.residual - length * image
        squared = jnp.vdot(residual, residual)
        direction = residual + squared / state.squared * state.direction
        done = leaves | (jnp.sqrt(squared) <= 0.1 * enough)
        return _Conjugate(total, state.image, residual, direction, squared, done, state.spent + 1)

    def unfinished(state: _Conjugate) -> Array:
        return ~state.done & (state.spent < limit) & (state.squared > 0)

    zero = jnp.zeros_like(start)
    begun = _Conjugate(zero, zero, start, start, jnp.vdot(start, start), jnp.asarray(False), jnp.zeros((), jnp.int32))
    end = while_loop(unfinished, body, begun)
    return end.step, end.spent
