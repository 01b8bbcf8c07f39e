"""What does a derivative cost by each mode of differentiation, in operations, time and memory?"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, between, close, less

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Transform = Literal["value", "jvp", "vjp", "grad", "jacfwd", "jacrev", "hessian"]
Workload = Literal[
    "curve",
    "dense layer",
    "softmax layer",
    "camera",
    "heat",
    "phase delay",
    "scores",
    "image loss",
    "training loss",
]


class Config(lab.Config):
    workload: Workload = "dense layer"
    """the map R^n -> R^m that is differentiated; the last three are of a classifier of handwritten digits"""
    inputs: int | None = pydantic.Field(None, ge=1)
    """n, or the pixels (a power of two up to 64) that the classifier sees; by default the workload's own"""
    outputs: int | None = pydantic.Field(None, ge=1)
    """m, where the workload lets it be chosen"""
    depth: int | None = pydantic.Field(None, ge=1)
    """hidden layers of the classifier, time steps of the heat equation"""
    width: int = pydantic.Field(32, ge=1)
    """units of the classifier's hidden layers"""
    batch: int = pydantic.Field(64, ge=1, le=1797)
    """images of the training loss"""
    repeats: int = pydantic.Field(7, ge=1)
    """rounds of timing; every round reads each program once"""
    min_seconds: float = pydantic.Field(1e-3, ge=0)
    """how long one reading lasts at least, in seconds"""
    run_limit: float = pydantic.Field(256.0, ge=0)
    """a program whose temporaries and outputs exceed this many MB is compiled and counted but not run"""
    transforms: tuple[Transform, ...] = ("value", "jvp", "vjp", "grad", "jacfwd", "jacrev", "hessian")
    """what is compiled; grad and hessian only where there is one output"""

    @pydantic.field_validator("transforms")
    @classmethod
    def _baseline(cls, transforms: tuple[Transform, ...]) -> tuple[Transform, ...]:
        if "value" not in transforms or len(set(transforms)) < len(transforms):
            raise ValueError("must hold 'value', which the others are compared with, and each transform once")
        return transforms


kind = "timed"

VARIABLES = {
    "transform": Variable(("transform",), "", "what is computed"),
    "num_inputs": Variable((), "", "number of inputs n", measured=False),
    "num_outputs": Variable((), "", "number of outputs m", measured=False),
    "seconds": Variable(("transform", "repeat"), "s", "run time of one call"),
    "compile_seconds": Variable(("transform",), "s", "time that XLA took to compile"),
    "operations": Variable(("transform",), "", "operations by XLA's count", measured=False),
    "bytes_accessed": Variable(("transform",), "B", "bytes read and written by XLA's count", measured=False),
    "temporaries": Variable(("transform",), "B", "memory for intermediate results", measured=False),
    "footprint": Variable(("transform",), "B", "memory for intermediate results and outputs", measured=False),
}


def _workload(config: Config, key: Any) -> Any:
    from jaxcalc.functions import workloads
    from jaxcalc.models import classifier

    if config.workload not in ("scores", "image loss", "training loss"):
        sizes = {"inputs": config.inputs, "outputs": config.outputs, "depth": config.depth}
        return workloads.make(config.workload, key, **sizes)
    pixels = config.inputs or 64
    model = classifier.make("dense", width=config.width, depth=config.depth or 1, pixels=pixels)
    match config.workload:
        case "scores":
            return classifier.scores(key, model, pixels)
        case "image loss":
            return classifier.image_loss(key, model, pixels)
        case _:
            return classifier.training_loss(key, model, batch=config.batch, pixels=pixels)


