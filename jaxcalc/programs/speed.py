"""How fast this device is, by class of work: the seconds that a price predicts, and their calibration."""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcalc import cache, measure
from jaxcalc.programs.cost import Cost, cost

__all__ = ["Device", "calibrate", "device", "fit"]

# Nanoseconds per unit of each class of work (see jaxcalc.programs.work), of bytes, kernels and calls: a least-squares
# fit in logarithms to the times of compiled routes on a 2-core x86 CPU.
_CPU = {
    "bytes": 0.0248,
    "call": 6.66e03,
    "convolution": 0.151,
    "cumulative": 2.73,
    "division/sqrt": 0.838,
    "elementwise": 0.017,
    "fft": 0.109,
    "gather": 0.123,
    "gemm": 0.0148,
    "gemv": 0.157,
    "hand-over": 3.14e04,
    "handed bytes": 0.261,
    "integer": 0.193,
    "kernels": 25.7,
    "library calls": 175,
    "linear algebra": 0.025,
    "move": 0.105,
    "opaque": 3,
    "product calls": 203,
    "random": 3,
    "reduce major": 0.649,
    "reduce minor": 0.41,
    "reordered bytes": 0.0995,
    "scatter": 0.985,
    "small calls": 29.2,
    "small product": 0.135,
    "sort": 2.72,
    "sums": 10.2,
    "transcendental": 1.22,
    "trips": 9.78,
    "window": 1,
}
# XLA's CPU client runs a program of fewer operations in the calling thread, and hands every other one to a second
# thread, which has to be woken, and whose results then lie in another core's cache.
_INLINE_FLOPS = 1000
_CACHED_BYTES = 2.0**17
# A guess for accelerators, which launch slowly and compute fast: nothing here was measured on one. Calibrate.
_ACCELERATOR = {name: value / 200 for name, value in _CPU.items()} | {"call": 3e4, "kernels": 3e3, "trips": 1e4}
_ACCELERATOR |= {"product calls": 5e3, "small calls": 5.0, "library calls": 2e4}


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

    def seconds(self, price: Cost, *, within: bool = False) -> float:
        """The predicted time of one call of a compiled program; ``within`` another, without what calling takes."""
        rate = self.nanoseconds
        found = {name: amount for name, amount in amounts(price).items() if not (within and name in _OF_CALLS)}
        return 1e-9 * sum(rate.get(name, rate["opaque"]) * amount for name, amount in found.items())


_OF_CALLS = frozenset({"call", "hand-over", "handed bytes"})


def amounts(price: Cost) -> dict[str, float]:
    """All that a price predicts time from: its counts, bytes moved, kernels, one call, and its hand-over."""
    found = {**price.counts, "bytes": price.bytes_moved, "kernels": price.kernels, "call": 1.0}
    if price.flops + price.counts.get("integer", 0.0) >= _INLINE_FLOPS:
        found |= {"hand-over": 1.0, "handed bytes": min(price.bytes_moved, _CACHED_BYTES)}
    return found


@functools.cache
def device() -> Device:
    """The default device with its speeds: as calibrated before on this machine, else those of its sort."""
    import jax

    chip = jax.devices()[0]
    figures = _CPU if chip.platform == "cpu" else _ACCELERATOR
    kept = cache.recall(_name(chip))
    if isinstance(kept, dict) and set(kept) == set(figures):
        return Device(chip.device_kind, kept, calibrated=True)
    return Device(chip.device_kind, figures)


def fit(
    prices: Sequence[Cost], seconds: Sequence[float], prior: Mapping[str, float], strength: float
) -> dict[str, float]:
    """Rates that predict measured times, in the least squares of logarithms.

    Args:
      prices, seconds: what was measured.
      prior: rates in nanoseconds to start from. A rate that the measurements say nothing of stays as it is.
      strength: how far a rate may move: the weight of a logarithm's distance from the prior, against that of a time's.
    """
    from scipy.optimize import least_squares

    names = list(prior)
    table = np.array([[amounts(price).get(name, 0.0) for name in names] for price in prices])
    measured = 1e9 * np.asarray(seconds, float)
    start = np.log([prior[name] for name in names])

    def residuals(rates: np.ndarray) -> np.ndarray:
        return np.concatenate([np.log(table @ np.exp(rates) / measured), strength * (rates - start)])

    found = least_squares(residuals, start, loss="soft_l1", f_scale=0.3)
    return dict(zip(names, np.exp(found.x).tolist()))


