"""Where do random starts end without convexity, by solver and dimension?"""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, equal, jax, jnp, less, over, xarray

kind = "compiled"

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


shared = lambda config: {"kind": np.array(_KINDS)}


def _swept(dataset):
    return {"method", "dimension"} <= set(dataset.outcome.dims)


def _shares(dataset):
    """The share of starts with each outcome, by (method, dimension, kind)."""
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
    errors = np.sqrt(theory * (1 - theory) / number) + n * theory * np.sqrt((1 / share[0] - 1) / number)
    slack = 4 * errors + 2 / number
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
    n, starts = shares.dimension.values, dataset.sizes["start"]
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9, gridspec_kw={"width_ratios": (3, 2)})
    largest = shares.isel(dimension=-1)
    before = largest.cumsum("kind") - largest
    names = [style.method(method)["label"] for method in largest["method"].values]
    for kind, color, hatch in zip(_KINDS, ("blue", "orange", "grey"), ("", "///", "xx")):
        bar = {"color": style.COLORS[color], "hatch": hatch, "edgecolor": "white", "height": 0.7, "label": kind}
        left.barh(names, largest.sel(kind=kind), left=before.sel(kind=kind), **bar)
    left.set(xlabel=f"share of {starts} starts, n = {n[-1]}", xlim=(0, 1))
    left.invert_yaxis()
    left.grid(visible=False)
    minimum = shares.sel(kind="minimum").drop_vars("kind")
    error = 2 * np.sqrt(minimum * (1 - minimum) / starts)
    fine = np.geomspace(1, n[-1], 50)
    newton = minimum.sel({"method": "newton"})[0] if "newton" in minimum["method"] and n[0] == 1 else None
    style.chart(
        minimum,
        "dimension",
        hue="method",
        band=(minimum - error, minimum + error),
        theory=None if newton is None else newton ** xarray.DataArray(fine, {"dimension": fine}, ("dimension",)),
        log="x",
        axes=right,
        legend="ends",
        xlabel="variables n",
        ylabel="share that reaches a minimum",
        ylim=(-0.03, 1.06),
    )
    style.ticks(right.xaxis, n)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    figure.set_label(
        "Where random starts end on Styblinski and Tang's function, which has 2^n minima among 3^n stationary points; "
        "b with two standard errors. Dashed: the n-th power of Newton's share in one variable."
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
