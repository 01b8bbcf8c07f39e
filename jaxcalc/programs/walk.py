"""The one traversal of jaxprs: every other reader of programs sees what is defined here, and no jaxpr.

``read`` turns a jaxpr into a ``Program``: a flat list of equations in which all plain calls (``jit``, custom rules,
``remat``, ...) are inlined, and only what needs thought of its own stays nested: ``Scan``, ``While``, ``Branches``,
``Solve`` and ``Shards``. What differs between versions of JAX (names of primitives and of parameters, open and closed
jaxprs, nested tuples of counts) is known to this file alone.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core

__all__ = [
    "Branches",
    "Equation",
    "Nested",
    "Program",
    "Scan",
    "Shards",
    "Solve",
    "Value",
    "While",
    "cotangent",
    "dependents",
    "fingerprint",
    "nested_programs",
    "prune",
    "read",
    "tangent",
    "trace",
]


class Value:
    """One array of a program; two are the same array iff they are the same object.

    Args:
      shape, dtype: of the array; an extended dtype (a random key) has the size that its data have.
      literal: its value where the program holds it as a constant (a number, a numpy or JAX array, or under ``jit`` a
        tracer), else ``None``.
      weak: whether its type is weak, as a Python number's is.
    """

    __slots__ = ("dtype", "literal", "shape", "weak")

    def __init__(self, shape: Sequence[int], dtype: Any, literal: Any = None, weak: bool = False):
        self.shape, self.dtype, self.literal, self.weak = tuple(shape), dtype, literal, weak

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        if jnp.issubdtype(self.dtype, jax.dtypes.extended):
            return int(getattr(self.dtype, "itemsize", 8))
        return int(self.dtype.itemsize)

    @property
    def bytes(self) -> int:
        """Bytes of the whole array."""
        return self.size * self.itemsize

    @property
    def constant(self) -> bool:
        """Whether its value is known where the program is compiled."""
        return self.literal is not None and not isinstance(self.literal, Tracer)

    @property
    def inexact(self) -> bool:
        """Whether it has a derivative: a real or complex floating-point type."""
        return bool(jnp.issubdtype(self.dtype, jnp.inexact))

    def __repr__(self) -> str:
        return f"Value({self.dtype}{list(self.shape)})"


@dataclass(frozen=True)
class Scan:
    """A loop of known length.

    Its equation's inputs are constants, carry, stacked inputs; its outputs are carry, stacked outputs. ``body`` takes
    constants, carry, a slice of each stacked input, and returns carry, a slice of each stacked output.
    """

    body: "Program"
    num_constants: int
    num_carry: int
    length: int
    reverse: bool
    unroll: int = 1


@dataclass(frozen=True)
class While:
    """A loop until a condition fails.

    Its equation's inputs are the condition's constants, the body's constants, carry; its outputs are carry.
    ``condition`` takes its constants and carry, ``body`` its constants and carry.
    """

    condition: "Program"
    body: "Program"
    num_condition_constants: int
    num_body_constants: int


@dataclass(frozen=True)
class Branches:
    """A choice. Its equation's inputs are the index, then what every branch takes."""

    branches: tuple["Program", ...]


@dataclass(frozen=True)
class Solve:
    """A linear solve with its own rules (``lax.custom_linear_solve``).

    Its equation's inputs are the constants of each part in turn, then the right-hand sides. Each part takes its own
    constants and then right-hand sides; ``constants`` holds how many each has.
    """

    parts: dict[str, "Program"]
    constants: dict[str, int]


@dataclass(frozen=True)
class Shards:
    """A program run once on each of ``count`` shards; ``body`` has the shapes of one shard."""

    body: "Program"
    count: int


Nested = Scan | While | Branches | Solve | Shards


