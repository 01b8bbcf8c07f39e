"""Which way does each method take, how many evaluations does it need, and how much does its rate matter?"""

from typing import Any, Literal

import numpy as np
import pydantic

from experiments.optimizers import Method, solver_named
from jaxcalc import lab, style
from jaxcalc.lab import Swept, Variable, jax, jnp

kind = "compiled"

Valley = Literal["houses", "quadratic", "rosenbrock"]

# What a contour shows: first and second variable.
_WINDOWS: dict[Valley, tuple[tuple[float, float], tuple[float, float]]] = {
    "houses": ((-1.0, 13.0), (-1.0, 17.0)),
    "quadratic": ((-1.6, 0.6), (-0.2, 1.8)),
    "rosenbrock": ((-1.8, 1.8), (-0.6, 1.8)),
}


class Config(lab.Config):
    problem: Valley = "rosenbrock"
    """price of houses from lot size and bedrooms, in thousands; a turned quadratic; Rosenbrock's valley"""
    method: Method = "adam"
    """method of minimisation"""
    rate: Swept[float] = pydantic.Field(0.1, gt=0)
    """learning rate: of Adam over the farthest that a variable must go, else times the largest curvature at the
    optimum"""
    num_steps: int = pydantic.Field(400, ge=10)
    """steps taken"""
    condition_number: float = pydantic.Field(100.0, ge=1)
    """largest over smallest curvature of the quadratic"""
    weight_decay: float = pydantic.Field(0.01, ge=0)
    """of AdamW"""
    resolution: int = pydantic.Field(121, ge=5)
    """points of a contour along each axis"""


VARIABLES = {
    "step": Variable(("step",), "", "step"),
    "path": Variable(("step", "coordinate"), "", "iterate"),
    "gap": Variable(("step",), "", "loss above its minimum"),
    "evaluations": Variable(("step",), "", "of the value, the gradient or a column of the Hessian, so far"),
    "valley": Variable(("valley",), "", "problem of a contour"),
    "optimum": Variable(("valley", "coordinate"), "", "its minimiser"),
    "first": Variable(("valley", "i"), "", "first variable on the contour's axis"),
    "second": Variable(("valley", "j"), "", "second variable on the contour's axis"),
    "surface": Variable(("valley", "i", "j"), "", "loss above its minimum"),
}


def _valley(config, name):
    from jaxcalc.functions import problems

    match name:
        case "houses":
            return problems.house_prices(("lotsize", "bedrooms"), "thousands")
        case "quadratic":
            return problems.quadratic(config.condition_number, 2)
        case _:
            return problems.rosenbrock()


def run(config, key):
    from jaxcalc.solvers import iterate

    problem = _valley(config, config.problem)
    # Adam's steps are in the variables' unit, those along the gradient in that of 1 / curvature.
    unit = np.abs(problem.start - problem.optimum).max() if "adam" in config.method else 1 / problem.curvatures()[0][-1]

    def record(at):
        count = at.evaluations
        work = count.functions + count.gradients + count.hvps + problem.dimension * count.hessians
        return {"path": at.x, "gap": at.value - problem.minimum, "evaluations": work}

    return iterate(
        solver_named(config.method, config.rate * unit, config.weight_decay),
        problem.function,
        jnp.asarray(problem.start, float),
        num_steps=config.num_steps,
        record=record,
    ).history


def shared(config):
    found: dict[str, list[Any]] = {"optimum": [], "first": [], "second": [], "surface": []}
    for name, window in _WINDOWS.items():
        problem = _valley(config, name)
        axes = [np.linspace(*side, config.resolution) for side in window]
        grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)
        surface = jax.vmap(jax.vmap(problem.function))(grid) - problem.minimum
        for row, value in zip(found.values(), (problem.optimum, *axes, surface)):
            row.append(value)
    steps = {"step": np.arange(config.num_steps + 1), "valley": np.array(list(_WINDOWS))}
    return steps | {name: np.stack(rows) for name, rows in found.items()}


def _best(tried):
    """The run at the rate that was lowest over its whole way, not by chance at its end."""
    gap = tried.gap.transpose("rate", "step").values
    floored = np.where(np.isfinite(gap), np.maximum(gap, 1e-15 * gap[0, 0]), np.inf)
    return tried.isel(rate=int(np.log(floored).mean(1).argmin()))


