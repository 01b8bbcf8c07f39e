"""A function of PyTrees and several arguments, lifted once to a map from arrays to arrays.

Every operator is written for such a map; ``argnums``, PyTrees, auxiliary outputs, modules with leaves that are no
arrays, and the order of the answer's axes are dealt with here alone.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jaxcalc import checks
from jaxcalc.programs import walk

__all__ = [
    "NEEDS_NUMBERS",
    "Arrays",
    "LeafMap",
    "abstract",
    "hoisted",
    "is_concrete",
    "lift",
    "placed",
    "size",
    "spec_of",
    "split_arrays",
    "typed",
    "unravel",
    "with_vector",
]

Arrays = tuple[Any, ...]

# What is raised where a function asks a traced value for its number: by JAX, or because a tracer is no Python number.
NEEDS_NUMBERS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    AttributeError,
)


@dataclass(frozen=True, eq=False)
class LeafMap:
    """A map from a tuple of floating-point arrays to a tuple of arrays.

    Args:
      call: ``call(*inputs) -> (outputs, aux)``, both JAX types; traceable, differentiable.
      inputs: the arrays (or tracers, or ``ShapeDtypeStruct``) at which it is wanted.
      input_tree: from a list of one entry per input to the tree of the differentiated arguments; a leaf that is held
        fixed (no floating-point array) has ``None``.
      output_tree: from a list of one entry per output to the tree that the function returned when last called.
      extra: further arrays that an operator needs beside the inputs, such as the vector of a product.
      returned: shapes and dtypes of the outputs that the function last returned; ``None`` before.
    """

    call: Callable[..., tuple[Arrays, Any]]
    inputs: Arrays
    input_tree: Callable[[Sequence[Any]], Any] = field(repr=False)
    output_tree: Callable[[Sequence[Any]], Any] = field(repr=False)
    extra: Arrays = ()
    returned: Callable[[], Arrays | None] = field(default=lambda: None, repr=False)

    def at(self, *inputs: Any) -> "LeafMap":
        """The same map at other inputs."""
        return replace(self, inputs=inputs)

    def plain(self, *inputs: Any) -> Arrays:
        """The map without its auxiliary output."""
        return self.call(*inputs)[0]

    @functools.cached_property
    def outputs(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes and dtypes of the outputs; traces the function if it was not called yet."""
        return self.returned() or tuple(jax.eval_shape(self.plain, *self.inputs))

    @functools.cached_property
    def staged(self) -> "LeafMap":
        """The map without its auxiliary output, traced: what is traced several times runs the user's Python once."""
        return self.evaluated(jax.make_jaxpr(self.plain)(*abstract(self.inputs)), lambda inputs: inputs)

    def evaluated(self, jaxpr: ClosedJaxpr, operands: Callable[[Arrays], Sequence[Any]]) -> "LeafMap":
        """The map without its auxiliary output, by a program of it.

        Args:
          operands: from the map's inputs to the program's.
        """
        run = jaxpr_as_fun(jaxpr)
        # An output that is a literal of the program comes back as a number, which has no shape.
        call = lambda *inputs: (tuple(map(jnp.asarray, run(*operands(inputs)))), None)
        return replace(self, call=call, returned=lambda: None)

    @property
    def num_inputs(self) -> int:
        """n, the number of scalars that go in."""
        return size(self.inputs)

    @property
    def num_outputs(self) -> int:
        """m, the number of scalars that come out."""
        return size(self.outputs)


def size(arrays: Sequence[Any]) -> int:
    """Number of scalars in all arrays together."""
    return sum(math.prod(jnp.shape(array)) for array in arrays)


def abstract(tree: Any) -> Any:
    """The tree with shapes and dtypes in place of arrays, and how they are sharded."""
    return jax.tree.map(walk.type_of, tree)


def spec_of(like: Any) -> tuple[Any, ...]:
    """The mesh axes that an array's axes are split over by its type; as many ``None`` where by none."""
    sharding = like.sharding if isinstance(like, jax.ShapeDtypeStruct) else jax.typeof(like).sharding
    spec = tuple(sharding.spec) if walk.is_sharded(like) else ()
    return (*spec, *[None] * (len(like.shape) - len(spec)))


