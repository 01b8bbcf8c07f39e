"""What a flow's loop of steps is made of: settings, records and ends, one step of a method, lanes."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from jaxcalc.transforms.flow_implicit import implicit_step
from jaxcalc.transforms.flow_solvers import explicit_tableau, implicit_tableau

if TYPE_CHECKING:
    import diffrax

__all__ = [
    "EVENT",
    "NON_FINITE",
    "NO_TIMES",
    "OUT_OF_STEPS",
    "REACHED",
    "RUNNING",
    "STIFF",
    "STUCK",
    "UNSOLVED",
    "End",
    "Moved",
    "Record",
    "Setting",
    "Step",
    "Walk",
    "add",
    "any_lane",
    "at_start",
    "looping",
    "norm",
    "reuses",
    "states_at_start",
    "strain",
    "taken",
    "where",
    "where_rows",
    "written_out",
    "zeros",
]

RUNNING = -1
REACHED, OUT_OF_STEPS, NON_FINITE, STUCK, NO_TIMES, UNSOLVED, STIFF, EVENT = range(8)


class Setting(NamedTuple):
    """How steps are taken.

    Args:
      solver: takes one: diffrax's, a symplectic or a reversible one.
      controller: adapts them; ``None`` where they are given.
      max_steps: the most that are tried; ``None`` for no end.
      slots: how many states are recorded; 0 for none, and ``None`` for the steps' ends alone.
      worth: where stability holds steps, the loop ends as stiff if more than so many are left, or than it may take;
        infinite for never; ``None`` of a method that cannot tell.
      lands: whether steps end at the times asked for. An implicit method's long steps are not interpolated: slopes of a
        stiff field are less exact than its states, by as much as it is stiff.
      written_out: whether an explicit method's stages are, which runs faster; a large field compiles faster in a loop.
      equations: tolerances, relative and absolute, that an implicit method's are solved to.
      sensitive: whether adaptive steps of an explicit method are kept stable for what the state does not show, too.
      dense: whether what interpolates each step is kept.
      event: an ``Event`` that ends the loop where it crosses zero.
    """

    solver: Any
    controller: "diffrax.AbstractStepSizeController | None"
    max_steps: int | None
    slots: int | None = 0
    worth: float | None = None
    lands: bool = False
    written_out: bool = True
    equations: Any = None
    sensitive: bool = False
    dense: bool = False
    event: Any = None


class Record(NamedTuple):
    """What is kept of the accepted steps.

    Args:
      grid: their ends, after the start, shape ``(max_steps + 1,)``.
      slots: the states at every ``stride``-th of them, on leading axes; ``None`` where none is kept.
      stride: a power of two, 1 until the slots are full.
      length: how many steps there are.
      dense: what interpolates each of them, on leading axes; ``None`` where it is not kept.
    """

    grid: jax.Array
    slots: Any
    stride: jax.Array
    length: jax.Array
    dense: Any = None


class End(NamedTuple):
    """Where the loop ended.

    Args:
      t, y: the last accepted time and state.
      size: of the step that would come next.
      slope: the field's there, of a method that reuses it.
      states: at the times asked for, on leading axes; zero where they were not reached.
      saved: how many of them were.
      status: one of this module's.
      attempts, accepted: steps tried and accepted.
      evaluations: of the field.
      record: of the steps; ``None`` where none was asked for.
      crossed: the number of the event's function that the loop ended at; -1 for none.
      scale: its largest value nearby.
    """

    t: jax.Array
    y: Any
    size: jax.Array
    slope: Any
    states: Any
    saved: jax.Array
    status: jax.Array
    attempts: jax.Array
    accepted: jax.Array
    evaluations: jax.Array
    record: Record | None
    crossed: jax.Array
    scale: jax.Array


class Moved(NamedTuple):
    """What of a walk is differentiated.

    Args:
      states: at all times, on leading axes; zero where they were not reached.
      end: the last state.
      dense: what interpolates each step, of each leg; empty where it is not kept.
    """

    states: Any
    end: Any
    dense: Any = ()


class Walk(NamedTuple):
    """Where the steps went.

    Args:
      moved: its states.
      time: of the last one.
      grids: where the steps of each leg ended; empty where they are not kept.
      saved: how many of the states at the times asked for were reached.
      status: one of this module's.
      crossed: the number of the event's function that ended it; -1 for none.
      scale: its largest value nearby.
      attempts, accepted, evaluations: of each leg.
    """

    moved: Moved
    time: jax.Array
    grids: tuple[jax.Array, ...]
    saved: jax.Array
    status: jax.Array
    crossed: jax.Array
    scale: jax.Array
    attempts: tuple[jax.Array, ...]
    accepted: tuple[jax.Array, ...]
    evaluations: tuple[jax.Array, ...]

    @property
    def states(self) -> Any:
        """At all times asked for."""
        return self.moved.states


@custom_vmap
def any_lane(flag):
    """Whether any lane says so: one answer for all, so that a loop under ``vmap`` copies no buffer to mask it."""
    return flag


@any_lane.def_vmap
def _(size, batched, flag):
    answer: Any = any_lane(flag.any(0) if batched[0] else flag)
    return answer, False


def where(flag, new, old):
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), new, old)


def where_rows(flags, new, old):
    return jax.tree.map(lambda a, b: jnp.where(flags.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


def at_start(times: jax.Array) -> jax.Array:
    """Which of the times, that increase, are the first."""
    return times <= times[0]


def states_at_start(slope: Any, y0: Any, times: jax.Array) -> Any:
    """The states at times that are the first, where no step leads: the start, moving with the times by its slope."""
    gone = lambda y: (times - times[0]).reshape(-1, *[1] * y.ndim).astype(y.dtype)
    return jax.tree.map(lambda y, k: jnp.expand_dims(y, 0) + gone(y) * jnp.expand_dims(k, 0), y0, slope)


def zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


def add(a, b):
    return jax.tree.map(jnp.add, a, b)


def norm(tree):
    """The root mean square over everything in a tree."""
    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in leaves) / sum(leaf.size for leaf in leaves))


class Step(NamedTuple):
    """A step.

    Args:
      y: its end.
      error: the estimate of its error.
      dense: what interpolates it.
      slope: its last, of methods that reuse it.
      solved: whether its equations were.
      evaluations: how often the field was evaluated.
    """

    y: Any
    error: Any
    dense: Any
    slope: Any
    solved: Any = True
    evaluations: Any = 0


def reuses(solver: Any) -> bool:
    """Whether a step's last slope is the next one's first."""
    return bool(getattr(getattr(solver, "tableau", None), "fsal", False))


def looping(solver: Any, kind: Any) -> Any:
    """The solver with loops over stages that forward mode ("lax") or reverse mode (``None``) differentiates."""
    return dataclasses.replace(solver, scan_kind=kind) if hasattr(solver, "scan_kind") else solver


def written_out(solver: Any, field: Callable[[Any, Any], Any], t: Any, end: Any, y: Any) -> Step:
    """A step of an explicit method for ``field(t, y)``."""
    term = SimpleNamespace(vf=lambda t, y, _: field(t, y))
    return _explicit(explicit_tableau(solver), term, t, end, y, field(t, y))


def taken(setting: Setting, term: Any, t: Any, end: Any, y: Any, slope: Any) -> Step:
    """A step from ``t`` to ``end``; ``slope`` is the field's at its start, of methods that reuse the last."""
    solver: Any = setting.solver
    if hasattr(solver, "undone"):  # a reversible pair
        return solver.step(term, t, end, y)
    table, again = explicit_tableau(solver), reuses(solver)
    begin = slope if again else term.vf(t, y, None)
    if table is None:
        found = implicit_step(implicit_tableau(solver), setting.equations, term, t, end, y, begin)
        y1, error, stages, last, solved, evaluations = found
        dense = {"y0": y, "y1": y1} | ({"k": stages} if hasattr(solver, "tableau") else {})
        return Step(y1, error, dense, last, solved, evaluations + (not again))
    count = len(table.c) + 1 - again
    if setting.written_out or not hasattr(solver, "tableau"):
        return _explicit(table, term, t, end, y, begin)._replace(evaluations=count)
    # diffrax's flag for a first step, which would be a choice in every lane of every step, is never set.
    state = (jnp.asarray(False), slope) if again else solver.init(term, t, end, y, None)
    y1, error, dense, state, _ = solver.step(term, t, end, y, None, state, False)
    return Step(y1, error, dense, state[1] if again else None, evaluations=count)


