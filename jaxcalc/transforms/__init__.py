"""transforms: function to function, by composing JAX transforms."""

from jaxcalc.transforms.flow import SOLVER_ORDERS, AdjointName, SolverName, flow
from jaxcalc.transforms.forward_laplacian import forward_laplacian
from jaxcalc.transforms.hessian import HessianMethod, hessian
from jaxcalc.transforms.jacobian import JacobianMethod, jacobian
from jaxcalc.transforms.laplacian import bilaplacian, diagonal, laplacian, trace
from jaxcalc.transforms.plan import Comparison, compare, plan
from jaxcalc.transforms.planning import MemoryBudgetError, Plan
from jaxcalc.transforms.products import fisher_vp, ggn_vp, hvp
from jaxcalc.transforms.taylor import nth_derivative, taylor

__all__ = [
    "SOLVER_ORDERS",
    "AdjointName",
    "Comparison",
    "HessianMethod",
    "JacobianMethod",
    "MemoryBudgetError",
    "Plan",
    "SolverName",
    "bilaplacian",
    "compare",
    "diagonal",
    "fisher_vp",
    "flow",
    "forward_laplacian",
    "ggn_vp",
    "hessian",
    "hvp",
    "jacobian",
    "laplacian",
    "nth_derivative",
    "plan",
    "taylor",
    "trace",
]
