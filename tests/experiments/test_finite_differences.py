"""Small runs of the experiment on finite differences: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from jaxcalc.lab import registry
from tests.verdicts import changed, verdicts

EXPERIMENT = "finite_differences"
SMALL = {
    "steps": {"halvings": 20},
    "rivals": {"points": 400},
    "counts": {"sizes": [10, 30]},
    "listings": {"draws": 500},
}


@pytest.mark.parametrize(("part", "claims"), [("steps", 1), ("rivals", 1), ("counts", 2), ("listings", 10)])
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


def put(numbers, at, values):
    """The numbers with some of them replaced."""
    numbers = numbers.copy()
    numbers[at] = values
    return numbers


# Claim -> its numbers once broken, and the verdict.
BROKEN = {
    "central-difference-square-table": (lambda v: v + 1e-3, "refuted"),
    "three-differences-at-3": (lambda v: put(v, slice(3), v[2::-1]), "refuted"),
    "numerical-gradient-bowl-at-2-1": (lambda v: put(v, slice(2, 4), v[2:] + 1e-5), "refuted"),
    "numerical-gradient-slice-copy": (lambda v: put(v, slice(2, 4), [4.0, 6.0]), "confirmed"),
    "numerical-gradient-bowl-at-4-2": (lambda v: put(v, slice(2, 4), [8.0, 12.0]), "confirmed"),
    "gradient-check-quadratic": (lambda v: put(v, slice(3), 0.0), "confirmed"),
    "gradcheck-compares-analytic-and-numeric": (lambda v: 0 * v + 1, "refuted"),
    "numerical-hessian-print": (lambda v: put(v, slice(4), np.round(v[:4], 2)), "confirmed"),
    "numerical-differentiation-works-for-any-function": (lambda v: put(v, 3, 0.0), "confirmed"),
}


def with_fact(data, name, change):
    number = data.number.copy()
    count = int(data.entries.sel(fact=name))
    number.loc[{"fact": name}][:count] = change(number.sel(fact=name).values[:count])
    return data.assign(number=number)


@pytest.mark.parametrize("claim", BROKEN)
def test_listings_follow_what_is_printed(run, claim):
    data = run("listings").dataset
    change, verdict = BROKEN[claim]
    told, old = verdicts(run("listings"), with_fact(data, claim, change)), verdicts(run("listings"), data)
    assert {key: told[key] for key in told if told[key] != old[key]} == {claim: verdict}


@pytest.mark.parametrize("claim", BROKEN)
def test_a_printed_number_that_is_none_is_not_judged(run, claim):
    broken = with_fact(run("listings").dataset, claim, lambda v: put(v, 0, np.nan))
    assert verdicts(run("listings"), broken)[claim] == "not judged"


def test_what_is_no_number_is_not_judged(run):
    data = run("steps").dataset
    lost = changed(run("steps"), error=data.error.where(data.step != 2.0**-8))
    assert lost == {"forward-first-central-second-order": "not judged"}
    for variable in ("loses", "median_error", "at_inflection"):
        lost = changed(run("rivals"), **{variable: run("rivals").dataset[variable] * np.nan})
        assert lost == {"central-most-accurate": "not judged"}


def test_counts_follow_the_data(run):
    data = run("counts").dataset
    for name, claim in (
        ("central_calls", "central-difference-costs-2n-evals"),
        ("forward_calls", "nudge-test-needs-one-pass-per-parameter"),
    ):
        told = verdicts(run("counts"), data.assign({name: data[name] * 3}))
        assert told[claim] == "refuted"
        told = verdicts(run("counts"), data.assign({name: data[name] * np.nan}))
        assert told[claim] == "not judged"


@pytest.mark.parametrize("part", ["steps", "rivals", "counts"])
def test_figures_can_be_drawn(run, part):
    assert len(registry.load(f"finite_differences.{part}").part.figures(run(part).dataset)) == 1
