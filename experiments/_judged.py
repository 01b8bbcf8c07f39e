"""Claims as lists, for the subjects that do not hand their numbers to the lab's comparisons yet."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxcalc.lab import ledger
from jaxcalc.lab.experiment import Claim


def entry(id: str) -> Any:
    """The gallery's claim of that id; without a tolerance it is to be met exactly."""
    known = ledger.look_up(id, ledger.read(Path(__file__).with_name(ledger.NAME)), "claims")
    return replace(known, tolerance=known.tolerance or 0.0)


def judged(
    id: str, stated: bool | None, *, limits: bool = False, measured: Any = "", figure: str | None = None, note: str = ""
) -> Claim:
    """A claim of the gallery's ledger, with the truth of its stated setting and of its counterexample."""
    known = entry(id)
    expected = known.expected if known.expected is not None else known.how_to_check
    truth = None if stated is None else bool(stated)
    note = note or known.note
    return Claim(id, known.statement, truth, bool(limits), expected, measured, known.expects, figure, note)
