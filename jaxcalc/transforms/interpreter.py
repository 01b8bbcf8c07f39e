"""A program run on more than numbers: each value may carry its derivatives along.

What is carried, and how one primitive acts on it, is an ``Algebra``; how a program runs on it (loops, branches, what
depends on the inputs and what does not) is the same for all, and is here. So is what several of them ask about a
primitive: whether its second derivative vanishes, whether it is a product, whether it acts element by element.
"""

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.extend.core import Primitive

from jaxcalc.programs import primitives, walk
from jaxcalc.programs.walk import Branches, Equation, Program, Scan, Solve, While

__all__ = [
    "KEPT",
    "Algebra",
    "along",
    "author",
    "authored",
    "bilinear",
    "bind",
    "elementwise",
    "elementwise_body",
    "flat",
    "known",
    "program_of",
    "propagate",
    "refusal",
    "repeats_itself",
    "unsymmetrized",
]

# Calls that a propagation must not look into: their derivative is what their author says, and not their body's.
KEPT = ("custom_jvp_call", "custom_vjp_call")


class Algebra(NamedTuple):
    """What is carried beside a value, and what a primitive does to it.

    A *bundle* is a PyTree of arrays that stands for one value and all that it carries; its *kind* is hashable and tells
    how the bundle is laid out, ``None`` being a plain array, which carries nothing.

    Args:
      carried: whether an operand is a bundle, and no plain array.
      value: the plain array of either.
      apply: from an equation and its operands, at least one of them a bundle, to its outputs.
      settle: the operand, with nothing left to be worked out later.
      kind: of a settled operand.
      join: the least kind that can hold what either of two kinds holds.
      cast: from a settled operand and a kind that can hold it, to one of that kind.
      top: the kind that holds whatever can be carried.
      split: the settled bundle with the value's leading axis leading every array, as ``lax.scan`` takes it apart.
      merge: the inverse of ``split``.
      otherwise: from an equation and its settled operands to its outputs, for a rule of its author's that cannot be
        followed; it may raise ``refusal``.
    """

    carried: Callable[[Any], bool]
    value: Callable[[Any], Any]
    apply: Callable[[Equation, list[Any]], list[Any]]
    settle: Callable[[Any], Any]
    kind: Callable[[Any], Any]
    join: Callable[[Any, Any], Any]
    cast: Callable[[Any, Any], Any]
    top: Any
    split: Callable[[Any], Any]
    merge: Callable[[Any], Any]
    otherwise: Callable[[Equation, list[Any]], list[Any]]


def program_of(fun: Callable[..., Any], *args: Any) -> Program:
    """The program of a function, with the calls that have rules of their own left whole."""
    return walk.trace(fun, *args, keep=KEPT)


# -- running a program ---------------------------------------------------------------------------------------------


def propagate(algebra: Algebra, program: Program, operands: Sequence[Any]) -> list[Any]:
    """The outputs of a program on plain arrays and bundles, settled. What no bundle reaches stays plain."""
    held: dict[Any, Any] = dict(zip(program.inputs, operands, strict=True))
    last_use = {value: i for i, equation in enumerate(program.equations) for value in equation.inputs}
    kept = set(program.outputs)

    def read(value):
        return held[value] if value.literal is None or value in held else value.literal

    for i, equation in enumerate(program.equations):
        taken = [read(value) for value in equation.inputs]
        held.update(zip(equation.outputs, _step(algebra, equation, taken), strict=True))
        for value in equation.inputs:
            if last_use[value] == i and value not in kept:
                held.pop(value, None)
    return [algebra.settle(read(value)) for value in program.outputs]


def _step(algebra: Algebra, equation: Equation, operands: list[Any]) -> list[Any]:
    """One equation."""
    if not any(map(algebra.carried, operands)):
        return _plain(equation, operands)
    nested = equation.nested
    if isinstance(nested, (Scan, While, Branches)):
        operands = [algebra.settle(operand) for operand in operands]
    match nested:
        case Scan():
            return _scan(algebra, nested, operands)
        case While():
            return _while(algebra, nested, operands)
        case Branches():
            return _branches(algebra, nested, operands)
    if not any(value.inexact for value in equation.outputs) or equation.name == "stop_gradient":
        return bind(equation, *map(algebra.value, operands))
    if primitives.of(equation.name).kind == "identity" and not elementwise(
        equation, list(map(algebra.carried, operands))
    ):
        return _renamed(algebra, equation, operands)
    if equation.name == "custom_vjp_call" or (equation.name == "custom_jvp_call" and not repeats_itself(equation)):
        return algebra.otherwise(equation, list(map(algebra.settle, operands)))
    return algebra.apply(equation, operands)


