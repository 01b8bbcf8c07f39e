"""A small run of the comparison of quadratures: the table's integrals, verdicts that follow the data, absent peers."""

import numpy as np
import pytest

from experiments import quadrature_peers
from experiments._quadratures import by_quadax, by_scipy
from jaxcalc import lab
from jaxcalc.functions.integrands import hard_integrals
from jaxcalc.lab import registry
from tests.verdicts import survivors, verdicts

INTEGRANDS = ["kink", "heavy tail"]


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    """Ours beside SciPy: the other peer is an extra, and slow to compile."""
    config = {
        "experiment": "quadrature_peers",
        "dtype": "float64",
        "params": {"places": 3, "repeats": 2, "min_seconds": 0.0, "tolerance": 1e-3, "max_intervals": 256},
        "sweep": {"grid": {"integrand": INTEGRANDS}},
    }
    registry.load("quadrature_peers")  # the repository's modules are back, whatever a test of the lab has put there
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments._contest.installed", lambda name: False)
        found = lab.run(config, out=tmp_path_factory.mktemp("runs"), progress=False)
    assert found.messages == []
    return found


def test_without_quadax(run):
    data = run.dataset
    assert np.isnan(data.evaluations.sel(route="quadax")).all()
    # Three places of the kink, one of the tail.
    assert data.error.sel(route="jaxcalc").notnull().sum("place").values.tolist() == [3, 1]
    assert float(data.error.sel(route="jaxcalc").max()) < 1e-3
    assert set(run.figures) == {"honesty", "cost"}
    assert survivors("quadrature_peers", data) == []
    assert {claim.id for claim in run.claims if claim.verdict != "not judged"} == {
        "reported-errors-are-bounds",
        "converged-means-within-tolerance",
        "exceeded-no-more-often-than-peers",
        "runs-no-slower-than-scipy",
    }


@pytest.fixture
def beside_quadax(run):
    """As if quadax had been there: slower by a half, but with a hundredth of the evaluations on the tail."""
    data, theirs = run.dataset, run.dataset.route == "quadax"
    ours, tail = data.sel(route="jaxcalc"), data.integrand == "heavy tail"
    names = ("error", "claimed", "converged", "evaluations", "finite")
    filled = {name: data[name].where(~theirs, ours[name]) for name in names}
    filled["present"] = data.present | True
    filled["evaluations"] = filled["evaluations"].where(~(theirs & tail), ours.evaluations / 100)
    steady = data.seconds * 0
    for name in ("seconds", "batch_seconds"):
        filled[name] = steady.fillna(0) + 1e-4
        filled[name] = filled[name].where(~theirs, 1.5e-4).where(data.route != "scipy", 1e-5)
    filled["compile_seconds"] = data.compile_seconds.where(~theirs, 2 * ours.compile_seconds)
    filled["error"] = filled["error"].where(data.route == "scipy", 0.5 * filled["claimed"])
    return data.assign(filled)


def test_verdicts_follow_the_data(run, beside_quadax):
    data = beside_quadax
    before = verdicts(run, data)
    assert len(before) == 8
    ours, kink, tail = data.route == "jaxcalc", data.integrand == "kink", data.integrand == "heavy tail"

    def turned(**changes):
        told = verdicts(run, data.assign(changes))
        return {name: told[name] for name in told if told[name] != before[name]}

    assert before["reported-errors-are-bounds"] == "confirmed"
    hidden = data.error.where(~(ours & kink), 2 * data.claimed + 1e-14)
    assert turned(error=hidden)["reported-errors-are-bounds"] == "qualified"
    wrong = data.error.where(~(ours & tail), 2 * data.claimed)
    assert turned(error=wrong)["reported-errors-are-bounds"] == "refuted"
    over = {"error": data.error.where(~(ours & tail), 0.1), "claimed": data.claimed.where(~(ours & tail), 1.0)}
    assert turned(**over) == {"converged-means-within-tolerance": "refuted"}
    assert turned(**over, converged=data.converged.where(~(ours & tail), 0.0)) == {}
    assert turned(compile_seconds=data.compile_seconds.where(~ours, 9 * data.compile_seconds)) == {
        "compiles-faster-than-quadax": "refuted"
    }
    assert before["runs-no-slower-than-quadax"] == "confirmed"
    late = data.seconds.where(~(ours & tail), 2e-4)
    assert turned(seconds=late) == {"runs-no-slower-than-quadax": "qualified"}
    assert turned(seconds=data.seconds.where(~ours, 2e-4)) == {"runs-no-slower-than-quadax": "refuted"}
    late = data.batch_seconds.where(~ours, 2e-4)
    assert turned(batch_seconds=late) == {"batches-no-slower-than-quadax": "refuted"}
    even = data.evaluations * 0 + 100.0
    assert turned(evaluations=even) == {"extrapolation-saves-evaluations": "refuted"}
    assert turned(seconds=data.seconds.where(data.route != "scipy", 1.0)) == {"runs-no-slower-than-scipy": "confirmed"}


def test_counts_beyond_chance(run, beside_quadax):
    """Exceeded at each of 30 places, where peers are at none."""
    data = beside_quadax.isel(place=np.zeros(30, int))
    data = data.assign(num_places=0 * data.num_places + 30)
    judged = lambda data: verdicts(run, data)
    assert judged(data)["exceeded-no-more-often-than-peers"] == "confirmed"
    more = data.error.where(data.route != "jaxcalc", 3 * data.claimed + 1e-14)
    assert judged(data.assign(error=more))["exceeded-no-more-often-than-peers"] == "refuted"


def test_integrals_of_the_table():
    """SciPy's quad, whose bound is widened by the rounding of the result."""
    config = quadrature_peers.Config()
    for name, case in hard_integrals().items():
        if name == "pole inside":
            continue
        value, error, _, _ = by_scipy(case, config, np.array([0.3])).single()
        np.testing.assert_allclose(value, case.exact(np.float64(0.3)), rtol=1e-13, atol=error, err_msg=name)


def test_the_table_is_the_choice():
    from typing import get_args

    assert tuple(hard_integrals()) == get_args(quadrature_peers.Integrand)


def test_quadax_takes_the_same_integrals(x64):
    pytest.importorskip("quadax")
    config = quadrature_peers.Config(tolerance=1e-6, max_intervals=16)
    case = hard_integrals()["smooth"]
    value, claimed, converged, evaluations = by_quadax(case, config, np.array([0.3])).single()
    assert abs(value - case.exact(np.array(0.3))) <= claimed + 1e-14
    assert converged and evaluations == 21
