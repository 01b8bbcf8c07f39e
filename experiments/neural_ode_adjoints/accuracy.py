"""When is the gradient of the continuous adjoint wrong?"""

import functools
from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, between, first, holds, jax, jnp, less, over, params

kind = "host"


class Config(lab.Config):
    """The gradient of a loss on a trajectory in the field's parameters, by one adjoint at one tolerance."""

    problem: Literal["van-der-pol", "lotka-volterra", "cubic-relaxation"] = "van-der-pol"
    """the field: an oscillator, stiff for large rates; prey and predators; contraction to a target"""
    rate: float = pydantic.Field(default=1.0, gt=0)
    """Van der Pol's mu, or the rate of the contraction"""
    adjoint: Literal["checkpointed", "backsolve", "direct"] = "backsolve"
    """how the solve is differentiated"""
    tolerance: float = pydantic.Field(default=1e-6, gt=0, le=1e-2)
    """relative and absolute tolerance of the steps"""
    solver: Literal["tsit5", "dopri5", "bosh3"] = "tsit5"
    """the Runge-Kutta method"""


VARIABLES = {
    "gradient": Variable(("parameter",), "", "gradient of the loss in the field's parameters"),
    "reference": Variable(("parameter",), "", "the same in closed form, or at tolerance 1e-12 through the steps"),
    "gradient_error": Variable((), "", "relative error of the gradient"),
    "reconstruction_error": Variable((), "", "relative distance of the start and the end solved back to it"),
    "solved": Variable((), "", "whether the gradient's backward solve arrived"),
    "arrived": Variable((), "", "whether the trajectory that is to be solved back reached its end"),
    "returned": Variable((), "", "whether solving it back reached its start"),
    "stiffness": Variable((), "", "rate of the field, where it has one"),
}


def _problem(name, rate):
    """``(field, y0, times, parameters, loss, exact loss or None)``."""
    from jaxcalc.functions import fields

    end = lambda states: states[-1].sum()
    match name:
        case "van-der-pol":
            return fields.van_der_pol, jnp.array([2.0, 0.0]), jnp.array([0.0, 5.0]), jnp.array(rate), end, None
        case "lotka-volterra":
            rates, start = jnp.array([1.5, 1.0, 3.0, 1.0]), jnp.array([1.0, 1.0])
            return fields.lotka_volterra, start, jnp.linspace(0.0, 10.0, 101), rates, jnp.sum, None
        case _:
            exact = lambda parameters: fields.cubic_relaxation_solution(1.0, 2.0, parameters)
            return fields.cubic_relaxation, jnp.array([2.0]), jnp.array([0.0, 1.0]), jnp.array([rate, 1.0]), end, exact


@functools.cache
def _compiled_gradient(problem, solver, adjoint, tolerance):
    """One compiled gradient for all rates of a problem."""
    from jaxcalc.transforms.flow import flow

    field, start, times, _, loss, _ = _problem(problem, 1.0)
    solve = flow(field, solver=solver, adjoint=adjoint, rtol=tolerance, atol=tolerance, max_steps=16384)
    return jax.jit(jax.grad(lambda parameters: loss(solve(start, times, parameters))))


@functools.cache
def _compiled_return(problem, solver, tolerance):
    """The trajectory's end, and what solving it back to its start gives."""
    from jaxcalc.transforms.flow import flow

    field, start, times, _, _, _ = _problem(problem, 1.0)
    solve = flow(field, solver=solver, rtol=tolerance, atol=tolerance, max_steps=16384)
    ends = times[jax.numpy.array([0, -1])]

    def there_and_back(parameters):
        end = solve(start, ends, parameters)[-1]
        return end, solve(end, ends[::-1], parameters)[-1]

    return jax.jit(there_and_back)


# What diffrax says of a solve that failed.
_FAILURES = ("maximum number of solver steps was reached", "minimum step size was reached")


