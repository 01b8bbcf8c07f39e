"""solver_cost: small runs of its four parts, and verdicts that follow the readings."""

import pytest

from jaxcalc import lab
from tests.verdicts import survivors, verdicts

FAST = {"repeats": 2, "min_seconds": 0.0}


def start(tmp_path, part, params, **sweep):
    config = {"experiment": f"solver_cost.{part}", "dtype": "float64", "params": {**FAST, **params}, "sweep": sweep}
    run = lab.run(config, out=tmp_path / "runs", progress=False)
    assert run.messages == []
    assert survivors(f"solver_cost.{part}", run.dataset) == []
    return run


def with_times(data, **times):
    """The data with made-up times: name of a route to seconds, 1 elsewhere."""
    seconds = data.seconds.fillna(0) * 0 + 1.0
    for route, value in times.items():
        seconds = seconds.where(data.route != route.replace("_", " "), value)
    return data.assign(seconds=seconds)


def test_lanes(tmp_path):
    run = start(
        tmp_path,
        "lanes",
        {"starts": 8, "num_steps": 30, "sample": 2},
        grid={"method": ["gradient-descent", "newton", "l-bfgs"]},
    )
    data = run.dataset
    assert (data.agreeing == 1).all()
    assert set(run.figures) == {"lanes"} and set(run.tables) == {"Many starts"}
    loops = data.sel({"method": "l-bfgs", "route": "Python loops over starts and steps"})
    assert not loops.timed and (loops.seconds == 0).all()
    fast = data.assign(seconds=data.seconds.where(data.route != "lanes of one program", 1e-9))
    assert set(verdicts(run, fast).values()) == {"confirmed"}
    slow = data.assign(
        seconds=data.seconds.where(data.route != "lanes of one program", 1e3), agreeing=data.agreeing * 0.5
    )
    assert set(verdicts(run, slow).values()) == {"refuted"}


def test_steps(tmp_path):
    run = start(
        tmp_path, "steps", {"num_steps": 5, "problem": "rosenbrock"}, grid={"method": ["gradient-descent", "l-bfgs"]}
    )
    assert (run.dataset.num_steps == 5).all() and set(run.figures) == {"steps"}
    assert verdicts(run, with_times(run.dataset, ours=1.0)) == {"steps-as-fast-as-optax": "confirmed"}
    assert verdicts(run, with_times(run.dataset, ours=1.2)) == {"steps-as-fast-as-optax": "refuted"}


def test_history(tmp_path):
    cases = {"few": {"dimension": 2, "lanes": 3}, "long": {"dimension": 1000, "method": "l-bfgs"}}
    run = start(tmp_path, "history", {"num_steps": 5}, cases=cases)
    assert set(run.figures) == {"history"}
    assert set(verdicts(run, with_times(run.dataset, with_its_full_history=1.04)).values()) == {"confirmed"}
    assert verdicts(run, with_times(run.dataset, with_its_full_history=1.5)) == {
        "history-costs-little": "refuted",
        "history-of-lanes-costs-at-most-as-much-again": "confirmed",
    }


@pytest.mark.parametrize(("name", "value"), [("success", 0.0), ("footprint", 1e9)])
def test_size(tmp_path, name, value):
    grid = {"problem": ["valleys", "chain"], "scaled": [True, False], "dimension": [1000]}
    run = start(tmp_path, "size", {"repeats": 1}, grid=grid)
    data = run.dataset
    assert (data.success == 1).all() and set(run.figures) == {"size"}
    quick = data.assign(seconds=data.seconds.where(~data.scaled, 1e-9))
    assert set(verdicts(run, quick).values()) == {"confirmed"}
    changed = data.assign({name: data[name] * 0 + value})
    assert verdicts(run, changed)["newton-cg-scales"] == "refuted"
    level = data.assign(products=data.products * 0 + 1)
    assert verdicts(run, level)["scales-save-products"] == "refuted"
