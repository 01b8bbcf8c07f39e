"""Small runs of the Newton experiments: their claims reach the verdicts, their figures can be drawn."""

from pathlib import Path

import numpy as np
import pytest

from jaxcalc import lab
from tests.verdicts import survivors, verdicts

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def convergence(tmp_path_factory):
    return lab.run(
        CONFIGS / "newton.yaml",
        "method=gradient-descent,newton",
        "descent_steps=400",
        out=tmp_path_factory.mktemp("runs"),
        progress=False,
    )


@pytest.fixture(scope="module")
def cost(tmp_path_factory):
    config = {
        "experiment": "newton.cost",
        "dtype": "float64",
        "params": {"repeats": 1},
        "sweep": {"grid": {"n": [16, 32, 64, 128]}},
    }
    return lab.run(config, out=tmp_path_factory.mktemp("runs"), progress=False)


def _changed(run, name, change):
    """A copy of a run's dataset with one variable changed in place."""
    data = run.dataset.copy(deep=True)
    change(data[name])
    return data


def test_convergence(convergence):
    run = convergence
    assert run.messages == []
    assert {claim.id: claim.verdict for claim in run.claims} == {
        "newton-quadratic-gd-linear": "confirmed",
        "newton-quadratic-needs-nonsingular-hessian": "qualified",
        "newton-step-from-quadratic-model": "confirmed",
        "newton-on-the-running-example": "refuted",
        "newton-on-more-houses": "confirmed",
    }
    assert set(run.figures) == {"errors", "order"}
    (rows,) = run.tables.values()
    assert len(rows) == 8
    status = run.dataset["status"].sel({"method": "newton"})
    assert (status.sel(case=["breast cancer", "Rosenbrock", "quadratic in ℝ⁶", "546 houses"]) == 0).all()
    assert int(status.sel(case="one house")) == 3


def _set(at, value):
    def change(array):
        array.loc[at] = value

    return change


@pytest.mark.parametrize(
    ("claim", "name", "at", "value", "verdict"),
    [
        ("newton-quadratic-gd-linear", "order", {"case": "breast cancer", "method": "newton"}, 1.0, "refuted"),
        (
            "newton-quadratic-gd-linear",
            "order",
            {"case": "breast cancer", "method": "gradient-descent"},
            2.0,
            "refuted",
        ),
        (
            "newton-quadratic-needs-nonsingular-hessian",
            "order",
            {"case": "exp(x) − 2x + x²/2", "method": "newton"},
            1.5,
            "refuted",
        ),
        (
            "newton-quadratic-needs-nonsingular-hessian",
            "error",
            {"case": "x⁴", "method": "newton", "step": 5},
            1e-9,
            "confirmed",
        ),
        (
            "newton-step-from-quadratic-model",
            "gradient_norm",
            {"case": "quadratic in ℝ⁶", "method": "newton", "step": 1},
            1e-3,
            "refuted",
        ),
        ("newton-on-more-houses", "steps", {"case": "546 houses", "method": "newton"}, 3, "refuted"),
        ("newton-on-more-houses", "rank", {"case": "546 houses", "method": "newton"}, 1, "refuted"),
    ],
)
def test_other_data_changes_the_verdict(convergence, claim, name, at, value, verdict):
    data = _changed(convergence, name, _set(at, value))
    assert verdicts(convergence, data)[claim] == verdict


def test_no_number_survives_nan(convergence, cost):
    assert survivors("newton.convergence", convergence.dataset) == []
    assert survivors("newton.cost", cost.dataset) == []


@pytest.mark.parametrize("steps", [2, 10])
def test_few_steps_decide_no_order(convergence, steps):
    data = convergence.dataset.isel(step=slice(0, steps + 1)).copy(deep=True)
    told = verdicts(convergence, data)
    assert told.pop("newton-on-the-running-example") == "refuted"
    assert told["newton-step-from-quadratic-model"] == "confirmed"
    assert "refuted" not in told.values()
    assert steps > 2 or told["newton-quadratic-gd-linear"] == "not judged"


def test_single_precision_decides_no_order(convergence):
    data = convergence.dataset.assign_attrs(dtype="float32")
    assert {id for id, verdict in verdicts(convergence, data).items() if verdict != "not judged"} == {
        "newton-step-from-quadratic-model"
    }


def test_labels_do_not_name_the_problem(convergence):
    data = convergence.dataset.assign_coords(case=[f"case {index}" for index in range(8)])
    assert verdicts(convergence, data) == verdicts(convergence, convergence.dataset)


def test_convergence_of_one_point_draws(tmp_path):
    config = {"experiment": "newton.convergence", "dtype": "float64", "params": {"problem": "rosenbrock"}}
    run = lab.run(config, out=tmp_path / "runs", progress=False)
    assert run.messages == []
    assert {claim.verdict for claim in run.claims} == {"not judged"}
    assert int(run.dataset["steps"]) == 6


def test_cost_counts_operations(cost):
    run = cost
    assert run.messages == []
    assert {claim.id: claim.verdict for claim in run.claims} == {
        "hessian-inversion-cubic": "confirmed",
        "newton-1e24-operations": "confirmed",
        "newton-step-is-solve-bound": "confirmed",
    }
    assert set(run.figures) == {"cost"}
    data = run.dataset
    assert data["seconds"].attrs["measured"] in (True, 1, "true")
    assert bool(data["solve_hidden"].all())
    np.testing.assert_array_equal(data["inverse_operations"], [2 * n**3 - 2 * n**2 + n for n in (16, 32, 64, 128)])
    np.testing.assert_array_equal(data["solve_counted"], [n * (2 * n * n + 15 * n + 1) // 6 for n in (16, 32, 64, 128)])


@pytest.mark.parametrize(
    ("claim", "name", "power"),
    [
        ("hessian-inversion-cubic", "inverse_operations", 2.0),
        ("newton-1e24-operations", "inverse_operations", 2.0),
        ("newton-step-is-solve-bound", "solve_counted", 2.0),
        ("newton-step-is-solve-bound", "gradient_operations", 2.0),
    ],
)
def test_other_counts_refute_the_claims_on_cost(cost, claim, name, power):
    data = cost.dataset.assign({name: cost.dataset["n"] ** power})
    assert verdicts(cost, data)[claim] == "refuted"


def test_neighbouring_sizes_decide_no_exponent(cost):
    assert set(verdicts(cost, cost.dataset.sel(n=[16, 32])).values()) == {"not judged"}
