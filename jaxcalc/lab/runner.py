"""A config to a finished run: plan, trials, dataset, figures, claims and report, resumed where it was left."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import jaxcalc
from jaxcalc.lab import join, registry, sweep
from jaxcalc.lab.errors import ConfigError, TrialError, where
from jaxcalc.lab.execute import Programs
from jaxcalc.lab.progress import Progress
from jaxcalc.lab.provenance import gather
from jaxcalc.lab.report import conclude
from jaxcalc.lab.results import Run, read_statuses
from jaxcalc.lab.runtime import configured, platform_name
from jaxcalc.lab.store import Store, describe_arrays, digest, dump_json, load_arrays
from jaxcalc.lab.trial import perform

__all__ = ["run"]

# None of these changes a number, so raising a limit goes on with the same run.
_NOT_IDENTITY = {"isolate", "time_limit", "memory_limit", "claims"}
_LIMIT = {"timeout": "time_limit", "memory": "memory_limit"}


def run(
    config: str | Path | dict[str, Any],
    *overrides: str,
    out: str | Path = "runs",
    fresh: bool = False,
    fail_fast: bool = False,
    progress: bool | None = None,
) -> Run:
    """Run a config, or go on with it.

    Args:
      config: a YAML file, or the same as a dict.
      overrides: ``"a.b=value"``.
      out: the folder that holds runs; this one becomes ``OUT/STEM-HASH``.
      fresh: start anew instead of going on.
      fail_fast: stop at the first trial that fails.
      progress: draw a progress bar; by default where the terminal shows one.

    Returns:
      The run, with its dataset, figures, claims and report.

    Raises:
      ConfigError: the config cannot be run.
      KeyboardInterrupt: as it comes; finished trials are kept.
    """
    start = time.perf_counter()
    plan = sweep.open_plan(config, overrides)
    sweep.require(plan.experiment)
    with _interruptible() as stopped, configured(plan.loaded, cache=plan.experiment.kind != "timed") as device:
        job = _Job(plan, device, Path(out))
        with job.store.opened(job.record, fresh=fresh), Progress(progress, plan, len(job.trials)) as shown:
            job.work(shown, fail_fast, stopped)
            result = job.finish(shown)
    result.seconds = time.perf_counter() - start
    return result


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and a request to terminate both interrupt; what swallows the exception does not lose the wish.

    Yields:
      A function that tells whether an interruption was asked for; JAX's callbacks, for one, swallow exceptions.
    """
    asked: list[int] = []

    def stop(number: int, _: Any) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Job:
    """One run in the making: its plan, folder, trials and hashes."""

    def __init__(self, plan: sweep.Plan, device: Any, out: Path):
        from jaxcalc.lab.price import default_chunk

        self.plan, self.device = plan, device
        settings = plan.loaded.settings
        identity = {
            "settings": settings.model_dump(exclude=_NOT_IDENTITY) | {"platform": platform_name(device)},
            "source": registry.source_hash(plan.experiment),
            "jaxcalc": jaxcalc.__version__,
            "jaxlib": version("jaxlib"),
        }
        self.store = Store(out / f"{plan.loaded.stem}-{digest(identity)}")
        self.programs = Programs()
        self.chunk = settings.chunk or default_chunk(plan, device, self.programs)
        self.trials = plan.trials(self.chunk)
        shared = sorted(self.shared)
        for trial in self.trials:
            trial.config["platform"] = platform_name(device)
            trial.config["shared"] = shared
        kept = {key: identity[key] for key in ("source", "jaxcalc", "jaxlib")}
        self.hashes = [
            digest([kept, {k: v for k, v in t.config.items() if k not in _NOT_IDENTITY}]) for t in self.trials
        ]
        self.record = {
            "experiment": plan.experiment.name,
            "folder": str(plan.loaded.folder),
            "file": str(plan.experiment.file.resolve()),
            "identity": identity,
            "axes": [{"name": a.name, "kind": a.kind, "values": list(a.labels)} for a in plan.axes],
            "points": plan.num_points,
            "programs": plan.num_programs,
            "chunk": self.chunk,
            "claims": settings.claims,
            "trials": [
                {"hash": h, "index": list(t.index), "lanes": [t.start, t.stop]}
                for h, t in zip(self.hashes, self.trials)
            ],
        }
        self.resumed = 0

    @cached_property
    def shared(self) -> dict[str, np.ndarray]:
        """What all points have in common, computed once in a process."""
        part = self.plan.experiment.part
        if part.shared is None:
            return {}
        try:
            returned = {name: np.asarray(value) for name, value in part.shared(self.plan.base).items()}
        except Exception as error:
            raise ConfigError(f"experiment {self.plan.experiment.name!r}: shared failed: {where(error)}") from error
        declared = self.plan.experiment.variables
        for name, array in returned.items():
            if name not in declared or array.ndim != len(declared[name].dims):
                dims = declared[name].dims if name in declared else "no entry"
                raise ConfigError(
                    f"experiment {self.plan.experiment.name!r}: shared returned {name} of shape {array.shape}; "
                    f"VARIABLES gives it {dims}"
                )
        return returned

    def work(self, shown: Progress, fail_fast: bool, stopped: Callable[[], bool]) -> None:
        """Run the trials that are not finished yet."""
        settings = self.plan.loaded.settings
        provenance = gather(settings, self.device, self.plan.experiment)
        for trial, name in zip(self.trials, self.hashes):
            if self._settled(name):
                self.resumed += 1
                shown.advance(trial)
                continue
            if stopped():
                raise KeyboardInterrupt
            shown.begin(trial)
            with self.store.writing(name, trial.config) as folder:
                if settings.isolate == "process":
                    from jaxcalc.lab.isolate import run_isolated

                    status, message = run_isolated(folder, self.plan.loaded)
                else:
                    status, message = perform(folder, self.plan.experiment, trial.config, self.programs, provenance)
                if status != "failed":
                    limit = {"limit": getattr(settings, _LIMIT[status])} if status in _LIMIT else {}
                    arrays = {"arrays": describe_arrays(load_arrays(folder / "arrays.npz"))} if status == "done" else {}
                    result = {"status": status, "message": message, **limit, **arrays}
                    (folder / "result.json").write_bytes(dump_json(result))
            shown.advance(trial)
            if status != "done" and fail_fast:
                return

    def _settled(self, name: str) -> bool:
        """Whether a trial needs no rerun: it is done, or ran into a limit that has not been raised since."""
        result = self.store.result(name)
        if result is None:
            return False
        if result["status"] in _LIMIT:
            limit = getattr(self.plan.loaded.settings, _LIMIT[result["status"]])
            return limit is not None and result.get("limit") is not None and limit <= result["limit"]
        return self.store.arrays(name) is not None

    def finish(self, shown: Progress) -> Run:
        """Join what is there, draw, judge and report."""
        run = Run(self.store.path, resumed=self.resumed)
        read_statuses(run, self.store, self.hashes)
        arrays = [self.store.arrays(name) if run.statuses[name] == "done" else None for name in self.hashes]
        if not any(a is not None for a in arrays):
            return run
        shown.say("joining")
        try:
            dataset = join.join(self.plan, list(zip(self.trials, arrays)), self.shared)
            dataset.attrs = self._attributes()
            join.save(dataset, self.store.path / "results.nc")
        except (TrialError, ValueError, TypeError) as error:
            run.messages.append(f"the trials do not join: {str(error).splitlines()[0]}")
            return run
        except OSError as error:
            raise ConfigError(f"cannot write {self.store.path / 'results.nc'}: {error.strerror or error}") from None
        conclude(run, self.plan.experiment, shown.say, only=self.plan.loaded.settings.claims)
        return run

    def _attributes(self) -> dict[str, Any]:
        experiment, settings = self.plan.experiment, self.plan.loaded.settings
        return {
            "title": experiment.part.doc.strip().partition("\n")[0],
            "question": self.plan.loaded.document.question,
            "experiment": experiment.name,
            "params": json.dumps(self.plan.base.model_dump(), default=str),
            "settings": json.dumps(self.record["identity"]["settings"]),
            "seed": settings.seed,
            "dtype": settings.dtype,
            "platform": platform_name(self.device),
            "device": self.device.device_kind,
            "jaxcalc": jaxcalc.__version__,
            "jaxlib": version("jaxlib"),
        }
