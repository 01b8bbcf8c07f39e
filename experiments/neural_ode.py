"""What vector field do the lynx and hare pelts speak of, and what a noisy spiral?

Neural ODEs learn both, beside the predator-prey equations with learned rates.
"""

from typing import Any, Literal

import numpy as np
import pydantic

from jaxcalc import style
from jaxcalc.lab import Config as LabConfig
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, jax, jnp, less, params

kind = "compiled"
dtype = "float32"


class Config(LabConfig):
    """A field, a series, and how the one is fitted to the other."""

    series: Literal["lynx-hare", "spiral"] = "lynx-hare"
    """pelts of 1900 to 1920 (as logarithms), or a spiral seen with noise"""
    field: Literal["mlp", "lotka-volterra"] = "mlp"
    """a perceptron, or the predator-prey equations with four unknown rates (lynx and hare only)"""
    sampling: Literal["regular", "irregular"] = "regular"
    """when the spiral is seen"""
    samples: int = pydantic.Field(default=41, ge=5)
    """how often the spiral is seen"""
    noise: float = pydantic.Field(default=0.03, ge=0)
    """standard deviation of the noise on the spiral"""
    hidden: int = pydantic.Field(default=24, gt=0)
    """width of the perceptron's two hidden layers"""
    train_steps: int = pydantic.Field(default=1800, gt=0)
    """steps of Adam"""
    learning_rate: Swept[float] = pydantic.Field(default=0.01, gt=0)
    """Adam's rate, which falls to 0 along a cosine"""
    solver: Literal["heun", "bosh3", "rk4", "tsit5"] = "bosh3"
    """the Runge-Kutta method"""
    steps_per_interval: int = pydantic.Field(default=3, gt=0)
    """steps between two observations"""
    adjoint: Literal["checkpointed", "backsolve", "direct"] = "checkpointed"
    """how the solve is differentiated"""

    @pydantic.model_validator(mode="after")
    def _field_suits(self):
        if self.field == "lotka-volterra" and self.series != "lynx-hare":
            raise ValueError("field lotka-volterra is for the series lynx-hare")
        return self


VARIABLES = {
    "iteration": Variable(("iteration",), "", "step of Adam"),
    "loss": Variable(("iteration",), "", "mean squared error over the part of the series in view"),
    "time": Variable(("sample",), "", "time of an observation since the first (years for the pelts)"),
    "observed": Variable(("sample", "component"), "", "observed state (logarithm of thousands of pelts, or position)"),
    "fine_time": Variable(("fine",), "", "time along the fitted trajectory (years for the pelts)"),
    "fitted": Variable(("fine", "component"), "", "fitted trajectory"),
    "error": Variable((), "", "root mean square distance of fit and observations, per component"),
    "truth_error": Variable((), "", "root mean square distance of fit and noiseless spiral, per component"),
    "grid_x": Variable(("column",), "", "first component, of the drawn field's columns"),
    "grid_y": Variable(("row",), "", "second component, of the drawn field's rows"),
    "field": Variable(("row", "column", "component"), "", "fitted rate of change"),
}


def _series(config, key):
    """``(times, states, truth)``: the series to fit, and the noiseless flow where it is known."""
    from jaxcalc.functions import datasets, fields
    from jaxcalc.transforms.flow import flow

    if config.series == "lynx-hare":
        year, hare, lynx = datasets.lynx_hare()
        return jnp.asarray(year - year[0], float), jnp.log(jnp.stack([hare, lynx], axis=1).astype(float)), None
    # When the spiral is seen is the same for every seed, the noise is not.
    inner = np.sort(np.random.default_rng(0).uniform(0.0, 10.0, config.samples - 2))
    irregular = np.concatenate([[0.0], inner, [10.0]])
    times = jnp.asarray(irregular if config.sampling == "irregular" else np.linspace(0.0, 10.0, config.samples), float)
    matrix = jnp.array([[-0.1, 1.0], [-1.0, -0.1]])
    spiral = flow(fields.cubic_spiral, solver="rk4", num_steps=100)

    def truth(at):
        return spiral(jnp.array([1.5, 0.0]), at, matrix)

    return times, truth(times) + config.noise * jax.random.normal(key, (config.samples, 2)), truth


