"""Does our adaptive Gauss-Kronrod quadrature hold its own beside quadax and QUADPACK (SciPy): error, honesty, time?

One integrand a point: smooth, oscillating, peaked, with a kink or jump, singular at an end, over an infinite interval;
the same tolerance and rule for all. What is hard inside an interval lies at many random places, since an estimate may
be right by luck at one. A peer that is not installed leaves NaN.
"""

import math
from typing import Any, Literal

import numpy as np
import pydantic

from experiments._quadratures import ROUTES, present
from experiments._survey import Timed
from jaxcalc import measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, digits, first, jax, less, over

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


class Config(Timed):
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
    min_seconds: float = pydantic.Field(5e-3, ge=0)


kind = "timed"
dtype = "float32"

VARIABLES = {
    "route": Variable(("route",), "", "what integrates", measured=False),
    "error": Variable(("route", "place"), "", "true error, over the integral", measured=False),
    "claimed": Variable(("route", "place"), "", "error that it reports, over the integral", measured=False),
    "converged": Variable(("route", "place"), "", "1 where it says that the tolerance is reached", measured=False),
    "finite": Variable(("route", "place"), "", "whether result and reported error are finite", measured=False),
    "present": Variable(("route",), "", "whether it is installed", measured=False),
    "num_places": Variable((), "", "places that the integrand has", measured=False),
    "evaluations": Variable(("route", "place"), "", "evaluations of the integrand", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time of one integral, at the first place"),
    "batch_seconds": Variable(("route", "repeat"), "s", "run time for each of the places, all in one call"),
    "compile_seconds": Variable(("route",), "s", "time to trace and compile one integral"),
}


def run(config, key):
    from jaxcalc.functions.integrands import hard_integrals

    case = hard_integrals()[config.integrand]
    places = np.array([0.3])
    if case.placed:
        places = np.append(places, jax.random.uniform(key, (config.places - 1,), minval=0.01, maxval=0.99))
    exact = np.broadcast_to(case.exact(places), places.shape)
    routes = {name: build(case, config, places) for name, build in ROUTES.items() if present(name)}
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
    found = np.full((4, len(ROUTES), len(places)), np.nan)
    seconds = np.full((2, len(ROUTES), config.repeats), np.nan)
    compiling = np.full(len(ROUTES), np.nan)
    for i, name in enumerate(ROUTES):
        if name in routes:
            value, claimed, converged, evaluations = (np.asarray(part, float) for part in routes[name].batch())
            found[:, i] = abs(value - exact) / abs(exact), claimed / abs(exact), converged, evaluations
            seconds[:, i] = single[name].samples, batch[name].samples / len(places)
            compiling[i] = routes[name].compile_seconds
    names = ("error", "claimed", "converged", "evaluations")
    return {
        "route": np.array(list(ROUTES)),
        **dict(zip(names, found)),
        "finite": np.isfinite(found[:2]).all(0),
        "present": np.array([name in routes for name in ROUTES]),
        "num_places": len(places),
        "seconds": seconds[0],
        "batch_seconds": seconds[1],
        "compile_seconds": compiling,
    }


# Where a difficulty inside may lie between an interval's end and its first node, or a pole between two numbers.
_INSIDE = ("kink", "jump", "pole inside")
_STRONG = ("pole of order 9/10", "heavy tail")


def _names(data):
    return list(map(str, data.integrand.values))


def _there(data, route, name, integrands):
    """A variable at the places that these integrands have, one after the other."""
    at = lambda i: data[name].sel(route=route, integrand=i).values[: int(data.num_places.sel(integrand=i))]
    return np.concatenate([at(i) for i in integrands]) if integrands else np.empty(0)


def _flags(values):
    if not np.isin(values, (0, 1)).all():
        raise NotJudged("a flag is neither set nor not")
    return values.astype(bool)


def _here(data, route):
    return bool(_flags(data.present.sel(route=route).values).all())


def _excess(data, route, integrands):
    """True error less the reported one and the rounding of the result, where the run says that both are finite."""
    error, claimed, finite = (_there(data, route, name, integrands) for name in ("error", "claimed", "finite"))
    return (error - claimed - 4 * np.finfo(float).eps)[_flags(finite)]


def _late(data, route, integrands):
    """True error less the tolerance where the tolerance is said to be reached; below 0 elsewhere."""
    error, said, finite = (_there(data, route, name, integrands) for name in ("error", "converged", "finite"))
    # A result that is not finite is as late as can be, if it is said to have converged.
    gap = np.where(~_flags(finite), np.finfo(float).max, error - float(data.tolerance))
    return np.where(said == 0, np.where(np.isnan(gap), np.nan, -1.0), np.where(said == 1, gap, np.nan))


def _bounded(measure):
    def judge(dataset):
        data = over(dataset, "integrand")
        inside = [name for name in _names(data) if name in _INSIDE]
        outside = [name for name in _names(data) if name not in _INSIDE]
        limits = ~below(measure(data, "jaxcalc", inside), 0.0) if inside else None
        here = [r for r in ROUTES if _here(data, r)]
        counts = ", ".join(f"{r} {(measure(data, r, _names(data)) > 0).sum()}" for r in here)
        where = [f"{n} {(measure(data, 'jaxcalc', [n]) > 0).sum()}" for n in _names(data)]
        ours = ", ".join(text for text in where if not text.endswith(" 0")) or "none"
        return Finding(
            below(measure(data, "jaxcalc", outside), 0.0),
            limits=limits,
            measured=f"{counts}; ours: {ours}",
            figure="honesty",
        )

    return judge


def _no_more_often(dataset):
    data = over(dataset, "integrand")
    here = [r for r in ROUTES if _here(data, r)]
    found = {r: _excess(data, r, _names(data)) for r in here}
    count = {r: int((gap > 0).sum()) for r, gap in found.items()}
    fewest = min(n for r, n in count.items() if r != "jaxcalc")
    known = above(np.concatenate(list(found.values())), -np.finfo(float).max)
    # Places are random, and so are the counts: two standard deviations of a difference.
    return Finding(
        known & below(count["jaxcalc"] - fewest, 2 * math.sqrt(count["jaxcalc"] + fewest)),
        measured=", ".join(f"{r} {n}" for r, n in count.items()),
        figure="honesty",
    )


def _ratio(data, variable, peer):
    """Our reading over a peer's, round by round where there are several: what slows a round cancels."""
    if not _here(data, peer):
        raise NotJudged(f"{peer} is not installed")
    ratio = data[variable].sel(route="jaxcalc") / data[variable].sel(route=peer)
    return ratio.median("repeat", skipna=False) if "repeat" in ratio.dims else ratio


def _centre(ratio):
    """The geometric mean over integrands."""
    return float(np.exp(np.log(ratio.values).mean()))


def _extremes(ratio):
    names, values = ratio.integrand.values, ratio.values
    low, high = int(np.argmin(values)), int(np.argmax(values))
    return (
        f"geometric mean {_centre(ratio):.3g}; {values[low]:.3g} ({names[low]}) to {values[high]:.3g} ({names[high]})"
    )


def _compiles(dataset):
    ratio = _ratio(over(dataset, "integrand"), "compile_seconds", "quadax")
    return Finding(less(ratio, 1.0), measured=f"time over quadax's: {_extremes(ratio)}", figure="cost")


def _runs(peer):
    def judge(dataset):
        ratio = _ratio(over(dataset, "integrand"), "seconds", peer)
        limits = less(1.05, ratio.max(skipna=False)) if peer == "quadax" else None
        return Finding(
            below(_centre(ratio), 1.0), limits=limits, measured=f"time over {peer}'s: {_extremes(ratio)}", figure="cost"
        )

    return judge


def _batches(dataset):
    data = over(dataset, "integrand")
    several = ~(data.num_places.values == 1)
    ratio = _ratio(data, "batch_seconds", "quadax").isel(integrand=several)
    return Finding(below(_centre(ratio), 1.0), measured=f"time over quadax's: {_extremes(ratio)}", figure="cost")


def _extrapolates(dataset):
    data = over(dataset, "integrand")
    ratio = _ratio(data, "evaluations", "quadax").isel(place=0)  # these have one place
    strong = ratio.sel(integrand=[name for name in _STRONG if name in _names(data)])
    return Finding(above(strong, 5.0), measured=f"our evaluations over quadax's: {_extremes(strong)}", figure="cost")


claims = {
    "reported-errors-are-bounds": _bounded(_excess),
    "converged-means-within-tolerance": _bounded(_late),
    "exceeded-no-more-often-than-peers": _no_more_often,
    "compiles-faster-than-quadax": _compiles,
    "runs-no-slower-than-quadax": _runs("quadax"),
    "batches-no-slower-than-quadax": _batches,
    "extrapolation-saves-evaluations": _extrapolates,
    "runs-no-slower-than-scipy": _runs("scipy"),
}


def _points(dataset):
    """The dataset by integrand, and only the routes that ran."""
    data = first(over(dataset, "integrand"), "integrand", "route", "place", "repeat")
    return data.isel(route=data.present.values.reshape(-1, data.sizes["route"]).all(0))


def _look(route, **changes):
    name = "SciPy (QUADPACK)" if route == "scipy" else route
    return style.method(route, label=name, linestyle="", **changes)


def figures(dataset):
    data = _points(dataset)
    return {"honesty": _draw_honesty(data, dataset), "cost": _draw_cost(data)}


def _draw_honesty(data, dataset):
    routes = list(map(str, data.route.values))
    tolerance = float(dataset.tolerance)
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
    figure.set_label(
        "The error that is reported and the true one, for every integrand and place of its difficulty. Above the "
        f"dashed line the report is no bound; grey: the tolerance. Errors below {floor:g} are drawn there, infinite "
        "ones are left out."
    )
    return figure


def _draw_cost(data):
    batched = data.error.count("place").max("route") > 1
    kinds = (
        ("evaluations of the integrand", data.evaluations.rename(place="repeat")),
        ("time of one integral (µs)", 1e6 * data.seconds),
        ("time each in a batch (µs)", 1e6 * data.batch_seconds.where(batched)),
        ("time to compile (s)", data.compile_seconds.where(data.compile_seconds > 0).expand_dims("repeat", axis=-1)),
    )
    figure, panels = style.subplots(1, 4, width="page", height=0.17 * data.sizes["integrand"] + 1.3, sharey=True)
    for panel, (label, values) in zip(panels, kinds):
        for route in map(str, data.route.values):
            one = values.sel(route=route)
            if one.notnull().any():
                style.rows(panel, one, "integrand", **_look(route, markersize=4.5))
        panel.set(xscale="linear" if "compile" in label else "log", xlabel=label)
    panels[3].set_xlim(0, None)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.set_label(
        "What an integral costs: evaluations (median over places, bars: quartiles), time and time in a batch of all "
        "places, where there are several (medians, bars: quartiles), time to compile (of SciPy there is none)."
    )
    return figure


def tables(dataset):
    data, rows = _points(dataset), []
    for name in map(str, data.integrand.values):
        row: dict[str, Any] = {"integrand": name}
        for route in map(str, data.route.values):
            one = data.sel(route=route, integrand=name)
            row |= {
                f"{route}: error": f"{float(one.error.max()):.1e}",
                f"{route}: reported": f"{float(one.claimed.median()):.1e}",
                f"{route}: exceeded": int((one.error > one.claimed + 4 * np.finfo(float).eps).sum()),
                f"{route}: evaluations": int(one.evaluations.median()),
                f"{route}: µs": digits(1e6 * one.seconds.median()),
            }
        rows.append(row)
    return {"Largest error over all places, error reported (median), work and time": rows}
