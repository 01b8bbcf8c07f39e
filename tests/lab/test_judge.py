"""Comparisons refuse what is not finite, and a claim that cannot be told passes under no verdict."""

import numpy as np
import pytest
import xarray

from jaxcalc.lab import (
    Finding,
    NotJudged,
    above,
    below,
    between,
    cited,
    close,
    equal,
    holds,
    less,
    orders,
    over,
    slope,
)
from jaxcalc.lab.judge import verdict
from jaxcalc.lab.ledger import Entry

ENTRY = Entry("slope", "The slope is two.", expected=2.0, tolerance=0.1)
NAN, INF = float("nan"), float("inf")
X = np.array([1.0, 2.0, 4.0])


def told(check, entry=ENTRY):
    return check.outcome(entry).holds


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (close(2.05), True),
        (close([2.05, 2.2]), False),
        (close(1.0, 2.0, 0.6, relative=True), True),
        (close([[1.0, 2.0]], [1.0, 2.0], 0.0), True),
        (below(0.1), True),
        (below([0.05, 0.2]), False),
        (below([-1.0, 0.05]), False),  # a residual has no sign
        (below(-1.0, 0.5), True),
        (below(3.0, 3.0), True),
        (above([1, 2], 1), True),
        (above([1, 2], 1.5), False),
        (between([1, 2], 1, 2), True),
        (between(2.5, 1, 2), False),
        (less(1.0, [2.0, 3.0]), True),
        (less([1.0, 3.0], 3.0), False),
        (equal(2), True),
        (equal(["a", "b"], ["a", "b"]), True),
        (equal(np.array([True, False]), [1, 1]), False),
        (holds(np.array([True, True])), True),
        (holds(0), False),
        (slope(X, X**2), True),
        (slope(X, X, 1.0, 1e-9), True),
        (slope(X, X), False),
        (orders(1e5, 1.0, 5), True),
        (orders(1e5, [1.0, 11.0], 3), True),
        (orders(1e5, [1.0, 11.0], 4), False),
    ],
)
def test_comparisons_of_finite_numbers(check, expected):
    assert told(check) is expected
    assert told(~check) is not expected
    assert check.outcome(ENTRY).measured


@pytest.mark.parametrize("bad", [NAN, INF, -INF, [1.0, NAN], [], np.array([1.0, INF])])
@pytest.mark.parametrize(
    "compare",
    [
        close,
        below,
        lambda v: close(2.0, v, 0.1),
        lambda v: below(1.0, v),
        lambda v: above(v, 0.0),
        lambda v: between(v, 0, 1),
        lambda v: less(v, 1.0),
        lambda v: less(1.0, v),
        lambda v: equal(v, 1.0),
        holds,
        lambda v: slope(X, np.broadcast_to(np.ravel(v)[-1:], (3,)) if np.size(v) else v),
        lambda v: slope(np.broadcast_to(np.ravel(v)[-1:], (3,)) if np.size(v) else v, X),
        lambda v: orders(v, 1.0, 2),
        lambda v: orders(1e9, v, 2),
    ],
)
def test_what_is_not_finite_or_empty_is_neither_true_nor_false(compare, bad):
    check = compare(bad)
    for one in (check, ~check, check & below(0.0), below(0.0) & check, check | below(0.0), below(0.0) | check):
        assert told(one) is None
        assert one.outcome(ENTRY).reason


def test_a_check_is_no_truth_value_and_joins_only_with_checks():
    with pytest.raises(TypeError, match="join with &"):
        bool(below(1.0))
    with pytest.raises(TypeError, match="joins with a Check"):
        below(1.0) & True
    with pytest.raises(TypeError, match="stated must come from"):
        Finding(True)  # pyright: ignore[reportArgumentType]
    assert told(below(0.0) & above(1.0, 2.0)) is False
    assert told(below(0.0) | above(1.0, 2.0)) is True


