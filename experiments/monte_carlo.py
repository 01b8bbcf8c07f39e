"""How fast do averages over random points converge, do they know their error, and when do they beat a grid?

The error against the number of points, and how often the interval told holds the integral (``convergence``); what
scrambling adds to Sobol points (``scrambling``); proposals for a rare event, good and bad (``importance``); grids
beside random points in 1 to 20 dimensions (``dimension``); the memory of 10^8 points (``memory``); worked examples
(``examples``).
"""

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pydantic

from jaxcalc.lab import Check, Config, Finding, NotJudged, Part, Swept, Variable, above, below, close, equal, less, over
from jaxcalc.lab.judge import Judge

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

Method = Literal["monte-carlo", "sobol"]

# method: (colour, marker, name in figures)
_LOOKS = {
    "trapezoid": ("green", "D", "trapezoid"),
    "simpson": ("vermilion", "^", "Simpson"),
    "gauss-legendre": ("purple", "v", "Gauss-Legendre"),
    "monte-carlo": ("blue", "o", "Monte Carlo"),
    "sobol": ("orange", "s", "Sobol, shifted"),
    "sobol, scrambled": ("black", "X", "Sobol, scrambled"),
}


def _look(method: str, **changes: Any) -> dict[str, Any]:
    from jaxcalc import style

    color, marker, name = _LOOKS[method]
    return style.method(method, **{"color": style.COLORS[color], "marker": marker, "label": name, **changes})


def _coverage(data: "xarray.Dataset", level: float, axis: str = "seed") -> "xarray.DataArray":
    """How often the interval of that level about the estimate holds the integral."""
    from scipy.stats import t

    quantile = data.degrees_of_freedom.copy(data=t.ppf(0.5 + level / 2, data.degrees_of_freedom.values))
    width = quantile * data.standard_error
    off = abs(data.value - data.exact)
    return (off <= width).where(np.isfinite(off) & np.isfinite(width)).mean(axis, skipna=False)


def _beyond_chance(coverage: "xarray.DataArray", level: float, runs: int) -> float:
    """By how many binomial standard deviations a coverage lies off its level, at worst."""
    return float((abs(coverage - level) / np.sqrt(level * (1 - level) / runs)).max(skipna=False))


# A hundred comparisons stay below 4 standard deviations in 199 of 200 experiments, if all is well.
_CHANCE = 4.0
_LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)

# -- integrands on the unit cube, their variance the same in every dimension -------------------------------------------

_PHASE, _PLACE = 0.7, 0.3  # of Genz's oscillating integrand; of the kink
_AWAY = (_PLACE**2 + (1 - _PLACE) ** 2) / 2  # the mean of |x - place|


def _oscillation_and_kink(centred: Any, away: Any, d: Any, xp: Any) -> Any:
    """Genz's oscillating and continuous integrands, of ``sum (x_i - 1/2)`` and ``sum |x_i - place|``."""
    c = np.sqrt(12 / d)  # makes the variance of c (x_1 + ... + x_d) one
    return xp.stack([xp.cos(_PHASE + c * centred), xp.exp(-c * (away - _AWAY * d))], -1)


def _their_integrals(d: Any) -> np.ndarray:
    c = np.sqrt(12 / np.asarray(d, float))
    wave = np.cos(_PHASE) * np.sinc(c / (2 * np.pi)) ** d
    kink = (np.exp(c * _AWAY) * (2 - np.exp(-c * _PLACE) - np.exp(-c * (1 - _PLACE))) / c) ** d
    return np.stack([wave, kink], -1)


_INTEGRANDS = {
    "smooth": r"smooth: $e^{c\,\Sigma(x_i - 1/2)/2}$",
    "kink": r"kink: $e^{-c\,\Sigma|x_i - 0.3|}$, scaled",
    "jump": r"jump: $1$ where $\Sigma x_i > d/2$",
    "pole": r"infinite variance: $x_1^{-3/4}/4$",
}
_FINITE = ["smooth", "kink", "jump"]


def _integrands(x: Any) -> Any:
    """All of them at a point of shape (d,), shape (4,)."""
    import jax.numpy as jnp

    d = x.size
    centred, away = (x - 0.5).sum(), abs(x - _PLACE).sum()
    kink = _oscillation_and_kink(centred, away, d, jnp)[1]
    return jnp.stack([jnp.exp(np.sqrt(3 / d) * centred), kink, jnp.where(centred > 0, 1.0, 0.0), x[0] ** -0.75 / 4])


def _integrals(d: int) -> np.ndarray:
    half = np.sqrt(3 / d) / 2
    return np.array([(np.sinh(half) / half) ** d, _their_integrals(d)[1], 0.5, 1.0])


def _estimator(
    method: Method, fun: Callable[[Any], Any], num_points: int, dimension: int, replicates: int, chunk_size: int = 256
) -> Callable[[Any], Any]:
    """``key -> Estimate`` on the unit cube; ``num_points`` in all, of Sobol points those of every replicate."""
    from jaxcalc.transforms.sampling import monte_carlo, quasi_monte_carlo

    low, high = np.zeros(dimension), np.ones(dimension)
    match method:
        case "monte-carlo":
            estimate = monte_carlo(fun, num_samples=num_points, chunk_size=chunk_size)
        case "sobol":
            each = num_points // replicates
            estimate = quasi_monte_carlo(fun, num_samples=each, num_replicates=replicates, chunk_size=chunk_size)
    return lambda key: estimate(key, low, high)


# -- convergence -------------------------------------------------------------------------------------------------------


class Convergence(Config):
    method: Method = "monte-carlo"
    """independent uniform points, or Sobol points shifted at random"""
    evaluations: int = pydantic.Field(1024, ge=32)
    """points in all; of Sobol points, a power of two times the replicates"""
    dimension: int = pydantic.Field(5, ge=1)
    """of the unit cube"""
    replicates: int = pydantic.Field(16, ge=2)
    """independent shifts of the Sobol points"""


