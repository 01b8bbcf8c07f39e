"""What does a batch of Laplacians cost by every route, and by folx and jet?"""

import functools
import itertools
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pydantic

from experiments._survey import Timed
from experiments.laplacian_cost import OURS, contestants_for, first_point
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, eps, jax, jnp
from jaxcalc.lab.judge import Judge

kind = "timed"
dtype = "float32"

Workload = Literal["electrons", "dense network"]
_PEERS = ("folx dense", "folx sparse", "folx loop", "jet")
_PLAIN = ("jax hessian", "jax loop")
_ROUTES = (*OURS, *_PEERS, *_PLAIN)


def _medians(dataset):
    return dataset.seconds.median("repeat")


class Config(Timed):
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

    @pydantic.field_validator("routes")
    @classmethod
    def _known(cls, routes: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(routes) - set(_ROUTES)):
            raise ValueError(f"unknown routes {', '.join(unknown)}; known are: {', '.join(_ROUTES)}")
        if not {"auto", "jax loop"} <= set(routes):
            raise ValueError("must hold 'auto' and 'jax loop', which it is checked against")
        return routes


VARIABLES = {
    "route": Variable(("route",), "", "how the Laplacian is computed", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time of one batch"),
    "compile_seconds": Variable(("route",), "s", "time that XLA took to compile"),
    "footprint": Variable(("route",), "B", "compiled memory: temporaries and outputs", measured=False),
    "readings": Variable(("route",), "", "readings that were made", measured=False),
    "error": Variable(("route",), "", "largest deviation from the loop's, over the largest Laplacian", measured=False),
    "num_inputs": Variable((), "", "number of inputs of one point", measured=False),
}


def _network(config):
    """The scalar network of one point, a batch of points, its parameters."""
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

    def fun(x, layers):
        for weight, bias in layers[:-1]:
            x = activation(x @ weight + bias)
        return jnp.sum(x @ layers[-1][0] + layers[-1][1])

    return fun, array(draw.standard_normal((config.batch, *shape))), layers


def _timed(programs, arguments, config):
    """Readings of every program: in turns where a call is quick, two of those that are not."""
    calls = {name: functools.partial(program, *arguments) for name, program in programs.items()}
    first = {name: measure.once(call)[1] for name, call in calls.items()}
    quick = {name: call for name, call in calls.items() if first[name] <= config.patience or name == "auto"}
    read = measure.interleave(quick, repeats=config.repeats, min_seconds=config.min_seconds)
    found = {name: timing.samples for name, timing in read.items()}
    for name in calls.keys() - quick.keys():
        found[name] = np.full(config.repeats, np.nan)
        found[name][0] = measure.once(calls[name])[1]
    return found


def run(config, key):
    from jaxcalc.programs.compiled import executable

    fun, x, layers = _network(config)
    contestants = {n: c for n, c in contestants_for(fun, config.sparsity).items() if n in config.routes}
    programs = {}
    for name, call in contestants.items():
        try:
            programs[name] = executable(jax.vmap(call, (0, None)), x, layers)
        except ValueError:
            if name not in OURS:
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


def _points(dataset):
    """The networks by name; a single one has none."""
    data = first_point(dataset, "case")
    if "case" not in data.dims:
        return {"": data}
    return {str(name): data.sel(case=name) for name in data["case"].values}


def _read(data, route):
    """The readings of a route that were made; what a slow one's turns left out is not among them."""
    return data.seconds.sel(route=route).values[: int(data.readings.sel(route=route))]


def _ratio(data, peer):
    """Time of our choice over a peer's: the median over shared rounds, so that what slows a round cancels."""
    ours, theirs = _read(data, "auto"), _read(data, peer)
    if not theirs.size:
        raise NotJudged(f"{peer} was not read")
    return float(np.median((ours if theirs.size > 1 else np.median(ours)) / theirs))


def _told(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}: {value:.3g}".lstrip(": ") for name, value in values.items())


def _no_slower(peer: str) -> Judge:
    def judge(dataset):
        ratios = {name: _ratio(point, peer) for name, point in _points(dataset).items()}
        return Finding(below(list(ratios.values())), measured=_told(ratios), figure="routes")

    return judge


def _best_route(dataset):
    regret = {}
    for name, point in _points(dataset).items():
        routes = [str(route) for route in point.route.values if float(point.readings.sel(route=route)) != 0]
        regret[name] = np.median(_read(point, "auto")) / min(np.median(_read(point, route)) for route in routes)
    return Finding(below(list(regret.values())), measured=_told(regret), figure="routes")


def _agree(dataset):
    ours = [name for name in OURS if name in dataset.route.values]
    found = [
        point.error.sel(route=route).values
        for point in _points(dataset).values()
        for route in ours
        if route == "auto" or float(point.readings.sel(route=route)) != 0
    ]
    unit = eps(dataset)
    return Finding(below(found, 1e3 * unit), measured=f"{np.max(found):.2g}, eps being {unit:.2g}")


def _style(route):
    color = "blue" if route in OURS else "vermilion" if route in _PEERS else "grey"
    marker = "D" if route == "auto" else "o" if route in OURS else "s" if route in _PEERS else "X"
    return {"color": style.COLORS[color], "marker": marker, "linestyle": "", "markersize": 6}


def figures(dataset):
    """Median times of all routes, a panel for each network."""
    data = first_point(dataset, "case")
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
        style.name_rows(panel, routes)
    figure.set_label(
        "Median time of a batch of Laplacians by every route; beside each, its time over that of our choice."
    )
    return {"routes": figure}


def tables(dataset):
    data, tables = first_point(dataset, "case"), {}
    for name in data["case"].values if "case" in data.dims else [None]:
        point = data if name is None else data.sel(case=name)
        columns = {
            "ms": 1e3 * _medians(point),
            "times auto": _medians(point) / _medians(point).sel(route="auto"),
            "compile s": point.compile_seconds,
            "memory, MB": point.footprint / 1e6,
            "deviation": point.error,
        }
        tables[str(name or "Laplacians")] = lab.rows("route", columns)
    return tables


claims = {
    "no-slower-than-folx-dense": _no_slower("folx dense"),
    "no-slower-than-folx-sparse": _no_slower("folx sparse"),
    "the-best-laplacian-route-is-chosen": _best_route,
    "laplacians-agree": _agree,
}