def _routes(workload: Any, transforms: Sequence[Transform]) -> dict[str, Any]:
    """Every transform of a workload as a program of its arguments; directions are arguments too."""
    import jax

    fun, x, constants = workload.fun, workload.x, workload.constants

    def ones(like):
        return jax.device_put(np.ones(like.shape, like.dtype))

    direction = jax.tree.map(ones, x)
    cotangent = jax.tree.map(ones, jax.eval_shape(fun, x, *constants))

    def jvp(x, direction, *constants):
        return jax.jvp(lambda x: fun(x, *constants), (x,), (direction,))

    def vjp(x, cotangent, *constants):
        out, pull = jax.vjp(lambda x: fun(x, *constants), x)
        return out, pull(cotangent)

    def scalar(x, *constants):
        return fun(x, *constants).reshape(())

    plain = (x, *constants)
    routes: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "value": (fun, plain),
        "jvp": (jvp, (x, direction, *constants)),
        "vjp": (vjp, (x, cotangent, *constants)),
        "jacfwd": (jax.jacfwd(fun), plain),
        "jacrev": (jax.jacrev(fun), plain),
    }
    if workload.num_outputs == 1:
        routes |= {"grad": (jax.grad(scalar), plain), "hessian": (jax.hessian(scalar), plain)}
    return {name: routes[name] for name in transforms if name in routes}


def run(config: Config, key: Any) -> dict[str, Any]:
    from jaxcalc.programs.survey import survey

    workload = _workload(config, key)
    return {
        "transform": np.array(config.transforms),
        "num_inputs": workload.num_inputs,
        "num_outputs": workload.num_outputs,
        **survey(
            _routes(workload, config.transforms),
            config.transforms,
            repeats=config.repeats,
            min_seconds=config.min_seconds,
            run_limit=1e6 * config.run_limit,
        ),
    }


def _median(data: "xarray.Dataset") -> "xarray.DataArray":
    return data.seconds.median("repeat", skipna=False)


def _relative(values: "xarray.DataArray") -> "xarray.DataArray":
    """In units of one evaluation of the function."""
    return values / values.sel(transform="value")


