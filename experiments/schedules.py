"""What do learning-rate schedules look like, and what do they do for descent with noisy gradients?

Every schedule against its closed form (``curves``); the loss that noise leaves under each, against the exact mean
(``noise``).
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import Check, Config, Finding, Part, Swept, Variable, close, equal

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

Name = Literal["constant", "step-decay", "exponential-decay", "cosine", "linear-warmup", "warmup-cosine"]
_NAMES: tuple[Name, ...] = (
    "constant",
    "step-decay",
    "exponential-decay",
    "cosine",
    "linear-warmup",
    "warmup-cosine",
)

# -- curves ------------------------------------------------------------------------------------------------------------


class Curves(Config):
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


def run_curves(config: Curves, key: Any) -> dict[str, Any]:
    import jax
    import optax

    from jaxcalc.functions.schedules import (
        constant,
        cosine,
        exponential_decay,
        linear_warmup,
        step_decay,
        warmup_cosine,
    )

    c, t = config, np.arange(config.num_steps + config.num_warmup + 1)
    fall = lambda t, over: c.final + (c.rate - c.final) * (1 + np.cos(np.pi * np.clip(t / over, 0, 1))) / 2
    rise = np.minimum(t / c.num_warmup, 1) * c.rate
    long = c.num_warmup + c.num_steps
    # Ours, the closed form, optax's.
    curves = {
        "constant": (constant(c.rate), c.rate + 0.0 * t, optax.constant_schedule(c.rate)),
        "step-decay": (
            step_decay(c.rate, c.factor, every=c.every),
            c.rate * c.factor ** (t // c.every),
            optax.exponential_decay(c.rate, c.every, c.factor, staircase=True),
        ),
        "exponential-decay": (
            exponential_decay(c.rate, c.decay),
            c.rate * np.exp(-c.decay * t),
            optax.exponential_decay(c.rate, 1, np.exp(-c.decay)),
        ),
        "cosine": (
            cosine(c.rate, c.final, num_steps=c.num_steps),
            fall(t, c.num_steps),
            optax.cosine_decay_schedule(c.rate, c.num_steps, c.final / c.rate),
        ),
        "linear-warmup": (
            linear_warmup(c.rate, num_warmup=c.num_warmup),
            rise,
            optax.linear_schedule(0.0, c.rate, c.num_warmup),
        ),
        "warmup-cosine": (
            warmup_cosine(c.rate, 0.0, c.final, num_warmup=c.num_warmup, num_steps=long),
            np.where(t < c.num_warmup, rise, fall(t - c.num_warmup, c.num_steps)),
            optax.warmup_cosine_decay_schedule(0.0, c.rate, c.num_warmup, long, c.final),
        ),
    }
    assert tuple(curves) == _NAMES
    ours, closed, theirs = zip(*curves.values())
    return {
        "schedule": np.array(_NAMES),
        "count": t,
        "rate": np.stack([schedule(t) for schedule in ours]),
        "closed_form": np.stack(closed),
        "optax": np.stack([jax.vmap(schedule)(t) for schedule in theirs]),
        "num_warmup": np.asarray(c.num_warmup),
        "num_steps": np.asarray(c.num_steps),
        "decay": np.asarray(c.decay),
    }


def _fits(dataset: "xarray.Dataset", name: Name) -> Check:
    """Whether a curve is its closed form and optax's, to the tolerance of the claim."""
    one = dataset.sel(schedule=name)
    return close(one.rate, one.closed_form) & close(one.rate, one.optax)


