"""Which adjoint a flow is differentiated by: priced from its steps' programs, held to a memory budget."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxcalc.programs.cost import Cost, cost
from jaxcalc.programs.speed import device
from jaxcalc.transforms.choose import MemoryBudgetError, available_memory
from jaxcalc.transforms.flow_adjoints import MOST_RECORDED, Operands, Part, discrete, forward, reversible, term_of, walk
from jaxcalc.transforms.flow_back import segment_length
from jaxcalc.transforms.flow_event import DIRECTIONS, Event, moved_to_zero
from jaxcalc.transforms.flow_functions import pushes, traced_event, traced_field
from jaxcalc.transforms.flow_reversible import Reversible
from jaxcalc.transforms.flow_solvers import build, method
from jaxcalc.transforms.flow_steps import Moved, Setting, Walk, looping, taken
from jaxcalc.transforms.flow_symplectic import COMPOSITIONS, Symplectic, check_separable
from jaxcalc.transforms.tables import in_bytes

__all__ = [
    "AUTO_LEGS",
    "MOST_SENSITIVITIES",
    "Case",
    "balanced",
    "bound",
    "footprint",
    "own_walk",
    "prepared",
    "sensitivities_footprint",
    "step_costs",
]

# What solver="auto" takes: the second where the first is held by stability.
AUTO_LEGS = ("tsit5", "kvaerno5")


class Case(NamedTuple):
    """A flow made ready for the loop.

    Args:
      field: ``field(t, y, (leaves, rigid))``, along increasing times.
      at: what it is differentiated in.
      rigid: what it is not.
      make_legs: from ``rigid`` to how steps are taken.
      legs: how many solvers may take them.
      matrices: bytes of the matrices that implicit steps solve with, about.
      pushes: whether the field has derivatives in forward mode, as a ``jax.custom_vjp`` has not.
      dense: bytes of what interpolates all steps, where it is kept.
    """

    field: Callable[..., Any]
    at: Operands
    rigid: Any
    make_legs: Callable[..., tuple[Setting, ...]]
    legs: int
    matrices: int
    pushes: bool
    dense: int = 0


def prepared(field: Callable[..., Any], choices: Any, y0: Any, times: jax.Array, args: Any, tolerances: Any) -> Case:
    """The case of a field, ``field(t, y, args)``, with the choices of ``flow``.

    Args:
      tolerances: ``None`` where nothing needs them.
    """
    # Times increase for the loop; where steps are given they may go as they like.
    adapts = choices.num_steps is None
    sign = jnp.where(times[-1] >= times[0], 1, -1).astype(times.dtype) if adapts else None
    rates, operands = traced_field(field, times, y0, args)
    event: Any
    event, watched = (None, []) if choices.event is None else traced_event(choices.event(), times, y0, args)
    moves = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in operands]

    def of_parts(t: Any, y: Any, parts: Any) -> Any:
        floats, (others, _, sign, _) = parts
        more = iter(floats), iter(others)
        merged = [next(more[0]) if m else next(more[1]) for m in moves]
        if sign is None:
            return rates(t, y, merged)
        return jax.tree.map(lambda rate: (rate * sign).astype(rate.dtype), rates(sign * t, y, merged))

    floats = [leaf for leaf, m in zip(operands, moves) if m]
    rigid = [leaf for leaf, m in zip(operands, moves) if not m], tolerances, sign, watched
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(y0))
    grid = None if adapts else _grid(times, choices.num_steps)
    at = Operands(y0, times if sign is None else sign * times, grid, floats)
    forwards = pushes(rates, times[0], y0, operands)
    names = _names(choices, y0, forwards)
    if method(names[0]).symplectic:
        check_separable(names[0], lambda t, y: rates(t, y, operands), times[0], y0)
    if not forwards and any(method(name).implicit for name in names):
        raise TypeError(f"flow: solver={names[0]!r} differentiates the field forwards, which it does not allow{_ALONE}")
    worth = _worth(rates, y0, times, operands) if len(names) > 1 else math.inf

    def make_legs(rigid: Any) -> tuple[Setting, ...]:
        _, tolerances, sign, watched = rigid
        legs = _legs(choices, names, eps, tolerances, worth)
        if event is None:
            return legs
        # Where the loop ends is a constant of its steps; how the zero moves is told after it.
        held = jax.lax.stop_gradient
        ends = Event(lambda t, y: event(sign * held(t), held(y), watched), DIRECTIONS[choices.direction])
        return tuple(leg._replace(event=ends) for leg in legs)

    implicit = sum(method(name).implicit for name in names)
    matrices = implicit * _MATRICES * _bytes(y0) * _size(y0)
    dense = choices.dense * _INTERPOLATION * bound(choices, times) * _bytes(y0)
    return Case(of_parts, at, rigid, make_legs, len(names), matrices, forwards, dense)


def own_walk(field: Callable[..., Any], choices: Any, y0: Any, times: jax.Array, args: Any, tolerances: Any) -> Walk:
    """The states at all times by our own loop; arguments as of ``prepared``."""
    case = prepared(field, choices, y0, times, args, tolerances)
    slots = lambda: (choices.checkpoints or slots_for(choices, case),) * case.legs
    if choices.adjoint == "reversible":
        alone = method(choices.solver).symplectic  # such steps can be undone as they are
        pairs = case if alone else _in_pairs(case)
        found = walk(pairs.make_legs, pairs.field, pairs.at, pairs.rigid, reversible, pairs.pushes)
        return found if alone else found._replace(moved=Moved(found.states[0], found.moved.end[0]))
    auto = cheapest(discrete(slots)) if case.pushes else discrete(slots)
    ahead = forward if case.pushes else _not_forward
    quadrature = discrete(slots, exact=True)
    adjoint = {"auto": auto, "discrete": discrete(slots), "forward": ahead, "quadrature": quadrature}[choices.adjoint]
    found = walk(case.make_legs, case.field, case.at, case.rigid, adjoint, case.pushes)
    sign = case.rigid[2]
    if sign is not None:
        found = found._replace(time=sign * found.time)
    if choices.event is None:
        return found
    # The steps' ends, of which the last is at the event, move with the first time; the exact flow's do not.
    moves = 0 if choices.adjoint == "quadrature" else times[0] - jax.lax.stop_gradient(times[0])
    return _at_zero(field, choices.event(), found._replace(time=jax.lax.stop_gradient(found.time) + moves), args)


def _at_zero(field: Callable[..., Any], event: Callable[..., Any], found: Walk, args: Any) -> Walk:
    """The walk with its end at an event's zero, and moving with it."""
    t, y = found.time, found.moved.end
    values = lambda t, y, args: jnp.ravel(jnp.asarray(event(t, y, args), float))
    rates = jax.tree.map(lambda rate, leaf: jnp.asarray(rate, leaf.dtype), field(t, y, args), y)
    time, end = moved_to_zero(values, rates, t, y, args, found.crossed, found.scale)
    return found._replace(time=time, moved=found.moved._replace(end=end))


