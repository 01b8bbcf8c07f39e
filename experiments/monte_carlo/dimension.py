"""From which dimension on do random points beat a grid with as many evaluations?"""

from typing import Any, Literal, get_args

import numpy as np
import pydantic

from experiments.monte_carlo import CHANCE, LABELS, Method, estimator
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, close, jax, over

kind = "host"

_ORDERS = {"trapezoid": 2, "simpson": 4}
_MOST_NODES = 1024  # of Gauss's rule: finding more takes longer than evaluating at them
_OF_DIMENSION = {"oscillation": "smooth: Genz's oscillation", "kink": "kinks: Genz's continuous integrand"}


class Config(lab.Config):
    method: Literal["trapezoid", "simpson", "gauss-legendre", "monte-carlo", "sobol"] = "monte-carlo"
    """a product grid of that rule, or random points"""
    evaluations: int = pydantic.Field(4096, ge=32)
    """the budget; a grid takes as many points per axis as it affords"""
    most: int = pydantic.Field(20, ge=2)
    """dimensions, from 1 to this"""
    repeats: int = pydantic.Field(100, ge=8)
    """runs of random points"""
    replicates: int = pydantic.Field(16, ge=2)
    """independent shifts of the Sobol points"""


VARIABLES = {
    "dimension": Variable(("dimension",), "", "dimension of the unit cube"),
    "integrand": Variable(("integrand",), "", "what is integrated over it"),
    "error": Variable(("dimension", "integrand"), "", "error; of random points, root mean square"),
    "low": Variable(("dimension", "integrand"), "", "16 % of the errors are below this"),
    "high": Variable(("dimension", "integrand"), "", "84 % of the errors are below this"),
    "points": Variable(("dimension",), "", "points per axis of the grid, 0 for none"),
    "used": Variable(("dimension",), "", "evaluations of the integrand"),
}


def _on_grid(method, n, d):
    """The integrals of both integrands by the product of a rule with itself."""
    from jaxcalc.functions.integrands import KINK, genz_pair
    from jaxcalc.functions.quadrature import product_integral, quadrature_rule

    def both(axes):
        sums = sum(axis - 0.5 for axis in axes), sum(abs(axis - KINK) for axis in axes)
        return np.moveaxis(genz_pair(*sums, d, xp=np), -1, 0)

    return product_integral(both, quadrature_rule(method, n), d)


def _in_all_dimensions(x):
    """Both integrands in 1, 2, ... dimensions, each of the first coordinates of the point; shape (d, 2)."""
    from jaxcalc.functions.integrands import KINK, genz_pair

    before = np.triu(np.ones((x.size, x.size)))  # a product: XLA's cumulative sums are slow on CPU
    return genz_pair((x - 0.5) @ before, abs(x - KINK) @ before, np.arange(1.0, x.size + 1))


def run(config, key):
    from jaxcalc.functions.integrands import genz_integrals
    from jaxcalc.functions.quadrature import affordable_points

    dimensions = np.arange(1, config.most + 1)
    points = np.zeros(config.most, int)
    if config.method in get_args(Method):
        method: Any = config.method
        estimate = estimator(method, _in_all_dimensions, config.evaluations, config.most, config.replicates)
        value = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(key, config.repeats)).value)
        used = np.full(config.most, config.evaluations)
    else:
        most = _MOST_NODES if config.method == "gauss-legendre" else config.evaluations
        afforded = lambda d: min(affordable_points(config.method, config.evaluations, d), most)
        affordable = {d: afforded(d) for d in range(1, config.most + 1)}
        nothing = np.full(len(_OF_DIMENSION), np.nan)
        value = np.array([[_on_grid(config.method, n, d) if n else nothing for d, n in affordable.items()]])
        points = np.array(list(affordable.values()))
        used = np.array([n**d for d, n in affordable.items()])
    error = abs(value - genz_integrals(dimensions))
    return {
        "dimension": dimensions,
        "integrand": np.array(list(_OF_DIMENSION)),
        "error": np.sqrt((error**2).mean(0)),
        "low": np.quantile(error, 0.16, axis=0),
        "high": np.quantile(error, 0.84, axis=0),
        "points": points,
        "used": used,
    }


def _slope_in(data, method, d):
    """The slope of the smooth integrand's error against the grid's cells, or the points drawn; None below 3 sizes."""
    at = data.sel({"method": method, "dimension": d, "integrand": "oscillation"})
    if method in get_args(Method):
        return measure.exponent(at.evaluations, at.error)
    panels = at.points.values - 1
    # Two panels per axis and more, and an error above rounding.
    good = ~(panels < 2) & ~(at.error.values <= 1e-13)
    cells, error = panels[good].astype(float) ** d, at.error.values[good]
    if len(set(cells)) < 3:
        return None
    return float(np.polyfit(np.log(cells), np.log(error), 1)[0])


def _crossing(data, method, other, integrand):
    """The dimension from which on the other method has the smaller error, at the largest budget.

    One past the last where it never has; NaN where an error is.
    """
    at = data.isel(evaluations=-1).sel(integrand=integrand)
    grid, random = at.sel({"method": method}), at.error.sel({"method": other})
    afforded = ~(grid.points.values == 0)
    curves = grid.error.values[afforded], random.values[afforded]
    if not np.isfinite(curves).all():
        return float("nan")
    found = measure.crossing(data.dimension.values[afforded], *curves)
    return float(data.dimension[-1]) + 1.0 if np.isnan(found) else found


