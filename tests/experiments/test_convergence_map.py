"""A small run of the map of convergence: its claim holds, and follows broken data."""

import pytest

from jaxcalc import lab
from tests.verdicts import changed, verdicts

EDGE = "stability-edge-is-two-over-l"


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    config = {
        "experiment": "convergence_map",
        "dtype": "float64",
        "sweep": {
            "vmap": {"rate": {"log": [1e-2, 10, 12]}, "condition_number": {"log": [1, 100, 8]}},
            "grid": {"method": ["gradient-descent", "momentum"]},
        },
    }
    found = lab.run(config, out=tmp_path_factory.mktemp("map"), progress=False)
    assert found.messages == []
    return found


def test_the_edge_is_where_theory_has_it(run):
    assert [(claim.id, claim.verdict) for claim in run.claims] == [(EDGE, "confirmed")]
    assert set(run.figures) == {"map"}


def test_other_data_move_the_edge(run):
    data = run.dataset
    reach = data.rate * data.condition_number
    assert changed(run, remaining=data.remaining.where(reach > 1.0, 2.0)) == {EDGE: "refuted"}
    assert changed(run, remaining=data.remaining.where(reach < 20.0, 0.5)) == {EDGE: "refuted"}
    heavy = data["method"] == "momentum"
    descent = data.remaining.where(~heavy, data.remaining.sel({"method": "gradient-descent"}))
    assert changed(run, remaining=descent) in ({EDGE: "refuted"}, {})
    assert verdicts(run, data.sel(rate=data.rate[0])) == {EDGE: "not judged"}
