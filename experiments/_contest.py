"""All strategies for the derivative of one function, ours and peers', compiled, checked and timed in turns."""

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments._peers import peers
from jaxcalc import measure, scenarios
from jaxcalc.lab import digits, jax, jnp

# Our own strategies, the simplest first, then the peers.
STRATEGIES: dict[str, tuple[str, ...]] = {
    "jacobian": ("forward", "reverse", "sparse columns", "sparse rows", "bidirectional"),
    "hessian": (
        "forward-over-reverse",
        "reverse-over-reverse",
        "reverse-over-forward",
        "forward-over-forward",
        "sparse star",
        "sparse acyclic",
    ),
    "laplacian": ("forward-laplacian", "nested", "hessian", "sparse"),
}
PEERS: dict[str, tuple[str, ...]] = {
    "jacobian": ("jax.jacfwd", "jax.jacrev", "asdex columns", "asdex rows", "sparsejac columns", "sparsejac rows"),
    "hessian": ("jax.hessian", "asdex star", "asdex rows"),
    "laplacian": ("trace of jax.hessian", "folx", "folx sparse"),
}
RULES = ("estimate", "measure", "fewest products", "peer")
MEASURED, WRONG = "measured", "wrong"


@dataclass
class _Field:
    """All strategies for one function, filled in step by step.

    Args:
      instance: function and arguments.
      dtype: of the arguments.
      routes: our own routes by strategy.
      programs: what is compiled, with its arguments.
      status: how each strategy fared.
      products: with the Jacobian or its transpose, each strategy's number.
      seconds: readings. deviation: how far the result is from the reference.
    """

    instance: Any
    dtype: str
    routes: dict[str, Any] = field(default_factory=dict)
    programs: dict[str, tuple[Any, tuple[Any, ...]]] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    products: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, np.ndarray] = field(default_factory=dict)
    deviation: dict[str, float] = field(default_factory=dict)

    def predicted(self, name: str) -> float:
        return self.routes[name].seconds if name in self.routes else math.nan


def installed(name: str) -> bool:
    """Whether a peer can be imported."""
    from importlib.util import find_spec

    return find_spec(name) is not None


def in_ms(seconds: Any) -> float:
    """Milliseconds with three digits."""
    return digits(1e3 * seconds)


def operators() -> dict[str, tuple[Callable[..., Any], Any]]:
    """Each operator as users call it, and as the planner knows it."""
    from jaxcalc.transforms import hessian, jacobian, laplacian
    from jaxcalc.transforms.hessian import HESSIAN
    from jaxcalc.transforms.jacobian import JACOBIAN
    from jaxcalc.transforms.laplacian import LAPLACIAN

    return {"jacobian": (jacobian, JACOBIAN), "hessian": (hessian, HESSIAN), "laplacian": (laplacian, LAPLACIAN)}


def strategy(operator: str, route: Any) -> str | None:
    """The strategy that a route follows: its method and kind of colours; ``None`` where it was refused uncoloured."""
    if route.method != "sparse" or operator == "laplacian":
        return route.method
    kinds = {"column": "sparse columns", "row": "sparse rows", "star": "sparse star", "acyclic": "sparse acyclic"}
    return next((name for word, name in kinds.items() if f" {word} colour" in f" {route.how}"), None)


