"""A config: one YAML file and the command line's overrides, checked as one, every value with its origin."""

import difflib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import pydantic

from jaxcalc.lab import registry, source
from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.experiment import Config, Dtype
from jaxcalc.lab.overrides import COMMAND_LINE, override

Values = dict[str, Any] | list[Any]

_RUNS = "runs"  # the key under which a file holds several runs
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def _bytes(text: Any) -> Any:
    """``"4GiB"`` as a number of bytes; anything else is left to the model to judge."""
    if isinstance(text, str):
        for unit, factor in sorted(_UNITS.items(), key=lambda item: -len(item[0])):
            number = source.scalar(text.removesuffix(unit).strip()) if text.endswith(unit) else None
            if isinstance(number, (int, float)) and math.isfinite(number):
                return int(number * factor)
        raise ValueError(f"expected a size such as 4GiB or 500MB, got {text!r}")
    return text


class Sweep(Config):
    """The axes of a sweep; their points are crossed."""

    vmap: dict[str, Values] = {}
    """Axes that are lanes of one compiled program: a field marked Swept, or seed."""
    grid: dict[str, Values] = {}
    """Axes with one program for each value."""
    auto: dict[str, Values] = {}
    """Axes whose kind is chosen: vmap where the field can be traced, grid otherwise."""
    cases: list[dict[str, Any] | None] | dict[str, dict[str, Any] | None] = []
    """Explicit points, as a list or by label; crossed with the other axes."""


class Settings(Config):
    """What stands at the top level of a config."""

    experiment: str
    """The experiment: NAME of experiments/NAME.py, or a module in dotted form; NAME:part for one of several parts."""
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**32)] = 0
    """The random seed; may be a vmap axis."""
    dtype: Dtype | None = None
    """Floating-point type of the whole run; by default the question's, which is float32 where it names none."""
    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Where to run; auto takes what JAX finds."""
    matmul_precision: Literal["default", "high", "highest"] = "highest"
    """Precision of matrix products on accelerators; below highest they round to fewer bits than dtype has."""
    params: dict[str, Any] = {}
    """The experiment's own parameters."""
    sweep: Sweep = Sweep()
    """What is varied."""
    claims: list[str] | None = None
    """The claims to judge, by id; by default all that the question names."""
    chunk: Annotated[int, pydantic.Field(ge=1)] | None = None
    """Lanes to a trial at most; by default what the memory allows."""
    isolate: Literal["process"] | None = None
    """process: each trial in a process of its own."""
    time_limit: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Seconds that an isolated trial may take."""
    memory_limit: Annotated[int, pydantic.BeforeValidator(_bytes), pydantic.Field(gt=0)] | None = None
    """Memory that an isolated trial may hold, as 4GiB or 500MB."""


@dataclass(frozen=True)
class Loaded:
    """A config as read: its settings, where each value came from, and the name its runs take."""

    settings: Settings
    document: source.Document
    stem: str
    folder: Path

    @property
    def overridden(self) -> list[source.Path]:
        """The paths that the command line set to a value."""
        given = [p for p, mark in self.document.values.items() if mark.file == COMMAND_LINE and p[0] != "sweep"]
        # What a value was put into bears its mark as well.
        return [p for p in given if not any(q[: len(p)] == p for q in given if q != p)]

    def error(self, message: str, path: source.Path, *, key: bool = False, **parts: Any) -> ConfigError:
        """A ConfigError that points at ``path``."""
        return ConfigError(message, mark=self.document.mark(path, key=key), **parts)

    def origin(self, path: source.Path) -> str:
        """``file:line``, ``command line`` or ``default``."""
        mark = self.document.values.get(path)
        if mark is None:
            return "default"
        return f"{mark.file}:{mark.line}" if mark.line else mark.file


def load(config: str | Path | dict[str, Any], overrides: Sequence[str] = ()) -> Loaded:
    """Read and check the top level of a config.

    Args:
      config: a YAML file's path, with ``:NAME`` behind it for one of the runs that it holds; a question; or a dict.
      overrides: ``"a.b=value"`` arguments; ``"a.b=1,2,3"`` sweeps.

    Raises:
      ConfigError: anything wrong, with its place.
    """
    if isinstance(config, dict):
        document, title, folder = source.Document(_plain(config)), "run", Path.cwd()
        if isinstance(config.get("experiment"), str):
            title = _stem(config["experiment"])
    elif (question := _as_question(config)) is not None:
        document, title, folder = source.Document({"experiment": question}), _stem(question), Path.cwd()
    else:
        file, name = _divided(config)
        document, title, folder = source.parse(_read(Path(file)), file), stem(config), Path(file).resolve().parent
        if isinstance(document.data, dict) and (name or _RUNS in document.data):
            document = _one_run(document, file, name)
    if document.data is None:
        raise ConfigError(f"{config}: the config is empty", remedy="It needs at least: experiment: NAME")
    if not isinstance(document.data, dict):
        raise ConfigError("a config is a mapping of keys to values", mark=document.mark(()))
    for argument in overrides:
        override(document, argument, Settings.model_fields)
    _refuse_nan(document)
    settings = validate(Settings, document.data, document, ())
    loaded = Loaded(settings, document, title, folder)
    for limit in ("time_limit", "memory_limit"):
        if getattr(settings, limit) is not None and settings.isolate is None:
            raise loaded.error(
                f"{limit} works only on a trial in its own process", (limit,), key=True, remedy="Add isolate: process."
            )
    return loaded


def runs(config: str | Path) -> list[str]:
    """What is to be run: the file or question itself, or ``FILE:NAME`` for each of the several runs that a file holds.

    Raises:
      ConfigError: the file cannot be read, or is not YAML.
    """
    file, name = _divided(config)
    if name or _as_question(config) is not None:
        return [str(config)]
    data = source.parse(_read(Path(file)), file).data
    held = data.get(_RUNS) if isinstance(data, dict) else None
    return [f"{file}:{key}" for key in held] if isinstance(held, dict) and held else [file]


def stem(config: str | Path) -> str:
    """A config by its short name: a file's stem, with the name of one of its runs; a question as it is."""
    file, name = _divided(config)
    return "-".join(filter(None, (Path(file).stem, name))) if Path(file).suffix in (".yaml", ".yml") else file


