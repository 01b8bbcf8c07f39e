"""Small runs of the descent experiments: their claims reach the verdicts, their figures can be drawn."""

from pathlib import Path

import numpy as np
import pytest

from jaxcalc import lab

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path / "cache"))


def _run(tmp_path, name, sweep=None, **params):
    config = {"experiment": name, "dtype": "float64", "params": params}
    return lab.run(config | ({"sweep": sweep} if sweep else {}), out=tmp_path / "runs", progress=False)


def _verdicts(run):
    assert run.messages == []
    assert run.exit_code == 0, [(claim.id, claim.measured) for claim in run.claims if not claim.passed]
    return {claim.id: claim.verdict for claim in run.claims}


def test_rates_follow_theory_up_to_the_limit(tmp_path):
    run = _run(
        tmp_path,
        "gradient_descent:rates",
        {
            "cases": {"houses": {"problem": "house-all"}, "breast cancer": {"problem": "breast-cancer"}},
            "vmap": {"rate": [0.1, 1.0, 1.9, 2.1], "seed": [0, 1]},
        },
        num_steps=300,
    )
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


def test_rates_without_a_sweep_still_draw(tmp_path):
    run = _run(tmp_path, "gradient_descent:rates", num_steps=20)
    assert run.messages == []
    assert set(run.figures) == {"regimes"}


def test_steps_grow_with_the_condition_number(tmp_path):
    cases = {f"quadratic {k}": {"problem": "quadratic", "condition_number": float(k)} for k in (3, 10, 100)}
    run = _run(tmp_path, "gradient_descent:conditioning", {"cases": cases, "vmap": {"seed": [0, 1, 2]}})
    assert _verdicts(run) == {"condition-number-slows-gd": "confirmed"}
    assert (run.dataset["steps"] > 0).all()


def test_the_textbook_numbers(tmp_path):
    run = lab.run(CONFIGS / "descent_examples-worked.yaml", out=tmp_path / "runs", progress=False)
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


def test_a_textbook_case_alone_leaves_the_other_claims_out(tmp_path):
    run = _run(tmp_path, "descent_examples:worked", {"cases": {"bowl 0.1": {"num_steps": 80}}})
    assert set(_verdicts(run)) == {"gd-one-step-trace", "gd-50-steps-loss-zero", "gd-50-steps-six-digit-print"}


def test_paths_on_the_surface(tmp_path):
    run = _run(tmp_path, "descent_examples:paths", {"vmap": {"rate": [1.0, 2.05]}}, num_steps=30, resolution=21)
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
