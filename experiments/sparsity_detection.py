"""How fast, how tight and how right are sparsity patterns, beside asdex's and beside numbers?

Stencils, networks, scans, loops, branches, indexing, custom rules, Hessians and CUTEst problems: each pattern is timed,
counted and set against the entries that numbers show. A peer that is not installed leaves NaN.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from experiments import _contest, _cutest
from jaxcalc.lab import Claim, Variable
from jaxcalc.lab import Config as Base

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
    """a case of jaxcalc.functions.derivatives, 'scan: ring 100' (cascade, oscillators; any carry), 'rounding with
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

VARIABLES = {
    "detector": Variable(("detector",), "", "what reads the pattern", measured=False),
    "seconds": Variable(("detector", "reading"), "s", "time of one reading; NaN beyond patience"),
    "nonzeros": Variable(("detector",), "", "entries of the pattern", measured=False),
    "missed": Variable(("detector",), "", "entries that numbers show and the pattern lacks", measured=False),
    "failed": Variable(("detector",), "", "1 where the detector raised", measured=False),
    "by_numbers": Variable((), "", "entries that differ from zero at one of the random points", measured=False),
    "rows": Variable((), "", "rows of the matrix", measured=False),
    "columns": Variable((), "", "columns of the matrix", measured=False),
}


def _scan(name: str, carry: int, length: int) -> tuple[Callable[..., Any], Any]:
    """A scan with a carry of that size: neighbours on a ring, a cascade watched at its end, oscillators apart."""
    import jax
    import jax.numpy as jnp

    def ring(c: Any) -> Any:
        return 0.9 * c + 0.1 * jnp.sin(jnp.roll(c, 1)), None

    def cascade(c: Any) -> Any:
        return jnp.append(0.9 * c[:1], 0.9 * c[1:] + 0.1 * jnp.tanh(c[:-1])), c[-1]

    def oscillators(c: Any) -> Any:
        place, speed = jnp.split(c, 2)
        speed = speed - 0.1 * jnp.sin(place)
        return jnp.concatenate([place + 0.1 * speed, speed]), None

    steps = {"ring": ring, "cascade": cascade, "oscillators": oscillators}
    if name not in steps:
        raise ValueError(f"sparsity_detection: unknown scan {name!r}; it is one of: {', '.join(steps)}.")

    def fun(x: Any) -> Any:
        last, seen = jax.lax.scan(lambda c, _: steps[name](c), x, None, length=length)
        return last if seen is None else seen

    return fun, np.random.default_rng(0).standard_normal(carry)


def _rounding() -> tuple[Callable[..., Any], Any]:
    """Products of neighbours, rounded, with the tangent of the identity."""
    import jax
    import jax.numpy as jnp

    @jax.custom_jvp
    def rounded(x: Any) -> Any:
        return jnp.round(x)

    rounded.defjvp(lambda primals, tangents: (rounded(*primals), tangents[0]))
    return lambda x: rounded(x[1:] * x[:-1]), 3.0 * np.random.default_rng(0).standard_normal(100)


def _subject(config: Config) -> tuple[Callable[..., Any], Any, bool]:
    """The function of one argument, that argument, and whether its Hessian is asked for."""
    import jax.numpy as jnp

    from jaxcalc.functions import derivatives

    kind, _, rest = config.function.partition(" ")
    match kind:
        case "scan:":
            name, _, carry = rest.partition(" ")
            fun, x = _scan(name, int(carry), config.length)
            return fun, jnp.asarray(x), False
        case "rounding":
            fun, x = _rounding()
            return fun, jnp.asarray(x), False
        case "CUTEst":
            name, _, what = rest.partition(" ")
            problem = _cutest.load(name)
            x = jnp.asarray(problem.y0)
            if not what:
                return lambda y: problem.objective(y, problem.args), x, True
            which = {"equalities": 0, "inequalities": 1}[what]
            return lambda y: problem.constraint(y)[which], x, False
        case _:
            case_ = derivatives.case(config.function)
            instance = case_.build()
            return instance.unary, instance.x, case_.operator != "jacobian"


def _by_numbers(fun: Callable[..., Any], x: Any, second: bool, points: int) -> np.ndarray:
    """Where the derivative differs from zero at one of several random points."""
    import jax
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
    nonzeros, missed, failed = (np.full(len(_DETECTORS), np.nan) for _ in range(3))
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
            failed[i] = float(pattern is None)
            if pattern is not None and not reading:
                found = _entries(pattern)
                nonzeros[i], missed[i] = found.sum(), (truth & ~found).sum()
    return {
        "detector": np.array(_DETECTORS),
        "seconds": seconds,
        "nonzeros": nonzeros,
        "missed": missed,
        "failed": failed,
        "by_numbers": truth.sum(),
        "rows": truth.shape[0],
        "columns": truth.shape[1],
    }


def _detect(detector: Any, fun: Callable[..., Any], x: Any) -> tuple[Any, float]:
    """One reading of a function object that no cache has seen; ``None`` and NaN where the detector raises."""
    from jaxcalc import measure

    try:
        return measure.once(lambda: detector(lambda v: fun(v), x))
    except Exception:  # a peer that cannot read a program is a finding
        return None, float("nan")


