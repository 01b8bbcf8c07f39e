"""Small runs of the experiment on curvature: verdicts are the ledger's, and follow broken data."""

import pytest

from tests.verdicts import changed

EXPERIMENT = "curvature"
SMALL = {"products": {"largest": 512}, "kronecker": {"samples": 100, "networks": 4}}


@pytest.mark.parametrize(("part", "claims"), [("products", 2), ("kronecker", 1)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


def test_products_follow_their_data(run):
    data = run("products").dataset
    first = "deep-learning-must-stay-first-order"
    assert changed(run("products"), entries=2 * data.entries) == {"hessian-1e16-entries": "refuted"}
    assert changed(run("products"), product_operations=data.product_operations * data.n) == {first: "confirmed"}
    for factor in (0.1, 10):  # a product is no cheaper than the gradient
        assert changed(run("products"), product_operations=factor * data.product_operations) == {first: "confirmed"}
    assert changed(run("products"), hessian_operations=data.gradient_operations) == {first: "refuted"}


def test_factors_follow_their_data(run):
    data = run("kronecker").dataset
    for change in (
        {"linear_error": data.linear_error + 1e-6},
        {"by_ad": data.by_ad + 1e-6},
        {"hidden_error": data.hidden_error + 1},
        {"stored": data.stored * 10},
    ):
        assert changed(run("kronecker"), **change) == {"kronecker-factored-curvature": "refuted"}


@pytest.mark.parametrize("part", SMALL)
def test_figures_can_be_drawn(run, part):
    assert len(run(part).figures) == 1
