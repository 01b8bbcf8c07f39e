"""Plain text for terminals and pipes alike: numbers for a person, tables that fit."""

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any


def number(value: Any) -> str:
    """A value for a person: four significant digits, no trailing zeros, lists and dicts by element."""
    if isinstance(value, str) or value is None:
        return value or ""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(number, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number(item)}" for key, item in value.items())
    if type(value).__name__ in ("bool", "bool_"):
        return "yes" if value else "no"
    if isinstance(value, int) or type(value).__name__.startswith(("int", "uint")):
        return str(value)
    try:
        if float(value) == int(value) and abs(int(value)) < 10**7:
            return str(int(value))
        return re.sub(r"e([-+])0*(\d)", r"e\1\2", f"{float(value):.4g}").replace("e+", "e")
    except (TypeError, ValueError, OverflowError):
        return str(value)


def seconds(value: float) -> str:
    """A duration: 0.43 s, 12 s, 3 min 20 s."""
    if value < 60:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def size(count: float) -> str:
    """A number of bytes: 512 B, 1.2 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""


def table(rows: Sequence[dict[str, Any]], *, indent: str = "  ") -> str:
    """Aligned columns under their names; the widest column wraps where the terminal is too narrow."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[number(row.get(column, "")) for column in columns] for row in rows]
    right = [
        all(not isinstance(row.get(column, ""), (str, list, dict, type(None))) for row in rows) for column in columns
    ]
    widths = [max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
    room = (shutil.get_terminal_size().columns if sys.stdout.isatty() else 120) - len(indent) - 2 * (len(columns) - 1)
    while sum(widths) > room and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row in [columns, ["-" * w for w in widths], *cells]:
        wrapped = [textwrap.wrap(cell, w) or [""] for cell, w in zip(row, widths)]
        for k in range(max(map(len, wrapped))):
            parts = [w[k] if k < len(w) else "" for w in wrapped]
            line = "  ".join(p.rjust(w) if r else p.ljust(w) for p, w, r in zip(parts, widths, right))
            lines.append((indent + line).rstrip())
    return "\n".join(lines)
