"""Which networks let a gradient through 1 to 128 layers?"""

import numpy as np

from experiments.vanishing_gradients import (
    ACTIVATIONS,
    CHAINS,
    deep,
    draw_factors,
    look_of,
    network_in,
    over_seeds,
    ratio_at,
    tidy,
)
from experiments.vanishing_gradients import VARIABLES as VARIABLES
from experiments.vanishing_gradients import Config as Config
from experiments.vanishing_gradients import run as run
from experiments.vanishing_gradients import shared as shared
from jaxcalc import style
from jaxcalc.lab import Finding, NotJudged, above, below, between, close, equal, less

kind = "compiled"


def figures(dataset):
    data = tidy(dataset)
    drawn = {}
    if data.sizes["depth"] > 1:
        drawn |= {"gradient_by_layer": _draw_layers(data), "attenuation_by_depth": _draw_depths(data)}
    if data.sizes["case"] > 1:
        drawn["factor_per_layer"] = draw_factors(data)
    if data.sizes["depth"] > 1:
        drawn["unit_chains"] = _draw_chains(data)
    return drawn


def _draw_layers(data):
    """A panel per case: the gradient's norm at each layer, one line per depth, with bound and theory of the deepest."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator

    cases = list(data.case.values[:8])
    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    figure, axes = style.subplots(
        rows, columns, width="page", height=0.55 + 1.75 * rows, sharex=True, sharey="row", squeeze=False, letters=False
    )
    colors = style.sequence(data.sizes["depth"])
    for ax, case in zip(axes.flat, cases, strict=False):
        one = data.sel(case=case)
        signal, theory = over_seeds(one.signal), over_seeds(one.theory_signal)
        for depth, color in zip(data.depth.values, colors, strict=True):
            line = signal.sel(depth=depth)
            ax.plot(data.layer, line, color=color, marker="o" if depth == 1 else "", markersize=2)
        deepest = int(data.depth.max())
        ax.plot(data.layer, theory.sel(depth=deepest), **style.THEORY)
        if ACTIVATIONS[int(one.activation_index.isel(depth=0, seed=0))] == "sigmoid" and not float(one.skip.max()):
            top = float(signal.sel(depth=deepest, layer=deepest))
            bound = data.bound.values[: deepest + 1][::-1] * top
            ax.plot(data.layer[: deepest + 1], bound, color=style.COLORS["vermilion"], linestyle=":", linewidth=1.2)
            ax.annotate("0.25 a layer", (deepest - 24, 1e-10), ha="right", va="center", fontsize=7, color="#B04A00")
        ax.set_title(case)
        ax.set_yscale("log")
    for ax in axes.flat[len(cases) :]:
        ax.set_axis_off()
    for row in range(rows):
        shown = data.signal.sel(case=cases[row * columns : (row + 1) * columns])
        low, high = np.log10(float(shown.min())), np.log10(float(shown.max()))
        # A collapse of a hundred decades would leave the others flat: its foot is cut off.
        axes[row, 0].set_ylim(10.0 ** max(low - 1, -24), 10.0 ** (high + 2))
        axes[row, 0].yaxis.set_major_locator(LogLocator(base=10, numticks=7))
    figure.supxlabel("layer", fontsize=8)
    figure.supylabel("norm of the gradient in the layer's output", fontsize=8)
    handles = [Line2D([], [], color=c, label=str(d)) for d, c in zip(data.depth.values, colors, strict=True)]
    handles.append(Line2D([], [], label="mean-field theory", **style.THEORY))
    legend = figure.legend(
        handles=handles, loc="outside upper center", ncols=len(handles), title="layers in the network"
    )
    legend.get_title().set_fontsize(7.5)
    figure.set_label(
        "The gradient in each layer's output, for networks of many depths; geometric means over seeds. Dashed: "
        "mean-field theory, valid at infinite width for gradients independent of the signal, which ReLU's behind "
        "unscaled skips are not. Dotted: 1/4 a layer, the largest slope of a sigmoid, which bounds chains of single "
        "units of weights up to 1; through a matrix the bound is 1/4 of its largest singular value. What is smaller "
        "than shown is cut off."
    )
    return figure


def _draw_depths(data):
    """Gradient at the input over gradient at the last layer, against depth, one line per case."""
    through = over_seeds(data.attenuation)
    low, high = (10.0 ** float(f(np.log10(through)) + step) for f, step in ((np.min, -2), (np.max, 2)))
    bound = data.bound.sel(layer=data.depth)
    figure, ((ax,),) = style.chart(
        through,
        "depth",
        hue="case",
        band=(data.attenuation.min("seed"), data.attenuation.max("seed")),
        theory=bound,
        looks={case: look_of(data, case) for case in data.case.values.tolist()},
        log="xy",
        xlim=(data.depth.min() * 0.93, data.depth.max() * 1.07),
        ylim=(low, high),
        xlabel="layers",
        ylabel="gradient norm at the input over last layer",
        legend="ends",
        width="page",
        height=4.3,
    )
    style.ticks(ax.xaxis, data.depth.values)
    ax.annotate(r"$0.25^{\mathrm{depth}}$, the bound for unit weights (dashed)", (0.03, 0.05), xycoords="axes fraction")
    figure.set_label(
        "The gradient at the input over that at the last layer; dotted lines have skip connections, bands are the"
        " range over seeds. Dashed: 1/4 a layer, which bounds sigmoids of unit weights alone; other weights and "
        "other activations may pass more, and random matrices pass what mean-field theory says."
    )
    return figure


def _draw_chains(data):
    """The derivative through chains of single sigmoids, and the bound that holds for unit weights."""
    figure, ax = style.subplots()
    layers = data.layer.values[: min(31, data.sizes["layer"])]
    colors = [style.COLORS[name] for name in ("blue", "green", "vermilion")]
    chains = zip(data.chain.values.tolist(), colors)
    style.chart(
        data.chain_gradient.sel(layer=layers),
        "layer",
        hue="chain",
        theory=data.bound.sel(layer=layers),
        looks={chain: {"color": color, "marker": ""} for chain, color in chains},
        log="y",
        xlim=(0, layers[-1]),
        xlabel="sigmoids in a row",
        ylabel="derivative of output in input",
        legend="ends",
        axes=ax,
    )
    spot = (layers[len(layers) // 2], data.bound.values[len(layers) // 2])
    ax.annotate(r"$0.25^{\mathrm{layers}}$", spot, (5, 3), textcoords="offset points", fontsize=7.5)
    figure.set_label(
        "Chains of single sigmoids with equal weights: the bound of 1/4 a layer holds for unit weights alone."
    )
    return figure


def tables(dataset):
    """The whole network's factor and a layer's, by case, at about twenty layers and at the deepest."""
    data = tidy(dataset)
    rows = []
    through = over_seeds(data.attenuation)
    near = data.depth.values[np.abs(np.log(data.depth.values / 20)).argmin()]
    for case in data.case.values[:12]:
        row = {"network": str(case)}
        for depth in dict.fromkeys((int(near), int(data.depth.values[-1]))):
            ratio = float(through.sel(case=case, depth=depth))
            row |= {f"{depth} layers": f"{ratio:.2e}", f"a layer of {depth}": f"{ratio ** (1 / depth):.3f}"}
        rows.append(row)
    return {"Gradient norm at the input over the last layer": rows}


def _judge_bound(dataset):
    return close(dataset.bound.sel(layer=20))


def _judge_chains(dataset):
    """Chains of single sigmoids need no network."""
    data = tidy(dataset)
    bound = float(data.bound.sel(layer=20))
    one, four, eight = (float(data.chain_gradient.sel(chain=c, layer=20)) for c in CHAINS)
    return Finding(
        below(one, bound),
        limits=less(bound, [four, eight]),
        measured=f"{one:.3e}; w = 4 leaves {four:.6f}, w = 8 {eight:.3g}",
        figure="unit_chains" if data.sizes["depth"] > 1 else None,
    )


def _judge_depth(dataset):
    """Exponential decay and growth with depth; float32 holds no gradient of 1e-80."""
    data = deep(dataset)
    depths = data.depth.values[data.depth.values >= 5]
    if len(depths) < 3 or depths[-1] < 10 * depths[0]:
        raise NotJudged("needs three depths from 5 on that span a decade")
    fits = []
    for network in (("sigmoid", 1.0), ("tanh", 4.0)):
        gradient = network_in(data, *network).attenuation.sel(depth=depths)
        logs = np.log(gradient.values).mean(gradient.get_axis_num("seed"))
        fits.append((np.exp(np.polyfit(depths, logs, 1)[0]), np.corrcoef(depths, logs)[0, 1]))
    (shrinks, down), (grows, up) = fits
    return Finding(
        close(down) & close(-up) & less(shrinks, 1.0) & less(1.0, grows),
        measured=f"sigmoid {shrinks:.3f} a layer ({down:.5f}), tanh with gain 2 {grows:.3f} ({up:.5f})",
        figure="attenuation_by_depth",
    )


def _judge_activations(dataset):
    data = deep(dataset)
    s, t, r = (ratio_at(data, 20, *n) for n in (("sigmoid", 1.0), ("tanh", 1.0), ("relu", 2.0)))
    return Finding(
        less(s, [1e-11, t]) & less(t, r) & between(r, 0.5, 2.0),
        measured=f"over 20 layers: sigmoid {s:.2e}, tanh (Glorot) {t:.3f}, ReLU (He) {r:.3f}",
        figure="attenuation_by_depth",
    )


def _judge_relu(dataset):
    data = deep(dataset)
    small, kept = ratio_at(data, 20, "relu", 0.25), ratio_at(data, 20, "relu", 2.0)
    return Finding(
        equal(data.relu_slope),
        limits=below(small, 1e-6),
        measured=f"slope at 3 is {float(data.relu_slope)}; 20 layers of std 0.5/sqrt(n) leave "
        f"{small:.1e}, He's {kept:.2f}",
        figure="factor_per_layer",
    )


def _judge_residual(dataset):
    """What skip connections cure where their branches are scaled, and what they break where not."""
    data = deep(dataset)
    bare, skipped = ratio_at(data, 50, "relu", 0.5), ratio_at(data, 50, "relu", 0.5, skip=1.0)
    full = ratio_at(data, 50, "relu", 2.0, skip=1.0)
    scaled = ratio_at(data, 50, "relu", 2.0, skip=1.0, scaled=True)
    return Finding(
        below(bare, 1e-10) & close(scaled),
        limits=above([skipped, full], 1e3),
        measured=f"half of He's weights: {bare:.1e} without skips; branches scaled by 1/sqrt(depth) "
        f"{scaled:.2f}; unscaled {skipped:.3g}, with He's full weights {full:.2g}",
        figure="attenuation_by_depth",
    )


claims = {
    "quarter-to-the-20": _judge_bound,
    "twenty-sigmoid-layers-vanish": _judge_chains,
    "gradient-shrinks-exponentially-in-depth": _judge_depth,
    "relu-tanh-sigmoid-gradient-flow": _judge_activations,
    "relu-passes-gradient-unattenuated": _judge_relu,
    "residual-connections-carry-gradient": _judge_residual,
}
