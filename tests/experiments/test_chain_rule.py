"""Small runs of the experiment on the rules of differentiation: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from jaxcalc.lab import registry
from tests.verdicts import mutated, verdicts

EXPERIMENT = "chain_rule"
SMALL = {}


@pytest.mark.parametrize(("part", "claims"), [("rules", 21), ("examples", 12), ("chain", 2), ("foundations", 12)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [claim.id for claim in told if not claim.passed] == []


def test_a_wrong_rule_is_refuted(run):
    data = run("rules").dataset
    for rule in map(str, data.rule.values):
        broken = data.assign(by_rule=data.by_rule + 1e-3 * (data.rule == rule))
        told, before = verdicts(run("rules"), broken), verdicts(run("rules"), data)
        (changed,) = [name for name in told if told[name] != before[name]]
        assert changed in rule and told[changed] == "refuted"


def with_fact(data, name, *numbers):
    """The data with other numbers of one fact."""
    row = np.resize(np.array(numbers, float), data.number.shape[1])
    return data.assign(number=data.number.where(data.fact != name, row))


def test_wrong_examples_turn_their_verdicts(run):
    data = run("examples").dataset
    before = verdicts(run("examples"), data)
    told = verdicts(run("examples"), data.assign(number=data.number + 1.0))
    exact = [name for name in map(str, data.fact.values) if before[name] == "confirmed"]
    assert len(exact) == 8 and {told[name] for name in exact} == {"refuted"}
    changes = [
        ("x2-exp-derivative-printed-array", (0.0, 8.154, 43.51), "confirmed"),
        ("square-first-principles", (6.0, 2.0**-20), "refuted"),
        ("running-example-sigmoid-of-raw-price", (1.0, 0.1, 0.1), "confirmed"),
        ("running-example-sigmoid-of-raw-price", (1.0, 0.0, 0.0), "refuted"),
        ("five-derivatives-suffice", (5.0, 1.0), "confirmed"),
    ]
    for name, numbers, verdict in changes:
        told = verdicts(run("examples"), with_fact(data, name, *numbers))
        assert {key: told[key] for key in told if told[key] != before[key]} == {name: verdict}


def test_a_broken_chain_is_refuted(run):
    data = run("chain").dataset
    told = verdicts(run("chain"), data.assign(derivative=1.001 * data.derivative, two_step=data.two_step + 1e-9))
    assert set(told.values()) == {"refuted"}
    told = verdicts(run("chain"), data.isel(layer=slice(49)))
    assert told["fifty-layer-chain-is-product"] == "not judged"


@pytest.mark.parametrize("part", ["rules", "examples", "chain", "foundations"])
def test_nan_neither_confirms_nor_refutes(run, part):
    found = list(mutated(f"chain_rule.{part}", run(part).dataset))
    lost = [(name, after) for name, word, _, after in found if word == "not a number"]
    assert [(name, after.id) for name, after in lost if after.verdict != "not judged"] == []
    assert {after.id for _, after in lost} == {claim.id for claim in run(part).claims if claim.verdict != "cited"}


def test_foundations_follow_their_data(run):
    data = run("foundations").dataset
    before = verdicts(run("foundations"), data)
    changes = {
        "nudge-ratio-worked-example": {"nudge_ratio": data.nudge_ratio + 1},
        "derivative-is-limit-of-quotient": {"quotient_error": data.quotient_error**2},
        "derivative-is-tangent-slope": {"tangent_error": data.tangent_error**0.5},
        "zero-derivative-means-insensitive": {"change_of_steep": 1e-6 * data.change_of_steep},
        "sign-rule-of-derivative": {"falls": 0.9 * data.falls},
        "zero-derivative-means-minimum": {"is_minimum": data.is_minimum | True},
        "sinc-limit-table": {"sinc": data.sinc.where(data.h < 0.05, 0.9)},
        "numerical-limit-sinc": {"sinc": data.sinc.where(data.h > 5e-8, 0.9)},
        "limit-product-law": {"product_of_limits": 0.9 * data.product_of_limits},
        "limit-composition-law": {"sign_at_limit": data.sign_at_limit + 1},
        "linear-regression-finds-slope-and-intercept": {"line": data.line + 1e-3},
    }
    for claim, change in changes.items():
        told = verdicts(run("foundations"), data.assign(change))
        assert {name for name in told if told[name] != before[name]} == {claim}
    assert set(before) - set(changes) == {"newton-leibniz-history"}
    first_order = verdicts(run("foundations"), data.assign(change_of_steep=1e6 * data.h))
    assert first_order["zero-derivative-means-insensitive"] == "refuted"


@pytest.mark.parametrize(("part", "names"), [("rules", 2), ("chain", 1), ("foundations", 2)])
def test_figures_can_be_drawn(run, part, names):
    assert len(registry.load(f"chain_rule.{part}").part.figures(run(part).dataset)) == names
