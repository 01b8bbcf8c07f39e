"""Several programs side by side: compiled, counted and timed together."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcalc import measure
from jaxcalc.programs.compiled import executable
from jaxcalc.programs.cost import cost

__all__ = ["Routes", "survey"]

Routes = Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]]

_FIELDS = ("compile_seconds", "bytes_accessed", "temporaries", "footprint")


def survey(
    routes: Routes,
    names: Sequence[str],
    *,
    repeats: int = 7,
    min_seconds: float = 1e-3,
    run_limit: float = float("inf"),
) -> dict[str, np.ndarray]:
    """Compile every route, count it, and time those that fit, taking turns.

    Args:
      routes: name -> (function, its arguments).
      names: the order of the answer; a name without a route gets NaN.
      repeats, min_seconds: as in ``measure.interleave``.
      run_limit: bytes; a program whose temporaries and outputs exceed it is not run, and its seconds are NaN.

    Returns:
      ``seconds`` of shape (names, repeats), the raw samples; and of shape (names,) ``operations``, floating-point
      operations plus transcendentals read off the program, the same on every backend (NaN where a loop's trips are
      not known), ``compiled_operations``, those of the compiled program by XLA's count, which depend on what the
      backend fuses, and ``compile_seconds``, ``bytes_accessed``, ``temporaries`` and ``footprint`` as ``Executable``
      tells them.
    """
    programs = {name: executable(fun, *arguments) for name, (fun, arguments) in routes.items()}
    timings = measure.interleave(
        {
            name: functools.partial(program, *routes[name][1])
            for name, program in programs.items()
            if program.footprint <= run_limit
        },
        repeats=repeats,
        min_seconds=min_seconds,
    )
    read = {
        "operations": lambda name: _operations(*routes[name]),
        "compiled_operations": lambda name: programs[name].operations,
        **{field: lambda name, field=field: getattr(programs[name], field) for field in _FIELDS},
    }
    columns = {
        field: np.array([column(name) if name in programs else np.nan for name in names], float)
        for field, column in read.items()
    }
    never = np.full(repeats, np.nan)
    seconds = np.array([timings[name].samples if name in timings else never for name in names])
    return {"seconds": seconds.reshape(len(names), repeats), **columns}


def _operations(fun: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    price = cost(fun, *arguments)
    return float("nan") if price.assumed_trips else price.flops + price.transcendentals
