"""Ledgers: files that say what claims state, what is expected of data, and the verdict that a check of them reached.

A ``ledger.yaml`` lies in the folder of an experiment or in one above it, up to the top of its package: a list of
entries, each with an ``id`` and a ``statement``, perhaps what is ``expected``, its ``tolerance``, and a ``status``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from jaxcalc.lab import source
from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.experiment import Verdict

__all__ = ["NAME", "Entry", "above", "look_up", "merged", "read"]

NAME = "ledger.yaml"

# How what is known of a claim reads as the verdict that data should reach.
_VERDICTS: dict[str, Verdict] = {
    "verified-true": "confirmed",
    "needs-qualification": "qualified",
    "false-as-stated": "refuted",
    "not-run": "cited",
}


@dataclass(frozen=True)
class Entry:
    """One claim of a ledger.

    Args:
      id: a stable name.
      statement: the claim, in a sentence.
      status: what is known of it: verified-true, needs-qualification, false-as-stated, or not-run where no data can
        settle it.
      part, topic: what it belongs to; ``jaxcalc evidence`` takes these names.
      kind: what sort of evidence it needs (a value, an identity, a rate, ...).
      inputs: the setting. expected: what to hold the measurement against, numbers or words. tolerance: how closely.
      found: the numbers that stand in place of what a false statement expects; data off from both settle nothing.
      how_to_check: in words.
      note: what is exact where the statement is not. citation: the source of what no data can settle.
    """

    id: str
    statement: str
    status: str = "verified-true"
    part: str = ""
    topic: str = ""
    kind: str = ""
    inputs: Any = None
    expected: Any = None
    found: Any = None
    tolerance: float | None = None
    how_to_check: str = ""
    note: str = ""
    citation: str = ""

    @property
    def expects(self) -> Verdict:
        """The verdict that data should reach."""
        return _VERDICTS[self.status]

    @property
    def numbers(self) -> list[float]:
        """The numbers that are expected, in the order in which they are written."""
        return _numbers(self.expected)


def _numbers(expected: Any) -> list[float]:
    if isinstance(expected, (dict, list)):
        parts = expected.values() if isinstance(expected, dict) else expected
        return [number for part in parts for number in _numbers(part)]
    return [float(expected)]


_KEYS = {field.name for field in fields(Entry)}
_REQUIRED = {"id", "statement"}


def read(file: Path) -> dict[str, Entry]:
    """The claims of one ledger by id, in its order.

    Raises:
      ConfigError: it cannot be read, or an entry is not one; with its place.
    """
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None


@cache
def _read(file: Path, _: int) -> dict[str, Entry]:
    document = source.parse(file.read_text(encoding="utf-8"), str(file))
    rows = document.data or []
    if not isinstance(rows, list):
        raise ConfigError("a ledger is a list of claims", mark=document.mark(()))
    found: dict[str, Entry] = {}
    for i, row in enumerate(rows):
        _check(row, document, i)
        if row["id"] in found:
            raise ConfigError(f"the claim {row['id']!r} stands there twice", mark=document.mark((i, "id")))
        found[row["id"]] = Entry(**{key: value for key, value in row.items() if value is not None})
    return found


def _check(row: Any, document: source.Document, i: int) -> None:
    if not isinstance(row, dict) or not row.keys() >= _REQUIRED:
        raise ConfigError("a claim has at least an id and a statement", mark=document.mark((i,)))
    for key in row.keys() - _KEYS:
        raise ConfigError(
            f"unknown key {key!r} in the claim {row['id']!r}",
            mark=document.mark((i, key), key=True),
            suggestion=nearest(key, _KEYS),
            valid=_KEYS,
        )
    if row.get("status", "verified-true") not in _VERDICTS:
        raise ConfigError(
            f"status: got {row['status']!r}",
            mark=document.mark((i, "status")),
            valid=_VERDICTS,
            valid_noun="what may be known of a claim",
        )
    number = row.get("tolerance")
    if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float)) or not number >= 0):
        raise ConfigError(
            f"tolerance: expected a number from 0 on, got {number!r}", mark=document.mark((i, "tolerance"))
        )


def above(file: Path, top: Path) -> Iterator[Path]:
    """The ledgers that an experiment's file sees: in its folder and those above it up to ``top``, nearest first."""
    for folder in file.resolve().parents:
        if (folder / NAME).is_file():
            yield folder / NAME
        if folder == top.resolve():
            return


def merged(files: Iterable[Path]) -> dict[str, Entry]:
    """The claims of several ledgers; of those with one id, the first."""
    found: dict[str, Entry] = {}
    for file in files:
        found = {**found, **{id: entry for id, entry in read(file).items() if id not in found}}
    return found


def look_up(id: str, known: Mapping[str, Entry], who: str) -> Entry:
    """The claim of that id.

    Raises:
      ConfigError: for an unknown id; the message names the nearest.
    """
    if id in known:
        return known[id]
    raise ConfigError(
        f"{who}: no claim {id!r} in a ledger in reach",
        suggestion=nearest(id, known),
        remedy=f"An entry with its id and statement belongs into {NAME}, beside the experiment or above it.",
    )
