"""A small run of the architecture question: verdicts, figures, and what breaks them."""

import numpy as np
import pytest

from jaxcalc import lab
from tests.verdicts import survivors, verdicts

SCALE, NORM, SKIPS, THEORY = (
    "normalised-gradients-forget-weight-scale",
    "normalisation-lets-gradients-through",
    "scaled-skips-let-any-gradient-through",
    "mean-field-factor-of-every-architecture",
)
PARAMS = {
    "activations": ["sigmoid", "relu"],
    "residuals": ["none", "plain", "scaled"],
    "depth": 42,
    "width": 64,
}


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    config = {"experiment": "vanishing_gradients.architecture", "params": PARAMS}
    return lab.run(config, out=tmp_path_factory.mktemp("runs"), progress=False)


def test_combinations_do_what_theory_says(run):
    assert run.messages == []
    assert set(run.figures) == {"factor_by_architecture", "measured_against_theory"}
    assert [(claim.id, claim.measured, claim.reason) for claim in run.claims if not claim.passed] == []
    assert survivors("vanishing_gradients.architecture", run.dataset) == []
    # Sigmoids have no critical weights of unit mean square; all else is a number.
    known = run.dataset.attenuation.notnull().all(("residual", "normalisation", "draw"))
    assert not known.sel(activation="sigmoid", initialisation="critical") and int(known.sum()) == known.size - 1


def test_other_gradients_refute(run):
    data = run.dataset
    grown = verdicts(run, data.assign(attenuation=data.attenuation * np.exp(5.0)))
    assert grown[NORM] == grown[SKIPS] == grown[THEORY] == "refuted"
    apart = data.attenuation * (1 + 9 * (data.initialisation == "he"))
    assert verdicts(run, data.assign(attenuation=apart))[SCALE] == "refuted"


def test_what_is_missing_is_not_judged(run):
    less = verdicts(run, run.dataset.sel(normalisation=["none"]))
    assert set(less.values()) == {"not judged"}
    assert set(verdicts(run, run.dataset.assign(layers=20)).values()) == {"not judged"}
