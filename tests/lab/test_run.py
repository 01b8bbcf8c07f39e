"""Whole runs: results, resumption, failures and repetition."""

import json
import os
import warnings

import numpy as np
import pytest
import xarray

from jaxcalc import lab
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.reproduce import reproduce
from jaxcalc.lab.runner import run
from jaxcalc.lab.store import describe_arrays

COMPILED = """\
experiment: theirs.compiled
params: {method: noisy}
sweep:
  grid: {steps: [2, 5]}
  vmap: {rate: [0.1, 0.3, 0.6], seed: [0, 7]}
chunk: 4
"""


@pytest.fixture
def done(there, tmp_path):
    return run(there(COMPILED), out=tmp_path / "runs")


def host(act="well", sizes="[1, 3]", more=""):
    return f"experiment: theirs.host:ragged\nparams: {{act: {act}}}\nsweep: {{grid: {{size: {sizes}}}}}\n{more}"


def closed_form(rate, start, steps):
    return (start * (1 - 2 * rate) ** np.arange(1, steps + 1)) ** 2


def test_results_are_labelled_and_right(done):
    import jax

    with xarray.open_dataset(done.path / "results.nc") as dataset:
        assert dict(dataset.sizes) == {"steps": 2, "rate": 3, "seed": 2, "step": 5, "place": 7}
        assert dataset.value.dims == ("steps", "rate", "seed", "step") and dataset.value.dtype == np.float32
        assert dataset.rate.values.tolist() == [0.1, 0.3, 0.6] and dataset.rate.attrs["long_name"] == "learning rate"
        assert (dataset.value.attrs["units"], dataset.value.attrs["long_name"]) == ("m", "value of the parabola")
        for rate in dataset.rate.values:
            for seed in dataset.seed.values:
                start = 1 + float(jax.random.uniform(jax.random.key(int(seed))))
                found = dataset.value.sel(steps=5, rate=rate, seed=seed)
                np.testing.assert_allclose(found, closed_form(rate, start, 5), rtol=1e-5)
    assert done.exit_code == 0 and [c.verdict for c in done.claims] == ["confirmed"]
    assert (done.path / "figures" / "descent.svg").exists() and "descends" in done.report.read_text()


def test_ragged_points_keep_their_types(done):
    dataset = done.dataset
    assert dataset["count"].dtype.kind == "i" and dataset.step.dtype.kind == "i" and dataset.small.dtype == bool
    assert dataset.valid.dtype == bool and dataset.valid.dims == ("steps", "rate", "seed", "step")
    assert dataset.valid.sel(steps=2).sum("step").values.tolist() == [[2, 2]] * 3
    assert np.isnan(dataset.value.where(~dataset.valid)).sum() == (~dataset.valid).sum() + dataset.valid.sum()
    assert dataset["count"].sel(steps=2).values.tolist() == [[2, 2]] * 3


def test_ragged_text_and_flags_of_a_host_experiment(there, tmp_path):
    dataset = run(there(host()), out=tmp_path / "runs").dataset
    assert dataset.k.dtype.kind == "i" and dataset.flag.dtype == bool
    assert dataset.k.sel(size=1).values.tolist() == [0, 0, 0]
    assert dataset.word.sel(size=1).values.tolist() == ["w0", "", ""]
    assert dataset.valid.values.tolist() == [[True, False, False], [True, True, True]]


def test_a_seed_alone_decides_a_lanes_randomness(done, there, tmp_path):
    alone = run(there(COMPILED), "seed=7", "rate=0.3", "steps=5", out=tmp_path / "runs").dataset.value
    np.testing.assert_allclose(alone.values, done.dataset.value.sel(steps=5, rate=0.3, seed=7).values, rtol=1e-6)


def test_the_same_config_gives_the_same_bits(done, there, tmp_path):
    again = run(there(COMPILED), out=tmp_path / "other")
    assert again.path.name == done.path.name
    for name, array in done.dataset.variables.items():
        assert array.values.tobytes() == again.dataset[name].values.tobytes(), name
    with open(done.path / "figures/descent.svg", "rb") as one, open(again.path / "figures/descent.svg", "rb") as two:
        assert one.read() == two.read()


def test_other_chunks_give_the_same_numbers(done, there, tmp_path):
    other = run(there(COMPILED.replace("chunk: 4", "chunk: 1")), out=tmp_path / "runs")
    assert other.path != done.path and len(other.statuses) == 12
    np.testing.assert_allclose(other.dataset.value, done.dataset.value, rtol=1e-6)


