"""Packed facts: what goes in comes out, and a broken table cannot be judged."""

import numpy as np
import pytest
import xarray

from jaxcalc.lab import NotJudged, close, fact, judge_facts, pack_facts
from jaxcalc.lab.facts import FACTS


def table(numbers):
    return xarray.Dataset({name: (FACTS[name].dims, values) for name, values in pack_facts(numbers).items()})


def test_each_fact_comes_back_with_its_own_numbers():
    data = table({"one": 2.5, "many": [[1.0, 2.0], [3.0, 4.0]], "counts": np.array([7])})
    assert fact(data, "one").tolist() == [2.5]
    assert fact(data, "many").tolist() == [1.0, 2.0, 3.0, 4.0]
    assert fact(data, "counts").tolist() == [7.0]


def test_a_judge_sees_the_numbers_of_its_claim_alone():
    judges = judge_facts({"one": lambda v: close(v, 1.0, 0.0), "two": lambda v: close(v, 2.0, 0.0)})
    data = table({"one": 1.0, "two": [2.0, 2.5]})
    assert judges["one"](data).outcome().holds is True
    assert judges["two"](data).outcome().holds is False


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"entries": [np.nan, 2.0]}, "nan numbers"),
        ({"entries": [0.0, 2.0]}, "0 numbers"),
        ({"entries": [3.0, 2.0]}, "3 numbers of 2"),
    ],
)
def test_a_broken_length_is_not_judged(change, says):
    data = table({"one": 1.0, "two": [2.0, 2.0]})
    data = data.assign({name: (("fact",), values) for name, values in change.items()})
    with pytest.raises(NotJudged, match=says):
        fact(data, "one")


def test_a_fact_that_is_not_there_is_not_judged():
    with pytest.raises(NotJudged, match="lack the fact three"):
        fact(table({"one": 1.0}), "three")
