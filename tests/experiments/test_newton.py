"""Small runs of the Newton experiments: their claims reach the verdicts, their figures can be drawn."""

from pathlib import Path

import numpy as np
import pytest

from jaxcalc import lab

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path / "cache"))


def test_convergence(tmp_path):
    run = lab.run(
        CONFIGS / "newton-convergence.yaml",
        "method=gradient-descent,newton",
        "descent_steps=400",
        out=tmp_path / "runs",
        progress=False,
    )
    assert run.messages == []
    assert {claim.id: claim.verdict for claim in run.claims} == {
        "newton-quadratic-gd-linear": "confirmed",
        "newton-quadratic-needs-nonsingular-hessian": "qualified",
        "newton-step-from-quadratic-model": "confirmed",
        "newton-on-the-running-example": "qualified",
    }
    assert set(run.figures) == {"errors", "order"}
    (rows,) = run.tables.values()
    assert len(rows) == 8


def test_convergence_of_one_point_draws(tmp_path):
    config = {"experiment": "newton:convergence", "dtype": "float64", "params": {"problem": "rosenbrock"}}
    run = lab.run(config, out=tmp_path / "runs", progress=False)
    assert run.messages == []
    assert run.claims == []
    assert int(run.dataset["steps"]) == 6


def test_cost_counts_operations(tmp_path):
    config = {
        "experiment": "newton:cost",
        "dtype": "float64",
        "params": {"repeats": 1},
        "sweep": {"grid": {"n": [16, 32, 64, 128]}},
    }
    run = lab.run(config, out=tmp_path / "runs", progress=False)
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
