"""Is a function of one's own convex, and what are its stationary points?

Name it as ``function: "package.module:name"``, importable from the current folder, with a box and a
number of samples. Random chords and the eigenvalues of Hessians refute convexity, or find nothing
against it; stationary points in the box are searched from random starts and classified. A run knows
the function by its name alone: after changing its code, run with ``--fresh``.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import pydantic

from experiments.critical_points import (
    POINTS,
    agrees_with_values,
    all_stationary,
    counted,
    draw_points,
    listed,
    stationary_points,
)
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, equal, jax, jnp

kind = "host"

_ROUNDING = 1e-9  # up to which, relative, a chord touches the graph and an eigenvalue is zero


class Config(lab.Config):
    function: str = pydantic.Field("jaxcalc.functions.landscapes:styblinski_tang", pattern=r"^[\w.]+:[\w.]+$")
    """``package.module:name`` of a function in jax.numpy from an array (dimension,) to a number"""
    dimension: int = pydantic.Field(2, ge=1)
    """number of variables"""
    low: float = -5.0
    """lower end of every variable"""
    high: float = 5.0
    """upper end of every variable"""
    samples: int = pydantic.Field(2000, ge=10)
    """random chords, and random points whose Hessian is taken"""
    starts: int = pydantic.Field(200, ge=10)
    """random points from which stationary ones are searched"""

    @pydantic.model_validator(mode="after")
    def _ordered(self):
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self


VARIABLES = {
    **POINTS,
    "margin": Variable(("sample",), "", "chord less function, relative, at a place of a chord"),
    "curvature": Variable(("sample",), "", "least over largest eigenvalue of the Hessian there"),
    "share": Variable(("share",), "", "place along the chord that lies lowest"),
    "along": Variable(("share",), "", "the function along it"),
    "chord": Variable(("share",), "", "the chord itself"),
}


def _imported(name) -> Callable[..., Any]:
    """The function of that name, ``package.module:name``."""
    module, _, path = name.partition(":")
    try:
        found = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"function {name!r} cannot be imported from here: {error}") from None
    if not callable(found):
        raise ValueError(f"function {name!r} cannot be called, it is a {type(found).__name__}")
    return found


def run(config, key):
    from jaxcalc.transforms.hessian import hessian

    fun = _imported(config.function)
    keys = jax.random.split(key, 4)
    box = {"minval": config.low, "maxval": config.high}
    drawn = lambda key, count: jax.random.uniform(key, (count, config.dimension), **box)
    first, second = drawn(keys[0], config.samples), drawn(keys[1], config.samples)
    shares = jax.random.uniform(keys[2], (config.samples,))

    @jax.jit
    @jax.vmap
    def sampled(a, b, t):
        x = (1 - t) * a + t * b
        chord = (1 - t) * fun(a) + t * fun(b)
        eigenvalues = jnp.linalg.eigvalsh(hessian(fun)(x))
        size = abs(eigenvalues).max()
        margin = (chord - fun(x)) / jnp.maximum(abs(chord), 1.0)
        return margin, eigenvalues[0] / jnp.where(size, size, 1.0)

    margin, curvature = sampled(first, second, shares)
    worst = jnp.argmin(margin)
    a, b, share = first[worst], second[worst], jnp.linspace(0.0, 1.0, 101)
    inside = lambda x: jnp.all((x >= config.low) & (x <= config.high))
    return {
        **stationary_points(fun, drawn(keys[3], config.starts), where=inside),
        "margin": margin,
        "curvature": curvature,
        "share": share,
        "along": jax.jit(jax.vmap(lambda t: fun((1 - t) * a + t * b)))(share),
        "chord": (1 - share) * fun(a) + share * fun(b),
    }


def _agree(dataset):
    chords, curvature = (above(dataset[name], -_ROUNDING) for name in ("margin", "curvature"))
    shares = [float((dataset[name] < -_ROUNDING).mean()) for name in ("margin", "curvature")]
    told = "not convex" if any(shares) else "nothing against convexity"
    return Finding(
        (chords & curvature) | (~chords & ~curvature),
        measured="{:.3g} of the chords lie below the function, {:.3g} of the Hessians have a "
        "negative eigenvalue: {}".format(*shares, told),
        figure="convexity",
    )


def _saddles_refute(dataset):
    """Whether all stationary points are minima, or a Hessian tells that it is not convex."""
    bent = (dataset.kind == "saddle") | (dataset.kind == "maximum")
    return Finding(
        equal(bent.sum(), 0) | below(dataset.curvature.min(skipna=False), -_ROUNDING),
        measured=counted(dataset),
        figure="points",
    )


def tables(dataset):
    return {"Stationary points in the box": listed(dataset)}


def figures(dataset):
    lines = {"function": dataset.along, "chord": dataset.chord}
    looks = {"chord": style.THEORY}
    convexity, _ = style.chart(lines, looks=looks, marker="", ylabel="value")
    convexity.set_label(
        "The function along the random chord that lies lowest beside it: a chord below the function refutes convexity."
    )
    points, panels = style.subplots(1, 2, width="page", height=2.7)
    draw_points(panels, dataset, "value")
    points.set_label("Stationary points in the box, and the eigenvalues of the Hessian at each.")
    return {"convexity": convexity, "points": points}


claims = {
    "own-chords-and-curvature-agree": _agree,
    "own-saddles-refute-convexity": _saddles_refute,
    "own-points-are-stationary": all_stationary,
    "own-labels-agree-with-values": agrees_with_values,
}