def _points(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """One line for each function: medians of time, the ratio of times, and the counts."""
    data = dataset if "function" in dataset.dims else dataset.expand_dims("function")
    data = _contest.first(data, "function")
    median = data.seconds.median("reading")
    ours, theirs = (median.sel(detector=name) for name in _DETECTORS)
    return data.drop_vars("seconds").assign(median=median, ratio=ours / theirs)


def _named(data: "xarray.Dataset", start: str | tuple[str, ...]) -> "xarray.Dataset":
    return data.isel(function=[i for i, name in enumerate(data.function.values) if str(name).startswith(start)])


def _list(names: Any, most: int = 6) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def claims(dataset: "xarray.Dataset") -> list[Claim]:
    if "function" not in dataset.coords:
        return []
    data = _points(dataset)
    ours, theirs = (data.sel(detector=name) for name in _DETECTORS)
    names, wrong = data.function.values, ours.missed.values > 0
    found = [
        Claim(
            id="no-entry-is-missed",
            statement="No entry that differs from zero at a random point is missing from our pattern.",
            stated=bool(np.isfinite(ours.missed.values).all() and not wrong.any()),
            expected="0 entries missed, no failure",
            measured=f"{np.nansum(ours.missed.values):.0f} entries of {len(names)} functions"
            + (f" ({_list(names[wrong | ~np.isfinite(ours.missed.values)])})" if wrong.any() else ""),
            figure="detection",
        )
    ]
    sound = (theirs.missed.values == 0) & np.isfinite(data.ratio.values)
    ratio = data.ratio.values[sound]
    if len(ratio):
        found.append(_no_slower(names[sound], ratio))
        looser = sound & (ours.nonzeros.values > theirs.nonzeros.values)
        tighter = sound & (ours.nonzeros.values < theirs.nonzeros.values)
        found.append(
            Claim(
                id="no-looser-than-asdex",
                statement="Our patterns are exact or as tight as those of asdex wherever asdex misses nothing.",
                stated=not (looser & (ours.nonzeros.values > data.by_numbers.values)).any(),
                expected="no pattern with more entries",
                measured=f"looser: {_list(names[looser]) or 'none'}; tighter: {_list(names[tighter]) or 'none'}",
                figure="detection",
            )
        )
    return [*found, *_claims_of_kinds(data)]


def _no_slower(names: Any, ratio: np.ndarray) -> Claim:
    mean, worst = float(np.exp(np.log(ratio).mean())), int(ratio.argmax())
    return Claim(
        id="detection-no-slower-than-asdex",
        statement="A pattern is read no slower than by asdex.",
        stated=mean <= 1.0,
        limits=bool((ratio > 1.1).any()),
        expected="time over asdex's: geometric mean at most 1, none above 1.1",
        measured=f"geometric mean {mean:.3g}, worst {ratio[worst]:.3g} ({names[worst]}), "
        f"{int((ratio > 1.1).sum())} of {len(ratio)} above 1.1",
        figure="detection",
    )


def _claims_of_kinds(data: "xarray.Dataset") -> list[Claim]:
    """What is claimed of scans, custom rules and CUTEst problems."""
    claims = []
    scans = _named(data, "scan:")
    ratio = 1.0 / scans.ratio.values
    if np.isfinite(ratio).any():
        claims.append(
            Claim(
                id="long-scans-ten-times-faster",
                statement="The pattern of a scan of length 1000 with a carry of 100 or more is read 10 times faster.",
                stated=bool((ratio >= 10).all()),
                expected="10 times or more for every scan",
                measured=", ".join(f"{str(n)[6:]}: {r:.3g}" for n, r in zip(scans.function.values, ratio)),
                figure="detection",
            )
        )
    custom = _named(data, _CUSTOM)
    missed = custom.missed.sel(detector="asdex").values
    if len(missed) and np.isfinite(missed).any():
        own = custom.missed.sel(detector="jaxcalc").values
        claims.append(
            Claim(
                id="custom-rules-read-as-they-act",
                statement="Patterns of functions with straight-through and other custom rules hold what the rules let "
                "pass; read off the function itself, as asdex does, they do not.",
                stated=bool((own == 0).all() and (missed > 0).any()),
                expected="0 missed by jaxcalc, some by asdex",
                measured="; ".join(
                    f"{name}: {a:.0f} and {b:.0f} of {c:.0f}"
                    for name, a, b, c in zip(custom.function.values, own, missed, custom.by_numbers.values)
                ),
                figure="detection",
            )
        )
    cutest = _named(data, "CUTEst")
    entries = {name: cutest.nonzeros.sel(detector=name).values for name in _DETECTORS}
    dense = entries["asdex"] > cutest.by_numbers.values
    if dense.any():
        ours, theirs, exact = entries["jaxcalc"][dense], entries["asdex"][dense], cutest.by_numbers.values[dense]
        claims.append(
            Claim(
                id="tight-where-a-union-is-over-dense",
                statement="On CUTEst problems where a union of dependencies is over-dense ours are exact or tighter.",
                stated=bool(((ours == exact) | (ours < theirs)).all()),
                expected="the entries by numbers, or fewer than asdex",
                measured="; ".join(
                    f"{str(n)[7:]}: {a:.0f}, {b:.0f}, by numbers {c:.0f}"
                    for n, a, b, c in zip(cutest.function.values[dense], ours, theirs, exact)
                ),
                figure="detection",
                note="A numerical count misses entries that cancel or underflow at the points tried.",
            )
        )
    return claims


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
    style.panel_labels([left, right])
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
                "times faster": float(f"{1 / float(point.ratio):.3g}"),
            }
        )
    return {"Patterns: entries and time of detection": rows} if rows else {}


def _count(value: Any) -> int | str:
    return int(value) if np.isfinite(value) else ""
