"""How sharp are the minima that mini-batches of each size find, and how do they generalise?

The sharpness is the largest eigenvalue of the Hessian of the whole training loss, by Lanczos' method on Hessian-vector
products. All batches take equally many steps at one rate. What goes together here need not be cause and effect.
"""

from typing import Any

import numpy as np
import pydantic

from experiments.optimizers import draw_batch, held_out, split_digits
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, jax

kind = "compiled"
dtype = "float32"


class Config(lab.Config):
    batch: int = pydantic.Field(32, ge=1)
    """images in a mini-batch"""
    rate: float = pydantic.Field(0.3, gt=0)
    """learning rate of plain descent"""
    samples: int = pydantic.Field(500, ge=10, le=1700)
    """images to train on, drawn by the seed; the others are held out"""
    width: int = pydantic.Field(32, ge=1)
    """units of the one hidden layer, tanh"""
    num_steps: int = pydantic.Field(3000, ge=10)
    """steps taken"""
    num_products: int = pydantic.Field(30, ge=2)
    """Hessian-vector products of Lanczos' method"""


VARIABLES = {
    "sharpness": Variable((), "", "largest eigenvalue of the Hessian of the training loss at the end"),
    "loss": Variable((), "nat", "training loss at the end"),
    "held_out_loss": Variable((), "nat", "loss of the images held out"),
    "held_out_error": Variable((), "", "share of them that is misread"),
}


def run(config, key):
    from jaxcalc import classify_stationary_point
    from jaxcalc.models import classifier
    from jaxcalc.solvers import minimize, sgd

    of_split, of_batches = jax.random.split(key)
    train, others = split_digits(of_split, config.samples)
    model = classifier.make("dense", width=config.width, depth=1)
    with jax.ensure_compile_time_eval():
        start = model.init(jax.random.key(0))
    loss = classifier.loss(model)
    found = minimize(
        loss,
        start,
        *train,
        method=sgd(config.rate),
        batches=draw_batch(train, config.batch),
        key=of_batches,
        max_steps=config.num_steps,
    )
    at = classify_stationary_point(loss, found.x, *train, method="lanczos", num_products=config.num_products)
    return {
        "sharpness": at.eigenvalues[-1],
        "loss": found.value,
        "held_out_loss": loss(found.x, *others),
        "held_out_error": held_out(model, found.x, others),
    }


def _flatter(dataset):
    data = lab.over(dataset, "batch", "seed").sortby("batch").transpose("batch", "seed")
    if data.sizes["batch"] < 2 or data.sizes["seed"] < 4:
        raise NotJudged("needs two sizes of batches or more, over four seeds or more")
    # Paired over splits: each seed's images are the same for all batches.
    small, large = data.isel(batch=0), data.isel(batch=-1)
    growth, growth_error = _mean(np.log((large.sharpness / small.sharpness).values))
    gain, gain_error = _mean((large.held_out_loss - small.held_out_loss).values)
    return Finding(
        above(growth - 3 * growth_error, 0.0),
        limits=below(gain + 2 * gain_error, 0.02),
        measured=f"sharpness at batches of {int(large.batch)} over that at {int(small.batch)}: {np.exp(growth):.2f}; "
        f"held-out loss {gain:+.4f} ± {gain_error:.4f} nat",
    )


def _mean(values):
    """The mean and its standard error."""
    return values.mean(), values.std(ddof=1) / values.size**0.5


def figures(dataset):
    data = lab.over(dataset, "batch", "seed").sortby("batch")
    figure, panels = style.subplots(1, 3, width="page", height=2.6)
    losses = {"training": data.loss, "held out": data.held_out_loss}
    options: Any = {"log": "x", "xlabel": "images in a mini-batch"}
    style.chart(data.sharpness, "batch", ylabel="largest eigenvalue of the Hessian", axes=panels[0], **options)
    style.chart(losses, "batch", ylabel="cross-entropy (nat)", legend="ends", axes=panels[1], **options)
    style.chart(100 * data.held_out_error, "batch", ylabel="held out, misread (%)", axes=panels[2], **options)
    figure.set_label(
        "Small networks that read digits, after equally many steps of plain descent at one rate: how sharp the minimum "
        "is, and how well it generalises. Medians over splits, bands between the quartiles."
    )
    return {"sharpness": figure}


claims = {"small-batches-find-flatter-minima": _flatter}