def run_convergence(config: Convergence, key: Any) -> dict[str, Any]:
    found = _estimator(config.method, _integrands, config.evaluations, config.dimension, config.replicates)(key)
    names = ("value", "standard_error", "degrees_of_freedom")
    return {name: getattr(found, name) for name in names}


def shared_by_convergence(config: Convergence) -> dict[str, Any]:
    return {"integrand": np.array(list(_INTEGRANDS)), "exact": _integrals(config.dimension)}


def _typical(data: "xarray.Dataset") -> "xarray.DataArray":
    """The root mean square error over seeds; of the pole, which has none, the median error."""
    error = data.value - data.exact
    size = np.sqrt((error**2).mean("seed", skipna=False))
    return size.where(data.integrand != "pole", abs(error).median("seed", skipna=False))


def _slope(typical: "xarray.DataArray", method: str, integrand: str) -> float:
    from jaxcalc import measure

    one = typical.sel({"method": method, "integrand": integrand})
    return measure.exponent(one.evaluations.values, one.values)


def _judge_slope(method: str, stated: Callable[[dict[str, float]], Check], limits: Callable[..., Check]) -> Judge:
    def judge(dataset: "xarray.Dataset") -> Finding:
        typical = _typical(over(dataset, "method", "evaluations", "seed"))
        slopes = {name: _slope(typical, method, name) for name in _INTEGRANDS}
        return Finding(
            stated(slopes) & above(typical.sel({"method": method}), 0.0),  # a slope leaves out what is not
            limits=limits(slopes),
            measured=", ".join(f"{name} {slope:.3f}" for name, slope in slopes.items()),
            figure="convergence",
        )

    return judge


def _judge_honesty(method: str) -> Judge:
    def judge(dataset: "xarray.Dataset") -> Finding:
        data = over(dataset, "method", "evaluations", "seed").sel({"method": method})
        finite, runs = data.sel(integrand=_FINITE), data.sizes["seed"]
        worst = max(_beyond_chance(_coverage(finite, level), level, runs) for level in _LEVELS)
        held, of_pole = 100 * _coverage(finite, 0.95), 100 * _coverage(data.sel(integrand="pole"), 0.95)
        return Finding(
            below(worst, _CHANCE),
            limits=less(of_pole.max(), 90.0),
            measured=f"at worst {worst:.2f} away; 95 % intervals: {float(held.min()):.1f} to "
            f"{float(held.max()):.1f} %, of the pole at most {float(of_pole.max()):.1f} %",
            figure="coverage",
        )

    return judge


def _sobol_beats(dataset: "xarray.Dataset") -> Finding:
    last = _typical(over(dataset, "method", "evaluations", "seed")).isel(evaluations=-1).sel(integrand=_FINITE)
    gain = last.sel({"method": "monte-carlo"}) / last.sel({"method": "sobol"})
    return Finding(
        less(1.0, gain),
        measured=", ".join(f"{name}: {float(gain.sel(integrand=name)):.3g} times" for name in _FINITE),
        figure="convergence",
    )


# Slopes that theory knows.
_RATES = {
    **{("monte-carlo", name): -0.5 for name in _FINITE},
    **{("sobol", name): -1.0 for name in ("smooth", "kink")},
    ("monte-carlo", "pole"): -0.25,
}