def is_large(config: str | Path) -> bool:
    """Whether a config's name ends in ``-large``: it is for an accelerator, and is run where it is named alone."""
    return Path(_divided(config)[0]).stem.endswith("-large")


def _divided(config: str | Path) -> tuple[str, str]:
    """``FILE:NAME`` as file and name; the name is empty where none is given."""
    head, colon, name = str(config).rpartition(":")
    return (head, name) if colon and Path(head).suffix in (".yaml", ".yml") else (str(config), "")


def _one_run(document: source.Document, file: str, name: str) -> source.Document:
    """The config of one of the runs that a file holds: what it says over what stands at the top for all of them."""
    top = document.data
    held = top.get(_RUNS)
    if not isinstance(held, dict) or not held:
        raise ConfigError(
            f"{file}: runs must be a mapping of a name to what that run varies"
            if _RUNS in top
            else f"{file} is one run; it has no {name!r}",
            mark=document.mark((_RUNS,)),
        )
    if name not in held:
        raise ConfigError(
            f"{file} holds several runs; name one, as {file}:{next(iter(held))}"
            if not name
            else f"{file} holds no run {name!r}",
            suggestion=nearest(name, held) if name else None,
            valid=held,
            valid_noun="its runs",
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{_RUNS}: {name!r} names a folder, so it takes letters, digits, '_', '-' and '.', a letter or digit first",
            mark=document.mark((_RUNS, name)),
        )
    own = held[name] if held[name] is not None else {}
    if not isinstance(own, dict):
        raise ConfigError(f"{_RUNS}.{name} must be a mapping of keys to values", mark=document.mark((_RUNS, name)))
    whole = source.Document({key: value for key, value in top.items() if key != _RUNS}, document.question)
    for kept, known in ((whole.values, document.values), (whole.keys, document.keys)):
        kept.update({path: mark for path, mark in known.items() if path[:1] != (_RUNS,)})
        kept.update({path[2:]: mark for path, mark in known.items() if path[:2] == (_RUNS, name)})
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(whole.data.get(key), dict) and key == "params"
        whole.data[key] = {**whole.data[key], **value} if both else value
    return whole


def _as_question(config: str | Path) -> str | None:
    """The question that is named where a file might be: an experiment in reach, addressed as in a config."""
    name = str(config)
    if Path(name).suffix in (".yaml", ".yml") or Path(name).exists() or os.sep in name:
        return None
    return name if registry.exists(name) else None


def _stem(question: str) -> str:
    """What the runs of a question are called."""
    return question.replace(":", "-").replace(".", "-")


