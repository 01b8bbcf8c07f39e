"""programs: a function read as a program, never evaluated."""

from jaxcalc.programs.compare_compiled import survey
from jaxcalc.programs.compiled import Executable, executable
from jaxcalc.programs.cost import Cost, cost
from jaxcalc.programs.sparsity import Pattern, hessian_pattern, jacobian_pattern
from jaxcalc.programs.speed import Device, calibrate, device

__all__ = [
    "Cost",
    "Device",
    "Executable",
    "Pattern",
    "calibrate",
    "cost",
    "device",
    "executable",
    "hessian_pattern",
    "jacobian_pattern",
    "survey",
]
