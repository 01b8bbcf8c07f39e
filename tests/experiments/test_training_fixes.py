"""A small run of the question on remedies: nothing that is no number settles a claim; verdicts follow broken data."""

import numpy as np

from tests.verdicts import changed

EXPERIMENT = "training_fixes"
SMALL = {"training_fixes": {"depth": 11, "width": 8, "updates": 20, "batch": 8, "wide": 16, "seeds": 2}}
NORM, CLIPPING = "batchnorm-keeps-well-conditioned", "clipping-rescues-deep-training"
TRACED = "flat-loss-is-traced-to-its-layer"


def test_verdicts_follow_the_data(run):
    result = run("training_fixes")
    data = result.dataset
    clipped, large = data.remedy == "too large, clipped", data.remedy == "too large"
    first = data["update"] < 1
    as_in_deep_ones = {
        "loss": data.loss.where(~clipped, 0.0).where(~(clipped & first), 10.0),
        "lost": data.lost | large,
        "misread": data.misread.where(~clipped, 0.9),
        "normalised": data.normalised * 0 + [[4.0], [6e3]],
        "plain": data.plain * 0 + 1.0,
        "moment": data.moment * 0 + 0.5,
        **_traced(data),
    }
    assert changed(result, **as_in_deep_ones) == {}
    kept = as_in_deep_ones | {"lost": data.lost & False}
    assert changed(result, **kept) == {CLIPPING: "refuted"}
    rescued = as_in_deep_ones | {"misread": 0 * data.misread}
    assert changed(result, **rescued) == {CLIPPING: "confirmed"}
    held = as_in_deep_ones | {"normalised": data.normalised * 0 + 1.0}
    assert changed(result, **held) == {NORM: "confirmed"}
    loose = as_in_deep_ones | {"moment": data.moment * 0 + 5.0}
    assert changed(result, **loose) == {NORM: "refuted"}
    unread = as_in_deep_ones | {"loss": data.loss.where(~clipped, np.nan)}
    assert changed(result, **unread) == {CLIPPING: "not judged"}
    unnamed = as_in_deep_ones | {"named": data.planted + 1}
    assert changed(result, **unnamed) == {TRACED: "refuted"}
    falling = as_in_deep_ones | {"traced_loss": data.traced_loss * 0 + 2.3 - 1.5 * data.time / data.time.max()}
    assert changed(result, **falling) == {TRACED: "refuted"}
    stuck = as_in_deep_ones | {"traced_loss": data.traced_loss * 0 + 2.3}
    assert changed(result, **stuck) == {TRACED: "refuted"}
    plain = as_in_deep_ones | {"named_by_norms": data.planted}
    assert changed(result, **plain) == {TRACED: "confirmed"}
    assert set(result.figures) == {"training_fixes", "flat_loss"}


def _traced(data):
    """Faults and losses as they are in deep networks."""
    redrawn = data.time >= data.sizes["time"] / 3
    mends = (data.fault == "small weights") & (data.time > 0)
    return {
        "named": data.planted,
        "named_by_norms": data.planted.where(data.fault == "small weights", 50),
        "traced_loss": (data.traced_loss * 0 + 2.3).where(~(redrawn | mends), 0.5),
    }
