"""How far does Newton's method by conjugate gradients go, with scales and without?"""

from typing import Literal

import pydantic

from experiments.solver_cost import TIMES, Timed, readings, sweep_points
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, digits, holds, jnp, less

kind = "timed"


class Config(Timed):
    dimension: int = pydantic.Field(1000, ge=2)
    """number of variables, even"""
    problem: Literal["valleys", "chain"] = "valleys"
    """pairs of variables in Rosenbrock's valley, or a convex chain with curvatures over six orders of magnitude"""
    scaled: bool = True
    """whether conjugate gradients may scale by the Hessian's diagonal"""


VARIABLES = {
    **TIMES,
    "products": Variable((), "1", "Hessian-vector products", measured=False),
    "success": Variable((), "", "1 where the stationarity test held", measured=False),
    "residual": Variable((), "", "largest entry of the gradient at the end", measured=False),
    "footprint": Variable((), "B", "compiled memory: temporaries and outputs", measured=False),
}


def _long(problem):
    def valleys(x):
        return jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)

    def chain(x):
        y = jnp.logspace(-1, 2, x.size, dtype=x.dtype) * (x - 1)
        return jnp.sum(y**2 / 2 + jnp.sqrt(1 + y**2)) + 0.2 * jnp.sum(y[1:] * y[:-1])

    return valleys if problem == "valleys" else chain


def run(config, key):
    """Newton-CG on a problem of any length."""
    from jaxcalc.programs.compiled import executable
    from jaxcalc.solvers import minimize, newton_cg

    fun = _long(config.problem)
    pair = [-1.2, 1.0] if config.problem == "valleys" else [0.0, 0.0]
    start = jnp.tile(jnp.array(pair), config.dimension // 2)

    def solve(x):
        found = minimize(fun, x, method=newton_cg(precondition=config.scaled))
        return found.success, found.num_steps, found.evaluations.hvps, found.kkt_residual

    program = executable(solve, start)
    success, num_steps, products, residual = program(start)
    return {
        **readings({"Newton-CG": lambda: program(start)}, config),
        "num_steps": float(num_steps),
        "products": float(products),
        "success": float(success),
        "residual": float(residual),
        "footprint": float(program.footprint),
    }


def _longest(dataset):
    """By problem and whether scaled, the runs of most variables."""
    points = [point for _, point in sweep_points(dataset)]
    longest = max(int(point.dimension) for point in points)
    found = {(str(p.problem.item()), bool(p.scaled)): p for p in points if int(p.dimension) == longest}
    if len(found) < 4:
        raise NotJudged("it takes both problems, with scales and without")
    return found


def _linear_memory(dataset):
    points = [point for _, point in sweep_points(dataset)]
    numbers = [float(p.footprint) / int(p.dimension) / 8 for p in points if int(p.dimension) >= 1000]
    seconds = {name: float(p.seconds.median()) for (name, scaled), p in _longest(dataset).items() if scaled}
    return Finding(
        holds(dataset.success) & below(numbers, 100.0) & above(dataset.seconds, 0.0),
        measured=f"{int(dataset.success.sum())} of {len(points)}, at most {max(numbers):.0f} numbers; "
        + ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in seconds.items()),
        figure="size",
    )


def _fewer_products(dataset):
    plain, scaled = (_longest(dataset)["chain", choice] for choice in (False, True))
    saved = float(plain.products / scaled.products)
    slow, fast = (float(p.seconds.median(skipna=False)) for p in (plain, scaled))
    return Finding(
        above(saved, 10.0) & less(fast, slow),
        measured=f"{saved:.3g} times fewer, {slow / fast:.3g} times as fast",
        figure="size",
    )


def figures(dataset):
    """Time and products over the number of variables."""
    data = lab.over(dataset, "problem", "scaled", "dimension").squeeze("route")
    lines = {
        f"{problem}, {'scaled' if scaled else 'unscaled'}": data.isel(problem=i, scaled=j)
        for i, problem in enumerate(data.problem.values)
        for j, scaled in enumerate(data.scaled.values)
    }
    looks = {name: {"linestyle": "--" if name.endswith("unscaled") else "-", "markersize": 4} for name in lines}
    figure, panels = style.subplots(1, 2, width="page", height=3.2)
    common = {"looks": looks, "log": "xy", "xlabel": "number of variables"}
    times = {name: 1e3 * one.seconds for name, one in lines.items()}
    products = {name: one.products for name, one in lines.items()}
    style.chart(times, "dimension", axes=panels[0], ylabel="time (ms)", legend=None, **common)
    style.chart(products, "dimension", axes=panels[1], ylabel="Hessian-vector products", legend="below", **common)
    figure.set_label(
        "Newton-CG to the default tolerance, with and without scales from the Hessian's diagonal: medians, and "
        "quartiles of the times."
    )
    return {"size": figure}


def tables(dataset):
    return {
        "Newton-CG": [
            {
                "problem": str(p.problem.item()),
                "n": int(p.dimension),
                "scaled": bool(p.scaled),
                "ms": digits(1e3 * p.seconds.median()),
                "steps": int(p.num_steps),
                "products": int(p.products),
                "largest entry of the gradient": digits(p.residual, 2),
                "memory, MB": digits(p.footprint / 1e6),
            }
            for _, p in sweep_points(dataset)
        ]
    }


claims = {"newton-cg-scales": _linear_memory, "scales-save-products": _fewer_products}
