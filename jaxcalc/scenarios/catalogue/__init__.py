"""catalogue: cases of differentiation, as data: what a derivative engine is tuned on and judged by.

A planner may be fitted to half of them (``split="tuned"``); the other half is kept for the verdict.

    from jaxcalc import scenarios
    for case in scenarios.cases("jacobian", split="held out"):
        scenario = case.build()
        scenario.fun(*scenario.arguments)
"""

from collections.abc import Sequence
from typing import get_args

from jaxcalc import checks
from jaxcalc.scenarios.catalogue import (
    algebra,
    arrays,
    control,
    dynamics,
    energies,
    geometry,
    grids,
    networks,
    statistics,
    wavefunctions,
)
from jaxcalc.scenarios.catalogue.entry import Case, Operator, Split

__all__ = ["CASES", "Case", "case", "cases"]

CASES: tuple[Case, ...] = (
    *networks.CASES,
    *grids.CASES,
    *dynamics.CASES,
    *geometry.CASES,
    *statistics.CASES,
    *arrays.CASES,
    *algebra.CASES,
    *control.CASES,
    *energies.CASES,
    *wavefunctions.CASES,
)
"""The whole catalogue, in an order that does not change."""


def cases(
    operator: Operator | None = None, split: Split | None = None, tags: str | Sequence[str] = ()
) -> tuple[Case, ...]:
    """The cases that ask for that derivative, lie in that split and have all those tags.

    Args:
      operator: ``"jacobian"``, ``"hessian"`` or ``"laplacian"``; ``None`` for all.
      split: ``"tuned"`` or ``"held out"``; ``None`` for both.
      tags: one tag or several.

    Raises:
      ValueError: if operator, split or a tag is not one that the catalogue has.
    """
    wanted = {tags} if isinstance(tags, str) else set(tags)
    checks.one_of("cases", "operator", operator, (*get_args(Operator), None))
    checks.one_of("cases", "split", split, (*get_args(Split), None))
    known = sorted({tag for each in CASES for tag in each.tags})
    for tag in wanted:
        checks.one_of("cases", "a tag", tag, known)
    return tuple(
        each
        for each in CASES
        if operator in (None, each.operator) and split in (None, each.split) and wanted <= set(each.tags)
    )


def case(name: str) -> Case:
    """The case of that name.

    Raises:
      ValueError: if there is none; the message has the nearest names.
    """
    catalogue = {each.name: each for each in CASES}
    return catalogue[checks.one_of("case", "name", name, catalogue)]
