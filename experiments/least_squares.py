"""When does least squares' closed form pay, and which one keeps its digits?

The normal equations on worked data, the rank of one house among it (``examples``); the error of four closed forms
against the condition number, with and without a residual (``conditioning``); and what they cost beside gradient descent
in the number of samples and of weights, counted and timed, with the crossing (``cost``).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import Check, Config, Finding, NotJudged, Part, Variable, below, close, equal, less, over

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_EPS = float(np.finfo(float).eps)
_NAMES = {"normal": "normal equations", "inverse": "inverse of $X'X$", "qr": "QR", "svd": "SVD"}

# -- examples ----------------------------------------------------------------------------------------------------------


class Examples(Config):
    samples: int = pydantic.Field(50, ge=6)
    """rows of the random design"""
    weights: int = pydantic.Field(5, ge=1)
    """its columns"""


def run_examples(config: Examples, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions import datasets, problems
    from jaxcalc.solvers import ordinary_least_squares

    keys = jax.random.split(key, 3)
    design = jax.random.normal(keys[0], (config.samples, config.weights))
    target = jax.random.normal(keys[1], (config.samples,))
    point = jax.random.normal(keys[2], (config.weights,))
    gradient = jax.grad(lambda w: jnp.sum((design @ w - target) ** 2))
    found = ordinary_least_squares(design, target, method="normal")
    reference = np.linalg.lstsq(np.asarray(design), np.asarray(target), rcond=None)[0]

    houses = datasets.houses()
    many = np.column_stack([houses.column("lotsize"), houses.column("bedrooms")])
    one, price = np.array([[1200.0, 3.0]]), np.array([350000.0])
    solve = lambda rows, y, method: np.asarray(
        jax.jit(ordinary_least_squares, static_argnames="method")(rows, y, method=method)
    )
    return {
        "gradient_residual": abs(gradient(point) - (2 * design.T @ (design @ point) - 2 * design.T @ target)).max(),
        "gradient_at_solution": abs(gradient(found)).max(),
        "distance_to_svd": np.linalg.norm(np.asarray(found) - reference),
        "rank_of_one": np.linalg.matrix_rank(one.T @ one),
        "rank_of_many": np.linalg.matrix_rank(many.T @ many),
        "one_by_normal": solve(one, price, "normal"),
        "one_by_svd": solve(one, price, "svd"),
        "one_nearest": problems.one_house().optimum,
        "many_by_normal": solve(many, houses.price, "normal"),
        "many_by_svd": solve(many, houses.price, "svd"),
    }


def _normal_equation(dataset: "xarray.Dataset") -> Finding:
    gaps = [float(dataset[name]) for name in ("gradient_residual", "gradient_at_solution", "distance_to_svd")]
    return Finding(
        below(gaps),
        measured=f"gradients part by {gaps[0]:.1g}, {gaps[1]:.1g} at the solution, {gaps[2]:.1g} from the SVD's",
    )


def _mended(dataset: "xarray.Dataset") -> Check:
    near = lambda found, target: close(dataset[found], dataset[target], relative=True)
    return near("one_by_svd", "one_nearest") & equal(dataset.rank_of_many, 2) & near("many_by_normal", "many_by_svd")


examples = Part(
    Examples,
    {
        "gradient_residual": Variable((), "", "jax.grad of the squared loss less 2X'Xw - 2X'y, largest entry"),
        "gradient_at_solution": Variable((), "", "largest entry of the gradient at the normal equations' solution"),
        "distance_to_svd": Variable((), "", "distance of that solution to the SVD's"),
        "rank_of_one": Variable((), "", "rank of X'X with one house"),
        "rank_of_many": Variable((), "", "rank of X'X with 546 houses"),
        "one_by_normal": Variable(("weight",), "", "weights of one house by the normal equations; NaN if singular"),
        "one_by_svd": Variable(("weight",), "", "the same by the pseudo-inverse"),
        "one_nearest": Variable(("weight",), "", "the solution of least norm in closed form"),
        "many_by_normal": Variable(("weight",), "", "weights of 546 houses by the normal equations"),
        "many_by_svd": Variable(("weight",), "", "the same by the pseudo-inverse"),
    },
    "host",
    run_examples,
    claims={
        "ols-normal-equation": _normal_equation,
        "ols-on-the-running-example": lambda dataset: close({"rank": dataset.rank_of_one}),
        "running-example-by-pseudo-inverse-or-more-houses": _mended,
    },
    doc="Does the closed form of least squares hold, and what does one house alone determine?",
)

# -- conditioning ------------------------------------------------------------------------------------------------------


class Conditioning(Config):
    points: int = pydantic.Field(23, ge=4)
    """condition numbers of X from 10 to 1e12"""
    residual: float = pydantic.Field(0.1, gt=0)
    """length of the part of y that no weights reach, over that of the part that they do; 0 is tried beside it"""
    designs: int = pydantic.Field(20, ge=1)
    """random designs for each"""
    samples: int = pydantic.Field(60, ge=4)
    """rows"""
    weights: int = pydantic.Field(6, ge=2)
    """columns"""


def run_conditioning(config: Conditioning, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions.problems import linear_system
    from jaxcalc.solvers import LEAST_SQUARES, ordinary_least_squares

    def error(at):
        key, condition_number, residual = at
        system = linear_system(key, config.samples, config.weights, condition_number, residual)
        found = jnp.stack([ordinary_least_squares(system.design, system.target, method=name) for name in LEAST_SQUARES])
        return jnp.linalg.norm(found - system.weights, axis=1) / jnp.linalg.norm(system.weights)

    condition, residual = np.geomspace(10.0, 1e12, config.points), np.array([0.0, config.residual])
    # One design after the other: XLA's batched factorisations wait for one another for ever on a machine of two cores.
    grid = [np.ravel(axis) for axis in np.meshgrid(range(config.designs), condition, residual, indexing="ij")]
    keys = jax.random.split(key, config.designs)
    found = jax.jit(lambda *at: jax.lax.map(error, at))(keys[grid[0].astype(int)], *grid[1:])
    return {
        "method": np.array(LEAST_SQUARES),
        "condition_number": condition,
        "residual": residual,
        "error": np.asarray(found).reshape(config.designs, condition.size, residual.size, -1),
    }


def _medians(dataset: "xarray.Dataset") -> "xarray.DataArray":
    """The median error over designs, by (residual, method, condition number)."""
    return dataset.error.median("design", skipna=False).transpose("residual", "method", "condition_number")


def _growth(error: "xarray.DataArray", method: str) -> float:
    """The power of the condition number with which an error grows, clear of rounding below and of nonsense above."""
    values = error.sel({"method": method}).values
    clear = np.flatnonzero((values > 100 * _EPS) & (values < 1e-2))
    if clear.size < 3:
        raise NotJudged(f"fewer than three errors of {method} lie clear of rounding and of nonsense")
    part = slice(clear[0], clear[-1] + 1)  # all between, so that one that is missing is missed
    return _power(error.condition_number.values[part], values[part])


def _power(x: np.ndarray, y: np.ndarray) -> float:
    """The exponent of the best fit ``y ~ x^p``, which two points determine."""
    if x.size < 2:
        raise NotJudged("an exponent takes two points")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _in_double(dataset: "xarray.Dataset") -> "xarray.DataArray":
    """The medians of a run in double precision."""
    if np.finfo(dataset.attrs["dtype"]).eps > _EPS:
        raise NotJudged("needs double precision")
    return _medians(dataset)


def _one_inversion(dataset: "xarray.Dataset") -> Finding:
    exact = _in_double(dataset).sel(residual=0.0)
    at = lambda kappa, method: float(exact.sel({"method": method}).sel(condition_number=kappa, method="nearest"))
    return Finding(
        below(at(1e2, "inverse")),
        limits=~below(at(1e8, "inverse")) & below(at(1e8, "svd")),
        measured="errors of the inverse and the SVD: "
        + "; ".join(f"{at(k, 'inverse'):.1g} and {at(k, 'svd'):.1g} at {k:.0e}" for k in (1e2, 1e5, 1e8)),
    )


def _squared(dataset: "xarray.Dataset") -> Finding:
    median = _in_double(dataset)
    noisy = median.isel(residual=-1)
    slopes, bent = {m: _growth(median.sel(residual=0.0), m) for m in ("normal", "qr", "svd")}, _growth(noisy, "qr")
    return Finding(
        close(slopes),
        limits=less(0.0, noisy.residual) & close(bent, 2.0),
        measured=", ".join(f"{name} {slope:.2f}" for name, slope in slopes.items())
        + f"; with a residual of {float(noisy.residual):g} times the fit qr {bent:.2f}",
    )


def figures_of_conditioning(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    median = _medians(dataset)
    figure, panels = style.subplots(1, median.sizes["residual"], width="page", height=3.0, sharey=True, squeeze=False)
    kappa = median.condition_number.values
    for panel, residual in zip(panels.flat, median.residual.values):
        for method in map(str, median["method"].values):
            one = median.sel({"residual": residual, "method": method})
            look = style.method(method, label=_NAMES.get(method, method), markersize=3.5)
            if method == "svd":  # lies on QR
                look |= {"markerfacecolor": "none", "markeredgewidth": 0.9, "linestyle": "none", "markersize": 6}
            panel.plot(kappa, one, **look)
        for power in (1, 2):
            line = _EPS * kappa**power
            panel.plot(kappa[line < 3], line[line < 3], **style.THEORY)
            reach = kappa[line < 3][-1]
            panel.annotate(
                rf"$\epsilon\,\kappa{'^2' if power == 2 else ''}$",
                (reach, _EPS * reach**power),
                (-4, 5) if power == 2 else (2, -9),
                textcoords="offset points",
                ha="right",
                fontsize=7.5,
            )
        panel.set(xscale="log", yscale="log", xlabel=r"condition number of $X$,  $\kappa$", ylim=(1e-16, 30))
        panel.set_title("y within reach of X" if residual == 0 else f"residual {residual:g} times the fit")
    panels[0, 0].set_ylabel("relative error of the weights")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    style.panel_labels(panels)
    figure.set_label(
        "The relative error of the weights by four closed forms against the condition number, medians over random "
        "designs; dashed: the rounding unit times its first and second power. Where the Cholesky factor does not exist "
        "the normal equations' line ends."
    )
    return {"errors": figure}


conditioning = Part(
    Conditioning,
    {
        "method": Variable(("method",), "", "closed form"),
        "condition_number": Variable(("condition_number",), "", "of X"),
        "residual": Variable(("residual",), "", "part of y that no weights reach, over the part that they do"),
        "error": Variable(
            ("design", "condition_number", "residual", "method"),
            "",
            "relative error of the weights; NaN if there are none",
        ),
    },
    "host",
    run_conditioning,
    figures=figures_of_conditioning,
    claims={
        "ols-one-matrix-inversion-gives-the-answer": _one_inversion,
        "normal-equations-square-the-condition-number": _squared,
    },
    doc="How many digits do normal equations, QR and SVD lose, against the condition number?",
)

# -- cost --------------------------------------------------------------------------------------------------------------


class Cost(Config):
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


def run_cost(config: Cost, key: Any) -> dict[str, Any]:
    import functools

    import jax
    import jax.numpy as jnp
    from threadpoolctl import threadpool_limits

    from jaxcalc import cost, measure
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


def _grid(dataset: "xarray.Dataset") -> bool:
    return {"n", "d"} <= set(dataset.step_operations.dims)


def _crossings(dataset: "xarray.Dataset", name: str) -> dict[str, float]:
    """The number of weights from which descent costs less than each closed form, at the largest n."""
    from jaxcalc.measure import crossing

    one = dataset[name].isel(n=-1)
    one = one.median("repeat") if "repeat" in one.dims else one
    tie = 1.15 if name == "seconds" else 1.0
    descent = one.sel({"method": "gradient-descent"}).values
    return {m: crossing(one.d.values, descent, one.sel({"method": m}).values, tie=tie) for m in ("normal", "qr", "svd")}


def _step_and_inverse(dataset: "xarray.Dataset") -> Finding:
    data = over(dataset, "n", "d").transpose("n", "d", ...)
    n, d, step = data.n.values, data.d.values, data.step_operations.values
    in_d, in_n = _power(d, step[-1]), _power(n, step[:, -1])
    large = d >= 32
    cubic = _power(d[large], data.inverse_operations.values[-1][large])
    return Finding(
        close({"exponent_d": in_d, "exponent_n": in_n}) & close(cubic, 3.0),
        measured=f"a gradient step: exponents {in_d:.3f} in d and {in_n:.3f} in n; an inverse {cubic:.3f} in d",
    )


def _product_dominates(dataset: "xarray.Dataset") -> Check:
    data = over(dataset, "n", "d").transpose("n", "d", ...)
    tall = (data.n > data.d).values
    return less(1.0, (data.gram_operations / data.inverse_operations).values[tall])


def _overtakes(dataset: "xarray.Dataset") -> Finding:
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


def figures_of_cost(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    if not _grid(dataset) or dataset.sizes["d"] < 2:
        return {}
    one = dataset.isel(n=-1)
    d = one.d.values.astype(float)
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.1)
    for method in map(str, one["method"].values):
        look = style.method(method, label=_NAMES.get(method, "gradient descent"))
        mine = one.sel({"method": method})
        left.plot(d, mine.operations, **look)
        right.plot(d, mine.seconds.median("repeat"), **look)
        low, high = (mine.seconds.quantile(q, "repeat") for q in (0.25, 0.75))
        right.fill_between(d, low, high, color=look["color"], alpha=0.2, linewidth=0)
    steps, n = float(one.num_steps.isel(d=-1)), float(one.n)
    left.plot(d, 4 * n * d * steps, **style.THEORY)
    left.plot(d, 2 * n * d**2, **style.THEORY)
    for panel, name in ((left, "operations"), (right, "seconds")):
        found = _crossings(dataset, name)["normal"]
        if np.isfinite(found):
            panel.axvline(found, color=style.COLORS["grey"], linewidth=0.8, linestyle=":")
            panel.annotate(
                f"d = {found:.0f}", (found, 0.03), (-3, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="right", fontsize=7,
            )  # fmt: skip
        panel.set(xscale="log", yscale="log", xlabel="weights d")
        panel.set_xticks(d, [f"{value:g}" for value in d], fontsize=6.5)
        panel.xaxis.set_minor_formatter("")
    left.set(ylabel="operations", title=f"Counted, n = {n:g}")
    right.set(ylabel="seconds (median, quartiles)", title="Timed")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    style.panel_labels((left, right))
    figure.set_label(
        f"Least squares with {n:g} samples and d weights: closed forms beside {steps:.0f} steps of gradient descent "
        "to a millionth of the error. Dashed: 4nd a step, and 2nd² for X'X; dotted: where descent overtakes the normal "
        "equations."
    )
    return {"cost": figure}


cost = Part(
    Cost,
    {
        "method": Variable(("method",), "", "solver", measured=False),
        "repeat": Variable(("repeat",), "", "reading", measured=False),
        "operations": Variable(("method",), "", "floating-point operations read off the program", measured=False),
        "step_operations": Variable((), "", "those of one gradient step", measured=False),
        "inverse_operations": Variable((), "", "those of Gauss-Jordan's inverse of X'X", measured=False),
        "gram_operations": Variable((), "", "those of X'X", measured=False),
        "seconds": Variable(("method", "repeat"), "s", "time of one solve", measured=True),
        "num_steps": Variable((), "", "gradient steps to the tolerance, by theory", measured=False),
        "error": Variable(("method",), "", "relative error of the weights", measured=False),
    },
    "timed",
    run_cost,
    figures=figures_of_cost,
    claims={
        "ols-cost-cubic-gd-step-nd": _step_and_inverse,
        "product-costs-more-than-its-inverse": _product_dominates,
        "descent-overtakes-normal-equations": _overtakes,
    },
    doc="What do the closed forms and gradient descent cost in samples and weights?",
)
