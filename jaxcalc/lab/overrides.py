"""What the command line changes of a config: ``a.b=value``, or ``a.b=1,2,3``, which sweeps."""

from collections.abc import Collection
from typing import Any

from jaxcalc.lab import source
from jaxcalc.lab.errors import ConfigError, Mark

COMMAND_LINE = "command line"


def override(document: source.Document, argument: str, top: Collection[str]) -> None:
    """Apply ``a.b=value`` to a config; several values without brackets make an axis, its kind chosen from the field.

    Args:
      document: the config, changed in place.
      argument: as the command line gives it.
      top: the keys at the top of a config; any other name is a parameter's.

    Raises:
      ConfigError: it cannot be read, or sweeps what takes one value.
    """
    name, equals, text = argument.partition("=")
    if not equals or not name or not all(name.split(".")):
        raise ConfigError(f"cannot read the override {argument!r}", remedy="An override reads key=value or a.b=value.")
    whole = Mark(COMMAND_LINE, 0, 1, len(argument), argument)
    steps = (*name.split("."),)
    if steps[0] not in top:
        steps = ("params", *steps)
    pieces = [_fragment(piece, argument) for piece in _split(text)]
    head, *inner = steps
    axis = ".".join(inner) if head == "params" else name
    varies = bool(head == "params" and inner) or name == "seed"
    if varies:
        _drop_axis(document, axis)
    if len(pieces) > 1 and head == "sweep":
        _put(document, steps, pieces, whole)
    elif len(pieces) > 1 and not varies:
        raise ConfigError(f"{name} cannot be swept: it takes one value", mark=whole)
    elif len(pieces) > 1:
        _put(document, ("sweep", "auto", axis), pieces, whole)
    else:
        _put(document, steps, pieces[0], whole)


def _fragment(text: str, argument: str) -> Any:
    try:
        return source.parse(text, COMMAND_LINE).data if text.strip() else ""
    except ConfigError as error:
        raise ConfigError(f"cannot read the override {argument!r}: {error.message}") from None


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    pieces, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c in "[{(":
            depth += 1
        elif c in "]})":
            depth -= 1
        elif c == "," and depth == 0:
            pieces.append(text[start:i])
            start = i + 1
    return [*pieces, text[start:]]


def _put(document: source.Document, path: source.Path, value: Any, mark: Mark) -> None:
    target = document.data
    for depth, step in enumerate(path[:-1]):
        if not isinstance(target.get(step), dict):
            if target.get(step) is not None:
                raise ConfigError(f"{'.'.join(map(str, path[: depth + 1]))} holds a value, not keys", mark=mark)
            target[step] = {}
            document.values[path[: depth + 1]] = mark
        target = target[step]
    target[path[-1]] = value
    for known in (document.values, document.keys):
        for old in [p for p in known if p[: len(path)] == path]:
            del known[old]
        known[path] = mark


def _drop_axis(document: source.Document, axis: str) -> None:
    """A value given on the command line replaces an axis of the file."""
    sweep = document.data.get("sweep")
    for kind in ("vmap", "grid", "auto"):
        axes = sweep.get(kind) if isinstance(sweep, dict) else None
        if isinstance(axes, dict):
            axes.pop(axis, None)
