"""The command line as a newcomer meets it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxcalc.lab.cli import main

COMMANDS = ("run", "list", "check", "show", "info", "plot", "compare", "report", "reproduce")
GOOD = "experiment: theirs.compiled\nsweep: {vmap: {rate: [0.1, 0.2], seed: [0, 1]}, grid: {steps: [2, 3]}}\n"


@pytest.fixture
def finished(there, tmp_path, capsys):
    assert main(["run", str(there(GOOD)), "--out", str(tmp_path / "runs")]) == 0
    capsys.readouterr()
    return next((tmp_path / "runs").iterdir())


def test_help_of_every_command_has_an_example(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert command in text
        assert main([command, "--help"]) == 0
        assert f"example:\n  jaxcalc {command}" in capsys.readouterr().out


def test_run_prints_claims_and_the_report(there, tmp_path, capsys):
    assert main(["run", str(there(GOOD)), "--out", str(tmp_path / "runs")]) == 0
    out, err = capsys.readouterr()
    assert "confirmed" in out and "descends" in out and "2 of 2 trials finished" in out
    report = re.search(r"report: +(\S+)", out)
    assert report and Path(report[1]).exists()
    assert err == "" and "\x1b" not in out, "quiet and colourless in a pipe"


def test_dry_run_tells_and_writes_nothing(there, tmp_path, capsys):
    assert main(["run", str(there(GOOD)), "--dry-run", "--out", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert (
        re.search(r"points: +8\b", out)
        and re.search(r"programs: +2\b", out)
        and re.search(r"chunks: +2 of at most 4", out)
    )
    assert re.search(r"value +2 × 2 × 2 × 3 +float32 +96 B +steps, rate, seed, step", out)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "gone.yaml"],
        ["run", "--nonsense"],
        ["fly"],
        [],
        ["run", "{config}", "rat=1"],
        ["run", "{config}", "rate=.nan"],
        ["run", "{config}", "--out", "/proc/none"],
        ["check", "{empty}"],
        ["check", "{notyaml}"],
        ["run", "{zero}"],
        ["show", "gone.yaml"],
        ["run", "{unknown}"],
        ["plot", "nowhere"],
        ["compare", "nowhere", "nowhere"],
        ["report", "nowhere"],
        ["reproduce", "nowhere"],
        ["compare", "nowhere", "nowhere", "--threshold", "-1"],
        ["run", "{config}", "platform=tpu"],
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_bad_input_is_one_message_and_exit_code_2(there, tmp_path, capsys, words):
    files = {
        "config": there(GOOD),
        "empty": there("", "empty.yaml"),
        "notyaml": there("a: [", "notyaml.yaml"),
        "zero": there("experiment: theirs.compiled\nsweep: {vmap: {rate: []}}", "zero.yaml"),
        "unknown": there("experiment: theirs.nothing", "unknown.yaml"),
    }
    before = set(tmp_path.rglob("*"))
    arguments = [word.format(**files) for word in words]
    if words[:1] == ["run"] and "--out" not in words:
        arguments += ["--out", str(tmp_path / "runs")]
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in err + out and (err or not words)
    assert {p for p in set(tmp_path.rglob("*")) - before if "cache" not in p.parts} == set(), "nothing half-written"


def test_check_and_show(there, capsys):
    assert main(["check", str(there(GOOD))]) == 0
    assert "8 points of theirs.compiled" in capsys.readouterr().out
    assert main(["show", str(there(GOOD)), "method=noisy"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"params.method +noisy +command line", out)
    assert re.search(r"params.steps +4 +default \(swept\)", out)
    assert re.search(r"sweep.vmap.rate +\[0.1, 0.2\] +.*config.yaml:2", out)


def test_list_and_info(capsys):
    assert main(["list"]) == 0 and "quickstart" in capsys.readouterr().out
    assert main(["info"]) == 0
    assert re.search(r"jax +\d", capsys.readouterr().out)


def test_a_file_of_several_runs_is_run_and_checked_whole(there, tmp_path, capsys):
    path = there("experiment: theirs.compiled\nruns:\n  one: {seed: 1}\n  two: {params: {steps: 2}}\n")
    assert main(["check", str(path)]) == 0
    told = capsys.readouterr().out
    assert f"{path}:one: good" in told and f"{path}:two: good" in told
    assert main(["run", str(path), "--out", str(tmp_path / "runs")]) == 0
    assert sorted(p.name.rpartition("-")[0] for p in (tmp_path / "runs").iterdir()) == [
        f"{path.stem}-one",
        f"{path.stem}-two",
    ]
    assert main(["run", f"{path}:two", "--dry-run"]) == 0


def test_what_can_be_run_is_listed_one_a_line(capsys):
    assert main(["list", "--runnable"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "configs/quickstart.yaml" in lines and "taylor" in lines and len(lines) == len(set(lines))
    assert "order_chaos" in lines and "configs/trainability.yaml" in lines  # large ones run where they are named alone
    assert not [line for line in lines if "-large" in line]


def test_chapters_that_are_no_dict_are_told(tmp_path, monkeypatch, capsys):
    home = tmp_path / "experiments"
    home.mkdir()
    (home / "__init__.py").write_text("\nCHAPTERS = [make_it_up()]\n")
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 2
    assert "__init__.py:2: CHAPTERS must be written out" in capsys.readouterr().err


def test_report_again_in_other_formats(finished, capsys):
    before = (finished / "report.html").read_text()
    assert main(["report", str(finished), "--format", "png"]) == 0
    assert (finished / "figures" / "descent.png").exists() and (finished / "report.html").read_text() == before


def test_reproduce(finished, capsys):
    assert main(["reproduce", str(next((finished / "trials").iterdir()))]) == 0
    assert "every array is equal" in capsys.readouterr().out


_LIGHT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jax", "jaxlib", "matplotlib", "xarray"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from jaxcalc.lab.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "words", [["check", "configs/quickstart.yaml"], ["show", "configs/quickstart.yaml"], ["list"], ["--help"]]
)
def test_the_light_commands_do_without_jax(words):
    done = subprocess.run([sys.executable, "-c", _LIGHT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_killed_run_goes_on(there, tmp_path):
    path = there("experiment: theirs.host:ragged\nsweep: {cases: {a: {size: 2}, b: {act: hang}}}\n")
    command = [sys.executable, "-m", "jaxcalc", "run", str(path), "--out", str(tmp_path / "runs")]

    def wait(process, until):
        while not until():
            assert process.poll() is None
            time.sleep(0.05)

    def under_way():
        return set(tmp_path.glob("runs/*/trials/.*"))

    def results():
        return list(tmp_path.glob("runs/*/trials/*/result.json"))

    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(command, env=environment)
    wait(process, lambda: results() and under_way())
    process.kill()
    process.wait()
    left = under_way()
    assert left, "a kill leaves what was under way"
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait(process, lambda: under_way() - left)
    assert not under_way() & left, "which the next run clears away"
    time.sleep(1.0)  # into the trial itself
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    assert len(results()) == 1 and not under_way()


def test_a_mistake_in_the_last_run_is_told_before_the_first_begins(tmp_path, capsys):
    file = tmp_path / "several.yaml"
    file.write_text(
        "experiment: functions.graphs\nruns:\n  good: {seed: 1}\n  bad: {params: {sede: 1}}\n", encoding="utf-8"
    )
    assert main(["run", str(file), "--out", str(tmp_path / "runs")]) == 2
    assert "unknown key 'sede'" in capsys.readouterr().err and not (tmp_path / "runs").exists()
