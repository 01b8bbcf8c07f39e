"""Which adjoint a flow is differentiated by: priced from its steps' programs, held to a memory budget."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jaxcalc.programs.cost import cost
from jaxcalc.programs.speed import device
from jaxcalc.transforms.flow_adjoints import Operands, discrete, walk
from jaxcalc.transforms.flow_solvers import build, method
from jaxcalc.transforms.flow_steps import Setting, Walk
from jaxcalc.transforms.lifting import split_arrays

__all__ = ["AUTO_LEGS", "OWN_ADJOINTS", "own_walk"]

# What solver="auto" takes: the second where the first is held by stability.
AUTO_LEGS = ("tsit5", "kvaerno5")
OWN_ADJOINTS = ("auto", "discrete", "forward")


def own_walk(field: Callable[..., Any], choices: Any, y0: Any, times: jax.Array, args: Any, tolerances: Any) -> Walk:
    """The states at all times by our own loop.

    Args:
      field: ``field(t, y, args)``, rates like the state.
      choices: of ``flow``.
      tolerances: ``None`` where nothing needs them.
    """
    # Times increase for the loop; where steps are given they may go as they like.
    adapts = choices.num_steps is None
    sign = jnp.where(times[-1] >= times[0], 1, -1).astype(times.dtype) if adapts else None
    rates, operands = traced_field(field, times, y0, args)
    moves = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in operands]

    def of_parts(t: Any, y: Any, parts: Any) -> Any:
        floats, (others, _, sign) = parts
        more = iter(floats), iter(others)
        merged = [next(more[0]) if m else next(more[1]) for m in moves]
        if sign is None:
            return rates(t, y, merged)
        return jax.tree.map(lambda rate: (rate * sign).astype(rate.dtype), rates(sign * t, y, merged))

    floats = [leaf for leaf, m in zip(operands, moves) if m]
    rigid = [leaf for leaf, m in zip(operands, moves) if not m], tolerances, sign
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(y0))
    grid = None if adapts else _grid(times, choices.num_steps)
    at = Operands(y0, times if sign is None else sign * times, grid, floats)
    slots = tuple(choices.checkpoints or min(128, _bound(choices, times)) for _ in _names(choices))
    worth = _worth(rates, y0, times, operands) if len(_names(choices)) > 1 else math.inf
    return walk(lambda rigid: _legs(choices, eps, rigid[1], worth), of_parts, at, rigid, discrete(slots))


def traced_field(field: Callable[..., Any], times: Any, y0: Any, args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """The field as a program of ``(t, y, operands)``, and its operands: arguments and what it closes over.

    Raises:
      TypeError, ValueError: where its rates are not like the state; those of another precision are cast.
    """
    arrays, unflatten = split_arrays((args,), numbers=False)
    states, structure = jax.tree.flatten(y0)

    def flat(t: Any, states: Any, arrays: Any) -> list[Any]:
        rates = field(t, jax.tree.unflatten(structure, states), *unflatten(arrays))
        checked_rates(rates, y0)
        return [jnp.asarray(rate, state.dtype) for rate, state in zip(jax.tree.leaves(rates), states)]

    jaxpr = jax.make_jaxpr(flat)(times[0], states, arrays)

    def rates(t: Any, y: Any, operands: Any) -> Any:
        given = [jnp.asarray(t, times.dtype), *jax.tree.leaves(y), *operands[: len(arrays)]]
        run = jaxpr_as_fun(ClosedJaxpr(jaxpr.jaxpr, operands[len(arrays) :]))
        return jax.tree.unflatten(structure, run(*given))

    return rates, [jnp.asarray(leaf) for leaf in (*arrays, *jaxpr.consts)]


def checked_rates(rates: Any, y0: Any) -> None:
    """Nothing, where rates are like the state."""
    if jax.tree.structure(rates) != jax.tree.structure(y0):
        raise TypeError(
            f"flow: field must return what the state is, {jax.tree.structure(y0)}, got {jax.tree.structure(rates)}."
        )
    for (path, rate), state in zip(jax.tree_util.tree_leaves_with_path(rates), jax.tree.leaves(y0)):
        where = jax.tree_util.keystr(path)
        if jnp.shape(rate) != state.shape:
            raise ValueError(
                f"flow: field must return rates of the state's shape {state.shape}, got {jnp.shape(rate)}"
                f"{' at ' + where if where else ''}."
            )
        if jnp.iscomplexobj(rate) and not jnp.iscomplexobj(state):
            raise TypeError("flow: field returns complex rates of a real state. Start from a complex one.")


def _bound(choices: Any, times: jax.Array) -> int:
    """The most steps that are taken."""
    if choices.num_steps is not None:
        return choices.num_steps * (times.shape[0] - 1)
    return choices.max_steps or 1 << 20


def _grid(times: jax.Array, num_steps: int) -> jax.Array:
    """Equal steps between any two times, each of which is met exactly."""
    share = jnp.arange(num_steps, dtype=times.dtype) / num_steps
    return jnp.append((times[:-1, None] + (times[1:] - times[:-1])[:, None] * share).reshape(-1), times[-1])


def _names(choices: Any) -> tuple[str, ...]:
    return AUTO_LEGS if choices.solver == "auto" else (choices.solver,)


def _legs(choices: Any, eps: float, tolerances: Any, worth: float) -> tuple[Setting, ...]:
    import diffrax

    names = _names(choices)
    if choices.num_steps is not None:
        return (Setting(build(names[0], tolerances, eps), None, None),)
    controller = diffrax.PIDController(*tolerances)
    settings = []
    for number, name in enumerate(names):
        tells = method(name).tells_stiffness
        leaves = worth if number + 1 < len(names) else math.inf
        settings.append(
            Setting(build(name, tolerances, eps), controller, choices.max_steps, worth=leaves if tells else None)
        )
    return tuple(settings)


# Steps that an implicit method takes of a flow that was too stiff for an explicit one, about.
_IMPLICIT_STEPS = 150
# Products with the field in one of its steps: so many stages, each solved by so many iterations.
_STAGES, _ITERATIONS = 6, 3


def _worth(field: Callable[..., Any], y0: Any, times: Any, operands: Any) -> float:
    """How many explicit steps take as long as an implicit method's whole solve, by the field's price."""
    on = device()
    rate = on.nanoseconds
    size = sum(leaf.size for leaf in jax.tree.leaves(y0))
    once = 1e9 * on.seconds(cost(field, times[0], y0, operands)) - rate["call"]
    overhead = 40 * rate["kernels"]
    explicit = 6 * once + overhead
    matrix = size * once / 4 + 2 / 3 * size**3 * rate["linear algebra"] + overhead
    implicit = _STAGES * _ITERATIONS * (once + 2 * size**2 * rate["gemv"] + overhead) + matrix
    return _IMPLICIT_STEPS * implicit / explicit