@dataclass(frozen=True, eq=False)
class Equation:
    """One operation: ``outputs = name(*inputs; params)``.

    Args:
      name: the primitive's name, with names that changed between versions unified.
      inputs, outputs: the arrays in and out.
      params: as JAX holds them (of a nested program: as JAX held them before anything was pruned).
      nested: the programs within, if it is more than a plain primitive.
      primitive: JAX's own object, to be bound again.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    params: dict[str, Any]
    nested: Nested | None = None
    primitive: Any = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Program:
    """A straight line of equations from inputs to outputs; a constant is a ``Value`` with a ``literal``."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    equations: tuple[Equation, ...]

    def everything(self) -> Iterator[Equation]:
        """Every equation, those of nested programs after the equation that holds them."""
        for equation in self.equations:
            yield equation
            for inner in nested_programs(equation.nested):
                yield from inner.everything()


def nested_programs(nested: Nested | None) -> tuple[Program, ...]:
    """The programs that a nested construct holds, in a fixed order."""
    match nested:
        case None:
            return ()
        case Scan() | Shards():
            return (nested.body,)
        case While():
            return (nested.condition, nested.body)
        case Branches():
            return nested.branches
        case Solve():
            return tuple(nested.parts.values())


def trace(fun: Callable[..., Any], *args: Any, keep: Collection[str] = ()) -> Program:
    """The program of a function for arguments like these (arrays, tracers or ``ShapeDtypeStruct``), never evaluated.

    Calls named in ``keep`` are not inlined, see ``read``.
    """
    return read(jax.make_jaxpr(fun)(*args), keep)


def tangent(fun: Callable[..., Any], *args: Any) -> tuple[Program, int]:
    """The program that forward mode executes: inputs ``(*x, *v)``, outputs ``J v``; with the number of leaves of ``x``.

    Custom rules are in it as they act. A ``custom_vjp`` shows as an equation ``custom_lin`` that cannot be read, and a
    function with an integer output or input has a tangent of dtype ``float0`` there.
    """

    def push(primals, tangents):
        return jax.linearize(fun, *primals)[1](*tangents)

    program = trace(push, args, jax.tree.map(_tangent_like, args))
    return program, len(jax.tree.leaves(args))


def cotangent(fun: Callable[..., Any], *args: Any) -> tuple[Program, int]:
    """The program that reverse mode executes: inputs ``(*x, *u)``, outputs ``J' u``; and how many leaves ``x`` has."""

    def pull(primals, cotangents):
        return jax.vjp(fun, *primals)[1](cotangents)

    outputs = jax.eval_shape(fun, *args)
    return trace(pull, args, jax.tree.map(_tangent_like, outputs)), len(jax.tree.leaves(args))


def type_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """An array's or number's shape and dtype, not weak; and how it is sharded, where its type tells.

    In ``shard_map`` and on explicit meshes that belongs to the type, and an array of another one does not do.
    """
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if is_sharded(leaf):
        return jax.eval_shape(lambda x: x, leaf)
    kept = isinstance(leaf, jax.Array) or getattr(leaf, "dtype", None) == jax.dtypes.float0
    # What NumPy holds in double precision is single in JAX unless that is asked for.
    dtype = leaf.dtype if kept else jnp.result_type(leaf)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype)


def is_sharded(leaf: Any) -> bool:
    """Whether an array's type names a mesh."""
    sharding = leaf.sharding if isinstance(leaf, jax.ShapeDtypeStruct) else None
    if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        sharding = getattr(jax.typeof(leaf), "sharding", None)
    mesh = getattr(sharding, "mesh", None)
    return mesh is not None and not mesh.empty


def _tangent_like(leaf: Any) -> Any:
    """The type of the tangent of a leaf; ``float0`` for integers, booleans and keys."""
    kind = type_of(leaf)
    return kind if jnp.issubdtype(kind.dtype, jnp.inexact) else np.zeros(kind.shape, jax.dtypes.float0)


def dependents(program: Program, inputs: Iterable[int]) -> set[Value]:
    """Every value of the outermost program that some of the numbered inputs reach."""
    reached = {program.inputs[i] for i in inputs}
    for equation in program.equations:
        if any(value in reached for value in equation.inputs):
            reached.update(equation.outputs)
    return reached


