"""What does a gradient cost beside the value: operations against parameters, memory against depth?"""

from typing import Literal

import numpy as np
import pydantic

from experiments.mode_cost_gradient import Measured, counted, median_seconds, short, timed_record
from jaxcalc import style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, between, close, less, slope

kind = "timed"


def _relative(values):
    """In units of one evaluation of the function."""
    return values / values.sel(transform="value")


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


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
    **counted("transform"),
}


def run(config, key):
    import jax

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
    record = timed_record(routes, list(routes), config)
    return {"transform": np.array(list(routes)), "num_parameters": workload.num_inputs, **record}


def _architectures(dataset):
    """One family of models each, their points along the first axis that changes the number of parameters."""
    axis = next((dim for dim in ("width", "depth") if dim in dataset.dims), None)
    keep = {axis, "architecture", "transform", "repeat"}
    data = dataset.isel({dim: 0 for dim in dataset.dims if dim not in keep})
    if axis is None:
        return []
    if "architecture" not in data.dims:
        import json

        return [(json.loads(dataset.attrs["params"])["architecture"], data)]
    return [(str(name), data.sel(architecture=name)) for name in data["architecture"].values]


def figures(dataset):
    """Gradient over value against the number of parameters, by operations and by time, over the band 1 to 4."""
    families = _architectures(dataset)
    if not families:
        return {}
    figure, panels = style.subplots(1, 2, width="page", height=2.9, sharey=True)
    looks = {
        "linear": ("blue", "o"),
        "dense": ("vermilion", "s"),
        "convolution": ("orange", "v"),
        "attention": ("green", "^"),
    }
    top = 5.0
    for name, data in families:
        color, marker = looks[name]
        look = {"color": style.COLORS[color], "marker": marker, "label": name}
        operations = _relative(data.operations)
        panels[0].plot(data.num_parameters, operations.sel(transform="value and grad"), **look)
        samples = data.seconds.sel(transform="value and grad") / data.seconds.sel(transform="value")
        low, middle, high = (samples.quantile(q, "repeat", skipna=False).values for q in (0.25, 0.5, 0.75))
        panels[1].errorbar(data.num_parameters, middle, [middle - low, high - middle], elinewidth=0.8, **look)
        top = max(top, 1.1 * float(np.nanmax(middle)))
    for panel, title in zip(panels, ("operations", "time")):
        panel.axhspan(1, 4, color=style.COLORS["green"], alpha=0.10, linewidth=0, zorder=0)
        panel.axhline(4, **style.THEORY)
        panel.set(xscale="log", xlabel="parameters", title=title)
    panels[0].annotate(
        "bound of the cheap gradient: 4",
        (0.97, 4),
        (0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=7.5,
    )
    panels[0].set(ylim=(0, top), ylabel="value and gradient / value")
    panels[0].legend(loc="lower right", ncols=2)
    style.panel_labels(panels)
    figure.set_label(
        "Value and gradient over the value alone; the shaded band runs from 1 to 4. Operations are XLA's count, "
        "times medians with quartiles."
    )
    return {"work": figure}


def _passes(dataset):
    """Operations of the backward pass over those of the forward pass, by architecture."""
    families = dict(_architectures(dataset))
    sizes = [data.sizes[dim] for data in families.values() for dim in ("width", "depth") if dim in data.dims]
    if not sizes or min(sizes) < 3:
        raise NotJudged("needs three numbers of parameters or more")
    return {name: _relative(data.operations).sel(transform="value and grad") - 1 for name, data in families.items()}


def _spans(values):
    return ", ".join(f"{name} {_span(value.values)}" for name, value in values.items())


def _judge_bound(dataset):
    ratios = {name: passes + 1 for name, passes in _passes(dataset).items()}
    every = [ratio.values for ratio in ratios.values()]
    return Finding(less(1.0, every) & below(every, 4.0), measured=_spans(ratios))


def _judge_band(dataset):
    passes = _passes(dataset)
    return Finding(between([values.values for values in passes.values()], 2.0, 4.0), measured=_spans(passes))


def _judge_twice(dataset):
    """Held at every count of the dense network's: within 0.3 of 2, which leaves no room for growth."""
    passes, count = _passes(dataset)["dense"], dict(_architectures(dataset))["dense"].num_parameters
    return Finding(
        close(passes, 2.0) & above(count, 1),
        measured=f"{_span(passes.values)} from {count.values.min():.0f} to {count.values.max():.0f} parameters",
    )


def _judge_order(dataset):
    from jaxcalc import measure

    linear = dict(_architectures(dataset))["linear"]
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


def tables(dataset):
    rows = []
    for name, data in _architectures(dataset):
        operations, median = _relative(data.operations), _relative(median_seconds(data))
        for index in sorted({0, data.num_parameters.size - 1}):
            both = {"transform": "value and grad"}
            rows.append(
                {
                    "architecture": name,
                    "parameters": int(data.num_parameters[index]),
                    "operations": short(operations.sel(both)[index]),
                    "time": short(median.sel(both)[index]),
                }
            )
    return {"Value and gradient, in evaluations of the loss": rows[:12]}


claims = {
    "gradient-at-most-four-values": _judge_bound,
    "backward-two-to-four-times-forward": _judge_band,
    "backward-about-twice-forward": _judge_twice,
    "gradient-is-order-n": _judge_order,
}
