"""Does our adaptive Gauss-Kronrod quadrature hold its own beside quadax and QUADPACK (SciPy): error, honesty, time?

One integrand a point: smooth, oscillating, peaked, with a kink or jump, singular at an end, over an infinite interval;
the same tolerance and rule for all. What is hard inside an interval lies at many random places, since an estimate may
be right by luck at one. A peer that is not installed leaves NaN.
"""

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pydantic

from experiments import _contest
from jaxcalc.lab import Claim, Variable
from jaxcalc.lab import Config as Base

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_ROUTES = ("jaxcalc", "quadax", "scipy")

Integrand = Literal[
    "smooth",
    "Runge",
    "cos 100x",
    "cos 1000x",
    "peak",
    "narrow peak",
    "kink",
    "jump",
    "pole inside",
    "root",
    "logarithm",
    "pole of order 1/2",
    "pole of order 9/10",
    "normal",
    "Cauchy",
    "gamma of 1/2",
    "heavy tail",
]


class _Case(NamedTuple):
    """``fun(x, place, numpy or jax.numpy)``, the limits, the integral as a function of the place, if it has one."""

    fun: Callable[[Any, Any, Any], Any]
    low: float
    high: float
    exact: Callable[[np.ndarray], Any]
    placed: bool = False


def _cases() -> dict[str, _Case]:
    from scipy.special import j0

    inf, atan, pi = math.inf, np.arctan, math.pi

    def bump(width: float) -> _Case:
        exact = lambda c: (atan((1 - c) / width) + atan(c / width)) / width
        return _Case(lambda x, c, xp: 1 / (width**2 + (x - c) ** 2), 0, 1, exact, True)

    return {
        "smooth": _Case(lambda x, c, xp: xp.cos(xp.sin(x)), 0, pi, lambda c: pi * j0(1.0)),
        "Runge": _Case(lambda x, c, xp: 1 / (1 + 25 * x**2), -1, 1, lambda c: 2 / 5 * atan(5.0)),
        "cos 100x": _Case(lambda x, c, xp: xp.cos(100 * x), 0, 1, lambda c: np.sin(100.0) / 100),
        "cos 1000x": _Case(lambda x, c, xp: xp.cos(1000 * x), 0, 1, lambda c: np.sin(1000.0) / 1000),
        "peak": bump(1e-2),
        "narrow peak": bump(1e-4),
        "kink": _Case(lambda x, c, xp: xp.abs(x - c), 0, 1, lambda c: (c**2 + (1 - c) ** 2) / 2, True),
        "jump": _Case(lambda x, c, xp: xp.where(x > c, 1.0, 0.0), 0, 1, lambda c: 1 - c, True),
        "pole inside": _Case(
            lambda x, c, xp: xp.abs(x - c) ** -0.5, 0, 1, lambda c: 2 * (np.sqrt(c) + np.sqrt(1 - c)), True
        ),
        "root": _Case(lambda x, c, xp: xp.sqrt(x), 0, 1, lambda c: 2 / 3),
        "logarithm": _Case(lambda x, c, xp: xp.log(x), 0, 1, lambda c: -1.0),
        "pole of order 1/2": _Case(lambda x, c, xp: x**-0.5, 0, 1, lambda c: 2.0),
        "pole of order 9/10": _Case(lambda x, c, xp: x**-0.9, 0, 1, lambda c: 10.0),
        "normal": _Case(lambda x, c, xp: xp.exp(-(x**2)), -inf, inf, lambda c: np.sqrt(pi)),
        "Cauchy": _Case(lambda x, c, xp: 1 / (1 + x**2), -inf, inf, lambda c: pi),
        "gamma of 1/2": _Case(lambda x, c, xp: xp.exp(-x) * x**-0.5, 0, inf, lambda c: np.sqrt(pi)),
        "heavy tail": _Case(lambda x, c, xp: x**-1.1, 1, inf, lambda c: 10.0),
    }


class Config(Base):
    integrand: Integrand = "smooth"
    """what is integrated"""
    tolerance: float = pydantic.Field(1e-8, gt=0)
    """of the error, relative to the integral"""
    num_points: Literal[15, 21] = 21
    """of the Gauss-Kronrod rule; QUADPACK has 21, and 15 on infinite intervals"""
    max_intervals: int = pydantic.Field(500, ge=8)
    """how many each may use"""
    places: int = pydantic.Field(64, ge=1)
    """random places of what is hard about the integrand, 0.3 first; 1 where that is at an end, or nowhere"""
    repeats: int = pydantic.Field(9, ge=1)
    """rounds of timing, in turns"""
    min_seconds: float = pydantic.Field(5e-3, ge=0)
    """how long one reading lasts at least, in seconds"""


