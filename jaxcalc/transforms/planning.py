"""What all operators share: routes with a price, the choice among them, and the table that explains it."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import math
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.programs import walk
from jaxcalc.programs.compiled import Executable, executable
from jaxcalc.programs.cost import Cost
from jaxcalc.programs.speed import Device, device
from jaxcalc.transforms import measured
from jaxcalc.transforms.guards import own_transfers
from jaxcalc.transforms.leaves import LeafMap, abstract, is_concrete, split_arrays
from jaxcalc.transforms.rules import rule_programs
from jaxcalc.transforms.tables import columns, in_bytes, in_seconds, in_units

__all__ = [
    "FAST_ENOUGH",
    "SLACK",
    "MemoryBudgetError",
    "Operator",
    "Plan",
    "Route",
    "available_memory",
    "bind",
    "make_plan",
]

# Routes predicted within this factor of the best are worth timing.
SLACK = 3.0
# Why a route is passed over where another is as fast as can be.
FAST_ENOUGH = "no program is called much faster than the chosen one"
# Two predictions this close are a tie, which fewer products win, and among as many the simpler route (listed earlier).
_TIE = 1.05


class MemoryBudgetError(ValueError):
    """No strategy fits the memory budget."""


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


@dataclass(frozen=True, eq=False)
class Request:
    """What a plan was asked for, and is called as.

    Args:
      operator, fun, choices: what is planned.
      args: the arguments with shapes in place of arrays.
      remake: what makes the plan again from what can be pickled: the operator's name, ``fun``, ``choices``, ``args``,
        the chosen label, the effort and what was measured.
    """

    operator: "Operator"
    fun: Callable[..., Any]
    choices: Any
    args: Any
    remake: Callable[..., "Plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """Which route an operator takes for arguments of certain shapes, and why; calling it runs that route.

    It is hashable and may be jitted, vmapped and, where its function can be, pickled.

    Args:
      operator: the operator's name.
      routes: every route that was looked at, with its price or the reason why it is not offered.
      chosen: the one that is taken.
      budget: bytes that it had to fit into, and whether a user gave it (else it is what the device has).
      effort: ``"estimate"``, ``"measure"``, or ``"remembered"`` where an earlier measurement decided.
      on: the device whose speeds the predictions use.
      request: what it was asked for.
      measured: seconds by label, where routes were timed.
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
        return follow(self.request.operator, self.request.fun, self.request.choices, self.chosen, *args)

    def __reduce__(self) -> Any:
        request = self.request
        if request is None:
            return super().__reduce__()
        fields = (self.operator, request.fun, request.choices, request.args, self.chosen.label)
        return request.remake, (*fields, self.effort, dict(self.measured))

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
        fitting = [r for r in others if _fits(r, self.budget)]
        tight = [r for r in others if not _fits(r, self.budget)]
        why = "the only route"
        if any(route.refused == FAST_ENOUGH for route in self.routes):
            why = FAST_ENOUGH
        elif fitting:
            runner = min(fitting, key=lambda r: r.seconds)
            ratio = runner.seconds / best.seconds if 0 < best.seconds < math.inf else 1.0
            why = (
                f"predicted {ratio:.3g} times as fast as {runner.label}"
                if ratio >= _TIE
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
            if not verdict and not _fits(route, self.budget):
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


def decide(routes: Sequence[Route], budget: int, on: Device, who: str, remedy: str) -> tuple[Route, tuple[Route, ...]]:
    """The route with the least predicted time among those that fit the budget, and all routes priced.

    Raises:
      MemoryBudgetError: if none fits.
      ValueError: if none is offered at all.
    """
    priced = [route.priced(on) for route in routes]
    offered = [route for route in priced if not route.refused]
    if not offered:
        reasons = "; ".join(f"{route.method}: {route.refused}" for route in priced)
        raise ValueError(f"{who}: no strategy can be offered. {reasons}")
    for route in list(offered):
        if not _fits(route, budget) and route.smaller is not None:
            chunked = route.smaller(budget)
            if chunked is not None:
                offered.append(chunked.priced(on))
                priced.insert(priced.index(route) + 1, offered[-1])
    fitting = [route for route in offered if _fits(route, budget)]
    if not fitting:
        leanest = min(offered, key=_peak)
        raise MemoryBudgetError(
            f"{who}: no strategy fits a memory budget of {in_bytes(budget)}; the leanest is {leanest.label} with "
            f"{in_bytes(_peak(leanest))}. {remedy}"
        )
    least = min(route.seconds for route in fitting)
    ties = [route for route in fitting if not route.seconds > max(least, _TIE * least)]
    best = min(ties, key=lambda route: route.passes)
    # What prices a route holds the function, which a remembered plan must not.
    bare = [dataclasses.replace(route, price=None, smaller=None) for route in priced]
    return bare[priced.index(best)], tuple(bare)


def _peak(route: Route) -> float:
    return route.cost.peak_bytes if route.cost is not None else 0.0


def _fits(route: Route, budget: int) -> bool:
    return _peak(route) <= budget


@functools.cache
def available_memory() -> int:
    """Bytes that programs may use on the default device: what it has, less a fifth for everything else."""
    chip = jax.devices()[0]
    stats = chip.memory_stats() if chip.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(0.8 * stats["bytes_limit"])
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            text = file.read().strip()
        limits += [int(text)] if text.isdigit() else []
    except OSError:
        pass
    return int(0.8 * min(limits))


# -- from calls to routes ----------------------------------------------------------------------------------------------


def bind(operator: Operator, fun: Callable[..., Any], **keywords: Any) -> Callable[..., Any]:
    """The operator applied to a function, its keywords validated: plans when called, and runs.

    What is called takes the function's arguments; keyword arguments are passed through and held fixed.
    """
    checks.function(operator.name, fun)
    choices = operator.choices(**keywords)

    def run(guarded: Callable[..., Any], args: Any, fixed: dict[str, Any]) -> Any:
        called = functools.partial(fun, **fixed) if fixed else fun
        core = operator.lift(guarded(called), args, choices)
        named = operator.direct(core, choices) if choices.memory_budget is None else None
        try:
            chosen = named or make_plan(operator, called, choices, core, args).chosen
        except jax.errors.ConcretizationTypeError as error:
            error.add_note(
                f"{operator.name}: choosing a route traces the function. Write what depends on values with "
                "jax.lax.cond or jnp.where, or name a method, which is taken as it is."
            )
            raise
        assert chosen.run is not None
        try:
            result = chosen.run(core)
        except (TypeError, ValueError) as error:
            reasons = [] if named is None else [route.refused for route in operator.routes(core, choices)]
            if reasons and all(reasons):
                raise ValueError(f"{operator.name}: method={choices.method!r} is not possible: {reasons[0]}") from error
            raise
        return operator.finish(core, choices, *result)

    @functools.wraps(fun, assigned=("__name__", "__qualname__", "__module__"), updated=())
    def derived(*args: Any, **fixed: Any) -> Any:
        with own_transfers() as guarded:
            return run(guarded, args, fixed)

    return derived


def make_plan(
    operator: Operator,
    fun: Callable[..., Any],
    choices: Any,
    core: LeafMap,
    args: Sequence[Any],
    *,
    priced: bool = False,
    recall: bool = True,
    slack: float = 1.0,
) -> Plan:
    """The plan for arguments like these: from memory if it was made before, else made by estimate.

    A single route that a user asked for by name is taken as it is and not priced, unless ``priced`` asks for it.
    ``recall=False`` looks at no earlier plan or measurement; ``slack`` is as ``Operator`` says.
    """
    given = choices.memory_budget is not None
    budget = choices.memory_budget if given else available_memory()
    if choices.method != "auto" and not given and not priced:
        routes = operator.routes(core, choices)
        offered = [route for route in routes if not route.refused]
        if len(offered) == 1:
            return Plan(operator.name, tuple(routes), offered[0], budget, False, "estimate", device())
    identity = identify(operator, fun, choices, core, args)
    key = plan_key(operator, choices, args)
    made = remembered(fun, key, identity.here) if identity.here is not None and recall else None
    if made is None:
        made = estimate(operator, fun, choices, core, args, budget, identity, recall, slack)
        if identity.here is not None and recall:
            remember(fun, key, identity.here, made)
    return made


@dataclass(frozen=True)
class Identity:
    """What a plan is valid for.

    Args:
      here: program, custom rules, constants and the values of arguments that are not differentiated, from which a
        pattern may have been read; ``None`` if a constant is a tracer, which the next call will not see again.
      anywhere: program and rules alone, the same in every process: what a measurement is remembered by.
    """

    here: str | None
    anywhere: str


def identify(operator: Operator, fun: Callable[..., Any], choices: Any, core: LeafMap, args: Sequence[Any]) -> Identity:
    """The identity of what an operator is asked for."""
    leaves, unflatten = split_arrays(args)

    def everything(*arrays: Any) -> Any:
        whole = operator.lift(fun, unflatten(arrays), choices)
        return whole.plain(*whole.inputs)

    jaxpr = jax.make_jaxpr(everything)(*abstract(leaves))
    moving = {id(leaf) for leaf in (*core.inputs, *jax.tree.leaves(core.extra))}
    fixed = [digest(leaf) for leaf in leaves if id(leaf) not in moving]
    programs = [walk.read(jaxpr), *rule_programs(jaxpr)]
    here = [walk.fingerprint(each) for each in programs]
    anywhere = [walk.fingerprint(each, values=False) for each in programs]
    return Identity(None if None in here else repr((here, fixed)), repr(anywhere))


def digest(leaf: Any) -> str:
    """A digest of an array's contents, of a tracer's shape."""
    if not is_concrete(leaf):
        return f"{leaf.shape}{leaf.dtype}"
    data = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else leaf
    array = np.ascontiguousarray(data)
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


def plan_key(operator: Operator, choices: Any, args: Sequence[Any]) -> Any:
    """What a plan is kept by beside its function: choices, shapes and dtypes."""
    leaves, tree = jax.tree.flatten(args)
    kinds = tuple((jnp.shape(x), str(getattr(x, "dtype", type(x)))) if checks.is_array(x) else x for x in leaves)
    return operator.name, choices, kinds, tree, str(jnp.result_type(float))


def estimate(
    operator: Operator,
    fun: Callable[..., Any],
    choices: Any,
    core: LeafMap,
    args: Sequence[Any],
    budget: int,
    identity: Identity,
    recall: bool,
    slack: float,
) -> Plan:
    """A plan by predicted time, or by an earlier measurement of the same program on this device."""
    on = device()
    given = choices.memory_budget is not None
    label = measured.recall(memory_key(operator, choices, identity.anywhere)) if recall else None
    if label is not None:  # the winner may be a route that the estimate alone would not look for
        slack = max(slack, SLACK)
    if given:  # the fastest may not fit
        slack = math.inf
    chosen, routes = decide(operator.routes(core, choices, slack), budget, on, operator.name, _remedy(choices))
    effort = "estimate"
    for route in routes:
        if route.label == label and not route.refused and _fits(route, budget):
            chosen, effort = route, "remembered"
    made = Plan(operator.name, routes, chosen, budget, given, effort, on)
    return _within_budget(operator, fun, choices, core, args, made) if given and identity.here is not None else made


def _remedy(choices: Any) -> str:
    """What to do about a budget that nothing fits."""
    full = getattr(choices, "output_format", "") == "dense"
    return 'Raise memory_budget, or ask for output_format="bcoo".' if full else "Raise memory_budget."


def memory_key(operator: Operator, choices: Any, fingerprint: str) -> str:
    """What a measurement is remembered by: program, shapes and dtypes (in the fingerprint), choices and device."""
    chip = jax.devices()[0]
    fields = {f.name: getattr(choices, f.name) for f in dataclasses.fields(choices) if f.name != "pattern"}
    return repr(
        (operator.name, fields, fingerprint, chip.platform, chip.device_kind, importlib.metadata.version("jaxlib"))
    )


def keep_measurement(
    operator: Operator, fun: Callable[..., Any], choices: Any, args: Sequence[Any], made: Plan
) -> None:
    """Remember a measured plan, in this process and in the user's cache folder."""
    identity = identify(operator, fun, choices, operator.lift(fun, args, choices), args)
    measured.keep(memory_key(operator, choices, identity.anywhere), made.chosen.label, dict(made.measured))
    if identity.here is not None:
        remember(fun, plan_key(operator, choices, args), identity.here, made)


def follow(operator: Operator, fun: Callable[..., Any], choices: Any, route: Route, *args: Any) -> Any:
    """The operator's result by one route."""
    core = operator.lift(fun, args, choices)
    assert route.run is not None
    return operator.finish(core, choices, *route.run(core))


def compiled(
    operator: Operator, fun: Callable[..., Any], choices: Any, route: Route, args: Sequence[Any]
) -> Executable:
    """One route compiled, with all arrays among the arguments as the program's own.

    What a program closes over XLA would compute with beforehand.
    """
    leaves, unflatten = split_arrays(args)
    return executable(lambda *x: follow(operator, fun, choices, route, *unflatten(x)), *abstract(leaves))


def _within_budget(
    operator: Operator, fun: Callable[..., Any], choices: Any, core: LeafMap, args: Sequence[Any], made: Plan
) -> Plan:
    """The plan, checked against what XLA allocates; a route that breaks the budget gives way to a smaller one.

    Raises:
      MemoryBudgetError: if every route breaks it.
    """
    routes, tried = list(made.routes), {}
    for _ in range(8):
        program = compiled(operator, fun, choices, made.chosen, args)
        if program.footprint <= made.budget:
            return made
        tried[made.chosen.label] = program.footprint
        assert made.chosen.cost is not None
        cost = dataclasses.replace(made.chosen.cost, peak_bytes=program.footprint)
        broken = dataclasses.replace(made.chosen, cost=cost)
        routes = [broken if route.label == broken.label else route for route in routes]
        # What the estimate missed by a factor, ask for by the same factor less.
        wanted = int(0.9 * made.budget * _peak(made.chosen) / program.footprint)
        fresh = [
            r for r in operator.routes(core, choices, math.inf) if r.method == broken.method and r.smaller is not None
        ]
        for route in fresh:
            chunked = route.smaller(wanted) if route.smaller is not None else None
            if chunked is not None and chunked.label not in tried:
                routes.append(dataclasses.replace(chunked.priced(made.on), price=None, smaller=None))
        chosen, priced = decide(routes, made.budget, made.on, operator.name, _remedy(choices))
        made = dataclasses.replace(made, routes=priced, chosen=chosen)
    raise MemoryBudgetError(
        f"{operator.name}: no strategy stays within {in_bytes(made.budget)}; compiled, they took "
        + ", ".join(f"{in_bytes(size)} ({label})" for label, size in tried.items())
        + f". {_remedy(choices)}"
    )


# -- remembering -----------------------------------------------------------------------------------------------------

# fun -> {(operator, choices, shapes): (fingerprint, plan without function)}. Nothing in a plan refers to fun, else the
# weak key would never die.
_PLANS: "weakref.WeakKeyDictionary[Any, dict[Any, tuple[Any, Plan]]]" = weakref.WeakKeyDictionary()


def remembered(fun: Callable[..., Any], key: Any, fingerprint: Any) -> Plan | None:
    """The plan made before for this function, if what it computes is still the same program."""
    try:
        found = _PLANS.get(fun, {}).get(key)
    except TypeError:  # not hashable, or no weak references to it
        return None
    return found[1] if found is not None and found[0] == fingerprint else None


def remember(fun: Callable[..., Any], key: Any, fingerprint: Any, made: Plan) -> None:
    """Keep a plan as long as its function lives."""
    try:
        _PLANS.setdefault(fun, {})[key] = (fingerprint, made)
    except TypeError:
        return


def forget() -> None:
    """Drop every plan held in this process."""
    _PLANS.clear()
