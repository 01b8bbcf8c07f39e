"""What does a derivative cost by each mode of differentiation, in operations, time and memory?"""

from typing import Any, Literal, get_args

import numpy as np
import pydantic

from experiments._survey import Measured, median, points, quartiles, relative, survey, surveyed
from jaxcalc import measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, between, close, digits, less

kind = "timed"
dtype = "float32"

Transform = Literal["value", "jvp", "vjp", "grad", "jacfwd", "jacrev", "hessian"]
_Map = Literal["curve", "dense layer", "softmax layer", "camera", "heat", "phase delay"]
_OfClassifier = Literal["scores", "image loss", "training loss"]
Workload = Literal[_Map, _OfClassifier]


class Config(Measured):
    workload: Workload = "dense layer"
    """the map R^n -> R^m that is differentiated; the last three are of a classifier of digits"""
    inputs: int | None = pydantic.Field(None, ge=1)
    """n, or the pixels (a power of two up to 64) that the classifier sees; by default its own"""
    outputs: int | None = pydantic.Field(None, ge=1)
    """m, where the workload lets it be chosen"""
    depth: int | None = pydantic.Field(None, ge=1)
    """hidden layers of the classifier, time steps of the heat equation"""
    width: int = pydantic.Field(32, ge=1)
    """units of the classifier's hidden layers"""
    batch: int = pydantic.Field(64, ge=1, le=1797)
    """images of the training loss"""
    transforms: tuple[Transform, ...] = ("value", "jvp", "vjp", "grad", "jacfwd", "jacrev", "hessian")
    """what is compiled; grad and hessian only where there is one output"""

    @pydantic.field_validator("transforms")
    @classmethod
    def _baseline(cls, transforms):
        if "value" not in transforms or len(set(transforms)) < len(transforms):
            raise ValueError("must hold 'value', with which it compares, and each transform once")
        return transforms


VARIABLES = {
    "transform": Variable(("transform",), "", "what is computed"),
    "num_inputs": Variable((), "", "number of inputs n", measured=False),
    "num_outputs": Variable((), "", "number of outputs m", measured=False),
    **surveyed("transform"),
}


def _workload(config, key):
    from jaxcalc.models import classifier
    from jaxcalc.scenarios import workloads

    if config.workload in get_args(_Map):
        sizes = {"inputs": config.inputs, "outputs": config.outputs, "depth": config.depth}
        return workloads.make(config.workload, key, **sizes)
    pixels = config.inputs or 64
    model = classifier.make("dense", width=config.width, depth=config.depth or 1, pixels=pixels)
    if config.workload == "training loss":
        return classifier.training_loss(key, model, batch=config.batch, pixels=pixels)
    of_image = classifier.scores if config.workload == "scores" else classifier.image_loss
    return of_image(key, model, pixels)


def run(config, key):
    from jaxcalc.scenarios import workloads

    workload = _workload(config, key)
    routes = workloads.transforms(workload)
    chosen = {name: routes[name] for name in config.transforms if name in routes}
    return {
        "transform": np.array(config.transforms),
        "num_inputs": workload.num_inputs,
        "num_outputs": workload.num_outputs,
        **survey(chosen, config.transforms, config),
    }


def figures(dataset):
    found, slices = {}, _slices(dataset)
    if slices:
        found["crossing"] = _draw_crossing(slices)
    if "case" not in dataset.dims and _fewest(dataset) > 2:
        found["plane"] = _draw_plane(points(dataset, "inputs", "outputs"))
    if not slices and dataset.sizes.get("case", 1) > 1:
        found["workloads"] = _draw_workloads(points(dataset, "case"))
    return found


def _fewest(dataset):
    return min(dataset.sizes.get(axis, 1) for axis in ("inputs", "outputs"))


