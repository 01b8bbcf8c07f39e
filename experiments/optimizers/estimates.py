"""Is the gradient over a mini-batch an unbiased estimate, and how does its variance fall?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, close, jax, jnp

kind = "host"


class Config(lab.Config):
    samples: int = pydantic.Field(4096, ge=1024)
    """rows of the regression"""
    batches: int = pydantic.Field(2000, ge=100)
    """mini-batches drawn of each size"""
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128)
    """samples in a mini-batch"""


VARIABLES = {
    "size": Variable(("size",), "", "samples in a mini-batch"),
    "variance": Variable(("size",), "", "mean squared distance of its gradient from the whole one"),
    "bias": Variable(("size",), "", "distance of the mean of all such gradients, over the whole one's norm"),
    "single_variance": Variable((), "", "the same variance for one sample, over all samples"),
    "gradient_norm": Variable((), "", "norm of the whole gradient"),
}


def run(config, key):
    return {"size": np.array(config.sizes), **jax.jit(lambda key: _estimated(config, key))(key)}


def _estimated(config, key):
    dimension, largest = 6, max(config.sizes)
    of_data, of_weights, of_batches = jax.random.split(key, 3)
    data = jax.random.normal(of_data, (config.samples, dimension + 1))
    truth, at = jax.random.normal(of_weights, (2, dimension))
    design, target = data[:, :-1], data[:, :-1] @ truth + 0.5 * data[:, -1]
    sample = jax.vmap(jax.grad(lambda w, row: (design[row] @ w - target[row]) ** 2 / 2), (None, 0))
    singles = sample(at, jnp.arange(config.samples))
    whole = singles.mean(0)
    # A smaller batch is the beginning of the largest.
    rows = jax.random.randint(of_batches, (config.batches, largest), 0, config.samples)
    drawn = jax.vmap(lambda rows: sample(at, rows))(rows)
    errors = [drawn[:, :size].mean(1) - whole for size in config.sizes]
    return {
        "variance": jnp.stack([jnp.mean(jnp.sum(error**2, 1)) for error in errors]),
        "bias": jnp.stack([jnp.linalg.norm(error.mean(0)) for error in errors]) / jnp.linalg.norm(whole),
        "single_variance": jnp.mean(jnp.sum((singles - whole) ** 2, 1)),
        "gradient_norm": jnp.linalg.norm(whole),
    }


def _unbiased(dataset):
    size, variance, bias = (dataset[name].values for name in ("size", "variance", "bias"))
    if size.size < 3:
        raise NotJudged("needs batches of three sizes")
    slope = np.polyfit(np.log(size), np.log(variance), 1)[0]
    # The mean of n unbiased estimates is as far from the truth as the root of their variance over n.
    errors = bias / (np.sqrt(variance / float(dataset.batches)) / float(dataset.gradient_norm))
    return Finding(
        close({"variance_slope": slope, "relative_bias": bias}) & below(errors, 3.0),
        measured=f"variance slope {slope:.3f} in the batch size, relative bias at most {bias.max():.4f}, "
        f"at most {errors.max():.1f} of its standard errors",
    )


def figures(dataset):
    figure, panels = style.chart(
        dataset.variance,
        "size",
        theory=dataset.single_variance / dataset["size"],
        log="xy",
        ylabel="variance of the gradient",
        linestyle="",
    )
    style.ticks(panels[0, 0].xaxis, dataset["size"].values)
    figure.set_label(
        "The gradient over a mini-batch is right in the mean; its variance falls as one over the size. "
        "Dashed: the variance of one sample over the size."
    )
    return {"variance": figure}


claims = {"minibatch-gradient-unbiased": _unbiased}
