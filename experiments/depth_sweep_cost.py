"""What do the gradient norms at every layer of thousands of networks cost: one program, or a program for each?

Networks of every activation, initialisation, residual connection and depth, each from many seeds. A seed's weights are
drawn once for all of them: normal ones differ by a factor, and a shallow network is the beginning of a deep one. The
depths lie beside each other as rows of one matrix product for each layer.

The loops over networks are not run to their end, which takes hours: in every round one structure of each depth is
compiled and run alone, and their means are multiplied by the counts of networks and structures. Seconds of the loops
are extrapolated, here and in all figures and tables.
"""

from typing import Any, Literal

import numpy as np
import pydantic

from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, jax, jnp

kind = "timed"
dtype = "float32"

Activation = Literal["sigmoid", "tanh", "relu", "gelu"]
Initialisation = Literal["glorot", "he", "lecun", "standard", "orthogonal"]
Residual = Literal["none", "plain", "scaled"]
_NORMAL = ("glorot", "he", "lecun")
_ONE, _EACH, _STRUCTURE = "one program", "a program for each network", "a program for each structure"
# Not far below it a gradient's entries leave the range of float32, and the norm is what rounding left of it.
_SMALLEST = 1e-30


class Config(lab.Config):
    activations: tuple[Activation, ...] = pydantic.Field(("sigmoid", "tanh", "relu", "gelu"), min_length=1)
    """functions applied by every layer"""
    # LeCun's weights are Glorot's where layers are square, so that the fourth is Glorot and Bengio's uniform one.
    initialisations: tuple[Initialisation, ...] = pydantic.Field(
        ("glorot", "he", "standard", "orthogonal"), min_length=1
    )
    """how the layers' weights are drawn"""
    residuals: tuple[Residual, ...] = pydantic.Field(("none", "scaled"), min_length=1)
    """residual connections"""
    depths: tuple[tuple[pydantic.PositiveInt, ...], ...] = ((1, 2, 4, 8, 16, 32), (64, 128))
    """numbers of layers, rising, in groups: those of a group run together through the layers of its deepest"""
    seeds: int = pydantic.Field(32, ge=1)
    """networks of every structure"""
    width: int = pydantic.Field(128, ge=2)
    """units in a layer"""
    batch: int = pydantic.Field(16, ge=1, le=1797)
    """digits in the batch, drawn anew for each seed"""
    rounds: int = pydantic.Field(4, ge=1)
    """runs of the whole sweep, each beside one structure of every depth alone"""
    calls: int = pydantic.Field(3, ge=1)
    """seeds of a structure that are run alone once it is compiled"""
    blas_threads: int = pydantic.Field(1, ge=1)
    """threads of the library that factors orthogonal weights: matrices this small are slower with more of them"""

    @pydantic.model_validator(mode="after")
    def _can_be_run(self):
        flat = [depth for group in self.depths for depth in group]
        if not all(self.depths) or flat != sorted(set(flat)):
            raise ValueError(f"depths must rise through all groups, got {self.depths}")
        if self.calls > self.seeds:
            raise ValueError(f"calls is {self.calls}, which exceeds seeds = {self.seeds}")
        return self


_KINDS = ("activation", "initialisation", "residual")
VARIABLES = {
    "activation": Variable(("activation",), "", "activation", measured=False),
    "initialisation": Variable(("initialisation",), "", "initialisation", measured=False),
    "residual": Variable(("residual",), "", "residual connection", measured=False),
    "layers": Variable(("layers",), "", "layers in the network", measured=False),
    "layer": Variable(("layer",), "", "layer, 0 being the embedded input", measured=False),
    "compile_seconds": Variable((), "s", "tracing and compiling of the one program"),
    "run_seconds": Variable(("round",), "s", "run of the one program, all networks"),
    "sampled": Variable(("round", "layers"), "", "structure that was run alone", measured=False),
    "first_seconds": Variable(("round", "layers"), "s", "one network alone: traced, compiled and run"),
    "later_seconds": Variable(("round", "layers"), "s", "one network of a compiled structure, median over seeds"),
    "difference": Variable(
        ("round", "layers"), "", "largest relative difference of a norm in the sweep from that alone", measured=False
    ),
    "networks": Variable((), "", "networks of the sweep", measured=False),
    "units": Variable((), "", "units in a layer", measured=False),
    "deepest": Variable((), "", "layers of the deepest network", measured=False),
    "structures": Variable((), "", "structures: networks that differ in more than the seed", measured=False),
    "norm": Variable(
        (*_KINDS, "layers", "layer"),
        "",
        "norm of the gradient in the layer's output, median over seeds",
        measured=False,
    ),
    "attenuation": Variable(
        (*_KINDS, "layers", "draw"), "", "gradient norm at the input over that at the last layer", measured=False
    ),
}


