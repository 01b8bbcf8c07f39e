"""What does a derivative cost by each mode of differentiation, in operations, time and memory?"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc import lab
from jaxcalc.lab import Claim, Variable

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
    for (title, axis, data), (above, below) in zip(slices, panels.T):
        data, size = _line(data, axis), "num_inputs" if axis == "inputs" else "num_outputs"
        _draw_counts(above, data, size)
        _draw_times(below, data, size)
        above.set_title(title)
        below.set_xlabel(f"{axis} ${'n' if axis == 'inputs' else 'm'}$")
        # A tick at every size, as far as the labels leave room.
        ticks = [data[size].values[0]]
        ticks += [x for x in data[size].values if x >= 1.8 * ticks[-1] and not ticks.append(x)]
        ticks = sorted(set(ticks))
        below.set_xticks(ticks, [f"{x:,}".replace(",", "\u2009") for x in ticks])
        below.minorticks_off()
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


def claims(dataset: "xarray.Dataset") -> list[Claim]:
    if {"jacfwd", "jacrev"} - set(dataset.transform.values):
        return []
    if "case" in dataset.dims:
        return [*_judge_modes_by_case(dataset), *_judge_workloads(dataset)]
    if min(dataset.sizes.get("inputs", 1), dataset.sizes.get("outputs", 1)) > 2:
        return _judge_grid(_line_free(dataset))
    return []


def _line_free(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """The plane of inputs and outputs; of any other sweep, the first."""
    return dataset.isel({d: 0 for d in dataset.dims if d not in ("inputs", "outputs", "transform", "repeat")})


def _growth(data: "xarray.Dataset", transform: str, axis: str) -> np.ndarray:
    """Exponents of a transform's operations, in evaluations, along one axis, for every value of the other."""
    from jaxcalc import measure

    other = "outputs" if axis == "inputs" else "inputs"
    ratio = _relative(data.operations).sel(transform=transform)
    return np.array([measure.exponent(data[axis], ratio.sel({other: value})) for value in data[other].values])


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def _judge_grid(data: "xarray.Dataset") -> list[Claim]:
    from jaxcalc import measure

    # Below 8 inputs or outputs the one evaluation that every program contains hides the growth.
    grown = data.sel(inputs=data["inputs"] >= 8, outputs=data["outputs"] >= 8)
    claims = []
    if min(grown.sizes["inputs"], grown.sizes["outputs"]) > 1:
        for mode, transform, own, other in (
            ("forward", "jacfwd", "inputs", "outputs"),
            ("reverse", "jacrev", "outputs", "inputs"),
        ):
            rises, stays = _growth(grown, transform, own), _growth(grown, transform, other)
            claims.append(
                Claim(
                    id=f"{mode}-cost-grows-with-{own}",
                    statement=f"A Jacobian by {mode} mode costs evaluations in proportion to its {own}, "
                    f"whatever the number of {other}.",
                    stated=bool((abs(rises - 1) <= 0.2).all() and (abs(stays) <= 0.2).all()),
                    expected=f"exponents 1 in the {own} and 0 in the {other}, within 0.2",
                    measured=f"{_span(rises)} and {_span(stays)}",
                    figure="crossing",
                )
            )
        cases = {"few in": (0, -1), "square": (-1, -1), "many in": (-1, 0)}
        ratio = data.operations.sel(transform="jacfwd") / data.operations.sel(transform="jacrev")
        found = {}
        for row, column in cases.values():
            point = ratio.isel(inputs=row, outputs=column)
            found[f"{int(point['inputs'])}->{int(point['outputs'])}"] = float(point)
        few, square, many = found.values()
        claims.append(
            Claim(
                id="forward-wins-few-in-reverse-wins-many-in",
                statement="Forward mode pays for few-in/many-out maps, reverse mode for many-in/few-out maps.",
                stated=few < 1 < many and 0.5 < square < 2,
                expected="forward / reverse below 1, near 1, above 1",
                measured=", ".join(f"{shape}: {value:.4g}" for shape, value in found.items()),
                figure="plane",
            )
        )
    if 1 in data["outputs"] and "grad" in data.transform and grown.sizes["inputs"] > 1:
        scalar = _relative(data.sel(outputs=1, inputs=grown["inputs"]).operations)
        slopes = {name: measure.exponent(grown["inputs"], scalar.sel(transform=name)) for name in ("jacfwd", "grad")}
        claims.append(
            Claim(
                id="forward-mode-needs-n-passes",
                statement="Forward mode needs n passes for a full gradient, reverse mode one backward pass.",
                stated=abs(slopes["jacfwd"] - 1) <= 0.2 and abs(slopes["grad"]) <= 0.2,
                expected="exponents 1 and 0 in n, within 0.2",
                measured=f"{slopes['jacfwd']:.3f} and {slopes['grad']:.3f}",
                figure="crossing",
                note="With one output a pass is so cheap that building the n directions costs as much as the passes.",
            )
        )
    return claims


