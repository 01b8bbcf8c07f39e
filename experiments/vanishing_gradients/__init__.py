"""Do gradients survive depth: by activation, initialisation and residual connection, on handwritten digits?

Every layer of a random network of up to ``max_depth`` layers is looked at: the norm of the loss's gradient in its
output and in its weights, and the mean square of what it passes on. One program serves all depths, for layers past the
depth are the identity. Beside the measurements stand the bound 0.25^depth for sigmoids and mean-field theory.

Networks of 1 to 128 layers (``depth``), the scale of what wide ones pass on (``width``), the gain that carries tanh
from order to chaos (``chaos``), maps of gradients by layer and depth (``layers``), and all combinations with
normalisation at one depth (``architecture``).
"""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import NotJudged, Swept, Variable, jax, jnp, params

CHAINS = {"w = 1, b = 0": (1.0, 0.0), "w = 4, b = -2": (4.0, -2.0), "w = 8, b = -4": (8.0, -4.0)}
_SHARED = ("layer", "bound", "chain", "chain_gradient", "relu_slope")
NORMAL = ("glorot", "he")  # square matrices of either differ by a factor alone, which the gain may make up for
_WIDE, _SEEDS = 64, 3  # fewer units or draws, and a deep network's gradient is one draw's luck
ACTIVATIONS = ("linear", "sigmoid", "tanh", "relu", "gelu")


class Config(lab.Config):
    """A deep network at initialisation, seen by a batch of digits."""

    activation: Literal["linear", "sigmoid", "tanh", "relu", "gelu"] = "relu"
    """the function applied by every layer"""
    initialisation: Literal["naive", "glorot", "he", "lecun", "standard", "orthogonal", "critical", "unit"] = "he"
    """how the layers' weights are drawn; naive has variance 1 whatever the width, critical those variances of weights
    and biases that mean-field theory names; unit is the identity matrix, which makes each unit a chain of its own"""
    residual: Literal["none", "plain", "scaled", "two_matrix"] = "none"
    """plain adds the layer's input to its output; scaled also divides the layer's own part by sqrt(depth); two_matrix
    puts a second random matrix behind the activation"""
    normalisation: Literal["none", "batch", "layer", "rms"] = "none"
    """of what each layer's weights make, before bias and activation"""
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
        if self.normalisation == "batch" and self.batch < 4:
            raise ValueError(f"batch is {self.batch}; batch normalisation takes 4 digits at least")
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
    "activation_index": Variable((), "", "position of the activation in: " + ", ".join(ACTIVATIONS)),
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
    from jaxcalc.functions import activations
    from jaxcalc.models.dense import unit_chain

    sigmoid, layers = activations.sigmoid, np.arange(config.max_depth + 1)
    chains = [unit_chain(sigmoid, w, b, 0.5, config.max_depth) for w, b in CHAINS.values()]
    return {
        "layer": layers,
        "bound": sigmoid.largest_slope ** layers.astype(float),
        "chain": np.array(list(CHAINS)),
        "chain_gradient": np.abs(np.stack(chains)),
        "relu_slope": jax.grad(activations.relu)(3.0),
    }


def some_digits(key, count):
    """Standardised images, drawn without replacement, and their labels."""
    from jaxcalc.functions import datasets

    images, labels = datasets.digits()
    images = datasets.standardize(images).values
    chosen = jax.random.choice(key, len(images), (count,), replace=False)
    return jnp.asarray(images, float)[chosen], jnp.asarray(labels)[chosen]


def layer_variances(activation, initialisation, width):
    """The weights' variance times the width, and the biases'; both NaN where an activation has no critical point."""
    from jaxcalc.functions import mean_field
    from jaxcalc.models import dense

    if initialisation != "critical":
        return width * dense.weight_variance(initialisation, width, width), 0.0
    # A number of the network's own, computed while run is traced and not within its program.
    with jax.ensure_compile_time_eval():
        sw2, sb2 = mean_field.critical_weight_variance(activation, 1.0)
        return float(sw2), float(sb2)


def mean_field_theory(activation, moment, *, sw2, sb2, residual, branch, normalisation, batch, num_layers):
    """Mean squares and factors by layer at infinite width; behind batch normalisation factors alone."""
    from jaxcalc.functions import batch_norm_growth, mean_field, residual_growth

    if normalisation == "batch":
        if residual == "none":
            sampled = batch_norm_growth.batch_norm_factor_sampled(activation, batch, jax.random.key(0))
            factor = jnp.full(num_layers, sampled.mean)
        else:
            factor = batch_norm_growth.batch_norm_residual_factors(
                activation, moment, branch=branch, num_layers=num_layers
            )
        return mean_field.Signals(jnp.full(num_layers, jnp.nan), factor)
    choices = {"sw2": sw2, "sb2": sb2, "branch": branch, "num_layers": num_layers}
    choices["normalised"] = normalisation != "none"
    if residual == "two_matrix":
        return residual_growth.two_matrix_signals(activation, moment, **choices)
    return mean_field.signals(activation, moment, skip=float(residual != "none"), **choices)


