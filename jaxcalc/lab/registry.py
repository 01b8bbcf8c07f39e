"""Where experiments are found, and what a module must export to be one."""

import ast
import difflib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pydantic

from jaxcalc.lab import ledger
from jaxcalc.lab.digests import HOME, LIBRARY, combined, of_library, sources, top_of
from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.experiment import Kind, Part, Variable

_FIELDS = tuple(field.name for field in fields(Part))
_REQUIRED = ("Config", "VARIABLES", "kind", "run")

# The sources of every experiment as they were when it was imported: its file -> file -> digest.
_imported_from: dict[Path, dict[Path, str]] = {}


@dataclass(frozen=True)
class Experiment:
    """A part with its name, its file, its checked variables, and a digest of the source that it was imported from."""

    name: str
    part: Part
    file: Path
    variables: dict[str, Variable]
    source: str
    top: Path
    """The folder of its package, or the folder that holds it: the highest whose ledger it sees."""

    def ledger(self) -> dict[str, ledger.Entry]:
        """The claims that stand in the ledgers that it sees."""
        return ledger.merged(ledger.above(self.file, self.top))

    @property
    def kind(self) -> Kind:
        return self.part.kind

    def measured(self, variable: str) -> bool:
        """Whether a rerun is not expected to repeat this variable."""
        marked = self.variables[variable].measured
        return self.kind == "timed" if marked is None else marked


def folders(near: Path | None = None) -> list[Path]:
    """The ``experiments`` folders: of the current folder, beside the config, and of jaxcalc's own checkout."""
    bases = [Path.cwd(), *([near, near.parent] if near else []), LIBRARY.parent]
    found = dict.fromkeys((base / HOME).resolve() for base in bases)
    return [folder for folder in found if folder.is_dir()]


def available(near: Path | None = None) -> dict[str, Path]:
    """The experiments in reach by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders(near):
        for file in sorted([*folder.glob("[!_.]*.py"), *folder.glob("[!_.]*/[!_.]*.py")]):
            found.setdefault(".".join(file.relative_to(folder).with_suffix("").parts), file)
    return found


def chapters(folder: Path) -> dict[str, tuple[str, ...]]:
    """The order in which a folder of experiments is to be read, if its ``__init__.py`` tells one.

    Returns:
      ``CHAPTERS`` of that file: chapter -> subjects, each a module or a folder of the folder.

    Raises:
      ConfigError: the file cannot be read, or its ``CHAPTERS`` is not such a dict.
    """
    file = folder / "__init__.py"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CHAPTERS":
            try:
                return {name: tuple(subjects) for name, subjects in ast.literal_eval(node.value).items()}
            except (ValueError, AttributeError, TypeError):
                raise ConfigError(
                    f"{file}:{node.lineno}: CHAPTERS must be written out as a dict of a chapter to its subjects"
                ) from None
    return {}


def own_packages() -> dict[str, Path]:
    """The experiments by dotted name in the packages of the current folder that hold a ledger."""
    here = Path.cwd()
    packages = [file.parent for file in sorted(here.glob(f"*/{ledger.NAME}")) if file.parent.name != HOME]
    files = [file for package in packages for file in sorted(package.rglob("[!_.]*.py"))]
    named = {".".join(file.relative_to(here).with_suffix("").parts): file for file in files}
    return {name: file for name, file in named.items() if set(_REQUIRED) <= _names_in(file)}


def _names_in(file: Path) -> set[str]:
    """The names that a module binds at its top; none where it cannot be read."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return set()
    found = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return found | {target.id for target in targets if isinstance(target, ast.Name)}


def exists(name: str) -> bool:
    """Whether a question of that name is in reach: in an ``experiments`` folder, or a module that can be imported."""
    module = name.partition(":")[0]
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    return module.removeprefix(f"{HOME}.") in available() or _on_path(module) is not None


