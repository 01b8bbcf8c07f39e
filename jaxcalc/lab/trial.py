"""One trial into its folder: arrays, provenance and log, or how it failed."""

import io
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from jaxcalc.lab.config import Loaded, Settings, load
from jaxcalc.lab.errors import TrialError, where
from jaxcalc.lab.execute import Outcome, Programs, run_trial
from jaxcalc.lab.registry import Experiment
from jaxcalc.lab.store import dump_json

__all__ = ["load_trial", "perform"]


def perform(
    folder: Path,
    experiment: Experiment,
    config: dict[str, Any],
    programs: Programs,
    provenance: dict[str, Any],
) -> tuple[str, str]:
    """Run one trial and write its arrays, provenance and log (or its failure) into ``folder``.

    Returns:
      The status, ``"done"`` or ``"failed"``, and a message.
    """
    started = time.time()
    with _logged(folder / "log.txt") as log:
        try:
            outcome = run_trial(experiment, config, programs)
        except (Exception, SystemExit) as error:
            traceback.print_exc(file=log)
            message = str(error) if isinstance(error, TrialError) else where(error)
            (folder / "failure.json").write_bytes(dump_json({"status": "failed", "message": message}))
            return "failed", message
    with open(folder / "arrays.npz", "wb") as file:
        np.savez(file, **outcome.arrays)  # pyright: ignore[reportArgumentType]
    (folder / "provenance.json").write_bytes(dump_json({**provenance, **_of_trial(config, outcome, started)}))
    return "done", ""


def _of_trial(config: dict[str, Any], outcome: Outcome, started: float) -> dict[str, Any]:
    return {
        "seed": sorted(set(config["lanes"].get("seed", [config["seed"]]))),
        "cache": outcome.cache,
        "compile_seconds": outcome.compile_seconds,
        "run_seconds": outcome.run_seconds,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "process": os.getpid(),
    }


@contextmanager
def _logged(path: Path) -> Iterator[io.TextIOBase]:
    """What a trial prints goes to its log."""
    with open(path, "w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        yield file  # pyright: ignore[reportReturnType]


def load_trial(config: dict[str, Any], near: Path) -> Loaded:
    """A trial's own config as settings, without its sweep."""
    loaded = load({key: value for key, value in config.items() if key in Settings.model_fields})
    return Loaded(loaded.settings, loaded.document, loaded.stem, near)