def placed(array: Any, spec: Sequence[Any]) -> Any:
    """The array split over those mesh axes, by its type; further axes over none."""
    spec = (*spec, *[None] * (array.ndim - len(spec)))
    if spec == spec_of(array):
        return array
    reshard = jax.reshard if hasattr(jax, "reshard") else jax.sharding.reshard
    return reshard(array, jax.sharding.PartitionSpec(*spec))


def typed(arrays: Any, like: Any) -> Any:
    """Arrays stacked on axis 0, each sharded as ``like`` where that one's type tells."""
    if not walk.is_sharded(like):
        return arrays
    # What JAX has for it differs by release; adding zeros of that type does it in all.
    zeros = placed(jnp.zeros_like(like), spec_of(like))
    return jax.vmap(jnp.add, (0, None))(arrays, zeros)


def is_concrete(tree: Any) -> bool:
    """Whether every leaf is an array that holds numbers: no tracer, no mere shape."""
    return not any(isinstance(leaf, (Tracer, jax.ShapeDtypeStruct)) for leaf in jax.tree.leaves(tree))


def with_vector(who: str, core: LeafMap, v: Any, of: str) -> LeafMap:
    """The map with a vector beside its inputs, checked against them.

    Args:
      of: what the inputs are called where the vector does not match.
    """
    checked = checks.vector(who, "v", v, of, core.input_tree(core.inputs))
    return replace(core, extra=tuple(jax.tree.leaves(checked)))