@pytest.mark.parametrize(
    ("judge", "status", "expected"),
    [
        (lambda d: close(2.0), "verified-true", "confirmed"),
        (lambda d: close(3.0), "false-as-stated", "refuted"),
        (lambda d: Finding(close(2.0), limits=above(1.0, 0.0)), "needs-qualification", "qualified"),
        (lambda d: Finding(close(2.0), limits=above(-1.0, 0.0)), "verified-true", "confirmed"),
        (lambda d: Finding(close(2.0), limits=above(NAN, 0.0)), "verified-true", "not judged"),
        (lambda d: close(NAN), "false-as-stated", "not judged"),
        (lambda d: close(d["absent"]), "verified-true", "not judged"),
        (lambda d: d.absent, "verified-true", "not judged"),
        (lambda d: 1 / 0, "verified-true", "not judged"),
        (lambda d: True, "verified-true", "not judged"),
        (cited, "verified-true", "not judged"),
        (cited, "not-run", "not judged"),  # for want of a citation
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_verdicts(judge, status, expected):
    entry = Entry("slope", "The slope is two.", status, expected=2.0, tolerance=0.1)
    claim = verdict(entry, judge, xarray.Dataset())
    assert claim.verdict == expected
    assert bool(claim.reason) == (expected == "not judged")
    assert claim.passed == (expected != "not judged")


@pytest.mark.parametrize("compare", [close, equal, lambda values: close({"a": values})])
@pytest.mark.parametrize(("values", "expected"), [([0.0, 0.0], True), ([3.0, 1.0], False), ([1e3, 2e3], None)])
def test_a_false_statement_is_refuted_by_what_was_found_in_its_place_alone(compare, values, expected):
    zeros = Entry("zeros", "It ends at zero.", "false-as-stated", expected={"a": [0.0, 0.0]}, found=[3, 1], tolerance=0)
    assert told(compare(values), zeros) is expected
    claim = verdict(zeros, lambda _: compare(values), None)
    assert claim.verdict == {True: "confirmed", False: "refuted", None: "not judged"}[expected]
    assert ("neither what is expected nor what was found, [3, 1]" in claim.reason) == (expected is None)


def test_what_is_cited_carries_its_citation():
    entry = Entry("who", "He did.", "not-run", citation="His letters.")
    claim = verdict(entry, cited, None)
    assert (claim.verdict, claim.citation, claim.passed) == ("cited", "His letters.", True)


def test_the_ledger_gives_named_numbers_and_refuses_others():
    entry = Entry("two", "Two numbers.", expected={"a": 1.0, "b": [2.0, 3.0]}, tolerance=0.0)
    assert told(close({"b": [2.0, 3.0]}), entry) is True
    assert told(close({"a": 1.0, "b": [2.0, 3.5]}), entry) is False
    assert told(close({"c": 1.0}), entry) is None
    assert told(close([1.0, 2.0]), entry) is None  # two numbers against three
    assert told(close(1.0), Entry("words", "Words.", expected="about one", tolerance=1.0)) is None
    assert told(close(1.0), Entry("no tolerance", "One.", expected=1.0)) is None


def test_over_gives_every_parameter_an_axis():
    data = xarray.Dataset({"y": ("case", [1.0, 2.0])}, coords={"method": ("case", ["a", "b"]), "seed": 0})
    whole = over(data, "method", "seed")
    assert whole.y.dims == ("seed", "method") and whole.sizes == {"method": 2, "seed": 1}
    assert float(whole.y.sel({"method": "b", "seed": 0})) == 2.0
    assert over(whole, "method", "seed").equals(whole)
    with pytest.raises(KeyError, match="depth"):
        over(data, "depth")
    with pytest.raises(KeyError, match="one value"):
        over(data.assign_coords(method=("case", ["a", "a"])), "method")
    with pytest.raises(NotJudged):
        raise NotJudged("needs both")
