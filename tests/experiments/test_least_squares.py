"""Small runs of the experiment on least squares: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from jaxcalc import lab
from jaxcalc.lab import registry
from tests.verdicts import changed, mutated, verdicts

EXPERIMENT = "least_squares"
SMALL = {"examples": {}, "conditioning": {"points": 12, "designs": 6}}


@pytest.fixture(scope="module")
def cost(tmp_path_factory):
    config = {
        "experiment": "least_squares.cost",
        "dtype": "float64",
        "params": {"repeats": 2},
        "sweep": {"grid": {"n": [128, 256], "d": [32, 96]}},
    }
    config["params"]["condition_number"] = 1.8
    return lab.run(config, out=tmp_path_factory.mktemp("cost"), progress=False)


@pytest.mark.parametrize("part", SMALL)
def test_every_claim_has_the_ledgers_verdict(run, part):
    told = run(part).claims
    assert len(told) == {"examples": 3, "conditioning": 2}[part]
    assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


def test_the_worked_examples_follow_their_data(run):
    data = run("examples").dataset
    normal, house = "ols-normal-equation", "ols-on-the-running-example"
    mended = "running-example-by-pseudo-inverse-or-more-houses"
    for name in ("gradient_residual", "gradient_at_solution", "distance_to_svd"):
        assert changed(run("examples"), **{name: data[name] + 1e-9}) == {normal: "refuted"}
    assert changed(run("examples"), rank_of_one=0 * data.rank_of_one + 2) == {house: "confirmed"}
    assert changed(run("examples"), rank_of_many=0 * data.rank_of_many + 1) == {mended: "refuted"}
    for name in ("many_by_normal", "many_by_svd", "one_by_svd", "one_nearest"):
        assert changed(run("examples"), **{name: 1.1 * data[name]}) == {mended: "refuted"}


def test_errors_follow_their_data(run):
    data = run("conditioning").dataset
    inverse, squared = "ols-one-matrix-inversion-gives-the-answer", "normal-equations-square-the-condition-number"
    only = lambda name: data["method"] == name
    assert changed(run("conditioning"), error=data.error + 1e-3 * only("inverse")) == {inverse: "refuted"}
    exact = data.error.where(~only("inverse"), data.error.sel({"method": "svd"}))
    assert changed(run("conditioning"), error=exact)[inverse] == "confirmed"
    linear = data.error.where(~only("normal"), data.error.sel({"method": "qr"}))
    assert changed(run("conditioning"), error=linear)[squared] == "refuted"
    gentle = data.error.where(~only("qr"), 1e-16 * data.condition_number)
    assert changed(run("conditioning"), error=gentle) == {squared: "confirmed"}
    single = run("conditioning").dataset.assign_attrs(dtype="float32")
    assert verdicts(run("conditioning"), single) == dict.fromkeys((inverse, squared), "not judged")
    # One error of QR's that is missing between others is not passed over.
    hole = data.error.where(~only("qr") | (data.condition_number != data.condition_number[5]))
    assert changed(run("conditioning"), error=hole) == {squared: "not judged"}


def test_cost_is_counted(cost):
    assert cost.messages == []
    assert [(claim.id, claim.measured) for claim in cost.claims if not claim.passed] == []
    assert {claim.id for claim in cost.claims} == {
        "ols-cost-cubic-gd-step-nd",
        "descent-overtakes-normal-equations",
        "product-costs-more-than-its-inverse",
    }
    assert cost.dataset["seconds"].attrs["measured"] in (True, 1, "true")
    assert set(cost.figures) == {"cost"}


def test_other_counts_change_the_verdicts_on_cost(cost):
    data = cost.dataset
    steps, overtakes = "ols-cost-cubic-gd-step-nd", "descent-overtakes-normal-equations"
    product = "product-costs-more-than-its-inverse"
    assert changed(cost, gram_operations=data.gram_operations / data.n) == {product: "refuted"}
    assert changed(cost, step_operations=data.step_operations * data.d) == {steps: "refuted"}
    assert changed(cost, step_operations=data.step_operations * np.sqrt(data.n)) == {steps: "refuted"}
    assert changed(cost, inverse_operations=data.inverse_operations / data.d) == {steps: "refuted"}
    assert changed(cost, operations=data.operations * (1 + (data["method"] == "normal"))) == {overtakes: "refuted"}
    assert changed(cost, error=data.error + 1) == {overtakes: "refuted"}
    short = verdicts(cost, data.isel(d=[0]))
    assert short == {steps: "not judged", overtakes: "not judged", product: "confirmed"}


@pytest.mark.parametrize("part", ["examples", "conditioning", "cost"])
def test_no_claim_survives_nan(run, cost, part):
    data = (cost if part == "cost" else run(part)).dataset
    for variable, word, before, after in mutated(f"least_squares.{part}", data):
        assert word != "not a number" or after.verdict == "not judged", (variable, before.id)


def test_figures_can_be_drawn(run):
    assert set(registry.load("least_squares.conditioning").part.figures(run("conditioning").dataset)) == {"errors"}
