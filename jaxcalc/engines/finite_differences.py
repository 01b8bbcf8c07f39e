"""Finite differences: derivatives from values alone, with the step from theory and an estimate of the error."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.engines.stencils import Scheme, Stencil, stencil

__all__ = ["derivative", "gradient", "hessian", "jacobian", "step_sizes"]


def derivative(
    fun: Callable[[Any], Any],
    /,
    *,
    scheme: Scheme = "central",
    order: int | None = None,
    step: Any = None,
    noise: Any = 0.0,
    with_error: bool = False,
) -> Callable[[Any], Any]:
    """The derivative of a function of one number.

        f'(x) = sum_k w_k f(x + s_k h) / h + O(h^p)

    Args:
      fun: from a real scalar to an array or PyTree of real arrays. The complex step needs it analytic: a function that
        takes an absolute value, compares or drops the imaginary part is beyond it.
      scheme: see ``stencil``.
      order: of accuracy, where the scheme leaves a choice.
      step: absolute; by default ``step_sizes``'. Of a Richardson ladder, the smallest.
      noise: the size of the error in the values of ``fun`` beyond rounding; the step grows with it.
      with_error: also return an estimate of the error, from the quotients at ``h`` and ``2 h`` (or from the
        Richardson table) and the rounding of the values.

    Returns:
      ``derivative(x)``, like what ``fun`` returns, or the pair (derivative, error estimate). Ready for ``jit``,
      ``vmap`` and ``grad``; use ``vmap`` for many points. Integer ``x`` is promoted to floating point.

    Raises:
      TypeError: if ``x`` is complex, ``fun`` returns integers, or the imaginary part of a complex step gets lost.
      ValueError: for an unknown scheme, an order that it does not have, or an ``x`` that is no scalar.

    Cost:
      ``stencil(scheme, order).evaluations(1)`` values of ``fun``; the error estimate doubles it, a Richardson ladder's
      is free.
    """
    checks.function("derivative", fun)
    rule = stencil(scheme, order, who="derivative")

    def derived(x):
        checks.scalar("derivative", "x", x, "Use jax.vmap for many, or jacobian.")
        return _jacobian(_point("derivative", fun, x, rule, step, noise, degree=1), None, with_error)

    return derived


def gradient(
    fun: Callable[[Any], Any],
    /,
    *,
    scheme: Scheme = "central",
    order: int | None = None,
    step: Any = None,
    noise: Any = 0.0,
    chunk_size: int | None = None,
    with_error: bool = False,
) -> Callable[[Any], Any]:
    """The gradient of a scalar function, one entry of its argument moved at a time.

        (grad f)_i = sum_k w_k f(x + s_k h_i e_i) / h_i + O(h_i^p)

    Args:
      fun: from an array or PyTree of real arrays to a real scalar.
      scheme, order, noise, with_error: see ``derivative``.
      step: a number, or a PyTree like ``x`` of arrays that broadcast against its leaves.
      chunk_size: how many entries move at once, with as many copies of ``x`` held; by default as many as stay in a
        processor's cache, on an accelerator all.

    Returns:
      ``gradient(x)``, a PyTree like ``x``, or the pair (gradient, error estimate).

    Raises:
      TypeError: as ``derivative``.
      ValueError: as ``derivative``, or if ``fun`` returns no scalar.

    Cost:
      ``stencil(scheme, order).evaluations(n)`` values of ``fun`` for ``n`` entries: ``n + 1`` forward, ``2 n`` central.
    """
    checks.function("gradient", fun)
    rule = stencil(scheme, order, who="gradient")
    _check_chunk("gradient", chunk_size)

    def derived(x):
        point = _point("gradient", fun, x, rule, step, noise, degree=1)
        checks.returns_scalar("gradient", point.output)
        return _jacobian(point, chunk_size, with_error)

    return jax.jit(derived)  # as in jacobian


def jacobian(
    fun: Callable[[Any], Any],
    /,
    *,
    scheme: Scheme = "central",
    order: int | None = None,
    step: Any = None,
    noise: Any = 0.0,
    chunk_size: int | None = None,
    with_error: bool = False,
) -> Callable[[Any], Any]:
    """The Jacobian of a function, one column per entry of its argument.

        J_{:,i} = sum_k w_k f(x + s_k h_i e_i) / h_i + O(h_i^p)

    Args:
      fun: from an array or PyTree of real arrays to another.
      scheme, order, step, noise, chunk_size, with_error: see ``gradient``.

    Returns:
      ``jacobian(x)``, laid out like ``jax.jacfwd``'s: what ``fun`` returns, each leaf of shape ``S`` replaced by a
      PyTree like ``x`` whose leaf of shape ``T`` has shape ``S + T``; or the pair (Jacobian, error estimate).

    Raises:
      TypeError, ValueError: as ``derivative``.

    Cost:
      As ``gradient``.
    """
    checks.function("jacobian", fun)
    rule = stencil(scheme, order, who="jacobian")
    _check_chunk("jacobian", chunk_size)
    # One program: eagerly, its loop over chunks would be compiled at every call.
    return jax.jit(lambda x: _jacobian(_point("jacobian", fun, x, rule, step, noise, degree=1), chunk_size, with_error))


def hessian(
    fun: Callable[[Any], Any],
    /,
    *,
    scheme: Scheme = "central",
    order: int | None = None,
    step: Any = None,
    noise: Any = 0.0,
    chunk_size: int | None = None,
    with_error: bool = False,
) -> Callable[[Any], Any]:
    """The Hessian of a scalar function, symmetric by construction.

        H_ij = sum_kl w_k w_l f(x + s_k h_i e_i + s_l h_j e_j) / (h_i h_j) + O(h^p),    i <= j

    The complex step moves entry ``i`` off the real line and entry ``j`` by a central quotient along it.

    Args:
      fun: from an array or PyTree of real arrays to a real scalar.
      scheme, order, step, noise, with_error: see ``gradient``.
      chunk_size: how many pairs of entries move at once; by default all.

    Returns:
      ``hessian(x)``, a PyTree like ``x`` of PyTrees like ``x``, as ``jax.hessian``'s; or the pair (Hessian, error
      estimate).

    Raises:
      TypeError, ValueError: as ``gradient``.

    Cost:
      ``n (n + 1) / 2`` pairs, each the square of the stencil's nodes: ``2 n (n + 1)`` values of ``fun`` if central.
    """
    checks.function("hessian", fun)
    rule = stencil(scheme, order, who="hessian")
    _check_chunk("hessian", chunk_size)

    def derived(x):
        point = _point("hessian", fun, x, rule, step, noise, degree=2)
        checks.returns_scalar("hessian", point.output)
        rows, columns = np.triu_indices(point.size)

        def entry(pair):
            return _estimate(point, lambda multiple: _mixed(point, pair, multiple), with_error)

        found = _over(entry, (rows, columns), chunk_size)
        return _each(found, with_error, lambda outputs: _square(point, rows, columns, outputs[0]))

    return derived


def step_sizes(
    x: Any,
    *,
    scheme: Scheme = "central",
    order: int | None = None,
    degree: int = 1,
    step: Any = None,
    noise: Any = 0.0,
    dtype: Any = None,
    who: str = "step_sizes",
) -> Any:
    """The steps that the difference quotients take.

        h = max(eps, noise)^(1 / (p + degree)) max(|x|, 1),  rounded to a power of 2, then to (x + h) - x

    which balances truncation, of size ``h^p``, with rounding, of size ``eps / h^degree``, for a function whose values
    and derivatives are of the size of 1. What is rounded is the step that is taken, so that ``x + h`` lies exactly
    where the quotient says. The complex step loses nothing to cancellation and takes ``eps^2``.

    Args:
      x: an array or PyTree of real arrays.
      scheme, order, noise: see ``derivative``; ``p`` is the order of accuracy.
      degree: 1 for first derivatives, 2 for second ones.
      step: what to take instead of the formula, a number or a PyTree like ``x``; it is only made exact.
      dtype: of the function's values, where coarser than that of ``x``.
      who: the function that the user called, for messages.

    Returns:
      A PyTree like ``x``: one step per entry, each leaf of its leaf's dtype.
    """
    leaves, tree = _real_leaves(who, x)
    eps = _coarsest([*leaves, *([] if dtype is None else [jnp.zeros((), dtype)])])
    rule = stencil(scheme, order, who=who)
    return jax.tree.unflatten(tree, _steps(who, leaves, tree, rule, degree, step, noise, eps))


# -- the point -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Point:
    """A function at a point, flattened: what every quotient is made from."""

    values: Callable[[list[Any]], list[Any]]
    leaves: list[Any]
    tree: Any
    output: Any
    output_tree: Any
    steps: Any
    steps_along: Any
    rule: Stencil
    noise: Any
    eps: float

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in self.leaves)


def _point(who: str, fun: Any, x: Any, rule: Stencil, step: Any, noise: Any, *, degree: int) -> _Point:
    leaves, tree = _real_leaves(who, x)

    def values(arrays):
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(fun(jax.tree.unflatten(tree, arrays)))]

    output, output_tree = jax.tree.flatten(jax.eval_shape(fun, jax.tree.unflatten(tree, leaves)))
    checks.returns_floating(who, output)
    eps = _coarsest([*leaves, *output])
    steps = along = _flat(_steps(who, leaves, tree, rule, degree, step, noise, eps))
    if degree == 2 and not rule.nodes:
        # Only the first of the two moves leaves the real line.
        along = _flat(_steps(who, leaves, tree, stencil("central"), 1, None, noise, eps))
    return _Point(values, leaves, tree, output, output_tree, steps, along, rule, noise, eps)


def _real_leaves(who: str, x: Any) -> tuple[list[Any], Any]:
    """The arrays of a PyTree as floating-point ones."""
    leaves, tree = jax.tree.flatten(x)
    checks.not_empty(who, "x", x)
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    for array in arrays:
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise TypeError(
                f"{who}: x must be real, got {array.dtype}{list(array.shape)}. Pass real and imaginary parts apart."
            )
    default = jnp.result_type(float)
    return [a if jnp.issubdtype(a.dtype, jnp.floating) else a.astype(default) for a in arrays], tree


def _coarsest(arrays: list[Any]) -> float:
    return max(float(jnp.finfo(array.dtype).eps) for array in arrays)


def _steps(who: str, leaves: list[Any], tree: Any, rule: Stencil, degree: int, step: Any, noise: Any, eps: float):
    """One step per entry, leaf by leaf."""
    if step is None:
        return [_automatic(leaf, rule, degree, noise, eps) for leaf in leaves]
    if jax.tree.structure(step) == tree:
        given = jax.tree.leaves(step)
    elif jnp.ndim(step) == 0:
        given = [step] * len(leaves)
    else:
        raise ValueError(
            f"{who}: step must be a number or a PyTree like x, got {jax.tree.structure(step)} beside {tree}. "
            "Pass one number, or one step per leaf."
        )
    sizes = [jnp.broadcast_to(jnp.asarray(size, leaf.dtype), leaf.shape) for size, leaf in zip(given, leaves)]
    return [size if not rule.nodes else _exact(leaf, size) for size, leaf in zip(sizes, leaves)]


def _flat(pieces: list[Any]) -> Any:
    """All steps in a row; where there are none one that is never taken, since nothing is read from an empty array."""
    steps = jnp.concatenate([jnp.ravel(piece) for piece in pieces])
    return steps if steps.size else jnp.ones(1, steps.dtype)


def _automatic(leaf: Any, rule: Stencil, degree: int, noise: Any, eps: float) -> Any:
    # Half precision cannot hold every intermediate power.
    working = jnp.promote_types(leaf.dtype, jnp.float32)
    scale = jnp.maximum(jnp.abs(leaf.astype(working)), 1)
    if not rule.nodes:
        return jax.lax.stop_gradient((eps**2 * scale).astype(leaf.dtype))
    level = jnp.maximum(jnp.asarray(noise, working), eps) ** (1 / (rule.order + degree))
    # A ladder is centred on the step that theory asks for.
    size = level * scale * 2.0 ** (-(rule.levels - 1) / 2)
    _, exponent = jnp.frexp(jax.lax.stop_gradient(size) * math.sqrt(2))
    return _exact(leaf, jnp.ldexp(jnp.ones((), working), exponent - 1).astype(leaf.dtype))


def _exact(leaf: Any, size: Any) -> Any:
    """The step that is taken when a step is asked for; one lost in rounding stays, and its quotient is 0."""
    leaf = jax.lax.stop_gradient(leaf)
    taken = (leaf + size) - leaf
    return jnp.where(taken == 0, size, taken)


def _check_chunk(who: str, chunk_size: Any) -> None:
    if chunk_size is not None:
        checks.integer(who, "chunk_size", chunk_size)


# -- quotients -----------------------------------------------------------------------------------------------------


def _moved(point: _Point, index: Any, distance: Any, leaves: list[Any] | None = None) -> list[Any]:
    """The point with one of its entries, counted through all leaves, moved."""
    moved, start = [], 0
    for leaf in point.leaves if leaves is None else leaves:
        here = jnp.arange(leaf.size).reshape(leaf.shape) == index - start
        kind = leaf.dtype if jnp.isrealobj(distance) else jnp.promote_types(leaf.dtype, jnp.complex64)
        moved.append(jnp.where(here, leaf + distance.astype(kind), leaf))
        start += leaf.size
    return moved


# A quotient of step ``multiple * h``: per output leaf the value, and a bound on what rounding does to it.
_Quotient = tuple[list[Any], list[Any]]


def _along(point: _Point, base: list[Any] | None, index: Any, multiple: float) -> _Quotient:
    """The derivative by one entry."""
    size = point.steps[index] * multiple
    if not point.rule.nodes:
        return _imaginary(point, point.values(_moved(point, index, 1j * size)), size)
    moving = [node for node in point.rule.nodes if node]
    nodes = jnp.asarray(moving, point.steps.dtype)
    around = jax.vmap(lambda node: point.values(_moved(point, index, node * size)))(nodes)
    weights = np.array([w for node, w in zip(point.rule.nodes, point.rule.weights) if node])
    return _weighted(point, around, base or [leaf[0] for leaf in around], weights, size)


def _mixed(point: _Point, pair: Any, multiple: float) -> _Quotient:
    """The second derivative by a pair of entries."""
    first, second = pair
    size, other = point.steps[first] * multiple, point.steps_along[second] * multiple
    if not point.rule.nodes:

        def imaginary(sign):
            there = _moved(point, second, sign * other)
            return _imaginary(point, point.values(_moved(point, first, 1j * size, there)), size)[0]

        around = jax.vmap(imaginary)(jnp.asarray([-1, 1], other.dtype))
        return _weighted(point, around, [leaf[0] for leaf in around], np.array([-0.5, 0.5]), other)
    nodes = jnp.asarray(list(itertools.product(point.rule.nodes, repeat=2)), point.steps.dtype)
    weights = np.outer(point.rule.weights, point.rule.weights).ravel()

    def corner(node):
        return point.values(_moved(point, second, node[1] * other, _moved(point, first, node[0] * size)))

    around = jax.vmap(corner)(nodes)
    return _weighted(point, around, [leaf[0] for leaf in around], weights, size * other)


def _weighted(point: _Point, around: list[Any], base: list[Any], weights: np.ndarray, size: Any) -> _Quotient:
    values, rounding = [], []
    for leaf, reference in zip(around, base):
        # The weights of a derivative sum to 0: differences from one of the values lose fewer digits than the values,
        # and a constant's quotient is exactly 0.
        column = jnp.asarray(weights, leaf.dtype).reshape(-1, *(1,) * (leaf.ndim - 1))
        width = size.astype(leaf.dtype)
        values.append(jnp.sum(column * (leaf - reference), axis=0) / width)
        largest = jnp.maximum(jnp.max(jnp.abs(leaf), axis=0), jnp.abs(reference))
        unsure = point.eps * largest + jnp.asarray(point.noise, leaf.dtype)
        rounding.append(unsure * float(np.abs(weights).sum()) / width)
    return values, rounding


def _imaginary(point: _Point, outputs: list[Any], size: Any) -> _Quotient:
    values = []
    for leaf, expected in zip(outputs, point.output):
        if not jnp.iscomplexobj(leaf):
            raise TypeError(
                f"complex step: fun must return complex values for complex arguments, got {leaf.dtype}"
                f"{list(leaf.shape)}: it drops the imaginary part, or does not depend on x. Use the scheme 'central'."
            )
        values.append((jnp.imag(leaf) / size).astype(expected.dtype))
    return values, [point.eps * jnp.abs(value) for value in values]


# -- estimates -----------------------------------------------------------------------------------------------------


def _estimate(point: _Point, quotient: Callable[[float], _Quotient], with_error: bool) -> Any:
    """The quotient at the steps of the point, extrapolated if that is the scheme; with its error if wanted."""
    if point.rule.levels > 1:
        rows = [quotient(2.0**level) for level in reversed(range(point.rule.levels))]
        leaves = [_extrapolated(*zip(*table)) for table in zip(*(zip(*row) for row in rows))]
        values, errors = [leaf[0] for leaf in leaves], [leaf[1] for leaf in leaves]
        return (values, errors) if with_error else values
    values, rounding = quotient(1.0)
    if not with_error:
        return values
    coarse, _ = quotient(2.0)
    # D(2h) - D(h) is (2^p - 1) times the error of D(h), to leading order; twice that leaves room for the next one.
    share = 2 / (2**point.rule.order - 1)
    errors = [share * jnp.abs(one - two) + bound for one, two, bound in zip(values, coarse, rounding)]
    return values, errors


def _extrapolated(column: Sequence[Any], bounds: Sequence[Any]) -> tuple[Any, Any]:
    """Ridders: the entry of Richardson's table that its neighbours vouch for best, with their disagreement."""
    best, least = column[-1], jnp.full_like(column[-1], jnp.inf)
    for level in range(1, len(column)):
        factor = 4.0**level
        following, wider = [], []
        for j in range(1, len(column)):
            entry = column[j] + (column[j] - column[j - 1]) / (factor - 1)
            bound = (factor * bounds[j] + bounds[j - 1]) / (factor - 1)
            error = jnp.maximum(jnp.abs(entry - column[j]), jnp.abs(entry - column[j - 1])) + bound
            # Not a number is never better: a long step may have left the function's domain.
            better = error < least
            best, least = jnp.where(better, entry, best), jnp.where(better, error, least)
            following.append(entry)
            wider.append(bound)
        column, bounds = following, wider
    return best, least


