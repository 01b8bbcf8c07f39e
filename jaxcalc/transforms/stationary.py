"""The second derivative test: what the eigenvalues of the Hessian say of a point where the gradient is zero."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.transforms.guards import guarding
from jaxcalc.transforms.hessian import hessian
from jaxcalc.transforms.products import hvp

__all__ = [
    "StationaryKind",
    "StationaryPoint",
    "classify_stationary_point",
    "eigenvalue_rounding",
    "second_derivative_test",
]

SpectrumMethod = Literal["auto", "dense", "lanczos"]
DENSE = 256
"""Up to this many variables ``"auto"`` takes every eigenvalue of the dense Hessian; beyond, Lanczos' extreme ones."""
ROUNDING = 16
"""An eigenvalue below so many roundings of the largest, times the root of their number, is zero to rounding."""
TRUST = 3.0
"""An eigenvalue counts where it is more than so many times what it changes by up to the nearest stationary point."""


class StationaryKind(enum.IntEnum):
    """What a point is; it is data, one integer a lane."""

    MINIMUM = 0
    """All eigenvalues are positive."""
    MAXIMUM = 1
    """All eigenvalues are negative."""
    SADDLE = 2
    """There are positive and negative ones, whatever else there is."""
    DEGENERATE = 3
    """Some are zero and the others of one sign: second order does not decide."""
    NOT_STATIONARY = 4
    """The gradient is not zero."""
    UNDECIDED = 5
    """Something is not finite, or the extreme eigenvalues are not known well enough."""

    @property
    def word(self) -> str:
        """The kind in words."""
        return self.name.lower().replace("_", " ")


