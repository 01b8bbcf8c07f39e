"""models: ``init(key) -> params`` and ``apply(params, x)``."""

from jaxcalc.models.blocks import BlockNetwork, convolutional_network, transformer
from jaxcalc.models.criticality import Criticality, LayerReport, criticality
from jaxcalc.models.dense import DeepNetwork, GradientFlow, deep_network, gradient_flow, mlp, normalise
from jaxcalc.models.initialisation import draw_weights, weight_variance
from jaxcalc.models.measurements import (
    activation_moments,
    blocking_layer,
    clip_gradient,
    correlations,
    dead_share,
    dead_units,
    lagged_jacobians,
    singular_values,
    state_gradients,
    state_jacobians,
    state_norms,
    states_and_gradients,
)
from jaxcalc.models.model import Model, num_parameters
from jaxcalc.models.neural_ode import lotka_volterra_field, mlp_field, neural_ode, residual_end, residual_network
from jaxcalc.models.normalizing_flow import NormalizingFlow, normalizing_flow
from jaxcalc.models.recurrent import (
    Cell,
    RecurrentNetwork,
    chrono_bias,
    draw_recurrent,
    gru_cell,
    lstm_cell,
    make_cell,
    recurrent_network,
    rnn_cell,
)

__all__ = [
    "BlockNetwork",
    "Cell",
    "Criticality",
    "DeepNetwork",
    "GradientFlow",
    "LayerReport",
    "Model",
    "NormalizingFlow",
    "RecurrentNetwork",
    "activation_moments",
    "blocking_layer",
    "chrono_bias",
    "clip_gradient",
    "convolutional_network",
    "correlations",
    "criticality",
    "dead_share",
    "dead_units",
    "deep_network",
    "draw_recurrent",
    "draw_weights",
    "gradient_flow",
    "gru_cell",
    "lagged_jacobians",
    "lotka_volterra_field",
    "lstm_cell",
    "make_cell",
    "mlp",
    "mlp_field",
    "neural_ode",
    "normalise",
    "normalizing_flow",
    "num_parameters",
    "recurrent_network",
    "residual_end",
    "residual_network",
    "rnn_cell",
    "singular_values",
    "state_gradients",
    "state_jacobians",
    "state_norms",
    "states_and_gradients",
    "transformer",
    "weight_variance",
]
