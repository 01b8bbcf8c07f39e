"""The adjoint equation along recorded states, its integral over the field's arguments by Gauss's rule: no state is
rebuilt by running the flow backwards, and arguments are differentiated at three times a step and not at every stage.

Source: C. Rackauckas et al., Universal differential equations for scientific machine learning, 2020 (quadrature and
Gauss adjoints); A. Kidger, On neural differential equations, 2022, section 5.1.2.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc.transforms.flow_back import Cotangents, States
from jaxcalc.transforms.flow_steps import Record, Setting, any_lane, looping, reuses, taken, where, zeros

__all__ = ["integrate_back"]

# Of degree 5, as the best of the methods' interpolations; on [0, 1].
_NODES, _WEIGHTS = (np.polynomial.legendre.leggauss(3)[0] + 1) / 2, np.polynomial.legendre.leggauss(3)[1] / 2


def integrate_back(
    setting: Setting,
    make_term: Callable[[Any], Any],
    record: Record,
    times: jax.Array,
    args: Any,
    states_bar: Any,
    y_bar: Any,
    *,
    given_grid: bool,
) -> Cotangents:
    """The exact flow's vector-Jacobian product, by steps as long as those that were taken, each of which ends at most
    at one of the times asked for.

    Args:
      make_term: from ``args``, all of them differentiated, to the term.
      states_bar: cotangents of the states at ``times``.
      y_bar: of the last state, beside them.
    """
    setting = setting._replace(solver=looping(setting.solver, "lax"))
    solver: Any = setting.solver
    states = States(setting, make_term, record, args)
    grid, count = record.grid, record.length
    only_end, per = times.shape[0] == 2, (grid.shape[0] - 1) // (times.shape[0] - 1)
    term = make_term(args)

    def jumped(i: Any, n: Any, active: Any, adjoint: Any) -> tuple[Any, Any]:
        """With the cotangents of the states that are saved at the end of step ``n``."""
        if only_end:
            return i, adjoint
        plus = lambda here, i, adjoint: jax.tree.map(lambda a, bar: a + jnp.where(here, bar[i], 0), adjoint, states_bar)
        if given_grid:
            return i, plus(active & ((n + 1) % per == 0), (n + 1) // per, adjoint)
        due = lambda carry: active & (carry[0] >= 0) & (times[jnp.maximum(carry[0], 0)] > grid[n])
        add = lambda carry: (carry[0] - due(carry), plus(due(carry), jnp.maximum(carry[0], 0), carry[1]))
        return jax.lax.while_loop(lambda carry: any_lane(due(carry)), add, (i, adjoint))

    def body(carry: Any) -> Any:
        number, i, segment, adjoint, total = carry
        active, n = number >= 0, jnp.maximum(number, 0)
        t, end = grid[n], grid[n + 1]
        y, segment = states.before(n, active, segment)
        slope = term.vf(t, y, None) if reuses(solver) else None
        path = solver.interpolation_cls(t0=t, t1=end, **taken(setting, term, t, end, y, slope).dense)
        i, here = jumped(i, n, active, adjoint)
        before, integral = _adjoint_step(setting, make_term, args, path, (t, end), here)
        total = jax.tree.map(lambda a, b: a + jnp.where(active, b, 0), total, integral)
        return number - active, i, segment, where(active, before, adjoint), total

    last = jnp.searchsorted(times, grid[count], side="right").astype(jnp.int32) - 1
    begin = jnp.asarray(count, jnp.int32) - 1, last, states.segment(), y_bar, zeros(args)
    _, _, _, adjoint, total = jax.lax.while_loop(lambda carry: any_lane(carry[0] >= 0), body, begin)
    return Cotangents(adjoint, total, None, None)


def _adjoint_step(
    setting: Setting, make_term: Callable[[Any], Any], args: Any, path: Any, ends: Any, adjoint: Any
) -> tuple[Any, Any]:
    """The adjoint before a step, ``a' = -a df/dy`` along its path, and the integral of ``a df/dargs`` over it."""
    (t, end), solver = ends, setting.solver
    term = make_term(args)

    def rate(back: Any, adjoint: Any, _: Any) -> Any:
        """In time that runs backwards."""
        state = path.evaluate(-back)
        return jax.vjp(lambda y: term.vf(-back, y, None), state)[1](adjoint)[0]

    backwards = SimpleNamespace(vf=rate)
    slope = rate(-end, adjoint, None) if reuses(solver) else None
    step = taken(setting, backwards, -end, -t, adjoint, slope)
    adjoints = solver.interpolation_cls(t0=-end, t1=-t, **step.dense)

    def density(at: Any) -> Any:
        state, adjoint = path.evaluate(at), adjoints.evaluate(-at)
        return jax.vjp(lambda args: make_term(args).vf(at, state, None), args)[1](adjoint)[0]

    length = end - t
    samples = jax.vmap(density)(t + length * jnp.asarray(_NODES, t.dtype))
    weighted = lambda leaf: jnp.tensordot(jnp.asarray(_WEIGHTS, leaf.dtype), leaf, 1) * length.astype(leaf.dtype)
    return step.y, jax.tree.map(weighted, samples)
