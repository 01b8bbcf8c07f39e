"""Where does Newton's method go without convexity, and what does a trust region change?

Newton's plain step beside gradient descent on two textbook functions (``examples``); and where random starts end in
rising dimension, by solver: a minimum, another stationary point, or nowhere (``nonconvex``).
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import Check, Config, Finding, NotJudged, Part, Variable, above, below, equal, less, over

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_METHODS = ("gradient-descent", "newton", "trust-region")
_NAMES = {
    "gradient-descent": "gradient descent",
    "newton": "Newton",
    "newton-cg": "Newton-CG",
    "trust-region": "trust region",
    "bfgs": "BFGS",
}

# -- examples ----------------------------------------------------------------------------------------------------------


class Examples(Config):
    num_steps: int = pydantic.Field(60, ge=8)
    """steps taken by each solver"""
    rate: float = pydantic.Field(1.0, gt=0)
    """learning rate of gradient descent on log cosh, whose curvature is at most 1"""
    saddle_rate: float = pydantic.Field(0.1, gt=0)
    """learning rate of gradient descent on the saddle"""


def run_examples(config: Examples, key: Any) -> dict[str, Any]:
    import jax.numpy as jnp

    from jaxcalc.solvers import gradient_descent, iterate, newton, trust_region

    logcosh = lambda x: jnp.sum(jnp.logaddexp(x, -x)) - np.log(2.0)
    saddle = lambda p: p[0] ** 2 - p[1] ** 2

    def path(solver, fun, start):
        return np.asarray(iterate(solver, fun, start, num_steps=config.num_steps, record=lambda at: at.x).history)

    starts = {
        "log cosh": (logcosh, np.array([1.1]), config.rate),
        "saddle": (saddle, np.array([1.0, 1e-3]), config.saddle_rate),
    }
    solvers = lambda rate: (gradient_descent(rate), newton(), trust_region())
    paths = {name: [path(s, fun, at) for s in solvers(rate)] for name, (fun, at, rate) in starts.items()}
    return {
        "method": np.array(_METHODS),
        "step": np.arange(config.num_steps + 1),
        "log_cosh": np.stack(paths["log cosh"])[..., 0],
        "saddle": np.stack(paths["saddle"]),
    }


def _ways(dataset: "xarray.Dataset", name: str) -> dict[str, np.ndarray]:
    return {method: dataset[name].sel({"method": method}).values for method in _METHODS}


def _strictly_better(dataset: "xarray.Dataset") -> Finding:
    way, on_saddle = _ways(dataset, "log_cosh"), _ways(dataset, "saddle")
    # The fifth iterate is far off and finite yet; those after it overflow.
    runs_off = above(abs(way["newton"][5]), 100) & below(abs(way["gradient-descent"][-1]), 1e-6)
    jump, left = np.linalg.norm(on_saddle["newton"][1]), on_saddle["gradient-descent"][-1, 1]
    return Finding(
        ~runs_off & ~(below(jump, 1e-12) & above(abs(left), 1)),
        measured="log cosh from 1.1: Newton "
        + ", ".join(f"{x:.3g}" for x in way["newton"][:6])
        + f", descent ends at {way['gradient-descent'][-1]:.1g}; saddle: Newton at {jump:.1g} from it after one step, "
        f"descent at y = {left:.3g}",
    )


def _mends_both(dataset: "xarray.Dataset") -> Check:
    way, y = (_ways(dataset, name)["trust-region"] for name in ("log_cosh", "saddle"))
    return below(abs(way[-1]), 1e-8) & above(abs(y[:, 1]).max(), 1)


def figures_of_examples(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, (left, right) = style.subplots(1, 2, width="page", height=2.8)
    for name in _METHODS:
        look = style.method(name, label=_NAMES[name])
        far = np.maximum(abs(dataset.log_cosh.sel({"method": name}).values), 1e-17)
        cut = np.flatnonzero(~(far < 1e6) | (far <= 1e-16))
        far = far[: cut[0] + 1] if cut.size else far
        left.plot(np.arange(far.size), np.where(np.isfinite(far), far, 1e9), **look)
        y = abs(dataset.saddle.sel({"method": name}).values[:, 1])
        right.plot(np.arange(y.size), np.maximum(y, 1e-12), **look, markevery=4)
    left.set(
        yscale="log", xlabel="step", ylabel="$|x|$, the distance to the minimum", ylim=(1e-18, 1e6), xlim=(-0.4, 8.4)
    )
    left.set_title("log cosh x from 1.1")
    right.set(
        yscale="log", xlabel="step", ylabel="$|y|$, the way down from the saddle", ylim=(1e-13, 1e6), xlim=(-1, 60)
    )
    right.set_title("$x^2 - y^2$ from (1, 0.001)")
    left.axhline(1.088658, **style.THEORY)
    left.annotate(
        "Newton diverges beyond 1.089", (8.3, 1.088658), (0, -9), textcoords="offset points", fontsize=7, ha="right"
    )
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.set_label(
        "Newton's plain step runs off on a convex function and jumps onto a saddle; descent and the trust region do "
        "neither. Values of 0 are drawn at the lower edge."
    )
    return {"examples": figure}


examples = Part(
    Examples,
    {
        "method": Variable(("method",), "", "solver"),
        "step": Variable(("step",), "", "step"),
        "log_cosh": Variable(("method", "step"), "", "x on log cosh x, from 1.1"),
        "saddle": Variable(("method", "step", "coordinate"), "", "(x, y) on x^2 - y^2, from (1, 0.001)"),
    },
    "host",
    run_examples,
    figures=figures_of_examples,
    claims={"second-order-strictly-better-in-theory": _strictly_better, "trust-region-mends-both": _mends_both},
    doc="Where does Newton's plain step fail on textbook functions?",
)

# -- nonconvex ---------------------------------------------------------------------------------------------------------

_KINDS = ("minimum", "saddle or maximum", "nowhere")


class Nonconvex(Config):
    method: Literal["gradient-descent", "newton", "newton-cg", "trust-region", "bfgs"] = "trust-region"
    """the solver; gradient descent searches along its steps"""
    dimension: int = pydantic.Field(4, ge=1)
    """variables of Styblinski and Tang's function"""
    starts: int = pydantic.Field(500, ge=10)
    """random starts, uniform in [-4, 4]^n"""
    max_steps: int = pydantic.Field(300, ge=1)
    """where a lane ends at the latest"""


