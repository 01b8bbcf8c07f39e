"""transforms: function to function, by composing JAX transforms."""

from jaxcalc.transforms.choose import MemoryBudgetError
from jaxcalc.transforms.compare import Comparison, compare, plan
from jaxcalc.transforms.divergence import DivergenceMethod, divergence
from jaxcalc.transforms.expectation import expectation, marginal, total_mass, variance
from jaxcalc.transforms.flow import Flow, flow
from jaxcalc.transforms.flow_path import Path
from jaxcalc.transforms.flow_request import AdjointName
from jaxcalc.transforms.flow_solvers import SOLVER_ORDERS, SolverName
from jaxcalc.transforms.forward_laplacian import forward_laplacian
from jaxcalc.transforms.gradient_trust import GradientTrust, gradient_trust
from jaxcalc.transforms.hessian import HessianMethod, hessian
from jaxcalc.transforms.information import cross_entropy, entropy, jensen_shannon_divergence, kl_divergence
from jaxcalc.transforms.integral import Integral, IntegralMethod, integral
from jaxcalc.transforms.iterated import double_integral, iterated_integral
from jaxcalc.transforms.jacobian import JacobianMethod, jacobian
from jaxcalc.transforms.laplace_approximation import Laplace, laplace_approximation
from jaxcalc.transforms.laplacian import bilaplacian, diagonal, laplacian, trace
from jaxcalc.transforms.limits import Continuity, Limit, continuity, limit, limit_of_composition
from jaxcalc.transforms.linear_operator import LinearOperator, linear_operator
from jaxcalc.transforms.local_models import (
    directional_derivative,
    local_model,
    model_radius,
    remainder_bound,
    steepest_ascent,
    taylor_polynomial,
)
from jaxcalc.transforms.plan import Plan
from jaxcalc.transforms.products import fisher_vp, ggn_vp, hvp
from jaxcalc.transforms.sampled_expectation import Pilot, SampledExpectation
from jaxcalc.transforms.sampling import Estimate, importance_sampling, monte_carlo, quasi_monte_carlo, sample_mean
from jaxcalc.transforms.stationary import (
    StationaryKind,
    StationaryPoint,
    classify_stationary_point,
    second_derivative_test,
)
from jaxcalc.transforms.taylor import nth_derivative, taylor

__all__ = [
    "SOLVER_ORDERS",
    "AdjointName",
    "Comparison",
    "Continuity",
    "DivergenceMethod",
    "Estimate",
    "Flow",
    "GradientTrust",
    "HessianMethod",
    "Integral",
    "IntegralMethod",
    "JacobianMethod",
    "Laplace",
    "Limit",
    "LinearOperator",
    "MemoryBudgetError",
    "Path",
    "Pilot",
    "Plan",
    "SampledExpectation",
    "SolverName",
    "StationaryKind",
    "StationaryPoint",
    "bilaplacian",
    "classify_stationary_point",
    "compare",
    "continuity",
    "cross_entropy",
    "diagonal",
    "directional_derivative",
    "divergence",
    "double_integral",
    "entropy",
    "expectation",
    "fisher_vp",
    "flow",
    "forward_laplacian",
    "ggn_vp",
    "gradient_trust",
    "hessian",
    "hvp",
    "importance_sampling",
    "integral",
    "iterated_integral",
    "jacobian",
    "jensen_shannon_divergence",
    "kl_divergence",
    "laplace_approximation",
    "laplacian",
    "limit",
    "limit_of_composition",
    "linear_operator",
    "local_model",
    "marginal",
    "model_radius",
    "monte_carlo",
    "nth_derivative",
    "plan",
    "quasi_monte_carlo",
    "remainder_bound",
    "sample_mean",
    "second_derivative_test",
    "steepest_ascent",
    "taylor",
    "taylor_polynomial",
    "total_mass",
    "trace",
    "variance",
]
