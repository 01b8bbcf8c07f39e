"""The ledger: every claim that the lab owes evidence for, and the verdict that an independent check of it reached."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.experiment import Claim, Verdict

__all__ = ["Entry", "entry", "judged", "ledger"]

# How the ledger's words for what is known of a claim read as a verdict; what nobody checked, data alone cannot settle.
_VERDICTS: dict[str, Verdict] = {
    "verified-true": "confirmed",
    "needs-qualification": "qualified",
    "false-as-stated": "refuted",
    "not-run": "cited",
}
assert set(_VERDICTS.values()) == set(get_args(Verdict))


@dataclass(frozen=True)
class Entry:
    """One claim of the ledger.

    Args:
      id: a stable name.
      part: which experiments owe the evidence. topic: what it is about.
      statement: the claim, as popular texts make it.
      kind: what sort of evidence it needs (a value, an identity, a rate, ...).
      inputs, expected, tolerance: the setting, and what to hold the measurement against.
      how_to_check: in words.
      status: what an independent check found.
      note: the figures of that check, and what is exact where the popular statement is not.
    """

    id: str
    part: str
    topic: str
    statement: str
    kind: str
    status: str
    inputs: Any = None
    expected: Any = None
    tolerance: float = 0.0
    how_to_check: str = ""
    note: str = ""

    @property
    def numbers(self) -> list[float]:
        """The numbers that are expected, in the order in which they are written."""
        return _numbers(self.expected)

    @property
    def expects(self) -> Verdict:
        """The verdict that data should reach."""
        return _VERDICTS[self.status]


@cache
def ledger() -> dict[str, Entry]:
    """Every claim by its id, in the ledger's order."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rows = yaml.load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"), loader)
    return {row["id"]: Entry(**{key: value for key, value in row.items() if value is not None}) for row in rows}


def _numbers(expected: Any) -> list[float]:
    if isinstance(expected, (dict, list)):
        parts = expected.values() if isinstance(expected, dict) else expected
        return [number for part in parts for number in _numbers(part)]
    return [float(expected)]


def entry(id: str) -> Entry:
    """The claim of that id.

    Raises:
      ConfigError: for an unknown id; the message names the nearest.
    """
    known = ledger()
    if id not in known:
        near = nearest(id, known)
        raise ConfigError(f"ledger: no claim {id!r}" + (f"; did you mean {near!r}?" if near else ""))
    return known[id]


def judged(
    id: str, stated: bool | None, *, limits: bool = False, measured: Any = "", figure: str | None = None, note: str = ""
) -> Claim:
    """A claim of the ledger, judged by data.

    Args:
      id: its id in the ledger, which gives the statement, what was expected, and the verdict that data should reach.
      stated: whether the statement holds in its stated setting, computed from data; ``None`` if no data can settle it.
      limits: whether a named counterexample in the data breaks it.
      measured: what was found.
      figure: the name of the figure that shows it.
      note: what is exact; by default the ledger's note.
    """
    known = entry(id)
    expected = known.expected if known.expected is not None else known.how_to_check
    return Claim(
        id,
        known.statement,
        None if stated is None else bool(stated),
        bool(limits),
        expected,
        measured,
        known.expects,
        figure,
        note or known.note,
    )
