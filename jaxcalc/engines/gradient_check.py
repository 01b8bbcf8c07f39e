"""The gradient check: a gradient judged by values of its function alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.engines.finite_differences import gradient as difference
from jaxcalc.engines.finite_differences import step_sizes
from jaxcalc.engines.stencils import Scheme

__all__ = ["GradientReport", "check_gradient"]

# How far beyond the estimated error a right gradient may lie: the estimate knows the rounding of the function's value,
# not that of what it is summed from.
_SAFETY = 4
# Units in the last place granted to the gradient's own rounding.
_ULPS = 64
# Steps to try where the first does not convince: the function may change over lengths far below max(|x|, 1).
_SHORTER, _RUNGS = 1 / 8, 4


@dataclass(frozen=True)
class GradientReport:
    """What a gradient check found; true if it passed.

    Args:
      passed: whether every entry agrees with its difference quotient within the tolerance.
      path: of the worst entry's leaf in the argument, such as ``"['w']"``; empty for a bare array.
      index: of the worst entry in its leaf.
      claimed: that entry of the gradient under test.
      measured: its difference quotient.
      relative_error: ``|claimed - measured| / max(|claimed|, |measured|)``.
      tolerance: the largest relative error that passes at that entry.
      step: that the quotient was taken with.
      scheme: of the quotient.
      dtype: that the entry was computed in.
      num_entries: how many were compared.
      num_failed: how many lie beyond their tolerance.
      num_unresolved: how many have a tolerance above ``eps^(1/3)``: rounding hides smaller errors there, in a function
        whose value is large beside its slope.
    """

    passed: bool
    path: str
    index: tuple[int, ...]
    claimed: float
    measured: float
    relative_error: float
    tolerance: float
    step: float
    scheme: str
    dtype: str
    num_entries: int
    num_failed: int
    num_unresolved: int

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        entry = f"x{self.path}" + (f"[{', '.join(map(str, self.index))}]" if self.index else "")
        lines = [
            f"gradient check {'passed' if self.passed else 'FAILED'}: "
            f"{self.num_entries - self.num_failed} of {self.num_entries} entries agree with {self.scheme} differences",
            f"  worst entry     {entry} ({self.dtype})",
            f"  claimed         {self.claimed:.9g}",
            f"  measured        {self.measured:.9g}  with step {self.step:.3g}",
            f"  relative error  {self.relative_error:.3g}  (tolerance {self.tolerance:.3g})",
        ]
        if self.num_unresolved:
            lines.append(
                f"  {self.num_unresolved} entries are hidden by rounding: the function's value is large beside their "
                "slope. Check in float64, or a part of the function at a time."
            )
        return "\n".join(lines)


def check_gradient(
    fun: Callable[[Any], Any],
    gradient: Any,
    x: Any,
    /,
    *,
    scheme: Scheme = "central",
    order: int | None = None,
    step: Any = None,
    noise: float = 0.0,
    tolerance: float | None = None,
    chunk_size: int | None = None,
) -> GradientReport:
    """Compare a gradient with difference quotients of its function.

        |g_i - D_i| <= 4 (e_i + median_j(e_j h_j) / h_i) + 64 eps max(|g_i|, |D_i|)

    where ``D_i`` is the quotient and ``e_i`` its own error estimate, from the steps ``h_i`` and ``2 h_i`` and the
    rounding of the values. The median is the rounding that all entries share, which one entry's two quotients may agree
    on by chance. So the tolerance follows the dtype, the scale of every entry and the scheme. Where an entry disagrees,
    or rounding would hide an error, shorter steps are tried, and the surest quotient is taken that all shorter ones
    agree with: a function may change over lengths far below ``max(|x|, 1)``.

    Args:
      fun: from an array or PyTree of real floating-point arrays to a real scalar.
      gradient: a function of ``x``, or its value there: a PyTree like ``x``.
      x: where; best in float64, and away from kinks, where a quotient gives the mean of two slopes.
      scheme, order, step, noise, chunk_size: of the quotients, see ``finite_differences.gradient``.
      tolerance: a relative error to hold every entry to, in place of the rule above.

    Returns:
      A report on the entry that is worst beside its tolerance. What is not finite does not pass.

    Raises:
      TypeError: if ``x`` holds integers, or ``fun`` returns no real scalar.
      ValueError: if an array is empty, or the gradient is not shaped like ``x``.

    Cost:
      Two gradients by finite differences, ``4 n`` values of ``fun`` if central; four times that where the first step
      does not convince.
    """
    checks.function("check_gradient", fun)
    if chunk_size is not None:
        checks.integer("check_gradient", "chunk_size", chunk_size)
    entries = jax.tree_util.tree_flatten_with_path(checks.not_empty("check_gradient", "x", x))[0]
    for path, leaf in entries:
        _check_leaf(jax.tree_util.keystr(path), leaf)
    claimed = gradient(x) if callable(gradient) else gradient
    checks.vector("check_gradient", "the gradient", claimed, "x", x)

    loss = checks.returns_scalar("check_gradient", jax.eval_shape(fun, x))
    coarsest = [max(jnp.finfo(jnp.result_type(leaf)).eps, jnp.finfo(loss.dtype).eps) for _, leaf in entries]
    eps = np.repeat(np.asarray(coarsest, float), [jnp.size(leaf) for _, leaf in entries])
    g = _flat(claimed)

    choices: Any = {"scheme": scheme, "order": order, "noise": noise}
    first = step_sizes(x, step=step, dtype=loss.dtype, who="check_gradient", **choices)
    quotient = jax.jit(
        lambda x, steps: difference(fun, step=steps, chunk_size=chunk_size, with_error=True, **choices)(x)
    )

    def rung(number):
        """Quotients, their error estimates and steps, the steps shortened so many times."""
        steps = jax.tree.map(lambda h: h * _SHORTER**number, first)
        d, e, h = (_flat(tree) for tree in (*quotient(x, steps), steps))
        shared = (e * h)[np.isfinite(e)]
        return d, e + (np.median(shared) if shared.size else 0.0) / h, h

    # What is not finite fails below, without a warning on the way.
    with np.errstate(all="ignore"):
        d, e, h = rung(0)
        convincing = (np.abs(g - d) <= _allowed(g, d, e, eps)) & ~_unresolved(g, d, e, eps)
        if step is None and not np.all(convincing):
            d, e, h = _longest_consistent([(d, e, h), *(rung(number) for number in range(1, _RUNGS))])
        largest = np.maximum(np.abs(g), np.abs(d))
        allowed = _allowed(g, d, e, eps) if tolerance is None else tolerance * largest
        off = np.abs(g - d)
        badness = np.where(off == 0, 0.0, off / allowed)
        badness[~(np.isfinite(g) & np.isfinite(d) & np.isfinite(allowed))] = np.inf
        worst = int(np.argmax(badness))
        unit = largest[worst] or 1.0
        relative_error, relative_tolerance = off[worst] / unit, allowed[worst] / unit
        unresolved = _unresolved(g, d, e, eps)
    path, index, dtype = _address(entries, worst)
    return GradientReport(
        passed=bool(np.all(badness <= 1)),
        path=path,
        index=index,
        claimed=float(g[worst]),
        measured=float(d[worst]),
        relative_error=float(relative_error),
        tolerance=float(relative_tolerance),
        step=float(h[worst]),
        scheme=scheme if order is None else f"{scheme} (order {order})",
        dtype=dtype,
        num_entries=len(g),
        num_failed=int(np.sum(badness > 1)),
        num_unresolved=int(np.sum(unresolved)),
    )


def _allowed(g: np.ndarray, d: np.ndarray, e: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """How far a right gradient may lie from its quotient."""
    return _SAFETY * e + _ULPS * eps * np.maximum(np.abs(g), np.abs(d))


def _unresolved(g: np.ndarray, d: np.ndarray, e: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Where a relative error of ``eps^(1/3)`` would pass."""
    return (_allowed(g, d, e, eps) > np.cbrt(eps) * np.maximum(np.abs(g), np.abs(d))) & (g != d)


