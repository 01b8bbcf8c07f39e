"""Which inputs the rows of a compressed Jacobian belong to, element by element, known while tracing.

An array of shape ``S`` whose elements depend on at most ``k`` of ``n`` inputs each keeps its derivatives in ``k`` rows
of shape ``S``; ``Slots`` tells the input that row ``j`` is the derivative by, for each element (none: the row is zero
there). Any operation between elements that agree on their slots acts on the rows as it would on a dense Jacobian's.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc.programs import primitives
from jaxcalc.programs.walk import Equation
from jaxcalc.transforms.interpreter import bind, known

__all__ = ["Slots", "agree", "crossed", "image", "mixed", "mixing", "rearrange", "union"]

_LARGEST = 1 << 22  # entries of an index array; beyond, the Jacobian is taken as dense
_SEARCHED = 1 << 20  # entries of a dense Jacobian that are looked up one by one, which runs fastest


class Slots:
    """Input numbers of compressed rows; two are equal iff their numbers are.

    Args:
      index: shape ``(k, *S)``, an axis of ``S`` being 1 where the numbers do not change along it; -1 for no input. No
        number twice for one element.
      count: ``n``, the number of inputs.
    """

    __slots__ = ("_hash", "count", "index")

    def __init__(self, index: np.ndarray, count: int):
        self.index, self.count = np.ascontiguousarray(index, np.int32), count
        self._hash = hash((self.index.shape, self.index.tobytes(), count))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slots) and self.count == other.count and np.array_equal(self.index, other.index)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Slots({self.index.shape[0]} of {self.count}, {self.index.shape[1:]})"

    def with_axis(self) -> "Slots":
        """The same with a new leading axis of the array, along which nothing changes."""
        return Slots(self.index[:, None], self.count)


def _reduced(index: np.ndarray, count: int) -> Slots:
    """Slots from an index array of full shape."""
    for axis in range(1, index.ndim):
        if index.shape[axis] > 1 and (index == index.take([0], axis)).all():
            index = index.take([0], axis)
    return Slots(index, count)


def _distinct(index: np.ndarray, count: int) -> Slots | None:
    """Slots of all numbers along the leading axis, each once; ``None`` if they are too many to be worth it."""
    empty = np.iinfo(np.int32).max
    ordered = np.sort(np.where(index < 0, empty, index), axis=0)
    ordered[1:][ordered[1:] == ordered[:-1]] = empty
    ordered.sort(axis=0)  # empty slots last
    used = max(1, int((ordered < empty).sum(0).max(initial=0)))
    if 2 * used > count:
        return None
    return _reduced(np.where(ordered[:used] < empty, ordered[:used], -1), count)


def union(several: Sequence[Slots]) -> Slots | None:
    """The slots for whatever any of several have, element by element; ``None`` for a dense Jacobian."""
    if all(slots == several[0] for slots in several):
        return several[0]
    shape = np.broadcast_shapes(*(slots.index.shape[1:] for slots in several))
    rows = sum(slots.index.shape[0] for slots in several)
    if rows * int(np.prod(shape)) > _LARGEST:
        return None
    parts = [np.broadcast_to(slots.index, (slots.index.shape[0], *shape)) for slots in several]
    return _distinct(np.concatenate(parts), several[0].count)


def mixed(slots: Slots, axes: Sequence[int]) -> Slots | None:
    """The slots for all elements along some axes of the array together; ``None`` for a dense Jacobian."""
    index = slots.index
    axes = [axis + 1 for axis in axes if index.shape[axis + 1] > 1]
    if not axes:
        return slots
    gathered = np.moveaxis(index, axes, range(1, 1 + len(axes)))
    gathered = gathered.reshape(-1, *gathered.shape[1 + len(axes) :])
    found = _distinct(gathered, slots.count)
    if found is None:
        return None
    return Slots(np.expand_dims(found.index, tuple(axes)), slots.count)


def rearrange(rows: jax.Array, slots: Slots, wanted: Slots | None) -> jax.Array:
    """Compressed rows laid out for slots that hold at least as much, ``None`` for a dense Jacobian's ``n`` rows."""
    if wanted == slots:
        return rows
    dims = (1,) * (rows.ndim - 1)
    if wanted is None and slots.index.shape[0] == 1:  # a diagonal, rather than a constant as large as the Jacobian
        return jnp.where(jnp.arange(slots.count, dtype=np.int32).reshape(-1, *dims) == slots.index, rows, 0)
    if wanted is None and slots.count * rows[0].size > _SEARCHED:
        return _scattered(rows, slots)
    target = np.arange(slots.count).reshape(-1, *dims) if wanted is None else wanted.index
    source, place = _placement(slots, target)
    if source is None:  # an input has different rows at different elements
        return _gathered(rows, place)
    if not np.array_equal(source, np.arange(rows.shape[0])):
        rows = rows[source]
    return rows if (place >= 0).all() else jnp.where(place >= 0, rows, 0)


