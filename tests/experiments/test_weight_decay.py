"""Small runs of the experiment on weight decay: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from tests.verdicts import changed

EXPERIMENT = "weight_decay"
SMALL = {"updates": {}, "scales": {}, "penalties": {"num_steps": 100, "draws": 3}}
CLAIMS = {
    "updates": [
        "l2-penalty-gradient",
        "l2-equals-weight-decay-for-sgd",
        "l2-differs-from-decay-for-adam",
        "weight-decay-factor",
    ],
    "scales": ["adamw-decouples-decay"],
    "penalties": [
        "l1-proximal-steps-give-exact-zeros",
        "l1-subgradient-steps-give-no-zeros",
        "ista-gap-within-its-bound",
    ],
}


@pytest.mark.parametrize("part", SMALL)
def test_every_claim_has_the_ledgers_verdict(run, part):
    told = run(part).claims
    assert [claim.id for claim in told] == CLAIMS[part]
    assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


def test_updates_follow_their_data(run):
    data = run("updates").dataset
    of = lambda name: data["method"] == name
    changes = {
        ("l2-penalty-gradient", "refuted"): {"residual": data.residual + 1e-12},
        ("l2-equals-weight-decay-for-sgd", "refuted"): {"decoupled": data.decoupled + 1e-9 * of("sgd")},
        ("l2-differs-from-decay-for-adam", "refuted"): {"decoupled": data.decoupled.where(~of("adam"), data.penalty)},
        ("weight-decay-factor", "refuted"): {"remaining": data.remaining + [0.0, 1e-8]},
    }
    for (claim, verdict), change in changes.items():
        assert changed(run("updates"), **change) == {claim: verdict}
    shrunk = {"l2-equals-weight-decay-for-sgd": "refuted"}
    assert changed(run("updates"), shrunk=data.shrunk + 1e-9) == shrunk
    assert set(run("updates").figures) == {"updates", "factor"}


def test_decay_alone_has_a_closed_form(run):
    data = run("updates").dataset
    # Squaring the rounding of 1 - factor a hundred times over.
    expected = (1 - data.factor.values[:, None]) ** np.arange(101)
    np.testing.assert_allclose(data.remaining_by_factor, expected, rtol=1e-12)


def test_scales_follow_their_data(run):
    data, id = run("scales").dataset, "adamw-decouples-decay"
    decoupled = data["method"] == "adamw"
    np.testing.assert_allclose(data.shrunk.isel(method=1, step=-1), float(data.expected[-1]), atol=1e-2)
    assert changed(run("scales"), shrunk=data.shrunk * (1 + decoupled * np.log10(data.scale))) == {id: "refuted"}
    # Were the penalty's decay even too, there would be nothing to decouple.
    assert changed(run("scales"), shrunk=data.shrunk.where(decoupled, 0.1)) == {id: "refuted"}
    assert set(run("scales").figures) == {"scales"}


def test_penalties_follow_their_data(run):
    data = run("penalties").dataset
    of = lambda name: data.route == name
    some, none, bound = CLAIMS["penalties"]
    farther = data.gap.where(~of("L1, proximal"), data.gap + 1e-9)
    changes = {
        some: [
            {"zeros": data.zeros * ~of("L1, proximal")},
            {"zeros": data.zeros + of("L2, gradient")},
            {"zeros": data.zeros + data.spared * of("L1, proximal")},
            {"optimality": data.optimality + 1e-9},
        ],
        none: [{"zeros": data.zeros + of("L1, subgradient")}, {"gap": farther}],
        bound: [{"bound": 1e-3 * data.bound}],
    }
    for claim, broken in changes.items():
        for change in broken:
            assert changed(run("penalties"), **change) == {claim: "refuted"}
    assert set(run("penalties").figures) == {"weights", "gaps"}
