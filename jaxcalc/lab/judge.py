"""Comparisons that a claim hands its numbers to; each refuses what is missing, empty or not finite.

A ``Check`` is true, false, or cannot be told, with the reason. What cannot be told stays so under ``&``, ``|`` and
``~``, whatever stands beside it, so a NaN neither confirms nor refutes. Where a target, a bound or a tolerance is left
out it is the ledger's: ``close(slope)`` holds a slope against the claim's own entry. Where the ledger also says what
was ``found`` in place of what is expected, numbers off from both cannot be told: a false statement is refuted by the
right numbers, not by any.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from jaxcalc.lab.errors import where
from jaxcalc.lab.experiment import Verdict
from jaxcalc.lab.format import number
from jaxcalc.lab.ledger import Entry

__all__ = [
    "Check",
    "Claim",
    "Finding",
    "Judge",
    "NotJudged",
    "above",
    "below",
    "between",
    "cited",
    "close",
    "equal",
    "holds",
    "less",
    "orders",
    "slope",
    "verdict",
]

_SHOWN = 6  # numbers that are written out; of more, the extremes


class NotJudged(Exception):
    """Raised where data cannot settle a claim; the message says what is missing."""


class Outcome(NamedTuple):
    """What a check came to: true, false or ``None`` with a reason; and the numbers that it saw, in words."""

    holds: bool | None
    measured: str
    reason: str = ""


class Check:
    """A comparison, told once its claim's entry in the ledger is known."""

    def __init__(self, resolve: Callable[[Entry | None], Outcome]):
        self._resolve = resolve

    def outcome(self, entry: Entry | None = None) -> Outcome:
        """True, false, or ``None`` with the reason why it cannot be told."""
        try:
            return self._resolve(entry)
        except NotJudged as error:
            return Outcome(None, "", str(error))

    def __and__(self, other: "Check") -> "Check":
        return self._joined(other, lambda a, b: a and b)

    def __or__(self, other: "Check") -> "Check":
        return self._joined(other, lambda a, b: a or b)

    def __invert__(self) -> "Check":
        def resolve(entry: Entry | None) -> Outcome:
            found = self.outcome(entry)
            return found if found.holds is None else found._replace(holds=not found.holds)

        return Check(resolve)

    def _joined(self, other: "Check", rule: Callable[[bool, bool], bool]) -> "Check":
        if not isinstance(other, Check):
            raise TypeError(f"a Check joins with a Check, got {other!r}; hand its numbers to close, below, ...")

        def resolve(entry: Entry | None) -> Outcome:
            first, second = self.outcome(entry), other.outcome(entry)
            words = "; ".join(dict.fromkeys(filter(None, (first.measured, second.measured))))
            if first.holds is None or second.holds is None:
                return Outcome(None, words, first.reason or second.reason)
            return Outcome(rule(first.holds, second.holds), words)

        return Check(resolve)

    def __bool__(self) -> bool:
        raise TypeError("a Check may also be neither true nor false: join with &, | and ~, read with .outcome().holds")


@dataclass(frozen=True)
class Finding:
    """What a judge says of one claim, where a ``Check`` alone does not say it.

    Args:
      stated: whether the statement holds in its stated setting.
      limits: whether a named counterexample breaks it.
      measured: what was found, in words or numbers; by default the numbers that the checks saw.
      figure: the figure that shows it; by default the question's only one.
      note: what is exact where the statement is not; by default the ledger's note.

    Raises:
      TypeError: for anything but checks; a plain truth value does not tell whether its numbers were finite.
    """

    stated: Check
    limits: Check | None = None
    measured: Any = ""
    figure: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for name, check in (("stated", self.stated), ("limits", self.limits)):
            if not isinstance(check, Check) and not (name == "limits" and check is None):
                raise TypeError(f"Finding: {name} must come from close, below, between, ...; got {check!r}")


def cited(dataset: Any) -> Finding:
    """The judge of a claim that no data can settle: its entry carries a citation instead."""
    raise NotJudged("no data can settle it; its entry in the ledger carries no citation")


def close(values: Any, target: Any = None, tolerance: float | None = None, *, relative: bool = False) -> Check:
    """``|values - target| <= tolerance`` in every entry.

    Args:
      values: numbers of any shape; a dict is held against the entries of the target that have its keys.
      target: as many numbers, or one for all; by default what the ledger expects.
      tolerance: absolute; by default the ledger's.
      relative: the tolerance is a share of the target.
    """

    def resolve(entry: Entry | None) -> Outcome:
        wanted = _expected(entry) if target is None else target
        pairs = [(values, wanted)]
        if isinstance(values, Mapping):
            if not isinstance(wanted, Mapping) or not set(values) <= set(wanted):
                raise NotJudged(f"expected numbers under {', '.join(map(str, values))}, got {wanted!r}")
            pairs = [(value, wanted[key]) for key, value in values.items()]
        got, want = (np.concatenate(side) for side in zip(*(_matched(*pair) for pair in pairs)))
        gap = np.abs(got - want)
        bound = _tolerance(entry, tolerance) * (np.abs(want) if relative else 1.0)
        words = _shown(got) if got.size <= _SHOWN else f"at most {number(gap.max())} away"
        return _told(bool((gap <= bound).all()), words, got, entry, tolerance)

    return Check(resolve)


