"""What do the closed forms and gradient descent cost in samples and weights?"""

from typing import Any

import numpy as np
import pydantic

from experiments.least_squares import LOOKS, fitted_power
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, close, jax, jnp, less, over

kind = "timed"


class Config(lab.Config):
    n: int = pydantic.Field(1024, ge=8)
    """samples"""
    d: int = pydantic.Field(64, ge=2)
    """weights"""
    condition_number: float = pydantic.Field(3.0, ge=1)
    """cond(X): what sets the number of gradient steps"""
    tolerance: float = pydantic.Field(1e-6, gt=0, lt=1)
    """the relative error of the weights that descent is to reach"""
    repeats: int = pydantic.Field(5, ge=1)
    """readings of the clock"""
    blas_threads: int = pydantic.Field(1, ge=1)
    """threads of the linear algebra: with one, a busy machine does not bend the curves"""


VARIABLES = {
    "method": Variable(("method",), "", "solver", measured=False),
    "repeat": Variable(("repeat",), "", "reading", measured=False),
    "operations": Variable(("method",), "", "floating-point operations read off the program", measured=False),
    "step_operations": Variable((), "", "those of one gradient step", measured=False),
    "inverse_operations": Variable((), "", "those of Gauss-Jordan's inverse of X'X", measured=False),
    "gram_operations": Variable((), "", "those of X'X", measured=False),
    "seconds": Variable(("method", "repeat"), "s", "time of one solve", measured=True),
    "num_steps": Variable((), "", "gradient steps to the tolerance, by theory", measured=False),
    "error": Variable(("method",), "", "relative error of the weights", measured=False),
}


def run(config, key):
    import functools

    from threadpoolctl import threadpool_limits

    from jaxcalc import cost
    from jaxcalc.functions.elimination import gauss_jordan_operations
    from jaxcalc.functions.problems import linear_system
    from jaxcalc.solvers import best_learning_rate, contraction, gradient_descent, iterate, ordinary_least_squares

    drawn = functools.partial(linear_system, rows=config.n, columns=config.d, condition_number=config.condition_number)
    system = jax.jit(drawn)(key)
    # The design's singular values run from 1 / cond(X) to 1, so the curvatures of |Xw - y|^2 / 2 are known.
    curvatures = np.array([config.condition_number**-2.0, 1.0])
    rate = best_learning_rate(*curvatures)
    factor = float(contraction(rate, curvatures))
    num_steps = int(np.ceil(np.log(config.tolerance) / np.log(factor))) if factor > 0 else 1

    def descend(design, target):
        loss = lambda w: jnp.sum((design @ w - target) ** 2) / 2
        start = jnp.zeros(config.d)
        return iterate(gradient_descent(rate), loss, start, num_steps=num_steps, record=lambda at: None).last.x

    def gradient_step(design, target, w):
        return w - rate * jax.grad(lambda w: jnp.sum((design @ w - target) ** 2) / 2)(w)

    data = (system.design, system.target)
    programs: dict[str, Any] = {
        name: functools.partial(ordinary_least_squares, method=name) for name in ("normal", "qr", "svd")
    }
    programs["gradient-descent"] = descend
    compiled = {name: jax.jit(fun) for name, fun in programs.items()}
    with threadpool_limits(config.blas_threads, user_api="blas"):
        timings = measure.interleave(
            {name: functools.partial(fun, *data) for name, fun in compiled.items()}, repeats=config.repeats
        )
    truth = np.asarray(system.weights)
    error = [np.linalg.norm(np.asarray(fun(*data)) - truth) / np.linalg.norm(truth) for fun in compiled.values()]
    return {
        "method": np.array(list(programs)),
        "repeat": np.arange(config.repeats),
        "operations": np.array([cost(fun, *data).flops for fun in programs.values()]),
        "step_operations": cost(gradient_step, *data, system.weights).flops,
        "inverse_operations": float(gauss_jordan_operations(config.d)),
        "gram_operations": cost(lambda design: design.T @ design, system.design).flops,
        "seconds": np.stack([timings[name].samples for name in programs]),
        "num_steps": num_steps,
        "error": np.array(error),
    }


def _grid(dataset):
    return {"n", "d"} <= set(dataset.step_operations.dims)


