"""Which solver solves which CUTEst problem, how fast, and which claim what is not so?

Every solver runs on every problem from the problem's own start. The point that it returns is judged from outside, by
our own evaluation there: *solved* if the value is within 1e-6 max(1, |f*|) of the lowest that any solver reached (f*),
or if a problem that is unbounded below is reported so; *stationary* if the projected gradient's largest entry is at
most 1e-6 max(1, |f|); a *false success* is claimed and neither. Beyond ``limit`` seconds of run time nothing counts.
"""

import numpy as np
import pydantic

from experiments import _cutest
from jaxcalc.lab import Config as Base
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, digits, equal, less

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
dtype = "float32"
needs = ("sif2jax",)

VARIABLES = {
    "solver": Variable(("solver",), "", "solver"),
    "returned": Variable(("solver",), "", "1 where it returned a point within the bounds, its value finite"),
    "smooth": Variable(("solver",), "", "1 where the gradient there is finite"),
    "value": Variable(("solver",), "", "objective at the returned point; NaN without one"),
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


def run(config, key):
    """Every solver on one problem, in a process of its own."""
    unknown = [name for name in config.solvers if name not in SOLVERS]
    if unknown:
        raise ValueError(f"cutest: unknown solver {unknown[0]!r}; it is one of: {', '.join(SOLVERS)}.")
    case = _cutest.case(config.problem)
    size, boxed = case.start.size, case.lower is not None
    suited = tuple(name for name in config.solvers if _cutest.suited(name, size, boxed))
    records = {r["solver"]: r for r in _cutest.supervise(config.problem, suited, config.limit, config.compile_limit)}
    column = lambda name, empty: np.array([records.get(solver, {}).get(name, empty) for solver in config.solvers])
    names = ("value", "stationarity", "evaluations", "seconds", "compile_seconds")
    numbers = {name: column(name, np.nan).astype(float) for name in names}
    finite = {name: np.isfinite(numbers[name]) for name in ("value", "stationarity")}
    return {
        "solver": np.array(config.solvers),
        "returned": finite["value"].astype(float),
        "smooth": (finite["value"] & finite["stationarity"]).astype(float),
        **numbers,
        **{name: column(name, False).astype(float) for name in ("claimed", "unbounded")},
        "words": column("words", "not suited"),
        "suited": np.array([float(name in suited) for name in config.solvers]),
        "variables": float(size),
        "boxed": float(boxed),
    }


def judged(dataset):
    """The data with verdicts on each run: ``solved``, ``stationary``, ``good``, ``false_success``.

    ``good`` is either of the first two. Each is 1 or 0, or NaN where a number that it takes is
    missing though its flag says that it was found.
    """
    data = dataset.transpose("problem", "solver", ...)
    told = lambda name: data[name].values.astype(float)
    # Without a point, infinitely high, steep and late; a flag that is NaN leaves NaN.
    found = lambda name, flag: np.where(flag == 0, np.inf, told(name) + 0 * flag)
    returned = told("returned")
    value, seconds = found("value", returned), found("seconds", returned)
    steep = found("stationarity", told("smooth"))
    claimed, unbounded = told("claimed"), told("unbounded")

    best = value.min(axis=1, keepdims=True)
    floorless = best < FAR
    gap = 1e-6 * np.maximum(1.0, np.abs(np.where(np.isfinite(best), best, 1.0)))
    reached = np.where(floorless, (unbounded > 0) & (value < FAR), value <= best + gap)
    reached &= np.isfinite(value)
    size = np.abs(np.where(np.isfinite(value), value, 1.0))
    still = steep <= _cutest.TOLERANCE * np.maximum(1.0, size)
    in_time = seconds <= float(data["limit"])
    solved, stationary = reached & in_time, still & in_time & ~floorless
    # A point that came late is as right or wrong as any.
    false = (claimed > 0) & ~reached & ~still

    unknown = np.isnan(value + steep + seconds + claimed + unbounded + best)
    verdicts = {
        "solved": solved,
        "stationary": stationary,
        "good": solved | stationary,
        "false_success": false,
    }
    flags = {name: np.where(unknown, np.nan, flag) for name, flag in verdicts.items()}
    return data.assign({name: (("problem", "solver"), flag) for name, flag in flags.items()})


def _scored(dataset):
    if "problem" not in dataset.dims or dataset.sizes["problem"] < 2:
        return None
    return judged(dataset)


def figures(dataset):
    """Performance profiles by evaluations and by seconds, and the false successes beside them."""
    from jaxcalc import style
    from jaxcalc.solvers import performance_profile

    data = _scored(dataset)
    if data is None:
        return {}
    ran = [name for name in data.solver.values if float(data.suited.sel(solver=name).sum()) > 0]
    data = data.sel(solver=ran)
    figure, panels = style.subplots(1, 3, width="page", height=3.2, gridspec_kw={"width_ratios": [3, 3, 2]})
    good = data["good"].values == 1
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
    false = data["false_success"].sum("problem").values
    panels[2].barh(ran, false, color=[look["color"] for look in style.looks(ran)])
    panels[2].invert_yaxis()
    panels[2].tick_params(axis="y", labelsize=6)
    panels[2].set(xlabel="claims that do not hold", title="false successes")
    panels[2].set_xlim(0, max(1.0, 1.05 * false.max()))
    panels[2].xaxis.get_major_locator().set_params(integer=True)
    panels[0].legend(fontsize=5.5, loc="lower right")
    figure.set_label(
        "Performance profiles (Dolan and More): the share of problems that a solver ends well within a factor of the "
        "least evaluations, or run time, of any; solid: jaxcalc, dashed: peers. Right: successes claimed that are "
        f"none. Methods that hold an n by n matrix of their own choice run up to n = {_cutest.DENSE:,} alone."
    )
    return {"profiles": figure}


def tables(dataset):
    """End points per solver, and what is left unsolved."""
    data = _scored(dataset)
    if data is None:
        return {}
    counts = {
        "problems": "suited",
        "solved": "solved",
        "stationary": "stationary",
        "either": "good",
        "claimed": "claimed",
        "false successes": "false_success",
    }
    medians = {
        "median evaluations": data.evaluations,
        "median ms": 1e3 * data.seconds,
        "median compile s": data.compile_seconds,
    }
    rows = [
        {"solver": str(name)}
        | {title: int((data[flag].sel(solver=name) == 1).sum()) for title, flag in counts.items()}
        | {title: _median(values.where(data.good == 1).sel(solver=name)) for title, values in medians.items()}
        for name in data.solver.values
        if (data.suited.sel(solver=name) == 1).any()
    ]
    lead = data.sel(solver=data.solver.values[0])
    left = [
        {
            "problem": str(name),
            "n": int(point["variables"]),
            "value": digits(point["value"], 6),
            "lowest": digits(data["value"].sel(problem=name).min(), 6),
            "stationarity": digits(point["stationarity"], 2),
            "how it ended": str(point["words"].values),
        }
        for name, point in ((name, lead.sel(problem=name)) for name in data.problem.values)
        if float(point["good"]) != 1
    ]
    return {"Solvers": rows, f"Not ended well by {data.solver.values[0]}": left}


def _median(values):
    return digits(values.median())


_LEAD = "jaxcalc auto"


def _lead_and_peers(dataset):
    """The problems of up to 5,000 variables, judged, and the peers that ran."""
    data = _of_several(dataset)
    sizes = data["variables"].values
    if not np.isfinite(sizes).all():
        raise NotJudged("a problem whose size is no number")
    peers = [name for name in map(str, data.solver.values) if name in _cutest.PEERS]
    return data.sel(problem=sizes <= 5000), peers


def _of_several(dataset):
    data = _scored(dataset)
    if data is None:
        raise NotJudged("it takes two problems or more")
    return data


def _count(data, name, solver):
    return float(data[name].sel(solver=solver).sum(skipna=False))


def _judge_share(dataset):
    small, _ = _lead_and_peers(dataset)
    share = _count(small, "good", _LEAD) / small.sizes["problem"]
    return Finding(above(share, 0.95), measured=f"{share:.1%} of {small.sizes['problem']}")


def _judge_false(dataset):
    data = _of_several(dataset)
    false, claimed = (_count(data, name, _LEAD) for name in ("false_success", "claimed"))
    if claimed == 0:
        raise NotJudged(f"{_LEAD} claimed no success")
    return Finding(equal(false, 0), measured=f"{false:g} of {claimed:g} claimed")


def _judge_peers(dataset):
    small, peers = _lead_and_peers(dataset)
    counts = {name: _count(small, "good", name) for name in (_LEAD, *peers)}
    lead, *others = counts.values()
    return Finding(
        less(others, lead) | equal(lead, small.sizes["problem"]),
        measured=", ".join(f"{name} {count:g}" for name, count in counts.items()),
    )


def _judge_time(dataset):
    """Our median over each peer's, on the problems that both solve."""
    small, peers = _lead_and_peers(dataset)
    ratios = {}
    for name in peers:
        pair = small.sel(solver=[_LEAD, name])
        both = pair["solved"].prod("solver", skipna=False).values
        # What may be solved is kept, as NaN.
        times = (pair["seconds"] + 0 * pair["solved"]).values[both != 0]
        if times.size:
            ours, theirs = np.median(times, axis=0)
            ratios[name] = ours / theirs
    worst = max(ratios, key=lambda name: ratios[name], default="")
    return Finding(
        below(list(ratios.values()), 2.0),
        measured=f"{ratios[worst]:.2f} times {worst}" if ratios else "",
    )


claims = {
    "cutest-share-ended-well": _judge_share,
    "cutest-no-false-success": _judge_false,
    "cutest-more-than-any-peer": _judge_peers,
    "cutest-within-twice-the-fastest-peer": _judge_time,
}
