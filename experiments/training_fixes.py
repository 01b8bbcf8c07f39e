"""Which remedies let a network of 50 layers learn: initialisation, skips, normalisation, clipping, or all of them?

ReLU on digits by momentum at one rate. At the start the gradient's factor from the input to the last layer is measured,
also for batch normalisation over 10 layers and 50; then each network is trained.

A flat loss is traced to its layer: one layer of a network of He's weights is spoiled, named from the gradients and dead
units by layer, and drawn anew after some training.
"""

from typing import Any

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, between, equal, holds, jax, jnp, less

kind = "host"
dtype = "float32"

REMEDIES: dict[str, dict[str, Any]] = {
    "none": {"initialisation": "glorot"},
    "He": {"initialisation": "he"},
    "scaled skips": {"initialisation": "glorot", "residual": "scaled"},
    "batch norm": {"initialisation": "glorot", "normalisation": "batch"},
    "too large": {"initialisation": "he", "residual": "scaled", "gain": 2.0},
    "too large, clipped": {"initialisation": "he", "residual": "scaled", "gain": 2.0, "clip": True},
    "all": {"initialisation": "he", "residual": "scaled", "normalisation": "batch", "clip": True},
}
# What one layer of a network of He's weights has: a factor on its weights, and its biases.
FAULTS = {"dead units": (1.0, -100.0), "no weights": (0.0, 0.0), "small weights": (1e-6, 0.0)}
_SILENT = ["dead units", "no weights"]


class Config(lab.Config):
    depth: int = pydantic.Field(50, ge=11)
    """layers"""
    width: int = pydantic.Field(64, ge=2)
    """units of a layer that is trained"""
    updates: int = pydantic.Field(150, ge=10)
    """updates of the weights"""
    batch: int = pydantic.Field(64, ge=2)
    """images, drawn anew at each update"""
    rate: float = pydantic.Field(0.01, gt=0)
    """learning rate, with momentum 0.9"""
    max_norm: float = pydantic.Field(1.0, gt=0)
    """norm that gradients are clipped to"""
    wide: int = pydantic.Field(256, ge=2)
    """units and images where batch normalisation's growth is measured"""
    seeds: int = pydantic.Field(3, ge=1)
    """networks of each kind"""


VARIABLES = {
    "remedy": Variable(("remedy",), "", "what is done"),
    "update": Variable(("update",), "", "update of the weights"),
    "draw": Variable(("draw",), "", "random network"),
    "loss": Variable(("remedy", "draw", "update"), "nats", "cross-entropy of a batch"),
    "misread": Variable(("remedy", "draw"), "", "share of images misread after training"),
    "lost": Variable(("remedy", "draw"), "", "whether the last loss was no number"),
    "ratio": Variable(("remedy", "draw"), "", "gradient at the input over that at the last layer, at the start"),
    "layers": Variable(("layers",), "", "layers of the wide networks"),
    "normalised": Variable(("layers", "draw"), "", "the same of wide networks with batch normalisation"),
    "plain": Variable(("layers", "draw"), "", "the same of He's without"),
    "moment": Variable(("layers", "draw"), "", "mean square of the last layer with batch normalisation"),
    "fault": Variable(("fault",), "", "what is wrong with one layer"),
    "layer": Variable(("layer",), "", "layer, 0 being the embedded input"),
    "time": Variable(("time",), "", "update of the weights, the spoiled layer being redrawn after a third of them"),
    "planted": Variable(("fault", "draw"), "", "the layer that is spoiled"),
    "named": Variable(("fault", "draw"), "", "the layer named from gradients and dead units"),
    "named_by_norms": Variable(("fault", "draw"), "", "the layer named from gradients alone"),
    "norm": Variable(("fault", "draw", "layer"), "", "norm of the gradient in the layer's output, at the start"),
    "dead": Variable(("fault", "draw", "layer"), "", "share of dead units, at the start"),
    "traced_loss": Variable(("fault", "draw", "time"), "nats", "cross-entropy of a batch"),
}