def test_provenance(done):
    for trial in (done.path / "trials").iterdir():
        assert {f.name for f in trial.iterdir()} == {
            "config.yaml",
            "result.json",
            "arrays.npz",
            "provenance.json",
            "log.txt",
        }
        told = json.loads((trial / "provenance.json").read_text())
        assert told["versions"].keys() >= {"python", "jax", "jaxlib", "numpy", "xarray", "jaxcalc"}
        assert told["run_seconds"] > 0 and told["compile_seconds"] >= 0 and told["cache"] in ("hit", "miss", "memory")
        assert told["dtype"] == "float32" and told["device"]["platform"] == "cpu" and told["seed"] == [0, 7]
        assert {"git", "xla_flags", "devices"} <= told.keys()


def test_the_compilation_cache_is_told(there, tmp_path):
    caches = []
    for out in ("one", "two"):
        path = run(there("experiment: theirs.compiled\n"), out=tmp_path / out).path
        (trial,) = (path / "trials").iterdir()
        caches.append(json.loads((trial / "provenance.json").read_text())["cache"])
    assert caches == ["miss", "hit"]


def test_a_second_run_resumes_and_fresh_does_not(there, tmp_path):
    path = there(host())
    first = run(path, out=tmp_path / "runs")
    stamps = {f: f.stat().st_mtime_ns for f in first.path.glob("trials/*/result.json")}
    second = run(path, out=tmp_path / "runs")
    assert second.resumed == 2 and all(f.stat().st_mtime_ns == t for f, t in stamps.items())
    third = run(path, out=tmp_path / "runs", fresh=True)
    assert third.resumed == 0 and all(f.stat().st_mtime_ns > t for f, t in stamps.items())


def test_an_interruption_keeps_finished_trials(there, tmp_path):
    path = there(
        "experiment: theirs.host:ragged\nsweep: {cases: {good: {act: well}, stop: {act: interrupt}, late: {size: 2}}}"
    )
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(path, out=tmp_path / "runs")
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(list(folder.glob("trials/*/result.json"))) == 1
    assert not list(folder.glob("trials/.*")), "nothing half-written stays"
    assert not (folder / "results.nc").exists()


def test_a_failed_trial_is_told_and_tried_again(there, tmp_path):
    path = there("experiment: theirs.host:ragged\nsweep: {cases: {bad: {act: raise}, good: {size: 2}}}")
    failed = run(path, out=tmp_path / "runs")
    assert failed.exit_code == 1 and sorted(failed.statuses.values()) == ["done", "failed"]
    assert "RuntimeError: the experiment's own mistake (host.py:" in failed.messages[0]
    assert failed.dataset.valid.to_dict()["data"] == [False, True] and failed.dataset.k.dtype.kind == "i"
    (log,) = [f for f in failed.path.glob("trials/*/log.txt") if "Traceback" in f.read_text()]
    assert "hello from the trial" in log.read_text()
    assert run(path, out=tmp_path / "runs").resumed == 1
    assert sorted(run(path, out=tmp_path / "third", fail_fast=True).statuses.values()) == ["failed", "not run"]


def test_branching_on_a_traced_field_names_it(there, tmp_path):
    told = run(there("experiment: theirs.branching\n"), out=tmp_path / "runs").messages
    assert len(told) == 1 and "branches on bad," in told[0] and "good" not in told[0]


def test_run_must_return_what_variables_declare(there, tmp_path):
    (told,) = run(there(host("wrong", "[1]")), out=tmp_path / "runs").messages
    assert "did not return flag, k, word" in told


def test_reproduce(done, there, tmp_path):
    trial = next((done.path / "trials").iterdir())
    text, equal = reproduce(trial)
    assert equal and "every array is equal" in text
    with np.load(trial / "arrays.npz") as archive:
        arrays = dict(archive)
    arrays["value"] = np.nextafter(arrays["value"], np.float32(2))
    np.savez(trial / "arrays.npz", **arrays)
    with pytest.raises(ConfigError, match="damaged"):
        reproduce(trial)
    result = json.loads((trial / "result.json").read_text())
    (trial / "result.json").write_text(json.dumps(result | {"arrays": describe_arrays(arrays)}))
    text, equal = reproduce(trial)
    assert not equal and "value" in text and "differs" in text
    with pytest.raises(ConfigError, match="trials of that run"):
        reproduce(done.path)


def test_measured_arrays_are_marked_and_not_compared(there, tmp_path):
    finished = run(there("experiment: theirs.host:timed\n"), out=tmp_path / "runs")
    assert finished.dataset.seconds.attrs["measured"] == 1 and "measured" not in finished.dataset.n.attrs
    text, equal = reproduce(next((finished.path / "trials").iterdir()))
    assert equal and "measured, not compared" in text