def run_nonconvex(config: Nonconvex, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc import minimize
    from jaxcalc.functions.landscapes import styblinski_tang
    from jaxcalc.solvers import newton

    starts = jax.random.uniform(key, (config.starts, config.dimension), minval=-4.0, maxval=4.0)
    method = newton() if config.method == "newton" else config.method
    solve = lambda x: minimize(styblinski_tang, x, method=method, max_steps=config.max_steps)
    found = jax.vmap(solve)(starts)
    # The function is a sum over coordinates, so its curvatures are the second derivatives along the axes.
    least = jnp.min(6.0 * found.x**2 - 16.0, axis=1)
    outcome = jnp.where(found.status == 0, jnp.where(least > 0, 0, 1), 2)
    return {
        "outcome": outcome,
        "status": found.status,
        "value": found.value / config.dimension,
        "gradients": found.evaluations.gradients,
    }


def share_nonconvex(config: Nonconvex) -> dict[str, Any]:
    return {"kind": np.array(_KINDS)}


def _swept(dataset: "xarray.Dataset") -> bool:
    return {"method", "dimension"} <= set(dataset.outcome.dims)


def _shares(dataset: "xarray.Dataset") -> "xarray.DataArray":
    """The share of starts with each outcome, by (method, dimension, kind)."""
    import xarray

    outcome = over(dataset, "method", "dimension").outcome
    known = outcome.notnull()
    if "valid" in dataset:  # of a point that did not finish the outcome says nothing
        known &= dataset.valid
    shares = [(outcome == kind).where(known).mean("start", skipna=False) for kind in range(len(_KINDS))]
    found = xarray.concat(shares, "kind", coords="minimal", compat="override").assign_coords(kind=list(_KINDS))
    return found.transpose("method", "dimension", "kind").sortby("dimension")


def _falls(dataset: "xarray.Dataset") -> Finding:
    newton = _shares(dataset).sel({"method": "newton", "kind": "minimum"})
    n, number = newton.dimension.values, dataset.sizes["start"]
    if n[0] != 1 or n.size < 3:
        raise NotJudged("needs three dimensions or more, 1 among them")
    share = newton.values
    theory = share[0] ** n
    # Four standard errors of a share, and those of the one-dimensional share carried to the power n.
    slack = (
        4 * np.sqrt(theory * (1 - theory) / number) + 4 * n * theory * np.sqrt((1 / share[0] - 1) / number) + 2 / number
    )
    return Finding(
        below(abs(share - theory) / slack, 1.0) & less(share[-1], share[0]),
        measured=", ".join(f"{part:.3f} at n = {size}" for part, size in zip(share, n)),
    )


def _ends_in_minima(dataset: "xarray.Dataset") -> Finding:
    minimum = _shares(dataset).sel(kind="minimum")
    others = minimum.sel({"method": minimum["method"] != "newton"})
    least = zip(others["method"].values, others.min("dimension", skipna=False).values)
    return Finding(
        equal(minimum.sel({"method": "trust-region"}), 1.0) & above(others, 0.99),
        measured=", ".join(f"{method} at least {100 * share:.2f}%" for method, share in least),
    )


def figures_of_nonconvex(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    if not _swept(dataset):
        return {}
    shares = _shares(dataset)
    methods = list(map(str, shares["method"].values))
    n = shares.dimension.values
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9, gridspec_kw={"width_ratios": (3, 2)})
    bottom = np.zeros(len(methods))
    largest = shares.isel(dimension=-1)
    for kind, color, hatch in zip(_KINDS, ("blue", "orange", "grey"), ("", "///", "xx")):
        width = largest.sel(kind=kind).values
        left.barh(
            [_NAMES[method] for method in methods],
            width,
            left=bottom,
            color=style.COLORS[color],
            hatch=hatch,
            edgecolor="white",
            label=kind,
            height=0.7,
        )
        bottom += width
    left.set(xlabel=f"share of {dataset.sizes['start']} starts, n = {n[-1]}", xlim=(0, 1))
    left.invert_yaxis()
    left.grid(visible=False)
    for method in methods:
        right.plot(n, shares.sel({"method": method, "kind": "minimum"}), **style.method(method))
    right.annotate("all others", (n[0], 1.0), (0, -11), textcoords="offset points", fontsize=7.5)
    if "newton" in methods and n[0] == 1:
        fine = np.linspace(1, n[-1], 50)
        base = float(shares.sel({"method": "newton", "kind": "minimum"})[0])
        right.plot(fine, base**fine, **style.THEORY)
        right.annotate(f"Newton, ${base:.2f}^n$", (3, base**3), (5, 4), textcoords="offset points", fontsize=7.5)
    right.set(xscale="log", xlabel="variables n", ylabel="share that reaches a minimum", ylim=(-0.03, 1.06))
    right.set_xticks(n, [f"{size:g}" for size in n])
    right.minorticks_off()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3)
    style.panel_labels((left, right))
    figure.set_label(
        "Where random starts end on Styblinski and Tang's function, which has 2^n minima among 3^n stationary points. "
        "Dashed: the n-th power of Newton's share in one variable."
    )
    return {"outcomes": figure}


