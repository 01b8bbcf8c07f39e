"""A small sweep: its numbers are those of each network alone, and verdicts follow the readings."""

import numpy as np

from tests.verdicts import changed

EXPERIMENT = "depth_sweep_cost"
SMALL = {
    "depth_sweep_cost": {
        "activations": ["tanh"],
        "initialisations": ["lecun", "he"],
        "depths": [[1, 2], [3]],
        "seeds": 3,
        "width": 8,
        "batch": 4,
        "rounds": 1,
        "calls": 2,
    }
}
EACH, STRUCTURE = "depth-sweep-in-one-program", "depth-sweep-beats-a-program-for-each-structure"


def test_the_sweep_is_each_network_alone(run):
    result = run("depth_sweep_cost")
    data = result.dataset
    assert (int(data.networks), int(data.structures)) == (2 * 2 * 3 * 3, 2 * 2 * 3)
    assert float(data.difference.max()) < 1e-12
    for depth in (1, 2, 3):
        norms = data.norm.sel(layers=depth)
        assert (np.isfinite(norms) == (norms.layer <= depth)).all()
    assert set(result.figures) == {"seconds", "attenuation"}
    assert "extrapolated" in str(result.tables)


def test_every_choice_is_sampled_as_often_as_any_other():
    from experiments import depth_sweep_cost

    rounds = depth_sweep_cost._sample(depth_sweep_cost.Config())
    assert len(rounds) == 4 and all([depth for *_, depth in chosen] == [2**k for k in range(8)] for chosen in rounds)
    for depth in zip(*rounds, strict=True):
        activations, initialisations, residuals, _ = zip(*depth, strict=True)
        assert len(set(activations)) == len(set(initialisations)) == 4
        assert sorted(residuals) == ["none", "none", "scaled", "scaled"]


def test_verdicts_follow_the_readings(run):
    result = run("depth_sweep_cost")
    data = result.dataset
    assert changed(result) == dict.fromkeys((EACH, STRUCTURE), "not judged")  # a small sweep tells nothing
    whole = {
        "deepest": data.deepest * 0 + 128,
        "units": data.units * 0 + 128,
        "networks": data.networks * 0 + 8192,
        "structures": data.structures * 0 + 256,
        "compile_seconds": data.compile_seconds * 0 + 10.0,
        "run_seconds": data.run_seconds * 0 + 30.0,
        "first_seconds": data.first_seconds * 0 + 1.0,
        "later_seconds": data.later_seconds * 0 + 0.01,
    }
    assert changed(result, **whole) == {}
    slow = whole | {"run_seconds": data.run_seconds * 0 + 61.0}
    assert changed(result, **slow) == {EACH: "refuted"}
    quick = whole | {"first_seconds": data.first_seconds * 0 + 0.05}
    assert changed(result, **quick) == dict.fromkeys((EACH, STRUCTURE), "refuted")
    others = whole | {"difference": data.difference + 0.01}
    assert changed(result, **others) == dict.fromkeys((EACH, STRUCTURE), "refuted")
