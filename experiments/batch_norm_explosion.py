"""How fast do gradients grow through batch-normalised layers, by activation and batch, and what cures it?

At initialisation. Batch normalisation takes the weights' size out, so no draw of them helps. Mean-field theory gives a
factor a layer, for ReLU sqrt(pi / (pi - 1)) = 1.211 in large batches and more in small ones. Skips end the growth.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, close, jax, jnp, params

kind = "compiled"
dtype = "float32"
NETWORKS = {
    "ReLU": ("relu", "none"),
    "tanh": ("tanh", "none"),
    "linear": ("linear", "none"),
    "ReLU, plain skip": ("relu", "plain"),
    "ReLU, scaled skip": ("relu", "scaled"),
}
_BARE = [name for name, (_, residual) in NETWORKS.items() if residual == "none"]
_SKIPPED = 5  # layers at either end: until the batch, and the gradient, are spread as the network spreads them


class Config(lab.Config):
    """Random batch-normalised networks, a batch of normal inputs going up and normal gradients coming down."""

    batches: tuple[int, ...] = pydantic.Field(default=(8, 16, 64, 128, 512), min_length=1)
    """examples in a batch, in order"""
    width: int = pydantic.Field(default=512, ge=16)
    """units in a layer"""
    depth: int = pydantic.Field(default=30, ge=2 * _SKIPPED + 2)
    """layers"""
    draws: int = pydantic.Field(default=4, ge=3)
    """random networks, whose weights all activations and batches share"""

    @pydantic.model_validator(mode="after")
    def _in_order(self):
        if self.batches[0] < 4 or list(self.batches) != sorted(set(self.batches)):
            raise ValueError(f"batches must rise from 4 on (below, growth has no mean), got {self.batches}")
        return self


VARIABLES = {
    "network": Variable(("network",), "", "activation and skip connection"),
    "batch": Variable(("batch",), "", "examples in a batch"),
    "layer": Variable(("layer",), "", "layer, 0 being the input"),
    "gradient": Variable(("network", "batch", "draw", "layer"), "", "norm of the gradient over that at the last layer"),
    "moment": Variable(("network", "batch", "draw", "layer"), "", "mean square of the layer's output"),
    "theory": Variable(("network", "batch"), "", "gradient's factor a layer at infinite width"),
    "limit": Variable(("network",), "", "the same for infinite batches"),
    "theory_gradient": Variable(("network", "layer"), "", "norm of the gradient behind skips in large batches, theory"),
}


def shared(config):
    """Theory at infinite width: the factor without skips, by batch and of infinite ones, and gradients behind skips."""
    from jaxcalc.functions import batch_norm_growth, mean_field

    def factor(phi, batch):
        if phi in ("relu", "linear"):
            return batch_norm_growth.batch_norm_factor(phi, batch)
        key = jax.random.key(0)
        return batch_norm_growth.batch_norm_factor_sampled(phi, batch, key, num_samples=2**14).mean

    depth, kinds = config.depth, len(NETWORKS)
    theory, limits = np.full((kinds, len(config.batches)), np.nan), np.full(kinds, np.nan)
    behind = np.full((kinds, depth + 1), np.nan)
    for row, (phi, residual) in enumerate(NETWORKS.values()):
        if residual == "none":
            theory[row] = [float(factor(phi, batch)) ** 0.5 for batch in config.batches]
            limits[row] = float(batch_norm_growth.batch_norm_factor(phi)) ** 0.5
        else:
            branch = depth**-0.5 if residual == "scaled" else 1.0
            factors = batch_norm_growth.batch_norm_residual_factors(phi, 1.0, branch=branch, num_layers=depth)
            behind[row] = mean_field.attenuation(factors, depth)
    return {
        "network": np.array(list(NETWORKS)),
        "batch": np.array(config.batches),
        "layer": np.arange(depth + 1),
        "theory": theory,
        "limit": limits,
        "theory_gradient": behind,
    }


def run(config, key):
    """All networks and batches, one draw of the weights after the other."""
    gradient, moment = jax.lax.map(lambda key: _through(config, key), jax.random.split(key, config.draws))
    by_draw = lambda values: jnp.moveaxis(values, 0, 2)
    return {"gradient": by_draw(gradient), "moment": by_draw(moment)}


def _through(config, key):
    """One draw of the weights: gradients and mean squares, each ``(network, batch, layer)``."""
    from jaxcalc import models

    n, most = config.width, config.batches[-1]
    weights_key, inputs_key, top_key = jax.random.split(key, 3)
    inputs, top = (jax.random.normal(each, (most, n), float) for each in (inputs_key, top_key))
    deep = lambda phi, residual: models.deep_network(
        n, n, n, max_depth=config.depth, phi=phi, initialisation="lecun", residual=residual, normalisation="batch"
    )
    weights = deep("relu", "none").init(weights_key)

    def flow(network, batch):
        loss = lambda outputs: outputs * top[:batch]
        states, gradients = models.states_and_gradients(network.trace, loss, weights, inputs[:batch])
        norms = models.state_norms(gradients)
        return norms / norms[-1], jnp.mean(states**2, (1, 2))

    rows = [[flow(deep(*kind), batch) for batch in config.batches] for kind in NETWORKS.values()]
    return tuple(jnp.stack([jnp.stack([cell[part] for cell in row]) for row in rows]) for part in range(2))


def _growth(dataset):
    """The factor a layer away from both ends, its mean over draws and its standard error."""
    last = dataset.sizes["layer"] - 1 - _SKIPPED
    ratio = dataset.gradient.sel(layer=_SKIPPED) / dataset.gradient.sel(layer=last)
    growth = ratio ** (1 / (last - _SKIPPED))
    return growth.mean("draw", skipna=False), growth.std("draw", ddof=1) / np.sqrt(growth.sizes["draw"])


def _through_all(dataset):
    """The gradient at the input over that at the last layer, geometric mean over draws."""
    return np.exp(np.log(dataset.gradient.sel(layer=0)).mean("draw", skipna=False))


def _middle(dataset):
    """The batch nearest to 64, which stands for the others."""
    return int(dataset.batch.values[np.abs(np.log(dataset.batch.values / 64)).argmin()])


def _look(name, **changes):
    """An activation's colour; the skips of ReLU have colours of their own."""
    phi, residual = NETWORKS[name]
    colors = {"plain": style.COLORS["purple"], "scaled": style.COLORS["blue"]}
    own = {"color": colors[residual]} if residual in colors else {}
    return {**style.method(phi, **changes), **own, "label": name}


