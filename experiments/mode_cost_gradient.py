"""What does a gradient cost beside the value: operations against parameters, memory against depth?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Check, Finding, NotJudged, Part, Variable, above, below, between, close, less, slope

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


class Measured(lab.Config):
    """How programs are compiled, counted and timed."""

    repeats: int = pydantic.Field(7, ge=1)
    """rounds of timing; every round reads each program once"""
    min_seconds: float = pydantic.Field(1e-3, ge=0)
    """how long one reading lasts at least, in seconds"""
    run_limit: float = pydantic.Field(256.0, ge=0)
    """a program whose temporaries and outputs exceed this many MB is compiled and counted but not run"""


def _counted(dim: str) -> dict[str, Variable]:
    """The variables that every part reads off its compiled programs."""
    return {
        "seconds": Variable((dim, "repeat"), "s", "run time of one call"),
        "compile_seconds": Variable((dim,), "s", "time that XLA took to compile"),
        "operations": Variable((dim,), "", "operations by XLA's count, none where a loop hides them", measured=False),
        "bytes_accessed": Variable((dim,), "B", "bytes read and written by XLA's count", measured=False),
        "temporaries": Variable((dim,), "B", "memory for intermediate results", measured=False),
        "footprint": Variable((dim,), "B", "memory for intermediate results and outputs", measured=False),
    }


def _record(routes: Mapping[str, Any], names: Sequence[str], config: Measured) -> dict[str, np.ndarray]:
    from jaxcalc.programs.survey import survey

    limit = 1e6 * config.run_limit
    return survey(routes, names, repeats=config.repeats, min_seconds=config.min_seconds, run_limit=limit)


def _median(data: "xarray.Dataset") -> "xarray.DataArray":
    return data.seconds.median("repeat", skipna=False)


def _relative(values: "xarray.DataArray") -> "xarray.DataArray":
    """In units of one evaluation of the function."""
    return values / values.sel(transform="value")


def _short(value: Any) -> float:
    """Three significant digits."""
    return float(f"{float(value):.3g}")


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


# The gradient of a training loss against the number of parameters -----------------------------------------------------


class WorkConfig(Measured):
    architecture: Literal["linear", "dense", "convolution", "attention"] = "dense"
    """the classifier of handwritten digits; the linear one sees `width` random features of the image"""
    width: int = pydantic.Field(64, ge=1)
    """units, features, or 16 times the channels of the convolution"""
    depth: int = pydantic.Field(3, ge=1)
    """hidden layers of the dense one"""
    batch: int = pydantic.Field(32, ge=1, le=1797)
    """images of the training loss"""


WORK_VARIABLES = {
    "transform": Variable(("transform",), "", "what is computed"),
    "num_parameters": Variable((), "", "number of parameters", measured=False),
    **_counted("transform"),
}


def _run_work(config: WorkConfig, key: Any) -> dict[str, Any]:
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
    record = _record(routes, list(routes), config)
    return {"transform": np.array(list(routes)), "num_parameters": workload.num_inputs, **record}


def _architectures(dataset: "xarray.Dataset") -> "list[tuple[str, xarray.Dataset]]":
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


def _draw_work(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    """Gradient over value against the number of parameters, by operations and by time, over the band 1 to 4."""
    from jaxcalc import style

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


def _passes(dataset: "xarray.Dataset") -> dict[str, "xarray.DataArray"]:
    """Operations of the backward pass over those of the forward pass, by architecture."""
    families = dict(_architectures(dataset))
    sizes = [data.sizes[dim] for data in families.values() for dim in ("width", "depth") if dim in data.dims]
    if not sizes or min(sizes) < 3:
        raise NotJudged("needs three numbers of parameters or more")
    return {name: _relative(data.operations).sel(transform="value and grad") - 1 for name, data in families.items()}


def _spans(values: dict[str, "xarray.DataArray"]) -> str:
    return ", ".join(f"{name} {_span(value.values)}" for name, value in values.items())


def _judge_bound(dataset: "xarray.Dataset") -> Finding:
    ratios = {name: passes + 1 for name, passes in _passes(dataset).items()}
    every = [ratio.values for ratio in ratios.values()]
    return Finding(less(1.0, every) & below(every, 4.0), measured=_spans(ratios))


def _judge_band(dataset: "xarray.Dataset") -> Finding:
    passes = _passes(dataset)
    return Finding(between([values.values for values in passes.values()], 2.0, 4.0), measured=_spans(passes))


def _judge_twice(dataset: "xarray.Dataset") -> Finding:
    """Held at every count of the dense network's: within 0.3 of 2, which leaves no room for growth."""
    passes, count = _passes(dataset)["dense"], dict(_architectures(dataset))["dense"].num_parameters
    return Finding(
        close(passes, 2.0) & above(count, 1),
        measured=f"{_span(passes.values)} from {count.values.min():.0f} to {count.values.max():.0f} parameters",
    )


