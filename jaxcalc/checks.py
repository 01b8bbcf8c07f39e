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
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

__all__ = [
    "argument_numbers",
    "arrays",
    "axis",
    "dimensions",
    "floating",
    "function",
    "integer",
    "is_array",
    "like",
    "not_empty",
    "not_nan",
    "num_bytes",
    "number",
    "one_of",
    "real_array",
    "returns_floating",
    "returns_like",
    "returns_scalar",
    "scalar",
    "shaped",
    "tolerance",
    "unknown",
    "vector",
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
    if not _is_whole(value):
        raise _error(TypeError, who, name, "a whole number", repr(value), remedy)
    whole = operator.index(value)
    if (least is not None and whole < least) or (most is not None and whole > most):
        raise _error(ValueError, who, name, _range(least, None, most), repr(whole), remedy)
    return whole


def argument_numbers(who: str, value: Any) -> int | tuple[int, ...]:
    """``argnums`` as a Python integer or a tuple of them.

    Raises:
      TypeError: if it is neither a whole number nor a sequence of such (lists and NumPy's integers too).
      ValueError: if it is an empty sequence.
    """
    expected = "a whole number or a sequence of them"
    if np.ndim(value) == 0:
        if isinstance(value, (str, bytes)) or not _is_whole(value):
            raise _error(TypeError, who, "argnums", expected, repr(value), "")
        return operator.index(value)
    numbers = tuple(value)
    if not all(_is_whole(number) for number in numbers):
        raise _error(TypeError, who, "argnums", expected, repr(value), "")
    if not numbers:
        raise _error(ValueError, who, "argnums", expected, repr(value), "Name what is differentiated.")
    return tuple(operator.index(number) for number in numbers)


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, (bool, np.bool_))


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
    finite: bool = False,
    remedy: str = "",
) -> Any:
    """The value, if it is real (a number or an array of such), and every entry in range where that is known.

    Raises:
      TypeError: if it is no real number.
      ValueError: if an entry is below ``least``, not above ``above``, above ``most``, infinite though it must be
        ``finite``, or NaN.
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
    wrong = wrong | np.isinf(entries) if finite else wrong
    if wrong.any():
        bounds = _range(least, above, most)
        expected = " and ".join(["finite"] * finite + [bounds] * bool(bounds)) or "a real number"
        raise _error(ValueError, who, name, expected, repr(entries[wrong].flat[0].item()), remedy)
    return value


def tolerance(who: str, name: str, value: T) -> T:
    """The tolerance, if it is one finite real number from 0 on, as far as that is known.

    Raises:
      TypeError: if it is no real number.
      ValueError: if it is negative, infinite, NaN or no scalar.
    """
    number(who, name, scalar(who, name, value, "One tolerance is for all."), least=0, finite=True)
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


def shaped(who: str, name: str, shape: tuple[int, ...], *expected: int | str) -> tuple[int, ...]:
    """The shape, if it has as many axes as expected, and of those lengths.

    Args:
      *expected: the lengths; the name of one that may be any.

    Raises:
      ValueError: if it has not.
    """
    fits = len(shape) == len(expected) and all(isinstance(b, str) or a == b for a, b in zip(shape, expected))
    if not fits:
        words = f"of shape ({', '.join(map(str, expected))}{',' * (len(expected) == 1)})"
        raise _error(ValueError, who, name, words, f"shape {tuple(shape)}", "")
    return shape


def axis(who: str, name: str, value: Any, shape: tuple[int, ...]) -> int:
    """The axis of a shape, counted from 0; negative ones count from the end.

    Raises:
      TypeError: if it is no whole number.
      ValueError: if the shape has no such axis.
    """
    whole, ndim = integer(who, name, value, least=None), len(shape)
    if not -ndim <= whole < ndim:
        expected = (
            f"an axis of shape {tuple(shape)}, {-ndim} to {ndim - 1}" if ndim else "an axis, but shape () has none"
        )
        raise _error(ValueError, who, name, expected, repr(whole), "")
    return whole % ndim


def dimensions(who: str, name: str, value: Any) -> tuple[int, ...]:
    """The lengths of the axes of an array to be made, as Python integers.

    Raises:
      TypeError: if it is no sequence of whole numbers.
      ValueError: if one of them is negative.
    """
    try:
        lengths = tuple(integer(who, name, length, least=None) for length in value)
    except TypeError:
        raise _error(TypeError, who, name, "a tuple of whole numbers", repr(value), "One axis is (n,).") from None
    if any(length < 0 for length in lengths):
        raise _error(ValueError, who, name, "a tuple of whole numbers, each at least 0", repr(value), "")
    return lengths


def real_array(who: str, name: str, value: Any, remedy: str = "Take real and imaginary part apart.") -> Any:
    """The value as an array of real floating-point numbers; whole numbers and truth values become such.

    Raises:
      TypeError: if it is complex or holds no numbers.
    """
    import jax.numpy as jnp

    value = jnp.asarray(value) if isinstance(value, (list, tuple)) else value
    return floating(who, name, jnp.asarray(value, jnp.result_type(value, float)), remedy)


def arrays(who: str, name: str, tree: T, *, others: bool = False) -> T:
    """The PyTree, if its leaves are numbers or arrays, without masked entries.

    Args:
      others: whether leaves of other kinds may be among them.

    Raises:
      TypeError: if one is neither.
      ValueError: if entries are masked, which JAX does not know of.
    """
    import jax

    for leaf in jax.tree.leaves(tree):
        if np.ma.is_masked(leaf):
            raise _error(ValueError, who, name, "without masked entries", "some", "Fill or drop them.")
        if not (others or is_array(leaf)):
            raise _error(TypeError, who, name, "made of numbers and arrays", repr(leaf), "")
    return tree


def is_array(leaf: Any) -> bool:
    """Whether a leaf is a number or has the shape and dtype of an array."""
    return isinstance(leaf, (bool, int, float, complex)) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))


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


def vector(who: str, name: str, tree: Any, of: str, model: Any) -> Any:
    """The PyTree in the dtypes of another one, if it has its structure and shapes and loses nothing by it.

    Real numbers of any width are taken; shapes and dtypes in place of arrays stay as they are.

    Args:
      of: the other one's name.

    Raises:
      ValueError: if it has another structure or shape.
      TypeError: if it is complex where the other one is real, or holds no numbers.
    """
    import jax
    import jax.numpy as jnp

    def fitted(leaf: Any, like: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        dtype, target = jnp.result_type(leaf), jnp.result_type(like)
        is_complex = jnp.issubdtype(target, jnp.complexfloating)
        kinds = (jnp.inexact if is_complex else jnp.floating, jnp.integer)
        if dtype == jax.dtypes.float0 or not any(jnp.issubdtype(dtype, kind) for kind in kinds):
            expected = f"{'' if is_complex else 'real '}numbers, as {of} is ({target})"
            is_lossy = jnp.issubdtype(dtype, jnp.complexfloating)
            remedy = "Take real and imaginary part apart." if is_lossy else ""
            raise _error(TypeError, who, name, expected, f"{dtype}{list(np.shape(leaf))}", remedy)
        return jnp.asarray(leaf, target)

    return jax.tree.map(fitted, like(who, name, tree, of, model), model)


def _shapes(tree: Any) -> Any:
    import jax

    return jax.tree.map(np.shape, tree)


def _are_alike(tree: Any, model: Any) -> bool:
    import jax

    return jax.tree.structure(tree) == jax.tree.structure(model) and _shapes(tree) == _shapes(model)


# -- functions -----------------------------------------------------------------------------------------------------


def function(who: str, fun: Any, name: str = "fun") -> Callable[..., Any]:
    """The function, if it can be called.

    Raises:
      TypeError: if it cannot.
    """
    if not callable(fun):
        raise _error(TypeError, who, name, "a function", repr(fun), "Its arguments come apart from it.")
    return fun


def returns_scalar(
    who: str, output: Any, remedy: str = "For a vector-valued fun use jacobian(fun).", *, name: str = "fun"
) -> Any:
    """The one leaf of what a function returns, if it is a real floating-point scalar.

    Args:
      output: a PyTree of arrays or what has their shapes and dtypes.
      name: the function's, as the user knows it.

    Raises:
      TypeError: if it is anything else.
    """
    import jax

    leaves = jax.tree.leaves(output)
    if [np.shape(leaf) for leaf in leaves] != [()]:
        shapes = ", ".join(str(np.shape(leaf)) for leaf in leaves)
        received = f"shape{'s' * (len(leaves) > 1)} {shapes}" if leaves else "nothing"
        raise TypeError(f"{who}: {name} must return a scalar, got {received}.{' ' * bool(remedy)}{remedy}")
    returns_floating(who, leaves, name=name)
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


def returns_floating(who: str, output: T, *, real: bool = True, name: str = "fun") -> T:
    """What a function returns, if all its leaves are floating-point, and real where they must be.

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
                f"{who}: {name} must return {'real ' * real}floating-point numbers, got {dtype}"
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
