"""Are estimators of a gradient unbiased, is their variance what theory says, and which one is best how far off?"""

from typing import Any

import numpy as np
import pydantic

from experiments.gradient_estimators import CHANCE, LABELS, Estimator, choices, gradient
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Swept, Variable, below, close, jax, less, over, params

kind = "compiled"


class Config(lab.Config):
    estimator: Estimator = "score"
    """of the gradient, and the control variate"""
    distance: Swept[float] = 1.0
    """D, of the mean and the point about which f is the square"""
    scale: Swept[float] = pydantic.Field(1.0, gt=0)
    """standard deviation of a draw"""
    num_samples: int = pydantic.Field(1024, ge=32, multiple_of=16)
    """draws of one estimate"""


VARIABLES = {
    "gradient": Variable((), "", "the estimate"),
    "standard_error": Variable((), "", "the standard error that comes with it"),
    "exact": Variable((), "", "the gradient"),
    "theory": Variable((), "", "variance of one draw in closed form"),
}


def run(config, key):
    from jaxcalc.functions.distributions import normal
    from jaxcalc.functions.gradient_variances import gradient_variance

    found = gradient(config.estimator, config.num_samples, config.distance, config.scale, 1)(key)
    mean_square = lambda mean: normal(mean, config.scale).variance() + mean**2
    return {
        "gradient": found.value[0],
        "standard_error": found.standard_error[0],
        "exact": jax.grad(mean_square)(config.distance),
        "theory": gradient_variance(*choices(config.estimator), config.distance, config.scale),
    }


def _data(dataset):
    """The data by estimator, distance and seed, and the draws of an estimate."""
    return over(dataset, "estimator", "distance", "seed"), params(dataset)["num_samples"]


def _variance(data, draws):
    """The variance of one draw as the standard errors have it."""
    return draws * (data.standard_error**2).mean("seed", skipna=False)


def _unbiased(dataset):
    data, draws = _data(dataset)
    off = abs(data.gradient.mean("seed", skipna=False) - data.exact.isel(seed=0))
    chance = data.gradient.std("seed", ddof=1, skipna=False) / np.sqrt(data.sizes["seed"])
    # At D = 0 the coupled pair is one number twice: no error, and no spread.
    worst = off / np.sqrt(chance**2 + 1e-20)
    return Finding(
        below(worst, CHANCE),
        measured=f"at most {float(worst.max()):.2f} standard errors at {draws * data.sizes['seed']:.3g} draws, "
        f"{worst.size} comparisons; {float((worst <= 3).mean()):.0%} within 3",
    )


def _as_theory(dataset):
    data, draws = _data(dataset)
    theory = data.theory.isel(seed=0)
    # At D = 0 the coupled pair is one number twice: no variance, and no ratio.
    some = ~(theory == 0)
    ratio = (_variance(data, draws) / theory.where(some, 1.0)).where(some, 1.0 + _variance(data, draws))
    return Finding(
        close(ratio, 1.0, 0.03),
        measured=f"variance over theory {float(ratio.min()):.4f} to {float(ratio.max()):.4f}",
    )


def _honest(dataset):
    data, draws = _data(dataset)
    told, seen = _variance(data, draws), draws * data.gradient.var("seed", ddof=1, skipna=False)
    spread = np.sqrt(2 / (data.sizes["seed"] - 1))
    worst = abs(seen - told) / (spread * told + 1e-20)
    return Finding(
        below(worst, CHANCE),
        measured=f"at most {float(worst.max()):.2f} standard deviations off, one being {100 * spread:.1f} %",
    )


def _crossing(data, draws):
    """The distance, in scales, from which on the coupled pair has more variance than the derivative through draws."""
    variance, at = _variance(data, draws), data.distance.values > 0
    curves = [variance.sel(estimator=name).values[at] for name in ("measure-valued", "reparameterised")]
    return measure.crossing(data.distance.values[at], *curves)