def tables_of_nonconvex(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    if not _swept(dataset):
        return {}
    shares = _shares(dataset)
    spent = dataset.gradients.median("start").transpose("method", "dimension").sortby("dimension")
    rows = [
        {
            "method": str(method),
            "n": int(n),
            **{
                kind: f"{100 * float(shares.sel({'method': method, 'dimension': n, 'kind': kind})):.1f}%"
                for kind in _KINDS
            },
            "gradients (median)": int(spent.sel({"method": method, "dimension": n})),
        }
        for method in shares["method"].values
        for n in shares.dimension.values
    ]
    return {"Where starts end": rows}


nonconvex = Part(
    Nonconvex,
    {
        "kind": Variable(("kind",), "", "how a start can end"),
        "outcome": Variable(("start",), "", "0 at a minimum, 1 at another stationary point, 2 at none"),
        "status": Variable(("start",), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite, 4 stalled"),
        "value": Variable(("start",), "", "value at the end over n"),
        "gradients": Variable(("start",), "", "gradients evaluated"),
    },
    "compiled",
    run_nonconvex,
    shared=share_nonconvex,
    figures=figures_of_nonconvex,
    claims={"newton-share-falls-with-dimension": _falls, "descent-ends-in-minima": _ends_in_minima},
    tables=tables_of_nonconvex,
    doc="Where do random starts end without convexity, by solver and dimension?",
)
