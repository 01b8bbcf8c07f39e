"""Configs: what is refused, where the message points, and what it suggests."""

import pytest

from jaxcalc.lab.config import load, runs
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.sweep import open_plan

GOOD = """\
experiment: theirs.compiled
params:
  rate: 0.2
sweep:
  vmap:
    seed: [0, 1]
"""


def message(config, *overrides):
    with pytest.raises(ConfigError) as caught:
        open_plan(config, overrides)
    return str(caught.value)


def test_a_good_config_is_accepted(there):
    assert open_plan(there(GOOD)).num_points == 2


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        (
            "  rate: 0.2",
            "  rat: 0.2",
            ":3:3",
            ["unknown key 'rat' in params", "did you mean 'rate'", "valid keys: inner, method, rate, steps"],
        ),
        ("params:", "parms:", ":2:1", ["unknown key 'parms'", "did you mean 'params'", "time_limit"]),
        ("rate: 0.2", "rate: fast", ":3:9", ["rate", "number", "'fast'"]),
        ("rate: 0.2", "rate: -1", ":3:9", ["greater than 0", "-1"]),
        ("rate: 0.2", "rate: .nan", ":3:9", ["NaN"]),
        ("rate: 0.2", "steps: 1.5", ":3:10", ["steps", "integer"]),
        ("rate: 0.2", "method: plane", ":3:11", ["'plain' or 'noisy'", "did you mean 'plain'"]),
        ("rate: 0.2", "inner: {offst: 1}", ":3:11", ["unknown key 'offst' in params.inner", "did you mean 'offset'"]),
        ("rate: 0.2", "inner: {offset: x}", ":3:19", ["inner.offset"]),
        ("seed: [0, 1]", "sed: [0, 1]", ":6:5", ["unknown parameter 'sed'", "did you mean 'seed'"]),
        ("seed: [0, 1]", "seed: []", ":6:11", ["zero points"]),
        ("seed: [0, 1]", "seed: [0, -1]", ":6:15", ["whole number"]),
        ("seed: [0, 1]", "seed: [0, 0]", ":6:15", ["twice"]),
        ("seed: [0, 1]", "rate: [0.1, -2]", ":6:17", ["greater than 0"]),
        ("seed: [0, 1]", "rate: {lg: [1, 2, 3]}", ":6:11", ["shorthand", "linear, log, range"]),
        ("seed: [0, 1]", "rate: {log: [0, 2, 3]}", ":6:17", ["positive"]),
        ("seed: [0, 1]", "rate: {log: [1, 2, 0]}", ":6:11", ["zero points"]),
        ("seed: [0, 1]", "steps: [2, 3]", ":6:5", ["cannot be a vmap axis", "Swept", "grid:"]),
        ("seed: [0, 1]", "rate: [a]", ":6:5", ["not all numbers"]),
        ("seed: [0, 1]", "rate: 3", ":6:11", ["rate"]),
        ("theirs.compiled", "theirs.compild", ":1:13", ["unknown experiment"]),
        ("theirs.compiled", "theirs.broken", ":1:13", ["does not import", "nothing_of_this_name", "broken.py:1"]),
        ("theirs.compiled", "theirs.lacking", ":1:13", ["lacks Config, VARIABLES, run"]),
        ("theirs.compiled", "theirs.host", ":1:13", ["several questions", "theirs.host:ragged", "theirs.host:timed"]),
        ("theirs.compiled", "theirs.host:raged", ":1:13", ["no part 'raged'", "did you mean 'ragged'"]),
        ("params:", "dtype: float16\nparams:", ":2:8", ["'float32' or 'float64'"]),
        ("params:", "chunk: 0\nparams:", ":2:8", ["greater than or equal to 1"]),
        ("params:", "time_limit: 3\nparams:", ":2:1", ["own process", "isolate: process"]),
        ("params:", "isolate: process\nmemory_limit: lots\nparams:", ":3:15", ["4GiB"]),
        ("params:", "seed: true\nparams:", ":2:7", ["integer"]),
    ],
)
def test_what_is_wrong_is_told_with_its_place(there, old, new, place, words):
    path = there(GOOD.replace(old, new))
    told = message(path)
    assert told.startswith(f"{path}{place}: "), told
    assert "^" in told
    for word in words:
        assert word in told


