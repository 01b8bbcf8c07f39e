"""Small runs of the experiment on losses: verdicts are the ledger's, and follow broken data."""

import pytest

from jaxcalc.lab import registry
from tests.verdicts import changed

EXPERIMENT = "losses"
SMALL = {"gradients": {"samples": 50, "points": 31}, "convexity": {"points": 21}}


@pytest.mark.parametrize(("part", "claims"), [("gradients", 8), ("convexity", 1)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [claim.id for claim in told if not claim.passed] == []


@pytest.mark.parametrize("column", ["by_table", "by_ad", "closed_form"])
def test_a_wrong_gradient_is_refuted(run, column):
    data = run("gradients").dataset
    for row in map(str, data.row.values):
        told = changed(run("gradients"), **{column: data[column] + 1e-6 * (data.row == row)})
        assert told == {f"loss-gradient-{row}": "refuted"}


def test_wrong_examples_are_refuted(run):
    data = run("gradients").dataset
    changes = {
        "huber-continuity": {"huber_jumps": data.huber_jumps + 1e-6},
        "mse-bce-three-sample-example": {"means": data.means + 1e-3},
        "one-hot-ce-collapses-to-neg-log-p": {"minus_log": data.minus_log + 1e-6},
    }
    for claim, change in changes.items():
        assert changed(run("gradients"), **change) == {claim: "refuted"}


def test_convexity_follows_its_data(run):
    data = run("convexity").dataset
    claim = "mse-quadratic-hence-convex"
    convex = changed(run("convexity"), least_eigenvalue=abs(data.least_eigenvalue))
    assert convex == {claim: "confirmed"}
    assert changed(run("convexity"), least_eigenvalue=-abs(data.least_eigenvalue)) == {claim: "refuted"}


@pytest.mark.parametrize("part", SMALL)
def test_figures_can_be_drawn(run, part):
    assert len(registry.load(f"losses.{part}").part.figures(run(part).dataset)) == 1
