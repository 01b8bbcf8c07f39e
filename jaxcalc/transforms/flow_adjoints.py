"""Derivatives of a flow's accepted steps, in forward and in reverse mode."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.flatten_util import ravel_pytree

from jaxcalc.transforms.flow_back import go_back
from jaxcalc.transforms.flow_quadrature import integrate_back
from jaxcalc.transforms.flow_reals import from_reals, in_reals
from jaxcalc.transforms.flow_reversible import run_back
from jaxcalc.transforms.flow_spectrum import Probe, probe
from jaxcalc.transforms.flow_steps import (
    STIFF,
    End,
    Moved,
    Record,
    Setting,
    Walk,
    at_start,
    states_at_start,
    where_rows,
)
from jaxcalc.transforms.flow_walk import walk_on
from jaxcalc.transforms.guards import sending
from jaxcalc.transforms.linear_map import linear_map, once

__all__ = ["MOST_RECORDED", "Operands", "Part", "discrete", "forward", "reversible", "term_of", "walk"]

_TWICE = (
    "flow: this adjoint gives first derivatives alone. For a second one use adjoint='direct', whose steps JAX "
    "differentiates itself."
)


_STILL = (
    "flow: what is between the times (dense=True) is not differentiated in the times themselves: differentiate the "
    "states at times, or hold the times by jax.lax.stop_gradient."
)


# Steps that are recorded where a user sets no limit.
MOST_RECORDED = 1 << 16


class Operands(NamedTuple):
    """What a flow is differentiated in: its start, its times, where its steps end if given, and further leaves."""

    y0: Any
    times: jax.Array
    grid: Any
    leaves: Any


class Part(NamedTuple):
    """Those of the operands' leaves that move, and the rest.

    Args:
      moving, tangents: those leaves, and their tangents.
      which: for each leaf whether it does.
      fixed: all leaves.
      structure: of the operands.
    """

    moving: list[Any]
    tangents: list[Any]
    which: tuple[bool, ...]
    fixed: list[Any]
    structure: Any

    @classmethod
    def of(cls, at: Operands, tangents: Any) -> "Part":
        leaves, structure = jax.tree.flatten(at)
        dots = jax.tree.leaves(tangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
        which = tuple(not isinstance(dot, SymbolicZero) and leaf.size > 0 for leaf, dot in zip(leaves, dots))
        some = lambda values: [value for value, moves in zip(values, which) if moves]
        return cls(some(leaves), some(dots), which, leaves, structure)

    def merged(self, moving: Any) -> Operands:
        """The operands with other values of what moves."""
        more = iter(moving)
        return jax.tree.unflatten(self.structure, [next(more) if m else x for m, x in zip(self.which, self.fixed)])

    @property
    def flags(self) -> Operands:
        """The operands' structure, true where a leaf moves."""
        return jax.tree.unflatten(self.structure, list(self.which))


def term_of(field: Callable[..., Any], leaves: Any) -> Any:
    import diffrax

    return diffrax.ODETerm(lambda t, y, _: field(t, y, leaves))


def _legs(legs: tuple[Setting, ...], field: Callable[..., Any], at: Operands) -> tuple[Walk, tuple[Record | None, ...]]:
    """The walk by one solver after the other: the next goes on where one ended because it was too stiff."""
    ends: list[End] = []
    sensitive = [leg for leg in legs if leg.sensitive]
    by = _spectral(field, at, sensitive[0].equations) if sensitive else None
    for leg in legs:
        before = ends[-1] if ends else None
        end = walk_on(leg, term_of(field, at.leaves), at.y0, at.times, at.grid, before, by)
        if before is not None:
            goes_on = before.status == STIFF
            late = at.times > before.t if at.times.shape[0] > 2 else jnp.asarray([False, True])
            end = end._replace(
                states=where_rows(late & goes_on, end.states, before.states),
                saved=jnp.where(goes_on, end.saved, before.saved),
                status=jnp.where(goes_on, end.status, before.status),
                crossed=jnp.where(goes_on, end.crossed, before.crossed),
            )
        ends.append(end)
    last = ends[-1]
    counts = zip(*((end.attempts, end.accepted, end.evaluations) for end in ends))
    records = tuple(end.record for end in ends)
    kept = [record for record in records if record is not None and record.dense is not None]
    moved = Moved(last.states, last.y, tuple(record.dense for record in kept))
    grids = tuple(record.grid for record in kept)
    return Walk(moved, last.t, grids, last.saved, last.status, last.crossed, *counts), records


