"""What is certain of an array before the program runs: value, zeros, range of integers, dependencies."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc.programs.sparsity.sets import Sets
from jaxcalc.programs.walk import Value

__all__ = ["Fact", "constant", "unknown"]

_PENDING: Any = object()
# Elements of the largest array that is computed on the host, and of the largest of which several are.
_LARGEST, _MANY = 1 << 24, 1 << 16
# What decides, and the arrays that it decides between: an element of the first may decide over its own element alone.
Options = tuple["Fact", list[np.ndarray]]


class Fact:
    """Of one array: which columns reach its elements, and, found out when asked, what else is certain.

    Args:
      shape, dtype: of the array.
      sets: the columns that reach each element; ``None`` where no column reaches any.
      value, support, bounds, options: functions without arguments, called at most once; ``None`` where nothing is
        certain.
      at_point: whether the value holds only at the point that a local pattern is read at.
    """

    __slots__ = (
        "_bounds",
        "_options",
        "_support",
        "_value",
        "at_point",
        "dtype",
        "knowable",
        "plain",
        "sets",
        "shape",
        "varying",
        "watch",
    )

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        sets: Sets | None = None,
        value: Callable[[], np.ndarray | None] | None = None,
        support: Callable[[], np.ndarray | None] | None = None,
        bounds: Callable[[], tuple[np.ndarray, np.ndarray] | None] | None = None,
        at_point: bool = False,
        options: Callable[[], Options | None] | None = None,
    ):
        self.shape, self.dtype, self.sets, self.at_point = shape, dtype, sets, at_point
        self._value, self._support, self._bounds, self._options = value, support, bounds, options
        self.watch: list[bool] | None = None
        self.varying, self.knowable = False, value is not None
        self.plain = value is None and support is None and bounds is None and sets is None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def integral(self) -> bool:
        """Whether it holds integers or truth values."""
        return getattr(self.dtype, "kind", "V") in "iub"

    def holding(self, sets: Sets | None) -> "Fact":
        """The same fact with other dependencies."""
        value = self.value if self.may_be_known() else None
        return Fact(self.shape, self.dtype, sets, value, self.support, self.bounds, self.at_point)

    def may_be_known(self) -> bool:
        """Whether asking for the value may find one (for what differs from trip to trip: on a single trip)."""
        return self.knowable if self.varying else self._value is not None

    def value(self) -> np.ndarray | None:
        """The array, where no input reaches it and its computation is exact; otherwise ``None``."""
        if (
            self.watch is not None
        ):  # differs from one trip of a loop to the next: the loop is told that it was asked for
            self.watch[0] = True
            return None
        if callable(self._value):
            thunk, self._value = self._value, None
            self._value = _certain(thunk) if self.size <= _LARGEST else None
        return self._value

    def support(self) -> np.ndarray | None:
        """Flat; ``False`` where an element is certainly zero. ``None``: nothing is."""
        if callable(self._support):
            thunk, self._support = self._support, None
            # A counter is zero at most once; masks, which are compared from it, are worth asking for.
            asks = not self.varying or self.dtype == bool
            if asks and self.watch is None and self._value is not None and (self.integral or not self.at_point):
                value = self.value()
                if value is not None:
                    thunk = lambda: np.asarray(value != 0).reshape(-1)
            found = _certain(thunk)
            self._support = None if found is None or found.all() else found
        return self._support

    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Least and greatest value of each element, of integers and truth values."""
        if not self.integral:
            return None
        if self.watch is not None:
            self.watch[0] = True
        else:
            value = self.value()
            if value is not None:
                wide = (
                    np.minimum(value, np.uint64(1 << 62)).astype(np.int64)
                    if value.dtype == np.uint64
                    else value.astype(np.int64)
                )
                return wide, wide
        if callable(self._bounds):
            thunk, self._bounds = self._bounds, None
            self._bounds = _certain(thunk)
        return self._bounds

    def options(self) -> "Options | None":
        """The few arrays that integers or truth values may be, each element one of its own, and who decides which."""
        if not self.integral or self.watch is not None or self.varying or self.size > _MANY:
            return None
        if callable(self._options):
            thunk, self._options = self._options, None
            self._options = _certain(thunk)
        return self._options


def _certain(thunk: Callable[[], Any]) -> Any:
    """What a function finds; nothing where a chain of such questions is longer than Python's stack."""
    try:
        with np.errstate(all="ignore"):
            return thunk()
    except RecursionError:
        return None


def unknown(value: Value) -> Fact:
    """Nothing is certain of it, and no column reaches it."""
    return Fact(value.shape, value.dtype)


def constant(value: Any, like: Value, at_point: bool = False) -> Fact:
    """An array that is there before the program runs; a tracer, or a random key, is unknown."""
    if isinstance(value, Tracer) or jnp.issubdtype(like.dtype, jax.dtypes.extended):
        return unknown(like)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # spread over devices that this process does not see
        return unknown(like)
    if array.shape != like.shape or like.dtype == jax.dtypes.float0:
        return unknown(like)
    if array.dtype != like.dtype:  # a Python number, or one of a type that JAX holds narrower
        array = array.astype(like.dtype)
    nonzero = None
    if array.size != 1 or array.reshape(()) == 0:
        nonzero = lambda: np.asarray(array != 0).reshape(-1)
    if at_point and array.dtype.kind not in "iub":
        nonzero = None
    return Fact(like.shape, like.dtype, value=lambda: array, support=nonzero, at_point=at_point)
