"""Do gradients survive depth: by activation, initialisation and residual connection, on handwritten digits.

Every layer of a random network of up to ``max_depth`` layers is looked at: the norm of the loss's gradient in its
output and in its weights, and the mean square of what it passes on. One program serves all depths, for layers past the
depth are the identity. Beside the measurements stand the bound 0.25^depth for sigmoids and mean-field theory.
"""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc.lab import Config as LabConfig
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, below, between, close, equal, less

kind = "compiled"

_CHAINS = {"w = 1, b = 0": (1.0, 0.0), "w = 4, b = -2": (4.0, -2.0), "w = 8, b = -4": (8.0, -4.0)}
_SHARED = ("layer", "bound", "chain", "chain_gradient", "relu_slope")
_NORMAL = ("glorot", "he")  # square matrices of either differ by a factor alone, which the gain may make up for
_WIDE, _SEEDS = 64, 3  # fewer units or draws, and a deep network's gradient is one draw's luck
_ACTIVATIONS = ("linear", "sigmoid", "tanh", "relu", "gelu")


class Config(LabConfig):
    """A deep network at initialisation, seen by a batch of digits."""

    activation: Literal["linear", "sigmoid", "tanh", "relu", "gelu"] = "relu"
    """the function applied by every layer"""
    initialisation: Literal["glorot", "he", "standard", "orthogonal", "unit"] = "he"
    """how the layers' weights are drawn; unit is the identity matrix, which makes each unit a chain of its own"""
    residual: Literal["none", "plain", "scaled"] = "none"
    """plain adds the layer's input to its output; scaled also divides the layer's own part by sqrt(depth)"""
    depth: Swept[int] = pydantic.Field(default=20, gt=0)
    """layers that take part"""
    gain: Swept[float] = pydantic.Field(default=1.0, gt=0)
    """factor on the layers' weights"""
    bias_std: Swept[float] = pydantic.Field(default=0.0, ge=0)
    """standard deviation of the biases"""
    width: int = pydantic.Field(default=128, gt=0)
    """units in a layer"""
    max_depth: int = pydantic.Field(default=128, gt=0)
    """layers held by the program; no depth may exceed it"""
    batch: int = pydantic.Field(default=32, gt=0, le=1797)
    """digits in the batch, drawn anew for each seed"""

    @pydantic.model_validator(mode="after")
    def _depth_fits(self):
        if self.depth > self.max_depth:
            raise ValueError(f"depth is {self.depth}, which exceeds max_depth = {self.max_depth}")
        return self


VARIABLES = {
    "layer": Variable(("layer",), "", "layer, 0 being the embedded input"),
    "signal": Variable(("layer",), "", "norm of the gradient in the layer's output"),
    "weight_gradient": Variable(("layer",), "", "norm of the gradient in the layer's weights"),
    "moment": Variable(("layer",), "", "mean square of the layer's output"),
    "factor": Variable(("layer",), "", "factor on the gradient's norm across the layer"),
    "theory_signal": Variable(("layer",), "", "norm of the gradient, mean-field theory"),
    "theory_moment": Variable(("layer",), "", "mean square of the layer's output, mean-field theory"),
    "theory_factor": Variable(("layer",), "", "factor on the gradient's norm across the layer, mean-field theory"),
    "attenuation": Variable((), "", "gradient norm at the input over that at the last layer"),
    "activation_index": Variable((), "", "position of the activation in: " + ", ".join(_ACTIVATIONS)),
    "weight_scale": Variable((), "", "variance of a weight times the width"),
    "skip": Variable((), "", "factor on the skip connection"),
    "branch": Variable((), "", "factor on the layer's own part"),
    "bound": Variable(("layer",), "", "0.25^layers, the most that sigmoids of unit weight pass"),
    "chain": Variable(("chain",), "", "weight and bias of a chain of single sigmoids"),
    "chain_gradient": Variable(("chain", "layer"), "", "derivative of the chain's output in its input"),
    "relu_slope": Variable((), "", "derivative of relu at z = 3"),
}