def figures(dataset):
    """The gradient by layer, and its growth a layer by batch."""
    return {"growth_by_depth": _draw_depth(dataset), "growth_by_batch": _draw_batches(dataset)}


def _draw_depth(dataset):
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator

    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9)
    depth = dataset.sizes["layer"] - 1
    passed = depth - dataset.layer.values  # so that what grows grows to the right
    typical = np.exp(np.log(dataset.gradient).mean("draw", skipna=False))
    handles = []
    for batch, color in zip(dataset.batch.values, style.sequence(dataset.sizes["batch"]), strict=True):
        at = {"network": "ReLU", "batch": batch}
        left.plot(passed, typical.sel(at), color=color, marker="")
        left.plot(passed, float(dataset.theory.sel(at)) ** passed, **style.THEORY)
        handles.append(Line2D([], [], color=color, label=str(batch)))
    handles.append(Line2D([], [], **{**style.THEORY, "label": "theory"}))
    left.legend(handles=handles, title="examples in a batch", loc="upper left", ncols=2)
    left.set(xlabel="ReLU layers passed", ylabel="gradient norm over last layer")

    batch, ends = _middle(dataset), []
    for name in NETWORKS:
        line, look = typical.sel(network=name, batch=batch), _look(name, marker="")
        right.plot(passed, line, **look)
        right.plot(passed, dataset.theory_gradient.sel(network=name), **style.THEORY)
        ends.append((name, (float(passed[0]), float(line[0])), look["color"]))
    right.set(xlabel="layers passed", ylabel="gradient norm over last layer")
    for ax in (left, right):
        ax.set(yscale="log", xlim=(0, depth))
        ax.yaxis.set_major_locator(LogLocator(base=10))
    style.label_ends(right, ends, size=7.5, spacing=1.4)
    figure.set_label(
        f"Gradients on their way down batch-normalised networks of {depth} layers, geometric means over networks. "
        "(a) ReLU without skips, by batch; dashed: mean-field theory of that batch, valid for widths much larger "
        "than the batch and away from the ends, where the batch's geometry has settled. "
        f"(b) Batches of {batch}: other activations, and ReLU with skip connections, plain or with branches over "
        "sqrt(layers); dashed: theory behind skips, valid for wide networks and large batches."
    )
    return figure


