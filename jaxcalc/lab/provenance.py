"""Where a number came from: versions, devices, precision, flags and the state of the source."""

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import jaxcalc
from jaxcalc.lab.config import Settings
from jaxcalc.lab.registry import Experiment, source_hash
from jaxcalc.lab.runtime import platform_name


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, jaxcalc and everything that it depends on."""
    found = {"python": platform.python_version(), "jaxcalc": jaxcalc.__version__}
    try:
        required = importlib.metadata.requires("jaxcalc") or []
    except importlib.metadata.PackageNotFoundError:
        required = ["jax", "jaxlib", "numpy", "scipy", "xarray"]
    for requirement in required:
        name = re.split(r"[\s;\[<>=!~]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the checkout around ``folder`` and whether its files differ from it; ``None`` outside of one."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(git("status", "--porcelain", "-uno").strip())}
    except (OSError, subprocess.SubprocessError):
        return None


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def devices() -> list[dict[str, Any]]:
    """The devices that JAX sees."""
    import jax

    return [{"platform": d.platform, "kind": d.device_kind, "id": d.id} for d in jax.devices()]


def gather(settings: Settings, device: Any, experiment: Experiment) -> dict[str, Any]:
    """All of a run's provenance that is the same for its trials."""
    return {
        "versions": versions(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": {"platform": platform_name(device), "kind": device.device_kind},
        "devices": devices(),
        "dtype": settings.dtype,
        "matmul_precision": settings.matmul_precision,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git": git_state(experiment.file.parent),
        "source": source_hash(experiment),
    }