def test_files_that_are_no_configs(there, tmp_path):
    assert "no such file" in message(tmp_path / "gone.yaml")
    assert "empty" in message(there(""))
    assert "empty" in message(there("# only a comment\n"))
    assert "mapping" in message(there("- a\n"))
    assert "mapping" in message(there("just text\n"))
    assert "folder" in message(tmp_path)
    assert "missing key 'experiment'" in message(there("seed: 1\n"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in message(tmp_path / "binary.yaml")


def test_a_missing_file_suggests_its_neighbour(there, tmp_path):
    there(GOOD, "newton.yaml")
    assert f"did you mean {str(tmp_path / 'newton.yaml')!r}" in message(tmp_path / "newtn.yaml")


def test_overrides_replace_and_sweep(there):
    path = there(GOOD)
    plan = open_plan(path, ("rate=1e-3", "inner.offset=2", "seed=7", "dtype=float64"))
    assert (plan.base.rate, plan.base.inner.offset, plan.loaded.settings.dtype) == (1e-3, 2.0, "float64")
    assert plan.num_points == 1 and plan.loaded.settings.seed == 7, "a value replaces the file's axis"
    plan = open_plan(path, ("rate=1e-3,1e-2,1e-1", "steps=2,3", "inner.offset=0,1"))
    assert {a.name: (a.kind, len(a)) for a in plan.axes} == {
        "seed": ("vmap", 2),
        "rate": ("vmap", 3),
        "steps": ("grid", 2),
        "offset": ("vmap", 2),
    }


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rat=1", "did you mean 'rate'"),
        ("rate", "key=value"),
        ("=3", "key=value"),
        ("rate=[1", "cannot read"),
        ("rate.x=1", "rate"),
        ("rate=", "rate"),
        ("params.rate=x", "command line"),
        ("rate=1,1", "twice"),
        ("rate=.nan", "NaN"),
    ],
)
def test_bad_overrides(there, override, words):
    assert words in message(there(GOOD), override)


def test_origins(there):
    path = there(GOOD)
    loaded = load(path, ("dtype=float64",))
    assert loaded.origin(("params", "rate")) == f"{path}:3"
    assert loaded.origin(("dtype",)) == "command line"
    assert loaded.origin(("platform",)) == "default"


def test_values_in_quotes_or_brackets_do_not_sweep(there):
    with pytest.raises(ConfigError, match="'plain' or 'noisy'"):
        open_plan(there(GOOD), ("method='a,b'",))


SEVERAL = """\
# Two runs of one question.
experiment: theirs.compiled
params: {rate: 0.2}
runs:
  short:
    params: {steps: 2}
  many:
    seed: 3
    params: {rate: 0.3}
    sweep: {vmap: {seed: [0, 1]}}
"""


def test_one_file_may_hold_several_runs(there):
    from jaxcalc.lab.config import runs

    path = there(SEVERAL)
    assert runs(path) == [f"{path}:short", f"{path}:many"] and runs(f"{path}:many") == [f"{path}:many"]
    short, many = (open_plan(config) for config in runs(path))
    assert (short.num_points, many.num_points) == (1, 2)
    assert (short.base.rate, short.base.steps, many.base.rate) == (0.2, 2, 0.3)
    assert short.loaded.stem.endswith("-short") and many.loaded.settings.seed == 3
    assert many.loaded.origin(("params", "rate")).endswith(":9") and short.loaded.origin(("params",)).endswith(":6")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("", SEVERAL, ["holds several runs; name one", "many, short"]),
        (":shrt", SEVERAL, ["holds no run 'shrt'", "did you mean 'short'"]),
        (":short", GOOD, ["is one run; it has no 'short'"]),
        (":short", SEVERAL.replace("steps: 2", "stps: 2"), [":6:14", "unknown key 'stps'", "did you mean 'steps'"]),
        (":short", GOOD + "runs: [1]\n", [":7:7", "must be a mapping"]),
        (":short", GOOD + "runs: {short: 1}\n", ["runs.short must be a mapping"]),
    ],
)
def test_a_wrong_run_of_several_is_told(there, name, text, words):
    told = message(f"{there(text)}{name}")
    assert all(word in told for word in words), told


@pytest.mark.parametrize("name", ["a/../../b", "a b", "", "-a", "../b"])
def test_the_name_of_a_run_is_that_of_a_folder(tmp_path, monkeypatch, name):
    file = tmp_path / "several.yaml"
    file.write_text(SEVERAL.replace("  many:", f'  "{name}":'), encoding="utf-8")
    with pytest.raises(ConfigError, match="names a folder"):
        [load(each) for each in runs(file)]