def _judge_modes_by_case(dataset: "xarray.Dataset") -> list[Claim]:
    """Where a size is swept for several workloads: forward's cost rises with the inputs, reverse's stays."""
    from jaxcalc import measure

    claims = []
    if dataset.sizes.get("inputs", 1) < 3:
        return claims
    ratio = _relative(dataset.operations)
    for case in dataset["case"].values:
        data = _line(dataset.sel(case=case), "inputs")
        n = data.num_inputs.values
        forward, reverse = (ratio.sel(case=case, transform=name).squeeze() for name in ("jacfwd", "jacrev"))
        claims.append(
            Claim(
                id=f"forward-pays-per-input: {case}",
                statement=f"By forward mode every further input costs evaluations, by reverse mode none: the {case}.",
                stated=bool(
                    measure.exponent(n, reverse) <= 0.1
                    and (np.diff(forward) > 0).all()
                    and float(forward[-1]) > 0.5 * n[-1]
                    and float(forward[-1]) > float(reverse[-1])
                ),
                expected=f"at n = {n[-1]} forward above {n[-1] / 2:.0f} evaluations; reverse as at n = {n[0]}",
                measured=f"forward {float(forward[0]):.3g} to {float(forward[-1]):.4g}, "
                f"reverse {float(reverse[0]):.3g} to {float(reverse[-1]):.3g} evaluations",
                figure="crossing",
            )
        )
    return claims


def _judge_workloads(dataset: "xarray.Dataset") -> list[Claim]:
    """What single workloads show: the memory of products against Jacobians, and of the wrong mode."""
    claims = []
    data = dataset.isel({dim: 0 for dim in dataset.dims if dim not in ("case", "transform", "repeat")})
    n, m = data.num_inputs, data.num_outputs
    wide = data.where((n >= 2000) & (m >= 2000), drop=True)
    if "vjp" in data.transform and wide.sizes["case"]:
        memory = wide.isel(case=0).footprint
        vjp, jacrev = float(memory.sel(transform="vjp")), float(memory.sel(transform="jacrev"))
        claims.append(
            Claim(
                id="vjp-never-materialises-jacobian",
                statement="Frameworks push gradients back with VJPs and never build the Jacobian.",
                stated=jacrev / vjp > 500,
                limits=jacrev >= 4 * float(wide.num_inputs[0] * wide.num_outputs[0]),
                expected="the memory of jacrev over that of vjp above 500",
                measured=f"{jacrev:.3g} B / {vjp:.3g} B = {jacrev / vjp:.0f} ({wide['case'].values[0]})",
                expects="qualified",
                figure="workloads",
                note="Never is the default only: jacfwd, jacrev and hessian build the Jacobian on request.",
            )
        )
    unequal = data.where(m >= 1000 * n, drop=True)
    if unequal.sizes["case"]:
        point = unequal.isel(case=0)
        forward, reverse = (point.sel(transform=name) for name in ("jacfwd", "jacrev"))
        claims.append(
            Claim(
                id="wrong-mode-on-unequal-shapes",
                statement="On a map of few inputs and very many outputs the wrong mode costs a thousandfold, "
                "in operations and in memory.",
                stated=bool(
                    reverse.operations > 1e3 * forward.operations and reverse.footprint > 1e3 * forward.footprint
                ),
                expected="reverse / forward above 1000 in both",
                measured=f"{float(reverse.operations) / 1e6:.4g} against {float(forward.operations) / 1e6:.3g} million "
                f"operations; {float(reverse.temporaries) / 1e6:.0f} against {float(forward.temporaries) / 1e6:.2g} MB "
                f"of temporaries for an output of {float(forward.footprint - forward.temporaries) / 1e6:.3g} MB",
                figure="workloads",
            )
        )
    return claims
