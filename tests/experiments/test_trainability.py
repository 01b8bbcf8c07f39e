"""A small run of the question on trainable depth, and its verdicts on made-up accuracies."""

import numpy as np
import pytest

from tests.verdicts import changed

EXPERIMENT = "trainability"
SMALL = {"trainability": {"num_steps": 2, "batch": 4, "width": 4}}
GRIDS = {"trainability": {"depth": [2, 4, 8, 16]}}
LANES = {"trainability": {"sw2": [1.0, 1.3, 1.5, 1.76, 2.5, 3.0, 4.0], "seed": [0]}}
FOLLOWS, CRITICAL = "trainable-depth-follows-xi", "critical-networks-train-deepest"


@pytest.fixture
def with_depths(run):
    """The small run, its accuracies in place of which networks train up to the depths given, by variance."""

    def make(depths):
        data = run("trainability").dataset
        # Straight in the logarithm of depth, through one half at the depth wanted.
        wanted = data.sw2.copy(data=np.log(depths))
        return run("trainability"), {
            "accuracy": (0.5 + 0.2 * (wanted - np.log(data.depth))).broadcast_like(data.accuracy)
        }

    return make


def test_theory_is_that_of_the_table(run):
    data = run("trainability").dataset.isel(depth=0, seed=0)
    np.testing.assert_allclose(data.correlation_depth.sel(sw2=[1.0, 1.3, 1.5]), [3.627, 7.834, 15.791], rtol=1e-3)
    np.testing.assert_allclose(data.chi1.sel(sw2=[1.0, 2.5, 4.0]), [0.759032, 1.133516, 1.342402], rtol=1e-5)
    assert set(run("trainability").figures) == {"trainability"}


def test_verdicts_follow_the_depths(run, with_depths):
    assert {claim.id: str(claim.verdict) for claim in run("trainability").claims} == dict.fromkeys(
        (FOLLOWS, CRITICAL), "not judged"
    )
    result, depths = with_depths([3.0, 4.0, 5.0, 12.0, 9.0, 6.0, 3.0])
    assert changed(result, **depths) == {}
    result, depths = with_depths([5.0, 4.0, 3.0, 12.0, 9.0, 6.0, 3.0])  # in order the wrong way round
    assert changed(result, **depths) == {FOLLOWS: "refuted"}
    result, depths = with_depths([3.0, 4.0, 5.0, 9.0, 12.0, 6.0, 3.0])  # deepest in chaos
    assert changed(result, **depths) == {CRITICAL: "refuted"}
