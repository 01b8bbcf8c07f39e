"""The ledger and the table of evidence: verdicts come from runs, and one that differs ends with exit code 1."""

import json
from collections import Counter
from pathlib import Path

import pytest

from jaxcalc.lab import cli
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.evidence import evidence, sources
from jaxcalc.lab.ledger import entry, judged, ledger

EXPERIMENT = '''
"""Two of the ledger's claims, from numbers that a config gives."""

from jaxcalc.lab import Config as Base, Variable, judged


class Config(Base):
    slope: float = 9.0
    """what is measured"""


kind = "host"
VARIABLES = {"slope": Variable((), "", "a slope")}


def run(config, key):
    return {"slope": config.slope}


def claims(dataset):
    slope = float(dataset.slope)
    return [
        judged("quartic-derivative-values", slope == 9.0, measured=slope),
        judged("newton-leibniz-history", None),
    ]
'''


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder with one experiment and one config."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "experiments" / "slopes.py").write_text(EXPERIMENT)
    (tmp_path / "configs" / "slopes.yaml").write_text("experiment: slopes\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_ledger_is_whole():
    known = ledger()
    assert all(one.id == id and one.statement and one.expects for id, one in known.items())
    assert Counter(one.part for one in known.values())["foundations"] == 172
    with pytest.raises(ConfigError, match="did you mean 'power-rule'"):
        entry("power-rules")


def test_a_claim_takes_its_words_from_the_ledger():
    claim = judged("x2-exp-derivative-printed-array", False, measured=[0.0, 8.155, 59.11])
    assert (claim.verdict, claim.expects, claim.passed) == ("refuted", "refuted", True)
    assert claim.statement == entry(claim.id).statement
    assert not judged("x2-exp-derivative-printed-array", True).passed
    assert judged("newton-leibniz-history", None).verdict == "cited"
    assert judged("nudge-ratio-worked-example", True, limits=True).passed
    assert not judged("nudge-ratio-worked-example", True).passed


def test_claims_are_found_without_importing_anything(lab):
    assert sources() == {Path("configs/slopes.yaml"): {"quartic-derivative-values", "newton-leibniz-history"}}


def test_the_table_has_what_was_asked_for(lab, capsys):
    assert cli.main(["evidence", "rules"]) == 0
    told = capsys.readouterr().out
    assert "quartic-derivative-values" in told and "confirmed" in told
    assert "newton-leibniz-history" not in told  # another topic
    assert "no evidence yet for" in told and "power-rule" in told
    again = evidence(["slopes"])
    assert [row["claim"] for row in again.rows] == ["quartic-derivative-values", "newton-leibniz-history"]
    assert again.passed and again.missing == []


def test_another_verdict_than_the_ledgers_fails(lab, capsys):
    (lab / "configs" / "slopes.yaml").write_text("experiment: slopes\nparams: {slope: 8.5}\n")
    assert cli.main(["evidence", "quartic-derivative-values"]) == 1
    told = capsys.readouterr().out
    assert "refuted (ledger: confirmed)" in told
    assert "not the ledger's verdict: quartic-derivative-values" in told


def test_a_run_that_fails_is_told(lab, capsys):
    (lab / "experiments" / "slopes.py").write_text(EXPERIMENT.replace("config.slope}", "1 / 0}"))
    assert cli.main(["evidence", "slopes"]) == 1
    assert "failed: configs/slopes.yaml" in capsys.readouterr().out


def test_an_unknown_name_is_answered(lab, capsys):
    assert cli.main(["evidence", "quartic-derivative-value"]) == 2
    assert "did you mean 'quartic-derivative-values'" in capsys.readouterr().err


def test_the_ledger_is_package_data():
    import jaxcalc.lab

    assert (Path(jaxcalc.lab.__file__).parent / "claims.yaml").is_file()
    assert json.dumps([one.expects for one in ledger().values()])
