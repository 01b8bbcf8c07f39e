"""Small runs of the experiment on quasi-Newton methods: verdicts are the ledger's, and follow broken data."""

import pytest

from jaxcalc import lab
from tests.verdicts import changed, verdicts

EXPERIMENT = "quasi_newton"
SMALL = {"logistic": {"samples": 200, "features": 10, "max_steps": 20_000}}
FAST, SAVES, MEMORY = "bfgs-converges-superlinearly", "quasi-newton-saves-gradients", "lbfgs-memory-saves-evaluations"


@pytest.fixture(scope="module")
def swept(cache, tmp_path_factory):
    found = {}

    def make(part):
        grids = {
            "convergence": {"problem": ["quadratic"], "method": ["gradient-descent", "l-bfgs", "bfgs", "newton"]},
            "memory": {"problem": ["quadratic"], "memory_size": [0, 1, 3, 20]},
        }
        params = {"convergence": {"num_steps": 300}, "memory": {"starts": 4}}
        if part not in found:
            config = {
                "experiment": f"quasi_newton:{part}",
                "dtype": "float64",
                "params": params[part],
                "sweep": {"grid": grids[part]},
            }
            found[part] = lab.run(config, out=tmp_path_factory.mktemp(part), progress=False)
            assert found[part].messages == []
        return found[part]

    return make


def test_every_claim_is_the_expected(run, swept):
    assert [claim.id for claim in run("logistic").claims] == ["lbfgs-works-on-logistic-regression"]
    assert [claim.id for claim in swept("convergence").claims] == [FAST, SAVES]
    for told in (run("logistic").claims, swept("convergence").claims):
        assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


def test_logistic_regression_follows_its_data(run):
    data = run("logistic").dataset
    id = "lbfgs-works-on-logistic-regression"
    assert changed(run("logistic"), iterations=0 * data.iterations + 100) == {id: "refuted"}
    assert changed(run("logistic"), converged=data.converged & False) == {id: "refuted"}


def test_convergence_follows_its_data(swept):
    data = swept("convergence").dataset
    bfgs = data["method"] == "bfgs"
    linear = data.distance.where(~bfgs, 0.9**data.step)
    assert changed(swept("convergence"), distance=linear) == {FAST: "refuted"}
    assert changed(swept("convergence"), work=data.work * (1 + 1e6 * bfgs)) == {}
    slow = data.gradient_norm.where(data["method"] != "l-bfgs", 1.0)
    assert changed(swept("convergence"), gradient_norm=slow) == {SAVES: "refuted"}
    assert verdicts(swept("convergence"), data.drop_sel({"method": "bfgs"})) == {}


def test_memory_follows_its_data(swept):
    data = swept("memory").dataset
    assert [(claim.id, claim.verdict) for claim in swept("memory").claims] == [(MEMORY, "confirmed")]
    rising = 100 + 10 * data.memory_size + 0 * data.evaluations
    assert changed(swept("memory"), evaluations=100 + 0 * data.evaluations) == {MEMORY: "refuted"}
    assert changed(swept("memory"), evaluations=rising) == {MEMORY: "refuted"}
    assert changed(swept("memory"), status=data.status + 1) == {MEMORY: "refuted"}


def test_figures_can_be_drawn(swept):
    assert set(swept("convergence").figures) == {"gradients"}
    assert set(swept("memory").figures) == {"memory"}