def run(config, key):
    keys = jax.random.split(key, config.seeds)
    columns = {"loss": [], "misread": [], "lost": [], "ratio": []}
    for remedy in REMEDIES.values():
        trained = jax.jit(jax.vmap(lambda key, remedy=remedy: _train(config, key, **remedy)))(keys)
        for column, values in zip(columns.values(), trained, strict=True):
            column.append(np.asarray(values))
    layers = np.array([10, config.depth])
    wide = {
        name: jax.jit(lambda name=name: jax.lax.map(lambda key: _at_start(config, key, name, layers), keys))()
        for name in ("batch", "none")
    }
    traced = jax.jit(jax.vmap(jax.vmap(lambda fault, key: _trace_fault(config, key, *fault), (None, 0)), (0, None)))
    names = ("planted", "named", "named_by_norms", "norm", "dead", "traced_loss")
    return {
        "remedy": np.array(list(REMEDIES)),
        "update": np.arange(config.updates),
        "draw": np.arange(config.seeds),
        **{name: np.array(values) for name, values in columns.items()},
        "layers": layers,
        "normalised": wide["batch"][0].T,
        "plain": wide["none"][0].T,
        "moment": wide["batch"][1].T,
        "fault": np.array(list(FAULTS)),
        "layer": np.arange(config.depth + 1),
        "time": np.arange(3 * config.updates),
        **dict(zip(names, traced(jnp.array(list(FAULTS.values())), keys), strict=True)),
    }


def _digits():
    from jaxcalc.functions import datasets

    images, labels = datasets.digits()
    return jnp.asarray(datasets.standardize(images).values, float), jnp.asarray(labels)


def _losses(labels):
    import optax

    return lambda outputs: optax.softmax_cross_entropy_with_integer_labels(outputs, labels)


def _at_start(config, key, normalisation, layers):
    """By depth: gradient at the input over that at the last layer, and the last layer's mean square."""
    from jaxcalc import models

    images, labels = _digits()
    rows = jax.random.choice(key, len(labels), (config.wide,), replace=False)
    network = models.deep_network(
        images.shape[1],
        config.wide,
        10,
        max_depth=config.depth,
        phi="relu",
        initialisation="he",
        normalisation=normalisation,
    )
    params = network.init(key)

    def at(depth):
        flow = models.gradient_flow(network, _losses(labels[rows]), params, images[rows], depth)
        return flow.signal[0] / flow.signal[depth], flow.moment[depth]

    return jax.lax.map(at, jnp.asarray(layers))


def _train(config, key, gain=1.0, clip=False, **choices):
    """Losses, share misread at the end, whether the numbers were lost, and the ratio of gradients at the start."""
    from jaxcalc import models

    images, labels = _digits()
    of_params, of_training = jax.random.split(key)
    network = models.deep_network(images.shape[1], config.width, 10, max_depth=config.depth, phi="relu", **choices)
    start: Any = network.init(of_params, gain=gain)
    rows = jnp.arange(config.batch)
    signal = models.gradient_flow(network, _losses(labels[rows]), start, images[rows], config.depth).signal
    end, values = _descend(config, network, start, of_training, config.updates, clip)
    misread = jnp.mean(network.apply(end, images).argmax(1) != labels)
    return values, misread, ~jnp.isfinite(values[-1]), signal[0] / signal[-1]


def _descend(config, network, start, key, num_updates, clip=False):
    """The parameters after so many updates, and the loss at each."""
    import optax

    images, labels = _digits()
    descent = optax.sgd(config.rate, momentum=0.9)
    solver = optax.chain(optax.clip_by_global_norm(config.max_norm), descent) if clip else descent

    def update(carry: Any, key):
        params, state = carry
        rows = jax.random.randint(key, (config.batch,), 0, len(labels))
        loss = lambda params: _losses(labels[rows])(network.apply(params, images[rows])).mean()
        value, gradient = jax.value_and_grad(loss)(params)
        changes, state = solver.update(gradient, state, params)
        return (optax.apply_updates(params, changes), state), value

    keys = jax.random.split(key, num_updates)
    (end, _), values = jax.lax.scan(update, (start, solver.init(start)), keys)
    return end, values