# -- assembly ------------------------------------------------------------------------------------------------------


def _over(function: Callable[[Any], Any], index: Any, chunk_size: int | None) -> Any:
    """A function of an index at all of them, a chunk at a time."""
    index = jax.tree.map(jnp.asarray, index)
    count = len(jax.tree.leaves(index)[0])
    if chunk_size is None or chunk_size >= count:
        return jax.vmap(function)(index)
    # As lax.map with a batch_size, which stumbles over outputs of size 0.
    chunks, full = count // chunk_size, count - count % chunk_size
    chunked = jax.tree.map(lambda leaf: leaf[:full].reshape(chunks, chunk_size), index)
    first = jax.lax.map(jax.vmap(function), chunked)
    first = jax.tree.map(lambda leaf: leaf.reshape(full, *leaf.shape[2:]), first)
    if full == count:
        return first
    rest = jax.vmap(function)(jax.tree.map(lambda leaf: leaf[full:], index))
    return jax.tree.map(lambda one, other: jnp.concatenate([one, other]), first, rest)


def _each(found: Any, with_error: bool, assemble: Callable[[list[Any]], Any]) -> Any:
    return (assemble(found[0]), assemble(found[1])) if with_error else assemble(found)


def _jacobian(point: _Point, chunk_size: int | None, with_error: bool) -> Any:
    base = point.values(point.leaves) if 0 in point.rule.nodes else None

    def column(index):
        return _estimate(point, lambda multiple: _along(point, base, index, multiple), with_error)

    found = _over(column, np.arange(point.size), chunk_size or _cached(point))

    def assemble(outputs):
        blocks = [_split(point, jnp.moveaxis(leaf, 0, -1)) for leaf in outputs]
        return jax.tree.unflatten(point.output_tree, blocks)

    return _each(found, with_error, assemble)