def _judge_order(dataset: "xarray.Dataset") -> Finding:
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


def _tabulate_work(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    rows = []
    for name, data in _architectures(dataset):
        operations, median = _relative(data.operations), _relative(_median(data))
        for index in sorted({0, data.num_parameters.size - 1}):
            both = {"transform": "value and grad"}
            rows.append(
                {
                    "architecture": name,
                    "parameters": int(data.num_parameters[index]),
                    "operations": _short(operations.sel(both)[index]),
                    "time": _short(median.sel(both)[index]),
                }
            )
    return {"Value and gradient, in evaluations of the loss": rows[:12]}


work = Part(
    WorkConfig,
    WORK_VARIABLES,
    "timed",
    _run_work,
    figures=_draw_work,
    claims={
        "gradient-at-most-four-values": _judge_bound,
        "backward-two-to-four-times-forward": _judge_band,
        "backward-about-twice-forward": _judge_twice,
        "gradient-is-order-n": _judge_order,
    },
    tables=_tabulate_work,
)


# Memory of the gradient against depth, with and without checkpoints ---------------------------------------------------


class MemoryConfig(Measured):
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
MEMORY_VARIABLES = {
    "checkpoint": Variable(("checkpoint",), "", "what the backward pass finds stored"),
    **{name: variable for name, variable in _counted("checkpoint").items() if name in _MEMORY},
}


def _run_memory(config: MemoryConfig, key: Any) -> dict[str, Any]:
    import jax

    from jaxcalc.models import classifier

    routes = {}
    for checkpoint in classifier.CHECKPOINTS:
        model = classifier.scanned(config.width, config.depth, checkpoint=checkpoint)
        workload = classifier.training_loss(key, model, batch=config.batch)
        routes[checkpoint] = (jax.grad(workload.fun), workload.arguments)
    record = _record(routes, list(routes), config)
    return {"checkpoint": np.array(list(routes)), **{name: record[name] for name in _MEMORY}}


def _deep(dataset: "xarray.Dataset") -> "xarray.Dataset | None":
    """The points along depth; of any other sweep, the first."""
    if dataset.sizes.get("depth", 1) < 2:
        return None
    return dataset.isel({dim: 0 for dim in dataset.dims if dim not in ("depth", "checkpoint", "repeat")})


def _draw_memory(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    """Memory for intermediates against depth, and what the recomputation costs in time."""
    from jaxcalc import style

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


def _judge_memory(dataset: "xarray.Dataset") -> Check:
    data = _deep(dataset)
    if data is None:
        raise NotJudged("needs several depths")
    grows = lambda checkpoint, power: slope(data["depth"], data.temporaries.sel(checkpoint=checkpoint), power)
    return grows("none", 1.0) & grows("segments", 0.5)


def _tabulate_memory(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    data = _deep(dataset)
    if data is None:
        return {}
    rows = []
    for point in (data.isel(depth=index) for index in range(data.sizes["depth"])):
        row: dict[str, Any] = {"depth": int(point["depth"])}
        for name in CHECKPOINTS:
            row[f"{name}, MB"] = _short(point.temporaries.sel(checkpoint=name) / 1e6)
            row[f"{name}, ms"] = _short(1e3 * _median(point).sel(checkpoint=name))
        rows.append(row)
    return {"Temporaries and time of the gradient": rows[:12]}


memory = Part(
    MemoryConfig,
    MEMORY_VARIABLES,
    "timed",
    _run_memory,
    figures=_draw_memory,
    claims={"forward-caches-intermediates": _judge_memory},
    tables=_tabulate_memory,
)
