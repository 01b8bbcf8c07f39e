"""What does a Laplacian cost, and on which programs does it work: our routes beside folx, jax's jet and nested loops?

Two questions: the time on networks of the literature (``time``), and the programs that each contestant gets right
(``programs``): loops, scans over data, kinks. Peers that are not installed leave NaN.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from experiments import _contest
from jaxcalc.lab import Check, Finding, NotJudged, Part, Variable, below, between, equal, over
from jaxcalc.lab import Config as Base
from jaxcalc.lab.judge import Judge

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

Workload = Literal["electrons", "dense network"]

# Ours, then the peers, then what anybody can write down in jax.
_OURS = ("auto", "forward-laplacian", "sparse", "nested", "hessian")
_PEERS = ("folx dense", "folx sparse", "folx loop", "jet")
_PLAIN = ("jax hessian", "jax loop")
_ROUTES = (*_OURS, *_PEERS, *_PLAIN)


def _by_jet(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The sum over all axes of the second coefficient of jax's Taylor mode."""
    import jax
    import jax.numpy as jnp
    from jax.experimental.jet import jet

    def call(x: Any, *constants: Any) -> Any:
        flat = lambda v: fun(v.reshape(x.shape), *constants)

        def along(v: Any) -> Any:
            return jet(flat, (x.ravel(),), [[v, jnp.zeros_like(v)]])[1][1]

        return jnp.sum(jax.vmap(along)(jnp.eye(x.size, dtype=x.dtype)))

    return call


