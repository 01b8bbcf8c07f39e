"""Do initialisations keep the scale of activations over 50 layers of a wide network?"""

import numpy as np

from experiments.vanishing_gradients import VARIABLES as VARIABLES
from experiments.vanishing_gradients import Config as Config
from experiments.vanishing_gradients import (
    deep,
    draw_factors,
    find,
    look_of,
    network_in,
    over_seeds,
    setting,
    tidy,
)
from experiments.vanishing_gradients import run as run
from experiments.vanishing_gradients import shared as shared
from jaxcalc import style
from jaxcalc.lab import Finding, NotJudged, below, between

kind = "compiled"
dtype = "float32"


def figures(dataset):
    data = tidy(dataset)
    drawn = {"activation_scale": _draw_moments(data)}
    if data.sizes["case"] > 1:
        drawn["factor_per_layer"] = draw_factors(data)
    return drawn


def _draw_moments(data):
    """Mean square of each layer's output in the deepest networks, beside mean-field theory."""
    deepest = data.isel(depth=-1, layer=slice(1, int(data.depth[-1]) + 1))
    cases = [c for c in data.case.values.tolist() if not float(deepest.skip.sel(case=c).max())]
    deepest = deepest.sel(case=cases)
    moment = over_seeds(deepest.moment)
    low = 10.0 ** np.floor(np.log10(float(moment.isel(layer=-1).min())))
    high = 10.0 ** np.ceil(np.log10(float(deepest.moment.max())))
    figure, ((ax,),) = style.chart(
        moment,
        "layer",
        hue="case",
        band=(deepest.moment.min("seed"), deepest.moment.max("seed")),
        theory=deepest.theory_moment.mean("seed"),
        looks={case: look_of(data, case) for case in cases},
        log="y",
        xlim=(0, float(data.depth[-1])),
        ylim=(low, high),
        xlabel="layer",
        ylabel="mean square of the layer's output",
        legend="ends",
        width=5.2,
        height=3.4,
    )
    ax.annotate("mean-field theory (dashed)", (0.03, 0.05), xycoords="axes fraction")
    figure.set_label(
        "Mean square of the activations by layer, geometric means over seeds; bands are their range. Dashed: "
        "mean-field theory, valid at infinite width."
    )
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
