"""What do solvers of ODEs return where they fail, and do they say so?

A step limit, a stiff field, states that are infinite before the end, fields without value, trial steps without value,
and gradients of a stiff oscillator: by ``jaxcalc.flow``, diffrax, ``jax.experimental.ode`` and SciPy. An answer is
silent if it is finite, wrong, and nothing tells so.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, equal, jax, jnp

kind = "host"


CaseName = Literal[
    "step limit reached",
    "stiff field, explicit steps",
    "infinite before the end",
    "field NaN from the middle on",
    "trial steps NaN, solution not",
    "step limit: gradient",
    "infinite before the end: gradient",
    "van der Pol, µ = 5: gradient",
    "van der Pol, µ = 10: gradient",
    "van der Pol, µ = 30: gradient",
    "pulse between two steps",
    "equal steps, too long",
]


class Config(lab.Config):
    cases: tuple[CaseName, ...] = pydantic.Field(default=get_args(CaseName), min_length=1)
    """what is solved"""
    tolerance: float = pydantic.Field(1e-6, gt=0, le=1e-4)
    """of adaptive steps, relative and absolute"""
    max_steps: int = pydantic.Field(4096, ge=1024)
    """the limit on steps, of every solver that takes one"""
    wrong: float = pydantic.Field(1e-3, gt=0)
    """relative error beyond which an answer is wrong"""


VARIABLES = {
    "case": Variable(("case",), "", "what is solved"),
    "library": Variable(("library",), "", "by what"),
    "error": Variable(("case", "library"), "", "error over the largest entry of the answer; NaN where there is none"),
    "finite": Variable(("case", "library"), "", "whether the answer is finite"),
    "right": Variable(("case", "library"), "", "whether it is right"),
    "told": Variable(("case", "library"), "", "whether an error, a status or a warning came with it"),
    "applies": Variable(("case", "library"), "", "whether the library does such a thing"),
    "word": Variable(("case", "library"), "", "what was told"),
}


class Case(NamedTuple):
    """A flow to its end.

    Args:
      field: ``field(t, y, p)``.
      start, p, end: state, number, time.
      answer: the state at the end or, with ``gradient``, the derivative of its sum in ``p``; NaN where there is none.
      limit: on steps; ``None`` for the config's.
      steps: equal ones, of those that take them.
    """

    field: Callable[..., Any]
    start: tuple[float, ...]
    p: float
    end: float
    answer: Callable[[], Any]
    gradient: bool = False
    limit: int | None = None
    steps: int | None = None


_OUR_LIMITS = ("van der Pol, µ = 30: gradient", "pulse between two steps", "equal steps, too long")
_LEAST = 0.03  # of the root of the state of `roots`


def _tracked(p, t, start):
    """The solution of ``y' = -p (y - cos t)``."""
    smooth = lambda t: (p**2 * np.cos(t) + p * np.sin(t)) / (1 + p**2)
    return np.array([smooth(t) + (start - smooth(0.0)) * np.exp(-p * t)])


