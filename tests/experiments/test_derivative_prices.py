"""Small runs of what judges prices: hand counts, predicted memory, and that the claims can fail."""

from pathlib import Path

import numpy as np
import yaml

from jaxcalc import lab, scenarios
from jaxcalc.scenarios import counted
from tests.verdicts import mutated, verdicts

CONFIGS = Path(__file__).resolve().parents[2] / "configs/bench"


def start(out, part, dtype="float32", **grid):
    config = {"experiment": f"derivative_prices.{part}", "dtype": dtype, "sweep": {"grid": grid}}
    run = lab.run(config, out=out, progress=False)
    assert run.messages == []
    return run


def judged(run, **changes):
    return verdicts(run, run.dataset.assign(changes))


def nan_leaves(run):
    """What is said of each claim once one of the numbers that it reads is not a number."""
    found = {}
    for _, word, _, after in mutated(run.dataset.attrs["experiment"], run.dataset):
        if word == "not a number":
            found.setdefault(after.id, set()).add(after.verdict)
    return found


def test_operations(tmp_path):
    run = start(tmp_path, "operations", program=["dense layer", "loops in a loop"], size=[16])
    assert run.dataset.hand_flops.values.ravel().tolist() == [4 * 16**3 + 2 * 16**2, 3 * 16**3]
    assert run.dataset.hand_transcendentals.values.ravel().tolist() == [2 * 16**2, 0]
    assert [claim.verdict for claim in run.claims] == ["confirmed"]
    assert set(run.figures) == {"operations"}
    data = run.dataset
    for changes in ({"flops": 1.06 * data.flops}, {"transcendentals": data.transcendentals + 500}):
        assert judged(run, **changes) == {"operations-as-by-hand": "refuted"}
    assert judged(run, flops=1.04 * data.flops) == {"operations-as-by-hand": "confirmed"}
    lost = data.name.where(data.program != "dense layer", "")
    assert judged(run, name=lost) == {"operations-as-by-hand": "not judged"}
    assert nan_leaves(run) == {"operations-as-by-hand": {"not judged"}}


def test_memory(tmp_path):
    run = start(tmp_path, "memory", "float64", problem=["small elementwise", "Beale"])
    data = run.dataset
    assert data.operator.values.tolist() == ["jacobian", "hessian"]
    there = np.isfinite(data.footprint)
    assert (np.isfinite(data.predicted) == there).all()
    assert there.sel(strategy="jacobian: forward").values.tolist() == [True, False]
    assert float(data.outputs.sel(problem="small elementwise", strategy="jacobian: forward")) == 8 * 20 * 20
    assert (data.footprint >= data.outputs).where(there, True).all()
    assert (data.chosen.sum("strategy") == 1).all()
    right = judged(run, predicted=data.footprint)
    assert right == {"peak-within-twice": "confirmed", "peak-rarely-too-low": "confirmed"}
    generous = judged(run, predicted=2.1 * data.footprint)
    assert generous == {"peak-within-twice": "refuted", "peak-rarely-too-low": "confirmed"}
    mean = judged(run, predicted=0.7 * data.footprint)
    assert mean == {"peak-within-twice": "confirmed", "peak-rarely-too-low": "refuted"}
    # Both halves have to do: one that does not is not made up for by the other.
    held = data.predicted.where(data.split == "tuned", 3 * data.footprint).where(data.split != "tuned", data.footprint)
    assert judged(run, predicted=held)["peak-within-twice"] == "refuted"
    one = data.footprint.where((data.problem != "Beale") | (data.strategy != "hessian: forward-over-reverse"))
    assert set(judged(run, footprint=one).values()) == {"not judged"}
    assert nan_leaves(run) == {claim: {"not judged"} for claim in right}
    assert set(run.figures) == {"memory"}
    assert len(run.tables) == 2


def test_the_configs_hold_everything():
    read = lambda name: yaml.safe_load((CONFIGS / f"derivative_prices-{name}.yaml").read_text())["sweep"]["grid"]
    assert read("operations")["program"] == list(counted.NAMES)
    assert read("memory")["problem"] == [case.name for case in scenarios.CASES]
