"""A run's folder and what is in it: its dataset, verdicts, figures, tables and messages."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.store import Store

if TYPE_CHECKING:
    import xarray

__all__ = ["Run", "load"]


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
    claims: list[Any] = field(default_factory=list)
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


def read_statuses(run: Run, store: Store, hashes: list[str]) -> None:
    """Fill in how each trial ended, and the messages of those that did not end well."""
    for name in hashes:
        result = store.result(name)
        failure = None if result else store.failure(name)
        run.statuses[name] = result["status"] if result else "failed" if failure else "not run"
        if message := (result or failure or {}).get("message"):
            run.messages.append(f"trial {name}: {message}")
