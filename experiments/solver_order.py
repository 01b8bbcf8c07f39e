"""Does every solver of flows have its order, and what does an error cost in evaluations of the field?

Three fields with closed-form solutions: one that contracts, one that turns, and one that depends on time. Symplectic
solvers, which are for separable pairs, take the one that turns.
"""

import itertools
from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, close, first, jax, jnp, less, over

kind = "compiled"
PROBLEMS = ("cubic relaxation", "circular orbit", "driven growth")
_END = 6.0
_CLEAR = 2e-13  # errors from which on rounding, or the tolerance of implicit equations, is not seen
_QUARTERS = 4  # of the interval, at whose ends errors are taken
_FITTED = 3  # step counts that an order is read from
_COLORS = {1: "blue", 2: "vermilion", 3: "green", 4: "purple", 5: "orange", 8: "black"}


class Config(lab.Config):
    """A solver with equal steps, at many step counts."""

    solver: Literal[
        "euler",
        "heun",
        "midpoint",
        "bosh3",
        "rk4",
        "tsit5",
        "dopri5",
        "dopri8",
        "implicit_euler",
        "kvaerno3",
        "kvaerno4",
        "kvaerno5",
        "symplectic_euler",
        "leapfrog",
        "yoshida4",
    ] = "rk4"
    """the method"""
    steps: tuple[int, ...] = pydantic.Field(
        default=(4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048), min_length=2
    )
    """equal steps over the interval, rising multiples of 4"""

    @pydantic.model_validator(mode="after")
    def _rising(self):
        rising = all(a < b for a, b in itertools.pairwise((0, *self.steps)))
        if not rising or any(count % _QUARTERS for count in self.steps):
            raise ValueError(f"steps must be rising multiples of {_QUARTERS}, got {self.steps}")
        return self


VARIABLES = {
    "problem": Variable(("problem",), "", "the field"),
    "step_count": Variable(("step_count",), "", "equal steps"),
    "error": Variable(
        ("problem", "step_count"), "", "largest error of a component at quarters; NaN where the solver is not for it"
    ),
    "evaluations": Variable(("step_count",), "", "evaluations of the field; NaN of implicit methods"),
    "order": Variable((), "", "order in theory"),
    "implicit": Variable((), "", "whether a step solves equations"),
    "symplectic": Variable((), "", "whether it is for separable pairs alone"),
}


def shared(config):
    """Names and step counts."""
    return {"problem": np.array(PROBLEMS), "step_count": np.array(config.steps)}


def _fields(symplectic):
    """``(field, solutions)``, the three problems side by side in one state; solutions take times.

    Of a symplectic solver the one that is a pair: its places, and its speeds.
    """
    from jaxcalc.functions import fields

    if symplectic:

        def turning(t, pair, _):
            rates = fields.kepler(t, jnp.concatenate(pair))
            return rates[:2], rates[2:]

        return turning, lambda t: tuple(jnp.split(fields.circular_orbit(t), 2, axis=-1))

    contraction = jnp.array([0.5, 0.5])

    def field(t, state, _):
        relaxing, turning, driven = state
        return (
            fields.cubic_relaxation(t, relaxing, contraction),
            fields.kepler(t, turning),
            fields.driven_growth(t, driven),
        )

    def solutions(t):
        return (
            fields.cubic_relaxation_solution(t, 1.0, contraction)[..., None],
            fields.circular_orbit(t),
            fields.driven_growth_solution(t, 1.0)[..., None],
        )

    return field, solutions


