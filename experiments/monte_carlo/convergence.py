"""How fast does the error of Monte Carlo and of Sobol points fall, and is the error they report honest?"""

import numpy as np
import pydantic

from experiments.monte_carlo import CHANCE, FINITE, LABELS, Method, beyond_chance, coverage_at, estimator
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Variable, above, below, close, less, over
from jaxcalc.lab.judge import Judge

kind = "compiled"

_LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)


class Config(lab.Config):
    method: Method = "monte-carlo"
    """independent uniform points, or Sobol points shifted at random"""
    evaluations: int = pydantic.Field(1024, ge=32)
    """points in all; of Sobol points, a power of two times the replicates"""
    dimension: int = pydantic.Field(5, ge=1)
    """of the unit cube"""
    replicates: int = pydantic.Field(16, ge=2)
    """independent shifts of the Sobol points"""


VARIABLES = {
    "integrand": Variable(("integrand",), "", "what is integrated over the unit cube"),
    "exact": Variable(("integrand",), "", "its integral"),
    "value": Variable(("integrand",), "", "the estimate"),
    "standard_error": Variable(("integrand",), "", "the standard error that comes with it"),
    "degrees_of_freedom": Variable((), "", "of Student's t, which the error over the standard error follows"),
}


def run(config, key):
    from jaxcalc.functions.integrands import integrands

    found = estimator(config.method, integrands, config.evaluations, config.dimension, config.replicates)(key)
    names = ("value", "standard_error", "degrees_of_freedom")
    return {name: getattr(found, name) for name in names}


def shared(config):
    from jaxcalc.functions.integrands import INTEGRANDS, integrals

    return {"integrand": np.array(INTEGRANDS), "exact": integrals(config.dimension)}


def _typical(data):
    """The root mean square error over seeds; of the pole, which has none, the median error."""
    error = data.value - data.exact
    size = np.sqrt((error**2).mean("seed", skipna=False))
    return size.where(data.integrand != "pole", abs(error).median("seed", skipna=False))


def _slope(typical, method, integrand):
    one = typical.sel({"method": method, "integrand": integrand})
    return measure.exponent(one.evaluations.values, one.values)


def _judge_slope(method, stated, limits):
    def judge(dataset):
        typical = _typical(over(dataset, "method", "evaluations", "seed"))
        slopes = {name: _slope(typical, method, name) for name in _TITLES}
        return Finding(
            stated(slopes) & above(typical.sel({"method": method}), 0.0),  # a slope leaves out what is not
            limits=limits(slopes),
            measured=", ".join(f"{name} {slope:.3f}" for name, slope in slopes.items()),
            figure="convergence",
        )

    return judge


def _judge_honesty(method: str) -> Judge:
    def judge(dataset):
        data = over(dataset, "method", "evaluations", "seed").sel({"method": method})
        finite, runs = data.sel(integrand=FINITE), data.sizes["seed"]
        worst = max(beyond_chance(coverage_at(finite, level), level, runs) for level in _LEVELS)
        held, of_pole = 100 * coverage_at(finite, 0.95), 100 * coverage_at(data.sel(integrand="pole"), 0.95)
        return Finding(
            below(worst, CHANCE),
            limits=less(of_pole.max(), 90.0),
            measured=f"at worst {worst:.2f} away; 95 % intervals: {float(held.min()):.1f} to "
            f"{float(held.max()):.1f} %, of the pole at most {float(of_pole.max()):.1f} %",
            figure="coverage",
        )

    return judge


def _sobol_beats(dataset):
    last = _typical(over(dataset, "method", "evaluations", "seed")).isel(evaluations=-1).sel(integrand=FINITE)
    gain = last.sel({"method": "monte-carlo"}) / last.sel({"method": "sobol"})
    return Finding(
        less(1.0, gain),
        measured=", ".join(f"{name}: {float(gain.sel(integrand=name)):.3g} times" for name in FINITE),
        figure="convergence",
    )


# Slopes that theory knows, by integrand and method.
_RATES = {
    **{(name, "monte-carlo"): -0.5 for name in FINITE},
    **{(name, "sobol"): -1.0 for name in ("smooth", "kink")},
    ("pole", "monte-carlo"): -0.25,
}
_TITLES = {
    "smooth": r"smooth: $e^{c\,\Sigma(x_i - 1/2)/2}$",
    "kink": r"kink: $e^{-c\,\Sigma|x_i - 0.3|}$, scaled",
    "jump": r"jump: $1$ where $\Sigma x_i > d/2$",
    "pole": r"infinite variance: $x_1^{-3/4}/4$",
}


def figures(dataset):
    data = over(dataset, "method", "evaluations", "seed")
    return {"convergence": _draw_errors(data), "coverage": _draw_coverage(data)}


def _draw_errors(data):
    error = abs(data.value - data.exact)
    low, high = (error.quantile(q, "seed") for q in (0.16, 0.84))
    figure, panels = style.chart(
        _typical(data),
        "evaluations",
        hue="method",
        col="integrand",
        wrap=2,
        band=(low, high),
        slopes=_RATES,
        looks=LABELS,
        titles=_TITLES,
        log="xy",
        sharey=False,
        xlabel="evaluations of the integrand",
        ylabel="error of the integral",
        legend="below",
        width="page",
        height=5.0,
        letters=True,
    )
    panels[1, 1].set_ylim(1e-2, 1.0)
    figure.set_label(
        f"Root mean square error over {data.sizes['seed']} seeds; of the integrand without a variance, the median "
        "error. Bands: the middle 68 % of absolute errors. Dashed, shifted down: slopes -1/2 (Monte Carlo) and -1 "
        "(Sobol points); without a variance, -1/4."
    )
    return figure


def _draw_coverage(data):
    methods = list(map(str, data.method.values))
    figure, panels = style.subplots(1, len(methods), width="page", height=3.0, squeeze=False, sharey=True)
    levels, runs = np.array(_LEVELS), data.sizes["seed"]
    looks = dict(zip(_TITLES, (("blue", "o"), ("green", "^"), ("purple", "D"), ("vermilion", "s"))))
    for panel, method in zip(panels[0], methods):
        chance = 2 * np.sqrt(levels * (1 - levels) / runs)
        panel.fill_between(100 * levels, 100 * (levels - chance), 100 * (levels + chance), color="#DDDDDD", lw=0)
        panel.plot(100 * levels, 100 * levels, **style.THEORY)
        at = data.sel({"method": method})
        held = {level: coverage_at(at, level) for level in _LEVELS}
        for shift, (name, (color, marker)) in zip((-0.9, -0.3, 0.3, 0.9), looks.items()):
            rows = 100 * np.array([held[level].sel(integrand=name).values for level in _LEVELS])
            middle = rows.mean(1)
            bars = np.stack([middle - rows.min(1), rows.max(1) - middle])
            look = {"color": style.COLORS[color], "label": name, "elinewidth": 0.8, "zorder": 3}
            panel.errorbar(100 * levels + shift, middle, bars, fmt=marker, **look)
        panel.set(xlabel="stated coverage (%)", title=LABELS[method]["label"], ylim=(20, 100))
    panels[0, 0].set_ylabel("intervals that hold the integral (%)")
    panels[0, 0].legend(loc="upper left")
    figure.set_label(
        "How often intervals from the reported standard error hold the integral: mean, least and most over the numbers "
        f"of points, set apart sideways. Dashed: as stated; shaded: two binomial standard deviations of {runs} runs."
    )
    return figure


claims = {
    "monte-carlo-slope": _judge_slope(
        "monte-carlo",
        lambda slopes: close([slopes[name] for name in FINITE], -0.5, 0.025),
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
}
