"""What does more memory do for L-BFGS?"""

import numpy as np
import pydantic

from experiments.quasi_newton import TITLES, Chosen, chosen_problem
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, equal, jax, less

kind = "compiled"


class Config(Chosen):
    memory_size: int = pydantic.Field(10, ge=0)
    """pairs that L-BFGS keeps; 0 keeps all, by BFGS"""
    starts: int = pydantic.Field(16, ge=1)
    """random starts around the customary one"""
    tolerance: float = pydantic.Field(1e-7, gt=0)
    """the gradient's largest entry that ends the count"""
    max_steps: int = pydantic.Field(3000, ge=1)
    """where a lane ends at the latest"""


VARIABLES = {
    "evaluations": Variable(("start",), "", "gradients evaluated"),
    "status": Variable(("start",), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite, 4 stalled"),
}


def run(config, key):
    from jaxcalc import minimize
    from jaxcalc.solvers import bfgs, lbfgs

    problem = chosen_problem(config)
    starts = problem.start + 0.3 * jax.random.normal(key, (config.starts, problem.dimension))

    solver = lbfgs(config.memory_size) if config.memory_size else bfgs()
    stop = {"tol": config.tolerance, "max_steps": config.max_steps}
    found = jax.vmap(lambda x: minimize(problem.function, x, method=solver, **stop))(starts)
    return {"evaluations": found.evaluations.gradients, "status": found.status}


def _memory_saves(dataset):
    whole = dataset.evaluations.median("start", skipna=False).sortby("memory_size")
    full = whole.sel(memory_size=0)
    median = whole.sel(memory_size=whole.memory_size.values > 0).transpose("memory_size", "problem")
    sizes, names = median.memory_size.values, list(map(str, median.problem.values))
    if sizes[0] != 1 or sizes[-1] < 20:
        raise NotJudged("it takes memories of 1 to 20 pairs")
    first, last = median[0], median[-1]
    beaten = [n for n in names if float(median.sel(problem=n).min()) < float(full.sel(problem=n))]
    return Finding(
        equal(dataset.status, 0)
        & below(np.diff(median, axis=0), 0.05 * float(first.min()))
        & less(last, first)
        & less(last.sel(problem="quadratic"), 0.7 * first.sel(problem="quadratic")),
        measured=", ".join(f"{n} {first[i]:.0f} to {last[i]:.0f} (BFGS {full[i]:.0f})" for i, n in enumerate(names)),
        figure="memory",
        note=f"Fewer than BFGS, which forgets nothing, with some memory on: {', '.join(beaten) or 'none'}.",
    )


def figures(dataset):
    data = lab.over(dataset, "problem", "memory_size").sortby("memory_size").evaluations
    data = data.transpose("problem", "memory_size", "start")
    kept = data.sel(memory_size=data.memory_size.values > 0)
    if not kept.size:
        return {}
    whole = None
    if 0 in data.memory_size:
        whole = data.sel(memory_size=0, drop=True).median("start") + 0 * kept.memory_size
    figure, panels = style.chart(
        kept,
        "memory_size",
        col="problem",
        theory=whole,
        titles=TITLES,
        log="xy",
        xlabel="pairs kept by L-BFGS",
        ylabel="gradients to the tolerance",
        width="page",
        height=2.4,
        **{key: value for key, value in style.method("l-bfgs").items() if key != "label"},
    )
    for panel in panels.flat:
        style.ticks(panel.xaxis, kept.memory_size.values)
        style.ticks(panel.yaxis, [100, 200, 500])
    if whole is not None:
        place = (float(kept.memory_size[0]), float(whole[0, 0]))
        panels[0, 0].annotate("BFGS", place, (0, 3), textcoords="offset points", fontsize=7.5)
    figure.set_label(
        "Gradients that L-BFGS evaluates until their largest entry is below the tolerance, against the pairs it keeps: "
        "median and quartiles over starts. Dashed: BFGS, which keeps all."
    )
    return {"memory": figure}


claims = {"lbfgs-memory-saves-evaluations": _memory_saves}
