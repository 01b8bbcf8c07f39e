"""The numbers of textbook examples, step by step."""

from typing import Literal

import numpy as np
import pydantic

from experiments.descent_examples import tolerance
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, close, equal, jnp, less

kind = "compiled"

_EPS = float(np.finfo(float).eps)
_HOUSE = ("house tiny rate", "house 0.99 limit", "house 1.01 limit")
_BOWL = ("bowl 0.1", "bowl 0.3")


class Config(lab.Config):
    """One example, one rate."""

    problem: Literal["bowl", "sphere", "one-house"] = "bowl"
    """x0^2 + 3 x1^2; |x - (1, 2, 3)|^2; (1200 w0 + 3 w1 - 350000)^2."""
    start: tuple[float, ...] = ()
    """Where to begin; empty for the example's own start."""
    learning_rate: Swept[float] = pydantic.Field(0.1, gt=0)
    """The learning rate, in the unit below."""
    rate_unit: Literal["absolute", "limit"] = "absolute"
    """``limit``: multiples of 2/L, L the largest curvature."""
    num_steps: int = pydantic.Field(50, ge=1)
    """Steps taken."""


VARIABLES = {
    "step": Variable(("step",), "", "gradient step"),
    "coordinate": Variable(("coordinate",), "", "index of the variable"),
    "x": Variable(("step", "coordinate"), "", "iterate"),
    "loss": Variable(("step",), "", "value"),
    "gradient": Variable(("step", "coordinate"), "", "gradient"),
    "rate": Variable((), "", "learning rate, absolute"),
    "limit": Variable((), "", "2/L"),
    "status": Variable((), "", "0 converged, 1 out of steps, 2 diverged, 3 not finite"),
}


def run(config, key):
    """Every iterate of one example."""
    from jaxcalc.functions import problems
    from jaxcalc.solvers import gradient_descent, iterate

    problem = problems.build(config.problem)
    limit = 2.0 / problem.curvatures()[0][-1]
    unit = limit if config.rate_unit == "limit" else 1.0
    start = jnp.asarray(config.start or problem.start, float)
    result = iterate(
        gradient_descent(config.learning_rate * unit),
        problem.function,
        start,
        num_steps=config.num_steps,
        tol=tolerance(problem, start),
        record=lambda at: {"x": at.x, "loss": at.value, "gradient": at.gradient},
    )
    return {
        "step": jnp.arange(config.num_steps + 1),
        "coordinate": jnp.arange(problem.dimension),
        **result.history,
        "rate": jnp.asarray(config.learning_rate * unit),
        "limit": jnp.asarray(limit),
        "status": result.status,
    }


def figures(dataset):
    """One house at three rates; the bowl's steep coordinate at two."""
    cases = set(dataset.case.values.tolist()) if "case" in dataset.dims else set()
    colors = [{"color": style.COLORS[name]} for name in ("blue", "green", "vermilion")]
    found = {}
    if cases >= set(_HOUSE):
        house = dataset.sel(case=list(_HOUSE))
        labels = [f"{rate:.3g} ({rate / house.limit[0]:.3g} of 2/L)" for rate in house.rate.values]
        figure, _ = style.chart(
            house.loss.isel(step=slice(1, None)),
            "step",
            hue="case",
            looks={name: look | {"label": label} for name, look, label in zip(_HOUSE, colors, labels)},
            log="xy",
            legend="ends",
            xlabel="step",
            ylabel="squared error of one house ($²)",
            width=4.6,
            height=2.8,
        )
        figure.set_label("Loss on a single house, stable below the rate 2/L; beside each curve its rate.")
        found["one-house"] = figure
    if cases >= set(_BOWL):
        bowl = dataset.sel(case=list(_BOWL))
        labels = [f"rate {rate:g}" for rate in bowl.rate.values]
        figure, panels = style.chart(
            bowl.x.isel(coordinate=1, step=slice(0, 11)),
            "step",
            hue="case",
            looks={name: look | {"label": label} for name, look, label in zip(_BOWL, colors[::2], labels)},
            legend="upper right",
            xlabel="step",
            ylabel="steep coordinate $x_1$",
        )
        panels[0, 0].axhline(0, color="black", linewidth=0.7)
        figure.set_label(
            "The steep coordinate of the bowl x₀² + 3x₁² flips its sign at every step where the rate is above "
            "1/L = 1/6; the limit is 2/L."
        )
        found["bowl"] = figure
    return found


def _case(dataset, name):
    """One worked example; what its run lacks, steps among it, leaves a claim not judged."""
    if dataset.attrs["dtype"] != "float64":
        raise NotJudged("needs double precision")
    return dataset.sel(case=name)


def _at(dataset, name, step):
    """Its first two coordinates, and the loss and the gradient, after so many steps."""
    return _case(dataset, name).sel(step=step).isel(coordinate=slice(0, 2))


