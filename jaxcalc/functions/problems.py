"""Test problems that carry their answers: function, start, exact derivatives, exact optimum, curvature.

Tests, experiments and benchmarks share them, so that an error is measured against a known answer and never against the
longest run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc import checks
from jaxcalc.functions import datasets

__all__ = [
    "CATALOGUE",
    "LinearSystem",
    "Problem",
    "bowl",
    "breast_cancer",
    "build",
    "elongated_bowl",
    "exponential",
    "house_prices",
    "least_squares",
    "linear_system",
    "log_sum_exp",
    "logistic_regression",
    "one_house",
    "quadratic",
    "quartic",
    "rosenbrock",
    "sphere",
    "with_gradient_noise",
]

Scaling = Literal["dollars", "thousands", "standardized"]


@dataclass(frozen=True)
class Problem:
    """A function R^n -> R to minimise, with what is known about it.

    Args:
      name: the problem's name in figures and tables.
      function: ``x (n,) -> scalar``.
      gradient, hessian: written out by hand, ``x (n,) -> (n,)`` and ``(n, n)``.
      start: where the literature, or the data's user, begins, (n,).
      optimum: a minimiser, (n,); where there are many, the one nearest to ``start``.
      minimum: the function's value there.
      mu: strong convexity, the least curvature anywhere; 0 where it vanishes, None where the problem is not convex.
      smoothness: L, the largest curvature anywhere; None where it is unbounded.
      tags: ``convex``, ``quadratic``, ``singular`` (the Hessian at the optimum is), ``data`` (real data).
    """

    name: str
    function: Callable[[Any], Array]
    gradient: Callable[[Any], Array]
    hessian: Callable[[Any], Array]
    start: np.ndarray
    optimum: np.ndarray
    minimum: float
    mu: float | None = None
    smoothness: float | None = None
    tags: frozenset[str] = frozenset()

    @property
    def dimension(self) -> int:
        """n, the number of variables."""
        return self.start.size

    def curvatures(self, x: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (n,) of the Hessian, ascending; its orthonormal eigenvectors, columns of (n, n).

        At the optimum they rule the last phase of every method: there the problem is its quadratic model.

        Args:
          x: where, (n,); by default the optimum.
        """
        # The answer is a constant, also where the caller is being traced.
        with jax.ensure_compile_time_eval():
            hessian = np.asarray(self.hessian(self.optimum if x is None else x), np.float64)
        values, vectors = np.linalg.eigh(hessian)
        return values, vectors


def quadratic(condition_number: float = 100.0, dimension: int = 8, seed: int = 0) -> Problem:
    """A rotated quadratic ``f(x) = (x - c)' A (x - c) / 2`` with eigenvalues spread evenly in the logarithm.

    The eigenvalues run from ``1 / condition_number`` to 1; ``seed`` draws the rotation (uniform) and the centre c
    (standard normal). One dimension has the eigenvalue 1.
    """
    checks.number("quadratic", "condition_number", condition_number, least=1)
    checks.integer("quadratic", "dimension", dimension)
    rng = np.random.default_rng(seed)
    # The sign correction makes the rotation uniform (Mezzadri 2007).
    basis, triangle = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    basis = basis * np.sign(np.diag(triangle))
    eigenvalues = np.geomspace(1.0 / condition_number, 1.0, dimension) if dimension > 1 else np.ones(1)
    matrix = (basis * eigenvalues) @ basis.T
    center = rng.standard_normal(dimension)
    return _quadratic_form(
        f"quadratic, condition {condition_number:g}",
        (matrix + matrix.T) / 2,
        center,
        start=center + basis.sum(axis=1),
        extremes=(eigenvalues[0], eigenvalues[-1]),
    )


def bowl() -> Problem:
    """The bowl of textbooks, ``f(x) = x0^2 + 3 x1^2`` from (4, 2): curvatures 2 and 6."""
    return _quadratic_form("bowl", np.diag([2.0, 6.0]), np.zeros(2), start=np.array([4.0, 2.0]), extremes=(2.0, 6.0))


