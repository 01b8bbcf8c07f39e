"""How much of Newton's speed do quasi-Newton methods keep, and at what price?

The gradient against evaluations by gradient descent, BFGS, L-BFGS and Newton's method on an ill-conditioned quadratic,
Rosenbrock's valley and logistic regression (``convergence``); what more memory does for L-BFGS (``memory``); and L-BFGS
beside gradient descent on badly scaled logistic regression (``logistic``).
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, NotJudged, Part, Variable, above, below, equal, holds, less

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

Problem = Literal["quadratic", "rosenbrock", "breast-cancer"]
_NAMES = {"gradient-descent": "gradient descent", "l-bfgs": "L-BFGS", "bfgs": "BFGS", "newton": "Newton"}
_TITLES = {"quadratic": "quadratic", "rosenbrock": "Rosenbrock", "breast-cancer": "logistic regression"}


class _Chosen(Config):
    problem: Problem = "quadratic"
    """a rotated quadratic, the chained Rosenbrock function, or logistic regression on tumours"""
    dimension: int = pydantic.Field(20, ge=2)
    """variables of the first two"""
    condition_number: float = pydantic.Field(1e4, ge=1)
    """of the quadratic"""


def _problem(config: _Chosen) -> Any:
    from jaxcalc.functions import problems

    match config.problem:
        case "quadratic":
            return problems.quadratic(config.condition_number, config.dimension)
        case "rosenbrock":
            return problems.rosenbrock(config.dimension)
        case _:
            return problems.breast_cancer(1e-4)


# -- convergence -------------------------------------------------------------------------------------------------------


class Convergence(_Chosen):
    method: Literal["gradient-descent", "l-bfgs", "bfgs", "newton"] = "bfgs"
    """the solver; gradient descent searches along its steps, Newton's method is damped where it must be"""
    num_steps: int = pydantic.Field(400, ge=10)
    """steps at the most"""


def run_convergence(config: Convergence, key: Any) -> dict[str, Any]:
    import jax.numpy as jnp

    from jaxcalc.solvers import bfgs, gradient_descent, iterate, lbfgs, newton

    problem = _problem(config)
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


def share_convergence(config: Convergence) -> dict[str, Any]:
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


def _work_to(one: "xarray.Dataset", share: float) -> float:
    """Gradients until the gradient's norm is that share of the first; infinite if it never is."""
    norm = one.gradient_norm.values
    reached = np.flatnonzero(norm <= share * norm[0])
    return float(one.work.values[reached[0]]) if reached.size else np.inf


def _superlinear(dataset: "xarray.Dataset") -> Finding:
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


def _saved(dataset: "xarray.Dataset") -> Finding:
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


