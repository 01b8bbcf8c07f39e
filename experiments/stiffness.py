"""What does stiffness cost an explicit method, an implicit one, and ``flow``'s own choice: steps, evaluations, errors?

A relaxation to ``cos t`` at a rate, van der Pol's oscillator over two of its damping, and Robertson's reaction, which
becomes stiffer the longer it is followed. Evaluations are counted as they happen, products with the Jacobian too.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, between, first, jax, jnp, less, over

kind = "host"

Problem = Literal["relaxation", "van der Pol", "Robertson"]
SOLVERS = ("tsit5", "kvaerno5", "auto")
MODES = ("auto", "discrete", "forward mode")
_LIMIT = {"tsit5": 2_000_000, "kvaerno5": 16_384, "auto": 2_000_000}  # steps
_REACH = 3.3  # of the region of stability of Tsit5, along the negative axis
_NOTICING = 700  # evaluations, of 100 explicit steps: what it may take to see that a field is stiff


class Config(lab.Config):
    problem: Problem = "relaxation"
    """what is solved"""
    levels: tuple[float, ...] = pydantic.Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """how stiff, from 0 to 1: rates of 1 to 1e5, dampings of 1 to 1000, Robertson's reaction to times of 1 to 1e5"""
    tolerance: float = pydantic.Field(1e-6, gt=0, le=1e-3)
    """of steps, relative, and absolute but for Robertson's, whose least state is small: 1e-4 of it"""


VARIABLES = {
    "solver": Variable(("solver",), "", "the method of flow"),
    "level": Variable(("level",), "", "how stiff, from 0 to 1"),
    "stiffness": Variable(("level",), "", "rate, damping, or the time that the reaction is followed to"),
    "steps": Variable(("solver", "level"), "", "steps tried; NaN where the limit was reached"),
    "evaluations": Variable(("solver", "level"), "", "evaluations of the field and products with its Jacobian"),
    "error": Variable(("solver", "level"), "", "error of the end, over its largest entry"),
    "held": Variable(("level",), "", "explicit steps that stability asks for, from the Jacobian's eigenvalues"),
    "mode": Variable(("mode",), "", "how flow's own choice is differentiated"),
    "gradient_error": Variable(("mode", "level"), "", "relative error of the derivative of the end's first entry"),
    "differentiated": Variable(("mode", "level"), "", "whether the derivative is finite"),
}


class Case(NamedTuple):
    """A field ``field(t, y, (stiffness, p))`` whose ``p`` parameters are ones; its start, end, and most stiffness."""

    field: Callable[..., Any]
    start: tuple[float, ...]
    end: Callable[[float], float]
    most: float
    p: int = 1
    absolute: float = 1.0


def _case(name):
    from jaxcalc.functions import fields

    def robertson(t, y, args):
        _, p = args
        slow, fast, faster = 0.04 * p[0] * y[0], 1e4 * p[1] * y[1] * y[2], 3e7 * p[2] * y[1] ** 2
        return jnp.stack([fast - slow, slow - fast - faster, faster])

    relaxation = lambda t, y, args: -args[0] * (y - args[1][0] * jnp.cos(t))
    oscillator = lambda t, y, args: fields.van_der_pol(t, y, args[0] * args[1][0])
    return {
        "relaxation": Case(relaxation, (2.0,), lambda rate: 10.0, 1e5),
        "van der Pol": Case(oscillator, (2.0, 0.0), lambda damping: 2 * damping, 1e3),
        "Robertson": Case(robertson, (1.0, 0.0, 0.0), lambda end: end, 1e5, p=3, absolute=1e-4),
    }[name]


def _counted(field):
    """The field, and a list whose entry counts its evaluations and its products with tangents."""
    calls = [0]

    def tick():
        calls[0] += 1

    def called(value):
        # A value of the lane's own makes a callback for each lane.
        jax.debug.callback(lambda _: tick(), jnp.sum(value))

    @jax.custom_jvp
    def counted(t, y, args):
        value = field(t, y, args)
        called(value)
        return value

    @counted.defjvp
    def _(primals, tangents):
        value, dot = jax.jvp(field, primals, tangents)
        called(dot)
        return value, dot

    return counted, calls


