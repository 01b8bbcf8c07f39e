"""How good are Taylor polynomials, in order and in reach?

The error of polynomials against their degree, inside and outside the radius of convergence; of the linear and the
quadratic model against the length of the step; and which step of given length the linear model likes best.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from experiments._judged import entry, judged
from jaxcalc.lab import Claim, Config, Part, Variable

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_CASES = {"exp": "$e^x$ at 1", "log": r"$\log(1 + x)$ at 1.5", "flat": "$e^{-1/x^2}$ at 0.5"}


class Models(Config):
    degree: int = pydantic.Field(24, ge=15, le=40)
    """highest degree of the polynomials about 0"""
    directions: int = pydantic.Field(20000, ge=100)
    """unit steps tried in the linear model"""


def run_models(config: Models, key: Any) -> dict[str, Any]:
    import jax

    found = jax.jit(lambda key: _measured(config, key))(key)
    return {
        "case": np.array(list(_CASES)),
        "has_math": np.asarray(float(hasattr(np, "math"))),
        **{name: np.asarray(value) for name, value in found.items()},
    }


def _measured(config: Models, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.transforms.local import local_model, taylor_polynomial
    from jaxcalc.transforms.taylor import taylor

    degrees = jnp.arange(config.degree + 1)
    sums = lambda fun, x: jnp.cumsum(taylor(fun, config.degree)(0.0, 1.0) * x**degrees)
    # At 0 itself the quotient is not defined: as near as that all derivatives are as good as 0.
    near = 0.05
    flat = taylor(lambda x: jnp.exp(-1 / x**2), config.degree)(near, 1.0)
    error = [
        abs(sums(jnp.exp, 1.0) - math.e),
        abs(sums(jnp.log1p, 1.5) - math.log(2.5)),
        abs(jnp.cumsum(flat * (0.5 - near) ** degrees) - math.exp(-4.0)),
    ]
    exp, sin = taylor_polynomial(jnp.exp, 9)(0.0), taylor_polynomial(jnp.sin, 19)(0.0)

    bumpy = lambda p: jnp.sin(p @ jnp.arange(1.0, 6.0) / 3) + jnp.exp(0.2 * p[0] * p[4]) + p @ p
    keys = jax.random.split(key, 4)
    at, v = jax.random.normal(keys[0], (5,)), jax.random.normal(keys[1], (5,))
    v = v / jnp.linalg.norm(v)
    lengths = 2.0 ** -jnp.arange(3.0, 10.0)
    fitted = [local_model(bumpy, order)(at) for order in (1, 2)]
    gaps = [jax.vmap(lambda t, m=m: abs(m(t * v) - bumpy(at + t * v)))(lengths) for m in fitted]
    # A loss with gradient (3, 4) at the origin.
    tilted = local_model(lambda p: 3 * jnp.sin(p[0]) + 4 * jnp.expm1(p[1]), 1)(jnp.zeros(2))
    angle = 2 * np.pi * jnp.arange(config.directions) / config.directions
    units = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    change = jax.vmap(tilted)(units)
    reach = 10.0 ** jnp.arange(7.0)
    opposed = jnp.array([-0.6, -0.8])
    return {
        "degree": degrees,
        "error": jnp.stack(error),
        "exp_ten_terms": jax.vmap(exp)(jnp.arange(3.0)),
        "e_fifteen_terms": taylor_polynomial(jnp.exp, 14)(0.0)(1.0),
        "sin_ten_terms": sin(3.14159 / 2),
        "length": lengths,
        "model_error": jnp.stack(gaps),
        "lowest": change.min(),
        "opposed": tilted(opposed),
        "reach": reach,
        "change_at_reach": jax.vmap(lambda r: tilted(r * opposed))(reach),
    }


def claims_of_models(dataset: "xarray.Dataset") -> list[Claim]:
    from jaxcalc import measure

    value = lambda name: float(dataset[name])
    error = lambda case: dataset.error.sel({"case": case}).values
    first, second = (measure.exponent(dataset.length.values, row) for row in dataset.model_error.values)
    orders, ten, both = "taylor-first-and-second-order", "taylor-exp-10-terms", "taylor-exp-15-and-sin-10"
    best = "negative-gradient-minimises-linear-model"
    exp = error("exp")[:15]
    worse, stuck = error("log")[-1] > error("log")[4], error("flat").min() > 0.01
    reached = dataset.change_at_reach.values
    terms = dataset.exp_ten_terms.values
    return [
        judged(
            orders,
            abs(first - 2.0) <= entry(orders).tolerance and abs(second - 3.0) <= entry(orders).tolerance,
            measured=f"slopes {first:.4f} and {second:.4f}",
            figure="models",
        ),
        judged(
            "more-taylor-terms-better",
            bool((np.diff(exp) < 0).all()),
            limits=bool(worse or stuck),
            measured=f"e with 15 terms: {exp[-1]:.2g}; log(1 + x) at 1.5: {error('log')[4]:.3g} with 5 terms, "
            f"{error('log')[-1]:.3g} with {dataset.degree.size}; exp(-1/x^2): {error('flat').min():.3g} at best",
            figure="degrees",
        ),
        judged(
            ten,
            bool((abs(terms - [1.0, 2.718, 7.389]) <= entry(ten).tolerance).all()),
            measured=", ".join(f"{term:.6f}" for term in terms),
        ),
        judged("np-math-factorial-call", value("has_math") == 1.0, measured=value("has_math")),
        judged(
            both,
            abs(value("e_fifteen_terms") - 2.71828) <= entry(both).tolerance
            and abs(value("sin_ten_terms") - 1.0) <= entry(both).tolerance,
            measured=f"{value('e_fifteen_terms'):.12f} and {value('sin_ten_terms'):.12f}",
        ),
        judged(
            best,
            abs(value("opposed") + 5.0) <= entry(best).tolerance
            and value("lowest") >= value("opposed") - entry(best).tolerance,
            limits=bool((np.diff(reached) < 0).all() and reached[-1] < -1e6),
            measured=f"against the gradient {value('opposed'):.6f}, lowest of all unit steps {value('lowest'):.6f}; "
            f"a step of length {float(dataset.reach[-1]):.0e}: {reached[-1]:.3g}",
        ),
    ]


def figures_of_models(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.4, height=2.9)
    for case, color, marker in zip(map(str, dataset["case"].values), ("blue", "vermilion", "green"), "os^"):
        error = np.maximum(dataset.error.sel({"case": case}).values, 1e-17)
        axis.plot(dataset.degree, error, marker + "-", color=style.COLORS[color], label=_CASES[case])
    n = dataset.degree.values[:17]
    axis.plot(n, [1 / math.factorial(int(k) + 1) for k in n], **style.THEORY)
    axis.set(yscale="log", xlabel="degree of the polynomial", ylabel="absolute error")
    axis.legend(loc="lower left")
    figure.set_label(
        "Adding terms helps inside the radius of convergence, hurts outside, and does nothing for a flat function. "
        "Dashed: the first term left out of the series of e."
    )
    drawn, panel = style.subplots(width=4.4, height=2.9)
    for power, row, color, name in zip(
        (2, 3), dataset.model_error.values, ("blue", "vermilion"), ("linear", "quadratic")
    ):
        panel.plot(dataset.length, row, "os"[power - 2], color=style.COLORS[color], label=name)
        panel.plot(dataset.length, row[-1] * (dataset.length / dataset.length[-1]) ** power, **style.THEORY)
    panel.set(xscale="log", yscale="log", xlabel="length of the step", ylabel="error of the model")
    panel.legend(loc="lower right")
    drawn.set_label("Local models of a function of five variables. Dashed: orders 2 and 3.")
    return {"degrees": figure, "models": drawn}


models = Part(
    Models,
    {
        "case": Variable(("case",), "", "a function, and where it is approximated"),
        "degree": Variable(
            ("degree",), "", "degree of the Taylor polynomial about 0 (of the flat function, about 0.05)"
        ),
        "error": Variable(("case", "degree"), "", "its absolute error"),
        "exp_ten_terms": Variable(("place",), "", "ten terms of the exponential at 0, 1 and 2"),
        "e_fifteen_terms": Variable((), "", "fifteen terms at 1"),
        "sin_ten_terms": Variable((), "", "ten terms of the sine at 3.14159 / 2"),
        "has_math": Variable((), "", "whether numpy has an attribute math"),
        "length": Variable(("length",), "", "length of the step"),
        "model_error": Variable(("order", "length"), "", "error of the linear and the quadratic model"),
        "lowest": Variable((), "", "lowest value of a linear model over all unit steps"),
        "opposed": Variable((), "", "its value at the unit step against the gradient"),
        "reach": Variable(("reach",), "", "length of a longer step against the gradient"),
        "change_at_reach": Variable(("reach",), "", "value of the linear model there"),
    },
    "host",
    run_models,
    figures=figures_of_models,
    claims=claims_of_models,
    doc="How good are Taylor polynomials, in order and in reach?",
)