def figures_of_convergence(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    data = over(dataset, "method", "evaluations", "seed")
    return {"convergence": _draw_errors(data), "coverage": _draw_coverage(data)}


def _draw_errors(data: "xarray.Dataset") -> "Figure":
    from jaxcalc import style

    figure, panels = style.subplots(2, 2, width="page", height=5.0, sharex=True)
    typical, error, n = _typical(data), abs(data.value - data.exact), data.evaluations.values
    for panel, (name, title) in zip(panels.ravel(), _INTEGRANDS.items()):
        for method in map(str, data.method.values):
            one, spread = (kind.sel({"method": method, "integrand": name}) for kind in (typical, error))
            look = _look(method)
            low, high = (spread.quantile(q, "seed").values for q in (0.16, 0.84))
            panel.fill_between(n, low, high, color=look["color"], alpha=0.15, lw=0)
            panel.plot(n, one.values, **look)
            power = _RATES.get((method, name))
            if power is not None:
                panel.plot(n, 0.65 * float(one[-1]) * (n / n[-1]) ** power, **style.THEORY)
        panel.set(xscale="log", yscale="log", title=title)
    panels[1, 1].set_ylim(1e-2, 1.0)
    for panel in panels[1]:
        panel.set_xlabel("evaluations of the integrand")
    for panel in panels[:, 0]:
        panel.set_ylabel("error of the integral")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    style.panel_labels(panels)
    figure.set_label(
        f"Root mean square error over {data.sizes['seed']} seeds; of the integrand without a variance, the median "
        "error. Bands: the middle 68 % of absolute errors. Dashed, shifted down: slopes -1/2 (Monte Carlo) and -1 "
        "(Sobol points); without a variance, -1/4."
    )
    return figure


def _draw_coverage(data: "xarray.Dataset") -> "Figure":
    from jaxcalc import style

    methods = list(map(str, data.method.values))
    figure, panels = style.subplots(1, len(methods), width="page", height=3.0, squeeze=False, sharey=True)
    levels, runs = np.array(_LEVELS), data.sizes["seed"]
    looks = dict(zip(_INTEGRANDS, (("blue", "o"), ("green", "^"), ("purple", "D"), ("vermilion", "s"))))
    for panel, method in zip(panels[0], methods):
        chance = 2 * np.sqrt(levels * (1 - levels) / runs)
        panel.fill_between(100 * levels, 100 * (levels - chance), 100 * (levels + chance), color="#DDDDDD", lw=0)
        panel.plot(100 * levels, 100 * levels, **style.THEORY)
        at = data.sel({"method": method})
        held = {level: _coverage(at, level) for level in _LEVELS}
        for shift, (name, (color, marker)) in zip((-0.9, -0.3, 0.3, 0.9), looks.items()):
            rows = 100 * np.array([held[level].sel(integrand=name).values for level in _LEVELS])
            middle = rows.mean(1)
            bars = np.stack([middle - rows.min(1), rows.max(1) - middle])
            look = {"color": style.COLORS[color], "label": name, "elinewidth": 0.8, "zorder": 3}
            panel.errorbar(100 * levels + shift, middle, bars, fmt=marker, **look)
        panel.set(xlabel="stated coverage (%)", title=_LOOKS[method][2], ylim=(20, 100))
    panels[0, 0].set_ylabel("intervals that hold the integral (%)")
    panels[0, 0].legend(loc="upper left")
    style.panel_labels(panels)
    figure.set_label(
        "How often intervals from the reported standard error hold the integral: mean, least and most over the numbers "
        f"of points, set apart sideways. Dashed: as stated; shaded: two binomial standard deviations of {runs} runs."
    )
    return figure


convergence = Part(
    Convergence,
    {
        "integrand": Variable(("integrand",), "", "what is integrated over the unit cube"),
        "exact": Variable(("integrand",), "", "its integral"),
        "value": Variable(("integrand",), "", "the estimate"),
        "standard_error": Variable(("integrand",), "", "the standard error that comes with it"),
        "degrees_of_freedom": Variable((), "", "of Student's t, which the error over the standard error follows"),
    },
    "compiled",
    run_convergence,
    shared=shared_by_convergence,
    figures=figures_of_convergence,
    claims={
        "monte-carlo-slope": _judge_slope(
            "monte-carlo",
            lambda slopes: close([slopes[name] for name in _FINITE], -0.5, 0.025),
            # With an infinite variance the slope of the median is -1/4.
            lambda slopes: ~close(slopes["pole"], -0.5, 0.05),
        ),
        "sobol-slope": _judge_slope(
            "sobol",
            lambda slopes: below([slopes["smooth"], slopes["kink"]], -0.95),
            lambda slopes: less(-0.95, slopes["jump"]),
        ),
        "monte-carlo-error-is-honest": _judge_honesty("monte-carlo"),
        "sobol-error-is-honest": _judge_honesty("sobol"),
        "sobol-beats-monte-carlo": _sobol_beats,
    },
    doc="How fast does the error of Monte Carlo and of Sobol points fall, and is the error they report honest?",
)

# -- scrambling --------------------------------------------------------------------------------------------------------


_RANDOM = ("sobol", "sobol, scrambled")


class Scrambling(Config):
    dimension: int = pydantic.Field(2, ge=1)
    """of the unit cube"""
    replicates: int = pydantic.Field(16, ge=2)
    """independent randomisations that are averaged"""
    repeats: int = pydantic.Field(64, ge=8)
    """runs of each"""
    doublings: tuple[int, ...] = (4, 6, 8, 10, 12)
    """logarithms to base 2 of the points of a replicate"""


def _scrambled(config: Scrambling, each: int, seed: int) -> np.ndarray:
    """Estimates by SciPy's Sobol points with scrambled digits, shape (repeats, integrands)."""
    import jax
    from scipy.stats import qmc

    draw = np.random.default_rng(seed)
    # ``rng`` in SciPy 1.15 and later, which still take the name that earlier ones have.
    points = lambda: qmc.Sobol(config.dimension, seed=draw).random(each)  # pyright: ignore[reportCallIssue]
    fun = jax.jit(lambda x: jax.vmap(_integrands)(x).mean(0))
    mean = lambda: np.mean([fun(points()) for _ in range(config.replicates)], 0)
    return np.array([mean() for _ in range(config.repeats)])


def run_scrambling(config: Scrambling, key: Any) -> dict[str, Any]:
    import jax

    rmse, exact = [], _integrals(config.dimension)
    for k in config.doublings:
        ours, theirs = jax.random.split(jax.random.fold_in(key, k))
        evaluations = config.replicates * 2**k
        estimate = _estimator("sobol", _integrands, evaluations, config.dimension, config.replicates)
        shifted = jax.jit(jax.vmap(estimate))(jax.random.split(ours, config.repeats)).value
        scrambled = _scrambled(config, 2**k, int(jax.random.bits(theirs)))
        rmse.append([np.sqrt(np.mean((np.asarray(found) - exact) ** 2, 0)) for found in (shifted, scrambled)])
    return {
        "method": np.array(_RANDOM),
        "integrand": np.array(list(_INTEGRANDS)),
        "evaluations": config.replicates * 2 ** np.array(config.doublings),
        "rmse": np.moveaxis(np.array(rmse), 0, 1),
    }


def _scrambling_gains(dataset: "xarray.Dataset") -> Finding:
    from jaxcalc import measure

    smooth = dataset.rmse.sel(integrand="smooth")
    slopes = [measure.exponent(dataset.evaluations, smooth.sel({"method": name})) for name in _RANDOM]
    shifted, scrambled = (dataset.rmse.isel(evaluations=-1).sel({"method": name}) for name in _RANDOM)
    gains = ", ".join(f"{float(shifted.sel(integrand=n) / scrambled.sel(integrand=n)):.3g} ({n})" for n in _FINITE)
    return Finding(
        close(slopes, [-1.0, -1.5], 0.05, relative=True) & above(dataset.rmse, 0.0),
        measured=f"{slopes[1]:.3f} and {slopes[0]:.3f}; with most points smaller by {gains}",
    )


def figures_of_scrambling(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, panels = style.subplots(1, 3, width="page", height=2.7, sharey=True)
    n = dataset.evaluations.values
    for panel, name in zip(panels, _FINITE):
        for method in map(str, dataset.method.values):
            error = dataset.rmse.sel({"method": method, "integrand": name}).values
            panel.plot(n, error, **_look(method))
            if name == "smooth":
                power = 1.0 if method == "sobol" else 1.5
                panel.plot(n, 0.4 * error[-1] * (n / n[-1]) ** -power, **style.THEORY)
        panel.set(xscale="log", yscale="log", xlabel="evaluations of the integrand", title=name)
    panels[0].set_ylabel("root mean square error")
    panels[0].legend(loc="lower left")
    style.panel_labels(panels)
    figure.set_label(
        "Sobol points shifted at random beside SciPy's, whose digits are scrambled. Dashed, shifted down: -1 and -3/2."
    )
    return {"scrambling": figure}


scrambling = Part(
    Scrambling,
    {
        "method": Variable(("method",), "", "how Sobol points are made random"),
        "integrand": Variable(("integrand",), "", "what is integrated over the unit cube"),
        "evaluations": Variable(("evaluations",), "", "evaluations of the integrand"),
        "rmse": Variable(("method", "evaluations", "integrand"), "", "root mean square error"),
    },
    "host",
    run_scrambling,
    figures=figures_of_scrambling,
    claims={"scrambling-gains-on-smooth-integrands": _scrambling_gains},
    doc="What do scrambled digits add to Sobol points that are shifted at random?",
)

# -- importance --------------------------------------------------------------------------------------------------------


class Importance(Config):
    mean: Swept[float] = 4.0
    """of the normal proposal"""
    scale: Swept[float] = pydantic.Field(1.0, gt=0)
    """its standard deviation"""
    threshold: float = 4.0
    """the event: a standard normal number above this"""
    num_samples: int = pydantic.Field(1024, ge=2)
    """draws of the proposal"""


def run_importance(config: Importance, key: Any) -> dict[str, Any]:
    import jax.numpy as jnp

    from jaxcalc.functions.distributions import normal
    from jaxcalc.transforms.sampling import importance_sampling

    target, proposal = normal(0.0, 1.0), normal(config.mean, config.scale)
    fun = lambda x: jnp.where(x > config.threshold, target.density(x), 0.0)
    # Small chunks: thousands of lanes hold one each.
    choices = {"num_samples": config.num_samples, "chunk_size": 128}
    found = importance_sampling(fun, proposal.sample, proposal.log_density, **choices)(key)
    names = ("value", "standard_error", "degrees_of_freedom")
    return {name: getattr(found, name) for name in names}


def shared_by_importance(config: Importance) -> dict[str, Any]:
    """The probability, and what one draw of a proposal of scale 1 spreads, by quadrature."""
    import jax
    import jax.numpy as jnp

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


def _relative_spread(data: "xarray.Dataset", p: float) -> "xarray.DataArray":
    """The standard deviation of one draw over the probability, from that of the estimates."""
    return data.value.std("seed", ddof=1, skipna=False) * np.sqrt(data.num_samples.max().item()) / p


def _proposals(dataset: "xarray.Dataset") -> tuple[Any, dict[str, float], dict[str, float]]:
    """The data by proposal and seed, the proposal at the threshold, and the one farthest beyond it."""
    data = over(dataset, "mean", "scale", "seed")
    tuned = {"mean": float(dataset.threshold), "scale": 1.0}
    return data, tuned, {"mean": float(data["mean"].max()), "scale": 1.0}


def _saves_variance(dataset: "xarray.Dataset") -> Finding:
    data, tuned, beyond = _proposals(dataset)
    p = float(dataset.exact)
    gain = float((1 - p) / p / _relative_spread(data, p).sel(tuned) ** 2)
    return Finding(
        above(gain, 1000.0),
        limits=less(_coverage(data, 0.95).sel(beyond), 0.5),
        measured=f"probability {p:.4g}; variance {gain:.4g} times smaller",
    )


def _variance_is_the_integral(dataset: "xarray.Dataset") -> Finding:
    data, _, _ = _proposals(dataset)
    theory = np.interp(data["mean"], dataset.theory_mean, dataset.theory_spread)
    # Where the draws tell the probability to better than a third, and so their own spread too.
    seen = ~(theory >= np.sqrt(float(dataset.num_samples)) / 3)
    spread = _relative_spread(data, float(dataset.exact)).sel(scale=1.0).values
    off, chance = abs(spread[seen] / theory[seen] - 1), _CHANCE / np.sqrt(2 * data.sizes["seed"])
    return Finding(
        below(off, chance),
        measured=f"off by at most {100 * off.max():.1f} % at {seen.sum()} proposals",
    )


def _importance_error(dataset: "xarray.Dataset") -> Finding:
    data, tuned, _ = _proposals(dataset)
    held = _coverage(data, 0.95).sel(tuned)
    return Finding(
        below(_beyond_chance(held, 0.95, data.sizes["seed"]), _CHANCE), measured=f"{100 * float(held):.1f} %"
    )


def _hidden_error(dataset: "xarray.Dataset") -> Finding:
    data, _, beyond = _proposals(dataset)
    p, held = float(dataset.exact), _coverage(data, 0.95).sel(beyond)
    missed = abs(data.value.sel(beyond) - p).median("seed", skipna=False) / p
    told = data.standard_error.sel(beyond).median("seed", skipna=False) / p
    return Finding(
        less(held, 0.5) & less(told, missed / 2),
        measured=f"mean {beyond['mean']:g}: {100 * float(held):.1f} %; median relative error "
        f"{float(missed):.3g}, told {float(told):.3g}",
    )


def figures_of_importance(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

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
    held = 100 * _coverage(data, 0.95).transpose("scale", "mean")
    shown = right.imshow(held.values, origin="lower", vmin=0, vmax=100, aspect="auto")
    right.set_xticks(range(len(means)), [f"{value:g}" for value in means])
    right.set_yticks(range(data.sizes["scale"]), [f"{value:g}" for value in data.scale.values])
    for (row, column), value in np.ndenumerate(held.values):
        right.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, color="w" if value < 50 else "k")
    right.set(xlabel="mean of the proposal", ylabel="scale of the proposal")
    right.grid(visible=False)
    figure.colorbar(shown, ax=right, label="coverage of 95 % intervals (%)")
    style.panel_labels([left, right])
    figure.set_label(
        f"The probability that a standard normal number exceeds {json.loads(dataset.attrs['params'])['threshold']:g}, "
        f"{p:.3g}, by {int(dataset.num_samples)} draws of a normal proposal. Left: the spread of {data.sizes['seed']} "
        "runs, the spread that they report (band: the middle 68 %; where most runs saw no event they report 0) and "
        "theory (dashed). Right: how often 95 % intervals hold the probability. Below a scale of 0.71 the variance is "
        "infinite, whether a run can see it or not."
    )
    return {"importance": figure}


importance = Part(
    Importance,
    {
        "value": Variable((), "", "the estimate of the probability"),
        "standard_error": Variable((), "", "the standard error that comes with it"),
        "degrees_of_freedom": Variable((), "", "of Student's t"),
        "exact": Variable((), "", "the probability"),
        "num_samples": Variable((), "", "draws of each estimate"),
        "theory_mean": Variable(("theory_mean",), "", "mean of a proposal of scale 1"),
        "theory_spread": Variable(("theory_mean",), "", "standard deviation of a draw over the probability"),
    },
    "compiled",
    run_importance,
    shared=shared_by_importance,
    figures=figures_of_importance,
    claims={
        "importance-sampling-reduces-variance": _saves_variance,
        "importance-variance-is-the-integral": _variance_is_the_integral,
        "importance-error-is-honest": _importance_error,
        "a-bad-proposal-hides-its-error": _hidden_error,
    },
    doc="How much variance does importance sampling save on a rare event, and how does a bad proposal spoil it?",
)

# -- dimension ---------------------------------------------------------------------------------------------------------

_ORDERS = {"trapezoid": 2, "simpson": 4}
_MOST_NODES = 1024  # of Gauss's rule: finding more takes longer than evaluating at them
_OF_DIMENSION = {"oscillation": "smooth: Genz's oscillation", "kink": "kinks: Genz's continuous integrand"}


class Dimension(Config):
    method: Literal["trapezoid", "simpson", "gauss-legendre", "monte-carlo", "sobol"] = "monte-carlo"
    """a product grid of that rule, or random points"""
    evaluations: int = pydantic.Field(4096, ge=32)
    """the budget; a grid takes as many points per axis as it affords"""
    most: int = pydantic.Field(20, ge=2)
    """dimensions, from 1 to this"""
    repeats: int = pydantic.Field(100, ge=8)
    """runs of random points"""
    replicates: int = pydantic.Field(16, ge=2)
    """independent shifts of the Sobol points"""


def _affordable(method: str, budget: int, d: int) -> int:
    """Points per axis of the finest product grid within the budget; 0 if there is none."""
    n = int(budget ** (1 / d)) + 1
    while n**d > budget:
        n -= 1
    n -= method == "simpson" and n % 2 == 0
    if method == "gauss-legendre":
        n = min(n, _MOST_NODES)
    return n if n >= {"trapezoid": 2, "simpson": 3}.get(method, 1) else 0


def _on_grid(method: str, n: int, d: int) -> np.ndarray:
    """The integrals of both integrands by the product of a rule with itself."""
    from jaxcalc.functions.quadrature import quadrature_rule

    rule = quadrature_rule(method, n)
    axes = np.meshgrid(*[rule.nodes] * d, indexing="ij", sparse=True)
    centred, away = sum(axis - 0.5 for axis in axes), sum(abs(axis - _PLACE) for axis in axes)
    total = np.moveaxis(_oscillation_and_kink(centred, away, d, np), -1, 0)
    for _ in range(d):
        total = total @ rule.weights
    return total


def _in_all_dimensions(x: Any) -> Any:
    """Both integrands in 1, 2, ... dimensions, each of the first coordinates of the point; shape (d, 2)."""
    import jax.numpy as jnp

    before = np.triu(np.ones((x.size, x.size)))  # a product: XLA's cumulative sums are slow on CPU
    sums = (x - 0.5) @ before, abs(x - _PLACE) @ before
    return _oscillation_and_kink(*sums, np.arange(1.0, x.size + 1), jnp)


def run_dimension(config: Dimension, key: Any) -> dict[str, Any]:
    import jax

    dimensions = np.arange(1, config.most + 1)
    points = np.zeros(config.most, int)
    if config.method in get_args(Method):
        method: Any = config.method
        estimate = _estimator(method, _in_all_dimensions, config.evaluations, config.most, config.replicates)
        value = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(key, config.repeats)).value)
        used = np.full(config.most, config.evaluations)
    else:
        affordable = {d: _affordable(config.method, config.evaluations, d) for d in range(1, config.most + 1)}
        nothing = np.full(len(_OF_DIMENSION), np.nan)
        value = np.array([[_on_grid(config.method, n, d) if n else nothing for d, n in affordable.items()]])
        points = np.array(list(affordable.values()))
        used = np.array([n**d for d, n in affordable.items()])
    error = abs(value - _their_integrals(dimensions))
    return {
        "dimension": dimensions,
        "integrand": np.array(list(_OF_DIMENSION)),
        "error": np.sqrt((error**2).mean(0)),
        "low": np.quantile(error, 0.16, axis=0),
        "high": np.quantile(error, 0.84, axis=0),
        "points": points,
        "used": used,
    }


