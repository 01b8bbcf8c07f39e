"""The Laplacian in one forward pass: value, Jacobian and Laplacian of every intermediate together."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.transforms import interpreter
from jaxcalc.transforms.compressed_jacobian import Slots
from jaxcalc.transforms.guards import sending
from jaxcalc.transforms.laplacian_bundle import Bundle, Context, algebra, cast, lifted, whole

__all__ = ["forward_laplacian"]


def forward_laplacian(
    fun: Callable[[Any], Any], /, weights: Any = None, *, directions: Any = None, sparse: bool = True
) -> Callable[[Any], tuple[Any, Any, Any]]:
    """The value, the Jacobian and the Laplacian of a function, in one pass forward through its program.

        Delta f = sum_i w_i d^2 f / dx_i^2,    or    sum_k v_k' H v_k

    Every intermediate value carries its derivatives by all inputs (or along all directions) and the sum of its second
    ones; a linear operation acts on them alike, a nonlinear one g adds ``sum_k g''[t_k, t_k]``. Loops and branches run
    once, on values with what they carry. Where elements depend on few inputs each (a network applied to each particle,
    a stencil), only those derivatives are carried, until they meet; the pattern is read from the program.

    Args:
      fun: from one array or PyTree of real floating-point arrays to one array or PyTree of such, of any shape.
      weights: ``w``, a PyTree like the argument, or one that broadcasts to it; 1 by default.
      directions: ``v``, a PyTree like the argument, each leaf with a leading axis over ``k``; in place of ``weights``.
      sparse: whether to carry only the derivatives that can differ from zero.

    Returns:
      ``transformed(x) -> (value, tangents, laplacian)``, three PyTrees like what ``fun`` returns; ``tangents`` has a
      leading axis over all ``n`` elements of ``x``, leaf by leaf (or over ``k``): the transposed Jacobian. What is not
      used of the three is not computed under ``jax.jit``. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      TypeError: if the argument or the result is not of real floating-point (complex results are allowed).
      NotImplementedError: where ``x`` reaches a ``jax.custom_vjp`` function, which has no forward derivative.
      ValueError: if both weights and directions are given, or their shapes do not fit.

    Cost:
      About ``n + 2`` times the function, ``2 (nnz of a row) + 2`` where sparse; memory ``n + 2`` times its largest
      intermediate values. A function that JAX differentiates forwards twice is right here by construction.

    Source:
      R. Li et al., Forward Laplacian, 2023 (arXiv:2307.08214); F. Dangel et al., Collapsing Taylor Mode, 2025.
    """
    checks.function("forward_laplacian", fun)
    if weights is not None and directions is not None:
        raise ValueError("forward_laplacian: give weights or directions, not both (scale the directions instead).")

    @sending
    def transformed(x):
        leaves, tree = jax.tree.flatten(x)
        leaves = [_floating(leaf) for leaf in leaves]
        found = []

        def flat(*arrays):
            outputs, structure = jax.tree.flatten(fun(jax.tree.unflatten(tree, arrays)))
            found[:] = [structure]
            return outputs

        program = interpreter.program_of(flat, *leaves)
        checks.returns_floating("forward_laplacian", program.outputs, real=False)
        # Derivatives have an axis more than what they are multiplied by; that is no accident of the user's.
        with jax.numpy_rank_promotion("allow"):
            rows, factors = _rows(leaves, tree, weights, directions)
            bundles = _seeds(leaves, rows, sparse and directions is None)
            count = sum(leaf.size for leaf in leaves) if directions is None else rows[0].shape[0] if rows else 0
            context = Context(count, factors)
            outputs = interpreter.propagate(algebra(context), program, bundles)
            dense = [cast(context, output, None) if isinstance(output, Bundle) else output for output in outputs]
            dense = [whole(output) if isinstance(output, Bundle) else lifted(context, output) for output in dense]
            parts = (
                zip(*((bundle.value, bundle.tangents, bundle.laplacian) for bundle in dense)) if dense else ((), (), ())
            )
        return tuple(jax.tree.unflatten(found[0], part) for part in parts)

    return transformed


# -- seeds ---------------------------------------------------------------------------------------------------------


def _floating(leaf: Any) -> jax.Array:
    array = jnp.asarray(leaf)
    remedy = "Close over what is not to be differentiated; take a complex number as its two parts."
    checks.floating("forward_laplacian", "x", array, remedy)
    return array


def _rows(leaves, tree, weights, directions) -> tuple[list[Any], Any]:
    """Dense directions, one array per leaf (``None``: the unit vectors), and the weight of each (``None``: 1)."""
    if directions is not None:
        given = jax.tree.leaves(directions)
        if (
            jax.tree.structure(directions) != tree
            or len({jnp.shape(row)[:1] for row in given}) > 1
            or any(jnp.shape(row)[1:] != leaf.shape or jnp.ndim(row) == 0 for row, leaf in zip(given, leaves))
        ):
            raise ValueError(
                "forward_laplacian: directions must be like x with one leading axis on every leaf, got shapes "
                f"{[jnp.shape(row) for row in given]} for {[leaf.shape for leaf in leaves]}."
            )
        return [jnp.asarray(row, leaf.dtype) for row, leaf in zip(given, leaves)], None
    if weights is None:
        return [], None
    try:
        spread = jax.tree.map(
            lambda weight, part: jax.tree.map(lambda leaf: jnp.broadcast_to(weight, leaf.shape), part),
            weights,
            jax.tree.unflatten(tree, leaves),
        )
    except ValueError as error:
        raise ValueError(
            "forward_laplacian: weights must be a PyTree that broadcasts to x, got shapes "
            f"{[jnp.shape(weight) for weight in jax.tree.leaves(weights)]} for {[leaf.shape for leaf in leaves]}."
        ) from error
    return [], jnp.concatenate([jnp.ravel(weight) for weight in jax.tree.leaves(spread)] or [jnp.zeros(0)])


def _seeds(leaves: list[jax.Array], rows: list[Any], sparse: bool) -> list["Bundle"]:
    """The inputs as bundles."""
    if rows:
        return [Bundle(leaf, row, None) for leaf, row in zip(leaves, rows)]
    count, start, bundles = sum(leaf.size for leaf in leaves), 0, []
    for leaf in leaves:
        numbers = np.arange(start, start + leaf.size).reshape(1, *leaf.shape)
        start += leaf.size
        bundle = Bundle(leaf, jnp.ones((1, *leaf.shape), leaf.dtype), None, Slots(numbers, count))
        # A handful of inputs leaves nothing to save.
        bundles.append(bundle if sparse and count > 2 else cast(Context(count, None), bundle, None))
    return bundles
