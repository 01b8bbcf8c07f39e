"""What is a derivative: a limit, a tangent, a sign, a stationary point?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, cited, close, equal, holds, jax, jnp, slope

kind = "host"


class Config(lab.Config):
    samples: int = pydantic.Field(2000, ge=10)
    """random points for the rule of signs"""
    seed_of_samples: int = 0
    """seed of those points"""


VARIABLES = {
    "h": Variable(("h",), "", "step h"),
    "quotient_error": Variable(("h",), "", "forward difference of sin at 1 less cos 1"),
    "tangent_error": Variable(("h",), "", "exp less its tangent at 0.3"),
    "step": Variable(("step",), "", "step against the slope, in multiples of it"),
    "falls": Variable(("step",), "", "share of points where the value falls"),
    "shape": Variable(("shape",), "", "a function with a stationary point at 0"),
    "slope_at_zero": Variable(("shape",), "", "its derivative there"),
    "is_minimum": Variable(("shape",), "", "whether nothing near is lower"),
    "slope_of_steep": Variable((), "", "derivative of 1e6 w^2 at 0"),
    "change_of_steep": Variable(("h",), "", "change of 1e6 w^2 from 0 to h"),
    "nudge_ratio": Variable((), "", "change of the loss over change of the weight"),
    "implied_loss": Variable((), "", "squared error that has a slope of -2000 at 1200 square feet"),
    "sinc": Variable(("h",), "", "sin(h) / h"),
    "product_of_limits": Variable(("h",), "", "sin(h) / h times (e^h - 1) / h"),
    "cosine_of": Variable(("h",), "", "cos(sin(h))"),
    "sign_of": Variable(("h",), "", "sign(|h|)"),
    "sign_at_limit": Variable((), "", "sign(0)"),
    "line": Variable(("parameter",), "", "slope and intercept that gradient descent ends at"),
}


def run(config, key):
    from jaxcalc import minimize

    h = 10.0 ** -np.arange(1, 17)
    x = np.random.default_rng(config.seed_of_samples).uniform(-4, 4, config.samples)
    bumpy = lambda x: jnp.sin(3 * x) + 0.3 * x**2
    pull, steps = jax.vmap(jax.grad(bumpy))(jnp.asarray(x)), np.array([1e-3, 1e-2, 1e-1, 1.0])
    drops = [np.asarray(bumpy(x) - bumpy(x - step * pull)) for step in steps]
    shapes = {"x^3": lambda x: x**3, "-x^2": lambda x: -(x**2), "x^4": lambda x: x**4}
    around = jnp.linspace(-0.1, 0.1, 21)
    steep = lambda w: 1e6 * w**2
    inputs = jnp.linspace(-1, 1, 40)
    squares = lambda p: jnp.mean((p[0] * inputs + p[1] - (2.0 * inputs + 1.0)) ** 2)
    return {
        "h": h,
        "quotient_error": abs((np.sin(1 + h) - np.sin(1.0)) / h - np.cos(1.0)),
        "tangent_error": abs(np.exp(0.3 + h) - np.exp(0.3) * (1 + h)),
        "step": steps,
        "falls": np.array([np.mean(np.heaviside(drop, 0.0)) for drop in drops]),
        "shape": np.array(list(shapes)),
        "slope_at_zero": np.array([float(jax.grad(f)(0.0)) for f in shapes.values()]),
        "is_minimum": np.array([bool((f(around) >= f(0.0)).all()) for f in shapes.values()]),
        "slope_of_steep": np.asarray(jax.grad(steep)(0.0)),
        "change_of_steep": steep(h),
        "nudge_ratio": np.asarray((4998.0 - 5000.0) / 0.001),
        "implied_loss": np.asarray((-2000.0 / (2 * 1200.0)) ** 2),
        "sinc": np.sin(h) / h,
        "product_of_limits": (np.sin(h) / h) * (np.expm1(h) / h),
        "cosine_of": np.cos(np.sin(h)),
        "sign_of": np.sign(abs(h)),
        "sign_at_limit": np.asarray(np.sign(0.0)),
        "line": minimize(squares, jnp.zeros(2), method="gradient-descent", tol=1e-8).x,
    }


def _nudge(dataset):
    ratio, implied = float(dataset.nudge_ratio), float(dataset.implied_loss)
    return Finding(
        close(ratio),
        limits=~close(implied, 5000.0, 1.0),
        measured=f"{ratio:.6g}; that slope with 1200 square feet belongs to a loss of {implied:.3g}, not 5000",
    )


def _quotient(dataset):
    large = dataset.sel(h=slice(None, 0.9e-6))
    return Finding(slope(large.h, large.quotient_error), figure="limit")


def _tangent(dataset):
    large = dataset.sel(h=slice(None, 0.9e-5))
    return Finding(slope(large.h, large.tangent_error), figure="limit")


def _insensitive(dataset):
    """What a nudge changes falls faster than the nudge, and yet may be large."""
    change = dataset.change_of_steep
    nudged = float(_at(change, 1e-2))
    return Finding(
        equal(dataset.slope_of_steep, 0.0) & slope(dataset.h, change),
        limits=above(nudged, 1.0),
        measured=f"slope {float(dataset.slope_of_steep):g}, a nudge of 1e-08 changes the loss by "
        f"{float(_at(change, 1e-8)):.2g}, one of 0.01 by {nudged:g}",
    )


def _signs(dataset):
    shares = zip(dataset.step.values, dataset.falls.values)
    return Finding(
        equal(dataset.falls.sel(step=1e-3)),
        measured=", ".join(f"{100 * share:.1f} % at step {step:g}" for step, share in shares),
        figure="signs",
    )


def _stationary(dataset):
    minimum, slopes = dataset.is_minimum, dataset.slope_at_zero
    there = ", ".join(dataset["shape"].values[minimum.values.astype(bool)])
    return Finding(
        equal(slopes) & holds(minimum.sel(shape="x^4")),
        limits=~holds(minimum),
        measured=f"slopes {slopes.values.tolist()}; a minimum only of {there}",
    )


def _sinc(dataset):
    found = dataset.sinc.sel(h=slice(None, 0.9e-4))
    return Finding(close(found), measured=", ".join(f"{value:.8f}" for value in found.values))


def _composed(dataset):
    return close(
        {
            "limit_cos": _at(dataset.cosine_of, 1e-8),
            "limit_sign": _at(dataset.sign_of, 1e-8),
            "sign_at_limit": dataset.sign_at_limit,
        }
    )


def _at(values, h):
    return values.sel(h=h, method="nearest", tolerance=1e-3 * h)


def figures(dataset):
    h = dataset.h
    quotient, tangent = dataset.quotient_error, dataset.tangent_error
    errors = {"quotient of sin at 1": quotient, "tangent of exp at 0.3": tangent}
    leading = {"quotient": h * np.sin(1) / 2, "tangent": h**2 * np.exp(0.3) / 2}
    limit, _ = style.chart(errors, "h", theory=leading, log="xy", ylim=(1e-20, 1), ylabel="error")
    limit.set_label(
        "The difference quotient's error falls with h until rounding takes over; the tangent's "
        "falls with its square, to an exact 0. Dashed: h |f''| / 2 and h^2 f'' / 2."
    )
    share = "points where the value falls (%)"
    signs, _ = style.chart(100 * dataset.falls, "step", log="x", ylabel=share, ylim=(0, 105))
    signs.set_label("A step against the slope lowers the value if it is short: the rule is local.")
    return {"limit": limit, "signs": signs}


claims = {
    "nudge-ratio-worked-example": _nudge,
    "derivative-is-limit-of-quotient": _quotient,
    "derivative-is-tangent-slope": _tangent,
    "zero-derivative-means-insensitive": _insensitive,
    "sign-rule-of-derivative": _signs,
    "zero-derivative-means-minimum": _stationary,
    "sinc-limit-table": _sinc,
    "numerical-limit-sinc": lambda dataset: close(_at(dataset.sinc, 1e-8)),
    "limit-product-law": lambda dataset: close(_at(dataset.product_of_limits, 1e-8)),
    "limit-composition-law": _composed,
    "linear-regression-finds-slope-and-intercept": lambda dataset: close(dataset.line),
    "newton-leibniz-history": cited,
}