def _slices(dataset: "xarray.Dataset") -> list[tuple[str, str, "xarray.Dataset"]]:
    """What to draw against a size: (title, the size's axis, the points of one line)."""
    axes = [axis for axis in ("inputs", "outputs") if dataset.sizes.get(axis, 1) > 1]
    if "case" in dataset.dims:
        return [(str(case), axis, dataset.sel(case=case)) for case in dataset["case"].values[:3] for axis in axes]
    if len(axes) < 2:
        return [("", axis, dataset) for axis in axes]
    found = []
    if 1 in dataset["outputs"]:
        found.append((r"one output: $\mathbb{R}^n \to \mathbb{R}$", "inputs", dataset.sel(outputs=1)))
    for axis, other, symbol, word in (("inputs", "outputs", "m", "outputs"), ("outputs", "inputs", "n", "inputs")):
        middle = dataset[other].values[dataset.sizes[other] // 2]
        found.append((f"${symbol} = {middle}$ {word}", axis, dataset.sel({other: middle})))
    return found


def _line(data: "xarray.Dataset", axis: str) -> "xarray.Dataset":
    """The points along one axis; of any other sweep, the first."""
    return data.isel({dim: 0 for dim in data.dims if dim not in (axis, "transform", "repeat")})


def figures(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    figures = {}
    slices = _slices(dataset)
    if slices:
        figures["crossing"] = _draw_crossing(slices)
    if "case" not in dataset.dims and min(dataset.sizes.get(axis, 1) for axis in ("inputs", "outputs")) > 2:
        figures["plane"] = _draw_plane(dataset)
    if not slices and dataset.sizes.get("case", 1) > 1:
        figures["workloads"] = _draw_workloads(dataset)
    return figures


_SHOWN = {
    "value": ("value", "one evaluation of $f$"),
    "jacfwd": ("forward", "Jacobian, forward mode"),
    "jacrev": ("reverse", "Jacobian, reverse mode"),
    "hessian": ("forward-over-reverse", "Hessian"),
}


def _draw_crossing(slices: "list[tuple[str, str, xarray.Dataset]]") -> "Figure":
    """Operations above and time below against a size, one column per slice."""
    from jaxcalc import style

    wide = len(slices) > 1
    figure, panels = style.subplots(
        2, len(slices), width="page" if wide else "column", height=4.9, squeeze=False, sharex="col", sharey="row"
    )
    for (title, axis, data), (upper, lower) in zip(slices, panels.T):
        data, size = _line(data, axis), "num_inputs" if axis == "inputs" else "num_outputs"
        _draw_counts(upper, data, size)
        _draw_times(lower, data, size)
        upper.set_title(title)
        lower.set_xlabel(f"{axis} ${'n' if axis == 'inputs' else 'm'}$")
        # A tick at every size, as far as the labels leave room.
        ticks = [data[size].values[0]]
        ticks += [x for x in data[size].values if x >= 1.8 * ticks[-1] and not ticks.append(x)]
        ticks = sorted(set(ticks))
        lower.set_xticks(ticks, [f"{x:,}".replace(",", "\u2009") for x in ticks])
        lower.minorticks_off()
    for panel in panels[:, 0]:
        panel.set_ylim(top=5 * panel.get_ylim()[1])  # room for what stands in the corner
    panels[0, 0].set_ylabel("operations, in evaluations of $f$")
    panels[1, 0].set_ylabel("time (s)")
    handles = {h.get_label(): h for panel in panels.ravel() for h in panel.get_legend_handles_labels()[0]}
    order = [label for _, label in _SHOWN.values() if label in handles]
    order += [label for label in handles if label not in order]
    figure.legend([handles[label] for label in order], order, loc="outside lower center", ncols=3 if wide else 1)
    if wide:
        style.panel_labels(panels)
    figure.set_label(
        "Above: operations that XLA counts, in evaluations of the function; below: medians of time with "
        "quartiles. A star marks where the modes cross."
    )
    return figure


def _present(values: "xarray.DataArray") -> list[str]:
    """The transforms that have at least two points to draw a line through."""
    names = [name for name in _SHOWN if name in values.transform]
    return [name for name in names if int(np.isfinite(values.sel(transform=name)).sum()) > 1]


def _draw_counts(panel: "Axes", data: "xarray.Dataset", size: str) -> None:
    """Operations by XLA's count, and dashed what that many single passes add up to."""
    from jaxcalc import style

    x, operations = data[size].values, _relative(data.operations)
    for name in _present(operations):
        look, label = _SHOWN[name]
        panel.plot(x, operations.sel(transform=name), **style.method(look, label=label))
    for single, passes in (("jvp", "num_inputs"), ("vjp", "num_outputs")):
        if single in data.transform:
            theory = 1.0 + data[passes] * (operations.sel(transform=single) - 1.0)
            panel.plot(x, theory, **{**style.THEORY, "zorder": 3}, label="theory: one pass per input or output")
    panel.set(xscale="log", yscale="log")
    _mark_crossing(panel, data, operations, size, tie=1.0)


def _draw_times(panel: "Axes", data: "xarray.Dataset", size: str) -> None:
    """Median run times with their quartiles."""
    from jaxcalc import style

    x, median = data[size].values, _median(data)
    low, high = (data.seconds.quantile(q, "repeat", skipna=False) for q in (0.25, 0.75))
    for name in _present(median):
        look, label = _SHOWN[name]
        middle = median.sel(transform=name)
        bars = np.clip([middle - low.sel(transform=name), high.sel(transform=name) - middle], 0, None)
        panel.errorbar(x, middle, bars, elinewidth=0.8, **style.method(look, label=label))
    panel.set(xscale="log", yscale="log")
    _mark_crossing(panel, data, median, size, tie=1.25)


def _mark_crossing(panel: "Axes", data: "xarray.Dataset", cost: "xarray.DataArray", size: str, tie: float) -> None:
    """A star where forward and reverse cost the same; where they never do, how far apart they end."""
    from jaxcalc import measure

    if not {"jacfwd", "jacrev"} <= set(_present(cost)):
        return
    x, symbol = data[size].values, "n" if size == "num_inputs" else "m"
    forward, reverse = (cost.sel(transform=name).values for name in ("jacfwd", "jacrev"))
    at = measure.crossing(x, forward, reverse, tie=tie)
    if np.isfinite(at):
        height = np.exp(np.interp(np.log(at), np.log(x), np.log(forward)))
        panel.plot(at, height, "*", color="black", markersize=9, zorder=4)
        text = f"crossing at ${symbol}$ = {at:.3g}"
    else:
        text = f"forward / reverse\n= {forward[-1] / reverse[-1]:.3g} at ${symbol}$ = {x[-1]}"
    panel.annotate(text, (0.03, 0.98), xycoords="axes fraction", va="top", fontsize=7.5)


def _draw_plane(dataset: "xarray.Dataset") -> "Figure":
    """Forward over reverse for every n and m: which mode is cheaper, and by how much."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    from jaxcalc import style

    data = dataset.isel({dim: 0 for dim in dataset.dims if dim not in ("inputs", "outputs", "transform", "repeat")})
    data = data.transpose("inputs", "outputs", ...)
    ratios = {
        "operations": data.operations.sel(transform="jacfwd") / data.operations.sel(transform="jacrev"),
        "time": _median(data).sel(transform="jacfwd") / _median(data).sel(transform="jacrev"),
    }
    colors = LinearSegmentedColormap.from_list("modes", [style.COLORS["blue"], "#F7F7F7", style.COLORS["vermilion"]])
    reach = float(np.nanmax(np.exp(abs(np.log(ratios["operations"])))))
    figure, panels = style.subplots(1, 2, width="page", height=3.2, sharey=True)
    shade = ScalarMappable(LogNorm(1 / reach, reach), colors)
    for panel, (word, ratio) in zip(panels, ratios.items()):
        panel.pcolormesh(ratio.values, cmap=shade.cmap, norm=shade.norm, edgecolors="white", linewidth=0.5)
        for (row, column), value in np.ndenumerate(ratio.values):
            strong = abs(np.log(value)) > 0.6 * np.log(reach)
            text = f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
            color = "white" if strong else "black"
            panel.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=6.5, color=color)
        panel.set_xticks(np.arange(ratio.sizes["outputs"]) + 0.5, [str(v) for v in ratio["outputs"].values])
        panel.set_yticks(np.arange(ratio.sizes["inputs"]) + 0.5, [str(v) for v in ratio["inputs"].values])
        panel.tick_params(length=0)
        panel.grid(False)
        panel.spines[:].set_visible(False)
        panel.set(xlabel="outputs $m$", title=word)
    panels[0].set_ylabel("inputs $n$")
    bar = figure.colorbar(shade, ax=panels, aspect=30)
    bar.set_label("forward / reverse  (blue: forward is cheaper)")
    bar.outline.set_visible(False)
    style.panel_labels(panels)
    figure.set_label("Cost of the Jacobian of a dense layer by forward mode over that by reverse mode.")
    return figure


def _draw_workloads(dataset: "xarray.Dataset") -> "Figure":
    """Operations, time and memory of every transform, one row per workload."""
    from jaxcalc import style

    marks = {"jvp": "jvp", "vjp": "vjp", **{name: look for name, (look, _) in _SHOWN.items() if name != "value"}}
    data = dataset.isel({dim: 0 for dim in dataset.dims if dim not in ("case", "transform", "repeat")})
    data = data.sortby(data.num_outputs / data.num_inputs, ascending=True)
    rows = np.arange(data.sizes["case"])
    quantities = {
        "operations / value": _relative(data.operations),
        "time / value": _relative(_median(data)),
        "memory (bytes)": data.footprint,
    }
    figure, panels = style.subplots(1, 3, width="page", height=0.36 * len(rows) + 1.1, sharey=True)
    for panel, (title, values) in zip(panels, quantities.items()):
        modes = [values.sel(transform=name) for name in ("jacfwd", "jacrev") if name in data.transform]
        panel.hlines(rows, np.fmin.reduce(modes), np.fmax.reduce(modes), color="#BBBBBB", linewidth=1.0, zorder=1)
        for name in (name for name in marks if name in data.transform):
            look = style.method(marks[name], label=name, linestyle="", markersize=5)
            panel.plot(values.sel(transform=name).where(lambda v: v > 0), rows, **look)
        panel.set(xscale="log", xlabel=title)
        panel.grid(axis="y", visible=False)
        for row in rows[::2]:
            panel.axhspan(row - 0.5, row + 0.5, color="#F5F5F5", linewidth=0, zorder=0)
    for row in rows[~np.isfinite(_median(data).sel(transform="jacrev").values)] if "jacrev" in data.transform else []:
        panels[1].annotate(
            "jacrev: not run",
            (0.97, row),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            ha="right",
            va="center",
            color=style.COLORS["vermilion"],
        )
    labels = [
        f"{case}\n{int(n):,} → {int(m):,}".replace(",", "\u2009")
        for case, n, m in zip(data["case"].values, data.num_inputs.values, data.num_outputs.values)
    ]
    panels[0].set_yticks(rows, labels)
    panels[0].set_ylim(-0.5, len(rows) - 0.5)
    for panel in panels:
        panel.tick_params(axis="y", length=0)
    style.panel_labels(panels)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    figure.set_label(
        "Each derivative relative to one evaluation of the function, and the memory it needs beyond its arguments."
    )
    return figure


def tables(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    """Forward beside reverse, at the first, middle and last value of every axis."""
    thinned = {
        dim: sorted({0, size // 2, size - 1}) if size > 4 and dim != "case" else list(range(size))
        for dim, size in dataset.sizes.items()
        if dim not in ("transform", "repeat")
    }
    data, rows = dataset.isel(thinned), []
    dims = list(thinned)
    for index in np.ndindex(*(data.sizes[dim] for dim in dims)):
        point = data.isel(dict(zip(dims, index)))
        row: dict[str, Any] = {"workload": str(point["case"].item())} if "case" in dims else {}
        row |= {"n": int(point.num_inputs), "m": int(point.num_outputs)}
        operations, seconds = _relative(point.operations), _median(point)
        for name, word in (("jacfwd", "forward"), ("jacrev", "reverse")):
            if name in point.transform:
                row[f"{word} ops"] = _short(operations.sel(transform=name))
                row[f"{word} ms"] = _short(1e3 * seconds.sel(transform=name))
                row[f"{word} MB"] = _short(point.footprint.sel(transform=name) / 1e6)
        rows.append(row)
    return {"The Jacobian by either mode: operations in evaluations of f, time, memory beyond arguments": rows[:12]}


def _short(value: Any) -> float:
    """Three significant digits."""
    return float(f"{float(value):.3g}")


def _plane(dataset: "xarray.Dataset", least: int = 8) -> "xarray.Dataset":
    """The plane of inputs and outputs, of any other sweep the first, from ``least`` of each on.

    Below 8 inputs or outputs the one evaluation that every program contains hides the growth.
    """
    if "case" in dataset.dims or min(dataset.sizes.get(dim, 1) for dim in ("inputs", "outputs")) < 3:
        raise NotJudged("needs three sizes or more of inputs and of outputs")
    data = dataset.isel({d: 0 for d in dataset.dims if d not in ("inputs", "outputs", "transform", "repeat")})
    data = data.sel(inputs=data["inputs"] >= least, outputs=data["outputs"] >= least)
    if min(data.sizes["inputs"], data.sizes["outputs"]) < 2:
        raise NotJudged(f"needs two sizes of {least} or more")
    return data


def _growth(data: "xarray.Dataset", transform: str, axis: str) -> np.ndarray:
    """Exponents of a transform's operations, in evaluations, along one axis, for every value of the other."""
    ratio = _relative(data.operations).sel(transform=transform).transpose(axis, ...)
    return np.polyfit(np.log(data[axis].values), np.log(ratio.values), 1)[0]


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def _judge_growth(transform: str, own: str, other: str) -> Callable[[Any], Finding]:
    def judge(dataset: "xarray.Dataset") -> Finding:
        data = _plane(dataset)
        rises, stays = _growth(data, transform, own), _growth(data, transform, other)
        return Finding(
            close(rises, 1.0) & close(stays, 0.0), measured=f"{_span(rises)} and {_span(stays)}", figure="crossing"
        )

    return judge


def _judge_corners(dataset: "xarray.Dataset") -> Finding:
    data = _plane(dataset, least=1)
    ratio = data.operations.sel(transform="jacfwd") / data.operations.sel(transform="jacrev")
    few, square, many = (ratio.isel(inputs=row, outputs=column) for row, column in ((0, -1), (-1, -1), (-1, 0)))
    return Finding(
        less(few, 1.0) & between(square, 0.5, 2.0) & less(1.0, many),
        measured=", ".join(f"{int(p['inputs'])}->{int(p['outputs'])}: {float(p):.4g}" for p in (few, square, many)),
        figure="plane",
    )


def _judge_passes(dataset: "xarray.Dataset") -> Finding:
    scalar = _plane(dataset, least=1).sel(outputs=[1], inputs=_plane(dataset)["inputs"])
    exponents = {"forward_exponent": "jacfwd", "reverse_exponent": "grad"}
    found = {name: _growth(scalar, transform, "inputs") for name, transform in exponents.items()}
    return Finding(close(found), figure="crossing")


def _judge_modes_by_case(dataset: "xarray.Dataset") -> Finding:
    """Where a size is swept for several workloads: forward's cost rises with the inputs, reverse's stays."""
    if "case" not in dataset.dims or dataset.sizes.get("inputs", 1) < 3:
        raise NotJudged("needs cases, each with three sizes of inputs or more")
    data = dataset.isel({dim: 0 for dim in dataset.dims if dim not in ("case", "inputs", "transform", "repeat")})
    ratio, last = _relative(data.operations), data.num_inputs.isel(inputs=-1)
    forward, reverse = (ratio.sel(transform=name).transpose("inputs", "case") for name in ("jacfwd", "jacrev"))
    rises = less(forward[:-1].values, forward[1:].values) & less(0.5, forward[-1] / last)
    ends = ((str(case), forward.sel(case=case).values, reverse.sel(case=case).values) for case in data["case"].values)
    return Finding(
        rises & below(reverse / reverse[0], 1.1) & less(reverse[-1], forward[-1]),
        measured="; ".join(
            f"{case}: forward {f[0]:.3g} to {f[-1]:.4g}, reverse {r[0]:.3g} to {r[-1]:.3g} evaluations"
            for case, f, r in ends
        ),
        figure="crossing",
    )


def _cases(dataset: "xarray.Dataset", which: Callable[[Any, Any], Any], what: str) -> "xarray.Dataset":
    """The workloads whose inputs and outputs are as asked for."""
    data = dataset.isel({dim: 0 for dim in dataset.dims if dim not in ("case", "transform", "repeat")})
    chosen = which(data.num_inputs.values, data.num_outputs.values)
    if "case" not in data.dims or not chosen.any():
        raise NotJudged(f"needs a workload of {what}")
    return data.isel(case=chosen)


def _judge_products(dataset: "xarray.Dataset") -> Finding:
    data = _cases(dataset, lambda n, m: (n >= 2000) & (m >= 2000), "2000 inputs and outputs or more")
    vjp, jacrev = (data.footprint.sel(transform=name) for name in ("vjp", "jacrev"))
    return Finding(
        above(jacrev / vjp, 500),
        limits=above(jacrev, 4.0 * data.num_inputs * data.num_outputs),
        measured=", ".join(
            f"{float(j):.3g} B / {float(v):.3g} B = {float(j / v):.0f} ({case})"
            for case, v, j in zip(data["case"].values, vjp, jacrev)
        ),
    )


def _judge_wrong_mode(dataset: "xarray.Dataset") -> Finding:
    data = _cases(dataset, lambda n, m: m >= 1000 * n, "a thousand times more outputs than inputs")
    forward, reverse = (data.sel(transform=name) for name in ("jacfwd", "jacrev"))
    point, other = reverse.isel(case=0), forward.isel(case=0)
    return Finding(
        less(1e3 * forward.operations, reverse.operations) & less(1e3 * forward.footprint, reverse.footprint),
        measured=f"{float(point.operations) / 1e6:.4g} against {float(other.operations) / 1e6:.3g} million operations; "
        f"{float(point.footprint) / 1e6:.0f} against {float(other.footprint) / 1e6:.3g} MB",
    )


claims = {
    "forward-cost-grows-with-inputs": _judge_growth("jacfwd", "inputs", "outputs"),
    "reverse-cost-grows-with-outputs": _judge_growth("jacrev", "outputs", "inputs"),
    "forward-wins-few-in-reverse-wins-many-in": _judge_corners,
    "forward-mode-needs-n-passes": _judge_passes,
    "forward-pays-per-input": _judge_modes_by_case,
    "vjp-never-materialises-jacobian": _judge_products,
    "wrong-mode-on-unequal-shapes": _judge_wrong_mode,
}