# -- from JAX's jaxprs ---------------------------------------------------------------------------------------------

# Names that mean the same in some version of JAX.
_SAME = {"pjit": "jit", "checkpoint": "remat", "remat2": "remat", "custom_jvp_call_jaxpr": "custom_jvp_call"}
_SAME |= {"custom_vjp_call_jaxpr": "custom_vjp_call"}
# Plain calls: parameter that holds what is called, in order of trial.
_CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_CALLS = {"jit", "remat", "custom_jvp_call", "custom_vjp_call", "closed_call", "core_call", "call", "custom_lin_call"}


def read(jaxpr: Any, keep: Collection[str] = ()) -> Program:
    """The program of a closed or open jaxpr, as ``jax.make_jaxpr`` gives it.

    Calls named in ``keep`` (``"custom_jvp_call"``, say) stay single equations, for a reader that binds them again and
    wants their own rules to act rather than their bodies' derivatives.
    """
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    constants = getattr(jaxpr, "consts", ())
    names: dict[Any, Value] = {}
    for variable, constant in zip(inner.constvars, constants):
        names[variable] = _value(variable.aval, constant)
    for variable in inner.constvars[len(constants) :]:
        names[variable] = _value(variable.aval)
    inputs = tuple(_value(variable.aval) for variable in inner.invars)
    names.update(zip(inner.invars, inputs))
    equations: list[Equation] = []
    outputs = _inline(inner, names, equations, keep)
    # An open jaxpr's constants are its first inputs, as jax.core.eval_jaxpr takes them.
    free = tuple(names[variable] for variable in inner.constvars[len(constants) :])
    return Program((*free, *inputs), outputs, tuple(equations))


def _inline(jaxpr: Any, names: dict[Any, Value], equations: list[Equation], keep: Collection[str]) -> tuple[Value, ...]:
    """Append the equations of an open jaxpr whose inputs are named; return its outputs."""
    for equation in jaxpr.eqns:
        inputs = tuple(_operand(atom, names) for atom in equation.invars)
        name = _SAME.get(str(equation.primitive.name), str(equation.primitive.name))
        body = None if name in keep else _called(name, equation.params)
        if body is not None:
            inner, constants = getattr(body, "jaxpr", body), getattr(body, "consts", ())
            scope = {v: _value(v.aval, c) for v, c in zip(inner.constvars, constants)}
            scope.update(zip((*inner.constvars[len(constants) :], *inner.invars), inputs))
            names.update(zip(equation.outvars, _inline(inner, scope, equations, keep)))
            continue
        outputs = tuple(_value(variable.aval) for variable in equation.outvars)
        names.update(zip(equation.outvars, outputs))
        nested = _nested(name, equation.params, keep)
        equations.append(Equation(name, inputs, outputs, dict(equation.params), nested, equation.primitive))
    return tuple(_operand(atom, names) for atom in jaxpr.outvars)


def _called(name: str, params: dict[str, Any]) -> Any:
    """The jaxpr that a plain call inlines, ``None`` if it is not one."""
    if name not in _CALLS:
        return None
    for key in _CALLED:
        if isinstance(params.get(key), (core.ClosedJaxpr, core.Jaxpr)):
            return params[key]
    return None


def _nested(name: str, params: dict[str, Any], keep: Collection[str]) -> Nested | None:
    """The programs within a construct that is more than a call."""
    match name:
        case "scan":
            constants, carry = _scan_counts(params)
            body = read(params["jaxpr"], keep)
            return Scan(body, constants, carry, params["length"], params["reverse"], params.get("unroll", 1))
        case "while":
            condition, body = read(params["cond_jaxpr"], keep), read(params["body_jaxpr"], keep)
            return While(condition, body, params["cond_nconsts"], params["body_nconsts"])
        case "cond":
            return Branches(tuple(read(branch, keep) for branch in params["branches"]))
        case "custom_linear_solve":
            parts = params["jaxprs"]._asdict()
            present = {key: read(value, keep) for key, value in parts.items() if value is not None}
            return Solve(present, dict(params["const_lengths"]._asdict()))
        case "shard_map":
            return Shards(read(params["jaxpr"], keep), int(getattr(params.get("mesh"), "size", 1)))
    return None