def run(config, key):
    """The errors at all step counts, by one program: past the end its steps have no length."""
    from jaxcalc.transforms.flow import flow
    from jaxcalc.transforms.flow_solvers import SOLVERS

    method = SOLVERS[config.solver]
    field, solutions = _fields(method.symplectic)
    exact = solutions(_END * jnp.arange(_QUARTERS + 1) / _QUARTERS)
    solve = flow(field, solver=config.solver, num_steps=1, rtol=1e-15, atol=1e-15)

    def errors(count):
        times = _END * jnp.minimum(jnp.arange(config.steps[-1] + 1) / count, 1.0)
        paths = solve(jax.tree.map(lambda path: path[0], exact), times)
        # At several times: at one alone the error may pass through 0, which would look like a higher order.
        seen = jnp.arange(_QUARTERS + 1) * (count // _QUARTERS)
        worst = [jnp.max(jnp.abs(path[seen] - right)) for path, right in zip(paths, exact, strict=True)]
        return jnp.stack([jnp.nan, jnp.maximum(*worst), jnp.nan] if method.symplectic else worst)

    counts = jnp.asarray(config.steps)
    spent = counts * (method.evaluations - method.reuses) + method.reuses
    return {
        # One after the other: lanes would all go through the longest one's steps.
        "error": jax.lax.map(errors, counts).T,
        "evaluations": jnp.full(counts.shape, jnp.nan) if method.implicit else spent * 1.0,
        "order": jnp.asarray(float(method.order)),
        "implicit": jnp.asarray(method.implicit),
        "symplectic": jnp.asarray(method.symplectic),
    }


def _by_solver(dataset):
    return first(over(dataset, "solver"), "solver", "problem", "step_count")


def _orders(data):
    """The measured order of each solver on each problem; NaN where too few errors are clear of rounding."""

    def fitted(error):
        clear = np.flatnonzero(error > _CLEAR)[-_FITTED:]
        # Steps that are too long for the method may overflow, or have no solution; finer ones must not.
        if len(clear) < _FITTED or not np.isfinite(error[clear[0] :]).all():
            return np.nan
        return -np.polyfit(np.log(data.step_count.values[clear]), np.log(error[clear]), 1)[0]

    error = data.error.transpose("solver", "problem", "step_count")
    orders = np.array([[fitted(one) for one in row] for row in error.values])
    return error.isel(step_count=0, drop=True).copy(data=orders)


def _looks(data):
    """A colour for each order, a marker for each method of it, open where it is implicit."""
    looks, seen = {}, {}
    for name, order, implicit in zip(data.solver.values, data.order.values, data.implicit.values, strict=True):
        seen[order] = seen.get(order, -1) + 1
        color = style.COLORS[_COLORS[int(order)]]
        face = {"markerfacecolor": "white", "markeredgecolor": color, "markeredgewidth": 1.0} if implicit else {}
        shape = {"marker": "os^Dv"[seen[order]], "linestyle": ":" if implicit else "-"}
        looks[str(name)] = {"color": color, **shape, **face, "label": str(name).replace("_", " "), "markersize": 3.2}
    return looks


def figures(dataset):
    """Error against steps and against evaluations on one field, and orders on all."""
    data = _by_solver(dataset)
    looks = _looks(data)
    figure, (left, middle, right) = style.subplots(1, 3, width="page", height=3.4)
    error = data.error.isel(problem=1)
    for name, look in looks.items():
        line = error.sel(solver=name)
        seen = line.where(line > 1e-15)
        left.loglog(data.step_count, seen, **look, linewidth=0.9)
        spent = data.evaluations.sel(solver=name)
        if np.isfinite(spent).all():
            middle.loglog(spent, seen, **look, linewidth=0.9)
    left.set(xlabel="steps", ylabel=f"error, {PROBLEMS[1]}")
    middle.set(xlabel="evaluations of the field", ylabel=f"error, {PROBLEMS[1]}")
    for ax in (left, middle):
        ax.set_ylim(1e-15, 10)
        ax.axhline(_CLEAR, color="#999999", linewidth=0.7)
    _draw_orders(right, data, looks)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=6)
    figure.set_label(
        "(a) Largest error at four times against equal steps; grey: above it orders are read. (b) The same against "
        "evaluations of the field, explicit methods. (c) Orders over the finest three step counts above that line, "
        "on three fields; grey bars: theory. Open and dotted: implicit."
    )
    return {"orders": figure}


def _draw_orders(ax, data, looks):
    orders, places = _orders(data), np.arange(data.sizes["solver"])
    ax.barh(places, data.order, height=0.62, color="#DDDDDD", zorder=1)
    for problem, marker in zip(PROBLEMS, "osD", strict=True):
        colors = [look["color"] for look in looks.values()]
        ax.scatter(orders.sel(problem=problem), places, c=colors, marker=marker, s=13, zorder=3, linewidths=0)
        ax.plot([], [], marker, color="#555555", markersize=3.4, label=problem)
    ax.set_yticks(places, [look["label"] for look in looks.values()])
    ax.invert_yaxis()
    ax.set(xlabel="order", xticks=range(0, 11, 2), xlim=(0, 10.8))
    ax.legend(loc="upper right", fontsize=6.5, handletextpad=0.2, borderaxespad=0)


def tables(dataset):
    """Orders in theory and measured."""
    data = _by_solver(dataset)
    orders = _orders(data)
    columns = {"order": data.order, **{problem: orders.sel(problem=problem) for problem in PROBLEMS}}
    return {"Measured orders": lab.rows("solver", columns)}


def _reached(dataset):
    from jaxcalc.transforms.flow_solvers import SOLVERS

    data = _by_solver(dataset)
    missing = sorted(set(SOLVERS) - set(data.solver.values.tolist()))
    if missing or data.error.dtype != np.float64:
        raise NotJudged(f"it takes every solver in double precision; missing: {', '.join(missing) or 'none'}")
    orders = _orders(data)
    # Of symplectic solvers, which are not for the others, that of the field that turns.
    least = orders.min("problem", skipna=False).where(data.symplectic == 0, orders.isel(problem=1, drop=True))
    off = least - data.order
    worst = int(np.argmax(abs(off.values)))
    return Finding(
        close(least, data.order.values),
        measured=f"furthest off {data.solver.values[worst]}, {float(least[worst]):.2f} of {float(data.order[worst]):g}",
        figure="orders",
    )


def _cheapest(data, error):
    """Evaluations that each explicit solver takes to an error on the circular orbit."""
    spent = {}
    for name in data.solver.values[data.implicit.values == 0]:
        one = data.sel(solver=name)
        measured, counts = one.error.isel(problem=1).values, one.evaluations.values
        if not np.isfinite(measured[-1]):
            raise NotJudged(f"the error of {name} by its finest steps is not finite")
        met = np.flatnonzero(measured <= error)
        # The first step count that meets it; where none does, by the method's order from the finest one.
        beyond = counts[-1] * (measured[-1] / error) ** (1 / float(one.order))
        spent[str(name)] = float(counts[met[0]]) if len(met) else float(beyond)
    return spent


def _pays(dataset):
    data = _by_solver(dataset)
    if not {"euler", "rk4", "dopri8"} <= set(data.solver.values.tolist()):
        raise NotJudged("it takes euler, rk4 and dopri8")
    spent = _cheapest(data, 1e-10)
    return Finding(
        less([spent["dopri8"], spent["rk4"]], [spent["rk4"], spent["euler"]]),
        measured=", ".join(f"{name} {spent[name]:.3g}" for name in ("euler", "rk4", "dopri8")),
        figure="orders",
    )


claims = {"solvers-reach-their-orders": _reached, "higher-order-pays-at-small-errors": _pays}
