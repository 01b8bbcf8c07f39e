"""Iterated integrals of functions of several variables."""

from collections.abc import Callable
from typing import Any

import jax

from jaxcalc.transforms.integral import IntegralMethod, named_integral

__all__ = ["double_integral", "iterated_integral"]


def iterated_integral(
    fun: Callable[..., Any],
    /,
    *,
    method: IntegralMethod | str = "auto",
    num_points: int | None = None,
    tol: jax.typing.ArrayLike | None = None,
    atol: jax.typing.ArrayLike | None = None,
    max_intervals: int = 64,
) -> Callable[..., Any]:
    """The iterated integral of a function of several variables, whose inner limits may depend on the outer variables.

        INT_{a_1}^{b_1} ... INT_{a_d(x_1, ..., x_{d-1})}^{b_d(x_1, ..., x_{d-1})} f(x_1, ..., x_d, args) dx_d ... dx_1

    Args:
      fun: from ``d`` real scalars and ``args`` to an array or PyTree of arrays.
      method, num_points, tol, atol, max_intervals: as for ``integral``, of every one of the nested integrals. A
        tolerance of the outer one must not be below what the inner ones reach.

    Returns:
      ``integrated(limits, *args)``, where ``limits`` is a sequence of ``d`` pairs, the outermost first, each limit a
      number or a function of the variables further out. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: as ``integral`` does, and if ``limits`` holds no pairs.

    Cost:
      The product of the costs of ``d`` single integrals: exponential in ``d``. From four or so on use
      ``monte_carlo`` or ``quasi_monte_carlo``.
    """
    choices: dict[str, Any] = {
        "method": method,
        "num_points": num_points,
        "tol": tol,
        "atol": atol,
        "max_intervals": max_intervals,
    }
    return named_iterated_integral("iterated_integral", fun, choices)


def named_iterated_integral(who: str, fun: Callable[..., Any], choices: dict[str, Any]) -> Callable[..., Any]:
    """``iterated_integral`` in the name of whoever asks."""
    named_integral(who, fun, **choices)  # refuses bad choices at once

    def integrated(limits, *args):
        limits = [tuple(pair) for pair in limits]
        if not limits or any(len(pair) != 2 for pair in limits):
            raise ValueError(f"{who}: limits must be pairs (low, high), one per variable, got {limits}.")

        def inner(outer, args):
            depth = len(outer)
            if depth == len(limits):
                return fun(*outer, *args)
            low, high = (limit(*outer) if callable(limit) else limit for limit in limits[depth])
            further = lambda x, outer, args: inner((*outer, x), args)
            return named_integral(who, further, **choices)(low, high, outer, args)

        return inner((), args)

    return integrated


def double_integral(
    fun: Callable[..., Any],
    /,
    *,
    method: IntegralMethod | str = "auto",
    num_points: int | None = None,
    tol: jax.typing.ArrayLike | None = None,
    atol: jax.typing.ArrayLike | None = None,
    max_intervals: int = 64,
) -> Callable[..., Any]:
    """The iterated integral of a function of two variables.

        INT_a^b INT_{c(x)}^{d(x)} f(x, y, args) dy dx

    Args:
      fun: from two real scalars and ``args`` to an array or PyTree of arrays.
      method, num_points, tol, atol, max_intervals: as for ``iterated_integral``.

    Returns:
      ``integrated(a, b, c, d, *args)``; ``c`` and ``d`` are numbers or functions of ``x``. Ready for ``jit``, ``vmap``
      and ``grad``.

    Raises:
      ValueError: as ``integral`` does.
    """
    choices: dict[str, Any] = {"method": method, "num_points": num_points, "tol": tol, "atol": atol}
    nested = named_iterated_integral("double_integral", fun, {**choices, "max_intervals": max_intervals})
    return lambda a, b, c, d, *args: nested(((a, b), (c, d)), *args)