def below(values: Any, bound: float | None = None) -> Check:
    """``values <= bound`` in every entry; by default their sizes, as residuals', within the ledger's tolerance."""

    def resolve(entry: Entry | None) -> Outcome:
        got = _finite(values) if bound is not None else abs(_finite(values))
        limit = _finite(_tolerance(entry, None) if bound is None else bound, "the bound")
        return Outcome(bool((got <= limit).all()), _shown(got, "at most", got.max()))

    return Check(resolve)


def above(values: Any, bound: float) -> Check:
    """``values >= bound`` in every entry."""

    def resolve(entry: Entry | None) -> Outcome:
        got = _finite(values)
        return Outcome(bool((got >= _finite(bound, "the bound")).all()), _shown(got, "at least", got.min()))

    return Check(resolve)


def between(values: Any, low: float, high: float) -> Check:
    """``low <= values <= high`` in every entry."""

    def resolve(entry: Entry | None) -> Outcome:
        got = _finite(values)
        inside = (got >= _finite(low, "the lower bound")) & (got <= _finite(high, "the upper bound"))
        words = _shown(got) if got.size <= _SHOWN else f"{number(got.min())} to {number(got.max())}"
        return Outcome(bool(inside.all()), words)

    return Check(resolve)


def less(smaller: Any, larger: Any) -> Check:
    """``smaller < larger``, strictly, entry by entry."""

    def resolve(entry: Entry | None) -> Outcome:
        first, second = _matched(smaller, larger, either=True)
        words = f"{_shown(first, 'at most', first.max())} against {_shown(second, 'at least', second.min())}"
        return Outcome(bool((first < second).all()), words)

    return Check(resolve)


def equal(values: Any, target: Any = None) -> Check:
    """``values == target`` exactly: whole numbers, flags, words or floats; by default what the ledger expects."""

    def resolve(entry: Entry | None) -> Outcome:
        wanted = _expected(entry) if target is None else target
        got = _plain(values)
        if got.dtype.kind in "US":
            want = np.ravel(np.asarray(wanted)).astype(str)
            if got.size != want.size:
                raise NotJudged(f"{got.size} words to hold against {want.size}")
            return Outcome(bool((got.astype(str) == want).all()), ", ".join(got.astype(str)[:_SHOWN]))
        first, second = _matched(values, wanted)
        return _told(bool((first == second).all()), _shown(first, "up to", first.max()), first, entry, 0.0)

    return Check(resolve)


def holds(flags: Any) -> Check:
    """Every flag that the data hold is set; what the data counted or tested when they were made."""

    def resolve(entry: Entry | None) -> Outcome:
        got = _finite(flags)
        if not np.isin(got, (0, 1)).all():
            raise NotJudged(f"expected flags, got {_shown(got)}")
        count = int(got.sum())
        return Outcome(count == got.size, ("yes" if count else "no") if got.size == 1 else f"{count} of {got.size}")

    return Check(resolve)


def slope(x: Any, y: Any, target: float | None = None, tolerance: float | None = None) -> Check:
    """The exponent p of the best fit ``y ~ x^p`` (least squares in logarithms) is ``target`` within ``tolerance``.

    Both default to the ledger's. Fewer than three points, or one that is not positive, cannot be judged.
    """

    def resolve(entry: Entry | None) -> Outcome:
        across, up = _finite(x, "x"), _finite(y, "y")
        if across.size != up.size or across.size < 3 or (across <= 0).any() or (up <= 0).any():
            raise NotJudged("a slope takes three points or more, all of them positive")
        fitted = float(np.polyfit(np.log(across), np.log(up), 1)[0])
        return close(fitted, target, tolerance).outcome(entry)

    return Check(resolve)


def orders(larger: Any, smaller: Any, count: float) -> Check:
    """Every entry of ``larger`` is at least ``count`` orders of magnitude (factors of 10) above ``smaller``."""

    def resolve(entry: Entry | None) -> Outcome:
        top, bottom = _finite(larger), _finite(smaller)
        if top.min() <= 0 or bottom.min() < 0:
            raise NotJudged("orders of magnitude are those of positive numbers")
        words = f"{number(top.min())} against {number(bottom.max())}"
        return Outcome(bool(top.min() >= 10.0**count * bottom.max()), words)

    return Check(resolve)


def _plain(values: Any) -> np.ndarray:
    """Numbers, nested lists of them, arrays or what carries arrays (xarray, JAX), flat."""
    if isinstance(values, Mapping):
        return np.concatenate([_plain(value) for value in values.values()])
    if isinstance(values, (list, tuple)) and len({np.shape(value) for value in values}) > 1:
        return np.concatenate([_plain(value) for value in values])
    return np.ravel(np.asarray(values))