def _judge_cosine(dataset: "xarray.Dataset") -> Check:
    end = int(dataset.num_steps)
    rate = dataset.rate.sel(schedule="cosine").values
    return close(rate[[0, end // 2, end]]) & _fits(dataset, "cosine")


def _judge_exponential(dataset: "xarray.Dataset") -> Finding:
    rate = dataset.rate.sel(schedule="exponential-decay").values
    ratios = rate[1:] / rate[:-1]
    return Finding(
        close({"ratio": ratios}) & _fits(dataset, "exponential-decay"),
        measured=f"ratios from {ratios.min():.12g} to {ratios.max():.12g}, "
        f"half-life {-np.log(2) / np.log(ratios.mean()):.2f} steps",
    )


def _judge_warmup(dataset: "xarray.Dataset") -> Finding:
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


def _looks() -> dict[str, dict[str, Any]]:
    """A schedule's colour and marker, the same in every figure."""
    from jaxcalc import style

    return dict(zip(_NAMES, style.looks(_NAMES)))


def figures_of_curves(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axes = style.subplots(2, 3, width="page", height=3.8, sharex=True, sharey=True)
    for panel, name in zip(np.ravel(axes), map(str, dataset.schedule.values)):
        one = dataset.sel(schedule=name)
        drawn = {"drawstyle": "steps-post" if name == "step-decay" else "default"}
        look = {**_looks()[name], "marker": "", "linewidth": 2.2, "alpha": 0.75}
        panel.plot(dataset["count"], one.rate, **look, **drawn)
        panel.plot(dataset["count"], one.closed_form, **{**style.THEORY, "zorder": 3}, **drawn)
        panel.set_title(name)
    for panel in axes[-1]:
        panel.set_xlabel("steps taken")
    for panel in axes[:, 0]:
        panel.set_ylabel("learning rate")
    dashed = axes[0, 0].plot([], [], **style.THEORY, label="closed form")
    axes[0, 0].legend(handles=dashed, loc="lower right")
    figure.set_label("The schedules (lines) and their closed forms (dashed).")
    return {"curves": figure}


curves = Part(
    Curves,
    {
        "schedule": Variable(("schedule",), "", "name of the schedule"),
        "count": Variable(("count",), "", "steps taken before"),
        "rate": Variable(("schedule", "count"), "", "learning rate"),
        "closed_form": Variable(("schedule", "count"), "", "learning rate by the formula"),
        "optax": Variable(("schedule", "count"), "", "learning rate by optax"),
        "num_warmup": Variable((), "", "steps of a warmup"),
        "num_steps": Variable((), "", "steps to the end of a cosine"),
        "decay": Variable((), "", "of the exponential, per step"),
    },
    "host",
    run_curves,
    figures=figures_of_curves,
    claims={
        "cosine-annealing-schedule": _judge_cosine,
        "exponential-decay-schedule": _judge_exponential,
        "linear-warmup-schedule": _judge_warmup,
    },
    doc="Are the schedules the curves that their formulas say?",
)

# -- noise -------------------------------------------------------------------------------------------------------------

_EVERY = 5


class Noise(Config):
    schedule: Name = "constant"
    """the schedule; those that fall end at 0 (cosines) or a hundredth of the first rate"""
    rate: Swept[float] = pydantic.Field(0.5, gt=0)
    """highest rate times the largest curvature"""
    deviation: float = pydantic.Field(0.3, ge=0)
    """standard deviation of each component of the gradient's noise"""
    num_steps: int = pydantic.Field(400, ge=10, multiple_of=_EVERY)
    """steps taken"""
    condition_number: float = pydantic.Field(20.0, ge=1)
    """of the quadratic"""
    dimension: int = pydantic.Field(4, ge=1)
    """its variables"""


def _schedule(config: Noise) -> Any:
    from jaxcalc.functions import schedules

    n, rate = config.num_steps, config.rate
    match config.schedule:
        case "constant":
            return schedules.constant(rate)
        case "step-decay":
            return schedules.step_decay(rate, 0.1, every=-(-n // 3))
        case "exponential-decay":
            return schedules.exponential_decay(rate, np.log(100) / n)
        case "cosine":
            return schedules.cosine(rate, num_steps=n)
        case "linear-warmup":
            return schedules.linear_warmup(rate, num_warmup=n // 10)
        case "warmup-cosine":
            return schedules.warmup_cosine(rate, num_warmup=n // 10, num_steps=n)


def run_noise(config: Noise, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions import problems
    from jaxcalc.functions.schedules import expected_gap
    from jaxcalc.solvers import minimize, sgd

    problem = problems.quadratic(config.condition_number, config.dimension)
    curvatures, vectors = problem.curvatures()
    schedule = _schedule(config)
    solution = minimize(
        problems.with_gradient_noise(problem.function),
        problem.start,
        jnp.zeros(config.dimension),
        method=sgd(schedule),
        batches=lambda key: (config.deviation * jax.random.normal(key, (config.dimension,)),),
        key=key,
        max_steps=config.num_steps,
        history=f"every {_EVERY}",
    )
    assert solution.history is not None
    offsets = vectors.T @ (problem.start - problem.optimum)
    expected = expected_gap(schedule(jnp.arange(config.num_steps)), curvatures, offsets, config.deviation)
    return {"gap": solution.history["value"], "final": solution.value, "expected": expected[::_EVERY]}


def figures_of_noise(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    if not {"schedule", "rate", "seed"} <= set(dataset.dims):
        return {}
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.3)
    shown = dataset.sel(rate=0.5, method="nearest")
    for name in map(str, dataset.schedule.values):
        look = _looks()[name]
        one, every = shown.sel(schedule=name), dataset.sel(schedule=name)
        left.plot(one.step, one.gap.mean("seed"), **{**look, "markevery": 20, "linewidth": 1.0})
        left.plot(one.step, one.expected.isel(seed=0), **style.THEORY)
        final = every.final
        error = final.std("seed", ddof=1) / final.sizes["seed"] ** 0.5
        right.errorbar(dataset.rate, final.mean("seed"), 2 * error, **{**look, "linestyle": ""}, capsize=2)
        right.plot(dataset.rate, every.expected.isel(seed=0, step=-1), **style.THEORY)
    left.plot([], [], **style.THEORY, label="exact mean")
    for panel in (left, right):
        panel.set_yscale("log")
    left.set(xlabel="step", ylabel="loss above its minimum")
    left.set_title(rf"Highest rate {float(shown.rate):g} / $\lambda_{{\max}}$")
    right.set(xscale="log", xlabel=r"highest rate × largest curvature,  $\eta\,\lambda_{\max}$")
    right.set_ylabel("loss above its minimum at the end")
    right.set_title(f"After {int(dataset.step[-1])} steps")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    style.panel_labels((left, right))
    figure.set_label(
        "Descent with noisy gradients on a quadratic: a constant rate stays at a height that the rate sets, a falling "
        "one goes below. Lines and points: means over seeds, with two standard errors; dashed: the exact mean."
    )
    return {"noise": figure}


noise = Part(
    Noise,
    {
        "step": Variable(("step",), "", "step"),
        "gap": Variable(("step",), "", "loss above its minimum"),
        "final": Variable((), "", "loss above its minimum at the end"),
        "expected": Variable(("step",), "", "exact mean of the loss above its minimum"),
    },
    "compiled",
    run_noise,
    shared=lambda config: {"step": np.arange(0, config.num_steps + 1, _EVERY)},
    figures=figures_of_noise,
    doc="What does a falling learning rate do for descent with noisy gradients?",
)
