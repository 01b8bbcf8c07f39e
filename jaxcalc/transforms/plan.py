"""A plan as data: the routes to an operator's result, what was asked for, which route is taken, and its printing."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.programs.cost import Cost
from jaxcalc.programs.speed import Device
from jaxcalc.transforms.guards import own_transfers
from jaxcalc.transforms.lifting import NEEDS_NUMBERS, LeafMap, abstract, split_arrays
from jaxcalc.transforms.tables import columns, in_bytes, in_seconds, in_units

__all__ = ["FAST_ENOUGH", "TIE", "Operator", "Plan", "Request", "Route"]

# Why a route is passed over where another is as fast as can be.
FAST_ENOUGH = "no program is called much faster than the chosen one"
# Two predictions within this factor are a tie, which fewer products win, and among as many the simpler route (listed
# earlier): one program timed twice differs by as much.
TIE = 1.05


@dataclass(frozen=True)
class Route:
    """One way to an operator's result.

    Args:
      method: the name that ``method=`` takes.
      how: what it does here, in a few words ("3 column products").
      passes: products with the Jacobian or its transpose, whatever is chunked or vmapped.
      run: from the map to ``(result, aux)``; ``None`` where the route is refused.
      price: what it costs, computed on demand from the traced programs; dropped once a plan is made.
      smaller: from a bound on bytes to the same route in chunks that are expected to fit, or ``None`` if none does.
      cost, seconds: as priced and predicted.
      refused: why it is not offered; empty if it is.
      unpriced: why there is no cost; such a route is the last to be taken.
      held: about how many bytes of indices it keeps of the pattern that it rests on; 0 without one. A pattern may have
        been read from the values of constants and of arguments that are not differentiated.
    """

    method: str
    how: str = ""
    passes: int = 0
    run: Callable[[LeafMap], tuple[Any, Any]] | None = field(default=None, repr=False)
    price: Callable[[], Cost] | None = field(default=None, repr=False)
    smaller: Callable[[int], "Route | None"] | None = field(default=None, repr=False)
    cost: Cost | None = None
    seconds: float = math.nan
    refused: str = ""
    unpriced: str = ""
    held: int = 0

    def priced(self, on: Device) -> "Route":
        """The route with its cost and predicted seconds."""
        if self.refused or self.price is None or self.cost is not None:
            return self
        try:
            cost = self.price()
        except Exception as error:  # a program that the model does not understand still has a derivative
            return dataclasses.replace(self, seconds=math.inf, unpriced=f"{type(error).__name__}: {error}")
        return dataclasses.replace(self, cost=cost, seconds=on.seconds(cost))

    @property
    def label(self) -> str:
        """Method and manner, as a table shows it."""
        return f"{self.method} ({self.how})" if self.how else self.method

    @property
    def peak_bytes(self) -> float:
        """Predicted peak of temporaries and results; 0 where there is no price, so that any budget lets it be tried."""
        return self.cost.peak_bytes if self.cost is not None else 0.0

    def fits(self, budget: int) -> bool:
        """Whether it is expected to need no more than so many bytes."""
        return self.peak_bytes <= budget


@dataclass(frozen=True)
class Operator:
    """What a planner has to know of an operator.

    Args:
      name: as users call it.
      choices: from the operator's keywords to what was chosen, validated; a frozen dataclass with ``method`` and
        ``memory_budget``.
      lift: from function, arguments and choices to the map.
      routes: from the map, the choices and a slack to all routes of the methods asked for, the simplest first. A route
        that is dear to find (its pattern has to be read) is looked for only where it could be as fast as the best
        other one, or that many times slower.
      finish: from the map, the choices, the route's result and its auxiliary output to what the operator returns.
      direct: from the map and the choices to the one route that they name, untraced and unchecked, or ``None``.
    """

    name: str
    choices: Callable[..., Any]
    lift: Callable[[Callable[..., Any], Sequence[Any], Any], LeafMap]
    routes: Callable[..., list[Route]]
    finish: Callable[[LeafMap, Any, Any, Any], Any]
    direct: Callable[[LeafMap, Any], Route | None] = lambda core, choices: None


class Traced(NamedTuple):
    """A function as a program of every array among its arguments.

    Args:
      jaxpr: the closed jaxpr.
      arrays: those that it was traced for.
      inputs: for each input of the map its place among the arrays; ``None`` for one that is no array there.
      taken: the places of the map's inputs and of the further arrays that the operator takes, such as a vector.
      output_tree: as ``LeafMap`` has it.
      numbers: whether bare numbers are among the arrays.
    """

    jaxpr: Any
    arrays: tuple[Any, ...]
    inputs: tuple[Any, ...]
    taken: frozenset[int]
    output_tree: Callable[[Sequence[Any]], Any]
    numbers: bool


@dataclass(frozen=True, eq=False)
class Request:
    """What an operator was asked for.

    Args:
      operator, fun: the operator, and the function that it is applied to.
      choices: the operator's keywords, validated.
      args: the function's arguments: arrays, tracers, or shapes in their place.
      guard: what puts the function under the guards that a user set, while those on the operator itself are lifted.
    """

    operator: Operator
    fun: Callable[..., Any]
    choices: Any
    args: Any
    guard: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda fun: fun

    @property
    def budget(self) -> int | None:
        """Bytes that a user allows; ``None`` for whatever the device has."""
        return self.choices.memory_budget

    @functools.cached_property
    def core(self) -> LeafMap:
        """The map of arrays that the routes differentiate.

        It is made once: the routes are found for it, and what they return is put together by what it saw when called.
        """
        return self.operator.lift(self.guard(self.fun), self.args, self.choices)

    @functools.cached_property
    def traced(self) -> Traced:
        """The function as a program; what is traced several times runs the user's Python once."""
        try:
            return self._trace(numbers=True)
        except NEEDS_NUMBERS:  # a bare number decides what the function does: it is of the program
            return self._trace(numbers=False)

    def _trace(self, *, numbers: bool) -> Traced:
        arrays, unflatten = split_arrays(self.args, numbers=numbers)
        places: list[int | None] = []
        taken: set[int] = set()
        trees: list[Any] = []

        def everything(*operands: Any) -> Any:
            # As a constant an array would be part of the fingerprint.
            whole = self.operator.lift(self.guard(self.fun), unflatten(operands), self.choices)
            # The map takes its inputs over from the arguments, so that the same object is the same argument.
            order = {id(operand): place for place, operand in enumerate(operands)}
            places[:] = [order.get(id(x)) for x in whole.inputs]
            taken.update(order.get(id(x), -1) for x in (*whole.inputs, *jax.tree.leaves(whole.extra)))
            trees[:] = [whole.output_tree]
            return whole.plain(*whole.inputs)

        jaxpr = jax.make_jaxpr(everything)(*abstract(arrays))
        return Traced(jaxpr, tuple(arrays), tuple(places), frozenset(taken), trees[0], numbers)

    @functools.cached_property
    def staged(self) -> LeafMap:
        """``core`` without its auxiliary output, by the traced program: what routes are found for and priced by."""
        traced = self.traced
        if None in traced.inputs:  # a number that decides something is differentiated too
            return self.core.staged

        def operands(inputs: Any) -> Any:
            full = list(traced.arrays)
            for place, array in zip(traced.inputs, inputs, strict=True):
                full[place] = array
            return full

        return dataclasses.replace(self.core.evaluated(traced.jaxpr, operands), output_tree=traced.output_tree)

    @functools.cached_property
    def parts(self) -> tuple[list[Any], Callable[[Sequence[Any]], tuple[Any, ...]]]:
        """What may be traced among the arguments, and what puts others in place.

        That is every array, and bare numbers too, unless one decides what the function does.
        """
        leaves, unflatten = split_arrays(self.args)
        arrays, beside_numbers = split_arrays(self.args, numbers=False)
        decided = len(arrays) < len(leaves) and not self.traced.numbers
        return (arrays, beside_numbers) if decided else (leaves, unflatten)

    def with_args(self, args: Any) -> "Request":
        """The same for other arguments."""
        return dataclasses.replace(self, args=args)

    def abstract(self) -> "Request":
        """The same with shapes and dtypes in place of arrays: what a plan is valid for, and can be pickled with."""
        leaves, unflatten = self.parts
        return self.with_args(unflatten(abstract(leaves)))

    def follow(self, route: Route) -> Any:
        """The operator's result by one route."""
        assert route.run is not None
        return self.operator.finish(self.core, self.choices, *route.run(self.core))


