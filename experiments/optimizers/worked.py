"""Do the numbers of textbook examples of momentum and Adam hold?"""

import numpy as np
import pydantic

from experiments.optimizers import Method, solver_named
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, cited, close, jax, jnp

kind = "host"

_RUNS: dict[str, tuple[Method, float]] = {
    "gradient-descent 0.01": ("gradient-descent", 0.01),
    "momentum 0.01": ("momentum", 0.01),
    "adam 0.001": ("adam", 1e-3),
    "adam 0.1": ("adam", 0.1),
}


class Config(lab.Config):
    num_steps: int = pydantic.Field(10_000, ge=300)
    """steps on the bowl"""
    num_gradients: int = pydantic.Field(20_000, ge=10_000)
    """constant gradients that the second moment is fed"""


VARIABLES = {
    "run": Variable(("run",), "", "method and rate on the bowl x0^2 + 3 x1^2 from (4, 2)"),
    "coordinate": Variable(("coordinate",), "", "index of the variable"),
    "x": Variable(("run", "step", "coordinate"), "", "iterates"),
    "loss": Variable(("run", "step"), "", "values"),
    "velocity": Variable(("coordinate",), "", "velocity after one step of momentum"),
    "change": Variable(("coordinate",), "", "what that step subtracts"),
    "scale": Variable(("scale",), "", "a constant gradient"),
    "change_over_rate": Variable(("taken", "scale"), "", "size of a step of Adam over its rate"),
    "first_moment": Variable(("taken", "scale"), "", "first moment over the gradient, not corrected"),
    "second_moment": Variable(("taken", "scale"), "", "second moment over the squared gradient, not corrected"),
    "accumulator": Variable((), "", "second moment after a long run of gradients of 2"),
    "gradient_variance": Variable((), "", "variance of these gradients"),
    "number": Variable(("number",), "", "a hyper-parameter of Adam"),
    "default": Variable(("number", "library"), "", "its default in optax and here"),
}


def run(config, key):
    import inspect

    import optax

    from jaxcalc.solvers import adam

    theirs, ours = inspect.signature(optax.adam).parameters, adam().numbers
    names = ("b1", "b2", "eps")
    return {
        "run": np.array(list(_RUNS)),
        "number": np.array(names),
        "default": np.array([[theirs[name].default, ours[name]] for name in names], float),
        **jax.jit(lambda: _traced(config))(),
    }


def _traced(config):
    """Everything that is stepped."""
    from jaxcalc.functions import problems
    from jaxcalc.solvers import adam, iterate, momentum

    bowl = problems.bowl()
    follow = lambda solver: (
        iterate(
            solver, bowl.function, bowl.start, num_steps=config.num_steps, record=lambda at: (at.x, at.value)
        ).history
    )
    ways = [follow(solver_named(name, rate)) for name, rate in _RUNS.values()]

    # One step from a given velocity, under a constant gradient.
    velocity, gradient = jnp.array([1.0, -0.5]), jnp.array([0.2, 2.0])
    slope, ball = lambda x: gradient @ x, momentum(0.1, 0.9)
    begun = ball.start(slope, jnp.zeros(2))
    trace, *rest = begun.memory
    moved = ball.advance(slope, begun._replace(memory=(trace._replace(trace=velocity), *rest)))

    scales = jnp.array([1e-6, 1.0, 1e6])
    first = iterate(
        adam(1e-3),
        lambda x: scales @ x,
        jnp.zeros(3),
        num_steps=50,
        record=lambda at: (at.x, at.memory[0].mu, at.memory[0].nu),
    ).history
    fed = iterate(
        adam(1e-3),
        lambda x: 2.0 * x[0],
        jnp.zeros(1),
        num_steps=config.num_gradients,
        record=lambda at: (at.memory[0].nu[0], at.gradient[0]),
    ).history
    return {
        "coordinate": np.arange(2),
        "x": jnp.stack([x for x, _ in ways]),
        "loss": jnp.stack([loss for _, loss in ways]),
        "velocity": moved.memory[0].trace,
        "change": -moved.x,
        "scale": scales,
        "change_over_rate": jnp.abs(jnp.diff(first[0], axis=0)) / 1e-3,
        "first_moment": first[1][1:] / scales,
        "second_moment": first[2][1:] / scales**2,
        "accumulator": fed[0][-1],
        "gradient_variance": jnp.var(fed[1]),
    }


