"""What does a training step of a neural ODE cost: by ``flow``, plain diffrax, JAX's ``odeint`` and torchdiffeq?

Loss, gradient and an update by Adam, from the same parameters at every call: of the spiral of Chen et al. (2018), of a
wider perceptron, and of the rates of prey and predators. Tolerances and precision are the same for all, and losses and
gradients are held against a tight reference before a clock runs: what disagrees is not timed. JAX's programs are
compiled, torchdiffeq runs as its users run it, one operation at a time. A library that is not installed leaves NaN.
"""

import math
from typing import Literal, get_args

import numpy as np
import pydantic

from experiments import _contest
from experiments._survey import Timed, median
from experiments.neural_ode_adjoints._training import ProblemName
from jaxcalc import measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, digits, first, jax, less, over

kind = "timed"
dtype = "float64"

RouteName = Literal[
    "jaxcalc",
    "jaxcalc, checkpointed",
    "diffrax",
    "diffrax, all steps kept",
    "diffrax, forward mode",
    "jax odeint",
    "torchdiffeq",
    "torchdiffeq, one thread",
    "torchdiffeq, adjoint",
    "torchdiffeq, adjoint, one thread",
]
ROUTES = get_args(RouteName)
_TUNED = ("diffrax, all steps kept", "diffrax, forward mode")
_TORCH = tuple(name for name in ROUTES if name.startswith("torchdiffeq"))
_SEVERAL_THREADS = "torchdiffeq", "torchdiffeq, adjoint"
_FEW = 16  # parameters, up to which sensitivities are carried forward
_PER_STEP = 6  # evaluations of Tsit5, and one more at the start


class Config(Timed):
    problem: ProblemName = "spiral"
    """what is trained"""
    routes: tuple[RouteName, ...] = pydantic.Field(ROUTES, min_length=1)
    """what is compared"""
    tolerance: float = pydantic.Field(1e-6, gt=0, le=1e-3)
    """of the steps, relative and absolute"""
    agreement: float = pydantic.Field(1e-3, gt=0, lt=1)
    """relative error of loss or gradient beyond which a step is not timed"""
    repeats: int = pydantic.Field(31, ge=1)
    min_seconds: float = pydantic.Field(2e-3, ge=0)


