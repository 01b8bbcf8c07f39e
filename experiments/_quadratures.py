"""Adaptive quadrature by us and by peers, under one signature."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments import _contest
from jaxcalc.lab import jax, jnp

if TYPE_CHECKING:
    from jaxcalc.functions.integrands import HardIntegral


class Route(NamedTuple):
    """One integral and all of them, each ``() -> (value, claimed error, converged, evaluations)``."""

    single: Callable[[], Any]
    batch: Callable[[], Any]
    compile_seconds: float


def present(name: str) -> bool:
    return name != "quadax" or _contest.installed(name)


def by_jaxcalc(case: "HardIntegral", config: Any, places: np.ndarray) -> Route:
    from jaxcalc.transforms.integral import integral

    integrated = integral(
        lambda x, place: case.fun(x, place, jnp),
        tol=config.tolerance,
        num_points=config.num_points,
        max_intervals=config.max_intervals,
        report=True,
    )

    def one(low: Any, high: Any, place: Any) -> Any:
        found = integrated(low, high, place)
        return found.value, found.error, found.converged, found.evaluations

    return _compiled(one, case, places)


def by_quadax(case: "HardIntegral", config: Any, places: np.ndarray) -> Route:
    import quadax  # pyright: ignore[reportMissingImports]

    choices = {
        "epsabs": 0.0,
        "epsrel": config.tolerance,
        "order": config.num_points,
        "max_ninter": config.max_intervals,
    }

    def one(low: Any, high: Any, place: Any) -> Any:
        fun = lambda x, place: case.fun(x, place, jnp)
        value, info = quadax.quadgk(fun, jnp.stack([low, high]), (place,), **choices)
        return value, info.err, info.status == 0, info.neval

    return _compiled(one, case, places)


def _compiled(one: Callable[..., Any], case: "HardIntegral", places: np.ndarray) -> Route:
    from jaxcalc.programs.compiled import executable

    low, high = jnp.asarray(case.low, float), jnp.asarray(case.high, float)
    first, every = jnp.asarray(places[0]), jnp.asarray(places)
    single = executable(one, low, high, first)
    batch = executable(jax.vmap(one, (None, None, 0)), low, high, every) if len(places) > 1 else None
    several = (lambda: batch(low, high, every)) if batch else (lambda: [[part] for part in single(low, high, first)])
    return Route(lambda: single(low, high, first), several, single.trace_seconds + single.compile_seconds)


def by_scipy(case: "HardIntegral", config: Any, places: np.ndarray) -> Route:
    from scipy.integrate import quad

    choices = {"epsabs": 0.0, "epsrel": config.tolerance, "limit": config.max_intervals}

    def one(place: float) -> Any:
        # With the full output a difficulty is a fourth entry, and no warning.
        found = quad(lambda x: case.fun(x, place, np), case.low, case.high, full_output=1, **choices)
        return found[0], found[1], len(found) == 3, found[2]["neval"]

    return Route(lambda: one(places[0]), lambda: list(zip(*map(one, places))), 0.0)


ROUTES = {"jaxcalc": by_jaxcalc, "quadax": by_quadax, "scipy": by_scipy}
