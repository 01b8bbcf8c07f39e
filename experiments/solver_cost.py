"""What do the solvers cost beside the loops that they replace?

4,096 starts in one program against one compiled solve called for each, and against a Python loop over steps
(``lanes``); the time of a step against plain optax in a scan (``steps``); what the history adds (``history``); and how
far Newton's method by conjugate gradients goes, with scales and without (``size``).
"""

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, NotJudged, Part, Variable, above, below, equal, holds, less

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_NAMES = {
    "gradient-descent": "gradient descent",
    "momentum": "momentum",
    "adam": "Adam",
    "newton": "Newton",
    "trust-region": "trust region",
    "l-bfgs": "L-BFGS",
}


class _Timed(Config):
    repeats: int = pydantic.Field(7, ge=1)
    """rounds of timing, in which all take turns"""
    min_seconds: float = pydantic.Field(1e-2, ge=0)
    """how long one reading lasts at least, in seconds"""


def _readings(calls: dict[str, Callable[[], Any]], config: _Timed) -> dict[str, Any]:
    from jaxcalc import measure

    read = measure.interleave(calls, repeats=config.repeats, min_seconds=config.min_seconds)
    return {"route": np.array(list(calls)), "seconds": np.array([timing.samples for timing in read.values()])}


def _compiled(fun: Callable[..., Any], *args: Any) -> Any:
    import jax

    return jax.jit(fun).lower(*args).compile()


def _ratio(data: "xarray.Dataset", route: str, over: str) -> "xarray.DataArray":
    """The median over rounds of one route's time over another's."""
    return (data.seconds.sel(route=route) / data.seconds.sel(route=over)).median("repeat", skipna=False)


def _ratios(dataset: "xarray.Dataset", route: str, over: str, chosen: Any = lambda point: True) -> dict[str, float]:
    """The same by point of the sweep."""
    return {_label(names): float(_ratio(p, route, over)) for names, p in _points(dataset) if chosen(p)}


def _shown(ratios: dict[str, float]) -> str:
    return ", ".join(f"{name}: {value:.3g}" for name, value in ratios.items())


def _points(dataset: "xarray.Dataset") -> Iterator[tuple[tuple[Any, ...], "xarray.Dataset"]]:
    """Every point of the sweep, with its coordinates in the order of the dataset's other dimensions."""
    axes = [str(name) for name in dataset.seconds.dims if name not in ("route", "repeat")]
    for places in np.ndindex(*(dataset.sizes[name] for name in axes)):
        point = dataset.isel(dict(zip(axes, places)))
        yield tuple(point[name].item() for name in axes), point


def _label(names: tuple[Any, ...]) -> str:
    return ", ".join(_NAMES.get(str(name), str(name)) for name in names)