def _slope_in(data: "xarray.Dataset", method: str, d: int) -> float | None:
    """The slope of the smooth integrand's error against the grid's cells, or the points drawn; None below 3 sizes."""
    from jaxcalc import measure

    at = data.sel({"method": method, "dimension": d, "integrand": "oscillation"})
    if method in get_args(Method):
        return measure.exponent(at.evaluations, at.error)
    panels = at.points.values - 1
    # Two panels per axis and more, and an error above rounding.
    good = ~(panels < 2) & ~(at.error.values <= 1e-13)
    cells, error = panels[good].astype(float) ** d, at.error.values[good]
    if len(set(cells)) < 3:
        return None
    return float(np.polyfit(np.log(cells), np.log(error), 1)[0])


def _crossing(data: "xarray.Dataset", method: str, other: str, integrand: str) -> float:
    """The dimension from which on the other method has the smaller error, at the largest budget.

    One past the last where it never has; NaN where an error is.
    """
    from jaxcalc import measure

    at = data.isel(evaluations=-1).sel(integrand=integrand)
    grid, random = at.sel({"method": method}), at.error.sel({"method": other})
    afforded = ~(grid.points.values == 0)
    curves = grid.error.values[afforded], random.values[afforded]
    if not np.isfinite(curves).all():
        return float("nan")
    found = measure.crossing(data.dimension.values[afforded], *curves)
    return float(data.dimension[-1]) + 1.0 if np.isnan(found) else found


