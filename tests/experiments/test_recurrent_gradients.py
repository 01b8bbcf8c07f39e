"""Small runs of the questions on gradients through time: verdicts are the ledger's, and follow broken data."""

import numpy as np

from tests.verdicts import changed

EXPERIMENT = "recurrent_gradients"
SMALL = {
    "spectra": {"num_lags": 120},
    "gates": {"cases": ["tanh", "GRU, update bias 0"], "width": 32, "num_lags": 40, "warm_up": 10},
    "clipping": {"updates": 60},
    "long_lag": {"lag": 10, "width": 8, "updates": 10, "batch": 8},
}


def _judged(run):
    return {claim.id: claim.verdict for claim in run.claims}


def test_spectra_follow_their_data(run):
    data = run("spectra").dataset
    assert set(_judged(run("spectra")).values()) == {"confirmed", "qualified"}
    assert [claim.id for claim in run("spectra").claims if not claim.passed] == []
    powers = data.radius.values[:, None] ** np.arange(121)
    np.testing.assert_allclose(data.norm.sel(matrix="orthogonal"), powers, rtol=1e-9)
    hundred, decides, copies = _judged(run("spectra"))
    assert changed(run("spectra"), residual=data.residual + 1e-9) == {copies: "refuted"}
    assert changed(run("spectra"), negative_norm=0 * data.negative_norm) == {decides: "confirmed"}
    skewed = data.norm.where(data.matrix != "orthogonal", 2 * data.norm)
    assert changed(run("spectra"), norm=skewed) == {hundred: "refuted"}


def test_gates_follow_theory_where_weights_are_drawn_anew(run):
    data = run("gates").dataset
    assert set(_judged(run("gates")).values()) == {"not judged"}  # forty steps are too few to judge
    anew = np.sqrt((data.gradient.sel(weights="drawn at each step", lag=20) ** 2).mean("draw"))
    ratio = anew / data.theory.sel(lag=20)
    assert ((ratio > 0.3) & (ratio < 3)).all()  # three draws of width 32
    assert set(run("gates").figures) == {"gates"}


def test_clipping_follows_its_data(run):
    data = run("clipping").dataset
    assert [claim.id for claim in run("clipping").claims if not claim.passed] == []
    identity, rescue = _judged(run("clipping"))
    assert changed(run("clipping"), cosine=data.cosine - 1e-6) == {identity: "refuted"}
    assert changed(run("clipping"), loss=data.loss.sel(way="clipped").expand_dims(way=data.way)) == {rescue: "refuted"}


def test_a_long_lag_is_not_learned_in_ten_updates(run):
    data = run("long_lag").dataset
    (claim,) = run("long_lag").claims
    assert claim.verdict == "refuted"
    solved = np.where(data.cell == "rnn", 0.5, 1.0)[:, None] * np.ones(5)
    assert changed(run("long_lag"), recalled=(("cell", "draw"), solved)) == {}
    assert changed(run("long_lag"), recalled=(("cell", "draw"), 0 * solved + 1)) == {claim.id: "refuted"}