def run(config, key):
    """The gradient, its reference, and whether the trajectory can be solved back."""
    _, start, _, parameters, _, exact = _problem(config.problem, config.rate)
    solved = True
    try:
        gradient = np.asarray(
            _compiled_gradient(config.problem, config.solver, config.adjoint, config.tolerance)(parameters)
        )
    except (RuntimeError, ValueError) as error:  # which of them depends on where in JAX it surfaces
        if not any(words in str(error) for words in _FAILURES):
            raise
        solved, gradient = False, np.full(parameters.shape, np.nan)
    if exact is None:
        reference = np.asarray(_compiled_gradient(config.problem, "dopri8", "checkpointed", 1e-12)(parameters))
    else:
        reference = np.asarray(jax.grad(exact)(parameters))
    end, back = map(np.asarray, _compiled_return(config.problem, config.solver, config.tolerance)(parameters))
    return {
        "gradient": gradient.reshape(-1),
        "reference": reference.reshape(-1),
        "gradient_error": np.linalg.norm(gradient - reference) / np.linalg.norm(reference),
        "reconstruction_error": np.linalg.norm(back - start) / np.linalg.norm(start),
        "solved": np.asarray(solved),
        "arrived": np.asarray(np.isfinite(end).all()),
        "returned": np.asarray(np.isfinite(back).all()),
        "stiffness": np.asarray(np.nan if config.problem == "lotka-volterra" else config.rate),
    }


def _families(dataset):
    """``{"Van der Pol": dataset over rates, ...}`` of the problems that have a rate, rates ascending."""
    data = first(dataset, "case", "adjoint", "rate", "parameter")
    if "case" not in data.dims:
        return {params(data)["problem"]: data} if "rate" in data.dims else {}
    found = {}
    for family in dict.fromkeys(str(case).split(",")[0] for case in data.case.values):
        mine = data.sel(case=[c for c in data.case.values if str(c).split(",")[0] == family])
        kept = {"tolerance": mine.tolerance} if "tolerance" in mine.coords else {}
        rates = mine.stiffness.values.reshape(mine.sizes["case"], -1)[:, 0]
        if np.isfinite(rates).all() and len(rates) > 1:
            mine = mine.reset_coords(drop=True).assign_coords(kept).assign_coords(rate=("case", rates))
            found[family] = mine.swap_dims(case="rate").drop_vars("case").sortby("rate")
    return found


def figures(dataset):
    """Gradient error against the field's rate by adjoint, and whether the trajectory can be solved back."""
    families = _families(dataset)
    if not families or "adjoint" not in dataset.dims:
        return {}
    drawn = {}
    figure, axes = style.subplots(1, len(families) + 1, width="page", height=2.7, squeeze=False, letters=False)
    for ax, (family, data) in zip(axes.flat, families.items(), strict=False):
        for adjoint in data.adjoint.values:
            error = data.gradient_error.sel(adjoint=adjoint)
            # Direct and checkpointed agree to rounding: the one on top is drawn open, so that both are seen.
            extra = {"markerfacecolor": "none", "markeredgewidth": 1.0, "markersize": 7} if adjoint == "direct" else {}
            ax.plot(data.rate, error, **{**style.method(str(adjoint)), **extra})
        _logarithmic(ax, data.gradient_error.values)
        top = ax.get_ylim()[1] / 3
        for adjoint in data.adjoint.values:
            lost = data.rate.values[~np.isfinite(data.gradient_error.sel(adjoint=adjoint).values)]
            look = {**style.method(str(adjoint)), "label": "_", "linestyle": ""}
            ax.plot(lost, np.full(lost.shape, top), **look, markerfacecolor="none", markeredgewidth=1.0)
        if ax.get_ylim()[0] < 1.0 < ax.get_ylim()[1]:
            ax.axhline(1.0, color="#999999", linewidth=0.7)
        ax.set_xscale("log")
        style.ticks(ax.xaxis, data.rate.values)
        ax.set_title(family)
        ax.set_xlabel(r"damping $\mu$" if family == "Van der Pol" else "rate")
    axes.flat[0].set_ylabel("relative error of the gradient")
    axes.flat[0].legend(loc="upper left")
    _draw_return(axes.flat[-1], families)
    figure.set_label("Error of the gradient by adjoint against stiffness; right, what solving back loses of the start.")
    drawn["gradient_error"] = figure
    return drawn


def _logarithmic(ax, values):
    """A logarithmic axis with room for failures at its top."""
    good = values[np.isfinite(values) & (values > 0)]
    ax.set_yscale("log")
    ax.set_ylim(10.0 ** (np.floor(np.log10(good.min())) - 1), 10.0 ** (np.ceil(np.log10(good.max())) + 2))


