"""Small runs of the questions that hold mean-field theory against networks: verdicts, figures, and what breaks them."""

import numpy as np
import pytest

from jaxcalc import lab
from tests.verdicts import survivors, verdicts

QUESTIONS = {
    "order_chaos": {"width": 200, "depth": 30, "draws": 12, "weight_variances": [1.0, 1.5, 4.0], "points": 4},
    "dynamical_isometry": {},
    "residual_growth": {"width": 64, "draws": 4, "gradients": 8},
}


@pytest.fixture(scope="module")
def runs(cache, tmp_path_factory):
    return {
        question: lab.run(
            {"experiment": question, "params": params}, out=tmp_path_factory.mktemp("runs"), progress=False
        )
        for question, params in QUESTIONS.items()
    }


@pytest.mark.parametrize("question", QUESTIONS)
def test_networks_do_what_theory_says(question, runs):
    run = runs[question]
    assert run.messages == [] and run.claims and run.figures
    assert [(claim.id, claim.measured, claim.reason) for claim in run.claims if not claim.passed] == []
    assert survivors(question, run.dataset) == []


def test_other_numbers_refute(runs):
    run = runs["order_chaos"]
    broken = verdicts(run, run.dataset.assign(chi=1.1 * run.dataset.chi, departure=abs(run.dataset.departure) ** 0.4))
    assert set(broken.values()) == {"refuted"}
    run = runs["dynamical_isometry"]
    broken = verdicts(run, run.dataset.assign(singular_value=2 * run.dataset.singular_value.clip(0, 1.2)))
    assert set(broken.values()) == {"refuted"}
    run = runs["residual_growth"]
    data = run.dataset
    broken = verdicts(run, data.assign(gradient=data.gradient**1.2, identity=data.identity + 1e-3))
    assert set(broken.values()) == {"refuted"}


def test_euler_explains_the_gradient_behind_plain_relu_skips(runs):
    plain = runs["residual_growth"].dataset.sel(network="ReLU, one matrix")
    along = np.log10(plain.along / plain.theory_along).sel(layer=0).mean("draw")
    assert abs(along) < 1.0  # of 56 decades
