"""Where do random starts end without convexity, by solver and dimension?"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import pydantic

from jaxcalc.lab import Finding, NotJudged, Variable, above, below, equal, less, over

if TYPE_CHECKING:
    pass
from experiments.trust_region import NAMES
from jaxcalc import lab, style

kind = "compiled"
dtype = "float64"

_KINDS = ("minimum", "saddle or maximum", "nowhere")


class Config(lab.Config):
    method: Literal["gradient-descent", "newton", "newton-cg", "trust-region", "bfgs"] = "trust-region"
    """the solver; gradient descent searches along its steps"""
    dimension: int = pydantic.Field(4, ge=1)
    """variables of Styblinski and Tang's function"""
    starts: int = pydantic.Field(500, ge=10)
    """random starts, uniform in [-4, 4]^n"""
    max_steps: int = pydantic.Field(300, ge=1)
    """where a lane ends at the latest"""


VARIABLES = {
    "kind": Variable(("kind",), "", "how a start can end"),
    "outcome": Variable(("start",), "", "0 at a minimum, 1 at another stationary point, 2 at none"),
    "status": Variable(("start",), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite, 4 stalled"),
    "value": Variable(("start",), "", "value at the end over n"),
    "gradients": Variable(("start",), "", "gradients evaluated"),
}


def run(config, key):
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


def shared(config):
    return {"kind": np.array(_KINDS)}


def _swept(dataset):
    return {"method", "dimension"} <= set(dataset.outcome.dims)


def _shares(dataset):
    """The share of starts with each outcome, by (method, dimension, kind)."""
    import xarray

    outcome = over(dataset, "method", "dimension").outcome
    known = outcome.notnull()
    if "valid" in dataset:  # of a point that did not finish the outcome says nothing
        known &= dataset.valid
    shares = [(outcome == kind).where(known).mean("start", skipna=False) for kind in range(len(_KINDS))]
    found = xarray.concat(shares, "kind", coords="minimal", compat="override").assign_coords(kind=list(_KINDS))
    return found.transpose("method", "dimension", "kind").sortby("dimension")


def _falls(dataset):
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


def _ends_in_minima(dataset):
    minimum = _shares(dataset).sel(kind="minimum")
    others = minimum.sel({"method": minimum["method"] != "newton"})
    least = zip(others["method"].values, others.min("dimension", skipna=False).values)
    return Finding(
        equal(minimum.sel({"method": "trust-region"}), 1.0) & above(others, 0.99),
        measured=", ".join(f"{method} at least {100 * share:.2f}%" for method, share in least),
    )


def figures(dataset):
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
            [NAMES[method] for method in methods],
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


def tables(dataset):
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


claims = {"newton-share-falls-with-dimension": _falls, "descent-ends-in-minima": _ends_in_minima}