_RANGE = "with eigenvalues from {least:.3g} to {most:.3g}"
_WORDS = {
    StationaryKind.MINIMUM: f"minimum: the Hessian is positive definite, {_RANGE}",
    StationaryKind.MAXIMUM: f"maximum: the Hessian is negative definite, {_RANGE}",
    StationaryKind.SADDLE: f"saddle: the Hessian is indefinite, {_RANGE}; the function falls along .direction",
    StationaryKind.DEGENERATE: f"degenerate: the Hessian, {_RANGE}, has some that are zero up to {{zero:.1e}}, so that "
    "second order does not decide; compare values nearby, or derivatives of higher order",
    StationaryKind.NOT_STATIONARY: "not stationary: the gradient norm {gradient:.3g} is above {tol:.1e}; go on from "
    "here with minimize(fun, x), or accept the point by a larger tol",
    StationaryKind.UNDECIDED: "undecided: the value, the gradient or the curvature is not finite, or Lanczos' method "
    f"did not settle, {_RANGE}; move the point, raise num_products, or use float64",
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StationaryPoint:
    """The verdict on a point; under ``vmap`` every entry has the lanes' axis in front.

    Args:
      code: a ``StationaryKind``, int32.
      eigenvalues: of the Hessian, ascending: all ``(n,)`` where it is dense, the least and the largest ``(2,)`` by
        Lanczos.
      gradient_norm: the gradient's largest absolute entry.
      tol: up to what gradient norm the point counts as stationary.
      zero: up to what size an eigenvalue counts as zero, at the end of the spectrum that is nearer to it: rounding, or
        thrice what the curvature changes by between ``x`` and the nearest stationary point.
      direction: a PyTree like ``x``: the eigenvector of the least eigenvalue, of length 1. Along it, forth or back, the
        function falls from a saddle.
    """

    code: Array
    eigenvalues: Array
    gradient_norm: Array
    tol: Array
    zero: Array
    direction: Any

    @property
    def kind(self) -> Any:
        """``"minimum"``, ``"maximum"``, ``"saddle"``, ``"degenerate"``, ``"not stationary"`` or ``"undecided"``; for
        lanes an array of such words."""
        words = np.array([kind.word for kind in StationaryKind])[_numbers(self.code)]
        return str(words) if words.ndim == 0 else words

    @property
    def stationary(self) -> Array:
        """Whether the gradient is zero to the tolerance."""
        return self.gradient_norm <= self.tol

    def explain(self) -> str:
        """The kind with its reason, in words; for lanes, how many are of each."""
        code = _numbers(self.code)
        ends = self.eigenvalues if self.eigenvalues.shape[-1] else jnp.full((*code.shape, 1), jnp.nan)
        numbers = {"least": ends[..., 0], "most": ends[..., -1], "gradient": self.gradient_norm}
        numbers |= {"tol": self.tol, "zero": self.zero}
        flat = {name: np.broadcast_to(np.asarray(leaf, float), code.shape).ravel() for name, leaf in numbers.items()}
        lines = []
        for kind in StationaryKind:
            where = np.flatnonzero(code.ravel() == kind)
            if where.size:
                words = _WORDS[kind].format(**{name: leaf[where[0]] for name, leaf in flat.items()})
                lines.append(words if code.ndim == 0 else f"{where.size} of {code.size} lanes {words}")
        return "\n".join(lines)


def _numbers(code: Array) -> np.ndarray:
    if isinstance(code, Tracer):
        raise TypeError("StationaryPoint: words need numbers, got a traced code. Read kind outside jit and vmap.")
    return np.asarray(code)


def eigenvalue_rounding(eigenvalues: Array, eps: float | None = None) -> Array:
    """Up to what size an eigenvalue of a symmetric matrix is zero to rounding: ``16 sqrt(n) eps max |lambda|``.

    Args:
      eigenvalues: (..., n).
      eps: of the dtype that the matrix was computed in; by default their own.

    Returns:
      (...).
    """
    eps = float(jnp.finfo(eigenvalues.dtype).eps) if eps is None else eps
    largest = jnp.max(jnp.abs(eigenvalues), axis=-1, initial=0)
    return ROUNDING * eps * max(eigenvalues.shape[-1], 1) ** 0.5 * largest


def second_derivative_test(eigenvalues: ArrayLike, *, zero: ArrayLike | None = None) -> Array:
    """What the eigenvalues of the Hessian say of a point where the gradient is zero.

    A minimum if ``lambda_i > zero`` for all i, a maximum if ``lambda_i < -zero`` for all, a saddle if there are some of
    each; else degenerate.

    Args:
      eigenvalues: of the whole Hessian, or its least and largest, in any order, (..., n).
      zero: up to what size one counts as zero, (...); by default ``eigenvalue_rounding``.

    Returns:
      ``StationaryKind`` as int32, (...): undecided where an eigenvalue is not finite, degenerate where there are none.

    Raises:
      TypeError: for eigenvalues that are not real numbers. ValueError: for a scalar.
    """
    checks.number("second_derivative_test", "zero", 0.0 if zero is None else zero, least=0)
    eigenvalues = jnp.asarray(eigenvalues)
    remedy = "Eigenvalues of a symmetric matrix are real; take jnp.linalg.eigvalsh."
    checks.floating("second_derivative_test", "eigenvalues", eigenvalues, remedy)
    if eigenvalues.ndim == 0:
        raise ValueError("second_derivative_test: eigenvalues must have an axis, got shape (). Write [value].")
    level = eigenvalue_rounding(eigenvalues) if zero is None else jnp.asarray(zero, eigenvalues.dtype)
    least = jnp.min(eigenvalues, axis=-1, initial=jnp.inf)
    most = jnp.max(eigenvalues, axis=-1, initial=-jnp.inf)
    finite = jnp.all(jnp.isfinite(eigenvalues), axis=-1) & ~jnp.isnan(level)
    return _kind((least, most), (level, level), finite & (eigenvalues.shape[-1] > 0), eigenvalues.shape[-1] == 0)


def _kind(ends: Sequence[Array], levels: Sequence[Array], known: Array, none: Any = False) -> Array:
    """The code of a spectrum from its ends, each with the size up to which it is zero."""
    (least, most), (low, high) = ends, levels
    code = jnp.where(least > low, StationaryKind.MINIMUM, StationaryKind.DEGENERATE)
    code = jnp.where(most < -high, StationaryKind.MAXIMUM, code)
    code = jnp.where((least < -low) & (most > high), StationaryKind.SADDLE, code)
    code = jnp.where(known, code, StationaryKind.UNDECIDED)
    return jnp.where(none, StationaryKind.DEGENERATE, code).astype(jnp.int32)


@guarding
def classify_stationary_point(
    fun: Callable[..., Any],
    x: Any,
    /,
    *args: Any,
    method: SpectrumMethod | str = "auto",
    tol: ArrayLike | None = None,
    zero: ArrayLike | None = None,
    num_products: int = 64,
    key: Array | None = None,
) -> StationaryPoint:
    """Whether a stationary point is a minimum, a maximum, a saddle or degenerate, by the eigenvalues of the Hessian.

        grad f(x) = 0:    H(x) > 0: minimum,    H(x) < 0: maximum,    v'Hv < 0 < w'Hw: saddle,    else degenerate

    A point counts as stationary up to ``tol``, so that the true one may lie beside it, where the curvature differs. The
    eigenvalues are therefore taken at ``x`` and at its Newton step: one that changes by more than a third of itself
    between the two counts as zero, which makes ``x^3`` and ``x^4`` near 0 degenerate and no minima. What is not
    stationary is told so, whatever its eigenvalues.

    Args:
      fun: ``fun(x, *args) -> scalar``, twice differentiable.
      x: the point, an array or PyTree of real arrays (integers become floats).
      args: parameters, passed on.
      method: ``"dense"`` for all eigenvalues; ``"lanczos"`` for the extreme ones by Hessian-vector products;
        ``"auto"``: dense up to 256 variables.
      tol: the largest gradient norm that counts as stationary, absolute; by default the root of the dtype's eps, as
        for ``minimize``.
      zero: the size up to which an eigenvalue counts as zero, relative to the largest; by default
        ``16 sqrt(n) eps``.
      num_products: of Lanczos' method, at most.
      key: for Lanczos' start; by default one and the same.

    Returns:
      A ``StationaryPoint``. Ready for ``jit`` and ``vmap``. What is not finite is undecided, never a minimum; so is an
      end of the spectrum that Lanczos' method did not tell from zero.

    Raises:
      TypeError: if ``fun`` does not return a real scalar, or ``x`` is not real.
      ValueError: for an unknown method, a negative tolerance, or less than one product.

    Cost: a gradient and two Hessians with ``10 n^3`` operations each; by Lanczos ``2 num_products`` Hessian-vector
      products, ``4 n num_products^2`` operations and ``n num_products`` numbers.
    Source: Golub and Van Loan, Matrix Computations, 10.1-10.3, for Lanczos' method with full reorthogonalisation.
    """
    who = "classify_stationary_point"
    checks.function(who, fun)
    checks.one_of(who, "method", method, get_args(SpectrumMethod))
    checks.integer(who, "num_products", num_products)
    point = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, float)), x)
    for leaf in jax.tree.leaves(point):
        checks.floating(who, "x", leaf, "Take real and imaginary parts apart.")
    checks.returns_scalar(who, jax.eval_shape(fun, point, *args), "Reduce it, by sum or mean.")
    flat, unravel = ravel_pytree(point)
    eps = float(jnp.finfo(flat.dtype).eps) if flat.size else 1.0
    tol = jnp.asarray(eps**0.5 if tol is None else checks.number(who, "tol", tol, least=0), flat.dtype)
    share = ROUNDING * max(flat.size, 1) ** 0.5 * eps if zero is None else checks.number(who, "zero", zero, least=0)
    if flat.size == 0:
        none = jnp.zeros((), flat.dtype)
        return StationaryPoint(jnp.asarray(StationaryKind.DEGENERATE, jnp.int32), flat, none, tol, none, point)
    whole = lambda v: jnp.reshape(jax.tree.leaves(fun(unravel(v), *args))[0], ())
    dense = method == "dense" or (method == "auto" and flat.size <= DENSE)
    spectrum = _dense if dense else _lanczos(min(num_products, flat.size), jax.random.key(0) if key is None else key)
    code, here, size, level = _verdict(whole, flat, spectrum, tol, share)
    values = here.values if dense else here.values[jnp.array([0, -1])]
    return StationaryPoint(code, values, size, tol, level, unravel(here.vectors[:, 0].astype(flat.dtype)))


