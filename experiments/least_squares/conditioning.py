"""How many digits do normal equations, QR and SVD lose, against the condition number?"""

import numpy as np
import pydantic

from experiments.least_squares import LOOKS, fitted_power
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, close, eps, jax, jnp, less

kind = "host"

_EPS = float(np.finfo(float).eps)
_BOUNDS = {r"$\epsilon\,\kappa$": 1, r"$\epsilon\,\kappa^2$": 2}


class Config(lab.Config):
    points: int = pydantic.Field(23, ge=4)
    """condition numbers of X from 10 to 1e12"""
    residual: float = pydantic.Field(0.1, gt=0)
    """length of the part of y that no weights reach, over that of the part that they do; 0 is tried beside it"""
    designs: int = pydantic.Field(20, ge=1)
    """random designs for each"""
    samples: int = pydantic.Field(60, ge=4)
    """rows"""
    weights: int = pydantic.Field(6, ge=2)
    """columns"""


VARIABLES = {
    "method": Variable(("method",), "", "closed form"),
    "condition_number": Variable(("condition_number",), "", "of X"),
    "residual": Variable(("residual",), "", "part of y that no weights reach, over the part that they do"),
    "error": Variable(
        ("design", "condition_number", "residual", "method"),
        "",
        "relative error of the weights; NaN if there are none",
    ),
}


def run(config, key):
    from jaxcalc.functions.problems import linear_system
    from jaxcalc.solvers import LEAST_SQUARES, ordinary_least_squares

    def error(at):
        key, condition_number, residual = at
        system = linear_system(key, config.samples, config.weights, condition_number, residual)
        found = jnp.stack([ordinary_least_squares(system.design, system.target, method=name) for name in LEAST_SQUARES])
        return jnp.linalg.norm(found - system.weights, axis=1) / jnp.linalg.norm(system.weights)

    condition, residual = np.geomspace(10.0, 1e12, config.points), np.array([0.0, config.residual])
    # One design after the other: XLA's batched factorisations wait for one another for ever on a machine of two cores.
    grid = [np.ravel(axis) for axis in np.meshgrid(range(config.designs), condition, residual, indexing="ij")]
    keys = jax.random.split(key, config.designs)
    found = jax.jit(lambda *at: jax.lax.map(error, at))(keys[grid[0].astype(int)], *grid[1:])
    return {
        "method": np.array(LEAST_SQUARES),
        "condition_number": condition,
        "residual": residual,
        "error": np.asarray(found).reshape(config.designs, condition.size, residual.size, -1),
    }


def _medians(dataset):
    """The median error over designs, by (residual, method, condition number)."""
    return dataset.error.median("design", skipna=False).transpose("residual", "method", "condition_number")


def _growth(error, method):
    """The power of the condition number with which an error grows, clear of rounding below and of nonsense above."""
    values = error.sel({"method": method}).values
    clear = np.flatnonzero((values > 100 * _EPS) & (values < 1e-2))
    if clear.size < 3:
        raise NotJudged(f"fewer than three errors of {method} lie clear of rounding and of nonsense")
    part = slice(clear[0], clear[-1] + 1)  # all between, so that one that is missing is missed
    return fitted_power(error.condition_number.values[part], values[part])


def _in_double(dataset):
    """The medians of a run in double precision."""
    if eps(dataset) > _EPS:
        raise NotJudged("needs double precision")
    return _medians(dataset)


def _one_inversion(dataset):
    exact = _in_double(dataset).sel(residual=0.0)
    at = lambda kappa, method: float(exact.sel({"method": method}).sel(condition_number=kappa, method="nearest"))
    return Finding(
        below(at(1e2, "inverse")),
        limits=~below(at(1e8, "inverse")) & below(at(1e8, "svd")),
        measured="errors of the inverse and the SVD: "
        + "; ".join(f"{at(k, 'inverse'):.1g} and {at(k, 'svd'):.1g} at {k:.0e}" for k in (1e2, 1e5, 1e8)),
    )


def _squared(dataset):
    median = _in_double(dataset)
    noisy = median.isel(residual=-1)
    slopes, bent = {m: _growth(median.sel(residual=0.0), m) for m in ("normal", "qr", "svd")}, _growth(noisy, "qr")
    return Finding(
        close(slopes),
        limits=less(0.0, noisy.residual) & close(bent, 2.0),
        measured=", ".join(f"{name} {slope:.2f}" for name, slope in slopes.items())
        + f"; with a residual of {float(noisy.residual):g} times the fit qr {bent:.2f}",
    )


def figures(dataset):
    kappa = dataset.condition_number
    bounds = {name: (_EPS * kappa**power).where(_EPS * kappa**power < 3) for name, power in _BOUNDS.items()}
    residuals = dataset.residual.values.tolist()
    svd = {"markerfacecolor": "none", "markeredgewidth": 0.9, "linestyle": "", "markersize": 6}  # lies on QR
    figure, panels = style.chart(
        dataset.error.where(dataset.error.notnull().all("design")),
        "condition_number",
        hue="method",
        col="residual",
        theory=bounds,
        looks=LOOKS | {"svd": svd},
        titles={r: f"residual {r:g} times the fit" if r else "y within reach of X" for r in residuals},
        log="xy",
        xlabel=r"condition number of $X$,  $\kappa$",
        ylabel="relative error of the weights",
        ylim=(1e-16, 1e5),
        height=3.0,
        letters=True,
    )
    for panel in panels.flat:
        for name, line in bounds.items():
            end = float(kappa.where(line.notnull()).max()), float(line.max())
            panel.annotate(name, end, (-3, 6), textcoords="offset points", ha="right", fontsize=7.5)
    figure.set_label(
        "The relative error of the weights by four closed forms against the condition number, medians and quartiles "
        "over random designs; dashed: the rounding unit times its first and second power. Where the Cholesky factor "
        "does not exist for every design the normal equations' line ends."
    )
    return {"errors": figure}


claims = {
    "ols-one-matrix-inversion-gives-the-answer": _one_inversion,
    "normal-equations-square-the-condition-number": _squared,
}
