"""A trial in a process of its own, watched by its parent: for peers, and for what may hang or run out of memory."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from jaxcalc.lab.config import Loaded
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.store import dump_json, write_atomically

_POLL = 0.02  # seconds between two looks at the child
_WEIGH = 0.1  # seconds between two looks at its memory, for which every process of the system is asked
_START_UP = 300.0  # seconds that a child may take to import what it needs; the trial's own clock starts after that
_TAIL = 2**16  # bytes at the end of what a child printed that are searched for its last words

# The path goes in whole, not by PYTHONPATH, which the programs that a trial starts would inherit.
_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from jaxcalc.lab.isolate import main; sys.exit(main(sys.argv[2:]))"
)


def run_isolated(folder: Path, loaded: Loaded) -> tuple[str, str]:
    """Run the trial whose config lies in ``folder``.

    The trial leads a process group, which is gone when this returns: so is what the trial started and left behind.
    What the group writes past Python's own streams is kept in ``process.txt``.

    Args:
      folder: where the child finds ``config.yaml`` and leaves what a trial leaves.
      loaded: its ``time_limit`` (seconds, from when the child is ready) and ``memory_limit`` (bytes of the group).

    Returns:
      ``"done"``, ``"failed"``, ``"timeout"`` or ``"memory"``, and a message.
    """
    settings = loaded.settings
    path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
    with contextlib.ExitStack() as held:
        output = held.enter_context(open(folder / "process.txt", "wb"))
        # When this process is gone, so is the life-line's other end, and the child leaves.
        (life, _), (ready, tell) = pipes = os.pipe(), os.pipe()
        for end in (*pipes[0], *pipes[1]):
            held.callback(os.close, end)
        os.set_blocking(ready, False)
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, path, str(folder), str(loaded.folder), str(life), str(tell)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(life, tell),
            start_new_session=True,
        )
        try:
            status, message = _watch(child, ready, settings.time_limit, settings.memory_limit)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if status == "ended":
        status, message = _verdict(folder, child.returncode)
    if status != "done":
        for name in ("arrays.npz", "provenance.json"):
            (folder / name).unlink(missing_ok=True)
    if status == "failed" and not (folder / "failure.json").exists():
        write_atomically(folder / "failure.json", dump_json({"status": status, "message": message}))
    return status, message


def _watch(child: subprocess.Popen, ready: int, time_limit: float | None, memory_limit: int | None) -> tuple[str, str]:
    begun = weighed = time.monotonic()
    started: float | None = None
    while child.poll() is None:
        now = time.monotonic()
        if started is None:
            with contextlib.suppress(BlockingIOError):
                started = now if os.read(ready, 1) else None
        if started is None and now - begun > _START_UP:
            return "failed", f"the process was not ready after {_START_UP:.0f} s"
        if started is not None and time_limit is not None and now - started > time_limit:
            return "timeout", f"stopped at time_limit: {time_limit:g} s"
        if memory_limit is not None and now - weighed > _WEIGH:
            weighed, held = now, _resident(child.pid)
            if held > memory_limit:
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
        if (folder / "arrays.npz").exists() and (folder / "provenance.json").exists():
            return "done", ""
        return "failed", "the process ended with exit code 0 before run returned"
    with open(folder / "process.txt", "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        words = file.read().decode(errors="replace").strip().splitlines()
    cause = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    return "failed", f"the process ended with {cause}" + (f": {words[-1]}" if words else "")


def _resident(group: int) -> int:
    """The bytes of memory that a process group holds, as Linux counts them; 0 where the system does not tell."""
    pages = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # a process may end while it is looked at
            fields = file.read_bytes().rpartition(b")")[2].split()  # the name before may hold blanks and brackets
            if int(fields[2]) == group:
                pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _leave_with_parent(life: int) -> None:
    def wait() -> None:
        os.read(life, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: list[str]) -> int:
    """The child: run the trial in a folder.

    Args:
      arguments: the trial's folder, the config's folder, the end of the life-line, and where to say that it is ready.
    """
    folder, near = Path(arguments[0]), Path(arguments[1])
    life, tell = int(arguments[2]), int(arguments[3])
    for end in (life, tell):
        os.set_inheritable(end, False)
    _leave_with_parent(life)
    try:
        return _trial(folder, near, tell)
    except Exception as error:
        traceback.print_exc()
        message = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        write_atomically(folder / "failure.json", dump_json({"status": "failed", "message": message}))
        return 1


def _trial(folder: Path, near: Path, tell: int) -> int:
    from jaxcalc.lab import registry, source
    from jaxcalc.lab.execute import Programs
    from jaxcalc.lab.provenance import gather
    from jaxcalc.lab.runtime import configured
    from jaxcalc.lab.trial import load_trial, perform

    config: dict[str, Any] = source.parse((folder / "config.yaml").read_text(), "config.yaml").data
    trial = load_trial(config, near)
    experiment = registry.load(config["experiment"], near)
    with configured(trial, cache=experiment.kind != "timed") as device:
        provenance = gather(trial.settings, device, experiment)
        os.write(tell, b"r")
        os.close(tell)
        status, _ = perform(folder, experiment, config, Programs(), provenance)
    return 0 if status == "done" else 1