def shared(config):
    """What no lane changes: the bound, and chains of single sigmoids started at their fixed point 1/2."""
    import jax

    from jaxcalc.functions import activations
    from jaxcalc.models.dense import unit_chain

    sigmoid, layers = activations.sigmoid, np.arange(config.max_depth + 1)
    chains = [unit_chain(sigmoid, w, b, 0.5, config.max_depth) for w, b in _CHAINS.values()]
    return {
        "layer": layers,
        "bound": sigmoid.largest_slope ** layers.astype(float),
        "chain": np.array(list(_CHAINS)),
        "chain_gradient": np.abs(np.stack(chains)),
        "relu_slope": jax.grad(activations.relu)(3.0),
    }


def run(config, key):
    """One batch of digits through one random network, and back."""
    import jax
    import jax.numpy as jnp
    import optax

    from jaxcalc.functions import activations, datasets, mean_field
    from jaxcalc.models import dense

    images, labels = datasets.digits()
    images = datasets.standardize(images).values
    weights_key, batch_key = jax.random.split(key)
    chosen = jax.random.choice(batch_key, len(images), (config.batch,), replace=False)
    inputs, targets = jnp.asarray(images, float)[chosen], jnp.asarray(labels)[chosen]

    network = dense.deep_network(
        images.shape[1],
        config.width,
        10,
        max_depth=config.max_depth,
        phi=config.activation,
        initialisation=config.initialisation,
        residual=config.residual,
    )
    params = network.init(weights_key, gain=config.gain, bias_std=config.bias_std)
    found = dense.gradient_flow(
        network,
        lambda outputs: optax.softmax_cross_entropy_with_integer_labels(outputs, targets),
        params,
        inputs,
        config.depth,
    )

    scale = config.width * dense.weight_variance(config.initialisation, config.width, config.width) * config.gain**2
    skip, branch = network.connection(config.depth)
    theory = mean_field.signals(
        activations.activation(config.activation),
        found.moment[0],
        sw2=scale,
        sb2=config.bias_std**2,
        skip=skip,
        branch=branch,
        num_layers=config.max_depth,
    )
    present = jnp.arange(config.max_depth + 1) <= config.depth
    # Of identity matrices mean-field theory, which averages over random ones, says nothing.
    known = present & (config.initialisation != "unit")
    top = found.signal[config.depth]
    first = jnp.full(1, jnp.nan)
    return {
        "signal": found.signal,
        "weight_gradient": found.weights,
        "moment": found.moment,
        "factor": jnp.concatenate([first, found.signal[:-1] / found.signal[1:]]),
        "theory_signal": jnp.where(known, top * mean_field.attenuation(theory.factor, config.depth), jnp.nan),
        "theory_moment": jnp.where(known, jnp.concatenate([found.moment[:1], theory.moment]), jnp.nan),
        "theory_factor": jnp.where(known, jnp.concatenate([first, jnp.sqrt(theory.factor)]), jnp.nan),
        "attenuation": found.signal[0] / top,
        "activation_index": jnp.asarray(_ACTIVATIONS.index(config.activation)),
        "weight_scale": jnp.asarray(scale, float),
        "skip": jnp.asarray(skip, float),
        "branch": jnp.asarray(branch, float),
    }


def _tidy(dataset):
    """The dataset with dims case, depth and seed whatever was swept, other axes folded into case."""
    import json

    dataset = dataset.drop_vars([v for v in dataset.variables if str(v).startswith("valid")])
    for name in ("depth", "seed", "case"):
        if name not in dataset.attenuation.dims:
            label = json.loads(dataset.attrs["params"]).get(name, "network" if name == "case" else 0)
            dataset = dataset.drop_vars(name, errors="ignore")
            swept = [v for v in VARIABLES if v not in _SHARED]
            wide = dataset[swept].expand_dims({name: [label]})
            dataset = dataset.drop_vars(swept).merge(wide)
    others = [d for d in dataset.attenuation.dims if d not in ("case", "depth", "seed")]
    for other in others:
        only = dataset.sizes["case"] == 1
        labels = [
            f"{'' if only else f'{c}, '}{other} {v:.4g}" for c in dataset.case.values for v in dataset[other].values
        ]
        values = np.tile(dataset[other].values, dataset.sizes["case"])
        dataset = dataset.stack(both=("case", other)).drop_vars(["both", "case", other]).rename(both="case")
        dataset = dataset.assign_coords({"case": labels, other: ("case", values)})
    return dataset.sortby("depth")


