"""The one tolerance of rounding: so many ulps, an ulp being eps of the precision times the size of what is right.

For rounding only. What a truncated series, a finite difference, an iteration's stop or a sample leaves has its own
size, which a test writes down beside the reason for it.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np


def ulps(count: float, like: Any = np.float64) -> float:
    """``count`` times eps of a floating-point type, or of an array's: the relative error of as many ulps."""
    return count * float(jnp.finfo(like if isinstance(like, type | np.dtype) else like.dtype).eps)


def assert_close(actual: Any, expected: Any, count: float, *, scale: Any = 0.0, dtype: Any = np.float64) -> None:
    """``|actual - expected| <= count eps max(|expected|, scale)``, entry by entry.

    Args:
      actual: of that precision, real or complex; a Python number is one of double precision.
      expected: of the same shape, or one number for all entries.
      count: ulps allowed.
      scale: below which an error is not measured by what is left, since terms of that size cancelled: a number, or
        one for each entry.
      dtype: the precision that the entries must have and that eps is of.

    Raises:
      AssertionError: told how many ulps it is off and where; also for NaN, another shape, or another precision.
    """
    __tracebackhide__ = True
    got, wanted, precision = np.asarray(actual), np.asarray(expected), jnp.dtype(dtype)
    assert jnp.issubdtype(got.dtype, jnp.inexact), f"expected floating-point numbers, got {got.dtype}"
    assert jnp.finfo(got.dtype).dtype == precision, f"expected the precision of {precision}, got {got.dtype}"
    assert wanted.shape in ((), got.shape), f"expected shape {wanted.shape}, got {got.shape}"
    got, wanted = _wide(got), np.broadcast_to(_wide(wanted), got.shape)
    size = np.broadcast_to(np.maximum(abs(wanted), np.asarray(scale, float)), got.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(got == wanted, 0.0, abs(got - wanted))  # infinities agree with themselves
        within = np.isfinite(wanted) & (error <= ulps(count, precision) * size)
        beyond = ~within & (error != 0)
    if not beyond.any():
        return
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        off = np.where(beyond, error / ulps(1, precision) / size, 0.0)
    worst = np.unravel_index(np.argmax(off), off.shape)  # a NaN is the largest
    place = f" at {tuple(map(int, worst))}" if worst else ""
    raise AssertionError(
        f"{off[worst]:.4g} ulps of {precision} off{place}, {count:g} allowed: "
        f"expected {wanted[worst]}, got {got[worst]}; {beyond.sum()} of {beyond.size} entries are beyond. "
        f"An ulp is {ulps(1, precision) * size[worst]:.3g} there."
    )


def _wide(values: np.ndarray) -> np.ndarray:
    """In double precision, in which differences of narrower numbers are not rounded."""
    return values.astype(complex if jnp.issubdtype(values.dtype, jnp.complexfloating) else float)
