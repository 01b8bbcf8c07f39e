"""Do the pelts of 1900 to 1913 forecast lynx and hare, by a learned field or by the predator-prey equations?

Both are fitted by the same solver and optimiser to the logarithms of thousands of pelts. Beside them what costs
nothing: the mean, the last value, and the last cycle once more.
"""

from typing import Literal

import numpy as np
import pydantic

from experiments.neural_ode._fit import (
    HOLLOW,
    draw_field,
    draw_training,
    errors,
    failed,
    fit,
    median,
    middle,
    over,
    rms,
)
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, jax, jnp, less

kind = "compiled"
dtype = "float64"
_FIRST, _LAST = 1900, 1920
_FINE = 12  # states drawn a year
_SHORTEST_CYCLE = 5  # years
SPECIES = ("hare", "lynx")
NAIVE = ("mean", "last value", "last cycle")


class Config(lab.Config):
    """A field, fitted to the first years of the series and carried on to its end."""

    field: Literal["lotka-volterra", "mlp"] = "mlp"
    """the predator-prey equations with four unknown rates, or a perceptron of the two logarithms"""
    last_year: Swept[int] = pydantic.Field(default=1913, ge=_FIRST + 9, le=_LAST - 1)
    """the last year that is fitted; all later ones are forecast"""
    hidden: int = pydantic.Field(default=16, gt=0)
    """width of the perceptron's two hidden layers"""
    train_steps: int = pydantic.Field(default=2000, gt=0)
    """steps of Adam"""
    learning_rate: Swept[float] = pydantic.Field(default=0.01, gt=0)
    """Adam's rate, which falls to 0 along a cosine"""
    tolerance: float = pydantic.Field(default=1e-5, gt=0)
    """of the solver's steps while training, relative and absolute"""


VARIABLES = {
    "iteration": Variable(("iteration",), "", "step of Adam"),
    "loss": Variable(("iteration",), "", "mean squared error over the years in view"),
    "year": Variable(("year",), "", "year"),
    "species": Variable(("species",), "", "species"),
    "observed": Variable(("year", "species"), "thousands", "pelts traded"),
    "fine_year": Variable(("fine_year",), "", "year along the solution"),
    "solution": Variable(("fine_year", "species"), "thousands", "pelts along the fitted field's solution"),
    "baseline": Variable(("baseline",), "", "naive forecast"),
    "naive": Variable(("baseline", "year", "species"), "thousands", "pelts by a naive forecast"),
    "fit_error": Variable((), "", "root mean square error of the logarithms in the fitted years"),
    "forecast_error": Variable((), "", "root mean square error of the logarithms in the later years"),
    "naive_error": Variable(("baseline",), "", "the same of a naive forecast"),
    "failed": Variable((), "", "whether the solution ends early, or fits no better than the mean"),
    "grid_hare": Variable(("column",), "", "logarithm of thousands of hare pelts, of the drawn field's columns"),
    "grid_lynx": Variable(("row",), "", "logarithm of thousands of lynx pelts, of the drawn field's rows"),
    "rate": Variable(("row", "column", "species"), "1/year", "fitted rate of change of the logarithms"),
}


def _series():
    """Years since the first, ``(21,)``, and the logarithms of thousands of pelts, ``(21, 2)``."""
    from jaxcalc.functions import datasets

    year, hare, lynx = datasets.lynx_hare()
    return jnp.asarray(year - year[0], float), jnp.log(jnp.stack([hare, lynx], axis=1).astype(float))


def shared(config):
    """The series, and where fields are drawn."""
    times, observed = _series()
    low, high = observed.min(0), observed.max(0)
    hare, lynx = (jnp.linspace(low[i] - 0.3 * (high - low)[i], high[i] + 0.3 * (high - low)[i], 24) for i in (0, 1))
    return {
        "year": np.arange(_FIRST, _LAST + 1),
        "species": np.array(SPECIES),
        "observed": jnp.exp(observed),
        "fine_year": _FIRST + np.arange(_FINE * (len(times) - 1) + 1) / _FINE,
        "baseline": np.array(NAIVE),
        "grid_hare": hare,
        "grid_lynx": lynx,
    }


