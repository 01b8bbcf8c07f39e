"""Ledgers and the table of evidence: a verdict that differs, or one that is missing, ends with exit code 1."""

import re
from collections import Counter
from pathlib import Path

import pytest
import xarray

from jaxcalc.lab import FACTS, cli, ledger, over, pack_facts, registry
from jaxcalc.lab import run as lab_run
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.evidence import evidence, sources
from jaxcalc.lab.plot import charts
from jaxcalc.lab.sweep import open_plan

EXPERIMENT = '''
"""Two claims, from numbers that a config gives."""

from jaxcalc.lab import Config as Base, Variable, cited, close


class Config(Base):
    slope: float = 9.0
    """what is measured"""


kind = "host"
VARIABLES = {"measured_slope": Variable((), "", "a slope")}


def run(config, key):
    return {"measured_slope": config.slope}


claims = {"slope-is-nine": lambda data: close(data.measured_slope), "who-found-it": cited}
'''
LEDGER = """
- {id: slope-is-nine, statement: The slope is nine., topic: slopes, expected: 9.0, tolerance: 1e-9}
- {id: who-found-it, statement: He did., topic: history, status: not-run, citation: His letters.}
- {id: slope-is-ten, statement: The slope is ten., topic: slopes, status: false-as-stated}
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder with one experiment and one config."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "experiments" / "slopes.py").write_text(EXPERIMENT)
    (tmp_path / "experiments" / "ledger.yaml").write_text(LEDGER)
    (tmp_path / "configs" / "slopes.yaml").write_text("experiment: slopes\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_gallerys_ledger_is_whole():
    known = ledger.read(Path(registry.LIBRARY.parent, "experiments", "ledger.yaml"))
    assert all(entry.id == id and entry.statement and entry.expects for id, entry in known.items())
    assert Counter(entry.part for entry in known.values())["foundations"] == 172
    with pytest.raises(ConfigError, match="did you mean 'power-rule'"):
        ledger.look_up("power-rules", known, "test")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {id: a}", "ledger.yaml:1:3: a claim has at least an id and a statement"),
        ("- {id: a, statement: b}\n- {id: a, statement: c}", "ledger.yaml:2:8: the claim 'a' stands there twice"),
        ("- {id: a, statement: b, tolerence: 1}", "did you mean 'tolerance'"),
        ("- {id: a, statement: b, tolerance: -1}", "expected a number from 0 on"),
        ("- {id: a, statement: b, status: true-ish}", "verified-true"),
        ("id: a", "a ledger is a list of claims"),
    ],
)
def test_a_damaged_ledger_is_told_with_its_place(tmp_path, text, told):
    (tmp_path / "ledger.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        ledger.read(tmp_path / "ledger.yaml")
    assert told in str(error.value)


def test_each_config_is_known_for_what_it_judges(lab):
    known = sources()
    assert known["configs/slopes.yaml"] == {"slope-is-nine", "who-found-it"}
    (lab / "configs" / "slopes.yaml").write_text("experiment: slopes\nclaims: [slope-is-nine]\n")
    assert sources()["configs/slopes.yaml"] == {"slope-is-nine"}
    (lab / "configs" / "slopes.yaml").rename(lab / "configs" / "slopes-large.yaml")
    assert set(sources()) & {"configs/slopes-large.yaml", "slopes"} == {"slopes"}


def test_a_claim_that_the_question_does_not_name_is_refused(lab, capsys):
    (lab / "configs" / "slopes.yaml").write_text("experiment: slopes\nclaims: [slope-is-nein]\n")
    assert cli.main(["run", "configs/slopes.yaml"]) == 2
    assert "did you mean 'slope-is-nine'" in capsys.readouterr().err


def test_the_table_has_what_was_asked_for(lab, capsys):
    assert cli.main(["evidence", "slope-is-nine", "history"]) == 0
    told = capsys.readouterr().out
    assert "slope-is-nine" in told and "1 confirmed, 1 cited" in told and "His letters." in told
    assert cli.main(["evidence", "slopes"]) == 1  # the topic and the config: a claim is missing
    assert "no evidence for 1: slope-is-ten" in capsys.readouterr().out
    again = evidence(["configs/slopes.yaml"])
    assert [row["claim"] for row in again.rows] == ["slope-is-nine", "who-found-it"]
    assert again.passed and again.missing == []


def test_another_verdict_than_the_ledgers_fails(lab, capsys):
    (lab / "configs" / "slopes.yaml").write_text("experiment: slopes\nparams: {slope: 8.5}\n")
    assert cli.main(["evidence", "slope-is-nine"]) == 1
    told = capsys.readouterr().out
    assert "refuted (ledger: confirmed)" in told
    assert "not the ledger's verdict: slope-is-nine" in told


def test_what_is_not_finite_is_not_judged_and_fails(lab, capsys):
    (lab / "experiments" / "slopes.py").write_text(EXPERIMENT.replace("config.slope}", 'float("nan")}'))
    assert cli.main(["run", "configs/slopes.yaml"]) == 1
    assert "not judged" in capsys.readouterr().out
    assert cli.main(["evidence", "slope-is-nine"]) == 1
    assert "not finite" in capsys.readouterr().out


def test_a_run_that_fails_is_told(lab, capsys):
    (lab / "experiments" / "slopes.py").write_text(EXPERIMENT.replace("config.slope}", "1 / 0}"))
    assert cli.main(["evidence", "configs/slopes.yaml"]) == 1
    assert "failed: configs/slopes.yaml" in capsys.readouterr().out


def test_an_unknown_name_is_answered(lab, capsys):
    assert cli.main(["evidence", "slope-is-nin"]) == 2
    assert "did you mean 'slope-is-nine'" in capsys.readouterr().err


def test_a_claim_that_no_ledger_has_is_told_before_anything_runs(lab, capsys):
    (lab / "experiments" / "slopes.py").write_text(EXPERIMENT.replace('"slope-is-nine"', '"slope-is-nein"'))
    for command in ("check", "run"):
        assert cli.main([command, "configs/slopes.yaml"]) == 2
        assert "no claim 'slope-is-nein' in a ledger in reach" in capsys.readouterr().err
    assert not (lab / "runs").exists()


def test_packed_facts_are_no_chart():
    facts = xarray.Dataset({name: (FACTS[name].dims, values) for name, values in pack_facts({"a": [1, 2]}).items()})
    assert not charts(facts)
    assert list(charts(facts.assign(y=("x", [1.0, 2.0])))) == ["y"]


def test_a_question_runs_by_its_name_and_is_charted_without_figures(lab, capsys):
    assert cli.main(["run", "slopes", "slope=9.0"]) == 0
    assert cli.main(["run", "slope"]) == 2
    assert "did you mean 'slopes'" in capsys.readouterr().err


def test_a_module_that_is_not_installed_is_told_with_an_exit_code_of_its_own(lab, capsys):
    needy = EXPERIMENT.replace('kind = "host"', 'kind = "host"\nneeds = ("no_such_peer",)')
    (lab / "experiments" / "slopes.py").write_text(needy)
    assert cli.main(["run", "configs/slopes.yaml"]) == 3
    assert "needs no_such_peer" in capsys.readouterr().err
    assert cli.main(["check", "configs/slopes.yaml"]) == 0


def test_a_question_has_a_default_dtype(lab):
    double = EXPERIMENT.replace('kind = "host"', 'kind = "host"\ndtype = "float64"')
    (lab / "experiments" / "slopes.py").write_text(double)
    assert open_plan("slopes").loaded.settings.dtype == "float64"
    assert open_plan("slopes", ("dtype=float32",)).loaded.settings.dtype == "float32"


def test_a_question_without_a_dtype_has_that_of_the_folder_around_it(lab):
    around = lab / "experiments" / "__init__.py"
    around.write_text('dtype = "float64"\n')
    assert open_plan("slopes").loaded.settings.dtype == "float64"
    single = EXPERIMENT.replace('kind = "host"', 'kind = "host"\ndtype = "float32"')
    (lab / "experiments" / "slopes.py").write_text(single)
    assert open_plan("slopes").loaded.settings.dtype == "float32"


def test_every_parameter_is_a_coordinate_swept_or_not(lab):
    run = lab_run("slopes", out=lab / "runs", progress=False)
    assert float(run.dataset.coords["slope"]) == 9.0 and int(run.dataset.coords["seed"]) == 0
    swept = lab_run("slopes", "slope=9.0,10.0", out=lab / "runs", progress=False).dataset
    assert over(swept, "slope", "seed").measured_slope.dims == ("seed", "slope")


def test_a_subject_is_a_folder_of_questions(lab, capsys):
    subject = lab / "experiments" / "lines"
    subject.mkdir()
    (subject / "__init__.py").write_text('"""Lines."""\nSLOPE = 9.0\n')
    (subject / "steep.py").write_text(
        EXPERIMENT.replace("config.slope}", "lines.SLOPE}").replace(
            "from jaxcalc", "from experiments import lines\nfrom jaxcalc", 1
        )
    )
    assert cli.main(["run", "lines.steep"]) == 0
    assert "runs/lines-steep-" in capsys.readouterr().out
    assert "lines.steep" in registry.available()
    before = registry.load("lines.steep").source
    (subject / "other.py").write_text("")  # a sibling is not this question's source, the subject is
    assert registry.load("lines.steep").source == before
    (subject / "__init__.py").write_text('"""Lines."""\nSLOPE = 8.0\n')
    assert registry.load("lines.steep").source != before
    assert cli.main(["run", "lines.steep"]) == 1


def test_a_package_of_ones_own_with_its_ledger(tmp_path, monkeypatch, capsys):
    """The README's own experiment: at most 25 lines, charted, judged by the ledger beside it."""
    text = (registry.LIBRARY.parent / "README.md").read_text().partition("## Your own experiment")[2]
    code, ledger_text = (re.findall(rf"```{word}\n(.*?)```", text, re.DOTALL)[0] for word in ("python", "text"))
    assert len(code.splitlines()) <= 25
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "mymodule.py").write_text(code)
    (tmp_path / "mypackage" / "ledger.yaml").write_text(ledger_text)
    monkeypatch.chdir(tmp_path)
    found = lab_run("mypackage.mymodule", out=tmp_path / "runs", progress=False)
    assert [claim.verdict for claim in found.claims] == ["confirmed"]
    assert found.claims[0].figure == "error" and found.figures["error"].is_file()
    assert cli.main(["evidence", "it-converges"]) == 0
    assert "1 claims judged: 1 confirmed" in capsys.readouterr().out
    assert cli.main(["run", "mypackage.mymodule", "rate=1.5", "--out", "runs"]) == 1