def _grid_slopes(dataset: "xarray.Dataset") -> Finding:
    data = over(dataset, "method", "evaluations")
    grids = [name for name in _ORDERS if name in data["method"].values]
    slopes = {(name, d): _slope_in(data, name, d) for name in grids for d in map(int, data.dimension.values)}
    slopes = {at: slope for at, slope in slopes.items() if slope is not None}
    if not slopes:
        raise NotJudged("no budget affords three grids")
    told = [f"{name}, d = {d}: {slope:.3f}" for (name, d), slope in slopes.items()]
    return Finding(
        close(list(slopes.values()), [-_ORDERS[name] / d for name, d in slopes], 0.05, relative=True),
        measured="; ".join(told),
        figure="slopes",
    )


def _no_curse(dataset: "xarray.Dataset") -> Finding:
    data = over(dataset, "method", "evaluations").sel({"method": "monte-carlo", "integrand": "oscillation"})
    last = data.isel(evaluations=-1).error.values
    allowed = 1 + _CHANCE / np.sqrt(float(dataset.repeats))  # of a ratio of two root mean squares
    return Finding(
        below(last / last[0], allowed),
        measured=f"at most {(last / last[0]).max():.3f}; in {int(data.dimension[-1])} dimensions "
        f"{last[-1] / last[0]:.3f}",
        figure="dimensions",
    )