def _trace_fault(config, key, factor, bias):
    """One layer spoiled, named, and drawn anew: the layer, its names, what they are read from, and the losses."""
    from jaxcalc import models

    images, labels = _digits()
    of_params, of_layer, of_weights, of_spoiled, of_redrawn = jax.random.split(key, 5)
    network = models.deep_network(
        images.shape[1], config.width, 10, max_depth=config.depth, phi="relu", initialisation="he"
    )
    params = network.init(of_params)
    planted = jax.random.randint(of_layer, (), 2, config.depth)  # not the first, not the last

    def change(params, layer, weights, bias):
        old = params.layers
        new = old._replace(weights=old.weights.at[layer - 1].set(weights), biases=old.biases.at[layer - 1].set(bias))
        return params._replace(layers=new)

    params = change(params, planted, factor * params.layers.weights[planted - 1], bias)
    seen, loss = images[: config.batch], _losses(labels[: config.batch])
    states, gradients = models.states_and_gradients(network.trace, loss, params, seen)
    norms, dead = models.state_norms(gradients), models.dead_share(states)
    named = models.blocking_layer(norms, dead)
    # Clipped: else fifty plain layers lose now and then what they have learnt.
    params, before = _descend(config, network, params, of_spoiled, config.updates, clip=True)
    params = change(params, named, models.draw_weights("he", of_weights, (config.width, config.width)), 0.0)
    _, after = _descend(config, network, params, of_redrawn, 2 * config.updates, clip=True)
    return planted, named, models.blocking_layer(norms), norms, dead, jnp.concatenate([before, after])


def _batch_norm(dataset):
    """Activations are held and a gradient over 10 layers within a factor of 10; over 50 it explodes."""
    held, grown = (dataset.normalised.median("draw", skipna=False).isel(layers=i) for i in (0, -1))
    moment = dataset.moment.isel(layers=-1)
    factor = float(grown) ** (1 / int(dataset.layers[-1]))
    return Finding(
        between(held, 0.1, 10.0) & between(moment, 0.3, 0.7),
        limits=above(grown, 1e3) & between(dataset.plain.median("draw", skipna=False), 0.1, 10.0),
        measured=f"mean square {float(moment.mean()):.2f} after {int(dataset.layers[-1])} layers; gradient times "
        f"{float(held):.2g} over {int(dataset.layers[0])}, {float(grown):.2g} over {int(dataset.layers[-1])} "
        f"({factor:.3f} a layer), without {float(dataset.plain.isel(layers=-1).median()):.2g}",
        figure="training_fixes",
    )


def _clipping(dataset):
    """Where the start is too large training leaves all numbers; clipped the loss falls, though not to reading."""
    clipped = dataset.loss.sel(remedy="too large, clipped")
    start, tail = clipped.isel(update=0), clipped.isel(update=slice(-20, None)).median("update", skipna=False)
    share = dataset.misread.median("draw", skipna=False)
    return Finding(
        holds(dataset.lost.sel(remedy="too large")) & less(tail.values, 0.2 * start.values),
        limits=above(dataset.misread.sel(remedy="too large, clipped"), 0.7),
        measured=f"clipped, the loss falls from {float(start.median()):.3g} to {float(tail.median()):.3g}; misread: "
        + ", ".join(f"{r} {float(m):.2f}" for r, m in zip(share.remedy.values, share)),
        figure="training_fixes",
    )