def questions(name: str, file: Path) -> dict[str, str]:
    """What a module asks, ``NAME`` or ``NAME:part`` with the first line of its doc; read without importing it."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return {name: "(cannot be read)"}
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
                    parts[f"{name}:{target.id}"] = str(docs[0].value).partition("\n")[0] if docs else title
    return ({name: title} if defined.issuperset(_REQUIRED) or not parts else {}) | parts


def load(name: str, near: Path | None = None, file: Path | None = None) -> Experiment:
    """Import and check an experiment; one whose source has changed since it was imported is imported afresh.

    Args:
      name: ``NAME``, ``package.module``, or either followed by ``:part``.
      near: the config's folder.
      file: where the experiment lay when it ran; looked at if the name is not found.

    Raises:
      ConfigError: it does not exist, does not import, or does not keep the protocol. Whoever called adds the place.
    """
    module_name, _, part_name = name.partition(":")
    module, file, source = _module(module_name, near, file)
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
    return _checked(name, home, module, file, source)


def _module(name: str, near: Path | None, recorded: Path | None) -> tuple[ModuleType, Path, str]:
    """The module of that name, its file, and the digest of its source."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    known = available(near)
    plain = name.removeprefix(f"{HOME}.")
    file, at_home = known.get(plain), True
    if file is None:
        file, at_home = _on_path(name), False
    if file is None and recorded is not None and recorded.is_file():
        top = top_of(name, recorded)
        file, at_home = recorded, _home_of(plain, recorded) is not None
        if not at_home:
            sys.path.insert(0, str(top.parent))
            _forget(lambda module, _: module.partition(".")[0] == name.partition(".")[0])
            file = _on_path(name)
    if file is None:
        close = nearest(name, known) or (difflib.get_close_matches(name, list(known), n=1, cutoff=0.3) or [None])[0]
        raise ConfigError(
            f"unknown experiment {name!r}",
            suggestion=close,
            valid=known,
            valid_noun="experiments here",
            remedy="One of your own is named as package.module, importable from the current folder.",
        )
    home = _home_of(plain, file) if at_home else None
    now = sources(name, file, home)
    _drop_changed(file, now)
    _imported_from[file] = now

    def execute() -> ModuleType:
        if home is not None:
            _open_home(home)
        return importlib.import_module(f"{HOME}.{plain}" if at_home else name)

    return _imported(name, execute, file), file, combined(file, now)


def _home_of(plain: str, file: Path) -> Path | None:
    """The ``experiments`` folder that holds a file under that name, if one does."""
    folder = file.parents[plain.count(".")] if plain.count(".") < len(file.parents) else None
    fits = folder is not None and folder.name == HOME and file == folder.joinpath(*plain.split(".")).with_suffix(".py")
    return folder if fits else None


def _on_path(name: str) -> Path | None:
    """The file of a module that can be imported; importing the packages around it may be needed to know."""
    package = name.rpartition(".")[0]
    if not all(name.split(".")):
        return None
    try:
        if package:
            _imported(name, lambda: importlib.import_module(package))
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _imported(name: str, execute: Callable[[], ModuleType], file: Path | None = None) -> ModuleType:
    """What ``execute`` imports for an experiment.

    Raises:
      ModuleNotFoundError: there is no such experiment, if its file is not known yet.
      ConfigError: anything else that goes wrong.
    """
    before = set(sys.modules)
    try:
        return execute()
    except (Exception, SystemExit) as error:
        top = HOME if file and HOME in (file.parent.name, file.parent.parent.name) else name.partition(".")[0]
        _forget(lambda module, _: module not in before and module.partition(".")[0] == top)
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if file is None and missing and f"{name}.".startswith(f"{missing}."):
            raise
        machinery = ("<frozen", __file__, importlib.__file__)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(machinery)]
        frames = [f for f in frames if f.filename == str(file)] or frames
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(file or name)
        if isinstance(error, SyntaxError):
            place = f"{error.filename}:{error.lineno}"
        raise ConfigError(f"experiment {name!r} does not import: {place}: {type(error).__name__}: {error}") from None


