"""How often does a network learn XOR, against its width?"""

import numpy as np
import pydantic

from experiments.convexity import XOR, xor_loss
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, between, jax, jnp, less, over

kind = "compiled"


class Config(lab.Config):
    width: int = pydantic.Field(4, ge=1)
    """hidden units"""
    starts: int = pydantic.Field(300, ge=10)
    """random starts"""
    epochs: int = pydantic.Field(2000, ge=1)
    """steps of gradient descent on all four samples"""
    rate: float = pydantic.Field(0.5, gt=0)
    """learning rate"""
    curved: int = pydantic.Field(32, ge=1)
    """starts whose end has its largest curvature taken"""


VARIABLES = {
    "loss": Variable(("start",), "", "mean cross-entropy at the end"),
    "solved": Variable(("start",), "", "whether all four samples are classified right"),
    "sharpness": Variable(("curved",), "", "largest curvature at the end, by 100 power iterations"),
}


def run(config, key):
    from jax.flatten_util import ravel_pytree

    from jaxcalc import hvp
    from jaxcalc.models import mlp
    from jaxcalc.solvers import gradient_descent, iterate

    model = mlp((2, config.width, 1), "relu")
    loss, (inputs, targets) = xor_loss(model), map(jnp.asarray, XOR)
    with jax.ensure_compile_time_eval():
        unravel = ravel_pytree(model.init(jax.random.key(0)))[1]
    flat = lambda v: loss(unravel(v))

    def train(key):
        start = ravel_pytree(model.init(key))[0]
        end = iterate(gradient_descent(config.rate), flat, start, num_steps=config.epochs, record=lambda at: None).last
        logits = model.apply(unravel(end.x), inputs)[:, 0]
        return end.x, end.value, jnp.all((logits > 0) == (targets > 0.5))

    def sharpness(x):
        def step(v, _):
            image = hvp(flat)((x,), v)
            return image / jnp.maximum(jnp.linalg.norm(image), 1e-300), jnp.vdot(v, image)

        return jax.lax.scan(step, jnp.ones_like(x) / np.sqrt(x.size), None, length=100)[1][-1]

    ends, value, solved = jax.vmap(train)(jax.random.split(key, config.starts))
    return {"loss": value, "solved": solved, "sharpness": jax.vmap(sharpness)(ends[: config.curved])}


def _success(dataset):
    return dataset.solved.astype(float).mean("start", skipna=False).sortby("width")


def _wide(dataset):
    rate = _success(over(dataset, "width"))
    widths, shares = rate.width.values, rate.values
    if widths[0] > 4 or widths[-1] < 16:
        raise NotJudged("it takes widths of at most 4 and at least 16 units")
    return Finding(
        above(shares[-1], 0.99) & between(dataset.solved, 0, 1),
        limits=less(shares[0], 0.9) & above(np.diff(shares), -0.02),
        measured=", ".join(f"{share:.3f} at width {width}" for width, share in zip(widths, shares)),
        note="Width makes success reliable here; why is another question, which these data do not settle.",
    )


def figures(dataset):
    if "width" not in dataset.dims or dataset.sizes["width"] < 2:
        return {}
    rate = _success(dataset)
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.6)
    number, share = dataset.sizes["start"], rate.values
    # Wilson's interval: two standard errors, sensible at shares of 0 and 1 too.
    middle, half = (share + 2 / number) / (1 + 4 / number), 2 * np.sqrt(share * (1 - share) / number + 1 / number**2)
    half = half / (1 + 4 / number)
    spread = np.clip([share - middle + half, middle + half - share], 0, None)
    left.errorbar(rate.width, share, spread, color=style.COLORS["blue"], marker="o", elinewidth=0.8, capsize=2)
    left.set(xscale="log", xlabel="hidden units", ylabel="share of starts that learn XOR", ylim=(0, 1.05))
    solved = dataset.solved.isel(start=slice(0, dataset.sizes["curved"])).values
    sharp = dataset.sharpness.where(dataset.sharpness.copy(data=solved.astype(bool))).sortby("width")
    style.chart(sharp, "width", log="xy", axes=right, color=style.COLORS["green"], marker="^")
    right.set(xlabel="hidden units", ylabel="largest curvature at solutions")
    for panel in (left, right):
        style.ticks(panel.xaxis, rate.width.values)
    style.ticks(right.yaxis, [0.005, 0.01, 0.02, 0.05])
    figure.set_label(
        f"XOR by a ReLU network with one hidden layer from {number} random starts: the share that learns it, with two "
        "standard errors, and the largest eigenvalue of the Hessian where it does, median and quartiles."
    )
    return {"width": figure}


claims = {"large-networks-find-good-solutions": _wide}