def _scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """How many constants and carried values a scan has, in the old and the new layout of its parameters."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    if "ft_in" in params:  # since JAX 0.11: a flat tree of three, constants, carry and stacked inputs
        constants, carry, _ = params["ft_in"].unpack()
        return len(constants), len(carry)
    raise TypeError(
        f"walk: a scan must have the parameters num_consts and num_carry, or ft_in, got {sorted(params)}. "
        f"Use a version of jax that jaxcalc supports (this is {jax.__version__})."
    )


def _operand(atom: Any, names: dict[Any, Value]) -> Value:
    return _value(atom.aval, atom.val) if isinstance(atom, core.Literal) else names[atom]


def _value(aval: Any, literal: Any = None) -> Value:
    return Value(
        getattr(aval, "shape", ()),
        getattr(aval, "dtype", np.dtype(bool)),
        literal,
        bool(getattr(aval, "weak_type", False)),
    )


# -- dead code -----------------------------------------------------------------------------------------------------


def prune(program: Program, outputs: Sequence[int] | None = None) -> Program:
    """The program without what its outputs (by number; by default all) do not need, also within loops and branches.

    Inputs keep their places, used or not; effects are not kept.
    """
    kept = program.outputs if outputs is None else tuple(program.outputs[i] for i in outputs)
    needed = set(kept)
    equations: list[Equation] = []
    for equation in reversed(program.equations):
        used = [value in needed for value in equation.outputs]
        if not any(used):
            continue
        if equation.nested is not None:
            equation = _prune_nested(equation, used)
        equations.append(equation)
        needed.update(equation.inputs)
    return Program(program.inputs, kept, tuple(reversed(equations)))


def _prune_nested(equation: Equation, used: list[bool]) -> Equation:
    """The equation without the outputs that nobody uses, and without the inputs that were for them alone."""
    match equation.nested:
        case Scan() as scan:
            return _prune_scan(equation, scan, used)
        case While() as loop:
            return _prune_while(equation, loop, used)
        case Branches() as choice:
            places = [i for i, flag in enumerate(used) if flag]
            pruned = [prune(branch, places) for branch in choice.branches]
            keep = sorted(set().union(*(_used_inputs(branch) for branch in pruned)))
            branches = tuple(_with_inputs(branch, keep) for branch in pruned)
            inputs = (equation.inputs[0], *(equation.inputs[1 + i] for i in keep))
            outputs = tuple(equation.outputs[i] for i in places)
            return replace(equation, inputs=inputs, outputs=outputs, nested=Branches(branches))
    return equation


def _prune_scan(equation: Equation, scan: Scan, used: list[bool]) -> Equation:
    constants, carried = scan.num_constants, scan.num_carry
    needed = list(used)
    while True:  # a carry is needed if a later trip's needs it
        body = prune(scan.body, [i for i, flag in enumerate(needed) if flag])
        keep = _used_inputs(body)
        wanted = [flag or (i < carried and constants + i in keep) for i, flag in enumerate(needed)]
        if wanted == needed:
            break
        needed = wanted
    places = [i for i, flag in enumerate(needed) if flag]
    carry = [i for i in places if i < carried]
    after = constants + carried
    keep_constants = [i for i in range(constants) if i in keep]
    keep_inputs = [i for i in range(after, len(equation.inputs)) if i in keep]
    chosen = [*keep_constants, *(constants + i for i in carry), *keep_inputs]
    return replace(
        equation,
        inputs=tuple(equation.inputs[i] for i in chosen),
        outputs=tuple(equation.outputs[i] for i in places),
        nested=replace(scan, body=_with_inputs(body, chosen), num_constants=len(keep_constants), num_carry=len(carry)),
    )


def _prune_while(equation: Equation, loop: While, used: list[bool]) -> Equation:
    first, second = loop.num_condition_constants, loop.num_body_constants
    condition_uses = _used_inputs(prune(loop.condition))
    needed = [flag or first + i in condition_uses for i, flag in enumerate(used)]
    while True:
        body = prune(loop.body, [i for i, flag in enumerate(needed) if flag])
        keep = _used_inputs(body)
        wanted = [flag or second + i in keep for i, flag in enumerate(needed)]
        if wanted == needed:
            break
        needed = wanted
    carry = [i for i, flag in enumerate(needed) if flag]
    keep_condition = [i for i in range(first) if i in condition_uses]
    keep_body = [i for i in range(second) if i in keep]
    carried = [first + second + i for i in carry]
    return replace(
        equation,
        inputs=tuple(equation.inputs[i] for i in (*keep_condition, *(first + i for i in keep_body), *carried)),
        outputs=tuple(equation.outputs[i] for i in carry),
        nested=While(
            _with_inputs(prune(loop.condition), [*keep_condition, *(first + i for i in carry)]),
            _with_inputs(body, [*keep_body, *(second + i for i in carry)]),
            len(keep_condition),
            len(keep_body),
        ),
    )


def _used_inputs(program: Program) -> set[int]:
    """The numbers of the inputs that some equation or output uses."""
    used = {value for equation in program.equations for value in equation.inputs} | set(program.outputs)
    return {i for i, value in enumerate(program.inputs) if value in used}


def _with_inputs(program: Program, keep: Sequence[int]) -> Program:
    return Program(tuple(program.inputs[i] for i in keep), program.outputs, program.equations)


# -- identity ------------------------------------------------------------------------------------------------------


def fingerprint(program: Program, *, values: bool = True) -> str | None:
    """A digest that two programs share iff they compute the same by the same equations.

    Args:
      program: with names, shapes, parameters and wiring of all its equations entering.
      values: whether constants enter by their contents, or by shape and dtype alone.

    Returns:
      A hexadecimal string, the same in every process; ``None`` if a constant is a tracer and ``values`` are wanted.
    """
    digest = hashlib.sha256()
    numbers: dict[Value, int] = {}

    def name(value: Value) -> str | None:
        if value.literal is None:
            return f"{numbers.setdefault(value, len(numbers))}:{value.dtype}{value.shape}"
        if not values and value.shape:
            return f"constant:{value.dtype}{value.shape}"
        if isinstance(value.literal, Tracer):
            return None if values else "tracer"
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return f"key:{value.shape}{np.asarray(jax.random.key_data(value.literal)).tolist()}"
        array = np.asarray(value.literal)
        return f"{array.dtype}{array.shape}{hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"

    def enter(part: Program) -> bool:
        for line in (part.inputs, *(line for e in part.equations for line in (e.inputs, e.outputs)), part.outputs):
            named = [name(value) for value in line]
            if None in named:
                return False
            digest.update(repr(named).encode())
        for equation in part.equations:
            plain = {k: v for k, v in equation.params.items() if _prints_alike(v)}
            digest.update(f"{equation.name}{sorted(plain.items(), key=lambda item: item[0])!r}".encode())
            if not all(enter(inner) for inner in nested_programs(equation.nested)):
                return False
        return True

    return digest.hexdigest() if enter(program) else None


def _prints_alike(value: Any) -> bool:
    """Whether a parameter is described by its ``repr`` alone: no program and no function, which hold addresses."""
    if isinstance(value, (tuple, list)):
        return all(map(_prints_alike, value))
    return not callable(value) and " at 0x" not in repr(value) and not isinstance(value, core.Jaxpr | core.ClosedJaxpr)
