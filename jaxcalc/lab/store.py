"""The run's folder: trials that are there whole or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcalc.lab import source
from jaxcalc.lab.errors import ConfigError


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of a JSON value's SHA-256."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def array_digest(array: np.ndarray) -> str:
    """A digest of an array's dtype, shape and bytes."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(partial, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def dump_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``arrays.npz``."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def describe_arrays(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Shape, dtype and digest of each array, for ``result.json``."""
    return {k: {"shape": v.shape, "dtype": v.dtype.str, "sha256": array_digest(v)} for k, v in arrays.items()}


def _digests(told: dict[str, Any]) -> dict[str, Any]:
    return {name: entry.get("sha256") for name, entry in told.items() if isinstance(entry, dict)}


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """A JSON object that has ``key``, or ``None``."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and key in value else None


class Store:
    """One run's folder: ``plan.json``, ``trials/HASH/``, ``results.nc``, ``figures/``, ``report.html``."""

    def __init__(self, path: Path):
        self.path = path
        self.trials = path / "trials"

    @contextlib.contextmanager
    def opened(self, plan: dict[str, Any], *, fresh: bool) -> Iterator[None]:
        """Make the folder and its ``plan.json``, and hold it for this process; with ``fresh``, without what was there.

        The lock is the folder's own, so it goes with the process, however that ends, and leaves no file behind.

        Raises:
          ConfigError: the folder cannot be written, or another process holds it.
        """
        with contextlib.ExitStack() as held:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock(held)
                for entry in self.path.iterdir() if fresh else self.trials.glob(".*"):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                self.trials.mkdir(exist_ok=True)
                write_atomically(self.path / "plan.json", dump_json(plan))
            except OSError as error:
                raise ConfigError(
                    f"cannot write the output folder {self.path}: {error.strerror or error}",
                    remedy="Choose another with --out.",
                ) from None
            yield

    def _lock(self, held: contextlib.ExitStack) -> None:
        try:
            import fcntl
        except ImportError:  # no such lock on this system
            return
        folder = os.open(self.path, os.O_RDONLY)
        held.callback(os.close, folder)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{self.path} is being written by another process", remedy="Wait for it.") from None

    def result(self, trial: str) -> dict[str, Any] | None:
        """A finished trial's ``result.json``; ``None`` where there is none, or none that can be read."""
        return _read(self.trials / trial / "result.json", "status")

    def failure(self, trial: str) -> dict[str, Any] | None:
        """What a failed trial left, or ``None``."""
        return _read(self.trials / trial / "failure.json", "status")

    def provenance(self, trial: str) -> dict[str, Any]:
        """A trial's provenance, empty where it has none."""
        return _read(self.trials / trial / "provenance.json", "versions") or {}

    def arrays(self, trial: str) -> dict[str, np.ndarray] | None:
        """A finished trial's arrays; ``None`` where they are gone, or are not those that were written."""
        told = (self.result(trial) or {}).get("arrays")
        try:
            arrays = load_arrays(self.trials / trial / "arrays.npz")
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError):
            return None
        if not isinstance(told, dict) or {k: array_digest(v) for k, v in arrays.items()} != _digests(told):
            return None
        return arrays

    @contextlib.contextmanager
    def writing(self, trial: str, config: dict[str, Any]) -> Iterator[Path]:
        """A temporary folder that becomes ``trials/HASH`` when the block ends well, and vanishes otherwise."""
        partial = self.trials / f".{trial}.{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            (partial / "config.yaml").write_text(source.dump(config))
            yield partial
            self._commit(partial, self.trials / trial)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _commit(self, partial: Path, final: Path) -> None:
        for file in partial.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        if final.is_dir():  # an earlier failure, or a damaged trial
            shutil.rmtree(final)
        elif final.exists():
            final.unlink()
        os.rename(partial, final)
        folder = os.open(self.trials, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def record(self) -> dict[str, Any]:
        """The run's ``plan.json``.

        Raises:
          ConfigError: this is no run's folder, or its plan is damaged.
        """
        record = _read(self.path / "plan.json", "trials")
        if record is None or not {"folder", "file", "identity", "axes"} <= record.keys():
            raise ConfigError(f"{self.path}: not a run's folder, or its plan.json is damaged")
        return record
