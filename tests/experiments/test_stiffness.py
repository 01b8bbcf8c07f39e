"""A relaxation at four rates: its steps and gradients, and verdicts that follow the data."""

import numpy as np
import pytest
import xarray

from tests.verdicts import changed, survivors, verdicts

EXPERIMENT = "stiffness"
SMALL = {EXPERIMENT: {"levels": [0.0, 0.3, 0.6, 1.0]}}
GROWS, FOLLOWS, GRADIENTS = (
    "explicit-steps-grow-with-stiffness",
    "auto-follows-the-better-method",
    "gradients-of-stiff-flows-are-right",
)


@pytest.fixture(scope="module")
def whole(run):
    """As if all problems were like the relaxation."""
    data = run(EXPERIMENT).dataset
    names = ("relaxation", "van der Pol", "Robertson")
    return xarray.concat(
        [data.assign_coords(problem=name) for name in names], "problem", coords="minimal", compat="override"
    )


def test_steps_of_a_relaxation(run):
    result = run(EXPERIMENT)
    data = result.dataset
    assert set(result.figures) == {"stiffness"}
    assert dict.fromkeys((GROWS, FOLLOWS, GRADIENTS), "not judged") == changed(result)  # one problem of three
    np.testing.assert_allclose(data.held, 10.0 * data.stiffness / 3.3, rtol=1e-6)
    assert (data.steps.sel(solver="tsit5")[-1] > 1e5) & (data.steps.sel(solver=["kvaerno5", "auto"])[:, -1] < 100).all()
    assert float(data.error.max()) < 1e-4 and float(data.gradient_error.max()) < 1e-4
    assert data.evaluations.sel(solver="auto")[0] == data.evaluations.sel(solver="tsit5")[0]  # counted, and told


def test_verdicts_follow_the_data(run, whole):
    result = run(EXPERIMENT)
    judged = lambda **changes: verdicts(result, whole.assign(changes))
    assert survivors(EXPERIMENT, whole) == []
    before = judged()
    assert before == {GROWS: "confirmed", FOLLOWS: "confirmed", GRADIENTS: "confirmed"}
    explicit, auto = whole.solver == "tsit5", whole.solver == "auto"
    assert judged(steps=whole.steps.where(~explicit, 100.0)) == before | {GROWS: "refuted"}
    assert judged(evaluations=whole.evaluations.where(~auto, 5e3)) == before | {FOLLOWS: "refuted"}
    assert judged(gradient_error=whole.gradient_error + 1e-3) == before | {GRADIENTS: "refuted"}
    assert judged(differentiated=whole.differentiated & (whole.mode != "auto")) == before | {GRADIENTS: "refuted"}
