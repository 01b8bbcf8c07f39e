"""On which programs does each contestant give the right Laplacian?"""

import math
from typing import Literal

import numpy as np
import pydantic

from experiments.laplacian_cost import OURS, contestants_for, first_point
from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, between, equal, jax, jnp, over
from jaxcalc.scenarios.language import FEATURES, feature

kind = "host"
dtype = "float32"

# Where the issue trackers say that peers stop.
_HARD = ("fori_loop", "while_loop", "scan over data", "relu network")
_SHOWN = ("auto", "forward-laplacian", "sparse", "nested", "hessian", "folx dense", "folx sparse", "jet")


class Config(lab.Config):
    program: Literal[FEATURES] = "polynomial"  # pyright: ignore[reportInvalidTypeForm]
    """what is differentiated"""
    size: int = pydantic.Field(6, ge=2)
    """number of inputs"""
    tolerance: float = pydantic.Field(1e-4, gt=0)
    """relative deviation from the trace of jax's Hessian at which an answer still counts as right"""


VARIABLES = {
    "route": Variable(("route",), "", "how the Laplacian is computed", measured=False),
    "present": Variable(("route",), "", "whether the contestant is installed"),
    "outcome": Variable(("route",), "", "1 right, 0 wrong, -1 an exception", measured=False),
    "reason": Variable(("route",), "", "the exception", measured=False),
    "reference": Variable((), "", "trace of jax's Hessian", measured=False),
}


# What became of a contestant: right, wrong without a word, or an exception.
_RIGHT, _WRONG, _RAISED = 1.0, 0.0, -1.0


def run(config, key):
    fun, draw = feature(config.program), np.random.default_rng(1)
    kind = jnp.result_type(float)
    x = jnp.asarray(draw.standard_normal(config.size), kind)
    a = jnp.asarray(draw.standard_normal((config.size, config.size)) / np.sqrt(config.size), kind)
    # By forward mode twice, which every one of these programs has.
    reference = float(jnp.trace(jax.jit(jax.jacfwd(jax.jacfwd(fun)))(x, a)))
    outcome, reasons = np.full(len(_SHOWN), np.nan), []
    # The matrix is closed over: folx looks for zeros only where it knows the numbers.
    contestants = contestants_for(lambda x: fun(x, a), config.size)
    for i, name in enumerate(_SHOWN):
        reasons.append("")
        if name not in contestants:
            continue
        value = math.nan
        for call in (jax.jit(contestants[name]), contestants[name]):  # what cannot be compiled may run plainly
            try:
                value = float(call(x))
            except Exception as error:  # what a contestant raises is what is asked here
                reasons[i] = f"{type(error).__name__}: {error}".splitlines()[0][:120]
            else:
                reasons[i] = ""
                break
        if reasons[i]:
            outcome[i] = _RAISED
            continue
        right = abs(value - reference) <= config.tolerance * max(1.0, abs(reference))
        outcome[i] = _RIGHT if right else _WRONG
    return {
        "route": np.array(_SHOWN),
        "outcome": outcome,
        "present": np.array([name in contestants for name in _SHOWN]),
        "reason": np.array(reasons),
        "reference": reference,
    }


def _outcomes(dataset, routes):
    """What became of some routes by program, and whether each is known."""
    data = first_point(over(dataset, "program"), "program")
    found = data.outcome.sel(route=routes)
    return found, between(found, _RAISED, _RIGHT)


def _every_program(dataset):
    auto, known = _outcomes(dataset, ["auto"])
    wrong = [str(name) for name in auto.program.values[(auto.values != _RIGHT).ravel()]]
    return Finding(
        known & equal(auto, _RIGHT),
        measured=f"right on {auto.size - len(wrong)} of {auto.size}" + "".join(f", not {name}" for name in wrong),
        figure="programs",
    )


def _never_wrong(dataset):
    ours, known = _outcomes(dataset, [name for name in OURS if name in dataset.route.values])
    wrong = (ours == _WRONG).values
    return Finding(known & equal(wrong.sum(), 0), measured=f"{wrong.sum()} of {wrong.size}", figure="programs")


def _where_peers_fail(dataset):
    peers = [p for p in ("folx dense", "jet") if bool(dataset.present.sel(route=p).values.all())]
    hard = [name for name in _HARD if name in over(dataset, "program").program.values]
    if not hard or not peers:
        raise NotJudged("it takes a hard program, and a peer")
    theirs, known = _outcomes(dataset, peers)
    ours, also = _outcomes(dataset, ["auto"])
    theirs, ours = theirs.sel(program=hard), ours.sel(program=hard)
    fails = {p: [n for n in hard if float(theirs.sel(route=p, program=n)) != _RIGHT] for p in peers}
    anyone = [n for n in hard if any(n in failing for failing in fails.values())]
    return Finding(
        known & also & equal(ours, _RIGHT) & equal(len(anyone), len(hard)),
        measured="; ".join(f"{p} fails on {', '.join(failing) or 'none'}" for p, failing in fails.items()),
        figure="programs",
    )


def figures(dataset):
    """Right, wrong or refused: programs down, contestants across."""
    from matplotlib.colors import ListedColormap

    if "program" not in dataset.dims or dataset.sizes["program"] < 2:
        return {}
    data = first_point(dataset, "program").transpose("program", "route", ...)
    colors = ListedColormap([style.COLORS["orange"], style.COLORS["vermilion"], style.COLORS["green"]])
    words = {_RIGHT: "right", _WRONG: "wrong", _RAISED: "raises"}
    figure, panel = style.subplots(width="page", height=0.25 * data.sizes["program"] + 0.9)
    texts = np.vectorize(lambda value: words.get(value, ""))(data.outcome.values)
    style.cells(panel, data.outcome.copy(data=texts), colors((data.outcome.values + 1.5) / 3), fontsize=7)
    panel.invert_yaxis()
    figure.set_label(
        "Which contestants give the trace of the Hessian, on programs with one feature of the language each."
    )
    return {"programs": figure}


def tables(dataset):
    data, rows = first_point(dataset, "program"), []
    for name in data["program"].values if "program" in data.dims else []:
        for route in ("folx dense", "jet", "auto"):
            point = data.sel(program=name, route=route)
            if float(point.outcome) in (_WRONG, _RAISED):
                reason = str(point.reason.item()) or "a wrong value"
                rows.append({"program": str(name), "contestant": route, "what it says": reason})
    return {"What fails": rows} if rows else {}


claims = {
    "works-on-every-program": _every_program,
    "never-a-silent-wrong-laplacian": _never_wrong,
    "works-where-peers-fail": _where_peers_fail,
}
