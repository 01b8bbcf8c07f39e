"""Small runs of the experiment on activations: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from tests.verdicts import changed

EXPERIMENT = "activations"
SMALL = {
    "curves": {"reach": 20},
    "saturation": {},
    "units": {"width": 32, "samples": 20_000, "steps": 20},
}


@pytest.mark.parametrize(("part", "claims"), [("curves", 14), ("saturation", 4), ("units", 7)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [claim.id for claim in told if not claim.passed] == []


def test_wrong_curves_are_refuted(run):
    data = run("curves").dataset
    only = lambda name: data.activation == name
    slopes = changed(run("curves"), by_ad=data.by_ad + 1e-3)
    assert set(slopes) == {
        "sigmoid-derivative-identity",
        "sigmoid-derivative-max-quarter",
        "sigmoid-table",
        "sigmoid-slope-at-5",
        "tanh-derivative-identity",
        "tanh-table",
        "tanh-slope-at-3",
    }
    assert set(changed(run("curves"), value=data.value + 1e-3 * only("relu"))) == {"relu-values"}
    assert "sigmoid-at-zero" in changed(run("curves"), value=data.value + 1e-9 * only("sigmoid"))
    assert "tanh-is-scaled-sigmoid" in changed(run("curves"), value=data.value + 1e-9 * only("tanh"))
    assert set(changed(run("curves"), leaky_by_maximum=data.leaky_by_maximum + 1e-9)) == {"leaky-relu-formula"}
    assert set(changed(run("curves"), leaky_by_ad=data.leaky_by_ad + 1e-9)) == {"leaky-relu-formula"}
    assert set(changed(run("curves"), elu_by_ad=data.elu_by_ad + 1e-9)) == {"elu-derivative"}
    exact = data.value.where(~only("gelu_tanh"), data.value.sel(activation="gelu"))
    same = changed(run("curves"), value=exact, framework_gelu=data.value.sel(activation="gelu", drop=True))
    assert same == {"gelu-definition-vs-code": "confirmed"}
    assert changed(run("curves"), framework_gelu=data.framework_gelu + 1) == {"gelu-definition-vs-code": "refuted"}


def test_saturation_follows_its_data(run):
    data = run("saturation").dataset
    ratio = data.fact == "tanh-pure-python-ratio-of-exponentials"
    raised = lambda fact: data.number + 0.1 * (data.fact == fact) * (abs(data.number) < 0.9)
    changes = {
        ("sigmoid-open-unit-interval", "confirmed"): {"sigmoid": np.minimum(data.sigmoid, 0.999)},
        ("sigmoid-open-unit-interval", "refuted"): {"sigmoid_of_negative": 0 * data.sigmoid},
        ("stable-sigmoid-two-branches", "refuted"): {"number": raised("stable-sigmoid-two-branches")},
        ("tanh-pure-python-ratio-of-exponentials", "confirmed"): {
            "number": data.number.where(~ratio | (data["entry"] > 0), 0.0),
            "ratio_error": 0 * data.ratio_error,
        },
        ("tanh-pure-python-ratio-of-exponentials", "refuted"): {"ratio_error": data.ratio_error + 1e-3},
        ("tanh-zero-centred-sigmoid-not", "refuted"): {"number": raised("tanh-zero-centred-sigmoid-not")},
    }
    for (claim, verdict), change in changes.items():
        assert changed(run("saturation"), **change) == {claim: verdict}


def test_units_follow_their_data(run):
    data = run("units").dataset
    more = data["count"] + 1 * (data.program == "sigmoid and slope")
    changes = {
        ("relu-derivative-at-zero-convention", "confirmed"): {"slope_at_zero": np.floor(data.slope_at_zero)},
        ("relu-zero-has-probability-zero", "confirmed"): {"zero_share": 0 * data.zero_share},
        ("relu-zero-has-probability-zero", "refuted"): {"zero_share": data.zero_share + 0.1},
        ("relu-passes-gradient-unattenuated", "confirmed"): {"signal": 0 * data.signal + 1},
        ("relu-passes-gradient-unattenuated", "refuted"): {"factor_at_3": 0.5 * data.factor_at_3},
        ("dying-relu", "refuted"): {"moved": data.moved + 1e-9},
        ("linear-layers-collapse", "refuted"): {"collapse": data.collapse + 1e-6},
        ("sigmoid-backward-reuses-forward", "refuted"): {"count": more},
        ("tanh-inside-lstm-gates", "refuted"): {"count": data["count"] + 1 * (data.program == "LSTM cell")},
    }
    for (claim, verdict), change in changes.items():
        assert changed(run("units"), **change) == {claim: verdict}


@pytest.mark.parametrize("part", SMALL)
def test_figures_can_be_drawn(run, part):
    assert len(run(part).figures) == 2
