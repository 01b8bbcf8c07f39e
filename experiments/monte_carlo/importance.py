"""How much variance does importance sampling save on a rare event, and how does a bad proposal spoil it?"""

import numpy as np
import pydantic

from experiments.monte_carlo import CHANCE, beyond_chance, coverage_at
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Swept, Variable, above, below, jax, jnp, less, over, params

kind = "compiled"


class Config(lab.Config):
    mean: Swept[float] = 4.0
    """of the normal proposal"""
    scale: Swept[float] = pydantic.Field(1.0, gt=0)
    """its standard deviation"""
    threshold: float = 4.0
    """the event: a standard normal number above this"""
    num_samples: int = pydantic.Field(1024, ge=2)
    """draws of the proposal"""


VARIABLES = {
    "value": Variable((), "", "the estimate of the probability"),
    "standard_error": Variable((), "", "the standard error that comes with it"),
    "degrees_of_freedom": Variable((), "", "of Student's t"),
    "exact": Variable((), "", "the probability"),
    "num_samples": Variable((), "", "draws of each estimate"),
    "theory_mean": Variable(("theory_mean",), "", "mean of a proposal of scale 1"),
    "theory_spread": Variable(("theory_mean",), "", "standard deviation of a draw over the probability"),
}


def run(config, key):
    from jaxcalc.functions.distributions import normal
    from jaxcalc.transforms.sampling import importance_sampling

    target, proposal = normal(0.0, 1.0), normal(config.mean, config.scale)
    fun = lambda x: jnp.where(x > config.threshold, target.density(x), 0.0)
    # Small chunks: thousands of lanes hold one each.
    choices = {"num_samples": config.num_samples, "chunk_size": 128}
    found = importance_sampling(fun, proposal.sample, proposal.log_density, **choices)(key)
    names = ("value", "standard_error", "degrees_of_freedom")
    return {name: getattr(found, name) for name in names}


def shared(config):
    """The probability, and what one draw of a proposal of scale 1 spreads, by quadrature."""
    from jaxcalc.functions.distributions import normal
    from jaxcalc.transforms.integral import integral

    target = normal(0.0, 1.0)
    exact = float(target.cdf(-config.threshold))
    squared = lambda x, mean: jnp.exp(2 * target.log_density(x) - normal(mean, 1.0).log_density(x))
    means = jnp.linspace(0.0, 2 * config.threshold, 33)
    rule = integral(squared, method="gauss-legendre", num_points=64)
    second = jax.jit(jax.vmap(rule, (None, None, 0)))(config.threshold, jnp.inf, means)
    return {
        "exact": exact,
        "theory_mean": means,
        "theory_spread": jnp.sqrt(second / exact**2 - 1),
        "num_samples": config.num_samples,
    }


def _relative_spread(data, p):
    """The standard deviation of one draw over the probability, from that of the estimates."""
    return data.value.std("seed", ddof=1, skipna=False) * np.sqrt(data.num_samples.max().item()) / p


def _proposals(dataset):
    """The data by proposal and seed, the proposal at the threshold, and the one farthest beyond it."""
    data = over(dataset, "mean", "scale", "seed")
    tuned = {"mean": float(dataset.threshold), "scale": 1.0}
    return data, tuned, {"mean": float(data["mean"].max()), "scale": 1.0}


def _saves_variance(dataset):
    data, tuned, beyond = _proposals(dataset)
    p = float(dataset.exact)
    gain = float((1 - p) / p / _relative_spread(data, p).sel(tuned) ** 2)
    return Finding(
        above(gain, 1000.0),
        limits=less(coverage_at(data, 0.95).sel(beyond), 0.5),
        measured=f"probability {p:.4g}; variance {gain:.4g} times smaller",
    )


