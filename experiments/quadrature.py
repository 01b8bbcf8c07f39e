"""How fast do quadrature rules converge, and do the facts about integrals hold?

The error of each rule against the number of panels, and of random sampling against the number of draws (``errors``);
worked integrals against what is printed of them, the fundamental theorem, integration by parts (``examples``).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, Part, Variable, above, below, close, equal, less

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

# -- errors ------------------------------------------------------------------------------------------------------------

_RULES = ("left", "midpoint", "trapezoid", "simpson", "gauss-legendre")
_SHOWN = {
    "exp": r"$e^x$ on $[0, 1]$",
    "sin": r"$\sin x$ on $[0, \pi]$",
    "periodic": r"$e^{\sin x}$ on $[0, 2\pi]$",
    "sqrt": r"$\sqrt{x}$ on $[0, 1]$",
}


class Errors(Config):
    doublings: int = pydantic.Field(6, ge=3, le=8)
    """how often the number of panels is doubled, from 4"""
    repeats: int = pydantic.Field(400, ge=20)
    """independent runs of Monte Carlo"""
    most: int = pydantic.Field(25600, ge=1600)
    """draws of the longest run of the Monte Carlo series: 100, 400, 1600, ... up to here"""
    draws: int = pydantic.Field(100000, ge=1000)
    """draws of the run whose spread is looked at"""


def run_errors(config: Errors, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    from scipy.special import iv

    from jaxcalc.transforms.integral import integral
    from jaxcalc.transforms.sampling import monte_carlo

    pi = np.pi
    integrands = lambda t: jnp.stack(
        [jnp.exp(t), pi * jnp.sin(pi * t), 2 * pi * jnp.exp(jnp.sin(2 * pi * t)), jnp.sqrt(t)]
    )
    exact = np.array([np.expm1(1.0), 2.0, 2 * pi * iv(0, 1.0), 2 / 3])
    panels = 4 * 2 ** np.arange(config.doublings + 1)
    error = np.empty((len(_RULES), len(panels), len(exact)))
    evaluations = np.empty((len(_RULES), len(panels)), int)
    for i, rule in enumerate(_RULES):
        evaluations[i] = panels + (rule in ("trapezoid", "simpson"))
        series = [integral(integrands, method=rule, num_points=int(n)) for n in evaluations[i]]
        error[i] = abs(np.asarray(jax.jit(lambda a, b, s=series: jnp.stack([f(a, b) for f in s]))(0.0, 1.0)) - exact)
    draws = [100 * 4**k for k in range(20) if 100 * 4**k <= config.most]
    keys = jax.random.split(key, config.repeats)
    sampled = lambda n: jax.jit(jax.vmap(lambda k: monte_carlo(jnp.sin, num_samples=n)(k, 0.0, pi)))(keys)
    last = sampled(config.draws)
    return {
        "rule": np.array(_RULES),
        "panels": panels,
        "integrand": np.array(list(_SHOWN)),
        "error": error,
        "evaluations": evaluations,
        "draws": np.array(draws),
        "rmse": np.array([np.sqrt(np.mean((np.asarray(sampled(n).value) - 2.0) ** 2)) for n in draws]),
        "estimate": np.asarray(last.value),
        "standard_error": np.asarray(last.standard_error),
    }


def _order(dataset: "xarray.Dataset", rule: str, integrand: str) -> float:
    from jaxcalc import measure

    return -measure.exponent(dataset.panels.values, dataset.error.sel(rule=rule, integrand=integrand).values)


def _error(dataset: "xarray.Dataset", rule: str, integrand: str) -> np.ndarray:
    return dataset.error.sel(rule=rule, integrand=integrand).values


def _beats_riemann(dataset: "xarray.Dataset") -> Finding:
    left, trapezoid = (_order(dataset, rule, "exp") for rule in ("left", "trapezoid"))
    return Finding(
        close({"left": left, "trapezoid": trapezoid})
        & less(_error(dataset, "trapezoid", "exp"), _error(dataset, "left", "exp")),
        measured=f"orders {left:.4f} and {trapezoid:.4f}",
        figure="rules",
    )


def _most_accurate(dataset: "xarray.Dataset") -> Finding:
    order, rough = _order(dataset, "simpson", "exp"), _order(dataset, "simpson", "sqrt")
    at = 1  # eight panels
    periodic = [_error(dataset, rule, "periodic")[at] for rule in ("trapezoid", "simpson")]
    smooth = [_error(dataset, rule, "sin")[at] for rule in ("gauss-legendre", "simpson")]
    others = [_error(dataset, rule, "exp") for rule in _RULES[:3]]
    return Finding(
        close({"order": order}) & less([_error(dataset, "simpson", "exp")] * 3, others),
        limits=less(*periodic) | less(*smooth) | less(rough, 2.0),
        measured=f"order {order:.4f}, on the root {rough:.3f}; with 8 panels on a full period {periodic[1]:.2g} "
        f"against {periodic[0]:.2g} (trapezoid), on the sine {smooth[1]:.2g} against {smooth[0]:.2g} (Gauss)",
        figure="rules",
    )


def _sample_average(dataset: "xarray.Dataset") -> Finding:
    from jaxcalc import measure

    slope = measure.exponent(dataset.draws.values, dataset.rmse.values)
    every = above(dataset.rmse, 0.0)  # the exponent leaves out what is not
    return Finding(close({"rmse_slope": slope}) & every, measured=f"slope {slope:.4f}", figure="sampling")


def _printed(dataset: "xarray.Dataset") -> Finding:
    estimates, told = dataset.estimate.values, float(dataset.standard_error.mean(skipna=False))
    spread, printed = estimates.std(), np.mean(np.round(estimates, 4) == 2.0)
    return Finding(
        close(estimates.mean()) & close(spread / told, 1.0, 0.2),
        limits=less(printed, 0.5),
        measured=f"standard error {told:.4f}, spread {spread:.4f}; {100 * printed:.1f} % of runs print 2.0000",
        figure="sampling",
    )


def figures_of_errors(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    colors: dict[str, Any] = dict(zip(_RULES, ("blue", "sky", "green", "vermilion", "purple")))
    figure, panels = style.subplots(2, 2, width="page", height=5.0, sharex=True, sharey=True)
    n = dataset.panels.values
    slopes = {"exp": (1, 2, 4), "sin": (2, 4), "periodic": (), "sqrt": (1, 1.5)}
    of: dict[float, str] = {1: "left", 1.5: "simpson", 2: "trapezoid", 4: "simpson"}
    for axis, name in zip(panels.ravel(), map(str, dataset.integrand.values)):
        for rule, marker in zip(map(str, dataset.rule.values), "osD^v"):
            one = dataset.sel(rule=rule, integrand=name)
            error = np.maximum(one.error.values, 2e-17)
            axis.plot(one.evaluations.values, error, marker + "-", color=style.COLORS[colors[rule]], label=rule)
        for power in slopes[name]:
            start = 0.2 * float(dataset.error.sel(rule=of[power], integrand=name)[-1])  # beside the measurement
            axis.plot(n, start * (n / n[-1]) ** -float(power), **style.THEORY)
        axis.set(xscale="log", yscale="log", title=_SHOWN[name], ylim=(1e-17, 10))
    for axis in panels[1]:
        axis.set_xlabel("evaluations")
    for axis in panels[:, 0]:
        axis.set_ylabel("absolute error")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.set_label(
        "Error of quadrature rules. Dashed, shifted down: orders 1, 2 and 4 (the root: 1 and 1.5). Exact results are "
        "drawn at 2e-17."
    )
    drawn, (series, spread) = style.subplots(1, 2, width="page", height=2.6)
    series.plot(dataset.draws, dataset.rmse, "o", color=style.COLORS["blue"])
    sigma = np.sqrt(np.pi**2 / 2 - 4)  # of pi sin(U), U uniform on [0, pi]
    series.plot(dataset.draws, sigma / np.sqrt(dataset.draws), **style.THEORY)
    series.set(xscale="log", yscale="log", xlabel="draws", ylabel="root mean square error")
    spread.hist(dataset.estimate.values, bins=30, color=style.COLORS["sky"])
    spread.axvline(2.0, **style.THEORY)
    spread.set(xlabel="estimate of the integral", ylabel="runs")
    drawn.set_label(
        "Monte Carlo for sin on [0, pi]: the error falls like one over the root of the number of draws n (dashed: "
        "theory); right, how the estimates of the longest run spread about the integral (dashed)."
    )
    return {"rules": figure, "sampling": drawn}


errors = Part(
    Errors,
    {
        "rule": Variable(("rule",), "", "quadrature rule"),
        "panels": Variable(("panels",), "", "panels; of Gauss-Legendre, nodes"),
        "integrand": Variable(("integrand",), "", "what is integrated"),
        "error": Variable(("rule", "panels", "integrand"), "", "absolute error"),
        "evaluations": Variable(("rule", "panels"), "", "evaluations of the integrand"),
        "draws": Variable(("draws",), "", "random draws"),
        "rmse": Variable(("draws",), "", "root mean square error of Monte Carlo for sin on [0, pi]"),
        "estimate": Variable(("repeat",), "", "estimates of that integral, one per run"),
        "standard_error": Variable(("repeat",), "", "the standard error that each run reports"),
    },
    "host",
    run_errors,
    figures=figures_of_errors,
    claims={
        "trapezoid-beats-riemann": _beats_riemann,
        "simpson-most-accurate": _most_accurate,
        "monte-carlo-sample-average": _sample_average,
        "monte-carlo-sin-0-pi": _printed,
    },
    doc="How fast do quadrature rules and random sampling converge?",
)

# -- examples ----------------------------------------------------------------------------------------------------------


class Examples(Config):
    points: int = pydantic.Field(15, ge=2)
    """points at which identities are checked"""


def run_examples(config: Examples, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

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


# claim -> (what it is held against, quantities): all of them within the ledger's tolerance of it.
_STATED = {
    "integral-2x-0-3": (9.0, ("2x",)),
    "integral-x2-0-2-quad": (2.6667, ("x^2",)),
    "trapezoid-1000-points": (2.6667, ("x^2, trapezoid, 1000 points",)),
    "trapezoid-1000-panels-six-digits": (2.666667, ("x^2, trapezoid, 1000 panels",)),
    "fundamental-theorem-derivative-of-integral": (0.0, ("derivative of the integral",)),
    "fundamental-theorem-endpoints": (0.0, ("difference at the end points",)),
    "ftc-trapezoid-9": (9.0, ("2x, 10000 samples",)),
    "antiderivative-table": (0.0, ("antiderivatives",)),
    "integrate-poly-example": (9.0, ("coefficients",)),
    "integration-by-parts": (0.0, ("parts",)),
    "substitution-example": (0.0, ("substitution",)),
    "simpson-sin-0-pi": (2.0, ("sin, simpson, 1000 panels",)),
    "double-integral-xy": (1.0, ("double", "double, iterated")),
    "np-trapz-call": (1.0, ("numpy has trapz",)),
}


def _found(dataset: "xarray.Dataset", *names: str) -> np.ndarray:
    return dataset.found.sel(quantity=list(names)).values


def _worked(expected: float, names: tuple[str, ...]) -> Any:
    """Some quantities held against one number, within the ledger's tolerance."""
    return lambda dataset: close(_found(dataset, *names), expected)


