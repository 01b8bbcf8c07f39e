"""Any variable of any run as a figure: lines over x, colours and panels over others, quartiles over the rest."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcalc import style
from jaxcalc.lab import source
from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.format import number
from jaxcalc.lab.results import load

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_REPEATS = ("seed", "repeat", "case")
_FORMATS = (".svg", ".pdf", ".png")


def plot_file(options: Any) -> str:
    """``jaxcalc plot``: draw, save and name the file."""
    dataset = load(options.run)
    for choice in options.select:
        dataset = _select(dataset, choice)
    with style.context():
        figure, y = draw(dataset, options.y, options.x, options.hue, options.row, options.col, options.log)
        folder = Path(options.run) if Path(options.run).is_dir() else Path(options.run).parent
        path = Path(options.out) if options.out else folder / "plots" / f"{y}.svg"
        if path.suffix not in _FORMATS:
            raise ConfigError(f"{path}: cannot draw this format", valid=_FORMATS, valid_noun="formats")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_figure(figure, path)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    return str(path)


def draw(
    dataset: "xarray.Dataset",
    y: str | None = None,
    x: str | None = None,
    hue: str | None = None,
    row: str | None = None,
    col: str | None = None,
    log: str = "",
) -> "tuple[Figure, str]":
    """Draw one variable.

    Dimensions that are neither x, hue, row nor col are summed up: a line at the median, a band between the quartiles.

    Args:
      dataset: a run's results.
      y: the variable; by default the first number with a dimension.
      x, hue, row, col: dimensions of ``y``, or coordinates that lie along one.
      log: ``"x"``, ``"y"`` or ``"xy"``.

    Returns:
      The figure and the variable's name.

    Raises:
      ConfigError: a name that the dataset, or the variable, does not have.
    """
    y = y or _first(dataset)
    if y not in dataset.variables:
        names = [str(name) for name in dataset.data_vars]
        raise ConfigError(f"no variable {y!r}", suggestion=nearest(y, names), valid=names, valid_noun="variables")
    array = _masked(dataset, y)
    if array.dtype.kind not in "fiub":
        raise ConfigError(f"{y} holds text; only numbers can be drawn")
    chosen = {role: _along(array, name, role) for role, name in (("hue", hue), ("row", row), ("col", col)) if name}
    free = [str(d) for d in array.dims if d not in {dim for dim, _ in chosen.values()}]
    if not free:
        raise ConfigError(
            f"{y} has no dimension left for the x axis", valid=map(str, array.dims), valid_noun="its dimensions"
        )
    across = _along(array, x, "x") if x else _default_x(array, free)
    taken = [across[0], *(dim for dim, _ in chosen.values())]
    if len(set(taken)) < len(taken):
        raise ConfigError(f"a dimension can play one part only: x, hue, row and col name {', '.join(taken)}")
    if "hue" not in chosen and "case" in array.dims and "case" not in taken:
        chosen["hue"] = _along(array, "case", "hue")
    parts: dict[str, Any] = {role: name for role, (_, name) in chosen.items()}
    figure, _ = style.chart(array, across[1], log=log, titles=_titles(array, parts), **parts)
    rest = [str(d) for d in array.dims if d != across[0] and d not in {dim for dim, _ in chosen.values()}]
    if rest:
        figure.supxlabel(f"line: median over {', '.join(rest)}; band: quartiles", fontsize=6.5, color="#666666")
    return figure, y


def _titles(array: "xarray.DataArray", parts: dict[str, str]) -> dict[Any, str]:
    names = [parts[role] for role in ("row", "col") if role in parts]
    return {value: f"{name} = {number(value)}" for name in names for value in _coordinate(array, name).tolist()}


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure so that the same data give the same file, whole or not at all."""
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:], {})
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format=path.suffix[1:], metadata=metadata)
    partial.replace(path)


_MOST = 12  # charts of an experiment that draws none itself