def run(config, key):
    """Draw a field, fit it to the years that are seen, then solve it to the last one."""
    from jaxcalc import models

    times, observed = _series()
    last = config.last_year - _FIRST
    seen = times <= last
    center = jnp.average(observed, axis=0, weights=seen)
    spread = rms(observed - center, seen)
    if config.field == "mlp":
        scale = jnp.sqrt(jnp.average((observed - center) ** 2, axis=0, weights=seen))
        field = models.mlp_field(2, config.hidden, center=center, scale=scale)
    else:
        field = models.lotka_volterra_field([0.5, 0.02, 0.8, 0.02])
    model = models.neural_ode(field, solver="tsit5", rtol=config.tolerance, atol=config.tolerance)
    initial = field.init(key), observed[0]
    choices = {"num_steps": config.train_steps, "learning_rate": config.learning_rate}
    params, start, losses = fit(model, initial, times, observed, seen, **choices)

    # What is learned is the field: its solution, not that of training's coarser steps, is what forecasts.
    precise = models.neural_ode(field, solver="tsit5", rtol=1e-8, atol=1e-8, report=True)
    report = precise.apply(params, start, jnp.arange(_FINE * (len(times) - 1) + 1) / _FINE)
    solution = report.states
    misses = solution[::_FINE] - observed
    fit_error = rms(jnp.where(seen[:, None], misses, 0.0), seen)
    naive = _naive(observed, last)
    data = shared(config)
    return {
        "iteration": jnp.arange(config.train_steps),
        "loss": losses,
        "solution": jnp.exp(solution),
        "naive": jnp.exp(naive),
        "fit_error": fit_error,
        "forecast_error": rms(misses, ~seen),
        "naive_error": jax.vmap(lambda forecast: rms(forecast - observed, ~seen))(naive),
        "failed": failed(report, fit_error, spread),
        "rate": field.apply(params, jnp.stack(jnp.meshgrid(data["grid_hare"], data["grid_lynx"]), axis=-1)),
    }


