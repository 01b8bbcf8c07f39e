"""The price of a program, read off its jaxpr: operations, bytes, peak memory. Nothing is run or allocated."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxcalc.programs import primitives, walk
from jaxcalc.programs.fusion import renames
from jaxcalc.programs.memory import Traffic, traffic
from jaxcalc.programs.simplify import merged, written_out
from jaxcalc.programs.trip_count import Scalars, fold, hand_down, turns
from jaxcalc.programs.vmap_axes import Lanes, solve_inputs, spread
from jaxcalc.programs.walk import Branches, Equation, Program, Scan, Shards, Solve, Value, While
from jaxcalc.programs.work import Tally, itemsize, work

__all__ = ["Cost", "cost", "price"]

Trips = float | Mapping[int, float] | None

# XLA computes beforehand with constants of at most this many elements.
_FOLDED = 4.5e7
# Temporaries are told this much larger than the model has them: XLA makes copies that it does not foresee, and a budget
# that is missed costs more than one that is not used up.
_MARGIN = 1.5


@dataclass(frozen=True)
class Cost:
    """What a program computes and holds; costs add (one program after the other, all results kept) and scale.

    Work by class, in ``counts`` (a class that does not occur is absent):

    * elements written: ``"elementwise"`` (cheap arithmetic), ``"division/sqrt"``, ``"transcendental"`` (weighted by
      nanoseconds on a core of a CPU), ``"integer"``, ``"move"`` (choices, conversions, broadcasts, slices, ...: fused,
      mostly free), ``"cumulative"``, ``"gather"``, ``"random"``;
    * elements read: ``"reduce minor"`` (over the axis contiguous in memory, perhaps others), ``"reduce major"``,
      ``"scatter"`` (updates), ``"window"`` (times the window), ``"opaque"`` (of operations that cannot be read);
    * comparisons: ``"sort"``;
    * floating-point operations: ``"gemm"``, ``"gemv"`` (products with a vector), ``"small product"`` (up to
      16 x 16 x 16), ``"convolution"`` (with padding and dilation, as executed), ``"fft"``, ``"linear algebra"``;
    * numbers of calls: ``"product calls"`` (matrix products, each of a batch), ``"small calls"`` (the small ones among
      them), ``"library calls"`` (convolutions, transforms, factorisations, each of a batch), ``"trips"`` of loops;
    * bytes: ``"reordered bytes"``, written in another order than they are read.

    Args:
      flops: floating-point operations, a multiply-add being two, without transcendentals.
      transcendentals: elements of exponentials, logarithms, sines and the like.
      product_flops: the part of ``flops`` in matrix products, convolutions, FFTs and factorisations.
      bytes_moved: bytes that the kernels of the fused program read and write.
      peak_bytes: bytes needed beyond the arguments: temporaries (told half as large again) and outputs.
      output_bytes: bytes of the outputs.
      kernels: loops and library calls launched, each trip of a loop anew.
      equations: operations of the program, nested ones once.
      counts: work by class.
      assumed_trips: loops whose number of trips was not known and was taken to be one.
    """

    flops: float = 0.0
    transcendentals: float = 0.0
    product_flops: float = 0.0
    bytes_moved: float = 0.0
    peak_bytes: int = 0
    output_bytes: int = 0
    kernels: float = 0.0
    equations: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    assumed_trips: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        outputs = self.output_bytes + other.output_bytes
        temporaries = max(self.peak_bytes - self.output_bytes, other.peak_bytes - other.output_bytes)
        return Cost(
            self.flops + other.flops,
            self.transcendentals + other.transcendentals,
            self.product_flops + other.product_flops,
            self.bytes_moved + other.bytes_moved,
            temporaries + outputs,
            outputs,
            self.kernels + other.kernels,
            self.equations + other.equations,
            _added(self.counts, other.counts, 1.0),
            self.assumed_trips + other.assumed_trips,
        )

    def __mul__(self, times: float) -> "Cost":
        outputs = math.ceil(self.output_bytes * times)
        return Cost(
            self.flops * times,
            self.transcendentals * times,
            self.product_flops * times,
            self.bytes_moved * times,
            self.peak_bytes - self.output_bytes + outputs if times else 0,
            outputs,
            self.kernels * times,
            self.equations,
            {name: amount * times for name, amount in self.counts.items()},
            self.assumed_trips,
        )

    __rmul__ = __mul__


def cost(fun: Callable[..., Any], *args: Any, trips: Trips = None) -> Cost:
    """The price of a function for arguments like these, read off its program: nothing is run or allocated.

    Args:
      fun: a function of arrays or PyTrees of arrays.
      *args: arrays, or ``jax.ShapeDtypeStruct`` where only shapes are known.
      trips: how often a ``while`` whose count cannot be read off turns: one number for all, or a number for each by
        its place in the program (from 0, loops whose count is known left out). Without it 1, and ``assumed_trips``
        says how many.

    Returns:
      A ``Cost``.
    """
    return price(walk.trace(fun, *args), trips=trips)


def price(
    program: Program,
    lanes: Sequence[tuple[Iterable[int], int]] = (),
    trips: Trips = None,
    *,
    lanes_last: bool = False,
    constant: bool = False,
) -> Cost:
    """The price of a program, or of many lanes of it as ``jax.vmap`` would run them.

    Args:
      program: as ``jaxcalc.programs.walk`` reads it.
      lanes: pairs of input numbers and a count: values that those inputs reach are computed ``count`` times, at once,
        values they do not reach once; several pairs multiply where both reach. The inputs with lanes are taken as
        generated on the spot (a basis), so that they count towards memory where they have to be stored.
      trips: as for ``cost``.
      lanes_last: whether the outputs are transposed, lanes last, as ``jax.jacfwd`` does.
      constant: whether the inputs with lanes are constants of the compiled program: what depends on them alone, XLA
        computes beforehand.

    Returns:
      A ``Cost``. Its memory is that of all lanes at once.
    """
    program = written_out(walk.prune(program))
    pairs = [(tuple(numbers), int(count)) for numbers, count in lanes]
    reached = spread(program, [numbers for numbers, _ in pairs])
    context, given = _Context(reached, [count for _, count in pairs], trips), len(program.inputs)
    seeds = [program.inputs[i] for numbers, _ in pairs for i in numbers]
    if constant:
        program = _computed_beforehand(program, seeds, context)
    program = _handed_out(program, pairs, lanes_last, context)
    generated = {*seeds, *program.inputs[given:]}
    tally, found = _price(program, context, generated=generated, entry=True)
    return Cost(
        flops=tally.pop("flops", 0.0),
        transcendentals=tally.pop("transcendentals", 0.0),
        product_flops=tally.pop("product_flops", 0.0),
        bytes_moved=tally.pop("bytes", 0.0),
        peak_bytes=found.outputs + math.ceil(_MARGIN * (found.peak - found.outputs)),
        output_bytes=found.outputs,
        kernels=tally.pop("kernels", 0.0),
        equations=context.equations,
        counts=tally,
        assumed_trips=context.assumed,
    )


# What XLA computes beforehand where all operands are constants: no library call, no loop, no random number.
_FOLDED_KINDS = primitives.MOVEMENTS | {"elementwise", "bits", "source", "read", "write", "reduction"}


def _is_folded(equation: Equation) -> bool:
    if equation.name == "optimization_barrier":
        return False
    return equation.name == "dot_general" or primitives.of(equation.name).kind in _FOLDED_KINDS


def _computed_beforehand(program: Program, seeds: Sequence[Value], context: "_Context") -> Program:
    """The program without what depends on the seeds and its constants alone, which becomes further inputs."""
    known = set(seeds)
    kept: list[Equation] = []
    found: list[Value] = []
    for equation in program.equations:
        sources = equation.inputs if equation.nested is None and _is_folded(equation) else ()
        largest = max(map(context.elements, (*sources, *equation.outputs)), default=0.0)
        if sources and largest <= _FOLDED and all(v in known or v.constant for v in sources):
            known.update(equation.outputs)
            found += equation.outputs
        else:
            kept.append(equation)
    needed = {*program.outputs, *(value for equation in kept for value in equation.inputs)}
    outputs = [_copy(v, context.bytes_of(v), "copy", kept, context) if v in known else v for v in program.outputs]
    return Program((*program.inputs, *(v for v in found if v in needed)), tuple(outputs), tuple(kept))


def _handed_out(
    program: Program, pairs: Sequence[tuple[Sequence[int], int]], last: bool, context: "_Context"
) -> Program:
    """The program with its outputs as a Jacobian hands them out: lanes moved last, one array for each seeded input."""
    outputs: list[Value] = []
    copies: list[Equation] = []
    for value in program.outputs:
        axes = context.lanes(value)
        parts = [(value, context.bytes_of(value))]
        if last and axes and value.size > 1:
            parts = [(_copy(value, context.bytes_of(value), "reorder", copies, context), context.bytes_of(value))]
        for axis in axes:
            numbers, count = pairs[axis]
            seeds = [program.inputs[i].size for i in numbers]
            if len(seeds) > 1 and sum(seeds) == count:
                shares = [(part, whole, whole * seed // count) for part, whole in parts for seed in seeds]
                parts = [(_copy(part, share, "slice", copies, context), share) for part, _, share in shares]
        outputs += [part for part, _ in parts]
    return Program(program.inputs, tuple(outputs), (*program.equations, *copies))


def _copy(value: Value, size: int, name: str, copies: list[Equation], context: "_Context") -> Value:
    """A copy of an array, or of a part of it, of that many bytes."""
    copy = Value(value.shape, value.dtype)
    context.reached[copy] = context.lanes(value)
    context.sizes[copy] = size
    copies.append(Equation(name, (value,), (copy,), {"copy": len(copies)}))
    return copy


class _Context:
    """What all nested programs of one price share."""

    def __init__(self, reached: dict[Value, Lanes], counts: list[int], trips: Trips):
        self.reached, self.counts, self.trips = reached, counts, trips
        self.known: Scalars = {}
        self.equations = self.unknown = self.assumed = 0
        self.sizes: dict[Value, int] = {}
        self._products: dict[Lanes, int] = {frozenset(): 1}

    def lanes(self, value: Value) -> Lanes:
        return self.reached.get(value, frozenset())

    def count(self, axes: Lanes) -> int:
        if axes not in self._products:
            self._products[axes] = math.prod(self.counts[i] for i in axes)
        return self._products[axes]

    def elements(self, value: Value) -> float:
        """Elements of a value, all its lanes together."""
        return float(value.size * self.count(self.lanes(value)))

    def assume(self) -> float:
        """The trips of the next loop whose count is not known."""
        place = self.unknown
        self.unknown += 1
        given = self.trips.get(place) if isinstance(self.trips, Mapping) else self.trips
        self.assumed += given is None
        return 1.0 if given is None else float(given)

    def bytes_of(self, value: Value) -> int:
        found = self.sizes.get(value)
        if found is None:
            found = math.prod(value.shape) * itemsize(value.dtype) * self.count(self.lanes(value))
            self.sizes[value] = found
        return found


def _added(first: Mapping[str, float], second: Mapping[str, float], times: float) -> Tally:
    total = dict(first)
    for name, amount in second.items():
        total[name] = total.get(name, 0.0) + amount * times
    return total


def _price(
    program: Program,
    context: _Context,
    owned: Iterable[Value] = (),
    generated: Iterable[Value] = (),
    entry: bool = False,
) -> tuple[Tally, Traffic]:
    """Amounts of one run of a program, and its memory."""
    program = merged(program)
    tally: Tally = {}
    inside: dict[Equation, int] = {}
    for equation in program.equations:
        context.equations += 1
        if equation.nested is not None:
            found, inside[equation] = _nested(equation, context)
        elif renames(equation):
            continue
        else:
            fold(equation, context.known)
            found = work(equation, context.lanes, context.count)
        for name, amount in found.items():
            tally[name] = tally.get(name, 0.0) + amount
    found = traffic(program, context.bytes_of, inside, tuple(owned), tuple(generated), entry)
    for name, amount in (("kernels", found.kernels), ("bytes", found.bytes_moved), ("reordered bytes", found.copied)):
        tally[name] = tally.get(name, 0.0) + amount
    return tally, found


def _nested(equation: Equation, context: _Context) -> tuple[Tally, int]:
    """Amounts of a loop, a choice or a solve, and the bytes that it needs beyond its inputs and outputs."""
    match equation.nested:
        case Scan(body, first, carried, length):
            hand_down(context.known, body.inputs[:first], equation.inputs[:first])
            carry = body.inputs[first : first + carried]
            tally, found = _price(body, context, owned=carry)
            held = sum(map(context.bytes_of, body.outputs))
            own = sum(map(context.bytes_of, carry))
            tally = _added({"trips": float(length)}, tally, length)
            return tally, max(found.peak - held, found.peak - own, 0) if length else 0
        case While() as loop:
            return _while(equation, loop, context)
        case Branches(branches):
            prices = [_branch(branch, equation, context) for branch in branches]
            if context.lanes(equation.inputs[0]):
                tally: Tally = {"move": sum(context.elements(v) for v in equation.outputs)}
                for found, _ in prices:
                    tally = _added(tally, found, 1.0)
                return tally, sum(need.peak for _, need in prices)
            tally = max((found for found, _ in prices), key=_weight)
            return tally, max(need.peak for _, need in prices)
        case Solve() as solve:
            body, constants, right = solve_inputs(solve, equation.inputs)
            if body is None:
                return {"opaque": float(sum(v.size for v in equation.inputs))}, 0
            hand_down(context.known, body.inputs, (*constants, *right))
            tally, found = _price(body, context)
            return tally, max(found.peak - found.outputs, 0)
        case Shards(body, count):
            tally, found = _price(body, context)
            return _added({}, tally, count), count * found.peak
    raise TypeError(
        f"price: cannot read {equation.name}, whose nested programs are a {type(equation.nested).__name__}."
    )


def _branch(branch: Program, equation: Equation, context: _Context) -> tuple[Tally, Traffic]:
    hand_down(context.known, branch.inputs, equation.inputs[1:])
    return _price(branch, context)


def _weight(tally: Tally) -> float:
    """How dear a branch is: operations, transcendentals ten times, and bytes."""
    return tally.get("flops", 0.0) + 10 * tally.get("transcendentals", 0.0) + 0.25 * tally.get("bytes", 0.0)


def _while(equation: Equation, loop: While, context: _Context) -> tuple[Tally, int]:
    first, second = loop.num_condition_constants, loop.num_body_constants
    start = equation.inputs[first + second :]
    hand_down(context.known, loop.condition.inputs[:first], equation.inputs[:first])
    hand_down(context.known, loop.body.inputs[:second], equation.inputs[first : first + second])
    count = turns(loop, start, context.known)
    if count is None:
        count = context.assume()
    carry = loop.body.inputs[second:]
    tally, found = _price(loop.body, context, owned=carry)
    condition, tested = _price(loop.condition, context)
    own = sum(map(context.bytes_of, carry))
    if any(context.lanes(v) for v in loop.condition.outputs):
        tally["move"] = tally.get("move", 0.0) + sum(context.elements(v) for v in carry)
        own = 0  # a finished lane keeps its values: old and new carry live together
    total = _added(_added({"trips": count}, tally, count), condition, count + 1)
    return total, max(found.peak - own, tested.peak, 0)