def _grid_slopes(dataset):
    data = over(dataset, "method", "evaluations")
    grids = [name for name in _ORDERS if name in data["method"].values]
    slopes = {(name, d): _slope_in(data, name, d) for name in grids for d in map(int, data.dimension.values)}
    slopes = {at: slope for at, slope in slopes.items() if slope is not None}
    if not slopes:
        raise NotJudged("no budget affords three grids")
    told = [f"{name}, d = {d}: {slope:.3f}" for (name, d), slope in slopes.items()]
    return Finding(
        close(list(slopes.values()), [-_ORDERS[name] / d for name, d in slopes], 0.05, relative=True),
        measured="; ".join(told),
        figure="slopes",
    )


def _no_curse(dataset):
    data = over(dataset, "method", "evaluations").sel({"method": "monte-carlo", "integrand": "oscillation"})
    last = data.isel(evaluations=-1).error.values
    allowed = 1 + CHANCE / np.sqrt(float(dataset.repeats))  # of a ratio of two root mean squares
    return Finding(
        below(last / last[0], allowed),
        measured=f"at most {(last / last[0]).max():.3f}; in {int(data.dimension[-1])} dimensions "
        f"{last[-1] / last[0]:.3f}",
        figure="dimensions",
    )


def _overtakes(dataset):
    data = over(dataset, "method", "evaluations")
    at = {(name, i): _crossing(data, name, "monte-carlo", i) for name in _ORDERS for i in _OF_DIMENSION}
    return Finding(
        close(at["trapezoid", "oscillation"], 2.0 * _ORDERS["trapezoid"], 1.0),
        limits=~close(at["simpson", "kink"], 2.0 * _ORDERS["simpson"], 1.0),
        measured="; ".join(f"{name}, {i}: d = {d:.2f}" for (name, i), d in at.items())
        + f" ({int(data.evaluations[-1])} evaluations)",
        figure="dimensions",
    )


def figures(dataset):
    data = over(dataset, "method", "evaluations")
    return {"dimensions": _draw_dimensions(data), "slopes": _draw_slopes(data)}


def _draw_dimensions(data):
    last = data.isel(evaluations=-1)
    d, budget = data.dimension.values, float(last.evaluations)
    figure, panels = style.chart(
        last.error,
        "dimension",
        hue="method",
        col="integrand",
        band=(last.low, last.high),
        looks=LABELS,
        titles=_OF_DIMENSION,
        log="y",
        ylim=(2e-13, 20),
        xlabel="dimension $d$",
        ylabel="error of the integral",
        legend="below",
        width="page",
        height=3.2,
        letters=True,
    )
    for panel, name in zip(panels.flat, _OF_DIMENSION):
        panel.set_xticks(range(2, d[-1] + 1, 2))
        for method in (method for method in _ORDERS if {method, "monte-carlo"} <= set(data["method"].values)):
            place, error = _crossing(data, method, "monte-carlo", name), last.error.sel(integrand=name)
            height = np.exp(np.interp(place, d, np.log(error.sel({"method": "monte-carlo"}))))
            panel.plot(place, height, "o", color="none", markeredgecolor="k", markeredgewidth=1.0, ms=9, zorder=4)
    _draw_theory(panels.flat[0], d, budget)
    figure.set_label(
        f"Error with N = {budget:.0f} evaluations: of product grids with as many points per axis as that affords, and "
        "of random points (root mean square; bands: the middle 68 %). Circles: where Monte Carlo overtakes a grid. "
        "Dashed: theory for many points per axis. Lines end where a grid is not affordable; "
        f"Gauss-Legendre has at most {_MOST_NODES} points per axis."
    )
    return figure


def _draw_theory(panel, d, budget):
    """The rules' errors on the oscillation to leading order: d c^2 / 12 n^-2 and d c^4 / 180 n^-4, c^2 = 12 / d."""
    from jaxcalc.functions.integrands import genz_integrals

    wave = abs(genz_integrals(d)[:, 0])
    for method, constant, place in (("trapezoid", wave, 12), ("simpson", 0.8 * wave / d, 3)):
        curve, at = constant * budget ** (-_ORDERS[method] / d), min(place, len(d) - 1)
        panel.plot(d, curve, **style.THEORY)
        look = {"xytext": (4, -4), "textcoords": "offset points", "fontsize": 7, "va": "top"}
        panel.annotate(f"$N^{{-{_ORDERS[method]}/d}}$", (d[at], curve[at]), **look)


def _draw_slopes(data):
    figure, panel = style.subplots(width="column", height=2.9)
    d = data.dimension.values
    curve = np.linspace(d[0], d[-1], 200)
    for method in map(str, data.method.values):
        if method in (*_ORDERS, *get_args(Method)):
            slopes = np.array([_slope_in(data, method, int(each)) for each in d], float)
            panel.plot(d, slopes, **style.method(method, linestyle="", **LABELS[method]))
            if method in _ORDERS:
                panel.plot(curve, -_ORDERS[method] / curve, **style.THEORY)
                above = method == "trapezoid"
                look = {"textcoords": "offset points", "fontsize": 7, "ha": "right", "va": "bottom" if above else "top"}
                end = (d[-1], -_ORDERS[method] / d[-1])
                panel.annotate(f"$-{_ORDERS[method]}/d$", end, xytext=(0, 3 if above else -2), **look)
    panel.axhline(-0.5, **style.THEORY)
    panel.set(xlabel="dimension $d$", ylabel="slope of the error", ylim=(-4.2, 0.3), xticks=range(2, d[-1] + 1, 2))
    panel.legend(loc="lower right")
    figure.set_label(
        "Slopes of the error on the smooth integrand, against a grid's cells or the points drawn. Dashed: -k/d for "
        "rules of order k = 2 and 4, and -1/2."
    )
    return figure


claims = {
    "grid-slopes": _grid_slopes,
    "monte-carlo-does-not-feel-the-dimension": _no_curse,
    "monte-carlo-overtakes-at-twice-the-order": _overtakes,
}