def elongated_bowl(x: Any, condition_number: Any, angle: Any) -> Array:
    """A bowl of curvatures 1 and ``condition_number`` whose axes are turned by ``angle``, least, 0, at the origin.

    ``f(x) = (u_0^2 + condition_number u_1^2) / 2``, u the coordinates of x along the turned axes

    A function and no ``Problem``, so that both numbers may be traced and swept.

    Args:
      x: (2,).
      condition_number: of the Hessian, at least 1.
      angle: in radians; 0 for axes along the coordinates.
    """
    c, s = jnp.cos(angle), jnp.sin(angle)
    along, across = c * x[0] + s * x[1], c * x[1] - s * x[0]
    return (along**2 + condition_number * across**2) / 2


def sphere() -> Problem:
    """Three weights, ``f(x) = |x - (1, 2, 3)|^2`` from the origin, where f = 14: curvature 2 in every direction."""
    return _quadratic_form("sphere", 2.0 * np.eye(3), np.array([1.0, 2.0, 3.0]), start=np.zeros(3), extremes=(2.0, 2.0))


def one_house(start: Sequence[float] = (0.0, 0.0)) -> Problem:
    """The squared error of one house, ``f(w) = (1200 w0 + 3 w1 - 350000)^2``: a valley with a line of minima.

    1200 square feet, 3 bedrooms, 350,000 dollars. The Hessian has rank one; ``optimum`` is the minimiser nearest to
    ``start``, where gradient descent ends because its steps stay in the span of the features.
    """
    design, price = np.array([[1200.0, 3.0]]), np.array([350000.0])
    origin = np.asarray(start, np.float64)
    row = design[0]
    nearest = origin + row * (price[0] - row @ origin) / (row @ row)
    return _squares("one house", design, price, origin, nearest, weight=2.0, tags=("data",))


def least_squares(name: str, design: np.ndarray, target: np.ndarray, tags: Sequence[str] = ()) -> Problem:
    """Half the mean squared error of a linear model, ``f(w) = |X w - y|^2 / (2 m)``, from zero.

    Args:
      name: the problem's name.
      design: X, (m, n).
      target: y, (m,).
      tags: further tags.
    """
    optimum = np.linalg.lstsq(design, target, rcond=None)[0]
    return _squares(name, design, target, np.zeros(design.shape[1]), optimum, weight=1.0 / len(design), tags=tags)


class LinearSystem(NamedTuple):
    """A least-squares problem ``min |X w - y|`` that carries its answer.

    Args:
      design: X, (m, d).
      target: y, (m,).
      weights: the minimiser, (d,).
    """

    design: Array
    target: Array
    weights: Array


def linear_system(
    key: Array, rows: int, columns: int, condition_number: float | Array, residual: float | Array = 0.0
) -> LinearSystem:
    """Random least squares with a chosen condition number and a chosen distance of y from X's range.

    ``X = U S V'`` with uniform U and V and singular values spread evenly in the logarithm from
    ``1 / condition_number`` to 1; ``y = X w + r`` with r orthogonal to the range.

    Args:
      key: draws U, V, w and r.
      rows, columns: m > d; static.
      condition_number: of X; may be traced.
      residual: ``|r| / |X w|``; may be traced.

    The rounding of X and y moves the true minimiser away from ``weights`` by about
    ``eps cond(X) (1 + cond(X) residual)``, which no method undoes.
    """
    checks.integer("linear_system", "columns", columns)
    checks.integer("linear_system", "rows", rows, least=columns + 1, remedy="There are more rows than columns.")
    keys = jax.random.split(key, 4)
    left, _ = jnp.linalg.qr(jax.random.normal(keys[0], (rows, columns)))
    right, _ = jnp.linalg.qr(jax.random.normal(keys[1], (columns, columns)))
    values = jnp.asarray(condition_number, left.dtype) ** -jnp.linspace(0.0, 1.0, columns)
    design = (left * values) @ right.T
    weights = jax.random.normal(keys[2], (columns,))
    fit = design @ weights
    apart = jax.random.normal(keys[3], (rows,))
    for _ in range(2):  # once leaves a rounding of the part that is taken off
        apart = apart - left @ (left.T @ apart)
    length = residual * jnp.linalg.norm(fit) / jnp.linalg.norm(apart)
    return LinearSystem(design, fit + length * apart, weights)


