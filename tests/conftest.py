"""Fixtures that every test may use, and what keeps the tests quick."""

import os
from importlib import metadata

import pytest

# Nearly all of the tests' time goes into compiling thousands of tiny programs, and XLA's newer emitters of fusions
# take twice as long over one as the older. Name the flag in XLA_FLAGS to choose otherwise. Releases of jaxlib may drop
# it, and XLA ends the process at a flag it does not know, hence the versions.
EMITTERS = "--xla_cpu_use_fusion_emitters"
if metadata.version("jaxlib").startswith("0.10.") and EMITTERS not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {EMITTERS}=false".strip()


@pytest.fixture
def x64():
    """Run a test in double precision."""
    import jax

    with jax.enable_x64(True):
        yield
