"""A trial in a process of its own, watched by its parent: for peers, and for what may hang or run out of memory."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jaxcalc.lab.config import Loaded
from jaxcalc.lab.store import dump_json, write_atomically

_READY = "ready"
_POLL = 0.02  # seconds between two looks at the child
_START_UP = 300.0  # seconds that a child may take to import what it needs; the trial's own clock starts after that


def run_isolated(folder: Path, loaded: Loaded) -> tuple[str, str]:
    """Run the trial whose config lies in ``folder``.

    Args:
      folder: where the child finds ``config.yaml`` and leaves what a trial leaves.
      loaded: its ``time_limit`` (seconds, from when the child is ready) and ``memory_limit`` (bytes).

    Returns:
      ``"done"``, ``"failed"``, ``"timeout"`` or ``"memory"``, and a message.
    """
    settings = loaded.settings
    with open(folder / "stderr.txt", "wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "jaxcalc.lab.isolate", str(folder), str(loaded.folder)],
            stdin=subprocess.PIPE,  # the child leaves when this closes, that is, when its parent is gone
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            status, message = _watch(child, settings.time_limit, settings.memory_limit)
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()
    if status == "ended":
        status, message = _verdict(folder, child.returncode)
    if status != "done":
        for name in ("arrays.npz", "provenance.json"):
            (folder / name).unlink(missing_ok=True)
    if status == "failed" and not (folder / "failure.json").exists():
        write_atomically(folder / "failure.json", dump_json({"status": status, "message": message}))
    return status, message


def _watch(child: subprocess.Popen, time_limit: float | None, memory_limit: int | None) -> tuple[str, str]:
    ready = threading.Event()
    threading.Thread(target=lambda: child.stdout and child.stdout.readline() and ready.set(), daemon=True).start()
    begun = time.monotonic()
    started: float | None = None
    while child.poll() is None:
        now = time.monotonic()
        if started is None and ready.is_set():
            started = now
        if started is None and now - begun > _START_UP:
            return "failed", f"the process was not ready after {_START_UP:.0f} s"
        if started is not None and time_limit is not None and now - started > time_limit:
            return "timeout", f"stopped at time_limit: {time_limit:g} s"
        held = _resident(child.pid) if memory_limit is not None else 0
        if memory_limit is not None and held > memory_limit:
            return (
                "memory",
                f"stopped at memory_limit: it held {held / 2**20:.0f} MiB of {memory_limit / 2**20:.0f} MiB",
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL)
    return "ended", ""


def _verdict(folder: Path, code: int) -> tuple[str, str]:
    failure = folder / "failure.json"
    if failure.exists():
        return "failed", json.loads(failure.read_text())["message"]
    if code == 0:
        return "done", ""
    words = (folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
    cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return "failed", f"the process ended with {cause}" + (f": {words[-1]}" if words else "")


def _resident(process: int) -> int:
    """The bytes of memory that a process holds, as Linux counts them; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _leave_with_parent() -> None:
    def wait() -> None:
        os.read(0, 1)  # not through sys.stdin, whose lock would hold up the interpreter's end
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: list[str]) -> int:
    """The child: run the trial in the folder that the first argument names."""
    from jaxcalc.lab import registry, source
    from jaxcalc.lab.execute import Programs
    from jaxcalc.lab.provenance import gather
    from jaxcalc.lab.runner import perform
    from jaxcalc.lab.session import session

    _leave_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    folder, near = Path(arguments[0]), Path(arguments[1])
    config: dict[str, Any] = source.parse((folder / "config.yaml").read_text(), "config.yaml").data
    trial = load_trial(config, near)
    experiment = registry.load(config["experiment"], near)
    with session(trial, cache=experiment.kind != "timed") as device:
        provenance = gather(trial.settings, device, experiment.file.parent)
        print(_READY, flush=True)
        status, _ = perform(folder, experiment, config, Programs(), provenance)
    return 0 if status == "done" else 1


def load_trial(config: dict[str, Any], near: Path) -> Loaded:
    """A trial's own config as settings, without its sweep."""
    from jaxcalc.lab.config import Settings
    from jaxcalc.lab.config import load as load_config

    loaded = load_config({key: value for key, value in config.items() if key in Settings.model_fields})
    return Loaded(loaded.settings, loaded.document, loaded.stem, near)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
