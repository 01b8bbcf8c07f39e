"""What does ``criticality``'s gain do to networks of Flax, beside what anyinit makes of them?

Each network as Flax draws it, with all its weights multiplied by the gain that ``criticality`` names, and initialised
anew by anyinit, which scales every layer so that activations keep their size. Measured is how the gradient's square
changes a layer, over draws; a cure keeps it within a factor ten from end to end. A library that is not installed leaves
NaN.
"""

import importlib.util
import warnings
from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, jax, jnp

kind = "host"
dtype = "float32"
TREATMENTS = ("as drawn by Flax", "criticality's gain", "anyinit")
_NETWORKS = ("relu", "tanh", "gelu", "silu", "relu, two-matrix skips")


class Config(lab.Config):
    network: Literal["relu", "tanh", "gelu", "silu", "relu, two-matrix skips"] = "relu"
    """the activation between Flax's dense layers"""
    depth: int = pydantic.Field(30, ge=4)
    """layers, or blocks of two"""
    width: int = pydantic.Field(128, ge=16)
    """units in a layer"""
    draws: int = pydantic.Field(24, ge=8)
    """networks that are measured"""


_BY_TREATMENT = ("treatment",)
VARIABLES = {
    "treatment": Variable(_BY_TREATMENT, "", "what is done to the weights"),
    "rate": Variable(_BY_TREATMENT, "", "mean logarithm of the factor on the gradient's square per layer"),
    "rate_error": Variable(_BY_TREATMENT, "", "its standard error"),
    "factors": Variable((), "", "factors between the first and the last layer"),
    "gain": Variable((), "", "the gain that criticality names; 1 where there is none to be named"),
    "installed": Variable((), "", "1 where Flax and anyinit are"),
}


def _module(config):
    import flax.linen as nn  # pyright: ignore[reportMissingImports]

    name, _, skips = config.network.partition(", ")
    phi = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": jax.nn.gelu, "silu": jax.nn.silu}[name]

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(config.width)(x)
            for _ in range(config.depth):
                if skips:
                    x = x + nn.Dense(config.width)(phi(nn.Dense(config.width)(x)))
                else:
                    x = nn.Dense(config.width)(phi(x))
            return nn.Dense(10)(phi(x))

    return Network()


def run(config, key):
    """One network under each treatment."""
    if not all(map(importlib.util.find_spec, ("flax", "anyinit"))):
        nan = np.full(len(TREATMENTS), np.nan)
        return {"treatment": np.array(TREATMENTS), "rate": nan, "rate_error": nan} | {
            name: np.array(0.0) for name in ("factors", "gain", "installed")
        }
    import anyinit  # pyright: ignore[reportMissingImports]

    from jaxcalc.models import criticality

    module, x_key = _module(config), jax.random.fold_in(key, 1)
    x = jax.random.normal(x_key, (4, 16))
    init = lambda key: module.init(key, x)
    drawn = criticality((init, module.apply), x, num_seeds=config.draws, key=key)
    gain = drawn.gain if np.isfinite(drawn.gain) else 1.0

    def scaled(key):
        return jax.tree.map(lambda leaf: gain * leaf, init(key))

    def made_by_anyinit(seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the graph of a Flax module is not seen; told in the table
            return anyinit.initialize(module, "analytic", x, seed=seed, params=init(key)).params

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(made_by_anyinit, range(config.draws)))
    keys = jax.random.split(key, config.draws)
    networks = (jax.vmap(init)(keys), jax.vmap(scaled)(keys), stacked)
    squares = _squares(config, module, x)  # compiled once for all treatments
    rates, errors = zip(*(_rate(config, *np.asarray(squares(params, keys), float).mean(1).T) for params in networks))
    return {
        "treatment": np.array(TREATMENTS),
        "rate": np.array(rates),
        "rate_error": np.array(errors),
        "factors": np.array(float(config.depth)),
        "gain": np.array(gain),
        "installed": np.array(1.0),
    }


