"""Lines or points over an axis: by hue and panel, with bands, theory, slopes and labels at the lines' ends."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from jaxcalc.style.looks import COLORS, COLUMN, PAGE, THEORY, ink, looks, sequence, subplots

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Values = xarray.DataArray | Mapping[str, xarray.DataArray]

_MANY = 40  # points of a line, from which on markers hide it
_ORDERED = 7  # numbers told by a legend; more of them by a colour bar


class _Along(NamedTuple):
    """A dimension, the coordinate that names its entries, and these names."""

    dim: str
    name: str
    values: np.ndarray
    label: str


def chart(
    values: "Values",
    x: str | None = None,
    *,
    hue: str | None = None,
    col: str | None = None,
    row: str | None = None,
    band: "tuple[float, float] | tuple[xarray.DataArray, xarray.DataArray] | None" = (0.25, 0.75),
    theory: "Values | None" = None,
    slopes: "float | Mapping[Any, float] | None" = None,
    looks: Mapping[Any, Mapping[str, Any]] | None = None,
    titles: Mapping[Any, str] | None = None,
    log: str = "",
    xlabel: str | None = None,
    ylabel: str | None = None,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    legend: str | None = "above",
    wrap: int | None = None,
    axes: Any = None,
    width: float | Literal["column", "page"] | None = None,
    height: float | None = None,
    sharey: bool = True,
    letters: bool = False,
    **look: Any,
) -> "tuple[Figure, np.ndarray]":
    """Draw labelled numbers.

    Of dimensions that are neither x, hue, col nor row the line is the median, the band between the quartiles. On a
    logarithmic axis exact zeros stand as hollow triangles at the foot.

    Args:
      values: an xarray ``DataArray``; of a dict each entry is a hue of that name.
      x, hue, col, row: dimensions, or coordinates along one; by default x is the last dimension that is left.
      band: quantiles over the dimensions that are left, or the lower and the upper edge; none without.
      theory: drawn dashed; it may lack any of the dimensions but x.
      slopes: exponents of dashed lines below the right end of a line: one for all, or by hue, by (col, hue).
      looks: line properties (colour, marker, label, ...) by hue, over those that ``style.looks`` gives.
      titles: of the panels, by the value of col or row.
      log: the axes that are logarithmic: ``"x"``, ``"y"``, ``"xy"``.
      xlabel, ylabel: by default what the coordinate and the values say of themselves.
      legend: ``"above"`` or ``"below"`` the panels, ``"ends"`` of the lines, a place inside the first panel such as
        ``"lower left"``, or None.
      wrap: panels in a row, where there are more values of col.
      axes: axes to draw in, one for each panel; by default a new figure.
      width, height: of the figure, in inches; ``"column"`` or ``"page"`` is a width too.
      letters: panels have a, b, c, ... at their upper left corners.
      look: properties of every line, such as ``linestyle=""`` for points.

    Returns:
      The figure, and its panels in an array of shape (rows, columns).

    Raises:
      ValueError: a name that the values do not have, or one that plays two parts.
    """
    named = isinstance(values, Mapping)
    parts: dict[Any, Any] = dict(values) if named else {None: values}  # pyright: ignore[reportArgumentType, reportCallIssue]
    first = next(iter(parts.values()))
    if named and hue is not None:
        raise ValueError(f"chart: of named values each is a hue; got hue={hue!r} beside them")
    cols, rows = _along(first, col), _along(first, row)
    hues = None if named else _along(first, hue)
    taken = {along.dim for along in (cols, rows, hues) if along}
    free = [str(dim) for dim in first.dims if str(dim) not in taken]
    if x is None and not free:
        raise ValueError(f"chart: no dimension is left for the x axis of {tuple(map(str, first.dims))}")
    across = _along(first, x or free[-1])
    assert across is not None
    if across.dim in taken or len(taken) < sum(along is not None for along in (cols, rows, hues)):
        raise ValueError(f"chart: {across.dim if across.dim in taken else 'a dimension'} plays two parts")

    names = list(parts) if named else hues.values.tolist() if hues else [None]
    styles = _styles(names, looks or {}, look)
    figure, panels = _panels(axes, cols, rows, wrap, width, height, {"sharey": sharey, "letters": letters})
    drawn: list[tuple[Axes, list[Any]]] = []
    for (r, c), panel in _places(panels, cols, rows):
        lines = []
        for number, name in enumerate(names):
            where = {along.dim: k for along, k in ((rows, r), (cols, c)) if along}
            source = parts[name] if named else first
            if hues:
                where[hues.dim] = number
            edges = [_pick(edge, where) for edge in band] if band and hasattr(band[0], "dims") else band
            # Named values may each have an axis of their own length.
            along = _along(source, across.name) or across
            line = _line(panel, _pick(source, where), along, styles[number], edges, log)
            if line is not None:
                lines.append((styles[number], *line))
                power = _power(slopes, cols.values.tolist()[c] if cols else None, name)
                if power is not None:
                    _draw_slope(panel, *line, power)
        _draw_theory(panel, theory, across, {along.dim: k for along, k in ((rows, r), (cols, c)) if along}, hues)
        _finish(panel, across, log, xlim, ylim)
        title = [_title(along, k, titles or {}) for along, k in ((rows, r), (cols, c)) if along]
        if title:
            panel.set_title(_wrapped(", ".join(title), 0.8 * figure.get_figwidth() / panels.shape[1]))
        drawn.append((panel, lines))
    _label_axes(figure, panels, across, first, xlabel, ylabel)
    if legend == "ends":
        for panel, lines in drawn:
            label_ends(panel, _right_ends(panel, lines))
    elif legend and (named or hues):
        _draw_legend(figure, panels, legend, hues, styles)
    return figure, panels


def _along(array: "xarray.DataArray", name: str | None) -> _Along | None:
    if name is None:
        return None
    coordinate = array.coords.get(name)
    if name not in array.dims and (coordinate is None or coordinate.ndim != 1):
        raise ValueError(f"chart: no dimension {name!r} among {', '.join(map(str, array.dims))}")
    dim = name if name in array.dims else str(coordinate.dims[0])  # pyright: ignore[reportOptionalMemberAccess]
    values = np.arange(array.sizes[dim]) if coordinate is None else coordinate.values
    return _Along(dim, name, values.astype(str) if values.dtype.kind in "OU" else values, label(coordinate, name))


def label(array: "xarray.DataArray | None", name: str) -> str:
    """What a variable says of itself, with its unit."""
    if array is None:
        return name
    text, units = (array.attrs.get("long_name") or name).rstrip("."), array.attrs.get("units")
    return f"{text} ({units})" if units else text


def _pick(array: Any, where: Mapping[str, int]) -> Any:
    return array.isel({dim: k for dim, k in where.items() if dim in array.dims})


def _styles(names: list[Any], changes: Mapping[Any, Mapping[str, Any]], look: Mapping[str, Any]) -> list[dict]:
    """Line properties by hue: a method's own, or an ordered family's from dark to light."""
    if names == [None]:
        found = [{"color": COLORS["blue"], "marker": "o"}]
    elif isinstance(names[0], str):
        found = looks(names)
    else:
        found = [{"color": c, "marker": "o", "label": _short(name)} for c, name in zip(sequence(len(names)), names)]
    return [{**one, **look, **changes.get(name, {})} for one, name in zip(found, names)]


def _panels(
    axes: Any, cols: _Along | None, rows: _Along | None, wrap: int | None, width: Any, height: Any, options: Any
) -> "tuple[Figure, np.ndarray]":
    if axes is not None:
        panels = np.atleast_2d(np.asarray(axes, dtype=object))
        return panels.flat[0].figure, panels
    across, down = (along.values.size if along else 1 for along in (cols, rows))
    if wrap and across > wrap and down == 1:
        across, down = wrap, -(-across // wrap)
    wide = width if width is not None else COLUMN if across == 1 else max(PAGE, 1.5 * across)
    inches = {"column": COLUMN, "page": PAGE}[wide] if isinstance(wide, str) else wide
    tall = height or max(1.7, 0.72 * inches / across) * down + 0.5
    return subplots(down, across, width=inches, height=tall, sharex=True, squeeze=False, **options)


def _places(panels: np.ndarray, cols: _Along | None, rows: _Along | None) -> Iterator[tuple[tuple[int, int], "Axes"]]:
    """Positions along row and col with their panels; panels beyond the last are switched off."""
    down, across = (along.values.size if along else 1 for along in (rows, cols))
    flat = list(panels.flat)
    for k, panel in enumerate(flat):
        if k < down * across:
            yield (k // across, k % across), panel
        else:
            panel.set_axis_off()


def _line(
    panel: "Axes", part: "xarray.DataArray", across: _Along, look: Mapping[str, Any], band: Any, log: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Draw one line with its band; returns what was drawn, or None where nothing is finite."""
    data = np.asarray(part.transpose(across.dim, ...).values, float).reshape(part.sizes[across.dim], -1)
    keep = np.asarray(np.isfinite(data).any(axis=1))
    if not keep.any():
        return None
    texts = across.values.dtype.kind == "U"
    x = (np.arange(across.values.size) if texts else across.values)[keep]
    middle = np.nanmedian(data[keep], axis=1)
    if texts:
        look = {"linestyle": "", **look}
    if keep.sum() > _MANY and look.get("linestyle") != "":
        look = {**look, "marker": ""}
    if "y" in log:
        zero = middle == 0
        if zero.any():
            _draw_zeros(panel, x[zero], look)
        middle = np.where(middle > 0, middle, np.nan)
    panel.plot(x, middle, **look)
    edges = _edges(data[keep], band, across, keep)
    if edges is not None:
        panel.fill_between(x, *edges, color=look["color"], alpha=0.18, linewidth=0)
    return x, middle


