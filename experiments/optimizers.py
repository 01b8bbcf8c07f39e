"""What do momentum, Nesterov, Adam and AdamW add to gradient descent?

The numbers of textbook examples (``worked``); what bad conditioning costs each method, along the axes and turned
(``conditioning``); ways down real and artificial valleys, each method at its best rate (``paths``); gradients over
mini-batches as estimates (``estimates``); classifiers of handwritten digits, trained and held out (``digits``).
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from jaxcalc.lab import (
    Config,
    Finding,
    NotJudged,
    Part,
    Swept,
    Variable,
    above,
    below,
    cited,
    close,
    less,
    over,
)

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


Method = Literal["gradient-descent", "sgd", "momentum", "nesterov", "adam", "adamw", "l-bfgs", "trust-region"]


def _solver(method: Method, rate: Any, weight_decay: float = 0.0) -> Any:
    """The method of that name; quasi-Newton methods and trust regions choose their steps themselves."""
    from jaxcalc import solvers

    match method:
        case "gradient-descent":
            return solvers.gradient_descent(rate)
        case "adamw":
            return solvers.adamw(rate, weight_decay=weight_decay)
        case "l-bfgs":
            return solvers.lbfgs()
        case "trust-region":
            return solvers.trust_region()
        case "sgd" | "momentum" | "nesterov" | "adam":
            return getattr(solvers, method)(rate)


# -- worked ------------------------------------------------------------------------------------------------------------


_RUNS: dict[str, tuple[Method, float]] = {
    "gradient-descent 0.01": ("gradient-descent", 0.01),
    "momentum 0.01": ("momentum", 0.01),
    "adam 0.001": ("adam", 1e-3),
    "adam 0.1": ("adam", 0.1),
}


class Worked(Config):
    num_steps: int = pydantic.Field(10_000, ge=300)
    """steps on the bowl"""
    num_gradients: int = pydantic.Field(20_000, ge=10_000)
    """constant gradients that the second moment is fed"""


def run_worked(config: Worked, key: Any) -> dict[str, Any]:
    import inspect

    import jax
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


def _traced(config: Worked) -> dict[str, Any]:
    """Everything that is stepped."""
    import jax.numpy as jnp

    from jaxcalc.functions import problems
    from jaxcalc.solvers import adam, iterate, momentum

    bowl = problems.bowl()
    follow = lambda solver: (
        iterate(
            solver, bowl.function, bowl.start, num_steps=config.num_steps, record=lambda at: (at.x, at.value)
        ).history
    )
    ways = [follow(_solver(name, rate)) for name, rate in _RUNS.values()]

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


def _one_step(dataset: "xarray.Dataset") -> Finding:
    velocity, change = dataset.velocity.values, dataset.change.values
    return Finding(
        close({"velocity": velocity, "step": change}),
        measured=f"velocity {velocity.tolist()}, step back {change.tolist()}",
    )


def _prints_zero(dataset: "xarray.Dataset", run: str, step: int) -> Finding:
    """Whether a run's coordinates are as printed at a step."""
    x = dataset.x.sel(run=run).values
    at = x[step]
    return Finding(close(at), measured=f"({at[0]:.4f}, {at[1]:.4f}), {_zeros_from(x, 4)}")


def _correction(dataset: "xarray.Dataset") -> Finding:
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


def _variance(dataset: "xarray.Dataset") -> Finding:
    accumulator, variance = float(dataset.accumulator), float(dataset.gradient_variance)
    return Finding(
        close(accumulator, variance),
        measured=f"variance {variance:g}, accumulator {accumulator:.6g}, mean square 4",
    )


def _defaults(dataset: "xarray.Dataset") -> Finding:
    found = {str(name): dataset.default.sel(number=name).values for name in dataset.number.values}
    return Finding(close(found), measured=", ".join(f"{name} {value[0]:g}" for name, value in found.items()))


