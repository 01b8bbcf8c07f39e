"""programs: a function read as a program, never evaluated."""

from jaxcalc.programs.compiled import Executable, executable
from jaxcalc.programs.survey import survey

__all__ = ["Executable", "executable", "survey"]
