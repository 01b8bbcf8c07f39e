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

__all__ = ["Layer", "find_layers", "order_of_rows", "with_gradients", "with_scaling"]

_PRODUCTS = ("dot_general", "conv_general_dilated")


class _Flags(NamedTuple):
    """What a value depends on."""

    params: bool = False
    data: bool = False
    layers: bool = False


@dataclass(frozen=True, eq=False)
class Layer:
    """One place of a program that is a layer, run once or, within loops, many times.

    Args:
      equation: the product.
      trips: the lengths of the loops around it, outermost first.
      reused: whether all trips share their weights.
      width: features that are summed, without a convolution's taps.
      features: the sizes of the axes that the weights add.
      deep: whether it acts on what another layer computes.
      kind: layers of the same kind have the same place in their block.
    """

    equation: Equation
    trips: tuple[int, ...]
    reused: bool
    width: int
    features: tuple[int, ...]
    deep: bool
    kind: Any


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
    return _Flags(*(any(column) for column in zip(*flags))) if flags else _Flags()


def _follow(
    program: Program,
    flags: Sequence[_Flags],
    layers: list[Layer] | None,
    trips: tuple[int, ...],
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
            results = _follow_scan(equation.nested, equation.inputs, taken, layers, trips, same)
        elif isinstance(equation.nested, While | Branches):
            programs = equation.nested.branches if isinstance(equation.nested, Branches) else (equation.nested.body,)
            for inner in programs:
                hidden: list[Layer] = []
                _follow(inner, [joined] * len(inner.inputs), hidden, trips, frozenset())
                makes = [e for e in inner.everything() if e.name in _PRODUCTS]
                if makes and joined.params and joined.data:
                    where = "a branch" if isinstance(equation.nested, Branches) else "a loop of unknown length"
                    raise Outside(f"a layer may be within {where}")
        elif equation.name in _PRODUCTS and (which := _weights(taken)) is not None:
            results = [joined._replace(layers=True)]
            if layers is not None:
                source = maker.get(equation.inputs[1 - which])
                layers.append(_layer(equation, which, taken[1 - which], trips, same, source, users))
        known.update(zip(equation.outputs, results, strict=True))
    return [known.get(value, _Flags()) for value in program.outputs]


def _weights(flags: Sequence[_Flags]) -> int | None:
    """Which of a product's two operands are weights."""
    for which in (0, 1):
        if flags[which].params and not flags[which].data and flags[1 - which].data:
            return which
    return None


def _follow_scan(
    scan: Scan,
    inputs: Sequence[Any],
    flags: list[_Flags],
    layers: list[Layer] | None,
    trips: tuple[int, ...],
    same: set[Any],
) -> list[_Flags]:
    first, after = scan.num_constants, scan.num_constants + scan.num_carry
    constants, carry, slices = flags[:first], flags[first:after], flags[after:]
    while True:  # until no trip adds to what the carry depends on
        outputs = _follow(scan.body, [*constants, *carry, *slices], None, (), frozenset())
        joined = [_join(pair) for pair in zip(carry, outputs)]
        if joined == carry:
            break
        carry = joined
    shared = frozenset(scan.body.inputs[:first])
    return _follow(scan.body, [*constants, *carry, *slices], layers, (*trips, scan.length), shared)


def _layer(
    equation: Equation,
    which: int,
    data: _Flags,
    trips: tuple[int, ...],
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
    # In a loop each layer is its own kind; written out one by one, what looks alike is.
    kind: Any = (equation.name, shape, equation.outputs[0].shape, source.name if source else "", follows, trips)
    if trips:
        kind = equation
    return Layer(equation, trips, bool(trips) and equation.inputs[which] in same, width, features, data.layers, kind)


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


def order_of_rows(layers: Sequence[Layer]) -> list[tuple[int, tuple[int, ...]]]:
    """Each layer's number and trip, in the order in which they run: layers of one loop trip by trip."""
    rows: list[tuple[int, tuple[int, ...]]] = []
    number = 0
    while number < len(layers):
        trips = layers[number].trips
        last = number
        while trips and last + 1 < len(layers) and layers[last + 1].trips == trips:
            last += 1
        for trip in itertools.product(*map(range, trips)):
            rows.extend((each, trip) for each in range(number, last + 1))
        number = last + 1
    return rows