def _double(dataset: "xarray.Dataset") -> Finding:
    expected, names = _STATED["double-integral-xy"]
    return Finding(close(_found(dataset, *names), expected) & below(abs(_found(dataset, "inner"))))


def _area(dataset: "xarray.Dataset") -> Finding:
    (triangle,), (signed, unsigned) = _found(dataset, "2x"), _found(dataset, "signed area", "unsigned area")
    # Where the integrand has one sign the integral is the area: 2x over [0, 3] is a triangle of width 3 and height 6.
    return Finding(
        close(triangle, 3.0 * 6.0 / 2),
        limits=less(1.0, abs(signed - unsigned)),
        measured=f"the triangle under 2x: {triangle:.10g}; sin on [0, 2 pi]: {signed:.2g}, area {unsigned:.10g}",
    )


examples = Part(
    Examples,
    {
        "quantity": Variable(("quantity",), "", "a worked integral, or the residual of an identity"),
        "found": Variable(("quantity",), "", "what it comes to"),
    },
    "host",
    run_examples,
    claims={
        **{id: _worked(*stated) for id, stated in _STATED.items()},
        "double-integral-xy": _double,
        "np-trapz-call": lambda dataset: equal(_found(dataset, "numpy has trapz"), 1.0),
        "integral-is-area-under-curve": _area,
    },
    doc="What do worked integrals come to, and do the theorems about integrals hold?",
)
