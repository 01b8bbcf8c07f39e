"""What does sparsity buy: few products, and Jacobians inside a memory budget?

Three questions: arrowhead matrices from few products (``arrowhead``), the cheap mode found without being told
(``unequal_shapes``), and a Jacobian whose dense route wants more memory than there is (``budget``). Peers that are not
installed leave NaN.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxcalc import measure, style
from jaxcalc.lab import Finding, Variable, below, eps
from jaxcalc.lab.judge import Judge

Built = tuple[Callable[..., Any], tuple[Any, ...], int]  # function, its arguments, products (-1: not told)


def dense_numpy(value):
    return np.asarray(value.todense() if hasattr(value, "todense") else value, float)


def deviation(value, reference):
    """The largest difference over the largest entry."""
    found, wanted = dense_numpy(value), dense_numpy(reference)
    return float(np.max(np.abs(found.reshape(wanted.shape) - wanted)) / np.max(np.abs(wanted)))


def hold(built, names, config, reference):
    """Programs compiled beforehand, checked against the reference and timed in turns; NaN where a name is missing."""
    from jaxcalc.programs.compiled import executable

    programs = {name: executable(fun, *arguments) for name, (fun, arguments, _) in built.items()}
    calls = {name: functools.partial(program, *built[name][1]) for name, program in programs.items()}
    error = {name: deviation(call(), reference) for name, call in calls.items()}
    timings = measure.interleave(calls, repeats=config.repeats, min_seconds=config.min_seconds)
    never = np.full(config.repeats, np.nan)
    return {
        "route": np.array(names),
        "seconds": np.array([timings[name].samples if name in timings else never for name in names]),
        "products": np.array([built[name][2] if name in built else -1 for name in names], float),
        "footprint": np.array([programs[name].footprint if name in programs else np.nan for name in names], float),
        "error": np.array([error.get(name, np.nan) for name in names]),
        "reads": np.array([config.repeats if name in timings else 0 for name in names]),
    }


CONTEST = {
    "route": Variable(("route",), "", "how the Jacobian is computed", measured=False),
    "seconds": Variable(("route", "repeat"), "s", "run time of one call"),
    "products": Variable(
        ("route",), "", "products with the Jacobian or its transpose; -1 where not told", measured=False
    ),
    "reads": Variable(("route",), "", "readings of a route; 0 of what did not run", measured=False),
    "footprint": Variable(("route",), "B", "compiled memory: temporaries and outputs", measured=False),
    "error": Variable(("route",), "", "largest deviation from jax's jacrev, over the largest entry", measured=False),
}


def planned(fun, arguments, **choices):
    """Our choice, made beforehand."""
    from jaxcalc.transforms import jacobian, plan

    made = plan(jacobian, fun, *arguments, **choices)
    return jacobian(fun, **choices), arguments, made.chosen.passes


def medians(dataset):
    return dataset.seconds.median("repeat", skipna=False)


def agree(routes: Sequence[str]) -> Judge:
    """The error of our routes at every point, within rounding."""

    def judge(dataset):
        error = dataset.error.sel(route=list(routes))
        unit = eps(dataset)
        return Finding(below(error, 1e3 * unit), measured=f"{float(error.max()):.2g}, eps being {unit:.2g}")

    return judge


LOOKS: dict[str, dict[str, Any]] = {
    "jacfwd": {"style": "forward", "linestyle": "--"},
    "jacrev": {"style": "reverse", "linestyle": "--"},
    "forward": {"style": "forward"},
    "reverse": {"style": "reverse"},
    "asdex forward": {"style": "hessian", "color": "purple", "marker": "v"},
    "asdex reverse": {"style": "hessian", "color": "purple", "marker": "^"},
    "sparsejac forward": {"style": "sparsejac", "color": "orange", "marker": "v"},
    "sparsejac reverse": {"style": "sparsejac", "color": "orange", "marker": "^"},
    "auto": {"style": "sparse"},
}


def look_of(route):
    chosen = dict(LOOKS[route.removesuffix(", BCOO")])
    look = style.method(chosen.pop("style"))
    if "color" in chosen:
        chosen["color"] = style.COLORS[chosen["color"]]
    return look | chosen
