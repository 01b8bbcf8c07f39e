"""When may a limit be taken inside: of a sum, of a product, of a function of a function?

One-sided limits by extrapolation, with error estimates. Where the sides disagree there is a jump, and a composition
with a function that jumps at the inner limit is refused.
"""

import numpy as np

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, close, equal, holds, jax, jnp

kind = "host"


class Config(lab.Config):
    distances: int = 12
    """halvings of the distance to 0 that are drawn"""


VARIABLES = {
    "function": Variable(("function",), "", "function of x"),
    "limit": Variable(("function", "side"), "", "its limits at 0 from the left and from the right, 0 if not finite"),
    "error": Variable(("function",), "", "the error that the limit reports, 0 if not finite"),
    "exists": Variable(("function",), "", "whether both sides have a finite limit, and agree"),
    "outer": Variable(("outer",), "", "outer function of a composition"),
    "allowed": Variable(("outer",), "", "whether the law of composition applies"),
    "jump": Variable(("outer",), "", "jump of the outer function at the inner limit"),
    "of_limit": Variable(("outer",), "", "the outer function at the inner limit"),
    "of_composition": Variable(("outer",), "", "the limit of the composition itself"),
    "distance": Variable(("distance",), "", "distance of x to 0"),
    "values": Variable(("function", "side", "distance"), "", "the functions on both sides"),
    "side": Variable(("side",), "", "side that x comes from"),
}


def _functions():
    first, second = lambda x: jnp.sin(x) / x, lambda x: jnp.expm1(x) / x
    return {
        "sin(x)/x": first,
        "(e^x - 1)/x": second,
        "their sum": lambda x: first(x) + second(x),
        "sign(x)": jnp.sign,
        "sign(x) - sign(x)": lambda x: jnp.sign(x) - jnp.sign(x),
        "sin(1/x)": lambda x: jnp.sin(1 / x),
        "1/x": lambda x: 1 / x,
    }


def run(config, key):
    from jaxcalc.transforms import limit, limit_of_composition

    functions = _functions()
    inner = lambda x: jnp.abs(functions["sin(x)/x"](x) - 1)  # tends to 0, and is nowhere 0 beside it
    outers = {"cos": jnp.cos, "sign": jnp.sign}
    # One program for all: a limit is dozens of operations, not worth a compilation for each function.
    one_of = lambda funs: lambda x, i: jax.lax.switch(i, list(funs), x)
    every = lambda each, funs: jax.jit(jax.vmap(each))(jnp.arange(len(funs)))
    compositions = [lambda x, fun=fun: fun(inner(x)) for fun in outers.values()]
    all_functions = [*functions.values(), *compositions]
    all_limits = every(lambda i: limit(one_of(all_functions), 0.0, i), all_functions)
    found, composed = (jax.tree.map(lambda a, at=at: a[at], all_limits) for at in (np.s_[:-2], np.s_[-2:]))
    law = every(lambda i: limit_of_composition(lambda y: one_of(outers.values())(y, i), inner, 0.0), outers)
    distance = 2.0 ** -jnp.arange(1.0, config.distances + 1.0)
    finite = lambda values: np.nan_to_num(np.asarray(values, float), nan=0.0, posinf=0.0, neginf=0.0)
    return {
        "function": np.array(list(functions)),
        "limit": finite(np.stack([found.left, found.right], -1)),
        "error": finite(found.error),
        "exists": found.exists & jnp.isfinite(found.value),
        "outer": np.array(list(outers)),
        "allowed": law.continuous,
        "jump": law.jump,
        "of_limit": np.array([float(fun(0.0)) for fun in outers.values()]),
        "of_composition": composed.value,
        "side": np.array(["left", "right"]),
        "distance": distance,
        "values": np.stack([[np.asarray(fun(s * distance)) for s in (-1, 1)] for fun in functions.values()]),
    }


def _sum_law(dataset):
    at = dataset.limit.sel(side="right")
    first, second, both = (at.sel(function=name) for name in ("sin(x)/x", "(e^x - 1)/x", "their sum"))
    exists = dataset.exists
    apart = exists.sel(function=["sin(x)/x", "(e^x - 1)/x", "their sum"])
    # The difference of two functions without a limit may have one: the law says nothing of it.
    lone = holds(exists.sel(function="sign(x) - sign(x)")) & ~holds(exists.sel(function="sign(x)"))
    return Finding(
        close(both, first + second) & holds(apart),
        limits=lone,
        measured=f"{float(first):.12g} + {float(second):.12g} = {float(both):.12g}; sign(x) has no limit at 0, "
        "sign(x) - sign(x) has one",
    )


def _continuity(dataset):
    jump = dataset.jump.sel(outer="sign")
    return Finding(
        below(abs(dataset.jump.sel(outer="cos"))) & close(jump, 2.0),
        measured=f"one-sided limits of sign differ by {float(jump):g}, of cos by {float(dataset.jump[0]):.1g}",
    )


def _composition(dataset):
    told = dataset.sel(outer="cos"), dataset.sel(outer="sign")
    smooth, jumping = told
    return Finding(
        close(smooth.of_composition, smooth.of_limit)
        & holds(smooth.allowed)
        & ~holds(jumping.allowed)
        & ~close(jumping.of_composition, jumping.of_limit),
        measured=f"cos: {float(smooth.of_composition):g} is allowed and right; sign: refused, "
        f"{float(jumping.of_limit):g} would be told where the limit is {float(jumping.of_composition):g}",
    )


def _no_limit(dataset):
    return equal(dataset.exists.sel(function=["sign(x)", "sin(1/x)", "1/x"]), 0.0)


def figures(dataset):
    shown = ["their sum", "sign(x)", "sin(1/x)", "1/x"]
    values = dataset["values"].sel(function=shown)
    values.attrs["long_name"] = "value"
    figure, panels = style.chart(
        values,
        "distance",
        hue="side",
        col="function",
        wrap=4,
        log="x",
        width="page",
        height=2.3,
        sharey=False,
        legend="below",
    )
    panels[0, 0].invert_xaxis()  # that of all
    figure.set_label(
        "Functions on their way to 0 from both sides: a limit, a jump, none at all, and a pole. Only the first is told "
        "to have a limit."
    )
    return {"limits": figure}


claims = {
    "limit-sum-law": _sum_law,
    "jump-is-told": _continuity,
    "composition-across-a-jump-is-refused": _composition,
    "no-limit-is-told": _no_limit,
}