def _by_hessian(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The trace of jax's Hessian."""
    import jax
    import jax.numpy as jnp

    return lambda x, *constants: jnp.trace(
        jax.hessian(lambda v: fun(v.reshape(x.shape), *constants))(x.ravel()).reshape(x.size, x.size)
    )


def _by_loop(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Hessian-vector products with the axes, one after the other."""
    import jax
    import jax.numpy as jnp

    def call(x: Any, *constants: Any) -> Any:
        _, push = jax.linearize(jax.grad(lambda v: fun(v.reshape(x.shape), *constants)), x.ravel())
        axis = lambda i: jnp.zeros(x.size, x.dtype).at[i].set(1)
        return jax.lax.fori_loop(0, x.size, lambda i, total: total + push(axis(i))[i], jnp.zeros((), x.dtype))

    return call


def _contestants(fun: Callable[..., Any], sparsity: int) -> dict[str, Callable[..., Any]]:
    """Every route to the Laplacian in the first argument; ``sparsity`` is folx's threshold where it looks for zeros."""
    from jaxcalc.transforms import laplacian

    found: dict[str, Callable[..., Any]] = {name: laplacian(fun, method=name) for name in _OURS}
    if _contest.installed("folx"):
        import folx  # pyright: ignore[reportMissingImports]

        def by_folx(operator: Any) -> Callable[..., Any]:
            # LoopLaplacianOperator returns the terms of the sum, ForwardLaplacianOperator the sum.
            return lambda x, *constants: operator(lambda v: fun(v, *constants))(x)[0].sum()

        found |= {
            "folx dense": by_folx(folx.ForwardLaplacianOperator(0)),
            "folx sparse": by_folx(folx.ForwardLaplacianOperator(sparsity)),
            "folx loop": by_folx(folx.LoopLaplacianOperator()),
        }
    return found | {"jet": _by_jet(fun), "jax hessian": _by_hessian(fun), "jax loop": _by_loop(fun)}


def _medians(dataset: "xarray.Dataset") -> "xarray.DataArray":
    return dataset.seconds.median("repeat")


def _ms(value: Any) -> float | str:
    return float(f"{1e3 * float(value):.3g}") if np.isfinite(value) else ""


def _first(dataset: "xarray.Dataset", *kept: str) -> "xarray.Dataset":
    """Of a sweep along other axes, the first point; the axes kept are there even if they were not swept."""
    for name in kept:
        if name in dataset.coords and name not in dataset.dims:
            dataset = dataset.expand_dims(name)
    return dataset.isel({d: 0 for d in dataset.dims if d not in (*kept, "route", "repeat")})


# -- time --------------------------------------------------------------------------------------------------------------


class Time(Base):
    workload: Workload = "electrons"
    """a dense network with silu on each of many electrons apart, or a tanh network D-768-768-512-512-1 on the whole"""
    batch: int = pydantic.Field(20, ge=1)
    """points at which the Laplacian is taken, vmapped"""
    electrons: int = pydantic.Field(100, ge=1)
    """electrons, for the first workload"""
    dimension: int = pydantic.Field(4, ge=1)
    """coordinates of an electron, or D"""
    width: int = pydantic.Field(100, ge=1)
    """units of a hidden layer of the first workload; the second has 7.68, 7.68, 5.12 and 5.12 times as many"""
    depth: int = pydantic.Field(10, ge=1)
    """hidden layers of the first workload"""
    sparsity: int = pydantic.Field(4, ge=1)
    """folx's sparsity threshold"""
    routes: tuple[str, ...] = _ROUTES
    """what is timed"""
    memory_limit: float = pydantic.Field(4000.0, gt=0)
    """a program that wants more MB is not run"""
    patience: float = pydantic.Field(2.0, ge=0)
    """a program whose first call took longer, in seconds, is read only once more"""
    repeats: int = pydantic.Field(7, ge=1)
    """rounds of timing of the others, which take turns"""
    min_seconds: float = pydantic.Field(1e-2, ge=0)
    """how long one reading lasts at least, in seconds"""

    @pydantic.field_validator("routes")
    @classmethod
    def _known(cls, routes: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(routes) - set(_ROUTES)):
            raise ValueError(f"unknown routes {', '.join(unknown)}; known are: {', '.join(_ROUTES)}")
        if not {"auto", "jax loop"} <= set(routes):
            raise ValueError("must hold 'auto' and 'jax loop', which it is checked against")
        return routes


def _network(config: Time) -> tuple[Callable[..., Any], Any, Any]:
    """The scalar network of one point, a batch of points, its parameters."""
    import jax
    import jax.numpy as jnp

    draw = np.random.default_rng(0)
    if config.workload == "electrons":
        widths, shape = [config.dimension, *[config.width] * config.depth, 1], (config.electrons, config.dimension)
        activation = jax.nn.silu
    else:
        hidden = [max(1, round(factor * config.width)) for factor in (7.68, 7.68, 5.12, 5.12)]
        widths, shape, activation = [config.dimension, *hidden, 1], (config.dimension,), jnp.tanh
    kind = jnp.result_type(float)
    array = lambda values: jnp.asarray(values, kind)
    layers = [
        (array(draw.standard_normal((a, b)) / np.sqrt(a)), array(0.1 * draw.standard_normal(b)))
        for a, b in itertools.pairwise(widths)
    ]

    def fun(x: Any, layers: Any) -> Any:
        for weight, bias in layers[:-1]:
            x = activation(x @ weight + bias)
        return jnp.sum(x @ layers[-1][0] + layers[-1][1])

    return fun, array(draw.standard_normal((config.batch, *shape))), layers


def _timed(programs: Mapping[str, Any], arguments: tuple[Any, ...], config: Time) -> dict[str, np.ndarray]:
    """Readings of every program: in turns where a call is quick, two of those that are not."""
    from jaxcalc import measure

    calls = {name: functools.partial(program, *arguments) for name, program in programs.items()}
    first = {name: measure.once(call)[1] for name, call in calls.items()}
    quick = {name: call for name, call in calls.items() if first[name] <= config.patience or name == "auto"}
    read = measure.interleave(quick, repeats=config.repeats, min_seconds=config.min_seconds)
    found = {name: timing.samples for name, timing in read.items()}
    for name in calls.keys() - quick.keys():
        found[name] = np.full(config.repeats, np.nan)
        found[name][0] = measure.once(calls[name])[1]
    return found


def run_time(config: Time, key: Any) -> dict[str, Any]:
    import jax

    from jaxcalc.programs.compiled import executable

    fun, x, layers = _network(config)
    contestants = {n: c for n, c in _contestants(fun, config.sparsity).items() if n in config.routes}
    programs = {}
    for name, call in contestants.items():
        try:
            programs[name] = executable(jax.vmap(call, (0, None)), x, layers)
        except ValueError:
            if name not in _OURS:
                raise
            continue  # ours says why a method is not possible, such as sparse for a dense Hessian
    runnable = {name: program for name, program in programs.items() if program.footprint <= 1e6 * config.memory_limit}
    reference = np.asarray(runnable["jax loop"](x, layers), float)
    seconds = _timed(runnable, (x, layers), config)
    scale, never = np.max(np.abs(reference)), np.full(config.repeats, np.nan)
    error = {n: np.max(np.abs(np.asarray(p(x, layers), float) - reference)) / scale for n, p in runnable.items()}
    field = lambda name, what: float(getattr(programs[name], what)) if name in programs else np.nan
    return {
        "route": np.array(config.routes),
        "seconds": np.array([seconds.get(name, never) for name in config.routes]),
        "compile_seconds": np.array([field(name, "compile_seconds") for name in config.routes]),
        "footprint": np.array([field(name, "footprint") for name in config.routes]),
        "error": np.array([error.get(name, np.nan) for name in config.routes]),
        "readings": np.array([int(np.isfinite(seconds.get(name, never)).sum()) for name in config.routes]),
        "num_inputs": x[0].size,
    }


def _points(dataset: "xarray.Dataset") -> dict[str, "xarray.Dataset"]:
    """The networks by name; a single one has none."""
    data = _first(dataset, "case")
    if "case" not in data.dims:
        return {"": data}
    return {str(name): data.sel(case=name) for name in data["case"].values}


def _read(data: "xarray.Dataset", route: str) -> np.ndarray:
    """The readings of a route that were made; what a slow one's turns left out is not among them."""
    return data.seconds.sel(route=route).values[: int(data.readings.sel(route=route))]


def _ratio(data: "xarray.Dataset", peer: str) -> float:
    """Time of our choice over a peer's: the median over shared rounds, so that what slows a round cancels."""
    ours, theirs = _read(data, "auto"), _read(data, peer)
    if not theirs.size:
        raise NotJudged(f"{peer} was not read")
    return float(np.median((ours if theirs.size > 1 else np.median(ours)) / theirs))


def _told(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}: {value:.3g}".lstrip(": ") for name, value in values.items())


def _no_slower(peer: str) -> Judge:
    def judge(dataset: "xarray.Dataset") -> Finding:
        ratios = {name: _ratio(point, peer) for name, point in _points(dataset).items()}
        return Finding(below(list(ratios.values())), measured=_told(ratios), figure="routes")

    return judge


def _best_route(dataset: "xarray.Dataset") -> Finding:
    regret = {}
    for name, point in _points(dataset).items():
        routes = [str(route) for route in point.route.values if float(point.readings.sel(route=route)) != 0]
        regret[name] = np.median(_read(point, "auto")) / min(np.median(_read(point, route)) for route in routes)
    return Finding(below(list(regret.values())), measured=_told(regret), figure="routes")


def _agree(dataset: "xarray.Dataset") -> Finding:
    ours = [name for name in _OURS if name in dataset.route.values]
    found = [
        point.error.sel(route=route).values
        for point in _points(dataset).values()
        for route in ours
        if route == "auto" or float(point.readings.sel(route=route)) != 0
    ]
    eps = float(np.finfo(dataset.attrs.get("dtype", "float32")).eps)
    return Finding(below(found, 1e3 * eps), measured=f"{np.max(found):.2g}, eps being {eps:.2g}")


def _style(route: str) -> dict[str, Any]:
    from jaxcalc import style

    color = "blue" if route in _OURS else "vermilion" if route in _PEERS else "grey"
    marker = "D" if route == "auto" else "o" if route in _OURS else "s" if route in _PEERS else "X"
    return {"color": style.COLORS[color], "marker": marker, "linestyle": "", "markersize": 6}


def figures_of_time(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    """Median times of all routes, a panel for each network."""
    from jaxcalc import style

    data = _first(dataset, "case")
    names = list(data["case"].values) if "case" in data.dims else [None]
    figure, panels = style.subplots(1, len(names), width="page", height=3.2, squeeze=False, sharey=True)
    routes = [str(route) for route in data.route.values]
    for name, panel in zip(names, panels[0]):
        point = data if name is None else data.sel(case=name)
        medians = 1e3 * _medians(point).values
        best = float(point.seconds.sel(route="auto").median()) * 1e3
        for place, (route, value) in enumerate(zip(routes, medians)):
            if np.isfinite(value):
                panel.plot(value, place, **_style(route))
                times = f"{value / best:.3g}×"
                panel.annotate(
                    times, (value, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=6.5
                )
            else:
                panel.annotate("not run", (0.03, place), xycoords=("axes fraction", "data"), fontsize=6.5, va="center")
        panel.axvline(best, **style.THEORY)
        panel.set(xscale="log", xlabel="time (ms)", title=str(name or ""))
        panel.set_xlim(np.nanmin(medians) / 2, np.nanmax(medians) * 12)
        panel.grid(axis="y", visible=False)
    panels[0, 0].set_yticks(range(len(routes)), routes)
    panels[0, 0].set_ylim(len(routes) - 0.5, -0.5)
    style.panel_labels(panels)
    figure.set_label(
        "Median time of a batch of Laplacians by every route; beside each, its time over that of our choice."
    )
    return {"routes": figure}


def tables_of_time(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    data, tables = _first(dataset, "case"), {}
    for name in data["case"].values if "case" in data.dims else [None]:
        point = data if name is None else data.sel(case=name)
        best = float(_medians(point).sel(route="auto"))
        tables[str(name or "Laplacians")] = [
            {
                "route": str(route),
                "ms": _ms(_medians(point).sel(route=route)),
                "times auto": float(f"{float(_medians(point).sel(route=route)) / best:.3g}"),
                "compile s": float(f"{float(point.compile_seconds.sel(route=route)):.3g}"),
                "memory, MB": float(f"{float(point.footprint.sel(route=route)) / 1e6:.3g}"),
                "deviation": float(f"{float(point.error.sel(route=route)):.2g}"),
            }
            for route in point.route.values
        ]
    return tables


time = Part(
    Config=Time,
    VARIABLES={
        "route": Variable(("route",), "", "how the Laplacian is computed", measured=False),
        "seconds": Variable(("route", "repeat"), "s", "run time of one batch"),
        "compile_seconds": Variable(("route",), "s", "time that XLA took to compile"),
        "footprint": Variable(("route",), "B", "compiled memory: temporaries and outputs", measured=False),
        "readings": Variable(("route",), "", "readings that were made", measured=False),
        "error": Variable(
            ("route",), "", "largest deviation from the loop's, over the largest Laplacian", measured=False
        ),
        "num_inputs": Variable((), "", "number of inputs of one point", measured=False),
    },
    kind="timed",
    run=run_time,
    figures=figures_of_time,
    claims={
        "no-slower-than-folx-dense": _no_slower("folx dense"),
        "no-slower-than-folx-sparse": _no_slower("folx sparse"),
        "the-best-laplacian-route-is-chosen": _best_route,
        "laplacians-agree": _agree,
    },
    tables=tables_of_time,
    doc="What does a batch of Laplacians cost by every route, and by folx and jet?",
)


# -- programs ----------------------------------------------------------------------------------------------------------

Program = Literal[
    "polynomial",
    "tanh network",
    "softplus network",
    "fori_loop",
    "while_loop",
    "scan over data",
    "cond",
    "relu network",
    "sorted",
    "product",
    "scatter",
    "log determinant",
    "linear solve",
]
# Where the issue trackers say that peers stop.
_HARD = ("fori_loop", "while_loop", "scan over data", "relu network")
_NOT_PEERS = ("auto", "jax hessian")
_SHOWN = ("auto", "forward-laplacian", "sparse", "nested", "hessian", "folx dense", "folx sparse", "jet")


class Programs(Base):
    program: Program = "polynomial"
    """what is differentiated"""
    size: int = pydantic.Field(6, ge=2)
    """number of inputs"""
    tolerance: float = pydantic.Field(1e-4, gt=0)
    """relative deviation from the trace of jax's Hessian at which an answer still counts as right"""


def _program(name: Program, size: int) -> Callable[[Any, Any], Any]:
    """A scalar function of a vector and a square matrix, with one feature of the language in it."""
    import jax
    import jax.numpy as jnp

    def wave(x: Any, a: Any) -> Any:
        return jnp.sin(a @ x)

    def by_count(x: Any, a: Any) -> Any:
        return jnp.sum(jax.lax.fori_loop(0, 4, lambda i, h: h + 0.3 * jnp.sin(a @ h), x) ** 2)

    def by_condition(x: Any, a: Any) -> Any:
        go = lambda state: state[0] < 4
        return jnp.sum(jax.lax.while_loop(go, lambda state: (state[0] + 1, jnp.tanh(a @ state[1])), (0, x))[1] ** 2)

    def over_data(x: Any, a: Any) -> Any:
        return jnp.sum(jax.lax.scan(lambda h, row: (jnp.tanh(h + row * jnp.sum(h)), h[0] ** 2), x, a)[1])

    functions: dict[str, Callable[[Any, Any], Any]] = {
        "polynomial": lambda x, a: jnp.sum(x**3 * (a @ x)),
        "tanh network": lambda x, a: jnp.sum(jnp.tanh(a @ jnp.tanh(a @ x))),
        "softplus network": lambda x, a: jnp.sum(jax.nn.softplus(a @ x) ** 2),
        "fori_loop": by_count,
        "while_loop": by_condition,
        "scan over data": over_data,
        "cond": lambda x, a: jnp.sum(jax.lax.cond(x[0] > 0, lambda v: wave(v, a) ** 2, lambda v: v**3, x)),
        "relu network": lambda x, a: jnp.sum(jax.nn.relu(a @ x + 0.1) ** 2 * x),
        "sorted": lambda x, a: jnp.sum(jnp.sort(a @ x)[::2] ** 3),
        "product": lambda x, a: jnp.prod(2.0 + wave(x, a)),
        "scatter": lambda x, a: jnp.sum(jnp.zeros(size).at[jnp.arange(size) // 2].add(x**2) ** 2),
        "log determinant": lambda x, a: jnp.linalg.slogdet(a + jnp.diag(4.0 + x**2))[1],
        "linear solve": lambda x, a: jnp.sum(jnp.linalg.solve(a + jnp.diag(4.0 + x**2), x)),
    }
    if name not in functions:
        raise ValueError(f"laplacian_cost: unknown program {name!r}; it is one of: {', '.join(functions)}.")
    return functions[name]


# What became of a contestant: right, wrong without a word, or an exception.
_RIGHT, _WRONG, _RAISED = 1.0, 0.0, -1.0


def run_programs(config: Programs, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    fun, draw = _program(config.program, config.size), np.random.default_rng(1)
    kind = jnp.result_type(float)
    x = jnp.asarray(draw.standard_normal(config.size), kind)
    a = jnp.asarray(draw.standard_normal((config.size, config.size)) / np.sqrt(config.size), kind)
    # By forward mode twice, which every one of these programs has.
    reference = float(jnp.trace(jax.jit(jax.jacfwd(jax.jacfwd(fun)))(x, a)))
    outcome, reasons = np.full(len(_SHOWN), np.nan), []
    # The matrix is closed over: folx looks for zeros only where it knows the numbers.
    contestants = _contestants(lambda x: fun(x, a), config.size)
    for i, name in enumerate(_SHOWN):
        reasons.append("")
        if name not in contestants:
            continue
        value = math.nan
        for call in (jax.jit(contestants[name]), contestants[name]):  # what cannot be compiled may run plainly
            try:
                value = float(call(x))
            except Exception as error:  # what a contestant raises is what is asked here
                reasons[i] = f"{type(error).__name__}: {error}".splitlines()[0][:120]
            else:
                reasons[i] = ""
                break
        if reasons[i]:
            outcome[i] = _RAISED
            continue
        right = abs(value - reference) <= config.tolerance * max(1.0, abs(reference))
        outcome[i] = _RIGHT if right else _WRONG
    return {
        "route": np.array(_SHOWN),
        "outcome": outcome,
        "present": np.array([name in contestants for name in _SHOWN]),
        "reason": np.array(reasons),
        "reference": reference,
    }


def _outcomes(dataset: "xarray.Dataset", routes: list[str]) -> tuple["xarray.DataArray", Check]:
    """What became of some routes by program, and whether each is known."""
    data = _first(over(dataset, "program"), "program")
    found = data.outcome.sel(route=routes)
    return found, between(found, _RAISED, _RIGHT)


def _every_program(dataset: "xarray.Dataset") -> Finding:
    auto, known = _outcomes(dataset, ["auto"])
    wrong = [str(name) for name in auto.program.values[(auto.values != _RIGHT).ravel()]]
    return Finding(
        known & equal(auto, _RIGHT),
        measured=f"right on {auto.size - len(wrong)} of {auto.size}" + "".join(f", not {name}" for name in wrong),
        figure="programs",
    )


def _never_wrong(dataset: "xarray.Dataset") -> Finding:
    ours, known = _outcomes(dataset, [name for name in _OURS if name in dataset.route.values])
    wrong = (ours == _WRONG).values
    return Finding(known & equal(wrong.sum(), 0), measured=f"{wrong.sum()} of {wrong.size}", figure="programs")


def _where_peers_fail(dataset: "xarray.Dataset") -> Finding:
    peers = [p for p in ("folx dense", "jet") if bool(dataset.present.sel(route=p).values.all())]
    hard = [name for name in _HARD if name in over(dataset, "program").program.values]
    if not hard or not peers:
        raise NotJudged("it takes a hard program, and a peer")
    theirs, known = _outcomes(dataset, peers)
    ours, also = _outcomes(dataset, ["auto"])
    theirs, ours = theirs.sel(program=hard), ours.sel(program=hard)
    fails = {p: [n for n in hard if float(theirs.sel(route=p, program=n)) != _RIGHT] for p in peers}
    anyone = [n for n in hard if any(n in failing for failing in fails.values())]
    return Finding(
        known & also & equal(ours, _RIGHT) & equal(len(anyone), len(hard)),
        measured="; ".join(f"{p} fails on {', '.join(failing) or 'none'}" for p, failing in fails.items()),
        figure="programs",
    )


def figures_of_programs(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    """Right, wrong or refused: programs down, contestants across."""
    from matplotlib.colors import ListedColormap

    from jaxcalc import style

    if "program" not in dataset.dims or dataset.sizes["program"] < 2:
        return {}
    data = _first(dataset, "program").transpose("program", "route", ...)
    colors = ListedColormap([style.COLORS["orange"], style.COLORS["vermilion"], style.COLORS["green"]])
    words = {_RIGHT: "right", _WRONG: "wrong", _RAISED: "raises"}
    figure, panel = style.subplots(width="page", height=0.25 * data.sizes["program"] + 0.9)
    panel.pcolormesh(data.outcome.values, cmap=colors, vmin=-1.5, vmax=1.5, edgecolors="white", linewidth=1.5)
    for (row, column), value in np.ndenumerate(data.outcome.values):
        text = words.get(float(value), "")
        panel.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7, color="white")
    panel.set_xticks(np.arange(data.sizes["route"]) + 0.5, [str(name) for name in data.route.values])
    panel.set_yticks(np.arange(data.sizes["program"]) + 0.5, [str(name) for name in data["program"].values])
    panel.set_ylim(data.sizes["program"], 0)
    panel.tick_params(length=0)
    panel.grid(False)
    panel.spines[:].set_visible(False)
    figure.set_label(
        "Which contestants give the trace of the Hessian, on programs with one feature of the language each."
    )
    return {"programs": figure}


def tables_of_programs(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    data, rows = _first(dataset, "program"), []
    for name in data["program"].values if "program" in data.dims else []:
        for route in ("folx dense", "jet", "auto"):
            point = data.sel(program=name, route=route)
            if float(point.outcome) in (_WRONG, _RAISED):
                reason = str(point.reason.item()) or "a wrong value"
                rows.append({"program": str(name), "contestant": route, "what it says": reason})
    return {"What fails": rows} if rows else {}


programs = Part(
    Config=Programs,
    VARIABLES={
        "route": Variable(("route",), "", "how the Laplacian is computed", measured=False),
        "present": Variable(("route",), "", "whether the contestant is installed"),
        "outcome": Variable(("route",), "", "1 right, 0 wrong, -1 an exception", measured=False),
        "reason": Variable(("route",), "", "the exception", measured=False),
        "reference": Variable((), "", "trace of jax's Hessian", measured=False),
    },
    kind="host",
    run=run_programs,
    figures=figures_of_programs,
    claims={
        "works-on-every-program": _every_program,
        "never-a-silent-wrong-laplacian": _never_wrong,
        "works-where-peers-fail": _where_peers_fail,
    },
    tables=tables_of_programs,
    doc="On which programs does each contestant give the right Laplacian?",
)
