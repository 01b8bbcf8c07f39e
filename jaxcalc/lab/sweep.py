"""From a config to its plan: axes, points, programs and trials, all of it checked before anything runs."""

import dataclasses
import importlib.util
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

import pydantic

from jaxcalc.lab import source
from jaxcalc.lab.config import Loaded, field_at, field_names, load, validate
from jaxcalc.lab.errors import ConfigError, MissingModule, nearest
from jaxcalc.lab.experiment import is_swept
from jaxcalc.lab.ledger import look_up
from jaxcalc.lab.registry import Experiment
from jaxcalc.lab.registry import load as load_experiment

SEED: source.Path = ("seed",)


@dataclass(frozen=True)
class Axis:
    """One axis of the sweep.

    ``fields`` are the paths it sets (inside params, or ``("seed",)`` for the seed itself), ``points`` the values that
    it gives them, ``labels`` the coordinate, ``written`` where the axis stands and ``steps`` each point below it.
    """

    name: str
    kind: Literal["cases", "grid", "vmap"]
    fields: tuple[source.Path, ...]
    points: tuple[tuple[Any, ...], ...]
    labels: tuple[Any, ...]
    written: source.Path
    steps: tuple[str | int, ...]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Trial:
    """One chunk of lanes of one program.

    Args:
      index: position on the case and grid axes.
      start, stop: the lanes, as positions in the product of the vmap axes.
      width: lanes of the compiled program; the last chunk is filled up to it, so that all chunks share one program.
      config: all that a rerun needs: settings, params, and a column of values per vmap axis as ``lanes``.
    """

    index: tuple[int, ...]
    start: int
    stop: int
    width: int
    config: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A checked sweep."""

    loaded: Loaded
    experiment: Experiment
    base: pydantic.BaseModel
    outer: tuple[Axis, ...]
    lanes: tuple[Axis, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.outer + self.lanes

    @property
    def num_lanes(self) -> int:
        return prod(map(len, self.lanes))

    @property
    def num_points(self) -> int:
        return prod(map(len, self.axes))

    def programs(self) -> Iterator[tuple[tuple[int, ...], dict[str, Any], int]]:
        """``(position, params, seed)`` of every point on the case and grid axes."""
        for index in itertools.product(*(range(len(axis)) for axis in self.outer)):
            params, seed = _assign(self.loaded.settings.params, self.loaded.settings.seed, self.outer, index)
            yield index, params, seed

    @cached_property
    def num_programs(self) -> int:
        """Programs to compile: points that differ in traced values alone share one."""
        if self.experiment.kind != "compiled":
            return self.num_points
        return len({static_key(params, self.base) for _, params, _ in self.programs()})

    def columns(self, start: int, stop: int) -> dict[str, list[Any]]:
        """A column of values per vmap axis for the lanes from ``start`` to ``stop``; the last axis changes fastest."""
        found, stride = {}, self.num_lanes
        for axis in self.lanes:
            stride //= len(axis)
            name = ".".join(map(str, axis.fields[0]))
            found[name] = [axis.points[lane // stride % len(axis)][0] for lane in range(start, stop)]
        return found

    def trials(self, chunk: int | None = None) -> list[Trial]:
        """The trials, at most ``chunk`` lanes each (default: the config's ``chunk``, else all lanes)."""
        width = min(chunk or self.loaded.settings.chunk or self.num_lanes, self.num_lanes)
        settings = self.loaded.settings.model_dump(exclude={"params", "sweep", "chunk", "seed", "claims"})
        found = []
        for index, params, seed in self.programs():
            for start in range(0, self.num_lanes, width):
                stop = min(start + width, self.num_lanes)
                config = {
                    **settings,
                    "seed": seed,
                    "params": params,
                    "lanes": self.columns(start, stop),
                    "width": width,
                }
                found.append(Trial(index, start, stop, width, config))
        return found


def open_plan(config: str | Path | dict[str, Any], overrides: tuple[str, ...] = ()) -> Plan:
    """Read, find and check everything about a config that needs no JAX.

    Raises:
      ConfigError: the config, its experiment or one of its points is wrong.
    """
    loaded = load(config, overrides)
    try:
        experiment = load_experiment(loaded.settings.experiment, loaded.folder)
    except ConfigError as error:
        if error.mark is not None:
            raise
        head, _, rest = str(error).partition("\n")
        located = loaded.error(head, ("experiment",), remedy=rest or None)
        raise located from None
    return plan(_settled(loaded, experiment), experiment)


def require(experiment: Experiment) -> None:
    """Whether what an experiment imports beyond the lab is installed.

    Raises:
      MissingModule: something is not.
    """
    absent = [name for name in experiment.part.needs if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingModule(
            f"experiment {experiment.name!r} needs {', '.join(absent)}",
            remedy="Peers come with: pip install 'jaxcalc[peers]'",
        )


def _settled(loaded: Loaded, experiment: Experiment) -> Loaded:
    """The config with what the experiment decides where the config does not, and its claims checked."""
    settings, judges = loaded.settings, experiment.part.claims
    for i, id in enumerate(settings.claims or ()):
        if id not in judges:
            raise loaded.error(
                f"experiment {experiment.name!r} judges no claim {id!r}",
                ("claims", i),
                suggestion=nearest(id, judges),
                valid=judges,
                valid_noun="its claims",
            )
    # A claim without an entry is told before hours of work, not after.
    known = experiment.ledger() if judges else {}
    for id in judges if settings.claims is None else settings.claims:
        look_up(id, known, experiment.name)
    if settings.dtype is None:
        settings = settings.model_copy(update={"dtype": experiment.part.dtype})
    return dataclasses.replace(loaded, settings=settings)


def plan(loaded: Loaded, experiment: Experiment) -> Plan:
    """Check every point of a sweep.

    Raises:
      ConfigError: an axis that is not a field, has no points or repeats one, a point that the Config refuses, two axes
        for one field.
    """
    sweep, model = loaded.settings.sweep, experiment.part.Config
    if not sweep.cases and ("sweep", "cases") in loaded.document.values:
        raise loaded.error("no cases: a sweep of zero points", ("sweep", "cases"))
    outer = [_cases(loaded, model)] if sweep.cases else []
    lanes: list[Axis] = []
    for group in ("grid", "vmap", "auto"):
        for key, values in getattr(sweep, group).items():
            axis = _axis(loaded, experiment, key, values, group)
            (lanes if axis.kind == "vmap" else outer).append(axis)
    axes = _named(loaded, experiment, (*outer, *lanes))
    outer, lanes = [a for a in axes if a.kind != "vmap"], [a for a in axes if a.kind == "vmap"]
    base = _check_points(loaded, model, axes)
    return Plan(loaded, experiment, base, tuple(outer), tuple(lanes))


def swept_fields(config: pydantic.BaseModel, at: source.Path = ()) -> list[source.Path]:
    """The paths of the fields of ``config`` that are marked Swept and hold a number."""
    found: list[source.Path] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, pydantic.BaseModel):
            found += swept_fields(value, (*at, name))
        elif isinstance(value, (int, float)) and _marked(field.annotation, field.metadata):
            found.append((*at, name))
    return found


def static_key(params: dict[str, Any], base: pydantic.BaseModel) -> str:
    """What of a point's parameters shapes its program: all but the traced values."""
    for path in swept_fields(base):
        params = put(params, path, None)
    return json.dumps(params, sort_keys=True)


def replace(config: pydantic.BaseModel, values: Mapping[source.Path, Any]) -> Any:
    """A copy of ``config`` with the values at these paths swapped in, unchecked: traced values pass."""
    updates: dict[str, Any] = {}
    for path, value in values.items():
        head = str(path[0])
        inner = updates.get(head, getattr(config, head))
        updates[head] = value if len(path) == 1 else replace(inner, {path[1:]: value})
    return config.model_copy(update=updates)


def _marked(annotation: Any, metadata: Any) -> bool:
    return any(map(is_swept, metadata)) or any(
        _marked(arg, getattr(arg, "__metadata__", ())) for arg in get_args(annotation) if not isinstance(arg, str)
    )


def put(params: dict[str, Any], path: source.Path, value: Any) -> dict[str, Any]:
    """A copy of nested parameters with one value replaced."""
    head, *rest = path
    inner = params.get(str(head))
    return {**params, str(head): put(inner if isinstance(inner, dict) else {}, tuple(rest), value) if rest else value}


def _assign(params: dict[str, Any], seed: int, axes: tuple[Axis, ...], index: tuple[int, ...]) -> tuple[dict, int]:
    for axis, i in zip(axes, index):
        for path, value in zip(axis.fields, axis.points[i]):
            if path == SEED:
                seed = value
            elif value is not ...:
                params = put(params, path, value)
    return params, seed


# --- reading the axes ------------------------------------------------------------------------------------------------


def _axis(loaded: Loaded, experiment: Experiment, key: str, written: Any, group: str) -> Axis:
    at: source.Path = ("sweep", group, key)
    path = _field_path(loaded, experiment.part.Config, key, at)
    values = _expand(loaded, written, at)
    if not values:
        raise loaded.error(f"axis {key!r} has no values: a sweep of zero points", at)
    seen: set[Any] = set()
    for i, value in enumerate(values):
        plain = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        if (mark := value if plain else json.dumps(value, sort_keys=True)) in seen:
            raise loaded.error(f"axis {key!r} has the value {value!r} twice", (*at, i))
        seen.add(mark)
        if path == SEED and not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32):
            raise loaded.error(f"seed: expected a whole number from 0 to 4294967295, got {value!r}", (*at, i))
    reason = _not_a_lane(experiment, path, values)
    if group == "vmap" and reason:
        raise loaded.error(f"{key!r} cannot be a vmap axis: {reason}", at, key=True, remedy="Put it under grid:.")
    kind = "vmap" if group == "vmap" or (group == "auto" and not reason) else "grid"
    labels = tuple(v if isinstance(v, (int, float, str)) else json.dumps(v) for v in values)
    return Axis(key, kind, (path,), tuple((v,) for v in values), labels, at, tuple(range(len(values))))