def run(config, key):
    """One batch of digits through one random network, and back."""
    import optax

    from jaxcalc.functions import mean_field
    from jaxcalc.models import dense

    weights_key, batch_key = jax.random.split(key)
    inputs, targets = some_digits(batch_key, config.batch)

    network = dense.deep_network(
        inputs.shape[1],
        config.width,
        10,
        max_depth=config.max_depth,
        phi=config.activation,
        initialisation=config.initialisation,
        residual=config.residual,
        normalisation=config.normalisation,
    )
    params = network.init(weights_key, gain=config.gain, bias_std=config.bias_std)
    found = dense.gradient_flow(
        network,
        lambda outputs: optax.softmax_cross_entropy_with_integer_labels(outputs, targets),
        params,
        inputs,
        config.depth,
    )

    sw2, sb2 = layer_variances(config.activation, config.initialisation, config.width)
    scale = sw2 * config.gain**2
    skip, branch = network.connection(config.depth)
    theory = mean_field_theory(
        config.activation,
        found.moment[0],
        sw2=scale,
        sb2=sb2 + config.bias_std**2,
        residual=config.residual,
        branch=branch,
        normalisation=config.normalisation,
        batch=config.batch,
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
        "activation_index": jnp.asarray(ACTIVATIONS.index(config.activation)),
        "weight_scale": jnp.asarray(scale, float),
        "skip": jnp.asarray(skip, float),
        "branch": jnp.asarray(branch, float),
    }


def tidy(dataset):
    """The dataset with dims case, depth and seed whatever was swept, other axes folded into case."""
    dataset = dataset.drop_vars([v for v in dataset.variables if str(v).startswith("valid")])
    for name in ("depth", "seed", "case"):
        if name not in dataset.attenuation.dims:
            label = params(dataset).get(name, "network" if name == "case" else 0)
            dataset = dataset.drop_vars(name, errors="ignore")
            swept = [v for v in VARIABLES if v not in _SHARED]
            wide = dataset[swept].expand_dims({name: [label]})
            dataset = dataset.drop_vars(swept).merge(wide, compat="no_conflicts")
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


def setting(dataset, name):
    """What a parameter was: a sweep's coordinate, of one case where a case was chosen, or else the base value."""
    return dataset[name].values[()] if name in dataset.coords else params(dataset)[name]


def over_seeds(array):
    """The geometric mean over seeds."""
    return np.exp(np.log(array).mean("seed", skipna=False))


def find(dataset, activation, weight_scale, skip=0.0, scaled=False):
    """The case of a tidy dataset with that network, of normal weights and no biases and not too narrow, or None."""
    depth = dataset.depth.values[-1]
    for case in dataset.case.values:
        at = dataset.sel(case=case).isel(depth=-1, seed=0)
        if setting(at, "activation") != activation or setting(at, "initialisation") not in NORMAL:
            continue
        if setting(at, "bias_std") != 0 or setting(at, "width") < _WIDE:
            continue
        if setting(at, "normalisation") != "none" or setting(at, "residual") == "two_matrix":
            continue
        branch = depth**-0.5 if scaled else 1.0
        found = (float(at.weight_scale), float(at.skip), float(at.branch))
        if np.allclose(found, (weight_scale, skip, branch), rtol=1e-4):
            return dataset.sel(case=case)
    return None


def deep(dataset):
    """The tidy dataset of at least three seeds: fewer draws, and a deep network's gradient is one draw's luck."""
    data = tidy(dataset)
    if data.sizes["seed"] < _SEEDS:
        raise NotJudged(f"needs {_SEEDS} seeds")
    return data


def ratio_at(data, depth, *network, **changes):
    """The gradient at the input over that at the last layer of one network of that depth."""
    return float(over_seeds(network_in(data, *network, **changes).attenuation.sel(depth=depth)))


def network_in(data, activation, weight_scale, **changes):
    case = find(data, activation, weight_scale, **changes)
    if case is None:
        raise NotJudged(f"needs a {activation} network of weight variance {weight_scale:g}, {changes}")
    return case


def look_of(data, case):
    """The look of a case's line: its activation's, dotted where it has skip connections."""
    one = data.sel(case=case)
    look = style.method(ACTIVATIONS[int(one.activation_index.values.flat[0])], marker="", label=str(case))
    return {**look, "linestyle": (0, (1, 1)) if float(one.skip.max()) else "-"}


def draw_factors(data):
    """What one layer does to the gradient's norm, each case's seeds beside theory, at about twenty layers."""
    depth = data.depth.values[np.abs(np.log(data.depth.values / 20)).argmin()]
    at = data.sel(depth=depth)
    factors = at.attenuation ** (1 / depth)
    theory = (at.theory_signal.sel(layer=0) / at.theory_signal.sel(layer=depth)) ** (1 / depth)
    order = np.argsort(-factors.median("seed").values)
    figure, ax = style.subplots(height=0.75 + 0.19 * len(order))
    ax.axvline(1.0, color="#333333", linewidth=0.8)
    for row, which in enumerate(order):
        name = ACTIVATIONS[int(at.activation_index.isel(case=which, seed=0))]
        points = factors.isel(case=which).values
        look = style.method(name, linestyle="", markersize=4.2, alpha=0.85)
        ax.plot(points, np.full(points.shape, row), **{**look, "label": None})
        expected = float(theory.isel(case=which).mean())
        if np.isfinite(expected):
            ax.plot([expected] * 2, [row - 0.38, row + 0.38], **{**style.THEORY, "linestyle": "-", "linewidth": 1.3})
    ax.plot([], [], **{**style.THEORY, "linestyle": "-", "linewidth": 1.3}, label="mean-field theory")
    style.name_rows(ax, data.case.values[order])
    ax.set_xscale("log")
    ticks = [t for t in (0.125, 0.25, 0.5, 1.0, 2.0, 4.0) if factors.min() / 1.6 < t < factors.max() * 1.6]
    style.ticks(ax.xaxis, ticks)
    ax.set_xlabel(f"gradient's factor per layer ({depth} layers)")
    ax.legend(loc="upper left")
    figure.set_label(
        "The factor by which one layer changes the gradient's norm, each seed beside mean-field theory, which is valid "
        "at infinite width for gradients independent of the signal: ReLU's behind unscaled skips are not."
    )
    return figure
