"""Order of convergence of Newton's method and of gradient descent."""

from typing import Any, Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, between, close, equal

kind = "compiled"
dtype = "float64"

_NOTE: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 6.5, "color": "#333333"}


class Config(lab.Config):
    """One method on one problem."""

    problem: Literal[
        "breast-cancer", "rosenbrock", "quadratic", "exponential", "quartic", "one-house", "house-prices"
    ] = "breast-cancer"
    """Logistic regression; the banana valley; a quadratic; exp(x) - 2x + x^2/2; x^4; the price of one house; of 546."""
    method: Literal["gradient-descent", "newton", "damped-newton"] = "newton"
    """The solver."""
    condition_number: float = pydantic.Field(1e4, ge=1)
    """Of the quadratic."""
    dimension: int = pydantic.Field(6, ge=1)
    """Of the quadratic."""
    learning_rate: float | None = pydantic.Field(None, gt=0)
    """Of gradient descent; by default 1/L, L the larger of the curvatures at the start and at the optimum."""
    damping: float = pydantic.Field(1e-3, gt=0)
    """What damped Newton adds to the Hessian's diagonal, as a multiple of that L."""
    newton_steps: int = pydantic.Field(25, ge=2)
    """Steps of Newton's method."""
    descent_steps: int = pydantic.Field(4000, ge=2)
    """Steps of gradient descent."""


