"""Where a program's layers are, and the same program with a zero added to what each of them computes.

A layer is a sum over features with weights: a product of something made from the parameters alone with something that
depends on the input. The derivative in the zero added to its result is the gradient there.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc.models.criticality.fields import Outside
from jaxcalc.programs.walk import Branches, Equation, Program, Scan, While
from jaxcalc.transforms.interpreter import bind

__all__ = [
    "Layer",
    "Loop",
    "Row",
    "acts_on",
    "find_layers",
    "kind_of_row",
    "order_of_rows",
    "with_gradients",
    "with_scaling",
]

_PRODUCTS = ("dot_general", "conv_general_dilated")

Row = tuple[int, tuple[int, ...]]
"""a layer's number and the trip of each loop around it"""


class _Flags(NamedTuple):
    """What a value depends on."""

    params: bool = False
    data: bool = False
    layers: bool = False
    numbers: frozenset[int] = frozenset()
    """of the layers that it depends on"""
    loops: frozenset["Loop"] = frozenset()
    """in which it depends on layers of an earlier trip"""


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop around layers: one place of the program."""

    length: int
    reverse: bool

    @property
    def order(self) -> Sequence[int]:
        """The trips as they run, by their place in what is stacked."""
        return range(self.length)[::-1] if self.reverse else range(self.length)


@dataclass(frozen=True, eq=False)
class Layer:
    """One place of a program that is a layer, run once or, within loops, many times.

    Args:
      equation: the product.
      loops: around it, outermost first.
      reused: whether all trips share their weights.
      width: features that are summed, without a convolution's taps.
      features: the sizes of the axes that the weights add.
      met: the numbers of the layers whose results it acts on.
      chained: those of its loops in which it acts on what layers of an earlier trip compute; in others, as in a loop
        over examples, trips stand side by side.
      kind: layers of the same kind have the same place in their block.
    """

    equation: Equation
    loops: tuple[Loop, ...]
    reused: bool
    width: int
    features: tuple[int, ...]
    met: frozenset[int]
    chained: frozenset[Loop]
    kind: Any

    @property
    def trips(self) -> tuple[int, ...]:
        """The lengths of its loops."""
        return tuple(loop.length for loop in self.loops)

    @property
    def deep(self) -> bool:
        """Whether it acts on what another layer, or itself, computes."""
        return bool(self.met or self.chained)


def find_layers(program: Program, num_params: int) -> list[Layer]:
    """The layers of a program whose first inputs are parameters, in the order in which they run first.

    Raises:
      Outside: for a layer within a loop of unknown length or a branch.
    """
    flags = [_Flags(params=True)] * num_params + [_Flags(data=True)] * (len(program.inputs) - num_params)
    layers: list[Layer] = []
    _follow(program, flags, layers, (), frozenset())
    return layers


def _join(flags: Sequence[_Flags]) -> _Flags:
    params, data, layers = (any(each[i] for each in flags) for i in range(3))
    numbers = frozenset[int]().union(*(each.numbers for each in flags))
    return _Flags(params, data, layers, numbers, frozenset[Loop]().union(*(each.loops for each in flags)))


def _follow(
    program: Program,
    flags: Sequence[_Flags],
    layers: list[Layer] | None,
    loops: tuple[Loop, ...],
    shared: frozenset[Any],
) -> list[_Flags]:
    """What the outputs depend on, layers being listed on the way; ``shared`` inputs are the same in every trip."""
    known = dict(zip(program.inputs, flags, strict=True))
    same = set(shared)
    maker = {value: equation for equation in program.equations for value in equation.outputs}
    users: dict[Any, list[str]] = {}
    for equation in program.equations:
        for value in equation.inputs:
            users.setdefault(value, []).append(equation.name)
    for equation in program.equations:
        taken = [known.get(value, _Flags()) for value in equation.inputs]
        joined = _join(taken)
        if all(value in same or value.literal is not None for value in equation.inputs):
            same.update(equation.outputs)
        results = [joined] * len(equation.outputs)
        if isinstance(equation.nested, Scan):
            results = _follow_scan(equation.nested, taken, layers, loops)
        elif isinstance(equation.nested, While | Branches):
            programs = equation.nested.branches if isinstance(equation.nested, Branches) else (equation.nested.body,)
            for inner in programs:
                hidden: list[Layer] = []
                _follow(inner, [joined] * len(inner.inputs), hidden, loops, frozenset())
                makes = [e for e in inner.everything() if e.name in _PRODUCTS]
                if makes and joined.params and joined.data:
                    where = "a branch" if isinstance(equation.nested, Branches) else "a loop of unknown length"
                    raise Outside(f"a layer may be within {where}")
        elif equation.name in _PRODUCTS and (which := _weights(taken)) is not None:
            results = [joined._replace(layers=True)]
            if layers is not None:
                results = [results[0]._replace(numbers=joined.numbers | {len(layers)})]
                source = maker.get(equation.inputs[1 - which])
                layers.append(_layer(equation, which, taken[1 - which], loops, same, source, users))
        known.update(zip(equation.outputs, results, strict=True))
    return [known.get(value, _Flags()) for value in program.outputs]


def _weights(flags: Sequence[_Flags]) -> int | None:
    """Which of a product's two operands are weights."""
    for which in (0, 1):
        if flags[which].params and not flags[which].data and flags[1 - which].data:
            return which
    return None