def _slices(dataset):
    """What to draw against a size: (title, its axis, the points of one line)."""
    axes = [axis for axis in ("inputs", "outputs") if dataset.sizes.get(axis, 1) > 1]
    if "case" in dataset.dims:
        picks = [(str(case), axis, {"case": case}) for case in dataset["case"].values[:3] for axis in axes]
    elif len(axes) < 2:
        picks = [("", axis, {}) for axis in axes]
    else:
        n, m = (dataset[axis].values[dataset.sizes[axis] // 2] for axis in axes)
        scalar = [(r"one output: $\mathbb{R}^n \to \mathbb{R}$", "inputs", {"outputs": 1})]
        picks = scalar if 1 in dataset["outputs"] else []
        picks += [(f"$m = {m}$ outputs", "inputs", {"outputs": m}), (f"$n = {n}$ inputs", "outputs", {"inputs": n})]
    return [(title, axis, points(dataset.sel(where), axis)) for title, axis, where in picks]


_LABELS = {
    "value": "one evaluation of $f$",
    "jacfwd": "Jacobian, forward mode",
    "jacrev": "Jacobian, reverse mode",
    "hessian": "Hessian",
}


def _draw_crossing(slices):
    """Operations above and time below against a size, one column per slice."""
    wide = len(slices) > 1
    width = "page" if wide else "column"
    figure, panels = style.subplots(2, len(slices), width=width, height=4.9, sharex="col", sharey="row", squeeze=False)
    for column, (title, axis, data) in enumerate(slices):
        symbol = "n" if axis == "inputs" else "m"
        data = data.assign_coords({symbol: (axis, data[f"num_{axis}"].values)})
        counts = relative(data.operations)
        for panel, values in zip(panels[:, column], (counts, data.seconds)):
            known = np.isfinite(values).sum(axis) > 1  # two points or more, to draw a line through
            drawn = [n for n in _LABELS if n in values.transform and known.sel(transform=n).all()]
            style.chart(
                values.sel(transform=drawn),
                symbol,
                hue="transform",
                looks={name: {"label": label} for name, label in _LABELS.items()},
                axes=panel,
                log="xy",
                legend=None,
                xlabel="" if values is counts else f"{axis} ${symbol}$",
                ylabel="",
            )
            _tell_crossing(panel, values, data[symbol], symbol)
        for single, passes in (("jvp", "num_inputs"), ("vjp", "num_outputs")):
            if single in data.transform:
                theory = 1 + data[passes] * (counts.sel(transform=single) - 1)
                look = {**style.THEORY, "zorder": 3, "label": "theory: one pass per input or output"}
                panels[0, column].plot(data[symbol], theory, **look)
        panels[0, column].set_title(title)
        _tick_at(panels[1, column], data[symbol].values)
    for panel, word in zip(panels[:, 0], ("operations, in evaluations of $f$", "time (s)")):
        panel.set_ylim(top=6 * panel.get_ylim()[1])  # room for what stands in the corner
        panel.set_ylabel(word)
    handles = {h.get_label(): h for p in panels.flat for h in p.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3 if wide else 1)
    figure.set_label(
        "Above: operations read off the programs; a star marks where the modes cost the same. Below: "
        "medians of time with quartiles; grey: where the quartiles of forward over reverse do not "
        "tell which is faster."
    )
    return figure


def _tick_at(panel, sizes):
    """A tick at every size, as far as the labels leave room."""
    ticks = [sizes[0]]
    for size in sizes:
        if size >= 1.8 * ticks[-1]:
            ticks.append(size)
    panel.set_xticks(ticks, [f"{x:,}".replace(",", "\u2009") for x in ticks])
    panel.minorticks_off()


def _tell_crossing(panel, cost, x, symbol):
    """Where forward and reverse cost the same; where they never do, how far apart they end."""
    if not {"jacfwd", "jacrev"} <= set(cost.transform.values.tolist()):
        return
    forward, reverse = (cost.sel(transform=name) for name in ("jacfwd", "jacrev"))
    low, _, high = quartiles(forward / reverse)
    if "repeat" not in cost.dims and np.isfinite(at := measure.crossing(x, forward, reverse)):
        height = np.exp(np.interp(np.log(at), np.log(x), np.log(forward)))
        panel.plot(at, height, "*", color="black", markersize=9, zorder=4)
        text = f"crossing at ${symbol}$ = {at:.3g}"
    elif np.isfinite(span := measure.bracket(x, low, high)).all():
        panel.axvspan(*span, color="#EDEDED", linewidth=0, zorder=0)
        text = f"crossing between\n${symbol}$ = {span[0]:g} and {span[1]:g}"
    else:
        ends = dict.fromkeys(f"{float(end[-1]):.3g}" for end in (low, high))
        text = f"forward / reverse\n= {' to '.join(ends)} at ${symbol}$ = {int(x[-1])}"
    panel.annotate(text, (0.03, 0.98), xycoords="axes fraction", va="top", fontsize=7.5)


def _draw_plane(data):
    """Forward over reverse for every n and m: which mode is cheaper, and by how much."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_rgba

    ratios = {
        word: values.sel(transform="jacfwd") / values.sel(transform="jacrev")
        for word, values in (("operations", data.operations), ("time", data.seconds))
    }
    reach = float(np.exp(abs(np.log(ratios["operations"])).max()))
    colors = LinearSegmentedColormap.from_list("modes", [style.COLORS["blue"], "#F7F7F7", style.COLORS["vermilion"]])
    figure, panels = style.subplots(1, 2, width="page", height=3.2, sharey=True)
    shade = ScalarMappable(LogNorm(1 / reach, reach), colors)
    for panel, (word, ratio) in zip(panels, ratios.items()):
        low, middle, high = (end.transpose("inputs", "outputs") for end in quartiles(ratio))
        faces = shade.to_rgba(middle.values)
        faces[((low < 1) & (high > 1)).values] = to_rgba("0.82")
        texts = [f"{value:.2g}" if value < 99.5 else f"{value:.0f}" for value in middle.values.flat]
        style.cells(panel, middle.copy(data=np.reshape(texts, middle.shape)), faces)
        panel.set(xlabel="outputs $m$", title=word)
    panels[0].set_ylabel("inputs $n$")
    bar = figure.colorbar(shade, ax=panels, aspect=30)
    bar.set_label("forward / reverse  (blue: forward is cheaper)")
    bar.outline.set_visible(False)
    figure.set_label(
        "Cost of the Jacobian of a dense layer by forward mode over that by reverse mode; times are "
        "medians, grey where their quartiles lie on both sides of 1."
    )
    return figure


def _draw_workloads(data):
    """Operations, time and memory of every transform, one row per workload."""
    data = data.sortby(data.num_inputs / data.num_outputs)
    sizes = zip(data["case"].values, data.num_inputs, data.num_outputs)
    labels = [f"{case}\n{int(n):,} → {int(m):,}".replace(",", "\u2009") for case, n, m in sizes]
    data = data.assign_coords(case=labels)
    names = [n for n in ("jvp", "vjp", "jacfwd", "jacrev", "hessian") if n in data.transform]
    quantities = {
        "operations / value": relative(data.operations),
        "time / value": relative(data.seconds),
        "memory (bytes)": data.footprint,
    }
    rows = np.arange(data.sizes["case"])
    figure, panels = style.subplots(1, 3, width="page", height=0.36 * len(rows) + 1.1, sharey=True)
    for panel, (title, values) in zip(panels, quantities.items()):
        panel.set(xscale="log", xlabel=title)
        positive = values.where(values > 0)
        drawn = {}
        for name in names:
            look = style.method(name, markersize=5)
            drawn[name] = style.rows(panel, positive.sel(transform=name), "case", **look)
        modes = [drawn[name][1] for name in ("jacfwd", "jacrev") if name in names]
        panel.hlines(rows, np.fmin.reduce(modes), np.fmax.reduce(modes), color="#BBBBBB", linewidth=1.0, zorder=1)
        for row in rows[::2]:
            panel.axhspan(row - 0.5, row + 0.5, color="#F5F5F5", linewidth=0, zorder=0)
        panel.tick_params(axis="y", length=0)
        if title.startswith("time") and "jacrev" in names:
            look = {"fontsize": 7, "ha": "right", "va": "center", "transform": panel.get_yaxis_transform()}
            for row in rows[~np.isfinite(drawn["jacrev"][1])]:
                panel.text(0.97, row, "jacrev: not run", color=style.ink(style.COLORS["vermilion"]), **look)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
    figure.set_label(
        "Each derivative relative to one evaluation of the function, and the memory it needs beyond "
        "its arguments. Times are medians with quartiles."
    )
    return figure


def tables(dataset):
    """Forward beside reverse, at the first, middle and last value of every axis."""
    dims = [dim for dim in dataset.dims if dim not in ("transform", "repeat")]
    thin = {dim: sorted({0, n // 2, n - 1}) for dim, n in dataset.sizes.items() if dim in dims and n > 4}
    data, rows = dataset.isel({dim: at for dim, at in thin.items() if dim != "case"}), []
    for index in np.ndindex(*(data.sizes[dim] for dim in dims)):
        point = data.isel(dict(zip(dims, index)))
        row: dict[str, Any] = {"workload": str(point["case"].item())} if "case" in dims else {}
        row |= {"n": int(point.num_inputs), "m": int(point.num_outputs)}
        counts, seconds = relative(point.operations), median(point.seconds)
        for name, word in (("jacfwd", "forward"), ("jacrev", "reverse")):
            if name in point.transform:
                row[f"{word} ops"] = digits(counts.sel(transform=name))
                row[f"{word} ms"] = digits(1e3 * seconds.sel(transform=name))
                row[f"{word} MB"] = digits(point.footprint.sel(transform=name) / 1e6)
        rows.append(row)
    return {"The Jacobian by either mode: operations in evaluations of f, time, memory beyond arguments": rows[:12]}


def _plane(dataset, least=8):
    """The plane of inputs and outputs, of any other sweep the first, from ``least`` of each on.

    Below 8 inputs or outputs the one evaluation that every program contains hides the growth.
    """
    if "case" in dataset.dims or _fewest(dataset) < 3:
        raise NotJudged("needs three sizes or more of inputs and of outputs")
    data = points(dataset, "inputs", "outputs")
    data = data.sel(inputs=data["inputs"] >= least, outputs=data["outputs"] >= least)
    if _fewest(data) < 2:
        raise NotJudged(f"needs two sizes of {least} or more")
    return data


def _growth(data, transform, axis):
    """Exponents of a transform's operations, in evaluations, along one axis, for every value of the other."""
    ratio = relative(data.operations).sel(transform=transform).transpose(axis, ...)
    return np.polyfit(np.log(data[axis].values), np.log(ratio.values), 1)[0]


def _judge_growth(transform, own, other):
    def judge(dataset):
        data = _plane(dataset)
        rises, stays = _growth(data, transform, own), _growth(data, transform, other)
        words = " and ".join(f"{found.min():.2f} to {found.max():.2f}" for found in (rises, stays))
        return Finding(close(rises, 1.0) & close(stays, 0.0), measured=words, figure="crossing")

    return judge


def _judge_corners(dataset):
    data = _plane(dataset, least=1)
    ratio = data.operations.sel(transform="jacfwd") / data.operations.sel(transform="jacrev")
    few, square, many = (ratio.isel(inputs=row, outputs=column) for row, column in ((0, -1), (-1, -1), (-1, 0)))
    return Finding(
        less(few, 1.0) & between(square, 0.5, 2.0) & less(1.0, many),
        measured=", ".join(f"{int(p['inputs'])}->{int(p['outputs'])}: {float(p):.4g}" for p in (few, square, many)),
        figure="plane",
    )


def _judge_passes(dataset):
    scalar = _plane(dataset, least=1).sel(outputs=[1], inputs=_plane(dataset)["inputs"])
    forward, reverse = (_growth(scalar, transform, "inputs") for transform in ("jacfwd", "grad"))
    return Finding(close({"forward_exponent": forward, "reverse_exponent": reverse}), figure="crossing")


def _judge_modes_by_case(dataset):
    """Where a size is swept for several workloads: forward's cost rises with the inputs, reverse's stays."""
    if "case" not in dataset.dims or dataset.sizes.get("inputs", 1) < 3:
        raise NotJudged("needs cases, each with three sizes of inputs or more")
    data = points(dataset, "case", "inputs").transpose("inputs", "case", ...)
    ratio, n = relative(data.operations), data.num_inputs.values
    forward, reverse = (ratio.sel(transform=name) for name in ("jacfwd", "jacrev"))
    rises = less(forward[:-1].values, forward[1:].values) & less(0.5, forward[-1] / n[-1])
    growth = np.log(reverse[1:].values / reverse[0].values) / np.log(n[1:] / n[0])
    ends = zip(data["case"].values, forward.values.T, reverse.values.T)
    return Finding(
        rises & below(np.maximum(growth, 0.0)) & less(reverse[-1], forward[-1]),
        measured="; ".join(
            f"{case}: forward {f[0]:.3g} to {f[-1]:.4g}, reverse {r[0]:.3g} to {r[-1]:.3g} evaluations"
            for case, f, r in ends
        ),
        figure="crossing",
    )


def _cases(dataset, which, what):
    """The workloads whose inputs and outputs are as asked for."""
    data = points(dataset, "case")
    chosen = which(data.num_inputs.values, data.num_outputs.values)
    if "case" not in data.dims or not chosen.any():
        raise NotJudged(f"needs a workload of {what}")
    return data.isel(case=chosen)


def _judge_products(dataset):
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


def _judge_wrong_mode(dataset):
    data = _cases(dataset, lambda n, m: m >= 1000 * n, "a thousand times more outputs than inputs")
    counts = data[["operations", "footprint"]]
    forward, reverse = (counts.sel(transform=name) for name in ("jacfwd", "jacrev"))
    dear, cheap = (1e-6 * mode.isel(case=0) for mode in (reverse, forward))
    return Finding(
        less(1e3 * forward.operations, reverse.operations) & less(1e3 * forward.footprint, reverse.footprint),
        measured=f"{float(dear.operations):.4g} against {float(cheap.operations):.3g} million operations; "
        f"{float(dear.footprint):.0f} against {float(cheap.footprint):.3g} MB",
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