def run(config, key):
    """Draw a field, fit it with a growing horizon, then look at it: trajectory and field."""
    from jaxcalc import models

    data_key, init_key = jax.random.split(key)
    times, observed, truth = _series(config, data_key)
    center, scale = observed.mean(0), observed.std(0)
    if config.field == "mlp":
        field = models.mlp_field(2, config.hidden, center=center, scale=scale)
    else:
        field = models.lotka_volterra_field([0.5, 0.02, 0.8, 0.02])
    model = models.neural_ode(field, solver=config.solver, num_steps=config.steps_per_interval, adjoint=config.adjoint)
    params, start, losses = _train(config, model, (model.init(init_key), observed[0]), times, observed)

    def rms(difference):
        return jnp.sqrt(jnp.mean(difference**2))

    low, high = observed.min(0), observed.max(0)
    margin = 0.3 * (high - low)
    x, y = (jnp.linspace(low[i] - margin[i], high[i] + margin[i], 24) for i in (0, 1))
    fine = jnp.linspace(times[0], times[-1], 241)
    fitted = model.apply(params, start, fine)
    return {
        "iteration": jnp.arange(config.train_steps),
        "loss": losses,
        "time": times,
        "observed": observed,
        "fine_time": fine,
        "fitted": fitted,
        "error": rms(model.apply(params, start, times) - observed),
        "truth_error": jnp.asarray(jnp.nan) if truth is None else rms(fitted - truth(fine)),
        "grid_x": x,
        "grid_y": y,
        "field": field.apply(params, jnp.stack(jnp.meshgrid(x, y), axis=-1)),
    }


def _train(config, model, initial, times, observed):
    """Adam on parameters and first state; the error's horizon grows over the first half of training."""
    import optax

    span = times[-1] - times[0]
    rate = optax.cosine_decay_schedule(1.0, config.train_steps)
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale_by_schedule(rate), optax.scale(-1.0)
    )

    def loss(trained, iteration):
        # A field that sees the whole series at once settles for its mean; a short view grows without losing the cycle.
        horizon = span * (0.15 + 2.2 * iteration / config.train_steps)
        weights = jax.nn.sigmoid(20 * (horizon - times) / span)
        squares = jnp.mean((model.apply(*trained, times) - observed) ** 2, axis=1)
        return jnp.sum(weights * squares) / jnp.sum(weights)

    def step(carry, iteration):
        trained, state = carry
        value, gradient = jax.value_and_grad(loss)(trained, iteration)
        updates, state = optimiser.update(gradient, state)
        trained = jax.tree.map(lambda value, update: value + config.learning_rate * update, trained, updates)
        return (trained, state), value

    carry, losses = jax.lax.scan(step, (initial, optimiser.init(initial)), jnp.arange(config.train_steps))
    (params, start), _ = carry
    return params, start, losses


def _best(dataset, case):
    """The best seed of one case, as a dataset without sweep axes."""
    data = dataset.sel(case=case) if "case" in dataset.dims else dataset
    for name in [d for d in data.error.dims if d not in ("case", "seed")]:
        data = data.isel({name: 0})
    return data.isel(seed=int(data.error.fillna(np.inf).argmin("seed"))) if "seed" in data.error.dims else data


def _by_series(dataset):
    """``{"pelts": {label: best fit}, "spiral": {...}}``, for those that the dataset has."""
    alone = params(dataset)["field"]
    cases = {str(case): _best(dataset, case) for case in dataset.case.values} if "case" in dataset.dims else {}
    cases = cases or {alone: _best(dataset, None)}
    pelts = {name: one for name, one in cases.items() if np.isnan(one.truth_error)}
    spiral = {name: one for name, one in cases.items() if not np.isnan(one.truth_error)}
    return {name: found for name, found in (("pelts", pelts), ("spiral", spiral)) if found}


def figures(dataset):
    drawn = {}
    series = _by_series(dataset)
    if "pelts" in series:
        drawn["pelts"] = _draw_pelts(series["pelts"])
    if "spiral" in series:
        drawn["spiral"] = _draw_spiral(series["spiral"])
    return drawn | {"training": _draw_training(dataset)}


def _observed(one):
    """The observation times and states of one fit, without the padding of shorter series."""
    here = np.isfinite(one.observed.values[:, 0])
    return one.time.values[here], one.observed.values[here]


def _draw_field(ax, one):
    """Stream lines of the fitted field."""
    x, y, rate = one.grid_x.values, one.grid_y.values, one.field.values
    ax.streamplot(
        x, y, rate[..., 0], rate[..., 1], color="#B8B8B8", linewidth=0.6, arrowsize=0.6, density=0.9, zorder=1
    )
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.grid(visible=False)


def _log_ticks(ax, one):
    """Ticks in thousands of pelts on axes that hold logarithms."""
    for axis, grid in ((ax.xaxis, one.grid_x.values), (ax.yaxis, one.grid_y.values)):
        ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200) if grid[0] <= np.log(t) <= grid[-1]]
        axis.set_ticks(np.log(ticks), [str(t) for t in ticks])


