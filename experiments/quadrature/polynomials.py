"""Is a polynomial of any coefficients integrated exactly, and by a rule up to the degree that it states?

Random coefficients on random intervals: the antiderivative's difference beside Gauss-Legendre, Simpson and the
trapezoid rule with the same few points, by degree.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, jax, jnp

kind = "host"

_RULES = ("trapezoid", "simpson", "gauss-legendre")  # of five points each


class Config(lab.Config):
    samples: int = pydantic.Field(200, ge=10)
    """polynomials of each degree"""
    most: int = pydantic.Field(14, ge=10)
    """highest degree"""


VARIABLES = {
    "degree": Variable(("degree",), "", "degree of the polynomial"),
    "rule": Variable(("rule",), "", "rule of five points"),
    "stated": Variable(("rule",), "", "degree to which the rule states that it is exact"),
    "error": Variable(("rule", "degree"), "", "largest error of the rule, over the integral of absolute terms"),
    "adaptive_error": Variable(("degree",), "", "the same of the adaptive integral"),
}


def run(config, key):
    from jaxcalc.functions.quadrature import integrate_polynomial, quadrature_rule
    from jaxcalc.transforms import integral

    draw = np.random.default_rng(int(jax.random.bits(key)))
    rules = [quadrature_rule(name, 5) for name in _RULES]
    adaptive = jax.jit(jax.vmap(integral(lambda x, c: jnp.polyval(c[::-1], x)), (0, 0, 0)))
    error, adaptive_error = np.zeros((len(rules), config.most + 1)), np.zeros(config.most + 1)
    width = config.most + 1
    for degree in range(width):
        c = draw.standard_normal((config.samples, width)) * (np.arange(width) <= degree)
        low, high = np.sort(draw.uniform(-1.5, 1.5, (2, config.samples)), axis=0)
        exact, size = integrate_polynomial(c, low, high), abs(c) @ 1.5 ** np.arange(width)
        for i, rule in enumerate(rules):
            x = low[:, None] + (high - low)[:, None] * rule.nodes
            values = np.stack([np.polynomial.polynomial.polyval(row, one) for row, one in zip(x, c)])
            error[i, degree] = np.max(abs((high - low) * (values @ rule.weights) - exact) / size)
        adaptive_error[degree] = np.max(abs(np.asarray(adaptive(low, high, c)) - exact) / size)
    return {
        "degree": np.arange(width),
        "rule": np.array(_RULES),
        "stated": np.array([rule.degree for rule in rules]),
        "error": error,
        "adaptive_error": adaptive_error,
    }


def _exact_to_its_degree(dataset):
    inside = dataset.degree.values[None, :] <= dataset.stated.values[:, None]
    beyond = dataset.degree.values[None, :] == dataset.stated.values[:, None] + 1
    error = dataset.error.transpose("rule", "degree").values
    return Finding(
        above(dataset.stated, 1) & below(error[inside], 1e-14),
        limits=above(error[beyond], 1e-8),
        measured=f"{error[inside].max():.1e} within, {error[beyond].min():.1e} one degree beyond",
    )


def figures(dataset):
    figure, _ = style.chart(
        dataset.error,
        "degree",
        hue="rule",
        log="y",
        xlabel="degree of the polynomial",
        ylabel="largest error over the size of the terms",
        legend="above",
    )
    figure.set_label(
        "Rules of five points on random polynomials: exact to rounding up to degree 1 (trapezoid), 3 (Simpson) and 9 "
        "(Gauss-Legendre)."
    )
    return {"polynomials": figure}


claims = {
    "rules-are-exact-to-their-degree": _exact_to_its_degree,
    "polynomials-are-integrated-exactly": lambda dataset: below(dataset.adaptive_error, 1e-14),
}
