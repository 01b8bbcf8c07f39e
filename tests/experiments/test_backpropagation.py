"""Small runs of the experiment on backpropagation: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from jaxcalc.lab import registry
from tests.verdicts import changed, verdicts

EXPERIMENT = "backpropagation"
SMALL = {"gradients": {"pairs": 50}, "xor": {"starts": 60, "epochs": 10000}, "cost": {"widths": [4, 16, 64]}}


@pytest.mark.parametrize(("part", "claims"), [("gradients", 4), ("xor", 2)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [claim.id for claim in told if not claim.passed] == []


def test_all_routes_give_one_gradient(run):
    data = run("gradients").dataset
    eps = np.finfo(float).eps
    for name, tolerance in (("by_hand", 4 * eps), ("by_tape", 4 * eps), ("by_differences", 1e-9)):
        assert float(abs(data[name] - data.by_jax).max(skipna=False)) <= tolerance


def test_wrong_gradients_turn_their_verdicts(run):
    data = run("gradients").dataset
    before = verdicts(run("gradients"), data)
    changes = {
        "sigmoid-bce-gradient-a-minus-y": ({"logit_residual": data.logit_residual + 1e-9}, "refuted"),
        "two-layer-backward-matches-ad": ({"by_hand": data.by_hand * (1 + 1e-9)}, "refuted"),
        "backward-helper-batch-size": ({"helper": data.helper / data.num_samples}, "confirmed"),
        "backprop-is-chain-rule-per-layer": ({"layer_residual": data.layer_residual + 1e-9}, "refuted"),
    }
    for claim, (change, verdict) in changes.items():
        told = verdicts(run("gradients"), data.assign(change))
        assert {name for name in told if told[name] != before[name]} == {claim}
        assert told[claim] == verdict


def test_xor_follows_its_outputs(run):
    data = run("xor").dataset
    all_right = data.assign(output=data.output * 0 + data.target)
    assert set(verdicts(run("xor"), all_right).values()) == {"confirmed"}
    unlucky = data.assign(output=data.output.where(data.start != 42, 0.5))
    assert set(verdicts(run("xor"), unlucky).values()) == {"refuted"}


@pytest.mark.parametrize(
    ("part", "variable", "claims"),
    [
        ("gradients", "logit_residual", {"sigmoid-bce-gradient-a-minus-y"}),
        ("gradients", "by_hand", {"two-layer-backward-matches-ad"}),
        ("gradients", "helper", {"backward-helper-batch-size"}),
        ("gradients", "layer_residual", {"backprop-is-chain-rule-per-layer"}),
        ("xor", "output", {"xor-seed-42-solved", "xor-solved-in-general"}),
    ],
)
def test_what_is_no_number_is_not_judged(run, part, variable, claims):
    data = run(part).dataset
    broken = {variable: data[variable] * np.nan}
    assert changed(run(part), **broken) == dict.fromkeys(claims, "not judged")


def test_one_start_without_an_output_leaves_the_share_of_starts_open(run):
    data = run("xor").dataset
    told = changed(run("xor"), output=data.output.where(data.start != 7))
    assert told == {"xor-solved-in-general": "not judged"}


def test_one_backward_pass_costs_the_same_whatever_the_parameters_and_nudges_do_not(run):
    cost = run("cost").dataset.relative_cost
    for route in ("by hand", "tape", "reverse"):
        assert float(cost.sel(route=route).max()) <= 5
    n = cost.num_parameters
    assert (cost.sel(route="forward differences") > 0.4 * n).all()
    assert (cost.sel(route="central differences") > 0.8 * n).all()
    (rows,) = registry.load("backpropagation.cost").part.tables(run("cost").dataset).values()
    assert len(rows) == cost.route.size


@pytest.mark.parametrize("part", SMALL)
def test_figures_can_be_drawn(run, part):
    assert len(registry.load(f"backpropagation.{part}").part.figures(run(part).dataset)) == 1
