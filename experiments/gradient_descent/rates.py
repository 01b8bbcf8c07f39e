"""Which learning rates converge, and how fast, against theory?"""

import numpy as np
import pydantic

from experiments.gradient_descent import ProblemConfig, build_problem, by_case, descend
from jaxcalc import style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, below, eps, jax, jnp, less, rows

kind = "compiled"


class Config(ProblemConfig):
    rate: Swept[float] = pydantic.Field(1.0, gt=0)
    """learning rate times the largest curvature at the optimum: 2 is the limit of stability"""
    num_steps: int = pydantic.Field(300, ge=2)
    """steps taken"""


VARIABLES = {
    "step": Variable(("step",), "", "gradient step"),
    "gap": Variable(("step",), "", "loss above its minimum"),
    "contraction": Variable((), "", "measured factor by which the error changes a step; NaN if not readable"),
    "readable": Variable((), "", "whether enough steps lie above rounding to read the factor"),
    "shortfall": Variable((), "", "least that a quadratic's measured factor can be of the theory's"),
    "theory": Variable((), "", "largest |1 - rate times curvature| at the optimum"),
    "final_distance": Variable((), "", "distance to the optimum at the end over that at the start"),
    "status": Variable((), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite"),
    "rate_over_limit": Variable((), "", "learning rate over 2/L, L the largest curvature anywhere"),
    "condition": Variable((), "", "condition number of the Hessian at the optimum"),
    "least_curvature": Variable((), "", "smallest eigenvalue of the Hessian at the start"),
}


def run(config, key):
    from jaxcalc.solvers import contraction, linear_rate

    problem = build_problem(config)
    curvatures, vectors = problem.curvatures()
    learning_rate = config.rate / curvatures[-1]
    result, start, floor = descend(problem, learning_rate, key, config.num_steps)
    distance = result.history["distance"]
    # A quadratic's error keeps the slowest component's share: the factor over a window falls short by no more.
    good = jnp.isfinite(distance) & (distance > floor)
    last = jnp.where(jnp.all(good), config.num_steps, jnp.argmin(good) - 1)
    parts = jnp.abs(jnp.asarray(vectors, start.dtype).T @ (start - problem.optimum))
    slowest = parts[jnp.argmax(jnp.abs(1 - learning_rate * curvatures))] / distance[0]
    window = jnp.maximum(last - last // 2, 1)
    return {
        "gap": result.history["gap"],
        "contraction": linear_rate(distance, floor=floor),
        "readable": last >= 2,
        "shortfall": slowest ** (1 / window),
        "theory": contraction(learning_rate, curvatures),
        "final_distance": distance[-1] / distance[0],
        "status": result.status,
        "rate_over_limit": learning_rate * problem.smoothness / 2,
        "condition": jnp.asarray(curvatures[-1] / curvatures[0]),
        "least_curvature": jnp.linalg.eigvalsh(jax.hessian(problem.function)(start))[0],
    }


shared = lambda config: {"step": np.arange(config.num_steps + 1)}


def _by_problem(dataset, *, double=False):
    """The runs on quadratics and least squares, and those on logistic regression."""
    if double and eps(dataset) > 1e-12:
        raise NotJudged("needs double precision")
    data = by_case(dataset, "rate", "seed")
    curved = data["problem"].values == "breast-cancer"
    return data.isel(case=~curved), data.isel(case=curved)


def _limit(dataset):
    """2/L, judged where both sides of it were tried: below from 0.9 of it, above where growth had time to show."""
    flat, logistic = _by_problem(dataset)
    if not logistic.sizes["case"]:
        raise NotJudged("needs a logistic regression, where the limit is not sharp")
    limit, readable, half = flat["rate_over_limit"].values, flat["readable"].values, (flat.sizes["step"] - 1) // 2
    factor = flat["contraction"].values
    falls = factor[readable & (limit < 0.995)]
    near = factor[readable & (limit > 0.9) & (limit < 0.995)]
    # From where the growing component has grown a thousandfold over the others by the middle of the run.
    grows = factor[readable & (limit > 1.005) & (flat["theory"].values ** half > 1e3)]
    reach = logistic["rate_over_limit"].values
    far = (logistic["readable"] & (logistic["theory"] < 1)).values & (reach > 1.01)
    if not (near.size and grows.size and far.any()):
        raise NotJudged("needs rates on both sides of the limit, and steps enough to tell them")
    beyond = logistic["contraction"].values[far]
    known = [part[name] for part in (flat, logistic) for name in ("rate_over_limit", "theory")]
    return Finding(
        less(falls, 1.0) & less(1.0, grows) & above(known, 0.0),
        limits=less(beyond.min(), 1.0),
        measured=f"largest factor {falls.max():.4f} below, smallest {grows.min():.4f} above; logistic regression still "
        f"converges at {np.max(reach[far][beyond < 1], initial=0.0):.1f} times 2/L",
        figure="contraction",
    )


def _theory(dataset):
    """The measured factor between its exact bounds, where these lie close together."""
    flat, _ = _by_problem(dataset, double=True)
    error = (flat["contraction"] - flat["theory"]).values
    slack = (flat["theory"] * (1 - flat["shortfall"])).values
    judged = flat["readable"].values & (slack < 0.05)
    if not judged.any():
        raise NotJudged("no run is long enough for the slowest component to rule")
    error, tight = error[judged], slack[judged]
    return Finding(
        below(np.maximum(np.maximum(error, -(error + tight)), 0.0)) & above([flat["theory"], flat["shortfall"]], 0.0),
        measured=f"from {error.min():.1e} to {error.max():.1e}, median size {np.median(abs(error)):.1e}, "
        f"{judged.sum()} of {judged.size} runs long enough",
        figure="contraction",
    )


def _convexity(dataset):
    """Least curvatures, the ridge's own taken off."""
    flat, logistic = _by_problem(dataset, double=True)
    losses = [flat["least_curvature"].values, (logistic["least_curvature"] - logistic["l2"]).values]
    if not all(loss.size for loss in losses):
        raise NotJudged("needs least squares and logistic regression")
    least, count = min(loss.min() for loss in losses), sum(loss[:, 0].size for loss in losses)
    return Finding(
        below([np.maximum(-loss, 0.0) for loss in losses]),
        measured=f"least eigenvalue {least:.3g} over {count} Hessians",
    )


def tables(dataset):
    data = by_case(dataset, "rate", "seed")
    factor = data["contraction"].median("seed")
    best = factor.fillna(np.inf).argmin("rate")
    one = data.isel(seed=0).isel(rate=best)
    columns = {
        "condition": one["condition"],
        "fastest rate x curvature": one["rate"],
        "theory 2 kappa/(kappa+1)": 2 * one["condition"] / (one["condition"] + 1),
        "factor a step": factor.isel(rate=best),
        "theory": one["theory"],
    }
    return {"The fastest learning rate": rows("case", columns, 6)}


def figures(dataset):
    data = by_case(dataset, "rate", "seed")
    drawn = {"contraction": _draw_contraction(data)} if data.sizes["rate"] > 2 else {}
    return drawn | {"regimes": _draw_regimes(data)}


def _draw_contraction(data):
    """Measured factor a step and what is left at the end, against the rate."""
    figure, panels = style.subplots(1, 2, width="page", height=3.3)
    left, right = panels
    kappa = data.condition.isel(rate=0, seed=0)
    data = data.isel(case=kappa.argsort().values)
    looks = {
        case: {"color": color, "label": f"{case}, κ {float(kappa.sel(case=case)):.3g}", "marker": ""}
        for case, color in zip(data["case"].values.tolist(), style.sequence(data.sizes["case"]))
    }
    options = {"hue": "case", "band": (0.0, 1.0), "looks": looks, "linewidth": 2.0}
    options["xlabel"] = r"learning rate × largest curvature,  $\eta\,\lambda_{\max}$"
    style.chart(
        data.contraction,
        "rate",
        theory=data.theory.isel(seed=0),
        axes=left,
        legend="below",
        ylabel="error after a step / before it",
        **options,
    )
    # What diverges leaves through the top: the scale is for what converges.
    least, most = float(data.final_distance.min()), float(data.final_distance.max())
    style.chart(
        data.final_distance,
        "rate",
        axes=right,
        legend=None,
        log="y",
        ylim=(max(least / 10, 1e-18), min(most * 10, 1e6)),
        ylabel=f"error after {data.sizes['step'] - 1} steps / at the start",
        **options,
    )
    for dashed in left.lines[data.sizes["case"] :]:
        dashed.set_zorder(3)  # on what it explains
    for panel in panels:
        panel.axvline(2.0, color=style.COLORS["black"], linewidth=0.8, zorder=1)
    left.annotate("limit 2 ", (2.0, 0.03), xycoords=("data", "axes fraction"), ha="right")
    left.set_title("The slowest curvature sets the pace")
    right.set_title("Past the limit nothing converges")
    figure.set_label(
        "Lines are medians over random starts, bands reach from the least to the largest; dashed is the theory, the "
        r"largest $|1 - \eta\lambda_i|$."
    )
    return figure


_REGIMES = {0.1: ("blue", "too small"), 1.0: ("green", "monotone"), 1.9: ("orange", "oscillating")}
_REGIMES |= {2.1: ("vermilion", "divergent")}


def _draw_regimes(data):
    """The gap against the step at rates that creep, run, oscillate and diverge."""
    case = data.isel(case=min(1, data.sizes["case"] - 1), step=slice(0, 81))
    lines, looks = {}, {}
    for rate, (color, name) in _REGIMES.items():
        line = case.gap.sel(rate=rate, method="nearest")
        if abs(float(line.rate) - rate) <= 0.06:
            label = rf"$\eta\lambda$ = {float(line.rate):.2g}, {name}"
            lines[label] = line.where(line > 0)
            looks[label] = {"color": style.COLORS[color], "marker": ""}
    lines = lines or {f"$\\eta\\lambda$ = {float(case.rate[0]):.2g}": case.gap.isel(rate=0)}
    figure, panels = style.chart(
        lines, "step", looks=looks, log="y", legend="ends", ylabel="loss above its minimum", width=4.6, height=2.8
    )
    panels[0, 0].set_title(str(case["case"].item()))
    figure.set_label(
        "The loss above its minimum for learning rates on either side of 1 and of the limit 2, in units of the "
        "inverse curvature: medians over random starts, bands between the quartiles."
    )
    return figure


claims = {
    "gd-limit-two-over-l": _limit,
    "gd-linear-rate-theory": _theory,
    "linear-and-logistic-losses-convex": _convexity,
}
