"""What was measured before, in the user's cache folder: which route won, by program, shapes, choices and device."""

import hashlib

from jaxcalc import cache

__all__ = ["keep", "recall"]


def _name(key: str) -> str:
    return f"plans/{hashlib.sha256(key.encode()).hexdigest()}"


def recall(key: str) -> str | None:
    """The label of the route that won, ``None`` if nothing is kept under that key."""
    found = cache.recall(_name(key))
    return found.get("label") if isinstance(found, dict) and found.get("key") == key else None


def keep(key: str, label: str, seconds: dict[str, float]) -> None:
    """Remember the route that won, and what all were measured at."""
    cache.keep(_name(key), {"key": key, "label": label, "seconds": seconds})