def house_prices(features: Sequence[str] = ("lotsize", "bedrooms"), scaling: Scaling = "standardized") -> Problem:
    """Least squares for the price of 546 houses in Windsor, 1987.

    Args:
      features: the columns used; empty for all eleven.
      scaling: ``"dollars"``: price in dollars, lot size in square feet, no intercept, as naive code has it;
        ``"thousands"``: price in thousands of dollars, lot size in thousands of square feet, no intercept;
        ``"standardized"``: every column and the price shifted and scaled to mean 0 and deviation 1.
    """
    data = datasets.houses()
    names = tuple(features) or data.names
    design = np.stack([data.column(name) for name in names], axis=1)
    target = data.price
    match scaling:
        case "standardized":
            design = datasets.standardize(design).values
            target = (target - target.mean()) / target.std()
        case "thousands":
            design = design / np.array([1000.0 if name == "lotsize" else 1.0 for name in names])
            target = target / 1000.0
        case "dollars":
            pass
        case _:
            raise checks.unknown("house_prices", "scaling", scaling, ("dollars", "thousands", "standardized"))
    return least_squares(f"house prices, {len(names)} features", design, target, tags=("data",))


def logistic_regression(
    name: str, design: np.ndarray, labels: np.ndarray, l2: float = 0.01, tags: Sequence[str] = ()
) -> Problem:
    """Mean logistic loss with a ridge, ``f(w) = mean log(1 + exp(-s_i x_i' w)) + l2 |w|^2 / 2``, from zero.

    ``mu = l2`` and ``L = l2 + lambda_max(X'X) / (4 m)``; the curvature at the optimum is usually far below L.

    Args:
      name: the problem's name.
      design: X, (m, n).
      labels: (m,), 0 or 1; the sign ``s_i`` is ``2 label - 1``.
      l2: the ridge, above 0 so that the optimum exists for separable data too.
      tags: further tags.
    """
    remedy = "Without a ridge the optimum may not exist."
    checks.number("logistic_regression", "l2", l2, above=0, remedy=remedy)
    signed = design * (2.0 * labels - 1.0)[:, None]
    optimum = _logistic_optimum(signed, l2)
    largest = np.linalg.eigvalsh(signed.T @ signed / len(signed))[-1]

    def function(x):
        margins = jnp.asarray(signed, _dtype(x)) @ x
        return jnp.mean(jnp.logaddexp(0.0, -margins)) + l2 * (x @ x) / 2

    return Problem(
        name=name,
        function=function,
        gradient=lambda x: _logistic_derivatives(jnp.asarray(signed, _dtype(x)), l2, x, jnp)[0],
        hessian=lambda x: _logistic_derivatives(jnp.asarray(signed, _dtype(x)), l2, x, jnp)[1],
        start=np.zeros(design.shape[1]),
        optimum=optimum,
        minimum=float(np.mean(np.logaddexp(0.0, -signed @ optimum)) + l2 * (optimum @ optimum) / 2),
        mu=l2,
        smoothness=float(l2 + largest / 4),
        tags=frozenset({"convex", *tags}),
    )


def breast_cancer(l2: float = 0.01) -> Problem:
    """Logistic regression of benign against malignant on 30 standardised features and an intercept (last weight)."""
    data = datasets.breast_cancer()
    design = np.column_stack([datasets.standardize(data.features).values, np.ones(len(data.labels))])
    return logistic_regression("breast cancer", design, data.labels, l2, tags=("data",))


def rosenbrock(dimension: int = 2) -> Problem:
    """The banana valley, ``f(x) = sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2`` from (-1.2, 1, ...), least at ones.

    Source: H. H. Rosenbrock, The Computer Journal 3(3), 1960; the chained form.
    """
    checks.integer("rosenbrock", "dimension", dimension, least=2)

    def function(x):
        return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    def gradient(x):
        x = jnp.asarray(x)
        residual = x[1:] - x[:-1] ** 2
        return (
            jnp.zeros_like(x)
            .at[:-1]
            .add(-400.0 * x[:-1] * residual - 2.0 * (1.0 - x[:-1]))
            .at[1:]
            .add(200.0 * residual)
        )

    def hessian(x):
        x = jnp.asarray(x)
        diagonal = jnp.zeros_like(x).at[:-1].add(1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0).at[1:].add(200.0)
        return jnp.diag(diagonal) + jnp.diag(-400.0 * x[:-1], 1) + jnp.diag(-400.0 * x[:-1], -1)

    start = np.where(np.arange(dimension) % 2 == 0, -1.2, 1.0)
    return Problem("Rosenbrock", function, gradient, hessian, start, np.ones(dimension), 0.0)


