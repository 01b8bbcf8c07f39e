"""What does sparsity buy: few products, and Jacobians inside a memory budget?

Three questions: arrowhead matrices from few products (``arrowhead``), the cheap mode found without being told
(``unequal_shapes``), and a Jacobian whose dense route wants more memory than there is (``budget``). Peers that are not
installed leave NaN.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from experiments import _contest
from jaxcalc.lab import Config as Base
from jaxcalc.lab import Finding, NotJudged, Part, Variable, above, below, between, equal, over
from jaxcalc.lab.judge import Judge

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

Built = tuple[Callable[..., Any], tuple[Any, ...], int]  # function, its arguments, products (-1: not told)


def _dense_numpy(value: Any) -> np.ndarray:
    return np.asarray(value.todense() if hasattr(value, "todense") else value, float)


def _deviation(value: Any, reference: Any) -> float:
    """The largest difference over the largest entry."""
    found, wanted = _dense_numpy(value), _dense_numpy(reference)
    return float(np.max(np.abs(found.reshape(wanted.shape) - wanted)) / np.max(np.abs(wanted)))


def _hold(built: Mapping[str, Built], names: Sequence[str], config: Any, reference: Any) -> dict[str, np.ndarray]:
    """Programs compiled beforehand, checked against the reference and timed in turns; NaN where a name is missing."""
    from jaxcalc import measure
    from jaxcalc.programs.compiled import executable

    programs = {name: executable(fun, *arguments) for name, (fun, arguments, _) in built.items()}
    calls = {name: functools.partial(program, *built[name][1]) for name, program in programs.items()}
    error = {name: _deviation(call(), reference) for name, call in calls.items()}
    timings = measure.interleave(calls, repeats=config.repeats, min_seconds=config.min_seconds)
    never = np.full(config.repeats, np.nan)
    return {
        "route": np.array(names),
        "seconds": np.array([timings[name].samples if name in timings else never for name in names]),
        "products": np.array([built[name][2] if name in built else -1 for name in names], float),
        "footprint": np.array([programs[name].footprint if name in programs else np.nan for name in names], float),
        "error": np.array([error.get(name, np.nan) for name in names]),
        "reads": np.array([config.repeats if name in timings else 0 for name in names]),
    }


_CONTEST = {
    "route": Variable(("route",), "", "how the Jacobian is computed", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time of one call"),
    "products": Variable(
        ("route",), "", "products with the Jacobian or its transpose; -1 where not told", measured=False
    ),
    "reads": Variable(("route",), "", "readings of a route; 0 of what did not run", measured=False),
    "footprint": Variable(("route",), "B", "compiled memory: temporaries and outputs", measured=False),
    "error": Variable(("route",), "", "largest deviation from jax's jacrev, over the largest entry", measured=False),
}


def _planned(fun: Callable[..., Any], arguments: tuple[Any, ...], **choices: Any) -> Built:
    """Our choice, made beforehand."""
    from jaxcalc.transforms import jacobian, plan

    made = plan(jacobian, fun, *arguments, **choices)
    return jacobian(fun, **choices), arguments, made.chosen.passes


def _medians(dataset: "xarray.Dataset") -> "xarray.DataArray":
    return dataset.seconds.median("repeat", skipna=False)


def _ran(data: "xarray.Dataset", names: Sequence[str]) -> list[str]:
    """Of some routes those that ran at this point."""
    reads = {name: float(data.reads.sel(route=name)) for name in names if name in data.route.values}
    if not np.isfinite(list(reads.values())).all():
        raise NotJudged("which routes ran is not known")
    return [name for name, count in reads.items() if count > 0]


def _best(data: "xarray.Dataset", names: Sequence[str]) -> float:
    """The least median among the routes named, of those that ran; NaN for none."""
    values = [float(_medians(data).sel(route=name)) for name in _ran(data, names)]
    return float(np.min(values)) if values else float("nan")


def _agree(routes: Sequence[str]) -> Judge:
    """The error of our routes at every point, within rounding."""

    def judge(dataset: "xarray.Dataset") -> Finding:
        error = dataset.error.sel(route=list(routes))
        eps = float(np.finfo(dataset.attrs.get("dtype", "float32")).eps)
        return Finding(below(error, 1e3 * eps), measured=f"{float(error.max()):.2g}, eps being {eps:.2g}")

    return judge


# -- arrowhead ---------------------------------------------------------------------------------------------------------

_DENSE = ("jacfwd", "jacrev", "forward", "reverse")
_PEERS = ("asdex forward", "asdex reverse")
_SPARSE_PEERS = ("asdex forward, BCOO", "asdex reverse, BCOO", "sparsejac forward, BCOO", "sparsejac reverse, BCOO")
_ROUTES = ("auto", *_DENSE, *_PEERS, "auto, BCOO", *_SPARSE_PEERS)


class Arrowhead(Base):
    problem: Literal["arrowhead", "bordered band"] = "arrowhead"
    """a dense row, a dense column and a diagonal; or a tridiagonal band with a dense border"""
    size: int = pydantic.Field(1000, ge=3)
    """n, inputs and outputs"""
    sparsejac_limit: int = pydantic.Field(1000, ge=0)
    """above this n sparsejac is left out: its colouring visits the n^2 pairs of conflicting columns in Python"""
    repeats: int = pydantic.Field(7, ge=1)
    """rounds of timing; every round reads each program once"""
    min_seconds: float = pydantic.Field(1e-3, ge=0)
    """how long one reading lasts at least, in seconds"""


def _asdex_routes(fun: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Built]:
    """asdex in either mode and format, pattern and colouring made beforehand."""
    import warnings

    import asdex  # pyright: ignore[reportMissingImports]

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that as many colours as columns do not pay
        modes: dict[Literal["fwd", "rev"], str] = {"fwd": "forward", "rev": "reverse"}
        formats: dict[Literal["dense", "bcoo"], str] = {"dense": "", "bcoo": ", BCOO"}
        for mode, word in modes.items():
            coloring = asdex.jacobian_coloring(fun, *arguments, mode=mode)
            for output_format, ending in formats.items():
                call = asdex.jacobian_from_coloring(fun, coloring, output_format=output_format)
                found[f"asdex {word}{ending}"] = call, arguments, coloring.num_colors
    return found


def _sparsejac_routes(fun: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Built]:
    """sparsejac in either mode, which has to be given the pattern."""
    import jax.numpy as jnp
    import sparsejac  # pyright: ignore[reportMissingImports]
    from jax.experimental.sparse import BCOO

    from jaxcalc.programs.sparsity import jacobian_pattern

    entries = jacobian_pattern(lambda x: fun(x, *arguments[1:]), arguments[0]).matrix.tocoo()
    indices = jnp.asarray(np.stack([entries.row, entries.col], 1))
    pattern = BCOO((jnp.ones(len(indices)), indices), shape=entries.shape)
    return {
        "sparsejac forward, BCOO": (sparsejac.jacfwd(fun, pattern), arguments, -1),
        "sparsejac reverse, BCOO": (sparsejac.jacrev(fun, pattern), arguments, -1),
    }


def run_arrowhead(config: Arrowhead, key: Any) -> dict[str, Any]:
    import jax

    from jaxcalc.functions import derivatives
    from jaxcalc.transforms import jacobian

    case = dataclasses.replace(derivatives.case(config.problem), choices=(("size", config.size),))
    instance = case.build("float64" if jax.config.read("jax_enable_x64") else "float32")
    fun, arguments, n = instance.fun, instance.arguments, config.size
    built: dict[str, Built] = {
        "auto": _planned(fun, arguments),
        "auto, BCOO": _planned(fun, arguments, output_format="bcoo"),
        "jacfwd": (jax.jacfwd(fun), arguments, n),
        "jacrev": (jax.jacrev(fun), arguments, n),
        "forward": (jacobian(fun, method="forward"), arguments, n),
        "reverse": (jacobian(fun, method="reverse"), arguments, n),
    }
    if _contest.installed("asdex"):
        built |= _asdex_routes(fun, arguments)
    if _contest.installed("sparsejac") and n <= config.sparsejac_limit:
        built |= _sparsejac_routes(fun, arguments)
    return _hold(built, _ROUTES, config, jax.jit(jax.jacrev(fun))(*arguments))


def _sizes(dataset: "xarray.Dataset", problem: str) -> "xarray.Dataset | None":
    """The points of one problem along the sizes, or none."""
    data = over(dataset, "problem", "size")
    return _contest.first(data.sel(problem=problem), "size") if problem in data.problem.values else None


def _of(dataset: "xarray.Dataset", problem: str) -> "xarray.Dataset":
    data = _sizes(dataset, problem)
    if data is None:
        raise NotJudged(f"it takes the {problem}")
    return data


def _few_products(problem: str, most: int) -> Judge:
    def judge(dataset: "xarray.Dataset") -> Finding:
        data = _of(dataset, problem)
        large = data["size"].values >= 1000
        products = data.products.sel(route=["auto", "auto, BCOO"]).isel(size=large if large.any() else slice(None))
        words = ", ".join(f"{v:.0f}" for v in np.unique(products))
        return Finding(between(products, 1, most), measured=words, figure="sizes")

    return judge


def _faster(problem: str, size: int, route: str, least: float) -> Judge:
    def judge(dataset: "xarray.Dataset") -> Finding:
        data = _of(dataset, problem)
        if size not in data["size"].values:
            raise NotJudged(f"it takes n = {size}")
        point = data.sel(size=size)
        dense, ours = _best(point, _DENSE), float(_medians(point).sel(route=route))
        return Finding(
            above(dense / ours, least),
            measured=f"{_contest.in_ms(dense)} ms / {_contest.in_ms(ours)} ms = {dense / ours:.3g}",
            figure="sizes",
        )

    return judge


def _not_beaten(problem: str) -> Judge:
    def judge(dataset: "xarray.Dataset") -> Finding:
        data, ratios = _of(dataset, problem), {}
        for size in data["size"].values:
            point = data.sel(size=size)
            for route, others in (("auto", (*_DENSE, *_PEERS)), ("auto, BCOO", _SPARSE_PEERS)):
                if _ran(point, others):
                    ours = float(_medians(point).sel(route=route))
                    ratios[f"{route}, n = {size}"] = ours / _best(point, others)
        worst = max(ratios, key=ratios.__getitem__)
        return Finding(below(list(ratios.values()), 1.25), measured=f"{ratios[worst]:.3g} ({worst})", figure="sizes")

    return judge


_LOOKS: dict[str, dict[str, Any]] = {
    "jacfwd": {"style": "forward", "linestyle": "--"},
    "jacrev": {"style": "reverse", "linestyle": "--"},
    "forward": {"style": "forward"},
    "reverse": {"style": "reverse"},
    "asdex forward": {"style": "hessian", "color": "purple", "marker": "v"},
    "asdex reverse": {"style": "hessian", "color": "purple", "marker": "^"},
    "sparsejac forward": {"style": "sparsejac", "color": "orange", "marker": "v"},
    "sparsejac reverse": {"style": "sparsejac", "color": "orange", "marker": "^"},
    "auto": {"style": "sparse"},
}


def _look(route: str) -> dict[str, Any]:
    from jaxcalc import style

    chosen = dict(_LOOKS[route.removesuffix(", BCOO")])
    look = style.method(chosen.pop("style"))
    if "color" in chosen:
        chosen["color"] = style.COLORS[chosen["color"]]
    return look | chosen


def figures_of_arrowhead(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    """Time against n, the dense result above and the sparse one below, a column for each problem."""
    from jaxcalc import measure, style

    lines = {p: _sizes(dataset, p) for p in ("arrowhead", "bordered band")}
    lines = {p: data for p, data in lines.items() if data is not None and data.sizes["size"] > 1}
    if not lines:
        return {}
    figure, panels = style.subplots(2, len(lines), width="page", height=6.0, squeeze=False, sharex="col", sharey="row")
    for (problem, data), column in zip(lines.items(), panels.T):
        n, seconds = data["size"].values.astype(float), _medians(data)
        for panel, sparse in zip(column, (False, True)):
            for route in _ROUTES:
                values = seconds.sel(route=route).values
                if ("BCOO" in route) != sparse or np.isfinite(values).sum() < 2:
                    continue
                power = measure.exponent(n[-3:], values[-3:])
                label = route.removesuffix(", BCOO")
                label += f": $n^{{{power:.1f}}}$" if np.isfinite(power) else ""
                panel.plot(n, values, **_look(route) | {"label": label})
            panel.set(xscale="log", yscale="log")
            panel.set_xticks(n, [f"{value:.0f}" for value in n])
            panel.minorticks_off()
            panel.legend(fontsize=6, ncols=2, loc="upper left")
            low, high = panel.get_ylim()
            panel.set_ylim(low, high * (high / low) ** 0.45)
            panel.set_title(f"{problem}, {'BCOO' if sparse else 'dense'}")
        column[1].set_xlabel("size $n$")
    for panel in panels[:, 0]:
        panel.set_ylabel("time (s)")
    style.panel_labels(panels)
    figure.set_label(
        "Median time of a Jacobian against its size, with the exponent of the last three sizes: the dense result "
        "above, the sparse one below. Patterns, colourings and compilation are not in it."
    )
    return {"sizes": figure}


def tables_of_arrowhead(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    rows = []
    for problem in ("arrowhead", "bordered band"):
        data = _sizes(dataset, problem)
        for size in data["size"].values if data is not None else []:
            point = data.sel(size=size)  # pyright: ignore[reportOptionalMemberAccess]
            seconds = _medians(point)
            best = _best(point, _DENSE)
            row = {"problem": problem, "n": int(size), "products": int(point.products.sel(route="auto"))}
            for title, names in (("dense", _DENSE), ("asdex", _PEERS), ("peers, BCOO", _SPARSE_PEERS)):
                row[f"{title} ms"] = _contest.in_ms(_best(point, names))
            for route in ("auto", "auto, BCOO"):
                own = float(seconds.sel(route=route))
                row |= {f"{route} ms": _contest.in_ms(own), f"{route}: times faster": float(f"{best / own:.3g}")}
            rows.append(row)
    return {"Jacobians with a dense border: the best of each kind": rows} if rows else {}


arrowhead = Part(
    Config=Arrowhead,
    VARIABLES=_CONTEST,
    kind="timed",
    run=run_arrowhead,
    figures=figures_of_arrowhead,
    claims={
        "few-products": _few_products("arrowhead", 3),
        "few-products-of-bordered-band": _few_products("bordered band", 5),
        "dense-against-dense-routes": _faster("arrowhead", 1000, "auto", 3.0),
        "dense-against-dense-routes-of-bordered-band": _faster("bordered band", 1000, "auto", 10.0),
        "bcoo-against-dense-routes": _faster("arrowhead", 4000, "auto, BCOO", 50.0),
        "no-route-is-faster": _not_beaten("arrowhead"),
        "no-route-is-faster-of-bordered-band": _not_beaten("bordered band"),
        "jacobians-agree": _agree(("auto", "auto, BCOO", "forward", "reverse")),
    },
    tables=tables_of_arrowhead,
    doc="What do Jacobians with dense rows and columns cost, dense and sparse, against dense routes and peers?",
)


# -- unequal shapes ----------------------------------------------------------------------------------------------------


class Unequal(Base):
    sources: int = pydantic.Field(10, ge=1)
    """directions on the sky, two inputs each"""
    antennas: int = pydantic.Field(128, ge=1)
    """antennas"""
    channels: int = pydantic.Field(16, ge=1)
    """frequencies"""
    repeats: int = pydantic.Field(9, ge=1)
    """rounds of timing; every round reads each program once"""
    min_seconds: float = pydantic.Field(5e-3, ge=0)
    """how long one reading lasts at least, in seconds"""


def run_unequal(config: Unequal, key: Any) -> dict[str, Any]:
    import jax

    from jaxcalc.functions import workloads

    made = workloads.phase_delay(key, sources=config.sources, antennas=config.antennas, channels=config.channels)
    fun, arguments = made.fun, made.arguments
    built: dict[str, Built] = {
        "auto": _planned(fun, arguments),
        "jacfwd": (jax.jacfwd(fun), arguments, made.num_inputs),
        "jacrev": (jax.jacrev(fun), arguments, made.num_outputs),
    }
    assert made.jacobian is not None
    contest = _hold(built, ("auto", "jacfwd", "jacrev"), config, made.jacobian(*arguments))
    return {"num_inputs": made.num_inputs, "num_outputs": made.num_outputs, **contest}


def _largest(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """The point with the most outputs."""
    data = _contest.first(dataset, "antennas")
    return data.isel(antennas=-1) if "antennas" in data.dims else data


def _ratio(data: "xarray.Dataset", above: str, below: str) -> float:
    """The median over rounds of one route's time over another's: what slows a round cancels."""
    return float((data.seconds.sel(route=above) / data.seconds.sel(route=below)).median("repeat", skipna=False))


def _cheap_mode(dataset: "xarray.Dataset") -> Finding:
    data = _largest(dataset)
    faster, products = _ratio(data, "jacrev", "auto"), float(data.products.sel(route="auto"))
    return Finding(above(faster, 50.0), measured=f"{faster:.4g} times, from {products:.0f} products", figure="outputs")


def _nothing_lost(dataset: "xarray.Dataset") -> Finding:
    return Finding(below(_ratio(_largest(dataset), "auto", "jacfwd"), 1.05), figure="outputs")


def figures_of_unequal(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import measure, style

    data = _contest.first(dataset, "antennas")
    if data.sizes.get("antennas", 1) < 2:
        return {}
    figure, panel = style.subplots(height=2.8)
    m, seconds = data.num_outputs.values.astype(float), _medians(data)
    for route in ("jacrev", "jacfwd", "auto"):
        values = seconds.sel(route=route).values
        panel.plot(m, values, **_look(route) | {"label": f"{route}: $m^{{{measure.exponent(m, values):.1f}}}$"})
    panel.set(xscale="log", yscale="log", xlabel="outputs $m$", ylabel="time (s)")
    panel.set_xticks(m, [f"{v:.0f}" for v in m])
    panel.minorticks_off()
    panel.legend()
    figure.set_label(f"The Jacobian of {int(data.num_inputs.max())} inputs and m outputs, an interferometer's phases.")
    return {"outputs": figure}


def tables_of_unequal(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    data = _largest(dataset)
    rows = [
        {
            "route": str(route),
            "products": int(data.products.sel(route=route)),
            "ms": _contest.in_ms(_medians(data).sel(route=route)),
            "memory, MB": float(f"{float(data.footprint.sel(route=route)) / 1e6:.4g}"),
        }
        for route in data.route.values
    ]
    return {f"{int(data.num_inputs)} inputs, {int(data.num_outputs)} outputs": rows}


unequal_shapes = Part(
    Config=Unequal,
    VARIABLES={
        "num_inputs": Variable((), "", "number of inputs n", measured=False),
        "num_outputs": Variable((), "", "number of outputs m", measured=False),
        **_CONTEST,
    },
    kind="timed",
    run=run_unequal,
    figures=figures_of_unequal,
    claims={
        "cheap-mode-without-being-told": _cheap_mode,
        "nothing-lost-to-jacfwd": _nothing_lost,
        "unequal-jacobian-agrees": _agree(("auto",)),
    },
    tables=tables_of_unequal,
    doc="Is the cheap mode found on a map of few inputs and very many outputs, without being told?",
)


# -- budget ------------------------------------------------------------------------------------------------------------


class Budget(Base):
    budget: float = pydantic.Field(256.0, gt=0)
    """memory_budget, in MB"""
    inputs: int = pydantic.Field(1000, ge=1)
    """n; there are twice as many outputs as units along a side"""
    side: int = pydantic.Field(1000, ge=1)
    """the hidden layer is a square of so many units a side"""
    repeats: int = pydantic.Field(1, ge=1)
    """readings of the time"""


def _hidden_square(config: Budget) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Small in and out, a large square between: ``h = softmax(tanh(a x + (b x)'))``, multiplied from either side."""
    import jax
    import jax.numpy as jnp

    draw, n, side = np.random.default_rng(0), config.inputs, config.side
    shapes = [(n,), (side, n), (side, n), (side, 1)]
    arguments = [jnp.asarray(draw.standard_normal(shape) / np.sqrt(shape[-1]), jnp.float32) for shape in shapes]

    def fun(x: Any, a: Any, b: Any, weight: Any) -> Any:
        h = jax.nn.softmax(jnp.tanh((a @ x)[:, None] + b @ x), axis=1)
        return jnp.concatenate([(h @ weight)[:, 0], (h.T @ weight)[:, 0]])

    return fun, (arguments[0] * np.sqrt(n), *arguments[1:])