class _Spectrum(NamedTuple):
    """Eigenvalues, ascending, (m,); eigenvectors (n, m); how far each value may be from the nearest true one, (m,)."""

    values: Array
    vectors: Array
    error: Array


def _verdict(
    fun: Callable[[Array], Array], x: Array, spectrum: Callable[..., _Spectrum], tol: Array, share: Any
) -> tuple[Array, _Spectrum, Array, Array]:
    """The kind of a point, its spectrum, gradient norm, and the level of zero."""
    gradient = jax.grad(fun)(x)
    here = spectrum(fun, x)
    rounding = share * jnp.max(jnp.abs(here.values))
    # Newton's step to the stationary point, in the directions whose curvature is told from zero.
    bent = jnp.abs(here.values) > rounding
    slopes = here.vectors.T @ gradient.astype(here.values.dtype)
    step = here.vectors @ jnp.where(bent, slopes / jnp.where(bent, here.values, 1), 0)
    there = spectrum(fun, x - step.astype(x.dtype))
    last = jnp.array([0, -1])
    ends = here.values[last]
    levels = jnp.maximum(rounding, TRUST * jnp.abs(there.values[last] - ends))
    size = jnp.max(jnp.abs(gradient))
    known = jnp.isfinite(levels).all() & jnp.isfinite(here.values).all() & jnp.isfinite(size) & jnp.isfinite(fun(x))
    code = _kind(tuple(ends), tuple(levels), known)
    # A Rayleigh quotient proves its sign, so that a saddle is one; a definite matrix needs the end of its spectrum.
    unsure = (code == StationaryKind.MINIMUM) & ~(ends[0] - here.error[0] > levels[0])
    unsure |= (code == StationaryKind.MAXIMUM) & ~(ends[1] + here.error[-1] < -levels[1])
    code = jnp.where(unsure, StationaryKind.UNDECIDED, code)
    code = jnp.where(known & ~(size <= tol), StationaryKind.NOT_STATIONARY, code)
    nearer = jnp.argmin(jnp.abs(ends))
    return code.astype(jnp.int32), here, size, levels[nearer].astype(x.dtype)


