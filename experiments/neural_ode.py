"""What neural ODEs learn from data, what their three adjoints cost, and when the continuous one is wrong.

``fit`` learns vector fields from the lynx and hare pelts and from a spiral, ``memory`` sets the adjoints' memory and
gradients against the number of steps, ``adjoints`` their gradient error against stiffness.
"""

import functools
from typing import Literal

import numpy as np
import pydantic

from jaxcalc.lab import Claim, Config, Part, Swept, Variable

# --- fit: a vector field from a series -------------------------------------------------------------------------------


class FitConfig(Config):
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
    train_steps: int = pydantic.Field(default=2500, gt=0)
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


FIT_VARIABLES = {
    "iteration": Variable(("iteration",), "", "step of Adam"),
    "loss": Variable(("iteration",), "", "mean squared error over the part of the series in view"),
    "time": Variable(("sample",), "years", "time of an observation since the first"),
    "observed": Variable(("sample", "component"), "", "observed state (logarithm of thousands of pelts, or position)"),
    "fine_time": Variable(("fine",), "years", "time along the fitted trajectory"),
    "fitted": Variable(("fine", "component"), "", "fitted trajectory"),
    "error": Variable((), "", "root mean square distance of fit and observations, per component"),
    "truth_error": Variable((), "", "root mean square distance of fit and noiseless spiral, per component"),
    "grid_x": Variable(("column",), "", "first component, of the drawn field's columns"),
    "grid_y": Variable(("row",), "", "second component, of the drawn field's rows"),
    "field": Variable(("row", "column", "component"), "", "fitted rate of change"),
    "coarse_time": Variable(("block",), "years", "time after each block of the coarsest residual network"),
    "coarse": Variable(("block", "component"), "", "states of the coarsest residual network of fitted blocks"),
    "blocks": Variable(("refinement",), "", "blocks of a residual network over the first half of the series"),
    "euler_error": Variable(("refinement",), "", "distance of its last state from the flow's"),
    "euler_gap": Variable((), "", "largest difference between a residual network and diffrax's Euler solve"),
}
_HALVINGS = 9


def _fit_series(config, key):
    """``(times, states, truth)``: the series to fit, and the noiseless flow where it is known."""
    import jax
    import jax.numpy as jnp

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


def _fit_run(config, key):
    """Draw a field, fit it with a growing horizon, then look at it: trajectory, field, Euler's scheme."""
    import jax
    import jax.numpy as jnp

    from jaxcalc import models

    data_key, init_key = jax.random.split(key)
    times, observed, truth = _fit_series(config, data_key)
    center, scale = observed.mean(0), observed.std(0)
    if config.field == "mlp":
        field = models.mlp_field(2, config.hidden, center=center, scale=scale)
    else:
        field = models.lotka_volterra_field([0.5, 0.02, 0.8, 0.02])
    model = models.neural_ode(
        field, solver=config.solver, num_steps=config.steps_per_interval, adjoint=config.adjoint
    )
    (params, start), losses = _fit_train(config, model, (model.init(init_key), observed[0]), times, observed)

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
        **_fit_euler(field, params, start, times),
    }


def _fit_train(config, model, initial, times, observed):
    """Adam on parameters and first state; the error's horizon grows over the first half of training."""
    import jax
    import jax.numpy as jnp
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
        updates = jax.tree.map(lambda update: config.learning_rate * update, updates)
        return (optax.apply_updates(trained, updates), state), value

    carry, losses = jax.lax.scan(step, (initial, optimiser.init(initial)), jnp.arange(config.train_steps))
    return carry[0], losses


def _fit_euler(field, params, start, times):
    """Residual networks of the fitted field: beside diffrax's Euler method, and refined."""
    import jax
    import jax.numpy as jnp

    from jaxcalc import models

    intervals = times.shape[0] - 1
    whole, half = times[-1] - times[0], 0.5 * (times[-1] - times[0])
    coarse = models.residual_network(field.apply, 2 * intervals)(params, start, whole / (2 * intervals))
    knots = jnp.linspace(0.0, whole, 2 * intervals + 1)
    euler = models.neural_ode(field, solver="euler", num_steps=1).apply(params, start, knots)
    exact = models.neural_ode(field, solver="rk4", num_steps=100 * intervals)
    target = exact.apply(params, start, jnp.stack([jnp.zeros(()), half]))[-1]
    blocks = intervals * 2 ** jnp.arange(_HALVINGS)
    # One after another: lanes of different lengths would all wait for the longest.
    ends = jax.lax.map(lambda n: models.residual_end(field.apply)(params, start, half / n, n), blocks)
    return {
        "coarse_time": knots,
        "coarse": coarse,
        "blocks": blocks,
        "euler_error": jnp.linalg.norm(ends - target, axis=1),
        "euler_gap": jnp.abs(coarse - euler).max(),
    }


