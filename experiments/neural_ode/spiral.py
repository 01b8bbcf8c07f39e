"""Does it matter when a spiral is seen, and is the field that is learned from it the true one?

As many noisy states, at equal or at uneven times; the control knows their order alone, as a recurrent network does that
takes one step an observation.
"""

import numpy as np
import pydantic

from experiments.neural_ode._fit import draw_field, draw_training, failed, fit, median, middle, over, rms
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, jax, jnp, less

kind = "compiled"
dtype = "float64"
_END = 10.0  # of the times that are fitted
_LATER = 15.0  # of the times that are forecast
_FINE = 16  # states held against the truth in a unit of time
_START = (1.5, 0.0)
_MATRIX = ((-0.1, 1.0), (-1.0, -0.1))
_EDGE = 1.9  # of the square that is drawn


class Config(lab.Config):
    """How a spiral is seen, and how a perceptron is fitted to it."""

    clock: Swept[float] = pydantic.Field(default=1.0, ge=0, le=1)
    """what the fit knows of the times: 1 all, 0 their order alone, as if gaps were equal; between, a mean of both"""
    irregularity: Swept[float] = pydantic.Field(default=0.0, ge=0, le=1)
    """of the times: 0 equal gaps, 1 drawn uniformly, between them a mean of both"""
    samples: int = pydantic.Field(default=40, ge=5)
    """states that are seen"""
    noise: Swept[float] = pydantic.Field(default=0.03, ge=0)
    """standard deviation of the noise on each component"""
    hidden: int = pydantic.Field(default=24, gt=0)
    """width of the perceptron's two hidden layers"""
    train_steps: int = pydantic.Field(default=2000, gt=0)
    """steps of Adam"""
    learning_rate: Swept[float] = pydantic.Field(default=0.01, gt=0)
    """Adam's rate, which falls to 0 along a cosine"""
    tolerance: float = pydantic.Field(default=1e-5, gt=0)
    """of the solver's steps while training, relative and absolute"""


VARIABLES = {
    "iteration": Variable(("iteration",), "", "step of Adam"),
    "loss": Variable(("iteration",), "", "mean squared error over the states in view"),
    "time": Variable(("sample",), "", "time at which a state is seen"),
    "observed": Variable(("sample", "component"), "", "state seen with noise"),
    "fine_time": Variable(("fine_time",), "", "time along the solution"),
    "truth": Variable(("fine_time", "component"), "", "true spiral"),
    "solution": Variable(("fine_time", "component"), "", "the fitted field's solution"),
    "between_error": Variable(
        (), "", "distance from the true spiral within the times that are fitted, rms per component"
    ),
    "forecast_error": Variable((), "", "the same in half as long a time after"),
    "field_error": Variable(
        (), "", "relative error of the rate of change at the spiral's own states, as long as it is fitted"
    ),
    "failed": Variable((), "", "whether the solution ends early, or is no nearer than the mean"),
    "grid": Variable(("grid",), "", "either component of the states at which fields are drawn"),
    "rate": Variable(("row", "column", "component"), "", "fitted rate of change"),
    "true_rate": Variable(("row", "column", "component"), "", "true rate of change"),
}


def _true_field(y):
    from jaxcalc.functions.fields import cubic_spiral

    return cubic_spiral(jnp.zeros(()), y, jnp.array(_MATRIX, float))


def _true_states(times):
    """The spiral at times in any order."""
    from jaxcalc.transforms.flow import flow

    order = jnp.argsort(times)
    solve = flow(lambda t, y, args: _true_field(y), solver="tsit5", rtol=1e-9, atol=1e-9)
    return solve(jnp.array(_START), times[order])[jnp.argsort(order)]


def _fine_times():
    return jnp.arange(int(_LATER * _FINE) + 1) / _FINE


def _drawn():
    """The square's states, of shape (row, column, component)."""
    axis = jnp.linspace(-_EDGE, _EDGE, 49)
    return axis, jnp.stack(jnp.meshgrid(axis, axis), axis=-1)


def shared(config):
    """The true spiral, and the true field."""
    axis, states = _drawn()
    fine = _fine_times()
    return {"fine_time": fine, "truth": _true_states(fine), "grid": axis, "true_rate": _true_field(states)}