def _crossings(dataset, name):
    """The number of weights from which descent costs less than each closed form, at the largest n."""
    from jaxcalc.measure import crossing

    one = dataset[name].isel(n=-1)
    one = one.median("repeat") if "repeat" in one.dims else one
    tie = 1.15 if name == "seconds" else 1.0
    descent = one.sel({"method": "gradient-descent"}).values
    return {m: crossing(one.d.values, descent, one.sel({"method": m}).values, tie=tie) for m in ("normal", "qr", "svd")}


def _step_and_inverse(dataset):
    data = over(dataset, "n", "d").transpose("n", "d", ...)
    n, d, step = data.n.values, data.d.values, data.step_operations.values
    in_d, in_n = fitted_power(d, step[-1]), fitted_power(n, step[:, -1])
    large = d >= 32
    cubic = fitted_power(d[large], data.inverse_operations.values[-1][large])
    return Finding(
        close({"exponent_d": in_d, "exponent_n": in_n}) & close(cubic, 3.0),
        measured=f"a gradient step: exponents {in_d:.3f} in d and {in_n:.3f} in n; an inverse {cubic:.3f} in d",
    )


def _product_dominates(dataset):
    data = over(dataset, "n", "d").transpose("n", "d", ...)
    tall = (data.n > data.d).values
    return less(1.0, (data.gram_operations / data.inverse_operations).values[tall])


def _overtakes(dataset):
    data = over(dataset, "n", "d")
    one = data.isel(n=-1)
    d, steps = one.d.values, int(one.num_steps[-1])
    # 4 n d a step against 2 n d^2 for X'X by a general product.
    predicted = 2.0 * steps
    if not d[0] < predicted < d[-1]:
        raise NotJudged(f"a crossing at d = {predicted:g} lies outside of the d that were tried")
    descent, normal = (one.operations.sel({"method": m}).values for m in ("gradient-descent", "normal"))
    before, after = np.interp(np.log([0.7 * predicted, 1.3 * predicted]), np.log(d), np.log(descent / normal))
    shown = ", ".join(
        f"{m} {v:.0f}" if np.isfinite(v) else f"{m} never" for m, v in _crossings(data, "operations").items()
    )
    return Finding(
        below(data.error.sel({"method": "gradient-descent"}), 1e-5) & less(0.0, before) & less(after, 0.0),
        measured=f"crossings in operations: {shown}; {steps} steps",
    )


def figures(dataset):
    if not _grid(dataset) or dataset.sizes["d"] < 2:
        return {}
    one = dataset.isel(n=-1)
    steps, n, d = float(one.num_steps.isel(d=-1)), float(one.n), one.d
    bounds = {"descent": 4.0 * n * d * steps, "product": 2.0 * n * d**2}
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.1)
    for panel, name, theory, title in (
        (left, "operations", bounds, f"Counted, n = {n:g}"),
        (right, "seconds", None, "Timed, medians and quartiles"),
    ):
        style.chart(
            one[name],
            "d",
            hue="method",
            theory=theory,
            looks=LOOKS,
            log="xy",
            axes=panel,
            legend=None,
            xlabel="weights d",
            ylabel={"operations": name, "seconds": "time (s)"}[name],
        )
        panel.set_title(title)
        style.ticks(panel.xaxis, d.values)
        found = _crossings(dataset, name)["normal"]
        if np.isfinite(found):
            panel.axvline(found, color=style.COLORS["grey"], linewidth=0.8, linestyle=":")
            place = {"xy": (found, 0.03), "xycoords": ("data", "axes fraction")}
            panel.annotate(f"d = {found:.0f}", xytext=(-3, 0), textcoords="offset points", ha="right", **place)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.set_label(
        f"Least squares with {n:g} samples and d weights: closed forms beside {steps:.0f} steps of gradient descent "
        "to a millionth of the error. Dashed: 4nd a step, and 2nd² for X'X; dotted: where descent overtakes the normal "
        "equations."
    )
    return {"cost": figure}


claims = {
    "ols-cost-cubic-gd-step-nd": _step_and_inverse,
    "product-costs-more-than-its-inverse": _product_dominates,
    "descent-overtakes-normal-equations": _overtakes,
}
