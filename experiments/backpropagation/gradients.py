"""Is a backward pass written out by hand the gradient, to rounding?"""

import functools

import numpy as np
import pydantic

from experiments.backpropagation import by_jax, by_tape
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, close, equal, jax, jnp

kind = "host"


class Config(lab.Config):
    batch: int = pydantic.Field(7, ge=2)
    """samples of the two-layer network"""
    pairs: int = pydantic.Field(400, ge=2)
    """random logits and labels"""
    depth: int = pydantic.Field(4, ge=1)
    """layers of the network that is walked back layer by layer"""


VARIABLES = {
    "entry": Variable(("entry",), "", "number of the parameter"),
    "by_jax": Variable(("entry",), "", "the loss's gradient by JAX's reverse mode"),
    "by_hand": Variable(("entry",), "", "the loss's gradient by the backward pass written out in matrices"),
    "by_tape": Variable(("entry",), "", "the loss's gradient by the tape"),
    "by_differences": Variable(("entry",), "", "the loss's gradient by central differences"),
    "helper": Variable(("unit",), "", "output weights' gradient by a listing that divides by the labels' first size"),
    "mean_loss_gradient": Variable(("unit",), "", "output weights' gradient of the mean loss"),
    "num_samples": Variable((), "", "samples in the batch"),
    "logit_residual": Variable(("pair",), "", "gradient of the cross-entropy by the logit less a - y"),
    "slope_at_40": Variable(("form",), "", "gradient at z = 40, y = 0: through the logarithm, from the logit"),
    "layer_residual": Variable(("layer",), "", "largest difference of a layer's gradient from the whole's"),
}


def _layer_by_layer(weights, x):
    """The gradients of a deep network's sum by its layers: from each layer's own pullback, and of the whole."""
    layer = lambda w, a: jnp.tanh(a @ w)
    whole = jax.grad(lambda weights: jnp.sum(functools.reduce(lambda a, w: layer(w, a), weights, x)))(weights)
    # Each layer keeps its own pullback, and hands one gradient to its weights and one to the layer below.
    a, pulls = x, []
    for w in weights:
        a, pull = jax.vjp(layer, w, a)
        pulls.append(pull)
    down, stored = jnp.ones_like(a), []
    for pull in reversed(pulls):
        mine, down = pull(down)
        stored.insert(0, mine)
    return jnp.stack(stored), whole


def run(config, key):
    from jaxcalc.engines import finite_differences, tape
    from jaxcalc.engines.two_layer_backprop import backpropagate, forward, listing_start
    from jaxcalc.functions.losses import binary_cross_entropy_from_logits

    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.standard_normal((config.batch, 2)))
    y = jnp.asarray(draw.integers(0, 2, (config.batch, 1)).astype(float))
    parameters = listing_start(3)
    loss = by_jax(x, y)
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    exact = jax.grad(loss)(parameters)
    written = backpropagate(parameters, x, y, hidden="relu")

    # The listing keeps samples as columns and divides by the first dimension of the labels.
    columns, labels = forward(parameters, x, hidden="relu"), y.T
    delta = (columns.a2.T - labels) / labels.shape[0]
    helper = delta @ columns.a1

    z = jnp.asarray(draw.normal(0, 4, config.pairs))
    targets = jnp.asarray(draw.integers(0, 2, config.pairs).astype(float))
    fused = binary_cross_entropy_from_logits.value
    slope = jax.vmap(jax.grad(fused))(z, targets)
    unfused = lambda z, y: -(y * jnp.log(jax.nn.sigmoid(z)) + (1 - y) * jnp.log(1 - jax.nn.sigmoid(z)))

    weights = jnp.asarray(draw.standard_normal((config.depth, 5, 5)) / np.sqrt(5))
    stored, whole = _layer_by_layer(weights, x @ jnp.ones((2, 5)))

    return {
        "entry": np.arange(flat(exact).size),
        "by_jax": flat(exact),
        "by_hand": flat(written.gradients),
        "by_tape": flat(tape.gradient(by_tape(x, y))(parameters)),
        "by_differences": flat(finite_differences.gradient(loss)(parameters)),
        "helper": np.ravel(helper),
        "mean_loss_gradient": np.ravel(exact.w2),
        "num_samples": np.asarray(config.batch),
        "logit_residual": abs(np.asarray(slope - (jax.nn.sigmoid(z) - targets))),
        "slope_at_40": np.array([jax.grad(unfused)(40.0, 0.0), jax.grad(fused)(40.0, 0.0)]),
        "layer_residual": abs(np.asarray(stored - whole)).max((1, 2)),
    }


def _judge_logit(dataset):
    unfused, fused = dataset.slope_at_40.values
    return Finding(
        below(dataset.logit_residual) & equal(fused, 1.0),
        measured=f"{dataset.logit_residual.values.max():.2g}; "
        f"at z = 40, y = 0 {fused:g} from the logit, {unfused:g} through the logarithm",
    )


def _judge_two_layers(dataset):
    exact = dataset.by_jax
    names = ("by_hand", "by_tape", "by_differences")
    hand, tape, nudged = (float(abs(dataset[name] - exact).max(skipna=False)) for name in names)
    # The tape and the differences vouch for what the pass by hand is held against.
    vouched = close(dataset.by_tape, exact) & close(dataset.by_differences, exact, 1e-9)
    return Finding(
        close(dataset.by_hand, exact) & vouched,
        measured=f"{hand:.2g}; tape {tape:.2g}, central differences {nudged:.2g}",
    )


def _judge_helper(dataset):
    right = dataset.mean_loss_gradient.values
    live = right != 0
    ratio = dataset.helper.values[live] / right[live]
    words = "times the gradient of the mean loss"
    return Finding(
        close({"ratio_to_mean_loss_gradient": ratio}),
        measured=f"{ratio.mean():.12g} {words}, for {int(dataset.num_samples)} samples",
    )


def figures(dataset):
    routes = {"by hand": "by_hand", "tape": "by_tape", "central differences": "by_differences"}
    gaps = {name: abs(dataset[variable] - dataset.by_jax) for name, variable in routes.items()}
    figure, panels = style.chart(
        gaps,
        "entry",
        log="y",
        looks={"by hand": {"markersize": 7, "alpha": 0.5}},  # under the tape's
        linestyle="",
        xlabel="parameter",
        ylabel="distance from JAX's gradient",
        width="page",
        height=2.7,
    )
    eps = np.finfo(float).eps
    panels[0, 0].axhline(eps, **style.THEORY)
    panels[0, 0].annotate("eps", (0, eps), (-2, 3), textcoords="offset points", fontsize=7.5)
    figure.set_label("Gradients of a 2-4-1 network's loss by every route; hollow: exact agreement.")
    return {"gradients": figure}


claims = {
    "sigmoid-bce-gradient-a-minus-y": _judge_logit,
    "two-layer-backward-matches-ad": _judge_two_layers,
    "backward-helper-batch-size": _judge_helper,
    "backprop-is-chain-rule-per-layer": lambda dataset: below(dataset.layer_residual),
}
