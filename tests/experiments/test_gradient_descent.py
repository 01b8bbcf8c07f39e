"""Small runs of the descent experiments: their claims reach the verdicts, their figures can be drawn."""

from pathlib import Path

import numpy as np
import pytest

from jaxcalc import lab
from tests.verdicts import mutated, verdicts

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    return _run(
        tmp_path_factory.mktemp("runs"),
        "gradient_descent.rates",
        {
            "cases": {"houses": {"problem": "house-all"}, "tumours": {"problem": "breast-cancer"}},
            "vmap": {"rate": [0.1, 1.0, 1.9, 2.1], "seed": [0, 1]},
        },
        num_steps=300,
    )


@pytest.fixture(scope="module")
def conditioning(tmp_path_factory):
    cases = {f"kappa {k}": {"problem": "quadratic", "condition_number": float(k)} for k in (3, 10, 30, 100)}
    sweep = {"cases": cases, "vmap": {"seed": [0, 1, 2]}}
    return _run(tmp_path_factory.mktemp("runs"), "gradient_descent.conditioning", sweep)


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return lab.run(f"{CONFIGS}/descent_examples.yaml:worked", out=out, progress=False)


def _run(tmp_path, name, sweep=None, **params):
    config = {"experiment": name, "dtype": "float64", "params": params}
    return lab.run(config | ({"sweep": sweep} if sweep else {}), out=tmp_path / "runs", progress=False)


def _verdicts(run):
    assert run.messages == []
    assert run.exit_code == 0, [(claim.id, claim.measured) for claim in run.claims if not claim.passed]
    return {claim.id: claim.verdict for claim in run.claims}


def test_rates_follow_theory_up_to_the_limit(rates):
    run = rates
    assert _verdicts(run) == {
        "gd-limit-two-over-l": "qualified",
        "gd-linear-rate-theory": "confirmed",
        "linear-and-logistic-losses-convex": "confirmed",
    }
    assert set(run.figures) == {"contraction", "regimes"}
    houses = run.dataset.sel(case="houses")
    factors = houses["theory"].sel(rate=[1.9, 2.1], seed=0)
    np.testing.assert_allclose(factors, [0.9, 1.1], rtol=1e-12)
    # Seeds begin elsewhere, at the same distance from the optimum.
    assert float(houses["gap"].isel(step=0).std("seed").max()) > 0
    assert (houses["status"].sel(rate=[1.0, 1.9]) == 0).all()
    assert (houses["status"].sel(rate=2.1) == 2).all()


@pytest.mark.parametrize(
    ("claim", "name", "at", "value", "verdict"),
    [
        ("gd-limit-two-over-l", "contraction", {"case": "houses", "rate": 2.1}, 0.9, "refuted"),
        ("gd-limit-two-over-l", "contraction", {"case": "houses", "rate": 1.9}, 1.1, "refuted"),
        ("gd-limit-two-over-l", "contraction", {"case": "tumours"}, 1.1, "confirmed"),
        ("gd-linear-rate-theory", "contraction", {"case": "houses", "rate": 0.1}, 0.9, "refuted"),
        ("gd-linear-rate-theory", "contraction", {"case": "houses", "rate": 0.1}, 1.0, "refuted"),
        ("linear-and-logistic-losses-convex", "least_curvature", {"case": "houses"}, -1e-3, "refuted"),
        # Less than the ridge of 0.01: the loss without it is not convex.
        ("linear-and-logistic-losses-convex", "least_curvature", {"case": "tumours"}, 0.009, "refuted"),
    ],
)
def test_other_data_changes_the_verdict(rates, claim, name, at, value, verdict):
    data = rates.dataset.copy(deep=True)
    data[name].loc[at] = value
    assert verdicts(rates, data)[claim] == verdict


def test_what_the_rates_leave_open_is_not_judged(rates):
    data, limit = rates.dataset, "gd-limit-two-over-l"
    judged = lambda data: {id for id, verdict in verdicts(rates, data).items() if verdict != "not judged"}
    assert limit not in judged(data.sel(rate=[0.1, 2.1]))
    assert limit not in judged(data.sel(rate=[0.1, 1.9]))
    assert limit not in judged(data.isel(step=slice(0, 3)))
    assert judged(data.sel(case=["houses"])) == {"gd-linear-rate-theory"}
    assert judged(data.assign_attrs(dtype="float32")) == {limit}


def test_a_factor_that_should_be_there_is_missed(rates):
    data = rates.dataset.copy(deep=True)
    data["contraction"].loc[{"case": "houses", "rate": 0.1, "seed": 0}] = np.nan
    found = verdicts(rates, data)
    assert {id for id, verdict in found.items() if verdict == "not judged"} == {
        "gd-limit-two-over-l",
        "gd-linear-rate-theory",
    }
    # Runs too short to be read are flagged, and lack nothing.
    short = ~rates.dataset.readable
    assert bool((rates.dataset.contraction.isnull() == short).all())


def test_rates_without_a_sweep_still_draw(tmp_path):
    run = _run(tmp_path, "gradient_descent.rates", num_steps=20)
    assert run.messages == []
    assert set(run.figures) == {"regimes"}


