"""Compiled programs that live as long as the functions that they were made of."""

import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["Watched", "program"]

# id of a function, or of a method's object -> (the watched object, {(method, choices): program}).
_KEPT: dict[int, tuple[Any, dict[Any, Any]]] = {}


def program(fun: Callable[..., Any], choices: Hashable, make: Callable[[Callable[[], Any]], Any]) -> Any:
    """The program of a function, made once for each of some choices and dropped with the function.

    A static argument of ``jax.jit`` lives as long as the process does, with all that it closes over.

    Args:
      make: from what gives the function, as long as it lives, to the program; it must not hold the function itself.
    """
    # A bound method is another object each time that it is taken.
    owner, method = (fun.__self__, fun.__func__) if isinstance(fun, types.MethodType) else (fun, None)
    number = id(owner)
    try:
        watched = weakref.ref(owner, lambda _: _KEPT.pop(number, None))
        hash(choices)
    except TypeError:  # what cannot be watched, or compared, is compiled at every call
        return make(lambda: fun)
    kept = _KEPT.get(number)
    if kept is None or kept[0]() is not owner:
        kept = _KEPT[number] = watched, {}
    programs = kept[1]
    if (method, choices) not in programs:
        for key in [key for key in programs if _is_over(key)]:
            del programs[key]
        reference = kept[0]
        give = reference if method is None else lambda: types.MethodType(method, reference())
        programs[method, choices] = make(give)
    return programs[method, choices]


def _is_over(choices: Any) -> bool:
    """Whether a function among the choices is gone, so that no call can name them again."""
    if isinstance(choices, tuple):
        return any(map(_is_over, choices))
    return isinstance(choices, Watched) and choices() is None


class Watched:
    """A further function among the choices, told apart by identity and not kept alive."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        bound = isinstance(fun, types.MethodType)  # another object each time that it is taken
        self._number = hash((id(fun.__self__), id(fun.__func__))) if bound else id(fun)
        try:
            self._give: Callable[[], Any] = weakref.WeakMethod(fun) if bound else weakref.ref(fun)
        except TypeError:
            self._give = lambda: fun

    def __call__(self) -> Any:
        """The function; None once it is gone."""
        return self._give()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Watched) or self._number != other._number:
            return False
        mine, others = self(), other()
        bound = isinstance(mine, types.MethodType) and isinstance(others, types.MethodType)
        return mine is not None and (mine is others or (bound and mine.__self__ is others.__self__))

    def __hash__(self) -> int:
        return self._number