def crossed(slots: Slots, axes: Sequence[int], shape: Sequence[int]) -> Slots | None:
    """The slots if each row becomes one row for every place along some axes of an array, which are dropped.

    ``None`` if that would not make every row another input's, for every element.
    """
    if any(slots.index.shape[axis + 1] != shape[axis] for axis in axes):
        return None
    axes = [axis + 1 for axis in axes]
    index = np.moveaxis(slots.index, axes, range(1, 1 + len(axes)))
    index = index.reshape(int(np.prod(index.shape[: 1 + len(axes)])), *index.shape[1 + len(axes) :])
    ordered = np.sort(index, axis=0)
    if not 0 < index.shape[0] <= slots.count or (ordered[1:] == ordered[:-1]).any() or (ordered < 0).any():
        return None
    return Slots(index, slots.count)


def _search(index: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The row that holds each wanted number, -1 where none does."""
    shape = np.broadcast_shapes(index.shape[1:], target.shape[1:])
    place = np.full((target.shape[0], *shape), -1, np.int16 if index.shape[0] < 1 << 15 else np.int32)
    for row, numbers in enumerate(index):
        place[np.broadcast_to((numbers == target) & (target >= 0), place.shape)] = row
    return place


def _placement(slots: Slots, target: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Which row holds each wanted slot, if it is one for all elements, and the row (or -1) for each element."""
    place = _search(slots.index, target)
    flat = place.reshape(place.shape[0], int(np.prod(place.shape[1:])))
    highest = flat.max(1, initial=-1)
    uniform = ((flat == highest[:, None]) | (flat < 0)).all()
    return (np.maximum(highest, 0) if uniform else None), place


def _scattered(rows: jax.Array, slots: Slots) -> jax.Array:
    """Compressed rows as a dense Jacobian's, by writing each element to its place: no array of its size is searched."""
    shape = rows.shape[1:]
    number = np.where(slots.index < 0, slots.count, slots.index)  # out of bounds, where it is dropped
    places = (np.broadcast_to(number, rows.shape), *np.ogrid[tuple(map(slice, shape))])
    dense = jnp.zeros((slots.count, *shape), rows.dtype)
    return dense.at[places].set(rows, mode="drop", unique_indices=False)


def _gathered(rows: jax.Array, place: np.ndarray) -> jax.Array:
    """The row named for each element, zero for -1; whole slices at once along the axes where the names are the same."""
    shape, last = rows.shape[1:], rows.ndim
    while last > 1 and place.shape[last - 1] == 1:
        last -= 1
    size = int(np.prod(shape[: last - 1]))
    place = np.broadcast_to(place.reshape(place.shape[:last]), (place.shape[0], *shape[: last - 1]))
    number = np.maximum(place, 0).astype(np.int32) * size + np.arange(size, dtype=np.int32).reshape(shape[: last - 1])
    taken = rows.reshape(-1, *shape[last - 1 :]).at[number].get(mode="promise_in_bounds")
    mask = place.reshape(*place.shape, *(1,) * (rows.ndim - last))
    return taken if (place >= 0).all() else jnp.where(mask >= 0, taken, 0)


# -- what a primitive does to slots ----------------------------------------------------------------------------------

_MOVES = (primitives.MOVEMENTS - {"identity"}) | {"read", "write"}
_REPLACES = ("scatter", "dynamic_update_slice")
_REDUCED = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")


def mixing(equation: Equation, moving: Sequence[bool]) -> list[tuple[int, ...]] | None:
    """The axes of each operand along which a primitive lets elements meet; ``None`` where that is not known."""
    shapes, params = [value.shape for value in equation.inputs], equation.params
    match _kind(equation):
        case kind if kind in _MOVES:
            return [() for _ in shapes]
        case "reduction" if equation.name in _REDUCED:
            return [tuple(params["axes"])]
        case "cumulative":
            return [(params["axis"],)]
        case "sort" if equation.name == "sort":
            return [(params["dimension"],) for _ in shapes]
        case "transform":
            return [tuple(range(len(shapes[0]) - len(params["fft_lengths"]), len(shapes[0])))]
        case "matrix":
            return [(len(shape) - 2, len(shape) - 1) for shape in shapes]
        case "product" if equation.name == "dot_general":
            contracted, batch = params["dimension_numbers"]
            if not all(moving):
                return [tuple(axes) for axes in contracted]
            return [tuple(i for i in range(len(shape)) if i not in batch[side]) for side, shape in enumerate(shapes)]
        case "elementwise":
            shape = equation.outputs[0].shape
            return None if any(s != shape for s, move in zip(shapes, moving) if move) else [() for _ in shapes]
    return None


def _kind(equation: Equation) -> primitives.Kind:
    """How a primitive moves or mixes elements, where that is all it does.

    Of linear algebra it is told for stacks of matrices alone, of writes for those that replace what they write over.
    """
    row = primitives.of(equation.name)
    stacks = row.trailing == 2 and len({len(value.shape) for value in equation.inputs}) == 1
    told = {"matrix": stacks, "write": equation.name in _REPLACES}.get(row.kind, True)
    return row.kind if told else "unknown"


def image(
    equation: Equation, operands: Sequence[Any], layouts: Sequence[Slots | None], moving: Sequence[bool]
) -> Sequence[Slots | None] | None:
    """The slots of each output, from those of the moving operands after ``mixing``; ``None`` where not known."""
    name, params = equation.name, equation.params
    present = [slots for slots in layouts if slots is not None]
    index, count = present[0].index, present[0].count
    lone = Slots(index, count) if len(present) == 1 else None
    kind = _kind(equation)
    match name:
        case name if name in _REDUCED:
            if 0 in index.shape:  # nothing to sum, and nothing that the sum depends on
                return None
            return [Slots(np.squeeze(index, tuple(axis + 1 for axis in params["axes"])), count)]
        case "sort" | "fft":
            return [present[0] for _ in equation.outputs]
        case _ if kind in ("cumulative", "elementwise"):
            return [present[0]]
        case _ if kind == "matrix":
            batch = index.shape[: len(equation.inputs[0].shape) - 1]
            return [
                Slots(index.reshape(*batch, *(1,) * (len(value.shape) + 1 - len(batch))), count)
                for value in equation.outputs
            ]
        case "dot_general":
            return [_product(equation, layouts, moving)]
        case "transpose" if lone:
            return [Slots(index.transpose(0, *(axis + 1 for axis in params["permutation"])), count)]
        case "broadcast_in_dim" if lone:
            shape = [1] * len(equation.outputs[0].shape)
            for axis, size in zip(params["broadcast_dimensions"], index.shape[1:]):
                shape[axis] = size
            return [Slots(index.reshape(index.shape[0], *shape), count)]
        case "squeeze" | "expand_dims" if lone:
            axes = tuple(axis + 1 for axis in params["dimensions"])
            return [Slots(np.squeeze(index, axes) if name == "squeeze" else np.expand_dims(index, axes), count)]
        case "slice" if lone:
            cuts = zip(params["start_indices"], params["limit_indices"], params["strides"] or [1] * (index.ndim - 1))
            whole = [slice(None) if size == 1 else slice(*cut) for size, cut in zip(index.shape[1:], cuts)]
            return [_reduced(index[(slice(None), *whole)], count)]
        case "rev" if lone:
            return [Slots(np.flip(index, tuple(axis + 1 for axis in params["dimensions"])), count)]
        case "reshape" if lone and params.get("dimensions") is None:
            full = np.broadcast_to(index, (index.shape[0], *equation.inputs[0].shape))
            if full.size > _LARGEST:
                return None
            return [_reduced(full.reshape(index.shape[0], *equation.outputs[0].shape), count)]
        case _ if kind in _MOVES:
            return _evaluated(equation, operands, layouts)
    return None


def agree(equation: Equation, layouts: Sequence[Slots]) -> list[Slots] | None:
    """The slots of several moving operands after ``mixing``, made the same where their elements meet.

    What is joined or written over does not meet.
    """
    if primitives.of(equation.name).kind == "join" or equation.name in _REPLACES:
        return list(layouts)
    if equation.name != "dot_general":
        joint = union(layouts)
        return None if joint is None else [joint for _ in layouts]
    batch = [[axis + 1 for axis in axes] for axes in equation.params["dimension_numbers"][1]]
    bare = []
    for slots, axes in zip(layouts, batch):  # all other axes have length 1 now
        index = np.moveaxis(slots.index, axes, range(1, 1 + len(axes)))
        bare.append(Slots(index.reshape(index.shape[: 1 + len(axes)]), slots.count))
    joint = union(bare)
    if joint is None:
        return None
    agreed = []
    for slots, axes in zip(layouts, batch):
        index = joint.index.reshape(*joint.index.shape, *(1,) * (slots.index.ndim - joint.index.ndim))
        agreed.append(Slots(np.moveaxis(index, range(1, 1 + len(axes)), axes), slots.count))
    return agreed


def _product(equation: Equation, layouts: Sequence[Slots | None], moving: Sequence[bool]) -> Slots:
    """Output slots of a dot product: batch axes, free axes of the left, free axes of the right."""
    contracted, batch = equation.params["dimension_numbers"]
    ndims = [len(value.shape) for value in equation.inputs]
    free = [[i for i in range(n) if i not in contracted[side] and i not in batch[side]] for side, n in enumerate(ndims)]
    side = 0 if moving[0] else 1
    slots = layouts[side]
    assert slots is not None
    index = slots.index
    ordered = index.transpose(0, *(i + 1 for i in (*batch[side], *free[side], *contracted[side])))
    kept = ordered.shape[: 1 + len(batch[side]) + len(free[side])]
    first = 1 + len(batch[side])
    before, after = (0, len(free[1])) if side == 0 else (len(free[0]), 0)
    return Slots(ordered.reshape(*kept[:first], *(1,) * before, *kept[first:], *(1,) * after), slots.count)


def _evaluated(
    equation: Equation, operands: Sequence[Any], layouts: Sequence[Slots | None]
) -> list[Slots | None] | None:
    """Output slots of what only moves elements about, by moving their numbers about."""
    present = [slots for slots in layouts if slots is not None]
    rows, count = max(slots.index.shape[0] for slots in present), present[0].count
    numbers: list[Any] = []
    for value, operand, slots in zip(equation.inputs, operands, layouts):
        if slots is not None or value.inexact:
            index = np.full((rows, *value.shape), -1, np.int32)
            if index.size > _LARGEST:
                return None
            if slots is not None:
                index[: slots.index.shape[0]] = slots.index
            numbers.append(index)
        elif known(operand):
            numbers.append(np.broadcast_to(np.asarray(operand), (rows, *value.shape)))
        else:
            return None
    with jax.ensure_compile_time_eval():
        outputs = jax.vmap(lambda *arrays: bind(equation, *arrays))(*map(jnp.asarray, numbers))
    # A gather fills what lies outside with the least integer.
    return [_reduced(np.maximum(np.asarray(output), -1), count) for output in outputs]
