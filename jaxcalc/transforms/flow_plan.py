"""The plan of a flow: its adjoints with their prices, for steps that are counted before."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax

from jaxcalc.programs.cost import Cost
from jaxcalc.programs.speed import device
from jaxcalc.transforms.choose import available_memory, decide
from jaxcalc.transforms.flow import flow, walked
from jaxcalc.transforms.flow_adjoints import Operands, Part
from jaxcalc.transforms.flow_choice import (
    AUTO_LEGS,
    MOST_SENSITIVITIES,
    balanced,
    bound,
    footprint,
    prepared,
    sensitivities_footprint,
    step_costs,
)
from jaxcalc.transforms.flow_request import Choices, checked_start, flow_choices, needs_tolerances
from jaxcalc.transforms.flow_solvers import method
from jaxcalc.transforms.lifting import abstract, is_concrete, split_arrays
from jaxcalc.transforms.plan import Plan, Route

__all__ = ["plan_flow"]

_NOT_SAFE = "the exact flow's gradient, which is wrong where the flow cannot be run backwards; ask for it by name"
_EXACT = "the exact flow's gradient, to the tolerances, and not that of the steps; ask for it by name"
_OTHER_STEPS = "of other steps, which can be undone; ask for it by name"
_TWICE = "for second derivatives; ask for it by name"


@dataclass(frozen=True)
class FlowRequest:
    """What a flow was asked for.

    Args:
      fun: the field.
      options: the keywords of ``flow``.
      args: start, times and the field's arguments, or shapes in their place.
      tried, accepted: steps of each leg; ``None`` where they are not known.
      guard: as of other requests; the field is under a user's guards wherever it is traced.
    """

    fun: Callable[..., Any]
    options: Mapping[str, Any]
    args: tuple[Any, ...]
    tried: tuple[int, ...] | None
    accepted: tuple[int, ...] | None
    guard: Any = None

    operator = SimpleNamespace(name="flow")

    @property
    def budget(self) -> int | None:
        """Bytes that a user allows; ``None`` for whatever the device has."""
        return self.options.get("memory_budget")

    @property
    def choices(self) -> "FlowRequest":
        """What of it a plan is pickled with, beside field and shapes."""
        return self

    def follow(self, route: Route) -> Any:
        """The states by one adjoint."""
        options = {name: value for name, value in self.options.items() if name != "memory_budget"}
        assert isinstance(route, Adjoint)
        chosen = {"adjoint": route.method, "checkpoints": route.checkpoints}
        return flow(self.fun, **(options | chosen))(*self.args)


@dataclass(frozen=True)
class Adjoint(Route):
    """A way to a flow's gradient; its passes are evaluations of the field, forwards and back.

    Args:
      checkpoints: states that it keeps; ``None`` where it keeps none.
    """

    checkpoints: int | None = None


def plan_flow(field: Callable[..., Any], *args: Any, memory_budget: int | None = None, **options: Any) -> Plan:
    """The adjoint that a flow's gradient is taken by, for a start, times and arguments like these.

    Where they are numbers the flow is run once, to count its steps; else ``max_steps`` are priced.
    """
    choices = flow_choices(**options, memory_budget=memory_budget)
    if choices.adjoint != "auto":
        raise ValueError(f"plan: a flow's adjoint is what is planned, got adjoint={choices.adjoint!r}.")
    if len(args) not in (2, 3):
        raise TypeError(f"plan: flow takes y0, times and args, got {len(args)} arguments.")
    counts = (None, None)
    if all(is_concrete(leaf) for leaf in jax.tree.leaves(args)):
        counts = _counted(field, choices, args, options)
    request = FlowRequest(field, options | {"memory_budget": memory_budget}, args, *counts)
    return _planned(request, choices)


def _counted(field: Callable[..., Any], choices: Choices, args: Any, options: Mapping[str, Any]) -> Any:
    """Steps tried and accepted in each leg."""
    y0, times = checked_start(*args[:2])
    tolerances = (options.get("rtol", 1e-6), options.get("atol", 1e-6)) if needs_tolerances(choices) else None
    counting = choices._replace(memory_budget=None, sensitive=True)
    found = walked(field, counting, y0, times, args[2] if len(args) > 2 else None, tolerances)
    return tuple(map(int, found.attempts)), tuple(map(int, found.accepted))


def _planned(request: FlowRequest, choices: Choices) -> Plan:
    routes = _routes(request, choices)
    chosen, priced = decide(request, routes)  # pyright: ignore[reportArgumentType]
    budget = available_memory() if request.budget is None else request.budget
    arrays, unflatten = split_arrays(request.args)
    held = dataclasses.replace(request, args=unflatten(abstract(arrays)))
    return Plan(
        "flow",
        priced,
        chosen,
        budget,
        request.budget is not None,
        "estimate",
        device(),
        request=held,  # pyright: ignore[reportArgumentType]
        remake=_remade,
    )


def _remade(name: str, field: Any, request: FlowRequest, args: Any, label: str, effort: str, measured: Any) -> Plan:
    """A pickled plan, with the route that was chosen."""
    made = _planned(dataclasses.replace(request, fun=field, args=args), flow_choices(**request.options))
    return dataclasses.replace(made, chosen=next((r for r in made.routes if r.label == label), made.chosen))


def _routes(request: FlowRequest, choices: Choices) -> list[Route]:
    """All adjoints, those that are safe with their prices: read off programs, of shapes alone."""
    routes: list[Route] = []
    arrays, unflatten = split_arrays(request.args)

    def trace(arrays: Any) -> int:
        routes.extend(_traced_routes(request, choices, *unflatten(arrays)))
        return 0

    jax.eval_shape(trace, abstract(arrays))
    return routes


def _traced_routes(request: FlowRequest, choices: Choices, y0: Any, times: Any, args: Any = None) -> list[Route]:
    y0, times = checked_start(y0, times)
    tolerances = (1e-6, 1e-6) if needs_tolerances(choices) else None
    case = prepared(request.fun, choices, y0, times, args, tolerances)
    most, part = bound(choices, times), _moving(case.at)
    tried, accepted = request.tried or (most,), request.accepted or (most,)
    ahead = again = back = sensitive = Cost()
    held = lambda t, y, leaves: case.field(t, y, (leaves, case.rigid))
    for leg, tries, accepts in zip(case.make_legs(case.rigid), tried, accepted):
        if tries:
            carried, once, transposed = step_costs(leg, held, part)
            ahead, again = ahead + tries * once, again + accepts * once
            back, sensitive = back + accepts * transposed, sensitive + tries * carried
    stages = method(AUTO_LEGS[0] if choices.solver == "auto" else choices.solver).evaluations
    tries, steps, count = sum(tried), sum(accepted), sum(leaf.size for leaf in part.moving)

    def route(method: str, kept: int | None, total: Cost, peak: int, sweeps: int) -> Route:
        how = (
            f"{count} sensitivities"
            if kept is None
            else f"{kept} {'states' if method == 'discrete' else 'checkpoints'}"
        )
        total = dataclasses.replace(total, peak_bytes=peak, output_bytes=0)
        passes = stages * (tries + sweeps * steps)
        return Adjoint(method, how, passes, cost=total, seconds=device().seconds(total), checkpoints=kept)

    few = balanced(most)
    enough = min(most, max(few, 1 << math.ceil(math.log2(max(1.25 * steps, 2)))))
    routes = []
    for kept in sorted({few, enough, most}):
        retaken = steps > kept
        routes.append(route("discrete", kept, ahead + back + retaken * again, footprint(kept, most, case), 2 + retaken))
    if count <= MOST_SENSITIVITIES:
        routes.append(route("forward", None, sensitive, sensitivities_footprint(count, case), 0))
    if case.legs == 1:
        few = max(1, math.isqrt(2 * most))
        sweeps = next(extra for extra in range(64) if math.comb(few + extra, extra) >= steps)
        total = ahead + back + (1 + sweeps) * again
        routes.append(route("checkpointed", few, total, footprint(few, few, case), 3 + sweeps))
    by_name = {"reversible": _OTHER_STEPS, "quadrature": _EXACT, "backsolve": _NOT_SAFE, "direct": _TWICE}
    return [*routes, *(Adjoint(name, refused=why) for name, why in by_name.items())]


def _moving(at: Operands) -> Part:
    """The start and the field's operands, in which models are trained."""
    leaves, structure = jax.tree.flatten(at)
    times: Any = False
    flags = Operands(
        jax.tree.map(lambda _: True, at.y0), times, None if at.grid is None else times, [True] * len(at.leaves)
    )
    which = tuple(jax.tree.leaves(flags))
    return Part([leaf for leaf, moves in zip(leaves, which) if moves], [], which, leaves, structure)
