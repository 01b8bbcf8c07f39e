"""Are gradients' factors, read off a network's program at infinite width, those of real networks?

Dense, residual, normalised, convolutional, recurrent and attention networks, written by hand and as modules of Flax and
Equinox: the predicted factor of a layer beside the one measured over seeds, and the verdict beside the true one. Where
the theory does not hold the network must be told to be outside of it.
"""

from typing import Any

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, equal

kind = "host"
dtype = "float32"
VERDICTS = ("ordered", "critical", "chaotic", "normalised", "dead", "outside the theory")
_OUTSIDE = VERDICTS.index("outside the theory")


class Config(lab.Config):
    architecture: str = "relu, He"
    """a network of jaxcalc.scenarios.architectures"""
    draws: int = pydantic.Field(64, ge=8)
    """networks that are measured"""
    samples: int = pydantic.Field(4096, ge=256)
    """of each feature's law at infinite width; a power of two"""


_BY_LAYER = ("layer",)
VARIABLES = {
    "layer": Variable(_BY_LAYER, "", "layer, in the order in which they run"),
    "factor": Variable(_BY_LAYER, "", "factor on the gradient's square across the layer, infinite width"),
    "measured_factor": Variable(_BY_LAYER, "", "the same, measured"),
    "factor_error": Variable(_BY_LAYER, "", "standard error of its logarithm"),
    "rate": Variable((), "", "mean logarithm of the factor over the network, infinite width"),
    "measured_rate": Variable((), "", "the same, measured"),
    "rate_error": Variable((), "", "its standard error"),
    "band": Variable((), "", "deviation of the whole ratio's logarithm from draw to draw, predicted"),
    "gain": Variable((), "", "factor on all weights that would make the network critical"),
    "factors": Variable((), "", "factors between the first and the last layer"),
    "verdict": Variable((), "", "position of the verdict, -1 of what is not installed, in: " + ", ".join(VERDICTS)),
    "truth": Variable((), "", "position of the true one"),
}


def run(config, key):
    """One network: its report, layer by layer."""
    from jaxcalc import checks
    from jaxcalc.models import criticality
    from jaxcalc.scenarios.architectures import ARCHITECTURES

    checks.one_of("criticality.predictions", "architecture", config.architecture, tuple(ARCHITECTURES))
    build, truth = ARCHITECTURES[config.architecture]
    try:
        network = build()
    except ImportError:
        return _absent(VERDICTS.index(truth))
    report = criticality(
        (network.init, network.apply), network.x, num_seeds=config.draws, num_samples=config.samples, key=key
    )
    column = lambda name: np.array([getattr(layer, name) for layer in report.layers])
    return {
        "layer": np.arange(1, len(report.layers) + 1),
        **{name: column(name) for name in ("factor", "measured_factor", "factor_error")},
        **{name: np.array(getattr(report, name)) for name in ("rate", "measured_rate", "rate_error", "band", "gain")},
        "factors": np.array(report.depth),
        "verdict": np.array(VERDICTS.index(report.verdict)),
        "truth": np.array(VERDICTS.index(truth)),
    }


def _absent(truth):
    """What stands for a network of a library that is not installed."""
    of_layers = ("factor", "measured_factor", "factor_error")
    numbers = {name: np.array(np.nan) for name in ("rate", "measured_rate", "rate_error", "band", "gain")}
    layers = {name: np.full(1, np.nan) for name in of_layers}
    indices = {"layer": np.ones(1, int), "factors": np.array(0), "verdict": np.array(-1), "truth": np.array(truth)}
    return numbers | layers | indices


def _by_architecture(dataset):
    """The networks that were there, along one axis."""
    data = lab.over(dataset, "architecture")
    return data.isel(architecture=np.flatnonzero(data.verdict.values >= 0))


def _deviation(data):
    """Measured less predicted rate in standard errors, NaN where nothing is predicted."""
    return ((data.measured_rate - data.rate) / data.rate_error).where(data.verdict != _OUTSIDE)


def figures(dataset):
    """The factor of a layer, measured beside predicted, and their distance in standard errors; then some by layer."""
    data = _by_architecture(dataset)
    return {"factor_by_architecture": _draw_all(data), "factor_by_layer": _draw_layers(data)}


_COLORS = dict(zip(VERDICTS, ("blue", "green", "vermilion", "purple", "black", "orange"), strict=True))