def _plain(config: dict[str, Any]) -> Any:
    """A dict from Python as plain data; numpy's numbers and arrays are numbers and lists."""

    def convert(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        raise ConfigError(f"a config holds plain data, got {type(value).__name__}: {value!r}")

    return json.loads(json.dumps(config, default=convert))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = [str(p) for folder in {path.parent, Path("configs")} for p in sorted(folder.glob("*.y*ml"))]
        close = difflib.get_close_matches(str(path), siblings, n=1, cutoff=0.7)
        named = [s for s in siblings if Path(s).stem == path.stem]
        found = (named or close or [None])[0]
        raise ConfigError(
            f"{path}: no such file, and no question of that name",
            suggestion=found or nearest(str(path), registry.available()),
            valid=siblings,
            valid_noun="configs here",
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; expected a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def validate(
    model: type[pydantic.BaseModel],
    data: Any,
    document: source.Document,
    at: source.Path,
    moved: Mapping[source.Path, source.Path] = MappingProxyType({}),
) -> Any:
    """``data`` as an instance of ``model``, strictly, as JSON would be.

    Args:
      at: where ``data`` stands in the document.
      moved: fields whose value was written elsewhere in the document: path in ``data`` -> path in the document.

    Raises:
      ConfigError: the first problem, at its line, with the nearest and the valid keys.
    """
    try:
        return model.model_validate_json(json.dumps(data), strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise _explain(first, model, document, at, moved) from None


def _explain(error: Any, model: Any, document: source.Document, at: source.Path, moved: Any) -> ConfigError:
    """A pydantic error as a ConfigError with a place, a suggestion and the alternatives."""
    location = tuple(error["loc"])
    path = _written(location, document, at, moved)
    name = ".".join(map(str, path[len(at) :] or location)) or "the config"
    if error["type"] == "extra_forbidden":
        keys = field_names(model, location[:-1])
        inside = ".".join(map(str, path[:-1])) or "the top level"
        return ConfigError(
            f"unknown key {location[-1]!r} in {inside}",
            mark=document.mark(path, key=True),
            suggestion=nearest(str(location[-1]), keys),
            valid=keys,
        )
    if error["type"] == "missing":
        return ConfigError(
            f"missing key {name!r}",
            mark=document.mark(path[:-1] if path[-1:] == location[-1:] else path),
            valid=field_names(model, location[:-1]),
        )
    if error["type"] == "literal_error":
        options = _literals(model, location)
        return ConfigError(
            f"{name}: got {error['input']!r}, expected {error['ctx']['expected']}",
            mark=document.mark(path),
            suggestion=nearest(str(error["input"]), options),
        )
    message = error["msg"].removeprefix("Value error, ")
    got = (
        ""
        if isinstance(error["input"], (dict, list)) or repr(error["input"]) in message
        else f", got {error['input']!r}"
    )
    return ConfigError(f"{name}: {message[:1].lower()}{message[1:]}{got}", mark=document.mark(path))


def _written(location: source.Path, document: source.Document, at: source.Path, moved: Any) -> source.Path:
    """Where the value at ``location`` was written; the names that pydantic adds for a union's branches are skipped."""
    for field, origin in moved.items():
        if location[: len(field)] == field:
            return origin
    path = at
    for step in location:
        if (*path, step) in document.values or (*path, step) in document.keys:
            path = (*path, step)
    return path if path != at else at + location[:1]


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def field_at(model: type[pydantic.BaseModel], location: source.Path) -> Any:
    """The last field on the way to ``location``, or ``None``."""
    found: Any = None
    current: type[pydantic.BaseModel] | None = model
    for step in location:
        if current is not None and step in current.model_fields:
            found = current.model_fields[str(step)]
            current = _model_in(found.annotation)
    return found


def nested_model(model: type[pydantic.BaseModel], location: source.Path) -> type[pydantic.BaseModel]:
    """The model that holds the fields at ``location``; ``model`` itself where nothing is nested there."""
    field = field_at(model, location) if location else None
    return (_model_in(field.annotation) if field is not None else None) or model


def field_names(model: type[pydantic.BaseModel], location: source.Path = ()) -> list[str]:
    """The keys that a model, or the model nested at ``location``, has."""
    return list(nested_model(model, location).model_fields)


def _literals(model: type[pydantic.BaseModel], location: source.Path) -> list[str]:
    field = field_at(model, location)

    def walk(annotation: Any) -> Iterator[str]:
        for arg in get_args(annotation):
            if isinstance(arg, str):
                yield arg
            else:
                yield from walk(arg)

    return list(walk(field.annotation)) if field is not None else []


def _refuse_nan(document: source.Document) -> None:
    def walk(value: Any, path: source.Path) -> None:
        if isinstance(value, float) and math.isnan(value):
            raise ConfigError(
                f"{'.'.join(map(str, path))}: not a number (NaN) is no parameter", mark=document.mark(path)
            )
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in items:
            walk(child, (*path, key))

    walk(document.data, ())
