"""Programs side by side in a question: what can be set, what is saved, and costs in units of one evaluation."""

import pydantic

from jaxcalc import lab
from jaxcalc.lab import Variable


class Timed(lab.Config):
    """How programs are timed."""

    repeats: int = pydantic.Field(21, ge=1)
    """rounds of timing; every round reads each program once"""
    min_seconds: float = pydantic.Field(1e-3, ge=0)
    """how long one reading lasts at least, in seconds"""


class Measured(Timed):
    """How programs are compiled, counted and timed."""

    run_limit: float = pydantic.Field(256.0, ge=0)
    """a program whose temporaries and outputs exceed this many MB is compiled and counted but not run"""


def surveyed(dim):
    """The variables of what ``survey`` tells of every program along a dimension."""
    exact = {
        "operations": Variable((dim,), "", "operations read off the program", measured=False),
        "compiled_operations": Variable((dim,), "", "operations by XLA's count, none beside a loop", measured=False),
        "bytes_accessed": Variable((dim,), "B", "bytes read and written by XLA's count", measured=False),
        "temporaries": Variable((dim,), "B", "memory for intermediate results", measured=False),
        "footprint": Variable((dim,), "B", "memory for intermediate results and outputs", measured=False),
    }
    return {
        "seconds": Variable((dim, "repeat"), "s", "run time of one call"),
        "compile_seconds": Variable((dim,), "s", "time that XLA took to compile"),
        **exact,
    }


def survey(routes, names, config):
    """Every route compiled, counted and timed as ``Measured`` says."""
    from jaxcalc.programs.compare_compiled import survey

    limit = 1e6 * config.run_limit
    return survey(routes, names, repeats=config.repeats, min_seconds=config.min_seconds, run_limit=limit)


def points(dataset, *axes):
    """The points along these axes; of any other sweep, the first."""
    return lab.first(dataset, *axes, "transform", "checkpoint", "repeat")


def relative(values):
    """In evaluations of the function; times round by round, so that what slows both cancels."""
    return values / values.sel(transform="value")


def median(seconds):
    return seconds.median("repeat", skipna=False)


def ratio(data, route, over):
    """The median over rounds of a route's time over another's: what slows a round cancels."""
    return median(data.seconds.sel(route=route) / data.seconds.sel(route=over))


def quartiles(values):
    """First quartile, median and third over the rounds; itself thrice where nothing was repeated."""
    if "repeat" not in values.dims:
        return values, values, values
    return tuple(values.quantile(q, "repeat", skipna=False) for q in (0.25, 0.5, 0.75))


def flat(dataset, variables, present):
    """Every variable with the points of any sweep on its first axis; points without a result are left out."""
    found = {}
    for name, variable in variables.items():
        if variable.dims != (name,):
            values = dataset[name]
            outer = [dim for dim in values.dims if dim not in variable.dims]
            data = values.transpose(*outer, *variable.dims).values
            found[name] = data.reshape(-1, *data.shape[len(outer) :])
    there = found[present].astype(str) != ""
    return {name: values[there] for name, values in found.items()}