def _field_path(loaded: Loaded, model: type[pydantic.BaseModel], key: str, at: source.Path) -> source.Path:
    path: source.Path = tuple(key.split("."))
    if path == SEED:
        return SEED
    for depth in range(1, len(path) + 1):
        names = field_names(model, path[: depth - 1])
        if path[depth - 1] not in names or (depth > 1 and names == field_names(model, path[: depth - 2])):
            valid = [".".join((*map(str, path[: depth - 1]), name)) for name in names] + ["seed"] * (depth == 1)
            raise loaded.error(
                f"unknown parameter {key!r} on a sweep's axis",
                at,
                key=True,
                suggestion=nearest(key, valid),
                valid=valid,
            )
    return path


def _not_a_lane(experiment: Experiment, path: source.Path, values: list[Any]) -> str | None:
    """Why a field cannot be a lane of a compiled program, or ``None`` if it can."""
    if experiment.kind != "compiled":
        return f"experiment {experiment.name!r} is {experiment.kind}; only a compiled one has lanes"
    if path == SEED:
        return None
    field = field_at(experiment.part.Config, path)
    if not _marked(field.annotation, field.metadata):
        return "the experiment does not mark it Swept, so it shapes the program"
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return "its values are not all numbers"
    return None


def _expand(loaded: Loaded, written: Any, at: source.Path) -> list[Any]:
    """An axis's values: a list, ``{log: [a, b, n]}``, ``{linear: [a, b, n]}`` or ``{range: [a, b, step]}``."""
    if isinstance(written, list):
        return written
    shorthand = {"log": 3, "linear": 3, "range": (1, 2, 3)}
    if len(written) != 1 or next(iter(written)) not in shorthand:
        raise loaded.error("expected a list of values or one shorthand", at, valid=shorthand, valid_noun="shorthands")
    ((name, numbers),) = written.items()
    numbers = numbers if isinstance(numbers, list) else [numbers]
    numeric = all(isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) < 1e300 for n in numbers)
    if name == "range":
        if (
            not numeric
            or not all(isinstance(n, int) for n in numbers)
            or not 1 <= len(numbers) <= 3
            or numbers[2:] == [0]
        ):
            raise loaded.error(
                "range: expected [stop], [start, stop] or [start, stop, step] in whole numbers", (*at, name)
            )
        return _bounded(loaded, range(*numbers), at)
    if not numeric or len(numbers) != 3 or not isinstance(numbers[2], int) or numbers[2] < 0:
        raise loaded.error(f"{name}: expected [first, last, how many] in finite numbers", (*at, name))
    first, last, count = numbers
    _bounded(loaded, range(count), at)
    if name == "log" and not (first > 0 and last > 0):
        raise loaded.error("log: expected positive ends", (*at, name))
    steps = [i / (count - 1) if count > 1 else 0.0 for i in range(count)]
    raw = [first ** (1 - s) * last**s if name == "log" else first * (1 - s) + last * s for s in steps]
    raw[-1:] = [last] if count > 1 else raw[-1:]
    # Fourteen digits: 0.15 reads 0.15, and powers of two come out whole, so that they fit a field of whole numbers.
    raw = [float(f"{v:.14g}") for v in raw]
    return [int(v) if v.is_integer() and abs(v) < 2**53 else v for v in raw]


