"""Which entries of a Jacobian or Hessian may differ from zero, read from the program that differentiation executes."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from scipy import sparse

from jaxcalc import checks
from jaxcalc.programs import walk
from jaxcalc.programs.sparsity.abstract_value import Fact, constant, unknown
from jaxcalc.programs.sparsity.reader import Opaque, Reader
from jaxcalc.programs.sparsity.sets import Links, Meter, Sets, Space, TooDense

__all__ = ["Pattern", "given_pattern", "hessian_pattern", "jacobian_pattern"]

Scope = Literal["global", "local"]
Route = Literal["tangent", "cotangent"]

# Words of the largest packed sets; beyond, sets are sparse rows.
_PACKED_WORDS = 1 << 20
# Work that any reading may take (words), and what each element of the program adds to it, outside and inside of loops.
_LEAST_WORK, _WORK_PER_ELEMENT, _WORK_IN_LOOPS = 2e8, 400, 2
# The cotangent program is read instead where the tangent program is this much work (words), and there are so many times
# fewer outputs than inputs: below, the second tracing costs more than it saves.
_MUCH, _FEWER = 4e6, 4


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which entries of a matrix of derivatives may differ from zero.

    Args:
      shape: (m, n): elements of all inexact output leaves, elements of all input leaves, each in the order of
        ``jax.tree.leaves`` and raveled; a complex element counts one. An integer input has empty columns.
      entries: what may differ from zero, as a boolean matrix with sorted indices; ``None`` if everything may.
      scope: ``"global"``: for all inputs of these shapes. ``"local"``: at one point, with its branches and indices.
      program: what it was read from.
      forward: whether forward mode can execute the function; it cannot push through a ``custom_vjp``.
      notes: names of operations whose outputs were taken to depend on all that reaches them.
    """

    shape: tuple[int, int]
    entries: Links | None
    scope: Scope
    program: Route
    forward: bool
    notes: tuple[str, ...] = ()

    @property
    def dense(self) -> bool:
        """Whether the reading stopped early, and every entry is taken to differ from zero."""
        return self.entries is None

    @functools.cached_property
    def matrix(self) -> Links:
        """The pattern as a boolean matrix with sorted indices, written out also where it is dense."""
        if self.entries is not None:
            return self.entries
        rows, columns = self.shape
        indices = np.tile(np.arange(columns, dtype=np.int32), rows)
        kind = np.int64 if rows * columns > np.iinfo(np.int32).max else np.int32
        indptr = (np.arange(rows + 1) * columns).astype(kind)
        return sparse.csr_array((np.ones(indices.size, bool), indices.astype(kind), indptr), shape=self.shape)

    @property
    def symmetric(self) -> "Pattern":
        """The pattern of a square matrix united with its transpose."""
        if self.entries is None:
            return self
        both = (self.entries + self.entries.T).tocsr()
        both.sort_indices()
        return dataclasses.replace(self, entries=both)

    @property
    def nnz(self) -> int:
        """Number of entries that may differ from zero."""
        return self.shape[0] * self.shape[1] if self.entries is None else int(self.entries.nnz)

    @property
    def density(self) -> float:
        """Share of the entries that may differ from zero; 0 for a matrix without entries."""
        return self.nnz / max(1, self.shape[0] * self.shape[1])


def given_pattern(who: str, pattern: Any) -> Pattern:
    """A user's own pattern; its scope is local, for whoever gives it may err.

    Args:
      who: the operator's name, for messages.
      pattern: a ``Pattern``, or a matrix of shape (m, n): truth values or numbers that may differ from zero, dense or
        sparse (SciPy's, or ``jax.experimental.sparse.BCOO`` with every entry that it stores).

    Raises:
      TypeError: for anything else, traced values too.
      ValueError: if it is no matrix.
    """
    if isinstance(pattern, Pattern):
        return dataclasses.replace(pattern, scope="local")
    if not sparse.issparse(pattern):
        if hasattr(pattern, "indices") and hasattr(pattern, "todense"):
            shape = checks.shaped(who, "pattern", tuple(pattern.shape), "m", "n")
            at = np.asarray(pattern.indices).reshape(-1, 2)
            at = at[(at < shape).all(1)]  # BCOO pads with entries beyond the end
            pattern = sparse.coo_array((np.ones(len(at), bool), tuple(at.T)), shape=shape)
        else:
            is_array = hasattr(pattern, "shape") and not isinstance(pattern, Tracer)
            dense = np.asarray(pattern if is_array else None)
            if dense.dtype.kind not in "biuf":
                expected = "a Pattern, or a matrix of truth values or numbers, dense or sparse"
                raise TypeError(f"{who}: pattern must be {expected}, got {type(pattern).__name__}.")
            checks.shaped(who, "pattern", dense.shape, "m", "n")
            pattern = sparse.coo_array(dense != 0)
    entries = sparse.csr_array(pattern, dtype=bool)
    entries.sum_duplicates()
    entries.sort_indices()
    entries.data[:] = True
    rows, columns = map(int, entries.shape or ())
    return Pattern((rows, columns), entries, "local", "tangent", True)


