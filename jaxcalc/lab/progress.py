"""Progress on a terminal: all trials, the trial at work, the time that remains; silence in a pipe."""

import sys
from typing import Any

from jaxcalc.lab.sweep import Plan, Trial


class Progress:
    """A progress bar on standard error where it is a terminal, nothing elsewhere.

    Args:
      wanted: ``True`` draws, ``False`` does not, ``None`` asks the terminal.
      plan: names the axes in each trial's description.
      total: the number of trials.
    """

    def __init__(self, wanted: bool | None, plan: Plan, total: int):
        self._plan, self._total, self._done = plan, total, 0
        self._wanted = sys.stderr.isatty() if wanted is None else wanted
        self._bar: Any = None
        self._task: Any = None
        self._trial: Any = None

    def __enter__(self) -> "Progress":
        if self._wanted:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[count]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(file=sys.stderr), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._plan.loaded.stem, total=self._total, left="left", count="")
            self._trial = self._bar.add_task("", total=None, left="", count="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, trial: Trial) -> None:
        """A trial starts; its own line counts from zero."""
        self.say(self.describe(trial))

    def advance(self, trial: Trial) -> None:
        """A trial is finished."""
        if self._bar is not None:
            self._done += 1
            self._bar.update(self._task, advance=1, count=f"{self._done}/{self._total}")

    def say(self, text: str) -> None:
        """What is being done now."""
        if self._bar is not None:
            self._bar.reset(self._trial, description=f"  {text}", total=None)

    def describe(self, trial: Trial) -> str:
        """The trial's point, in words."""
        words = [f"{axis.name}={axis.labels[i]}" for axis, i in zip(self._plan.outer, trial.index)]
        if self._plan.num_lanes > 1:
            words.append(f"lanes {trial.start + 1}-{trial.stop} of {self._plan.num_lanes}")
        return ", ".join(words) or "the only trial"