def _judge_one_step(dataset):
    start, end = (_at(dataset, "bowl 0.1", step) for step in (0, 1))
    lands = close(end.x, (3.2, 0.8), 16 * _EPS) & equal(start.gradient, (8.0, 12.0))
    lands &= close([start.loss, end.loss], (28.0, 12.16), 64 * _EPS, relative=True)
    x, y = end.x.values
    words = f"({x:.12g}, {y:.12g}); loss {float(start.loss):g} to {float(end.loss):.6g}"
    return Finding(lands, measured=words)


def _judge_fifty_steps(dataset):
    end = _at(dataset, "bowl 0.1", 50)
    closed = close(end.x, (4 * 0.8**50, 2 * 0.4**50), 1000 * _EPS, relative=True)
    x, y = end.x.values
    return Finding(close(end.loss) & closed, measured=f"{float(end.loss):.3g} at ({x:.4g}, {y:.4g})")


def _judge_print(dataset):
    printed = _case(dataset, "bowl 0.1").x.isel(coordinate=slice(0, 2)).round(6)
    zeros = np.flatnonzero((printed == 0).all("coordinate"))
    words = f"zeros from step {zeros[0]}" if zeros.size else "no zeros in this run"
    at_50 = printed.sel(step=50)
    return Finding(close(at_50), measured=f"{at_50.values.tolist()}; {words}")


def _judge_oscillation(dataset):
    steep = [_case(dataset, name).x.isel(coordinate=1).sel(step=np.arange(6)) for name in _BOWL]
    # A NaN has no sign: the number of flips is none either.
    slow, fast = (float((abs(np.sign(x.values[1:]) - np.sign(x.values[:-1])) / 2).sum()) for x in steep)
    return Finding(
        equal(fast),
        limits=equal(slow, 0),
        measured=f"{fast:g} sign flips at rate 0.3, {slow:g} at 0.1",
        figure="bowl",
        note="It oscillates above 1/L = 0.167; below that poor conditioning costs slowness.",
    )


def _judge_loop(dataset):
    """The loss falls at every step, down to rounding."""
    loss = _case(dataset, "sphere").loss.values
    rounded = loss < loss[0] * (16 * _EPS) ** 2
    falling = loss[: int(np.argmax(rounded)) + 1] if rounded.any() else loss
    if falling.size <= 4:
        raise NotJudged("needs four steps")
    words = f"{loss[0]:g} to {falling[-1]:.2g} in {len(falling) - 1} steps"
    return Finding(less(falling[1:], falling[:-1]), measured=words)


def _judge_partials(dataset):
    first, second = _at(dataset, "house tiny rate", 0).gradient.values
    exact = close([first, second], (-8.4e8, -2.1e6), 16 * _EPS, relative=True)
    return Finding(exact, measured=f"({first:.6g}, {second:.6g}), ratio {first / second:.6g}")


def _judge_tiny_rate(dataset):
    start, end = (_at(dataset, "house tiny rate", step) for step in (0, 5000))
    left, (x, y) = float(end.loss / start.loss), end.x.values
    return Finding(
        close(end.x),
        limits=above(left, 0.05),
        measured=f"({x:.4f}, {y:.4f})",
        figure="one-house",
        note=f"Stable, but the loss is still {float(end.loss):.3g} of {float(start.loss):.4g}: "
        f"{np.sqrt(left):.1%} of the residual remains.",
    )


def _judge_threshold(dataset):
    tiny, stable, unstable = (_case(dataset, name) for name in _HOUSE)
    start = float(stable.loss.sel(step=0))
    left, fell, grew = (float(one.loss.sel(step=2000)) for one in (tiny, stable, unstable))
    return Finding(
        close(stable.limit) & less(fell, 1e-6 * start) & less(start, grew) & less(0.1 * start, left),
        measured=f"threshold {float(stable.limit):.4e}: loss after 2000 steps {fell:.2g} below it, "
        f"{grew:.2g} above; at 1e-10 still {left / start:.0%} of the start's",
        figure="one-house",
    )


def _judge_dominance(dataset):
    """The ratio of the weights from the origin, and from elsewhere: the minima form a line."""
    x = _at(dataset, "house 0.99 limit", 2000).x.values
    other = _at(dataset, "house from (0, 5000)", 50)
    y = other.x.values
    return Finding(
        close(x[0] / x[1], 400.0, 1e-9),
        limits=above(abs(y[0] / y[1] - 400.0), 1.0),
        measured=f"{x[0] / x[1]:.6f} from the origin",
        note=f"The start decides: from (0, 5000) it ends at ({y[0]:.3f}, {y[1]:.3f}) with loss "
        f"{float(other.loss):.2g}, since the minima form a line.",
    )


claims = {
    "gd-one-step-trace": _judge_one_step,
    "gd-50-steps-loss-zero": _judge_fifty_steps,
    "gd-50-steps-six-digit-print": _judge_print,
    "ill-conditioned-gd-oscillates": _judge_oscillation,
    "training-loop-four-steps": _judge_loop,
    "house-partials": _judge_partials,
    "house-gd-lr-1e-10": _judge_tiny_rate,
    "learning-rate-too-large-diverges": _judge_threshold,
    "house-w1-dominates": _judge_dominance,
}
