"""Is the adjoint that ``flow`` chooses the best one: time, memory and error of a training step beside every other?

The gradient of a mean square at the end, or at several times, in starts and arguments, for one start or many of them;
diffrax's own defaults, by hand, beside. Regret is time over that of the fastest adjoint whose gradient is right.
"""

from typing import Any, Literal, get_args

import numpy as np
import pydantic

from experiments._survey import Timed
from experiments.neural_ode_adjoints._fields import FieldName, build
from jaxcalc import measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, between, digits, first, jax, jnp, less

kind = "timed"

RouteName = Literal[
    "auto",
    "discrete",
    "discrete, all",
    "forward",
    "checkpointed",
    "checkpointed, all",
    "backsolve",
    "diffrax by hand",
]
ROUTES = get_args(RouteName)
_WRONG = 1e-3  # of the gradient
_LIMIT = 4096  # steps
_SENSITIVITIES = 64  # beyond which carrying them forward is not tried


class Config(Timed):
    field: FieldName = "Lotka-Volterra"
    """what flows"""
    lanes: int = pydantic.Field(1, ge=1)
    """how many starts"""
    adjoints: tuple[RouteName, ...] = pydantic.Field(ROUTES, min_length=2)
    """what is compared"""
    saved: int = pydantic.Field(1, ge=1)
    """times that the loss looks at, the last one the end"""
    memory_budget: int | None = pydantic.Field(None, ge=1)
    """bytes that a gradient may take beside its inputs and results; of flow's choice each lane has its share"""
    tolerance: float = pydantic.Field(1e-6, gt=0, le=1e-3)
    """of the steps, relative and absolute"""
    repeats: int = pydantic.Field(9, ge=1)
    min_seconds: float = pydantic.Field(5e-3, ge=0)


