"""Small runs of the experiment on finite differences: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from jaxcalc.lab import registry
from tests.verdicts import changed, verdicts

EXPERIMENT = "finite_differences"
SMALL = {"steps": {"halvings": 20}, "rivals": {"points": 400}, "listings": {"sizes": [10, 30], "draws": 500}}


@pytest.mark.parametrize(("part", "claims"), [("steps", 1), ("rivals", 1), ("listings", 12)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [claim.id for claim in told if not claim.passed] == []


def test_a_wrong_order_is_refuted(run):
    data = run("steps").dataset
    broken = data.assign(error=data.error * data.step**0.2)
    assert set(verdicts(run("steps"), broken).values()) == {"refuted"}


def test_the_step_by_theory_is_near_the_best(run):
    data = run("steps").dataset.sel(precision="float32")
    for scheme in ("forward", "backward", "central", "fourth-order central"):
        one = data.sel(scheme=scheme)
        # A chance zero of the error is no scale: the median of its neighbours is.
        around = abs(np.log2(data.step / float(one.theory_step))) <= 2.5
        assert float(one.theory_error) <= 16 * float(one.error[around].median())
        assert float(one.theory_error) < 0.1 * float(one.error[0])


def test_a_central_quotient_that_never_loses_is_confirmed_and_one_that_always_does_refuted(run):
    data = run("rivals").dataset
    name = "central-most-accurate"
    assert verdicts(run("rivals"), data.assign(loses=0 * data.loses))[name] == "confirmed"
    assert verdicts(run("rivals"), data.assign(loses=data.loses + 0.01))[name] == "refuted"


# Claim -> the listing that shows it, and its printed numbers once broken.
BROKEN = {
    "central-difference-square-table": ("square, -2 to 2", lambda v: v + 1e-3, "refuted"),
    "three-differences-at-3": ("errors at 3, step as asked", lambda v: v[::-1], "refuted"),
    "numerical-gradient-bowl-at-2-1": ("bowl at (2, 1), library", lambda v: v + 1e-5, "refuted"),
    "numerical-gradient-slice-copy": ("bowl at (2, 1), array by slice", lambda v: np.array([4.0, 6.0]), "confirmed"),
    "numerical-gradient-bowl-at-4-2": ("bowl at (4, 2), integers", lambda v: np.array([8.0, 12.0]), "confirmed"),
    "gradient-check-quadratic": ("relative difference by dtype", lambda v: 0 * v, "confirmed"),
    "gradcheck-compares-analytic-and-numeric": ("right rule accepted", lambda v: 0 * v + 1, "refuted"),
    "numerical-hessian-print": ("Hessian, h = 1e-5", lambda v: np.round(v, 2), "confirmed"),
    "numerical-differentiation-works-for-any-function": ("floor at 1", lambda v: 0 * v, "confirmed"),
}


@pytest.mark.parametrize("claim", BROKEN)
def test_listings_follow_what_is_printed(run, claim):
    data = run("listings").dataset
    name, change, verdict = BROKEN[claim]
    before = data.printed.sel(listing=name).values
    numbers = before[~np.isnan(before)]
    row = np.pad(change(numbers), (0, before.size - numbers.size), constant_values=np.nan)
    printed = data.printed.copy()
    printed.loc[{"listing": name}] = row
    told, old = verdicts(run("listings"), data.assign(printed=printed)), verdicts(run("listings"), data)
    assert {key for key in told if told[key] != old[key]} == {claim}
    assert told[claim] == verdict


@pytest.mark.parametrize("claim", BROKEN)
def test_a_printed_number_that_is_none_is_not_judged(run, claim):
    data = run("listings").dataset
    at = (data.listing == BROKEN[claim][0]) & (data.place == 0)
    told = verdicts(run("listings"), data.assign(printed=data.printed.where(~at)))
    assert told[claim] == "not judged"


def test_what_is_no_number_is_not_judged(run):
    data = run("steps").dataset
    lost = changed(run("steps"), error=data.error.where(data.step != 2.0**-8))
    assert lost == {"forward-first-central-second-order": "not judged"}
    for variable in ("loses", "median_error", "at_inflection"):
        lost = changed(run("rivals"), **{variable: run("rivals").dataset[variable] * np.nan})
        assert lost == {"central-most-accurate": "not judged"}


def test_counts_follow_the_data(run):
    data = run("listings").dataset
    for name, claim in (
        ("central_calls", "central-difference-costs-2n-evals"),
        ("forward_calls", "nudge-test-needs-one-pass-per-parameter"),
    ):
        told = verdicts(run("listings"), data.assign({name: data[name] * 3}))
        assert told[claim] == "refuted"
        told = verdicts(run("listings"), data.assign({name: data[name] * np.nan}))
        assert told[claim] == "not judged"


@pytest.mark.parametrize("part", SMALL)
def test_figures_can_be_drawn(run, part):
    assert len(registry.load(f"finite_differences.{part}").part.figures(run(part).dataset)) == 1
