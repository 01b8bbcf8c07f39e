"""How fast, how tight and how right are sparsity patterns, beside asdex's and beside numbers?

Stencils, networks, scans, loops, branches, indexing, custom rules, Hessians and CUTEst problems: each pattern is timed,
counted and set against the entries that numbers show. A peer that is not installed leaves NaN.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from experiments import _contest, _cutest
from jaxcalc import measure, scenarios
from jaxcalc.lab import Config as Base
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, digits, equal, first, jax, jnp, over

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_DETECTORS = ("jaxcalc", "asdex")
_CUSTOM = (
    "straight through",
    "clipped gradient",
    "quantised blocks",
    "implicit roots",
    "rounding with its own tangent",
)


class Config(Base):
    function: str = "5-point stencil"
    """a case of jaxcalc.scenarios, 'scan: ring 100' (cascade, oscillators; any carry), 'rounding with
    its own tangent', 'CUTEst NAME' (its objective's Hessian), 'CUTEst NAME equalities' or '... inequalities'"""
    length: int = pydantic.Field(1000, ge=1)
    """steps of the scans"""
    readings: int = pydantic.Field(5, ge=1)
    """times that each detector reads the pattern, in turns, from a function object never seen before"""
    patience: float = pydantic.Field(5.0, gt=0)
    """a detector that took longer at its first reading, in seconds, is not read again"""
    points: int = pydantic.Field(3, ge=1)
    """random points at which entries are told from zero by their numbers"""


kind = "timed"
dtype = "float32"

VARIABLES = {
    "detector": Variable(("detector",), "", "what reads the pattern", measured=False),
    "seconds": Variable(("detector", "reading"), "s", "time of one reading; NaN beyond patience"),
    "nonzeros": Variable(("detector",), "", "entries of the pattern", measured=False),
    "missed": Variable(("detector",), "", "entries that numbers show and the pattern lacks", measured=False),
    "failed": Variable(("detector",), "", "1 where the detector raised", measured=False),
    "reads": Variable(("detector",), "", "readings that were made; 0 of one that is not installed", measured=False),
    "by_numbers": Variable((), "", "entries that differ from zero at one of the random points", measured=False),
    "rows": Variable((), "", "rows of the matrix", measured=False),
    "columns": Variable((), "", "columns of the matrix", measured=False),
}


def _subject(config: Config) -> tuple[Callable[..., Any], Any, bool]:
    """The function of one argument, that argument, and whether its Hessian is asked for."""
    from jaxcalc.scenarios import scans

    kind, _, rest = config.function.partition(" ")
    match kind:
        case "scan:":
            name, _, carry = rest.partition(" ")
            scan = scans.scan(name, carry=int(carry), length=config.length)
            return scan.fun, jnp.asarray(scan.x), False
        case "rounding":
            products = scans.rounded_products()
            return products.fun, jnp.asarray(products.x), False
        case "CUTEst":
            name, _, what = rest.partition(" ")
            problem = _cutest.load(name)
            x = jnp.asarray(problem.y0)
            if not what:
                return lambda y: problem.objective(y, problem.args), x, True
            which = {"equalities": 0, "inequalities": 1}[what]
            return lambda y: problem.constraint(y)[which], x, False
        case _:
            case_ = scenarios.case(config.function)
            instance = case_.build()
            return instance.unary, instance.x, case_.operator != "jacobian"


def _by_numbers(fun: Callable[..., Any], x: Any, second: bool, points: int) -> np.ndarray:
    """Where the derivative differs from zero at one of several random points."""
    from jax.flatten_util import ravel_pytree

    flat, unravel = ravel_pytree(x)
    raveled = lambda v: ravel_pytree(fun(unravel(v)))[0]
    m = jax.eval_shape(raveled, flat).size

    def numbers(mode: Any, v: Any) -> Any:
        return jax.jit(mode(jax.grad(lambda v: raveled(v)[0]) if second else raveled))(v)

    few, many = (jax.jacfwd, jax.jacrev) if second or flat.size <= m else (jax.jacrev, jax.jacfwd)
    random, found = np.random.default_rng(1), np.zeros((flat.size if second else m, flat.size), bool)
    for _ in range(points):
        noise = 0.3 * random.standard_normal(flat.shape) * (1.0 + np.abs(np.asarray(flat)))
        v = flat + noise.astype(flat.dtype)
        try:
            value = numbers(few, v)
        except (TypeError, ValueError):  # a custom_vjp stops forward mode, a while loop reverse mode
            value = numbers(many, v)
        # Where one derivative overflows, forward mode multiplies it with the zeros of other seeds, and NaN spreads.
        found |= np.isfinite(value) & (np.asarray(value) != 0.0)
    return found


def _detectors(second: bool) -> dict[str, Callable[[Callable[..., Any], Any], Any]]:
    """name -> detector, from a function and its argument to a pattern."""
    from jaxcalc.programs.sparsity import hessian_pattern, jacobian_pattern

    def ours(fun: Callable[..., Any], x: Any) -> Any:
        return (hessian_pattern if second else jacobian_pattern)(fun, x)

    found = {"jaxcalc": ours}
    if _contest.installed("asdex"):
        import asdex  # pyright: ignore[reportMissingImports]

        found["asdex"] = lambda fun, x: (asdex.hessian_sparsity if second else asdex.jacobian_sparsity)(fun, x)
    return found


def _entries(pattern: Any) -> np.ndarray:
    return pattern.matrix.toarray() if hasattr(pattern, "matrix") else np.asarray(pattern.todense()) != 0


def run(config: Config, key: Any) -> dict[str, Any]:
    import warnings

    fun, x, second = _subject(config)
    truth = _by_numbers(fun, x, second, config.points)
    seconds = np.full((len(_DETECTORS), config.readings), np.nan)
    nonzeros, missed = (np.full(len(_DETECTORS), np.nan) for _ in range(2))
    failed, reads = np.zeros(len(_DETECTORS)), np.zeros(len(_DETECTORS), int)
    detectors = _detectors(second)
    for name in detectors:
        _detect(detectors[name], lambda v: (v * v).sum(), np.ones(2))  # what is paid once in a process
    for reading in range(config.readings):
        for i, name in enumerate(_DETECTORS):
            late = reading and not seconds[i, 0] <= config.patience
            if name not in detectors or late:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pattern, seconds[i, reading] = _detect(detectors[name], fun, x)
            failed[i], reads[i] = float(pattern is None), reads[i] + 1
            if pattern is not None and not reading:
                found = _entries(pattern)
                nonzeros[i], missed[i] = found.sum(), (truth & ~found).sum()
    return {
        "detector": np.array(_DETECTORS),
        "seconds": seconds,
        "nonzeros": nonzeros,
        "missed": missed,
        "failed": failed,
        "reads": reads,
        "by_numbers": truth.sum(),
        "rows": truth.shape[0],
        "columns": truth.shape[1],
    }


def _detect(detector: Any, fun: Callable[..., Any], x: Any) -> tuple[Any, float]:
    """One reading of a function object that no cache has seen; ``None`` and NaN where the detector raises."""
    try:
        return measure.once(lambda: detector(lambda v: fun(v), x))
    except Exception:  # a peer that cannot read a program is a finding
        return None, float("nan")


def _points(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """One line for each function: medians of time over the readings made, the ratio of times, and the counts."""
    data = first(over(dataset, "function"), "function", "detector", "reading")
    seconds = data.seconds.transpose("function", "detector", "reading").values
    reads = data.reads.transpose("function", "detector").values
    median = [[np.median(row[: int(k)]) if k else np.nan for row, k in zip(*pair)] for pair in zip(seconds, reads)]
    data = data.drop_vars("seconds").assign(median=(("function", "detector"), np.array(median)))
    ours, theirs = (data["median"].sel(detector=name) for name in _DETECTORS)
    return data.assign(ratio=ours / theirs)


def _sound(data: "xarray.Dataset") -> "xarray.Dataset":
    """The functions of which asdex read a pattern that misses nothing."""
    theirs = data.sel(detector="asdex")
    if not (data.sel(detector="jaxcalc").reads.values >= 1).all():
        raise NotJudged("a function was lost")
    read = theirs.reads.values > 0
    failed, missed = theirs.failed.values[read], theirs.missed.values[read]
    if not np.isin(failed, (0, 1)).all() or not np.isfinite(missed[failed == 0]).all():
        raise NotJudged("what asdex read is not known")
    kept = data.isel(function=np.flatnonzero(read)[(failed == 0) & (missed == 0)])
    if not kept.sizes["function"]:
        raise NotJudged("asdex read no pattern that misses nothing")
    return kept


def _named(data: "xarray.Dataset", start: str | tuple[str, ...]) -> "xarray.Dataset":
    return data.isel(function=[i for i, name in enumerate(data.function.values) if str(name).startswith(start)])


def _list(names: Any, most: int = 6) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _misses_nothing(dataset: "xarray.Dataset") -> Finding:
    ours = _points(dataset).sel(detector="jaxcalc")
    wrong = ours.function.values[~((ours.missed.values == 0) & (ours.failed.values == 0))]
    return Finding(
        equal(ours.failed, 0) & equal(ours.missed, 0),
        measured=f"{float(ours.missed.sum()):g} entries of {ours.sizes['function']} functions"
        + (f" ({_list(wrong)})" if wrong.size else ""),
        figure="detection",
    )


def _no_slower(dataset: "xarray.Dataset") -> Finding:
    data = _sound(_points(dataset))
    ratio, worst = data.ratio.values, int(data.ratio.values.argmax())
    mean = float(np.exp(np.log(ratio).mean()))
    return Finding(
        below(mean, 1.0),
        limits=~below(ratio, 1.1),
        measured=f"geometric mean {mean:.3g}, worst {ratio[worst]:.3g} ({data.function.values[worst]}), "
        f"{int((ratio > 1.1).sum())} of {len(ratio)} above 1.1",
        figure="detection",
    )


def _no_looser(dataset: "xarray.Dataset") -> Finding:
    data = _sound(_points(dataset))
    ours, theirs = (data.nonzeros.sel(detector=name).values for name in _DETECTORS)
    names = data.function.values
    return Finding(
        below(ours - np.maximum(theirs, data.by_numbers.values), 0.0),
        measured=f"looser: {_list(names[ours > theirs]) or 'none'}; tighter: {_list(names[ours < theirs]) or 'none'}",
        figure="detection",
    )


def _kind(dataset: "xarray.Dataset", start: str | tuple[str, ...]) -> "xarray.Dataset":
    """The functions whose name begins so, where both detectors read a pattern."""
    data = _named(_points(dataset), start)
    data = data.isel(function=~((data.reads == 0) | (data.failed == 1)).any("detector").values)
    if not data.sizes["function"]:
        raise NotJudged(f"no {start if isinstance(start, str) else 'custom rule'} that both detectors read")
    return data


def _long_scans(dataset: "xarray.Dataset") -> Finding:
    scans = _kind(dataset, "scan:")
    faster = 1.0 / scans.ratio.values
    return Finding(
        above(faster, 10.0) & equal(scans.failed, 0) & above(scans.reads, 1),
        measured=", ".join(f"{str(n)[6:]}: {r:.3g}" for n, r in zip(scans.function.values, faster)),
        figure="detection",
    )


def _custom_rules(dataset: "xarray.Dataset") -> Finding:
    custom = _kind(dataset, _CUSTOM)
    own, theirs = (custom.missed.sel(detector=name).values for name in _DETECTORS)
    return Finding(
        equal(own, 0)
        & above(theirs.max(), 1.0)
        & equal(custom.failed, 0)
        & above(custom.reads, 1)
        & above(custom.by_numbers, 1),
        measured="; ".join(
            f"{name}: {a:.0f} and {b:.0f} of {c:.0f}"
            for name, a, b, c in zip(custom.function.values, own, theirs, custom.by_numbers.values)
        ),
        figure="detection",
    )


def _over_dense(dataset: "xarray.Dataset") -> Finding:
    cutest = _kind(dataset, "CUTEst")
    ours, theirs = (cutest.nonzeros.sel(detector=name).values for name in _DETECTORS)
    exact = cutest.by_numbers.values
    dense = ~(theirs <= exact)
    if not dense.any():
        raise NotJudged("no problem on which asdex is over-dense")
    # Exact or, as counts are whole, at least one fewer.
    off = np.minimum(abs(ours - exact), np.maximum(ours - theirs + 1, 0.0))[dense]
    return Finding(
        equal(off, 0) & equal(cutest.failed, 0) & above(cutest.reads, 1),
        measured="; ".join(
            f"{str(n)[7:]}: {a:.0f}, {b:.0f}, by numbers {c:.0f}"
            for n, a, b, c in zip(cutest.function.values[dense], ours[dense], theirs[dense], exact[dense])
        ),
        figure="detection",
    )


claims = {
    "no-entry-is-missed": _misses_nothing,
    "detection-no-slower-than-asdex": _no_slower,
    "no-looser-than-asdex": _no_looser,
    "long-scans-ten-times-faster": _long_scans,
    "custom-rules-read-as-they-act": _custom_rules,
    "tight-where-a-union-is-over-dense": _over_dense,
}


def figures(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    """Time of ours against asdex's, the verdict on the pattern marked; the entries of both over the numerical count."""
    from jaxcalc import style

    if "function" not in dataset.dims:
        return {}
    data = _points(dataset)
    data = data.isel(function=np.isfinite(data.ratio.values))
    if data.sizes["function"] < 2:
        return {}
    ours, theirs = (data.sel(detector=name) for name in _DETECTORS)
    kinds = {
        "asdex misses entries": (theirs.missed > 0, "vermilion", "X"),
        "ours tighter": ((theirs.missed == 0) & (ours.nonzeros < theirs.nonzeros), "green", "D"),
        "same pattern": ((theirs.missed == 0) & (ours.nonzeros == theirs.nonzeros), "blue", "o"),
        "asdex tighter": ((theirs.missed == 0) & (ours.nonzeros > theirs.nonzeros), "orange", "s"),
    }
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.4)
    for label, (chosen, color, marker) in kinds.items():
        at = chosen.values
        look = {"color": style.COLORS[color], "marker": marker, "linestyle": "", "markersize": 4.5, "alpha": 0.85}
        if at.any():
            left.plot(theirs["median"].values[at], ours["median"].values[at], **look, label=f"{label} ({at.sum()})")
            exact = np.maximum(data.by_numbers.values[at], 1)
            right.plot(theirs.nonzeros.values[at] / exact, ours.nonzeros.values[at] / exact, **look)
    both = np.concatenate([ours["median"].values, theirs["median"].values])
    ends = np.array([both.min() / 1.5, both.max() * 1.5])
    left.plot(ends, ends, **style.THEORY)
    left.plot(ends, ends / 10, **style.THEORY | {"linewidth": 0.6})
    left.annotate("10 times faster", (ends[1], ends[1] / 10), fontsize=6.5, ha="right", va="bottom")
    left.set(
        xscale="log", yscale="log", xlabel="asdex, time (s)", ylabel="jaxcalc, time (s)", title="time of detection"
    )
    left.set_ylim(ours["median"].values.min() / 2, ours["median"].values.max() * 6)
    left.legend(loc="upper left", fontsize=6.5)
    right.set(xscale="symlog", yscale="symlog", title="entries over those that numbers show")
    right.set(xlabel="asdex", ylabel="jaxcalc")
    right.set_xscale("symlog", linthresh=1.0)
    right.set_yscale("symlog", linthresh=1.0)
    top = max(right.get_xlim()[1], right.get_ylim()[1])
    right.plot([0, top], [0, top], **style.THEORY)
    right.set(xlim=(-0.1, top), ylim=(-0.1, top))
    figure.set_label(
        "Detection of the sparsity pattern of varied functions: time, and entries over those that random points show "
        "(1: exact; below 1: entries are missing)."
    )
    return {"detection": figure}


def tables(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    data, rows = _points(dataset) if "function" in dataset.coords else None, []
    for name in data.function.values if data is not None else []:
        point = data.sel(function=name)  # pyright: ignore[reportOptionalMemberAccess]
        ours, theirs = (point.sel(detector=detector) for detector in _DETECTORS)
        rows.append(
            {
                "function": str(name),
                "rows": int(point.rows),
                "columns": int(point.columns),
                "by numbers": int(point.by_numbers),
                "entries": _count(ours.nonzeros),
                "asdex": "failed" if float(theirs.failed) == 1 else _count(theirs.nonzeros),
                "asdex misses": _count(theirs.missed),
                "ms": _contest.in_ms(ours["median"]),
                "asdex ms": _contest.in_ms(theirs["median"]),
                "times faster": digits(1 / point.ratio),
            }
        )
    return {"Patterns: entries and time of detection": rows} if rows else {}


def _count(value: Any) -> int | str:
    return int(value) if np.isfinite(value) else ""