def _setting(dataset, name):
    """What a parameter was: a sweep's coordinate, of one case where a case was chosen, or else the base value."""
    import json

    return dataset[name].values[()] if name in dataset.coords else json.loads(dataset.attrs["params"])[name]


def _over_seeds(array):
    """The geometric mean over seeds."""
    return np.exp(np.log(array).mean("seed", skipna=False))


def _find(dataset, activation, weight_scale, skip=0.0, scaled=False):
    """The case of a tidy dataset with that network, of normal weights and no biases and not too narrow, or None."""
    depth = dataset.depth.values[-1]
    for case in dataset.case.values:
        at = dataset.sel(case=case).isel(depth=-1, seed=0)
        if _setting(at, "activation") != activation or _setting(at, "initialisation") not in _NORMAL:
            continue
        if _setting(at, "bias_std") != 0 or _setting(at, "width") < _WIDE:
            continue
        branch = depth**-0.5 if scaled else 1.0
        found = (float(at.weight_scale), float(at.skip), float(at.branch))
        if np.allclose(found, (weight_scale, skip, branch), rtol=1e-4):
            return dataset.sel(case=case)
    return None


_CAPTIONS = {
    "gradient_by_layer": (
        "The gradient in each layer's output relative to the last layer's, for networks of 1 to 128 layers; "
        "medians over seeds."
    ),
    "attenuation_by_depth": (
        "The gradient at the input over that at the last layer; dotted lines have skip connections, bands are "
        "the range over seeds."
    ),
    "factor_per_layer": (
        "The factor by which one layer changes the gradient's norm, each seed beside mean-field theory."
    ),
    "unit_chains": (
        "Chains of single sigmoids with equal weights: the bound of 1/4 a layer holds for unit weights alone."
    ),
    "order_to_chaos": (
        "Left: the gradient's norm by layer (dashed: theory). Right: its squared factor a layer against the "
        "variance of the weights."
    ),
    "activation_scale": "Second moment of the activations by layer, medians over seeds.",
}


def figures(dataset):
    """Gradient norms by layer, the factor of a layer, the whole network's factor, chains of units, activations."""
    drawn = {}
    data = _tidy(dataset)
    if _sweeps_gain(dataset):
        drawn["order_to_chaos"] = _draw_chaos(dataset)
    if data.sizes["depth"] > 1:
        drawn["gradient_by_layer"] = _draw_layers(data)
        drawn["attenuation_by_depth"] = _draw_depths(data)
    if data.sizes["case"] > 1 and "order_to_chaos" not in drawn:
        drawn["factor_per_layer"] = _draw_factors(data)
        if data.sizes["depth"] == 1:
            drawn["activation_scale"] = _draw_moments(data)
    if data.sizes["depth"] > 1:
        drawn["unit_chains"] = _draw_chains(data)
    for name, figure in drawn.items():
        figure.set_label(_CAPTIONS[name])
    return drawn


