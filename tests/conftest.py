"""Fixtures that every test may use, and what keeps the tests quick and small."""

import ctypes
import os
import sys
from importlib import metadata

import pytest

# Nearly all of the tests' time goes into compiling thousands of tiny programs, and XLA's newer emitters of fusions
# take twice as long over one as the older. Name the flag in XLA_FLAGS to choose otherwise. Releases of jaxlib may drop
# it, and XLA ends the process at a flag it does not know, hence the versions.
EMITTERS = "--xla_cpu_use_fusion_emitters"
if metadata.version("jaxlib").startswith("0.10.") and EMITTERS not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {EMITTERS}=false".strip()

# On accelerators matrix products round to fewer bits than their dtype has, unless told otherwise.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")


@pytest.fixture(autouse=True, scope="module")
def small_process():
    """Give back a file's memory when its last test has ended, this fixture being the first one in and the last one out.

    JAX keeps each compiled program as long as the process lives, and files share hardly any, so that dropping them
    costs no time that can be measured. What that frees is a gigabyte in small pieces, which glibc holds on to until it
    is told to return them.
    """
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@pytest.fixture
def x64():
    """Run a test in double precision."""
    import jax

    with jax.enable_x64(True):
        yield
