"""Small runs of the neural ODE experiments: their claims reach the verdicts, their figures can be drawn."""

import numpy as np
import pytest

from jaxcalc import lab


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path / "cache"))


def _run(tmp_path, name, sweep, **params):
    config = {"experiment": name, "dtype": "float64", "params": params, "sweep": sweep}
    run = lab.run(config, out=tmp_path / "runs", progress=False)
    assert run.messages == []
    return run


def test_pelts_are_fitted_and_blocks_are_eulers_steps(tmp_path):
    run = _run(tmp_path, "neural_ode", {"vmap": {"seed": [0, 1]}}, field="lotka-volterra", train_steps=150)
    assert {claim.id: claim.verdict for claim in run.claims} == {"resnet-is-euler-step": "confirmed"}
    assert set(run.figures) == {"pelts", "residual_network", "training"}
    assert float(run.dataset.error.min()) < 0.35  # the pelts' logarithms themselves spread by 0.7
    assert np.isnan(run.dataset.truth_error).all()


def test_backsolve_keeps_little_and_nears_the_discrete_gradient(tmp_path):
    sweep = {"grid": {"adjoint": ["direct", "backsolve"], "num_steps": [2, 4, 8]}}
    run = _run(tmp_path, "neural_ode_adjoints:memory", sweep, batch=8, hidden=8)
    sizes = run.dataset.temporaries.sel(adjoint="backsolve").values
    assert np.ptp(sizes) <= 0.01 * sizes.min()
    verdicts = {claim.id: claim.verdict for claim in run.claims}
    assert verdicts["adjoint-gradient-by-reverse-ode"] == "qualified"
    assert set(run.figures) == {"memory"}


def test_stiffness_spoils_backsolve_alone(tmp_path):
    cases = {f"Van der Pol, μ = {mu:g}": {"problem": "van-der-pol", "rate": mu} for mu in (1.0, 10.0)}
    sweep = {"cases": cases, "grid": {"adjoint": ["checkpointed", "backsolve"]}}
    run = _run(tmp_path, "neural_ode_adjoints:accuracy", sweep)
    assert {claim.id: claim.verdict for claim in run.claims} == {"backsolve-gradient-fails-when-stiff": "confirmed"}
    assert set(run.figures) == {"gradient_error"}
    error = run.dataset.gradient_error.sel(adjoint="checkpointed")
    assert float(error.max()) < 1e-4
