"""A user's transfer guard holds for the user's function; what an operator itself sends to the device is no accident."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

__all__ = ["guarding", "own_transfers", "sending"]

_GUARDS = {
    "jax_transfer_guard_host_to_device": jax.transfer_guard_host_to_device,
    "jax_transfer_guard_device_to_device": jax.transfer_guard_device_to_device,
    "jax_transfer_guard_device_to_host": jax.transfer_guard_device_to_host,
}


@contextlib.contextmanager
def own_transfers() -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Let an operator send its constants (seeds, indices, ones); yields what puts a function under the guards again."""
    levels = {guard: getattr(jax.config, name, None) for name, guard in _GUARDS.items()}
    levels = {guard: level for guard, level in levels.items() if level not in (None, "allow")}
    if not levels:
        yield lambda fun: fun
        return

    def guarded(fun: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fun, assigned=("__name__", "__qualname__", "__module__"), updated=())
        def call(*args: Any, **keywords: Any) -> Any:
            with contextlib.ExitStack() as stack:
                for guard, level in levels.items():
                    stack.enter_context(guard(level))
                return fun(*args, **keywords)

        return call

    with contextlib.ExitStack() as stack:
        for guard in levels:
            stack.enter_context(guard("allow"))
        yield guarded


def guarding(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call that may send its constants, of a function given first that may run eagerly: the guards hold for that."""

    @functools.wraps(call)
    def guards(fun: Any, *args: Any, **keywords: Any) -> Any:
        with own_transfers() as guarded:
            return call(guarded(fun) if callable(fun) else fun, *args, **keywords)

    return guards


def sending(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call that may send its constants; of a user's function it traces all that it runs, which sends nothing."""

    @functools.wraps(call)
    def sends(*args: Any, **keywords: Any) -> Any:
        with own_transfers():
            return call(*args, **keywords)

    return sends
