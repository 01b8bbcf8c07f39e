"""Order of convergence of Newton's method and of gradient descent."""

from typing import Any, Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, between, close, eps, equal, jax, jnp

kind = "compiled"

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
    from jaxcalc.functions import problems
    from jaxcalc.solvers import (
        gradient_descent,
        iterate,
        linear_rate,
        newton,
        order_of_convergence,
        steps_to,
    )

    names = ("condition_number", "dimension") if config.problem == "quadratic" else ()
    problem = problems.build(config.problem, **{name: getattr(config, name) for name in names})
    curvatures = problem.curvatures(problem.start)[0]
    largest = max(curvatures[-1], problem.curvatures()[0][-1])
    newton_like = config.method != "gradient-descent"
    num_steps = config.newton_steps if newton_like else config.descent_steps
    start = jnp.asarray(problem.start, float)
    eps = float(jnp.finfo(start.dtype).eps)
    tolerance: Any = 100 * eps * jnp.linalg.norm(jax.grad(problem.function)(start))
    solvers = {
        "gradient-descent": gradient_descent(config.learning_rate or 1.0 / largest),
        "newton": newton(),
        "damped-newton": newton(damping=config.damping * largest),
    }
    result = iterate(
        solvers[config.method],
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


_QUARTIC_STEPS = 20  # clear of rounding


def _by_case(dataset):
    """The dataset by case and method; problems serve as the cases where there are none."""
    if "case" in dataset.dims:
        return lab.over(dataset, "method")
    data = lab.over(dataset, "problem", "method").rename(problem="case")
    return data.assign_coords(problem=("case", data["case"].values))


def figures(dataset):
    data = _by_case(dataset)
    return {"errors": _draw_errors(data), "order": _draw_order(data)}


def _draw_errors(data):
    rounding = data.error <= 1e-15 * (1.0 + data.error.isel(step=0))
    columns = min(data.sizes["case"], 4)
    figure, panels = style.chart(
        data.error.where(rounding.cumsum("step") - rounding == 0),  # up to where rounding is all there is
        "step",
        col="case",
        hue="method",
        log="y",
        ylim=(1e-17, 1e4),
        wrap=columns,
        legend="below",
        width="page",
        height=1.75 * -(-data.sizes["case"] // columns) + 0.35,
    )
    for panel, case in zip(panels.flat, data["case"].values):
        panel.set_xscale("symlog")
        panel.set_xlim(0, None)
        panel.set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1k"])
        first = data.error.sel(case=case).isel(step=1)
        for method in first["method"].values[~np.isfinite(first)]:
            text = f"{style.method(method)['label']}: no step,\nHessian singular"
            panel.text(0.97, 0.9, text, transform=panel.transAxes, **_NOTE)
    figure.set_label("Steps are linear up to 1 and logarithmic beyond; hollow: exactly at the optimum.")
    return figure


def _draw_order(data):
    """Each error against the one before it: the slope is the order."""
    figure, panel = style.subplots(height=3.0)
    line = np.geomspace(1e-13, 1.0, 50)
    singular = {"markerfacecolor": "none", "markeredgewidth": 0.8, "label": "Newton, singular Hessian"}
    for method, runs in data.groupby("method"):
        if method == "damped-newton":
            continue
        runs = runs.squeeze("method")
        slow = (runs.order.values < 1.2) & (method == "newton")
        for chosen, changes in ((~slow, {}), (slow, singular)):
            pairs = [_successive(error) for error in runs.error.values[chosen]]
            if pairs:
                look = style.method(method, linestyle="", markersize=3.5, **changes)
                panel.plot(*np.concatenate(pairs, axis=1), **look)
    for power, place in ((1, (1e-9, 3e-9)), (2, (1e-5, 3e-12))):
        panel.plot(line, line**power, **style.THEORY)
        panel.text(*place, f"slope {power}", fontsize=7, ha="right" if power == 1 else "left")
    panel.set(xscale="log", yscale="log", xlim=(1e-13, 300), ylim=(1e-14, 300))
    panel.set(xlabel="error before the step", ylabel="error after the step")
    panel.legend(loc="upper left")
    figure.set_label("All problems; the slope is the order of convergence.")
    return figure


def _successive(error):
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
    return _by_case(dataset)


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


def _far(error, fraction, steps):
    """Whether the error fell to a fraction of the first, or had that many steps to do so."""
    error = error[np.isfinite(error)]
    return error.size > 3 and bool(error.min() <= fraction * error[0] or error.size > steps)


def _judge_quadratic_model(dataset):
    """One step on a quadratic, to the rounding of a solve with its matrix: eps times the condition number."""
    newton = _by_case(dataset).sel({"method": "newton"})
    unit = eps(dataset)
    at = _cases(newton, "quadratic")
    condition = np.broadcast_to(newton.condition_number, newton.sizes["case"])[at].astype(float)
    at, condition = at[condition <= 1e-4 / unit], condition[condition <= 1e-4 / unit]
    gradient = newton["gradient_norm"].values[at]
    left = gradient[:, 1] / gradient[:, 0]
    worst = int(np.argmax(left / condition))
    return Finding(
        below(left / condition, 100 * unit),
        measured=f"{left[worst]:.1e} of the first at κ = {condition[worst]:g}",
        figure="errors",
    )


def _houses(dataset):
    """Newton's runs on all houses and on the one that is stated."""
    newton = _read(dataset).sel({"method": "newton"})
    many, single = _cases(newton, "house-prices"), _cases(newton, "one-house")
    if not many.size or not single.size:
        raise NotJudged("it takes one house, and all of them")
    return newton.isel(case=many[0]), newton.isel(case=single[0])


def _judge_one_house(dataset):
    _, single = _houses(dataset)
    return Finding(
        equal(single["rank"], 2) & between(single["steps"], 0, 1),
        measured=f"rank {float(single['rank']):g} with the one house that is stated: not solved",
        figure="errors",
    )


def _judge_more_houses(dataset):
    whole, _ = _houses(dataset)
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
    data = _by_case(dataset)
    rows = []
    for case in data["case"].values:
        row: dict[str, Any] = {"problem": str(case)}
        for method in data["method"].values:
            run = data.sel({"case": case, "method": method})
            row[f"{method}: steps"] = int(run.steps) if run.steps >= 0 else "-"
            row[f"{method}: order"] = round(float(run.order), 2) if np.isfinite(run.order) else "-"
        rows.append(row)
    return {"Steps to 1e-8 of the first error; order of convergence": rows}


claims = {
    "newton-quadratic-gd-linear": _judge_order,
    "newton-quadratic-needs-nonsingular-hessian": _judge_singular,
    "newton-step-from-quadratic-model": _judge_quadratic_model,
    "newton-on-the-running-example": _judge_one_house,
    "newton-on-more-houses": _judge_more_houses,
}
