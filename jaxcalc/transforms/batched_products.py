"""The routes to a Jacobian: each takes a map of arrays and returns all its partial derivatives.

A Jacobian here is a nested tuple, ``blocks[i][j]`` of shape ``output_i.shape + input_j.shape``. Rows are the scalars of
all outputs, raveled one after the other; columns those of all inputs.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc.transforms.lifting import Arrays, LeafMap, placed, size, spec_of, typed

__all__ = ["Blocks", "forward", "in_rows", "pull", "push", "reverse", "transposed_apart", "unit_vectors"]

Blocks = tuple[tuple[Any, ...], ...]
# Up to this many unit vectors are stored as a constant, with which XLA computes beforehand, and which keeps loops from
# generating them anew each turn, unless the Jacobian has more entries than that; others are generated, which moves
# fewer bytes.
_STORED, _ENTRIES = 128, 2**17
_TALL = 32
# From the number of a first row to that row of seeds and those after it, one array per leaf.
_Seeds = Callable[[Any], Arrays]


def forward(
    core: LeafMap, chunk: int | None = None, basis: np.ndarray | None = None, *, apart: bool = False
) -> tuple[Blocks, Any]:
    """All columns by forward mode, ``chunk`` at a time (default: all at once), and the auxiliary output.

    The ``basis`` of unit vectors is generated unless it is given. The transposition that ends it is fused into the
    products unless it is to be kept ``apart``.
    """
    n = core.num_inputs
    products, aux = push(core, basis, chunk, last=not apart)
    if apart:
        products = tuple(jnp.moveaxis(product, 0, -1) for product in jax.lax.optimization_barrier(products))
    sizes = [math.prod(leaf.shape) for leaf in core.inputs]
    blocks = []
    for product in products:
        shape = product.shape[:-1]
        parts = _split(product, sizes, axis=-1) if len(sizes) != 1 else [product]
        blocks.append(tuple(part.reshape(shape + leaf.shape) for part, leaf in zip(parts, core.inputs)))
    assert all(product.shape[-1] == n for product in products)
    return tuple(blocks), aux


def transposed_apart(n: int, m: int) -> bool:
    """Whether n columns of length m, computed without a loop, are better computed as rows and transposed then.

    Fused into it, loops over few columns are the inner ones, which do not vectorise; a large result is not worth a
    second pass over it.
    """
    return m >= _TALL * n and n * m <= _ENTRIES


def reverse(
    core: LeafMap, chunk: int | None = None, basis: np.ndarray | None = None, *, like_forward: bool = False
) -> tuple[Blocks, Any]:
    """All rows by reverse mode, as ``forward`` gives all columns.

    Where dtypes are mixed, reverse mode answers in the inputs' and forward mode in the outputs'; ``like_forward`` asks
    for the latter.
    """
    products, aux, outputs = _pull(core, basis, chunk)
    sizes = [math.prod(leaf.shape) for leaf in outputs]
    columns = []
    for product, leaf in zip(products, core.inputs):
        parts = _split(product, sizes, axis=0) if len(sizes) != 1 else [product]
        blocks = [part.reshape(out.shape + leaf.shape) for part, out in zip(parts, outputs)]
        if like_forward:
            cast = lambda block, out: block if block.dtype == out.dtype else block.astype(out.dtype)
            blocks = list(map(cast, blocks, outputs))
        columns.append(blocks)
    return tuple(tuple(column[i] for column in columns) for i in range(len(outputs))), aux


def push(
    core: LeafMap, seeds: np.ndarray | None, chunk: int | None = None, *, last: bool = False
) -> tuple[Arrays, Any]:
    """Jacobian times each seed, by forward mode.

    Args:
      core: the map.
      seeds: of shape (k, n); by default the n unit vectors.
      chunk: how many at a time.
      last: whether the seeds' axis comes last in the answer, else first.

    Returns:
      One array per output, of shape ``(k, *output.shape)`` or ``(*output.shape, k)``; and the auxiliary output.
    """
    axis = -1 if last else 0

    def one(*tangents: Any) -> tuple[Arrays, Any]:
        _, products, aux = jax.jvp(core.call, core.inputs, tangents, has_aux=True)
        return products, aux

    count = core.num_inputs if seeds is None else len(seeds)
    if count == 0:
        outputs, aux = core.call(*core.inputs)
        shape = lambda output: (*output.shape, 0) if last else (0, *output.shape)
        return tuple(jnp.zeros(shape(output), output.dtype) for output in outputs), aux
    rows = _seed_rows(seeds, core.inputs)
    if chunk is None or chunk >= count:
        return _in_lanes(one, rows(0, count), (axis, None))
    several = lambda start: jax.vmap(lambda *t: one(*t)[0], out_axes=axis)(*rows(start, chunk))
    return _in_chunks(several, count, chunk, axis), core.call(*core.inputs)[1]


def pull(core: LeafMap, seeds: np.ndarray | None, chunk: int | None = None) -> tuple[Arrays, Any]:
    """Each seed times the Jacobian, by reverse mode.

    Args:
      core: the map.
      seeds: of shape (k, m); by default the m unit vectors.
      chunk: how many at a time; what the forward sweep keeps is computed once.

    Returns:
      One array per input, of shape ``(k, *input.shape)``; and the auxiliary output.
    """
    return _pull(core, seeds, chunk)[:2]


def _pull(core: LeafMap, seeds: np.ndarray | None, chunk: int | None) -> tuple[Arrays, Any, Arrays]:
    outputs, back, aux = jax.vjp(core.call, *core.inputs, has_aux=True)
    count = size(outputs) if seeds is None else len(seeds)
    if count == 0:
        return tuple(jnp.zeros((0, *leaf.shape), leaf.dtype) for leaf in core.inputs), aux, outputs
    rows = _seed_rows(seeds, outputs)
    # What the forward sweep keeps is computed before the products, once. Fused into them, sums over broadcast residuals
    # come out wrong from XLA's CPU backend (jaxlib 0.10.2; a jitted jax.jacrev of a layer norm shows it). What it keeps
    # of constants is left to be computed with beforehand.
    back = jax.tree.map(lambda kept: jax.lax.optimization_barrier(kept) if isinstance(kept, Tracer) else kept, back)
    # A single product has an axis of its own too: XLA's CPU backend is faster at products of matrices than of vectors.
    if chunk is None or chunk >= count:
        products = _in_lanes(lambda *seed: back(seed), rows(0, count), 0)
    else:
        products = _in_chunks(lambda start: jax.vmap(back)(rows(start, chunk)), count, chunk, 0)
    return products, aux, outputs


def in_rows(
    one: Callable[..., Arrays], leaves: Sequence[Any], seeds: np.ndarray | None, chunk: int | None = None
) -> Arrays:
    """A function of one seed for every seed (by default every unit vector), ``chunk`` at a time, stacked on axis 0."""
    count = size(leaves) if seeds is None else len(seeds)
    rows = _seed_rows(seeds, leaves)
    if chunk is None or chunk >= count:
        return _in_lanes(one, rows(0, count), 0)
    return _in_chunks(lambda start: jax.vmap(one)(*rows(start, chunk)), count, chunk, 0)


def _in_lanes(one: Callable[..., Any], seeds: Arrays, out_axes: Any) -> Any:
    """A function of one seed for all of them at once; a single seed needs no rule for batching."""
    try:
        return jax.vmap(one, out_axes=out_axes)(*seeds)
    except NotImplementedError:
        if any(leaf.shape[0] != 1 for leaf in seeds):
            raise
    result, axes = one(*(leaf[0] for leaf in seeds)), out_axes
    if not isinstance(axes, tuple):
        return tuple(jnp.expand_dims(product, axes) for product in result)
    return tuple(jnp.expand_dims(product, axes[0]) for product in result[0]), result[1]


def unit_vectors(count: int, size: int) -> np.ndarray | None:
    """That many unit vectors as a constant of the program, where a product has that size; ``None`` if too many."""
    return np.eye(count, dtype=bool) if count <= _STORED and count * size <= _ENTRIES else None


def _in_chunks(several: Callable[[Any], Arrays], count: int, chunk: int, axis: int) -> Arrays:
    """Write chunk after chunk in place. The last one starts early rather than being cut, so that all are alike."""
    shapes = jax.eval_shape(several, 0)
    full = [(*s.shape[:-1], count) if axis else (count, *s.shape[1:]) for s in shapes]
    empty = tuple(placed(jnp.zeros_like(s, shape=shape), spec_of(s)) for shape, s in zip(full, shapes))

    def step(filled: Arrays, start: Any) -> tuple[Arrays, None]:
        parts = several(start)
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(whole, part, start, whole.ndim - 1 if axis else 0)
            for whole, part in zip(filled, parts)
        ), None

    starts = np.minimum(np.arange(0, count, chunk), count - chunk)
    return jax.lax.scan(step, empty, jnp.asarray(starts))[0]


def _seed_rows(seeds: np.ndarray | None, leaves: Sequence[Any]) -> Callable[[Any, int], Arrays]:
    """From a first row and a number of rows to those seeds, one array of shape ``(rows, *shape)`` per leaf."""
    sizes = [math.prod(leaf.shape) for leaf in leaves]
    starts = np.cumsum([0, *sizes])

    def rows(start: Any, count: int) -> Arrays:
        if seeds is None:
            number = start + jnp.arange(count)
            # Compared, not stored: a basis of n vectors would be a constant of n^2 numbers.
            parts = [number[:, None] == (first + jnp.arange(length))[None] for first, length in zip(starts, sizes)]
        elif isinstance(start, int):
            parts = [seeds[start : start + count, a:b] for a, b in itertools.pairwise(starts)]
        else:
            some = jax.lax.dynamic_slice_in_dim(jnp.asarray(seeds), start, count)
            parts = [some[:, a:b] for a, b in itertools.pairwise(starts)]
        return tuple(typed(_numbers(part, leaf).reshape(count, *leaf.shape), leaf) for part, leaf in zip(parts, leaves))

    return rows


def _numbers(part: Any, leaf: Any) -> Any:
    """Seeds in a leaf's dtype, weakly typed where it is, as derivatives of Python's numbers are."""
    if getattr(leaf, "weak_type", False) and part.dtype == bool and leaf.dtype == jnp.result_type(float):
        return jnp.where(part, 1.0, 0.0)
    return jnp.asarray(part).astype(leaf.dtype)


def _split(array: Any, sizes: Sequence[int], axis: int) -> list[Any]:
    return jnp.split(array, np.cumsum(sizes)[:-1], axis=axis)
