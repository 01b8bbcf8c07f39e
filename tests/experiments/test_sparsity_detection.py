"""A small run of the experiment on patterns: verdicts follow the data, the peer may be missing, the figure is drawn."""

import pytest

from jaxcalc import lab
from jaxcalc.lab import registry
from tests.verdicts import claims, survivors

pytestmark = pytest.mark.usefixtures("no_peers")


def judged(dataset):
    return {id: claim.verdict for id, claim in claims("sparsity_detection", dataset).items()}


def test_detection(tmp_path):
    functions = ["small beam", "clipped gradient", "rounding with its own tangent", "scan: cascade 4", "Beale"]
    params = {"readings": 1, "points": 1, "length": 3}
    run = lab.run(
        {
            "experiment": "sparsity_detection",
            "params": params,
            "sweep": {"grid": {"function": functions}},
            "dtype": "float64",
        },
        out=tmp_path / "runs",
        progress=False,
    )
    data = run.dataset
    told = {claim.id: claim.verdict for claim in run.claims if claim.verdict != "not judged"}
    assert told == {"no-entry-is-missed": "confirmed"}
    assert (data.nonzeros.sel(detector="jaxcalc") >= data.by_numbers).all()
    assert int(data.by_numbers.sel(function="rounding with its own tangent")) == 2 * 99
    assert int(data.by_numbers.sel(function="scan: cascade 4")) == 2 + 3 + 1
    # As if asdex had been there: slower by 20, wrong on custom rules, over-dense on CUTEst.
    named = data.assign_coords(function=[*functions[:4], "CUTEst BEALE"])
    theirs = named.detector == "asdex"
    custom = named.function.isin(functions[1:3])
    filled = named.assign(
        seconds=named.seconds.where(~theirs, 20 * named.seconds.sel(detector="jaxcalc")),
        nonzeros=named.nonzeros.where(~theirs, 2 * named.by_numbers),
        missed=(named.missed.fillna(0) * 0).where(~(theirs & custom), 5.0),
        reads=named.reads * 0 + 1,
    )
    assert survivors("sparsity_detection", filled) == []
    told = judged(filled)
    assert set(told.values()) == {"confirmed"}
    assert len(told) == 6
    swapped = filled.seconds.where(theirs, 50 * filled.seconds.sel(detector="asdex"))
    loose = filled.nonzeros.where(theirs, 3 * filled.by_numbers)
    wrong = judged(filled.assign(seconds=swapped, nonzeros=loose, missed=filled.missed + ~theirs))
    assert set(wrong.values()) == {"refuted"}
    part = registry.load("sparsity_detection").part
    assert set(part.figures(filled)) == {"detection"}
    (rows,) = part.tables(filled).values()
    assert rows[1]["asdex misses"] == 5


def test_an_unknown_function_is_named(tmp_path):
    run_detection = registry.load("sparsity_detection").part
    with pytest.raises(ValueError, match="unknown scan 'spiral'"):
        run_detection.run(run_detection.Config(function="scan: spiral 3"), None)
    with pytest.raises(ValueError, match="name must be one of 177 names"):
        run_detection.run(run_detection.Config(function="no such thing"), None)