def _bars(
    dataset: "xarray.Dataset", routes: tuple[str, ...], over: str, axis: str, label: str, limit: float | None = None
) -> "Figure":
    """Each route's time over one's, a row for each point; ``axis`` says what is shown."""
    from matplotlib import ticker

    from jaxcalc import style

    points = list(_points(dataset))
    apart = 0.28
    figure, panel = style.subplots(1, 1, width=5.6, height=1.0 + 0.2 * len(points) * (1 + 0.6 * len(routes)))
    for shift, (route, look) in enumerate(zip(routes, style.looks(routes))):
        for place, (_, point) in enumerate(points):
            rounds = (point.seconds.sel(route=route) / point.seconds.sel(route=over)).values
            if not np.isfinite(rounds).all():
                continue
            low, middle, high = np.quantile(rounds, [0.25, 0.5, 0.75])
            height = place + (shift - (len(routes) - 1) / 2) * apart
            panel.plot([low, high], [height, height], color=look["color"], lw=1.2)
            panel.plot(middle, height, marker="o", ms=4.5, ls="", color=look["color"])
            panel.annotate(f"{middle:.3g}×", (high, height), xytext=(4, 0), textcoords="offset points", va="center",
                           fontsize=6.5)  # fmt: skip
        panel.plot([], [], marker="o", ms=4.5, ls="", color=look["color"], label=route)
    panel.axvline(1.0, **style.THEORY)
    if limit is not None:
        panel.axvline(limit, color=style.COLORS["grey"], lw=0.8, ls=":")
    panel.set_yticks(range(len(points)), [_label(names) for names, _ in points])
    panel.set_ylim(len(points) - 0.4, -0.6)
    panel.set(xscale="log", xlabel=axis)
    left, right = panel.get_xlim()
    panel.set_xlim(min(left, 0.8), right * 1.6)
    if right < 20:
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.grid(axis="y", visible=False)
    if len(routes) > 1:
        panel.legend(fontsize=6.5, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.set_label(label)
    return figure


def _table(dataset: "xarray.Dataset", over: str) -> list[dict[str, Any]]:
    rows = []
    for names, point in _points(dataset):
        medians = point.seconds.median("repeat")
        row: dict[str, Any] = {"": _label(names), "steps": int(point.num_steps)}
        for route in point.route.values:
            row[f"{route}, ms"] = float(f"{1e3 * float(medians.sel(route=route)):.4g}")
        row |= {
            f"{route} / {over}": float(f"{float(_ratio(point, str(route), over)):.3g}")
            for route in point.route.values
            if route != over
        }
        rows.append(row)
    return rows


_TIMES = {
    "route": Variable(("route",), "", "how it is done", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time"),
    "num_steps": Variable((), "1", "steps of the lane that took most", measured=False),
}

# -- lanes -------------------------------------------------------------------------------------------------------------

_LANES = "lanes of one program"
_CALLS = "one program, called for each start"
_BOTH_LOOPS = "Python loops over starts and steps"
_STEPS = "Python loop over steps of all starts"


class Lanes(_Timed):
    method: Literal["gradient-descent", "newton", "trust-region", "l-bfgs"] = "gradient-descent"
    """the solver"""
    starts: int = pydantic.Field(4096, ge=2)
    """starts, drawn evenly from the square of side 4 around 0"""
    num_steps: int = pydantic.Field(500, ge=1)
    """steps of gradient descent, and the most of the others"""
    sample: int = pydantic.Field(8, ge=1)
    """how many of the starts the loop over starts and steps is timed for; its time is that of all, in proportion"""


def run_lanes(config: Lanes, key: Any) -> dict[str, Any]:
    """Rosenbrock's valley from many starts."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions import problems
    from jaxcalc.solvers import gradient_descent, minimize, newton

    fun = problems.rosenbrock(2).function
    rate = 1e-3
    descends = config.method == "gradient-descent"
    solver = {"gradient-descent": gradient_descent(rate), "newton": newton()}.get(config.method, config.method)
    tol = 0.0 if descends else None

    def solve(x: Any) -> Any:
        found = minimize(fun, x, method=solver, max_steps=config.num_steps, tol=tol)
        return found.x, found.status, found.num_steps

    starts = jax.random.uniform(key, (config.starts, 2), minval=-2.0, maxval=2.0)
    split = [jnp.array(start) for start in starts]
    together, alone = _compiled(jax.vmap(solve), starts), _compiled(solve, split[0])
    x, status, steps = together(starts)
    taken = np.asarray(steps)
    calls: dict[str, Callable[[], Any]] = {
        _LANES: lambda: together(starts),
        _CALLS: lambda: [alone(start) for start in split],
    }
    if config.method in ("gradient-descent", "newton"):

        def update(x: Any) -> Any:
            gradient = jax.grad(fun)(x)
            return x - (rate * gradient if descends else jnp.linalg.solve(jax.hessian(fun)(x), gradient))

        one, every = _compiled(update, split[0]), _compiled(jax.vmap(update), starts)

        def over_both() -> list[Any]:
            ends = []
            for start, count in zip(split[: config.sample], taken):
                x = start
                for _ in range(count):
                    x = one(x)
                ends.append(x)
            return ends

        def over_steps() -> Any:
            x = starts
            for _ in range(int(taken.max())):
                x = every(x)
            return x

        calls |= {_BOTH_LOOPS: over_both, _STEPS: over_steps}
    found = _readings(calls, config)
    shares = [taken.sum() / taken[: config.sample].sum() if name == _BOTH_LOOPS else 1.0 for name in calls]
    separate = np.asarray([alone(start)[0] for start in split[:100]])
    lanes = np.asarray(x)[:100]
    close = np.all(np.abs(lanes - separate) <= 1e-6 * np.maximum(1.0, np.abs(separate)), axis=1)
    finite = np.all(np.isfinite(lanes) & np.isfinite(separate), axis=1)
    ended = np.array([alone(start)[1] for start in split[:100]])
    # What left the finite numbers has no place to compare: there both must say so.
    agree = (ended == np.asarray(status)[:100]) & np.where(finite, close, np.isin(ended, (2, 3)))
    full = dict.fromkeys((_LANES, _CALLS, _BOTH_LOOPS, _STEPS), np.zeros(config.repeats))
    full |= dict(zip(calls, found["seconds"] * np.array(shares)[:, None]))
    return {
        "route": np.array(list(full)),
        "seconds": np.array(list(full.values())),
        "timed": np.array([name in calls for name in full]),
        "num_steps": float(taken.max()),
        "agreeing": float(np.mean(agree)),
        "finite": float(np.mean(finite)),
    }


def _lanes(dataset: "xarray.Dataset", route: str, methods: tuple[str, ...] | None = None) -> dict[str, float]:
    """By solver, a route's time over that of all starts in one program."""
    names = methods or tuple(map(str, dataset["method"].values))
    return {name: float(_ratio(dataset.sel({"method": name}), route, _LANES)) for name in names}


def _beat_calls(dataset: "xarray.Dataset") -> Finding:
    calls = _lanes(dataset, _CALLS)
    checks = above(calls["gradient-descent"], 5.0) & above(calls["newton"], 2.0)
    return Finding(checks, measured=_shown({_NAMES[name]: value for name, value in calls.items()}), figure="lanes")


def _beat_loops(dataset: "xarray.Dataset") -> Finding:
    methods = ("gradient-descent", "newton")
    loops, steps = (_lanes(dataset, route, methods) for route in (_BOTH_LOOPS, _STEPS))
    timed = dataset.timed.sel({"method": list(methods), "route": _BOTH_LOOPS})
    shown = lambda ratios: _shown({_NAMES[name]: value for name, value in ratios.items()})
    return Finding(
        above(loops, 20.0) & holds(timed),
        measured=f"{shown(loops)}; a Python loop over steps of an update of all starts at once, which neither judges "
        f"nor stops a lane: {shown(steps)}",
        figure="lanes",
    )


def _end_alike(dataset: "xarray.Dataset") -> Finding:
    shares = [(_NAMES[str(p["method"].item())], float(p.agreeing), float(p.finite)) for _, p in _points(dataset)]
    return Finding(
        equal(dataset.agreeing, 1.0) & less(0.5, dataset.finite),
        measured=", ".join(f"{name} {agreeing:.0%}, {finite:.0%} finite" for name, agreeing, finite in shares),
        figure="lanes",
    )


def _only_timed(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """Without the times of routes that were not run."""
    return dataset.assign(seconds=dataset.seconds.where(dataset.timed == 1))


lanes = Part(
    Config=Lanes,
    VARIABLES={
        **_TIMES,
        "timed": Variable(("route",), "", "whether this route was run; its time is 0 where it was not", measured=False),
        "agreeing": Variable((), "", "share of lanes that end as, and where finite where, the start alone ends"),
        "finite": Variable((), "", "share of these that end at finite numbers"),
    },
    kind="timed",
    run=run_lanes,
    figures=lambda dataset: {
        "lanes": _bars(
            _only_timed(dataset),
            (_CALLS, _BOTH_LOOPS, _STEPS),
            _LANES,
            f"time over that of all {_LANES}",
            "The time from many starts in Rosenbrock's valley, over that of all lanes in one program; bars: quartiles.",
        )
    },
    claims={
        "lanes-beat-calls": _beat_calls,
        "lanes-beat-python-loops": _beat_loops,
        "lanes-end-where-calls-end": _end_alike,
    },
    tables=lambda dataset: {"Many starts": _table(_only_timed(dataset), _LANES)},
    doc="Many starts in one program, against calls and against Python loops.",
)


# -- steps -------------------------------------------------------------------------------------------------------------


class Steps(_Timed):
    method: Literal["gradient-descent", "momentum", "adam", "l-bfgs"] = "gradient-descent"
    """the solver"""
    problem: Literal["breast-cancer", "rosenbrock"] = "breast-cancer"
    """logistic regression on tumours, or Rosenbrock's function, chained"""
    dimension: int = pydantic.Field(2, ge=2)
    """variables of the latter"""
    num_steps: int = pydantic.Field(500, ge=1)
    """steps; L-BFGS takes at most 20 of them, lest it arrive"""


_OPTAX, _WITH_VALUE = "optax", "optax with the value"


def run_steps(config: Steps, key: Any) -> dict[str, Any]:
    """The same number of steps by ours and by optax in a scan."""
    import jax
    import jax.numpy as jnp
    import optax

    from jaxcalc.functions import problems
    from jaxcalc.solvers import adam, gradient_descent, lbfgs, minimize, momentum

    problem = problems.breast_cancer() if config.problem == "breast-cancer" else problems.rosenbrock(config.dimension)
    fun, rate = problem.function, 1e-4
    length = min(config.num_steps, 20) if config.method == "l-bfgs" else config.num_steps
    ours, theirs = {
        "gradient-descent": (gradient_descent(rate), optax.sgd(rate)),
        "momentum": (momentum(rate), optax.sgd(rate, momentum=0.9)),
        "adam": (adam(rate), optax.adam(rate)),
        "l-bfgs": (lbfgs(), optax.lbfgs()),
    }[config.method]

    def plain(x: Any, with_value: bool) -> Any:
        def step(carry: Any, _: Any) -> Any:
            x, state = carry
            if config.method == "l-bfgs":
                value, gradient = optax.value_and_grad_from_state(fun)(x, state=state)
                update, state = theirs.update(gradient, state, x, value=value, grad=gradient, value_fn=fun)
            elif with_value:
                value, gradient = jax.value_and_grad(fun)(x)
                update, state = theirs.update(gradient, state, x)
            else:
                value, gradient = None, jax.grad(fun)(x)
                update, state = theirs.update(gradient, state, x)
            return (optax.apply_updates(x, update), state), value if with_value else None

        (x, _), values = jax.lax.scan(step, (x, theirs.init(x)), length=length)
        return x, values

    def solve(x: Any) -> Any:
        found = minimize(fun, x, method=ours, tol=0.0, max_steps=length)
        return found.x, found.num_steps

    start = jnp.asarray(problem.start)
    calls = {
        "ours": functools.partial(_compiled(solve, start), start),
        _OPTAX: functools.partial(_compiled(functools.partial(plain, with_value=False), start), start),
        _WITH_VALUE: functools.partial(_compiled(functools.partial(plain, with_value=True), start), start),
    }
    steps = int(calls["ours"]()[1])
    found = _readings(calls, config)
    # Ours may end early; then its time a step counts.
    found["seconds"][0] *= length / max(steps, 1)
    return {**found, "num_steps": float(steps)}


def _as_fast(dataset: "xarray.Dataset") -> Finding:
    ratios = _ratios(dataset, "ours", _OPTAX)
    if len(ratios) < 2:
        raise NotJudged("it takes more than one solver")
    return Finding(below(ratios, 1.05), measured=_shown(ratios), figure="steps")


steps = Part(
    Config=Steps,
    VARIABLES=_TIMES,
    kind="timed",
    run=run_steps,
    figures=lambda dataset: {
        "steps": _bars(
            dataset,
            ("ours", _WITH_VALUE),
            _OPTAX,
            "time over that of plain optax",
            "The time of a step over that of plain optax in a scan, which judges no point and, L-BFGS apart, computes "
            "no value; bars: quartiles.",
        )
    },
    claims={"steps-as-fast-as-optax": _as_fast},
    tables=lambda dataset: {"A step": _table(dataset, _OPTAX)},
    doc="The time of a step against plain optax in a scan.",
)


# -- history -----------------------------------------------------------------------------------------------------------

_NONE, _FULL = "without history", "with its full history"


class Kept(_Timed):
    method: Literal["gradient-descent", "adam", "newton", "l-bfgs"] = "gradient-descent"
    """the solver"""
    problem: Literal["rosenbrock", "quadratic"] = "rosenbrock"
    """Rosenbrock's function, chained, a microsecond's work for 1,000 variables, or a quadratic with a dense matrix"""
    dimension: int = pydantic.Field(1000, ge=2)
    """variables"""
    lanes: int = pydantic.Field(1, ge=1)
    """starts, in lanes if there are more than one"""
    num_steps: int = pydantic.Field(200, ge=1)
    """the most steps"""


def run_history(config: Kept, key: Any) -> dict[str, Any]:
    """The same solve with and without its history."""
    import jax

    from jaxcalc.functions import problems
    from jaxcalc.solvers import adam, gradient_descent, lbfgs, minimize, newton

    chosen = problems.rosenbrock if config.problem == "rosenbrock" else functools.partial(problems.quadratic, 100.0)
    fun = chosen(config.dimension).function
    solver = {
        "gradient-descent": gradient_descent(1e-4),
        "adam": adam(1e-3),
        "newton": newton(),
        "l-bfgs": lbfgs(),
    }[config.method]
    shape = (config.dimension,) if config.lanes == 1 else (config.lanes, config.dimension)
    start = jax.random.uniform(key, shape, minval=-2.0, maxval=2.0)

    def solve(x: Any, history: str) -> Any:
        found = minimize(fun, x, method=solver, history=history, max_steps=config.num_steps)
        return found.x, found.num_steps, found.history

    def call(history: str) -> Callable[[], Any]:
        one = functools.partial(solve, history=history)
        return functools.partial(_compiled(one if config.lanes == 1 else jax.vmap(one), start), start)

    calls = {_NONE: call("none"), _FULL: call("full")}
    steps = float(np.max(calls[_NONE]()[1]))
    return {**_readings(calls, config), "num_steps": steps}


def _at_most(bound: float, chosen: Callable[["xarray.Dataset"], bool]) -> Callable[["xarray.Dataset"], Finding]:
    """The judge of the runs chosen: what the history adds keeps their times below a bound."""

    def judge(dataset: "xarray.Dataset") -> Finding:
        ratios = _ratios(dataset, _FULL, _NONE, chosen)
        return Finding(below(list(ratios.values()), bound), measured=_shown(ratios), figure="history")

    return judge


history = Part(
    Config=Kept,
    VARIABLES=_TIMES,
    kind="timed",
    run=run_history,
    figures=lambda dataset: {
        "history": _bars(
            dataset,
            (_FULL,),
            _NONE,
            "time over that without history",
            "The time of a solve with its full history over that of the same without; bars: quartiles; dotted: 2.",
            limit=2.0,
        )
    },
    claims={
        "history-costs-little": _at_most(1.05, lambda point: int(point.lanes) == 1 and int(point.dimension) >= 1000),
        "history-of-lanes-costs-at-most-as-much-again": _at_most(2.0, lambda point: int(point.lanes) > 1),
    },
    tables=lambda dataset: {"History": _table(dataset, _NONE)},
    doc="What keeping the history adds to the run time.",
)


# -- size --------------------------------------------------------------------------------------------------------------


class Size(_Timed):
    dimension: int = pydantic.Field(1000, ge=2)
    """number of variables, even"""
    problem: Literal["valleys", "chain"] = "valleys"
    """pairs of variables in Rosenbrock's valley, or a convex chain with curvatures over six orders of magnitude"""
    scaled: bool = True
    """whether conjugate gradients may scale by the Hessian's diagonal"""


def _long(problem: str) -> Callable[[Any], Any]:
    import jax.numpy as jnp

    def valleys(x: Any) -> Any:
        return jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)

    def chain(x: Any) -> Any:
        y = jnp.logspace(-1, 2, x.size, dtype=x.dtype) * (x - 1)
        return jnp.sum(y**2 / 2 + jnp.sqrt(1 + y**2)) + 0.2 * jnp.sum(y[1:] * y[:-1])

    return valleys if problem == "valleys" else chain


def run_size(config: Size, key: Any) -> dict[str, Any]:
    """Newton-CG on a problem of any length."""
    import jax.numpy as jnp

    from jaxcalc.programs.compiled import executable
    from jaxcalc.solvers import minimize, newton_cg

    fun = _long(config.problem)
    pair = [-1.2, 1.0] if config.problem == "valleys" else [0.0, 0.0]
    start = jnp.tile(jnp.array(pair), config.dimension // 2)

    def solve(x: Any) -> Any:
        found = minimize(fun, x, method=newton_cg(precondition=config.scaled))
        return found.success, found.num_steps, found.evaluations.hvps, found.kkt_residual

    program = executable(solve, start)
    success, num_steps, products, residual = program(start)
    return {
        **_readings({"Newton-CG": lambda: program(start)}, config),
        "num_steps": float(num_steps),
        "products": float(products),
        "success": float(success),
        "residual": float(residual),
        "footprint": float(program.footprint),
    }


def _longest(dataset: "xarray.Dataset") -> dict[tuple[str, bool], "xarray.Dataset"]:
    """By problem and whether scaled, the runs of most variables."""
    points = [point for _, point in _points(dataset)]
    longest = max(int(point.dimension) for point in points)
    found = {(str(p.problem.item()), bool(p.scaled)): p for p in points if int(p.dimension) == longest}
    if len(found) < 4:
        raise NotJudged("it takes both problems, with scales and without")
    return found


def _linear_memory(dataset: "xarray.Dataset") -> Finding:
    points = [point for _, point in _points(dataset)]
    numbers = [float(p.footprint) / int(p.dimension) / 8 for p in points if int(p.dimension) >= 1000]
    seconds = {name: float(p.seconds.median()) for (name, scaled), p in _longest(dataset).items() if scaled}
    return Finding(
        holds(dataset.success) & below(numbers, 100.0) & above(dataset.seconds, 0.0),
        measured=f"{int(dataset.success.sum())} of {len(points)}, at most {max(numbers):.0f} numbers; "
        + ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in seconds.items()),
        figure="size",
    )


def _fewer_products(dataset: "xarray.Dataset") -> Finding:
    plain, scaled = (_longest(dataset)["chain", choice] for choice in (False, True))
    saved = float(plain.products / scaled.products)
    slow, fast = (float(p.seconds.median(skipna=False)) for p in (plain, scaled))
    return Finding(
        above(saved, 10.0) & less(fast, slow),
        measured=f"{saved:.3g} times fewer, {slow / fast:.3g} times as fast",
        figure="size",
    )


def figures_of_size(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    """Time and products over the number of variables."""
    from jaxcalc import style

    lines: dict[tuple[str, bool], list[Any]] = {}
    for _, point in _points(dataset):
        lines.setdefault((str(point.problem.item()), bool(point.scaled)), []).append(point)
    figure, panels = style.subplots(1, 2, width="page", height=2.8)
    for look, ((problem, scaled), points) in zip(style.looks(list(map(str, lines))), lines.items()):
        size = [int(p.dimension) for p in points]
        label = f"{problem}, {'scaled' if scaled else 'unscaled'}"
        for panel, values in zip(
            panels, ([1e3 * float(p.seconds.median()) for p in points], [float(p.products) for p in points])
        ):
            panel.plot(size, values, marker="o", ms=4, ls="-" if scaled else "--", color=look["color"], label=label)
    panels[0].set(xscale="log", yscale="log", xlabel="number of variables", ylabel="time (ms)")
    panels[1].set(xscale="log", yscale="log", xlabel="number of variables", ylabel="Hessian-vector products")
    panels[1].legend(fontsize=6.5)
    style.panel_labels(panels)
    figure.set_label("Newton-CG to the default tolerance, with and without scales from the Hessian's diagonal.")
    return {"size": figure}


def tables_of_size(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    return {
        "Newton-CG": [
            {
                "problem": str(p.problem.item()),
                "n": int(p.dimension),
                "scaled": bool(p.scaled),
                "ms": float(f"{1e3 * float(p.seconds.median()):.3g}"),
                "steps": int(p.num_steps),
                "products": int(p.products),
                "largest entry of the gradient": float(f"{float(p.residual):.2g}"),
                "memory, MB": float(f"{float(p.footprint) / 1e6:.3g}"),
            }
            for _, p in _points(dataset)
        ]
    }


size = Part(
    Config=Size,
    VARIABLES={
        **_TIMES,
        "products": Variable((), "1", "Hessian-vector products", measured=False),
        "success": Variable((), "", "1 where the stationarity test held", measured=False),
        "residual": Variable((), "", "largest entry of the gradient at the end", measured=False),
        "footprint": Variable((), "B", "compiled memory: temporaries and outputs", measured=False),
    },
    kind="timed",
    run=run_size,
    figures=figures_of_size,
    claims={"newton-cg-scales": _linear_memory, "scales-save-products": _fewer_products},
    tables=tables_of_size,
    doc="How far Newton's method by conjugate gradients goes.",
)
