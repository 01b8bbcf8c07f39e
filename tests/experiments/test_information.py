"""Small runs of the questions on information, evidence and policy gradients: verdicts, and what breaks them."""

import numpy as np
import pytest
import xarray

from jaxcalc import lab
from tests.verdicts import changed, survivors

SMALL = {
    "information": {"pairs": 200, "draws": 1 << 14, "spins": 4},
    "evidence_integral": {"draws": 1 << 12},
    "policy_gradient": {"horizons": [1, 2, 3], "episodes": 256},
}
SWEEPS = {
    "policy_gradient": {"grid": {"baseline": ["none", "leave-one-out"]}, "vmap": {"seed": {"range": [0, 100]}}},
}


@pytest.fixture(scope="module")
def answered(cache, tmp_path_factory):
    """Each question, asked once."""
    told = {}

    def make(name):
        if name not in told:
            config = {"experiment": name, "dtype": "float64", "params": SMALL[name], "sweep": SWEEPS.get(name, {})}
            told[name] = lab.run(config, out=tmp_path_factory.mktemp(name), progress=False)
            assert told[name].messages == [] and told[name].figures
            assert survivors(name, told[name].dataset) == []
        return told[name]

    return make


def test_information(answered):
    found = answered("information")
    assert [(claim.id, claim.measured) for claim in found.claims if not claim.passed] == []
    assert len(found.claims) == 15
    data = found.dataset

    def turned(fact, entry, by):
        place = (data.fact == fact) & (xarray.DataArray(np.arange(data.sizes["entry"]), dims="entry") == entry)
        return changed(found, number=data.number + by * place)

    for name in ("pdf-integrates-to-one", "die-mean-and-variance", "marginal-by-integrating-out"):
        assert turned(name, 1, 1e-3) == {name: "refuted"}
    for name in ("jensen-shannon-is-bounded", "mutual-information-is-entropies", "kl-definition"):
        assert turned(name, 0, -1.0) == {name: "refuted"}
    for name in ("expectation-is-integral", "probability-is-integral-of-density"):
        assert turned(name, 2, 0.1) == {name: "refuted"}
    # A false statement is refuted by the right number, not by any.
    assert turned("kl-example", 0, 1e-3) == {"kl-example": "not judged"}
    assert changed(found, divergence=data.divergence + 1e-6) == {"divergence-by-quadrature-and-draws": "refuted"}
    assert changed(found, log_partition=data.log_partition + 1e-6) == {"ring-partition-function-is-closed": "refuted"}
    assert changed(found, shared_information=-data.shared_information) == {"channel-information-is-closed": "refuted"}


def test_evidence(answered):
    found = answered("evidence_integral")
    assert [(claim.id, claim.measured) for claim in found.claims if not claim.passed] == []
    data = found.dataset
    off = lambda method, by: data.log_evidence + by * (data["method"] == method)
    assert changed(found, log_evidence=off("quadrature", 1e-6)) == {"evidence-by-quadrature": "refuted"}
    name = "evidence-by-importance-sampling"
    assert changed(found, log_evidence=off("importance, from the prior", 1.0)) == {name: "refuted"}
    assert changed(found, log_evidence=off("bound of Laplace's normal", 1.0)) == {
        "bound-is-below-the-evidence": "refuted"
    }
    slow = data.laplace_error * data.trials**0.5
    assert changed(found, laplace_error=slow) == {"laplace-error-falls-with-data": "refuted"}
    assert changed(found, beta_binomial=1e-6 + data.beta_binomial) == {"bayes-evidence-is-integral": "refuted"}


def test_policy_gradient(answered):
    found = answered("policy_gradient")
    data = found.dataset
    # So few episodes know a variance to some per cent.
    wrong = {claim.id for claim in found.claims if not claim.passed}
    assert wrong <= {"policy-gradient-variance-is-as-theory", "baseline-cuts-policy-variance"}
    theory = data.theory.rename(kind="baseline").sel(baseline=data.baseline)
    np.testing.assert_allclose(data.told.mean("seed"), theory.transpose("baseline", "horizon"), rtol=0.05)
    assert changed(found, off=data.off + 0.1)["policy-gradient-is-unbiased"] == "refuted"
    assert changed(found, told=1.1 * data.told)["policy-gradient-variance-is-as-theory"] == "refuted"
    assert changed(found, recursion_gap=data.recursion_gap + 1e-6)["policy-gradient-by-enumeration"] == "refuted"
