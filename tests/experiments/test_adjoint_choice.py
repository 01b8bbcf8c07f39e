"""One field, three adjoints: gradients, regret, and verdicts that follow the data."""

import numpy as np
import pytest

from tests.verdicts import changed, claims, verdicts

EXPERIMENT = "neural_ode_adjoints"
SMALL = {
    "choice": {
        "adjoints": ["auto", "discrete", "diffrax by hand"],
        "lanes": 2,
        "memory_budget": 2**20,
        "repeats": 2,
        "min_seconds": 0.0,
    }
}
NEAR, FAR, RIGHT = "chosen-adjoint-is-near-the-best", "chosen-adjoint-is-never-far-off", "chosen-adjoint-is-right"
FITS = "chosen-adjoint-fits"


@pytest.fixture
def steady(run):
    """As if all took a millisecond, and what did not run, none."""
    data = run("choice").dataset
    return data.assign(seconds=data.seconds * 0 + 1e-3)


def test_gradients_are_compared(run):
    result = run("choice")
    data = result.dataset
    here = ["auto", "discrete", "diffrax by hand"]
    assert data.route.values[data.applies.values].tolist() == here
    assert (data.finite == data.applies).all() and data.steps > 10
    assert float(data.error.sel(route=here).max()) < 1e-3
    assert (data.temporaries.sel(route=here) > 0).all() and np.isnan(data.error.sel(route="backsolve"))
    assert set(result.figures) == {"regret"}


def test_verdicts_follow_the_data(run, steady):
    result, auto = run("choice"), steady.route == "auto"
    judged = lambda **changes: verdicts(result, steady.assign(changes))
    good = {NEAR: "confirmed", FAR: "confirmed", RIGHT: "confirmed", FITS: "confirmed"}
    assert judged() == good
    assert judged(temporaries=steady.temporaries.where(~auto, 2**21)) == good | {FITS: "refuted"}
    assert judged(seconds=steady.seconds.where(~auto, 1.2e-3)) == good | {NEAR: "refuted"}
    assert judged(seconds=steady.seconds.where(~auto, 2e-3)) == good | {NEAR: "refuted", FAR: "refuted"}
    assert judged(error=steady.error.where(~auto, 0.01)) == good | {RIGHT: "refuted"}
    assert judged(finite=steady.finite & ~auto) == good | {RIGHT: "refuted"}
    # What is fast and wrong does not count.
    other = steady.route == "discrete"
    fast = steady.seconds.where(~other, 1e-4)
    assert judged(seconds=fast, error=steady.error.where(~other, 0.01)) == good
    assert set(changed(result, applies=steady.applies & ~auto).values()) == {"not judged"}
    told = claims(result.dataset.attrs["experiment"], steady.assign(seconds=steady.seconds.where(~auto, 1.2e-3)))
    assert "worst 1.20" in told[NEAR].measured


def test_every_field_is_built():
    import jax

    from experiments.neural_ode_adjoints._fields import NAMES, build

    for name in NAMES:
        case = build(name, jax.random.key(0))
        assert case.field(0.0, case.start, case.args).shape == case.start.shape
