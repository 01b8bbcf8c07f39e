"""Positional encodings against their closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.encodings import frequencies, rotate, sinusoidal


def test_entries_are_sines_and_cosines_by_turns():
    code = np.asarray(sinusoidal(jnp.arange(5.0), 6))
    for k in range(3):
        angle = np.arange(5.0) * 10_000.0 ** (-2 * k / 6)
        np.testing.assert_allclose(code[:, 2 * k], np.sin(angle), rtol=0, atol=1e-6)
        np.testing.assert_allclose(code[:, 2 * k + 1], np.cos(angle), rtol=0, atol=1e-6)


def test_the_slope_is_omega_times_the_partner():
    code, slope = jax.jvp(lambda t: sinusoidal(t, 8), (jnp.asarray(3.5),), (jnp.asarray(1.0),))
    omega = np.asarray(frequencies(8))
    np.testing.assert_allclose(slope[::2], omega * code[1::2], atol=1e-6)
    np.testing.assert_allclose(slope[1::2], -omega * code[::2], atol=1e-6)


def test_a_shift_is_a_rotation_and_shapes_are_kept():
    t = jnp.linspace(0.0, 20.0, 12).reshape(3, 4)
    code = sinusoidal(t, 10, base=100.0)
    assert code.shape == (3, 4, 10)
    np.testing.assert_allclose(rotate(code, 2.5, base=100.0), sinusoidal(t + 2.5, 10, base=100.0), atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_dtype_is_the_positions(dtype):
    assert sinusoidal(jnp.arange(3, dtype=dtype), 4).dtype == dtype


@pytest.mark.parametrize(("width", "choices"), [(5, {}), (0, {}), (4, {"base": 0.0})])
def test_impossible_encodings_are_refused(width, choices):
    with pytest.raises(ValueError, match="frequencies"):
        sinusoidal(1.0, width, **choices)
