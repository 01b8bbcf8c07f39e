"""The one protocol of all solvers: what a method is, where it stands, and what it may ask of the objective."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["Evaluations", "Function", "Iterate", "Objective", "Solver", "Status", "start_at", "strong"]

Function = Callable[[Array], Array]


class Status(enum.IntEnum):
    """How a run ended; it is data, one integer a lane."""

    CONVERGED = 0
    """The stationarity test holds at the returned point."""
    OUT_OF_STEPS = 1
    """The last value is below the first, the test does not hold yet."""
    DIVERGED = 2
    """The last value is above the first, or ran off to infinity."""
    NONFINITE = 3
    """The value or its gradient is infinite or not a number."""
    STALLED = 4
    """No step that the method can propose lowers the value any more."""
    UNBOUNDED = 5
    """The value fell below any bound that counts."""


class Evaluations(NamedTuple):
    """How often each was evaluated, int32."""

    functions: Array | int = 0
    gradients: Array | int = 0
    hvps: Array | int = 0
    hessians: Array | int = 0

    def plus(self, *, functions: Any = 0, gradients: Any = 0, hvps: Any = 0, hessians: Any = 0) -> "Evaluations":
        """The counts after further ones."""
        more = (functions, gradients, hvps, hessians)
        return Evaluations(*(jnp.asarray(old + new, jnp.int32) for old, new in zip(self, more)))


class Iterate(NamedTuple):
    """Where a solver stands.

    Args:
      x: the point, (n,).
      value, gradient: at that very point.
      memory: the solver's own.
      info: numbers about the last step, by name, for the history: its trials, the trust radius.
      evaluations: since the start.
      stuck: whether the method can go no further.
    """

    x: Array
    value: Array
    gradient: Array
    memory: Any = ()
    info: Mapping[str, Array] = {}
    evaluations: Evaluations = Evaluations()
    stuck: Array | bool = False


@dataclass(frozen=True, eq=False)
class Objective:
    """A scalar function of a vector with what its derivatives are asked by.

    Second derivatives come from the derivative engine, which picks their route.

    Args:
      fun: ``x (n,) -> scalar``.
      lower, upper: bounds, (n,), infinite where there is none; both None without any.
      residual: for least squares, ``x (n,) -> (m,)`` with ``fun = |residual|^2 / 2``.
    """

    fun: Function
    lower: Array | None = None
    upper: Array | None = None
    residual: Callable[[Array], Array] | None = field(default=None, repr=False)

    def __call__(self, x: Array) -> Array:
        return self.fun(x)

    @cached_property
    def value_and_gradient(self) -> Callable[[Array], tuple[Array, Array]]:
        """``x -> (value, gradient (n,))``."""
        return jax.value_and_grad(self.fun)

    def hvp(self, x: Array, v: Array) -> Array:
        """The Hessian's product with v, (n,)."""
        from jaxcalc.transforms import hvp

        return hvp(self.fun)((x,), v)

    def hessian(self, x: Array) -> Array:
        """The Hessian, (n, n)."""
        from jaxcalc.transforms import hessian

        return hessian(self.fun)(x)


@dataclass(frozen=True)
class Solver:
    """A method: two pure functions and its hyper-parameters.

    Both functions are those of a module, so that two solvers of one kind share a compiled program whatever their
    numbers.

    Args:
      name: as in ``minimize(method=...)``.
      init: ``(objective, x, **numbers, **choices) -> Iterate``.
      step: ``(objective, Iterate, **numbers, **choices) -> Iterate``; the value and gradient it returns belong to the
        point it returns.
      numbers: hyper-parameters that may be traced.
      choices: names and hashable choices, static.
      boxes: whether ``step`` keeps to the objective's bounds.
      squares: whether ``step`` needs the objective's residuals.
      curved: whether ``step`` takes the dense Hessian; its eigenvalues are then looked at where the run ends too.
      costs: what a step evaluates, where that is always the same; the loop then does the counting.
    """

    name: str
    init: Callable[..., Iterate]
    step: Callable[..., Iterate]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[tuple[str, Any], ...] = ()
    boxes: bool = False
    squares: bool = False
    curved: bool = False
    costs: Evaluations | None = None

    def start(self, objective: "Objective | Function", x: Array) -> Iterate:
        """The first iterate."""
        return self.init(_objective(objective), x, **self.numbers, **dict(self.choices))

    def advance(self, objective: "Objective | Function", at: Iterate) -> Iterate:
        """The iterate after the next step."""
        return self.step(_objective(objective), at, **self.numbers, **dict(self.choices))


jax.tree_util.register_dataclass(
    Solver,
    data_fields=["numbers"],
    meta_fields=["name", "init", "step", "choices", "boxes", "squares", "curved", "costs"],
)


def start_at(objective: Objective, x: Array, **_: Any) -> Iterate:
    """The iterate at ``x`` of a solver without memory."""
    return Iterate(x, *objective.value_and_gradient(x), evaluations=Evaluations(1, 1))


def strong(at: Iterate) -> Iterate:
    """The iterate with arrays of settled types in place of Python's numbers, so that a loop can carry it."""
    counts = Evaluations(*(jnp.asarray(count, jnp.int32) for count in at.evaluations))
    at = at._replace(evaluations=counts, stuck=jnp.asarray(at.stuck), info=dict(at.info))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), at)


def _objective(fun: Objective | Function) -> Objective:
    return fun if isinstance(fun, Objective) else Objective(fun)