def _reference(case, stiffness):
    """States on the way and the end's sensitivities to ``p``: SciPy's LSODA on both."""
    from scipy import integrate

    size, end = len(case.start), case.end(stiffness)
    times = np.append(0.0, np.geomspace(1e-6 * end, end, 4001) if case.p > 1 else np.linspace(0, end, 8001)[1:])

    @jax.jit
    def rates(t, both):
        y, dots = both[:size], both[size:].reshape(case.p, size)
        ahead = lambda dot, e: jax.jvp(lambda y, p: case.field(t, y, (stiffness, p)), (y, jnp.ones(case.p)), (dot, e))
        value, moved = jax.vmap(ahead, out_axes=(None, 0))(dots, jnp.eye(case.p))
        return jnp.concatenate([value, moved.reshape(-1)])

    start = np.concatenate([case.start, np.zeros(case.p * size)])
    options = {"rtol": 1e-11, "atol": 1e-13 * case.absolute, "mxstep": 1_000_000, "tfirst": True}
    found = integrate.odeint(lambda t, y: np.asarray(rates(t, y)), start, times, **options)
    return times, found[:, :size], found[-1, size:].reshape(case.p, size)[:, 0]


def _held(case, stiffness, times, states):
    """The integral of the steepest decay over the reach of Tsit5's stability."""
    jacobian = jax.vmap(jax.jacfwd(lambda y, t: case.field(t, y, (stiffness, jnp.ones(case.p)))))
    slopes = np.linalg.eigvals(np.asarray(jacobian(jnp.asarray(states), jnp.asarray(times)))).real
    return np.trapezoid(np.maximum(-slopes.min(-1), 0.0), times) / _REACH


def _exact(case, name, stiffness):
    """The end, the derivative of its first entry, and the steps that stability asks for."""
    times, states, slope = _reference(case, stiffness)
    held = _held(case, stiffness, times, states)
    if name != "relaxation":
        return states[-1], slope, held
    smooth = lambda t: (stiffness**2 * np.cos(t) + stiffness * np.sin(t)) / (1 + stiffness**2)
    fading = np.exp(-10.0 * stiffness)
    return np.array([smooth(10.0) + (2 - smooth(0.0)) * fading]), np.array([smooth(10.0) - smooth(0.0) * fading]), held


def _solve(case, config, solver, field=None, **choices):
    from jaxcalc import flow

    tolerances = {"rtol": config.tolerance, "atol": config.tolerance * case.absolute}
    solve = flow(field or case.field, solver=solver, max_steps=_LIMIT[solver], **tolerances, report=True, **choices)
    times = lambda stiffness: jnp.array([0.0, case.end(stiffness)])
    return lambda stiffness, p: solve(jnp.array(case.start), times(stiffness), (stiffness, p))


def _derivatives(case, config):
    """By each mode, the derivative of the end's first entry as a function of the stiffness."""

    def derivative(mode):
        adjoint = "discrete" if mode == "discrete" else "auto"
        solve = _solve(case, config, "auto", adjoint=adjoint)
        transform = jax.jacfwd if mode == "forward mode" else jax.grad
        compiled = jax.jit(transform(lambda p, stiffness: solve(stiffness, p).states[-1, 0]))
        return lambda stiffness: np.asarray(compiled(jnp.ones(case.p), stiffness))

    return [derivative(mode) for mode in MODES]