def _spectral(field: Callable[..., Any], at: Operands, tolerances: Any) -> Probe | None:
    """The probe of a field, by which nothing is differentiated."""
    held = jax.lax.stop_gradient(at)
    return probe(term_of(field, held.leaves), held.times[0], held.y0, tolerances)


def walk(
    make_legs: Callable[..., tuple[Setting, ...]],
    field: Callable[..., Any],
    at: Operands,
    rigid: Any,
    adjoint: Callable[..., Any],
    pushes: bool,
) -> Walk:
    """Steps whose derivative is taken as ``adjoint`` says.

    Args:
      make_legs: from ``rigid`` to how steps are taken, one solver after the other.
      field: ``field(t, y, (leaves, rigid))``, closing over no tracer.
      rigid: what nothing is differentiated in.
      adjoint: from the legs, the field of ``leaves``, the operands and which of them move to the walk and its
        vector-Jacobian product.
      pushes: whether the field may be differentiated forwards; the flow may in any case.
    """

    @jax.custom_jvp
    def run(at: Operands, rigid: Any) -> Walk:
        return _legs(make_legs(rigid), lambda t, y, leaves: field(t, y, (leaves, rigid)), at)[0]

    @functools.partial(run.defjvp, symbolic_zeros=True)
    def _(primals: Any, tangents: Any) -> Any:
        at, rigid = primals
        held = lambda t, y, leaves: field(t, y, (leaves, rigid))
        legs = tuple(leg._replace(sensitive=leg.controller is not None) for leg in make_legs(rigid))
        part = Part.of(once(_TWICE)(at), tangents[0])
        if part.flags.times and any(leg.dense for leg in legs):
            raise TypeError(_STILL)
        out, pull = adjoint(legs, held, part)
        if part.moving:
            forward = lambda dots: jax.jvp(
                lambda moved: _legs(legs, held, part.merged(moved))[0].moved, (part.moving,), (dots,)
            )[1]
            if not pushes:
                forward = _by_rows(pull, out.moved)
            # Transposed after the call that began it, and out of its guard.
            moved_dot = linear_map(sending(forward), sending(pull), part.tangents, out.moved)
        else:
            moved_dot = jax.tree.map(jnp.zeros_like, out.moved)
        return out, Walk(moved_dot, *jax.tree.map(_no_tangent, tuple(out)[1:]))

    return run(at, rigid)


def _no_tangent(leaf: Any) -> Any:
    """Of what is held constant."""
    floats = jnp.issubdtype(leaf.dtype, jnp.inexact)
    return jnp.zeros_like(leaf) if floats else np.zeros(leaf.shape, jax.dtypes.float0)


def _by_rows(pull: Callable[..., Any], moved: Any) -> Callable[..., Any]:
    """Products with a Jacobian from those with its transpose, one for each number of the outputs."""
    flat, unravel = ravel_pytree(moved)

    def forward(dots: Any) -> Any:
        rows = jax.vmap(lambda bar: pull(unravel(bar)))(jnp.eye(flat.size, dtype=flat.dtype))
        parts = [jnp.tensordot(row, dot, dot.ndim) for row, dot in zip(rows, dots)]
        return unravel(jnp.stack(parts).sum(0).astype(flat.dtype))

    return forward