_ALONE = " (jax.custom_vjp, a callback): take an explicit solver, or write a jax.custom_jvp."


def _not_forward(*_: Any) -> Any:
    raise TypeError(
        "flow: adjoint='forward' differentiates the field forwards, which it does not allow (jax.custom_vjp): take "
        "adjoint='discrete'."
    )


def _in_pairs(case: Case) -> Case:
    """The case with two copies of its state, by a reversible solver.

    Raises:
      ValueError: for adaptive steps: the base method's error, which they adapt to, is not that of the pair.
    """
    if case.at.grid is None:
        raise ValueError("flow: adjoint='reversible' takes equal steps: give num_steps.")

    def make_legs(rigid: Any) -> tuple[Setting, ...]:
        return tuple(leg._replace(solver=Reversible(leg.solver), worth=None) for leg in case.make_legs(rigid))

    both = lambda t, pair, parts: tuple(case.field(t, y, parts) for y in pair)
    return case._replace(field=both, at=case.at._replace(y0=(case.at.y0, case.at.y0)), make_legs=make_legs)


def bound(choices: Any, times: jax.Array) -> int:
    """The most steps that are recorded."""
    if choices.num_steps is not None:
        return choices.num_steps * (times.shape[0] - 1)
    return choices.max_steps or MOST_RECORDED


