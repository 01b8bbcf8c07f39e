"""Do initialisations keep the scale of activations over 50 layers of a wide network?"""

import numpy as np

from experiments.vanishing_gradients import (
    ACTIVATIONS,
    deep,
    draw_factors,
    find,
    label_ends,
    network_in,
    over_seeds,
    setting,
    tidy,
)
from experiments.vanishing_gradients import VARIABLES as VARIABLES
from experiments.vanishing_gradients import Config as Config
from experiments.vanishing_gradients import run as run
from experiments.vanishing_gradients import shared as shared
from jaxcalc import style
from jaxcalc.lab import Finding, NotJudged, below, between

kind = "compiled"

_CAPTIONS = {
    "activation_scale": ("Second moment of the activations by layer, medians over seeds."),
    "factor_per_layer": (
        "The factor by which one layer changes the gradient's norm, each seed beside mean-field theory."
    ),
}


def figures(dataset):
    data = tidy(dataset)
    drawn = {"activation_scale": _draw_moments(data)}
    if data.sizes["case"] > 1:
        drawn["factor_per_layer"] = draw_factors(data)
    for name, figure in drawn.items():
        figure.set_label(_CAPTIONS[name])
    return drawn


def _draw_moments(data):
    """Mean square of each layer's output in the deepest networks, beside mean-field theory."""
    deepest = data.isel(depth=-1)
    cases = [c for c in data.case.values if not float(deepest.skip.sel(case=c).max())]
    figure, ax = style.subplots(width=5.2, height=3.4)
    ends = []
    for case in cases:
        one = deepest.sel(case=case)
        look = style.method(ACTIVATIONS[int(one.activation_index[0])], marker="")
        moment = over_seeds(one.moment.isel(layer=slice(1, None)))
        ax.fill_between(
            moment.layer, one.moment.min("seed")[1:], one.moment.max("seed")[1:], color=look["color"], alpha=0.12, lw=0
        )
        ax.plot(moment.layer, moment, **{**look, "label": None})
        ax.plot(moment.layer, one.theory_moment.mean("seed")[1:], **style.THEORY)
        inside = moment.values[: int(deepest.depth)]
        ends.append((str(case), float(deepest.depth), float(inside[-1]), look["color"]))
    ax.plot([], [], **style.THEORY, label="mean-field theory")
    high = 10.0 ** np.ceil(np.log10(float(deepest.moment.sel(case=cases).max())))
    low = 10.0 ** np.floor(np.log10(min(end[2] for end in ends)))
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.set_xlim(0, float(deepest.depth))
    ax.set_xlabel("layer")
    ax.set_ylabel("mean square of the layer's output")
    ax.legend(loc="lower left")
    label_ends(ax, ends, np.log10(low), np.log10(high))
    return figure


def _judge_moments(dataset):
    """Whether the scale of activations is kept to layer 50, asked of wide networks only."""
    data = deep(dataset)

    def kept(activation, weight_scale):
        case = network_in(data, activation, weight_scale)
        if setting(case, "width") < 512:
            raise NotJudged("needs networks of 512 units or more")
        moment = case.moment.sel(depth=50).mean("seed", skipna=False)
        return float(moment.sel(layer=50) / moment.sel(layer=1))

    r, t, w = kept("relu", 2.0), kept("tanh", 1.0), kept("relu", 1.0)
    helped = "" if find(data, "tanh", 25 / 9) is None else f" (gain 5/3: {kept('tanh', 25 / 9):.2f})"
    return Finding(
        between(r, 0.5, 2.0),
        limits=below(t, 0.1) & below(w, 1e-10),
        measured=f"He with ReLU {r:.2f}; Glorot with tanh {t:.3f}{helped}, with ReLU {w:.1e}",
        figure="activation_scale",
    )


claims = {"he-xavier-keep-variance-constant": _judge_moments}
