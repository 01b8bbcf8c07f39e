"""Small runs of the experiment on Laplacians: verdicts follow the data, peers may be missing, figures can be drawn."""

import numpy as np
import pytest

from jaxcalc import lab
from tests.verdicts import survivors
from tests.verdicts import verdicts as judged

pytestmark = pytest.mark.usefixtures("no_peers")


def start(tmp_path, part, params, **sweep):
    config = {"experiment": f"laplacian_cost.{part}", "params": params, "sweep": sweep}
    run = lab.run(config, out=tmp_path / "runs", progress=False)
    assert run.messages == []
    return run


def test_networks(tmp_path):
    params = {"batch": 2, "width": 4, "depth": 2, "electrons": 3, "repeats": 2, "min_seconds": 0.0}
    params["routes"] = ["auto", "forward-laplacian", "folx dense", "folx sparse", "jax loop"]
    cases = {"apart": {"workload": "electrons"}, "whole": {"workload": "dense network"}}
    run = start(tmp_path, "time", params, cases=cases)
    data = run.dataset
    assert data.num_inputs.values.tolist() == [12, 4]
    assert float(data.error.sel(route=["auto", "forward-laplacian"]).max()) < 1e-4
    assert np.isnan(data.seconds.sel(route="folx dense")).all()
    assert set(run.figures) == {"routes"}
    assert judged(run, data)["no-slower-than-folx-dense"] == "not judged"
    assert survivors("laplacian_cost.time", data) == []
    even = data.seconds.fillna(0) * 0 + 1.0
    good = data.assign(seconds=even, readings=0 * data.readings + 2)
    assert set(judged(run, good).values()) == {"confirmed"}
    assert len(judged(run, good)) == 4
    slow = good.assign(seconds=even.where(data.route != "auto", 1.3), error=data.error * 0 + 1)
    assert set(judged(run, slow).values()) == {"refuted"}


def test_programs(tmp_path):
    run = start(tmp_path, "programs", {"size": 3}, grid={"program": ["fori_loop", "relu network"]})
    data = run.dataset
    assert set(run.figures) == {"programs"}
    assert (data.outcome.sel(route="auto") == 1).all()
    assert np.isnan(data.outcome.sel(route="folx dense")).all()
    assert {claim.id: claim.verdict for claim in run.claims} == {
        "works-on-every-program": "confirmed",
        "never-a-silent-wrong-laplacian": "confirmed",
        "works-where-peers-fail": "confirmed",  # jet is always there
    }
    assert survivors("laplacian_cost.programs", data) == []
    wrong = data.assign(outcome=data.outcome * 0)
    assert set(judged(run, wrong).values()) == {"refuted"}
    peers = data.assign(outcome=data.outcome.where(data.route != "jet", 1.0))
    assert judged(run, peers)["works-where-peers-fail"] == "refuted"
