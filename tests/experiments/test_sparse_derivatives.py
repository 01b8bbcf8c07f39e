"""Small runs of the experiment on sparsity: verdicts follow the data, peers may be missing, figures can be drawn."""

import numpy as np
import pytest

from jaxcalc import lab
from tests.verdicts import survivors
from tests.verdicts import verdicts as judged

pytestmark = pytest.mark.usefixtures("no_peers")


def start(tmp_path, part, params, dtype="float32", **sweep):
    config = {"experiment": f"sparse_derivatives.{part}", "params": params, "sweep": sweep, "dtype": dtype}
    run = lab.run(config, out=tmp_path / "runs", progress=False)
    assert run.messages == []
    return run


QUICK = {"repeats": 2, "min_seconds": 0.0}


def test_arrowheads(tmp_path):
    run = start(tmp_path, "arrowhead", QUICK, grid={"problem": ["arrowhead", "bordered band"], "size": [6, 40]})
    assert set(run.figures) == {"sizes"}
    data = run.dataset
    assert float(data.error.max()) < 1e-5
    assert np.isnan(data.seconds.sel(route=["asdex forward", "sparsejac reverse, BCOO"])).all()
    assert (data.products.sel(route="jacfwd") == data["size"]).all()
    assert (data.products.sel(route="auto, BCOO") <= data["size"]).all()
    # As if the sizes were those of the claims.
    large = data.assign_coords(size=[1000, 4000])
    ours = large.route.isin(["auto", "auto, BCOO"])
    good = large.assign(seconds=(large.seconds * 0 + 1e-3).where(ours, 0.1), products=large.products.where(~ours, 3.0))
    good = good.assign(reads=large.reads * 0 + 2)
    assert survivors("sparse_derivatives.arrowhead", good) == []
    told = judged(run, good)
    assert set(told.values()) == {"confirmed"}
    assert {"bcoo-against-dense-routes", "dense-against-dense-routes-of-bordered-band", "few-products"} <= set(told)
    slow = judged(run, good.assign(seconds=good.seconds.where(~ours, 0.2)))
    assert slow.pop("jacobians-agree") == slow.pop("few-products") == "confirmed"
    assert slow.pop("few-products-of-bordered-band") == "confirmed"
    assert set(slow.values()) == {"refuted"}
    assert judged(run, good.assign(products=large.products * 0 + 7))["few-products"] == "refuted"
    assert judged(run, good.assign(error=good.error + 0.1))["jacobians-agree"] == "refuted"
    peer = good.seconds.where(good.route != "asdex reverse", 1e-4)
    assert judged(run, good.assign(seconds=peer))["no-route-is-faster"] == "refuted"


def test_unequal_shapes(tmp_path):
    run = start(tmp_path, "unequal_shapes", {"sources": 2, "channels": 4, **QUICK}, grid={"antennas": [2, 4]})
    data = run.dataset
    assert set(run.figures) == {"outputs"}
    assert data.num_inputs.values.tolist() == [4, 4]
    assert data.num_outputs.values.tolist() == [16, 32]
    assert float(data.products.sel(route="auto").max()) <= 4
    even = data.seconds * 0 + 1.0
    good = data.assign(seconds=even.where(data.route != "jacrev", 60.0))
    assert survivors("sparse_derivatives.unequal_shapes", good) == []
    assert set(judged(run, good).values()) == {"confirmed"}
    told = judged(run, data.assign(seconds=even.where(data.route != "auto", 1.1)))
    assert told == {
        "cheap-mode-without-being-told": "refuted",
        "nothing-lost-to-jacfwd": "refuted",
        "unequal-jacobian-agrees": "confirmed",
    }


def test_budget(tmp_path):
    run = start(tmp_path, "budget", {"inputs": 60, "side": 60}, grid={"budget": [0.1, 0.25, 0.5]})
    data = run.dataset
    assert set(run.figures) == {"budget"}
    assert data.completed.values[-1] == 1
    assert float(data.error.sel(budget=0.5)) < 1e-5
    assert float(data.compiled_bytes.sel(budget=0.5)) <= 5e5 < float(data.jacfwd_bytes.sel(budget=0.5))
    large = data.assign_coords(budget=[64.0, 128.0, 256.0])
    some = large.completed * 0
    large = large.assign(completed=some + 1, jacfwd_bytes=some + 8e9, jacrev_bytes=some + 8e9)
    good = large.assign(compiled_bytes=some + 6e7, grown_bytes=some + 7e7, error=some)
    assert set(judged(run, good).values()) == {"confirmed"}
    assert survivors("sparse_derivatives.budget", good) == []
    bad = judged(run, good.assign(compiled_bytes=good.error + 3e8, grown_bytes=good.error + 3e8, error=good.error + 1))
    assert set(bad.values()) == {"refuted"}
    never = good.assign(grown_bytes=good.error + np.nan)
    assert judged(run, never)["measured-memory-inside-256-MB"] == "not judged"
