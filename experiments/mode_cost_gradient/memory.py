"""What memory does a gradient need as a network gets deeper, and what do checkpoints cost in time?"""

import numpy as np
import pydantic

from experiments._survey import Measured, median, points, survey, surveyed
from jaxcalc import style
from jaxcalc.lab import NotJudged, Variable, digits, jax, slope

kind = "timed"
dtype = "float32"


class Config(Measured):
    depth: int = pydantic.Field(64, ge=1)
    """hidden layers, run in one scan"""
    width: int = pydantic.Field(32, ge=1)
    """units of every hidden layer"""
    batch: int = pydantic.Field(128, ge=1, le=1797)
    """images of the training loss"""


_SURVEYED = ("seconds", "compile_seconds", "operations", "temporaries", "footprint")

VARIABLES = {
    "checkpoint": Variable(("checkpoint",), "", "what the backward pass finds stored"),
    **{name: surveyed("checkpoint")[name] for name in _SURVEYED},
}


def run(config, key):
    from jaxcalc.models import classifier

    routes = {}
    for checkpoint in classifier.CHECKPOINTS:
        model = classifier.scanned(config.width, config.depth, checkpoint=checkpoint)
        workload = classifier.training_loss(key, model, batch=config.batch)
        routes[checkpoint] = (jax.grad(workload.fun), workload.arguments)
    found = survey(routes, list(routes), config)
    return {"checkpoint": np.array(list(routes)), **{name: found[name] for name in _SURVEYED}}


def _deep(dataset):
    """The points along depth; of any other sweep, the first."""
    if dataset.sizes.get("depth", 1) < 2:
        raise NotJudged("needs several depths")
    return points(dataset, "depth")


_LOOKS = {
    "none": style.method("reverse", label="everything stored"),
    "layers": style.method("forward", label="checkpoint every layer"),
    "segments": style.method("checkpointed", label="checkpoint every √L layers"),
    "gradient": {"color": style.COLORS["grey"], "marker": "", "label": "the gradient itself"},
}


def figures(dataset):
    """Memory for intermediates against depth, and what the recomputation costs in time."""
    if dataset.sizes.get("depth", 1) < 2:
        return {}
    data = _deep(dataset)
    figure, panels = style.subplots(1, 2, width="page", height=3.0)
    sizes = {str(name): data.temporaries.sel(checkpoint=name) for name in data.checkpoint.values}
    sizes["gradient"] = (data.footprint - data.temporaries).isel(checkpoint=0)
    both = {"looks": _LOOKS, "log": "xy", "xlabel": "depth $L$"}
    style.chart(
        sizes,
        "depth",
        slopes={"none": 1.0, "segments": 0.5},
        axes=panels[0],
        legend="below",
        ylabel="temporaries (bytes)",
        **both,
    )
    style.chart(data.seconds, "depth", hue="checkpoint", axes=panels[1], legend=None, ylabel="time (s)", **both)
    for panel in panels:
        style.ticks(panel.xaxis, data.depth.values)
    figure.set_label(
        "The gradient of a network whose layers are scanned: XLA's temporaries (dashed: exponents 1 and 1/2), and "
        "time (medians with quartiles)."
    )
    return {"memory": figure}


def tables(dataset):
    if dataset.sizes.get("depth", 1) < 2:
        return {}
    data, rows = _deep(dataset), []
    for depth in data.depth.values[:12]:
        row: dict[str, float] = {"depth": int(depth)}
        for name in data.checkpoint.values:
            point = data.sel(depth=depth, checkpoint=name)
            row[f"{name}, MB"] = digits(point.temporaries / 1e6)
            row[f"{name}, ms"] = digits(1e3 * median(point.seconds))
        rows.append(row)
    return {"Temporaries and time of the gradient": rows}


def _judge_memory(dataset):
    data = _deep(dataset)
    grows = lambda checkpoint, power: slope(data.depth, data.temporaries.sel(checkpoint=checkpoint), power)
    return grows("none", 1.0) & grows("segments", 0.5)


claims = {"forward-caches-intermediates": _judge_memory}
