"""What does a gradient cost beside the value: operations against parameters, memory against depth?"""

import pydantic

from jaxcalc import lab
from jaxcalc.lab import Variable


class Measured(lab.Config):
    """How programs are compiled, counted and timed."""

    repeats: int = pydantic.Field(7, ge=1)
    """rounds of timing; every round reads each program once"""
    min_seconds: float = pydantic.Field(1e-3, ge=0)
    """how long one reading lasts at least, in seconds"""
    run_limit: float = pydantic.Field(256.0, ge=0)
    """a program whose temporaries and outputs exceed this many MB is compiled and counted but not run"""


def counted(dim: str) -> dict[str, Variable]:
    """The variables that every part reads off its compiled programs."""
    return {
        "seconds": Variable((dim, "repeat"), "s", "run time of one call"),
        "compile_seconds": Variable((dim,), "s", "time that XLA took to compile"),
        "operations": Variable((dim,), "", "operations by XLA's count, none where a loop hides them", measured=False),
        "bytes_accessed": Variable((dim,), "B", "bytes read and written by XLA's count", measured=False),
        "temporaries": Variable((dim,), "B", "memory for intermediate results", measured=False),
        "footprint": Variable((dim,), "B", "memory for intermediate results and outputs", measured=False),
    }


def timed_record(routes, names, config):
    from jaxcalc.programs.survey import survey

    limit = 1e6 * config.run_limit
    return survey(routes, names, repeats=config.repeats, min_seconds=config.min_seconds, run_limit=limit)


def median_seconds(data):
    return data.seconds.median("repeat", skipna=False)


def short(value):
    """Three significant digits."""
    return float(f"{float(value):.3g}")
