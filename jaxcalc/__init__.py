"""jaxcalc: every derivative by the cheapest route, and the evidence for it.

The public names load on first use, so that ``import jaxcalc`` costs nothing beyond Python itself.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxcalc._version import __version__

if TYPE_CHECKING:
    from jaxcalc.engines import check_gradient as check_gradient
    from jaxcalc.models import criticality as criticality
    from jaxcalc.programs import calibrate as calibrate
    from jaxcalc.programs import cost as cost
    from jaxcalc.solvers import minimize as minimize
    from jaxcalc.solvers import variational as variational
    from jaxcalc.transforms import MemoryBudgetError as MemoryBudgetError
    from jaxcalc.transforms import bilaplacian as bilaplacian
    from jaxcalc.transforms import classify_stationary_point as classify_stationary_point
    from jaxcalc.transforms import compare as compare
    from jaxcalc.transforms import diagonal as diagonal
    from jaxcalc.transforms import directional_derivative as directional_derivative
    from jaxcalc.transforms import divergence as divergence
    from jaxcalc.transforms import double_integral as double_integral
    from jaxcalc.transforms import expectation as expectation
    from jaxcalc.transforms import fisher_vp as fisher_vp
    from jaxcalc.transforms import flow as flow
    from jaxcalc.transforms import forward_laplacian as forward_laplacian
    from jaxcalc.transforms import ggn_vp as ggn_vp
    from jaxcalc.transforms import gradient_trust as gradient_trust
    from jaxcalc.transforms import hessian as hessian
    from jaxcalc.transforms import hvp as hvp
    from jaxcalc.transforms import integral as integral
    from jaxcalc.transforms import iterated_integral as iterated_integral
    from jaxcalc.transforms import jacobian as jacobian
    from jaxcalc.transforms import laplacian as laplacian
    from jaxcalc.transforms import limit as limit
    from jaxcalc.transforms import linear_operator as linear_operator
    from jaxcalc.transforms import monte_carlo as monte_carlo
    from jaxcalc.transforms import nth_derivative as nth_derivative
    from jaxcalc.transforms import plan as plan
    from jaxcalc.transforms import second_derivative_test as second_derivative_test
    from jaxcalc.transforms import taylor as taylor
    from jaxcalc.transforms import trace as trace

_ROOMS = (
    "cache",
    "engines",
    "functions",
    "lab",
    "measure",
    "models",
    "programs",
    "scenarios",
    "solvers",
    "style",
    "transforms",
)

_HOMES = {
    "calibrate": "jaxcalc.programs",
    "check_gradient": "jaxcalc.engines",
    "cost": "jaxcalc.programs",
    "criticality": "jaxcalc.models",
    "minimize": "jaxcalc.solvers",
    "variational": "jaxcalc.solvers",
    **dict.fromkeys(
        (
            "MemoryBudgetError",
            "bilaplacian",
            "classify_stationary_point",
            "compare",
            "diagonal",
            "directional_derivative",
            "divergence",
            "double_integral",
            "expectation",
            "fisher_vp",
            "flow",
            "forward_laplacian",
            "ggn_vp",
            "gradient_trust",
            "hessian",
            "hvp",
            "integral",
            "iterated_integral",
            "jacobian",
            "laplacian",
            "limit",
            "linear_operator",
            "monte_carlo",
            "nth_derivative",
            "plan",
            "second_derivative_test",
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
