"""Which combination of activation, initialisation, residual connection and normalisation lets a gradient through?

Every combination at one depth, its factor a layer beside mean-field theory where there is one.
"""

import functools
from typing import Literal

import numpy as np
import pydantic

from experiments.vanishing_gradients import layer_variances, mean_field_theory, some_digits
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, between, jax, jnp

kind = "compiled"
dtype = "float64"


class Config(lab.Config):
    """Random networks of all combinations, seen by a batch of digits."""

    activations: tuple[Literal["linear", "sigmoid", "tanh", "relu", "gelu"], ...] = ("sigmoid", "tanh", "relu", "gelu")
    """functions applied by every layer"""
    initialisations: tuple[Literal["naive", "glorot", "he", "lecun", "orthogonal", "critical"], ...] = (
        "naive",
        "glorot",
        "he",
        "orthogonal",
        "critical",
    )
    """how the layers' weights are drawn"""
    residuals: tuple[Literal["none", "plain", "scaled", "two_matrix"], ...] = ("none", "plain", "scaled", "two_matrix")
    """how a layer's input is added to what it makes"""
    normalisations: tuple[Literal["none", "batch", "layer", "rms"], ...] = ("none", "batch", "layer", "rms")
    """what is normalised before bias and activation"""
    depth: int = pydantic.Field(default=50, ge=4)
    """layers"""
    width: int = pydantic.Field(default=64, ge=8)
    """units in a layer"""
    batch: int = pydantic.Field(default=16, ge=4, le=1797)
    """digits in the batch, drawn anew for each network"""
    draws: int = pydantic.Field(default=3, ge=2)
    """random networks, whose weights all combinations share but for their scale"""


_CELL = ("activation", "initialisation", "residual", "normalisation")
VARIABLES = {
    "activation": Variable(("activation",), "", "activation"),
    "initialisation": Variable(("initialisation",), "", "initialisation"),
    "residual": Variable(("residual",), "", "residual connection"),
    "normalisation": Variable(("normalisation",), "", "normalisation before the activation"),
    "layers": Variable((), "", "layers of every network"),
    "weight_scale": Variable(("activation", "initialisation"), "", "variance of a weight times the width"),
    "attenuation": Variable((*_CELL, "draw"), "", "gradient norm at the input over that at the last layer"),
    "largest": Variable((*_CELL, "draw"), "", "largest root mean square that a layer passes on"),
    "theory": Variable(_CELL, "", "factor on the gradient's norm a layer, mean-field theory"),
}


