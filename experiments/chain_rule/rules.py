"""Do the rules of differentiation hold to rounding?"""

import functools

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, jax, xarray

kind = "host"

_LAWS = (
    *("power-rule", "power-rule-negative-and-fractional", "sum-difference-constant-rules"),
    *("cubic-example", "product-rule", "quotient-rule", "quotient-as-product-with-power"),
    *("x2-exp-derivative-identity", "chain-rule", "chain-three-levels"),
)
_NAMES = ("xn", "exp", "ln", "sin", "cos", "sigmoid", "tanh", "relu", "abs", "ax", "loga")
_TABLE = [f"table-derivative-{name}" for name in _NAMES]
# How entries of the table that have no name of their own are written.
_SHOWN = {"xn": "$x^3$", "abs": "$|x|$", "ax": "$2.5^x$", "loga": r"$\log_{2.5} x$"}


class Config(lab.Config):
    points: int = pydantic.Field(201, ge=2)
    """points at which each rule is checked"""


VARIABLES = {
    "rule": Variable(("rule",), "", "the claim, and which of its cases"),
    "at": Variable(("rule", "point"), "", "where the derivative is taken"),
    "value": Variable(("rule", "point"), "", "the function"),
    "derivative": Variable(("rule", "point"), "", "its derivative by automatic differentiation"),
    "by_rule": Variable(("rule", "point"), "", "its derivative by the rule, written out"),
}


def run(config, key):
    from jaxcalc.functions import rules

    names, rows = [], []
    table = zip(_TABLE, ([rules.table_entry(name)] for name in _NAMES))
    for claim, cases in (*rules.laws().items(), *table):
        for number, (fun, rule, low, high) in enumerate(cases):
            x = jax.numpy.linspace(low, high, config.points)
            names.append(claim if len(cases) == 1 else f"{claim} {number + 1}")
            rows.append((x, fun(x), jax.vmap(jax.grad(fun))(x), rule(x)))
    columns = map(np.stack, zip(*rows))
    return {"rule": np.array(names), **dict(zip(("at", "value", "derivative", "by_rule"), columns))}


def _residuals(dataset):
    """The largest difference of each rule over the largest derivative."""
    gap = abs(dataset.derivative - dataset.by_rule).max("point", skipna=False)
    return gap / np.maximum(abs(dataset.by_rule).max("point", skipna=False), 1.0)


def _cases(dataset, claim):
    return [name for name in dataset.rule.values.astype(str) if name.partition(" ")[0] == claim]


def _obeyed(claim, dataset):
    """All cases of a rule."""
    return Finding(below(_residuals(dataset).sel(rule=_cases(dataset, claim))), figure="residuals")


def figures(dataset):
    return {"residuals": _draw_residuals(dataset), "table": _draw_table(dataset)}


def _draw_residuals(dataset):
    units = _residuals(dataset) / np.finfo(float).eps
    names = [claim.replace("table-derivative-", "table: ") for claim in claims]
    worst = [units.sel(rule=_cases(dataset, claim)).max() for claim in claims]
    figure, axis = style.subplots(width=5.4, height=0.8 + 0.17 * len(worst))
    axis.set(xscale="log", xlim=(0.1, 10), xlabel="largest residual over the largest derivative (eps)")
    values = xarray.DataArray(worst, {"claim": names})
    style.rows(axis, values, "claim", color=style.COLORS["blue"], marker="o")
    axis.axvline(1.0, **style.THEORY)
    figure.set_label(
        "Rules of differentiation against automatic differentiation, the worst case of each rule. "
        "Hollow: no difference in any bit."
    )
    return figure


def _draw_table(dataset):
    looks = {"f": {}, "f'": {"linestyle": "--"}}
    figure, panels = style.subplots(3, 4, width="page", height=4.6, letters=False)
    plain = {"legend": None, "marker": "", "xlabel": "", "ylabel": "", "ylim": (-2, 4)}
    for panel, claim in zip(panels.flat, _TABLE):
        one = dataset.sel(rule=claim)
        one = one.assign_coords(point=one["at"].values)
        curves = {"f": one.value, "f'": one.derivative}
        style.chart(curves, looks=looks, axes=panel, **plain)
        name = claim.removeprefix("table-derivative-")
        panel.set_title(_SHOWN.get(name, name))
    panels[-1, -1].set_axis_off()
    panels[-1, -1].legend(*panels[0, 0].get_legend_handles_labels(), loc="center")
    figure.set_label("The derivative table: each function and its derivative.")
    return figure


claims = {claim: functools.partial(_obeyed, claim) for claim in (*_LAWS, *_TABLE)}