def _follow_scan(scan: Scan, flags: list[_Flags], layers: list[Layer] | None, loops: tuple[Loop, ...]) -> list[_Flags]:
    first, after = scan.num_constants, scan.num_constants + scan.num_carry
    constants, carry, slices = flags[:first], flags[first:after], flags[after:]
    follow = lambda carry: _follow(scan.body, [*constants, *carry, *slices], None, (), frozenset())
    while True:  # until no trip adds to what the carry depends on
        joined = [_join(pair) for pair in zip(carry, follow(carry))]
        if joined == carry:
            break
        carry = joined
    loop = Loop(scan.length, scan.reverse)
    chained = zip(carry, _chained(scan, flags))
    before = [each._replace(loops=each.loops | {loop}) if own else each for each, own in chained]
    shared = frozenset(scan.body.inputs[:first])
    start = 0 if layers is None else len(layers)
    outputs = _follow(scan.body, [*constants, *before, *slices], layers, (*loops, loop), shared)
    # Through the carry what is made of one layer meets all of the loop's in other trips.
    numbers = frozenset(range(start, start if layers is None else len(layers)))
    leave = lambda each: each._replace(
        loops=each.loops - {loop}, numbers=each.numbers | numbers if loop in each.loops else each.numbers
    )
    return list(map(leave, outputs))


def _chained(scan: Scan, flags: list[_Flags]) -> list[bool]:
    """Which parts of a loop's carry are made by layers within it."""
    flags = [each._replace(layers=False) for each in flags]
    first, after = scan.num_constants, scan.num_constants + scan.num_carry
    constants, carry, slices = flags[:first], flags[first:after], flags[after:]
    while True:
        outputs = _follow(scan.body, [*constants, *carry, *slices], None, (), frozenset())
        joined = [_join(pair) for pair in zip(carry, outputs)]
        if joined == carry:
            return [each.layers for each in carry]
        carry = joined


def _layer(
    equation: Equation,
    which: int,
    data: _Flags,
    loops: tuple[Loop, ...],
    same: set[Any],
    source: Equation | None,
    users: dict[Any, list[str]],
) -> Layer:
    shape = equation.inputs[which].shape
    params = equation.params
    if equation.name == "dot_general":
        summed, batch = (sides[which] for sides in params["dimension_numbers"])
        width = math.prod(shape[axis] for axis in summed)
        features = tuple(size for axis, size in enumerate(shape) if axis not in summed and axis not in batch)
    else:
        numbers = params["dimension_numbers"]
        width = shape[numbers.rhs_spec[1]]
        features = (shape[numbers.rhs_spec[0]],)
    follows = tuple(sorted(users.get(equation.outputs[0], ())))
    chained = data.loops & frozenset(loops)
    # In a loop over depth each layer is its own kind; written out one by one, what looks alike is.
    kind: Any = (equation.name, shape, equation.outputs[0].shape, source.name if source else "", follows, loops)
    if chained:
        kind = equation
    reused = bool(loops) and equation.inputs[which] in same
    return Layer(equation, loops, reused, width, features, data.numbers, chained, kind)


# -- the program with probes ---------------------------------------------------------------------------------------


def with_gradients(program: Program, layers: Sequence[Layer]) -> Callable[..., tuple[list[Any], list[Any]]]:
    """What each layer computes and the gradient there, as ``f(inputs, cotangents)``; loops' trips lead."""
    run = _with_probes(program, layers)

    def gradients(inputs, cotangents):
        def forward(probes):
            outputs, computed = run(program, inputs, probes)
            return [o for o, value in zip(outputs, program.outputs) if value.inexact], computed

        _, pull, computed = jax.vjp(forward, _zeros(layers), has_aux=True)
        (gradient,) = pull(list(cotangents))
        return [computed[i] for i in range(len(layers))], [gradient[i] for i in range(len(layers))]

    return gradients