def calibrate(*, repeats: int = 5) -> Device:
    """Measure this device with a few small programs, and keep the figures in the user's cache folder.

    Args:
      repeats: rounds of measurement.

    Returns:
      The calibrated ``Device``, which every later prediction on this machine uses.

    Cost: some seconds, nearly all of them compiling.
    """
    import jax

    programs = {name: (jax.jit(fun), args) for name, (fun, args) in _programs().items()}
    timings = measure.interleave(
        {name: functools.partial(fun, *args) for name, (fun, args) in programs.items()}, repeats=repeats
    )
    prices = [cost(fun, *args) for fun, args in programs.values()]
    before = _CPU if jax.devices()[0].platform == "cpu" else _ACCELERATOR
    rates = fit(prices, [timings[name].samples.min() for name in programs], before, strength=0.3)
    cache.keep(_name(jax.devices()[0]), rates)
    device.cache_clear()
    return dataclasses.replace(device(), nanoseconds=rates, calibrated=True)


def _programs() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Programs that each spend their time in one class of work, large, and some that are small."""
    import jax
    import jax.numpy as jnp

    numbers = np.random.default_rng(0)
    array = lambda *shape: jax.device_put(numbers.standard_normal(shape).astype(np.float32))
    places = jax.device_put(numbers.integers(0, 100_000, 100_000).astype(np.int32))
    loop = lambda x: jax.lax.scan(lambda c, _: (c * 0.9 + 0.1, None), x, None, length=500)[0]
    return {
        "call": (lambda x: x + 1, (array(8),)),
        "hand-over": (lambda x: x * 0.5 + 1, (array(1000),)),
        "handed bytes": (lambda x: x * 0.5 + 1, (array(20_000),)),
        "elementwise": (lambda x: (x * 0.5 + 1) * x - 3 * x * x, (array(1_000_000),)),
        "transcendental": (lambda x: jnp.exp(jnp.sin(x)), (array(300_000),)),
        "division": (lambda x: 1 / (1 + x * x), (array(300_000),)),
        "reduce minor": (lambda x: x.sum(1), (array(1000, 1000),)),
        "reduce major": (lambda x: x.sum(0), (array(1000, 1000),)),
        "cumulative": (jnp.cumsum, (array(30_000),)),
        "gather": (lambda x, i: x[i], (array(100_000), places)),
        "scatter": (lambda x, i: jnp.zeros(100_000).at[i].add(x), (array(100_000), places)),
        "sort": (jnp.sort, (array(30_000),)),
        "gemm": (lambda x: x @ x, (array(384, 384),)),
        "gemv": (lambda a, x: a @ x, (array(1000, 1000), array(1000))),
        "small products": (lambda a: jnp.einsum("bij,bjk->bik", a, a), (array(2000, 6, 6),)),
        "transpose": (lambda x: x.T + 0, (array(1000, 1000),)),
        "loop": (loop, (array(8),)),
        "loop of a product": (
            lambda a: jax.lax.scan(lambda c, _: (c @ a, None), a, None, length=100)[0],
            (array(16, 16),),
        ),
        "solve": (jnp.linalg.solve, (array(100, 100) + 20 * jnp.eye(100), array(100))),
    }


def _name(chip: Any) -> str:
    """What a device's figures are kept under."""
    kind = f"{chip.platform}-{chip.device_kind}-{importlib.metadata.version('jaxlib')}"
    return "devices/" + "".join(c if c.isalnum() else "-" for c in kind)