def _best(dataset, case):
    """The best seed of one case, as a dataset without sweep axes."""
    data = dataset.sel(case=case) if "case" in dataset.dims else dataset
    for name in [d for d in data.error.dims if d not in ("case", "seed")]:
        data = data.isel({name: 0})
    return data.isel(seed=int(data.error.fillna(np.inf).argmin("seed"))) if "seed" in data.error.dims else data


def _by_series(dataset):
    """``{"pelts": {label: best fit}, "spiral": {...}}``, for those that the dataset has."""
    import json

    alone = json.loads(dataset.attrs["params"])["field"]
    cases = {str(case): _best(dataset, case) for case in dataset.case.values} if "case" in dataset.dims else {}
    cases = cases or {alone: _best(dataset, None)}
    pelts = {name: one for name, one in cases.items() if np.isnan(one.truth_error)}
    spiral = {name: one for name, one in cases.items() if not np.isnan(one.truth_error)}
    return {name: found for name, found in (("pelts", pelts), ("spiral", spiral)) if found}


def _fit_figures(dataset):
    """Series with their fits and fields, and Euler's scheme beside the flow."""
    drawn = {}
    series = _by_series(dataset)
    if "pelts" in series:
        drawn["pelts"] = _draw_pelts(series["pelts"])
    if "spiral" in series:
        drawn["spiral"] = _draw_spiral(series["spiral"])
    drawn["residual_network"] = _draw_euler(next(iter(series.values())))
    drawn["training"] = _draw_training(dataset)
    return drawn


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


def _log_ticks(axis, low, high):
    """Ticks in thousands of pelts on an axis that holds logarithms."""
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200) if low <= np.log(t) <= high]
    axis.set_ticks(np.log(ticks), [str(t) for t in ticks])


def _draw_pelts(cases):
    """The pelts over the years with each fit, and the fitted fields with the data over them."""
    from jaxcalc import style

    shown = list(cases.items())[:2]
    figure, axes = style.subplots(2, 2, width="page", height=5.2, gridspec_kw={"height_ratios": [0.85, 1.15]})
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
        top.set_yticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
        top.minorticks_off()
        top.set_xlabel("year")
        top.set_xticks(range(1900, 1921, 5))
        top.set_ylabel("thousands of pelts")
        top.set_title(f"{name}: {100 * np.expm1(float(one.error)):.0f} % off")
        _draw_field(below, one)
        below.plot(one.fitted[:, 0], one.fitted[:, 1], color=style.COLORS["green"], zorder=2)
        below.plot(observed[:, 0], observed[:, 1], "o", color="#222222", markersize=3.4, zorder=3)
        for year in (1900, 1905, 1910, 1915, 1920):
            spot = np.flatnonzero(times == year - 1900)
            if len(spot):
                below.annotate(str(year), observed[spot[0]], xytext=(4, 3), textcoords="offset points", fontsize=7)
        _log_ticks(below.xaxis, float(one.grid_x[0]), float(one.grid_x[-1]))
        _log_ticks(below.yaxis, float(one.grid_y[0]), float(one.grid_y[-1]))
        below.set_xlabel("hare, thousands of pelts")
        below.set_ylabel("lynx, thousands of pelts")
    limits = [ax.get_ylim() for ax in axes[0, : len(shown)]]
    for ax in axes[0, : len(shown)]:
        ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits) * 1.5)
    axes[0, 0].legend(ncols=2, loc="upper right")
    return figure