_MOST = 10**7  # values on one axis; more is a slip of the pen


def _bounded(loaded: Loaded, values: range, at: source.Path) -> list[int]:
    if len(values) > _MOST:
        raise loaded.error(f"an axis of {len(values)} values; at most {_MOST} fit", at)
    return list(values)


def _cases(loaded: Loaded, model: type[pydantic.BaseModel]) -> Axis:
    cases = loaded.settings.sweep.cases
    items = [(k, v or {}) for k, v in (cases.items() if isinstance(cases, dict) else enumerate(cases))]
    fields: dict[source.Path, None] = {}
    for step, case in items:
        for key in case:
            fields[_field_path(loaded, model, key, ("sweep", "cases", step, key))] = None
    points = tuple(tuple(case.get(".".join(map(str, path)), ...) for path in fields) for _, case in items)
    labels = tuple(str(step) if isinstance(cases, dict) else _label(case) for step, case in items)
    if len(set(labels)) < len(labels):
        twice = next(i for i, label in enumerate(labels) if label in labels[:i])
        raise loaded.error("this case stands there twice", ("sweep", "cases", items[twice][0]))
    return Axis("case", "cases", tuple(fields), points, labels, ("sweep", "cases"), tuple(step for step, _ in items))


def _label(case: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in case.items()) or "default"


