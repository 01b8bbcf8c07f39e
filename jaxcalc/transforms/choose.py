"""Which route an operator takes: its candidates priced, ranked by predicted time, and held to a memory budget."""

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Container, Sequence
from typing import Any

import jax

from jaxcalc import checks
from jaxcalc.programs.compiled import Executable, executable
from jaxcalc.programs.speed import device
from jaxcalc.transforms import plan_memory
from jaxcalc.transforms.guards import own_transfers
from jaxcalc.transforms.lifting import abstract
from jaxcalc.transforms.plan import TIE, Operator, Plan, Request, Route
from jaxcalc.transforms.plan_memory import Identity
from jaxcalc.transforms.tables import in_bytes

__all__ = ["SLACK", "MemoryBudgetError", "available_memory", "bind", "compiled", "decide", "estimate", "make_plan"]

# Routes predicted within this factor of the best are worth timing: a measurement times no others.
SLACK = 3.0
# Of the memory that there is, a program may take this share; the rest is for arguments and for everyone else.
_SHARE = 0.8
# A budget that a user gave is checked by compiling. So many programs at most: each takes as long as a first call.
_MAX_COMPILATIONS = 8
# Where nothing is predicted to fit, what is predicted to need up to so many times a user's budget is compiled all the
# same: of programs whose intermediates XLA fuses, the estimate counts some that are never stored.
_NEARLY = 4
# Chunks are asked for with a tenth to spare: what they take is not in exact proportion to their size.
_MARGIN = 0.9


class MemoryBudgetError(ValueError):
    """No strategy fits the memory budget."""


# -- from calls to routes ----------------------------------------------------------------------------------------------


def bind(operator: Operator, fun: Callable[..., Any], **keywords: Any) -> Callable[..., Any]:
    """The operator applied to a function, its keywords validated: plans when called, and runs.

    What is called takes the function's arguments; keyword arguments are passed through and held fixed.
    """
    checks.function(operator.name, fun)
    choices = operator.choices(**keywords)

    @functools.wraps(fun, assigned=("__name__", "__qualname__", "__module__"), updated=())
    def derived(*args: Any, **fixed: Any) -> Any:
        with own_transfers() as guard:
            called = functools.partial(fun, **fixed) if fixed else fun
            return _apply(Request(operator, called, choices, args, guard))

    return derived


def _apply(request: Request) -> Any:
    """The operator's result by the route that the choices name, else by the planned one."""
    operator, core, choices = request.operator, request.core, request.choices
    # A budget has to be checked, which takes a plan even of the one route that was named.
    named = operator.direct(core, choices) if request.budget is None else None
    try:
        route = named or make_plan(request).chosen
    except jax.errors.ConcretizationTypeError as error:
        error.add_note(
            f"{operator.name}: choosing a route traces the function. Write what depends on values with "
            "jax.lax.cond or jnp.where, or name a method, which is taken as it is."
        )
        raise
    try:
        return request.follow(route)
    except (TypeError, ValueError) as error:
        # What was named was not checked; only now that it failed is it worth finding out whether it could work.
        refusals = (
            [] if named is None else [candidate.refused for candidate in operator.routes(request.staged, choices)]
        )
        if refusals and all(refusals):
            raise ValueError(f"{operator.name}: method={choices.method!r} is not possible: {refusals[0]}") from error
        raise


def compiled(request: Request, route: Route) -> Executable:
    """One route compiled, with all arrays among the arguments as the program's own.

    What a program closes over XLA would compute with beforehand.
    """
    leaves, unflatten = request.parts
    return executable(lambda *arrays: request.with_args(unflatten(arrays)).follow(route), *abstract(leaves))


# -- the plan ----------------------------------------------------------------------------------------------------------


def make_plan(request: Request, *, priced: bool = False, recall: bool = True, slack: float = 1.0) -> Plan:
    """The plan for a request: from memory if it was made before, else made by estimate.

    A single route that a user asked for by name is taken as it is and not priced, unless ``priced`` asks for it.
    ``recall=False`` reads no earlier plan or measurement; ``slack`` is as ``Operator`` says.
    """
    if request.choices.method != "auto" and request.budget is None and not priced:
        routes = request.operator.routes(request.staged, request.choices)
        offered = [route for route in routes if not route.refused]
        if len(offered) == 1:
            return _plan(request, tuple(routes), offered[0], "estimate")
    identity = plan_memory.identify(request)
    earlier = plan_memory.recall_plan(request, identity) if recall else None
    if earlier is not None:
        return earlier
    plan = estimate(request, identity, recall, slack)
    if recall:
        plan_memory.keep_plan(request, identity, plan)
    return plan


def estimate(request: Request, identity: Identity, recall: bool, slack: float) -> Plan:
    """A plan by predicted time, or by an earlier measurement of the same program on this device."""
    winner = plan_memory.recall_winner(request, identity) if recall else None
    if winner is not None:  # it may be a route that the estimate alone would not search for
        slack = max(slack, SLACK)
    if request.budget is not None:  # the fastest may not fit
        slack = math.inf
    # A function that closes over a tracer belongs to a larger program, apart from which it cannot be compiled.
    checked = request.budget is not None and identity.here is not None
    chosen, routes = decide(request, request.operator.routes(request.staged, request.choices, slack), checked=checked)
    effort = "estimate"
    for route in routes:
        if route.label == winner and not route.refused and route.fits(_budget(request)):
            chosen, effort = route, "remembered"
    plan = _plan(request, routes, chosen, effort)
    return _within_budget(request, plan) if checked else plan