def all_routes(operator: str, made: Any, fun: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Every route that can be had, by strategy: those of a plan, and those that it passed over but a user may name."""
    from jaxcalc.transforms import plan
    from jaxcalc.transforms.plan import FAST_ENOUGH

    found: dict[str, Any] = {}

    def add(routes: Any) -> None:
        for route in routes:
            name = strategy(operator, route)
            if name is None or (name in found and not found[name].refused and found[name].label != made.chosen.label):
                continue
            if name not in found or found[name].refused:
                found[name] = route

    add([made.chosen])
    add(made.routes)
    methods = {"jacobian": ("sparse", "bidirectional")}.get(operator, ("sparse",))
    passed_over = [
        route.method for route in made.routes if route.refused == FAST_ENOUGH and route.method not in methods
    ]
    for method in (*passed_over, *methods):
        missing = [n for n in STRATEGIES[operator] if n.startswith(method) and (n not in found or found[n].refused)]
        if missing:
            with contextlib.suppress(ValueError):  # a method that the function does not allow
                add(plan(operators()[operator][0], fun, *arguments, method=method).routes)
    return {name: found[name] for name in STRATEGIES[operator] if name in found}


@contextlib.contextmanager
def nothing_remembered() -> Iterator[None]:
    """Neither an earlier plan nor an earlier measurement is at hand."""
    from jaxcalc.cache import empty_cache
    from jaxcalc.programs.speed import device
    from jaxcalc.transforms import plan_memory

    device()  # its speeds may be kept in the folder that is about to change
    with empty_cache():
        plan_memory.forget()
        try:
            yield
        finally:
            plan_memory.forget()


@functools.cache
def _warm(operator: str, precision: str) -> None:
    """Plan and run a small function once, so that imports and JAX's lazy loading fall on no trial."""
    from jaxcalc.transforms import plan

    vector = lambda x: jnp.sin(x[1:] * x[:-1])
    scalar = lambda x: jnp.sum(vector(x))
    x = jnp.ones(64, precision)
    plan(operators()[operator][0], vector if operator == "jacobian" else scalar, x)(x)


def _fewest(operator: str, own: _Field) -> str:
    """The strategy of fewest products, the simplest among equals."""
    offered = [name for name in STRATEGIES[operator] if name in own.routes and not own.routes[name].refused]
    return min(offered, key=lambda name: own.routes[name].passes)


def _compile_own(operator: str, own: _Field, chosen: set[str], config: Any) -> None:
    """Compile each of our routes that could matter."""
    from jaxcalc.transforms import choose
    from jaxcalc.transforms.lifting import split_arrays
    from jaxcalc.transforms.plan import Request

    known = operators()[operator][1]
    fun, arguments = own.instance.fun, own.instance.arguments
    request = Request(known, fun, known.choices(), arguments)
    leaves = tuple(split_arrays(arguments)[0])
    limits = {"sparse columns": "forward", "sparse rows": "reverse", "sparse star": "forward-over-reverse"}
    limits |= {"sparse acyclic": "forward-over-reverse", "sparse": "hessian"}
    for name, route in own.routes.items():
        own.products[name] = route.passes
        dense = own.routes.get(limits.get(name, ""))
        if route.refused:
            own.status[name] = f"not offered: {route.refused}"
        elif name not in chosen and dense is not None and not dense.refused and route.passes >= dense.passes:
            own.status[name] = f"no fewer products than {limits[name]}"
        elif name not in chosen and route.seconds > config.patience:
            own.status[name] = f"not run: predicted to take {route.seconds:.3g} s"
        else:
            try:
                program = choose.compiled(request, route)
            except Exception as error:  # an offered route that fails is a finding, not the end of the trial
                own.status[name] = f"failed: {_first_line(error)}"
            else:
                own.programs[name] = program, leaves


def _compile_peers(operator: str, own: _Field, config: Any) -> None:
    """Compile each peer that applies, patterns and colourings ready, as its documentation recommends."""
    from jaxcalc.programs.compiled import executable

    for name, make in peers(operator, own.instance, own.routes).items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = make()
                if isinstance(made, str):
                    own.status[name] = made
                    continue
                call, own.products[name], like = made
                if own.predicted(like) > config.patience:
                    own.status[name] = f"not run: like {like}"
                    continue
                own.programs[name] = executable(call, *own.instance.arguments), own.instance.arguments
        except Exception as error:  # whatever a peer raises on a function that it cannot do
            own.status[name] = f"failed: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:200]


def _read(operator: str, own: _Field, chosen: dict[str, str], config: Any) -> np.ndarray:
    """Check every program's result, then time them in turns; returns the planned program's second reading."""
    for name, (program, _) in list(own.programs.items()):
        if program.footprint > 1e6 * config.run_limit:
            own.status[name] = f"not run: needs {program.footprint / 1e6:.0f} MB"
            del own.programs[name]
    calls = {name: functools.partial(program, *arguments) for name, (program, arguments) in own.programs.items()}
    first = _check(operator, own, calls, config.patience)
    fastest = min(first.values())
    picks = set(chosen.values())
    behind = [name for name in first if name not in picks and first[name] > config.contention * fastest]
    contenders = {name: calls[name] for name in first if name not in behind}
    planned = chosen["estimate"]
    if planned in contenders:
        contenders["again"] = contenders[planned]
    options: Any = {"min_seconds": config.min_seconds}
    read = measure.interleave(contenders, repeats=config.repeats, **options)
    again = read.pop("again").samples if "again" in read else np.full(config.repeats, np.nan)
    few = min(3, config.repeats)
    read |= measure.interleave({name: calls[name] for name in behind if first[name] < 0.2}, repeats=few, **options)
    for name in first:
        samples = read[name].samples if name in read else np.array([first[name]])
        own.seconds[name] = np.pad(samples, (0, config.repeats - len(samples)), constant_values=np.nan)
        own.status.setdefault(name, MEASURED)
    return again


def _check(operator: str, own: _Field, calls: Mapping[str, Callable[[], Any]], patience: float) -> dict[str, float]:
    """Seconds of a second call of each, and how far its result is from that of JAX's own transformation."""
    order = sorted(calls, key=lambda name: (not name.startswith(("jax.", "trace of")), name != "jax.jacfwd"))
    reference, first = None, {}
    tolerance = math.sqrt(np.finfo(own.dtype).eps)
    floor = _summands(own) if operator == "laplacian" else 0.0
    for name in order:
        try:
            result, seconds = measure.once(calls[name])
        except Exception as error:
            own.status[name] = f"failed: {_first_line(error)}"
            continue
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(result)]
        reference = leaves if reference is None else reference
        own.deviation[name] = _distance(leaves, reference, floor)
        if not own.deviation[name] <= tolerance:
            own.status[name] = f"{WRONG}: off by {own.deviation[name]:.2g}"
        more = 1 if seconds > 0.1 else 3
        first[name] = seconds if seconds > patience else min(measure.once(calls[name])[1] for _ in range(more))
    return first


