"""The order-to-chaos line against published numbers, its half-stable points against their equations."""

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special

from jaxcalc.functions import edge_of_chaos, mean_field
from jaxcalc.functions.activations import gelu, silu, tanh
from tests.tolerance import assert_close

LINE = {0.0: 1.0, 0.001: 1.189190, 0.01: 1.424205, 0.05: 1.760955, 0.1: 1.986073, 0.2: 2.285152}


@pytest.mark.parametrize(("sb2", "sw2"), LINE.items())
def test_the_line_of_tanh(x64, sb2, sw2):
    point = edge_of_chaos.critical_point(tanh, sb2)
    assert point.sw2 == pytest.approx(sw2, abs=6e-7)
    if sb2:
        assert_close(mean_field.fixed_point(tanh, point.sw2, sb2), point.moment, 1e4)
        assert_close(mean_field.gradient_factor(tanh, point.moment, point.sw2), 1.0, 64)


@pytest.mark.parametrize(
    ("depth", "sw2", "sb2"),
    [
        (16, 1.11538062, 2.3688e-4),
        (64, 1.03055751, 4.6513e-6),
        (1000, 1.00199701, 1.3254e-9),
        (10_000, 1.00019997, 1.3325e-12),
    ],
)
def test_criticality_at_the_moment_that_depth_asks_for(x64, depth, sw2, sb2):
    critical = mean_field.critical_weight_variance(tanh, 1 / depth)
    np.testing.assert_allclose(critical, (sw2, sb2), rtol=4e-5, atol=0)
    assert critical[0] == pytest.approx(sw2, abs=6e-9)
    back = edge_of_chaos.critical_point(tanh, critical[1])
    np.testing.assert_allclose(back.moment, 1 / depth, rtol=1e-6)


def test_half_stable_points(x64):
    # GELU's moment is (3 + sqrt 17) / 2; the others' digits are those of Roberts, Yaida and Hanin, 2022.
    point = edge_of_chaos.half_stable_point("gelu")
    assert_close(point.moment, (3 + np.sqrt(17)) / 2, 4096)
    assert (float(point.sw2), float(point.sb2)) == pytest.approx((1.983058, 0.172922), abs=6e-7)
    point = edge_of_chaos.half_stable_point("silu")
    assert (float(point.sw2), float(point.sb2)) == pytest.approx((1.98800468, 0.55514317), abs=6e-9)
    assert point.moment == pytest.approx(14.32017362, abs=6e-8)


def test_silus_half_stable_moment_by_adaptive_quadrature(x64):
    def mean(q):
        def integrand(z):
            x = np.sqrt(q) * z
            s = scipy.special.expit(x)
            bend = s * (1 - s) * (2 + x * (1 - 2 * s))
            return x * s * bend * np.exp(-0.5 * z**2)

        return scipy.integrate.quad(integrand, -12, 12, points=[0.0], epsabs=1e-14, epsrel=1e-13, limit=200)[0]

    root = scipy.optimize.brentq(mean, 10.0, 20.0, xtol=1e-12)
    assert edge_of_chaos.half_stable_point(silu).moment == pytest.approx(root, rel=1e-8)


def test_half_stable_points_are_reached_from_one_side(x64):
    point = edge_of_chaos.half_stable_point(gelu)
    above = mean_field.fixed_point_of_moments(gelu, point.sw2, point.sb2, start=30.0)
    assert above.explain() == "half-stable"
    # Where a map touches the diagonal, rounding is seen to its square root.
    assert above.moment == pytest.approx(float(point.moment), rel=1e-5)
    below = mean_field.fixed_point_of_moments(gelu, point.sw2, point.sb2)
    assert below.explain() == "stable" and below.moment < 3.1
    assert (
        mean_field.fixed_point_of_moments(silu, *edge_of_chaos.half_stable_point(silu)[:2]).explain() == "half-stable"
    )


@pytest.mark.parametrize("x64", [False, True])
def test_what_rounding_makes_of_a_difference_is_no_point(x64):
    with jax.enable_x64(x64):
        for sb2 in (1e-9, 0.05):
            assert np.isnan(edge_of_chaos.critical_point("relu", sb2)).all()
        assert np.array(edge_of_chaos.critical_point("relu")) == pytest.approx([2.0, 0.0, 1.0], rel=1e-5)
        assert edge_of_chaos.critical_point("tanh", 1e-6).sw2 == pytest.approx(1.0182526, abs=5e-5)


def test_no_point_is_not_a_number(x64):
    assert np.isnan(edge_of_chaos.half_stable_point(tanh)).all()
    assert np.isnan(edge_of_chaos.critical_point("relu", 0.1)).all()
    assert_close(np.array(edge_of_chaos.critical_point("relu", 0.0)), [2.0, 0.0, 1.0], 64)
    with pytest.raises(ValueError, match=r"critical_point: sb2 must be finite and at least 0, got -1\.0"):
        edge_of_chaos.critical_point("relu", -1.0)
