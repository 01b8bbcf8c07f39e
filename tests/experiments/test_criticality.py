"""Criticality's predictions and remedies: what is judged, and what a library that is missing leaves."""

import numpy as np
import pytest

from experiments.criticality import predictions, remedies
from jaxcalc import lab
from tests.verdicts import claims

SMALL = ["relu, LeCun", "tanh, chaotic"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    document = {
        "experiment": "criticality.predictions",
        "params": {"draws": 8, "samples": 256},
        "sweep": {"grid": {"architecture": [*SMALL, "Flax, tanh"]}},
    }
    return lab.run(document, out=tmp_path_factory.mktemp("runs"), progress=False)


def test_reports_become_data(run):
    assert run.messages == [] and set(run.figures) == {"factor_by_architecture", "factor_by_layer"}
    data = run.dataset.sel(architecture=SMALL)
    assert (data.verdict == data.truth).all()
    np.testing.assert_allclose(np.exp(data.rate), [0.5, 1.375], rtol=0.03)


def many(dataset, **changes):
    """Twelve networks of 64 draws, all alike and right, but for what changes."""
    flat = dataset.sel(architecture=[SMALL[0]] * 12).assign_coords(architecture=[f"network {i}" for i in range(12)])
    return flat.assign_coords(draws=64).assign(measured_rate=flat.rate + 2 * flat.rate_error, **changes)


def test_claims_hold_and_can_fail(run):
    flat = many(run.dataset)
    off, wrong = flat.assign(measured_rate=flat.rate + 4 * flat.rate_error), flat.assign(truth=flat.truth + 1)
    verdicts = lambda data: [claim.verdict for claim in claims("criticality.predictions", data).values()]
    assert verdicts(flat) == ["confirmed", "confirmed"]
    assert verdicts(off) == ["refuted", "confirmed"]
    assert verdicts(wrong) == ["confirmed", "refuted"]
    assert verdicts(run.dataset) == ["not judged", "not judged"]


def test_a_library_that_is_missing_is_no_network():
    missing = predictions._absent(1)
    assert set(missing) == set(predictions.VARIABLES) and missing["verdict"] == -1


def test_remedies_without_peers_are_not_judged(tmp_path):
    run = lab.run(
        {"experiment": "criticality.remedies", "params": {"depth": 4, "draws": 8}}, out=tmp_path, progress=False
    )
    assert set(remedies.VARIABLES) <= set(run.dataset.variables)
    (claim,) = claims("criticality.remedies", run.dataset).values()
    assert claim.verdict == "not judged"