def run(config, key):
    import scipy.linalg  # noqa: F401 (what factors for JAX: a library is limited only once it is loaded)
    from threadpoolctl import threadpool_limits

    seeds = _seeds(config, key)
    with threadpool_limits(config.blas_threads, user_api="blas"):
        sweep, compile_seconds = measure.once(
            lambda: jax.jit(lambda seeds: _sweep(config, seeds)).lower(seeds).compile()
        )
        columns: dict[str, list[Any]] = {name: [] for name in ("sampled", "first", "later", "difference")}
        run_seconds, norms = [], np.zeros(())
        for chosen in _sample(config):
            norms, seconds = measure.once(lambda: sweep(seeds))
            norms = np.asarray(norms)
            run_seconds.append(seconds)
            alone = [_time_alone(config, structure, seeds, norms) for structure in chosen]
            for name, values in zip(columns, zip(*alone, strict=True), strict=True):
                columns[name].append(np.array(values))
    layers = _flat(config.depths)
    at_last = np.stack([norms[..., k, depth] for k, depth in enumerate(layers)], -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        attenuation = np.where(at_last > 0, norms[..., 0] / at_last, np.nan)
    return {
        "activation": np.array(config.activations),
        "initialisation": np.array(config.initialisations),
        "residual": np.array(config.residuals),
        "layers": np.array(layers),
        "layer": np.arange(layers[-1] + 1),
        "compile_seconds": compile_seconds,
        "run_seconds": np.array(run_seconds),
        "sampled": np.array(columns["sampled"]),
        "first_seconds": np.array(columns["first"]),
        "later_seconds": np.array(columns["later"]),
        "difference": np.array(columns["difference"]),
        "networks": norms[..., 0].size,
        "units": config.width,
        "deepest": layers[-1],
        "structures": norms[0, ..., 0].size,
        "norm": np.median(norms, axis=0),
        "attenuation": np.moveaxis(attenuation, 0, -1),
    }


def _flat(groups):
    return tuple(depth for group in groups for depth in group)


def _seeds(config, key):
    """Of every seed the key of its weights, and the digits that its networks see."""
    from jaxcalc.functions import datasets

    images, labels = datasets.digits()
    images = datasets.standardize(images).values
    of_weights, of_rows = (jax.random.split(k, config.seeds) for k in jax.random.split(key))
    rows = jax.vmap(lambda k: jax.random.choice(k, len(labels), (config.batch,), replace=False))(of_rows)
    return of_weights, jnp.asarray(images, float)[rows], jnp.asarray(labels)[rows]


def _network(config, depth, **choices):
    from jaxcalc import models

    return models.deep_network(64, config.width, 10, max_depth=depth, **choices)


def _loss(labels):
    import optax

    return lambda outputs: optax.softmax_cross_entropy_with_integer_labels(outputs, labels)


def _sweep(config, seeds):
    """Norms of all networks, ``(seed, activation, initialisation, residual, depth, layer)``; NaN past the depth."""
    return jax.lax.map(lambda seed: _of_seed(config, *seed), seeds)


def _of_seed(config, key, images, labels):
    """Norms of all networks of one seed."""
    params = _draw(config, key)
    through = lambda phi, name: jax.lax.map(lambda p: _through(config, phi, name, p, images, labels), params)
    norms = [[through(phi, residual) for residual in config.residuals] for phi in config.activations]
    return jnp.stack([jnp.stack(row, axis=1) for row in norms])


def _draw(config, key):
    """The parameters of the deepest network under each initialisation, along a leading axis."""
    from jaxcalc.models import weight_variance

    depth, drawn, params = _flat(config.depths)[-1], {}, []
    for name in config.initialisations:
        base = "lecun" if name in _NORMAL else name
        if base not in drawn:
            drawn[base] = _network(config, depth, phi="tanh", initialisation=base).init(key)
        gain = (weight_variance(name, *[config.width] * 2) / weight_variance(base, *[config.width] * 2)) ** 0.5
        layers = drawn[base].layers
        params.append(drawn[base]._replace(layers=layers._replace(weights=gain * layers.weights)))
    return jax.tree.map(lambda *each: jnp.stack(each), *params)


def _through(config, phi, residual, params, images, labels):
    """Norms at every depth for one set of weights, which all depths share."""
    from jaxcalc import models

    deepest, norms = _flat(config.depths)[-1], []
    for group in config.depths:
        network = _network(config, group[-1], phi=phi, residual=residual)
        own = params._replace(layers=jax.tree.map(lambda a, last=group[-1]: a[:last], params.layers))

        def at(depth, network=network, own=own):
            gradients = models.state_gradients(network.trace, _loss(labels), own, images, depth=depth)
            return jnp.where(jnp.arange(network.max_depth + 1) <= depth, models.state_norms(gradients), jnp.nan)

        found = jax.vmap(at)(jnp.array(group))
        norms.append(jnp.pad(found, ((0, 0), (0, deepest - group[-1])), constant_values=jnp.nan))
    return jnp.concatenate(norms)


def _sample(config):
    """For each round a structure of every depth: over the rounds each choice comes up as often as any other."""
    draw = np.random.default_rng(0)
    names = (config.activations, config.initialisations, config.residuals)
    by_depth = [
        list(zip(*(np.resize(draw.permutation(each), config.rounds).tolist() for each in names), strict=True))
        for _ in _flat(config.depths)
    ]
    return [
        [(*by_depth[k][number], depth) for k, depth in enumerate(_flat(config.depths))]
        for number in range(config.rounds)
    ]


def _alone(config, activation, initialisation, residual, depth):
    """A network's norms from its seed, in plain JAX: no layer past its depth, and none that is masked.

    Its layers are scanned; written out one by one they take longer still to compile.
    """
    from jaxcalc import models
    from jaxcalc.functions import activations

    phi, branch = activations.activation(activation), depth**-0.5 if residual == "scaled" else 1.0
    network = _network(config, depth, phi=activation, initialisation=initialisation)

    def layer(h, inputs):
        weights, probe = inputs
        own = branch * phi(h @ weights)
        return (own if residual == "none" else h + own) + probe, None

    def norms(key, images, labels):
        params = network.init(key)

        def total(probes):
            last, _ = jax.lax.scan(layer, images @ params.embedding + probes[0], (params.layers.weights, probes[1:]))
            return _loss(labels)(last @ params.readout).sum()

        gradients = jax.grad(total)(jnp.zeros((depth + 1, config.batch, config.width)))
        return models.state_norms(gradients)  # plain squares leave the range of float32 from 1e-18 on

    return norms


def _time_alone(config, structure, seeds, norms):
    """A structure's name, the seconds of its first network and of a later one, and how far its numbers are off."""
    *names, depth = structure
    alone = jax.jit(_alone(config, *structure))
    own = [tuple(part[k] for part in seeds) for k in range(config.calls)]
    _, first = measure.once(lambda: alone(*own[0]))
    found, later = zip(*(measure.once(lambda seed=seed: alone(*seed)) for seed in own), strict=True)
    values = (config.activations, config.initialisations, config.residuals, _flat(config.depths))
    place = tuple(each.index(name) for each, name in zip(values, structure, strict=True))
    found, swept = np.array(found), norms[(slice(config.calls), *place)][:, : depth + 1]
    # What is below the smallest is compared by its absolute size, so that it may underflow in one and not the other.
    difference = np.abs(swept - found) / np.maximum(found, _SMALLEST)
    return ", ".join(names), first, np.median(later), difference.max()


def _totals(dataset):
    """Seconds of the whole job by method and round, compiling and running; those of the loops are extrapolated."""
    each, later = dataset.first_seconds.mean("layers", skipna=False), dataset.later_seconds.mean("layers", skipna=False)
    networks, structures = float(dataset.networks), float(dataset.structures)
    return {
        _ONE: dataset.compile_seconds + dataset.run_seconds,
        _EACH: networks * each,
        _STRUCTURE: structures * (each - later) + networks * later,
    }


def _times(dataset, method):
    """A loop's seconds over those of the one program, round by round."""
    totals = _totals(dataset)
    return (totals[method] / totals[_ONE]).median(skipna=False)


def _whole(dataset):
    """Refuses a sweep that is smaller than the one that is spoken of."""
    if not (dataset.networks >= 8192 and dataset.deepest >= 128 and dataset.units >= 128):
        raise NotJudged("needs 8,192 networks of 128 units, the deepest of 128 layers")


def _said(dataset, times):
    sample, networks = dataset.first_seconds.size, int(dataset.networks)
    return (
        f"{float(dataset.run_seconds.median()):.3g} s after {float(dataset.compile_seconds):.3g} s of compiling; the "
        f"loop takes {times:.3g} times as long in all, extrapolated from {sample} of {networks} networks; norms differ "
        f"by {float(dataset.difference.max()):.1e}"
    )


def _judge_networks(dataset):
    _whole(dataset)
    times = float(_times(dataset, _EACH))
    return Finding(
        below(dataset.run_seconds.median(skipna=False), 60.0) & above(times, 20.0) & below(dataset.difference),
        measured=_said(dataset, times),
        figure="seconds",
    )


def _judge_structures(dataset):
    _whole(dataset)
    times = float(_times(dataset, _STRUCTURE))
    return Finding(above(times, 3.0) & below(dataset.difference), measured=_said(dataset, times), figure="seconds")


def tables(dataset):
    """The whole job by each method; what is extrapolated says from how much."""
    totals, sample = _totals(dataset), dataset.first_seconds.size
    of_networks = f"extrapolated from {sample} of {int(dataset.networks)} networks"
    of_structures = f"extrapolated from {sample} of {int(dataset.structures)} structures, {{}} networks each"
    told = {
        _ONE: "measured, all of it",
        _EACH: of_networks,
        _STRUCTURE: of_structures.format(lab.params(dataset)["calls"]),
    }
    programs = {_ONE: 1, _EACH: int(dataset.networks), _STRUCTURE: int(dataset.structures)}
    rows = [
        {
            "method": method,
            "programs": programs[method],
            "seconds (median)": lab.digits(seconds.median()),
            "times the first": lab.digits(_times(dataset, method)),
            "how it is known": told[method],
        }
        for method, seconds in totals.items()
    ]
    depths = [
        {
            "layers": int(depth),
            "one network, compiled and run (s)": lab.digits(dataset.first_seconds.sel(layers=depth).median()),
            "one more of a compiled structure (s)": lab.digits(dataset.later_seconds.sel(layers=depth).median()),
            "largest relative difference": f"{float(dataset.difference.sel(layers=depth).max()):.1e}",
        }
        for depth in dataset.layers.values
    ]
    return {f"Gradient norms of {int(dataset.networks)} networks, whole job": rows, "A network alone": depths}


def figures(dataset):
    return {"seconds": _draw_seconds(dataset), "attenuation": _draw_attenuation(dataset)}


def _draw_seconds(dataset):
    figure, axis = style.subplots(width=5.4, height=1.7)
    totals = _totals(dataset)
    colors = [style.COLORS[name] for name in ("blue", "vermilion", "orange")]
    for row, ((method, seconds), color) in enumerate(zip(totals.items(), colors, strict=True)):
        middle = float(seconds.median())
        measured = method == _ONE
        axis.plot(seconds, np.full(seconds.size, row), "|", color=color, markersize=10, markeredgewidth=1.2)
        hollow = {} if measured else {"markerfacecolor": "white", "markeredgecolor": color, "markeredgewidth": 1.4}
        axis.plot(middle, row, "o", color=color, markersize=6, **hollow)
        text = f"{middle:,.0f} s" if measured else f"{middle:,.0f} s, {float(_times(dataset, method)):.3g} times"
        axis.annotate(text, (float(seconds.max()), row), (8, 0), textcoords="offset points", va="center", fontsize=7.5)
    style.name_rows(axis, [method if method == _ONE else f"{method}\n(extrapolated)" for method in totals])
    low, high = (float(pick([float(pick(s)) for s in totals.values()])) for pick in (np.min, np.max))
    axis.set(xscale="log", xlim=(low / 2, 30 * high))
    axis.set_xlabel("seconds for the whole job, compiling and running")
    figure.set_label(
        f"Gradient norms at every layer of {int(dataset.networks)} networks in {int(dataset.structures)} structures. "
        f"Hollow: extrapolated from {dataset.first_seconds.size} networks compiled alone; ticks are single rounds."
    )
    return figure


def _draw_attenuation(dataset):
    data = dataset.attenuation
    names = [str(name) for name in data.initialisation.values]
    colors = [style.COLORS[name] for name in ("blue", "vermilion", "green", "purple", "orange")]
    looks: dict[str, dict[str, Any]] = {
        name: {"color": color, "label": name} for name, color in zip(names, colors, strict=False)
    }
    # Orthogonal weights have the variance of Glorot's, and hide them where only the variance counts.
    looks.get("orthogonal", {})["linestyle"] = (0, (2, 1.5))
    figure, panels = style.chart(
        data,
        "layers",
        hue="initialisation",
        col="activation",
        row="residual",
        looks=looks,
        titles={"none": "no skips", "plain": "plain skips", "scaled": "scaled skips"},
        log="xy",
        ylim=(1e-12, 1e8),
        xlabel="layers",
        ylabel="gradient at the input over last layer",
        width="page",
        height=1.0 + 1.5 * data.sizes["residual"],
    )
    for panel in panels.flat:
        style.ticks(panel.xaxis, data.layers.values[::-2][::-1])
    figure.set_label(
        "What the sweep finds: the gradient's norm at the input over that at the last layer, medians over seeds with "
        "quartiles. Lines that leave the panel go on; hollow triangles: the squares are zero in single precision."
    )
    return figure


claims = {
    "depth-sweep-in-one-program": _judge_networks,
    "depth-sweep-beats-a-program-for-each-structure": _judge_structures,
}
