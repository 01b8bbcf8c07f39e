"""How good are Taylor polynomials, in order and in reach?

The error of polynomials against their degree, inside and outside the radius of convergence; of the
linear and the quadratic model against the length of the step; and which step of given length the
linear model likes best.
"""

import math

import numpy as np
import pydantic

from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Variable, above, below, close, holds, jax, jnp, less

kind = "host"

_CASES = {"exp": "$e^x$ at 1", "log": r"$\log(1 + x)$ at 1.5", "flat": "$e^{-1/x^2}$ at 0.5"}


class Config(lab.Config):
    degree: int = pydantic.Field(24, ge=15, le=40)
    """highest degree of the polynomials about 0"""
    directions: int = pydantic.Field(20000, ge=100)
    """unit steps tried in the linear model"""


VARIABLES = {
    "case": Variable(("case",), "", "a function, and where it is approximated"),
    "degree": Variable(("degree",), "", "degree of the Taylor polynomial about 0 (of the flat function, about 0.05)"),
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
}


def run(config, key):
    found = jax.jit(lambda key: _measured(config, key))(key)
    return {
        "case": np.array(list(_CASES)),
        "has_math": np.asarray(float(hasattr(np, "math"))),
        **{name: np.asarray(value) for name, value in found.items()},
    }


def _measured(config, key):
    from jaxcalc.transforms.local_models import local_model, taylor_polynomial
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


def _first_and_second_order(dataset):
    slopes = (measure.exponent(dataset.length.values, row) for row in dataset.model_error.values)
    return Finding(close(dict(zip(("first", "second"), slopes))), figure="models")


def _more_terms(dataset):
    exp, log, flat = (dataset.error.sel({"case": case}).values for case in _CASES)
    exp = exp[:15]
    return Finding(
        less(exp[1:], exp[:-1]),
        limits=less(log[4], log[-1]) | above(flat, 0.01),
        measured=f"e with 15 terms: {exp[-1]:.2g}; log(1 + x) at 1.5: {log[4]:.3g} with 5 terms, "
        f"{log[-1]:.3g} with {log.size}; exp(-1/x^2): {flat.min():.3g} at best",
        figure="degrees",
    )


def _against_the_gradient(dataset):
    opposed, lowest = float(dataset.opposed), float(dataset.lowest)
    reached = dataset.change_at_reach.values
    return Finding(
        close({"min_over_unit_steps": opposed}) & below(np.maximum(opposed - lowest, 0.0)),
        limits=less(reached[1:], reached[:-1]) & below(reached[-1], -1e6),
        measured=f"against the gradient {opposed:.6f}, lowest of all unit steps {lowest:.6f}; "
        f"a step of length {float(dataset.reach[-1]):.0e}: {reached[-1]:.3g}",
    )


def figures(dataset):
    looks = {case: {"label": label} for case, label in _CASES.items()}
    left_out = 1 / np.cumprod(dataset.degree + 1.0)  # 1 / (n + 1)!
    theory = dataset.error[0].copy(data=left_out)
    degrees, panels = style.chart(
        dataset.error, "degree", hue="case", theory=theory, looks=looks, log="y", ylim=(1e-18, 1e4)
    )
    panels[0, 0].set(xlabel="degree of the polynomial", ylabel="absolute error")
    degrees.set_label(
        "Adding terms helps inside the radius of convergence, hurts outside, and does nothing for "
        "a flat function. Dashed: the first term left out of the series of e."
    )
    linear, quadratic = dataset.model_error
    lines = {"linear model": linear, "quadratic model": quadratic}
    slopes = {"linear model": 2, "quadratic model": 3}
    models, _ = style.chart(lines, "length", slopes=slopes, log="xy", ylabel="error of the model")
    models.set_label("Local models of a function of five variables. Dashed: orders 2 and 3.")
    return {"degrees": degrees, "models": models}


claims = {
    "taylor-first-and-second-order": _first_and_second_order,
    "more-taylor-terms-better": _more_terms,
    "taylor-exp-10-terms": lambda data: close(data.exp_ten_terms),
    "np-math-factorial-call": lambda data: holds(data.has_math),
    "taylor-exp-15-and-sin-10": lambda data: close([data.e_fifteen_terms, data.sin_ten_terms]),
    "negative-gradient-minimises-linear-model": _against_the_gradient,
}