def figures_of_convergence(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

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
            look = style.method(method, label=_NAMES[method], markersize=4, linewidth=1.1)
            panel.plot(one.work.values[:stop], np.maximum(norm[:stop], 1e-14), **look, markevery=max(1, stop // 8))
        panel.set(xscale="log", yscale="log", xlabel="gradients evaluated", ylim=(1e-14, 30))
        panel.set_title(_TITLES.get(name, name))
    panels[0, 0].set_ylabel("gradient norm / at the start")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    style.panel_labels(panels)
    figure.set_label(
        "The norm of the gradient against the work: evaluated gradients, a Hessian of Newton's method counted as n."
    )
    return {"gradients": figure}


convergence = Part(
    Convergence,
    {
        "step": Variable(("step",), "", "step"),
        "gradient_norm": Variable(("step",), "", "norm of the gradient"),
        "distance": Variable(("step",), "", "distance to the optimum"),
        "functions": Variable(("step",), "", "evaluations of the function so far"),
        "gradients": Variable(("step",), "", "evaluations of the gradient so far"),
        "hessians": Variable(("step",), "", "evaluations of the Hessian so far"),
        "work": Variable(("step",), "", "gradients, and n for each Hessian, so far"),
    },
    "compiled",
    run_convergence,
    shared=share_convergence,
    figures=figures_of_convergence,
    claims={"bfgs-converges-superlinearly": _superlinear, "quasi-newton-saves-gradients": _saved},
    doc="How fast do quasi-Newton methods converge beside gradient descent and Newton's method?",
)

# -- memory ------------------------------------------------------------------------------------------------------------


class Memory(_Chosen):
    memory_size: int = pydantic.Field(10, ge=0)
    """pairs that L-BFGS keeps; 0 keeps all, by BFGS"""
    starts: int = pydantic.Field(16, ge=1)
    """random starts around the customary one"""
    tolerance: float = pydantic.Field(1e-7, gt=0)
    """the gradient's largest entry that ends the count"""
    max_steps: int = pydantic.Field(3000, ge=1)
    """where a lane ends at the latest"""


def run_memory(config: Memory, key: Any) -> dict[str, Any]:
    import jax

    from jaxcalc import minimize
    from jaxcalc.solvers import bfgs, lbfgs

    problem = _problem(config)
    starts = problem.start + 0.3 * jax.random.normal(key, (config.starts, problem.dimension))

    solver = lbfgs(config.memory_size) if config.memory_size else bfgs()
    stop = {"tol": config.tolerance, "max_steps": config.max_steps}
    found = jax.vmap(lambda x: minimize(problem.function, x, method=solver, **stop))(starts)
    return {"evaluations": found.evaluations.gradients, "status": found.status}


def _memory_saves(dataset: "xarray.Dataset") -> Finding:
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


def figures_of_memory(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    if not {"problem", "memory_size"} <= set(dataset.evaluations.dims):
        return {}
    data = dataset.sortby("memory_size")
    figure, panel = style.subplots(width=4.6, height=2.8)
    for name, color, marker in zip(map(str, data.problem.values), ("blue", "vermilion", "green"), "os^"):
        one = data.sel(problem=name).sel(memory_size=data.memory_size.values > 0)
        low, middle, high = (one.evaluations.quantile(q, "start") for q in (0.25, 0.5, 0.75))
        panel.fill_between(one.memory_size, low, high, color=style.COLORS[color], alpha=0.2, linewidth=0)
        panel.plot(one.memory_size, middle, color=style.COLORS[color], marker=marker, label=_TITLES.get(name, name))
        if 0 in data.memory_size:
            full = float(data.evaluations.sel(problem=name, memory_size=0).median())
            panel.axhline(full, color=style.COLORS[color], linestyle=":", linewidth=1.0)
    panel.plot([], [], color=style.COLORS["grey"], linestyle=":", linewidth=1.0, label="BFGS")
    panel.set(xscale="log", yscale="log", xlabel="pairs kept by L-BFGS", ylabel="gradients to the tolerance")
    sizes = data.memory_size.values[data.memory_size.values > 0]
    panel.set_xticks(sizes, [f"{m:g}" for m in sizes])
    panel.xaxis.set_minor_formatter("")
    panel.set_yticks([50, 100, 200, 500, 1000], ["50", "100", "200", "500", "1000"])
    panel.yaxis.set_minor_formatter("")
    low, high = float(data.evaluations.min()), float(data.evaluations.max())
    panel.set_ylim(low / 1.2, high * 1.2)
    figure.legend(loc="outside right upper")
    figure.set_label(
        "Gradients that L-BFGS evaluates until their largest entry is below the tolerance, against the pairs it keeps: "
        "median and quartiles over starts. Dotted: BFGS, which keeps all."
    )
    return {"memory": figure}


memory = Part(
    Memory,
    {
        "evaluations": Variable(("start",), "", "gradients evaluated"),
        "status": Variable(("start",), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite, 4 stalled"),
    },
    "compiled",
    run_memory,
    figures=figures_of_memory,
    claims={"lbfgs-memory-saves-evaluations": _memory_saves},
    doc="What does more memory do for L-BFGS?",
)

# -- logistic ----------------------------------------------------------------------------------------------------------


class Logistic(Config):
    samples: int = pydantic.Field(400, ge=50)
    """rows"""
    features: int = pydantic.Field(20, ge=2)
    """columns, with scales spread evenly from 1 to 10"""
    tolerance: float = pydantic.Field(1e-6, gt=0)
    """the gradient's largest entry that ends the count"""
    max_steps: int = pydantic.Field(100_000, ge=1)
    """of gradient descent"""


def run_logistic(config: Logistic, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc import minimize
    from jaxcalc.functions.problems import logistic_regression
    from jaxcalc.solvers import gradient_descent, lbfgs

    keys = jax.random.split(key, 3)
    design = jax.random.normal(keys[0], (config.samples, config.features)) * jnp.linspace(1.0, 10.0, config.features)
    weights = jax.random.normal(keys[1], (config.features,)) / jnp.linspace(1.0, 10.0, config.features)
    chance = jax.nn.sigmoid(design @ weights)
    labels = jax.random.uniform(keys[2], (config.samples,)) < chance
    problem = logistic_regression("badly scaled", np.asarray(design), np.asarray(labels, float), l2=1e-6)
    assert problem.smoothness is not None
    rate = 1.0 / problem.smoothness
    stop = {"tol": config.tolerance, "max_steps": config.max_steps}
    solvers = {"l-bfgs": lbfgs(), "gradient-descent": gradient_descent(rate)}
    found = [minimize(problem.function, problem.start, method=solver, **stop) for solver in solvers.values()]
    return {
        "method": np.array(list(solvers)),
        "iterations": np.array([int(one.num_steps) for one in found]),
        "evaluations": np.array([int(one.evaluations.gradients) for one in found]),
        "gradient": np.array([float(one.gradient_norm) for one in found]),
        "excess": np.array([float(one.value) for one in found]) - problem.minimum,
        "converged": np.array([bool(one.success) for one in found]),
    }


def _works(dataset: "xarray.Dataset") -> Finding:
    fast, slow = (dataset.sel({"method": m}) for m in ("l-bfgs", "gradient-descent"))
    told = "" if bool(slow.converged) else ", not yet there"
    return Finding(
        holds(fast.converged)
        & below(fast.gradient, 1e-6)
        & less(fast.iterations, slow.iterations / 5)
        & below(fast.iterations, fast.evaluations),
        measured=f"L-BFGS {float(fast.iterations):g} iterations ({float(fast.evaluations):g} evaluations, gradient "
        f"{float(fast.gradient):.0e}); gradient descent at 1/L {float(slow.iterations):g}{told}",
    )


logistic = Part(
    Logistic,
    {
        "method": Variable(("method",), "", "solver"),
        "iterations": Variable(("method",), "", "steps until the gradient is small"),
        "evaluations": Variable(("method",), "", "gradients evaluated"),
        "gradient": Variable(("method",), "", "largest entry of the gradient at the end"),
        "excess": Variable(("method",), "", "value at the end above the minimum"),
        "converged": Variable(("method",), "", "whether the gradient became small"),
    },
    "host",
    run_logistic,
    claims={"lbfgs-works-on-logistic-regression": _works},
    doc="How many steps does L-BFGS save on badly scaled logistic regression?",
)
