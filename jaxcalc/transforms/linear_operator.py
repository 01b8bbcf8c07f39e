"""A derivative at a point as a linear operator: linearised once, multiplied as often as one likes."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.flatten_util import ravel_pytree

from jaxcalc import checks
from jaxcalc.programs import walk
from jaxcalc.programs.sparsity import jacobian_pattern
from jaxcalc.transforms.guards import own_transfers, sending
from jaxcalc.transforms.hessian import hessian
from jaxcalc.transforms.jacobian import jacobian
from jaxcalc.transforms.lifting import lift, size, unravel
from jaxcalc.transforms.products import gauss_newton, ggn_vp, gradient, linearized

__all__ = ["LinearOperator", "linear_operator"]

# A diagonal is read off coloured products where less than this share of the matrix may be nonzero.
_SPARSE = 0.1
# Products at a time where a diagonal takes one for each entry.
_BATCH = 64


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["value", "constants"],
    meta_fields=["name", "jaxpr", "inputs", "outputs", "transposed"],
)
@dataclass(frozen=True)
class LinearOperator:
    """A linear map between PyTrees; a PyTree itself, to be passed through ``jit``, ``vmap`` and loops.

    ``mv``, ``as_matrix``, ``transpose``, ``T``, ``in_structure``, ``out_structure``, ``in_size`` and ``out_size`` are
    named as lineax names them (``lineax.FunctionLinearOperator(A.mv, A.in_structure())`` takes it to its solvers), and
    a call is ``mv``, as matfree's functions want.

    Args:
      value: what came with linearising: of a Jacobian ``fun``'s output, of a Hessian the gradient, of a Gauss-Newton
        matrix the model's output.
      constants: what the linear program keeps of the point.
      name: of the operator that made it.
      jaxpr: the linear program.
      inputs, outputs: the structures that the program maps from and to, as pairs of a tree and its leaves' types.
      transposed: whether the map is that of the program or its transpose.
    """

    value: Any
    constants: tuple[Any, ...] = field(repr=False)
    name: str
    jaxpr: Any = field(repr=False)
    inputs: tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]
    outputs: tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]
    transposed: bool = False

    def in_structure(self) -> Any:
        """Shapes and dtypes of what it is multiplied with."""
        tree, leaves = self.outputs if self.transposed else self.inputs
        return jax.tree.unflatten(tree, leaves)

    def out_structure(self) -> Any:
        """Shapes and dtypes of the products."""
        tree, leaves = self.inputs if self.transposed else self.outputs
        return jax.tree.unflatten(tree, leaves)

    def in_size(self) -> int:
        """n, the number of columns."""
        return size(jax.tree.leaves(self.in_structure()))

    def out_size(self) -> int:
        """m, the number of rows."""
        return size(jax.tree.leaves(self.out_structure()))

    def transpose(self) -> "LinearOperator":
        """The transposed operator; nothing is linearised anew."""
        return dataclasses.replace(self, transposed=not self.transposed)

    @property
    def T(self) -> "LinearOperator":
        """``transpose()``."""
        return self.transpose()

    def mv(self, v: Any) -> Any:
        """The product ``A v``.

        Args:
          v: structured and shaped as ``in_structure()``.

        Raises:
          ValueError: for another structure or shape. TypeError: for a vector that is complex where it must be real.
        """
        return self._times(v, "mv", "in_structure()", self.in_structure(), self.transposed)

    __call__ = mv

    def rmv(self, u: Any) -> Any:
        """The product ``A' u``, without conjugation; ``u`` structured and shaped as ``out_structure()``."""
        return self._times(u, "rmv", "out_structure()", self.out_structure(), not self.transposed)

    def _times(self, v: Any, who: str, of: str, model: Any, back: bool) -> Any:
        leaves = jax.tree.leaves(checks.vector(f"LinearOperator.{who}", "the vector", v, of, model))
        program = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, self.constants))
        push = lambda *x: tuple(program(*x))
        pull = lambda *u: jax.linear_transpose(push, *self.inputs[1])(u)
        structure = (self.inputs if back else self.outputs)[0]
        return jax.tree.unflatten(structure, (pull if back else push)(*leaves))

    def as_matrix(self) -> jax.Array:
        """The matrix, (m, n), by the route that ``jacobian`` plans."""
        return jacobian(self._flat)(self._zero())

    @sending
    def columns(self, numbers: Sequence[int] | np.ndarray) -> jax.Array:
        """Some columns of the matrix, (m, k), a product each."""
        return jax.vmap(self._flat, out_axes=1)(self._units("columns", numbers, self.in_size()))

    @sending
    def rows(self, numbers: Sequence[int] | np.ndarray) -> jax.Array:
        """Some rows of the matrix, (k, n), a product with the transpose each."""
        return jax.vmap(self.T._flat)(self._units("rows", numbers, self.out_size()))

    @sending
    def block(self, rows: Sequence[int] | np.ndarray, columns: Sequence[int] | np.ndarray) -> jax.Array:
        """The entries where some rows and columns cross, by whichever of them are fewer."""
        places = np.asarray(rows), np.asarray(columns)
        if len(places[0]) < len(places[1]):
            self._units("columns", columns, self.in_size())
            return self.rows(rows)[:, places[1]]
        self._units("rows", rows, self.out_size())
        return self.columns(columns)[places[0]]

    @sending
    def diagonal(self) -> jax.Array:
        """The diagonal of a square matrix, (n,).

        Raises:
          ValueError: if it is not square.

        Cost: as many products as colours where the matrix is sparse, else n, a few at a time.
        """
        n = self.in_size()
        if self.out_size() != n:
            raise ValueError(
                f"LinearOperator.diagonal: the matrix must be square, got shape ({self.out_size()}, {n}). "
                "Take a block of it."
            )
        pattern = jacobian_pattern(self._flat, self._zero(), max_density=_SPARSE)
        if pattern.dense:
            return jax.lax.map(lambda i: self._flat((jnp.arange(n) == i) * 1.0)[i], jnp.arange(n), batch_size=_BATCH)
        matrix = jacobian(self._flat, output_format="bcoo")(self._zero())
        on = matrix.indices[:, 0] == matrix.indices[:, 1]
        entries = jnp.where(on, matrix.data, 0)
        return jnp.zeros(n, entries.dtype).at[matrix.indices[:, 0]].add(entries)

    def _zero(self) -> jax.Array:
        return jnp.zeros(self.in_size(), jnp.result_type(*jax.tree.leaves(self.in_structure())))

    def _flat(self, v: Any) -> jax.Array:
        """The map of raveled vectors."""
        leaves, tree = jax.tree.flatten(self.in_structure())
        return ravel_pytree(self.mv(jax.tree.unflatten(tree, unravel(v, leaves))))[0]

    def _units(self, name: str, numbers: Any, count: int) -> jax.Array:
        numbers = np.asarray(numbers)
        checks.shaped(f"LinearOperator.{name}", "numbers", numbers.shape, "k")
        for number in numbers:
            checks.integer(f"LinearOperator.{name}", "each number", number, least=-count, most=count - 1)
        dtype = jnp.result_type(*self.inputs[1], *self.outputs[1])
        return jnp.asarray((numbers % max(count, 1))[:, None] == np.arange(count), dtype)


