"""How many steps does the best learning rate need, against the condition number?"""

import numpy as np
import pydantic

from experiments.gradient_descent import ProblemConfig, build_problem, by_case, descend
from jaxcalc import style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, eps, jnp, slope, xarray

kind = "compiled"


class Config(ProblemConfig):
    tolerance: float = pydantic.Field(1e-6, gt=0, lt=1)
    """the error, relative to the start's, that ends the count"""


VARIABLES = {
    "steps": Variable((), "", "steps to the tolerance at the best rate; -1 not reached"),
    "contraction": Variable((), "", "measured factor by which the error changes a step"),
    "theory": Variable((), "", "(kappa - 1) / (kappa + 1)"),
    "condition": Variable((), "", "condition number of the Hessian at the optimum"),
}


def run(config, key):
    from jaxcalc.solvers import best_learning_rate, contraction, linear_rate, steps_to

    problem = build_problem(config)
    curvatures, _ = problem.curvatures()
    learning_rate = best_learning_rate(curvatures[0], curvatures[-1])
    condition = curvatures[-1] / curvatures[0]
    # Long enough for the theory's pace and a phase before it.
    num_steps = int(0.6 * (condition + 1) * np.log(1 / config.tolerance)) + 20
    result, _, floor = descend(problem, learning_rate, key, num_steps)
    distance = result.history["distance"]
    return {
        "steps": steps_to(distance / distance[0], config.tolerance),
        "contraction": linear_rate(distance, floor=floor),
        "theory": contraction(learning_rate, curvatures),
        "condition": jnp.asarray(condition),
    }


def _slowness(dataset):
    """Slowness is proportional to the condition number, judged from quadratics over a factor of four."""
    data = by_case(dataset, "seed")
    data = data.isel(case=(data["problem"].values == "quadratic") & (data["dimension"].values > 1))
    every = data["condition"]
    kappa, tolerance = every.isel(seed=0).values, data["tolerance"].values.astype(float)
    # In one dimension a step lands; kappa below 9 is not large; a tolerance near 1 ends the count before the slowest
    # component rules; near rounding it may not be reached.
    usable = (kappa > 9) & (tolerance <= 1e-3) & (tolerance > 100 * eps(dataset) * kappa)
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


def figures(dataset):
    data = by_case(dataset, "seed")
    kappa = data.condition.isel(seed=0).values
    steps = data.steps.where(data.steps >= 0).assign_coords(kappa=("case", kappa))
    steps = steps.isel(case=kappa.argsort()).swap_dims(case="kappa")
    real = steps.problem != "quadratic"
    parts = {"quadratics": steps.where(~real), "real data": steps.where(real)}
    kappas = np.geomspace(max(kappa.min() / 1.5, 1.05), kappa.max() * 2, 200)
    tolerance = float(data.tolerance.values[0])
    worst = np.log(tolerance) / np.log((kappas - 1) / (kappas + 1))
    figure, panels = style.chart(
        parts,
        "kappa",
        band=None,
        theory=xarray.DataArray(worst, {"kappa": kappas}),
        looks={"quadratics": {"color": style.COLORS["blue"]}, "real data": {"color": style.COLORS["vermilion"]}},
        log="xy",
        xlabel="condition number κ",
        ylabel=f"steps to {tolerance:g} of the error",
        legend="upper left",
        linestyle="",
        height=2.9,
    )
    panel = panels[0, 0]
    middle = steps.median("seed").values
    for at in np.flatnonzero(real.values & np.isfinite(middle)):
        place = (float(steps.kappa[at]), middle[at])
        panel.annotate(
            str(steps["case"].values[at]), place, (7, -2), textcoords="offset points", va="top", fontsize=6.5
        )
    figure.set_label(
        "Steps that the best learning rate needs, against the condition number at the optimum: medians over random "
        "starts, whose spread the marks hide. Dashed: theory for the worst start."
    )
    return {"steps": figure}


claims = {"condition-number-slows-gd": _slowness}
