"""cache: where jaxcalc keeps what it may lose."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "empty_cache", "keep", "recall"]


def cache_folder() -> Path:
    """The user's cache folder: ``$JAXCALC_CACHE``, else ``jaxcalc`` below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if chosen := os.environ.get("JAXCALC_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxcalc"


@contextlib.contextmanager
def empty_cache() -> Iterator[Path]:
    """Another cache folder inside the block, empty at first and gone afterwards."""
    before = os.environ.get("JAXCALC_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAXCALC_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("JAXCALC_CACHE", None)
            if before is not None:
                os.environ["JAXCALC_CACHE"] = before


def keep(name: str, value: Any) -> None:
    """Write a JSON value below the cache folder, whole or not at all; where that cannot be, nothing is kept.

    Args:
      name: the file's path below the folder, without its ending.
      value: what JSON can hold.
    """
    path = cache_folder() / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(value, file)
        os.replace(file.name, path)
    except OSError:
        return


def recall(name: str) -> Any:
    """What was kept under that name; ``None`` if nothing readable is there."""
    try:
        return json.loads((cache_folder() / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