def jacobian_pattern(
    fun: Callable[..., Any],
    *args: Any,
    scope: Scope = "global",
    max_density: float = 1.0,
    tangent: walk.Program | None = None,
) -> Pattern:
    """Which entries of the Jacobian of a function, with respect to all leaves of all arguments, may differ from zero.

    The pattern is read off the program that forward mode executes, ``v -> J v``; so custom rules are in it as they act.
    Where that holds a ``custom_vjp``'s call, which cannot be read, it is read off ``u -> J' u`` instead. Coefficients
    are taken to be finite, and a factor that is zero in the program lets nothing pass.

    Args:
      fun: a function of arrays or PyTrees of arrays; it is traced, never run.
      *args: arrays, tracers, or ``jax.ShapeDtypeStruct``.
      scope: ``"global"`` holds for every input of these shapes. ``"local"`` takes the branches and indices that the
        values in ``args`` choose; it holds as long as those do not change, which the caller has to check.
      max_density: a pattern with more than this share of entries is given as dense.
      tangent: the program that forward mode executes, ``(*leaves, *tangents) -> J v``, if it has been traced already.

    Returns:
      A ``Pattern`` that holds every entry that differs from zero, and may hold more.

    Raises:
      ValueError: for an unknown scope, and for a local pattern without concrete arguments.

    Cost: proportional to the entries of the pattern times the operations of the program; a reading that costs more than
      a fixed multiple of that of a sparse pattern stops and answers dense.
    """
    checks.one_of("jacobian_pattern", "scope", scope, get_args(Scope))
    leaves = jax.tree.leaves(args)
    if scope == "local" and not all(_concrete(leaf) for leaf in leaves):
        raise ValueError(
            "jacobian_pattern: scope='local' needs concrete arguments, got a tracer or a ShapeDtypeStruct. Call it "
            "outside of jit, or use scope='global'."
        )
    shapes = jax.tree.map(_shape_of, args)
    values = leaves if scope == "local" else None
    tangent = walk.prune(_tangent(fun, shapes) if tangent is None else tangent)
    outputs = [i for i, value in enumerate(tangent.outputs) if value.inexact]
    m, n = sum(tangent.outputs[i].size for i in outputs), sum(_shape_of(leaf).size for leaf in leaves)
    forward = all(equation.name != "custom_lin" for equation in tangent.everything())

    notes: set[str] = set()

    def pattern(entries: Links | None, route: Route) -> Pattern:
        entries = None if entries is None or entries.nnz > max_density * m * n else entries
        return Pattern((m, n), entries, scope, route, forward, tuple(sorted(notes)))

    backward = m * _FEWER <= n and _elements(tangent) * n / 64 > _MUCH
    if backward or not forward:
        # Reverse mode does not execute everything; where forward mode does, that is no error.
        with contextlib.suppress(*((TypeError, ValueError, NotImplementedError) if forward else ())):
            return pattern(_transposed(fun, shapes, len(leaves), values, notes, max_density), "cotangent")
    return pattern(_read(tangent, outputs, len(leaves), values, notes, max_density), "tangent")


def hessian_pattern(
    fun: Callable[..., Any],
    *args: Any,
    scope: Scope = "global",
    max_density: float = 1.0,
    tangent: walk.Program | None = None,
) -> Pattern:
    """Which entries of the Hessian of a scalar function may differ from zero.

    It is the pattern of the Jacobian of ``jax.grad(fun)``, united with its transpose: a Hessian is symmetric, and where
    custom rules make the derivative of the gradient unsymmetric neither half is lost.

    Args:
      fun: returns a real scalar; differentiated with respect to all leaves of all arguments.
      *args, scope, max_density: as in ``jacobian_pattern``; integer leaves have empty rows and columns.
      tangent: that of the gradient, as there.

    Returns:
      A symmetric ``Pattern``.

    Raises:
      TypeError: if ``fun`` does not return a real scalar.
    """
    output = jax.eval_shape(fun, *jax.tree.map(_shape_of, args))
    checks.returns_scalar("hessian_pattern", output, "For a vector use jacobian_pattern.")

    def gradient(*primals):
        value, pull = jax.vjp(fun, *primals)
        return pull(jnp.ones_like(value))

    found = jacobian_pattern(gradient, *args, scope=scope, max_density=max_density, tangent=tangent)
    n = found.shape[1]
    if found.entries is None:
        return Pattern((n, n), None, scope, found.program, found.forward, found.notes)
    rows = _inexact_places(args)
    entries = found.entries.tocoo()
    wide = sparse.coo_array((entries.data, (rows[entries.coords[0]], entries.coords[1])), shape=(n, n)).tocsr()
    return Pattern((n, n), wide, scope, found.program, found.forward, found.notes).symmetric


