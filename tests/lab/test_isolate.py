"""Trials in processes of their own: limits, crashes, and results equal to those of this process."""

import json

import numpy as np
import pytest

from jaxcalc.lab.runner import run


def isolated(act, more=""):
    return f"experiment: theirs.host:ragged\nparams: {{act: {act}}}\nisolate: process\n{more}"


def test_a_process_of_its_own_gives_the_same(there, tmp_path):
    text = "experiment: theirs.compiled\nsweep: {vmap: {rate: [0.1, 0.2]}}\n"
    here = run(there(text), out=tmp_path / "here")
    apart = run(there(text + "isolate: process\ntime_limit: 60\n"), out=tmp_path / "apart")
    assert apart.exit_code == 0 and apart.path.name == here.path.name, "where a trial ran does not change what it is"
    np.testing.assert_array_equal(apart.dataset.value, here.dataset.value)
    (trial,) = (apart.path / "trials").iterdir()
    import os

    assert json.loads((trial / "provenance.json").read_text())["process"] != os.getpid()


def test_a_trial_that_hangs_is_stopped_and_not_repeated(there, tmp_path):
    stopped = run(there(isolated("hang", "time_limit: 0.5\n")), out=tmp_path / "runs")
    assert list(stopped.statuses.values()) == ["timeout"] and stopped.exit_code == 1
    assert "stopped at time_limit: 0.5 s" in stopped.messages[0]
    assert run(there(isolated("hang", "time_limit: 0.4\n")), out=tmp_path / "runs").resumed == 1
    assert run(there(isolated("hang", "time_limit: 0.6\n")), out=tmp_path / "runs").resumed == 0


def test_a_trial_that_fills_the_memory_is_stopped(there, tmp_path):
    stopped = run(there(isolated("fill", "memory_limit: 1GiB\ntime_limit: 60\n")), out=tmp_path / "runs")
    assert list(stopped.statuses.values()) == ["memory"] and "of 1024 MiB" in stopped.messages[0]


@pytest.mark.parametrize(("act", "words"), [("crash", "SIGABRT"), ("raise", "the experiment's own mistake")])
def test_a_trial_that_dies_is_a_failure_and_the_run_goes_on(there, tmp_path, act, words):
    cases = f"{{bad: {{act: {act}}}, good: {{size: 2}}}}"
    text = f"experiment: theirs.host:ragged\nisolate: process\nsweep: {{cases: {cases}}}\n"
    finished = run(there(text), out=tmp_path / "runs")
    assert sorted(finished.statuses.values()) == ["done", "failed"] and words in finished.messages[0]
