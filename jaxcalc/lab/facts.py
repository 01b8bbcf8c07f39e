"""Small facts: lists of unlike numbers, one list a claim, saved as one table."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcalc.lab.experiment import Variable
from jaxcalc.lab.judge import Check, Finding, Judge, NotJudged

if TYPE_CHECKING:
    import xarray

FACTS: dict[str, Variable] = {
    "fact": Variable(("fact",), "", "the claim"),
    "entries": Variable(("fact",), "", "how many numbers it is about"),
    "number": Variable(("fact", "entry"), "", "these numbers, one after the other"),
}
"""The variables of packed facts, for an experiment's ``VARIABLES``."""

Numbers = Any


def pack_facts(numbers: Mapping[str, Numbers]) -> dict[str, np.ndarray]:
    """The table of facts, as ``run`` returns it.

    Args:
      numbers: claim -> its number, list of numbers or array of any shape.
    """
    flat = {name: np.ravel(np.asarray(value, float)) for name, value in numbers.items()}
    table = np.zeros((len(flat), max((row.size for row in flat.values()), default=0)))
    for line, row in zip(table, flat.values()):
        line[: row.size] = row
    return {"fact": np.array(list(flat)), "entries": np.array([row.size for row in flat.values()]), "number": table}


def fact(dataset: "xarray.Dataset", name: str) -> np.ndarray:
    """The numbers of one fact, flat.

    Raises:
      NotJudged: the table has no such fact, or it has no numbers.
    """
    if name not in dataset.fact.values:
        raise NotJudged(f"the data lack the fact {name}")
    mine = dataset.sel(fact=name)
    count = float(mine.entries)
    if not (np.isfinite(count) and 0 < count <= mine.number.size and count == int(count)):
        raise NotJudged(f"{name}: {count:g} numbers of {mine.number.size}")
    return mine.number.values[: int(count)]


def judge_facts(judges: Mapping[str, Callable[[np.ndarray], Check | Finding]]) -> dict[str, Judge]:
    """Claims about packed facts: claim -> judge of its numbers (``close`` holds them against the ledger)."""
    return {name: lambda dataset, name=name, judge=judge: judge(fact(dataset, name)) for name, judge in judges.items()}


__all__ = ["FACTS", "fact", "judge_facts", "pack_facts"]
