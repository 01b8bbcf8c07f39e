"""Two runs side by side: ratios of medians with intervals, joined on their coordinates."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcalc import style
from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.format import number, table
from jaxcalc.lab.plot import save_figure
from jaxcalc.lab.results import load

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_REPEATS = ("repeat", "seed")
_RESAMPLES = 2000
_SHOWN = 40


@dataclass(frozen=True)
class Ratio:
    """One point's ratio of medians, second run over first, and its 95 % interval (a point without repeats)."""

    variable: str
    point: str
    ratio: float
    low: float
    high: float


def compare_files(options: Any) -> tuple[str, bool]:
    """``jaxcalc compare``: the text to print, and whether a ratio lies past the threshold."""
    first, second = load(options.run), load(options.other)
    names = options.variable or _common(first, second)
    over = tuple(options.over or _REPEATS)
    dims = sorted({str(d) for dataset in (first, second) for d in dataset.dims})
    for dim in options.over or ():
        if dim not in dims:
            raise ConfigError(
                f"--over: no dimension {dim!r}", suggestion=nearest(dim, dims), valid=dims, valid_noun="dimensions"
            )
    ratios = [ratio for name in names for ratio in compare(first, second, name, over)]
    if not ratios:
        raise ConfigError(
            "the two runs have no point in common that can be compared",
            remedy="They are joined on their coordinates: the sweeps must overlap.",
        )
    folder = Path(options.other) if Path(options.other).is_dir() else Path(options.other).parent
    path = Path(options.out) if options.out else folder / "compare.svg"
    with style.context():
        try:
            save_figure(draw(ratios, options.threshold), path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot write {path}: {error}") from None
    shown = _extreme(ratios)
    rows = [
        {
            "variable": r.variable,
            "point": r.point,
            "ratio": r.ratio,
            "95 % interval": f"{number(r.low)} to {number(r.high)}",
        }
        for r in shown
    ]
    mean = np.exp(np.mean([np.log(r.ratio) for r in ratios]))
    lines = [
        f"second over first, {len(ratios)} points in common"
        + (f"; the {_SHOWN} furthest from 1" * (len(shown) < len(ratios)))
    ]
    lines += [table(rows), f"geometric mean of the ratios: {number(float(mean))}", f"figure: {path}"]
    past = [r for r in ratios if options.threshold is not None and r.low > options.threshold]
    if options.threshold is not None:
        lines.append(
            f"{len(past)} of {len(ratios)} points lie past the threshold {number(options.threshold)}"
            if past
            else f"no point lies past the threshold {number(options.threshold)}"
        )
    return "\n".join(lines), bool(past)


def compare(
    first: "xarray.Dataset", second: "xarray.Dataset", name: str, over: tuple[str, ...] = _REPEATS
) -> list[Ratio]:
    """Ratios of one variable's medians at every coordinate that two runs share.

    Args:
      first: the baseline. second: the run held against it.
      name: a numeric variable of both.
      over: dimensions of repeats, over which medians are taken; repeats need not correspond.

    Returns:
      One ratio per point; points with a median that is not positive and finite in both are left out.

    Raises:
      ConfigError: a run lacks the variable.
    """
    import xarray

    for dataset in (first, second):
        if name not in dataset.data_vars or dataset[name].dtype.kind not in "fiu":
            valid = _common(first, second)
            raise ConfigError(
                f"no numeric variable {name!r} in both runs",
                suggestion=nearest(name, valid),
                valid=valid,
                valid_noun="variables in both",
            )
    repeats = [d for d in over if d in first[name].dims and d in second[name].dims]
    try:
        a, b = xarray.align(first[name], second[name], join="inner", exclude=repeats)
    except ValueError as error:
        raise ConfigError(f"{name} does not join: {str(error).splitlines()[0]}") from None
    points = [str(d) for d in a.dims if d not in repeats]
    if set(points) != {str(d) for d in b.dims if d not in repeats}:
        raise ConfigError(f"{name} has dimensions {tuple(a.dims)} in one run and {tuple(b.dims)} in the other")
    generator = np.random.default_rng(0)
    samples_a, samples_b = (_samples(array, points, repeats) for array in (a, b))
    found = []
    for index in np.ndindex(*(a.sizes[d] for d in points)):
        x, y = (s[index][np.isfinite(s[index])] for s in (samples_a, samples_b))
        if min(len(x), len(y)) == 0 or not (np.median(x) > 0 and np.median(y) > 0):
            continue
        ratio = float(np.median(y) / np.median(x))
        low, high = _interval(x, y, generator) if min(len(x), len(y)) > 1 else (ratio, ratio)
        label = ", ".join(f"{d}={number(a[d].values[i].item()) if d in a.coords else i}" for d, i in zip(points, index))
        found.append(Ratio(name, label, ratio, low, high))
    return found


def _samples(array: "xarray.DataArray", points: list[str], repeats: list[str]) -> np.ndarray:
    ordered = array.transpose(*points, *repeats).values.astype(float)
    return ordered.reshape(*ordered.shape[: len(points)], int(np.prod([array.sizes[d] for d in repeats])))


def _interval(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> tuple[float, float]:
    """The percentile bootstrap of a ratio of medians (Efron 1979)."""
    medians = [
        np.median(sample[generator.integers(0, len(sample), (_RESAMPLES, len(sample)))], axis=1) for sample in (x, y)
    ]
    low, high = np.percentile(medians[1] / np.where(medians[0] > 0, medians[0], np.nan), [2.5, 97.5])
    return float(low), float(high)


def _common(first: "xarray.Dataset", second: "xarray.Dataset") -> list[str]:
    """The variables to compare: what both runs measured, else every number that both have."""
    both = [
        str(name)
        for name, array in first.data_vars.items()
        if name in second.data_vars and array.dtype.kind in "fiu" and second[name].dtype.kind in "fiu"
    ]
    return [name for name in both if first[name].attrs.get("measured")] or both


def _extreme(ratios: list[Ratio]) -> list[Ratio]:
    """The ratios furthest from 1, in their own order."""
    if len(ratios) <= _SHOWN:
        return ratios
    chosen = set(sorted(range(len(ratios)), key=lambda i: -abs(np.log(ratios[i].ratio)))[:_SHOWN])
    return [ratio for i, ratio in enumerate(ratios) if i in chosen]


def draw(ratios: list[Ratio], threshold: float | None = None) -> "Figure":
    """The ratios with their intervals, one line each."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    shown = _extreme(ratios)
    figure, axis = style.subplots(width=style.PAGE, height=0.9 + 0.19 * len(shown))
    for i, r in enumerate(shown):
        color = style.COLORS["vermilion"] if r.low > 1 else style.COLORS["blue"] if r.high < 1 else style.COLORS["grey"]
        axis.plot([r.low, r.high], [i, i], color=color, linewidth=1.6, solid_capstyle="butt")
        axis.plot([r.ratio], [i], "o", color=color)
    axis.axvline(1.0, color="black", linewidth=0.8, zorder=1)
    if threshold is not None:
        axis.axvline(threshold, **{**style.THEORY, "marker": ""})
        axis.annotate(
            "threshold", (threshold, 1), xycoords=("data", "axes fraction"), fontsize=7, ha="left", va="bottom"
        )
    names = len({r.variable for r in shown}) > 1
    axis.set_yticks(
        range(len(shown)), [f"{r.variable}: {r.point}" if names and r.point else r.point or r.variable for r in shown]
    )
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("ratio of medians, second run over first (95 % interval)")
    axis.grid(axis="y", visible=False)
    return figure