def _finite(values: Any, what: str = "the data") -> np.ndarray:
    """The same as floats, all of them finite."""
    plain = _plain(values)
    if plain.dtype.kind not in "biuf":
        raise NotJudged(f"{what}: expected numbers, got {plain.dtype}")
    if plain.size == 0:
        raise NotJudged(f"{what}: empty")
    plain = plain.astype(float)
    if bad := int(np.size(plain) - np.isfinite(plain).sum()):
        raise NotJudged(f"{what}: {bad} of {plain.size} not finite" if plain.size > 1 else f"{what}: not finite")
    return plain


def _matched(values: Any, target: Any, *, either: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of numbers of one length; a single target serves all values, with ``either`` a single value too."""
    got, want = _finite(values), _finite(target, "the target")
    if want.size not in (1, got.size) and not (either and got.size == 1):
        raise NotJudged(f"{got.size} numbers to hold against {want.size}")
    got, want = np.broadcast_arrays(got, want)
    return got, want


def _told(met: bool, words: str, got: np.ndarray, entry: Entry | None, tolerance: float | None) -> Outcome:
    """What a comparison came to; where the ledger says what was found, one that is not met must have come to that."""
    if met or entry is None or entry.found is None:
        return Outcome(met, words)
    got, instead = _matched(got, entry.found)
    if (abs(got - instead) <= _tolerance(entry, tolerance)).all():
        return Outcome(False, words)
    reason = f"{words} is neither what is expected nor what was found, {number(_plain(instead).tolist())}"
    return Outcome(None, words, reason)


def _expected(entry: Entry | None) -> Any:
    if entry is None or entry.expected is None or isinstance(entry.expected, str):
        raise NotJudged("the ledger gives no number to hold it against")
    return entry.expected


def _tolerance(entry: Entry | None, given: float | None) -> float:
    if given is not None:
        return float(_finite(given, "the tolerance")[0])
    if entry is None or entry.tolerance is None:
        raise NotJudged("the ledger gives no tolerance")
    return entry.tolerance


def _shown(values: np.ndarray, word: str = "", extreme: float = 0.0) -> str:
    """A few numbers, or of many their extreme."""
    if values.size == 1:
        return number(float(values[0]))
    return number(values.tolist()) if values.size <= _SHOWN or not word else f"{word} {number(float(extreme))}"


Judge = Callable[[Any], "Check | Finding"]


@dataclass(frozen=True)
class Claim:
    """A statement, and what data say of it.

    Args:
      id, statement, expected: as in the ledger.
      verdict: confirmed, qualified (it holds as stated, and a named counterexample breaks it), refuted, cited (no data
        can settle it), or not judged (the data are missing, too short or not finite).
      measured: what was found, as short text or numbers.
      expects: the verdict that an independent check reached.
      figure: the name of the figure that shows it.
      note: what is exact where the statement is not; the counterexample's numbers.
      reason: why it is not judged. citation: of what is cited.
    """

    id: str
    statement: str
    verdict: Verdict
    expects: Verdict = "confirmed"
    expected: Any = ""
    measured: Any = ""
    figure: str | None = None
    note: str = ""
    reason: str = ""
    citation: str = ""

    @property
    def passed(self) -> bool:
        """Whether the verdict is the expected one."""
        return self.verdict == self.expects


def verdict(entry: Entry, judge: Judge, dataset: Any) -> Claim:
    """Judge one claim of the ledger from a dataset; whatever the judge raises leaves it not judged, with the reason."""
    expected = entry.expected if entry.expected is not None else entry.how_to_check
    told = Claim(entry.id, entry.statement, "not judged", entry.expects, expected, note=entry.note)
    if judge is cited and entry.expects == "cited" and entry.citation:
        return replace(told, verdict="cited", measured=entry.citation, citation=entry.citation)
    try:
        finding = judge(dataset)
    except NotJudged as error:
        return replace(told, reason=str(error))
    except KeyError as error:
        return replace(told, reason=f"the data lack {error.args[0] if error.args else error}")
    except Exception as error:
        return replace(told, reason=where(error))
    if isinstance(finding, Check):
        finding = Finding(finding)
    if not isinstance(finding, Finding):
        return replace(told, reason=f"its judge must return a Check or a Finding, got {finding!r}")
    stated = finding.stated.outcome(entry)
    limits = finding.limits.outcome(entry) if finding.limits is not None else Outcome(False, "")
    words = "; beyond it ".join(filter(None, (stated.measured, limits.measured)))
    told = replace(told, measured=finding.measured or words, figure=finding.figure, note=finding.note or entry.note)
    if stated.holds is None or limits.holds is None:
        return replace(told, reason=stated.reason or limits.reason)
    kept = "qualified" if limits.holds else "confirmed"
    return replace(told, verdict=kept if stated.holds else "refuted")