def _draw_spiral(cases):
    """The spiral's fitted fields, seen at regular and at irregular times."""
    from jaxcalc import style

    shown = list(cases.items())[:2]
    figure, axes = style.subplots(1, len(shown), width="page" if len(shown) > 1 else "column", height=3.3, squeeze=False)
    for ax, (name, one) in zip(axes.flat, shown, strict=True):
        _, observed = _observed(one)
        _draw_field(ax, one)
        ax.plot(one.fitted[:, 0], one.fitted[:, 1], color=style.COLORS["green"], label="fit", zorder=2)
        ax.plot(observed[:, 0], observed[:, 1], "o", color="#222222", markersize=3.2, label="seen", zorder=3)
        ax.set_title(f"{name}: {float(one.truth_error):.3f} from the truth")
        ax.set_xlabel("first component")
        ax.set_ylabel("second component")
    axes.flat[0].legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")
    return figure


def _draw_euler(cases):
    """A residual network of fitted blocks: its path beside the flow, and its error as blocks are added."""
    from jaxcalc import style

    name, one = next(iter(cases.items()))
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.7)
    _draw_field(left, one)
    left.plot(one.fitted[:, 0], one.fitted[:, 1], color=style.COLORS["green"], label="flow of the fitted field")
    left.plot(
        one.coarse[:, 0],
        one.coarse[:, 1],
        color=style.COLORS["purple"],
        marker="D",
        markersize=2.6,
        linewidth=0.8,
        label=f"residual network, {int(np.isfinite(one.coarse[:, 0]).sum()) - 1} blocks",
    )
    left.set_xlabel("first component")
    left.set_ylabel("second component")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    blocks, error = one.blocks.values.astype(float), one.euler_error.values
    right.loglog(blocks, error, color=style.COLORS["purple"], marker="D")
    right.loglog(blocks, error[-1] * blocks[-1] / blocks, **style.THEORY, label="order 1")
    right.set_xlabel("blocks")
    right.set_ylabel("distance from the flow")
    right.legend()
    return figure


def _draw_training(dataset):
    """The training loss of every case and seed, smoothed by a running mean of 20 steps."""
    from jaxcalc import style

    figure, ax = style.subplots()
    cases = dataset.case.values if "case" in dataset.dims else [None]
    for case, color in zip(cases, ("blue", "vermilion", "green", "purple", "orange", "sky", "black"), strict=False):
        loss = (dataset.loss if case is None else dataset.sel(case=case).loss).rolling(iteration=20).mean()
        lines = loss.values.reshape(-1, loss.sizes["iteration"])
        for i, line in enumerate(lines):
            ax.plot(dataset.iteration, line, color=style.COLORS[color], linewidth=0.8, label=case if i == 0 else None)
    ax.set_yscale("log")
    ax.set_xlabel("step of Adam")
    ax.set_ylabel("mean squared error in view")
    if cases[0] is not None:
        ax.legend(loc="upper right", fontsize=6.5)
    return figure


def _fit_tables(dataset):
    """The best fit of each case."""
    rows = []
    for cases in _by_series(dataset).values():
        for name, one in cases.items():
            true = "" if np.isnan(one.truth_error) else f"{float(one.truth_error):.4f}"
            rows.append({"fit": name, "rms error": f"{float(one.error):.4f}", "from the noiseless truth": true})
    return {"Best of the starts": rows}


def _fit_claims(dataset):
    """A residual network is Euler's scheme; irregular times are no hindrance."""
    series = _by_series(dataset)
    worst, orders = 0.0, []
    for cases in series.values():
        for one in cases.values():
            worst = max(worst, float(one.euler_gap))
            error, blocks = one.euler_error.values[-2:], one.blocks.values[-2:]
            orders.append(-np.log(error[1] / error[0]) / np.log(blocks[1] / blocks[0]))
    order = max(orders, key=lambda value: abs(value - 1))
    found = [
        Claim(
            "resnet-is-euler-step",
            "A residual block is one Euler step of dh/dt = f(h).",
            bool(worst < 1e-12 and abs(order - 1) < 0.05),
            expected="difference 0 up to rounding, order 1",
            measured=f"largest difference {worst:.1e}, order {order:.3f}",
            figure="residual_network",
            note="The blocks share their weights, and their scale is the step in time.",
        )
    ]
    spirals = list(series.get("spiral", {}).items())
    regular = [float(one.truth_error) for name, one in spirals if _evenness(one) < 1e-6]
    irregular = [float(one.truth_error) for name, one in spirals if _evenness(one) >= 1e-6]
    if regular and irregular:
        found.append(
            Claim(
                "neural-ode-irregular-time-series",
                "Neural ODEs enable continuous depth and irregularly sampled series.",
                irregular[0] < 3 * regular[0] and irregular[0] < 0.1,
                expected="below 0.1, a fifteenth of the spiral, and within a factor of 3 of regular times",
                measured=f"distance from the truth {irregular[0]:.4f} against {regular[0]:.4f} at regular times",
                figure="spiral",
            )
        )
    return found


