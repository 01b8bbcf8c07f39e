"""Is the central quotient always the most accurate?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, close, jax, jnp, less

kind = "host"


class Config(lab.Config):
    points: int = pydantic.Field(4000, ge=10)
    """points at which each function is differentiated"""


VARIABLES = {
    "rival_step": Variable(("rival_step",), "", "step h"),
    "function": Variable(("function",), "", "what is differentiated"),
    "stencil": Variable(("stencil",), "", "which neighbours the quotient looks at"),
    "loses": Variable(("rival_step", "function"), "", "share of points where a one-sided error is the smaller"),
    "median_error": Variable(("rival_step", "stencil"), "", "median relative error over points and functions"),
    "at_inflection": Variable(("two",), "", "forward and central error of x^3 at -h/3, h = 1e-3"),
}


# Functions on intervals without an inflection.
_CONVEX = {"exp": (-1.0, 1.0), "sin": (0.2, 1.4), **dict.fromkeys(("log", "sqrt", "reciprocal"), (0.5, 3.0))}


def run(config, key):
    from jaxcalc.engines import finite_differences
    from jaxcalc.functions.elementary import elementary

    h = jnp.asarray([*(10.0 ** -np.arange(3, 12)), np.finfo(float).eps ** (1 / 3)])
    errors = []
    for name, ends in _CONVEX.items():
        fun, x = elementary(name), jnp.linspace(*ends, config.points)

        @jax.jit
        def of_all(x, fun=fun):
            def error(scheme, h):
                derived = jax.vmap(finite_differences.derivative(fun.value, scheme=scheme, step=h))(x)
                return abs(derived / fun.derivative(x) - 1)

            return jax.vmap(lambda h: jnp.stack([error(s, h) for s in ("forward", "backward", "central")]))(h)

        errors.append(of_all(x))
    # [function, step, scheme, point]
    error = np.asarray(errors)
    cubic = lambda x: x**3
    at = -1e-3 / 3
    forward, central = (
        abs(float(finite_differences.derivative(cubic, scheme=s, step=1e-3)(at)) - 3 * at**2)
        for s in ("forward", "central")
    )
    return {
        "rival_step": np.asarray(h),
        "function": np.array(list(_CONVEX)),
        "loses": (error[:, :, :2].min(axis=2) < error[:, :, 2]).mean(axis=2).T,
        "median_error": np.median(error, axis=(0, 3)),
        "stencil": np.array(["forward", "backward", "central"]),
        "at_inflection": np.array([forward, central]),
    }


def _judge_central(dataset):
    data = dataset.sortby("rival_step")
    at = lambda h: data.sel(rival_step=h, method="nearest", tolerance=h / 100)
    share = lambda h: float(at(h).loses.mean(skipna=False))
    median = lambda h: float(at(h).median_error.sel(stencil="central"))
    long, usual, short = map(share, (1e-3, 1e-7, 1e-9))
    popular, best = median(1e-7), median(np.finfo(float).eps ** (1 / 3))
    forward, central = dataset.at_inflection.values
    return Finding(
        close({"fraction_central_loses": long}),
        # Where rounding rules, and next to an inflection.
        limits=above(short, 0.1) & less(best, popular) & less(forward, central),
        measured=f"loses at {100 * long:.2f} % of points for h = 1e-3, "
        f"{100 * usual:.2f} % for 1e-7, {100 * short:.0f} % for 1e-9; "
        f"median error {popular:.2g} at 1e-7, {best:.2g} at eps^(1/3); next to the inflection "
        f"of x^3 forward {forward:.2g}, central {central:.2g} for h = 1e-3",
    )


def figures(dataset):
    data = dataset.sortby("rival_step")
    loses = 100 * data.loses
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.7)
    extremes = loses.min("function"), loses.max("function")
    share = "points where central loses (%)"
    style.chart(loses.mean("function"), axes=left, band=extremes, log="x", ylabel=share)
    # One-sided quotients coincide: backward stands open, around forward.
    hollow = {"linestyle": "", "markerfacecolor": "none", "markeredgewidth": 0.9, "markersize": 7}
    looks, error = {"backward": hollow}, data.median_error
    style.chart(error, "rival_step", hue="stencil", looks=looks, axes=right, log="xy", legend="lower left")
    best = np.finfo(float).eps ** (1 / 3)
    right.axvline(best, **style.THEORY)
    right.annotate("eps$^{1/3}$", (best, 1e-3), (3, 0), textcoords="offset points")
    figure.set_label(
        "Central against one-sided quotients in float64, over five functions without an inflection "
        "(mean; band: from the least to the most): central wins while truncation dominates. "
        "Dashed: its best step by theory."
    )
    return {"rivals": figure}


claims = {"central-most-accurate": _judge_central}
