"""A config to a finished run: plan, trials, dataset, figures, claims and report, resumed where it was left."""

import io
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import jaxcalc
from jaxcalc.lab import registry, sweep
from jaxcalc.lab.errors import ConfigError, TrialError
from jaxcalc.lab.execute import Outcome, Programs, run_trial
from jaxcalc.lab.experiment import Claim
from jaxcalc.lab.progress import Progress
from jaxcalc.lab.provenance import gather
from jaxcalc.lab.runtime import configured, platform_name
from jaxcalc.lab.store import Store, describe_arrays, digest, dump_json, load_arrays

if TYPE_CHECKING:
    import xarray

__all__ = ["Run", "load", "run"]

# None of these changes a number, so raising a limit goes on with the same run.
_NOT_IDENTITY = {"isolate", "time_limit", "memory_limit"}


@dataclass
class Run:
    """A run's folder and what is in it.

    Args:
      path: the folder.
      statuses: trial hash -> ``"done"``, ``"failed"``, ``"timeout"`` or ``"memory"``.
      claims: the experiment's claims, judged from the dataset.
      figures: name -> SVG file.
      tables: title -> rows.
      messages: what went wrong, in words.
      resumed: trials that an earlier command had finished.
    """

    path: Path
    statuses: dict[str, str] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, Path] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    resumed: int = 0
    seconds: float = 0.0

    @cached_property
    def dataset(self) -> "xarray.Dataset":
        """The joined results, read from ``results.nc``."""
        return load(self.path)

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    @property
    def exit_code(self) -> int:
        """0 if every trial finished and every claim reached its verdict, else 1."""
        return int(any(s != "done" for s in self.statuses.values()) or bool(self.messages) or not self.claims_passed)

    @property
    def claims_passed(self) -> bool:
        return all(claim.passed for claim in self.claims)


def load(path: str | Path) -> "xarray.Dataset":
    """The dataset of a run.

    Args:
      path: a run's folder, or its ``results.nc``.

    Raises:
      ConfigError: there is no finished dataset.
    """
    import xarray

    file = Path(path) / "results.nc" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ConfigError(f"{file}: no such results", remedy="Name a run's folder, such as runs/NAME-HASH.")
    try:
        with xarray.open_dataset(file, engine="h5netcdf") as dataset:
            return dataset.load()
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{file}: cannot be read as netCDF: {str(error).splitlines()[0]}") from None


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
    with _interruptible() as stopped, configured(plan.loaded, cache=plan.experiment.kind != "timed") as device:
        job = _Job(plan, device, Path(out))
        with job.store.opened(job.record, fresh=fresh), Progress(progress, plan, len(job.trials)) as shown:
            job.work(shown, fail_fast, stopped)
            result = job.finish(shown)
    result.seconds = time.perf_counter() - start
    return result


def tell_trials(run: Run, store: Store, hashes: list[str]) -> None:
    """Fill in how each trial ended, and the messages of those that did not end well."""
    for name in hashes:
        result = store.result(name)
        failure = None if result else store.failure(name)
        run.statuses[name] = result["status"] if result else "failed" if failure else "not run"
        if message := (result or failure or {}).get("message"):
            run.messages.append(f"trial {name}: {message}")


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
        from jaxcalc.lab import join
        from jaxcalc.lab.report import conclude

        run = Run(self.store.path, resumed=self.resumed)
        tell_trials(run, self.store, self.hashes)
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
        conclude(run, self.plan.experiment.part, shown.say)
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


_LIMIT = {"timeout": "time_limit", "memory": "memory_limit"}


def perform(
    folder: Path,
    experiment: registry.Experiment,
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


def where(error: BaseException) -> str:
    """An error in one line, with the last place in the experimenter's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and "/jaxcalc/lab/" not in f.filename]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}{place}"
