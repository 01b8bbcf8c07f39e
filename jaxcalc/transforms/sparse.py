"""A derivative from few products: seeds that add up columns (or rows) no row (or column) of which they share."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxcalc.programs.coloring import Coloring
from jaxcalc.programs.sparsity import Pattern
from jaxcalc.transforms.batched_products import Blocks, pull, push
from jaxcalc.transforms.lifting import LeafMap, placed

__all__ = ["OutputFormat", "bcoo_blocks", "compressed_products", "dense_blocks", "take_entries"]

OutputFormat = Literal["dense", "bcoo"]


def compressed_products(
    core: LeafMap, coloring: Coloring, chunk: int | None = None, columns_by: str = "forward"
) -> tuple[Any, Any]:
    """Every coloured product, raveled into one vector in the layout of ``coloring``, and the auxiliary output.

    ``columns_by="reverse"`` is for a symmetric matrix, whose columns are its rows.
    """
    dtype = jnp.result_type(*core.inputs, *core.outputs)
    parts, aux = [], None
    if coloring.num_column_colors:
        multiply = push if columns_by == "forward" else pull
        products, aux = multiply(core, coloring.column_seeds(bool), chunk)
        parts.append(_rows(products, dtype))
    if coloring.num_row_colors:
        products, aux = pull(core, coloring.row_seeds(bool), chunk)
        parts.append(_rows(products, dtype))
    if not parts:
        return jnp.zeros(0, dtype), core.call(*core.inputs)[1]
    return jnp.concatenate(parts) if len(parts) > 1 else parts[0], aux


def _rows(products: Sequence[Any], dtype: Any) -> Any:
    """Products, one row each over all leaves, raveled."""
    # Colours add up what is split over a mesh, so the entries are read off whole products.
    whole = [placed(product, ()) for product in products]
    flat = [product.reshape(product.shape[0], math.prod(product.shape[1:])).astype(dtype) for product in whole]
    return (jnp.concatenate(flat, axis=1) if len(flat) > 1 else flat[0]).ravel()


def dense_blocks(matrix: Any, outputs: Sequence[Any], inputs: Sequence[Any]) -> Blocks:
    """The blocks of an (m, n) matrix."""
    blocks = []
    for output, rows in zip(outputs, _parts(matrix, outputs, 0)):
        parts = _parts(rows, inputs, 1)
        blocks.append(
            tuple(part.reshape(output.shape + leaf.shape).astype(output.dtype) for part, leaf in zip(parts, inputs))
        )
    return tuple(blocks)


def _parts(matrix: Any, leaves: Sequence[Any], axis: int) -> Sequence[Any]:
    if len(leaves) == 1:
        return [matrix]
    ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])
    return jnp.split(matrix, ends[:-1], axis=axis) if leaves else []


def bcoo_blocks(
    data: Any, pattern: scipy.sparse.csr_array, outputs: Sequence[Any], inputs: Sequence[Any]
) -> tuple[tuple[Any, ...], ...]:
    """The blocks as ``BCOO`` arrays, from the entries of an (m, n) matrix in the order of its pattern."""
    from jax.experimental.sparse import BCOO

    rows, columns = pattern.nonzero()
    row_ends = np.cumsum([0, *(math.prod(leaf.shape) for leaf in outputs)])
    column_ends = np.cumsum([0, *(math.prod(leaf.shape) for leaf in inputs)])
    blocks = []
    for output, top, bottom in zip(outputs, row_ends, row_ends[1:]):
        line = []
        for leaf, left, right in zip(inputs, column_ends, column_ends[1:]):
            whole = len(outputs) == len(inputs) == 1
            inside = (
                slice(None)
                if whole
                else np.flatnonzero((rows >= top) & (rows < bottom) & (columns >= left) & (columns < right))
            )
            where = (
                *np.unravel_index(rows[inside] - top, output.shape or (1,))[: len(output.shape)],
                *np.unravel_index(columns[inside] - left, leaf.shape or (1,))[: len(leaf.shape)],
            )
            count = len(rows[inside])
            indices = np.stack(where, axis=1) if where else np.zeros((count, 0), int)
            entries = (data if whole else data[inside]).astype(output.dtype)
            if not where:  # a scalar of a scalar: one number at the empty index
                entries = entries if count else jnp.zeros(1, output.dtype)
                indices = np.zeros((1, 0), int)
            shape = tuple(output.shape) + tuple(leaf.shape)
            line.append(
                BCOO((entries, jnp.asarray(indices, jnp.int32)), shape=shape, indices_sorted=True, unique_indices=True)
            )
        blocks.append(tuple(line))
    return tuple(blocks)


def take_entries(blocks: Blocks, pattern: Pattern | None, outputs: Sequence[Any], inputs: Sequence[Any]):
    """Dense blocks as ``BCOO`` ones that store the pattern's entries (by default all); NaN where a local one fails."""
    m, n = (sum(math.prod(leaf.shape) for leaf in leaves) for leaves in (outputs, inputs))
    stored = scipy.sparse.csr_array(np.ones((m, n), bool)) if pattern is None else pattern.matrix
    flat = lambda block, output, leaf: placed(block, ()).reshape(math.prod(output.shape), math.prod(leaf.shape))
    wide = [jnp.concatenate([flat(b, o, x) for b, x in zip(line, inputs)], 1) for o, line in zip(outputs, blocks)]
    matrix = jnp.concatenate(wide, 0) if wide else jnp.zeros((0, n))
    rows, columns = stored.nonzero()
    result = bcoo_blocks(matrix[rows, columns], stored, outputs, inputs)
    if pattern is None or pattern.scope == "global":
        return result
    return _where(jnp.all(matrix.at[rows, columns].set(0) == 0), result)


def checked(result: Any, data: Any, core: LeafMap, pattern: scipy.sparse.csr_array) -> Any:
    """The result, or NaN where a random product with the Jacobian contradicts the entries, so that the pattern fails.

    For patterns that are valid at a point only, or given. A probe misses a forgotten entry with probability zero.
    """
    m, n = map(int, pattern.shape or (0, 0))
    rows, columns = pattern.nonzero()
    probe = np.random.default_rng(0).standard_normal(n)
    expected = _rows(push(core, probe[None])[0], data.dtype)
    found = jax.ops.segment_sum(data * probe.astype(data.dtype)[columns], rows, m, indices_are_sorted=True)
    scale = jax.ops.segment_sum(abs(data) * abs(probe)[columns].astype(data.dtype), rows, m)
    eps = jnp.finfo(data.dtype).eps
    # A row that is not finite says nothing of the entries beside the infinite one.
    unknown = ~jnp.isfinite(found) & ~jnp.isfinite(expected)
    holds = jnp.all(unknown | (abs(found - expected) <= 1e3 * eps * (scale + abs(expected))))
    return _where(holds, result)


def _where(holds: Any, result: Any) -> Any:
    """The result, or NaN for every number in it."""
    is_number = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
    return jax.tree.map(lambda leaf: jnp.where(holds, leaf, jnp.nan) if is_number(leaf) else leaf, result)