def _plan(request: Request, routes: tuple[Route, ...], chosen: Route, effort: str) -> Plan:
    """The plan without what it was asked for, so that it can be remembered beside its function."""
    given = request.budget is not None
    return Plan(request.operator.name, routes, chosen, _budget(request), given, effort, device())


def decide(
    request: Request, routes: Sequence[Route], *, checked: bool = False, broken: Container[str] = ()
) -> tuple[Route, tuple[Route, ...]]:
    """The route with the least predicted time among those that fit the budget, and all routes priced.

    Args:
      checked: whether the route will be compiled and its memory looked at; if none is predicted to fit, one that
        nearly does is then taken.
      broken: labels of routes that were, and were over the budget.

    Raises:
      MemoryBudgetError: if none fits.
      ValueError: if none is offered at all.
    """
    who, budget, on = request.operator.name, _budget(request), device()
    priced = [route.priced(on) for route in routes]
    offered = [route for route in priced if not route.refused]
    if not offered:
        reasons = "; ".join(f"{route.method}: {route.refused}" for route in priced)
        raise ValueError(f"{who}: no strategy can be offered. {reasons}")
    fitting = []
    for limit in (budget, _NEARLY * budget) if checked else (budget,):
        for route in list(offered):
            chunked = route.smaller(limit) if route.smaller is not None and not route.fits(limit) else None
            if chunked is None or any(chunked.label == other.label for other in offered):
                continue
            chunked = chunked.priced(on)
            # A result that alone is larger than the budget is not worth compiling.
            if limit == budget or chunked.cost is None or chunked.cost.output_bytes <= budget:
                offered.append(chunked)
                priced.insert(priced.index(route) + 1, chunked)
        fitting = [route for route in offered if route.fits(limit) and route.label not in broken]
        if fitting:
            break
    else:
        leanest = min(offered, key=lambda route: route.peak_bytes)
        raise MemoryBudgetError(
            f"{who}: no strategy fits a memory budget of {in_bytes(budget)}; the leanest is {leanest.label} with "
            f"{in_bytes(leanest.peak_bytes)}. {_remedy(request.choices)}"
        )
    least = min(route.seconds for route in fitting)
    # "Not above" and not "below": one route alone may have no prediction (NaN), and has to be its own tie.
    ties = [route for route in fitting if not route.seconds > TIE * least]
    best = min(ties, key=lambda route: route.passes)
    bare = tuple(map(_bare, priced))
    return bare[priced.index(best)], bare


def _bare(route: Route) -> Route:
    """The route without what prices it: that holds the function, which a remembered plan must not."""
    return dataclasses.replace(route, price=None, smaller=None)


# -- the budget --------------------------------------------------------------------------------------------------------


def _budget(request: Request) -> int:
    """Bytes that a route may take: what the user allows, else what there is."""
    return available_memory() if request.budget is None else request.budget


@functools.cache
def available_memory() -> int:
    """Bytes that programs may use on the default device: what it has, less a fifth for everything else."""
    chip = jax.devices()[0]
    stats = chip.memory_stats() if chip.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(_SHARE * stats["bytes_limit"])
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    # A container's limit, below the machine's memory: the word "max" where it has none, no file outside of one.
    with contextlib.suppress(OSError), open("/sys/fs/cgroup/memory.max") as file:
        text = file.read().strip()
        limits += [int(text)] if text.isdigit() else []
    return int(_SHARE * min(limits))


def _within_budget(request: Request, plan: Plan) -> Plan:
    """The plan, checked against what XLA allocates; a route that breaks the budget gives way to a smaller one.

    Raises:
      MemoryBudgetError: if every route breaks it.
    """
    routes, footprints = list(plan.routes), {}
    # The plan's own routes no longer know how to be made smaller.
    again = functools.cache(lambda: request.operator.routes(request.staged, request.choices, math.inf))
    for _ in range(_MAX_COMPILATIONS):
        footprint = compiled(request, plan.chosen).footprint
        if footprint <= plan.budget:
            return plan
        footprints[plan.chosen.label] = footprint
        assert plan.chosen.cost is not None
        # With its true peak in place of the predicted one, the route is over the budget and not chosen again.
        broken = dataclasses.replace(plan.chosen, cost=dataclasses.replace(plan.chosen.cost, peak_bytes=footprint))
        routes = [broken if route.label == broken.label else route for route in routes]
        # What the estimate missed by a factor, ask for by the same factor less; or else for the next best.
        peak = plan.chosen.peak_bytes
        wanted = _MARGIN * plan.budget * peak / footprint
        limits = [int(wanted * (peak / wanted) ** (i / _MAX_COMPILATIONS)) for i in range(_MAX_COMPILATIONS)]
        for route in again():
            if route.method != broken.method or route.smaller is None:
                continue
            chunked = next(filter(None, map(route.smaller, limits)), None)
            if chunked is not None and chunked.label not in footprints:
                routes.append(_bare(chunked.priced(plan.on)))
        try:
            chosen, priced = decide(request, routes, checked=True, broken=footprints)
        except MemoryBudgetError:
            break
        plan = dataclasses.replace(plan, routes=priced, chosen=chosen)
    raise MemoryBudgetError(
        f"{request.operator.name}: no strategy stays within {in_bytes(plan.budget)}; compiled, they took "
        + ", ".join(f"{in_bytes(size)} ({label})" for label, size in footprints.items())
        + f". {_remedy(request.choices)}"
    )


def _remedy(choices: Any) -> str:
    """What to do about a budget that nothing fits."""
    full = getattr(choices, "output_format", "") == "dense"
    return 'Raise memory_budget, or ask for output_format="bcoo".' if full else "Raise memory_budget."
