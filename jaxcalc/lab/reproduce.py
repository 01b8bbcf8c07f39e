"""Run one trial again and hold its arrays against the saved ones, bit by bit."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxcalc.lab import registry, source
from jaxcalc.lab.errors import ConfigError, where
from jaxcalc.lab.execute import Programs, run_trial
from jaxcalc.lab.format import number, table
from jaxcalc.lab.provenance import versions
from jaxcalc.lab.runtime import configured
from jaxcalc.lab.store import Store
from jaxcalc.lab.trial import load_trial


def reproduce(path: Path) -> tuple[str, bool]:
    """Rerun the trial in ``path``.

    Returns:
      What is equal, in words, and whether every array that is not measured is equal to the last bit.

    Raises:
      ConfigError: no finished trial lies there, or its experiment is gone.
    """
    config, saved, provenance, record = _read(path)
    near = Path(record.get("folder", "."))
    experiment = registry.load(config["experiment"], near, Path(record["file"]) if "file" in record else None)
    with configured(load_trial(config, near), cache=experiment.kind != "timed"):
        try:
            outcome = run_trial(experiment, config, Programs())
        except Exception as error:
            return f"not reproduced: the trial fails now: {where(error)}{_changes(provenance, experiment)}", False
    rows = [_row(name, saved.get(name), new, experiment.measured(name)) for name, new in outcome.arrays.items()]
    rows += [{"array": name, "verdict": "gone"} for name in saved if name not in outcome.arrays]
    equal = all(row["verdict"] in ("equal", "measured, not compared") for row in rows)
    verdict = "reproduced: every array is equal" if equal else "not reproduced"
    return f"{table(rows)}\n\n{verdict}{_changes(provenance, experiment)}", equal


def _changes(provenance: dict[str, Any], experiment: registry.Experiment) -> str:
    """What is not as it was when the trial ran."""
    rows = [
        {"package": name, "then": old, "now": versions().get(name, "absent")}
        for name, old in provenance.get("versions", {}).items()
        if versions().get(name) != old
    ]
    text = f"\n\nversions differ:\n{table(rows)}" if rows else ""
    if provenance.get("source") not in (None, registry.source_hash(experiment)):
        text += "\n\nthe source of the experiment or of jaxcalc has changed since"
    return text


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    store = Store(path.resolve().parent.parent)
    if not (path / "config.yaml").is_file() or store.result(path.resolve().name) is None:
        known = sorted(str(p.parent) for p in path.glob("trials/*/result.json"))
        raise ConfigError(
            f"{path}: no finished trial",
            valid=known[:12],
            valid_noun="trials of that run",
            remedy="Name a trial's folder, such as runs/NAME-HASH/trials/HASH.",
        )
    config = source.parse((path / "config.yaml").read_text(), str(path / "config.yaml")).data
    saved = store.arrays(path.resolve().name)
    if saved is None or not isinstance(config, dict) or not {"experiment", "params", "lanes", "seed"} <= config.keys():
        raise ConfigError(f"{path}: damaged; its config or its arrays are not those that were written")
    try:
        record = store.record()
    except ConfigError:
        record = {}
    return config, saved, store.provenance(path.resolve().name), record


def _row(name: str, old: np.ndarray | None, new: np.ndarray, measured: bool) -> dict[str, Any]:
    if old is None:
        return {"array": name, "verdict": "new"}
    if measured:
        return {"array": name, "verdict": "measured, not compared"}
    same_kind = old.dtype == new.dtype and old.shape == new.shape
    if same_kind and old.tobytes() == new.tobytes():
        return {"array": name, "verdict": "equal", "largest difference": "0"}
    if not same_kind or old.dtype.kind not in "fiu":
        then, now = f"{old.dtype}{old.shape}", f"{new.dtype}{new.shape}"
        return {"array": name, "verdict": f"differs: {then}, now {now}" if not same_kind else "differs"}
    gap = np.nanmax(np.abs(old.astype(float) - new.astype(float)), initial=0.0)
    return {"array": name, "verdict": "differs", "largest difference": number(gap)}
