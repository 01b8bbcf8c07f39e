"""How does the variance of a gradient's estimators grow with the dimension, and what does it cost?"""

import pydantic

from experiments.gradient_estimators import LABELS, Estimator, choices, gradient
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Variable, between, close, jnp, over

kind = "compiled"


class Config(lab.Config):
    estimator: Estimator = "score"
    """of the gradient, and the control variate"""
    distance: float = 1.0
    """of every mean and the point about which f is the square, in standard deviations"""
    dimensions: tuple[pydantic.PositiveInt, ...] = pydantic.Field((1, 4, 16, 64), min_length=3)
    """numbers of a draw"""
    num_samples: int = pydantic.Field(4096, ge=32, multiple_of=16)
    """draws of one estimate"""


VARIABLES = {
    "dimension": Variable(("dimension",), "", "dimension"),
    "variance": Variable(("dimension",), "", "variance of one draw of the derivative by one mean"),
    "theory": Variable(("dimension",), "", "the same in closed form"),
    "evaluations": Variable(("dimension",), "", "evaluations of f for a draw of the whole gradient"),
}


def run(config, key):
    from jaxcalc.functions.gradient_variances import gradient_variance

    method, control = choices(config.estimator)
    dimensions = jnp.array(config.dimensions, float)

    def variance(d):
        found = gradient(config.estimator, config.num_samples, config.distance, 1.0, d)(key)
        return config.num_samples * (found.standard_error**2).mean()  # all means are alike

    by_pairs = method in ("measure-valued", "finite-difference")
    return {
        "dimension": dimensions,
        "variance": jnp.stack([variance(d) for d in config.dimensions]),
        "theory": gradient_variance(method, control, config.distance, 1.0, dimensions),
        "evaluations": 2 * dimensions if by_pairs else jnp.ones_like(dimensions),
    }


def _mean(dataset):
    return over(dataset, "estimator", "seed").mean("seed", skipna=False)


def _as_theory(dataset):
    data = _mean(dataset)
    ratio = data.variance / data.theory
    return Finding(
        close(ratio, 1.0, 0.05),
        measured=f"variance over theory {float(ratio.min()):.3f} to {float(ratio.max()):.3f}",
    )


def _growth(data, name):
    """The exponent of the variance between the two largest dimensions."""
    last = data.sel(estimator=name).isel(dimension=slice(-2, None))
    return measure.exponent(last.dimension, last.variance)


def _grows(dataset):
    data = _mean(dataset)
    power = {name: _growth(data, name) for name in map(str, data.estimator.values)}
    return Finding(
        between(power["score"], 1.7, 2.1),
        # A baseline takes the mean off, whose square it is.
        limits=between(power["score, constant"], 0.7, 1.1) & close(power["reparameterised"], 0.0, 0.05),
        measured=", ".join(f"{name}: {value:.2f}" for name, value in power.items()),
    )


def figures(dataset):
    data = _mean(dataset)
    work = data.variance * data.evaluations
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.2)
    common = {"hue": "estimator", "looks": LABELS, "linestyle": "", "log": "xy", "xlabel": "dimension $d$"}
    style.chart(
        data.variance, "dimension", theory=data.theory, ylabel="variance of one draw", axes=left, **common, legend=None
    )
    style.chart(
        work,
        "dimension",
        theory=data.theory * data.evaluations,
        ylabel="variance times evaluations of $f$",
        axes=right,
        legend="below",
        **common,
    )
    figure.set_label(
        "Left: variance of one draw of the derivative by one of d means, f the sum of d squares. Right: times the "
        "evaluations of f for the whole gradient (a pass back through f counts as one), which divides what a budget "
        "buys. Dashed: in closed form."
    )
    return {"dimension": figure}


claims = {"gradient-variance-in-many-dimensions": _as_theory, "score-variance-grows-with-dimension": _grows}
