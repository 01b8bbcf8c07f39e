"""How fast do quadrature rules and random sampling converge?"""

import numpy as np
import pydantic

from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Variable, above, close, jax, jnp, less, xarray

kind = "host"

_RULES = ("left", "midpoint", "trapezoid", "simpson", "gauss-legendre")
_SHOWN = {
    "exp": r"$e^x$ on $[0, 1]$",
    "sin": r"$\sin x$ on $[0, \pi]$",
    "periodic": r"$e^{\sin x}$ on $[0, 2\pi]$",
    "sqrt": r"$\sqrt{x}$ on $[0, 1]$",
}


class Config(lab.Config):
    doublings: int = pydantic.Field(6, ge=3, le=8)
    """how often the number of panels is doubled, from 4"""
    repeats: int = pydantic.Field(400, ge=20)
    """independent runs of Monte Carlo"""
    most: int = pydantic.Field(25600, ge=1600)
    """draws of the longest run of the Monte Carlo series: 100, 400, 1600, ... up to here"""
    draws: int = pydantic.Field(100000, ge=1000)
    """draws of the run whose spread is looked at"""


VARIABLES = {
    "rule": Variable(("rule",), "", "quadrature rule"),
    "panels": Variable(("panels",), "", "panels; of Gauss-Legendre, nodes"),
    "integrand": Variable(("integrand",), "", "what is integrated"),
    "error": Variable(("rule", "panels", "integrand"), "", "absolute error"),
    "draws": Variable(("draws",), "", "random draws"),
    "rmse": Variable(("draws",), "", "root mean square error of Monte Carlo for sin on [0, pi]"),
    "estimate": Variable(("repeat",), "", "estimates of that integral, one per run"),
    "standard_error": Variable(("repeat",), "", "the standard error that each run reports"),
}


def run(config, key):
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
    for i, rule in enumerate(_RULES):
        nodes = panels + (rule in ("trapezoid", "simpson"))
        series = [integral(integrands, method=rule, num_points=int(n)) for n in nodes]
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
        "draws": np.array(draws),
        "rmse": np.array([np.sqrt(np.mean((np.asarray(sampled(n).value) - 2.0) ** 2)) for n in draws]),
        "estimate": np.asarray(last.value),
        "standard_error": np.asarray(last.standard_error),
    }


def _error(dataset, rule, integrand):
    return dataset.error.sel(rule=rule, integrand=integrand).values


def _order(dataset, rule, integrand):
    return -measure.exponent(dataset.panels, _error(dataset, rule, integrand))


def _beats_riemann(dataset):
    left, trapezoid = (_order(dataset, rule, "exp") for rule in ("left", "trapezoid"))
    return Finding(
        close({"left": left, "trapezoid": trapezoid})
        & less(_error(dataset, "trapezoid", "exp"), _error(dataset, "left", "exp")),
        measured=f"orders {left:.4f} and {trapezoid:.4f}",
        figure="rules",
    )


def _most_accurate(dataset):
    order, rough = _order(dataset, "simpson", "exp"), _order(dataset, "simpson", "sqrt")
    eight = dataset.sel(panels=8)
    periodic = [_error(eight, rule, "periodic") for rule in ("trapezoid", "simpson")]
    smooth = [_error(eight, rule, "sin") for rule in ("gauss-legendre", "simpson")]
    others = [_error(dataset, rule, "exp") for rule in _RULES[:3]]
    return Finding(
        close({"order": order}) & less([_error(dataset, "simpson", "exp")] * 3, others),
        limits=less(*periodic) | less(*smooth) | less(rough, 2.0),
        measured=f"order {order:.4f}, on the root {rough:.3f}; with 8 panels on a full period {periodic[1]:.2g} "
        f"against {periodic[0]:.2g} (trapezoid), on the sine {smooth[1]:.2g} against {smooth[0]:.2g} (Gauss)",
        figure="rules",
    )


def _sample_average(dataset):
    slope = measure.exponent(dataset.draws, dataset.rmse)
    every = above(dataset.rmse, 0.0)  # the exponent leaves out what is not
    return Finding(close({"rmse_slope": slope}) & every, measured=f"slope {slope:.4f}", figure="sampling")


def _printed(dataset):
    estimates, told = dataset.estimate.values, float(dataset.standard_error.mean(skipna=False))
    spread, printed = estimates.std(), np.mean(np.round(estimates, 4) == 2.0)
    return Finding(
        close(estimates.mean()) & close(spread / told, 1.0, 0.2),
        limits=less(printed, 0.5),
        measured=f"standard error {told:.4f}, spread {spread:.4f}; {100 * printed:.1f} % of runs print 2.0000",
        figure="sampling",
    )


def figures(dataset):
    colors = ("blue", "sky", "green", "vermilion", "purple")
    looks = {rule: {"color": style.COLORS[c], "marker": m} for rule, c, m in zip(_RULES, colors, "osD^v")}
    orders = {"left": 1, "trapezoid": 2, "simpson": 4}
    powers = {"exp": orders, "sin": {"trapezoid": 2, "simpson": 4}, "sqrt": {"left": 1, "simpson": 1.5}}
    rules, panels = style.chart(
        dataset.error,
        "panels",
        col="integrand",
        hue="rule",
        slopes={(name, rule): -p for name, of in powers.items() for rule, p in of.items()},
        looks=looks,
        titles=_SHOWN,
        log="xy",
        ylim=(1e-18, 10),
        wrap=2,
        legend="below",
        width="page",
        height=5.0,
    )
    panels[0, 0].set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1])
    rules.set_label(
        "Error of quadrature rules. Dashed, shifted down: orders 1, 2 and 4 (the root: 1 and 1.5). Hollow: exact."
    )
    sampling, (series, spread) = style.subplots(1, 2, width="page", height=2.6, letters=False)
    sigma = np.sqrt(np.pi**2 / 2 - 4)  # of pi sin(U), U uniform on [0, pi]
    theory = sigma / np.sqrt(xarray.ones_like(dataset.rmse) * dataset.draws)
    style.chart(dataset.rmse, theory=theory, log="xy", linestyle="", axes=series)
    series.set(xlabel="draws", ylabel="root mean square error")
    spread.hist(dataset.estimate.values, bins=30, color=style.COLORS["sky"])
    spread.axvline(2.0, **style.THEORY)
    spread.set(xlabel="estimate of the integral", ylabel="runs")
    spread.locator_params("x", nbins=5)
    sampling.set_label(
        "Monte Carlo for sin on [0, pi]: the error falls like one over the root of the number of draws n "
        "(dashed: theory); right, how the estimates of the longest run spread about the integral (dashed)."
    )
    return {"rules": rules, "sampling": sampling}


claims = {
    "trapezoid-beats-riemann": _beats_riemann,
    "simpson-most-accurate": _most_accurate,
    "monte-carlo-sample-average": _sample_average,
    "monte-carlo-sin-0-pi": _printed,
}