VARIABLES = {
    "route": Variable(("route",), "", "the adjoint", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time of one gradient"),
    "trace_seconds": Variable(("route",), "s", "time to trace it, prices read"),
    "compile_seconds": Variable(("route",), "s", "time that XLA took to compile it"),
    "temporaries": Variable(("route",), "B", "memory for intermediate results", measured=False),
    "error": Variable(("route",), "", "relative error of the gradient", measured=False),
    "finite": Variable(("route",), "", "whether the gradient came back, and finite", measured=False),
    "applies": Variable(("route",), "", "whether the adjoint is for this field and size", measured=False),
    "budget": Variable((), "B", "memory that a gradient may take", measured=False),
    "steps": Variable((), "", "steps tried, of the lane that takes most", measured=False),
}


def _gradient(solve, lanes):
    """The gradient of the loss in starts and arguments."""

    def loss(starts, args):
        states = jax.vmap(solve, (0, None))(starts, args) if lanes > 1 else solve(starts[0], args)[None]
        return jnp.mean((states - 0.5) ** 2)

    return jax.grad(loss, (0, 1))


def _by_flow(case, times, tolerance, **choices):
    from jaxcalc import flow

    solve = flow(case.field, **{"solver": case.solver, "rtol": tolerance, "atol": tolerance, **choices})
    return lambda start, args: solve(start, times, args)[1:]


def _by_hand(case, times, tolerance):
    """As diffrax's manual has it."""
    import diffrax

    solver = {"tsit5": diffrax.Tsit5, "kvaerno5": diffrax.Kvaerno5}[case.solver]
    return lambda start, args: diffrax.diffeqsolve(
        diffrax.ODETerm(case.field), solver(), times[0], times[-1], None, start, args,
        saveat=diffrax.SaveAt(ts=times[1:]), stepsize_controller=diffrax.PIDController(tolerance, tolerance),
    ).ys  # fmt: skip


def _routes(case, times, tolerance, steps, moving, budget):
    """The solves to be differentiated; what an adjoint is not for is left out."""
    by = lambda **choices: _by_flow(case, times, tolerance, max_steps=_LIMIT, **choices)
    routes = {name: by(adjoint=name) for name in ("discrete", "checkpointed", "backsolve")}
    routes["auto"] = by(adjoint="auto", memory_budget=budget)
    routes["discrete, all"] = by(adjoint="discrete", checkpoints=_LIMIT)
    routes["checkpointed, all"] = by(adjoint="checkpointed", checkpoints=steps)
    routes["diffrax by hand"] = _by_hand(case, times, tolerance)
    if moving <= _SENSITIVITIES:
        routes["forward"] = by(adjoint="forward")
    return routes


def _flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# Of a solve that failed on its way back.
_FAILURES = ("maximum number of solver steps was reached", "minimum step size was reached", "linear solver")


def _tried(program, *arguments):
    """The gradient, or NaN where its backward solve raises."""
    try:
        return _flat(jax.block_until_ready(program(*arguments)))
    except (RuntimeError, ValueError) as error:  # which of them depends on where in JAX it surfaces
        if not any(words in str(error) for words in _FAILURES):
            raise
        return np.nan


def run(config, key):
    from jaxcalc.programs.compiled import executable

    case = build(config.field, key)
    times = jnp.linspace(0.0, case.end, config.saved + 1)
    spread = 1 + 0.1 * jax.random.uniform(key, (config.lanes, *case.start.shape), float).at[0].set(0.0)
    arguments = case.start * spread, case.args
    told = _steps(case, times, config, arguments)
    tight = _gradient(
        _by_flow(case, times, 1e-12, solver="dopri8", adjoint="discrete", max_steps=200_000), config.lanes
    )
    exact = _flat(jax.jit(tight)(*arguments))
    moving = case.start.size + sum(leaf.size for leaf in jax.tree.leaves(case.args))
    share = None if config.memory_budget is None else config.memory_budget // config.lanes
    routes = _routes(case, times, config.tolerance, told, moving, share)
    routes = {name: route for name, route in routes.items() if name in config.adjoints}
    programs = {
        name: executable(_gradient(routes[name], config.lanes), *arguments) for name in ROUTES if name in routes
    }
    gradients = {name: _tried(program, *arguments) for name, program in programs.items()}
    there = {name: bool(np.isfinite(gradient).all()) for name, gradient in gradients.items()}
    timings = measure.interleave(
        {name: lambda program=program: program(*arguments) for name, program in programs.items() if there[name]},
        repeats=config.repeats,
        min_seconds=config.min_seconds,
    )
    column = lambda read: np.array([read(name) if name in programs else np.nan for name in ROUTES], float)
    never = np.full(config.repeats, np.nan)
    return {
        "route": np.array(ROUTES),
        "seconds": np.array([timings[name].samples if name in timings else never for name in ROUTES]),
        "trace_seconds": column(lambda name: programs[name].trace_seconds),
        "compile_seconds": column(lambda name: programs[name].compile_seconds),
        "temporaries": column(lambda name: programs[name].temporaries),
        "error": column(lambda name: np.linalg.norm(gradients[name] - exact) / np.linalg.norm(exact)),
        "finite": np.array([there.get(name, False) for name in ROUTES]),
        "applies": np.array([name in programs for name in ROUTES]),
        "steps": told,
        "budget": np.inf if config.memory_budget is None else float(config.memory_budget),
    }


def _steps(case, times, config, arguments):
    """How many steps the solve takes, of the lane that takes most."""
    from jaxcalc import flow

    solve = flow(
        case.field, solver=case.solver, rtol=config.tolerance, atol=config.tolerance, max_steps=_LIMIT, report=True
    )
    starts, args = arguments
    found = jax.jit(jax.vmap(lambda start: solve(start, times, args)))(starts)
    if not found.reached.all():
        raise ValueError(f"neural_ode_adjoints.choice: {config.field} does not reach its end: {found.explain()}")
    return int(found.num_steps.max())


def _cells(dataset):
    """``{"Lotka-Volterra, 64": its dataset, ...}``"""
    axes = [name for name in ("case", "field", "lanes", "memory_budget") if name in dataset.dims]
    data = first(dataset, *axes, "route", "repeat")
    found = {}
    for places in np.ndindex(*(data.sizes[axis] for axis in axes)):
        one = data.isel(dict(zip(axes, places, strict=True)))
        found[", ".join(str(one[axis].item()) for axis in axes) or "one"] = one
    return found


def _right(cell):
    """1 for each route whose gradient is there and right, 0 for others; NaN where an error is missing."""
    there = cell.finite.values * 1.0
    good = np.where(np.isnan(cell.error.values), np.nan, cell.error.values <= _WRONG)
    return np.where(there == 0, 0.0, np.where(there == 1, good, np.nan))


def _regret(cell):
    """Time of auto over that of the fastest fixed adjoint that is right and fits, by rounds, at least 1; and which."""
    if not float(cell.applies.sel(route="auto")) == 1:
        raise NotJudged("a cell has not run")
    right, medians = _right(cell), cell.seconds.median("repeat", skipna=False)
    if np.isnan(right).any():
        return np.nan, ""
    fits = cell.temporaries.values <= float(cell.budget)
    names = map(str, cell.route.values)
    fixed = [name for name, good, fit in zip(names, right, fits, strict=True) if good and fit and name != "auto"]
    if not fixed:
        return np.inf, "none"
    seconds = medians.sel(route=fixed)
    if not np.isfinite(seconds).all():
        return np.nan, ""
    best = fixed[int(np.argmin(seconds.values))]
    ratio = (cell.seconds.sel(route="auto") / cell.seconds.sel(route=best)).median("repeat", skipna=False)
    return float(np.fmax(ratio, 1.0) if np.isfinite(ratio) else np.nan), best


def _regrets(dataset):
    """Of the cells where some adjoint is right: where none is, there is nothing to regret but the gradient."""
    regrets = {name: _regret(cell) for name, cell in _cells(dataset).items()}
    some = {name: pair for name, pair in regrets.items() if pair[1] != "none"}
    if not some:
        raise NotJudged("no adjoint is right")
    return some


def _said(regrets):
    worst = max(regrets, key=lambda name: regrets[name][0])
    values = np.array([value for value, _ in regrets.values()])
    mean = np.exp(np.log(values).mean())
    far, best = regrets[worst]
    return f"geometric mean {mean:.3f} of {len(values)}, worst {far:.2f} ({worst}, beside {best})"


def _near(dataset):
    regrets = _regrets(dataset)
    values = np.array([value for value, _ in regrets.values()])
    return Finding(below(np.exp(np.log(values).mean()), 1.1), measured=_said(regrets), figure="regret")


def _never_far(dataset):
    regrets = _regrets(dataset)
    return Finding(below([value for value, _ in regrets.values()], 1.5), measured=_said(regrets), figure="regret")


def _is_right(dataset):
    cells = _cells(dataset)
    auto = [cell.sel(route="auto") for cell in cells.values()]
    if not all(float(cell.applies) == 1 for cell in auto):
        raise NotJudged("a cell has not run")
    there, errors = (np.array([float(cell[name]) for cell in auto]) for name in ("finite", "error"))
    # A gradient that did not come back is as wrong as can be.
    errors = np.where(there == 0, np.finfo(float).max, errors)
    wrong = dict.fromkeys(ROUTES, 0)
    for cell in cells.values():
        # Without a reference nothing is right, and that is not for the adjoint to answer for.
        right = np.nan_to_num(_right(cell), nan=1.0)
        for name, good, applies in zip(ROUTES, right, cell.applies.values, strict=True):
            wrong[name] += int(applies and not good)
    said = ", ".join(f"{name} {count}" for name, count in wrong.items())
    return Finding(
        less(errors, _WRONG) & between(there, 0, 1), measured=f"wrong of {len(auto)}: {said}", figure="regret"
    )


def _fits(dataset):
    cells = {name: cell for name, cell in _cells(dataset).items() if np.isfinite(float(cell.budget))}
    if not cells:
        raise NotJudged("no cell has a budget")
    used = {name: float(cell.temporaries.sel(route="auto") / cell.budget) for name, cell in cells.items()}
    worst = max(used, key=lambda name: used[name])
    said = f"{min(used.values()):.2f} to {used[worst]:.2f} of {len(used)} budgets ({worst})"
    return Finding(below(list(used.values()), 1.0), measured=said, figure="regret")


claims = {
    "chosen-adjoint-is-near-the-best": _near,
    "chosen-adjoint-is-never-far-off": _never_far,
    "chosen-adjoint-is-right": _is_right,
    "chosen-adjoint-fits": _fits,
}

_LOOKS = {
    "auto": ("black", "o"),
    "discrete": ("vermilion", "s"),
    "discrete, all": ("vermilion", "D"),
    "forward": ("sky", "P"),
    "checkpointed": ("green", "^"),
    "checkpointed, all": ("green", "v"),
    "backsolve": ("blue", "X"),
    "diffrax by hand": ("grey", "*"),
}


def figures(dataset):
    cells = _cells(dataset)
    figure, panels = style.subplots(1, 3, width="page", height=1.3 + 0.24 * len(cells), sharey=True, squeeze=False)
    for row, cell in enumerate(cells.values()):
        auto = float(cell.seconds.sel(route="auto").median())
        for route, good in zip(ROUTES, _right(cell), strict=True):
            color, marker = _LOOKS[route]
            face = (
                {}
                if good
                else {"markerfacecolor": "none", "markeredgecolor": style.COLORS[color], "markeredgewidth": 1.0}
            )
            look: dict[str, Any] = {"color": style.COLORS[color], "marker": marker, "linestyle": "", **face}
            one = cell.sel(route=route)
            at = row + 0.08 * (ROUTES.index(route) - (len(ROUTES) - 1) / 2)
            for panel, value in zip(panels[0], (one.seconds.median() / auto, one.temporaries, one.error), strict=True):
                panel.plot(float(value), at, **look)
    style.name_rows(panels[0, 0], list(cells))
    labels = "time over auto's", "temporaries (B)", "relative error of the gradient"
    for panel, label in zip(panels[0], labels, strict=True):
        panel.set(xscale="log", xlabel=label)
    shown = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0])
    low, high = panels[0, 0].get_xlim()
    style.ticks(panels[0, 0].xaxis, shown[(shown >= low) & (shown <= high)])
    panels[0, 0].set_xlim(low, high)
    panels[0, 0].axvline(1.0, color="#999999", linewidth=0.7)
    panels[0, 2].axvline(_WRONG, color="#999999", linewidth=0.7)
    looks = {
        route: dict(zip(("color", "marker"), (style.COLORS[c], m), strict=True)) for route, (c, m) in _LOOKS.items()
    }
    handles = [panels[0, 0].plot([], [], linestyle="", label=route, **look)[0] for route, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    figure.set_label(
        "A gradient by each adjoint: time (medians), memory and error; open: wrong by more than the grey line. What "
        "raised an error is left out."
    )
    return {"regret": figure}


def tables(dataset):
    rows = []
    for name, cell in _cells(dataset).items():
        regret, best = _regret(cell)
        seconds = {r: digits(1e3 * cell.seconds.sel(route=r).median()) for r in ROUTES}
        rows.append(
            {
                "field, lanes": name,
                "regret": digits(regret) if np.isfinite(regret) else "",
                "fastest right": best,
                **seconds,
            }
        )
    return {"Milliseconds of a gradient": rows}
