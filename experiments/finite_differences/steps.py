"""How does the error of a difference quotient depend on its step, and what is the best step?"""

from typing import Any, get_args

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, close

kind = "host"
dtype = "float64"

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
    import jax.numpy as jnp

    return jnp.exp(jnp.sin(x))


def run(config, key):
    import jax
    import jax.numpy as jnp

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
    for precision in map(str, dataset.precision.values):
        for scheme in map(str, dataset.scheme.values):
            one = dataset.sel(precision=precision, scheme=scheme)
            best = int(np.nanargmin(one.error.values))
            rows.append(
                {
                    "precision": precision,
                    "scheme": scheme,
                    "order": int(one.order),
                    "best step": float(f"{float(dataset.step[best]):.2g}"),
                    "error there": float(f"{float(one.error[best]):.2g}"),
                    "step by theory": float(f"{float(one.theory_step):.2g}"),
                    "error at it": float(f"{float(one.theory_error):.2g}"),
                    "automatic differentiation": float(f"{float(one.floor):.2g}"),
                }
            )
    return {"Best step and the step by theory": rows}


def figures(dataset):
    figure, panels = style.subplots(1, 2, width="page", height=3.2, sharey=True)
    # One-sided quotients coincide: backward is drawn open, around forward.
    colors = ("blue", "sky", "vermilion", "green", "purple", "orange")
    for panel, precision in zip(panels, map(str, dataset.precision.values)):
        data = dataset.sel(precision=precision)
        for scheme, color, marker in zip(map(str, data.scheme.values), colors, "oo^DvP"):
            one = data.sel(scheme=scheme)
            backward = scheme == "backward"
            look: dict[str, Any] = {"color": style.COLORS[color], "marker": marker, "label": scheme, "markersize": 3}
            if backward:
                look |= {
                    "markersize": 5,
                    "markerfacecolor": "none",
                    "markeredgewidth": 0.7,
                    "linewidth": 0,
                    "zorder": 1,
                }
            if scheme == "complex step":
                # Of central's order: a wide line below it.
                look |= {"linewidth": 3.5, "marker": "", "alpha": 0.6, "zorder": 1}
            panel.plot(data.step, np.maximum(one.error.values, 1e-17), **look)
            if not backward and scheme != "complex step":
                panel.plot(
                    one.theory_step,
                    max(float(one.theory_error), 1e-17),
                    "*",
                    markersize=11,
                    markeredgewidth=0.6,
                    markeredgecolor="black",
                    color=style.COLORS[color],
                    zorder=4,
                )
        eps = float(np.finfo(precision).eps)
        for order, scale in ((1, 0.6), (2, 0.6), (4, 0.15)):
            line = scale * data.step.values**order
            panel.plot(data.step[line > eps], line[line > eps], **style.THEORY)
        panel.axhline(max(float(data.floor), 1e-17), color="black", linewidth=1.0, label="automatic differentiation")
        panel.set(xscale="log", yscale="log", xlabel="step h", title=precision, ylim=(4e-18, 20), xlim=(eps / 4, 1))
    panels[0].set_ylabel("relative error of the derivative")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    style.panel_labels(panels)
    figure.set_label(
        "Derivative of exp(sin x) by difference quotients: truncation falls with the step, rounding grows. Stars: the "
        "step by theory (the complex step's is far to the left). Dashed: slopes 1, 2 and 4. An exact "
        "result is drawn at 1e-17."
    )
    return {"steps": figure}


claims = {"forward-first-central-second-order": _judge_orders}