def figures_of_worked(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, panel = style.subplots(width=4.6, height=3.0)
    steps = 1 + np.arange(dataset.sizes["step"] - 1)
    for run, line in (
        ("gradient-descent 0.01", "-"),
        ("momentum 0.01", "-"),
        ("adam 0.001", "-"),
        ("adam 0.1", (0, (1, 1))),
    ):
        name, rate = run.split()
        look = style.method(name, linestyle=line, marker="", label=f"{name}, rate {rate}")
        loss = dataset.loss.sel(run=run).values[1:]
        panel.loglog(steps, np.where(loss > 1e-17, loss, np.nan), **look)
    for run, step in (("momentum 0.01", 100), ("adam 0.001", 200)):
        look = style.method(run.split()[0], linestyle="", label=None, markersize=6)
        panel.plot(step, dataset.loss.sel(run=run)[step], **look)
    panel.axhline(2 * 0.25e-8, **style.THEORY)
    panel.annotate("prints as 0.0000", (1.2, 1e-8), color=style.THEORY["color"], fontsize=7, va="bottom")
    panel.set(xlabel="step", ylabel="loss, $x_0^2 + 3x_1^2$", ylim=(1e-16, 300), xlim=(1, steps[-1]))
    panel.set_yticks(10.0 ** np.arange(-15, 3, 3))
    panel.legend(loc="lower left")
    figure.set_label(
        "Two runs that are often said to print zeros, at the marked steps, and how far from it they are. "
        "Dashed: about where four decimals print as zeros. Adam at rate 0.1 leaves the minimum again once its second "
        "moment has decayed."
    )
    return {"bowl": figure}


worked = Part(
    Worked,
    {
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
    },
    "host",
    run_worked,
    figures=figures_of_worked,
    claims={
        "momentum-one-step-trace": _one_step,
        "momentum-100-steps-prints-zero": lambda dataset: _prints_zero(dataset, "momentum 0.01", 100),
        "adam-200-steps-prints-zero": lambda dataset: _prints_zero(dataset, "adam 0.001", 200),
        "adam-bias-correction-first-step": _correction,
        "adam-second-moment-is-variance": _variance,
        "adam-default-hyperparameters": _defaults,
        "adamw-default-for-transformers": cited,
    },
    doc="Do the numbers of textbook examples of momentum and Adam hold?",
)

# -- conditioning ------------------------------------------------------------------------------------------------------

_ADAM_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
_TOLERANCE = 1e-8


class Conditioning(Config):
    condition_numbers: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)
    """largest over smallest curvature of the bowl, rising"""
    methods: tuple[Literal["gradient-descent", "momentum", "nesterov", "adam", "l-bfgs"], ...] = (
        "gradient-descent",
        "momentum",
        "nesterov",
        "adam",
        "l-bfgs",
    )
    """methods of minimisation; gradient descent and Adam for the claim"""
    max_steps: int = pydantic.Field(50_000, ge=100)
    """steps at most"""


