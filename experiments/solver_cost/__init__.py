"""What do the solvers cost beside the loops that they replace?

4,096 starts in one program against one compiled solve called for each, and against a Python loop over steps
(``lanes``); the time of a step against plain optax in a scan (``steps``); what the history adds (``history``); and how
far Newton's method by conjugate gradients goes, with scales and without (``size``).
"""

import numpy as np
import pydantic

from experiments import _survey
from experiments._survey import ratio
from jaxcalc import measure, style
from jaxcalc.lab import Variable, digits, jax, xarray


class Timed(_survey.Timed):
    repeats: int = pydantic.Field(7, ge=1)
    min_seconds: float = pydantic.Field(1e-2, ge=0)


def readings(calls, config):
    read = measure.interleave(calls, repeats=config.repeats, min_seconds=config.min_seconds)
    return {"route": np.array(list(calls)), "seconds": np.array([timing.samples for timing in read.values()])}


def compiled(fun, *args):
    return jax.jit(fun).lower(*args).compile()


def ratios_of(dataset, route, over, chosen=lambda point: True):
    """The same by point of the sweep."""
    return {point_label(names): float(ratio(p, route, over)) for names, p in sweep_points(dataset) if chosen(p)}


def told(ratios):
    return ", ".join(f"{style.method(name)['label']}: {value:.3g}" for name, value in ratios.items())


def sweep_points(dataset):
    """Every point of the sweep, with its coordinates in the order of the dataset's other dimensions."""
    axes = [str(name) for name in dataset.seconds.dims if name not in ("route", "repeat")]
    for places in np.ndindex(*(dataset.sizes[name] for name in axes)):
        point = dataset.isel(dict(zip(axes, places)))
        yield tuple(point[name].item() for name in axes), point


def point_label(names):
    return ", ".join(style.method(str(name))["label"] for name in names)


def bars(dataset, routes, over, axis, label, limit=None):
    """Each route's time over one's, a row for each point; ``axis`` says what is shown."""
    from matplotlib import ticker

    points = {point_label(names): point.seconds for names, point in sweep_points(dataset)}
    seconds = xarray.concat(points.values(), "point", coords="minimal", compat="override")
    seconds = seconds.assign_coords(point=list(points))
    apart = 0.28
    figure, panel = style.subplots(1, 1, width=5.6, height=1.0 + 0.2 * len(points) * (1 + 0.6 * len(routes)))
    for shift, (route, look) in enumerate(zip(routes, style.looks(routes))):
        rounds = seconds.sel(route=route) / seconds.sel(route=over)
        down = (shift - (len(routes) - 1) / 2) * apart
        dots = {"color": look["color"], "marker": "o", "markersize": 4.5, "label": route}
        known = rounds.where(np.isfinite(rounds).all("repeat"))
        for line, (low, middle, high) in enumerate(zip(*style.rows(panel, known, "point", shift=down, **dots))):
            if np.isnan(middle):
                continue
            # Numbers stand away from the line at 1.
            place, shift_by, side = (high, 4, "left") if middle >= 1 else (low, -4, "right")
            panel.annotate(f"{float(f'{middle:.3g}'):,g}×", (place, line + down), (shift_by, 0),
                           textcoords="offset points", ha=side, va="center", fontsize=6.5)  # fmt: skip
    panel.axvline(1.0, **style.THEORY)
    if limit is not None:
        panel.axvline(limit, color=style.COLORS["grey"], lw=0.8, ls=":")
    panel.set(xscale="log", xlabel=axis)
    left, right = panel.get_xlim()
    panel.set_xlim(min(left / 2.0, 0.8), right * 1.8)
    if right < 20:
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    if len(routes) > 1:
        panel.legend(fontsize=6.5, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.set_label(label)
    return figure


def table(dataset, over):
    return [
        {"": point_label(names), "steps": int(point.num_steps)}
        | {
            f"{route}, ms": digits(1e3 * time, 4)
            for route, time in zip(point.route.values, point.seconds.median("repeat"))
        }
        | {f"{route} / {over}": digits(ratio(point, route, over)) for route in point.route.values if route != over}
        for names, point in sweep_points(dataset)
    ]


TIMES = {
    "route": Variable(("route",), "", "how it is done", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time"),
    "num_steps": Variable((), "1", "steps of the lane that took most", measured=False),
}