def run(config, key):
    """See the spiral, fit a field, then hold its flow against the true one."""
    from jaxcalc import models

    times_key, noise_key, init_key = jax.random.split(key, 3)
    even = jnp.linspace(0.0, _END, config.samples)
    drawn = jax.random.uniform(times_key, (config.samples - 2,), float, 0.0, _END)
    uneven = jnp.concatenate([even[:1], jnp.sort(drawn), even[-1:]])
    times = (1 - config.irregularity) * even + config.irregularity * uneven
    fine = _fine_times()
    states = _true_states(jnp.concatenate([fine, times]))
    truth, exact = states[: len(fine)], states[len(fine) :]
    observed = exact + config.noise * jax.random.normal(noise_key, exact.shape, float)
    field = models.mlp_field(2, config.hidden, center=observed.mean(0), scale=observed.std(0))
    model = models.neural_ode(field, solver="tsit5", rtol=config.tolerance, atol=config.tolerance)
    choices = {"num_steps": config.train_steps, "learning_rate": config.learning_rate}
    known = config.clock * times + (1 - config.clock) * even
    initial = field.init(init_key), observed[0]
    params, first, losses = fit(model, initial, known, observed, jnp.ones(config.samples, bool), **choices)

    precise = models.neural_ode(field, solver="tsit5", rtol=1e-8, atol=1e-8, report=True)
    report = precise.apply(params, first, fine)
    misses, inside = report.states - truth, fine <= _END
    between = rms(jnp.where(inside[:, None], misses, 0.0), inside)
    return {
        "iteration": jnp.arange(config.train_steps),
        "loss": losses,
        "time": times,
        "observed": observed,
        "solution": report.states,
        "between_error": between,
        "forecast_error": rms(misses, ~inside),
        "field_error": rms(field.apply(params, truth) - _true_field(truth), inside) / rms(_true_field(truth), inside),
        "failed": failed(report, between, rms(observed - observed.mean(0))),
        "rate": field.apply(params, _drawn()[1]),
    }


def _over(dataset):
    """The dataset over clocks, irregularities and starts, other axes of the sweep at their first."""
    return over(dataset, VARIABLES, ("truth", "true_rate"), "clock", "irregularity", "seed")


LOOKS = {
    1.0: {"color": style.COLORS["blue"], "label": "times known", "marker": "o"},
    0.0: {"color": style.COLORS["vermilion"], "label": "order alone", "marker": "s"},
}


def figures(dataset):
    """Learned and true field, solutions beside the truth, errors by irregularity, and the training."""
    data = _over(dataset)
    timed = data.sel(clock=data.clock.max())
    drawn = {"field": _draw_fields(timed), "solutions": _draw_solutions(timed)}
    if data.sizes["irregularity"] > 1:
        drawn["irregularity"] = _draw_errors(data)
    return drawn | {"training": draw_training(timed.loss, "irregularity")}