def _edges(data: np.ndarray, band: Any, across: _Along, keep: np.ndarray) -> Any:
    if not band:
        return None
    if hasattr(band[0], "dims"):
        return [np.asarray(edge.transpose(across.dim).values, float)[keep] for edge in band]
    return np.nanquantile(data, band, axis=1) if data.shape[1] > 1 else None


def _draw_zeros(panel: "Axes", x: np.ndarray, look: Mapping[str, Any]) -> None:
    """What a logarithmic axis cannot hold: hollow triangles at its foot."""
    hollow = {"marker": "v", "linestyle": "", "markerfacecolor": "white", "markeredgewidth": 0.9, "zorder": 4}
    place = panel.get_xaxis_transform()
    panel.plot(x, np.full(x.size, 0.03), color=look["color"], transform=place, clip_on=False, **hollow)
    if not getattr(panel, "_foot_is_told", False):
        panel.annotate("0", (-0.012, 0.03), xycoords="axes fraction", ha="right", va="center", fontsize=7.5)
        panel._foot_is_told = True  # pyright: ignore[reportAttributeAccessIssue]


def _power(slopes: Any, col: Any, name: Any) -> float | None:
    if isinstance(slopes, Mapping):
        return slopes.get((col, name), slopes.get(name, slopes.get(None)))
    return slopes