def _evenness(one):
    """How far the gaps between observations are from equal."""
    return float(np.ptp(np.diff(_observed(one)[0])))


fit = Part(
    FitConfig,
    FIT_VARIABLES,
    "compiled",
    _fit_run,
    figures=_fit_figures,
    claims=_fit_claims,
    tables=_fit_tables,
    doc="What vector field do the lynx and hare pelts, or a noisy spiral, speak of?",
)


# --- memory: what an adjoint keeps ------------------------------------------------------------------------------------

Keeping = Literal["checkpointed", "all checkpoints", "two checkpoints", "backsolve", "direct"]


class MemoryConfig(Config):
    """The gradient of a flow's end in a perceptron's weights, by one adjoint and a number of equal steps."""

    adjoint: Keeping = "checkpointed"
    """all and two checkpoints are the checkpointed adjoint with that many states kept; two make it recompute a lot"""
    num_steps: int = pydantic.Field(default=32, gt=0)
    """equal steps over the unit of time"""
    solver: Literal["euler", "heun", "bosh3", "rk4", "tsit5", "dopri5", "dopri8"] = "rk4"
    """the Runge-Kutta method"""
    dimension: int = pydantic.Field(default=4, gt=0)
    """size of a state"""
    hidden: int = pydantic.Field(default=32, gt=0)
    """width of the perceptron's hidden layer"""
    batch: int = pydantic.Field(default=256, gt=0)
    """states carried along"""


MEMORY_VARIABLES = {
    "temporaries": Variable((), "bytes", "temporary memory of the compiled gradient"),
    "outputs": Variable((), "bytes", "memory of its outputs"),
    "gradient": Variable(("parameter",), "", "gradient in the field's weights"),
}


def _memory_run(config, key):
    """Compile the gradient, read XLA's account of its memory, and take it once."""
    import jax
    import jax.numpy as jnp

    from jaxcalc import models
    from jaxcalc.programs import compiled

    checkpoints = {"all checkpoints": config.num_steps, "two checkpoints": 2}.get(config.adjoint)
    field = models.mlp_field(config.dimension, config.hidden, num_hidden=1)
    model = models.neural_ode(
        field,
        solver=config.solver,
        num_steps=config.num_steps,
        adjoint="checkpointed" if config.adjoint.endswith("checkpoints") else config.adjoint,
        checkpoints=checkpoints,
    )
    init_key, state_key = jax.random.split(key)
    params, states = field.init(init_key), jax.random.normal(state_key, (config.batch, config.dimension), float)
    gradient = jax.grad(lambda params, states: jnp.mean(model.apply(params, states, jnp.array([0.0, 1.0]))[-1] ** 2))
    program = compiled.executable(gradient, params, states)
    leaves = jax.tree.leaves(program(params, states))
    return {
        "temporaries": np.asarray(program.temporaries),
        "outputs": np.asarray(program.outputs),
        "gradient": np.concatenate([np.ravel(leaf) for leaf in leaves]),
    }


def _gaps(dataset):
    """The relative distance of each adjoint's gradient from the direct one's, or None where that was not taken."""
    if "adjoint" not in dataset.dims or "direct" not in dataset.adjoint:
        return None
    direct = dataset.gradient.sel(adjoint="direct")
    return ((dataset.gradient - direct) ** 2).sum("parameter") ** 0.5 / (direct**2).sum("parameter") ** 0.5


_LOOKS = {
    "all checkpoints": ("checkpointed", {"linestyle": "-.", "marker": "D"}),
    "two checkpoints": ("checkpointed", {"linestyle": ":", "marker": "v"}),
}


