"""Is the derivative of a composition the product of local derivatives, fifty layers deep?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, close, jax, jnp

kind = "host"


class Config(lab.Config):
    layers: int = pydantic.Field(50, ge=2)
    """layers of tanh, each with a weight of its own"""


VARIABLES = {
    "layer": Variable(("layer",), "", "layers so far"),
    "factor": Variable(("layer",), "", "local derivative"),
    "product": Variable(("layer",), "", "product of the local derivatives so far"),
    "derivative": Variable(("layer",), "", "derivative by the input, by forward mode"),
    "two_step": Variable((), "", "derivative of loss(sigmoid(w x)) by w"),
    "two_step_product": Variable((), "", "product of its three local derivatives"),
}


def run(config, key):
    from jax.nn import sigmoid

    weights = jnp.linspace(0.9, 1.3, config.layers)

    def layer(a, w):
        a = jnp.tanh(w * a)
        return a, a

    outputs_of = lambda x: jax.lax.scan(layer, x, weights)[1]
    x = jnp.asarray(0.4)
    factors = weights * (1 - outputs_of(x) ** 2)
    w, feature, target = 0.7, 0.9, 1.0
    score = sigmoid(w * feature)
    return {
        "layer": np.arange(1, config.layers + 1),
        "factor": factors,
        "product": jnp.cumprod(factors),
        "derivative": jax.jacfwd(outputs_of)(x),
        "two_step": jax.grad(lambda w: (sigmoid(w * feature) - target) ** 2)(w),
        "two_step_product": 2 * (score - target) * score * (1 - score) * feature,
    }


def _is_product(dataset):
    fifty = dataset.sel(layer=np.arange(1, 51))
    gap = abs(fifty["product"] / fifty.derivative - 1).values.max()
    return Finding(
        close(fifty["product"], fifty.derivative, relative=True),
        measured=f"{gap:.2g} over 50 layers; product {float(fifty['product'][-1]):.3g}",
    )


def figures(dataset):
    lines = {
        "local derivative of a layer": dataset.factor,
        "product of them so far": dataset["product"],
        "derivative by forward mode": dataset.derivative,
    }
    looks = {"derivative by forward mode": {**style.THEORY, "zorder": 3}}
    figure, _ = style.chart(lines, "layer", looks=looks, log="y", marker="", ylabel="derivative")
    figure.set_label("The derivative of a chain is the product of its local derivatives.")
    return {"chain": figure}


claims = {
    "fifty-layer-chain-is-product": _is_product,
    "two-step-model-three-factors": lambda dataset: close(dataset.two_step, dataset.two_step_product),
}