def _draw_slope(panel: "Axes", x: np.ndarray, y: np.ndarray, power: float) -> None:
    good = np.flatnonzero(np.isfinite(y))
    if good.size:
        last = good[-1]
        panel.plot(x, 0.6 * y[last] * (x / x[last]) ** power, **THEORY)


def _draw_theory(panel: "Axes", theory: Any, across: _Along, where: Mapping[str, int], hues: _Along | None) -> None:
    if theory is None:
        return
    for part in theory.values() if isinstance(theory, Mapping) else [theory]:
        one = _pick(part, where)
        rest = [dim for dim in one.dims if dim != across.dim]
        if rest and (hues is None or rest != [hues.dim]):
            raise ValueError(f"chart: theory has the dimensions {', '.join(map(str, rest))} beside x and hue")
        x = one.coords[across.name].values if across.name in one.coords else across.values
        x = np.arange(len(x)) if np.asarray(x).dtype.kind in "OU" else x
        for line in one.transpose(..., across.dim).values.reshape(-1, one.sizes[across.dim]):
            panel.plot(x, line, **THEORY)


def _finish(panel: "Axes", across: _Along, log: str, xlim: Any, ylim: Any) -> None:
    if "x" in log:
        panel.set_xscale("log")
    if "y" in log:
        panel.set_yscale("log")
    if across.values.dtype.kind == "U":
        wide = max(map(len, across.values.tolist()), default=0) * across.values.size > 30
        panel.set_xticks(range(across.values.size), across.values.tolist())
        panel.tick_params("x", rotation=30 if wide else 0)
        if wide:
            for tick in panel.get_xticklabels():
                tick.set_horizontalalignment("right")
                tick.set_rotation_mode("anchor")
    if xlim:
        panel.set_xlim(*xlim)
    if ylim:
        panel.set_ylim(*ylim)


def _label_axes(
    figure: "Figure", panels: np.ndarray, across: _Along, first: Any, xlabel: str | None, ylabel: str | None
) -> None:
    below = across.label if xlabel is None else xlabel
    beside = label(first, str(first.name or "")) if ylabel is None else ylabel
    wide, tall = figure.get_figwidth() / panels.shape[1], figure.get_figheight() / panels.shape[0]
    for panel in panels[-1]:
        panel.set_xlabel(_wrapped(below, wide))
    for panel in panels[:, 0]:
        panel.set_ylabel(_wrapped(beside, tall))


