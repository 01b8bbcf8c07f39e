"""How does the error of a difference quotient depend on its step, and what is the best step?"""

import itertools
from typing import get_args

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, close, digits, jax, jnp

kind = "host"

_PRECISIONS = ("float32", "float64")


class Config(lab.Config):
    at: float = 1.0
    """where exp(sin x) is differentiated"""
    halvings: int = pydantic.Field(50, ge=12, le=60)
    """steps 2^-1, 2^-2, ... to this power"""


VARIABLES = {
    "precision": Variable(("precision",), "", "of the function's values"),
    "scheme": Variable(("scheme",), "", "of the difference quotient"),
    "step": Variable(("step",), "", "step h; of a Richardson ladder, the smallest"),
    "order": Variable(("scheme",), "", "order of accuracy"),
    "error": Variable(("precision", "scheme", "step"), "", "relative error of the derivative"),
    "theory_step": Variable(("precision", "scheme"), "", "the step that balances truncation and rounding"),
    "theory_error": Variable(("precision", "scheme"), "", "relative error at that step"),
    "floor": Variable(("precision",), "", "relative error of automatic differentiation"),
}


def _smooth(x):
    return jnp.exp(jnp.sin(x))


def run(config, key):
    from jaxcalc.engines import Scheme, finite_differences, stencil

    schemes, steps = get_args(Scheme), 2.0 ** -np.arange(1.0, config.halvings + 1)
    error = np.full((len(_PRECISIONS), len(schemes), len(steps)), np.nan)
    theory_step, theory_error = np.full((2, len(_PRECISIONS), len(schemes)), np.nan)
    floor = np.zeros(len(_PRECISIONS))
    for i, precision in enumerate(_PRECISIONS):
        x = jnp.asarray(config.at, precision)
        there = float(x)
        exact = np.cos(there) * np.exp(np.sin(there))
        relative = lambda value, exact=exact: abs(np.asarray(value, float) / exact - 1)
        floor[i] = relative(jax.grad(_smooth)(x))
        # A shorter step is lost in the point, except off the real line.
        usable = steps >= 2 * float(jnp.finfo(precision).eps)
        for j, scheme in enumerate(schemes):
            quotient = jax.jit(lambda h, s=scheme, x=x: finite_differences.derivative(_smooth, scheme=s, step=h)(x))
            taken = usable | (scheme == "complex step")
            error[i, j, taken] = relative(jax.vmap(quotient)(jnp.asarray(steps[taken], precision)))
            chosen = finite_differences.step_sizes(x, scheme=scheme)
            theory_step[i, j], theory_error[i, j] = chosen, relative(quotient(chosen))
    return {
        "precision": np.array(_PRECISIONS),
        "scheme": np.array(schemes),
        "step": steps,
        "order": np.array([stencil(scheme).order for scheme in schemes]),
        "error": error,
        "theory_step": theory_step,
        "theory_error": theory_error,
        "floor": floor,
    }


def _judge_orders(dataset):
    # 2^-6 to 2^-13: long enough for truncation to be all, short enough for its leading term to be.
    window = np.log(dataset.error.sel(precision="float64").isel(step=slice(5, 13)))
    order = lambda name: np.polyfit(np.log(window.step), window.sel(scheme=name), 1)[0]
    forward, backward, central = map(order, ("forward", "backward", "central"))
    return Finding(
        close({"forward": [forward, backward], "central": central}),
        measured=f"forward {forward:.3f}, backward {backward:.3f}, central {central:.3f}",
    )


def tables(dataset):
    rows = []
    two = lambda value: digits(value, 2)
    for precision, scheme in itertools.product(dataset.precision.values, dataset.scheme.values):
        one = dataset.sel(precision=precision, scheme=scheme)
        best = one.error.argmin("step")
        rows.append(
            {
                "precision": str(precision),
                "scheme": str(scheme),
                "order": int(one.order),
                "best step": two(one.step[best]),
                "error there": two(one.error[best]),
                "step by theory": two(one.theory_step),
                "error at it": two(one.theory_error),
                "automatic differentiation": two(one.floor),
            }
        )
    return {"Best step and the step by theory": rows}


def _tell_floor(panel, floor):
    """The error of automatic differentiation as a line, or in words at the foot if it is 0."""
    if floor:
        panel.axhline(floor, color=style.COLORS["grey"], linewidth=1.0)
    told, at = "jax.grad" + ("" if floor else ": exact"), (0.98, floor or 1e-17)
    where = {"xycoords": panel.get_yaxis_transform(), "textcoords": "offset points"}
    look = {"ha": "right", "va": "top", "fontsize": 7}
    panel.annotate(told, at, (0, -2), **where, **look)


def figures(dataset):
    figure, panels = style.subplots(1, 2, width="page", height=3.2, sharey=True)
    looks = {
        "backward": {"linestyle": (0, (1, 1.5)), "linewidth": 2.4},  # along forward
        "complex step": {"linewidth": 4, "alpha": 0.5, "zorder": 1},  # along central
    }
    eps = dataset.floor.copy(data=[np.finfo(str(name)).eps for name in dataset.precision.values])
    scales = {1: 0.2, 2: 0.2, 4: 0.05}
    lines = {f"order {p}": scale * dataset.step**p for p, scale in scales.items()}
    style.chart(
        dataset.error,
        "step",
        hue="scheme",
        col="precision",
        theory={order: line.where(line > eps) for order, line in lines.items()},
        looks=looks,
        axes=panels,
        marker="",
        log="xy",
        ylim=(4e-19, 20),
        legend="below",
        ylabel="relative error of the derivative",
    )
    for panel, precision in zip(panels, dataset.precision.values):
        data, least = dataset.sel(precision=precision), float(eps.sel(precision=precision))
        panel.set(xlim=(least / 4, 1), xlabel="step h")
        for scheme in data.scheme.values[data.theory_step.values > least]:
            best, color = data.sel(scheme=scheme), style.method(str(scheme))["color"]
            star = {"markersize": 10, "markeredgecolor": "black", "markeredgewidth": 0.6}
            panel.plot(best.theory_step, best.theory_error, "*", color=color, zorder=4, **star)
        _tell_floor(panel, float(data.floor))
    figure.set_label(
        "Derivative of exp(sin x) by difference quotients: truncation falls with the step, "
        "rounding grows. Stars: the step by theory (the complex step's is far to the left). "
        "Dashed: slopes 1, 2 and 4. Triangles at the foot: no error in any bit."
    )
    return {"steps": figure}


claims = {"forward-first-central-second-order": _judge_orders}