def run(config, key):
    case = _case(config.problem)
    stiffness = case.most ** np.array(config.levels)
    exact = [_exact(case, config.problem, float(each)) for each in stiffness]
    distance = lambda value, right: np.max(abs(value - right)) / np.max(abs(right))
    shape = len(SOLVERS), len(stiffness)
    steps, evaluations, error = (np.full(shape, np.nan) for _ in range(3))
    for i, solver in enumerate(SOLVERS):
        field, calls = (None, None) if solver == "tsit5" else _counted(case.field)
        solve = _solve(case, config, solver, field)
        for j, level in enumerate(stiffness):
            if calls:
                calls[0] = 0
            found = jax.block_until_ready(solve(float(level), jnp.ones(case.p)))
            jax.effects_barrier()
            if found.reached:
                steps[i, j], error[i, j] = found.num_steps, distance(found.states[-1], exact[j][0])
                evaluations[i, j] = calls[0] if calls else found.evaluations
    gradients = [[call(float(level)) for level in stiffness] for call in _derivatives(case, config)]
    return {
        "solver": np.array(SOLVERS),
        "level": np.array(config.levels),
        "stiffness": stiffness,
        "steps": steps,
        "evaluations": evaluations,
        "error": error,
        "held": np.array([held for *_, held in exact]),
        "mode": np.array(MODES),
        "gradient_error": np.array(
            [[distance(one, right) for one, (_, right, _) in zip(row, exact, strict=True)] for row in gradients]
        ),
        "differentiated": np.array([[bool(np.isfinite(one).all()) for one in row] for row in gradients]),
    }


_AXES = {"relaxation": "rate", "van der Pol": "damping µ", "Robertson": "time followed to"}
_LOOKS = {"tsit5": ("vermilion", "s"), "kvaerno5": ("green", "^"), "auto": ("blue", "o")}


def _look(name):
    color, marker = _LOOKS[name]
    face = {"markersize": 6.5, "markerfacecolor": "none", "markeredgewidth": 1.2} if name == "auto" else {}
    return {"color": style.COLORS[color], "marker": marker, "label": name, **face}


def _by_problem(dataset):
    data = first(over(dataset, "problem"), "problem", "solver", "mode", "level")
    return {str(name): data.sel(problem=name) for name in data.problem.values}