def split_arrays(
    args: Sequence[Any], *, numbers: bool = True
) -> tuple[list[Any], Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """The arrays (and shapes, and ``numbers`` of floating point) within arguments, and what puts others in place."""
    leaves, tree = jax.tree.flatten(tuple(args))
    kinds = (float, complex) if numbers else ()
    places = [i for i, leaf in enumerate(leaves) if _has_shape(leaf) or isinstance(leaf, kinds)]

    def unflatten(arrays: Sequence[Any]) -> tuple[Any, ...]:
        full = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            full[place] = array
        return jax.tree.unflatten(tree, full)

    return [leaves[i] if _has_shape(leaves[i]) else jnp.asarray(leaves[i]) for i in places], unflatten


def lift(
    who: str,
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    args: Sequence[Any],
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    complex_inputs: bool = False,
    check: Callable[[Arrays], Any] = lambda outputs: None,
) -> LeafMap:
    """The map of a function in some of its arguments.

    Args:
      who: the operator's name, for messages.
      fun: the function; with ``has_aux`` it returns ``(output, aux)``.
      argnums: which positional arguments vary; negative numbers count from the end.
      args: all arguments.
      holomorphic: whether complex inputs are meant.
      complex_inputs: whether they are taken of a real-valued function too, as ``jax.grad`` takes them.
      check: raises if the outputs are not what the operator takes.

    Raises:
      TypeError: where nothing varies, or where a derivative would be of the wrong kind (complex inputs without
        ``holomorphic``, real ones with it).
      ValueError: for an argument number out of range.
    """
    chosen = _argument_numbers(who, argnums, len(args))
    varying = args[chosen[0]] if isinstance(argnums, int) else tuple(args[i] for i in chosen)
    leaves, tree = jax.tree.flatten(varying)
    moving = [i for i, leaf in enumerate(leaves) if _is_inexact(leaf)]
    _check_inputs(who, leaves, moving, holomorphic, complex_inputs)
    inputs = tuple(leaves[i] if _has_shape(leaves[i]) else jnp.asarray(leaves[i]) for i in moving)
    last: list[Any] = [None, None]  # structure and shapes of what the function returned

    def call(*moved: Any) -> tuple[Arrays, Any]:
        full = list(leaves)
        for place, array in zip(moving, moved, strict=True):
            full[place] = array
        rebuilt = jax.tree.unflatten(tree, full)
        everything = list(args)
        for place, value in zip(chosen, (rebuilt,) if isinstance(argnums, int) else rebuilt):
            everything[place] = value
        result = fun(*everything)
        aux = None
        if has_aux:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise TypeError(f"{who}: with has_aux=True, fun must return a pair (output, aux), got {type(result)}.")
            result, aux = result
        outputs, structure = jax.tree.flatten(result)
        arrays = tuple(jnp.asarray(output) for output in outputs)
        last[:] = structure, abstract(arrays)
        if complex_inputs and not holomorphic and any(map(_is_complex, inputs)):
            checks.returns_floating(who, arrays)
        _check_outputs(who, arrays, holomorphic)
        check(arrays)
        return arrays, aux

    def input_tree(values: Sequence[Any]) -> Any:
        full: list[Any] = [None] * len(leaves)
        for place, value in zip(moving, values, strict=True):
            full[place] = value
        return jax.tree.unflatten(tree, full)

    output_tree = lambda values: jax.tree.unflatten(last[0], list(values))
    return LeafMap(call, inputs, input_tree, output_tree, returned=lambda: last[1])


def _argument_numbers(who: str, argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    chosen = (argnums,) if isinstance(argnums, int) else argnums
    for i in chosen:
        if not -count <= i < count:
            raise ValueError(f"{who}: argnums={argnums!r} names argument {i}, but fun was given {count}.")
    chosen = tuple(i % count for i in chosen)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{who}: argnums={argnums!r} names an argument twice.")
    return chosen


def _has_shape(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _is_inexact(leaf: Any) -> bool:
    if _has_shape(leaf):
        return jnp.issubdtype(leaf.dtype, jnp.inexact)
    return isinstance(leaf, (float, complex))


def _is_complex(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating)


def _check_inputs(
    who: str, leaves: Sequence[Any], moving: Sequence[int], holomorphic: bool, complex_inputs: bool
) -> None:
    if leaves and not moving:
        kinds = sorted({str(getattr(leaf, "dtype", type(leaf).__name__)) for leaf in leaves})
        raise TypeError(
            f"{who}: the differentiated arguments need a floating-point array, got {', '.join(kinds)}. "
            "Convert integers to floats, or choose other argnums."
        )
    for i in moving:
        is_complex = _is_complex(leaves[i])
        if holomorphic and not is_complex:
            raise TypeError(f"{who}: holomorphic=True needs complex inputs, got {jnp.result_type(leaves[i])}.")
        if is_complex and not (holomorphic or complex_inputs):
            reverse = ' name method="reverse" for jax.grad\'s convention,' if who == "jacobian" else ""
            raise TypeError(
                f"{who}: an input is complex ({jnp.result_type(leaves[i])}). Pass holomorphic=True if fun is "
                f"holomorphic, else{reverse} split it into real and imaginary parts."
            )


def _check_outputs(who: str, outputs: Sequence[Any], holomorphic: bool) -> None:
    for output in outputs:
        if not jnp.issubdtype(output.dtype, jnp.inexact):
            raise TypeError(
                f"{who}: fun returns {output.dtype}{list(output.shape)}, which has no derivative. "
                "Convert it to floats, or return it as aux with has_aux=True."
            )
        if holomorphic and not _is_complex(output):
            raise TypeError(f"{who}: holomorphic=True needs complex outputs, got {output.dtype}.")


def hoisted(fun: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """A function with the arrays that it closes over made an argument, ``opened(consts, *args)``; and those arrays.

    ``jax.closure_convert`` does as much and keeps every function that it was given as long as the process lives.
    """
    closed, shape = jax.make_jaxpr(fun, return_shape=True)(*args)

    def opened(consts: Sequence[Any], *args: Any) -> Any:
        outputs = jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, list(consts)))(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return opened, list(closed.consts)


def unravel(flat: Any, like: Sequence[Any]) -> Arrays:
    """A vector cut into arrays of those shapes and dtypes."""
    if not like:
        return ()
    ends = np.cumsum([math.prod(jnp.shape(leaf)) for leaf in like])
    parts = jnp.split(flat, ends[:-1]) if len(like) > 1 else [flat]
    return tuple(part.reshape(jnp.shape(leaf)).astype(leaf.dtype) for part, leaf in zip(parts, like))