def _renamed(algebra: Algebra, equation: Equation, operands: list[Any]) -> list[Any]:
    """An identity: a name, a barrier, a sharding or a place for each array of a bundle as for the value itself."""
    operands = [algebra.settle(operand) for operand in operands]
    shapes = [value.shape for value in equation.inputs]
    if equation.name == "optimization_barrier":  # one for all arrays together
        leaves, structure = jax.tree.flatten(operands)
        return jax.tree.unflatten(structure, bind(equation, *leaves))
    if len(operands) > 1:  # parameters are one an operand, as a device's: so are the arrays of one place in each bundle
        flat, structures = zip(*(jax.tree.flatten(operand) for operand in operands))
        moved = [
            bind(equation, *(leaves[min(place, len(leaves) - 1)] for leaves in flat))
            for place in range(max(map(len, flat)))
        ]
        return [
            jax.tree.unflatten(structure, [row[number] for row in moved[: len(leaves)]])
            for number, (leaves, structure) in enumerate(zip(flat, structures))
        ]

    def through(array):
        rows = array.ndim - len(shapes[0])
        one = lambda array: bind(equation, array)[0]
        return functools.reduce(lambda fun, _: jax.vmap(fun), range(rows), one)(array)

    return [jax.tree.map(through, operands[0])]


def _scan(algebra: Algebra, scan: Scan, operands: list[Any]) -> list[Any]:
    first, after = scan.num_constants, scan.num_constants + scan.num_carry
    constants, carry = operands[:first], operands[first:after]
    slices = [algebra.split(operand) for operand in operands[after:]]

    def body(carried, inputs):
        outputs = propagate(algebra, scan.body, [*map(algebra.settle, constants), *carried, *inputs])
        return outputs[: scan.num_carry], outputs[scan.num_carry :]

    def shapes(carried):
        one = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), slices)
        return jax.eval_shape(body, carried, one)[0]

    carry = _steady(algebra, shapes, carry)
    kinds = [algebra.kind(entry) for entry in carry]

    def step(carried, inputs):
        after, outputs = body(carried, inputs)
        return _as(algebra, after, kinds, carried), outputs

    carry, stacked = lax.scan(step, carry, slices, scan.length, scan.reverse, scan.unroll)
    return [*carry, *map(algebra.merge, stacked)]


def _while(algebra: Algebra, loop: While, operands: list[Any]) -> list[Any]:
    first, second = loop.num_condition_constants, loop.num_condition_constants + loop.num_body_constants
    tested = list(map(algebra.value, operands[:first]))
    constants, carry = operands[first:second], operands[second:]

    def test(carried):
        return propagate(algebra, loop.condition, [*tested, *map(algebra.value, carried)])[0]

    def body(carried):
        after = propagate(algebra, loop.body, [*map(algebra.settle, constants), *carried])
        if not loop.condition.outputs[0].shape:
            return after
        # A vmapped loop turns until all of its lanes have ended, and changes those alone that have not.
        going = test(carried)
        return [_chosen(algebra, going, new, old) for new, old in zip(after, carried)]

    carry = _steady(algebra, lambda carried: jax.eval_shape(body, carried), carry)
    kinds = [algebra.kind(entry) for entry in carry]
    return lax.while_loop(
        lambda carried: jnp.any(test(carried)), lambda carried: _as(algebra, body(carried), kinds, carried), carry
    )


def _chosen(algebra: Algebra, going: Any, after: Any, before: Any) -> Any:
    """A carry after a trip in the lanes that are still going, as it was in the others."""
    values = [algebra.value(after), algebra.value(before)]

    def choose(flags, new, old):
        return jnp.where(lax.broadcast_in_dim(flags, new.shape, range(flags.ndim)), new, old)

    return propagate(algebra, program_of(choose, going, *values), [going, after, before])[0]