def _naive(observed, last):
    """Forecasts by what was seen up to the index ``last``, of shape (baseline, year, species).

    The cycle's length is the lag at which the years that are seen repeat themselves best.
    """
    index = jnp.arange(len(observed))
    seen = index <= last
    mean = jnp.average(observed, axis=0, weights=seen)
    lags = jnp.arange(_SHORTEST_CYCLE, len(observed) - 2)

    def unlike(lag):
        pairs = seen & (index >= lag)
        squares = jnp.mean((observed - observed[index - lag]) ** 2, axis=1)
        return jnp.where(pairs.sum() >= 3, jnp.sum(pairs * squares) / jnp.maximum(pairs.sum(), 1), jnp.inf)

    lag = lags[jnp.argmin(jax.vmap(unlike)(lags))]
    before = index - lag * jnp.maximum(0, -((last - index) // lag))  # whole cycles back, into what was seen
    constants = [jnp.broadcast_to(value, observed.shape) for value in (mean, observed[last])]
    return jnp.stack([*constants, observed[before]])


def _at(dataset):
    """The dataset over fields and starts, at 1913 if it was a last year, or else the first that was."""
    data = _over(dataset)
    years = data.last_year.values.tolist()
    return data.sel(last_year=1913 if 1913 in years else years[0])


def _over(dataset):
    """The dataset over fields, last years and starts, other axes of the sweep at their first."""
    return over(dataset, VARIABLES, ("observed", "grid_hare", "grid_lynx"), "field", "last_year", "seed")


LOOKS = {
    "lotka-volterra": {"color": style.COLORS["blue"], "label": "predator-prey equations", "marker": "o"},
    "mlp": {"color": style.COLORS["vermilion"], "label": "neural ODE", "marker": "s"},
    "mean": {"color": style.COLORS["grey"], "label": "mean", "linestyle": ":", "marker": ""},
    "last value": {"color": style.COLORS["grey"], "label": "last value", "linestyle": "-.", "marker": ""},
    "last cycle": {"color": style.COLORS["black"], "label": "last cycle again", "linestyle": "--", "marker": ""},
}


def figures(dataset):
    """Forecasts, learned fields, errors by the last year that was fitted, and the training."""
    one, data = _at(dataset), _over(dataset)
    drawn = {"forecast": _draw_forecast(one), "fields": _draw_fields(one)}
    if data.sizes["last_year"] > 1:
        drawn["errors"] = _draw_errors(data)
    return drawn | {
        "training": draw_training(one.loss, "field", {name: look | {"marker": ""} for name, look in LOOKS.items()})
    }


def _draw_forecast(one):
    """Pelts over the years, both fields' medians with the range of their starts, and the last cycle repeated."""
    figure, axes = style.subplots(2, 1, width="page", height=4.3, sharex=True, letters=False)
    last = int(one.last_year)
    later = one["year"].values > last
    for ax, animal in zip(axes, SPECIES, strict=True):
        for field in one.field.values.tolist():
            _draw_band(ax, one.sel(field=field, species=animal), LOOKS[field])
        observed = one.observed.sel(species=animal)
        again = one.naive.isel(field=0, seed=0).sel(baseline="last cycle", species=animal)
        look = {name: LOOKS["last cycle"][name] for name in ("color", "label", "linestyle")}
        ax.plot(one["year"][later], again[later], linewidth=0.9, **look)
        point = {"color": "#222222", "marker": "o", "linestyle": "", "markersize": 4, "zorder": 3}
        ax.plot(one["year"][~later], observed[~later], label="fitted years", **point)
        ax.plot(one["year"][later], observed[later], label="later years", **point | HOLLOW)
        ax.axvspan(last + 0.5, _LAST + 0.6, color="#F1F1F1", zorder=0, linewidth=0)
        ax.set(yscale="log", ylabel=f"{animal}, thousands of pelts", xlim=(_FIRST - 0.6, _LAST + 0.6))
        style.ticks(ax.yaxis, [2, 5, 10, 20, 50, 100, 200])
    axes[-1].set(xlabel="year", xticks=range(_FIRST, _LAST + 1, 2))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    figure.set_label(
        f"Pelts fitted up to {last} and forecast after (shaded): medians of {one.sizes['seed']} starts with the range "
        f"of all; starts that failed are thin lines ({_count_failed(one)})."
    )
    return figure


def _draw_band(ax, fits, look):
    """The median and the range of the fits that did not fail; those that did as thin lines."""
    good = fits.solution.where(~fits.failed.astype(bool))
    years, low, mid, high = fits.fine_year, good.min("seed"), good.median("seed"), good.max("seed")
    ax.fill_between(years, low, high, color=look["color"], alpha=0.25, linewidth=0)
    ax.plot(years, mid, color=look["color"], label=look["label"])
    for seed in np.flatnonzero(fits.failed.values):
        ax.plot(years, fits.solution.isel(seed=seed), color=look["color"], linewidth=0.5, alpha=0.7)


def _count_failed(one):
    """How many starts of each field failed, in words."""
    count = one.failed.astype(int).sum("seed")
    of = f"of {one.sizes['seed']}"
    return ", ".join(f"{LOOKS[f]['label']}: {int(count.sel(field=f))} {of}" for f in one.field.values.tolist())


def _draw_fields(one):
    """The field of each kind's median start, its solution, and all observations."""
    fields = one.field.values.tolist()
    figure, axes = style.subplots(
        1, len(fields), width="page" if len(fields) > 1 else "column", height=3.4, squeeze=False, letters=False
    )
    hare, lynx = one.grid_hare.values, one.grid_lynx.values
    points = np.log(one.observed.values)
    later = one["year"].values > int(one.last_year)
    for ax, name in zip(axes.flat, fields, strict=True):
        shown = middle(one.sel(field=name), "fit_error")
        draw_field(ax, hare, lynx, shown.rate.values)
        path = np.log(shown.solution.values)
        ax.plot(path[:, 0], path[:, 1], color=LOOKS[name]["color"], zorder=2)
        ax.plot(*points[~later].T, "o", color="#222222", markersize=3.4, zorder=3)
        ax.plot(*points[later].T, "o", markersize=3.4, zorder=3, **HOLLOW)
        for year in range(_FIRST, _LAST + 1, 5):
            ax.annotate(str(year), points[year - _FIRST], xytext=(4, 3), textcoords="offset points", fontsize=7)
        for axis, grid in ((ax.xaxis, hare), (ax.yaxis, lynx)):
            ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200) if grid[0] <= np.log(t) <= grid[-1]]
            axis.set_ticks(np.log(ticks), [str(t) for t in ticks])
        ax.set(xlabel="hare, thousands of pelts", title=LOOKS[name]["label"])
    axes.flat[0].set_ylabel("lynx, thousands of pelts")
    figure.set_label(
        "The fitted fields of the starts with the median error, with their solutions from 1900 to 1920; years that "
        "were fitted (filled) and later ones (hollow)."
    )
    return figure