def _variance_is_the_integral(dataset):
    data, _, _ = _proposals(dataset)
    theory = np.interp(data["mean"], dataset.theory_mean, dataset.theory_spread)
    # Where the draws tell the probability to better than a third, and so their own spread too.
    seen = ~(theory >= np.sqrt(float(dataset.num_samples)) / 3)
    spread = _relative_spread(data, float(dataset.exact)).sel(scale=1.0).values
    off, chance = abs(spread[seen] / theory[seen] - 1), CHANCE / np.sqrt(2 * data.sizes["seed"])
    return Finding(
        below(off, chance),
        measured=f"off by at most {100 * off.max():.1f} % at {seen.sum()} proposals",
    )


def _importance_error(dataset):
    data, tuned, _ = _proposals(dataset)
    held = coverage_at(data, 0.95).sel(tuned)
    return Finding(below(beyond_chance(held, 0.95, data.sizes["seed"]), CHANCE), measured=f"{100 * float(held):.1f} %")


def _hidden_error(dataset):
    data, _, beyond = _proposals(dataset)
    p, held = float(dataset.exact), coverage_at(data, 0.95).sel(beyond)
    missed = abs(data.value.sel(beyond) - p).median("seed", skipna=False) / p
    told = data.standard_error.sel(beyond).median("seed", skipna=False) / p
    return Finding(
        less(held, 0.5) & less(told, missed / 2),
        measured=f"mean {beyond['mean']:g}: {100 * float(held):.1f} %; median relative error "
        f"{float(missed):.3g}, told {float(told):.3g}",
    )


def figures(dataset):
    data = over(dataset, "mean", "scale", "seed")
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9, gridspec_kw={"width_ratios": [1, 1.15]})
    p, means = float(dataset.exact), data["mean"].values
    unit = data.sel(scale=1.0, method="nearest")
    told = np.sqrt(float(dataset.num_samples)) * unit.standard_error / p
    low, middle, high = (told.quantile(q, "seed").values for q in (0.16, 0.5, 0.84))
    sky, blue = style.COLORS["sky"], style.COLORS["blue"]
    left.fill_between(means, np.maximum(low, 1e-9), high, color=sky, alpha=0.3, lw=0)
    left.plot(means, np.where(middle > 0, middle, np.nan), "s-", color=sky, label="reported (median)")
    left.plot(means, _relative_spread(unit, p).values, "o-", color=blue, label="measured")
    left.plot(dataset.theory_mean, dataset.theory_spread, **style.THEORY, label="theory")
    left.axhline(np.sqrt((1 - p) / p), color=style.COLORS["grey"], lw=0.8, label="plain Monte Carlo, theory")
    left.set(yscale="log", ylim=(0.02, 500), xlabel="mean of the proposal, scale 1")
    left.set_ylabel("relative standard deviation per draw")
    left.legend(loc="lower center", fontsize=6.5)
    held = 100 * coverage_at(data, 0.95).transpose("scale", "mean")
    shown = right.imshow(held.values, origin="lower", vmin=0, vmax=100, aspect="auto")
    right.set_xticks(range(len(means)), [f"{value:g}" for value in means])
    right.set_yticks(range(data.sizes["scale"]), [f"{value:g}" for value in data.scale.values])
    for (row, column), value in np.ndenumerate(held.values):
        right.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, color="w" if value < 50 else "k")
    right.set(xlabel="mean of the proposal", ylabel="scale of the proposal")
    right.grid(visible=False)
    figure.colorbar(shown, ax=right, label="coverage of 95 % intervals (%)")
    figure.set_label(
        f"The probability that a standard normal number exceeds {params(dataset)['threshold']:g}, "
        f"{p:.3g}, by {int(dataset.num_samples)} draws of a normal proposal. Left: the spread of {data.sizes['seed']} "
        "runs, the spread that they report (band: the middle 68 %; where most runs saw no event they report 0) and "
        "theory (dashed). Right: how often 95 % intervals hold the probability. Below a scale of 0.71 the variance is "
        "infinite, whether a run can see it or not."
    )
    return {"importance": figure}


claims = {
    "importance-sampling-reduces-variance": _saves_variance,
    "importance-variance-is-the-integral": _variance_is_the_integral,
    "importance-error-is-honest": _importance_error,
    "a-bad-proposal-hides-its-error": _hidden_error,
}