def _branches(algebra: Algebra, choice: Branches, operands: list[Any]) -> list[Any]:
    index, taken = algebra.value(operands[0]), operands[1:]
    runs = [functools.partial(propagate, algebra, branch) for branch in choice.branches]
    shapes = [jax.eval_shape(run, taken) for run in runs]
    kinds = [functools.reduce(algebra.join, map(algebra.kind, entries)) for entries in zip(*shapes)]

    def cast_to(run):
        return lambda inputs: _as(algebra, run(inputs), kinds, shapes[0])

    return lax.switch(jnp.asarray(index, jnp.int32), list(map(cast_to, runs)), taken)


def _steady(algebra: Algebra, shapes: Callable[[list[Any]], list[Any]], carry: list[Any]) -> list[Any]:
    """The carry of a loop, of the least kinds that a trip does not leave."""
    carry = [jax.tree.map(jnp.asarray, entry) for entry in carry]
    for trip in itertools.count():
        before = [algebra.kind(entry) for entry in carry]
        after = [algebra.kind(entry) for entry in shapes(carry)]
        joined = list(map(algebra.join, before, after))
        if joined == before:
            return carry
        if trip >= 2:  # a pattern that spreads with every trip: do not follow it to the end
            joined = [kind if kind == old else algebra.top for kind, old in zip(joined, before)]
        carry = [algebra.cast(entry, kind) for entry, kind in zip(carry, joined)]
    raise AssertionError("unreachable")


def _as(algebra: Algebra, entries: list[Any], kinds: list[Any], like: list[Any]) -> list[Any]:
    """Entries of given kinds, of the dtypes of others (a weak type would make a loop's carry unsteady)."""
    cast = [algebra.cast(entry, kind) for entry, kind in zip(entries, kinds)]
    dtypes = [jax.tree.leaves(entry)[0].dtype for entry in like]  # all of a bundle's arrays have its value's
    return [jax.tree.map(lambda array, dtype=dtype: _to(array, dtype), entry) for entry, dtype in zip(cast, dtypes)]


def _to(array: Any, dtype: Any) -> Any:
    return array if jnp.issubdtype(dtype, jax.dtypes.extended) else lax.convert_element_type(array, dtype)


_FOLDED = 1 << 16  # elements; index arithmetic below this is worked out while tracing


def _plain(equation: Equation, operands: list[Any]) -> list[Any]:
    """An equation that nothing carried reaches; integers worked out at once where they can be, for indices' sake."""
    discrete = all(not value.inexact and value.size <= _FOLDED for value in (*equation.inputs, *equation.outputs))
    if discrete and not equation.nested and all(map(known, operands)):
        with jax.ensure_compile_time_eval():
            return bind(equation, *operands)
    return bind(equation, *operands)


def known(operand: Any) -> bool:
    """Whether an array's numbers are there while the program is being traced."""
    return not isinstance(operand, Tracer) and not jnp.issubdtype(jnp.result_type(operand), jax.dtypes.extended)


def bind(equation: Equation, *operands: Any) -> list[Any]:
    """The outputs of an equation's primitive on plain arrays."""
    params = equation.primitive.get_bind_params(equation.params)
    functions, params = ((), params) if isinstance(params, dict) else params
    outputs = equation.primitive.bind(*functions, *operands, **params)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def author(equation: Equation) -> str:
    """The name of the function behind a call, for messages."""
    called = getattr(equation.params.get("call_jaxpr"), "jaxpr", None)
    return getattr(getattr(called, "debug_info", None), "func_name", None) or "a function"


def along(equation: Equation, operands: Sequence[Any], moving: Sequence[bool]) -> Callable[..., list[Any]]:
    """The equation as a function of its moving operands alone, to its floating-point outputs."""

    def fun(*moved):
        rest = iter(moved)
        outputs = bind(equation, *(next(rest) if move else operand for operand, move in zip(operands, moving)))
        return [output for output, value in zip(outputs, equation.outputs) if value.inexact]

    return fun


