"""How much memory a program holds at once, and how much its kernels read and write."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from jaxcalc.programs import primitives
from jaxcalc.programs.fusion import Kernel, kernels
from jaxcalc.programs.walk import Equation, Program, Value

__all__ = ["Traffic", "traffic"]

# Bytes at whose multiples temporaries start.
_ALIGNED = 64


@dataclass(frozen=True)
class Traffic:
    """Memory of one run of a program.

    Args:
      kernels: loops and library calls launched. bytes_moved: bytes that they read and write.
      peak: most bytes alive at once beyond the inputs. outputs: bytes of the outputs.
      copied: bytes that are written in another order than they are read.
    """

    kernels: int
    bytes_moved: float
    peak: int
    outputs: int
    copied: float


@dataclass
class _Slot:
    """A stretch of memory: the first and last kernel that need it, and its bytes."""

    start: int
    end: int
    size: int
    output: bool = False


def traffic(
    program: Program,
    bytes_of: Callable[[Value], int],
    inside: Mapping[Equation, int],
    owned: Collection[Value] = (),
    generated: Collection[Value] = (),
    entry: bool = False,
) -> Traffic:
    """Follow a program's arrays from the first kernel to the last.

    An array dies after its last reader; a loop that reads it element by element, and an update of a part, write over it
    then. Arguments are never written over.

    Args:
      program: without dead code.
      bytes_of: bytes of a value, all its lanes together.
      inside: for an equation with nested programs the bytes that they need beyond its inputs and outputs.
      owned: inputs that the program may write over (a loop's carry).
      generated: inputs that are computed where they are read (a basis).
      entry: whether it is a whole program, whose outputs get memory of their own, and not the body of a loop.
    """
    order, base, made_first, size = kernels(program, bytes_of, generated)
    order = _scheduled(order)
    outputs = [base.get(value, value) for value in program.outputs]
    last: dict[Value, int] = {}
    for i, kernel in enumerate(order):
        for leaf in kernel.reads:
            last[leaf] = i
    last.update(dict.fromkeys(outputs, len(order)))
    first = [*owned, *made_first]
    slots = {value: _Slot(-1, last.get(value, -1), bytes_of(value)) for value in first}
    moved, copied = float(sum(bytes_of(v) for v in made_first)), 0.0
    launched = len(made_first)
    scratch: list[_Slot] = []
    for i, kernel in enumerate(order):
        spare = [value for value in kernel.reads if last[value] == i and value in slots and slots[value].end == i]
        written, reused = 0, False
        for value in kernel.writes:
            bytes_ = size[value] if value in size else bytes_of(value)
            written += bytes_
            over = _written_over(kernel, bytes_, spare, slots)
            if over is None:
                slots[value] = _Slot(i, last.get(value, i), bytes_)
            else:
                reused = True
                spare.remove(over)
                slots[value] = slots[over]
                slots[value].end = last.get(value, i)
        need = inside.get(kernel.node.equation, 0) + _scratch(kernel, written)
        if need:
            scratch.append(_Slot(i, i, need))
        if kernel.node.equation.nested is None:
            launched += 2 if kernel.node.role == "windows" else 1
            moved += _moved(kernel, written, reused, bytes_of)
            if kernel.node.role in ("loop", "move") and any(
                not aligned and amount >= written for amount, aligned in kernel.reads.values()
            ):
                copied += written
    seen: set[Value] = set()
    extra = 0
    for value in outputs:
        if value in seen or value not in slots or value in owned:
            extra += bytes_of(value)
            launched += 1
        seen.add(value)
    for value in seen & set(slots):
        slots[value].output = True
    every = list({id(slot): slot for slot in slots.values()}.values()) + scratch
    peak = (_allocated(every) if entry else _alive(every)) + extra
    return Traffic(launched, moved + 2.0 * extra, peak, sum(map(bytes_of, program.outputs)), copied)


def _scheduled(order: Sequence[Kernel]) -> list[Kernel]:
    """The kernels in the order in which XLA starts them: breadth first, each as soon as what it reads is there."""
    writer = {value: i for i, kernel in enumerate(order) for value in kernel.writes}
    waiting, users = [0] * len(order), [[] for _ in order]
    for i, kernel in enumerate(order):
        for needed in {writer[value] for value in kernel.reads if value in writer}:
            waiting[i] += 1
            users[needed].append(i)
    ready = [i for i, count in enumerate(waiting) if not count]
    for i in ready:
        for user in users[i]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    return [order[i] for i in ready]


def _alive(slots: Sequence[_Slot]) -> int:
    """Most bytes alive at once."""
    change: dict[int, int] = {}
    for slot in slots:
        change[2 * slot.start] = change.get(2 * slot.start, 0) + slot.size
        change[2 * slot.end + 1] = change.get(2 * slot.end + 1, 0) - slot.size
    live = peak = 0
    for moment in sorted(change):
        live += change[moment]
        peak = max(peak, live)
    return peak


def _allocated(slots: Sequence[_Slot]) -> int:
    """Bytes that XLA sets aside: an array for each output, in which smaller temporaries may live before, and a heap."""
    outputs = sorted((slot for slot in slots if slot.output), key=lambda slot: slot.size)
    taken = [[(slot.start, slot.end)] for slot in outputs]
    heap = []
    for slot in sorted((slot for slot in slots if not slot.output), key=lambda slot: -slot.size):
        for place, uses in zip(outputs, taken):
            if place.size >= slot.size and all(slot.end < start or end < slot.start for start, end in uses):
                uses.append((slot.start, slot.end))
                break
        else:
            heap.append(slot)
    for slot in heap:
        slot.size = -(-slot.size // _ALIGNED) * _ALIGNED
    return sum(slot.size for slot in outputs) + _alive(heap)


def _written_over(kernel: Kernel, size: int, spare: Sequence[Value], slots: dict[Value, _Slot]) -> Value | None:
    """The dying array that a result of this size takes over."""
    node = kernel.node
    if node.equation.nested is not None:
        # A loop's carry starts in the arrays of its initial values.
        return next((value for value in spare if slots[value].size == size), None)
    operand = primitives.of(node.equation.name).in_place
    if operand is not None:
        value = node.inputs[operand]
        return value if value in spare and slots[value].size == size else None
    if node.role != "loop":
        return None
    return next((v for v in spare if slots[v].size == size and kernel.reads[v][1]), None)


def _scratch(kernel: Kernel, written: int) -> int:
    """Bytes that a kernel needs for itself."""
    equation = kernel.node.equation
    if primitives.of(equation.name).kind == "cumulative":
        return int((2.1 if equation.name != "cumlogsumexp" else 4.2) * written)
    if kernel.node.role == "windows":
        axes = equation.params.get("axes", equation.params.get("dimensions", ()))
        shape = equation.inputs[0].shape
        return written * math.prod(-(-shape[i] // 32) for i in axes)
    return 0


def _moved(kernel: Kernel, written: int, reused: bool, bytes_of: Callable[[Value], int]) -> float:
    """Bytes that one kernel reads and writes."""
    equation = kernel.node.equation
    if primitives.of(equation.name).kind == "write":
        update = bytes_of(equation.inputs[1 if equation.name == "dynamic_update_slice" else 2])
        return 3.0 * update + (0 if reused else 2 * written)
    return written + sum(amount for amount, _ in kernel.reads.values())