def test_another_process_at_work_is_respected(done, there, tmp_path):
    import fcntl

    held = os.open(done.path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    for fresh in (False, True):
        with pytest.raises(ConfigError, match="another process"):
            run(there(COMPILED), out=tmp_path / "runs", fresh=fresh)
    os.close(held)
    assert (done.path / "results.nc").exists()


def test_lab_in_a_notebook(there, tmp_path):
    import jax

    before = jax.config.jax_enable_x64
    finished = lab.run({"experiment": "theirs.compiled", "dtype": "float64"}, out=tmp_path / "runs")
    assert finished.dataset.value.dtype == np.float64 and jax.config.jax_enable_x64 == before
    assert lab.load(finished.path).identical(finished.dataset)
    with pytest.raises(ConfigError, match="no such results"):
        lab.load(tmp_path)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_an_absent_platform_is_told_before_anything_runs(there, tmp_path, platform):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigError, match=f"platform '{platform}' is absent"):
            run(there(f"experiment: theirs.compiled\nplatform: {platform}\n"), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def odd(sweep, **more):
    return {"experiment": "theirs.odd", "sweep": sweep, **more}


def test_infinities_are_told_apart(there, tmp_path):
    inf = float("inf")
    dataset = run(odd({"grid": {"scale": [inf, -inf, 1.0]}}), out=tmp_path / "runs").dataset
    assert dataset.scaled.values.tolist() == [inf, -inf, 1.0]
    one, two = (run(odd({}, params={"scale": v}), out=tmp_path / "runs") for v in (inf, -inf))
    assert one.path != two.path and float(two.dataset.scaled) == -inf


def test_traced_values_have_their_fields_type(there, tmp_path):
    dataset = run(odd({"vmap": {"either": [1, 0.5, 2.7]}}), out=tmp_path / "runs").dataset
    np.testing.assert_allclose(dataset.number, np.float32([1, 0.5, 2.7]))
    assert (dataset.sign.dtype, dataset.narrow.dtype, dataset["count"].dtype.kind) == (bool, np.float32, "i")


def test_numbers_beyond_the_dtype_are_refused(there, tmp_path):
    (told,) = run(odd({}, params={"either": 1e300}), out=tmp_path / "runs").messages
    assert "either holds a number beyond the range of float32" in told


def own(*how):
    return {"experiment": "theirs.odd:own", "sweep": {"grid": {"how": list(how)}}}


def test_coordinates_of_points_join(there, tmp_path):
    dataset = run(own("well", "longer"), out=tmp_path / "runs").dataset
    assert dataset.x.values.tolist() == [0, 1, 2, 3] and dataset.y.dtype.kind == "i"
    assert dataset.y.values.tolist() == [[10, 11, 0, 0], [0, 10, 11, 12]]
    assert dataset.valid.values.tolist() == [[True, True, False, False], [False, True, True, True]]


@pytest.mark.parametrize("how", ["dup", "nan"])
def test_a_coordinate_holds_every_value_once(there, tmp_path, how):
    (told,) = run(own(how), out=tmp_path / "runs").messages
    assert "must hold every value once, no NaN" in told


def test_the_callers_contexts_do_not_reach_in(there, tmp_path):
    import jax

    before = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    assert before[0] is False and before[1] != "bfloat16"
    with jax.enable_x64(True), jax.default_matmul_precision("bfloat16"):
        assert run({"experiment": "theirs.compiled"}, out=tmp_path / "runs").dataset.value.dtype == np.float32
    assert (jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision) == before


def test_a_trial_that_exits_is_a_failure(there, tmp_path):
    failed = run(there(host("exit", "[1]")), out=tmp_path / "runs")
    assert failed.exit_code == 1 and "SystemExit" in failed.messages[0]


@pytest.mark.parametrize("damage", ["arrays.npz", "result.json", "provenance.json", "changed"])
def test_a_damaged_trial_runs_again(there, tmp_path, damage):
    path = there(host())
    first = run(path, out=tmp_path / "runs")
    trial = min((first.path / "trials").iterdir())
    if damage == "changed":
        with np.load(trial / "arrays.npz") as archive:
            arrays = dict(archive) | {"k": archive["k"] + 1}
        np.savez(trial / "arrays.npz", **arrays)
    else:
        (trial / damage).write_bytes(b"[]")
    second = run(path, out=tmp_path / "runs")
    assert second.exit_code == 0 and second.dataset.identical(first.dataset)
    assert second.resumed == (2 if damage == "provenance.json" else 1)


def test_report_tells_the_failures_too(there, tmp_path):
    from jaxcalc.lab.report import redo

    path = there("experiment: theirs.host:ragged\nsweep: {cases: {bad: {act: raise}, good: {size: 2}}}")
    failed = run(path, out=tmp_path / "runs")
    again = redo(failed.path)
    assert again.messages == failed.messages and again.statuses == failed.statuses
    assert "own mistake" in failed.report.read_text()


def test_double_precision_on_a_tpu_is_refused_before_anything_runs(there, tmp_path, monkeypatch):
    import jax

    class Device:
        platform, device_kind = "tpu", "TPU v0"

    monkeypatch.setattr(jax, "devices", lambda *_: [Device()])
    with pytest.raises(ConfigError, match="a TPU does not compute in float64"):
        run({"experiment": "theirs.compiled", "platform": "tpu", "dtype": "float64"}, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
