"""The helper that every other tolerance of rounding goes through."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.tolerance import assert_close, ulps

EPS = 2.0**-52


def test_an_ulp_is_eps_of_the_precision():
    assert ulps(3) == 3 * EPS
    assert ulps(3, np.float32) == ulps(3, np.zeros(2, np.complex64)) == 3 * 2.0**-23
    assert ulps(3, jnp.zeros((), jnp.bfloat16)) == 3 * 2.0**-7


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, np.float32, np.float64])
def test_the_bound_itself_is_accepted_and_the_next_number_is_not(dtype):
    eps = ulps(1, dtype)
    for sign in (1, -1):
        for wanted in (sign, sign * 4.0):  # powers of 2: so many ulps above are numbers of the precision
            near = np.asarray([wanted, wanted * (1 + 3 * eps)], dtype)
            assert_close(near, np.full(2, wanted), 3, dtype=dtype)
            with pytest.raises(AssertionError, match=r"^4 ulps of .* off at \(1,\), 3 allowed"):
                assert_close(np.asarray([wanted, wanted * (1 + 4 * eps)], dtype), wanted, 3, dtype=dtype)


def test_a_scale_measures_what_cancelled():
    assert_close(3 * EPS, 0.0, 3, scale=1)
    assert_close([5.0 + 3 * 8 * EPS, 3 * EPS], [5.0, 0.0], 5, scale=[0, 1])
    for value in (4 * EPS, -4 * EPS):
        with pytest.raises(AssertionError, match=r"^4 ulps of float64 off, 3 allowed: expected 0\.0, got"):
            assert_close(value, 0.0, 3, scale=1)
    with pytest.raises(AssertionError, match="inf ulps"):
        assert_close(5e-324, 0.0, 3)


@pytest.mark.parametrize("wanted", [0.0, 1.0, np.nan, np.inf])
def test_nan_is_never_close(wanted):
    with pytest.raises(AssertionError, match=r"nan ulps of float64 off at \(1,\), 1e\+300 allowed.*; 1 of 2 entries"):
        assert_close([1.0, np.nan], [1.0, wanted], 1e300)
    with pytest.raises(AssertionError, match="nan ulps"):
        assert_close(1.0, np.nan, 1e300)


def test_infinities_agree_with_themselves_alone():
    assert_close([np.inf, -np.inf, 1.0], [np.inf, -np.inf, 1.0], 0)
    for got, wanted in [(np.inf, -np.inf), (1.0, np.inf), (np.inf, 1.0)]:
        with pytest.raises(AssertionError, match="ulps of float64 off"):
            assert_close(got, wanted, 1e6)


def test_another_shape_is_refused():
    assert_close(np.ones((2, 3)), 1, 0)
    assert_close(np.ones((0, 3)), np.ones((0, 3)), 0)
    for shape in [(3,), (1, 3), (2, 1), (3, 2)]:
        with pytest.raises(AssertionError, match="expected shape"):
            assert_close(np.ones((2, 3)), np.ones(shape), 1e6)
    with pytest.raises(AssertionError, match=r"expected shape \(2,\), got \(\)"):
        assert_close(1.0, [1.0, 1.0], 0)


def test_another_precision_is_refused():
    one = np.float32(1)
    assert_close(one, 1.0, 0, dtype=np.float32)
    assert_close(np.complex64(1j), 1j, 0, dtype=np.float32)
    assert_close(np.complex128(1j), 1j, 0)
    assert_close(1.0, one, 0)
    for actual, dtype in [(one, np.float64), (1.0, np.float32), (np.complex64(1), np.float64), (one, jnp.bfloat16)]:
        with pytest.raises(AssertionError, match="expected the precision of"):
            assert_close(actual, 1.0, 0, dtype=dtype)
    with pytest.raises(AssertionError, match="expected floating-point numbers, got int64"):
        assert_close(np.int64(1), 1, 0)


def test_complex_numbers_are_measured_by_their_modulus():
    assert_close(3 + 4j + 5 * EPS * 2j, 3 + 4j, 2)
    with pytest.raises(AssertionError, match=r"3\.2 ulps"):
        assert_close(3 + 4j + 16j * EPS, 3 + 4j, 2)
