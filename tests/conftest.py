"""Fixtures that every test may use."""

import pytest


@pytest.fixture
def x64():
    """Run a test in double precision."""
    import jax

    with jax.enable_x64(True):
        yield
