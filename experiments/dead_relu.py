"""How many ReLU units die, by learning rate and bias, and does a leaky slope keep them?

A unit is dead that is zero for every image: its weights' gradient is exactly zero, and descent leaves it where it is.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, close, jax, jnp, less

kind = "host"
dtype = "float32"


class Config(lab.Config):
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    """learning rates of gradient descent, rising"""
    biases: tuple[float, ...] = (0.0, -2.0, -4.0, -6.0, -8.0)
    """biases of the first layer at the start, falling"""
    slopes: tuple[float, ...] = (0.0, 0.01, 0.1, 0.3)
    """slopes below 0 of the leaky rectifier, rising; 0 is ReLU"""
    width: int = pydantic.Field(64, ge=2)
    """units of each of two hidden layers"""
    updates: int = pydantic.Field(300, ge=1)
    """updates of the weights"""
    batch: int = pydantic.Field(64, ge=2, le=1797)
    """images, drawn anew at each update"""
    rate: float = pydantic.Field(0.1, gt=0)
    """learning rate where the bias or the slope is varied"""
    dead_bias: float = pydantic.Field(-6.0, lt=0)
    """bias at the start where the slope is varied"""
    seeds: int = pydantic.Field(4, ge=1)
    """networks of each kind"""


VARIABLES = {
    "rate": Variable(("rate",), "", "learning rate"),
    "bias": Variable(("bias",), "", "bias of the first layer at the start"),
    "slope": Variable(("slope",), "", "slope below 0"),
    "draw": Variable(("draw",), "", "random network"),
    "by_rate": Variable(("rate", "draw"), "", "share of units dead after training, by learning rate"),
    "by_bias": Variable(("bias", "draw"), "", "share of units dead after training, by bias"),
    "born_dead": Variable(("bias", "draw"), "", "share of units dead before training, by bias"),
    "by_slope": Variable(("slope", "draw"), "", "share of units never above 0 after training, by slope"),
    "without_gradient": Variable(("slope", "draw"), "", "share of units whose weights have no gradient, by slope"),
    "misread": Variable(("rate", "draw"), "", "share of images misread after training, by learning rate"),
    "dead_gradient": Variable((), "", "largest gradient of any weight into units that ReLU left dead"),
    "live_gradient": Variable((), "", "the same of the others"),
    "num_dead": Variable((), "", "those dead units"),
}


def run(config, key):
    keys = jax.random.split(key, config.seeds)
    # One program: rate, bias and slope are numbers, and a leaky rectifier of slope 0 is ReLU.
    lanes = jax.jit(
        jax.vmap(jax.vmap(lambda *numbers: _train(config, *numbers), (0, None, None, None)), (None, 0, 0, 0))
    )
    count = lambda values: np.ones(len(values))
    sweep = lambda rates, biases, slopes: lanes(keys, *(jnp.asarray(a, float) for a in (rates, biases, slopes)))
    by_rate = sweep(config.rates, 0 * count(config.rates), 0 * count(config.rates))
    by_bias = sweep(config.rate * count(config.biases), config.biases, 0 * count(config.biases))
    by_slope = sweep(config.rate * count(config.slopes), config.dead_bias * count(config.slopes), config.slopes)
    most = jnp.argmin(jnp.abs(jnp.asarray(config.biases) - config.dead_bias))
    return {
        "rate": np.array(config.rates),
        "bias": np.array(config.biases),
        "slope": np.array(config.slopes),
        "draw": np.arange(config.seeds),
        "by_rate": by_rate["dead"],
        "misread": by_rate["misread"],
        "by_bias": by_bias["dead"],
        "born_dead": by_bias["born_dead"],
        "by_slope": by_slope["dead"],
        "without_gradient": by_slope["without_gradient"],
        "dead_gradient": by_bias["dead_gradient"][most].max(),
        "live_gradient": by_bias["live_gradient"][most].max(),
        "num_dead": by_bias["num_dead"][most].sum(),
    }


def _train(config, key, rate, bias, slope):
    """A network of two hidden layers under stochastic gradient descent, and its units' state at the end."""
    import optax

    from jaxcalc.functions import activations, datasets
    from jaxcalc.models import dead_units, mlp

    images, labels = datasets.digits()
    images, labels = jnp.asarray(datasets.standardize(images).values, float), jnp.asarray(labels)
    phi = lambda z: activations.leaky_relu(z, slope=slope)
    of_params, of_training = jax.random.split(key)
    model = mlp([images.shape[1], config.width, config.width, 10], "relu", initialisation="he")
    params = model.init(of_params)
    params[0] = params[0]._replace(biases=params[0].biases + bias)

    def layers(params, x):
        first = phi(x @ params[0].weights + params[0].biases)
        second = phi(first @ params[1].weights + params[1].biases)
        return jnp.stack([first, second]), second @ params[2].weights + params[2].biases

    def loss(params, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(layers(params, x)[1], y).mean()

    solver = optax.sgd(rate)

    def update(carry, key):
        params, state = carry
        rows = jax.random.randint(key, (config.batch,), 0, len(labels))
        changes, state = solver.update(jax.grad(loss)(params, images[rows], labels[rows]), state, params)
        return (optax.apply_updates(params, changes), state), None

    def dead(params):
        """Units above 0 for no image, of both layers; below 0 a leaky unit is not zero, but of one side it is."""
        return dead_units(jnp.maximum(layers(params, images)[0], 0))

    keys = jax.random.split(of_training, config.updates)
    (end, _), _ = jax.lax.scan(update, (params, solver.init(params)), keys)
    gradient = jax.grad(loss)(end, images, labels)
    off = dead(end)
    into = jnp.stack([jnp.abs(layer.weights).max(0) for layer in gradient[:2]])
    scores = layers(end, images)[1]
    return {
        "dead": off.mean(),
        "born_dead": dead(params).mean(),
        "num_dead": off.sum(),
        "without_gradient": jnp.mean(into == 0),
        "dead_gradient": jnp.where(off, into, 0.0).max(),
        "live_gradient": jnp.where(off, 0.0, into).max(),
        "misread": jnp.mean(scores.argmax(1) != labels),
    }


def _grow(dataset):
    """More die as the rate or the bias's size grows, and what is dead has no gradient."""
    if not int(dataset.num_dead):
        raise NotJudged("no unit died")
    rate, bias = (dataset[name].mean("draw", skipna=False) for name in ("by_rate", "by_bias"))
    return Finding(
        close(dataset.dead_gradient)
        & above(dataset.live_gradient, 1e-6)
        & less(rate[0], float(rate[-1]) - 0.05)
        & less(bias[0], float(bias[-1]) - 0.05),
        measured=f"dead at rates from {float(dataset.rate[0]):g} to {float(dataset.rate[-1]):g}: "
        f"{', '.join(f'{v:.2f}' for v in rate.values)}; at biases from {float(dataset.bias[0]):g} to "
        f"{float(dataset.bias[-1]):g}: {', '.join(f'{v:.2f}' for v in bias.values)}; gradient of "
        f"{int(dataset.num_dead)} dead units {float(dataset.dead_gradient):g}",
        figure="dead_units",
    )


def _leaky(dataset):
    """Below 0 for all images a leaky unit is linear, not dead."""
    above_never, without = (dataset[name].mean("draw", skipna=False) for name in ("by_slope", "without_gradient"))
    if float(dataset.slope[0]) != 0 or dataset.sizes["slope"] < 2 or float(without[0]) < 0.05:
        raise NotJudged("needs slope 0, a leaky one, and a twentieth of the units lost to ReLU")
    words = (
        f"{w:.3f} and {a:.3f} at slope {s:g}" for w, a, s in zip(without.values, above_never.values, without.slope)
    )
    return Finding(
        close(without[1:].values, 0.0, 0.0) & above(above_never, 1e-3),
        measured="without a gradient, and never above 0: " + ", ".join(words),
        figure="dead_units",
    )


def figures(dataset):
    figure, (rates, biases, slopes) = style.subplots(1, 3, width="page", height=2.4, sharey=True)
    parts = (
        (rates, "rate", {"after training": dataset.by_rate}),
        (biases, "bias", {"before training": dataset.born_dead, "after training": dataset.by_bias}),
        (slopes, "slope", {"after training": dataset.by_slope, "without a gradient": dataset.without_gradient}),
    )
    looks = {"before training": ("grey", "s"), "after training": ("blue", "o")}
    looks["without a gradient"] = ("vermilion", "^")
    for panel, name, lines in parts:
        for label, values in lines.items():
            color, marker = looks[label]
            panel.plot(dataset[name], values.mean("draw"), marker=marker, color=style.COLORS[color], label=label)
            low, high = values.min("draw"), values.max("draw")
            panel.fill_between(dataset[name], low, high, color=style.COLORS[color], alpha=0.2, linewidth=0)
    rates.set(xscale="log", xlabel="learning rate", ylabel="share of dead units")
    biases.set(xlabel="bias at the start")
    slopes.set(xlabel=f"slope below 0, bias {lab.params(dataset)['dead_bias']:g}")
    biases.legend(loc="upper left")
    slopes.legend(loc="upper right")
    figure.set_label(
        "Units of two hidden layers that are above zero for no image: by learning rate, by the first layer's bias at "
        "the start, and by the slope of a leaky rectifier. Means over networks, bands are their range."
    )
    return {"dead_units": figure}


claims = {"dead-units-grow-with-rate-and-bias": _grow, "leaky-slope-leaves-no-unit-dead": _leaky}
