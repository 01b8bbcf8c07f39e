"""checks: what may be asked of an argument, one function a contract, one wording each.

    who: NAME must be EXPECTED, got RECEIVED. REMEDY

``who`` is the function that the user called. Two exceptions, one rule:

* ``TypeError``, where what came is of another kind: a number for a name, integers for floating-point numbers, anything
  but a function. What ``fun`` returns belongs here whatever is wrong with it, for in JAX shape and dtype are the type
  of a result.
* ``ValueError``, where the kind is right and the value is not: a name that is not offered, a number out of range, an
  argument of another shape.

A check that holds returns what it checked, ready to be used. Values that are traced pass where only their numbers could
tell; kinds, shapes and dtypes are known of them too.
"""

import difflib
import operator
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

__all__ = [
    "floating",
    "function",
    "integer",
    "like",
    "not_empty",
    "not_nan",
    "num_bytes",
    "number",
    "one_of",
    "returns_floating",
    "returns_like",
    "returns_scalar",
    "scalar",
    "unknown",
]

T = TypeVar("T")
MOST_LISTED = 64
"""Up to so many alternatives are all named; of a longer catalogue the nearest."""


# -- choices and numbers -------------------------------------------------------------------------------------------


def one_of(who: str, name: str, value: T, options: Iterable[Any], *, also: str = "", remedy: str = "") -> T:
    """The value, if it is among the options.

    Args:
      options: strings, whole numbers or None.
      also: what else the caller takes, in words.
      remedy: where nothing near was meant.

    Raises:
      TypeError: if it is of a kind that no option is of.
      ValueError: if it is not among them; the message names them all, and the one that was probably meant.
    """
    options = tuple(options)
    if any(_same_kind(value, option) for option in options) and value in options:
        return value
    raise unknown(who, name, value, options, also=also, remedy=remedy)


def unknown(who: str, name: str, value: Any, options: Iterable[Any], *, also: str = "", remedy: str = "") -> Exception:
    """The error of ``one_of``, to be raised where a ``match`` ends."""
    options = tuple(options)
    names = [option for option in options if isinstance(option, str)]
    meant = value.lower() if isinstance(value, str) else ""
    close = difflib.get_close_matches(meant, names, 3, 0.6)
    if len(options) <= MOST_LISTED:
        expected = f"one of {', '.join(map(repr, options))}"
    else:
        near = close or difflib.get_close_matches(meant, names, 3, 0.3)
        expected = f"one of {len(options)} names" + (f", such as {', '.join(map(repr, near))}" if near else "")
    expected += f", or {also}" if also else ""
    remedy = f"Did you mean {close[0]!r}?" if close else remedy
    right_kind = any(_same_kind(value, option) for option in options)
    return _error(ValueError if right_kind else TypeError, who, name, expected, repr(value), remedy)


def _same_kind(value: Any, option: Any) -> bool:
    if isinstance(option, int) and not isinstance(option, bool):
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return isinstance(value, type(option))


