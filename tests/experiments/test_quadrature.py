"""Small runs of the experiment on quadrature: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from jaxcalc.lab import registry
from tests.verdicts import ledger, verdicts

EXPERIMENT = "quadrature"
SMALL = {"errors": {"repeats": 200, "doublings": 5, "most": 6400, "draws": 10000}, "examples": {}}


@pytest.mark.parametrize(("part", "claims"), [("errors", 4), ("examples", 15)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [claim.id for claim in told if not claim.passed] == []


def test_errors_turn_their_verdicts(run):
    data = run("errors").dataset
    before = verdicts(run("errors"), data)

    def changed(**change):
        told = verdicts(run("errors"), data.assign(change))
        return {name: told[name] for name in told if told[name] != before[name]}

    left = data.error.where(data.rule != "left", data.error**2)
    assert changed(error=left)["trapezoid-beats-riemann"] == "refuted"
    trapezoid = data.error.where(data.rule != "trapezoid", data.error**0.5)
    assert changed(error=trapezoid)["trapezoid-beats-riemann"] == "refuted"
    simpson = data.error.where(data.rule != "simpson", 1e-20 * data.panels**-4.0)
    assert changed(error=simpson) == {"simpson-most-accurate": "confirmed"}
    simpson = data.error.where(data.rule != "simpson", data.panels**-2.0)
    assert changed(error=simpson) == {"simpson-most-accurate": "refuted"}
    assert changed(rmse=data.rmse**1.5) == {"monte-carlo-sample-average": "refuted"}
    assert changed(estimate=data.estimate + 0.01) == {"monte-carlo-sin-0-pi": "refuted"}
    assert changed(standard_error=2 * data.standard_error) == {"monte-carlo-sin-0-pi": "refuted"}
    narrow = {"estimate": 2 + 1e-4 * (data.estimate - 2), "standard_error": 1e-4 * data.standard_error}
    assert changed(**narrow) == {"monte-carlo-sin-0-pi": "confirmed"}


def test_examples_turn_their_verdicts(run):
    data = run("examples").dataset
    before = verdicts(run("examples"), data)
    wrong = set()
    for name in map(str, data.quantity.values):
        told = verdicts(run("examples"), data.assign(found=data.found + 0.001 * (data.quantity == name)))
        wrong |= {claim for claim in told if told[claim] != before[claim]}
    known = ledger("quadrature.examples")
    assert wrong == {claim for claim in before if before[claim] != "refuted" or known[claim].found is not None}
    as_told = {"x^2, trapezoid, 1000 panels": 2.666667, "numpy has trapz": 1.0, "unsigned area": 0.0}
    found = [as_told.get(str(name), float(value)) for name, value in zip(data.quantity.values, data.found.values)]
    told = verdicts(run("examples"), data.assign(found=("quantity", np.array(found))))
    turned = ("trapezoid-1000-panels-six-digits", "np-trapz-call", "integral-is-area-under-curve")
    assert {told[claim] for claim in turned} == {"confirmed"}


def test_figures_can_be_drawn(run):
    assert set(registry.load("quadrature.errors").part.figures(run("errors").dataset)) == {"rules", "sampling"}