def _inexact_places(args: Any) -> np.ndarray:
    """Numbers of the elements of inexact leaves among those of all leaves."""
    places, start = [np.zeros(0, np.int64)], 0
    for leaf in jax.tree.leaves(args):
        shape = _shape_of(leaf)
        if jnp.issubdtype(shape.dtype, jnp.inexact):
            places.append(np.arange(start, start + shape.size))
        start += shape.size
    return np.concatenate(places)


def _concrete(leaf: Any) -> bool:
    return not isinstance(leaf, (Tracer, jax.ShapeDtypeStruct))


def _shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    if walk.is_sharded(leaf):
        return walk.type_of(leaf)
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
    weak = bool(getattr(leaf, "weak_type", isinstance(leaf, (int, float, complex))))
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype, weak_type=weak)


def _tangent(fun: Callable[..., Any], shapes: Any) -> walk.Program:
    """Inputs ``(*x, *v)``, outputs ``J v``: like ``walk.tangent``, in one pass, which takes half as long to trace."""

    def push(primals, tangents):
        return jax.jvp(fun, primals, tangents)[1]

    return walk.trace(push, shapes, jax.tree.map(_tangent_of, shapes))


def _tangent_of(leaf: jax.ShapeDtypeStruct) -> Any:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return np.zeros(leaf.shape, jax.dtypes.float0)
    return leaf if walk.is_sharded(leaf) else jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _transposed(fun, shapes: Any, count: int, values: Any, notes: set[str], most: float = 1.0) -> Links | None:
    """The pattern read from the cotangent program."""
    program, _ = walk.cotangent(fun, *shapes)
    program = walk.prune(program)
    found = _read(program, range(len(program.outputs)), count, values, notes, most)
    if found is None:
        return None
    inputs = program.inputs[count:]
    inexact = np.concatenate([np.zeros(0, bool), *(np.full(value.size, value.inexact) for value in inputs)])
    flipped = found.T.tocsr()[np.flatnonzero(inexact)]
    flipped.sort_indices()
    return flipped


def _read(program: walk.Program, outputs, count: int, values: Any, notes: set[str], most: float = 1.0) -> Links | None:
    """Dependencies of outputs, stacked, on the inputs after the first ``count``, the point; ``None`` if dense.

    Args:
      most: share of entries beyond which a matrix counts as dense.
    """
    columns = sum(value.size for value in program.inputs[count:])
    sizes = [out.size for equation in program.equations for out in equation.outputs]
    largest = max([1, columns, *sizes])
    packed = largest * max(1, columns // 64) <= _PACKED_WORDS
    meter = Meter(_LEAST_WORK + _WORK_PER_ELEMENT * (sum(sizes) + columns) + _WORK_IN_LOOPS * _elements(program))
    space = Space(columns, packed, meter)
    facts: list[Fact] = []
    start = 0
    for number, value in enumerate(program.inputs):
        if number < count:
            facts.append(unknown(value) if values is None else constant(values[number], value, at_point=True))
            continue
        sets = space.identity(value.size, start) if value.inexact else None
        facts.append(Fact(value.shape, value.dtype, sets))
        start += value.size
    try:
        results = Reader(meter, notes).run(program, facts, space)
        parts: list[Sets] = []
        for number in outputs:
            fact = results[number]
            parts.append(space.empty(fact.size) if fact.sets is None else fact.sets)
        stacked = space.stack(parts) if parts else space.empty(0)
        if stacked.count > most * columns * stacked.rows:
            return None  # writing a full matrix out takes longer than reading it
        whole = stacked.matrix()
    except (TooDense, Opaque):
        return None
    whole.sort_indices()
    return whole


def _elements(program: walk.Program) -> int:
    """Elements that a run of the program computes, loops of known length as often as they run."""
    total = 0
    for equation in program.equations:
        total += sum(out.size for out in equation.outputs)
        times = equation.nested.length if isinstance(equation.nested, walk.Scan) else 1
        total += times * sum(map(_elements, walk.nested_programs(equation.nested)))
    return total
