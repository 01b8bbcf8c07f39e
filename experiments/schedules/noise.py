"""What does a falling learning rate do for descent with noisy gradients?"""

import numpy as np
import pydantic

from experiments.schedules import Name, looks
from jaxcalc import lab, style
from jaxcalc.lab import Swept, Variable

kind = "compiled"
dtype = "float64"

_EVERY = 5


class Config(lab.Config):
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


VARIABLES = {
    "step": Variable(("step",), "", "step"),
    "gap": Variable(("step",), "", "loss above its minimum"),
    "final": Variable((), "", "loss above its minimum at the end"),
    "expected": Variable(("step",), "", "exact mean of the loss above its minimum"),
}


def _schedule(config):
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


def run(config, key):
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


def figures(dataset):
    if not {"schedule", "rate", "seed"} <= set(dataset.dims):
        return {}
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.3)
    shown = dataset.sel(rate=0.5, method="nearest")
    for name in map(str, dataset.schedule.values):
        look = looks()[name]
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


shared = lambda config: {"step": np.arange(0, config.num_steps + 1, _EVERY)}
