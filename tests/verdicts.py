"""What an experiment's claims come to on a dataset, its own or one broken on purpose."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from jaxcalc.lab import registry
from jaxcalc.lab.judge import Claim, verdict

# Looking an experiment up reads its files, and the mutations below ask for one hundreds of times.
load = functools.cache(registry.load)
ledger = functools.cache(lambda name: load(name).ledger())


def claims(name: str, dataset: Any, only: Iterable[str] | None = None) -> dict[str, Any]:
    """The claims of an experiment, all of them or only some, judged from a dataset."""
    judges, known = load(name).part.claims, ledger(name)
    return {id: verdict(known[id], judges[id], dataset) for id in (judges if only is None else only)}


def verdicts(run: Any, dataset: Any) -> dict[str, str]:
    """The verdict of each claim of a run's experiment on a dataset."""
    return {id: claim.verdict for id, claim in claims(run.dataset.attrs["experiment"], dataset).items()}


def changed(run: Any, **changes: Any) -> dict[str, str]:
    """The claims whose verdict is not the expected one once some of a run's data are replaced."""
    found = claims(run.dataset.attrs["experiment"], run.dataset.assign(changes))
    return {id: claim.verdict for id, claim in found.items() if not claim.passed}


MUTATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "not a number": lambda values: np.full(values.shape, np.nan),
    "zero": np.zeros_like,
    "sign": np.negative,
    "scale": lambda values: 1e3 * values,
}


def mutated(name: str, dataset: Any) -> Iterator[tuple[str, str, Claim, Claim]]:
    """Each claim beside what it comes to once one variable that it reads is broken: variable, mutation, before, after.

    A claim reads a variable if it cannot be judged without it, and finds something else in other numbers.
    """
    before = claims(name, dataset)
    for variable, array in dataset.data_vars.items():
        if array.dtype.kind not in "biuf":
            continue
        without = claims(name, dataset.drop_vars(variable))
        needs = [id for id, claim in without.items() if claim.verdict == "not judged" != before[id].verdict]
        if not needs:
            continue
        with np.errstate(all="ignore"):
            broken = {word: mutate(array.values.astype(float)) for word, mutate in MUTATIONS.items()}
            after = {
                word: claims(name, dataset.assign({variable: array.copy(data=values)}), needs)
                for word, values in broken.items()
            }
        said = lambda claim: (claim.verdict, str(claim.measured))
        for id in needs:
            others = [word for word in MUTATIONS if word != "not a number"]
            if any(said(after[word][id]) != said(before[id]) for word in others):
                yield from ((str(variable), word, before[id], after[word][id]) for word in MUTATIONS)


def survivors(name: str, dataset: Any) -> list[str]:
    """Claims that are still judged when one variable that they read is not a number; none may be."""
    broken = ((variable, after) for variable, word, _, after in mutated(name, dataset) if word == "not a number")
    return [
        f"{after.id}: {after.verdict} without {variable}" for variable, after in broken if after.verdict != "not judged"
    ]