def _draw_batches(dataset):
    figure, ax = style.subplots(height=3.4)
    growth, error = _growth(dataset)
    batches = dataset.batch.values
    endless = 3 * batches[-1]  # where the limit of infinite batches stands
    for name in NETWORKS:
        at = {"network": name}
        ax.errorbar(batches, growth.sel(at), error.sel(at), capsize=2, **_look(name, linestyle="", markersize=4))
        ax.plot(batches, dataset.theory.sel(at), **style.THEORY)
        limit = float(dataset.limit.sel(at))
        if np.isfinite(limit):
            ax.plot(endless, limit, marker="D", markersize=3, color=style.THEORY["color"])
            ax.annotate(f"{limit:.3f}", (endless, limit), (0, 4), textcoords="offset points", ha="center", fontsize=7)
    ax.plot([], [], **{**style.THEORY, "label": "theory"})
    ax.set_xscale("log")
    ax.set_xlim(batches[0] / 1.25, endless * 1.35)
    ax.set_xticks([*batches, endless], [*map(str, batches), r"$\infty$"], minor=False)
    ax.set_xticks([], minor=True)
    ax.set(xlabel="examples in a batch", ylabel="gradient's factor a layer")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=7.5)
    width = params(dataset)["width"]
    figure.set_label(
        "The gradient's factor a layer with standard errors over networks, the first and last five layers left out. "
        f"Dashed: mean-field theory of that batch at infinite width (here {width} units: batches as large as that fall "
        "short of it), and diamonds its limit of infinite batches. Behind skips "
        "the factor is no constant: it falls from layer to layer."
    )
    return figure


def tables(dataset):
    """Growth with standard errors beside theory, and what it comes to."""
    (growth, error), whole, rows = _growth(dataset), _through_all(dataset), []
    for name in dataset.network.values.tolist():
        row = {"network": name}
        for batch in dataset.batch.values:
            at = {"network": name, "batch": batch}
            theory = float(dataset.theory.sel(at))
            beside = f" ({theory:.4f})" if np.isfinite(theory) else ""
            row[f"batch {batch}"] = f"{float(growth.sel(at)):.4f} ± {float(error.sel(at)):.4f}{beside}"
        row[f"all layers, batch {_middle(dataset)}"] = f"{float(whole.sel(network=name, batch=_middle(dataset))):.3g}"
        rows.append(row)
    return {"The gradient's factor a layer (theory of that batch)": rows}


def _off(dataset, expected):
    """How far growth lies from what is expected, in standard errors, or in corrections of order 1/width if larger."""
    growth, error = _growth(dataset)
    return (growth - expected) / np.hypot(error, expected / params(dataset)["width"])


def _judge_limit(dataset):
    """ReLU's sqrt(pi / (pi - 1)), of infinite batches, in large ones and in small ones."""
    limit = float(dataset.limit.sel(network="ReLU"))
    off = _off(dataset, limit).sel(network="ReLU")
    growth = _growth(dataset)[0].sel(network="ReLU")
    large, small = dataset.batch.values >= 128, dataset.batch.values <= 16
    if not large.any() or not small.any():
        raise NotJudged("needs batches of 128 or more, and of 16 or fewer")
    told = ", ".join(f"{float(each):.4f} in batches of {int(each.batch)}" for each in growth)
    return Finding(
        close(limit, tolerance=1e-5) & below(abs(off[large]), 3.0),
        limits=above(off[small], 10.0),
        measured=f"{told}; the limit is {limit:.5f}",
        figure="growth_by_batch",
    )


def _judge_batches(dataset):
    """The theory of finite batches, of all activations."""
    off = abs(_off(dataset, dataset.theory).sel(network=_BARE))
    return Finding(
        below(off, 3.0), measured=f"{float(off.max()):.2f} standard errors off at most", figure="growth_by_batch"
    )


def _judge_cure(dataset):
    """What skips leave of the growth through all layers."""
    if dataset.batch.values[-1] < 64:
        raise NotJudged("needs batches of 64 or more")
    whole = _through_all(dataset)
    bare, plain, scaled = (whole.sel(network=f"ReLU{name}") for name in ("", ", plain skip", ", scaled skip"))
    large = dataset.batch.values >= 64
    expected = dataset.theory_gradient.sel(layer=0, network=["ReLU, plain skip", "ReLU, scaled skip"])
    measured = [float(each[large].mean()) for each in (plain, scaled)]
    return Finding(
        below(scaled, 1.5) & above(bare, 50.0) & close(measured, expected.values, 0.1, relative=True),
        limits=above(plain, 3.0),
        measured=f"through {dataset.sizes['layer'] - 1} layers up to {float(scaled.max()):.2f} with scaled skips, "
        f"{float(plain.max()):.1f} with plain ones, {float(bare.min()):.3g} at least without",
        figure="growth_by_depth",
    )


claims = {
    "batch-norm-relu-growth-factor": _judge_limit,
    "batch-norm-growth-by-batch-size": _judge_batches,
    "skips-cure-batch-norm-explosion": _judge_cure,
}
