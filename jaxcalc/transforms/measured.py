"""What was measured before, in the user's cache folder: which route won, by program, shapes, choices and device."""

import hashlib
import json
import os
import tempfile

from jaxcalc.cache import cache_folder

__all__ = ["keep", "recall"]


def _path(key: str):
    return cache_folder() / "plans" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def recall(key: str) -> str | None:
    """The label of the route that won, ``None`` if nothing readable is kept under that key."""
    try:
        found = json.loads(_path(key).read_text())
        return found["label"] if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(key: str, label: str, seconds: dict[str, float]) -> None:
    """Remember the route that won and what all were measured at; a folder that cannot be written to is passed over."""
    path = _path(key)
    text = json.dumps({"key": key, "label": label, "seconds": seconds})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)  # whole or not at all, whoever else writes
    except OSError:
        return
