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


def test_wrong_examples_turn_their_verdicts(run):
    data = run("examples").dataset
    before = verdicts(run("examples"), data)
    off = data.assign(measured=data.measured + 1.0)
    told = verdicts(run("examples"), off)
    exact = [name for name in map(str, data.example.values) if before[name] == "confirmed"]
    assert len(exact) == 8 and {told[name] for name in exact} == {"refuted"}
    printed = "x2-exp-derivative-printed-array"
    as_printed = data.measured.where(
        data.example != printed, np.pad([0.0, 8.154, 43.51], (0, 7), constant_values=np.nan)
    )
    assert verdicts(run("examples"), data.assign(measured=as_printed))[printed] == "confirmed"
    assert verdicts(run("examples"), data.assign(quotient_residual=data.step))["square-first-principles"] == "refuted"
    scaled = data.assign(gradient=data.gradient + 0.1, rules_needed=data.rules_needed * 0, sign_changes=0)
    told = verdicts(run("examples"), scaled)
    assert told["running-example-sigmoid-of-raw-price"] == told["five-derivatives-suffice"] == "confirmed"


def test_a_broken_chain_is_refuted(run):
    data = run("chain").dataset
    told = verdicts(run("chain"), data.assign(derivative=1.001 * data.derivative, two_step=data.two_step + 1e-9))
    assert set(told.values()) == {"refuted"}
    told = verdicts(run("chain"), data.isel(layer=slice(49)))
    assert told["fifty-layer-chain-is-product"] == "not judged"


def test_a_gradient_that_vanishes_however_scaled_is_refuted(run):
    data = run("examples").dataset
    told = verdicts(run("examples"), data.assign(scaled_gradient=data.gradient))
    assert told["running-example-sigmoid-of-raw-price"] == "refuted"


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
