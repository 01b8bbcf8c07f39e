"""The numbers of textbook examples, step by step."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pydantic

from experiments.descent_examples import tolerance
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, close, equal, less

kind = "compiled"
dtype = "float64"


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
    import jax.numpy as jnp

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
    figures = {}
    house = _present(dataset, "house tiny rate", "house 0.99 limit", "house 1.01 limit")
    if house:
        figure, panel = style.subplots(1, 1, height=2.7)
        for data, color in zip(house.values(), ("blue", "green", "vermilion")):
            loss = data["loss"].where(data["loss"] > 0).values
            panel.loglog(np.arange(len(loss))[1:], loss[1:], color=style.COLORS[color])
            last = int(np.flatnonzero(np.isfinite(loss))[-1])
            panel.annotate(
                f"{float(data['rate']):.3g}\n({float(data['rate'] / data['limit']):.3g} of 2/L)",
                (last, loss[last]),
                (5, 0),
                textcoords="offset points",
                va="center",
                color=style.COLORS[color],
                fontsize=7,
            )
        panel.set(xlabel="step", ylabel="squared error of one house ($²)", xlim=(1, 6e5))
        panel.set_xticks([1, 10, 100, 1000, 10_000])
        figure.set_label("Loss on a single house, stable below the rate 2/L; beside each curve its rate.")
        figures["one-house"] = figure
    bowl = _present(dataset, "bowl 0.1", "bowl 0.3")
    if bowl:
        figure, panel = style.subplots(1, 1)
        for data, color, mark in zip(bowl.values(), ("blue", "vermilion"), "os"):
            steep = data["x"].isel(coordinate=1, step=slice(0, 11))
            panel.plot(
                range(steep.size), steep, color=style.COLORS[color], marker=mark, label=f"rate {float(data['rate']):g}"
            )
        panel.axhline(0, color="black", linewidth=0.7)
        panel.set(xlabel="step", ylabel="steep coordinate $x_1$ of $x_0^2 + 3x_1^2$")
        panel.legend(title="limit 2/L = 0.333")
        figure.set_label("The steep coordinate flips its sign at every step where the rate is above 1/L.")
        figures["bowl"] = figure
    return figures


def _present(dataset, *labels):
    """The named cases, cut to the steps and coordinates that each has; empty unless all are there."""
    if "case" not in dataset.dims or not set(labels) <= set(dataset["case"].values.tolist()):
        return {}
    found = {}
    for label in labels:
        one = dataset.sel(case=label)
        steps = np.flatnonzero(np.isfinite(one["x"].isel(coordinate=0).values))
        found[label] = one.isel(step=slice(0, int(steps[-1]) + 1 if steps.size else 1))
    return found


class _Run(NamedTuple):
    """One descent: its problem, its rate absolute and as a multiple of 2/L, and its finite iterates."""

    problem: str
    rate: float
    limit: float
    x: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray

    def matches(self, problem: str, start: Sequence[float], steps: int, *, rate: float = 0.0, share: float = 0.0):
        """Whether it is this problem from this start, at this rate (absolute or a share of 2/L), at least so long."""
        return (
            self.problem == problem
            and len(self.x) > steps
            and np.allclose(self.x[0], start, rtol=1e-6, atol=0)
            and np.isclose(self.rate, rate or share * self.limit, rtol=1e-6, atol=0)
        )


def _runs(dataset):
    """Every run of a dataset, whatever was swept."""
    import json

    params = json.loads(dataset.attrs.get("params", "{}"))
    swept = list(dataset["rate"].dims)
    stacked = dataset.stack({"_run": swept}, create_index=False) if swept else dataset.expand_dims("_run")
    found = []
    for index in range(stacked.sizes["_run"]):
        one = stacked.isel(_run=index)
        problem = str(one["problem"].item() if "problem" in one.coords else params.get("problem"))
        x = one["x"].transpose("step", "coordinate").values
        good = np.isfinite(x[:, 0])
        steps = len(good) if good.all() else int(np.argmin(good))
        if not steps:
            continue
        own = np.isfinite(x[0])
        gradient = one["gradient"].transpose("step", "coordinate").values[:steps, own]
        rate, limit = float(one["rate"]), float(one["limit"])
        found.append(_Run(problem, rate, limit, x[:steps, own], one["loss"].values[:steps], gradient))
    return found


def _first(dataset, problem, start, steps, **rate):
    """The first run of that example that goes on for so many steps, all of them finite."""
    for run in _runs(dataset):
        if run.matches(problem, start, steps, **rate):
            return run
    told = ", ".join(f"{name} {value:g}" for name, value in rate.items())
    raise NotJudged(f"needs {steps} finite steps on the {problem} from {tuple(start)}, {told}")


def _eps(dataset):
    return float(np.finfo(dataset.attrs["dtype"]).eps)


def _slow(dataset, steps):
    """The bowl of the textbook, at its rate."""
    return _first(dataset, "bowl", (4, 2), steps, rate=0.1)


def _house(dataset, steps, start=(0, 0), **rate):
    if _eps(dataset) > 1e-12:
        raise NotJudged("needs double precision")
    return _first(dataset, "one-house", start, steps, **rate)


def _judge_one_step(dataset):
    run = _slow(dataset, 1)
    x, loss = run.x[1], run.loss
    lands = close(x, (3.2, 0.8), 16 * _eps(dataset)) & equal(run.gradient[0], (8.0, 12.0))
    lands &= close(loss[:2], (28.0, 12.16), 64 * _eps(dataset), relative=True)
    return Finding(lands, measured=f"({x[0]:.12g}, {x[1]:.12g}); loss {loss[0]:g} to {loss[1]:.6g}")


def _judge_fifty_steps(dataset):
    run = _slow(dataset, 50)
    x, loss = run.x[50], run.loss[50]
    closed = close(x, (4 * 0.8**50, 2 * 0.4**50), 1000 * _eps(dataset), relative=True)
    return Finding(close(loss) & closed, measured=f"{loss:.3g} at ({x[0]:.4g}, {x[1]:.4g})")


def _judge_print(dataset):
    run = _slow(dataset, 50)
    printed = np.round(run.x, 6)
    zeros = np.flatnonzero(np.all(printed == 0, axis=1))
    words = f"zeros from step {zeros[0]}" if zeros.size else "no zeros in this run"
    return Finding(close(printed[50]), measured=f"{printed[50].tolist()}; {words}")


def _judge_oscillation(dataset):
    runs = (_slow(dataset, 5), _first(dataset, "bowl", (4, 2), 5, rate=0.3))
    slow, fast = (int(np.sum(np.diff(np.sign(run.x[:6, 1])) != 0)) for run in runs)
    return Finding(
        equal(fast),
        limits=equal(slow, 0),
        measured=f"{fast} sign flips at rate 0.3, {slow} at 0.1",
        figure="bowl",
        note="It oscillates above 1/L = 0.167; below that poor conditioning costs slowness.",
    )


def _judge_loop(dataset):
    """The loss falls at every step, down to rounding."""
    loss = _first(dataset, "sphere", (0, 0, 0), 4, rate=0.1).loss
    rounded = loss < loss[0] * (16 * _eps(dataset)) ** 2
    falling = loss[: int(np.argmax(rounded)) + 1] if rounded.any() else loss
    words = f"{loss[0]:g} to {falling[-1]:.2g} in {len(falling) - 1} steps"
    return Finding(less(falling[1:], falling[:-1]), measured=words)


def _judge_partials(dataset):
    run = next((run for run in _runs(dataset) if run.problem == "one-house" and not run.x[0].any()), None)
    if run is None:
        raise NotJudged("needs one house from the origin")
    first, second = run.gradient[0]
    exact = close([first, second], (-8.4e8, -2.1e6), 16 * _eps(dataset), relative=True)
    return Finding(exact, measured=f"({first:.6g}, {second:.6g}), ratio {first / second:.6g}")


def _judge_tiny_rate(dataset):
    run = _house(dataset, 5000, rate=1e-10)
    x, left = run.x[5000], run.loss[5000] / run.loss[0]
    return Finding(
        close(x),
        limits=above(left, 0.05),
        measured=f"({x[0]:.4f}, {x[1]:.4f})",
        figure="one-house",
        note=f"Stable, but the loss is still {run.loss[5000]:.3g} of {run.loss[0]:.4g}: "
        f"{np.sqrt(left):.1%} of the residual remains.",
    )


def _judge_threshold(dataset):
    below_it, above_it = (_first(dataset, "one-house", (0, 0), 2000, share=share) for share in (0.99, 1.01))
    tiny = _first(dataset, "one-house", (0, 0), 2000, rate=1e-10)
    start = float(below_it.loss[0])
    fell, grew, left = (float(run.loss[2000]) for run in (below_it, above_it, tiny))
    return Finding(
        close(below_it.limit) & less(fell, 1e-6 * start) & less(start, grew) & less(0.1 * start, left),
        measured=f"threshold {below_it.limit:.4e}: loss after 2000 steps {fell:.2g} below it, "
        f"{grew:.2g} above; at 1e-10 still {left / start:.0%} of the start's",
        figure="one-house",
    )


def _judge_dominance(dataset):
    """The ratio of the weights from the origin, and from elsewhere: the minima form a line."""
    x, other = _house(dataset, 2000, share=0.99).x[-1], _house(dataset, 1, (0, 5000), share=0.5)
    y, loss = other.x[-1], float(other.loss[-1])
    return Finding(
        close(x[0] / x[1], 400.0, 1e-9),
        limits=above(abs(y[0] / y[1] - 400.0), 1.0),
        measured=f"{x[0] / x[1]:.6f} from the origin",
        note=f"The start decides: from (0, 5000) it ends at ({y[0]:.3f}, {y[1]:.3f}) with loss "
        f"{loss:.2g}, since the minima form a line.",
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
