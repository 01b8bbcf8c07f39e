"""What every test of transforms shares."""

import jax
import pytest

from jaxcalc.programs import speed
from jaxcalc.transforms import plan_memory


@pytest.fixture(autouse=True, scope="package")
def quick_compilation():
    """Compiling is nearly all the time that these tests take, and small programs need no optimiser."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def nothing_remembered(tmp_path, monkeypatch):
    """No earlier plan, measurement or calibration is at hand, and none is left to others."""
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path))
    speed.device.cache_clear()
    plan_memory.forget()
    yield
    speed.device.cache_clear()
    plan_memory.forget()
