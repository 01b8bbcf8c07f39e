"""How fast do quasi-Newton methods converge beside gradient descent and Newton's method?"""

from typing import Literal

import numpy as np
import pydantic

from experiments.quasi_newton import TITLES, Chosen, chosen_problem
from jaxcalc import style
from jaxcalc.lab import Finding, Variable, above, jnp, less

kind = "compiled"


class Config(Chosen):
    method: Literal["gradient-descent", "l-bfgs", "bfgs", "newton"] = "bfgs"
    """the solver; gradient descent searches along its steps, Newton's method is damped where it must be"""
    num_steps: int = pydantic.Field(400, ge=10)
    """steps at the most"""


VARIABLES = {
    "step": Variable(("step",), "", "step"),
    "gradient_norm": Variable(("step",), "", "norm of the gradient"),
    "distance": Variable(("step",), "", "distance to the optimum"),
    "functions": Variable(("step",), "", "evaluations of the function so far"),
    "gradients": Variable(("step",), "", "evaluations of the gradient so far"),
    "hessians": Variable(("step",), "", "evaluations of the Hessian so far"),
    "work": Variable(("step",), "", "gradients, and n for each Hessian, so far"),
}


def run(config, key):
    from jaxcalc.solvers import bfgs, gradient_descent, iterate, lbfgs, newton

    problem = chosen_problem(config)
    solvers = {
        "gradient-descent": gradient_descent,
        "l-bfgs": lbfgs,
        "bfgs": bfgs,
        "newton": lambda: newton(factorization="modified", line_search="armijo"),
    }

    def record(at):
        counts = at.evaluations
        return {
            "gradient_norm": jnp.linalg.norm(at.gradient),
            "distance": jnp.linalg.norm(at.x - problem.optimum),
            "functions": counts.functions,
            "gradients": counts.gradients,
            "hessians": counts.hessians,
        }

    start = jnp.asarray(problem.start)
    found = iterate(
        solvers[config.method](), problem.function, start, num_steps=config.num_steps, record=record
    ).history
    # A Hessian is n products, each about as dear as a gradient.
    work = found["gradients"] + problem.dimension * found["hessians"]
    return {**found, "work": work}


def shared(config):
    return {"step": np.arange(config.num_steps + 1)}


def _falling(values: np.ndarray) -> np.ndarray:
    """A history as far as it falls clear of rounding: up to its first entry below 1e-13 of the largest."""
    small = np.flatnonzero(~(values > 1e-13 * np.max(values)))
    return values[: small[0]] if small.size else values


def _speed(distance: np.ndarray) -> tuple[float, float]:
    """The mean factor of the error a step, over the first half of the history and over its last six steps."""
    falling = np.log(_falling(distance))
    if falling.size < 14:
        return np.nan, np.nan
    half = falling.size // 2
    return float(np.exp((falling[half] - falling[0]) / half)), float(np.exp((falling[-1] - falling[-7]) / 6))


def _work_to(one, share):
    """Gradients until the gradient's norm is that share of the first; infinite if it never is."""
    norm = one.gradient_norm.values
    reached = np.flatnonzero(norm <= share * norm[0])
    return float(one.work.values[reached[0]]) if reached.size else np.inf


def _superlinear(dataset):
    names = list(map(str, dataset.problem.values))
    speed = lambda n, method: _speed(dataset.distance.sel({"problem": n, "method": method}).values)
    fast, slow = ({n: speed(n, method) for n in names} for method in ("bfgs", "gradient-descent"))
    pair = lambda found, k: np.array([found[n][k] for n in names])
    return Finding(
        less(pair(fast, 1), 0.7 * pair(fast, 0)) & less(0.95 * pair(slow, 0), pair(slow, 1)),
        measured="; ".join(
            f"{n}: {fast[n][0]:.3f} to {fast[n][1]:.3f}, gradient descent {slow[n][0]:.3f} to {slow[n][1]:.3f}"
            for n in names
        ),
        figure="gradients",
    )


def _saved(dataset):
    names, methods = ([str(v) for v in dataset[axis].values] for axis in ("problem", "method"))
    most = dataset.sizes["step"] - 1
    work = {n: {m: _work_to(dataset.sel({"problem": n, "method": m}), 1e-6) for m in methods} for n in names}
    # What never gets there takes more than any that does.
    finite = lambda n, m: min(work[n][m], np.finfo(float).max)
    told = lambda n: ", ".join(
        f"{m} {w:.0f}" if np.isfinite(w) else f"{m} more than {most}" for m, w in work[n].items()
    )
    return Finding(
        less(
            [finite(n, m) for n in names for m in ("bfgs", "l-bfgs")],
            [finite(n, "gradient-descent") for n in names for _ in range(2)],
        )
        & above(dataset.gradient_norm, 0.0)
        & above(dataset.work, 0.0),
        measured="; ".join(f"{n}: {told(n)}" for n in names),
        figure="gradients",
    )


def figures(dataset):
    if set(dataset.distance.dims) != {"problem", "method", "step"}:
        return {}
    names = [str(name) for name in dataset.problem.values]
    figure, panels = style.subplots(1, len(names), width="page", height=2.9, squeeze=False, sharey=True)
    for panel, name in zip(panels.flat, names):
        for method in map(str, dataset["method"].values):
            one = dataset.sel({"problem": name, "method": method})
            norm = one.gradient_norm.values / one.gradient_norm.values[0]
            end = np.flatnonzero(norm < 1e-13)
            stop = int(end[0]) + 1 if end.size else norm.size
            look = style.method(method, markersize=4, linewidth=1.1)
            panel.plot(one.work.values[:stop], np.maximum(norm[:stop], 1e-14), **look, markevery=max(1, stop // 8))
        panel.set(xscale="log", yscale="log", xlabel="gradients evaluated", ylim=(1e-14, 30))
        panel.set_title(TITLES.get(name, name))
    panels[0, 0].set_ylabel("gradient norm / at the start")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.set_label(
        "The norm of the gradient against the work: evaluated gradients, a Hessian of Newton's method counted as n."
    )
    return {"gradients": figure}


claims = {"bfgs-converges-superlinearly": _superlinear, "quasi-newton-saves-gradients": _saved}
