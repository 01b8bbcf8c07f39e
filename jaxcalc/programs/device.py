"""How fast this device is, by class of work: the seconds that a price predicts."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from jaxcalc.programs.cost import Cost

__all__ = ["Device", "device"]

# Nanoseconds per unit of each class of work, fitted to a 2-core x86 CPU.
_CPU = {
    "call": 8000.0,
    "kernels": 700.0,
    "bytes": 0.08,
    "elementwise": 0.15,
    "move": 0.15,
    "integer": 0.15,
    "transcendental": 2.0,
    "division/sqrt": 0.6,
    "reduce minor": 0.8,
    "reduce major": 0.25,
    "cumulative": 2.0,
    "window": 1.0,
    "gather": 1.0,
    "scatter": 6.0,
    "sort": 3.0,
    "gemm": 0.03,
    "gemv": 0.2,
    "small product": 0.15,
    "product calls": 200.0,
    "convolution": 0.06,
    "fft": 0.5,
    "factorisation": 0.3,
    "library calls": 3000.0,
    "random": 3.0,
    "opaque": 3.0,
}


@dataclass(frozen=True)
class Device:
    """Speeds of a device.

    Args:
      kind: as JAX names it.
      nanoseconds: per unit of each class of work that ``Cost.counts`` knows, of ``bytes`` and ``kernels``, and per
        ``call`` of a program.
      calibrated: whether they were measured on this device, or are figures for one of its sort.
    """

    kind: str
    nanoseconds: Mapping[str, float]
    calibrated: bool = False

    def seconds(self, cost: Cost) -> float:
        """The predicted time of one call of a compiled program."""
        rate = self.nanoseconds
        total = rate["call"] + rate["kernels"] * cost.kernels + rate["bytes"] * cost.bytes_moved
        total += sum(rate.get(name, rate["opaque"]) * amount for name, amount in cost.counts.items())
        return 1e-9 * total


@functools.cache
def device() -> Device:
    """The default device with its speeds: as calibrated before on this machine, else those of its sort."""
    import jax

    return Device(jax.devices()[0].device_kind, _CPU)
