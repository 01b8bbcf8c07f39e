"""Gradient descent on real data: which learning rates converge, how fast, and what conditioning costs."""

from typing import Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, NotJudged, Part, Swept, Variable, above, below, less, slope

ProblemName = Literal["house-sizes", "house-all", "breast-cancer", "quadratic"]


class ProblemConfig(Config):
    """Which problem is descended on."""

    problem: ProblemName = "house-sizes"
    """House price from lot size and bedrooms, or from all 11 features; tumours by logistic regression; a quadratic."""
    scaling: Literal["thousands", "standardized"] = "standardized"
    """Units of the houses: thousands of dollars and of square feet without an intercept, or mean 0 and deviation 1."""
    condition_number: float = pydantic.Field(100.0, ge=1)
    """Largest over smallest curvature of the quadratic."""
    dimension: int = pydantic.Field(8, ge=1)
    """Number of variables of the quadratic."""
    l2: float = pydantic.Field(0.01, gt=0)
    """Ridge of the logistic regression."""


def build_problem(config: ProblemConfig) -> Any:
    """The problem that a config names."""
    from jaxcalc.functions import problems

    match config.problem:
        case "house-sizes":
            return problems.house_prices(("lotsize", "bedrooms"), config.scaling)
        case "house-all":
            return problems.house_prices((), config.scaling)
        case "breast-cancer":
            return problems.breast_cancer(config.l2)
        case _:
            return problems.quadratic(config.condition_number, config.dimension)


def random_start(problem: Any, key: Any) -> Any:
    """A point as far from the optimum as the customary start, in a direction that the key draws."""
    import jax
    import jax.numpy as jnp

    direction = jax.random.normal(key, (problem.dimension,))
    distance = np.linalg.norm(problem.start - problem.optimum)
    return problem.optimum + distance * direction / jnp.linalg.norm(direction)


def descend(problem: Any, learning_rate: Any, start: Any, num_steps: int) -> Any:
    """Gradient descent with the gap and the distance to the optimum recorded."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.solvers import gradient_descent, iterate

    tolerance: Any = 100 * jnp.finfo(start.dtype).eps * jnp.linalg.norm(jax.grad(problem.function)(start))
    return iterate(
        gradient_descent(learning_rate),
        problem.function,
        start,
        num_steps=num_steps,
        tol=tolerance,
        record=lambda at: {"gap": at.value - problem.minimum, "distance": jnp.linalg.norm(at.x - problem.optimum)},
    )


def rounding_floor(problem: Any, start: Any, condition: float) -> Any:
    """The distance to the optimum below which no factor is read: eps^(2/3) kappa times the size of the numbers.

    Rounding moves an iterate by about eps kappa times that size, a fraction eps^(1/3) of what is read.
    """
    import jax.numpy as jnp

    size = np.linalg.norm(problem.optimum) + jnp.linalg.norm(start - problem.optimum)
    return float(jnp.finfo(start.dtype).eps) ** (2 / 3) * condition * size


def with_axes(dataset: Any, *names: str) -> Any:
    """The dataset with exactly the named sweep axes, of length one where the sweep lacks it.

    Every other swept axis, as of a grid of problems, is folded into the cases. What each case sets lies along ``case``:
    ``problem``, ``l2``, ``dimension`` and ``tolerance``, from the base parameters where the sweep leaves them alone.
    """
    import json

    params = json.loads(dataset.attrs.get("params", "{}"))
    folded = [dim for dim in dataset["theory"].dims if dim not in names]
    if folded:
        outer = [dim for dim in dataset["theory"].dims if dim in ("case", *folded)]
        stacked = dataset.stack({"_point": outer}, create_index=False)
        labels = [", ".join(map(str, at)) for at in zip(*(stacked[dim].values.tolist() for dim in outer))]
        dataset = stacked.drop_vars("case", errors="ignore").rename({"_point": "case"}).assign_coords(case=labels)
    missing = {name: [params.get(name, params.get("problem", 0))] for name in names if name not in dataset.dims}
    dataset = dataset.drop_vars(list(missing), errors="ignore").expand_dims(missing)
    for name in ("problem", "l2", "dimension", "tolerance"):
        if name in params and name not in dataset.coords:
            dataset = dataset.assign_coords({name: ("case", [params[name]] * dataset.sizes["case"])})
        elif name in dataset.coords and dataset[name].ndim == 0:
            dataset = dataset.assign_coords({name: ("case", [dataset[name].item()] * dataset.sizes["case"])})
    own = [dim for dim in dataset.dims if dim not in names]
    return dataset.transpose(*names, *own)


def precision(dataset: Any) -> float:
    """eps of the numbers that the run computed with."""
    return float(np.finfo(dataset.attrs["dtype"]).eps)


def _by_problem(dataset: Any, *, double: bool = False) -> tuple[Any, Any]:
    """The runs on quadratics and least squares, and those on logistic regression."""
    if double and precision(dataset) > 1e-12:
        raise NotJudged("needs double precision")
    data = with_axes(dataset, "case", "rate", "seed")
    curved = data["problem"].values == "breast-cancer"
    return data.isel(case=~curved), data.isel(case=curved)


# ---------------------------------------------------------------------------------------------------- rates


class RatesConfig(ProblemConfig):
    """Learning rates from cautious to divergent, from random starts."""

    rate: Swept[float] = pydantic.Field(1.0, gt=0)
    """Learning rate times the largest curvature at the optimum: 2 is the limit of stability."""
    num_steps: int = pydantic.Field(300, ge=2)
    """Steps taken."""


def run_rates(config: RatesConfig, key: Any) -> dict[str, Any]:
    """One descent: the gap along it, its measured contraction and the theory's."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.solvers import contraction, linear_rate

    problem = build_problem(config)
    curvatures, vectors = problem.curvatures()
    learning_rate = config.rate / curvatures[-1]
    start = random_start(problem, key)
    result = descend(problem, learning_rate, start, config.num_steps)
    distance = result.history["distance"]
    floor = rounding_floor(problem, start, curvatures[-1] / curvatures[0])
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


