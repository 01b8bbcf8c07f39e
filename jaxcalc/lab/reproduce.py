"""Run one trial again and hold its arrays against the saved ones, bit by bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxcalc.lab import registry, source
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.execute import Programs, run_trial
from jaxcalc.lab.isolate import load_trial
from jaxcalc.lab.provenance import versions
from jaxcalc.lab.session import session
from jaxcalc.lab.text import number, table


def reproduce(path: Path) -> tuple[str, bool]:
    """Rerun the trial in ``path``.

    Returns:
      What is equal, in words, and whether every array that is not measured is equal to the last bit.

    Raises:
      ConfigError: no finished trial lies there, or its experiment is gone.
    """
    config, saved, provenance, near = _read(path)
    experiment = registry.load(config["experiment"], near)
    with session(load_trial(config, near), cache=experiment.kind != "timed"):
        outcome = run_trial(experiment, config, Programs())
    rows = [_row(name, saved.get(name), new, experiment.measured(name)) for name, new in outcome.arrays.items()]
    rows += [{"array": name, "verdict": "gone"} for name in saved if name not in outcome.arrays]
    equal = all(row["verdict"] in ("equal", "measured, not compared") for row in rows)
    changed = [
        {"package": name, "then": old, "now": versions().get(name, "absent")}
        for name, old in provenance.get("versions", {}).items()
        if versions().get(name) != old
    ]
    parts = [table(rows), "reproduced: every array is equal" if equal else "not reproduced"]
    if changed:
        parts.append("versions differ:\n" + table(changed))
    return "\n\n".join(parts), equal


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any], Path]:
    if not (path / "result.json").is_file() or not (path / "arrays.npz").is_file():
        known = sorted(str(p.parent) for p in path.glob("trials/*/result.json"))
        raise ConfigError(
            f"{path}: no finished trial",
            valid=known[:12],
            valid_noun="trials of that run",
            remedy="Name a trial's folder, such as runs/NAME-HASH/trials/HASH.",
        )
    config = source.parse((path / "config.yaml").read_text(), str(path / "config.yaml")).data
    with np.load(path / "arrays.npz", allow_pickle=False) as archive:
        saved = {name: archive[name] for name in archive.files}
    provenance = json.loads((path / "provenance.json").read_text())
    plan = path.resolve().parent.parent / "plan.json"
    near = Path(json.loads(plan.read_text())["folder"]) if plan.is_file() else Path.cwd()
    return config, saved, provenance, near


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