def discrete(slots: Callable[[], tuple[int, ...]], *, exact: bool = False) -> Callable[..., Any]:
    """The adjoint of the accepted steps, from so many recorded states of each leg, told where they are needed.

    Args:
      exact: whether the adjoint equation is solved along them in place: the exact flow's adjoint, to tolerances.
    """

    def adjoint(legs: tuple[Setting, ...], field: Callable[..., Any], part: Part) -> Any:
        at, flags = part.merged(part.moving), part.flags
        legs = tuple(
            leg._replace(slots=number, max_steps=leg.max_steps or MOST_RECORDED, lands=leg.lands or exact)
            for leg, number in zip(legs, slots())
        )
        out, records = _legs(legs, field, at)
        moved, make_term = _moved_term(field, at.leaves, flags.leaves)
        with_times = bool(flags.times) or bool(jax.tree.leaves(flags.grid) and flags.grid)

        def pull(bars: Moved) -> list[Any]:
            states_bar = all_bar = bars.states
            begun = at_start(at.times) if at.grid is None else jnp.arange(at.times.shape[0]) == 0
            nothing = jax.tree.map(jnp.zeros_like, states_bar)
            start_bar, states_bar = where_rows(begun, states_bar, nothing), where_rows(begun, nothing, states_bar)
            only_end = at.times.shape[0] == 2
            y_bar = jax.tree.map(lambda path, end: path[-1] + end if only_end else end, states_bar, bars.end)
            times_bar, grid_bar, leaves_bar = jax.tree.map(jnp.zeros_like, (at.times, at.grid, moved))
            dense_bars = bars.dense or (None,) * len(legs)
            for leg, record, dense_bar in reversed(list(zip(legs, records, dense_bars))):
                assert record is not None
                given = leg, make_term, record, at.times, moved, states_bar, y_bar
                if exact:
                    back = integrate_back(*given, given_grid=at.grid is not None)
                else:
                    back = go_back(*given, dense_bar, given_grid=at.grid is not None, with_times=with_times)
                y_bar = back.y
                leaves_bar = jax.tree.map(jnp.add, leaves_bar, back.args)
                if back.grid is not None:
                    times_bar = times_bar + back.times
                    if at.grid is None:
                        times_bar = times_bar + _ends_bar(record, back.grid, at.times)
                    else:
                        grid_bar = back.grid
            if exact and with_times:
                times_bar = _exact_times_bar(make_term(moved), at, out.states, states_bar, y_bar)
            if at.grid is None:

                def begin(y0: Any, times: Any, moved: Any) -> Any:
                    return states_at_start(make_term(moved).vf(times[0], y0, None), y0, times)

                more = jax.vjp(begin, at.y0, at.times, moved)[1](start_bar)
            else:
                more = jax.tree.map(lambda path: path[0], start_bar), 0 * at.times, jax.tree.map(jnp.zeros_like, moved)
            y_bar, times_bar, leaves_bar = jax.tree.map(jnp.add, (y_bar, times_bar, leaves_bar), more)
            whole = jax.tree.leaves(Operands(y_bar, times_bar, grid_bar, None))
            head = [bar for bar, moves in zip(whole, jax.tree.leaves(flags._replace(leaves=None))) if moves]
            return [bar + _unreached(out, all_bar).astype(bar.dtype) for bar in head + leaves_bar]

        return out, pull

    return adjoint


def _exact_times_bar(term: Any, at: Operands, states: Any, states_bar: Any, y_bar: Any) -> jax.Array:
    """Cotangents of the times that the exact flow is seen at, and begins at."""
    dot = lambda rates, bars: sum(
        (jnp.conj(rate) * jnp.conj(bar)).real.reshape(rate.shape[0], -1).sum(1)
        for rate, bar in zip(jax.tree.leaves(rates), jax.tree.leaves(bars))
    )
    seen: Any = dot(jax.vmap(lambda t, y: term.vf(t, y, None))(at.times, states), states_bar)
    lead = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)
    begun: Any = dot(lead(term.vf(at.times[0], at.y0, None)), lead(y_bar))
    return seen.astype(at.times.dtype).at[0].add(-begun[0].astype(at.times.dtype))