def _variances(config):
    """Of weights and of biases, each ``(activation, initialisation)``."""
    rows = [
        [layer_variances(phi, initialisation, config.width) for initialisation in config.initialisations]
        for phi in config.activations
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def shared(config):
    """Theory of every combination."""
    from jaxcalc.functions import datasets

    # The mean square of the embedded input.
    moment = float(np.mean(datasets.standardize(datasets.digits()[0]).values ** 2))
    sw2, sb2 = _variances(config)

    def factor(phi, residual, normalisation, sw2, sb2):
        branch = config.depth**-0.5 if residual == "scaled" else 1.0
        followed = mean_field_theory(
            phi,
            moment,
            sw2=sw2,
            sb2=sb2,
            residual=residual,
            branch=branch,
            normalisation=normalisation,
            batch=config.batch,
            num_layers=config.depth,
        )
        return jnp.exp(jnp.mean(jnp.log(followed.factor)) / 2)

    # At infinite width RMS and layer normalisation are the same.
    alike = ["layer" if name == "rms" else name for name in config.normalisations]

    def by_normalisation(row, residual):
        one = lambda name: jax.vmap(functools.partial(factor, config.activations[row], residual, name))
        followed = {name: one(name)(sw2[row], sb2[row]) for name in dict.fromkeys(alike)}
        return [followed[name] for name in alike]

    @jax.jit
    def factors():
        return jnp.array([[by_normalisation(row, r) for r in config.residuals] for row in range(len(sw2))])

    theory = np.moveaxis(np.asarray(factors()), -1, 1)
    return {
        "activation": np.array(config.activations),
        "initialisation": np.array(config.initialisations),
        "residual": np.array(config.residuals),
        "normalisation": np.array(config.normalisations),
        "layers": np.array(config.depth),
        "weight_scale": sw2,
        "theory": np.where(np.isnan(sw2)[:, :, None, None], np.nan, theory),
    }


def run(config, key):
    """All combinations on one draw of the weights after the other."""
    attenuation, largest = jax.lax.map(lambda key: _draw(config, key), jax.random.split(key, config.draws))
    by_draw = lambda values: jnp.moveaxis(values, 0, 4)
    return {"attenuation": by_draw(attenuation), "largest": by_draw(largest)}


def _draw(config, key):
    """One draw of the weights in all combinations: gradients' ratio, and the largest root mean square of a state."""
    import optax

    from jaxcalc import models

    weights_key, batch_key = jax.random.split(key)
    inputs, targets = some_digits(batch_key, config.batch)
    losses = lambda outputs: optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    sizes = inputs.shape[1], config.width, 10
    deep = functools.partial(models.deep_network, *sizes, max_depth=config.depth)
    # Of variance 1 over the width, which the combinations scale; the two draws share their embedding and readout.
    normal = deep(phi="linear", initialisation="lecun", residual="two_matrix").init(weights_key, bias_std=1.0)
    rotations = deep(phi="linear", initialisation="orthogonal").init(weights_key).layers.weights
    is_orthogonal = np.array([name == "orthogonal" for name in config.initialisations])
    sw2, sb2 = _variances(config)

    def cell(row, phi, residual, normalisation):
        """The combination with every initialisation."""
        network = deep(phi=phi, residual=residual, normalisation=normalisation)

        def through(variances):
            sw2, sb2, is_orthogonal = variances
            weights = jnp.sqrt(sw2) * jnp.where(is_orthogonal, rotations, normal.layers.weights)
            layers = normal.layers._replace(weights=weights, biases=jnp.sqrt(sb2) * normal.layers.biases)
            params = normal._replace(layers=layers, outer=normal.outer if residual == "two_matrix" else None)
            states, gradients = models.states_and_gradients(network.trace, losses, params, inputs)
            norms = models.state_norms(gradients)
            return norms[0] / norms[-1], jnp.sqrt(jnp.max(jnp.mean(states**2, (1, 2))))

        return jax.lax.map(through, (sw2[row], sb2[row], is_orthogonal))

    cells = [
        [[cell(row, phi, r, n) for n in config.normalisations] for r in config.residuals]
        for row, phi in enumerate(config.activations)
    ]
    stacked = (jnp.array([[[c[part] for c in row] for row in rows] for rows in cells]) for part in range(2))
    return tuple(jnp.moveaxis(values, -1, 1) for values in stacked)


def _through(dataset):
    """The gradient at the input over that at the last layer, geometric mean over draws."""
    return np.exp(np.log(dataset.attenuation).mean("draw", skipna=False))


def _factor(dataset):
    """The same, a layer."""
    return _through(dataset) ** (1 / float(dataset.layers))


_TITLES = {
    "none": "none",
    "plain": "plain",
    "scaled": "scaled",
    "two_matrix": "two\nmatrices",
    "glorot": "Glorot",
    "he": "He",
    "lecun": "LeCun",
    "relu": "ReLU",
    "gelu": "GELU",
}
_NORMS = {"none": "no normalisation", "batch": "batch norm", "layer": "layer norm", "rms": "RMS norm"}


def figures(dataset):
    """The factor of every combination, and the same against theory."""
    return {
        "factor_by_architecture": _draw_cells(dataset),
        "measured_against_theory": _draw_theory(dataset),
    }


def _draw_cells(dataset):
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    rows, columns = dataset.sizes["activation"], dataset.sizes["normalisation"]
    lanes = dataset.sizes["initialisation"]
    figure, axes = style.subplots(
        rows,
        columns,
        width="page",
        height=1.0 + rows * (0.1 + 0.17 * lanes),
        letters=False,
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    colors = ScalarMappable(Normalize(-0.5, 0.5), "RdBu_r")
    factor = _factor(dataset)
    lost = _lost(dataset)
    for row, phi in enumerate(dataset.activation.values.tolist()):
        for column, norm in enumerate(dataset.normalisation.values.tolist()):
            ax, at = axes[row, column], {"activation": phi, "normalisation": norm}
            shown = factor.sel(at).transpose("initialisation", "residual")
            known = np.isfinite(dataset.weight_scale.sel(activation=phi)).broadcast_like(shown)
            told = [
                ["\u2013" if not k else f"{v:.2f}" if np.isfinite(v) else "" for v, k in zip(*both, strict=True)]
                for both in zip(shown.values, known.values, strict=True)
            ]
            faces = colors.to_rgba(np.log2(shown.values))
            faces[~np.isfinite(shown.values)] = (0.88, 0.88, 0.88, 1.0)
            texts = shown.copy(data=np.array(told)).assign_coords(
                {dim: [_TITLES.get(name, name) for name in shown[dim].values.tolist()] for dim in shown.dims}
            )
            style.cells(ax, texts, faces, fontsize=5.5)
            for y, x in np.argwhere((lost.sel(at).transpose(*shown.dims) & known).values):
                box = Rectangle(
                    (x - 0.5, y - 0.5), 1, 1, fill=False, hatch="////", edgecolor="black", linewidth=0, zorder=1
                )
                ax.add_patch(box)
            ax.tick_params(labelsize=6.5)
            if row == 0:
                ax.set_title(_NORMS[norm], fontsize=8, loc="center")
        axes[row, 0].set_ylabel(_TITLES.get(phi, phi), fontsize=8)
    axes[0, 0].invert_yaxis()
    figure.supxlabel("residual connection", fontsize=8)
    bar = figure.colorbar(colors, ax=axes, shrink=0.6, pad=0.01, extend="both", ticks=[-0.5, -0.25, 0, 0.25, 0.5])
    bar.ax.set_yticklabels([f"{2**tick:.2f}" for tick in bar.get_ticks()])
    bar.set_label("gradient's factor a layer")
    depth = int(dataset.layers)
    width = lab.params(dataset)["width"]
    figure.set_label(
        f"The factor by which a layer changes the gradient's norm, through {depth} layers of {width} units, "
        "geometric means over networks: white lets it through. Hatched: what the network computes is no finite "
        "number, or out of single precision's range. Dashes: no critical weights exist of unit mean square."
    )
    return figure


def _lost(dataset):
    """Where signal or gradient is no finite number, or out of single precision's range."""
    single = np.finfo(np.float32)
    attenuation, largest = dataset.attenuation, dataset.largest
    kept = (attenuation < single.max) & (attenuation > single.tiny) & (largest < single.max)
    return ~kept.all("draw")


def _draw_theory(dataset):
    figure, ax = style.subplots(height=3.0)
    ratio = _factor(dataset) / dataset.theory
    marks = {"none": ("black", "o"), "batch": ("vermilion", "s"), "layer": ("blue", "^"), "rms": ("orange", "D")}
    norms = dataset.normalisation.values.tolist()
    ax.axhline(1.0, **style.THEORY)
    for number, norm in enumerate(norms):
        color, marker = marks[norm]
        shown = ratio.sel(normalisation=norm).transpose("residual", "activation", "initialisation")
        points = shown.values.reshape(shown.shape[0], -1)
        places = np.arange(len(points))[:, None] + 0.2 * (number - (len(norms) - 1) / 2) + 0.0 * points
        look = {"color": style.COLORS[color], "marker": marker, "linestyle": "", "markersize": 2.6, "alpha": 0.6}
        ax.plot(places.ravel(), points.ravel(), label=_NORMS[norm], **look)
    residuals = dataset.residual.values.tolist()
    ax.set_xticks(range(len(residuals)), [_TITLES.get(name, name) for name in residuals])
    ax.grid(visible=False, axis="x")
    ax.set(xlabel="residual connection", ylabel="factor a layer, measured over theory")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.set_label(
        "The gradient's factor a layer over mean-field theory's, a point for each activation and initialisation. "
        "Theory is that of infinite width, with batch norm of the batch, and behind skips of large batches. "
        "Behind skips of one matrix ReLU's and GELU's gradients grow along the signal, faster than theory's, "
        "which are independent of it."
    )
    return figure


def tables(dataset):
    """How many combinations keep the gradient within a decade."""
    through = _through(dataset)
    kept = (through >= 0.1) & (through <= 10.0)
    known = np.isfinite(dataset.weight_scale)
    rows = []
    for residual in dataset.residual.values.tolist():
        row = {"residual connection": residual}
        for norm in dataset.normalisation.values.tolist():
            inside = kept.sel(residual=residual, normalisation=norm) & known
            row[_NORMS[norm]] = f"{int(inside.sum())} of {int(known.sum())}"
        rows.append(row)
    depth = int(dataset.layers)
    return {f"Activations and initialisations that keep the gradient within a decade over {depth} layers": rows}


def _needed(dataset, **names):
    """Refuse a run that lacks what a judgement is about."""
    for dim, wanted in names.items():
        missing = set(wanted) - set(dataset[dim].values.tolist())
        if missing:
            raise NotJudged(f"needs {dim}s {', '.join(sorted(missing))}")
    if int(dataset.layers) < 40:
        raise NotJudged("needs 40 layers or more")


def _judge_scale(dataset):
    """Weights of very different size, with normalisation and without."""
    sizes = ("naive", "glorot", "he")
    _needed(dataset, initialisation=sizes, normalisation=_NORMS, residual=["none"])
    logs = np.log(_factor(dataset).sel(initialisation=list(sizes)))
    spread = logs.max("initialisation", skipna=False) - logs.min("initialisation", skipna=False)
    normalised = spread.sel(normalisation=["batch", "layer", "rms"])
    bare = spread.sel(normalisation="none", residual="none")
    return Finding(
        below(normalised) & above(bare, 0.5),
        measured=f"weights of variance 1, 1/n and 2/n: factors within {100 * np.expm1(float(normalised.max())):.2g} % "
        f"with normalisation, and apart by {np.exp(float(bare.min())):.1f} at least without",
        figure="factor_by_architecture",
    )


def _judge_normalisation(dataset):
    """What each normalisation leaves of the gradient without residual connections, weights being He's."""
    _needed(
        dataset,
        activation=["sigmoid", "relu"],
        initialisation=["he"],
        normalisation=["batch", "layer", "rms"],
        residual=["none"],
    )
    at = _through(dataset).sel(initialisation="he", residual="none")
    kept = at.sel(activation="relu", normalisation=["layer", "rms"])
    batch = float(at.sel(activation="relu", normalisation="batch"))
    sigmoid = float(at.sel(activation="sigmoid", normalisation="layer"))
    depth = int(dataset.layers)
    return Finding(
        between(kept, 0.1, 10.0),
        limits=above(batch, 1e3) & below(sigmoid, 1e-10),
        measured=f"through {depth} layers of ReLU with layer norm {float(kept[0]):.2f}, RMS norm {float(kept[1]):.2f}, "
        f"but batch norm {batch:.2g}; of sigmoids with layer norm {sigmoid:.1e}",
        figure="factor_by_architecture",
    )


def _judge_skips(dataset):
    """Scaled branches, of all activations and normalisations and the usual weights; plain ones, and naive weights."""
    usual = ["glorot", "he", "orthogonal"]
    _needed(dataset, activation=["relu"], initialisation=["naive", *usual], residual=["plain", "scaled"])
    _needed(dataset, normalisation=_NORMS)
    through = _through(dataset)
    scaled = through.sel(residual="scaled", initialisation=usual)
    relu = through.sel(activation="relu", normalisation="none")
    plain = float(relu.sel(residual="plain", initialisation="he"))
    naive = float(relu.sel(residual="scaled", initialisation="naive"))
    return Finding(
        between(scaled, 0.1, 10.0),
        limits=above([plain, naive], 1e3),
        measured=f"with scaled branches {float(scaled.min()):.2f} to {float(scaled.max()):.2f}; ReLU behind plain "
        f"skips {plain:.1g}, with naive weights {naive:.1g}",
        figure="factor_by_architecture",
    )


def _judge_theory(dataset):
    """Theory of infinite width, weights not being naive, and where it takes signal and gradient as independent."""
    _needed(dataset, activation=["relu"], initialisation=["he"], residual=["none", "plain"], normalisation=_NORMS)
    known = np.isfinite(dataset.weight_scale).broadcast_like(dataset.theory)
    off = np.log(_factor(dataset) / dataset.theory).transpose(*dataset.theory.dims)
    independent = (dataset.normalisation != "none") | dataset.residual.isin(["none", "two_matrix"])
    asked = (known & independent & (dataset.initialisation != "naive")).transpose(*off.dims)
    gaps = np.abs(off.values[asked.values])
    relu = float(np.exp(off.sel(activation="relu", initialisation="he", residual="plain", normalisation="none")))
    return Finding(
        below(gaps),
        limits=above(relu, 1.1),
        measured=f"{gaps.size} combinations within {100 * np.expm1(gaps.max()):.1f} %; ReLU behind plain skips of one "
        f"matrix {relu:.2f} of it",
        figure="measured_against_theory",
    )


claims = {
    "normalised-gradients-forget-weight-scale": _judge_scale,
    "normalisation-lets-gradients-through": _judge_normalisation,
    "scaled-skips-let-any-gradient-through": _judge_skips,
    "mean-field-factor-of-every-architecture": _judge_theory,
}