def _summands(own: _Field) -> float:
    """The sum of the magnitudes that a Laplacian adds up, beside which a sum that cancels is judged; 0 if unknown."""
    from jax.flatten_util import ravel_pytree

    fun, (x, *rest) = own.instance.fun, own.instance.arguments
    flat, unravel = ravel_pytree(x)
    try:
        curvature = jax.jit(jax.hessian(lambda flat, *rest: fun(unravel(flat), *rest)))(flat, *rest)
    except Exception:  # the function has no reverse mode; then the Laplacian itself is the measure
        return 0.0
    return float(abs(np.diagonal(curvature)).sum())


def _distance(leaves: list[np.ndarray], reference: list[np.ndarray], floor: float = 0.0) -> float:
    """The largest difference over the largest entry or ``floor``; NaN where shapes or undefined entries differ."""
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in reference]:
        return math.nan
    scale = max((float(np.nanmax(abs(leaf), initial=0.0)) for leaf in reference), default=0.0)
    scale = max(scale, floor) or 1.0
    worst = 0.0
    for a, b in zip(leaves, reference):
        if (np.isnan(a) != np.isnan(b)).any():
            return math.nan
        worst = max(worst, float(np.nanmax(np.where(a == b, 0.0, abs(a - b)), initial=0.0)))
    return worst / scale


def _peer_choice(operator: str, own: _Field) -> str:
    """What a user of the peers would take without measuring: JAX's mode by shape, JAX's Hessian, folx."""
    wishes = {"hessian": ("jax.hessian",), "laplacian": ("folx", "trace of jax.hessian")}.get(operator)
    if wishes is None:
        tall = own.instance.num_inputs <= own.instance.num_outputs
        wishes = ("jax.jacfwd", "jax.jacrev") if tall else ("jax.jacrev", "jax.jacfwd")
    return next((name for name in wishes if name in own.programs), wishes[0])


def _label(own: _Field, label: str) -> str:
    """The strategy of the route with that label."""
    return next(name for name, route in own.routes.items() if route.label == label)


def hold(operator: str, config: Any) -> dict[str, Any]:
    """Plan by estimate and by measurement, compile everything, and let all take turns.

    Args:
      operator: ``"jacobian"``, ``"hessian"`` or ``"laplacian"``.
      config: with ``problem``, ``repeats``, ``min_seconds``, ``patience``, ``run_limit`` and ``contention``.

    Returns:
      The variables of ``experiments.derivative_routes``.
    """
    case = scenarios.case(config.problem)
    with jax.enable_x64(case.dtype == "float64"), nothing_remembered():
        _warm(operator, case.dtype)
        own = _Field(case.build(), case.dtype)
        chosen, planning, measuring = _choose(operator, own)
        _compile_own(operator, own, set(chosen.values()), config)
        _compile_peers(operator, own, config)
        chosen["peer"] = _peer_choice(operator, own)
        again = _read(operator, own, chosen, config)
    names = (*STRATEGIES[operator], *PEERS[operator])
    column = lambda values: np.array([values.get(name, np.nan) for name in names], float)
    programs = {name: program for name, (program, _) in own.programs.items()}
    never = np.full(config.repeats, np.nan)
    return {
        "strategy": np.array(names),
        "rule": np.array(RULES),
        "function": np.array(case.name),
        "family": np.array(case.family),
        "split": np.array(case.split),
        "precision": np.array(case.dtype),
        "num_inputs": np.array(own.instance.num_inputs),
        "num_outputs": np.array(own.instance.num_outputs),
        "products": column(own.products),
        "predicted": column({name: route.seconds for name, route in own.routes.items()}),
        "seconds": np.array([own.seconds.get(name, never) for name in names]),
        "again": again,
        "compile_seconds": column({name: program.compile_seconds for name, program in programs.items()}),
        "trace_seconds": column({name: program.trace_seconds for name, program in programs.items()}),
        "deviation": column(own.deviation),
        "status": np.array([own.status.get(name, "not offered") for name in names]),
        "choice": np.array([chosen[rule] for rule in RULES]),
        "planning_seconds": np.array(planning),
        "measuring_seconds": np.array(measuring),
    }


def _choose(operator: str, own: _Field) -> tuple[dict[str, str], float, float]:
    """What each rule chooses, and the seconds that planning by estimate and by measurement took."""
    from jaxcalc.transforms import plan

    public = operators()[operator][0]
    fun, arguments = own.instance.fun, own.instance.arguments
    made, planning = measure.once(lambda: plan(public, fun, *arguments))
    own.routes = all_routes(operator, made, fun, arguments)
    timed, measuring = measure.once(lambda: plan(public, fun, *arguments, effort="measure"))
    chosen = {
        "estimate": _label(own, made.chosen.label),
        "measure": _label(own, timed.chosen.label),
        "fewest products": _fewest(operator, own),
    }
    return chosen, planning, measuring
