"""Fixtures that every test may use, and what keeps the tests quick and small."""

import ctypes
import gc
import os
import sys
from importlib import metadata

import hypothesis
import pytest

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

# Much of the tests' time goes into compiling thousands of tiny programs, each of which runs a few times: what
# LLVM spends on making them fast, in several threads of its own, is lost, and XLA's newer emitters of fusions take
# three times as long over one as the older. What XLA itself does to a program, and so its counts of operations and
# bytes, stays as it is. Name a flag in XLA_FLAGS to choose otherwise.
QUICK = {
    "--xla_backend_optimization_level": "0",
    "--xla_llvm_disable_expensive_passes": "true",
    "--xla_cpu_parallel_codegen_split_count": "1",
}
# Releases of jaxlib may drop this one, and XLA ends the process at a flag that it does not know.
if metadata.version("jaxlib").startswith("0.10."):
    QUICK["--xla_cpu_use_fusion_emitters"] = "false"
chosen = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join(
    [chosen, *(f"{flag}={to}" for flag, to in QUICK.items() if flag not in chosen)]
).strip()

# Tracing allocates objects by the hundred thousand, nearly all of which stay for as long as what they make up: looking
# for cycles among them after every 700 takes some 5% of the time. Memory is watched below.
gc.set_threshold(50_000, 20, 50)

# On accelerators matrix products round to fewer bits than their dtype has, unless told otherwise.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")


# Bytes that a worker may hold between two tests before it lets go of what JAX compiled.
MOST_RESIDENT = 1.2e9


@pytest.fixture(autouse=True)
def small_process():
    """Give memory back after a test that left the process large.

    JAX keeps each compiled program as long as the process lives, and files share hardly any, so that dropping them
    costs little time. What that frees is a gigabyte in small pieces, which glibc holds on to until it is told to return
    them.
    """
    yield
    if resident() > MOST_RESIDENT and "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)


def resident():
    """Bytes of this process in memory; 0 where that cannot be read."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture
def x64():
    """Run a test in double precision."""
    import jax

    with jax.enable_x64(True):
        yield