def _named(loaded: Loaded, experiment: Experiment, axes: tuple[Axis, ...]) -> list[Axis]:
    """Axes with short dimension names, none of which another axis or a variable has."""
    seen: list[source.Path] = []
    for axis in axes:
        for path in axis.fields:
            name = ".".join(map(str, path))
            if any(_nested(path, other) for other in seen):
                raise loaded.error(f"{name!r} is varied twice", axis.written, key=True)
            for given in loaded.overridden:
                if _nested(path, given[1:] if given[0] == "params" else given):
                    raise loaded.error(f"{name!r} is set by the sweep too", given)
            seen.append(path)
    taken = {"valid": "the mask"} | dict.fromkeys(experiment.variables, "a variable")
    taken |= {dim: "a dimension of a variable" for v in experiment.variables.values() for dim in v.dims}
    short = [axis.name.rpartition(".")[2] for axis in axes]
    named = []
    for axis, name in zip(axes, short):
        name = name if short.count(name) == 1 else axis.name
        if name in taken:
            raise loaded.error(f"axis {name!r} has the name of {taken[name]} of the experiment", axis.written, key=True)
        named.append(dataclasses.replace(axis, name=name))
    return named


def _nested(one: source.Path, other: source.Path) -> bool:
    """Whether one path is, or lies below, the other."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def _check_points(loaded: Loaded, model: type[pydantic.BaseModel], axes: list[Axis]) -> pydantic.BaseModel:
    """Validate every point; return the base config, in which fields that only the sweep sets hold their first value."""
    settings, document = loaded.settings, loaded.document
    varied = tuple(axis for axis in axes if axis.fields != (SEED,))
    for index in itertools.product(*(range(len(axis)) for axis in varied)):
        params, _ = _assign(settings.params, settings.seed, varied, index)
        moved = {}
        for axis, i in zip(varied, index):
            for path, value in zip(axis.fields, axis.points[i]):
                own = (".".join(map(str, path)),) if axis.kind == "cases" else ()
                if value is not ...:
                    moved[path] = (*axis.written, axis.steps[i], *own)
        validate(model, params, document, ("params",), moved)
    try:
        return model.model_validate_json(json.dumps(settings.params), strict=True, extra="forbid")
    except pydantic.ValidationError:
        params, _ = _assign(settings.params, settings.seed, varied, (0,) * len(varied))
        return validate(model, params, document, ("params",))
