"""What a solve returns: the point, the checked truth about it, and its words."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.core import Tracer

from jaxcalc.solvers.history import History
from jaxcalc.solvers.protocol import Evaluations, Status
from jaxcalc.solvers.second_order import SecondOrder

__all__ = ["Kind", "Multipliers", "Solution"]

Kind = Literal["value", "squares", "root"]
"""What was solved: the least value, the least sum of squares, or residuals that vanish."""

_WORDS = {
    Status.CONVERGED: "converged: {test} at the returned point{start}",
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

_SHORT = 8.0
"""A Newton step of so many times the root of eps, relative to the point's size or to 1, is lost in rounding."""
_LEFT = 0.1
"""So much of a gradient a Newton step leaves at most near a minimum with curvature."""

_SECOND_ORDER = {
    "unchecked": "; no second-order check was made: classify_stationary_point(fun, x) tells a minimum from a saddle",
    "definite": ", and the Hessian there is positive definite: its least eigenvalue is {least:.3g}",
    "fading": "; yet no minimum is shown: a Newton step from there goes {step:.3g} and leaves {rest:.2g} of the "
    "gradient, so that the curvature fades with it and the least value may lie further on, or at infinity",
    "distant": ", and the Hessian there is positive definite (least eigenvalue {least:.3g}), but a Newton step to the "
    "minimum goes {step:.3g}: below 1 the tolerance {tol:.1e} of the gradient is absolute, and the residual is "
    "{residual:.1e}. Scale the function, or lower tol",
    "indefinite": "; yet it is no minimum: the least eigenvalue of the Hessian is {least:.3g}. Start elsewhere, or go "
    "on along its eigenvector, classify_stationary_point(fun, x).direction",
    "singular": "; second order does not decide: the least eigenvalue of the Hessian, {least:.3g}, is zero to rounding "
    "({zero:.1e}), or on variables at a bound that does not push them",
    "unknown": "; second order does not decide: the Hessian is not finite there",
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
      gradient_norm: the gradient's Euclidean norm there, as in the history.
      status: a ``Status``, int32.
      num_steps: steps taken, int32.
      evaluations: counts of values, gradients, Hessian-vector products and Hessians, int32. The last check at the
        returned point is not counted.
      multipliers: of the bounds; None without.
      kkt_residual: ``max |x - P(x - grad f)|``; the gradient norm without bounds.
      second_order: the least eigenvalue of the Hessian there, with the size up to which it is zero, and what a Newton
        step would still do; None where the method takes no Hessian.
      history: None, or what was asked for.
      tol: what the residual was to be at most, relative to ``max(1, min(|value|, |first value|, first
        residual))``.
      kind: what was solved; static.
    """

    x: Any
    value: Array
    gradient_norm: Array
    status: Array
    num_steps: Array
    evaluations: Evaluations
    multipliers: Multipliers | None
    kkt_residual: Array
    second_order: SecondOrder | None
    history: History | None
    tol: Array
    kind: Kind

    @property
    def success(self) -> Array:
        """Whether the stationarity test, of first order, held when it was evaluated at ``x``."""
        return self.status == Status.CONVERGED

    def explain(self) -> str:
        """Cause and remedy, in words; for lanes, how many ended how."""
        if isinstance(self.status, Tracer):
            raise TypeError("Solution.explain needs numbers; call it outside jit and vmap.")
        status, curvature = np.asarray(self.status), self._curvature()
        flat = {name: np.broadcast_to(np.asarray(leaf), status.shape).ravel() for name, leaf in self._numbers()}
        lines = []
        for kind in Status:
            ended = status.ravel() == kind
            # Whether it is a minimum is asked of what is stationary.
            for verdict in _SECOND_ORDER if kind == Status.CONVERGED and self.kind != "root" else [""]:
                where = np.flatnonzero(ended & (curvature == verdict) if verdict else ended)
                if where.size:
                    # Numbers are those of the worst lane of the kind.
                    worst = where[np.argmax(flat["residual"][where])]
                    words = (_WORDS[kind] + _SECOND_ORDER.get(verdict, "")).format(
                        start=self._at_the_start(flat, where),
                        test="the residuals vanish up to tol" if self.kind == "root" else "the stationarity test holds",
                        **{name: leaf[worst] for name, leaf in flat.items()},
                    )
                    lines.append(words if status.ndim == 0 else f"{where.size} of {status.size} lanes {words}")
        return "\n".join(lines)

    def _at_the_start(self, flat: dict[str, np.ndarray], where: np.ndarray) -> str:
        """What to know of lanes whose start was accepted: no step has tried the function."""
        if self.kind == "root" or np.any(flat["steps"][where] > 0) or not np.any(flat["residual"][where] > 0):
            return ""
        return " (which is the start: its residual {residual:.1e} is below tol, {tol:.1e}, as it is)".format(
            residual=np.max(flat["residual"][where]), tol=flat["tol"][0]
        )

    def _curvature(self) -> np.ndarray:
        """What the second-order check says of each lane: a name of ``_SECOND_ORDER``."""
        if self.second_order is None:
            return np.full(np.size(self.status), "unchecked")
        least, zero, step, rest = (np.ravel(np.asarray(leaf, float)) for leaf in self.second_order)
        # Rounding alone may leave all of a gradient that a step of next to no length removes.
        size = np.max([np.abs(np.ravel(np.asarray(leaf))).max(initial=1.0) for leaf in jax.tree.leaves(self.x)])
        long = ~(step <= _SHORT * np.sqrt(np.finfo(np.asarray(self.value).dtype).eps) * size)
        names = ["unknown", "fading", "distant", "definite", "indefinite"]
        definite = least > zero
        conditions = [~np.isfinite(least), definite & long & ~(rest <= _LEFT), definite & long, definite, least < -zero]
        return np.select(conditions, names, "singular")

    def _numbers(self) -> list[tuple[str, Any]]:
        curvature = dict.fromkeys(SecondOrder._fields, np.nan)
        if self.second_order is not None:
            curvature = self.second_order._asdict()
        numbers = {"residual": self.kkt_residual, "value": self.value, "steps": self.num_steps}
        return list({**numbers, **curvature, "tol": np.max(np.asarray(self.tol))}.items())


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
        "second_order",
        "history",
        "tol",
    ],
    meta_fields=["kind"],
)
