"""Which values of a program XLA keeps as arrays, and what each of its kernels reads: a model of its passes on CPU.

Reshapes are other names of an array. Elementwise operations, broadcasts, slices and the like are computed inside the
loop of whatever reads them: cheap ones again in each reader, expensive ones where one loop reads them and reads no
element twice, joined and gathered arrays where one loop reads them once. Long reductions are a library's, which takes
in arithmetic but no choices or slices; short ones whose axes exceed a window go through an array of partial results.
Products, convolutions, factorisations, sorts, scatters and loops read arrays and write arrays, some of them in an order
of their own, for which operands and results are copied. The thresholds are those of jaxlib 0.10, found by experiment.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from jaxcalc.programs import primitives
from jaxcalc.programs.walk import Equation, Program, Scan, Value
from jaxcalc.programs.work import itemsize

__all__ = ["Kernel", "Node", "kernels", "renames"]

# How a node is computed. "loop": element by element; "move": in another order; "join": several arrays into one;
# "update": a part of an array, in place; "library": a reduction by a library; "windows": a reduction in two stages;
# "product": a matrix product; "call": anything that reads and writes whole arrays.
Role = Literal["loop", "move", "join", "update", "library", "windows", "fold", "product", "call"]

_RENAMES = frozenset({"identity", "rename", "bits", "key"})
_MOVES = primitives.MOVEMENTS | {"bits"}
_LIBRARY_SUMS = {"reduce_sum", "reduce_max", "reduce_min", "dot_general"}
_LIBRARY_FROM = 4096  # elements
_WINDOW = 32
_DUPLICATES = 15
_LONG_ROW, _MANY = 128, 8


@dataclass(frozen=True, eq=False)
class Node:
    """An equation as XLA sees it: copies are nodes of their own, reshapes none."""

    role: Role
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    equation: Equation
    expensive: bool = False


@dataclass(frozen=True, eq=False)
class Kernel:
    """A node that writes arrays.

    Args:
      node: what it computes last. writes: those of its outputs that are kept.
      reads: for each array that it reads the bytes, and whether it is read element by element in its own order.
    """

    node: Node
    writes: tuple[Value, ...]
    reads: dict[Value, tuple[float, bool]]


def kernels(
    program: Program,
    bytes_of: Callable[[Value], int],
    generated: Collection[Value] = (),
) -> tuple[list[Kernel], dict[Value, Value], list[Value], dict[Value, int]]:
    """The kernels of a program, in order.

    Args:
      program: without dead code and nested constructs apart.
      bytes_of: bytes of a value, all its lanes together.
      generated: inputs that are computed where they are read (a basis).

    Returns:
      The kernels; the array that a value is another name of; the generated inputs that are kept; the bytes of every
      array.
    """
    reader = _Reader(program, bytes_of)
    outputs = {reader.base.get(value, value) for value in program.outputs}
    stored = _stored(reader, outputs, generated)
    return _reads(reader, stored, generated), reader.base, [v for v in generated if v in stored], reader.bytes


class _Reader:
    """A program's nodes, with copies made explicit and reshapes left out."""

    def __init__(self, program: Program, bytes_of: Callable[[Value], int]):
        self.bytes_of, self.bytes = bytes_of, {}
        self.base: dict[Value, Value] = {}
        self.reshaped: set[Value] = set()
        self.nodes: list[Node] = []
        self.made: dict[Value, Node] = {}
        self.uses: dict[Value, int] = {}
        for equation in program.equations:
            for value in equation.inputs:
                self.uses[value] = self.uses.get(value, 0) + 1
        for equation in program.equations:
            self._read(equation)

    def size(self, value: Value) -> int:
        """Bytes of a value with its lanes."""
        if value not in self.bytes:
            self.bytes[value] = self.bytes_of(value)
        return self.bytes[value]

    def elements(self, value: Value) -> int:
        return self.size(value) // max(itemsize(value.dtype), 1)

    def array(self, value: Value) -> Value:
        return self.base.get(value, value)

    def _read(self, equation: Equation) -> None:
        if not equation.outputs:
            return
        if renames(equation) or self._is_swapped_product(equation):
            for value, source in zip(equation.outputs, equation.inputs):
                self.base[value] = self.array(source)
                if value.shape != source.shape or source in self.reshaped:
                    self.reshaped.add(value)
            return
        inputs = tuple(map(self.array, equation.inputs))
        name, row = equation.name, primitives.of(equation.name)
        if equation.nested is not None:
            self._add("call", self._handed_in(equation, inputs), equation.outputs, equation)
        elif name == "dot_general":
            self._product(equation, inputs)
        elif row.kind == "reduction":
            self._add(self._reduction(equation, inputs), inputs, equation.outputs, equation)
        elif row.by_columns:
            columns = tuple(self._reordered(v, equation) if len(v.shape) > 1 else v for v in inputs)
            self._call(equation, columns, [len(v.shape) > 1 for v in equation.outputs])
        elif name == "conv_general_dilated":
            self._convolution(equation, inputs)
        elif row.kind == "join":
            self._add(self._join(equation), inputs, equation.outputs, equation)
        elif name == "dynamic_update_slice":
            self._add("update", inputs, equation.outputs, equation)
        elif row.kind in ("elementwise", "source"):
            self._add("loop", inputs, equation.outputs, equation)
        elif name == "gather":
            self._add("join", inputs, equation.outputs, equation)
        elif row.kind in _MOVES or name == "dynamic_slice":
            for value in equation.outputs:
                self._add("move", inputs, (value,), equation)
        else:
            self._add("call", inputs, equation.outputs, equation)

    def _join(self, equation: Equation) -> Role:
        """Joining many arrays, or long rows, is a copy of its own."""
        out = equation.outputs[0]
        if equation.name != "concatenate":
            return "join"
        rows = len(out.shape) > 1 or self.size(out) > out.bytes
        axis = equation.params["dimension"]
        long = rows and axis == len(out.shape) - 1 and math.prod(out.shape[axis:]) >= _LONG_ROW
        return "call" if long or len(equation.inputs) > _MANY else "join"

    def _add(self, role: Role, inputs: tuple[Value, ...], outputs: tuple[Value, ...], equation: Equation) -> None:
        node = Node(role, inputs, outputs, equation, role == "loop" and _is_expensive(equation))
        self.nodes.append(node)
        self.made.update(dict.fromkeys(outputs, node))

    def _call(self, equation: Equation, inputs: tuple[Value, ...], reorder: Sequence[bool]) -> None:
        """A call whose results are copied into the usual order where they are read."""
        raw = tuple(self._like(v) if again else v for v, again in zip(equation.outputs, reorder))
        self._add("product" if equation.name == "dot_general" else "call", inputs, raw, equation)
        for value, source in zip(equation.outputs, raw):
            if value is not source:
                self._add("move", (source,), (value,), _COPY)

    def _reordered(self, value: Value, equation: Equation) -> Value:
        """The array in the order that a call wants it: as such a call left it, or a copy."""
        node = self.made.get(value)
        if node is not None and node.equation is _COPY and _by_columns(self.made[node.inputs[0]].equation):
            if _by_columns(equation):
                return node.inputs[0]
        copy = self._like(value)
        self._add("move", (value,), (copy,), _COPY)
        return copy

    def _handed_in(self, equation: Equation, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        """The arrays as a loop wants them: what was transposed, or is stacked with lanes in front, is copied."""
        scan = equation.nested
        stacked = scan.num_constants + scan.num_carry if isinstance(scan, Scan) else len(inputs)
        wanted = list(inputs)
        for i, value in enumerate(inputs):
            node = self.made.get(value)
            transposed = node is not None and node.role == "move" and node.equation.name in ("transpose", "reorder")
            lanes = i >= stacked and self.size(value) > value.bytes and (node is None or node.equation.nested is None)
            if transposed or lanes:
                wanted[i] = self._like(value)
                self._add("call", (value,), (wanted[i],), _COPY)
        return tuple(wanted)

    def _like(self, value: Value) -> Value:
        copy = Value(value.shape, value.dtype)
        self.bytes[copy] = self.size(value)
        return copy

    def _reduction(self, equation: Equation, inputs: tuple[Value, ...]) -> Role:
        """How a reduction is computed depends on its length."""
        source = inputs[0]
        elements = max(map(self.elements, inputs))
        if equation.name in _LIBRARY_SUMS and elements >= _LIBRARY_FROM and source.inexact and len(inputs) <= 2:
            return "library"
        if equation.name == "dot_general":
            shape = equation.inputs[0].shape  # its operand may be read under another
            axes = [shape[i] for i in equation.params["dimension_numbers"][0][0]]
        else:
            shape = equation.inputs[0].shape
            axes = [shape[i] for i in equation.params.get("axes", equation.params.get("dimensions", ()))]
        return (
            "windows" if max(axes, default=0) > _WINDOW and len(equation.outputs) == 1 and len(inputs) == 1 else "fold"
        )

    def _is_swapped_product(self, equation: Equation) -> bool:
        """Whether an equation transposes a matrix product that nothing else reads: the factors change places."""
        if equation.name not in ("transpose", "reorder"):
            return False
        source = equation.inputs[0]
        axes = len(source.shape) + (self.size(source) > source.bytes)
        node = self.made.get(source)
        return axes == 2 and node is not None and node.role == "product" and self.uses[source] == 1

    def _product(self, equation: Equation, inputs: tuple[Value, ...]) -> None:
        """A product; one of rows with rows is a reduction, and one of vectors or stacks is read under another shape."""
        contract, batch = equation.params["dimension_numbers"]
        factors = [self._factor(equation, i, contract[i], batch[i]) for i in range(2)]
        free = [count for _, count in factors]
        if not any(free):
            self._add(self._reduction(equation, inputs), inputs, equation.outputs, equation)
            return
        self._call(equation, tuple(array for array, _ in factors), [False])
        if max(free) > 1 or min(free) == 0:
            self.reshaped.add(equation.outputs[0])

    def _factor(
        self, equation: Equation, place: int, contract: Sequence[int], batch: Sequence[int]
    ) -> tuple[Value, int]:
        """An operand as a matrix or a stack of matrices, a copy where its axes lie otherwise, and its free axes."""
        value = equation.inputs[place]
        array, shape = self.array(value), value.shape
        summed, stacked = set(contract), list(batch)
        node = self.made.get(array)
        if array is value and node is not None and node.role == "move" and "permutation" in node.equation.params:
            # A transposed operand is read where it lies.
            permutation = node.equation.params["permutation"]
            summed, stacked = {permutation[i] for i in summed}, [permutation[i] for i in stacked]
            array, shape = node.inputs[0], node.equation.inputs[0].shape
        kinds = [i in summed for i in range(len(shape)) if i not in stacked and shape[i] != 1]
        # Lanes of this operand alone are one more free axis in front.
        lanes = self.size(value) > value.bytes
        free = kinds.count(False) + lanes
        if lanes and not stacked and kinds.count(False):
            kinds.insert(0, False)
        stacked = [i for i in stacked if shape[i] != 1]
        leading = all(shape[i] == 1 or i in stacked for i in range(max(stacked, default=0)))
        if leading and stacked == sorted(stacked) and sum(a != b for a, b in pairwise(kinds)) <= 1:
            return array, free
        return self._reordered(self.array(value), equation), free

    def _convolution(self, equation: Equation, inputs: tuple[Value, ...]) -> None:
        """A convolution, which the library computes with channels last."""
        numbers = equation.params["dimension_numbers"]
        rank = len(inputs[0].shape)
        last = (0, rank - 1, *range(1, rank - 1))
        kernel = (rank - 1, rank - 2, *range(rank - 2))
        lanes = self.size(inputs[1]) > inputs[1].bytes or equation.params["batch_group_count"] > 1
        left = inputs[0] if numbers.lhs_spec == last and not lanes else self._reordered(inputs[0], equation)
        right = inputs[1] if numbers.rhs_spec == kernel and not lanes else self._reordered(inputs[1], equation)
        self._call(equation, (left, right), [numbers.out_spec != last or lanes])


_COPY = Equation("reorder", (), (), {})


def _is_expensive(equation: Equation) -> bool:
    """Whether XLA computes an element once and stores it rather than again for each reader."""
    row = primitives.of(equation.name)
    return row.divides or row.nanoseconds is not None


def _by_columns(equation: Equation) -> bool:
    return primitives.of(equation.name).by_columns


def renames(equation: Equation) -> bool:
    """Whether an equation only gives arrays other shapes."""
    name = equation.name
    if primitives.of(name).kind in _RENAMES:
        return True
    if not equation.inputs or len(equation.outputs) != 1:
        return False
    source, out = equation.inputs[0], equation.outputs[0]
    match name:
        case "broadcast_in_dim":
            return source.size == out.size and source.literal is None
        case "split" | "unstack" | "slice" | "stack" | "concatenate" | "tile":
            return source.size == out.size and "copy" not in equation.params
        case "transpose":
            kept = [i for i in equation.params["permutation"] if source.shape[i] != 1]
            return kept == sorted(kept)
        case "convert_element_type":
            return source.dtype == out.dtype
        case "reduce_sum" | "reduce_max" | "reduce_min" | "reduce_prod":
            return source.size == out.size
        case "pad":
            return source.size == out.size and not any(map(any, equation.params["padding_config"]))
    return False


def _takes(node: Node, place: int, producer: Node | None) -> bool:
    """Whether a node computes the operand in that place itself."""
    match node.role:
        case "loop" | "move" | "join" | "fold":
            return True
        case "update":
            return place > 0
        case "library":
            return _taken(producer)
        case _:
            return False


def _taken(producer: Node | None) -> bool:
    """Whether the library of reductions computes an operation on the way in."""
    if producer is None or not primitives.of(producer.equation.name).inlined:
        return False
    return producer.equation.name != "convert_element_type" or producer.equation.inputs[0].inexact


def _stored(reader: _Reader, outputs: set[Value], generated: Collection[Value]) -> set[Value]:
    """The values that become arrays."""
    readers: dict[Value, list[tuple[Node, int]]] = {}
    for node in reader.nodes:
        for place, value in enumerate(node.inputs):
            readers.setdefault(value, []).append((node, place))
    stored, repeated = set(outputs), set()
    # Where a value that is not stored is computed: one number for each kernel and order of elements.
    places: dict[Value, frozenset[int]] = {}
    kernel_of: list[Node] = []
    numbers: dict[tuple[Node, int], int] = {}

    def number(node: Node, place: int, kernel: Node) -> int:
        key = (node, place)
        if key not in numbers:
            numbers[key] = len(kernel_of)
            kernel_of.append(kernel)
        return numbers[key]

    def settle(value: Value, producer: Node | None) -> None:
        if value in stored:
            return
        using = readers.get(value, ())
        found: set[int] = set()
        again = False
        for node, place in using:
            if not _takes(node, place, producer) or (node.role == "library" and len(using) > 1):
                stored.add(value)
                return
            result = node.outputs[0]
            if result in places:
                above = places[result]
                found |= above if node.role == "loop" else {number(node, p, kernel_of[p]) for p in above}
            else:
                found.add(number(node, -1, node))
            again = again or result in repeated or _repeats(reader, node, value)
        by_kernel: dict[Node, int] = {}
        for p in found:
            by_kernel[kernel_of[p]] = by_kernel.get(kernel_of[p], 0) + 1
        often = max(by_kernel.values(), default=0)
        gives = producer is None or producer.role in ("loop", "move", "join")
        expensive = producer is not None and producer.expensive
        join = producer is not None and producer.role == "join"
        if (
            not gives
            or often > _DUPLICATES
            or (expensive and (again or len(by_kernel) > 1))
            or (join and (often > 1 or len(using) > 1 or len(by_kernel) > 1))
            or (any(kernel.role == "library" for kernel in by_kernel) and (len(by_kernel) > 1 or not _taken(producer)))
        ):
            stored.add(value)
            return
        places[value] = frozenset(found)
        if again:
            repeated.add(value)

    for node in reversed(reader.nodes):
        for value in node.outputs:
            settle(value, node)
    for value in generated:
        settle(value, None)
    return stored


def _repeats(reader: _Reader, node: Node, value: Value) -> bool:
    """Whether a node reads elements of a value more than once."""
    if node.role == "loop" or primitives.of(node.equation.name).kind == "repeat":
        return reader.elements(node.outputs[0]) > reader.elements(value)
    return False


def _reads(reader: _Reader, stored: set[Value], generated: Collection[Value]) -> list[Kernel]:
    """The kernels, with the arrays that each reads."""
    found: dict[Value, dict[Value, tuple[float, bool]]] = {}
    for value in generated:
        if value not in stored:
            found[value] = {}
    made: list[Kernel] = []
    for node in reader.nodes:
        merged: dict[Value, tuple[float, bool]] = {}
        part = (
            float(reader.size(node.outputs[0]))
            if primitives.of(node.equation.name).kind in ("part", "read")
            else math.inf
        )
        ordered = node.role == "loop"
        originals = node.equation.inputs if len(node.equation.inputs) == len(node.inputs) else node.inputs
        for value, original in zip(node.inputs, originals):
            if value.literal is not None and value.size <= 1:
                continue
            straight = ordered and original not in reader.reshaped
            below = None if value in stored else found.get(value)
            if below is None:
                below = {value: (float(reader.size(value)), True)}
            if straight and part == math.inf and not merged:
                merged = dict(below)
                continue
            for leaf, read in below.items():
                before = merged.get(leaf)
                if before is None:
                    merged[leaf] = read if straight and part == math.inf else (min(read[0], part), straight and read[1])
                elif before is not read or not straight:
                    merged[leaf] = max(before[0], min(read[0], part)), before[1] and read[1] and straight
        writes = tuple(value for value in node.outputs if value in stored)
        if writes:
            made.append(Kernel(node, writes, merged))
        for value in node.outputs:
            found[value] = merged
    return made