def _overtakes(dataset: "xarray.Dataset") -> Finding:
    data = over(dataset, "method", "evaluations")
    at = {(name, i): _crossing(data, name, "monte-carlo", i) for name in _ORDERS for i in _OF_DIMENSION}
    return Finding(
        close(at["trapezoid", "oscillation"], 2.0 * _ORDERS["trapezoid"], 1.0),
        limits=~close(at["simpson", "kink"], 2.0 * _ORDERS["simpson"], 1.0),
        measured="; ".join(f"{name}, {i}: d = {d:.2f}" for (name, i), d in at.items())
        + f" ({int(data.evaluations[-1])} evaluations)",
        figure="dimensions",
    )


def figures_of_dimension(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    data = over(dataset, "method", "evaluations")
    return {"dimensions": _draw_dimensions(data), "slopes": _draw_slopes(data)}


def _draw_dimensions(data: "xarray.Dataset") -> "Figure":
    from jaxcalc import style

    figure, panels = style.subplots(1, 2, width="page", height=3.2, sharey=True)
    last = data.isel(evaluations=-1)
    d, budget = data.dimension.values, float(last.evaluations)
    for panel, (name, title) in zip(panels, _OF_DIMENSION.items()):
        for method in map(str, data.method.values):
            at = last.sel({"method": method, "integrand": name})
            look = _look(method)
            panel.fill_between(d, at.low, at.high, color=look["color"], alpha=0.15, lw=0)
            panel.plot(d, np.maximum(at.error, 1e-12), **look)
            place = _crossing(data, method, "monte-carlo", name) if method in _ORDERS else np.nan
            height = np.exp(np.interp(place, d, np.log(at.error)))
            panel.plot(place, height, "o", color="none", markeredgecolor="k", markeredgewidth=1.0, ms=9, zorder=4)
        panel.set(xlabel="dimension $d$", title=title, xticks=range(2, d[-1] + 1, 2))
        panel.set(yscale="log", ylim=(2e-13, 20))
    wave = abs(_their_integrals(d)[:, 0])
    # The errors of both rules on the oscillation, to leading order: d c^2 / 12 n^-2 and d c^4 / 180 n^-4, c^2 = 12 / d.
    below: dict[str, Any] = {"xytext": (4, -4), "textcoords": "offset points", "fontsize": 7, "va": "top"}
    for method, constant, place in (("trapezoid", wave, 12), ("simpson", 0.8 * wave / d, 3)):
        curve = constant * budget ** (-_ORDERS[method] / d)
        panels[0].plot(d, curve, **style.THEORY)
        place = min(place, len(d) - 1)
        panels[0].annotate(f"$N^{{-{_ORDERS[method]}/d}}$", (d[place], curve[place]), **below)
    panels[0].set_ylabel("error of the integral")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    style.panel_labels(panels)
    figure.set_label(
        f"Error with N = {budget:.0f} evaluations: of product grids with as many points per axis as that affords, and "
        "of random points (root mean square; bands: the middle 68 %). Circles: where Monte Carlo overtakes a grid. "
        "Dashed: theory for many points per axis. Lines end where a grid is not affordable; errors below 1e-12 are "
        f"drawn there; Gauss-Legendre has at most {_MOST_NODES} points per axis."
    )
    return figure


def _draw_slopes(data: "xarray.Dataset") -> "Figure":
    from jaxcalc import style

    figure, panel = style.subplots(width="column", height=2.9)
    d = data.dimension.values
    curve = np.linspace(d[0], d[-1], 200)
    for method in map(str, data.method.values):
        if method in (*_ORDERS, *get_args(Method)):
            slopes = np.array([_slope_in(data, method, int(each)) for each in d])
            panel.plot(d, slopes, linestyle="", **_look(method))
            if method in _ORDERS:
                panel.plot(curve, -_ORDERS[method] / curve, **style.THEORY)
                above = method == "trapezoid"
                look = {"textcoords": "offset points", "fontsize": 7, "ha": "right", "va": "bottom" if above else "top"}
                end = (d[-1], -_ORDERS[method] / d[-1])
                panel.annotate(f"$-{_ORDERS[method]}/d$", end, xytext=(0, 3 if above else -2), **look)
    panel.axhline(-0.5, **style.THEORY)
    panel.set(xlabel="dimension $d$", ylabel="slope of the error", ylim=(-4.2, 0.3), xticks=range(2, d[-1] + 1, 2))
    panel.legend(loc="lower right")
    figure.set_label(
        "Slopes of the error on the smooth integrand, against a grid's cells or the points drawn. Dashed: -k/d for "
        "rules of order k = 2 and 4, and -1/2."
    )
    return figure


dimension = Part(
    Dimension,
    {
        "dimension": Variable(("dimension",), "", "dimension of the unit cube"),
        "integrand": Variable(("integrand",), "", "what is integrated over it"),
        "error": Variable(("dimension", "integrand"), "", "error; of random points, root mean square"),
        "low": Variable(("dimension", "integrand"), "", "16 % of the errors are below this"),
        "high": Variable(("dimension", "integrand"), "", "84 % of the errors are below this"),
        "points": Variable(("dimension",), "", "points per axis of the grid, 0 for none"),
        "used": Variable(("dimension",), "", "evaluations of the integrand"),
    },
    "host",
    run_dimension,
    figures=figures_of_dimension,
    claims={
        "grid-slopes": _grid_slopes,
        "monte-carlo-does-not-feel-the-dimension": _no_curse,
        "monte-carlo-overtakes-at-twice-the-order": _overtakes,
    },
    doc="From which dimension on do random points beat a grid with as many evaluations?",
)

# -- memory ------------------------------------------------------------------------------------------------------------


class Memory(Config):
    doublings: tuple[int, ...] = (18, 22, 27)
    """logarithms to base 2 of the numbers of points"""
    dimension: int = pydantic.Field(1, ge=1)
    """of the unit cube"""
    replicates: int = pydantic.Field(16, ge=2)
    """independent shifts of the Sobol points"""


def _largest_resident() -> float:
    """Bytes of memory that this process has held at most."""
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else 1024 * most)


