"""The strategies of an operator compared, by prediction or by measurement: ``plan`` and ``compare``."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks, measure
from jaxcalc.programs.compiled import Executable
from jaxcalc.transforms import plan_memory, tables
from jaxcalc.transforms.choose import SLACK, compiled, make_plan
from jaxcalc.transforms.flow import flow
from jaxcalc.transforms.flow_plan import plan_flow
from jaxcalc.transforms.hessian import HESSIAN, hessian
from jaxcalc.transforms.jacobian import JACOBIAN, jacobian
from jaxcalc.transforms.laplacian import (
    BILAPLACIAN,
    DIAGONAL,
    LAPLACIAN,
    TRACE,
    bilaplacian,
    diagonal,
    laplacian,
    trace,
)
from jaxcalc.transforms.lifting import is_concrete
from jaxcalc.transforms.plan import Operator, Plan, Request, Route
from jaxcalc.transforms.products import FISHER_VP, GGN_VP, HVP, fisher_vp, ggn_vp, hvp
from jaxcalc.transforms.taylor import TAYLOR, taylor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Effort", "compare", "plan"]

Effort = Literal["estimate", "measure"]

# Readings this close do not overrule the estimate: one program timed twice differs by as much.
_NOISE = 1.03
# A route predicted to need so many times the budget is not even compiled. Nearer ones are, since predictions are within
# a factor of two of what XLA allocates for most routes and not for all.
_FAR_OVER = 4
# What one reading lasts at least; shorter calls are made several in a row.
_MIN_SECONDS = 2e-3

_OPERATORS: dict[Callable[..., Any], Operator] = {
    jacobian: JACOBIAN,
    hessian: HESSIAN,
    hvp: HVP,
    ggn_vp: GGN_VP,
    fisher_vp: FISHER_VP,
    taylor: TAYLOR,
    diagonal: DIAGONAL,
    trace: TRACE,
    laplacian: LAPLACIAN,
    bilaplacian: BILAPLACIAN,
}


def plan(
    operator: Callable[..., Any],
    fun: Callable[..., Any],
    /,
    *args: Any,
    effort: Effort | str = "estimate",
    memory_budget: int | None = None,
    **choices: Any,
) -> Plan:
    """Which route an operator takes for a function at arguments like these, and why.

    Args:
      operator: ``jacobian``, ``hessian``, ``hvp``, ``ggn_vp``, ``fisher_vp``, ``taylor``, ``diagonal``, ``trace``,
        ``laplacian`` or ``bilaplacian``; or ``flow``, whose adjoints are priced for a gradient in the start and the
        field's arguments. Where its start, times and arguments are numbers, it is run once to count its steps.
      fun: the function. *args: its arguments, or ``jax.ShapeDtypeStruct`` in their place (for ``hvp``: the tuple of
        primals, and the vector; for ``ggn_vp``, ``fisher_vp`` and ``taylor`` the point and the vector, with ``loss=``
        and ``order=`` among the choices).
      effort: ``"estimate"`` decides by predicted time from shapes alone and runs nothing; ``"measure"`` compiles and
        times the routes predicted within three times the best, and keeps the winner in the user's cache folder, where
        the operators find it.
      memory_budget: bytes for temporaries and results.
      **choices: the operator's other keywords.

    Returns:
      A ``Plan``: callable like ``operator(fun, **choices)``; printed, a table of all routes and a sentence of why.

    Raises:
      TypeError: for something that is no operator.
      ValueError: for an unknown effort, or where a measurement would need real arguments: made-up numbers may never
        leave a loop whose length depends on them.
      MemoryBudgetError: if no strategy fits.
    """
    checks.function("plan", fun)
    checks.one_of("plan", "effort", effort, get_args(Effort))
    if operator is flow:
        if effort == "measure":
            raise ValueError("plan: a flow is planned by estimate alone; count its steps by giving numbers.")
        return plan_flow(fun, *args, memory_budget=memory_budget, **choices)
    known = _operator(operator)
    request = Request(known, fun, _validated(known, memory_budget=memory_budget, **choices), args)
    if effort == "measure":
        return _for_use(_measured(request, leading=SLACK)[0], request)
    return _for_use(_estimated(request), request)


def _for_use(made: Plan, request: Request) -> Plan:
    """The plan with what calls it and makes it again."""
    return dataclasses.replace(made, request=request.abstract(), remake=_remake)


def _remake(
    name: str, fun: Callable[..., Any], choices: Any, args: Any, label: str, effort: str, measured: dict[str, float]
) -> Plan:
    """A pickled plan: priced for this device, with the route that was chosen."""
    request = Request(next(known for known in _OPERATORS.values() if known.name == name), fun, choices, args)
    # Without a bound on slack every route is there, whichever was chosen.
    made = _estimated(request, recall=False, slack=math.inf)
    chosen = next((route for route in made.routes if route.label == label), made.chosen)
    return _for_use(dataclasses.replace(made, chosen=chosen, effort=effort, measured=measured), request)


def _estimated(request: Request, recall: bool = True, slack: float = 1.0) -> Plan:
    """The plan by estimate. Shapes in place of arrays are traced, so that ``fun`` sees arrays in every argument."""
    plans: list[Plan] = []

    def make(leaves: Sequence[Any]) -> int:
        plans.append(make_plan(request.with_args(unflatten(leaves)), recall=recall, priced=True, slack=slack))
        return 0  # what is traced has to return something, and a plan is no JAX type

    leaves, unflatten = request.parts
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        jax.eval_shape(make, leaves)
    else:
        make(leaves)
    return plans[0]


def _validated(known: Operator, **keywords: Any) -> Any:
    """The operator's choices; an unknown keyword is told by the operator's name."""
    taken = inspect.signature(known.choices).parameters
    others = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())  # which it checks itself
    for key in () if others else keywords.keys() - taken.keys():
        raise TypeError(f"plan: {known.name} has no keyword {key!r}; it takes {', '.join(taken)}.")
    return known.choices(**keywords)


def _operator(operator: Callable[..., Any]) -> Operator:
    """What the planner knows of a public operator."""
    known = _OPERATORS.get(operator) if callable(operator) else None
    if known is None:
        names = ", ".join(known.name for known in _OPERATORS.values())
        raise TypeError(f"plan: the operator must be one of jaxcalc's ({names}), got {operator!r}.")
    return known


@dataclass(frozen=True)
class Comparison:
    """Every strategy measured beside its prediction.

    Args:
      plan: the plan by estimate.
      programs: each strategy compiled, by label.
      timings: what the clock read, by label; taken in turns.
      skipped: labels of strategies that were not run, with the reason.
    """

    plan: Plan
    programs: dict[str, Executable]
    timings: dict[str, measure.Timing]
    skipped: dict[str, str]

    @property
    def regret(self) -> float:
        """Time of the planned strategy over the best measured one: 1 is perfect."""
        best = min(timing.median for timing in self.timings.values())
        return self.timings[self.plan.chosen.label].median / best

    def table(self) -> str:
        """One strategy a line: predicted and measured time, memory, compile time."""
        rows = [("strategy", "passes", "predicted", "measured", "ratio", "peak predicted", "peak compiled", "compile")]
        for route in self.plan.routes:
            if route.refused or route.cost is None:
                rows.append((route.label, "", "", f"not offered: {route.refused}", "", "", "", ""))
                continue
            if route.label in self.skipped:
                rows.append(
                    (route.label, str(route.passes), "", f"not run: {self.skipped[route.label]}", "", "", "", "")
                )
                continue
            timing, program = self.timings[route.label], self.programs[route.label]
            mark = " *" if route.label == self.plan.chosen.label else ""
            rows.append(
                (
                    route.label + mark,
                    str(route.passes),
                    tables.in_seconds(route.seconds),
                    tables.in_seconds(timing.median),
                    f"{timing.median / route.seconds:.2f}",
                    tables.in_bytes(route.cost.peak_bytes),
                    tables.in_bytes(program.footprint),
                    tables.in_seconds(program.compile_seconds),
                )
            )
        return tables.columns(rows, left=(0,))

    def __str__(self) -> str:
        best = min(self.timings, key=lambda label: self.timings[label].median)
        return f"{self.table()}\n* planned; fastest measured: {best}; regret {self.regret:.3g}."

    def plot(self) -> "Figure":
        """Predicted beside measured time, a line for each strategy."""
        from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

        from jaxcalc import style

        routes = [route for route in self.plan.routes if route.label in self.timings]
        routes = sorted(routes, key=lambda route: self.timings[route.label].median)
        figure, axis = style.subplots(width=6.0, height=0.9 + 0.28 * len(routes))
        lines = np.arange(len(routes))
        measured = np.array([self.timings[route.label].median for route in routes])
        spread = np.array([self.timings[route.label].quartiles for route in routes]).T
        axis.errorbar(
            measured, lines, xerr=np.abs(spread - measured), fmt="o", color=style.COLORS["blue"], label="measured"
        )
        predicted = [route.seconds for route in routes]
        axis.plot(predicted, lines, "D", color=style.COLORS["orange"], fillstyle="none", label="predicted")
        chosen = self.plan.chosen.label
        axis.set_yticks(lines, [f"{route.label}{' *' if route.label == chosen else ''}" for route in routes])
        axis.set_ylim(len(routes) - 0.5, -0.5)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axis.xaxis.set_major_formatter(EngFormatter(unit="s"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("time of one call (* planned)")
        axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
        figure.set_label(f"{self.plan.operator}: every strategy, predicted from its program and measured.")
        return figure


def compare(
    operator: Callable[..., Any],
    fun: Callable[..., Any],
    /,
    *args: Any,
    repeats: int = 7,
    memory_budget: int | None = None,
    **choices: Any,
) -> Comparison:
    """Every strategy of an operator, compiled and timed side by side, beside what was predicted.

    Args:
      operator, fun, *args, **choices: as for ``plan``.
      repeats: rounds in which all take turns.
      memory_budget: bytes; a strategy whose compiled program needs more is not run. By default what the device has.

    Returns:
      A ``Comparison``.

    Raises:
      As ``plan``.
    """
    known = _operator(operator)
    request = Request(known, fun, _validated(known, memory_budget=memory_budget, **choices), args)
    return _measured(request, leading=math.inf, repeats=repeats)[1]


def _measured(request: Request, *, leading: float, repeats: int = 15) -> tuple[Plan, Comparison]:
    """The plan by measurement of the leading routes, kept for later; and the comparison that it rests on."""
    estimated = _estimated(request, recall=False, slack=leading)
    leaves, unflatten = request.parts
    arrays = _arrays(request.operator, leaves, estimated)
    request = request.with_args(unflatten(arrays))
    programs, skipped = {}, {}
    for route in estimated.routes:
        if route.refused or route.run is None or not _leads(route, estimated, leading):
            continue
        if route.cost is not None and route.cost.peak_bytes > _FAR_OVER * estimated.budget:
            skipped[route.label] = "far over the memory budget"
            continue
        programs[route.label] = compiled(request, route)
        if programs[route.label].footprint > estimated.budget:
            skipped[route.label] = "over the memory budget"
    calls = {label: functools.partial(program, *arrays) for label, program in programs.items() if label not in skipped}
    timings = measure.interleave(calls, repeats=repeats, min_seconds=_MIN_SECONDS)
    seconds = {label: timing.median for label, timing in timings.items()}
    best = min(seconds, key=seconds.__getitem__)
    if seconds.get(estimated.chosen.label, math.inf) <= _NOISE * seconds[best]:
        best = estimated.chosen.label
    winner = next(route for route in estimated.routes if route.label == best)
    measured = dataclasses.replace(estimated, chosen=winner, effort="measure", measured=seconds)
    # A comparison was asked for to be read, with as few rounds as its reader likes: operators do not follow it.
    if leading < math.inf:
        plan_memory.keep_measurement(request, measured)
    return measured, Comparison(estimated, programs, timings, skipped)


def _leads(route: Route, made: Plan, leading: float) -> bool:
    """Whether a route is chosen, or predicted within that factor of the chosen one."""
    return route.label == made.chosen.label or route.seconds <= leading * made.chosen.seconds


def _arrays(operator: Operator, leaves: Sequence[Any], made: Plan) -> list[Any]:
    """The arrays themselves, or made-up numbers of their shapes.

    Raises:
      ValueError: where made-up numbers might never leave a loop.
    """
    if is_concrete(leaves):
        return list(leaves)
    if any(route.cost is not None and route.cost.assumed_trips for route in made.routes):
        raise ValueError(
            f"{operator.name}: fun has a loop whose length depends on data, so a measurement needs real arguments, "
            "and got shapes or traced values. Pass arrays, outside of jit."
        )
    # One seed, so that every plan of a function is measured at the same numbers.
    numbers = np.random.default_rng(0)
    return [_made_up(numbers, leaf) if not is_concrete(leaf) else leaf for leaf in leaves]


def _made_up(numbers: np.random.Generator, leaf: Any) -> Any:
    """Normal numbers; zeros where the dtype has none, which are an index into anything."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.asarray(numbers.standard_normal(leaf.shape), leaf.dtype)
    return jnp.zeros(leaf.shape, leaf.dtype)
