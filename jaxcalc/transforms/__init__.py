"""transforms: function to function, by composing JAX transforms."""

from jaxcalc.transforms.flow import SOLVER_ORDERS, AdjointName, SolverName, flow

__all__ = ["SOLVER_ORDERS", "AdjointName", "SolverName", "flow"]