def _draw_layers(data):
    """A panel per case: the gradient's norm at each layer, one line per depth, with bound and theory of the deepest."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator

    from jaxcalc import style

    cases = list(data.case.values[:8])
    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    figure, axes = style.subplots(
        rows, columns, width="page", height=0.55 + 1.75 * rows, sharex=True, sharey="row", squeeze=False
    )
    colors = style.sequence(data.sizes["depth"])
    for ax, case in zip(axes.flat, cases, strict=False):
        one = data.sel(case=case)
        signal, theory = _over_seeds(one.signal), _over_seeds(one.theory_signal)
        for depth, color in zip(data.depth.values, colors, strict=True):
            line = signal.sel(depth=depth)
            ax.plot(data.layer, line, color=color, marker="o" if depth == 1 else "", markersize=2)
        deepest = int(data.depth.max())
        ax.plot(data.layer, theory.sel(depth=deepest), **style.THEORY)
        if _ACTIVATIONS[int(one.activation_index.isel(depth=0, seed=0))] == "sigmoid" and not float(one.skip.max()):
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
    return figure


def _draw_factors(data):
    """What one layer does to the gradient's norm, each case's seeds beside theory, at about twenty layers."""
    from matplotlib.ticker import NullFormatter

    from jaxcalc import style

    depth = data.depth.values[np.abs(np.log(data.depth.values / 20)).argmin()]
    at = data.sel(depth=depth)
    factors = at.attenuation ** (1 / depth)
    theory = (at.theory_signal.sel(layer=0) / at.theory_signal.sel(layer=depth)) ** (1 / depth)
    order = np.argsort(factors.median("seed").values)
    figure, ax = style.subplots(height=0.75 + 0.19 * len(order))
    ax.axvline(1.0, color="#333333", linewidth=0.8)
    for row, which in enumerate(order):
        name = _ACTIVATIONS[int(at.activation_index.isel(case=which, seed=0))]
        points = factors.isel(case=which).values
        look = style.method(name, linestyle="", markersize=4.2, alpha=0.85)
        ax.plot(points, np.full(points.shape, row), **{**look, "label": None})
        expected = float(theory.isel(case=which).mean())
        if np.isfinite(expected):
            ax.plot([expected] * 2, [row - 0.38, row + 0.38], **{**style.THEORY, "linestyle": "-", "linewidth": 1.3})
    ax.plot([], [], **{**style.THEORY, "linestyle": "-", "linewidth": 1.3}, label="mean-field theory")
    ax.set_yticks(range(len(order)), [str(data.case.values[i]) for i in order])
    ax.set_ylim(-0.7, len(order) - 0.3)
    ax.grid(visible=False, axis="y")
    ax.set_xscale("log")
    ticks = [t for t in (0.125, 0.25, 0.5, 1.0, 2.0, 4.0) if factors.min() / 1.6 < t < factors.max() * 1.6]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(f"gradient's factor per layer ({depth} layers)")
    ax.legend(loc="upper left")
    return figure


def _draw_depths(data):
    """Gradient at the input over gradient at the last layer, against depth, one line per case."""
    from jaxcalc import style

    figure, ax = style.subplots(width="page", height=4.3)
    through = _over_seeds(data.attenuation)
    low, high = (10.0 ** float(f(np.log10(through)) + step) for f, step in ((np.min, -2), (np.max, 2)))
    ends = []
    for case in data.case.values:
        one = data.sel(case=case)
        name = _ACTIVATIONS[int(one.activation_index.isel(depth=0, seed=0))]
        dashes = (0, (1, 1)) if float(one.skip.max()) else "-"
        look = {**style.method(name), "linestyle": dashes, "label": None}
        ax.fill_between(
            data.depth, one.attenuation.min("seed"), one.attenuation.max("seed"), color=look["color"], alpha=0.12, lw=0
        )
        line = through.sel(case=case)
        ax.plot(data.depth, line, **look)
        ends.append((str(case), float(data.depth[-1]), float(line[-1]), look["color"]))
    bound = data.bound.values[data.depth.values]
    ax.plot(data.depth, bound, label=r"$0.25^{\mathrm{depth}}$, the bound for unit weights", **style.THEORY)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.set_xlim(data.depth.min() * 0.93, data.depth.max() * 1.07)
    ax.set_xticks(data.depth.values, [str(d) for d in data.depth.values])
    ax.set_xlabel("layers")
    ax.set_ylabel("gradient norm at the input over last layer")
    ax.legend(loc="lower left")
    _label_ends(ax, ends, np.log10(low), np.log10(high))
    return figure


def _label_ends(ax, ends, low, high, points=8.5):
    """Names at the right of a semilogarithmic plot's lines, moved apart until none overlap, each some points high."""
    ends = sorted(ends, key=lambda end: end[2])
    places = np.array([np.log10(end[2]) for end in ends])
    # The axis is about four fifths of the figure's height.
    gap = (high - low) * points / (0.8 * 72 * ax.get_figure().get_figheight())
    for _ in range(200):
        for i in range(len(places) - 1):
            short = gap - (places[i + 1] - places[i])
            if short > 0:
                places[i] -= short / 2
                places[i + 1] += short / 2
        places = np.clip(places, low, high)
    for (label, x, y, color), place in zip(ends, places, strict=True):
        ax.annotate(
            label,
            (x, y),
            xytext=(1.03, (place - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            color=color,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def _draw_moments(data):
    """Mean square of each layer's output in the deepest networks, beside mean-field theory."""
    from jaxcalc import style

    deepest = data.isel(depth=-1)
    cases = [c for c in data.case.values if not float(deepest.skip.sel(case=c).max())]
    figure, ax = style.subplots(width=5.2, height=3.4)
    ends = []
    for case in cases:
        one = deepest.sel(case=case)
        look = style.method(_ACTIVATIONS[int(one.activation_index[0])], marker="")
        moment = _over_seeds(one.moment.isel(layer=slice(1, None)))
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
    _label_ends(ax, ends, np.log10(low), np.log10(high))
    return figure


def _draw_chains(data):
    """The derivative through chains of single sigmoids, and the bound that holds for unit weights."""
    from jaxcalc import style

    figure, ax = style.subplots()
    layers = data.layer.values[: min(31, data.sizes["layer"])]
    for chain, name in zip(data.chain.values, ("blue", "green", "vermilion"), strict=True):
        line = data.chain_gradient.sel(chain=chain).values[: len(layers)]
        ax.plot(layers, line, color=style.COLORS[name])
        middle = len(layers) // 2
        below = line[-1] < 0.1
        ax.annotate(
            str(chain),
            (layers[middle], line[middle]),
            xytext=(-4, -4) if below else (-4, 4),
            textcoords="offset points",
            ha="right",
            va="top" if below else "bottom",
            fontsize=7.5,
            color=style.COLORS[name],
        )
    ax.plot(layers, data.bound.values[: len(layers)], **style.THEORY)
    spot = len(layers) // 2
    ax.annotate(
        r"$0.25^{\mathrm{layers}}$",
        (layers[spot], data.bound.values[spot]),
        xytext=(5, 3),
        textcoords="offset points",
        fontsize=7.5,
    )
    ax.set_yscale("log")
    ax.set_xlim(0, layers[-1])
    ax.set_xlabel("sigmoids in a row")
    ax.set_ylabel("derivative of output in input")
    return figure


def _draw_chaos(dataset):
    """Across the critical gain: the gradient by layer, and the factor of a layer beside theory."""
    from jaxcalc import style

    data = dataset if "seed" in dataset.attenuation.dims else dataset.expand_dims("seed")
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.7)
    depth = int(np.isfinite(data.signal).any([d for d in data.signal.dims if d != "layer"]).sum()) - 1
    ends = []
    for gain, color in zip(data.gain.values, style.sequence(data.sizes["gain"]), strict=True):
        line = _over_seeds(data.signal.sel(gain=gain))
        line = line / float(line[depth])
        left.plot(data.layer, line, color=color)
        theory = data.theory_signal.sel(gain=gain).mean("seed")
        left.plot(data.layer, theory / float(theory[depth]), **style.THEORY)
        ends.append((rf"$\sigma_w^2$ = {gain**2:.4g}", 0.0, float(line[0]), color))
    left.set_yscale("log")
    left.set_xlim(depth, 0)
    low, high = (np.log10(v) for v in left.get_ylim())
    left.set_ylim(10**low, 10**high)
    _label_ends(left, ends, low, high, points=12.5)  # with an exponent above an index
    left.set_xlabel("layer, from the last to the input")
    left.set_ylabel("gradient norm over last layer")
    squared, theory = _squared_factors(data, depth)
    scale = data.gain.values**2
    right.axhline(1.0, color="#333333", linewidth=0.8)
    right.plot(scale, theory, **style.THEORY, label=r"mean field, $\chi_1$")
    for seed in data.seed.values:
        right.plot(scale, squared.sel(seed=seed), **style.method("tanh", linestyle="", label=None, alpha=0.8))
    right.plot([], [], **style.method("tanh", linestyle="", label="measured, each seed"))
    if theory.min() < 1 < theory.max():
        critical = float(np.interp(1.0, theory, scale))
        right.axvline(critical, color="#333333", linewidth=0.8)
        right.annotate("order", (critical, 1), xytext=(-6, 34), textcoords="offset points", ha="right")
        right.annotate("chaos", (critical, 1), xytext=(6, 34), textcoords="offset points")
    right.set_xlabel(r"variance of weights $\times$ width, $\sigma_w^2$")
    right.set_ylabel("squared gradient's factor per layer")
    right.legend(loc="lower right")
    return figure


def _sweeps_gain(dataset):
    """Whether the gain is swept, and nothing else beside the seed."""
    return set(dataset.attenuation.dims) in ({"gain"}, {"gain", "seed"}) and dataset.sizes["gain"] > 2


def _squared_factors(data, depth, skipped=10):
    """Squared-gradient factor per layer past the first ``skipped`` layers, by gain and seed, and theory's last one."""
    skipped = min(skipped, depth - 1)
    ratio = data.signal.sel(layer=skipped) / data.signal.sel(layer=depth)
    theory = data.theory_factor.sel(layer=depth) ** 2
    others = [d for d in theory.dims if d != "gain"]
    return ratio ** (2 / (depth - skipped)), theory.mean(others, skipna=False).values


def tables(dataset):
    """The whole network's factor and a layer's, by case, at about twenty layers and at the deepest."""
    data = _tidy(dataset)
    rows = []
    through = _over_seeds(data.attenuation)
    near = data.depth.values[np.abs(np.log(data.depth.values / 20)).argmin()]
    for case in data.case.values[:12]:
        row = {"network": str(case)}
        for depth in dict.fromkeys((int(near), int(data.depth.values[-1]))):
            ratio = float(through.sel(case=case, depth=depth))
            row |= {f"{depth} layers": f"{ratio:.2e}", f"a layer of {depth}": f"{ratio ** (1 / depth):.3f}"}
        rows.append(row)
    return {"Gradient norm at the input over the last layer": rows}


def _deep(dataset):
    """The tidy dataset of at least three seeds: fewer draws, and a deep network's gradient is one draw's luck."""
    data = _tidy(dataset)
    if data.sizes["seed"] < _SEEDS:
        raise NotJudged(f"needs {_SEEDS} seeds")
    return data


def _ratio(data, depth, *network, **changes):
    """The gradient at the input over that at the last layer of one network of that depth."""
    return float(_over_seeds(_found(data, *network, **changes).attenuation.sel(depth=depth)))


def _found(data, activation, weight_scale, **changes):
    case = _find(data, activation, weight_scale, **changes)
    if case is None:
        raise NotJudged(f"needs a {activation} network of weight variance {weight_scale:g}, {changes}")
    return case


def _judge_bound(dataset):
    return close(dataset.bound.sel(layer=20))


def _judge_chains(dataset):
    """Chains of single sigmoids need no network."""
    data = _tidy(dataset)
    bound = float(data.bound.sel(layer=20))
    one, four, eight = (float(data.chain_gradient.sel(chain=c, layer=20)) for c in _CHAINS)
    return Finding(
        below(one, bound),
        limits=less(bound, [four, eight]),
        measured=f"{one:.3e}; w = 4 leaves {four:.6f}, w = 8 {eight:.3g}",
        figure="unit_chains" if data.sizes["depth"] > 1 else None,
    )


def _judge_depth(dataset):
    """Exponential decay and growth with depth; float32 holds no gradient of 1e-80."""
    data = _deep(dataset)
    depths = data.depth.values[data.depth.values >= 5]
    if len(depths) < 3 or depths[-1] < 10 * depths[0]:
        raise NotJudged("needs three depths from 5 on that span a decade")
    fits = []
    for network in (("sigmoid", 1.0), ("tanh", 4.0)):
        gradient = _found(data, *network).attenuation.sel(depth=depths)
        logs = np.log(gradient.values).mean(gradient.get_axis_num("seed"))
        fits.append((np.exp(np.polyfit(depths, logs, 1)[0]), np.corrcoef(depths, logs)[0, 1]))
    (shrinks, down), (grows, up) = fits
    return Finding(
        close(down) & close(-up) & less(shrinks, 1.0) & less(1.0, grows),
        measured=f"sigmoid {shrinks:.3f} a layer ({down:.5f}), tanh with gain 2 {grows:.3f} ({up:.5f})",
        figure="attenuation_by_depth",
    )


def _judge_activations(dataset):
    data = _deep(dataset)
    s, t, r = (_ratio(data, 20, *n) for n in (("sigmoid", 1.0), ("tanh", 1.0), ("relu", 2.0)))
    return Finding(
        less(s, [1e-11, t]) & less(t, r) & between(r, 0.5, 2.0),
        measured=f"over 20 layers: sigmoid {s:.2e}, tanh (Glorot) {t:.3f}, ReLU (He) {r:.3f}",
        figure="attenuation_by_depth",
    )


def _judge_relu(dataset):
    data = _deep(dataset)
    small, kept = _ratio(data, 20, "relu", 0.25), _ratio(data, 20, "relu", 2.0)
    return Finding(
        equal(data.relu_slope),
        limits=below(small, 1e-6),
        measured=f"slope at 3 is {float(data.relu_slope)}; 20 layers of std 0.5/sqrt(n) leave "
        f"{small:.1e}, He's {kept:.2f}",
        figure="factor_per_layer",
    )


def _judge_residual(dataset):
    """What skip connections cure where their branches are scaled, and what they break where not."""
    data = _deep(dataset)
    bare, skipped = _ratio(data, 50, "relu", 0.5), _ratio(data, 50, "relu", 0.5, skip=1.0)
    full = _ratio(data, 50, "relu", 2.0, skip=1.0)
    scaled = _ratio(data, 50, "relu", 2.0, skip=1.0, scaled=True)
    return Finding(
        below(bare, 1e-10) & close(scaled),
        limits=above([skipped, full], 1e3),
        measured=f"half of He's weights: {bare:.1e} without skips; branches scaled by 1/sqrt(depth) "
        f"{scaled:.2f}; unscaled {skipped:.3g}, with He's full weights {full:.2g}",
        figure="attenuation_by_depth",
    )


def _judge_moments(dataset):
    """Whether the scale of activations is kept to layer 50, asked of wide networks only."""
    data = _deep(dataset)

    def kept(activation, weight_scale):
        case = _found(data, activation, weight_scale)
        if _setting(case, "width") < 512:
            raise NotJudged("needs networks of 512 units or more")
        moment = case.moment.sel(depth=50).mean("seed", skipna=False)
        return float(moment.sel(layer=50) / moment.sel(layer=1))

    r, t, w = kept("relu", 2.0), kept("tanh", 1.0), kept("relu", 1.0)
    helped = "" if _find(data, "tanh", 25 / 9) is None else f" (gain 5/3: {kept('tanh', 25 / 9):.2f})"
    return Finding(
        between(r, 0.5, 2.0),
        limits=below(t, 0.1) & below(w, 1e-10),
        measured=f"He with ReLU {r:.2f}; Glorot with tanh {t:.3f}{helped}, with ReLU {w:.1e}",
        figure="activation_scale",
    )


def _judge_chaos(dataset):
    """Mean-field theory's factor against the measured one, across the critical point of a wide plain tanh network."""
    settings = {"activation": "tanh", "residual": "none"}
    if not _sweeps_gain(dataset) or any(_setting(dataset, name) != value for name, value in settings.items()):
        raise NotJudged("needs a sweep of a plain tanh network's gain")
    if _setting(dataset, "initialisation") not in _NORMAL or _setting(dataset, "width") < 200:
        raise NotJudged("needs 200 units or more, of normal weights")
    depth = int(_setting(dataset, "depth"))
    if depth < 40:
        raise NotJudged("needs 40 layers or more")
    _deep(dataset)
    squared, theory = _squared_factors(dataset, depth)
    gaps = np.abs(np.log(squared).mean("seed", skipna=False).values - np.log(theory))
    if not (theory > 1).any() or not (theory < 1).any():
        raise NotJudged("needs gains on both sides of the critical point")
    return Finding(
        below(gaps, 0.05),
        measured=f"within {100 * np.expm1(gaps.max()):.1f} % at every gain, chi1 from {theory.min():.4f} to "
        f"{theory.max():.4f}",
        figure="order_to_chaos",
    )


claims = {
    "quarter-to-the-20": _judge_bound,
    "twenty-sigmoid-layers-vanish": _judge_chains,
    "gradient-shrinks-exponentially-in-depth": _judge_depth,
    "relu-tanh-sigmoid-gradient-flow": _judge_activations,
    "relu-passes-gradient-unattenuated": _judge_relu,
    "residual-connections-carry-gradient": _judge_residual,
    "he-xavier-keep-variance-constant": _judge_moments,
    "gradient-factor-is-chi1": _judge_chaos,
}