def footprint(slots: int, most: int, case: Case) -> int:
    """About how many bytes a gradient takes that records so many states of at most so many steps."""
    state, more = _bytes(case.at.y0), _bytes(case.at.leaves)
    copies = 1 if slots >= most else 2  # halving what is recorded moves it
    segment = segment_length(most, slots)
    record = copies * slots * state + segment * state + most * case.at.times.dtype.itemsize
    return case.legs * (record + _LIVE * state + 3 * more + _FIXED + 2 * case.dense) + case.matrices


def sensitivities_footprint(count: int, case: Case) -> int:
    """About how many bytes sensitivities to so many numbers take."""
    path = (45 + 2 * case.at.times.shape[0]) * _bytes(case.at.y0)
    return case.legs * (count + 1) * path + case.matrices + _FIXED // 4


# States that live within a step and its transpose.
_LIVE = 30
# Bytes of numbers and coefficients, which count where states are small.
_FIXED = 6000
# States that interpolate a step: its ends and its stages.
_INTERPOLATION = 10
# Matrices of the state's size that live in a step of an implicit method.
_MATRICES = 22
# States that are recorded where they take few bytes: more than most solves take, and no more than caches hold of a
# thousand lanes, which are not seen here.
_MANY, _SMALL = 512, 1 << 16


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def balanced(most: int) -> int:
    """So many slots that they and a segment between two of them, which is taken again, are fewest together."""
    return min(most, 1 << math.ceil(math.log2(math.sqrt(2 * most))))


def slots_for(choices: Any, case: Case) -> int:
    """How many states to record: all of a number of steps that is given, if they fit; many of small states; else few.

    Raises:
      MemoryBudgetError: if not even the fewest fit.
    """
    most = bound(choices, case.at.times)
    need = lambda slots: footprint(slots, most, case)
    budget = choices.memory_budget
    limit = available_memory() // 4 if budget is None else budget
    few, many = balanced(most), min(most, _MANY)
    if choices.num_steps is not None and need(most) <= limit:
        return most
    if many > few and many * _bytes(case.at.y0) <= _SMALL and need(many) <= limit:
        return many
    if budget is not None and need(few) > budget:
        raise MemoryBudgetError(
            f"flow: no record of up to {most} steps fits a memory budget of {in_bytes(budget)}; the leanest takes "
            f"{in_bytes(need(few))}. Raise memory_budget, lower max_steps, or take adjoint='checkpointed' with few "
            "checkpoints, which computes more."
        )
    return few


# So many sensitivities at most are worth a thought; each takes more than a step's way back where they are more.
MOST_SENSITIVITIES = 32


def cheapest(reverse: Callable[..., Any]) -> Callable[..., Any]:
    """The way back, or sensitivities carried forward where they are few and a step with them costs less."""

    def adjoint(legs: tuple[Setting, ...], field: Callable[..., Any], part: Part) -> Any:
        if _is_forward_cheaper(legs[0], field, part):
            return forward(legs, field, part)
        return reverse(legs, field, part)

    return adjoint


def _is_forward_cheaper(setting: Setting, field: Callable[..., Any], part: Part) -> bool:
    count = sum(leaf.size for leaf in part.moving)
    if count > MOST_SENSITIVITIES or any(jnp.iscomplexobj(leaf) for leaf in part.moving):
        return False
    ahead, once, back = (device().seconds(price, within=True) for price in step_costs(setting, field, part))
    return ahead < once + back