def _resident(field: Literal["VmRSS", "VmHWM"]) -> float:
    """Bytes of memory that this process holds, or has held at most; NaN where the system does not tell."""
    from pathlib import Path

    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(field)), float("nan"))


def _growth(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """A call's result, its seconds, and by how many bytes the resident memory grew at its highest during the call.

    The high-water mark is reset first; where that is not possible the growth is NaN, never too small a number.
    """
    import contextlib
    import ctypes
    import gc
    from pathlib import Path

    from jaxcalc import measure

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what compilation left behind must not hide what the call takes
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
    except OSError:
        before = float("nan")
    result, seconds = measure.once(call)
    return result, seconds, _resident("VmHWM") - before


def run_budget(config: Budget, key: Any) -> dict[str, Any]:
    import jax

    from jaxcalc.programs.compiled import executable
    from jaxcalc.transforms import MemoryBudgetError, jacobian, plan

    fun, arguments = _hidden_square(config)
    limit = int(1e6 * config.budget)
    dense = {mode.__name__: executable(mode(fun), *arguments).footprint for mode in (jax.jacfwd, jax.jacrev)}
    found: dict[str, Any] = {f"{name}_bytes": float(need) for name, need in dense.items()}
    never = float("nan")
    nothing = dict.fromkeys(("predicted_bytes", "compiled_bytes", "grown_bytes", "seconds", "error"), never)
    try:
        made = plan(jacobian, fun, *arguments, memory_budget=limit)
    except MemoryBudgetError:
        return {**found, **nothing, "completed": 0.0}
    assert made.chosen.cost is not None
    program = executable(jacobian(fun, memory_budget=limit), *arguments)
    result, seconds, grown = _growth(functools.partial(program, *arguments))
    timed = [seconds, *(_growth(functools.partial(program, *arguments))[1] for _ in range(config.repeats - 1))]
    direction = np.random.default_rng(1).standard_normal(config.inputs).astype(np.float32)
    pushed = jax.jit(lambda x, v, *rest: jax.jvp(lambda x: fun(x, *rest), (x,), (v,))[1])
    return {
        **found,
        "predicted_bytes": float(made.chosen.cost.peak_bytes),
        "compiled_bytes": float(program.footprint),
        "grown_bytes": grown,
        "seconds": float(np.median(timed)),
        "error": _deviation(np.asarray(result) @ direction, pushed(arguments[0], direction, *arguments[1:])),
        "completed": 1.0,
    }


def _budgets(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """The points along the budgets."""
    return _contest.first(over(dataset, "budget"), "budget")


def _in_mb(values: Any) -> str:
    return ", ".join(f"{v / 1e6:.4g}" for v in np.atleast_1d(values))


def _inside_budget(dataset: "xarray.Dataset") -> Finding:
    data = _budgets(dataset)
    limit, compiled = 1e6 * data["budget"].values, data.compiled_bytes.values
    need = np.minimum(data.jacfwd_bytes.values, data.jacrev_bytes.values).min()
    return Finding(
        equal(data.completed, 1) & below(compiled - limit, 0.0) & above(need, 30 * limit.min()),
        measured=f"{_in_mb(compiled)} MB; the leaner dense route wants {need / 1e6:.4g} MB",
        figure="budget",
    )


def _resident_inside(dataset: "xarray.Dataset") -> Finding:
    data = _budgets(dataset)
    limit, grown = 1e6 * data["budget"].values, data.grown_bytes.values
    large = limit >= 256e6  # below, the few MB that XLA's threads and code take are no longer small
    if not large.any():
        raise NotJudged("it takes a budget of 256 MB or more")
    return Finding(
        equal(data.completed.values[large], 1) & below((grown - limit)[large], 0.0),
        measured=f"{_in_mb(grown[large])} MB",
        figure="budget",
        note=f"At every budget: {_in_mb(grown)} MB.",
    )


def figures_of_budget(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    data = _budgets(dataset)
    if data is None or data.sizes["budget"] < 2:
        return {}
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9)
    limit = data["budget"].values.astype(float)
    left.plot(limit, limit, **style.THEORY, label="the budget")
    for field, label, color, marker in (
        ("predicted_bytes", "predicted", "orange", "D"),
        ("compiled_bytes", "compiled: temporaries and outputs", "blue", "o"),
        ("grown_bytes", "measured: resident memory", "green", "^"),
    ):
        left.plot(limit, data[field].values / 1e6, color=style.COLORS[color], marker=marker, label=label)
    for field, label, name in (("jacfwd_bytes", "jacfwd", "forward"), ("jacrev_bytes", "jacrev", "reverse")):
        left.axhline(
            float(data[field].max()) / 1e6, color=style.method(name)["color"], linestyle=":", label=f"{label} wants"
        )
    left.set(xscale="log", yscale="log", xlabel="memory budget (MB)", ylabel="memory (MB)")
    left.legend(fontsize=6)
    right.plot(limit, data.seconds.values, **style.method("forward", label="chosen route"))
    right.set(xscale="log", xlabel="memory budget (MB)", ylabel="time (s)")
    right.set_ylim(0, 1.2 * float(np.nanmax(data.seconds.values)))
    for panel in (left, right):
        panel.set_xticks(limit, [f"{value:g}" for value in limit])
        panel.minorticks_off()
    style.panel_labels([left, right])
    figure.set_label(
        "A Jacobian with a large hidden layer under memory budgets: the memory that it takes, and the time."
    )
    return {"budget": figure}


def tables_of_budget(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    data, fields = (
        _budgets(dataset),
        ("predicted_bytes", "compiled_bytes", "grown_bytes", "jacfwd_bytes", "jacrev_bytes"),
    )
    if data is None:
        return {}
    rows = []
    for value in data["budget"].values:
        point = data.sel(budget=value)
        row = {"budget, MB": float(value)}
        row |= {f"{f.removesuffix('_bytes')}, MB": float(f"{float(point[f]) / 1e6:.4g}") for f in fields}
        rows.append(row | {"s": float(f"{float(point.seconds):.3g}")})
    return {"Memory of a Jacobian under budgets": rows}


budget = Part(
    Config=Budget,
    VARIABLES={
        "jacfwd_bytes": Variable((), "B", "compiled memory of jax's jacfwd, not run", measured=False),
        "jacrev_bytes": Variable((), "B", "compiled memory of jax's jacrev, not run", measured=False),
        "predicted_bytes": Variable((), "B", "memory predicted by the plan", measured=False),
        "compiled_bytes": Variable((), "B", "compiled memory of the chosen route", measured=False),
        "grown_bytes": Variable((), "B", "growth of the resident memory at its highest during a call"),
        "seconds": Variable((), "s", "run time of one call"),
        "error": Variable((), "", "relative deviation of the Jacobian times a vector", measured=False),
        "completed": Variable((), "", "0 where no strategy fits", measured=False),
    },
    kind="timed",
    run=run_budget,
    figures=figures_of_budget,
    claims={
        "compiled-memory-inside-every-budget": _inside_budget,
        "measured-memory-inside-256-MB": _resident_inside,
        "budgeted-jacobian-is-right": lambda dataset: below(_budgets(dataset).error, 1e-4),
    },
    tables=tables_of_budget,
    doc="Does a Jacobian stay inside a memory budget that its dense routes exceed thirty times?",
)
