"""Small runs of the adjoints' questions: their claims reach the verdicts, their figures can be drawn."""

from jaxcalc import lab
from tests.verdicts import survivors, verdicts


def _run(tmp_path, name, sweep, **params):
    config = {"experiment": name, "dtype": "float64", "params": params, "sweep": sweep}
    run = lab.run(config, out=tmp_path / "runs", progress=False)
    assert run.messages == []
    return run


def test_backsolve_keeps_little_and_nears_the_discrete_gradient(tmp_path):
    sweep = {"grid": {"adjoint": ["direct", "all checkpoints", "backsolve"], "num_steps": [4, 16, 256, 8192]}}
    run = _run(tmp_path, "neural_ode_adjoints.memory", sweep, batch=8, hidden=8)
    data, told = run.dataset, lambda dataset: verdicts(run, dataset)
    constant, reverse = "adjoint-constant-memory", "adjoint-gradient-by-reverse-ode"
    assert survivors("neural_ode_adjoints.memory", data) == []
    assert told(data) == {constant: "confirmed", reverse: "qualified"}
    growing = (data.adjoint == "backsolve") * 8.0 * (data.num_steps > 16)
    assert told(data.assign(temporaries=data.temporaries + growing))[constant] == "refuted"
    same = data.gradient.where(data.adjoint != "backsolve", 1.001 * data.gradient.sel(adjoint="direct"))
    assert told(data.assign(gradient=same))[reverse] == "refuted"
    # Too short a sweep, or without the adjoint that keeps every step, says nothing of growth.
    for less in (data.isel(num_steps=[0, 1]), data.sel(adjoint=["direct", "backsolve"])):
        assert told(less) == {constant: "not judged", reverse: "qualified"}
    assert set(run.figures) == {"memory"}


def test_stiffness_spoils_backsolve_alone(tmp_path):
    cases = {f"Van der Pol, μ = {mu:g}": {"problem": "van-der-pol", "rate": mu} for mu in (1.0, 10.0)}
    sweep = {"cases": cases, "grid": {"adjoint": ["checkpointed", "backsolve"]}}
    run = _run(tmp_path, "neural_ode_adjoints.accuracy", sweep)
    stiff = "backsolve-gradient-fails-when-stiff"
    recovered = {"adjoint-reverse-solve-recovers-the-trajectory": "not judged"}  # no contraction was run
    assert verdicts(run, run.dataset) == {stiff: "confirmed", **recovered}
    assert survivors("neural_ode_adjoints.accuracy", run.dataset) == []
    assert set(run.figures) == {"gradient_error"}
    data = run.dataset
    assert not data.solved.sel(adjoint="backsolve").values[-1]
    error = data.gradient_error
    assert float(error.sel(adjoint="checkpointed").max()) < 1e-4
    back = data.adjoint == "backsolve"
    told = lambda dataset: verdicts(run, dataset)[stiff]
    right = data.assign(gradient_error=error.where(~back, 1e-3), solved=data.solved * 0 + 1)
    assert told(right) == "refuted"
    # A failed backward solve confirms as a wrong gradient does; a NaN of unknown cause decides nothing.
    wrong = right.assign(gradient_error=error.where(~(back & (data.rate > 5)), 1e9))
    assert told(wrong) == "confirmed"
    assert told(right.assign(gradient_error=error.where(~(back & (data.rate > 5))))) == "not judged"
    assert told(data.isel(case=[0])) == "not judged"
