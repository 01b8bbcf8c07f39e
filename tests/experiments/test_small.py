"""Small questions: every claim has the ledger's verdict, none survives NaN, and figures are drawn."""

import pytest

from jaxcalc import lab
from tests.verdicts import survivors

QUESTIONS = {
    "critical_points.network": {"starts": 150},
    "critical_points.own": {"samples": 300, "starts": 60},
    "functions.encodings": {},
    "functions.graphs": {"names": ["square", "sigmoid", "relu", "abs", "log"], "points": 40},
    "functions.limits": {},
    "quadrature.polynomials": {"samples": 20, "most": 11},
    "least_squares.scaling": {"num_steps": 2000},
    "losses.tasks": {"draws": 100, "num_steps": 1000},
    "tracing.debug": {"starts": [2.0, 3.0], "length": 20, "prints": [1, 20], "repeats": 2, "min_seconds": 0.0},
    "tracing.nans": {},
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_as_the_ledger_says(question, tmp_path):
    run = lab.run({"experiment": question, "params": QUESTIONS[question]}, out=tmp_path, progress=False)
    assert run.messages == [] and run.claims
    assert [claim.id for claim in run.claims if not claim.passed] == []
    assert run.figures
    assert survivors(question, run.dataset) == []