def test_steps_grow_with_the_condition_number(conditioning):
    run = conditioning
    assert _verdicts(run) == {"condition-number-slows-gd": "confirmed"}
    assert (run.dataset["steps"] > 0).all()
    data, id = run.dataset, "condition-number-slows-gd"
    for name in ("steps", "contraction"):
        assert verdicts(run, data.assign({name: data[name] ** 2})) == {id: "refuted"}
    assert verdicts(run, data.isel(case=[0, 1])) == {id: "not judged"}
    assert verdicts(run, data.assign_attrs(dtype="float32")) == {id: "not judged"}


def test_the_textbook_numbers(worked):
    run = worked
    assert _verdicts(run) == {
        "gd-one-step-trace": "confirmed",
        "gd-50-steps-loss-zero": "confirmed",
        "gd-50-steps-six-digit-print": "refuted",
        "ill-conditioned-gd-oscillates": "qualified",
        "training-loop-four-steps": "confirmed",
        "house-partials": "confirmed",
        "house-gd-lr-1e-10": "qualified",
        "learning-rate-too-large-diverges": "confirmed",
        "house-w1-dominates": "qualified",
    }
    assert set(run.figures) == {"one-house", "bowl"}


@pytest.mark.parametrize(
    ("claim", "name", "at", "factor", "verdict"),
    [
        ("gd-one-step-trace", "x", {"case": "bowl 0.1", "step": 1}, 1.001, "refuted"),
        ("gd-50-steps-loss-zero", "x", {"case": "bowl 0.1", "step": 50}, 1.001, "refuted"),
        ("gd-50-steps-six-digit-print", "x", {"case": "bowl 0.1", "step": 50}, 0.0, "confirmed"),
        ("ill-conditioned-gd-oscillates", "x", {"case": "bowl 0.3", "step": 3}, -1.0, "refuted"),
        ("training-loop-four-steps", "loss", {"case": "sphere", "step": 3}, 9.0, "refuted"),
        ("house-partials", "gradient", {"case": "house tiny rate", "step": 0}, 1.001, "refuted"),
        ("house-gd-lr-1e-10", "x", {"case": "house tiny rate", "step": 5000}, 1.1, "refuted"),
        ("house-gd-lr-1e-10", "loss", {"case": "house tiny rate", "step": 5000}, 0.0, "confirmed"),
        ("learning-rate-too-large-diverges", "loss", {"case": "house 1.01 limit", "step": 2000}, 0.0, "refuted"),
        ("house-w1-dominates", "x", {"case": "house 0.99 limit", "coordinate": 0}, 1.1, "refuted"),
    ],
)
def test_other_textbook_numbers_change_the_verdict(worked, claim, name, at, factor, verdict):
    data = worked.dataset[["x", "loss", "gradient", "rate", "limit"]].assign_attrs(worked.dataset.attrs)
    data = data.assign({name: data[name].copy(deep=True)})
    data[name].loc[at] *= factor
    assert verdicts(worked, data)[claim] == verdict


@pytest.mark.parametrize(("steps", "count"), [(0, 1), (2, 2), (10, 4), (1999, 6), (2000, 8)])
def test_short_textbook_runs_leave_claims_out(worked, steps, count):
    found = verdicts(worked, worked.dataset.isel(step=slice(0, steps + 1)))
    assert sum(verdict != "not judged" for verdict in found.values()) == count
    assert {claim for claim, verdict in found.items() if verdict == "refuted"} <= {"gd-50-steps-six-digit-print"}


def test_a_textbook_case_alone_leaves_the_other_claims_out(tmp_path):
    run = _run(tmp_path, "descent_examples.worked", {"cases": {"bowl 0.1": {"num_steps": 80}}})
    judged = {claim.id for claim in run.claims if claim.verdict != "not judged"}
    assert judged == {"gd-one-step-trace", "gd-50-steps-loss-zero", "gd-50-steps-six-digit-print"}
    assert run.exit_code == 1


def test_no_rate_survives_nan(rates, conditioning):
    for run in (rates, conditioning):
        for variable, word, before, after in mutated(run.dataset.attrs["experiment"], run.dataset):
            assert word != "not a number" or after.verdict == "not judged", (variable, before.id)


def test_no_textbook_number_survives_nan(worked):
    for variable, word, before, after in mutated("descent_examples.worked", worked.dataset):
        assert word != "not a number" or after.verdict == "not judged", (variable, before.id)


def test_paths_on_the_surface(tmp_path):
    run = _run(tmp_path, "descent_examples.paths", {"vmap": {"rate": [1.0, 2.05]}}, num_steps=30, resolution=21)
    assert _verdicts(run) == {}
    assert set(run.figures) == {"contour"}
    data = run.dataset
    first, last = data["gap"].isel(step=0), data["gap"].isel(step=-1)
    assert float((last / first).sel(rate=1.0)) < 0.01
    assert float((last / first).sel(rate=2.05)) > 1
    # The surface is least beside the optimum that it carries.
    at = data["surface"].argmin(("first", "second"))
    spacing = [float(data[name][1] - data[name][0]) for name in ("first", "second")]
    low = np.array([float(data[name][at[name]]) for name in ("first", "second")])
    assert np.all(np.abs(low - data["optimum"].values) <= np.array(spacing) * 3)