def figures(dataset):
    problems = _by_problem(dataset)
    figure, panels = style.subplots(3, len(problems), width="page", height=6.2, squeeze=False, letters=False)
    for column, (name, data) in zip(panels.T, problems.items(), strict=True):
        for panel, values in zip(column, (data.steps, data.evaluations, data.error), strict=True):
            for solver in map(str, data.solver.values):
                panel.loglog(data.stiffness, values.sel(solver=solver), **_look(solver))
        column[0].loglog(data.stiffness, data.held, **style.THEORY, label="stability's bound")
        column[1].loglog(data.stiffness, 6 * data.held, **style.THEORY)
        _draw_gradients(column[2], data)
        column[0].set_title(name)
        column[2].set_xlabel(_AXES[name])
    for panel, label in zip(panels[:, 0], ("steps", "evaluations of the field", "relative error"), strict=True):
        panel.set_ylabel(label)
    handles = {
        label: h for panel in (panels[2, 0], panels[0, 0]) for h, label in zip(*panel.get_legend_handles_labels())
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    figure.set_label(
        "Steps, evaluations and errors against stiffness; dashed: what stability asks of explicit steps. "
        "Lines end where the limit on steps was reached; open, at 1: a gradient that is not finite."
    )
    return {"stiffness": figure}


def _draw_gradients(panel, data):
    """Errors of gradients, by open marks at the top where one is not finite."""
    for mode, color, marker in (("auto", "purple", "D"), ("discrete", "orange", "v")):
        errors = data.gradient_error.sel(mode=mode)
        look = {"color": style.COLORS[color], "marker": marker}
        panel.loglog(data.stiffness, errors, linestyle=":", **look, label=f"gradient, {mode}")
        lost = data.stiffness.values[data.differentiated.sel(mode=mode).values == 0]
        panel.plot(lost, np.ones(lost.shape), **look, linestyle="", markerfacecolor="none", markeredgewidth=1.0)


def tables(dataset):
    rows = []
    for name, data in _by_problem(dataset).items():
        for level in data.level.values:
            one = data.sel(level=level)
            counts = {
                f"{solver}: {word}": lab.digits(values.sel(solver=solver))
                for solver in SOLVERS
                for word, values in (("steps", one.steps), ("evaluations", one.evaluations), ("error", one.error))
            }
            errors = {f"gradient error, {mode}": lab.digits(one.gradient_error.sel(mode=mode)) for mode in MODES}
            rows.append({"problem": name, "stiffness": lab.digits(one.stiffness), **counts, **errors})
    return {"Steps, evaluations and errors": rows}


def _all(dataset):
    problems = _by_problem(dataset)
    missing = sorted(set(get_args(Problem)) - set(problems))
    if missing or any(data.sizes["level"] < 4 or data.level[-1] < 1 for data in problems.values()):
        raise NotJudged(
            f"it takes four levels or more up to 1 of every problem; missing: {', '.join(missing) or 'none'}"
        )
    return problems


def _grows(dataset):
    """Explicit steps over what eigenvalues ask, where they ask for a thousand; the implicit method's most."""
    ratios, implicit = {}, {}
    for name, data in _all(dataset).items():
        steps = data.steps.sel(solver="tsit5").values / data.held.values
        # Beyond the limit there are none to compare; below it a missing count is no evidence.
        asked = (data.held.values >= 1e3) & (data.held.values <= _LIMIT["tsit5"] / 2)
        ratios[name], implicit[name] = steps[asked], data.steps.sel(solver="kvaerno5").values
    said = ", ".join(f"{name} {ratio.min():.2f} to {ratio.max():.2f}" for name, ratio in ratios.items() if ratio.size)
    return Finding(
        between(np.concatenate(list(ratios.values())), 0.7, 1.5) & below(np.concatenate(list(implicit.values())), 1e3),
        measured=f"explicit steps over stability's: {said}; implicit steps at most "
        f"{max(steps.max() for steps in implicit.values()):.0f}",
    )


def _follows(dataset):
    ratios = {}
    for name, data in _all(dataset).items():
        implicit, auto = (data.evaluations.sel(solver=solver).values for solver in ("kvaerno5", "auto"))
        explicit = data.evaluations.sel(solver="tsit5").values
        # Where the explicit method reached its limit, the other is the better one.
        better = np.where(np.isnan(explicit) & np.isnan(data.steps.sel(solver="tsit5").values), implicit, explicit)
        better = np.where(implicit < better, implicit, better)
        ratios[name] = (auto - _NOTICING) / better
    worst = ", ".join(f"{name} {ratio.max():.2f}" for name, ratio in ratios.items())
    return Finding(
        below(np.concatenate(list(ratios.values())), 1.5),
        measured=f"evaluations less {_NOTICING} over the better method's, at most: {worst}",
    )


def _gradients_are_right(dataset):
    def worst(data, mode):
        # What is not finite is as wrong as can be.
        one = data.sel(mode=mode)
        return np.where(one.differentiated.values == 0, np.finfo(float).max, one.gradient_error.values)

    errors = {mode: [worst(data, mode) for data in _all(dataset).values()] for mode in MODES}
    flags = np.concatenate([np.ravel(data.differentiated) for data in _by_problem(dataset).values()])
    said = {mode: np.concatenate(errors[mode]) for mode in MODES}
    words = ", ".join(f"{mode} {(e < 1e-4).sum()} of {e.size}, missing {(e > 1e300).sum()}" for mode, e in said.items())
    return Finding(less(said["auto"], 1e-4) & between(flags, 0, 1), measured=f"right: {words}")


claims = {
    "explicit-steps-grow-with-stiffness": _grows,
    "auto-follows-the-better-method": _follows,
    "gradients-of-stiff-flows-are-right": _gradients_are_right,
}
