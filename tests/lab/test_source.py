"""YAML 1.2 with places."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.source import dump, parse, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1e999", "1e999"),  # no float holds it
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("+.5", 0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("~", None),
        ("", None),
        ("null", None),
        ("True", True),
        ("tRUE", "tRUE"),
        ("12:30", "12:30"),
        ("1e", "1e"),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    assert scalar(text) == value and type(scalar(text)) is type(value)


def test_nan_is_a_number():
    assert math.isnan(scalar(".nan"))


def test_quotes_make_text():
    assert parse("a: '1e-3'\nb: \"no\"\nc: 1e-3", "f").data == {"a": "1e-3", "b": "no", "c": 1e-3}


def test_places_count_from_one():
    document = parse("a:\n  b: [1, 22]\n", "f.yaml")
    mark = document.mark(("a", "b", 1))
    assert (mark.line, mark.column, mark.length) == (2, 10, 2)
    assert mark.excerpt().splitlines()[1].index("^") == mark.excerpt().splitlines()[0].index("22")
    assert document.mark(("a", "b"), key=True).column == 3
    assert document.mark(("a", "gone", "deep")).line == 2, "the nearest written ancestor stands in"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "duplicate key 'a'"),
        ("a: [1,", "not YAML"),
        ("a: !!str 1", "tags"),
        ("a: &x [*x]", "contains itself"),
        ("a: 1\n---\nb: 2", "another document"),
        ("\ta: 1", "not YAML"),
        ("? [a]\n: 1", "must be a word"),
        ("a: b: c", "not YAML"),
    ],
)
def test_bad_text_is_one_error_with_its_place(text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        parse(text, "f.yaml")
    assert str(caught.value).startswith("f.yaml:") and caught.value.mark.line >= 1


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["1e-3", "no", "0x1", "", "~", "true", ".inf", "-", "a: b", "# c", "012", "1.5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(_PLAIN)
def test_dump_and_parse_are_inverse(data):
    assert parse(dump({"k": data}), "f").data == {"k": data}