def refusal(who: str, equation: Equation, remedy: str = "") -> Exception:
    """The error for a custom rule that cannot be followed, which says what to do."""
    if equation.name == "custom_vjp_call":
        return NotImplementedError(
            f"{who}: fun calls {author(equation)}, a jax.custom_vjp function, which has no forward derivative. "
            f"Define it with jax.custom_jvp{remedy}."
        )
    return NotImplementedError(
        f"{who}: the jax.custom_jvp rule of {author(equation)} does not return the function's own value, so that its "
        "second derivative is not that of its first. Call the function itself in the rule, or use method='nested'."
    )


# Where JAX keeps custom rules and solves of its own whose matrix and function nobody gives: not those of
# scipy.sparse, custom_root or solves that are told to be symmetric.
_HERE = os.path.join(os.path.dirname(jax.__file__), "_src")
_RULES = tuple(
    os.path.join(_HERE, *place)
    for place in (
        ("numpy", ""),
        ("nn", ""),
        ("scipy", "special.py"),
        ("third_party", "scipy", "special.py"),
        ("lax", "other.py"),
    )
)
_SOLVES = (os.path.join(_HERE, "lax", "linalg.py"),)

# Primitives of JAX's own, whose derivatives and transposes are those of what they compute.
_OWN = (
    frozenset(
        primitive.name
        for module in (lax, lax.linalg)
        for primitive in vars(module).values()
        if isinstance(primitive, Primitive)
    )
    | primitives.TABLE.keys()
    | {"jit", "psum_invariant", "shard_map"}
)


def authored(equation: Equation) -> str:
    """What in an equation has a derivative or a transpose that is its author's word; empty where nothing has.

    Safe among the custom rules are those of one argument, element by element, that give the function itself beside
    its tangent: they have a potential. Of a primitive that is not JAX's own nothing is known.
    """
    moving = [value.inexact for value in equation.inputs]
    if not any(moving) or not any(value.inexact for value in equation.outputs):
        return ""  # nothing to differentiate
    match equation.name:
        case "custom_vjp_call":
            return "a custom_vjp"
        case "custom_jvp_call":
            if _written_in(equation.params.get("call_jaxpr"), _RULES):
                return ""
            safe = sum(moving) == 1 and elementwise(equation, moving) and repeats_itself(equation)
            return "" if safe else "a custom_jvp"
        case "custom_linear_solve":
            parts = equation.params.get("jaxprs")
            if parts is None or parts.solve is parts.transpose_solve:
                return "a custom_linear_solve"
            return "" if all(_written_in(part, _SOLVES) for part in parts) else "a custom_linear_solve"
    return "" if equation.name in _OWN else f"the primitive {equation.name}"


# Their derivatives are those of symmetric matrices, whatever their operand.
_OF_SYMMETRIC = frozenset({"cholesky", "eigh"})


def unsymmetrized(program: Program) -> str:
    """What in a program takes a matrix for symmetric that it was not made to be; empty where nothing does.

    JAX's public functions average a matrix with its transpose first, where they are not told to leave it.
    """
    for equations in (
        program.equations,
        *(inner.equations for each in program.everything() for inner in walk.nested_programs(each.nested)),
    ):
        makers = {value: equation for equation in equations for value in equation.outputs}
        for equation in equations:
            if equation.name not in _OF_SYMMETRIC or equation.inputs[0].shape[-1] == 1:
                continue
            if not _averaged(equation.inputs[0], makers):
                return f"{equation.name} of a matrix that need not be symmetric"
    return ""


def _averaged(value: Any, makers: dict[Any, Equation]) -> bool:
    """Whether a value is ``(x + x') / 2``, or a constant."""
    if value.literal is not None:
        return True
    maker = makers.get(value)
    while maker is not None and maker.name in ("div", "mul", "convert_element_type", "copy"):
        whole = [operand for operand in maker.inputs if operand.size != 1]  # scaled by numbers alone
        maker = makers.get(whole[0]) if len(whole) == 1 else None
    if maker is None or maker.name not in ("add", "add_any"):
        return False
    first, second = maker.inputs

    def transposes(one: Any, other: Any) -> bool:
        made = makers.get(one)
        while made is not None and made.name in ("conj", "copy", "real"):
            one = made.inputs[0]
            made = makers.get(one)
        return made is not None and made.name == "transpose" and made.inputs[0] is other

    return transposes(first, second) or transposes(second, first)


