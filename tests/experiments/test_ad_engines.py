"""Small runs of the experiment on the engines: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest
import xarray

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


# Fact -> the claims that turn when its numbers are wrong.
WRONG = {
    "x0^2 + 3 x0 x1: tape": {"autograd-example-8-3": "refuted"},
    "a b + b: jax": {"tape-engine-example": "refuted"},
    "printed engine: x x at 3": {"tape-engine-equals-pytorch-core": "refuted"},
    "tape: a b + b": {"tape-engine-example": "refuted"},
    "a + b: jax, tape": {"add-node-passes-mul-node-swaps": "refuted"},
    "a b: jax, tape": {"add-node-passes-mul-node-swaps": "refuted"},
    "three Jacobians: gaps": {"backprop-identical-to-reverse-mode": "refuted"},
}


@pytest.mark.parametrize("fact", WRONG)
def test_facts_follow_their_numbers(run, fact):
    data = run("facts").dataset
    assert turned(run("facts"), {"found": data.found + 0.5 * (data.fact == fact)}) == WRONG[fact]


def test_facts_follow_their_data(run):
    data = run("facts").dataset
    first = np.arange(data.sizes["place"]) == 0
    for fact, claim in (
        ("x sin x + x^2 at 1.3: dual, jvp", "dual-numbers-implement-forward-mode"),
        ("Python's control flow: jax, compiled, dual, tape", "dynamic-graph-python-control-flow"),
    ):
        found = data.found + 1e-6 * (data.fact == fact) * xarray.DataArray(first, dims="place")
        assert turned(run("facts"), {"found": found}) == {claim: "refuted"}
    changes = {
        "small-mlp-every-parameter-has-grad": ({"leaf_norm": 0 * data.leaf_norm}, "refuted"),
        "ad-always-returns-the-derivative": ({"slope": 0 * data.slope + 1}, "confirmed"),
        "ad-always-returns-the-derivative, all finite": ({"is_number": data.is_number | True}, "confirmed"),
        "computational-graph-is-a-dag": ({"used_early": data.used_early + 1}, "refuted"),
    }
    for claim, (change, verdict) in changes.items():
        assert turned(run("facts"), change) == {claim.partition(",")[0]: verdict}
    silent = {"exception": data.exception.where(data.exception == "", "none")}
    assert turned(run("facts"), silent) == {
        "tape-engine-equals-pytorch-core": "confirmed",
        "dynamic-graph-python-control-flow": "refuted",
    }


@pytest.mark.parametrize("part", ["accuracy", "cost", "symbolic"])
def test_figures_can_be_drawn(run, part):
    draw = registry.load(f"ad_engines.{part}").part.figures
    assert draw is not None and len(draw(run(part).dataset)) == 1
