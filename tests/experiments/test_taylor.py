"""A small run of the experiment on Taylor polynomials: verdicts are the ledger's, and follow broken data."""

from tests.verdicts import verdicts

EXPERIMENT, PART = "taylor", "models"
SMALL = {"models": {"directions": 1000}}


def test_every_claim_has_the_ledgers_verdict(run):
    assert len(run(PART).claims) == 6
    assert [claim.id for claim in run(PART).claims if not claim.passed] == []


def test_broken_data_turn_each_verdict(run):
    data = run(PART).dataset
    before = verdicts(run(PART), data)
    settled = data.error.where(data["case"] == "exp", data.error * 0.1**data.degree)
    bounded = data.change_at_reach.clip(-5.0)
    changes = [
        ("taylor-first-and-second-order", {"model_error": data.model_error**1.1}, "refuted"),
        ("more-taylor-terms-better", {"error": data.error + data.degree}, "refuted"),
        ("more-taylor-terms-better", {"error": settled}, "confirmed"),
        ("taylor-exp-10-terms", {"exp_ten_terms": data.exp_ten_terms + 1e-3}, "refuted"),
        ("np-math-factorial-call", {"has_math": data.has_math + 1}, "confirmed"),
        ("taylor-exp-15-and-sin-10", {"sin_ten_terms": data.sin_ten_terms + 1e-3}, "refuted"),
        ("negative-gradient-minimises-linear-model", {"lowest": data.lowest - 0.1}, "refuted"),
        ("negative-gradient-minimises-linear-model", {"change_at_reach": bounded}, "confirmed"),
    ]
    assert {claim for claim, *_ in changes} == set(before)
    for claim, change, verdict in changes:
        told = verdicts(run(PART), data.assign(change))
        assert {name: told[name] for name in told if told[name] != before[name]} == {claim: verdict}


def test_figures_can_be_drawn(run):
    assert set(run(PART).figures) == {"degrees", "models"}
