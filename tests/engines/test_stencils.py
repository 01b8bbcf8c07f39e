"""Weights against the published tables, and against the polynomials they must be exact for."""

import math

import numpy as np
import pytest

from jaxcalc.engines import fornberg_weights, stencil
from tests.tolerance import ulps

# Fornberg 1988, tables 1 and 3.
TABLE = [
    ([-1, 0, 1], 1, [-1 / 2, 0, 1 / 2]),
    ([-2, -1, 0, 1, 2], 1, [1 / 12, -2 / 3, 0, 2 / 3, -1 / 12]),
    ([-3, -2, -1, 0, 1, 2, 3], 1, [-1 / 60, 3 / 20, -3 / 4, 0, 3 / 4, -3 / 20, 1 / 60]),
    ([-1, 0, 1], 2, [1, -2, 1]),
    ([-2, -1, 0, 1, 2], 2, [-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12]),
    ([-2, -1, 0, 1, 2], 3, [-1 / 2, 1, 0, -1, 1 / 2]),
    ([0, 1, 2, 3], 1, [-11 / 6, 3, -3 / 2, 1 / 3]),
    ([0, 1, 2, 3], 2, [2, -5, 4, -1]),
    ([0], 0, [1]),
]


@pytest.mark.parametrize(("nodes", "degree", "wanted"), TABLE)
def test_published_weights(nodes, degree, wanted):
    np.testing.assert_array_equal(fornberg_weights(nodes, degree), wanted)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_exact_for_polynomials_on_uneven_nodes(degree):
    nodes = np.array([-1.5, -0.25, 0.5, 0.75, 2.0])
    weights = fornberg_weights(nodes, degree)
    for power in range(len(nodes)):
        wanted = math.factorial(degree) if power == degree else 0
        assert abs(weights @ nodes**power - wanted) <= ulps(64) * np.sum(np.abs(weights * nodes**power))


@pytest.mark.parametrize(
    ("scheme", "order", "nodes", "evaluations"),
    [
        ("forward", None, (0, 1), 11),
        ("backward", 2, (-2, -1, 0), 21),
        ("central", None, (-1, 1), 20),
        ("central", 6, (-3, -2, -1, 1, 2, 3), 60),
        ("fourth-order central", None, (-2, -1, 1, 2), 40),
        ("complex step", None, (), 10),
        ("richardson", 8, (-1, 1), 80),
    ],
)
def test_schemes(scheme, order, nodes, evaluations):
    found = stencil(scheme, order)
    assert found.nodes == nodes
    assert found.evaluations(10) == evaluations
    assert abs(sum(found.weights)) < 1e-15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stencil("sideways"), "scheme must be one of 'forward', 'backward'.* got 'sideways'"),  # pyright: ignore[reportArgumentType]
        (lambda: stencil("central", 3), "even orders of accuracy only, got 3. Take 4"),
        (lambda: stencil("complex step", 4), "no other"),
        (lambda: stencil("forward", 0), "at least 1"),
        (lambda: fornberg_weights([0, 1, 1]), "distinct"),
        (lambda: fornberg_weights([0, 1], 2), "more than 2"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