def figures(dataset):
    if not {"problem", "method", "rate"} <= set(dataset.dims):
        return {}
    problems, methods = ([str(name) for name in dataset[axis].values] for axis in ("problem", "method"))
    best = {(p, m): _best(dataset.sel({"problem": p, "method": m})) for p in problems for m in methods}
    return {
        "contours": _draw_contours(dataset, problems, methods, best),
        "progress": _draw_progress(problems, methods, best),
        "rates": _draw_rates(dataset, problems, methods),
    }


_FLOOR = 1e-14  # of the first loss: below it all is rounding
_TITLES = {"houses": "House prices", "quadratic": "Quadratic", "rosenbrock": "Rosenbrock's valley"}
_AXES = {"houses": ("price of 1000 square feet ($1000)", "price of a bedroom ($1000)")}
_ON_CONTOURS = ("gradient-descent", "momentum", "nesterov", "adam", "trust-region")


def _draw_contours(dataset, problems, methods, best):
    """The first steps of each method at its best rate on each surface."""
    figure, panels = style.subplots(1, len(problems), width="page", height=3.0, squeeze=False)
    for panel, problem in zip(panels[0], problems):
        one = dataset.sel(valley=problem)
        surface = one.surface.values
        start = float(best[problem, methods[0]].gap[0])
        levels = start * np.geomspace(1e-4, surface.max() / start, 14)
        panel.contour(one["first"], one.second, surface.T, levels=levels, colors="#B5B5B5", linewidths=0.6)
        for name in [name for name in _ON_CONTOURS if name in methods]:
            path = best[problem, name].path.isel(step=slice(0, 31)).values
            panel.plot(*path.T, **style.method(name, linewidth=1.0, markersize=2.6))
        panel.plot(*one.optimum.values, marker="*", color=style.COLORS["black"], markersize=8, zorder=4)
        labels = _AXES.get(problem, ("$x_0$", "$x_1$"))
        panel.set(xlabel=labels[0], ylabel=labels[1], title=_TITLES[problem])
        panel.set(xlim=(one["first"][0], one["first"][-1]), ylim=(one.second[0], one.second[-1]))
        panel.grid(visible=False)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.set_label(
        "The first thirty steps of every method at its best rate; a star is the minimum, grey lines join points of "
        "equal loss, evenly spaced in its logarithm."
    )
    return figure


def _draw_progress(problems, methods, best):
    """The loss above its minimum against evaluations, each method at its best rate."""
    figure, panels = style.subplots(1, len(problems), width="page", height=3.0, squeeze=False, sharey=True)
    for panel, problem in zip(panels[0], problems):
        for name in methods:
            run = best[problem, name]
            share, work = np.fmin.accumulate((run.gap / run.gap[0]).values), run.evaluations.values
            done = np.flatnonzero(share < _FLOOR)
            stop = int(done[0]) + 1 if done.size else len(share)
            marks = np.searchsorted(work[:stop], np.geomspace(work[0], work[stop - 1], 7))
            look = style.method(name, markevery=sorted({min(int(mark), stop - 1) for mark in marks}))
            panel.plot(work[:stop], np.maximum(share[:stop], _FLOOR), **look)
        panel.set(xscale="log", yscale="log", xlabel="evaluations", title=_TITLES[problem], ylim=(_FLOOR / 2, 3))
    panels[0, 0].set_ylabel("left of the loss, least so far")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.set_label(
        "The least that was left of the loss against evaluations (of the value, the gradient, or a column of the "
        "Hessian), every method at its best rate."
    )
    return figure


def _draw_rates(dataset, problems, methods):
    """What is left at the end against the rate."""
    share = (dataset.gap.isel(step=-1) / dataset.gap.isel(step=0)).clip(min=_FLOOR)
    drawn = [name for name in methods if name not in ("l-bfgs", "trust-region")]
    figure, _ = style.chart(
        share.where(share < 30).sel({"problem": problems, "method": drawn}),
        "rate",
        hue="method",
        col="problem",
        looks={"momentum": {"markersize": 5.5}},  # Nesterov's line lies on it nearly everywhere
        titles=_TITLES,
        log="xy",
        width="page",
        height=3.0,
        legend="below",
        xlabel="learning rate, scaled",
        ylabel=f"left of the loss after {dataset.sizes['step'] - 1} steps",
        ylim=(_FLOOR / 3, 30),
        letters=True,
    )
    figure.set_label(
        "How much the learning rate matters. Rates of Adam and AdamW are in units of the farthest that a variable must "
        "go, the others in units of 1 over the largest curvature at the minimum; where a line ends the run diverged. "
        "Drawn from 1e-14 on."
    )
    return figure
