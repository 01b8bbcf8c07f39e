"""What does a falling learning rate do for descent with noisy gradients?"""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, below, jax, jnp, less

kind = "compiled"

_EVERY = 5


class Config(lab.Config):
    schedule: Literal["constant", "step-decay", "exponential-decay", "cosine", "linear-warmup", "warmup-cosine"] = (
        "constant"
    )
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


VARIABLES = {
    "step": Variable(("step",), "", "step"),
    "gap": Variable(("step",), "", "loss above its minimum"),
    "final": Variable((), "", "loss above its minimum at the end"),
    "expected": Variable(("step",), "", "exact mean of the loss above its minimum"),
}


def _schedule(config):
    from jaxcalc.functions import schedules

    n, rate = config.num_steps, config.rate
    return {
        "constant": schedules.constant(rate),
        "step-decay": schedules.step_decay(rate, 0.1, every=-(-n // 3)),
        "exponential-decay": schedules.exponential_decay(rate, np.log(100) / n),
        "cosine": schedules.cosine(rate, num_steps=n),
        "linear-warmup": schedules.linear_warmup(rate, num_warmup=n // 10),
        "warmup-cosine": schedules.warmup_cosine(rate, num_warmup=n // 10, num_steps=n),
    }[config.schedule]


def run(config, key):
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


def _swept(dataset):
    return {"schedule", "rate", "seed"} <= set(dataset.dims)


def _mean(array):
    """The mean over seeds and its standard error."""
    return array.mean("seed", skipna=False), array.std("seed", ddof=1, skipna=False) / array.sizes["seed"] ** 0.5


def _exact(dataset):
    if not _swept(dataset):
        raise NotJudged("needs schedules, rates and seeds")
    gap, error = _mean(dataset.gap.isel(step=slice(1, None)))  # before the first step nothing is random
    apart = abs(gap - dataset.expected.isel(step=slice(1, None)).mean("seed", skipna=False)) / error
    return Finding(below(apart), measured=f"at most {float(apart.max()):.2g} standard errors apart")


def _falls_below(dataset):
    if not _swept(dataset):
        raise NotJudged("needs schedules, rates and seeds")
    final, error = (part.sel(rate=dataset.rate >= 0.5) for part in _mean(dataset.final))
    falling = ["step-decay", "exponential-decay", "cosine", "warmup-cosine"]
    constant, low = (final + sign * 3 * error for sign in (-1, 1))
    constant, low = constant.sel(schedule="constant"), low.sel(schedule=falling)
    ratio = final.sel(schedule="constant") / final.sel(schedule=falling).max("schedule", skipna=False)
    words = ", ".join(f"{float(r):.3g} times at {float(rate):g}" for r, rate in zip(ratio, ratio.rate))
    lower = less(low.max("schedule", skipna=False), constant) & less(ratio[:-1], ratio[1:])
    return Finding(lower, measured=f"lower by {words}")


def figures(dataset):
    if not _swept(dataset):
        return {}
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.3)
    shown = dataset.sel(rate=0.5, method="nearest")
    for panel, array, theory, x in (
        (left, shown.gap, shown.expected, "step"),
        (right, dataset.final, dataset.expected.isel(step=-1), "rate"),
    ):
        mean, error = _mean(array)
        style.chart(
            mean,
            x,
            hue="schedule",
            band=(mean - 2 * error, mean + 2 * error),
            theory=theory.isel(seed=0),
            log="y" if x == "step" else "xy",
            axes=panel,
            legend=None,
            ylabel="loss above its minimum" + ("" if x == "step" else " at the end"),
            linestyle="-" if x == "step" else "",
        )
    right.set_xlabel(r"highest rate × largest curvature,  $\eta\,\lambda_{\max}$")
    left.set_title(rf"Highest rate {float(shown.rate):g} / $\lambda_{{\max}}$")
    right.set_title(f"After {int(dataset.step[-1])} steps")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    figure.set_label(
        "Descent with noisy gradients on a quadratic: a constant rate stays at a height that the rate sets, a falling "
        "one goes below. Lines and points: means over seeds, with two standard errors; dashed: the exact mean."
    )
    return {"noise": figure}


shared = lambda config: {"step": np.arange(0, config.num_steps + 1, _EVERY)}
claims = {"noise-is-told-by-its-mean": _exact, "falling-rate-goes-below-the-noise": _falls_below}