def _zeros_from(x: np.ndarray, digits: int) -> str:
    """From which step on all coordinates print as zeros, in words."""
    others = np.flatnonzero((np.round(x, digits) != 0).any(axis=1))
    first = int(others[-1]) + 1 if others.size else 0
    return f"zeros from step {first} on" if first < len(x) else "no zeros in this run"


def _one_step(dataset):
    velocity, change = dataset.velocity.values, dataset.change.values
    return Finding(
        close({"velocity": velocity, "step": change}),
        measured=f"velocity {velocity.tolist()}, step back {change.tolist()}",
    )


def _prints_zero(dataset, run, step):
    """Whether a run's coordinates are as printed at a step."""
    x = dataset.x.sel(run=run).values
    at = x[step]
    return Finding(close(at), measured=f"({at[0]:.4f}, {at[1]:.4f}), {_zeros_from(x, 4)}")


def _correction(dataset):
    b1, b2, eps = (float(dataset.default.sel(number=name)[0]) for name in ("b1", "b2", "eps"))
    t = 1 + np.arange(dataset.sizes["taken"])[:, None]
    # Divided by 1 - beta^t, both moments of a constant gradient are exact from the first step on.
    moments = ((1 - b1**t) - dataset.first_moment.values, (1 - b2**t) - dataset.second_moment.values)
    scale, change = dataset.scale.values, dataset.change_over_rate.values
    off = abs(change - scale / (scale + eps))
    return Finding(
        below(off) & below(abs(np.stack(moments))),
        measured="first step over rate "
        + ", ".join(f"{c:.10g} at gradient {g:g}" for c, g in zip(change[0], scale))
        + f"; over 50 steps within {off.max():.1g} of |g| / (|g| + eps)",
    )


def _variance(dataset):
    accumulator, variance = float(dataset.accumulator), float(dataset.gradient_variance)
    return Finding(
        close(accumulator, variance),
        measured=f"variance {variance:g}, accumulator {accumulator:.6g}, mean square 4",
    )


def _defaults(dataset):
    found = {str(name): dataset.default.sel(number=name).values for name in dataset.number.values}
    return Finding(close(found), measured=", ".join(f"{name} {value[0]:g}" for name, value in found.items()))


def figures(dataset):
    loss = dataset.loss.assign_coords(step=np.arange(dataset.sizes["step"])).isel(step=slice(1, None))
    named = lambda run: run.replace(" ", ", rate ")
    lines = {named(run): loss.sel(run=run).where(lambda value: value > 1e-17) for run in _RUNS}
    looks = {named(run): style.method(method, label=named(run), marker="") for run, (method, _) in _RUNS.items()}
    looks["adam, rate 0.1"]["linestyle"] = (0, (1, 1))
    figure, panels = style.chart(
        lines,
        "step",
        looks=looks,
        log="xy",
        ylim=(1e-16, 300),
        ylabel="loss, $x_0^2 + 3x_1^2$",
        legend="lower left",
        width=4.6,
        height=3.0,
    )
    panel = panels[0, 0]
    for run, step in (("momentum 0.01", 100), ("adam 0.001", 200)):
        look = style.method(run.split()[0], linestyle="", label=None, markersize=6)
        panel.plot(step, loss.sel(run=run, step=step), **look)
    panel.axhline(2 * 0.25e-8, **style.THEORY)
    panel.annotate("prints as 0.0000", (1.2, 1e-8), color=style.THEORY["color"], fontsize=7, va="bottom")
    panel.set_yticks(10.0 ** np.arange(-15, 3, 3))
    figure.set_label(
        "Two runs that are often said to print zeros, at the marked steps, and how far from it they are. "
        "Dashed: about where four decimals print as zeros. Adam at rate 0.1 leaves the minimum again once its second "
        "moment has decayed."
    )
    return {"bowl": figure}


claims = {
    "momentum-one-step-trace": _one_step,
    "momentum-100-steps-prints-zero": lambda dataset: _prints_zero(dataset, "momentum 0.01", 100),
    "adam-200-steps-prints-zero": lambda dataset: _prints_zero(dataset, "adam 0.001", 200),
    "adam-bias-correction-first-step": _correction,
    "adam-second-moment-is-variance": _variance,
    "adam-default-hyperparameters": _defaults,
    "adamw-default-for-transformers": cited,
}