def _cases():
    from jaxcalc.functions import fields

    oscillator = lambda t, y, p: jnp.stack([y[1], -p * y[0]])
    tracking = lambda t, y, p: -p * (y - jnp.cos(t))
    growing = lambda t, y, p: p * y**2
    ending = lambda t, y, p: jnp.where(t > 0.5, jnp.nan, -p * y)
    roots = lambda t, y, p: -2 * p * jnp.sin(t) * jnp.sqrt(y)  # sqrt(y) = 1 + least + cos t
    pulse = lambda t, y, p: -p * y + 100 * jnp.exp(-1e4 * (t - 50) ** 2)
    nothing = lambda: np.nan
    turned = lambda: np.array([math.cos(100.0), -math.sin(100.0)])
    # d/dp of cos(w t) - w sin(w t) at w = sqrt(p) = 1
    turning = lambda: (-100 * math.sin(100.0) - math.sin(100.0) - 100 * math.cos(100.0)) / 2
    after = lambda: np.exp(-0.6) + math.sqrt(math.pi) * math.exp(-0.1)
    square = (2 + _LEAST) ** 2
    return {
        "step limit reached": Case(oscillator, (1.0, 0.0), 1.0, 100.0, turned, limit=100),
        "stiff field, explicit steps": Case(tracking, (2.0,), 1e4, 2.0, lambda: _tracked(1e4, 2.0, 2.0)),
        "infinite before the end": Case(growing, (1.0,), 1.0, 2.0, nothing),
        "field NaN from the middle on": Case(ending, (1.0,), 1.0, 1.0, nothing),
        "trial steps NaN, solution not": Case(roots, (square,), 1.0, 2 * math.pi, lambda: square),
        "step limit: gradient": Case(oscillator, (1.0, 0.0), 1.0, 100.0, turning, gradient=True, limit=100),
        "infinite before the end: gradient": Case(growing, (1.0,), 1.0, 2.0, nothing, gradient=True),
        "van der Pol, µ = 5: gradient": _oscillator(fields.van_der_pol, 5.0),
        "van der Pol, µ = 10: gradient": _oscillator(fields.van_der_pol, 10.0),
        "van der Pol, µ = 30: gradient": _oscillator(fields.van_der_pol, 30.0),
        "pulse between two steps": Case(pulse, (1.0,), 0.01, 60.0, after),
        "equal steps, too long": Case(tracking, (2.0,), 50.0, 1.0, lambda: _tracked(50.0, 1.0, 2.0), steps=10),
    }


def _oscillator(field, mu):
    case = Case(field, (2.0, 0.0), mu, 5.0, lambda: np.nan, gradient=True)
    return case._replace(answer=lambda: _reference(case))


def _reference(case):
    """The gradient through tight steps of a method of order 8, by diffrax."""
    import diffrax

    return jax.grad(lambda p: _by_diffrax(case, p, 100_000, 1e-12, diffrax.Dopri8()).ys[-1].sum())(case.p)


def _jaxcalc(**choices):
    def solve(case, config):
        from jaxcalc import flow

        limits = {"num_steps": case.steps} if case.steps else {"max_steps": case.limit or config.max_steps}
        tolerances = {"rtol": config.tolerance, "atol": config.tolerance}
        solve = flow(case.field, **tolerances, **limits, **choices, report=True)
        times = jnp.array([0.0, case.end])

        def end(p):
            found = solve(jnp.array(case.start), times, p)
            return found.states[-1].sum() if case.gradient else found.states[-1], found.status

        value, status = (jax.grad(end, has_aux=True) if case.gradient else end)(case.p)
        return value, f"status {int(status)}" if status else ""

    return solve


def _by_diffrax(case, p, limit, tolerance, solver, **choices) -> Any:
    import diffrax

    step = case.end / case.steps if case.steps else None
    adapt = diffrax.ConstantStepSize() if case.steps else diffrax.PIDController(tolerance, tolerance)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(case.field), solver, 0.0, case.end, step, jnp.array(case.start), p,
        stepsize_controller=adapt, max_steps=limit, **choices,
    )  # fmt: skip


def _diffrax(adjoint=None, **choices):
    def solve(case, config):
        import diffrax

        if adjoint == "backsolve" and not case.gradient:
            return None
        mode = {"adjoint": diffrax.BacksolveAdjoint()} if adjoint else {}

        def end(p):
            limit = case.limit or config.max_steps
            found = _by_diffrax(case, p, limit, config.tolerance, diffrax.Tsit5(), **mode, **choices)
            return found.ys[-1].sum() if case.gradient else found.ys[-1], found.result == diffrax.RESULTS.successful

        value, succeeded = (jax.grad(end, has_aux=True) if case.gradient else end)(case.p)
        return value, "" if succeeded else "result"

    return solve


