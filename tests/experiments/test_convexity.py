"""Small runs of the experiment on convexity: verdicts are the ledger's, and follow broken data."""

import pytest

from jaxcalc.lab import registry
from tests.verdicts import changed, verdicts

EXPERIMENT = "convexity"
SMALL = {
    "shapes": {"chords": 4000, "hessians": 60, "directions": 36, "path": 21},
    "separable": {"decades": 4},
    "starts": {"starts": 40},
    "width": {"starts": 100, "curved": 4},
}
GRIDS = {"starts": {"problem": ["log-sum-exp", "six-hump-camel"]}, "width": {"width": [2, 16]}}


@pytest.mark.parametrize(("part", "claims"), [("shapes", 6), ("separable", 1)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


@pytest.mark.parametrize(("part", "claims"), [("starts", 2), ("width", 1)])
def test_every_swept_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


def test_shapes_follow_their_data(run):
    data = run("shapes").dataset
    only = lambda name: data.function == name
    agree, network = "chords-and-curvature-agree", "network-loss-non-convex"
    below = changed(run("shapes"), margin=data.margin - 1 * only("log-sum-exp"))
    assert below == {"convex-chord-definition": "refuted", agree: "refuted"}
    assert changed(run("shapes"), margin=abs(data.margin)) == {agree: "refuted"}
    assert changed(run("shapes"), least_curvature=abs(data.least_curvature)) == {agree: "refuted"}
    flipped = changed(run("shapes"), eigenvalues=-data.eigenvalues[:, ::-1])
    assert flipped == {
        "hessian-eigenvalue-classification": "refuted",
        "hessian-eigenvalues-answer-the-shape": "refuted",
    }
    told = changed(run("shapes"), eigenvalues=data.eigenvalues.where(data.eigenvalues != 0, 1.0))
    assert told["hessian-eigenvalues-answer-the-shape"] == "confirmed"
    assert changed(run("shapes"), gradient_norm=data.gradient_norm + 1) == {"network-loss-has-saddle-points": "refuted"}
    assert changed(run("shapes"), loss_along=0 * data.loss_along) == {network: "refuted"}
    assert changed(run("shapes"), loss_along=data.loss_along + 1) == {network: "refuted"}


def test_ends_follow_their_data(run):
    data = run("starts").dataset
    convex, others = "convex-local-is-global", "other-functions-have-other-minima"
    moved = data.value + 1e-6 * data.start * (data.problem == "log-sum-exp")
    assert changed(run("starts"), value=moved) == {convex: "refuted"}
    assert changed(run("starts"), value=0 * data.value) == {others: "refuted"}
    assert changed(run("starts"), status=data.status + 1) == {convex: "refuted", others: "refuted"}


def test_growth_of_the_weights_follows_its_data(run):
    data = run("separable").dataset
    id = "gd-finds-the-bottom-of-convex"
    settled = data.norm.where(data.data != "separable", 1.0)
    assert changed(run("separable"), norm=settled) == {id: "confirmed"}
    growing = data.norm.where(data.data != "overlapping", data.norm.sel(data="separable"))
    assert changed(run("separable"), norm=growing) == {id: "refuted"}
    assert changed(run("separable"), gradient=data.gradient + 1e-3) == {id: "refuted"}


def test_success_follows_its_data(run):
    data = run("width").dataset
    id = "large-networks-find-good-solutions"
    assert changed(run("width"), solved=data.solved | True) == {id: "confirmed"}
    assert changed(run("width"), solved=data.solved & False) == {id: "refuted"}
    assert verdicts(run("width"), data.isel(width=[0])) == {id: "not judged"}


def test_figures_can_be_drawn(run):
    for part, names in (("shapes", {"shapes", "path"}), ("separable", {"norms"})):
        assert set(registry.load(f"convexity.{part}").part.figures(run(part).dataset)) == names
    assert set(run("starts").figures) == {"ends"}
    assert set(run("width").figures) == {"width"}
