"""What an experiment's claims come to on a dataset, its own or one broken on purpose."""

from typing import Any

from jaxcalc.lab import registry


def verdicts(run: Any, dataset: Any) -> dict[str, str]:
    """The verdict of each claim of a run's experiment on a dataset."""
    part = registry.load(run.dataset.attrs["experiment"]).part
    return {claim.id: claim.verdict for claim in part.claims(dataset)}


def changed(run: Any, **changes: Any) -> dict[str, str]:
    """The claims whose verdict is not the expected one once some of a run's data are replaced."""
    part = registry.load(run.dataset.attrs["experiment"]).part
    return {claim.id: claim.verdict for claim in part.claims(run.dataset.assign(changes)) if not claim.passed}