def _look(adjoint):
    """The line of an adjoint."""
    from jaxcalc import style

    name, changes = _LOOKS.get(str(adjoint), (str(adjoint), {}))
    return style.method(name, **changes, label=str(adjoint))


def _memory_figures(dataset):
    """Memory against steps, and the distance between backsolve's gradient and the discrete one."""
    from jaxcalc import style

    if "num_steps" not in dataset.dims or "adjoint" not in dataset.dims:
        return {}
    data = dataset.isel({d: 0 for d in dataset.temporaries.dims if d not in ("adjoint", "num_steps")})
    gaps = _gaps(data)
    figure, axes = style.subplots(1, 2, width="page", height=2.9)
    steps = data.num_steps.values
    for adjoint in data.adjoint.values:
        one = data.sel(adjoint=adjoint)
        axes[0].loglog(steps, (one.temporaries + one.outputs) / 1e6, **_look(adjoint))
    axes[0].set_xlabel("Runge-Kutta steps")
    axes[0].set_ylabel("temporaries + outputs, MB")
    axes[0].legend()
    if gaps is None or "backsolve" not in data.adjoint:
        axes[1].set_axis_off()
        return {"memory": figure}
    for adjoint in data.adjoint.values:
        line = gaps.sel(adjoint=adjoint)
        if adjoint != "direct":
            axes[1].loglog(steps, np.maximum(line, 1e-17), **_look(adjoint))
    gap = gaps.sel(adjoint="backsolve").values
    order = _order(_params(data)["solver"])
    shown = steps[gap > 1e-13]
    if len(shown):
        axes[1].loglog(shown, gap[0] * (steps[0] / shown) ** order, **style.THEORY, label=f"order {order}")
    axes[1].axhline(np.finfo(float).eps, color="#999999", linewidth=0.7)
    axes[1].annotate("rounding", (steps[-1], np.finfo(float).eps), xytext=(0, -9), textcoords="offset points", ha="right")
    axes[1].set_xlabel("Runge-Kutta steps")
    axes[1].set_ylabel("gap to the direct gradient")
    axes[1].legend()
    return {"memory": figure}


def _params(dataset):
    """The base parameters that a dataset was run with."""
    import json

    return json.loads(dataset.attrs["params"])


def _order(solver):
    """The order of a Runge-Kutta method."""
    from jaxcalc.transforms.flow import SOLVER_ORDERS

    return SOLVER_ORDERS[solver]


def _memory_tables(dataset):
    """Megabytes by adjoint and steps."""
    if "num_steps" not in dataset.dims or "adjoint" not in dataset.dims:
        return {}
    total = (dataset.temporaries + dataset.outputs) / 1e6
    rows = [
        {"adjoint": str(a)} | {f"{n} steps": f"{float(total.sel(adjoint=a, num_steps=n)):.2f}" for n in dataset.num_steps.values}
        for a in dataset.adjoint.values
    ]
    return {"Memory of the gradient, MB": rows}


def _memory_claims(dataset):
    """Memory's growth with steps by adjoint, and how fast the continuous gradient nears the discrete one."""
    if "num_steps" not in dataset.dims or dataset.sizes["num_steps"] < 3 or _gaps(dataset) is None:
        return []
    if "backsolve" not in dataset.adjoint:
        return []
    steps = dataset.num_steps.values
    total = dataset.temporaries + dataset.outputs

    def growth(adjoint):
        # The slope between the two longest: at few steps what does not grow still counts.
        sizes = np.log(total.sel(adjoint=adjoint).values[-2:])
        return float((sizes[1] - sizes[0]) / np.log(steps[-1] / steps[-2]))

    kept = "all checkpoints" if "all checkpoints" in dataset.adjoint else "direct"
    back, through = growth("backsolve"), growth(kept)
    sizes = total.sel(adjoint="backsolve").values
    gap = _gaps(dataset).sel(adjoint="backsolve").values
    clear = gap > 1e-12  # below it rounding is what is seen
    order = -float(np.polyfit(np.log(steps[clear]), np.log(gap[clear]), 1)[0]) if clear.sum() > 1 else np.nan
    expected = _order(_params(dataset)["solver"])
    return [
        Claim(
            "adjoint-constant-memory",
            "The adjoint method needs memory that does not grow with depth.",
            bool(np.ptp(sizes) <= 0.01 * sizes.min() and abs(through - 1) < 0.05),
            expected="exponent 0 for the adjoint, 1 through the solver",
            measured=f"backsolve {back:.3f} ({sizes.min():.0f} to {sizes.max():.0f} bytes), {kept} {through:.2f}",
            figure="memory",
        ),
        Claim(
            "adjoint-gradient-by-reverse-ode",
            "The backward pass solves a second ODE in reverse to obtain gradients.",
            bool(abs(order - expected) < 0.3),
            limits=bool(gap[0] > 1e-9),
            expected=f"gap to the discrete gradient of order {expected}",
            measured=f"order {order:.2f}",
            expects="qualified",
            figure="memory",
            note=f"It is the exact flow's gradient, not the solver's: {gap[0]:.1e} apart at {steps[0]} steps.",
        ),
    ]


