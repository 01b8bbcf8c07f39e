"""jaxcalc: every derivative by the cheapest route, and the evidence for it.

The public names load on first use, so that ``import jaxcalc`` costs nothing beyond Python itself.
"""

import importlib
from typing import Any

from jaxcalc._version import __version__

_ROOMS = ("cache", "engines", "functions", "lab", "measure", "models", "programs", "solvers", "style", "transforms")

_HOMES = {
    "calibrate": "jaxcalc.programs",
    "check_gradient": "jaxcalc.engines",
    "cost": "jaxcalc.programs",
    "minimize": "jaxcalc.solvers",
    **dict.fromkeys(
        (
            "MemoryBudgetError",
            "bilaplacian",
            "compare",
            "diagonal",
            "directional_derivative",
            "double_integral",
            "expectation",
            "fisher_vp",
            "flow",
            "forward_laplacian",
            "ggn_vp",
            "hessian",
            "hvp",
            "integral",
            "iterated_integral",
            "jacobian",
            "laplacian",
            "limit",
            "monte_carlo",
            "nth_derivative",
            "plan",
            "taylor",
            "trace",
        ),
        "jaxcalc.transforms",
    ),
}

__all__ = ["__version__", *_ROOMS, *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"jaxcalc.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jaxcalc' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
