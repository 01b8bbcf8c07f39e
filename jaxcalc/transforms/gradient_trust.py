"""Whether a flow's gradient can be believed: beside other adjoints, forward mode and differences."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxcalc import checks
from jaxcalc.transforms.flow import flow
from jaxcalc.transforms.lifting import split_arrays
from jaxcalc.transforms.tables import columns

__all__ = ["GradientTrust", "gradient_trust"]

# Solves whose values are differenced are so much tighter, that their own errors do not count.
_TIGHTER = 1e-3
_ROUNDING = 50  # eps: no tolerance is held below this


@dataclass(frozen=True)
class GradientTrust:
    """What a gradient was compared with; true if it may be believed.

    Args:
      trusted: whether it agrees with all of them within ``tol``, and all are numbers.
      gradient: as taken by the adjoint in question, in place of the floating-point leaves of ``(y0, args)``.
      errors: the relative error against each comparison, by name.
      tol: the largest that is believed.
      status: of the solve, in words.
      verdict: what follows from the errors.
    """

    trusted: bool
    gradient: Any
    errors: dict[str, float]
    tol: float
    status: str
    verdict: str

    def __bool__(self) -> bool:
        return self.trusted

    def table(self) -> str:
        """The comparisons, one a line."""
        rows = [("compared with", "relative error", "within")]
        rows += [(name, f"{error:.2g}", "yes" if error <= self.tol else "no") for name, error in self.errors.items()]
        return columns(rows, left=(0,))

    def __str__(self) -> str:
        return f"{self.table()}\nThe solve: {self.status}.\n{self.verdict}"


def gradient_trust(
    field: Callable[..., Any],
    loss: Callable[[Any], Any],
    y0: Any,
    times: Any,
    args: Any = None,
    /,
    *,
    tol: float = 1e-3,
    key: Any = None,
    **choices: Any,
) -> GradientTrust:
    """A flow's gradient beside that of other adjoints, forward mode and differences.

    Args:
      field, y0, times, args: as ``flow`` and its map take them.
      loss: from the states at all times to a number.
      tol: the largest relative error that is believed.
      key: for the direction that is looked along; by default a fixed one.
      choices: of ``flow``: the solver and the adjoint in question, tolerances, steps.

    Returns:
      A ``GradientTrust``. Norms are compared with the gradient of tighter steps, or where their number is given with
      another adjoint of the same; derivatives along a random direction with forward mode (the same steps) and with a
      central difference of tighter solves (the exact flow).

    Raises:
      As ``flow``; TypeError for a loss that is no number.

    Warns:
      RuntimeWarning: where the gradient is not to be believed.

    Cost: seven solves, two gradients and what it takes to compile them.
    """
    for name, given in (("field", field), ("loss", loss)):
        checks.function("gradient_trust", given, name)
    tol = float(checks.number("gradient_trust", "tol", tol, above=0, finite=True))
    y0 = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, float)), y0)
    arrays, unflatten = split_arrays((y0, args))
    moving = [place for place, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.inexact)]
    flat, unravel = ravel_pytree([arrays[place] for place in moving])

    def merged(flat: Any) -> Any:
        full = list(arrays)
        for place, array in zip(moving, unravel(flat)):
            full[place] = array
        return unflatten(full)

    def value(**choices: Any) -> Callable[[Any], Any]:
        solve = flow(field, **choices)

        def of(flat: Any) -> Any:
            start, args = merged(flat)
            return loss(solve(start, times, args))

        return of

    reporting: dict[str, Any] = choices | {"report": True}
    report = flow(field, **reporting)(y0, times, args)
    steps = {
        name: choice for name, choice in choices.items() if name not in ("adjoint", "checkpoints", "memory_budget")
    }
    tight = _tightened(steps, flat.dtype)
    adapts = choices.get("num_steps") is None
    if adapts:
        name, other = "tighter steps", tight | {"adjoint": "discrete"}
    else:
        adjoint = "discrete" if choices.get("adjoint") == "checkpointed" else "checkpointed"
        name, other = f"adjoint={adjoint!r}", steps | {"adjoint": adjoint}
    mine, theirs = (jax.jit(jax.grad(fun))(flat) for fun in (value(**choices), value(**other)))
    direction = jax.random.normal(jax.random.key(0) if key is None else key, flat.shape, flat.dtype)
    direction *= jnp.maximum(jnp.abs(flat), 1) / jnp.sqrt(flat.size)
    along = jax.jit(lambda x: jax.jvp(value(**steps, adjoint="discrete"), (x,), (direction,))[1])(flat)
    errors = {
        name: _relative(jnp.linalg.norm(mine - theirs), jnp.linalg.norm(theirs)),
        "forward mode": _relative(abs(mine @ direction - along), abs(along)),
        "differences": _apart(mine @ direction, value(**tight), flat, direction),
    }
    verdict = _verdict(errors, tol, choices.get("adjoint", "auto"), bool(report.reached), adapts)
    trusted = all(error <= tol for error in errors.values())
    if not trusted:
        warnings.warn(f"gradient_trust: {verdict}", RuntimeWarning, stacklevel=2)
    return GradientTrust(trusted, merged(mine), errors, tol, report.explain().split(":")[0], verdict)


def _relative(gap: Any, size: Any) -> float:
    """The gap over the size; infinite where either is no number."""
    gap, size = float(gap), float(size)
    if not (np.isfinite(gap) and np.isfinite(size)):
        return np.inf
    return 0.0 if gap == 0 else gap / size if size > 0 else np.inf


def _tightened(steps: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """The same solve with errors that do not count beside those of the one in question."""
    if steps.get("num_steps") is not None:
        return steps
    least = _ROUNDING * float(jnp.finfo(dtype).eps)
    tighter = lambda tol: max(_TIGHTER * tol, min(tol, least))
    tight = {name: tighter(steps.get(name, 1e-6)) for name in ("rtol", "atol")}
    return steps | tight | {"max_steps": 16 * (steps.get("max_steps", 4096) or 4096)}


def _apart(claimed: Any, fun: Callable[[Any], Any], x: jax.Array, direction: jax.Array) -> float:
    """The relative error against a central difference, less what the difference itself is unsure of."""
    fun = jax.jit(fun)
    step = float(jnp.finfo(x.dtype).eps) ** (1 / 4)
    quotient = lambda h: (fun(x + h * direction) - fun(x - h * direction)) / (2 * h)
    wide, narrow = quotient(2 * step), quotient(step)
    best = narrow + (narrow - wide) / 3
    unsure = abs(narrow - wide) / 3
    return _relative(jnp.maximum(abs(claimed - best) - unsure, 0), abs(best))


def _verdict(errors: dict[str, float], tol: float, adjoint: str, reached: bool, adapts: bool) -> str:
    """What follows from the errors, with the remedy."""
    other, forward, differences = (error <= tol for error in errors.values())
    if other and forward and differences:
        return "The gradient may be believed."
    if not reached:
        return "The solve failed: it has no gradient. Mend it first."
    same = forward and (other or adapts)
    if adjoint == "backsolve" and not same:
        return (
            "The gradient is wrong: the flow cannot be run backwards to where it came from. Take adjoint='auto', which "
            "differentiates the steps taken."
        )
    if same:
        return (
            "The gradient is that of the steps taken, but not of the flow: steps are too long, or the flow forgets its "
            "start (chaos, events). Tighten rtol and atol, take more steps, or a shorter span."
        )
    return (
        "The gradient is not that of the steps that adjoint='discrete' takes, which are stable for all modes of the "
        "field. Take that, or adjoint='auto'."
    )