def _near_and_far(dataset):
    data, draws = _data(dataset)
    found = _crossing(data, draws) / params(dataset)["scale"]
    exact = np.sqrt(4 / (16 * (2 - np.pi / 2) / (2 * np.pi)))
    near = _variance(data, draws).isel(distance=0)
    best = near.sel(estimator="measure-valued"), near.sel(estimator="reparameterised")
    far = _variance(data, draws).isel(distance=-1)
    return Finding(
        less(*best) & close(found, exact, 0.03),
        limits=less(far.sel(estimator="reparameterised"), far.sel(estimator="measure-valued")),
        measured=f"up to {found:.4f} standard deviations, {exact:.4f} in theory",
    )


def _trick(dataset):
    data, draws = _data(dataset)
    at = data.sel(distance=1.0)
    value = at.gradient.mean("seed", skipna=False)
    variance = _variance(at, draws)
    one, other = (float(variance.sel(estimator=name)) for name in ("reparameterised", "score"))
    means = [float(value.sel(estimator=name)) for name in ("reparameterised", "score")]
    return Finding(
        close({"gradient": means[0]}) & close(means[1], 2.0) & less(one, other),
        measured=f"means {means[0]:.4f} and {means[1]:.4f}; variances {one:.3f} and {other:.2f}: "
        f"{other / one:.2f} times",
    )


def figures(dataset):
    data, draws = _data(dataset)
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.4)
    crossing = _draw_distance(data, draws, left)
    _draw_draws(data, draws, right)
    figure.set_label(
        r"Estimates of $d\,E[(x - k)^2]/d\mu$, x normal of mean $\mu = k + D$ and standard deviation 1. Left: variance "
        "of one draw; grey: where coupled measure-valued estimates and derivatives through draws are even, D = "
        f"{crossing:.3f}. Right: error against draws at D = 1; estimates of several seeds are averaged. Dashed: closed "
        "forms. Central differences of squares are derivatives through draws."
    )
    return {"distance": figure}


def _draw_distance(data, draws, panel):
    near = data.isel(distance=data.distance.values > 0)
    style.chart(
        _variance(near, draws),
        "distance",
        hue="estimator",
        theory=near.theory.isel(seed=0, drop=True),
        looks=LABELS,
        linestyle="",
        log="xy",
        xlabel="distance $D$ (standard deviations)",
        ylabel="variance of one draw",
        axes=panel,
        legend=None,
    )
    found = _crossing(data, draws)
    panel.axvline(found, color=style.COLORS["grey"], lw=0.8, zorder=0)
    return found


def _draw_draws(data, draws, panel):
    """Estimates of several seeds together are estimates of more draws."""
    import xarray

    at = data.sel(distance=1.0, method="nearest")
    off, seeds = at.gradient - at.exact, data.sizes["seed"]
    # A root mean square of sixty is known to 9 %.
    counts = np.array([count for count in 2 ** np.arange(8) if count == 1 or seeds // count >= 60])
    pooled = [off.isel(seed=slice(0, count * (seeds // count))).coarsen(seed=count).mean() for count in counts]
    sizes = [np.sqrt((each**2).mean("seed", skipna=False)) for each in pooled]
    error: Any = xarray.concat(sizes, xarray.DataArray(draws * counts, dims="draws", name="draws"))
    style.chart(
        error,
        "draws",
        hue="estimator",
        theory=np.sqrt(at.theory.isel(seed=0, drop=True) / error.draws),
        looks=LABELS,
        linestyle="",
        log="xy",
        xlabel="draws",
        ylabel="root mean square error",
        axes=panel,
        legend="below",
    )


claims = {
    "reparameterization-trick": _trick,
    "gradient-estimators-are-unbiased": _unbiased,
    "gradient-variance-is-as-theory": _as_theory,
    "gradient-error-is-honest": _honest,
    "measure-valued-beats-reparameterised-near": _near_and_far,
}
