"""The divergence of a vector field, which is the trace of its Jacobian: exactly, or by random probes."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxcalc import checks
from jaxcalc.transforms.jacobian import jacobian
from jaxcalc.transforms.laplacian import mean_and_error
from jaxcalc.transforms.linear_operator import LinearOperator, linear_operator
from jaxcalc.transforms.sampling import Estimate

__all__ = ["DivergenceMethod", "ProbeName", "TraceEstimator", "divergence", "trace_estimator"]

DivergenceMethod = Literal["exact", "hutchinson", "hutch++"]
ProbeName = Literal["rademacher", "normal"]

_SKETCH = 3  # products that a direction of Hutch++'s basis takes part in: one to find it, one along it, one beside it


class TraceEstimator(NamedTuple):
    """A way to the trace of a square matrix that is known by its products, as ``trace_estimator`` makes it.

    Args:
      method: ``"exact"``, ``"hutchinson"`` or ``"hutch++"``.
      num_probes: products with the matrix; 0 of the exact one, which takes as many as the matrix asks for.
      probes: the distribution of random vectors, whose entries are independent, of mean 0 and variance 1.
    """

    method: str
    num_probes: int
    probes: str

    @property
    def stochastic(self) -> bool:
        """Whether it takes a key and has a standard error."""
        return self.method != "exact"

    def _num_sketched(self, size: int) -> int:
        """Directions in the basis of Hutch++: more than the matrix has would be idle."""
        return min(self.num_probes // _SKETCH, size) if self.method == "hutch++" else 0

    def num_samples(self, size: int) -> tuple[int, ...]:
        """The shape of what ``samples`` returns for a matrix of that size."""
        # A direction of the basis costs two products, a probe beside it one.
        return (self.num_probes - 2 * self._num_sketched(size),) if self.stochastic else ()

    def draw(self, key: Any, x: jax.Array) -> jax.Array | None:
        """The random vectors for a matrix that multiplies vectors like ``x``, in rows; None of the exact method."""
        if not self.stochastic:
            return None
        shape = (self._num_sketched(x.size) + self.num_samples(x.size)[0], x.size)
        match self.probes:
            case "rademacher":
                return jax.random.rademacher(key, shape, x.dtype)
            case "normal":
                return jax.random.normal(key, shape, x.dtype)
        raise checks.unknown("divergence", "probes", self.probes, get_args(ProbeName))

    def samples(self, matrix: LinearOperator, vectors: jax.Array | None) -> jax.Array:
        """Numbers whose mean is the trace, or its unbiased estimate: one alone, (), of the exact method."""
        if vectors is None:
            return jnp.sum(matrix.diagonal())
        products = jax.vmap(matrix.mv)
        count = self._num_sketched(matrix.in_size())
        if not count:
            return jnp.sum(vectors * products(vectors), axis=1)
        # tr A = tr Q'A Q + tr P A P for every orthogonal basis Q and P = I - QQ', whether A is symmetric or not. With Q
        # held fixed the estimate's derivative is unbiased too, and finite where A S has not full rank.
        basis = jax.lax.stop_gradient(jnp.linalg.qr(products(vectors[:count]).T)[0])
        beside = vectors[count:] - (vectors[count:] @ basis) @ basis.T
        return jnp.sum(basis.T * products(basis.T)) + jnp.sum(beside * products(beside), axis=1)

    def estimate(self, samples: jax.Array) -> Any:
        """What ``samples`` (along the last axis) come to: a number, or an ``Estimate`` of a stochastic method."""
        if not self.stochastic:
            return samples
        count = samples.shape[-1]
        mean, error = mean_and_error(jnp.moveaxis(samples, -1, 0))
        return Estimate(mean, error, jnp.asarray(count), jnp.asarray(count - 1))


def trace_estimator(who: str, method: str, num_probes: int | None, probes: str) -> TraceEstimator:
    """The estimator of that name, or an error in the name of ``who`` asks for it."""
    checks.one_of(who, "method", method, get_args(DivergenceMethod))
    checks.one_of(who, "probes", probes, get_args(ProbeName))
    if (method == "exact") != (num_probes is None):
        raise ValueError(
            f"{who}: num_probes must be given to a stochastic method and to no other, got {num_probes} with {method!r}."
        )
    if num_probes is None:
        return TraceEstimator(method, 0, probes)
    least = _SKETCH if method == "hutch++" else 1
    return TraceEstimator(method, checks.integer(who, "num_probes", num_probes, least=least), probes)


def divergence(
    fun: Callable[..., Any],
    /,
    *,
    method: DivergenceMethod | str = "exact",
    num_probes: int | None = None,
    probes: ProbeName | str = "rademacher",
) -> Callable[..., Any]:
    """The divergence of a vector field: the trace of its Jacobian, which need not be symmetric.

        div f(x) = sum_i d f_i(x) / d x_i = E[v' J v],    E[v v'] = I

    Args:
      fun: from an array or PyTree (and further arguments, held fixed) to one of the same structure and shapes.
      method: ``"exact"``: the Jacobian's diagonal, from coloured products where it is sparse, otherwise a product for
        each entry. ``"hutchinson"``: the mean of ``v' J v`` over random v. ``"hutch++"``: the trace on the range of
        ``J S``, S random, exactly, and beside it by random v; better where few directions carry the trace.
      num_probes: products with the Jacobian that a stochastic method spends, at least 3 for ``"hutch++"``, a third of
        which find the range and a third measure on it.
      probes: entries of the random vectors: ``"rademacher"``, signs, whose variance is the least, or ``"normal"``.

    Returns:
      ``at(x, *args, key=None)``: the divergence, a scalar. Of a stochastic method, which takes the key, an
      ``Estimate``: unbiased, with its standard error over probes (NaN of a single one). Derivatives of it are unbiased
      too; those of ``"hutch++"`` hold the range fixed, which leaves them finite.

    Raises:
      ValueError: for an unknown method, a number of probes that is missing, unused or too small, or a key likewise.
      TypeError: if ``fun`` returns another structure or other shapes, or numbers are not real floating-point ones.

    Cost: a linearisation and n, or ``num_probes``, products with it, together.

    Source: Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989; Meyer, Musco, Musco and
      Woodruff, "Hutch++: optimal stochastic trace estimation", 2021.
    """
    checks.function("divergence", fun)
    estimator = trace_estimator("divergence", method, num_probes, probes)

    def at(x: Any, *args: Any, key: jax.Array | None = None) -> Any:
        needed(key, "divergence", estimator)
        for leaf in jax.tree.leaves(checks.not_empty("divergence", "x", x)):
            checks.floating("divergence", "x", leaf, "Convert it to floats.")
        flat, restore = ravel_pytree(x)

        def rate(flat: jax.Array) -> jax.Array:
            return ravel_pytree(checks.returns_like("divergence", fun(restore(flat), *args), "x", x))[0]

        matrix = linear_operator(jacobian, rate, flat)
        return estimator.estimate(estimator.samples(matrix, estimator.draw(key, flat)))

    return at


def needed(key: jax.Array | None, who: str, estimator: TraceEstimator) -> None:
    """A key where it takes one, and none where it would go unused.

    Raises:
      ValueError: otherwise.
    """
    if (key is not None) != estimator.stochastic:
        raise ValueError(
            f"{who}: key must be {'a random key' if estimator.stochastic else 'None'} for the trace by "
            f"{estimator.method!r}, got {key}."
        )
