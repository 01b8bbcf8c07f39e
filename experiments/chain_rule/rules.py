"""Do the rules of differentiation hold to rounding?"""

import functools

import numpy as np
import pydantic

from experiments.chain_rule import derivative_rules
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below

kind = "host"
dtype = "float64"

# The rules, by claim.
_LAWS = (
    "power-rule",
    "power-rule-negative-and-fractional",
    "sum-difference-constant-rules",
    "cubic-example",
    "product-rule",
    "quotient-rule",
    "quotient-as-product-with-power",
    "x2-exp-derivative-identity",
    "chain-rule",
    "chain-three-levels",
)

# The reference table, in the order in which it is printed.
_TABLE = ("xn", "exp", "ln", "sin", "cos", "sigmoid", "tanh", "relu", "abs", "ax", "loga")

# How those that have no name of their own are written.
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
    import jax

    names, columns = [], {name: [] for name in ("at", "value", "derivative", "by_rule")}
    for claim, cases in derivative_rules().items():
        for number, (fun, rule, low, high) in enumerate(cases):
            x = jax.numpy.linspace(low, high, config.points)
            names.append(claim if len(cases) == 1 else f"{claim} {number + 1}")
            for name, values in zip(columns, (x, fun(x), jax.vmap(jax.grad(fun))(x), rule(x))):
                columns[name].append(np.asarray(values))
    return {"rule": np.array(names), **{name: np.stack(values) for name, values in columns.items()}}


def _residuals(dataset):
    """The largest difference of each rule over the largest derivative."""
    gap = abs(dataset.derivative - dataset.by_rule).max("point", skipna=False)
    return gap / np.maximum(abs(dataset.by_rule).max("point", skipna=False), 1.0)


def _obeyed(claim, dataset):
    """All cases of a rule."""
    cases = [name for name in dataset.rule.values.astype(str) if name.partition(" ")[0] == claim]
    return Finding(below(_residuals(dataset).sel(rule=cases)), figure="residuals")


def figures(dataset):
    residuals = _residuals(dataset) / np.finfo(float).eps
    figure, axis = style.subplots(width=5.4, height=0.8 + 0.17 * residuals.size)
    places = np.arange(residuals.size)
    axis.plot(np.maximum(residuals.values, 0.05), places, "o", color=style.COLORS["blue"])
    axis.set_yticks(places, [str(name).replace("table-derivative-", "table: ") for name in residuals.rule.values])
    axis.set_ylim(residuals.size - 0.5, -0.5)
    axis.set(xscale="log", xlim=(0.04, 1e2), xlabel="largest residual over the largest derivative, in units of eps")
    axis.axvline(1.0, **style.THEORY)
    figure.set_label("Rules of differentiation against automatic differentiation; exact agreement is drawn at 0.05.")
    table = [f"table-derivative-{name}" for name in _TABLE]
    drawn, panels = style.subplots(3, 4, width="page", height=4.6)
    for panel, name in zip(panels.ravel(), table):
        one = dataset.sel(rule=name)
        panel.plot(one["at"], one.value, color=style.COLORS["blue"], label="f")
        panel.plot(one["at"], one.derivative, color=style.COLORS["vermilion"], label="f'")
        short = name.removeprefix("table-derivative-")
        panel.set_title(_SHOWN.get(short, short))
    panels.ravel()[-1].axis("off")
    panels.ravel()[-1].legend(*panels.ravel()[0].get_legend_handles_labels(), loc="center")
    drawn.set_label("The derivative table: each function and its derivative.")
    return {"residuals": figure, "table": drawn}


claims = {
    claim: functools.partial(_obeyed, claim) for claim in (*_LAWS, *(f"table-derivative-{name}" for name in _TABLE))
}
