"""What do worked integrals come to, and do the theorems about integrals hold?"""

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Finding, Variable, below, close, equal, jax, jnp, less

kind = "host"


class Config(lab.Config):
    points: int = pydantic.Field(15, ge=2)
    """points at which identities are checked"""


VARIABLES = {
    "quantity": Variable(("quantity",), "", "a worked integral, or the residual of an identity"),
    "found": Variable(("quantity",), "", "what it comes to"),
}


def run(config, key):
    from jaxcalc.functions.quadrature import integrate_samples, quadrature_rule
    from jaxcalc.transforms.integral import integral
    from jaxcalc.transforms.iterated import double_integral

    pi = np.pi
    gauss = lambda fun: integral(fun, method="gauss-legendre", num_points=32)
    rule = lambda fun, method, n: integral(fun, method=method, num_points=n)
    square = lambda x: x**2
    damped = lambda x: jnp.sin(x) * jnp.exp(-x)
    primitive = lambda x: -jnp.exp(-x) * (jnp.sin(x) + jnp.cos(x)) / 2
    upper = jnp.linspace(0.5, 4.0, config.points)
    # The sum of the rule itself: the library's integral knows the theorem, and would return the integrand untried.
    nodes, weights = quadrature_rule("gauss-legendre", 32).nodes, quadrature_rule("gauss-legendre", 32).weights
    derivative = jax.vmap(jax.grad(lambda b: b * (weights * damped(b * nodes)).sum()))(upper)
    gap = lambda fun, slope, x: float(abs(jax.vmap(jax.grad(fun))(x) - slope(x)).max())
    both = jnp.linspace(-3.0, 3.0, 2 * config.points)  # an even number: 0 is left out
    grid = np.linspace(0.0, 3.0, 10000)
    product = lambda x, y: x * y
    poly = np.polynomial.polynomial
    coefficients = poly.polyint([0.0, 2.0])
    parts = gauss(lambda x: x**2 * jnp.cos(x))(0.0, 2.0)
    rest = 4 * jnp.sin(2.0) - gauss(lambda x: 2 * x * jnp.sin(x))(0.0, 2.0)
    small = jnp.linspace(-1.5, 1.5, config.points)
    found = {
        "signed area": gauss(jnp.sin)(0.0, 2 * pi),
        "unsigned area": integral(lambda x: abs(jnp.sin(x)))(0.0, pi) + integral(lambda x: abs(jnp.sin(x)))(pi, 2 * pi),
        "2x": gauss(lambda x: 2 * x)(0.0, 3.0),
        "x^2": integral(square)(0.0, 2.0),
        "x^2, trapezoid, 1000 points": rule(square, "trapezoid", 1000)(0.0, 2.0),
        "x^2, trapezoid, 1000 panels": rule(square, "trapezoid", 1001)(0.0, 2.0),
        "numpy has trapz": float(hasattr(np, "trapz")),
        "numpy has trapezoid": float(hasattr(np, "trapezoid")),
        "derivative of the integral": abs(derivative - damped(upper)).max(),
        "difference at the end points": abs(gauss(damped)(0.0, 3.0) - (primitive(3.0) - primitive(0.0))),
        "2x, 10000 samples": integrate_samples(2 * grid, grid),
        "antiderivatives": max(
            gap(jnp.exp, jnp.exp, both),
            gap(lambda x: jnp.log(abs(x)), lambda x: 1 / x, both),
            gap(jnp.sin, jnp.cos, both),
            gap(lambda x: -jnp.cos(x), jnp.sin, both),
        ),
        "coefficients": poly.polyval(3.0, coefficients) - poly.polyval(0.0, coefficients),
        "parts": abs(parts - rest),
        "substitution": gap(lambda x: jnp.exp(x**2), lambda x: 2 * x * jnp.exp(x**2), small),
        "sin, simpson, 1000 panels": rule(jnp.sin, "simpson", 1001)(0.0, pi),
        "double": double_integral(product, method="gauss-legendre", num_points=8)(0.0, 2.0, 0.0, 1.0),
        "double, iterated": gauss(lambda x: x / 2)(0.0, 2.0),
        "inner": gauss(lambda y: product(1.3, y))(0.0, 1.0) - 1.3 / 2,
    }
    return {"quantity": np.array(list(found)), "found": np.array([float(value) for value in found.values()])}


def _values(dataset, *names):
    return dataset.found.sel(quantity=list(names)).values


# claim -> (what it is held against, within the ledger's tolerance, and the quantity).
_STATED = {
    "integral-2x-0-3": (9.0, "2x"),
    "integral-x2-0-2-quad": (2.6667, "x^2"),
    "trapezoid-1000-points": (2.6667, "x^2, trapezoid, 1000 points"),
    "trapezoid-1000-panels-six-digits": (2.666667, "x^2, trapezoid, 1000 panels"),
    "fundamental-theorem-derivative-of-integral": (0.0, "derivative of the integral"),
    "fundamental-theorem-endpoints": (0.0, "difference at the end points"),
    "ftc-trapezoid-9": (9.0, "2x, 10000 samples"),
    "antiderivative-table": (0.0, "antiderivatives"),
    "integrate-poly-example": (9.0, "coefficients"),
    "integration-by-parts": (0.0, "parts"),
    "substitution-example": (0.0, "substitution"),
    "simpson-sin-0-pi": (2.0, "sin, simpson, 1000 panels"),
}


def _area(dataset):
    (triangle,), (signed, unsigned) = _values(dataset, "2x"), _values(dataset, "signed area", "unsigned area")
    # Where the integrand has one sign the integral is the area: 2x over [0, 3] is a triangle of width 3 and height 6.
    return Finding(
        close(triangle, 3.0 * 6.0 / 2),
        limits=less(1.0, abs(signed - unsigned)),
        measured=f"the triangle under 2x: {triangle:.10g}; sin on [0, 2 pi]: {signed:.2g}, area {unsigned:.10g}",
    )


claims = {
    **{
        claim: lambda dataset, target=target, name=name: close(_values(dataset, name), target)
        for claim, (target, name) in _STATED.items()
    },
    "double-integral-xy": lambda dataset: (
        close(_values(dataset, "double", "double, iterated"), 1.0) & below(abs(_values(dataset, "inner")))
    ),
    "np-trapz-call": lambda dataset: equal(_values(dataset, "numpy has trapz"), 1.0),
    "integral-is-area-under-curve": _area,
}
