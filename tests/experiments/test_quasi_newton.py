"""Small runs of the experiment on quasi-Newton methods: verdicts are the ledger's, and follow broken data."""

from tests.verdicts import changed, verdicts

EXPERIMENT = "quasi_newton"
SMALL = {
    "logistic": {"samples": 200, "features": 10, "max_steps": 20_000},
    "convergence": {"num_steps": 600},
    "memory": {"starts": 4},
}
GRIDS = {
    "convergence": {"problem": ["quadratic"], "method": ["gradient-descent", "l-bfgs", "bfgs", "newton"]},
    "memory": {"problem": ["quadratic"], "memory_size": [0, 1, 3, 20]},
}
FAST, SAVES, MEMORY = "bfgs-converges-superlinearly", "quasi-newton-saves-gradients", "lbfgs-memory-saves-evaluations"


def test_every_claim_is_the_expected(run):
    assert [claim.id for claim in run("logistic").claims] == ["lbfgs-works-on-logistic-regression"]
    assert [claim.id for claim in run("convergence").claims] == [FAST, SAVES]
    for told in (run("logistic").claims, run("convergence").claims):
        assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


def test_logistic_regression_follows_its_data(run):
    data = run("logistic").dataset
    id = "lbfgs-works-on-logistic-regression"
    assert changed(run("logistic"), iterations=0 * data.iterations + 100) == {id: "refuted"}
    assert changed(run("logistic"), converged=data.converged & False) == {id: "refuted"}


def test_convergence_follows_its_data(run):
    data = run("convergence").dataset
    bfgs = data["method"] == "bfgs"
    linear = data.distance.where(~bfgs, 0.9**data.step)
    assert changed(run("convergence"), distance=linear) == {FAST: "refuted"}
    assert changed(run("convergence"), work=data.work * (1 + 1e6 * bfgs)) == {}
    slow = data.gradient_norm.where(data["method"] != "l-bfgs", 1.0)
    assert changed(run("convergence"), gradient_norm=slow) == {SAVES: "refuted"}
    assert set(verdicts(run("convergence"), data.drop_sel({"method": "bfgs"})).values()) == {"not judged"}


def test_memory_follows_its_data(run):
    data = run("memory").dataset
    assert [(claim.id, claim.verdict) for claim in run("memory").claims] == [(MEMORY, "confirmed")]
    rising = 100 + 10 * data.memory_size + 0 * data.evaluations
    assert changed(run("memory"), evaluations=100 + 0 * data.evaluations) == {MEMORY: "refuted"}
    assert changed(run("memory"), evaluations=rising) == {MEMORY: "refuted"}
    assert changed(run("memory"), status=data.status + 1) == {MEMORY: "refuted"}


def test_figures_can_be_drawn(run):
    assert set(run("convergence").figures) == {"gradients"}
    assert set(run("memory").figures) == {"memory"}