def _flat_loss(dataset):
    """Layers that pass nothing on are named and keep the loss flat until redrawn; gradients alone name another one."""
    silent = dataset.sel(fault=_SILENT)
    start, third = silent.traced_loss.isel(time=0), dataset.sizes["time"] // 3
    flat = silent.traced_loss.isel(time=slice(0, third))
    end = silent.traced_loss.isel(time=slice(-20, None)).median("time", skipna=False)
    small = dataset.sel(fault="small weights")
    healed = small.traced_loss.isel(time=slice(third - 20, third)).median("time", skipna=False)
    wrong = (silent.named_by_norms != silent.planted).where(np.isfinite(silent.named_by_norms + silent.planted))
    return Finding(
        equal(dataset.named, dataset.planted)
        & between(flat / start, 0.99, 1.01)
        & less(end.values, 0.8 * start.values),
        limits=holds(wrong) & less(healed.values, 0.95 * small.traced_loss.isel(time=0).values),
        measured=f"{int((dataset.named == dataset.planted).sum())} of {dataset.named.size} layers named; the loss "
        f"stays at {float(flat.median()):.3g}, redrawn it falls to {float(end.median()):.3g}; gradients alone name "
        f"layer {', '.join(f'{n:g}' for n in np.unique(silent.named_by_norms))}; weights 1e-6 as large are named and "
        f"mend themselves, loss {float(healed.median()):.3g}",
        figure="flat_loss",
    )


def figures(dataset):
    return {"training_fixes": _draw_remedies(dataset), "flat_loss": _draw_faults(dataset)}


def _draw_faults(dataset):
    figure, panels = style.subplots(1, 3, width="page", height=2.6, letters=False)
    first = dataset.isel(draw=0)
    looks = {
        fault: {"color": style.COLORS[color], "marker": marker, "markersize": 3}
        for fault, color, marker in zip(FAULTS, ("vermilion", "blue", "green"), ("s", "o", "^"), strict=True)
    }
    # It does the same as dead units, which would be hidden.
    looks["no weights"]["linestyle"] = (0, (2, 1.5))
    quiet = {fault: {**look, "marker": ""} for fault, look in looks.items()}
    options = {"hue": "fault", "legend": None}
    style.chart(first.norm, "layer", looks=looks, log="y", ylabel="gradient's norm", axes=panels[0], **options)
    style.chart(first.dead, "layer", looks=looks, ylabel="share of dead units", axes=panels[1], **options)
    style.chart(dataset.traced_loss, "time", looks=quiet, ylabel="cross-entropy (nats)", axes=panels[2], **options)
    for panel in panels[:2]:
        panel.axvline(int(first.planted[0]), color="#333333", linewidth=0.8, linestyle=":")
        panel.set_xlabel("layer")
    panels[2].axvline(dataset.sizes["time"] / 3, color="#333333", linewidth=0.8, linestyle=":")
    panels[2].set(xlabel="update", ylim=(0, 2.6))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.set_label(
        f"One layer is spoiled: the gradient and the dead units of one network by layer, dotted its layer "
        f"{int(first.planted[0])}. Right: the loss, medians over networks with quartiles; at the dotted line the layer "
        "that was named is redrawn."
    )
    return figure


def _draw_remedies(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.0, letters=False)
    colors = [style.COLORS[name] for name in ("grey", "blue", "green", "purple", "vermilion", "orange", "black")]
    for remedy, color in zip(dataset.remedy.values, colors, strict=True):
        line = dataset.loss.sel(remedy=remedy).median("draw")
        left.plot(dataset["update"], line.where(np.isfinite(line)), color=color, label=str(remedy))
    left.axhline(np.log(10), color="#333333", linewidth=0.8)
    left.set(xlabel="update", ylabel="cross-entropy (nats)", ylim=(0, 6))
    left.legend(fontsize=6)
    for row, (remedy, color) in enumerate(zip(dataset.remedy.values, colors, strict=True)):
        right.plot(dataset.misread.sel(remedy=remedy), np.full(dataset.sizes["draw"], row), "o", color=color)
    style.name_rows(right, dataset.remedy.values)
    right.axvline(0.9, color="#333333", linewidth=0.8)
    right.set(xlabel="share of images misread after training", xlim=(-0.02, 1.0))
    figure.set_label(
        "Fifty ReLU layers on digits by each remedy: the loss of a batch, medians over networks, and the share misread "
        "at the end. The lines are guessing; weights that are too large are beyond the axis."
    )
    return figure


claims = {
    "batchnorm-keeps-well-conditioned": _batch_norm,
    "clipping-rescues-deep-training": _clipping,
    "flat-loss-is-traced-to-its-layer": _flat_loss,
}