def _squares(config, module, x):
    """The gradient's square in the first and in the last layer, ``(draw, example, 2)``, from parameters and keys.

    The gradient in a dense layer's bias is, for one example, the gradient in what the layer computes.
    """
    step = 2 if config.network.endswith("skips") else 1
    ends = (f"Dense_{step}", f"Dense_{step * config.depth}")

    def squares(params, key, example):
        seed = jax.random.normal(key, (10,))
        gradient = jax.grad(lambda params: seed @ module.apply(params, example))(params)["params"]
        return jnp.stack([jnp.sum(gradient[name]["bias"] ** 2) for name in ends])

    by_example = jax.vmap(squares, (None, None, 0))
    return jax.jit(lambda params, keys: jax.vmap(by_example, (0, 0, None))(params, keys, x))


def _rate(config, first, last):
    """The mean logarithm of the factor on the gradient's square per layer, over draws, and its standard error."""
    steps = config.depth - 1
    error = np.std(first / first.mean() - last / last.mean(), ddof=1) / np.sqrt(len(first))
    return np.log(first.mean() / last.mean()) / steps, error / steps


def _by_network(dataset):
    """The networks that were measured, along one axis."""
    data = lab.over(dataset, "network")
    data = data.isel(network=np.flatnonzero(data.installed.values == 1))
    if not data.sizes["network"]:
        raise NotJudged("needs flax and anyinit, of the extra peers")
    return data


def _decades(data):
    """By how many decades the gradient's norm changes from the last layer to the first."""
    return data.rate * (data.factors - 1) / 2 / np.log(10)


def figures(dataset):
    """Decades from end to end, one row a network, one colour a treatment."""
    data = lab.over(dataset, "network")
    figure, ax = style.subplots(width="page", height=2.6)
    ax.axvspan(-1, 1, color="#EEEEEE")
    ax.axvline(0, color="#333333", linewidth=0.8)
    colors = ("orange", "blue", "purple")
    decades = _decades(data)
    for which, (name, color) in enumerate(zip(TREATMENTS, colors, strict=True)):
        rows = np.arange(data.sizes["network"]) + 0.18 * (which - 1)
        look = {"linestyle": "", "marker": "os^"[which], "color": style.COLORS[color], "label": name}
        ax.plot(decades.isel(treatment=which), rows, **look)
    style.name_rows(ax, data.network.values)
    ax.set_xlabel("decades that the gradient's norm changes by, from the last layer to the first")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    depth = int(data.depth.values.flat[0])
    figure.set_label(
        f"Gradients through {depth} layers of Flax networks under three treatments; shaded: within a decade."
    )
    return {"decades_by_treatment": figure}


def tables(dataset):
    """The factor of a layer under each treatment."""
    data = lab.over(dataset, "network")
    rows = []
    for which, name in enumerate(data.network.values.tolist()):
        one = data.isel(network=which)
        factors = {treatment: _words(one.isel(treatment=i)) for i, treatment in enumerate(TREATMENTS)}
        rows.append({"network": name, "gain": f"{float(one.gain):.4g}"} | factors)
    return {"Factor on the gradient's square per layer": rows}


def _words(one):
    factor = np.exp(float(one.rate))
    return f"{factor:.4g} ± {factor * float(one.rate_error):.1g}"


def _judge_remedy(dataset):
    """Within a decade from end to end once the gain is applied, where without it gradients vanish or explode."""
    decades = np.abs(_decades(_by_network(dataset)))
    if len(decades) < len(_NETWORKS):
        raise NotJudged("needs all the networks")
    plain, ours, theirs = (decades.isel(treatment=i).values for i in range(3))
    return Finding(
        below(ours),
        measured=f"decades from end to end, at most: as drawn {plain.max():.1f}, with the gain {ours.max():.2f}, "
        f"anyinit {theirs.max():.1f} ({theirs[:-1].max():.2f} without the skips, which it does not see in Flax)",
        figure="decades_by_treatment",
    )


claims = {"criticality-gain-keeps-gradients": _judge_remedy}
