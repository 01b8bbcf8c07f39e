"""lab: a YAML config goes in; trials run jitted; labelled data, figures, verdicts and a report come out.

Nothing here knows calculus, and nothing here imports JAX before a run begins.
"""

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Claim": "jaxcalc.lab.experiment",
    "Config": "jaxcalc.lab.experiment",
    "Part": "jaxcalc.lab.experiment",
    "Swept": "jaxcalc.lab.experiment",
    "Variable": "jaxcalc.lab.experiment",
    "ConfigError": "jaxcalc.lab.errors",
    "judged": "jaxcalc.lab.ledger",
    "Run": "jaxcalc.lab.runner",
    "load": "jaxcalc.lab.runner",
    "run": "jaxcalc.lab.runner",
}
__all__ = ["Claim", "Config", "ConfigError", "Part", "Run", "Swept", "Variable", "judged", "load", "run"]

if TYPE_CHECKING:
    from jaxcalc.lab.errors import ConfigError
    from jaxcalc.lab.experiment import Claim, Config, Part, Swept, Variable
    from jaxcalc.lab.ledger import judged
    from jaxcalc.lab.runner import Run, load, run


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jaxcalc.lab' has no attribute {name!r}; it has: {', '.join(__all__)}")
