"""Which files count as the source of an experiment, and their digests."""

import ast
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jaxcalc

__all__ = ["HOME", "LIBRARY", "combined", "of_library", "sources", "top_of"]

HOME = "experiments"
LIBRARY = Path(jaxcalc.__file__).resolve().parent
_DATA = {".csv", ".json", ".npy", ".npz", ".txt", ".yaml"}
_LARGEST = 16 * 2**20  # bytes of a data file that counts as source
_PASSED_OVER = {"__pycache__", "node_modules", "site-packages"}


def sources(name: str, file: Path, home: Path | None = None) -> dict[Path, str]:
    """The files that count as an experiment's source, with their digests.

    Args:
      name: of its module. file: where that lies.
      home: the ``experiments`` folder that holds it; what it imports counts then, not all that lies beside it.
    """
    top = top_of(name, file)
    files = [file, *_below(top)] if home is None and top.is_dir() else _imports_of(file, home)
    return {source: _digest(source) for source in files if source.is_file() and LIBRARY not in source.parents}


@functools.cache
def of_library() -> str:
    """A digest of jaxcalc's own sources and data."""
    files = sorted(p for p in LIBRARY.rglob("*") if p.suffix in {".py", ".csv", ".j2"})
    return combined(LIBRARY, {file: _digest(file) for file in files})


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def combined(near: Path, digests: dict[Path, str]) -> str:
    """One digest of many files; it does not depend on where they lie together."""
    lines = sorted(f"{Path(os.path.relpath(file, near)).as_posix()}\0{value}\n" for file, value in digests.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def top_of(name: str, file: Path) -> Path:
    """The folder of the first component of a module's name, or the file itself if that is all there is."""
    at = file.parent if file.name == "__init__.py" else file
    steps = name.count(".")
    if steps and len(at.parents) >= steps and at.parents[steps - 1].name == name.partition(".")[0]:
        return at.parents[steps - 1]
    return at


def _below(folder: Path, packaged: bool = False) -> Iterator[Path]:
    """The modules below a folder, and in packages the data; not the runs that were written there."""
    entries = sorted(folder.iterdir()) if os.access(folder, os.R_OK | os.X_OK) else []
    names = {entry.name for entry in entries}
    if names >= {"plan.json", "trials"} or folder == LIBRARY:
        return
    packaged = packaged or "__init__.py" in names
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _PASSED_OVER:
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _below(entry, packaged)
        elif entry.suffix == ".py" or (packaged and entry.suffix in _DATA):
            if entry.is_file() and entry.stat().st_size <= _LARGEST:
                yield entry


def _imports_of(file: Path, home: Path | None) -> list[Path]:
    """A file and what it imports from its folder, or from its home and beside that, step by step."""
    folder = home or file.parent
    roots = (folder, folder.parent) if home else (folder,)
    found: dict[Path, None] = {}
    waiting = [
        file,
        *(around / "__init__.py" for around in file.parents if home and folder in (around, *around.parents)),
    ]
    while waiting:
        source = waiting.pop()
        if source in found or not source.is_file():
            continue
        found[source] = None
        if source.suffix == ".py":
            for level, steps in _named_in(source.read_bytes()):
                for root in [source.parents[level - 1]] if level else roots:
                    waiting += _found_at(root, steps, folder, home is not None)
    return list(found)


@functools.lru_cache(maxsize=2048)  # every question of a folder reads what they share
def _named_in(source: bytes) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """The modules that imports in a source may name, each once: dots before, and steps."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    found: dict[tuple[int, tuple[str, ...]], None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(((0, tuple(alias.name.split("."))), None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            steps = tuple(node.module.split(".")) if node.module else ()
            found.update(((node.level, (*steps, alias.name)), None) for alias in node.names)
    return tuple(found)


def _found_at(root: Path, steps: Sequence[str], home: Path, by_subject: bool) -> Iterator[Path]:
    """The file that the steps lead to, or all of the package that they lead into; of a subject, its own file."""
    for step in steps:
        plain, root = root / f"{step}.py", root / step
        if root == LIBRARY:
            return
        if by_subject and root.parent == home and (root / "__init__.py").is_file():
            yield root / "__init__.py"
            continue
        if root != home and (root / "__init__.py").is_file():
            yield from _below(root)
            return
        if plain.is_file():
            yield plain
            return