def _working(dtype: Any) -> Any:
    """There are no factorisations in half precision."""
    return jnp.promote_types(dtype, jnp.float32)


def _dense(fun: Callable[[Array], Array], x: Array) -> _Spectrum:
    matrix = hessian(fun)(x).astype(_working(x.dtype))
    finite = jnp.all(jnp.isfinite(matrix))
    values, vectors = jnp.linalg.eigh(jnp.where(finite, (matrix + matrix.T) / 2, 0))
    return _Spectrum(jnp.where(finite, values, jnp.nan), vectors, jnp.zeros_like(values))


def _lanczos(steps: int, key: Array) -> Callable[..., _Spectrum]:
    """The spectrum of the Hessian on the Krylov space of a random start, fully reorthogonalised."""

    def spectrum(fun: Callable[[Array], Array], x: Array) -> _Spectrum:
        dtype = _working(x.dtype)
        product = lambda v: hvp(fun)((x,), v.astype(x.dtype)).astype(dtype)
        draw = lambda j: jax.random.normal(jax.random.fold_in(key, j), x.shape, dtype)

        def apart(basis: Array, w: Array) -> Array:
            """The part of w that is orthogonal to the basis: twice is enough (Kahan)."""
            w = w - basis.T @ (basis @ w)
            return w - basis.T @ (basis @ w)

        def unit(w: Array) -> Array:
            return w / jnp.linalg.norm(w)

        def step(j: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            basis, alphas, betas = state
            image = product(basis[j])
            rest = apart(basis, image)
            beta = jnp.linalg.norm(rest)
            # The space is invariant: the search goes on in another one, with nothing between the two.
            ended = beta <= 10 * jnp.finfo(dtype).eps * jnp.linalg.norm(image)
            following = jnp.where(ended, unit(apart(basis, draw(j + 1))), rest / jnp.where(ended, 1, beta))
            alphas = alphas.at[j].set(jnp.vdot(basis[j], image))
            return basis.at[j + 1].set(following), alphas, betas.at[j].set(jnp.where(ended, 0, beta))

        begun = jnp.zeros((steps + 1, x.size), dtype).at[0].set(unit(draw(0)))
        basis, alphas, betas = jax.lax.fori_loop(
            0, steps, step, (begun, jnp.zeros(steps, dtype), jnp.zeros(steps, dtype))
        )
        small = jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
        finite = jnp.all(jnp.isfinite(small))
        values, vectors = jnp.linalg.eigh(jnp.where(finite, small, 0))
        # With as many steps as variables the space is all there is.
        error = jnp.zeros_like(values) if steps == x.size else jnp.abs(betas[-1] * vectors[-1])
        return _Spectrum(jnp.where(finite, values, jnp.nan), basis[:-1].T @ vectors, error)

    return spectrum