def step_costs(setting: Setting, field: Callable[..., Any], part: Part) -> tuple[Cost, Cost, Cost]:
    """What a step costs with its sensitivities, by itself, and taken again and transposed."""
    at = part.merged(part.moving)
    begin, end = at.times[0], at.times[-1]

    def stepping(loops: Any) -> Callable[[Any], Any]:
        looped = setting._replace(solver=looping(setting.solver, loops))

        def step(moving: Any) -> Any:
            at = part.merged(moving)
            term = term_of(field, at.leaves)
            return taken(looped, term, begin, end, at.y0, term.vf(begin, at.y0, None)).y

        return step

    ahead, back = stepping("lax"), stepping(None)
    flat, unravel = ravel_pytree(part.moving)
    with_tangents = jax.vmap(lambda v, moving: jax.jvp(ahead, (moving,), (unravel(v),)), (0, None), (None, 0))
    transposed = lambda bar, moving: jax.vjp(back, moving)[1](bar)
    basis = jax.ShapeDtypeStruct((flat.size, flat.size), flat.dtype)
    few = flat.size <= MOST_SENSITIVITIES
    sensitive = cost(with_tangents, basis, part.moving, trips=_ITERATIONS) if few else Cost()
    once = cost(ahead, part.moving, trips=_ITERATIONS)
    return sensitive, once, cost(transposed, at.y0, part.moving, trips=_ITERATIONS)


def _grid(times: jax.Array, num_steps: int) -> jax.Array:
    """Equal steps between any two times, each of which is met exactly."""
    share = jnp.arange(num_steps, dtype=times.dtype)[None] / num_steps
    return jnp.append((times[:-1, None] + (times[1:] - times[:-1])[:, None] * share).reshape(-1), times[-1])


# A larger state's matrices are large: an implicit method is then for who asks for it.
_LARGEST_MATRIX = 100


def _names(choices: Any, y0: Any, pushes: bool) -> tuple[str, ...]:
    """The solvers, each of which goes on where the one before was too stiff."""
    if choices.solver != "auto":
        return (choices.solver,)
    # An implicit step's derivative is that of its equations, in forward mode first.
    return AUTO_LEGS if pushes and _size(y0) <= _LARGEST_MATRIX else AUTO_LEGS[:1]


def _legs(choices: Any, names: tuple[str, ...], eps: float, tolerances: Any, worth: float) -> tuple[Setting, ...]:
    import diffrax

    if method(names[0]).symplectic:
        return (Setting(Symplectic(COMPOSITIONS[names[0]]), None, None),)
    if choices.num_steps is not None:
        return (Setting(build(names[0], tolerances, eps), None, None, equations=tolerances, dense=choices.dense),)
    rtol, atol = tolerances
    # No error in a state that stays 0 is none of any scale, and no 0 / 0.
    controller = diffrax.PIDController(rtol, jnp.maximum(atol, jnp.finfo(jnp.float32).tiny))
    settings = []
    for number, name in enumerate(names):
        leaves = worth if number + 1 < len(names) else math.inf
        worthwhile = leaves if method(name).tells_stiffness else None
        solver, lands = build(name, tolerances, eps), method(name).implicit
        more = {"worth": worthwhile, "lands": lands, "equations": tolerances}
        more |= {"sensitive": choices.sensitive, "dense": choices.dense}
        settings.append(Setting(solver, controller, choices.max_steps, **more))
    return tuple(settings)


# Steps that an implicit method takes of a flow that was too stiff for an explicit one, about.
_IMPLICIT_STEPS = 150
# Products with the field in one of its steps: so many stages, each solved by so many iterations.
_STAGES, _ITERATIONS = 6, 3


def _worth(field: Callable[..., Any], y0: Any, times: Any, operands: Any) -> float:
    """How many explicit steps take as long as an implicit method's whole solve, by the field's price."""
    on = device()
    rate = on.nanoseconds
    size = _size(y0)
    once = 1e9 * on.seconds(cost(field, times[0], y0, operands), within=True)
    overhead = 40 * rate["kernels"]
    explicit = 6 * once + overhead
    matrix = size * once / 4 + 2 / 3 * size**3 * rate["linear algebra"] + overhead
    implicit = _STAGES * _ITERATIONS * (once + 2 * size**2 * rate["gemv"] + overhead) + matrix
    return _IMPLICIT_STEPS * implicit / explicit