memory = Part(
    MemoryConfig,
    MEMORY_VARIABLES,
    "host",
    _memory_run,
    figures=_memory_figures,
    claims=_memory_claims,
    tables=_memory_tables,
    doc="What does each adjoint of an ODE solve keep in memory as steps are added?",
)


# --- adjoints: when the continuous gradient is wrong ------------------------------------------------------------------


class AdjointsConfig(Config):
    """The gradient of a loss on a trajectory in the field's parameters, by one adjoint at one tolerance."""

    problem: Literal["van-der-pol", "lotka-volterra", "cubic-relaxation"] = "van-der-pol"
    """the field: an oscillator, stiff for large rates; prey and predators; contraction to a target"""
    rate: float = pydantic.Field(default=1.0, gt=0)
    """Van der Pol's mu, or the rate of the contraction"""
    adjoint: Literal["checkpointed", "backsolve", "direct"] = "backsolve"
    """how the solve is differentiated"""
    tolerance: float = pydantic.Field(default=1e-6, gt=0, le=1e-2)
    """relative and absolute tolerance of the steps"""
    solver: Literal["tsit5", "dopri5", "bosh3"] = "tsit5"
    """the Runge-Kutta method"""


ADJOINTS_VARIABLES = {
    "gradient": Variable(("parameter",), "", "gradient of the loss in the field's parameters"),
    "reference": Variable(("parameter",), "", "the same in closed form, or at tolerance 1e-12 through the steps"),
    "gradient_error": Variable((), "", "relative error of the gradient"),
    "reconstruction_error": Variable((), "", "relative distance of the start and the end solved back to it"),
    "stiffness": Variable((), "", "rate of the field, where it has one"),
}


def _problem(name, rate):
    """``(field, y0, times, parameters, loss, exact loss or None)``."""
    import jax.numpy as jnp

    from jaxcalc.functions import fields

    end = lambda states: states[-1].sum()
    match name:
        case "van-der-pol":
            return fields.van_der_pol, jnp.array([2.0, 0.0]), jnp.array([0.0, 5.0]), jnp.array(rate), end, None
        case "lotka-volterra":
            rates, start = jnp.array([1.5, 1.0, 3.0, 1.0]), jnp.array([1.0, 1.0])
            return fields.lotka_volterra, start, jnp.linspace(0.0, 10.0, 101), rates, jnp.sum, None
        case _:
            exact = lambda parameters: fields.cubic_relaxation_solution(1.0, 2.0, parameters)
            return fields.cubic_relaxation, jnp.array([2.0]), jnp.array([0.0, 1.0]), jnp.array([rate, 1.0]), end, exact


@functools.cache
def _compiled_gradient(problem, solver, adjoint, tolerance):
    """One compiled gradient for all rates of a problem."""
    import jax

    from jaxcalc.transforms.flow import flow

    field, start, times, _, loss, _ = _problem(problem, 1.0)
    solve = flow(field, solver=solver, adjoint=adjoint, rtol=tolerance, atol=tolerance, max_steps=16384)
    return jax.jit(jax.grad(lambda parameters: loss(solve(start, times, parameters))))


