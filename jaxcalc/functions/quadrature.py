"""Quadrature rules on the unit interval: nodes and weights that carry the degree they are exact to."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxcalc import checks

__all__ = [
    "RULES",
    "Rule",
    "RuleName",
    "affordable_points",
    "gauss_kronrod",
    "integrate_polynomial",
    "integrate_samples",
    "product_integral",
    "quadrature_rule",
]

RuleName = Literal["left", "right", "midpoint", "trapezoid", "simpson", "gauss-legendre", "tanh-sinh"]


@dataclass(frozen=True, eq=False)
class Rule:
    """A quadrature rule: the integral of f over [a, b] is about ``(b - a) sum_j w_j f(a (1 - t_j) + b t_j)``.

    Args:
      name: what a config calls it.
      nodes: ``t``, shape ``(n,)``, in [0, 1] and in order.
      complements: ``1 - t``, with all its digits where ``t`` is close to 1.
      weights: ``w``, shape ``(n,)``.
      degree: the highest degree such that all polynomials up to it are integrated exactly; -1 for none.
      order: the error on smooth integrands falls like ``n ** -order``; None where it falls faster than any power.
    """

    name: str
    nodes: np.ndarray
    complements: np.ndarray
    weights: np.ndarray
    degree: int
    order: int | None


def _uniform(name: str, places: np.ndarray, panels: int, weights: np.ndarray, degree: int, order: int) -> Rule:
    """A rule of nodes at ``places`` steps of ``1 / panels`` each."""
    return Rule(name, places / panels, (panels - places) / panels, weights / panels, degree, order)


def _left(n: int) -> Rule:
    return _uniform("left", np.arange(n), n, np.ones(n), 0, 1)


def _right(n: int) -> Rule:
    return _uniform("right", np.arange(1, n + 1), n, np.ones(n), 0, 1)


def _midpoint(n: int) -> Rule:
    return _uniform("midpoint", np.arange(n) + 0.5, n, np.ones(n), 1, 2)


def _trapezoid(n: int) -> Rule:
    weights = np.ones(n)
    weights[[0, -1]] = 0.5
    return _uniform("trapezoid", np.arange(n), n - 1, weights, 1, 2)


def _simpson(n: int) -> Rule:
    weights = np.where(np.arange(n) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return _uniform("simpson", np.arange(n), n - 1, weights / 3, 3, 4)


def _gauss_legendre(n: int) -> Rule:
    from scipy.special import roots_legendre

    nodes, weights = roots_legendre(n)
    nodes, weights = np.asarray(nodes), np.asarray(weights)
    return Rule("gauss-legendre", (1 + nodes) / 2, (1 - nodes) / 2, weights / 2, 2 * n - 1, None)


# pi sinh(4) is 86: the nodes end 1e-37 from either end, in reach of single precision too.
_REACH = 4.0


def _tanh_sinh(n: int) -> Rule:
    """The trapezoid rule in u, where ``t = 1 / (1 + exp(-pi sinh u))``: end-point singularities flatten out."""
    from scipy.special import expit

    u = np.linspace(-_REACH, _REACH, n)
    nodes, complements = expit(np.pi * np.sinh(u)), expit(-np.pi * np.sinh(u))
    weights = (2 * _REACH / (n - 1)) * np.pi * np.cosh(u) * nodes * complements
    return Rule("tanh-sinh", nodes, complements, weights, -1, None)


# name: (how to build it, its least number of points)
RULES: dict[str, tuple[Callable[[int], Rule], int]] = {
    "left": (_left, 1),
    "right": (_right, 1),
    "midpoint": (_midpoint, 1),
    "trapezoid": (_trapezoid, 2),
    "simpson": (_simpson, 3),
    "gauss-legendre": (_gauss_legendre, 1),
    "tanh-sinh": (_tanh_sinh, 3),
}
assert tuple(RULES) == get_args(RuleName)


@functools.lru_cache(maxsize=128)
def quadrature_rule(name: RuleName | str, num_points: int, *, who: str = "quadrature_rule") -> Rule:
    """The rule of that name with that many nodes.

    Args:
      name: one of ``RULES``. ``"left"``, ``"right"`` and ``"midpoint"`` have as many panels as nodes, ``"trapezoid"``
        and ``"simpson"`` one fewer.
      num_points: the number of nodes: how often the integrand is evaluated.
      who: the function that the user called, for messages.

    Raises:
      ValueError: for an unknown name, too few points, or an odd number of panels for Simpson's rule.

    Source:
      H. Takahasi, M. Mori, Double exponential formulas for numerical integration, 1974, for ``"tanh-sinh"``.
    """
    build, least = RULES[checks.one_of(who, "name", name, RULES)]
    num_points = checks.integer(who, "num_points", num_points, least=least, remedy=f"The rule is {name!r}.")
    if name == "simpson" and num_points % 2 == 0:
        raise ValueError(
            f"{who}: simpson needs an even number of panels, so an odd num_points, got num_points={num_points} "
            f"({num_points - 1} panels). Use {num_points + 1}."
        )
    return build(num_points)


@functools.lru_cache(maxsize=16)
def gauss_kronrod(num_points: int) -> tuple[Rule, np.ndarray]:
    """The Kronrod extension of a Gauss rule: two rules on one set of nodes, whose difference estimates the error.

    Args:
      num_points: ``2 n + 1`` nodes in all, every second of which belongs to the ``n``-point Gauss rule.

    Returns:
      The Kronrod rule, exact to degree ``3 n + 1`` (one more for odd ``n``), and the weights of the Gauss rule on the
      same nodes, 0 where a node is not its own.

    Raises:
      ValueError: if ``num_points`` is even or below 3.

    Source:
      D. P. Laurie, Calculation of Gauss-Kronrod quadrature rules, Mathematics of Computation 66, 1997.
    """
    if num_points < 3 or num_points % 2 == 0:
        raise ValueError(f"gauss_kronrod: num_points must be odd and at least 3, got {num_points}.")
    n = num_points // 2
    off_diagonal = np.sqrt(_kronrod_recurrence(n)[1:])
    nodes, vectors = np.linalg.eigh(np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1))
    nodes = (nodes - nodes[::-1]) / 2  # symmetric, as they are but for rounding
    weights = vectors[0] ** 2
    weights = (weights + weights[::-1]) / 2
    gauss = np.zeros(num_points)
    gauss[1::2] = _gauss_legendre(n).weights
    degree = 3 * n + 1 + n % 2
    return Rule("gauss-kronrod", (1 + nodes) / 2, (1 - nodes) / 2, weights, degree, None), gauss


def _kronrod_recurrence(n: int) -> np.ndarray:
    """The squared off-diagonal ``b`` of the Jacobi-Kronrod matrix of the Legendre weight, after an unused first entry.

    Mixed moments ``s`` and ``t`` run along the anti-diagonals: east while all coefficients are known, then south, one
    new coefficient per two rows. The diagonal is 0 by symmetry.
    """
    b = np.zeros(2 * n + 1)
    known = np.arange(1, (3 * n + 1) // 2 + 1)
    b[known] = known**2 / (4.0 * known**2 - 1)
    s, t = np.zeros(n // 2 + 2), np.zeros(n // 2 + 2)
    t[1] = b[n + 1]
    for m in range(n - 1):
        k = np.arange((m + 1) // 2, -1, -1)
        s[k + 1] = np.cumsum(b[k + n + 1] * s[k] - b[m - k] * s[k + 1])
        s, t = t, s
    s[1:] = s[:-1].copy()
    for m in range(n - 1, 2 * n - 2):
        k = np.arange(m + 1 - n, (m - 1) // 2 + 1)
        j = n - 1 - (m - k)
        s[j + 1] = np.cumsum(b[m - k] * s[j + 2] - b[k + n + 1] * s[j + 1])
        if m % 2:
            last = j[-1]
            b[(m + 1) // 2 + n + 1] = s[last + 1] / s[last + 2]
        s, t = t, s
    return b


def integrate_samples(
    y: jax.typing.ArrayLike,
    x: jax.typing.ArrayLike | None = None,
    /,
    *,
    dx: jax.typing.ArrayLike = 1.0,
    axis: int = -1,
    method: Literal["trapezoid", "simpson"] | str = "trapezoid",
) -> jax.Array:
    """The integral of sampled data.

        trapezoid:  sum_i (x_{i+1} - x_i) (y_i + y_{i+1}) / 2
        simpson:    the parabola through each three successive samples, integrated exactly

    Args:
      y: samples, with ``n`` of them along ``axis``.
      x: where they were taken, shape ``(n,)``; spaced by ``dx`` unless given. Decreasing ``x`` changes the sign.
      dx: the spacing where ``x`` is not given.
      axis: of ``y``, integrated over.
      method: ``"trapezoid"``, or ``"simpson"``, which wants an odd number of samples.

    Returns:
      ``y`` without ``axis``, of floating point. Ready for ``jit``, ``vmap`` and ``grad`` (in ``x`` too).

    Raises:
      ValueError: for an unknown method, no samples, shapes that do not fit, NaN in ``x``, or an even number of samples
        for Simpson's rule.
    """
    y = jnp.asarray(y, jnp.result_type(y, float))
    if y.ndim == 0 or y.shape[axis] == 0:
        raise ValueError(f"integrate_samples: y must hold at least one sample along axis {axis}, got shape {y.shape}.")
    y = jnp.moveaxis(y, axis, -1)
    n = y.shape[-1]
    if x is None:
        steps = jnp.broadcast_to(jnp.asarray(dx, y.real.dtype), (n - 1,))
    else:
        _check_abscissae(x, n)
        steps = jnp.diff(jnp.asarray(x, jnp.result_type(x, float)))
    match method:
        case "trapezoid":
            return (steps * (y[..., :-1] + y[..., 1:]) / 2).sum(-1)
        case "simpson":
            if n % 2 == 0:
                raise ValueError(
                    f"integrate_samples: simpson needs an even number of panels, got {n} samples ({n - 1} panels). "
                    "Leave one out, or use method='trapezoid'."
                )
            one, two = steps[::2], steps[1::2]
            first, middle, last = y[..., :-2:2], y[..., 1:-1:2], y[..., 2::2]
            total = (2 - two / one) * first + (one + two) ** 2 / (one * two) * middle + (2 - one / two) * last
            return ((one + two) / 6 * total).sum(-1)
    raise checks.unknown("integrate_samples", "method", method, ("trapezoid", "simpson"))


def _check_abscissae(x: jax.typing.ArrayLike, n: int) -> None:
    if jnp.shape(x) != (n,):
        raise ValueError(f"integrate_samples: x must have shape ({n},) like y along axis, got {jnp.shape(x)}.")
    checks.not_nan("integrate_samples", "x", jnp.asarray(x), "Leave those samples out.")


def affordable_points(name: RuleName, budget: int, dimension: int) -> int:
    """Points per axis of the finest product grid within a budget of evaluations; 0 if the rule has none so coarse.

    Args:
      name: the rule on each axis.
      budget: evaluations at most, ``n ** dimension``.
      dimension: of the grid.

    Raises:
      ValueError: for an unknown rule, or a dimension below 1.
    """
    checks.one_of("affordable_points", "name", name, get_args(RuleName))
    checks.integer("affordable_points", "dimension", dimension, least=1)
    n = int(budget ** (1 / dimension)) + 1
    while n**dimension > budget:
        n -= 1
    n -= name == "simpson" and n % 2 == 0
    return n if n >= {"trapezoid": 2, "simpson": 3}.get(name, 1) else 0


def product_integral(fun: Callable[[Sequence[np.ndarray]], np.ndarray], rule: Rule, dimension: int) -> np.ndarray:
    """The integral over the unit cube by the product of a rule with itself.

    Args:
      fun: from ``dimension`` coordinates, sparse arrays that broadcast to the grid, to values on the grid, with any
        further axes before the grid's.
      rule: as ``quadrature_rule`` gives it; the grid has ``len(rule.nodes) ** dimension`` points.
      dimension: of the cube.
    """
    total = fun(np.meshgrid(*[rule.nodes] * dimension, indexing="ij", sparse=True))
    for _ in range(dimension):
        total = total @ rule.weights
    return total


def integrate_polynomial(coefficients: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """The integral of ``sum_k c_k x^k`` from ``low`` to ``high``, ``sum_k c_k (high^(k+1) - low^(k+1)) / (k + 1)``.

    Args:
      coefficients: ``c``, from the constant term on; shape ``(..., n)``, ``n`` from 1 on.
      low, high: the limits, of shape ``(...)``.

    Raises:
      ValueError: without a coefficient.
    """
    c = np.asarray(coefficients, float)
    if c.ndim == 0 or c.shape[-1] == 0:
        raise ValueError(f"integrate_polynomial: expected at least one coefficient, got shape {c.shape}")
    power = np.arange(1.0, c.shape[-1] + 1)
    ends = [np.asarray(end, float)[..., None] ** power for end in (high, low)]
    return ((ends[0] - ends[1]) * c / power).sum(-1)
