"""Does a quasi-Newton method train a small network faster than Adam, by evaluations and by seconds?

Both minimise the loss of all training images from the same weights, Adam at the best of several rates. Evaluations are
counted; seconds are those of a run of exactly as many steps as it takes.
"""

from typing import Any

import numpy as np
import pydantic

from experiments.optimizers import solver_named, split_digits
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, jax, less, xarray

kind = "timed"
dtype = "float32"


class Config(lab.Config):
    rates: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    """learning rates of Adam; L-BFGS searches along each direction"""
    levels: tuple[float, ...] = (0.1, 0.01, 1e-3)
    """what is left of the loss above the least that was found, over that at the start; falling"""
    samples: int = pydantic.Field(500, ge=10, le=1700)
    """images to train on"""
    width: int = pydantic.Field(16, ge=1)
    """units of the one hidden layer, tanh"""
    decay: float = pydantic.Field(1e-3, gt=0)
    """its multiple of half the squared norm of the weights belongs to the loss, which so has minima"""
    num_steps: int = pydantic.Field(800, ge=20)
    """steps at most"""
    starts: int = pydantic.Field(5, ge=1)
    """random weights to start from; the first is timed"""
    repeats: int = pydantic.Field(7, ge=1)
    """readings of the time"""


VARIABLES = {
    "method": Variable(("method",), "", "method of minimisation", measured=False),
    "level": Variable(("level",), "", "loss above the least found, over that at the start", measured=False),
    "step": Variable(("step",), "", "step", measured=False),
    "start": Variable(("start",), "", "random weights", measured=False),
    "gap": Variable(
        ("method", "start", "step"), "", "loss above the least found, over that at the start", measured=False
    ),
    "evaluations": Variable(("method", "start", "step"), "", "of the loss with its gradient, so far", measured=False),
    "needed": Variable(("method", "start", "level"), "", "evaluations to the level; -1 not reached", measured=False),
    "rate": Variable((), "", "learning rate of Adam that needs least", measured=False),
    "repeat": Variable(("repeat",), "", "reading", measured=False),
    "seconds": Variable(("method", "level", "repeat"), "s", "time to the level", measured=True),
}


def run(config, key):
    from jax.flatten_util import ravel_pytree

    from jaxcalc.models import classifier
    from jaxcalc.solvers import iterate

    of_split, *of_starts = jax.random.split(key, config.starts + 1)
    train, _ = split_digits(of_split, config.samples)
    model = classifier.make("dense", width=config.width, depth=1)
    _, unravel = ravel_pytree(model.init(of_split))
    starts = np.stack([ravel_pytree(model.init(of_start))[0] for of_start in of_starts])
    entropy = classifier.loss(model)
    loss = lambda w: entropy(unravel(w), *train) + config.decay * w @ w / 2
    record = lambda at: (at.value, at.evaluations.gradients)

    def follow(name, rate, w, num_steps):
        return iterate(solver_named(name, rate), loss, w, num_steps=num_steps, record=record).history

    runs = [*(("adam", rate) for rate in config.rates), ("l-bfgs", 0.0)]
    by_start = lambda name: jax.vmap(lambda rate, w: follow(name, rate, w, config.num_steps), (None, 0))
    tried = jax.jit(jax.vmap(by_start("adam"), (0, None)))(np.array(config.rates), starts)
    alone = jax.jit(by_start("l-bfgs"))(0.0, starts)
    value, count = (np.concatenate([several, one[None]]) for several, one in zip(tried, alone))
    least = value.min((0, 2), keepdims=True)  # of each start: it may be a minimum of its own
    gap = (value - least) / (value[..., :1] - least)
    reached = gap[..., None] <= np.array(config.levels)
    steps = np.where(reached.any(2), reached.argmax(2), -1)
    needed = np.where(steps < 0, -1, np.take_along_axis(count, np.maximum(steps, 0), 2))
    best = int(np.where(steps[:-1, :, -1] < 0, config.num_steps, steps[:-1, :, -1]).mean(1).argmin())
    chosen = [best, -1]
    calls = {
        (i, j): jax.jit(lambda w, run=runs[k], n=int(n): follow(run[0], run[1], w, n)[0][-1])
        for i, k in enumerate(chosen)
        for j, n in enumerate(steps[k, 0])
        if n >= 0
    }
    timings = measure.interleave(
        {str(at): lambda go=go: go(starts[0]) for at, go in calls.items()}, repeats=config.repeats
    )
    seconds = np.full((2, len(config.levels), config.repeats), np.nan)
    for at, timing in zip(calls, timings.values()):
        seconds[at] = timing.samples
    return {
        "method": np.array(["adam", "l-bfgs"]),
        "start": np.arange(config.starts),
        "level": np.array(config.levels),
        "gap": gap[chosen],
        "evaluations": count[chosen],
        "needed": needed[chosen],
        "rate": config.rates[best],
        "repeat": np.arange(config.repeats),
        "seconds": seconds,
    }


shared = lambda config: {"step": np.arange(config.num_steps + 1)}


def _fewer_evaluations(dataset):
    needed, most = dataset.needed.isel(level=-1), dataset.evaluations.isel(step=-1)
    adam, quasi_newton = (needed.sel({"method": name}).values for name in ("adam", "l-bfgs"))
    if (quasi_newton < 0).any():
        raise NotJudged("L-BFGS did not come down to the last level; more steps may")
    # Where Adam did not arrive it needs more than all that it took.
    adam = np.where(adam < 0, most.sel({"method": "adam"}), adam)
    share = quasi_newton / adam
    return Finding(
        less(np.median(share), 0.5),
        measured=f"to {float(dataset.level[-1]):g} of the loss L-BFGS takes {share.min():.2f} to {share.max():.2f} of "
        "Adam's evaluations",
    )


def figures(dataset):
    figure, (way, counted, timed) = style.subplots(1, 3, width="page", height=2.7)
    left = "left of the loss above its least"
    for name, gap, count in zip(dataset["method"].values, dataset.gap, dataset.evaluations):
        # At equal numbers of evaluations over the starts: the last iterate that they pay for.
        evaluations = np.unique(np.geomspace(1, float(count[:, -1].min()), 60).round())
        rows = [row.values[np.searchsorted(n, evaluations, "right") - 1] for row, n in zip(gap, count.values)]
        lines = xarray.DataArray(rows, {"start": dataset.start, "evaluations": evaluations}, ("start", "evaluations"))
        looks = {str(name): {"marker": ""}}
        style.chart({str(name): lines}, log="xy", looks=looks, axes=way, legend=None, ylim=(1e-5, 1.5))
    way.set(xlabel="evaluations of loss and gradient", ylabel=left)
    options: Any = {"hue": "method", "log": "xy", "xlabel": left}
    needed = dataset.needed.where(dataset.needed >= 0)
    style.chart(needed, "level", axes=counted, legend="below", ylabel="evaluations to the level", **options)
    style.chart(dataset.seconds, "level", axes=timed, legend=None, ylabel="time to the level (s)", **options)
    for panel in (counted, timed):
        panel.invert_xaxis()
    figure.set_label(
        "A small network on all its training images by L-BFGS and by Adam at its best rate. Evaluations are counted, "
        "from several starts; seconds are readings in turns, from one. Medians, bands between the quartiles."
    )
    return {"network": figure}


claims = {"l-bfgs-takes-fewer-evaluations-than-adam": _fewer_evaluations}