kind = "timed"

VARIABLES = {
    "route": Variable(("route",), "", "what integrates", measured=False),
    "error": Variable(("route", "place"), "", "true error, over the integral", measured=False),
    "claimed": Variable(("route", "place"), "", "error that it reports, over the integral", measured=False),
    "converged": Variable(("route", "place"), "", "1 where it says that the tolerance is reached", measured=False),
    "evaluations": Variable(("route", "place"), "", "evaluations of the integrand", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time of one integral, at the first place"),
    "batch_seconds": Variable(("route", "repeat"), "s", "run time for each of the places, all in one call"),
    "compile_seconds": Variable(("route",), "s", "time to trace and compile one integral"),
}


def run(config: Config, key: Any) -> dict[str, Any]:
    import jax

    from jaxcalc import measure

    case = _cases()[config.integrand]
    places = np.array([0.3])
    if case.placed:
        places = np.append(places, jax.random.uniform(key, (config.places - 1,), minval=0.01, maxval=0.99))
    exact = np.broadcast_to(case.exact(places), places.shape)
    routes = {name: build(case, config, places) for name, build in _BUILD.items() if _present(name)}
    single = measure.interleave(
        {name: route.single for name, route in routes.items()},
        repeats=config.repeats,
        min_seconds=config.min_seconds,
    )
    batch = single
    if len(places) > 1:
        batch = measure.interleave(
            {name: route.batch for name, route in routes.items()},
            repeats=config.repeats,
            min_seconds=config.min_seconds,
        )
    found = np.full((4, len(_ROUTES), len(places)), np.nan)
    seconds = np.full((2, len(_ROUTES), config.repeats), np.nan)
    compiling = np.full(len(_ROUTES), np.nan)
    for i, name in enumerate(_ROUTES):
        if name in routes:
            value, claimed, converged, evaluations = (np.asarray(part, float) for part in routes[name].batch())
            found[:, i] = abs(value - exact) / abs(exact), claimed / abs(exact), converged, evaluations
            seconds[:, i] = single[name].samples, batch[name].samples / len(places)
            compiling[i] = routes[name].compile_seconds
    names = ("error", "claimed", "converged", "evaluations")
    return {
        "route": np.array(_ROUTES),
        **dict(zip(names, found)),
        "seconds": seconds[0],
        "batch_seconds": seconds[1],
        "compile_seconds": compiling,
    }


# -- routes ------------------------------------------------------------------------------------------------------------


class _Route(NamedTuple):
    """One integral and all of them, each ``() -> (value, claimed error, converged, evaluations)``."""

    single: Callable[[], Any]
    batch: Callable[[], Any]
    compile_seconds: float


def _present(name: str) -> bool:
    return name != "quadax" or _contest.installed(name)


def _ours(case: _Case, config: Config, places: np.ndarray) -> _Route:
    import jax.numpy as jnp

    from jaxcalc.transforms.integral import integral

    integrated = integral(
        lambda x, place: case.fun(x, place, jnp),
        tol=config.tolerance,
        num_points=config.num_points,
        max_intervals=config.max_intervals,
        report=True,
    )

    def one(low: Any, high: Any, place: Any) -> Any:
        found = integrated(low, high, place)
        return found.value, found.error, found.converged, found.evaluations

    return _compiled(one, case, places)


def _by_quadax(case: _Case, config: Config, places: np.ndarray) -> _Route:
    import jax.numpy as jnp
    import quadax  # pyright: ignore[reportMissingImports]

    choices = {
        "epsabs": 0.0,
        "epsrel": config.tolerance,
        "order": config.num_points,
        "max_ninter": config.max_intervals,
    }

    def one(low: Any, high: Any, place: Any) -> Any:
        fun = lambda x, place: case.fun(x, place, jnp)
        value, info = quadax.quadgk(fun, jnp.stack([low, high]), (place,), **choices)
        return value, info.err, info.status == 0, info.neval

    return _compiled(one, case, places)


def _compiled(one: Callable[..., Any], case: _Case, places: np.ndarray) -> _Route:
    import jax
    import jax.numpy as jnp

    from jaxcalc.programs.compiled import executable

    low, high = jnp.asarray(case.low, float), jnp.asarray(case.high, float)
    first, every = jnp.asarray(places[0]), jnp.asarray(places)
    single = executable(one, low, high, first)
    batch = executable(jax.vmap(one, (None, None, 0)), low, high, every) if len(places) > 1 else None
    several = (lambda: batch(low, high, every)) if batch else (lambda: [[part] for part in single(low, high, first)])
    return _Route(lambda: single(low, high, first), several, single.trace_seconds + single.compile_seconds)


def _by_scipy(case: _Case, config: Config, places: np.ndarray) -> _Route:
    from scipy.integrate import quad

    choices = {"epsabs": 0.0, "epsrel": config.tolerance, "limit": config.max_intervals}

    def one(place: float) -> Any:
        # With the full output a difficulty is a fourth entry, and no warning.
        found = quad(lambda x: case.fun(x, place, np), case.low, case.high, full_output=1, **choices)
        return found[0], found[1], len(found) == 3, found[2]["neval"]

    return _Route(lambda: one(places[0]), lambda: list(zip(*map(one, places))), 0.0)


_BUILD = {"jaxcalc": _ours, "quadax": _by_quadax, "scipy": _by_scipy}

# -- evaluation --------------------------------------------------------------------------------------------------------


def _points(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """The dataset with an axis of integrands, and only the routes that ran."""
    if "integrand" not in dataset.dims:
        name = json.loads(dataset.attrs["params"])["integrand"]
        dataset = dataset.drop_vars("integrand", errors="ignore").expand_dims(integrand=[name])
    data = dataset.isel({d: 0 for d in dataset.dims if d not in ("integrand", "route", "place", "repeat")})
    return data.isel(route=np.isfinite(data.evaluations).any(("integrand", "place")).values)


def _exceeded(data: "xarray.Dataset") -> "xarray.DataArray":
    """Where the true error exceeds the reported one, by more than the rounding of the result."""
    return data.error > data.claimed + 4 * np.finfo(float).eps


def _times(data: "xarray.Dataset", variable: str, peer: str) -> "xarray.DataArray":
    """Our reading over a peer's, round by round where there are several: what slows a round cancels."""
    ratio = data[variable].sel(route="jaxcalc") / data[variable].sel(route=peer)
    return ratio.median("repeat") if "repeat" in ratio.dims else ratio


def _centre(ratio: "xarray.DataArray") -> float:
    """The geometric mean over integrands."""
    return float(np.exp(np.log(ratio).mean()))


def _extremes(ratio: "xarray.DataArray") -> str:
    names, values = ratio.integrand.values, ratio.values
    low, high = int(np.argmin(values)), int(np.argmax(values))
    return (
        f"geometric mean {_centre(ratio):.3g}; {values[low]:.3g} ({names[low]}) to {values[high]:.3g} ({names[high]})"
    )


# Where a difficulty inside may lie between an interval's end and its first node, or a pole between two numbers.
_INSIDE = ("kink", "jump", "pole inside")
_STRONG = ("pole of order 9/10", "heavy tail")


def claims(dataset: "xarray.Dataset") -> list[Claim]:
    data = _points(dataset)
    return [*_claims_of_honesty(data, _tolerance(dataset)), *_claims_of_quadax(data), *_claims_of_scipy(data)]


def _tolerance(dataset: "xarray.Dataset") -> float:
    return float(json.loads(dataset.attrs["params"])["tolerance"])


def _claims_of_honesty(data: "xarray.Dataset", tolerance: float) -> list[Claim]:
    ours, inside = data.sel(route="jaxcalc"), data.integrand.isin(_INSIDE)
    cases = int(ours.error.notnull().sum())
    beyond = _exceeded(data)
    false = (data.converged == 1) & ~(data.error <= tolerance)

    def told(wrong: "xarray.DataArray") -> str:
        counts = {str(name): int(wrong.sel(route=name).sum()) for name in data.route.values}
        where = wrong.sel(route="jaxcalc").sum("place")
        ours = ", ".join(f"{name} {int(where.sel(integrand=name))}" for name in data.integrand.values[where.values > 0])
        all_of = ", ".join(f"{name} {count}" for name, count in counts.items())
        return f"{all_of} of {cases}" + (f"; ours: {ours}" if ours else "")

    found = [
        Claim(
            id=id,
            statement=statement,
            stated=not bool(wrong.sel(route="jaxcalc").where(~inside, False).any()),
            limits=bool(wrong.sel(route="jaxcalc").where(inside, False).any()),
            expects="qualified",
            expected=expected,
            measured=told(wrong),
            figure="honesty",
            note="A kink or a jump may hide between an interval's end and its first node; near a pole inside, nodes "
            "are no closer than rounding.",
        )
        for id, statement, expected, wrong in (
            (
                "reported-errors-are-bounds",
                "The error that our integral reports bounds the true one.",
                "never exceeded, but where a kink, jump or pole lies inside the interval",
                beyond,
            ),
            (
                "converged-means-within-tolerance",
                "Where our integral says that it converged, the tolerance is met.",
                f"relative error within {tolerance:g}, but where a kink, jump or pole lies inside the interval",
                false,
            ),
        )
    ]
    counts = {str(name): int(beyond.sel(route=name).sum()) for name in data.route.values}
    fewest = min(count for name, count in counts.items() if name != "jaxcalc")
    return [
        *found,
        Claim(
            id="exceeded-no-more-often-than-peers",
            statement="The error that our integral reports is exceeded no more often than that of any peer.",
            # Places are random, and so are the counts: two standard deviations of a difference.
            stated=counts["jaxcalc"] - fewest <= 2 * math.sqrt(counts["jaxcalc"] + fewest),
            expected="no more often than chance allows",
            measured=told(beyond),
            figure="honesty",
            note="Most of ours are at poles inside, where nobody reaches the tolerance and we say so: the bound that "
            "comes with it is too small, by the rounding of the nodes.",
        ),
    ]


def _in_batches(data: "xarray.Dataset", peer: str) -> "xarray.DataArray":
    return _times(data, "batch_seconds", peer).isel(integrand=(data.error.count("place").max("route") > 1).values)


def _claims_of_quadax(data: "xarray.Dataset") -> list[Claim]:
    if "quadax" not in data.route.values:
        return []
    compiling, seconds = _times(data, "compile_seconds", "quadax"), _times(data, "seconds", "quadax")
    batch, evaluations = _in_batches(data, "quadax"), _times(data, "evaluations", "quadax").median("place")
    strong = evaluations.isel(integrand=evaluations.integrand.isin(_STRONG).values)
    found = [
        Claim(
            id="compiles-faster-than-quadax",
            statement="Our integral compiles faster than quadax.quadgk.",
            stated=float(compiling.max()) < 1.0,
            expected="on every integrand",
            measured=f"time over quadax's: {_extremes(compiling)}",
            figure="cost",
        ),
        Claim(
            id="runs-no-slower-than-quadax",
            statement="Our integral runs no slower than quadax.quadgk.",
            stated=_centre(seconds) <= 1.0,
            limits=float(seconds.max()) > 1.05,
            expects="qualified",
            expected="geometric mean over integrands at most 1",
            measured=f"time over quadax's: {_extremes(seconds)}",
            figure="cost",
            note="It bisects towards a strong singularity where quadax extrapolates.",
        ),
    ]
    if batch.size:
        found.append(
            Claim(
                id="batches-no-slower-than-quadax",
                statement="A vmapped batch of our integrals runs no slower than one of quadax.quadgk.",
                stated=_centre(batch) <= 1.0,
                expected="geometric mean over integrands at most 1",
                measured=f"time over quadax's: {_extremes(batch)}",
                figure="cost",
            )
        )
    if strong.size:
        found.append(
            Claim(
                id="extrapolation-saves-evaluations",
                statement="At strong algebraic singularities extrapolation (quadax) takes a small part of the "
                "evaluations that bisection (ours) takes.",
                stated=float(strong.min()) >= 5.0,
                expected="at most a fifth",
                measured=f"our evaluations over quadax's: {_extremes(strong)}; on all integrands: "
                + _extremes(evaluations),
                figure="cost",
            )
        )
    return found


def _claims_of_scipy(data: "xarray.Dataset") -> list[Claim]:
    single, batch = _times(data, "seconds", "scipy"), _in_batches(data, "scipy")
    in_batches = f"; each of a batch: {_extremes(batch)}" if batch.size else ""
    return [
        Claim(
            id="runs-no-slower-than-scipy",
            statement="Our integral, compiled, runs no slower than scipy.integrate.quad on a cheap integrand in numpy.",
            stated=_centre(single) <= 1.0,
            expects="refuted",
            expected="geometric mean over integrands at most 1",
            measured=f"time over SciPy's: {_extremes(single)}{in_batches}",
            figure="cost",
            note="QUADPACK begins with 21 evaluations where ours begins with 252, and extrapolates.",
        )
    ]


_LOOKS = {"jaxcalc": ("blue", "D"), "quadax": ("vermilion", "s"), "scipy": ("grey", "X")}


def _look(route: str, **changes: Any) -> dict[str, Any]:
    from jaxcalc import style

    color, marker = _LOOKS[route]
    name = "SciPy (QUADPACK)" if route == "scipy" else route
    return {"color": style.COLORS[color], "marker": marker, "label": name, "linestyle": "", **changes}


def figures(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    data = _points(dataset)
    return {"honesty": _draw_honesty(data, dataset), "cost": _draw_cost(data)}


def _draw_honesty(data: "xarray.Dataset", dataset: "xarray.Dataset") -> "Figure":
    from jaxcalc import style

    routes = list(map(str, data.route.values))
    tolerance = _tolerance(dataset)
    figure, panels = style.subplots(1, len(routes), width="page", height=2.9, squeeze=False, sharex=True, sharey=True)
    ends, floor = np.array([1e-17, 1.0]), 2e-17
    for panel, route in zip(panels[0], routes):
        one = data.sel(route=route)
        panel.fill_between(ends, ends, 1.0, color="#EEEEEE", lw=0)
        panel.plot(ends, ends, **style.THEORY)
        panel.axvline(tolerance, color=style.COLORS["grey"], lw=0.8)
        claimed, error = (np.maximum(one[name].values.ravel(), floor) for name in ("claimed", "error"))
        panel.plot(claimed, error, **_look(route, markersize=3, alpha=0.6))
        panel.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="reported relative error")
        panel.set_title(_look(route)["label"])
    panels[0, 0].set_ylabel("true relative error")
    panels[0, 0].annotate("not a bound", (0.05, 0.93), xycoords="axes fraction", fontsize=7)
    style.panel_labels(panels)
    figure.set_label(
        "The error that is reported and the true one, for every integrand and place of its difficulty. Above the "
        f"dashed line the report is no bound; grey: the tolerance. Errors below {floor:g} are drawn there, infinite "
        "ones are left out."
    )
    return figure


def _draw_cost(data: "xarray.Dataset") -> "Figure":
    from jaxcalc import style

    names = list(map(str, data.integrand.values))
    batched = data.error.count("place").max("route") > 1
    kinds = (
        ("evaluations of the integrand", data.evaluations.rename(place="repeat")),
        ("time of one integral (µs)", 1e6 * data.seconds),
        ("time each in a batch (µs)", 1e6 * data.batch_seconds.where(batched)),
        ("time to compile (s)", data.compile_seconds.where(data.compile_seconds > 0).expand_dims("repeat", axis=-1)),
    )
    figure, panels = style.subplots(1, 4, width="page", height=0.17 * len(names) + 1.3, sharey=True)
    for panel, (label, values) in zip(panels, kinds):
        for route in map(str, data.route.values):
            one = values.sel(route=route)
            there = one.notnull().any("repeat").values
            if not there.any():
                continue
            low, middle, high = (one[there].quantile(q, "repeat").values for q in (0.25, 0.5, 0.75))
            look = _look(route, markersize=4.5, elinewidth=0.8)
            panel.errorbar(middle, np.flatnonzero(there), xerr=[middle - low, high - middle], **look)
        panel.set(xscale="linear" if "compile" in label else "log", xlabel=label)
    panels[3].set_xlim(0, None)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    style.panel_labels(panels)
    figure.set_label(
        "What an integral costs: evaluations (median over places, bars: quartiles), time and time in a batch of all "
        "places, where there are several (medians, bars: quartiles), time to compile (of SciPy there is none)."
    )
    return figure


def tables(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    data, rows = _points(dataset), []
    for name in map(str, data.integrand.values):
        row: dict[str, Any] = {"integrand": name}
        for route in map(str, data.route.values):
            one = data.sel(route=route, integrand=name)
            row |= {
                f"{route}: error": f"{float(one.error.max()):.1e}",
                f"{route}: reported": f"{float(one.claimed.median()):.1e}",
                f"{route}: exceeded": int(_exceeded(one).sum()),
                f"{route}: evaluations": int(one.evaluations.median()),
                f"{route}: µs": float(f"{1e6 * float(one.seconds.median()):.3g}"),
            }
        rows.append(row)
    return {"Largest error over all places, error reported (median), work and time": rows}
