"""Gradient descent on real data: which learning rates converge, how fast, and what conditioning costs."""

from typing import Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import Claim, Config, Part, Swept, Variable

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
    import jax.numpy as jnp

    from jaxcalc.solvers import gradient_descent, iterate

    return iterate(
        gradient_descent(learning_rate),
        problem.function,
        start,
        num_steps=num_steps,
        record=lambda at: {"gap": at.value - problem.minimum, "distance": jnp.linalg.norm(at.x - problem.optimum)},
    )


def with_axes(dataset: Any, *names: str) -> Any:
    """The dataset with each named sweep axis present, of length one where the sweep lacks it."""
    import json

    params = json.loads(dataset.attrs.get("params", "{}"))
    missing = {name: [params.get(name, params.get("problem", 0))] for name in names if name not in dataset.dims}
    return dataset.drop_vars(list(missing), errors="ignore").expand_dims(missing)


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
    curvatures, _ = problem.curvatures()
    learning_rate = config.rate / curvatures[-1]
    start = random_start(problem, key)
    result = descend(problem, learning_rate, start, config.num_steps)
    distance = result.history["distance"]
    return {
        "gap": result.history["gap"],
        "contraction": linear_rate(distance, floor=1e-9 * distance[0]),
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


def judge_rates(dataset: Any) -> list[Claim]:
    """The limit of stability, the rate against theory, convexity."""
    data = with_axes(dataset, "case", "rate", "seed")
    curved = data["case"].astype(str).str.contains("cancer")
    flat, logistic = data.isel(case=~curved.values), data.isel(case=curved.values)
    found = []
    if flat.sizes["case"] and (flat["rate"] < 1.99).any() and (flat["rate"] > 2.01).any():
        falls = flat["contraction"].where(flat["rate"] < 1.99)
        grows = flat["contraction"].where(flat["rate"] > 2.01)
        beyond = logistic["rate_over_limit"].where((logistic["rate"] < 1.99) & (logistic["contraction"] < 1))
        found.append(
            Claim(
                "gd-limit-two-over-l",
                "Gradient descent converges for learning rates below 2/L and diverges above.",
                stated=bool(falls.max() < 1 < grows.min()),
                limits=bool(beyond.size and beyond.max() > 1.01),
                expected="error shrinks below 2/L, grows above",
                measured=f"largest factor {float(falls.max()):.4f} below, smallest {float(grows.min()):.4f} above",
                expects="qualified" if beyond.size else "confirmed",
                figure="contraction",
                note="Exact for a quadratic. For logistic regression 2/L suffices, but the curvature at the optimum "
                f"decides: it still converges at {float(beyond.max()) if beyond.size else np.nan:.1f} times 2/L.",
            )
        )
    if flat.sizes["case"]:
        error = flat["contraction"] - flat["theory"]
        found.append(
            Claim(
                "gd-linear-rate-theory",
                "On least squares and quadratics the error shrinks by max(|1 - rate mu|, |1 - rate L|) a step.",
                stated=bool(error.max() < 1e-6 and error.min() > -0.1),
                expected="measured - theory between -0.1 (where few steps suffice) and 1e-6",
                measured=f"from {float(error.min()):.1e} to {float(error.max()):.1e}, "
                f"median size {float(abs(error).median()):.1e}",
                figure="contraction",
            )
        )
    least = data["least_curvature"]
    if flat.sizes["case"] and logistic.sizes["case"]:
        found.append(
            Claim(
                "linear-and-logistic-losses-convex",
                "Squared loss of linear regression and logistic loss are convex.",
                stated=bool(least.min() >= -1e-10),
                expected="least eigenvalue of the Hessian at least -1e-10",
                measured=f"{float(least.min()):.3g} over {least.isel(rate=0).size} Hessians",
                note="On real data at random points; the logistic loss carries its ridge.",
            )
        )
    return found


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
        "contraction": Variable((), "", "measured factor by which the error changes a step"),
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
    claims=judge_rates,
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
    result = descend(problem, learning_rate, random_start(problem, key), num_steps)
    relative = result.history["distance"] / result.history["distance"][0]
    return {
        "steps": steps_to(relative, config.tolerance),
        "contraction": linear_rate(relative, floor=1e-11),
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
    real = ~data["case"].astype(str).str.startswith("quadratic").values
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


def judge_conditioning(dataset: Any) -> list[Claim]:
    """Slowness is proportional to the condition number."""
    data = with_axes(dataset, "case", "seed")
    data = data.isel(case=data["case"].astype(str).str.startswith("quadratic").values)
    if data.sizes["case"] < 2:
        return []
    kappa, steps = data["condition"].isel(seed=0).values, data["steps"].median("seed").values
    theory = (kappa - 1) / (kappa + 1)
    large = kappa > 9
    slope = np.polyfit(np.log(kappa[large]), np.log(steps[large]), 1)[0] if large.sum() > 1 else np.nan
    contraction = data["contraction"].median("seed").values
    worst = float(np.max(abs(contraction - theory) / (1 - theory)))
    counts = ", ".join(f"kappa {k:.3g}: {int(n)} steps" for k, n in zip(kappa, steps))
    return [
        Claim(
            "condition-number-slows-gd",
            "A large eigenvalue ratio makes gradient descent slow.",
            stated=bool(worst < 0.1 and abs(slope - 1) < 0.1),
            expected="factor (kappa - 1) / (kappa + 1) at the best rate; steps grow as kappa",
            measured=f"{counts}; exponent {slope:.3f}; 1 - factor within {worst:.1%} of theory",
            figure="steps",
        )
    ]


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
    claims=judge_conditioning,
    doc="How many steps the best learning rate needs, against the condition number.",
)
