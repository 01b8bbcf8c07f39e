"""Closed forms of variances beside Gauss-Hermite quadrature, which is exact of polynomials."""

import itertools

import numpy as np
import pytest

from jaxcalc.functions.gradient_variances import ESTIMATORS, gradient_variance, quadratic, score_variance


def _by_quadrature(method, control, distance, scale, dimension, group):
    """The variance from its moments, on a product grid of 8 nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    grid = np.array(list(itertools.product(nodes, repeat=dimension)))
    weight = np.array([np.prod(w) for w in itertools.product(weights / weights.sum(), repeat=dimension)])
    x = distance + scale * grid
    f, score = quadratic(x), grid[:, 0] / scale
    if control == "local-linear":
        f, control = quadratic(x, distance), "none"
    return score_variance(weight, f, score[:, None], control, group=group)


@pytest.mark.parametrize(("method", "control"), [pair for pair in ESTIMATORS if pair[0] == "score"])
@pytest.mark.parametrize("dimension", [1, 3])
def test_the_score(method, control, dimension):
    for distance, scale in ((0.0, 1.0), (0.7, 1.3), (4.0, 0.5)):
        exact = _by_quadrature(method, control, distance, scale, dimension, 16)
        np.testing.assert_allclose(gradient_variance(method, control, distance, scale, dimension), exact, rtol=1e-12)


def test_the_variance_of_a_covariance():
    """Leave-one-out in groups of K is the sample covariance: K = 2 by all pairs on a grid."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    f, score = (0.7 + nodes) ** 2, nodes
    pairs = 0.5 * (f[:, None] - f) * (score[:, None] - score)
    both = weights[:, None] * weights
    variance = (both * pairs**2).sum() - (both * pairs).sum() ** 2
    np.testing.assert_allclose(gradient_variance("score", "leave-one-out", 0.7, 1.0, group=2), 2 * variance, rtol=1e-12)


def test_pairs_and_derivatives_through_draws():
    """4 D W / sqrt(2 pi), W Rayleigh, of second moment 2 and mean sqrt(pi / 2); and 2 (D + s z)."""
    w = np.linspace(0, 12, 40001)
    moment = lambda power: np.trapezoid(w**power * w * np.exp(-(w**2) / 2), w)
    exact = 16 * 0.49 / (2 * np.pi) * (moment(2) - moment(1) ** 2)
    np.testing.assert_allclose(gradient_variance("measure-valued", "none", 0.7, 1.3), exact, rtol=1e-7)
    assert gradient_variance("reparameterised", "none", 0.7, 1.3, 5) == 4 * 1.3**2


def test_only_what_has_a_closed_form():
    with pytest.raises(ValueError, match="no closed form for 'score' with 'moving average'"):
        gradient_variance("score", "moving average", 0.0, 1.0)


def test_the_score_over_a_table():
    """By all pairs of draws of a table: independent ones, with the best constant, and groups of two."""
    rng = np.random.default_rng(0)
    p, f = rng.dirichlet(np.ones(4)), rng.normal(size=4) + 3
    scores = np.eye(4) - p  # of a softmax
    gradient = p @ (f[:, None] * scores)
    np.testing.assert_allclose(gradient, p * (f - p @ f), rtol=1e-12)
    spread = lambda terms, weight: weight @ (terms**2).sum(-1) - ((weight @ terms) ** 2).sum()
    np.testing.assert_allclose(score_variance(p, f, scores), spread(f[:, None] * scores, p), rtol=1e-12)
    best = min(spread((f[:, None] - b) * scores, p) for b in np.linspace(0, 6, 60001))
    np.testing.assert_allclose(score_variance(p, f, scores, "constant"), best, rtol=1e-7)
    i, j = np.indices((4, 4)).reshape(2, -1)
    pairs = 0.5 * (f[i] - f[j])[:, None] * (scores[i] - scores[j])
    exact = 2 * spread(pairs, p[i] * p[j])
    np.testing.assert_allclose(score_variance(p, f, scores, "leave-one-out", group=2), exact, rtol=1e-12)
    with pytest.raises(ValueError, match="control_variate must be none"):
        score_variance(p, f, scores, "critic")