def _draw_pelts(cases):
    """The pelts over the years with each fit, and the fitted fields with the data over them."""
    shown = list(cases.items())[:2]
    heights = {"height_ratios": [0.85, 1.15]}
    figure, axes = style.subplots(2, 2, width="page", height=5.2, gridspec_kw=heights, letters=False)
    for ax in axes.flat[len(shown) :][: 2 - len(shown)]:
        ax.set_axis_off()
    species = (("hare", style.COLORS["blue"], "o"), ("lynx", style.COLORS["vermilion"], "s"))
    for column, (name, one) in enumerate(shown):
        top, below = axes[0, column], axes[1, column]
        times, observed = _observed(one)
        for index, (animal, color, marker) in enumerate(species):
            top.plot(1900 + times, np.exp(observed[:, index]), marker, color=color, markersize=3.6)
            top.plot(1900 + one.fine_time, np.exp(one.fitted[:, index]), color=color, label=animal)
        top.set_yscale("log")
        style.ticks(top.yaxis, [5, 10, 20, 50, 100])
        top.set(xlabel="year", xticks=range(1900, 1921, 5), ylabel="thousands of pelts")
        top.set_title(f"{name}: {100 * np.expm1(float(one.error)):.0f} % off")
        _draw_field(below, one)
        below.plot(one.fitted[:, 0], one.fitted[:, 1], color=style.COLORS["green"], zorder=2)
        below.plot(observed[:, 0], observed[:, 1], "o", color="#222222", markersize=3.4, zorder=3)
        for year in (1900, 1905, 1910, 1915, 1920):
            spot = np.flatnonzero(times == year - 1900)
            if len(spot):
                below.annotate(str(year), observed[spot[0]], xytext=(4, 3), textcoords="offset points", fontsize=7)
        _log_ticks(below, one)
        below.set(xlabel="hare, thousands of pelts", ylabel="lynx, thousands of pelts")
    limits = [ax.get_ylim() for ax in axes[0, : len(shown)]]
    for ax in axes[0, : len(shown)]:
        ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits) * 1.5)
    axes[0, 0].legend(ncols=2, loc="upper right")
    figure.set_label("Above: pelts (points) and the fitted trajectories. Below: the fitted fields over the data.")
    return figure


def _draw_spiral(cases):
    """The spiral's fitted fields, seen at regular and at irregular times."""
    shown = list(cases.items())[:2]
    figure, axes = style.subplots(
        1, len(shown), width="page" if len(shown) > 1 else "column", height=3.3, squeeze=False, letters=False
    )
    for ax, (name, one) in zip(axes.flat, shown, strict=True):
        _, observed = _observed(one)
        _draw_field(ax, one)
        ax.plot(one.fitted[:, 0], one.fitted[:, 1], color=style.COLORS["green"], label="fit", zorder=2)
        ax.plot(observed[:, 0], observed[:, 1], "o", color="#222222", markersize=3.2, label="seen", zorder=3)
        ax.set_title(f"{name}: {float(one.truth_error):.3f} from the truth")
        ax.set(xlabel="first component", ylabel="second component")
    axes.flat[0].legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")
    figure.set_label("The field learned from a spiral seen with noise, at regular and at irregular times.")
    return figure


def _draw_training(dataset):
    """The training loss over the starts, smoothed by a running mean of 20 steps."""
    loss = dataset.loss.rolling(iteration=20).mean()
    hue = "case" if "case" in loss.dims else None
    choices: dict[str, Any] = {"log": "y", "legend": "upper right", "linewidth": 0.9, "marker": ""}
    figure, panels = style.chart(loss, "iteration", hue=hue, band=(0.0, 1.0), **choices)
    panels[0, 0].set(xlabel="step of Adam", ylabel="mean squared error in view")
    figure.set_label("Training loss: medians over the starts, and the range of all.")
    return figure


def tables(dataset):
    """The best fit of each case."""
    rows = []
    for cases in _by_series(dataset).values():
        for name, one in cases.items():
            true = "" if np.isnan(one.truth_error) else f"{float(one.truth_error):.4f}"
            rows.append({"fit": name, "rms error": f"{float(one.error):.4f}", "from the noiseless truth": true})
    return {"Best of the starts": rows}


def _irregular_times(dataset):
    # How far the gaps between observations are from equal.
    unevenness = lambda one: float(np.ptp(np.diff(_observed(one)[0])))
    spirals = list(_by_series(dataset).get("spiral", {}).values())
    regular = [float(one.truth_error) for one in spirals if unevenness(one) < 1e-6]
    irregular = [float(one.truth_error) for one in spirals if unevenness(one) >= 1e-6]
    if not regular or not irregular:
        raise NotJudged("it takes a spiral seen at regular and at irregular times")
    return Finding(
        less(irregular[0], 2 * regular[0])
        & less(irregular[0], 0.1)
        & above([one.error for one in spirals], 0.0),  # by it the best start was picked
        measured=f"distance from the truth {irregular[0]:.4f} against {regular[0]:.4f} at regular times",
        figure="spiral",
    )


claims = {"neural-ode-irregular-time-series": _irregular_times}
