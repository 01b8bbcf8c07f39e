"""cutest: the judge sees through what solvers claim, and problems run where the peers are installed."""

import numpy as np
import pytest
import xarray

from experiments import _cutest, cutest
from tests.verdicts import claims, mutated


def outcomes(**changes):
    """Two problems, three solvers: all solve the first; the second is claimed falsely by the third."""
    both = ("problem", "solver")
    fields = {
        "returned": np.ones((2, 3)),
        "smooth": np.ones((2, 3)),
        "value": np.array([[1.0, 1.0 + 1e-8, 1.0], [0.0, 1e-9, 0.5]]),
        "stationarity": np.array([[1e-9, 1e-3, 1e-9], [1e-9, 1e-9, 1e-2]]),
        "claimed": np.ones((2, 3)),
        "unbounded": np.zeros((2, 3)),
        "evaluations": np.array([[10.0, 20.0, 30.0], [10.0, 5.0, 30.0]]),
        "seconds": np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]),
        "compile_seconds": np.ones((2, 3)),
        "suited": np.ones((2, 3)),
        "words": np.full((2, 3), "ended"),
    } | changes
    return xarray.Dataset(
        {name: (both, value) for name, value in fields.items()} | {"variables": ("problem", [2.0, 3.0])},
        coords={"problem": ["A", "B"], "solver": ["jaxcalc auto", "SciPy L-BFGS-B", "jaxopt L-BFGS"], "limit": 60.0},
    )


def verdicts(data):
    return {id: claim.verdict for id, claim in claims("cutest", data).items()}


def test_the_judge_looks_at_the_returned_point():
    data = cutest.judged(outcomes())
    np.testing.assert_array_equal(data["solved"], [[1, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(data["stationary"], [[1, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(data["false_success"], [[0, 0, 0], [0, 0, 1]])
    assert set(verdicts(outcomes()).values()) == {"confirmed"}


@pytest.mark.parametrize(
    ("name", "change", "claim"),
    [
        ("value", np.array([[1.0, 1.0, 1.0], [2.0, 1e-9, 0.5]]), "cutest-share-ended-well"),
        ("value", np.array([[1.0, 1.0, 1.0], [2.0, 1e-9, 0.5]]), "cutest-no-false-success"),
        ("value", np.array([[1.0, 1.0, 1.0], [2.0, 1e-9, 0.5]]), "cutest-more-than-any-peer"),
        ("seconds", np.array([[5.0, 2.0, 4.0], [5.0, 2.0, 4.0]]), "cutest-within-twice-the-fastest-peer"),
        ("seconds", np.array([[100.0, 2.0, 4.0], [100.0, 2.0, 4.0]]), "cutest-share-ended-well"),
    ],
)
def test_other_outcomes_turn_the_verdicts(name, change, claim):
    changes = {name: change}
    if name == "value":
        changes["stationarity"] = np.array([[1e-9, 1e-9, 1e-9], [1.0, 1e-9, 1e-2]])
    assert verdicts(outcomes(**changes))[claim] == "refuted"


def test_a_number_that_is_missing_is_not_judged():
    for variable, word, before, after in mutated("cutest", outcomes()):
        if word == "not a number":
            assert after.verdict == "not judged", (variable, before.id)
    for name in ("value", "seconds", "stationarity", "returned"):
        data = outcomes()
        told = verdicts(data.assign({name: data[name].where(data.solver != "jaxcalc auto")}))
        assert set(told.values()) == {"not judged"}, name
    assert set(verdicts(outcomes().sel(solver=["SciPy L-BFGS-B"])).values()) == {"not judged"}
    alone = verdicts(outcomes().sel(solver=["jaxcalc auto"]))
    assert list(alone.values()) == ["confirmed", "confirmed", "not judged", "not judged"]


def test_a_solver_without_a_point_has_lost():
    data = outcomes()
    failed = (data.solver == "jaxcalc auto") & (data.problem == "B")
    lost = {name: data[name].where(~failed) for name in ("value", "stationarity", "seconds")}
    flags = {name: data[name].where(~failed, 0) for name in ("returned", "smooth", "claimed")}
    broken = data.assign(lost | flags)
    assert verdicts(broken)["cutest-share-ended-well"] == "refuted"
    assert verdicts(broken)["cutest-no-false-success"] == "confirmed"
    assert verdicts(broken.assign(claimed=data.claimed))["cutest-no-false-success"] == "refuted"


def test_a_run_beyond_the_limit_does_not_count():
    late = outcomes().assign_coords(limit=0.5)
    assert not cutest.judged(late)["good"].any()
    np.testing.assert_array_equal(cutest.judged(late)["false_success"], [[0, 0, 0], [0, 0, 1]])


def test_a_problem_without_a_floor_is_solved_by_saying_so():
    value = np.array([[1.0, 1.0, 1.0], [-1e21, -1e25, -1e30]])
    unbounded = np.array([[0.0, 0, 0], [1.0, 0.0, 0.0]])
    data = cutest.judged(outcomes(value=value, unbounded=unbounded))
    np.testing.assert_array_equal(data["good"].sel(problem="B"), [1, 0, 0])


def test_it_draws_and_tabulates():
    data = outcomes()
    assert len(cutest.figures(data)["profiles"].axes) == 3
    solvers, left = cutest.tables(data).values()
    assert [row["false successes"] for row in solvers] == [0, 0, 1] and left == []
    alone = data.isel(problem=0)
    assert cutest.figures(alone) == {} and set(verdicts(alone).values()) == {"not judged"}


def test_a_problem_from_end_to_end():
    pytest.importorskip("sif2jax")
    solvers = ("jaxcalc auto", "SciPy L-BFGS-B")
    found = cutest.run(cutest.Config(problem="HS1", solvers=solvers), None)
    np.testing.assert_allclose(found["value"], 0, atol=1e-6)
    assert found["claimed"].all() and found["boxed"] == 1.0 and found["variables"] == 2.0
    assert (found["seconds"] > 0).all() and found["returned"].all() and found["smooth"].all()
    with pytest.raises(ValueError, match="no problem 'NOWHERE'"):
        _cutest.load("NOWHERE")
    with pytest.raises(ValueError, match="unknown solver 'x'; it is one of: jaxcalc auto"):
        cutest.run(cutest.Config(solvers=("x",)), None)
