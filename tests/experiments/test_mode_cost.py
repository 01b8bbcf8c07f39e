"""Small runs of the cost experiments: what they count, the verdicts of their claims, figures that can be drawn."""

import importlib
import typing

import numpy as np
import pytest
import xarray

from jaxcalc import lab
from tests import verdicts as judging


def start(tmp_path, experiment, params, *, claims=None, **sweep):
    config = {"experiment": experiment, "params": {"repeats": 2, "min_seconds": 0.0, **params}, "sweep": sweep}
    config |= {} if claims is None else {"claims": claims}
    run = lab.run(config, out=tmp_path / "runs", progress=False)
    assert run.messages == []
    return run


def judged_again(run, **changes):
    """The verdicts that the experiment reaches when some of its counts are other than they were."""
    told = judging.verdicts(run, run.dataset.assign(changes))
    return {claim.id: told[claim.id] for claim in run.claims}


def verdicts(run):
    assert all(claim.passed for claim in run.claims)
    return {claim.id: claim.verdict for claim in run.claims}


PLANE = [
    "forward-cost-grows-with-inputs",
    "reverse-cost-grows-with-outputs",
    "forward-wins-few-in-reverse-wins-many-in",
    "forward-mode-needs-n-passes",
]


def test_every_workload_has_a_name_in_the_config():
    from jaxcalc.scenarios import workloads

    experiment = importlib.import_module("experiments.mode_cost")
    named = typing.get_args(experiment.Workload)
    assert named[: len(workloads.NAMES)] == workloads.NAMES
    assert named[len(workloads.NAMES) :] == ("scores", "image loss", "training loss")


def test_a_plane_of_shapes(tmp_path):
    params = {"transforms": ["value", "jvp", "vjp", "grad", "jacfwd", "jacrev", "hessian"]}
    run = start(tmp_path, "mode_cost", params, claims=PLANE, grid={"inputs": [1, 8, 64], "outputs": [1, 8, 64]})
    assert verdicts(run) == dict.fromkeys(PLANE, "confirmed")
    assert set(run.figures) == {"crossing", "plane"}
    (rows,) = run.tables.values()
    assert [(row["n"], row["m"]) for row in rows] == [(n, m) for n in (1, 8, 64) for m in (1, 8, 64)]
    data = run.dataset
    defined = np.isfinite(data.operations.sel(transform=["grad", "hessian"])).all("transform")
    assert (defined == (data.outputs == 1)).all()
    n, m, counts = data.inputs.astype(float), data.outputs.astype(float), data.operations
    flat = counts.where(counts.transform != "jacfwd", counts.sel(transform="jacrev"))
    told = judged_again(run, operations=flat)
    assert [told.pop("reverse-cost-grows-with-outputs"), set(told.values())] == ["confirmed", {"refuted"}]
    swapped = counts.where(counts.transform != "jacrev", counts * n / m)
    assert judged_again(run, operations=swapped)["reverse-cost-grows-with-outputs"] == "refuted"
    # A dense layer is a product of 2 n m operations, a sum of m and m transcendentals.
    value = data.operations.sel(transform="value")
    assert float(value.sel(inputs=64, outputs=8)) == 2 * 64 * 8 + 2 * 8
    assert float(data.footprint.sel(transform="jacrev", inputs=64, outputs=64)) >= 4 * 64 * 64


def test_the_classifier_by_cases(tmp_path):
    run = start(
        tmp_path,
        "mode_cost",
        {"transforms": ["value", "jacfwd", "jacrev"], "batch": 4, "width": 8},
        claims=["forward-pays-per-input"],
        cases={"scores": {"workload": "scores"}, "training": {"workload": "training loss"}},
        grid={"inputs": [1, 8, 64]},
    )
    assert set(verdicts(run).values()) == {"confirmed"}
    counts = run.dataset.operations
    dear = counts.where(counts.transform != "jacrev", counts.sel(transform="jacfwd"))
    assert set(judged_again(run, operations=dear).values()) == {"refuted"}
    assert set(run.figures) == {"crossing"}
    assert run.dataset.num_outputs.sel(case="scores").values.tolist() == [10, 10, 10]
    hidden, last = (np.array([1, 8, 64]) + 1) * 8, 9 * 10
    np.testing.assert_array_equal(run.dataset.num_inputs.sel(case="training"), hidden + last)


