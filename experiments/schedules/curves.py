"""Are the schedules the curves that their formulas say?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, close, equal, jax

kind = "host"


class Config(lab.Config):
    rate: float = pydantic.Field(0.1, gt=0)
    """highest rate"""
    final: float = pydantic.Field(0.01, gt=0)
    """lowest rate of the cosines"""
    decay: float = pydantic.Field(0.05, gt=0)
    """of the exponential, per step"""
    factor: float = pydantic.Field(0.3, gt=0)
    """of a stair"""
    every: int = pydantic.Field(25, ge=1)
    """steps on a stair"""
    num_warmup: int = pydantic.Field(10, ge=2)
    """steps of a warmup"""
    num_steps: int = pydantic.Field(100, ge=4)
    """steps to the end of a cosine"""


VARIABLES = {
    "schedule": Variable(("schedule",), "", "name of the schedule"),
    "count": Variable(("count",), "", "steps taken before"),
    "rate": Variable(("schedule", "count"), "", "learning rate"),
    "closed_form": Variable(("schedule", "count"), "", "learning rate by the formula"),
    "optax": Variable(("schedule", "count"), "", "learning rate by optax"),
    "num_warmup": Variable((), "", "steps of a warmup"),
    "num_steps": Variable((), "", "steps to the end of a cosine"),
    "decay": Variable((), "", "of the exponential, per step"),
}


def run(config, key):
    import optax

    from jaxcalc.functions import schedules as ours

    c, t = config, np.arange(config.num_steps + config.num_warmup + 1)
    fall = lambda t, over: c.final + (c.rate - c.final) * (1 + np.cos(np.pi * np.clip(t / over, 0, 1))) / 2
    rise = np.minimum(t / c.num_warmup, 1) * c.rate
    long = c.num_warmup + c.num_steps
    # Ours, the closed form, optax's.
    curves = {
        "constant": (ours.constant(c.rate), c.rate + 0.0 * t, optax.constant_schedule(c.rate)),
        "step-decay": (
            ours.step_decay(c.rate, c.factor, every=c.every),
            c.rate * c.factor ** (t // c.every),
            optax.exponential_decay(c.rate, c.every, c.factor, staircase=True),
        ),
        "exponential-decay": (
            ours.exponential_decay(c.rate, c.decay),
            c.rate * np.exp(-c.decay * t),
            optax.exponential_decay(c.rate, 1, np.exp(-c.decay)),
        ),
        "cosine": (
            ours.cosine(c.rate, c.final, num_steps=c.num_steps),
            fall(t, c.num_steps),
            optax.cosine_decay_schedule(c.rate, c.num_steps, c.final / c.rate),
        ),
        "linear-warmup": (
            ours.linear_warmup(c.rate, num_warmup=c.num_warmup),
            rise,
            optax.linear_schedule(0.0, c.rate, c.num_warmup),
        ),
        "warmup-cosine": (
            ours.warmup_cosine(c.rate, 0.0, c.final, num_warmup=c.num_warmup, num_steps=long),
            np.where(t < c.num_warmup, rise, fall(t - c.num_warmup, c.num_steps)),
            optax.warmup_cosine_decay_schedule(0.0, c.rate, c.num_warmup, long, c.final),
        ),
    }
    rate, closed, theirs = zip(*curves.values())
    return {
        "schedule": np.array(list(curves)),
        "count": t,
        "rate": np.stack([schedule(t) for schedule in rate]),
        "closed_form": np.stack(closed),
        "optax": np.stack([jax.vmap(schedule)(t) for schedule in theirs]),
        "num_warmup": np.asarray(c.num_warmup),
        "num_steps": np.asarray(c.num_steps),
        "decay": np.asarray(c.decay),
    }


def _fits(dataset, name):
    """Whether a curve is its closed form and optax's, to the tolerance of the claim."""
    one = dataset.sel(schedule=name)
    return close(one.rate, one.closed_form) & close(one.rate, one.optax)


def _judge_cosine(dataset):
    end = int(dataset.num_steps)
    rate = dataset.rate.sel(schedule="cosine").values
    return close(rate[[0, end // 2, end]]) & _fits(dataset, "cosine")


def _judge_exponential(dataset):
    rate = dataset.rate.sel(schedule="exponential-decay").values
    ratios = rate[1:] / rate[:-1]
    return Finding(
        close({"ratio": ratios}) & _fits(dataset, "exponential-decay"),
        measured=f"ratios from {ratios.min():.12g} to {ratios.max():.12g}, "
        f"half-life {-np.log(2) / np.log(ratios.mean()):.2f} steps",
    )


def _judge_warmup(dataset):
    warm = int(dataset.num_warmup)
    rate = dataset.rate.sel(schedule="linear-warmup").values
    half, end = rate[warm // 2], rate[warm]
    return Finding(
        close({"rate_at_half": half, "rate_at_end": end})
        & equal(rate[0], 0)
        & equal(rate[warm:], end)
        & _fits(dataset, "linear-warmup"),
        measured=f"{half:.12g} half way, {end:.12g} at the end and after, {rate[0]:g} at first",
    )


def figures(dataset):
    figure, _ = style.chart(
        dataset.rate,
        "count",
        col="schedule",
        wrap=3,
        theory=dataset.closed_form,
        width="page",
        height=3.6,
        color=style.COLORS["sky"],
        linewidth=3.2,
        zorder=1,
    )
    figure.set_label("The schedules (lines) and their closed forms (dashed).")
    return {"curves": figure}


claims = {
    "cosine-annealing-schedule": _judge_cosine,
    "exponential-decay-schedule": _judge_exponential,
    "linear-warmup-schedule": _judge_warmup,
}
