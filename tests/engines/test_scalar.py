"""The printed engine on sums and products, and the limits that its text names."""

import pytest

from jaxcalc.engines.scalar import Scalar


def test_products_and_sums_with_a_reused_node():
    a, b = Scalar(2.0), Scalar(3.0)
    out = a * b + b * b
    out.backward()
    assert (out.value, a.grad, b.grad) == (15.0, 3.0, 8.0)


def test_a_second_pass_adds_what_inner_nodes_still_hold():
    a, b = Scalar(2.0), Scalar(3.0)
    out = a * b + b
    out.backward()
    out.backward()
    assert (a.grad, b.grad) == (9.0, 8.0)  # twice would be 6 and 6


def test_plain_numbers_and_long_chains_are_beyond_it():
    with pytest.raises(AttributeError):
        Scalar(1.0) + 1.0  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    end = one = Scalar(1.0)
    for _ in range(5000):
        end = end + one
    with pytest.raises(RecursionError):
        end.backward()