def _draw_return(ax, families):
    """How far from its start a trajectory ends that is solved forwards and back."""
    lines = {family: data.reconstruction_error.isel(adjoint=0) for family, data in families.items()}
    _logarithmic(ax, np.concatenate([line.values for line in lines.values()]))
    top = ax.get_ylim()[1] / 3
    rates = sorted({float(rate) for line in lines.values() for rate in line.rate.values})
    for (family, line), (color, marker) in zip(
        lines.items(), (("orange", "o"), ("purple", "D"), ("sky", "s")), strict=False
    ):
        look = {"color": style.COLORS[color], "marker": marker}
        ax.plot(line.rate, line, **look, label=family)
        lost = line.rate.values[~np.isfinite(line.values)]
        ax.plot(lost, np.full(lost.shape, top), **look, linestyle="", markerfacecolor="none", markeredgewidth=1.0)
    if any(not np.isfinite(line.values).all() for line in lines.values()):
        ax.annotate(
            "open, in all panels:\nnever arrives",
            (0.97, 0.88),
            xycoords="axes fraction",
            va="top",
            ha="right",
            fontsize=7,
        )
    ax.set_xscale("log")
    style.ticks(ax.xaxis, rates)
    ax.set_title("forwards and back")
    ax.set(xlabel=r"$\mu$ or rate", ylabel="relative distance from the start")
    ax.legend(loc="lower right")


def tables(dataset):
    """Relative gradient error by problem and adjoint."""
    if "case" not in dataset.dims or "adjoint" not in dataset.dims:
        return {}
    rows = []
    for case in dataset.case.values[:12]:
        one = dataset.sel(case=case)
        errors = {str(a): f"{float(one.gradient_error.sel(adjoint=a)):.1e}" for a in one.adjoint.values}
        rows.append({"problem": str(case), **errors, "there and back": f"{float(one.reconstruction_error[0]):.1e}"})
    return {"Relative error of the gradient": rows}


def _family(dataset, name, mild, stiff, tolerance):
    """A family run at a mild and a stiff rate, and to that tolerance, by backsolve and through the steps."""
    family = _families(over(dataset, "adjoint")).get(name)
    if family is None or not (family.rate[0] <= mild and family.rate[-1] >= stiff):
        raise NotJudged(f"it takes the {name} at rates from {mild:g} to {stiff:g}")
    used = family.tolerance.values if "tolerance" in family.coords else params(family)["tolerance"]
    if np.max(used) > tolerance:
        raise NotJudged(f"it takes a tolerance of {tolerance:g}")
    return family


def _recovered(dataset):
    """The contraction's gradient is right where the start is lost, for what reaches the start has shrunk to nothing."""
    family = _family(dataset, "cubic relaxation", 1.0, 20.0, 1e-11)
    back = family.sel(adjoint="backsolve")
    error, gradient, returned = back.reconstruction_error.values, back.gradient_error.values, back.returned.values
    words = ", ".join(
        f"{rate:g}: {there:.0e} (gradient {wrong:.0e})"
        for rate, there, wrong in zip(family.rate.values, error, gradient, strict=True)
    )
    # A solve that escaped on the way back is further off than any that arrived somewhere.
    off = np.where(returned == 0, np.finfo(float).max, error)
    return Finding(
        holds(family.arrived) & between(returned, 0, 1) & less(off[0], 1e-9),
        limits=less(1e-2, off[-1]),
        measured=f"{error[0]:.0e} at rate {family.rate.values[0]:g}",
        figure="gradient_error",
        note=f"By rate: {words}. Contraction forwards is expansion backwards.",
    )


def _wrong_when_stiff(dataset):
    family = _family(dataset, "Van der Pol", 1.0, 10.0, 1e-6)
    through, back = (family.sel(adjoint=a) for a in ("checkpointed", "backsolve"))
    solved, error = back.solved.values, back.gradient_error.values
    # A backward solve that failed has no gradient, which is as wrong as can be.
    wrong = np.where(solved == 0, np.finfo(float).max, error)
    return Finding(
        holds(through.solved)
        & less(through.gradient_error, 1e-4)
        & between(solved, 0, 1)
        & less(1.0, wrong[-1])
        & less(wrong[0], 1e-2),
        measured=f"backsolve {', '.join(f'{e:.2g}' for e in error)}; checkpointed at most "
        f"{float(through.gradient_error.max()):.1e}",
        figure="gradient_error",
    )


claims = {
    "adjoint-reverse-solve-recovers-the-trajectory": _recovered,
    "backsolve-gradient-fails-when-stiff": _wrong_when_stiff,
}
