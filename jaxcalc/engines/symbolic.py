"""Symbolic differentiation by SymPy, for contrast: formulas in, formulas out.

A formula has no shared intermediate values and no control flow, hence its two limits: ``growth`` measures how formulas
swell, ``expression_of`` shows which programs have none.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxcalc import checks

if TYPE_CHECKING:
    import sympy

__all__ = ["Growth", "derivative", "expression_of", "growth", "operations"]


def derivative(expression: "sympy.Expr | Callable[..., Any]", /, *, degree: int = 1) -> Callable[[Any], Any]:
    """The derivative of a formula of one symbol, as a function of numbers.

        f -> d^k f / dx^k

    Args:
      expression: a SymPy expression with one free symbol (or none: a constant), or a Python function of one argument
        that ``expression_of`` can turn into one.
      degree: which derivative, 0 or more.

    Returns:
      ``derived(x)``, entry by entry, in JAX: ready for ``jit`` and ``vmap``. Equal parts are evaluated once.

    Raises:
      TypeError: if the function is not a formula.
      ValueError: if there are several symbols, or ``degree`` is negative.
    """
    import sympy

    formula = expression if isinstance(expression, sympy.Basic) else expression_of(expression)
    symbols = sorted(formula.free_symbols, key=str)
    if len(symbols) > 1:
        raise ValueError(
            f"derivative: the expression must have one symbol, got {', '.join(map(str, symbols))}. "
            "Substitute numbers for the others by expression.subs."
        )
    degree = checks.integer("derivative", "degree", degree, least=0)
    symbol = symbols[0] if symbols else sympy.Symbol("x", real=True)
    numeric = sympy.lambdify(symbol, sympy.diff(formula, symbol, degree), modules="jax", cse=True)

    def derived(x):
        x = jnp.asarray(x)
        x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))
        # A constant comes back as one number, whatever the shape of x.
        return jnp.broadcast_to(jnp.asarray(numeric(x), x.dtype), x.shape)

    return derived


def expression_of(fun: Callable[..., Any], /, names: Sequence[str] | None = None) -> "sympy.Expr":
    """The formula of a Python function, found by calling it on symbols.

    Loops of a fixed number of turns unroll. A loop or branch that asks for a value cannot be a formula, nor can a
    function that takes only numbers. ``==`` on a symbol compares spelling and is always false: write such a branch as
    ``sympy.Piecewise``.

    Args:
      fun: written in operators and SymPy's functions.
      names: of its arguments; by default as in its signature.

    Returns:
      A SymPy expression in real symbols of those names.

    Raises:
      TypeError: if the function asks for the value of an argument, calls what takes only numbers, or returns something
        other than one expression.
    """
    import sympy

    called = getattr(fun, "__name__", repr(fun))
    if names is None:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(fun).parameters.values()
        names = [each.name for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]
    symbols = [sympy.Symbol(name, real=True) for name in names]
    try:
        result = fun(*symbols)
    except (TypeError, AttributeError) as error:
        if "truth value" in str(error) or "as an integer" in str(error):
            raise TypeError(
                f"expression_of: {called} asks for the value of an argument in a branch or loop, and a symbol has none "
                f"({error}). Write the branch as sympy.Piecewise and the loop with a fixed number of turns, or use an "
                "engine that runs the program (dual, tape)."
            ) from error
        raise TypeError(
            f"expression_of: {called} does something with its argument that only a number allows ({error}). "
            "Use SymPy's functions (sympy.sin, not math.sin or jax.numpy.sin)."
        ) from error
    try:
        formula = sympy.sympify(result)
    except sympy.SympifyError as error:
        raise TypeError(f"expression_of: {called} must return one expression, got {type(result).__name__}.") from error
    if not isinstance(formula, sympy.Expr):
        raise TypeError(
            f"expression_of: {called} must return one expression, got {type(result).__name__}. "
            "Return one output at a time."
        )
    return formula


def operations(*expressions: "sympy.Expr", shared: bool = False) -> int:
    """How many operations formulas take, as written.

    Args:
      expressions: evaluated together.
      shared: count equal parts, within and across the formulas, once (common-subexpression elimination).
    """
    import sympy

    if not shared:
        return int(np.sum([int(sympy.count_ops(each)) for each in expressions], dtype=int))
    parts, rest = sympy.cse(list(expressions))
    formulas: list[Any] = [*(part for _, part in parts), *rest]
    return operations(*formulas)


class Growth(NamedTuple):
    """Operation counts of formulas and of their derivatives, one per depth.

    Args:
      depth: shape ``(k,)``.
      value, derivative: operations as written, shape ``(k,)``.
      shared_value, shared_derivative: operations with equal parts computed once, shape ``(k,)``.
    """

    depth: np.ndarray
    value: np.ndarray
    derivative: np.ndarray
    shared_value: np.ndarray
    shared_derivative: np.ndarray


def growth(expression_of_depth: Callable[[int], "sympy.Expr"], depths: Sequence[int], /) -> Growth:
    """How a formula and its derivative swell with depth.

    Args:
      expression_of_depth: depth -> SymPy expression of one symbol, such as a map iterated that often.
      depths: which to count.

    Returns:
      ``Growth``, five integer arrays of the length of ``depths``.

    Raises:
      ValueError: if an expression has not exactly one symbol.

    Cost:
      That of the formulas: exponential in depth where they swell.
    """
    rows = []
    for depth in depths:
        formula = expression_of_depth(depth)
        symbols = sorted(formula.free_symbols, key=str)
        if len(symbols) != 1:
            raise ValueError(
                f"growth: the expression of depth {depth} must have one symbol, got {len(symbols)} "
                f"({', '.join(map(str, symbols))}). Substitute numbers for the others."
            )
        slope = formula.diff(symbols[0])
        rows.append(
            [depth, *(operations(each, shared=shared) for shared in (False, True) for each in (formula, slope))]
        )
    return Growth(*np.array(rows, dtype=int).reshape(-1, 5).T)