def run_memory(config: Memory, key: Any) -> dict[str, Any]:
    from jaxcalc import measure
    from jaxcalc.programs.compiled import executable

    smooth = lambda x: _integrands(x)[0]
    sizes, methods = [2**k for k in config.doublings], get_args(Method)

    def programs(chunk_size: int | None) -> list[Any]:
        estimators = [
            _estimator(method, smooth, n, config.dimension, config.replicates, chunk_size or n)
            for method in methods
            for n in sizes
        ]
        return [executable(estimate, key) for estimate in estimators]

    at_once = programs(None)
    chunked = programs(2**14)  # all compiled before any runs: compiling takes memory too
    start, found, resident = _largest_resident(), [], []
    for run in chunked:
        found.append(measure.once(functools.partial(run, key)))
        resident.append(_largest_resident() - start)
    table = lambda values: np.array(values, float).reshape(len(methods), len(sizes))
    return {
        "method": np.array(methods),
        "evaluations": np.array(sizes),
        "chunked": table([run.footprint for run in chunked]),
        "at_once": table([run.footprint for run in at_once]),
        "growth": table(resident),
        "seconds": table([seconds for _, seconds in found]),
        "error": table([estimate.value for estimate, _ in found]) - _integrals(config.dimension)[0],
        "standard_error": table([estimate.standard_error for estimate, _ in found]),
    }


def _bounded_memory(method: str) -> Judge:
    def judge(dataset: "xarray.Dataset") -> Finding:
        from jaxcalc import measure

        at, n = dataset.sel({"method": method}), dataset.evaluations.values
        first = int(np.argmax(n >= 10**6))  # from a million points on every chunk is full
        chunked, whole, growth = at.chunked.values, at.at_once.values, at.growth.values
        each = (chunked[-1] - chunked[first]) / max(n[-1] - n[first], 1)
        return Finding(
            above(n[-1], 10**8) & less(each, 0.08) & less(growth, 2.0**26) & less(chunked[-1], whole[-1]),
            measured=f"{chunked[-1] / 1e6:.3g} MB compiled for {n[-1]} points, {each:.2g} B for each further one "
            f"(all at once {whole[-1] / 1e9:.3g} GB, growing like n^{measure.exponent(n, whole):.2f}); resident "
            f"memory grew by {growth.max() / 1e6:.3g} MB",
            figure="memory",
        )

    return judge


def _right_in_the_end(method: str) -> Judge:
    def judge(dataset: "xarray.Dataset") -> Finding:
        last = dataset.sel({"method": method}).isel(evaluations=-1)
        score = abs(float(last.error)) / float(last.standard_error)
        return Finding(
            above(float(last.evaluations), 10**8) & below(score, _CHANCE),
            measured=f"{score:.2f} standard errors of {float(last.standard_error):.2g}",
        )

    return judge