def _longest_consistent(rungs: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Lepski: per entry, the surest quotient among the steps whose results all shorter steps agree with.

    A step that is too long for the function may estimate its error far too small by chance, a short one merely has a
    large error: so what a shorter step contradicts is dropped.
    """
    kept = rungs[-1]
    agree = np.ones(kept[0].shape, bool)
    low, high = -np.inf, np.inf
    for rung in reversed(rungs):
        d, e, _ = rung
        room = 2 * e
        agree &= np.isfinite(d) & np.isfinite(e) & (d - room <= high) & (d + room >= low)
        low = np.where(agree, np.maximum(low, d - room), low)
        high = np.where(agree, np.minimum(high, d + room), high)
        better = agree & (e < kept[1])
        kept = tuple(np.where(better, new, old) for new, old in zip(rung, kept))
    return kept


def _check_leaf(name: str, leaf: Any) -> None:
    remedy = "A step would be truncated: convert it with x.astype(float), or close over what does not move."
    checks.floating("check_gradient", f"x{name}", leaf, remedy)
    if jnp.size(leaf) == 0:
        raise ValueError(
            f"check_gradient: x{name} is empty, of shape {jnp.shape(leaf)}: there is nothing to check. Leave it out."
        )


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf in jax.tree.leaves(tree)])


def _address(entries: list[Any], position: int) -> tuple[str, tuple[int, ...], str]:
    """Path, index and dtype of an entry counted through all leaves."""
    for path, leaf in entries:
        if position < jnp.size(leaf):
            index = np.unravel_index(position, jnp.shape(leaf))
            return jax.tree_util.keystr(path), tuple(int(i) for i in index), str(jnp.result_type(leaf))
        position -= jnp.size(leaf)
    raise IndexError(position)
