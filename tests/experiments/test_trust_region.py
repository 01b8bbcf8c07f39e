"""Small runs of the experiment on trust regions: verdicts are the ledger's, and follow broken data."""

import pytest

from jaxcalc import lab
from jaxcalc.lab import registry
from tests.verdicts import changed, mutated, verdicts

EXPERIMENT = "trust_region"
SMALL = {"examples": {}}
BETTER, MENDED = "second-order-strictly-better-in-theory", "trust-region-mends-both"
SHARE, MINIMA = "newton-share-falls-with-dimension", "descent-ends-in-minima"


@pytest.fixture(scope="module")
def nonconvex(cache, tmp_path_factory):
    config = {
        "experiment": "trust_region.nonconvex",
        "dtype": "float64",
        "params": {"starts": 200},
        "sweep": {"grid": {"method": ["newton", "trust-region"], "dimension": [1, 2, 4]}},
    }
    found = lab.run(config, out=tmp_path_factory.mktemp("nonconvex"), progress=False)
    assert found.messages == []
    return found


def test_every_claim_has_the_ledgers_verdict(run, nonconvex):
    assert [claim.id for claim in run("examples").claims] == [BETTER, MENDED]
    assert [claim.id for claim in nonconvex.claims] == [SHARE, MINIMA]
    for told in (run("examples").claims, nonconvex.claims):
        assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


def test_the_examples_follow_their_data(run):
    data = run("examples").dataset
    assert changed(run("examples"), log_cosh=data.log_cosh.where(data.step != 5)) == {BETTER: "not judged"}
    newton = data["method"] == "newton"
    tame = data.log_cosh.where(~newton, data.log_cosh.sel({"method": "trust-region"}))
    left = data.saddle.where(~newton, data.saddle.sel({"method": "gradient-descent"}))
    assert changed(run("examples"), log_cosh=tame) == {}
    assert changed(run("examples"), log_cosh=tame, saddle=left) == {BETTER: "confirmed"}
    assert changed(run("examples"), log_cosh=data.log_cosh.where(newton, 1.0)) == {MENDED: "refuted"}
    assert changed(run("examples"), saddle=0 * data.saddle)[MENDED] == "refuted"


def test_outcomes_decide(nonconvex):
    data = nonconvex.dataset
    newton = data["method"] == "newton"
    assert changed(nonconvex, outcome=0 * data.outcome) == {SHARE: "refuted"}
    assert changed(nonconvex, outcome=data.outcome.where(~newton, 1 * (data.start % 3 == 0))) == {SHARE: "refuted"}
    stray = data.outcome + 1 * (~newton & (data.start == 0))
    assert changed(nonconvex, outcome=stray) == {MINIMA: "refuted"}
    assert verdicts(nonconvex, data.sel(dimension=[1, 2])) == {SHARE: "not judged", MINIMA: "confirmed"}
    # The outcome of a point that did not finish is filled with zeros, like a minimum's.
    assert changed(nonconvex, valid=data["method"] == "newton") == {MINIMA: "not judged"}


@pytest.mark.parametrize("part", ["examples", "nonconvex"])
def test_no_claim_survives_nan(run, nonconvex, part):
    data = (nonconvex if part == "nonconvex" else run(part)).dataset
    for variable, word, before, after in mutated(f"trust_region.{part}", data):
        assert word != "not a number" or after.verdict == "not judged", (variable, before.id)


def test_figures_can_be_drawn(run, nonconvex):
    assert set(registry.load("trust_region.examples").part.figures(run("examples").dataset)) == {"examples"}
    assert set(nonconvex.figures) == {"outcomes"}