def _open_home(folder: Path) -> None:
    """Let the package ``experiments`` be this folder, even where another one comes first on the path."""
    current = sys.modules.get(HOME)
    if current is not None and [os.path.realpath(p) for p in getattr(current, "__path__", ())] == [str(folder)]:
        return
    _forget(lambda name, _: name.partition(".")[0] == HOME)
    if (folder / "__init__.py").is_file():
        places = [str(folder)]
        spec = importlib.util.spec_from_file_location(HOME, folder / "__init__.py", submodule_search_locations=places)
    else:
        spec = importlib.machinery.ModuleSpec(HOME, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    assert spec is not None
    sys.modules[HOME] = module = importlib.util.module_from_spec(spec)
    if spec.loader is not None:
        spec.loader.exec_module(module)


def _forget(which: Callable[[str, str], bool]) -> None:
    """Take out of ``sys.modules`` those of whose name and file ``which`` is true; the next import reads them anew."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__") or ""
        if name != "__main__" and which(name, file):
            del sys.modules[name]
            package, _, last = name.rpartition(".")
            around = sys.modules.get(package)
            if getattr(around, "__dict__", {}).get(last) is module:
                delattr(around, last)  # else "from package import last" would still find it


def _checked(name: str, home: Any, module: ModuleType, file: Path, source: str) -> Experiment:
    missing = [key for key in _REQUIRED if not hasattr(home, key)]
    if missing:
        raise ConfigError(
            f"experiment {name!r} lacks {', '.join(missing)}",
            remedy=f"An experiment exports {', '.join(_REQUIRED)} ({file}).",
        )
    found = _around(module) | {key: getattr(home, key) for key in _FIELDS if getattr(home, key, None) is not None}
    found["doc"] = found.get("doc") or getattr(home, "__doc__", None) or module.__doc__ or ""
    if isinstance(home, Part) and not home.doc:
        found["doc"] = module.__doc__ or ""
    part = Part(**found)
    if not (isinstance(part.Config, type) and issubclass(part.Config, pydantic.BaseModel)):
        raise ConfigError(f"experiment {name!r}: Config must be a pydantic model, got {part.Config!r}")
    if "seed" in part.Config.model_fields:
        raise ConfigError(
            f"experiment {name!r}: Config has a field 'seed', but seed is a key of the run itself",
            remedy="Take the field out: the key that run receives is made from the run's seed.",
        )
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
        for word in (key, *variables[key].dims):
            if word == "valid" or word.startswith("valid_"):
                raise ConfigError(
                    f"experiment {name!r}: VARIABLES[{key!r}] uses the name {word!r}; valid and valid_* are the "
                    "lab's masks of what a point does not have",
                    remedy="Choose another name.",
                )
    plain = name.partition(":")[0]
    home = _home_of(plain.removeprefix(f"{HOME}."), file)
    top = home or top_of(plain, file)
    return Experiment(name, part, file, variables, source, top if top.is_dir() else top.parent)


def _around(module: ModuleType) -> dict[str, Any]:
    """The ``dtype`` that the subject of a question, or else the folder of experiments, has for all that name none."""
    names = module.__name__.split(".")[:-1]
    for depth in range(len(names) if names[:1] == [HOME] else 0, 0, -1):
        dtype = getattr(sys.modules[".".join(names[:depth])], "dtype", None)
        if dtype is not None:
            return {"dtype": dtype}
    return {}


def source_hash(experiment: Experiment) -> str:
    """A digest of the source that the experiment was imported from, and of jaxcalc's.

    Of a dotted module all modules below its first component's folder count, in packages also the data files. Of a file
    in an ``experiments`` folder those modules count that it imports, directly or through another, and that lie in that
    folder or beside it.
    """
    return experiment.source + of_library()


def _drop_changed(file: Path, now: dict[Path, str]) -> None:
    """Drop the modules of all experiments that were imported from other sources than there are now."""
    changed = [
        experiment
        for experiment, then in _imported_from.items()
        if any(then.get(source, value) != value for source, value in now.items())
        or (experiment == file and then != now)
    ]
    old = {os.path.realpath(source) for experiment in changed for source in _imported_from.pop(experiment)}
    if not old:
        return
    _forget(lambda _, source: bool(source) and os.path.realpath(source) in old)
    for source in old:  # compiled files tell the time in seconds, too coarse for two edits in a row
        if source.endswith(".py"):
            Path(importlib.util.cache_from_source(source)).unlink(missing_ok=True)
