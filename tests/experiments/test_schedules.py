"""Small runs of the experiment on schedules: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest

from jaxcalc import lab
from tests.verdicts import changed, survivors, verdicts

EXPERIMENT = "schedules"
SMALL = {"curves": {}}
NOISE = ("constant", "step-decay", "exponential-decay", "cosine", "warmup-cosine")
CLAIMS = {
    "cosine-annealing-schedule": "cosine",
    "exponential-decay-schedule": "exponential-decay",
    "linear-warmup-schedule": "linear-warmup",
}


def test_every_claim_has_the_ledgers_verdict(run):
    told = run("curves").claims
    assert [claim.id for claim in told] == list(CLAIMS)
    assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []
    assert set(run("curves").figures) == {"curves"}


def test_curves_are_their_closed_forms(run):
    data = run("curves").dataset
    np.testing.assert_allclose(data.rate, data.closed_form, rtol=0, atol=1e-15)
    np.testing.assert_allclose(data.rate, data.optax, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("claim", "name"), CLAIMS.items())
def test_a_wrong_curve_is_refuted(run, claim, name):
    data = run("curves").dataset
    wrong = {claim: "refuted"}
    bent = data.rate * (1 + 1e-4 * (data.schedule == name) * (data["count"] == 50))
    assert changed(run("curves"), rate=bent) == wrong
    assert changed(run("curves"), optax=data.optax * (1 + 1e-4 * (data.schedule == name))) == wrong
    first = data.rate + 1e-9 * ((data.schedule == name) & (data["count"] == 0))
    assert claim == "cosine-annealing-schedule" or changed(run("curves"), rate=first) == wrong


def test_a_curve_that_is_no_number_is_not_judged(run):
    data = run("curves").dataset
    for variable in ("rate", "closed_form", "optax"):
        told = changed(run("curves"), **{variable: data[variable].where(data["count"] != 50)})
        assert told == dict.fromkeys(CLAIMS, "not judged")


def test_noise_leaves_what_theory_says(cache, tmp_path):
    config = {
        "experiment": "schedules.noise",
        "dtype": "float64",
        "params": {"num_steps": 200},
        "sweep": {
            "grid": {"schedule": list(NOISE)},
            "vmap": {"rate": [0.2, 0.5, 1.0], "seed": {"range": [0, 200]}},
        },
    }
    run = lab.run(config, out=tmp_path, progress=False)
    assert run.messages == []
    assert set(run.figures) == {"noise"}
    mean, below = "noise-is-told-by-its-mean", "falling-rate-goes-below-the-noise"
    assert verdicts(run, run.dataset) == dict.fromkeys((mean, below), "confirmed")
    assert changed(run, gap=1.5 * run.dataset.gap) == {mean: "refuted"}
    assert changed(run, final=0 * run.dataset.final + 1) == {below: "refuted"}
    assert survivors("schedules.noise", run.dataset) == []
    data = run.dataset
    error = data.gap.std("seed", ddof=1) / 200**0.5
    assert float((abs(data.gap.mean("seed") - data.expected.isel(seed=0)) / error).isel(step=slice(1, None)).max()) < 5
    # At a high rate, which only a falling one can afford.
    constant, falling = (data.final.mean("seed").sel(schedule=name, rate=1) for name in ("constant", "warmup-cosine"))
    assert float(falling) < float(constant) / 5