def share_rates(config: RatesConfig) -> dict[str, Any]:
    """The step axis."""
    return {"step": np.arange(config.num_steps + 1)}


def draw_rates(dataset: Any) -> dict[str, Any]:
    """Contraction against the rate; the gap along the way for a few rates."""
    data = with_axes(dataset, "case", "rate", "seed")
    figures = {}
    if data.sizes["rate"] > 2:
        figures["contraction"] = _draw_contraction(data)
    figures["regimes"] = _draw_regimes(data)
    return figures


def _draw_contraction(data: Any) -> Any:
    """Measured factor a step under the theory's, and what is left at the end, against the rate."""
    from jaxcalc import style

    figure, (left, right) = style.subplots(1, 2, width="page", height=3.3)
    order = data["condition"].isel(rate=0, seed=0).argsort().values
    for color, marker, index in zip(style.sequence(len(order)), "os^DvPX*" * 9, order):
        case = data.isel(case=int(index))
        rate = case["rate"].values
        kappa = float(case["condition"].isel(rate=0, seed=0))
        look = {"color": color, "marker": marker, "markevery": max(1, len(rate) // 11), "linewidth": 2.0}
        for panel, name in ((left, "contraction"), (right, "final_distance")):
            panel.fill_between(
                rate, case[name].min("seed"), case[name].max("seed"), color=color, alpha=0.2, linewidth=0
            )
            label = f"{case['case'].item()} (κ = {kappa:.3g})" if panel is left else None
            panel.plot(rate, case[name].median("seed"), **look, label=label)
        left.plot(rate, case["theory"].isel(seed=0), **{**style.THEORY, "zorder": 3})
    left.plot([], [], **style.THEORY, label=r"theory  $\max_i\,|1-\eta\lambda_i|$")
    for panel in (left, right):
        panel.axvline(2.0, color=style.COLORS["black"], linewidth=0.8, zorder=1)
        panel.set_xlabel(r"learning rate × largest curvature,  $\eta\,\lambda_{\max}$")
    left.annotate(
        "limit 2", (2.0, 0.03), (-3, 0), xycoords=("data", "axes fraction"), textcoords="offset points", ha="right"
    )
    left.set(ylabel="error after a step / before it", title="The slowest curvature sets the pace")
    right.set_yscale("log")
    # What diverges leaves through the top: the scale is for what converges.
    right.set_ylim(
        max(float(data["final_distance"].min()) / 10, 1e-18), min(float(data["final_distance"].max()) * 10, 1e6)
    )
    right.set(
        ylabel=f"error after {data.sizes['step'] - 1} steps / at the start", title="Past the limit nothing converges"
    )
    figure.legend(loc="outside lower center", ncols=3)
    style.panel_labels((left, right))
    figure.set_label(
        "Lines are medians over random starts, bands reach from the least to the largest; dashed is the theory."
    )
    return figure


def _draw_regimes(data: Any) -> Any:
    """The gap against the step at rates that creep, run, oscillate and diverge."""
    from jaxcalc import style

    figure, panel = style.subplots(1, 1)
    case = data.isel(case=min(1, data.sizes["case"] - 1), seed=0, step=slice(0, 81))
    for rate, color, name in (
        (0.1, "blue", "too small"),
        (1.0, "green", "monotone"),
        (1.9, "orange", "oscillating"),
        (2.1, "vermilion", "divergent"),
    ):
        line = case.sel(rate=rate, method="nearest")
        if abs(float(line["rate"]) - rate) > 0.06:
            continue
        gap = line["gap"].where(line["gap"] > 0).dropna("step")
        panel.semilogy(gap["step"], gap, color=style.COLORS[color])
        last = gap.isel(step=-1)
        text = rf"$\eta\lambda$ = {float(line['rate']):.2g}, {name}"
        end = (float(last["step"]), float(last))
        panel.annotate(
            text, end, (4, 0), textcoords="offset points", va="center", color=style.COLORS[color], fontsize=7.5
        )
    panel.set(xlabel="step", ylabel="loss above its minimum", title=str(case["case"].item()))
    panel.set_xlim(0, 128)
    panel.set_xticks(range(0, 81, 20))
    figure.set_label(
        "The loss above its minimum for learning rates on either side of 1 and of the limit 2, in units of the "
        "inverse curvature."
    )
    return figure


def _judge_limit(dataset: Any) -> Finding:
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


def _judge_theory(dataset: Any) -> Finding:
    """The measured factor between its exact bounds, where these lie close together."""
    flat, _ = _by_problem(dataset, double=True)
    error = (flat["contraction"] - flat["theory"]).values
    slack = (flat["theory"] * (1 - flat["shortfall"])).values
    judged = flat["readable"].values & (slack < 0.05)
    if not judged.any():
        raise NotJudged("no run is long enough for the slowest component to rule")
    error, tight = error[judged], slack[judged]
    return Finding(
        below(error) & below(-(error + tight)) & above([flat["theory"], flat["shortfall"]], 0.0),
        measured=f"from {error.min():.1e} to {error.max():.1e}, median size {np.median(abs(error)):.1e}, "
        f"{judged.sum()} of {judged.size} runs long enough",
        figure="contraction",
    )


def _judge_convexity(dataset: Any) -> Finding:
    """Least curvatures, the ridge's own taken off."""
    flat, logistic = _by_problem(dataset, double=True)
    losses = [flat["least_curvature"].values, (logistic["least_curvature"] - logistic["l2"]).values]
    if not all(loss.size for loss in losses):
        raise NotJudged("needs least squares and logistic regression")
    least, count = min(loss.min() for loss in losses), sum(loss[:, 0].size for loss in losses)
    return Finding(below([-loss for loss in losses]), measured=f"least eigenvalue {least:.3g} over {count} Hessians")


def tabulate_rates(dataset: Any) -> dict[str, list[dict[str, Any]]]:
    """The fastest rate of each problem."""
    data = with_axes(dataset, "case", "rate", "seed")
    rows = []
    for case in data["case"].values:
        factor = data["contraction"].sel(case=case).median("seed")
        best = factor.fillna(np.inf).argmin("rate")
        one = data.sel(case=case).isel(seed=0, rate=int(best))
        rows.append(
            {
                "problem": str(case),
                "condition": float(one["condition"]),
                "fastest rate x curvature": float(one["rate"]),
                "theory 2 kappa/(kappa+1)": float(2 * one["condition"] / (one["condition"] + 1)),
                "factor a step": float(factor.isel(rate=int(best))),
                "theory": float(one["theory"]),
            }
        )
    return {"The fastest learning rate": rows}


rates = Part(
    Config=RatesConfig,
    VARIABLES={
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
    },
    kind="compiled",
    run=run_rates,
    shared=share_rates,
    figures=draw_rates,
    claims={
        "gd-limit-two-over-l": _judge_limit,
        "gd-linear-rate-theory": _judge_theory,
        "linear-and-logistic-losses-convex": _judge_convexity,
    },
    tables=tabulate_rates,
    doc="Which learning rates converge, and how fast, against theory.",
)


# ---------------------------------------------------------------------------------------------------- conditioning


class ConditioningConfig(ProblemConfig):
    """What the condition number costs at the best rate."""

    tolerance: float = pydantic.Field(1e-6, gt=0, lt=1)
    """The error, relative to the start's, that ends the count."""


def run_conditioning(config: ConditioningConfig, key: Any) -> dict[str, Any]:
    """Steps to the tolerance at the best rate, and the measured factor."""
    import jax.numpy as jnp

    from jaxcalc.solvers import best_learning_rate, contraction, linear_rate, steps_to

    problem = build_problem(config)
    curvatures, _ = problem.curvatures()
    learning_rate = best_learning_rate(curvatures[0], curvatures[-1])
    condition = curvatures[-1] / curvatures[0]
    # Long enough for the theory's pace and a phase before it.
    num_steps = int(0.6 * (condition + 1) * np.log(1 / config.tolerance)) + 20
    start = random_start(problem, key)
    distance = descend(problem, learning_rate, start, num_steps).history["distance"]
    relative = distance / distance[0]
    return {
        "steps": steps_to(relative, config.tolerance),
        "contraction": linear_rate(distance, floor=rounding_floor(problem, start, condition)),
        "theory": contraction(learning_rate, curvatures),
        "condition": jnp.asarray(condition),
    }


def draw_conditioning(dataset: Any) -> dict[str, Any]:
    """Steps against the condition number, theory beside them."""
    from jaxcalc import style

    data = with_axes(dataset, "case", "seed")
    kappa = data["condition"].isel(seed=0)
    steps = data["steps"].where(data["steps"] >= 0)
    figure, panel = style.subplots(1, 1, height=2.9)
    kappas = np.geomspace(max(float(kappa.min()) / 1.5, 1.05), float(kappa.max()) * 2, 200)
    decades = np.log(1 / _tolerance(dataset))
    panel.plot(kappas, decades / np.log((kappas + 1) / (kappas - 1)), **style.THEORY, label="theory, worst start")
    real = data["problem"].values != "quadratic"
    for chosen, name, color, marker in ((~real, "quadratics", "blue", "o"), (real, "real data", "vermilion", "s")):
        if not chosen.any():
            continue
        middle, low, high = steps.median("seed"), steps.min("seed"), steps.max("seed")
        spread = np.stack([middle - low, high - middle])[:, chosen]
        panel.errorbar(
            kappa[chosen], middle[chosen], spread, fmt=marker, color=style.COLORS[color], label=name, elinewidth=0.8
        )
    for index in np.flatnonzero(real):
        at = (float(kappa[index]), float(steps.median("seed")[index]))
        panel.annotate(str(data["case"].values[index]), at, (7, -2), textcoords="offset points", va="top", fontsize=6.5)
    panel.set(
        xscale="log", yscale="log", xlabel="condition number κ", ylabel=f"steps to {_tolerance(dataset):g} of the error"
    )
    panel.legend(loc="upper left")
    figure.set_label("Steps that the best learning rate needs, against the condition number at the optimum.")
    return {"steps": figure}


def _tolerance(dataset: Any) -> float:
    """The tolerance that the run used."""
    import json

    return float(json.loads(dataset.attrs.get("params", "{}")).get("tolerance", 1e-6))


def _judge_slowness(dataset: Any) -> Finding:
    """Slowness is proportional to the condition number, judged from quadratics over a factor of four."""
    data = with_axes(dataset, "case", "seed")
    data = data.isel(case=(data["problem"].values == "quadratic") & (data["dimension"].values > 1))
    every = data["condition"]
    kappa, tolerance = every.isel(seed=0).values, data["tolerance"].values.astype(float)
    # In one dimension a step lands; kappa below 9 is not large; a tolerance near 1 ends the count before the slowest
    # component rules; near rounding it may not be reached.
    usable = (kappa > 9) & (tolerance <= 1e-3) & (tolerance > 100 * precision(dataset) * kappa)
    data, kappa = data.isel(case=usable), kappa[usable]
    if len({*tolerance[usable].tolist()}) != 1 or kappa.max() < 4 * kappa.min():
        raise NotJudged("needs quadratics of condition numbers from 9 on, over a factor of 4, to one tolerance")
    steps, theory = data["steps"].median("seed").values, (data["condition"] - 1) / (data["condition"] + 1)
    off = (abs(data["contraction"] - theory) / (1 - theory)).values
    counts = ", ".join(f"kappa {k:.3g}: {n:g} steps" for k, n in zip(kappa, steps))
    return Finding(
        above(data["steps"], 1) & below(off) & slope(kappa, steps, 1.0) & above(every, 1.0),
        measured=f"{counts}; 1 - factor within {off.max():.1%} of theory",
    )


conditioning = Part(
    Config=ConditioningConfig,
    VARIABLES={
        "steps": Variable((), "", "steps to the tolerance at the best rate; -1 not reached"),
        "contraction": Variable((), "", "measured factor by which the error changes a step"),
        "theory": Variable((), "", "(kappa - 1) / (kappa + 1)"),
        "condition": Variable((), "", "condition number of the Hessian at the optimum"),
    },
    kind="compiled",
    run=run_conditioning,
    figures=draw_conditioning,
    claims={"condition-number-slows-gd": _judge_slowness},
    doc="How many steps the best learning rate needs, against the condition number.",
)