def _draw_all(data):
    order = np.argsort(-data.measured_rate.values)
    figure, (left, right) = style.subplots(
        1, 2, width="page", height=1.0 + 0.17 * len(order), sharey=True, letters=False, width_ratios=(2, 1)
    )
    left.axvline(1.0, color="#333333", linewidth=0.8)
    right.axvspan(-3, 3, color="#EEEEEE")
    deviation = _deviation(data)
    for row, which in enumerate(order):
        one = data.isel(architecture=which)
        color = style.COLORS[_COLORS[VERDICTS[int(one.verdict)]]]
        measured, error = float(one.measured_rate), float(one.rate_error)
        bar = np.exp(measured) * np.array([[1 - np.exp(-3 * error)], [np.exp(3 * error) - 1]])
        left.errorbar(np.exp(measured), row, xerr=bar, color=color, fmt="o", markersize=3, linewidth=1)
        if int(one.verdict) != _OUTSIDE:
            left.plot([np.exp(float(one.rate))] * 2, [row - 0.4, row + 0.4], color="#333333", linewidth=1.2)
            right.plot(float(deviation.isel(architecture=which)), row, color=color, marker="o", markersize=3)
    for verdict in sorted(set(data.verdict.values.tolist())):
        name = VERDICTS[int(verdict)]
        left.plot([], [], color=style.COLORS[_COLORS[name]], marker="o", markersize=3, linestyle="", label=name)
    left.plot([], [], color="#333333", linewidth=1.2, label="infinite width")
    style.name_rows(left, data.architecture.values[order])
    left.set_xscale("log")
    measured = np.exp(data.measured_rate)
    ticks = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0]
    style.ticks(left.xaxis, [t for t in ticks if measured.min() / 1.5 < t < measured.max() * 1.5])
    left.set_xlabel("factor per layer on the gradient's square")
    right.set_xlabel("standard errors off")
    right.set_xlim(-4.5, 4.5)
    right.set_xticks([-3, 0, 3])
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.set_label(
        f"The factor by which a layer changes the gradient's square, over {int(data.draws.values.flat[0])} networks, "
        "bars of three standard errors, beside the prediction of infinite width; colours are the verdicts: critical "
        "behind skip connections is what stays within a factor e over the whole depth. Networks outside the theory "
        "have no prediction."
    )
    return figure


def _draw_layers(data):
    """Up to eight networks of most layers, layer by layer."""
    from matplotlib.ticker import MaxNLocator

    predicted = np.isfinite(data.factor).sum("layer")
    chosen = sorted(np.argsort(-predicted.values, kind="stable")[:8].tolist())
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = style.subplots(
        rows, columns, width="page", height=0.6 + 1.45 * rows, squeeze=False, letters=False, sharex=False
    )
    for ax, which in zip(axes.flat, chosen, strict=False):
        one = data.isel(architecture=which)
        # Layers of another kind lie between those of a gated cell, and have no factor.
        shown = np.isfinite(one.measured_factor.values) & (one.measured_factor.values > 0)
        layer, value = one.layer.values[shown], one.measured_factor.values[shown]
        error = value * one.factor_error.values[shown]
        ax.errorbar(
            layer, value, yerr=error, fmt="o", markersize=2.5, linewidth=1, color=style.COLORS["blue"], label="measured"
        )
        ax.plot(layer, one.factor.values[shown], **style.THEORY, label="infinite width")
        ax.set_title(str(one.architecture.values), fontsize=7, fontweight="normal")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        low, high = value.min(initial=1.0), value.max(initial=1.0)
        ax.set_ylim(max(low - 0.15 * high, 0), 1.15 * high)
    for ax in axes.flat[len(chosen) :]:
        ax.set_axis_off()
    figure.supxlabel("layer", fontsize=8)
    figure.supylabel("factor on the gradient's square", fontsize=8)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.set_label(
        "Factors layer by layer: measured over networks, with standard errors, beside infinite width. Layers are "
        "counted in the order in which they run."
    )
    return figure


def tables(dataset):
    """Every network: predicted and measured factor, their distance, verdict and truth."""
    data = _by_architecture(dataset)
    deviation = _deviation(data)
    rows: list[dict[str, Any]] = []
    for which, name in enumerate(data.architecture.values.tolist()):
        one, distance = data.isel(architecture=which), float(deviation[which])
        outside = int(one.verdict) == _OUTSIDE
        error = np.exp(float(one.measured_rate)) * float(one.rate_error)
        rows.append(
            {
                "network": name,
                "predicted": "" if outside else f"{np.exp(float(one.rate)):.4g}",
                "measured": f"{np.exp(float(one.measured_rate)):.4g} ± {error:.1g}",
                "standard errors": "" if outside else f"{distance:+.2f}",
                "verdict": VERDICTS[int(one.verdict)],
                "truth": VERDICTS[int(one.truth)],
            }
        )
    return {"Factor on the gradient's square per layer": rows}


_ENOUGH = 10  # networks: fewer say nothing of architectures in general


def _judge_predictions(dataset):
    """Every prediction within three standard errors, at 64 draws."""
    data = _by_architecture(dataset)
    if data.sizes["architecture"] < _ENOUGH or int(data.draws.values.flat[0]) < 64:
        raise NotJudged(f"needs {_ENOUGH} networks of 64 draws")
    predicted = data.verdict.values != _OUTSIDE
    if predicted.mean() < 0.5:
        raise NotJudged("half of the networks are outside the theory")
    worst = np.abs(_deviation(data).values[predicted])
    return Finding(
        below(worst),
        measured=f"{predicted.sum()} of {predicted.size} predicted, the worst {worst.max():.2f} standard errors off, "
        f"root mean square {np.sqrt(np.mean(worst**2)):.2f}",
        figure="factor_by_architecture",
    )


def _judge_verdicts(dataset):
    """No verdict but the true one."""
    data = _by_architecture(dataset)
    if data.sizes["architecture"] < _ENOUGH:
        raise NotJudged(f"needs {_ENOUGH} networks")
    wrong = data.architecture.values[data.verdict.values != data.truth.values]
    return Finding(
        equal(len(wrong)),
        measured=f"{data.sizes['architecture']} networks, wrong: {', '.join(map(str, wrong)) or 'none'}",
        figure="factor_by_architecture",
    )


claims = {
    "infinite-width-predicts-gradient-factors": _judge_predictions,
    "verdicts-of-depth-are-right": _judge_verdicts,
}
