"""JAX as a config wants it: platform, dtype, precision and compilation cache, set before anything runs."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxcalc.cache import cache_folder
from jaxcalc.lab.config import Loaded
from jaxcalc.lab.errors import ConfigError


@contextmanager
def configured(loaded: Loaded, *, cache: bool = True) -> Iterator[Any]:
    """Configure JAX, yield the device to run on, and put the configuration back.

    Args:
      loaded: the config: its platform, dtype and matmul_precision count.
      cache: whether compiled programs are kept between processes; a timed experiment says no.

    Raises:
      ConfigError: the platform is absent, or cannot compute in the dtype.
    """
    settings = loaded.settings
    jax = _import_jax(settings.platform)
    device = _device(loaded)
    wanted = {
        "jax_enable_compilation_cache": cache,
        "jax_compilation_cache_dir": str(cache_folder() / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    _configure(wanted)
    try:
        # Contexts, not global settings: they win over a context that the caller is in, and end with the block.
        with (
            jax.enable_x64(settings.dtype == "float64"),
            jax.default_matmul_precision(settings.matmul_precision),
            jax.default_device(device),
        ):
            yield device
    finally:
        _configure(before)


def _import_jax(platform: str) -> Any:
    """Import JAX; an accelerator beside the CPU is not woken if it is not wanted.

    Raises:
      ConfigError: JAX refuses its own environment variables.
    """
    alone = platform == "cpu" and "jax" not in sys.modules and "JAX_PLATFORMS" not in os.environ
    if alone:
        os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        import jax
    except Exception as error:
        raise ConfigError(f"JAX does not start: {_first_line(error)}") from None
    finally:
        if alone:
            del os.environ["JAX_PLATFORMS"]
    return jax


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def platform_name(device: Any) -> str:
    """``cpu``, ``gpu`` or ``tpu``, whatever the maker calls it."""
    return "gpu" if device.platform in ("cuda", "rocm") else str(device.platform)


def _configure(values: dict[str, Any]) -> None:
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at the cache's settings once; make it look again


def _device(loaded: Loaded) -> Any:
    import jax

    platform = loaded.settings.platform
    try:
        device = jax.devices()[0] if platform == "auto" else jax.devices(platform)[0]
    except Exception as error:
        try:
            here = sorted({platform_name(d) for d in jax.devices()})
        except Exception:
            raise loaded.error(f"JAX finds no device: {_first_line(error)}", ("platform",)) from None
        extra = {"gpu": "cuda", "tpu": "tpu"}.get(platform)
        raise loaded.error(
            f"platform {platform!r} is absent: {_first_line(error)}",
            ("platform",),
            valid=here,
            valid_noun="platforms here",
            remedy=f"Install it with: pip install 'jaxcalc[{extra}]', or choose platform: auto." if extra else None,
        ) from None
    if device.platform == "tpu" and loaded.settings.dtype == "float64":
        raise loaded.error("a TPU does not compute in float64", ("dtype",), remedy="Use dtype: float32.")
    return device


class CacheCounter:
    """Counts what the persistent compilation cache answered inside the block.

    ``verdict``: ``"hit"`` if every program came from it, ``"miss"`` if one did not, ``"off"`` if it was not asked.
    """

    _EVENTS = {"/jax/compilation_cache/cache_hits": "hits", "/jax/compilation_cache/cache_misses": "misses"}

    def __init__(self) -> None:
        self.hits = self.misses = 0

    def _listen(self, event: str, **_: Any) -> None:
        if event in self._EVENTS:
            name = self._EVENTS[event]
            setattr(self, name, getattr(self, name) + 1)

    def __enter__(self) -> "CacheCounter":
        import jax

        jax.monitoring.register_event_listener(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        import jax

        jax.monitoring.unregister_event_listener(self._listen)

    @property
    def verdict(self) -> str:
        return "miss" if self.misses else "hit" if self.hits else "off"