def log_sum_exp(dimension: int = 4, terms: int = 8, seed: int = 0) -> Problem:
    """``f(x) = log sum_j (exp(b_j' x) + exp(-b_j' x))``, convex and even: least at 0, where it is ``log(2 terms)``.

    ``L`` is a bound: no distribution over points has a variance along any direction above the largest ``|b_j|^2``.

    Args:
      dimension: n.
      terms: how many b_j, standard normal, ``seed`` draws; at least n, so that the minimiser is one.
      seed: of the b_j and the start.
    """
    remedy = "There are as many as variables at least."
    checks.integer("log_sum_exp", "terms", terms, least=dimension, remedy=remedy)
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((terms, dimension))
    rows = np.concatenate([half, -half])

    def shares(x):
        return jax.nn.softmax(jnp.asarray(rows, _dtype(x)) @ x)

    def hessian(x):
        share, matrix = shares(x), jnp.asarray(rows, _dtype(x))
        mean = matrix.T @ share
        return (matrix.T * share) @ matrix - jnp.outer(mean, mean)

    return Problem(
        name="log-sum-exp",
        function=lambda x: jax.nn.logsumexp(jnp.asarray(rows, _dtype(x)) @ x),
        gradient=lambda x: jnp.asarray(rows, _dtype(x)).T @ shares(x),
        hessian=hessian,
        start=rng.standard_normal(dimension),
        optimum=np.zeros(dimension),
        minimum=float(np.log(2 * terms)),
        mu=0.0,
        smoothness=float(np.max(np.sum(half**2, axis=1))),
        tags=frozenset({"convex"}),
    )


def exponential() -> Problem:
    """``f(x) = exp(x) - 2 x + x^2 / 2`` from 2, least where ``exp(x) + x = 2``: at ``2 - W(e^2)``, W of Lambert."""
    from scipy.special import lambertw

    optimum = float(2.0 - lambertw(np.exp(2.0)).real)
    return Problem(
        name="exp(x) - 2x + x²/2",
        function=lambda x: jnp.sum(jnp.exp(x) - 2.0 * x + x**2 / 2),
        gradient=lambda x: jnp.exp(x) - 2.0 + x,
        hessian=lambda x: jnp.diag(jnp.exp(x) + 1.0),
        start=np.array([2.0]),
        optimum=np.array([optimum]),
        minimum=float(np.exp(optimum) - 2.0 * optimum + optimum**2 / 2),
        mu=1.0,
        tags=frozenset({"convex"}),
    )


def quartic() -> Problem:
    """``f(x) = x^4`` from 1: convex with a Hessian that vanishes at the optimum, where Newton shrinks by 2/3 a step."""
    return Problem(
        name="x⁴",
        function=lambda x: jnp.sum(x**4),
        gradient=lambda x: 4.0 * x**3,
        hessian=lambda x: jnp.diag(12.0 * x**2),
        start=np.ones(1),
        optimum=np.zeros(1),
        minimum=0.0,
        mu=0.0,
        tags=frozenset({"convex", "singular"}),
    )


CATALOGUE: dict[str, Callable[..., Problem]] = {
    "quadratic": quadratic,
    "bowl": bowl,
    "sphere": sphere,
    "one-house": one_house,
    "house-prices": house_prices,
    "breast-cancer": breast_cancer,
    "rosenbrock": rosenbrock,
    "log-sum-exp": log_sum_exp,
    "exponential": exponential,
    "quartic": quartic,
}
"""Builders by name; each works without arguments."""


def with_gradient_noise(function: Callable[[Any], Array]) -> Callable[[Any, Any], Array]:
    """A function with the same values whose gradient is off by what is given: ``(x, noise) -> f(x)``.

    The gradient in x is ``grad f(x) + noise``, as if the data behind f had been sampled.

    Args:
      function: ``x (n,) -> scalar``.
    """

    def noisy(x: Any, noise: Any) -> Array:
        # The difference is 0 and has the derivative 1.
        return function(x) + noise @ (x - jax.lax.stop_gradient(x))

    return noisy