def figures_of_memory(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, panel = style.subplots(width="column", height=2.9)
    n = dataset.evaluations.values.astype(float)
    for method in map(str, dataset.method.values):
        at = dataset.sel({"method": method})
        hollow = {"markerfacecolor": "w", "markeredgewidth": 1.0}
        panel.plot(n, at.at_once / 1e6, **_look(method, label=f"{_LOOKS[method][2]}, all at once", **hollow))
        panel.plot(n, at.chunked / 1e6, **_look(method, label=f"{_LOOKS[method][2]}, by chunks"))
    panel.plot(n, 0.3 * float(dataset.at_once.max()) / 1e6 * n / n[-1], **style.THEORY)
    panel.set(xscale="log", yscale="log", xlabel="evaluations of the integrand", ylabel="memory (MB)")
    panel.legend(loc="upper left", fontsize=6.5)
    figure.set_label("Memory for intermediate results, as compiled. Dashed: proportional to the number of points.")
    return {"memory": figure}


memory = Part(
    Memory,
    {
        "method": Variable(("method",), "", "random points", measured=False),
        "evaluations": Variable(("evaluations",), "", "evaluations of the integrand", measured=False),
        "chunked": Variable(
            ("method", "evaluations"), "B", "memory for intermediate results, chunk by chunk", measured=False
        ),
        "at_once": Variable(
            ("method", "evaluations"), "B", "memory for intermediate results, all at once", measured=False
        ),
        "growth": Variable(("method", "evaluations"), "B", "growth of the process's largest resident memory so far"),
        "seconds": Variable(("method", "evaluations"), "s", "run time, chunk by chunk"),
        "error": Variable(("method", "evaluations"), "", "the estimate less the integral", measured=False),
        "standard_error": Variable(
            ("method", "evaluations"), "", "the standard error that comes with it", measured=False
        ),
    },
    "timed",
    run_memory,
    figures=figures_of_memory,
    claims={
        **{f"{method}-memory-is-bounded": _bounded_memory(method) for method in get_args(Method)},
        **{f"{method}-of-many-points-is-right": _right_in_the_end(method) for method in get_args(Method)},
    },
    doc="Does the mean over 10^8 points fit in the memory of a chunk?",
)

# -- examples ----------------------------------------------------------------------------------------------------------


class Examples(Config):
    grids: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """dimensions in which a grid of 10 points per axis is built"""
    dimensions: tuple[int, ...] = (1, 10, 100, 1000)
    """dimensions in which a thousand points are drawn"""
    draws: int = pydantic.Field(400_000, ge=1000)
    """actions that the policy takes"""
    logits: tuple[float, ...] = (0.2, -0.1, 0.4)
    """of the softmax policy, one for each arm of the bandit"""
    rewards: tuple[float, ...] = (1.0, 2.0, 3.0)
    """of the arms"""


def run_examples(config: Examples, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions.quadrature import quadrature_rule
    from jaxcalc.transforms.expectation import sampled_expectation
    from jaxcalc.transforms.sampling import monte_carlo

    axis = quadrature_rule("trapezoid", 10).nodes
    grids = [np.broadcast_shapes(*(part.shape for part in np.ix_(*[axis] * d))) for d in config.grids]
    drawn, acted = jax.random.split(key)
    told = []
    for d in config.dimensions:
        fun = lambda x, d=d: (x - 0.5).sum() * np.sqrt(12 / d)  # of variance one
        found = monte_carlo(fun, num_samples=1000, chunk_size=250)(drawn, jnp.zeros(d), jnp.ones(d))
        told.append(float(found.standard_error))
    logits, rewards = jnp.array(config.logits), jnp.array(config.rewards)
    expected_reward = lambda logits: jax.nn.softmax(logits) @ rewards
    score = lambda action: jax.grad(lambda logits: jax.nn.log_softmax(logits)[action])(logits)
    # With and without the mean reward taken off, from the same actions.
    terms = lambda action: score(action) * jnp.array([[rewards[action]], [rewards[action] - expected_reward(logits)]])
    act = functools.partial(jax.random.categorical, logits=logits)
    policy = jax.jit(sampled_expectation(terms, act, num_samples=config.draws))(acted)
    return {
        "grid_dimension": np.array(config.grids),
        "grid_points": np.array([int(np.prod(shape)) for shape in grids]),
        "dimension": np.array(config.dimensions),
        "standard_error": np.array(told),
        "estimator": np.array(["plain", "mean reward taken off"]),
        "gradient": policy.value,
        "gradient_error": policy.standard_error,
        "exact_gradient": jax.jit(jax.grad(expected_reward))(logits),
    }


def _curse(dataset: "xarray.Dataset") -> Finding:
    points, told, d = (dataset[name].values for name in ("grid_points", "standard_error", "grid_dimension"))
    if points.size < 3:
        raise NotJudged("it takes three grids or more")
    errors = ", ".join(f"{error:.4f} (d = {int(k)})" for k, error in zip(dataset.dimension.values, told))
    return Finding(
        equal(points, 10.0**d),
        # A standard error of 1,000 draws is known to 2 %, its largest of four to 6 %.
        limits=below(told / told[0], 1.1),
        measured=f"{points[0]:g} to {points[-1]:g} points, {points[-1] ** (1 / d[-1]):.6g} per axis; standard errors "
        f"of 1,000 draws {errors}",
    )


def _policy(dataset: "xarray.Dataset") -> Finding:
    bias = abs(dataset.gradient - dataset.exact_gradient).values
    spread = (dataset.gradient_error**2).sum("arm", skipna=False).values
    return Finding(
        close({"bias": bias.max()}) & less(spread[1], spread[0]),
        measured=f"bias {bias.max():.2g}; with the mean reward taken off, {spread[0] / spread[1]:.3g} times less "
        "variance",
    )


examples = Part(
    Examples,
    {
        "grid_dimension": Variable(("grid_dimension",), "", "dimension of a product grid of 10 points per axis"),
        "grid_points": Variable(("grid_dimension",), "", "its points"),
        "dimension": Variable(("dimension",), "", "dimension of the cube that 1,000 points are drawn from"),
        "standard_error": Variable(("dimension",), "", "standard error of a mean of variance one over them"),
        "estimator": Variable(("estimator",), "", "of the policy gradient"),
        "gradient": Variable(("estimator", "arm"), "", "average over actions of reward times score"),
        "gradient_error": Variable(("estimator", "arm"), "", "its standard error"),
        "exact_gradient": Variable(("arm",), "", "gradient of the expected reward"),
    },
    "host",
    run_examples,
    claims={"curse-of-dimensionality": _curse, "policy-gradient-is-monte-carlo": _policy},
    doc="What do the curse of dimension and policy gradients come to, in numbers?",
)
