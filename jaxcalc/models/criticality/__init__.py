"""criticality: what depth does to a model's signals and gradients, predicted from its program and measured."""

from jaxcalc.models.criticality.judge import criticality
from jaxcalc.models.criticality.report import Criticality, LayerReport

__all__ = ["Criticality", "LayerReport", "criticality"]