def test_workloads_side_by_side_and_what_is_too_large_to_run(tmp_path):
    run = start(
        tmp_path,
        "mode_cost",
        {"transforms": ["value", "vjp", "jacfwd", "jacrev"], "run_limit": 2.0},
        claims=["vjp-never-materialises-jacobian", "wrong-mode-on-unequal-shapes"],
        cases={
            "interferometer": {"workload": "phase delay"},
            "heat": {"workload": "heat", "inputs": 2000, "depth": 1},
            "softmax": {"workload": "softmax layer", "inputs": 4, "outputs": 3},
        },
    )
    assert verdicts(run) == {
        "vjp-never-materialises-jacobian": "qualified",
        "wrong-mode-on-unequal-shapes": "confirmed",
    }
    assert set(run.figures) == {"workloads"}
    lean = run.dataset.footprint.clip(max=1e4)
    assert set(judged_again(run, footprint=lean).values()) == {"refuted"}
    point = run.dataset.sel(case="interferometer")
    assert np.isnan(point.seconds.sel(transform="jacrev")).all()
    assert np.isfinite(point.seconds.sel(transform="jacfwd")).all()
    # The published figures of this workload, in single precision, as the CPU compiles it.
    assert float(point.temporaries.sel(transform="jacrev")) / 1e6 == pytest.approx(1783, rel=1e-3)
    assert float(point.compiled_operations.sel(transform="jacrev")) / 1e9 == pytest.approx(1.81, rel=1e-2)
    assert float(point.compiled_operations.sel(transform="jacfwd")) / 1e6 == pytest.approx(0.54, rel=1e-2)
    assert float(point.footprint.sel(transform="jacfwd")) / 1e6 == pytest.approx(1.64, rel=1e-2)


@pytest.mark.parametrize("sweep", [{}, {"grid": {"outputs": [2, 4]}}, {"grid": {"inputs": [3]}}])
def test_any_sweep_draws_or_leaves_out(tmp_path, sweep):
    run = start(
        tmp_path, "mode_cost", {"transforms": ["value", "jacfwd"], "inputs": 3, "outputs": 2}, claims=[], **sweep
    )
    assert run.claims == []
    assert set(run.figures) == ({"crossing"} if len(sweep.get("grid", {}).get("outputs", [])) > 1 else set())


def test_gradient_against_parameters(tmp_path):
    run = start(
        tmp_path,
        "mode_cost_gradient.work",
        {"batch": 16},
        grid={"architecture": ["linear", "dense", "attention"], "width": [32, 64, 128]},
    )
    assert verdicts(run) == {
        "gradient-at-most-four-values": "confirmed",
        "backward-two-to-four-times-forward": "refuted",
        "backward-about-twice-forward": "refuted",
        "gradient-is-order-n": "confirmed",
    }
    counts = run.dataset.operations
    for factor in (0.3, 3.0):
        wrong = counts.where(counts.transform != "value and grad", factor * counts)
        told = judged_again(run, operations=wrong)
        assert [told.pop("gradient-is-order-n"), set(told.values())] == ["confirmed", {"refuted"}]
    # Passes of exactly twice the value would confirm both statements on the backward pass.
    passes = xarray.ones_like(counts).where(counts.transform != "value and grad", 3.0)
    assert set(judged_again(run, operations=passes.where(counts.transform != "grad", counts)).values()) == {"confirmed"}
    growing = counts.where(counts.transform != "grad", counts * run.dataset.num_parameters)
    assert judged_again(run, operations=growing)["gradient-is-order-n"] == "refuted"
    assert set(run.figures) == {"work"}
    np.testing.assert_array_equal(
        run.dataset.num_parameters.sel(architecture="linear"), 10 * (np.array([32, 64, 128]) + 1)
    )


def test_memory_against_depth(tmp_path):
    run = start(tmp_path, "mode_cost_gradient.memory", {"batch": 64, "width": 8}, grid={"depth": [16, 64, 256]})
    assert verdicts(run) == {"forward-caches-intermediates": "confirmed"}
    flat = run.dataset.temporaries.max("depth").expand_dims(depth=run.dataset.depth)
    assert judged_again(run, temporaries=flat) == {"forward-caches-intermediates": "refuted"}
    assert set(run.figures) == {"memory"}
    saved = run.dataset.temporaries.sel(depth=256)
    assert float(saved.sel(checkpoint="segments")) < float(saved.sel(checkpoint="layers"))
    assert float(saved.sel(checkpoint="layers")) < float(saved.sel(checkpoint="none"))


def test_parts_without_a_sweep_make_do(tmp_path):
    for part in ("work", "memory"):
        run = start(tmp_path, f"mode_cost_gradient.{part}", {"batch": 4, "width": 4}, claims=[])
        assert run.claims == []
        assert run.figures == {}