def run_conditioning(config: Conditioning, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions import problems
    from jaxcalc.solvers import (
        adam,
        best_learning_rate,
        best_momentum,
        best_nesterov,
        gradient_descent,
        lbfgs,
        minimize,
        momentum,
        nesterov,
        steps_to,
    )

    # Theory knows the best numbers of three methods; Adam's rate is the best of several, L-BFGS has none.
    families: dict[str, tuple[Any, Any]] = {
        "gradient-descent": (lambda kappa, _: gradient_descent(best_learning_rate(1.0, kappa)), None),
        "momentum": (lambda kappa, _: momentum(*best_momentum(1.0, kappa)), None),
        "nesterov": (lambda kappa, _: nesterov(*best_nesterov(1.0, kappa)), None),
        "adam": (lambda kappa, rate: adam(rate), _ADAM_RATES),
        "l-bfgs": (lambda kappa, _: lbfgs(), None),
    }
    kappas, angles = jnp.asarray(config.condition_numbers, float), jnp.array([0.0, jnp.pi / 4])

    def counted(build: Any, angle: Any, kappa: Any, rate: Any) -> Any:
        # The start turns with the bowl: both coordinates along its axes are 1.
        start = jnp.stack([jnp.cos(angle) - jnp.sin(angle), jnp.sin(angle) + jnp.cos(angle)])
        solution = minimize(
            problems.elongated_bowl,
            start,
            kappa,
            angle,
            method=build(kappa, rate),
            tol=1e-5,  # |f| <= |grad f|^2 / 2 with a least curvature of 1: the loss is then below the tolerance
            max_steps=config.max_steps,
            history="full",
        )
        assert solution.history is not None
        value = solution.history["value"]
        return steps_to(value / value[0], _TOLERANCE)

    found = {}
    for name in config.methods:
        build, rates = families[name]
        count = lambda angle, kappa, rate, build=build: counted(build, angle, kappa, rate)
        by_rate = jax.vmap(jax.vmap(jax.vmap(count, (None, None, 0)), (None, 0, None)), (0, None, None))
        found[name] = np.asarray(jax.jit(by_rate)(angles, kappas, jnp.asarray(rates or (1.0,), float)))
    least = lambda steps: np.where((steps > 0).any(-1), np.where(steps > 0, steps, np.iinfo(np.int32).max).min(-1), -1)
    return {
        "method": np.array(list(found)),
        "orientation": np.array(["along the axes", "turned by 45°"]),
        "condition_number": np.asarray(kappas),
        "steps": np.stack([least(steps) for steps in found.values()]),
        "adam_rate": np.array(_ADAM_RATES),
        "adam_steps": found.get("adam", np.full((2, len(kappas), len(_ADAM_RATES)), -1)),
        "contraction": np.stack(
            [(kappas - 1) / (kappas + 1), jnp.sqrt(best_momentum(1.0, kappas)[1]), 1 - 1 / jnp.sqrt(kappas)]
        ),
    }


def _preconditions(dataset: "xarray.Dataset") -> Finding:
    worst = dataset.isel(condition_number=-1)
    adam, (plain, _) = (worst.steps.sel({"method": m}).values for m in ("adam", "gradient-descent"))
    aligned, turned = adam
    if not (float(worst.condition_number) >= 1e4 and plain > 0):
        raise NotJudged("needs a condition number of 1e4, on which gradient descent arrives")
    # A fix: tens of times fewer steps, and no more than a few times those of the best conditioning.
    best = dataset.steps.sel({"method": "adam"})[0, 0]
    return Finding(
        less(0, aligned) & less(10 * aligned, plain) & less(aligned, 10 * best),
        limits=less(turned, 0) | less(10 * aligned, turned),
        measured=f"{aligned:g} steps along the axes, {turned:g} turned by 45 degrees; gradient descent {plain:g}",
    )


def figures_of_conditioning(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, panels = style.subplots(1, 2, width="page", height=3.1, sharey=True)
    kappa = dataset.condition_number.values
    for panel, orientation in zip(panels, dataset.orientation.values):
        for name in map(str, dataset.method.values):
            steps = dataset.steps.sel({"method": name, "orientation": orientation})
            panel.plot(kappa, steps.where(steps > 0), **style.method(name))
        for contraction in dataset.contraction.values:
            panel.plot(kappa, np.log(_TOLERANCE**0.5) / np.log(contraction), **{**style.THEORY, "zorder": 3})
        panel.plot([], [], **style.THEORY, label="theory, without the transient")
        panel.set(xscale="log", yscale="log", xlabel="condition number", title=f"Bowl {orientation}")
    panels[0].set_ylabel(r"steps to $10^{-8}$ of the first loss")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    style.panel_labels(panels)
    figure.set_label(
        "Steps against the condition number of a bowl in two variables, every method at its best numbers: by theory, "
        "or for Adam the best of six rates. Adam scales coordinates, so it helps a bowl along the axes alone."
    )
    return {"conditioning": figure}


conditioning = Part(
    Conditioning,
    {
        "method": Variable(("method",), "", "method of minimisation"),
        "orientation": Variable(("orientation",), "", "of the bowl's axes to the coordinates"),
        "condition_number": Variable(("condition_number",), "", "largest over smallest curvature"),
        "steps": Variable(("method", "orientation", "condition_number"), "", "to 1e-8 of the first loss, or -1"),
        "adam_rate": Variable(("adam_rate",), "", "rate of Adam"),
        "adam_steps": Variable(("orientation", "condition_number", "adam_rate"), "", "the same for every rate of Adam"),
        "contraction": Variable(
            ("accelerated", "condition_number"), "", "factor a step by theory: gradient descent, momentum, Nesterov"
        ),
    },
    "host",
    run_conditioning,
    figures=figures_of_conditioning,
    claims={"adam-preconditions-ill-conditioning": _preconditions},
    doc="What does bad conditioning cost each method, and does Adam's scaling mend it?",
)

# -- paths -------------------------------------------------------------------------------------------------------------

Valley = Literal["houses", "quadratic", "rosenbrock"]
# What a contour shows: first and second variable.
_WINDOWS: dict[Valley, tuple[tuple[float, float], tuple[float, float]]] = {
    "houses": ((-1.0, 13.0), (-1.0, 17.0)),
    "quadratic": ((-1.6, 0.6), (-0.2, 1.8)),
    "rosenbrock": ((-1.8, 1.8), (-0.6, 1.8)),
}


class Paths(Config):
    problem: Valley = "rosenbrock"
    """price of houses from lot size and bedrooms, in thousands; a turned quadratic; Rosenbrock's valley"""
    method: Method = "adam"
    """method of minimisation"""
    rate: Swept[float] = pydantic.Field(0.1, gt=0)
    """learning rate: of Adam over the farthest that a variable must go, else times the largest curvature at the
    optimum"""
    num_steps: int = pydantic.Field(400, ge=10)
    """steps taken"""
    condition_number: float = pydantic.Field(100.0, ge=1)
    """largest over smallest curvature of the quadratic"""
    weight_decay: float = pydantic.Field(0.01, ge=0)
    """of AdamW"""
    resolution: int = pydantic.Field(121, ge=5)
    """points of a contour along each axis"""


def _valley(config: Paths, name: Valley) -> Any:
    from jaxcalc.functions import problems

    match name:
        case "houses":
            return problems.house_prices(("lotsize", "bedrooms"), "thousands")
        case "quadratic":
            return problems.quadratic(config.condition_number, 2)
        case "rosenbrock":
            return problems.rosenbrock()


def run_paths(config: Paths, key: Any) -> dict[str, Any]:
    import jax.numpy as jnp

    from jaxcalc.solvers import iterate

    problem = _valley(config, config.problem)
    # Adam's steps are in the variables' unit, those along the gradient in that of 1 / curvature.
    unit = np.abs(problem.start - problem.optimum).max() if "adam" in config.method else 1 / problem.curvatures()[0][-1]

    def record(at: Any) -> dict[str, Any]:
        count = at.evaluations
        work = count.functions + count.gradients + count.hvps + problem.dimension * count.hessians
        return {"path": at.x, "gap": at.value - problem.minimum, "evaluations": work}

    return iterate(
        _solver(config.method, config.rate * unit, config.weight_decay),
        problem.function,
        jnp.asarray(problem.start, float),
        num_steps=config.num_steps,
        record=record,
    ).history


def share_paths(config: Paths) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    found: dict[str, list[Any]] = {"optimum": [], "first": [], "second": [], "surface": []}
    for name, window in _WINDOWS.items():
        problem = _valley(config, name)
        axes = [np.linspace(*side, config.resolution) for side in window]
        grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)
        surface = jax.vmap(jax.vmap(problem.function))(grid) - problem.minimum
        for row, value in zip(found.values(), (problem.optimum, *axes, surface)):
            row.append(value)
    return {"valley": np.array(list(_WINDOWS)), **{name: np.stack(rows) for name, rows in found.items()}}


def _best(tried: "xarray.Dataset") -> "xarray.Dataset":
    """The run at the rate that was lowest over its whole way, not by chance at its end."""
    gap = tried.gap.transpose("rate", "step").values
    floored = np.where(np.isfinite(gap), np.maximum(gap, 1e-15 * gap[0, 0]), np.inf)
    return tried.isel(rate=int(np.log(floored).mean(1).argmin()))


def figures_of_paths(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    if not {"problem", "method", "rate"} <= set(dataset.dims):
        return {}
    problems, methods = ([str(name) for name in dataset[axis].values] for axis in ("problem", "method"))
    best = {(p, m): _best(dataset.sel({"problem": p, "method": m})) for p in problems for m in methods}
    return {
        "contours": _draw_contours(dataset, problems, methods, best),
        "progress": _draw_progress(problems, methods, best),
        "rates": _draw_rates(dataset, problems, methods),
    }


_TITLES = {"houses": "House prices", "quadratic": "Quadratic", "rosenbrock": "Rosenbrock's valley"}
_AXES = {"houses": ("price of 1000 square feet ($1000)", "price of a bedroom ($1000)")}
_ON_CONTOURS = ("gradient-descent", "momentum", "nesterov", "adam", "trust-region")


def _draw_contours(dataset: "xarray.Dataset", problems: list[str], methods: list[str], best: Any) -> "Figure":
    """The first steps of each method at its best rate on each surface."""
    from jaxcalc import style

    figure, panels = style.subplots(1, len(problems), width="page", height=3.0, squeeze=False)
    for panel, problem in zip(panels[0], problems):
        one = dataset.sel(valley=problem)
        surface = one.surface.values
        start = float(best[problem, methods[0]].gap[0])
        levels = start * np.geomspace(1e-4, surface.max() / start, 14)
        panel.contour(one["first"], one.second, surface.T, levels=levels, colors="#B5B5B5", linewidths=0.6)
        for name in [name for name in _ON_CONTOURS if name in methods]:
            path = best[problem, name].path.isel(step=slice(0, 31)).values
            panel.plot(*path.T, **style.method(name, linewidth=1.0, markersize=2.6))
        panel.plot(*one.optimum.values, marker="*", color=style.COLORS["black"], markersize=8, zorder=4)
        labels = _AXES.get(problem, ("$x_0$", "$x_1$"))
        panel.set(xlabel=labels[0], ylabel=labels[1], title=_TITLES[problem])
        panel.set(xlim=(one["first"][0], one["first"][-1]), ylim=(one.second[0], one.second[-1]))
        panel.grid(visible=False)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    style.panel_labels(panels)
    figure.set_label(
        "The first thirty steps of every method at its best rate; a star is the minimum, grey lines join points of "
        "equal loss, evenly spaced in its logarithm."
    )
    return figure


def _draw_progress(problems: list[str], methods: list[str], best: Any) -> "Figure":
    """The loss above its minimum against evaluations, each method at its best rate."""
    from jaxcalc import style

    figure, panels = style.subplots(1, len(problems), width="page", height=3.0, squeeze=False, sharey=True)
    for panel, problem in zip(panels[0], problems):
        for name in methods:
            run = best[problem, name]
            share = np.fmin.accumulate((run.gap / run.gap[0]).values)
            work = run.evaluations.values
            done = np.flatnonzero(share < 1e-14)
            stop = int(done[0]) + 1 if done.size else len(share)
            marks = np.searchsorted(work[:stop], np.geomspace(work[0], work[stop - 1], 7))
            look = style.method(name, markevery=sorted({min(int(mark), stop - 1) for mark in marks}))
            panel.plot(work[:stop], np.maximum(share[:stop], 1e-14), **look)
        panel.set(xscale="log", yscale="log", xlabel="evaluations", title=_TITLES[problem], ylim=(5e-15, 3))
    panels[0, 0].set_ylabel("left of the loss, least so far")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    style.panel_labels(panels)
    figure.set_label(
        "The least that was left of the loss against evaluations (of the value, the gradient, or a column of the "
        "Hessian), every method at its best rate."
    )
    return figure


def _draw_rates(dataset: "xarray.Dataset", problems: list[str], methods: list[str]) -> "Figure":
    """What is left at the end against the rate."""
    from jaxcalc import style

    figure, panels = style.subplots(1, len(problems), width="page", height=3.0, squeeze=False, sharey=True)
    for panel, problem in zip(panels[0], problems):
        for name in [name for name in methods if name not in ("l-bfgs", "trust-region")]:
            gap = dataset.gap.sel({"problem": problem, "method": name})
            share = (gap.isel(step=-1) / gap.isel(step=0)).clip(min=1e-14)
            # Nesterov's line lies on momentum's nearly everywhere.
            size = 6.5 if name == "momentum" else 4.0
            panel.plot(dataset.rate, share.where(share < 30), **style.method(name, markersize=size))
        panel.set(xscale="log", yscale="log", xlabel="learning rate, scaled", title=_TITLES[problem], ylim=(3e-15, 30))
    panels[0, 0].set_ylabel(f"left of the loss after {dataset.sizes['step'] - 1} steps")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    style.panel_labels(panels)
    figure.set_label(
        "How much the learning rate matters. Rates of Adam and AdamW are in units of the farthest that a variable must "
        "go, the others in units of 1 over the largest curvature at the minimum; where a line ends the run diverged. "
        "Drawn from 1e-14 on."
    )
    return figure


paths = Part(
    Paths,
    {
        "step": Variable(("step",), "", "step"),
        "path": Variable(("step", "coordinate"), "", "iterate"),
        "gap": Variable(("step",), "", "loss above its minimum"),
        "evaluations": Variable(("step",), "", "of the value, the gradient or a column of the Hessian, so far"),
        "valley": Variable(("valley",), "", "problem of a contour"),
        "optimum": Variable(("valley", "coordinate"), "", "its minimiser"),
        "first": Variable(("valley", "i"), "", "first variable on the contour's axis"),
        "second": Variable(("valley", "j"), "", "second variable on the contour's axis"),
        "surface": Variable(("valley", "i", "j"), "", "loss above its minimum"),
    },
    "compiled",
    run_paths,
    shared=lambda config: {"step": np.arange(config.num_steps + 1), **share_paths(config)},
    figures=figures_of_paths,
    doc="Which way does each method take, how many evaluations does it need, and how much does its rate matter?",
)

# -- estimates ---------------------------------------------------------------------------------------------------------


class Estimates(Config):
    samples: int = pydantic.Field(4096, ge=1024)
    """rows of the regression"""
    batches: int = pydantic.Field(2000, ge=100)
    """mini-batches drawn of each size"""
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128)
    """samples in a mini-batch"""


def run_estimates(config: Estimates, key: Any) -> dict[str, Any]:
    import jax

    return {"size": np.array(config.sizes), **jax.jit(lambda key: _estimated(config, key))(key)}


def _estimated(config: Estimates, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

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


def _unbiased(dataset: "xarray.Dataset") -> Finding:
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


def figures_of_estimates(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, panel = style.subplots()
    size = dataset["size"].values
    panel.loglog(size, dataset.variance, "o", color=style.COLORS["blue"], label="mini-batches")
    panel.loglog(size, float(dataset.single_variance) / size, **style.THEORY, label="variance of one sample / size")
    panel.set_xticks(size, [str(n) for n in size])
    panel.set(xlabel="samples in a mini-batch", ylabel="variance of the gradient")
    panel.legend()
    figure.set_label("The gradient over a mini-batch is right in the mean; its variance falls as one over the size.")
    return {"variance": figure}


estimates = Part(
    Estimates,
    {
        "size": Variable(("size",), "", "samples in a mini-batch"),
        "variance": Variable(("size",), "", "mean squared distance of its gradient from the whole one"),
        "bias": Variable(("size",), "", "distance of the mean of all such gradients, over the whole one's norm"),
        "single_variance": Variable((), "", "the same variance for one sample, over all samples"),
        "gradient_norm": Variable((), "", "norm of the whole gradient"),
    },
    "host",
    run_estimates,
    figures=figures_of_estimates,
    claims={"minibatch-gradient-unbiased": _unbiased},
    doc="Is the gradient over a mini-batch an unbiased estimate, and how does its variance fall?",
)

# -- digits ------------------------------------------------------------------------------------------------------------

Task = Literal["network", "linear"]
_EVERY = 10


class Digits(Config):
    task: Task = "network"
    """one hidden layer of tanh with cross-entropy, or linear least squares on indicators of the ten classes"""
    unevenness: Swept[float] = pydantic.Field(0.0, ge=0)
    """the pixels have gains from 10^-unevenness to 10^unevenness; 0 for the images as they are"""
    method: Method = "adam"
    """method of minimisation"""
    rate: Swept[float] = pydantic.Field(0.1, gt=0)
    """learning rate of plain descent; momentum takes a tenth, its equal in the long run, and so does Adam"""
    samples: int = pydantic.Field(400, ge=10, le=1700)
    """images to train on, drawn by the seed; the others are held out"""
    batch: int = pydantic.Field(32, ge=1)
    """images in a mini-batch"""
    num_steps: int = pydantic.Field(400, ge=10, multiple_of=_EVERY)
    """steps taken"""
    width: int = pydantic.Field(32, ge=1)
    """hidden units of the network"""
    weight_decay: float = pydantic.Field(0.1, ge=0)
    """of AdamW"""


def _classifier(config: Digits) -> tuple[Any, Any, Any]:
    """A model of the digits, its weights, and the loss of a batch."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.models import classifier

    model = classifier.make("dense", width=config.width, depth=1 if config.task == "network" else 0)
    # One start for all lanes, drawn on the host: compiling random weights takes longer than all of the training.
    with jax.ensure_compile_time_eval():
        start = model.init(jax.random.key(0))
    if config.task == "network":
        return model, start, classifier.loss(model)
    squares = lambda scores, labels: jnp.sum((scores - jax.nn.one_hot(labels, 10)) ** 2, 1)
    return model, start, lambda params, *batch: jnp.mean(squares(model.apply(params, batch[0]), batch[1])) / 2


def run_digits(config: Digits, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.models import classifier
    from jaxcalc.solvers import minimize

    images, labels = classifier.images(1797)
    # Spread over the image so that neighbours differ.
    images = images * 10.0 ** (config.unevenness * np.linspace(-1, 1, 64, dtype=images.dtype)[37 * np.arange(64) % 64])
    model, start, loss = _classifier(config)
    of_split, of_batches = jax.random.split(key)
    order = jax.random.permutation(of_split, len(labels))
    train, held_out = ((images[rows], labels[rows]) for rows in (order[: config.samples], order[config.samples :]))

    def draw(key: Any) -> tuple[Any, Any]:
        rows = jax.random.randint(key, (config.batch,), 0, config.samples)
        return train[0][rows], train[1][rows]

    solution = minimize(
        loss,
        start,
        *train,
        method=_solver(config.method, config.rate if config.method == "sgd" else config.rate / 10, config.weight_decay),
        batches=draw,
        key=of_batches,
        max_steps=config.num_steps,
        history=f"every {_EVERY}",
    )
    assert solution.history is not None
    scores = jax.vmap(model.apply, (None, 0))(solution.x, held_out[0])
    lost = loss(solution.x, *held_out)
    return {
        "batch_loss": solution.history["value"],
        "loss": solution.value,
        "held_out_loss": lost,
        "diverged": ~jnp.isfinite(lost),
        "held_out_error": jnp.mean(jnp.argmax(scores, 1) != held_out[1]),
    }


def _squared(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """The dataset over all of task, method, unevenness, rate and seed, whichever of these a sweep holds fixed."""
    axes = ("task", "method", "unevenness", "rate", "seed")
    return over(dataset, *axes).transpose(*axes, ...)


def _by_method(dataset: "xarray.Dataset", task: int, unevenness: int) -> dict[str, "xarray.Dataset"]:
    """The runs of a task on even or uneven images by method, over rates and seeds."""
    one = dataset.isel(task=task, unevenness=unevenness)
    return {str(name): one.isel({"method": i}) for i, name in enumerate(one["method"].values)}


def _best_rate(runs: "xarray.Dataset") -> int:
    """Where the mean loss on held-out images is least."""
    loss = runs.held_out_loss.mean("seed", skipna=False).values
    return int(np.where(np.isfinite(loss), loss, np.inf).argmin())


def _comparable(full: "xarray.Dataset") -> bool:
    """Whether momentum meets Adam on images as they are and on others, over seeds enough."""
    methods, uneven = set(map(str, full["method"].values)), full.unevenness.values
    return {"momentum", "adam"} <= methods and full.sizes["seed"] >= 4 and uneven.size > 1 and 0 in uneven


def _crossed(run: "xarray.Dataset") -> np.ndarray:
    """The held-out loss by seed, each at the rate that does best on the other half of the seeds."""
    loss = run.held_out_loss.where(~run.diverged, np.inf).transpose("rate", "seed").values
    if np.isnan(loss).any():
        raise NotJudged("held-out losses are missing")
    found, even = np.empty(loss.shape[1]), np.arange(loss.shape[1]) % 2 == 0
    for half in (even, ~even):
        found[half] = loss[loss[:, ~half].mean(1).argmin()][half]
    return found


def _contests(full: "xarray.Dataset") -> dict[float, tuple[float, float]]:
    """Momentum's loss on held-out images less Adam's: mean and standard error over splits, by unevenness."""
    found = {}
    for place, unevenness in enumerate(full.unevenness.values):
        runs = _by_method(full, 0, place)
        apart = _crossed(runs["momentum"]) - _crossed(runs["adam"])
        found[float(unevenness)] = float(apart.mean()), float(apart.std(ddof=1) / len(apart) ** 0.5)
    return found


def _generalises(dataset: "xarray.Dataset") -> Finding:
    full = _squared(dataset)
    if not _comparable(full):
        raise NotJudged("needs momentum and Adam on even and uneven pixels, over four seeds or more")
    contests = _contests(full)
    score = {unevenness: mean / error for unevenness, (mean, error) in contests.items()}
    if abs(score[0.0]) < 3:
        raise NotJudged("on images as they are the two lie within three standard errors; more seeds may part them")
    return Finding(
        below(score.pop(0.0), -3.0),
        limits=above(np.max(list(score.values())), 3.0),
        measured="held-out loss with momentum less that with Adam: "
        + ", ".join(f"{mean:+.4f} ± {error:.4f} (unevenness {u:g})" for u, (mean, error) in contests.items()),
        figure="generalisation",
    )


def figures_of_digits(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    full = _squared(dataset)
    names = [str(name) for name in full.task.values]
    figures = {f"training-{name}": _draw_task(name, _by_method(full, i, 0)) for i, name in enumerate(names)}
    return figures | ({"generalisation": _draw_contests(_contests(full))} if _comparable(full) else {})


_UNITS = {"network": "cross-entropy (nats)"}


def _draw_task(task: str, runs: dict[str, "xarray.Dataset"]) -> "Figure":
    """Training at the best rate, and the loss on held-out images against the rate."""
    from jaxcalc import style

    figure, (left, right) = style.subplots(1, 2, width="page", height=3.1)
    unit, lowest = _UNITS.get(task, "squared error"), np.inf
    for index, (name, one) in enumerate(runs.items()):
        # Nesterov's line lies on momentum's nearly everywhere.
        look = style.method(name, markersize=6.5 if name == "momentum" and "nesterov" in runs else 4.0)
        way = one.isel(rate=_best_rate(one)).batch_loss.mean("seed")
        held = one.held_out_loss.mean("seed", skipna=False)
        lowest = min(lowest, float(held.min()))
        left.plot(way.step[1:] + 1, way[1:], **{**look, "markevery": (index, 8)})
        right.plot(one.rate * (1 if name == "sgd" else 0.1), held, **look)
    left.set(xlabel="gradients of a mini-batch", ylabel=f"mini-batch: {unit}", yscale="log")
    left.set_title("Training, each at its best rate")
    right.set(xscale="log", xlabel="learning rate", ylabel=f"held out: {unit}", yscale="log")
    right.set_title("After training")
    right.set_ylim(0.95 * lowest, 5 * lowest)
    for panel in (left, right):
        low, high = panel.get_ylim()
        panel.minorticks_off()
        ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0) if low <= tick <= high]
        panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    style.panel_labels((left, right))
    figure.set_label(
        "A classifier of digits trained on mini-batches: means over random splits and batches. What lies above the "
        "upper edge diverged or hardly learned."
    )
    return figure


def _draw_contests(contests: dict[float, tuple[float, float]]) -> "Figure":
    """Momentum against Adam by unevenness."""
    from jaxcalc import style

    figure, panel = style.subplots(width=4.2, height=2.7)
    means, errors = np.array(list(contests.values())).T
    panel.errorbar(list(contests), means, 2 * errors, color=style.COLORS["black"], marker="o", capsize=3)
    panel.axhline(0, color=style.COLORS["grey"], linewidth=0.8)
    panel.set(
        xlabel="unevenness of the pixels (decades each way)", ylabel="held-out loss with momentum\nless that with Adam"
    )
    low, high = panel.get_ylim()
    panel.set_ylim(min(low, -0.15 * high), high)
    panel.annotate("Adam better", (0.02, 0.93), xycoords="axes fraction", fontsize=7.5)
    panel.annotate("momentum better", (0.98, 0.03), xycoords="axes fraction", fontsize=7.5, ha="right")
    figure.set_label(
        "A linear classifier of digits, with momentum and with Adam, each at the rate that is best on other splits: on "
        "images as they are momentum generalises better, on those of a sensor whose pixels differ Adam does. Paired "
        "over random splits; bars are two standard errors."
    )
    return figure


digits = Part(
    Digits,
    {
        "step": Variable(("step",), "", "step"),
        "batch_loss": Variable(("step",), "", "loss of the step's mini-batch"),
        "loss": Variable((), "", "loss of all training images at the end"),
        "held_out_loss": Variable((), "", "loss of the images held out, at the end"),
        "diverged": Variable((), "", "whether that loss is not finite"),
        "held_out_error": Variable((), "", "share of them that is misread"),
    },
    "compiled",
    run_digits,
    shared=lambda config: {"step": np.arange(0, config.num_steps + 1, _EVERY)},
    figures=figures_of_digits,
    claims={"sgd-momentum-state-of-the-art-vision": _generalises},
    doc="How do the methods train a classifier of digits on mini-batches, and how does it generalise?",
)
