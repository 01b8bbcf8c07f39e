"""What does a gradient cost beside the value: operations against parameters, memory against depth?"""

from typing import Any

import numpy as np
import pydantic

from experiments.mode_cost_gradient import Measured, counted, median_seconds, short, timed_record
from jaxcalc import style
from jaxcalc.lab import NotJudged, Variable, slope

kind = "timed"


class Config(Measured):
    depth: int = pydantic.Field(64, ge=1)
    """hidden layers, run in one scan"""
    width: int = pydantic.Field(32, ge=1)
    """units of every hidden layer"""
    batch: int = pydantic.Field(128, ge=1, le=1797)
    """images of the training loss"""


CHECKPOINTS = {
    "none": ("reverse", "everything stored"),
    "layers": ("forward", "checkpoint every layer"),
    "segments": ("checkpointed", r"checkpoint every $\sqrt{L}$ layers"),
}

# Loops hide their operations from XLA's count, so that only seconds and bytes are kept.
_MEMORY = ("seconds", "compile_seconds", "temporaries", "footprint")

VARIABLES = {
    "checkpoint": Variable(("checkpoint",), "", "what the backward pass finds stored"),
    **{name: variable for name, variable in counted("checkpoint").items() if name in _MEMORY},
}


def run(config, key):
    import jax

    from jaxcalc.models import classifier

    routes = {}
    for checkpoint in classifier.CHECKPOINTS:
        model = classifier.scanned(config.width, config.depth, checkpoint=checkpoint)
        workload = classifier.training_loss(key, model, batch=config.batch)
        routes[checkpoint] = (jax.grad(workload.fun), workload.arguments)
    record = timed_record(routes, list(routes), config)
    return {"checkpoint": np.array(list(routes)), **{name: record[name] for name in _MEMORY}}


def _deep(dataset):
    """The points along depth; of any other sweep, the first."""
    if dataset.sizes.get("depth", 1) < 2:
        return None
    return dataset.isel({dim: 0 for dim in dataset.dims if dim not in ("depth", "checkpoint", "repeat")})


def figures(dataset):
    """Memory for intermediates against depth, and what the recomputation costs in time."""
    data = _deep(dataset)
    if data is None:
        return {}
    depth = data["depth"].values
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.0)
    gradient_bytes = (data.footprint - data.temporaries).isel(checkpoint=0)
    for name, (look, label) in CHECKPOINTS.items():
        line = style.method(look, label=label)
        left.plot(depth, data.temporaries.sel(checkpoint=name), **line)
        seconds = data.seconds.sel(checkpoint=name)
        low, middle, high = (seconds.quantile(q, "repeat", skipna=False).values for q in (0.25, 0.5, 0.75))
        right.errorbar(depth, middle, [middle - low, high - middle], elinewidth=0.8, **line)
    left.plot(depth, gradient_bytes, color=style.COLORS["grey"], label="the gradient itself")
    anchors = ((1.0, "none", "$L$"), (0.5, "segments", r"$\sqrt{L}$"))
    for power, name, text in anchors:
        end = float(data.temporaries.sel(checkpoint=name)[-1])
        line = {**style.THEORY, "zorder": 3, "label": "theory" if power == 1 else None}
        left.plot(depth, end * (depth / depth[-1]) ** power, **line)
        left.annotate(text, (depth[-1], end), (5, 0), textcoords="offset points", va="center")
    left.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="memory (bytes)", title="temporaries")
    right.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="time (s)", title="time")
    for panel in (left, right):
        panel.set_xticks(depth, [str(value) for value in depth])
        panel.minorticks_off()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    style.panel_labels((left, right))
    figure.set_label(
        "The gradient of a network whose layers are scanned: XLA's temporaries, and time (medians with quartiles)."
    )
    return {"memory": figure}


def _judge_memory(dataset):
    data = _deep(dataset)
    if data is None:
        raise NotJudged("needs several depths")
    grows = lambda checkpoint, power: slope(data["depth"], data.temporaries.sel(checkpoint=checkpoint), power)
    return grows("none", 1.0) & grows("segments", 0.5)


def tables(dataset):
    data = _deep(dataset)
    if data is None:
        return {}
    rows = []
    for point in (data.isel(depth=index) for index in range(data.sizes["depth"])):
        row: dict[str, Any] = {"depth": int(point["depth"])}
        for name in CHECKPOINTS:
            row[f"{name}, MB"] = short(point.temporaries.sel(checkpoint=name) / 1e6)
            row[f"{name}, ms"] = short(1e3 * median_seconds(point).sel(checkpoint=name))
        rows.append(row)
    return {"Temporaries and time of the gradient": rows[:12]}


claims = {"forward-caches-intermediates": _judge_memory}