def _odeint(case, config):
    from jax.experimental.ode import odeint

    if case.steps:
        return None

    def end(p):
        limits = {"rtol": config.tolerance, "atol": config.tolerance, "mxstep": case.limit or config.max_steps}
        return odeint(
            lambda y, t, p: case.field(t, y, p), jnp.array(case.start), jnp.array([0.0, case.end]), p, **limits
        )[-1]

    return jax.grad(lambda p: end(p).sum())(case.p) if case.gradient else end(case.p), ""


def _scipy(name):
    """SciPy's solvers; ``solve_ivp`` by RK45, which takes no limit on steps."""

    def solve(case, config):
        from scipy import integrate

        if case.gradient or case.steps or (name == "solve_ivp" and case.limit):
            return None
        compiled = jax.jit(case.field)
        field = lambda t, y: np.asarray(compiled(t, y, case.p))
        tolerances = {"rtol": config.tolerance, "atol": config.tolerance}
        if name == "solve_ivp":
            found = integrate.solve_ivp(field, (0.0, case.end), case.start, **tolerances)
            return found.y[:, -1], "" if found.success else "success=False"
        limits = {"mxstep": case.limit or config.max_steps, "tfirst": True}
        return integrate.odeint(field, case.start, [0.0, case.end], **tolerances, **limits)[-1], ""

    return solve


LIBRARIES = {
    "jaxcalc": _jaxcalc(),
    "jaxcalc\nbacksolve": lambda case, config: _jaxcalc(adjoint="backsolve")(case, config) if case.gradient else None,
    "diffrax": _diffrax(),
    "diffrax\nthrow=False": _diffrax(throw=False),
    "diffrax\nbacksolve": _diffrax("backsolve"),
    "jax odeint": _odeint,
    "scipy\nsolve_ivp": _scipy("solve_ivp"),
    "scipy\nodeint": _scipy("odeint"),
}


# What diffrax says of a solve that failed.
_FAILURES = ("maximum number of solver steps was reached", "minimum step size was reached")


def _answered(solve, case, config):
    """The answer and what was told of it; ``None`` where there is no such thing."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            found = jax.block_until_ready(solve(case, config))
        except (RuntimeError, ValueError) as error:  # which of them depends on where in JAX it surfaces
            if not any(words in str(error) for words in _FAILURES):
                raise
            return np.nan, "error"
    if found is None:
        return None
    value, word = found
    return np.asarray(value, float), word or ("warning" if heard else "")


def run(config, key):
    known = _cases()
    cases = {name: known[name] for name in config.cases}
    shape = len(cases), len(LIBRARIES)
    error, flags, words = np.full(shape, np.nan), np.zeros((4, *shape), bool), np.full(shape, "", dtype="U16")
    for i, case in enumerate(cases.values()):
        answer = np.asarray(case.answer())
        for j, solve in enumerate(LIBRARIES.values()):
            found = _answered(solve, case, config)
            if found is None:
                continue
            value, words[i, j] = found
            with np.errstate(over="ignore"):
                error[i, j] = np.max(abs(value - answer)) / np.max(abs(answer))
            flags[:, i, j] = np.isfinite(value).all(), error[i, j] <= config.wrong, words[i, j] != "", True
    names = ("finite", "right", "told", "applies")
    axes = {"case": np.array(list(cases)), "library": np.array(list(LIBRARIES))}
    return {**axes, "error": error, **dict(zip(names, flags, strict=True)), "word": words}


def _silent(data):
    """1 where an answer is finite, wrong, and nothing tells so."""
    return 1.0 * data.applies * data.finite * (1 - 1.0 * data.right) * (1 - 1.0 * data.told)


_COLORS = {"right": "#BFE3D5", "told": "#CFE3F3", "NaN": "#F3DFA8", "silent": "#D55E00", "": "#F2F2F2"}


def _said(cell):
    """A cell's colour and text."""
    if not cell.applies:
        return "", "–"
    size = f"error {float(cell.error):.0e}" if np.isfinite(cell.error) else "no solution"
    word = str(cell.word.values)
    if cell.right:
        return "right", f"right\n{word}" if word else "right"
    if not cell.finite:
        return ("told", word) if cell.told else ("NaN", "NaN")
    return ("told", f"{word}\n{size}") if cell.told else ("silent", f"silent\n{size}")