def linear_operator(
    operator: Callable[..., Any], fun: Callable[..., Any], /, *args: Any, argnums: Any = 0, loss: Any = None
) -> LinearOperator:
    """A matrix of derivatives at a point, without the matrix: linearised once, for many products.

        jacobian: v -> J(x) v        hessian: v -> H(x) v        ggn_vp: v -> J' H_loss J v

    Args:
      operator: ``jacobian``, ``hessian`` (of a scalar ``fun``) or ``ggn_vp`` (``fun`` is the model).
      fun: from arrays or PyTrees to an array or PyTree.
      args: its arguments.
      argnums: the positional argument or arguments to differentiate in.
      loss: for ``ggn_vp``, from the model's output to a scalar.

    Returns:
      A ``LinearOperator``: ``mv``, ``rmv``, ``as_matrix``, ``diagonal``, ``columns``, ``rows``, ``block``; its
      ``value`` came for nothing.

    Raises:
      TypeError: for another operator, a loss where none belongs or none where one does, or a Hessian of what is no
        scalar.

    Cost: one evaluation with its linearisation, whose intermediate results are kept; a product then costs about as
      much as an evaluation, without the function's own part.
    """
    who = "linear_operator"
    names = {jacobian: "jacobian", hessian: "hessian", ggn_vp: "ggn_vp"}
    name = names.get(operator) if callable(operator) else None
    if name is None:
        raise TypeError(f"{who}: the operator must be jacobian, hessian or ggn_vp, got {operator!r}.")
    checks.function(who, fun)
    if name != "ggn_vp" and loss is not None:
        raise TypeError(f"{who}: loss belongs to ggn_vp alone, got {loss!r} with {name}. Leave it out.")
    with own_transfers() as guarded:
        core = lift(who, guarded(fun), checks.argument_numbers(who, argnums), args)
        domain = core.input_tree(core.inputs)
        match name:
            case "jacobian":
                outputs, push, _ = linearized(core.plain, core.inputs)
                value = codomain = core.output_tree(outputs)
            case "hessian":
                checks.returns_scalar(who, core.outputs)
                outputs, push, _ = linearized(gradient(core), core.inputs)
                value = codomain = core.input_tree(outputs)
            case _:
                outputs, push = gauss_newton(who, core, guarded(checks.function(who, loss, "loss")))
                value, codomain = core.output_tree(outputs), domain
        closed = jax.make_jaxpr(lambda *v: tuple(push(*v)))(*core.inputs)
    return LinearOperator(value, tuple(closed.consts), name, closed.jaxpr, _structure(domain), _structure(codomain))


def _structure(tree: Any) -> tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(map(walk.type_of, leaves))
