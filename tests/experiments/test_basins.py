"""Small runs of the experiment on basins: its claims hold, and follow broken data."""

import numpy as np
import pytest

from jaxcalc import lab
from jaxcalc.lab import registry
from tests.verdicts import changed, verdicts

EXPERIMENT = "basins"
SMALL = {"roots": {"resolution": 128}}
NEAREST, SADDLES = "descent-reaches-the-nearest-minimum", "newton-is-drawn-to-saddles"


@pytest.fixture(scope="module")
def starts(cache, tmp_path_factory):
    config = {
        "experiment": "basins.starts",
        "dtype": "float64",
        "params": {"resolution": 17, "max_steps": 300},
        "sweep": {"grid": {"method": ["gradient-flow", "newton", "trust-region"]}},
    }
    found = lab.run(config, out=tmp_path_factory.mktemp("starts"), progress=False)
    assert found.messages == []
    return found


def test_every_claim_holds(run, starts):
    assert [claim.id for claim in starts.claims] == [NEAREST, SADDLES]
    assert [(claim.id, claim.measured) for claim in starts.claims if not claim.passed] == []
    assert [(claim.id, claim.measured) for claim in run("roots").claims if not claim.passed] == []


def test_where_starts_end_decides(starts):
    data = starts.dataset
    newton, flow = (data["method"] == name for name in ("newton", "gradient-flow"))
    assert changed(starts, reached=data.nearest) == {NEAREST: "confirmed", SADDLES: "refuted"}
    elsewhere = data.reached.where(~flow, (data.nearest + 1) % 4)
    assert changed(starts, reached=elsewhere) == {NEAREST: "refuted"}
    assert changed(starts, status=data.status + 2 * newton) == {SADDLES: "refuted"}
    assert changed(starts, status=data.status.where(newton, 1))[SADDLES] == "refuted"
    assert set(verdicts(starts, data.sel({"method": "newton"})).values()) == {"not judged"}


def test_every_lane_has_its_status(starts):
    data = starts.dataset
    assert set(np.unique(data.status)) <= set(range(6))
    minima = data.reached.sel({"method": "trust-region"})
    assert bool(((minima >= 0) & (minima < 4)).all())
    assert set(starts.figures) == {"basins"}


def test_borders_and_turns_follow_their_data(run):
    data = run("roots").dataset
    turn, border = "basins-turn-into-one-another", "newton-borders-are-fractal"
    assert changed(run("roots"), reached_turned=data.reached) == {turn: "refuted"}
    same = data.reached.where(data.program != "Newton's iteration", data.reached.sel(program="gradient descent"))
    assert changed(run("roots"), reached=same)[border] == "refuted"
    fractal = data.reached.where(data.program != "gradient descent", data.reached.sel(program="Newton's iteration"))
    assert changed(run("roots"), reached=fractal)[border] == "refuted"


def test_a_resolution_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="a power of two"):
        registry.load("basins.roots").part.Config(resolution=100)


def test_figures_can_be_drawn(run):
    assert set(registry.load("basins.roots").part.figures(run("roots").dataset)) == {"roots"}