def figures(dataset):
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    data = dataset.transpose("case", "library").isel(case=slice(None, None, -1))  # the first row is drawn at the foot
    said = [
        [_said(data.isel(case=i, library=j)) for j in range(data.sizes["library"])] for i in range(data.sizes["case"])
    ]
    figure, panel = style.subplots(width="page", height=0.7 + 0.33 * data.sizes["case"])
    faces = [[to_rgb(_COLORS[color]) for color, _ in row] for row in said]
    style.cells(panel, data.word.copy(data=np.array([[text for _, text in row] for row in said])), faces, fontsize=6)
    panel.xaxis.tick_top()
    names = {
        "right": "right",
        "told": "wrong or none, and told",
        "NaN": "NaN, not told",
        "silent": "finite, wrong, not told",
    }
    handles = [Patch(color=_COLORS[color], label=label) for color, label in names.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    figure.set_label(
        "What comes back from solves that fail, and what tells so. Where there is no solution every number is wrong; "
        "dashes: the library does no such thing. result, success, status: a field that the caller has to read."
    )
    return {"failures": figure}


def tables(dataset):
    count = lambda flags: (flags * dataset.applies).sum("case")
    counts = {
        "cases": count(1),
        "right": count(dataset.right),
        "told": count(dataset.told),
        "NaN, not told": count(~dataset.finite & ~dataset.told),
        "silently wrong": _silent(dataset).sum("case"),
    }
    names = dataset.library.values.tolist()
    return {
        "Failures by library": [
            {"library": name.replace("\n", ", "), **{word: int(n[j]) for word, n in counts.items()}}
            for j, name in enumerate(names)
        ]
    }


def _aloud(dataset):
    silent = _silent(dataset)
    ours, named = silent.sel(library="jaxcalc"), silent.sel(library="jaxcalc\nbacksolve")
    limits = ours.case.isin(_OUR_LIMITS)
    wrong = [str(case) for case in ours.case.values[limits.values & (ours.values == 1)]]
    wrong += [f"{case} by backsolve" for case in named.case.values[named.values == 1]]
    return Finding(
        equal(ours[~limits], 0),
        limits=above(ours[limits].sum(skipna=False) + named.sum(skipna=False), 1),
        measured=f"silent in {int(ours[~limits].sum())} of {int((~limits).sum())}; beyond: {', '.join(wrong)}",
    )


def _stays_silent(library, cases, factor):
    """The library's answers to these cases have errors above the factor, and nothing tells so."""

    def judge(dataset):
        data = dataset.sel(library=library, case=list(cases))
        errors = ", ".join(f"{case}: {float(e):.2g}" for case, e in zip(cases, data.error.values, strict=True))
        return Finding(equal(_silent(data), 1) & above(data.error, factor), measured=errors)

    return judge


def _left_to_read(dataset):
    data = dataset.sel(library=["diffrax\nthrow=False", "scipy\nsolve_ivp"])
    wrong = 1.0 * data.applies * data.finite * (1 - 1.0 * data.right)
    failing = wrong.sel(case=[case for case in data.case.values if str(case) not in _OUR_LIMITS])
    return Finding(
        above(failing.sum("case", skipna=False), 1) & equal(failing * (1 - 1.0 * data.told), 0 * failing),
        measured=", ".join(
            f"{name!s}: {int(n)}".replace("\n", " ") for name, n in zip(data.library.values, failing.sum("case"))
        ),
    )


claims = {
    "flow-fails-aloud": _aloud,
    "odeint-fails-silently": _stays_silent("jax odeint", ("step limit reached", "trial steps NaN, solution not"), 1.0),
    "backsolve-fails-silently": _stays_silent("diffrax\nbacksolve", ("van der Pol, µ = 5: gradient",), 1.0),
    "failed-states-are-left-to-read": _left_to_read,
}
