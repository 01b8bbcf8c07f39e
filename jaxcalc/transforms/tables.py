"""Numbers and rows as a plan shows them."""

import math
from collections.abc import Sequence

__all__ = ["columns", "in_bytes", "in_seconds", "in_units"]


def columns(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Rows as text, the first underlined; the columns named start at the left, the others end at the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    cell = lambda i, text: text.ljust(widths[i]) if i in left else text.rjust(widths[i])
    lines = ["  ".join(cell(i, text) for i, text in enumerate(row)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def in_bytes(number: float) -> str:
    """A number of bytes with three digits."""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def in_units(number: float) -> str:
    """A count with three digits."""
    for unit in ("", " k", " M", " G"):
        if number < 1000:
            return f"{number:.0f}" if not unit else f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} T"


def in_seconds(number: float) -> str:
    """A time with three digits; nothing where it is not known."""
    if math.isnan(number):
        return ""
    for unit in ("ns", "us", "ms"):
        scaled = number * {"ns": 1e9, "us": 1e6, "ms": 1e3}[unit]
        if scaled < 1000:
            return f"{scaled:.3g} {unit}"
    return f"{number:.3g} s"