def _written_in(jaxpr: Any, files: tuple[str, ...]) -> bool:
    """Whether the function behind a jaxpr stands in some of the files, by what tracing noted of it."""
    source = str(getattr(getattr(getattr(jaxpr, "jaxpr", jaxpr), "debug_info", None), "func_src_info", ""))
    return source.rpartition(" at ")[2].startswith(files)


def repeats_itself(equation: Equation) -> bool:
    """Whether a custom rule gives its own function as the value beside the tangent.

    One that gives a plain expression has another derivative the second time, so that one series does not describe it.
    """
    like = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in equation.inputs]
    moving = [value.inexact for value in equation.inputs]
    moved = tuple(shape for shape, move in zip(like, moving) if move)
    rule = lambda fixed, x, t: jax.jvp(along(equation, fixed, moving), x, t)[0]
    program = program_of(rule, like, moved, moved)
    makers = {value: inner.name for inner in program.equations for value in inner.outputs}
    return all(makers.get(value, "custom_jvp_call") == "custom_jvp_call" for value in program.outputs)


# -- what kind of function a primitive is --------------------------------------------------------------------------

_PRODUCTS = frozenset(("mul", "dot_general", "conv_general_dilated"))


def flat(equation: Equation, moving: Sequence[bool]) -> bool:
    """Whether the second derivative in the moving operands vanishes wherever it exists."""
    if primitives.of(equation.name).linear:
        return True
    match equation.name:
        case "abs" | "rem":  # |z| of a complex number is no piecewise linear function of it
            return not any(jnp.issubdtype(value.dtype, jnp.complexfloating) for value in equation.inputs)
        case "mul" | "dot_general" | "conv_general_dilated":
            return sum(moving) == 1
        case "div":
            return not moving[1]
        case "triangular_solve":
            return not moving[0]
        case "custom_linear_solve":
            fixed = sum(equation.nested.constants.values()) if isinstance(equation.nested, Solve) else 0
            return not any(moving[:fixed])
    return False


def bilinear(equation: Equation, moving: Sequence[bool]) -> bool:
    """Whether the equation is a product of its two operands, both moving."""
    return equation.name in _PRODUCTS and len(moving) == 2 and all(moving)


def elementwise(equation: Equation, moving: Sequence[bool]) -> bool:
    """Whether each output element depends, of the moving operands, on the element at its own place alone.

    Real numbers only: a complex function need not be holomorphic, and its derivative then is no factor.
    """
    shape = equation.outputs[0].shape
    if any(move and value.shape != shape for value, move in zip(equation.inputs, moving)):
        return False
    if any(jnp.issubdtype(value.dtype, jnp.complexfloating) for value in (*equation.inputs, *equation.outputs)):
        return False
    if equation.name == "custom_jvp_call":
        return len(equation.outputs) == 1 and _elementwise_rule(equation, moving)
    return len(equation.outputs) == 1 and primitives.of(equation.name).kind in ("elementwise", "identity")


def _elementwise_rule(equation: Equation, moving: Sequence[bool]) -> bool:
    """Whether a custom rule's first two derivatives are computed element by element; it may hold anything."""
    like = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in equation.inputs]
    moved = tuple(shape for shape, move in zip(like, moving) if move)

    def twice(fixed, x, t, s):
        fun = along(equation, fixed, moving)
        return jax.jvp(lambda *y: jax.jvp(fun, y, t), x, s)

    program = walk.prune(walk.trace(twice, like, moved, moved, moved))
    return _elementwise_program(program, range(len(like), len(program.inputs)))


def elementwise_body(equation: Equation, moving: Sequence[bool]) -> bool:
    """Whether what a call with a custom rule computes is, element by element; the rule may differentiate by a loop."""
    shape = equation.outputs[0].shape
    if len(equation.outputs) != 1 or any(move and value.shape != shape for value, move in zip(equation.inputs, moving)):
        return False
    program = walk.prune(walk.read(equation.params["call_jaxpr"]))
    return _elementwise_program(program, [i for i, move in enumerate(moving) if move])


def _elementwise_program(program: Program, inputs: Sequence[int]) -> bool:
    reached = walk.dependents(program, inputs)
    for inner in program.equations:
        inside = [value in reached for value in inner.inputs]
        if any(inside) and (inner.nested is not None or not elementwise(inner, inside)):
            return False
    return True
