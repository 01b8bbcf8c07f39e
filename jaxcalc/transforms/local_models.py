"""Functions near a point: slopes along directions, Taylor polynomials with remainder, local models and their reach."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxcalc import checks
from jaxcalc.transforms.guards import own_transfers
from jaxcalc.transforms.taylor import along

__all__ = [
    "SteepestAscent",
    "directional_derivative",
    "local_model",
    "model_radius",
    "remainder_bound",
    "steepest_ascent",
    "taylor_polynomial",
]

_SCAN = 128  # radii looked at before bisecting, evenly spaced in the logarithm
_BISECTIONS = 60
_SAMPLES = 65


def directional_derivative(fun: Callable[..., Any], /, *, normalize: bool = False) -> Callable[..., Any]:
    """The derivative of a function along a direction.

        D_v f(x) = d/dt f(x + t v) at t = 0 = <grad f(x), v>

    Args:
      fun: from an array or PyTree and ``args`` to an array or PyTree.
      normalize: whether to divide ``v`` by its Euclidean norm first: the slope per unit of length.

    Returns:
      ``derivative(x, v, *args)``, like what ``fun`` returns. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      ValueError: if ``x`` and ``v`` differ in structure or shape.

    Cost:
      One forward pass, whatever the size of ``x``.
    """

    def derivative(x, v, *args):
        x = _floating(x)
        v = checks.vector("directional_derivative", "v", v, "x", x)
        if normalize:
            v = _unit(v)[0]
        return jax.jvp(lambda x: fun(x, *args), (x,), (v,))[1]

    return derivative


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SteepestAscent:
    """The direction in which a function rises fastest.

    Args:
      direction: a PyTree like ``x`` of Euclidean norm 1, or 0 at a stationary point.
      slope: the derivative along it: the norm of the gradient.
    """

    direction: Any
    slope: jax.Array


def steepest_ascent(fun: Callable[..., Any], /) -> Callable[..., SteepestAscent]:
    """The unit direction of fastest increase, and the rate of increase along it.

        argmax_{|v| = 1} D_v f(x) = grad f(x) / |grad f(x)|,    max = |grad f(x)|

    Steepest is meant in the Euclidean norm; another norm has another direction.

    Args:
      fun: from an array or PyTree and ``args`` to a real scalar.

    Returns:
      ``ascent(x, *args) -> SteepestAscent``. Ready for ``jit``, ``vmap`` and, away from stationary points, ``grad``.

    Raises:
      TypeError: if ``fun`` does not return a scalar.
    """

    def ascent(x, *args):
        return SteepestAscent(*_unit(jax.grad(fun)(_floating(x), *args)))

    return ascent


def taylor_polynomial(fun: Callable[[Any], Any], order: int, /) -> Callable[[Any], Callable[[Any], Any]]:
    """The Taylor polynomial of a function about a point.

        P(x) = sum_{m=0}^{order} (1/m!) d^m/dt^m f(x0 + t (x - x0)) at t = 0

    Args:
      fun: from an array or PyTree of floating-point arrays to an array or PyTree of such.
      order: the degree, 0 or more.

    Returns:
      ``about(x0) -> polynomial``, and ``polynomial(x)`` is like what ``fun`` returns. Ready for ``jit``, ``vmap`` and
      ``grad``.

    Raises:
      TypeError: if ``order`` is no integer.
      ValueError: if ``order`` is negative, or ``x`` and ``x0`` differ in structure or shape.

    Cost:
      About a scalar point the coefficients are computed once, in ``about``; each evaluation is ``order`` products. In
      several variables each evaluation costs that of ``taylor(fun, order)``.
    """
    coefficients = along(fun, order, "taylor_polynomial")

    def about(x0):
        x0 = _floating(x0)
        if isinstance(x0, jax.Array) and x0.ndim == 0:
            with own_transfers():
                towards = jnp.ones_like(x0)
            fixed = coefficients(x0, towards)
            return lambda x: jax.tree.map(
                lambda rows: _horner(rows, checks.vector("taylor_polynomial", "x", x, "x0", x0) - x0), fixed
            )

        def polynomial(x):
            v = _step("taylor_polynomial", x0, x)
            return jax.tree.map(lambda rows: rows.sum(0), coefficients(x0, v))

        return polynomial

    return about


def remainder_bound(
    fun: Callable[[Any], Any],
    order: int,
    /,
    *,
    bound: jax.typing.ArrayLike | None = None,
    num_samples: int = _SAMPLES,
) -> Callable[[Any, Any], Any]:
    """A bound on the error of the Taylor polynomial, by Lagrange's form of the remainder.

        |f(x) - P(x)| <= max_{0 <= t <= 1} |d^{k+1}/dt^{k+1} f(x0 + t (x - x0))| / (k+1)!  <=  M |x - x0|^{k+1} / (k+1)!

    Args:
      fun: from an array or PyTree of floating-point arrays to an array or PyTree of such.
      order: ``k``, the degree of the polynomial.
      bound: ``M``, a bound on the norm of the derivative of order ``k + 1`` between the points: the result is a bound
        then. Without it the maximum over ``t`` is sampled, and may be missed by a little.
      num_samples: how many values of ``t``, ends included.

    Returns:
      ``remainder(x0, x)``, like what ``fun`` returns, entry by entry; a scalar if ``bound`` is given.

    Raises:
      ValueError: if ``order`` is negative, ``num_samples`` below 2, or the points differ in structure or shape.
    """
    order = checks.integer("remainder_bound", "order", order, least=0)
    checks.integer("remainder_bound", "num_samples", num_samples, least=2)
    coefficients = along(fun, order + 1, "remainder_bound")

    def remainder(x0, x):
        x0 = _floating(x0)
        v = _step("remainder_bound", x0, x)
        if bound is not None:
            return bound * _norm(v) ** (order + 1) / math.factorial(order + 1)
        last = lambda t: jax.tree.map(
            lambda rows: jnp.abs(rows[-1]), coefficients(jax.tree.map(lambda a, b: a + t.astype(a.dtype) * b, x0, v), v)
        )
        return jax.tree.map(lambda rows: rows.max(0), jax.vmap(last)(jnp.linspace(0, 1, num_samples)))

    return remainder


def local_model(fun: Callable[..., Any], order: int = 2, /) -> Callable[..., Callable[[Any], jax.Array]]:
    """The linear or the quadratic model of a scalar function about a point.

        m_1(s) = f(x) + <g, s>,    m_2(s) = f(x) + <g, s> + <s, H s> / 2

    Args:
      fun: from an array or PyTree and ``args`` to a real scalar.
      order: 1 or 2.

    Returns:
      ``about(x, *args) -> model``, and ``model(s)`` is the predicted value at ``x + s``. Ready for ``jit``, ``vmap``
      and ``grad``.

    Raises:
      ValueError: for another order, or if ``s`` differs from ``x`` in structure or shape.
      TypeError: if ``fun`` does not return a scalar.

    Cost:
      One gradient in ``about``; each evaluation at order 2 is one Hessian-vector product.
    """
    return _model("local_model", fun, order)


def _model(who: str, fun: Callable[..., Any], order: int) -> Callable[..., Callable[[Any], jax.Array]]:
    """``local_model`` in the name of whoever asks."""
    checks.function(who, fun)
    checks.one_of(who, "order", order, (1, 2), remedy="For more use taylor_polynomial.")

    def about(x, *args):
        x = _floating(x)
        value, gradient = jax.value_and_grad(fun)(x, *args)
        if order == 1:
            return lambda s: value + _dot(gradient, checks.vector(who, "s", s, "x", x))
        curved = jax.linearize(lambda x: jax.grad(fun)(x, *args), x)[1]

        def model(s):
            s = checks.vector(who, "s", s, "x", x)
            return value + _dot(gradient, s) + _dot(s, curved(s)) / 2

        return model

    return about


def model_radius(
    fun: Callable[..., Any],
    order: int = 2,
    /,
    *,
    tol: jax.typing.ArrayLike = 0.1,
    max_radius: jax.typing.ArrayLike = 1e3,
) -> Callable[..., jax.Array]:
    """How far a local model holds along a direction.

        the largest r with  |m(s v) - f(x + s v)| <= tol max(|f(x)|, |f(x + s v)|)  for all  0 <= s <= r,  |v| = 1

    Radii between ``max_radius * eps`` and ``max_radius`` are tried, 128 of them evenly spaced in the logarithm; the
    first at which the model fails is refined by bisection.

    Args:
      fun: from an array or PyTree and ``args`` to a real scalar.
      order: 1 for the linear model, 2 for the quadratic one.
      tol: the relative error allowed.
      max_radius: where to stop looking.

    Returns:
      ``radius(x, direction, *args)``, a scalar; ``max_radius`` where the model holds all the way. The direction's
      length does not matter. Ready for ``jit`` and ``vmap``.

    Raises:
      ValueError: for another order, or if the direction differs from ``x`` in structure or shape.
    """
    model_about = _model("model_radius", fun, order)

    def radius(x, direction, *args):
        x = _floating(x)
        v = _unit(checks.vector("model_radius", "direction", direction, "x", x))[0]
        model, here = model_about(x, *args), fun(x, *args)

        def holds(r):
            s = jax.tree.map(lambda d: r.astype(d.dtype) * d, v)
            there = fun(jax.tree.map(jnp.add, x, s), *args)
            return jnp.abs(model(s) - there) <= tol * jnp.maximum(jnp.abs(here), jnp.abs(there))

        dtype = here.dtype
        limit = jnp.asarray(max_radius, dtype)
        radii = limit * jnp.exp(jnp.linspace(math.log(jnp.finfo(dtype).eps), 0, _SCAN, dtype=dtype))
        good = jax.vmap(holds)(radii)
        first = jnp.argmin(good)
        low = jnp.where(first == 0, 0, radii[jnp.maximum(first - 1, 0)])

        def halve(_, ends):
            low, high = ends
            middle = low + (high - low) / 2
            return jax.tree.map(lambda a, b: jnp.where(holds(middle), a, b), (middle, high), (low, middle))

        low, _ = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, radii[first]))
        return jnp.where(good.all(), limit, low)

    return radius


# -- PyTrees as vectors --------------------------------------------------------------------------------------------


def _floating(x: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, float)), x)


def _step(who: str, x0: Any, x: Any) -> Any:
    """``x - x0``."""
    return jax.tree.map(jnp.subtract, checks.vector(who, "x", x, "x0", x0), x0)


def _dot(u: Any, v: Any) -> jax.Array:
    return sum((jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(u), jax.tree.leaves(v))), jnp.zeros(()))


def _norm(v: Any) -> jax.Array:
    return jnp.linalg.norm(ravel_pytree(v)[0])


def _unit(v: Any) -> tuple[Any, jax.Array]:
    """``v`` divided by its norm, and the norm; without overflow, and 0 for 0."""
    flat, unravel = ravel_pytree(v)
    largest = jnp.max(jnp.abs(flat), initial=0)
    scaled = flat / jnp.where(largest == 0, 1, largest)
    length = jnp.linalg.norm(jnp.where(largest == 0, jnp.ones_like(scaled), scaled))
    return unravel(scaled / length), largest * length


@jax.jit  # a scan outside of one is compiled, and kept, for every call
def _horner(rows: jax.Array, t: jax.Array) -> jax.Array:
    """``sum_m rows[m] t^m``."""
    return jax.lax.scan(lambda total, row: (total * t + row, None), jnp.zeros_like(rows[0]), rows[::-1])[0]
