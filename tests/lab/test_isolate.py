"""Trials in processes of their own: limits, crashes, and results equal to those of this process."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from jaxcalc.lab.runner import run

ACTS = """
import os, subprocess, sys, time
from pathlib import Path
from jaxcalc.lab import Config as Base
from jaxcalc.lab.errors import ConfigError

if os.environ.get("NOISE"):
    print("ready", flush=True)
    time.sleep(1.5)
if os.environ.get("REFUSES") and os.environ["REFUSES"] != str(os.getpid()):
    raise ConfigError("not here", valid=["there"], remedy="Go there.")

class Config(Base):
    act: str = "well"
    file: str = ""

kind = "host"
VARIABLES = {"y": ((), "", "y")}

SLEEPER = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(300)"
FILLER = "import numpy, time; held = numpy.ones(2**26); time.sleep(300)"

def run(config, key):
    match config.act:
        case "exit":
            sys.exit(0)
        case "exit at once":
            os._exit(0)
        case "print":
            os.write(1, b"x" * 2**20)
            subprocess.run([sys.executable, "-c", "print('y' * 2**20)"], check=True)
        case "read":
            assert sys.stdin.read() == ""
            assert subprocess.run([sys.executable, "-c", "import sys; sys.stdin.read()"]).returncode == 0
        case "start" | "start and end":
            subprocess.Popen([sys.executable, "-c", SLEEPER, config.file])
            while not Path(config.file).exists() or not Path(config.file).read_text():
                time.sleep(0.02)
            if config.act == "start":
                time.sleep(300)
        case "share":
            for _ in range(2):
                subprocess.Popen([sys.executable, "-c", FILLER])
            time.sleep(300)
    return {"y": 1.0}
"""


def isolated(act, more=""):
    return f"experiment: theirs.host:ragged\nparams: {{act: {act}}}\nisolate: process\n{more}"


@pytest.fixture
def acting(there, tmp_path, monkeypatch):
    """Run an experiment that does what its config says; it lies where only ``sys.path`` of this process leads."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "acts_of_a_trial.py").write_text(ACTS)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))

    def act(what, file="", **more):
        config = {"experiment": "acts_of_a_trial", "params": {"act": what, "file": str(file)}, "isolate": "process"}
        return run(config | more, out=tmp_path / "runs", progress=False)

    yield act
    sys.modules.pop("acts_of_a_trial", None)


def gone(process):
    """Whether a process ends, for which it is given some seconds."""
    for _ in range(500):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_process_of_its_own_gives_the_same(there, tmp_path):
    text = "experiment: theirs.compiled\nsweep: {vmap: {rate: [0.1, 0.2]}}\n"
    here = run(there(text), out=tmp_path / "here")
    apart = run(there(text + "isolate: process\ntime_limit: 60\n"), out=tmp_path / "apart")
    assert apart.exit_code == 0 and apart.path.name == here.path.name, "where a trial ran does not change what it is"
    np.testing.assert_array_equal(apart.dataset.value, here.dataset.value)
    (trial,) = (apart.path / "trials").iterdir()
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


@pytest.mark.parametrize(
    ("act", "words"), [("exit", "SystemExit: 0"), ("exit at once", "exit code 0 before run returned")]
)
def test_a_trial_that_ends_well_without_its_arrays_is_a_failure(acting, act, words):
    finished = acting(act)
    assert list(finished.statuses.values()) == ["failed"] and finished.exit_code == 1
    assert words in finished.messages[0]


def test_what_a_trial_and_its_programs_print_is_kept_and_stops_nothing(acting):
    finished = acting("print", time_limit=120)
    assert finished.exit_code == 0, finished.messages
    (trial,) = (finished.path / "trials").iterdir()
    assert (trial / "process.txt").stat().st_size == 2**21 + 1


def test_a_trial_has_no_input(acting):
    finished = acting("read", time_limit=120)
    assert finished.exit_code == 0, finished.messages


def test_a_line_printed_at_import_does_not_start_the_clock(acting, monkeypatch):
    monkeypatch.setenv("NOISE", "1")
    finished = acting("well", time_limit=1)
    assert finished.exit_code == 0, finished.messages


@pytest.mark.parametrize(("act", "status"), [("start", "timeout"), ("start and end", "done")])
def test_what_a_trial_started_ends_with_it(acting, tmp_path, act, status):
    finished = acting(act, tmp_path / "started", time_limit=5 if act == "start" else 120)
    assert list(finished.statuses.values()) == [status]
    assert gone(int((tmp_path / "started").read_text()))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell what a process holds")
def test_what_a_trial_started_counts_as_its_memory(acting):
    finished = acting("share", memory_limit="1200MiB", time_limit=120)
    assert list(finished.statuses.values()) == ["memory"], "each of the two holds 512 MiB"


def test_a_config_error_in_the_process_is_told_whole(acting, monkeypatch):
    monkeypatch.setenv("REFUSES", str(os.getpid()))
    finished = acting("well")
    (message,) = finished.messages
    assert "does not import" in message
    for words in ("ConfigError: not here", "valid keys: there", "Go there."):
        assert words in message


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_the_parent_is_stopped(acting, tmp_path, how):
    started = tmp_path / "started"
    code = f"""
        import sys
        sys.path[:] = {sys.path!r}
        from jaxcalc.lab.runner import run
        params = {{"act": "start", "file": {str(started)!r}}}
        config = {{"experiment": "acts_of_a_trial", "params": params, "isolate": "process"}}
        run(config, out={str(tmp_path / "runs")!r}, progress=False)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(6000):
            if (started.exists() and started.read_text()) or parent.poll() is not None:
                break
            time.sleep(0.02)
        sleeper = int(started.read_text())
        trial = int(Path(f"/proc/{sleeper}/stat").read_text().rpartition(")")[2].split()[1])
        parent.send_signal(how)
        parent.wait(60)
        assert gone(trial) and gone(sleeper)
    finally:
        parent.kill()
        parent.wait()
