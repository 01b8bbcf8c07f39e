"""What do value and gradient of a training loss cost beside the value, whatever the number of parameters?"""

from typing import Literal

import numpy as np
import pydantic

from experiments._survey import Measured, median, points, relative, survey, surveyed
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, between, close, digits, jax, less, slope

kind = "timed"
dtype = "float32"


class Config(Measured):
    architecture: Literal["linear", "dense", "convolution", "attention"] = "dense"
    """the classifier of handwritten digits; the linear one sees `width` random features of the image"""
    width: int = pydantic.Field(64, ge=1)
    """units, features, or 16 times the channels of the convolution"""
    depth: int = pydantic.Field(3, ge=1)
    """hidden layers of the dense one"""
    batch: int = pydantic.Field(32, ge=1, le=1797)
    """images of the training loss"""


VARIABLES = {
    "transform": Variable(("transform",), "", "what is computed"),
    "num_parameters": Variable((), "", "number of parameters", measured=False),
    **surveyed("transform"),
}


def run(config, key):
    from jaxcalc.models import classifier

    linear, convolution = config.architecture == "linear", config.architecture == "convolution"
    model = classifier.make(
        config.architecture,
        width=-(-config.width // 16) if convolution else config.width,
        depth=config.depth,
        pixels=config.width if linear else 64,
    )
    features = config.width if linear else None
    workload = classifier.training_loss(key, model, batch=config.batch, features=features)
    routes = {
        "value": (workload.fun, workload.arguments),
        "grad": (jax.grad(workload.fun), workload.arguments),
        "value and grad": (jax.value_and_grad(workload.fun), workload.arguments),
    }
    record = survey(routes, list(routes), config)
    return {"transform": np.array(list(routes)), "num_parameters": workload.num_inputs, **record}


def _architectures(dataset):
    """One family of models each, their points along the first axis that changes the number of parameters."""
    axis = next((dim for dim in ("width", "depth") if dataset.sizes.get(dim, 1) > 1), None)
    if axis is None:
        return {}
    data = lab.over(points(dataset, axis, "architecture"), "architecture")
    families = {str(name): data.sel(architecture=name) for name in data["architecture"].values}
    return {name: one.assign_coords(n=(axis, one.num_parameters.values)) for name, one in families.items()}


_BOTH = {"transform": "value and grad"}


def figures(dataset):
    """Value and gradient over the value against the number of parameters, by operations and by time."""
    families = _architectures(dataset)
    if not families:
        return {}
    figure, panels = style.subplots(1, 2, width="page", height=2.9, sharey=True)
    for name, data in families.items():
        for panel, cost in zip(panels, (data.operations, data.seconds)):
            ratio = relative(cost).sel(_BOTH)
            look = {"axes": panel, "legend": None, "log": "x", "xlabel": "parameters", "ylabel": ""}
            style.chart(ratio, "n", **look, **style.method(name))
    panels[0].axhspan(1, 4, color=style.COLORS["green"], alpha=0.10, linewidth=0, zorder=0)
    panels[0].axhline(4, **style.THEORY)
    place = {"transform": panels[0].get_yaxis_transform(), "ha": "right", "va": "bottom", "fontsize": 7.5}
    panels[0].text(0.97, 4.03, "bound of the cheap gradient: 4", **place)
    panels[0].set(ylim=(0, max(5.0, panels[0].get_ylim()[1])), ylabel="value and gradient / value")
    panels[0].set_title("operations")
    panels[1].set_title("time")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.set_label(
        "Value and gradient over the value alone. Operations are read off the programs, and the shaded band holds for "
        "them alone; times are medians of ratios with quartiles."
    )
    return {"work": figure}


def tables(dataset):
    rows = []
    for name, data in _architectures(dataset).items():
        operations, time = relative(data.operations).sel(_BOTH), relative(median(data.seconds)).sel(_BOTH)
        for index in sorted({0, data.num_parameters.size - 1}):
            sizes = {"architecture": name, "parameters": int(data.num_parameters[index])}
            rows.append({**sizes, "operations": digits(operations[index]), "time": digits(time[index])})
    return {"Value and gradient, in evaluations of the loss": rows[:12]}


def _passes(dataset):
    """Operations of the backward pass over those of the forward pass, by architecture."""
    families = _architectures(dataset)
    if not families or min(data.n.size for data in families.values()) < 3:
        raise NotJudged("needs three numbers of parameters or more")
    return {name: relative(data.operations).sel(_BOTH).values - 1 for name, data in families.items()}


def _span(values):
    return f"{values.min():.2f} to {values.max():.2f}"


def _spans(values):
    return ", ".join(f"{name} {_span(value)}" for name, value in values.items())


def _judge_bound(dataset):
    ratios = {name: passes + 1 for name, passes in _passes(dataset).items()}
    every = list(ratios.values())
    return Finding(less(1.0, every) & below(every, 4.0), measured=_spans(ratios))


def _judge_band(dataset):
    passes = _passes(dataset)
    return Finding(between(list(passes.values()), 2.0, 4.0), measured=_spans(passes))


def _judge_twice(dataset):
    """Held at every count of the dense network's: within 0.3 of 2, which leaves no room for growth."""
    passes, count = _passes(dataset)["dense"], _architectures(dataset)["dense"].num_parameters
    return Finding(
        close(passes, 2.0) & above(count, 1),
        measured=f"{_span(passes)} from {count.values.min():.0f} to {count.values.max():.0f} parameters",
    )


def _judge_order(dataset):
    linear = _architectures(dataset)["linear"]
    count, found = linear.num_parameters.values, linear.sel(transform="grad")
    # Below some hundred parameters the softmax, which does not grow with them, still shows.
    large = count >= 256
    operations, storage = found.operations.values, (found.footprint / linear.num_parameters).values
    power = measure.exponent(count[large], operations[large])
    known = above(count, 1) & above(operations, 1) & above(storage, 1)
    return Finding(
        slope(count[large], operations[large]) & below(np.diff(storage[large]), 0.0) & known,
        measured=f"exponent {power:.3f}; {_span(storage[large])} bytes per parameter",
    )


claims = {
    "gradient-at-most-four-values": _judge_bound,
    "backward-two-to-four-times-forward": _judge_band,
    "backward-about-twice-forward": _judge_twice,
    "gradient-is-order-n": _judge_order,
}
