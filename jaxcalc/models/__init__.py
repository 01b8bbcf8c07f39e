"""models: ``init(key) -> params`` and ``apply(params, x)``."""

from jaxcalc.models.criticality import Criticality, LayerReport, criticality
from jaxcalc.models.dense import DeepNetwork, GradientFlow, deep_network, draw_weights, gradient_flow, mlp
from jaxcalc.models.model import Model, num_parameters
from jaxcalc.models.neural_ode import lotka_volterra_field, mlp_field, neural_ode, residual_end, residual_network

__all__ = [
    "Criticality",
    "DeepNetwork",
    "GradientFlow",
    "LayerReport",
    "Model",
    "criticality",
    "deep_network",
    "draw_weights",
    "gradient_flow",
    "lotka_volterra_field",
    "mlp",
    "mlp_field",
    "neural_ode",
    "num_parameters",
    "residual_end",
    "residual_network",
]
