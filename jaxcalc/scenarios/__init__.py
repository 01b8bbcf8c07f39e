"""scenarios: functions with their shapes and sizes, on which routes and prices are judged."""

from jaxcalc.scenarios.catalogue import CASES, Case, case, cases
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES", "Case", "Scenario", "case", "cases"]
