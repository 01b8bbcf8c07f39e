"""In which layers, of networks of few layers and of many, has the gradient vanished or exploded?"""

import numpy as np

from experiments.vanishing_gradients import VARIABLES as VARIABLES
from experiments.vanishing_gradients import Config as Config
from experiments.vanishing_gradients import over_seeds, tidy
from experiments.vanishing_gradients import run as run
from experiments.vanishing_gradients import shared as shared
from jaxcalc import style

kind = "compiled"


def figures(dataset):
    """Gradients by layer and depth, a panel a network."""
    data = tidy(dataset)
    return {"gradient_by_layer_and_depth": _draw_maps(data)} if data.sizes["depth"] > 1 else {}


def _decades(data):
    """The gradient's norm in each layer over the last one's, in decades."""
    signal = over_seeds(data.signal)
    last = signal.where(data.layer == data.depth).max("layer")
    return np.log10(signal / last)


def _draw_maps(data):
    from matplotlib.colors import SymLogNorm

    columns = min(4, data.sizes["case"])
    rows = -(-data.sizes["case"] // columns)
    figure, axes = style.subplots(
        rows,
        columns,
        width="page",
        height=0.5 + 1.5 * rows,
        letters=False,
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    norm, decades = SymLogNorm(1.0, vmin=-10, vmax=10), _decades(data)
    for ax, case in zip(axes.flat, data.case.values.tolist(), strict=False):
        shown = decades.sel(case=case).transpose("layer", "depth")
        ax.pcolormesh(data.depth, data.layer, shown, cmap="RdBu_r", norm=norm, shading="nearest", rasterized=True)
        ax.set_title(case, fontsize=7.5)
        ax.grid(visible=False)
    for ax in axes.flat[data.sizes["case"] :]:
        ax.set_axis_off()
    figure.supxlabel("layers in the network", fontsize=8)
    figure.supylabel("layer", fontsize=8)
    bar = figure.colorbar(
        axes[0, 0].collections[0], ax=axes, shrink=0.8, pad=0.01, extend="both", ticks=[-10, -3, -1, 0, 1, 3, 10]
    )
    bar.ax.set_yticklabels([f"$10^{{{tick:g}}}$" if tick else "1" for tick in bar.get_ticks()])
    bar.ax.minorticks_off()
    bar.set_label("gradient norm over the last layer's")
    figure.set_label(
        "The gradient's norm in each layer of networks of many depths, over that in the last layer, geometric "
        "means over networks: blue has vanished, red exploded. Colours are linear in decades up to one, and "
        "logarithmic beyond. Layer 0, at the foot, is the input."
    )
    return figure