def charts(dataset: "xarray.Dataset") -> "dict[str, Figure]":
    """A chart of each variable of numbers that has an axis, where an experiment draws no figures itself.

    Packed facts have no axis: their numbers are unlike one another.
    """
    found = {}
    for name, array in dataset.drop_dims("fact", errors="ignore").data_vars.items():
        if array.ndim and array.dtype.kind in "fiu" and np.isfinite(array.values).any() and len(found) < _MOST:
            figure, _ = draw(dataset, str(name))
            figure.set_label(f"{style.label(array, str(name))}.")
            found[re.sub(r"[^\w-]", "-", str(name))] = figure
    return found


Along = tuple[str, str]  # a dimension and the coordinate that names its entries


def _first(dataset: "xarray.Dataset") -> str:
    for name, array in dataset.data_vars.items():
        if array.ndim and array.dtype.kind in "fiu":
            return str(name)
    raise ConfigError("the run has no variable with a dimension")


def _masked(dataset: "xarray.Dataset", y: str) -> "xarray.DataArray":
    """The variable with NaN wherever ``valid`` says that there is no entry."""
    array = dataset[y]
    for name in ("valid", *(f"valid_{dim}" for dim in array.dims)):
        if name in dataset and name != y and set(dataset[name].dims) <= set(array.dims) and array.dtype.kind in "fiu":
            array = array.where(dataset[name])
    array.attrs = dataset[y].attrs
    return array


def _along(array: "xarray.DataArray", name: str, role: str) -> Along:
    if name in array.dims:
        return name, name
    if name in array.coords and array.coords[name].ndim == 1:
        return str(array.coords[name].dims[0]), name
    valid = [*map(str, array.dims), *(str(k) for k, c in array.coords.items() if c.ndim == 1 and k not in array.dims)]
    raise ConfigError(
        f"--{role}: {array.name} has no dimension {name!r}",
        suggestion=nearest(name, valid),
        valid=valid,
        valid_noun="its dimensions",
    )


def _default_x(array: "xarray.DataArray", free: list[str]) -> Along:
    plain = [d for d in free if d not in _REPEATS and _coordinate(array, d).dtype.kind in "fiu"]
    dim = (plain or free)[-1]
    return dim, dim


def _coordinate(array: "xarray.DataArray | xarray.Dataset", name: str) -> np.ndarray:
    if name in array.coords:
        values = array.coords[name].values
        return values.astype(str) if values.dtype.kind in "OU" else values
    return np.arange(array.sizes[name])


def _select(dataset: "xarray.Dataset", choice: str) -> "xarray.Dataset":
    name, _, text = choice.partition("=")
    if name not in dataset.dims:
        dims = [str(d) for d in dataset.dims]
        raise ConfigError(
            f"--select: no dimension {name!r}", suggestion=nearest(name, dims), valid=dims, valid_noun="dimensions"
        )
    values = _coordinate(dataset, name)
    wanted = text if values.dtype.kind == "U" else source.scalar(text)
    if values.dtype.kind != "U" and not isinstance(wanted, (int, float)):
        raise ConfigError(f"--select: {name} holds numbers, got {text!r}")
    if values.dtype.kind == "U":
        place = next(iter(np.flatnonzero(values == wanted)), None)
    else:
        gaps = np.abs(values.astype(float) - float(wanted)) / np.maximum(np.abs(values.astype(float)), 1e-300)
        order = np.argsort(gaps)
        alone = len(order) == 1 or gaps[order[0]] < gaps[order[1]]
        place = order[0] if gaps[order[0]] == 0 or (gaps[order[0]] < 1e-3 and alone) else None
    if place is None:
        shown = [value if isinstance(value, str) else repr(value) for value in values.tolist()]
        raise ConfigError(f"--select: {name} has no value {text}", valid=shown, valid_noun="its values")
    return dataset.isel({name: int(place)})
