"""Where experiments are found, and what a module must export to be one."""

import ast
import difflib
import functools
import hashlib
import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pydantic

import jaxcalc
from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.experiment import Kind, Part, Variable

_FIELDS = tuple(field.name for field in fields(Part))
_REQUIRED = ("Config", "VARIABLES", "kind", "run")


@dataclass(frozen=True)
class Experiment:
    """A part with its name, its file and its checked variables."""

    name: str
    part: Part
    file: Path
    variables: dict[str, Variable]

    @property
    def kind(self) -> Kind:
        return self.part.kind

    def measured(self, variable: str) -> bool:
        """Whether a rerun is not expected to repeat this variable."""
        marked = self.variables[variable].measured
        return self.kind == "timed" if marked is None else marked

    @property
    def coordinates(self) -> set[str]:
        """The variables that are the coordinate of their own dimension."""
        return {name for name, variable in self.variables.items() if variable.dims == (name,)}


def folders(near: Path | None = None) -> list[Path]:
    """The ``experiments`` folders: of the current folder, beside the config, and of jaxcalc's own checkout."""
    bases = [Path.cwd(), *([near, near.parent] if near else []), Path(jaxcalc.__file__).resolve().parent.parent]
    found = dict.fromkeys((base / "experiments").resolve() for base in bases)
    return [folder for folder in found if folder.is_dir()]


def available(near: Path | None = None) -> dict[str, Path]:
    """The experiments in reach by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders(near):
        for file in sorted(folder.glob("*.py")):
            if not file.stem.startswith("_"):
                found.setdefault(file.stem, file)
    return found


def questions(file: Path) -> dict[str, str]:
    """What a module asks, ``NAME`` or ``NAME:part`` with the first line of its doc; read without importing it."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return {file.stem: "(cannot be read)"}
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    parts = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name):
                defined.add(target.id)
                if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in ("Part", "lab.Part"):
                    docs = [
                        k.value for k in node.value.keywords if k.arg == "doc" and isinstance(k.value, ast.Constant)
                    ]
                    parts[f"{file.stem}:{target.id}"] = str(docs[0].value).partition("\n")[0] if docs else title
    return ({file.stem: title} if defined.issuperset(_REQUIRED) or not parts else {}) | parts


def load(name: str, near: Path | None = None) -> Experiment:
    """Import and check an experiment.

    Args:
      name: ``NAME``, ``package.module``, or either followed by ``:part``.
      near: the config's folder.

    Raises:
      ConfigError: it does not exist, does not import, or does not keep the protocol. Whoever called adds the place.
    """
    module_name, _, part_name = name.partition(":")
    module, file = _module(module_name, near)
    home: Any = module
    parts = {key: value for key, value in vars(module).items() if isinstance(value, Part)}
    if part_name:
        home = getattr(module, part_name, None)
        if home is None:
            raise ConfigError(
                f"experiment {module_name!r} has no part {part_name!r}",
                suggestion=nearest(part_name, parts),
                valid=parts,
                valid_noun="its parts",
            )
    elif parts and not all(hasattr(module, key) for key in _REQUIRED):
        raise ConfigError(
            f"experiment {module_name!r} asks several questions; name one part",
            valid=[f"{module_name}:{key}" for key in parts],
            valid_noun="its parts",
        )
    return _checked(name, home, module, file)


def _module(name: str, near: Path | None) -> tuple[ModuleType, Path]:
    known = available(near)
    if name in known:
        return _from_file(name, known[name]), known[name]
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        close = nearest(name, known) or (difflib.get_close_matches(name, list(known), n=1, cutoff=0.3) or [None])[0]
        raise ConfigError(
            f"unknown experiment {name!r}",
            suggestion=close,
            valid=known,
            valid_noun="experiments here",
            remedy="One of your own is named as package.module, importable from the current folder.",
        )
    return _imported(name, functools.partial(importlib.import_module, name), Path(spec.origin)), Path(spec.origin)


def _from_file(name: str, file: Path) -> ModuleType:
    qualified = f"experiments.{name}"
    module = sys.modules.get(qualified)
    if module is not None and getattr(module, "__file__", None) == str(file):
        return module
    spec = importlib.util.spec_from_file_location(qualified, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module

    def execute() -> ModuleType:
        spec.loader.exec_module(module)  # pyright: ignore[reportOptionalMemberAccess]
        return module

    try:
        return _imported(name, execute, file)
    except ConfigError:
        del sys.modules[qualified]
        raise


def _imported(name: str, execute: Any, file: Path) -> ModuleType:
    try:
        return execute()
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
        place = f"{file}:{frames[-1].lineno}" if frames else str(file)
        if isinstance(error, SyntaxError):
            place = f"{error.filename}:{error.lineno}"
        raise ConfigError(f"experiment {name!r} does not import: {place}: {type(error).__name__}: {error}") from None


def _checked(name: str, home: Any, module: ModuleType, file: Path) -> Experiment:
    missing = [key for key in _REQUIRED if not hasattr(home, key)]
    if missing:
        raise ConfigError(
            f"experiment {name!r} lacks {', '.join(missing)}",
            remedy=f"An experiment exports {', '.join(_REQUIRED)} ({file}).",
        )
    found = {key: getattr(home, key) for key in _FIELDS if getattr(home, key, None) is not None}
    found["doc"] = found.get("doc") or getattr(home, "__doc__", None) or module.__doc__ or ""
    if isinstance(home, Part) and not home.doc:
        found["doc"] = module.__doc__ or ""
    part = Part(**found)
    if not (isinstance(part.Config, type) and issubclass(part.Config, pydantic.BaseModel)):
        raise ConfigError(f"experiment {name!r}: Config must be a pydantic model, got {part.Config!r}")
    if part.kind not in get_args(Kind):
        raise ConfigError(f"experiment {name!r}: kind must be one of {', '.join(get_args(Kind))}, got {part.kind!r}")
    variables = {}
    for key, entry in part.VARIABLES.items():
        try:
            dims, *rest = entry
            variables[key] = Variable((dims,) if isinstance(dims, str) else tuple(dims), *rest)
        except (TypeError, ValueError):
            raise ConfigError(
                f"experiment {name!r}: VARIABLES[{key!r}] must be (dimensions, unit, description), got {entry!r}"
            ) from None
        if key in variables[key].dims and variables[key].dims != (key,):
            raise ConfigError(
                f"experiment {name!r}: VARIABLES[{key!r}] has a dimension of its own name; "
                "only a coordinate, with that dimension alone, may"
            )
    return Experiment(name, part, file, variables)


def source_hash(experiment: Experiment) -> str:
    """A digest of the experiment's source and of jaxcalc's.

    Of an experiment in a package, every module of that package counts, since it may import any of them.
    """
    top = experiment.file
    while (top.parent / "__init__.py").exists():
        top = top.parent
    return _digest(top) + _digest(Path(jaxcalc.__file__).resolve().parent)


@functools.cache
def _digest(path: Path) -> str:
    """A digest of a file, or of the sources and data below a folder."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in {".py", ".csv", ".j2"})
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
