"""What a solve returns: the point, the checked truth about it, and its words."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.core import Tracer

from jaxcalc.solvers.history import History
from jaxcalc.solvers.protocol import Evaluations, Status

__all__ = ["Multipliers", "Solution"]

_WORDS = {
    Status.CONVERGED: "converged: the stationarity test holds at the returned point",
    Status.OUT_OF_STEPS: "out of steps: still falling after {steps} steps; raise max_steps, or take a method with "
    'curvature ("trust-region", "newton-cg", "l-bfgs")',
    Status.DIVERGED: "diverged: the value rose above that of the start; lower the learning rate, or take a method "
    "that searches along its step",
    Status.NONFINITE: "not finite: the value or its gradient is infinite or not a number; start elsewhere, add bounds, "
    "or write the function so that it is finite (jax_debug_nans finds where)",
    Status.STALLED: "stalled: no step lowers the value any more, yet the residual {residual:.1e} is above "
    "{tol:.1e}; the function is not smooth there, or rounding is in the way: use float64, scale the variables, or "
    "accept by a larger tol",
    Status.UNBOUNDED: "unbounded: the value fell below any bound that counts ({value:.1e}); check the sign of the "
    "function, or add bounds",
}


class Multipliers(NamedTuple):
    """Lagrange multipliers of the bounds, at least 0, shaped like x."""

    lower: Any
    upper: Any


@dataclass(frozen=True)
class Solution:
    """The result of a solve; under ``vmap`` every entry has the lanes' axis in front.

    Args:
      x: the returned point, with the start's structure; finite if the start was.
      value: there, evaluated there.
      gradient_norm: the gradient's largest absolute entry there.
      status: a ``Status``, int32.
      num_steps: steps taken, int32.
      evaluations: counts of values, gradients, Hessian-vector products and Hessians, int32. The last check at the
        returned point is not counted.
      multipliers: of the bounds; None without.
      kkt_residual: ``max |x - P(x - grad f)|``; the gradient norm without bounds.
      history: None, or what was asked for.
      tol: what the residual was to be at most, relative to ``max(1, min(|value|, |first value|, first
        residual))``.
    """

    x: Any
    value: Array
    gradient_norm: Array
    status: Array
    num_steps: Array
    evaluations: Evaluations
    multipliers: Multipliers | None
    kkt_residual: Array
    history: History | None
    tol: Array

    @property
    def success(self) -> Array:
        """Whether the stationarity test held when it was evaluated at ``x``."""
        return self.status == Status.CONVERGED

    def explain(self) -> str:
        """Cause and remedy, in words; for lanes, how many ended how."""
        if isinstance(self.status, Tracer):
            raise TypeError("Solution.explain needs numbers; call it outside jit and vmap.")
        status = np.asarray(self.status)
        flat = {name: np.broadcast_to(np.asarray(leaf), status.shape).ravel() for name, leaf in self._numbers()}
        lines = []
        for kind in Status:
            where = np.flatnonzero(status.ravel() == kind)
            if where.size:
                # Numbers are those of the worst lane of the kind.
                worst = where[np.argmax(flat["residual"][where])]
                words = _WORDS[kind].format(
                    steps=flat["steps"][worst],
                    residual=flat["residual"][worst],
                    tol=float(np.max(np.asarray(self.tol))),
                    value=flat["value"][worst],
                )
                lines.append(words if status.ndim == 0 else f"{where.size} of {status.size} lanes {words}")
        return "\n".join(lines)

    def _numbers(self) -> list[tuple[str, Any]]:
        return [("residual", self.kkt_residual), ("value", self.value), ("steps", self.num_steps)]


jax.tree_util.register_dataclass(
    Solution,
    data_fields=[
        "x",
        "value",
        "gradient_norm",
        "status",
        "num_steps",
        "evaluations",
        "multipliers",
        "kkt_residual",
        "history",
        "tol",
    ],
    meta_fields=[],
)