def with_scaling(program: Program, layers: Sequence[Layer], num_params: int) -> Callable[..., list[Any]]:
    """How each layer's result changes as the input is scaled, as ``f(inputs)``: the derivative along the input."""
    run = _with_probes(program, layers)

    def changes(inputs):
        params, data = list(inputs[:num_params]), list(inputs[num_params:])
        moving = [jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in data]
        moved = [x for x, moves in zip(data, moving) if moves]

        def forward(moved):
            rest = iter(moved)
            inputs = [*params, *(next(rest) if moves else x for x, moves in zip(data, moving))]
            computed = run(program, inputs, _zeros(layers))[1]
            return [computed[i] for i in range(len(layers))]

        return jax.jvp(forward, (moved,), (moved,))[1]

    return changes


def _zeros(layers: Sequence[Layer]) -> dict[int, Any]:
    return {
        number: jnp.zeros((*layer.trips, *layer.equation.outputs[0].shape), layer.equation.outputs[0].dtype)
        for number, layer in enumerate(layers)
    }


def _with_probes(program: Program, layers: Sequence[Layer]) -> Callable[..., tuple[list[Any], dict[int, Any]]]:
    """``run(program, inputs, probes)``: the outputs, and each layer's result with its probe added."""
    places = {layer.equation: number for number, layer in enumerate(layers)}
    holders = {
        equation: equation.nested
        for equation in program.everything()
        if isinstance(equation.nested, Scan) and any(inner in places for inner in equation.nested.body.everything())
    }

    def run(program: Program, operands: Sequence[Any], probes: dict[int, Any]) -> tuple[list[Any], dict[int, Any]]:
        values: dict[Any, Any] = dict(zip(program.inputs, operands, strict=True))
        computed: dict[int, Any] = {}
        read = lambda value: values.get(value, value.literal)
        for equation in program.equations:
            taken = [read(value) for value in equation.inputs]
            if equation in holders:
                results, inner = loop(holders[equation], taken, probes)
                computed.update(inner)
            else:
                results = bind(equation, *taken)
            if equation in places:
                number = places[equation]
                results = [results[0] + probes[number]]
                computed[number] = results[0]
            values.update(zip(equation.outputs, results, strict=True))
        return [read(value) for value in program.outputs], computed

    def loop(scan: Scan, operands: Sequence[Any], probes: dict[int, Any]) -> tuple[list[Any], dict[int, Any]]:
        first, after = scan.num_constants, scan.num_constants + scan.num_carry
        inside = {places[e]: probes[places[e]] for e in scan.body.everything() if e in places}

        def step(carry, slices):
            inputs, probes = slices
            outputs, computed = run(scan.body, [*operands[:first], *carry, *inputs], probes)
            return outputs[: scan.num_carry], (outputs[scan.num_carry :], computed)

        carry = [jnp.asarray(value) for value in operands[first:after]]
        carry = [
            jax.lax.convert_element_type(value, like.dtype) if like.inexact else value
            for value, like in zip(carry, scan.body.inputs[first:after])
        ]
        carry, (stacked, computed) = jax.lax.scan(
            step, carry, (list(operands[after:]), inside), scan.length, scan.reverse, scan.unroll
        )
        return [*carry, *stacked], computed

    return run


# -- rows ----------------------------------------------------------------------------------------------------------


def order_of_rows(layers: Sequence[Layer]) -> list[Row]:
    """Each layer's number and trips, in the order in which they run: layers of one loop trip by trip."""
    rows: list[Row] = []

    def lay(numbers: Sequence[int], trip: tuple[int, ...]) -> None:
        level = len(trip)
        loop_of = lambda number: layers[number].loops[level] if level < len(layers[number].loops) else None
        for loop, members in itertools.groupby(numbers, loop_of):
            inside = list(members)
            if loop is None:
                rows.extend((number, trip) for number in inside)
            else:
                for place in loop.order:
                    lay(inside, (*trip, place))

    lay(range(len(layers)), ())
    return rows


def kind_of_row(layers: Sequence[Layer], row: Row) -> Any:
    """The kind of a layer, in trips that stand side by side one of its own for each."""
    layer, trip = layers[row[0]], row[1]
    return layer.kind, tuple(place for loop, place in zip(layer.loops, trip) if loop not in layer.chained)


def acts_on(layers: Sequence[Layer], later: Row, earlier: Row) -> bool:
    """Whether a row depends on one that has run before it."""
    number, trip = later
    layer, before = layers[number], layers[earlier[0]]
    for loop, other, place, past in zip(layer.loops, before.loops, trip, earlier[1]):
        if loop is not other:
            break
        if place != past:
            return loop in layer.chained
    return earlier[0] in layer.met
