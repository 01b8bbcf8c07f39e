"""Errors that speak to the person at the keyboard: where, what, and the remedy."""

import difflib
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mark:
    """A stretch of one line of a config, or of an argument on the command line.

    ``line`` and ``column`` count from 1; ``text`` is the whole line; ``line`` is 0 where the place has no lines.
    """

    file: str
    line: int
    column: int
    length: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def excerpt(self) -> str:
        """The line with a caret under the stretch; tabs are kept so that the caret stays below its character."""
        margin = f"{self.line:5d} | " if self.line else "      | "
        lead = "".join("\t" if c == "\t" else " " for c in self.text[: self.column - 1])
        width = max(1, min(self.length, len(self.text) - self.column + 1))
        return f"{margin}{self.text}\n{' ' * (len(margin) - 2)}| {lead}{'^' * width}"


class ConfigError(Exception):
    """A config, command line or experiment that cannot be run; the message is complete, no traceback is needed.

    Args:
      message: what is wrong, in one sentence.
      mark: the place, shown as ``file:line:column`` with the line and a caret.
      suggestion: what was probably meant.
      valid: the alternatives, listed in full.
      remedy: what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        mark: Mark | None = None,
        suggestion: str | None = None,
        valid: Iterable[str] = (),
        valid_noun: str = "valid keys",
        remedy: str | None = None,
    ):
        self.message, self.mark = message, mark
        lines = [f"{mark.place}: {message}" if mark else message]
        if mark and mark.text:
            lines.append(mark.excerpt())
        if suggestion:
            lines.append(f"did you mean {suggestion!r}?")
        valid = sorted(valid)
        if valid:
            lines.append(f"{valid_noun}: {', '.join(valid)}")
        if remedy:
            lines.append(remedy)
        super().__init__("\n".join(lines))


class MissingModule(ConfigError):
    """An experiment needs a module that is not installed."""


class TrialError(Exception):
    """A trial that failed; its log holds the traceback."""


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like ``word``, or ``None`` when nothing is close."""
    found = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return found[0] if found else None


def where(error: BaseException) -> str:
    """An error in one line, with the last place in the experimenter's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and "/jaxcalc/lab/" not in f.filename]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}{place}"