def _title(along: _Along, position: int, titles: Mapping[Any, str]) -> str:
    value = along.values.tolist()[position]
    return titles.get(value) or (value if isinstance(value, str) else f"{along.name} = {_short(value)}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _wrapped(text: str, inches: float) -> str:
    """Text in lines that fit beside an axis of this length at the house's type size."""
    return textwrap.fill(text, max(12, int(13 * inches)))


def _draw_legend(
    figure: "Figure", panels: np.ndarray, place: str, hues: _Along | None, styles: Iterable[Mapping[str, Any]]
) -> None:
    """A legend for a few values, a colour bar for many ordered ones."""
    title = hues.label if hues else None
    if hues and hues.values.dtype.kind in "fiu" and hues.values.size > _ORDERED:
        return _color_bar(figure, panels, hues, title)
    from matplotlib.lines import Line2D

    drawn = {text for panel in panels.flat for text in panel.get_legend_handles_labels()[1]}
    handles = [Line2D([], [], **look) for look in styles if look.get("label") in drawn]
    if not handles:
        return None
    title = title if hues and hues.values.dtype.kind != "U" else None
    if place not in ("above", "below"):
        panels.flat[0].legend(handles=handles, loc=place, title=title)
        return None
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = min(len(handles), max(1, int(figure.get_figwidth() * 11 / (longest + 6))))
    side: Any = {"above": "outside upper center", "below": "outside lower center"}[place]
    figure.legend(handles=handles, title=title, loc=side, ncols=columns)
    return None


def _color_bar(figure: "Figure", panels: np.ndarray, hues: _Along, title: str | None) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    count = hues.values.size
    norm = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    shown = np.unique(np.linspace(0, count - 1, 6).round().astype(int))
    mappable = ScalarMappable(norm, ListedColormap(sequence(count)))
    bar = figure.colorbar(mappable, ax=panels, label=_wrapped(title or "", figure.get_figheight()), ticks=shown)
    bar.set_ticklabels([_short(hues.values[k].item()) for k in shown])
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def label_ends(
    panel: "Axes", ends: Iterable[tuple[str, tuple[float, float], Any]], *, size: float = 7.0, spacing: float = 1.15
) -> None:
    """Names at the right ends of lines, set apart and within the panel where they end together.

    Call it last: it draws the figure once to learn the panel's height, and reads its limits.

    Args:
      panel: the axes that the lines are drawn in.
      ends: name, the line's end (x, y) and its colour, for each line.
      size: of the type, in points.
      spacing: of the lines of text, in sizes; formulas with indices take more than words.
    """
    figure: Any = panel.get_figure()
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    height = lambda at: panel.transData.transform(at)[1] / scale
    ends = sorted(ends, key=lambda end: height(end[1]))
    low, high = panel.bbox.y0 / scale, panel.bbox.y1 / scale
    wanted = np.array([height(at) for _, at, _ in ends])
    placed = np.clip(wanted, low, high)
    for _ in range(200):  # neighbours push each other apart until all have room
        short = np.maximum(spacing * size - np.diff(placed), 0.0)
        if not (short > 1e-3).any():
            break
        placed[:-1] -= short / 2
        placed[1:] += short / 2
        placed = np.clip(placed, low, high)
    moved = abs(placed - wanted) > 0.5 * size
    for (name, at, color), shift, far in zip(ends, placed - wanted, moved):
        text: dict[str, Any] = {"fontsize": size, "color": ink(color), "va": "center", "annotation_clip": False}
        if far:  # a thin line leads from the name to what it names
            lead = {"arrowstyle": "-", "color": color, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 1, "relpos": (0, 0.5)}
            text["arrowprops"] = lead
        panel.annotate(name, at, xytext=(14 if moved.any() else 5, shift), textcoords="offset points", **text)


def _right_ends(panel: "Axes", lines: Iterable[tuple[Mapping[str, Any], np.ndarray, np.ndarray]]) -> Iterator[Any]:
    """The ends of lines that lie farthest to the right as drawn."""
    for look, x, y in lines:
        good = np.flatnonzero(np.isfinite(y))
        if good.size and look.get("label"):
            right = good[np.argmax(panel.transData.transform(np.column_stack([x[good], y[good]]))[:, 0])]
            yield str(look["label"]), (x[right], y[right]), look["color"]