def integer(
    who: str, name: str, value: Any, *, least: int | None = 1, most: int | None = None, remedy: str = ""
) -> int:
    """The value as a Python integer, if it is a whole number in range.

    Raises:
      TypeError: if it is none: a float (64.0 too), a truth value, a traced value.
      ValueError: if it is below ``least`` or above ``most``.
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, (bool, np.bool_)):
        raise _error(TypeError, who, name, "a whole number", repr(value), remedy)
    if (least is not None and whole < least) or (most is not None and whole > most):
        raise _error(ValueError, who, name, _range(least, None, most), repr(whole), remedy)
    return whole


def num_bytes(who: str, name: str, value: Any) -> int | None:
    """A budget of memory as an integer; None stays None. ``64e6`` is a size too.

    Raises:
      TypeError: if it is no number.
      ValueError: if it is below 1.
    """
    return None if value is None else int(number(who, name, value, least=1, most=2**63, remedy="It counts bytes."))


def number(
    who: str,
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    remedy: str = "",
) -> Any:
    """The value, if it is real (a number or an array of such), and every entry in range where that is known.

    Raises:
      TypeError: if it is no real number.
      ValueError: if an entry is below ``least``, not above ``above``, above ``most``, or NaN.
    """
    if not _is_real(value):
        raise _error(TypeError, who, name, "a real number", repr(value), remedy)
    if _is_traced(value):
        return value
    entries = np.asarray(value, float)
    wrong = np.isnan(entries)
    wrong = wrong | (entries < least) if least is not None else wrong
    wrong = wrong | (entries <= above) if above is not None else wrong
    wrong = wrong | (entries > most) if most is not None else wrong
    if wrong.any():
        expected = _range(least, above, most) or "a real number"
        raise _error(ValueError, who, name, expected, repr(entries[wrong].flat[0].item()), remedy)
    return value


def not_nan(who: str, name: str, value: T, remedy: str = "") -> T:
    """The value, if it is real (infinite too) and no entry is known to be NaN.

    Raises:
      TypeError: if it is no real number.
      ValueError: if an entry is NaN.
    """
    if not _is_real(value):
        raise _error(TypeError, who, name, "a real number", repr(value), remedy)
    if not _is_traced(value) and np.isnan(np.asarray(value, float)).any():
        raise _error(ValueError, who, name, "a number or infinite", "NaN", remedy)
    return value


# -- arrays --------------------------------------------------------------------------------------------------------


def scalar(who: str, name: str, value: T, remedy: str = "Use jax.vmap for many.") -> T:
    """The value, if its shape is ().

    Raises:
      ValueError: if it has another shape.
    """
    if np.shape(value):  # pyright: ignore[reportArgumentType, reportCallIssue]
        raise _error(ValueError, who, name, "a scalar", f"shape {np.shape(value)}", remedy)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return value


def not_empty(who: str, name: str, tree: T, remedy: str = "Pass what is to be moved.") -> T:
    """The PyTree, if it holds at least one array.

    Raises:
      ValueError: if it holds none.
    """
    import jax

    if not jax.tree.leaves(tree):
        raise _error(ValueError, who, name, "at least one array", repr(tree), remedy)
    return tree


def floating(who: str, name: str, array: T, remedy: str, *, real: bool = True) -> T:
    """The array, if its dtype is floating-point, and real where it must be.

    Raises:
      TypeError: if it is not.
    """
    import jax.numpy as jnp

    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating if real else jnp.inexact):
        expected = f"of {'real ' * real}floating-point numbers"
        raise _error(TypeError, who, name, expected, f"{dtype}{list(np.shape(array))}", remedy)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return array


def like(who: str, name: str, tree: T, of: str, model: Any) -> T:
    """The PyTree, if it has the structure and the shapes of another one.

    Args:
      of: the other one's name.

    Raises:
      ValueError: if it has not.
    """
    if not _are_alike(tree, model):
        raise _error(ValueError, who, name, f"shaped like {of}, {_shapes(model)}", str(_shapes(tree)), "")
    return tree


def _shapes(tree: Any) -> Any:
    import jax

    return jax.tree.map(np.shape, tree)


def _are_alike(tree: Any, model: Any) -> bool:
    import jax

    return jax.tree.structure(tree) == jax.tree.structure(model) and _shapes(tree) == _shapes(model)


# -- functions -----------------------------------------------------------------------------------------------------


def function(who: str, fun: T, name: str = "fun") -> T:
    """The function, if it can be called.

    Raises:
      TypeError: if it cannot.
    """
    if not callable(fun):
        raise _error(TypeError, who, name, "a function", repr(fun), "Its arguments come apart from it.")
    return fun


def returns_scalar(who: str, output: Any, remedy: str = "For a vector-valued fun use jacobian(fun).") -> Any:
    """The one leaf of what ``fun`` returns, if it is a real floating-point scalar.

    Args:
      output: a PyTree of arrays or what has their shapes and dtypes.

    Raises:
      TypeError: if it is anything else.
    """
    import jax

    leaves = jax.tree.leaves(output)
    if [np.shape(leaf) for leaf in leaves] != [()]:
        shapes = ", ".join(str(np.shape(leaf)) for leaf in leaves)
        received = f"shape{'s' * (len(leaves) > 1)} {shapes}" if leaves else "nothing"
        raise TypeError(f"{who}: fun must return a scalar, got {received}.{' ' * bool(remedy)}{remedy}")
    returns_floating(who, leaves)
    return leaves[0]


def returns_like(who: str, output: T, of: str, model: Any, remedy: str = "") -> T:
    """What ``fun`` returns, if it has the structure and the shapes of ``model``.

    Raises:
      TypeError: if it has not.
    """
    if not _are_alike(output, model):
        expected = f"shaped like {of}, {_shapes(model)}"
        raise _error(TypeError, who, "what fun returns", expected, str(_shapes(output)), remedy)
    return output


def returns_floating(who: str, output: T, *, real: bool = True) -> T:
    """What ``fun`` returns, if all its leaves are floating-point, and real where they must be.

    Raises:
      TypeError: if one is not.
    """
    import jax
    import jax.numpy as jnp

    for leaf in jax.tree.leaves(output):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating if real else jnp.inexact):
            is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
            remedy = "Take real and imaginary part apart." if is_complex else "Convert it to floats, or leave it out."
            raise TypeError(
                f"{who}: fun must return {'real ' * real}floating-point numbers, got {dtype}"
                f"{list(np.shape(leaf))}. {remedy}"
            )
    return output


# -- words ---------------------------------------------------------------------------------------------------------


def _error(kind: type[Exception], who: str, name: str, expected: str, received: str, remedy: str) -> Exception:
    return kind(f"{who}: {name} must be {expected}, got {received}.{' ' * bool(remedy)}{remedy}")


def _range(least: float | None, above: float | None, most: float | None) -> str:
    bounds = [("at least", least), ("above", above), ("at most", most)]
    return " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)


def _is_traced(value: Any) -> bool:
    from jax.core import Tracer

    return isinstance(value, Tracer)


def _is_real(value: Any) -> bool:
    """Whether it is a real number or an array of such; a truth value is none."""
    import jax.numpy as jnp

    if isinstance(value, (int, float)):
        return not isinstance(value, bool)
    kind = getattr(value, "dtype", np.dtype(bool))
    return jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer)