CACHE = 2**16
"""Bytes of copies of ``x`` that are worked on at once: beyond, each is written to memory and read again."""


def _cached(point: _Point) -> int | None:
    if jax.default_backend() != "cpu":
        return None
    width = sum(leaf.size * leaf.dtype.itemsize for leaf in point.leaves)
    return max(8, CACHE // max(width, 1))


def _split(point: _Point, rows: Any) -> Any:
    """An array whose last axis counts the entries of ``x``, as a PyTree like ``x``."""
    blocks, start = [], 0
    for leaf in point.leaves:
        blocks.append(rows[..., start : start + leaf.size].reshape(*rows.shape[:-1], *leaf.shape))
        start += leaf.size
    return jax.tree.unflatten(point.tree, blocks)


def _square(point: _Point, rows: np.ndarray, columns: np.ndarray, triangle: Any) -> Any:
    """The upper triangle of a symmetric matrix, as a PyTree like ``x`` of PyTrees like ``x``."""
    matrix = jnp.zeros((point.size, point.size), triangle.dtype)
    matrix = matrix.at[rows, columns].set(triangle).at[columns, rows].set(triangle)
    blocks, start = [], 0
    for leaf in point.leaves:
        strip = matrix[start : start + leaf.size].reshape(*leaf.shape, point.size)
        blocks.append(_split(point, strip))
        start += leaf.size
    return jax.tree.unflatten(point.tree, blocks)