def build(name: str, **choices: Any) -> Problem:
    """The problem of that name in ``CATALOGUE``, with its own choices."""
    return CATALOGUE[checks.one_of("build", "name", name, CATALOGUE)](**choices)


def _dtype(x: Any) -> Any:
    """The floating type of a computation on ``x``."""
    return jnp.result_type(x, float)


def _quadratic_form(
    name: str, matrix: np.ndarray, center: np.ndarray, *, start: np.ndarray, extremes: tuple[float, float]
) -> Problem:
    """``(x - c)' A (x - c) / 2`` with the extreme eigenvalues of A."""

    def gradient(x):
        return jnp.asarray(matrix, _dtype(x)) @ (x - jnp.asarray(center, _dtype(x)))

    return Problem(
        name=name,
        function=lambda x: (x - jnp.asarray(center, _dtype(x))) @ gradient(x) / 2,
        gradient=gradient,
        hessian=lambda x: jnp.asarray(matrix, _dtype(x)),
        start=start,
        optimum=center,
        minimum=0.0,
        mu=float(extremes[0]),
        smoothness=float(extremes[1]),
        tags=frozenset({"convex", "quadratic"}),
    )


def _squares(
    name: str,
    design: np.ndarray,
    target: np.ndarray,
    start: np.ndarray,
    optimum: np.ndarray,
    *,
    weight: float,
    tags: Sequence[str],
) -> Problem:
    """``weight |X w - y|^2 / 2``."""
    eigenvalues = np.linalg.eigvalsh(weight * design.T @ design)
    deficient = np.linalg.matrix_rank(design) < design.shape[1]

    def residual(x):
        return jnp.asarray(design, _dtype(x)) @ x - jnp.asarray(target, _dtype(x))

    return Problem(
        name=name,
        function=lambda x: weight * jnp.sum(residual(x) ** 2) / 2,
        gradient=lambda x: weight * jnp.asarray(design, _dtype(x)).T @ residual(x),
        hessian=lambda x: jnp.asarray(weight * design.T @ design, _dtype(x)),
        start=start,
        optimum=optimum,
        minimum=float(weight * np.sum((design @ optimum - target) ** 2) / 2),
        mu=0.0 if deficient else float(eigenvalues[0]),
        smoothness=float(eigenvalues[-1]),
        tags=frozenset({"convex", "quadratic", *tags} | ({"singular"} if deficient else set())),
    )


def _logistic_derivatives(signed: Any, l2: float, x: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Gradient (n,) and Hessian (n, n) of the logistic loss, in numpy or in JAX."""
    # sigmoid(-t) = (1 - tanh(t / 2)) / 2 does not overflow.
    miss = (1.0 - xp.tanh(signed @ x / 2.0)) / 2.0
    gradient = -(signed.T @ miss) / len(signed) + l2 * x
    weights = miss * (1.0 - miss) / len(signed)
    return gradient, (signed.T * weights) @ signed + l2 * xp.eye(signed.shape[1], dtype=signed.dtype)


def _logistic_optimum(signed: np.ndarray, l2: float) -> np.ndarray:
    """The minimiser by Newton's method with step halving, to the last digit of double precision."""

    def loss(x: np.ndarray) -> float:
        return float(np.mean(np.logaddexp(0.0, -signed @ x)) + l2 * (x @ x) / 2)

    x = np.zeros(signed.shape[1])
    for _ in range(100):
        gradient, hessian = _logistic_derivatives(signed, l2, x, np)
        step = np.linalg.solve(hessian, gradient)
        fraction = 1.0
        # The allowance of one rounding lets the last steps through, where losses no longer tell points apart.
        while loss(x - fraction * step) > loss(x) * (1.0 + 4 * np.finfo(np.float64).eps) and fraction > 1e-10:
            fraction /= 2
        x = x - fraction * step
        if np.linalg.norm(step) <= 1e-15 * (1.0 + np.linalg.norm(x)):
            break
    return x
