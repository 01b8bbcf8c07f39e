"""Does a Jacobian stay inside a memory budget that its dense routes exceed thirty times?"""

import functools
from typing import Any, Literal

import numpy as np
import pydantic

from experiments.sparse_derivatives import deviation
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, digits, equal, first, jax, over

kind = "timed"
dtype = "float32"


class Config(lab.Config):
    budget: float = pydantic.Field(256.0, gt=0)
    """memory_budget, in MB"""
    inputs: int = pydantic.Field(1000, ge=1)
    """n; there are twice as many outputs as units along a side"""
    side: int = pydantic.Field(1000, ge=1)
    """the hidden layer is a square of so many units a side"""
    repeats: int = pydantic.Field(1, ge=1)
    """readings of the time"""


VARIABLES = {
    "jacfwd_bytes": Variable((), "B", "compiled memory of jax's jacfwd, not run", measured=False),
    "jacrev_bytes": Variable((), "B", "compiled memory of jax's jacrev, not run", measured=False),
    "predicted_bytes": Variable((), "B", "memory predicted by the plan", measured=False),
    "compiled_bytes": Variable((), "B", "compiled memory of the chosen route", measured=False),
    "grown_bytes": Variable((), "B", "growth of the resident memory at its highest during a call"),
    "seconds": Variable((), "s", "run time of one call"),
    "error": Variable((), "", "relative deviation of the Jacobian times a vector", measured=False),
    "completed": Variable((), "", "0 where no strategy fits", measured=False),
}


def _resident(field: Literal["VmRSS", "VmHWM"]) -> float:
    """Bytes of memory that this process holds, or has held at most; NaN where the system does not tell."""
    from pathlib import Path

    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(field)), float("nan"))


def _growth(call):
    """A call's result, its seconds, and by how many bytes the resident memory grew at its highest during the call.

    The high-water mark is reset first; where that is not possible the growth is NaN, never too small a number.
    """
    import contextlib
    import ctypes
    import gc
    from pathlib import Path

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what compilation left behind must not hide what the call takes
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
    except OSError:
        before = float("nan")
    result, seconds = measure.once(call)
    return result, seconds, _resident("VmHWM") - before


def run(config, key):
    from jaxcalc.programs.compiled import executable
    from jaxcalc.scenarios.hidden import hidden_square
    from jaxcalc.transforms import MemoryBudgetError, jacobian, plan

    scenario = hidden_square(inputs=config.inputs, side=config.side)
    fun, arguments = scenario.fun, scenario.arguments
    limit = int(1e6 * config.budget)
    dense = {mode.__name__: executable(mode(fun), *arguments).footprint for mode in (jax.jacfwd, jax.jacrev)}
    found: dict[str, Any] = {f"{name}_bytes": float(need) for name, need in dense.items()}
    never = float("nan")
    nothing = dict.fromkeys(("predicted_bytes", "compiled_bytes", "grown_bytes", "seconds", "error"), never)
    try:
        made = plan(jacobian, fun, *arguments, memory_budget=limit)
    except MemoryBudgetError:
        return {**found, **nothing, "completed": 0.0}
    assert made.chosen.cost is not None
    program = executable(jacobian(fun, memory_budget=limit), *arguments)
    result, seconds, grown = _growth(functools.partial(program, *arguments))
    timed = [seconds, *(_growth(functools.partial(program, *arguments))[1] for _ in range(config.repeats - 1))]
    direction = np.random.default_rng(1).standard_normal(config.inputs).astype(np.float32)
    pushed = jax.jit(lambda x, v, *rest: jax.jvp(lambda x: fun(x, *rest), (x,), (v,))[1])
    return {
        **found,
        "predicted_bytes": float(made.chosen.cost.peak_bytes),
        "compiled_bytes": float(program.footprint),
        "grown_bytes": grown,
        "seconds": float(np.median(timed)),
        "error": deviation(np.asarray(result) @ direction, pushed(arguments[0], direction, *arguments[1:])),
        "completed": 1.0,
    }


def _budgets(dataset):
    """The points along the budgets."""
    return first(over(dataset, "budget"), "budget", "route", "repeat")


def _in_mb(values):
    return ", ".join(f"{v / 1e6:.4g}" for v in np.atleast_1d(values))


def _inside_budget(dataset):
    data = _budgets(dataset)
    limit, compiled = 1e6 * data["budget"].values, data.compiled_bytes.values
    need = np.minimum(data.jacfwd_bytes.values, data.jacrev_bytes.values).min()
    return Finding(
        equal(data.completed, 1) & below(compiled - limit, 0.0) & above(need, 30 * limit.min()),
        measured=f"{_in_mb(compiled)} MB; the leaner dense route wants {need / 1e6:.4g} MB",
        figure="budget",
    )


def _resident_inside(dataset):
    data = _budgets(dataset)
    limit, grown = 1e6 * data["budget"].values, data.grown_bytes.values
    large = limit >= 256e6  # below, the few MB that XLA's threads and code take are no longer small
    if not large.any():
        raise NotJudged("it takes a budget of 256 MB or more")
    return Finding(
        equal(data.completed.values[large], 1) & below((grown - limit)[large], 0.0),
        measured=f"{_in_mb(grown[large])} MB",
        figure="budget",
        note=f"At every budget: {_in_mb(grown)} MB.",
    )


def figures(dataset):
    data = _budgets(dataset)
    if data.sizes["budget"] < 2:
        return {}
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9)
    limit = data["budget"].values.astype(float)
    left.plot(limit, limit, **style.THEORY, label="the budget")
    for field, label, color, marker in (
        ("predicted_bytes", "predicted", "orange", "D"),
        ("compiled_bytes", "compiled: temporaries and outputs", "blue", "o"),
        ("grown_bytes", "measured: resident memory", "green", "^"),
    ):
        left.plot(limit, data[field].values / 1e6, color=style.COLORS[color], marker=marker, label=label)
    for field, label, name in (("jacfwd_bytes", "jacfwd", "forward"), ("jacrev_bytes", "jacrev", "reverse")):
        left.axhline(
            float(data[field].max()) / 1e6, color=style.method(name)["color"], linestyle=":", label=f"{label} wants"
        )
    left.set(xscale="log", yscale="log", xlabel="memory budget (MB)", ylabel="memory (MB)")
    left.legend(fontsize=6)
    right.plot(limit, data.seconds.values, **style.method("forward", label="chosen route"))
    right.set(xscale="log", xlabel="memory budget (MB)", ylabel="time (s)")
    right.set_ylim(0, 1.2 * float(np.nanmax(data.seconds.values)))
    for panel in (left, right):
        style.ticks(panel.xaxis, limit)
    figure.set_label(
        "A Jacobian with a large hidden layer under memory budgets: the memory that it takes, and the time."
    )
    return {"budget": figure}


def tables(dataset):
    data, rows = _budgets(dataset), []
    fields = ("predicted_bytes", "compiled_bytes", "grown_bytes", "jacfwd_bytes", "jacrev_bytes")
    for value in data["budget"].values:
        point = data.sel(budget=value)
        row = {"budget, MB": float(value)}
        row |= {f"{f.removesuffix('_bytes')}, MB": digits(point[f] / 1e6, 4) for f in fields}
        rows.append(row | {"s": digits(point.seconds)})
    return {"Memory of a Jacobian under budgets": rows}


claims = {
    "compiled-memory-inside-every-budget": _inside_budget,
    "measured-memory-inside-256-MB": _resident_inside,
    "budgeted-jacobian-is-right": lambda dataset: below(_budgets(dataset).error, 1e-4),
}