def _draw_fields(data):
    """The true field, the learned one, and their distance, for the most uneven times and the median start."""
    shown = middle(data.isel(irregularity=-1), "between_error")
    figure, axes = style.subplots(1, 3, width="page", height=2.9, sharey=True, letters=False)
    grid, true, rate = data.grid.values, data.true_rate.values, shown.rate.values
    for ax, field, path, title in (
        (axes[0], true, data.truth, "true field"),
        (axes[1], rate, shown.solution, "learned field"),
    ):
        draw_field(ax, grid, grid, field)
        ax.plot(*path.values.T, color=LOOKS[1.0]["color"], linewidth=1.0, zorder=2)
        ax.set_title(title)
    axes[1].plot(*shown.observed.values.T, "o", color="#222222", markersize=2.4, zorder=3)
    off = np.linalg.norm(rate - true, axis=-1) / np.sqrt((true**2).sum(-1).mean())
    mesh = axes[2].pcolormesh(grid, grid, off, norm="log", vmin=1e-3, vmax=1.0, rasterized=True)
    axes[2].plot(*data.truth.values.T, color="white", linewidth=0.8)
    axes[2].grid(visible=False)
    axes[2].set_title("distance of the two")
    figure.colorbar(mesh, ax=axes[2], extend="both", shrink=0.65, label="over the true field's rms")
    for ax in axes:
        ax.set(xlabel="first component", aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes[0].set_ylabel("second component")
    figure.set_label(
        "The true field with its spiral, and the field learned from the states that are dots, with its solution, for "
        f"the start with the median error (irregularity {float(shown.irregularity):g}); where the spiral does not pass "
        "(white: its path), nothing is learned."
    )
    return figure


def _draw_solutions(data):
    """The first component over time: the truth, the starts' median and range, and what one start saw."""
    ends = data.isel(irregularity=sorted({0, data.sizes["irregularity"] - 1}))
    figure, axes = style.subplots(
        ends.sizes["irregularity"], 1, width="page", height=1.9 * ends.sizes["irregularity"] + 0.5, sharex=True,
        squeeze=False, letters=False,
    )  # fmt: skip
    for ax, irregularity in zip(axes.flat, ends.irregularity.values, strict=True):
        one = ends.sel(irregularity=irregularity).isel(component=0)
        good = one.solution.where(~one.failed.astype(bool))
        low, mid, high = good.min("seed"), good.median("seed"), good.max("seed")
        ax.fill_between(one.fine_time, low, high, color=LOOKS[1.0]["color"], alpha=0.25, linewidth=0)
        ax.plot(one.fine_time, mid, color=LOOKS[1.0]["color"], label="learned")
        for seed in np.flatnonzero(one.failed.values):
            ax.plot(one.fine_time, one.solution.isel(seed=seed), color=LOOKS[1.0]["color"], linewidth=0.5)
        ax.plot(one.fine_time, one.truth, "--", color="#222222", linewidth=0.9, label="true")
        seen = one.isel(seed=0)
        ax.plot(seen.time, seen.observed, "o", color="#222222", markersize=2.8, label="seen by one start")
        ax.axvspan(_END, _LATER, color="#F1F1F1", zorder=0, linewidth=0)
        words = f"irregularity {irregularity:g}; failed starts: {int(one.failed.sum())} of {one.sizes['seed']}"
        ax.set(ylabel="first component", title=words, xlim=(0, _LATER), ylim=(-1.8, 1.8))
    axes[-1, 0].set_xlabel("time")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.set_label(
        "Solutions of the learned fields, medians of the starts with the range of all, and the true spiral; shaded "
        "times were not fitted. Starts that failed are thin lines."
    )
    return figure


def _draw_errors(data):
    """Distances from the truth by irregularity, between the states and after them."""
    figure, axes = style.subplots(1, 2, width="page", height=2.7, sharey=True, letters=False)
    titles = (("between_error", "between the states"), ("forecast_error", "after them"))
    for ax, (name, title) in zip(axes, titles, strict=True):
        style.chart(
            data[name], "irregularity", hue="clock", band=(0.0, 1.0), looks=LOOKS, log="y", axes=ax, legend=None
        )
        ax.set(title=title, xlabel="irregularity of the times", ylabel="")
    axes[0].set_ylabel("distance from the true spiral")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.set_label(
        f"Distance of the fitted solution from the true spiral (rms per component), medians of {data.sizes['seed']} "
        "starts with the range of all: fits that know when each state was seen, and fits that know the order alone."
    )
    return figure


def tables(dataset):
    """Median errors over the starts, and the starts that failed."""
    data = _over(dataset)
    rows = []
    for clock in data.clock.values.tolist():
        fits = data.sel(clock=clock)
        columns = {
            "between the states": median(fits, "between_error"),
            "after them": median(fits, "forecast_error"),
            "of the field on it": median(fits, "field_error"),
            "failed": fits.failed.astype(int).sum("seed"),
        }
        known = LOOKS.get(clock, {"label": f"{clock:g} of the times"})["label"]
        rows += [{"known": known, **row} for row in lab.rows("irregularity", columns)]
    return {f"Distances from the truth, medians of {data.sizes['seed']} starts": rows}


def _at_uneven_times(dataset):
    data = _over(dataset)
    if not {0.0, 1.0} <= set(data.irregularity.values.tolist()) or data.sizes["seed"] < 3:
        raise NotJudged("it takes three starts or more at irregularity 0 and 1")
    if not {0.0, 1.0} <= set(data.clock.values.tolist()):
        raise NotJudged("it takes fits that know the times and fits that know their order alone")
    errors = median(data, "between_error")
    regular = errors.sel(clock=1.0, irregularity=0.0)
    uneven, control = (errors.sel(clock=clock, irregularity=1.0) for clock in (1.0, 0.0))
    # The control tells whether the comparison can fail: without their times as many states do not suffice.
    matches = less(uneven, 2 * regular) & less(uneven, 0.1) & less(2 * regular, control)
    words = f"{float(uneven):.4f} against {float(regular):.4f} at regular times, medians of {data.sizes['seed']} starts"
    return Finding(
        matches,
        measured=f"distance from the truth {words}; {float(control):.3f} by order alone",
        figure="irregularity",
    )


def _continues(dataset):
    data = _over(dataset)
    if data.sizes["seed"] < 3 or 1.0 not in data.clock.values or 0.0 not in data.irregularity.values:
        raise NotJudged("it takes three starts or more at equal times")
    fits = data.sel(clock=1.0, irregularity=0.0)
    inside, later = median(fits, "between_error"), median(fits, "forecast_error")
    return Finding(
        less(later, 2 * inside),
        measured=f"distance from the truth {float(later):.3f} after the states, {float(inside):.3f} between them",
        figure="solutions",
    )


claims = {"neural-ode-irregular-time-series": _at_uneven_times, "neural-ode-continues-what-it-fits": _continues}