def _draw_errors(data):
    """Forecast errors by the last year that was fitted, beside the naive forecasts'."""
    parts = {field: data.forecast_error.sel(field=field, drop=True) for field in data.field.values.tolist()}
    naive = data.naive_error.isel(field=0, seed=0, drop=True)
    parts |= {name: naive.sel(baseline=name, drop=True) for name in NAIVE}
    figure, panels = style.chart(parts, "last_year", band=(0.0, 1.0), looks=LOOKS, width=4.6, height=2.6, legend="ends")
    panels[0, 0].set(xlabel="last year that was fitted", ylabel="forecast error, log units", ylim=(0, None))
    panels[0, 0].set_xticks(data.last_year.values)
    figure.set_label(
        "Root mean square error of forecast logarithms up to 1920: medians of the starts and the range of all."
    )
    return figure


def tables(dataset):
    """Errors of all forecasts in the years after 1913, the starts' medians and ranges; then by last year."""
    one, data = _at(dataset), _over(dataset)
    rows = []
    for field in one.field.values.tolist():
        fits = one.sel(field=field)
        row = {"forecast": LOOKS[field]["label"], "fit": _spread(errors(fits, "fit_error"))}
        later = errors(fits, "forecast_error")
        row |= {"later": _spread(later), "later, factor": _factor(later)}
        rows.append(row | {"failed": int(fits.failed.sum())})
    naive = one.naive_error.isel(field=0, seed=0)
    for name in NAIVE:
        error = naive.sel(baseline=name)
        rows.append(
            {
                "forecast": LOOKS[name]["label"],
                "fit": "",
                "later": f"{float(error):.3f}",
                "later, factor": _factor(error),
            }
            | {"failed": ""}
        )
    columns = {LOOKS[field]["label"]: median(data.sel(field=field), "forecast_error") for field in data.field.values}
    columns |= {LOOKS[n]["label"]: data.naive_error.isel(field=0, seed=0).sel(baseline=n) for n in NAIVE}
    title = f"Errors of logarithms, fitted up to {int(one.last_year)}: median (range) of {one.sizes['seed']} starts"
    return {title: rows, "Forecast errors by the last year that was fitted": lab.rows("last_year", columns)}


def _spread(values):
    """``median (least to greatest)``."""
    low, mid, high = (float(q) for q in (values.min(), values.median(), values.max()))
    return f"{mid:.3f} ({low:.3f} to {high:.3f})"


def _factor(values):
    """The median error as a factor on pelts."""
    return f"{float(np.exp(values.median())):.2f}"


def _compared(dataset):
    """The equations' fits and the perceptron's, over last years and starts."""
    data = _over(dataset)
    if set(data.field.values.tolist()) != {"lotka-volterra", "mlp"} or data.sizes["seed"] < 3:
        raise NotJudged("it takes both fields, with three starts or more")
    if 1913 not in data.last_year.values:
        raise NotJudged("it takes fits up to 1913")
    return data.sel(field="lotka-volterra"), data.sel(field="mlp")


def _equations_forecast_better(dataset):
    equations, learned = _compared(dataset)
    later, learned_later = (errors(fits.sel(last_year=1913), "forecast_error") for fits in (equations, learned))
    inside, learned_inside = (errors(fits.sel(last_year=1913), "fit_error") for fits in (equations, learned))
    everywhere = less(median(equations, "forecast_error"), median(learned, "forecast_error"))
    return Finding(
        less(later.max(skipna=False), learned_later.min(skipna=False))
        & less(learned_inside.max(skipna=False), inside.min(skipna=False)),
        ~everywhere,
        measured=f"errors of logarithms after 1913 {_spread(later)} against {_spread(learned_later)}, up to 1913 "
        f"{_spread(inside)} against {_spread(learned_inside)}",
        figure="forecast",
    )


def _better_than_naive(dataset):
    _, learned = _compared(dataset)
    mean, value, cycle = (learned.naive_error.sel(baseline=name) for name in NAIVE)
    later = errors(learned, "forecast_error")
    one = later.sel(last_year=1913)
    naive = ", ".join(f"{name} {float(e.sel(last_year=1913)[0]):.3f}" for name, e in zip(NAIVE, (mean, value, cycle)))
    return Finding(
        less(later, mean) & less(later, value),
        less(cycle.sel(last_year=1913)[0], median(learned.sel(last_year=1913), "forecast_error")),
        measured=f"errors of logarithms after 1913 {_spread(one)}; {naive}",
        figure="errors" if later.sizes["last_year"] > 1 else "forecast",
    )


claims = {
    "equations-forecast-better-than-a-learned-field": _equations_forecast_better,
    "neural-ode-forecasts-beat-naive-ones": _better_than_naive,
}