@dataclass(frozen=True, eq=False)
class Plan:
    """Which route an operator takes for arguments of certain shapes, and why; calling it runs that route.

    It is hashable and may be jitted, vmapped and, where its function can be, pickled.

    Args:
      operator: the operator's name.
      routes: every route that was considered, with its price or the reason why it is not offered.
      chosen: the one that is taken.
      budget: bytes that it had to fit into, and whether a user gave it (else it is what the device has).
      effort: ``"estimate"``, ``"measure"``, or ``"remembered"`` where an earlier measurement decided.
      on: the device whose speeds the predictions use.
      request: what it was asked for, with shapes in place of arrays; ``None`` in a plan that is remembered beside its
        function, which must not keep that function alive.
      measured: seconds by label, where routes were timed.
      remake: what makes the plan again from what can be pickled: the operator's name, the function, the choices, the
        shapes, the chosen label, the effort and what was measured.
    """

    operator: str
    routes: tuple[Route, ...]
    chosen: Route
    budget: int
    budget_given: bool
    effort: str
    on: Device
    request: Request | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    remake: "Callable[..., Plan] | None" = None

    def __call__(self, *args: Any) -> Any:
        """The operator's result by the chosen route, for arguments of the planned shapes.

        Raises:
          ValueError: for arguments of other shapes.
        """
        assert self.request is not None
        planned = self.request.args
        # A leaf that is no array is the function's own affair.
        shapes = lambda tree: [jnp.shape(leaf) for leaf in jax.tree.leaves(tree) if checks.is_array(leaf)]
        if shapes(args) != shapes(planned):
            raise ValueError(
                f"{self.operator}: this plan is for arguments of shapes {shapes(planned)}, got {shapes(args)}. "
                "Plan for these."
            )
        numbers = lambda tree: [leaf for leaf in jax.tree.leaves(tree) if checks.is_array(leaf)]
        for given, number in zip(numbers(args), numbers(planned)):
            # Left a number, and not a shape, it decides what the function does.
            if isinstance(number, (float, complex)) and not (isinstance(given, type(number)) and given == number):
                raise ValueError(
                    f"{self.operator}: this plan is for a fun that is told {number!r}, which decides what it does, "
                    f"got {given!r}. Plan for this."
                )
        with own_transfers() as guard:
            return dataclasses.replace(self.request, args=args, guard=guard).follow(self.chosen)

    def __reduce__(self) -> Any:
        request = self.request
        if request is None or self.remake is None:
            return super().__reduce__()
        # Routes are closures and an operator holds lambdas, which no pickle takes; names and choices say as much.
        fields = (self.operator, request.fun, request.choices, request.args, self.chosen.label)
        return self.remake, (*fields, self.effort, dict(self.measured))

    def __repr__(self) -> str:
        fun = "" if self.request is None else f" of {getattr(self.request.fun, '__name__', 'a function')}"
        return f"<Plan: {self.operator}{fun} by {self.chosen.label}>"

    @property
    def method(self) -> str:
        """The chosen method, as ``method=`` takes it."""
        return self.chosen.method

    def explain(self) -> str:
        """One sentence of why."""
        best, others = self.chosen, [r for r in self.routes if not r.refused and r.label != self.chosen.label]
        named = f"{self.operator}: {best.label}"
        if self.measured:
            rest = {label: s for label, s in self.measured.items() if label != best.label}
            if not rest:
                return f"{named}, the only route worth timing."
            runner = min(rest, key=rest.__getitem__)
            ratio = rest[runner] / self.measured[best.label]
            return f"{named}, measured {ratio:.3g} times as fast as {runner}."
        if self.effort == "remembered":
            return f"{named}, remembered from an earlier measurement on this device."
        fitting = [r for r in others if r.fits(self.budget)]
        tight = [r for r in others if not r.fits(self.budget)]
        why = "the only route"
        if any(route.refused == FAST_ENOUGH for route in self.routes):
            why = FAST_ENOUGH
        elif fitting:
            runner = min(fitting, key=lambda r: r.seconds)
            ratio = runner.seconds / best.seconds if 0 < best.seconds < math.inf else 1.0
            why = (
                f"predicted {ratio:.3g} times as fast as {runner.label}"
                if ratio >= TIE
                else f"as fast as {runner.label} by prediction, "
                + ("with fewer products" if best.passes < runner.passes else "and simpler")
            )
        elif tight:
            why = f"the only route within {in_bytes(self.budget)}"
        faster = [r for r in tight if r.seconds < best.seconds]
        if fitting and faster:
            why += f"; {min(faster, key=lambda r: r.seconds).label} does not fit into {in_bytes(self.budget)}"
        return f"{named}, {why}."

    def table(self) -> str:
        """All routes, one a line: strategy, passes, operations, bytes moved, peak memory, predicted time, verdict."""
        header = ("strategy", "passes", "operations", "bytes", "peak memory", "predicted", "verdict")
        rows: list[Sequence[str]] = [header]
        for route in self.routes:
            if route.cost is None:
                word = "passed over" if route.refused == FAST_ENOUGH else "not offered"
                missing = f"{word}: {route.refused}" if route.refused else f"not priced: {route.unpriced}"
                chosen = "chosen, " if route.label == self.chosen.label else ""
                rows.append((route.label, "", "", "", "", "", chosen + missing))
                continue
            verdict = "chosen" if route.label == self.chosen.label else ""
            if not verdict and not route.fits(self.budget):
                verdict = f"over {in_bytes(self.budget)}"
            if route.label in self.measured:
                verdict = f"{verdict} (measured {in_seconds(self.measured[route.label])})".strip()
            if route.cost.assumed_trips:
                verdict = f"{verdict} (loop of unknown length counted once)".strip()
            operations = in_units(route.cost.flops + route.cost.transcendentals)
            peak, moved = in_bytes(route.cost.peak_bytes), in_bytes(route.cost.bytes_moved)
            rows.append((route.label, str(route.passes), operations, moved, peak, in_seconds(route.seconds), verdict))
        return columns(rows, left=(0, 6))

    def __str__(self) -> str:
        return f"{self.table()}\n{self.explain()}"