VARIABLES = {
    "step": Variable(("step",), "", "step"),
    "error": Variable(("step",), "", "distance to the optimum"),
    "gradient_norm": Variable(("step",), "", "norm of the gradient"),
    "order": Variable((), "", "estimated order of convergence"),
    "rate": Variable((), "", "factor by which the error changes a step"),
    "steps": Variable((), "", "steps to 1e-8 of the first error; -1 not reached"),
    "rank": Variable((), "", "rank of the Hessian at the start"),
    "status": Variable((), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite"),
}


def run(config, key):
    """The error at every step and the order that it shows."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions import problems
    from jaxcalc.solvers import iterate, linear_rate, order_of_convergence, steps_to

    choices = {"condition_number": config.condition_number, "dimension": config.dimension}
    problem = problems.build(config.problem, **(choices if config.problem == "quadratic" else {}))
    curvatures = problem.curvatures(problem.start)[0]
    newton_like = config.method != "gradient-descent"
    num_steps = config.newton_steps if newton_like else config.descent_steps
    start = jnp.asarray(problem.start, float)
    eps = float(jnp.finfo(start.dtype).eps)
    tolerance: Any = 100 * eps * jnp.linalg.norm(jax.grad(problem.function)(start))
    result = iterate(
        _solver(config, max(curvatures[-1], problem.curvatures()[0][-1])),
        problem.function,
        start,
        num_steps=num_steps,
        tol=tolerance,
        record=lambda at: {
            "error": jnp.linalg.norm(at.x - problem.optimum),
            "gradient_norm": jnp.linalg.norm(at.gradient),
        },
    )
    error = result.history["error"]
    # A slow method shows rounding earlier: its steps change little of the error.
    floor = float((500 if newton_like else 5e6) * eps * (1.0 + np.linalg.norm(problem.optimum)))
    return {
        "step": jnp.arange(num_steps + 1),
        **result.history,
        "order": order_of_convergence(error, floor),
        "rate": linear_rate(error, floor),
        "steps": steps_to(error, 1e-8 * error[0]),
        "rank": jnp.asarray(np.linalg.matrix_rank(np.diag(curvatures), hermitian=True)),
        "status": result.status,
    }


def _solver(config, largest):
    """The solver that the config names; ``largest`` is the curvature that sets its scale."""
    from jaxcalc.solvers import gradient_descent, newton

    match config.method:
        case "gradient-descent":
            return gradient_descent(config.learning_rate or 1.0 / largest)
        case "newton":
            return newton()
        case _:
            return newton(damping=config.damping * largest)


_QUARTIC_STEPS = 20  # clear of rounding


def _with_axes(dataset):
    """The dataset with a case and a method axis; a plain axis of problems serves as the cases."""
    import json

    params = json.loads(dataset.attrs.get("params", "{}"))
    if "case" not in dataset.dims and "problem" in dataset.dims:
        dataset = dataset.rename({"problem": "case"})
        dataset = dataset.assign_coords(problem=("case", dataset["case"].values))
    names = {"case": "problem", "method": "method"}
    missing = {dim: [params.get(key, "")] for dim, key in names.items() if dim not in dataset.dims}
    dataset = dataset.drop_vars(list(missing), errors="ignore").expand_dims(missing)
    for name in ("problem", "condition_number"):
        if name not in dataset.coords:
            dataset = dataset.assign_coords({name: ("case", [params.get(name)] * dataset.sizes["case"])})
    return dataset


def figures(dataset):
    """The error against the step, and each error against the one before it."""
    data = _with_axes(dataset)
    return {"errors": _draw_errors(data), "order": _draw_order(data)}


def _draw_errors(data):
    """One panel a problem, one line a method."""
    count = data.sizes["case"]
    columns = min(count, 4)
    rows = -(-count // columns)
    figure, panels = style.subplots(
        rows, columns, width="page", height=1.75 * rows + 0.35, squeeze=False, sharex=True, sharey=True
    )
    for panel in panels.flat[count:]:
        panel.set_axis_off()
    for panel, case in zip(panels.flat, data["case"].values):
        for method in data["method"].values:
            error = data["error"].sel({"case": case, "method": method}).values
            broken = "newton" in str(method) and not np.isfinite(error[1])
            if broken:
                panel.text(0.97, 0.9, f"{method}: no step,\nHessian singular", transform=panel.transAxes, **_NOTE)
            # Below the rounding of the numbers themselves there is nothing to see.
            floor = 1e-16 * (1.0 + np.nanmax(error[:1]))
            reached = np.flatnonzero(error <= 10 * floor)
            error = np.maximum(error[: reached[0] + 1 if reached.size else len(error)], floor)
            look = style.method(str(method), markersize=3, markevery=0.12 if len(error) > 50 else 1)
            panel.plot(range(len(error)), error, **look)
        panel.set(xscale="symlog", yscale="log", xlim=(0, None))
        panel.set_title(str(case), fontsize=8)
        panel.set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1k"])
    for panel in panels[:, 0]:
        panel.set_ylabel("distance to optimum")
    for panel in panels[-1]:
        panel.set_xlabel("step")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.set_label("Distance to the known optimum; the step's axis is linear up to 1 and logarithmic beyond.")
    return figure


def _draw_order(data):
    """Each error against the one before it: the slope is the order."""
    figure, panel = style.subplots(1, 1, height=3.0)
    line = np.geomspace(1e-13, 1.0, 50)
    for method in ("gradient-descent", "newton"):
        if method not in data["method"].values:
            continue
        pairs: dict[str, list[np.ndarray]] = {}
        for case in data["case"].values:
            one = data.sel({"case": case, "method": method})
            slow = method == "newton" and float(one["order"]) < 1.2
            label = f"{method}, singular Hessian" if slow else method
            pairs.setdefault(label, []).append(_successive(one["error"].values))
        for label, found in pairs.items():
            look = style.method(method, linestyle="", markersize=3.5, label=label)
            if label != method:
                look |= {"markerfacecolor": "none", "markeredgewidth": 0.8}
            panel.loglog(*np.concatenate(found, axis=1), **look)
    panel.loglog(line, line, **style.THEORY)
    panel.loglog(line, line**2, **style.THEORY)
    panel.annotate("slope 1", (1e-9, 1e-9), (0, 6), textcoords="offset points", ha="right", fontsize=7)
    panel.annotate("slope 2", (1e-5, 1e-10), (6, -2), textcoords="offset points", fontsize=7)
    panel.set(xlim=(1e-13, 300), ylim=(1e-14, 300), xlabel="error before the step", ylabel="error after the step")
    panel.legend(loc="upper left")
    figure.set_label(
        "The error after a step against the error before it, all problems and methods; the slope is the order "
        "of convergence."
    )
    return figure


def _successive(error: np.ndarray) -> np.ndarray:
    """Pairs (error, next error) as (2, k), thinned evenly over a long history, as far as rounding does not show.

    A step that lands on the optimum, as Newton's does on a quadratic, has no order to show.
    """
    good = np.nan_to_num(error) > 1e-13
    usable = error if good.all() else error[: int(np.argmin(good))]
    last = len(usable) - 1
    if last < 2:
        return np.empty((2, 0))
    at = np.unique(np.geomspace(1, last, 14).astype(int)) - 1 if last > 30 else np.arange(last)
    return np.stack([usable[at], usable[at + 1]])


def _cases(data, *problems):
    """The positions of the cases on these problems."""
    return np.flatnonzero(np.isin(data["problem"].values.astype(str), problems))


def _read(dataset):
    """The dataset by case and method, in double precision: single leaves too few errors to read an order from."""
    if dataset.attrs["dtype"] != "float64":
        raise NotJudged("single precision leaves too few errors to read an order from")
    return _with_axes(dataset)


def _orders(data):
    """Cases with a regular Hessian where both methods went far enough, and their orders: Newton's, descent's."""
    newton, descent = (data.sel({"method": method}) for method in ("newton", "gradient-descent"))
    far = [
        index
        for index in _cases(newton, "exponential", "breast-cancer")
        if _far(newton["error"].values[index], 1e-8, 20) and _far(descent["error"].values[index], 0.1, 1000)
    ]
    if not far:
        raise NotJudged("no problem with a regular Hessian on which both methods went far enough")
    names = newton["case"].values[far].astype(str).tolist()
    return names, newton["order"].values[far], descent["order"].values[far]


def _judge_order(dataset):
    data = _read(dataset)
    names, orders, slow = _orders(data)
    valley = _cases(data, "rosenbrock")
    newton = data.sel({"method": "newton"})
    return Finding(
        close(orders, 2.0, 0.15) & close(slow, 1.0, 0.15),
        measured="; ".join(f"{name}: {q:.3f} and {d:.3f}" for name, q, d in zip(names, orders, slow)),
        figure="order",
        note=_rosenbrock_note(newton.isel(case=valley[0])) if valley.size else "",
    )


def _judge_singular(dataset):
    data = _read(dataset)
    _, orders, _ = _orders(data)
    flat = _cases(data, "quartic")
    if not flat.size:
        raise NotJudged("it takes a problem whose Hessian vanishes at the optimum")
    error = data.sel({"method": "newton"})["error"].values[flat[0]][:_QUARTIC_STEPS]
    ratio = error[2:] / error[1:-1]
    return Finding(
        close(orders, 2.0, 0.1),
        limits=close(ratio, 2 / 3, 1e-6),
        measured=f"order {', '.join(f'{q:.3f}' for q in orders)} where the Hessian is regular",
        figure="errors",
        note=f"On x⁴ the Hessian vanishes at the optimum; the error shrinks by {ratio[-1]:.6f} a step.",
    )


def _far(error: np.ndarray, fraction: float, steps: int) -> bool:
    """Whether the error fell to a fraction of the first, or had that many steps to do so."""
    error = error[np.isfinite(error)]
    return error.size > 3 and bool(error.min() <= fraction * error[0] or error.size > steps)


def _judge_quadratic_model(dataset):
    """One step on a quadratic, to the rounding of a solve with its matrix: eps times the condition number."""
    newton = _with_axes(dataset).sel({"method": "newton"})
    eps = float(np.finfo(dataset.attrs["dtype"]).eps)
    at = _cases(newton, "quadratic")
    condition = newton["condition_number"].values[at].astype(float)
    at, condition = at[condition <= 1e-4 / eps], condition[condition <= 1e-4 / eps]
    gradient = newton["gradient_norm"].values[at]
    left = gradient[:, 1] / gradient[:, 0]
    worst = int(np.argmax(left / condition))
    return Finding(
        below(left / condition, 100 * eps),
        measured=f"{left[worst]:.1e} of the first at κ = {condition[worst]:g}",
        figure="errors",
    )


def _houses(dataset):
    """Newton's runs on all houses and on the one that is stated."""
    data = _read(dataset)
    many, one = _cases(data, "house-prices"), _cases(data, "one-house")
    if not many.size or not one.size:
        raise NotJudged("it takes one house, and all of them")
    return data.isel(case=many[0]), data.isel(case=one[0])


def _judge_one_house(dataset):
    single = _houses(dataset)[1].sel({"method": "newton"})
    return Finding(
        equal({"hessian_rank": single["rank"]}, {"hessian_rank": 2}) & between(single["steps"], 0, 1),
        measured=f"rank {float(single['rank']):g} with the one house that is stated: not solved",
        figure="errors",
    )


def _judge_more_houses(dataset):
    whole = _houses(dataset)[0].sel({"method": "newton"})
    return Finding(
        equal(whole["rank"], 2) & equal(whole["steps"], 1),
        measured=f"rank {float(whole['rank']):g}, solved in {float(whole['steps']):g} step",
        figure="errors",
    )


def _rosenbrock_note(valley):
    """What the errors on Rosenbrock's valley say, where few steps leave no order to read."""
    error = valley["error"].values
    near = np.flatnonzero((error[:-1] < 1) & (error[1:] > 1e-15))
    bound = np.max(error[near + 1] / error[near] ** 2) if near.size else np.nan
    return (
        f"On Rosenbrock the reading is {float(valley['order']):.2f}, since the constant changes "
        f"with the error's direction; the next error stays below {bound:.2g} times the square of the last."
    )


def tables(dataset):
    """Steps to 1e-8 of the first error and the order, by problem."""
    data = _with_axes(dataset)
    rows = []
    for case in data["case"].values:
        row: dict[str, Any] = {"problem": str(case)}
        for method in data["method"].values:
            one = data.sel({"case": case, "method": method})
            steps = int(one["steps"])
            row[f"{method}: steps"] = steps if steps >= 0 else "-"
            row[f"{method}: order"] = round(float(one["order"]), 2) if np.isfinite(one["order"]) else "-"
        rows.append(row)
    return {"Steps to 1e-8 of the first error; order of convergence": rows}


claims = {
    "newton-quadratic-gd-linear": _judge_order,
    "newton-quadratic-needs-nonsingular-hessian": _judge_singular,
    "newton-step-from-quadratic-model": _judge_quadratic_model,
    "newton-on-the-running-example": _judge_one_house,
    "newton-on-more-houses": _judge_more_houses,
}
