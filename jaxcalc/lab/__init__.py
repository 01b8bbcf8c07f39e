"""lab: a YAML config goes in; trials run jitted; labelled data, figures, verdicts and a report come out.

Nothing here knows calculus, and nothing here imports JAX before a run begins.
"""

import importlib
from typing import TYPE_CHECKING, Any

_JUDGE = (
    "Check", "Finding", "NotJudged",
    "above", "below", "between", "cited", "close", "equal", "holds", "less", "orders", "slope",
)  # fmt: skip
_HOMES = {
    "Claim": "jaxcalc.lab.judge",
    "Config": "jaxcalc.lab.experiment",
    "Part": "jaxcalc.lab.experiment",
    "Swept": "jaxcalc.lab.experiment",
    "Variable": "jaxcalc.lab.experiment",
    "ConfigError": "jaxcalc.lab.errors",
    **dict.fromkeys(_JUDGE, "jaxcalc.lab.judge"),
    **dict.fromkeys(("jax", "jnp", "xarray"), "jaxcalc.lab.on_use"),
    **dict.fromkeys(("FACTS", "fact", "judge_facts", "pack_facts"), "jaxcalc.lab.facts"),
    "over": "jaxcalc.lab.join",
    **dict.fromkeys(("eps", "first", "params"), "jaxcalc.lab.settings"),
    **dict.fromkeys(("digits", "rows"), "jaxcalc.lab.tables"),
    "Run": "jaxcalc.lab.results",
    "load": "jaxcalc.lab.results",
    "run": "jaxcalc.lab.runner",
}
__all__ = [
    "FACTS",
    "Check",
    "Claim",
    "Config",
    "ConfigError",
    "Finding",
    "NotJudged",
    "Part",
    "Run",
    "Swept",
    "Variable",
    "above",
    "below",
    "between",
    "cited",
    "close",
    "digits",
    "eps",
    "equal",
    "fact",
    "first",
    "holds",
    "jax",
    "jnp",
    "judge_facts",
    "less",
    "load",
    "orders",
    "over",
    "pack_facts",
    "params",
    "rows",
    "run",
    "slope",
    "xarray",
]

if TYPE_CHECKING:
    from jaxcalc.lab.errors import ConfigError
    from jaxcalc.lab.experiment import Config, Part, Swept, Variable
    from jaxcalc.lab.facts import FACTS, fact, judge_facts, pack_facts
    from jaxcalc.lab.join import over
    from jaxcalc.lab.judge import (
        Check,
        Claim,
        Finding,
        NotJudged,
        above,
        below,
        between,
        cited,
        close,
        equal,
        holds,
        less,
        orders,
        slope,
    )  # fmt: skip
    from jaxcalc.lab.on_use import jax, jnp, xarray
    from jaxcalc.lab.results import Run, load
    from jaxcalc.lab.runner import run
    from jaxcalc.lab.settings import eps, first, params
    from jaxcalc.lab.tables import digits, rows


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jaxcalc.lab' has no attribute {name!r}; it has: {', '.join(__all__)}")
