"""What do scrambled digits add to Sobol points that are shifted at random?"""

import numpy as np
import pydantic

from experiments.monte_carlo import FINITE, LABELS, estimator
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Variable, above, close, jax

kind = "host"

_RANDOM = ("sobol", "sobol, scrambled")


class Config(lab.Config):
    dimension: int = pydantic.Field(2, ge=1)
    """of the unit cube"""
    replicates: int = pydantic.Field(16, ge=2)
    """independent randomisations that are averaged"""
    repeats: int = pydantic.Field(64, ge=8)
    """runs of each"""
    doublings: tuple[int, ...] = (4, 6, 8, 10, 12)
    """logarithms to base 2 of the points of a replicate"""


VARIABLES = {
    "method": Variable(("method",), "", "how Sobol points are made random"),
    "integrand": Variable(("integrand",), "", "what is integrated over the unit cube"),
    "evaluations": Variable(("evaluations",), "", "evaluations of the integrand"),
    "rmse": Variable(("method", "evaluations", "integrand"), "", "root mean square error"),
}


def _scrambled(config, each, seed):
    """Estimates by SciPy's Sobol points with scrambled digits, shape (repeats, integrands)."""
    from scipy.stats import qmc

    from jaxcalc.functions.integrands import integrands

    draw = np.random.default_rng(seed)
    # ``rng`` in SciPy 1.15 and later, which still take the name that earlier ones have.
    points = lambda: qmc.Sobol(config.dimension, seed=draw).random(each)  # pyright: ignore[reportCallIssue]
    fun = jax.jit(lambda x: jax.vmap(integrands)(x).mean(0))
    mean = lambda: np.mean([fun(points()) for _ in range(config.replicates)], 0)
    return np.array([mean() for _ in range(config.repeats)])


def run(config, key):
    from jaxcalc.functions.integrands import INTEGRANDS, integrals, integrands

    rmse, exact = [], integrals(config.dimension)
    for k in config.doublings:
        ours, theirs = jax.random.split(jax.random.fold_in(key, k))
        evaluations = config.replicates * 2**k
        estimate = estimator("sobol", integrands, evaluations, config.dimension, config.replicates)
        shifted = jax.jit(jax.vmap(estimate))(jax.random.split(ours, config.repeats)).value
        scrambled = _scrambled(config, 2**k, int(jax.random.bits(theirs)))
        rmse.append([np.sqrt(np.mean((np.asarray(found) - exact) ** 2, 0)) for found in (shifted, scrambled)])
    return {
        "method": np.array(_RANDOM),
        "integrand": np.array(INTEGRANDS),
        "evaluations": config.replicates * 2 ** np.array(config.doublings),
        "rmse": np.moveaxis(np.array(rmse), 0, 1),
    }


def _scrambling_gains(dataset):
    smooth = dataset.rmse.sel(integrand="smooth")
    slopes = [measure.exponent(dataset.evaluations, smooth.sel({"method": name})) for name in _RANDOM]
    shifted, scrambled = (dataset.rmse.isel(evaluations=-1).sel({"method": name}) for name in _RANDOM)
    gains = ", ".join(f"{float(shifted.sel(integrand=n) / scrambled.sel(integrand=n)):.3g} ({n})" for n in FINITE)
    return Finding(
        close(slopes, [-1.0, -1.5], 0.05, relative=True) & above(dataset.rmse, 0.0),
        measured=f"{slopes[1]:.3f} and {slopes[0]:.3f}; with most points smaller by {gains}",
    )


def figures(dataset):
    figure, _ = style.chart(
        dataset.rmse.sel(integrand=FINITE),
        "evaluations",
        hue="method",
        col="integrand",
        slopes={("smooth", "sobol"): -1.0, ("smooth", "sobol, scrambled"): -1.5},
        looks=LABELS,
        log="xy",
        legend="lower left",
        width="page",
        height=2.7,
        letters=True,
    )
    figure.set_label(
        "Sobol points shifted at random beside SciPy's, whose digits are scrambled. Dashed, shifted down: -1 and -3/2."
    )
    return {"scrambling": figure}


claims = {"scrambling-gains-on-smooth-integrands": _scrambling_gains}
