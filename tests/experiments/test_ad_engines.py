"""Small runs of the experiment on the engines: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from jaxcalc.lab import registry
from tests.verdicts import verdicts

EXPERIMENT = "ad_engines"
SMALL = {
    "accuracy": {"points": 12},
    "cost": {"sizes": [4, 16, 64], "partials": 12},
    "symbolic": {"depth": 4},
    "facts": {},
}


def turned(run, change):
    """The claims whose verdict a change of the data changes, with the new ones."""
    before, after = verdicts(run, run.dataset), verdicts(run, run.dataset.assign(change))
    return {name: after[name] for name in after if after[name] != before[name]}


@pytest.mark.parametrize(("part", "claims"), [("accuracy", 1), ("cost", 2), ("symbolic", 2), ("facts", 13)])
def test_every_claim_has_the_ledgers_verdict(run, part, claims):
    told = run(part).claims
    assert len(told) == claims
    assert [claim.id for claim in told if not claim.passed] == []


@pytest.mark.parametrize("engine", ["jax forward", "jax reverse", "dual", "tape"])
def test_an_inexact_engine_is_refuted(run, engine):
    data = run("accuracy").dataset
    error = data.scaled_error + 1e-12 * (data.engine == engine)
    assert turned(run("accuracy"), {"scaled_error": error}) == {"ad-exact-to-rounding": "refuted"}


def test_costs_follow_their_counts(run):
    data = run("cost").dataset
    one, rare = "one-backward-pass-gives-all-gradients", "forward-mode-rare-in-ml"
    assert turned(run("cost"), {"calls": data.calls + 1}) == {one: "refuted"}
    assert turned(run("cost"), {"right_partials": data.right_partials - 1}) == {one: "refuted"}
    inverse = {"forward_over_reverse": 1 / data.forward_over_reverse}
    assert turned(run("cost"), inverse) == {rare: "refuted"}
    reverse = {"product_method": ((), np.array("reverse-over-reverse"))}
    assert turned(run("cost"), reverse) == {rare: "confirmed"}


def test_reverse_mode_costs_the_same_whatever_the_inputs_and_forward_mode_does_not(run):
    cost = run("cost").dataset.relative_cost
    for route in ("jax reverse", "tape"):
        assert float(cost.sel(route=route).max()) <= 5
    for route in ("jax forward", "dual", "central"):
        assert (cost.sel(route=route) > 0.5 * cost.n).all()


def test_formulas_follow_their_counts(run):
    data = run("symbolic").dataset
    swell, fails = "symbolic-expression-swell", "symbolic-fails-on-programs"
    assert turned(run("symbolic"), {"derivative_operations": data.value_operations}) == {swell: "refuted"}
    assert turned(run("symbolic"), {"has_formula": data.has_formula | True}) == {fails: "refuted"}
    assert turned(run("symbolic"), {"has_formula": data.has_formula & False}) == {fails: "confirmed"}
    assert turned(run("symbolic"), {"slope_gap": data.slope_gap + 1.0}) == {fails: "confirmed"}


# Claim -> the places of its numbers that are wrong one at a time, each for itself, and what it comes to.
WRONG = {
    "autograd-example-8-3": ([0, 3, 5], "refuted"),
    "small-mlp-every-parameter-has-grad": ([0, 1, 3, 5, 8, 13], "refuted"),
    "tape-engine-example": ([0, 2, 4, 6, 8], "refuted"),
    "tape-engine-equals-pytorch-core": ([0, 2, 5], "refuted"),
    "dual-numbers-implement-forward-mode": ([0], "refuted"),
    "add-node-passes-mul-node-swaps": ([0, 3, 4, 7], "refuted"),
    "dynamic-graph-python-control-flow": ([0, 1, 2, 3], "refuted"),
    "computational-graph-is-a-dag": ([0, 1, 2], "refuted"),
    "backprop-identical-to-reverse-mode": ([0, 1, 2], "refuted"),
}


@pytest.mark.parametrize("claim", WRONG)
def test_facts_follow_their_numbers(run, claim):
    data = run("facts").dataset
    places, verdict = WRONG[claim]
    for place in places:
        wrong = data.number.copy(deep=True)
        wrong.loc[{"fact": claim}][{"entry": place}] += 1.0
        assert turned(run("facts"), {"number": wrong}) == {claim: verdict}, place


def test_facts_follow_their_data(run):
    data = run("facts").dataset
    always = "ad-always-returns-the-derivative"
    for change in ({"slope": 0 * data.slope.fillna(0) + 1}, {"is_number": data.is_number | True}):
        assert turned(run("facts"), change) == {always: "confirmed"}
    again = data.number.copy(deep=True)
    again.loc[{"fact": "tape-engine-equals-pytorch-core"}][{"entry": [3, 4]}] = 6.0  # what a second pass should give
    assert turned(run("facts"), {"number": again}) == {"tape-engine-equals-pytorch-core": "confirmed"}
    silent = {"exception": data.exception.where(data.exception == "", "none")}
    assert turned(run("facts"), silent) == {
        "tape-engine-equals-pytorch-core": "confirmed",
        "dynamic-graph-python-control-flow": "refuted",
    }


@pytest.mark.parametrize("part", ["accuracy", "cost", "symbolic"])
def test_figures_can_be_drawn(run, part):
    draw = registry.load(f"ad_engines.{part}").part.figures
    assert draw is not None and len(draw(run(part).dataset)) == 1
