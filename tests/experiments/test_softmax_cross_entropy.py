"""Small runs of the experiment on softmax and cross-entropy: verdicts are the ledger's, and follow broken data."""

import pytest

from tests.verdicts import changed

EXPERIMENT = "softmax_cross_entropy"
SMALL = {"identities": {"problems": 50}, "stability": {}}


@pytest.mark.parametrize(("part", "claims"), [("identities", 8), ("stability", 3)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [claim.id for claim in told if not claim.passed] == []


def test_identities_follow_their_data(run):
    data = run("identities").dataset
    soft = 1e-6 * (data.target == "soft")
    raised = lambda fact, shift: data.number + shift * (data.fact == fact)
    changes = {
        ("softmax-jacobian", "refuted"): {"jacobian_by_ad": data.jacobian_by_ad + 1e-6},
        ("softmax-example-three-logits", "refuted"): {"number": raised("softmax-example-three-logits", 1e-3)},
        ("log-sum-exp-identity", "refuted"): {"number": raised("log-sum-exp-identity", 1e-6)},
        ("softmax-ce-gradient-p-minus-y", "refuted"): {"less_target": data.less_target + soft},
        ("ce-designed-to-pair-with-softmax", "confirmed"): {"link_residual": data.link_residual + 1e-6},
        ("frameworks-shift-softmax-internally", "refuted"): {"maxima": 0 * data.maxima},
    }
    for (claim, verdict), change in changes.items():
        assert changed(run("identities"), **change) == {claim: verdict}
    one_hot = changed(run("identities"), gradient=data.gradient + 1e-6 * (data.target == "one-hot"))
    assert one_hot == dict.fromkeys(
        ["softmax-ce-gradient-p-minus-y", "softmax-ce-gradient-componentwise", "ce-designed-to-pair-with-softmax"],
        "refuted",
    )
    off = changed(run("identities"), probability=0.9 * data.probability)
    assert set(off) == {"softmax-is-distribution", "softmax-ce-gradient-componentwise"}


def test_stability_follows_its_data(run):
    data = run("stability").dataset
    # As if every form were the one from logits.
    fused = {name: data[name].where(data.form == "fused", data[name].sel(form="fused")) for name in ("loss", "slope")}
    flags = {name: 0 * data[name] for name in ("loss_infinite", "slope_undefined")}
    told = changed(run("stability"), **fused, **flags)
    assert told == {"log-of-softmax-unstable": "refuted", "ce-with-1e-15-guard": "confirmed"}
    later = changed(run("stability"), number=data.number * 1.01 ** (data.number > 1))
    assert later == {"naive-softmax-overflows": "refuted"}
    strong = changed(run("stability"), slope=data["slope"].where(data.form != "guarded", 1.0))
    assert strong == {"ce-with-1e-15-guard": "confirmed"}
    infinite = data.loss_infinite.where(data.form != "guarded", 1.0)
    assert changed(run("stability"), loss_infinite=infinite) == {"ce-with-1e-15-guard": "refuted"}


@pytest.mark.parametrize(("part", "names"), [("identities", 1), ("stability", 2)])
def test_figures_can_be_drawn(run, part, names):
    assert len(run(part).figures) == names
