"""What a user gives a flow, fields and events, as programs of time, state and operands."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jaxcalc import checks
from jaxcalc.transforms.lifting import split_arrays

__all__ = ["checked_rates", "pushes", "traced_event", "traced_field"]


def traced_field(field: Callable[..., Any], times: Any, y0: Any, args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """The field as a program of ``(t, y, operands)``, and its operands: arguments and what it closes over.

    Raises:
      TypeError, ValueError: where its rates are not like the state; those of another precision are cast.
    """

    def checked(rates: Any) -> list[Any]:
        checked_rates(rates, y0)
        return [jnp.asarray(rate, state.dtype) for rate, state in zip(jax.tree.leaves(rates), jax.tree.leaves(y0))]

    run, operands = _traced(field, times, y0, args, checked)
    structure = jax.tree.structure(y0)
    return lambda t, y, operands: jax.tree.unflatten(structure, run(t, y, operands)), operands


def _traced(fun: Any, times: Any, y0: Any, args: Any, checked: Callable[[Any], list[Any]]) -> tuple[Any, list[Any]]:
    """A function of ``(t, y, args)`` as a program of ``(t, y, operands)`` to a list, and its operands.

    Args:
      checked: from what it returns to the list.
    """
    arrays, unflatten = split_arrays((args,), numbers=False)
    states, structure = jax.tree.flatten(y0)
    flat = lambda t, states, arrays: checked(fun(t, jax.tree.unflatten(structure, states), *unflatten(arrays)))
    jaxpr = jax.make_jaxpr(flat)(times[0], states, arrays)

    def run(t: Any, y: Any, operands: Any) -> list[Any]:
        given = [jnp.asarray(t, times.dtype), *jax.tree.leaves(y), *operands[: len(arrays)]]
        return jaxpr_as_fun(ClosedJaxpr(jaxpr.jaxpr, operands[len(arrays) :]))(*given)

    return run, [jnp.asarray(leaf) for leaf in (*arrays, *jaxpr.consts)]


def traced_event(event: Callable[..., Any], times: Any, y0: Any, args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """An event as a program of ``(t, y, operands)`` to its values, shape ``(m,)``, and its operands."""
    run, operands = _traced(event, times, y0, args, _checked_values)
    return lambda t, y, operands: jnp.ravel(run(t, y, operands)[0]), operands


def _checked_values(values: Any) -> list[jax.Array]:
    """An event's values, where they are real numbers.

    Raises:
      TypeError, ValueError: where they are none.
    """
    values = checks.real_array("flow", "event", values, "Its sign is looked at.")
    if values.ndim > 1 or not values.size:
        raise ValueError(f"flow: event must return a number or a vector of them, got shape {values.shape}.")
    return [values.astype(jnp.result_type(values, float))]


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


def pushes(rates: Callable[..., Any], t: Any, y0: Any, operands: Any) -> bool:
    """Whether the field may be differentiated forwards."""
    push = lambda v: jax.jvp(lambda y: rates(t, y, operands), (y0,), (v,))[1]
    try:  # under vmap, where a derivative that is missing is missed at once
        jax.eval_shape(jax.vmap(push), jax.tree.map(lambda leaf: leaf[None], y0))
    except (TypeError, ValueError, NotImplementedError):
        return False
    return True