@functools.cache
def _compiled_return(problem, solver, tolerance):
    """The trajectory's end, solved back to its start."""
    import jax

    from jaxcalc.transforms.flow import flow

    field, start, times, _, _, _ = _problem(problem, 1.0)
    solve = flow(field, solver=solver, rtol=tolerance, atol=tolerance, max_steps=16384)
    ends = times[jax.numpy.array([0, -1])]

    def there_and_back(parameters):
        return solve(solve(start, ends, parameters)[-1], ends[::-1], parameters)[-1]

    return jax.jit(there_and_back)


def _adjoints_run(config, key):
    """The gradient, its reference, and whether the trajectory can be solved back."""
    import jax

    _, start, _, parameters, _, exact = _problem(config.problem, config.rate)
    try:
        gradient = np.asarray(_compiled_gradient(config.problem, config.solver, config.adjoint, config.tolerance)(parameters))
    except RuntimeError:  # the backward solve did not arrive
        gradient = np.full(parameters.shape, np.nan)
    if exact is None:
        reference = np.asarray(_compiled_gradient(config.problem, "dopri8", "checkpointed", 1e-12)(parameters))
    else:
        reference = np.asarray(jax.grad(exact)(parameters))
    back = np.asarray(_compiled_return(config.problem, config.solver, config.tolerance)(parameters))
    return {
        "gradient": gradient.reshape(-1),
        "reference": reference.reshape(-1),
        "gradient_error": np.linalg.norm(gradient - reference) / np.linalg.norm(reference),
        "reconstruction_error": np.linalg.norm(back - start) / np.linalg.norm(start),
        "stiffness": np.asarray(np.nan if config.problem == "lotka-volterra" else config.rate),
    }


def _families(dataset):
    """``{"Van der Pol": dataset over rates, ...}`` of the problems that have a rate, rates ascending."""
    data = dataset
    for name in [d for d in data.gradient_error.dims if d not in ("case", "adjoint", "rate")]:
        data = data.isel({name: 0})
    if "case" not in data.dims:
        return {_params(data)["problem"]: data} if "rate" in data.dims else {}
    found = {}
    for family in dict.fromkeys(str(case).split(",")[0] for case in data.case.values):
        mine = data.sel(case=[c for c in data.case.values if str(c).split(",")[0] == family])
        rates = mine.stiffness.values.reshape(mine.sizes["case"], -1)[:, 0]
        if np.isfinite(rates).all() and len(rates) > 1:
            found[family] = mine.assign_coords(case=rates).rename(case="rate").sortby("rate")
    return found


def _adjoints_figures(dataset):
    """Gradient error against the field's rate by adjoint, and whether the trajectory can be solved back."""
    from jaxcalc import style

    families = _families(dataset)
    if not families or "adjoint" not in dataset.dims:
        return {}
    drawn = {}
    figure, axes = style.subplots(1, len(families) + 1, width="page", height=2.7, squeeze=False)
    for ax, (family, data) in zip(axes.flat, families.items(), strict=False):
        for adjoint in data.adjoint.values:
            error = data.gradient_error.sel(adjoint=adjoint)
            # Direct and checkpointed agree to rounding: the one on top is drawn open, so that both are seen.
            extra = {"markerfacecolor": "none", "markeredgewidth": 1.0, "markersize": 7} if adjoint == "direct" else {}
            ax.plot(data.rate, error, **{**style.method(str(adjoint)), **extra})
        _logarithmic(ax, data.gradient_error.values)
        ax.axhline(1.0, color="#999999", linewidth=0.7)
        ax.set_xscale("log")
        ax.set_xticks(data.rate.values, [f"{r:g}" for r in data.rate.values])
        ax.minorticks_off()
        ax.set_title(family)
        ax.set_xlabel("rate")
    axes.flat[0].set_ylabel("relative error of the gradient")
    axes.flat[0].legend(loc="upper left")
    _draw_return(axes.flat[-1], families)
    drawn["gradient_error"] = figure
    return drawn


def _logarithmic(ax, values):
    """A logarithmic axis with room for failures at its top."""
    good = values[np.isfinite(values) & (values > 0)]
    ax.set_yscale("log")
    ax.set_ylim(10.0 ** (np.floor(np.log10(good.min())) - 1), 10.0 ** (np.ceil(np.log10(good.max())) + 2))