def _explicit(tableau: Any, term: Any, t: Any, end: Any, y: Any, slope: Any) -> Step:
    """A step of an explicit Runge-Kutta method, written out: compiled, several times as fast as a loop over stages."""
    h = end - t
    slopes = [slope]

    def combined(weights: Any) -> Any:
        """The step times a combination of slopes."""
        terms = [(float(w), k) for w, k in zip(weights, slopes) if w]
        if not terms:
            return zeros(y)
        total = lambda *leaves: sum(w * leaf for (w, _), leaf in zip(terms, leaves)) * h.astype(leaves[0].dtype)
        return jax.tree.map(total, *[k for _, k in terms])

    stage = y
    for row, c in zip(tableau.a_lower, tableau.c):
        stage = add(y, combined(row))
        slopes.append(term.vf(end if c == 1 else t + float(c) * h, stage, None))
    y1 = stage if tableau.ssal else add(y, combined(tableau.b_sol))
    scaled = jax.tree.map(lambda *k: jnp.stack(k) * h.astype(k[0].dtype), *slopes)
    stages = {} if len(slopes) == 1 else {"k": scaled}  # a single one draws a straight line
    return Step(y1, combined(tableau.b_error), {"y0": y, "y1": y1} | stages, slopes[-1])


def strain(solver: Any, step: Step, y: Any) -> tuple[jax.Array, jax.Array]:
    """Two norms whose ratio is the step times the field's steepest slope, about: of the last two stages.

    Source: E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, section IV.2.
    """
    row = np.asarray(solver.tableau.a_lower[-2])
    k = step.dense["k"]
    stage = jax.tree.map(lambda y, k: y + jnp.tensordot(row.astype(k.dtype), k[: row.size], 1), y, k)
    slope = jax.tree.map(lambda k: k[-1] - k[-2], k)
    return norm(slope), norm(jax.tree.map(jnp.subtract, step.y, stage))
