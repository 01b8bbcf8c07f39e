"""A small run on one posterior; verdicts follow broken data, of both guides."""

import pytest
import xarray

from experiments import posteriors
from tests.verdicts import changed, claims

EXPERIMENT = "posteriors"
SMALL = {"posteriors": {"repeats": 2, "num_samples": 4000}}
GRIDS = {"posteriors": {"model": ["sblrc-blr", "kidiq-kidscore_interaction"], "guide": ["full-rank", "mean-field"]}}


def test_claims_follow_the_data(run):
    small = run("posteriors")
    data = small.dataset
    passed = {claim.id for claim in small.claims if claim.passed}
    assert {
        "unflagged-posteriors-are-right",
        "full-rank-corrected-tells-regressions",
        "a-posterior-takes-less-than-a-minute",
    } <= passed, [(claim.id, claim.verdict, claim.measured) for claim in small.claims]
    assert "unflagged-posteriors-are-right" in changed(small, shift=data["shift"] + 0.2)
    assert "unflagged-posteriors-are-right" in changed(small, spread=1.3 * data.spread)
    assert "full-rank-corrected-tells-regressions" in changed(small, reliable=0 * data.reliable)
    assert "a-posterior-takes-less-than-a-minute" in changed(small, seconds=60 + data.seconds)
    # Here every mean-field guide is narrow and says so: there is no counterexample among these two.
    both = claims("posteriors", data)["mean-field-is-narrow-and-khat-says-so"]
    assert both.verdict == "confirmed", both.measured


def test_every_model_of_the_scenarios_is_asked():
    from jaxcalc.scenarios.posteriors import POSTERIORS

    assert posteriors.MODELS == POSTERIORS and len(posteriors.LABELS) == len(POSTERIORS)


def test_nothing_unflagged_is_not_judged(run):
    data = run("posteriors").dataset
    none = claims("posteriors", data.assign(reliable=xarray.zeros_like(data.reliable)))
    assert none["unflagged-posteriors-are-right"].verdict == "not judged"


@pytest.mark.parametrize("field", ["shift", "spread"])
def test_what_is_not_a_number_is_not_judged(run, field):
    data = run("posteriors").dataset
    broken = claims("posteriors", data.assign({field: float("nan") * data[field]}))
    assert broken["unflagged-posteriors-are-right"].verdict == "not judged"