VARIABLES = {
    "route": Variable(("route",), "", "what takes the step", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time of a training step"),
    "trace_seconds": Variable(("route",), "s", "time to trace it, NaN where nothing is"),
    "compile_seconds": Variable(("route",), "s", "time that XLA took to compile it, NaN where nothing is"),
    "loss_error": Variable(("route",), "", "relative error of the loss", measured=False),
    "gradient_error": Variable(("route",), "", "relative error of the gradient", measured=False),
    "evaluations": Variable(
        ("route",), "", "evaluations of the field by the library's solve, forwards", measured=False
    ),
    "installed": Variable(("route",), "", "whether the library is installed", measured=False),
    "applies": Variable(("route",), "", "whether the route was asked for and is for this problem", measured=False),
    "agrees": Variable(("route",), "", "whether loss and gradient are right", measured=False),
}


def _makers(problem, tolerance, work):
    """``() -> step`` of each route that is for the problem."""
    import diffrax

    from experiments.neural_ode_adjoints import _training as training

    field = training.in_jax(problem)
    ours = lambda **choices: training.jax_step(problem, training.by_jaxcalc(field, tolerance, **choices))
    theirs = lambda ahead=False, **choices: training.jax_step(
        problem, training.by_diffrax(field, tolerance, **choices), ahead
    )
    torch = lambda adjoint, threads=None: training.torch_step(problem, tolerance, adjoint, threads)
    makers = {
        "jaxcalc": ours,
        "jaxcalc, checkpointed": lambda: ours(solver="tsit5", adjoint="checkpointed"),
        "diffrax": theirs,
        "diffrax, all steps kept": lambda: theirs(
            adjoint=diffrax.RecursiveCheckpointAdjoint(max(work["diffrax"] // _PER_STEP, 1))
        ),
        "jax odeint": lambda: training.jax_step(problem, training.by_odeint(field, tolerance)),
        "torchdiffeq": lambda: torch(False),
        "torchdiffeq, one thread": lambda: torch(False, 1),
        "torchdiffeq, adjoint": lambda: torch(True),
        "torchdiffeq, adjoint, one thread": lambda: torch(True, 1),
    }
    if sum(array.size for array in problem.params) <= _FEW:
        makers["diffrax, forward mode"] = lambda: theirs(ahead=True, adjoint=diffrax.ForwardMode())
    return makers


def _library(route):
    return route.split(",")[0]


def _installed(route):
    return _library(route) != "torchdiffeq" or _contest.installed("torchdiffeq")


def _loss_and_gradient(step):
    loss, gradient = step.call()[:2]
    return float(loss), np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])


def _reference(problem, tolerance):
    """Loss and gradient by diffrax's method of order 8, held a thousand times tighter where numbers allow it."""
    from experiments.neural_ode_adjoints import _training as training

    tight = max(1e-3 * tolerance, 64 * float(np.finfo(problem.start.dtype).eps))
    solve = training.by_diffrax(training.in_jax(problem), tight, solver="Dopri8", max_steps=100_000)
    return _loss_and_gradient(training.jax_step(problem, solve))


def run(config, key):
    from experiments.neural_ode_adjoints._training import build, evaluations

    problem = build(config.problem, key)
    installed = {name: _installed(name) for name in ROUTES}
    libraries = {_library(name) for name in config.routes if installed[name]}
    work = evaluations(problem, config.tolerance, libraries)
    makers = {n: make for n, make in _makers(problem, config.tolerance, work).items() if n in config.routes}
    steps = {name: make() for name, make in makers.items() if installed[name]}
    loss, gradient = _reference(problem, config.tolerance)
    found = {name: _loss_and_gradient(step) for name, step in steps.items()}
    off = {name: abs(value / loss - 1) for name, (value, _) in found.items()}
    turned = {name: np.linalg.norm(each - gradient) / np.linalg.norm(gradient) for name, (_, each) in found.items()}
    agrees = {name: bool(max(off[name], turned[name]) <= config.agreement) for name in steps}
    timings = {}
    for several in (False, True):
        # Threads that have done their part of a step wait for the next awake: in the time of another's.
        timed = {n: step.call for n, step in steps.items() if agrees[n] and (n in _SEVERAL_THREADS) == several}
        timings |= measure.interleave(timed, repeats=config.repeats, min_seconds=config.min_seconds)
    column = lambda known: np.array([known.get(name, np.nan) for name in ROUTES], float)
    never = np.full(config.repeats, np.nan)
    return {
        "route": np.array(ROUTES),
        "seconds": np.array([timings[name].samples if name in timings else never for name in ROUTES]),
        "trace_seconds": column({name: step.trace_seconds for name, step in steps.items()}),
        "compile_seconds": column({name: step.compile_seconds for name, step in steps.items()}),
        "loss_error": column(off),
        "gradient_error": column(turned),
        "evaluations": column({name: work[_library(name)] for name in steps}),
        "installed": np.array(list(installed.values())),
        "applies": np.array([name in makers for name in ROUTES]),
        "agrees": np.array([agrees.get(name, False) for name in ROUTES]),
    }


def _cells(dataset):
    """``{"spiral": its dataset, ...}``"""
    data = first(over(dataset, "problem"), "problem", "route", "repeat")
    return {str(name): data.sel(problem=name) for name in data.problem.values}


def _those(cell, *flags):
    """The routes of which all flags are set."""
    values = np.array([cell[flag].values for flag in flags], float)
    if not np.isin(values, (0, 1)).all():
        raise NotJudged("a flag is neither set nor not")
    return [str(name) for name, row in zip(cell.route.values, values.T) if row.all()]


def _fastest(cell, routes):
    """The fastest of these, of which one at least was timed."""
    timed = [name for name in _those(cell, "installed", "applies", "agrees") if name in routes]
    if not timed:
        absent = not set(routes) & set(_those(cell, "installed"))
        library = ", ".join(sorted({_library(name) for name in routes}))
        raise NotJudged(f"{library}: {'not installed' if absent else 'nothing was timed'}")
    return timed[int(np.argmin(median(cell.seconds.sel(route=timed)).values))]


def _ratios(cells, route, others):
    """Time of a route over that of the fastest of others, by rounds, for each problem; and which that is."""
    pairs = {name: (_fastest(cell, (route,)), _fastest(cell, others)) for name, cell in cells.items()}
    return {
        name: (float(median(cells[name].seconds.sel(route=one) / cells[name].seconds.sel(route=other))), other)
        for name, (one, other) in pairs.items()
    }


def _said(ratios):
    return "; ".join(f"{name} {ratio:.3g} of {other}" for name, (ratio, other) in ratios.items())


def _over(route, others, check):
    def judge(dataset):
        ratios = _ratios(_cells(dataset), route, others)
        return Finding(check([ratio for ratio, _ in ratios.values()]), measured=_said(ratios), figure="steps")

    return judge


def _agree(dataset):
    cells = _cells(dataset)
    errors = {
        (problem, name): float(np.max([cell[error].sel(route=name) for error in ("loss_error", "gradient_error")]))
        for problem, cell in cells.items()
        for name in _those(cell, "installed", "applies")
    }
    if not errors:
        raise NotJudged("nothing ran")
    worst = max(errors, key=lambda pair: errors[pair])
    said = f"at most {errors[worst]:.1e} ({', '.join(worst)}), of {len(errors)} steps"
    return Finding(below(list(errors.values()), float(dataset.agreement)), measured=said)


def _beside_torch(dataset):
    cells = {name: cell for name, cell in _cells(dataset).items() if name == "spiral"}
    if not cells:
        raise NotJudged("the spiral has not run")
    ratios = _ratios(cells, "jaxcalc", _TORCH)
    return Finding(above([1 / ratio for ratio, _ in ratios.values()], 5.0), measured=_said(ratios), figure="steps")


claims = {
    "training-steps-agree": _agree,
    "training-step-near-plain-diffrax": _over("jaxcalc, checkpointed", ("diffrax",), lambda r: below(r, 1.05)),
    "training-step-near-tuned-diffrax": _over("jaxcalc", _TUNED, lambda r: below(r, 1.05)),
    "training-step-faster-than-diffrax-defaults": _over("jaxcalc", ("diffrax",), lambda r: less(r, 1.0)),
    "training-step-faster-than-odeint": _over("jaxcalc", ("jax odeint",), lambda r: less(r, 1.0)),
    "training-step-five-times-torchdiffeq": _beside_torch,
}

_COLORS = {"jaxcalc": "blue", "diffrax": "vermilion", "jax odeint": "green", "torchdiffeq": "purple"}


def figures(dataset):
    cells = _cells(dataset)
    ran = {name for cell in cells.values() for name in _those(cell, "installed", "applies")}
    shown = [name for name in ROUTES if name in ran]
    width = {"width": "page", "height": 0.26 * len(shown) + 1.1}
    figure, panels = style.subplots(1, len(cells) + 1, sharey=True, squeeze=False, **width)
    for panel, (problem, cell) in zip(panels[0], cells.items()):
        panel.set(xscale="log", xlabel="training step (ms)", title=problem)
        seconds = cell.seconds.sel(route=shown)
        _draw(panel, 1e3 * seconds)
        _number(panel, 1e3 * median(seconds), median(seconds / cell.seconds.sel(route="jaxcalc")))
    every = over(dataset, "problem").sel(route=shown)
    _draw(panels[0, -1], every.compile_seconds + every.trace_seconds)
    panels[0, -1].set(xlabel="compiling (s)", title="all problems", xlim=(0, None))
    absent = {_library(name) for cell in cells.values() for name in ROUTES if name not in _those(cell, "installed")}
    figure.set_label(
        "A training step: loss, gradient, update. Dots: medians of rounds in which all took turns; bars: quartiles; "
        "numbers: time over jaxcalc's, by rounds. At the right tracing and compiling, over the problems, which "
        "torchdiffeq does not. "
        + (f"Not installed: {', '.join(sorted(absent))}. " if absent else "")
        + "What gave another loss or gradient is left out."
    )
    return {"steps": figure}


def _draw(panel, values):
    for library, color in _COLORS.items():
        mine = np.array([_library(str(name)) == library for name in values.route.values])
        those = values.where(values.route.isin(values.route[mine]))
        if those.notnull().any():
            style.rows(panel, those, "route", color=style.COLORS[color], marker="o", markersize=4.5)


def _number(panel, medians, ratios):
    """The ratios beside the dots, with room for them."""
    panel.margins(x=0.12)
    for row, (x, ratio) in enumerate(zip(medians.values, ratios.values)):
        if np.isfinite(x) and np.isfinite(ratio):
            panel.annotate(
                f"{digits(ratio):g}", (x, row), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=6
            )


def tables(dataset):
    rows = []
    for problem, cell in _cells(dataset).items():
        for name in _those(cell, "installed", "applies"):
            one = cell.sel(route=name)
            ratio = float(median(one.seconds / cell.seconds.sel(route="jaxcalc")))
            shown = lambda value: digits(value) if math.isfinite(value) else ""
            rows.append(
                {
                    "problem": problem,
                    "route": name,
                    "step (ms)": shown(1e3 * float(median(one.seconds))),
                    "over jaxcalc's": shown(ratio),
                    "compile (s)": shown(float(one.trace_seconds + one.compile_seconds)),
                    "evaluations": int(one.evaluations),
                    "loss's error": f"{float(one.loss_error):.1e}",
                    "gradient's error": f"{float(one.gradient_error):.1e}",
                }
            )
    return {"Training steps": rows}
