"""Is the cheap mode found on a map of few inputs and very many outputs, without being told?"""

import pydantic

from experiments._survey import Timed, ratio
from experiments.sparse_derivatives import (
    CONTEST,
    Built,
    agree,
    hold,
    look_of,
    medians,
    planned,
)
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Variable, above, below, first, jax

kind = "timed"
dtype = "float32"


class Config(Timed):
    sources: int = pydantic.Field(10, ge=1)
    """directions on the sky, two inputs each"""
    antennas: int = pydantic.Field(128, ge=1)
    """antennas"""
    channels: int = pydantic.Field(16, ge=1)
    """frequencies"""
    repeats: int = pydantic.Field(9, ge=1)
    min_seconds: float = pydantic.Field(5e-3, ge=0)


VARIABLES = {
    "num_inputs": Variable((), "", "number of inputs n", measured=False),
    "num_outputs": Variable((), "", "number of outputs m", measured=False),
    **CONTEST,
}


def run(config, key):
    from jaxcalc.scenarios import workloads

    made = workloads.phase_delay(key, sources=config.sources, antennas=config.antennas, channels=config.channels)
    fun, arguments = made.fun, made.arguments
    built: dict[str, Built] = {
        "auto": planned(fun, arguments),
        "jacfwd": (jax.jacfwd(fun), arguments, made.num_inputs),
        "jacrev": (jax.jacrev(fun), arguments, made.num_outputs),
    }
    assert made.derivative is not None
    contest = hold(built, ("auto", "jacfwd", "jacrev"), config, made.derivative(*arguments))
    return {"num_inputs": made.num_inputs, "num_outputs": made.num_outputs, **contest}


def _largest(dataset):
    """The point with the most outputs."""
    data = first(dataset, "antennas", "route", "repeat")
    return data.isel(antennas=-1) if "antennas" in data.dims else data


def _cheap_mode(dataset):
    data = _largest(dataset)
    faster, products = float(ratio(data, "jacrev", "auto")), float(data.products.sel(route="auto"))
    return Finding(
        above(faster, 50.0) & above(products, 1),
        measured=f"{faster:.4g} times, from {products:.0f} products",
        figure="outputs",
    )


def _nothing_lost(dataset):
    return Finding(below(ratio(_largest(dataset), "auto", "jacfwd"), 1.05), figure="outputs")


def figures(dataset):
    data = first(dataset, "antennas", "route", "repeat")
    if data.sizes.get("antennas", 1) < 2:
        return {}
    figure, panel = style.subplots(height=2.8)
    m, seconds = data.num_outputs.values.astype(float), medians(data)
    for route in ("jacrev", "jacfwd", "auto"):
        values = seconds.sel(route=route).values
        panel.plot(m, values, **look_of(route) | {"label": f"{route}: $m^{{{measure.exponent(m, values):.1f}}}$"})
    panel.set(xscale="log", yscale="log", xlabel="outputs $m$", ylabel="time (s)")
    style.ticks(panel.xaxis, m)
    panel.legend()
    figure.set_label(f"The Jacobian of {int(data.num_inputs.max())} inputs and m outputs, an interferometer's phases.")
    return {"outputs": figure}


def tables(dataset):
    data = _largest(dataset)
    columns = {
        "products": data.products.astype(int),
        "ms": 1e3 * medians(data),
        "memory, MB": data.footprint / 1e6,
    }
    return {f"{int(data.num_inputs)} inputs, {int(data.num_outputs)} outputs": lab.rows("route", columns)}


claims = {
    "cheap-mode-without-being-told": _cheap_mode,
    "nothing-lost-to-jacfwd": _nothing_lost,
    "unequal-jacobian-agrees": agree(("auto",)),
}