def reversible(legs: tuple[Setting, ...], field: Callable[..., Any], part: Part) -> Any:
    """The adjoint of steps that are undone on the way back; of them their ends alone are recorded."""
    (leg,), at, flags = legs, part.merged(part.moving), part.flags
    leg = leg._replace(slots=None, max_steps=leg.max_steps or MOST_RECORDED)
    solver: Any = leg.solver
    out, (record,) = _legs((leg,), field, at)
    assert record is not None
    moved, make_term = _moved_term(field, at.leaves, flags.leaves)
    only_end = at.times.shape[0] == 2

    def pull(bars: Moved) -> list[Any]:
        states_bar = bars.states
        nothing = jax.tree.map(lambda path: jnp.zeros_like(path[0]), states_bar)
        per = 0 if only_end or at.grid is None else (at.grid.shape[0] - 1) // (at.times.shape[0] - 1)

        def saved_bar(n: Any) -> Any:
            if not per:
                return nothing
            here = (n + 1) % per == 0
            return jax.tree.map(lambda path: jnp.where(here, path[(n + 1) // per], 0), states_bar)

        pair = jax.tree.map(lambda path: path[-1], out.states)
        pair_bar = bars.end if per else jax.tree.map(lambda path, end: path[-1] + end, states_bar, bars.end)
        back = run_back(solver, make_term, record.grid, record.length, moved, pair, pair_bar, saved_bar)
        y_bar = jax.tree.map(lambda bar, path: bar + path[0], back[0], states_bar)
        times_bar = jnp.zeros_like(at.times) if at.grid is not None else _ends_bar(record, back[2], at.times)
        whole = jax.tree.leaves(Operands(y_bar, times_bar, None if at.grid is None else back[2], None))
        head = [bar for bar, moves in zip(whole, jax.tree.leaves(flags._replace(leaves=None))) if moves]
        return [bar + _unreached(out, states_bar).astype(bar.dtype) for bar in head + back[1]]

    return out, pull


def forward(legs: tuple[Setting, ...], field: Callable[..., Any], part: Part) -> Any:
    """The sensitivities to all that moves, carried along with the states: no way back, for few inputs."""
    flat, unravel = ravel_pytree(in_reals(part.moving))
    run = lambda moving: _legs(legs, field, part.merged(moving))[0]

    def one(direction: jax.Array) -> Any:
        out, dots = jax.jvp(run, (part.moving,), (from_reals(unravel(direction), 1j),))
        return out, dots.moved

    out, jacobian = jax.vmap(one, out_axes=(None, 0))(jnp.eye(flat.size, dtype=flat.dtype))

    def pull(bars: Moved) -> list[Any]:
        pairs = zip(jax.tree.leaves(jacobian), jax.tree.leaves(bars))
        total = sum(jnp.tensordot(rows, bar, bar.ndim).real for rows, bar in pairs)
        return from_reals(unravel((total + _unreached(out, bars.states)).astype(flat.dtype)), -1j)

    return out, pull


def _unreached(out: Walk, states_bar: Any) -> jax.Array:
    """0, or NaN where the states that were not reached have cotangents that are none."""
    total = lambda bar: jnp.where(
        jnp.arange(bar.shape[0]) >= out.saved, jnp.abs(bar).reshape(bar.shape[0], -1).sum(1), 0
    )
    return 0 * jnp.stack([total(bar).sum() for bar in jax.tree.leaves(states_bar)]).sum()


def _moved_term(field: Callable[..., Any], leaves: Any, flags: Any) -> tuple[list[Any], Callable[[Any], Any]]:
    """The leaves that move, and what makes a term of other values of them."""
    held, structure = jax.tree.flatten(leaves)
    which = jax.tree.leaves(flags)

    def make_term(moved: Any) -> Any:
        more = iter(moved)
        return term_of(field, jax.tree.unflatten(structure, [next(more) if m else x for m, x in zip(which, held)]))

    return [leaf for leaf, moves in zip(held, which) if moves], make_term


def _ends_bar(record: Record, grid_bar: jax.Array, times: jax.Array) -> jax.Array:
    """Cotangents of adaptive steps' ends as those of times: the last step ends at the last one, the others follow."""
    reached = record.grid[record.length] >= times[-1]
    last = jnp.where(reached, grid_bar[record.length], 0)
    return jnp.zeros_like(times).at[0].set(grid_bar.sum() - last).at[-1].add(last)
