"""Which solver solves which CUTEst problem, how fast, and which claim what is not so?

Every solver runs on every problem from the problem's own start. The point that it returns is judged from outside, by
our own evaluation there: *solved* if the value is within 1e-6 max(1, |f*|) of the lowest that any solver reached (f*),
or if a problem that is unbounded below is reported so; *stationary* if the projected gradient's largest entry is at
most 1e-6 max(1, |f|); a *false success* is claimed and neither. Beyond ``limit`` seconds of run time nothing counts.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from experiments import _cutest
from jaxcalc.lab import Claim, Variable
from jaxcalc.lab import Config as Base

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

SOLVERS = (*_cutest.OURS, *_cutest.PEERS)
FAR = -1e20
"""A value below counts as unbounded."""


class Config(Base):
    problem: str = "AKIVA"
    """a problem of sif2jax, unconstrained or with bounds"""
    solvers: tuple[str, ...] = SOLVERS
    """those that run; see _cutest.OURS and PEERS"""
    limit: float = pydantic.Field(60.0, gt=0)
    """seconds of run time that a solver has"""
    compile_limit: float = pydantic.Field(120.0, gt=0)
    """seconds that it has before its run"""


kind = "host"

VARIABLES = {
    "solver": Variable(("solver",), "", "solver"),
    "value": Variable(("solver",), "", "objective at the returned point; NaN without one, or outside the bounds"),
    "stationarity": Variable(("solver",), "", "largest entry of the projected gradient there"),
    "claimed": Variable(("solver",), "", "1 where the solver calls it a success"),
    "unbounded": Variable(("solver",), "", "1 where it calls the problem unbounded below"),
    "evaluations": Variable(("solver",), "", "values, gradients and products; a dense Hessian counts as n products"),
    "seconds": Variable(("solver",), "s", "run time, the least of up to three runs", measured=True),
    "compile_seconds": Variable(("solver",), "s", "time before the run", measured=True),
    "words": Variable(("solver",), "", "how it ended"),
    "suited": Variable(("solver",), "", "1 where the solver is for problems of that size and kind"),
    "variables": Variable((), "", "n, the number of variables"),
    "boxed": Variable((), "", "1 where the problem has bounds"),
}


def run(config: Config, key: Any) -> dict[str, Any]:
    """Every solver on one problem, in a process of its own."""
    unknown = [name for name in config.solvers if name not in SOLVERS]
    if unknown:
        raise ValueError(f"cutest: unknown solver {unknown[0]!r}; it is one of: {', '.join(SOLVERS)}.")
    case = _cutest.case(config.problem)
    size, boxed = case.start.size, case.lower is not None
    suited = tuple(name for name in config.solvers if _cutest.suited(name, size, boxed))
    records = {r["solver"]: r for r in _cutest.supervise(config.problem, suited, config.limit, config.compile_limit)}
    column = lambda name, empty: np.array([records.get(solver, {}).get(name, empty) for solver in config.solvers])
    numbers = ("value", "stationarity", "evaluations", "seconds", "compile_seconds")
    return {
        "solver": np.array(config.solvers),
        **{name: column(name, np.nan).astype(float) for name in numbers},
        **{name: column(name, False).astype(float) for name in ("claimed", "unbounded")},
        "words": column("words", "not suited"),
        "suited": np.array([float(name in suited) for name in config.solvers]),
        "variables": float(size),
        "boxed": float(boxed),
    }


def judged(dataset: "xarray.Dataset", limit: float = 60.0) -> "xarray.Dataset":
    """The data with a verdict on each run: ``solved``, ``stationary``, ``good`` (either), ``false_success``."""
    data = dataset.transpose("problem", "solver", ...)
    value = data["value"].values
    in_time = data["seconds"].values <= limit
    best = np.min(np.where(np.isfinite(value), value, np.inf), axis=1, keepdims=True)
    unbounded = best < FAR
    scale = np.maximum(1.0, np.abs(np.where(np.isfinite(best), best, 1.0)))
    solved = np.where(unbounded, (data["unbounded"].values > 0) & (value < FAR), value <= best + 1e-6 * scale)
    stationary = data["stationarity"].values <= _cutest.TOLERANCE * np.maximum(1.0, np.abs(value))
    solved, stationary = solved & in_time & np.isfinite(value), stationary & in_time & ~unbounded
    good = solved | stationary
    false = (
        (data["claimed"].values > 0) & ~solved & ~(data["stationarity"].values <= 1e-6 * np.maximum(1, np.abs(value)))
    )
    both = ("problem", "solver")
    return data.assign(
        solved=(both, solved), stationary=(both, stationary), good=(both, good), false_success=(both, false)
    )


def _scored(dataset: "xarray.Dataset") -> "xarray.Dataset | None":
    if "problem" not in dataset.dims or dataset.sizes["problem"] < 2:
        return None
    return judged(dataset)


def figures(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    """Performance profiles by evaluations and by seconds, and the false successes beside them."""
    from jaxcalc import style
    from jaxcalc.solvers import performance_profile

    data = _scored(dataset)
    if data is None:
        return {}
    ran = [name for name in data.solver.values if float(data.suited.sel(solver=name).sum()) > 0]
    data = data.sel(solver=ran)
    figure, panels = style.subplots(1, 3, width="page", height=3.2, gridspec_kw={"width_ratios": [3, 3, 2]})
    good = data["good"].values.astype(bool)
    for panel, name, title in zip(panels, ("evaluations", "seconds"), ("evaluations", "run time")):
        ratios = np.logspace(0, 3, 200)
        shares = performance_profile(np.where(good, data[name].values, np.inf), ratios)
        for solver, look, share in zip(ran, style.looks(ran), shares.T):
            ours = solver.startswith("jaxcalc")
            panel.step(ratios, share, where="post", color=look["color"], lw=1.6 if ours else 0.9,
                       ls="-" if ours else "--", label=solver)  # fmt: skip
        panel.set(xscale="log", ylim=(0, 1.02), xlim=(1, ratios[-1]))
        panel.set(xlabel=f"{title} over the least of any solver", ylabel="share of problems")
        panel.set_title(f"profile by {title}")
    places = np.arange(len(ran))
    panels[2].barh(
        places, data["false_success"].sum("problem").values, color=[look["color"] for look in style.looks(ran)]
    )
    panels[2].set_yticks(places, ran)
    panels[2].invert_yaxis()
    panels[2].tick_params(axis="y", labelsize=6)
    most = float(data["false_success"].sum("problem").max())
    panels[2].set(xlabel="claims that do not hold", title="false successes", xlim=(0, max(1.0, 1.05 * most)))
    panels[2].xaxis.get_major_locator().set_params(integer=True)
    panels[0].legend(fontsize=5.5, loc="lower right")
    style.panel_labels(panels)
    figure.set_label(
        "Performance profiles (Dolan and More): the share of problems that a solver ends well within a factor of the "
        "least evaluations, or run time, of any; solid: jaxcalc, dashed: peers. Right: successes claimed that are "
        f"none. Methods that hold an n by n matrix of their own choice run up to n = {_cutest.DENSE:,} alone."
    )
    return {"profiles": figure}


def tables(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    """End points per solver, and what is left unsolved."""
    data = _scored(dataset)
    if data is None:
        return {}
    rows = []
    for name in data.solver.values:
        mine = data.sel(solver=name)
        tried = int(mine["suited"].sum())
        good = mine["good"].values.astype(bool)
        if tried:
            rows.append(
                {
                    "solver": str(name),
                    "problems": tried,
                    "solved": int(mine["solved"].sum()),
                    "stationary": int(mine["stationary"].sum()),
                    "either": int(good.sum()),
                    "claimed": int(mine["claimed"].sum()),
                    "false successes": int(mine["false_success"].sum()),
                    "median evaluations": _median(mine["evaluations"].values[good]),
                    "median ms": _median(1e3 * mine["seconds"].values[good]),
                    "median compile s": _median(mine["compile_seconds"].values[good]),
                }
            )
    lead = data.sel(solver=data.solver.values[0])
    left = [
        {
            "problem": str(name),
            "n": int(point["variables"]),
            "value": float(f"{float(point['value']):.6g}"),
            "lowest": float(f"{float(data['value'].sel(problem=name).min()):.6g}"),
            "stationarity": float(f"{float(point['stationarity']):.2g}"),
            "how it ended": str(point["words"].values),
        }
        for name, point in ((name, lead.sel(problem=name)) for name in data.problem.values)
        if not bool(point["good"])
    ]
    return {"Solvers": rows, f"Not ended well by {data.solver.values[0]}": left}


def _median(values: np.ndarray) -> float:
    return float(f"{np.median(values):.3g}") if values.size else float("nan")


def claims(dataset: "xarray.Dataset") -> list[Claim]:
    """What the first solver promises, against the data."""
    data = _scored(dataset)
    if data is None:
        return []
    lead, rest = str(data.solver.values[0]), [str(name) for name in data.solver.values[1:]]
    small = data.sel(problem=data["variables"].values <= 5000)
    share = float(small["good"].sel(solver=lead).mean())
    counts = {name: int(small["good"].sel(solver=name).sum()) for name in (lead, *rest)}
    peers = [name for name in rest if name in _cutest.PEERS]
    false = int(data["false_success"].sel(solver=lead).sum())
    found = [
        Claim(
            "cutest-share-ended-well",
            f"{lead} solves, or ends stationary on, at least 95 % of the problems with n <= 5000 within the limit.",
            share >= 0.95,
            measured=f"{share:.1%} of {small.sizes['problem']}",
            expected="95 %",
            figure="profiles",
        ),
        Claim(
            "cutest-no-false-success",
            f"{lead} never claims a success that is none.",
            false == 0,
            measured=f"{false} of {int(data['claimed'].sel(solver=lead).sum())} claimed",
            expected=0,
            figure="profiles",
        ),
    ]
    if peers:
        ahead = all(counts[lead] > counts[name] for name in peers)
        found.append(
            Claim(
                "cutest-more-than-any-peer",
                f"{lead} ends more problems well than any peer, or all of them.",
                ahead or counts[lead] == small.sizes["problem"],
                measured=", ".join(f"{name} {count}" for name, count in counts.items() if name in (lead, *peers)),
                figure="profiles",
            )
        )
        ratio, peer = _against_fastest(small, lead, peers)
        found.append(
            Claim(
                "cutest-within-twice-the-fastest-peer",
                f"{lead}'s median run time, over problems that both solve, is within 2 times of the fastest peer's.",
                ratio <= 2.0,
                measured=f"{ratio:.2f} times {peer}",
                expected="<= 2",
                figure="profiles",
            )
        )
    return found


def _against_fastest(data: "xarray.Dataset", lead: str, peers: list[str]) -> tuple[float, str]:
    """Our median over each peer's, on the problems that both solve; the largest ratio."""
    mine = data.sel(solver=lead)
    ratios = []
    for name in peers:
        theirs = data.sel(solver=name)
        both = mine["solved"].values.astype(bool) & theirs["solved"].values.astype(bool)
        if both.any():
            ours, other = (np.median(one["seconds"].values[both]) for one in (mine, theirs))
            ratios.append((float(ours / other), name))
    return max(ratios) if ratios else (float("nan"), "none")
