"""The methods by which flows are solved: one table of what each of them is."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np

from jaxcalc import checks

if TYPE_CHECKING:
    import diffrax

__all__ = [
    "ROUNDING",
    "SOLVERS",
    "SOLVER_ORDERS",
    "Method",
    "SolverName",
    "build",
    "explicit_tableau",
    "implicit_tableau",
    "interpolation",
    "lower_triangle",
    "method",
]

SolverName = Literal[
    "euler",
    "heun",
    "midpoint",
    "bosh3",
    "rk4",
    "tsit5",
    "dopri5",
    "dopri8",
    "implicit_euler",
    "kvaerno3",
    "kvaerno4",
    "kvaerno5",
    "symplectic_euler",
    "leapfrog",
    "yoshida4",
]


class Method(NamedTuple):
    """What is known of a method.

    Args:
      order: of convergence.
      diffrax: the name of its class in diffrax; empty of one that diffrax has not.
      evaluations: of the field in a step; 0 of an implicit method, which evaluates until its equations are solved.
      reuses: whether a step's last evaluation is the next one's first.
      estimates: whether it estimates its error, as adapting steps takes.
      tells_stiffness: whether its last two stages are at a step's end, whose difference tells the field's slope there.
      symplectic: whether it steps a pair, each half by the other.
    """

    order: int
    diffrax: str
    evaluations: int
    reuses: bool = False
    estimates: bool = True
    tells_stiffness: bool = False
    symplectic: bool = False

    @property
    def implicit(self) -> bool:
        """Whether each step solves equations, which keeps stiff fields stable."""
        return self.evaluations == 0


SOLVERS: dict[str, Method] = {
    "euler": Method(1, "Euler", 1, estimates=False),
    "heun": Method(2, "Heun", 2),
    "midpoint": Method(2, "Midpoint", 2),
    "bosh3": Method(3, "Bosh3", 4, reuses=True),
    "rk4": Method(4, "", 4, estimates=False),
    "tsit5": Method(5, "Tsit5", 7, reuses=True, tells_stiffness=True),
    "dopri5": Method(5, "Dopri5", 7, reuses=True, tells_stiffness=True),
    "dopri8": Method(8, "Dopri8", 14, reuses=True),
    "implicit_euler": Method(1, "ImplicitEuler", 0),
    "kvaerno3": Method(3, "Kvaerno3", 0),
    "kvaerno4": Method(4, "Kvaerno4", 0),
    "kvaerno5": Method(5, "Kvaerno5", 0),
    "symplectic_euler": Method(1, "", 1, estimates=False, symplectic=True),
    "leapfrog": Method(2, "", 1, estimates=False, symplectic=True),
    "yoshida4": Method(4, "", 3, estimates=False, symplectic=True),
}
assert tuple(SOLVERS) == get_args(SolverName)
SOLVER_ORDERS: dict[str, int] = {name: each.order for name, each in SOLVERS.items()}


def method(name: str) -> Method:
    """The method of that name, or an error that names them all."""
    checks.one_of("flow", "solver", name, tuple(SOLVERS))
    return SOLVERS[name]


ROUNDING = 4  # eps: changes of an iterate below this are rounding


def build(name: str, tolerances: Any, eps: float) -> "diffrax.AbstractSolver":
    """The diffrax solver of that name; ``tolerances`` and the states' ``eps`` are for an implicit one's equations.

    They are solved by chord iterations to the tolerances of the steps. diffrax's own default, a hundredth of them and a
    test for divergence besides, refuses steps that are good: 83 steps for 8 on ``y' = -y cos 3t``, 2,101 for 283 on van
    der Pol's oscillator with mu = 100 (tolerances 1e-6), and none that end in single precision.
    """
    import diffrax
    import optimistix

    chosen = method(name)
    if not chosen.diffrax:
        return _classical_runge_kutta()()
    if not chosen.implicit:
        return getattr(diffrax, chosen.diffrax)()
    rtol, atol = tolerances
    chord = optimistix.Chord(rtol=jnp.maximum(rtol, ROUNDING * eps), atol=atol)  # pyright: ignore[reportArgumentType]
    return getattr(diffrax, chosen.diffrax)(root_finder=chord)


@functools.cache
def _classical_runge_kutta() -> "Callable[[], diffrax.AbstractSolver]":
    """The classical fourth-order method, which diffrax leaves out for want of an error estimate."""
    import diffrax

    classical = diffrax.ButcherTableau(
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
        b_sol=np.array([1, 2, 2, 1]) / 6,
        b_error=np.zeros(4),  # none: for fixed steps only
        c=np.array([0.5, 0.5, 1.0]),
    )

    class RK4(diffrax.AbstractERK):
        tableau = classical
        interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

        def order(self, terms):
            return 4

    return RK4


def interpolation(name: str) -> Any:
    """From a step's times and what interpolates it to what evaluates it."""
    import diffrax

    chosen = method(name)
    solver: Any = getattr(diffrax, chosen.diffrax) if chosen.diffrax else _classical_runge_kutta()
    return solver.interpolation_cls


# What diffrax writes without a tableau; of the implicit one the trapezoid rule estimates the error.
_EULER = SimpleNamespace(a_lower=(), c=(), b_sol=(1.0,), b_error=(0.0,), ssal=False)
_IMPLICIT_EULER = SimpleNamespace(
    a_lower=(np.array([0.0]),),
    a_predictor=(np.array([1.0]),),
    a_diagonal=np.array([0.0, 1.0]),
    b_sol=np.array([0.0, 1.0]),
    b_error=np.array([-0.5, 0.5]),
    c=np.array([1.0]),
)


def explicit_tableau(solver: Any) -> Any:
    """The tableau of an explicit Runge-Kutta method; ``None`` of another."""
    import diffrax

    if isinstance(solver, diffrax.Euler):
        return _EULER
    return solver.tableau if isinstance(solver, diffrax.AbstractERK) else None


def implicit_tableau(solver: Any) -> Any:
    """The tableau of an implicit method whose first stage is explicit; ``None`` of another."""
    import diffrax

    if isinstance(solver, diffrax.ImplicitEuler):
        return _IMPLICIT_EULER
    return solver.tableau if isinstance(solver, diffrax.AbstractESDIRK) else None


def lower_triangle(rows: Any) -> np.ndarray:
    """A tableau's rows below the diagonal as a square matrix."""
    matrix = np.zeros((len(rows) + 1, len(rows) + 1))
    for number, row in enumerate(rows):
        matrix[number + 1, : len(row)] = row
    return matrix
