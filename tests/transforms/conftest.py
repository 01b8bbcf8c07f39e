"""What every test of transforms shares."""

import pytest

from jaxcalc.programs import speed
from jaxcalc.transforms import plan_memory


@pytest.fixture
def nothing_remembered(tmp_path, monkeypatch):
    """No earlier plan, measurement or calibration is at hand, and none is left to others."""
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path))
    speed.device.cache_clear()
    plan_memory.forget()
    yield
    speed.device.cache_clear()
    plan_memory.forget()