def _draw_return(ax, families):
    """How far from its start a trajectory ends that is solved forwards and back."""
    from jaxcalc import style

    lines = {family: data.reconstruction_error.isel(adjoint=0) for family, data in families.items()}
    _logarithmic(ax, np.concatenate([line.values for line in lines.values()]))
    top = ax.get_ylim()[1] / 3
    rates = sorted({float(rate) for line in lines.values() for rate in line.rate.values})
    for (family, line), (color, marker) in zip(lines.items(), (("orange", "o"), ("purple", "D"), ("sky", "s")), strict=False):
        look = {"color": style.COLORS[color], "marker": marker}
        ax.plot(line.rate, line, **look, label=family)
        lost = line.rate.values[~np.isfinite(line.values)]
        ax.plot(lost, np.full(lost.shape, top), **look, linestyle="", markerfacecolor="none", markeredgewidth=1.0)
    if any(not np.isfinite(line.values).all() for line in lines.values()):
        ax.annotate("open: never arrives", (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=7)
    ax.set_xscale("log")
    ax.set_xticks(rates, [f"{r:g}" for r in rates])
    ax.minorticks_off()
    ax.set_title("Solved forwards and back")
    ax.set_xlabel("rate")
    ax.set_ylabel("relative distance from the start")
    ax.legend(loc="lower right")


def _adjoints_tables(dataset):
    """Relative gradient error by problem and adjoint."""
    if "case" not in dataset.dims or "adjoint" not in dataset.dims:
        return {}
    rows = []
    for case in dataset.case.values[:12]:
        one = dataset.sel(case=case)
        errors = {str(a): f"{float(one.gradient_error.sel(adjoint=a)):.1e}" for a in one.adjoint.values}
        rows.append({"problem": str(case), **errors, "there and back": f"{float(one.reconstruction_error[0]):.1e}"})
    return {"Relative error of the gradient": rows}


def _adjoints_claims(dataset):
    """The backward solve recovers mild trajectories and loses stiff ones, and its gradient with them."""
    families = _families(dataset)
    if "adjoint" not in dataset.dims or not {"checkpointed", "backsolve"} <= set(dataset.adjoint.values.tolist()):
        return []
    found = []
    smooth = families.get("cubic relaxation")
    if smooth is not None:
        error = smooth.reconstruction_error.sel(adjoint="backsolve").values
        gradient = smooth.gradient_error.sel(adjoint="backsolve").values
        words = ", ".join(
            f"{rate:g}: {there:.0e} (gradient {wrong:.0e})" for rate, there, wrong in zip(smooth.rate.values, error, gradient, strict=True)
        )
        found.append(
            Claim(
                "adjoint-reverse-solve-recovers-the-trajectory",
                "Constant memory relies on re-solving the state backwards without storing it.",
                bool(error[0] < 1e-9),
                limits=bool(not error[-1] < 1e-2),
                expected="start recovered within 1e-9",
                measured=f"{error[0]:.0e} at rate {smooth.rate.values[0]:g}",
                expects="qualified",
                figure="gradient_error",
                note=f"By rate: {words}. Contraction forwards is expansion backwards.",
            )
        )
    oscillator = families.get("Van der Pol")
    if oscillator is not None:
        through, back = (oscillator.gradient_error.sel(adjoint=a).values for a in ("checkpointed", "backsolve"))
        found.append(
            Claim(
                "backsolve-gradient-fails-when-stiff",
                "On a stiff oscillator the continuous adjoint's gradient is wrong where the steps' own is right.",
                bool(through.max() < 1e-4 and not back[-1] < 1.0 and back[0] < 1e-2),
                expected="error above 1 for backsolve at the largest rate, below 1e-4 through the steps at every rate",
                measured=f"backsolve {', '.join(f'{e:.2g}' for e in back)}; checkpointed at most {through.max():.1e}",
                figure="gradient_error",
            )
        )
    return found


adjoints = Part(
    AdjointsConfig,
    ADJOINTS_VARIABLES,
    "host",
    _adjoints_run,
    figures=_adjoints_figures,
    claims=_adjoints_claims,
    tables=_adjoints_tables,
    doc="When is the gradient of the continuous adjoint wrong?",
)
