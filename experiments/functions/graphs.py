"""What do functions look like, and do three slopes of each agree: in closed form, by AD, by finite differences?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, jax, jnp

kind = "host"

_REACH = 3.0  # of a graph, to both sides of 0, where the function is defined


class Config(lab.Config):
    names: tuple[str, ...] = (
        *("identity", "square", "cube", "sqrt", "reciprocal", "exp", "log", "sigmoid"),
        *("tanh", "sin", "cos", "tan", "arctan", "abs", "relu"),
    )
    """functions of jaxcalc.functions.elementary"""
    points: int = pydantic.Field(240, ge=10)
    """points of each graph"""


VARIABLES = {
    "name": Variable(("name",), "", "function"),
    "x": Variable(("name", "point"), "", "where it is evaluated"),
    "value": Variable(("name", "point"), "", "its value"),
    "closed_form": Variable(("name", "point"), "", "its derivative in closed form"),
    "by_ad": Variable(("name", "point"), "", "its derivative by jax.grad"),
    "by_differences": Variable(("name", "point"), "", "its central difference quotient of fourth order"),
    "difference_error": Variable(("name", "point"), "", "the error that the quotient reports"),
    "kink_left": Variable(("kink",), "", "slope of abs just left of 0"),
    "kink_right": Variable(("kink",), "", "slope of abs just right of 0"),
}


def run(config, key):
    from jaxcalc.engines import finite_differences
    from jaxcalc.functions.elementary import elementary

    rows = []
    for name in config.names:
        fun = elementary(name)
        low, high = max(fun.domain, key=lambda interval: interval[1])
        # A hair inside: quotients step to both sides, and must not step over a pole, an end or a kink.
        low, high = max(low, -_REACH), min(high, _REACH)
        inset = 0.05 * (high - low)
        x = jnp.linspace(low + inset, high - inset, config.points)
        quotient = finite_differences.derivative(fun.value, order=4, with_error=True)
        slope, error = jax.jit(jax.vmap(quotient))(x)
        rows.append((x, fun(x), fun.derivative(x), jax.vmap(jax.grad(fun.value))(x), slope, error))
    names = ("x", "value", "closed_form", "by_ad", "by_differences", "difference_error")
    sides = jnp.array([-1.0, 1.0]) * 2.0 ** -jnp.arange(1.0, 21.0)[:, None]
    at_kink = jax.vmap(jax.grad(elementary("abs").value))(sides.ravel()).reshape(sides.shape)
    return {
        "name": np.array(config.names),
        **{name: np.stack(column) for name, column in zip(names, zip(*rows))},
        "kink_left": at_kink[:, 0],
        "kink_right": at_kink[:, 1],
    }


def _slopes_agree(dataset):
    size = np.maximum(abs(dataset.closed_form), 1.0)
    by_ad = abs(dataset.by_ad - dataset.closed_form) / size
    by_differences = abs(dataset.by_differences - dataset.closed_form) / size
    return Finding(
        below(by_ad, 1e-14) & below(by_differences, 1e-7),
        limits=above(dataset.kink_right - dataset.kink_left, 2.0),
        measured=f"AD {float(by_ad.max()):.2g}, differences {float(by_differences.max()):.2g} of the slope at most; "
        f"at the kink of abs {float(dataset.kink_left[-1]):g} and {float(dataset.kink_right[-1]):g}",
    )


def _error_is_honest(dataset):
    # Below rounding an estimate may be as small as it likes.
    floor = 4 * np.finfo(float).eps * np.maximum(abs(dataset.closed_form), 1.0)
    return below(abs(dataset.by_differences - dataset.closed_form) / (dataset.difference_error + floor), 1.0)


def figures(dataset):
    curves = {"f": dataset.value, "f' by AD": dataset.by_ad}
    looks = {"f": {"color": style.COLORS["blue"]}, "f' by AD": {"color": style.COLORS["vermilion"]}}
    names = dataset.name.values
    rows = -(-len(names) // 5)
    figure, panels = style.subplots(rows, 5, width="page", height=1.45 * rows + 0.4, squeeze=False, letters=False)
    for name, panel in zip(names, panels.flat):
        mine = {
            label: curve.sel(name=name).assign_coords(point=dataset.x.sel(name=name).values)
            for label, curve in curves.items()
        }
        style.chart(mine, "point", looks=looks, axes=panel, legend=None, xlabel="", ylabel="", marker="", ylim=(-4, 4))
        at = slice(None, None, max(1, dataset.sizes["point"] // 12))
        x, slope = (dataset[v].sel(name=name)[at] for v in ("x", "by_differences"))
        panel.plot(x, slope, "o", color=style.COLORS["black"], markersize=2.2, label="f' by differences")
        panel.set_title(str(name))
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.set_label("Functions of one variable with their slope by automatic differentiation and by differences.")
    return {"graphs": figure}


claims = {"three-slopes-agree": _slopes_agree, "difference-error-is-a-bound": _error_is_honest}
